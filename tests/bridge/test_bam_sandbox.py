"""The B.A.M. sandbox from outside: its hosts, who asks, and what it tells of tickets."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st

from firmware.bridge.sandbox.bam import COMMANDS as OWN_COMMANDS
from firmware.bridge.sandbox.bam import KINDS, Sandbox
from firmware.bridge.sandbox.bam_api import SHAPES
from firmware.bridge.sandbox.bam_keys import base45, bytes_of
from firmware.bridge.sandbox.bam_rules import Rules
from firmware.bridge.sandbox.control import COMMANDS, control_of
from tests.bridge.bam_wallet import AT_MS, Client, Clock, violated
from tests.commands import Running, run

AT_ONCE = Rules(latency_s=0, endorsing_s=0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[Sandbox]:
    with Sandbox(tickets=200, clock=clock, rules=AT_ONCE) as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    with Client(sandbox) as client:
        client.log_in()
        yield client


# --- codes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"), [(b"AB", "BB8"), (b"Hello!!", "%69 VD92EX0"), (b"ietf!", "QED8WEX0"), (b"", "")]
)
def test_base45_is_that_of_its_standard(data: bytes, text: str) -> None:
    assert (base45(data), bytes_of(text)) == (text, data)


@given(st.binary(max_size=80))
def test_base45_comes_back_as_it_was(data: bytes) -> None:
    assert bytes_of(base45(data)) == data


@pytest.mark.parametrize("text", ["A", "::", ":::", "bb8", "BB8A"])
def test_what_is_no_base45_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"base45|substring"):
        bytes_of(text)


def test_codes_are_signed_with_the_key_of_their_event(sandbox: Sandbox, client: Client) -> None:
    pem = client.data(client.get("public_key"))["public_key"]
    key = load_pem_public_key(pem.encode())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    for code, ticket in client.listed().items():
        payload, signature = (bytes_of(part) for part in code.split(":::", 1))
        assert json.loads(payload) == {"id": f"E3334TC{ticket['config']}T{ticket['seq_num']}"}
        key.verify(signature, payload, ec.ECDSA(hashes.SHA256()))
    (other,) = sandbox.codes(1, event=sandbox.events[1].id)
    payload, signature = (bytes_of(part) for part in other.split(":::", 1))
    with pytest.raises(InvalidSignature):
        key.verify(signature, payload, ec.ECDSA(hashes.SHA256()))


def test_a_ticket_that_is_signed_again_has_another_code_and_the_old_one_is_in_no_list(
    sandbox: Sandbox, client: Client
) -> None:
    (old,) = sandbox.codes(1, event=3334, status="issued")
    new = sandbox.change_code(old).code
    assert (old in client.listed(), new in client.listed()) == (False, True)
    assert old.split(":::")[0] == new.split(":::")[0]
    with pytest.raises(KeyError):
        sandbox.ticket(old)


def test_the_same_seed_makes_the_same_codes_and_the_same_wallets() -> None:
    with (
        Sandbox(tickets=40, seed=5) as one,
        Sandbox(tickets=40, seed=5) as same,
        Sandbox(tickets=40) as other,
    ):
        assert one.codes(40) == same.codes(40) != other.codes(40)
        assert one.validators[0].wallet == same.validators[0].wallet != other.validators[0].wallet


# --- hosts -------------------------------------------------------------------------------------------------


def test_each_call_is_at_its_own_host(sandbox: Sandbox, client: Client) -> None:
    path = "/event/v1/organizer/nightworks/event/3334/qr_codes"
    assert client.http.get(sandbox.url + path).status_code == 404
    assert "at the host of its tenant" in violated(sandbox)
    assert client.http.post(f"{sandbox.tenant_url}/account/v1/auth/refresh").status_code == 404
    assert "at the global host" in sandbox.violations[1].text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("org1.api.example", 200),
        ("catapult.api.example", 404),
        ("api.example", 404),
        ("org1.api.example:80", 200),
    ],
)
def test_a_tenant_is_told_by_its_name_too_and_a_wrong_one_has_nothing(
    sandbox: Sandbox, client: Client, host: str, status: int
) -> None:
    client.http.headers["Host"] = host
    assert client.get("qr_codes").status_code == status
    assert len(sandbox.violations) == (status == 404)


def test_an_organizer_says_which_tenant_it_has(sandbox: Sandbox, client: Client) -> None:
    for name in ("17", "nightworks"):
        found = client.data(client.http.get(f"{sandbox.url}/account/v1/organizer/{name}"))
        assert (found["id"], found["organization_name"]) == (17, "org1")
    assert client.http.get(f"{sandbox.url}/account/v1/organizer/18").status_code == 404


def test_an_unknown_path_is_against_the_documents(sandbox: Sandbox, client: Client) -> None:
    assert client.http.get(f"{sandbox.url}/account/v2/auth").status_code == 404
    assert client.http.get(f"{sandbox.url}/account/v1/auth/challenge").status_code == 405
    assert ["is not here" in sandbox.violations[0].text, "takes POST" in sandbox.violations[1].text] == [
        True
    ] * 2


# --- who asks ----------------------------------------------------------------------------------------------


def test_the_address_in_the_qr_code_gives_the_identity(sandbox: Sandbox, client: Client) -> None:
    identity = client.identity
    assert (identity["event_id"], identity["organizer"]) == (3334, "nightworks")
    assert identity["server_url"] == sandbox.url
    assert identity["wallet"].keys() == {"id", "enrollment_id", "certificate", "private_key"}
    url = json.loads(sandbox.qr())["url"]
    assert client.http.get(f"{url[:-1]}x").status_code == 404
    assert sandbox.violations == []


def test_the_token_of_an_identity_is_not_to_be_seen(sandbox: Sandbox, client: Client) -> None:
    token = sandbox.validators[0].token
    assert client.http.post(json.loads(sandbox.qr())["url"]).status_code == 405
    assert violated(sandbox) == "this path takes GET"
    lines = [seen.request for seen in sandbox.requests] + [sandbox.violations[0].request]
    assert "POST /account/v1/organizer/validator/***" in lines
    assert not any(token in line for line in lines)


def test_a_validator_that_has_expired_is_nobody(sandbox: Sandbox, clock: Clock) -> None:
    made = sandbox.validator(3335, AT_MS + 5000)
    with Client(sandbox, made) as client:
        client.log_in()
        assert client.get("public_key").status_code == 200
        clock.ms += 5000
        assert client.get("public_key").status_code == 401
        asked = {"client_nonce": "ours", "enrollment_id": client.wallet["enrollment_id"]}
        assert client.auth("challenge", **asked).status_code == 404
        assert client.http.get(json.loads(sandbox.qr(made))["url"]).status_code == 404


def test_a_challenge_is_signed_for_real_and_good_once(sandbox: Sandbox, client: Client) -> None:
    nonce = client.challenge()
    assert client.answer(nonce, signed_nonce=client.signed(nonce + "x")).status_code == 401
    assert "not the wallet's signature" in violated(sandbox)
    assert client.answer(nonce).status_code == 401, "used up"
    nonce = client.challenge()
    assert [client.answer(nonce).status_code for _ in range(2)] == [200, 401]
    assert len(sandbox.violations) == 1


def test_a_challenge_gets_too_old(client: Client, clock: Clock) -> None:
    nonce = client.challenge()
    clock.ms += 60_000
    assert client.answer(nonce).status_code == 401


@pytest.mark.parametrize(
    ("other", "status", "said"),
    [
        ({"signed_nonce": "MEUCIQ=="}, 400, "not hexadecimal"),
        ({"signed_nonce": 7}, 400, "is a text"),
        ({"organizer_id": "18"}, 404, ""),
        ({"password": "x"}, 400, "unknown fields: password"),
    ],
    ids=str,
)
def test_an_answer_has_its_form(
    sandbox: Sandbox, client: Client, other: dict[str, Any], status: int, said: str
) -> None:
    assert client.answer(client.challenge(), **other).status_code == status
    assert said in violated(sandbox) if said else sandbox.violations == []


def test_a_session_is_over_in_time_and_can_be_exchanged(
    sandbox: Sandbox, client: Client, clock: Clock
) -> None:
    sandbox.set(Rules(token_s=10, refresh_s=20))
    client.log_in()
    clock.ms += 9999
    assert client.get("public_key").status_code == 200
    clock.ms += 1
    assert client.get("public_key").status_code == 401
    client.bear(client.data(client.auth("refresh"))["token"])
    assert client.get("public_key").status_code == 200
    clock.ms += 30_000
    assert client.auth("refresh").status_code == 401
    assert sandbox.violations == []


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
def test_a_session_is_not_made_up(sandbox: Sandbox, client: Client, token: str) -> None:
    client.http.headers["Authorization"] = f"Bearer {token}".strip()
    assert client.get("public_key").status_code == 401
    assert len(sandbox.violations) == (not token)


def test_a_session_that_was_changed_is_nobodys(client: Client) -> None:
    token = client.http.headers["Authorization"].removeprefix("Bearer ")
    head, body, mac = token.split(".")
    client.bear(f"{head}.{body[:-2]}xx.{mac}")
    assert client.get("public_key").status_code == 401


# --- what it tells of tickets ------------------------------------------------------------------------------


def test_the_code_list_has_what_is_sold_and_not_used_by_kinds(sandbox: Sandbox, client: Client) -> None:
    listed = client.listed()
    states = {ticket["status"] for ticket in listed.values()}
    assert states == {"reserved", "confirmed", "issued", "activated"}
    wanted = set(sandbox.codes(200, event=3334, sold=True))
    assert set(listed) == wanted
    slots = {ticket["config"]: ticket["timeslot"] is not None for ticket in listed.values()}
    assert slots == {23: False, 24: True}
    (first, second, *_) = sandbox.codes(2, event=3334, status="issued")
    sandbox.check_in(first)
    sandbox.refund(second)
    assert set(client.listed()) == wanted - {first, second}
    sandbox.set(Rules(listed=("issued",)))
    assert {ticket["status"] for ticket in client.listed().values()} == {"issued"}


def test_the_code_list_has_no_pages_and_no_differences(sandbox: Sandbox, client: Client) -> None:
    assert client.get("qr_codes?limit=5").status_code == 400
    assert '"limit" is no parameter' in violated(sandbox)


def test_of_another_event_a_validator_learns_nothing(sandbox: Sandbox, client: Client) -> None:
    assert client.get("qr_codes", 3335).status_code == 403
    assert client.get("qr_codes", 9).status_code == 404
    assert client.get("qr_codes", organizer="others").status_code == 404
    client.office()
    assert client.get("qr_codes", 3335).status_code == 200
    assert sandbox.violations == []


def test_the_counters_are_those_of_the_states(sandbox: Sandbox, client: Client) -> None:
    def counted() -> list[int]:
        found = client.data(client.get("statistics/validator/ticket_count"))
        names = ("issued_tickets", "activated_tickets", "invalidated_tickets")
        assert [config["id"] for config in found] == [23, 24]
        return [sum(config[name] for config in found) for name in names]

    before = counted()
    (code,) = sandbox.codes(1, event=3334, status="issued")
    sandbox.check_in(code)
    assert counted() == [before[0] - 1, before[1], before[2] + 1]


# --- the box office ----------------------------------------------------------------------------------------


def reserve(client: Client, quantity: int, **item: int) -> httpx.Response:
    items = [{"ticket_config_id": 24, "quantity": quantity, **item}]
    owner = client.sandbox.api.people.organizer.enrollment_id
    return client.ticket_call(
        "reserve", event_id=3334, owner_id=owner, format="PDF", ticket_reservation_items=items
    )


def test_tickets_are_held_issued_and_let_go(sandbox: Sandbox, client: Client) -> None:
    client.office()
    available = len(sandbox.codes(200, event=3334, status="available"))
    one, other = client.data(reserve(client, 2, timeslot_id=5))
    assert (one["status"], one["format"]) == ("reserved", "PDF")
    assert client.data(client.ticket_call("issue", ticket_ids=[one["id"]]))[0]["status"] == "issued"
    assert client.data(client.ticket_call("free", ticket_ids=[other["id"]]))[0]["status"] == "available"
    assert len(sandbox.codes(200, event=3334, status="available")) == available - 1
    for call, ids, status in (("free", [one["id"]], 409), ("issue", [other["id"]], 409), ("issue", [1], 404)):
        assert client.ticket_call(call, ticket_ids=ids).status_code == status
    tickets = client.http.get(f"{sandbox.tenant_url}/event/v1/ticket", params={"status": "issued"}).json()
    assert [ticket["id"] for ticket in tickets["data"]] == [one["id"]]
    assert tickets["data"][0]["ticket_config"]["event"]["id"] == 3334
    assert tickets["paging"]["total"] == 1
    assert sandbox.violations == []


def test_more_than_there_are_is_held_not_at_all(sandbox: Sandbox, client: Client) -> None:
    client.office()
    assert reserve(client, 100).status_code == 409
    assert reserve(client, 1, timeslot_id=99).status_code == 409
    assert sandbox.history() == []


def test_a_validator_sells_nothing_and_lists_its_own_tickets_only(sandbox: Sandbox, client: Client) -> None:
    assert client.data(client.http.get(f"{sandbox.tenant_url}/event/v1/ticket")) == []
    assert reserve(client, 1).status_code == 403
    assert "no right to sell" in violated(sandbox)


def test_the_calls_of_the_box_office_have_their_form(sandbox: Sandbox, client: Client) -> None:
    client.office()
    assert client.ticket_call("free", ticket_ids=[]).status_code == 400
    assert client.ticket_call("free", ids=[1]).status_code == 400
    assert client.ticket_call("issue", ticket_ids=[1, 1]).status_code == 400
    assert client.ticket_call("issue", ticket_ids=["1"]).status_code == 400
    assert reserve(client, 0).status_code == 400
    assert reserve(client, 1, seat_id=1).status_code == 400
    assert client.http.get(f"{sandbox.tenant_url}/event/v1/ticket?format=QR").status_code == 400
    assert client.http.get(f"{sandbox.tenant_url}/event/v1/ticket?ids=a").status_code == 400
    assert len(sandbox.violations) == 8


def test_a_wrong_password_is_no_session(sandbox: Sandbox, client: Client) -> None:
    assert client.auth("login", email=sandbox.email, password="guess").status_code == 401


# --- troubles, the control port and the command ------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_replies_drift(sandbox: Sandbox, client: Client, shape: str) -> None:
    sandbox.misbehave("drift", "qr_codes", shape=shape)
    config = client.data(client.get("qr_codes"))[0]
    ticket = config["ticket"][0]
    assert type(ticket["seq_num"]) is (str if shape == "texts" else int)
    assert ("sector" in ticket) is (shape != "fewer")
    assert ("extra" in ticket) is (shape == "more")


def test_the_list_comes_in_another_order(sandbox: Sandbox, client: Client) -> None:
    before = client.listed()
    sandbox.misbehave("shuffled", "qr_codes")
    after = client.listed()
    assert (after == before, list(after) == list(before)) == (True, False)


def test_a_session_is_over_for_one_request(sandbox: Sandbox, client: Client) -> None:
    sandbox.misbehave("expired", "public_key")
    assert [client.get("public_key").status_code for _ in range(2)] == [401, 200]
    sandbox.misbehave("expired", "refresh")
    assert client.auth("refresh").status_code == 401


def test_both_hosts_can_be_out_of_reach(sandbox: Sandbox, client: Client) -> None:
    with sandbox.refused():
        with pytest.raises(httpx.TransportError):
            client.get("public_key")
        with pytest.raises(httpx.TransportError):
            client.challenge()
    client.http.close()
    with Client(sandbox) as again:
        again.log_in()
        assert again.get("public_key").status_code == 200


def test_everything_can_be_done_over_the_control_port(sandbox: Sandbox, client: Client) -> None:
    control = control_of(sandbox)
    with control, httpx.Client(base_url=f"{control.url}/sandbox", timeout=60) as http:

        def post(command: str, **body: object) -> Any:
            reply = http.post(f"/{command}", json=body)
            assert reply.status_code == 200, reply.text
            return reply.json()

        state = http.get("/state").json()
        assert (state["url"], state["tenant_url"]) == (sandbox.url, sandbox.tenant_url)
        assert [event["id"] for event in state["events"]] == [3334, 3335]
        wanted = {"count": "1", "event": "3334", "status": "issued", "slot": "false"}
        (code,) = http.get("/codes", params=wanted).json()
        (ticket,) = http.get("/tickets", params=wanted).json()
        assert (ticket["code"], ticket["status"]) == (code, "issued")
        assert http.get("/codes", params={"event": 9}).status_code == 404
        assert client.data(client.invalidate(code))["status"] == "SUCCESS"
        shown = http.get("/ticket", params={"ticket": code}).json()
        assert (shown["status"], shown["validated_ms"]) == ("invalidated", AT_MS - 877)
        assert shown["history"][0]["operator"][0] == "501"
        commands = ("sell", "refund", "transfer", "change-code", "reserve", "free", "check-in")
        assert [post(command)[2] for command in commands] == [
            *("sold", "refunded", "transferred", "code", "reserved", "freed", "checkin")
        ]
        assert [post(command)[2] for command in ("confirm", "issue", "activate")] == [
            *("confirmed", "issued", "activated")
        ]
        assert http.post("/check-out", json={}).status_code == 400, "there is no exit"
        made = post("validator", event=3335)
        assert [one["id"] for one in http.get("/validators").json()] == [501, 502, made["id"]]
        post("event", event=3334, starts_ms=AT_MS)
        assert post("rules", latency_s=0.5)["latency_s"] == 0.5
        assert http.post("/rules", json={"latency": 1}).status_code == 400
        assert len(post("live", changes=3)) <= 3
        assert http.post("/refuse", json={"seconds": -1}).status_code == 400
        post("refuse", seconds=60)
        with pytest.raises(httpx.TransportError):
            httpx.get(sandbox.url, timeout=60)
        post("behave")
        assert httpx.get(sandbox.url, timeout=60).status_code == 404


@pytest.mark.parametrize(
    "rules",
    [{"latency_s": -1}, {"latency_s": 601}, {"listed": ("sold",)}, {"refusal_status": 500}],
    ids=str,
)
def test_what_cannot_be_is_not_set(rules: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"times|listed|refusal_status"):
        Rules(**rules)


def test_what_happened_happens_again(sandbox: Sandbox, client: Client) -> None:
    client.invalidate(sandbox.codes(1, event=3334, status="issued")[0])
    client.invalidate(sandbox.codes(1, event=3334, status="reserved")[0])
    client.office()
    client.ticket_call("issue", ticket_ids=[client.data(reserve(client, 1))[0]["id"]])
    for deed in (sandbox.transfer, sandbox.change_code, sandbox.activate, sandbox.confirm, sandbox.free):
        deed()
    sandbox.live(40)
    with Sandbox(tickets=200, clock=Clock(), rules=AT_ONCE) as other:
        for change in sandbox.history():
            other.life.again(change)
        assert other.history() == sandbox.history()
        assert other.books() == sandbox.books()
        for code in sandbox.codes(200):
            one, same = sandbox.ticket(code), other.ticket(code)
            assert (one.id, one.status, one.owner, one.format) == (
                same.id,
                same.status,
                same.owner,
                same.format,
            )


def test_the_command_says_what_is_needed() -> None:
    with Running("sandbox", "bam", "--port", "0", "--tickets", "80") as command:
        command.out.expect("^B.A.M. sandbox at ")
        tenant = command.out.expect("^tenant ").split()[1]
        qr = json.loads(command.out.expect("^  qr ").split(maxsplit=1)[1])
        assert ":::" in command.out.expect("^  issued ")
        assert httpx.get(qr["url"], timeout=60).json()["data"]["event_id"] == 3334
        assert httpx.get(f"{tenant}/event/v1/ticket", timeout=60).status_code == 401


def test_the_help_has_every_command() -> None:
    text = run("sandbox", "bam", "--help").stdout
    assert all(f"  {name} " in text for name in (*COMMANDS, *OWN_COMMANDS, *KINDS))
