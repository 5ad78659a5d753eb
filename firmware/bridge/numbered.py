"""Tickets and movements in the order of their numbers, as the items of a message."""

from heapq import merge
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, exists, or_, select

from firmware import wire
from firmware.bridge import schema
from firmware.core.movements import Act
from firmware.core.ticket import Direction, Perimeter, Spend, Status

HEAD_BYTES = 1024  # of a message, besides its items: the feed's name, the mark of the key, seven numbers

# What is here so soon after it happened was told to the other gates too: the network was up, and who was away
# asks for pages. What comes later may be of a gate that told nobody and never will, because its card is out.
# Rows are here within a second, or five in a rush, and in a quarter of a minute nobody changes a card.
TOLD_MS = 15_000

_ticket, _movement, _row = schema.ticket.c, schema.movement.c, schema.row.c
_TICKETS = select(
    _ticket.number,
    _ticket.gone,
    _ticket.ticket_id,
    _ticket.digest,
    _ticket.status,
    _ticket.event,
    _ticket.session,
    _ticket.type,
    _ticket.sector,
    _ticket.gate,
    _ticket.valid_from_ms,
    _ticket.valid_until_ms,
)
_MOVEMENTS = select(
    _movement.number,
    schema.gate.c.name,
    _movement.row,
    _movement.digest,
    _movement.admission,
    _movement.act,
    _movement.subject,
    _movement.direction,
    _movement.perimeters,
    _movement.utc_ms,
    _movement.spend,
    _movement.until_utc_ms,
).select_from(schema.movement.outerjoin(schema.gate))

_CAME_LATE = exists().where(
    _row.gate == _movement.gate,
    _row.row == _movement.row,
    _row.digest == _movement.digest,
    ~(_row.received_ms - _movement.utc_ms).between(-TOLD_MS, TOLD_MS),  # also where a clock is wrong
)
_encode = msgspec.msgpack.Encoder().encode
_check = msgspec.msgpack.Decoder(wire.Change).decode


class Window(NamedTuple):
    """What one message takes of the rows after a number; `upto` is the last one that was looked at."""

    items: tuple[wire.Change, ...]
    upto: int
    more: bool


def window(connection: Connection, after: int, head: int, *, live: bool) -> Window:
    """Rows after a number up to `head`, `ITEMS_MAX` of them at most, and what fits into one payload.

    With `live`, movements that gates have told each other are left out. A list that begins at 0 leaves out
    tickets that are gone. So is what a ledger of an older release holds and no gate would take: it would make
    all of the message unfit, for every gate, for ever.
    """
    most = wire.ITEMS_MAX + 1  # one more tells whether there is more
    tickets = _TICKETS.where(_ticket.number > after, _ticket.number <= head).order_by(_ticket.number)
    moves = _MOVEMENTS.where(_movement.number > after, _movement.number <= head).order_by(_movement.number)
    if live:
        moves = moves.where(or_(_movement.gate.is_(None), _CAME_LATE))
    numbered = merge(
        ((row[0], _listed, row) for row in connection.execute(tickets.limit(most))),
        ((row[0], _moved, row) for row in connection.execute(moves.limit(most))),
        key=itemgetter(0),
    )
    items: list[wire.Change] = []
    upto, size = after, HEAD_BYTES
    for looked, (number, made, row) in enumerate(numbered):
        item = made(row)
        wanted = after > 0 or not isinstance(item, wire.Gone)
        if wanted:
            sent = _encode(item)
            wanted = _is_fit(sent)
            size += len(sent) if wanted else 0
        if looked == wire.ITEMS_MAX or size > wire.PAYLOAD_BYTES_MAX:
            return Window(tuple(items), upto, more=True)
        if wanted:
            items.append(item)
        upto = number
    return Window(tuple(items), max(head, after), more=False)


def _is_fit(sent: bytes) -> bool:
    try:
        _check(sent)
    except msgspec.ValidationError:
        return False
    return True


def _listed(row: Any) -> wire.Change:
    _, gone, ticket_id, digest, status, *rest = row
    return wire.Gone(ticket_id) if gone else wire.Listed(digest, ticket_id, Status(status), *rest)


def _moved(row: Any) -> wire.Change:
    return wire.Moved(
        gate=row.name or "",
        row=row.row,
        digest=row.digest,
        admission=row.admission,
        act=Act(row.act),
        subject=row.subject,
        direction=Direction(row.direction),
        perimeters=tuple(map(Perimeter, filter(None, row.perimeters.split(",")))),
        utc_ms=row.utc_ms,
        spend=Spend(row.spend),
        until_utc_ms=row.until_utc_ms,
    )
