"""A journal that comes back otherwise than it was left: damaged, cut short, older, or not at all."""

import os
import random
import select
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from firmware.core.ticket import NO_HISTORY, Direction
from firmware.row import decode, row_id
from firmware.rows import RowReader, Unwritable
from tests.journals import (
    Disk,
    News,
    as_after_a_crash,
    faults_of,
    kinds,
    open_journal,
    scan_row,
    walk_row,
)

PEOPLE = 30
OPEN_S_MAX = 60  # a damaged store may lead its reader in circles; a good start takes some milliseconds


class Opened(NamedTuple):
    """What a process found that opened the journal."""

    epoch: int
    faults: list[str]
    known: int
    writable: bool


class Elsewhere:
    """A process that opens one journal after the other: a damaged map may end it, a damaged tree hang it."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.test_journal_damage"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def open(self, folder: Path) -> Opened:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{folder}\n".encode())
        self.process.stdin.flush()
        answers, _, _ = select.select([self.process.stdout], [], [], OPEN_S_MAX)
        assert answers, f"the journal did not open within {OPEN_S_MAX} s"
        answer = self.process.stdout.readline()
        assert answer, f"the process ended with {self.process.wait()}"
        return msgspec.json.decode(answer, type=Opened)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def shared() -> Iterator[list[Elsewhere]]:
    """The process of the tests before, if it still lives."""
    found: list[Elsewhere] = []
    yield found
    for process in found:
        process.close()


@pytest.fixture
def elsewhere(shared: list[Elsewhere]) -> Elsewhere:
    """A living process; one that a test before has ended is replaced, so that no test depends on another."""
    if not shared or shared[-1].process.poll() is not None:
        shared.append(Elsewhere())
    return shared[-1]


def main() -> None:
    """Open each journal, admit one person more, and say how many tickets are known."""
    for line in sys.stdin:
        news = News()
        with open_journal(Path(line.rstrip("\n")), news) as journal:
            subjects = [f"t{number}" for number in range(PEOPLE)]
            known = sum(journal.history(subject) != NO_HISTORY for subject in subjects)
            row = scan_row(journal, "one more")
            writable = journal.submit(row) and news.safe(row.scan).safe
            found = Opened(journal.epoch, journal.faults, known, writable)
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        sys.stdout.flush()


def admit(folder: Path, first: int, last: int) -> None:
    """A process that admits those people."""
    with open_journal(folder) as journal:
        for number in range(first, last):
            opened = scan_row(journal, f"t{number}")
            assert opened.movement is not None
            assert journal.submit(opened, None, f"CODE {number}")
            assert journal.submit(walk_row(opened.movement))


@pytest.fixture
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def data(scratch: Path) -> Path:
    return scratch / "data"


@pytest.fixture
def stopped(data: Path) -> Path:
    """The journal of a gate that was stopped tidily."""
    admit(data / "journal", 0, PEOPLE)
    return data / "journal"


@pytest.fixture
def killed(data: Path, scratch: Path) -> Path:
    """The journal of a gate that was killed: half of its rows are in the database, half in the log only."""
    admit(data / "journal", 0, PEOPLE // 2)
    news = News()
    with open_journal(data / "journal", news) as journal:
        for number in range(PEOPLE // 2, PEOPLE):
            assert journal.submit(scan_row(journal, f"t{number}"))
            news.safe(journal.next_row - 1)  # one commit each, so that a cut may fall between two
        return as_after_a_crash(data, scratch / "killed")


def noise(path: Path, at: int, size: int, seed: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(random.Random(seed).randbytes(size))


def part(folder: Path, ending: str) -> tuple[Path, int]:
    path = folder / f"journal.db{ending}"
    return path, path.stat().st_size


# --- damage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["start", "header", "middle", "half", "cut", "odd", "empty"])
def test_a_damaged_journal_works_without_loss_or_is_set_aside_whole_with_its_histories(
    elsewhere: Elsewhere, stopped: Path, where: str
) -> None:
    path, size = part(stopped, "")
    match where:
        case "start":
            noise(path, 0, 4096)
        case "header":
            noise(path, 16, 8)
        case "middle":
            noise(path, size // 2, 4096)
        case "half":
            noise(path, 0, size // 2)
        case "cut":
            os.truncate(path, size // 2)
        case "odd":
            os.truncate(path, size - 5000)
        case "empty":
            os.truncate(path, 0)
    part(stopped, "-wal")[0].unlink(missing_ok=True)  # or its pages stand in for the damaged ones
    bytes_before = path.read_bytes()
    opened = elsewhere.open(stopped)
    assert opened.writable
    assert opened.epoch == 2
    assert opened.known == PEOPLE, "taken over from the index"
    assert any("taken over" in fault for fault in opened.faults)
    assert faults_of(stopped) == []
    if where == "empty":
        assert "the journal is empty, but this gate had written row 1.61" in opened.faults[-1]
        return
    (aside,) = stopped.glob("damaged-*.db")
    assert aside.read_bytes() == bytes_before
    assert "set aside" in opened.faults[0]
    assert aside.name in opened.faults[0]


def test_a_damaged_journal_of_a_killed_gate_gives_the_histories_that_can_be_read(
    elsewhere: Elsewhere, killed: Path
) -> None:
    folder = killed
    path, size = part(folder, "")
    part(folder, "-wal")[0].unlink()
    data = path.read_bytes()
    page = data.index(b"scan") // 4096 * 4096  # a page of rows
    noise(path, page, 4096)
    opened = elsewhere.open(folder)
    assert opened.writable
    assert opened.known == PEOPLE // 2, "those in the database"
    assert "as far as it can be read" in opened.faults[1]
    assert size == len(data)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("how", ["cut short", "noise", "noise from there on"])
def test_rows_that_a_damaged_log_has_lost_are_missed(
    elsewhere: Elsewhere, killed: Path, how: str, keep: float
) -> None:
    path, size = part(killed, "-wal")
    at = 32 + int(size * keep / 4120) * 4120
    if how == "cut short":
        os.truncate(path, at)
    else:
        noise(path, at, 4096 if how == "noise" else size - at)
    opened = elsewhere.open(killed)
    assert opened.writable
    assert PEOPLE // 2 <= opened.known < PEOPLE
    (fault,) = opened.faults
    assert "but this gate had written row 2.16" in fault
    assert faults_of(killed) == [], "what is left is whole"


def test_a_log_that_lost_what_was_never_acknowledged_is_no_fault(elsewhere: Elsewhere, killed: Path) -> None:
    path, size = part(killed, "-wal")
    with path.open("ab") as file:
        file.write(b"half a frame of a row that nobody was told of")
    opened = elsewhere.open(killed)
    assert (opened.known, opened.faults) == (PEOPLE, [])
    assert size > 0


@pytest.mark.parametrize("how", ["noise", "cut short", "gone"])
def test_the_shared_memory_of_a_killed_gate_is_not_believed(
    elsewhere: Elsewhere, killed: Path, how: str
) -> None:
    path, size = part(killed, "-shm")
    match how:
        case "noise":
            noise(path, 0, size)
        case "cut short":
            os.truncate(path, 100)
        case "gone":
            path.unlink()
    opened = elsewhere.open(killed)
    assert (opened.known, opened.faults, opened.writable) == (PEOPLE, [], True)


@pytest.mark.parametrize("file", ["data.mdb", "lock.mdb", "mark.json"])
@pytest.mark.parametrize("how", ["noise", "noise in the middle", "cut short", "gone"])
def test_a_damaged_index_is_made_again_from_the_journal(
    elsewhere: Elsewhere, stopped: Path, file: str, how: str
) -> None:
    path = stopped / "history" / file
    if not path.exists():
        path.touch()
    size = path.stat().st_size
    match how:
        case "noise":
            noise(path, 0, size)
        case "noise in the middle":
            noise(path, size // 2, size // 4)
        case "cut short":
            os.truncate(path, size // 3)
        case "gone":
            path.unlink()
    opened = elsewhere.open(stopped)
    assert (opened.known, opened.faults, opened.writable) == (PEOPLE, [], True)


@pytest.mark.parametrize("seed", range(20))
def test_noise_anywhere_never_ends_the_process_and_the_gate_goes_on(
    elsewhere: Elsewhere, killed: Path, seed: int
) -> None:
    chance = random.Random(seed)
    for path in sorted(path for path in killed.rglob("*") if path.is_file()):
        size = path.stat().st_size
        if size and chance.random() < 0.5:
            noise(path, chance.randrange(size), chance.choice([1, 16, 512, 4096]), seed)
        elif size and chance.random() < 0.2:
            os.truncate(path, chance.randrange(size))
    opened = elsewhere.open(killed)
    assert opened.writable
    if opened.known < PEOPLE:
        assert opened.faults, "nothing may be missing unsaid"
    assert faults_of(killed) == []


def spoil(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "journal.db")) as connection, connection:
        connection.execute(statement)


def test_promise_2_a_history_that_cannot_be_read_counts_as_used(stopped: Path) -> None:
    spoil(stopped, "UPDATE history SET value = x'c1' WHERE subject = 't7'")
    (stopped / "history" / "mark.json").unlink()
    with open_journal(stopped) as journal:
        assert journal.history("t7").outer.last is Direction.IN
        assert "the history of ticket t7 cannot be read" in journal.faults[0]
        assert journal.history("t8").outer.entries == 1
        assert len(journal.faults) == 1


def test_a_code_that_went_wrong_hides_no_row(stopped: Path) -> None:
    spoil(stopped, "UPDATE code SET text = CAST(x'ff41' AS TEXT) WHERE id & 255 = 2")
    with RowReader(stopped) as reader:
        found = [stored.code for stored in reader.all()]
    assert found[1] == "\ufffdA"
    assert found[3] == "CODE 1"


# --- an older copy ------------------------------------------------------------------------------------


def put_back(copy: Path, folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)


def test_an_older_copy_of_another_epoch_is_noticed_and_no_number_is_used_twice(
    stopped: Path, scratch: Path
) -> None:
    shutil.copytree(stopped, scratch / "copy")
    admit(stopped, 0, 5)
    put_back(scratch / "copy", stopped)
    with open_journal(stopped) as journal:
        assert journal.epoch == 3
        (fault,) = journal.faults
        assert "ends at row 1.61, but this gate had written row 2.11" in fault
    with open_journal(stopped) as journal:
        assert journal.faults == [], "said once"
    assert faults_of(stopped) == []
    assert kinds(stopped)[-3:] == ["began", "fault", "began"]


def test_an_older_copy_of_the_same_epoch_is_noticed(data: Path, scratch: Path) -> None:
    news = News()
    with open_journal(data / "journal", news) as journal:
        for number in range(3):
            assert journal.submit(scan_row(journal, f"t{number}"))
        news.safe(journal.next_row - 1)
        as_after_a_crash(data, scratch / "copy")
        assert journal.submit(scan_row(journal, "t3"))
    put_back(scratch / "copy" / "journal", data / "journal")
    with open_journal(data / "journal") as journal:
        assert journal.epoch == 2
        (fault,) = journal.faults
        assert "ends at row 1.4, but this gate had written row 1.5" in fault


def test_an_older_journal_beside_a_newer_index_gets_the_newer_histories(stopped: Path, scratch: Path) -> None:
    for path in stopped.glob("journal.db*"):
        shutil.copy(path, scratch)
    with open_journal(stopped) as journal:
        opened = scan_row(journal, "late")
        assert journal.submit(opened)
    for path in scratch.glob("journal.db*"):
        shutil.copy(path, stopped)
    with open_journal(stopped) as journal:
        assert journal.epoch == 3
        assert any("taken over from the index" in fault for fault in journal.faults)
        assert any("had written row 2.2" in fault for fault in journal.faults)
        assert [found.subject for found in journal.unsettled] == ["late"]
        assert journal.history("late").outer.entries == 1
        assert journal.history("late").pending == ()
    with open_journal(stopped) as journal:
        assert journal.unsettled == ()
        assert journal.history("late").outer.entries == 1


def test_an_adoption_that_was_cut_off_is_done_again(stopped: Path, scratch: Path) -> None:
    for path in stopped.glob("journal.db*"):
        path.unlink()
    disk = Disk()
    disk.fault = Unwritable("cut off before the first row of the epoch")
    with pytest.raises(Unwritable):
        open_journal(stopped, disk=disk)
    for path in stopped.glob("journal.db*"):
        path.unlink()
    with open_journal(stopped) as journal:
        assert journal.history("t7").outer.entries == 1


def test_a_journal_that_was_deleted_is_missed_by_name(stopped: Path) -> None:
    shutil.rmtree(stopped)
    with open_journal(stopped) as journal:
        assert journal.epoch == 2
        assert journal.next_row == row_id(2, 3)
        (fault,) = journal.faults
        assert "the journal is empty, but this gate had written row 1.61" in fault


def test_without_the_memory_beside_it_the_journal_speaks_for_itself(stopped: Path) -> None:
    (stopped.parent / "epoch").unlink()
    with open_journal(stopped) as journal:
        assert (journal.epoch, journal.faults) == (2, [])
    (stopped.parent / "epoch").write_bytes(b"\xff\xff\xff")
    with open_journal(stopped) as journal:
        assert journal.epoch == 3
        assert "an older journal would not be noticed" in journal.faults[0]


def test_the_whole_directory_put_back_shows_in_the_random_of_the_epoch_alone(
    stopped: Path, scratch: Path
) -> None:
    as_after_a_crash(stopped.parent, scratch / "copy")
    began = []
    for folder in (stopped, scratch / "copy" / "journal"):
        with open_journal(folder) as journal:
            assert (journal.epoch, journal.faults) == (2, []), "nothing on this disk could know"
        with RowReader(folder) as reader:
            began.append(decode(reader.newest(1)[0].body).text)
    assert began[0] != began[1]


if __name__ == "__main__":
    main()
