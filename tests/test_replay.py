"""Replay: a whole night comes out as it was, and whatever is changed in its journal is named by its row."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core.effects import Kind
from firmware.core.events import Cause, Order
from firmware.core.states import Shown, Standing
from firmware.core.ticket import Authority, Direction, Route, Verdict
from firmware.replay import BATCH_ROWS, Difference, Replay
from firmware.row import Before, Named, Row, chain, decode, encode, epoch_and_seq, row_id
from firmware.rows import Damaged
from tests.gate_bench import SETUP, THROUGH, Bench, FakeLink, data_directory

SOUTH = SETUP._replace(name="south")
VENDOR = {"V": Route("acme", authority=Authority.VENDOR)}


class Copy(NamedTuple):
    """A copy of the night's journal, small enough for every test to change its own."""

    folder: Path

    def run(self, epoch: int | None = None, lane: str | None = None) -> tuple[Replay, list[Difference]]:
        """Replay all of it."""
        run = Replay(self.folder, epoch, lane)
        return run, list(run.differences())

    def only_difference(self) -> tuple[int, str]:
        """The number of the one row that differs, and how."""
        (found,) = self.run()[1]
        return row_id(found.epoch, found.seq), found.what

    def execute(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Change the file."""
        with closing(self.connect()) as connection:
            return connection.execute(sql, values).fetchall()

    def connect(self) -> sqlite3.Connection:
        """In a hurry: no power is cut here."""
        connection = sqlite3.connect(self.folder / "journal.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode=MEMORY").fetchall()
        connection.execute("PRAGMA synchronous=OFF").fetchall()
        return connection

    def rows(self) -> dict[int, Row]:
        """Every row by its number."""
        return {number: decode(body) for number, body in self.execute("SELECT id, body FROM row ORDER BY id")}

    def find(self, chosen: Callable[[Row], bool]) -> tuple[int, Row]:
        """The first such row."""
        return next((number, row) for number, row in self.rows().items() if chosen(row))

    def write(self, number: int, body: bytes) -> None:
        """Other bytes in the place of a row."""
        self.execute("UPDATE row SET body = ? WHERE id = ?", body, number)

    def forge(self, number: int, row: Row) -> None:
        """Another row in its place, all digests made anew, as a careful forger would."""
        self.write(number, encode(row))
        self.tie()

    def tie(self) -> None:
        """All digests anew."""
        digest = b""
        with closing(self.connect()) as connection:
            connection.execute("BEGIN")
            for number, body in connection.execute("SELECT id, body FROM row ORDER BY id").fetchall():
                digest = chain(digest, number, body)
                connection.execute("UPDATE row SET digest = ? WHERE id = ?", (digest, number))
            connection.execute("COMMIT")


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Two runs of a gate with two lanes: people, refusals, a vendor, orders and an alarm in an opening."""
    folder = tmp_path_factory.mktemp("night")
    link = FakeLink()
    with data_directory() as data:
        with Bench(data, (SETUP, SOUTH), routes=VENDOR, link=link, usual=THROUGH) as bench:
            bench.enter("A", way="in")
            bench.enter("A", way="in")
            bench.enter("nobody", "south", "in")
            bench.scan("V1", "south", "in")
            bench.settle()
            bench.gate.answer(link.asks[0][0].scan, Verdict.ADMITTED, "welcome")
            bench.pass_time(10_000)
            bench.order(Order.SHUT, "south")
            bench.enter("B", "south", "in")
            bench.order(Order.NORMAL, "south")
            bench.scan("C", way="in")
            bench.settle()
            bench.contact.press()
            bench.settle()
            bench.contact.release()
            bench.pass_time(1_000)
            bench.restart()
            bench.enter("A", way="out")
            bench.enter("D", "south", "in")
            bench.stop()
        connection = sqlite3.connect(data / "journal" / "journal.db")
        connection.execute("VACUUM INTO ?", (str(folder / "journal.db"),))
        connection.close()
    return Copy(folder)


@pytest.fixture
def copy(night: Copy, tmp_path: Path) -> Copy:
    shutil.copyfile(night.folder / "journal.db", tmp_path / "journal.db")
    return Copy(tmp_path)


def test_a_whole_night_comes_out_as_it_was(night: Copy) -> None:
    run, found = night.run()
    rows = night.rows()
    assert found == []
    assert (run.rows, run.different, run.retained_from) == (len(rows), 0, 0)
    assert run.replayed == sum(row.story is not None for row in rows.values()) > 15
    assert (run.epochs, run.known_lanes) == ([1, 2], {"north", "south"})
    assert {row.kind for row in rows.values()} >= {"began", *Kind} - {Kind.LATE, Kind.VOID}


def test_one_epoch_and_one_lane_can_be_chosen(night: Copy) -> None:
    rows = night.rows()
    run, found = night.run(epoch=2, lane="south")
    chosen = [row for number, row in rows.items() if epoch_and_seq(number)[0] == 2]
    assert found == []
    assert run.epochs == [2]
    assert run.rows == len(chosen)
    assert night.run(epoch=1)[0].rows == len(rows) - len(chosen)
    assert run.replayed == sum(row.story is not None and row.lane == "south" for row in chosen) > 0


def test_an_epoch_that_is_not_there_has_no_rows(night: Copy) -> None:
    run, found = night.run(epoch=7)
    assert (run.rows, run.epochs, found) == (0, [], [])


def test_a_folder_without_a_journal_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"noise" * 1000)
    with pytest.raises(Damaged, match=r"journal\.db"):
        Copy(tmp_path).run()


