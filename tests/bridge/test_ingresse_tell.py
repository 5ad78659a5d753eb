"""Ingresse is told of movements: what goes up, what its answers mean, and what a lost one leads to."""

from typing import Any

import httpx
import pytest

from firmware.bridge.ingresse import LOOKS_FAILED_MAX
from firmware.bridge.vendor import (
    Accepted,
    Again,
    Lost,
    Misconfigured,
    NotSent,
    Outage,
    Refused,
    Unsure,
)
from firmware.core.ticket import Direction
from tests.bridge.conversation import (
    AT_MS,
    CODE,
    Reply,
    Talk,
    in_turn,
    ingresse,
    looked,
    query,
    reply,
    told,
    updated,
)

ERROR = reply({"responseData": "[Ingresse Exception Error]", "responseError": {"code": 5, "message": "odd"}})
HTML = httpx.Response(500, html="<html><body>Oops</body></html>")
BUSY = httpx.Response(429)
TWO_SESSIONS = (("28180", ("43058", "43059")),)


def test_an_update_is_exactly_as_on_the_page() -> None:
    talk = Talk(
        ingresse().tell([told(), told("B", direction=Direction.OUT)]),
        in_turn(updated({"code": "B", "status": "1"}, {"code": CODE, "status": 1, "checked": 1})),
    )
    asked = talk.requests[0]
    assert (asked.method, asked.url.path) == ("POST", "/event/28180/guestlist")
    assert query(asked) == {
        "method": "updatestatus",
        "apikey": "key-of-ours",
        "usertoken": "77-0123456789abcdef",
    }
    assert asked.headers["content-type"] == "application/json"
    common = {"ticketTimestamp": str(AT_MS), "sessionId": "43058"}
    assert talk.updates == [
        [
            {"ticketCode": CODE, "ticketStatus": "1", **common},
            {"ticketCode": "B", "ticketStatus": "0", **common},
        ]
    ]
    assert asked.extensions["timeout"]["read"] == 1.5
    assert talk.result == (Accepted("status 1"), Accepted("status 1"))


@pytest.mark.parametrize("name", ["responseData", "data"])
def test_both_shapes_of_the_reply_are_read(name: str) -> None:
    talk = Talk(ingresse().tell([told()]), in_turn(reply({name: [{"code": CODE, "status": 1}]})))
    assert talk.result == (Accepted("status 1"),)


def test_each_event_is_told_at_its_own_address() -> None:
    movements = [told("A"), told("B", event="7", session="8"), told("C"), told("D", event="")]

    def answer(request: httpx.Request) -> httpx.Response:
        return updated(*({"code": code, "status": 1} for code in "ABCD"))

    talk = Talk(ingresse().tell(movements), answer)
    assert [request.url.path for request in talk.requests] == ["/event/28180/guestlist", "/event/7/guestlist"]
    assert [[one["ticketCode"] for one in batch] for batch in talk.updates] == [["A", "C", "D"], ["B"]]
    assert talk.result == (Accepted("status 1"),) * 4


@pytest.mark.parametrize(
    "more",
    [{"session": ""}, {"event": "", "session": "9"}, {"code": ""}, {"code": "\ud800"}, {"code": "x" * 7090}],
    ids=lambda more: repr(more)[:40],
)
def test_what_cannot_be_told_is_for_a_person_and_holds_up_nobody(more: dict[str, Any]) -> None:
    movements = [told(**more), told("B")]
    vendor = ingresse(events=TWO_SESSIONS)
    talk = Talk(vendor.tell(movements), in_turn(updated({"code": "B", "status": 1})))
    assert [type(outcome) for outcome in talk.result] == [Unsure, Accepted]


@pytest.mark.parametrize("event", ["28180", ""])
def test_a_ticket_of_no_list_is_told_of_where_one_session_is_played(event: str) -> None:
    told_of = Talk(
        ingresse().tell([told(session="", event=event)]), in_turn(updated({"code": CODE, "status": 1}))
    )
    assert told_of.result == (Accepted("status 1"),)
    assert told_of.requests[0].url.path == "/event/28180/guestlist"
    assert told_of.updates[0][0]["sessionId"] == "43058"


