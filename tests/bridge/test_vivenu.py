"""The adapter for vivenu, conversation by conversation."""

from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.bridge.driver import Driver
from firmware.bridge.vendor import Accepted, Again, Lost, Misconfigured, Outage, Refused, Unsure
from firmware.bridge.vivenu import LOOKS_MAX, VivenuSettings
from firmware.bridge.vivenu_requests import iso
from firmware.core.ticket import Choice, Direction, Perimeter, Status, Verdict
from tests.bridge.conversation import Talk, in_turn
from tests.bridge.vivenu_talk import (
    AT_MS,
    DATE_MS,
    EVENT,
    OK,
    OTHER,
    answering,
    asked,
    endpoint,
    me,
    ms_of,
    no_such,
    page,
    question,
    reply,
    row,
    told,
    uploads,
    vivenu,
)

EVENTS = [{"_id": EVENT, "name": "Open Air"}, {"_id": "e3", "name": "Club Night"}]
LATER = "Sun, 17 Mar 2030 17:46:50 GMT"

# --- settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"token": ""}, "token: vivenu gives one"),
        ({"token": "tokén"}, "token: has a character"),
        ({"api_url": ""}, "api_url: write https"),
        ({"api_url": "http://tickets.example"}, "api_url: write https"),
        ({"api_url": "https://user@h"}, "api_url"),
        ({"events": ()}, "events: name each"),
        ({"events": ("",)}, "events: an event's id"),
        ({"events": ("1", "1")}, "each event once"),
        ({"page_size": 0}, "page_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 1001}, "batch_size"),
        ({"overlap_s": 0}, "overlap_s"),
        ({"online_timeout_s": 6}, "online_timeout_s"),
        ({"online_timeout_s": float("nan")}, "online_timeout_s"),
        ({"upload_timeout_s": 31}, "upload_timeout_s"),
        ({"admit": ()}, "admit: name the statuses"),
        ({"admit": ("INVALID",)}, "admit: one of VALID"),
        ({"slots": "sometimes"}, "slots: refuse or admit"),
    ],
    ids=repr,
)
def test_settings_that_cannot_work_are_refused_by_name(more: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        vivenu(**more)


def test_what_only_an_operator_knows_has_no_default() -> None:
    assert {"token", "events"} == set(VivenuSettings._fields) - VivenuSettings._field_defaults.keys()


def test_the_token_is_masked_wherever_it_turns_up() -> None:
    vendor = vivenu(token="a-token-of-some-length")
    with Driver("fest", vendor, 10) as driver:
        assert "some-length" not in driver.masked(
            "token: a-token-of-some-length, again a-token-of-some-length"
        )


@given(st.integers(10**12, 4 * 10**12))
def test_a_time_is_written_as_vivenu_does_and_can_be_read_again(at_ms: int) -> None:
    assert ms_of(iso(at_ms)) == at_ms
    assert len(iso(at_ms)) == len("2020-04-29T15:03:03.726Z")


# --- what is there -----------------------------------------------------------------------------------------


def probe(first: httpx.Response, **more: Any) -> str:
    by_path = {"seller": reply({"sellerId": "s1"}), "events": reply(EVENTS), "list": page([row()], 1234)}
    return Talk(vivenu(**more).probe(), answering(first, **by_path)).result


def test_a_probe_says_who_we_are_and_how_many_tickets_there_are() -> None:
    assert probe(me()) == (
        "access user Gates, seller s1, 1 events, 1234 tickets; "
        "this access user may scan 1 other events too: have vivenu restrict it; "
        "vivenu has its own devices look for changes every 30 s (`poll_s`)"
    )


def test_a_probe_names_an_event_that_is_not_there() -> None:
    assert "vivenu has no event e9 for this access user, but e1, e3" in probe(me(), events=("e1", "e9"))


@pytest.mark.parametrize(
    ("scans", "said"),
    [
        ({"scanTypes": {"checkin": True, "checkout": False}}, "it is not told of exits"),
        ({"scanTypes": {"checkin": False, "checkout": True}}, "no check-in: all tickets are blocked"),
        ({"enableMultiCheckin": False}, 'set reentry = "none"'),
        ({"checkTimeslots": True}, "are let in at any time (`slots`)"),
        (
            {
                "checkTimeslots": True,
                "events": [
                    {
                        "eventId": EVENT,
                        "allowAllTicketTypes": True,
                        "timeslotSettings": {"beforeMinutes": 30, "afterMinutes": 10},
                    }
                ],
            },
            "(event e1 from 30 minutes before to 10 after)",
        ),
        ({"events": [{"eventId": EVENT}]}, "no ticket type of event e1"),
    ],
)
def test_a_probe_says_which_of_vivenus_settings_concern_a_gate(scans: dict[str, Any], said: str) -> None:
    assert said in probe(me(scans))


def test_a_probe_says_where_details_are_admitted_here_and_not_there() -> None:
    text = probe(me(details=False), admit=("VALID", "DETAILSREQUIRED"))
    assert "does not include tickets whose details are missing" in text


def test_a_probe_does_without_what_only_a_person_wants_to_know() -> None:
    by_path = {"seller": no_such(), "events": no_such(), "list": page([])}
    talk = Talk(vivenu().probe(), answering(**by_path))
    assert talk.result.startswith("access user Gates, 1 events, 0 tickets; events were not compared: ")


def test_a_vivenu_that_has_no_settings_for_us_is_said_and_does_without() -> None:
    text = probe(no_such())
    assert "does not say what is set for this access user" in text
    talk = Talk(vivenu().tickets(""), answering(no_such(), list=page([row()])))
    assert talk.tickets[0].status is Status.VALID
    assert talk.result.since.startswith(str(DATE_MS - 60_000)), "the 404 has told the time"


@pytest.mark.parametrize("where", ["me", "seller", "events", "list"])
def test_a_probe_that_meets_an_outage_is_no_doubt_about_anything(where: str) -> None:
    def answer(request: httpx.Request) -> Any:
        if endpoint(request) == where:
            return Lost("cut")
        return answering(seller=reply({}), events=reply(EVENTS), list=page([]))(request)

    with pytest.raises(Outage) as down:
        Talk(vivenu().probe(), answer)
    assert not isinstance(down.value, Lost)


# --- the list ----------------------------------------------------------------------------------------------


def standing(first: httpx.Response, ticket: dict[str, Any] | None = None, **more: Any) -> Status:
    talk = Talk(vivenu(**more).tickets(""), answering(first, list=page([ticket or row()])))
    return talk.tickets[0].status


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"allowedTicketTypeIds": ["t1", "t2"]}, Status.VALID),
        ({"allowedTicketTypeIds": ["t2"]}, Status.BLOCKED),
        ({"allowedTicketTypeIds": []}, Status.BLOCKED),
        ({}, Status.BLOCKED),
        ({"allowAllTicketTypes": True}, Status.VALID),
        ({"allowAllTicketTypes": False, "allowedTicketTypeIds": ["t1"]}, Status.VALID),
    ],
)
def test_only_ticket_types_that_vivenu_lets_us_scan_are_let_in(
    rule: dict[str, Any], expected: Status
) -> None:
    assert standing(me({"events": [{"eventId": EVENT, **rule}]})) is expected


