"""Vendors that are down, too busy, or lose what they reply: each person is told of once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from firmware.bridge.sandbox.bam_rules import Rules
from tests.whole.lives import OUT, Haste
from tests.whole.world import World, world_at_work

HOUR_MS = 3_600_000
HOURS = 9  # of the faulty day: each trouble and each restart, in several company
VENDORS = pytest.mark.parametrize("vendor", ["ingresse", "vivenu", "bam"])
PACE_S = 0.03
QUICK_CHAIN = Rules(latency_s=0.1, endorsing_s=0.01)
SLOW_CHAIN = Rules(latency_s=0.3, endorsing_s=0.02)


def chain(vendor: str, rules: Rules = QUICK_CHAIN) -> dict[str, Any]:
    """What the sandbox of a vendor takes besides."""
    return {"rules": rules} if vendor == "bam" else {}


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


@pytest.mark.parametrize(
    ("vendor", "kind", "uncertain"),
    [
        ("ingresse", "refused", 0),
        ("ingresse", "error", 0),
        ("ingresse", "limit", 0),
        ("vivenu", "refused", 0),
        ("vivenu", "error", 10),  # nobody can tell a 500 from a lost reply; after one nothing more is sent
        ("vivenu", "limit", 0),
        ("bam", "refused", 0),
        ("bam", "error", 0),
        ("bam", "limit", 0),
    ],
)
def test_an_hour_without_the_vendor_costs_nothing_but_time(vendor: str, kind: str, uncertain: int) -> None:
    with world_at_work("a", vendors={"hall": vendor}, **chain(vendor)) as world:
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
        world.until(lambda: not world.bridge_facts().faults)
        world.settle()
        found = world.audit(uncertain=uncertain).results()
        assert found.total() == 10
        assert found["accepted"] >= (10 if not uncertain else 4), "those who came after the outage was known"


@VENDORS
def test_a_storm_of_429_is_waited_for_and_nothing_is_told_twice(vendor: str) -> None:
    with world_at_work("a", vendors={"hall": vendor}, **chain(vendor)) as world:
        gate, codes = world.gates["a"], world.codes(20)
        world.sandbox.misbehave("limit", requests=4, seconds=1)
        world.sandbox.misbehave("limit", requests=2, seconds=1, date=True)
        for code in codes:
            assert gate.scan(code) == "admitted"
        world.settle()
        assert world.audit().results() == {"accepted": 20}
        assert sum(seen.status == 429 for seen in world.sandbox.requests) == 6


@pytest.mark.parametrize("vendor", ["ingresse", "vivenu"])
def test_what_becomes_of_tickets_at_the_vendor_reaches_the_gates(vendor: str) -> None:
    with world_at_work("a", vendors={"hall": vendor}) as world:
        gate, sandbox = world.gates["a"], world.sandbox
        refunded, changed = world.codes(2)
        ticket = sandbox.ticket(changed).id
        sandbox.refund(refunded)
        sandbox.change_code(changed)
        sold = sandbox.sell().ticket_id
        world.settle()
        assert gate.scan(sandbox.ticket(sold).code) == "admitted"
        assert gate.scan(sandbox.ticket(ticket).code) == "admitted"
        assert gate.scan(refunded) != "admitted"
        assert gate.scan(changed) == "unknown"
        world.settle()
        assert world.audit().results() == {"accepted": 2}


DAY = {
    "ingresse": (
        *(("lost", "any", 0.2), ("cut", "any", 0.1), ("short", "any", 0.1), ("slow", "any", 0.03)),
        *(("refused", "any", 0.03), ("error", "any", 0.1), ("shuffled", "update", 0.2)),
        *(("missing", "update", 0.2), ("drift", "update", 0.2), ("drift", "status", 0.2)),
        ("expired", "any", 0.03),
    ),
    "vivenu": (
        *(("lost", "any", 0.1), ("cut", "any", 0.05), ("short", "any", 0.05), ("slow", "any", 0.03)),
        *(("refused", "any", 0.03), ("error", "any", 0.05), ("shuffled", "tickets", 0.2)),
        *(("moving", "tickets", 0.1), ("drift", "any", 0.2), ("rejected", "upload", 0.05)),
        ("expired", "any", 0.03),
    ),
    "bam": (
        *(("lost", "any", 0.1), ("cut", "any", 0.05), ("short", "any", 0.05), ("slow", "any", 0.03)),
        *(("refused", "any", 0.03), ("error", "any", 0.05), ("shuffled", "qr_codes", 0.2)),
        *(("status", "commit", 0.1), ("drift", "any", 0.2), ("expired", "any", 0.03)),
    ),
}
TIMEOUTS = {
    "ingresse": {"check_in_timeout_s": 0.5, "look_timeout_s": 0.5},
    "vivenu": {"upload_timeout_s": 0.5, "online_timeout_s": 0.5},
    "bam": {"chain_timeout_s": 0.8},
}
# vivenu has no way to look: whatever was lost is for a person, at most a batch each time.
UNCERTAIN = {"ingresse": 10, "vivenu": 10_000, "bam": 0}
# Where the office of B.A.M. is at work too, it may withdraw a ticket after a third step without a reply, or
# while no bridge is there, and before the next try: that is for a person.
UNCERTAIN_WHILE_IT_LIVES = {**UNCERTAIN, "bam": 3}
# A chain takes each ticket once: so many, that there are enough of them for a day.
TICKETS = {"ingresse": 200, "vivenu": 200, "bam": 600}
CODES = {"ingresse": 60, "vivenu": 60, "bam": 200}
# The request that carries out what gates saw, and how much of it there is at least in a day.
CARRIES_OUT = {"ingresse": "update", "vivenu": "upload", "bam": "commit"}
CHANGES = {"ingresse": 200, "vivenu": 200, "bam": 120}
TAKEN = {"ingresse": 200, "vivenu": 50, "bam": 120}


@pytest.mark.slow
@VENDORS
def test_replies_that_are_lost_cut_late_or_odd_leave_each_movement_at_the_vendor_once(vendor: str) -> None:
    with world_at_work("a", "b", tickets=TICKETS[vendor], vendors={"hall": vendor}, **chain(vendor)) as world:
        world.use(Haste.RETRIES, **TIMEOUTS[vendor])
        sandbox = world.sandbox
        for kind, endpoint, chance in DAY[vendor]:
            sandbox.misbehave(kind, endpoint, chance=chance, seconds=1)
        sandbox.misbehave("error", CARRIES_OUT[vendor], chance=0.1, after=True)
        codes = world.codes(CODES[vendor])
        for at, gate in enumerate(world.gates.values()):
            gate.life.call("crowd", world.seed, codes[at::2], PACE_S)
        world.until_changes(CHANGES[vendor])
        for gate in world.gates.values():
            gate.life.call("disperse")
        sandbox.behave()
        world.minutes_go_by()
        world.settle()
        ledger = world.audit(uncertain=UNCERTAIN[vendor])
        assert ledger.results()["accepted"] > TAKEN[vendor]


@pytest.mark.slow
@VENDORS
def test_a_faulty_day_with_restarts_of_everything_in_turn_leaves_the_books_agreeing(
    vendor: str, ledger_url: str
) -> None:
    more = {"tickets": TICKETS[vendor], "ledger_url": ledger_url, **chain(vendor, SLOW_CHAIN)}
    with world_at_work("a", "b", vendors={"hall": vendor}, **more) as world:
        world.use(Haste.RETRIES, **TIMEOUTS[vendor])
        world.add_bridge().begin()
        sandbox, gates = world.sandbox, list(world.gates.values())
        codes = world.codes(CODES[vendor])
        for at, gate in enumerate(gates):
            gate.life.kill()
            gate.use(crowd=(world.seed, tuple(codes[at::2]), PACE_S))
            gate.life.begin()
        for hour in range(HOURS):
            before = sandbox.books().changes
            kind = ("slow", "lost", "limit", "error", "cut")[hour % 5]
            sandbox.misbehave(kind, chance=0.2, seconds=1)
            if hour % 4 == 3:
                with sandbox.refused():
                    world.pause(0.5)
            world.until_changes(before + 10)
            match hour % 3:
                case 0:
                    bridge = world.bridges[hour % 2]
                    bridge.kill()
                    bridge.begin()
                case 1:
                    world.broker.kill()
                    world.broker.start()
                case 2:
                    gates[hour % 2].life.kill()
                    gates[hour % 2].life.begin()
            sandbox.live(5)
            sandbox.behave()
        for gate in gates:
            gate.life.call("disperse")
        world.minutes_go_by()
        world.settle()
        found = world.audit(uncertain=UNCERTAIN_WHILE_IT_LIVES[vendor]).results()
        assert found["accepted"] > HOURS
