"""What the Ingresse sandbox replies: rows, entries, look-ups, events, and how they drift."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from firmware.bridge.sandbox.history import Change, Operator, mix
from firmware.bridge.sandbox.ingresse_tickets import Event, Session, Ticket, Updated

FIRST_NAMES = ("Ana", "Bruno", "Carla", "Diego", "Elisa", "Fábio", "Gabriela", "Hugo", "Íris", "João")
LAST_NAMES = ("Almeida", "Barbosa", "Conceição", "Dias", "Esteves", "Freitas", "Gomes", "Henriques", "Leão")
TYPES = (("501", "Pista"), ("502", "Camarote"), ("503", "Arquibancada"))
PRICES = (("901", "Inteira"), ("902", "Meia-entrada"))


def person(number: int) -> dict[str, str]:
    """A person who does not exist; example.com belongs to nobody."""
    first, last = FIRST_NAMES[number % len(FIRST_NAMES)], LAST_NAMES[number // 16 % len(LAST_NAMES)]
    return {"id": str(number), "name": f"{first} {last}", "email": f"guest{number}@example.com"}


def row(ticket: Ticket) -> dict[str, object]:
    """A row of the guest list."""
    bits = mix(ticket.index)
    type_id, type_name = TYPES[bits % len(TYPES)]
    price_id, price_name = PRICES[bits >> 8 & 1]
    buyer = holder = {"id": "", "name": "", "email": ""}
    if ticket.sold:
        buyer = person(ticket.buyer)
        holder = buyer if ticket.holder == ticket.buyer else person(ticket.holder)
    return {
        "id": ticket.id,
        "code": ticket.code,
        "ticketId": type_id,
        "ticket": type_name,
        "guestTypeId": price_id,
        "type": price_name,
        "transactionId": f"T{ticket.sale}" if ticket.sold else "",
        "userId": buyer["id"],
        "name": buyer["name"],
        "email": buyer["email"],
        "holderUserId": holder["id"],
        "holderName": holder["name"],
        "holderEmail": holder["email"],
        "buyerDocument": f"{ticket.buyer:011}" if ticket.sold else "",
        "checked": "1" if ticket.inside else "0",
        "lastUpdate": str(ticket.updated_ms),
        "seatLocator": f"{bits >> 16 & 31}-{bits >> 24 & 63}" if type_name == "Camarote" else "",
        "soldOnline": "1" if ticket.online else "0",
        "refunded": bool(ticket.refunded_ms),
        "refundedAt": date_time(ticket.refunded_ms) if ticket.refunded_ms else "",
        "external": ticket.external,
        "transferred": ticket.transferred,
    }


def entry(code: str, updated: Updated) -> dict[str, object]:
    """What an update says of one ticket. `code` is the one that was asked for."""
    ticket = updated.ticket
    if ticket is None:
        return {"code": code, "status": updated.status}
    return {
        "id": ticket.id,
        "code": code,
        "status": updated.status,
        "checked": int(ticket.inside),
        "lastUpdate": ticket.updated_ms,
        "owner": owner(ticket),
        "lastCheckin": move(ticket.entered, ticket) if ticket.entered else None,
    }


def look_up(ticket: Ticket) -> dict[str, object]:
    """What a look at a ticket says, for its session."""
    last = None
    if ticket.moved:
        last = {**move(ticket.moved, ticket), "operation": ticket.moved.what}
    return {"session": dated(ticket.session), "owner": owner(ticket), "lastStatus": last}


def owner(ticket: Ticket) -> dict[str, str] | None:
    """Who has the ticket."""
    return person(ticket.holder) if ticket.sold else None


def move(change: Change, ticket: Ticket) -> dict[str, object]:
    """A check-in or check-out. The timestamp is the one that the caller gave with it."""
    return {
        "id": change.number,
        "timestamp": change.said_ms,
        "holder": owner(ticket),
        "operator": operator(change.operator),
    }


def operator(who: Operator) -> dict[str, str]:
    """Who did it."""
    return {"id": who.id, "name": who.name, "email": who.email}


def dated(session: Session) -> dict[str, object]:
    """A session in a look-up."""
    day, time = session.date_time.split("+")[0].split("T")
    return {"id": session.id, "dateTime": {"date": day, "time": time, "dateTime": session.date_time}}


def hit(event: Event) -> dict[str, object]:
    """An event of the producer search."""
    sessions = [{"id": s.id, "dateTime": s.date_time, "status": "available"} for s in event.sessions]
    return {"_source": {"id": event.id, "title": event.title, "sessions": sessions}}


def date_time(at_ms: int) -> str:
    """A time in words."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).isoformat()


# --- drift -------------------------------------------------------------------------------------------

NUMERIC = frozenset(
    {
        "id",
        "ticketId",
        "guestTypeId",
        "userId",
        "holderUserId",
        "checked",
        "lastUpdate",
        "timestamp",
        "status",
    }
)
OPTIONAL = frozenset(
    {
        *("guestTypeId", "type", "holderUserId", "holderName", "holderEmail", "buyerDocument", "seatLocator"),
        *("soldOnline", "refundedAt", "external", "transferred", "owner", "holder", "totalResults", "email"),
    }
)


def as_numbers(name: str, value: object) -> object:
    """Ids, times and marks as numbers; an empty id as null."""
    if name in NUMERIC and isinstance(value, str):
        return int(value) if value.isdigit() else value or None
    return value


def as_texts(name: str, value: object) -> object:
    """Ids, times and marks as text."""
    return str(int(value)) if name in NUMERIC and isinstance(value, int) else value


def as_booleans(name: str, value: object) -> object:
    """The mark of who is inside as true or false."""
    return value in {1, "1"} if name == "checked" else value


# What each shape does to single values. Besides, `fewer` leaves optional fields out, and `wrapper` puts what
# stands under responseData under data, and a login's reply under responseData.
SHAPES: Mapping[str, Callable[[str, object], object] | None] = {
    "numbers": as_numbers,
    "texts": as_texts,
    "booleans": as_booleans,
    "fewer": None,
    "wrapper": None,
}


def drifted(shape: str, value: object) -> object:
    """A reply in another shape."""
    change, left_out = SHAPES[shape], OPTIONAL if shape == "fewer" else frozenset()

    def walk(name: str, value: object) -> object:
        if isinstance(value, dict):
            return {key: walk(key, inner) for key, inner in value.items() if key not in left_out}
        if isinstance(value, list):
            return [walk(name, inner) for inner in value]
        return change(name, value) if change else value

    return walk("", value)
