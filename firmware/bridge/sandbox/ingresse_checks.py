"""What the Ingresse sandbox demands of a request. Every check raises `Says`: the vendor's error."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from firmware.bridge.sandbox import desk
from firmware.bridge.sandbox.desk import CODE_CHARS_MAX, Check, in_milliseconds, read_json, some, whole, wrong
from firmware.bridge.sandbox.server import Request

# Documented.
LOGIN_AGAIN, TOKEN_EXPIRED, EVENT_NOT_FOUND = 2006, 2012, 3027
# The sandbox's own: the vendor's numbers for these are not public.
KEY_UNKNOWN, AGAINST_THE_DOCUMENTS, NO_SUCH_PATH = 9001, 9002, 9003

TICKETS_A_CALL_MAX = 20  # documented, for updates
NUMBER_DIGITS_MAX = 19  # what 64 bits hold
KEYS = ("apikey", "publickey")


def number(text: str, name: str) -> int:
    """A whole number, not negative."""
    return whole(text, name, NUMBER_DIGITS_MAX)


def milliseconds(text: str, name: str) -> int:
    """A time in Unix milliseconds."""
    return in_milliseconds(number(text, name), name)


def count(text: str, name: str) -> int:
    """A whole number from 1 on."""
    asked = number(text, name)
    if asked < 1:
        raise wrong(f"{name} is {asked}: it counts from 1")
    return asked


def date(text: str, name: str) -> datetime:
    """A date of the producer search. Its form is not public; here ISO 8601, in UTC where no zone is given."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise wrong(f'{name} "{text}" is not a date as in 2030-02-21T20:00:00+00:00') from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def order(text: str, name: str) -> bool:
    """The order of the producer search; true: the latest first."""
    if text not in {"sessions.dateTime,desc", "sessions.dateTime,asc"}:
        raise wrong(f'{name} "{text}" is not sessions.dateTime,desc')
    return text.endswith("desc")


def update_method(text: str, name: str) -> str:
    """The one method that is documented."""
    if text != "updatestatus":
        raise wrong(f'{name} "{text}" is not updatestatus')
    return text


CREDENTIALS: Mapping[str, Check] = {"apikey": some, "publickey": some, "usertoken": some}
QUERY: Mapping[str, Mapping[str, Check]] = {
    "search": {
        "title": some,
        "state": some,
        "category": some,
        "term": some,
        "size": count,
        "from": date,
        "to": date,
        "orderBy": order,
        "offset": number,
    },
    "guestlist": {
        **CREDENTIALS,
        "sessionid": number,
        "pageSize": count,
        "page": count,
        "from": milliseconds,
        "approved": number,
    },
    "update": {**CREDENTIALS, "method": update_method},
    "status": CREDENTIALS,
    "login": {"apikey": some, "publickey": some},
    "renew": CREDENTIALS,
}
METHODS = {
    "search": "GET",
    "guestlist": "GET",
    "update": "POST",
    "status": "GET",
    "login": "POST",
    "renew": "GET",
}


def read_query(request: Request, endpoint: str, strict: bool) -> dict[str, object]:
    """The parameters, checked. Not strict: unknown ones are passed over, a `from` in seconds is taken."""
    known = QUERY[endpoint]
    if not strict:
        known = {name: number if check is milliseconds else check for name, check in known.items()}
    return desk.read_query(request, known, strict=strict)


def read_key(query: Mapping[str, object], names: tuple[str, ...] = KEYS) -> str:
    """The application's key; it has one of two names."""
    sent = [name for name in KEYS if name in query]
    if len(sent) != 1 or sent[0] not in names:
        raise wrong(f"the key is sent once, as {' or '.join(names)}; came: {' and '.join(sent) or 'none'}")
    return str(query[sent[0]])


class Entry(NamedTuple):
    """One ticket of an update."""

    code: str
    inside: bool
    said_ms: int
    session: int | None


def read_update(request: Request) -> list[Entry]:
    """The body of an update."""
    body = read_json(request)
    if not isinstance(body, dict) or set(body) != {"tickets"} or not isinstance(body["tickets"], list):
        raise wrong('the body is {"tickets": [...]} and nothing else')
    tickets = body["tickets"]
    if not 1 <= len(tickets) <= TICKETS_A_CALL_MAX:
        raise wrong(f"{len(tickets)} tickets in one call: 1 to {TICKETS_A_CALL_MAX} are allowed")
    return [read_entry(ticket, f"tickets[{place}]") for place, ticket in enumerate(tickets)]


ENTRY_FIELDS = frozenset({"ticketCode", "ticketStatus", "ticketTimestamp", "sessionId", "ticketId"})


def read_entry(ticket: object, name: str) -> Entry:
    """One of its tickets; numbers may be strings, as in the documents."""
    if not isinstance(ticket, dict):
        raise wrong(f"{name} is no object")
    if unknown := set(ticket) - ENTRY_FIELDS:
        raise wrong(f"{name} has unknown fields: {', '.join(sorted(unknown))}")
    code = ticket.get("ticketCode")
    if not isinstance(code, str) or not 1 <= len(code) <= CODE_CHARS_MAX:
        raise wrong(f"{name}.ticketCode is a text of 1 to {CODE_CHARS_MAX} characters")
    status = number_of(ticket, "ticketStatus", name)
    if status not in {"0", "1"}:
        raise wrong(f"{name}.ticketStatus is 1 (check-in) or 0 (check-out)")
    said_ms = milliseconds(number_of(ticket, "ticketTimestamp", name), f"{name}.ticketTimestamp")
    if "ticketId" in ticket:
        number_of(ticket, "ticketId", name)
    session = None
    if ticket.get("sessionId") not in {None, ""}:
        session = number(number_of(ticket, "sessionId", name), f"{name}.sessionId")
    return Entry(code, status == "1", said_ms, session)


def number_of(ticket: Mapping[str, object], field: str, name: str) -> str:
    """A number as text, whether it came as one or as the other."""
    value = ticket.get(field)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise wrong(f"{name}.{field} is a number, or a text of digits")
    return str(value)
