"""`gatepost replay` and `gatepost journal` from outside, beside a live gate and without one."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from firmware import beside
from firmware.row import Row, row_id
from firmware.show_journal import FIELDS
from tests.commands import Running, run
from tests.core.samples import at
from tests.doors import Door, on_terminal, only_line, open_door
from tests.journals import open_journal


@pytest.fixture
def door() -> Iterator[Door]:
    with open_door() as door:
        yield door


@pytest.fixture(scope="module")
def visited() -> Iterator[Door]:
    """A gate that has seen a person, a second one with a copy, and a code that tries to change terminals."""
    with open_door("unlock_ms = 30000") as door:  # nobody walks too late, however slow this machine is
        assert door.put().returncode == 0
        with door.gate() as gate:
            gate.err.expect("ready")
            with door.follow() as journal:
                for code, kind in (("A", "passage"), ("nobody\x1b[31m", "scan"), ("A", "scan")):
                    door.scan(code)
                    journal.out.expect(f'"kind": "{kind}"')
            gate.signal(signal.SIGTERM)
            assert gate.end() == 0
        yield door


# --- replay ------------------------------------------------------------------------------------------


def test_a_replay_counts_what_it_did(visited: Door) -> None:
    found = run("replay", "--data", visited.data)
    assert (found.returncode, found.stderr) == (0, "")
    assert re.fullmatch(r"rows: 5 in 1 epochs, 4 replayed, 0 different; [\d,]+ rows/s\n", found.stdout)
    chosen = run("replay", "--data", visited.data, "--epoch", "1", "--lane", "north")
    assert "4 replayed" in chosen.stdout


def test_a_replay_of_a_changed_journal_names_the_row(visited: Door, tmp_path: Path) -> None:
    folder = tmp_path / "copy" / "journal"
    folder.mkdir(parents=True)
    whole = (visited.data / "journal" / "journal.db").read_bytes()
    assert b"unknown" in whole
    (folder / "journal.db").write_bytes(whole.replace(b"unknown", b"blocked"))
    found = run("replay", "--data", tmp_path / "copy")
    assert (found.returncode, found.stderr) == (1, "")
    first, *_, summary = found.stdout.splitlines()
    assert first.startswith("row 1.4 (lane north, scan): row 1.4 was changed")
    assert "the row itself: the core asks for record scan unknown" in first
    assert " 0 different" not in summary


def test_a_replay_of_a_journal_that_is_wrong_throughout_tells_how_many_more(tmp_path: Path) -> None:
    with open_journal(tmp_path / "journal") as journal:
        for _ in range(beside.DIFFERENCES_SHOWN + 20):
            journal.note(Row("fault", "", at(0), text="noise"))
    with closing(sqlite3.connect(tmp_path / "journal" / "journal.db", isolation_level=None)) as connection:
        connection.execute("UPDATE row SET digest = x'00'")
    *_, last, more, summary = run("replay", "--data", tmp_path).stdout.splitlines()
    assert last.startswith(f"row 1.{beside.DIFFERENCES_SHOWN} (fault): ")
    assert more == "... and 21 more"
    assert "71 different" in summary


def test_a_replay_says_what_retention_has_dropped(tmp_path: Path) -> None:
    with open_journal(tmp_path / "journal") as journal:
        for _ in range(5):
            journal.note(Row("fault", "", at(0), text="noise"))
    with closing(sqlite3.connect(tmp_path / "journal" / "journal.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM row WHERE id IN (?, ?)", (row_id(1, 2), row_id(1, 3)))
        connection.execute("INSERT INTO meta VALUES ('retained_from', ?)", (row_id(1, 4),))
    found = run("replay", "--data", tmp_path)
    assert found.returncode == 0
    assert found.stdout.splitlines()[0] == "rows before 1.4 were dropped by retention"


@pytest.mark.parametrize(
    ("option", "told"),
    [(("--epoch", "7"), "no epoch 7"), (("--lane", "west"), 'no lane "west" in this journal: it has north')],
)
def test_a_replay_of_what_is_not_there_is_wrong_use(
    visited: Door, option: tuple[str, str], told: str
) -> None:
    found = run("replay", "--data", visited.data, *option)
    assert found.returncode == 2
    assert told in only_line(found)


def test_a_replay_works_beside_a_live_gate(door: Door) -> None:
    with door.gate() as gate:
        gate.err.expect("ready")
        assert run("replay", "--data", door.data).stdout.startswith("rows: 1 in 1 epochs")
        gate.signal(signal.SIGTERM)
        assert gate.end() == 0


# --- journal -----------------------------------------------------------------------------------------


def test_a_journal_in_a_pipe_is_one_json_object_a_row(visited: Door) -> None:
    rows = visited.rows()
    assert [row["kind"] for row in rows] == ["began", "scan", "passage", "scan", "scan"]
    assert [row["verdict"] for row in rows] == [None, "admitted", None, "unknown", "used"]
    assert rows[3]["code"] == "nobody\x1b[31m"
    assert all(tuple(row) == tuple(FIELDS) for row in rows)


def test_a_journal_on_a_terminal_is_a_table(visited: Door) -> None:
    shown, code = on_terminal("journal", "--data", str(visited.data), "--last", "2")
    assert code == 0
    head, unknown, used = shown.splitlines()
    assert head.split()[:4] == ["row", "time", "lane", "way"]
    assert "unknown code" in unknown
    assert "used: entered" in used
    assert "\x1b" not in shown


def test_a_journal_on_a_terminal_can_be_json_all_the_same(visited: Door) -> None:
    shown, code = on_terminal("journal", "--data", str(visited.data), "--json", "--lane", "north")
    assert code == 0
    assert len([json.loads(line) for line in shown.splitlines()]) == 4
    assert "\x1b" not in shown


def test_a_journal_is_told_in_the_time_of_the_gate(visited: Door) -> None:
    config = visited.config.with_name("tokyo.toml")
    config.write_text('[gate]\ntimezone = "Asia/Tokyo"\n')
    arguments = ("journal", "--data", str(visited.data), "--last", "1", "--config", str(config))
    there, _ = on_terminal(*arguments)
    here = json.loads(run(*arguments).stdout)["time"]
    hour = (int(here[11:13]) + 9) % 24
    assert f" {hour:02}{here[13:23]}" in there


@pytest.mark.parametrize(
    ("name", "offset_h"),
    [("Asia/Tokyo", 9), (":Asia/Tokyo", 9), ("Mars/Base", None), ("../../x", None), ("", None)],
)
def test_without_settings_the_time_is_that_of_this_machine(
    name: str, offset_h: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", name)
    offset = datetime(2027, 1, 1, tzinfo=beside.local_timezone()).utcoffset()
    assert offset is not None
    assert offset_h is None or offset == timedelta(hours=offset_h)


def test_following_ends_quietly_on_ctrl_c(visited: Door) -> None:
    with Running("journal", "--data", visited.data, "--follow") as journal:
        journal.out.expect('"seq": 5')
        journal.signal(signal.SIGINT)
        assert journal.end() == 130
        assert journal.err.rest() == []


def test_following_ends_quietly_when_nobody_reads_any_more(visited: Door) -> None:
    command = [sys.executable, "-m", "firmware.cli", "journal", "--data", str(visited.data), "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as journal:
        assert journal.stdout is not None
        assert journal.stderr is not None
        assert journal.stdout.readline()
        journal.stdout.close()
        assert journal.wait(30) == 141
        assert journal.stderr.read() == b""
