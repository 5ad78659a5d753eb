"""One build: an LMDB environment with the tickets of one list.

Its own database holds digest of code -> ticket, and one record `about`; the database `ids` in it holds
digest of ticket id -> digest of code. Tickets lie in the environment's own database because that is open
at once. To open a named one for writing py-lmdb begins a write transaction, so a starting gate would have
to wait for a writer.
"""

import errno
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self
from zlib import crc32

import lmdb
import msgspec

from firmware.catalogue.folder import (
    CatalogueError,
    CatalogueFull,
)
from firmware.core.ticket import Ticket
from firmware.files import keep_lock_in_memory
from firmware.venue_key import digest_of, keyed

TICKETS_MAX = 5_000_000  # fifty sold-out stadiums; 0.8 GB on the card
ROOM_BYTES = 16 << 20  # left free for logs and the rest of the system; the journal reserves its own
FORMAT = 1
ABOUT = b"about"  # the key of that record: shorter than a digest, so it can be none
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

encode_ticket = msgspec.msgpack.Encoder().encode
decode_ticket = msgspec.msgpack.Decoder(Ticket).decode


class Upsert(NamedTuple):
    """A ticket that is new or changed. A code that its id had before is forgotten."""

    digest: bytes
    ticket: Ticket


class Removal(NamedTuple):
    """A ticket that is gone."""

    ticket_id: str


