"""From the opening to the walk or the lapse, with and without a sensor, outer and inner."""

import pytest

from firmware.core.effects import Kind, Lock, Record, Signal, Tell, Unlock
from firmware.core.events import Cause, Order, Ordered, Passed, Recorded, RecordFailed, TimeUp
from firmware.core.lane import GRACE_MS, permanent, wake_at
from firmware.core.movements import Act, Movement
from firmware.core.states import Free, Open, Recording, Shut, Standing
from firmware.core.ticket import NO_HISTORY, Direction, History, Perimeter, Policy, Spend, Track
from tests.core.samples import (
    IN,
    INNER,
    NOON_MS,
    OUT,
    OUTER,
    SCAN,
    SETUP,
    admission,
    at,
    check,
    opened,
    ready,
    recording,
    run,
    same,
)

BY_WALK = SCAN._replace(policy=Policy(spend=Spend.PASSAGE))
NO_SENSOR = SETUP._replace(sensor=False)
LOCKED_AT_MS = 10 + SETUP.unlock_ms
LAPSED_AT_MS = LOCKED_AT_MS + SETUP.relock_ms + GRACE_MS


def ended(act: Act, ms: int, spend: Spend = Spend.OPENING) -> Movement:
    return admission()._replace(act=act, utc_ms=NOON_MS + ms, spend=spend)


@pytest.mark.parametrize(("spend", "act"), [(Spend.OPENING, Act.SETTLED), (Spend.PASSAGE, Act.LAPSED)])
def test_an_opening_without_a_walk_uses_the_ticket_or_gives_it_back_as_the_event_says(
    spend: Spend, act: Act
) -> None:
    locked = run(opened(SCAN._replace(policy=Policy(spend=spend))), TimeUp(at(LOCKED_AT_MS), 2))
    row = Record(Kind.LAPSE, 1, movement=ended(act, LAPSED_AT_MS, spend))
    after = check(locked, TimeUp(at(LAPSED_AT_MS), 3), row, Tell(Signal.READY))
    assert same(after, ready())


def test_a_lapse_comes_no_earlier_than_the_mechanism_relocks_and_a_second_more() -> None:
    locked = run(opened(BY_WALK), TimeUp(at(LOCKED_AT_MS), 2))
    assert wake_at(locked) == LAPSED_AT_MS
    assert same(check(locked, TimeUp(at(LAPSED_AT_MS - 1), 3)), locked)


def test_a_late_turn_of_the_loop_prolongs_the_grace_and_does_not_shorten_it() -> None:
    late_ms = LOCKED_AT_MS + 700
    locked = run(opened(BY_WALK), TimeUp(at(late_ms), 2))
    assert wake_at(locked) == late_ms + SETUP.relock_ms + GRACE_MS


def test_a_walk_that_ends_within_the_grace_settles_the_scan() -> None:
    locked = run(opened(BY_WALK), TimeUp(at(LOCKED_AT_MS), 2))
    row = Record(Kind.PASSAGE, 1, movement=ended(Act.PASSED, LAPSED_AT_MS - 1, Spend.PASSAGE))
    after = check(locked, Passed(at(LAPSED_AT_MS - 1), 3, IN), row, Tell(Signal.READY))
    assert same(after, ready())


def test_a_lane_without_a_sensor_spends_by_opening_and_ends_when_it_locks() -> None:
    lane = opened(BY_WALK, NO_SENSOR)
    row = Record(Kind.LAPSE, 1, movement=ended(Act.SETTLED, LOCKED_AT_MS))
    after = check(lane, TimeUp(at(LOCKED_AT_MS), 2), Lock(), row, Tell(Signal.READY))
    assert same(after, ready(NO_SENSOR))


def test_a_sensor_that_cannot_tell_the_way_is_believed() -> None:
    row = Record(Kind.PASSAGE, 1, movement=ended(Act.PASSED, 900))
    check(opened(), Passed(at(900), 2, None), row, Lock(), Tell(Signal.READY))


def test_a_walk_the_other_way_settles_nothing() -> None:
    assert same(check(opened(), Passed(at(900), 2, OUT), Record(Kind.PASSAGE, 0)), opened())


def test_a_second_walk_is_unexplained() -> None:
    lane = run(opened(), Passed(at(900), 2, IN))
    check(lane, Passed(at(1000), 3, IN), Record(Kind.PASSAGE, 0))


def test_a_way_out_opens_outwards() -> None:
    lane = recording(SCAN._replace(direction=OUT))
    after = run(lane, Recorded(at(10), 1))
    assert isinstance(after.state, Open)
    assert after.state.direction is OUT
    row = Record(Kind.PASSAGE, 1, movement=ended(Act.PASSED, 900)._replace(direction=OUT))
    check(after, Passed(at(900), 2, OUT), row, Lock(), Tell(Signal.READY))


@pytest.mark.parametrize(
    ("order", "state", "effects"),
    [
        (Order.SHUT, Shut, (Tell(Signal.SHUT),)),
        (Order.FREE, Free, (Unlock(None), Tell(Signal.FREE))),
    ],
)
def test_an_order_during_an_opening_takes_effect_after_the_walk_or_the_lapse(
    order: Order, state: type, effects: tuple[Unlock | Tell, ...]
) -> None:
    lane = run(opened(), Ordered(at(20), 2, order, Cause.OPERATOR, IN))
    row = Record(Kind.PASSAGE, 1, movement=ended(Act.PASSED, 900))
    assert isinstance(check(lane, Passed(at(900), 3, IN), row, Lock(), *effects).state, state)
    locked = run(lane, TimeUp(at(LOCKED_AT_MS), 3))
    row = Record(Kind.LAPSE, 1, movement=ended(Act.SETTLED, LAPSED_AT_MS))
    assert isinstance(check(locked, TimeUp(at(LAPSED_AT_MS), 4), row, *effects).state, state)


def test_a_disk_that_failed_during_an_opening_shuts_the_lane_after_the_walk() -> None:
    lane = run(opened(), RecordFailed(at(20), 0))
    row = Record(Kind.PASSAGE, 1, movement=ended(Act.PASSED, 900))
    after = check(lane, Passed(at(900), 3, IN), row, Lock(), Tell(Signal.OUT_OF_ORDER))
    assert same(after.standing, Standing(shut=(Cause.JOURNAL,)))


def test_the_light_goes_back_to_go_and_after_locking_to_ready() -> None:
    assert permanent(opened()) is Signal.GO
    assert permanent(run(opened(), TimeUp(at(LOCKED_AT_MS), 2))) is Signal.READY


# --- inner lanes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("perimeter", "direction", "history", "perimeters"),
    [
        (OUTER, IN, NO_HISTORY, (OUTER,)),
        (INNER, IN, NO_HISTORY, (INNER, OUTER)),
        (INNER, IN, History(Track(1, OUT, NOON_MS)), (INNER, OUTER)),
        (INNER, IN, History(Track(1, IN, NOON_MS)), (INNER,)),
        (INNER, OUT, NO_HISTORY, (INNER,)),
    ],
)
def test_an_inner_entry_without_an_outer_one_counts_as_both(
    perimeter: Perimeter, direction: Direction, history: History, perimeters: tuple[Perimeter, ...]
) -> None:
    scan = SCAN._replace(direction=direction, history=history)
    lane = recording(scan, SETUP._replace(perimeter=perimeter))
    assert isinstance(lane.state, Recording)
    assert lane.state.admission
    assert lane.state.admission.perimeters == perimeters
