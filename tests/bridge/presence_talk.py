"""What Ticketmaster Presence would say, for conversations without a socket."""

import json
from typing import Any

import httpx

from firmware.bridge.presence import Presence, PresenceSettings
from firmware.bridge.vendor import Accepted, Device, Question, Refused, Told
from firmware.core.ticket import Direction, Perimeter
from tests.bridge.conversation import Reply, Talk, in_turn

AT_MS = 1_893_452_583_726
CODE = "721744537954"
KEY = "key-of-ours-0123"
VENUE = "KovZpZAnAtJJ"
MAC = "b8:27:eb:00:00:01"

SETTINGS = PresenceSettings(key=KEY, venue=VENUE)
DEVICE = Device("north-1", Perimeter.OUTER, MAC, "192.168.1.1", "aBcDEFg12", "Pi gate")
KEPT = {"id": "224", "gateId": "274", "gateName": "north-1", "venueId": VENUE, "gate": "north-1"}
INNER_KEPT = {**KEPT, "id": "225", "gateName": "north-1 inner", "gate": "north-1 inner"}


def presence(**more: Any) -> Presence:
    """An account; `more` is of its settings."""
    return Presence(SETTINGS._replace(**more))


def reply(body: Any, status: int = 200) -> httpx.Response:
    """JSON as Presence sends it."""
    return httpx.Response(status, content=json.dumps(body), headers={"Content-Type": "application/json"})


def said(status: Any, message: Any = None, *, http: int = 200, text: Any = "") -> httpx.Response:
    """A reply with this status; `message` is what comes beside it."""
    body = {"result": {"status": status, "message": text}}
    return reply(body if message is None else {**body, "message": message}, http)


def okay(*places: str) -> httpx.Response:
    """An admission of these seats."""
    tickets = [{"place": place, "eventId": "3F005062B2B4E313"} for place in places or ("PIT1:3:4",)]
    return said("OKAY", {"tickets": tickets}, text="Okay")


def configured(**more: Any) -> httpx.Response:
    """The reply to a device's configuration, ids as texts."""
    message = {
        "id": "224",
        "name": "north-1",
        "mac": MAC,
        "ip": "192.168.1.1",
        "gateId": "274",
        "venueId": VENUE,
        "serial": "aBcDEFg12",
        "model": "Pi gate",
        **more,
    }
    return said("OKAY", message, text="Okay")


def question(**more: Any) -> Question:
    """A person at an outer lane, going in."""
    asked = Question(CODE, "", "", "", Direction.IN, Perimeter.OUTER, AT_MS, "north-1")
    return asked._replace(**more)


def ask(vendor: Presence, asked: Question, *replies: Reply) -> Talk[Accepted | Refused]:
    """Ask, and answer with these in turn."""
    kept = KEPT if asked.perimeter is Perimeter.OUTER else INNER_KEPT
    return Talk(vendor.ask(asked, kept), in_turn(*replies))


def told(code: str = CODE, **more: Any) -> Told:
    """An entry that a gate let in without Presence."""
    return Told("", code, "", "", Direction.IN, AT_MS, "north-1", kept=KEPT)._replace(**more)


def body(request: httpx.Request) -> Any:
    """What was sent."""
    return json.loads(request.content)