# --- what was changed on the disk --------------------------------------------------------------------


@given(data=st.data())
def test_any_changed_byte_of_any_row_is_named_by_its_row(
    data: st.DataObject, night: Copy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "changed-byte"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(night.folder / "journal.db", folder / "journal.db")
    copy = Copy(folder)
    bodies = dict(copy.execute("SELECT id, body FROM row"))
    number = data.draw(st.sampled_from(sorted(bodies)))
    changed = bytearray(bodies[number])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    copy.write(number, bytes(changed))
    first = copy.run()[1][0]
    assert row_id(first.epoch, first.seq) == number
    assert "was changed" in first.what
    copy.tie()
    copy.run()  # whatever it finds now, it finds without an accident


def test_a_changed_byte_in_the_file_is_named_by_its_row(copy: Copy) -> None:
    number, row = copy.find(lambda row: row.verdict is Verdict.USED)
    path = copy.folder / "journal.db"
    whole, body = path.read_bytes(), encode(row)
    assert whole.count(body) == 1
    path.write_bytes(whole.replace(body, body.replace(b"used", b"usad")))
    (found,) = copy.run()[1]
    assert row_id(found.epoch, found.seq) == number
    assert "cannot be read" in found.what
    assert "was changed" in found.what


def test_a_row_that_is_missing_is_seen_at_the_next_one(copy: Copy) -> None:
    number, _ = copy.find(lambda row: row.kind == Kind.PASSAGE)
    copy.execute("DELETE FROM row WHERE id = ?", number)
    found, what = copy.only_difference()
    assert found == number + 1
    assert "missing" in what


def test_an_epoch_without_its_first_row_cannot_be_replayed_and_says_so_once(copy: Copy) -> None:
    copy.execute("DELETE FROM row WHERE id = ?", row_id(2, 1))
    run, (found,) = copy.run()
    assert (found.epoch, found.seq) == (2, 2)
    assert "the settings of the lanes" in found.what
    assert run.replayed == sum(
        row.story is not None for number, row in copy.rows().items() if number >> 32 == 1
    )


def test_settings_that_cannot_be_read_are_named_by_the_first_row(copy: Copy) -> None:
    number = row_id(2, 1)
    copy.forge(number, copy.rows()[number]._replace(text="{"))
    found, what = copy.only_difference()
    assert found == number
    assert "the settings of the lanes" in what
    assert "the settings of the lanes" in copy.run(epoch=2)[1][0].what


def test_rows_of_another_journal_before_an_epoch_are_seen_where_only_that_epoch_is_chosen(copy: Copy) -> None:
    number = row_id(2, 1)
    copy.execute("UPDATE row SET digest = x'00' WHERE id = ?", number)
    _, found = copy.run(epoch=2)
    assert [(one.epoch, one.seq) for one in found] == [(2, 1), (2, 2)]


# --- what a careful forger changed -------------------------------------------------------------------


def test_a_verdict_that_the_core_did_not_give_is_named(copy: Copy) -> None:
    number, row = copy.find(lambda row: row.verdict is Verdict.USED)
    copy.forge(number, row._replace(verdict=Verdict.UNKNOWN))
    found, what = copy.only_difference()
    assert found == number
    assert what == "the row itself: the core asks for record scan used"


def test_an_event_that_was_another_one_has_other_effects(copy: Copy) -> None:
    number, row = copy.find(lambda row: row.verdict is Verdict.UNKNOWN)
    assert row.story is not None
    (scanned,) = row.story.events
    fields = tuple("out" if field == "in" else field for field in scanned.fields)
    story = row.story._replace(events=(Named("Scanned", fields),))
    copy.forge(number, row._replace(story=story))
    found = copy.run()[1][0]
    assert row_id(found.epoch, found.seq) == number
    assert (
        found.what
        == "the effects: now they are record scan unknown, tell unknown, and the lane is then Ready"
    )


def test_a_lane_that_stood_elsewhere_before_is_named_with_what_it_was(copy: Copy) -> None:
    number, row = copy.find(lambda row: row.verdict is Verdict.UNKNOWN)
    assert row.story is not None
    before = row.story.before._replace(state=Named("Free", ()))
    copy.forge(number, row._replace(story=row.story._replace(before=before)))
    _, found = copy.run()
    assert row_id(found[0].epoch, found[0].seq) == number
    assert "the lane before it: it is Free here and Ready after row 1.1" in found[0].what


def test_all_that_stood_otherwise_in_a_lane_is_named(copy: Copy) -> None:
    number, row = copy.find(lambda row: row.kind == Kind.PASSAGE)
    assert row.story is not None
    until, *rest = row.story.before.state.fields[2], *row.story.before.state.fields[3:]
    state = Named("Recording", (*row.story.before.state.fields[:2], until + 1, *rest))
    standing = Standing((Cause.OPERATOR,), (Cause.READER,))
    shown = Shown(b"", Verdict.BUSY, "", 0, Direction.IN)
    before = Before(standing, state, shown)
    copy.forge(number, row._replace(story=row.story._replace(before=before)))
    what = copy.run()[1][0].what
    assert "what stands is free for operator and shut for reader here and nothing after row 1.2" in what
    assert "its Recording has other values than after row 1.2 (until_ms)" in what
    assert "it shows busy here and nothing after row 1.2" in what


def test_a_story_of_another_core_is_named(copy: Copy) -> None:
    number, row = copy.find(lambda row: row.verdict is Verdict.UNKNOWN)
    assert row.story is not None
    copy.forge(number, row._replace(story=row.story._replace(events=(Named("Teleported", ()),))))
    found, what = copy.only_difference()
    assert found == number
    assert what.startswith("its story cannot be read: ")
    assert "Teleported" in what


def test_a_story_that_was_taken_out_is_missed(copy: Copy) -> None:
    number, row = copy.find(lambda row: row.verdict is Verdict.UNKNOWN)
    copy.forge(number, row._replace(story=None))
    assert copy.run()[1][0].what == "nothing that happened to the lane explains it"


def test_the_second_row_of_an_alarm_must_be_the_one_that_the_core_asks_for(copy: Copy) -> None:
    number, row = copy.find(lambda row: row.kind == Kind.LAPSE)
    assert row.story is None
    assert row.movement is not None
    copy.forge(number, row._replace(movement=row.movement._replace(subject="another")))
    assert copy.only_difference() == (number, "nothing that happened to the lane explains it")


def test_a_row_of_a_lane_that_is_not_in_the_settings_is_named(copy: Copy) -> None:
    number, row = copy.find(lambda row: row.verdict is Verdict.UNKNOWN)
    copy.forge(number, row._replace(lane="west"))
    _, found = copy.run()
    assert found[0].what == "the epoch has no such lane"
    assert str(found[0]).startswith(f"row 1.{number & 0xFFFF} (lane west, scan): ")


# --- what is no difference ---------------------------------------------------------------------------


def test_rows_that_retention_dropped_are_said_and_no_difference(copy: Copy) -> None:
    kept = row_id(1, 9)
    copy.execute("DELETE FROM row WHERE id < ? AND id <> ?", kept, row_id(1, 1))
    copy.execute("INSERT OR REPLACE INTO meta VALUES ('retained_from', ?)", kept)
    run, found = copy.run()
    assert found == []
    assert run.retained_from == kept


def test_rows_that_retention_drops_while_it_runs_are_no_difference(copy: Copy) -> None:
    """The first row is changed, so that the run can be stopped between two looks into the file."""
    many = 2 * BATCH_ROWS
    copy.execute("DELETE FROM row WHERE id > ?", row_id(2, 0))
    last, row = list(copy.rows().items())[-1]
    fault = encode(row._replace(kind="fault", lane="", story=None, movement=None))
    with closing(copy.connect()) as connection:
        more = [(number, fault) for number in range(last + 1, last + many)]
        connection.executemany("INSERT INTO row VALUES (?, ?, x'')", more)
    copy.tie()
    copy.execute("UPDATE row SET digest = x'00' WHERE id = ?", row_id(1, 1))
    run = Replay(copy.folder)
    differences = run.differences()
    assert next(differences).seq == 1
    kept = last + many - 5
    copy.execute("DELETE FROM row WHERE id < ? AND id <> ?", kept, row_id(1, 1))
    copy.execute("INSERT OR REPLACE INTO meta VALUES ('retained_from', ?)", kept)
    assert list(differences) == []
    assert run.retained_from == kept


def test_rows_that_were_lost_leave_their_lane_unknown(copy: Copy) -> None:
    number, row = copy.find(lambda row: row.verdict is Verdict.ADMITTED)
    copy.forge(number, row._replace(kind="lost", story=None, verdict=None, movement=None))
    assert copy.run()[1] == []
