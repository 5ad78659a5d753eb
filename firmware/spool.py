"""A whole list on its way: the pages of `firmware.sync` in one file, and the catalogue made from it.

A list of a million tickets comes over minutes, perhaps through a network that breaks and to a gate that is
switched off. Each page is one record, length and check sum in front. What a power cut has torn off is cut
away, and the sync goes on behind the last whole page.

The catalogue is made by a child process (`python -m firmware.spool`): the gate's loop shares its interpreter
with nobody who works for seconds, and LMDB lets no process open a list twice.
"""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from zlib import crc32

import msgspec

from firmware import wire
from firmware.catalogue import Build, CatalogueError, CatalogueFull, KeyUnusable
from firmware.catalogue.store import check_room
from firmware.core.ticket import Ticket
from firmware.venue_key import key_with, keys_of

SPOOL_BYTES_MAX = 1 << 30  # 5 million tickets of 200 bytes each
HEAD_BYTES = 8  # length and check sum of a record
STATUS_LATER = 3  # of the child, whose last words are then for people; Python itself ends with 1 and 2
STATUS_DAMAGED = 4  # the spool is of no use

# The bytes of `wire.Listed` as this release writes them into the spool: an array of eleven, its tag, 16 bytes
# of digest, and then what `Ticket` is in the catalogue, an array of nine that begins with the ticket id.
LISTED = b"\x9b\xa1t\xc4\x10"
DIGEST = slice(5, 21)
TICKET = b"\x99"
FIELDS = slice(21, None)
ID_HEAD = 21


class SpoolDamaged(Exception):
    """The spool does not hold a whole list."""


class Spool:
    """The pages of a whole list so far. `last` is the newest of them, without its items, or `None`."""

    def __init__(self, path: Path) -> None:
        """Open, or make; what follows the last whole page is cut away. Raises `OSError`."""
        self.last: wire.CataloguePage | None = None
        self._bytes = 0
        self._folder = path.parent
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self.last, self._bytes = _last(path)
            os.ftruncate(self._handle, self._bytes)
        except BaseException:
            self.close()
            raise

    @property
    def complete(self) -> bool:
        """Whether the page that reaches the present is there."""
        return self.last is not None and not self.last.more

    def append(self, page: wire.CataloguePage) -> None:
        """One more page. Raises `CatalogueFull`, or `OSError`, and then holds what it held before."""
        payload = wire.encode(page)
        record = len(payload).to_bytes(4) + crc32(payload).to_bytes(4) + payload
        if self._bytes + len(record) > SPOOL_BYTES_MAX:
            raise CatalogueFull(
                f"the bridge's list has more than {SPOOL_BYTES_MAX >> 20} MiB: split it between gates"
            )
        check_room(self._folder, len(record))
        try:
            written = 0
            while written < len(record):
                written += os.pwrite(self._handle, record[written:], self._bytes + written)
        except OSError:
            os.ftruncate(self._handle, self._bytes)
            raise
        self._bytes += len(record)
        self.last = msgspec.structs.replace(page, items=())

    def clear(self) -> None:
        """Forget all pages, and give the disk its room back."""
        os.ftruncate(self._handle, 0)
        self._bytes = 0
        self.last = None

    def close(self) -> None:
        """Close; twice is fine."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def __enter__(self) -> Self:
        """The spool itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()


def source_of(feed: str, cursor: int) -> str:
    """What a catalogue says of its source: this feed, up to this change."""
    return f"bridge {feed} {cursor}"


def ticket_of(item: wire.Listed) -> Ticket:
    """The ticket of an item."""
    return Ticket(*msgspec.structs.astuple(item)[1:])


def build(path: Path, catalogue: Path) -> None:
    """Make the list of a whole spool and put it into use: of one ticket, or one code, the newest word counts.

    Raises `SpoolDamaged`, `CatalogueError`, `KeyUnusable`, `OSError`.
    """
    last, _ = _last(path)
    if last is None or last.more:
        raise SpoolDamaged(f"{path} does not hold a whole list")
    source = source_of(last.feed, last.upto)
    if key_with(last.key_mark, keys_of(catalogue)) is None:
        raise SpoolDamaged(f"{path} was made with a venue key that is not here any more")
    with Build(catalogue, source=source, stamp_utc_ms=last.stamp_utc_ms, mark=last.key_mark) as made:
        line = 1
        for payload, _ in _payloads(path):
            items = list(map(bytes, _rough(payload).items))
            if all(item.startswith(LISTED) for item in items):
                made.add_encoded(line, list(map(encoded, items)))
            else:
                _add_one_by_one(made, line, items)
            line += len(items)
        made.leave_out_older()
        made.swap()


def main(arguments: list[str]) -> int:
    """What the child does: the spool, and the folder of the catalogue."""
    gc.disable()  # nothing here refers to itself, and looking for it takes a tenth of the time
    try:
        build(Path(arguments[0]), Path(arguments[1]))
    except (SpoolDamaged, CatalogueError, KeyUnusable, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return STATUS_DAMAGED if isinstance(error, SpoolDamaged) else STATUS_LATER
    return 0


class _Rough(msgspec.Struct, tag_field="v", tag=wire.VERSION):
    """A page whose items stay bytes."""

    items: list[msgspec.Raw]


_rough = msgspec.msgpack.Decoder(_Rough).decode
_item = msgspec.msgpack.Decoder(wire.Change).decode


def encoded(item: bytes) -> tuple[bytes, bytes, bytes]:
    """Digest, ticket id and ticket, cut out of an item: thrice as quick as to decode and encode it anew."""
    head = item[ID_HEAD]
    if head < 0xC0:  # text of at most 31 bytes
        ticket_id = item[ID_HEAD + 1 : ID_HEAD + 1 + (head & 0x1F)]
    elif head == 0xD9:  # of at most 255
        ticket_id = item[ID_HEAD + 2 : ID_HEAD + 2 + item[ID_HEAD + 1]]
    else:
        ticket_id = item[ID_HEAD + 3 : ID_HEAD + 3 + int.from_bytes(item[ID_HEAD + 1 : ID_HEAD + 3])]
    return item[DIGEST], ticket_id, TICKET + item[FIELDS]


def _add_one_by_one(made: Build, line: int, items: list[bytes]) -> None:
    for number, encoded in enumerate(items, line):
        item = _item(encoded)
        if isinstance(item, wire.Listed):
            made.add(number, item.digest, ticket_of(item))
        elif isinstance(item, wire.Gone):
            made.forget(number, item.ticket_id)


def _last(path: Path) -> tuple[wire.CataloguePage | None, int]:
    """The last whole page without its items, and where it ends."""
    payload, end = b"", 0
    for payload, end in _payloads(path):  # noqa: B007 - only the last one is of interest
        continue
    try:
        return msgspec.structs.replace(wire.decode(payload, wire.CataloguePage), items=()), end
    except wire.Unfit:  # there is none, or another release wrote it
        return None, 0


def _payloads(path: Path) -> Iterator[tuple[bytes, int]]:
    """The whole pages of a spool up to the first that is torn, each with where it ends."""
    with path.open("rb") as file:
        while len(head := file.read(HEAD_BYTES)) == HEAD_BYTES:
            length = int.from_bytes(head[:4])
            if (
                not 0 < length <= wire.PAYLOAD_BYTES_MAX
            ):  # zeros are what a cut leaves of a page not yet written
                return
            payload = file.read(length)
            if len(payload) != length or crc32(payload) != int.from_bytes(head[4:]):
                return
            yield payload, file.tell()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
