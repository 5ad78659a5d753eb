"""Replies of B.A.M. that are not as its page has them: what stays with one ticket, and what is read."""

import base64
from typing import Any

import httpx
import pytest

from firmware.bridge import bam_replies as replies
from firmware.bridge.bam_replies import Count
from firmware.bridge.bam_requests import STATE_WORDS
from firmware.bridge.lenient import TEXT_LENGTH_MAX
from firmware.bridge.sandbox.bam_keys import Source, public_pem, signed_code
from firmware.bridge.vendor import Accepted, Again, Lost, Misconfigured, NotSent, Outage, Refused, Unsure
from firmware.core.ticket import Verdict
from tests.bridge.bam_talk import EVENT, FIRST, PUBLIC_KEY, SECOND, answering, bam, calls, data, no, row, told
from tests.bridge.conversation import Talk
from tests.bridge.conversation import reply as bare

USED = "ticket has already been invalidated"


# --- one ticket does not hold up the others -----------------------------------------------------------------


@pytest.mark.parametrize("doubt", [False, True])
@pytest.mark.parametrize("status", [404, 500, 502, 503])
@pytest.mark.parametrize("step", ["propose", "endorse"])
def test_a_ticket_that_the_chain_stumbles_over_is_tried_again_alone(
    step: str, status: int, doubt: bool
) -> None:
    talk = Talk(bam().tell([told(doubt=doubt)]), answering(**{step: no("stumbled", status)}))
    (outcome,) = talk.result
    assert isinstance(outcome, Again)
    assert (f"stumbled ({status})" in outcome.why, outcome.doubt) == (True, doubt)
    assert calls(talk.requests)[-1] == step


@pytest.mark.parametrize("step", ["propose", "endorse"])
def test_a_failure_that_says_used_is_that_refusal(step: str) -> None:
    answer = answering(**{step: no(USED, 500)})
    assert Talk(bam().tell([told()]), answer).result == (Refused(Verdict.USED, f"{USED} (500)"),)
    (ours,) = Talk(bam().tell([told(doubt=True, note=f"commit {SECOND}")]), answer).result
    assert isinstance(ours, Accepted)


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 500, 503])
@pytest.mark.parametrize("step", ["propose", "endorse", "commit"])
def test_already_invalidated_is_understood_whatever_the_status_is(step: str, status: int) -> None:
    """Also a 5xx to the third step, which was taken for a lost reply once.

    B.A.M.'s page publishes neither texts nor statuses of "already invalidated", and its error object has the
    message apart from the HTTP status: so the message decides. It is our own success only where one of our
    commits had no reply (trap 9); ours is sent once, so what its first reply tells of was there before.
    """
    answer = answering(**{step: no(USED, status)})
    assert Talk(bam().tell([told()]), answer).result == (Refused(Verdict.USED, f"{USED} ({status})"),)
    (ours,) = Talk(bam().tell([told(doubt=True, note=f"commit {FIRST}")]), answer).result
    assert isinstance(ours, Accepted)
    assert FIRST in ours.text


@pytest.mark.parametrize(("status", "doubt"), [(500, True), (404, False)])
def test_a_third_step_that_fails_with_another_word_is_tried_again(status: int, doubt: bool) -> None:
    (outcome,) = Talk(bam().tell([told()]), answering(commit=no("stumbled", status))).result
    assert isinstance(outcome, Again)
    assert outcome.doubt is doubt


@pytest.mark.parametrize("said", ["forbidden", "validator is invalidated", "Session has already been used"])
@pytest.mark.parametrize("step", ["propose", "endorse", "commit"])
def test_a_validator_that_may_not_do_this_uses_up_no_ticket(step: str, said: str) -> None:
    with pytest.raises(Misconfigured, match="gatepost bam enrol"):
        Talk(bam().tell([told()]), answering(**{step: no(said, 403)}))


