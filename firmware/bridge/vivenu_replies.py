"""What vivenu's replies mean, read leniently: its status sets differ from endpoint to endpoint.

Pure: replies in, plain values out. Only `firmware.bridge.vivenu` uses it. Whatever a ticket says about
persons ends here: no value below has a place for it.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx

from firmware.bridge.addresses import path_part
from firmware.bridge.lenient import (
    ID_LENGTH_MAX,
    TEXT_LENGTH_MAX,
    TYPE_LENGTH_MAX,
    clean,
    date_ms,
    number_of,
    text_of,
    time_of,
    truth_of,
)
from firmware.bridge.vendor import Lost, Misconfigured, Outage, VendorTicket, read_json
from firmware.bridge.vivenu_requests import DETAILS_REQUIRED, INVALID, VALID
from firmware.core.ticket import Choice, Status, Verdict

# Of a barcode, which stands in a request line: that ends at 8,000 bytes with most servers, sooner with some.
# vivenu's own have 16 digits.
CODE_CHARACTERS_MAX = 512
CODE_BYTES_MAX = 2000  # once it is percent-encoded

HIDDEN_LENGTH_MIN = 4  # a shorter text would be hidden in the midst of words
REASONLESS = "denied without a reason: already used, or not allowed here"


class Missing(Exception):
    """vivenu does not know it, or not for this access user: an answer, never an outage.

    `at_ms` is when it said so, by its own clock.
    """

    def __init__(self, why: str, at_ms: int = 0) -> None:
        super().__init__(why)
        self.at_ms = at_ms


class Rejected(Misconfigured):
    """vivenu rejects this one request; nothing was carried out."""


class EventRule(NamedTuple):
    """What this access user may scan of an event."""

    all_types: bool
    types: frozenset[str]
    slot_minutes: tuple[int, int]  # before and after, that a time slot is stretched by

    def allows(self, ticket_type: str) -> bool:
        """Whether tickets of this type are among them."""
        return self.all_types or ticket_type in self.types


class Device(NamedTuple):
    """What vivenu has set for this access user, as far as a gate can honour it. Left out is allowed.

    `rules` is by event; `listed` says that there is a list of events at all. `multi` is `None` where nothing
    is said of checking in again after a check-out. `sync_s` is how often its
    own devices look for changes. `told` is false where vivenu says nothing of all this.
    """

    told: bool = True
    name: str = ""
    restricted: bool = False
    listed: bool = False
    rules: Mapping[str, EventRule] = MappingProxyType({})
    check_in: bool = True
    check_out: bool = True
    multi: bool | None = None
    slots: bool = False
    details: bool = False
    sync_s: int | None = None

    def refuses(self, event: str, ticket_type: str) -> bool:
        """Whether this access user may not scan such a ticket at all."""
        rule = self.rules.get(event)
        if rule is None:
            return self.restricted and self.listed
        return not rule.allows(ticket_type)


class TicketPage(NamedTuple):
    """One page of the list. `total` is `None` where it says nothing of it."""

    rows: Sequence[object]
    total: int | None


class Scanned(NamedTuple):
    """The answer to an online scan; `granted` is `None` where it says neither."""

    granted: bool | None
    status: str
    event: str = ""


def read(response: httpx.Response, what: str, hidden: Sequence[str] = ()) -> object:
    """The body of a good reply. `hidden` is what the words of an error must not show: no book keeps them.

    Raises `Outage` where we were sent away, `Lost` where it may have been carried out, `Missing` where there
    is no such thing, `Rejected` or `Misconfigured` where it was not carried out and never will be.
    """
    try:
        body = read_json(response)
    except (ValueError, RecursionError):
        body = None
    status = _status(response, body)
    said = _words(body, hidden) or f"answered {status}"
    if status == 429:
        raise Outage(f"{what}: too many requests (429)")
    if status >= 500 or status == 408:
        raise Lost(f"{what}: {said} ({status})")
    if status in (401, 403):
        raise Misconfigured(
            f"{what}: {said} ({status}): the token is wrong, or was withdrawn: set a new one and restart the "
            "bridge"
        )
    if status == 404:
        raise Missing(f"{what}: {said} (404)", date_ms(response))
    if status >= 400:
        raise Rejected(f"{what}: {said} ({status})")
    if not response.is_success:
        raise Misconfigured(f"{what}: {said}, a redirect: correct `api_url`")
    if body is None:
        raise Lost(f"{what}: the reply is no JSON, or was cut")
    return body


def _status(response: httpx.Response, body: object) -> int:
    """The status, also where an error comes in the body of a reply that calls itself good."""
    if response.is_success and isinstance(body, dict) and "error" in body:
        inner = number_of(body.get("statusCode"))
        if inner is not None and 400 <= inner < 600:
            return inner
    return response.status_code


def _words(body: object, hidden: Sequence[str]) -> str:
    """The words of an error."""
    if not isinstance(body, dict):
        return ""
    words = [body.get(name) for name in ("error", "message")]
    text = ": ".join(word for word in words if isinstance(word, str) and word)
    for secret in sorted(
        {form for each in hidden for form in (each, path_part(each))}, key=len, reverse=True
    ):
        if len(secret) >= HIDDEN_LENGTH_MIN:
            text = text.replace(secret, "***")
    return text[:TEXT_LENGTH_MAX]


# --- who we are -------------------------------------------------------------------------------------------


def device(body: object, what: str) -> Device:
    """What `/me` says. Raises `Lost` where it is no answer."""
    if not isinstance(body, dict):
        raise Lost(f"{what}: the reply is no object")
    settings, scans = _part(body, "deviceSettings"), _part(_part(body, "deviceSettings"), "scanConfig")
    types, control = _part(scans, "scanTypes"), _part(body, "accessControlSettings")
    events = scans.get("events")
    allowed = {name: truth_of(types.get(name)) is not False for name in ("checkin", "checkout")}
    if not any(allowed.values()):  # cannot be: at least one is true
        allowed = dict.fromkeys(allowed, True)
    return Device(
        name=text_of(body.get("name")) or "",
        restricted=settings.get("accessMode") == "restricted",
        listed=isinstance(events, list),
        rules=dict(_rules(events if isinstance(events, list) else [])),
        check_in=allowed["checkin"],
        check_out=allowed["checkout"],
        multi=truth_of(scans.get("enableMultiCheckin")),
        slots=truth_of(scans.get("checkTimeslots")) is True,
        details=truth_of(control.get("includeDetailsRequiredTickets")) is True,
        sync_s=number_of(settings.get("ticketSyncInterval")),
    )


def _part(body: Mapping[Any, Any], name: str) -> Mapping[Any, Any]:
    part = body.get(name)
    return part if isinstance(part, dict) else {}


def _rules(events: Sequence[object]) -> Sequence[tuple[str, EventRule]]:
    found = []
    for each in events:
        event = text_of(each.get("eventId")) if isinstance(each, dict) else None
        if not isinstance(each, dict) or event is None:
            continue
        types, slots = each.get("allowedTicketTypeIds"), _part(each, "timeslotSettings")
        ids = map(text_of, types if isinstance(types, list) else [])
        minutes = (number_of(slots.get(name)) or 0 for name in ("beforeMinutes", "afterMinutes"))
        found.append(
            (
                event,
                EventRule(
                    truth_of(each.get("allowAllTicketTypes")) is True,
                    frozenset(filter(None, ids)),
                    (next(minutes), next(minutes)),
                ),
            )
        )
    return found


def seller(body: object) -> str:
    """Whose events these are, "" where it does not say."""
    return (text_of(body.get("sellerId")) if isinstance(body, dict) else None) or ""


def events(body: object, what: str) -> dict[str, str]:
    """Names of the events of this access user, by id. Raises `Lost` where it is no answer."""
    if not isinstance(body, list):
        raise Lost(f"{what}: the reply is no list")
    named = [(text_of(each.get("_id")), text_of(each.get("name"))) for each in body if isinstance(each, dict)]
    return {event: name or "" for event, name in named if event}


# --- tickets ----------------------------------------------------------------------------------------------


def page(body: object, what: str) -> TicketPage:
    """One page of the list. Raises `Lost` where it is none."""
    rows = body.get("docs") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(rows, list):
        raise Lost(f"{what}: the reply has no `docs`")
    total = number_of(body.get("total"))
    return TicketPage(rows, total if total is not None and total >= 0 else None)


def ticket(
    row: object, event: str, admit: Sequence[str], slots: Choice, device: Device
) -> VendorTicket | None:
    """A ticket of the list, or a single one; `None` for what cannot be read as one."""
    if not isinstance(row, dict):
        return None
    ticket_id, code = text_of(row.get("_id")), text_of(row.get("barcode"))
    if ticket_id is None or len(ticket_id) > ID_LENGTH_MAX or code is None or not fit_code(code):
        return None
    of = text_of(row.get("eventId")) or event
    kind = text_of(row.get("ticketTypeId")) or ""
    return VendorTicket(
        ticket_id=ticket_id,
        code=code,
        status=_standing(word_of(row.get("status")), of, kind, admit, slots, device),
        event=of if len(of) <= TYPE_LENGTH_MAX else event,
        type=kind if len(kind) <= TYPE_LENGTH_MAX else "",
        sector=_named(row.get("area")),
    )


def _standing(
    status: str, event: str, kind: str, admit: Sequence[str], slots: Choice, device: Device
) -> Status:
    """What a gate has to make of a ticket. One without a status is refused."""
    if status == INVALID:  # also of tickets that were deleted
        return Status.CANCELLED
    let_in = status in admit and (status != DETAILS_REQUIRED or device.details)
    if not let_in or device.refuses(event, kind) or not device.check_in:
        return Status.BLOCKED
    if device.slots and slots is Choice.REFUSE:
        return Status.BLOCKED
    return Status.VALID


def changed_ms(row: object) -> int:
    """When a ticket was changed last, by vivenu's clock; 0 where it does not say."""
    if not isinstance(row, dict):
        return 0
    return max(time_of(row.get(name))[0] or 0 for name in ("createdAt", "updatedAt"))


