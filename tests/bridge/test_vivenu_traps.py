"""The traps of vivenu's page, one test each or more, by number."""

from typing import Any

import httpx
import pytest

from firmware.bridge.vendor import (
    Accepted,
    Again,
    Lost,
    Misconfigured,
    NotSent,
    Outage,
    Refused,
    Unsure,
    Vendor,
)
from firmware.bridge.vivenu_requests import PAGE_SIZE
from firmware.core.ticket import Direction, Perimeter, Status, Verdict
from tests.bridge.conversation import Talk, in_turn, query
from tests.bridge.vivenu_talk import (
    AT,
    CODE,
    DATE_MS,
    EVENT,
    OK,
    OTHER,
    answering,
    asked,
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


def test_it_is_a_vendor() -> None:
    vendor: Vendor = vivenu()
    assert vendor.batch_max == 100


# --- 1: the sample's loop ----------------------------------------------------------------------------------


def test_trap_1_each_page_begins_after_what_came_and_there_is_no_call_too_many() -> None:
    rows = [row(str(at), f"C{at}") for at in range(5)]
    pages = in_turn(page(rows[:2], 5), page(rows[2:4], 5), page(rows[4:], 5), page([]))
    talk = Talk(vivenu(page_size=2).tickets(""), answering(list=pages))
    lists = [query(request) for request in talk.requests if "top" in query(request)]
    assert [each["skip"] for each in lists] == ["0", "2", "4", "0"]
    assert [ticket.ticket_id for ticket in talk.tickets] == ["0", "1", "2", "3", "4"]
    assert talk.result.whole


def test_trap_1_a_vendor_that_gives_less_than_was_asked_for_is_asked_for_the_rest() -> None:
    rows = [row(str(at), f"C{at}") for at in range(5)]
    pages = in_turn(page(rows[:3], 5), page(rows[3:], 5), page([]))
    talk = Talk(vivenu(page_size=500).tickets(""), answering(list=pages))
    assert [query(request)["skip"] for request in talk.requests[1:3]] == ["0", "3"]
    assert talk.result.whole


# --- 2 to 5: windows ---------------------------------------------------------------------------------------


def windows(talk: Talk[Any]) -> list[tuple[int, int]]:
    """From and until of each page, as milliseconds; 0 where there is none."""
    lists = [query(request) for request in talk.requests if "top" in query(request)]
    return [
        (ms_of(each["from"]) if "from" in each else 0, ms_of(each["until"]) if "until" in each else 0)
        for each in lists
    ]


def test_trap_2_windows_join_with_an_overlap_and_end_where_the_next_one_can_begin() -> None:
    vendor = vivenu(overlap_s=60)
    first = Talk(vendor.tickets(""), answering(list=page([])))
    later = Talk(vendor.tickets(first.result.since), answering(list=page([])))
    # The whole list up to one moment, what changed around that moment, and then from there on.
    assert windows(first) == [(0, DATE_MS), (DATE_MS - 60_000, 0)]
    assert windows(later) == [(DATE_MS - 60_000, DATE_MS)]
    assert not later.result.whole


def test_trap_2_a_delta_begins_before_the_end_of_the_last_window() -> None:
    vendor = vivenu(overlap_s=60)
    first = Talk(vendor.tickets(""), answering(list=page([])))
    soon = me()
    soon.headers["Date"] = "Sun, 17 Mar 2030 17:46:50 GMT"
    later = Talk(vendor.tickets(first.result.since), answering(soon, list=page([])))
    assert windows(later) == [(DATE_MS - 60_000, DATE_MS + 10_000)]
    assert later.result.since.split()[0] == str(DATE_MS + 10_000 - 60_000)


def test_trap_3_a_list_that_holds_fewer_than_it_counts_is_read_again_and_takes_nobody_away() -> None:
    short = page([row("1", "A"), row("1", "A")], 2)
    talk = Talk(vivenu().tickets(""), answering(list=lambda _: short))
    assert not talk.result.whole
    assert "event e1: 1 of 2 tickets, read 2 times" in talk.result.text


def test_trap_3_rows_that_were_missed_by_one_pass_come_in_the_next() -> None:
    passes = in_turn(
        page([row("1", "A"), row("1", "A")], 2), page([row("2", "B"), row("1", "A")], 2), page([])
    )
    talk = Talk(vivenu().tickets(""), answering(list=passes))
    assert talk.result.whole
    assert {ticket.ticket_id for ticket in talk.tickets} == {"1", "2"}


def test_trap_3_a_list_that_counts_nothing_is_read_until_a_pass_finds_no_other() -> None:
    # "9" leaves the list after the first page, so "2" moves to a place that was read already.
    def uncounted(*rows: Any) -> httpx.Response:
        return reply({"docs": rows})

    later = [uncounted(row("1", "A"), row("2", "B")), uncounted(row("3", "C")), uncounted()]
    passes = in_turn(
        uncounted(row("9", "Z"), row("1", "A")), uncounted(row("3", "C")), uncounted(), *later * 2
    )

    def answer(request: httpx.Request) -> httpx.Response:
        found = passes(request) if "until" in query(request) else uncounted()
        assert isinstance(found, httpx.Response)
        return found

    talk = Talk(vivenu(page_size=2).tickets(""), answering(list=answer))
    assert {ticket.ticket_id for ticket in talk.tickets} == {"9", "1", "2", "3"}
    assert (talk.result.whole, talk.result.text) == (True, "")


def test_trap_3_what_was_counted_before_the_count_moved_proves_nothing() -> None:
    # "9" leaves the list after the first page, so "2" moves to a place that was read already.
    passes = in_turn(
        page([row("9", "Z"), row("1", "A")], 4),
        page([row("3", "C")], 3),
        page([row("1", "A"), row("2", "B")], 3),
        page([row("3", "C")], 3),
    )

    def answer(request: httpx.Request) -> httpx.Response:
        found = passes(request) if "until" in query(request) else page([])
        assert isinstance(found, httpx.Response)
        return found

    talk = Talk(vivenu(page_size=2).tickets(""), answering(list=answer))
    assert {ticket.ticket_id for ticket in talk.tickets} == {"9", "1", "2", "3"}
    assert talk.result.whole


def test_trap_3_changes_that_came_short_are_asked_for_again_from_the_same_moment() -> None:
    vendor = vivenu(page_size=2)
    since = Talk(vendor.tickets(""), answering(list=page([]))).result.since
    soon = me()
    soon.headers["Date"] = "Sun, 17 Mar 2030 17:46:50 GMT"
    moving = in_turn(*[page([row("1", "A"), row("2", "B")], 3), page([row("2", "B")], 3)] * 2)
    talk = Talk(vendor.tickets(since), answering(soon, list=moving))
    assert talk.result.since == since
    assert "2 of 3 tickets" in talk.result.text


def test_trap_4_the_stamp_is_taken_before_the_first_page() -> None:
    talk = Talk(vivenu().tickets(""), answering(list=page([])))
    assert asked(talk.requests)[:2] == ["me", "list"]
    assert windows(talk)[0] == (0, DATE_MS)


def silent() -> httpx.Response:
    """A `/me` whose reply tells no time."""
    found = me()
    del found.headers["Date"]
    return found


def test_trap_5_where_replies_tell_no_time_a_look_begins_at_the_last_change_that_was_seen() -> None:
    vendor = vivenu(overlap_s=60)
    rows = [row("1", "A"), row("2", "B", updatedAt="2030-02-01T00:00:00.500Z")]
    first = Talk(vendor.tickets(""), answering(silent(), list=page(rows)))
    assert first.result.whole
    assert windows(first) == [(0, 0)]
    later = Talk(vendor.tickets(first.result.since), answering(silent(), list=page([])))
    newest_ms = ms_of("2030-02-01T00:00:00.500Z")
    assert windows(later) == [(newest_ms - 60_000, 0)]
    assert later.result.since == first.result.since, "nothing new was seen"


def test_trap_5_a_list_without_any_time_is_a_whole_list_each_time() -> None:
    bare = {name: value for name, value in row().items() if name not in ("createdAt", "updatedAt")}
    talk = Talk(vivenu().tickets(""), answering(silent(), list=page([bare])))
    assert (talk.result.since, talk.result.whole) == ("", True)


def test_trap_5_a_clock_that_went_back_by_more_than_the_overlap_has_the_whole_list_read() -> None:
    vendor = vivenu()
    since = Talk(vendor.tickets(""), answering(list=page([]))).result.since
    back = me()
    back.headers["Date"] = "Sun, 17 Mar 2030 16:46:40 GMT"
    talk = Talk(vendor.tickets(since), answering(back, list=page([])))
    assert talk.result.whole


# --- 6 to 9: online ----------------------------------------------------------------------------------------


def test_trap_6_a_scan_is_sent_once_without_body_or_query() -> None:
    talk = Talk(
        vivenu().ask(question(CODE, EVENT), {}),
        answering(ticket=reply(row()), scan=reply({"access": "GRANTED", "ticket": row()})),
    )
    scan = talk.requests[-1]
    assert (scan.method, scan.content, scan.url.query) == ("POST", b"", b"")
    assert scan.extensions["tries"] == 1
    assert talk.result == Accepted("GRANTED")


@pytest.mark.parametrize("lost", [Lost("slow"), reply({}, 500), reply({}, 502)])
def test_trap_6_a_lost_scan_is_for_staff_and_never_already_used(lost: Any) -> None:
    vendor = vivenu()
    scans: list[Any] = []

    def losing(request: httpx.Request) -> Any:
        scans.append(request)
        return lost

    with pytest.raises(Lost):
        Talk(vendor.ask(question(CODE, EVENT), {}), answering(ticket=reply(row()), scan=losing))
    assert len(scans) == 1
    denied = reply({"access": "DENIED", "ticket": row()})
    second = question(CODE, EVENT, again=True)
    again = Talk(vendor.ask(second, {}), answering(ticket=reply(row()), scan=denied))
    assert isinstance(again.result, Refused)
    assert (again.result.verdict, again.result.doubt) == (Verdict.CALL_STAFF, True)


@pytest.mark.parametrize("away", [NotSent("no way"), reply({}, 429)])
def test_trap_6_a_scan_that_was_not_carried_out_is_an_outage(away: Any) -> None:
    with pytest.raises(Outage) as down:
        Talk(vivenu().ask(question(CODE, EVENT), {}), answering(ticket=reply(row()), scan=away))
    assert not isinstance(down.value, Lost)


def test_trap_7_a_ticket_of_another_event_is_refused_before_it_is_scanned() -> None:
    talk = Talk(vivenu().ask(question(CODE, EVENT), {}), answering(ticket=reply(row(eventId=OTHER))))
    assert talk.result == Refused(Verdict.WRONG_EVENT, "a ticket of event e2")
    assert query(talk.requests[-1]) == {"eventId": EVENT}
    assert "scan" not in asked(talk.requests)


def test_trap_7_a_gate_that_names_no_event_serves_those_of_the_account_and_no_other() -> None:
    several = vivenu(events=(EVENT, OTHER))
    granted = reply({"access": "GRANTED", "ticket": row()})
    talk = Talk(
        several.ask(question(CODE, ""), {}), answering(ticket=reply(row(eventId=OTHER)), scan=granted)
    )
    assert talk.result == Accepted("GRANTED")
    foreign = Talk(several.ask(question(CODE, ""), {}), answering(ticket=reply(row(eventId="e9"))))
    assert foreign.result == Refused(Verdict.WRONG_EVENT, "a ticket of event e9")
    assert "scan" not in asked(foreign.requests)


def test_trap_7_of_one_event_it_is_known_without_being_named() -> None:
    granted = reply({"access": "GRANTED", "ticket": row()})
    talk = Talk(vivenu().ask(question(CODE, ""), {}), answering(ticket=reply(row()), scan=granted))
    assert talk.result == Accepted("GRANTED")
    assert query(talk.requests[1]) == {"eventId": EVENT}


@pytest.mark.parametrize(
    ("ticket", "admits"),
    [(row(), True), ({}, True), (row(eventId=None), True), (None, True), (row(eventId=OTHER), False)],
)
def test_trap_7_what_is_granted_for_another_event_all_the_same_opens_nothing(
    ticket: Any, admits: bool
) -> None:
    granted = reply({"access": "GRANTED", "ticket": ticket})
    talk = Talk(vivenu().ask(question(CODE, EVENT), {}), answering(ticket=reply(row()), scan=granted))
    spent = Refused(Verdict.CALL_STAFF, "granted, for a ticket of event e2", doubt=True)
    assert talk.result == (Accepted("GRANTED") if admits else spent)


def test_trap_7_nor_is_a_type_scanned_that_vivenu_does_not_let_us_scan() -> None:
    rules = [{"eventId": EVENT, "allowedTicketTypeIds": ["t2"]}]
    for perimeter in Perimeter:
        found = answering(me({"events": rules}), ticket=reply(row()))
        talk = Talk(vivenu().ask(question(CODE, EVENT, perimeter=perimeter), {}), found)
        assert isinstance(talk.result, Refused)
        assert talk.result.verdict is Verdict.WRONG_TYPE
        assert "scan" not in asked(talk.requests)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("VALID", Verdict.REFUSED),
        ("INVALID", Verdict.CANCELLED),
        ("RESERVED", Verdict.BLOCKED),
        ("DETAILSREQUIRED", Verdict.BLOCKED),
        ("BLANK", Verdict.BLOCKED),
        ("NEVERHEARD", Verdict.BLOCKED),
    ],
)
def test_traps_8_and_12_a_denial_has_the_reason_of_the_status_or_none(status: str, verdict: Verdict) -> None:
    denied = reply({"access": "DENIED", "ticket": row(status=status)})
    talk = Talk(vivenu().ask(question(CODE, EVENT), {}), answering(ticket=reply(row()), scan=denied))
    assert isinstance(talk.result, Refused)
    assert talk.result.verdict is verdict
    assert verdict is not Verdict.USED
    assert status == "VALID" or status in talk.result.text


