"""Parts that share a gate's connection: what one of them does wrong is not the others'."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from firmware import wire
from firmware.fleet.operator_line import Heard, OperatorLine
from firmware.unit import open_unit
from firmware.uplink import Uplink
from firmware.uplink.part import Outgoing, Part
from tests.brokers import ANYBODY, LIMIT_S, QUICK, RunningBroker, mosquitto_broker, until
from tests.gate_bench import data_directory
from tests.uplinks import VENUE, bridge_at, fill_catalogue, settings_of

LOG = wire.Log(lines=(wire.Line(1, "warm"),))
REPORTED = wire.ReportedSettings(
    version=0, desired=0, state=wire.SettingsState.LOCAL, text="", settings="x" * 3000
)


class Telling:
    """Says one thing over each connection, and hears one topic."""

    def __init__(self, outgoing: Outgoing, *topics: wire.Topic) -> None:
        self.topics: Sequence[wire.Topic] = topics
        self.heard: list[tuple[bytes, bool]] = []
        self.connections: list[int] = []
        self._outgoing, self._due = outgoing, False

    def connected(self, connection: int, wake: Callable[[], None]) -> None:
        self.connections.append(connection)
        self._due = True

    def take(self, topic: wire.Topic, payload: bytes, retained: bool) -> None:
        self.heard.append((payload, retained))

    def outgoing(self, now_s: float) -> Iterator[Outgoing]:
        if self._due:
            yield self._outgoing
            self._due = False


class Broken(Telling):
    """Fails whatever it is asked."""

    taken = False

    def take(self, topic: wire.Topic, payload: bytes, retained: bool) -> None:
        self.taken = True
        raise RuntimeError("this part is broken")

    def outgoing(self, now_s: float) -> Iterator[Outgoing]:
        raise RuntimeError("this part is broken")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    tmp_path.chmod(0o755)
    with mosquitto_broker(tmp_path) as broker:
        yield broker


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        folder.mkdir(exist_ok=True)
        fill_catalogue(folder)
        yield folder


@contextmanager
def uplink_with(data: Path, broker: RunningBroker, *parts: Part) -> Iterator[Uplink]:
    """A gate whose loop takes turns only where the test lets it, with these parts."""
    with open_unit(settings_of("a", 1)._replace(brokers=()), data) as unit:
        gate, journal = unit.gate, unit.journal
        uplink = Uplink(
            VENUE, "a", "1", [broker.address], data, unit.catalogue, journal, gate.do, gate.clock.now,
            pace=QUICK, parts=parts,
        )  # fmt: skip
        with uplink:
            yield uplink


def test_a_part_that_fails_is_named_and_keeps_neither_rows_nor_the_other_parts(
    data: Path, broker: RunningBroker
) -> None:
    heard: list[Heard] = []
    line = OperatorLine(broker.address, VENUE, "ann", (wire.LOG,), heard.append, QUICK)
    broken, telling = Broken(Outgoing(wire.LOG, LOG), wire.DESIRED), Telling(Outgoing(wire.LOG, LOG))
    with line, bridge_at(broker.address) as bridge, uplink_with(data, broker, broken, telling) as uplink:
        said = line.wait(lambda: [each for each in heard if each.topic is wire.LOG] or None, LIMIT_S)
        assert said == [Heard("a", wire.LOG, LOG, retained=False)]
        bridge.wait(lambda: bridge.batches)
        until(lambda: uplink.receipt)
        assert "this part is broken" in uplink.faults()["broken"]
        signed = wire.Signed(key="0" * 16, signed=b"", signature=bytes(64))
        bridge.send(wire.DESIRED, "a", signed)
        rows = len(bridge.batches)
        until(lambda: broken.taken)
        bridge.send(wire.RECEIPT, "a", wire.Receipt(upto=1, digest=b""))
        assert "what goes between gate and bridge failed" not in uplink.faults()
        assert len(bridge.batches) >= rows


def test_what_is_retained_is_kept_by_the_broker_for_who_comes_later(
    data: Path, broker: RunningBroker
) -> None:
    part = Telling(Outgoing(wire.REPORTED, REPORTED))
    with uplink_with(data, broker, part) as uplink:
        until(lambda: uplink.receipt or part.connections)
        heard: list[Heard] = []
        line = OperatorLine(broker.address, VENUE, "ann", (wire.REPORTED,), heard.append, QUICK)
        with line:
            said = line.wait(lambda: [each for each in heard if each.topic is wire.REPORTED] or None, LIMIT_S)
        assert said is not None
        assert said[0].message == REPORTED


def test_settings_from_before_the_gate_came_are_heard_and_orders_are_not(
    data: Path, broker: RunningBroker
) -> None:
    part = Telling(Outgoing(wire.LOG, LOG), wire.DESIRED, wire.COMMAND)
    signed = wire.Signed(key="0" * 16, signed=b"kept", signature=bytes(64))
    with bridge_at(broker.address) as bridge:
        bridge.send(wire.DESIRED, "a", signed, retain=True)
        bridge.send(wire.COMMAND, "a", signed, retain=True)
        with uplink_with(data, broker, part):
            until(lambda: part.heard)
            bridge.send(wire.COMMAND, "a", signed)
            until(lambda: len(part.heard) >= 2)
    assert part.heard == [(wire.encode(signed), True), (wire.encode(signed), False)]


def test_a_message_that_the_broker_does_not_take_does_not_hold_up_what_comes_behind_it(
    data: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    heard: list[Heard] = []
    with mosquitto_broker(tmp_path, f"{ANYBODY}max_packet_size 2000\n") as broker:
        line = OperatorLine(broker.address, VENUE, "ann", (wire.LOG,), heard.append, QUICK)
        parts = Telling(Outgoing(wire.REPORTED, REPORTED)), Telling(Outgoing(wire.LOG, LOG))
        with line, uplink_with(data, broker, *parts) as uplink:
            assert line.wait(lambda: [each for each in heard if each.topic is wire.LOG] or None, LIMIT_S)
            assert "max_packet_size" in uplink.faults()["gate/<gate>/config/reported too large"]