def fit_code(code: str) -> bool:
    """Whether a barcode can be asked for: an empty one would make another endpoint of the path."""
    if not 0 < len(code) <= CODE_CHARACTERS_MAX or not clean(code):
        return False
    return len(path_part(code)) <= CODE_BYTES_MAX


def word_of(value: object) -> str:
    """A word of a status set, whichever; "" for none."""
    return value.strip().upper() if isinstance(value, str) else ""


def _named(value: object) -> str:
    text = text_of(value) or ""
    return text if len(text) <= TYPE_LENGTH_MAX else ""


# --- scans ------------------------------------------------------------------------------------------------


def uploaded(body: object, what: str) -> str:
    """The word of an upload, which stands for the whole array. Raises `Lost` where it is another."""
    word = word_of(body.get("status")) if isinstance(body, dict) else ""
    if word != "OK":
        raise Lost(f"{what}: the reply does not say OK")
    return word


def scanned(body: object) -> Scanned:
    """The answer to an online scan."""
    if not isinstance(body, dict):
        return Scanned(None, "")
    access = {"GRANTED": True, "DENIED": False}.get(word_of(body.get("access")))
    ticket = _part(body, "ticket")
    return Scanned(access, word_of(ticket.get("status")), text_of(ticket.get("eventId")) or "")


def denial(status: str) -> tuple[Verdict, str]:
    """Why a scan was denied, as far as the ticket's status says so: vivenu gives no reason."""
    if status in ("", VALID):
        return Verdict.REFUSED, REASONLESS
    return (Verdict.CANCELLED if status == INVALID else Verdict.BLOCKED), f"denied: {status}"
