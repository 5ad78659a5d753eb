import sqlite3
from pathlib import Path

import msgspec
import pytest

from firmware.core.movements import Act
from firmware.core.ticket import NO_HISTORY, Direction, History, Moment, Spend
from firmware.history import HistoryIndex
from firmware.journal import BATCH_ROWS, KEPT_ROWS_MIN, WAITING_ROWS_MAX, Retention, Told
from firmware.row import Row, Unreadable, decode, decode_began, epoch_and_seq, name_of, row_id
from firmware.rows import CHECKPOINT_ROWS_MAX, Damaged, Entry, RowReader, Unwritable
from tests.core.samples import NOON_MS, OUT, SETUP, at
from tests.journals import (
    FULL,
    HURRY,
    NEWS_S_MAX,
    SMALL,
    Disk,
    News,
    faults_of,
    folded,
    histories_of,
    kinds,
    open_journal,
    opening,
    person,
    ready_lane,
    scan_row,
    texts,
    walk_row,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "journal"


def note(text: str = "") -> Row:
    return Row("noted", "north", at(0), text=text)


# --- rows ---------------------------------------------------------------------------------------------


def test_promise_1_a_row_is_told_safe_only_when_the_file_holds_it(folder: Path) -> None:
    in_file: list[bool] = []

    def told(news: Told) -> None:
        with RowReader(folder) as reader:
            in_file.append(reader.last_id() >= news.row)

    with open_journal(folder, told) as journal:
        for number in range(20):
            assert journal.submit(scan_row(journal, f"t{number}"), None, "CODE")
    assert in_file == [True] * 20


def test_a_person_is_in_the_history_at_once_and_in_the_file_soon(folder: Path) -> None:
    news = News()
    with open_journal(folder, news) as journal:
        first = journal.next_row
        for row, story in person(ready_lane(), first, "t1"):
            assert journal.submit(row, story, "CODE 1")
        assert journal.history("t1").outer.entries == 1
        assert journal.history("t2") == NO_HISTORY
        told = news.safe(first + 1)
        assert told.lane == "north"
        assert journal.waiting == 0
        assert journal.history("t1").outer.entries == 1
    assert kinds(folder) == ["began", "scan", "passage"]
    assert histories_of(folder) == folded(folder)
    assert faults_of(folder) == []


def test_rows_that_wait_for_a_busy_disk_share_one_flush(folder: Path) -> None:
    news, disk = News(), Disk()
    with open_journal(folder, news, disk) as journal:
        disk.fault = FULL
        lanes = ["north", "south", "east"]
        first = [journal.submit(scan_row(journal, f"t{lane}", lane)) for lane in lanes]
        news.failed()
        rest = [journal.submit(scan_row(journal, f"u{lane}", lane)) for lane in lanes]
        assert all(first + rest)
        disk.until("refused 6")
        disk.fault = None
        last = news.safe(journal.next_row - 1)
        assert journal.commits == 1
        safe = [told for told in news.heard if told.safe]
        assert [told.lane for told in safe] == lanes * 2
        assert {told.at_ns for told in safe} == {last.at_ns}


def test_closing_writes_all_that_waits_however_much_it_is(folder: Path) -> None:
    with open_journal(folder) as journal:
        assert all(journal.submit(note(str(number))) for number in range(5 * BATCH_ROWS))
    assert texts(folder, "noted") == [str(number) for number in range(5 * BATCH_ROWS)]
    journal.close()
    assert faults_of(folder) == []


def test_every_row_has_the_number_that_was_foretold(folder: Path) -> None:
    news = News()
    with open_journal(folder, news) as journal:
        assert journal.next_row == row_id(1, 2)
        assert journal.submit(note())
        assert journal.next_row == row_id(1, 3)
        journal.note(note("told by nobody"))
        news.safe(row_id(1, 3))


def test_a_row_for_every_movement_keeps_the_history_its_fold(folder: Path) -> None:
    with open_journal(folder) as journal:
        for subject in ("t1", "t2", "t1", "a subject " * 200):
            opened = scan_row(journal, subject)
            assert opened.movement is not None
            assert journal.submit(opened)
            assert journal.submit(walk_row(opened.movement))
        assert journal.history("a subject " * 200).outer.entries == 1
        assert journal.history("t1").outer.entries == 2
    found, rows = histories_of(folder), folded(folder)
    assert found["t1"] == rows["t1"]
    assert sorted(map(repr, found.values())) == sorted(map(repr, rows.values()))


# --- the disk refuses ---------------------------------------------------------------------------------


def test_a_full_disk_is_told_once_and_every_row_is_safe_when_it_heals(folder: Path) -> None:
    news, disk = News(), Disk()
    with open_journal(folder, news, disk) as journal:
        disk.fault = FULL
        count = 2 * BATCH_ROWS + 7
        for number in range(count):
            assert journal.submit(scan_row(journal, f"t{number}"))
        assert news.failed() == Told("", 0, False, news.heard[-1].at_ns)
        assert "full" in str(journal.fault)
        assert journal.waiting == count
        assert journal.history("t3").pending
        disk.fault = None
        news.until(lambda told: told.safe and told.row == 0)
        news.safe(journal.next_row - 1)
        assert not journal.fault
        assert [told.safe for told in news.heard].count(False) == 1
        safe = [told.row for told in news.heard if told.safe and told.row]
        assert safe == list(range(row_id(1, 2), row_id(1, 2) + count))
    assert faults_of(folder) == []
    assert histories_of(folder) == folded(folder)


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.IntegrityError("constraint failed"),
        sqlite3.InterfaceError("bad parameter"),
        MemoryError(),
        OSError(5, "Input/output error"),
        ValueError("something that nobody foresaw"),
    ],
)
def test_promise_3_whatever_a_commit_raises_the_lanes_hear_of_it_and_the_rows_are_tried_again(
    folder: Path, error: Exception
) -> None:
    news, disk = News(), Disk()
    with open_journal(folder, news, disk) as journal:
        disk.fault = error
        assert journal.submit(note())
        news.failed()
        assert journal.fault
        disk.fault = None
        news.safe(row_id(1, 2))


