"""What the bridge sends to gates: handed over as fast as the connection's window allows, never kept longer.

Nothing here is worth keeping across a lost connection: a gate without a receipt sends its rows again, one
without a page asks again, and outcomes stand in the ledger.
"""

import threading
from collections import deque
from collections.abc import Callable

from firmware import wire
from firmware.bridge.work import Fault, Faults
from firmware.mqtt import Publication, Session, TooLarge

RECEIPTS_WAITING_MAX = 2_000  # some 100 bytes each: a thousand gates that come back at once, twice
ANSWERS_WAITING_MAX = 2_000  # some 100 bytes each: one for each lane of a large venue, and its health
LONG_WAITING_MAX = 8  # 64 kB each: the next is made when there is room, and memory stays flat
TOO_LARGE = "messages to gates"


class Outbox:
    """Publications that wait for the window: answers first, then receipts, then all others. Any thread puts.

    Long messages take half of the window at most, so that a receipt never waits behind more than that.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._answers: deque[Publication] = deque()
        self._receipts: deque[Publication] = deque()
        self._long: deque[Publication] = deque()
        self._wakes: set[Callable[[], None]] = set()
        self.dropped = 0

    def connected(self, session: Session) -> None:
        """Send through this session from now on."""
        with self._lock:
            self._session = session
            self._clear()
            self._faults.clear(TOO_LARGE)
            self._pump()

    def disconnected(self, session: Session) -> None:
        """Drop what waits: whoever needs it asks again."""
        with self._lock:
            if session is self._session:
                self._session = None
                self._clear()

    def put_answer(self, topic: str, message: wire.Answer | wire.Vendors) -> bool:
        """Send before all else, for somebody stands at a lane. False as below."""
        return self._put(self._answers, ANSWERS_WAITING_MAX, topic, message)

    def put_receipt(self, topic: str, receipt: wire.Receipt) -> bool:
        """Send before long messages. False where nobody is connected, or too many wait already."""
        return self._put(self._receipts, RECEIPTS_WAITING_MAX, topic, receipt)

    def put(self, topic: str, message: wire.Message) -> bool:
        """Send as soon as possible. False where nobody is connected, or too many wait already."""
        return self._put(self._long, LONG_WAITING_MAX, topic, message)

    @property
    def is_connected(self) -> bool:
        """Whether anything can be sent."""
        return self._session is not None

    def has_room(self, wake: Callable[[], None]) -> bool:
        """Whether `put` would take a message; if not, `wake` is called once it would."""
        with self._lock:
            if not self._room():
                self._wakes.add(wake)
                return False
            return True

    def pump(self) -> None:
        """The window has room again."""
        with self._lock:
            self._pump()

    def _put(self, queue: deque[Publication], most: int, topic: str, message: wire.Message) -> bool:
        publication = Publication(topic, wire.encode(message))
        with self._lock:
            if self._session is None or len(queue) >= most:
                self.dropped += 1
                return False
            queue.append(publication)
            self._pump()
            return True

    def _room(self) -> bool:
        return self._session is not None and len(self._long) < LONG_WAITING_MAX

    def _clear(self) -> None:
        self._answers.clear()
        self._receipts.clear()
        self._long.clear()

    def _pump(self) -> None:
        while (session := self._session) is not None:
            if self._answers:
                queue = self._answers
            elif self._receipts:
                queue = self._receipts
            elif self._long and session.in_flight < max(1, session.window // 2):
                queue = self._long
            else:
                break
            try:
                if not session.publish(queue[0]):
                    break
            except TooLarge as error:  # what this broker never takes must not block the rest
                self.dropped += 1
                self._faults.set(TOO_LARGE, Fault(TOO_LARGE, "TooLarge", f"{TOO_LARGE}: {error}"))
            queue.popleft()
        if self._wakes and self._room():
            for wake in self._wakes:
                wake()
            self._wakes.clear()
