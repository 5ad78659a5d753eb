"""The chain of the B.A.M. sandbox: three steps, two signatures, and all that is refused."""

import base64
import json
import threading
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import httpx
import pytest

from firmware.bridge.sandbox.bam import Sandbox
from firmware.bridge.sandbox.bam_rules import Rules
from tests.bridge.bam_wallet import AT_MS, Client, Clock, violated

TIME_MS = 1_900_000_000_000 - 877  # what the client says in `validation_time`


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[Sandbox]:
    with Sandbox(tickets=200, clock=clock, rules=Rules(latency_s=0, endorsing_s=0)) as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    with Client(sandbox) as client:
        client.log_in()
        yield client


@pytest.fixture
def code(sandbox: Sandbox) -> str:
    return sandbox.codes(1, event=3334, status="issued")[0]


def happened(sandbox: Sandbox, code: str) -> list[tuple[str, str]]:
    return [(change.what, change.how) for change in sandbox.history(code)]


def test_three_steps_use_a_ticket_up_at_the_time_that_was_told(
    sandbox: Sandbox, client: Client, code: str
) -> None:
    proposed = client.proposed(code)
    endorsed = client.data(client.endorse(proposed))["digest"]
    assert proposed != endorsed
    assert not sandbox.ticket(code).inside, "two steps are nothing yet"
    assert client.data(client.commit(endorsed)) == {"status": "SUCCESS", "info": ""}
    ticket = sandbox.ticket(code)
    assert (ticket.status, ticket.validated_ms) == ("invalidated", TIME_MS)
    (change,) = ticket.history
    assert (change.what, change.said_ms, change.at_ms, change.operator.id) == (
        "checkin",
        TIME_MS,
        AT_MS,
        "501",
    )
    assert (sandbox.books().check_ins, sandbox.books().inside) == (1, 1)
    assert code not in client.listed()
    assert sandbox.violations == []


@pytest.mark.parametrize("refuse_at", ["endorse", "commit"])
@pytest.mark.parametrize(
    ("status", "reason", "text"),
    [
        ("invalidated", "already", "ticket has already been invalidated"),
        ("reserved", "not issued", "ticket is not issued"),
        ("confirmed", "not issued", "ticket is not issued"),
        ("available", "not issued", "ticket is not issued"),
        ("unavailable", "not issued", "ticket is not issued"),
    ],
)
def test_the_chain_says_no_to_what_is_not_usable(
    sandbox: Sandbox, client: Client, refuse_at: Any, status: str, reason: str, text: str
) -> None:
    sandbox.set(Rules(latency_s=0, endorsing_s=0, refuse_at=refuse_at))
    if status == "invalidated":
        sandbox.check_in(sandbox.codes(1, event=3334, status="issued")[0])
    (code,) = sandbox.codes(1, event=3334, status=status)
    reply = client.invalidate(code)
    assert (reply.status_code, reply.json()["message"]) == (409, text)
    assert happened(sandbox, code)[-1] == ("denied", reason)
    assert sandbox.ticket(code).status == status
    assert (sandbox.violations, sandbox.books().repeats) == ([], 0)


def test_a_ticket_of_another_event_and_one_that_is_not_there_are_refused(
    sandbox: Sandbox, client: Client
) -> None:
    (other,) = sandbox.codes(1, event=3335, status="issued")
    assert "of this event" in client.invalidate(other).json()["message"]
    nothing = {"seq_num": 9999, "ticket_config": {"id": 23, "event": {"id": 3334}}}
    told = {**nothing, "validation_time": "2030-01-01T00:00:00.000Z"}
    digest = client.data(client.propose(other, args=[json.dumps(told)]))["digest"]
    assert client.endorse(digest).json()["message"] == "ticket does not exist"
    assert [change.how for change in sandbox.history()] == ["event", "unknown"]
    assert sandbox.history()[1].code == "E3334TC23T9999"
    assert sandbox.violations == []


def test_of_two_that_were_endorsed_the_second_is_refused_at_the_last_step(
    sandbox: Sandbox, client: Client, code: str
) -> None:
    first, second = client.endorsed(code), client.endorsed(code)
    assert client.commit(second).status_code == 200
    assert client.commit(first).json()["message"] == "ticket has already been invalidated"
    assert happened(sandbox, code) == [("checkin", ""), ("denied", "already")]
    assert sandbox.books().repeats == 1


def test_the_words_of_a_refusal_can_be_set_and_so_can_its_form(
    sandbox: Sandbox, client: Client, code: str
) -> None:
    client.invalidate(code)
    sandbox.set(Rules(latency_s=0, endorsing_s=0, already="TICKET_USED", refusal_status=422))
    reply = client.invalidate(code)
    assert (reply.status_code, reply.json()) == (422, {"message": "TICKET_USED", "error_code": 422})
    sandbox.set(Rules(latency_s=0, endorsing_s=0, already="used", refusal_status=200))
    assert client.data(client.invalidate(code)) == {"status": "FAILURE", "info": "used"}


