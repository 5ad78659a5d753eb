"""What lets somebody who is not on site manage a gate: orders, settings, health, certificates.

A gate that knows no operators (`identity/operators.toml` in its data) is not managed, and none of this is
imported.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NamedTuple

from firmware.catalogue import Catalogue
from firmware.config import Settings
from firmware.gate import Gate
from firmware.journal import Journal
from firmware.row import Row
from firmware.signing import Operator, OperatorsUnusable, operators_of
from firmware.uplink import Uplink
from firmware.uplink.part import Part


class Managed(NamedTuple):
    """A gate as its parts see it."""

    settings: Settings
    data: Path
    catalogue: Catalogue
    journal: Journal
    gate: Gate
    uplink: Callable[[], Uplink]
    """The connection that the parts share; it is made after them."""
    operators: Mapping[str, Operator]
    """Whose signatures count, by the id of their key."""


PARTS: tuple[Callable[[Managed], AbstractContextManager[Part]], ...] = ()
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
) -> tuple[Part, ...]:
    """The parts of a managed gate. Where the list of operators cannot be read, nobody is obeyed."""
    found: Mapping[str, Operator] = {}
    try:
        found = operators_of(operators.read_text("utf-8"))
    except (OSError, ValueError, OperatorsUnusable) as error:
        text = f"no order and no settings are taken: {operators}: {error}"
        journal.note(Row("fault", "", gate.clock.now(), text=text))
    managed = Managed(settings, data, catalogue, journal, gate, uplink, found)
    return tuple(stack.enter_context(part(managed)) for part in PARTS)
