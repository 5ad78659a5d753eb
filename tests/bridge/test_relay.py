import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from firmware import wire
from firmware.bridge.database import Database, LedgerLost
from firmware.bridge.ledger import Ledger, Stored
from firmware.bridge.relay import (
    BATCHES_AT_ONCE,
    BATCHES_WAITING_BYTES_MAX,
    BATCHES_WAITING_MAX,
    IDLE_S,
    subscriptions,
)
from firmware.bridge.vendor import VendorTicket
from firmware.bridge.work import at_work
from firmware.mqtt import Line, Publication
from tests.bridge.feeds import read_whole
from tests.bridge.ledgers import held
from tests.bridge.model_gate import ACCOUNTS, VENUE, ModelGate
from tests.bridge.relays import Desk, TapeSession, desk, topic
from tests.brokers import LIMIT_S, QUICK, Ear, RunningBroker, mosquitto_broker, until

pytestmark = pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL


def gate_of(name: str, persons: int = 2) -> ModelGate:
    """A gate with a few rows."""
    gate = ModelGate(name)
    for number in range(persons):
        gate.person(f"acme:{name}{number}")
    return gate


def batch(gate: ModelGate, start: int = 0, stop: int | None = None) -> bytes:
    return wire.encode(gate.batch(start, stop))


def request(cursor: int = 0, pages: int = 64) -> bytes:
    return wire.encode(wire.CatalogueRequest(feed="", cursor=cursor, pages=pages))


# --- the relay, turn by turn -----------------------------------------------------------------------------