# --- signatures --------------------------------------------------------------------------------------------


def hashed_again(client: Client, digest: str) -> bytes:
    return client.der(sha256(bytes.fromhex(digest)).digest())


def text_hashed(client: Client, digest: str) -> bytes:
    return client.der(sha256(digest.encode()).digest())


def upper_half(client: Client, digest: str) -> bytes:
    return client.der(bytes.fromhex(digest), high=True)


def of_another_digest(client: Client, digest: str) -> bytes:
    return client.der(sha256(b"another").digest())


def long_form(client: Client, digest: str) -> bytes:
    signature = client.der(bytes.fromhex(digest))
    return bytes((signature[0], 0x81)) + signature[1:]


def nothing(client: Client, digest: str) -> bytes:
    return b"0"


@pytest.mark.parametrize("step", ["endorse", "commit"])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (hashed_again, "the digest was hashed again"),
        (text_hashed, "the text of the digest was hashed again"),
        (upper_half, "upper half"),
        (of_another_digest, "not the wallet's signature"),
        (long_form, "no DER"),
        (nothing, "no DER"),
    ],
)
def test_a_signature_is_of_the_digest_itself_with_a_low_s_in_der(
    sandbox: Sandbox, client: Client, code: str, step: str, make: Any, said: str
) -> None:
    digest = client.proposed(code) if step == "endorse" else client.endorsed(code)
    signature = base64.b64encode(make(client, digest)).decode()
    assert getattr(client, step)(digest, signature).status_code == 400
    assert said in violated(sandbox)
    assert getattr(client, step)(digest).status_code == 200, "a wrong signature has not used the digest up"


@pytest.mark.parametrize("text", ["not base64!", "MEUCIQ", "A" * 204, 7, ""])
def test_a_signature_is_base64(sandbox: Sandbox, client: Client, code: str, text: object) -> None:
    digest = client.proposed(code)
    assert client.post(f"/proposal/{digest}", signature=text).status_code == 400
    assert "signature" in violated(sandbox)


# --- the order of the steps --------------------------------------------------------------------------------


def test_the_steps_have_one_order(sandbox: Sandbox, client: Client, code: str) -> None:
    proposed = client.proposed(code)
    assert client.commit(proposed).status_code == 409
    assert "is of a proposal" in violated(sandbox)
    endorsed = client.data(client.endorse(proposed))["digest"]
    assert client.endorse(endorsed).status_code == 409
    assert "is of an endorsed proposal" in sandbox.violations[1].text
    assert not sandbox.ticket(code).inside


def test_each_digest_is_good_once(sandbox: Sandbox, client: Client, code: str) -> None:
    proposed = client.proposed(code)
    endorsed = client.data(client.endorse(proposed))["digest"]
    assert client.endorse(proposed).status_code == 409
    assert [client.commit(endorsed).status_code for _ in range(2)] == [200, 409]
    assert happened(sandbox, code) == [("checkin", "")]
    assert sandbox.violations == []


def test_a_digest_that_nobody_gave_out_or_that_is_too_old_is_unknown(
    sandbox: Sandbox, client: Client, code: str, clock: Clock
) -> None:
    assert client.endorse("ab" * 32).status_code == 404
    digest = client.proposed(code)
    clock.ms += 300_000
    assert client.endorse(digest).status_code == 404
    assert sandbox.violations == []
    assert client.post("/proposal/ABCD", signature="AAAA").status_code == 400
    assert "is no digest" in violated(sandbox)


def test_a_digest_is_of_one_wallet(sandbox: Sandbox, client: Client, code: str) -> None:
    digest = client.proposed(code)
    with Client(sandbox, sandbox.validators[1]) as other:
        other.log_in()
        assert other.endorse(digest).status_code == 403
    assert "another wallet" in violated(sandbox)


# --- what is proposed --------------------------------------------------------------------------------------


