"""Two vendors on one bridge and at one gate: each hears of its own tickets, and is down for itself alone."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations

import pytest

from firmware.bridge.sandbox import bam_rules, presence_rules
from firmware.core.ticket import Verdict
from tests.whole.lives import OUT
from tests.whole.world import World, world_at_work

ADMITTED = Verdict.ADMITTED.value
ACCOUNTS, VENDORS = ("hall", "fest"), {"fest": "vivenu"}

# Sixteen digits look like vivenu's. Whose a ticket is its own id says, whatever its code looks like.
ROUTES = """
[[route]]
characters = "digits"
length_min = 16
length_max = 16
vendor = "fest"
[[route]]
vendor = "hall"
"""


def entries(world: World, account: str) -> list[str]:
    """The codes that went in, as the vendor has it."""
    return [change.code for change in world.sandboxes[account].history() if change.what == "checkin"]


@pytest.mark.parametrize("routes", ["", ROUTES], ids=["without routes", "with routes"])
def test_each_vendor_hears_of_its_own_tickets_and_of_no_others(routes: str) -> None:
    with world_at_work("a", "b", accounts=ACCOUNTS, vendors=VENDORS, start=False) as world:
        for gate in world.gates.values():
            gate.use(more=routes)
        world.bridge.start()
        world.until(lambda: world.bridge_facts().broker)
        for gate in world.gates.values():
            gate.life.begin()
        world.settle()
        a, b = world.gates.values()
        codes = {account: world.codes(3, account) for account in ACCOUNTS}
        for account in ACCOUNTS:
            for code in codes[account]:
                assert a.scan(code) == ADMITTED
        world.settle()
        for account in ACCOUNTS:
            assert entries(world, account) == codes[account]
            assert b.scan(codes[account][0]) == Verdict.USED, "gates tell each other of both"
            assert b.scan(codes[account][0], OUT) == ADMITTED
        world.settle()
        ledger = world.audit()
        assert ledger.results() == {"accepted": 8}
        assert {work.account for work in ledger.works} == set(ACCOUNTS)


@pytest.mark.parametrize("down", ACCOUNTS)
def test_a_vendor_that_is_down_holds_up_nothing_of_the_other(down: str) -> None:
    (up,) = set(ACCOUNTS) - {down}
    with world_at_work("a", accounts=ACCOUNTS, vendors=VENDORS) as world:
        gate = world.gates["a"]
        codes = {account: world.codes(3, account) for account in ACCOUNTS}
        with world.sandboxes[down].refused():
            for account in (down, up):
                for code in codes[account]:
                    assert gate.scan(code) == ADMITTED
            world.until(lambda: len(entries(world, up)) == 3)
            sold = world.sandboxes[up].sell()
            world.until(lambda: f"{up}:{sold.ticket_id}" in world.ledger().tickets)
            assert entries(world, down) == []
        world.settle()
        assert entries(world, down) == codes[down]
        assert world.audit().results() == {"accepted": 6}


# --- any two --------------------------------------------------------------------------------------------

# Which codes are whose, as each vendor makes them.
ROUTE_OF = {
    "ingresse": 'starts = "05."\nvendor = "ingresse"\n',
    "vivenu": 'characters = "digits"\nlength_min = 16\nlength_max = 16\nvendor = "vivenu"\n',
    "presence": (
        'characters = "digits"\nlength_min = 12\nlength_max = 12\nlisted_too = false\nvendor = "presence"\n'
        'authority = "vendor"\ndeadline_ms = 10000\nwithout_answer = "closed"\n'
    ),
    "bam": 'starts = "MPF"\ncharacters = "base45"\nvendor = "bam"\nevent = "3334"\nsigned = "bam"\n',
}
OWN: Mapping[str, Mapping[str, object]] = {
    "presence": {"rules": presence_rules.Rules(duplicate_ms=0)},
    "bam": {"rules": bam_rules.Rules(latency_s=0.1, endorsing_s=0.01)},
}
ANY_TWO = pytest.mark.parametrize(("one", "other"), list(combinations(ROUTE_OF, 2)))


@contextmanager
def both(one: str, other: str, *names: str) -> Iterator[World]:
    """A world with these two vendors, and gates with a route for each, at the present."""
    pair = (one, other)
    with world_at_work(accounts=pair, vendors={each: each for each in pair}, start=False, own=OWN) as world:
        for number, name in enumerate(names, 1):
            routes = "".join(f"[[route]]\n{ROUTE_OF[each]}" for each in pair)
            world.add_gate(name).use(more=routes, mac=f"02:00:5e:00:53:{number:02x}")
        world.bridge.start()
        world.until(lambda: world.bridge_facts().broker)
        for gate in world.gates.values():
            gate.life.begin()
        world.settle()
        if "presence" in pair:
            (code,) = world.codes(1, "presence")
            world.until(lambda: all(gate.life.call("may_ask", code) for gate in world.gates.values()))
        yield world


def all_agree(world: World, told: int) -> None:
    """Nothing was astray or twice, and what those that are told heard was taken; one is asked instead."""
    for sandbox in world.sandboxes.values():
        assert (sandbox.violations, sandbox.books().twice) == ([], 0)
    ledger = world.ledger()
    assert (set(ledger.results()), ledger.reports) == ({"accepted"}, [])
    assert sum(work.account != "presence" and not work.refused for work in ledger.works) == told
    if "presence" not in world.sandboxes:
        world.audit()


@ANY_TWO
def test_any_two_vendors_share_a_gate_and_each_hears_of_its_own_tickets(one: str, other: str) -> None:
    with both(one, other, "a", "b") as world:
        a, b = world.gates.values()
        codes = {account: world.codes(3, account) for account in world.sandboxes}
        for pair in zip(*codes.values(), strict=True):
            for code in pair:
                assert a.scan(code) == ADMITTED
        world.settle()
        for account, those in codes.items():
            assert sorted(entries(world, account)) == sorted(those)
            again = Verdict.TOO_SOON if account == "presence" else Verdict.USED  # it was in a moment ago
            assert b.scan(those[0]) in (Verdict.USED, again)
        world.settle()
        all_agree(world, 3 * len({one, other} - {"presence"}))


@ANY_TWO
@pytest.mark.parametrize("first", [True, False], ids=["the first is down", "the second is down"])
def test_of_any_two_vendors_one_that_is_down_holds_up_nothing_of_the_other(
    one: str, other: str, first: bool
) -> None:
    down, up = (one, other) if first else (other, one)
    with both(one, other, "a") as world:
        gate = world.gates["a"]
        codes = {account: world.codes(3, account) for account in world.sandboxes}
        asked = Verdict.NO_ANSWER if down == "presence" else ADMITTED
        with world.sandboxes[down].refused():
            for code in codes[down]:
                assert gate.scan(code) == asked
            for code in codes[up]:
                assert gate.scan(code) == ADMITTED
            world.until(lambda: len(entries(world, up)) == 3)
            assert entries(world, down) == []
        world.settle()
        assert sorted(entries(world, down)) == sorted([] if down == "presence" else codes[down])
        all_agree(world, 3 * len({one, other} - {"presence"}))
