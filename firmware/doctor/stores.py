"""Journal and catalogue, looked at beside a gate that may be running: no lock is taken, nothing written."""

import os
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from firmware.catalogue.check import build_fault, outside_fault
from firmware.catalogue.folder import CatalogueDamaged, current_build
from firmware.catalogue.store import Store
from firmware.doctor import findings
from firmware.doctor.check import Check
from firmware.doctor.machine import Machine, read
from firmware.doctor.user import user_name
from firmware.remembered import Remembered
from firmware.row import epoch_and_seq, name_of
from firmware.rows import (
    LOG_FRAME_BYTES,
    LOG_PAGES,
    PAGE_BYTES,
    QUICK_CHECK_BYTES_MAX,
    TAIL_ROWS,
    Damaged,
    RowReader,
    Stored,
    Unwritable,
    fault_between,
    open_read_only,
)
from firmware.venue_key import KeyUnusable, keys_of, venue_key

NAMES_MAX = 3  # of stores that were set aside; the rest is counted


class Running(NamedTuple):
    """The process that works on a folder."""

    process: int


class Found(NamedTuple):
    """What there is to say, and how much of the journal's reserve is taken already."""

    checks: tuple[Check, ...]
    reserved_bytes: int = 0


def running(machine: Machine, data: Path) -> Running | None:
    """The gate that holds this folder. To try the lock would keep a gate out that starts at this moment.

    /proc/locks has a line for each lock: number, kind, -, -, process, device:inode. The device of a file
    is not always what the kernel writes there, so the process that the lock file names may stand for it.
    """
    lock = data / "lock"
    try:
        stat, told = lock.stat(), read(lock)
    except OSError:
        return None
    for line in machine.text("/proc/locks").splitlines():
        fields = line.split()
        if len(fields) < 8 or fields[1] != "FLOCK":
            continue
        major, minor, inode = fields[5].split(":")
        device = os.makedev(int(major, 16), int(minor, 16))
        if int(inode) == stat.st_ino and (device == stat.st_dev or fields[4] == told):
            return Running(int(fields[4]))
    return None


def examine(data: Path | None, gate: Running | None) -> Found:
    """Look at the stores of a folder."""
    if data is None:
        return Found((findings.NO_DATA_ASKED.seen(),))
    me = user_name(os.geteuid())
    try:
        owner = user_name(data.stat().st_uid)
    except FileNotFoundError:
        return Found((findings.NO_DATA_YET.seen(folder=data),))
    except OSError:  # a folder above it may not be looked into
        return Found((findings.DATA_CLOSED.seen(folder=data, user=me, owner="its user"),))
    state = findings.GATE_RESTS.seen(folder=data)
    if gate is not None:
        state = findings.GATE_RUNS.seen(folder=data, process=gate.process)
    if not os.access(data, os.R_OK | os.X_OK, effective_ids=True):
        return Found((state, findings.DATA_CLOSED.seen(folder=data, user=me, owner=owner)))
    checks = [state]
    if not os.access(data, os.W_OK, effective_ids=True):
        checks.append(findings.DATA_UNWRITABLE.seen(folder=data, user=me))
    journal = tuple(_journal(data, live=gate is not None))
    catalogue = tuple(_catalogue(data / "catalogue"))
    return Found((*checks, *journal, *catalogue), reserved_bytes(data / "journal"))