class Counts(NamedTuple):
    """What a list, or some changes, did to the catalogue. A ticket is the same if its id is."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0


class About(NamedTuple):
    """What a build says of itself.

    `content` is the sum of the check sums of all tickets: it does not depend on their order, and changes
    keep it up to date. It finds accidents, not forgers; those have the key on the same disk anyway.
    """

    format: int
    key_mark: bytes
    tickets: int
    content: int
    stamp_utc_ms: int
    source: str


_encode_about = msgspec.msgpack.Encoder().encode
decode_about = msgspec.msgpack.Decoder(About).decode


class Store:
    """An open build. `begin` begins a transaction; for reading it belongs to one expression."""

    def __init__(self, build: Path, *, readonly: bool = False, map_bytes: int = 0) -> None:
        """Open, or make if `map_bytes` is given. Raises `lmdb.Error`. LMDB trusts its file: see `check`."""
        self.build = build
        keep_lock_in_memory(build)
        self.environment = lmdb.open(
            str(build),
            map_size=map_bytes,  # 0: as large as the file says
            readonly=readonly,
            readahead=readonly,  # those read all of it; a gate reads here and there
            create=False,
            mode=0o700,
            max_dbs=1,
            max_spare_txns=1,  # renewing one saves a sixth of a look-up
        )
        self.begin = self.environment.begin

    def open_ids(self) -> None:
        """Make `code_of` ready, before another thread has the store. Raises `lmdb.Error`.

        For that LMDB begins to write, and writes nothing; nobody else writes to a list that is new. (A
        handle from a transaction that only reads is gone with it, because those are kept for another time.)
        """
        self._ids = self.environment.open_db(b"ids", create=False)

    def code_of(self, id_digest: bytes) -> bytes | None:
        """The digest of a ticket's code. Raises `lmdb.Error`."""
        return self.begin(self._ids).get(id_digest)

    def about(self) -> About:
        """What the build says of itself. Raises `msgspec.MsgspecError` or `lmdb.Error`."""
        return decode_about(self.begin().get(ABOUT, b""))

    def grow(self) -> None:
        """Double the map: address space, not disk. Not while a write transaction is open."""
        self.environment.set_mapsize(2 * self.environment.info()["map_size"])

    def append(self, records: list[tuple[bytes, bytes]], *, ids: bool = False) -> None:
        """Write records whose keys are greater than all before, flushed.

        Raises `CatalogueError` where two of them have the same key.
        """
        database = self.environment.open_db(b"ids") if ids else None
        while True:
            try:
                with self.begin(database, write=True) as transaction:
                    _, added = transaction.cursor().putmulti(records, append=True)
                    if added != len(records):
                        raise CatalogueError("two tickets share a code or an id: leave one out")
            except lmdb.MapFullError:
                self.grow()
            else:
                return

    def describe(self, about: About) -> None:
        """Write what the build says of itself, flushed."""
        with self.begin(write=True) as transaction:
            transaction.put(ABOUT, _encode_about(about))

    def change(
        self, changes: Iterable[Upsert | Removal], key: bytes, stamp_utc_ms: int, source: str
    ) -> Counts:
        """Apply changes in order, all or none, flushed. Raises `lmdb.Error`, `CatalogueFull`."""
        ids_keyed = keyed(key, b"ticket id")
        ids = self.environment.open_db(b"ids")
        before = self.about()
        new = changed = unchanged = removed = 0
        content = before.content
        with self.begin(write=True) as transaction:
            for change in changes:
                ticket_id = change.ticket_id if isinstance(change, Removal) else change.ticket.ticket_id
                id_digest = digest_of(ids_keyed, ticket_id)
                older = transaction.get(id_digest, db=ids)
                if isinstance(change, Removal):
                    if older is not None:
                        content -= content_of(older, transaction.pop(older) or b"")
                        transaction.delete(id_digest, db=ids)
                        removed += 1
                    continue
                digest, value = change.digest, encode_ticket(change.ticket)
                there = transaction.get(digest)
                if there == value:
                    unchanged += 1
                    continue
                if older is None:
                    new += 1
                else:
                    changed += 1
                if older not in (None, digest):
                    content -= content_of(older, transaction.pop(older) or b"")
                if there is not None:
                    content -= content_of(digest, there)
                    if older != digest:  # the code was another ticket's
                        lost = decode_ticket(there).ticket_id
                        transaction.delete(digest_of(ids_keyed, lost), db=ids)
                        removed += 1
                transaction.put(digest, value)
                transaction.put(id_digest, digest, db=ids)
                content += content_of(digest, value)
            tickets = before.tickets + new - removed
            if tickets > TICKETS_MAX:
                raise CatalogueFull(f"more than {TICKETS_MAX:,} tickets: split the list between gates")
            about = About(FORMAT, before.key_mark, tickets, content, stamp_utc_ms, source or before.source)
            transaction.put(ABOUT, _encode_about(about))
        return Counts(new, changed, unchanged, removed)

    def close(self) -> None:
        """Close; twice is fine."""
        self.environment.close()

    def __enter__(self) -> Self:
        """The store itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()


def content_of(digest: bytes, value: bytes) -> int:
    """The check sum of one ticket."""
    return crc32(value, crc32(digest))


def content_of_all(digests: Sequence[bytes], values: Sequence[bytes]) -> int:
    """The sum of the check sums of many tickets, three times as quick as one by one."""
    return sum(map(crc32, values, map(crc32, digests)))


@contextmanager
def disk_takes(folder: Path, needed_bytes: int) -> Iterator[None]:
    """Say that the disk is full in one way, whoever found out. Raises `CatalogueFull`.

    LMDB calls it an input/output error if the last page went in by half. Without a full disk it is one, and
    whatever else LMDB says becomes a `CatalogueError` too.
    """
    try:
        yield
    except lmdb.Error as error:
        by_half = error.code == errno.EIO and shutil.disk_usage(folder).free < ROOM_BYTES
        if by_half or error.code in DISK_FULL:
            raise no_room(folder, needed_bytes) from error
        raise CatalogueError(f"{folder}: {error}: import the list again; is the disk failing?") from error
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise no_room(folder, needed_bytes) from error


def check_room(folder: Path, needed_bytes: int) -> None:
    """Look before writing. Raises `CatalogueFull`."""
    if shutil.disk_usage(folder).free < needed_bytes + ROOM_BYTES:
        raise no_room(folder, needed_bytes)


def no_room(folder: Path, needed_bytes: int) -> CatalogueFull:
    """The disk is full; how much is there and how much it takes."""
    free_mib = shutil.disk_usage(folder).free >> 20
    needed_mib = (needed_bytes + ROOM_BYTES >> 20) + 1
    return CatalogueFull(f"{folder}: the disk is full: {free_mib} MiB free, about {needed_mib} MiB needed")
