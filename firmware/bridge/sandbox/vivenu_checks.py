"""What the vivenu sandbox demands of a request. Every check raises `Says`: the vendor's error."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from firmware.bridge.sandbox.desk import CODE_CHARS_MAX, Check, read_json, some, whole, wrong
from firmware.bridge.sandbox.server import Request
from firmware.bridge.sandbox.vivenu_tickets import Entry

TOP_MAX, TOP = 1000, 25  # documented, with the default
NUMBER_DIGITS_MAX = 9  # of `skip`: a list that long does not exist
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")  # UTC with milliseconds
FIELDS = frozenset({"barcode", "scanned_at", "type", "direction"})
OPTIONAL = frozenset({"ticketId"})


def number(text: str, name: str) -> int:
    """A whole number, not negative."""
    return whole(text, name, NUMBER_DIGITS_MAX)


def top(text: str, name: str) -> int:
    """How many tickets a page has."""
    asked = number(text, name)
    if not 1 <= asked <= TOP_MAX:
        raise wrong(f"{name} is {asked}: from 1 to {TOP_MAX}")
    return asked


def time(text: str, name: str) -> int:
    """A time in UTC with milliseconds, as milliseconds."""
    if not TIME.fullmatch(text):
        raise wrong(f'{name} "{text}" is not like 2020-04-29T15:03:03.726Z')
    try:
        at = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        raise wrong(f'{name} "{text}" is no time') from None
    if at.year < 2001:
        raise wrong(f'{name} "{text}" is long before any ticket: was it made from seconds?')
    return round(at.timestamp() * 1000)


def truth(text: str, name: str) -> bool:
    """A bool of a query."""
    if text not in {"true", "false"}:
        raise wrong(f'{name} "{text}" is neither true nor false')
    return text == "true"


QUERY: Mapping[str, Mapping[str, Check]] = {
    "events": {"includeRootEvents": truth},
    "me": {},
    "seller": {},
    "tickets": {"top": top, "skip": number, "from": time, "until": time},
    "ticket": {"eventId": some},
    "scan": {},
    "upload": {},
}
METHODS = {name: "POST" if name in {"scan", "upload"} else "GET" for name in QUERY}


def read_nothing(request: Request) -> None:
    """No body, as for an online scan."""
    if request.body:
        raise wrong("a scan has no body")


def read_upload(request: Request, most: int) -> list[Entry]:
    """The body of an upload."""
    body = read_json(request)
    if not isinstance(body, list):
        raise wrong("the body is a bare array of scans")
    if not 1 <= len(body) <= most:
        raise wrong(f"{len(body)} scans in one call: this vendor was set to take 1 to {most}")
    return [read_entry(entry, f"[{place}]") for place, entry in enumerate(body)]


def read_entry(entry: object, name: str) -> Entry:
    """One of its scans."""
    if not isinstance(entry, dict):
        raise wrong(f"{name} is no object")
    if missing := FIELDS - set(entry):
        raise wrong(f"{name} lacks {', '.join(sorted(missing))}")
    if unknown := set(entry) - FIELDS - OPTIONAL:
        raise wrong(f"{name} has unknown fields: {', '.join(sorted(unknown))}")
    texts = {field: value for field, value in entry.items() if isinstance(value, str) and value}
    if len(texts) < len(entry) or len(texts["barcode"]) > CODE_CHARS_MAX:
        raise wrong(f"{name}: each field is a text, and no longer than a barcode")
    if texts["type"] not in {"OK", "FAIL"} or texts["direction"] not in {"IN", "OUT"}:
        raise wrong(f"{name}: type is OK or FAIL, direction IN or OUT, in capitals")
    return Entry(
        texts["barcode"],
        texts.get("ticketId", ""),
        time(texts["scanned_at"], f"{name}.scanned_at"),
        texts["type"] == "OK",
        texts["direction"] == "IN",
    )
