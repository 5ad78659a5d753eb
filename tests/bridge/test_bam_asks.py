"""B.A.M. where gates open after the commit: a scan is the three steps, and then the lane opens."""

from contextlib import suppress
from typing import Any

import httpx
import pytest

from firmware.bridge.bam import ASKS_KEPT_MAX, Bam
from firmware.bridge.sandbox.bam_keys import Source, signed_code
from firmware.bridge.vendor import (
    LATE_S,
    Accepted,
    Lost,
    Misconfigured,
    NotSent,
    NoTurn,
    Outage,
    Question,
    Refused,
    Told,
    Unsure,
)
from firmware.core.ticket import Direction, Perimeter, Verdict
from tests.bridge.bam_talk import (
    AT,
    AT_MS,
    CODE,
    EVENT,
    FIRST,
    SECOND,
    answering,
    bam,
    calls,
    code,
    codes,
    data,
    endpoint,
    no,
    row,
    told,
)
from tests.bridge.conversation import Reply, Talk

USED = "ticket has already been invalidated"
STEPS = ["propose", "endorse", "commit"]
ASKED = Question(CODE, "E3334TC23T12", EVENT, "", Direction.IN, Perimeter.OUTER, AT_MS, "north-1")
STRANGE = ASKED._replace(ticket_id="")  # the gate has it in no list


def asking(**more: Any) -> Bam:
    """An account whose gates open when the chain has it."""
    return bam(open_before_commit=False, **more)


def asked(question: Question = ASKED, vendor: Bam | None = None) -> Talk[Accepted | Refused]:
    """A whole conversation about one question, in which all goes well."""
    return asked_with({}, question, vendor)


def asked_with(
    replies: dict[str, Reply], question: Question = ASKED, vendor: Bam | None = None
) -> Talk[Accepted | Refused]:
    """The same where some calls are answered otherwise."""
    return Talk((vendor or asking()).ask(question, {}), answering(**replies))


def listed(*, question: Question = ASKED, **more: Any) -> Question:
    """The question about a ticket that is in the list like that."""
    (ticket,) = Talk(asking().tickets(""), answering(qr_codes=codes([row(**more)]))).tickets
    return question._replace(listed=ticket)


def test_it_is_asked_only_where_gates_open_after_the_commit() -> None:
    assert (bam().asks, bam().deadline_ms) == (False, 0)
    vendor = asking(ask_deadline_ms=5000)
    assert (vendor.asks, vendor.deadline_ms, vendor.books_exits) == (True, 5000, False)


def test_a_lane_opens_after_the_three_steps_with_the_time_of_the_scan() -> None:
    talk = asked()
    assert talk.result == Accepted(f"SUCCESS, transaction {SECOND}")
    assert calls(talk.requests) == ["challenge", "wallet", *STEPS]
    assert AT in talk.requests[2].content.decode()


@pytest.mark.parametrize("deadline_ms", [2000, 8000])
def test_nobody_waits_for_a_step_beyond_the_time_for_which_a_late_answer_counts(deadline_ms: int) -> None:
    talk = asked(vendor=asking(ask_deadline_ms=deadline_ms))
    waits = {request.extensions["timeout"]["read"] for request in talk.requests[2:]}
    assert waits == {deadline_ms / 1000 + LATE_S}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("status", [200, 400, 409, 500])
def test_a_used_ticket_is_refused_at_whatever_step_the_chain_says_so(step: str, status: int) -> None:
    said = data({"status": "FAILURE", "info": USED}) if status == 200 else no(USED, status)
    result = asked_with({step: said}).result
    assert isinstance(result, Refused)
    assert (result.verdict, result.doubt) == (Verdict.USED, False)


