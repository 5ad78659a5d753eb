"""Each rule by itself, on both sides of its bound, and the order in which they are asked."""

from itertools import product

import pytest

from firmware.core.events import Scanned
from firmware.core.rules import LAPSES_MAX, judge
from firmware.core.ticket import (
    ADMITTING,
    NO_HISTORY,
    Choice,
    Credit,
    Direction,
    Exits,
    History,
    Moment,
    Pending,
    Perimeter,
    Policy,
    Proof,
    Reentry,
    Spend,
    Status,
    Ticket,
    Track,
    Verdict,
)
from tests.core.samples import IN, INNER, NOON_MS, OUT, OUTER, SCAN, SETUP, TICKET, VENDOR

WITHOUT_TICKET = SCAN._replace(ticket=None, subject="one")
INSIDE = History(Track(1, IN, NOON_MS))
LEFT = History(Track(1, OUT, NOON_MS))
HOUR_MS = 3_600_000


def entry(ticket: Ticket = TICKET, policy: Policy = SCAN.policy, history: History = NO_HISTORY) -> Scanned:
    return SCAN._replace(ticket=ticket, policy=policy, history=history)


def way_out(policy: Policy = SCAN.policy, history: History = NO_HISTORY) -> Scanned:
    return SCAN._replace(direction=OUT, policy=policy, history=history)


def at_utc(scan: Scanned, utc_ms: int, trusted: bool = True) -> Scanned:
    return scan._replace(moment=Moment(0, utc_ms, trusted))


def pending(direction: Direction, perimeter: Perimeter = OUTER, utc_ms: int = NOON_MS) -> History:
    return History(pending=(Pending(7, direction, (perimeter,), utc_ms, Spend.OPENING),))


# --- known -----------------------------------------------------------------------------------------


def test_a_listed_ticket_is_admitted() -> None:
    assert judge(SETUP, SCAN) is Verdict.ADMITTED


def test_a_text_that_could_not_be_read_is_refused_before_all_else() -> None:
    assert judge(SETUP, SCAN._replace(fault="too long")) is Verdict.UNREADABLE
    assert judge(SETUP, WITHOUT_TICKET._replace(fault="too long")) is Verdict.UNREADABLE


def test_a_code_on_no_list_is_unknown() -> None:
    assert judge(SETUP, WITHOUT_TICKET) is Verdict.UNKNOWN


def test_a_signed_code_on_no_list_is_admitted_only_where_the_operator_allows_it() -> None:
    signed = WITHOUT_TICKET._replace(proof=Proof.VALID)
    assert judge(SETUP, signed) is Verdict.UNLISTED
    allowed = signed._replace(policy=Policy(unlisted=Choice.ADMIT))
    assert judge(SETUP, allowed) is Verdict.ADMITTED_UNLISTED


@pytest.mark.parametrize("unlisted", Choice)
def test_a_forged_signature_is_refused_whatever_the_operator_allows(unlisted: Choice) -> None:
    forged = WITHOUT_TICKET._replace(proof=Proof.FORGED, policy=Policy(unlisted=unlisted))
    assert judge(SETUP, forged) is Verdict.FORGED


@pytest.mark.parametrize("proof", [Proof.NONE, Proof.VALID, Proof.FORGED, Proof.OTHER_EVENT])
def test_a_listed_code_needs_no_signature(proof: Proof) -> None:
    assert judge(SETUP, SCAN._replace(proof=proof)) is Verdict.ADMITTED


@pytest.mark.parametrize(
    ("proof", "verdict"), [(Proof.LACKING, Verdict.FORGED), (Proof.NO_KEY, Verdict.NOT_CONFIGURED)]
)
@pytest.mark.parametrize("scan", [SCAN, WITHOUT_TICKET])
def test_where_every_code_must_be_signed_one_that_is_not_proved_is_refused_listed_or_not(
    scan: Scanned, proof: Proof, verdict: Verdict
) -> None:
    policy = Policy(unlisted=Choice.ADMIT)
    assert judge(SETUP, scan._replace(proof=proof, policy=policy)) is verdict