def _journal(data: Path, *, live: bool) -> Iterator[Check]:
    known = Remembered(data / "epoch").row  # before the journal, which may grow meanwhile
    folder = data / "journal"
    file = folder / "journal.db"
    if aside := [path.name for path in sorted(folder.glob("damaged-*.db"))]:
        yield findings.JOURNAL_ASIDE.seen(files=some(aside))
    if not file.exists():
        none = findings.JOURNAL_NONE.seen()
        yield findings.JOURNAL_SHORT.seen(last=0, known=name_of(known)) if known else none
        return
    if condemned := read(folder / "condemned"):
        yield findings.JOURNAL_DAMAGED.seen(problem=f"{file}: {condemned}")
        return
    try:
        with RowReader(folder) as reader:
            problem = "" if live else _pages_fault(folder)
            tail = reader.newest(TAIL_ROWS)[::-1]
            problem = problem or next(filter(None, _chain_faults(reader, tail)), "")
            rows, last = reader.count_after(0), reader.last_id()
    except Damaged as error:
        yield findings.JOURNAL_DAMAGED.seen(problem=error)
        return
    except Unwritable as error:
        yield findings.JOURNAL_UNREADABLE.seen(problem=error)
        return
    if problem:
        yield findings.JOURNAL_DAMAGED.seen(problem=f"{file}: {problem}")
        return
    if known > last:
        yield findings.JOURNAL_SHORT.seen(last=name_of(last) if last else 0, known=name_of(known))
        return
    epoch = epoch_and_seq(last)[0]
    proved = "all" if len(tail) == rows else f"the last {len(tail)}"
    yield findings.JOURNAL_GOOD.seen(rows=f"{rows:,}", epoch=epoch, proved=proved)


def _chain_faults(reader: RowReader, tail: list[Stored]) -> Iterator[str]:
    """What is wrong at the end of the chain. The row before a long tail is not looked at."""
    retained_from = reader.retained_from()
    if tail and len(tail) < TAIL_ROWS:
        yield fault_between(None, tail[0], retained_from)
    for before, stored in pairwise(tail):
        yield fault_between(before, stored, retained_from)


def _pages_fault(folder: Path) -> str:
    """What SQLite says of its pages, where no gate would have to wait for the answer."""
    if (folder / "journal.db").stat().st_size > QUICK_CHECK_BYTES_MAX:
        return ""
    with closing(open_read_only(folder)) as connection:
        try:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except connection.Error as error:
            return str(error)
    return "" if found == "ok" else str(found)


def reserved_bytes(folder: Path) -> int:
    """How much of the reserve is there: free pages in the database, and the log."""
    log = folder / "journal.db-wal"
    try:
        with RowReader(folder), closing(open_read_only(folder)) as connection:
            pages = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
        return pages * PAGE_BYTES + min(log.stat().st_size, LOG_PAGES * LOG_FRAME_BYTES)
    except (Damaged, Unwritable, OSError):
        return 0


def _catalogue(folder: Path) -> Iterator[Check]:
    if aside := [path.name for path in sorted(folder.glob("damaged-*"))]:
        yield findings.CATALOGUE_ASIDE.seen(files=some(aside))
    try:
        build = current_build(folder)
    except (CatalogueDamaged, OSError) as error:
        yield findings.CATALOGUE_DAMAGED.seen(problem=error)
        return
    if (folder / "key").exists():  # never made from here
        try:
            venue_key(folder)
        except KeyUnusable as error:
            yield findings.KEY_BAD.seen(problem=error)
            return
    elif build is not None:
        yield findings.KEY_BAD.seen(problem=f"{folder / 'key'} is not there, and the list was made with one")
        return
    if build is None:
        yield findings.CATALOGUE_NONE.seen()
        return
    yield _list_in_use(build, folder)


def _list_in_use(build: Path, folder: Path) -> Check:
    """Read all of it in a child, as a starting gate does.

    Only as its owner: LMDB's table of readers belongs to the user who opened the list, and a second user
    would put a table of his own in its place beside a gate that is at work.
    """
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        if reason := outside_fault(build):
            return findings.CATALOGUE_DAMAGED.seen(problem=f"{build.name} {reason}")
        return findings.CATALOGUE_OUTSIDE.seen(build=build.name, owner=user_name(owner))
    fault = build_fault(build, keys_of(folder), trial=False)
    if fault is not None and fault.damaged:
        # A gate may have changed it while it was read.
        fault = build_fault(build, keys_of(folder), trial=False)
    if fault is None:
        with Store(build, readonly=True) as store:
            return findings.CATALOGUE_GOOD.seen(tickets=f"{store.about().tickets:,}", build=build.name)
    return findings.CATALOGUE_DAMAGED.seen(problem=f"{build.name} {fault.reason}")


def some(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - NAMES_MAX
    return ", ".join(names[:NAMES_MAX]) + (f" and {more} more" if more > 0 else "")