@pytest.mark.parametrize("where", ["ticket", "scan"])
def test_trap_9_a_404_is_an_answer_and_no_outage(where: str) -> None:
    by_path = {"ticket": reply(row()), "scan": reply(row())} | {where: no_such()}
    talk = Talk(vivenu().ask(question(CODE, EVENT), {}), answering(None, **by_path))
    assert isinstance(talk.result, Refused)
    assert talk.result.verdict is Verdict.UNKNOWN


# --- 10 and 11: uploads ------------------------------------------------------------------------------------


def test_traps_10_and_11_an_upload_is_a_bare_array_in_capitals() -> None:
    scans = [told("A"), told("B", ticket_id="", direction=Direction.OUT)]
    talk = Talk(vivenu().tell(scans), answering(upload=reply(OK)))
    assert uploads(talk.requests) == [
        [
            {"ticketId": "64", "barcode": "A", "scanned_at": AT, "type": "OK", "direction": "IN"},
            {"barcode": "B", "scanned_at": AT, "type": "OK", "direction": "OUT"},
        ]
    ]
    assert talk.requests[-1].url.path == "/api/accessusers/scans/e1"
    assert talk.requests[-1].headers["content-type"] == "application/json"
    assert talk.result == (Accepted("OK, for an array of 2"),) * 2