@pytest.mark.parametrize(
    ("mode", "scans", "expected"),
    [
        ("full", {"events": []}, Status.VALID),
        ("full", {"events": [{"eventId": OTHER, "allowAllTicketTypes": True}]}, Status.VALID),
        ("restricted", {"events": []}, Status.BLOCKED),
        ("restricted", {"events": [{"eventId": EVENT, "allowAllTicketTypes": True}]}, Status.VALID),
        ("restricted", {}, Status.VALID),
    ],
)
def test_an_access_user_that_is_restricted_scans_what_is_listed_for_it(
    mode: str, scans: dict[str, Any], expected: Status
) -> None:
    assert standing(me(scans, mode=mode)) is expected


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        (True, ("VALID", "DETAILSREQUIRED"), Status.VALID),
        (True, ("VALID",), Status.BLOCKED),
        (False, ("VALID", "DETAILSREQUIRED"), Status.BLOCKED),
    ],
)
def test_missing_details_are_let_pass_where_vivenu_and_we_both_say_so(
    theirs: bool, ours: tuple[str, ...], expected: Status
) -> None:
    assert standing(me(details=theirs), row(status="DETAILSREQUIRED"), admit=ours) is expected


@pytest.mark.parametrize("slots", list(Choice))
def test_time_slots_that_no_list_has_are_said_and_decided_by_the_operator(slots: Choice) -> None:
    first = me({"checkTimeslots": True})
    talk = Talk(vivenu(slots=slots).tickets(""), answering(first, list=page([row()])))
    assert talk.tickets[0].status is (Status.VALID if slots is Choice.ADMIT else Status.BLOCKED)
    assert "vivenu checks time slots, and its list has none" in talk.result.text


