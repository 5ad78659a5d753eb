"""Ingresse as a conversation: how it is set, logs in and lists. What its page warns of is in the traps."""

import itertools
from typing import Any, cast

import httpx
import pytest

from firmware.bridge.ingresse_list import PASSES_MAX
from firmware.bridge.ingresse_requests import IngresseSettings
from firmware.bridge.vendor import (
    Accepted,
    Listing,
    LogInRefused,
    Lost,
    Misconfigured,
    NotSent,
    Outage,
)
from firmware.core.ticket import Choice, Status, Verdict
from tests.bridge.conversation import (
    CODE,
    Reply,
    Talk,
    in_turn,
    ingresse,
    page,
    query,
    reply,
    row,
    told,
    updated,
)

EXPIRED = {
    "responseData": "[Ingresse Exception Error] Token Expired",
    "responseError": {"code": 1, "message": "x"},
}
PASSWORD = {"login": "password", "token": "", "email": "a@b.example", "password": "p w&1"}
LOGGED_IN = reply({"status": True, "data": {"token": "9-new", "userId": 9, "authToken": "a.b.c"}})
ERROR = reply({"responseData": "[Ingresse Exception Error]", "responseError": {"code": 5, "message": "odd"}})
HTML = httpx.Response(500, html="<html><body>Oops</body></html>")
BUSY = httpx.Response(429)


def search(*events: tuple[Any, list[Any]], total: Any = None) -> httpx.Response:
    hits = [
        {"_source": {"id": event, "sessions": [{"id": one} for one in served]}} for event, served in events
    ]
    return reply({"data": {"hits": hits, "total": len(hits) if total is None else total}})


