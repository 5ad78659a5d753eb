import pytest

from firmware.core.effects import Kind, Record, Signal, Tell, Unlock
from firmware.core.events import Cause, Order, Ordered, Recorded, RecordFailed
from firmware.core.movements import Act, Movement
from firmware.core.states import Open, Standing
from firmware.core.ticket import Verdict
from tests.core.samples import (
    ASKED_SCAN,
    IN,
    NOON_MS,
    SCAN,
    YES,
    admission,
    asking,
    at,
    check,
    ready,
    recording,
    run,
    same,
)

SHUT_BY_OPERATOR = Ordered(at(5), 2, Order.SHUT, Cause.OPERATOR, IN, "ann")
FREE_BY_OPERATOR = SHUT_BY_OPERATOR._replace(order=Order.FREE)
OPEN_ONCE = SHUT_BY_OPERATOR._replace(row=1, order=Order.OPEN_ONCE)


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