LOST_UPLOADS = [
    Lost("cut"),
    reply({}, 500),
    reply({}, 503),
    reply({"status": "ERROR"}),
    reply([]),
    httpx.Response(200, content=b"<html>"),
]


@pytest.mark.parametrize("lost", LOST_UPLOADS)
def test_trap_10_an_array_without_its_one_word_is_uncertain_and_never_sent_again(lost: Any) -> None:
    vendor = vivenu()
    talk = Talk(vendor.tell([told("A"), told("B")]), answering(upload=lost))
    assert [type(outcome) for outcome in talk.result] == [Unsure, Unsure]
    assert asked(talk.requests).count("upload") == 1
    doubt = Talk(vendor.tell([told("A", doubt=True)]), answering())
    assert [type(outcome) for outcome in doubt.result] == [Unsure]
    assert uploads(doubt.requests) == []


@pytest.mark.parametrize("lost", LOST_UPLOADS)
def test_trap_10_it_is_sent_again_where_the_operator_says_so(lost: Any) -> None:
    vendor = vivenu(send_again=True)
    talk = Talk(vendor.tell([told("A")]), answering(upload=lost))
    assert [type(outcome) for outcome in talk.result] == [Again]
    again = Talk(vendor.tell([told("A", doubt=True)]), answering(upload=reply(OK)))
    assert again.result == (Accepted("OK, for an array of 1"),)


