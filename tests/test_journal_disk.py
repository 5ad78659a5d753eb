"""The journal on a disk that is full to the last byte: a small ext4 of its own, so root is needed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware import history as histories
from firmware.core.movements import fold
from firmware.core.ticket import NO_HISTORY
from firmware.journal import Journal
from firmware.row import encode, row_id, tell_story
from firmware.rows import CHECKPOINT_ROWS_MAX, RESERVED_ROWS, Entry, Rows, Unwritable
from tests.journals import (
    Disk,
    News,
    faults_of,
    folded,
    histories_of,
    open_journal,
    person,
    ready_lane,
    scan_row,
)
from tests.powercut import rig
from tests.powercut.space import fill_disk, small_disk

pytestmark = [
    pytest.mark.powercut,
    pytest.mark.skipif(rig.unavailable() is not None, reason=str(rig.unavailable())),
]

CODE = "https://tickets.example/x/0123456789012345"
BATCH = 50


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path) as folder:
        (folder / "rest").mkdir()
        yield folder


def fill(disk: Path) -> list[Path]:
    """To the last block: the flush at the end of the first file gives some back that had been set aside."""
    return [fill_disk(disk), fill_disk(disk / "rest")]


def people(first: int, count: int) -> list[Entry]:
    """The entries of so many rows, two for each person, as long as real ones are."""
    found = []
    for number in range(first, first + count, 2):
        subject, history = f"TICKET-{number * 7919 % 1_000_003:09}", NO_HISTORY
        for at, (row, story) in enumerate(person(ready_lane(), row_id(1, number), subject)):
            assert row.movement is not None
            history = fold(history, row.movement)
            told = tell_story(story.before, story.events, story.effects, story.after)
            body = encode(row._replace(story=told, text="x" * 80))  # a ticket with all of its fields
            code = CODE if not at else ""
            found.append(Entry(row_id(1, number + at), body, code, subject, histories.encode(history)))
    return found


def write(rows: Rows, first: int, count: int) -> None:
    for number in range(first, first + count, BATCH):
        rows.append(people(number, BATCH))
        if rows.in_log >= CHECKPOINT_ROWS_MAX:
            rows.checkpoint()


@pytest.mark.slow
def test_promise_8_a_full_disk_has_room_for_all_the_rows_that_were_reserved(disk: Path) -> None:
    with Rows(disk / "journal") as rows:
        rows.reserve()
        fill(disk)
        assert len(people(1, 2)[0].body) > 330
        write(rows, 1, RESERVED_ROWS)
    with Rows(disk / "journal") as rows:
        assert rows.last_id == row_id(1, RESERVED_ROWS)
        write(rows, RESERVED_ROWS + 1, BATCH)


def test_a_disk_that_is_too_full_to_reserve_is_a_fault_and_rows_are_written(disk: Path) -> None:
    ballast, _ = fill(disk)
    with ballast.open("r+b") as file:
        file.truncate(ballast.stat().st_size - (8 << 20))
    news = News()
    with open_journal(disk / "data" / "journal", news, Rows) as journal:
        (fault,) = journal.faults
        assert "too full to keep room for 50,000 rows" in fault
        for number in range(2000):
            assert journal.submit(scan_row(journal, f"t{number}"), None, CODE)
        assert news.safe(journal.next_row - 1)
    assert len(histories_of(disk / "data" / "journal")) == 2000


def submit_until_refused(journal: Journal, news: News) -> int:
    """How many rows the disk took. The next one waits in memory."""
    taken = 0
    while True:
        assert journal.submit(scan_row(journal, f"t{taken}"), None, CODE)
        if not news.until(lambda told: told.row == journal.next_row - 1 or not told.safe).safe:
            return taken
        taken += 1


def test_rows_wait_in_memory_until_there_is_room_again_and_none_is_lost(disk: Path) -> None:
    folder, news = disk / "data" / "journal", News()
    # A log for some thirty scans: it can only go on when it is written back in between.
    with open_journal(folder, news, Disk(reserved_rows=600, log_pages=100)) as journal:
        ballast, _ = fill(disk)
        taken = submit_until_refused(journal, news)
        assert 600 < taken < 4000
        assert "full" in str(journal.fault)
        for number in range(300):
            assert journal.submit(scan_row(journal, f"late {number}"), None, CODE)
        for number in range(taken + 1):
            assert journal.history(f"t{number}").pending, "also those that the index had no room for"
        assert journal.history("late 299").pending
        ballast.unlink()
        news.until(lambda told: told.safe and told.row == 0)
        news.safe(journal.next_row - 1)
        assert [told.safe for told in news.heard].count(False) == 1
    assert len(histories_of(folder)) == taken + 1 + 300
    assert histories_of(folder) == folded(folder)
    assert faults_of(folder) == []


@pytest.mark.parametrize("tidy", [True, False])
def test_a_gate_starts_again_on_a_disk_that_is_full(disk: Path, tidy: bool) -> None:
    folder, news = disk / "data" / "journal", News()
    with open_journal(folder, news, Disk(reserved_rows=3000, log_pages=400)) as journal:
        for number in range(1000):
            assert journal.submit(scan_row(journal, f"t{number}"), None, CODE)
        news.safe(journal.next_row - 1)
        fill(disk)
    if not tidy:
        (folder / "history" / "mark.json").unlink(missing_ok=True)
        (folder / "history" / "data.mdb").write_bytes(b"")
        fill_disk(disk / "data")
    for epoch in (2, 3):
        with open_journal(folder, news, Disk(reserved_rows=3000, log_pages=400)) as journal:
            assert journal.epoch == epoch
            assert all("reserve" in fault or "slower" in fault or "room" in fault for fault in journal.faults)
            assert all(journal.history(f"t{number}").outer.entries == 1 for number in range(1000))
            assert journal.submit(scan_row(journal, f"u{epoch}"), None, CODE)
            news.safe(journal.next_row - 1)
            assert journal.history(f"u{epoch}").pending
    assert histories_of(folder) == folded(folder)
    assert faults_of(folder) == []


def test_a_new_gate_on_a_full_disk_refuses_to_start_and_says_why(disk: Path) -> None:
    (disk / "data").mkdir()
    fill(disk)
    with pytest.raises(Unwritable, match=r"journal|epoch"):
        open_journal(disk / "data" / "journal")