def test_used_may_be_an_earlier_ask_of_ours_and_staff_is_called() -> None:
    result = asked_with({"endorse": no(USED)}, ASKED._replace(again=True)).result
    assert isinstance(result, Refused)
    assert (result.verdict, result.doubt) == (Verdict.CALL_STAFF, True)
    other = asked_with({"endorse": no("not the owner")}, ASKED._replace(again=True)).result
    assert other == Refused(Verdict.REFUSED, "not the owner (409)")


@pytest.mark.parametrize(
    ("step", "reply", "verdict"),
    [
        ("propose", no("no such ticket", 404), Verdict.UNKNOWN),
        ("endorse", no("no such ticket", 404), Verdict.UNKNOWN),
        ("commit", no("no such digest", 404), Verdict.REFUSED),
        ("propose", no("not issued", 400), Verdict.REFUSED),
        ("commit", no("not issued", 422), Verdict.REFUSED),
        ("propose", data({"status": "FAILURE", "info": "not issued"}), Verdict.REFUSED),
        ("commit", data({"status": "FAILED", "info": "conflict"}), Verdict.REFUSED),
    ],
)
def test_a_no_of_the_chain_is_an_answer_and_no_outage(
    step: str, reply: httpx.Response, verdict: Verdict
) -> None:
    result = asked_with({step: reply}).result
    assert isinstance(result, Refused)
    assert result.verdict is verdict


@pytest.mark.parametrize(
    "reply", [Lost("time-out"), no("broken", 503), data({}), data({"status": "PENDING"})]
)
def test_a_third_step_without_a_word_is_a_lost_answer(reply: Reply) -> None:
    with pytest.raises(Lost):
        asked_with({"commit": reply})


@pytest.mark.parametrize("step", ["propose", "endorse"])
@pytest.mark.parametrize("reply", [Lost("time-out"), no("broken", 503), data({}), no("slow down", 429)])
def test_a_lost_answer_before_the_third_step_leaves_no_doubt(step: str, reply: Reply) -> None:
    with pytest.raises(Outage) as caught:
        asked_with({step: reply})
    assert not isinstance(caught.value, Lost)


def test_a_step_that_was_not_sent_in_time_is_no_doubt() -> None:
    with pytest.raises(NotSent):
        asked_with({"commit": NotSent("nobody waits for it any more")})


def test_a_validator_that_may_not_do_this_is_a_fault_of_ours() -> None:
    with pytest.raises(Misconfigured):
        asked_with({"propose": no("forbidden", 403)})


# --- whose code it is ---------------------------------------------------------------------------------------


def test_a_code_that_no_list_has_is_proved_before_the_chain_hears_of_its_ticket() -> None:
    assert isinstance(asked(STRANGE).result, Accepted)
    forged = signed_code(b'{"id":"E3334TC23T12"}', Source(8).key("another"), 1)
    talk = asked(STRANGE._replace(code=forged))
    assert isinstance(talk.result, Refused)
    assert talk.result.verdict is Verdict.FORGED
    assert not set(STEPS) & set(calls(talk.requests))


def test_a_code_of_the_list_needs_no_proof() -> None:
    unproved = signed_code(b'{"id":"E3334TC23T12"}', Source(8).key("another"), 1)
    strange = listed(question=STRANGE, ticket_qr_code={"content": unproved})._replace(code=unproved)
    assert isinstance(asked(strange).result, Accepted)
    assert strange.listed is not None
    other = asked(strange._replace(listed=strange.listed._replace(ticket_id="E3334TC23T13"))).result
    assert isinstance(other, Refused)
    assert other.verdict is Verdict.FORGED, "it is listed for another ticket than it names"


def test_without_a_key_nothing_is_proved_and_a_person_hears_of_it() -> None:
    talk = asked_with({"public_key": no("not found", 404)}, STRANGE)
    assert isinstance(talk.result, Refused)
    assert talk.result.verdict is Verdict.NOT_CONFIGURED
    assert "404" in talk.result.fault
    assert not set(STEPS) & set(calls(talk.requests))


