"""Rows that hold what happened elsewhere: at another gate, or at the vendor."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from firmware.core.movements import Act, Movement, inside
from firmware.core.ticket import Direction, Moment
from firmware.noted import NOTED_BYTES, NOTED_KEEP_MS
from firmware.row import Row, row_id
from firmware.rows import PAGE_BYTES, ROWS_A_PAGE, Entry, Noted, RowReader
from tests.core.samples import IN, NOON_MS, OUTER, at
from tests.feeds import until
from tests.journals import (
    HURRY,
    SMALL,
    News,
    as_after_a_crash,
    faults_of,
    folded,
    histories_of,
    kinds,
    open_journal,
    opening,
    scan_row,
    walk_row,
)

THERE = Movement(Act.OPENED, "t1", -7, IN, (OUTER,), NOON_MS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "journal"


def noted_row(act: Act = Act.OPENED, subject: str = "t1") -> Row:
    return Row("noted", "", at(0), movement=THERE._replace(act=act, subject=subject))


def of_south(row: int, heard: bool = True) -> Noted:
    return Noted("south", row, row.to_bytes(16), heard)


def test_a_movement_elsewhere_is_in_the_history_at_once_and_its_name_in_the_file(folder: Path) -> None:
    news = News()
    with open_journal(folder, news) as journal:
        number = journal.next_row
        assert journal.submit(noted_row(), noted=of_south(40))
        assert inside(journal.history("t1"), OUTER)
        news.safe(number)
        with RowReader(folder) as reader:
            assert reader.is_noted("south", 40, (40).to_bytes(16))
            assert not reader.is_noted("south", 40, (41).to_bytes(16))
            assert not reader.is_noted("north", 40, (40).to_bytes(16))
    assert histories_of(folder) == folded(folder)
    assert faults_of(folder) == []


def test_how_far_a_gate_was_heard_is_what_it_told_last_itself(folder: Path) -> None:
    with open_journal(folder) as journal:
        for noted in (of_south(90), of_south(40), of_south(60, heard=False), Noted("", 5, b"")):
            assert journal.submit(noted_row(), noted=noted)
    with RowReader(folder) as reader:
        assert reader.peers() == {"south": (40, (40).to_bytes(16))}
        assert reader.is_noted("", 5, b"")


def test_row_and_name_of_a_noted_movement_are_there_together_or_not_at_all(
    folder: Path, tmp_path: Path
) -> None:
    news = News()
    with open_journal(folder, news) as journal:
        for row in range(300):
            number = journal.next_row
            assert journal.submit(noted_row(subject=f"t{row}"), noted=of_south(row))
            if row % 75 == 0:
                copy = as_after_a_crash(folder.parent, tmp_path / f"copy{row}")
                with open_journal(copy), RowReader(copy) as reader:
                    known = [reader.is_noted("south", n, n.to_bytes(16)) for n in range(300)]
                    assert kinds(copy).count("noted") == sum(known)
                    assert len(histories_of(copy)) == sum(known)
        news.safe(number)


def test_an_admission_that_is_open_at_another_gate_is_not_settled_by_our_start(folder: Path) -> None:
    with open_journal(folder) as journal:
        assert journal.submit(noted_row(), noted=of_south(40))
        assert journal.submit(scan_row(journal))
    with open_journal(folder) as journal:
        (unsettled,) = journal.unsettled
        assert unsettled.row > 0
        (pending,) = journal.history("t1").pending
        assert pending.row == THERE.row
    with open_journal(folder) as journal:
        assert journal.unsettled == ()


def names_in(folder: Path, count: int = 100) -> list[int]:
    with RowReader(folder) as reader:
        return [row for row in range(count) if reader.is_noted("south", row, row.to_bytes(16))]


def test_names_of_noted_rows_stay_when_the_rows_go(folder: Path) -> None:
    with open_journal(folder) as journal:
        for row in (40, 41):
            assert journal.submit(noted_row(), noted=of_south(row))
    with SMALL(folder) as rows:
        rows.forget(row_id(1, 3))
    assert names_in(folder) == [40, 41]
    with RowReader(folder) as reader:
        assert (reader.noted_from_ms(), reader.peers()) == (0, {"south": (41, (41).to_bytes(16))})


def test_old_names_are_dropped_and_the_journal_knows_from_when_on_it_has_all(folder: Path) -> None:
    with open_journal(folder) as journal:
        for row in range(40):
            named = of_south(row)._replace(utc_ms=NOON_MS + row // 2)
            assert journal.submit(noted_row(), noted=named)
    with SMALL(folder) as rows:
        assert not rows.forget_noted(NOON_MS)
        assert rows.forget_noted(NOON_MS + 10)
        assert not rows.forget_noted(NOON_MS + 10)
    assert names_in(folder) == list(range(20, 40))
    with RowReader(folder) as reader:
        assert reader.noted_from_ms() == NOON_MS + 10


def test_too_many_names_are_dropped_the_oldest_first_a_few_at_a_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firmware.noted.NOTED_MAX", 10)
    monkeypatch.setattr("firmware.noted.STEP_NAMES", 7)
    with open_journal(folder) as journal:
        for row in range(40):
            assert journal.submit(noted_row(), noted=of_south(row)._replace(utc_ms=NOON_MS + row))
    steps = 0
    with SMALL(folder) as rows:
        while rows.forget_noted(0):
            steps += 1
    assert (steps, names_in(folder)) == (5, list(range(30, 40)))


def test_a_journal_at_work_drops_old_names_however_many_and_not_by_a_clock_that_was_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firmware.noted.STEP_NAMES", 3)
    news = News()
    with open_journal(folder, news, pace=HURRY._replace(tidy_s=0)) as journal:
        for row in range(20):
            utc_ms = NOON_MS - NOTED_KEEP_MS + row - 10
            assert journal.submit(noted_row(), noted=of_south(row)._replace(utc_ms=utc_ms))
        news.safe(journal.next_row - 1)
        until(lambda: names_in(folder) == list(range(10, 20)))
        with RowReader(folder) as reader:
            assert reader.noted_from_ms() == NOON_MS - NOTED_KEEP_MS
        far = Row("clock", "", Moment(0, NOON_MS + 9 * NOTED_KEEP_MS, True))
        assert journal.submit(far)
        until(lambda: names_in(folder) == [])
        with RowReader(folder) as reader:
            assert reader.noted_from_ms() == NOON_MS - NOTED_KEEP_MS + 10


def test_a_name_takes_no_more_than_is_said(folder: Path) -> None:
    count = 3000
    with open_journal(folder) as journal:
        assert journal.submit(noted_row())
    with SMALL(folder) as rows:
        before = rows._number("page_count") - rows._number("freelist_count")
        entries = [
            Entry(
                rows.last_id + 1 + n,
                b"",
                "",
                "",
                b"",
                Noted("south-west", row_id(7, n), n.to_bytes(16), utc_ms=NOON_MS + n),
            )
            for n in range(count)
        ]
        rows.append([entry._replace(noted=None) for entry in entries])
        without = rows._number("page_count") - rows._number("freelist_count")
        rows.append([entry._replace(id=entry.id + count) for entry in entries])
        names = rows._number("page_count") - rows._number("freelist_count") - without - (without - before)
        assert names * PAGE_BYTES / count < NOTED_BYTES


def test_a_journal_of_the_release_before_is_opened_and_can_note(folder: Path) -> None:
    with open_journal(folder) as journal:
        assert journal.submit(scan_row(journal))
    with closing(sqlite3.connect(folder / "journal.db")) as connection, connection:
        connection.execute("DROP TABLE noted")
        connection.execute("DROP TABLE peer")
    with open_journal(folder) as journal:
        assert journal.faults == []
        assert journal.submit(noted_row(), noted=of_south(40))
    with RowReader(folder) as reader:
        assert reader.is_noted("south", 40, (40).to_bytes(16))
    assert kinds(folder) == ["began", "scan", "began", "unsettled", "noted"]


# --- own rows without a receipt -----------------------------------------------------------------------


def test_a_ticket_is_unconfirmed_from_its_movement_here_to_the_receipt_of_the_last_one(folder: Path) -> None:
    news = News()
    with open_journal(folder, news) as journal:
        assert not journal.unconfirmed("t1")
        opened = scan_row(journal)
        assert opened.movement is not None
        assert journal.submit(opened)
        assert journal.unconfirmed("t1")
        walked = journal.next_row
        assert journal.submit(walk_row(opened.movement))
        news.safe(walked)
        journal.confirm(opened.movement.row)
        assert journal.unconfirmed("t1")
        journal.confirm(walked)
        assert not journal.unconfirmed("t1")
        assert not journal.unconfirmed("t2")


def test_what_was_not_confirmed_before_a_restart_is_not_confirmed_after_it(folder: Path) -> None:
    news = News()
    with open_journal(folder, news) as journal:
        opened = scan_row(journal)
        assert opened.movement is not None
        assert journal.submit(opened)
        walked = journal.next_row
        assert journal.submit(walk_row(opened.movement))
        news.safe(walked)
        journal.confirm(opened.movement.row)
    with open_journal(folder) as journal:
        assert journal.receipt == opened.movement.row
        assert journal.unconfirmed("t1")
        journal.confirm(walked)
        assert not journal.unconfirmed("t1")


def test_a_movement_elsewhere_makes_no_ticket_unconfirmed(folder: Path) -> None:
    with open_journal(folder) as journal:
        for act in (Act.OPENED, Act.PASSED):
            assert journal.submit(noted_row(act), noted=of_south(40 + (act is Act.PASSED)))
        assert journal.history("t1").outer.last is Direction.IN
        assert not journal.unconfirmed("t1")


def test_many_movements_do_not_fill_the_memory_for_unconfirmed_ones(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firmware.journal.OWN_MAX", 3)
    with open_journal(folder) as journal:
        for number in range(5):
            row = journal.next_row
            assert journal.submit(Row("scan", "north", at(0), row, movement=opening(row, f"t{number}")))
        assert all(journal.unconfirmed(f"t{number}") for number in range(5))


# --- who hears of commits -----------------------------------------------------------------------------


def test_whoever_listens_hears_of_each_commit_with_its_newest_row(folder: Path) -> None:
    news, heard = News(), list[int]()
    with open_journal(folder, news) as journal:
        journal.listen(heard.append)
        rows = [journal.next_row]
        assert journal.submit(noted_row())
        news.safe(rows[0])
        rows.append(journal.next_row)
        assert journal.submit(noted_row())
    assert heard[-1] == rows[1]
    assert rows[0] in heard
    assert journal.committed == rows[1]


# --- space --------------------------------------------------------------------------------------------


def test_a_noted_row_takes_no_more_room_than_is_kept_for_a_row(folder: Path) -> None:
    count = 3000
    with open_journal(folder) as journal:
        for number in range(count):
            movement = THERE._replace(subject=f"ticketing:{number * 7919 % count:024}", row=-number - 1)
            text = "row 17.123456 of gate south"
            row = Row("noted", "", at(number), movement=movement, text=text)
            assert journal.submit(row, noted=of_south(number + (17 << 32)))
    with SMALL(folder) as rows:
        assert rows.used_bytes() / count < PAGE_BYTES / ROWS_A_PAGE
