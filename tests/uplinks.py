"""Gates with an uplink for tests: the whole unit on a fake board, and a bridge of a few lines.

The loop of each gate has a thread of its own, as a gate's process would have; brokers are real ones. The
bridge keeps rows as the ledger does (by gate, row and digest of the chain) and answers as it is told to.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from firmware import wire
from firmware.catalogue import Catalogue, Upsert
from firmware.config import BrokerSettings, Settings, parse
from firmware.core.movements import Act, Movement
from firmware.core.ticket import Direction, Perimeter, Ticket, Verdict
from firmware.mqtt import Arrived, Broker, Line, Publication, Session
from firmware.row import Row, chain, decode
from firmware.rows import RowReader, Stored
from firmware.shots import Shot
from firmware.unit import Unit, open_unit
from firmware.uplink import Uplink
from hal.fake import FakeBoard, FakeLaneSettings
from hal.schedule import VirtualTime
from tests.brokers import LIMIT_S, QUICK
from tests.gate_process import patient

VENUE = "arena"
TICKETS = tuple(f"T{number}" for number in range(200))
MODEL_LANE = '[[lane]]\nname = "north"\n'


def settings_of(gate: str, port: int, lanes: str = MODEL_LANE) -> Settings:
    """A gate of the venue at this broker. No disk is too slow for it, and no opening lapses by itself."""
    settings = parse(f'[gate]\nname = "{gate}"\nvenue = "{VENUE}"\n{lanes}', "gate.toml")
    return patient(settings)._replace(brokers=(BrokerSettings("127.0.0.1", port, tls=False),))


def fill_catalogue(data: Path) -> None:
    """Let in every code of `TICKETS`, at every gate under the same names."""
    with Catalogue(data / "catalogue", now_utc_ms=0) as catalogue:
        listed = (Upsert(catalogue.digest(code), Ticket(f"a:{code}")) for code in TICKETS)
        catalogue.apply_changes(listed, stamp_utc_ms=1)


def admit(unit: Unit, *subjects: str) -> None:
    """In the loop: an admission for each ticket, without anybody at a reader."""
    for subject in subjects:
        row, moment = unit.journal.next_row, unit.gate.clock.now()
        movement = Movement(Act.OPENED, subject, row, Direction.IN, (Perimeter.OUTER,), moment.utc_ms)
        unit.journal.note(Row("scan", "north", moment, row, Verdict.ADMITTED, movement))


class StillTime:
    """The clocks of a gate, which a test moves: a busy machine lets no deadline pass."""

    def __init__(self) -> None:
        self._now_ns = time.monotonic_ns()
        self._ahead_ns = time.time_ns() - self._now_ns

    def monotonic_ns(self) -> int:
        return self._now_ns

    def utc_ns(self) -> int:
        return self._now_ns + self._ahead_ns

    def advance(self, ms: int) -> None:
        self._now_ns += ms * 1_000_000


class RunningGate:
    """A gate at work. `shots` are the scans that are over, `outcomes` what vendors said."""

    def __init__(self, unit: Unit, board: FakeBoard, still: StillTime | None = None) -> None:
        self.unit, self.board, self._still = unit, board, still
        self.shots: list[Shot] = []
        self.outcomes: list[wire.Outcome] = []
        self.news = threading.Condition()

    @property
    def uplink(self) -> Uplink:
        assert self.unit.uplink is not None
        return self.unit.uplink

    def watch(self, shot: Shot) -> None:
        with self.news:
            self.shots.append(shot)
            self.news.notify_all()

    def outcome(self, outcome: wire.Outcome) -> None:
        with self.news:
            self.outcomes.append(outcome)
            self.news.notify_all()

    def scan(self, code: str, lane: str = "north", meanwhile: Callable[[], object] = lambda: None) -> Verdict:
        """Hold a code to the lane's reader; what was decided, when the story is over.

        `meanwhile` is done when the reader has delivered it.
        """
        before = len(self.shots)
        assert self.board.fakes[lane].scan(code)
        meanwhile()
        with self.news:
            assert self.news.wait_for(lambda: len(self.shots) > before, LIMIT_S)
            return self.shots[-1].verdict

    def pass_time(self, ms: int) -> None:
        """Move the gate's time on, where the test has it."""
        assert self._still is not None, "the time of this gate is the machine's"
        self._still.advance(ms)
        self.unit.gate.do(lambda: None)

    def write(self, *texts: str) -> int:
        """Rows that no event made; the last one's number, when it is on disk."""
        done, last = threading.Event(), 0

        def turn() -> None:
            nonlocal last
            for text in texts:
                last = self.unit.journal.next_row
                self.unit.journal.note(Row("clock", "", self.unit.gate.clock.now(), text=text))
            done.set()

        self.unit.gate.do(turn)
        assert done.wait(LIMIT_S)
        self.until(lambda: self.unit.journal.committed >= last)
        return last

    def until(self, what: Callable[[], object]) -> None:
        """Wait for something that has no bell of its own."""
        patience = threading.Event()
        for _ in range(int(LIMIT_S / 0.005)):
            if what():
                return
            patience.wait(0.005)
        raise AssertionError((what, self.uplink.faults(), self.uplink.odd))

    def until_born(self) -> None:
        """Wait until the broker has its birth: who asks the broker now hears of this gate."""
        self.until(lambda: self.uplink.connected_to and self.uplink._presences.born)

    def rows(self) -> list[tuple[Stored, Row]]:
        """The journal, as it is on disk."""
        return rows_of(self.unit.journal._folder.parent)

    def texts(self, kind: str) -> list[str]:
        """Of all rows of a kind."""
        return [row.text for _, row in self.rows() if row.kind == kind]


