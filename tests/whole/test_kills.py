"""Bridges and gates that are killed a hundred times each while people come and go: nothing is lost."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random

import pytest

from tests.whole.life import Life
from tests.whole.lives import PATIENCE_S
from tests.whole.world import World, world_at_work

KILLS = 100
PACE_S = 0.08  # between two people at a gate; what is left of the machine is for those who start again
UPDATES = (" POST /event/", " POST /api/accessusers/scans/")
STRIKE_EVERY = 5  # deaths; the others come at any moment
LIFE_S_MAX = 0.6  # of a bridge or gate; some die before they are ready, others after hundreds of messages


@contextmanager
def crowds(world: World) -> Iterator[None]:
    """People with tickets of their own at each gate."""
    gates = list(world.gates.values())
    codes = world.codes(20 * len(gates))
    for number, gate in enumerate(gates):
        gate.life.call("crowd", world.seed, codes[number :: len(gates)], PACE_S)
    yield
    for gate in gates:
        gate.life.call("disperse")


class Reaper:
    """Kills bridges between the vendor's commit and its reply, which is the worst moment there is."""

    def __init__(self) -> None:
        self._victims: tuple[int, ...] = ()
        self._struck = threading.Event()

    def hears(self, line: str) -> None:
        """The sandbox has carried a request out, and not replied yet."""
        if any(path in line for path in UPDATES) and self._victims:
            victims, self._victims = self._victims, ()
            for process_id in victims:
                os.kill(process_id, signal.SIGKILL)
            self._struck.set()

    def strike(self, bridges: Sequence[Life]) -> None:
        """Kill them at the next update, whichever of them sends it."""
        self._struck.clear()
        self._victims = tuple(bridge.process_id for bridge in bridges)
        assert self._struck.wait(PATIENCE_S), "no bridge tells the vendor anything"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("vendor", "uncertain", "accepted"),
    [("ingresse", 0, KILLS), ("vivenu", 10_000, KILLS // 4)],  # vivenu cannot be asked what became of a scan
)
def test_promise_5_bridges_killed_a_hundred_times_lose_nothing_and_tell_nothing_twice(
    vendor: str, uncertain: int, accepted: int
) -> None:
    reaper = Reaper()
    with world_at_work("a", "b", tickets=200, log=reaper.hears, vendors={"hall": vendor}) as world:
        chance = Random(world.seed)
        world.add_bridge().begin()
        with crowds(world):
            for kill in range(KILLS // 2):
                if kill % STRIKE_EVERY == 0:
                    for gate in world.gates.values():
                        gate.cable.blink()  # so that rows come at once
                    reaper.strike(world.bridges)
                else:
                    world.pause(chance.uniform(0, LIFE_S_MAX))
                for bridge in world.bridges:
                    bridge.kill()
                    bridge.begin()
        for gate in world.gates.values():
            gate.cable.blink()  # else each may wait a minute for a receipt that a dead bridge owed it
        world.settle()
        ledger = world.audit(uncertain=uncertain)
        assert ledger.results()["accepted"] > accepted


@pytest.mark.slow
def test_promise_5_gates_killed_a_hundred_times_lose_no_row_and_tell_nothing_twice() -> None:
    names = ("a", "b", "c", "d")
    with world_at_work(*names, tickets=200) as world:
        chance = Random(world.seed)
        codes = world.codes(20 * len(names))
        for at, gate in enumerate(world.gates.values()):
            gate.life.kill()
            gate.use(crowd=(world.seed, tuple(codes[at :: len(names)]), PACE_S))
            gate.life.begin()
        for kill in range(KILLS):
            gate = world.gates[names[kill % len(names)]]
            if chance.random() < 0.7:
                gate.life.await_ready()  # the others die while they start
            world.pause(chance.uniform(0, LIFE_S_MAX / 2))
            gate.life.kill()
            if kill >= KILLS - len(names):
                gate.use(crowd=None)
            gate.life.begin()
        world.settle()
        ledger = world.audit()
        assert ledger.results()["accepted"] > KILLS // 4  # the machine says how many fit between two deaths
        assert all(gate.facts().epoch > KILLS / 10 for gate in world.gates.values())
