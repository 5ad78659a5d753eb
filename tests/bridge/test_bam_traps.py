"""The traps of B.A.M.'s page, one test each or more, by number."""

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from firmware.bridge.bam_codes import named, ticket_of
from firmware.bridge.bam_identity import ORDER, Wallet
from firmware.bridge.vendor import (
    Accepted,
    Again,
    Listing,
    LogInRefused,
    Lost,
    Misconfigured,
    Note,
    NotSent,
    Outage,
    Refused,
    Unsure,
    Vendor,
)
from firmware.core.ticket import Direction, Status, Verdict
from tests.bridge.bam_talk import (
    AT,
    CODE,
    EVENT,
    FIRST,
    IDENTITY,
    PUBLIC_KEY,
    SECOND,
    WALLET,
    answering,
    bam,
    calls,
    code,
    codes,
    data,
    no,
    row,
    told,
)
from tests.bridge.conversation import Reply, Talk, in_turn
from tests.bridge.conversation import reply as bare

USED = "ticket has already been invalidated"
KEY = x509.load_pem_x509_certificate(WALLET.certificate.encode()).public_key()


def test_it_is_a_vendor() -> None:
    vendor: Vendor = bam()
    assert (vendor.asks, vendor.devices, vendor.batch_max) == (False, False, 1)


def listed(vendor: Any, *rows: Any, since: str = "", **more: Any) -> Talk[Listing]:
    """A run through a list of these."""
    return Talk(vendor.tickets(since), answering(qr_codes=codes(rows, **more)))


# --- 1: which list ------------------------------------------------------------------------------------------


def test_trap_1_the_event_s_codes_are_read_and_never_the_caller_s_own_tickets() -> None:
    talk = listed(bam(), row())
    paths = [request.url.path for request in talk.requests]
    assert f"/event/v1/organizer/nightworks/event/{EVENT}/qr_codes" in paths
    assert not any("v1/ticket" in path for path in paths)
    (ticket,) = talk.tickets
    assert (ticket.ticket_id, ticket.event, ticket.type, ticket.sector) == (
        "E3334TC23T12",
        EVENT,
        "23",
        "Floor",
    )


# --- 2 and 13: unused tickets only, and no changes ----------------------------------------------------------


def test_trap_2_a_code_that_vanishes_is_used_and_not_unknown() -> None:
    vendor = bam()
    first = listed(vendor, row(1), row(2))
    second = listed(vendor, row(2), since=first.result.since)
    assert [(ticket.ticket_id, ticket.status) for ticket in second.tickets] == [("E3334TC23T1", Status.USED)]
    assert second.tickets[0].code == code("E3334TC23T1")
    assert first.result.unseen is Status.USED


def test_trap_2_a_code_that_comes_back_is_let_in_again() -> None:
    vendor = bam()
    since = listed(vendor, row(1), row(2)).result.since
    listed(vendor, row(2), since=since)
    back = listed(vendor, row(1), row(2), since=since)
    assert [(ticket.ticket_id, ticket.status) for ticket in back.tickets] == [("E3334TC23T1", Status.VALID)]


@pytest.mark.parametrize("left", [0, 10])
def test_trap_2_a_list_that_lost_more_than_half_takes_nothing_away_and_asks_for_a_whole_one(
    left: int,
) -> None:
    vendor = bam()
    since = listed(vendor, *(row(number) for number in range(40))).result.since
    less = [row(number) for number in range(left)]
    doubted = listed(vendor, *less, since=since)
    assert doubted.tickets == []
    assert f"{40 - left} of 40 codes are missing" in doubted.result.text
    assert (doubted.result.since, doubted.result.whole) == ("", False)
    whole = listed(vendor, *less)
    assert (len(whole.tickets), whole.result.whole) == (left, True), "the feed decides"