# --- settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"key": ""}, "key"),
        ({"api_url": ""}, "api_url"),
        ({"api_url": "http://api.ingresse.example"}, "api_url: write https"),
        ({"api_url": "https://user:word@h"}, "api_url"),
        ({"api_url": "https://h?a=1"}, "api_url"),
        ({"search_url": "ftp://h"}, "search_url"),
        ({"key_parameter": "private"}, "key_parameter"),
        ({"login": ""}, "login"),
        ({"token": ""}, "token"),
        ({"login": "password"}, "email, password"),
        ({"login_path": "/other"}, "login_path"),
        ({"events": ()}, "events"),
        ({"events": (("1", ()),)}, "events"),
        ({"events": (("1", ("",)),)}, "events"),
        ({"events": (("1", ("2",)), ("1", ("3",)))}, "each event once"),
        ({"events": (("1", ("2",)), ("3", ("2",)))}, "each session once"),
        ({"unsold": None}, "unsold"),
        ({"page_size": 0}, "page_size"),
        ({"page_size": 1501}, "page_size"),
        ({"overlap_s": 0}, "overlap_s"),
        ({"check_in_timeout_s": 0}, "check_in_timeout_s"),
        ({"look_timeout_s": 51}, "look_timeout_s"),
        ({"check_in_timeout_s": float("nan")}, "check_in_timeout_s"),
        ({"status_map": {1: Verdict.REFUSED}}, "status_map"),
        ({"status_map": {9: Verdict.ADMITTED}}, "status_map"),
    ],
    ids=repr,
)
def test_settings_that_cannot_work_are_refused_by_name(more: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        ingresse(**more)


def test_the_choices_that_only_an_operator_can_make_have_no_default() -> None:
    assert {"key", "login", "events", "unsold"} == set(
        IngresseSettings._fields
    ) - IngresseSettings._field_defaults.keys()


def test_plain_http_is_for_this_machine_only() -> None:
    assert ingresse(api_url="http://127.0.0.1:8080/", search_url="http://localhost/search").batch_max == 20


# --- log-in --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["apikey", "publickey"])
def test_key_and_token_are_in_the_query_under_the_name_that_is_set(name: str) -> None:
    talk = Talk(ingresse(key_parameter=name).tickets(""), in_turn(page([])))
    assert query(talk.requests[0]) == {
        name: "key-of-ours",
        "usertoken": "77-0123456789abcdef",
        "sessionid": "43058",
        "pageSize": "1500",
        "page": "1",
    }
    assert str(talk.requests[0].url).startswith("https://api.ingresse.com/event/28180/guestlist?")


@pytest.mark.parametrize("path", ["/login", "/company-login"])
def test_e_mail_and_password_log_in_once(path: str) -> None:
    vendor = ingresse(**PASSWORD, login_path=path)
    talk = Talk(vendor.tickets(""), in_turn(LOGGED_IN, page([])))
    first = talk.requests[0]
    assert (first.method, first.url.path, query(first)) == ("POST", path, {"apikey": "key-of-ours"})
    assert first.content == b"email=a%40b.example&password=p+w%261"
    assert first.headers["content-type"] == "application/x-www-form-urlencoded"
    assert query(talk.requests[1])["usertoken"] == "9-new"
    again = Talk(vendor.tickets(""), in_turn(page([])))
    assert query(again.requests[0])["usertoken"] == "9-new"


@pytest.mark.parametrize(
    "body",
    [
        {"status": "1", "responseData": {"token": "9-new", "userId": "9"}},
        {"responseData": {"status": True, "data": {"token": "9-new"}}},
        {"token": "9-new"},
    ],
)
def test_a_log_in_is_found_wherever_it_stands(body: dict[str, Any]) -> None:
    talk = Talk(ingresse(**PASSWORD).tickets(""), in_turn(reply(body), page([])))
    assert query(talk.requests[1])["usertoken"] == "9-new"


@pytest.mark.parametrize(
    "refusal",
    [
        reply({"status": False, "message": "no such user", "data": []}),
        reply({"status": False, "message": "no such user"}, 401),
        reply({"message": "two factors"}, 403),
        reply({"status": True, "data": {}}),
        reply({}, 400),
        reply({}, 302),
        ERROR,
    ],
)
def test_a_refused_log_in_is_said_and_not_tried_again(refusal: httpx.Response) -> None:
    with pytest.raises(LogInRefused):
        Talk(ingresse(**PASSWORD).tickets(""), in_turn(refusal))


@pytest.mark.parametrize(
    "expired",
    [
        reply(EXPIRED),
        reply({}, 401),
        httpx.Response(401),
        httpx.Response(401, text="<html>token expired</html>"),
        reply({"responseData": "[Ingresse Exception Error]", "responseError": {"code": 2006}}),
        reply({"responseData": "[Ingresse Exception Error]", "responseError": {"code": "2012"}}),
        reply({"code": 2012, "message": "session"}, 400),
        reply({"status": False, "message": "Token expired"}),
        reply({"error": "TOKEN EXPIRED"}),
        reply({"responseData": {"message": "token expired"}}),
        reply({"responseData": {"error": {"code": 7, "message": "token expired"}}}),
        reply({"responseData": [{"code": 7, "message": "token expired"}]}),
        reply({"responseData": [], "responseError": None, "info": "token expired"}),
        reply(
            {"responseData": "[Ingresse Exception Error]", "responseError": {"details": ["Token expired"]}}
        ),
        reply({"responseData": f"[Ingresse Exception Error] {'x' * 300} token expired"}),
        reply(["token expired"]),
        reply("token expired"),
        httpx.Response(200, text="<html>Token Expired</html>"),
        httpx.Response(400, text="token expired"),
        reply({"message": "token expired", "status": 403}, 403),
        reply({"errors": [{"message": "token expired"}]}, 500),
    ],
)
def test_an_expired_token_is_renewed_and_the_request_sent_again(expired: httpx.Response) -> None:
    renewed = reply({"data": {"token": "77-fresh"}})
    vendor = ingresse()
    talk = Talk(vendor.tell([told()]), in_turn(expired, renewed, updated({"code": CODE, "status": 1})))
    assert talk.result == (Accepted("status 1"),)
    assert talk.requests[1].url.path == "/login/renew-token"
    assert query(talk.requests[1]) == {"apikey": "key-of-ours", "usertoken": "77-0123456789abcdef"}
    assert query(talk.requests[2])["usertoken"] == "77-fresh"
    assert {"77-fresh", "77-0123456789abcdef"} <= set(vendor.secrets())


@pytest.mark.parametrize("no", [reply(EXPIRED), reply({}, 403), reply({}, 404), ERROR, reply({}, 302)])
def test_a_token_that_cannot_be_renewed_leads_to_a_new_log_in(no: httpx.Response) -> None:
    expired = reply(EXPIRED)
    vendor = ingresse(**PASSWORD)
    Talk(vendor.tickets(""), in_turn(LOGGED_IN, page([])))
    fresh = reply({"status": True, "data": {"token": "9-third"}})
    talk = Talk(vendor.tickets(""), in_turn(expired, no, fresh, page([])))
    assert [request.url.path.split("/")[-1] for request in talk.requests] == [
        "guestlist",
        "renew-token",
        "login",
        "guestlist",
    ]


@pytest.mark.parametrize("more", [{}, PASSWORD])
def test_a_vendor_that_always_says_expired_is_not_asked_for_ever(more: dict[str, Any]) -> None:
    numbers = itertools.count()

    def answer(request: httpx.Request) -> httpx.Response:
        login = "login" in request.url.path
        return reply({"data": {"token": f"9-{next(numbers)}"}} if login else EXPIRED)

    vendor = ingresse(**more)
    with pytest.raises(Misconfigured):
        Talk(vendor.tickets(""), answer)
    assert next(numbers) <= 3


def test_a_guest_called_token_expired_expires_nothing() -> None:
    talk = Talk(ingresse().tickets(""), in_turn(page([row(name="Token expired")])))
    assert len(talk.tickets) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"responseData": {"data": {"0": row(ticket="Token expired")}, "paginationInfo": {"lastPage": 1}}},
        {"data": [row(ticket="Token expired")], "message": "fine"},
    ],
)
def test_a_ticket_type_called_token_expired_expires_nothing(body: dict[str, Any]) -> None:
    talk = Talk(ingresse().tickets(""), in_turn(reply(body), page([])))
    assert [ticket.type for ticket in talk.tickets] == ["Token expired"]


