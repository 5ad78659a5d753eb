"""The Presence sandbox from outside: devices, the form of requests, uploads, troubles, the control port."""

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


# --- who asks ----------------------------------------------------------------------------------------------


def test_the_key_is_in_the_query_of_every_call_and_is_never_shown(sandbox: Sandbox, client: Client) -> None:
    assert client.init().status_code == 200
    client.http.params = httpx.QueryParams(apikey="another")
    assert client.send("enter", client.code()).status_code == 401
    assert sandbox.violations == []
    client.http.params = httpx.QueryParams()
    assert client.send("enter", client.code()).status_code == 401
    assert "apikey is missing" in violated(sandbox)
    assert sandbox.history() == []
    assert all(sandbox.key not in seen.request for seen in sandbox.requests)


@pytest.mark.parametrize(
    ("method", "path", "status_code"),
    [
        ("GET", "/device/init", 405),
        ("POST", "/device", 405),
        ("GET", "/ticket/enter", 405),
        ("POST", "/ticket", 404),
        ("POST", "/ticket/enter/", 404),
        ("POST", "/ticket/enter.xml", 404),
    ],
)
def test_other_paths_and_methods_are_refused(
    sandbox: Sandbox, client: Client, method: str, path: str, status_code: int
) -> None:
    assert client.http.request(method, path).status_code == status_code
    assert violated(sandbox)


# --- devices -----------------------------------------------------------------------------------------------


def test_a_device_is_configured_and_keeps_its_id_when_it_is_configured_again(
    sandbox: Sandbox, client: Client
) -> None:
    first = client.init().json()
    assert first["result"] == {"status": "OKAY", "message": "Okay"}
    assert (first["message"]["mac"], first["message"]["venueId"]) == (MAC, sandbox.venue)
    other = client.init("south", mac="00:00:5E:00:53:02").json()["message"]
    again = client.init("south", ip="2001:db8::7").json()["message"]
    assert again["id"] == first["message"]["id"] != other["id"]
    assert again["gateId"] == other["gateId"] != first["message"]["gateId"]
    assert [device.gate.name for device in sandbox.devices] == ["south", "south"]


@pytest.mark.parametrize(("numbers", "kind"), [(False, str), (True, int)])
def test_ids_come_as_texts_or_as_numbers(sandbox: Sandbox, client: Client, numbers: bool, kind: type) -> None:
    sandbox.set(Rules(numbers=numbers))
    body = client.init().json()["message"]
    assert {type(body["id"]), type(body["gateId"])} == {kind}
    assert type(client.look(venueId=sandbox.venue, mac=MAC).json()["message"]["id"]) is kind


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"serial": None}, "serial is a text"),
        ({"model": ""}, "model is a text"),
        ({"name": 7}, "name is a text"),
        ({"mac": "0000.5e00.5301"}, "is not like 00:00:5e:00:53:01"),
        ({"ip": "gate-7"}, "is no address"),
        ({"gateName": None}, "the gate is named once"),
        ({"gateName": "north", "gateId": "274"}, "the gate is named once"),
        ({"gateId": 99}, "there is no gate 99"),
        ({"gateId": "one"}, "is not a whole number"),
        ({"channel": "A"}, "unknown fields: channel"),
    ],
    ids=str,
)
def test_a_device_that_says_too_little_or_too_much_is_not_configured(
    sandbox: Sandbox, client: Client, fields: dict[str, Any], said: str
) -> None:
    assert status(client.init(**fields)) == "BAD_REQUEST"
    assert said in violated(sandbox)
    assert sandbox.devices == []


def test_a_venue_that_is_not_there_is_not_found_and_no_fault_of_the_request(
    sandbox: Sandbox, client: Client
) -> None:
    assert status(client.init(venueId="KovZnowhere")) == "NOT_FOUND"
    assert status(client.look(venueId="KovZnowhere", mac=MAC)) == "NOT_FOUND"
    assert sandbox.violations == []


def test_a_gate_is_named_by_its_name_or_by_its_id(sandbox: Sandbox, client: Client) -> None:
    gate = sandbox.gate("Gate 9")
    for gate_id in (gate.id, str(gate.id)):
        assert client.init(gateId=gate_id).json()["message"]["gateId"] == str(gate.id)
    sandbox.set(Rules(gate_parameters=("gateName",), new_gates=False))
    assert status(client.init(gateId=str(gate.id))) == "BAD_REQUEST"
    assert status(client.init("Gate 10")) == "BAD_REQUEST"
    assert status(client.init("Gate 9")) == "OKAY"


