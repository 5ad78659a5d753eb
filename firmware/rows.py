"""The journal's file: rows, clear codes and histories in one SQLite database, one writer, many readers.

SQLite in WAL mode with `synchronous=FULL` was chosen by measurement (tests/powercut/FIGURES.md): no
acknowledged row lost in any simulated power cut, and one flush a commit as long as the log is kept and
written over. So checkpoints are made by the writer when it is idle, never by chance inside a commit.

Space for `RESERVED_ROWS` more rows is kept inside the database (free pages that are really written) and
inside the log, so a disk that others fill to the last byte does not stop the gate.

What damage can take: a log that lost its end, or was overwritten in the middle, loses the rows from there
on, and SQLite takes that for the ordinary end of a log. `Remembered` tells a loss from an end.
"""

import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple, Self

from firmware import noted
from firmware.files import prove_room, sync_folder
from firmware.row import chain, epoch_and_seq, name_of, row_id

RESERVED_ROWS = 50_000  # a full house through one gate, on a night when nobody frees the disk
PAGE_BYTES = 4096
ROWS_A_PAGE = 6  # measured: 8.8 rows of 280 to 400 bytes, codes and histories included; some are longer
TOP_UP = 4  # a quarter more: topping up writes all of it anew, so it shall be due once in 18,000 rows
LOG_PAGES = 2_000  # 8 MiB of log, written once and then written over: about 600 commits between checkpoints
LOG_FRAME_BYTES = PAGE_BYTES + 24  # a page in the log has a header (sqlite.org, fileformat2, section 4.1)
CHECKPOINT_ROWS = 200  # rows in the log that make a checkpoint worth its flushes, in an idle moment
CHECKPOINT_ROWS_MAX = 500  # and with this many it cannot wait for one: three pages each, and the log is full
QUICK_CHECK_BYTES_MAX = 128 << 20  # checking takes about a second a GiB here and 20 s on a slow card
TAIL_ROWS = 200  # rows at the end whose chain is proved at every start
FILLER_BYTES = 1 << 20
SPARE_BYTES = 16 << 20  # left to the others on a disk that is nearly full; the index of histories among them
STEP_ROWS = 1000  # codes or histories in one transaction, so that a scan never waits long behind it
BUSY_TIMEOUT_S = 2  # a reader that blocks the writer for longer than this is a fault worth saying