def test_a_code_or_an_owner_called_token_expired_expires_nothing() -> None:
    entry = {"code": "token expired", "status": 1}
    talk = Talk(ingresse().tell([told("token expired")]), in_turn(updated(entry)))
    assert talk.result == (Accepted("status 1"),)
    about = reply(
        {"responseData": {"data": [{"session": {"id": 43058}, "owner": "token expired", "lastStatus": None}]}}
    )
    done = updated({"code": CODE, "status": 1})
    assert Talk(ingresse().tell([told(doubt=True)]), in_turn(about, done)).result == (Accepted("status 1"),)


def test_a_pasted_token_that_expired_names_the_mend() -> None:
    with pytest.raises(Misconfigured, match="set a new token, or correct the key"):
        Talk(ingresse().tickets(""), in_turn(reply({}, 401), reply({}, 401)))


# --- probe ---------------------------------------------------------------------------------------------


def test_a_probe_searches_with_the_jwt_and_pages_until_all_are_found() -> None:
    vendor = ingresse(jwt="a.b.c")
    pages = (search((1, [2]), total=60), search(("28180", ["43058"]), total=60), page([row()], total=7))
    talk = Talk(vendor.probe(), in_turn(*pages))
    assert talk.result == "1 events, 1 sessions, 7 tickets"
    assert talk.requests[0].headers["authorization"] == "Bearer a.b.c"
    assert str(talk.requests[0].url).startswith("https://api.ingresse.com/v2/events/search/producer?")
    assert [query(request)["offset"] for request in talk.requests[:2]] == ["0", "50"]
    assert "usertoken" not in query(talk.requests[0])


def test_the_search_may_be_at_another_host() -> None:
    vendor = ingresse(jwt="a.b.c", search_url="https://event-search.ingresse.com/search/producer")
    talk = Talk(vendor.probe(), in_turn(search((28180, [43058])), page([])))
    assert str(talk.requests[0].url).startswith("https://event-search.ingresse.com/search/producer?")


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (search((1, [2]), (3, [4])), "no event 28180, but 1, 3"),
        (search((28180, [5, 6])), "no session 43058 of event 28180, but 5, 6"),
        (search(), "no event 28180, but none"),
        (search((1, [2]), total={"value": 1, "relation": "eq"}), "no event 28180, but 1"),
        (search((1, [2]), total="1"), "no event 28180, but 1"),
    ],
)
def test_an_event_or_session_that_the_search_lacks_is_named_and_its_list_is_read(
    found: httpx.Response, text: str
) -> None:
    vendor = ingresse(jwt="a.b.c")
    said = Talk(vendor.probe(), in_turn(found, page([row()]))).result
    assert said == f"1 events, 1 sessions, 1 tickets; the producer search has {text}"
    assert Talk(vendor.tickets(""), in_turn(page([row()]))).result.text == ""


def test_an_event_that_the_search_lacks_is_named_once_whatever_its_sessions() -> None:
    vendor = ingresse(jwt="a.b.c", events=(("1", ("10", "11")),))
    talk = Talk(vendor.probe(), in_turn(search(), page([row()]), page([row()])))
    assert talk.result == "1 events, 2 sessions, 2 tickets; the producer search has no event 1, but none"