def test_without_check_ins_nobody_is_let_in() -> None:
    assert standing(me({"scanTypes": {"checkin": False, "checkout": True}})) is Status.BLOCKED
    assert standing(me({"scanTypes": {"checkin": False, "checkout": False}})) is Status.VALID  # cannot be


def test_an_invalid_ticket_is_cancelled_whatever_else_is_wrong_with_it() -> None:
    assert standing(me({"scanTypes": {"checkin": False}}), row(status="INVALID")) is Status.CANCELLED


@pytest.mark.parametrize(
    "changed", [me({"enableMultiCheckin": False}), me({"events": [{"eventId": EVENT}]}), me(details=True)]
)
def test_the_whole_list_is_read_again_only_where_settings_change_what_was_listed(
    changed: httpx.Response,
) -> None:
    vendor = vivenu()
    since = Talk(vendor.tickets(""), answering(list=page([row()]))).result.since
    changed.headers["Date"] = LATER
    talk = Talk(vendor.tickets(since), answering(changed, list=page([])))
    assert talk.result.whole is ("enableMultiCheckin" not in changed.text)


def test_nothing_of_a_person_goes_any_further() -> None:
    ticket = row(name="Alex Berg", row="12", seat="3", discount="staff")
    talk = Talk(vivenu().tickets(""), answering(list=page([ticket])))
    assert "Alex" not in repr(talk.pages)


def test_a_ticket_is_of_the_event_that_it_names() -> None:
    talk = Talk(vivenu().tickets(""), answering(list=page([row(eventId=OTHER, area="Front")])))
    assert (talk.tickets[0].event, talk.tickets[0].type, talk.tickets[0].sector) == (OTHER, "t1", "Front")
    assert (talk.tickets[0].session, talk.tickets[0].inside, talk.tickets[0].moved_utc_ms) == ("", None, None)


@pytest.mark.parametrize(
    "odd",
    [None, 7, [], {"barcode": "A"}, row(code=""), row("x" * 201), {**row(), "_id": None}, row(code="\0")],
)
def test_what_cannot_be_read_as_a_ticket_is_counted_and_hides_no_other(odd: Any) -> None:
    talk = Talk(vivenu().tickets(""), answering(list=page([row("1", "A"), odd, row("2", "B")])))
    assert {ticket.ticket_id for ticket in talk.tickets} == {"1", "2"}
    assert (talk.result.whole, talk.result.skipped) == (True, 1)


@pytest.mark.parametrize("body", [[], {}, {"docs": None}, {"docs": {}}, "docs", None])
def test_a_list_that_is_none_is_an_outage(body: Any) -> None:
    with pytest.raises(Outage):
        Talk(vivenu().tickets(""), answering(list=reply(body)))


def test_an_event_that_vivenu_does_not_know_is_for_a_person() -> None:
    with pytest.raises(
        Misconfigured, match=r"no event e1 for this access user: correct \[\[vendor.event\]\]"
    ):
        Talk(vivenu().tickets(""), answering(list=no_such()))


def test_whether_a_ticket_may_check_in_again_is_a_fault_as_long_as_vivenu_says_so() -> None:
    vendor = vivenu()
    for multi in (False, True):
        talk = Talk(vendor.tickets(""), answering(me({"enableMultiCheckin": multi}), list=page([row()])))
        assert ('set reentry = "none" in the gates\' policy' in talk.result.text) is not multi
        assert talk.result.whole