@pytest.mark.parametrize("step", ["propose", "endorse", "commit"])
def test_another_no_after_a_third_step_of_ours_may_be_that_one_and_a_person_looks(step: str) -> None:
    answer = answering(**{step: no("wrong state")})
    (outcome,) = Talk(bam().tell([told(doubt=True, note=f"commit {FIRST}")]), answer).result
    assert isinstance(outcome, Unsure)
    assert ("wrong state (409)" in outcome.why, FIRST in outcome.why) == (True, True)
    for note in ("", f"proposal {FIRST}"):
        refused = Talk(bam().tell([told(note=note)]), answer).result
        assert refused == (Refused(Verdict.REFUSED, "wrong state (409)"),)


@pytest.mark.parametrize(
    ("said", "used"),
    [
        ("ticket status is invalidated, expected issued", True),
        ("ticket status: INVALIDATED", True),
        ("ticket is invalidated", True),
        ("Ticket E3334TC23T12 is invalidated", True),
        ('invalid ticket state "invalidated"', True),
        ("ticket state: INVALIDATED, expected ISSUED", True),
        ("expected ISSUED but was INVALIDATED", True),
        ("ticket has been invalidated", True),
        ("Ticket was already validated", True),
        ("ticket has already been validated", True),
        ("TICKET_ALREADY_INVALIDATED", True),
        ("error of the transaction: already invalidated", True),
        ("ticket could not be invalidated", False),
        ("ticket is not invalidated", False),
        ("ticket has not already been invalidated", False),
        ("ticket was not invalidated", False),
        ("ticket has not been invalidated", False),
        ("transaction ab12 is invalidated", False),
        ("the transaction has been invalidated: MVCC_READ_CONFLICT", False),
        ("validator was invalidated", False),
        ("digest was already used", False),
    ],
)
def test_what_says_that_a_ticket_is_used(said: str, used: bool) -> None:
    (outcome,) = Talk(bam().tell([told()]), answering(endorse=no(said))).result
    assert outcome == Refused(Verdict.USED if used else Verdict.REFUSED, f"{said} (409)")


@pytest.mark.parametrize("info", [f"ticket {words}" for words in STATE_WORDS])
@pytest.mark.parametrize("status", ["OK", "INVALIDATED"])
def test_that_a_ticket_is_invalidated_now_may_be_what_our_third_step_did(status: str, info: str) -> None:
    def outcome(status: str) -> object:
        done = data({"status": status, "info": info})
        return Talk(bam().tell([told()]), answering(commit=done)).result[0]

    assert isinstance(outcome(status), Again)
    assert isinstance(outcome("FAILURE"), Refused)


def test_a_used_word_of_signs_alone_says_nothing() -> None:
    (outcome,) = Talk(bam(used_words=("_!",)).tell([told()]), answering(endorse=no("no"))).result
    assert outcome == Refused(Verdict.REFUSED, "no (409)")


@pytest.mark.parametrize("reason", [NotSent("refused"), Lost("time-out")])
def test_a_chain_that_is_not_there_is_an_outage_of_all(reason: Outage) -> None:
    with pytest.raises(Outage, match=str(reason)):
        Talk(bam().tell([told()]), answering(propose=reason))


@pytest.mark.parametrize("step", ["propose", "endorse"])
@pytest.mark.parametrize("digest", ["a" * 63, "a" * 65, "ab" * 33, "ab" * 47, "ab" * 63, "a" * 127])
def test_a_digest_of_a_length_that_nobody_can_sign_concerns_this_ticket_alone(step: str, digest: str) -> None:
    (outcome,) = Talk(bam().tell([told()]), answering(**{step: data({"digest": digest})})).result
    assert isinstance(outcome, Again)
    assert outcome.unsent