@pytest.mark.parametrize(
    ("question", "verdict"),
    [
        (STRANGE._replace(code="123456"), Verdict.UNKNOWN),
        (STRANGE._replace(code=code("E3335TC23T12")), Verdict.WRONG_EVENT),
        (ASKED._replace(ticket_id="E3335TC23T12"), Verdict.WRONG_EVENT),
        (ASKED._replace(perimeter=Perimeter.INNER), Verdict.REFUSED),
    ],
)
def test_what_is_no_entry_of_this_event_never_comes_to_the_chain(
    question: Question, verdict: Verdict
) -> None:
    talk = asked(question)
    assert isinstance(talk.result, Refused)
    assert talk.result.verdict is verdict
    assert talk.requests == []


# --- what the list says -------------------------------------------------------------------------------------


def test_a_ticket_that_left_the_list_is_used_and_not_tried_at_the_chain() -> None:
    vendor = asking()
    first = Talk(vendor.tickets(""), answering(qr_codes=codes([row(), row(13)]))).result
    (gone,) = Talk(vendor.tickets(first.since), answering(qr_codes=codes([row(13)]))).tickets
    for again, verdict in ((False, Verdict.USED), (True, Verdict.CALL_STAFF)):
        talk = asked(ASKED._replace(again=again, listed=gone), vendor)
        assert isinstance(talk.result, Refused)
        assert (talk.result.verdict, talk.requests) == (verdict, [])
    (outcome,) = Talk(vendor.tell([UNANSWERED]), answering()).result
    assert isinstance(outcome, Refused), "of two asks the one that came to its third step is for a person"


@pytest.mark.parametrize("status", ["reserved", "confirmed", "draft", "of tomorrow"])
def test_a_ticket_that_is_not_issued_is_not_tried_at_the_chain(status: str) -> None:
    talk = asked(listed(status=status))
    assert isinstance(talk.result, Refused)
    assert (talk.result.verdict, talk.requests) == (Verdict.BLOCKED, [])


@pytest.mark.parametrize(
    ("at_ms", "verdict"),
    [(-1, Verdict.TOO_EARLY), (0, None), (3_600_000, None), (3_600_001, Verdict.TOO_LATE)],
)
def test_a_time_slot_bounds_an_ask_from_its_first_moment_to_its_last(
    at_ms: int, verdict: Verdict | None
) -> None:
    slot = {
        "id": 1,
        "name": "Early",
        "start_at": "2030-01-23T23:00:00.123Z",
        "end_at": "2030-01-24T00:00:00.123Z",
    }
    talk = asked(listed(timeslot=slot)._replace(at_utc_ms=AT_MS + at_ms))
    assert (talk.result.verdict if isinstance(talk.result, Refused) else None) is verdict
    assert ("commit" in calls(talk.requests)) is (verdict is None)


@pytest.mark.parametrize("gate_ms", [-3_600_000, 7_200_000])
def test_where_a_gates_clock_is_not_trusted_slot_and_chain_have_the_bridges_time(gate_ms: int) -> None:
    slot = {
        "id": 1,
        "name": "Early",
        "start_at": "2030-01-23T23:00:00.123Z",
        "end_at": "2030-01-24T00:00:00.123Z",
    }
    question = listed(timeslot=slot)._replace(at_utc_ms=AT_MS + gate_ms, true_utc_ms=AT_MS)
    talk = asked(question)
    assert isinstance(talk.result, Accepted)
    proposal = next(each for each in talk.requests if endpoint(each) == "propose")
    assert AT in proposal.content.decode()
    question = question._replace(at_utc_ms=AT_MS, true_utc_ms=AT_MS - 1)
    assert isinstance(asked(question).result, Refused)


