"""Catalogues that were cut short, overwritten, or killed half-made, and disks that are full.

A damaged LMDB file can end the process that maps it with SIGBUS or SIGSEGV. These tests open such files in
their own process: were the check before the opening not good enough, this process would be gone.
"""

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.catalogue import Build, Catalogue, CatalogueError, CatalogueFull, Counts, Upsert
from firmware.catalogue.check import Fault, child_fault, inside_fault, outside_fault
from firmware.catalogue.folder import current_build
from firmware.catalogue.store import ABOUT, Store, disk_takes, encode_ticket
from firmware.core.ticket import Ticket

NOW_MS = 1_790_000_000_000  # 2026-09-21T14:13:20Z
TICKETS = 1500
PAGE = 4096
LOCK_BYTES = 8192  # of LMDB's table of readers, which another test run may have cleared away


def make(folder: Path, tickets: int = TICKETS) -> Path:
    """A list whose file has used, unused and freed pages."""
    with Build(folder, source="list", stamp_utc_ms=NOW_MS) as build:
        for line in range(tickets):
            build.add(line, build.digest(f"CODE-{line}"), Ticket(f"T{line}", event="concert", sector="north"))
        build.swap()
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        for line in range(40):
            changed = Ticket(f"T{line}", event="concert", sector="south")
            catalogue.apply_changes([Upsert(catalogue.digest(f"CODE-{line}"), changed)], stamp_utc_ms=NOW_MS)
    build_folder = current_build(folder)
    assert build_folder is not None
    return build_folder / "data.mdb"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to copy."""
    folder = tmp_path_factory.mktemp("sound") / "catalogue"
    make(folder)
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A sound catalogue of its own for each test."""
    copy = tmp_path / "catalogue"
    shutil.copytree(sound, copy, symlinks=True)
    return copy


def open_whatever_it_is(folder: Path) -> str:
    """Open; either everything is as it was written, or the list was set aside and nothing is there."""
    before = (folder / "build-1" / "data.mdb").read_bytes()
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        if not catalogue.fault:
            assert catalogue.count == TICKETS
            for line in range(TICKETS):
                sector = "south" if line < 40 else "north"
                expected = Ticket(f"T{line}", event="concert", sector=sector)
                assert catalogue.get(catalogue.digest(f"CODE-{line}")) == expected
            change = Upsert(catalogue.digest("NEW"), Ticket("NEW"))
            with suppress(CatalogueError):  # pages that only a writer reads
                assert catalogue.apply_changes([change], stamp_utc_ms=NOW_MS) == Counts(new=1)
                assert catalogue.get(catalogue.digest("NEW")) == Ticket("NEW")
            assert catalogue.get(catalogue.digest("CODE-99")) is not None
            return ""
        assert catalogue.get(catalogue.digest("CODE-1")) is None
        aside = folder / "damaged-2026-09-21T14-13-20Z-build-1"
        assert aside.name in catalogue.fault
        assert "import the list again" in catalogue.fault
        assert (aside / "data.mdb").read_bytes() == before
        assert not (folder / "current").exists()
        return catalogue.fault


def data(folder: Path) -> Path:
    return folder / "build-1" / "data.mdb"


@pytest.mark.parametrize("left", [0, 1, 100, PAGE, 2 * PAGE - 1, 2 * PAGE, 5 * PAGE, -PAGE, -1])
def test_a_list_cut_short_is_set_aside_and_the_gate_starts(folder: Path, left: int) -> None:
    length = data(folder).stat().st_size
    os.truncate(data(folder), left if left >= 0 else length + left)
    assert open_whatever_it_is(folder)


def test_a_list_whose_file_is_gone_is_set_aside(folder: Path) -> None:
    data(folder).rename(folder / "lost")
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert "has no data.mdb to read" in catalogue.fault
    assert (folder / "damaged-2026-09-21T14-13-20Z-build-1").exists()


def test_a_list_whose_folder_is_gone_is_said_to_be_missing(folder: Path) -> None:
    shutil.rmtree(folder / "build-1")
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert catalogue.fault == "build-1 is not there: import the list again"