def test_the_form_with_a_private_key_is_refused(sandbox: Sandbox, client: Client, code: str) -> None:
    body = {"fcn": "TICKET.INVALIDATE", **client.wallet, "args": [json.dumps(client.argument(code))]}
    assert client.post("", **body).status_code == 400
    assert "one-step form" in violated(sandbox)
    assert client.propose(code, private_key=client.wallet["private_key"]).status_code == 400
    assert "never leaves its wallet" in sandbox.violations[1].text
    assert not sandbox.ticket(code).inside


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"fcn": "TICKET.ACTIVATE"}, "a validator has TICKET.INVALIDATE"),
        ({"certificate": "PEM"}, "no certificate in PEM"),
        ({"args": []}, "a list of one text"),
        ({"args": [{"seq_num": 1}]}, "a list of one text"),
        ({"args": ["{"]}, "no JSON"),
        ({"args": ["{}"]}, "lacks seq_num, ticket_config"),
        ({"channel": "x"}, "unknown fields: channel"),
    ],
    ids=str,
)
def test_a_proposal_has_its_form(
    sandbox: Sandbox, client: Client, code: str, other: dict[str, Any], said: str
) -> None:
    assert client.propose(code, **other).status_code == 400
    assert said in violated(sandbox)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"seq_num": "12"}, "seq_num is a whole number above 0, and no text"),
        ({"seq_num": True}, "seq_num is a whole number"),
        ({"ticket_config": 23}, "ticket_config is no object"),
        ({"ticket_config": {"id": 23}}, "ticket_config lacks event"),
        ({"ticket_config": {"id": 23, "event": {"id": "3334"}}}, "event.id is a whole number"),
        ({"validation_time": 1_900_000_000}, "validation_time is a text"),
        ({"validation_time": "2030-01-01T00:00:00Z"}, "is not like"),
        ({"validation_time": "2030-02-30T00:00:00.000Z"}, "is no time"),
        ({"validation_time": "1970-01-20T00:00:00.000Z"}, "made from seconds"),
        ({"gate": 1}, "unknown fields: gate"),
    ],
    ids=str,
)
def test_what_is_proposed_has_its_form(
    sandbox: Sandbox, client: Client, code: str, other: dict[str, Any], said: str
) -> None:
    argument = json.dumps({**client.argument(code), **other})
    assert client.propose(code, args=[argument]).status_code == 400
    assert said in violated(sandbox)


def test_the_time_of_the_scan_may_be_left_out_where_that_is_set(
    sandbox: Sandbox, client: Client, code: str
) -> None:
    argument = client.argument(code)
    del argument["validation_time"]
    assert client.propose(code, args=[json.dumps(argument)]).status_code == 400
    assert "lacks validation_time" in violated(sandbox)
    sandbox.set(Rules(latency_s=0, endorsing_s=0, time_required=False))
    assert client.propose(code, args=[json.dumps(argument)]).status_code == 200


def test_a_wallet_proposes_for_itself(sandbox: Sandbox, client: Client, code: str) -> None:
    other = sandbox.validators[1].wallet.certificate
    assert client.propose(code, certificate=other).status_code == 403
    assert "not of the session's wallet" in violated(sandbox)
    client.office()
    assert client.propose(code).status_code == 403


# --- slow and lost -----------------------------------------------------------------------------------------


def test_the_chain_takes_its_time_and_holds_up_nobody_else(
    sandbox: Sandbox, client: Client, code: str
) -> None:
    endorsed = client.endorsed(code)
    sandbox.set(Rules(latency_s=600, endorsing_s=0))
    client.http.timeout = httpx.Timeout(60, read=0.2)
    with pytest.raises(httpx.ReadTimeout):
        client.commit(endorsed)
    client.http.timeout = httpx.Timeout(60)
    for _ in range(600):
        if sandbox.ticket(code).inside or threading.Event().wait(0.05):
            break
    assert code not in client.listed()
    assert client.commit(endorsed).status_code == 409


@pytest.mark.parametrize("kind", ["lost", "cut"])
def test_a_reply_that_is_lost_leaves_the_ticket_used(
    sandbox: Sandbox, client: Client, code: str, kind: str
) -> None:
    sandbox.misbehave(kind, "commit")
    with pytest.raises(httpx.RemoteProtocolError):
        client.commit(client.endorsed(code))
    assert sandbox.ticket(code).inside
    assert client.invalidate(code).json()["message"] == "ticket has already been invalidated"
    assert (sandbox.books().repeats, sandbox.books().check_ins) == (1, 1)


@pytest.mark.parametrize(("kind", "status"), [("error", 500), ("limit", 429)])
def test_what_was_not_carried_out_can_be_tried_again(
    sandbox: Sandbox, client: Client, code: str, kind: str, status: int
) -> None:
    endorsed = client.endorsed(code)
    sandbox.misbehave(kind, "commit")
    assert [client.commit(endorsed).status_code for _ in range(2)] == [status, 200]


@pytest.mark.parametrize("after", [False, True])
def test_a_commit_fails_on_demand(sandbox: Sandbox, client: Client, code: str, after: bool) -> None:
    sandbox.misbehave("status", "commit", word="MVCC_READ_CONFLICT", after=after)
    assert client.data(client.invalidate(code))["status"] == "MVCC_READ_CONFLICT"
    assert sandbox.ticket(code).inside is after


def test_many_at_a_time_use_each_ticket_up_once(sandbox: Sandbox, client: Client) -> None:
    codes = sandbox.codes(10, event=3334, status="issued")
    token = client.http.headers["Authorization"]

    def all_of_them() -> None:
        with Client(sandbox) as other:
            other.http.headers["Authorization"] = token
            for code in codes:
                other.invalidate(code)

    threads = [threading.Thread(target=all_of_them) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sandbox.books().check_ins == 10
    assert all([change.what for change in sandbox.history(code)].count("checkin") == 1 for code in codes)
    assert sandbox.violations == []
