"""Scans that the vendor decides: before the ask, the answer, no answer, and an answer that comes too late."""

from typing import Any

import pytest

from firmware.core.credit import DUPLICATE_MS
from firmware.core.effects import Ask, Kind, Lock, Record, Signal, Tell, Unlock
from firmware.core.events import (
    Alarm,
    Answered,
    Cause,
    Order,
    Ordered,
    Passed,
    Recorded,
    RecordFailed,
    Scanned,
    TimeUp,
)
from firmware.core.lane import step, wake_at
from firmware.core.movements import Act, Movement
from firmware.core.rules import LAPSES_MAX
from firmware.core.states import Asking, Free, Lane, Recording, Shown, Shut
from firmware.core.ticket import (
    NO_HISTORY,
    Credit,
    Direction,
    Exits,
    History,
    Pending,
    Perimeter,
    Policy,
    Spend,
    Status,
    Ticket,
    Track,
    Verdict,
    WithoutAnswer,
)
from tests.core.samples import (
    ASKED_SCAN,
    IN,
    NO,
    NOON_MS,
    OUT,
    OUTER,
    SETUP,
    TICKET,
    VENDOR,
    YES,
    admission,
    asking,
    at,
    check,
    live,
    ready,
    recording,
    run,
    same,
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


def refused_later(history: History) -> Answered:
    """The refusal of a second ask, a minute later."""
    return NO._replace(moment=at(60_000), row=30, scan=20, history=history)


def second_ask() -> Lane:
    return asking(ASKED_SCAN._replace(moment=at(59_000), row=20))


def credit(at_ms: int, direction: Direction = IN) -> Record:
    """The row of a yes that let nobody in, as if it had come too late."""
    until_utc_ms = NOON_MS + at_ms + SETUP.credit_ms
    movement = Movement(
        Act.CREDITED, "t1", 1, direction, (OUTER,), NOON_MS + at_ms, until_utc_ms=until_utc_ms
    )
    return Record(Kind.LATE, 1, Verdict.ADMITTED, movement, text="welcome")


def test_a_yes_that_did_not_open_lets_the_person_in_at_the_next_try() -> None:
    withdrawn = asked_admission(4, 500)._replace(act=Act.VOIDED, utc_ms=NOON_MS + 900)
    void = Record(Kind.VOID, 1, Verdict.OUT_OF_ORDER, withdrawn)
    waiting = run(asking(), YES)
    check(waiting, RecordFailed(at(900), 0), void, credit(900), Tell(Signal.OUT_OF_ORDER))
    check(waiting, TimeUp(at(1500), 9), *voided_at(1500), Tell(Signal.OUT_OF_ORDER))
    _, history = live(asking(), NO_HISTORY, YES, RecordFailed(at(600), 0))
    assert history.pending == ()
    scan = ASKED_SCAN._replace(moment=at(60_000), row=20, history=history)
    lane, history = live(ready(), history, scan)
    assert isinstance(lane.state, Recording)
    assert lane.state.verdict is Verdict.ADMITTED_CREDIT
    _, history = live(lane, history, Recorded(at(60_010), 20), Passed(at(60_900), 21, IN))
    assert (history.outer.entries, history.credit) == (1, None)


def voided_at(ms: int) -> tuple[Record, Record]:
    withdrawn = asked_admission(4, 500)._replace(act=Act.VOIDED, utc_ms=NOON_MS + ms)
    return Record(Kind.VOID, 1, Verdict.OUT_OF_ORDER, withdrawn), credit(ms)


def test_a_yes_is_good_again_after_an_alarm_that_was_first() -> None:
    _, effects = step(run(asking(), YES), Alarm(at(600), 5, True))
    rows = [effect for effect in effects if isinstance(effect, Record)]
    assert [row.kind for row in rows] == [Kind.ALARM, Kind.VOID, Kind.LATE]
    assert repr(rows[2]) == repr(credit(600))


def test_a_yes_after_which_nobody_walked_is_good_again_where_the_walk_spends() -> None:
    scan = ASKED_SCAN._replace(policy=Policy(spend=Spend.PASSAGE))
    opened = (YES, Recorded(at(510), YES.row), TimeUp(at(5510), 6))
    lane, before = live(asking(scan), NO_HISTORY, *opened)
    lapsed = asked_admission(4, 500)._replace(act=Act.LAPSED, utc_ms=NOON_MS + 7010, spend=Spend.PASSAGE)
    check(lane, TimeUp(at(7010), 7), Record(Kind.LAPSE, 1, movement=lapsed), credit(7010), Tell(Signal.READY))
    _, history = live(lane, before, TimeUp(at(7010), 7))
    assert (history.lapses, history.pending, history.credit is not None) == (1, (), True)


def test_what_the_opening_spends_is_no_credit() -> None:
    opened = (YES, Recorded(at(510), YES.row), TimeUp(at(5510), 6), TimeUp(at(7010), 7))
    _, history = live(asking(), NO_HISTORY, *opened)
    assert (history.outer.entries, history.credit) == (1, None)


def test_an_admission_by_policy_that_did_not_open_is_no_credit() -> None:
    scan = ASKED_SCAN._replace(route=VENDOR._replace(without_answer=WithoutAnswer.LIST))
    _, history = live(asking(scan), NO_HISTORY, TimeUp(at(3000), 5), RecordFailed(at(3100), 0))
    assert (history.pending, history.credit) == ((), None)


def test_after_two_openings_without_a_walk_staff_looks_and_no_vendor_is_asked() -> None:
    worn = credited(1).history._replace(lapses=LAPSES_MAX)
    check(ready(), ASKED_SCAN._replace(history=worn), *scan_row(Verdict.CALL_STAFF))
    row = Record(Kind.ANSWER, 1, Verdict.CALL_STAFF)
    check(
        asking(),
        NO._replace(history=worn._replace(credit=Credit(IN, NOON_MS + 600_000))),
        row,
        Tell(Verdict.CALL_STAFF),
    )
    fewer = worn._replace(lapses=LAPSES_MAX - 1)
    check(ready(), ASKED_SCAN._replace(history=fewer), BY_CREDIT)


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


def late(verdict: Verdict, act: Act, text: str, ms: int = 500) -> Record:
    until_utc_ms = NOON_MS + ms + SETUP.credit_ms if act is Act.CREDITED else 0
    movement = Movement(act, "t1", 1, IN, (OUTER,), NOON_MS + ms, until_utc_ms=until_utc_ms)
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


# --- before the vendor is asked --------------------------------------------------------------------


def scan_row(verdict: Verdict) -> tuple[Record, Tell]:
    return Record(Kind.SCAN, 1, verdict), Tell(verdict)


def routed(**changes: Any) -> Scanned:
    return ASKED_SCAN._replace(route=VENDOR._replace(**changes))


def test_an_ask_is_recorded_before_it_is_sent() -> None:
    lane = check(ready(), ASKED_SCAN, Record(Kind.ASK, 1, wanted=True), Tell(Signal.CHECKING))
    assert same(lane.state, Recording(1, IN, 1000, b"one", scan=ASKED_SCAN, scan_row=1))
    after = check(lane, Recorded(at(10), 1), Ask(1, "acme", b"one", IN, 3000))
    assert same(after.state, Asking(ASKED_SCAN, 3000))


def test_the_vendors_time_counts_from_the_scan_and_not_from_the_disk() -> None:
    lane = run(recording(routed(deadline_ms=800)), Recorded(at(700), 1))
    assert wake_at(lane) == 800


def test_a_text_that_could_not_be_read_is_not_sent_to_a_vendor() -> None:
    check(ready(), routed()._replace(fault="too long"), *scan_row(Verdict.UNREADABLE))


def test_a_vendor_without_settings_is_not_asked_and_the_lane_says_so() -> None:
    check(ready(), routed(configured=False), *scan_row(Verdict.NOT_CONFIGURED))


def test_the_own_rules_refuse_before_the_vendor_is_asked_only_where_the_route_says_so() -> None:
    cancelled = TICKET._replace(status=Status.CANCELLED)
    scan = routed(check_first=True)
    check(ready(), scan._replace(ticket=cancelled), *scan_row(Verdict.CANCELLED))
    asks = (Record(Kind.ASK, 1, wanted=True), Tell(Signal.CHECKING))
    check(ready(), scan, *asks)
    check(ready(), scan._replace(ticket=None), *asks)
    check(ready(), routed()._replace(ticket=cancelled), *asks)


def test_what_was_let_in_or_out_a_moment_ago_is_not_asked_again_so_that_no_duplicate_comes() -> None:
    entered = History(Track(1, IN, NOON_MS))
    asks = (Record(Kind.ASK, 1, wanted=True), Tell(Signal.CHECKING))
    for history in (entered, History(pending=(Pending(9, IN, (OUTER,), NOON_MS, Spend.OPENING),))):
        scan = routed()._replace(history=history, moment=at(DUPLICATE_MS - 1))
        check(ready(), scan, *scan_row(Verdict.TOO_SOON))
        check(ready(), scan._replace(moment=at(DUPLICATE_MS)), *asks)
        check(ready(), scan._replace(direction=OUT), *asks)
    left = History(Track(1, OUT, NOON_MS - 60_000, NOON_MS))
    for history in (left, History(pending=(Pending(9, OUT, (OUTER,), NOON_MS, Spend.OPENING),))):
        scan = routed()._replace(history=history, moment=at(DUPLICATE_MS - 1), direction=OUT)
        check(ready(), scan, *scan_row(Verdict.TOO_SOON))
        check(ready(), scan._replace(moment=at(DUPLICATE_MS)), *asks)
        check(ready(), scan._replace(direction=IN), *asks)
    ahead = History(Track(1, IN, NOON_MS + 30_000))
    check(ready(), routed()._replace(history=ahead), *asks)


def test_an_admission_that_waits_for_its_walk_is_not_cancelled_by_a_duplicate_that_comes_after() -> None:
    lane, history = live(asking(), NO_HISTORY, YES, Recorded(at(510), YES.row))
    duplicate = NO._replace(scan=2, row=7, verdict=Verdict.REFUSED, text="DUPLICATE", history=history)
    doubt = Movement(Act.SURE, "t1", 2, IN, (OUTER,), NOON_MS + 500)
    after = check(lane, duplicate, Record(Kind.LATE, 2, Verdict.REFUSED, doubt, text="DUPLICATE"))
    assert same(after, lane)


# --- without an answer -----------------------------------------------------------------------------

SPENT = History(Track(1, IN, NOON_MS))
WITHDRAWN = TICKET._replace(status=Status.CANCELLED)
POLICIES = [
    (WithoutAnswer.CLOSED, IN, NO_HISTORY, TICKET, Verdict.NO_ANSWER),
    (WithoutAnswer.CLOSED, OUT, SPENT, TICKET, Verdict.NO_ANSWER),
    (WithoutAnswer.LIST, IN, NO_HISTORY, TICKET, Verdict.ADMITTED),
    (WithoutAnswer.LIST, IN, SPENT, TICKET, Verdict.USED),
    (WithoutAnswer.LIST, IN, NO_HISTORY, None, Verdict.UNKNOWN),
    (WithoutAnswer.LIST, OUT, SPENT, TICKET, Verdict.ADMITTED),
    (WithoutAnswer.OPEN_AND_UPLOAD, IN, NO_HISTORY, None, Verdict.ADMITTED_OFFLINE),
    (WithoutAnswer.OPEN_AND_UPLOAD, IN, SPENT, None, Verdict.USED),
    (WithoutAnswer.OPEN_AND_UPLOAD, OUT, SPENT, None, Verdict.ADMITTED_OFFLINE),
    (WithoutAnswer.OPEN_AND_UPLOAD, OUT, NO_HISTORY, None, Verdict.NOT_INSIDE),
    (WithoutAnswer.OPEN_AND_UPLOAD, IN, NO_HISTORY, TICKET, Verdict.ADMITTED_OFFLINE),
    (WithoutAnswer.OPEN_AND_UPLOAD, IN, NO_HISTORY, WITHDRAWN, Verdict.CANCELLED),
    (WithoutAnswer.OPEN_AND_UPLOAD, OUT, SPENT, WITHDRAWN, Verdict.ADMITTED_OFFLINE),
]


@pytest.mark.parametrize(("without_answer", "direction", "history", "ticket", "verdict"), POLICIES)
class TestPolicyDecidesAndNeverAdmitsATicketSpentHere:
    def scan(self, without_answer: WithoutAnswer, direction: Direction, ticket: Ticket | None) -> Scanned:
        policy = Policy(exits=Exits.ONLY_IF_INSIDE)
        return routed(without_answer=without_answer)._replace(
            direction=direction, ticket=ticket, policy=policy
        )

    def test_where_the_vendor_cannot_be_reached(
        self,
        without_answer: WithoutAnswer,
        direction: Direction,
        history: History,
        ticket: Ticket | None,
        verdict: Verdict,
    ) -> None:
        scan = self.scan(without_answer, direction, ticket)
        offline = scan._replace(route=scan.route._replace(reachable=False), history=history)
        if verdict.admits:
            row = Record(Kind.SCAN, 1, verdict, admission(direction=direction), wanted=True)
            check(ready(), offline, row)
        else:
            check(ready(), offline, *scan_row(verdict))

    def test_where_the_vendor_stays_silent(
        self,
        without_answer: WithoutAnswer,
        direction: Direction,
        history: History,
        ticket: Ticket | None,
        verdict: Verdict,
    ) -> None:
        lane = asking(self.scan(without_answer, direction, ticket))
        silence = TimeUp(at(3000), 5, history)
        if verdict.admits:
            opening = asked_admission(5, 3000)._replace(direction=direction)
            check(lane, silence, Record(Kind.ANSWER, 1, verdict, opening, wanted=True))
        else:
            doubt = asked_admission(1, 3000)._replace(act=Act.UNSURE, direction=direction)
            check(lane, silence, Record(Kind.ANSWER, 1, verdict, doubt), Tell(verdict))


def test_of_two_lanes_that_ask_the_same_ticket_in_vain_only_one_opens_by_the_list() -> None:
    scan = routed(without_answer=WithoutAnswer.LIST)
    first, history = live(asking(scan), NO_HISTORY, TimeUp(at(3000), 5))
    assert isinstance(first.state, Recording)
    second = run(asking(scan._replace(row=2)), TimeUp(at(3000), 6, history))
    assert second.shown
    assert second.shown.verdict is Verdict.USED


@pytest.mark.parametrize("doubt", [False, True])
def test_the_word_that_there_is_no_answer_ends_the_wait_and_the_policy_decides(doubt: bool) -> None:
    none = NO._replace(verdict=Verdict.NO_ANSWER, text="the vendor is down", doubt=doubt)
    unsure = asked_admission(1, 500)._replace(act=Act.UNSURE) if doubt else None
    row = Record(Kind.ANSWER, 1, Verdict.NO_ANSWER, unsure, text="the vendor is down")
    check(asking(), none, row, Tell(Verdict.NO_ANSWER, "the vendor is down"))
    open_and_upload = asking(routed(without_answer=WithoutAnswer.OPEN_AND_UPLOAD))
    opened = asked_admission(4, 500)
    row = Record(Kind.ANSWER, 1, Verdict.ADMITTED_OFFLINE, opened, wanted=True, text="the vendor is down")
    check(open_and_upload, none, row)


OUT_OF_REACH = NO._replace(verdict=Verdict.NO_ANSWER, text="connection refused", unreached=True)
FAILS = NO._replace(verdict=Verdict.NO_ANSWER, text="answered 503")
STRICT = routed(without_answer=WithoutAnswer.OPEN_AND_UPLOAD, unreached_only=True)


def test_where_only_a_vendor_out_of_reach_may_be_passed_over_its_failure_and_silence_open_nothing() -> None:
    unsure = asked_admission(1, 500)._replace(act=Act.UNSURE)
    for failure, doubt in ((FAILS, None), (FAILS._replace(doubt=True), unsure)):
        row = Record(Kind.ANSWER, 1, Verdict.NO_ANSWER, doubt, text="answered 503")
        check(asking(STRICT), failure, row, Tell(Verdict.NO_ANSWER, "answered 503"))
    silent = asked_admission(1, 3000)._replace(act=Act.UNSURE)
    row = Record(Kind.ANSWER, 1, Verdict.NO_ANSWER, silent)
    check(asking(STRICT), TimeUp(at(3000), 5), row, Tell(Verdict.NO_ANSWER))
    opening = Record(
        Kind.ANSWER,
        1,
        Verdict.ADMITTED_OFFLINE,
        asked_admission(4, 500),
        wanted=True,
        text="connection refused",
    )
    check(asking(STRICT), OUT_OF_REACH, opening)
    offline = STRICT._replace(route=STRICT.route._replace(reachable=False))
    check(ready(), offline, Record(Kind.SCAN, 1, Verdict.ADMITTED_OFFLINE, admission(), wanted=True))


def test_a_list_or_a_closed_lane_has_the_same_word_whether_a_vendor_fails_or_is_out_of_reach() -> None:
    for policy, admits in ((WithoutAnswer.LIST, True), (WithoutAnswer.CLOSED, False)):
        for none in (FAILS, OUT_OF_REACH):
            lane = run(asking(routed(without_answer=policy, unreached_only=True)), none)
            assert isinstance(lane.state, Recording) is admits


def test_the_word_that_there_is_no_answer_says_nothing_of_a_scan_that_is_over() -> None:
    none = NO._replace(verdict=Verdict.NO_ANSWER, text="the vendor is down", doubt=True)
    check(ready(), none, Record(Kind.LATE, 1, Verdict.NO_ANSWER, text="the vendor is down"))


def test_a_late_yes_credits_no_ticket_that_entered_elsewhere_after_the_ask() -> None:
    for entered_ms, act in ((NOON_MS + 300, Act.SURE), (NOON_MS - 1, Act.CREDITED)):
        history = History(Track(1, IN, entered_ms))
        check(
            ready(),
            YES._replace(history=history, asked_utc_ms=NOON_MS),
            late(Verdict.ADMITTED, act, "welcome"),
        )


# --- the answer ------------------------------------------------------------------------------------


def test_a_no_in_time_is_shown_with_the_vendors_words() -> None:
    row = Record(Kind.ANSWER, 1, Verdict.USED, text="was here")
    after = check(asking(), NO, row, Tell(Verdict.USED, "was here"))
    assert same(after, ready()._replace(shown=Shown(b"one", Verdict.USED, "was here", 3000, IN)))


def test_a_refusal_after_our_own_time_out_calls_staff_until_the_doubt_ends() -> None:
    unsure = History(unsure_until_utc_ms=NOON_MS + 501)
    row = Record(Kind.ANSWER, 1, Verdict.CALL_STAFF, text="was here")
    check(asking(), NO._replace(history=unsure), row, Tell(Verdict.CALL_STAFF, "was here"))
    over = NO._replace(history=History(unsure_until_utc_ms=NOON_MS + 500))
    check(asking(), over, Record(Kind.ANSWER, 1, Verdict.USED, text="was here"), Tell(NO.verdict, "was here"))


def test_a_refusal_that_may_be_about_our_own_ask_calls_staff_and_so_does_the_next_one() -> None:
    echo = NO._replace(doubt=True)
    unsure = asked_admission(1, 500)._replace(act=Act.UNSURE)
    row = Record(Kind.ANSWER, 1, Verdict.CALL_STAFF, unsure, text="was here")
    check(asking(), echo, row, Tell(Verdict.CALL_STAFF, "was here"))
    _, history = live(asking(), NO_HISTORY, echo)
    row = Record(Kind.ANSWER, 20, Verdict.CALL_STAFF, text=NO.text)
    check(second_ask(), refused_later(history), row, Tell(Verdict.CALL_STAFF, NO.text))


def test_such_a_refusal_that_comes_late_ends_no_doubt() -> None:
    lane, history = live(asking(), NO_HISTORY, TimeUp(at(3000), 5))
    echo = NO._replace(doubt=True, history=history)
    check(lane, echo, Record(Kind.LATE, 1, NO.verdict, text=NO.text))
    _, after = live(lane, history, echo)
    assert after == history
    row = Record(Kind.ANSWER, 20, Verdict.CALL_STAFF, text=NO.text)
    check(second_ask(), refused_later(after), row, Tell(Verdict.CALL_STAFF, NO.text))


def test_a_yes_is_a_yes_whatever_stands_beside_it() -> None:
    lane, effects = step(asking(), YES._replace(doubt=True))
    assert (lane, effects) == step(asking(), YES)
    check(ready(), YES._replace(doubt=True), late(Verdict.ADMITTED, Act.CREDITED, "welcome"))


def after_the_silence(lane: Lane, answer: Answered) -> tuple[Lane, list[str]]:
    """The lane and all effects, where the time was up first."""
    silent, first = step(lane, TimeUp(answer.moment, answer.row, answer.history))
    after, then = step(silent, answer)
    return after, list(map(repr, first + then))


@pytest.mark.parametrize("without_answer", WithoutAnswer)
@pytest.mark.parametrize("verdict", [Verdict.ADMITTED, Verdict.USED])
def test_an_answer_that_is_handed_over_when_the_time_is_up_came_too_late(
    without_answer: WithoutAnswer, verdict: Verdict
) -> None:
    lane = asking(routed(without_answer=without_answer))
    for order in ((), (Ordered(at(20), 3, Order.SHUT, Cause.OPERATOR, IN),)):
        asked = run(lane, *order)
        for moment in (at(3000), at(9000)):
            answer = YES._replace(moment=moment, verdict=verdict, asked_utc_ms=NOON_MS)
            after, effects = step(asked, answer)
            expected, rows = after_the_silence(asked, answer)
            assert same(after, expected)
            assert list(map(repr, effects)) == rows
            assert any(isinstance(each, Record) and each.kind is Kind.LATE for each in effects)
        in_time, effects = step(asked, YES._replace(moment=at(2999), verdict=verdict))
        assert not any(isinstance(each, Record) and each.kind is Kind.LATE for each in effects)
        assert isinstance(in_time.state, Recording) is verdict.admits


def test_the_word_that_there_is_no_answer_is_never_late_and_says_whether_there_is_a_doubt() -> None:
    for moment in (at(2999), at(3000)):
        none = NO._replace(verdict=Verdict.NO_ANSWER, moment=moment)
        check(asking(), none, Record(Kind.ANSWER, 1, none.verdict, text=NO.text), Tell(none.verdict, NO.text))


def test_a_yes_that_comes_when_the_time_is_up_is_good_at_the_next_try() -> None:
    lane, history = live(asking(), NO_HISTORY, YES._replace(moment=at(3000)))
    assert lane.shown is not None
    assert lane.shown.verdict is Verdict.NO_ANSWER
    assert history == History(credit=Credit(IN, NOON_MS + 3000 + SETUP.credit_ms))
    lane, history = live(asking(), NO_HISTORY, NO._replace(moment=at(3000)))
    assert history == NO_HISTORY, "the vendor said no to that very ask, so it spent nothing"


def test_a_yes_that_comes_twice_opens_once_and_is_no_credit() -> None:
    waiting, history = live(asking(), NO_HISTORY, YES)
    again = YES._replace(moment=at(505), row=5, history=history)
    after = check(waiting, again, late(Verdict.ADMITTED, Act.SURE, "welcome", 505))
    assert same(after, waiting)
    lane, history = live(after, history, again, Recorded(at(510), YES.row))
    assert history.credit is None
    check(lane, Recorded(at(511), YES.row))
    void = (*voided_at(900), Tell(Signal.OUT_OF_ORDER))
    check(after, RecordFailed(at(900), 0), *void)


def test_an_answer_to_another_scan_does_not_decide_this_one() -> None:
    other = YES._replace(scan=77)
    credit = Movement(Act.CREDITED, "t1", 77, IN, (OUTER,), NOON_MS + 500, until_utc_ms=NOON_MS + 600_500)
    row = Record(Kind.LATE, 77, Verdict.ADMITTED, credit, text="welcome")
    assert same(check(asking(), other, row), asking())


def test_the_rows_of_an_asked_scan_all_carry_its_id() -> None:
    lane = run(asking(), YES, Recorded(at(510), 4))
    walk = asked_admission(4, 500)._replace(act=Act.PASSED, utc_ms=NOON_MS + 900)
    effects = (Record(Kind.PASSAGE, 1, movement=walk), Lock(), Tell(Signal.READY))
    check(lane, Passed(at(900), 6, IN), *effects)
    check(run(asking(), YES), RecordFailed(at(900), 0), *voided_at(900), Tell(Signal.OUT_OF_ORDER))


def test_a_late_no_ends_the_doubt_whether_the_scan_had_opened_or_not() -> None:
    for was_open in (False, True):
        check(ready(), NO._replace(opened=was_open), late(Verdict.USED, Act.SURE, "was here"))


def test_an_order_that_came_during_the_ask_takes_effect_after_a_refusal() -> None:
    row = Record(Kind.ANSWER, 1, Verdict.USED, text="was here")
    freed = run(asking(), Ordered(at(20), 3, Order.FREE, Cause.OPERATOR, IN))
    after = check(freed, NO, row, Tell(Verdict.USED, "was here"), Unlock(None))
    assert isinstance(after.state, Free)
    check(after, TimeUp(at(3000), 9), Tell(Signal.FREE))
    halted = run(asking(), Ordered(at(20), 3, Order.SHUT, Cause.OPERATOR, IN))
    after = check(halted, NO, row, Tell(Verdict.USED, "was here"))
    assert isinstance(after.state, Shut)
    check(after, TimeUp(at(3000), 9), Tell(Signal.SHUT))


# --- credit ----------------------------------------------------------------------------------------


def credited(until_ms: int, direction: Direction = IN) -> Scanned:
    return ASKED_SCAN._replace(history=History(credit=Credit(direction, NOON_MS + until_ms)))


ASKS = (Record(Kind.ASK, 1, wanted=True), Tell(Signal.CHECKING))
BY_CREDIT = Record(Kind.SCAN, 1, Verdict.ADMITTED_CREDIT, admission(), wanted=True)


def test_a_credit_admits_without_asking_until_its_end() -> None:
    check(ready(), credited(1), BY_CREDIT)
    check(ready(), credited(0), *ASKS)


def test_a_credit_admits_while_the_vendor_cannot_be_reached() -> None:
    check(ready(), credited(1)._replace(route=VENDOR._replace(reachable=False)), BY_CREDIT)


def test_a_credit_is_good_for_its_own_direction() -> None:
    check(ready(), credited(1, OUT), *ASKS)


def test_a_credit_of_the_outer_ring_opens_no_inner_lane_and_the_other_way_round() -> None:
    inner = ready()._replace(setup=SETUP._replace(perimeter=Perimeter.INNER))
    check(inner, credited(1), *ASKS)
    of_the_inner = Credit(IN, NOON_MS + 1, Perimeter.INNER)
    check(ready(), ASKED_SCAN._replace(history=History(credit=of_the_inner)), *ASKS)
    lane, effects = step(inner, ASKED_SCAN._replace(history=History(credit=of_the_inner)))
    assert isinstance(lane.state, Recording)
    assert [e.verdict for e in effects if isinstance(e, Record)] == [Verdict.ADMITTED_CREDIT]


def test_a_credit_admits_also_where_the_device_is_not_configured_yet() -> None:
    check(ready(), credited(1)._replace(route=VENDOR._replace(configured=False)), BY_CREDIT)


@pytest.mark.parametrize("verdict", [Verdict.NO_ANSWER, Verdict.CALL_STAFF])
def test_a_credit_admits_also_while_the_refusal_of_before_is_still_shown(verdict: Verdict) -> None:
    shows = ready()._replace(shown=Shown(b"one", verdict, "", 3000, IN))
    check(shows, ASKED_SCAN, Tell(verdict))
    check(shows, credited(1), BY_CREDIT)


def test_a_credit_is_not_used_twice_at_once() -> None:
    _, history = live(ready(), credited(1).history, credited(1))
    assert history.credit
    later = ASKED_SCAN._replace(history=history, moment=at(DUPLICATE_MS))
    ask = Recording(1, IN, DUPLICATE_MS + 1000, b"one", scan=later, scan_row=1)
    assert same(check(ready(), later, *ASKS).state, ask)


def test_a_credit_is_used_up_by_the_walk_and_kept_where_the_lane_did_not_open() -> None:
    lane, history = live(ready(), credited(1).history, credited(1))
    _, kept = live(lane, history, RecordFailed(at(20), 0))
    assert kept.credit
    _, used = live(lane, history, Recorded(at(10), 1), Passed(at(900), 6, IN))
    assert used.credit is None


def test_a_credit_is_kept_after_a_lapse_where_the_walk_spends() -> None:
    scan = credited(1)._replace(policy=Policy(spend=Spend.PASSAGE))
    lapse = (Recorded(at(10), 1), TimeUp(at(5010), 6), TimeUp(at(6510), 7))
    _, kept = live(ready(), scan.history, scan, *lapse)
    assert (kept.credit is not None, kept.lapses) == (True, 1)
