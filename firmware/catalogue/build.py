"""A whole new list, made beside the one in use and swapped in under load.

LMDB is by far the quickest, and wears a card least, where keys come in order. Digests come in none, so
rows are sorted first: in buckets, of which one is in memory at a time, so that a list of millions does not
push a gate out of a small Pi's memory.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from firmware.catalogue.check import inside_fault, set_aside_if_damaged
from firmware.catalogue.folder import (
    CatalogueDamaged,
    CatalogueFull,
    build_in_use,
    name_key,
    next_build,
    put_into_use,
    remove_leftovers,
    settle_key_in_use,
    writing,
)
from firmware.catalogue.store import (
    FORMAT,
    TICKETS_MAX,
    About,
    Counts,
    Store,
    check_room,
    content_of_all,
    disk_takes,
    encode_ticket,
)
from firmware.core.ticket import Ticket
from firmware.venue_key import (
    DIGEST_BYTES,
    KeyUnusable,
    digest_of,
    key_mark,
    key_with,
    keyed,
    keys_of,
    venue_key,
)

BUCKETS = 64  # of 5 million tickets each holds 80,000: 20 MB of memory
SPILL_ROWS = 50_000  # rows in memory before they go to the buckets' files: 20 MB
COMMIT_ROWS = 10_000  # written and flushed at once: 1 MB
RECORD_BYTES = 100  # what a row takes besides its ticket: digests twice, LMDB's own, pages not quite full
SPARE_BYTES = 16 << 20  # address space beyond the list, so that changes seldom have to grow the map

KEY = slice(0, DIGEST_BYTES)
LINE = slice(DIGEST_BYTES, DIGEST_BYTES + 4)  # of a record: digest, line, and what follows
BODY = slice(DIGEST_BYTES + 4, None)

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[bytes]).decode


class Copied(NamedTuple):
    """A row whose code or ticket id (`column`) an earlier line has already."""

    line: int
    column: str
    first_line: int


class Build:
    """`add` every ticket, `leave_out` what `copies` shows, then `swap`.

    Leaving the block without a swap removes what was made. `fault` is empty, or says that the list in use
    could not be read; one that was damaged is set aside.
    """

    def __init__(self, folder: Path, *, source: str, stamp_utc_ms: int, mark: bytes = b"") -> None:
        """Become the writer. Raises `CatalogueBusy` naming the process that is it, or `KeyUnusable`.

        `mark` is that of the key which the digests are made with; without, it is the key in use.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.rows = 0
        self._folder = folder
        self._source = source
        self._stamp_utc_ms = stamp_utc_ms
        self._buckets: dict[str, list[list[bytes]]] = {
            column: [[] for _ in range(BUCKETS)] for column in ("code", "ticket_id")
        }
        self._in_memory = 0
        self._left_out: set[int] = set()
        self._needed_bytes = 1 << 20
        with ExitStack() as opened:
            opened.enter_context(writing(folder))
            settle_key_in_use(folder)
            self._key = _chosen(folder, mark)
            self._codes = keyed(self._key)
            self._ids = keyed(self._key, b"ticket id")
            self.fault = set_aside_if_damaged(folder, keys_of(folder), stamp_utc_ms)
            remove_leftovers(folder)
            self._build = next_build(folder)
            self._sorting = self._build / "sorting"
            opened.callback(self._remove_unused)
            with disk_takes(folder, self._needed_bytes):
                self._build.mkdir(mode=0o700)
                self._sorting.mkdir()
            self._opened = opened.pop_all()

    def digest(self, code: str) -> bytes:
        """What stands for a code in the catalogue."""
        return digest_of(self._codes, code)

    def add(self, line: int, digest: bytes, ticket: Ticket) -> None:
        """One more ticket, from this line of the list. Raises `CatalogueFull`."""
        self.add_encoded(line, [(digest, ticket.ticket_id.encode(), encode_ticket(ticket))])

    def add_encoded(self, line: int, tickets: Sequence[tuple[bytes, bytes, bytes]]) -> None:
        """Tickets from this line on: digest of the code, ticket id in UTF-8, and the ticket's bytes.

        Raises `CatalogueFull`.
        """
        if self.rows + len(tickets) > TICKETS_MAX:
            raise CatalogueFull(f"more than {TICKETS_MAX:,} tickets: split the list between gates")
        codes, ids, begun = self._buckets["code"], self._buckets["ticket_id"], self._ids.copy
        for number, (digest, ticket_id, value) in enumerate(
            tickets, line
        ):  # a million times: see `make bench`
            where = number.to_bytes(4)
            hashed = begun()
            hashed.update(ticket_id)
            id_digest = hashed.digest()
            codes[digest[0] * BUCKETS >> 8].append(digest + where + value)
            ids[id_digest[0] * BUCKETS >> 8].append(id_digest + where + digest)
        self.rows += len(tickets)
        self._needed_bytes += sum(map(len, map(itemgetter(2), tickets))) + RECORD_BYTES * len(tickets)
        self._count_in_memory(len(tickets))

    def copies(self) -> Iterator[Copied]:
        """Rows whose code or ticket id an earlier line has: codes first, in no order of lines."""
        for column in self._buckets:
            for bucket in range(BUCKETS):
                first, first_line = b"", 0
                for record in self._sorted(column, bucket):
                    key, line = record[:DIGEST_BYTES], int.from_bytes(record[LINE])
                    if key == first:
                        yield Copied(line, column, first_line)
                    else:
                        first, first_line = key, line

    def forget(self, line: int, ticket_id: str) -> None:
        """This line says that the ticket is gone: for `leave_out_older`."""
        digest = digest_of(self._ids, ticket_id)
        self._buckets["ticket_id"][digest[0] * BUCKETS >> 8].append(digest + line.to_bytes(4))
        self._left_out.add(line)
        self._count_in_memory(1)

    def leave_out_older(self) -> None:
        """Of lines with one code or one ticket id only the last one counts."""
        for column in self._buckets:
            for bucket in range(BUCKETS):
                records = self._records(column, bucket)
                if len({record[KEY] for record in records}) < len(records):  # far quicker than sorting all
                    records.sort()
                    for older, newer in pairwise(records):
                        if older[KEY] == newer[KEY]:
                            self._left_out.add(int.from_bytes(older[LINE]))

    def leave_out(self, line: int) -> None:
        """The row of this line does not come into the catalogue."""
        self._left_out.add(line)

    def swap(self) -> Counts:
        """Write the list, flush it, read it again, and put it into use.

        Raises `CatalogueFull` where the disk does not take it, `CatalogueError` where copies were not left
        out, `CatalogueDamaged` where the disk gives back something else. Then the list in use stays.
        """
        check_room(self._folder, self._needed_bytes)
        with disk_takes(self._folder, self._needed_bytes):
            counts = self._write()
            shutil.rmtree(self._sorting)
            if fault := inside_fault(self._build, trial=False):
                raise CatalogueDamaged(
                    f"{self._build} was written, and then it {fault}: is the disk failing?"
                )
            name_key(self._build, key_mark(self._key))
            put_into_use(self._build)
            settle_key_in_use(self._folder)
        remove_leftovers(self._folder)
        return counts

    def close(self) -> None:
        """Remove what was not put into use, and let the next one write. Twice is fine."""
        self._opened.close()

    def __enter__(self) -> Self:
        """The build itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def _count_in_memory(self, rows: int) -> None:
        self._in_memory += rows
        if self._in_memory >= SPILL_ROWS:
            self._spill()

    def _spill(self) -> None:
        """Put what is in memory into the buckets' files."""
        check_room(self._folder, self._needed_bytes)
        with disk_takes(self._folder, self._needed_bytes):
            for column, buckets in self._buckets.items():
                for bucket, records in enumerate(buckets):
                    packed = _pack(records)
                    with (self._sorting / f"{column}-{bucket}").open("ab") as file:
                        file.write(len(packed).to_bytes(4) + packed)
                    records.clear()
        self._in_memory = 0

    def _sorted(self, column: str, bucket: int) -> list[bytes]:
        """All records of a bucket in the order of their digests, those of the same one by line."""
        records = self._records(column, bucket)
        records.sort()
        return records

    def _records(self, column: str, bucket: int) -> list[bytes]:
        records = list(self._buckets[column][bucket])
        path = self._sorting / f"{column}-{bucket}"
        if path.exists():
            with path.open("rb") as file:
                while length := file.read(4):
                    records += _unpack(file.read(int.from_bytes(length)))
        return records

    def _batches(self, column: str) -> Iterator[list[tuple[bytes, bytes]]]:
        """Digest and body of the rows that stay, in order, as many at a time as go into one commit."""
        batch: list[tuple[bytes, bytes]] = []
        for bucket in range(BUCKETS):
            records = self._sorted(column, bucket)
            if self._left_out:
                records = [one for one in records if int.from_bytes(one[LINE]) not in self._left_out]
            batch += [(record[KEY], record[BODY]) for record in records]
            if len(batch) >= COMMIT_ROWS or bucket == BUCKETS - 1:
                yield batch
                batch = []

    def _write(self) -> Counts:
        """Fill the new build. Each commit is flushed by itself: no scan waits behind a great one."""
        with ExitStack() as opened:
            older = self._older(opened)
            store = opened.enter_context(Store(self._build, map_bytes=self._needed_bytes * 2 + SPARE_BYTES))
            count = content = unchanged = known = 0
            for tickets in self._batches("code"):
                store.append(tickets)
                count += len(tickets)
                content += content_of_all(*zip(*tickets, strict=True)) if tickets else 0
                unchanged += older.same_tickets(tickets)
            for ids in self._batches("ticket_id"):
                store.append(ids, ids=True)
                known += older.known_ids(ids)
            store.describe(
                About(FORMAT, key_mark(self._key), count, content, self._stamp_utc_ms, self._source)
            )
        return Counts(count - known, known - unchanged, unchanged, older.count - known)

    def _older(self, opened: ExitStack) -> "_Older":
        """The list in use, to compare with."""
        build = None if self.fault else build_in_use(self._folder)
        if build is None:
            return _Older(None)
        return _Older(opened.enter_context(Store(build, readonly=True)))

    def _remove_unused(self) -> None:
        if build_in_use(self._folder) != self._build:
            shutil.rmtree(self._build, ignore_errors=True)  # what remains the next writer removes


def _chosen(folder: Path, mark: bytes) -> bytes:
    """The key of this mark, or the one in use, which is made where there is none. Raises `KeyUnusable`."""
    key = venue_key(folder)
    found = key_with(mark, keys_of(folder)) if mark else key
    if found is None:
        raise KeyUnusable(f"{folder / 'key'}: the list is of another venue key: give this gate that one")
    return found


class _Older:
    """The list that was in use until now, or none."""

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self.count = 0
        if store is not None:
            self.count = store.about().tickets
            self._ids = store.environment.open_db(b"ids", create=False)

    def same_tickets(self, tickets: list[tuple[bytes, bytes]]) -> int:
        """How many of them it has with the same code and the same contents."""
        if self._store is None:
            return 0
        with self._store.begin() as transaction:
            return sum(transaction.get(digest) == value for digest, value in tickets)

    def known_ids(self, ids: list[tuple[bytes, bytes]]) -> int:
        """How many of these ticket ids it has."""
        if self._store is None:
            return 0
        with self._store.begin(self._ids) as transaction:
            return sum(transaction.get(digest) is not None for digest, _ in ids)
