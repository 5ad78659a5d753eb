"""Order, place and header of a run, and how long Hypothesis searches; fixtures stand with their tests."""

import fcntl
import os
import platform
import shutil
import signal
import sqlite3
import tempfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import lmdb
import pytest
from hypothesis import HealthCheck, settings

from firmware.files import SHARED_MEMORY

# Fast ones first: a mistake shows within seconds, whatever the slow ones take. The slowest are not the last,
# because then the other processes of a run would wait for one.
WEIGHTS = {"powercut": 1, "slow": 2}

# Temporary folders lie in memory where there is room: a journal reserves 34 MB, and a disk that others keep
# busy for a second closes a lane, as it should, where a test wants it open. Tests about disks make their own.
# TMPDIR chooses another place.
MEMORY_BYTES_LEAST = 4 << 30  # ten times what a run was seen to need
if os.access(SHARED_MEMORY, os.W_OK) and shutil.disk_usage(SHARED_MEMORY).free > MEMORY_BYTES_LEAST:
    if os.statvfs(SHARED_MEMORY).f_flag & os.ST_NOEXEC:  # as in containers; `tmp_path` holds programs
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    tempfile.tempdir = os.environ.setdefault("TMPDIR", str(SHARED_MEMORY))

# A run in the background of a shell ignores Ctrl-C, and so would every program that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

LOCKS = SHARED_MEMORY / f"gatepost-{os.geteuid()}"
LOCKS_BEFORE = pytest.StashKey[set[Path]]()

# No deadline and no complaint about slowness: a busy machine is no fault of the gate.
# At the desk every run tries new histories. In CI the same commit always tries the same ones, so that its
# result can be had again anywhere and no change is refused for a fault which it did not bring; it makes up
# for that by trying more.
desk = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("desk", desk)
settings.register_profile("ci", desk, derandomize=True, max_examples=200)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


def weight(item: pytest.Item) -> int:
    """The heaviest of a test's markers; a test without one runs first."""
    return max((WEIGHTS.get(mark.name, 0) for mark in item.iter_markers()), default=0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=weight)  # stable: within one weight the files keep their order


def pytest_report_header() -> list[str]:
    lmdb_library = ".".join(map(str, lmdb.version()))
    user = "root" if os.geteuid() == 0 else "not root"
    return [
        f"stores: py-lmdb {metadata.version('lmdb')} (LMDB {lmdb_library}), SQLite {sqlite3.sqlite_version}",
        f"devices: pyserial {metadata.version('pyserial')} on pseudo-terminals; the fake board",
        f"machine: {platform.machine()}, Linux {platform.release()}, {user}",
    ]


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[LOCKS_BEFORE] = set(LOCKS.glob("*.lock"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stores of tests vanish with their folders; their tables of readers in shared memory would stay.

    One that LMDB holds a lock on belongs to another test run, or to a gate.
    """
    if hasattr(session.config, "workerinput"):
        return  # the other processes of this run are still at work: the first of them does it at the end
    before = session.config.stash[LOCKS_BEFORE]
    for lock in set(LOCKS.glob("*.lock")) - before:
        with suppress(FileNotFoundError, BlockingIOError, PermissionError), lock.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.unlink()