def rows_of(data: Path) -> list[tuple[Stored, Row]]:
    """Every row of a gate."""
    with RowReader(data / "journal") as reader:
        return [(stored, decode(stored.body)) for stored in reader.all()]


@contextmanager
def gate_at_work(
    data: Path,
    gate: str,
    port: int,
    lanes: str = MODEL_LANE,
    trusted: Callable[[], bool] = lambda: True,
    still: StillTime | None = None,
) -> Iterator[RunningGate]:
    """A gate whose loop runs until the end of the block, on the machine's clocks or on those of the test."""
    settings = settings_of(gate, port, lanes)
    board = FakeBoard([FakeLaneSettings(lane.setup.name) for lane in settings.lanes], VirtualTime())
    found: list[RunningGate] = []

    def watch(shot: Shot) -> None:
        found[0].watch(shot)

    def outcome(outcome: wire.Outcome) -> None:
        found[0].outcome(outcome)

    with open_unit(
        settings,
        data,
        board=board,
        trusted=trusted,
        watch=watch,
        outcome=outcome,
        pace=QUICK,
        utc_ns=still.utc_ns if still else time.time_ns,
        monotonic_ns=still.monotonic_ns if still else time.monotonic_ns,
    ) as unit:
        running = RunningGate(unit, board, still)
        found.append(running)
        unit.gate.start()
        loop = threading.Thread(target=unit.gate.run, name="loop", daemon=True)
        loop.start()
        try:
            yield running
        finally:
            unit.gate.stop()
            loop.join(LIMIT_S)


