"""Where the hot path looks up a ticket's past in a microsecond: an LMDB index derived from the journal.

The journal's database holds the truth, in the same transaction as the rows; this is a copy of its
`history` table for the loop to read. It is never flushed: after anything but a tidy close it is thrown
away and made again, so a damaged or stale copy is never opened. It is not a second store: whoever deletes
the folder loses nothing.
"""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import lmdb
import msgspec

from firmware.core.ticket import NO_HISTORY, History

MAP_BYTES = 8 << 30  # address space, not memory or disk: 50 million tickets; never has to grow under a reader

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(History).decode


class NoRoom(Exception):
    """The disk does not take the index."""


class Mark(NamedTuple):
    """Left by a tidy close: the last row in the index, and the file as it was then."""

    row: int
    size: int
    mtime_ns: int


class HistoryIndex:
    """Histories by subject. One thread writes, one reads."""

    def __init__(self, folder: Path, last_row: int, histories: Iterable[tuple[str, bytes]]) -> None:
        """Open the index as of `last_row`, or make it again from `histories`."""
        self._folder = folder
        self._mark = folder / "mark.json"
        self.rebuilt = self.row_of(folder) != last_row
        if self.rebuilt:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._mark.unlink(missing_ok=True)
        self._row = last_row
        try:
            self._environment = lmdb.open(str(folder), map_size=MAP_BYTES, sync=False, metasync=False)
            if self.rebuilt:
                self.put(((key_of(subject), value) for subject, value in histories), last_row)
        except lmdb.Error as error:
            raise NoRoom(f"{folder}: the index of histories cannot be made: {error}") from error

    @staticmethod
    def row_of(folder: Path) -> int | None:
        """The last row in an index that was closed tidily and not touched since; else `None`."""
        try:
            mark = msgspec.json.decode((folder / "mark.json").read_bytes(), type=Mark)
            stat = (folder / "data.mdb").stat()
        except (OSError, msgspec.DecodeError):
            return None
        return mark.row if (mark.size, mark.mtime_ns) == (stat.st_size, stat.st_mtime_ns) else None

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Every history, as it is stored."""
        with self._environment.begin() as transaction:
            for key, value in transaction.cursor():
                yield bytes(key).decode(), bytes(value)

    def get(self, subject: str) -> History:
        """What is known of the ticket."""
        value = self._environment.begin().get(key_of(subject))
        return NO_HISTORY if value is None else _decode(value)

    def put(self, histories: Iterable[tuple[bytes, bytes]], row: int) -> None:
        """Take over what the row and the rows before it did. Raises `NoRoom`, and then nothing changed."""
        try:
            with self._environment.begin(write=True) as transaction:
                for key, value in histories:
                    transaction.put(key, value)
        except lmdb.Error as error:
            raise NoRoom(f"{self._folder}: {error}") from error
        self._row = row

    def close(self) -> None:
        """Flush, and leave the mark that lets the next start use the index."""
        try:
            self._environment.sync(True)
        except lmdb.Error:
            return  # without the mark the next start makes the index again
        finally:
            self._environment.close()
        stat = (self._folder / "data.mdb").stat()
        self._mark.write_bytes(msgspec.json.encode(Mark(self._row, stat.st_size, stat.st_mtime_ns)))

    def __enter__(self) -> Self:
        """The index itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()


def key_of(subject: str) -> bytes:
    """The key of a ticket. Its name is bounded where lists are read, well below LMDB's limit of 511 bytes."""
    return subject.encode()


def encode(history: History) -> bytes:
    """A history as both stores keep it."""
    return _encode(history)


def decode(value: bytes) -> History:
    """The history of those bytes. Raises `msgspec.DecodeError`."""
    return _decode(value)