def test_memory_for_rows_that_wait_is_bounded(folder: Path) -> None:
    news, disk = News(), Disk()
    with open_journal(folder, news, disk) as journal:
        disk.fault = FULL
        taken = 0
        while journal.submit(note()):
            taken += 1
        assert taken == WAITING_ROWS_MAX
        before = journal.next_row
        assert not journal.submit(scan_row(journal, "t1"))
        assert journal.next_row == before
        assert journal.history("t1") == NO_HISTORY
        disk.fault = None
        news.safe(before - 1)
        assert journal.submit(note())
    assert len(kinds(folder)) == taken + 2


def test_closing_does_not_wait_for_a_disk_that_refuses_for_ever(folder: Path) -> None:
    disk = Disk()
    with open_journal(folder, disk=disk) as journal:
        disk.fault = FULL
        assert all(journal.submit(note()) for _ in range(BATCH_ROWS + 5))
        disk.hopeless = True
    disk.fault = None
    with open_journal(folder, disk=disk) as journal:
        assert kinds(folder) == ["began", "began"]
        assert journal.faults == []


def test_damage_that_a_commit_meets_condemns_the_journal_for_the_next_start(folder: Path) -> None:
    news, disk = News(), Disk()
    with open_journal(folder, news, disk) as journal:
        assert journal.submit(scan_row(journal, "t1"))
        news.safe(row_id(1, 2))
        disk.fault = Damaged("journal.db: database disk image is malformed")
        assert journal.submit(note())
        news.failed()
        disk.hopeless = True
    with open_journal(folder) as journal:
        assert "set aside" in journal.faults[0]
        assert "malformed" in journal.faults[0]
        assert journal.history("t1").outer.entries == 1, "taken over, and settled"
        assert journal.epoch == 2


# --- the thread ---------------------------------------------------------------------------------------


