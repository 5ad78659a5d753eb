"""Simulated gates, many in one process: what bridge and brokers get of them is what real gates would send.

The lane is the real core; rows, chain, batches, movements and presence are made by the gate's own code, and
the connection is its line. What is not real: rows are safe in memory at once, there is no device, the time is
always trusted, and tickets come from whoever lets the people in, so no catalogue is fetched. A gate has one
light thread, that of its line; the crowd's one thread brings people and looks at what is due.
"""

import heapq
import os
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from random import Random
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from firmware import wire
from firmware.core.effects import Effect, Record
from firmware.core.events import Event, Passed, Recorded, Scanned
from firmware.core.lane import begin, step
from firmware.core.movements import fold
from firmware.core.states import Open, Ready, Recording
from firmware.core.ticket import NO_HISTORY, Direction, History, Moment, Policy, Route, Setup, Ticket, Verdict
from firmware.facts import Clock
from firmware.mqtt import PACE, Arrived, Broker, Line, Pace, Publication, Session
from firmware.row import Began, Row, chain, encode, encode_began, row_id, tell_story
from firmware.rows import Noted, Stored
from firmware.uplink.notes import Notes
from firmware.uplink.peers import Peers
from firmware.uplink.presence import Presences
from firmware.uplink.rows_up import Place, RowsUp

RELEASE = "simulated"
TICK_S = 0.1  # between two looks at what is due at every gate: half of the time that rows gather
WALK_S = (0.3, 1.2)  # from the green light through the turnstile
PLACES_MAX = 20  # gates looked at for one whose lane is free; else the last answers that it is busy


class Person(NamedTuple):
    """Somebody with a code, and the ticket that the catalogue would have for it."""

    code: str
    ticket: Ticket


class Memory:
    """A journal's rows from the last receipt on, as the uplink reads them."""

    def __init__(self, epoch: int) -> None:
        self.seq = 0
        self._epoch = epoch
        self._last = Place()
        self._receipt = Place()
        self._rows: list[Stored] = []
        self._noted: set[Noted] = set()

    @property
    def next_row(self) -> int:
        """The number of the next row."""
        return row_id(self._epoch, self.seq + 1)

    @property
    def committed(self) -> int:
        """The number of the last row; 0 for none."""
        return self._last.row

    def append(self, row: Row, code: str | None, noted: Noted | None = None) -> int:
        """Keep a row; its number. `noted` is what it holds of somebody else's."""
        number, body = self.next_row, encode(row)
        self.seq += 1
        self._last = Place(number, chain(self._last.digest, number, body))
        self._rows.append(Stored(number, body, self._last.digest, code))
        if noted is not None:
            self._noted.add(noted._replace(heard=False, utc_ms=0))
        return number

    def is_noted(self, gate: str, row: int, digest: bytes) -> bool:
        """Whether a row holds it."""
        return Noted(gate, row, digest) in self._noted

    def noted_from_ms(self) -> int:
        """No name is ever dropped."""
        return 0

    def confirm(self, row: int) -> None:
        """Rows up to this one have a receipt; all but itself are forgotten."""
        digest = self.digest(row)
        assert digest is not None
        self._receipt = Place(row, digest)
        del self._rows[: self._after(row)]

    def _after(self, row: int) -> int:
        return bisect_right(self._rows, row, key=lambda stored: stored.id)

    def after(self, row: int, limit: int) -> list[Stored]:
        """Up to `limit` rows after this one, in order."""
        at = self._after(row)
        return self._rows[at : at + limit]

    def digest(self, row: int) -> bytes | None:
        """The chain digest of one row, `None` where it is not here."""
        if row == self._receipt.row:
            return self._receipt.digest
        at = self._after(row) - 1
        return self._rows[at].digest if at >= 0 and self._rows[at].id == row else None

    def receipt(self) -> int:
        """The last row that has a receipt."""
        return self._receipt.row

    def retained_from(self) -> int:
        """The first row that is still there."""
        return self._receipt.row

    def peers(self) -> dict[str, tuple[int, bytes]]:
        """Nobody was heard before the start."""
        return {}


