"""Brokers, ledgers and clocks that go wrong while people come and go."""

import resource
import sqlite3
from contextlib import closing
from random import Random

import pytest

from firmware.row import decode
from tests.brokers import ANYBODY
from tests.uplinks import rows_of
from tests.whole.lives import PATIENCE_S
from tests.whole.test_ways import now_ms
from tests.whole.world import world_at_work

KEEPS = (
    ANYBODY
    + """
persistence true
persistence_location {folder}/
autosave_interval 1
"""
)
BROKER_KILLS = 4
PACE_S = 0.03
ROUNDED_MS = 1  # two clocks in whole milliseconds, and what lies between them


@pytest.mark.slow
@pytest.mark.parametrize("config", [ANYBODY, KEEPS], ids=["forgetful", "persistent"])
def test_a_broker_that_is_killed_again_and_again_loses_no_row_and_no_movement(config: str) -> None:
    with world_at_work("a", "b", config=config) as world:
        chance = Random(world.seed)
        codes = world.codes(60)
        for at, gate in enumerate(world.gates.values()):
            gate.life.call("crowd", world.seed, codes[at::2], PACE_S)
        for kill in range(BROKER_KILLS):
            world.until_changes(world.sandbox.books().changes)  # all of the way works
            world.pause(chance.uniform(0, 0.5))
            if kill % 3:
                world.broker.kill()
            else:
                world.broker.stop()
            world.pause(chance.uniform(0, 0.5))
            world.broker.start()
        for gate in world.gates.values():
            gate.life.call("disperse")
        world.settle()
        world.audit()


def test_a_ledger_that_is_locked_for_longer_than_its_patience_gets_every_row_afterwards() -> None:
    with world_at_work("a") as world:
        gate, codes = world.gates["a"], world.codes(10)
        ledger = world.bridge_data / "ledger.db"
        with closing(sqlite3.connect(ledger, isolation_level=None, timeout=PATIENCE_S)) as other:
            other.execute("BEGIN IMMEDIATE")
            for code in codes[:5]:
                assert gate.scan(code) == "admitted"
            world.until(lambda: "locked" in str(world.bridge_facts().faults.get("the ledger")))
            for code in codes[5:]:
                assert gate.scan(code) == "admitted"
            found = gate.facts()
            assert found.receipt < found.committed
        world.settle()
        assert world.audit().results() == {"accepted": 10}
        world.until(lambda: not world.bridge_facts().faults)


def test_a_ledger_whose_disk_takes_nothing_gets_every_row_afterwards() -> None:
    with world_at_work("a", "b") as world:
        codes = world.codes(12)
        everything = resource.prlimit(world.bridge.process_id, resource.RLIMIT_FSIZE)
        resource.prlimit(world.bridge.process_id, resource.RLIMIT_FSIZE, (0, everything[1]))
        for at, code in enumerate(codes):
            assert list(world.gates.values())[at % 2].scan(code) == "admitted"
        world.until(lambda: "the ledger" in world.bridge_facts().faults)
        assert all(gate.facts().receipt < gate.facts().committed for gate in world.gates.values())
        assert not world.sandbox.books().changes
        resource.prlimit(world.bridge.process_id, resource.RLIMIT_FSIZE, everything)
        world.settle()
        assert world.audit().results() == {"accepted": 12}
        world.until(lambda: not world.bridge_facts().faults)


@pytest.mark.parametrize("late_ms", [86_400_000, -86_400_000])
def test_the_vendor_hears_the_true_time_of_who_came_before_the_clock_was_right(late_ms: int) -> None:
    with world_at_work("a") as world:
        gate, code = world.gates["a"], world.codes(1)[0]
        gate.life.stop()
        gate.use(trusted=False, late_ms=late_ms)
        gate.life.start()
        world.settle()
        began_ms = now_ms()
        assert gate.scan(code) == "admitted"
        ended_ms = now_ms()
        world.settle(vendors=False)
        assert [work.state for work in world.ledger().works] == ["untimed"]
        assert not world.sandbox.history(code)
        gate.life.call("trust")
        world.settle()
        (change,) = world.sandbox.history(code)
        assert began_ms - ROUNDED_MS <= change.said_ms <= ended_ms + ROUNDED_MS
        (row,) = [row for _, row in rows_of(gate.data) if row.kind == "scan"]
        assert not began_ms <= row.moment.utc_ms <= ended_ms, "what the gate itself thought"
        world.audit()


def test_a_start_that_never_learned_the_time_is_told_as_it_was_and_reported() -> None:
    with world_at_work("a") as world:
        gate, code = world.gates["a"], world.codes(1)[0]
        gate.life.stop()
        gate.use(trusted=False, late_ms=86_400_000)
        gate.life.start()
        assert gate.scan(code) == "admitted"
        world.settle(vendors=False)
        gate.life.kill()
        gate.use(trusted=True, late_ms=0)
        gate.life.start()
        world.settle()
        (change,) = world.sandbox.history(code)
        (stored,) = [stored for stored, row in rows_of(gate.data) if row.kind == "scan"]
        assert change.said_ms == decode(stored.body).moment.utc_ms
        world.audit("untimed")
