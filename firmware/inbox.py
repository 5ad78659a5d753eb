"""What waits for the loop: news of readers, sensors, the disk, the network and the alarm.

Any thread puts, the loop alone takes. The alarm is taken before everything else and always has room; the
journal's news always have room too, because the journal bounds them itself.
"""

from collections import deque
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

WAITING_MAX = 256  # a loop that is this far behind is broken; four readers deliver 40 codes a second at most

News = TypeVar("News")


class Inbox(Generic[News]):
    """A bounded queue with a fast lane."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[News | None] = SimpleQueue()
        self._urgent: deque[News] = deque()
        self.dropped = 0

    def put(self, news: News) -> bool:
        """Hand in; False where the loop is too far behind, and then the news is counted as dropped."""
        if self._queue.qsize() >= WAITING_MAX:
            self.dropped += 1
            return False
        self._queue.put(news)
        return True

    def put_always(self, news: News) -> None:
        """Hand in what is bounded elsewhere."""
        self._queue.put(news)

    def put_first(self, news: News) -> None:
        """Hand in what goes before everything that waits."""
        self._urgent.append(news)
        self._queue.put(None)

    def take(self, timeout_s: float) -> News | None:
        """The next news, or `None` when none came in time."""
        if self._urgent:
            return self._urgent.popleft()
        try:
            news = self._queue.get(timeout=timeout_s) if timeout_s > 0 else self._queue.get_nowait()
        except Empty:
            return None
        if news is None or self._urgent:
            return self._first_of(news)
        return news

    def _first_of(self, news: News | None) -> News | None:
        """What came ordinarily at the same moment as something urgent goes behind it."""
        if news is not None:
            self._urgent.append(news)
        return self._urgent.popleft() if self._urgent else None

    def __len__(self) -> int:
        """How much waits."""
        return self._queue.qsize()