def test_a_session_that_the_search_lacks_and_that_has_no_tickets_is_a_fault_that_stays() -> None:
    vendor = ingresse(jwt="a.b.c")
    Talk(vendor.probe(), in_turn(search((28180, [5])), page([])))
    talk = Talk(vendor.tickets(""), in_turn(page([])))
    assert talk.result.text == (
        "session 43058 has no tickets, and the producer search has no session 43058 of event 28180, but 5"
    )


@pytest.mark.parametrize(
    ("trouble", "text"),
    [
        (reply({}, 404), "producer search: answered 404"),
        (reply({}, 403), "producer search: answered 403"),
        (HTML, "producer search: answered 500"),
        (reply({"data": {}}), "the reply has no `data.hits`"),
        (NotSent("no such host"), "no such host"),
        (Lost("time-out"), "time-out"),
    ],
)
@pytest.mark.parametrize("more", [{"jwt": "a.b.c"}, PASSWORD], ids=["token", "password"])
def test_a_search_that_fails_is_said_and_the_lists_are_read(
    more: dict[str, Any], trouble: Reply, text: str
) -> None:
    logs_in = [LOGGED_IN] if "password" in more else []
    talk = Talk(ingresse(**more).probe(), in_turn(*logs_in, trouble, page([row()])))
    assert talk.result.startswith("1 events, 1 sessions, 1 tickets; events and sessions were not compared: ")
    assert text in talk.result


def test_a_stale_jwt_is_named_and_the_user_token_still_lists() -> None:
    talk = Talk(ingresse(jwt="a.b.c").probe(), in_turn(reply({}, 401), reply({}, 404), page([row()])))
    assert "the JWT expired or is wrong: set a new one and restart the bridge" in talk.result
    assert query(talk.requests[-1])["usertoken"] == "77-0123456789abcdef"


def test_a_log_in_that_is_refused_during_the_search_is_not_tried_again_for_the_list() -> None:
    no = reply({"status": False, "message": "locked"})
    with pytest.raises(LogInRefused):
        Talk(ingresse(**PASSWORD).probe(), in_turn(LOGGED_IN, reply({}, 401), no, no))


# --- the list ------------------------------------------------------------------------------------------


def test_a_ticket_has_what_a_gate_needs_and_nothing_of_a_person() -> None:
    person: dict[str, Any] = {
        "name": "PERSON",
        "email": "PERSON@x",
        "buyerDocument": "PERSON1",
        "holderName": "PERSON2",
        "holderEmail": "PERSON3",
        "holderUserId": 12,
        "userId": "PERSON4",
        "seatLocator": "A-1",
        "new": {"field": "PERSON5"},
    }
    talk = Talk(ingresse().tickets(""), in_turn(page([row(**person)])))
    ticket = talk.tickets[0]
    assert "PERSON" not in repr(talk.pages)
    assert (ticket.type, ticket.event, ticket.session, ticket.status) == (
        "Pista",
        "28180",
        "43058",
        Status.VALID,
    )


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"refunded": True}, Status.REFUNDED),
        ({"refunded": "1", "transactionId": ""}, Status.REFUNDED),
        ({"refunded": None, "refundedAt": "2018-10-16"}, Status.REFUNDED),
        ({"refunded": False, "refundedAt": "2018-10-16"}, Status.VALID),
        ({"external": True}, Status.VALID),
        ({"external": True, "transactionId": ""}, Status.VALID),
        ({"external": "false", "transactionId": ""}, Status.UNSOLD),
        ({"transferred": True}, Status.VALID),
    ],
)
def test_the_status_of_a_ticket(more: dict[str, Any], status: Status) -> None:
    talk = Talk(ingresse().tickets(""), in_turn(page([row(**more)])))
    assert [ticket.status for ticket in talk.tickets] == [status]


BAD_ROWS: tuple[Any, ...] = (
    None,
    "row",
    7,
    [],
    {},
    row(code=cast(str, None)),
    row(code=""),
    row(code="x" * 7090),
    row(code="half \ud800"),
    row(ticket_id=cast(str, None)),
    row("x" * 201),
    row("nul\0"),
    row(code=cast(str, True)),
    row(code=cast(str, 1.5)),
)


