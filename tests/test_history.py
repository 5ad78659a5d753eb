import os
import stat
from collections.abc import Callable
from pathlib import Path

import lmdb
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware import history
from firmware.core.ticket import NO_HISTORY, Credit, Direction, History, Pending, Perimeter, Spend, Track
from firmware.history import BUILD_STEP, HistoryIndex, HistoryLookup, NoRoom, all_in, is_whole, key_of, row_of
from firmware.row import Unreadable
from tests.test_row import values

INSIDE = History(Track(1, Direction.IN, 5))
LEFT = History(Track(1, Direction.OUT, 5))
OPENED = History(pending=(Pending(7, Direction.IN, (Perimeter.OUTER,), 5, Spend.OPENING),))
FIRST = [("t1", history.encode(INSIDE)), ("t2", history.encode(LEFT))]
OTHERS = [("t3", history.encode(OPENED))]


@given(values(History))
def test_a_history_comes_back_as_it_was(found: History) -> None:
    assert repr(history.decode(history.encode(found))) == repr(found)


def test_a_history_of_a_later_release_is_read_as_far_as_it_is_known() -> None:
    found = OPENED._replace(credit=Credit(Direction.IN, 9))
    raw = msgspec.msgpack.decode(history.encode(found))
    fields = dict(zip(History._fields, raw, strict=True))
    fields["pending"][0].append("later")
    fields["credit"].append("later")
    body = msgspec.msgpack.encode([*fields.values(), "later"])
    assert repr(history.decode(body)) == repr(found)


@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x01", b"\x91\x91\xa1\xff"])
def test_what_is_no_history_is_unreadable(value: bytes) -> None:
    with pytest.raises(Unreadable):
        history.decode(value)


def test_the_index_knows_what_was_put_into_it(tmp_path: Path) -> None:
    with HistoryIndex(tmp_path / "history", 5, FIRST) as index:
        assert index.rebuilt
        assert index.get("t1") == INSIDE
        assert index.get("t9") == NO_HISTORY
        assert index.get("") == NO_HISTORY
        index.put([(key_of("t1"), history.encode(LEFT))], 6)
        assert index.get("t1") == LEFT


def test_after_a_tidy_close_the_index_is_used_as_it_is(tmp_path: Path) -> None:
    with HistoryIndex(tmp_path / "history", 5, FIRST) as index:
        index.put((), 6)
    index.close()
    assert row_of(tmp_path / "history") == 6
    with HistoryIndex(tmp_path / "history", 6, OTHERS) as index:
        assert not index.rebuilt
        assert index.get("t1") == INSIDE
        assert row_of(tmp_path / "history") is None, "after a crash from here on it must be made again"


