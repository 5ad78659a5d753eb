"""The journal's file: rows, clear codes and histories in one SQLite database, one writer, many readers.

SQLite in WAL mode with `synchronous=FULL` was chosen by measurement (tests/powercut/FIGURES.md): no
acknowledged row lost in any simulated power cut, and one flush a commit as long as the log is kept and
written over. So checkpoints are made by the writer when it is idle, never by chance inside a commit.

Space for `RESERVED_ROWS` more rows is kept inside the database (free pages that are really written) and
inside the log, so a disk that others fill to the last byte does not stop the gate.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Self

from firmware.row import chain

RESERVED_ROWS = 50_000  # a full house through one gate, on a night when nobody frees the disk
PAGE_BYTES = 4096
ROWS_A_PAGE = 6  # measured: a row of 400 bytes with its code and its share of the history
LOG_PAGES = 2_000  # 8 MiB of log, written once and then written over: about 600 commits between checkpoints
CHECKPOINT_ROWS = 200  # rows in the log that make a checkpoint worth its flushes, in an idle moment
CHECKPOINT_ROWS_MAX = 500  # and with this many it cannot wait for one: three pages each, and the log is full
QUICK_CHECK_BYTES_MAX = 128 << 20  # checking takes about a second a GiB here and 20 s on a slow card
TAIL_ROWS = 200  # rows at the end whose chain is proved at every start
FILLER_BYTES = 1 << 20
BUSY_TIMEOUT_S = 2  # a reader that blocks the writer for longer than this is a fault worth saying

SCHEMA = """
CREATE TABLE IF NOT EXISTS row (id INTEGER PRIMARY KEY, body BLOB NOT NULL, digest BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS code (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS history (subject TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class Unwritable(Exception):
    """The disk does not take rows: full, failing or read-only. Nothing of the batch was written."""


class Damaged(Exception):
    """The file is not a journal that can be read."""


class Entry(NamedTuple):
    """What one row puts into the file. `subject` and `history` belong together, both empty or neither."""

    id: int
    body: bytes
    code: str
    subject: str
    history: bytes


class Stored(NamedTuple):
    """A row as it lies in the file. `code` is `None` where there was none, or after its receipt."""

    id: int
    body: bytes
    digest: bytes
    code: str | None


class Rows:
    """The one writer. Raises `Damaged` where the file is no journal, `Unwritable` where it takes no rows."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "journal.db"
        fresh = not self._path.exists()
        try:
            self._connection = _connect(self._path)
        except sqlite3.DatabaseError as error:
            raise _fault(error) from error
        # Closing the last connection removes the log, and its space might be taken by others. A read-only
        # connection that is closed last leaves it where it is.
        self._keeper: sqlite3.Connection | None = None
        try:
            self._prepare(fresh)
        except BaseException as error:
            self._connection.close()
            if isinstance(error, sqlite3.DatabaseError):
                raise _fault(error) from error
            raise

    def _prepare(self, fresh: bool) -> None:
        self._connection.executescript(SCHEMA)
        self._check()
        if fresh:
            sync_folder(self._path.parent)
            sync_folder(self._path.parent.parent)
        found = self._connection.execute("SELECT id, digest FROM row ORDER BY id DESC LIMIT 1").fetchone()
        self.last_id: int = found[0] if found else 0
        self.last_digest: bytes = found[1] if found else b""
        self.in_log = 0
        self._keeper = open_read_only(self._path.parent)

    def _check(self) -> None:
        """Raise `Damaged` where a page or the chain's end is not what was written."""
        if self._path.stat().st_size <= QUICK_CHECK_BYTES_MAX:
            (found,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise Damaged(f"{self._path}: {found}")
        query = "SELECT id, body, digest FROM row ORDER BY id DESC LIMIT ?"
        rows = self._connection.execute(query, (TAIL_ROWS,)).fetchall()
        for (row, body, digest), (_, _, before) in pairwise(rows):
            if chain(before, body) != digest and row > self.retained_from:
                raise Damaged(f"{self._path}: row {row} does not follow from the row before it")

    @property
    def retained_from(self) -> int:
        """The first row that retention has not dropped; the chain before it is incomplete."""
        return self._meta("retained_from")

    @property
    def receipt(self) -> int:
        """The last row that the bridge has confirmed; 0 for none."""
        return self._meta("receipt")

    def append(self, entries: Sequence[Entry]) -> None:
        """Write the rows in one transaction; when this returns they survive a power cut."""
        digest = self.last_digest
        rows, codes, histories = [], [], {}
        for entry in entries:
            digest = chain(digest, entry.body)
            rows.append((entry.id, entry.body, digest))
            if entry.code:
                codes.append((entry.id, entry.code))
            if entry.subject:
                histories[entry.subject] = entry.history
        self._write(rows, codes, list(histories.items()))
        self.last_id, self.last_digest = entries[-1].id, digest
        self.in_log += len(entries)

    def _write(
        self,
        rows: list[tuple[int, bytes, bytes]],
        codes: list[tuple[int, str]],
        histories: list[tuple[str, bytes]],
    ) -> None:
        execute, executemany = self._connection.execute, self._connection.executemany
        try:
            execute("BEGIN IMMEDIATE")
            executemany("INSERT INTO row VALUES (?, ?, ?)", rows)
            if codes:
                executemany("INSERT INTO code VALUES (?, ?)", codes)
            if histories:
                executemany("INSERT OR REPLACE INTO history VALUES (?, ?)", histories)
            execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._roll_back()
            raise Unwritable(f"{self._path}: {error}") from error

    def confirm(self, upto: int) -> None:
        """The bridge has every row up to this one: forget their clear codes. The chain is untouched."""
        if upto <= self.receipt:
            return
        self._change(
            ("DELETE FROM code WHERE id <= ?", (upto,)),
            ("INSERT OR REPLACE INTO meta VALUES ('receipt', ?)", (upto,)),
        )

    def forget(self, before: int) -> None:
        """Drop the rows below this one, but the first of its epoch, which holds the epoch's settings."""
        began = before >> 32 << 32 | 1
        self._change(
            ("DELETE FROM code WHERE id < ? AND id <> ?", (before, began)),
            ("DELETE FROM row WHERE id < ? AND id <> ?", (before, began)),
            ("INSERT OR REPLACE INTO meta VALUES ('retained_from', ?)", (before,)),
        )

    def adopt(self, histories: Iterator[tuple[str, bytes]]) -> int:
        """Take over histories that another store kept; returns how many."""
        taken = list(histories)
        self._write([], [], taken)
        return len(taken)

    def oldest(self, limit: int) -> list[tuple[int, bytes]]:
        """The first rows that are still there, for retention to look at."""
        query = "SELECT id, body FROM row WHERE id >= ? ORDER BY id LIMIT ?"
        return self._connection.execute(query, (self.retained_from, limit)).fetchall()

    def used_bytes(self) -> int:
        """What rows, codes and histories take, reserved space not counted."""
        pages = self._number("page_count") - self._number("freelist_count")
        return pages * PAGE_BYTES

    def reserve(self) -> None:
        """Make sure that there is room for `RESERVED_ROWS` rows, even if the disk fills up."""
        missing = RESERVED_ROWS // ROWS_A_PAGE - self._number("freelist_count")
        try:
            if missing > 0:
                self._grow(missing)
            self._grow_log()
        except sqlite3.DatabaseError as error:
            self._roll_back()
            raise Unwritable(
                f"{self._path}: no room to reserve space for {RESERVED_ROWS} rows: {error}"
            ) from error

    def _grow(self, pages: int) -> None:
        """Free pages inside the database, really written: SQLite takes them before it grows the file."""
        execute = self._connection.execute
        execute("CREATE TABLE IF NOT EXISTS filler (space BLOB)")
        for _ in range(pages * PAGE_BYTES // FILLER_BYTES + 1):
            execute("INSERT INTO filler VALUES (zeroblob(?))", (FILLER_BYTES,))
            self.checkpoint()
        execute("PRAGMA secure_delete=OFF").fetchall()  # or the drop writes every page once more, to the log
        execute("DROP TABLE filler")
        execute("PRAGMA secure_delete=ON").fetchall()
        self.checkpoint()

    def _grow_log(self) -> None:
        log = self._path.with_name("journal.db-wal")
        if log.exists() and log.stat().st_size >= LOG_PAGES * PAGE_BYTES:
            return
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        execute("CREATE TABLE filler (space BLOB)")
        execute("INSERT INTO filler VALUES (zeroblob(?))", (LOG_PAGES * PAGE_BYTES,))
        execute("COMMIT")
        self.checkpoint()
        execute("PRAGMA secure_delete=OFF").fetchall()
        execute("DROP TABLE filler")
        execute("PRAGMA secure_delete=ON").fetchall()
        self.checkpoint()

    def checkpoint(self) -> None:
        """Move the log into the database as far as readers allow; it is then written over from its start."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.DatabaseError as error:
            raise Unwritable(f"{self._path}: {error}") from error
        self.in_log = 0

    def close(self) -> None:
        """Checkpoint and close; the log stays, so that its space stays ours."""
        with suppress(
            Unwritable
        ):  # a full or failing disk: the log holds the rows, and the next start reads it
            self.checkpoint()
        self._connection.close()
        if self._keeper is not None:
            self._keeper.close()

    def __enter__(self) -> Self:
        """The journal itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def _change(self, *statements: tuple[str, tuple[int, ...]]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for sql, values in statements:
                self._connection.execute(sql, values)
            self._connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._roll_back()
            raise Unwritable(f"{self._path}: {error}") from error

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _meta(self, name: str) -> int:
        found = self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return int(found[0]) if found else 0

    def _number(self, pragma: str) -> int:
        return int(self._connection.execute(f"PRAGMA {pragma}").fetchone()[0])


class RowReader:
    """Reads the rows beside a live gate: it takes no lock that the writer waits for."""

    def __init__(self, folder: Path) -> None:
        try:
            self._connection = open_read_only(folder)
            self._connection.execute("SELECT id FROM row LIMIT 1").fetchone()
        except sqlite3.DatabaseError as error:
            raise Damaged(f"{folder / 'journal.db'}: {error}") from error

    def after(self, row: int, limit: int) -> list[Stored]:
        """Up to `limit` rows after this one, in order."""
        query = (
            "SELECT row.id, body, digest, code.text FROM row LEFT JOIN code ON code.id = row.id"
            " WHERE row.id > ? ORDER BY row.id LIMIT ?"
        )
        return [Stored(*found) for found in self._connection.execute(query, (row, limit))]

    def backwards(self) -> Iterator[Stored]:
        """All rows, the newest first."""
        query = "SELECT id, body, digest, NULL FROM row ORDER BY id DESC"
        for found in self._connection.execute(query):
            yield Stored(*found)

    def last_id(self) -> int:
        """The newest row; 0 for none."""
        return int(self._connection.execute("SELECT coalesce(max(id), 0) FROM row").fetchone()[0])

    def retained_from(self) -> int:
        """The first row that retention has not dropped."""
        found = self._connection.execute("SELECT value FROM meta WHERE name = 'retained_from'").fetchone()
        return int(found[0]) if found else 0

    def histories(self) -> Iterator[tuple[str, bytes]]:
        """Every ticket that has a history."""
        yield from self._connection.execute("SELECT subject, value FROM history")

    def close(self) -> None:
        """Close."""
        self._connection.close()

    def __enter__(self) -> Self:
        """The reader itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()


def open_read_only(folder: Path) -> sqlite3.Connection:
    """A connection that can never write. Raises `sqlite3.OperationalError` where there is no journal."""
    path = (folder / "journal.db").absolute()
    return sqlite3.connect(
        f"{path.as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_TIMEOUT_S,
    )


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S)
    try:
        for pragma in (
            f"page_size={PAGE_BYTES}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "wal_autocheckpoint=0",
            f"journal_size_limit={LOG_PAGES * PAGE_BYTES}",
            "cell_size_check=ON",
            "trusted_schema=OFF",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except sqlite3.DatabaseError:
        connection.close()
        raise
    path.chmod(0o600)
    return connection


def sync_folder(folder: Path) -> None:
    """A new file is there after a power cut only when its folder was flushed too (fsync(2))."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _fault(error: sqlite3.DatabaseError) -> Exception:
    """A full or failing disk is no reason to set a journal aside; a file that is no journal is."""
    if isinstance(error, sqlite3.OperationalError):
        return Unwritable(str(error))
    return Damaged(str(error))
