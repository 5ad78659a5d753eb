"""What the journal shows: JSON lines with the same fields always, a table that no code can spoil, news."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from firmware.core.events import Order
from firmware.core.movements import Act, Movement
from firmware.core.ticket import Authority, Route, Ticket, Verdict
from firmware.replay import Replay
from firmware.row import Row, decode_began, row_id
from firmware.rows import Damaged, Noted, RowReader, Unwritable, set_aside
from firmware.show_journal import BATCH_ROWS, FIELDS, HEAD, Choice, Line, Lines, as_json, as_row, batches
from tests.core.samples import OUT, OUTER, at
from tests.gate_bench import SETUP, THROUGH, Bench, FakeLink, data_directory
from tests.journals import open_journal, scan_row

SOUTH = SETUP._replace(name="south")
LISTED = {
    "A": Ticket("id-A"),
    "early": Ticket("id-early", valid_from_ms=1_900_000_000_000),
    "\x1b[2J\x07": Ticket("id-\u202eodd\x9b"),
}


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of two runs, with a row of every sort that is shown in its own way."""
    folder, link = tmp_path_factory.mktemp("night"), FakeLink()
    routes = {"V": Route("acme", authority=Authority.VENDOR)}
    with data_directory() as data:
        with Bench(data, (SETUP, SOUTH), LISTED, routes=routes, link=link, usual=THROUGH) as bench:
            bench.enter("A", way="in")
            bench.enter("A", way="in")
            bench.enter("early", "south", "in")
            bench.enter("\x1b[2J\x07", "south", "in")
            bench.scan("V1", way="out")
            bench.settle()
            bench.gate.answer(link.asks[0][0].scan, Verdict.REFUSED, "ask \x1b[31mthem")
            bench.pass_time(10_000)
            bench.trusted = False
            bench.restart()
            bench.order(Order.SHUT)
            bench.enter("nobody", way="in")
            bench.stop()
        with closing(sqlite3.connect(data / "journal" / "journal.db")) as connection:
            connection.execute("VACUUM INTO ?", (str(folder / "journal.db"),))
    return folder


def shown(folder: Path, choice: Choice = Choice(), zone: str = "UTC") -> list[Line]:  # noqa: B008  a frozen value
    """Every chosen row as a line."""
    lines = Lines(ZoneInfo(zone))
    return [lines.of(reader, row) for reader, rows in batches(folder, choice) for row in rows]


# --- one row -----------------------------------------------------------------------------------------


def test_every_field_is_explained_and_always_there(night: Path) -> None:
    assert tuple(FIELDS) == Line._fields
    objects = [json.loads(as_json(line)) for line in shown(night)]
    assert len(objects) > 10
    assert {tuple(found) for found in objects} == {Line._fields}


def test_an_admission_tells_ticket_code_time_and_what_it_did(night: Path) -> None:
    with RowReader(night) as reader:
        stored = reader.after(row_id(1, 1), 1)[0]
    (line,) = [line for line in shown(night) if (line.epoch, line.seq) == (1, 2)]
    assert json.loads(as_json(line)) == {
        "epoch": 1,
        "seq": 2,
        "time": "2027-01-15T08:00:00.000Z",
        "trusted": True,
        "kind": "scan",
        "lane": "north",
        "direction": "in",
        "verdict": "admitted",
        "reason": "admitted",
        "subject": "id-A",
        "code": "A",
        "movement": "opened",
        "text": "",
        "scan_epoch": 1,
        "scan_seq": 2,
        "digest": stored.digest.hex(),
    }


def test_a_walk_names_its_scan_and_has_no_code(night: Path) -> None:
    walk = next(line for line in shown(night) if line.kind == "passage")
    assert (walk.scan_epoch, walk.scan_seq, walk.movement, walk.subject) == (1, 2, "passed", "id-A")
    assert (walk.direction, walk.code, walk.verdict, walk.reason) == ("in", None, None, None)


def test_the_reason_is_told_in_the_time_zone_that_was_asked_for(night: Path) -> None:
    for zone, expected in (("UTC", "17:46"), ("Asia/Tokyo", "02:46")):
        early = next(line for line in shown(night, zone=zone) if line.verdict == "too_early")
        assert early.reason is not None
        assert expected in early.reason


def test_the_vendors_answer_is_told_with_its_words(night: Path) -> None:
    ask, answer = [line for line in shown(night) if line.kind in ("ask", "answer")]
    assert (ask.code, ask.direction, ask.verdict, ask.reason) == ("V1", "out", None, None)
    assert answer.verdict == "refused"
    assert answer.reason == 'refused by the vendor; the vendor says "ask \N{REPLACEMENT CHARACTER}[31mthem"'
    assert answer.text == "ask \x1b[31mthem"
    assert (answer.scan_epoch, answer.scan_seq) == (ask.epoch, ask.seq)


