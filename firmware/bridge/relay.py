"""Takes what gates send: rows into the ledger, acknowledged when they are safe; requests for the catalogue.

The connection's thread only hands over. One thread stores: all batches that wait share a transaction, and
only after its commit are they acknowledged and receipts sent. Another makes pages, one for each gate in turn,
so a gate that fetches a million tickets holds up nobody.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from firmware import wire
from firmware.bridge.database import LedgerLost
from firmware.bridge.feed import Feed
from firmware.bridge.gates import Gates
from firmware.bridge.ledger import Ledger, Stored, check
from firmware.bridge.oddities import Oddities
from firmware.bridge.outbox import Outbox
from firmware.bridge.work import Faults, Worker, fault_of
from firmware.config.values import NAME
from firmware.mqtt import Arrived, Session

BATCHES_AT_ONCE = 32  # in one transaction: 6,400 rows, some 100 ms, which a gate does not notice
# Not stored yet. We ask the broker for no more than 64 that are not acknowledged, but mosquitto 2.0.11 sends
# what it has: over a thousand were seen when as many gates connected. What finds no room comes again after
# 5 s, and then after 10 s: so small batches of all gates of the largest venue have room, twice.
BATCHES_WAITING_MAX = 4_000
BATCHES_WAITING_BYTES_MAX = 16 << 20
GATES_WAITING_MAX = 2_000  # that want pages at the same moment; one more asks again in a second
GATES_HEARD_MAX = 2_000  # of which the last contact is kept
# A page is given to every gate that asks for the same place within this time: after a broker's restart, or
# when a thousand gates hear that they lack something, each asks for the same one at the same moment.
PAGE_SHARED_MS = 1_000
PAGES_SHARED_MAX = 8  # a megabyte each while they are no bytes yet; gates that ask together are in few places
# The first row to come waits so long for others. An ask comes together with its own row, and a transaction at
# that moment takes this process away from it, while a person stands there. Nobody waits for a receipt.
GATHER_S = 0.004
IDLE_S = 60.0  # both threads are woken when there is something to do
# Several bridges share the work: each message reaches one of them (MQTT 5, 4.8.2). Each topic has a group of
# its own, because a small broker (iotcore 0.4) loses messages of a group with two filters.
#
# mosquitto 2.0.11 asks its access list about each message, and not about the subscription: whoever has any
# certificate may join any group, and takes its turn there, though it is then given nothing. So a group's
# name ends with a secret of the bridges of one ledger (`firmware.bridge.states.group_secret`).
GROUPS = {wire.JOURNAL: "bridge-journal", wire.ASK: "bridge-ask", wire.REQUEST: "bridge-request"}

HEALTH = (wire.TELEMETRY, wire.LOG)


class _Waiting(NamedTuple):
    """A batch that is not stored yet, and what acknowledges it."""

    gate: str
    batch: wire.Journal
    session: Session
    arrived: Arrived


class _Made(NamedTuple):
    """A page that other gates may get as well."""

    page: wire.CataloguePage
    at_utc_ms: int


class _Wanted(NamedTuple):
    """What a gate asked for, and how far it was given."""

    feed: str
    cursor: int
    pages: int


def subscriptions(venue: str, secret: str, health: bool = False) -> tuple[str, ...]:
    """What a bridge listens to: work shared with others, who is there, and with `health` how they are.

    `secret` is that of the ledger's groups. Of how gates are each bridge hears all: whichever is asked knows
    every gate.
    """
    shared = (shared_by(topic, venue, secret) for topic in GROUPS)
    own = (wire.STATUS, *(HEALTH if health else ()))
    return *shared, *(wire.address(topic, venue, "+") for topic in own)


def shared_by(topic: wire.Topic, venue: str, secret: str) -> str:
    """The subscription to this topic of all gates, shared by the bridges that know the secret."""
    return f"$share/{GROUPS[topic]}-{secret}/{wire.address(topic, venue, '+')}"


class Relay:
    """The listener of the bridge's connection, with its two threads.

    `stored` is called after each commit that brought something new, with True where reports are among it, on
    the storing thread. `connection` is called when there is one, on the connection's own thread.
    """

    def __init__(
        self,
        venue: str,
        ledger: Ledger,
        feed: Feed,
        outbox: Outbox,
        faults: Faults,
        now_utc_ms: Callable[[], int],
        stored: Callable[[bool], None],
        connection: Callable[[], None] = lambda: None,
        asked: Callable[[str, wire.Ask], None] = lambda _gate, _ask: None,
        born: Callable[[str, wire.Presence], None] = lambda _gate, _presence: None,
        gates: Gates | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`gates` take telemetry and warnings; without, none were asked for."""
        self._venue = venue
        self._ledger = ledger
        self._feed = feed
        self._outbox = outbox
        self._now_utc_ms = now_utc_ms
        self._stored = stored
        self._connection = connection
        self._asked = asked
        self._born = born
        self.gates = gates
        self._clock = clock
        self._since_s = -math.inf  # when a batch came and none was waiting
        self._lock = threading.Lock()
        self._batches: deque[_Waiting] = deque()
        self._batches_bytes = 0
        self._suspects: set[str] = set()  # gates with a batch that the ledger was lost over
        self._took = False  # the ledger, since it was lost last
        self._wanted: dict[str, _Wanted] = {}
        self._pages: dict[tuple[str, int], _Made] = {}  # by feed and cursor, the last one given behind
        self._heard_utc_ms: dict[str, int] = {}
        self.storing = Worker("storing", self._store_turn, faults)
        self.paging = Worker("pages", self._page_turn, faults)
        self.odd = Oddities()
        self.rows = 0
        """New rows that this process has stored."""

    def heard_utc_ms(self) -> Mapping[str, int]:
        """When each gate last sent something, as far as this process knows."""
        with self._lock:
            return dict(self._heard_utc_ms)

    @property
    def behind(self) -> bool:
        """Whether rows wait to be stored."""
        return bool(self._batches)

    # --- on the connection's thread --------------------------------------------------------------

    def connected(self, session: Session) -> None:
        """A new connection: what was not acknowledged on the old one comes again from the gates.

        A batch that is being stored at this moment is stored; its acknowledgement goes nowhere, and its
        receipt through the new connection.
        """
        with self._lock:
            self._batches.clear()
            self._batches_bytes = 0
            self._wanted.clear()
        self._outbox.connected(session)
        self._connection()

    def disconnected(self, session: Session, why: str) -> None:
        """The line connects again by itself, and says what is wrong."""
        self._outbox.disconnected(session)

    def acknowledged(self, session: Session) -> None:
        """There is room in the window."""
        self._outbox.pump()

    def arrived(self, session: Session, arrived: Arrived) -> None:
        """Check at the door, and hand over."""
        where = wire.addressed(arrived.topic, self._venue)
        try:
            own = (wire.STATUS, *(HEALTH if self.gates is not None else ()))
            if where is None or where.topic not in (*GROUPS, *own):
                where = None
                raise wire.Unfit("no topic that a bridge listens to")
            if not NAME.fullmatch(where.gate):
                where = None
                raise wire.Unfit("no name of a gate")
            self._sort(session, arrived, where)
        except wire.Unfit as unfit:
            gate, name = (where.gate, where.topic.name) if where else ("", "another topic")
            of = f" of gate {gate}" if gate else ""
            text = f"a message{of} on {name} was not taken: {unfit}"
            self.odd.add(gate, f"{name}: {type(unfit).__name__}", text)
            session.acknowledge(arrived)

    def _sort(self, session: Session, arrived: Arrived, where: wire.Addressed) -> None:
        if where.topic is wire.STATUS:
            presence = wire.decode(arrived.payload, wire.Presence)
            session.acknowledge(arrived)
            self._born(where.gate, presence)
            return
        if arrived.retained:
            raise wire.Unfit("it is retained, and only a status may be: clear it at the broker")
        if where.topic in HEALTH and self.gates is not None:
            told: wire.Telemetry | wire.Log
            if where.topic is wire.TELEMETRY:
                told = wire.decode(arrived.payload, wire.Telemetry)
            else:
                told = wire.decode(arrived.payload, wire.Log)
            with self._lock:
                self._heard(where.gate)
            session.acknowledge(arrived)  # of QoS 0 there is nothing to acknowledge
            self.gates.take(where.gate, told)
            return
        if where.topic is wire.ASK:
            ask = wire.decode(arrived.payload, wire.Ask)
            with self._lock:
                self._heard(where.gate)
            session.acknowledge(arrived)  # at once: who waits for an answer has no use for it much later
            self._asked(where.gate, ask)
            return
        if where.topic is wire.JOURNAL:
            batch = wire.decode(arrived.payload, wire.Journal)
            check(batch)
            with self._lock:
                self._heard(where.gate)
                size = self._batches_bytes + len(arrived.payload)
                full = len(self._batches) >= BATCHES_WAITING_MAX or size > BATCHES_WAITING_BYTES_MAX
                if not self._batches:
                    self._since_s = self._clock()
                if not full:
                    self._batches_bytes = size
                    self._batches.append(_Waiting(where.gate, batch, session, arrived))
            if full:
                session.acknowledge(arrived)  # without a receipt the gate sends it again
            self.storing.wake()
            return
        request = wire.decode(arrived.payload, wire.CatalogueRequest)
        with self._lock:
            self._heard(where.gate)
            if where.gate in self._wanted or len(self._wanted) < GATES_WAITING_MAX:
                self._wanted[where.gate] = _Wanted(request.feed, request.cursor, request.pages)
        session.acknowledge(arrived)
        self.paging.wake()

    def _heard(self, gate: str) -> None:
        if gate in self._heard_utc_ms or len(self._heard_utc_ms) < GATES_HEARD_MAX:
            self._heard_utc_ms[gate] = self._now_utc_ms()

    # --- storing -----------------------------------------------------------------------------------

    def _store_turn(self) -> float:
        """Store what waits; it leaves the queue only when it is safe, or can never be."""
        waiting = self._next()
        if not waiting:
            return IDLE_S
        left_s = self._since_s + GATHER_S - self._clock()
        if left_s > 0:
            return left_s
        try:
            stored = self._ledger.store_many([(one.gate, one.batch) for one in waiting], self._now_utc_ms())
        except LedgerLost as lost:
            self._lost(waiting, lost)
            raise
        except Exception:  # one of them can never be stored: find it, and take the others
            for each in waiting:
                self._store_one(each)
        else:
            self._settle(waiting, stored)
        return 0.0

    def _next(self) -> list[_Waiting]:
        """What is stored now: all that wait, but for suspects, of which one goes at a time, after the others.

        When the ledger is lost, nobody knows whether a batch is to blame. So each gate's is tried alone then,
        and those of a gate that loses it again wait behind the rest: one gate cannot stop all receipts.
        """
        with self._lock:
            self._suspects &= {one.gate for one in self._batches}
            others = [one for one in self._batches if one.gate not in self._suspects]
            return others[:BATCHES_AT_ONCE] or list(self._batches)[:1]

    def _lost(self, waiting: Sequence[_Waiting], lost: LedgerLost) -> None:
        """One of these may be what the ledger was lost over: all of their gates' go to the end, in order.

        A batch that loses it again, alone, while it took others, is set aside: the broker sends only so many
        that are not acknowledged.
        """
        gates = {one.gate for one in waiting}
        again, self._took = self._took and gates <= self._suspects, False
        with self._lock:
            self._suspects |= gates
            last = [one for one in self._batches if one.gate in gates]
            self._batches = deque([one for one in self._batches if one.gate not in gates] + last)
        if again and len(waiting) == 1:
            (gate,) = gates
            self.odd.add(gate, "rows: LedgerLost", f"rows of gate {gate} were not taken: {lost}")
            self._done(waiting)

    def _store_one(self, each: _Waiting) -> None:
        """Store one batch, or set it aside. Its gate keeps the rows, and says that they have no receipt."""
        try:
            stored = self._ledger.store(each.gate, each.batch, self._now_utc_ms())
        except LedgerLost as lost:
            self._lost([each], lost)
            raise
        except Exception as error:
            fault = fault_of(f"rows of gate {each.gate} were not taken", error)
            self.odd.add(each.gate, f"rows: {fault.kind}", fault.text)
        else:
            self._settle([each], [stored])
            return
        self._done([each])

    def _settle(self, waiting: Sequence[_Waiting], stored: Sequence[Stored]) -> None:
        """These are safe: acknowledge them, and send their receipts."""
        self._took = True
        with self._lock:
            self._suspects -= {one.gate for one in waiting}
        for each, told in zip(waiting, stored, strict=True):
            self._done([each])
            if told.refused:
                self.odd.add(each.gate, "rows: refused", f"rows were not taken: {told.refused}")
            if told.receipt is not None:
                topic = wire.address(wire.RECEIPT, self._venue, each.gate)
                self._outbox.put_receipt(topic, told.receipt)
        new_rows, reported = sum(told.new_rows for told in stored), any(told.reports for told in stored)
        self.rows += new_rows
        if new_rows or reported:
            self._stored(reported)

    def _done(self, done: Sequence[_Waiting]) -> None:
        """Done with. After a new connection they are not in the queue any more, others are."""
        those = set(map(id, done))
        with self._lock:
            self._batches = deque(one for one in self._batches if id(one) not in those)
            self._batches_bytes = sum(len(one.arrived.payload) for one in self._batches)
        for each in done:
            each.session.acknowledge(each.arrived)

    # --- pages -------------------------------------------------------------------------------------

    def _page_turn(self) -> float:
        """A page for each gate that wants one, as long as there is room; who got one goes to the end."""
        with self._lock:
            wanted = dict(self._wanted)
        for gate, want in wanted.items():
            if not self._outbox.has_room(self.paging.wake):
                return IDLE_S
            try:
                page = self._page(want)
            except LedgerLost:
                raise
            except Exception:  # of this request perhaps: the next gate must have its turn
                self._replace(gate, want, None)
                raise
            if not self._outbox.put(wire.address(wire.PAGE, self._venue, gate), page):
                return IDLE_S  # the connection went meanwhile, and the request with it
            more = page.more and want.pages > 1
            self._replace(gate, want, _Wanted(page.feed, page.upto, want.pages - 1) if more else None)
        return 0.0 if wanted else IDLE_S

    def _page(self, want: _Wanted) -> wire.CataloguePage:
        """What comes after a gate's cursor. A gate that lacks what is newer than its page asks for that.

        So a page that leads no further is never shared: gates would ask for it again and again.
        """
        place, now_ms = (want.feed, want.cursor), self._now_utc_ms()
        made = self._pages.pop(place, None)
        if made is None or not 0 <= now_ms - made.at_utc_ms < PAGE_SHARED_MS:
            made = _Made(self._feed.page(want.cursor, want.feed, now_ms), now_ms)
        if made.page.upto > made.page.after:
            self._pages[place] = made
        while len(self._pages) > PAGES_SHARED_MAX:
            del self._pages[next(iter(self._pages))]
        return made.page

    def _replace(self, gate: str, want: _Wanted, by: _Wanted | None) -> None:
        """This request was served; what the gate asked for meanwhile stays."""
        with self._lock:
            if self._wanted.get(gate) is want:
                del self._wanted[gate]
                if by is not None:
                    self._wanted[gate] = by