def test_trap_10_after_a_lost_reply_nothing_is_uploaded_before_vivenu_answers_a_question() -> None:
    vendor = vivenu()
    Talk(vendor.tell([told("A")]), answering(upload=Lost("gone")))
    with pytest.raises(Outage) as down:
        Talk(vendor.tell([told("B")]), in_turn(Lost("still gone")))
    assert not isinstance(down.value, Lost), "nothing was sent that could have had an effect"
    back = Talk(vendor.tell([told("B")]), answering(upload=reply(OK)))
    assert asked(back.requests) == ["me", "upload"]
    then = Talk(vendor.tell([told("C")]), answering(upload=reply(OK)))
    assert asked(then.requests) == ["upload"]


def test_trap_10_what_was_not_sent_after_a_lost_array_may_go_later() -> None:
    answers = in_turn(reply(OK), Lost("gone"))
    scans = [told("A"), told("B"), told("C")]
    talk = Talk(vivenu(batch_size=1).tell(scans), answering(upload=answers))
    first, second, third = talk.result
    assert isinstance(first, Accepted)
    assert isinstance(second, Unsure)
    assert third == Again(third.why if isinstance(third, Again) else "", doubt=False)


@pytest.mark.parametrize("away", [NotSent("no way"), reply({}, 429)])
def test_trap_10_an_upload_that_was_not_carried_out_is_an_outage_without_doubt(away: Any) -> None:
    with pytest.raises(Outage) as down:
        Talk(vivenu().tell([told("A")]), answering(upload=away))
    assert not isinstance(down.value, Lost)


