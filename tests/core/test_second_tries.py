"""Who comes back: after an opening without a walk, with a copied code, or with a code listed since."""

from functools import reduce

import pytest

from firmware.core.credit import DOUBT_MS, is_unsure
from firmware.core.effects import Kind, Record, Signal, Tell
from firmware.core.events import Event, Passed, Recorded, Scanned, TimeUp, elsewhere, named
from firmware.core.lane import GRACE_MS, step
from firmware.core.movements import Act, Movement, fold, joined
from firmware.core.rules import LAPSES_MAX
from firmware.core.states import Lane, Ready
from firmware.core.ticket import (
    NO_HISTORY,
    Credit,
    Direction,
    History,
    Policy,
    Route,
    Spend,
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
    SCAN,
    SETUP,
    VENDOR,
    YES,
    asking,
    at,
    check,
    free,
    live,
    ready,
    run,
)

BY_LIST = ASKED_SCAN._replace(
    route=VENDOR._replace(without_answer=WithoutAnswer.LIST), policy=Policy(spend=Spend.PASSAGE)
)


def first_row(lane: Lane, event: Event) -> Record:
    """Which comes first of all effects."""
    row = step(lane, event)[1][0]
    assert isinstance(row, Record)
    return row


def lapse(lane: Lane, history: History, from_ms: int, row: int) -> tuple[Lane, History]:
    """Nobody walks."""
    ends_ms = from_ms + SETUP.unlock_ms
    later_ms = ends_ms + SETUP.relock_ms + GRACE_MS
    return live(lane, history, TimeUp(at(ends_ms), row), TimeUp(at(later_ms), row + 1))


# --- a late yes, and an opening that lapsed -------------------------------------------------------


@pytest.mark.parametrize("late", ["while it is open", "after it has lapsed"])
def test_a_late_yes_to_what_policy_opened_for_nobody_is_a_credit(late: str) -> None:
    lane, history = live(asking(BY_LIST), NO_HISTORY, TimeUp(at(3000), 5), Recorded(at(3010), 5))
    yes = YES._replace(opened=True)
    if late == "while it is open":
        lane, history = live(lane, history, yes._replace(moment=at(4000), row=6, history=history))
        assert history.credit is None
    lane, history = lapse(lane, history, 3010, 7)
    if late == "after it has lapsed":
        lane, history = live(lane, history, yes._replace(moment=at(15_000), row=9, history=history))
    assert (history.lapses, history.credit is not None) == (1, True)
    scan = BY_LIST._replace(moment=at(20_000), row=20, history=history)
    _, history = live(ready(), history, scan)
    assert [each.row for each in history.pending] == [20]


def test_a_late_yes_to_what_policy_opened_and_somebody_used_is_no_credit() -> None:
    lane, history = live(asking(BY_LIST), NO_HISTORY, TimeUp(at(3000), 5), Recorded(at(3010), 5))
    lane, history = live(lane, history, Passed(at(3500), 6, IN))
    yes = YES._replace(opened=True, moment=at(4000), row=7, history=history)
    _, history = live(lane, history, yes)
    assert history.credit is None


def test_after_two_openings_without_a_walk_staff_looks_before_a_vendor_is_asked() -> None:
    scan = ASKED_SCAN._replace(history=History(lapses=LAPSES_MAX))
    row = first_row(ready(), scan)
    assert (row.kind, row.verdict) == (Kind.SCAN, Verdict.CALL_STAFF)
    out = scan._replace(direction=OUT)
    row = first_row(ready(), out)
    assert row.kind is Kind.ASK, "nobody is held inside for it"


# --- doubt ----------------------------------------------------------------------------------------


def test_a_doubt_lasts_also_where_a_late_yes_is_good_for_nothing() -> None:
    setup = SETUP._replace(credit_ms=0)
    lane, history = live(asking(ASKED_SCAN, setup), NO_HISTORY, TimeUp(at(3000), 5))
    assert history.unsure_until_utc_ms == NOON_MS + 3000 + DOUBT_MS
    again = ASKED_SCAN._replace(moment=at(10_000), row=20, history=history)
    assert is_unsure(again)
    lane = asking(again, setup)
    no = NO._replace(moment=at(11_000), row=21, scan=20, history=history)
    row = first_row(lane, no)
    assert row.verdict is Verdict.CALL_STAFF


# --- a lane that is free --------------------------------------------------------------------------


def test_at_a_free_lane_the_next_person_with_that_code_has_a_row_of_his_own() -> None:
    lane = run(free(), SCAN)
    again = SCAN._replace(moment=at(1100), row=4)
    _, effects = step(lane, again)
    assert not [each for each in effects if isinstance(each, Record)], "it is the same person"
    walked = check(lane, Passed(at(600), 3, IN), Record(Kind.PASSAGE, 0), Tell(Signal.FREE))
    row = first_row(walked, again)
    assert (row.kind, row.verdict) == (Kind.SCAN, Verdict.FREE)
    other_way = run(lane, Passed(at(600), 3, OUT))
    assert other_way.shown is not None


