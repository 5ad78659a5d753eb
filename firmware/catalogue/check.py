"""Whether a build may be opened. LMDB trusts its file: damage can end the process that reads it.

So a build is first looked at from outside, as bytes, and then read from end to end by a child process,
which may die of it. A gate opens only what a child has survived. What is damaged is set aside whole.
"""

import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import lmdb
import msgspec

from firmware.catalogue.folder import (
    CatalogueDamaged,
    current_build,
)
from firmware.catalogue.store import ABOUT, FORMAT, About, Store, content_of_all
from firmware.files import sync_folder
from firmware.venue_key import DIGEST_BYTES, key_with

# 5 million tickets take 4 s on a laptop and perhaps 20 s on a Pi; beyond this the card hangs. Half of
# `watchdog.OPENING_S` at most, or the whole gate would be ended before it can work without its list.
CHECK_S_MAX = 45
LOOKS_MAX = 3  # at a meta page that a writer may be replacing at this very moment
LOOK_RECORDS = 1000  # in memory at once: 200 kB
STATUS_DAMAGED = 3  # of the child; Python itself ends with 1 and 2

# mdb.c, LMDB 0.9: two meta pages at the start, each a page header of 16 bytes and then MDB_meta: magic,
# version, address, map size, two databases of 48 bytes (the first begins with the page size), last page,
# transaction.
META = struct.Struct("=16xIIQQI44x48xQQ")
MAGIC = 0xBEEFC0DE
DATA_VERSION = 1
MAP_BYTES_MAX = 1 << 37  # twice what 5 million tickets of the longest texts could grow it to
PAGE_BYTES = frozenset(1 << bits for bits in range(9, 16))

# What LMDB says of a file that is not as it wrote it. Others (no memory, no permission, the card does not
# answer) say nothing about the list.
DAMAGE = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.PanicError,
    lmdb.NotFoundError,
    lmdb.IncompatibleError,
    lmdb.BadTxnError,
    lmdb.BadDbiError,
    lmdb.BadValsizeError,
    lmdb.CursorFullError,
    lmdb.PageFullError,
)
DEATHS = frozenset({signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL})


class Fault(NamedTuple):
    """Why a build is not opened. `damaged` says that the build is at fault, not the machine."""

    reason: str
    damaged: bool = True