def flip(path: Path) -> None:
    """Change one bit, and leave size and times as they were: a card that lies."""
    data, times = bytearray(path.read_bytes()), path.stat()
    data[-100] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "noise": lambda folder: (folder / "data.mdb").write_bytes(os.urandom(40_000)),
    "noise in the middle": lambda folder: flip(folder / "data.mdb"),
    "cut short": lambda folder: os.truncate(folder / "data.mdb", 5000),
    "empty": lambda folder: os.truncate(folder / "data.mdb", 0),
    "gone": lambda folder: (folder / "data.mdb").unlink(),
    "mark gone": lambda folder: (folder / "mark.json").unlink(),
    "mark cut short": lambda folder: os.truncate(folder / "mark.json", 20),
    "mark of another row": lambda folder: (folder / "mark.json").write_text('{"row":4,"digest":""}'),
    "mark that is noise": lambda folder: (folder / "mark.json").write_bytes(b"\xff\x00" * 30),
    "not closed": lambda folder: HistoryIndex(folder, 5, FIRST).abandon(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_index_that_is_not_as_it_was_left_is_made_again(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "history"
    HistoryIndex(folder, 5, FIRST).close()
    DAMAGES[damage](folder)
    assert not (row_of(folder) == 5 and is_whole(folder))
    with HistoryIndex(folder, 5, OTHERS) as index:
        assert index.rebuilt
        assert index.get("t3") == OPENED
        assert index.get("t1") == NO_HISTORY


def test_an_index_of_another_row_is_made_again(tmp_path: Path) -> None:
    HistoryIndex(tmp_path / "history", 5, FIRST).close()
    with HistoryIndex(tmp_path / "history", 7, OTHERS) as index:
        assert index.get("t3") == OPENED


def test_more_histories_than_one_step_are_all_there_and_all_can_be_read_back(tmp_path: Path) -> None:
    many = [(f"t{number:06}", history.encode(INSIDE)) for number in range(2 * BUILD_STEP + 1)]
    HistoryIndex(tmp_path / "history", 5, many).close()
    assert is_whole(tmp_path / "history")
    assert list(all_in(tmp_path / "history")) == many
    assert row_of(tmp_path / "history") == 5, "reading all of them leaves the mark"


def test_the_files_of_the_index_are_the_gates_alone(tmp_path: Path) -> None:
    with HistoryIndex(tmp_path / "history", 5, FIRST):
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "history").iterdir()}
        assert modes == {0o600}
        assert stat.S_IMODE((tmp_path / "history").stat().st_mode) == 0o700


def test_a_disk_that_takes_no_index_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file")
    with pytest.raises(NoRoom, match="history"):
        HistoryIndex(tmp_path / "journal" / "history", 5, FIRST)


def test_a_put_that_fails_changes_nothing(tmp_path: Path) -> None:
    with HistoryIndex(tmp_path / "history", 5, FIRST) as index:
        with pytest.raises(NoRoom):
            index.put([(key_of("t1"), history.encode(LEFT)), (b"", b"LMDB takes no empty key")], 6)
        assert index.get("t1") == INSIDE
    assert row_of(tmp_path / "history") == 5


def test_an_error_of_its_source_leaves_no_index_behind(tmp_path: Path) -> None:
    def broken() -> list[tuple[str, bytes]]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        HistoryIndex(tmp_path / "history", 5, (item for _ in "x" for item in broken()))
    assert row_of(tmp_path / "history") is None


@given(st.text(min_size=1, alphabet=st.characters()))
def test_every_subject_has_a_key_that_lmdb_takes_and_keeps(subject: str) -> None:
    key = key_of(subject * 300)
    assert 0 < len(key) < 511
    assert key_of(key.decode()) == key


def test_long_subjects_have_keys_of_their_own(tmp_path: Path) -> None:
    one, other = "x" * 1000, "x" * 1001
    with HistoryIndex(tmp_path / "history", 5, [(one, history.encode(INSIDE))]) as index:
        assert index.get(one) == INSIDE
        assert index.get(other) == NO_HISTORY


class Table:
    """A store that keeps histories in a dict."""

    def __init__(self, found: dict[str, bytes]) -> None:
        self.found, self.closed = found, False

    def history(self, subject: str) -> bytes | None:
        return self.found.get(subject)

    def close(self) -> None:
        self.closed = True


def test_where_there_is_no_index_histories_come_from_the_journal_itself() -> None:
    table = Table(dict(FIRST))
    lookup = HistoryLookup(table)
    lookup.put(((key_of("t9"), b""),), 9)
    assert (lookup.get("t1"), lookup.get("t9")) == (INSIDE, NO_HISTORY)
    lookup.close()
    assert table.closed


def test_a_reader_of_the_index_takes_no_slot_for_good(tmp_path: Path) -> None:
    with HistoryIndex(tmp_path / "history", 5, FIRST) as index:
        for _ in range(500):  # LMDB has 126 slots
            index.get("t1")
    with lmdb.open(str(tmp_path / "history"), lock=False, readonly=True) as environment:
        assert environment.stat()["entries"] == 2
