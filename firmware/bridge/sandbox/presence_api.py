"""The Presence API of the sandbox: a request in, a reply out. Sockets and threads are the server's."""

from collections.abc import Callable
from functools import partial
from typing import NoReturn

from firmware.bridge.sandbox.desk import UNKNOWN, Desk, Due, Says, Vendor, json_reply, wrong
from firmware.bridge.sandbox.presence_checks import (
    METHODS,
    Sent,
    read_init,
    read_no_query,
    read_scan,
    read_upload,
    read_wanted,
)
from firmware.bridge.sandbox.presence_rules import BAD_REQUEST, DONE, NOT_FOUND, OKAY, GateRules, Rules
from firmware.bridge.sandbox.presence_tickets import Scan, Ticket, Tickets
from firmware.bridge.sandbox.presence_venue import VENUE, Device, Gate, Named, Venue
from firmware.bridge.sandbox.server import Reply, Request
from firmware.bridge.sandbox.trouble import Troubles

ENDPOINTS = tuple(METHODS)
SUFFIX = ".json"

# What a reply may look like besides, all of it harmless: ids of the other type, fields that only a sample
# has left out, and fields that nobody knows.
SHAPES = ("numbers", "fewer", "more")
OPTIONAL = frozenset({"localId", "gateName", "place"})
IDS = frozenset({"id", "gateId"})


