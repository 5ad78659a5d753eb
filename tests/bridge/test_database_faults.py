"""What the ledger's database may answer: that it is lost, with the mend, or that it takes all but this."""

import resource
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, NullPool, create_engine, insert, make_url, select
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
)

from firmware import wire
from firmware.bridge import schema
from firmware.bridge.database import (
    HANG_S,
    MEND,
    Database,
    ForeignLedger,
    LedgerLost,
    NeverTaken,
    insert_many,
    take_numbers,
)
from firmware.bridge.relay import IDLE_S
from tests.bridge.ledgers import ledger_at
from tests.bridge.relays import TapeSession, desk, topic
from tests.bridge.test_relay import batch, gate_of

ROW_BYTES = 1_000_000  # more than what SQLite has room for without a larger file


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.db'}"


def write(connection: Connection) -> None:
    connection.execute(insert(schema.state), {"name": "much", "value": "x" * ROW_BYTES})


def full(database: Database) -> None:
    with database.transaction() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1")
        write(connection)


def broken_disk(database: Database) -> None:
    with no_file_grows(), database.transaction() as connection:
        write(connection)


@contextmanager
def no_file_grows() -> Iterator[None]:
    """What a disk with a fault says, as far as SQLite is concerned: a write fails, and not for room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def read_only(database: Database) -> None:
    with database.transaction() as connection:
        connection.exec_driver_sql("PRAGMA query_only=ON")
        write(connection)


@pytest.mark.parametrize(
    ("fails", "told"),
    [
        (full, "database or disk is full: make room on its disk"),
        (broken_disk, "disk I/O error: its disk fails, or was taken away: look at the system's log"),
        (read_only, "attempt to write a readonly database: let us write to the file and to its folder"),
    ],
)
def test_a_database_that_takes_nothing_is_lost_and_the_mend_is_named(
    tmp_path: Path, fails: Callable[[Database], None], told: str
) -> None:
    with Database(url(tmp_path)) as database, pytest.raises(LedgerLost) as lost:
        fails(database)
    assert str(lost.value) == f"{url(tmp_path)}: {told}"


def test_a_file_that_is_damaged_is_lost_and_the_mend_is_named(tmp_path: Path) -> None:
    with Database(url(tmp_path)):
        pass
    with (tmp_path / "ledger.db").open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with pytest.raises(LedgerLost, match="malformed: the file is damaged: stop the bridge, and put the last"):
        Database(url(tmp_path))


def test_a_file_that_is_no_database_is_lost_and_the_mend_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("not of this kind" * 1000)
    with pytest.raises(LedgerLost, match="file is not a database: this is no ledger: check the path"):
        Database(url(tmp_path))


def test_a_folder_that_is_not_there_is_named_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(LedgerLost, match="unable to open database file: see that its folder is there"):
        Database(url(tmp_path / "none"))


def test_a_row_that_the_database_never_takes_is_no_lost_ledger(tmp_path: Path) -> None:
    line = {"name": "once", "value": "secret"}
    with Database(url(tmp_path)) as database:
        with (
            pytest.raises(NeverTaken, match="UNIQUE constraint failed") as refused,
            database.transaction() as c,
        ):
            c.execute(insert(schema.state), [line, line])
        assert "secret" not in f"{refused.value} {refused.value.__cause__}"
        with database.transaction() as connection:
            connection.execute(insert(schema.state), line)


def _error(kind: type[DBAPIError], *, cut: bool = False) -> DBAPIError:
    return kind("INSERT", {}, Exception("first\nDETAIL: secret"), connection_invalidated=cut)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (_error(OperationalError), LedgerLost),
        (_error(InterfaceError), LedgerLost),
        (_error(InternalError), LedgerLost),  # PostgreSQL: a standby that became no primary only reads
        (_error(IntegrityError), NeverTaken),
        (_error(DataError), NeverTaken),
        (_error(ProgrammingError), NeverTaken),
        (_error(ProgrammingError, cut=True), LedgerLost),
    ],
)
def test_whatever_the_driver_calls_it_what_is_to_be_tried_again_is_told_apart(
    tmp_path: Path, error: DBAPIError, kind: type[Exception]
) -> None:
    with Database(url(tmp_path)) as database, pytest.raises(kind) as told, database.transaction():
        raise error
    mend = f": {MEND}" if kind is LedgerLost else ""
    assert str(told.value) == f"{url(tmp_path)}: first{mend}"


def test_a_user_who_may_make_no_tables_is_told_so(tmp_path: Path, on_postgresql: None) -> None:
    url = make_url(ledger_at(tmp_path / "ledger.db"))
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS guest")
        connection.exec_driver_sql("CREATE ROLE guest LOGIN")
    with pytest.raises(LedgerLost, match=r"permission denied .*: let this user make tables there"):
        Database(url.set(username="guest").render_as_string(hide_password=False))


def test_a_ledger_of_a_later_release_is_left_alone(tmp_path: Path) -> None:
    Database(url(tmp_path)).close()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as file, file:
        file.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ForeignLedger, match=r"a later release .* \(step 9999\): install that release"):
        Database(url(tmp_path))


@pytest.mark.usefixtures("any_ledger")
def test_the_steps_to_this_release_make_the_tables_that_it_works_with(tmp_path: Path) -> None:
    Database(ledger_at(tmp_path / "ledger.db")).close()
    engine = create_engine(ledger_at(tmp_path / "ledger.db"), poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


@pytest.mark.usefixtures("any_ledger")
def test_lines_that_are_inserted_at_once_are_refused_as_any_other(tmp_path: Path) -> None:
    line = {"kind": "odd", "key": "1", "text": "a\tb\\n\n\\N", "at_ms": 1}
    with Database(ledger_at(tmp_path / "ledger.db")) as database:
        for _ in range(2):
            with pytest.raises(NeverTaken), database.transaction() as connection:
                insert_many(connection, schema.report, [line, line])
        with database.transaction() as connection:
            insert_many(connection, schema.report, [line, {**line, "key": "2", "text": ""}])
        with database.look() as connection:
            query = select(schema.report.c.text).order_by(schema.report.c.key)
            assert connection.execute(query).scalars().all() == [line["text"], ""]


def cut_off_and_insert(database: Database, line: dict[str, object]) -> None:
    with database.transaction() as connection:
        own = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with database.look() as other:
            other.exec_driver_sql(f"SELECT pg_terminate_backend({own}, 10000)")
        insert_many(connection, schema.report, [line])


def test_a_server_that_ends_in_the_midst_of_lines_is_lost_and_found_again(
    tmp_path: Path, on_postgresql: None
) -> None:
    line: dict[str, object] = {"kind": "odd", "key": "1", "text": "", "at_ms": 1}
    with Database(ledger_at(tmp_path / "ledger.db")) as database:
        with pytest.raises(LedgerLost):
            cut_off_and_insert(database, line)
        with database.transaction() as connection:
            insert_many(connection, schema.report, [line])


def stand_still_in_its_turn(database: Database, other: Database) -> None:
    with database.transaction() as connection:
        insert_many(connection, schema.report, [{"kind": "a", "key": "1", "text": "", "at_ms": 1}])
        found = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar_one()
        assert found == f"{HANG_S}s"
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 200")
        with other.transaction() as theirs:
            insert_many(theirs, schema.report, [{"kind": "b", "key": "1", "text": "", "at_ms": 1}])
        insert_many(connection, schema.report, [{"kind": "a", "key": "2", "text": "", "at_ms": 1}])


def test_a_bridge_that_hangs_in_its_turn_loses_it_and_the_others_go_on(
    tmp_path: Path, on_postgresql: None
) -> None:
    url = ledger_at(tmp_path / "ledger.db")
    with Database(url) as hanging, Database(url, busy_timeout_s=60) as other:
        with pytest.raises(LedgerLost):
            stand_still_in_its_turn(hanging, other)
        with other.look() as connection:
            assert connection.execute(select(schema.report.c.kind)).scalars().all() == ["b"]


@pytest.mark.usefixtures("on_postgresql")
def test_a_network_that_swallows_a_statement_ends_it_within_seconds_at_both_ends(tmp_path: Path) -> None:
    with Database(ledger_at(tmp_path / "ledger.db")) as database, database.look() as connection:
        driver: Any = connection.connection.driver_connection
        agreed = driver.info.get_parameters()
    assert agreed["tcp_user_timeout"] == "6000"
    assert "-c tcp_user_timeout=6000" in agreed["options"]


def test_a_lost_transaction_leaves_the_database_usable(tmp_path: Path) -> None:
    with Database(url(tmp_path)) as database:
        with pytest.raises(LedgerLost):
            broken_disk(database)
        with database.look() as connection:
            assert "much" not in connection.scalars(select(schema.state.c.name)).all()


def test_writers_of_one_process_take_turns_and_one_that_fails_gives_its_turn_on(tmp_path: Path) -> None:
    threads, times = 4, 10
    with Database(ledger_at(tmp_path / "ledger.db")) as database, ThreadPoolExecutor(threads) as pool:

        def fail() -> None:
            with database.transaction() as connection:
                take_numbers(connection, 1)
                raise KeyError

        def count(_: int) -> None:
            for _ in range(times):
                with pytest.raises(KeyError):
                    fail()
                with database.transaction() as connection:
                    take_numbers(connection, 1)

        list(pool.map(count, range(threads)))
        with database.transaction() as connection:
            assert take_numbers(connection, 1) == threads * times + 1
        assert not database._turn.locked()


def test_rows_that_the_database_never_takes_hold_up_no_other_gate(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        line = TapeSession()
        at.relay.connected(line.session)
        with at.database.transaction() as connection:
            connection.exec_driver_sql(
                "CREATE TRIGGER refusal BEFORE INSERT ON gate WHEN new.name = 'bad' "
                "BEGIN SELECT RAISE(ABORT, 'never'); END"
            )
        for name in ("a", "bad", "c"):
            line.bring(at.relay, topic(wire.JOURNAL, name), batch(gate_of(name)))
        assert (at.store(), at.store()) == (0.0, IDLE_S)
        tape = ["acknowledged 1", "a/receipt", "acknowledged 2", "acknowledged 3", "c/receipt"]
        assert line.link.tape == tape
        (said,) = at.relay.odd.news()
        assert said.startswith("rows of gate bad were not taken: ")
        assert "never" in said