def test_changes_of_one_page_are_complete_whatever_is_counted() -> None:
    vendor = vivenu()
    since = Talk(vendor.tickets(""), answering(list=page([]))).result.since
    soon = me()
    soon.headers["Date"] = LATER
    pages = in_turn(page([row()], 9000), page([], 9000))
    talk = Talk(vendor.tickets(since), answering(soon, list=pages))
    assert talk.result.since != since
    assert talk.result.text == ""


# --- one ticket --------------------------------------------------------------------------------------------


def test_a_single_ticket_is_read_like_one_of_the_list() -> None:
    talk = Talk(vivenu().ticket("A", EVENT), answering(ticket=reply(row("1", "A"))))
    assert (talk.result.ticket_id, talk.result.code, talk.result.status) == ("1", "A", Status.VALID)


def test_a_scan_that_vivenu_rejects_is_refused_and_one_without_a_word_is_for_staff() -> None:
    ticket = reply(row())
    rejected = Talk(vivenu().ask(question("A", EVENT), {}), answering(ticket=ticket, scan=reply({}, 400)))
    assert isinstance(rejected.result, Refused)
    assert rejected.result.fault, "that is no word about the ticket"
    at_once = Talk(vivenu().ask(question("A", EVENT), {}), answering(ticket=reply({}, 400)))
    assert isinstance(at_once.result, Refused)
    odd = answering(ticket=ticket, scan=reply({"access": "MAYBE"}))
    with pytest.raises(Lost, match="neither GRANTED nor DENIED"):
        Talk(vivenu().ask(question("A", EVENT), {}), odd)


def test_an_exit_and_an_inner_lane_are_looked_up_and_never_scanned() -> None:
    for more in ({"direction": Direction.OUT}, {"perimeter": Perimeter.INNER}):
        talk = Talk(vivenu().ask(question("A", EVENT, **more), {}), answering(ticket=reply(row())))
        assert isinstance(talk.result, Accepted)
        assert "scan" not in asked(talk.requests)


NO_CHECK_IN = me({"scanTypes": {"checkin": False, "checkout": True}})
OTHER_TYPES = me({"events": [{"eventId": EVENT, "allowedTicketTypeIds": ["t2"]}]})


@pytest.mark.parametrize("perimeter", list(Perimeter))
@pytest.mark.parametrize("status", ["VALID", "INVALID", "DETAILSREQUIRED", "RESERVED", None])
@pytest.mark.parametrize("first", [me(), NO_CHECK_IN, me({"checkTimeslots": True}), OTHER_TYPES])
def test_nobody_is_held_inside_for_what_a_ticket_may_not_do_on_its_way_in(
    perimeter: Perimeter, status: str | None, first: httpx.Response
) -> None:
    way_out = question("A", EVENT, direction=Direction.OUT, perimeter=perimeter)
    found = answering(first, ticket=reply(row(status=status)))
    assert isinstance(Talk(vivenu(slots=Choice.REFUSE).ask(way_out, {}), found).result, Accepted)
    foreign = answering(first, ticket=reply(row(eventId=OTHER)))
    assert Talk(vivenu().ask(way_out, {}), foreign).result == Refused(
        Verdict.WRONG_EVENT, "a ticket of event e2"
    )


@pytest.mark.parametrize("first", [me(), NO_CHECK_IN])
@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("VALID", None),
        (None, None),
        ("INVALID", Verdict.CANCELLED),
        ("DETAILSREQUIRED", Verdict.BLOCKED),
        ("RESERVED", Verdict.BLOCKED),
    ],
)
def test_an_inner_lane_is_no_check_in_and_a_look_up_need_not_name_a_status(
    first: httpx.Response, status: str | None, verdict: Verdict | None
) -> None:
    inner = question("A", EVENT, perimeter=Perimeter.INNER)
    talk = Talk(vivenu().ask(inner, {}), answering(first, ticket=reply(row(status=status))))
    assert getattr(talk.result, "verdict", None) is verdict
    assert isinstance(talk.result, Accepted if verdict is None else Refused)