def build_fault(build: Path, keys: Sequence[bytes], *, trial: bool) -> Fault | None:
    """Look at a build from outside, then from inside by a child. `trial` tries a write too: writers only.

    It must be made with one of the keys.
    """
    if reason := outside_fault(build):
        return Fault(reason)
    source = Path(__file__).parents[2]  # the same code as this process, from wherever it was started
    command = [sys.executable, "-P", "-m", "firmware.catalogue", "write" if trial else "read", str(build)]
    try:
        child = subprocess.run(  # noqa: S603 – this interpreter, this package, a folder name as its last word
            command,
            capture_output=True,
            check=False,
            text=True,
            errors="replace",
            timeout=CHECK_S_MAX,
            env={**os.environ, "PYTHONPATH": str(source)},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Fault(f"could not be checked: {error}", damaged=False)
    if fault := child_fault(child):
        return fault
    try:
        with Store(build, readonly=True) as store:
            reason = about_fault(store.about(), keys)
    except lmdb.Error as error:
        reason = f"could not be opened: {error}"
    return Fault(reason, damaged=False) if reason else None


def child_fault(child: subprocess.CompletedProcess[str]) -> Fault | None:
    """What the end of a child says of the build that it read."""
    if child.returncode == STATUS_DAMAGED:
        return Fault(child.stdout.strip())
    if -child.returncode in DEATHS:
        return Fault(f"ends its reader with {signal.Signals(-child.returncode).name}")
    if child.returncode:
        why = child.stderr.strip().rpartition("\n")[2] or f"the check ended with {child.returncode}"
        return Fault(f"could not be checked: {why}", damaged=False)
    return None


def about_fault(about: About, keys: Sequence[bytes]) -> str:
    """Why a list of this description is of no use here, or nothing."""
    if about.format != FORMAT:
        return f"is of format {about.format}, and this release reads {FORMAT}"
    if key_with(about.key_mark, keys) is None:
        return "was made with another key: put that key back, or import the list again"
    return ""


def outside_fault(build: Path) -> str:
    """What is wrong with a build as seen from outside, or nothing: cut short, or no LMDB file at all."""
    path = build / "data.mdb"
    for look in range(LOOKS_MAX):
        try:
            with path.open("rb") as file:
                head = file.read(2 * max(PAGE_BYTES))
                length = os.fstat(file.fileno()).st_size
        except OSError as error:
            return f"has no {path.name} to read: {error.strerror}"
        reason = _head_fault(head, length)
        if not reason or look == LOOKS_MAX - 1:
            break
    return reason


def _head_fault(head: bytes, length: int) -> str:
    if length < 2 * min(PAGE_BYTES) or len(head) < META.size:
        return f"has only {length} bytes"
    page_bytes = META.unpack_from(head)[4]
    if page_bytes not in PAGE_BYTES or len(head) < page_bytes + META.size:
        return "does not begin like an LMDB file"
    transactions, lengths = [], []
    for offset in (0, page_bytes):
        magic, version, _, map_bytes, _, last_page, transaction = META.unpack_from(head, offset)
        if (magic, version) != (MAGIC, DATA_VERSION) or map_bytes > MAP_BYTES_MAX:
            return "does not begin like an LMDB file"
        transactions.append(transaction)
        lengths.append((last_page + 1) * page_bytes)
    even, odd = transactions
    if even % 2 or abs(odd - even) != 1:  # they take turns; LMDB would read whichever claims to be newer
        return "has lost its last transaction"
    newest = lengths[odd > even]
    if length < newest:
        return f"was cut short: {length} bytes instead of {newest}"
    return ""


def inside_fault(build: Path, *, trial: bool) -> str:
    """Read all of a build; what is wrong with it, or nothing. May end this process: see `build_fault`."""
    try:
        with Store(build, readonly=True) as store:
            reason = _content_fault(store)
        if trial and not reason:
            with Store(build) as store:
                transaction = store.begin(write=True)
                transaction.put(
                    ABOUT, transaction.get(ABOUT) or b""
                )  # takes pages from the list of free ones
                transaction.abort()
    except DAMAGE as error:
        return f"is damaged: {error}"
    except msgspec.MsgspecError as error:
        return f"does not say what it is: {error}"
    return reason


def _content_fault(store: Store) -> str:
    """Walk through all records, and look every ticket up: damage above the leaves shows only there.

    Ticket ids are only walked through. No scan looks one up, and a third of the time is saved.
    """
    about = store.about()
    ids = store.environment.open_db(b"ids", create=False)
    with store.begin() as transaction:
        count = content = codes = 0
        for keys, values in _by_digest(transaction.cursor()):
            count += len(keys)
            content += content_of_all(keys, values)
            codes += sum(map(crc32, keys))
            if tuple(map(transaction.get, keys)) != values:
                return "does not find all of its tickets"
            if count > about.tickets:
                break
        count_ids = 0
        for _, digests in _by_digest(transaction.cursor(ids)):
            count_ids += len(digests)
            codes -= sum(map(crc32, digests))
            if count_ids > about.tickets:
                break
    if (count, content, count_ids, codes) != (about.tickets, about.content, about.tickets, 0):
        return f"holds other tickets than the {about.tickets:,} that were written"
    return ""


def _by_digest(
    records: Iterable[tuple[bytes, bytes]],
) -> Iterator[tuple[tuple[bytes, ...], tuple[bytes, ...]]]:
    """Keys and values whose keys are digests, as many at a time as make a loop in C worth while."""
    waiting = iter(records)
    while many := [pair for pair in islice(waiting, LOOK_RECORDS) if len(pair[0]) == DIGEST_BYTES]:
        keys, values = zip(*many, strict=True)
        yield keys, values


def set_aside_if_damaged(folder: Path, keys: Sequence[bytes], now_utc_ms: int) -> str:
    """Check the list in use; if it is damaged, set it aside whole and say so. Only the writer may."""
    try:
        build = current_build(folder)
    except CatalogueDamaged as error:
        return str(error)
    if build is None:
        return ""
    fault = build_fault(build, keys, trial=True)
    if fault is None:
        return ""
    if not fault.damaged:
        return f"{build.name} {fault.reason}"
    if not build.exists():
        return f"{build.name} is not there: import the list again"
    date = datetime.fromtimestamp(now_utc_ms / 1000, UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    aside = folder / f"damaged-{date}-{build.name}"
    build.rename(aside)
    (folder / "current").unlink()
    sync_folder(folder)
    return f"{build.name} {fault.reason}; it was set aside as {aside.name}: import the list again"


def main(arguments: list[str]) -> int:
    """What the child does: `read` or `write`, and the build."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # dying is part of its work
    reason = inside_fault(Path(arguments[1]), trial=arguments[0] == "write")
    sys.stdout.write(reason)
    return STATUS_DAMAGED if reason else 0
