"""The vivenu API of the sandbox: a request in, a reply out. Sockets and threads are the server's."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http.client import responses
from typing import Any, NoReturn
from urllib.parse import unquote

from firmware.bridge.sandbox.desk import (
    SEGMENT,
    UNKNOWN,
    Desk,
    Due,
    Says,
    Vendor,
    json_reply,
    read_query,
    wrong,
)
from firmware.bridge.sandbox.history import mix
from firmware.bridge.sandbox.server import Reply, Request
from firmware.bridge.sandbox.trouble import Troubles
from firmware.bridge.sandbox.vivenu_checks import METHODS, QUERY, TOP, TOP_MAX, read_nothing, read_upload
from firmware.bridge.sandbox.vivenu_tickets import BLANK, DETAILS_REQUIRED, VALID, Ticket, Tickets, Window

ENDPOINTS = tuple(METHODS)
BASE = ("", "api", "accessusers")
TYPES = (("t-day", "Day"), ("t-weekend", "Weekend"), ("t-crew", "Crew"))
NAMES = ("Alex Berg", "Bea Conrad", "Chris Daum", "Dana Ernst", "Eli Frank")
AREAS = ("Front", "Field", "")

# What a reply may look like besides, all of it harmless: without optional fields, with strange ones, with
# words in small letters.
SHAPES = ("fewer", "more", "small")
OPTIONAL = frozenset({"name", "area", "row", "seat", "entry", "categoryRef", "priceCategory", "discount"})


@dataclass(frozen=True, slots=True)
class Rules:
    """What is not public about the vendor, and so can be set."""

    top_max: int = TOP_MAX  # a page has no more, whatever was asked for
    upload_max: int = 1000  # the vendor's own limit is not public
    total: bool = True  # whether a page says how many tickets there are


def device_settings() -> dict[str, Any]:
    """What `/me` says of an access user that may do everything."""
    return {
        "deviceSettings": {
            "accessMode": "full",
            "scanConfig": {
                "mode": "default",
                "events": [],
                "scanTypes": {"checkin": True, "checkout": True},
                "enableMultiCheckin": True,
                "checkTimeslots": False,
                "tapAndGo": {"enabled": False, "eventIds": []},
            },
            "scanRevealInterval": 3,
            "ticketSyncInterval": 30,
        },
        "accessControlSettings": {"includeDetailsRequiredTickets": False},
    }


class Api:
    """All endpoints. `answer` may run on several threads; the tickets' lock puts them in a row."""

    def __init__(
        self,
        tickets: Tickets,
        token: str,
        troubles: Troubles,
        rules: Rules,
        log: Callable[[str], None] | None,
    ) -> None:
        self.tickets, self.token, self.troubles, self.rules = tickets, token, troubles, rules
        vendor = Vendor(self.find, self.check_token, refusal, METHODS)
        self.desk = Desk(vendor, tickets.lock, tickets.log.clock, troubles, log)
        self.answer = self.desk.answer
        self.withdrawn = False
        self.hidden: frozenset[str] = frozenset()  # events that the access user has no right to
        self.settings = device_settings()
        self._moved: dict[str, int] = {}  # by event: how far its rows have moved

    def find(self, request: Request) -> tuple[str, Callable[[Due], object]]:
        """Which endpoint it is, and what carries it out."""
        parts = request.path.split("/")
        match parts[len(BASE) :] if tuple(parts[: len(BASE)]) == BASE else []:
            case ["events"]:
                endpoint, act = "events", partial(self.events, request)
            case ["me"]:
                endpoint, act = "me", partial(self.me, request)
            case ["seller"]:
                endpoint, act = "seller", partial(self.seller, request)
            case ["tickets", "v2", event]:
                endpoint, act = "tickets", partial(self.list, request, event)
            case ["tickets", code, "scan"]:
                endpoint, act = "scan", partial(self.scan, request, code)
            case ["tickets", code]:
                endpoint, act = "ticket", partial(self.ticket, request, code)
            case ["scans", event]:
                endpoint, act = "upload", partial(self.upload, request, event)
            case _:
                return UNKNOWN, lambda _: no_such_path(request)
        return endpoint, act

    # --- who asks ------------------------------------------------------------------------------------

    def check_token(self, request: Request, due: Due) -> None:
        """The access user's token is in a header of its own."""
        if "authorization" in request.headers:
            raise wrong("the token is in the header `token`, not in Authorization", 401)
        if request.headers.get("token") != self.token:
            raise Says("unknown access user", 401)
        if self.withdrawn or "expired" in due:
            raise Says("this access user was deactivated", 401)

    def events(self, request: Request, due: Due) -> object:
        """The events of this access user."""
        read_query(request, QUERY["events"])
        found = [{"_id": event.id, "name": event.title} for event in self.tickets.events]
        return self.drifted([each for each in found if each["_id"] not in self.hidden], due)

    def me(self, request: Request, due: Due) -> object:
        """Who it is, and its settings."""
        read_query(request, QUERY["me"])
        return self.drifted({"_id": "6400", "name": "Gates", "active": True, **self.settings}, due)

    def seller(self, request: Request, due: Due) -> object:
        """Whose events these are."""
        read_query(request, QUERY["seller"])
        return self.drifted({"sellerId": "s1"}, due)

    # --- tickets -------------------------------------------------------------------------------------

    def event(self, segment: str) -> str:
        """The event of a path."""
        if not SEGMENT.fullmatch(segment):
            raise wrong(f'the event in the path is not percent-encoded: "{segment}"')
        event = unquote(segment)
        if event in self.hidden or event not in {each.id for each in self.tickets.events}:
            raise Says(f"event {event} not found", 404)
        return event

    def list(self, request: Request, segment: str, due: Due) -> object:
        """One page of the list of an event."""
        query = read_query(request, QUERY["tickets"])
        event = self.event(segment)
        size, skip, from_ms, until_ms = (
            query.get(name, other) for name, other in (("top", TOP), ("skip", 0), ("from", 0), ("until", 0))
        )
        assert isinstance(size, int)
        assert isinstance(skip, int)
        assert isinstance(from_ms, int)
        assert isinstance(until_ms, int)
        if until_ms and from_ms >= until_ms:
            raise wrong("from is not before until: nothing can be listed")
        found = self.tickets.window(Window(event, from_ms, until_ms))
        self._moved[event] = self._moved.get(event, 0) + self.troubles.moved(due)
        count = max(min(size, self.rules.top_max, len(found) - skip), 0)
        start = skip + self._moved.get(event, 0)
        docs = [row(self.tickets.at(found[(start + step) % len(found)])) for step in range(count)]
        if "shuffled" in due:
            docs.reverse()
        return self.drifted({"docs": docs, **({"total": len(found)} if self.rules.total else {})}, due)

    def known(self, segment: str) -> Ticket:
        """The ticket of a barcode in a path."""
        if not SEGMENT.fullmatch(segment):
            raise wrong(f'the barcode in the path is not percent-encoded: "{segment}"')
        found = self.tickets.find(unquote(segment))
        if found is None or found.event.id in self.hidden:
            raise Says("ticket not found", 404)
        return found

    def ticket(self, request: Request, segment: str, due: Due) -> object:
        """Look at a ticket; changes nothing. A single one is VALID or INVALID."""
        query = read_query(request, QUERY["ticket"])
        found = self.known(segment)
        if query.get("eventId", found.event.id) != found.event.id or found.status == BLANK:
            raise Says("ticket not found", 404)
        plain = {name: value for name, value in row(found).items() if name not in {"area", "entry"}}
        return self.drifted({**plain, "status": VALID if found.status == VALID else "INVALID"}, due)

    def scan(self, request: Request, segment: str, due: Due) -> object:
        """Check a ticket in, whatever its event."""
        read_query(request, QUERY["scan"])
        read_nothing(request)
        found = self.known(segment)
        scans = self.settings["deviceSettings"]["scanConfig"]
        allowed = found.status == VALID or (
            found.status == DETAILS_REQUIRED
            and self.settings["accessControlSettings"]["includeDetailsRequiredTickets"]
        )
        again = found.entries > 0 and (found.inside or not scans["enableMultiCheckin"])
        typed = next((each for each in scans["events"] if each["eventId"] == found.event.id), None)
        if typed is not None and not typed.get("allowAllTicketTypes"):
            allowed = allowed and TYPES[found.type][0] in typed.get("allowedTicketTypeIds", ())
        granted = allowed and not again and scans["scanTypes"]["checkin"]
        self.tickets.scan(found, granted)
        shown = {name: value for name, value in row(found).items() if name not in {"area", "entry"}}
        access = "GRANTED" if granted else "DENIED"
        return self.drifted({"access": access, "ticket": {**shown, "status": found.status}}, due)

    def upload(self, request: Request, segment: str, due: Due) -> object:
        """Scans of a gate that was offline. One word for all of them."""
        read_query(request, QUERY["upload"])
        event = self.event(segment)
        entries = read_upload(request, self.rules.upload_max)
        if rejected := due.get("rejected"):
            raise Says(f"an array of {len(entries)} is not taken ({rejected.value})")
        for entry in entries:
            found = self.tickets.find(entry.code)
            if found is not None and found.event.id != event:
                self.desk.note_violation(f"{entry.code} is a ticket of event {found.event.id}", request)
            if found is not None and entry.ticket_id not in ("", found.id):
                self.desk.note_violation(f"{entry.code} is ticket {found.id}", request)
            self.tickets.upload(entry)
        return self.drifted({"status": "OK"}, due)

    # --- drift ---------------------------------------------------------------------------------------

    def drifted(self, body: object, due: Due) -> object:
        """A reply as ordered."""
        shape = self.troubles.shape(due)
        return drifted(shape, body) if shape else body


