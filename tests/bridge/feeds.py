"""What the tests of the feed share: a gate that takes its messages in, and what the ledger writes."""

from typing import Any

from sqlalchemy import Connection, Table, insert, select, update

from firmware import wire
from firmware.bridge import schema
from firmware.bridge.database import Database, take_numbers
from firmware.bridge.feed import Feed
from firmware.bridge.vendor import Listing, VendorTicket
from firmware.core.ticket import Direction
from firmware.venue_key import digest_of, keyed

KEY = b"k" * 32
ACCOUNT = "ing"


def digest(code: str) -> bytes:
    return digest_of(keyed(KEY), code)


def read_whole(feed: Feed, *tickets: VendorTicket, now_utc_ms: int = 1, account: str = ACCOUNT) -> int:
    """One run through a vendor's whole list; how many numbers it made."""
    before = feed.head()
    run = feed.begin_run(account, True, now_utc_ms)
    feed.take(run, tickets)
    feed.finish_run(run, Listing(str(now_utc_ms), True), now_utc_ms)
    return feed.head() - before


def read_delta(feed: Feed, *tickets: VendorTicket, now_utc_ms: int = 1) -> int:
    """One run through what changed; how many numbers it made."""
    before = feed.head()
    run = feed.begin_run(ACCOUNT, False, now_utc_ms)
    feed.take(run, tickets)
    feed.finish_run(run, Listing(str(now_utc_ms), False), now_utc_ms)
    return feed.head() - before


class FeedGate:
    """A gate as far as the feed is concerned: its catalogue as a dict, and the movements that it noted."""

    def __init__(self) -> None:
        self.feed = ""
        self.cursor = 0
        self.tickets: dict[bytes, wire.Listed] = {}
        self.moves: list[wire.Moved] = []
        self._building = False

    def page(self, feed: Feed) -> bool:
        """Ask once; whether there is more."""
        payload = wire.encode(feed.page(self.cursor, self.feed))
        page = wire.decode(payload, wire.CataloguePage)
        if page.after == 0:
            self.feed, self.cursor, self.tickets, self.moves = page.feed, 0, {}, []
        assert page.after == self.cursor
        self._apply(page.items)
        assert page.upto > self.cursor or not page.more, "a page that gets nowhere"
        self.cursor = page.upto
        if not page.more:
            assert page.tickets == len(self.tickets)
        return page.more

    def catch_up(self, feed: Feed) -> None:
        while self.page(feed):
            pass

    def hear(self, changes: wire.Changes) -> None:
        """Take a live message in, where nothing is missing before it."""
        changes = wire.decode(wire.encode(changes), wire.Changes)
        if (changes.feed, changes.after) == (self.feed, self.cursor):
            self._apply(changes.items)
            self.cursor = changes.upto

    def ids(self) -> dict[str, bytes]:
        return {listed.ticket_id.partition(":")[2]: code for code, listed in self.tickets.items()}

    def _apply(self, items: tuple[wire.Change, ...]) -> None:
        for item in items:
            if isinstance(item, wire.Moved):
                self.moves.append(item)
                continue
            for code, listed in list(self.tickets.items()):
                if listed.ticket_id == item.ticket_id:
                    del self.tickets[code]
            if isinstance(item, wire.Listed):
                self.tickets[item.digest] = item


class OwnGate:
    """Writes what the ledger derives from the rows of one gate of this venue."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._row = 0
        with database.transaction() as connection:
            _add(connection, schema.gate, id=1, name="north")
            _add(connection, schema.epoch, id=1, gate=1)

    def moves(self, ticket: str, direction: Direction, at_utc_ms: int) -> int:
        """A settled movement, which the vendor must be told; the number of that work."""
        self._row += 2
        subject = f"{ACCOUNT}:{ticket}"
        move = {"gate": 1, "subject": subject, "direction": direction.value, "perimeters": "outer"}
        with self._database.transaction() as connection:
            first = take_numbers(connection, 2)
            admission = {"id": first, "row": self._row, "account": ACCOUNT, "epoch": 1, "state": "settled"}
            _add(connection, schema.admission, **move, **admission, utc_ms=at_utc_ms)
            for number, act in ((first, "opened"), (first + 1, "passed")):
                known = {"row": self._row + number - first, "admission": self._row, "utc_ms": at_utc_ms}
                _add(connection, schema.movement, **move, **known, number=number, act=act, spend="opening")
            told = {"subject": subject, "account": ACCOUNT, "at_utc_ms": at_utc_ms, "state": "due"}
            _add(connection, schema.work, id=first + 1, admission=first, **told)
        return first + 1

    def opens(self, ticket: str, direction: Direction, at_utc_ms: int, late_ms: int = 0) -> None:
        """A movement that is not settled yet, and whose row came so much later."""
        self._row += 1
        move = {"gate": 1, "subject": f"{ACCOUNT}:{ticket}", "direction": direction.value, "act": "opened"}
        with self._database.transaction() as connection:
            number = take_numbers(connection, 1)
            known = {"row": self._row, "admission": self._row, "utc_ms": at_utc_ms, "perimeters": "outer"}
            _add(connection, schema.movement, **move, **known, number=number, spend="opening")
            _add(connection, schema.row, gate=1, row=self._row, received_ms=at_utc_ms + late_ms)

    def work(self, number: int, state: str, finished_ms: int = 0, result: str = "") -> None:
        """The vendor is being told of it (`claimed`), or has answered (`done`)."""
        table = schema.work
        with self._database.transaction() as connection:
            values = {"state": state, "finished_ms": finished_ms, "result": result}
            connection.execute(update(table).where(table.c.id == number).values(values))

    def tells(self, ticket: str, direction: Direction, at_utc_ms: int, done_ms: int) -> None:
        """A movement of which the vendor was told, and which it has accepted."""
        self.work(self.moves(ticket, direction, at_utc_ms), "done", done_ms, "accepted")


def noted(database: Database) -> list[tuple[str, str, int]]:
    """All foreign movements: ticket, direction, time."""
    columns = schema.movement.c
    query = select(columns.subject, columns.direction, columns.utc_ms).where(columns.gate.is_(None))
    with database.look() as connection:
        found = connection.execute(query.order_by(columns.number)).all()
    return [(row.subject.partition(":")[2], row.direction, row.utc_ms) for row in found]


def reports(database: Database) -> list[str]:
    with database.look() as connection:
        return list(connection.scalars(select(schema.report.c.text).order_by(schema.report.c.id)))


_BLANKS: dict[type, Any] = {str: "", int: 0, bytes: b"", bool: False}


def _add(connection: Connection, table: Table, **known: Any) -> None:
    """A row whose other columns are blank."""
    blanks = {c.name: _BLANKS[c.type.python_type] for c in table.c if not c.nullable}
    connection.execute(insert(table), blanks | known)
