"""`python -m tests.powercut.space`: what keeps SQLite committing on a disk that is full to the last byte."""

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.powercut import engines, rig

DISK_BYTES = 128 << 20
RESERVED_PAGES = 8_000  # 32 MB: what 50,000 rows and their history took, and some more
CHUNK_BYTES = 1 << 20
ENTRIES = 50_000


def say(line: str) -> None:
    """One line of the table, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def small_disk(scratch: Path) -> Iterator[Path]:
    """An ext4 of its own, without blocks kept for root."""
    image, folder = scratch / "small.img", scratch / "small"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill_disk(folder: Path) -> Path:
    """A file that takes every block that is left."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 512):
            while True:
                try:
                    file.write(os.urandom(size))
                except OSError:
                    break
        os.fsync(file.fileno())
    return path


def open_store(folder: Path) -> engines.Sqlite:
    """The recommended settings, nothing reserved yet."""
    return engines.Sqlite(folder, *engines.WAL_FULL, checkpoint_rows=engines.CHECKPOINT_ROWS)


def reserve(connection: sqlite3.Connection, pages: int) -> None:
    """Put `pages` free pages, really written, inside the database; the log stays short meanwhile."""
    connection.execute("CREATE TABLE IF NOT EXISTS filler (space BLOB)")
    for _ in range(pages * 4096 // CHUNK_BYTES):
        connection.execute("INSERT INTO filler VALUES (zeroblob(?))", (CHUNK_BYTES,))
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    # With secure_delete, Debian's default, the drop would write every page once more, into the log.
    connection.execute("PRAGMA secure_delete=OFF").fetchall()
    connection.execute("DROP TABLE filler")
    connection.execute("PRAGMA secure_delete=ON").fetchall()
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def commit_all(store: engines.Sqlite, start: int) -> str:
    """Commit until it fails or all are in."""
    for number in range(start, start + ENTRIES):
        try:
            store.append(number)
        except sqlite3.OperationalError as error:
            if store.connection.in_transaction:
                store.connection.execute("ROLLBACK")
            return f"{number - start} rows, then: {error}"
    return f"{ENTRIES} rows"


def sizes(folder: Path) -> str:
    """File sizes in KiB."""
    return ", ".join(
        f"{path.name} {path.stat().st_size >> 10} KiB" for path in sorted(folder.glob("journal.db*"))
    )


def full_disk(in_database: bool, in_log: bool) -> None:
    """Fill the disk, then go on scanning."""
    with (
        tempfile.TemporaryDirectory(dir=".") as scratch,
        small_disk(Path(scratch)) as folder,
        ExitStack() as stack,
    ):
        store = open_store(folder)
        stack.callback(store.close)
        store.append(1)
        if in_database:
            reserve(store.connection, RESERVED_PAGES)
        if in_log:
            engines.grow_wal(store.connection, engines.WAL_PAGES)
        ballast = fill_disk(folder)
        before = sizes(folder)
        say(f"reserved in the database: {in_database}, in the log: {in_log}\n  before: {before}")
        say(f"  full disk: {commit_all(store, 2)}\n  after:  {sizes(folder)}")
        pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
        free = store.connection.execute("PRAGMA freelist_count").fetchone()[0]
        last = store.connection.execute("SELECT max(number) FROM row").fetchone()[0]
        say(f"  {pages - free} of {pages} pages in use for {last} rows")
        ballast.unlink()
        store.append(last + 1)
        say(f"  space back: the same connection goes on, {store.contents()[2] == last + 1}")


def closed_on_a_full_disk(keep_log: bool) -> None:
    """Close tidily while the disk is full, let another program take what that frees, and open again."""
    with tempfile.TemporaryDirectory(dir=".") as scratch, small_disk(Path(scratch)) as folder:
        store = open_store(folder)
        reserve(store.connection, RESERVED_PAGES)
        engines.grow_wal(store.connection, engines.WAL_PAGES)
        store.append(1)
        fill_disk(folder)
        keeper = sqlite3.connect(f"file:{folder}/journal.db?mode=ro", uri=True)
        keeper.execute("SELECT 1 FROM row").fetchone()
        if not keep_log:
            keeper.close()
        store.close()
        keeper.close()
        say(
            f"closed on a full disk, a read-only connection closed last: {keep_log}\n  after: {sizes(folder)}"
        )
        (folder / "ballast").rename(folder / "ballast.1")
        fill_disk(folder)
        try:
            again = open_store(folder)
        except sqlite3.OperationalError as error:
            say(f"  opened again: {error}")
            return
        try:
            say(f"  opened again: {commit_all(again, 2)}\n  after: {sizes(folder)}")
        finally:
            again.close()


def held_snapshot() -> None:
    """A reader keeps one snapshot while 5,000 scans come in; the log must be cut back afterwards."""
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        folder = Path(scratch)
        store = open_store(folder)
        engines.grow_wal(store.connection, engines.WAL_PAGES)
        store.append(1)
        say(f"a reader holds a snapshot\n  before: {sizes(folder)}")
        reader = sqlite3.connect(folder / "journal.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM row").fetchone()
        for number in range(2, 5_002):
            store.append(number)
        state = store.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        say(f"  during: {sizes(folder)}; checkpoint says (busy, log, done) = {state}")
        reader.execute("ROLLBACK")
        store.idle()
        store.append(5_002)
        state = store.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        say(f"  after:  {sizes(folder)}; checkpoint says {state}")
        reader.close()
        store.close()


def held_snapshot_on_a_full_disk() -> None:
    """The log cannot start anew while the reader stays, so only its reserved length is left."""
    with tempfile.TemporaryDirectory(dir=".") as scratch, small_disk(Path(scratch)) as folder:
        store = open_store(folder)
        reserve(store.connection, RESERVED_PAGES)
        engines.grow_wal(store.connection, engines.WAL_PAGES)
        store.append(1)
        fill_disk(folder)
        reader = sqlite3.connect(folder / "journal.db", isolation_level=None)
        try:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM row").fetchone()
            say(f"a reader holds a snapshot, disk full\n  {commit_all(store, 2)}\n  {sizes(folder)}")
            reader.execute("ROLLBACK")
            last = store.connection.execute("SELECT max(number) FROM row").fetchone()[0]
            store.idle()
            say(f"  reader gone, a checkpoint later: {commit_all(store, last + 1)}\n  {sizes(folder)}")
        finally:
            reader.close()
            store.close()


def main() -> None:
    """Run every case and print what happened."""
    argparse.ArgumentParser(prog="python -m tests.powercut.space", description=__doc__).parse_args()
    if reason := rig.unavailable():
        sys.exit(reason)
    for in_database, in_log in ((False, False), (True, False), (False, True), (True, True)):
        full_disk(in_database, in_log)
    for keep_log in (False, True):
        closed_on_a_full_disk(keep_log)
    held_snapshot()
    held_snapshot_on_a_full_disk()


if __name__ == "__main__":
    main()
