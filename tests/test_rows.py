import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from firmware import noted
from firmware.remembered import Remembered
from firmware.row import row_id
from firmware.rows import (
    STEP_ROWS,
    Damaged,
    Entry,
    RowReader,
    Rows,
    Stored,
    Unwritable,
    rescue,
    set_aside,
    verify,
)
from tests.journals import SMALL

CODE = "CLEAR-CODE-OF-A-PERSON-{:06}"


def entry(seq: int, epoch: int = 1, subject: str = "", code: str = "") -> Entry:
    history = b"history of " + subject.encode() if subject else b""
    return Entry(row_id(epoch, seq), b"body %d" % seq * 40, code, subject, history)


def entries(first: int, last: int, epoch: int = 1) -> list[Entry]:
    return [entry(seq, epoch, f"t{seq}", CODE.format(seq)) for seq in range(first, last + 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def rows(folder: Path) -> Iterator[Rows]:
    with SMALL(folder) as rows:
        yield rows


def stored(folder: Path) -> list[Stored]:
    with RowReader(folder) as reader:
        return list(reader.all())


def faults(folder: Path) -> list[str]:
    with RowReader(folder) as reader:
        return [fault for _, fault in verify(reader.all(), reader.retained_from()) if fault]


def change(folder: Path, *statements: str) -> None:
    """Tamper with the file, as another program would."""
    with closing(sqlite3.connect(folder / "journal.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


# --- what is written ----------------------------------------------------------------------------------


def test_rows_codes_and_histories_come_back_as_they_were_written(rows: Rows, folder: Path) -> None:
    rows.append(entries(1, 3))
    rows.append([entry(4)])
    found = stored(folder)
    assert [(row.id, row.body, row.code) for row in found] == [
        *((row_id(1, seq), b"body %d" % seq * 40, CODE.format(seq)) for seq in (1, 2, 3)),
        (row_id(1, 4), b"body 4" * 40, None),
    ]
    with RowReader(folder) as reader:
        assert dict(reader.histories()) == {f"t{n}": b"history of t%d" % n for n in (1, 2, 3)}
        assert reader.history("t2") == b"history of t2"
        assert reader.history("t9") is None
        assert reader.last_id() == row_id(1, 4)
        assert [row.id for row in reader.newest(2)] == [row_id(1, 4), row_id(1, 3)]
    assert faults(folder) == []


def test_more_rows_than_one_step_are_all_read(rows: Rows, folder: Path) -> None:
    rows.append(entries(1, 2 * STEP_ROWS + 1))
    assert len(stored(folder)) == 2 * STEP_ROWS + 1


def test_a_batch_is_written_whole_or_not_at_all(rows: Rows, folder: Path) -> None:
    rows.append(entries(1, 2))
    with pytest.raises(Unwritable, match="UNIQUE"):
        rows.append([entry(3), entry(2)])
    assert len(stored(folder)) == 2
    rows.append([entry(3)])
    assert faults(folder) == []


def test_an_error_of_another_kind_leaves_no_transaction_behind(rows: Rows, folder: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        rows.append([entry(1)._replace(code="\udc80")])
    rows.append([entry(1)])
    assert len(stored(folder)) == 1


def test_the_files_and_their_folder_are_the_gates_alone(rows: Rows, folder: Path) -> None:
    rows.append(entries(1, 2))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_journal_in_a_folder_that_takes_no_files_says_so(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file")
    with pytest.raises(Unwritable, match="journal"):
        SMALL(tmp_path / "journal")


def test_closing_twice_is_fine_and_leaves_the_log_where_it_was(folder: Path) -> None:
    rows = Rows(folder)
    rows.reserve()
    rows.append(entries(1, 3))
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    rows.close()
    rows.close()
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == sizes
    assert sizes["journal.db-wal"] >= 8_000_000


# --- readers and other writers ------------------------------------------------------------------------


def test_a_reader_beside_the_writer_sees_each_row_at_once_and_delays_nothing(
    rows: Rows, folder: Path
) -> None:
    rows.append([entry(1)])
    with RowReader(folder) as reader:
        reading = reader.backwards()  # stays where it is: a reader that takes its time
        assert next(reading).id == row_id(1, 1)
        rows.append([entry(2)])
        rows.checkpoint()
        rows.append([entry(3)])
        assert [row.id for row in reader.after(row_id(1, 1), 10)] == [row_id(1, 2), row_id(1, 3)]
        assert next(reading, None) is None


@pytest.mark.parametrize("gone", [["-shm"], ["-wal", "-shm"]])
def test_a_journal_of_a_stopped_gate_can_be_read_without_its_helper_files(
    folder: Path, gone: list[str]
) -> None:
    with SMALL(folder) as rows:
        rows.append(entries(1, 3))
    for ending in gone:
        (folder / f"journal.db{ending}").unlink()
    assert len(stored(folder)) == 3


@pytest.mark.parametrize("text", [None, b"", b"no journal" * 1000])
def test_reading_where_there_is_no_journal_says_so(folder: Path, text: bytes | None) -> None:
    folder.mkdir()
    if text is not None:
        (folder / "journal.db").write_bytes(text)
    with pytest.raises((Damaged, Unwritable), match=r"journal\.db"):
        RowReader(folder)


def test_a_second_writer_is_noticed_before_it_breaks_the_chain(folder: Path) -> None:
    with SMALL(folder) as one, SMALL(folder) as other:
        one.append([entry(1)])
        with pytest.raises(Unwritable, match=r"another process wrote row 1\.1"):
            other.append([entry(1, epoch=2)])
        one.append([entry(2)])
    assert faults(folder) == []


# --- the chain ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        (["UPDATE row SET body = x'00' WHERE id & 255 = 5"], ["row 1.5 was changed"]),
        (["UPDATE row SET digest = zeroblob(16) WHERE id & 255 = 5"], ["row 1.5 was", "row 1.6 was"]),
        (["DELETE FROM row WHERE id & 255 = 5"], ["between row 1.4 and row 1.6 rows are missing"]),
        (["DELETE FROM row WHERE id & 255 = 1"], ["before row 1.2 the first row of its epoch is missing"]),
        (["DELETE FROM row WHERE id & 255 = 9"], ["row 2.1 was changed, or is not the one"]),
        (["UPDATE row SET id = id + 100 WHERE id & 255 > 7 AND id < 2 << 32"],
         ["between row 1.7 and row 1.108", "row 1.109 was changed", "row 2.1 was not" * 0]),
        (["UPDATE row SET id = 0 WHERE id & 255 = 5", "UPDATE row SET id = id - 1 WHERE id & 255 = 6",
          f"UPDATE row SET id = {row_id(1, 6)} WHERE id = 0"],
         ["row 1.5 was changed", "row 1.6 was changed", "row 1.7 was"]),
    ],
)  # fmt: skip
def test_a_row_that_was_changed_taken_out_or_swapped_is_named(
    folder: Path, tampering: list[str], said: list[str]
) -> None:
    with SMALL(folder) as rows:
        rows.append(entries(1, 9))
        rows.append(entries(1, 1, epoch=2))
    assert faults(folder) == []
    change(folder, *tampering)
    found = faults(folder)
    expected = [text for text in said if text]
    assert [fault[: len(text)] for fault, text in zip(found, expected, strict=True)] == expected


@pytest.mark.parametrize("before", [row_id(1, 1), row_id(1, 2), row_id(1, 5), row_id(1, 10), row_id(2, 2)])
def test_what_retention_leaves_is_a_whole_chain_with_the_settings_of_its_first_epoch(
    folder: Path, before: int
) -> None:
    with SMALL(folder) as rows:
        rows.append(entries(1, 9))
        rows.append(entries(1, 4, epoch=2))
        rows.forget(before)
        kept = [row.id for row in stored(folder)]
        assert rows.retained_from == before
        assert [row.code is not None for row in stored(folder)] == [row >= before for row in kept]
        rows.append([entry(5, epoch=2)])
    assert [row for row in kept if row >= before] == [row for row in kept if row % 2**32 > 1 or row >= before]
    assert row_id(before >> 32, 1) in kept
    assert faults(folder) == []


@pytest.mark.parametrize("missing", [row_id(1, 1), row_id(1, 5)])
def test_a_row_missing_where_retention_has_been_is_named(folder: Path, missing: int) -> None:
    with SMALL(folder) as rows:
        rows.append(entries(1, 9))
        rows.forget(row_id(1, 5))
    change(folder, f"DELETE FROM row WHERE id = {missing}")
    assert len(faults(folder)) == 1


def test_the_newest_row_is_never_forgotten(rows: Rows) -> None:
    rows.append(entries(1, 3))
    with pytest.raises(AssertionError):
        rows.forget(row_id(1, 4))


# --- clear codes --------------------------------------------------------------------------------------


def codes_on_disk(folder: Path) -> set[int]:
    """The numbers of all clear codes that stand anywhere in the journal's files."""
    found = set[int]()
    for path in folder.glob("journal.db*"):
        for part in path.read_bytes().split(b"CLEAR-CODE-OF-A-PERSON-")[1:]:
            found.add(int(part[:6]))
    return found


def test_promise_9_a_clear_code_is_gone_from_every_byte_of_the_disk_after_its_receipt(folder: Path) -> None:
    with Rows(folder, reserved_rows=600, log_pages=200) as rows:
        rows.reserve()
        for first in range(1, 241, 3):  # in single commits, with checkpoints between, as codes really come
            rows.append(entries(first, first + 2))
            if first % 60 == 1:
                rows.checkpoint()
        before = [(row.id, row.digest) for row in stored(folder)]
        rows.confirm(row_id(1, 230))
        rows.checkpoint()
        assert codes_on_disk(folder) > set(range(231, 241)), "the log still holds them, or this test is blind"
        rows.wipe_log()
        assert codes_on_disk(folder) == set(range(231, 241))
        assert [(row.id, row.digest) for row in stored(folder)] == before
        assert [row.id for row in stored(folder) if row.code] == [row_id(1, seq) for seq in range(231, 241)]
    assert faults(folder) == []


def test_codes_of_a_process_that_was_killed_are_wiped_by_the_next_one(folder: Path, tmp_path: Path) -> None:
    with Rows(folder, reserved_rows=600, log_pages=200) as rows:
        rows.reserve()
        rows.append(entries(1, 50))
        rows.confirm(row_id(1, 50))
        (tmp_path / "copy").mkdir()
        for path in folder.glob("journal.db*"):
            (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    with Rows(tmp_path / "copy", reserved_rows=600, log_pages=200) as rows:
        assert rows.receipt == row_id(1, 50)
        assert codes_on_disk(tmp_path / "copy")
        rows.wipe_log()
        assert codes_on_disk(tmp_path / "copy") == set()


def test_many_codes_are_forgotten_in_steps(rows: Rows, folder: Path) -> None:
    rows.append(entries(1, STEP_ROWS + 10))
    rows.confirm(row_id(1, STEP_ROWS + 5))
    assert rows.receipt == row_id(1, STEP_ROWS)
    rows.confirm(row_id(1, STEP_ROWS + 5))
    assert rows.receipt == row_id(1, STEP_ROWS + 5)
    rows.confirm(row_id(1, 7))
    assert rows.receipt == row_id(1, STEP_ROWS + 5)
    assert sum(row.code is not None for row in stored(folder)) == 5


# --- room ---------------------------------------------------------------------------------------------


def test_room_is_made_once_and_topped_up_at_later_starts(folder: Path) -> None:
    with Rows(folder, reserved_rows=3000, log_pages=100) as rows:
        rows.reserve()
        size = (folder / "journal.db").stat().st_size
        rows.append(entries(1, 500))
        rows.checkpoint()
        assert (folder / "journal.db").stat().st_size == size
    for last, grows in ((1000, False), (4000, False), (4001, True), (4002, False)):
        with Rows(folder, reserved_rows=3000, log_pages=100) as rows:
            rows.reserve()
            assert ((folder / "journal.db").stat().st_size > size) is grows
            size = (folder / "journal.db").stat().st_size
            rows.append(entries(rows.last_id % 2**32 + 1, last))
    assert size < 4 * 3000 // 6 * 4096


def test_room_that_a_power_cut_left_half_made_is_not_lost(folder: Path) -> None:
    with Rows(folder, reserved_rows=3000, log_pages=100) as rows:
        rows.reserve()
        size = (folder / "journal.db").stat().st_size
    change(folder, "CREATE TABLE filler (space BLOB)", "INSERT INTO filler VALUES (zeroblob(1000000))")
    with Rows(folder, reserved_rows=3000, log_pages=100) as rows:
        rows.reserve()
        assert (folder / "journal.db").stat().st_size == size


# --- damage -------------------------------------------------------------------------------------------


def test_another_database_in_its_place_is_no_journal(folder: Path) -> None:
    folder.mkdir()
    change(folder, "CREATE TABLE row (number INTEGER PRIMARY KEY)")
    with pytest.raises(Damaged, match="no such column"):
        SMALL(folder)


def test_a_row_changed_near_the_end_is_damage(folder: Path) -> None:
    with SMALL(folder) as rows:
        rows.append(entries(1, 9))
    change(folder, "UPDATE row SET body = x'00' WHERE id & 255 = 8")
    with pytest.raises(Damaged, match=r"row 1\.8 was changed"):
        SMALL(folder)


def test_a_condemned_journal_is_damage_until_it_is_set_aside(folder: Path) -> None:
    with SMALL(folder) as rows:
        rows.append(entries(1, 9))
        rows.condemn("a page made no sense")
    with pytest.raises(Damaged, match="a page made no sense"):
        SMALL(folder)
    aside = set_aside(folder, 1234)
    assert dict(rescue(aside)) == {f"t{n}": b"history of t%d" % n for n in range(1, 10)}
    with SMALL(folder) as rows:
        assert rows.last_id == 0
        rows.condemn("again, at the same time")
    assert set_aside(folder, 1234) != aside
    assert aside.exists()


def test_what_is_set_aside_is_whole(folder: Path) -> None:
    with SMALL(folder) as rows:
        rows.append(entries(1, 9))
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
    aside = set_aside(folder, 1234)
    assert {path.name.replace(aside.name, "journal.db") for path in folder.iterdir()} == before.keys()
    assert len(dict(rescue(aside))) == 9


def test_rescue_ends_at_the_first_damage(folder: Path) -> None:
    with SMALL(folder) as rows:
        rows.append(entries(1, 2000))
    aside = set_aside(folder, 1)
    aside.with_name(f"{aside.name}-wal").unlink()  # or its pages would stand in for the damaged one
    data = bytearray(aside.read_bytes())
    at = data.rindex(b"history of t")
    data[at - at % 4096 : at - at % 4096 + 4096] = os.urandom(4096)
    aside.write_bytes(data)
    found = list(rescue(aside))
    assert found == sorted(set(found))
    assert len(found) < 2000


def test_rescue_of_something_else_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "damaged.db").write_bytes(b"something else" * 1000)
    assert list(rescue(tmp_path / "damaged.db")) == []
    assert list(rescue(tmp_path / "missing.db")) == []


# --- the memory beside it -----------------------------------------------------------------------------


def test_what_was_remembered_is_known_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "epoch"
    first = Remembered(path)
    assert (first.epoch, first.row, first.fault) == (0, 0, "")
    first.begin(3, row_id(2, 9))
    first.reach(row_id(3, 2**32 - 1))
    first.close()
    first.close()
    again = Remembered(path)
    assert (again.epoch, again.row, again.fault) == (3, row_id(3, 2**32 - 1), "")


@pytest.mark.parametrize("text", [b"many", b"1", b"1 2 3", b"\xff\xfe"])
def test_a_memory_that_makes_no_sense_is_a_fault_and_no_more(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "epoch"
    path.write_bytes(text)
    known = Remembered(path)
    assert (known.epoch, known.row) == (0, 0)
    assert "cannot be read" in known.fault
    known.begin(1, 0)
    known.close()
    assert Remembered(path).epoch == 1


def test_an_empty_memory_is_that_of_a_first_start_that_was_cut_off(tmp_path: Path) -> None:
    (tmp_path / "epoch").touch()
    assert Remembered(tmp_path / "epoch").fault == ""


def test_a_memory_that_cannot_be_written_refuses_the_start(tmp_path: Path) -> None:
    with pytest.raises(Unwritable, match="missing"):
        Remembered(tmp_path / "missing" / "epoch").begin(1, 0)


def test_a_body_that_one_bit_turned_into_a_text_is_read_as_it_was_written(folder: Path) -> None:
    with Rows(folder) as rows:
        rows.append([Entry(1 << 32 | 1, b"body", "", "", b"")])
        digest = rows.last_digest
    with closing(sqlite3.connect(folder / "journal.db")) as connection, connection:
        connection.execute("UPDATE row SET body = CAST(body AS TEXT)")
    with RowReader(folder) as reader:
        (stored,) = reader.after(0, 9)
    assert (stored.body, stored.digest) == (b"body", digest)


def test_a_journal_has_all_of_its_tables_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(noted, "SCHEMA", "this is where it ends;")
        with pytest.raises(Damaged):
            Rows(tmp_path)
    with closing(sqlite3.connect(tmp_path / "journal.db")) as left:
        assert left.execute("SELECT name FROM sqlite_master").fetchall() == []
    with Rows(tmp_path, reserved_rows=0, log_pages=0), RowReader(tmp_path) as reader:
        assert list(reader.all()) == []
