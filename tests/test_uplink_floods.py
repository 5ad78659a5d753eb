"""Messages that nobody asked for, and a broker that takes none: the uplink goes on, or waits in peace."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from firmware import wire
from firmware.mqtt import Publication
from firmware.sync import Taken
from firmware.uplink import FAULTS_MAX
from firmware.uplink.peers import ASK_S
from tests.brokers import RunningBroker, mosquitto_broker
from tests.gate_bench import data_directory
from tests.uplinks import VENUE, Bridge, RunningGate, admit, bridge_at, fill_catalogue, gate_at_work


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    tmp_path.chmod(0o755)
    with mosquitto_broker(tmp_path) as broker:
        yield broker


@pytest.fixture
def bridge(broker: RunningBroker) -> Iterator[Bridge]:
    with bridge_at(broker.address) as bridge:
        yield bridge


@pytest.fixture
def gate(broker: RunningBroker) -> Iterator[RunningGate]:
    with data_directory() as folder:
        fill_catalogue(folder)
        with gate_at_work(folder, "a", broker.port) as gate:
            yield gate


def confirmed(gate: RunningGate) -> bool:
    return gate.uplink.receipt >= gate.unit.journal.committed


def test_messages_of_qos_0_are_counted_and_dropped_however_many_come(
    bridge: Bridge, gate: RunningGate
) -> None:
    gate.until(lambda: confirmed(gate) and gate.uplink.receipt)
    payload = wire.encode(wire.Presence(online=True, epoch=1, connection=1, random="x"))
    thief = Publication(wire.address(wire.STATUS, VENUE, "thief"), payload, qos=0)
    for _ in range(500):
        gate.until(lambda: bridge.sessions[-1].publish(thief))
    last = gate.write("after it")
    gate.until(lambda: gate.uplink.receipt >= last and gate.texts("fault"))
    assert "messages of QoS 0 came and were dropped" in gate.texts("fault")[0]
    assert set(gate.uplink.odd) == {"QoS 0"}


def test_what_finds_the_inbox_full_is_acknowledged_and_asked_for_again(
    bridge: Bridge, gate: RunningGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.until(lambda: confirmed(gate) and gate.uplink.receipt)
    bridge.wait(lambda: bridge.messages(wire.CatalogueRequest))
    asked = len(bridge.messages(wire.CatalogueRequest))
    held: list[tuple[str, wire.Receipt]] = []  # they would be dropped, and counted, too
    bridge.answer = lambda name, receipt: held.append((name, receipt))
    with monkeypatch.context() as changed:
        changed.setattr("firmware.inbox.WAITING_MAX", 0)
        for number in range(80):  # more than are taken without an acknowledgement
            presence = wire.Presence(online=True, epoch=1, connection=number, random="x")
            bridge.send(wire.STATUS, "b", presence)
        gate.until(lambda: gate.uplink.odd["inbox full"] == 80)
    bridge.answer = bridge.send_receipt
    for name, receipt in held:
        bridge.send_receipt(name, receipt)
    last = gate.write("after it")
    gate.until(lambda: gate.uplink.receipt >= last)
    bridge.wait(lambda: len(bridge.messages(wire.CatalogueRequest)) > asked)


def test_while_the_window_is_full_nothing_is_done_until_a_message_is_acknowledged(
    broker: RunningBroker, bridge: Bridge, gate: RunningGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, waits_s = gate.uplink._inbox, list[float]()
    take = inbox.take

    def waiting(timeout_s: float) -> object:
        waits_s.append(timeout_s)
        return take(timeout_s)

    monkeypatch.setattr(inbox, "take", waiting)
    gate.until(lambda: confirmed(gate) and gate.uplink.receipt)
    bridge.send(wire.STATUS, "b", wire.Presence(online=True, epoch=1, connection=1, random="x"))
    os.kill(broker.process_id, signal.SIGSTOP)
    try:
        session = gate.uplink._session
        assert session is not None
        gate.write(*["x"] * 4000)
        for number in range(session.window):
            gate.unit.gate.do(partial(admit, gate.unit, f"a:T{number}"))
            gate.write("x")
        gate.until(lambda: session.in_flight == session.window)
        before = len(waits_s)
        # A question to the gate that never answers falls due meanwhile.
        gate.until(lambda: len([wait_s for wait_s in waits_s[before:] if wait_s > 0.5]) > 2 * ASK_S)
    finally:
        os.kill(broker.process_id, signal.SIGCONT)


def test_a_count_that_goes_on_to_change_is_one_fault_and_silences_no_other(gate: RunningGate) -> None:
    uplink = gate.uplink
    for count in range(100):
        text = f"the catalogue has {count:,} tickets and the bridge {count + 1:,}: see the reports"
        uplink._on_taken(Taken(fault=text))
    uplink._on_taken(Taken(fault="another"))
    assert [text for text in uplink._faults.values() if "catalogue from the bridge" in text] == [
        "the catalogue from the bridge: the catalogue has 0 tickets and the bridge 1: see the reports",
        "the catalogue from the bridge: another",
    ]


def test_more_faults_than_are_told_are_a_fault_that_is_told_last(gate: RunningGate) -> None:
    for letter in range(FAULTS_MAX + 10):
        gate.uplink._complain(f"kind {letter}", f"text {letter}")
    faults = list(gate.uplink.faults().values())
    assert len([text for text in faults if text.startswith("text ")]) <= FAULTS_MAX
    assert "more is wrong than is told: mend what is told, and restart the gate" in faults
