"""Opens the ledger's database: SQLite by default, PostgreSQL by its URL. No query is for one of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, select, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from firmware.bridge import schema

BUSY_TIMEOUT_S = 10  # another process holds the file: a consistent copy of a large ledger takes seconds
NUMBER = "number"


class LedgerLost(Exception):
    """The database cannot be reached, or takes nothing: try again later. The text has no password."""


class Database:
    """The ledger's database. `transaction` is the only way in: all of it or nothing, durable at its end."""

    def __init__(self, url: str) -> None:
        """Open, and make the tables that are not there. Raises `LedgerLost`."""
        self._engine = _engine(url)
        self.name = self._engine.url.render_as_string(hide_password=True)
        try:
            with self.transaction() as connection:
                schema.metadata.create_all(connection)
                if not connection.execute(_NUMBER).all():
                    connection.execute(insert(schema.state).values(name=NUMBER, value="0"))
        except BaseException:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction, which holds the write lock from its start. Raises `LedgerLost`."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise LedgerLost(f"{self.name}: {error.orig}") from error
        except SQLAlchemyError as error:
            raise LedgerLost(f"{self.name}: {error}") from error

    def close(self) -> None:
        """Close; twice is fine."""
        self._engine.dispose()

    def __enter__(self) -> "Database":
        """The database itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()


_NUMBER = select(schema.state.c.value).where(schema.state.c.name == NUMBER).with_for_update()


def take_numbers(connection: Connection, count: int) -> int:
    """The first of `count` change numbers that are this transaction's own.

    The lock lasts to the end of the transaction, so numbers become visible in their order: a reader that has
    seen one has seen all before it.
    """
    last = int(connection.execute(_NUMBER).scalar_one())
    connection.execute(
        update(schema.state).where(schema.state.c.name == NUMBER).values(value=str(last + count))
    )
    return last + 1


def last_number(connection: Connection) -> int:
    """The newest change number; 0 for none."""
    return int(connection.execute(_NUMBER).scalar_one())


def _engine(url: str) -> Engine:
    engine = create_engine(url, pool_pre_ping=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    """As the journal: a commit survives a power cut, and readers wait for nobody."""
    connection.isolation_level = None  # SQLAlchemy says when a transaction begins
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={BUSY_TIMEOUT_S * 1000}",
        "foreign_keys=ON",
        "trusted_schema=OFF",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _begin_sqlite(connection: Connection) -> None:
    """A transaction that begins by reading could not become the writer where another one is."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
