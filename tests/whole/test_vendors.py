"""Vendors that are down, too busy, or lose what they reply: each person is told of once."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.whole.lives import OUT, Haste
from tests.whole.world import World, world_at_work

HOUR_MS = 3_600_000
PACE_S = 0.03


@contextmanager
def outage(world: World, kind: str) -> Iterator[None]:
    """The vendor is down, in one way or another."""
    if kind == "refused":
        with world.sandbox.refused():
            yield
    else:
        world.sandbox.misbehave(kind, chance=1.0, seconds=0)
        yield
        world.sandbox.behave()


@pytest.mark.parametrize("kind", ["refused", "error", "limit"])
def test_an_hour_without_the_vendor_costs_nothing_but_time(kind: str) -> None:
    with world_at_work("a") as world:
        world.use(Haste.HOURS)
        gate = world.gates["a"]
        before, after, moved = world.codes(9)[:4], world.codes(9)[4:8], world.codes(9)[8]
        with outage(world, kind):
            for code in before:
                assert gate.scan(code) == "admitted"
            assert gate.scan(moved) == "admitted"
            assert gate.scan(moved, OUT) == "admitted"
            world.settle(vendors=False)  # the rows are safe, and the gate knows it
            began_ms = world.bridge_facts().now_utc_ms
            world.until(lambda: world.bridge_facts().now_utc_ms > began_ms + HOUR_MS)
            assert any("hall" in thing for thing in world.bridge_facts().faults)
            for code in after:
                assert gate.scan(code) == "admitted"
        world.settle()
        world.until(lambda: not world.bridge_facts().faults)
        assert world.audit().results() == {"accepted": 10}


def test_a_storm_of_429_is_waited_for_and_nothing_is_told_twice() -> None:
    with world_at_work("a") as world:
        gate, codes = world.gates["a"], world.codes(20)
        world.sandbox.misbehave("limit", requests=4, seconds=1)
        world.sandbox.misbehave("limit", requests=2, seconds=1, date=True)
        for code in codes:
            assert gate.scan(code) == "admitted"
        world.settle()
        assert world.audit().results() == {"accepted": 20}
        assert sum(seen.status == 429 for seen in world.sandbox.requests) == 6


@pytest.mark.slow
def test_replies_that_are_lost_cut_late_or_odd_leave_each_movement_at_the_vendor_once() -> None:
    with world_at_work("a", "b", tickets=200) as world:
        world.use(Haste.RETRIES, check_in_timeout_s=0.5, look_timeout_s=0.5)
        sandbox = world.sandbox
        for kind, chance in (("lost", 0.2), ("cut", 0.1), ("short", 0.1), ("slow", 0.03), ("refused", 0.03)):
            sandbox.misbehave(kind, chance=chance, seconds=1)
        sandbox.misbehave("error", chance=0.1)
        sandbox.misbehave("error", "update", chance=0.1, after=True)
        for kind in ("shuffled", "missing", "drift"):
            sandbox.misbehave(kind, "update", chance=0.2)
        sandbox.misbehave("drift", "status", chance=0.2)
        sandbox.misbehave("expired", chance=0.03)
        codes = world.codes(60)
        for at, gate in enumerate(world.gates.values()):
            gate.life.call("crowd", world.seed, codes[at::2], PACE_S)
        world.until(lambda: sandbox.books().changes > 200)
        for gate in world.gates.values():
            gate.life.call("disperse")
        sandbox.behave()
        world.minutes_go_by()
        world.settle()
        ledger = world.audit(uncertain=10)
        assert ledger.results()["accepted"] > 200
