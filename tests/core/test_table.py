"""One test for every cell of the table: the effects in their order, and where the lane is afterwards."""

from collections.abc import Callable
from itertools import product

from firmware.core.effects import Kind, Lock, Record, Signal, Tell, Unlock
from firmware.core.events import (
    Alarm,
    Answered,
    Cause,
    Event,
    Order,
    Ordered,
    Passed,
    Recorded,
    RecordFailed,
    Scanned,
    TimeUp,
)
from firmware.core.lane import EVENTS, TABLE, wake_at
from firmware.core.movements import Act, Movement
from firmware.core.states import (
    Asking,
    Free,
    Open,
    Ready,
    Recording,
    Shown,
    Shut,
    Standing,
    State,
)
from firmware.core.ticket import Verdict
from tests.core.samples import (
    IN,
    NOON_MS,
    OTHER_SCAN,
    OUTER,
    SCAN,
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

Test = Callable[[], None]
CELLS: dict[tuple[type[State], type[Event]], str] = {}


def cell(state: type[State], event: type[Event]) -> Callable[[Test], Test]:
    """The cell that a test is about."""

    def named(test: Test) -> Test:
        assert (state, event) not in CELLS
        CELLS[state, event] = test.__name__
        return test

    return named


def test_every_cell_has_its_test() -> None:
    assert set(CELLS) == set(product(TABLE, EVENTS))
    assert {(state, event) for state, row in TABLE.items() for event in row} == set(CELLS)


ALARM = Alarm(at(900), 9, True)
ALARM_ROW = Record(Kind.ALARM, 0, text="active")
BY_ALARM = Standing(free=(Cause.ALARM,))
FAILED = RecordFailed(at(900), 0)
BY_JOURNAL = Standing(shut=(Cause.JOURNAL,))
SAFE_ELSEWHERE = Recorded(at(900), 77)
WALK = Passed(at(900), 9, IN)
STRAY_WALK = Record(Kind.PASSAGE, 0)
ORDER_ROW = Record(Kind.ORDER, 0, text="ann")
SHUT_ORDER = Ordered(at(900), 9, Order.SHUT, Cause.OPERATOR, IN, "ann")
NORMAL_ORDER = SHUT_ORDER._replace(order=Order.NORMAL)
LATE_YES = Record(
    Kind.LATE,
    1,
    Verdict.ADMITTED,
    Movement(Act.CREDITED, "t1", 1, IN, (OUTER,), NOON_MS + 500, until_utc_ms=NOON_MS + 600_500),
    text="welcome",
)


def refused(verdict: Verdict) -> tuple[Record, Tell]:
    """What the other code's refusal looks like."""
    return Record(Kind.SCAN, 2, verdict), Tell(verdict)


def shows(verdict: Verdict) -> Shown:
    """The other code's refusal while it is on."""
    return Shown(b"two", verdict, "", 2600, IN)


def ended(act: Act, ms: int) -> Movement:
    """The end of the sample's admission."""
    return admission()._replace(act=act, utc_ms=NOON_MS + ms)


# --- a ready lane ----------------------------------------------------------------------------------


@cell(Ready, Scanned)
def test_a_good_code_at_a_ready_lane_is_recorded_before_anything_opens() -> None:
    row = Record(Kind.SCAN, 1, Verdict.ADMITTED, admission(), wanted=True)
    after = check(ready(), SCAN, row)
    waiting = Recording(1, IN, 1000, b"one", Verdict.ADMITTED, "", admission(), None, 1)
    assert same(after.state, waiting)
    assert wake_at(after) == 1000


@cell(Ready, Answered)
def test_a_late_yes_at_a_ready_lane_is_recorded_as_a_credit() -> None:
    assert same(check(ready(), YES, LATE_YES), ready())


@cell(Ready, Recorded)
def test_a_safe_row_changes_nothing_at_a_ready_lane() -> None:
    assert same(check(ready(), SAFE_ELSEWHERE), ready())


@cell(Ready, RecordFailed)
def test_a_failing_disk_shuts_a_ready_lane() -> None:
    after = check(ready(), FAILED, Tell(Signal.OUT_OF_ORDER))
    assert same(after, ready()._replace(state=Shut(), standing=BY_JOURNAL))


@cell(Ready, Passed)
def test_a_walk_through_a_ready_lane_is_recorded_as_unexplained() -> None:
    assert same(check(ready(), WALK, STRAY_WALK), ready())


@cell(Ready, TimeUp)
def test_a_refusal_fades_to_ready_when_its_time_is_up() -> None:
    lane = run(ready(), OTHER_SCAN._replace(fault="too long"))
    assert wake_at(lane) == 2600
    assert same(check(lane, TimeUp(at(2599), 9)), lane)
    assert same(check(lane, TimeUp(at(2600), 9), Tell(Signal.READY)), ready())
    assert same(check(ready(), TimeUp(at(2600), 9)), ready())


@cell(Ready, Ordered)
def test_an_order_shuts_a_ready_lane_at_once() -> None:
    after = check(ready(), SHUT_ORDER, ORDER_ROW, Tell(Signal.SHUT))
    assert same(after, shut())


@cell(Ready, Alarm)
def test_an_alarm_frees_a_ready_lane_first_and_is_recorded_after() -> None:
    after = check(ready(), ALARM, Unlock(None), ALARM_ROW, Tell(Signal.FREE))
    assert same(after, ready()._replace(state=Free(), standing=BY_ALARM))


# --- a lane that asks --------------------------------------------------------------------------------


@cell(Asking, Scanned)
def test_another_code_at_an_asking_lane_is_told_busy() -> None:
    after = check(asking(), OTHER_SCAN, *refused(Verdict.BUSY))
    assert same(after, asking()._replace(shown=shows(Verdict.BUSY)))


@cell(Asking, Answered)
def test_a_yes_in_time_is_recorded_before_anything_opens() -> None:
    opening = admission(4)._replace(utc_ms=NOON_MS + 500, until_utc_ms=NOON_MS + 600_500)
    row = Record(Kind.ANSWER, 1, Verdict.ADMITTED, opening, wanted=True, text="welcome")
    after = check(asking(), YES, row)
    waiting = Recording(4, IN, 1500, b"one", Verdict.ADMITTED, "welcome", opening, None, 1, granted=True)
    assert same(after.state, waiting)


@cell(Asking, Recorded)
def test_a_safe_row_ends_the_fault_of_the_disk_while_the_vendor_is_asked() -> None:
    assert same(check(asking(), SAFE_ELSEWHERE), asking())
    failing = run(asking(), FAILED)
    assert same(check(failing, SAFE_ELSEWHERE), asking())


@cell(Asking, RecordFailed)
def test_a_failing_disk_lets_an_ask_go_on_and_shuts_the_lane_afterwards() -> None:
    after = check(asking(), FAILED)
    assert same(after, asking()._replace(standing=BY_JOURNAL))


@cell(Asking, Passed)
def test_a_walk_through_an_asking_lane_is_recorded_as_unexplained() -> None:
    assert same(check(asking(), WALK, STRAY_WALK), asking())


@cell(Asking, TimeUp)
def test_a_vendor_that_stays_silent_is_given_its_whole_time_and_no_more() -> None:
    assert wake_at(asking()) == 3000
    assert same(check(asking(), TimeUp(at(2999), 9)), asking())
    doubt = Movement(Act.UNSURE, "t1", 1, IN, (OUTER,), NOON_MS + 3000, until_utc_ms=NOON_MS + 603_000)
    row = Record(Kind.ANSWER, 1, Verdict.NO_ANSWER, doubt)
    after = check(asking(), TimeUp(at(3000), 9), row, Tell(Verdict.NO_ANSWER))
    assert same(after, ready()._replace(shown=Shown(b"one", Verdict.NO_ANSWER, "", 5500, IN)))


@cell(Asking, Ordered)
def test_an_order_waits_for_the_answer() -> None:
    after = check(asking(), SHUT_ORDER, ORDER_ROW)
    assert same(after, asking()._replace(standing=Standing(shut=(Cause.OPERATOR,))))


@cell(Asking, Alarm)
def test_an_alarm_frees_an_asking_lane_and_leaves_a_doubt() -> None:
    doubt = Movement(Act.UNSURE, "t1", 1, IN, (OUTER,), NOON_MS + 900, until_utc_ms=NOON_MS + 600_900)
    answer = Record(Kind.ANSWER, 1, Verdict.FREE, doubt)
    after = check(asking(), ALARM, Unlock(None), ALARM_ROW, answer, Tell(Signal.FREE))
    assert same(after, ready()._replace(state=Free(), standing=BY_ALARM))


# --- a lane that waits for the disk --------------------------------------------------------------------


@cell(Recording, Scanned)
def test_another_code_while_the_disk_writes_is_told_busy() -> None:
    after = check(recording(), OTHER_SCAN, *refused(Verdict.BUSY))
    assert same(after, recording()._replace(shown=shows(Verdict.BUSY)))


@cell(Recording, Answered)
def test_an_answer_to_another_scan_while_the_disk_writes_is_late() -> None:
    lane = recording(OTHER_SCAN)
    assert same(check(lane, YES, LATE_YES), lane)


@cell(Recording, Recorded)
def test_the_lane_opens_when_its_row_is_safe_and_no_other() -> None:
    assert same(check(recording(), SAFE_ELSEWHERE), recording())
    after = check(recording(), Recorded(at(10), 1), Unlock(IN), Tell(Verdict.ADMITTED))
    state = Open(1, IN, 5010, b"one", Verdict.ADMITTED, "", admission(), False, 1)
    assert same(after, ready()._replace(state=state))
    assert wake_at(after) == 5010


@cell(Recording, RecordFailed)
def test_a_failing_disk_withdraws_the_admission_and_shuts_the_lane() -> None:
    void = Record(Kind.VOID, 1, Verdict.OUT_OF_ORDER, ended(Act.VOIDED, 900))
    after = check(recording(), FAILED, void, Tell(Signal.OUT_OF_ORDER))
    assert same(after, ready()._replace(state=Shut(), standing=BY_JOURNAL))


@cell(Recording, Passed)
def test_a_walk_before_the_lane_opened_is_recorded_as_unexplained() -> None:
    assert same(check(recording(), WALK, STRAY_WALK), recording())


@cell(Recording, TimeUp)
def test_a_hung_disk_is_given_its_time_and_then_the_lane_says_out_of_order() -> None:
    assert same(check(recording(), TimeUp(at(999), 9)), recording())
    void = Record(Kind.VOID, 1, Verdict.OUT_OF_ORDER, ended(Act.VOIDED, 1000))
    after = check(recording(), TimeUp(at(1000), 9), void, Tell(Signal.OUT_OF_ORDER))
    assert same(after, ready()._replace(state=Shut(), standing=BY_JOURNAL))


@cell(Recording, Ordered)
def test_an_order_waits_for_the_disk() -> None:
    after = check(recording(), SHUT_ORDER, ORDER_ROW)
    assert same(after, recording()._replace(standing=Standing(shut=(Cause.OPERATOR,))))


@cell(Recording, Alarm)
def test_an_alarm_frees_a_lane_that_waits_for_the_disk_and_spends_nothing() -> None:
    void = Record(Kind.VOID, 1, Verdict.FREE, ended(Act.VOIDED, 900))
    after = check(recording(), ALARM, Unlock(None), ALARM_ROW, void, Tell(Signal.FREE))
    assert same(after, ready()._replace(state=Free(), standing=BY_ALARM))


# --- an open lane ----------------------------------------------------------------------------------


@cell(Open, Scanned)
def test_another_code_at_an_open_lane_is_told_busy_and_not_taken() -> None:
    after = check(opened(), OTHER_SCAN, *refused(Verdict.BUSY))
    assert same(after, opened()._replace(shown=shows(Verdict.BUSY)))


@cell(Open, Answered)
def test_a_late_yes_to_the_scan_that_policy_opened_ends_the_doubt() -> None:
    sure = Movement(Act.SURE, "t1", 1, IN, (OUTER,), NOON_MS + 500)
    row = Record(Kind.LATE, 1, Verdict.ADMITTED, sure, text="welcome")
    state = opened().state
    assert isinstance(state, Open)
    granted = opened()._replace(state=state._replace(granted=True))
    assert same(check(opened(), YES._replace(opened=True), row), granted)


@cell(Open, Recorded)
def test_a_safe_row_ends_the_fault_of_the_disk_while_a_person_walks() -> None:
    assert same(check(opened(), SAFE_ELSEWHERE), opened())
    failing = run(opened(), FAILED)
    assert same(check(failing, SAFE_ELSEWHERE), opened())


@cell(Open, RecordFailed)
def test_a_failing_disk_lets_the_person_walk_and_shuts_the_lane_afterwards() -> None:
    after = check(opened(), FAILED)
    assert same(after, opened()._replace(standing=BY_JOURNAL))


@cell(Open, Passed)
def test_a_walk_settles_the_admission_and_locks_the_lane() -> None:
    row = Record(Kind.PASSAGE, 1, movement=ended(Act.PASSED, 900))
    assert same(check(opened(), WALK, row, Lock(), Tell(Signal.READY)), ready())


@cell(Open, TimeUp)
def test_an_opening_is_locked_in_time_and_lapses_after_the_grace() -> None:
    assert same(check(opened(), TimeUp(at(5009), 9)), opened())
    locked = check(opened(), TimeUp(at(5010), 9), Lock(), Tell(Signal.READY))
    assert isinstance(locked.state, Open)
    assert wake_at(locked) == 5010 + 500 + 1000
    assert same(check(locked, TimeUp(at(6509), 9)), locked)
    row = Record(Kind.LAPSE, 1, movement=ended(Act.SETTLED, 6510))
    assert same(check(locked, TimeUp(at(6510), 9), row, Tell(Signal.READY)), ready())


@cell(Open, Ordered)
def test_an_order_waits_for_the_walk() -> None:
    after = check(opened(), SHUT_ORDER, ORDER_ROW)
    assert same(after, opened()._replace(standing=Standing(shut=(Cause.OPERATOR,))))


@cell(Open, Alarm)
def test_an_alarm_frees_an_open_lane_and_counts_the_ticket_as_used() -> None:
    row = Record(Kind.LAPSE, 1, movement=ended(Act.SETTLED, 900))
    after = check(opened(), ALARM, Unlock(None), ALARM_ROW, row, Tell(Signal.FREE))
    assert same(after, ready()._replace(state=Free(), standing=BY_ALARM))


# --- a free lane -----------------------------------------------------------------------------------


@cell(Free, Scanned)
def test_a_code_at_a_free_lane_is_recorded_and_spends_nothing() -> None:
    after = check(free(), OTHER_SCAN, *refused(Verdict.FREE))
    assert same(after, free()._replace(shown=shows(Verdict.FREE)))


@cell(Free, Answered)
def test_a_late_yes_at_a_free_lane_is_recorded_as_a_credit() -> None:
    assert same(check(free(), YES, LATE_YES), free())


@cell(Free, Recorded)
def test_a_safe_row_leaves_a_lane_free_that_the_operator_freed() -> None:
    assert same(check(free(), SAFE_ELSEWHERE), free())


@cell(Free, RecordFailed)
def test_a_failing_disk_leaves_a_lane_free_that_the_operator_freed() -> None:
    after = check(free(), FAILED, Tell(Signal.FREE))
    assert same(after, free()._replace(standing=Standing((Cause.OPERATOR,), (Cause.JOURNAL,))))


@cell(Free, Passed)
def test_a_walk_through_a_free_lane_is_recorded_as_unexplained() -> None:
    assert same(check(free(), WALK, STRAY_WALK), free())


@cell(Free, TimeUp)
def test_an_answer_fades_to_free_when_its_time_is_up() -> None:
    lane = run(free(), OTHER_SCAN)
    assert same(check(lane, TimeUp(at(2599), 9)), lane)
    assert same(check(lane, TimeUp(at(2600), 9), Tell(Signal.FREE)), free())


@cell(Free, Ordered)
def test_an_order_locks_a_free_lane_again() -> None:
    assert same(check(free(), NORMAL_ORDER, ORDER_ROW, Lock(), Tell(Signal.READY)), ready())


@cell(Free, Alarm)
def test_an_alarm_frees_a_free_lane_once_more_and_its_end_leaves_it_free() -> None:
    after = check(free(), ALARM, Unlock(None), ALARM_ROW, Tell(Signal.FREE))
    assert same(after, free()._replace(standing=Standing((Cause.OPERATOR, Cause.ALARM))))
    over = Alarm(at(1900), 12, False)
    assert same(check(after, over, Tell(Signal.FREE), Record(Kind.ALARM, 0, text="over")), free())


# --- a shut lane -----------------------------------------------------------------------------------


@cell(Shut, Scanned)
def test_a_code_at_a_shut_lane_is_told_so() -> None:
    after = check(shut(), OTHER_SCAN, *refused(Verdict.SHUT))
    assert same(after, shut()._replace(shown=shows(Verdict.SHUT)))


@cell(Shut, Answered)
def test_a_late_yes_at_a_shut_lane_is_recorded_as_a_credit() -> None:
    assert same(check(shut(), YES, LATE_YES), shut())


@cell(Shut, Recorded)
def test_a_safe_row_brings_back_a_lane_that_the_disk_had_shut() -> None:
    failing = run(ready(), FAILED)
    assert same(check(failing, SAFE_ELSEWHERE, Tell(Signal.READY)), ready())
    assert same(check(shut(), SAFE_ELSEWHERE), shut())


@cell(Shut, RecordFailed)
def test_a_failing_disk_leaves_a_lane_shut_that_the_operator_shut() -> None:
    after = check(shut(), FAILED, Tell(Signal.SHUT))
    assert same(after, shut()._replace(standing=Standing(shut=(Cause.OPERATOR, Cause.JOURNAL))))


@cell(Shut, Passed)
def test_a_walk_through_a_shut_lane_is_recorded_as_unexplained() -> None:
    assert same(check(shut(), WALK, STRAY_WALK), shut())


@cell(Shut, TimeUp)
def test_an_answer_fades_to_shut_when_its_time_is_up() -> None:
    lane = run(shut(), OTHER_SCAN)
    assert same(check(lane, TimeUp(at(2599), 9)), lane)
    assert same(check(lane, TimeUp(at(2600), 9), Tell(Signal.SHUT)), shut())


@cell(Shut, Ordered)
def test_an_order_brings_a_shut_lane_back() -> None:
    assert same(check(shut(), NORMAL_ORDER, ORDER_ROW, Tell(Signal.READY)), ready())


@cell(Shut, Alarm)
def test_an_alarm_frees_a_shut_lane_and_its_end_shuts_it_again() -> None:
    after = check(shut(), ALARM, Unlock(None), ALARM_ROW, Tell(Signal.FREE))
    assert isinstance(after.state, Free)
    over = Alarm(at(1900), 12, False)
    effects = (Lock(), Tell(Signal.SHUT), Record(Kind.ALARM, 0, text="over"))
    assert same(check(after, over, *effects), shut())
