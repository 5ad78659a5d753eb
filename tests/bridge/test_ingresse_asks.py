"""Ingresse as the one who decides: its online update, and each trap of its page that an ask may step into."""

from typing import Any

import httpx
import pytest

from firmware.bridge.driver import Driver
from firmware.bridge.ingresse import Ingresse
from firmware.bridge.sandbox.ingresse import Sandbox
from firmware.bridge.vendor import (
    LATE_S,
    Accepted,
    LogInRefused,
    Lost,
    Misconfigured,
    NotSent,
    Outage,
    Question,
    Refused,
    Told,
    Unsure,
)
from firmware.core.ticket import Direction, Perimeter, Verdict
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
from tests.bridge.test_sandbox_adapter import account

OURS = {"id": "5", "timestamp": str(AT_MS), "operator": {"id": "77"}}
THEIRS = {"id": "6", "timestamp": str(AT_MS - 60_000), "operator": {"id": "12"}}
ENTERED = {**OURS, "operation": "checkin"}
NOT_FOUND = reply(
    {"responseData": "[Ingresse Exception Error] Ticket not found", "responseError": {"code": 9}}
)


def question(code: str = CODE, **more: Any) -> Question:
    """An entry that a gate asks about."""
    asked = Question(code, "981", "28180", "43058", Direction.IN, Perimeter.OUTER, AT_MS, "north-1")
    return asked._replace(**more)


def asked(*replies: Reply, vendor: Ingresse | None = None, **more: Any) -> Talk[Accepted | Refused]:
    """A whole conversation about one question."""
    return Talk((vendor or ingresse()).ask(question(**more), {}), in_turn(*replies))


def entry(status: object, last: object = None, code: str = CODE) -> httpx.Response:
    return updated({"id": "981", "code": code, "status": status, "lastCheckin": last})


def refusal(talk: Talk[Accepted | Refused]) -> Verdict:
    assert isinstance(talk.result, Refused)
    return talk.result.verdict


# --- what is sent, and what the answer means --------------------------------------------------------------


@pytest.mark.parametrize("status", [1, "1", 1.0], ids=repr)
def test_an_ask_is_one_update_with_the_time_of_the_scan_and_opens_on_status_1_alone(status: object) -> None:
    talk = asked(entry(status, OURS))
    assert isinstance(talk.result, Accepted)
    assert talk.updates == [
        [
            {
                "ticketCode": CODE,
                "ticketStatus": "1",
                "ticketTimestamp": str(AT_MS),
                "sessionId": "43058",
            }
        ]
    ]
    assert query(talk.requests[0])["method"] == "updatestatus"


def test_it_is_sent_once_and_waited_for_beyond_its_deadline() -> None:
    (request,) = asked(entry(1)).requests
    assert request.extensions["tries"] == 1
    assert request.extensions["timeout"]["read"] == ingresse().deadline_ms / 1000 + LATE_S
    assert ingresse().deadline_ms == 1500


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (2, Verdict.UNKNOWN),
        (4, Verdict.WRONG_SESSION),
        (5, Verdict.REFUSED),
        (6, Verdict.REFUNDED),
        (0, Verdict.REFUSED),
        (7, Verdict.REFUSED),
        (99, Verdict.REFUSED),
    ],
)
def test_traps_10_and_13_every_other_number_refuses(status: int, verdict: Verdict) -> None:
    talk = asked(entry(status))
    assert refusal(talk) is verdict
    assert len(talk.requests) == 1


def test_status_5_is_a_fault_of_ours_and_no_word_about_the_ticket() -> None:
    talk = asked(entry(5))
    assert isinstance(talk.result, Refused)
    assert "report this" in talk.result.fault
    others = [asked(entry(status)).result for status in (0, 2, 4, 6, 7)]
    assert not any(one.fault for one in others if isinstance(one, Refused))


def test_an_exit_is_an_update_too() -> None:
    talk = asked(entry(1), direction=Direction.OUT)
    assert isinstance(talk.result, Accepted)
    assert talk.updates[0][0]["ticketStatus"] == "0"
    assert refusal(asked(entry(3, THEIRS), looked(None), direction=Direction.OUT)) is Verdict.NOT_INSIDE


def test_trap_3_a_code_with_a_question_mark_is_looked_up_as_itself() -> None:
    talk = asked(Lost("cut"), looked(ENTERED))
    assert isinstance(talk.result, Accepted)
    assert b"%3F000082%3F" in talk.requests[1].url.raw_path