@pytest.mark.parametrize(("total", "whole"), [(3, False), (2, True), (1, True), (None, True)])
def test_trap_2_a_list_that_says_itself_that_it_is_a_part_takes_nothing_away(
    total: int | None, whole: bool
) -> None:
    def of(*rows: Any) -> Reply:
        body = {"data": [{"id": 23, "ticket": rows}], "paging": {"limit": 2, "offset": 0, "total": total}}
        return bare(body)

    vendor = bam()
    first = Talk(vendor.tickets(""), answering(qr_codes=of(row(), row(13))))
    assert first.result.whole is whole
    later = Talk(vendor.tickets(first.result.since), answering(qr_codes=of(row(), row(14))))
    assert (Status.USED in [ticket.status for ticket in later.tickets]) is whole
    assert ("the others stay" in later.result.text) is not whole


def test_trap_2_a_list_that_lost_half_is_believed() -> None:
    vendor = bam()
    since = listed(vendor, *(row(number) for number in range(40))).result.since
    found = listed(vendor, *(row(number) for number in range(20)), since=since)
    assert [ticket.status for ticket in found.tickets] == [Status.USED] * 20


@pytest.mark.parametrize(
    ("counted", "whole"),
    [
        ({"issued_tickets": 20}, False),
        ({"issued_tickets": 19}, True),
        ({"issued_tickets": 400, "invalidated_tickets": 380}, False),
        ({"issued_tickets": 400, "activated_tickets": 400, "invalidated_tickets": 381}, True),
        ({}, True),
    ],
)
def test_trap_2_an_empty_list_is_not_believed_against_the_counters(
    counted: dict[str, int], whole: bool
) -> None:
    counters = data([{"id": 23, **counted}])
    talk = Talk(bam().tickets(""), answering(qr_codes=codes([]), counters=counters))
    assert talk.result.whole is whole
    assert ("unused tickets are counted" in talk.result.text) is not whole


@pytest.mark.parametrize("counters", [no("not found", 404), no("down", 500), Lost("cut")])
def test_a_list_comes_whole_where_the_counters_cannot_be_read(counters: Reply) -> None:
    talk = Talk(bam().tickets(""), answering(counters=counters))
    assert (len(talk.tickets), talk.result.whole) == (1, True)


def test_trap_13_what_another_bridge_reads_in_between_is_not_handed_on_from_memory() -> None:
    vendor = bam()
    since = listed(vendor, row(1), row(2)).result.since
    listed(vendor, row(2), since=since)
    whole = listed(vendor, row(2), row(3), since="of another bridge")
    assert {ticket.ticket_id for ticket in whole.tickets} == {"E3334TC23T2", "E3334TC23T3"}


def test_trap_13_only_differences_are_handed_on() -> None:
    vendor = bam()
    first = listed(vendor, row(1), row(2))
    assert (len(first.tickets), first.result.whole) == (2, True)
    same = listed(vendor, row(2), row(1), since=first.result.since)
    assert (same.tickets, same.result.whole) == ([], False)
    more = listed(vendor, row(1), row(2, status="reserved"), row(3), since=first.result.since)
    assert {ticket.ticket_id for ticket in more.tickets} == {"E3334TC23T2", "E3334TC23T3"}


def test_trap_13_what_another_bridge_read_meanwhile_is_handed_on_whole() -> None:
    vendor = bam()
    listed(vendor, row(1), row(2))
    assert len(listed(vendor, row(1), row(2), since="of another bridge").tickets) == 2


def test_trap_13_a_list_of_more_than_a_usual_reply_is_taken() -> None:
    requests = listed(bam(), row()).requests
    (request,) = (each for each in requests if each.url.path.endswith("qr_codes"))
    assert request.extensions["bytes_max"] > 100_000_000


# --- 3: a signature is not a ticket -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("issued", Status.VALID),
        ("activated", Status.VALID),
        ("invalidated", Status.USED),
        ("unavailable", Status.BLOCKED),
        ("a word of tomorrow", Status.BLOCKED),
        (7, Status.BLOCKED),
    ],
)
def test_trap_3_a_well_signed_code_is_what_its_state_says(state: object, status: Status) -> None:
    (ticket,) = listed(bam(), row(status=state)).tickets
    assert ticket.status is status


# --- 4 to 7: codes ------------------------------------------------------------------------------------------


