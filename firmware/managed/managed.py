"""What a part of a managed gate is given: the gate as those see it who manage it from elsewhere."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from firmware.catalogue import Catalogue
from firmware.config import Settings
from firmware.gate import Gate
from firmware.journal import Journal
from firmware.row import Row
from firmware.signing import Operator
from firmware.stored_settings import Stored, Version
from firmware.uplink import Uplink


class Changing(Protocol):
    """Where new settings go (`firmware.in_force.InForce`)."""

    @property
    def stored(self) -> Stored | None:
        """What is on disk; `None` while a disk that hangs has not told it."""

    @property
    def fault(self) -> str:
        """What is wrong with what is on disk, or why it is not in use; empty: nothing."""

    @property
    def passed_over(self) -> str:
        """Why the last good ones are not in use in this process; empty: they are."""

    @property
    def version(self) -> int:
        """Of the settings in use; 0 for those of the gate's file."""

    def lay_out_operators(self) -> Path:
        """Put the list of those whose signatures count in its place, and say where. Raises OSError."""

    @property
    def reopen(self) -> Callable[[str], None]:
        """Has the gate closed and opened again between two scans; the text says what for."""

    def problems(self, settings: str, board: str, operators: str) -> list[str]:
        """What is wrong with new settings, one line each; texts that are empty stay as they are."""

    def accept(self, version: Version, well: tuple[str, ...], connected: bool) -> None:
        """Put them on trial. Raises OSError."""

    def texts(self) -> tuple[str, str]:
        """Settings and board file that are in use, without comments."""


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
    changing: Changing | None = None
    """Where new settings go; `None` where none are taken."""
    supervised: bool = False
    """Whether somebody starts the gate again when it has ended: systemd."""

    def note(self, kind: str, text: str) -> None:
        """A row of no lane, written in the loop."""
        self.gate.do(lambda: self.journal.note(Row(kind, "", self.gate.clock.now(), text=text)))
