"""Rows of orders and settings that were refused. A flood of them must fill neither the journal nor memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass

MINUTE_S = 60.0
KINDS_MAX = 256  # some reasons for each operator; what goes beyond is counted with the last
FROM_ANYBODY = 1  # a minute, of one reason, where nobody knows who sent it
FROM_OPERATOR = 10  # a minute, of one reason and one key: a person who tries again makes a row each time


@dataclass(slots=True)
class _Kind:
    until_s: float
    left: int
    counted: int = 0


class Refusals:
    """Writes some of each kind in a minute, counts the others, and says at its end how many they were."""

    def __init__(
        self, note: Callable[[str], None], now_s: Callable[[], float] = time.monotonic, what: str = "orders"
    ) -> None:
        """`note` writes a row; `what` names what is refused."""
        self._note, self._now_s, self._what = note, now_s, what
        self._kinds: dict[str, _Kind] = {}

    def refused(self, kind: str, text: str, most: int) -> None:
        """An order was refused; `kind` is the reason, and whose it was."""
        now_s = self._now_s()
        if kind not in self._kinds and len(self._kinds) >= KINDS_MAX:
            kind, text, most = "others", f"{self._what} refused for ever more reasons", FROM_ANYBODY
        found = self._kinds.setdefault(kind, _Kind(now_s + MINUTE_S, most))
        if found.left:
            found.left -= 1
            self._note(text)
        else:
            found.counted += 1

    def look(self) -> None:
        """Tell of those minutes that are over."""
        now_s = self._now_s()
        for kind, found in [(kind, found) for kind, found in self._kinds.items() if now_s >= found.until_s]:
            del self._kinds[kind]
            if found.counted:
                self._note(f"{found.counted:,} more {self._what} refused in a minute: {kind}")