def test_trap_4_a_code_is_parted_once_at_the_first_three_colons() -> None:
    assert str(ticket_of(CODE)) == "E3334TC23T12"
    assert str(ticket_of(f"{CODE}:::more")) == "E3334TC23T12"
    assert CODE.startswith("MPF")
    assert ticket_of(CODE.replace(":::", "::")) is None


@pytest.mark.parametrize(
    ("config", "number", "tickets"),
    [
        ({}, 12, ["E3334TC23T12"]),
        ({"event_id": "3334", "id": "23"}, "12", ["E3334TC23T12"]),
        ({"event": {"id": 3334}}, 12, ["E3334TC23T12"]),
        ({"event_id": 3335}, 12, []),
        ({"id": None}, 12, []),
        ({}, None, []),
        ({}, -1, []),
    ],
)
def test_a_listed_code_of_another_form_is_the_ticket_that_its_entry_says(
    config: dict[str, Any], number: object, tickets: list[str]
) -> None:
    talk = listed(bam(), row(seq_num=number, ticket_qr_code={"content": "wallet 9f31"}), **config)
    assert [(ticket.ticket_id, ticket.code) for ticket in talk.tickets] == [
        (name, "wallet 9f31") for name in tickets
    ]
    assert talk.result.skipped == 1 - len(tickets)


def test_trap_5_a_code_goes_down_exactly_as_it_came() -> None:
    odd = [row(number) for number in range(60)]
    found = {ticket.code for ticket in listed(bam(), *odd).tickets}
    assert found == {each["ticket_qr_code"]["content"] for each in odd}
    assert any(" " in text for text in found)
    assert ticket_of(CODE.lower()) is None


def test_trap_6_a_payload_written_another_way_is_read_and_never_written_anew() -> None:
    spaced = code(payload='{ "id" : "E3334TC23T12" }')
    content = {"content": spaced, "ticket_id": 1}
    (ticket,) = listed(bam(), row(ticket_qr_code=content)).tickets
    assert (ticket.code, ticket.ticket_id) == (spaced, "E3334TC23T12")


@pytest.mark.parametrize(
    "text", ["xE3334TC23T12", "E3334TC23T12x", "E3334TC23T12\n", "E3334TC23T", "E\u0663TC1T1", ""]
)
def test_trap_7_an_id_with_anything_around_it_is_none(text: str) -> None:
    assert named(text) is None


def test_trap_7_a_ticket_of_another_event_is_not_taken_from_the_list_nor_told() -> None:
    content = {"content": code("E9TC23T12"), "ticket_id": 1}
    talk = listed(bam(), row(ticket_qr_code=content), row(2))
    assert (len(talk.tickets), talk.result.skipped) == (1, 1)
    tell = Talk(bam().tell([told(ticket_id="E9TC23T12")]), in_turn())
    assert tell.result == (Refused(Verdict.WRONG_EVENT, "a ticket of event 9"),)


# --- 8: for ever --------------------------------------------------------------------------------------------


def test_trap_8_an_exit_is_not_told_and_nothing_is_sent_for_it() -> None:
    (outcome,) = Talk(bam().tell([told(direction=Direction.OUT)]), in_turn()).result
    assert outcome == Accepted("not told: the chain knows no exits")


def test_trap_8_an_entry_after_an_exit_is_not_invalidated_a_second_time() -> None:
    (outcome,) = Talk(bam().tell([told(entered=True)]), in_turn()).result
    assert isinstance(outcome, Accepted)


def test_trap_8_a_ticket_that_was_refused_is_never_invalidated() -> None:
    (outcome,) = Talk(bam().tell([told(refused=True)]), in_turn()).result
    assert isinstance(outcome, Refused)


def test_trap_8_to_look_whether_the_vendor_is_there_changes_nothing() -> None:
    counters = data([{"id": 23, "issued_tickets": 3, "activated_tickets": 1, "invalidated_tickets": "2"}])
    talk = Talk(bam().probe(), answering(counters=counters))
    assert "3 tickets issued, 1 activated, 2 invalidated" in talk.result
    assert set(calls(talk.requests)) == {"challenge", "wallet", "public_key", "counters"}


