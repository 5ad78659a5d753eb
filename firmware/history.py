"""Where the hot path looks up a ticket's past in a microsecond: an LMDB index derived from the journal.

The journal's database holds the truth, in the same transaction as the rows; this is a copy of its
`history` table for the loop to read. It is never flushed: after anything but a tidy close it is thrown
away and made again, and a tidy close leaves a digest of the file, so a damaged or stale copy is never
opened (LMDB reads through a memory map and would end the process on one). It is not a second store: whoever
deletes the folder loses nothing.
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import lmdb
import msgspec

from firmware.core.ticket import NO_HISTORY, History
from firmware.files import forget_lock, keep_lock_in_memory
from firmware.row import Unreadable, read

MAP_BYTES = 8 << 30  # address space, not memory or disk: 50 million tickets; never has to grow under a reader
BUILD_STEP = 10_000  # histories in one transaction, which are held in memory until its end
KEY_BYTES_MAX = 480  # LMDB takes 511; a longer name goes by its digest
READ_BYTES = 1 << 20

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(History).decode


class NoRoom(Exception):
    """The disk does not take the index."""


class Mark(NamedTuple):
    """Left by a tidy close: the last row in the index, and the digest of its file."""

    row: int
    digest: str


_decode_mark = msgspec.json.Decoder(Mark).decode


class HistoryIndex:
    """Histories by subject. One thread writes, one reads."""

    def __init__(self, folder: Path, last_row: int, histories: Iterable[tuple[str, bytes]]) -> None:
        """Open the index as of `last_row`, or make it again from `histories`, sorted. Raises `NoRoom`."""
        self._folder = folder
        self._mark = folder / "mark.json"
        self._row = last_row
        self._environment: lmdb.Environment | None = None
        self.rebuilt = not (row_of(folder) == last_row and is_whole(folder))
        try:
            if self.rebuilt:
                forget_lock(folder)
                shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._mark.unlink(missing_ok=True)
            keep_lock_in_memory(folder)
            self._environment = lmdb.open(
                str(folder), map_size=MAP_BYTES, sync=False, metasync=False, mode=0o600
            )
            if self.rebuilt:
                self._build(((key_of(subject), value) for subject, value in histories))
        except (OSError, lmdb.Error) as error:
            self.abandon()
            raise NoRoom(f"{folder}: the index of histories cannot be made: {error}") from error
        except BaseException:
            self.abandon()
            raise

    def _build(self, histories: Iterator[tuple[bytes, bytes]]) -> None:
        while step := list(islice(histories, BUILD_STEP)):
            self.put(step, self._row)

    def get(self, subject: str) -> History:
        """What is known of the ticket; of a scan that names none, nothing."""
        if not subject:
            return NO_HISTORY
        assert self._environment is not None
        value = self._environment.begin().get(key_of(subject))
        return NO_HISTORY if value is None else decode(value)

    def put(self, histories: Iterable[tuple[bytes, bytes]], row: int) -> None:
        """Take over what the row and the rows before it did. Raises `NoRoom`, and then nothing changed."""
        assert self._environment is not None
        try:
            with self._environment.begin(write=True) as transaction:
                for key, value in histories:
                    transaction.put(key, value)
        except lmdb.Error as error:
            raise NoRoom(f"{self._folder}: {error}") from error
        self._row = row

    def close(self) -> None:
        """Flush, and leave the mark that lets the next start use the index."""
        if self._environment is None:
            return
        with suppress(OSError, lmdb.Error):  # without the mark the next start makes the index again
            self._environment.sync(True)
            self._mark.write_bytes(msgspec.json.encode(Mark(self._row, _digest(self._folder))))
        self.abandon()

    def abandon(self) -> None:
        """Close without a mark: the next start makes the index again."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None

    def __enter__(self) -> Self:
        """The index itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()


class Kept(Protocol):
    """A store that can be asked for one history: the journal's own table."""

    def history(self, subject: str) -> bytes | None:
        """The history of one ticket."""

    def close(self) -> None:
        """Close."""


class HistoryLookup:
    """Stands in for the index where the disk has no room for one: slower, and always right."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def get(self, subject: str) -> History:
        """What is known of the ticket."""
        value = self._kept.history(key_of(subject).decode())
        return NO_HISTORY if value is None else decode(value)

    def put(self, histories: Iterable[tuple[bytes, bytes]], row: int) -> None:
        """The journal has it already."""

    def close(self) -> None:
        """Close."""
        self._kept.close()


def row_of(folder: Path) -> int | None:
    """The last row in an index that was closed tidily; else `None`. The file may have suffered since."""
    try:
        return _mark_in(folder).row
    except (OSError, Unreadable):
        return None


def is_whole(folder: Path) -> bool:
    """Whether the file of the index is the one that was closed tidily, byte for byte."""
    try:
        mark = _mark_in(folder)
        return mark.digest == _digest(folder)
    except (OSError, Unreadable):
        return False


def all_in(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every history in an index that is whole. The mark stays, so this can be done again after a crash."""
    with (
        lmdb.open(str(folder), map_size=MAP_BYTES, readonly=True, lock=False) as environment,
        environment.begin() as transaction,
    ):
        for key, value in transaction.cursor():
            yield bytes(key).decode(), bytes(value)


def believable(found: Iterable[tuple[str, bytes]], pending: list[str]) -> Iterator[tuple[str, bytes]]:
    """Those that are histories; notes the subjects of the ones with an admission that is not settled."""
    for subject, value in found:
        with suppress(Unreadable):
            if decode(value).pending:
                pending.append(subject)
            yield subject, value


def key_of(subject: str) -> bytes:
    """The key of a ticket: its name, which is shortened only where nobody would have written it by hand."""
    key = subject.encode(errors="backslashreplace")
    if len(key) <= KEY_BYTES_MAX:
        return key
    return b"digest " + blake2b(key, digest_size=32).hexdigest().encode()


def encode(history: History) -> bytes:
    """A history as both stores keep it."""
    return _encode(history)


def decode(value: bytes) -> History:
    """The history of those bytes, also one with fields of a later release. Raises `Unreadable`."""
    return read(value, _decode, msgspec.msgpack.decode, History)


def _mark_in(folder: Path) -> Mark:
    return read((folder / "mark.json").read_bytes(), _decode_mark, msgspec.json.decode, Mark)


def _digest(folder: Path) -> str:
    found = blake2b(digest_size=32)
    with (folder / "data.mdb").open("rb") as file:
        while part := file.read(READ_BYTES):
            found.update(part)
    return found.hexdigest()