@pytest.mark.parametrize("bad", BAD_ROWS, ids=lambda bad: repr(bad)[:60])
def test_a_row_that_is_no_ticket_is_passed_over_and_counted(bad: Any) -> None:
    talk = Talk(ingresse().tickets(""), in_turn(page([row("1", "A"), bad, row("2", "B")])))
    assert [ticket.ticket_id for ticket in talk.tickets] == ["1", "2"]
    assert (talk.pages[0].skipped, talk.result.skipped, talk.result.whole) == (1, 1, True)


def test_all_pages_of_all_sessions_are_read() -> None:
    vendor = ingresse(events=(("1", ("10", "11")),), page_size=2)

    def answer(request: httpx.Request) -> httpx.Response:
        asked = query(request)
        first = (int(asked["page"]) - 1) * 2
        names = [f"{asked['sessionid']}-{number}" for number in range(5)]
        return page([row(name, name) for name in names[first : first + 2]], int(asked["page"]), 3, 5)

    talk = Talk(vendor.tickets(""), answer)
    assert [ticket.code for ticket in talk.tickets] == [f"{one}-{n}" for one in (10, 11) for n in range(5)]
    assert len(talk.requests) == 6
    assert talk.result.whole


def test_a_row_that_moved_between_pages_is_found_by_reading_again() -> None:
    rows = [row(str(number), str(number)) for number in range(6)]
    moved = [*rows[1:], rows[0]]

    def answer(request: httpx.Request) -> httpx.Response:
        number = int(query(request)["page"])
        order = rows if (number, next(calls)) == (1, 0) else moved
        return page(order[(number - 1) * 2 : number * 2], number, 3, 6)

    calls = itertools.count()
    talk = Talk(ingresse(page_size=2).tickets(""), answer)
    assert {ticket.ticket_id for ticket in talk.tickets} == set("012345")
    assert len(talk.requests) == 6
    assert talk.result.whole


def test_a_list_that_never_stands_still_is_not_called_whole() -> None:
    numbers = itertools.count()

    def answer(request: httpx.Request) -> httpx.Response:
        name = str(next(numbers))
        return page([row(name, name)], 1, 1, 9)

    talk = Talk(ingresse().tickets(""), answer)
    assert not talk.result.whole
    assert talk.result.text == "session 43058: 3 of 9 rows, read 3 times"
    assert len(talk.requests) == PASSES_MAX


def test_a_list_that_is_announced_and_does_not_come_is_not_whole() -> None:
    talk = Talk(ingresse().tickets(""), lambda _: page([], 1, 1, 4100))
    assert not talk.result.whole


def test_a_list_that_stays_short_of_its_total_is_not_whole() -> None:
    talk = Talk(ingresse().tickets(""), lambda _: page([row()], 1, 1, 9))
    assert not talk.result.whole
    assert talk.result.text == "session 43058: 1 of 9 rows, read 2 times"
    assert len(talk.requests) == 2


def test_entries_that_could_not_be_read_are_counted_in_every_session() -> None:
    vendor = ingresse(events=(("1", ("10", "11")),))
    talk = Talk(vendor.tickets(""), in_turn(page([row("1", "A"), None]), page([row("2", "B")])))
    assert talk.result.skipped == 1


def changes(total: int, *readings: list[list[str]]) -> tuple[str, Talk[Listing]]:
    """A delta of which each reading has these pages of ids; the `since` that it began with."""
    vendor = ingresse(page_size=2)
    since = Talk(vendor.tickets(""), in_turn(page([]))).result.since
    replies = []
    for reading in readings:
        for number, ids in enumerate(reading, 1):
            replies.append(page([row(one, one) for one in ids], number, len(reading), total))
            replies[-1].headers["Date"] = "Tue, 16 Oct 2018 22:03:56 GMT"
    return since, Talk(vendor.tickets(since), in_turn(*replies))


def test_a_change_that_moved_between_pages_is_found_by_reading_again() -> None:
    since, talk = changes(4, [["1", "2"], ["4", "1"]], [["2", "3"], ["4", "1"]])
    assert {ticket.ticket_id for ticket in talk.tickets} == set("1234")
    assert talk.result.since > since
    assert talk.result.text == ""


def test_changes_that_never_stand_still_are_read_again_from_where_they_began() -> None:
    since, talk = changes(5, *[[["1", "2"], ["2", "1"], [last]] for last in "345"][:PASSES_MAX])
    assert talk.result.since > since, "all five came, in three readings"
    since, talk = changes(5, *[[["1", "2"], ["2", "1"], [last]] for last in "343"])
    assert talk.result.since == since
    assert talk.result.text == "session 43058: 4 of 5 rows, read 3 times"


