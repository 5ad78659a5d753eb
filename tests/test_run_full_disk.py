"""A gate that is started on a disk that takes nothing: it waits with its board open, and begins by itself."""

import os
from collections.abc import Iterator

import pytest

from firmware.files import INDEX_BYTES, prove_room
from firmware.rows import Unwritable, set_aside
from tests.gate_process import fill_catalogue
from tests.small_disk import SmallDisk, small_disk, unavailable
from tests.test_run import Gates

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(unavailable() is not None, reason=str(unavailable())),
]

DISK_BYTES = 96 << 20
NARROW_BYTES = 32 << 20
SOME_BYTES = 64 << 10  # enough to make a database, too little for the index of its log
WAITS = "the disk takes nothing, and the gate waits until it does: make room on it"


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with small_disk(DISK_BYTES) as found:
        yield found


def test_promise_4_a_gate_that_finds_no_room_for_a_journal_frees_its_lanes_and_begins_when_there_is_some(
    disk: SmallDisk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = disk.folder / "data"
    fill_catalogue(data)
    ballast = disk.fill()
    folder = tmp_path_factory.mktemp("settings")
    with Gates(folder, data, first=WAITS) as gates:
        assert gates.do("press")
        assert gates.do("release")
        ballast.unlink()
        gates.err.expect("ready: lanes")
        assert gates.do("opened", count=1)
        assert gates.do("scan", code="T0", lane="north")
        assert gates.do("boards") == 1
        assert len([line for line in gates.err.seen if WAITS in line]) <= 3, "said once for each reason"
        assert gates.end() == 0


def test_promise_4_a_gate_on_a_disk_that_went_read_only_frees_its_lanes_and_begins_when_it_is_mended(
    disk: SmallDisk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data, folder = disk.folder / "data", tmp_path_factory.mktemp("settings")
    fill_catalogue(data)
    with Gates(folder, data) as gates:
        assert gates.end() == 0
    disk.remount("ro")
    with Gates(folder, data, first="the disk takes nothing.*Read-only file system") as gates:
        assert gates.do("press")
        assert gates.do("release")
        disk.remount("rw")
        gates.err.expect("ready: lanes")
        assert gates.do("opened", count=1)
        assert gates.do("scan", code="T0", lane="north")
        assert gates.end() == 0


def test_a_gate_that_waits_for_room_can_be_stopped(
    disk: SmallDisk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    disk.fill()
    with Gates(tmp_path_factory.mktemp("settings"), disk.folder / "data", first=WAITS) as gates:
        assert gates.end() == 0


def test_promise_4_a_gate_with_too_little_room_to_open_its_journal_waits_as_on_a_full_disk(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with small_disk(NARROW_BYTES) as disk:
        data, room = disk.folder / "data", disk.folder / "room"
        data.mkdir()
        room.write_bytes(os.urandom(SOME_BYTES))
        ballast = disk.fill()
        room.unlink()
        with Gates(tmp_path_factory.mktemp("settings"), data, first=WAITS) as gates:
            assert gates.do("press")
            assert gates.do("release")
            ballast.unlink()
            gates.err.expect("ready: lanes")
            assert gates.end() == 0
        names = {each.name for each in (data / "journal").iterdir()}
        assert {name for name in names if not name.startswith("journal.db")} == {"history"}


def test_a_journal_with_the_index_of_its_log_needs_no_room_to_be_opened(disk: SmallDisk) -> None:
    database = disk.folder / "journal.db"
    database.touch()
    prove_room(database)
    assert [each.name for each in disk.folder.iterdir() if each.is_file()] == ["journal.db"]
    index = disk.folder / "journal.db-shm"
    index.write_bytes(os.urandom(INDEX_BYTES))
    os.sync()
    disk.fill()
    prove_room(database)
    os.truncate(index, 3)  # so much an opening that was cut short leaves of it
    (disk.folder / "ballast").rename(disk.folder / "first")
    disk.fill()
    with pytest.raises(OSError, match="No space"):
        prove_room(database)


def test_a_damaged_journal_stays_where_it_is_until_there_is_room_for_another(disk: SmallDisk) -> None:
    journal = disk.folder / "journal.db"
    journal.write_bytes(b"damaged")
    ballast = disk.fill()
    with pytest.raises(Unwritable, match="No space"):
        set_aside(disk.folder, 1)
    assert journal.read_bytes() == b"damaged"
    ballast.unlink()
    assert set_aside(disk.folder, 1).read_bytes() == b"damaged"
    assert not journal.exists()
