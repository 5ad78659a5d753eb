"""A venue with Ticketmaster Presence, which is asked about each scan: outer and inner lanes, and bad days."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from firmware.bridge.sandbox.presence import Sandbox
from firmware.bridge.sandbox.presence_rules import Rules
from firmware.venue_key import venue_key
from tests.uplinks import rows_of
from tests.whole.lives import INNER_IN, INNER_OUT, OUT, PATIENCE_S, Haste
from tests.whole.presence_books import Story, compare, story_of, turned_away
from tests.whole.world import PATIENT_MS, World, WorldGate, world_at_work

HOUR_MS = 3_600_000
HOURS = 9  # of the faulty day: each trouble and each restart, in several company
PACE_S = 0.05
SHORT_MS = 600  # where Presence is late on purpose
LATE_S = 1.2  # an answer that comes after that
AWAY_S = 1.0  # of Presence in the faulty day, once everybody knows
ROUTE = """
[[route]]
vendor = "hall"
authority = "vendor"
length_max = 64
deadline_ms = {deadline_ms}
without_answer = "{without_answer}"
"""


@contextmanager
def hall(
    *names: str,
    deadline_ms: int = PATIENT_MS,
    without_answer: str = "closed",
    log: Callable[[str], None] | None = None,
    **rules: Any,
) -> Iterator[World]:
    """A world whose gates have both rings, each a computer of its own, and ask Presence."""
    route = ROUTE.format(deadline_ms=deadline_ms, without_answer=without_answer)
    # Within 2 s Presence calls the same ticket a duplicate; here people come again sooner than that. Nor do
    # they go home when a bridge's hours go by, which move the gates' clocks.
    known = Rules(**{"duplicate_ms": 0, "after_ms": 10_000 * HOUR_MS, **rules})
    with world_at_work(vendors={"hall": "presence"}, start=False, rules=known, log=log) as world:
        for number, name in enumerate(names, 1):
            world.add_gate(name).use(more=route, inner=True, mac=f"02:00:5e:00:53:{number:02x}")
        world.bridge.start()
        world.until(lambda: world.bridge_facts().broker)
        for gate in world.gates.values():
            gate.life.begin()
        world.settle()
        world.until(lambda: all(ready(gate) for gate in world.gates.values()))
        yield world


def ready(gate: WorldGate) -> bool:
    """Whether the gate knows that it may ask at both rings."""
    found: bool = gate.life.call("may_ask", "any code")
    return found


def presence(world: World) -> Sandbox:
    assert isinstance(world.sandbox, Sandbox)
    return world.sandbox


def audit(world: World) -> Story:
    """Compare all books."""
    world.settle(vendors=False)
    world.minutes_go_by()
    world.settle()
    journals = {gate.name: gate.written for gate in world.gates.values()}
    ledger = world.ledger()  # first: a late word may come to a gate meanwhile, and nobody may invent a row
    story = story_of(journals)
    compare(story, ledger, presence(world), venue_key(world.bridge_data))
    assert list(turned_away(journals)) == []
    return story


def test_people_go_in_and_out_of_both_rings_at_two_gates() -> None:
    with hall("a", "b") as world:
        a, b = world.gates.values()
        one, other = world.codes(2)
        assert [a.scan(one), b.scan(one, INNER_IN), a.scan(one, INNER_OUT)] == ["admitted"] * 3
        world.until(lambda: a.scan(one, INNER_OUT) == "not_inside")  # it is too soon at first
        assert b.scan(one, OUT) == "admitted"
        world.until(lambda: a.scan(one, OUT) == "not_inside")
        assert b.scan(other, INNER_IN) == "admitted"
        world.until(lambda: a.scan(other) == "used")
        story = audit(world)
        assert len(story.asks) == 8, "what is too soon is not asked"
        assert not world.ledger().reports


class Held:
    """Holds back the replies to entries that Presence has carried out, until it lets go."""

    def __init__(self) -> None:
        self._let_go = threading.Event()

    def hears(self, line: str) -> None:
        """The sandbox has carried a request out, and not replied yet."""
        if "/enter" in line:
            self._let_go.wait(PATIENCE_S)

    def let_go(self) -> None:
        """From now on it is as quick as ever."""
        self._let_go.set()


def test_a_late_okay_lets_the_person_in_on_the_second_try() -> None:
    held = Held()
    with hall("a", deadline_ms=SHORT_MS, log=held.hears) as world:
        gate, (code,) = world.gates["a"], world.codes(1)
        assert gate.scan(code) == "no_answer"
        held.let_go()
        world.until(lambda: "late" in kinds(world, "a"))
        world.until(lambda: gate.scan(code) == "admitted_credit")  # once the first signal is over
        audit(world)
        assert [change.what for change in presence(world).history(code)] == ["checkin"]
        assert not world.ledger().reports, "everybody knows everything"


def test_so_does_one_that_came_while_the_gate_was_cut_off() -> None:
    held = Held()
    with hall("a", deadline_ms=SHORT_MS, log=held.hears) as world:
        gate, (code,) = world.gates["a"], world.codes(1)
        assert gate.scan(code) == "no_answer"
        gate.cable.cut()
        held.let_go()
        world.until(lambda: presence(world).history(code))
        world.pause(LATE_S)
        assert "late" not in kinds(world, "a")
        gate.cable.join()
        world.until(lambda: "late" in kinds(world, "a"))
        world.until(lambda: gate.scan(code) == "admitted_credit")
        audit(world)
        assert not world.ledger().reports


def kinds(world: World, name: str) -> list[str]:
    return [row.kind for _, row in rows_of(world.gates[name].data)]


@pytest.mark.parametrize("kind", ["lost", "cut", "short", "page"])
def test_a_reply_that_is_lost_is_for_staff_and_never_used(kind: str) -> None:
    with hall("a", duplicate_ms=2000) as world:
        gate, (code,) = world.gates["a"], world.codes(1)
        presence(world).misbehave(kind, "enter")
        assert gate.scan(code) == "call_staff"
        story = audit(world)
        assert story.verdicts == {"call_staff": 1}
        assert len(world.ledger().texts("uncertain")) == 1, "it may be in, and a person is told"


def test_what_nobody_knows_the_end_of_is_uncertain_once_and_never_sent_again() -> None:
    with hall("a") as world:
        gate, (code,) = world.gates["a"], world.codes(1)
        presence(world).misbehave("lost", "enter", chance=1.0)
        assert gate.scan(code) == "no_answer"
        presence(world).behave()
        audit(world)
        assert len(world.ledger().texts("uncertain")) == 1
        assert all(seen.endpoint != "upload" for seen in presence(world).requests)


def test_an_hour_without_presence_lets_nobody_in_and_is_over_by_itself() -> None:
    with hall("a") as world:
        world.use(Haste.HOURS)
        gate, codes = world.gates["a"], world.codes(9)
        world.until(lambda: ready(gate))
        with presence(world).refused():
            for code in codes[:6]:
                assert gate.scan(code) == "no_answer"
            began_ms = world.bridge_facts().now_utc_ms
            world.until(lambda: world.bridge_facts().now_utc_ms > began_ms + HOUR_MS)
            assert gate.scan(codes[6]) == "no_answer"
        world.until(lambda: ready(gate))
        for code in codes:
            assert gate.scan(code) == "admitted"
        story = audit(world)
        assert story.verdicts == {"no_answer": 7, "admitted": 9}


def test_people_who_were_let_in_offline_by_order_are_uploaded_with_their_own_times() -> None:
    with hall("a", without_answer="open_and_upload") as world:
        gate, codes = world.gates["a"], world.codes(4)
        with presence(world).refused():
            assert gate.scan(codes[0]) == "no_answer", "the bridge has no word of Ticketmaster's on uploads"
        world.use(Haste.RETRIES, offline="upload")
        presence(world).misbehave("lost", "enter", chance=1.0)
        # Once it is configured anew, and has heard of the other settings: asked, and nobody knows.
        world.until(lambda: bool(gate.life.call("may_upload", "any code")))
        assert gate.scan(codes[1]) == "no_answer", "it was reached, so this is not offline"
        world.until(lambda: ready(gate))
        presence(world).behave()
        presence(world).misbehave("error", "enter", chance=1.0)
        assert gate.scan(codes[0]) == "no_answer"
        presence(world).behave()
        world.settle(vendors=False)
        with presence(world).refused():
            walked = [gate.scan(code, lane) for code in codes[2:] for lane in (INNER_IN, INNER_OUT, OUT)]
            assert set(walked) == {"admitted_offline"}
        story = audit(world)
        assert len(story.offline) == 6
        uploaded = [change for change in presence(world).history() if change.how == "uploaded"]
        assert len(uploaded) == 6
        assert len(world.ledger().texts("uncertain")) == 2, "what was asked is not uploaded"


@pytest.mark.slow
def test_a_presence_day_with_faults_and_restarts_of_everything_leaves_the_books_agreeing() -> None:
    with hall("a", "b", deadline_ms=SHORT_MS) as world:
        world.use(Haste.RETRIES)
        world.add_bridge().begin()
        sandbox, gates = presence(world), list(world.gates.values())
        codes = world.codes(40)
        for at, gate in enumerate(gates):
            gate.life.kill()
            gate.use(crowd=(world.seed, tuple(codes[at::2]), PACE_S))
            gate.life.begin()
        for hour in range(HOURS):
            before = sandbox.books().changes
            kind = ("slow", "lost", "limit", "error", "cut")[hour % 5]
            sandbox.misbehave(kind, chance=0.2, seconds=LATE_S)
            sandbox.misbehave("drift", chance=0.3)
            if hour % 4 == 3:
                with sandbox.refused():
                    world.until(partial(nobody_is_asked, gates))
                    world.pause(AWAY_S)
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
            sandbox.behave()
        for gate in gates:
            gate.life.call("disperse")
        story = audit(world)
        assert story.verdicts["admitted"] > HOURS
        assert {ask.key[2] for ask in story.asks} == {"checkin", "checkout", "inner-in", "inner-out"}


def nobody_is_asked(gates: Sequence[WorldGate]) -> bool:
    """Whether all of them know that Presence is away."""
    return not any(ready(gate) for gate in gates)