@pytest.mark.parametrize("length", [32, 48, 64])
def test_digests_of_each_length_that_there_is_are_signed(length: int) -> None:
    answer = answering(propose=data({"digest": "ab" * length}), endorse=data({"digest": "cd" * length}))
    assert isinstance(Talk(bam().tell([told()]), answer).result[0], Accepted)


@pytest.mark.parametrize("step", ["propose", "endorse", "commit"])
def test_a_refusal_that_is_cut_is_none(step: str) -> None:
    cut = no(USED)
    cut = httpx.Response(409, content=cut.content[: len(cut.content) // 2], headers=cut.headers)
    (outcome,) = Talk(bam().tell([told()]), answering(**{step: cut})).result
    assert isinstance(outcome, Again)
    assert (outcome.doubt, outcome.unsent) == ((True, False) if step == "commit" else (False, True))


@pytest.mark.parametrize("note", ["", f"proposal {FIRST}", f"commit {SECOND}"])
def test_what_fails_before_the_third_step_was_never_sent_unless_an_earlier_third_step_was(note: str) -> None:
    movement = told(note=note, doubt=True)
    for step in ("propose", "endorse"):
        (outcome,) = Talk(bam().tell([movement]), answering(**{step: no("down", 503)})).result
        assert isinstance(outcome, Again)
        assert outcome.unsent is not note.startswith("commit")


@pytest.mark.parametrize("reply", [{}, {"digest": "../../x"}, {"digest": "zz" * 32}, {"digest": "ab" * 20}])
def test_a_digest_that_is_none_is_tried_again_and_goes_into_no_path(reply: dict[str, str]) -> None:
    talk = Talk(bam().tell([told()]), answering(propose=data(reply)))
    assert isinstance(talk.result[0], Again)
    assert calls(talk.requests)[-1] == "propose"


# --- digests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        {"digest": FIRST, "status": "OK"},
        {"digest": f"0x{FIRST}"},
        {"data": {"digest": FIRST}},
        FIRST,
    ],
)
def test_a_digest_is_taken_whatever_is_said_beside_it(reply: object) -> None:
    talk = Talk(bam().tell([told()]), answering(propose=data(reply)))
    assert isinstance(talk.result[0], Accepted)
    assert talk.notes[0].text == f"proposal {FIRST}"


def test_a_status_without_a_digest_is_a_refusal_still() -> None:
    reply = data({"digest": "", "status": "FAILURE", "info": USED})
    assert Talk(bam().tell([told()]), answering(propose=reply)).result == (
        Refused(Verdict.USED, f"FAILURE: {USED}"),
    )


# --- the list needs neither key nor counters ----------------------------------------------------------------

DER = "".join(PUBLIC_KEY.splitlines()[1:-1])
_SOURCE = Source(9)
POINT = base64.b64decode(DER)[-65:].hex()  # the last field of SubjectPublicKeyInfo
COUNTERS = [{"id": 23, "issued_tickets": 3, "activated_tickets": 1, "invalidated_tickets": 2}]


@pytest.mark.parametrize(
    "reply", [no("not found", 404), no("broken", 500), data({"public_key": "another form"}), data([])]
)
def test_a_list_comes_without_a_key_and_the_key_is_asked_for_each_time(reply: Any) -> None:
    vendor = bam()
    talk = Talk(vendor.tickets(""), answering(public_key=reply))
    assert (len(talk.tickets), talk.result.whole, vendor.keys) == (1, True, {})
    assert "public key of the event" in talk.result.text
    later = Talk(vendor.tickets(talk.result.since), answering())
    assert (later.result.text, vendor.keys) == ("", {EVENT: PUBLIC_KEY})
    assert "public_key" not in calls(Talk(vendor.tickets(""), answering()).requests)


def test_a_key_that_cannot_be_asked_for_is_an_outage_of_the_list_too() -> None:
    with pytest.raises(Outage):
        Talk(bam().tickets(""), answering(public_key=Lost("time-out")))


