"""Several bridges on one PostgreSQL: they share rows, work and lists, and each may die at any moment."""

from random import Random

import pytest

from tests.whole.test_kills import crowds
from tests.whole.world import World, world_at_work

KILLS = 16  # or stops, or starts
PAUSE_S_MAX = 2.0  # between two; whoever died with work in hand is missed after three seconds


def numbers(world: World, account: str = "hall") -> list[int]:
    """The runs through the account's list that each bridge has finished."""
    return [bridge.call("facts").runs[account] for bridge in world.bridges if bridge.runs]


@pytest.mark.slow
@pytest.mark.parametrize("bridges", [2, 3])
def test_bridges_killed_and_added_at_random_take_every_row_once_and_tell_nothing_twice(
    bridges: int, on_postgresql: str
) -> None:
    with world_at_work("a", "b", "c", tickets=200, ledger_url=on_postgresql) as world:
        chance = Random(world.seed)
        with crowds(world):
            for _ in range(KILLS):
                running = [bridge for bridge in world.bridges if bridge.runs]
                stopped = [bridge for bridge in world.bridges if not bridge.runs]
                if len(running) > 1 and chance.random() < 0.5:
                    victim = chance.choice(running)
                    victim.kill() if chance.random() < 0.7 else victim.stop()
                elif stopped:
                    chance.choice(stopped).begin()
                elif len(world.bridges) < bridges:
                    world.add_bridge().begin()
                world.pause(chance.uniform(0, PAUSE_S_MAX))
        world.settle()  # with those that run: what the others held is theirs
        ledger = world.audit()
        assert ledger.results()["accepted"] > 2 * KILLS


@pytest.mark.parametrize("vendor", ["ingresse", "vivenu"])
def test_one_bridge_reads_a_list_until_it_dies_and_another_is_soon_at_it(
    vendor: str, on_postgresql: str
) -> None:
    with world_at_work("a", vendors={"hall": vendor}, ledger_url=on_postgresql) as world:
        world.add_bridge().start()
        world.until(lambda: numbers(world)[0] > 3)
        assert numbers(world)[1] == 0
        world.bridge.kill()
        code = world.sandbox.ticket(world.sandbox.sell().ticket_id).code
        world.until(lambda: numbers(world)[0])
        world.settle()
        assert world.gates["a"].scan(code) == "admitted"
        world.settle()
        assert world.audit().results() == {"accepted": 1}


def test_what_a_bridge_held_when_it_died_is_told_by_the_other_without_its_return(on_postgresql: str) -> None:
    with world_at_work("a", ledger_url=on_postgresql) as world:
        gate, codes = world.gates["a"], world.codes(20)
        world.sandbox.misbehave("slow", "update", chance=1.0, seconds=5)
        for code in codes:
            assert gate.scan(code) == "admitted"
        world.until(lambda: any(work.state == "claimed" for work in world.ledger().works))
        world.add_bridge().start()
        world.bridge.kill()
        world.sandbox.behave()
        world.bridges.pop(0)
        world.settle()
        assert world.audit().results() == {"accepted": 20}