def test_a_delta_whose_total_counts_the_whole_list_is_read_once() -> None:
    since, talk = changes(4100, [["1", "2"], ["3"]])
    assert talk.result.since > since


def test_a_list_without_page_numbers_goes_on_behind_the_servers_own_limit() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        first = (int(query(request)["page"]) - 1) * 3
        return reply({"data": [row(str(n), str(n)) for n in range(first, min(first + 3, 8))]})

    talk = Talk(ingresse().tickets(""), answer)
    assert [ticket.ticket_id for ticket in talk.tickets] == list("01234567")
    assert len(talk.requests) == 4


@pytest.mark.parametrize("info", [{}, {"currentPage": 1}])
def test_a_server_that_has_one_page_for_every_number_is_asked_twice(info: dict[str, Any]) -> None:
    same = reply({"responseData": {"data": [row(), None], "paginationInfo": info}})
    talk = Talk(ingresse().tickets(""), in_turn(same, same))
    assert (len(talk.tickets), talk.result.skipped, talk.result.whole) == (1, 1, True)


def test_a_delta_is_read_once_and_is_never_whole() -> None:
    vendor = ingresse()
    since = Talk(vendor.tickets(""), in_turn(page([]))).result.since
    talk = Talk(vendor.tickets(since), in_turn(page([row()], 1, 1, 4100)))
    assert not talk.result.whole
    assert len(talk.tickets) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"unsold": Choice.REFUSE},
        {"events": (("28180", ("43058", "43059")),)},
        {"api_url": "https://hml-api.ingresse.com"},
    ],
)
def test_after_a_change_of_settings_the_whole_list_is_read(more: dict[str, Any]) -> None:
    since = Talk(ingresse().tickets(""), in_turn(page([]))).result.since
    talk = Talk(ingresse(**more).tickets(since), lambda _: page([]))
    assert all("from" not in query(request) for request in talk.requests)
    assert talk.result.whole


@pytest.mark.parametrize("info", [{"currentPage": "1", "lastPage": "2"}, {"lastPage": 2.0}])
def test_numbers_of_pages_are_text_or_numbers(info: dict[str, Any]) -> None:
    body = {"responseData": {"paginationInfo": info, "data": [row()]}}
    talk = Talk(ingresse().tickets(""), in_turn(reply(body), page([row("2", "B")], 2, 2, 2)))
    assert [ticket.ticket_id for ticket in talk.tickets] == ["981", "2"]


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"data": [row()]}},
        {"data": [row()]},
        {"responseData": {"data": {"0": row()}}},
        {"responseData": {"paginationInfo": None, "data": [row()]}},
    ],
)
def test_a_list_is_found_wherever_it_stands(body: dict[str, Any]) -> None:
    talk = Talk(ingresse().tickets(""), in_turn(reply(body), page([])))
    assert [ticket.ticket_id for ticket in talk.tickets] == ["981"]


@pytest.mark.parametrize(
    "body", [{}, [], 7, None, {"responseData": []}, {"responseData": {"data": "x"}}, "text"]
)
def test_what_is_no_list_is_an_outage_and_nobody_is_gone(body: Any) -> None:
    with pytest.raises(Outage):
        Talk(ingresse().tickets(""), in_turn(reply(body)))


def test_a_server_that_sends_another_page_than_was_asked_for_is_an_outage() -> None:
    with pytest.raises(Outage, match="page 2 of session 43058 came as 1"):
        Talk(ingresse().tickets(""), lambda _: page([row()], 1, 3, 3))


@pytest.mark.parametrize("trouble", [NotSent("x"), Lost("x"), HTML, BUSY, ERROR])
def test_trouble_in_the_midst_of_a_list_is_an_outage(trouble: Reply) -> None:
    with pytest.raises(Outage):
        Talk(ingresse().tickets(""), in_turn(page([row()], 1, 2, 2), trouble))


@pytest.mark.parametrize(("status", "word"), [(403, "may not manage"), (404, "api_url"), (302, "redirect")])
def test_what_no_waiting_mends_names_the_mend(status: int, word: str) -> None:
    with pytest.raises(Misconfigured, match=word):
        Talk(ingresse().tickets(""), in_turn(reply({}, status)))
