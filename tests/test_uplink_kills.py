"""Gates that are killed at any moment while they tell and are told: nothing is lost, nothing counts twice."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from firmware.core.movements import Act
from tests.brokers import LIMIT_S, RunningBroker, mosquitto_broker
from tests.gate_bench import data_directory
from tests.uplinks import (
    Bridge,
    RunningGate,
    admit,
    bridge_at,
    fill_catalogue,
    gate_at_work,
    is_complete,
    rows_of,
)

LIVES = 6


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


@contextmanager
def gate_to_be_killed(data: Path, gate: str, port: int) -> Iterator[None]:
    """It is killed at the end of the block."""
    command = [sys.executable, "-m", "tests.uplink_process", str(data), gate, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            yield
        finally:
            process.kill()
            process.wait(LIMIT_S)


def batches_of(bridge: Bridge, epoch: int) -> int:
    return sum(1 for batch in bridge.batches if batch.rows[-1].row >> 32 == epoch)


def heard_enough(bridge: Bridge, epoch: int, count: int) -> bool:
    return batches_of(bridge, epoch) >= count


@pytest.mark.slow
def test_promise_5_kill_after_kill_every_row_is_in_the_ledger_once_and_each_movement_noted_once(
    data: Path, broker: RunningBroker
) -> None:
    with bridge_at(broker.address) as bridge, gate_at_work(data / "a", "a", broker.port) as a:
        told = 0
        for life in range(1, LIVES + 1):
            with gate_to_be_killed(data / "b", "b", broker.port):
                bridge.wait(partial(heard_enough, bridge, life, 5 * life))
                for _ in range(60):
                    a.unit.gate.do(partial(admit, a.unit, f"a:told-{told}"))
                    told += 1
                bridge.wait(partial(heard_enough, bridge, life, 5 * life + 7 * (life % 3)))
        with gate_at_work(data / "b", "b", broker.port) as b:
            own = {
                row.movement.subject
                for _, row in rows_of(data / "b")
                if row.movement and row.movement.row > 0
            }
            a.until(lambda: own <= noted(a) and len(noted(b)) == told)
            b.until(lambda: b.uplink.receipt == b.unit.journal.committed)
            a.until(lambda: a.uplink.receipt == a.unit.journal.committed)
            for gate in (a, b):
                assert set(times_noted(gate).values()) == {1}
            assert is_complete(bridge, "a", data / "a")
            assert is_complete(bridge, "b", data / "b")
            assert bridge.ledger.gaps == []
            for number in range(told):
                assert len(b.unit.journal.history(f"a:told-{number}").pending) == 1


def times_noted(gate: RunningGate) -> Counter[str]:
    """By ticket, admissions that others told of."""
    return Counter(
        row.movement.subject
        for _, row in gate.rows()
        if row.kind == "noted" and row.movement and row.movement.act is Act.OPENED
    )


def noted(gate: RunningGate) -> set[str]:
    return set(times_noted(gate))
