"""Takes what gates send: rows into the ledger, acknowledged when they are safe; requests for the catalogue.

The connection's thread only hands over. One thread stores: all batches that wait share a transaction, and
only after its commit are they acknowledged and receipts sent. Another makes pages, one for each gate in turn,
so a gate that fetches a million tickets holds up nobody.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from firmware import wire
from firmware.bridge.feed import Feed
from firmware.bridge.ledger import Ledger
from firmware.bridge.outbox import Outbox
from firmware.bridge.work import Faults, Worker
from firmware.mqtt import Arrived, Session

BATCHES_AT_ONCE = 32  # in one transaction: 6,400 rows, some 100 ms, which a gate does not notice
BATCHES_WAITING_MAX = 256  # not acknowledged yet; the broker is told to hold the rest back long before
GATES_WAITING_MAX = 2_000  # that want pages at the same moment
IDLE_S = 60.0  # both threads are woken when there is something to do
SHARED = "$share/bridge/"  # several bridges share the work: each message reaches one of them


class _Waiting(NamedTuple):
    """A batch that is not stored yet, and what acknowledges it."""

    gate: str
    batch: wire.Journal
    session: Session
    arrived: Arrived


class _Wanted(NamedTuple):
    """What a gate asked for, and how far it was given."""

    feed: str
    cursor: int
    pages: int


def subscriptions(venue: str) -> tuple[str, ...]:
    """What a bridge listens to."""
    return tuple(SHARED + wire.address(topic, venue, "+") for topic in (wire.JOURNAL, wire.REQUEST))


class Relay:
    """The listener of the bridge's connection, with its two threads.

    `stored` is called after each commit with rows in it, on the storing thread.
    """

    def __init__(
        self,
        venue: str,
        ledger: Ledger,
        feed: Feed,
        outbox: Outbox,
        faults: Faults,
        now_utc_ms: Callable[[], int],
        stored: Callable[[], None],
    ) -> None:
        self._venue = venue
        self._ledger = ledger
        self._feed = feed
        self._outbox = outbox
        self._faults = faults
        self._now_utc_ms = now_utc_ms
        self._stored = stored
        self._lock = threading.Lock()
        self._batches: deque[_Waiting] = deque()
        self._wanted: dict[str, _Wanted] = {}
        self.storing = Worker("ledger", self._store_turn, faults)
        self.paging = Worker("pages", self._page_turn, faults)
        self.unfit = 0
        self.rows = 0

    # --- on the connection's thread --------------------------------------------------------------

    def connected(self, session: Session) -> None:
        """A new connection: what was not acknowledged on the old one comes again from the gates."""
        with self._lock:
            self._batches.clear()
            self._wanted.clear()
        self._faults.set("broker", "")
        self._outbox.connected(session)

    def disconnected(self, session: Session, why: str) -> None:
        """The line connects again by itself."""
        self._faults.set("broker", why)
        self._outbox.disconnected()

    def acknowledged(self, session: Session) -> None:
        """There is room in the window."""
        self._outbox.pump()
        if self._wanted:
            self.paging.wake()

    def arrived(self, session: Session, arrived: Arrived) -> None:
        """Check at the door, and hand over."""
        try:
            self._sort(session, arrived)
        except wire.Unfit as unfit:
            self.unfit += 1
            self._faults.set(f"message on {arrived.topic}", f"was not taken: {unfit}")
            session.acknowledge(arrived)

    def _sort(self, session: Session, arrived: Arrived) -> None:
        where = wire.addressed(arrived.topic, self._venue)
        if where is None or where.topic not in (wire.JOURNAL, wire.REQUEST):
            raise wire.Unfit("no topic that a bridge listens to")
        if arrived.retained:
            raise wire.Unfit("it is retained, and only a status may be: clear it at the broker")
        if where.topic is wire.JOURNAL:
            batch = wire.decode(arrived.payload, wire.Journal)
            with self._lock:
                if len(self._batches) >= BATCHES_WAITING_MAX:
                    return  # not acknowledged: the gate sends it again
                self._batches.append(_Waiting(where.gate, batch, session, arrived))
            self.storing.wake()
            return
        request = wire.decode(arrived.payload, wire.CatalogueRequest)
        with self._lock:
            if where.gate in self._wanted or len(self._wanted) < GATES_WAITING_MAX:
                self._wanted[where.gate] = _Wanted(request.feed, request.cursor, request.pages)
        session.acknowledge(arrived)
        self.paging.wake()

    # --- storing -----------------------------------------------------------------------------------

    def _store_turn(self) -> float:
        """Store what waits; it leaves the queue only when it is safe, or can never be."""
        with self._lock:
            waiting = [self._batches[at] for at in range(min(len(self._batches), BATCHES_AT_ONCE))]
        if not waiting:
            return IDLE_S
        try:
            stored = self._ledger.store_many(
                [(each.gate, each.batch) for each in waiting], self._now_utc_ms()
            )
        except wire.Unfit:
            self._store_singly(waiting)
            return 0.0
        for each, told in zip(waiting, stored, strict=True):
            self._settle(each, told.receipt)
        self.rows += sum(told.new_rows for told in stored)
        self._stored()
        return 0.0

    def _store_singly(self, waiting: list[_Waiting]) -> None:
        """One of them can never be stored: find it, and take the others."""
        for each in waiting:
            try:
                told = self._ledger.store(each.gate, each.batch, self._now_utc_ms())
            except wire.Unfit as unfit:
                self.unfit += 1
                self._faults.set(f"rows of gate {each.gate}", f"were not taken: {unfit}")
                self._settle(each, None)
            else:
                self.rows += told.new_rows
                self._settle(each, told.receipt)
        self._stored()

    def _settle(self, each: _Waiting, receipt: wire.Receipt | None) -> None:
        """The batch is done with: acknowledged, and its receipt on the way."""
        with self._lock:
            if self._batches and self._batches[0] is each:
                self._batches.popleft()
        each.session.acknowledge(each.arrived)
        if receipt is not None:
            self._outbox.put(wire.address(wire.RECEIPT, self._venue, each.gate), receipt)

    # --- pages -------------------------------------------------------------------------------------

    def _page_turn(self) -> float:
        """A page for each gate that wants one, as long as the window takes them."""
        with self._lock:
            wanted = dict(self._wanted)
        if not wanted:
            return IDLE_S
        for gate, want in wanted.items():
            if not self._outbox.has_room:
                return IDLE_S  # woken when there is
            page = self._feed.page(want.cursor, want.feed)
            if not self._outbox.put(wire.address(wire.PAGE, self._venue, gate), page):
                return IDLE_S
            with self._lock:
                if self._wanted.get(gate) is want:
                    del self._wanted[gate]
                    if page.more and want.pages > 1:
                        self._wanted[gate] = _Wanted(page.feed, page.upto, want.pages - 1)
        return 0.0