SCHEMA = """
CREATE TABLE IF NOT EXISTS row (id INTEGER PRIMARY KEY, body BLOB NOT NULL, digest BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS code (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS history (subject TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""

# A file that holds something else than it should. Everything else that SQLite reports (full, failing,
# read-only, locked) is the disk's or the neighbour's fault, and no reason to set a journal aside.
DAMAGE = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA}
)


class Unwritable(Exception):
    """The disk does not take rows: full, failing or read-only. Nothing of the batch was written."""


class Damaged(Exception):
    """The file is not a journal that can be read."""


class Noted(NamedTuple):
    """What a row of this journal took over: the row of another gate, or the vendor's (gate "").

    It happened at `utc_ms`. `heard`: that gate told of it itself, in order, so all before it are here too.
    """

    gate: str
    row: int
    digest: bytes
    heard: bool = False
    utc_ms: int = 0


class Entry(NamedTuple):
    """What one row puts into the file. `subject` and `history` belong together, both empty or neither."""

    id: int
    body: bytes
    code: str
    subject: str
    history: bytes
    noted: Noted | None = None


class Stored(NamedTuple):
    """A row as it lies on disk. `code` is `None` where there was none, or after its receipt.

    Its bytes are asked for as bytes: one flipped bit would make a text of a blob.
    """

    id: int
    body: bytes
    digest: bytes
    code: str | None


class Rows:
    """The one writer. Raises `Damaged` where the file is no journal, `Unwritable` where it takes no rows."""

    def __init__(self, folder: Path, reserved_rows: int = RESERVED_ROWS, log_pages: int = LOG_PAGES) -> None:
        self._path = folder / "journal.db"
        self._reserved_rows = reserved_rows
        self._log_pages = log_pages
        self._condemned = folder / "condemned"
        self.in_log = 0
        self._wipe_pages = log_pages  # what of the log may hold codes; nobody knows what a last process left
        # Closing the last connection removes the log, and its space might be taken by others. A read-only
        # connection that is closed last leaves it where it is.
        self._keeper: sqlite3.Connection | None = None
        self._connection = self._connect()
        try:
            self._prepare()
        except BaseException:
            self._disconnect()
            raise

    def _connect(self) -> sqlite3.Connection:
        if self._condemned.exists():
            raise Damaged(f"{self._path}: {self._condemned.read_text(errors='replace')}")
        try:
            if not self._path.exists():
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._path.touch(0o600)  # the log gets the same mode; both hold clear codes
                sync_folder(self._path.parent)
                sync_folder(self._path.parent.parent)
            prove_room(self._path)
        except OSError as error:
            raise Unwritable(f"{self._path}: {error}") from error
        with _named(self._path):
            return sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S
            )

    def _prepare(self) -> None:
        with _named(self._path):
            for pragma in (
                f"page_size={PAGE_BYTES}",
                "journal_mode=WAL",
                "synchronous=FULL",
                "wal_autocheckpoint=0",
                f"journal_size_limit={self._log_pages * LOG_FRAME_BYTES}",
                "secure_delete=ON",
                "cell_size_check=ON",
                "trusted_schema=OFF",
            ):
                self._connection.execute(f"PRAGMA {pragma}").fetchall()
            # All or nothing: a gate may die here, and its journal is read beside it.
            self._connection.executescript(f"BEGIN; {SCHEMA} {noted.SCHEMA} COMMIT;")
            self._check()
            query = "SELECT id, CAST(digest AS BLOB) FROM row ORDER BY id DESC LIMIT 1"
            found: tuple[int, bytes] = self._connection.execute(query).fetchone() or (0, b"")
            self.last_id, self.last_digest = found
            self.receipt: int = self._meta("receipt")  # the last row that the bridge has; 0 for none
            self._keeper = open_read_only(self._path.parent)
            self._keeper.execute("SELECT count(*) FROM meta").fetchall()  # joins the log only by reading
        with suppress(Unwritable):  # a full disk: the log is read from where it is
            self.checkpoint()

    def _check(self) -> None:
        """Raise `Damaged` where a page or the chain's end is not what was written."""
        if self._path.stat().st_size <= QUICK_CHECK_BYTES_MAX:
            (found,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise Damaged(f"{self._path}: {found}")
        query = "SELECT id, CAST(body AS BLOB), CAST(digest AS BLOB), NULL FROM row ORDER BY id DESC LIMIT ?"
        tail = [Stored(*row) for row in self._connection.execute(query, (TAIL_ROWS,))][::-1]
        for at, (_, fault) in enumerate(verify(tail, self.retained_from)):
            if fault and (at or len(tail) < TAIL_ROWS):  # the row before a long tail is not looked at
                raise Damaged(f"{self._path}: {fault}")

    @property
    def retained_from(self) -> int:
        """The first row that retention has not dropped; the chain before it is incomplete."""
        return self._meta("retained_from")

    def append(self, entries: Sequence[Entry]) -> list[bytes]:
        """Write the rows in one transaction; when this returns their digests they survive a power cut."""
        try:
            return self._append(entries)
        except Unwritable:
            if not self.in_log:
                raise
            self.checkpoint()  # a log that is not allowed to grow can start anew
            return self._append(entries)

    def _append(self, entries: Sequence[Entry]) -> list[bytes]:
        digest = self.last_digest
        rows, codes, histories, names, peers = [], [], {}, [], {}
        for entry in entries:
            digest = chain(digest, entry.id, entry.body)
            rows.append((entry.id, entry.body, digest))
            if entry.code:
                codes.append((entry.id, entry.code))
            if entry.subject:
                histories[entry.subject] = entry.history
            if entry.noted is not None:
                names.append((*entry.noted[:3], entry.noted.utc_ms))
                if entry.noted.heard:
                    peers[entry.noted.gate] = entry.noted[:3]
        with self._transaction() as connection:
            (found,) = connection.execute("SELECT coalesce(max(id), 0) FROM row").fetchone()
            if found != self.last_id:
                raise Unwritable(
                    f"{self._path}: another process wrote row {name_of(found)}: stop it, and restart"
                )
            connection.executemany("INSERT INTO row VALUES (?, ?, ?)", rows)
            connection.executemany("INSERT INTO code VALUES (?, ?)", codes)
            connection.executemany("INSERT OR REPLACE INTO history VALUES (?, ?)", histories.items())
            if names:  # nothing is offered twice; were it so, that would be no reason to fail the lanes
                connection.executemany("INSERT OR IGNORE INTO noted VALUES (?, ?, ?, ?)", names)
                connection.executemany("INSERT OR REPLACE INTO peer VALUES (?, ?, ?)", peers.values())
        self.last_id, self.last_digest = entries[-1].id, digest
        self.in_log += len(entries)
        return [digest for _, _, digest in rows]

    def confirm(self, upto: int) -> None:
        """The bridge has every row up to this one: forget their clear codes. The chain is untouched.

        At most `STEP_ROWS` codes at a time: `receipt` says how far it came. What was deleted is zeroed in the
        database (`secure_delete`), but the log holds it until `wipe_log`.
        """
        if upto <= self.receipt:
            return
        query = "SELECT id FROM code WHERE id <= ? ORDER BY id LIMIT 1 OFFSET ?"
        with self._transaction() as connection:
            further = connection.execute(query, (upto, STEP_ROWS - 1)).fetchone()
            reached = further[0] if further else upto
            connection.execute("DELETE FROM code WHERE id <= ?", (reached,))
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('receipt', ?)", (reached,))
        self.receipt = reached
        self.in_log += 1

    def forget(self, before: int) -> None:
        """Drop the rows below this one, but the first of its epoch, which holds the epoch's settings.

        The newest row must stay: the next one is chained to it.
        """
        assert before <= self.last_id
        began = row_id(epoch_and_seq(before)[0], 1)
        with self._transaction() as connection:
            connection.execute("DELETE FROM code WHERE id < ?", (before,))
            connection.execute("DELETE FROM row WHERE id < ? AND id <> ?", (before, began))
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('retained_from', ?)", (before,))
        self.checkpoint()

    def forget_noted(self, keep_from_ms: int) -> bool:
        """Drop some names of movements before this time, or too many; whether any went."""
        with self._transaction() as connection:
            return noted.forget(connection.execute, keep_from_ms, noted.NOTED_MAX)

    def adopt(self, histories: Iterable[tuple[str, bytes]]) -> int:
        """Take over histories that another store kept; returns how many."""
        taken, source = 0, iter(histories)
        while step := list(islice(source, STEP_ROWS)):
            with self._transaction() as connection:
                connection.executemany("INSERT OR REPLACE INTO history VALUES (?, ?)", step)
            self.checkpoint()
            taken += len(step)
        return taken

    def oldest(self, limit: int) -> list[tuple[int, bytes]]:
        """The first rows that are still there, for retention to look at."""
        query = "SELECT id, CAST(body AS BLOB) FROM row WHERE id >= ? ORDER BY id LIMIT ?"
        with _named(self._path):
            return self._connection.execute(query, (self.retained_from, limit)).fetchall()

    def used_bytes(self) -> int:
        """What rows, codes and histories take; reserved space and names of movements not counted."""
        with _named(self._path):
            names = noted.count(self._connection.execute)
        pages = self._number("page_count") - self._number("freelist_count")
        return pages * PAGE_BYTES - names * noted.NOTED_BYTES

    def reserve(self) -> None:
        """Make sure that there is room for `reserved_rows` rows, even if the disk fills up.

        Takes what it can on a disk that is too full already, and then raises `Unwritable`.
        """
        self._drop_filler()  # a power cut may have come while one was there
        log = self._path.with_name("journal.db-wal")
        log_bytes = max(0, self._log_pages * LOG_FRAME_BYTES - (log.stat().st_size if log.exists() else 0))
        wanted, free = self._reserved_rows // ROWS_A_PAGE, self._number("freelist_count")
        room = shutil.disk_usage(self._path.parent).free - SPARE_BYTES - log_bytes
        if free < wanted and room >= PAGE_BYTES:
            more = min(wanted + wanted // TOP_UP - free, room // PAGE_BYTES)
            self._fill((free + more) * PAGE_BYTES, FILLER_BYTES)  # what is free already is taken first
        if log_bytes and room >= 0:
            self._fill_log(self._log_pages)
        free = self._number("freelist_count")
        if free < wanted or (log_bytes and room < 0):
            mend_bytes = (wanted - free) * PAGE_BYTES + SPARE_BYTES + log_bytes
            raise Unwritable(
                f"{self._path}: the disk is too full to keep room for {self._reserved_rows:,} rows, there is "
                f"room for {free * ROWS_A_PAGE:,}: free {mend_bytes >> 20} MiB, and restart"
            )

    def _fill_log(self, pages: int) -> None:
        """Write the log over with zeros, from its start."""
        self.checkpoint()
        self._fill(pages * PAGE_BYTES, pages * PAGE_BYTES)

    def _fill(self, size: int, step: int) -> None:
        """Make free pages that are really written: SQLite takes them before it grows the file."""
        try:
            for at in range(0, size, step):
                with self._transaction() as connection:
                    connection.execute("CREATE TABLE IF NOT EXISTS filler (space BLOB)")
                    connection.execute("INSERT INTO filler VALUES (zeroblob(?))", (min(step, size - at),))
                self.checkpoint()
        finally:
            self._drop_filler()

    def _drop_filler(self) -> None:
        """Give the filler's pages back. Zeros need no wiping, which would write each of them once more."""
        with _named(self._path):
            self._connection.execute("PRAGMA secure_delete=OFF").fetchall()
            try:
                self._connection.execute("DROP TABLE IF EXISTS filler")
            finally:
                self._connection.execute("PRAGMA secure_delete=ON").fetchall()
        self.checkpoint()

    def wipe_log(self) -> None:
        """Write over what the log may still hold of codes that were forgotten."""
        self.checkpoint()
        if pages := min(self._wipe_pages, self._log_pages):
            self._fill_log(pages)
        self._wipe_pages = 0

    def checkpoint(self) -> None:
        """Move the log into the database as far as readers allow; it is then written over from its start."""
        with _named(self._path):
            found = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self._wipe_pages = max(self._wipe_pages, found[1])
        self.in_log = 0

    def condemn(self, why: str) -> None:
        """Damage was met at work: the next start sets the journal aside, however long a check would take."""
        with suppress(OSError):
            self._condemned.write_text(why)

    def close(self) -> None:
        """Checkpoint and close; the log stays, so that its space stays ours."""
        if self._keeper is not None:
            with suppress(Unwritable, Damaged):  # the log holds the rows, and the next start reads it
                self.checkpoint()
        self._disconnect()

    def _disconnect(self) -> None:
        self._connection.close()
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    def __enter__(self) -> Self:
        """The journal itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing, safe on disk at the end."""
        with _named(self._path):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                raise

    def _meta(self, name: str) -> int:
        return _meta(self._connection, self._path, name)

    def _number(self, pragma: str) -> int:
        with _named(self._path):
            return int(self._connection.execute(f"PRAGMA {pragma}").fetchone()[0])


class RowReader:
    """Reads the rows beside a live gate: it takes no lock that the writer waits for. Raises `Damaged`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "journal.db"
        with _named(self._path):
            self._connection = open_read_only(folder)
            try:
                self._connection.execute("SELECT id FROM row LIMIT 1").fetchall()
            except BaseException:
                self._connection.close()
                raise

    def after(self, row: int, limit: int) -> list[Stored]:
        """Up to `limit` rows after this one, in order."""
        query = (
            "SELECT row.id, CAST(body AS BLOB), CAST(digest AS BLOB), code.text"
            " FROM row LEFT JOIN code ON code.id = row.id WHERE row.id > ? ORDER BY row.id LIMIT ?"
        )
        with _named(self._path):
            return [Stored(*found) for found in self._connection.execute(query, (row, limit))]

    def all(self) -> Iterator[Stored]:
        """All rows, the oldest first; in steps, because the log grows behind a snapshot that is held."""
        last = 0
        while found := self.after(last, STEP_ROWS):
            yield from found
            last = found[-1].id

    def newest(self, limit: int) -> list[Stored]:
        """The last rows, the newest first."""
        return list(islice(self.backwards(), limit))

    def backwards(self) -> Iterator[Stored]:
        """All rows, the newest first."""
        query = "SELECT id, CAST(body AS BLOB), CAST(digest AS BLOB), NULL FROM row ORDER BY id DESC"
        for found in self._read(query):
            yield Stored(*found)

    def last_id(self) -> int:
        """The newest row; 0 for none."""
        with _named(self._path):
            return int(self._connection.execute("SELECT coalesce(max(id), 0) FROM row").fetchone()[0])

    def retained_from(self) -> int:
        """The first row that retention has not dropped."""
        return _meta(self._connection, self._path, "retained_from")

    def receipt(self) -> int:
        """The last row that the bridge has confirmed; 0 for none."""
        return _meta(self._connection, self._path, "receipt")

    def digest(self, row: int) -> bytes | None:
        """The chain digest of one row, `None` where it is not here."""
        found = self._one("SELECT CAST(digest AS BLOB) FROM row WHERE id = ?", row)
        return None if found is None else bytes(found[0])

    def count_after(self, row: int) -> int:
        """How many rows came after this one."""
        found = self._one("SELECT count(*) FROM row WHERE id > ?", row)
        return int(found[0]) if found else 0

    def is_noted(self, gate: str, row: int, digest: bytes) -> bool:
        """Whether a row of another gate, or the vendor's, is in this journal already."""
        query = 'SELECT 1 FROM noted WHERE gate = ? AND "row" = ? AND digest = ?'
        return self._one(query, gate, row, digest) is not None

    def noted_from_ms(self) -> int:
        """From when on all names of noted movements are here; 0 for always."""
        return _meta(self._connection, self._path, "noted_from_ms")

    def peers(self) -> dict[str, tuple[int, bytes]]:
        """The last row that each gate told of itself, and that row's digest there."""
        query = 'SELECT gate, "row", CAST(digest AS BLOB) FROM peer'
        return {gate: (row, digest) for gate, row, digest in self._read(query)}

    def _one(self, query: str, *values: object) -> Any:
        with _named(self._path):
            return self._connection.execute(query, values).fetchone()

    def histories(self) -> Iterator[tuple[str, bytes]]:
        """Every ticket that has a history, in the order of the subjects' bytes."""
        yield from self._read("SELECT subject, value FROM history ORDER BY subject")

    def history(self, subject: str) -> bytes | None:
        """The history of one ticket."""
        found = self._one("SELECT value FROM history WHERE subject = ?", subject)
        return found[0] if found else None

    def _read(self, query: str) -> Iterator[tuple[Any, ...]]:
        with _named(self._path):
            yield from self._connection.execute(query)

    def close(self) -> None:
        """Close."""
        self._connection.close()

    def __enter__(self) -> Self:
        """The reader itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()


def verify(rows: Iterable[Stored], retained_from: int) -> Iterator[tuple[Stored, str]]:
    """Each row of a whole journal, oldest first, and what is wrong with its place in the chain ("": nothing).

    Finds a body or a number that was changed, and rows that are missing, swapped or put in. Rows that are
    missing at the end leave no gap; the file beside the journal and the bridge's receipts know of those.
    """
    before: Stored | None = None
    for stored in rows:
        yield stored, fault_between(before, stored, retained_from)
        before = stored


def fault_between(before: Stored | None, stored: Stored, retained_from: int) -> str:
    """Why a row does not follow from the row before it; "" where it does.

    Retention leaves a gap before `retained_from`; the first row of that epoch is kept for its settings.
    """
    name, (epoch, seq) = name_of(stored.id), epoch_and_seq(stored.id)
    if before is None or before.id < retained_from:
        if before is None and seq != 1:
            return f"before row {name} the first row of its epoch is missing"
        if stored.id == retained_from or (retained_from and seq == 1):
            return ""
        if retained_from:
            return f"before row {name} rows are missing: retention kept all from {name_of(retained_from)} on"
    follows = (0, 0) if before is None else epoch_and_seq(before.id)
    named = "the start" if before is None else f"row {name_of(before.id)}"
    if (epoch, seq) != (follows[0], follows[1] + 1) and (seq != 1 or epoch <= follows[0]):
        return f"between {named} and row {name} rows are missing"
    if chain(b"" if before is None else before.digest, stored.id, stored.body) != stored.digest:
        return f"row {name} was changed, or is not the one that followed {named}"
    return ""


def set_aside(folder: Path, utc_ms: int) -> Path:
    """Take a journal that cannot be read out of the way, whole, and never delete it; returns its new name.

    The index of histories stays where it is. Raises `Unwritable`.
    """
    names = (folder / f"damaged-{utc_ms}-{number}.db" for number in count())
    aside = next(name for name in names if not name.exists())
    try:
        prove_room(aside)  # for the journal in its place: the next try would not know what to rescue
        for ending in ("", "-wal", "-shm"):
            part = folder / f"journal.db{ending}"
            if part.exists():
                part.rename(aside.with_name(aside.name + ending))
        (folder / "condemned").unlink(missing_ok=True)
        sync_folder(folder)
    except OSError as error:
        raise Unwritable(f"{folder}: the damaged journal cannot be set aside: {error}") from error
    return aside


def rescue(path: Path) -> Iterator[tuple[str, bytes]]:
    """The histories that can still be read in a journal that was set aside, up to the first damage.

    Pages of a damaged tree may lead in a circle: a subject that is not greater than the last one ends it.
    """
    last = ""
    with suppress(sqlite3.Error):
        connection = _read_only(path)
        try:
            for subject, value in connection.execute("SELECT subject, value FROM history ORDER BY subject"):
                if not isinstance(subject, str) or not isinstance(value, bytes) or subject <= last:
                    return
                yield subject, value
                last = subject
        finally:
            connection.close()


def open_read_only(folder: Path) -> sqlite3.Connection:
    """A connection that can never write. Raises `sqlite3.OperationalError` where there is no journal."""
    return _read_only(folder / "journal.db")


def _read_only(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_TIMEOUT_S,
    )
    connection.text_factory = _text
    return connection


def _text(data: bytes) -> str:
    """A byte that went wrong in one code must not keep the other rows from being read."""
    return data.decode(errors="replace")


def _meta(connection: sqlite3.Connection, path: Path, name: str) -> int:
    with _named(path):
        found = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return int(found[0]) if found else 0


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What the driver reports, as the journal's own errors."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte; the rest says where it happened
        raise (Damaged if code in DAMAGE else Unwritable)(f"{path}: {error}") from error