# --- 12 to 16 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "standing"),
    [
        ("VALID", Status.VALID),
        ("INVALID", Status.CANCELLED),
        ("DETAILSREQUIRED", Status.BLOCKED),
        ("RESERVED", Status.BLOCKED),
        ("BLANK", Status.BLOCKED),
        ("NEVERHEARD", Status.BLOCKED),
        (None, Status.BLOCKED),
        (7, Status.BLOCKED),
    ],
)
def test_trap_12_only_valid_admits_and_no_word_breaks_the_list(status: Any, standing: Status) -> None:
    talk = Talk(vivenu().tickets(""), answering(list=page([row(status=status)])))
    assert talk.tickets[0].status is standing
    assert talk.result.skipped == 0


def test_trap_13_the_page_size_is_always_sent() -> None:
    talk = Talk(vivenu().tickets(""), answering(list=page([])))
    assert [query(request)["top"] for request in talk.requests[1:]] == [str(PAGE_SIZE)] * 2
    with pytest.raises(ValueError, match="page_size: 1 to 1000"):
        vivenu(page_size=1001)


def test_trap_14_the_token_is_in_a_header_of_its_own_and_nowhere_else() -> None:
    vendor = vivenu()
    talks: list[Talk[Any]] = [
        Talk(vendor.tickets(""), answering(list=page([row()]))),
        Talk(vendor.tell([told()]), answering(upload=reply(OK))),
        Talk(
            vendor.ask(question(CODE, EVENT), {}),
            answering(ticket=reply(row()), scan=reply({"access": "GRANTED", "ticket": row()})),
        ),
    ]
    for request in (request for talk in talks for request in talk.requests):
        assert request.headers["token"] == "token-of-ours"
        assert "authorization" not in request.headers
        assert "token-of-ours" not in str(request.url)
    assert vendor.secrets() == ("token-of-ours",)


