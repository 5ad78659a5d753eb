"""What the B.A.M. sandbox demands of a request. Every check raises `Says`: the vendor's error."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firmware.bridge.sandbox.bam_tickets import FORMATS, STATES
from firmware.bridge.sandbox.desk import Check, read_json, some, wrong
from firmware.bridge.sandbox.server import Request

INVALIDATE = "TICKET.INVALIDATE"
SIGNATURE_CHARS_MAX = 200  # far above the longest in DER
QUANTITY_MAX = 100
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")  # UTC with milliseconds
HEX = re.compile(r"(?:[0-9a-f]{2})+")
DIGEST = re.compile(r"[0-9a-f]{64}")
ITEM, ITEM_OPTIONAL = frozenset({"ticket_config_id", "quantity"}), frozenset({"timeslot_id", "sector_id"})

METHODS: Mapping[str, str] = {
    "validator": "GET",
    "organizer": "GET",
    "login": "POST",
    "challenge": "POST",
    "wallet": "POST",
    "refresh": "POST",
    "qr_codes": "GET",
    "public_key": "GET",
    "statistics": "GET",
    "propose": "POST",
    "endorse": "POST",
    "commit": "POST",
    "one-step": "POST",
    "reserve": "POST",
    "free": "POST",
    "issue": "POST",
    "tickets": "GET",
}


class Proposal(NamedTuple):
    """A transaction that is proposed. `said_ms` is `None` where no time was sent."""

    certificate: str
    ticket_id: str
    said_ms: int | None


class Item(NamedTuple):
    """So many tickets of a kind; 0: any time slot, any sector."""

    config: int
    quantity: int
    slot: int
    sector: int


class Reservation(NamedTuple):
    """Tickets that are to be held for somebody."""

    event: int
    owner: str
    format: str
    items: list[Item]


def one_of(*known: str) -> Check:
    """A text that is one of these."""

    def check(text: str, name: str) -> str:
        if text not in known:
            raise wrong(f'{name} "{text}" is not one of {", ".join(known)}')
        return text

    return check


def listed(text: str, name: str) -> list[int]:
    """Numbers with commas between."""
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text, re.ASCII):
        raise wrong(f'{name} "{text}" is not a list of numbers')
    return [int(each) for each in text.split(",")]


OWN_TICKETS: Mapping[str, Check] = {
    "format": one_of(*FORMATS),
    "with_enrollment_id": one_of("true", "false"),
    "sort_by": one_of("id", "updated_at", "status"),
    "direction": one_of("asc", "desc"),
    "with": some,
    "status": one_of(*STATES),
    "ids": listed,
}


def read_fields(request: Request, *names: str) -> dict[str, object]:
    """A body of exactly these fields."""
    return fields_of(read_json(request), "the body", frozenset(names))


def fields_of(
    value: object, name: str, needed: frozenset[str], optional: frozenset[str] = frozenset()
) -> dict[str, object]:
    """An object with these fields."""
    if not isinstance(value, dict):
        raise wrong(f"{name} is no object", 400)
    if missing := needed - set(value):
        raise wrong(f"{name} lacks {', '.join(sorted(missing))}", 400)
    if unknown := set(value) - needed - optional:
        raise wrong(f"{name} has unknown fields: {', '.join(sorted(unknown))}", 400)
    return value


def text_of(value: object, name: str) -> str:
    """A text, not empty."""
    if not isinstance(value, str) or not value:
        raise wrong(f"{name} is a text and not empty", 400)
    return value


def number_of(value: object, name: str) -> int:
    """A whole number, and no text of digits."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 31:
        raise wrong(f"{name} is a whole number above 0, and no text", 400)
    return value


def time_of(value: object, name: str) -> int:
    """A time in UTC with milliseconds, as milliseconds."""
    text = text_of(value, name)
    if not TIME.fullmatch(text):
        raise wrong(f'{name} "{text}" is not like 2030-01-23T23:00:00.123Z', 400)
    try:
        at = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        raise wrong(f'{name} "{text}" is no time', 400) from None
    if at.year < 2001:
        raise wrong(f'{name} "{text}" is long before any ticket: was it made from seconds?', 400)
    return round(at.timestamp() * 1000)