@pytest.mark.parametrize("proof", Proof)
def test_nobody_who_is_listed_is_held_inside_for_a_signature(proof: Proof) -> None:
    assert judge(SETUP, SCAN._replace(direction=OUT, proof=proof)) is Verdict.ADMITTED


@pytest.mark.parametrize("direction", [IN, OUT])
@pytest.mark.parametrize("unlisted", Choice)
def test_a_signed_code_that_names_another_event_is_none_of_this_one(
    unlisted: Choice, direction: Direction
) -> None:
    scan = WITHOUT_TICKET._replace(
        proof=Proof.OTHER_EVENT, direction=direction, policy=Policy(unlisted=unlisted)
    )
    assert judge(SETUP, scan) is Verdict.WRONG_EVENT


def test_a_code_on_no_list_is_the_vendors_to_know() -> None:
    assert judge(SETUP, WITHOUT_TICKET._replace(route=VENDOR)) is Verdict.ADMITTED


def test_an_old_list_refuses_entries_where_the_operator_minds() -> None:
    old, minds = SCAN._replace(stale=True), Policy(catalogue_stale=Choice.REFUSE)
    assert judge(SETUP, old) is Verdict.ADMITTED
    assert judge(SETUP, old._replace(policy=minds)) is Verdict.CATALOGUE_STALE
    assert judge(SETUP, SCAN._replace(policy=minds)) is Verdict.ADMITTED
    assert judge(SETUP, WITHOUT_TICKET._replace(stale=True, policy=minds)) is Verdict.UNKNOWN


# --- the list's own word ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (Status.VALID, Verdict.ADMITTED),
        (Status.CANCELLED, Verdict.CANCELLED),
        (Status.REFUNDED, Verdict.REFUNDED),
        (Status.BLOCKED, Verdict.BLOCKED),
        (Status.UNSOLD, Verdict.NOT_SOLD),
        (Status.USED, Verdict.USED),
    ],
)
def test_a_ticket_is_judged_by_its_status(status: Status, verdict: Verdict) -> None:
    assert judge(SETUP, entry(TICKET._replace(status=status))) is verdict


def test_an_unsold_code_is_admitted_under_its_own_verdict_where_the_operator_allows_it() -> None:
    unsold = TICKET._replace(status=Status.UNSOLD)
    assert judge(SETUP, entry(unsold, Policy(unsold=Choice.ADMIT))) is Verdict.ADMITTED_UNSOLD


# --- event and session -----------------------------------------------------------------------------


def test_an_event_that_is_not_played_here_is_refused() -> None:
    assert judge(SETUP, entry(policy=Policy(served=False))) is Verdict.WRONG_EVENT


@pytest.mark.parametrize(
    ("session", "sessions", "verdict"),
    [
        ("evening", (), Verdict.ADMITTED),
        ("", (), Verdict.ADMITTED),
        ("evening", ("matinee", "evening"), Verdict.ADMITTED),
        ("evening", ("matinee",), Verdict.WRONG_SESSION),
        ("", ("matinee",), Verdict.WRONG_SESSION),
        ("", ("matinee", ""), Verdict.ADMITTED),
        ("evening", ("",), Verdict.WRONG_SESSION),
    ],
)
def test_a_ticket_is_admitted_to_its_own_session(
    session: str, sessions: tuple[str, ...], verdict: Verdict
) -> None:
    assert judge(SETUP, entry(TICKET._replace(session=session), Policy(sessions=sessions))) is verdict


def test_a_signed_code_on_no_list_is_held_to_its_event_and_to_nothing_that_only_a_list_says() -> None:
    signed = WITHOUT_TICKET._replace(proof=Proof.VALID)
    setup = SETUP._replace(sectors=("A",), types=("vip",))
    policy = Policy(unlisted=Choice.ADMIT, sessions=("matinee",))
    assert judge(setup, signed._replace(policy=policy)) is Verdict.ADMITTED_UNLISTED
    assert judge(setup, signed._replace(policy=policy._replace(served=False))) is Verdict.WRONG_EVENT