def test_a_clock_that_was_not_synchronised_is_marked(night: Path) -> None:
    late = [line for line in shown(night) if line.epoch == 2]
    assert late
    assert not any(line.trusted for line in late)
    assert all("?" in as_row(line, UTC, 200) for line in late)


def test_the_settings_of_an_epoch_are_whole_in_json_and_short_in_the_table(night: Path) -> None:
    began = shown(night)[0]
    assert [setup.name for setup in decode_began(began.text).setups] == ["north", "south"]
    assert as_row(began, UTC, 200).endswith("release test, lanes north, south")


def test_a_row_that_cannot_be_read_is_shown_as_that(night: Path, tmp_path: Path) -> None:
    shutil.copyfile(night / "journal.db", tmp_path / "journal.db")
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as connection:
        connection.execute("UPDATE row SET body = x'c1' WHERE id = ?", (row_id(1, 2),))
        connection.execute("UPDATE row SET body = x'c1' WHERE id = ?", (row_id(2, 1),))
    lines = {(line.epoch, line.seq): line for line in shown(tmp_path, Choice(lane="north"))}
    broken = lines[1, 2]
    assert (broken.kind, broken.code, broken.time) == ("unreadable", "A", None)
    assert broken.text
    assert as_row(broken, UTC, 200).split()[:2] == ["1.2", "unreadable"]
    assert any(line.reason == "the lane is shut" for line in lines.values()), (
        "its epoch's settings are unreadable"
    )


def test_a_time_beyond_the_calendar_is_left_out(tmp_path: Path) -> None:
    with open_journal(tmp_path / "journal") as journal:
        row = scan_row(journal)
        journal.note(row._replace(moment=row.moment._replace(utc_ms=10**18)))
    line = shown(tmp_path / "journal")[-1]
    assert line.time is None
    assert as_row(line, UTC, 200)


# --- nothing from outside reaches a terminal ---------------------------------------------------------


def test_no_code_no_ticket_and_no_word_of_a_vendor_can_change_a_terminal(night: Path) -> None:
    lines = shown(night)
    assert any("\x1b" in (line.code or "") for line in lines)
    assert any("\x9b" in (line.subject or "") for line in lines)
    for line in [*lines, lines[1]._replace(code="\x7f\x00\n\u2028", lane="\x1b")]:
        assert as_json(line).isascii()
        assert as_json(line).isprintable()
        assert json.loads(as_json(line))["code"] == line.code
        assert as_row(line, UTC, 200).isprintable()


def test_a_table_keeps_its_columns_and_its_width(night: Path) -> None:
    for line in shown(night):
        row = as_row(line, UTC, 150)
        assert len(row) <= 150
        assert row[HEAD.index("kind") :].startswith(line.kind)
    long = shown(night)[1]._replace(code="x" * 500, reason="y" * 500)
    assert len(as_row(long, UTC, 150)) == 150
    assert len(as_row(long, UTC, 20)) == HEAD.index("what") + 40


# --- which rows --------------------------------------------------------------------------------------


def test_an_epoch_a_lane_and_the_newest_rows_can_be_chosen(night: Path) -> None:
    lines = shown(night)
    assert shown(night, Choice(epoch=1)) == [line for line in lines if line.epoch == 1]
    assert shown(night, Choice(lane="south")) == [line for line in lines if line.lane == "south"]
    assert shown(night, Choice(newest=3)) == lines[-3:]
    assert shown(night, Choice(newest=0)) == []
    assert shown(night, Choice(newest=10_000)) == lines
    assert (
        shown(night, Choice(1, "north", 2))
        == [line for line in lines if (line.epoch, line.lane) == (1, "north")][-2:]
    )
    assert shown(night, Choice(2, None, 10_000)) == [line for line in lines if line.epoch == 2]
    assert shown(night, Choice(epoch=9)) == []


def test_more_rows_than_one_statement_reads_come_in_order(tmp_path: Path) -> None:
    with open_journal(tmp_path / "journal") as journal:
        for _ in range(BATCH_ROWS * 2):
            journal.note(scan_row(journal))
    seqs = [line.seq for line in shown(tmp_path / "journal")]
    assert seqs == list(range(1, BATCH_ROWS * 2 + 2))


def test_a_folder_without_a_journal_is_said(tmp_path: Path) -> None:
    with pytest.raises((Damaged, Unwritable), match="journal"):
        shown(tmp_path)


# --- following ---------------------------------------------------------------------------------------