@pytest.mark.parametrize("status", [401, 403])
def test_trap_14_a_token_that_is_refused_is_for_a_person(status: int) -> None:
    with pytest.raises(Misconfigured, match="set a new one and restart the bridge"):
        Talk(vivenu().tickets(""), in_turn(reply({}, status)))
    with pytest.raises(Misconfigured, match="set a new one and restart the bridge"):
        Talk(vivenu().tell([told()]), answering(upload=reply({}, status)))


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("V/12?+3", "V%2F12%3F%2B3"),
        ("a b%20", "a%20b%2520"),
        ("..", "%2E%2E"),
        ("me", "me"),
        ("ção", "%C3%A7%C3%A3o"),
    ],
)
def test_trap_15_barcodes_in_the_path_are_percent_encoded(code: str, part: str) -> None:
    talk = Talk(
        vivenu().ask(question(code, EVENT), {}),
        answering(ticket=reply(row(code=code)), scan=reply({"access": "GRANTED", "ticket": row(code=code)})),
    )
    assert talk.requests[1].url.raw_path.startswith(f"/api/accessusers/tickets/{part}?".encode())
    assert talk.requests[2].url.raw_path == f"/api/accessusers/tickets/{part}/scan".encode()


@pytest.mark.parametrize("code", ["", "x" * 513, "ç" * 334, "." * 513, "\ud800", "\0"])
def test_trap_15_a_barcode_that_cannot_be_one_never_leaves_the_house(code: str) -> None:
    assert isinstance(Talk(vivenu().ask(question(code, EVENT), {}), in_turn()).result, Refused)
    talk = Talk(vivenu().tell([told(code)]), answering())
    assert [type(outcome) for outcome in talk.result] == [Unsure]
    assert uploads(talk.requests) == []


@pytest.mark.parametrize("code", ["x" * 512, "ç" * 333, "." * 512])
def test_trap_15_the_longest_barcode_fits_into_a_request_line(code: str) -> None:
    granted = reply({"access": "GRANTED", "ticket": row(code=code)})
    talk = Talk(
        vivenu().ask(question(code, EVENT), {}), answering(ticket=reply(row(code=code)), scan=granted)
    )
    assert talk.result == Accepted("GRANTED")
    assert max(len(request.url.raw_path) for request in talk.requests) < 2100


def test_trap_16_only_a_whole_list_says_that_what_it_lacks_is_gone() -> None:
    vendor = vivenu()
    first = Talk(vendor.tickets(""), answering(list=page([row()])))
    assert first.result.whole
    soon = me()
    soon.headers["Date"] = "Sun, 17 Mar 2030 17:46:50 GMT"
    assert not Talk(vendor.tickets(first.result.since), answering(soon, list=page([]))).result.whole


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_a_code_in_the_words_of_an_error_is_in_no_text_of_ours(status: int) -> None:
    # A gate's journal keeps what vivenu says for weeks, and a clear code only until its receipt.
    code, parts = "4711/08 15", ("4711/08 15", "4711%2F08%2015", "token-of-ours")
    echo = reply({"statusCode": status, "error": "So", "message": f"no {' '.join(parts)}"}, status)
    vendor = vivenu()
    flows: list[tuple[Any, dict[str, Any]]] = [
        (vendor.ask(question(code), {}), {"ticket": echo}),
        (vendor.ask(question(code), {}), {"ticket": reply(row(code=code)), "scan": echo}),
        (vendor.tell([told(code)]), {"upload": echo}),
    ]
    for flow, by_path in flows:
        try:
            said = repr(Talk(flow, answering(**by_path)).result)
        except (Outage, Misconfigured) as trouble:
            said = repr(trouble)
        assert "So: no *** *** ***" in said
        assert not [part for part in parts if part in said]
