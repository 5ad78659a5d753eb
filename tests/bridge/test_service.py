import os
import platform
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from firmware import wire
from firmware.bridge.command import News
from firmware.bridge.feed import FeedKeyChanged
from firmware.bridge.ledger import Ledger
from firmware.bridge.ledger.credits import CREDIT_MS_MAX, ROWS_MS
from firmware.bridge.ledger.telling import OUTCOME_LEASE_MS
from firmware.bridge.outbox import LONG_WAITING_MAX
from firmware.bridge.peers import name_of
from firmware.bridge.sandbox.ingresse import Sandbox
from firmware.bridge.service import (
    ANNOUNCE_S,
    LOOK_S,
    OUTCOMES_MAX,
    Announcer,
    Clerk,
    open_bridge,
)
from firmware.bridge.settings import load
from firmware.bridge.vending import LEASE_MS
from firmware.bridge.vendor import (
    Accepted,
    VendorTicket,
)
from firmware.bridge.work import Fault, Faults, Worker
from firmware.demo.network import free_port
from firmware.hold import hold
from firmware.mqtt import Line, Publication
from firmware.ration import LINES_MAX
from firmware.venue_key import KeyUnusable
from tests import commands
from tests.bridge.asked_lane import AskedLane
from tests.bridge.feeds import read_whole
from tests.bridge.model_gate import VENUE, ModelGate, books
from tests.bridge.offices import Script
from tests.bridge.relays import Desk, TapeSession, desk, topic, walk_in
from tests.brokers import QUICK, Ear, RunningBroker, mosquitto_broker, until
from tests.core.samples import NOON_MS

SECRET = "sandbox-key"
get = partial(httpx.get, timeout=commands.PATIENCE_S, trust_env=False)

# --- what gates are told -----------------------------------------------------------------------------------


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as found:
        yield found


def announcer_of(at: Desk, name: str = "w", now_ms: Callable[[], int] = lambda: NOON_MS) -> Announcer:
    found = Announcer(VENUE, at.feed, at.ledger, at.outbox, name, now_ms)
    found.worker = Worker("announcing", found.turn, at.faults)
    return found


def told(at: Desk, persons: int, text: str = "ok") -> ModelGate:
    """So many people walked in, and the vendor has said its word."""
    gate = ModelGate()
    for number in range(persons):
        gate.person(f"acme:t{number}")
    at.ledger.store(gate.name, gate.batch(), NOON_MS)
    claimed = at.ledger.claim("acme", "w", NOON_MS, 10 * persons, 1000)
    at.ledger.finish([(each, Accepted(text)) for each in claimed], NOON_MS)
    return gate


def sent(line: TapeSession, of: wire.Topic, shape: type[wire.AnyMessage]) -> list[wire.AnyMessage]:
    end = of.name.rpartition("/")[2]
    return [
        wire.decode(publication.payload, shape)
        for publication in line.link.sent.values()
        if publication.topic.endswith(end)
    ]


def test_outcomes_go_to_their_gate_once_and_each_message_fits(at: Desk) -> None:
    announcer = announcer_of(at)
    gate = told(at, OUTCOMES_MAX + 1, "\U0001f600" * 300)
    line = TapeSession()
    assert announcer.turn() == ANNOUNCE_S, "nobody is connected"
    at.relay.connected(line.session)
    while announcer.turn() == 0.0:
        pass
    messages = sent(line, wire.OUTCOME, wire.Outcomes)
    assert [len(message.outcomes) for message in messages] == [OUTCOMES_MAX, 1]
    assert {outcome.scan for message in messages for outcome in message.outcomes} == {
        kept.number for kept in gate.rows if kept.row and kept.row.kind == "scan"
    }
    while announcer.turn() == 0.0:
        pass
    assert len(sent(line, wire.OUTCOME, wire.Outcomes)) == 2


def test_outcomes_wait_in_the_ledger_until_there_is_room(at: Desk) -> None:
    announcer = announcer_of(at)
    told(at, 13 * OUTCOMES_MAX)
    line = TapeSession(window=2)
    at.relay.connected(line.session)
    while announcer.turn() == 0.0:
        pass
    assert len(sent(line, wire.OUTCOME, wire.Outcomes)) == 1
    for _ in range(20):
        line.take(at.relay)
        while announcer.turn() == 0.0:
            pass
    messages = sent(line, wire.OUTCOME, wire.Outcomes)
    assert sum(len(message.outcomes) for message in messages) == 13 * OUTCOMES_MAX


