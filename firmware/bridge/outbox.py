"""What the bridge sends to gates: handed over as fast as the connection's window allows, never kept longer.

Nothing here is worth keeping across a lost connection: a gate without a receipt sends its rows again, one
without a page asks again, and outcomes stand in the ledger.
"""

import threading
from collections import deque

from firmware import wire
from firmware.mqtt import Publication, Session, TooLarge

WAITING_MAX = 2_000  # receipts of a thousand gates that come back at once, twice
PAGES_WAITING_MAX = 8  # pages are long: the next is made when there is room; receipts wait behind few


class Outbox:
    """Publications that wait for the window. Any thread puts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._waiting: deque[Publication] = deque()
        self.dropped = 0

    def connected(self, session: Session) -> None:
        """Send through this session from now on."""
        with self._lock:
            self._waiting.clear()
            self._session = session

    def disconnected(self) -> None:
        """Drop what waits: whoever needs it asks again."""
        with self._lock:
            self._waiting.clear()
            self._session = None

    def put(self, topic: str, message: wire.Message) -> bool:
        """Send as soon as possible. False where nobody is connected, or too much waits already."""
        publication = Publication(topic, wire.encode(message))
        with self._lock:
            if self._session is None or len(self._waiting) >= WAITING_MAX:
                self.dropped += 1
                return False
            self._waiting.append(publication)
            self._pump()
            return True

    @property
    def has_room(self) -> bool:
        """Whether a long message would go out soon."""
        return self._session is not None and len(self._waiting) < PAGES_WAITING_MAX

    def pump(self) -> None:
        """The window has room again."""
        with self._lock:
            self._pump()

    def _pump(self) -> None:
        while self._session is not None and self._waiting:
            try:
                if not self._session.publish(self._waiting[0]):
                    return
            except TooLarge:  # the line names the fault; what the broker never takes must not block the rest
                self.dropped += 1
            self._waiting.popleft()
