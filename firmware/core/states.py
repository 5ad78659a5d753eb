"""The states of a lane, each with its deadline and the scan it serves, where it has one."""

from typing import NamedTuple

from firmware.core.events import Cause, Scanned
from firmware.core.movements import Movement
from firmware.core.ticket import Direction, Setup, Verdict


class Ready(NamedTuple):
    """The lane waits for a code."""


class Asking(NamedTuple):
    """The vendor was asked about this scan."""

    scan: Scanned
    until_ms: int


class Recording(NamedTuple):
    """The lane waits for the disk: for an admission, for an ask (`scan`), or for an order (neither).

    `row` is the row that it waits for; `scan_row` names the scan, or the order, that this is about.
    """

    row: int
    direction: Direction
    until_ms: int
    digest: bytes = b""
    verdict: Verdict = Verdict.ADMITTED
    text: str = ""
    admission: Movement | None = None
    scan: Scanned | None = None
    scan_row: int = 0


class Open(NamedTuple):
    """One person may walk through; once `locked`, a walk that had begun may still end.

    `row` is the row that opened the lane; `scan_row` names the scan, or the order, that this is about.
    """

    row: int
    direction: Direction
    until_ms: int
    digest: bytes = b""
    verdict: Verdict = Verdict.ADMITTED
    text: str = ""
    admission: Movement | None = None
    locked: bool = False
    scan_row: int = 0


class Free(NamedTuple):
    """Anyone may walk through."""


class Shut(NamedTuple):
    """Nobody may walk through."""


State = Ready | Asking | Recording | Open | Free | Shut


class Shown(NamedTuple):
    """The verdict that the lane shows at the moment, and to which code on which side."""

    digest: bytes
    verdict: Verdict
    text: str
    until_ms: int
    direction: Direction


class Standing(NamedTuple):
    """What frees or shuts the lane once nobody is being served, each for its causes."""

    free: tuple[Cause, ...] = ()
    shut: tuple[Cause, ...] = ()


class Lane(NamedTuple):
    """A lane: its settings, what stands, what it does now, and what it shows."""

    setup: Setup
    standing: Standing = Standing()
    state: State = Ready()
    shown: Shown | None = None

    def to(self, state: State, shown: Shown | None = None) -> "Lane":
        """The lane in another state. Three times as quick as `_replace`, and a scan does it twice."""
        return Lane(self.setup, self.standing, state, shown)