def test_a_new_key_of_the_event_is_read_once_something_is_signed_with_it() -> None:
    vendor, other = bam(), _SOURCE.key("another")
    first = Talk(vendor.tickets(""), answering())
    payload = b'{"id":"E3334TC23T13"}'
    rows = [row(), row(13, ticket_qr_code={"content": signed_code(payload, other, 1)})]
    changed = answering(
        qr_codes=data([{"id": 23, "ticket": rows}]), public_key=data({"public_key": public_pem(other)})
    )
    later = Talk(vendor.tickets(first.result.since), changed)
    assert calls(later.requests) == ["qr_codes", "public_key"]
    assert (later.result.text, vendor.keys) == ("", {EVENT: public_pem(other)})
    third = Talk(vendor.tickets(later.result.since), changed)
    assert calls(third.requests) == ["qr_codes"], "nothing is new"


def test_a_key_that_did_not_sign_the_list_is_said_and_the_list_comes() -> None:
    talk = Talk(
        bam().tickets(""), answering(public_key=data({"public_key": public_pem(_SOURCE.key("another"))}))
    )
    assert len(talk.tickets) == 1
    assert "not signed with the event's key" in talk.result.text


@pytest.mark.parametrize(
    "reply",
    [
        {"public_key": DER},
        {"public_key": f"{DER[:64]}\n{DER[64:]}"},
        {"public_key": PUBLIC_KEY.replace("\n", "\\n")},
        {"public_key": POINT},
        PUBLIC_KEY,
        DER,
    ],
)
def test_a_key_is_taken_in_each_of_its_forms(reply: object) -> None:
    vendor = bam()
    Talk(vendor.tickets(""), answering(public_key=data(reply)))
    assert vendor.keys == {EVENT: PUBLIC_KEY}


@pytest.mark.parametrize("counters", [no("not found", 404), no("broken", 500), data("seven")])
def test_a_probe_says_that_there_are_no_counters_and_has_the_key(counters: Any) -> None:
    vendor = bam()
    assert "counters" in Talk(vendor.probe(), answering(counters=counters)).result
    assert vendor.keys == {EVENT: PUBLIC_KEY}


def test_a_probe_without_a_key_says_so_and_has_the_counters() -> None:
    talk = Talk(bam().probe(), answering(public_key=no("not found", 404), counters=data(COUNTERS)))
    assert "3 tickets issued" in talk.result
    assert "gates cannot check signatures" in talk.result


def test_a_probe_that_finds_neither_is_a_fault_of_ours() -> None:
    neither = answering(public_key=no("not found", 404), counters=no("not found", 404))
    with pytest.raises(Misconfigured, match="correct `tenant_url`"):
        Talk(bam().probe(), neither)


def test_counters_of_another_form_are_no_reason_to_stay_away() -> None:
    talk = Talk(bam().trial(), answering(counters=data("seven")))
    assert calls(talk.requests)[-1] == "counters"


def test_a_list_that_is_refused_is_a_fault_of_ours() -> None:
    with pytest.raises(Misconfigured, match="codes of the event: bad event"):
        Talk(bam().tickets(""), answering(qr_codes=no("bad event", 400)))


# --- other forms of the same --------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [{"id": 24, "ticket": None}, {"id": 24}])
def test_a_kind_without_tickets_has_none(other: dict[str, Any]) -> None:
    talk = Talk(bam().tickets(""), answering(qr_codes=data([{"id": 23, "ticket": [row()]}, other])))
    assert [ticket.ticket_id for ticket in talk.tickets] == ["E3334TC23T12"]