def test_one_code_twice_in_a_call_is_sent_once() -> None:
    talk = Talk(ingresse().tell([told(), told()]), in_turn(updated({"code": CODE, "status": 1})))
    assert len(talk.updates[0]) == 1
    assert [type(outcome) for outcome in talk.result] == [Accepted, Again]


def test_two_answers_for_one_code_that_differ_are_doubt() -> None:
    entries = ({"code": CODE, "status": 1}, {"code": CODE, "status": 2})
    talk = Talk(ingresse().tell([told()]), in_turn(updated(*entries)))
    assert isinstance(talk.result[0], Again)
    assert talk.result[0].doubt


@pytest.mark.parametrize("trouble", [NotSent("refused"), BUSY])
def test_what_was_not_sent_is_an_outage(trouble: Reply) -> None:
    with pytest.raises(Outage) as caught:
        Talk(ingresse().tell([told()]), in_turn(trouble))
    assert not isinstance(caught.value, Lost)


@pytest.mark.parametrize("trouble", [Lost("cut"), HTML, ERROR, reply({}), httpx.Response(200, text="{")])
@pytest.mark.parametrize(
    ("last", "outcome"),
    [
        (None, "again"),
        ({"operation": "checkin", "timestamp": AT_MS, "operator": 77}, "accepted"),
        ({"operation": "checkin", "timestamp": AT_MS - 1}, "doubt"),
        ({"operation": "checkin", "timestamp": AT_MS, "operator": "78"}, "doubt"),
        ({"operation": "checkin"}, "doubt"),
        ({"operation": "else", "timestamp": AT_MS}, "doubt"),
        ({"operation": "checkout", "timestamp": AT_MS - 1}, "again"),
        ({"operation": "checkout", "timestamp": AT_MS + 1}, "unsure"),
        ({"operation": "checkout"}, "unsure"),
    ],
    ids=repr,
)
def test_after_a_lost_reply_the_look_up_proves_what_it_can(trouble: Reply, last: Any, outcome: str) -> None:
    talk = Talk(ingresse().tell([told()]), in_turn(trouble, looked(last)))
    found = talk.result[0]
    short = "doubt" if isinstance(found, Again) and found.doubt else type(found).__name__.lower()
    silent = isinstance(trouble, Lost)  # Ingresse may still be at it, whatever a look shows now
    assert short == ("doubt" if silent and outcome == "again" else outcome)


@pytest.mark.parametrize("lost", [Lost("time-out"), reply({}, 504)])
def test_an_update_that_is_carried_out_after_the_first_look_counts_as_ours(lost: Reply) -> None:
    vendor, its_own_ms = ingresse(), AT_MS + 7
    last = {"id": "5", "timestamp": its_own_ms, "operator": {"id": "77"}}
    Talk(vendor.tell([told("B")]), in_turn(updated({"code": "B", "status": 1, "lastCheckin": last})))
    (outcome,) = Talk(vendor.tell([told()]), in_turn(lost, looked(None))).result
    assert isinstance(outcome, Again)
    again = told(doubt=outcome.doubt)
    seen = Talk(vendor.tell([again]), in_turn(looked({**last, "operation": "checkin"})))
    assert seen.result == (Accepted("found by look-up"),)
    late = updated({"code": CODE, "status": 3, "lastCheckin": last})
    at_last = Talk(vendor.tell([again]), in_turn(looked(None), late))
    assert at_last.result == (Accepted("status 3, of our own earlier update"),)


@pytest.mark.parametrize(
    ("last", "sent"),
    [
        (None, True),
        ({"operation": "checkin", "timestamp": AT_MS - 1}, True),
        ({"operation": "checkout", "timestamp": AT_MS - 1}, True),
        ({"operation": "checkin", "timestamp": AT_MS}, False),
        ({"operation": "checkout", "timestamp": AT_MS + 1}, False),
    ],
    ids=repr,
)
def test_what_is_in_doubt_is_sent_only_where_that_changes_nothing_else(last: Any, sent: bool) -> None:
    talk = Talk(
        ingresse().tell([told(doubt=True)]),
        in_turn(looked(last), *([updated({"code": CODE, "status": 1})] if sent else [])),
    )
    assert len(talk.updates) == sent