# --- dates -----------------------------------------------------------------------------------------

DATED = TICKET._replace(valid_from_ms=NOON_MS, valid_until_ms=NOON_MS + HOUR_MS)


@pytest.mark.parametrize(
    ("utc_ms", "verdict"),
    [
        (NOON_MS - 1, Verdict.TOO_EARLY),
        (NOON_MS, Verdict.ADMITTED),
        (NOON_MS + HOUR_MS, Verdict.ADMITTED),
        (NOON_MS + HOUR_MS + 1, Verdict.TOO_LATE),
    ],
)
def test_both_dates_of_a_ticket_are_inclusive(utc_ms: int, verdict: Verdict) -> None:
    assert judge(SETUP, at_utc(entry(DATED), utc_ms)) is verdict


@pytest.mark.parametrize(
    ("ticket", "utc_ms", "verdict"),
    [
        (DATED._replace(valid_until_ms=None), NOON_MS - 1, Verdict.TOO_EARLY),
        (DATED._replace(valid_until_ms=None), NOON_MS + 1000 * HOUR_MS, Verdict.ADMITTED),
        (DATED._replace(valid_from_ms=None), 0, Verdict.ADMITTED),
        (DATED._replace(valid_from_ms=None), NOON_MS + HOUR_MS + 1, Verdict.TOO_LATE),
        (TICKET, 0, Verdict.ADMITTED),
    ],
)
def test_a_date_that_is_missing_bounds_nothing(ticket: Ticket, utc_ms: int, verdict: Verdict) -> None:
    assert judge(SETUP, at_utc(entry(ticket), utc_ms)) is verdict


@pytest.mark.parametrize("utc_ms", [NOON_MS - 1, NOON_MS, NOON_MS + HOUR_MS + 1])
def test_dates_are_skipped_while_the_clock_is_not_trusted_or_refused_by_policy(utc_ms: int) -> None:
    scan = at_utc(entry(DATED), utc_ms, trusted=False)
    assert judge(SETUP, scan) is Verdict.ADMITTED
    refusing = scan._replace(policy=Policy(clock_untrusted=Choice.REFUSE))
    assert judge(SETUP, refusing) is Verdict.CLOCK_UNTRUSTED


def test_a_ticket_without_dates_needs_no_clock() -> None:
    refusing = Policy(clock_untrusted=Choice.REFUSE)
    assert judge(SETUP, at_utc(entry(policy=refusing), 0, trusted=False)) is Verdict.ADMITTED
    one_sided = entry(DATED._replace(valid_from_ms=None), refusing)
    assert judge(SETUP, at_utc(one_sided, 0, trusted=False)) is Verdict.CLOCK_UNTRUSTED


# --- place -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "served", "kept"),
    [
        ("A", (), True),
        ("", (), True),
        ("A", ("B", "A"), True),
        ("A", ("B",), False),
        ("", ("B",), False),
        ("", ("B", ""), True),
    ],
)
def test_a_ticket_is_admitted_where_its_sector_and_its_type_are_served(
    own: str, served: tuple[str, ...], kept: bool
) -> None:
    in_sector = judge(SETUP._replace(sectors=served), entry(TICKET._replace(sector=own)))
    of_type = judge(SETUP._replace(types=served), entry(TICKET._replace(type=own)))
    assert in_sector is (Verdict.ADMITTED if kept else Verdict.WRONG_SECTOR)
    assert of_type is (Verdict.ADMITTED if kept else Verdict.WRONG_TYPE)


@pytest.mark.parametrize(
    ("gate", "verdict"),
    [("", Verdict.ADMITTED), ("east", Verdict.ADMITTED), ("west", Verdict.WRONG_GATE)],
)
def test_a_ticket_that_is_bound_to_a_gate_is_admitted_there_only(gate: str, verdict: Verdict) -> None:
    assert judge(SETUP, entry(TICKET._replace(gate=gate))) is verdict


