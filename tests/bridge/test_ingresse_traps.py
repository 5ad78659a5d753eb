"""The traps of Ingresse's page, one test each or more, by number."""

import logging
from typing import Any

import httpx
import pytest

from firmware.bridge.ingresse import Ingresse
from firmware.bridge.ingresse_requests import BATCH_MAX
from firmware.bridge.vendor import Accepted, Again, Lost, Misconfigured, Outage, Refused, Unsure, Vendor
from firmware.core.ticket import Choice, Direction, Status, Verdict
from tests.bridge.conversation import (
    AT_MS,
    CODE,
    DATE_MS,
    Talk,
    in_turn,
    ingresse,
    looked,
    page,
    query,
    reply,
    row,
    told,
    updated,
)

CHECKED: tuple[Any, ...] = (True, 1, "1", "true", "TRUE", 1.0)
NOT_CHECKED: tuple[Any, ...] = (False, 0, "0", "false")
UNCLEAR: tuple[Any, ...] = (None, "", 2, "maybe", [], {})
A_TIME: tuple[Any, ...] = ("1539723836000", DATE_MS, DATE_MS // 1000, "2018-10-16T21:03:56+00:00")
NO_TIME: tuple[Any, ...] = ("2018-10-16T21:03:56", None, "", 0, True, "soon", 10**30)
LAST = {"id": "5", "timestamp": str(AT_MS), "holder": {"name": "Ana"}, "operator": {"id": "77"}}
HISTORY = {**LAST, "operation": "checkin"}


def test_trap_1_a_code_that_changed_comes_under_the_same_ticket_id() -> None:
    vendor = ingresse()
    first = Talk(vendor.tickets(""), in_turn(page([row(code="OLD")])))
    later = Talk(vendor.tickets(first.result.since), in_turn(page([row(code="NEW")])))
    assert [(ticket.ticket_id, ticket.code) for ticket in first.tickets + later.tickets] == [
        ("981", "OLD"),
        ("981", "NEW"),
    ]


@pytest.mark.parametrize("sale", ["", None, "0", " "], ids=repr)
@pytest.mark.parametrize(
    ("choice", "status"), [(Choice.ADMIT, Status.UNSOLD), (Choice.REFUSE, Status.BLOCKED)]
)
def test_trap_2_a_code_in_the_list_is_not_a_sale(sale: str | None, choice: Choice, status: Status) -> None:
    rows = [row("1", "A", transactionId=sale), row("2", "B")]
    talk = Talk(ingresse(unsold=choice).tickets(""), in_turn(page(rows)))
    assert [ticket.status for ticket in talk.tickets] == [status, Status.VALID]


def test_trap_2_what_becomes_of_unsold_codes_has_no_default() -> None:
    with pytest.raises(ValueError, match="only the operator can choose"):
        ingresse(unsold="")


@pytest.mark.parametrize(
    ("code", "path"),
    [
        (CODE, "05.1803.%3F000082%3F.275109.20"),
        ("a/b?c#d%3F &+", "a%2Fb%3Fc%23d%253F%20%26%2B"),
        ("..", "%2E%2E"),
        ("ção", "%C3%A7%C3%A3o"),
    ],
)
def test_trap_3_a_look_up_asks_about_the_whole_code(code: str, path: str) -> None:
    talk = Talk(ingresse().tell([told(code, doubt=True)]), in_turn(looked(HISTORY)))
    assert talk.requests[0].url.raw_path.startswith(f"/ticket/{path}/status?".encode())
    assert talk.result == (Accepted("found by look-up"),)


def test_trap_3_a_code_goes_up_as_it_was_read() -> None:
    talk = Talk(ingresse().tell([told()]), in_turn(updated({"code": CODE, "status": 1})))
    assert talk.updates[0][0]["ticketCode"] == CODE
    assert talk.result == (Accepted("status 1"),)


def test_trap_4_a_call_takes_twenty_and_a_page_fifteen_hundred() -> None:
    codes = [f"C{number}" for number in range(45)]

    def answer(request: httpx.Request) -> httpx.Response:
        return updated(*({"code": code, "status": 1} for code in codes))

    talk = Talk(ingresse().tell([told(code) for code in codes]), answer)
    assert [len(batch) for batch in talk.updates] == [20, 20, 5]
    assert talk.result == (Accepted("status 1"),) * 45
    assert ingresse().batch_max == BATCH_MAX == 20
    listing = Talk(ingresse().tickets(""), in_turn(page([])))
    assert query(listing.requests[0])["pageSize"] == "1500"


@pytest.mark.parametrize("size", [0, 21, 1500])
def test_trap_4_no_setting_makes_a_call_larger(size: int) -> None:
    with pytest.raises(ValueError, match="batch_size: 1 to 20"):
        ingresse(batch_size=size)


def test_trap_5_times_are_milliseconds() -> None:
    vendor = ingresse()
    listing = Talk(vendor.tickets(""), in_turn(page([])))
    delta = Talk(vendor.tickets(listing.result.since), in_turn(page([])))
    assert query(delta.requests[0])["from"] == str(DATE_MS - 120_000)
    talk = Talk(vendor.tell([told()]), in_turn(updated({"code": CODE, "status": 1})))
    assert talk.updates[0][0]["ticketTimestamp"] == str(AT_MS)


@pytest.mark.parametrize("at_utc_ms", [AT_MS // 1000, 0, AT_MS * 1000])
def test_trap_5_a_time_that_is_no_milliseconds_is_never_sent(at_utc_ms: int) -> None:
    talk = Talk(ingresse().tell([told(at_utc_ms=at_utc_ms)]), in_turn())
    assert talk.result == (Unsure(f"{at_utc_ms} is no time in milliseconds"),)


def test_trap_5_a_since_that_is_no_milliseconds_lists_all() -> None:
    vendor = ingresse()
    mark = Talk(vendor.tickets(""), in_turn(page([]))).result.since.split()[1]
    talk = Talk(vendor.tickets(f"1539723836 {mark}"), in_turn(page([])))
    assert "from" not in query(talk.requests[0])
    assert talk.result.whole


ERROR = {
    "responseData": "[Ingresse Exception Error] something",
    "responseError": {"code": 1001, "message": "odd", "category": "x"},
}


def test_trap_6_an_error_with_http_200_is_no_list() -> None:
    with pytest.raises(Outage, match=r"error 1001: .*odd"):
        Talk(ingresse().tickets(""), in_turn(reply(ERROR)))


def test_trap_6_an_error_with_http_200_accepts_nobody() -> None:
    talk = Talk(ingresse().tell([told()]), in_turn(reply(ERROR), looked(None)))
    assert [type(outcome) for outcome in talk.result] == [Again]
    assert not talk.result[0].doubt if isinstance(talk.result[0], Again) else False


def test_trap_6_an_unknown_event_names_the_setting() -> None:
    body = {**ERROR, "responseError": {"code": "3027", "message": "event not found"}}
    with pytest.raises(Misconfigured, match=r"event 28180.*\(3027\): correct `events`"):
        Talk(ingresse().tickets(""), in_turn(reply(body)))


@pytest.mark.parametrize("stamp", [AT_MS, str(AT_MS), float(AT_MS)], ids=repr)
def test_trap_7_already_inside_by_our_own_lost_update_is_accepted(stamp: Any) -> None:
    entry = {"code": CODE, "status": "3", "lastCheckin": {**LAST, "timestamp": stamp}}
    talk = Talk(ingresse().tell([told()]), in_turn(updated(entry)))
    assert talk.result == (Accepted("status 3, of our own earlier update"),)


@pytest.mark.parametrize(
    "last",
    [
        {**LAST, "timestamp": AT_MS - 1},
        {**LAST, "timestamp": AT_MS + 1},
        {**LAST, "operator": {"id": "78"}},
        {**LAST, "operator": "78"},
    ],
)
def test_trap_7_already_inside_by_somebody_else_is_used(last: dict[str, Any]) -> None:
    talk = Talk(ingresse().tell([told()]), in_turn(updated({"code": CODE, "status": 3, "lastCheckin": last})))
    assert [one.verdict for one in talk.result if isinstance(one, Refused)] == [Verdict.USED]


def test_trap_7_a_status_3_without_its_check_in_is_looked_up() -> None:
    entry = updated({"code": CODE, "status": 3})
    assert Talk(ingresse().tell([told()]), in_turn(entry, looked(HISTORY))).result == (
        Accepted("found by look-up"),
    )
    other = looked({**HISTORY, "timestamp": AT_MS - 5})
    assert Talk(ingresse().tell([told()]), in_turn(entry, other)).result == (
        Refused(Verdict.USED, "status 3"),
    )


def with_its_own_time() -> Ingresse:
    """A vendor whose last answer showed that it does not keep the times that we send."""
    vendor = ingresse()
    last = {**LAST, "timestamp": AT_MS + 7}
    Talk(vendor.tell([told("B")]), in_turn(updated({"code": "B", "status": 1, "lastCheckin": last})))
    return vendor


SLACK_MS = 120_000
UNSEEN = {"operation": "checkin", "timestamp": None}


@pytest.mark.parametrize(
    "stamp",
    [
        AT_MS // 1000,
        AT_MS + 5,
        AT_MS // 1000 * 1000,
        DATE_MS + SLACK_MS,
        str(AT_MS // 1000 + 1),
        "2018-10-16T21:03:59+00:00",
        "2018-10-16T18:03:59.5-03:00",
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    ("operator", "kind"),
    [({"id": 77}, Accepted), ("77", Accepted), ("gate staff", Unsure), (None, Unsure), ({"id": 78}, Refused)],
    ids=repr,
)
def test_trap_7_our_own_lost_update_is_known_by_its_operator_where_ingresse_keeps_its_own_time(
    stamp: Any, operator: Any, kind: type
) -> None:
    last = {**LAST, "timestamp": stamp, "operator": operator}
    entry = updated({"code": CODE, "status": 3, "lastCheckin": last})
    unseen = looked(UNSEEN)
    talk = Talk(with_its_own_time().tell([told(doubt=True)]), in_turn(unseen, entry, unseen))
    assert [type(outcome) for outcome in talk.result] == [kind]
    look = looked({**HISTORY, **last})
    seen = Talk(with_its_own_time().tell([told(doubt=True)]), in_turn(look, entry, unseen))
    assert [type(outcome) for outcome in seen.result] == [kind]
    assert len(seen.requests) == {Accepted: 1, Refused: 2, Unsure: 3}[kind]


@pytest.mark.parametrize("stamp", [AT_MS + 5, DATE_MS + SLACK_MS, "2018-10-16T21:03:59+00:00"], ids=repr)
def test_trap_7_before_ingresse_has_shown_whose_time_it_keeps_another_is_for_a_person(
    stamp: Any,
) -> None:
    last = {**LAST, "timestamp": stamp}
    entry, look = updated({"code": CODE, "status": 3, "lastCheckin": last}), looked({**HISTORY, **last})
    talk = Talk(ingresse().tell([told(doubt=True)]), in_turn(look, entry, look))
    assert [type(outcome) for outcome in talk.result] == [Unsure]
    lost = Talk(ingresse().tell([told()]), in_turn(Lost("cut"), look))
    assert [type(outcome) for outcome in lost.result] == [Again]


@pytest.mark.parametrize("stamp", [AT_MS - 5, AT_MS - SLACK_MS, AT_MS // 1000 - 1], ids=repr)
def test_trap_7_what_our_user_did_shortly_before_in_doubt_is_for_a_person(stamp: int) -> None:
    last = {**LAST, "timestamp": stamp}
    entry, look = updated({"code": CODE, "status": 3, "lastCheckin": last}), looked({**HISTORY, **last})
    talk = Talk(ingresse().tell([told(doubt=True)]), in_turn(look, entry, look))
    assert [type(outcome) for outcome in talk.result] == [Unsure]


@pytest.mark.parametrize("stamp", ["2018-10-16T21:03:59", "16/10/2018 18:03", "", None, 10**30], ids=repr)
def test_trap_7_a_time_that_cannot_be_read_is_for_a_person_where_it_may_be_ours(stamp: Any) -> None:
    last = {**LAST, "timestamp": stamp}
    entry = updated({"code": CODE, "status": 3, "lastCheckin": last})
    look = looked({**HISTORY, **last})
    doubted = Talk(ingresse().tell([told(doubt=True)]), in_turn(look, entry, look))
    assert [type(outcome) for outcome in doubted.result] == [Unsure]
    fresh = Talk(ingresse().tell([told()]), in_turn(entry, look))
    assert fresh.result == (Refused(Verdict.USED, "status 3"),)


@pytest.mark.parametrize(
    "stamp", [AT_MS - SLACK_MS - 1, DATE_MS + SLACK_MS + 1, AT_MS // 1000 - 121], ids=repr
)
def test_trap_7_our_own_entry_of_another_time_is_used(stamp: int) -> None:
    entry = updated({"code": CODE, "status": 3, "lastCheckin": {**LAST, "timestamp": stamp}})
    talk = Talk(ingresse().tell([told(doubt=True)]), in_turn(looked(UNSEEN), entry))
    assert [one.verdict for one in talk.result if isinstance(one, Refused)] == [Verdict.USED]


@pytest.mark.parametrize("stamp", [AT_MS // 1000, "2018-10-16T21:03:56+00:00", AT_MS + 1], ids=repr)
def test_trap_7_what_was_never_sent_before_is_ours_only_to_the_millisecond(stamp: Any) -> None:
    entry = updated({"code": CODE, "status": 3, "lastCheckin": {**LAST, "timestamp": stamp}})
    talk = Talk(ingresse().tell([told()]), in_turn(entry))
    assert [one.verdict for one in talk.result if isinstance(one, Refused)] == [Verdict.USED]


def test_trap_7_where_ingresse_keeps_our_times_another_one_is_another_entry() -> None:
    vendor = ingresse()
    Talk(vendor.tell([told("B")]), in_turn(updated({"code": "B", "status": 1, "lastCheckin": LAST})))
    entry = updated({"code": CODE, "status": 3, "lastCheckin": {**LAST, "timestamp": AT_MS - 5}})
    talk = Talk(vendor.tell([told(doubt=True)]), in_turn(looked(UNSEEN), entry))
    assert [one.verdict for one in talk.result if isinstance(one, Refused)] == [Verdict.USED]


def test_trap_7_a_reply_that_was_lost_just_now_is_found_by_ingresses_own_time() -> None:
    found = looked({**HISTORY, "timestamp": AT_MS + 400})
    assert Talk(with_its_own_time().tell([told()]), in_turn(Lost("cut"), found)).result == (
        Accepted("found by look-up"),
    )


def test_trap_7_already_outside_is_judged_by_the_last_movement_not_the_last_check_in() -> None:
    out = told(direction=Direction.OUT)
    entry = updated({"code": CODE, "status": 3, "lastCheckin": {**LAST, "timestamp": AT_MS - 9}})
    ours = looked({**HISTORY, "operation": "checkout"})
    assert Talk(ingresse().tell([out]), in_turn(entry, ours)).result == (Accepted("found by look-up"),)
    never = Talk(ingresse().tell([out]), in_turn(entry, looked(None)))
    assert never.result == (Refused(Verdict.NOT_INSIDE, "status 3"),)


def test_trap_8_doubt_is_looked_up_and_never_tried_out() -> None:
    talk = Talk(ingresse().tell([told(doubt=True)]), in_turn(looked(HISTORY)))
    assert [request.method for request in talk.requests] == ["GET"]
    assert "method" not in query(talk.requests[0])


def test_trap_8_after_a_lost_reply_only_look_ups_follow() -> None:
    talk = Talk(ingresse().tell([told(), told("B")]), in_turn(Lost("cut"), looked(HISTORY), looked(None)))
    assert [request.method for request in talk.requests] == ["POST", "GET", "GET"]
    assert isinstance(talk.result[0], Accepted)
    assert isinstance(talk.result[1], Again)
    assert talk.result[1].doubt, "it may still be carried out"


def test_trap_9_each_entry_of_a_mixed_reply_has_its_own_outcome() -> None:
    statuses = {"A": 0, "B": 1, "C": 2, "D": 4, "E": 5, "F": 6}
    entries = [{"code": code, "status": status} for code, status in statuses.items()]
    talk = Talk(
        ingresse().tell([told(code) for code in [*statuses, "G"]]), in_turn(updated(*reversed(entries)))
    )
    short = [one.verdict if isinstance(one, Refused) else type(one) for one in talk.result]
    assert short == [
        Again,
        Accepted,
        Verdict.UNKNOWN,
        Verdict.WRONG_SESSION,
        Unsure,
        Verdict.REFUNDED,
        Again,
    ]
    assert [one.doubt for one in talk.result if isinstance(one, Again)] == [False, True]


@pytest.mark.parametrize("status", [7, -1, 99, "12", 4.0, 10**15], ids=repr)
def test_trap_10_an_unknown_status_denies(status: Any) -> None:
    talk = Talk(ingresse().tell([told()]), in_turn(updated({"code": CODE, "status": status})))
    assert isinstance(talk.result[0], Refused)


@pytest.mark.parametrize("status", [None, True, "", "yes", [], {}, 1.5], ids=repr)
def test_trap_10_a_status_that_is_no_number_is_doubt(status: Any) -> None:
    talk = Talk(ingresse().tell([told()]), in_turn(updated({"code": CODE, "status": status})))
    assert isinstance(talk.result[0], Again)
    assert talk.result[0].doubt


def test_trap_10_what_a_status_means_can_be_set() -> None:
    vendor = ingresse(status_map={7: Verdict.CANCELLED})
    talk = Talk(vendor.tell([told()]), in_turn(updated({"code": CODE, "status": 7})))
    assert talk.result == (Refused(Verdict.CANCELLED, "status 7"),)


def test_trap_11_the_next_delta_begins_before_this_one_did() -> None:
    first = page([row("1", "A")], 1, 2, 2)
    second = page([row("2", "B")], 2, 2, 2)
    second.headers["Date"] = "Tue, 16 Oct 2018 21:13:56 GMT"
    vendor = ingresse(overlap_s=300)
    talk = Talk(vendor.tickets(""), in_turn(first, second))
    assert talk.result.since.split()[0] == str(DATE_MS - 300_000)
    assert talk.result.whole


def test_trap_11_without_a_clock_the_next_delta_begins_where_this_one_did() -> None:
    vendor = ingresse()
    since = Talk(vendor.tickets(""), in_turn(page([]))).result.since
    silent = page([])
    del silent.headers["Date"]
    assert Talk(vendor.tickets(since), in_turn(silent)).result.since == since
    assert Talk(vendor.tickets(""), in_turn(silent)).result.since == ""


@pytest.mark.parametrize(
    ("value", "inside"),
    [
        *[(value, True) for value in CHECKED],
        *[(value, False) for value in NOT_CHECKED],
        *[(value, None) for value in UNCLEAR],
    ],
    ids=repr,
)
def test_trap_12_checked_is_bool_number_or_text(value: Any, inside: bool | None) -> None:
    talk = Talk(ingresse().tickets(""), in_turn(page([row(checked=value)])))
    assert [ticket.inside for ticket in talk.tickets] == [inside]


@pytest.mark.parametrize(
    ("value", "text"), [(981, "981"), ("981", "981"), (10**18, str(10**18)), (9.0, "9")], ids=repr
)
def test_trap_12_ids_are_text_or_numbers(value: Any, text: str) -> None:
    talk = Talk(ingresse().tickets(""), in_turn(page([row(value, value)])))
    assert [(ticket.ticket_id, ticket.code) for ticket in talk.tickets] == [(text, text)]


@pytest.mark.parametrize(
    ("value", "moved"),
    [*[(value, DATE_MS) for value in A_TIME], *[(value, None) for value in NO_TIME]],
    ids=repr,
)
def test_trap_12_the_last_update_is_a_time_only_where_it_can_be_one(value: Any, moved: int | None) -> None:
    talk = Talk(ingresse().tickets(""), in_turn(page([row(lastUpdate=value)])))
    assert [ticket.moved_utc_ms for ticket in talk.tickets] == [moved]


def test_trap_13_a_valid_code_of_another_session_is_the_wrong_session() -> None:
    talk = Talk(ingresse().tell([told()]), in_turn(updated({"code": CODE, "status": 4})))
    assert talk.result == (Refused(Verdict.WRONG_SESSION, "status 4"),)


def test_trap_13_a_movement_without_session_is_never_sent() -> None:
    vendor = ingresse(events=(("28180", ("43058", "43059")),))
    talk = Talk(vendor.tell([told(session="")]), in_turn())
    assert [type(outcome) for outcome in talk.result] == [Unsure]


def test_trap_13_a_ticket_has_the_session_whose_list_it_is_in() -> None:
    vendor = ingresse(events=(("1", ("10", "11")), ("2", ("20",))))
    answers = in_turn(*(page([row(str(number), str(number))]) for number in range(3)))
    talk = Talk(vendor.tickets(""), answers)
    assert [(ticket.event, ticket.session) for ticket in talk.tickets] == [
        ("1", "10"),
        ("1", "11"),
        ("2", "20"),
    ]
    assert [query(request)["sessionid"] for request in talk.requests] == ["10", "11", "20"]


def test_trap_13_a_ticket_in_the_lists_of_two_sessions_counts_in_the_first_at_every_look() -> None:
    vendor = ingresse(events=(("1", ("10", "11")),))
    both = in_turn(page([row("1", "A"), row("2", "B")]), page([row("2", "B"), row("3", "C")]))
    whole = Talk(vendor.tickets(""), both)
    assert [(ticket.ticket_id, ticket.session) for ticket in whole.tickets] == [
        ("1", "10"),
        ("2", "10"),
        ("3", "11"),
    ]
    assert (whole.result.whole, whole.result.skipped) == (True, 0)
    assert whole.result.text == (
        "1 tickets are in lists of several sessions, and count in the first: 2 in 10"
    )
    delta = Talk(vendor.tickets(whole.result.since), in_turn(page([]), page([row("2", "B"), row("3", "C")])))
    assert [(ticket.ticket_id, ticket.session) for ticket in delta.tickets] == [("3", "11")]
    assert delta.result.text == ""
    alone = Talk(vendor.tickets(""), in_turn(page([row("1", "A")]), page([row("2", "B")])))
    assert [(ticket.ticket_id, ticket.session) for ticket in alone.tickets] == [("1", "10"), ("2", "11")]


def test_trap_14_all_that_is_secret_is_known_to_whoever_writes_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    vendor: Vendor = ingresse(login="password", token="", email="a@b.example", password="pass-word-1")
    login = reply({"status": True, "data": {"token": "9-hash", "userId": 9, "authToken": "x.y.z"}})
    talk = Talk(vendor.tickets(""), in_turn(login, page([])))
    assert {"key-of-ours", "a@b.example", "pass-word-1", "9-hash", "x.y.z"} <= set(vendor.secrets())
    assert not [
        name for request in talk.requests for name in vendor.secrets() if name in request.extensions["name"]
    ]
    assert caplog.text == ""


def test_trap_15_a_probe_says_what_is_there_and_what_is_odd() -> None:
    strange, foreign = row(), row(external=True)
    del strange["transactionId"], foreign["transactionId"]
    talk = Talk(ingresse().probe(), in_turn(page([row(), foreign, strange, None], total=4100)))
    assert talk.result == (
        "1 events, 1 sessions, 4100 tickets; no JWT, so the producer search was left out; "
        "1 of a list's first 4 rows have no id or code; "
        "1 of a list's first 4 rows have no transactionId: without one they count as not sold"
    )
    assert query(talk.requests[0])["pageSize"] == "20"