def test_what_this_process_read_before_another_bridge_did_refuses_nobody() -> None:
    vendor = asking()
    first = Talk(vendor.tickets(""), answering(qr_codes=codes([row(), row(13, status="reserved")]))).result
    Talk(vendor.tickets(first.since), answering(qr_codes=codes([row(13, status="reserved")])))
    for name in ("E3334TC23T12", "E3334TC23T13"):
        assert isinstance(asked(ASKED._replace(ticket_id=name), vendor).result, Accepted)


def test_an_ask_of_a_gate_without_a_clock_is_known_by_the_time_that_the_gate_said() -> None:
    vendor = asking()
    with pytest.raises(Outage):
        asked_with({"propose": LOST}, ASKED._replace(true_utc_ms=AT_MS + 9), vendor)
    (outcome,) = Talk(vendor.tell([UNANSWERED]), answering()).result
    assert isinstance(outcome, Refused)


def test_a_way_out_needs_no_chain_and_no_list_and_still_a_genuine_code() -> None:
    known, strange = (each._replace(direction=Direction.OUT) for each in (ASKED, STRANGE))
    for question in (known, strange, known._replace(perimeter=Perimeter.INNER)):
        talk = asked(question)
        assert isinstance(talk.result, Accepted)
        assert not set(STEPS) & set(calls(talk.requests))
    assert isinstance(asked(strange._replace(code="123456")).result, Refused)


# --- what is told afterwards --------------------------------------------------------------------------------


UNANSWERED = told(unanswered=True, doubt=True)
LOST = Lost("time-out")


def failed(vendor: Bam, step: str) -> None:
    """An ask whose reply was lost at that step."""
    with pytest.raises(Outage):
        asked_with({step: LOST}, vendor=vendor)


def test_an_ask_that_nobody_answered_and_nobody_entered_by_is_never_sent_again() -> None:
    talk = Talk(asking().tell([UNANSWERED]), answering())
    (outcome,) = talk.result
    assert isinstance(outcome, Unsure)
    assert talk.requests == []


def test_an_ask_whose_third_step_was_never_sent_is_no_matter_for_a_person() -> None:
    vendor = asking()
    failed(vendor, "propose")
    for movement in (UNANSWERED, UNANSWERED._replace(ticket_id="")):
        (outcome,) = Talk(vendor.tell([movement]), answering()).result
        assert isinstance(outcome, Refused)
        assert outcome.verdict is Verdict.NO_ANSWER
    vendor = asking()
    failed(vendor, "commit")
    failed(vendor, "propose")
    (outcome,) = Talk(vendor.tell([UNANSWERED]), answering()).result
    assert isinstance(outcome, Unsure), "it was at the first try"
    (outcome,) = Talk(vendor.tell([UNANSWERED._replace(at_utc_ms=AT_MS + 1)]), answering()).result
    assert isinstance(outcome, Unsure), "of another scan nothing is known, another bridge may have asked"


def test_a_way_out_that_nobody_answered_is_no_matter_for_a_person() -> None:
    (outcome,) = Talk(asking().tell([UNANSWERED._replace(direction=Direction.OUT)]), answering()).result
    assert isinstance(outcome, Refused)


def test_what_our_own_ask_used_up_before_policy_let_somebody_in_is_ours() -> None:
    vendor = asking()
    failed(vendor, "commit")
    (outcome,) = Talk(vendor.tell([told(doubt=True)]), answering(endorse=no(USED))).result
    assert isinstance(outcome, Accepted)
    (outcome,) = Talk(vendor.tell([told()]), answering(endorse=no(USED))).result
    assert isinstance(outcome, Refused), "another scan, which nobody was asked about"


def test_used_is_by_somebody_else_where_no_ask_of_ours_came_to_its_third_step() -> None:
    vendor = asking()
    failed(vendor, "propose")
    (outcome,) = Talk(vendor.tell([told(doubt=True)]), answering(endorse=no(USED))).result
    assert isinstance(outcome, Refused)
    assert outcome.verdict is Verdict.USED


