"""A code that is read again: the same answer while it is shown, one of its own afterwards."""

from firmware.core.effects import Kind, Record, Signal, Tell
from firmware.core.events import Cause, Order, Ordered, Passed, Recorded, TimeUp
from firmware.core.lane import wake_at
from firmware.core.rules import LAPSES_MAX
from firmware.core.states import Open, Recording
from firmware.core.ticket import Credit, History, Status, Track, Verdict
from tests.core.samples import (
    ASKED_SCAN,
    IN,
    NO,
    NOON_MS,
    OTHER_SCAN,
    OUT,
    SCAN,
    SETUP,
    TICKET,
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

CANCELLED = SCAN._replace(ticket=TICKET._replace(status=Status.CANCELLED))
BEHIND = SCAN._replace(moment=at(100), row=7, direction=OUT)


def test_a_copy_on_the_other_side_gets_an_answer_of_its_own() -> None:
    busy = (Record(Kind.SCAN, 7, Verdict.BUSY), Tell(Verdict.BUSY))
    for lane in (opened(), recording(), asking()):
        check(lane, BEHIND, *busy)
    refused = run(ready(), CANCELLED)
    out = admission(7, OUT)._replace(utc_ms=NOON_MS + 100)
    check(refused, BEHIND, Record(Kind.SCAN, 7, Verdict.ADMITTED, out, wanted=True))


def test_an_unreadable_code_is_not_taken_for_the_order_that_opened_the_lane() -> None:
    order = Ordered(at(0), 1, Order.OPEN_ONCE, Cause.OPERATOR, IN)
    lane = run(ready(), order, Recorded(at(10), 1))
    assert isinstance(lane.state, Open)
    unreadable = SCAN._replace(moment=at(100), row=7, digest=b"", subject="", ticket=None, fault="too long")
    check(lane, unreadable, Record(Kind.SCAN, 7, Verdict.BUSY), Tell(Verdict.BUSY))


def test_a_refused_code_gets_the_same_answer_without_a_row_while_it_is_shown() -> None:
    lane = run(ready(), CANCELLED)
    again = CANCELLED._replace(moment=at(2499), row=2)
    assert same(check(lane, again, Tell(Verdict.CANCELLED)), lane)
    after = again._replace(moment=at(2500))
    check(lane, after, Record(Kind.SCAN, 2, Verdict.CANCELLED), Tell(Verdict.CANCELLED))


def test_a_repeat_does_not_prolong_the_answer() -> None:
    lane = run(ready(), CANCELLED)
    assert wake_at(run(lane, CANCELLED._replace(moment=at(2000), row=2))) == wake_at(lane) == 2500


def test_another_code_is_judged_while_a_refusal_is_shown() -> None:
    lane = run(ready(), CANCELLED)
    after = run(lane, OTHER_SCAN)
    assert isinstance(after.state, Recording)
    assert after.shown is None


def test_the_vendors_words_are_repeated_as_well() -> None:
    lane = run(asking(), NO)
    check(lane, ASKED_SCAN._replace(moment=at(600), row=9), Tell(Verdict.USED, "was here"))


def test_the_code_that_opened_the_lane_gets_the_same_answer_until_the_lane_locks() -> None:
    again = SCAN._replace(moment=at(4000), row=2)
    assert same(check(opened(), again, Tell(Verdict.ADMITTED)), opened())
    locked = run(opened(), TimeUp(at(5010), 9))
    refused = check(locked, again, Record(Kind.SCAN, 2, Verdict.BUSY), Tell(Verdict.BUSY))
    ready_again = run(refused, TimeUp(at(6510), 9))
    assert same(ready_again, ready())


def test_after_the_walk_a_copy_of_the_code_gets_an_answer_of_its_own() -> None:
    lane = run(opened(), Passed(at(900), 2, IN))
    copy = SCAN._replace(moment=at(901), row=3, history=History(Track(1, IN, NOON_MS)))
    check(lane, copy, Record(Kind.SCAN, 3, Verdict.USED), Tell(Verdict.USED))


def test_after_the_walk_a_code_that_was_told_busy_is_judged() -> None:
    lane = run(opened(), OTHER_SCAN, Passed(at(900), 2, IN))
    assert isinstance(run(lane, OTHER_SCAN._replace(moment=at(901))).state, Recording)


def test_a_second_read_while_the_vendor_is_asked_is_told_to_wait() -> None:
    check(asking(), ASKED_SCAN._replace(moment=at(400), row=2), Tell(Signal.CHECKING))


def test_codes_at_a_free_and_at_a_shut_lane_are_repeated_without_a_row() -> None:
    for lane, verdict in ((free(), Verdict.FREE), (shut(), Verdict.SHUT)):
        shown = run(lane, SCAN)
        check(shown, SCAN._replace(moment=at(100), row=2), Tell(verdict))


def test_a_code_whose_credit_lapsed_too_often_is_repeated_without_a_row() -> None:
    """A good credit is another answer than the refusal before it; one that calls staff is the same again."""
    worn = History(credit=Credit(IN, NOON_MS + 600_000), lapses=LAPSES_MAX)
    held = ASKED_SCAN._replace(history=worn)
    lane = check(ready(), held, Record(Kind.SCAN, held.row, Verdict.CALL_STAFF), Tell(Verdict.CALL_STAFF))
    check(lane, held._replace(moment=at(200), row=9), Tell(Verdict.CALL_STAFF))


def test_busy_fades_to_what_the_lane_is_doing() -> None:
    for lane, signal in (
        (asking(), Signal.CHECKING),
        (opened(), Signal.GO),
        (recording(setup=SETUP._replace(record_ms=9000)), Signal.CHECKING),
    ):
        busy = run(lane, OTHER_SCAN)
        assert wake_at(busy) == 2600
        assert same(check(busy, TimeUp(at(2600), 9), Tell(signal)), lane)


def test_the_lane_wakes_for_its_own_deadline_before_the_answer_fades() -> None:
    for lane, until_ms in ((recording(), 1000), (asking(), 3000), (opened(), 5010)):
        late = OTHER_SCAN._replace(moment=at(until_ms - 10))
        assert wake_at(run(lane, late)) == until_ms
