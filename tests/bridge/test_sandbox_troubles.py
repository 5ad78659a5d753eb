"""What the sandbox does wrong on demand, and its control port."""

import json
import threading
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from firmware.bridge.sandbox.control import COMMANDS, control_of
from firmware.bridge.sandbox.ingresse import Sandbox
from firmware.bridge.sandbox.trouble import KINDS
from tests.bridge.test_sandbox import AT_MS, EVENT, SESSION, Client, refusal, sold
from tests.commands import Running, run


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(tickets=80, clock=lambda: AT_MS) as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    client = Client(sandbox)
    with client.http:
        yield client


# --- on the way there and back -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lost", "cut"])
def test_a_reply_that_is_lost_or_cut_leaves_the_ticket_checked_in(
    sandbox: Sandbox, client: Client, kind: str
) -> None:
    (code,) = sold(sandbox)
    sandbox.misbehave(kind, "update")
    with pytest.raises(httpx.RemoteProtocolError):
        client.update([code])
    assert client.update([code])[0]["status"] == 3
    assert sandbox.books()[1:3] == (1, 0)


def test_a_short_reply_has_the_right_length_and_is_no_json(sandbox: Sandbox, client: Client) -> None:
    sandbox.misbehave("short")
    with pytest.raises(json.JSONDecodeError):
        client.page().json()
    assert client.page().json()["responseData"]["data"]


@pytest.mark.parametrize(("after", "then"), [(False, 1), (True, 3)])
def test_a_failure_comes_as_html_before_or_after_the_ticket_was_checked_in(
    sandbox: Sandbox, client: Client, after: bool, then: int
) -> None:
    (code,) = sold(sandbox)
    sandbox.misbehave("error", after=after)
    reply = client.post({"tickets": []})
    assert (reply.status_code, reply.headers["Content-Type"]) == (500, "text/html")
    sandbox.misbehave("error", after=after)
    ticket = {"ticketCode": code, "ticketStatus": 1, "ticketTimestamp": AT_MS, "sessionId": SESSION}
    assert client.post({"tickets": [ticket]}).status_code == 500
    assert client.update([code])[0]["status"] == then


def test_too_many_requests_say_when_to_come_back_in_both_ways(sandbox: Sandbox, client: Client) -> None:
    sandbox.misbehave("limit", seconds=7)
    sandbox.misbehave("limit", seconds=7, date=True)
    first, second = client.page(), client.page()
    assert first.status_code == second.status_code == 429
    assert first.headers["Retry-After"] == "7"
    assert parsedate_to_datetime(second.headers["Retry-After"]).timestamp() == AT_MS / 1000 + 7
    assert client.page().status_code == 200


def test_a_slow_reply_comes_after_the_client_has_gone_and_the_work_is_done(
    sandbox: Sandbox, client: Client
) -> None:
    (code,) = sold(sandbox)
    sandbox.misbehave("slow", seconds=3600)
    client.http.timeout = httpx.Timeout(60, read=0.2)
    with pytest.raises(httpx.ReadTimeout):
        client.update([code])
    for _ in range(600):
        if sandbox.history(code) or threading.Event().wait(0.1):
            break
    assert [change.what for change in sandbox.history(code)] == ["checkin"]


def test_while_it_refuses_nobody_connects_and_afterwards_everybody(sandbox: Sandbox, client: Client) -> None:
    assert client.page().status_code == 200
    with sandbox.refused():
        for _ in range(2):
            with pytest.raises((httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError)):
                client.page()
        with httpx.Client(timeout=60) as other, pytest.raises(httpx.ConnectError):
            other.get(sandbox.url)
    assert client.page().status_code == 200


def test_a_request_can_close_the_door_behind_it(sandbox: Sandbox, client: Client) -> None:
    (code,) = sold(sandbox)
    sandbox.misbehave("refused", "update", seconds=3600)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        client.update([code])
    sandbox.behave()
    assert sandbox.history(code) == []


# --- what replies say --------------------------------------------------------------------------------


def test_rows_that_move_between_pages_are_missed_until_the_next_run(sandbox: Sandbox, client: Client) -> None:
    whole = client.rows()
    sandbox.misbehave("moving", requests=1, rows=2)
    first = client.page(pageSize=10).json()["responseData"]["data"]
    sandbox.misbehave("moving", requests=1, rows=2)
    second = client.page(pageSize=10, page=2).json()["responseData"]
    assert second["paginationInfo"]["totalResults"] == 20
    assert len({row["id"] for row in first + second["data"]}) == 18
    assert sorted(client.rows(), key=lambda row: str(row["id"])) == whole


