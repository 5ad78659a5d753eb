"""A gate as the ledger sees it: a chain of rows, cut into batches at will, copied and put back."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Row as Line
from sqlalchemy import Table, select

from firmware import wire
from firmware.bridge.database import Database
from firmware.bridge.ledger import Ledger, Stored
from firmware.core.events import Scanned
from firmware.core.movements import Act, Movement
from firmware.core.states import Standing
from firmware.core.ticket import (
    Authority,
    Direction,
    Moment,
    Perimeter,
    Policy,
    Reentry,
    Route,
    Ticket,
    Verdict,
)
from firmware.row import Before, Began, Named, Row, Story, chain, encode, encode_began, row_id
from tests.bridge.ledgers import ledger_at
from tests.core.samples import IN, NOON_MS, OUTER

VENUE = "hall"
ACCOUNTS = ("acme", "other")
BEFORE = Before(Standing(), Named("Ready", ()), None)


class Kept(NamedTuple):
    """A row of the model."""

    number: int
    digest: bytes
    body: bytes
    code: str | None
    row: Row | None


class ModelGate:
    """`rows` are all rows, oldest first. `at_ms` is the time since the start; a row takes a second."""

    def __init__(self, name: str = "east", trusted: bool = True, began: bool = True) -> None:
        self.name, self.trusted = name, trusted
        self.rows: list[Kept] = []
        self.epoch, self.seq, self.at_ms, self.boot_ms = 0, 0, 0, NOON_MS
        self.randoms = 0
        if began:
            self.start()

    def copied(self, rows: int | None = None, name: str | None = None) -> "ModelGate":
        """The same gate as an image of its card has it, with its first rows."""
        other = copy(self)
        other.rows = list(self.rows[:rows])
        other.name = name or self.name
        last = other.rows[-1].number
        other.epoch, other.seq = last >> 32, last & 0xFFFFFFFF
        return other

    @property
    def moment(self) -> Moment:
        """Where the clock is not trusted it shows the year 1970."""
        return Moment(self.at_ms, self.boot_ms + self.at_ms if self.trusted else self.at_ms, self.trusted)

    def start(self, random: str = "", epoch: int = 0) -> Kept:
        """Another epoch."""
        self.epoch, self.seq = epoch or self.epoch + 1, 0
        self.randoms += 1
        began = Began(self.epoch, random or f"{id(self):x}{self.randoms}", "", "0.1", ())
        return self.write(Row("began", "", self.moment, text=encode_began(began)))

    def write(self, row: Row, code: str | None = None) -> Kept:
        """Append a row."""
        return self.write_bytes(encode(row), code, row)

    def write_bytes(self, body: bytes, code: str | None = None, row: Row | None = None) -> Kept:
        """Append whatever another release wrote."""
        self.seq += 1
        self.at_ms += 1000
        number = row_id(self.epoch, self.seq)
        previous = self.rows[-1].digest if self.rows else b""
        self.rows.append(Kept(number, chain(previous, number, body), body, code, row))
        return self.rows[-1]

    @property
    def next_row(self) -> int:
        return row_id(self.epoch, self.seq + 1)

    def admit(
        self,
        subject: str = "acme:t1",
        direction: Direction = IN,
        perimeters: tuple[Perimeter, ...] = (OUTER,),
        route: Route = Route(),  # noqa: B008  a frozen value
        reentry: Reentry = Reentry.NONE,
        code: str | None = "CODE",
        verdict: Verdict = Verdict.ADMITTED,
    ) -> Kept:
        """An admission that is not settled yet."""
        number, moment = self.next_row, self.moment
        movement = Movement(Act.OPENED, subject, number, direction, perimeters, moment.utc_ms)
        listed = Ticket(subject, event="gala", session="night") if ":" in subject else None
        policy = Policy("gala", reentry=reentry)
        scan = Scanned(moment, number, b"digest", subject, direction, route, policy, listed)
        story = Story(BEFORE, (Named("Scanned", tuple(scan)),), b"effects")
        return self.write(Row("scan", "north", moment, number, verdict, movement, story=story), code)

    def settle(self, admission: Kept, act: Act = Act.PASSED, kind: str = "passage") -> Kept:
        """The end of an admission."""
        assert admission.row is not None
        assert admission.row.movement is not None
        movement = admission.row.movement._replace(act=act, utc_ms=self.moment.utc_ms)
        return self.write(Row(kind, "north", self.moment, admission.number, movement=movement))

    def person(self, subject: str = "acme:t1", direction: Direction = IN, **more: object) -> Kept:
        """Somebody is admitted and walks through; the admission."""
        admission = self.admit(subject, direction, **more)  # type: ignore[arg-type]  # handed on
        self.settle(admission)
        return admission

    def batch(self, start: int = 0, stop: int | None = None, cursor: int = 0) -> wire.Journal:
        """Rows from one index to another; `cursor` is how many rows have a receipt."""
        before = self.rows[start - 1] if start else None
        confirmed = self.rows[cursor - 1] if cursor else None
        return wire.Journal(
            cursor=confirmed.number if confirmed else 0,
            cursor_digest=confirmed.digest if confirmed else b"",
            after=before.number if before else 0,
            previous=before.digest if before else b"",
            rows=tuple(wire.SentRow(kept.number, kept.body, kept.code) for kept in self.rows[start:stop]),
        )

    def receipt(self, index: int = -1) -> wire.Receipt:
        """The receipt of a row."""
        return wire.Receipt(upto=self.rows[index].number, digest=self.rows[index].digest)


class Books:
    """A ledger in a file, and what a test looks at."""

    def __init__(self, path: Path, venue: str = VENUE) -> None:
        self.database = Database(ledger_at(path))
        self.ledger = Ledger(self.database, venue, ACCOUNTS)

    def store(
        self,
        gate: ModelGate,
        start: int = 0,
        stop: int | None = None,
        cursor: int = 0,
        now_utc_ms: int = NOON_MS,
    ) -> Stored:
        """Bring some rows of a gate."""
        return self.ledger.store(gate.name, gate.batch(start, stop, cursor), now_utc_ms)

    def lines(self, table: Table) -> list[Line[tuple[object, ...]]]:
        """All of a table."""
        with self.database.look() as connection:
            return list(connection.execute(select(table).order_by(*table.primary_key)))

    def reports(self, kind: str) -> list[str]:
        """The texts of all reports of a kind."""
        return [report.text for report in self.ledger.reports(0, 10_000) if report.kind == kind]

    def kinds(self) -> list[str]:
        """The kinds of all reports."""
        return [report.kind for report in self.ledger.reports(0, 10_000)]


@contextmanager
def books(folder: Path) -> Iterator[Books]:
    """A ledger that is closed at the end."""
    found = Books(folder / "ledger.db")
    with found.database:
        yield found


VENDOR_DECIDES = Route("acme", authority=Authority.VENDOR)
