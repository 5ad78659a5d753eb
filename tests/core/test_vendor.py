from functools import reduce

from firmware.core.effects import Kind, Record, Tell
from firmware.core.events import Answered, Event, Passed, Recorded, RecordFailed, TimeUp
from firmware.core.lane import step
from firmware.core.movements import Act, Movement, fold
from firmware.core.states import Lane
from firmware.core.ticket import NO_HISTORY, Credit, History, Policy, Spend, Verdict, WithoutAnswer
from tests.core.samples import (
    ASKED_SCAN,
    IN,
    NO,
    NOON_MS,
    OUTER,
    SETUP,
    YES,
    admission,
    asking,
    at,
    check,
    ready,
)

CREDITED = History(credit=Credit(IN, NOON_MS + 600_000))


def asked_admission(row: int, ms: int) -> Movement:
    """An admission after an ask: the doubt lasts as long as a credit would."""
    return admission(row)._replace(utc_ms=NOON_MS + ms, until_utc_ms=NOON_MS + ms + SETUP.credit_ms)


def test_a_refusal_is_outweighed_by_a_credit_that_came_meanwhile() -> None:
    opened = asked_admission(NO.row, 500)
    row = Record(Kind.ANSWER, 1, Verdict.ADMITTED_CREDIT, opened, wanted=True)
    check(asking(), NO._replace(history=CREDITED), row)


def test_a_silence_is_outweighed_by_a_credit_that_came_meanwhile() -> None:
    opened = asked_admission(5, 3000)
    row = Record(Kind.ANSWER, 1, Verdict.ADMITTED_CREDIT, opened, wanted=True)
    check(asking(), TimeUp(at(3000), 5, CREDITED), row)


def live(lane: Lane, history: History, *events: Event) -> tuple[Lane, History]:
    """The lane, and what is known of its ticket, after those events."""
    for event in events:
        lane, effects = step(lane, event)
        records = (e for e in effects if isinstance(e, Record))
        history = reduce(fold, (r.movement for r in records if r.movement), history)
    return lane, history


def refused_later(history: History) -> Answered:
    """The refusal of a second ask, a minute later."""
    return NO._replace(moment=at(60_000), row=30, scan=20, history=history)


def second_ask() -> Lane:
    return asking(ASKED_SCAN._replace(moment=at(59_000), row=20))


def test_a_yes_that_did_not_open_calls_staff_when_the_vendor_says_used() -> None:
    _, history = live(asking(), NO_HISTORY, YES, RecordFailed(at(600), 0))
    assert history.pending == ()
    row = Record(Kind.ANSWER, 20, Verdict.CALL_STAFF, text=NO.text)
    check(second_ask(), refused_later(history), row, Tell(Verdict.CALL_STAFF, NO.text))


def test_a_lapsed_opening_after_a_silence_calls_staff_when_the_vendor_says_used() -> None:
    route = ASKED_SCAN.route._replace(without_answer=WithoutAnswer.LIST)
    scan = ASKED_SCAN._replace(route=route, policy=Policy(spend=Spend.PASSAGE))
    silence = (TimeUp(at(3000), 5), Recorded(at(3005), 5), TimeUp(at(8005), 6), TimeUp(at(9505), 7))
    _, history = live(asking(scan), NO_HISTORY, *silence)
    assert history.lapses == 1
    row = Record(Kind.ANSWER, 20, Verdict.CALL_STAFF, text=NO.text)
    check(second_ask(), refused_later(history), row, Tell(Verdict.CALL_STAFF, NO.text))


def test_a_copy_of_a_ticket_that_is_being_let_in_is_used_and_nothing_else() -> None:
    lane, history = live(asking(), NO_HISTORY, YES)
    assert len(history.pending) == 1
    row = Record(Kind.ANSWER, 20, Verdict.USED, text=NO.text)
    check(second_ask(), refused_later(history), row, Tell(Verdict.USED, NO.text))
    _, history = live(lane, history, Recorded(at(510), YES.row), Passed(at(900), 6, IN))
    assert history.outer.entries == 1
    check(second_ask(), refused_later(history), row, Tell(Verdict.USED, NO.text))


def late(verdict: Verdict, act: Act, text: str) -> Record:
    until_utc_ms = NOON_MS + 500 + SETUP.credit_ms if act is Act.CREDITED else 0
    movement = Movement(act, "t1", 1, IN, (OUTER,), NOON_MS + 500, until_utc_ms=until_utc_ms)
    return Record(Kind.LATE, 1, verdict, movement, text=text)


def test_a_late_yes_is_credited_once_however_often_it_comes() -> None:
    _, history = live(ready(), NO_HISTORY, YES)
    assert history.credit
    scan = ASKED_SCAN._replace(row=20, history=history)
    lane, history = live(ready(), history, scan, Recorded(at(10), 20), Passed(at(900), 21, IN))
    assert (history.outer.entries, history.credit) == (1, None)
    check(lane, YES._replace(history=history), late(Verdict.ADMITTED, Act.SURE, "welcome"))


def test_a_late_yes_credits_no_ticket_that_another_lane_let_in_meanwhile() -> None:
    history = History(settled_row=2)
    check(ready(), YES._replace(history=history), late(Verdict.ADMITTED, Act.SURE, "welcome"))
    history = History(settled_row=0)
    check(ready(), YES._replace(history=history), late(Verdict.ADMITTED, Act.CREDITED, "welcome"))
