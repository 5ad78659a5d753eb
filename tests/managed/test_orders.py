"""What gates do when they are told to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.core.ticket import Verdict
from firmware.wire import Done, What
from tests.brokers import RunningBroker, mosquitto_broker
from tests.gate_bench import data_directory
from tests.managed.operated import ANN, BOB, Hand, hand_at, know, managed_gate
from tests.uplinks import RunningGate, fill_catalogue


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
        know(folder, ANN, BOB)
        yield folder


@pytest.fixture
def gate(data: Path, broker: RunningBroker) -> Iterator[RunningGate]:
    lanes = '[[lane]]\nname = "north"\n[[lane]]\nname = "south"\ndirection = "both"\n'
    with managed_gate(data, "a", broker.port, lanes) as gate:
        yield gate


@pytest.fixture
def hand(broker: RunningBroker) -> Iterator[Hand]:
    with hand_at(broker.address) as hand:
        yield hand


def test_an_order_opens_one_lane_once_and_its_row_names_who_gave_it(gate: RunningGate, hand: Hand) -> None:
    reply = hand.give("a", What.OPEN_ONCE, lane="south", direction="out")
    assert (reply.done, reply.text) == (Done.OBEYED, "lane south: open")
    assert gate.board.tape.values("south", "relay")[:1] == ["out"]
    assert "ann: open_once" in gate.texts("order")
    assert gate.board.tape.values("north", "relay") == []
    assert gate.scan("T1") is Verdict.ADMITTED
