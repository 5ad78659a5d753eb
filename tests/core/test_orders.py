"""What an operator may tell a lane, and what stands against what."""

import pytest

from firmware.core.effects import Kind, Lock, Record, Signal, Tell, Unlock
from firmware.core.events import Cause, Order, Ordered, Passed, Recorded, RecordFailed, TimeUp
from firmware.core.lane import begin, permanent
from firmware.core.states import Free, Lane, Open, Ready, Recording, Shut, Standing, State
from firmware.core.ticket import Verdict
from tests.core.samples import (
    OUT,
    SCAN,
    SETUP,
    asking,
    at,
    check,
    free,
    opened,
    ready,
    recording,
    run,
    same,
    shut,
)

ROW = Record(Kind.ORDER, 0, text="ann")
OPENING = Record(Kind.ORDER, 0, Verdict.ADMITTED, wanted=True, text="ann")


def ordered(order: Order, cause: Cause = Cause.OPERATOR) -> Ordered:
    return Ordered(at(100), 8, order, cause, OUT, "ann")


def test_a_lane_begins_locked_and_ready() -> None:
    lane, effects = begin(SETUP)
    assert same(effects, (Lock(), Tell(Signal.READY)))
    assert same(lane, Lane(SETUP, Standing(), Ready(), None))


# --- open once -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", [ready(), shut(), shut(cause=Cause.READER)], ids=["ready", "shut", "reader"])
def test_an_order_opens_a_lane_once_after_its_row_is_safe(lane: Lane) -> None:
    waiting = check(lane, ordered(Order.OPEN_ONCE), OPENING)
    assert same(waiting.state, Recording(8, OUT, 1100, scan_row=8))
    after = check(waiting, Recorded(at(110), 8), Unlock(OUT), Tell(Verdict.ADMITTED))
    assert same(after.state, Open(8, OUT, 5110, scan_row=8))
    walked = check(after, Passed(at(900), 9, OUT), Record(Kind.PASSAGE, 8), Lock(), Tell(permanent(lane)))
    assert same(walked, lane)
    locked = run(after, TimeUp(at(5110), 9))
    assert same(check(locked, TimeUp(at(6610), 10), Record(Kind.LAPSE, 8), Tell(permanent(lane))), lane)


def test_an_order_to_open_that_the_disk_does_not_take_leaves_the_lane_locked_and_a_row() -> None:
    waiting = run(ready(), ordered(Order.OPEN_ONCE))
    void = Record(Kind.VOID, 8, Verdict.OUT_OF_ORDER)
    for event in (RecordFailed(at(200), 0), TimeUp(at(1100), 9)):
        after = check(waiting, event, void, Tell(Signal.OUT_OF_ORDER))
        assert isinstance(after.state, Shut)


def test_a_free_lane_is_not_opened_once() -> None:
    assert same(check(free(), ordered(Order.OPEN_ONCE), ROW._replace(verdict=Verdict.FREE)), free())


def test_a_lane_whose_disk_fails_is_not_opened_once() -> None:
    lane = run(ready(), RecordFailed(at(0), 0))
    assert same(check(lane, ordered(Order.OPEN_ONCE), ROW._replace(verdict=Verdict.OUT_OF_ORDER)), lane)


@pytest.mark.parametrize("lane", [asking(), recording(), opened()], ids=["asking", "recording", "open"])
class TestALaneThatServesSomebody:
    def test_is_not_opened_once_more(self, lane: Lane) -> None:
        assert same(check(lane, ordered(Order.OPEN_ONCE), ROW._replace(verdict=Verdict.BUSY)), lane)

    @pytest.mark.parametrize(
        ("order", "standing"),
        [
            (Order.FREE, Standing(free=(Cause.OPERATOR,))),
            (Order.SHUT, Standing(shut=(Cause.OPERATOR,))),
            (Order.NORMAL, Standing()),
        ],
    )
    def test_obeys_afterwards(self, lane: Lane, order: Order, standing: Standing) -> None:
        after = check(lane, ordered(order), ROW)
        assert same(after, lane._replace(standing=standing))


# --- free, shut, normal ----------------------------------------------------------------------------

LANES = {"ready": ready(), "free": free(), "shut": shut()}
SIGNALS: dict[type[State], Signal] = {Ready: Signal.READY, Free: Signal.FREE, Shut: Signal.SHUT}


@pytest.mark.parametrize("begins", LANES)
@pytest.mark.parametrize(
    ("order", "becomes"), [(Order.FREE, Free), (Order.SHUT, Shut), (Order.NORMAL, Ready)]
)
def test_a_lane_at_rest_obeys_at_once(begins: str, order: Order, becomes: type[State]) -> None:
    lane = LANES[begins]
    was_free, is_free = isinstance(lane.state, Free), becomes is Free
    edges = [] if was_free is is_free else [Unlock(None)] if is_free else [Lock()]
    after = check(lane, ordered(order), ROW, *edges, Tell(SIGNALS[becomes]))
    assert isinstance(after.state, becomes)


def test_the_last_word_of_the_operator_holds() -> None:
    lane = run(ready(), ordered(Order.FREE), ordered(Order.SHUT))
    assert same(lane.standing, Standing(shut=(Cause.OPERATOR,)))
    lane = run(lane, ordered(Order.FREE))
    assert same(lane.standing, Standing(free=(Cause.OPERATOR,)))


@pytest.mark.parametrize(
    ("orders", "state", "signal"),
    [
        ([(Order.SHUT, Cause.OPERATOR), (Order.FREE, Cause.JOURNAL)], Shut, Signal.SHUT),
        ([(Order.SHUT, Cause.READER), (Order.FREE, Cause.OPERATOR)], Free, Signal.FREE),
        ([(Order.SHUT, Cause.READER), (Order.FREE, Cause.JOURNAL)], Free, Signal.FREE),
        ([(Order.SHUT, Cause.READER), (Order.NORMAL, Cause.OPERATOR)], Shut, Signal.OUT_OF_ORDER),
        ([(Order.SHUT, Cause.READER), (Order.NORMAL, Cause.READER)], Ready, Signal.READY),
        ([(Order.SHUT, Cause.READER), (Order.SHUT, Cause.OPERATOR)], Shut, Signal.SHUT),
    ],
)
def test_the_operators_word_holds_before_conditions_and_free_before_shut(
    orders: list[tuple[Order, Cause]], state: type[State], signal: Signal
) -> None:
    lane = run(ready(), *(ordered(order, cause) for order, cause in orders))
    assert isinstance(lane.state, state)
    assert permanent(lane) is signal


def test_a_code_at_a_lane_without_its_reader_or_its_disk_is_told_out_of_order() -> None:
    refused = (Record(Kind.SCAN, 1, Verdict.OUT_OF_ORDER), Tell(Verdict.OUT_OF_ORDER))
    for lane in (shut(cause=Cause.READER), run(ready(), RecordFailed(at(0), 0))):
        check(lane, SCAN, *refused)


def test_an_order_ends_the_answer_that_is_on() -> None:
    lane = run(ready(), SCAN._replace(fault="too long"), ordered(Order.NORMAL))
    assert lane.shown is None
