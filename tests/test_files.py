import os
import shutil
from pathlib import Path

import lmdb
import pytest

from firmware.catalogue.folder import build_in_use
from firmware.core.ticket import NO_HISTORY
from firmware.files import SHARED_MEMORY, forget_lock, keep_lock_in_memory
from firmware.history import HistoryIndex
from tests.bench import world


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    folder = tmp_path / "shm"
    folder.mkdir()
    return folder


def test_no_look_up_of_the_loop_writes_to_the_disk(tmp_path: Path) -> None:
    world.make_catalogue(tmp_path / "catalogue", 3)
    build = build_in_use(tmp_path / "catalogue")
    assert build is not None
    with HistoryIndex(tmp_path / "history", 0, ()) as index:
        assert index.get("T1") == NO_HISTORY
        for folder in (build, tmp_path / "history"):
            lock = folder / "lock.mdb"
            assert lock.is_symlink()
            assert lock.resolve().is_relative_to(SHARED_MEMORY)
            assert lock.exists()


def test_a_copy_of_a_store_has_readers_of_its_own(tmp_path: Path, memory: Path) -> None:
    first, copy = tmp_path / "first", tmp_path / "copy"
    first.mkdir()
    keep_lock_in_memory(first, memory)
    shutil.copytree(first, copy, symlinks=True)
    keep_lock_in_memory(copy, memory)
    assert (first / "lock.mdb").readlink() != (copy / "lock.mdb").readlink()


def test_a_store_that_goes_takes_its_readers_along(tmp_path: Path, memory: Path) -> None:
    keep_lock_in_memory(tmp_path, memory)
    with lmdb.open(str(tmp_path)):
        assert (tmp_path / "lock.mdb").exists()
    forget_lock(tmp_path, memory)
    assert not (tmp_path / "lock.mdb").exists()


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path, memory: Path) -> None:
    own = memory / f"gatepost-{os.geteuid()}"
    own.mkdir()
    own.chmod(0o777)
    keep_lock_in_memory(tmp_path, memory)
    assert not (tmp_path / "lock.mdb").is_symlink()


def test_without_memory_the_lock_stays_on_the_disk(tmp_path: Path, memory: Path) -> None:
    memory.rmdir()
    keep_lock_in_memory(tmp_path, memory)
    with lmdb.open(str(tmp_path)):
        assert (tmp_path / "lock.mdb").is_file()