# --- 9: our own lost reply ----------------------------------------------------------------------------------


def test_trap_9_the_three_steps_and_a_note_before_the_second_and_the_third() -> None:
    talk = Talk(bam().tell([told()]), answering())
    assert talk.result == (Accepted(f"SUCCESS, transaction {SECOND}"),)
    assert calls(talk.requests) == ["challenge", "wallet", "propose", "endorse", "commit"]
    assert talk.notes == [Note(0, f"proposal {FIRST}"), Note(0, f"commit {SECOND}")]
    assert [request.extensions["tries"] for request in talk.requests[2:]] == [1, 1, 1]
    proposal = json.loads(talk.requests[2].content)
    assert proposal["fcn"] == "TICKET.INVALIDATE"
    assert [json.loads(text) for text in proposal["args"]] == [
        {"seq_num": 12, "ticket_config": {"id": 23, "event": {"id": 3334}}, "validation_time": AT}
    ]
    assert [request.url.path.rpartition("/")[2] for request in talk.requests[3:]] == [FIRST, SECOND]


def test_trap_9_nothing_is_sent_before_its_digest_is_written_down() -> None:
    flow = bam().tell([told()])
    answer, said = answering(), list[str]()
    reply: httpx.Response | None = None
    for _ in range(7):
        asked = flow.send(reply)
        reply = None
        if isinstance(asked, httpx.Request):
            said += calls([asked])
            answered = answer(asked)
            assert isinstance(answered, httpx.Response)
            reply = answered
        elif isinstance(asked, Note):
            said.append(f"note {asked.text.split()[0]}")
    assert said == ["challenge", "wallet", "propose", "note proposal", "endorse", "note commit", "commit"]


def test_trap_9_already_invalidated_is_ours_where_the_reply_to_our_third_step_was_lost() -> None:
    vendor = bam()
    lost = Talk(vendor.tell([told()]), answering(commit=Lost("cut")))
    assert lost.result == (Again("cut", doubt=True),)
    again = told(doubt=True, note=lost.notes[-1].text)
    (outcome,) = Talk(vendor.tell([again]), answering(endorse=no(USED))).result
    assert isinstance(outcome, Accepted)
    assert SECOND in outcome.text


def test_trap_9_a_note_of_a_third_step_outlives_another_try_that_breaks_off() -> None:
    vendor, note = bam(), f"commit {SECOND}"
    notes: list[Note] = []
    with pytest.raises(Outage):
        run(vendor, told(doubt=True, note=note), answering(endorse=NotSent("no way")), notes)
    assert notes[-1].text.startswith(note)
    (outcome,) = Talk(
        vendor.tell([told(doubt=True, note=notes[-1].text)]), answering(endorse=no(USED))
    ).result
    assert isinstance(outcome, Accepted)


def run(vendor: Any, movement: Any, answer: Callable[[httpx.Request], Reply], notes: list[Note]) -> None:
    """Tell, and keep the notes also of what raises."""
    flow = vendor.tell([movement])
    asked = next(flow)
    while True:
        if isinstance(asked, Note):
            notes.append(asked)
            asked = flow.send(None)
            continue
        reply = answer(asked)
        asked = flow.throw(reply) if isinstance(reply, Outage) else flow.send(reply)


@pytest.mark.parametrize("note", ["", f"proposal {FIRST}"])
@pytest.mark.parametrize("doubt", [False, True])
def test_trap_9_already_invalidated_is_somebody_else_s_where_no_third_step_of_ours_was_sent(
    note: str, doubt: bool
) -> None:
    movement = told(doubt=doubt, note=note)
    (outcome,) = Talk(bam().tell([movement]), answering(endorse=no(USED))).result
    assert outcome == Refused(Verdict.USED, f"{USED} (409)")


