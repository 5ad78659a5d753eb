"""Messages of gates that were not taken: counted, and each kind of each gate said once.

They are no faults of the moment: nobody can say when one is over. A person reads what was said; health has
the counts.
"""

import threading
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

KINDS_MAX = 200  # gates times kinds; beyond that something makes names up, and all are counted as one
UNSAID_MAX = 100  # lines that nobody has fetched yet; they are fetched each second
OTHERS = ("others", "")
TEXT_CHARACTERS_MAX = 300  # of a line: a reason, not a payload


class Oddity(NamedTuple):
    """How often it happened, and the reason of the last one."""

    times: int
    text: str


class Oddities:
    """Any thread counts, any thread asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[tuple[str, str], Oddity] = {}
        self._unsaid: deque[str] = deque(maxlen=UNSAID_MAX)

    def add(self, gate: str, kind: str, text: str) -> None:
        """One more. The first of its gate and kind is news."""
        text = text[:TEXT_CHARACTERS_MAX]
        with self._lock:
            place = (gate, kind) if (gate, kind) in self._of or len(self._of) < KINDS_MAX else OTHERS
            before = self._of.get(place)
            self._of[place] = Oddity(before.times + 1 if before else 1, text)
            if before is None:
                more = " (further kinds are counted and not said)" if place == OTHERS else ""
                self._unsaid.append(f"{text}{more}")

    def news(self) -> list[str]:
        """What was not said yet."""
        with self._lock:
            said = list(self._unsaid)
            self._unsaid.clear()
        return said

    def counts(self) -> Mapping[tuple[str, str], Oddity]:
        """All of them, by gate and kind."""
        with self._lock:
            return dict(self._of)