@pytest.mark.parametrize(
    "body",
    [
        {"responseData": "[Ingresse Exception Error]", "responseError": {"code": 1, "message": "no"}},
        {"responseData": []},
        {"responseData": [{"code": "another", "status": 1}]},
    ],
)
def test_trap_6_a_reply_without_an_answer_refuses_and_is_no_outage(body: Any) -> None:
    talk = asked(reply(body), NotSent("no time"))
    assert refusal(talk) is Verdict.CALL_STAFF
    assert isinstance(talk.result, Refused)
    assert talk.result.doubt, "it may have been carried out"
    assert talk.result.fault
    assert isinstance(asked(reply(body), looked(ENTERED)).result, Accepted)


@pytest.mark.parametrize("status", [None, "", "executed", True, [1], 1.5])
def test_trap_10_a_status_that_cannot_be_read_refuses_whatever_a_look_would_say(status: Any) -> None:
    for answer in (entry(status, OURS), updated({"code": CODE})):
        talk = asked(answer)
        assert refusal(talk) is Verdict.CALL_STAFF
        assert isinstance(talk.result, Refused)
        assert talk.result.doubt, "it may have been carried out"
        assert talk.result.fault


# --- 7: already in that state ------------------------------------------------------------------------------


def test_trap_7_status_3_of_our_own_lost_update_is_a_yes() -> None:
    assert isinstance(asked(entry(3, OURS)).result, Accepted)


def test_trap_7_status_3_of_somebody_else_is_used() -> None:
    assert refusal(asked(entry(3, THEIRS))) is Verdict.USED


@pytest.mark.parametrize("again", [False, True])
def test_trap_7_where_it_does_not_say_whose_a_look_decides(again: bool) -> None:
    found = asked(entry(3), looked(ENTERED), again=again)
    assert isinstance(found.result, Accepted)
    other = asked(entry(3), looked({**THEIRS, "operation": "checkin"}), again=again)
    assert refusal(other) is Verdict.USED


@pytest.mark.parametrize(("again", "verdict"), [(False, Verdict.USED), (True, Verdict.CALL_STAFF)])
def test_trap_7_and_where_the_look_fails_staff_sees_to_who_was_asked_about_before(
    again: bool, verdict: Verdict
) -> None:
    talk = asked(entry(3), Lost("cut"), again=again)
    assert refusal(talk) is verdict
    assert isinstance(talk.result, Refused)
    assert talk.result.doubt is again


EARLIER = {**OURS, "timestamp": str(AT_MS - 60_000)}
NOBODYS = {"id": "7", "timestamp": str(AT_MS - 60_000)}


@pytest.mark.parametrize("last", [EARLIER, NOBODYS])
@pytest.mark.parametrize("says_at_once", [False, True])
def test_trap_7_an_earlier_ask_of_ours_without_an_answer_may_be_what_moved_it(
    last: dict[str, Any], says_at_once: bool
) -> None:
    replies = entry(3, last if says_at_once else None), looked({**last, "operation": "checkin"})
    talk = asked(*replies, again=True)
    assert refusal(talk) is Verdict.CALL_STAFF
    assert isinstance(talk.result, Refused)
    assert talk.result.doubt
    assert refusal(asked(*replies)) is Verdict.USED


def test_trap_7_another_status_is_no_echo() -> None:
    talk = asked(entry(4), again=True)
    assert isinstance(talk.result, Refused)
    assert not talk.result.doubt


# --- lost replies ------------------------------------------------------------------------------------------


def test_trap_8_after_a_lost_reply_a_look_tells_and_the_update_is_never_sent_again() -> None:
    talk = asked(Lost("cut"), looked(ENTERED))
    assert isinstance(talk.result, Accepted)
    assert [request.method for request in talk.requests] == ["POST", "GET"]


def test_an_update_that_ingresse_failed_at_and_did_not_carry_out_leaves_no_doubt() -> None:
    with pytest.raises(Outage) as down:
        asked(reply({}, 500), looked(None))
    assert not isinstance(down.value, Lost)


@pytest.mark.parametrize("lost", [Lost("cut"), reply({}, 502), reply({}, 504)])
def test_an_update_that_ingresse_said_nothing_to_may_still_be_carried_out_after_the_look(lost: Reply) -> None:
    with pytest.raises(Lost):
        asked(lost, looked(None))


@pytest.mark.parametrize("found", [NotSent("no time"), Lost("cut"), reply({}, 500)])
def test_without_a_look_the_doubt_stays(found: Reply) -> None:
    with pytest.raises(Lost):
        asked(Lost("cut"), found)