class Connection(Protocol):
    """A gate's line, or whatever stands for one."""

    @property
    def session(self) -> Session | None:
        """The connection that stands, if one does."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Gate:
    """One gate with one lane. `lateness_s` has for each row how long it waited for its receipt.

    `listens` is whether it hears the other gates of the venue, as real ones do: with many gates in one
    process that would be most of the work. What it says to them it says in any case.
    """

    def __init__(
        self,
        venue: str,
        name: str,
        brokers: Sequence[Broker],
        clock: Clock,
        listens: bool = False,
        pace: Pace = PACE,
        line: Callable[..., Connection] = Line,
    ) -> None:
        self.name, self.receipts, self.changes = name, 0, 0
        self.verdicts: Counter[Verdict] = Counter()
        self.outcomes: Counter[wire.Result] = Counter()
        self.lateness_s: list[float] = []
        self._venue, self._clock = venue, clock
        self._lock = threading.RLock()
        self._memory = Memory(epoch=1)
        self._written_s: dict[int, float] = {}
        self._histories: dict[str, History] = {}
        self._moved: dict[str, int] = {}
        setup = Setup("1")
        self._lane, _ = begin(setup)
        self._before, self._events, self._effects = self._lane, list[Event](), list[Effect]()
        self._up = RowsUp(self._memory)
        self._notes = Notes(name, self, self._memory, self._do, clock.now)
        self._peers = Peers(name, self._memory, self._notes)
        random = os.urandom(8).hex()
        self._presences = Presences(wire.address(wire.STATUS, venue, name), 1, random, RELEASE)
        self._session: Session | None = None
        self._born = False
        topics = [wire.RECEIPT, wire.OUTCOME, wire.PAGE]
        heard = [wire.address(topic, venue, name) for topic in topics] + [wire.address(wire.CHANGES, venue)]
        if listens:
            others = (wire.STATUS, wire.ADMISSIONS, wire.ADMISSIONS_REQUEST)
            heard += [wire.address(topic, venue, "+") for topic in others]
        self.line = line(
            brokers, f"gate-{venue}-{name}", heard, self, self._presences.will, self._presences.will, pace
        )
        began = Began(1, random, "", RELEASE, (setup,))
        self._write(Row("began", "", clock.now(), text=encode_began(began)), None)

    # --- people ----------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether nobody is being served."""
        return isinstance(self._lane.state, Ready)

    @property
    def waiting(self) -> int:
        """Rows without a receipt."""
        return len(self._written_s)

    def scan(self, person: Person) -> bool:
        """Hold a code to the reader; whether the lane opened for it."""
        code, ticket = person
        with self._lock:
            subject, row = ticket.ticket_id, self._memory.next_row
            digest = hash(code).to_bytes(16, signed=True)
            policy, history = Policy(ticket.event), self.history(subject)
            moment = self._clock.now()
            self._take(
                Scanned(moment, row, digest, subject, Direction.IN, Route(), policy, ticket, history), code
            )
            if isinstance(self._lane.state, Recording):
                self._take(Recorded(self._clock.now(), self._lane.state.row))
            self._pump()
            state = self._lane.state
            return isinstance(state, Open) and state.scan_row == row

    def walk(self) -> None:
        """Whom the lane was opened for walks through."""
        with self._lock:
            self._take(Passed(self._clock.now(), self._memory.next_row, Direction.IN))
            self._pump()

    def _take(self, event: Event, code: str | None = None) -> None:
        lane, effects = step(self._lane, event)
        if lane is self._lane and not effects:
            return
        self._lane = lane
        self._events.append(event)
        self._effects += effects
        for effect in effects:
            if isinstance(effect, Record):
                self._record(effect, event.moment, code)

    def _record(self, record: Record, moment: Moment, code: str | None) -> None:
        story = None
        if self._events:
            story = tell_story(self._before, self._events, self._effects, self._lane)
        self._before, self._events, self._effects = self._lane, [], []
        if record.verdict is not None:
            self.verdicts[record.verdict] += 1
        row = Row(record.kind, "1", moment, record.scan, record.verdict, record.movement, record.text, story)
        self._write(row, code)

    def _write(self, row: Row, code: str | None, noted: Noted | None = None) -> None:
        number = self._memory.append(row, code, noted)
        self._written_s[number] = time.monotonic()
        if (movement := row.movement) is not None:
            if movement.row > 0:
                self._moved[movement.subject] = number
            self._histories[movement.subject] = fold(self.history(movement.subject), movement)

    # --- what is sent --------------------------------------------------------------------------------------

    def look(self) -> None:
        """Send what is due by now."""
        with self._lock:
            self._pump()

    def _pump(self) -> None:
        session, now_s = self._session, time.monotonic()
        if session is None:
            return
        if not self._born:
            self._born = session.publish(self._presences.birth(session.number))
        if not self._born:
            return
        newest = self._memory.committed
        for topic, message in self._peers.outgoing(newest, now_s):
            if not self._publish(session, topic, message):
                return
        room = session.payload_bytes_max
        while (batch := self._up.next_message(newest, session.window, room, now_s)) is not None:
            if not self._publish(session, wire.JOURNAL, batch):
                return
            self._up.sent(now_s)

    def _publish(self, session: Session, topic: wire.Topic, message: wire.Message) -> bool:
        address = wire.address(topic, self._venue, self.name)
        return session.publish(Publication(address, wire.encode(message)))

    # --- what comes, on the line's thread ------------------------------------------------------------------

    def connected(self, session: Session) -> None:
        """Begin at the last receipt."""
        with self._lock:
            self._session, self._born = session, False
            self._up.connected()
            self._peers.connected(self._memory.committed)
            self._pump()

    def disconnected(self, session: Session, why: str) -> None:
        """The line connects again by itself."""
        with self._lock:
            if session is self._session:
                self._session = None

    def acknowledged(self, session: Session) -> None:
        """There is room in the window."""
        self._presences.born = True
        self.look()

    def arrived(self, session: Session, arrived: Arrived) -> None:
        """One message. What does not fit raises `wire.Unfit`, which a test sees: nothing may be odd."""
        found = wire.addressed(arrived.topic, self._venue)
        assert found is not None
        session.acknowledge(arrived)
        with self._lock:
            self._read(found, arrived.payload)
            self._pump()

    def _read(self, found: wire.Addressed, payload: bytes) -> None:
        now_s = time.monotonic()
        match found.topic:
            case wire.RECEIPT:
                self._on_receipt(wire.decode(payload, wire.Receipt), now_s)
            case wire.OUTCOME:
                self.outcomes.update(each.result for each in wire.decode(payload, wire.Outcomes).outcomes)
            case wire.CHANGES:
                wire.decode(payload, wire.Changes)
                self.changes += 1
            case wire.STATUS if found.gate != self.name:
                self._peers.presence(found.gate, wire.decode(payload, wire.Presence), now_s)
            case wire.ADMISSIONS:
                self._peers.admissions(found.gate, wire.decode(payload, wire.Admissions), now_s)
            case wire.ADMISSIONS_REQUEST:
                self._peers.request(found.gate, wire.decode(payload, wire.AdmissionsRequest))

    def _on_receipt(self, receipt: wire.Receipt, now_s: float) -> None:
        row = self._up.receipt(receipt, self._memory.committed, now_s)
        if not row:
            return
        self.receipts += 1
        self._memory.confirm(row)
        for number in [number for number in self._written_s if number <= row]:
            self.lateness_s.append(now_s - self._written_s.pop(number))

    # --- the journal, as notes are handed to it ------------------------------------------------------------

    @property
    def next_row(self) -> int:
        """The number of the next row."""
        return self._memory.next_row

    @property
    def committed(self) -> int:
        """The newest row; it is safe at once."""
        return self._memory.committed

    def history(self, subject: str) -> History:
        """What is known of a ticket."""
        return self._histories.get(subject, NO_HISTORY)

    def submit(self, row: Row, story: None = None, code: str = "", noted: Noted | None = None) -> bool:
        """A movement of another gate, or of the vendor."""
        self._write(row, None, noted)
        return True

    def unconfirmed(self, subject: str) -> bool:
        """Whether this gate has moved the ticket, and the bridge has not confirmed that."""
        return self._moved.get(subject, 0) > self._memory.receipt()

    def _do(self, turn: Callable[[], None]) -> None:
        turn()
        self._notes.committed(self._memory.committed)