def test_a_row_that_has_no_bytes_is_refused_by_name_and_holds_up_nothing(folder: Path) -> None:
    news, disk = News(), Disk()
    with open_journal(folder, news, disk) as journal:
        first = journal.next_row
        disk.fault = FULL  # so that both come in one batch
        assert journal.submit(scan_row(journal, "t1")._replace(text="\udc80"))
        assert journal.submit(scan_row(journal, "t2")._replace(moment=Moment(2**70, NOON_MS, True)))
        disk.fault = None
        news.until(lambda told: told.row == first + 1)
        news.until(lambda told: told.row == 0)
        assert journal.submit(scan_row(journal, "t3"))
        news.safe(first + 2)
        heard = [(told.row - first, told.safe) for told in news.heard if told.row]
        assert heard == [(0, False), (1, False), (2, True)]
        assert any(told.safe for told in news.heard if not told.row), "the lanes go on at once"
        assert journal.fault is None
        assert any(name_of(first) in fault for fault in journal.faults)
    assert kinds(folder) == ["began", "fault", "fault", "scan"]
    assert all("a row of kind scan could not be written" in text for text in texts(folder, "fault"))
    assert histories_of(folder)["t1"] == folded(folder)["t1"]


def test_a_code_of_strange_characters_is_kept(folder: Path) -> None:
    news = News()
    with open_journal(folder, news) as journal:
        for code in ("\udc80", "a\0b", "\U0010ffff", "x" * 100_000):
            assert journal.submit(note(), None, code)
    with RowReader(folder) as reader:
        found = [stored.code for stored in reader.all() if stored.code is not None]
    assert found == ["\\udc80", "a\0b", "\U0010ffff", "x" * 100_000]


def test_an_error_of_the_one_who_is_told_does_not_end_the_thread(folder: Path) -> None:
    news = News()

    def told(said: Told) -> None:
        news(said)
        if said.row == row_id(1, 2):
            raise ZeroDivisionError

    with open_journal(folder, told) as journal:
        assert journal.submit(note())
        assert journal.submit(note())
        news.safe(row_id(1, 3))
        assert "ZeroDivisionError" in journal.faults[0]


class Ended(BaseException):
    """Nothing that a thread could be expected to survive."""


def test_a_thread_that_ends_is_a_fault_with_a_name_and_the_lanes_hear_of_it(folder: Path) -> None:
    news, disk = News(), Disk()
    with open_journal(folder, news, disk) as journal:
        disk.fault = Ended("out of luck")
        assert journal.submit(note())
        assert news.failed().row == 0
        assert journal.fault is not None
        assert "thread ended" in journal.fault
        assert "out of luck" in journal.fault
        assert journal.fault in journal.faults
        journal.close()
        assert not journal.submit(note())


# --- receipts -----------------------------------------------------------------------------------------


def codes(folder: Path) -> list[str]:
    with RowReader(folder) as reader:
        return [stored.code for stored in reader.all() if stored.code is not None]


def test_a_code_is_dropped_after_its_receipt_and_the_chain_stays(folder: Path) -> None:
    news = News()
    with open_journal(folder, news) as journal:
        for number in range(10):
            assert journal.submit(note(), None, f"CODE {number}")
        news.safe(row_id(1, 11))
        journal.confirm(row_id(1, 6))
    assert codes(folder) == [f"CODE {number}" for number in range(5, 10)]
    with open_journal(folder) as journal:
        assert codes(folder) == [f"CODE {number}" for number in range(5, 10)]
        journal.confirm(row_id(1, 3))
    assert len(codes(folder)) == 5
    assert faults_of(folder) == []


def test_a_receipt_for_rows_that_are_not_there_is_ignored(folder: Path) -> None:
    news = News()
    with open_journal(folder, news) as journal:
        assert journal.submit(note(), None, "CODE")
        news.safe(row_id(1, 2))
        journal.confirm(row_id(9, 9))
    assert codes(folder) == ["CODE"]
    with SMALL(folder) as rows:
        assert rows.receipt == 0


@pytest.mark.parametrize("when", ["quiet", "busy too long", "closing"])
def test_promise_9_a_clear_code_leaves_every_file_after_its_receipt(folder: Path, when: str) -> None:
    news, disk = News(), Disk(reserved_rows=600, log_pages=200)
    pace = HURRY
    if when == "quiet":
        pace = HURRY._replace(quiet_s=0)
    elif when == "busy too long":
        pace = HURRY._replace(wipe_s=0)
    with open_journal(folder, news, disk, pace) as journal:
        assert all(journal.submit(note(), None, "CLEAR-CODE") for _ in range(20))
        news.safe(row_id(1, 21))
        journal.confirm(row_id(1, 21))
        if when != "closing":
            disk.until("wipe")
            assert not any(b"CLEAR-CODE" in path.read_bytes() for path in folder.glob("journal*"))
    assert not any(b"CLEAR-CODE" in path.read_bytes() for path in folder.glob("journal*"))


