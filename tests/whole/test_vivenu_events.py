"""A gate of some of an account's events at vivenu, which decides: nobody enters for another one."""

from collections.abc import Iterator
from contextlib import contextmanager

from firmware.bridge.sandbox.vivenu import Sandbox
from firmware.core.ticket import Verdict
from tests.whole.lives import OUT, Haste
from tests.whole.world import World, world_at_work

SETTINGS = """
[[route]]
vendor = "hall"
authority = "vendor"
deadline_ms = 10000
[[event]]
id = "{today}"
[[event]]
id = "another"
"""


@contextmanager
def at_work() -> Iterator[tuple[World, Sandbox, str, str]]:
    """A gate of one of two events and of another vendor's; the list is read once."""
    with world_at_work("a", vendors={"hall": "vivenu"}, start=False) as world:
        assert isinstance(world.sandbox, Sandbox)
        today, other = (event.id for event in world.sandbox.events)
        seldom = tuple(account._replace(poll_s=3600) for account in world.settings.accounts)
        world.settings = world.settings._replace(accounts=seldom)
        world.use(Haste.NONE)
        world.until(lambda: world.bridge_facts().broker)
        world.gates["a"].use(more=SETTINGS.format(today=today))
        world.gates["a"].life.begin()
        world.settle()
        world.until(lambda: world.gates["a"].life.call("may_ask", "1"))
        yield world, world.sandbox, today, other
        assert world.sandbox.violations == []


def test_nobody_enters_for_another_event_of_the_list() -> None:
    with at_work() as (world, sandbox, today, other):
        gate = world.gates["a"]
        (here,), (there,) = (sandbox.codes(1, event=each, valid=True) for each in (today, other))
        assert gate.scan(here) == Verdict.ADMITTED
        assert gate.scan(there) == Verdict.WRONG_EVENT
        assert gate.scan(there, OUT) == Verdict.ADMITTED, "nobody is held inside"
        assert sandbox.ticket(there).entries == 0, "nor is the ticket burnt"


def test_nor_with_a_ticket_that_was_sold_since_the_list_was_read() -> None:
    with at_work() as (world, sandbox, today, other):
        for event, verdict in ((today, Verdict.ADMITTED), (other, Verdict.WRONG_EVENT)):
            (code,) = sandbox.codes(1, event=event, sold=False)
            sandbox.sell(code)
            assert world.gates["a"].scan(code) == verdict
            assert sandbox.ticket(code).entries == (verdict is Verdict.ADMITTED)
