"""A disk that fails, hangs and comes back, in every state and under both policies."""

from functools import reduce

import pytest

from firmware.core.effects import Kind, Lock, Record, Signal, Tell, Unlock
from firmware.core.events import Cause, Order, Ordered, Recorded, RecordFailed, TimeUp
from firmware.core.lane import permanent, step
from firmware.core.movements import Act, Movement, fold
from firmware.core.rules import judge
from firmware.core.states import Open, Recording, Standing
from firmware.core.ticket import NO_HISTORY, Setup, Verdict
from tests.core.samples import (
    ASKED_SCAN,
    IN,
    NOON_MS,
    SCAN,
    SETUP,
    YES,
    admission,
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

SHUT_BY_OPERATOR = Ordered(at(5), 2, Order.SHUT, Cause.OPERATOR, IN, "ann")
FREE_BY_OPERATOR = SHUT_BY_OPERATOR._replace(order=Order.FREE)


def voided(row: int, ms: int) -> Movement:
    return admission(row)._replace(act=Act.VOIDED, utc_ms=NOON_MS + ms)


def test_a_disk_that_mended_itself_during_an_ask_lets_the_answered_ticket_in() -> None:
    failing = run(asking(), RecordFailed(at(100), 0))
    assert failing.standing.shut == (Cause.JOURNAL,)
    waiting = run(failing, YES)
    after = check(waiting, Recorded(at(600), YES.row), Unlock(IN), Tell(Verdict.ADMITTED, "welcome"))
    assert isinstance(after.state, Open)
    assert same(after.standing, Standing())


@pytest.mark.parametrize(
    ("order", "verdict", "effects"),
    [
        (SHUT_BY_OPERATOR, Verdict.SHUT, (Tell(Signal.SHUT),)),
        (SHUT_BY_OPERATOR._replace(cause=Cause.READER), Verdict.OUT_OF_ORDER, (Tell(Signal.OUT_OF_ORDER),)),
        (FREE_BY_OPERATOR, Verdict.FREE, (Unlock(None), Tell(Signal.FREE))),
    ],
)
class TestAnOrderThatComesWhileTheDiskWrites:
    def test_withdraws_an_admission(
        self, order: Ordered, verdict: Verdict, effects: tuple[Unlock | Tell, ...]
    ) -> None:
        lane = run(recording(), order)
        check(lane, Recorded(at(10), 1), Record(Kind.VOID, 1, verdict, voided(1, 10)), *effects)

    def test_leaves_the_vendor_unasked(
        self, order: Ordered, verdict: Verdict, effects: tuple[Unlock | Tell, ...]
    ) -> None:
        lane = run(recording(ASKED_SCAN), order)
        check(lane, Recorded(at(10), 1), Record(Kind.ANSWER, 1, verdict), *effects)


def test_a_lane_that_waits_for_the_disk_says_that_it_is_checking() -> None:
    for scan in (SCAN, ASKED_SCAN):
        check(recording(scan), scan._replace(moment=at(400), row=2), Tell(Signal.CHECKING))


def test_every_further_try_of_a_failing_disk_leaves_the_answer_on() -> None:
    lane = run(ready(), RecordFailed(at(0), 0), SCAN._replace(moment=at(100)))
    assert lane.shown
    assert same(check(lane, RecordFailed(at(1000), 0)), lane)


# --- out of service and back -----------------------------------------------------------------------

FAILED = RecordFailed(at(900), 0)
MENDED = Recorded(at(5000), 0)
OPEN_TO_ALL = SETUP._replace(unwritable_free=True)


@pytest.mark.parametrize(
    ("setup", "verdict", "standing", "freed", "locked"),
    [
        (SETUP, Verdict.OUT_OF_ORDER, Standing(shut=(Cause.JOURNAL,)), (), ()),
        (OPEN_TO_ALL, Verdict.FREE, Standing(free=(Cause.JOURNAL,)), (Unlock(None),), (Lock(),)),
    ],
    ids=["shut", "free"],
)
class TestALaneWithoutAJournal:
    """Shut or free by policy, and never admitting what is not recorded."""

    def test_goes_out_of_service_and_comes_back_with_the_first_safe_row(
        self,
        setup: Setup,
        verdict: Verdict,
        standing: Standing,
        freed: tuple[Unlock, ...],
        locked: tuple[Lock, ...],
    ) -> None:
        lane = check(ready(setup), FAILED, *freed, Tell(Signal(verdict.value)))
        assert same(lane.standing, standing)
        after = check(lane, MENDED, *locked, Tell(Signal.READY))
        assert same(after, ready(setup))

    def test_goes_out_of_service_when_the_disk_hangs(
        self,
        setup: Setup,
        verdict: Verdict,
        standing: Standing,
        freed: tuple[Unlock, ...],
        locked: tuple[Lock, ...],
    ) -> None:
        void = Record(Kind.VOID, 1, Verdict.OUT_OF_ORDER, voided(1, 1000))
        lane = check(recording(setup=setup), TimeUp(at(1000), 2), void, *freed, Tell(Signal(verdict.value)))
        assert same(lane.standing, standing)
        after = check(lane, Recorded(at(8000), 1), *locked, Tell(Signal.READY))
        assert same(after, ready(setup))

    def test_records_codes_and_spends_nothing(
        self,
        setup: Setup,
        verdict: Verdict,
        standing: Standing,
        freed: tuple[Unlock, ...],
        locked: tuple[Lock, ...],
    ) -> None:
        check(run(ready(setup), FAILED), SCAN, Record(Kind.SCAN, 1, verdict), Tell(verdict))


def test_an_ask_that_the_disk_does_not_take_is_not_sent_and_answered_out_of_order() -> None:
    answer = Record(Kind.ANSWER, 1, Verdict.OUT_OF_ORDER)
    for event in (FAILED, TimeUp(at(1000), 2)):
        lane = check(recording(ASKED_SCAN), event, answer, Tell(Signal.OUT_OF_ORDER))
        assert same(check(lane, Recorded(at(8000), 1), Tell(Signal.READY)), ready())


def test_a_row_that_becomes_safe_after_it_was_withdrawn_opens_nothing() -> None:
    hung = run(recording(), TimeUp(at(1000), 2))
    waiting = run(hung, Recorded(at(8000), 2), SCAN._replace(moment=at(9000), row=3))
    assert isinstance(waiting.state, Recording)
    assert same(check(waiting, Recorded(at(9010), 1)), waiting)
    check(waiting, Recorded(at(9020), 3), Unlock(IN), Tell(Verdict.ADMITTED))


def test_a_withdrawn_ticket_may_be_used_again() -> None:
    lane, first = step(ready(), SCAN)
    _, second = step(lane, TimeUp(at(1000), 2))
    movements = [e.movement for e in (*first, *second) if isinstance(e, Record) and e.movement]
    assert [m.act for m in movements] == [Act.OPENED, Act.VOIDED]
    history = reduce(fold, movements, NO_HISTORY)
    assert judge(SETUP, SCAN._replace(history=history)) is Verdict.ADMITTED


def test_a_failing_disk_keeps_an_order_in_force() -> None:
    for lane, signal in ((shut(), Signal.SHUT), (free(), Signal.FREE)):
        failing = run(lane, FAILED)
        assert permanent(failing) is signal
        after = check(failing, MENDED, Tell(signal))
        assert same(after, lane)


def test_a_disk_that_fails_and_mends_itself_during_an_opening_is_forgotten() -> None:
    assert same(run(opened(), FAILED, MENDED), opened())


def test_the_row_of_another_lane_is_a_sign_that_the_disk_works_and_opens_nothing() -> None:
    assert same(check(recording(), Recorded(at(20), 7)), recording())
    failing = run(asking(), FAILED, YES)
    healed = check(failing, Recorded(at(20), 7))
    assert same(healed.standing, Standing())
    assert isinstance(healed.state, Recording)
