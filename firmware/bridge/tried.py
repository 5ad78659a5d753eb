"""What all who work for one vendor account remember together: a refused log-in, and what goes again."""

import threading
from typing import NamedTuple

from firmware.bridge.vendor import LogInRefused

# After a refused log-in: some services lock a user out after a handful of tries, and a right password is read
# at a restart only. No longer, because the refusal may be the vendor's own trouble.
LOG_IN_AFTER_MS = 300_000
COUNTED_MAX = 10_000  # movements whose tries are counted: 1 MB; the oldest begins anew where there are more


class Waiting(NamedTuple):
    """A movement that the vendor neither takes nor refuses: how often it said so, and its last word."""

    tries: int
    why: str


class Tried:
    """Safe to use from several threads. A restart begins anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refused = 0, LogInRefused()  # until when nobody logs in, and why
        self._waiting: dict[int, Waiting] = {}  # by work; the ledger counts outages too

    def refused(self, error: LogInRefused, now_utc_ms: int) -> None:
        """A log-in was refused: for some minutes nobody tries another."""
        with self._lock:
            self._refused = now_utc_ms + LOG_IN_AFTER_MS, error

    def heed(self, now_utc_ms: int) -> None:
        """Raise the last refusal again, without asking the vendor, until it is time for another log-in."""
        with self._lock:
            until_ms, error = self._refused
        if 0 < until_ms - now_utc_ms <= LOG_IN_AFTER_MS:  # further ahead only where the clock was wrong
            raise LogInRefused(*error.args)

    def again(self, work: int, why: str) -> int:
        """This goes again; for which time, as far as is remembered."""
        with self._lock:
            before = self._waiting.pop(work, None)
            tries = before.tries + 1 if before else 1
            if len(self._waiting) >= COUNTED_MAX:
                del self._waiting[next(iter(self._waiting))]
            self._waiting[work] = Waiting(tries, why)
        return tries

    def done(self, work: int) -> None:
        """The vendor has said yes or no, or nobody asks it any more."""
        with self._lock:
            self._waiting.pop(work, None)

    def waiting(self, tries: int) -> list[Waiting]:
        """What went again so often, or more."""
        with self._lock:
            return [each for each in self._waiting.values() if each.tries >= tries]