BARRED = [[reply({"message": "no permission"}, 403)], [reply({}, 302)], [reply({}, 401), reply({}, 401)]]


@pytest.mark.parametrize("look", BARRED)
@pytest.mark.parametrize("lost", [Lost("cut"), reply({}, 500), reply({}, 502)])
def test_whoever_may_update_and_not_look_keeps_the_doubt_of_a_lost_reply(
    lost: Reply, look: list[Reply]
) -> None:
    with pytest.raises(Lost):
        asked(lost, *look)


@pytest.mark.parametrize("look", BARRED)
def test_nor_is_an_error_with_http_200_a_sure_no_to_whoever_may_not_look(look: list[Reply]) -> None:
    talk = asked(reply({"responseData": []}), *look)
    assert refusal(talk) is Verdict.CALL_STAFF
    assert isinstance(talk.result, Refused)
    assert talk.result.doubt
    assert "look-up" in talk.result.fault, "a person has to mend that"


@pytest.mark.parametrize("look", BARRED)
@pytest.mark.parametrize(("again", "verdict"), [(False, Verdict.USED), (True, Verdict.CALL_STAFF)])
def test_trap_7_whose_status_3_is_stays_open_to_whoever_may_not_look(
    again: bool, verdict: Verdict, look: list[Reply]
) -> None:
    talk = asked(entry(3), *look, again=again)
    assert refusal(talk) is verdict
    assert isinstance(talk.result, Refused)
    assert talk.result.doubt is again
    assert "look-up" in talk.result.fault


def test_a_log_in_that_is_refused_to_a_look_is_what_the_next_ask_hears_and_tries_none() -> None:
    vendor = ingresse(login="password", email="doors@example.com", password="secret-word")
    logged_in, refused = reply({"status": True, "data": {"token": "77-one"}}), reply({"status": False})
    assert isinstance(asked(logged_in, entry(1), vendor=vendor).result, Accepted)
    expired = reply({}, 401)
    with pytest.raises(Lost):
        asked(Lost("cut"), expired, expired, refused, vendor=vendor)
    with pytest.raises(LogInRefused):
        asked(vendor=vendor)
    asked(Lost("cut"), expired, expired, logged_in, looked(ENTERED), vendor=vendor)
    assert isinstance(asked(entry(1), vendor=vendor).result, Accepted)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failure_of_theirs_is_no_word_about_the_ticket(status: int) -> None:
    with pytest.raises(Outage):
        asked(reply({}, status), NotSent("no time"))


def test_429_was_not_carried_out() -> None:
    with pytest.raises(Outage) as down:
        asked(reply({}, 429))
    assert not isinstance(down.value, Lost)


@pytest.mark.parametrize("status", [400, 404, 422])
def test_what_is_rejected_is_refused_and_is_no_outage(status: int) -> None:
    talk = asked(reply({}, status))
    assert refusal(talk) is Verdict.REFUSED
    assert isinstance(talk.result, Refused)
    assert talk.result.fault


# --- who asks ----------------------------------------------------------------------------------------------


def test_an_expired_token_is_renewed_within_the_ask() -> None:
    renewed = reply({"responseData": {"token": "77-fresh", "authToken": "a.b.c"}})
    expired = reply({"message": "Token Expired"}, 401)
    talk = asked(expired, renewed, entry(1), vendor=ingresse(token="77-old"))
    assert isinstance(talk.result, Accepted)
    assert query(talk.requests[2])["usertoken"] == "77-fresh"
    assert len(talk.updates) == 2, "an expired token carries nothing out"


def test_a_token_that_cannot_be_renewed_is_for_a_person() -> None:
    with pytest.raises(Misconfigured, match="set a new token"):
        asked(reply({}, 401), reply({}, 401))
    password = ingresse(login="password", email="doors@example.com", password="secret-word")
    with pytest.raises(LogInRefused):
        asked(reply({"status": False, "message": "wrong"}), vendor=password)


# --- what is never sent ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {"code": ""},
        {"code": "x" * 8000},
        {"code": "\ud800"},
        {"event": "", "session": "no such session"},
        {"at_utc_ms": 1},
    ],
    ids=repr,
)
def test_what_cannot_be_asked_is_refused_here(more: dict[str, Any]) -> None:
    assert refusal(asked(**more)) is Verdict.UNLISTED