class WatchedLedger(Ledger):
    """Writes down each commit, and does before it what the test wants."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, VENUE, ACCOUNTS)
        self.tape: list[str] = []
        self.batches: list[int] = []
        self.faults: list[Exception] = []
        self.poison = ""
        self.hold: threading.Event | None = None
        self.held = threading.Event()

    def store_many(self, batches: Sequence[tuple[str, wire.Journal]], now_utc_ms: int) -> list[Stored]:
        if self.hold is not None:
            self.held.set()
            assert self.hold.wait(LIMIT_S)
        if self.faults:
            raise self.faults.pop(0)
        if self.poison in {gate for gate, _ in batches}:
            raise OverflowError("too large an integer")
        stored = super().store_many(batches, now_utc_ms)
        self.tape.append("stored")
        self.batches.append(len(batches))
        return stored


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Desk, WatchedLedger]]:
    """A relay without threads, and its ledger."""
    with desk(tmp_path, WatchedLedger) as found:
        assert isinstance(found.ledger, WatchedLedger)
        yield found, found.ledger


def test_batches_are_acknowledged_after_the_commit_and_share_it(
    watched: tuple[Desk, WatchedLedger],
) -> None:
    at, ledger = watched
    line = TapeSession()
    line.link.tape = ledger.tape
    at.relay.connected(line.session)
    for name in ("east", "west"):
        line.bring(at.relay, topic(wire.JOURNAL, name), batch(gate_of(name)))
    assert ledger.tape == []
    assert at.store() == 0.0
    assert at.store() == IDLE_S
    assert ledger.tape == [
        "stored",
        "acknowledged 1",
        "east/receipt",
        "acknowledged 2",
        "west/receipt",
    ]
    assert at.relay.rows == at.rows() == 10
    assert at.stored == [False]


def test_a_batch_that_comes_twice_is_confirmed_twice_and_wakes_nobody(
    watched: tuple[Desk, WatchedLedger],
) -> None:
    at, _ = watched
    line = TapeSession()
    at.relay.connected(line.session)
    payload = batch(gate_of("east"))
    for _ in range(2):
        line.bring(at.relay, topic(wire.JOURNAL, "east"), payload)
        at.store()
    assert line.link.tape == ["acknowledged 1", "east/receipt", "acknowledged 2", "east/receipt"]
    assert at.stored == [False]
    assert at.rows() == 5


def test_a_ledger_that_is_lost_keeps_the_batches_and_takes_them_later(
    watched: tuple[Desk, WatchedLedger],
) -> None:
    at, ledger = watched
    line = TapeSession()
    at.relay.connected(line.session)
    line.bring(at.relay, topic(wire.JOURNAL, "east"), batch(gate_of("east")))
    ledger.faults = [LedgerLost("gone"), LedgerLost("gone")]
    for _ in range(2):
        with pytest.raises(LedgerLost):
            at.store()
    assert line.link.tape == []
    at.store()
    assert line.link.tape == ["acknowledged 1", "east/receipt"]


def test_one_bad_batch_holds_up_no_other(watched: tuple[Desk, WatchedLedger]) -> None:
    at, ledger = watched
    line = TapeSession()
    at.relay.connected(line.session)
    for name in ("a", "bad", "c"):
        line.bring(at.relay, topic(wire.JOURNAL, name), batch(gate_of(name)))
    ledger.poison = "bad"
    assert at.store() == 0.0
    assert at.store() == IDLE_S
    assert line.link.tape == ["acknowledged 1", "a/receipt", "acknowledged 2", "acknowledged 3", "c/receipt"]
    (said,) = at.relay.odd.news()
    assert said.startswith("rows of gate bad were not taken: ")
    assert at.faults.now() == [], "it is no fault of the moment"
    assert "OverflowError" in said
    assert "report it" in said


def test_a_ledger_that_is_lost_between_single_batches_keeps_the_rest(
    watched: tuple[Desk, WatchedLedger],
) -> None:
    at, ledger = watched
    line = TapeSession()
    at.relay.connected(line.session)
    for name in ("a", "b", "c"):
        line.bring(at.relay, topic(wire.JOURNAL, name), batch(gate_of(name)))
    ledger.faults = [ValueError("odd"), ValueError("of this one"), LedgerLost("gone")]
    with pytest.raises(LedgerLost):
        at.store()
    assert line.link.tape == ["acknowledged 1"], "the first is set aside, its gate keeps the rows"
    at.store()
    at.store()
    # The receipt of c does not wait for b; its acknowledgement does: those go out in the order of arrival.
    assert line.link.tape[1:] == ["c/receipt", "acknowledged 2", "acknowledged 3", "b/receipt"]


class LostOver(Ledger):
    """Lost each time over the rows of one gate, as a database that hangs over them; fine otherwise."""

    def store_many(self, batches: Sequence[tuple[str, wire.Journal]], now_utc_ms: int) -> list[Stored]:
        if "bad" in [gate for gate, _ in batches]:
            raise LedgerLost("it took too long")
        return super().store_many(batches, now_utc_ms)


def test_a_batch_that_the_ledger_is_lost_over_costs_the_other_gates_no_receipt(tmp_path: Path) -> None:
    with desk(tmp_path, lambda database: LostOver(database, VENUE, ACCOUNTS)) as at:
        line = TapeSession()
        at.relay.connected(line.session)
        for name in ("bad", "a", "b"):
            line.bring(at.relay, topic(wire.JOURNAL, name), batch(gate_of(name)))
        with pytest.raises(LedgerLost):
            at.store()
        with pytest.raises(LedgerLost):
            at.store()
        assert line.link.tape == [], "nobody knows yet whether the database is there"
        assert [at.store(), at.store()] == [0.0, 0.0]
        assert line.link.tape == ["a/receipt", "b/receipt"]
        line.bring(at.relay, topic(wire.JOURNAL, "c"), batch(gate_of("c")))
        assert at.store() == 0.0
        assert line.link.tape[2:] == ["c/receipt"], "who comes later goes before it"
        with pytest.raises(LedgerLost):
            at.store()
        acknowledged = [f"acknowledged {number}" for number in (1, 2, 3, 4)]
        assert line.link.tape[3:] == acknowledged, "the ledger takes all but this"
        assert at.store() == IDLE_S
        (said,) = at.relay.odd.news()
        assert said == "rows of gate bad were not taken: it took too long"


def test_rubbish_is_stopped_at_the_door_and_the_others_share_a_transaction(
    watched: tuple[Desk, WatchedLedger],
) -> None:
    at, ledger = watched
    line = TapeSession()
    at.relay.connected(line.session)
    empty = wire.Journal(cursor=0, cursor_digest=b"", after=0, previous=b"", rows=())
    broken = wire.Journal(
        cursor=0, cursor_digest=b"", after=5, previous=b"", rows=gate_of("bad").batch().rows
    )
    line.bring(at.relay, topic(wire.JOURNAL, "a"), batch(gate_of("a")))
    line.bring(at.relay, topic(wire.JOURNAL, "bad"), wire.encode(empty))
    line.bring(at.relay, topic(wire.JOURNAL, "bad"), wire.encode(broken))
    line.bring(at.relay, topic(wire.JOURNAL, "c"), batch(gate_of("c")))
    at.store()
    assert ledger.batches == [2]
    (said,) = at.relay.odd.news()
    assert said.endswith("of gate bad on gate/<gate>/journal was not taken: a batch without rows")


def test_no_transaction_takes_more_than_some_batches_and_no_queue_grows_for_ever(
    watched: tuple[Desk, WatchedLedger],
) -> None:
    at, ledger = watched
    line = TapeSession()
    at.relay.connected(line.session)
    gate = ModelGate("east")
    gate.write_bytes(bytes(wire.ROW_BYTES_MAX))
    payload = batch(gate)
    room = BATCHES_WAITING_BYTES_MAX // len(payload)
    for _ in range(room + 1):
        line.bring(at.relay, topic(wire.JOURNAL, "east"), payload)
    while at.store() == 0.0:
        pass
    everything = list(range(1, room + 2))
    assert line.link.acknowledged == everything, "the last one too: it comes again, for it has no receipt"
    assert max(ledger.batches) == BATCHES_AT_ONCE
    assert sum(ledger.batches) == room


def test_a_thousand_gates_that_connect_at_once_need_not_send_their_rows_again(
    watched: tuple[Desk, WatchedLedger],
) -> None:
    at, ledger = watched
    line = TapeSession()
    at.relay.connected(line.session)
    payload = batch(gate_of("east"))
    for _ in range(BATCHES_WAITING_MAX + 1):
        line.bring(at.relay, topic(wire.JOURNAL, "east"), payload)
    at.relay._done(list(at.relay._batches)[BATCHES_AT_ONCE:])
    assert line.link.acknowledged == [], "what is in front of them is not stored yet"
    at.store()
    assert line.link.acknowledged == list(range(1, BATCHES_WAITING_MAX + 2))
    assert sum(ledger.batches) == BATCHES_AT_ONCE


def test_a_new_connection_in_the_midst_of_storing_mixes_nothing_up(
    watched: tuple[Desk, WatchedLedger],
) -> None:
    at, ledger = watched
    old, new = TapeSession(), TapeSession(number=2)
    at.relay.connected(old.session)
    payloads = {name: batch(gate_of(name)) for name in ("a", "b", "c")}
    for name in ("a", "b"):
        old.bring(at.relay, topic(wire.JOURNAL, name), payloads[name])
    ledger.hold = threading.Event()
    storing = threading.Thread(target=at.store)
    storing.start()
    assert ledger.held.wait(LIMIT_S)
    old.session._end()
    at.relay.disconnected(old.session, "lost")
    at.relay.connected(new.session)
    for name in ("c", "a"):
        new.bring(at.relay, topic(wire.JOURNAL, name), payloads[name])
    ledger.hold.set()
    storing.join(LIMIT_S)
    assert old.link.tape == [], "an end is an end"
    assert new.link.tape == ["a/receipt", "b/receipt"], "they are safe, and their gates may know it"
    assert len(at.relay._batches) == 2
    at.store()
    assert new.link.tape[2:] == ["acknowledged 1", "c/receipt", "acknowledged 2", "a/receipt"]
    assert at.rows() == 15


# --- what does not fit -----------------------------------------------------------------------------------

ODD = {
    "retained": (topic(wire.JOURNAL, "east"), batch(gate_of("east")), True, "clear it at the broker"),
    "malformed": (topic(wire.JOURNAL, "east"), b"\xc1nothing", False, "no MessagePack map"),
    "version": (topic(wire.REQUEST, "east"), b"\x81\xa1v\x63", False, "version 99"),
    "too long": (topic(wire.JOURNAL, "east"), b"x" * 70_000, False, "are more than"),
    "foreign venue": ("gatepost/v1/other/gate/east/journal", b"", False, "no topic"),
    "foreign": ("weather/today", b"", False, "no topic"),
    "not for us": (topic(wire.RECEIPT, "east"), b"", False, "no topic"),
    "no birth": (topic(wire.STATUS, "east"), b"", True, "no MessagePack map"),
    "no ask": (topic(wire.ASK, "east"), b"\x81\xa1v\x01", False, "missing required field"),
    "no name": (topic(wire.JOURNAL, "Nord Süd"), batch(gate_of("east")), False, "no name of a gate"),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_does_not_fit_is_acknowledged_counted_and_said_once(
    watched: tuple[Desk, WatchedLedger], kind: str
) -> None:
    at, _ = watched
    where, payload, retained, word = ODD[kind]
    line = TapeSession()
    at.relay.connected(line.session)
    for _ in range(3):
        line.bring(at.relay, where, payload, retained)
    assert line.link.acknowledged == [1, 2, 3]
    (said,) = at.relay.odd.news()
    assert word in said
    assert "Nord" not in said, "what a stranger calls himself is not passed on"
    (oddity,) = at.relay.odd.counts().values()
    assert oddity.times == 3
    assert at.faults.now() == []
    assert at.store() == IDLE_S
    assert at.page() == IDLE_S


def test_the_last_contact_of_each_gate_is_known(watched: tuple[Desk, WatchedLedger]) -> None:
    at, _ = watched
    line = TapeSession()
    at.relay.connected(line.session)
    line.bring(at.relay, topic(wire.JOURNAL, "east"), batch(gate_of("east")))
    line.bring(at.relay, topic(wire.REQUEST, "west"), request())
    line.bring(at.relay, topic(wire.JOURNAL, "south"), b"odd")
    assert at.relay.heard_utc_ms().keys() == {"east", "west"}


# --- pages -----------------------------------------------------------------------------------------------


def fill(at: Desk, count: int) -> None:
    read_whole(at.feed, *(VendorTicket(f"t{number}", f"CODE{number}") for number in range(count)))


def test_gates_get_pages_in_turn_and_a_receipt_waits_for_none_of_them(
    watched: tuple[Desk, WatchedLedger],
) -> None:
    at, _ = watched
    fill(at, 6000)
    line = TapeSession(window=4)
    at.relay.connected(line.session)
    for name in ("a", "b"):
        line.bring(at.relay, topic(wire.REQUEST, name), request())
    while at.page() == 0.0:
        pass
    line.bring(at.relay, topic(wire.JOURNAL, "c"), batch(gate_of("c")))
    at.store()
    sent = [each for each in line.link.tape if "acknowledged" not in each]
    assert sent == ["a/catalogue/page", "b/catalogue/page", "c/receipt"], "all other pages wait for room"
    before = 0
    while len(line.link.sent) > before:
        before = len(line.link.sent)
        line.take(at.relay, line.session.in_flight)
        while at.page() == 0.0:
            pass
    pages = [each.partition("/")[0] for each in line.link.tape if each.endswith("page")]
    assert pages == ["a", "b"] * (len(pages) // 2)
    read = [
        wire.decode(publication.payload, wire.CataloguePage)
        for publication in line.link.sent.values()
        if publication.topic == topic(wire.PAGE, "b")
    ]
    assert [page.more for page in read] == [True] * (len(read) - 1) + [False]
    assert sum(isinstance(item, wire.Listed) for page in read for item in page.items) == 6000


def test_a_gate_gets_as_many_pages_as_it_asked_for_and_a_new_request_replaces_the_old(
    watched: tuple[Desk, WatchedLedger],
) -> None:
    at, _ = watched
    fill(at, 3000)
    line = TapeSession()
    at.relay.connected(line.session)
    line.bring(at.relay, topic(wire.REQUEST, "a"), request(pages=3))
    line.bring(at.relay, topic(wire.REQUEST, "a"), request(pages=2))
    while at.page() == 0.0:
        pass
    assert [each for each in line.link.tape if each.endswith("page")] == ["a/catalogue/page"] * 2


def test_a_request_that_breaks_us_costs_no_other_gate_its_pages(watched: tuple[Desk, WatchedLedger]) -> None:
    at, _ = watched
    page = at.feed.page

    def failing(cursor: int, feed: str, now_utc_ms: int = 0) -> wire.CataloguePage:
        if cursor == 13:
            raise ValueError("nobody has foreseen this")
        return page(cursor, feed, now_utc_ms)

    at.feed.page = failing  # type: ignore[method-assign]  # a fault of ours
    line = TapeSession()
    at.relay.connected(line.session)
    for name, cursor in (("a", 13), ("b", 0)):
        line.bring(at.relay, topic(wire.REQUEST, name), request(cursor))
    with pytest.raises(ValueError, match="foreseen"):
        at.page()
    while at.page() == 0.0:
        pass
    assert [each for each in line.link.tape if each.endswith("page")] == ["b/catalogue/page"]


def test_pages_that_nobody_can_be_sent_are_not_made(watched: tuple[Desk, WatchedLedger]) -> None:
    at, _ = watched
    line = TapeSession()
    at.relay.connected(line.session)
    line.bring(at.relay, topic(wire.REQUEST, "a"), request())
    at.relay.disconnected(line.session, "lost")
    assert at.page() == IDLE_S
    after = TapeSession(number=2)
    at.relay.connected(after.session)
    assert at.page() == IDLE_S, "the gate asks again"
    assert len(at.connections) == 2


# --- with a real broker ----------------------------------------------------------------------------------


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with mosquitto_broker(tmp_path) as running:
        yield running


@contextmanager
def at_broker(at: Desk, broker: RunningBroker) -> Iterator[Line]:
    """The relay at work: its threads and its connection."""
    with (
        at_work((at.relay.storing, at.relay.paging)),
        Line([broker.address], "bridge", subscriptions(VENUE, "5ec"), at.relay, pace=QUICK) as line,
    ):
        until(lambda: line.session)
        yield line


@contextmanager
def gates_at(broker: RunningBroker) -> Iterator[tuple[Line, Ear]]:
    """All gates of the venue on one connection, which hears what the bridge sends."""
    ear = Ear()
    wanted = [topic(each, "+") for each in (wire.RECEIPT, wire.PAGE)]
    with Line([broker.address], "gates", wanted, ear, pace=QUICK, window=200) as line:
        until(lambda: line.session)
        yield line, ear


def send(line: Line, where: str, payload: bytes, retain: bool = False) -> None:
    publication = Publication(where, payload, retain=retain)
    until(lambda: line.session is not None and line.session.publish(publication))


def receipts(ear: Ear, gate: str) -> list[wire.Receipt]:
    return [
        wire.decode(arrived.payload, wire.Receipt)
        for arrived in list(ear.heard)
        if arrived.topic == topic(wire.RECEIPT, gate)
    ]


def connected_again(at: Desk, times: int) -> bool:
    return len(at.connections) > times


def has_sessions(ear: Ear, count: int) -> bool:
    return len(ear.sessions) >= count


def test_more_odd_messages_than_a_broker_sends_ahead_do_not_stop_the_good_one(
    tmp_path: Path, broker: RunningBroker
) -> None:
    gate = gate_of("east")
    with desk(tmp_path) as at, at_broker(at, broker), gates_at(broker) as (line, ear):
        for _ in range(100):
            send(line, topic(wire.JOURNAL, "west"), b"odd")
        send(line, topic(wire.REQUEST, "west"), request(), retain=True)
        send(line, topic(wire.JOURNAL, "east"), batch(gate))
        ear.wait(lambda: receipts(ear, "east") == [gate.receipt()])
        assert at.relay.odd.counts()["west", "gate/<gate>/journal: Unfit"].times == 100
        assert len(at.relay.odd.news()) == 2
        assert at.faults.now() == []


def test_a_locked_database_delays_receipts_and_loses_nothing(tmp_path: Path, broker: RunningBroker) -> None:
    gates = [gate_of(f"g{number}") for number in range(5)]
    with (
        desk(tmp_path, busy_timeout_s=0.01) as at,
        at_broker(at, broker),
        gates_at(broker) as (line, ear),
    ):
        with held(at.path):
            for gate in gates:
                send(line, topic(wire.JOURNAL, gate.name), batch(gate))
            until(lambda: [fault.thing for fault in at.faults.now()] == ["the ledger"])
            assert not any(receipts(ear, gate.name) for gate in gates)
        ear.wait(lambda: all(receipts(ear, gate.name) == [gate.receipt()] for gate in gates))
        until(lambda: not at.faults.now())
        assert at.rows() == 25


def test_a_broker_that_is_killed_in_the_midst_of_rows_and_pages_costs_time_only(
    tmp_path: Path, broker: RunningBroker
) -> None:
    gate = gate_of("east", persons=200)
    with desk(tmp_path) as at, at_broker(at, broker), gates_at(broker) as (line, ear):
        fill(at, 3000)
        for kills, kill_at in enumerate((100, 250), 1):
            send(line, topic(wire.REQUEST, "west"), request())
            for start in range(0, kill_at, 50):
                send(line, topic(wire.JOURNAL, "east"), batch(gate, start, start + 50))
            broker.kill()
            broker.start()
            until(partial(connected_again, at, kills))
            until(partial(has_sessions, ear, kills + 1))  # what goes out through the old one is lost
        for start in range(0, len(gate.rows), 50):
            send(line, topic(wire.JOURNAL, "east"), batch(gate, start, start + 50))
        send(line, topic(wire.REQUEST, "west"), request())
        ear.wait(lambda: gate.receipt() in receipts(ear, "east"))
        until(lambda: at.rows() == len(gate.rows))
        ear.wait(
            lambda: any(
                not wire.decode(arrived.payload, wire.CataloguePage).more
                for arrived in list(ear.heard)
                if arrived.topic == topic(wire.PAGE, "west")
            )
        )
        until(lambda: at.relay.rows == len(gate.rows))
        assert at.relay.odd.counts() == {}