class Follower:
    """Follows a journal. Whenever it has seen all, the next thing happens; when all have, it ends."""

    def __init__(self, folder: Path, choice: Choice, *happenings: Callable[[], object]) -> None:
        self.said: list[str] = []
        self._left = list(happenings)
        lines = Lines(UTC)
        self.seen = [
            lines.of(reader, row)
            for reader, rows in batches(folder, choice, self._wait, self.said.append)
            for row in rows
        ]

    def _wait(self) -> bool:
        if self._left:
            self._left.pop(0)()
            return True
        return False

    @property
    def numbers(self) -> list[tuple[int, int]]:
        return [(line.epoch, line.seq) for line in self.seen]

    @property
    def news(self) -> list[int]:
        """The epochs of the rows that a test wrote."""
        return [line.epoch for line in self.seen if line.text == "news"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A journal with three rows."""
    more(tmp_path / "journal", 2)
    return tmp_path / "journal"


def more(folder: Path, rows: int = 1) -> None:
    """A gate starts, writes rows, and stops."""
    with open_journal(folder) as journal:
        for _ in range(rows):
            journal.note(Row("fault", "", at(0), text="news"))


def nothing() -> None:
    pass


def test_following_shows_rows_as_they_come_each_once(folder: Path) -> None:
    follower = Follower(
        folder, Choice(newest=1), nothing, lambda: more(folder), nothing, lambda: more(folder, 2)
    )
    assert follower.numbers == [(1, 3), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3)]


def test_following_one_epoch_ends_with_it(folder: Path) -> None:
    follower = Follower(folder, Choice(epoch=1), lambda: more(folder), pytest.fail)
    assert follower.numbers == [(1, 1), (1, 2), (1, 3)]


def test_following_goes_on_with_the_journal_that_takes_the_place_of_a_damaged_one(folder: Path) -> None:
    follower = Follower(
        folder,
        Choice(newest=0),
        lambda: more(folder),
        lambda: set_aside(folder, 0),
        nothing,
        lambda: more(folder),
        nothing,
    )
    assert follower.news == [2, 3]
    assert follower.numbers[:4] == [(2, 1), (2, 2), (3, 1), (3, 2)]
    assert len(follower.said) == 1
    assert "waiting for a journal" in follower.said[0]


def test_following_shows_the_last_rows_of_a_journal_that_was_replaced_at_the_same_moment(
    folder: Path,
) -> None:
    def replaced() -> None:
        more(folder)
        set_aside(folder, 0)
        more(folder)

    follower = Follower(folder, Choice(newest=0), replaced, nothing)
    assert follower.news == [2, 3]
    assert follower.said == []


def test_following_shows_all_rows_of_a_journal_that_begins_anew(folder: Path) -> None:
    def begun_anew() -> None:
        shutil.rmtree(folder.parent)
        more(folder)

    follower = Follower(folder, Choice(newest=1), begun_anew, nothing)
    assert follower.news == [1, 1]
    assert follower.numbers == [(1, 3), (1, 1), (1, 2)]


def test_following_does_not_show_the_rows_of_an_older_copy_again(folder: Path, tmp_path: Path) -> None:
    shutil.copyfile(folder / "journal.db", tmp_path / "older.db")

    def put_back() -> None:
        for ending in ("-wal", "-shm"):
            (folder / f"journal.db{ending}").unlink(missing_ok=True)
        (tmp_path / "older.db").rename(folder / "journal.db")

    follower = Follower(
        folder, Choice(newest=0), lambda: more(folder), put_back, lambda: more(folder), nothing
    )
    assert follower.news == [2, 3]
    assert len(set(follower.numbers)) == len(follower.numbers)


def test_following_waits_while_the_file_is_noise(folder: Path) -> None:
    def noise() -> None:
        set_aside(folder, 0)
        (folder / "journal.db").write_bytes(b"noise" * 1000)

    follower = Follower(folder, Choice(newest=0), noise, nothing, lambda: more(folder), nothing)
    assert follower.news == [2]
    assert len(follower.said) == 1
    assert "journal.db" in follower.said[0]


def test_what_others_did_is_shown_with_its_ticket_and_where_and_what_a_vendor_said_with_its_scan(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data" / "journal"
    movement = Movement(Act.PASSED, "id-A", -5, OUT, (OUTER,), at(0).utc_ms)
    with open_journal(folder) as journal:
        noted = Row("noted", "", at(0), movement=movement, text="gate south, row 3.1")
        assert journal.submit(noted, noted=Noted("south", row_id(3, 1), b"digest"))
        said = "refused: ALREADY_IN"
        assert journal.submit(Row("outcome", "", at(0), row_id(1, 2), Verdict.USED, text=said))
    _, noted_line, outcome = shown(folder)
    assert (noted_line.kind, noted_line.subject, noted_line.direction) == ("noted", "id-A", "out")
    assert "gate south, row 3.1; passed" in as_row(noted_line, UTC, 200)
    assert (outcome.kind, outcome.verdict, outcome.scan_epoch, outcome.scan_seq) == ("outcome", "used", 1, 2)
    assert "refused: ALREADY_IN" in as_row(outcome, UTC, 200)
    run = Replay(folder)
    assert list(run.differences()) == []
    assert run.rows == 3