def test_a_wipe_that_the_disk_refuses_is_said_once_and_done_later(folder: Path) -> None:
    news, disk = News(), Disk()
    with open_journal(folder, news, disk, HURRY._replace(quiet_s=0)) as journal:
        assert journal.submit(note(), None, "CODE")
        news.safe(row_id(1, 2))
        disk.fault = FULL
        journal.confirm(row_id(1, 2))
        disk.until("no wipe")
        disk.fault = None
        disk.until("wipe")
        assert journal.faults == [str(FULL)]
        assert journal.fault is None


def test_the_log_is_written_back_when_nothing_else_is_to_do_or_when_it_is_full(folder: Path) -> None:
    news, disk = News(), Disk()
    with open_journal(folder, news, disk, HURRY._replace(idle_s=NEWS_S_MAX)) as journal:
        disk.forget()
        while journal.next_row < row_id(1, CHECKPOINT_ROWS_MAX):
            assert journal.submit(note())
            news.safe(journal.next_row - 1)
        assert disk.tape.empty(), "never by chance between two scans"
        assert journal.submit(note())
        disk.until("checkpoint")


# --- retention ----------------------------------------------------------------------------------------


def fill(folder: Path, count: int, utc_ms: int) -> None:
    with open_journal(folder) as journal:
        for number in range(count):
            assert journal.submit(Row("noted", "", Moment(0, utc_ms, True), text=f"{number:200}"))


def tidied(folder: Path, retention: Retention, confirm: int = 0) -> list[int]:
    """The row ids after a process with that retention had nothing else to do for a while."""
    disk = Disk()
    with open_journal(folder, disk=disk, pace=HURRY._replace(tidy_s=0), retention=retention) as journal:
        if confirm:
            journal.confirm(confirm)
            disk.until("confirm")
        disk.until("look", "look")  # nothing was dropped after the first
    with RowReader(folder) as reader:
        return [stored.id for stored in reader.all()]


DAY_MS = 86_400_000
OLD = Retention(DAY_MS, 10**15, unconfirmed=True)


def test_rows_that_are_too_old_are_dropped_and_the_chain_of_the_rest_is_whole(folder: Path) -> None:
    fill(folder, 2500, NOON_MS)
    fill(folder, 20, NOON_MS + DAY_MS - 1)
    fill(folder, 20, NOON_MS + DAY_MS + 1)
    found = tidied(folder, OLD)
    assert [epoch_and_seq(row)[0] for row in found] == [2] * 21 + [3] * 21 + [4]
    assert faults_of(folder) == []
    with open_journal(folder) as journal:
        assert journal.faults == []


def test_rows_that_are_not_too_old_stay(folder: Path) -> None:
    fill(folder, 20, NOON_MS)
    fill(folder, 20, NOON_MS + DAY_MS)
    assert len(tidied(folder, OLD)) == 21 + 21 + 1


def test_rows_are_not_too_old_because_a_clock_was_ahead_for_a_while(folder: Path) -> None:
    fill(folder, 20, NOON_MS)
    with open_journal(folder) as journal:
        journal.submit(Row("noted", "", Moment(0, NOON_MS + 365 * DAY_MS, False)))
        journal.submit(Row("clock", "", Moment(0, NOON_MS + DAY_MS, True)))
    assert len(tidied(folder, OLD)) == 21 + 3 + 1
    with open_journal(folder) as journal:
        assert journal.newest_utc_ms == NOON_MS + DAY_MS, "that of the next start"


