import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.bridge.presence_replies import REFUSALS, STATUSES, accepted, read
from firmware.bridge.presence_requests import ACCEPT_EXIT
from firmware.bridge.vendor import Accepted, Lost, Misconfigured, NotSent, Outage, Refused
from firmware.core.ticket import Direction, Perimeter, Verdict
from tests.bridge.conversation import Talk
from tests.bridge.presence_talk import KEPT, ask, okay, presence, question, reply, said

# As the three revisions have them, each with what it does at an entry gate.
REVISIONS = {
    "V1": "OKAY EXIT INTERNAL_SCAN ALREADY_ENTERED NOT_FOUND INVALID_TICKET BAD_REQUEST START_RESTRICTION "
    "END_RESTRICTION SECTION_RESTRICTION EVENT_RESTRICTION TOO_EARLY TOO_LATE",
    "V2": "OKAY EXIT INTERNAL_SCAN_EXIT INTERNAL_EXIT_SCAN DUPLICATE ALREADY_ENTERED EXIT_NOT_PERMITTED "
    "INTERNAL_SCAN_ALREADY_ENTERED INTERNAL_SCAN_EXIT_NOT_PERMITTED NOT_FOUND INVALID_TICKET BAD_REQUEST "
    "BAD_TOKEN START_RESTRICTION END_RESTRICTION SECTION_RESTRICTION EVENT_RESTRICTION "
    "ACCESS_GROUP_RESTRICTION XNUM_RESTRICTION MARK_RESTRICTION TOO_EARLY TOO_LATE OPEN_SEAT TRANSFER "
    "GENERAL_ERROR",
    "V3": "OKAY EXITED EXIT_INTERNAL ALREADY_ENTERED EXIT_NOT_PERMITTED INTERNAL_SCAN_EXIT_NOT_PERMITTED "
    "NOT_FOUND",
}
PUBLISHED = sorted({status for words in REVISIONS.values() for status in words.split()})
WAYS = [(way, ring) for way in Direction for ring in Perimeter]
HTTP = st.integers(200, 299) | st.integers(400, 599)  # a redirect is none of Presence's

