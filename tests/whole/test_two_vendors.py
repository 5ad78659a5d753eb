"""Two vendors on one bridge and at one gate: each hears of its own tickets, and is down for itself alone."""

import pytest

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
