"""The order and header of a test run, and how long Hypothesis searches; fixtures stand with their tests."""

import fcntl
import os
import platform
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata

import lmdb
import pytest
from hypothesis import HealthCheck, settings

from firmware.files import SHARED_MEMORY

# Fast ones first: a mistake shows within seconds, whatever the slow ones take.
WEIGHTS = {"slow": 1, "powercut": 2}

# No deadline and no complaint about slowness: a busy machine is no fault of the gate.
# At the desk every run tries new histories. In CI the same commit always tries the same ones, so that its
# result can be had again anywhere and no change is refused for a fault which it did not bring; it makes up
# for that by trying more.
desk = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("desk", desk)
settings.register_profile("ci", desk, derandomize=True, max_examples=300)
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


@pytest.fixture(scope="session", autouse=True)
def no_lock_stays_in_memory() -> Iterator[None]:
    """Stores of tests vanish with their folders; their tables of readers in shared memory would stay.

    One that LMDB holds a lock on belongs to another test run, or to a gate.
    """
    folder = SHARED_MEMORY / f"gatepost-{os.geteuid()}"
    before = set(folder.glob("*.lock"))
    yield
    for lock in set(folder.glob("*.lock")) - before:
        with suppress(FileNotFoundError, BlockingIOError, PermissionError), lock.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.unlink()
