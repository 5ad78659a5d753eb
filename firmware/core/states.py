"""The states of a lane, each with its deadline and the scan it serves, where it has one."""

from typing import NamedTuple

from firmware.core.events import Cause, Order, Ordered, Scanned
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

    `row` is the row that it waits for; `scan_row` names the scan, or the order, that this is about. With
    `granted` it was the vendor that said yes, when it was asked about this scan.
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
    granted: bool = False


class Open(NamedTuple):
    """One person may walk through; once `locked`, a walk that had begun may still end.

    `row` is the row that opened the lane; `scan_row` and `granted` are as in `Recording`.
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
    granted: bool = False


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


FREED = frozenset({Cause.ALARM, Cause.UNACKNOWLEDGED, Cause.DRILL})  # whatever else is ordered


class Standing(NamedTuple):
    """What frees or shuts the lane once nobody is being served, each for its causes."""

    free: tuple[Cause, ...] = ()
    shut: tuple[Cause, ...] = ()

    @property
    def rest(self) -> State:
        """Where a lane goes when nobody is served.

        The alarm frees, also one not acknowledged; the operator's word holds, then conditions: free first.
        """
        if not FREED.isdisjoint(self.free):
            return Free()
        if Cause.OPERATOR in self.shut:
            return Shut()
        if self.free:
            return Free()
        return Shut() if self.shut else Ready()

    def ordered(self, event: Ordered) -> "Standing":
        """What stands after an order."""
        if event.cause is Cause.ALARM:
            return self  # the contact alone begins an alarm and ends it
        free, shut = without(self.free, event.cause), without(self.shut, event.cause)
        if event.order is Order.FREE:
            return Standing(including(free, event.cause), shut)
        return Standing(free, including(shut, event.cause) if event.order is Order.SHUT else shut)


def including(causes: tuple[Cause, ...], cause: Cause) -> tuple[Cause, ...]:
    """Those causes, and this one once."""
    return causes if cause in causes else (*causes, cause)


def without(causes: tuple[Cause, ...], cause: Cause) -> tuple[Cause, ...]:
    """Those causes, but not this one."""
    return tuple(c for c in causes if c is not cause)


class Lane(NamedTuple):
    """A lane: its settings, what stands, what it does now, and what it shows."""

    setup: Setup
    standing: Standing = Standing()
    state: State = Ready()
    shown: Shown | None = None

    def to(self, state: State, shown: Shown | None = None) -> "Lane":
        """The lane in another state. Three times as quick as `_replace`, and a scan does it twice."""
        return Lane(self.setup, self.standing, state, shown)
