"""The Presence sandbox from outside: uploads, troubles, the control port and the command."""

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from firmware.bridge.sandbox.command import LEVELS, PLAYS
from firmware.bridge.sandbox.control import COMMANDS, control_of
from firmware.bridge.sandbox.presence import COMMANDS as OWN_COMMANDS
from firmware.bridge.sandbox.presence import KINDS, Sandbox
from firmware.bridge.sandbox.presence_api import SHAPES
from firmware.bridge.sandbox.presence_rules import BASE, Rules
from tests.bridge.presence_client import AT_MS, MAC, Client, Clock, status, violated
from tests.brokers import until
from tests.commands import Running, run


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[Sandbox]:
    with Sandbox(tickets=80, clock=clock) as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox, clock: Clock) -> Iterator[Client]:
    client = Client(sandbox, clock)
    with client.http:
        yield client


# --- uploads -----------------------------------------------------------------------------------------------


def test_an_upload_takes_every_ticket_and_stamps_its_own_time(
    sandbox: Sandbox, client: Client, clock: Clock
) -> None:
    client.init()
    good, refunded = client.code(), sandbox.codes(1, refunded=True)[0]
    clock.ms += 3_600_000
    assert client.upload(good, refunded, "nobody's", scanTime=AT_MS).json() == {
        "result": {"status": "OKAY", "message": "Okay"}
    }
    assert [(change.code, change.what, change.how) for change in sandbox.history()] == [
        (code, "checkin", "uploaded") for code in (good, refunded, "nobody's")
    ]
    assert {(change.said_ms, change.at_ms) for change in sandbox.history()} == {(AT_MS, AT_MS + 3_600_000)}
    assert {change.operator.id for change in sandbox.history()} == {client.kept["id"]}
    assert sandbox.ticket(good).inside
    assert sandbox.violations == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "is an array"),
        ([], "0 scans in one call"),
        ([7], "is no object"),
        ([{"direction": "in"}], "token is a text"),
    ],
    ids=str,
)
def test_an_upload_is_refused_for_its_form_alone(
    sandbox: Sandbox, client: Client, body: Any, said: str
) -> None:
    assert status(client.http.post("/ticket/upload", json=body)) == "BAD_REQUEST"
    assert said in violated(sandbox)


def test_an_upload_says_which_way_each_scan_went(sandbox: Sandbox, client: Client, clock: Clock) -> None:
    client.init()
    code = client.code()
    client.upload(code)
    clock.ms += 1000
    client.upload(code, direction="exit")
    assert status(client.upload(code, direction="IN")) == "BAD_REQUEST"
    assert [change.what for change in sandbox.history(code)] == ["checkin", "checkout"]


def test_an_upload_of_something_wrong_takes_nothing(sandbox: Sandbox, client: Client) -> None:
    client.init()
    scan = {**client.scan(client.code()), "direction": "enter"}
    reply = client.http.post("/ticket/upload", json=[scan, {**scan, "deviceId": 999}])
    assert status(reply) == "BAD_REQUEST"
    assert sandbox.history() == []


def test_a_scan_that_is_older_than_what_is_known_changes_nobodys_place(
    sandbox: Sandbox, client: Client, clock: Clock
) -> None:
    client.init()
    code = client.code()
    client.word("enter", code)
    client.word("exit", code)
    client.upload(code, scanTime=AT_MS - 1000)
    assert not sandbox.ticket(code).inside
    assert sandbox.history(code)[-1].how == "uploaded"


@pytest.mark.parametrize("refused", [False, True])
def test_an_upload_of_what_was_answered_online_is_taken_and_noted(
    sandbox: Sandbox, client: Client, refused: bool
) -> None:
    client.init()
    code = sandbox.codes(1, refunded=True)[0] if refused else client.code()
    client.send("enter", code)
    assert status(client.upload(code)) == "OKAY"
    assert "was answered online and is uploaded all the same" in violated(sandbox)
    assert sandbox.books().twice == (not refused)


@pytest.mark.parametrize("known", [True, False])
def test_an_upload_that_comes_again_is_in_the_books_twice(
    sandbox: Sandbox, client: Client, known: bool
) -> None:
    client.init()
    code = client.code() if known else "nobody's"
    client.upload(code)
    client.upload(code)
    assert (sandbox.books().twice, sandbox.books().check_ins) == (1, 2)
    assert sandbox.violations == []


