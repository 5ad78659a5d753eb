"""Where the ledgers of tests are: a file for SQLite, a database for PostgreSQL."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Table, text

from firmware.bridge.database import Database
from firmware.bridge.in_time import THREAD
from tests.brokers import until
from tests.postgres import PostgreSql


class Ledgers:
    """Which of the two is tested at the moment."""

    server: PostgreSql | None = None


def ledger_at(path: Path) -> str:
    """The URL of the ledger that this file is, or stands for."""
    return Ledgers.server.url(path) if Ledgers.server else f"sqlite:///{path}"


def copy(path: Path, to: Path) -> None:
    """Copy a ledger that nobody has open. There is none in that place, and no folder for it."""
    to.parent.mkdir()
    if Ledgers.server:
        Ledgers.server.copy(path, to)
    else:
        for each in path.parent.glob(f"{path.name}*"):
            shutil.copyfile(each, to.parent / each.name)


def forget_below(folder: Path) -> None:
    """Nobody will look at the ledgers of this folder any more. Files go with it."""
    if Ledgers.server:
        Ledgers.server.forget(folder)


@contextmanager
def table_held(path: Path, table: Table) -> Iterator[None]:
    """Whoever reads or writes this table stands and waits. For PostgreSQL."""
    with Database(ledger_at(path)) as other, other.brief() as connection:
        connection.execute(text(f"LOCK TABLE {table.name} IN ACCESS EXCLUSIVE MODE"))
        yield
    until(lambda: THREAD not in {thread.name for thread in threading.enumerate()})


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process writes to the ledger, and takes its time."""
    with Database(ledger_at(path)) as other, other.transaction():
        yield