class Crowd:
    """Gates at one broker, and the people in front of them. Entering starts the lines."""

    def __init__(
        self,
        venue: str,
        count: int,
        brokers: Sequence[Broker],
        person: Callable[[int], Person],
        seed: int,
        pace: Pace = PACE,
    ) -> None:
        """`person` makes the n-th person; the same seed sends the same people to the same gates."""
        clock = Clock(lambda: True)
        self.gates = [Gate(venue, f"gate-{number}", brokers, clock, pace=pace) for number in range(count)]
        self._person = person
        self._random = Random(seed)
        self._walks: list[tuple[float, int]] = []
        self._wait = threading.Event()
        self._undo = ExitStack()
        self.people = 0

    def __enter__(self) -> Self:
        for gate in self.gates:
            self._undo.enter_context(gate.line)
        return self

    def __exit__(self, *error: object) -> None:
        self._undo.close()

    @property
    def lateness_s(self) -> list[float]:
        """Of every row that has a receipt."""
        return [each for gate in self.gates for each in gate.lateness_s]

    @property
    def waiting(self) -> int:
        """Rows without a receipt."""
        return sum(gate.waiting for gate in self.gates)

    def until(self, what: Callable[[], object], limit_s: float) -> None:
        """Look at what is due until it is so. Raises `TimeoutError`."""
        ends_s = time.monotonic() + limit_s
        while not what():
            if time.monotonic() > ends_s:
                raise TimeoutError(f"it did not come about; {self.waiting} rows have no receipt")
            self._wait.wait(TICK_S)
            self._walk(time.monotonic())
            for gate in self.gates:
                gate.look()

    def connected(self) -> bool:
        """Whether every gate stands at its broker."""
        return all(gate.line.session is not None for gate in self.gates)

    def bring(self, scans_a_second: float, seconds: float) -> None:
        """Bring people at random moments, so many in all gates together, and let them walk.

        As many come where this thread is held up: those whose moment is over come at once.
        """
        now_s = next_s = look_s = time.monotonic()
        ends_s = now_s + seconds
        while True:
            self._walk(now_s)
            while next_s <= min(now_s, ends_s):
                self._admit(now_s)
                next_s += self._random.expovariate(scans_a_second)
            if now_s >= ends_s:
                return
            if now_s >= look_s:
                for gate in self.gates:
                    gate.look()
                look_s = time.monotonic() + TICK_S
            due_s = min(next_s, look_s, self._walks[0][0] if self._walks else ends_s)
            self._wait.wait(max(0.0, due_s - time.monotonic()))
            now_s = time.monotonic()

    def _admit(self, now_s: float) -> None:
        at = 0
        for _ in range(PLACES_MAX):
            at = self._random.randrange(len(self.gates))
            if self.gates[at].is_ready:
                break
        if self.gates[at].scan(self._person(self.people)):
            heapq.heappush(self._walks, (now_s + self._random.uniform(*WALK_S), at))
        self.people += 1

    def _walk(self, now_s: float) -> None:
        while self._walks and self._walks[0][0] <= now_s:
            self.gates[heapq.heappop(self._walks)[1]].walk()
