"""What Ticketmaster Presence's replies mean, by the statuses of all its three revisions.

Pure: replies in, plain values out. Only `firmware.bridge.presence` uses it. The word in `result.status` of
the body decides: no HTTP status says anything about a ticket. But one of a service that failed or was too
busy (429, 5xx) is never a yes, whatever the body says.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx

from firmware.bridge.lenient import ID_LENGTH_MAX, TEXT_LENGTH_MAX, TYPE_LENGTH_MAX, clean, text_of
from firmware.bridge.vendor import Lost, Misconfigured, Outage, read_json
from firmware.core.ticket import Verdict

STATUS_LENGTH_MAX = 64  # the longest known one has 33 characters
PLACES_MAX = 5  # of several tickets in one reply that are named: more than a family has

BAD_REQUEST, NOT_FOUND = "BAD_REQUEST", "NOT_FOUND"


class Meaning(NamedTuple):
    """What a status means where it does not open.

    `words` are for the person at the gate, where the status alone would mislead. With `ours` it may be the
    echo of our own scan: where a reply of ours was lost before, that is for staff to find out.
    """

    verdict: Verdict
    words: str = ""
    ours: bool = False


_NO_ENTRY = Meaning(Verdict.REFUSED, "no entry", ours=True)

# Every status that was ever published. Which of them open is a setting; by default `OKAY` for entries, and
# for exits the ways in which the revisions say "out" as well. One that is not here refuses too, and is shown.
STATUSES: Mapping[str, Meaning] = MappingProxyType(
    {
        # They sound friendly, and open nothing that was not set.
        "OKAY": _NO_ENTRY,
        "EXIT": _NO_ENTRY,
        "EXITED": _NO_ENTRY,
        "INTERNAL_SCAN": _NO_ENTRY,
        "INTERNAL_SCAN_EXIT": _NO_ENTRY,
        "INTERNAL_EXIT_SCAN": _NO_ENTRY,  # the same, as the prose spells it
        "EXIT_INTERNAL": _NO_ENTRY,
        "OPEN_SEAT": _NO_ENTRY,
        "TRANSFER": _NO_ENTRY,
        # Where the ticket is.
        "DUPLICATE": Meaning(Verdict.TOO_SOON, "shown a moment ago", ours=True),
        "ALREADY_ENTERED": Meaning(Verdict.USED, ours=True),
        "INTERNAL_SCAN_ALREADY_ENTERED": Meaning(Verdict.USED, ours=True),
        "EXIT_NOT_PERMITTED": Meaning(Verdict.NOT_INSIDE, ours=True),
        "INTERNAL_SCAN_EXIT_NOT_PERMITTED": Meaning(Verdict.NOT_INSIDE, ours=True),
        # What it is. A ticket for tomorrow is not found today: never say that it is forged.
        "NOT_FOUND": Meaning(Verdict.REFUSED, "not valid here and now"),
        "INVALID_TICKET": Meaning(Verdict.REFUSED),
        "BAD_TOKEN": Meaning(Verdict.REFUSED, "the code itself is not valid"),
        # Rules of the gate and of the event.
        "START_RESTRICTION": Meaning(Verdict.TOO_EARLY),
        "TOO_EARLY": Meaning(Verdict.TOO_EARLY),
        "END_RESTRICTION": Meaning(Verdict.TOO_LATE),
        "TOO_LATE": Meaning(Verdict.TOO_LATE),
        "SECTION_RESTRICTION": Meaning(Verdict.WRONG_SECTOR),
        "EVENT_RESTRICTION": Meaning(Verdict.WRONG_EVENT),
        "ACCESS_GROUP_RESTRICTION": Meaning(Verdict.WRONG_GATE),
        "XNUM_RESTRICTION": Meaning(Verdict.WRONG_GATE),
        "MARK_RESTRICTION": Meaning(Verdict.CALL_STAFF, "the ticket carries a mark"),
        # Faults of theirs or ours: no outage, so no gate lets anybody in for it.
        "GENERAL_ERROR": Meaning(Verdict.REFUSED, "an error at the vendor", ours=True),
        "BAD_REQUEST": Meaning(Verdict.REFUSED, "the vendor does not understand us"),
    }
)
UNHEARD = Meaning(Verdict.REFUSED, ours=True)

# What nobody may set as opening: the statuses above that say no.
REFUSALS = frozenset(status for status, meaning in STATUSES.items() if meaning is not _NO_ENTRY)


class Unavailable(Lost):
    """A 503 without a word: the service says that it is not there. Of a scan that is still no proof."""


class Said(NamedTuple):
    """A reply: its status, its text, and what came beside them; `raw` is the status as it was spelt."""

    status: str
    text: str
    message: Mapping[str, Any]
    raw: str

    def words(self) -> str:
        """The vendor's status and text, and ours in front where they need it."""
        own = f"{self.status}: {self.text}" if self.text else self.status
        meaning = STATUSES.get(self.status, UNHEARD)
        return f"{meaning.words} ({own})" if meaning.words and meaning is not _NO_ENTRY else own

    def meaning(self) -> Meaning:
        """What it means where it does not open."""
        return STATUSES.get(self.status, UNHEARD)


