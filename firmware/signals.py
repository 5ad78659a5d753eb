"""What people see, hear and read of a verdict: lamp and buzzer as a table, the reason as one sentence."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from types import MappingProxyType
from typing import NamedTuple

from firmware.core.effects import Signal
from firmware.core.events import Scanned
from firmware.core.movements import walked_utc_ms
from firmware.core.rules import LAPSES_MAX
from firmware.core.ticket import Authority, Direction, Proof, Setup, Status, Ticket, Verdict
from hal.ports import Colour, Pattern

REASON_MAX = 200  # characters; two lines of a terminal
WORD_MAX = 40  # characters of an id in a sentence; the longest of the vendors' have 36
TEXT_MAX = 80  # characters of a vendor's own words: one line, whatever was sent
NO_TICKET = Ticket("")
# What the gate says where no vendor has spoken: the words beside it are the bridge's.
WITHOUT_VENDOR = frozenset(
    {Verdict.NO_ANSWER, Verdict.ADMITTED_OFFLINE, Verdict.NOT_CONFIGURED, Verdict.ADMITTED_CREDIT}
)


# --- lamp and buzzer ---------------------------------------------------------------------------------


class Look(NamedTuple):
    """What lamp and buzzer do. Colour is never alone: those who cannot tell red from green have the sound."""

    colour: Colour
    blink: bool
    pattern: Pattern


COME_IN = Look(Colour.GREEN, False, Pattern.SHORT)
COME_IN_BY_POLICY = Look(Colour.GREEN, True, Pattern.SHORT)  # staff can see that the list alone said no
GO_AWAY = Look(Colour.RED, False, Pattern.LONG)
OUT_OF_ORDER = Look(Colour.RED, True, Pattern.LONG)
ONCE_MORE = Look(Colour.YELLOW, False, Pattern.DOUBLE)  # the same person may try again
STAFF = Look(Colour.YELLOW, True, Pattern.LONG)  # a person has to look at it

# Two tables, because a `Verdict` and a `Signal` of the same word are equal and would share one entry.
VERDICTS: Mapping[Verdict, Look] = MappingProxyType(
    {
        Verdict.ADMITTED: COME_IN,
        Verdict.ADMITTED_CREDIT: COME_IN,
        Verdict.ADMITTED_UNSOLD: COME_IN_BY_POLICY,
        Verdict.ADMITTED_UNLISTED: COME_IN_BY_POLICY,
        Verdict.ADMITTED_OFFLINE: COME_IN_BY_POLICY,
        Verdict.FREE: COME_IN_BY_POLICY,
        Verdict.UNREADABLE: ONCE_MORE,
        Verdict.BUSY: ONCE_MORE,
        Verdict.TOO_SOON: ONCE_MORE,
        Verdict.NO_ANSWER: ONCE_MORE,
        Verdict.UNKNOWN: GO_AWAY,
        Verdict.FORGED: GO_AWAY,
        Verdict.UNLISTED: GO_AWAY,
        Verdict.CANCELLED: GO_AWAY,
        Verdict.REFUNDED: GO_AWAY,
        Verdict.BLOCKED: GO_AWAY,
        Verdict.NOT_SOLD: GO_AWAY,
        Verdict.WRONG_EVENT: GO_AWAY,
        Verdict.WRONG_SESSION: GO_AWAY,
        Verdict.WRONG_SECTOR: GO_AWAY,
        Verdict.WRONG_GATE: GO_AWAY,
        Verdict.WRONG_TYPE: GO_AWAY,
        Verdict.TOO_EARLY: GO_AWAY,
        Verdict.TOO_LATE: GO_AWAY,
        Verdict.USED: GO_AWAY,
        Verdict.NOT_INSIDE: GO_AWAY,
        Verdict.REFUSED: GO_AWAY,
        Verdict.SHUT: GO_AWAY,
        Verdict.CALL_STAFF: STAFF,
        Verdict.CATALOGUE_STALE: STAFF,
        Verdict.CLOCK_UNTRUSTED: STAFF,
        Verdict.NOT_CONFIGURED: STAFF,
        Verdict.OUT_OF_ORDER: OUT_OF_ORDER,
    }
)

SIGNALS: Mapping[Signal, Look] = MappingProxyType(
    {
        Signal.READY: Look(Colour.BLUE, False, Pattern.NONE),
        Signal.CHECKING: Look(Colour.BLUE, True, Pattern.NONE),
        Signal.GO: Look(Colour.GREEN, False, Pattern.NONE),
        Signal.FREE: Look(Colour.GREEN, True, Pattern.NONE),
        Signal.SHUT: Look(Colour.RED, False, Pattern.NONE),
        Signal.OUT_OF_ORDER: Look(Colour.RED, True, Pattern.NONE),
    }
)


def light_and_sound(show: Verdict | Signal) -> Look:
    """What lamp and buzzer do for a verdict, or for a signal until further notice."""
    return SIGNALS[show] if isinstance(show, Signal) else VERDICTS[show]


# --- the reason in words -----------------------------------------------------------------------------

WORDS: Mapping[Verdict, str] = MappingProxyType(
    {
        Verdict.ADMITTED: "admitted",
        Verdict.ADMITTED_UNSOLD: "not sold yet, admitted by policy",
        Verdict.ADMITTED_UNLISTED: "signed but not in the catalogue, admitted by policy",
        Verdict.ADMITTED_OFFLINE: "no answer from the vendor, admitted by policy",
        Verdict.ADMITTED_CREDIT: "admitted: the vendor's yes came after the last scan",
        Verdict.UNREADABLE: "unreadable",
        Verdict.CATALOGUE_STALE: "the catalogue is too old",
        Verdict.UNKNOWN: "unknown code",
        Verdict.FORGED: "the signature is not genuine",
        Verdict.UNLISTED: "signed but not in the catalogue",
        Verdict.CANCELLED: "cancelled",
        Verdict.REFUNDED: "refunded",
        Verdict.BLOCKED: "blocked",
        Verdict.NOT_SOLD: "not sold yet",
        Verdict.WRONG_EVENT: "wrong event",
        Verdict.WRONG_SESSION: "wrong session",
        Verdict.CLOCK_UNTRUSTED: "dates cannot be checked: the clock is not trusted",
        Verdict.TOO_EARLY: "too early",
        Verdict.TOO_LATE: "too late",
        Verdict.WRONG_SECTOR: "wrong sector",
        Verdict.WRONG_GATE: "wrong gate",
        Verdict.WRONG_TYPE: "wrong ticket type",
        Verdict.USED: "used",
        Verdict.TOO_SOON: "too soon",
        Verdict.NOT_INSIDE: "not inside",
        Verdict.CALL_STAFF: "call staff",
        Verdict.REFUSED: "refused by the vendor",
        Verdict.NO_ANSWER: "no answer from the vendor",
        Verdict.NOT_CONFIGURED: "the vendor is not set up at this gate",
        Verdict.BUSY: "the lane serves somebody else",
        Verdict.SHUT: "the lane is shut",
        Verdict.OUT_OF_ORDER: "the lane is out of order",
        Verdict.FREE: "the lane is free",
    }
)

FAULTS: Mapping[str, str] = MappingProxyType(  # hal.ports.Unreadable
    {
        "too_long": "the code is too long",
        "not_text": "what the reader sent is not text",
        "lost_keys": "a part of the code was lost",
    }
)


def reason(setup: Setup, scan: Scanned, verdict: Verdict, text: str, timezone: tzinfo) -> str:
    """Why a scan got its verdict: one sentence for people, at most `REASON_MAX` characters.

    `text` is the vendor's own word. Made of the facts that the core was given and nothing else, so the same
    row gives the same sentence wherever it is printed.
    """
    detail = detail_of(setup, scan, verdict, timezone)
    sentence = f"{WORDS[verdict]}: {detail}" if detail else WORDS[verdict]
    said = visible(text, TEXT_MAX)
    who = "" if verdict in WITHOUT_VENDOR else "the vendor says "
    parts = [sentence, *notes(scan, verdict), *([f'{who}"{said}"'] if said else [])]
    return visible("; ".join(parts), REASON_MAX)


def notes(scan: Scanned, verdict: Verdict) -> list[str]:
    """What was not held against an admission of the gate's own, and why it was the gate's own."""
    route = scan.route
    if route.authority is Authority.VENDOR and not route.reachable and verdict not in WITHOUT_VENDOR:
        return [f"the vendor was not asked: {route.trouble}", *_passed_over(scan, verdict)]
    return _passed_over(scan, verdict)


def _passed_over(scan: Scanned, verdict: Verdict) -> list[str]:
    asked = scan.route.authority is Authority.VENDOR and scan.route.reachable and not scan.route.check_first
    ticket = scan.ticket
    if ticket is None or scan.direction is Direction.OUT or not verdict.admits or asked:
        return []
    found = []
    dated = ticket.valid_from_ms is not None or ticket.valid_until_ms is not None
    if dated and not scan.moment.trusted:
        found.append("dates not checked: the clock is not trusted")
    if scan.stale:
        found.append("the catalogue is old")
    return found


def detail_of(setup: Setup, scan: Scanned, verdict: Verdict, timezone: tzinfo) -> str:
    """The fact that decided, where there is one to tell."""
    ticket = scan.ticket or NO_TICKET
    match verdict:
        case Verdict.UNREADABLE:
            return FAULTS.get(scan.fault, scan.fault)
        case Verdict.WRONG_EVENT if scan.proof is Proof.OTHER_EVENT and not scan.ticket:
            return "the code names another one"
        case Verdict.NOT_CONFIGURED if scan.proof is Proof.NO_KEY:
            return "no key to check signatures with came from the bridge yet"
        case Verdict.FORGED if scan.proof is Proof.LACKING:
            return "every code here must bear that of the event"
        case Verdict.WRONG_EVENT:
            return ticket_is_for(ticket.event if scan.ticket else scan.route.event)
        case Verdict.WRONG_SESSION:
            return ticket_is_for(ticket.session)
        case Verdict.WRONG_SECTOR:
            return ticket_is_for(ticket.sector)
        case Verdict.WRONG_GATE:
            return ticket_is_for(ticket.gate)
        case Verdict.WRONG_TYPE:
            return ticket_is_for(ticket.type)
        case Verdict.TOO_EARLY if ticket.valid_from_ms is not None:
            return f"valid from {date(ticket.valid_from_ms, timezone)}"
        case Verdict.TOO_LATE if ticket.valid_until_ms is not None:
            return f"valid until {date(ticket.valid_until_ms, timezone)}"
        case Verdict.USED | Verdict.TOO_SOON:
            return entered(setup, scan, verdict, timezone)
        case Verdict.NOT_CONFIGURED | Verdict.NO_ANSWER | Verdict.ADMITTED_OFFLINE:
            return scan.route.trouble
        case Verdict.CALL_STAFF if scan.history.unsure_until_utc_ms > scan.moment.utc_ms:
            return "the vendor may have used it up for an earlier scan"
        case Verdict.CALL_STAFF if scan.history.lapses >= LAPSES_MAX:
            return "the lane opened for it again and again and nobody walked"
        case _:
            return ""


def entered(setup: Setup, scan: Scanned, verdict: Verdict, timezone: tzinfo) -> str:
    """When the ticket entered, as far as this gate knows, and when it may do so again; or when it left."""
    now_ms = scan.moment.utc_ms
    if scan.direction is Direction.OUT:
        left_ms = walked_utc_ms(scan.history, setup.perimeter, Direction.OUT)
        return f"left {time(left_ms, now_ms, timezone)}" if left_ms else ""
    entered_ms = walked_utc_ms(scan.history, setup.perimeter, Direction.IN)
    if entered_ms:
        then = f"entered {time(entered_ms, now_ms, timezone)}"
        again = time(entered_ms + scan.policy.again_after_ms, now_ms, timezone)
        return f"{then}, again from {again}" if verdict is Verdict.TOO_SOON else then
    listed = scan.ticket is not None and scan.ticket.status is Status.USED
    return "the catalogue says so" if listed else ""


def ticket_is_for(word: str) -> str:
    """What the ticket names, or that it names none."""
    seen = visible(word, WORD_MAX)
    return f"ticket is for '{seen}'" if seen else "ticket names none"


# --- times and foreign words -------------------------------------------------------------------------

UNSEEN = "\N{REPLACEMENT CHARACTER}"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def local(utc_ms: int, timezone: tzinfo) -> datetime | None:
    """The time on the wall; `None` beyond the calendar."""
    try:
        return (EPOCH + timedelta(milliseconds=utc_ms)).astimezone(timezone)
    except (OverflowError, ValueError):
        return None


def date(utc_ms: int, timezone: tzinfo) -> str:
    """Day and time, with seconds where there are any."""
    there = local(utc_ms, timezone)
    if there is None:
        return "a date beyond the calendar"
    return f"{there:%Y-%m-%d %H:%M:%S}" if there.second else f"{there:%Y-%m-%d %H:%M}"


def time(utc_ms: int, now_utc_ms: int, timezone: tzinfo) -> str:
    """The time to the second, with the day where it is not today."""
    there, here = local(utc_ms, timezone), local(now_utc_ms, timezone)
    if there is None:
        return "at a date beyond the calendar"
    return f"{there:%H:%M:%S}" if here and there.date() == here.date() else f"{there:%Y-%m-%d %H:%M:%S}"


def visible(text: str, length_max: int) -> str:
    """One line of what can be seen, cut to a length: the text comes from outside."""
    start = text[: length_max + 1]
    seen = "".join(c if c.isprintable() else " " if c.isspace() else UNSEEN for c in start)
    return seen if len(seen) <= length_max else seen[: length_max - 1] + "…"