def test_where_several_events_are_played_a_ticket_of_each_may_be_asked_about() -> None:
    vendor = vivenu(events=(EVENT, OTHER))
    granted = reply({"access": "GRANTED", "ticket": row(eventId=OTHER)})
    found = answering(ticket=reply(row(eventId=OTHER)), scan=granted)
    assert Talk(vendor.ask(question("A", OTHER), {}), found).result == Accepted("GRANTED")
    foreign = Talk(vendor.ask(question("A", ""), {}), answering(ticket=reply(row(eventId="e9"))))
    assert foreign.result == Refused(Verdict.WRONG_EVENT, "a ticket of event e9")


def test_an_ask_without_an_answer_is_never_uploaded() -> None:
    talk = Talk(vivenu().tell([told("A", unanswered=True)]), answering())
    assert [type(outcome) for outcome in talk.result] == [Unsure]
    assert uploads(talk.requests) == []


def test_a_trial_is_a_question_without_effect() -> None:
    assert asked(Talk(vivenu().trial(), answering()).requests) == ["me"]
    with pytest.raises(Outage):
        Talk(vivenu().trial(), in_turn(Lost("gone")))


def test_nobody_is_scanned_in_where_vivenu_allows_no_check_in() -> None:
    first = me({"scanTypes": {"checkin": False, "checkout": True}})
    talk = Talk(vivenu().ask(question("A", EVENT), {}), answering(first, ticket=reply(row())))
    assert isinstance(talk.result, Refused)
    assert "scan" not in asked(talk.requests)


# --- movements ---------------------------------------------------------------------------------------------


def test_each_event_has_an_array_of_its_own_and_none_is_longer_than_is_set() -> None:
    scans = [told(f"C{at}", event=(EVENT, OTHER)[at % 2]) for at in range(6)]
    talk = Talk(vivenu(batch_size=2).tell(scans), answering(upload=reply(OK)))
    paths = [r.url.path.rpartition("/")[2] for r in talk.requests if endpoint(r) == "upload"]
    assert paths == [EVENT, EVENT, OTHER, OTHER]
    assert [[scan["barcode"] for scan in array] for array in uploads(talk.requests)] == [
        ["C0", "C2"],
        ["C4"],
        ["C1", "C3"],
        ["C5"],
    ]
    assert {type(outcome) for outcome in talk.result} == {Accepted}


@given(st.sets(st.integers(0, 30), max_size=4), st.integers(1, 31))
def test_a_rejected_array_is_halved_until_the_odd_scans_stand_alone(odd: set[int], size: int) -> None:
    def upload(request: httpx.Request) -> httpx.Response:
        (array,) = uploads([request])
        return reply({}, 400) if {scan["barcode"] for scan in array} & {f"C{at}" for at in odd} else reply(OK)

    scans = [told(f"C{at}") for at in range(31)]
    talk = Talk(vivenu(batch_size=size).tell(scans), answering(upload=upload))
    refused = {at for at, outcome in enumerate(talk.result) if isinstance(outcome, Refused)}
    assert refused == odd
    named = {f"C{at}" for at in odd}
    arrays = uploads(talk.requests)
    taken = [array for array in arrays if not {scan["barcode"] for scan in array} & named]
    assert sorted(scan["barcode"] for array in taken for scan in array) == sorted(
        f"C{at}" for at in range(31) if at not in odd
    )


@pytest.mark.parametrize("direction", list(Direction))
def test_what_vivenu_takes_no_scans_of_is_not_uploaded(direction: Direction) -> None:
    first = me({"scanTypes": {"checkin": direction is Direction.OUT, "checkout": direction is Direction.IN}})
    talk = Talk(vivenu().tell([told("A", direction=direction)]), answering(first))
    assert isinstance(talk.result[0], Refused)
    assert "of this access user" in talk.result[0].text
    assert uploads(talk.requests) == []


def test_an_event_that_is_gone_holds_up_no_other() -> None:
    def upload(request: httpx.Request) -> httpx.Response:
        return no_such() if request.url.path.endswith(OTHER) else reply(OK)

    scans = [told("A", event=OTHER), told("B")]
    talk = Talk(vivenu(events=(EVENT, OTHER)).tell(scans), answering(upload=upload))
    assert [type(outcome) for outcome in talk.result] == [Again, Accepted]
    with pytest.raises(Misconfigured, match="vivenu has no event e2"):
        Talk(vivenu(events=(EVENT, OTHER)).tell(scans[:1]), answering(upload=upload))


