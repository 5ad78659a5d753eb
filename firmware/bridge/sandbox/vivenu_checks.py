"""What the vivenu sandbox demands of a request, and how the vendor says no.

Every check raises `Says`: the vendor's error. With `violation` the request was against the documents, and
is also written down for whoever runs the sandbox; without it (an unknown barcode) it is ordinary life.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec

from firmware.bridge.sandbox.server import Request
from firmware.bridge.sandbox.vivenu_tickets import Entry

TOP_MAX, TOP = 1000, 25  # documented, with the default
CODE_CHARS_MAX = 255  # far above the longest barcode seen
NUMBER_DIGITS_MAX = 9  # of `skip`: a list that long does not exist
SEGMENT = re.compile(r"(?:[\w.~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+", re.ASCII)  # of a path, RFC 3986
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")  # UTC with milliseconds
FIELDS = frozenset({"barcode", "scanned_at", "type", "direction"})
OPTIONAL = frozenset({"ticketId"})

WORDS = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed"}


class Says(Exception):
    """The vendor's error."""

    def __init__(self, status: int, message: str, *, violation: bool = False) -> None:
        super().__init__(message)
        self.status, self.message, self.violation = status, message, violation

    def body(self) -> dict[str, object]:
        """As the API describes errors in general."""
        return {"statusCode": self.status, "error": WORDS[self.status], "message": self.message}


def wrong(message: str, status: int = 400) -> Says:
    """A request against the documents."""
    return Says(status, message, violation=True)


def whole(text: str, name: str) -> int:
    """A whole number, not negative."""
    if not (text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS_MAX):
        raise wrong(f'{name} "{text}" is not a whole number')
    return int(text)


def top(text: str, name: str) -> int:
    """How many tickets a page has."""
    number = whole(text, name)
    if not 1 <= number <= TOP_MAX:
        raise wrong(f"{name} is {number}: from 1 to {TOP_MAX}")
    return number


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


def some(text: str, name: str) -> str:
    """Any text but none."""
    if not text:
        raise wrong(f"{name} is empty")
    return text


Check = Callable[[str, str], object]

QUERY: Mapping[str, Mapping[str, Check]] = {
    "events": {"includeRootEvents": truth},
    "me": {},
    "seller": {},
    "tickets": {"top": top, "skip": whole, "from": time, "until": time},
    "ticket": {"eventId": some},
    "scan": {},
    "upload": {},
}
METHODS = {name: "POST" if name in {"scan", "upload"} else "GET" for name in QUERY}


def read_query(request: Request, endpoint: str) -> dict[str, object]:
    """The parameters, checked."""
    found: dict[str, object] = {}
    for name, text in request.query:
        if name in found:
            raise wrong(f"{name} was sent twice")
        if name not in QUERY[endpoint]:
            raise wrong(f'"{name}" is no parameter of {request.method} {request.path}')
        found[name] = QUERY[endpoint][name](text, name)
    return found


def read_nothing(request: Request) -> None:
    """No body, as for an online scan."""
    if request.body:
        raise wrong("a scan has no body")


def read_upload(request: Request, most: int) -> list[Entry]:
    """The body of an upload."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise wrong("an upload has Content-Type application/json")
    try:
        body = msgspec.json.decode(request.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise wrong(f"the body is no JSON: {error}") from None
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
