"""What lets somebody who is not on site manage a gate: orders, settings, health, certificates.

A gate that knows no operators (`identity/operators.toml` in its data) is not managed, and none of this is
imported.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from firmware.catalogue import Catalogue
from firmware.config import Settings
from firmware.gate import Gate
from firmware.journal import Journal
from firmware.managed.identity import identity_of
from firmware.managed.managed import Changing, Managed
from firmware.managed.orders import Orders
from firmware.managed.settings import DesiredSettings
from firmware.row import Row
from firmware.signing import Operator, OperatorsUnusable, operators_of
from firmware.uplink import Uplink
from firmware.uplink.part import Part

PARTS: tuple[Callable[[Managed], AbstractContextManager[Part]], ...] = (Orders, identity_of)
"""Made in this order; each is entered at once, and left when the gate is closed."""


def parts_of(
    settings: Settings,
    data: Path,
    catalogue: Catalogue,
    journal: Journal,
    gate: Gate,
    uplink: Callable[[], Uplink],
    operators: Path,
    stack: ExitStack,
    config: Path | None = None,
    root: Path = Path("/"),
    changing: Changing | None = None,
) -> tuple[Part, ...]:
    """The parts of a managed gate. Where the list of operators cannot be read, nobody is obeyed."""
    found: Mapping[str, Operator] = {}
    try:
        found = operators_of(operators.read_text("utf-8"))
    except (OSError, ValueError, OperatorsUnusable) as error:
        text = f"no order and no settings are taken: {operators}: {error}"
        journal.note(Row("fault", "", gate.clock.now(), text=text))
    supervised = "INVOCATION_ID" in os.environ  # systemd.exec(5)
    managed = Managed(
        settings, data, catalogue, journal, gate, uplink, found, config, root, changing, supervised
    )
    parts = [stack.enter_context(part(managed)) for part in PARTS]
    if changing is not None:
        parts.append(stack.enter_context(DesiredSettings(managed, changing)))
    return tuple(parts)
