"""A venue made from a seed: tickets, their catalogue, and the same rows in SQLite for comparison."""

import random
import sqlite3
from pathlib import Path

import msgspec

from firmware.catalogue import Build, Catalogue
from firmware.core.ticket import Ticket

NOW_UTC_MS = 1_780_000_000_000
DAY_MS = 86_400_000
SEED = 20260501


def code_of(number: int) -> str:
    """The code of the n-th ticket: 20 characters, spread over the whole key space by the digest."""
    return f"GP{number:09d}-{number * 7919 % 99991:05d}X"


def ticket_of(number: int) -> Ticket:
    """The n-th ticket, with every field in use."""
    return Ticket(
        f"T{number:09d}",
        event="summer",
        session=f"day-{number % 3}",
        type="adult" if number % 5 else "child",
        sector=f"S{number % 40:02d}",
        valid_from_ms=NOW_UTC_MS - DAY_MS,
        valid_until_ms=NOW_UTC_MS + 10 * 365 * DAY_MS,
    )


def make_catalogue(folder: Path, count: int) -> None:
    """A catalogue of that many tickets."""
    with Build(folder, source="bench", stamp_utc_ms=NOW_UTC_MS) as build:
        for number in range(count):
            build.add(number + 1, build.digest(code_of(number)), ticket_of(number))
        build.swap()


def make_sqlite(path: Path, catalogue: Catalogue, count: int) -> None:
    """The same digests and tickets in a table with the digest as its primary key."""
    encode = msgspec.msgpack.encode
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE ticket (digest BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
    rows = sorted((catalogue.digest(code_of(n)), encode(ticket_of(n))) for n in range(count))
    connection.executemany("INSERT INTO ticket VALUES (?, ?)", rows)
    connection.commit()
    connection.close()


def sample(count: int, size: int) -> list[int]:
    """Numbers of tickets in no order, each once."""
    return random.Random(SEED).sample(range(count), size)