def test_a_million_new_tickets_are_not_piled_up_for_gates_that_listen(at: Desk) -> None:
    announcer = announcer_of(at)
    line = TapeSession(window=2)
    at.relay.connected(line.session)
    while announcer.turn() == 0.0:
        pass
    read_whole(at.feed, *(VendorTicket(f"t{number}", f"C{number}") for number in range(12_000)))
    turns = 0
    while announcer.turn() == 0.0:
        turns += 1
    assert turns <= LONG_WAITING_MAX + 1
    line.take(at.relay)
    assert announcer.worker._wake.is_set(), "there is room again"


def test_a_gate_hears_what_is_new_and_now_and_then_that_nothing_is(at: Desk) -> None:
    clock = [NOON_MS]
    announcer = announcer_of(at, now_ms=lambda: clock[0])
    line = TapeSession()
    at.relay.connected(line.session)
    assert announcer.turn() == ANNOUNCE_S
    read_whole(at.feed, VendorTicket("a", "A"))
    assert announcer.turn() == 0.0
    assert announcer.turn() == ANNOUNCE_S
    clock[0] += round(ANNOUNCE_S * 1000) - 1
    assert announcer.turn() == 0.001
    clock[0] += 1
    assert announcer.turn() == ANNOUNCE_S
    first, second, third = sent(line, wire.CHANGES, wire.Changes)
    assert (first.items, first.upto) == ((), second.after)
    assert [item.ticket_id for item in second.items if isinstance(item, wire.Listed)] == ["ing:a"]
    assert (third.after, third.items) == (second.upto, ())


def test_of_two_bridges_one_tells_gates_what_is_new(at: Desk) -> None:
    clock = [NOON_MS]
    announcers = [announcer_of(at, name, lambda: clock[0]) for name in ("1@here", "2@there")]
    line = TapeSession()
    at.relay.connected(line.session)
    read_whole(at.feed, VendorTicket("a", "A"))
    for _ in range(3):
        for announcer in announcers:
            while announcer.turn() == 0.0:
                pass
        clock[0] += round(ANNOUNCE_S * 1000)
    changes = sent(line, wire.CHANGES, wire.Changes)
    assert [len(message.items) for message in changes] == [1, 0, 0]


def test_an_outcome_is_sent_by_the_bridge_that_stored_it_or_after_a_while_by_another(at: Desk) -> None:
    clock = [NOON_MS]
    told(at, 3)
    line = TapeSession()
    at.relay.connected(line.session)
    others = [announcer_of(at, name, lambda: clock[0]) for name in ("1@here", "2@there")]
    for other in others:
        other.turn()
    assert sent(line, wire.OUTCOME, wire.Outcomes) == [], "whoever stored them is at it"
    clock[0] += OUTCOME_LEASE_MS
    for other in others:
        other.turn()
    assert [len(message.outcomes) for message in sent(line, wire.OUTCOME, wire.Outcomes)] == [3]


def test_a_report_is_said_once_and_sums_cost_nothing_to_ask_for(at: Desk) -> None:
    told(at, 1)
    clock, said = [0.0], list[str]()
    clerk = Clerk(at.ledger, said.append, Faults(), lambda: clock[0])
    assert clerk.counts.rows == 3
    gate, other = ModelGate("twin"), ModelGate("twin")
    for number, each in enumerate((gate, other)):
        each.person(f"acme:x{number}")
        at.ledger.store("twin", each.batch(), NOON_MS)
    assert clerk.turn() == LOOK_S
    (report,) = said
    assert "twin" in report
    assert clerk.counts.reports == 1
    clock[0] = LOOK_S / 2
    assert clerk.turn() == LOOK_S / 2
    again = list[str]()
    Clerk(at.ledger, again.append, Faults(), lambda: clock[0]).turn()
    assert (len(said), again) == (1, []), "those who found it have said it"


def test_a_late_yes_that_nobody_used_is_said(at: Desk) -> None:
    lane, clock, said = AskedLane(ModelGate("north")), [0.0], list[str]()
    scan = lane.scan()
    lane.silence()
    lane.answer(scan)
    at.ledger.store("north", lane.gate.batch(), NOON_MS)
    over_ms = NOON_MS + CREDIT_MS_MAX + ROWS_MS
    clerk = Clerk(at.ledger, said.append, Faults(), lambda: clock[0], lambda: over_ms)
    clock[0] = LOOK_S
    clerk.turn()
    (text,) = said
    assert text.startswith("gate north, row 1.3, ticket t1: the vendor said yes")