def test_a_ticket_of_no_list_is_asked_about_where_one_session_is_played() -> None:
    talk = asked(entry(1), ticket_id="", session="", event="")
    assert talk.updates[0][0]["sessionId"] == "43058"
    two = ingresse(events=(("28180", ("1", "2")),))
    assert refusal(asked(vendor=two, ticket_id="", session="")) is Verdict.UNLISTED


# --- inner lanes, trials, and asks that nobody answered ----------------------------------------------------


def test_at_an_inner_lane_whoever_is_inside_may_go_on() -> None:
    for status in (1, 3):
        assert isinstance(asked(entry(status, THEIRS), perimeter=Perimeter.INNER).result, Accepted)
    assert refusal(asked(entry(2), perimeter=Perimeter.INNER)) is Verdict.UNKNOWN


def test_the_way_out_of_an_inner_lane_changes_nothing_there() -> None:
    way: dict[str, Any] = {"perimeter": Perimeter.INNER, "direction": Direction.OUT}
    inside = asked(looked(ENTERED), **way)
    assert isinstance(inside.result, Accepted)
    assert inside.updates == []
    assert refusal(asked(looked({**ENTERED, "operation": "checkout"}), **way)) is Verdict.NOT_INSIDE
    assert refusal(asked(reply({}, 404), **way)) is Verdict.UNKNOWN


def test_a_trial_is_a_look_and_any_answer_will_do() -> None:
    for said in (looked(None), reply({}, 404), reply({}, 400)):
        talk = Talk(ingresse().trial(), in_turn(said))
        assert [request.method for request in talk.requests] == ["GET"]
    for trouble in (Lost("gone"), reply({}, 500), reply({}, 503), reply({}, 429)):
        with pytest.raises(Outage):
            Talk(ingresse().trial(), in_turn(trouble))


def test_a_trial_that_is_answered_with_an_error_and_http_200_is_answered() -> None:
    assert len(Talk(ingresse().trial(), in_turn(NOT_FOUND)).requests) == 1


def unanswered(**more: Any) -> Told:
    return told(doubt=True, unanswered=True, **more)


def test_what_became_of_an_ask_without_an_answer_is_looked_up_and_never_sent() -> None:
    spent = Talk(ingresse().tell([unanswered()]), in_turn(looked(ENTERED)))
    (outcome,) = spent.result
    assert isinstance(outcome, Unsure)
    assert "nobody was let in" in outcome.why
    clean = Talk(ingresse().tell([unanswered()]), in_turn(looked(None)))
    assert clean.result == (
        Refused(Verdict.NO_ANSWER, "it was asked, and a look shows that it was not carried out"),
    )
    assert spent.updates + clean.updates == []