def drifted(shape: str, value: object) -> object:
    """A reply without what may be left out, with what nobody asked for, or with words in small letters."""
    if isinstance(value, dict):
        left = {
            name: drifted(shape, inner)
            for name, inner in value.items()
            if not (shape == "fewer" and name in OPTIONAL)
        }
        return {**left, "extra": {"nested": [None, 1.5]}} if shape == "more" else left
    if isinstance(value, list):
        return [drifted(shape, inner) for inner in value]
    small = shape == "small" and value in (VALID, "INVALID", DETAILS_REQUIRED, "OK", "GRANTED", "DENIED")
    return value.lower() if small and isinstance(value, str) else value


def row(ticket: Ticket) -> dict[str, object]:
    """A ticket in the list. People who do not exist."""
    bits = mix(ticket.index)
    kind, name = TYPES[ticket.type]
    return {
        "_id": ticket.id,
        "barcode": ticket.code,
        "name": NAMES[ticket.holder % len(NAMES)],
        "ticketTypeId": kind,
        "ticketName": name,
        "categoryRef": f"{bits:016x}",
        "eventId": ticket.event.id,
        "sellerId": "s1",
        "createdAt": iso(ticket.created_ms),
        "updatedAt": iso(ticket.updated_ms),
        "status": ticket.status,
        "area": AREAS[bits % len(AREAS)],
        "entry": [],
    }


def refusal(_endpoint: str, error: Says) -> Reply:
    """The vendor's error, as the API describes errors in general."""
    status = error.status or 400
    return json_reply(status, {"statusCode": status, "error": responses[status], "message": error.message})


def iso(at_ms: int) -> str:
    """A time in words."""
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03}Z"


def no_such_path(request: Request) -> NoReturn:
    """A path that is not in the documents, or not in the sandbox."""
    raise wrong(f"{request.path} is not here: a barcode in a path is percent-encoded and not empty", 404)