class Configured(NamedTuple):
    """A device as Presence has it; what a reply leaves out is ""."""

    id: str
    gate_id: str
    gate_name: str


def read(response: httpx.Response, what: str) -> Said:
    """What a reply says.

    A refusal counts with any HTTP number: which numbers go with refusals is not documented. What could open
    does not count with one that is about the service (5xx, 429), and an unknown status with neither of these
    nor with one about us (401, 403). Raises, then and where there is no status in the body, `Lost` (it may
    have been carried out; `Unavailable` for 503 without a known status), `Outage` (429) or `Misconfigured`
    (4xx, which is no outage, or a redirect).
    """
    try:
        body = read_json(response)
    except (ValueError, RecursionError):
        body = None
    part = body if isinstance(body, dict) else {}
    result = part.get("result")
    status = _status(result.get("status")) if isinstance(result, dict) else ""
    number = response.status_code
    served = number != 429 and number < 500
    known = status in STATUSES
    if status in REFUSALS or (served and (known or (status and number not in (401, 403)))):
        assert isinstance(result, dict)
        message = part.get("message")
        said = _text(result.get("message"))
        return Said(
            status,
            "" if _status(said) == status else said,
            message if isinstance(message, dict) else {},
            (text_of(result.get("status")) or "")[:STATUS_LENGTH_MAX],
        )
    words = _fault(part) or f"answered {number} with {status or 'no status'}"
    if number == 429:
        raise Outage(f"{what}: {words} (429)")
    if response.is_redirect:
        raise Misconfigured(f"{what}: {words}, a redirect: correct `device_url` and `ticket_url`")
    if 400 <= number < 500 and number != 408:
        mend = "the API key is wrong, or was withdrawn: set a new one and restart the bridge"
        if number not in (401, 403):
            mend = "check `device_url`, `ticket_url` and `path_suffix`"
        raise Misconfigured(f"{what}: {words} ({number}): {mend}")
    raise (Unavailable if number == 503 and not known else Lost)(f"{what}: {words} ({number})")


def _status(value: object) -> str:
    """A status in the one spelling that counts; "" for what is none."""
    text = text_of(value) or ""
    word = "_".join(text.replace("-", " ").replace("_", " ").split()).upper()
    return word[:STATUS_LENGTH_MAX] if word.isprintable() else ""


def _text(value: object) -> str:
    text = text_of(value) or ""
    return " ".join(text.split())[:TEXT_LENGTH_MAX]


def _fault(body: Mapping[str, Any]) -> str:
    """The words of an error that does not come from Presence itself, but from what stands in front of it."""
    fault = body.get("fault")
    return _text(fault.get("faultstring")) if isinstance(fault, dict) else ""


def places(said: Said) -> Sequence[str]:
    """Section, row and seat of each ticket that a reply names; "" for one that names none."""
    tickets = said.message.get("tickets")
    if not isinstance(tickets, list):
        return ()
    return [_text(each.get("place")) for each in tickets if isinstance(each, dict)]


def accepted(said: Said) -> str:
    """The text of an admission: one opening, however many tickets it was for."""
    found = places(said)
    named = [place for place in found if place]
    more = f" and {len(named) - PLACES_MAX} more" if len(named) > PLACES_MAX else ""
    where = ", ".join(named[:PLACES_MAX]) + more
    if len(found) > 1:
        where = f"{len(found)} tickets: {where}" if where else f"{len(found)} tickets"
    return ": ".join(filter(None, (said.status, where)))[:TEXT_LENGTH_MAX]


def configured(said: Said) -> Configured:
    """What Presence has of a device."""
    return Configured(*(_id(said.message.get(name)) for name in ("id", "gateId", "gateName")))


def _id(value: object) -> str:
    """An id or name as it came, as text."""
    text = text_of(value) or ""
    return text if len(text) <= min(ID_LENGTH_MAX, TYPE_LENGTH_MAX) and clean(text) else ""
