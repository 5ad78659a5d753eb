"""Opens the ledger's database: SQLite by default, PostgreSQL by its URL. No query is for one of them.

Both work alike: one transaction that writes at a time, which waits for the one before it, and any number that
only read, each of which sees one moment. SQLite is so by nature. In PostgreSQL each writer takes one lock of
the whole ledger first: the numbers of changes have to become visible in their order anyway, so that a second
writer would wait at the end instead of at the start, and could meet another one in a deadlock.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Dialect,
    Engine,
    NullPool,
    Table,
    create_engine,
    event,
    insert,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnection

from firmware.bridge import schema
from firmware.bridge.migrations import LaterRelease, migrate

BUSY_TIMEOUT_S = 10  # another process holds the ledger: a consistent copy of a large file takes seconds
HANG_S = 20  # a bridge that hangs in the midst of its turn loses it after that: the others wait
CONNECT_S = 5  # a PostgreSQL that answers at all does so within milliseconds
STATEMENT_S = (
    60  # no statement is for more than a page or a batch; a whole list of a million takes a few of 10 s
)
# A host that lost its power says no goodbye: the other end drops its connection, and with it its locks, after
# so long without a word. TCP asks every `KEEPALIVE_S`, `KEEPALIVES` times.
KEEPALIVE_S, KEEPALIVES = 2, 2
# The same where something is on its way: TCP asks nothing then, and sends again for a quarter of an hour.
UNSEEN_MS = (KEEPALIVES + 1) * KEEPALIVE_S * 1000
WRITERS_LOCK = 0x6761_7465_706F_7374  # of PostgreSQL's advisory locks: "gatepost"
LIVES = 0x6761_7465  # the first of the two numbers of another kind of them: "gate"; the second is a life
LIVES_MAX = 1 << 31  # such a number is a whole one of 32 bits with a sign
NUMBER, VENUE = "number", "venue"
ONLY_READS = "only_reads"
INSERTS_MAX = 64  # statements that are kept: four tables, for each database that is open
NO_TURN = "no_turn"


# What a database says of the statement or its values, and would say again each time.
OF_THE_VALUES = (IntegrityError, DataError, ProgrammingError, NotSupportedError)

MEND = "see that the database runs, and whether its disk has room"
HELD = "another process holds the ledger: end what copies or opens it"
# SQLite's names of what is wrong, without what some of them have behind the second word; PostgreSQL's codes
# (appendix A of its manual).
MENDS = {
    "28000": "correct user and password in the URL, and see that pg_hba.conf lets it in",
    "28P01": "correct user and password in the URL",
    "3D000": "make that database, or correct the URL",
    "25006": "this is a copy that only reads: name the primary in the URL",
    "53100": "make room on its disk",
    "53300": "it has too many connections: raise max_connections, or end other bridges",
    "55P03": HELD,
    "SQLITE_BUSY": HELD,
    "SQLITE_CANTOPEN": "see that its folder is there, and that we may write to it",
    "SQLITE_CORRUPT": "the file is damaged: stop the bridge, and put the last copy of it back",
    "SQLITE_FULL": "make room on its disk",
    "SQLITE_IOERR": "its disk fails, or was taken away: look at the system's log",
    "SQLITE_NOTADB": "this is no ledger: check the path, or put the last copy of the file back",
    "SQLITE_READONLY": "let us write to the file and to its folder",
}


class LedgerLost(Exception):
    """The database cannot be reached, or takes nothing: try again later.

    The text names the mend, and has no password.
    """


class NeverTaken(Exception):
    """The database takes everything but this, however often it is tried. The text has no value of it."""


class ForeignLedger(Exception):
    """The ledger is another venue's; the message names the mend."""


@contextmanager
def told_by(name: str) -> Iterator[None]:
    """What goes wrong with the database of this name becomes `LedgerLost` or `NeverTaken`."""
    try:
        yield
    except NoConnection as error:
        raise LedgerLost(f"{name}: {error}: {MEND}") from error
    except DBAPIError as error:
        said = f"{name}: {_first_line(error.orig)}"  # further lines quote values
        if isinstance(error, OF_THE_VALUES) and not error.connection_invalidated:
            raise NeverTaken(said) from error
        raise LedgerLost(f"{said}: {_mend(error.orig)}") from error


