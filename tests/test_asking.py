"""Gates that ask a vendor, on a real broker, with a bridge of a few lines: the whole way and its faults."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from firmware import uplink, wire
from firmware.core.ticket import Direction, Perimeter, Verdict
from firmware.shots import Shot
from firmware.uplink import BESIDE_ASKS_BYTES, BESIDE_ASKS_MESSAGES
from firmware.uplink.vendors import NO_BROKER, NO_CLOCK, NOT_HEARD, SILENT, SILENT_ASKS
from tests.asking import ACME, AnsweringBridge, answering, asking, no, none, silence, yes
from tests.brokers import LIMIT_S, RunningBroker, iotcore_broker, mosquitto_broker
from tests.gate_bench import SETUP, data_directory
from tests.uplinks import RunningGate, StillTime, bridge_at, fill_catalogue, gate_at_work, rows_of

SHORT_MS = 400
SHORT = f"deadline_ms = {SHORT_MS}"  # only where the test has the time in its hand
LONG = "deadline_ms = 10000"  # longer than any test wants to wait


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    tmp_path.chmod(0o755)
    with mosquitto_broker(tmp_path) as broker:
        yield broker


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        for name in ("a", "b"):
            (folder / name).mkdir(parents=True)
            fill_catalogue(folder / name)
        yield folder


@pytest.fixture
def bridge(broker: RunningBroker) -> Iterator[AnsweringBridge]:
    with answering(broker.address) as bridge:
        yield bridge


def shot_of(gate: RunningGate, code: str, lane: str = "north") -> Shot:
    gate.scan(code, lane)
    return gate.shots[-1]


def in_silence(gate: RunningGate, bridge: AnsweringBridge, code: str) -> Shot:
    """A scan that the vendor is asked about, and whose deadline passes without a word."""
    count = len(bridge.asks) + 1

    def let_it_pass() -> None:
        bridge.asked(count)
        gate.pass_time(SHORT_MS + 1)

    gate.scan(code, meanwhile=let_it_pass)
    return gate.shots[-1]


def can_ask(gate: RunningGate, vendor: str = "acme") -> bool:
    """Whether the gate knows a vendor that it can ask."""
    vendors = gate.uplink._vendors
    assert vendors is not None
    return vendors._session is not None and any(each.reachable for each in vendors._said(vendor))


def in_history(gate: RunningGate, code: str) -> object:
    return gate.unit.journal.history(gate.unit.catalogue.digest(code).hex())


def test_a_vendors_yes_opens_and_it_was_asked_with_all_there_is_to_know(
    data: Path, broker: RunningBroker, bridge: AnsweringBridge
) -> None:
    with gate_at_work(data / "a", "a", broker.port, asking(LONG + '\nevent = "gala"')) as gate:
        gate.until(partial(can_ask, gate))
        shot = shot_of(gate, "V1")
        assert (shot.verdict, shot.text) == (Verdict.ADMITTED, "OKAY")
        ask = bridge.asked(1)
        assert (ask.account, ask.code, ask.ticket_id, ask.event, ask.session) == (
            "acme",
            "V1",
            "",
            "gala",
            "",
        )
        assert (ask.direction, ask.perimeter, ask.again) == (Direction.IN, Perimeter.OUTER, False)
        assert 0 < ask.left_ms <= 10_000
        rows = {stored.id: (stored, row) for stored, row in gate.rows()}
        assert (rows[ask.scan][0].digest, rows[ask.scan][1].kind) == (ask.digest, "ask")
        assert rows[ask.scan][1].moment.utc_ms == ask.at_utc_ms


def test_a_question_goes_before_the_rows_of_its_commit_which_later_ones_do_not_put_off(
    data: Path, broker: RunningBroker, bridge: AnsweringBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        bridge_at(broker.address) as bridge_of_rows,
        gate_at_work(data / "a", "a", broker.port, asking(LONG)) as gate,
    ):
        gate.until(partial(can_ask, gate))
        gate.until(lambda: gate.uplink.receipt == gate.unit.journal.committed)
        monkeypatch.setattr(uplink, "LOOP_FIRST_S", LIMIT_S)
        assert shot_of(gate, "V1").verdict is Verdict.ADMITTED
        ask, quiet_until_s = bridge.asked(1), gate.uplink._quiet_until_s
        assert max(each.row for batch in bridge_of_rows.batches for each in batch.rows) < ask.scan
        gate.until(lambda: gate.unit.journal.committed > ask.scan)
        assert gate.uplink._quiet_until_s == quiet_until_s
        gate.uplink._quiet_until_s = 0.0
        gate.uplink._wake()
        gate.until(lambda: gate.uplink.receipt > ask.scan)


def test_a_birth_tells_of_the_device_and_once_more_when_the_clock_can_be_trusted(
    data: Path, broker: RunningBroker, bridge: AnsweringBridge
) -> None:
    trusted: list[bool] = []
    lanes = '[[lane]]\nname = "north"\n[[lane]]\nname = "hall"\nperimeter = "inner"\n'
    bridge.account = wire.Account("acme", True, True, ACME.configured, 3000, clock=True)
    with gate_at_work(data / "a", "a", broker.port, asking(LONG, lanes), lambda: bool(trusted)) as gate:
        gate.until(partial(can_ask, gate))
        shot = shot_of(gate, "V1")
        assert (shot.verdict, shot.scan.route.trouble) == (Verdict.NOT_CONFIGURED, NO_CLOCK)
        trusted.append(True)
        bridge.wait(lambda: len(bridge.births) == 2)
        first, second = bridge.births
        assert (first.trusted, second.trusted) == (False, True)
        assert first.perimeters == (Perimeter.OUTER, Perimeter.INNER)
        assert first.ip == "127.0.0.1"
        assert first.connection == second.connection
        gate.until(lambda: gate.unit.gate.clock.trusted)
        assert shot_of(gate, "V2").verdict is Verdict.ADMITTED
        trusted.clear()
        gate.until(lambda: gate.unit.gate.clock.alone)
        assert shot_of(gate, "V3", "hall").verdict is Verdict.ADMITTED, "the time is known all the same"
        assert len(bridge.births) == 2


@pytest.mark.parametrize("doubt", [False, True])
def test_the_word_that_there_is_no_answer_is_not_waited_out(
    data: Path, broker: RunningBroker, bridge: AnsweringBridge, doubt: bool
) -> None:
    bridge.decide = lambda ask: none(ask, "the vendor is down", doubt)
    with gate_at_work(data / "a", "a", broker.port, asking(LONG)) as gate:
        gate.until(partial(can_ask, gate))
        shot = shot_of(gate, "V1")
        assert (shot.verdict, shot.text) == (Verdict.NO_ANSWER, "the vendor is down")
        bridge.decide = no
        gate.until(lambda: gate.unit.gate.at_rest("north"))
        bridge.tell("a", ACME)
        again = bridge.asked(1)
        assert not again.again
        assert (in_history(gate, "V1") != in_history(gate, "V2")) is doubt


def test_what_was_never_heard_of_or_is_not_set_up_is_not_asked(data: Path, broker: RunningBroker) -> None:
    with answering(broker.address, None) as bridge:
        with gate_at_work(data / "a", "a", broker.port, asking(LONG)) as gate:
            bridge.wait(lambda: bridge.births)
            gate.until(lambda: gate.uplink._vendors and gate.uplink._vendors._session)
            shot = shot_of(gate, "V1")
            assert (shot.verdict, shot.scan.route.trouble) == (Verdict.NO_ANSWER, NOT_HEARD)
            inner = wire.Account("acme", True, True, (Perimeter.INNER,), 3000, "outer: no such venue")
            bridge.tell("a", inner)
            gate.until(partial(can_ask, gate))
            shot = shot_of(gate, "V2")
            assert (shot.verdict, shot.scan.route.trouble) == (Verdict.NOT_CONFIGURED, "outer: no such venue")
            bridge.tell("a", wire.Account("acme", True, False, ACME.configured, 3000, "no reply in 3 s"))
            gate.until(lambda: not can_ask(gate))
            shot = shot_of(gate, "V3")
            assert (shot.verdict, shot.scan.route.trouble) == (Verdict.NO_ANSWER, "no reply in 3 s")
            bridge.tell("a", wire.Account("acme", True, True, ACME.configured, 3000))
            gate.until(partial(can_ask, gate))
            assert shot_of(gate, "V4").verdict is Verdict.ADMITTED
        assert [ask.code for ask in bridge.asks] == ["V4"]


def test_a_connection_that_is_down_is_not_waited_for(
    data: Path, broker: RunningBroker, bridge: AnsweringBridge
) -> None:
    with gate_at_work(data / "a", "a", broker.port, asking(LONG)) as gate:
        gate.until(partial(can_ask, gate))
        broker.kill()
        gate.until(lambda: not can_ask(gate))
        shot = shot_of(gate, "V1")
        assert (shot.verdict, shot.scan.route.trouble) == (Verdict.NO_ANSWER, NO_BROKER)
        broker.start()
        gate.until(partial(can_ask, gate))
        bridge.wait(lambda: len(bridge.births) == 2)
        assert shot_of(gate, "V2").verdict is Verdict.ADMITTED


def test_a_bridge_that_says_nothing_is_soon_not_waited_for_any_more(
    data: Path, broker: RunningBroker, bridge: AnsweringBridge
) -> None:
    bridge.decide = silence
    with gate_at_work(data / "a", "a", broker.port, asking(SHORT), still=StillTime()) as gate:
        gate.until(partial(can_ask, gate))
        for number in range(SILENT_ASKS):
            assert in_silence(gate, bridge, f"V{number}").verdict is Verdict.NO_ANSWER
        asks = len(bridge.asks)
        assert asks == SILENT_ASKS
        shot = shot_of(gate, "V9")
        assert (shot.verdict, shot.scan.route.trouble, len(bridge.asks)) == (Verdict.NO_ANSWER, SILENT, asks)
        bridge.send("a", no(bridge.asks[0]))  # late, and a sign of life all the same
        gate.until(lambda: not gate.uplink._vendors._breakers["acme"].silent if gate.uplink._vendors else 0)
        bridge.decide = yes
        assert shot_of(gate, "V10").verdict is Verdict.ADMITTED


def test_a_refusal_after_a_lost_answer_calls_staff_and_the_vendor_hears_that_it_is_asked_again(
    data: Path, broker: RunningBroker, bridge: AnsweringBridge
) -> None:
    bridge.decide = silence
    with gate_at_work(data / "a", "a", broker.port, asking(SHORT), still=StillTime()) as gate:
        gate.until(partial(can_ask, gate))
        assert in_silence(gate, bridge, "V1").verdict is Verdict.NO_ANSWER
        bridge.decide = no
        assert shot_of(gate, "V2").verdict is Verdict.USED, "another code: the light of the first goes out"
        assert shot_of(gate, "V1").verdict is Verdict.CALL_STAFF
        assert [ask.again for ask in bridge.asks] == [False, False, True]


@pytest.mark.parametrize("kind", ["mosquitto", "iotcore"])
def test_who_got_a_late_yes_is_let_in_at_any_gate_once(data: Path, tmp_path: Path, kind: str) -> None:
    tmp_path.chmod(0o755)
    listed = asking(SHORT).replace('starts = "V"', 'starts = "T"')
    with (
        iotcore_broker(tmp_path) if kind == "iotcore" else mosquitto_broker(tmp_path) as broker,
        answering(broker.address) as bridge,
        gate_at_work(data / "a", "a", broker.port, listed, still=StillTime()) as a,
        gate_at_work(data / "b", "b", broker.port, listed, still=StillTime()) as b,
    ):
        a.until(partial(can_ask, a))
        b.until(partial(can_ask, b))
        bridge.decide = silence
        assert in_silence(a, bridge, "T1").verdict is Verdict.NO_ANSWER
        bridge.send("a", yes(bridge.asked(1)))
        bridge.send("a", yes(bridge.asked(1)))  # twice, as QoS 1 allows
        b.until(lambda: b.unit.journal.history("a:T1").credit)
        bridge.decide = no
        assert shot_of(b, "T1").verdict is Verdict.ADMITTED_CREDIT
        assert len(bridge.asks) == 1
        a.until(lambda: a.unit.journal.history("a:T1").pending)
        a.pass_time(SETUP.signal_ms)
        a.until(lambda: not a.unit.gate.lane("north").shown)
        again = shot_of(a, "T1").verdict
        assert not again.admits


def test_rows_that_wait_by_the_thousand_do_not_hold_up_a_question(
    data: Path, broker: RunningBroker, bridge: AnsweringBridge
) -> None:
    with (
        bridge_at(broker.address) as ledger,
        gate_at_work(data / "a", "a", broker.port, asking(LONG)) as gate,
    ):
        ledger.answer = lambda *_: None  # it takes them, and says nothing
        gate.until(partial(can_ask, gate))
        gate.write(*(f"{number} {'x' * 200}" for number in range(3000)))
        assert shot_of(gate, "V1").verdict is Verdict.ADMITTED
        ask = bridge.asked(1)
        sizes = [sum(len(row.body) for row in batch.rows) for batch in ledger.batches]
        assert max(sizes) <= BESIDE_ASKS_BYTES
        last_s = {batch.rows[-1].row for batch in ledger.batches}
        assert len(last_s) <= BESIDE_ASKS_MESSAGES + 1
        assert max(last_s) < ask.scan, "the question was first"


@pytest.mark.parametrize("answered_late", [True, False])
def test_promise_5_a_gate_that_is_killed_in_the_middle_of_an_ask_knows_it_afterwards(
    data: Path, broker: RunningBroker, bridge: AnsweringBridge, answered_late: bool
) -> None:
    bridge.decide = silence
    command = [sys.executable, "-m", "tests.asking_process", str(data / "a"), "a", str(broker.port), "V1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            ask = bridge.asked(1)
        finally:
            process.kill()
            process.wait(LIMIT_S)
    rows = [row for stored, row in rows_of(data / "a") if row.scan == ask.scan]
    assert [row.kind for row in rows] == ["ask"], "killed before it was decided"
    with gate_at_work(data / "a", "a", broker.port, asking(LONG)) as gate:
        gate.until(partial(can_ask, gate))
        gate.until(lambda: gate.texts("unsettled"))
        if answered_late:
            bridge.send("a", yes(ask))
            gate.until(lambda: [row for _, row in gate.rows() if row.kind == "late"])
            assert shot_of(gate, "V1").verdict is Verdict.ADMITTED_CREDIT
            assert len(bridge.asks) == 1
        else:
            bridge.decide = no
            assert shot_of(gate, "V1").verdict is Verdict.CALL_STAFF
            assert bridge.asked(2).again