def read_proposal(request: Request) -> Proposal:
    """The body of the first step."""
    body = read_json(request)
    if isinstance(body, dict) and "private_key" in body:
        raise wrong("a private key never leaves its wallet", 400)
    fields = fields_of(body, "the body", frozenset({"fcn", "certificate", "args"}))
    if fields["fcn"] != INVALIDATE:
        raise wrong(f"fcn {fields['fcn']!r}: a validator has {INVALIDATE}", 400)
    args = fields["args"]
    if not isinstance(args, list) or len(args) != 1 or not isinstance(args[0], str):
        raise wrong("args is a list of one text, which is JSON", 400)
    try:
        argument = json.loads(args[0])
    except (ValueError, RecursionError):
        raise wrong("args[0] is no JSON", 400) from None
    named = fields_of(
        argument, "args[0]", frozenset({"seq_num", "ticket_config"}), frozenset({"validation_time"})
    )
    config = fields_of(named["ticket_config"], "ticket_config", frozenset({"id", "event"}))
    event = fields_of(config["event"], "event", frozenset({"id"}))
    sequence = number_of(named["seq_num"], "seq_num")
    kind, of = number_of(config["id"], "ticket_config.id"), number_of(event["id"], "event.id")
    told = named.get("validation_time")
    said_ms = time_of(told, "validation_time") if "validation_time" in named else None
    certificate = text_of(fields["certificate"], "certificate")
    return Proposal(certificate, f"E{of}TC{kind}T{sequence}", said_ms)


def read_signature(request: Request) -> bytes:
    """The body of a step that is signed."""
    text = text_of(read_fields(request, "signature")["signature"], "signature")
    try:
        if len(text) > SIGNATURE_CHARS_MAX:
            raise ValueError("too long")
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise wrong("the signature is no base64", 400) from None


def hexadecimal(value: object, name: str) -> bytes:
    """Bytes in small hexadecimal digits."""
    text = text_of(value, name)
    if len(text) > SIGNATURE_CHARS_MAX or not HEX.fullmatch(text):
        raise wrong(f"{name} is not hexadecimal", 400)
    return bytes.fromhex(text)


def same_certificate(pem: str, known: str) -> bool:
    """Whether a certificate is this one, whatever its line ends are."""
    try:
        return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.PEM) == known.encode()
    except ValueError:
        raise wrong("certificate is no certificate in PEM", 400) from None


def read_reservation(request: Request) -> Reservation:
    """Which tickets are to be held."""
    fields = read_fields(request, "event_id", "owner_id", "format", "ticket_reservation_items")
    form = one_of(*FORMATS)(text_of(fields["format"], "format"), "format")
    items = fields["ticket_reservation_items"]
    if not isinstance(items, list) or not 1 <= len(items) <= QUANTITY_MAX:
        raise wrong(f"ticket_reservation_items is a list of 1 to {QUANTITY_MAX}", 400)
    found = []
    for place, each in enumerate(items):
        name = f"ticket_reservation_items[{place}]"
        item = fields_of(each, name, ITEM, ITEM_OPTIONAL)
        numbers = {field: number_of(value, f"{name}.{field}") for field, value in item.items()}
        if numbers["quantity"] > QUANTITY_MAX:
            raise wrong(f"{name}.quantity is above {QUANTITY_MAX}", 400)
        found.append(
            Item(
                numbers["ticket_config_id"],
                numbers["quantity"],
                numbers.get("timeslot_id", 0),
                numbers.get("sector_id", 0),
            )
        )
    owner = text_of(fields["owner_id"], "owner_id")
    return Reservation(number_of(fields["event_id"], "event_id"), owner, str(form), found)


def read_tickets(request: Request) -> list[int]:
    """Which tickets are let go or issued. The form of this body is not public: this one is assumed."""
    ids = read_fields(request, "ticket_ids")["ticket_ids"]
    if not isinstance(ids, list) or not 1 <= len(ids) <= QUANTITY_MAX:
        raise wrong(f"ticket_ids is a list of 1 to {QUANTITY_MAX}", 400)
    numbers = [number_of(each, f"ticket_ids[{place}]") for place, each in enumerate(ids)]
    if len(set(numbers)) < len(numbers):
        raise wrong("ticket_ids has one twice", 400)
    return numbers