# --- a code that was listed since -----------------------------------------------------------------


def moved(act: Act, row: int, ms: int, direction: Direction = IN) -> Movement:
    return Movement(act, "t1", row, direction, (OUTER,), NOON_MS + ms)


def test_what_was_let_in_before_it_was_listed_is_used() -> None:
    before = reduce(fold, (moved(Act.OPENED, 3, 5), moved(Act.PASSED, 3, 9)), NO_HISTORY)
    row = first_row(ready(), SCAN._replace(history=joined(NO_HISTORY, before)))
    assert row.verdict is Verdict.USED


def test_who_left_after_it_was_listed_is_outside() -> None:
    before = reduce(fold, (moved(Act.OPENED, 3, 5), moved(Act.PASSED, 3, 9)), NO_HISTORY)
    left = reduce(fold, (moved(Act.OPENED, 8, 50, OUT), moved(Act.PASSED, 8, 60, OUT)), NO_HISTORY)
    found = joined(left, before)
    assert (found.outer, found.settled_row) == (Track(1, OUT, NOON_MS + 5, NOON_MS + 50), 8)


def test_a_credit_of_before_is_good_once() -> None:
    credit = Credit(IN, NOON_MS + 600_000)
    before = History(credit=credit, unsure_until_utc_ms=NOON_MS + 9, unsure_row=2, lapses=1)
    assert joined(NO_HISTORY, before) == before
    used = reduce(fold, (moved(Act.OPENED, 5, 10), moved(Act.PASSED, 5, 12)), NO_HISTORY)
    assert joined(used, before) == used
    assert joined(NO_HISTORY, NO_HISTORY) == NO_HISTORY


# --- what a vendor is asked about -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("ticket", "policy", "asked"),
    [
        (Ticket("t", event="a", session="1"), Policy(), ("a", "1")),
        (Ticket("t", event="a", session="1"), Policy("a", sessions=("1", "2")), ("a", "1")),
        (Ticket("t", event="a", session="3"), Policy("a", sessions=("1", "2")), ("a", "1")),
        (Ticket("t", event="b", session="3"), Policy("a", served=False, sessions=("1",)), ("a", "1")),
        (Ticket("t", event="b", session="3"), Policy(served=False), ("b", "3")),
        (Ticket("t", event="a"), Policy("a", sessions=("", "2")), ("a", "")),
        (None, Policy("a", served=False, sessions=("1",)), ("a", "1")),
        (None, Policy("a", served=False, sessions=("1", "2")), ("a", "")),
        (None, Policy(), ("", "")),
    ],
)
def test_a_vendor_is_asked_about_the_event_and_session_that_the_gate_lets_in(
    ticket: Ticket | None, policy: Policy, asked: tuple[str, str]
) -> None:
    scan: Scanned = ASKED_SCAN._replace(ticket=ticket, policy=policy)
    assert named(scan) == asked


def test_on_the_way_out_a_vendor_is_asked_about_the_tickets_own_session() -> None:
    ticket = Ticket("t", event="b", session="3")
    scan = ASKED_SCAN._replace(ticket=ticket, policy=Policy("a", served=False, sessions=("1",)))
    assert named(scan._replace(direction=OUT)) == ("b", "3")
    assert named(scan._replace(direction=OUT, ticket=None)) == ("a", "1")


@pytest.mark.parametrize("route", [VENDOR, VENDOR._replace(without_answer=WithoutAnswer.OPEN_AND_UPLOAD)])
@pytest.mark.parametrize("reachable", [True, False])
def test_a_gate_of_several_events_asks_nobody_about_a_ticket_of_another(
    route: Route, reachable: bool
) -> None:
    several, route = Policy(served=False), route._replace(reachable=reachable)
    scan = ASKED_SCAN._replace(ticket=Ticket("t", event="b"), policy=several, route=route)
    credited = History(credit=Credit(IN, NOON_MS + 60_000))  # given elsewhere: here nobody was asked
    for history in (NO_HISTORY, credited):
        lane, effects = step(ready(), scan._replace(history=history))
        assert (lane.state, effects[-1]) == (Ready(), Tell(Verdict.WRONG_EVENT))
    asked = [
        scan._replace(direction=OUT),
        scan._replace(ticket=None),
        scan._replace(policy=Policy("a", False)),
    ]
    assert not any(elsewhere(each) for each in asked)


def test_the_event_of_the_route_stands_for_codes_of_no_list() -> None:
    route = VENDOR._replace(event="r")
    assert named(ASKED_SCAN._replace(ticket=None, route=route, policy=Policy("a"))) == ("r", "")
    assert named(ASKED_SCAN._replace(ticket=Ticket("t", event="a"), route=route)) == ("a", "")