@pytest.mark.parametrize("name", ["", "build-", "build-0", "../build-1", "build-1/../..", "\0\xff" * 100])
def test_a_note_of_the_list_in_use_that_names_none_is_said(folder: Path, name: str) -> None:
    (folder / "current").write_text(name)
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert "names no build; import the list again" in catalogue.fault
        assert catalogue.get(catalogue.digest("CODE-1")) is None
        assert not catalogue.reload()
    with Build(folder, source="list", stamp_utc_ms=NOW_MS) as build:
        assert "names no build" in build.fault
        build.add(1, build.digest("CODE-1"), Ticket("T1"))
        assert build.swap() == Counts(new=1)
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert catalogue.fault == ""
        assert catalogue.get(catalogue.digest("CODE-1")) == Ticket("T1")


@settings(max_examples=40)
@given(st.data())
def test_noise_anywhere_in_a_list_neither_ends_the_gate_nor_changes_a_ticket(
    sound: Path, draw: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "catalogue"
        shutil.copytree(sound, folder, symlinks=True)
        length = data(folder).stat().st_size
        at = draw.draw(st.integers(0, length - 1), label="at")
        size = draw.draw(st.sampled_from([1, 8, 100, PAGE, 20 * PAGE]), label="size")
        noise = draw.draw(st.randoms(use_true_random=False), label="noise").randbytes(size)
        with data(folder).open("r+b") as file:
            file.seek(at)
            file.write(noise[: length - at])
        open_whatever_it_is(folder)


@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"\x10\x08"])
def test_a_list_of_zeros_or_ones_after_its_head_is_set_aside(folder: Path, fill: bytes) -> None:
    head = data(folder).read_bytes()[: 2 * PAGE]
    length = data(folder).stat().st_size
    data(folder).write_bytes(head + (fill * length)[: length - len(head)])
    assert open_whatever_it_is(folder)


def test_a_list_of_noise_is_set_aside(folder: Path) -> None:
    data(folder).write_bytes(random.Random(1).randbytes(data(folder).stat().st_size))
    assert "does not begin like an LMDB file" in open_whatever_it_is(folder)


def test_one_changed_letter_of_a_ticket_is_found(folder: Path) -> None:
    ticket = Ticket("T1000", event="concert", sector="north")
    contents = data(folder).read_bytes()
    assert encode_ticket(ticket) in contents
    changed = contents.replace(encode_ticket(ticket), encode_ticket(ticket._replace(sector="forth")))
    data(folder).write_bytes(changed)
    assert "holds other tickets" in open_whatever_it_is(folder)


def test_noise_in_the_lock_file_of_a_list_harms_nothing(folder: Path) -> None:
    lock = folder / "build-1" / "lock.mdb"
    lock.write_bytes(random.Random(2).randbytes(LOCK_BYTES))
    assert open_whatever_it_is(folder) == ""


def test_a_file_cut_short_would_kill_a_gate_that_did_not_look_first(folder: Path) -> None:
    os.truncate(data(folder), 3 * PAGE)
    command = [sys.executable, "-P", "-m", "firmware.catalogue", "read", str(folder / "build-1")]
    child = subprocess.run(command, check=False, capture_output=True, text=True)
    assert -child.returncode == signal.SIGBUS
    assert child_fault(child) == Fault("ends its reader with SIGBUS")
    assert "was cut short" in open_whatever_it_is(folder)


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (0, None),
        (3, Fault("holds other tickets")),
        (-signal.SIGSEGV, Fault("ends its reader with SIGSEGV")),
        (-signal.SIGABRT, Fault("ends its reader with SIGABRT")),
        (-signal.SIGKILL, Fault("could not be checked: the check ended with -9", damaged=False)),
        (1, Fault("could not be checked: the check ended with 1", damaged=False)),
    ],
)
def test_a_list_is_damaged_only_if_reading_it_shows_that(status: int, fault: Fault | None) -> None:
    child = subprocess.CompletedProcess(["check"], status, "holds other tickets" if status == 3 else "", "")
    assert child_fault(child) == fault


