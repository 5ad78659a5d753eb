"""A drill frees lanes as an alarm does, for a time, and neither hides nor ends a real one."""

import pytest

from firmware.core.effects import Kind, Lock, Record, Signal, Tell, Unlock
from firmware.core.events import Alarm, Cause, Order, Ordered, Passed, Scanned
from firmware.core.states import Free, Lane, Open, Ready, Shut
from firmware.core.ticket import Verdict
from tests.core.samples import IN, OTHER_SCAN, SETUP, at, check, free, opened, ready, run, same, shut

DRILL = Ordered(at(900), 9, Order.FREE, Cause.DRILL, IN, "ann")
OVER = Ordered(at(5000), 40, Order.NORMAL, Cause.DRILL, IN, "ann")
ALARM, ALARM_OVER = Alarm(at(1000), 20, True), Alarm(at(2000), 30, False)
ROW = Record(Kind.ORDER, 0, text="ann")
CAREFUL = SETUP._replace(acknowledge=True)


@pytest.mark.parametrize(
    ("lane", "light"),
    [(ready(), Signal.READY), (shut(), Signal.SHUT), (shut(cause=Cause.READER), Signal.OUT_OF_ORDER)],
)
def test_a_drill_frees_a_lane_also_a_shut_one_and_leaves_it_as_it_was(lane: Lane, light: Signal) -> None:
    drilled = check(lane, DRILL, ROW, Unlock(None), Tell(Signal.FREE))
    assert isinstance(drilled.state, Free)
    assert same(check(drilled, OVER, ROW, Lock(), Tell(light)), lane)


def test_a_scan_during_a_drill_spends_nothing() -> None:
    scan: Scanned = OTHER_SCAN._replace(moment=at(1500))
    check(run(ready(), DRILL), scan, Record(Kind.SCAN, 2, Verdict.FREE), Tell(Verdict.FREE))


def test_whoever_is_served_walks_through_before_the_drill_begins() -> None:
    lane = check(opened(), DRILL, ROW)
    assert isinstance(lane.state, Open)
    assert isinstance(run(lane, Passed(at(1000), 10, IN)).state, Free)


def test_a_real_alarm_during_a_drill_is_recorded_and_outlives_it() -> None:
    lane = run(ready(CAREFUL), DRILL)
    lane = check(lane, ALARM, Unlock(None), Record(Kind.ALARM, 0, text="active"), Tell(Signal.FREE))
    lane = check(lane, OVER, ROW, Tell(Signal.FREE))
    assert lane.standing.free == (Cause.ALARM,)
    lane = run(lane, ALARM_OVER)
    assert isinstance(lane.state, Free)
    assert lane.standing.free == (Cause.UNACKNOWLEDGED,)


def test_the_end_of_a_real_alarm_does_not_end_the_drill_nor_the_other_way_round() -> None:
    lane = run(ready(), ALARM, DRILL._replace(moment=at(1500)))
    lane = check(lane, ALARM_OVER, Tell(Signal.FREE), Record(Kind.ALARM, 0, text="over"))
    assert lane.standing.free == (Cause.DRILL,)
    assert same(run(lane, OVER), ready())


def test_an_alarm_that_nobody_acknowledged_stays_when_a_drill_is_over() -> None:
    lane = run(ready(CAREFUL), ALARM, ALARM_OVER, DRILL._replace(moment=at(2500)), OVER)
    assert isinstance(lane.state, Free)
    assert lane.standing.free == (Cause.UNACKNOWLEDGED,)


@pytest.mark.parametrize(("order", "after"), [(Order.SHUT, Shut), (Order.FREE, Free), (Order.NORMAL, Ready)])
def test_an_order_during_a_drill_says_what_follows(order: Order, after: type) -> None:
    lane = run(ready(), DRILL, Ordered(at(1000), 10, order, Cause.OPERATOR, IN))
    assert isinstance(lane.state, Free)
    assert isinstance(run(lane, OVER).state, after)


def test_a_lane_that_an_operator_freed_stays_free_after_a_drill() -> None:
    lane = check(run(free(), DRILL), OVER, ROW, Tell(Signal.FREE))
    assert same(lane, free())
