"""What happened at a sandbox, whichever vendor it plays: who did what to which ticket, and the sums."""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

WORD = 0xFFFF_FFFF_FFFF_FFFF


class Operator(NamedTuple):
    """Who did something at the vendor."""

    id: str
    name: str
    email: str


SELLER = Operator("7700", "Box Office", "boxoffice@example.com")
ELSEWHERE = Operator("7702", "Another Door", "another.door@example.com")


class Change(NamedTuple):
    """One thing that happened to a ticket. Numbers grow over all tickets, without gaps.

    `what` is checkin, checkout, sold, refunded, code or transferred; `code` is the one scanned, or
    the new one; `at_ms` is the sandbox's time and `said_ms` the time that the caller gave. `how` is for
    vendors with several ways to tell of the same.
    """

    number: int
    ticket_id: str
    what: str
    code: str
    at_ms: int
    said_ms: int
    operator: Operator
    how: str = ""


class Books(NamedTuple):
    """The sums. `repeats` came again and changed nothing; `twice` came again and were carried out again."""

    changes: int
    check_ins: int
    check_outs: int
    inside: int
    repeats: int
    twice: int


class Log:
    """All that happened, with its sums, by a time that never goes back. Who adds to it holds `lock`."""

    def __init__(self, clock: Callable[[], int], from_ms: int) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.repeats = self.twice = self.inside = 0
        self._check_ins = self._check_outs = 0
        self._last_ms = from_ms
        self._changes: list[Change] = []

    def now(self) -> int:
        """The sandbox's time."""
        self._last_ms = max(self._last_ms, self.clock())
        return self._last_ms

    def keep(
        self, ticket_id: str, what: str, code: str, said_ms: int, operator: Operator, how: str = ""
    ) -> Change:
        """Write down that something happens now."""
        self._check_ins += what == "checkin"
        self._check_outs += what == "checkout"
        number = len(self._changes) + 1
        self._changes.append(Change(number, ticket_id, what, code, self.now(), said_ms, operator, how))
        return self._changes[-1]

    def count(self) -> int:
        """How much happened."""
        return len(self._changes)

    def all(self) -> list[Change]:
        """Everything, in order."""
        with self.lock:
            return list(self._changes)

    def books(self) -> Books:
        """The sums."""
        with self.lock:
            done = (len(self._changes), self._check_ins, self._check_outs)
            return Books(*done, self.inside, self.repeats, self.twice)


def mix(number: int) -> int:
    """64 bits that look random and always come out the same (the finaliser of SplitMix64)."""
    number = (number + 0x9E37_79B9_7F4A_7C15) & WORD
    number = (number ^ number >> 30) * 0xBF58_476D_1CE4_E5B9 & WORD
    number = (number ^ number >> 27) * 0x94D0_49BB_1331_11EB & WORD
    return number ^ number >> 31


def utc_ms() -> int:
    """The machine's clock."""
    return time.time_ns() // 1_000_000