def test_a_movement_without_an_event_is_uploaded_to_the_only_one_or_looked_up() -> None:
    one = Talk(vivenu().tell([told("A", event="")]), answering(upload=reply(OK)))
    assert one.requests[-1].url.path.endswith(f"/{EVENT}")
    several = vivenu(events=(EVENT, OTHER))
    talk = Talk(
        several.tell([told("A", event="")]), answering(ticket=reply(row(eventId=OTHER)), upload=reply(OK))
    )
    assert asked(talk.requests) == ["me", "ticket", "upload"]
    assert talk.requests[-1].url.path.endswith(f"/{OTHER}")
    unknown = Talk(several.tell([told("A", event="")]), answering(ticket=no_such()))
    assert isinstance(unknown.result[0], Refused)
    assert unknown.result[0].verdict is Verdict.UNKNOWN
    odd = Talk(several.tell([told("A", event=""), told("B")]), answering(ticket=reply({}), upload=reply(OK)))
    assert [type(outcome) for outcome in odd.result] == [Refused, Accepted]


def test_not_all_of_many_tickets_are_looked_up_in_one_call() -> None:
    scans = [told(f"C{at}", event="") for at in range(LOOKS_MAX + 2)]
    talk = Talk(vivenu(events=(EVENT, OTHER)).tell(scans), answering(ticket=reply(row()), upload=reply(OK)))
    assert asked(talk.requests).count("ticket") == LOOKS_MAX
    assert [type(outcome) for outcome in talk.result[-2:]] == [Again, Again]


def test_of_two_movements_of_one_code_the_second_waits() -> None:
    scans = [told("A"), told("A", direction=Direction.OUT)]
    talk = Talk(vivenu().tell(scans), answering(upload=reply(OK)))
    assert [type(outcome) for outcome in talk.result] == [Accepted, Again]


@pytest.mark.parametrize("at_utc_ms", [AT_MS // 1000, 0, AT_MS * 1000])
def test_a_time_that_is_no_milliseconds_is_never_sent(at_utc_ms: int) -> None:
    talk = Talk(vivenu().tell([told(at_utc_ms=at_utc_ms)]), answering())
    assert talk.result == (Unsure(f"{at_utc_ms} is no time in milliseconds"),)


def test_an_error_in_a_reply_that_calls_itself_good_is_one() -> None:
    body = {"statusCode": 400, "error": "Bad Request", "message": "scanned_at"}
    talk = Talk(vivenu().tell([told()]), answering(upload=reply(body)))
    assert isinstance(talk.result[0], Refused)
    assert "Bad Request: scanned_at (400)" in talk.result[0].text


def test_a_redirect_would_carry_the_token_away_and_is_for_a_person() -> None:
    with pytest.raises(Misconfigured, match="correct `api_url`"):
        Talk(vivenu().tickets(""), in_turn(reply({}, 302)))


WORDS = [
    "docs",
    "total",
    "status",
    "deviceSettings",
    "scanConfig",
    "scanTypes",
    "events",
    "eventId",
    "_id",
    "barcode",
    "access",
    "ticket",
    "checkin",
    "allowedTicketTypeIds",
    "error",
    "statusCode",
    "accessControlSettings",
    "timeslotSettings",
    "beforeMinutes",
    "area",
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(WORDS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@given(anything, anything, st.sampled_from(["tickets", "tell", "scan", "probe"]))
def test_no_reply_at_all_breaks_the_adapter(first: object, second: object, what: str) -> None:
    vendor = vivenu(page_size=1)
    left = [reply(first), reply(second), *(page([]) for _ in range(20))]

    def answer(request: httpx.Request) -> httpx.Response:
        return left.pop(0) if left else reply(OK)

    flow = {
        "tickets": lambda: vendor.tickets(""),
        "tell": lambda: vendor.tell([told("A")]),
        "scan": lambda: vendor.ask(question("A", EVENT), {}),
        "probe": vendor.probe,
    }[what]
    with suppress(Outage, Misconfigured):
        Talk(flow(), answer)