def test_a_list_in_which_no_kind_has_a_place_for_tickets_is_not_believed() -> None:
    with pytest.raises(Outage, match="no entry of the reply has tickets"):
        Talk(bam().tickets(""), answering(qr_codes=data([{"id": 23}, {"id": 24}])))


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"issued_tickets": 3, "invalidated_tickets": "2"}, (Count("1", 3, 0, 2),)),
        ([{"id": 23, "issued_tickets": 3}], (Count("23", 3, 0, 0),)),
        ([{"id": 23, "invalidated_tickets": None}], (Count("23", 0, 0, 0),)),
        ({"a": {"id": 23, "invalidated_tickets": 1}, "status": "ok"}, (Count("23", 0, 0, 1),)),
        ({}, ()),
    ],
)
def test_counters_come_in_several_forms(body: object, found: tuple[Count, ...]) -> None:
    assert replies.counts(body, "counters") == found


@pytest.mark.parametrize("body", [{"message": "hello"}, [{"id": 23, "issued_tickets": "many"}], [3], "3"])
def test_what_is_no_counter_is_not_taken_for_one(body: object) -> None:
    with pytest.raises(Outage):
        replies.counts(body, "counters")


JWT = "eyJh.eyJz-dWIi.c2ln_bmF0"


@pytest.mark.parametrize(
    "reply",
    [
        bare(JWT),
        data(JWT),
        *(data({name: JWT}) for name in ("token", "jwt", "access_token", "jwt_token")),
        data({"token": {"jwt_token": JWT}}),
        data({"data": {"access_token": JWT}}),
        data({"user": JWT}),
        data({"host": "api.bam.fan", "version": "1.2.3", "session": [{"id": 7, "value": JWT}]}),
        data({"token": "an id", "jwt": JWT}),
        bare({"status": "ok", "data": JWT}),
    ],
)
def test_a_session_is_found_wherever_it_is(reply: Any) -> None:
    talk = Talk(bam().tickets(""), answering(wallet=reply))
    assert talk.requests[-1].headers["authorization"] == f"Bearer {JWT}"


@pytest.mark.parametrize(
    "reply",
    [
        data({"token": ""}),
        data({"host": "api.bam.fan", "version": "1.2.3"}),
        data({"token": "a\nb"}),
        data([]),
        httpx.Response(204),
    ],
)
def test_a_log_in_without_a_session_is_an_outage(reply: Any) -> None:
    with pytest.raises(Outage, match="no session"):
        Talk(bam().tickets(""), answering(wallet=reply))


@pytest.mark.parametrize(
    "body",
    [
        {"errors": [{"message": USED}]},
        {"errors": [USED]},
        {"message": [USED]},
        {"detail": USED},
        {"data": {"message": USED}},
        {"error": {"code": "TICKET_ALREADY_INVALIDATED"}},
        {"message": "Ticket already-used"},
        {"message": "transaction failed", "error_code": "TICKET_ALREADY_INVALIDATED"},
        {"reason": USED},
        {"msg": USED},
        {"status": "FAILURE", "info": {"reason": USED}},
        {"errors": {"ticket": [USED]}},
        {"errors": {"ticket": USED}},
        {"errors": {"ticket": {"message": USED}}},
        {"errors": [{"field": "ticket", "problem": USED}]},
        {"detail": {"ticket": USED}},
        {"info": {"why": USED}},
    ],
)
def test_the_words_of_a_used_ticket_are_found_wherever_they_are(body: object) -> None:
    (outcome,) = Talk(bam().tell([told()]), answering(endorse=bare(body, 409))).result
    assert isinstance(outcome, Refused)
    assert outcome.verdict is Verdict.USED


@pytest.mark.parametrize("step", ["propose", "endorse", "commit"])
@pytest.mark.parametrize("status", [200, 409, 500])
def test_the_words_of_a_used_ticket_are_found_behind_a_long_text(step: str, status: int) -> None:
    text = f"{'endorsement failed at peer0.org1: ' * 30}{USED}"
    body = {"status": "FAILURE", "info": text} if status == 200 else {"message": text}
    (outcome,) = Talk(bam().tell([told()]), answering(**{step: bare(body, status)})).result
    assert isinstance(outcome, Refused)
    assert outcome.verdict is Verdict.USED
    assert len(outcome.text) == TEXT_LENGTH_MAX, "people read the beginning"
    assert status == 200 or outcome.text.endswith(f"({status})"), "and the status"