SHAPES: dict[str, dict[str, tuple[type, ...]]] = {
    "": {"id": (str,), "checked": (str,), "lastUpdate": (str,)},
    "numbers": {"id": (int,), "checked": (int,), "lastUpdate": (int,)},
    "texts": {"id": (str,), "checked": (str,), "lastUpdate": (str,)},
    "booleans": {"id": (str,), "checked": (bool,), "lastUpdate": (str,)},
    "fewer": {"id": (str,), "checked": (str,), "lastUpdate": (str,)},
    "wrapper": {"id": (str,), "checked": (str,), "lastUpdate": (str,)},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_drift_to_the_types_of_other_clients(sandbox: Sandbox, client: Client, shape: str) -> None:
    if shape:
        sandbox.misbehave("drift", shape=shape)
    body = client.page().json()
    rows = body["data" if shape == "wrapper" else "responseData"]["data"]
    for row in rows:
        assert {name: type(row[name]) for name in SHAPES[shape]} == {
            name: types[0] for name, types in SHAPES[shape].items()
        }
        assert ("external" in row) == (shape != "fewer")
        assert isinstance(row["code"], str)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [("numbers", (int, int, int)), ("texts", (str, str, str)), ("booleans", (int, bool, int))],
)
def test_updates_drift_too(sandbox: Sandbox, client: Client, shape: str, expected: tuple[type, ...]) -> None:
    sandbox.misbehave("drift", shape=shape)
    (entry,) = client.update(sold(sandbox))
    assert tuple(type(entry[name]) for name in ("status", "checked", "lastUpdate")) == expected


def test_a_login_may_come_in_the_wrapper(sandbox: Sandbox, client: Client) -> None:
    sandbox.misbehave("drift", "renew", shape="wrapper")
    assert client.get("/login/renew-token").json()["responseData"]["data"]["authToken"]
    sandbox.misbehave("drift", "renew", shape="texts")
    assert client.get("/login/renew-token").json()["status"] is True


def test_entries_come_in_another_order_or_not_at_all(sandbox: Sandbox, client: Client) -> None:
    codes = sold(sandbox, 4)
    sandbox.misbehave("shuffled")
    shuffled = [entry["code"] for entry in client.update(codes[:2])]
    assert shuffled != codes[:2]
    assert sorted(shuffled) == codes[:2]
    sandbox.misbehave("missing")
    (left,) = client.update(codes[2:])
    assert left["code"] in codes[2:]
    assert sandbox.books().inside == 4


def test_an_error_with_http_200_says_what_was_ordered_and_changes_nothing(
    sandbox: Sandbox, client: Client
) -> None:
    (code,) = sold(sandbox)
    sandbox.misbehave("said", "update", word="Ticket not found", value=4004)
    entry = {"ticketCode": code, "ticketStatus": 1, "ticketTimestamp": AT_MS, "sessionId": str(SESSION)}
    reply = client.post({"tickets": [entry]})
    assert reply.status_code == 200
    assert reply.json()["responseData"] == "[Ingresse Exception Error] Ticket not found"
    assert reply.json()["responseError"]["code"] == 4004
    assert sandbox.history(code) == []
    assert client.update([code])[0]["status"] == 1


def test_a_status_that_nobody_knows_changes_nothing(sandbox: Sandbox, client: Client) -> None:
    (code,) = sold(sandbox)
    sandbox.misbehave("status", value=42)
    assert client.update([code])[0]["status"] == 42
    assert sandbox.history(code) == []
    assert client.update([code])[0]["status"] == 1


def test_a_token_can_expire_for_one_request(sandbox: Sandbox, client: Client) -> None:
    sandbox.misbehave("expired", requests=2)
    assert refusal(client.page()).startswith("401 2012")
    assert client.search().status_code == 401
    assert client.search().status_code == client.page().status_code == 200


# --- orders ------------------------------------------------------------------------------------------


def test_an_order_is_for_its_endpoint_and_its_number_of_requests(sandbox: Sandbox, client: Client) -> None:
    sandbox.misbehave("error", "guestlist", requests=2)
    assert client.look("A") == []
    assert [client.page().status_code for _ in range(3)] == [500, 500, 200]
    assert [seen.troubles for seen in sandbox.requests] == [(), ("error",), ("error",), ()]