def test_what_the_bridge_has_not_confirmed_and_the_row_before_it_are_never_dropped(folder: Path) -> None:
    fill(folder, 1500, NOON_MS)
    fill(folder, 20, NOON_MS + 2 * DAY_MS)
    careful = OLD._replace(unconfirmed=False, keep_bytes=0)
    assert len(tidied(folder, careful)) == 1501 + 21 + 1
    found = tidied(folder, careful, confirm=row_id(1, 1200))
    assert [row for row in found if epoch_and_seq(row)[0] == 1] == [
        row_id(1, 1),
        *range(row_id(1, 1200), row_id(1, 1502)),
    ]
    assert faults_of(folder) == []


def test_a_journal_that_is_too_large_drops_its_oldest_rows_and_no_more_than_it_must(folder: Path) -> None:
    fill(folder, 4000, NOON_MS)
    fill(folder, 1, NOON_MS)
    found = tidied(folder, Retention(10**15, 600_000, unconfirmed=True))
    assert 1000 < len(found) < 3100
    assert faults_of(folder) == []


def test_rows_that_the_next_start_may_need_stay_whatever_retention_says(folder: Path) -> None:
    fill(folder, 10, NOON_MS)
    news, disk, nothing = News(), Disk(), Retention(0, 0, unconfirmed=True)
    with open_journal(folder, news, disk, HURRY._replace(tidy_s=0), nothing) as journal:
        for _ in range(KEPT_ROWS_MIN + 100):
            journal.submit(Row("noted", "", Moment(0, NOON_MS + DAY_MS, True)))
        news.safe(journal.next_row - 1)
        disk.forget()  # looks between two of these rows, which found less to drop
        disk.until("look", "look")
        journal.submit(note())
    with RowReader(folder) as reader:
        found = [epoch_and_seq(stored.id) for stored in reader.all()]
    assert found[0] == (2, 1)
    assert KEPT_ROWS_MIN <= len(found) <= KEPT_ROWS_MIN + 3
    assert faults_of(folder) == []


def test_a_row_of_a_later_release_does_not_stop_retention(folder: Path) -> None:
    fill(folder, 10, NOON_MS)
    with SMALL(folder) as rows:
        rows.append([Entry(rows.last_id + 1, b"\xc1", "", "", b"")])
    fill(folder, 10, NOON_MS + 2 * DAY_MS)
    assert {epoch_and_seq(row)[0] for row in tidied(folder, OLD)} == {2, 3}


# --- the start ----------------------------------------------------------------------------------------


def test_each_start_opens_an_epoch_that_remembers_the_one_before(folder: Path) -> None:
    for epoch in (1, 2, 3):
        with open_journal(folder) as journal:
            assert (journal.epoch, journal.faults, journal.unsettled) == (epoch, [], ())
            assert journal.next_row == row_id(epoch, 2)
    with RowReader(folder) as reader:
        stored = list(reader.all())
    began = [decode_began(text) for text in texts(folder, "began")]
    assert [row.epoch for row in began] == [1, 2, 3]
    assert [row.found for row in began] == ["", stored[0].digest.hex(), stored[1].digest.hex()]
    assert {row.setups for row in began} == {(SETUP,)}
    assert {row.release for row in began} == {"0.1.0"}
    assert len({row.random for row in began}) == 3, "what tells the bridge that a number was used twice"


def test_the_newest_time_on_disk_is_the_floor_of_the_next_start(folder: Path) -> None:
    fill(folder, 3, NOON_MS + 5)
    with open_journal(folder) as journal:
        assert journal.newest_utc_ms == NOON_MS + 5
    with RowReader(folder) as reader:
        assert decode(reader.newest(1)[0].body).moment.utc_ms == NOON_MS + 5


def test_a_journal_of_a_later_release_is_gone_on_with_and_its_rows_are_named(folder: Path) -> None:
    with open_journal(folder) as journal:
        journal.submit(scan_row(journal, "t1"))
    with SMALL(folder) as rows:
        strange = Row("teleport", "north", at(0))
        body = b"\x99" + msgspec.msgpack.encode(list(strange))[1:] + b"\xa5later"
        rows.append(
            [
                Entry(row_id(1, 3), body, "", "", b""),
                Entry(row_id(1, 4), b"\xc1", "", "", b""),
                Entry(row_id(1, 5), b"\xc1", "", "", b""),
            ]
        )
    with open_journal(folder) as journal:
        (fault,) = journal.faults
        assert fault.startswith("2 rows cannot be read")
        assert "row 1.5" in fault
        assert [movement.subject for movement in journal.unsettled] == ["t1"]
    with RowReader(folder) as reader:
        assert fault in [decode(row.body).text for row in reader.newest(3)]