def test_a_device_is_looked_at_by_one_of_its_names_and_never_by_both(
    sandbox: Sandbox, client: Client
) -> None:
    assert status(client.look(venueId=sandbox.venue, mac=MAC)) == "NOT_FOUND"
    client.init()
    found = client.look(venueId=sandbox.venue, mac=MAC.upper()).json()["message"]
    assert (found["gateName"], found["localId"]) == ("north", f"COM-{MAC}-H")
    assert client.look(venue=sandbox.venue, device=found["id"]).json()["message"] == found
    assert sandbox.violations == []
    for query in (
        {"mac": MAC, "device": found["id"], "venueId": sandbox.venue},
        {"mac": MAC},
        {"venueId": sandbox.venue},
        {"mac": MAC, "venueId": sandbox.venue, "venue": sandbox.venue},
    ):
        assert status(client.look(**query)) == "BAD_REQUEST"


@pytest.mark.parametrize(
    ("rules", "taken", "refused"),
    [
        (
            Rules(venue_parameters=("venue",)),
            {"venue": "VENUE", "mac": MAC},
            {"venueId": "VENUE", "mac": MAC},
        ),
        (
            Rules(venue_parameters=("venueId",)),
            {"venueId": "VENUE", "mac": MAC},
            {"venue": "VENUE", "mac": MAC},
        ),
        (
            Rules(look_parameters=("mac",)),
            {"venue": "VENUE", "mac": MAC},
            {"venue": "VENUE", "device": "224"},
        ),
        (
            Rules(look_parameters=("device",)),
            {"venue": "VENUE", "device": "224"},
            {"venue": "VENUE", "mac": MAC},
        ),
    ],
    ids=["venue", "venueId", "mac", "device"],
)
def test_a_parameter_that_has_two_names_can_be_told_to_have_one(
    sandbox: Sandbox, client: Client, rules: Rules, taken: dict[str, str], refused: dict[str, str]
) -> None:
    sandbox.set(rules)
    client.init()
    words = [
        status(client.look(**{name: value.replace("VENUE", sandbox.venue) for name, value in query.items()}))
        for query in (taken, refused)
    ]
    assert words == ["OKAY", "BAD_REQUEST"]


@pytest.mark.parametrize("suffix", ["", ".json"])
def test_paths_end_as_in_the_tables_or_as_in_the_samples(
    sandbox: Sandbox, client: Client, suffix: str
) -> None:
    client.init()
    assert status(client.send(f"enter{suffix}", client.code())) == "OKAY"
    sandbox.set(Rules(suffixes=(suffix,)))
    other = ".json" if not suffix else ""
    assert client.send(f"enter{other}", client.code()).status_code == 404
    assert status(client.send(f"enter{suffix}", client.code())) == "OKAY"


def test_devices_and_tickets_may_have_paths_of_their_own(sandbox: Sandbox, client: Client) -> None:
    sandbox.set(Rules(device_base="preprod/chiron", ticket_base="preprod/veyron"))
    assert client.http.post("/device/init").status_code == 404
    client.http.base_url = httpx.URL(f"{sandbox.url}/preprod/chiron")
    assert status(client.init()) == "OKAY"
    assert client.send("enter", client.code()).status_code == 404
    client.http.base_url = httpx.URL(f"{sandbox.url}/preprod/veyron")
    assert status(client.send("enter", client.code())) == "OKAY"


# --- the form of a scan ------------------------------------------------------------------------------------


def test_a_device_that_was_never_configured_does_not_scan(sandbox: Sandbox, client: Client) -> None:
    assert status(client.send("enter", client.code())) == "BAD_REQUEST"
    assert "was never configured" in violated(sandbox)
    assert sandbox.history() == []


