"""The Presence sandbox from outside: devices, and the form of requests."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from firmware.bridge.sandbox.presence import Sandbox
from firmware.bridge.sandbox.presence_rules import Rules
from tests.bridge.presence_client import AT_MS, MAC, Client, Clock, status, violated


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