@pytest.mark.parametrize("body", [USED, f"<html><p>{USED}</p></html>"])
def test_the_words_of_a_used_ticket_are_found_in_what_is_no_json(body: str) -> None:
    said = httpx.Response(409, text=body)
    (outcome,) = Talk(bam().tell([told()]), answering(endorse=said)).result
    assert isinstance(outcome, Refused)
    assert outcome.verdict is Verdict.USED


def test_an_error_code_that_is_a_number_says_nothing() -> None:
    for code in (4031, "4031", 4031.0):
        assert replies.words({"message": "no", "error_code": code}) == "no"
    assert replies.words({"message": "no", "error_code": "E_4031"}) == "no: E_4031"


@pytest.mark.parametrize(
    "reply",
    [
        {"data": {"status": "FAILURE", "info": {"reason": USED}}},
        {"status": "FAILURE", "info": {"reason": USED}},
        {"status": "FAILURE", "info": {"why": USED}, "data": None},
        {"status": "FAILURE", "error_code": "TICKET_ALREADY_INVALIDATED", "data": {"id": 7}},
    ],
)
def test_a_status_that_is_no_success_has_its_words_wherever_they_are(reply: object) -> None:
    (outcome,) = Talk(bam().tell([told()]), answering(commit=bare(reply))).result
    assert isinstance(outcome, Refused)
    assert outcome.verdict is Verdict.USED


def test_what_a_success_says_of_persons_is_kept_nowhere() -> None:
    person = {"holder": "Ada Byron", "ticket": {"name": "Ada Byron"}}
    for reply in (
        {"data": {"status": "SUCCESS", "info": person}},
        {"status": "SUCCESS", "info": person, "data": {}},
    ):
        (outcome,) = Talk(bam().tell([told()]), answering(commit=bare(reply))).result
        assert outcome == Accepted(f"SUCCESS, transaction {SECOND}")


@pytest.mark.parametrize("inner", [None, {}, {"id": 7}, SECOND])
def test_a_status_beside_the_payload_of_the_third_step_counts(inner: object) -> None:
    done = bare({"status": "SUCCESS", "data": inner})
    assert isinstance(Talk(bam().tell([told()]), answering(commit=done)).result[0], Accepted)
    failed = bare({"status": "FAILURE", "info": USED, "data": inner})
    assert isinstance(Talk(bam().tell([told()]), answering(commit=failed)).result[0], Refused)


def test_words_as_deep_as_they_come_end() -> None:
    body: dict[str, Any] = {"message": "deep"}
    for _ in range(5000):
        body = {"data": body, "message": "top"}
    assert replies.words(body) == "top"


@pytest.mark.parametrize("begins", ["2030-01-23T20:00:00", "2030-01-23 20:00", " 2030-01-23T20:00:00.000 "])
def test_a_time_slot_without_a_zone_bounds_in_utc(begins: str) -> None:
    slot = {"id": 5, "start_at": begins, "end_at": "2030-01-23T22:00:00+00:00"}
    zoned = {"id": 5, "start_at": "2030-01-23T21:00:00+01:00", "end_at": "2030-01-23T22:00:00"}
    for each in (slot, zoned):
        bounds = replies.slot({"timeslot": each}, {}, 0)
        assert bounds == (1_895_428_800_000, 1_895_428_800_000 + 7_200_000)


@pytest.mark.parametrize(
    "odd", ["2030-01-23", "2030-01-23T99:00:00", "this evening", "1999-01-23T20:00:00", None]
)
def test_what_is_no_time_of_a_day_is_no_bound(odd: object) -> None:
    assert replies.slot({"timeslot": {"start_at": odd, "end_at": odd}}, {}, 15) == (None, None)
