"""Error bodies of Ingresse, most with HTTP 200: whom each is about, in asks, tells, looks and lists."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from firmware import wire
from firmware.bridge.asking import Asking
from firmware.bridge.breaker import FAILURES_IN_A_ROW, Breaker
from firmware.bridge.sandbox.ingresse import Sandbox
from firmware.bridge.vendor import Accepted, Again, LogInRefused, Lost, Misconfigured, Outage, Refused, Unsure
from firmware.bridge.work import Faults
from firmware.core.ticket import Direction, Perimeter, Verdict
from tests.bridge.conversation import (
    AT_MS,
    CODE,
    Reply,
    Talk,
    in_turn,
    ingresse,
    looked,
    reply,
    told,
    updated,
)
from tests.bridge.test_ingresse_asks import ENTERED, asked, refusal
from tests.bridge.test_sandbox_adapter import account
from tests.brokers import until

INNER_EXIT: dict[str, Any] = {"perimeter": Perimeter.INNER, "direction": Direction.OUT}


def error(message: str, code: object = 4004, category: str = "x", status: int = 200) -> httpx.Response:
    """An error as v1 sends it."""
    named = {"code": code, "message": message, "category": category}
    return reply({"responseData": f"[Ingresse Exception Error] {message}", "responseError": named}, status)


NO_TICKET = [
    error("Ticket not found"),
    error("ticket code not found", "9"),
    error("Ticket not found for event 28180"),
    error("Ticket not found", status=404),
    error("Ticket not found", status=400),
    error("Ingresso n\u00e3o encontrado"),
    error("nothing", "TICKET_NOT_FOUND"),
    error("nothing", "TicketNotFoundException"),
    error(f"Ticket {CODE} not found."),
    error("code 05.1803.275109.20 does not exist"),
    error("Invalid ticket code: not found"),
    error("No such ticket"),
    error("C\u00f3digo do ingresso n\u00e3o foi encontrado"),
    reply({"code": 4004, "message": "Ticket not found"}, 404),
    reply({"responseData": "Ticket not found"}),
    reply({"data": "[Ingresse Exception Error] Ticket not found"}),
    reply({"responseData": "[Ingresse Exception Error]", "responseError": {"details": "Ticket not found"}}),
    httpx.Response(200, text="[Ingresse Exception Error] Ticket not found"),
]
OF_US = [
    error("Public key not found"),
    error("Application not found", "NOT_FOUND"),
    error("Company not found", category="NOT_FOUND"),
    error("Method not found"),
    error("no such api key"),
    error("Chave p\u00fablica n\u00e3o encontrada"),
    error("Public key of ticket 5 not found"),
    error("Ticket not found", category="Company not found"),
    error("Ticket not found", category="AccessDenied: forbidden"),
    error("no", "FORBIDDEN"),
    error("Event 1 not found"),
    error("Session of code 7 not found"),
    error("event unknown", 3027),
    error("User has no permission"),
    error("no", category="AccessDenied: forbidden"),
    error("Not found", status=404),
    error("Bad request", 400),
    reply({}, 404),
]
UNCLEAR = [
    error("error code 99: resource not found"),
    error("Error code not found"),
    error("Code 404: not found", 1),
    error("code 404 not found", 1),
    error("code E-404 not found", 1),
    error("Promo code not found"),
    error("Guest list not found"),
    error("Ticket service not found"),
    error("Ticket session not found"),
    error("Ticket not found for this user"),
    error("Ticket type does not exist"),
    error("Ticket /ticket/981/status not found"),
    error("Ticket not found, or the service is down"),
    error("Public trouble", 1, "NOT_FOUND"),
    error("Public trouble", "NOT_FOUND"),
]
ONLY_WORDS = [
    error("Not found", 1, "NOT_FOUND"),
    error("not found", "NOT_FOUND", ""),
    reply({"responseData": "Not Found."}),
    httpx.Response(200, text="[Ingresse Exception Error] NotFoundException"),
]
ODD = [*UNCLEAR, error("odd"), reply({"responseData": None}), reply({"responseData": {}}), reply({})]


def tell(*replies: Reply, **more: Any) -> Talk[Any]:
    return Talk(ingresse().tell([told(**more)]), in_turn(*replies))


# --- no such ticket ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", NO_TICKET)
def test_an_ask_about_a_ticket_that_is_not_there_is_answered_as_by_status_2(body: Reply) -> None:
    talk = asked(body)
    assert talk.result == Refused(Verdict.UNKNOWN, "Ingresse has no such ticket")
    assert refusal(asked(updated({"code": CODE, "status": 2}))) is Verdict.UNKNOWN


@pytest.mark.parametrize("body", NO_TICKET)
@pytest.mark.parametrize("more", [{"doubt": True}, {"doubt": True, "unanswered": True}])
def test_a_look_that_finds_no_ticket_is_for_a_person_at_once(body: Reply, more: dict[str, Any]) -> None:
    assert [type(outcome) for outcome in tell(body, **more).result] == [Unsure]
    assert [type(outcome) for outcome in tell(Lost("cut"), body).result] == [Unsure]


@pytest.mark.parametrize("body", NO_TICKET)
def test_an_update_of_a_ticket_that_is_not_there_is_refused_and_holds_up_nobody(body: httpx.Response) -> None:
    assert tell(body).result[0].verdict is Verdict.UNKNOWN

    def answer(request: httpx.Request) -> httpx.Response:
        return body if b'"GONE"' in request.content else updated({"code": "A", "status": 1})

    talk = Talk(ingresse().tell([told("GONE"), told("A")]), answer)
    assert [type(outcome) for outcome in talk.result] == [Refused, Accepted]


@pytest.mark.parametrize("body", NO_TICKET)
def test_on_the_way_out_of_an_inner_lane_it_is_unknown_too(body: Reply) -> None:
    assert refusal(asked(body, **INNER_EXIT)) is Verdict.UNKNOWN


@pytest.mark.parametrize("body", ONLY_WORDS)
def test_not_found_and_no_more_is_an_answer_to_who_asks_but_refuses_nobody_who_went_in(body: Reply) -> None:
    assert asked(body).result == Refused(Verdict.UNKNOWN, "Ingresse has no such ticket")
    assert refusal(asked(body, **INNER_EXIT)) is Verdict.UNKNOWN
    assert [type(outcome) for outcome in tell(body, doubt=True).result] == [Unsure]
    with pytest.raises(Misconfigured, match=r"(?i)not.?found"):
        tell(body)


@pytest.mark.parametrize("body", [*ONLY_WORDS, *OF_US, *UNCLEAR])
def test_no_error_about_a_whole_call_settles_a_movement(body: httpx.Response) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return looked(None)
        alone = b'"A"' in request.content and b'"B"' not in request.content
        return updated({"code": "A", "status": 1}) if alone else body

    done, *others = Talk(ingresse().tell([told("A"), told("B"), told("C")]), answer).result
    assert isinstance(done, Accepted)
    assert [type(outcome) for outcome in others] == [Again, Again]


@pytest.mark.parametrize("body", [*(body for body in OF_US if body.status_code != 404), *UNCLEAR])
def test_nor_does_it_end_a_doubt_or_blame_the_ticket_on_the_way_out_of_an_inner_lane(body: Reply) -> None:
    (outcome,) = tell(body, doubt=True).result
    assert isinstance(outcome, Again)
    assert outcome.doubt
    out = asked(body, **INNER_EXIT).result
    assert isinstance(out, Refused)
    assert (out.verdict, bool(out.fault)) == (Verdict.REFUSED, True)


# --- a fault of ours ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", OF_US)
def test_what_is_wrong_with_us_refuses_an_ask_and_is_a_fault(body: Reply) -> None:
    talk = asked(body)
    assert refusal(talk) is Verdict.REFUSED
    assert isinstance(talk.result, Refused)
    assert talk.result.fault
    assert not talk.result.doubt


@pytest.mark.parametrize("body", OF_US)
def test_what_is_wrong_with_us_waits_until_it_is_mended(body: Reply) -> None:
    with pytest.raises(Misconfigured):
        tell(body)
    with pytest.raises(Misconfigured):
        Talk(ingresse().tickets(""), in_turn(body))


@pytest.mark.parametrize(
    ("body", "lasts"),
    [(error("x", 3027), True), (error("User has no permission"), True), (error("Bad request", 400), False)],
)
def test_an_event_that_is_barred_waits_for_days_while_another_is_told(
    body: httpx.Response, lasts: bool
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return body if "/7/" in request.url.path else updated({"code": CODE, "status": 1})

    talk = Talk(ingresse().tell([told(), told("B", event="7")]), answer)
    done, waits = talk.result
    assert isinstance(done, Accepted)
    assert isinstance(waits, Again)
    assert (waits.doubt, waits.unsent) == (False, lasts)


def test_403_holds_up_looks_too_whatever_it_says() -> None:
    with pytest.raises(Misconfigured, match="may not manage"):
        tell(error("User has no permission", status=403), doubt=True)


@pytest.mark.parametrize("more", [{"doubt": True}, {"doubt": True, "unanswered": True}])
def test_whoever_may_update_and_not_look_still_tells_of_all_that_needs_no_look(more: dict[str, Any]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return updated({"code": "B", "status": 1}) if request.method == "POST" else reply({}, 403)

    doubtful = [told(f"A{number}", **more) for number in range(4)]
    talk = Talk(ingresse().tell([*doubtful, told("B")]), answer)
    *stay, done = talk.result
    assert isinstance(done, Accepted)
    assert all(isinstance(outcome, Again) and outcome.doubt for outcome in stay)
    assert [request.method for request in talk.requests] == ["GET", "GET", "POST"]


def test_a_log_in_that_is_refused_to_a_look_ends_the_telling() -> None:
    vendor = ingresse(login="password", email="doors@example.com", password="secret-word")
    with pytest.raises(LogInRefused):
        Talk(vendor.tell([told(doubt=True), told("B")]), in_turn(reply({"status": False})))


def test_a_right_that_is_missing_refuses_the_way_out_of_an_inner_lane_without_blaming_the_ticket() -> None:
    for body in (error("User has no permission"), error("odd")):
        assert refusal(asked(body, **INNER_EXIT)) is Verdict.REFUSED


def test_a_log_in_that_finds_no_user_says_so() -> None:
    vendor = ingresse(login="password", email="doors@example.com", password="secret-word")
    with pytest.raises(Misconfigured, match="User not found"):
        asked(error("User not found"), vendor=vendor)


# --- what says neither -------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ODD)
def test_an_error_of_no_known_kind_refuses_an_ask_and_is_no_outage(body: Reply) -> None:
    not_done = asked(body, looked(None))
    assert isinstance(not_done.result, Refused)
    assert not_done.result.fault
    assert (not_done.result.verdict, not_done.result.doubt) == (Verdict.REFUSED, False)
    assert isinstance(asked(body, looked(ENTERED)).result, Accepted)


@pytest.mark.parametrize("found", [Lost("cut"), error("odd"), error("Ticket not found")])
def test_and_where_no_look_tells_what_became_of_it_staff_sees_to_it(found: Reply) -> None:
    talk = asked(error("odd"), found)
    assert refusal(talk) is Verdict.CALL_STAFF
    assert isinstance(talk.result, Refused)
    assert talk.result.doubt


@pytest.mark.parametrize("body", [error("odd"), error("User has no permission")])
def test_a_look_that_is_answered_with_another_error_is_made_again(body: Reply) -> None:
    (outcome,) = tell(body, doubt=True).result
    assert isinstance(outcome, Again)
    assert outcome.doubt


# --- outages and log-ins that say so in the body ------------------------------------------------------------


@pytest.mark.parametrize("code", [429, "503", 500])
def test_a_status_in_the_body_counts_as_if_it_were_that_of_the_reply(code: object) -> None:
    with pytest.raises(Outage):
        asked(error("busy", code), looked(None))
    with pytest.raises(Outage):
        Talk(ingresse().tickets(""), in_turn(error("busy", code)))


@pytest.mark.parametrize("status", [500, 503, 429])
def test_words_make_no_answer_of_an_outage(status: int) -> None:
    with pytest.raises(Outage):
        asked(error("Ticket not found", status=status), looked(None))


@pytest.mark.parametrize("code", [1, 2006, "2012", 401])
def test_a_log_in_that_is_over_is_renewed(code: object) -> None:
    body = error("Token Expired" if code == 1 else "x", code)
    fresh = reply({"responseData": {"token": "77-fresh", "authToken": "a.b.c"}})
    assert isinstance(asked(body, fresh, updated({"code": CODE, "status": 1})).result, Accepted)


# --- with the breaker, over HTTP ----------------------------------------------------------------------------


class Anywhere:
    """An account without devices, and all answers that gates were sent."""

    def __init__(self) -> None:
        self.answers: list[wire.Answer] = []

    def knows(self, gate: str) -> bool:
        return True

    def kept(self, gate: str, perimeter: Perimeter) -> Mapping[str, str]:
        return {}

    def suspect(self, gate: str, perimeter: Perimeter) -> None:
        pass

    def answer(self, gate: str, answer: wire.Answer) -> None:
        self.answers.append(answer)


@pytest.mark.parametrize("word", ["Ticket not found", "Key not found", "User has no permission", "odd"])
def test_errors_with_http_200_are_answers_after_which_gates_ask_on(word: str) -> None:
    gates, asks = Anywhere(), 2 * FAILURES_IN_A_ROW
    with Sandbox(tickets=80) as sandbox:
        vendor, driver = account(sandbox)
        breaker = Breaker(lambda: None)
        (code,) = sandbox.codes(1, sold=True, refunded=False)
        event = sandbox.events[0]
        asking = Asking("box", vendor, driver, breaker, Faults(), gates.answer, gates, lambda: AT_MS)
        with driver, asking:
            for number in range(asks):
                sandbox.misbehave("said", "update", word=word)
                ask = wire.Ask(
                    scan=number, digest=b"d" * 16, account="box", code=code, ticket_id="",
                    event=str(event.id),
                    session=str(event.sessions[0].id), direction=Direction.IN, perimeter=Perimeter.OUTER,
                    at_utc_ms=AT_MS, left_ms=60_000,
                )  # fmt: skip
                asking.take("north", ask)
                until(lambda number=number: len(gates.answers) > number)  # type: ignore[misc]  # bound now
            assert {answer.word for answer in gates.answers} == {wire.Word.REFUSED}
            assert asking.counts.answered == asks
            assert breaker.openings == 0
        assert sandbox.books().changes == 0


@pytest.mark.parametrize("hidden", ["77-0123456789abcdef", "key-of-ours", CODE])
@pytest.mark.parametrize("status", [200, 400])
def test_what_an_error_repeats_of_our_secrets_or_the_code_stands_in_no_outcome(
    hidden: str, status: int
) -> None:
    said = error(f"odd usertoken {hidden}", status=status)
    for result in (
        tell(said, doubt=True).result,
        asked(said, **INNER_EXIT).result,
        asked(said, *([looked(None)] if status == 200 else [])).result,
    ):
        assert hidden not in repr(result)
    assert "odd usertoken ***" in repr(tell(said, doubt=True).result)
    with pytest.raises(Outage, match=r"odd usertoken \*\*\*") as down:
        asked(error(f"odd usertoken {hidden}", status=500), looked(None))
    assert hidden not in str(down.value)
