"""The rows of the table `ticket`: what becomes of them when a vendor lists tickets, and how they are written.

A ticket keeps its row and its code may change. A code belongs to one ticket of the venue at a time. Three
kinds of rows:

- gates have the ticket: `gone` is false;
- another ticket was listed with its code later: `gone`, and `code` is what it is still listed with. It comes
  back with another code, or when the other one gives that code up;
- it is not in the list any more, or cannot be passed on: `gone`, and `code` is empty.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, insert, select, update

from firmware.bridge import schema
from firmware.bridge.database import take_numbers
from firmware.bridge.vendor import VendorTicket
from firmware.core.ticket import Status

TEXT_CHARACTERS_MAX = 256  # of an id or a field: `wire.Text`
CODE_CHARACTERS_MAX = 7089  # of a code: the most that a QR code holds, and a reader delivers
UTC_MS_MAX = (1 << 53) - 1  # `wire.UtcMs`


class Row(NamedTuple):
    """A row, its columns in the order of the table."""

    ticket_id: str
    account: str
    code: str
    digest: bytes
    status: str
    event: str
    session: str
    type: str
    sector: str
    gate: str
    valid_from_ms: int | None
    valid_until_ms: int | None
    inside: bool | None
    moved_utc_ms: int | None
    seen: int
    number: int
    gone: bool


# What is listed, by ticket id; `None` for a ticket that cannot be passed on.
Listed = Mapping[str, VendorTicket | None]

_EMPTY = Row(
    ticket_id="",
    account="",
    code="",
    digest=b"",
    status=Status.VALID.value,
    event="",
    session="",
    type="",
    sector="",
    gate="",
    valid_from_ms=None,
    valid_until_ms=None,
    inside=None,
    moved_utc_ms=None,
    seen=0,
    number=0,
    gone=True,
)
_COLUMNS = [schema.ticket.c[name] for name in Row._fields]
_VISIBLE = slice(Row._fields.index("digest"), Row._fields.index("valid_until_ms") + 1)
_UPDATE = (
    update(schema.ticket)
    .where(schema.ticket.c.ticket_id == bindparam("of"))
    .values({name: bindparam(name) for name in Row._fields if name != "ticket_id"})
)


def fault_of(ticket_id: str, ticket: VendorTicket) -> str:
    """Why this ticket cannot be passed on, or ""."""
    texts = (ticket_id, ticket.event, ticket.session, ticket.type, ticket.sector, ticket.gate)
    if not all(is_text(each) for each in texts):
        return f"its id or another field is longer than {TEXT_CHARACTERS_MAX} characters, or no text"
    if not is_text(ticket.code, CODE_CHARACTERS_MAX):
        return f"its code is longer than {CODE_CHARACTERS_MAX:,} characters, or no text"
    return ""


def is_text(text: str, characters_max: int = TEXT_CHARACTERS_MAX) -> bool:
    """Whether databases and messages take it. JSON can hold half of a character, and they cannot."""
    if len(text) > characters_max or "\0" in text:
        return False
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def bounded(utc_ms: int | None) -> int | None:
    """A time that messages can carry. One before 1970, or in 285,000 years, is as good as the bound."""
    return None if utc_ms is None else min(max(utc_ms, 0), UTC_MS_MAX)


def rows_where(connection: Connection, *where: ColumnElement[bool]) -> dict[str, Row]:
    """Rows by ticket id."""
    return {row[0]: Row._make(row) for row in connection.execute(select(*_COLUMNS).where(*where))}


def concerned(connection: Connection, listed: Listed) -> dict[str, Row]:
    """The rows of these tickets, and of those that have, had or want a code which changes hands."""
    rows = rows_where(connection, schema.ticket.c.ticket_id.in_(list(listed)))
    codes = set()
    for ticket_id, ticket in listed.items():
        old = rows.get(ticket_id)
        code = ticket.code if ticket else ""
        if old is None or old.gone or old.code != code:
            codes |= {code, old.code if old else ""}
    codes.discard("")
    return rows | rows_where(connection, schema.ticket.c.code.in_(list(codes))) if codes else rows


def merged(
    before: Mapping[str, Row], listed: Listed, account: str, run: int, digest: Callable[[str], bytes]
) -> dict[str, Row]:
    """What becomes of the concerned rows. Whoever is newly listed with a code has it."""
    rows = dict(before)
    owners = {row.code: row.ticket_id for row in rows.values() if not row.gone}
    freed = set()
    for ticket_id, ticket in listed.items():
        old = rows.get(ticket_id)
        code = ticket.code if ticket else ""
        if old and not old.gone and old.code != code:
            del owners[old.code]
            freed.add(old.code)
        lost = old is not None and old.gone and old.code == code and code in owners
        if code and not lost:
            other = owners.get(code, ticket_id)
            if other != ticket_id:
                rows[other] = rows[other]._replace(gone=True)
            owners[code] = ticket_id
        new = _EMPTY._replace(ticket_id=ticket_id, account=account, seen=run)
        if old:  # a later run may have seen it: an older one that is slow must not make it look missed
            new = new._replace(number=old.number, seen=max(run, old.seen))
        if ticket:
            same = old is not None and old.code == code
            new = new._replace(
                code=code,
                digest=old.digest if old and same else digest(code),
                status=_status(ticket).value,
                event=ticket.event,
                session=ticket.session,
                type=ticket.type,
                sector=ticket.sector,
                gate=ticket.gate,
                valid_from_ms=bounded(ticket.valid_from_ms),
                valid_until_ms=bounded(ticket.valid_until_ms),
                inside=ticket.inside,
                moved_utc_ms=bounded(ticket.moved_utc_ms),
                gone=lost or not code,
            )
        rows[ticket_id] = new
    give_back(rows, freed)
    return rows


def _status(ticket: VendorTicket) -> Status:
    """A movement says that a ticket is used, and another one that it is not any more."""
    used = ticket.status is Status.USED and ticket.inside is not None
    return Status.VALID if used else ticket.status


def give_back(rows: dict[str, Row], freed: Collection[str]) -> None:
    """Codes that their ticket gave up go to the last one that lost it and is still listed with it."""
    owned = {row.code for row in rows.values() if not row.gone}
    heirs: dict[str, Row] = {}
    for row in rows.values():
        if row.code in freed and row.code not in owned:
            heirs[row.code] = max(row, heirs.get(row.code, row), key=lambda each: (each.seen, each.ticket_id))
    for heir in heirs.values():
        rows[heir.ticket_id] = heir._replace(gone=False)


class Stored(NamedTuple):
    """The highest number made, 0 for none, and how many more tickets gates have of each account."""

    highest: int
    more: Mapping[str, int]


def store(
    connection: Connection,
    before: Mapping[str, Row],
    after: Mapping[str, Row],
    moves: Iterable[dict[str, Any]],
) -> Stored:
    """Write what differs. What gates see of it, and the movements, get numbers."""
    moves = list(moves)
    changed = [i for i, row in after.items() if _seen_by_gates(row) != _seen_by_gates(before.get(i))]
    count = len(changed) + len(moves)
    first = take_numbers(connection, count) if count else 0
    rows = dict(after)
    for number, ticket_id in enumerate(changed, first):
        rows[ticket_id] = rows[ticket_id]._replace(number=number)
    _write(connection, before, rows)
    if moves:
        numbered = enumerate(moves, first + len(changed))
        connection.execute(insert(schema.movement), [{**move, "number": n, "row": n} for n, move in numbered])
    more = Counter(row.account for row in rows.values() if not row.gone)
    more.subtract(row.account for row in before.values() if not row.gone)
    return Stored(first + count - 1 if count else 0, more)


def _seen_by_gates(row: Row | None) -> object:
    return None if row is None or row.gone else row[_VISIBLE]


def _write(connection: Connection, before: Mapping[str, Row], after: Mapping[str, Row]) -> None:
    """Most rows differ in nothing but the run that saw them: one statement is for all of those."""
    new, different, seen = [], [], defaultdict(list)
    for ticket_id, row in after.items():
        old = before.get(ticket_id)
        if old is None:
            new.append(row._asdict())
        elif row == old:
            continue
        elif row == old._replace(seen=row.seen):
            seen[row.seen].append(ticket_id)
        else:
            different.append({**row._asdict(), "of": ticket_id})
    if new:
        connection.execute(insert(schema.ticket), new)
    for run, ids in seen.items():
        connection.execute(update(schema.ticket).where(schema.ticket.c.ticket_id.in_(ids)).values(seen=run))
    if different:
        connection.execute(_UPDATE, different)