def test_a_device_that_was_forgotten_scans_once_it_is_configured_again(
    sandbox: Sandbox, client: Client
) -> None:
    client.init()
    before = client.kept["id"]
    sandbox.forget()
    assert sandbox.devices == []
    assert status(client.look(venueId=sandbox.venue, mac=MAC)) == "NOT_FOUND"
    assert status(client.send("enter", client.code())) == "BAD_REQUEST"
    assert sandbox.violations == []
    client.init()
    assert client.kept["id"] == before
    assert status(client.send("enter", client.code())) == "OKAY"


@pytest.mark.parametrize("way", ["enter", "exit", "validate", "upload"])
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"token": ""}, "token is a text"),
        ({"token": "7" * 256}, "more than 255"),
        ({"token": 721744537954}, "token is a text"),
        ({"venueId": None}, "venueId is a text"),
        ({"deviceId": "224"}, "deviceId is a whole number, and no text"),
        ({"deviceId": True}, "deviceId is a whole number, and no text"),
        ({"gateId": "274"}, "gateId is a whole number, and no text"),
        ({"gateName": None}, "gateName is a text"),
        ({"deviceOs": "Linux"}, "deviceOs is one of"),
        ({"scanTime": AT_MS // 1000}, "looks like seconds"),
        ({"scanTime": AT_MS * 1000}, "too far ahead"),
        ({"scanTime": str(AT_MS)}, "scanTime is a whole number, and no text"),
        ({"scanTime": AT_MS + 0.5}, "scanTime is a whole number, and no text"),
        ({"channelId": "AB"}, "channelId is one letter"),
        ({"id": 7}, "unknown fields: id"),
        ({"deviceId": 999}, "was never configured"),
    ],
    ids=str,
)
def test_a_scan_against_the_documents_is_a_bad_request(
    sandbox: Sandbox, client: Client, way: str, fields: dict[str, Any], said: str
) -> None:
    client.init()
    body = client.scan(client.code(), **fields)
    reply = client.http.post(
        f"/ticket/{way}", json=[{**body, "direction": "enter"}] if way == "upload" else body
    )
    assert status(reply) == "BAD_REQUEST"
    assert said in violated(sandbox)
    assert sandbox.history() == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"venueId": "KovZnowhere"}, "is not at venue"),
        ({"gateId": 999}, "stands at gate 274, north"),
        ({"gateName": "south"}, "stands at gate 274, north"),
    ],
    ids=str,
)
def test_a_scan_says_where_its_device_was_configured(
    sandbox: Sandbox, client: Client, fields: dict[str, Any], said: str
) -> None:
    client.init()
    assert status(client.send("enter", client.code(), **fields)) == "BAD_REQUEST"
    assert said in violated(sandbox)


@pytest.mark.parametrize("content", [b"", b"[", b"[]", b"7", b'"text"', b"\xff"])
def test_a_body_that_is_no_object_is_a_bad_request(sandbox: Sandbox, client: Client, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    for path in ("/device/init", "/ticket/enter"):
        assert status(client.http.post(path, content=content, headers=headers)) == "BAD_REQUEST"
    assert status(client.http.post("/ticket/enter", content=b"{}")) == "BAD_REQUEST"
    assert len(sandbox.violations) == 3


def test_how_barcodes_are_called_can_be_told(sandbox: Sandbox, client: Client) -> None:
    client.init()
    for system in ("Printed", "printed", "iOS", "Android"):
        assert status(client.send("enter", client.code(), deviceOs=system, channelId="A")) == "OKAY"
    sandbox.set(Rules(systems=("printed",)))
    assert status(client.send("enter", client.code())) == "BAD_REQUEST"


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


def test_an_upload_that_comes_again_is_in_the_books_twice(sandbox: Sandbox, client: Client) -> None:
    client.init()
    code = client.code()
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
    sandbox.misbehave("silent", "enter", seconds=3600)
    with pytest.raises(httpx.ReadTimeout):
        client.send("enter", silent)
    for _ in range(600):
        if sandbox.history(slow) or threading.Event().wait(0.05):
            break
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
        assert status(httpx.get(f"{base}/device", params=query, trust_env=False)) == "NOT_FOUND"
        assert key not in command.out.expect("^200 GET /presence/v1/device")


def test_the_help_names_every_command_of_the_control_port_and_every_trouble() -> None:
    text = run("sandbox", "presence", "--help").stdout
    assert all(f"  {name} " in text for name in (*COMMANDS, *OWN_COMMANDS, *KINDS))