def test_a_check_that_cannot_be_made_leaves_the_list_where_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", str(folder))  # no Python starts from there
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert "build-1 could not be checked" in catalogue.fault
        assert catalogue.get(catalogue.digest("CODE-50")) is None
    monkeypatch.delenv("PYTHONHOME")
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert catalogue.fault == ""
        assert catalogue.get(catalogue.digest("CODE-50")) is not None


def test_a_writer_sets_a_damaged_list_aside_and_makes_a_new_one(folder: Path) -> None:
    os.truncate(data(folder), 5 * PAGE)
    with Build(folder, source="list", stamp_utc_ms=NOW_MS) as build:
        assert "was cut short" in build.fault
        build.add(1, build.digest("CODE-1"), Ticket("T1"))
        assert build.swap() == Counts(new=1)
    assert (folder / "damaged-2026-09-21T14-13-20Z-build-1").exists()
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert catalogue.fault == ""
        assert catalogue.get(catalogue.digest("CODE-1")) == Ticket("T1")


def test_a_damaged_list_beside_a_writer_is_left_to_the_writer(folder: Path) -> None:
    with Build(folder, source="list", stamp_utc_ms=NOW_MS):
        os.truncate(data(folder), 5 * PAGE)
        with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
            assert "build-1 was cut short" in catalogue.fault
            assert catalogue.get(catalogue.digest("CODE-1")) is None
            assert (folder / "build-1").exists()


def test_a_new_list_that_cannot_be_opened_leaves_the_older_in_use(folder: Path) -> None:
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        shutil.copytree(folder / "build-1", folder / "build-2")
        os.truncate(folder / "build-2" / "data.mdb", 5 * PAGE)
        (folder / "next").write_text("build-2\n")
        (folder / "next").replace(folder / "current")
        assert not catalogue.reload()
        assert "build-2 was cut short" in catalogue.fault
        assert catalogue.get(catalogue.digest("CODE-50")) == Ticket("T50", event="concert", sector="north")
        shutil.copytree(folder / "build-1", folder / "build-3")
        (folder / "next").write_text("build-3\n")
        (folder / "next").replace(folder / "current")
        assert catalogue.reload()
        assert catalogue.fault == ""
        (folder / "current").unlink()
        assert not catalogue.reload()
        assert catalogue.get(catalogue.digest("CODE-50")) is not None


def test_a_list_of_a_later_format_is_kept_for_the_release_that_reads_it(folder: Path) -> None:
    with Store(folder / "build-1") as store:
        store.describe(store.about()._replace(format=2))
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert "is of format 2, and this release reads 1" in catalogue.fault
    assert (folder / "build-1").exists()


def test_a_list_that_does_not_say_what_it_is_is_set_aside(folder: Path) -> None:
    with Store(folder / "build-1") as store, store.begin(write=True) as transaction:
        transaction.put(ABOUT, b"nonsense")
    assert "does not say what it is" in open_whatever_it_is(folder)


def test_a_sound_list_has_no_fault_from_outside_nor_inside(folder: Path) -> None:
    assert outside_fault(folder / "build-1") == ""
    assert inside_fault(folder / "build-1", trial=True) == ""


# --- killed half-way ---------------------------------------------------------------------------------