@pytest.mark.parametrize("status", [200, 409])
@pytest.mark.parametrize("step", ["propose", "endorse", "commit"])
def test_trap_9_the_chain_may_say_so_at_each_step_and_in_two_ways(step: str, status: int) -> None:
    said = no(USED) if status == 409 else data({"status": "FAILURE", "info": USED})
    answer = answering(**{step: said})
    (outcome,) = Talk(bam().tell([told()]), answer).result
    assert isinstance(outcome, Refused)
    assert outcome.verdict is Verdict.USED


def test_trap_9_a_third_step_that_was_not_sent_is_nobody_s_doubt() -> None:
    notes: list[Note] = []
    with pytest.raises(NotSent):
        run(bam(), told(), answering(commit=NotSent("no way")), notes)
    assert notes[-1] == Note(0, "")


def test_trap_9_a_failure_without_a_known_word_is_tried_again_and_then_shows_whose_it_was() -> None:
    vendor, failed = bam(), data({"status": "FAILURE", "info": "conflict"})
    first = Talk(vendor.tell([told()]), answering(commit=failed))
    assert first.result == (Again("transaction for E3334TC23T12: FAILURE: conflict", doubt=True),)
    movement = told(doubt=True, note=first.notes[-1].text)
    (outcome,) = Talk(vendor.tell([movement]), answering(endorse=no(USED))).result
    assert isinstance(outcome, Accepted)


def test_trap_9_a_digest_that_is_too_old_is_made_anew() -> None:
    talk = Talk(bam().tell([told()]), answering(commit=no("transaction not found", 404)))
    (outcome,) = talk.result
    assert isinstance(outcome, Again)
    assert not outcome.doubt


@pytest.mark.parametrize("step", ["propose", "endorse"])
def test_trap_9_a_reply_lost_before_the_third_step_is_no_doubt(step: str) -> None:
    with pytest.raises(Outage) as raised:
        Talk(bam().tell([told()]), answering(**{step: Lost("cut")}))
    assert not isinstance(raised.value, Lost)


def test_trap_9_the_digest_is_signed_as_it_is_with_the_lower_s() -> None:
    talk = Talk(bam().tell([told()]), answering())
    assert isinstance(KEY, ec.EllipticCurvePublicKey)
    for request, digest in zip(talk.requests[3:], (FIRST, SECOND), strict=True):
        signature = base64.b64decode(json.loads(request.content)["signature"], validate=True)
        KEY.verify(signature, bytes.fromhex(digest), ec.ECDSA(Prehashed(hashes.SHA256())))
        assert decode_dss_signature(signature)[1] <= ORDER // 2