# --- re-entry --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reentry", "never", "inside", "left"),
    [
        (Reentry.NONE, Verdict.ADMITTED, Verdict.USED, Verdict.USED),
        (Reentry.AFTER_EXIT, Verdict.ADMITTED, Verdict.USED, Verdict.ADMITTED),
        (Reentry.UNLIMITED, Verdict.ADMITTED, Verdict.ADMITTED, Verdict.ADMITTED),
    ],
)
def test_a_ticket_enters_as_often_as_its_policy_says(
    reentry: Reentry, never: Verdict, inside: Verdict, left: Verdict
) -> None:
    policy = Policy(reentry=reentry)
    assert judge(SETUP, entry(policy=policy)) is never
    assert judge(SETUP, entry(policy=policy, history=INSIDE)) is inside
    assert judge(SETUP, entry(policy=policy, history=LEFT)) is left


@pytest.mark.parametrize(
    ("reentry", "listed", "left"),
    [
        (Reentry.NONE, Verdict.USED, Verdict.USED),
        (Reentry.AFTER_EXIT, Verdict.USED, Verdict.ADMITTED),
        (Reentry.UNLIMITED, Verdict.ADMITTED, Verdict.ADMITTED),
    ],
)
def test_a_ticket_that_the_list_calls_used_has_entered_once_before(
    reentry: Reentry, listed: Verdict, left: Verdict
) -> None:
    used, policy = TICKET._replace(status=Status.USED), Policy(reentry=reentry)
    assert judge(SETUP, entry(used, policy)) is listed
    assert judge(SETUP, entry(used, policy, History(Track(0, OUT, 0)))) is left
    assert judge(SETUP, entry(used, policy, INSIDE)) is listed


@pytest.mark.parametrize("direction", [IN, OUT])
@pytest.mark.parametrize("reentry", [Reentry.NONE, Reentry.AFTER_EXIT])
def test_an_unsettled_admission_either_way_keeps_a_second_one_out(
    direction: Direction, reentry: Reentry
) -> None:
    history = pending(direction)._replace(outer=Track(1, OUT, NOON_MS))
    assert judge(SETUP, entry(policy=Policy(reentry=reentry), history=history)) is Verdict.USED


def test_an_unsettled_first_entry_keeps_a_second_one_out() -> None:
    assert judge(SETUP, entry(history=pending(IN))) is Verdict.USED


@pytest.mark.parametrize("history", [INSIDE, pending(IN)])
def test_a_ticket_may_enter_again_when_its_minutes_are_over_and_no_sooner(history: History) -> None:
    scan = entry(policy=Policy(reentry=Reentry.UNLIMITED, again_after_ms=60_000), history=history)
    assert judge(SETUP, at_utc(scan, NOON_MS + 59_999)) is Verdict.TOO_SOON
    assert judge(SETUP, at_utc(scan, NOON_MS + 60_000)) is Verdict.ADMITTED
    assert judge(SETUP, at_utc(scan._replace(history=NO_HISTORY), 1)) is Verdict.ADMITTED


def test_the_minutes_count_from_an_unsettled_entry_rather_than_from_an_older_one() -> None:
    history = pending(IN, utc_ms=NOON_MS + 30_000)._replace(outer=Track(1, IN, NOON_MS))
    scan = entry(policy=Policy(reentry=Reentry.UNLIMITED, again_after_ms=60_000), history=history)
    assert judge(SETUP, at_utc(scan, NOON_MS + 89_999)) is Verdict.TOO_SOON
    assert judge(SETUP, at_utc(scan, NOON_MS + 90_000)) is Verdict.ADMITTED


@pytest.mark.parametrize("reentry", Reentry)
def test_after_two_lapses_staff_is_called(reentry: Reentry) -> None:
    policy = Policy(reentry=reentry)
    once, twice = History(lapses=LAPSES_MAX - 1), History(lapses=LAPSES_MAX)
    assert judge(SETUP, entry(policy=policy, history=once)) is Verdict.ADMITTED
    assert judge(SETUP, entry(policy=policy, history=twice)) is Verdict.CALL_STAFF