BUILDER = """
import sys
from pathlib import Path
from firmware.catalogue import Build
from firmware.core.ticket import Ticket
with Build(Path(sys.argv[1]), source="killed", stamp_utc_ms=1) as build:
    for line in range(120_000):
        build.add(line, build.digest(f"NEW-{line}"), Ticket(f"N{line}"))
    print("swapping", flush=True)
    build.swap()
    print("swapped", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("written_bytes", [0, 1, 2 << 20, 6 << 20])
def test_a_build_killed_at_any_time_leaves_one_list_whole(folder: Path, written_bytes: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as builder:
        assert builder.stdout is not None
        assert builder.stdout.readline() == "swapping\n"
        written = folder / "build-2" / "data.mdb"
        while written_bytes and not (written.exists() and written.stat().st_size >= written_bytes):
            assert builder.poll() is None
        builder.kill()
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        assert catalogue.fault == ""
        if catalogue.source == "killed":  # quicker than the kill: then it must be there whole
            assert catalogue.count == 120_000
            return
        assert catalogue.count == TICKETS
    with Build(folder, source="list", stamp_utc_ms=NOW_MS) as build:
        assert {path.name for path in folder.glob("build-*")} == {"build-1", "build-2"}
        build.add(1, build.digest("CODE-1"), Ticket("T1"))
        assert build.swap() == Counts(changed=1, removed=TICKETS - 1)


# --- full disks --------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=40m", "gatepost-test", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a full disk needs root, to mount a small one")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_seen_before_it_is_full_and_the_list_in_use_stays(small_disk: Path) -> None:
    folder = small_disk / "catalogue"
    make(folder)
    (small_disk / "ballast").write_bytes(bytes(20 << 20))
    with pytest.raises(CatalogueFull, match=r"the disk is full: \d+ MiB free, about \d+ MiB needed"):
        make(folder, 60_000)
    assert {path.name for path in folder.glob("build-*")} == {"build-1"}
    assert shutil.disk_usage(folder).free > 10 << 20
    assert open_whatever_it_is(folder) == ""


def test_changes_on_a_full_disk_leave_the_list_as_it_was(small_disk: Path) -> None:
    folder = small_disk / "catalogue"
    make(folder)
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        with suppress(OSError), (small_disk / "ballast").open("wb") as ballast:
            while True:
                ballast.write(bytes(PAGE))
                ballast.flush()
        changes = [Upsert(catalogue.digest(f"N{number}"), Ticket(f"N{number}")) for number in range(900)]
        with pytest.raises(CatalogueFull, match="the disk is full: 0 MiB free"):
            catalogue.apply_changes(changes, stamp_utc_ms=NOW_MS)
        assert catalogue.get(catalogue.digest("N1")) is None
        assert catalogue.get(catalogue.digest("CODE-50")) is not None
        (small_disk / "ballast").unlink()
        assert catalogue.apply_changes(changes, stamp_utc_ms=NOW_MS) == Counts(new=900)


FILE_BYTES_MAX = 3 << 20
FILLER = f"""
import resource, sys
from pathlib import Path
from firmware.catalogue import Build, CatalogueError
from firmware.core.ticket import Ticket
resource.setrlimit(resource.RLIMIT_FSIZE, ({FILE_BYTES_MAX}, {FILE_BYTES_MAX}))
try:
    with Build(Path(sys.argv[1]), source="large", stamp_utc_ms=1) as build:
        for line in range(40_000):
            build.add(line, build.digest(f"NEW-{{line}}"), Ticket(f"N{{line}}"))
        print("swapping")
        build.swap()
except CatalogueError as error:
    print(error)
"""


def test_a_disk_that_fails_in_the_middle_of_a_build_leaves_the_list_in_use(folder: Path) -> None:
    filler = subprocess.run(
        [sys.executable, "-c", FILLER, str(folder)], check=True, capture_output=True, text=True
    )
    began, said = filler.stdout.splitlines()
    assert began == "swapping"
    assert "is the disk failing?" in said
    assert {path.name for path in folder.glob("build-*")} == {"build-1"}
    assert open_whatever_it_is(folder) == ""


def test_other_failures_of_a_disk_are_not_called_full(folder: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    with pytest.raises(OSError, match="Input/output"), disk_takes(folder, 0):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(CatalogueFull), disk_takes(folder, 0):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


def test_a_folder_that_cannot_be_looked_at_leaves_the_list_as_it_is(folder: Path) -> None:
    with Catalogue(folder, now_utc_ms=NOW_MS) as catalogue:
        away = folder.rename(folder.with_name("away"))
        folder.write_text("in its place")
        assert not catalogue.reload()
        assert catalogue.get(catalogue.digest("CODE-1")) is not None
        folder.unlink()
        away.rename(folder)
        assert not catalogue.reload(), "still the same"
