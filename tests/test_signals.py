from datetime import datetime
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core.effects import Signal
from firmware.core.events import Scanned
from firmware.core.rules import LAPSES_MAX, judge
from firmware.core.ticket import (
    NO_HISTORY,
    Authority,
    Choice,
    Direction,
    Exits,
    History,
    Moment,
    Pending,
    Perimeter,
    Policy,
    Proof,
    Reentry,
    Route,
    Setup,
    Spend,
    Status,
    Ticket,
    Track,
    Verdict,
)
from firmware.signals import FAULTS, REASON_MAX, TEXT_MAX, WORD_MAX, light_and_sound, reason
from hal.ports import Colour, Pattern, UnreadableReason

LISBON = ZoneInfo("Europe/Lisbon")
LANE = Setup("1", "main", sectors=("A",), types=("adult",))
PLAIN, BY_THE_GATE = Policy(), Route()
GOOD = Ticket("t", sector="A", type="adult")
NO_END_MS = 10**18  # some 30 million years


def at(text: str) -> int:
    """A time in Lisbon, as UTC milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=LISBON).timestamp() * 1000)


NOW = Moment(1000, at("2026-05-01 20:00:00"), True)
TODAY = History(outer=Track(1, Direction.IN, at("2026-05-01 19:42:10")))


def scanned(
    ticket: Ticket | None = GOOD,
    history: History = NO_HISTORY,
    policy: Policy = PLAIN,
    route: Route = BY_THE_GATE,
    moment: Moment = NOW,
    direction: Direction = Direction.IN,
    proof: Proof = Proof.NONE,
    stale: bool = False,
    fault: str = "",
) -> Scanned:
    """A code that was read at the lane."""
    return Scanned(moment, 1, b"digest", "t", direction, route, policy, ticket, history, proof, stale, fault)


def judged(scan: Scanned, text: str = "") -> str:
    """The reason in Lisbon's time, of the verdict that the core gives."""
    return reason(LANE, scan, judge(LANE, scan), text, LISBON)


ASKED = Route("acme", authority=Authority.VENDOR)
UNREACHED = ASKED._replace(reachable=False, trouble="no broker")


@pytest.mark.parametrize(
    ("route", "verdict", "text", "expected"),
    [
        (ASKED, Verdict.USED, "ALREADY_ENTERED", 'used; the vendor says "ALREADY_ENTERED"'),
        (ASKED, Verdict.NO_ANSWER, "no reply in 3 s", 'no answer from the vendor; "no reply in 3 s"'),
        (UNREACHED, Verdict.NO_ANSWER, "", "no answer from the vendor: no broker"),
        (
            UNREACHED,
            Verdict.ADMITTED_OFFLINE,
            "",
            "no answer from the vendor, admitted by policy: no broker",
        ),
        (UNREACHED, Verdict.USED, "", "used; the vendor was not asked: no broker"),
        (
            ASKED._replace(configured=False, trouble="no clock"),
            Verdict.NOT_CONFIGURED,
            "",
            "the vendor is not set up at this gate: no clock",
        ),
    ],
)
def test_what_the_vendor_said_and_why_it_was_not_asked_is_in_the_reason(
    route: Route, verdict: Verdict, text: str, expected: str
) -> None:
    assert reason(LANE, scanned(None, route=route), verdict, text, LISBON) == expected


# --- lamp and buzzer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_has_a_light_and_a_sound(verdict: Verdict) -> None:
    colour, _, pattern = light_and_sound(verdict)
    assert colour is not Colour.OFF
    assert pattern is not Pattern.NONE


@pytest.mark.parametrize("signal", Signal)
def test_every_signal_has_a_light_and_no_sound(signal: Signal) -> None:
    colour, _, pattern = light_and_sound(signal)
    assert colour is not Colour.OFF
    assert pattern is Pattern.NONE


def test_green_is_for_those_who_may_walk() -> None:
    shows: list[Verdict | Signal] = [*Verdict, *Signal]
    green = [show for show in shows if light_and_sound(show).colour is Colour.GREEN]
    assert green == [
        *(verdict for verdict in Verdict if verdict.admits),
        Verdict.FREE,
        Signal.GO,
        Signal.FREE,
    ]


def test_who_cannot_tell_red_from_green_hears_the_difference() -> None:
    looks = [light_and_sound(verdict) for verdict in Verdict]
    yes = {look.pattern for look in looks if look.colour is Colour.GREEN}
    no = {look.pattern for look in looks if look.colour is not Colour.GREEN}
    assert not yes & no


def test_signals_can_be_told_apart() -> None:
    assert len({light_and_sound(signal) for signal in Signal}) == len(Signal)


@pytest.mark.parametrize("word", sorted({v.value for v in Verdict} & {s.value for s in Signal}))
def test_a_verdict_and_a_signal_of_one_word_are_not_mixed_up(word: str) -> None:
    assert light_and_sound(Verdict(word)) != light_and_sound(Signal(word))