some_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["result", "status", "message", "tickets", "place", "fault", "faultstring", "id"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


def test_the_table_has_every_published_status_and_no_other() -> None:
    assert sorted(STATUSES) == PUBLISHED


@pytest.mark.parametrize("status", PUBLISHED)
@pytest.mark.parametrize(("way", "ring"), WAYS)
def test_by_default_only_okay_opens_an_entry_and_an_exit_takes_either_revision(
    status: str, way: Direction, ring: Perimeter
) -> None:
    talk = ask(presence(), question(direction=way, perimeter=ring), said(status, text="Their words"))
    opens = {Direction.IN: ("OKAY",), Direction.OUT: ACCEPT_EXIT}[way]
    if status in opens:
        assert talk.result == Accepted(status)
        return
    assert isinstance(talk.result, Refused)
    assert not talk.result.verdict.admits
    assert f"{status}: Their words" in talk.result.text
    assert bool(talk.result.fault) is (status == "BAD_REQUEST")


@given(st.sampled_from(PUBLISHED), HTTP, st.sampled_from(WAYS))
def test_the_status_in_the_body_decides_and_no_status_of_http_but_a_failures_does(
    status: str, http: int, lane: tuple[Direction, Perimeter]
) -> None:
    if status not in REFUSALS and (http == 429 or http >= 500):
        http -= 300  # what could open: see the next test
    asked = question(direction=lane[0], perimeter=lane[1])
    one, other = (ask(presence(), asked, said(status, http=number)) for number in (200, http))
    assert one.result == other.result


WIDE = ("OKAY", "TRANSFER", "OPEN_SEAT", "INTERNAL_SCAN", "WELCOME")


@pytest.mark.parametrize("status", sorted({*PUBLISHED, *WIDE} - REFUSALS))
@pytest.mark.parametrize(("http", "failure"), [(429, Outage), (500, Lost), (502, Lost), (503, Lost)])
@pytest.mark.parametrize(("way", "ring"), WAYS)
def test_what_could_open_never_does_from_a_service_that_failed_or_is_too_busy(
    status: str, http: int, failure: type[Outage], way: Direction, ring: Perimeter
) -> None:
    vendor = presence(accept_entry=WIDE, accept_internal=WIDE, accept_exit=(*ACCEPT_EXIT, *WIDE))
    asked = question(direction=way, perimeter=ring)
    with pytest.raises(Outage, match=f"{http} with {status}") as failed:
        ask(vendor, asked, *[said(status, http=http)] * 2)
    assert isinstance(failed.value, Lost) is (failure is Lost)
    assert isinstance(ask(vendor, asked, said("NOT_FOUND", http=http)).result, Refused)


@given(st.text(max_size=80), HTTP)
def test_no_word_but_okay_opens_an_entry(word: str, http: int) -> None:
    try:
        result = ask(presence(), question(), *[said(word, http=http)] * 2).result
    except (Outage, Misconfigured):
        return
    if isinstance(result, Accepted):
        assert word == "OKAY"
    else:
        assert not result.verdict.admits


@pytest.mark.parametrize("word", ["RE_ENTRY_QUOTA", "OKAY_BUT", "NOT OKAY", "ENTERED", "200", "O K A Y"])
def test_an_unknown_status_is_closed_at_entry_and_exit_with_its_text(word: str) -> None:
    for way in Direction:
        talk = ask(presence(), question(direction=way), said(word, text="new in 2031"))
        assert isinstance(talk.result, Refused)
        assert talk.result.verdict is Verdict.REFUSED
        assert talk.result.text == f"{word.replace(' ', '_')}: new in 2031"


@pytest.mark.parametrize(
    ("spelt", "counts_as"),
    [("okay", "OKAY"), (" OKAY ", "OKAY"), ("Exit", "EXIT"), ("Internal Exit-Scan", "INTERNAL_EXIT_SCAN")],
)
def test_a_status_counts_however_it_is_spelt_but_lets_nobody_in(spelt: str, counts_as: str) -> None:
    assert read(said(spelt), "x").status == counts_as
    assert ask(presence(), question(direction=Direction.OUT), said(spelt)).result == Accepted(counts_as)
    for ring in Perimeter:
        closed = ask(presence(), question(perimeter=ring), said(spelt)).result
        assert isinstance(closed, Refused)
        assert closed.verdict is Verdict.REFUSED


@pytest.mark.parametrize(
    ("http", "failure"), [(503, Lost), (500, Lost), (429, Outage), (401, Misconfigured), (403, Misconfigured)]
)
def test_an_unknown_status_with_a_number_that_is_no_tickets_is_no_refusal(
    http: int, failure: type[Exception]
) -> None:
    with pytest.raises(failure):
        read(httpx.Response(http, json={"result": {"status": "SERVICE_UNAVAILABLE"}}), "x")
    assert read(httpx.Response(http, json={"result": {"status": "NOT_FOUND"}}), "x").status == "NOT_FOUND"
    assert read(httpx.Response(400, json={"result": {"status": "NEW_WORD"}}), "x").status == "NEW_WORD"


@given(some_json, st.integers(100, 599))
def test_whatever_comes_is_an_answer_or_a_failure_and_opens_with_okay_alone(body: Any, http: int) -> None:
    vendor = presence()
    answer = httpx.Response(http, content=json.dumps(body), headers={"Content-Type": "application/json"})
    try:
        result = Talk(vendor.ask(question(), KEPT), lambda _: answer).result
    except (Lost, NotSent, Outage, Misconfigured):
        return
    if isinstance(result, Accepted):
        assert body["result"]["status"] == "OKAY"


@given(st.binary(max_size=40), st.integers(200, 599))
def test_what_is_no_json_is_a_failure_and_no_answer_about_a_ticket(content: bytes, http: int) -> None:
    answer = httpx.Response(http, content=content)
    try:
        result = Talk(presence().ask(question(), KEPT), lambda _: answer).result
    except (Outage, Misconfigured):
        return
    # A 4xx refuses us, and a redirect leads away: no outage, so nobody is let in, and a person hears of it.
    assert isinstance(result, Refused)
    assert 300 <= http < 500
    assert result.fault


@pytest.mark.parametrize(
    "odd",
    [
        {},
        [],
        {"result": "OKAY"},
        {"result": {"status": None}},
        {"result": {"status": ""}},
        {"result": {"status": True}},
        {"result": {"status": ["OKAY"]}},
        {"status": "OKAY"},
        {"result": [{"status": "OKAY"}]},
    ],
)
def test_a_reply_that_has_no_status_opens_nothing_and_counts_as_lost(odd: Any) -> None:
    with pytest.raises(Lost):
        ask(presence(), question(), reply(odd), reply(odd))


@pytest.mark.parametrize(
    "message",
    [None, [], "x", {"tickets": None}, {"tickets": {}}, {"tickets": ["x", None]}, {"tickets": []}],
)
def test_tickets_that_are_missing_or_of_another_shape_change_no_answer(message: Any) -> None:
    assert ask(presence(), question(), said("OKAY", message)).result == Accepted("OKAY")


def test_a_place_may_be_a_number_and_a_ticket_may_have_none() -> None:
    tickets = [{"place": 7}, {"eventId": "x"}, {"place": " A:1:2 "}]
    found = read(said("OKAY", {"tickets": tickets}), "x")
    assert accepted(found) == "OKAY: 3 tickets: 7, A:1:2"


def test_many_places_are_cut() -> None:
    found = read(okay(*[f"A:1:{seat}" for seat in range(9)]), "x")
    assert accepted(found) == "OKAY: 9 tickets: A:1:0, A:1:1, A:1:2, A:1:3, A:1:4 and 4 more"


@given(st.lists(st.text(max_size=300), max_size=9))
def test_the_text_of_an_admission_fits_a_row(places: list[str]) -> None:
    assert len(accepted(read(okay(*places), "x"))) <= 256


def test_a_text_that_only_repeats_the_status_is_not_shown_twice() -> None:
    talk = ask(presence(), question(), said("ALREADY_ENTERED", text="Already entered"))
    assert talk.result == Refused(Verdict.USED, "ALREADY_ENTERED")


def test_all_that_says_no_is_known_as_a_refusal() -> None:
    assert {"OKAY", *ACCEPT_EXIT}.isdisjoint(REFUSALS)
    assert {"ALREADY_ENTERED", "NOT_FOUND", "GENERAL_ERROR", "MARK_RESTRICTION"} <= REFUSALS