def test_work_of_an_account_that_was_renamed_is_a_fault_until_it_is_told(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        gate = ModelGate("east")
        gate.person("acme:t1")
        at.ledger.store("east", gate.batch(), NOON_MS)
        renamed, faults, clock = Ledger(at.database, VENUE, ("acme2",)), Faults(), [0.0]
        clerk = Clerk(renamed, print, faults, lambda: clock[0])
        (fault,) = faults.now()
        assert "1 of 'acme'" in fault.text
        assert "give it its name back" in fault.text
        (claimed,) = at.ledger.claim("acme", "w", NOON_MS, 10, 1000)
        at.ledger.finish([(claimed, Accepted())], NOON_MS)
        clock[0] = LOOK_S + 1
        clerk.turn()
        assert faults.now() == []


# --- what a person is told ---------------------------------------------------------------------------------


def fault(thing: str, kind: str = "Outage", text: str = "down") -> Fault:
    return Fault(thing, kind, f"{thing}: {text}")


def test_a_fault_and_its_end_are_told_once_each() -> None:
    news = News(lambda: 0.0)
    assert news.of([fault("a"), fault("b")], []) == ["fault: a: down", "fault: b: down"]
    assert news.of([fault("a", text="down (17 ms)"), fault("b")], []) == []
    assert news.of([fault("a", "Misconfigured", "key"), fault("b")], ["odd"]) == ["fault: a: key", "odd"]
    assert news.of([fault("b")], []) == ["a works again"]


def test_no_more_lines_are_told_in_a_minute_than_a_person_reads() -> None:
    clock = [0.0]
    news = News(lambda: clock[0])
    lines = [line for _ in range(100) for line in news.of([], ["odd"])]
    assert lines == ["odd"] * (LINES_MAX - 1) + ["more than is told in a minute: see gatepost reports"]
    clock[0] = 60.0
    assert news.of([], ["odd"]) == ["odd"]
    assert len(news.of([], ["odd"] * 1000)) == LINES_MAX - 1


def test_a_flood_of_reports_does_not_fill_the_log() -> None:
    news = News(lambda: 0.0)
    news.report("missing tickets")
    assert news.of([], []) == ["missing tickets"]
    for number in range(10_000):
        news.report(f"fork {number}")
    lines = [*news.of([fault("a")], []), *news.of([], []), *news.rest()]
    assert len(lines) < LINES_MAX
    assert lines[0] == "fault: a: down", "faults come first"
    assert lines[-1] == "more than is told in a minute: see gatepost reports"


# --- the command -------------------------------------------------------------------------------------------


class Place:
    """Settings, secrets and data of a bridge in a folder."""

    def __init__(self, folder: Path, port: int, url: str, event: int, session: int) -> None:
        self.config, self.data = folder / "bridge.toml", folder / "data"
        self.event, self.session = str(event), str(session)
        self.key, self.password = folder / "key", folder / "password"
        self.key.write_text(SECRET, "utf-8")
        self.password.write_text("sandbox-password", "utf-8")
        self.config.write_text(
            f"""
            [bridge]
            venue = "{VENUE}"
            [[vendor]]
            name = "acme"
            kind = "ingresse"
            poll_s = 1
            rate_max = 1000
            key_file = "{self.key}"
            login = "password"
            email = "doors@example.com"
            password_file = "{self.password}"
            unsold = "admit"
            api_url = "{url}"
            [[vendor.event]]
            id = "{event}"
            sessions = ["{session}"]
            [[broker]]
            host = "127.0.0.1"
            port = {port}
            tls = false
            """,
            "utf-8",
        )

    def run(self) -> commands.Running:
        return commands.Running("bridge", "--config", self.config, "--data", self.data)

    def reports(self) -> str:
        done = commands.run("reports", "--config", self.config, "--data", self.data)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with mosquitto_broker(tmp_path) as running:
        yield running


@contextmanager
def place_at(folder: Path, port: int, sandbox: Sandbox) -> Iterator[Place]:
    event = sandbox.events[0]
    place = Place(folder, port, sandbox.url, event.id, event.sessions[0].id)
    text = place.config.read_text("utf-8").replace("doors@example.com", sandbox.email)
    place.config.write_text(text, "utf-8")
    yield place


@contextmanager
def gates_at(broker: RunningBroker) -> Iterator[tuple[Line, Ear]]:
    """All gates of the venue, which hear everything of the bridge."""
    ear = Ear()
    wanted = [topic(each, "+") for each in (wire.RECEIPT, wire.PAGE, wire.OUTCOME)]
    with Line([broker.address], "gates", wanted, ear, pace=QUICK, window=200) as line:
        until(lambda: line.session)
        yield line, ear


def send(line: Line, of: wire.Topic, gate: str, message: wire.Message) -> None:
    publication = Publication(topic(of, gate), wire.encode(message))
    until(lambda: line.session is not None and line.session.publish(publication))


def heard(ear: Ear, of: wire.Topic, gate: str) -> list[bytes]:
    return [arrived.payload for arrived in list(ear.heard) if arrived.topic == topic(of, gate)]


def stop(bridge: commands.Running) -> list[str]:
    """SIGTERM; what it said to the end."""
    bridge.signal(signal.SIGTERM)
    said = bridge.err.rest()
    assert bridge.end() == 0
    return said


def test_a_scan_goes_to_the_vendor_and_its_word_comes_back(tmp_path: Path, broker: RunningBroker) -> None:
    with (
        commands.Running("sandbox", "ingresse", "--port", "0", "--tickets", "50") as vendor,
        gates_at(broker) as (line, ear),
    ):
        url = vendor.out.expect("Ingresse sandbox at ").split()[3].rstrip(",")
        control = vendor.out.expect("^control ").split()[1].removesuffix("/state")
        state = get(f"{control}/state").json()
        email = vendor.out.expect("^login ").split()[1]
        event = state["events"][0]
        session = event["sessions"][0]
        place = Place(tmp_path, broker.port, url, event["id"], session)
        place.config.write_text(place.config.read_text("utf-8").replace("doors@example.com", email), "utf-8")
        query = {
            "count": "1",
            "session": str(session),
            "sold": "true",
            "refunded": "false",
            "inside": "false",
        }
        (code,) = get(f"{control}/codes", params=query).json()
        ticket = get(f"{control}/ticket", params={"ticket": code}).json()["id"]
        gate = ModelGate("north")
        with place.run() as bridge:
            bridge.err.expect("ready: venue hall; accounts acme; 0 rows in the ledger, 0 reports")
            bridge.err.expect("acme: 1 events, 1 sessions, ")

            def listed() -> bool:
                send(line, wire.REQUEST, "north", wire.CatalogueRequest(feed="", cursor=0, pages=8))
                pages = [wire.decode(each, wire.CataloguePage) for each in heard(ear, wire.PAGE, "north")]
                return any(page.tickets and not page.more for page in pages)

            until(listed)
            walk_in(gate, f"acme:{ticket}", code, place.event, place.session)
            send(line, wire.JOURNAL, "north", gate.batch())
            ear.wait(lambda: heard(ear, wire.RECEIPT, "north") == [wire.encode(gate.receipt())])
            ear.wait(lambda: heard(ear, wire.OUTCOME, "north"))
            (outcome,) = wire.decode(heard(ear, wire.OUTCOME, "north")[0], wire.Outcomes).outcomes
            assert outcome.result is wire.Result.ACCEPTED
            said = stop(bridge)
        history = get(f"{control}/ticket", params={"ticket": code}).json()["history"]
        assert [change["what"] for change in history][-1] == "checkin"
        assert not any("fault" in text or SECRET in text for text in said)


def test_a_second_start_goes_on_and_reports_are_said_once_and_listed(
    tmp_path: Path, broker: RunningBroker
) -> None:
    gate, twin = ModelGate("north"), ModelGate("north")
    with (
        Sandbox(tickets=50) as sandbox,
        place_at(tmp_path, broker.port, sandbox) as place,
        gates_at(broker) as (line, ear),
    ):
        # Tickets that the vendor takes: how soon it is told of them then changes no count below.
        codes = sandbox.codes(2, session=int(place.session), sold=True, refunded=False, inside=False)
        for each, code in zip((gate, twin), codes, strict=True):
            walk_in(each, f"acme:{sandbox.ticket(code).id}", code, place.event, place.session)
        with place.run() as bridge:
            bridge.err.expect("ready: ")
            until(lambda: sent_until(line, ear, gate, gate.receipt()))
            stop(bridge)
        with place.run() as bridge:
            bridge.err.expect("ready: venue hall; accounts acme; 3 rows in the ledger, 0 reports")
            until(lambda: sent_until(line, ear, twin, twin.receipt()))
            report = bridge.err.expect("gate north").removeprefix("gatepost: ")
            until(lambda: sent_until(line, ear, twin, twin.receipt()))
            said = stop(bridge)
            assert sum(report in text for text in said) == 1
        with place.run() as bridge:
            bridge.err.expect("ready: venue hall; accounts acme; 6 rows in the ledger, 1 reports")
            assert not any(report in text for text in stop(bridge))
        (listed,) = place.reports().splitlines()
        assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC  \w+( \w+)?: {re.escape(report)}", listed)


def sent_until(line: Line, ear: Ear, gate: ModelGate, receipt: wire.Receipt) -> bool:
    """Send all rows, as a gate does whose bridge was not there; whether the receipt is there."""
    before = len(ear.heard)
    send(line, wire.JOURNAL, gate.name, gate.batch())
    with ear._news:
        ear._news.wait_for(lambda: len(ear.heard) > before, 0.5)
    return wire.encode(receipt) in heard(ear, wire.RECEIPT, gate.name)


def test_what_is_not_there_is_named_and_so_is_its_return(tmp_path: Path) -> None:
    port, vendor_port = free_port(), free_port()
    with Sandbox(tickets=50, port=vendor_port) as sandbox, place_at(tmp_path, port, sandbox) as place:
        with sandbox.refused(), place.run() as bridge:
            bridge.err.expect("ready: ")
            there = {
                "broker": rf"fault: broker 127\.0\.0\.1:{port}: nothing listens there: start the broker",
                "vendor": r"fault: reading acme: acme: .*Connect",
            }
            while there:
                text = bridge.err.expect("|".join(there.values()))
                there = {name: each for name, each in there.items() if not re.search(each, text)}
            sandbox.server.accept()
            with mosquitto_broker(tmp_path, port=port):
                back = {f"broker 127.0.0.1:{port} works again", "reading acme works again"}
                while back:
                    text = bridge.err.expect("works again")
                    back = {each for each in back if each not in text}
            said = stop(bridge)
        assert sum("fault: reading acme" in text for text in said) == 1
        assert not any(SECRET in text for text in said)


@pytest.mark.parametrize("which", ["key", "password"])
def test_a_wrong_secret_is_named_and_not_shown(tmp_path: Path, broker: RunningBroker, which: str) -> None:
    with Sandbox(tickets=50) as sandbox, place_at(tmp_path, broker.port, sandbox) as place:
        {"key": place.key, "password": place.password}[which].write_text("another-of-ours", "utf-8")
        with place.run() as bridge:
            assert "orrect" in bridge.err.expect("fault: reading acme: acme: log-in refused: ")
            assert not any("another-of-ours" in each for each in stop(bridge))


def test_a_vendor_that_does_not_answer_holds_up_no_stop(tmp_path: Path, broker: RunningBroker) -> None:
    with Sandbox(tickets=50) as sandbox, place_at(tmp_path, broker.port, sandbox) as place:
        sandbox.misbehave("slow", "any", chance=1.0, seconds=2 * commands.PATIENCE_S)
        with place.run() as bridge:
            bridge.err.expect("ready: ")
            until(lambda: sandbox.requests)
            stop(bridge)
        sandbox.behave()


@pytest.mark.parametrize(
    ("ledger", "told"),
    [
        (
            "sqlite:////nowhere/ledger.db",
            "sqlite:////nowhere/ledger.db: unable to open database file: see that",
        ),
        ("sqlite:///ledger.db", "bridge.toml:4: bridge.ledger: names no file"),
    ],
)
def test_a_ledger_that_cannot_be_is_named_with_the_mend(tmp_path: Path, ledger: str, told: str) -> None:
    place = Place(tmp_path, 1, "http://127.0.0.1:1", 1, 2)
    text = place.config.read_text("utf-8").replace("[bridge]\n", f'[bridge]\nledger = "{ledger}"\n')
    place.config.write_text(text.replace("            ", ""), "utf-8")
    text = place.config.read_text("utf-8")
    done = commands.run("bridge", "--config", place.config, "--data", place.data)
    assert done.returncode == 2
    assert told.replace("bridge.toml:4", f"{place.config}:3") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_bridge_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path, 1, "http://127.0.0.1:1", 1, 2)
    with hold(place.data, lock="bridge.lock"):
        done = commands.run("bridge", "--config", place.config, "--data", place.data)
    assert done.returncode == 2
    assert f"another bridge works on this folder (process {os.getpid()}): stop it" in done.stderr
    with hold(place.data, lock="bridge.lock"):
        assert (place.data / "bridge.lock").read_text() == f"{os.getpid()}\n"