def test_where_and_how_much_is_uploaded_can_be_told(client: Client, sandbox: Sandbox) -> None:
    client.init()
    sandbox.set(Rules(upload_path="offline/scans", upload_max=2))
    assert client.upload(client.code()).status_code == 404
    scan = {**client.scan(client.code()), "direction": "enter"}
    replies = [client.http.post("/offline/scans", json=[scan] * count) for count in (2, 3)]
    assert [status(reply) for reply in replies] == ["OKAY", "BAD_REQUEST"]


# --- troubles ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lost", "cut"])
def test_a_reply_that_is_lost_leaves_the_ticket_entered(
    sandbox: Sandbox, client: Client, clock: Clock, kind: str
) -> None:
    client.init()
    code = client.code()
    sandbox.misbehave(kind, "enter")
    with pytest.raises(httpx.RemoteProtocolError):
        client.send("enter", code)
    assert sandbox.ticket(code).inside
    assert status(client.send("enter", code, scanTime=AT_MS)) == "DUPLICATE"
    clock.ms += 3000
    assert status(client.send("enter", code, scanTime=AT_MS)) == "ALREADY_ENTERED"
    assert [change.how for change in sandbox.history(code)] == ["online", "DUPLICATE", "ALREADY_ENTERED"]
    assert sandbox.books().repeats == 2


def test_a_slow_reply_is_carried_out_and_a_silence_is_not(sandbox: Sandbox, client: Client) -> None:
    client.init()
    client.http.timeout = httpx.Timeout(60, read=0.2)
    slow, silent = sandbox.codes(2, event=sandbox.events[0].id, sold=True, refunded=False)
    sandbox.misbehave("slow", "enter", seconds=3600)
    with pytest.raises(httpx.ReadTimeout):
        client.send("enter", slow)
    until(lambda: sandbox.history(slow))
    sandbox.misbehave("silent", "enter", seconds=3600)
    with pytest.raises(httpx.ReadTimeout):
        client.send("enter", silent)
    assert (len(sandbox.history(slow)), sandbox.history(silent)) == (1, [])


def test_a_silence_ends_without_a_reply(sandbox: Sandbox, client: Client) -> None:
    sandbox.misbehave("silent", seconds=0.01)
    with pytest.raises(httpx.RemoteProtocolError):
        client.init()


@pytest.mark.parametrize(("kind", "status_code", "made"), [("page", 200, 1), ("error", 500, 0)])
def test_a_body_may_be_a_page_and_no_json(
    sandbox: Sandbox, client: Client, kind: str, status_code: int, made: int
) -> None:
    client.init()
    sandbox.misbehave(kind, "enter")
    reply = client.send("enter", client.code())
    assert (reply.status_code, reply.headers["Content-Type"]) == (status_code, "text/html")
    with pytest.raises(ValueError, match="Expecting value"):
        reply.json()
    assert len(sandbox.history()) == made


@pytest.mark.parametrize("word", ["", "BAD_TOKEN", "OPEN_SEAT", "TRANSFER", "SOMETHING_NEW"])
@pytest.mark.parametrize("after", [False, True])
def test_any_status_is_said_on_demand_and_the_ticket_enters_only_if_that_is_wanted(
    sandbox: Sandbox, client: Client, word: str, after: bool
) -> None:
    client.init()
    code = client.code()
    sandbox.misbehave("status", "enter", word=word, after=after)
    assert status(client.send("enter", code)) == (word or "GENERAL_ERROR")
    assert sandbox.ticket(code).inside is after
    client.upload(code)
    assert "was answered online" in violated(sandbox)


@pytest.mark.parametrize("shape", SHAPES)
def test_replies_drift(sandbox: Sandbox, client: Client, shape: str) -> None:
    client.init()
    sandbox.misbehave("drift", "device", shape=shape)
    body = client.look(venueId=sandbox.venue, mac=MAC).json()
    assert type(body["message"]["id"]) is (int if shape == "numbers" else str)
    assert ("gateName" in body["message"]) is (shape != "fewer")
    assert ("extra" in body) is (shape == "more")


def test_the_key_is_withdrawn_for_one_request(sandbox: Sandbox, client: Client) -> None:
    sandbox.misbehave("expired")
    assert [client.init().status_code for _ in range(2)] == [401, 200]


def test_troubles_of_another_vendor_are_not_known_here(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match='kind "moving" is not one of'):
        sandbox.misbehave("moving")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("vendor", PLAYS)