# --- inner lanes -----------------------------------------------------------------------------------

INNER_SETUP = SETUP._replace(perimeter=INNER)


def test_an_inner_lane_asks_the_inner_history_only() -> None:
    assert judge(INNER_SETUP, entry(history=INSIDE)) is Verdict.ADMITTED
    assert judge(INNER_SETUP, entry(history=History(inner=Track(1, IN, NOON_MS)))) is Verdict.USED
    assert judge(INNER_SETUP, entry(history=pending(IN, OUTER))) is Verdict.ADMITTED
    assert judge(INNER_SETUP, entry(history=pending(IN, INNER))) is Verdict.USED
    assert judge(SETUP, entry(history=History(inner=Track(1, IN, NOON_MS)))) is Verdict.ADMITTED


def test_a_ticket_that_the_list_calls_used_is_used_at_the_outer_perimeter_only() -> None:
    used = TICKET._replace(status=Status.USED)
    assert judge(INNER_SETUP, entry(used)) is Verdict.ADMITTED
    assert judge(INNER_SETUP, way_out(Policy(exits=Exits.ONLY_IF_INSIDE))._replace(ticket=used)) is (
        Verdict.NOT_INSIDE
    )


# --- the way out -----------------------------------------------------------------------------------


@pytest.mark.parametrize("history", [NO_HISTORY, INSIDE, LEFT, pending(IN), pending(OUT)])
def test_a_free_exit_lets_every_known_ticket_out(history: History) -> None:
    assert judge(SETUP, way_out(history=history)) is Verdict.ADMITTED
    assert judge(SETUP, way_out(history=history)._replace(ticket=None)) is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("history", "verdict"),
    [
        (NO_HISTORY, Verdict.NOT_INSIDE),
        (INSIDE, Verdict.ADMITTED),
        (LEFT, Verdict.NOT_INSIDE),
        (pending(IN), Verdict.ADMITTED),
        (pending(OUT), Verdict.ADMITTED),
    ],
)
def test_a_strict_exit_lets_out_who_is_inside(history: History, verdict: Verdict) -> None:
    assert judge(SETUP, way_out(Policy(exits=Exits.ONLY_IF_INSIDE), history)) is verdict


def test_a_strict_exit_lets_out_once_who_was_inside_when_the_list_was_made() -> None:
    policy = Policy(exits=Exits.ONLY_IF_INSIDE)
    used = way_out(policy)._replace(ticket=TICKET._replace(status=Status.USED))
    assert judge(SETUP, used) is Verdict.ADMITTED
    assert judge(SETUP, used._replace(history=LEFT)) is Verdict.NOT_INSIDE


def test_a_way_out_is_held_against_nobody_for_anything_else() -> None:
    """Cancelled, unsold, wrong event, session, date, sector, gate and type, too soon, lapsed, an old list."""
    setup = SETUP._replace(sectors=("A",), types=("vip",))
    policy = Policy(served=False, sessions=("evening",))
    policy = policy._replace(catalogue_stale=Choice.REFUSE, again_after_ms=HOUR_MS)
    history = INSIDE._replace(lapses=LAPSES_MAX)
    for status in Status:
        ticket = DATED._replace(status=status, gate="west", valid_until_ms=NOON_MS - 1)
        scan = way_out(policy, history)._replace(ticket=ticket, stale=True)
        assert judge(setup, scan) is Verdict.ADMITTED