def test_what_a_killed_bridge_held_is_told_at_once_by_the_next_one_of_the_same_folder(tmp_path: Path) -> None:
    place = Place(tmp_path, 1, "http://127.0.0.1:1", 1, 2)
    place.data.mkdir(mode=0o700)
    here = name_of(1, f"{platform.node()}:{place.data.resolve()}")
    gate, vendor = ModelGate(), Script()
    with books(place.data) as found:
        for ticket in ("t1", "t2"):
            gate.person(f"acme:{ticket}")
            found.store(gate)
            who = here if ticket == "t1" else name_of(1, "elsewhere")
            assert len(found.ledger.claim("acme", who, NOON_MS, 20, LEASE_MS)) == 1
    with open_bridge(load(place.config), place.data, vendor=lambda _: vendor, now_utc_ms=lambda: NOON_MS):
        until(lambda: vendor.told)
    assert [(told.ticket_id, told.doubt) for batch in vendor.told for told in batch] == [("t1", True)]


def test_a_second_bridge_needs_the_key_of_the_first_and_makes_none(tmp_path: Path) -> None:
    place = Place(tmp_path, 1, "http://127.0.0.1:1", 1, 2)
    settings = load(place.config)._replace(ledger=f"sqlite:///{tmp_path / 'ledger.db'}")
    with open_bridge(settings, tmp_path / "one", vendor=lambda _: Script()):
        pass
    with (
        pytest.raises(KeyUnusable, match=r"two/key: is missing, .* from the data folder of another bridge"),
        open_bridge(settings, tmp_path / "two", vendor=lambda _: Script()),
    ):
        pass
    (tmp_path / "two" / "key").write_bytes(os.urandom(32))
    (tmp_path / "two" / "key").chmod(0o600)
    with (
        pytest.raises(FeedKeyChanged, match="another venue key: put the key of the venue's gates back"),
        open_bridge(settings, tmp_path / "two", vendor=lambda _: Script()),
    ):
        pass
    shutil.copy2(tmp_path / "one" / "key", tmp_path / "two" / "key")
    with open_bridge(settings, tmp_path / "two", vendor=lambda _: Script()):
        pass


