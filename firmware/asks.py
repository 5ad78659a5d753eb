"""Asks under way, and those whose answer may still come: the loop's own, without a thread or a network."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from firmware.core.effects import Ask
from firmware.core.events import Scanned
from firmware.core.states import Open, State
from firmware.core.ticket import Direction, Moment, Perimeter, Route

ASKS_MAX = 256  # questions under way or answered late; a lane asks one at a time


class Asked(NamedTuple):
    """An ask that is on disk. `opened` says whether the lane opened for that scan; the code may be unknown.

    `digest` is the chain digest of the ask's row: with it an answer to another gate's ask is told apart.
    """

    lane: str
    subject: str
    direction: Direction
    code: str
    at_utc_ms: int
    digest: bytes = b""
    opened: bool = False


class Question(NamedTuple):
    """What the vendor is asked: the core's ask, the scan that it is about, and where that was."""

    ask: Ask
    scan: Scanned
    code: str
    perimeter: Perimeter
    digest: bytes


class Link(Protocol):
    """The way to whoever answers asks. It must not wait."""

    def look(self, route: Route, perimeter: Perimeter, moment: Moment) -> Route:
        """The route of a scan, with what is known of its vendor at this moment."""

    def ask(self, question: Question) -> str:
        """Send the question; the answer comes through `Gate.answer`. Says why it could not be sent, or ""."""


class Asks:
    """The newest `ASKS_MAX` asks, by scan."""

    def __init__(self, left: Mapping[int, Asked]) -> None:
        """`left` are those of the processes before this one."""
        self._asked: dict[int, Asked] = {}
        for scan, asked in left.items():
            self.remember(scan, asked)

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._asked)

    def get(self, scan: int) -> Asked | None:
        """The ask of a scan."""
        return self._asked.get(scan)

    def remember(self, scan: int, asked: Asked) -> None:
        """An ask that was handed to the journal."""
        self._asked[scan] = asked
        while len(self._asked) > ASKS_MAX:
            del self._asked[next(iter(self._asked))]

    def safe(self, row: int, digest: bytes) -> None:
        """A row is on disk, and this is its digest."""
        if row in self._asked:
            self._asked[row] = self._asked[row]._replace(digest=digest)

    def opened(self, state: State) -> None:
        """A lane opened. Whether it was for an ask decides what a late answer to that means."""
        if isinstance(state, Open) and state.scan_row in self._asked:
            self._asked[state.scan_row] = self._asked[state.scan_row]._replace(opened=True)