def test_what_goes_wrong_by_itself_is_known_to_its_vendor(vendor: str, level: str) -> None:
    play = PLAYS[vendor]
    for trouble in play.levels[level]:
        assert trouble.kind in play.kinds
        assert trouble.endpoint in {"any", *play.endpoints}


# --- the control port and the command ----------------------------------------------------------------------


def test_everything_can_be_done_over_the_control_port(sandbox: Sandbox, client: Client) -> None:
    control = control_of(sandbox)
    with control, httpx.Client(base_url=f"{control.url}/sandbox", timeout=60) as http:

        def post(command: str, **body: object) -> Any:
            reply = http.post(f"/{command}", json=body)
            assert reply.status_code == 200, reply.text
            return reply.json()

        client.init()
        state = http.get("/state").json()
        assert (state["base"], state["venue"], state["rules"]["revision"]) == (
            sandbox.base,
            sandbox.venue,
            "V2",
        )
        assert [gate["name"] for gate in state["gates"]] == ["north"]
        assert http.get("/devices").json()[0]["mac"] == MAC
        tonight, tomorrow = [event["id"] for event in state["events"]]
        (code,) = http.get("/codes", params={"count": 1, "event": tomorrow, "sold": "true"}).json()
        assert http.get("/codes", params={"event": "none"}).status_code == 404
        post("event", event=tomorrow, starts_ms=AT_MS)
        assert client.word("enter", code) == "OKAY"
        shown = http.get("/ticket", params={"ticket": code}).json()
        assert (shown["event"], shown["inside"], len(shown["history"])) == (tomorrow, True, 1)
        post("rules", revision="V3")
        assert client.send("exit", code).json()["result"] == {"status": "OKAY", "message": "EXITED"}
        assert http.post("/rules", json={"revision": "V4"}).status_code == 400
        assert http.post("/rules", json={"revisoin": "V1"}).status_code == 400
        post("gate", name="north", rules={"events": [tonight]})
        assert client.word("enter", code) == "EVENT_RESTRICTION"
        assert http.post("/gate", json={"name": "", "rules": {}}).status_code == 400
        assert http.post("/gate", json={"name": "n", "rules": {"exit_required": True}}).status_code == 400
        assert http.post("/gate", json={"name": "n", "rules": {"starts_ms": -1}}).status_code == 400
        assert post("mark", ticket=client.code())[2] == "marked"
        assert [
            post(command)[2] for command in ("sell", "refund", "change-code", "check-in", "check-out")
        ] == [*("sold", "refunded", "code", "checkin", "checkout")]
        assert len(post("live", changes=3)) <= 3
        post("misbehave", kind="status", endpoint="enter", word="BAD_TOKEN")
        assert client.word("enter", code) == "BAD_TOKEN"
        post("forget")
        assert http.get("/devices").json() == []
        assert len(http.get("/history").json()) == len(sandbox.history())
        assert http.get("/violations").json() == []


@pytest.mark.parametrize(
    "rules",
    [
        {"revision": "V4"},
        {"suffixes": ()},
        {"suffixes": (".xml",)},
        {"systems": ("Linux",)},
        {"refusal_status": 500},
        {"refusal_status": 302},
        {"duplicate_ms": -1},
        {"upload_max": 0},
    ],
    ids=str,
)
def test_the_documents_cannot_be_read_in_every_way(rules: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(rules)).partition("_ms")[0].replace("duplicate", "times")):
        Rules(**rules)


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
    with Running("sandbox", "presence", "--port", "0", "--tickets", "80") as command:
        command.out.expect("^Presence sandbox at ")
        base = command.out.expect("^base ").split()[1]
        key = command.out.expect("^apikey ").split()[1]
        venue = command.out.expect("^venue ").split()[1]
        assert command.out.expect("^  sold ").split()[1:]
        query = {"apikey": key, "venueId": venue, "mac": MAC}
        assert base.endswith(BASE)
        assert status(httpx.get(f"{base}/device", params=query, timeout=60, trust_env=False)) == "NOT_FOUND"
        assert key not in command.out.expect("^200 GET /presence/v1/device")


def test_the_help_names_every_command_of_the_control_port_and_every_trouble() -> None:
    text = run("sandbox", "presence", "--help").stdout
    assert all(f"  {name} " in text for name in (*COMMANDS, *OWN_COMMANDS, *KINDS))