class Api:
    """All endpoints. `answer` may run on several threads; the tickets' lock puts them in a row."""

    def __init__(
        self,
        tickets: Tickets,
        key: str,
        troubles: Troubles,
        rules: Rules,
        log: Callable[[str], None] | None,
    ) -> None:
        self.tickets, self.key, self.troubles, self.rules = tickets, key, troubles, rules
        self.venue = Venue()
        vendor = Vendor(self.find, self.check_key, self.refusal, METHODS, frozenset({"apikey"}))
        self.desk = Desk(vendor, tickets.lock, tickets.log.clock, troubles, log)
        self.answer = self.desk.answer

    def find(self, request: Request) -> tuple[str, Callable[[Due], object]]:
        """Which endpoint it is, and what carries it out."""
        suffix = SUFFIX if request.path.endswith(SUFFIX) else ""
        path = request.path.removesuffix(SUFFIX)
        device, ticket = (f"/{base}/" for base in (self.rules.device_base, self.rules.ticket_base))
        if suffix not in self.rules.suffixes:
            return UNKNOWN, lambda _: no_such_path(request)
        if path == f"{device}device/init":
            return "init", partial(self.init, request)
        if path == f"{device}device":
            return "device", partial(self.device, request)
        match path.removeprefix(ticket) if path.startswith(ticket) else "":
            case "ticket/enter" | "ticket/exit" as way:
                endpoint = way.removeprefix("ticket/")
                return endpoint, partial(self.scan, request, endpoint)
            case "ticket/validate" if "validate" in self.rules.internal_entries:
                return "validate", partial(self.scan, request, "validate")
            case self.rules.upload_path:
                return "upload", partial(self.upload, request)
        return UNKNOWN, lambda _: no_such_path(request)

    def refusal(self, _endpoint: str, error: Says) -> Reply:
        """The vendor's error: of its gateway, or a request that it does not understand."""
        if error.status in {401, 404, 405}:
            fault = {"faultstring": error.message, "detail": {"errorcode": str(error.status)}}
            return json_reply(error.status, {"fault": fault})
        result = {**self.rules.said(BAD_REQUEST), "message": error.message}
        return json_reply(self.rules.refusal_status, {"result": result})

    def check_key(self, request: Request, due: Due) -> None:
        """The application's key is in the query of each call."""
        keys = [value for name, value in request.query if name == "apikey"]
        if not keys:
            raise wrong("apikey is missing: it is a parameter of every call", 401)
        if keys != [self.key] or "expired" in due:
            raise Says("Invalid ApiKey", 401)

    # --- devices -------------------------------------------------------------------------------------

    def init(self, request: Request, due: Due) -> object:
        """Configure a scanner."""
        read_no_query(request)
        venue, named = read_init(request, self.rules)
        if venue != VENUE:
            return self.replied(NOT_FOUND, None, due)
        device = self.venue.configure(named, self.gate(named))
        return self.replied(OKAY, device.shown(self.rules.numbers, False), due)

    def gate(self, named: Named) -> Gate:
        """The gate at which a device is to stand."""
        venue = self.venue
        found = venue.gates.get(named.gate_name) if named.gate_id is None else venue.gate_of(named.gate_id)
        if found is not None:
            return found
        if named.gate_id is not None or not self.rules.new_gates:
            raise wrong(f"there is no gate {named.gate_name or named.gate_id}")
        return venue.gate(named.gate_name, GateRules(internal=named.gate_name.endswith(self.rules.inner)))

    def device(self, request: Request, due: Due) -> object:
        """Read a scanner's configuration back."""
        wanted = read_wanted(request, self.rules)
        found = self.venue.look(wanted.mac, wanted.device) if wanted.venue == VENUE else None
        if found is None:
            return self.replied(NOT_FOUND, None, due)
        return self.replied(OKAY, found.shown(self.rules.numbers, True), due)

    def known(self, sent: Sent) -> Device:
        """The device of a scan, which was configured at least once."""
        device = self.venue.devices.get(sent.device)
        if device is None:
            raise wrong(f"device {sent.device} was never configured")
        return device

    def configured(self, sent: Sent) -> Device:
        """The device of a scan, which says of itself what its configuration said."""
        device = self.known(sent)
        if not device.configured:
            raise Says(f"device {sent.device} is not configured any more")
        if sent.venue != VENUE:
            raise wrong(f"device {sent.device} is not at venue {sent.venue}")
        if (sent.gate, sent.gate_name) != (device.gate.id, device.gate.name):
            raise wrong(f"device {device.id} stands at gate {device.gate.id}, {device.gate.name}")
        return device

    # --- scans ---------------------------------------------------------------------------------------

    def scan(self, request: Request, endpoint: str, due: Due) -> object:
        """An entry or exit, at the external gates or within them."""
        read_no_query(request)
        sent = read_scan(request, self.rules)
        device = self.configured(sent)
        gate = device.gate.rules
        internal = gate.internal or endpoint == "validate"
        if internal and endpoint != "exit" and endpoint not in self.rules.internal_entries:
            raise wrong(f"entries of an internal gate go to ticket/{self.rules.internal_entries[0]}")
        scan = Scan(sent.token, endpoint != "exit", internal, sent.said_ms, device.operator)
        ordered = due.get("status")
        word = (ordered.word or "GENERAL_ERROR") if ordered else ""
        if ordered and not ordered.after:
            self.tickets.refuse(scan, word)
            return self.replied(word, None, due)
        status, ticket = self.tickets.scan(scan, gate, self.rules)
        status = word or status
        shown = tickets_of(ticket) if ticket and (status in DONE or self.rules.message) else None
        return self.replied(status, shown, due)

    def upload(self, request: Request, due: Due) -> object:
        """Scans of gates that were offline: each is taken, whatever it is of."""
        read_no_query(request)
        scans = [(self.known(sent), sent) for sent in read_upload(request, self.rules)]
        for device, sent in scans:
            internal = device.gate.rules.internal
            scan = Scan(sent.token, sent.inside is True, internal, sent.said_ms, device.operator)
            if odd := self.tickets.upload(scan):
                self.desk.note_violation(odd, request)
        return self.replied(OKAY, None, due)

    # --- replies -------------------------------------------------------------------------------------

    def replied(self, status: str, message: dict[str, object] | None, due: Due) -> Reply:
        """The result, with its message where there is one, as it drifts."""
        body: dict[str, object] = {"result": self.rules.said(status)}
        if message is not None:
            body["message"] = message
        shape = self.troubles.shape(due)
        http = 200 if status in DONE else self.rules.refusal_status
        return json_reply(http, drifted(shape, body) if shape else body)


def tickets_of(ticket: Ticket) -> dict[str, object]:
    """The places that a scan was of."""
    return {"tickets": [{"place": place, "eventId": ticket.event.id} for place in ticket.places]}


def drifted(shape: str, value: object) -> object:
    """A reply in another shape."""
    if isinstance(value, list):
        return [drifted(shape, inner) for inner in value]
    if not isinstance(value, dict):
        return value
    found = {
        name: other_type(inner) if shape == "numbers" and name in IDS else drifted(shape, inner)
        for name, inner in value.items()
        if not (shape == "fewer" and name in OPTIONAL)
    }
    return {**found, "extra": {"nested": [None, 1.5]}} if shape == "more" else found


def other_type(value: object) -> object:
    """A text of digits as a number, and a number as text."""
    return int(value) if isinstance(value, str) else str(value)


def no_such_path(request: Request) -> NoReturn:
    """A path that is not in the documents, or not as the sandbox is set."""
    raise wrong(f"{request.path} is not here", 404)
