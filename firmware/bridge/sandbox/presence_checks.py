"""What the Presence sandbox demands of a request. Every check raises `Says`: the vendor's error."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import NamedTuple

from firmware.bridge.sandbox import desk
from firmware.bridge.sandbox.desk import CODE_CHARS_MAX, Check, in_milliseconds, read_json, some, whole, wrong
from firmware.bridge.sandbox.presence_rules import Rules
from firmware.bridge.sandbox.presence_venue import Named
from firmware.bridge.sandbox.server import Request

ID_DIGITS_MAX = 9
MAC = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")
CHANNEL = re.compile(r"[A-Za-z]")
INIT_TEXTS = ("venueId", "name", "mac", "ip", "serial", "model")
SCAN_FIELDS = frozenset(
    {"token", "venueId", "deviceId", "gateId", "gateName", "deviceOs", "scanTime", "channelId"}
)
UPLOAD_FIELDS = SCAN_FIELDS | {"direction"}  # partners know its form; this is what the bridge assumes
METHODS: Mapping[str, str] = {
    "init": "POST",
    "device": "GET",
    "enter": "POST",
    "exit": "POST",
    "validate": "POST",
    "upload": "POST",
}
KEY: Mapping[str, Check] = {"apikey": some}


class Sent(NamedTuple):
    """A scan as it was sent. `inside` is `None` where the endpoint says which way it goes."""

    token: str
    venue: str
    device: int
    gate: int
    gate_name: str
    said_ms: int
    inside: bool | None


class Wanted(NamedTuple):
    """Which device is looked at; `device` is `None` where it is named by its network card."""

    venue: str
    mac: str
    device: int | None


def read_no_query(request: Request) -> None:
    """No parameters but the key."""
    desk.read_query(request, KEY)


def read_wanted(request: Request, rules: Rules) -> Wanted:
    """The parameters of a look at a device."""
    known = {**KEY, **dict.fromkeys((*rules.venue_parameters, *rules.look_parameters), some)}
    query = {name: str(value) for name, value in desk.read_query(request, known).items()}
    venues = [query[name] for name in rules.venue_parameters if name in query]
    if len(venues) != 1:
        raise wrong(f"the venue is named once, as {' or '.join(rules.venue_parameters)}")
    named = [name for name in rules.look_parameters if name in query]
    if len(named) != 1:
        raise wrong(f"the device is named once, as {' or '.join(rules.look_parameters)}")
    if "device" in named:
        return Wanted(venues[0], "", whole(query["device"], "device", ID_DIGITS_MAX))
    return Wanted(venues[0], mac(query["mac"], "mac"), None)


def read_init(request: Request, rules: Rules) -> tuple[str, Named]:
    """The venue, and the device that is configured there."""
    body = an_object(read_json(request), "the body")
    texts = {name: text_of(body, name, "the body") for name in INIT_TEXTS}
    named = [name for name in rules.gate_parameters if name in body]
    if len(named) != 1:
        raise wrong(f"the gate is named once, as {' or '.join(rules.gate_parameters)}")
    if unknown := set(body) - {*INIT_TEXTS, *named}:
        raise wrong(f"the body has unknown fields: {', '.join(sorted(unknown))}")
    try:
        ip_address(texts["ip"])
    except ValueError:
        raise wrong(f'ip "{texts["ip"]}" is no address') from None
    gate_name, gate_id = "", None
    if named == ["gateName"]:
        gate_name = text_of(body, "gateName", "the body")
    elif is_number(body["gateId"]):
        gate_id = number_of(body, "gateId", "the body")
    else:
        gate_id = whole(text_of(body, "gateId", "the body"), "gateId", ID_DIGITS_MAX)
    card = mac(texts["mac"], "mac")
    device = Named(texts["name"], card, texts["ip"], texts["serial"], texts["model"], gate_name, gate_id)
    return texts["venueId"], device


def read_scan(request: Request, rules: Rules) -> Sent:
    """The body of a scan."""
    return scan_of(an_object(read_json(request), "the body"), "the body", rules, uploaded=False)


def read_upload(request: Request, rules: Rules) -> list[Sent]:
    """The body of an upload."""
    body = read_json(request)
    if not isinstance(body, list):
        raise wrong("the body is an array of scans")
    if not 1 <= len(body) <= rules.upload_max:
        raise wrong(f"{len(body)} scans in one call: this vendor was set to take 1 to {rules.upload_max}")
    named = [(an_object(one, f"[{place}]"), f"[{place}]") for place, one in enumerate(body)]
    return [scan_of(one, name, rules, uploaded=True) for one, name in named]


def scan_of(body: Mapping[str, object], name: str, rules: Rules, *, uploaded: bool) -> Sent:
    """One scan. In an upload it says which way it went."""
    if unknown := set(body) - (UPLOAD_FIELDS if uploaded else SCAN_FIELDS):
        raise wrong(f"{name} has unknown fields: {', '.join(sorted(unknown))}")
    token = text_of(body, "token", name)
    if len(token) > CODE_CHARS_MAX:
        raise wrong(f"{name}.token has more than {CODE_CHARS_MAX} characters")
    if text_of(body, "deviceOs", name) not in rules.systems:
        raise wrong(f"{name}.deviceOs is one of {', '.join(rules.systems)}")
    if "channelId" in body and not CHANNEL.fullmatch(text_of(body, "channelId", name)):
        raise wrong(f"{name}.channelId is one letter")
    inside = None
    if uploaded:
        direction = text_of(body, "direction", name)
        if direction not in {"enter", "exit"}:
            raise wrong(f"{name}.direction is enter or exit")
        inside = direction == "enter"
    return Sent(
        token,
        text_of(body, "venueId", name),
        number_of(body, "deviceId", name),
        number_of(body, "gateId", name),
        text_of(body, "gateName", name),
        in_milliseconds(number_of(body, "scanTime", name), f"{name}.scanTime"),
        inside,
    )


def an_object(value: object, name: str) -> Mapping[str, object]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise wrong(f"{name} is no object")
    return value


def text_of(body: Mapping[str, object], field: str, name: str) -> str:
    """A text that has to be there."""
    value = body.get(field)
    if not isinstance(value, str) or not value:
        raise wrong(f"{name}.{field} is a text and not empty")
    return value


def number_of(body: Mapping[str, object], field: str, name: str) -> int:
    """A number that has to be there. Texts of digits are what replies have, and are refused here."""
    value = body.get(field)
    if not is_number(value):
        raise wrong(f"{name}.{field} is a whole number, and no text")
    assert isinstance(value, int)
    return value


def is_number(value: object) -> bool:
    """Whether JSON had a whole number there."""
    return isinstance(value, int) and not isinstance(value, bool)


def mac(text: str, name: str) -> str:
    """The address of a network card; which case its letters have is all the same."""
    if not MAC.fullmatch(text):
        raise wrong(f'{name} "{text}" is not like 00:00:5e:00:53:01')
    return text.lower()