# --- the reason in words -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scan", "words"),
    [
        (scanned(), "admitted"),
        (scanned(fault="too_long"), "unreadable: the code is too long"),
        (scanned(fault="lost_keys"), "unreadable: a part of the code was lost"),
        (scanned(None), "unknown code"),
        (scanned(None, proof=Proof.FORGED), "the signature is not genuine"),
        (
            scanned(proof=Proof.LACKING),
            "the signature is not genuine: every code here must bear that of the event",
        ),
        (
            scanned(proof=Proof.NO_KEY),
            "the vendor is not set up at this gate: no key to check signatures with came from the bridge yet",
        ),
        (scanned(None, proof=Proof.OTHER_EVENT), "wrong event: the code names another one"),
        (scanned(None, proof=Proof.VALID), "signed but not in the catalogue"),
        (
            scanned(None, proof=Proof.VALID, policy=Policy(unlisted=Choice.ADMIT)),
            "signed but not in the catalogue, admitted by policy",
        ),
        (
            scanned(stale=True, policy=Policy(catalogue_stale=Choice.REFUSE)),
            "the catalogue is too old",
        ),
        (scanned(stale=True), "admitted; the catalogue is old"),
        (scanned(GOOD._replace(status=Status.CANCELLED)), "cancelled"),
        (scanned(GOOD._replace(status=Status.REFUNDED)), "refunded"),
        (scanned(GOOD._replace(status=Status.BLOCKED)), "blocked"),
        (scanned(GOOD._replace(status=Status.UNSOLD)), "not sold yet"),
        (
            scanned(GOOD._replace(status=Status.UNSOLD), policy=Policy(unsold=Choice.ADMIT)),
            "not sold yet, admitted by policy",
        ),
        (
            scanned(GOOD._replace(event="derby"), policy=Policy(served=False)),
            "wrong event: ticket is for 'derby'",
        ),
        (
            scanned(None, route=Route("v", "derby", Authority.VENDOR), policy=Policy(served=False)),
            "wrong event: ticket is for 'derby'",
        ),
        (
            scanned(GOOD._replace(session="sunday"), policy=Policy(sessions=("friday",))),
            "wrong session: ticket is for 'sunday'",
        ),
        (scanned(policy=Policy(sessions=("friday",))), "wrong session: ticket names none"),
        (
            scanned(GOOD._replace(valid_from_ms=at("2026-05-02 18:00"))),
            "too early: valid from 2026-05-02 18:00",
        ),
        (
            scanned(GOOD._replace(valid_from_ms=at("2026-05-02 18:00:30"))),
            "too early: valid from 2026-05-02 18:00:30",
        ),
        (scanned(GOOD._replace(valid_from_ms=NO_END_MS)), "too early: valid from a date beyond the calendar"),
        (
            scanned(GOOD._replace(valid_until_ms=at("2026-05-01 19:59:59"))),
            "too late: valid until 2026-05-01 19:59:59",
        ),
        (
            scanned(
                GOOD._replace(valid_until_ms=0),
                moment=NOW._replace(trusted=False),
                policy=Policy(clock_untrusted=Choice.REFUSE),
            ),
            "dates cannot be checked: the clock is not trusted",
        ),
        (
            scanned(GOOD._replace(valid_until_ms=0), moment=NOW._replace(trusted=False)),
            "admitted; dates not checked: the clock is not trusted",
        ),
        (scanned(moment=NOW._replace(trusted=False)), "admitted"),
        (scanned(GOOD._replace(sector="B")), "wrong sector: ticket is for 'B'"),
        (scanned(GOOD._replace(gate="north")), "wrong gate: ticket is for 'north'"),
        (scanned(GOOD._replace(type="child")), "wrong ticket type: ticket is for 'child'"),
        (scanned(history=TODAY), "used: entered 19:42:10"),
        (
            scanned(history=TODAY, moment=NOW._replace(utc_ms=at("2026-05-02 00:00"))),
            "used: entered 2026-05-01 19:42:10",
        ),
        (scanned(GOOD._replace(status=Status.USED)), "used: the catalogue says so"),
        (
            scanned(history=TODAY, policy=Policy(reentry=Reentry.UNLIMITED, again_after_ms=1_800_000)),
            "too soon: entered 19:42:10, again from 20:12:10",
        ),
        (
            scanned(history=History(lapses=LAPSES_MAX)),
            "call staff: the lane opened for it again and again and nobody walked",
        ),
    ],
)
def test_the_reason_of_a_verdict_names_the_fact_that_decided(scan: Scanned, words: str) -> None:
    assert judged(scan) == words


def test_a_way_out_says_nothing_of_dates() -> None:
    dated = GOOD._replace(valid_until_ms=0)
    assert judged(scanned(dated, moment=NOW._replace(trusted=False), direction=Direction.OUT)) == "admitted"


def test_a_ticket_that_is_not_inside_is_told_so() -> None:
    scan = scanned(direction=Direction.OUT, policy=Policy(exits=Exits.ONLY_IF_INSIDE))
    assert judged(scan) == "not inside"