def test_a_check_out_in_doubt_is_looked_up_likewise() -> None:
    out = told(direction=Direction.OUT, doubt=True)
    done = looked({"operation": "checkout", "timestamp": str(AT_MS)})
    assert Talk(ingresse().tell([out]), in_turn(done)).result == (Accepted("found by look-up"),)
    newer = looked({"operation": "checkin", "timestamp": AT_MS + 1})
    assert isinstance(Talk(ingresse().tell([out]), in_turn(newer)).result[0], Unsure)


def test_a_code_that_the_look_up_does_not_know_may_have_been_changed_since_so_a_person_must_look() -> None:
    for nothing in (reply({"responseData": {"data": []}}), reply({}, 404), httpx.Response(404)):
        for movement, replies in (
            (told(doubt=True), [nothing]),
            (told(doubt=True, unanswered=True), [nothing]),
            (told(), [Lost("cut"), nothing]),
        ):
            talk = Talk(ingresse().tell([movement]), in_turn(*replies))
            assert [type(outcome) for outcome in talk.result] == [Unsure]


@pytest.mark.parametrize(
    "body", [{}, {"responseData": {}}, {"responseData": {"data": ["x"]}}, {"responseData": {"data": "x"}}, []]
)
def test_a_look_up_that_is_no_answer_proves_nothing(body: Any) -> None:
    talk = Talk(ingresse().tell([told(doubt=True)]), in_turn(reply(body)))
    assert isinstance(talk.result[0], Again)
    assert talk.result[0].doubt


def test_a_vendor_that_is_down_is_not_asked_about_every_ticket() -> None:
    movements = [told(f"C{number}") for number in range(20)]
    replies = in_turn(Lost("time-out"), *[Lost("time-out")] * LOOKS_FAILED_MAX)
    talk = Talk(ingresse().tell(movements), replies)
    assert all(isinstance(outcome, Again) and outcome.doubt for outcome in talk.result)


def test_doubt_that_cannot_be_looked_up_is_an_outage_and_sends_nothing() -> None:
    with pytest.raises(Outage):
        Talk(ingresse().tell([told(doubt=True), told("B")]), in_turn(NotSent("refused")))


def test_a_look_up_that_fails_for_one_code_holds_up_nobody() -> None:
    talk = Talk(
        ingresse().tell([told("A", doubt=True), told("B")]),
        in_turn(reply({}, 400), updated({"code": "B", "status": 1})),
    )
    assert isinstance(talk.result[0], Again)
    assert talk.result[0].doubt
    assert talk.result[1] == Accepted("status 1")


def test_a_call_that_is_rejected_is_sent_one_by_one() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return reply({}, 400) if b'"B"' in request.content else updated({"code": "A", "status": 1})

    talk = Talk(ingresse().tell([told("A"), told("B")]), answer)
    assert [type(outcome) for outcome in talk.result] == [Accepted, Again]
    with pytest.raises(Misconfigured):
        Talk(ingresse().tell([told("B")]), answer)


@pytest.mark.parametrize("failure", [HTML, ERROR])
def test_a_ticket_at_which_the_vendor_fails_holds_up_nobody(failure: httpx.Response) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return looked(
                {"operation": "checkin", "timestamp": AT_MS} if b"/DONE/" in request.url.raw_path else None
            )
        return failure if b'"BAD"' in request.content else updated({"code": "A", "status": 1})

    talk = Talk(ingresse().tell([told("A"), told("BAD"), told("DONE")]), answer)
    assert [type(outcome) for outcome in talk.result] == [Accepted, Again, Accepted]
    assert [len(batch) for batch in talk.updates] == [3, 1, 1]


def test_what_comes_after_a_call_that_worked_may_go_again() -> None:
    movements = [told("A"), told("B", event="7")]
    talk = Talk(ingresse().tell(movements), in_turn(updated({"code": "A", "status": 1}), NotSent("refused")))
    assert talk.result == (Accepted("status 1"), Again("refused"))


def test_a_session_that_ingresse_does_not_find_in_our_update_is_for_a_person_and_no_refusal() -> None:
    entries = ({"code": CODE, "status": 5}, {"code": "B", "status": 4})
    talk = Talk(ingresse().tell([told(), told("B")]), in_turn(updated(*entries)))
    assert [type(outcome) for outcome in talk.result] == [Unsure, Refused]
    assert "report this" in str(talk.result[0])


def test_nothing_to_tell_is_nothing_to_send() -> None:
    assert Talk(ingresse().tell([]), in_turn()).result == ()
