"""The journal engines that were compared: what each must do for one scan, written as plainly as each allows.

One transaction is one scan: a row of about 400 bytes, the ticket's history, and the cursor. Contents follow
from the row number, so a checker can tell every byte. `python -m tests.powercut.engines NAME ROWS FOLDER` is
the writer for the rig.
"""

import hashlib
import os
import sqlite3
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol, cast

import lmdb

ROW_BYTES = 400
TICKETS = 20_000  # tickets that take turns; enough for a history of several hundred pages
STRIDE = 7_919  # a prime, so that neighbouring rows touch pages of the history far apart
FILL_ROWS = 1_000  # rows a transaction while a store is prepared; keeps its write-ahead log short
LMDB_MAP_BYTES = 160 << 20


def row(number: int) -> bytes:
    """The body of row `number`."""
    return hashlib.shake_128(struct.pack(">Q", number)).digest(ROW_BYTES)


def ticket(number: int) -> bytes:
    """The digest of the ticket that row `number` is about."""
    return hashlib.blake2b(struct.pack(">Q", number * STRIDE % TICKETS), digest_size=16).digest()


def history_after(count: int) -> dict[bytes, int]:
    """What the history must hold after rows 1 to `count`: ticket -> its newest row."""
    return {ticket(number): number for number in range(1, count + 1)}


class Engine(Protocol):
    """One way to keep the journal. `append` returns when row `number` is promised to survive."""

    def append(self, number: int) -> None: ...
    def fill(self, count: int) -> None: ...
    def idle(self) -> None: ...
    def contents(self) -> tuple[list[tuple[int, bytes]], dict[bytes, int], int]: ...
    def close(self) -> None: ...


class Append:
    """The floor: one file, one write, one fdatasync. No history, no index."""

    def __init__(self, folder: Path, ahead_bytes: int = 0) -> None:
        path = folder / "rows"
        fresh = not path.exists()
        self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if fresh:
            os.pwrite(self.file, bytes(ahead_bytes), 0)
            os.fsync(self.file)
            directory = os.open(folder, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)
        self.size_bytes = 8 + ROW_BYTES

    def append(self, number: int) -> None:
        os.pwrite(self.file, struct.pack(">Q", number) + row(number), (number - 1) * self.size_bytes)
        os.fdatasync(self.file)

    def fill(self, count: int) -> None:
        bodies = b"".join(struct.pack(">Q", number) + row(number) for number in range(1, count + 1))
        os.pwrite(self.file, bodies, 0)
        os.fsync(self.file)

    def idle(self) -> None:
        """Nothing is put off."""

    def contents(self) -> tuple[list[tuple[int, bytes]], dict[bytes, int], int]:
        rows: list[tuple[int, bytes]] = []
        size = self.size_bytes
        while len(got := os.pread(self.file, size, len(rows) * size)) == size:
            number = struct.unpack_from(">Q", got)[0]
            if number != len(rows) + 1 or got[8:] != row(number):
                break  # torn or not yet written: the end of the journal
            rows.append((number, got[8:]))
        return rows, history_after(len(rows)), len(rows)

    def close(self) -> None:
        os.close(self.file)


class Lmdb:
    """Three named databases in one environment."""

    def __init__(self, folder: Path, metasync: bool = True) -> None:
        self.environment = lmdb.open(str(folder), map_size=LMDB_MAP_BYTES, max_dbs=3, metasync=metasync)
        self.rows = self.environment.open_db(b"rows")
        self.history = self.environment.open_db(b"history")
        self.cursor = self.environment.open_db(b"cursor")

    def append(self, number: int) -> None:
        with self.environment.begin(write=True) as transaction:
            self.put(number, transaction)

    def put(self, number: int, transaction: lmdb.Transaction) -> None:
        key = struct.pack(">Q", number)
        transaction.put(key, row(number), db=self.rows, append=True)
        transaction.put(ticket(number), key, db=self.history)
        transaction.put(b"last", key, db=self.cursor)

    def fill(self, count: int) -> None:
        with self.environment.begin(write=True) as transaction:
            for number in range(1, count + 1):
                self.put(number, transaction)

    def idle(self) -> None:
        """Nothing is put off."""

    def contents(self) -> tuple[list[tuple[int, bytes]], dict[bytes, int], int]:
        def number_in(value: bytes) -> int:
            return cast(int, struct.unpack(">Q", value)[0])

        with self.environment.begin() as transaction:
            rows = [(number_in(key), value) for key, value in transaction.cursor(self.rows)]
            history = {key: number_in(value) for key, value in transaction.cursor(self.history)}
            return rows, history, number_in(transaction.get(b"last", bytes(8), db=self.cursor))

    def close(self) -> None:
        self.environment.close()


SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS row (number INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS history (ticket BLOB PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;
COMMIT
"""


class Sqlite:
    """Two tables and a cursor row; `pragmas` are what is being compared."""

    def __init__(self, folder: Path, *pragmas: str, wal_pages: int = 0, checkpoint_rows: int = 0) -> None:
        self.connection = sqlite3.connect(folder / "journal.db", isolation_level=None)
        self.since_checkpoint, self.checkpoint_rows = 0, checkpoint_rows
        try:
            for pragma in pragmas:
                self.connection.execute(f"PRAGMA {pragma}").fetchall()
            self.connection.executescript(SCHEMA)
            if wal_pages:
                grow_wal(self.connection, wal_pages)
        except sqlite3.Error:
            self.connection.close()
            raise

    def append(self, number: int) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.put(number)
        self.connection.execute("COMMIT")
        self.since_checkpoint += 1
        if self.checkpoint_rows and self.since_checkpoint >= self.checkpoint_rows:
            self.idle()

    def put(self, number: int) -> None:
        self.connection.execute("INSERT INTO row VALUES (?, ?)", (number, row(number)))
        self.connection.execute("INSERT OR REPLACE INTO history VALUES (?, ?)", (ticket(number), number))

    def fill(self, count: int) -> None:
        for start in range(1, count + 1, FILL_ROWS):
            self.connection.execute("BEGIN IMMEDIATE")
            for number in range(start, min(start + FILL_ROWS, count + 1)):
                self.put(number)
            self.connection.execute("COMMIT")
            self.idle()

    def idle(self) -> None:
        """Move the write-ahead log into the database; the next commit then starts the log anew."""
        self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self.since_checkpoint = 0

    def contents(self) -> tuple[list[tuple[int, bytes]], dict[bytes, int], int]:
        problems = self.connection.execute("PRAGMA integrity_check").fetchall()
        assert problems == [("ok",)], problems
        rows = self.connection.execute("SELECT number, body FROM row ORDER BY number").fetchall()
        history = dict(self.connection.execute("SELECT ticket, number FROM history").fetchall())
        return rows, history, rows[-1][0] if rows else 0

    def close(self) -> None:
        self.connection.close()


def grow_wal(connection: sqlite3.Connection, pages: int) -> None:
    """Make the write-ahead log `pages` long and leave that many free pages inside the database."""
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.execute("CREATE TABLE filler (space BLOB)")
    connection.execute("INSERT INTO filler VALUES (zeroblob(?))", (pages * size,))
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    connection.execute("DROP TABLE filler")
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


WAL_PAGES = 2_000  # 8 MB: about 600 scans of three pages each between two checkpoints
WAL_FULL = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "wal_autocheckpoint=0",
    f"journal_size_limit={WAL_PAGES * 4096}",
    "cell_size_check=ON",
)
CHECKPOINT_ROWS = 200  # what the writer lets pile up before it checkpoints without waiting for an idle moment


@contextmanager
def opened(name: str, folder: Path, checkpoint_rows: int = CHECKPOINT_ROWS) -> Iterator[Engine]:
    """The engine called `name`, in `folder`; with `checkpoint_rows` 0 the caller says when it is idle."""
    wal = {"wal_pages": WAL_PAGES, "checkpoint_rows": checkpoint_rows}
    build: dict[str, Callable[[], Engine]] = {
        "append": lambda: Append(folder),
        "append-ahead": lambda: Append(folder, ahead_bytes=16 << 20),
        "lmdb": lambda: Lmdb(folder),
        "lmdb-metasync-off": lambda: Lmdb(folder, metasync=False),
        "wal-full": lambda: Sqlite(folder, *WAL_FULL, **wal),
        "wal-full-1024": lambda: Sqlite(folder, "page_size=1024", *WAL_FULL, **wal),
        "wal-full-8192": lambda: Sqlite(folder, "page_size=8192", *WAL_FULL, **wal),
        "wal-full-auto": lambda: Sqlite(folder, "journal_mode=WAL", "synchronous=FULL"),
        "wal-normal": lambda: Sqlite(folder, "journal_mode=WAL", "synchronous=NORMAL"),
        "delete-full": lambda: Sqlite(folder, "journal_mode=DELETE", "synchronous=FULL"),
        "persist-full": lambda: Sqlite(folder, "journal_mode=PERSIST", "synchronous=FULL"),
        "truncate-full": lambda: Sqlite(folder, "journal_mode=TRUNCATE", "synchronous=FULL"),
    }
    if name not in build:
        raise SystemExit(f"no engine {name!r}; there are {', '.join(build)}")
    with closing(build[name]()) as engine:
        yield engine


NAMES = (
    "append",
    "append-ahead",
    "lmdb",
    "lmdb-metasync-off",
    "wal-full",
    "wal-full-1024",
    "wal-full-8192",
    "wal-full-auto",
    "wal-normal",
    "delete-full",
    "persist-full",
    "truncate-full",
)


def check(name: str, folder: Path, acknowledged: int) -> str | None:
    """What is wrong with the rescued store; notes the time to open it beside it, as `recovery_ms`."""
    begin = time.perf_counter()
    if name.startswith("lmdb"):
        (folder / "lock.mdb").unlink(missing_ok=True)  # never trusted from before the cut
        engine: Engine = Lmdb(folder)
    elif name.startswith("append"):
        engine = Append(folder)
    else:
        engine = Sqlite(folder)
    with closing(engine):
        if isinstance(engine, Sqlite):
            engine.connection.execute("SELECT max(number) FROM row").fetchone()
        (folder.parent / "recovery_ms").write_text(str((time.perf_counter() - begin) * 1000))
        rows, history, cursor = engine.contents()
    if len(rows) < acknowledged:
        return f"lost: {acknowledged} acknowledged, {len(rows)} found"
    if [number for number, _ in rows] != list(range(1, len(rows) + 1)):
        return "rows are missing in the middle"
    if any(body != row(number) for number, body in rows):
        return "a row holds other bytes than were written"
    if cursor != len(rows) or history != history_after(len(rows)):
        return "rows, history and cursor disagree"
    return None


def main() -> None:
    """Write rows until told to stop, waiting for the rig after each acknowledgement."""
    name, rows, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    with opened(name, folder) as engine:
        for number in range(rows + 1):
            if number:
                engine.append(number)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            sys.stdin.readline()
        os._exit(0)  # no tidy close: the last connection would otherwise fold the write-ahead log away


if __name__ == "__main__":
    main()