@given(st.binary(min_size=32, max_size=32))
def test_trap_9_every_digest_is_signed_with_the_lower_s(digest: bytes) -> None:
    assert isinstance(KEY, ec.EllipticCurvePublicKey)
    signature = base64.b64decode(Wallet(IDENTITY).digest(digest))
    KEY.verify(signature, digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    assert decode_dss_signature(signature)[1] <= ORDER // 2


# --- 10: the private key ------------------------------------------------------------------------------------


def test_trap_10_the_private_key_is_in_no_request_and_in_no_text() -> None:
    vendor = bam()
    talk = Talk(vendor.tell([told()]), answering())
    secret = IDENTITY.private_key.splitlines()[1].encode()
    assert all(secret not in request.content for request in talk.requests)
    assert IDENTITY.private_key in vendor.secrets()
    assert IDENTITY.private_key.splitlines()[1] not in repr(IDENTITY)
    assert {"session-of-ours"} <= set(vendor.secrets())


def test_trap_10_the_challenge_is_signed_with_sha_256() -> None:
    talk = Talk(bam().tell([told()]), answering())
    answer = json.loads(talk.requests[1].content)
    assert isinstance(KEY, ec.EllipticCurvePublicKey)
    KEY.verify(bytes.fromhex(answer["signed_nonce"]), b"nonce-1", ec.ECDSA(hashes.SHA256()))
    assert answer["client_nonce"] == json.loads(talk.requests[0].content)["client_nonce"]


# --- 11: two hosts ------------------------------------------------------------------------------------------


def test_trap_11_log_ins_go_to_the_global_host_and_all_else_to_the_tenant_s() -> None:
    talk = Talk(bam().tell([told()]), answering())
    assert [request.url.host for request in talk.requests] == ["api.example"] * 2 + ["org1.api.example"] * 3


def test_trap_11_a_wrong_tenant_is_a_fault_of_ours_and_says_so() -> None:
    with pytest.raises(Misconfigured, match="correct `tenant_url`"):
        Talk(bam().tickets(""), answering(qr_codes=no("not found", 404)))


def test_a_session_that_expired_is_renewed_once_and_the_call_repeated() -> None:
    replies = in_turn(no("jwt expired", 401), codes([row()]))
    talk = Talk(bam().tickets(""), answering(qr_codes=replies))
    assert calls(talk.requests)[-4:] == ["qr_codes", "refresh", "qr_codes", "counters"]
    assert talk.requests[-1].headers["authorization"] == "Bearer session-renewed"


def test_where_it_cannot_be_renewed_the_wallet_logs_in_again() -> None:
    replies = in_turn(no("jwt expired", 401), codes([row()]))
    talk = Talk(bam().tickets(""), answering(qr_codes=replies, refresh=no("too old", 401)))
    assert calls(talk.requests)[-6:-1] == ["qr_codes", "refresh", "challenge", "wallet", "qr_codes"]


def test_a_fresh_session_that_is_refused_is_a_fault_of_ours() -> None:
    with pytest.raises(Misconfigured, match="has the validator expired"):
        Talk(bam().tickets(""), answering(qr_codes=lambda _: no("jwt expired", 401)))


def test_a_wallet_that_may_not_log_in_says_what_to_do() -> None:
    with pytest.raises(LogInRefused, match="enrol"):
        Talk(bam().tickets(""), answering(wallet=no("enrollment not found", 401)))


# --- 12: not issued -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["reserved", "confirmed"])
def test_trap_12_what_is_not_on_the_chain_is_not_let_in_unless_it_is_set(state: str) -> None:
    assert listed(bam(), row(status=state)).tickets[0].status is Status.BLOCKED
    set_so = bam(accept=("issued", "activated", state))
    assert listed(set_so, row(status=state)).tickets[0].status is Status.VALID


# --- 14: hosts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["url", "tenant_url"])
@pytest.mark.parametrize(
    "wrong", ["", "http://api.example", "https://u@api.example", "https://api.example?x=1"]
)
def test_trap_14_hosts_are_settings_and_checked(name: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        bam(**{name: wrong})


# --- time slots, keys, oddities -----------------------------------------------------------------------------


def test_a_time_slot_bounds_a_ticket_with_the_margin_on_both_sides() -> None:
    slot = {"id": 5, "start_at": "2030-01-23T20:00:00Z", "end_at": "2030-01-23T22:00:00.000Z"}
    (ticket,) = listed(bam(margin_min=15), row(timeslot=slot)).tickets
    assert ticket.valid_from_ms == 1_895_428_800_000 - 15 * 60_000
    assert ticket.valid_until_ms == 1_895_428_800_000 + 7_200_000 + 15 * 60_000
    (unbound,) = listed(bam(slots=False), row(timeslot=slot)).tickets
    assert (unbound.valid_from_ms, unbound.valid_until_ms) == (None, None)


def test_the_event_s_key_is_there_for_the_gates_once_it_was_read() -> None:
    vendor = bam()
    assert vendor.keys == {}
    listed(vendor, row())
    assert vendor.keys == {EVENT: PUBLIC_KEY}


def test_a_ticket_that_no_list_has_is_told_by_its_code() -> None:
    talk = Talk(bam().tell([told(ticket_id="")]), answering())
    assert isinstance(talk.result[0], Accepted)
    assert '\\"seq_num\\":12' in talk.requests[2].content.decode()


def test_what_is_no_ticket_of_theirs_is_not_told() -> None:
    assert isinstance(Talk(bam().tell([told(ticket_id="", code="1234")]), in_turn()).result[0], Refused)
    assert isinstance(Talk(bam().tell([told(at_utc_ms=12)]), in_turn()).result[0], Unsure)