class Database:
    """The ledger's database. `transaction` is the only way in: all of it or nothing, durable at its end."""

    def __init__(self, url: str, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        """Open, and bring its tables up to this release. Raises `LedgerLost`, `ForeignLedger`."""
        self._engine = _engine(url, busy_timeout_s)
        self._busy_timeout_s = busy_timeout_s
        self._turn = threading.Lock()
        self.name = self._engine.url.render_as_string(hide_password=True)
        try:
            with self.transaction() as connection:
                migrate(connection)
                if not connection.execute(_NUMBER).all():
                    connection.execute(insert(schema.state).values(name=NUMBER, value="0"))
        except LaterRelease as error:
            self.close()
            raise ForeignLedger(f"{self.name}: {error}") from error
        except NeverTaken as error:  # there is nothing of a gate in it yet
            self.close()
            raise LedgerLost(f"{error}: let this user make tables there") from error
        except BaseException:
            self.close()
            raise

    def belong_to(self, venue: str) -> None:
        """Be the ledger of this venue, and of no other from then on. Raises `ForeignLedger`, `LedgerLost`.

        Gates, tickets and reports of two venues would mix: nothing in the tables says whose they are.
        """
        with self.transaction() as connection:
            connection.execute(insert_new(connection, schema.state), {"name": VENUE, "value": venue})
            query = select(schema.state.c.value).where(schema.state.c.name == VENUE)
            known = connection.execute(query).scalar_one()
        if known != venue:
            raise ForeignLedger(
                f"{self.name}: this is the ledger of venue {known!r}, not {venue!r}: give each venue a "
                "ledger of its own"
            )

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction, which holds the write lock from its start. Raises `LedgerLost`, `NeverTaken`."""
        with self._in_turn(), self._begun(self._engine) as connection:
            yield connection

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """The threads of this process write one after the other.

        PostgreSQL lets them queue. SQLite has each look again from time to time, up to 100 ms apart, and
        takes whoever looks first: where several write all the time, one waited until its time was over.
        """
        taken = not self.shared and self._turn.acquire(timeout=self._busy_timeout_s)
        try:  # without its turn too: SQLite then says what is wrong
            yield
        finally:
            if taken:
                self._turn.release()

    @property
    def shared(self) -> bool:
        """Whether bridges of several folders work on it: so far as anybody should, in PostgreSQL only."""
        return self._engine.dialect.name == "postgresql"

    @contextmanager
    def brief(self) -> Iterator[Connection]:
        """One transaction that writes what has no change number, and in PostgreSQL waits for no writer."""
        with self._in_turn(), self._begun(self._engine.execution_options(**{NO_TURN: True})) as connection:
            yield connection

    @contextmanager
    def look(self) -> Iterator[Connection]:
        """One transaction that only reads, and waits for no writer. Raises `LedgerLost`."""
        with self._begun(self._engine.execution_options(**{ONLY_READS: True})) as connection:
            yield connection

    @contextmanager
    def _begun(self, engine: Engine) -> Iterator[Connection]:
        with told_by(self.name), engine.begin() as connection:
            yield connection

    def sign_of_life(self, life: int) -> "SignOfLife":
        """Show the others who work on this ledger that this bridge is alive, until it is closed."""
        return SignOfLife(self.name, self._engine, life)

    def close(self) -> None:
        """Close; twice is fine."""
        self._engine.dispose()

    def __enter__(self) -> "Database":
        """The database itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()


class SignOfLife:
    """A lock that PostgreSQL holds as long as this process is connected, whatever the process does.

    One that was killed loses it at once, and one that merely hangs keeps it: what that one took may still be
    carried out. Nobody's clock is asked.
    """

    def __init__(self, name: str, engine: Engine, life: int) -> None:
        """`life` is a number below `LIVES_MAX` that no other bridge has."""
        self._name = name
        self._life = life
        self._engine: Engine | None = None
        if engine.dialect.name == "postgresql":  # outside of the pool, and without the writers' turns
            self._engine = _postgresql(engine.url, CONNECT_S * 1000, poolclass=NullPool)
        self._connection: Connection | None = None

    def alive(self) -> frozenset[int] | None:
        """The lives of all who are connected, this one's among them. Raises `LedgerLost`.

        `None` where nobody can tell (SQLite): there only the processes of one machine share a ledger.
        """
        if self._engine is None:
            return None
        try:
            with told_by(self._name):
                if self._connection is None:
                    connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                    self._connection = connection
                    connection.execute(_LIVE, {"lives": LIVES, "life": self._life})
                return frozenset(self._connection.execute(_ALIVE, {"lives": LIVES}).scalars())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the lock go; twice is fine."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()  # whatever state it is in
            connection.close()

    def __enter__(self) -> "SignOfLife":
        """The sign itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()


_LIVE = text("SELECT pg_advisory_lock(:lives, :life)")
_ALIVE = text(
    "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted "
    "AND classid = :lives AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
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


def insert_new(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that passes over what is there already."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def insert_many(connection: Connection, table: Table, lines: Sequence[dict[str, Any]]) -> None:
    """Insert lines that all have the same columns.

    SQLAlchemy's own way looks at every value of every line again, which took half of the time of storing. No
    type in this schema needs that: drivers take bytes, whole numbers, texts and booleans as they are. For
    PostgreSQL its driver needs 20 µs a line then, of which COPY saves all but 2.
    """
    if not lines:
        return
    if connection.dialect.name == "postgresql":
        _copy(connection, table, lines)
        return
    sql, in_order = _insert(table, connection.dialect, tuple(lines[0]))
    connection.exec_driver_sql(sql, [in_order(line) for line in lines])


@lru_cache(INSERTS_MAX)
def _insert(
    table: Table, dialect: Dialect, columns: tuple[str, ...]
) -> tuple[str, Callable[[dict[str, Any]], Any]]:
    """The words of an INSERT, which take longer to make than a line takes to write; how values are put."""
    compiled = insert(table).compile(dialect=dialect, column_keys=list(columns))
    assert compiled.positiontup is not None, "SQLite's driver takes values by their place"
    return str(compiled), itemgetter(*compiled.positiontup)


def _copy(connection: Connection, table: Table, lines: Sequence[dict[str, Any]]) -> None:
    names = connection.dialect.identifier_preparer
    columns = ", ".join(map(names.quote, lines[0]))
    statement = f"COPY {names.format_table(table)} ({columns}) FROM STDIN"
    in_order = itemgetter(*lines[0])
    driver: Any = connection.connection.driver_connection
    errors: Any = connection.dialect.loaded_dbapi
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for line in lines:
                copy.write_row(in_order(line))
    except errors.Error as error:  # as SQLAlchemy would have raised it
        raise DBAPIError.instance(
            statement,
            None,
            error,
            errors.Error,
            hide_parameters=True,
            connection_invalidated=connection.dialect.is_disconnect(error, driver, None),
            dialect=connection.dialect,
        ) from error


def _first_line(error: BaseException | None) -> str:
    return next(iter(str(error).splitlines()), "")


def _mend(error: BaseException | None) -> str:
    name = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
    return MENDS.get(getattr(error, "sqlstate", None) or name, MEND)


def _engine(url: str, busy_timeout_s: float) -> Engine:
    busy_ms = int(busy_timeout_s * 1000)
    # An error must not show a code.
    if make_url(url).get_backend_name() == "sqlite":
        # The connection that was used last is used next: each has a cache, and those that rest keep none.
        engine = create_engine(url, pool_pre_ping=True, pool_use_lifo=True, hide_parameters=True)
        event.listen(engine, "connect", partial(_prepare_sqlite, busy_ms))
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = _postgresql(make_url(url), busy_ms, pool_pre_ping=True)
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _postgresql(url: URL, busy_ms: int, **more: Any) -> Engine:
    options = {
        "lock_timeout": busy_ms,
        "idle_in_transaction_session_timeout": HANG_S * 1000,
        "statement_timeout": STATEMENT_S * 1000,
        "synchronous_commit": "on",
        "tcp_keepalives_idle": KEEPALIVE_S,
        "tcp_keepalives_interval": KEEPALIVE_S,
        "tcp_keepalives_count": KEEPALIVES,
        "tcp_user_timeout": UNSEEN_MS,
    }
    arguments = {
        "application_name": "gatepost",
        "connect_timeout": CONNECT_S,
        "keepalives_idle": KEEPALIVE_S,
        "keepalives_interval": KEEPALIVE_S,
        "keepalives_count": KEEPALIVES,
        "tcp_user_timeout": UNSEEN_MS,
        "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
    }
    return create_engine(url, hide_parameters=True, connect_args=arguments, **more)


def _prepare_sqlite(busy_ms: int, connection: Any, _: object) -> None:
    """As the journal: a commit survives a power cut, and readers wait for nobody."""
    connection.isolation_level = None  # SQLAlchemy says when a transaction begins
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={busy_ms}",
        "foreign_keys=ON",
        "trusted_schema=OFF",
        "cache_size=-1000",  # KiB: of twice as much, a dozen threads' connections grow for ten minutes
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _begin_sqlite(connection: Connection) -> None:
    """A transaction that begins by reading could not become the writer where another one is."""
    only_reads = connection.get_execution_options().get(ONLY_READS)
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")


def _begin_postgresql(connection: Connection) -> None:
    """A look has one snapshot. A writer waits for its turn, and it sees what the one before it left."""
    if connection.get_execution_options().get(ONLY_READS):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    elif not connection.get_execution_options().get(NO_TURN):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS_LOCK})")