def test_an_entry_beyond_the_calendar_is_still_told() -> None:
    scan = scanned(history=History(Track(1, Direction.IN, NO_END_MS)))
    assert judged(scan) == "used: entered at a date beyond the calendar"


def test_an_unsettled_entry_is_an_entry_too() -> None:
    entered_ms = at("2026-05-01 19:59:58")
    pending = Pending(1, Direction.IN, (Perimeter.OUTER,), entered_ms, Spend.OPENING)
    assert judged(scanned(history=History(pending=(pending,)))) == "used: entered 19:59:58"


def test_an_inner_lane_tells_of_its_own_perimeter() -> None:
    history = TODAY._replace(inner=Track(1, Direction.IN, at("2026-05-01 19:50:00")))
    scan = scanned(history=history)
    inner = LANE._replace(perimeter=Perimeter.INNER)
    assert reason(inner, scan, Verdict.USED, "", LISBON) == "used: entered 19:50:00"


def test_a_way_out_a_moment_after_another_is_told_when_that_was() -> None:
    left = History(Track(1, Direction.OUT, at("2026-05-01 19:42:10"), at("2026-05-01 19:59:59")))
    scan = scanned(history=left, direction=Direction.OUT)
    assert reason(LANE, scan, Verdict.TOO_SOON, "", LISBON) == "too soon: left 19:59:59"


def test_the_vendors_own_word_is_told_with_ours() -> None:
    asked = Route("v", authority=Authority.VENDOR)
    said = reason(LANE, scanned(route=asked), Verdict.USED, "Déjà\u00a0utilisé", LISBON)
    assert said == 'used; the vendor says "Déjà utilisé"'
    said = reason(LANE, scanned(route=asked), Verdict.REFUSED, "no\x1b[31m\nway\u202e", LISBON)
    assert said == 'refused by the vendor; the vendor says "no\ufffd[31m way\ufffd"'


def test_a_doubt_about_an_earlier_ask_calls_staff() -> None:
    scan = scanned(history=History(unsure_until_utc_ms=NOW.utc_ms + 1))
    said = reason(LANE, scan, Verdict.CALL_STAFF, "", LISBON)
    assert said == "call staff: the vendor may have used it up for an earlier scan"
    over = scanned(history=History(unsure_until_utc_ms=NOW.utc_ms))
    assert reason(LANE, over, Verdict.CALL_STAFF, "", LISBON) == "call staff"


@pytest.mark.parametrize(
    ("route", "noted"),
    [
        (Route(), True),
        (Route("v", authority=Authority.VENDOR), False),
        (Route("v", authority=Authority.VENDOR, check_first=True), True),
        (Route("v", authority=Authority.VENDOR, reachable=False), True),
    ],
)
def test_dates_that_the_vendor_has_checked_are_not_called_unchecked(route: Route, noted: bool) -> None:
    scan = scanned(GOOD._replace(valid_until_ms=0), route=route, moment=NOW._replace(trusted=False))
    assert ("dates not checked" in reason(LANE, scan, Verdict.ADMITTED, "", LISBON)) is noted


def test_every_fault_of_a_reader_has_words() -> None:
    assert FAULTS.keys() == set(get_args(UnreadableReason))


def test_a_long_word_is_cut() -> None:
    said = judged(scanned(GOOD._replace(sector="x" * 1000)))
    assert said == f"wrong sector: ticket is for '{'x' * (WORD_MAX - 1)}…'"
    said = reason(LANE, scanned(), Verdict.REFUSED, "y" * 10_000_000, LISBON)
    assert said == f'refused by the vendor; the vendor says "{"y" * (TEXT_MAX - 1)}…"'


def test_without_facts_every_verdict_still_has_a_sentence_of_its_own() -> None:
    sentences = [reason(LANE, scanned(None), verdict, "", LISBON) for verdict in Verdict]
    assert all(sentences)
    assert len(set(sentences)) == len(Verdict)


any_ms = st.integers(-(10**20), 10**20)
any_word = st.text(max_size=60)
tickets = st.builds(
    Ticket,
    any_word,
    st.sampled_from(Status),
    any_word,
    any_word,
    any_word,
    any_word,
    any_word,
    st.none() | any_ms,
    st.none() | any_ms,
)
tracks = st.builds(Track, st.integers(0, 2), st.sampled_from(Direction), any_ms)
histories = st.builds(History, tracks, lapses=st.integers(0, 3))
moments = st.builds(Moment, any_ms, any_ms, st.booleans())


@given(st.sampled_from(Verdict), st.none() | tickets, histories, moments, st.text())
def test_a_reason_is_one_short_line_whatever_the_facts(
    verdict: Verdict, ticket: Ticket | None, history: History, moment: Moment, text: str
) -> None:
    scan = scanned(ticket, history, Policy(again_after_ms=1), moment=moment, stale=True, fault=text)
    said = reason(LANE, scan, verdict, text, LISBON)
    assert 0 < len(said) <= REASON_MAX
    assert said.isprintable()
