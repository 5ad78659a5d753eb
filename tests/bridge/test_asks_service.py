"""A whole bridge that is asked: over a real broker, with a vendor over real HTTP, and its ledger."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import copy

import pytest
from sqlalchemy import select, update

from firmware import wire
from firmware.asks import Question
from firmware.bridge import schema
from firmware.bridge.asking import NOT_KNOWN
from firmware.bridge.breaker import FAILURES_IN_A_ROW
from firmware.bridge.database import Database
from firmware.bridge.in_time import THREAD
from firmware.bridge.ledger.asked_once import FORGET_EVERY_MS, KEPT_MS, AskedOnce
from firmware.bridge.ledger.configured import HELD_MAX, Claim, Configured, Held
from firmware.bridge.service import Bridge, now_utc_ms, open_bridge
from firmware.bridge.settings import BridgeSettings, load
from firmware.core.effects import Ask
from firmware.core.ticket import Perimeter, Verdict
from firmware.mqtt import Arrived, Line, Publication, Session
from firmware.mqtt.link import RECEIVE_MESSAGES
from firmware.uplink.vendors import Vendors
from tests.bridge.asked_lane import OPEN, AskedLane
from tests.bridge.ledgers import Ledgers, ledger_at, table_held
from tests.bridge.model_gate import VENUE, ModelGate
from tests.bridge.oracle import Oracle, OracleServer
from tests.bridge.relays import topic
from tests.bridge.test_asking import ask
from tests.bridge.test_service import Place
from tests.brokers import LIMIT_S, QUICK, Ear, Port, RunningBroker, mosquitto_broker, until
from tests.core.samples import ASKED_SCAN, IN, INNER, NOON_MS, OUTER, at
from tests.test_uplink_vendors import ROUTE

LONG_MS = 60_000


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with mosquitto_broker(tmp_path) as running:
        yield running


@pytest.fixture
def oracle() -> Iterator[OracleServer]:
    with OracleServer() as found:
        yield found


class Door:
    """Gates of the venue, as far as they are born and ask."""

    def __init__(self, line: Line, ear: Ear) -> None:
        self.line, self.ear = line, ear

    def send(self, of: wire.Topic, gate: str, message: wire.Message) -> None:
        publication = Publication(topic(of, gate), wire.encode(message), retain=of.retained)
        until(lambda: self.line.session is not None and self.line.session.publish(publication))

    def born(
        self, gate: str, connection: int = 1, *, trusted: bool = True, mac: str = "m", ip: str = ""
    ) -> None:
        presence = wire.Presence(
            online=True, epoch=1, connection=connection, random="r", perimeters=(OUTER, INNER), mac=mac,
            ip=ip, trusted=trusted,
        )  # fmt: skip
        self.send(wire.STATUS, gate, presence)

    def ask(self, gate: str, scan: int, code: str = "yes", left_ms: int = LONG_MS) -> None:
        self.send(wire.ASK, gate, ask(scan, code, left_ms))

    def answers(self, gate: str) -> list[wire.Answer]:
        return [
            wire.decode(arrived.payload, wire.Answer)
            for arrived in list(self.ear.heard)
            if arrived.topic == topic(wire.ANSWER, gate)
        ]

    def health(self, gate: str) -> wire.Account | None:
        """What the gate heard last of the vendor."""
        heard = [each.payload for each in list(self.ear.heard) if each.topic == topic(wire.VENDORS, gate)]
        return wire.decode(heard[-1], wire.Vendors).accounts[0] if heard else None

    def configured(self, gate: str) -> tuple[Perimeter, ...] | None:
        """Where it may scan; `None` where the bridge has not said it, or does not know it yet."""
        found = self.health(gate)
        return None if found is None or found.text == NOT_KNOWN else found.configured


@contextmanager
def door_at(broker: RunningBroker) -> Iterator[Door]:
    ear = Ear()
    wanted = [topic(each, "+") for each in (wire.ANSWER, wire.VENDORS, wire.RECEIPT)]
    with Line([broker.address], "gates", wanted, ear, pace=QUICK, window=200) as line:
        until(lambda: line.session)
        yield Door(line, ear)


def settings_at(folder: Path, port: int) -> BridgeSettings:
    settings = load(Place(folder, port, "http://127.0.0.1:1", 1, 2).config)
    return settings._replace(ledger=ledger_at(folder / "ledger.db"))


@contextmanager
def bridge_at(
    folder: Path, broker: RunningBroker, oracle: OracleServer, *, devices: bool = True, data: str = "data",
    url: str = "",
) -> Iterator[Bridge]:  # fmt: skip
    with open_bridge(
        settings_at(folder, broker.port), folder / data, pace=QUICK,
        vendor=lambda _: Oracle(url or oracle.url, devices=devices),
    ) as bridge:  # fmt: skip
        until(lambda: bridge.line.session and bridge.ask_line.session)
        yield bridge


@contextmanager
def bridge_beside(
    folder: Path, broker: RunningBroker, oracle: OracleServer, *, devices: bool = True, url: str = ""
) -> Iterator[Bridge]:
    """Another one of the same ledger, with the same key."""
    (folder / "beside").mkdir(mode=0o700)
    copy(folder / "data" / "key", folder / "beside" / "key")
    with bridge_at(folder, broker, oracle, devices=devices, data="beside", url=url) as bridge:
        yield bridge


class AskingGate(Ear):
    """What a gate knows of its vendors and asks, on a connection of its own."""

    def __init__(self, broker: RunningBroker, gate: str) -> None:
        super().__init__()
        self.answers: list[tuple[int, Verdict, bool]] = []
        self.vendors = Vendors(VENUE, gate, self._answer)
        self._health = topic(wire.VENDORS, gate)
        self.line = Line([broker.address], gate, [self._health, self.vendors.answers], self, pace=QUICK)

    def _answer(
        self, scan: int, verdict: Verdict, text: str, doubt: bool, digest: bytes, unreached: bool
    ) -> bool:
        self.answers.append((scan, verdict, unreached))
        return True

    def connected(self, session: Session) -> None:
        super().connected(session)
        self.vendors.connected(session)

    def arrived(self, session: Session, arrived: Arrived) -> None:
        super().arrived(session, arrived)
        if arrived.topic == self._health:
            self.vendors.take(wire.decode(arrived.payload, wire.Vendors))
        else:
            self.vendors.take_answer(arrived.payload)

    @property
    def told(self) -> int:
        """How often it heard how the vendor is, from any bridge."""
        return sum(each.topic == self._health for each in list(self.heard))

    @property
    def reachable(self) -> list[bool]:
        """Whether it can be asked, as each of the bridges said last."""
        return sorted(told.accounts["acme"].reachable for told in self.vendors._told.values())

    def ask(self) -> None:
        """A person stands there until there is an answer."""
        scan, until_ms = len(self.answers), int(time.monotonic() * 1000) + LONG_MS
        scanned = ASKED_SCAN._replace(row=scan)
        question = Question(Ask(scan, "acme", b"one", IN, until_ms), scanned, "yes", OUTER, b"d" * 16)
        assert self.vendors.ask(question) == ""
        until(lambda: len(self.answers) > scan)


def test_a_gate_asks_once_its_devices_are_configured_and_its_clock_is_trusted(
    tmp_path: Path, broker: RunningBroker, oracle: OracleServer
) -> None:
    with bridge_at(tmp_path, broker, oracle) as bridge, door_at(broker) as door:
        door.born("north", trusted=False)
        until(lambda: door.configured("north") == ())
        door.ask("north", 1)
        until(lambda: door.answers("north"))
        assert door.answers("north")[0].verdict == "not_configured"
        assert (oracle.asked, oracle.devices) == ([], [])
        door.born("north")
        until(lambda: door.configured("north") == (OUTER, INNER))
        assert {each["perimeter"] for each in oracle.devices} == {"outer", "inner"}
        door.ask("north", 2, "no")
        until(lambda: len(door.answers("north")) == 2)
        assert door.answers("north")[1].word is wire.Word.REFUSED
        assert oracle.asked == ["no"]
        health = door.health("north")
        assert health is not None
        assert (health.account, health.asks, health.reachable, health.clock) == ("acme", True, True, True)
        (account,) = bridge.health().accounts
        assert (account.asks.asked, account.asks.answered, account.reachable) == (2, 1, True)


def test_a_vendor_without_devices_is_asked_at_once_and_every_gate_hears_so(
    tmp_path: Path, broker: RunningBroker, oracle: OracleServer
) -> None:
    with bridge_at(tmp_path, broker, oracle, devices=False), door_at(broker) as door:
        for gate in ("north", "south"):
            door.born(gate, trusted=False)
            until(lambda gate=gate: door.configured(gate) == (OUTER, INNER))  # type: ignore[misc]  # bound now
        door.ask("south", 1)
        until(lambda: door.answers("south"))
        assert door.answers("south")[0].word is wire.Word.ACCEPTED
        assert door.answers("north") == []


def test_an_answer_that_a_gate_could_not_hear_comes_again_when_it_is_back(
    tmp_path: Path, broker: RunningBroker, oracle: OracleServer
) -> None:
    with bridge_at(tmp_path, broker, oracle, devices=False), door_at(broker) as door:
        door.born("north")
        until(lambda: door.configured("north"))
        door.ask("north", 1)
        until(lambda: door.answers("north"))
        door.born("north", ip="10.0.0.9")
        door.born("north", connection=2)
        until(lambda: len(door.answers("north")) == 2)
        door.ask("north", 2)
        until(lambda: len(door.answers("north")) == 3)
        assert [answer.scan for answer in door.answers("north")] == [1, 1, 2], (
            "a connection, and no other news"
        )


def test_a_bridge_that_starts_again_is_the_same_to_gates_so_that_its_last_word_counts(
    tmp_path: Path, broker: RunningBroker, oracle: OracleServer
) -> None:
    asking = AskingGate(broker, "north")
    with door_at(broker) as door, asking.line:
        until(lambda: asking.sessions)
        door.born("north")
        with bridge_at(tmp_path, broker, oracle, devices=False):
            until(lambda: asking.reachable == [True])
        told = asking.told
        with bridge_at(tmp_path, broker, oracle, devices=False):
            until(lambda: asking.told > told)
        assert asking.reachable == [True]
        assert len(asking.vendors._told) == 1


def test_gates_are_not_told_that_they_lack_devices_while_the_ledger_cannot_tell(
    tmp_path: Path, broker: RunningBroker, oracle: OracleServer
) -> None:
    with door_at(broker) as door:
        with bridge_at(tmp_path, broker, oracle):
            door.born("north")
            until(lambda: door.configured("north") == (OUTER, INNER))
        with closing(sqlite3.connect(tmp_path / "ledger.db", timeout=LIMIT_S)) as ledger:
            ledger.execute("ALTER TABLE device RENAME TO away")
            door.ear.heard.clear()
            with bridge_at(tmp_path, broker, oracle):
                until(lambda: door.health("north"))
                health = door.health("north")
                assert health is not None
                assert (health.reachable, health.configured) == (False, (OUTER, INNER))
                assert "does not know yet" in health.text
                assert not health.unreached
                ledger.execute("ALTER TABLE away RENAME TO device")
                until(lambda: (found := door.health("north")) is not None and found.reachable)
                assert door.configured("north") == (OUTER, INNER)


@contextmanager
def held(ledger: Path) -> Iterator[None]:
    """Nobody else writes to the file meanwhile: all who want to stand and wait."""
    connection = sqlite3.connect(ledger, LIMIT_S, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


def test_people_are_answered_while_rows_wait_for_a_database_that_hangs(
    tmp_path: Path, broker: RunningBroker, oracle: OracleServer
) -> None:
    gate = ModelGate("north")
    gate.person("acme:t1")
    with bridge_at(tmp_path, broker, oracle) as bridge, door_at(broker) as door:
        door.born("north")
        until(lambda: door.configured("north") == (OUTER, INNER))
        with held(tmp_path / "ledger.db"):
            for _ in range(RECEIVE_MESSAGES + 1):
                door.send(wire.JOURNAL, "north", gate.batch())
            until(lambda: len(bridge.relay._batches) == RECEIVE_MESSAGES)
            door.ask("north", 1)
            until(lambda: door.answers("north"))
            assert door.answers("north")[0].word is wire.Word.ACCEPTED
            door.born("south")
            until(lambda: door.configured("south") is not None)
            assert (bridge.relay.rows, len(bridge.relay._batches)) == (0, RECEIVE_MESSAGES)
        until(lambda: bridge.relay.rows)


def test_a_device_is_tried_until_the_vendor_says_yes(
    tmp_path: Path, broker: RunningBroker, oracle: OracleServer
) -> None:
    oracle.refuses_devices = True
    with bridge_at(tmp_path, broker, oracle) as bridge, door_at(broker) as door:
        door.born("north")
        until(lambda: any("Nobody is let in there by acme" in fault.text for fault in bridge.faults()))
        assert not door.configured("north")
        oracle.refuses_devices = False
        until(lambda: door.configured("north") == (OUTER, INNER))
        until(lambda: bridge.faults() == [])


def test_one_that_a_person_must_mend_holds_up_no_other_gate(
    tmp_path: Path, broker: RunningBroker, oracle: OracleServer
) -> None:
    with bridge_at(tmp_path, broker, oracle) as bridge, door_at(broker) as door:
        door.born("north", mac="wrong")
        door.born("south")
        until(lambda: door.configured("south") == (OUTER, INNER))
        until(lambda: len(bridge.faults()) == 2)
        assert all("no such venue" in fault.text for fault in bridge.faults())
        assert door.configured("north") == ()


def test_each_start_and_address_configures_anew_a_connection_does_not_and_a_restarted_bridge_once_more(
    tmp_path: Path, broker: RunningBroker, oracle: OracleServer
) -> None:
    with door_at(broker) as door:
        with bridge_at(tmp_path, broker, oracle) as bridge:
            door.born("north")
            until(lambda: door.configured("north") == (OUTER, INNER))
            door.born("north", connection=2)
            door.born("south")
            until(lambda: door.configured("south") == (OUTER, INNER))
            assert len(oracle.devices) == 4, "a connection is no start"
            door.born("north", connection=3, ip="10.0.0.99")
            until(lambda: len(oracle.devices) == 6)
            until(lambda: len(bridge.asks._devices["acme"].perimeters("north")) == 2)  # and in the ledger
        heard = len(door.ear.heard)
        with bridge_at(tmp_path, broker, oracle) as bridge:
            until(lambda: bridge.asks.kept("acme", "north", OUTER, now_utc_ms()))
            until(lambda: len(door.ear.heard) > heard and door.configured("north") == (OUTER, INNER))
            door.ask("north", 1)
            until(lambda: door.answers("north"))
            until(lambda: len(oracle.devices) == 10)  # both rings of both gates, beside the asks
            door.born("north", connection=4, ip="10.0.0.99")
            door.ask("north", 2)
            until(lambda: len(door.answers("north")) >= 2)
        assert len(oracle.devices) == 10


def test_what_was_let_in_without_the_vendor_is_uploaded_for_its_device(
    tmp_path: Path, broker: RunningBroker, oracle: OracleServer
) -> None:
    lane = AskedLane(ModelGate("north"))
    lane.scan(OPEN._replace(reachable=False))
    lane.walk()
    with bridge_at(tmp_path, broker, oracle) as bridge, door_at(broker) as door:
        door.born("north")
        until(lambda: door.configured("north") == (OUTER, INNER))
        door.send(wire.JOURNAL, "north", lane.gate.batch())
        until(lambda: oracle.told)
        until(lambda: bridge.clerk._ledger.counts().work == {("acme", "accepted"): 1})


def test_gates_hear_when_a_vendor_falls_silent_and_when_it_is_back(
    tmp_path: Path, broker: RunningBroker, oracle: OracleServer
) -> None:
    with bridge_at(tmp_path, broker, oracle, devices=False) as bridge, door_at(broker) as door:
        door.born("north")
        until(lambda: door.configured("north"))
        oracle.silent = True
        for scan in range(FAILURES_IN_A_ROW):
            door.ask("north", scan)
        until(lambda: oracle.under_way == FAILURES_IN_A_ROW)
        asking = bridge.asks._asking["acme"]
        asking._clock = lambda: time.monotonic() + LONG_MS / 1000
        asking.wake()
        until(lambda: (found := door.health("north")) is not None and not found.reachable)
        assert [fault.kind for fault in bridge.faults()] == ["open"]
        door.ask("north", 99)
        until(lambda: any(answer.scan == 99 for answer in door.answers("north")))
        assert len(oracle.asked) == FAILURES_IN_A_ROW
        oracle.silent = False
        oracle.release.set()
        until(lambda: (found := door.health("north")) is not None and found.reachable)
        until(lambda: bridge.faults() == [])


def test_gates_hear_when_a_vendor_wants_to_be_left_alone_and_it_is_asked_again_within_a_minute(
    tmp_path: Path, broker: RunningBroker, oracle: OracleServer
) -> None:
    with bridge_at(tmp_path, broker, oracle, devices=False) as bridge, door_at(broker) as door:
        asking = bridge.asks._asking["acme"]
        asking._vendor.deadline_ms = 5_000
        door.born("north")
        until(lambda: door.configured("north"))
        door.ask("north", 1, "rest")
        until(lambda: (found := door.health("north")) is not None and not found.reachable)
        assert [fault.text for fault in bridge.faults()] == [
            "asks to acme: gates decide by their policy without asking: answered 503"
        ]
        assert 50.0 < (asking.breaker.trial_in_s() or 0.0) <= 60.0


def test_an_account_that_nobody_has_is_not_waited_for(
    tmp_path: Path, broker: RunningBroker, oracle: OracleServer
) -> None:
    with bridge_at(tmp_path, broker, oracle, devices=False), door_at(broker) as door:
        stranger = wire.decode(wire.encode(ask(1)).replace(b"\xa4acme", b"\xa4emca"), wire.Ask)
        door.send(wire.ASK, "north", stranger)
        until(lambda: door.answers("north"))
        (answer,) = door.answers("north")
        assert (answer.word, answer.doubt) == (wire.Word.UNANSWERED, False)


@pytest.mark.usefixtures("on_postgresql", "unhurried")
def test_two_bridges_send_an_ask_that_comes_to_both_once_and_share_one_device(
    tmp_path: Path, broker: RunningBroker, oracle: OracleServer
) -> None:
    with (
        bridge_at(tmp_path, broker, oracle) as one,
        bridge_beside(tmp_path, broker, oracle) as other,
        door_at(broker) as door,
    ):
        door.born("north")
        until(lambda: len(one.asks._devices["acme"].perimeters("north")) == 2)
        until(lambda: len(other.asks._devices["acme"].perimeters("north")) == 2)
        assert len(oracle.devices) == 2
        for _ in range(6):
            door.ask("north", 1, "slow")
        until(lambda: all(each.asks.counts()["acme"].asked for each in (one, other)))
        until(lambda: oracle.asked)
        oracle.release.set()
        until(lambda: door.answers("north"))
        assert oracle.asked == ["slow"]


@pytest.mark.usefixtures("on_postgresql")
def test_people_are_let_in_by_the_vendor_while_one_bridge_of_two_has_no_way_to_it(
    tmp_path: Path, broker: RunningBroker, oracle: OracleServer
) -> None:
    asking = AskingGate(broker, "north")
    held = Port()  # where nobody listens, nor a server of a test that runs at the same time
    nowhere = f"http://127.0.0.1:{held.number}"
    with (
        bridge_at(tmp_path, broker, oracle, devices=False) as one,
        bridge_beside(tmp_path, broker, oracle, devices=False, url=nowhere) as other,
        door_at(broker) as door,
        asking.line,
    ):
        until(lambda: asking.sessions)
        door.born("north")
        until(lambda: asking.reachable == [True, True])
        while other.asks.reachable("acme"):  # every other ask comes to the bridge that is cut off
            asking.ask()
        until(lambda: asking.reachable == [False, True])
        told, before = other.asks.counts()["acme"].asked, len(asking.answers)
        assert asking.vendors.look(ROUTE, OUTER, at(0)).reachable
        for _ in range(6):
            asking.ask()
        assert {verdict for _, verdict, _ in asking.answers[before:]} == {Verdict.ADMITTED}
        assert other.asks.counts()["acme"].asked > told, "some came to the one without a way"
        assert not any(unreached for *_, unreached in asking.answers), "no proof that nobody has a way"
        assert one.asks.counts()["acme"].answered == len(oracle.asked)


@pytest.mark.usefixtures("on_postgresql")
def test_people_are_answered_while_a_database_that_bridges_share_hangs(
    tmp_path: Path, broker: RunningBroker, oracle: OracleServer
) -> None:
    with bridge_at(tmp_path, broker, oracle, devices=False), door_at(broker) as door:
        door.born("north")
        until(lambda: door.configured("north"))
        with table_held(tmp_path / "ledger.db", schema.asked):
            for scan in range(4):
                door.ask("north", scan)
            until(lambda: len(door.answers("north")) == 4)
            assert THREAD in {thread.name for thread in threading.enumerate()}, "the ledger hangs still"
        assert {answer.word for answer in door.answers("north")} == {wire.Word.ACCEPTED}


# --- in the ledger -----------------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path, any_ledger: None, unhurried: None) -> Iterator[Database]:
    with Database(ledger_at(tmp_path / "ledger.db")) as found:
        found.belong_to(VENUE)
        yield found


def test_an_ask_that_comes_to_two_bridges_of_one_ledger_is_the_firsts(database: Database) -> None:
    shared, clock = Ledgers.server is not None, [NOON_MS]
    one, other = (AskedOnce(database, lambda: clock[0]) for _ in range(2))
    assert one.first("north", ask(1))
    assert other.first("north", ask(1)) is not shared, (
        "a bridge with a file of its own has no other beside it"
    )
    assert other.first("north", ask(2))
    assert other.first("south", ask(1))
    clock[0] += KEPT_MS + FORGET_EVERY_MS
    assert one.first("north", ask(3))
    assert other.first("north", ask(1))


def test_a_device_is_configured_by_one_bridge_and_known_to_all(database: Database) -> None:
    configured, place = Configured(database), ("north", OUTER)
    one = configured.claim("acme", place, "birth", "one", NOON_MS, 1000)
    assert one == (Claim.MINE, ())
    assert configured.claim("acme", place, "birth", "other", NOON_MS, 1000)[0] is Claim.ELSEWHERE
    assert configured.claim("acme", ("north", INNER), "birth", "other", NOON_MS, 1000)[0] is Claim.MINE
    held = (Held(NOON_MS, {"id": "7"}),)
    assert configured.keep("acme", place, "birth", {"id": "7"}, NOON_MS) == held
    assert configured.claim("acme", place, "birth", "other", NOON_MS, 1000) == (Claim.DONE, held)
    assert list(configured.all_of("acme")) == [("north", OUTER, "birth", held)]
    assert configured.claim("acme", place, "next", "other", NOON_MS, 1000)[0] is Claim.MINE
    assert configured.claim("acme", place, "next", "one", NOON_MS + 1001, 1000)[0] is Claim.MINE
    configured.give_back("acme", place, "one")
    assert configured.claim("acme", place, "next", "other", NOON_MS + 1002, 1000)[0] is Claim.MINE


def test_what_a_vendor_gave_before_stays_known_with_its_time_and_within_a_bound(database: Database) -> None:
    configured, place = Configured(database), ("north", OUTER)
    configured.claim("acme", place, "birth", "one", NOON_MS, 1000)

    def keep(number: int, at_ms: int) -> tuple[Held, ...]:
        return configured.keep("acme", place, "birth", {"id": str(number)}, at_ms)

    keep(7, NOON_MS)
    assert keep(7, NOON_MS + 5) == (Held(NOON_MS, {"id": "7"}),), "the same again holds since then"
    both = (Held(NOON_MS, {"id": "7"}), Held(NOON_MS + 9, {"id": "8"}))
    assert keep(8, NOON_MS + 9) == both
    assert [held for *_, held in configured.all_of("acme")] == [both]
    for number in range(HELD_MAX):
        held = keep(number, NOON_MS + number)
    assert [int(each.kept["id"]) for each in held] == list(range(HELD_MAX))


def test_bridges_of_the_release_before_work_on_the_same_devices(database: Database) -> None:
    """They read a flat table of texts, and write the newest alone."""
    configured, place = Configured(database), ("north", OUTER)
    configured.claim("acme", place, "birth", "one", NOON_MS, 1000)

    def write_as_before(kept: dict[str, str]) -> None:
        with database.transaction() as connection:
            connection.execute(update(schema.device).values(birth="birth", kept=json.dumps(kept)))

    seven, eight, nine = ({"id": number, "gateId": "1", "gateName": "North"} for number in "789")
    write_as_before(seven)
    first = Held(0, seven)
    assert list(configured.all_of("acme")) == [("north", OUTER, "birth", (first,))]
    both = (first, Held(NOON_MS, eight))
    assert configured.keep("acme", place, "birth", eight, NOON_MS) == both
    with database.look() as connection:
        kept = json.loads(connection.execute(select(schema.device.c.kept)).scalar_one())
    assert {name: kept.get(name) for name in eight} == eight
    assert {type(value) for value in kept.values()} == {str}
    assert configured.claim("acme", place, "birth", "one", NOON_MS, 1000) == (Claim.DONE, both)
    write_as_before(nine)
    assert list(configured.all_of("acme")) == [("north", OUTER, "birth", (Held(0, nine),))]
    assert configured.keep("acme", place, "birth", eight, NOON_MS) == (Held(0, nine), both[1])
