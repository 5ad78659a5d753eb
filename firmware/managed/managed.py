"""What a part of a managed gate is given: the gate as those see it who manage it from elsewhere."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from firmware.catalogue import Catalogue
from firmware.config import Settings
from firmware.gate import Gate
from firmware.journal import Journal
from firmware.signing import Operator
from firmware.uplink import Uplink


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
    config: Path | None = None
    """The settings file that the gate was started with, for the doctor."""
    root: Path = Path("/")
    """Below it are the files of the system."""
    supervised: bool = False
    """Whether somebody starts the gate again when it has ended: systemd."""