def test_chances_come_from_the_seed() -> None:
    def statuses(seed: int) -> list[int]:
        with Sandbox(tickets=20, seed=seed) as sandbox:
            client = Client(sandbox)
            with client.http:
                sandbox.misbehave("error", chance=0.5)
                return [client.page().status_code for _ in range(40)]

    assert statuses(1) == statuses(1) != statuses(2)
    assert set(statuses(1)) == {200, 500}


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("slo", {}, '"slo" is not one of: slow'),
        ("slow", {"endpoint": "gestlist"}, "guestlist"),
        ("drift", {"shape": "round"}, "numbers"),
        ("slow", {"requests": 0}, "at least 1"),
        ("slow", {"chance": 1.5}, "between 0 and 1"),
    ],
)
def test_an_order_that_cannot_be_is_refused(
    sandbox: Sandbox, kind: str, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        sandbox.misbehave(kind, **options)


# --- the control port and the command ----------------------------------------------------------------


def test_the_control_port_does_what_tests_do_in_python(sandbox: Sandbox, client: Client) -> None:
    with control_of(sandbox) as server, httpx.Client(base_url=f"{server.url}/sandbox", timeout=60) as control:

        def post(command: str, **body: object) -> Any:
            reply = control.post(command, json=body)
            assert reply.status_code == 200, reply.text
            return reply.json()

        unsold = control.get("codes", params={"count": 2, "sold": "false", "session": SESSION}).json()
        assert unsold == sandbox.codes(2, sold=False, session=SESSION)
        change = dict(zip(("number", "ticket", "what"), post("sell", ticket=unsold[0]), strict=False))
        assert change == {"number": 1, "ticket": sandbox.ticket(unsold[0]).id, "what": "sold"}
        for command, what in (
            ("check-in", "checkin"),
            ("check-out", "checkout"),
            ("transfer", "transferred"),
            ("change-code", "code"),
            ("refund", "refunded"),
        ):
            assert post(command, ticket=change["ticket"])[2] == what
        shown = control.get("ticket", params={"ticket": change["ticket"]}).json()
        assert (shown["event"], shown["session"], shown["refunded"]) == (EVENT, SESSION, True)
        assert len(shown["history"]) == len(control.get("history").json()) == 6
        assert len(post("live", changes=5)) == 5
        assert control.get("state").json()["books"]["changes"] == 11
        post("misbehave", kind="error", requests=5)
        assert client.page().status_code == 500
        post("behave")
        assert client.get("/nowhere").status_code == 404
        assert len(control.get("violations").json()) == 1
        assert len(control.get("requests").json()) == 2
        post("expire")
        assert client.page().status_code == 401
        post("refuse", seconds=3600)
        with pytest.raises(httpx.TransportError):
            client.page()
        post("behave")
        assert client.page().status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "headers", "content", "status"),
    [
        ("POST", "/sandbox/sell", {"Content-Type": "text/plain"}, b"{}", 415),
        ("GET", "/sandbox/state", {"Host": "evil.example.com:80"}, b"", 403),
        ("GET", "/sandbox/sell", {}, b"", 404),
        ("GET", "/state", {}, b"", 404),
        ("GET", "/sandbox/ticket?ticket=nobody", {}, b"", 404),
        ("GET", "/sandbox/codes?session=1", {}, b"", 404),
        ("GET", "/sandbox/codes?colour=red", {}, b"", 400),
        ("POST", "/sandbox/sell", {"Content-Type": "application/json"}, b'{"tiket": "A"}', 400),
        ("POST", "/sandbox/misbehave", {"Content-Type": "application/json"}, b'{"kind": "slo"}', 400),
        ("POST", "/sandbox/live", {"Content-Type": "application/json"}, b'{"changes": 0}', 400),
        ("POST", "/sandbox/refuse", {"Content-Type": "application/json"}, b'{"seconds": 0}', 400),
    ],
)
def test_the_control_port_refuses_what_a_web_page_or_a_slip_could_send(
    sandbox: Sandbox, method: str, path: str, headers: dict[str, str], content: bytes, status: int
) -> None:
    with control_of(sandbox) as server:
        reply = httpx.request(method, server.url + path, headers=headers, content=content, timeout=60)
        assert reply.status_code == status
        assert reply.text.endswith("\n")
    assert sandbox.history() == []


def test_the_command_says_what_is_needed_and_logs_each_request() -> None:
    with Running("sandbox", "ingresse", "--port", "0", "--tickets", "80", "--seed", "3") as command:
        url = command.out.expect("^Ingresse sandbox at ").split()[3].rstrip(",")
        control = command.out.expect("^control").split()[1]
        key = command.out.expect("^apikey").split()[1]
        token = command.out.expect("^usertoken").split()[1]
        command.out.expect("^login")
        code = command.out.expect("^  sold").split()[1]
        command.out.expect("^external")
        query: dict[str, str | int] = {"apikey": key, "usertoken": token, "sessionid": SESSION}
        listed = httpx.get(f"{url}/event/{EVENT}/guestlist", params=query, timeout=60).json()["responseData"]
        assert code in [row["code"] for row in listed["data"]]
        assert token not in command.out.expect("^200 GET .*guestlist")
        assert httpx.get(control, timeout=60).json()["tickets"] == 80
        port = url.rpartition(":")[2]
        taken = run("sandbox", "ingresse", "--port", port)
        assert taken.returncode == 2
        assert f"port {port}: " in taken.stderr
        command.signal(2)
        assert command.end() == 130


def test_the_help_names_every_command_of_the_control_port_and_every_trouble() -> None:
    told = run("sandbox", "ingresse", "--help").stdout
    assert all(f"  {name} " in told for name in (*COMMANDS, *KINDS))
    assert run("sandbox", "ingresse", "--tickets", "0").returncode == 2
