"""Whether a vendor is worth asking at this moment: a person at a lane must not wait for one that is silent.

Each bridge process has its own for each account, because the way to the vendor may be broken for one of them.
What counts against a vendor is its silence, or that it fails; never what it says about a ticket.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

FAILURES_IN_A_ROW = 5  # a rush has as many in a second; fewer happen on a bad line
WINDOW = 20  # of the last asks; where most of them failed, it is no use to wait for the others
FAILED_OF_WINDOW = 11
REST_S_MIN = 1.0  # before the first trial: what was a hiccup is over by then
REST_S_MAX = 15.0  # a vendor that is back is asked again that soon
STEADY_S = 60.0  # a vendor that lasted so long after it came back begins with short rests again


class Breaker:
    """Open: nobody asks, until a trial was answered. Any thread may call; `changed` comes without a lock."""

    def __init__(self, changed: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._changed = changed
        self._clock = clock
        self._lock = threading.Lock()
        self._last: deque[bool] = deque(maxlen=WINDOW)  # whether each of the last asks failed
        self._row = 0
        self._why = ""
        self._unreached = False
        self._open = False
        self._closed_s = 0.0
        self._rest_s = REST_S_MIN
        self._trial_s = 0.0
        self.openings = 0
        """How often it opened."""

    @property
    def is_open(self) -> bool:
        """Whether nobody is to ask."""
        return self._open

    @property
    def why(self) -> str:
        """What is wrong with the vendor; "" while it can be asked."""
        return self._why

    @property
    def unreached(self) -> bool:
        """Whether nobody is to ask because there is no way to it, not because it fails or is silent."""
        return self._open and self._unreached

    def answered(self) -> None:
        """The vendor answered an ask in time, whatever it said."""
        with self._lock:
            self._row = 0
            self._last.append(False)

    def failed(
        self, why: str, rest_s: float = 0.0, *, unreached: bool = False, at_once: bool = False
    ) -> None:
        """The vendor did not answer in time, or failed. `rest_s`: it asked to be left alone for so long.

        With `unreached` there was no way to it. With `at_once` it opens whatever was before: no ask may go.
        """
        with self._lock:
            if self._open:
                return
            self._unreached = unreached
            self._row += 1
            self._last.append(True)
            few = self._row < FAILURES_IN_A_ROW and sum(self._last) < FAILED_OF_WINDOW
            if few and not at_once:
                return
            now_s = self._clock()
            if now_s - self._closed_s >= STEADY_S:
                self._rest_s = REST_S_MIN
            self._open, self._why = True, why
            self._trial_s = now_s + max(self._rest_s, rest_s)
            self.openings += 1
        self._changed()

    def trial_in_s(self) -> float | None:
        """When the vendor is to be tried; `None` while it can be asked."""
        with self._lock:
            return max(0.0, self._trial_s - self._clock()) if self._open else None

    def out_of_reach(self) -> None:
        """What was silent for too long could not be reached, as is known now."""
        with self._lock:
            news, self._unreached = not self._unreached, True
        if news and self._open:
            self._changed()

    def tried(self, why: str, rest_s: float = 0.0, *, unreached: bool = False) -> None:
        """What came of a trial: "" for an answer in time, which closes, or what went wrong.

        A trial goes where asks go, but it is none (at Presence the ticket service may only have said that
        it knows no such page), so one that closes is believed as far as the next ask: a failure opens again,
        an answer ends the suspicion.
        """
        with self._lock:
            if not self._open:
                return
            now_s = self._clock()
            self._rest_s = min(2 * self._rest_s, REST_S_MAX)
            if why:
                news, self._unreached = self._unreached is not unreached, unreached
                self._why = why
                self._trial_s = now_s + max(self._rest_s, rest_s)
            else:
                news, self._open, self._why, self._closed_s = True, False, "", now_s
                self._row = FAILURES_IN_A_ROW - 1
                self._last.clear()
        if news:
            self._changed()
