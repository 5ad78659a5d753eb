"""The way of each scan beyond the lane: sent, confirmed by the bridge, answered by the vendor. With times.

What left the gate is heard at the broker, as anybody there could hear it; receipts and the vendor's words are
what the gate itself heard. So is the way back: a ticket that was changed at the vendor, until it is in the
gate's catalogue.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from firmware import wire
from firmware.demo.network import LOOPBACK
from firmware.mqtt import Arrived, Broker, Line, Pace, Session
from firmware.row import epoch_and_seq
from firmware.shots import Shot
from firmware.signals import TEXT_MAX, visible
from firmware.uplink import Uplink

WAYS_MAX = 2_000  # scans that are remembered; the oldest is forgotten, and its rows are in the journal
HEARD_MAX = 1_000  # rows heard that are no scan's, or whose scan comes within milliseconds
TOLD_MAX = 10_000  # news that nobody has shown yet: a terminal that was stopped
QUICK_S = 0.005  # between two looks at the gate's cursors while something is awaited
IDLE_S = 0.1
JOIN_S_MAX = 5.0

Fact = str | int | float | bool | None


class Told(NamedTuple):
    """A piece of news: for people, for programs, and whether a picture shows it anyway."""

    text: str
    facts: dict[str, Fact]
    drawn: bool = False


@dataclass(slots=True)
class Way:
    """How far a scan has come. Nanoseconds of `perf_counter`, `None` where it has not come there yet."""

    shot: Shot
    sent_ns: int | None = None
    receipt_ns: int | None = None
    vendor_ns: int | None = None
    word: wire.Outcome | None = None

    @property
    def goes_to_the_vendor(self) -> bool:
        """Whether the vendor will be told: somebody was let in or out with one of its tickets."""
        return self.shot.relay_ns is not None and ":" in self.shot.scan.subject

    @property
    def done(self) -> bool:
        """Whether nothing more is to come."""
        return self.receipt_ns is not None and (self.word is not None or not self.goes_to_the_vendor)

    def since_ms(self, ns: int | None) -> float | None:
        """Milliseconds since the code was read."""
        return None if ns is None else round((ns - self.shot.read_ns) / 1e6, 2)


@dataclass(slots=True)
class Change:
    """A ticket that was changed at the vendor, on its way to the gate."""

    what: str
    ticket_id: str
    begun_ns: int
    feed: str = ""
    upto: int = 0


class Ways:
    """Listens at the broker and looks at the gate's cursors, on threads of its own. Any thread may ask."""

    def __init__(self, venue: str, gate: str, broker_port: int, pace: Pace, ring: Callable[[], None]) -> None:
        self._venue, self._ring = venue, ring
        self._lock = threading.Lock()
        self._ways: OrderedDict[int, Way] = OrderedDict()
        self._unconfirmed: dict[int, Way] = {}
        self._sent: OrderedDict[int, int] = OrderedDict()
        self._changes: list[Change] = []
        self._told: deque[Told] = deque(maxlen=TOLD_MAX)
        self._uplink: Uplink | None = None
        self._over = threading.Event()
        self._awaits = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ways", daemon=True)
        topics = (wire.address(wire.JOURNAL, venue, gate), wire.address(wire.CHANGES, venue))
        self._line = Line((Broker(LOOPBACK, broker_port),), f"onlooker-{gate}", topics, self, pace=pace)

    # --- what the demo tells -------------------------------------------------------------------------

    def begin(self, uplink: Uplink) -> None:
        """Watch this gate's way."""
        self._uplink = uplink
        self._line.start()
        self._thread.start()

    def add(self, shot: Shot) -> None:
        """A scan is finished at the lane. One without a row goes nowhere."""
        if not shot.row:
            return
        with self._lock:
            way = self._ways[shot.row] = Way(shot, self._sent.pop(shot.row, None))
            self._unconfirmed[shot.row] = way
            while len(self._ways) > WAYS_MAX:
                gone, _ = self._ways.popitem(last=False)
                self._unconfirmed.pop(gone, None)
        self._awaits.set()

    def expect(self, what: str, ticket_id: str, begun_ns: int) -> None:
        """This ticket was changed at the vendor: tell when the gate knows."""
        with self._lock:
            self._changes.append(Change(what, ticket_id, begun_ns))

    def forget(self, ticket_id: str) -> None:
        """It was not changed after all."""
        with self._lock:
            self._changes = [change for change in self._changes if change.ticket_id != ticket_id]

    def tell(self, told: Told) -> None:
        """Any other piece of news."""
        self._told.append(told)
        self._ring()

    def outcome(self, outcome: wire.Outcome) -> None:
        """The gate has heard what the vendor said about a scan. On the uplink's thread."""
        now_ns = time.perf_counter_ns()
        epoch, seq = epoch_and_seq(outcome.scan)
        if self._uplink is not None:
            self._look(self._uplink)  # the receipt came first, and is told first
        with self._lock:
            way = self._ways.get(outcome.scan)
            if way is not None:
                self._on_word(way, now_ns, outcome)
            else:
                facts = {"told": "vendor", "code": None, "epoch": epoch, "seq": seq, **_facts(outcome)}
                text = f"the vendor's word on row {epoch}.{seq}, of an earlier run: {words(outcome)}"
                self._told.append(Told(text, {**facts, "vendor_ms": None}))
        self._ring()

    # --- what the screen asks ------------------------------------------------------------------------

    def way(self, row: int) -> Way | None:
        """Of the scan with this row."""
        with self._lock:
            return self._ways.get(row)

    def under_way(self) -> int:
        """Scans and changes of which something is still to come."""
        with self._lock:
            return sum(not way.done for way in self._ways.values()) + len(self._changes)

    def news(self) -> Iterator[Told]:
        """What is new since the last look."""
        while self._told:
            yield self._told.popleft()

    # --- the line to the broker, on its thread ---------------------------------------------------------

    def connected(self, session: Session) -> None:
        """Nothing to do."""

    def disconnected(self, session: Session, why: str) -> None:
        """What is published meanwhile is not heard here; the gate's own cursors tell anyway."""

    def acknowledged(self, session: Session) -> None:
        """Nothing is sent."""

    def arrived(self, session: Session, arrived: Arrived) -> None:
        """Rows went by, or changes did."""
        now_ns = time.perf_counter_ns()
        found = wire.addressed(arrived.topic, self._venue)
        try:
            if found is not None and found.topic is wire.JOURNAL:
                self._on_rows(wire.decode(arrived.payload, wire.Journal), now_ns)
            elif found is not None and found.topic is wire.CHANGES:
                self._on_changes(wire.decode(arrived.payload, wire.Changes))
        except wire.Unfit as error:
            self.tell(Told(f"a message at the broker does not fit: {error}", {"told": "unfit"}))
        session.acknowledge(arrived)

    def _on_rows(self, batch: wire.Journal, now_ns: int) -> None:
        with self._lock:
            for sent in batch.rows:
                way = self._ways.get(sent.row)
                if way is None:
                    self._sent.setdefault(sent.row, now_ns)
                    if len(self._sent) > HEARD_MAX:
                        self._sent.popitem(last=False)
                elif way.sent_ns is None:
                    way.sent_ns = now_ns
        self._ring()

    def _on_changes(self, changes: wire.Changes) -> None:
        def names(item: wire.Change) -> str:
            return item.subject if isinstance(item, wire.Moved) else item.ticket_id

        concerned = {names(item) for item in changes.items}
        with self._lock:
            for change in self._changes:
                if not change.upto and change.ticket_id in concerned:
                    change.feed, change.upto = changes.feed, changes.upto
        self._awaits.set()

    # --- the gate's cursors ------------------------------------------------------------------------------

    def _run(self) -> None:
        assert self._uplink is not None
        while not self._over.is_set():
            self._look(self._uplink)
            awaited = bool(self._unconfirmed) or any(change.upto for change in self._changes)
            if awaited:
                self._over.wait(QUICK_S if self._uplink.connected_to else IDLE_S)
            else:
                self._awaits.wait(IDLE_S)
                self._awaits.clear()

    def _look(self, uplink: Uplink) -> None:
        upto, place = uplink.receipt, uplink.catalogue_place
        now_ns = time.perf_counter_ns()
        with self._lock:
            for row in [row for row in self._unconfirmed if row <= upto]:
                way = self._unconfirmed.pop(row)
                way.receipt_ns = now_ns
                self._on_receipt(row, way)
            arrived = [c for c in self._changes if c.upto and c.feed == place[0] and c.upto <= place[1]]
            for change in arrived:
                self._changes.remove(change)
                took_ms = round((now_ns - change.begun_ns) / 1e6, 1)
                facts: dict[str, Fact] = {"told": "change", "what": change.what, "ticket": change.ticket_id}
                took = f"the gate knows {took_ms / 1000:.2f} s later"
                text = f"{change.what}: ticket {change.ticket_id}: {took}"
                self._told.append(Told(text, {**facts, "gate_ms": took_ms}))
                self._ring()

    def _on_receipt(self, row: int, way: Way) -> None:
        epoch, seq = epoch_and_seq(row)
        sent_ms, receipt_ms = way.since_ms(way.sent_ns), way.since_ms(way.receipt_ns)
        facts: dict[str, Fact] = {"told": "receipt", "code": way.shot.code, "epoch": epoch, "seq": seq}
        text = f"row {epoch}.{seq}: {'   '.join(steps(way))}"
        self._told.append(Told(text, {**facts, "sent_ms": sent_ms, "receipt_ms": receipt_ms}, drawn=True))
        self._ring()

    def _on_word(self, way: Way, now_ns: int, outcome: wire.Outcome) -> None:
        way.vendor_ns, way.word = now_ns, outcome
        epoch, seq = epoch_and_seq(outcome.scan)
        facts = {"told": "vendor", "code": way.shot.code, "epoch": epoch, "seq": seq, **_facts(outcome)}
        text = f"row {epoch}.{seq}: vendor {words(outcome)} {milliseconds(way.since_ms(now_ns))}"
        self._told.append(Told(text, {**facts, "vendor_ms": way.since_ms(now_ns)}, drawn=True))

    # --- end -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Listen no more. Twice is fine."""
        self._over.set()
        self._awaits.set()
        self._line.close()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S_MAX)

    def __enter__(self) -> Self:
        """The ways, nothing watched yet."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()


def _facts(outcome: wire.Outcome) -> dict[str, Fact]:
    return {"result": outcome.result, "verdict": outcome.verdict, "text": outcome.text}


def words(outcome: wire.Outcome) -> str:
    """What the vendor said, in its own words too."""
    said = visible(outcome.text, TEXT_MAX)
    return f"{outcome.result} ({said})" if said else str(outcome.result)


def milliseconds(ms: float | None) -> str:
    """A time, in the unit that suits it."""
    if ms is None:
        return ""
    return f"{ms:.1f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def steps(way: Way) -> Iterator[str]:
    """The way beyond the lane, as far as it was come."""
    if way.sent_ns is not None:
        yield f"sent {milliseconds(way.since_ms(way.sent_ns))}"
    if way.receipt_ns is None:
        yield "waits for a receipt"
        return
    yield f"receipt {milliseconds(way.since_ms(way.receipt_ns))}"
    if way.word is not None:
        yield f"vendor {way.word.result} {milliseconds(way.since_ms(way.vendor_ns))}"
    elif way.goes_to_the_vendor:
        yield "the vendor's word is to come"