@pytest.mark.parametrize(
    "reply",
    [
        NotSent("nobody waits for it any more"),
        no("slow down", 429),
        no("forbidden", 403),
        no("no such digest", 404),
        no(USED),
        data({"status": "FAILURE", "info": USED}),
        data({"status": "FAILED", "info": "conflict"}),
    ],
)
def test_a_third_step_that_was_not_carried_out_is_forgotten(reply: Reply) -> None:
    vendor = asking()
    with suppress(Outage, Misconfigured):
        asked_with({"commit": reply}, vendor=vendor)
    (outcome,) = Talk(vendor.tell([told(doubt=True)]), answering(endorse=no(USED))).result
    assert isinstance(outcome, Refused), "that was somebody else"
    assert outcome.verdict is Verdict.USED
    (outcome,) = Talk(vendor.tell([UNANSWERED]), answering()).result
    assert isinstance(outcome, Refused), "nothing that a person could look up"
    assert outcome.verdict is Verdict.NO_ANSWER


def test_a_third_step_that_was_lost_is_not_forgotten_for_a_later_one_that_was_not_sent() -> None:
    vendor = asking()
    failed(vendor, "commit")
    with pytest.raises(NotSent):
        asked_with({"commit": NotSent("nobody waits for it any more")}, vendor=vendor)
    (outcome,) = Talk(vendor.tell([UNANSWERED]), answering()).result
    assert isinstance(outcome, Unsure)


@pytest.mark.parametrize("movement", [UNANSWERED, told(doubt=True)])
def test_an_ask_that_was_told_of_before_its_third_step_comes_to_none(movement: Told) -> None:
    vendor = asking()

    def meanwhile(_: httpx.Request) -> Reply:
        (outcome,) = Talk(vendor.tell([movement]), answering()).result
        assert isinstance(outcome, Refused if movement.unanswered else Accepted)
        return data({"digest": SECOND})

    def never(_: httpx.Request) -> Reply:
        raise AssertionError("the third step was sent")

    with pytest.raises(NoTurn):
        Talk(vendor.ask(ASKED, {}), answering(endorse=meanwhile, commit=never))


def test_an_ask_about_one_scan_explains_no_other_one() -> None:
    vendor = asking()
    assert isinstance(asked(vendor=vendor).result, Accepted)
    later = told(doubt=True, at_utc_ms=AT_MS + 1)
    (outcome,) = Talk(vendor.tell([later]), answering(endorse=no(USED))).result
    assert isinstance(outcome, Unsure)


def test_as_many_tickets_of_asks_are_remembered_as_a_rush_has() -> None:
    vendor = asking()
    failed(vendor, "commit")
    for number in range(ASKS_KEPT_MAX):
        vendor._remember((f"E3334TC24T{number}", AT_MS))
    assert len(vendor._asks) == ASKS_KEPT_MAX
    (outcome,) = Talk(vendor.tell([told(doubt=True)]), answering(endorse=no(USED))).result
    assert isinstance(outcome, Unsure)


@pytest.mark.parametrize("note", ["", f"proposal {FIRST}"])
def test_used_after_an_ask_whose_reply_was_lost_is_for_a_person(note: str) -> None:
    (outcome,) = Talk(asking().tell([told(doubt=True, note=note)]), answering(endorse=no(USED))).result
    assert isinstance(outcome, Unsure)
    (outcome,) = Talk(asking().tell([told(note=note)]), answering(endorse=no(USED))).result
    assert isinstance(outcome, Refused)
    (outcome,) = Talk(
        asking().tell([told(doubt=True, note=f"commit {SECOND}")]), answering(endorse=no(USED))
    ).result
    assert isinstance(outcome, Accepted), "that was our own third step"


def test_an_entry_that_policy_let_in_meanwhile_is_told_with_its_time() -> None:
    talk = Talk(asking().tell([told(doubt=True)]), answering())
    assert isinstance(talk.result[0], Accepted)
    assert AT in talk.requests[2].content.decode()