def test_reports_of_no_ledger_make_none(tmp_path: Path) -> None:
    place = Place(tmp_path, 1, "http://127.0.0.1:1", 1, 2)
    done = commands.run("reports", "--config", place.config, "--data", place.data)
    assert done.returncode == 2
    assert done.stderr.endswith("ledger.db: No such file or directory: check the path\n")
    assert not place.data.exists()


def test_health_is_there_without_asking_anybody(tmp_path: Path, broker: RunningBroker) -> None:
    gate = ModelGate("north")
    gate.person("acme:1")
    with (
        Sandbox(tickets=50) as sandbox,
        place_at(tmp_path, broker.port, sandbox) as place,
        gates_at(broker) as (line, _),
        open_bridge(load(place.config), place.data, pace=QUICK) as bridge,
    ):
        until(lambda: bridge.line.session)
        send(line, wire.JOURNAL, "north", gate.batch())
        until(lambda: bridge.relay.rows == 3 and bridge.accounts[0].runs and bridge.accounts[0].heard_utc_ms)
        health = bridge.health()
        assert health.broker == f"127.0.0.1:{broker.port}"
        assert health.gates.keys() == {"north"}
        assert (health.rows, health.connections, health.odd, health.faults) == (3, 1, {}, ())
        (account,) = health.accounts
        assert account.name == "acme"
        assert account.heard_utc_ms > 0
        assert health.counts.rows in (0, 3)
    assert bridge.line.session is None
