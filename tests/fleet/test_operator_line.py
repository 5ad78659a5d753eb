"""An operator at the venue's broker, with real gates."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from firmware import wire
from firmware.fleet.operator_line import Heard, NoConnection, OperatorLine
from firmware.mqtt import Broker
from tests.brokers import ANYBODY, LIMIT_S, QUICK, RunningBroker, mosquitto_broker
from tests.gate_bench import data_directory
from tests.uplinks import VENUE, bridge_at, fill_catalogue, gate_at_work


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


def line_at(broker: RunningBroker) -> OperatorLine:
    return OperatorLine(broker.address, VENUE, "ann", pace=QUICK)


def test_an_operator_sees_the_gates_that_are_connected_and_no_others(
    broker: RunningBroker, data: Path
) -> None:
    with gate_at_work(data / "a", "a", broker.port) as gate:
        with gate_at_work(data / "b", "b", broker.port), line_at(broker) as line:
            born = line.gate("a", LIMIT_S)
            assert born is not None
            assert born.random == gate.unit.journal.random
            assert line.gates(("a", "b"), LIMIT_S).keys() == {"a", "b"}
        with line_at(broker) as line:
            assert line.gates((), LIMIT_S).keys() == {"a"}, "the retained farewell of the other is no birth"


def test_an_old_will_of_a_gate_does_not_hide_its_present_connection(
    broker: RunningBroker, data: Path
) -> None:
    heard: list[Heard] = []
    line = OperatorLine(broker.address, VENUE, "ann", (wire.LOG,), heard.append, QUICK)
    with gate_at_work(data / "a", "a", broker.port), line, bridge_at(broker.address) as bridge:
        born = line.gate("a", LIMIT_S)
        assert born is not None
        for connection, is_there in ((0, True), (born.connection, False)):
            heard.clear()
            will = wire.Presence(online=False, epoch=born.epoch, connection=connection, random=born.random)
            bridge.send(wire.STATUS, "a", will)
            bridge.send(wire.LOG, "a", wire.Log(lines=()))
            line.wait(lambda: [each for each in heard if each.topic is wire.LOG] or None, LIMIT_S)
            assert ("a" in line.births()) is is_there


def test_what_gates_say_is_heard_with_the_gates_name(broker: RunningBroker) -> None:
    heard: list[Heard] = []
    line = OperatorLine(broker.address, VENUE, "ann", (wire.LOG, wire.REPORTED), heard.append, QUICK)
    log = wire.Log(lines=(wire.Line(utc_ms=1, text="warm"),))
    with line, bridge_at(broker.address) as bridge:
        bridge.send(wire.LOG, "b", log)
        assert line.wait(lambda: heard or None, LIMIT_S) == [Heard("b", wire.LOG, log, retained=False)]


def test_a_broker_that_is_not_there_is_named(tmp_path: Path) -> None:
    broker = mosquitto_broker(tmp_path, ANYBODY)
    with pytest.raises(NoConnection, match=f"127.0.0.1:{broker.port}.*nothing listens there"):
        line_at(broker).__enter__()


def test_a_message_that_is_larger_than_the_broker_takes_is_refused_with_its_mend(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    signed = wire.Signed(key="0" * 16, signed=b"x" * 5000, signature=b"x" * 64)
    narrow = f"{ANYBODY}max_packet_size 2000\n"
    with (
        mosquitto_broker(tmp_path, narrow) as broker,
        line_at(broker) as line,
        pytest.raises(NoConnection, match="max_packet_size"),
    ):
        line.send(wire.COMMAND, "a", signed)


def test_a_broker_that_lets_nobody_write_is_named_as_the_cause(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "acl").write_text(f"topic read gatepost/v1/{VENUE}/#\n")
    config = f"{ANYBODY}acl_file {tmp_path / 'acl'}\n"
    signed = wire.Signed(key="0" * 16, signed=b"x", signature=b"x" * 64)
    with mosquitto_broker(tmp_path, config) as broker, line_at(broker) as line:
        line.send(wire.COMMAND, "a", signed)
        assert line.wait(lambda: line.faults or None, LIMIT_S)
        assert "refuses messages of gatepost/v1/arena/gate/a/command" in line.faults[0]


def test_an_operator_of_another_venue_hears_nothing(broker: RunningBroker, data: Path) -> None:
    elsewhere = OperatorLine(Broker("127.0.0.1", broker.port), "elsewhere", "ann", pace=QUICK)
    with gate_at_work(data / "a", "a", broker.port), elsewhere as line:
        assert line.gates((), LIMIT_S) == {}


def test_a_line_that_stood_still_has_not_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    line = OperatorLine(Broker("127.0.0.1", 1), VENUE, "ann", pace=QUICK)
    born = wire.Presence(online=True, epoch=1, connection=1, random="00")
    minutes = count()

    def monotonic() -> float:
        """Each time that it is asked, the machine has stood still for a minute; a gate is heard later."""
        if (minute := next(minutes)) == 6:
            line._births["a"] = born
        return minute * 60.0

    monkeypatch.setattr("firmware.fleet.operator_line.time", SimpleNamespace(monotonic=monotonic))
    assert line.gate("a", 1.0) == born
    assert line.gates((), 1.0) == {"a": born}
    line._births.clear()
    minutes = count()
    assert line.gates((), 1.0) == {"a": born}, "no quiet before it was looked for"
    line.__exit__(None, None, None)
