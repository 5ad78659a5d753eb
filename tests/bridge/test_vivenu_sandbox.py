"""The vivenu sandbox from outside, endpoint by endpoint, as its vendor's documents say."""

import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from firmware.bridge.sandbox.control import COMMANDS, control_of
from firmware.bridge.sandbox.vivenu import COMMANDS as OWN_COMMANDS
from firmware.bridge.sandbox.vivenu import KINDS, Sandbox
from firmware.bridge.sandbox.vivenu_api import SHAPES, Rules
from firmware.bridge.sandbox.vivenu_tickets import MADE_FROM_MS, MADE_UNTIL_MS, ODD
from firmware.bridge.vivenu_requests import iso
from tests.commands import Running, run

AT_MS = 1_900_000_000_000
AT = iso(AT_MS)


class Client:
    """Asks as the documents say; what a test changes it names."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        base = f"{sandbox.url}/api/accessusers"
        self.http = httpx.Client(base_url=base, timeout=60, headers={"token": sandbox.token})

    @property
    def event(self) -> str:
        return self.sandbox.events[0].id

    def page(self, **query: str | int) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/tickets/v2/{self.event}", **query).json()
        return found

    def get(self, path: str, **query: str | int) -> httpx.Response:
        return self.http.get(path, params=query)

    def look(self, code: str, **query: str) -> httpx.Response:
        return self.get(f"/tickets/{quote(code, safe='')}", **query)

    def scan(self, code: str, **more: Any) -> httpx.Response:
        return self.http.post(f"/tickets/{quote(code, safe='')}/scan", **more)

    def upload(self, *codes: str, event: str = "", **fields: object) -> httpx.Response:
        scans = [
            {"barcode": code, "scanned_at": AT, "type": "OK", "direction": "IN", **fields} for code in codes
        ]
        return self.http.post(f"/scans/{event or self.event}", json=scans)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(tickets=80, clock=lambda: AT_MS) as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    client = Client(sandbox)
    with client.http:
        yield client


def violated(sandbox: Sandbox) -> str:
    """The only violation that was noted."""
    (violation,) = sandbox.violations
    return violation.text


# --- who asks ----------------------------------------------------------------------------------------------


def test_the_token_is_in_a_header_of_its_own(sandbox: Sandbox, client: Client) -> None:
    assert client.get("/me").json()["deviceSettings"]["scanConfig"]["scanTypes"] == {
        "checkin": True,
        "checkout": True,
    }
    client.http.headers["token"] = "another"
    assert client.get("/me").status_code == 401
    assert sandbox.violations == []
    del client.http.headers["token"]
    client.http.headers["Authorization"] = f"Bearer {sandbox.token}"
    assert client.get("/me").status_code == 401
    assert "not in Authorization" in violated(sandbox)


def test_a_token_that_was_withdrawn_is_nobodys(sandbox: Sandbox, client: Client) -> None:
    sandbox.withdraw()
    assert client.page() == {
        "statusCode": 401,
        "error": "Unauthorized",
        "message": "this access user was deactivated",
    }


def test_events_and_seller_are_there_and_hidden_events_are_not(sandbox: Sandbox, client: Client) -> None:
    assert client.get("/seller").json() == {"sellerId": "s1"}
    assert [each["_id"] for each in client.get("/events", includeRootEvents="true").json()] == [
        event.id for event in sandbox.events
    ]
    sandbox.hide(client.event)
    assert len(client.get("/events").json()) == 1
    assert client.get(f"/tickets/v2/{client.event}").status_code == 404


# --- the list ----------------------------------------------------------------------------------------------


def test_a_page_has_25_tickets_unless_another_number_was_asked_for(client: Client) -> None:
    assert len(client.page()["docs"]) == 25
    assert len(client.page(top=3)["docs"]) == 3
    assert client.page(top=1000)["total"] == len(client.page(top=1000)["docs"])
    assert client.page(top=10, skip=1000)["docs"] == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"top": 0}, "from 1 to 1000"),
        ({"top": 1001}, "from 1 to 1000"),
        ({"skip": -1}, "not a whole number"),
        ({"from": 1900000000}, "is not like 2020-04-29T15:03:03.726Z"),
        ({"from": "2030-01-01T00:00:00Z"}, "is not like"),
        ({"from": "2030-13-01T00:00:00.000Z"}, "is no time"),
        ({"from": "1970-01-23T00:00:00.000Z"}, "was it made from seconds"),
        ({"from": AT, "until": AT}, "from is not before until"),
        ({"page": 1}, "is no parameter"),
    ],
    ids=str,
)
def test_what_the_documents_do_not_allow_is_refused_and_noted(
    sandbox: Sandbox, client: Client, query: dict[str, Any], said: str
) -> None:
    assert client.get(f"/tickets/v2/{client.event}", **query).status_code == 400
    assert said in violated(sandbox)


def test_a_window_takes_its_beginning_in_and_its_end_not(sandbox: Sandbox, client: Client) -> None:
    whole = client.page(top=1000)["total"]
    until = iso(MADE_UNTIL_MS)
    half = iso((MADE_FROM_MS + MADE_UNTIL_MS) // 2)
    assert client.page(until=until)["total"] + client.page(**{"from": until})["total"] == whole
    assert client.page(until=half)["total"] + client.page(**{"from": half})["total"] == whole
    change = sandbox.refund(sandbox.codes(1, event=client.event, valid=True)[0])
    assert [row["_id"] for row in client.page(**{"from": iso(change.at_ms)})["docs"]] == [change.ticket_id]
    assert client.page(**{"from": iso(change.at_ms + 1)})["docs"] == []
    assert client.page(**{"from": iso(change.at_ms - 1), "until": iso(change.at_ms)})["docs"] == []


def test_what_changed_last_comes_first_so_rows_move_between_pages(sandbox: Sandbox, client: Client) -> None:
    last = client.page(top=1000)["docs"][-1]["_id"]
    sandbox.change_code(last)
    assert client.page(top=1)["docs"][0]["_id"] == last


def test_the_list_says_nothing_of_who_is_inside(sandbox: Sandbox, client: Client) -> None:
    before = client.page(top=1000)
    (code,) = sandbox.codes(1, event=client.event, valid=True)
    assert client.upload(code).json() == {"status": "OK"}
    sandbox.check_in(sandbox.codes(2, event=client.event, valid=True)[1])
    assert client.page(top=1000) == before
    assert sandbox.ticket(code).inside


def test_blank_and_deleted_tickets_are_in_no_list_and_leave_no_trace(
    sandbox: Sandbox, client: Client
) -> None:
    (blank,) = sandbox.codes(1, event=client.event, sold=False)
    (gone,) = sandbox.codes(1, event=client.event, valid=True)
    sandbox.delete(gone)
    codes = {row["barcode"] for row in client.page(top=1000)["docs"]}
    assert codes.isdisjoint({blank, gone})
    assert {client.look(code).status_code for code in (blank, gone)} == {404}
    sold = sandbox.sell(blank)
    assert client.page(**{"from": iso(sold.at_ms)})["docs"][0]["status"] == "VALID"


# --- single tickets and scans ------------------------------------------------------------------------------


def test_a_barcode_in_the_path_is_percent_encoded(sandbox: Sandbox, client: Client) -> None:
    code = next(code for code in sandbox.codes(80, event=client.event) if "/" in code)
    assert ODD
    assert client.look(code).json()["barcode"] == code
    assert client.get(f"/tickets/{code}").status_code == 404
    assert client.get("/tickets/").status_code == 400
    cut, empty = [violation.text for violation in sandbox.violations]
    assert "a barcode in a path is percent-encoded and not empty" in cut
    assert "is not percent-encoded" in empty


def test_a_single_ticket_is_valid_or_invalid_and_of_the_event_that_was_named(
    sandbox: Sandbox, client: Client
) -> None:
    (details,) = sandbox.codes(1, event=client.event, sold=True, valid=False, refunded=False)
    (code,) = sandbox.codes(1, event=client.event, valid=True)
    assert client.look(details).json()["status"] == "INVALID"
    assert client.look(code, eventId=client.event).json()["status"] == "VALID"
    assert client.look(code, eventId=sandbox.events[1].id).status_code == 404


def test_a_scan_grants_once_whatever_the_event_and_gives_no_reason(sandbox: Sandbox, client: Client) -> None:
    (code,) = sandbox.codes(1, event=sandbox.events[1].id, valid=True)
    assert client.scan(code).json()["access"] == "GRANTED"
    denied = client.scan(code).json()
    assert denied["access"] == "DENIED"
    assert "reason" not in json.dumps(denied)
    assert client.scan("nothing").status_code == 404
    assert [change.what for change in sandbox.history(code)] == ["checkin", "denied"]


@pytest.mark.parametrize("more", [{"content": b"{}"}, {"params": {"eventId": "e"}}])
def test_a_scan_has_neither_body_nor_query(sandbox: Sandbox, client: Client, more: dict[str, Any]) -> None:
    (code,) = sandbox.codes(1, valid=True)
    assert client.scan(code, **more).status_code == 400
    assert violated(sandbox)
    assert sandbox.history(code) == []


def test_what_is_set_for_the_access_user_decides_a_scan(sandbox: Sandbox, client: Client) -> None:
    one, other = sandbox.codes(2, event=client.event, valid=True)
    sandbox.set({"deviceSettings": {"scanConfig": {"enableMultiCheckin": False}}})
    assert client.scan(one).json()["access"] == "GRANTED"
    client.upload(one, direction="OUT")
    assert client.scan(one).json()["access"] == "DENIED"
    rule = {"eventId": client.event, "allowedTicketTypeIds": []}
    sandbox.set({"deviceSettings": {"scanConfig": {"events": [rule]}}})
    assert client.scan(other).json()["access"] == "DENIED"


# --- uploads -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"type": "ok"}, "in capitals"),
        ({"direction": "in"}, "in capitals"),
        ({"type": "approved"}, "in capitals"),
        ({"scanned_at": "2030-01-01"}, "is not like"),
        ({"scanned_at": AT_MS}, "each field is a text"),
        ({"barcode": ""}, "each field is a text"),
        ({"gate": "north"}, "unknown fields: gate"),
    ],
    ids=str,
)
def test_an_upload_against_the_documents_is_refused_whole(
    sandbox: Sandbox, client: Client, fields: dict[str, Any], said: str
) -> None:
    assert client.upload(*sandbox.codes(2, valid=True), **fields).status_code == 400
    assert said in violated(sandbox)
    assert sandbox.history() == []


@pytest.mark.parametrize("body", [{}, {"scans": []}, [], [7], "[", None])
def test_the_body_is_a_bare_array_of_scans(sandbox: Sandbox, client: Client, body: Any) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    reply = client.http.post(
        f"/scans/{client.event}", content=content, headers={"Content-Type": "application/json"}
    )
    assert reply.status_code == 400
    assert violated(sandbox)


def test_an_upload_is_answered_with_one_word_whatever_is_in_it(sandbox: Sandbox, client: Client) -> None:
    one, other = sandbox.codes(2, event=client.event, valid=True)
    assert client.upload(one, "nobody's").json() == {"status": "OK"}
    assert client.upload(one).json() == {"status": "OK"}
    assert client.upload(other, type="FAIL").json() == {"status": "OK"}
    assert sandbox.books().twice == 1
    assert [change.what for change in sandbox.history()] == ["checkin", "checkin", "denied"]


def test_an_upload_names_tickets_of_its_own_event(sandbox: Sandbox, client: Client) -> None:
    (other,) = sandbox.codes(1, event=sandbox.events[1].id, valid=True)
    client.upload(other)
    assert "is a ticket of event" in violated(sandbox)


def test_a_scan_of_a_barcode_that_was_changed_since_is_found_by_its_id(
    sandbox: Sandbox, client: Client
) -> None:
    (code,) = sandbox.codes(1, event=client.event, valid=True)
    ticket = sandbox.ticket(code).id
    sandbox.change_code(code)
    client.upload(code, ticketId=ticket)
    assert sandbox.ticket(ticket).inside


def test_an_array_longer_than_this_vendor_takes_is_refused() -> None:
    with Sandbox(tickets=80, rules=Rules(upload_max=2)) as sandbox:
        client = Client(sandbox)
        with client.http:
            assert client.upload(*sandbox.codes(3, valid=True)).status_code == 400


# --- troubles and the control port -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lost", "cut"])
def test_a_reply_that_is_lost_or_cut_leaves_the_scan_made(
    sandbox: Sandbox, client: Client, kind: str
) -> None:
    (code,) = sandbox.codes(1, event=client.event, valid=True)
    sandbox.misbehave(kind, "upload")
    with pytest.raises(httpx.RemoteProtocolError):
        client.upload(code)
    assert [change.what for change in sandbox.history(code)] == ["checkin"]


def test_an_upload_is_rejected_on_demand_and_nothing_of_it_is_made(sandbox: Sandbox, client: Client) -> None:
    (code,) = sandbox.codes(1, event=client.event, valid=True)
    sandbox.misbehave("rejected", "upload")
    assert client.upload(code).status_code == 400
    assert sandbox.history() == []
    assert sandbox.violations == []


@pytest.mark.parametrize("shape", SHAPES)
def test_replies_drift(sandbox: Sandbox, client: Client, shape: str) -> None:
    sandbox.misbehave("drift", "tickets", shape=shape)
    row = client.page(top=1)["docs"][0]
    assert ("name" in row) is (shape != "fewer")
    assert ("extra" in row) is (shape == "more")
    assert row["status"].isupper() is (shape != "small")


def test_troubles_of_another_vendor_are_not_known_here(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match='kind "missing" is not one of'):
        sandbox.misbehave("missing")
    with pytest.raises(ValueError, match='endpoint "guestlist" is not one of'):
        sandbox.misbehave("lost", "guestlist")


def test_everything_can_be_done_over_the_control_port(sandbox: Sandbox, client: Client) -> None:
    control = control_of(sandbox)
    with control, httpx.Client(base_url=f"{control.url}/sandbox", timeout=60) as http:

        def post(name: str, **body: object) -> Any:
            reply = http.post(f"/{name}", json=body)
            assert reply.status_code == 200, reply.text
            return reply.json()

        state = http.get("/state").json()
        assert [event["id"] for event in state["events"]] == [event.id for event in sandbox.events]
        (code,) = http.get("/codes", params={"count": 1, "event": client.event, "valid": "true"}).json()
        assert http.get("/codes", params={"event": "none"}).status_code == 404
        assert post("check-in", ticket=code)[2] == "checkin"
        assert http.get("/ticket", params={"ticket": code}).json()["inside"]
        assert post("check-out", ticket=code)[2] == "checkout"
        (details,) = sandbox.codes(1, sold=True, valid=False, refunded=False)
        assert post("personalise", ticket=details)[2] == "details"
        assert [post(name)[2] for name in ("sell", "refund", "change-code", "delete")] == [
            "sold",
            "refunded",
            "code",
            "deleted",
        ]
        assert len(post("live", changes=3)) <= 3
        post("settings", deviceSettings={"scanConfig": {"checkTimeslots": True}})
        assert client.get("/me").json()["deviceSettings"]["scanConfig"]["checkTimeslots"] is True
        post("misbehave", kind="error", endpoint="me")
        assert client.get("/me").status_code == 500
        post("misbehave", kind="slow", chance=1.0)
        post("behave")
        assert http.get("/state").json()["troubles"] == []
        post("withdraw")
        assert client.get("/me").status_code == 401
        assert len(http.get("/history").json()) == len(sandbox.history())
        assert http.get("/requests").json()[-1][2] == 401
        assert http.get("/violations").json() == []
        post("refuse", seconds=3600)
        with pytest.raises(httpx.TransportError):
            client.get("/me")


def test_it_lives_by_itself() -> None:
    with Sandbox(tickets=80, changes_per_minute=6000) as sandbox:
        for _ in range(600):
            if len(sandbox.history()) > 3 or threading.Event().wait(0.05):
                break
        assert len(sandbox.history()) > 3


def test_the_same_seed_makes_the_same_tickets() -> None:
    with (
        Sandbox(tickets=40, seed=5) as one,
        Sandbox(tickets=40, seed=5) as same,
        Sandbox(tickets=40) as other,
    ):
        assert one.codes(40) == same.codes(40) != other.codes(40)


def test_the_command_says_what_is_needed() -> None:
    with Running("sandbox", "vivenu", "--port", "0", "--tickets", "80") as command:
        url = command.out.expect("vivenu sandbox at ").split()[3].rstrip(",")
        token = command.out.expect("^token ").split()[1]
        reply = httpx.get(
            f"{url}/api/accessusers/seller", headers={"token": token}, trust_env=False, timeout=60
        )
        assert reply.json() == {"sellerId": "s1"}
        assert "GET /api/accessusers/seller" in command.out.expect("^200 ")


def test_the_help_names_every_command_of_the_control_port_and_every_trouble() -> None:
    text = run("sandbox", "vivenu", "--help").stdout
    assert all(f"  {name} " in text for name in (*COMMANDS, *OWN_COMMANDS, *KINDS))