@pytest.fixture
def patient_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page whose movements are late on disk is not asked for again: the bridge here sends it once."""
    monkeypatch.setattr("firmware.uplink.notes.SAFE_S_MAX", LIMIT_S)


@pytest.fixture
def patient_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    """No row goes up again because a receipt is late."""
    monkeypatch.setattr("firmware.uplink.rows_up.RECEIPT_S", LIMIT_S)


Key = tuple[str, int, bytes]


class ModelLedger:
    """What the ledger makes of batches: every row once, and the tip of each chain."""

    def __init__(self) -> None:
        self.rows: dict[Key, bytes] = {}
        self.seen: Counter[Key] = Counter()
        self.gaps: list[tuple[str, int]] = []
        self._tips: set[Key] = set()
        self._loose: list[tuple[str, wire.Journal]] = []

    def take(self, gate: str, batch: wire.Journal) -> wire.Receipt | None:
        """Keep the rows; the receipt, if there is one."""
        if not self._joins(gate, batch):
            self._loose.append((gate, batch))
            return None
        receipt = self._join(gate, batch)
        while joined := [item for item in self._loose if self._joins(*item)]:
            for item in joined:
                self._loose.remove(item)
                receipt = max(receipt, self._join(*item), key=lambda found: found.upto)
        return receipt

    def _joins(self, gate: str, batch: wire.Journal) -> bool:
        if not batch.after or (gate, batch.after, batch.previous) in self._tips:
            return True
        if not batch.cursor or (gate, batch.cursor, batch.cursor_digest) in self._tips:
            return False
        self.gaps.append((gate, batch.cursor))
        return batch.cursor == batch.after

    def _join(self, gate: str, batch: wire.Journal) -> wire.Receipt:
        digest = batch.previous
        for sent in batch.rows:
            digest = chain(digest, sent.row, sent.body)
            key = (gate, sent.row, digest)
            self.rows[key] = sent.body
            self.seen[key] += 1
            self._tips.add(key)
        return wire.Receipt(upto=batch.rows[-1].row, digest=digest)


class Bridge:
    """Stands at the other end of the broker. `answer` sends a receipt, or does not."""

    def __init__(self, broker: Broker) -> None:
        self.ledger = ModelLedger()
        self.batches: list[wire.Journal] = []
        self.heard: list[tuple[str, wire.Message]] = []
        self.answer: Callable[[str, wire.Receipt], None] = self.send_receipt
        self.news = threading.Condition()
        self.sessions: list[Session] = []
        topics = (wire.JOURNAL, wire.STATUS, wire.REQUEST, wire.ADMISSIONS)
        self.line = Line(
            [broker], "bridge", [wire.address(topic, VENUE, "+") for topic in topics], self, pace=QUICK
        )

    def connected(self, session: Session) -> None:
        with self.news:
            self.sessions.append(session)
            self.news.notify_all()

    def disconnected(self, session: Session, why: str) -> None:
        pass

    def acknowledged(self, session: Session) -> None:
        with self.news:
            self.news.notify_all()

    def arrived(self, session: Session, arrived: Arrived) -> None:
        found = wire.addressed(arrived.topic, VENUE)
        assert found is not None
        message = wire.decode(arrived.payload, found.topic.message)
        with self.news:
            self.heard.append((found.gate, message))
            receipt = None
            if isinstance(message, wire.Journal):
                self.batches.append(message)
                receipt = self.ledger.take(found.gate, message)
            self.news.notify_all()
        session.acknowledge(arrived)
        if receipt is not None:
            self.answer(found.gate, receipt)

    def send(self, topic: wire.Topic, gate: str, message: wire.Message, retain: bool = False) -> None:
        """Until the broker has it."""
        session, payload = self.sessions[-1], wire.encode(message)
        assert session.publish(Publication(wire.address(topic, VENUE, gate), payload, retain=retain))
        self.wait(lambda: not session.in_flight)

    def send_receipt(self, gate: str, receipt: wire.Receipt) -> None:
        """One that finds no connection is lost, as the ledger's are."""
        self.sessions[-1].publish(Publication(wire.address(wire.RECEIPT, VENUE, gate), wire.encode(receipt)))

    def wait(self, what: Callable[[], object]) -> None:
        with self.news:
            assert self.news.wait_for(what, LIMIT_S), self.heard[-5:]

    def messages(self, shape: type[wire.Message]) -> list[wire.Message]:
        with self.news:
            return [message for _, message in self.heard if isinstance(message, shape)]


@contextmanager
def bridge_at(broker: Broker) -> Iterator[Bridge]:
    """A bridge that is connected."""
    bridge = Bridge(broker)
    with bridge.line:
        bridge.wait(lambda: bridge.sessions)
        yield bridge


def is_complete(bridge: Bridge, gate: str, data: Path) -> bool:
    """Whether the ledger has exactly the rows of the journal."""
    stored = {(gate, row.id, row.digest): row.body for row, _ in rows_of(data)}
    kept = {key: body for key, body in bridge.ledger.rows.items() if key[0] == gate}
    return stored == kept