@pytest.mark.parametrize(
    "last",
    [
        {"timestamp": str(AT_MS // 1000)},
        {"timestamp": None, "operator": {"id": "77"}},
        {"timestamp": str(AT_MS + 300), "operator": {"id": "77"}},
    ],
)
def test_and_where_the_look_does_not_say_whose_movement_it_is_a_person_looks(last: dict[str, Any]) -> None:
    (outcome,) = Talk(
        ingresse().tell([unanswered()]), in_turn(looked({"operation": "checkin", **last}))
    ).result
    assert isinstance(outcome, Unsure)
    assert "maybe for us" in outcome.why


def test_but_what_somebody_else_moved_was_not_moved_for_us() -> None:
    theirs = looked({**THEIRS, "operation": "checkin"})
    (outcome,) = Talk(ingresse().tell([unanswered()]), in_turn(theirs)).result
    assert isinstance(outcome, Refused)
    assert outcome.verdict is Verdict.NO_ANSWER


def test_an_ask_for_a_ticket_of_no_list_is_looked_up_likewise_where_one_session_is_played() -> None:
    ask = unanswered(session="", event="")
    (spent,) = Talk(ingresse().tell([ask]), in_turn(looked(ENTERED))).result
    assert isinstance(spent, Unsure)
    two = ingresse(events=(("28180", ("43058", "2")),))
    (unknown,) = Talk(two.tell([ask]), in_turn()).result
    assert isinstance(unknown, Refused)
    assert unknown.verdict is Verdict.UNLISTED


# --- a gate without a clock --------------------------------------------------------------------------------

YEARS_MS = 50 * 365 * 86_400_000  # behind: it shows 1970


@pytest.mark.parametrize("behind_ms", [-3_600_000, 86_400_000, YEARS_MS - 365 * 86_400_000, YEARS_MS])
def test_of_a_gate_without_a_clock_ingresse_hears_the_bridges_time(behind_ms: int) -> None:
    talk = asked(entry(1), at_utc_ms=AT_MS - behind_ms, true_utc_ms=AT_MS)
    assert isinstance(talk.result, Accepted)
    assert talk.updates[0][0]["ticketTimestamp"] == str(AT_MS)
    found = asked(Lost("cut"), looked(ENTERED), at_utc_ms=AT_MS - behind_ms, true_utc_ms=AT_MS)
    assert isinstance(found.result, Accepted), "the look knows it by the time that was sent"


@pytest.mark.parametrize("late_ms", [40, 2_000, 90_000])
def test_what_such_an_ask_moved_may_be_what_a_later_look_finds(late_ms: int) -> None:
    vendor = ingresse()
    asked(entry(1, OURS), vendor=vendor)  # which shows that Ingresse keeps our time
    moved = looked({**ENTERED, "timestamp": str(AT_MS + late_ms)})
    (exact,) = Talk(vendor.tell([unanswered()]), in_turn(moved)).result
    assert isinstance(exact, Refused), "the time of this ask is known, and it is another one"
    (outcome,) = Talk(vendor.tell([unanswered(untrusted=True)]), in_turn(moved)).result
    assert isinstance(outcome, Unsure)
    let_in = told(doubt=True, untrusted=True)
    (outcome,) = Talk(vendor.tell([let_in]), in_turn(moved, entry(3), moved)).result
    assert isinstance(outcome, Unsure)


def test_but_not_what_was_moved_before_it_or_by_somebody_else() -> None:
    for last in ({**ENTERED, "timestamp": str(AT_MS - 600_000)}, {**THEIRS, "operation": "checkin"}):
        (outcome,) = Talk(ingresse().tell([unanswered(untrusted=True)]), in_turn(looked(last))).result
        assert isinstance(outcome, Refused)


# --- against the sandbox -----------------------------------------------------------------------------------


def test_asks_at_the_sandbox_are_answered_once_each_and_break_no_rule() -> None:
    with Sandbox(tickets=80) as sandbox:
        vendor, driver = account(sandbox)
        with driver:
            tickets = _listed(vendor, driver)
            (code,) = sandbox.codes(1, sold=True, refunded=False)
            (refunded,) = sandbox.codes(1, refunded=True)
            one = tickets[code]
            enter = question(code, ticket_id=one.ticket_id, event=one.event, session=one.session)
            assert isinstance(driver.run(vendor.ask(enter, {})), Accepted)
            assert isinstance(driver.run(vendor.ask(enter, {})), Accepted), "the same scan, sent twice"
            later = driver.run(vendor.ask(enter._replace(at_utc_ms=AT_MS + 5000), {}))
            assert isinstance(later, Refused)
            assert later.verdict is Verdict.USED
            leave = enter._replace(direction=Direction.OUT, at_utc_ms=AT_MS + 6000)
            assert isinstance(driver.run(vendor.ask(leave, {})), Accepted)
            gone = tickets[refunded]
            no = driver.run(
                vendor.ask(
                    question(refunded, ticket_id=gone.ticket_id, event=gone.event, session=gone.session), {}
                )
            )
            assert isinstance(no, Refused)
            unknown = driver.run(
                vendor.ask(enter._replace(code="nobody has this", at_utc_ms=AT_MS + 7000), {})
            )
            assert isinstance(unknown, Refused)
            assert unknown.verdict is Verdict.UNKNOWN
            driver.run(vendor.trial())
        assert sandbox.books().changes == 2
        assert sandbox.violations == []


def _listed(vendor: Ingresse, driver: Driver) -> dict[str, Any]:
    found: dict[str, Any] = {}
    driver.run(vendor.tickets(""), lambda page: found.update({each.code: each for each in page.tickets}))
    return found


@pytest.mark.parametrize("kind", ["lost", "cut"])
def test_a_lost_reply_of_the_sandbox_is_found_by_a_look(kind: str) -> None:
    with Sandbox(tickets=80) as sandbox:
        vendor, driver = account(sandbox)
        with driver:
            tickets = _listed(vendor, driver)
            (code,) = sandbox.codes(1, sold=True, refunded=False)
            one = tickets[code]
            sandbox.misbehave(kind, "update", requests=1, seconds=0.1)
            enter = question(code, ticket_id=one.ticket_id, event=one.event, session=one.session)
            assert isinstance(driver.run(vendor.ask(enter, {})), Accepted)
        assert sandbox.books().changes == 1
        assert sandbox.violations == []