def test_the_previous_release_reads_the_row_but_for_its_new_field(folder: Path) -> None:
    body = b"\x99" + msgspec.msgpack.encode(list(Row("teleport", "north", at(0))))[1:] + b"\xa5later"
    assert decode(body) == Row("teleport", "north", at(0))


@pytest.mark.parametrize("spend", Spend)
@pytest.mark.parametrize("direction", Direction)
def test_promise_2_an_admission_found_unsettled_is_settled_once_and_never_opened_again(
    folder: Path, direction: Direction, spend: Spend
) -> None:
    with open_journal(folder) as journal:
        row = Row("scan", "north", at(1), movement=opening(journal.next_row, "t1", direction, spend))
        assert journal.submit(row)
    act = Act.VOIDED if direction is OUT else Act.SETTLED
    with open_journal(folder) as journal:
        (found,) = journal.unsettled
        assert (found.act, found.subject, found.row) == (act, "t1", row_id(1, 2))
        history = journal.history("t1")
        assert history.pending == ()
        assert history.outer.last is (direction if act is Act.SETTLED else None)
    with open_journal(folder) as journal:
        assert journal.unsettled == ()
        assert journal.history("t1") == history
    assert kinds(folder) == ["began", "scan", "began", "unsettled", "began"]
    assert histories_of(folder) == folded(folder) == {"t1": history}


@pytest.mark.parametrize(
    "trouble", [Unwritable("disk I/O error"), Damaged("a page is gone"), Unreadable("odd")]
)
def test_a_history_that_cannot_be_read_counts_as_used_and_ends_no_loop(
    folder: Path, trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: HistoryIndex, subject: str) -> History:
        raise trouble

    monkeypatch.setattr(HistoryIndex, "get", fails)
    with open_journal(folder) as journal:
        assert journal.history("t1").outer.entries
        assert any(str(trouble) in fault for fault in journal.faults)


def test_every_lane_may_leave_an_admission_unsettled_and_one_ticket_two(folder: Path) -> None:
    with open_journal(folder) as journal:
        for lane, subject in (("north", "t1"), ("south", "t2"), ("east", "t1")):
            assert journal.submit(scan_row(journal, subject, lane))
        settled = scan_row(journal, "t3", "west")
        assert journal.submit(settled)
        assert settled.movement is not None
        assert journal.submit(walk_row(settled.movement, "west"))
    with open_journal(folder) as journal:
        assert sorted((found.subject, found.row & 0xFF) for found in journal.unsettled) == [
            ("t1", 2),
            ("t1", 4),
            ("t2", 3),
        ]
        assert journal.history("t1").outer.entries == 2
        assert not any(journal.history(subject).pending for subject in ("t1", "t2", "t3"))
    assert histories_of(folder) == folded(folder)


def test_a_start_that_did_not_come_to_its_first_row_is_no_fault(folder: Path) -> None:
    with open_journal(folder) as journal:
        assert journal.submit(scan_row(journal, "t1"))
    disk = Disk()
    disk.fault = FULL
    for _ in range(2):
        with pytest.raises(Unwritable, match="full"):
            open_journal(folder, disk=disk)
    with open_journal(folder) as journal:
        assert journal.faults == []
        assert journal.epoch == 4, "numbers that were promised to a start are not used again"
        assert len(journal.unsettled) == 1


def test_two_processes_on_one_journal_break_neither_rows_nor_chain(folder: Path) -> None:
    news, other_news = News(), News()
    with (
        open_journal(folder, news, pace=HURRY._replace(close_s=0.05)) as journal,
        open_journal(folder, other_news) as other,
    ):
        assert other.submit(note("mine"))
        other_news.safe(other.next_row - 1)
        assert journal.submit(note("late"))
        news.failed()
        assert "another process" in str(journal.fault)
    assert texts(folder, "noted") == ["mine"]
    assert faults_of(folder) == []