@pytest.mark.parametrize(
    ("proof", "unlisted", "verdict"),
    [
        (Proof.VALID, Choice.ADMIT, Verdict.ADMITTED),
        (Proof.VALID, Choice.REFUSE, Verdict.UNLISTED),
        (Proof.FORGED, Choice.ADMIT, Verdict.FORGED),
        (Proof.LACKING, Choice.ADMIT, Verdict.FORGED),
        (Proof.NO_KEY, Choice.ADMIT, Verdict.UNKNOWN),
    ],
)
def test_a_signed_code_on_no_list_goes_out_as_it_came_in(
    proof: Proof, unlisted: Choice, verdict: Verdict
) -> None:
    scan = WITHOUT_TICKET._replace(direction=OUT, proof=proof, policy=Policy(unlisted=unlisted))
    assert judge(SETUP, scan) is verdict


# --- the order -------------------------------------------------------------------------------------

# Breaks every rule at once; each mend, in this order, uncovers the next.
WORST = at_utc(
    SCAN._replace(
        fault="too long",
        ticket=None,
        policy=Policy(served=False, sessions=("matinee",), catalogue_stale=Choice.REFUSE),
        stale=True,
        history=INSIDE._replace(lapses=LAPSES_MAX),
    ),
    NOON_MS - 1,
)
BAD_TICKET = DATED._replace(status=Status.UNSOLD, session="evening", sector="B", gate="west", type="child")
STRICT_SETUP = SETUP._replace(sectors=("A",), types=("vip",))


def test_the_first_broken_rule_wins() -> None:
    ticket, policy = BAD_TICKET, WORST.policy
    scans = [WORST, scan := WORST._replace(fault="")]
    scans += [scan := scan._replace(ticket=ticket), scan := scan._replace(stale=False)]
    policy = policy._replace(unsold=Choice.ADMIT)
    scans += [scan := scan._replace(policy=policy)]
    scans += [scan := scan._replace(policy=policy._replace(served=True))]
    scans += [scan := scan._replace(policy=policy._replace(served=True, sessions=("evening",)))]
    scans += [scan := at_utc(scan, NOON_MS)]
    scans += [scan := scan._replace(ticket=ticket._replace(sector="A"))]
    scans += [scan := scan._replace(ticket=ticket._replace(sector="A", gate="east"))]
    scans += [scan := scan._replace(ticket=ticket._replace(sector="A", gate="east", type="vip"))]
    scans += [scan := scan._replace(history=History(lapses=LAPSES_MAX)), scan._replace(history=NO_HISTORY)]
    assert [judge(STRICT_SETUP, scan) for scan in scans] == [
        Verdict.UNREADABLE,
        Verdict.UNKNOWN,
        Verdict.CATALOGUE_STALE,
        Verdict.NOT_SOLD,
        Verdict.WRONG_EVENT,
        Verdict.WRONG_SESSION,
        Verdict.TOO_EARLY,
        Verdict.WRONG_SECTOR,
        Verdict.WRONG_GATE,
        Verdict.WRONG_TYPE,
        Verdict.USED,
        Verdict.CALL_STAFF,
        Verdict.ADMITTED_UNSOLD,
    ]


def test_a_used_ticket_is_called_used_before_too_soon() -> None:
    policy = Policy(again_after_ms=HOUR_MS)
    assert judge(SETUP, entry(policy=policy, history=INSIDE)) is Verdict.USED
    lapsed = INSIDE._replace(lapses=LAPSES_MAX)
    unlimited = policy._replace(reentry=Reentry.UNLIMITED)
    assert judge(SETUP, entry(policy=unlimited, history=lapsed)) is Verdict.TOO_SOON


def test_five_verdicts_open_a_lane_and_no_other() -> None:
    assert {verdict for verdict in Verdict if verdict.admits} == set(ADMITTING)
    assert all(verdict.startswith("admitted") is verdict.admits for verdict in Verdict)


def test_what_a_vendor_said_and_what_is_doubtful_changes_no_rule() -> None:
    for history, credit in product([NO_HISTORY, INSIDE], [None, Credit(IN, NOON_MS + 1)]):
        told = history._replace(credit=credit, unsure_until_utc_ms=NOON_MS + HOUR_MS, settled_row=9)
        assert judge(SETUP, entry(history=told)) is judge(SETUP, entry(history=history))
