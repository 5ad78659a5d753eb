"""What waits for the loop: news of readers, sensors, the disk, the network and the alarm.

Any thread puts, the loop alone takes. The alarm is taken before everything else, and the journal's news
always have room, because the journal bounds them itself. What the world outside delivers has a bound, and
neither a flood of it nor a batch of the journal's news takes the other's room.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, NamedTuple, TypeVar

WAITING_MAX = 256  # a loop that is this far behind is broken; four readers deliver 40 codes a second at most
URGENT_MAX = 64  # a contact that chatters while the loop stands still; its last state is looked at anyway

News = TypeVar("News")


class Taken(NamedTuple, Generic[News]):
    """News, and when it arrived (nanoseconds of the inbox's clock)."""

    news: News
    arrived_ns: int
    counted: bool


class Inbox(Generic[News]):
    """A bounded queue with a fast lane."""

    def __init__(self, ticks_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._ticks_ns = ticks_ns
        self._queue: SimpleQueue[Taken[News] | None] = SimpleQueue()
        self._urgent: deque[Taken[News]] = deque()
        self._counting = threading.Lock()
        self._counted = 0
        self.dropped = 0

    def put(self, news: News) -> bool:
        """Hand in; False where the loop is too far behind, and then the news is counted as dropped."""
        with self._counting:
            if self._counted >= WAITING_MAX:
                self.dropped += 1
                return False
            self._counted += 1
        self._queue.put(Taken(news, self._ticks_ns(), True))
        return True

    def put_always(self, news: News) -> None:
        """Hand in what is bounded elsewhere."""
        self._queue.put(Taken(news, self._ticks_ns(), False))

    def put_first(self, news: News) -> bool:
        """Hand in what goes before everything that waits; False where `URGENT_MAX` wait already.

        Takes no lock, so a signal handler may call it.
        """
        if len(self._urgent) >= URGENT_MAX:
            return False
        self._urgent.append(Taken(news, self._ticks_ns(), False))
        self._queue.put(None)  # wakes the loop
        return True

    def take(self, timeout_s: float) -> Taken[News] | None:
        """The next news, or `None` when none came in time."""
        while not self._urgent:
            try:
                taken = self._queue.get(timeout=timeout_s) if timeout_s > 0 else self._queue.get_nowait()
            except Empty:
                return None
            if taken is None:
                continue  # it stood for something urgent, which was taken before its turn
            if taken.counted:
                with self._counting:
                    self._counted -= 1
            if not self._urgent:
                return taken
            self._urgent.append(taken)  # it came at the same moment as something urgent, and goes behind it
        return self._urgent.popleft()

    def __len__(self) -> int:
        """How much waits."""
        return self._queue.qsize()
