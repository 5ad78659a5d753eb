"""How much a gate or a bridge says to a person."""

import time
from collections.abc import Callable, Sequence

LINES_MAX = 20  # a minute: a loose plug, or a broker that comes and goes, must not fill the disk with log
MINUTE_S = 60.0


class Ration:
    """Lets `LINES_MAX` lines through in a minute. `more` is the last of them where there would be more."""

    def __init__(self, more: str, now_s: Callable[[], float] = time.monotonic) -> None:
        self._more, self._now_s = more, now_s
        self._left, self._minute_ends_s = 0, float("-inf")
        self.dropped = 0
        """How many lines were not let through so far."""

    def of(self, lines: Sequence[str]) -> list[str]:
        """Those that may be told; the others are gone."""
        now_s = self._now_s()
        if now_s >= self._minute_ends_s:
            self._left, self._minute_ends_s = LINES_MAX, now_s + MINUTE_S
        told = list(lines[: max(0, self._left - 1)])
        self._left -= len(told)
        self.dropped += len(lines) - len(told)
        if len(told) < len(lines) and self._left == 1:
            told.append(self._more)
            self._left = 0
        return told
