"""What a gate tells of itself: a real gate, a real broker, and somebody who listens."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware import wire
from firmware.core.ticket import Verdict
from firmware.mqtt import Line
from firmware.shots import Shot
from firmware.uplink.telemetry import LAST, Tally, quantiles
from tests.brokers import QUICK, Ear, RunningBroker, mosquitto_broker
from tests.core.samples import SCAN
from tests.uplinks import VENUE, RunningGate, fill_catalogue, gate_at_work


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with mosquitto_broker(tmp_path) as found:
        yield found


class Listener:
    """Hears telemetry and warnings of every gate."""

    def __init__(self, ear: Ear) -> None:
        self.ear = ear

    def last(
        self, shape: type[wire.AnyMessage], what: Callable[[wire.AnyMessage], object]
    ) -> wire.AnyMessage:
        """The first message that is so."""
        found: list[wire.AnyMessage] = []

        def look() -> bool:
            for arrived in self.ear.heard:
                where = wire.addressed(arrived.topic, VENUE)
                assert where is not None
                if where.topic.message is shape:
                    message = wire.decode(arrived.payload, shape)
                    if what(message):
                        found.append(message)
            return bool(found)

        self.ear.wait(look)
        return found[-1]


@pytest.fixture
def listener(broker: RunningBroker) -> Iterator[Listener]:
    ear = Ear()
    topics = [wire.address(topic, VENUE, "+") for topic in (wire.TELEMETRY, wire.LOG)]
    with Line([broker.address], "listener", topics, ear, pace=QUICK):
        ear.wait(lambda: ear.sessions)
        yield Listener(ear)


def again(gate: RunningGate, broker: RunningBroker, listener: Listener) -> None:
    """A gate that connects anew tells of itself at once. A warning is told once, to who is there."""
    sessions = len(listener.ear.sessions)
    broker.kill()
    gate.until(lambda: not gate.uplink.connected_to)
    broker.start()
    listener.ear.session(sessions + 1)
    gate.until(lambda: gate.uplink.connected_to)


def test_a_gate_tells_of_itself_as_soon_as_it_is_connected(
    tmp_path: Path, broker: RunningBroker, listener: Listener
) -> None:
    fill_catalogue(tmp_path / "a")
    with gate_at_work(tmp_path / "a", "a", broker.port) as gate:
        told = listener.last(wire.Telemetry, lambda _: True)
        assert told.epoch == gate.unit.journal.epoch
        assert told.tickets == 200
        assert told.key_mark == gate.unit.catalogue.key_mark
        assert told.trusted
        assert told.verdicts == {}
        assert told.decide == wire.Quantiles(0, 0)
        names = [part.part for part in told.parts]
        assert names == ["reader north/1", "sensor north", "turnstile north", "lamp north", "buzzer north"]
        assert all(not part.fault for part in told.parts)
        assert told.release


def test_scans_are_counted_by_verdict_and_their_times_told(
    tmp_path: Path, broker: RunningBroker, listener: Listener
) -> None:
    fill_catalogue(tmp_path / "a")
    with gate_at_work(tmp_path / "a", "a", broker.port) as gate:
        gate.until(lambda: gate.uplink.connected_to)
        assert gate.scan("nobody's") is Verdict.UNKNOWN
        assert gate.scan("nobody's either") is Verdict.UNKNOWN
        gate.unit.measures.look()
        again(gate, broker, listener)
        told = listener.last(
            wire.Telemetry, lambda told: told.verdicts == {Verdict.UNKNOWN: 2} and told.backlog_rows
        )
        assert 0 < told.decide.p50_us <= told.decide.p99_us
        assert 0 < told.commit.p50_us <= told.commit.p99_us
        assert told.backlog_rows > 0, "nobody has sent a receipt"
        assert told.disk_free_bytes


def reader_faults(telemetry: wire.Telemetry) -> list[wire.NamedFault]:
    return [each for each in telemetry.faults if each.code == "reader_lost"]


def test_a_reader_that_is_lost_is_a_named_fault_and_a_warning_and_so_is_its_end(
    tmp_path: Path, broker: RunningBroker, listener: Listener
) -> None:
    with gate_at_work(tmp_path / "a", "a", broker.port) as gate:
        gate.until(lambda: gate.uplink.connected_to)
        reader = gate.board.fakes["north"].readers["in"]
        reader.fail("no cable")
        lost = "reader_lost: reader north/1: no cable"
        listener.last(wire.Log, lambda log: any(line.text == lost for line in log.lines))
        again(gate, broker, listener)
        told = listener.last(wire.Telemetry, reader_faults)
        (fault,) = reader_faults(told)
        assert 0 < fault.since_utc_ms <= told.utc_ms
        assert {part.part: part.fault for part in told.parts}["reader north/1"] == "no cable"
        reader.recover()
        listener.last(wire.Log, lambda log: any("works again" in line.text for line in log.lines))


def test_a_broker_that_is_gone_is_a_fault_with_a_row_at_both_ends(
    tmp_path: Path, broker: RunningBroker
) -> None:
    with gate_at_work(tmp_path / "a", "a", broker.port) as gate:
        gate.until(lambda: gate.uplink.connected_to)
        broker.kill()
        gate.until(lambda: "broker_unreachable" in {each.code.code for each in gate.unit.register.standing})
        broker.start()
        gate.until(lambda: not gate.unit.register.standing)
        gate.until(lambda: any("works again" in text for text in gate.texts("fault")))
        began, ended = (text for text in gate.texts("fault") if "broker" in text)
        assert f":{broker.port}" in began
        assert ended == f"broker 127.0.0.1:{broker.port} works again"


def test_only_the_last_thousand_count() -> None:
    tally = Tally()
    for number in range(LAST + 500):
        tally(Shot("north", "", SCAN, Verdict.ADMITTED, "", 1, 0, number * 1_000, number * 1_000 + 5_000))
    assert tally.verdicts == {Verdict.ADMITTED: LAST + 500}
    assert len(tally.decide_ns) == LAST
    assert quantiles(list(tally.decide_ns)) == wire.Quantiles(1_000, 1_490)
    assert quantiles(list(tally.commit_ns)) == wire.Quantiles(5, 5)
