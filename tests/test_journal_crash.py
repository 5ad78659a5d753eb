"""A gate that is killed, at any moment: what it was told is safe is there, and nothing happens twice."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from firmware.core.movements import Act
from firmware.core.ticket import Spend
from firmware.journal import Told
from firmware.row import Row
from firmware.rows import Entry, RowReader, Rows
from tests.core.samples import IN, OUT, at
from tests.journals import (
    SMALL,
    News,
    faults_of,
    folded,
    histories_of,
    kinds,
    open_journal,
    opening,
    scan_row,
    walk_row,
)

LANES = ("north", "south", "east", "west")
SPENDS = ((IN, Spend.OPENING), (OUT, Spend.OPENING), (IN, Spend.PASSAGE), (OUT, Spend.PASSAGE))
ROUNDS = 5  # each a process of its own, killed in the middle of its work
ROWS_A_ROUND = 300


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingRows(Rows):
    """The process is killed with the commit of a row of kind `last`: before it, or after it."""

    before = False

    def append(self, entries: Sequence[Entry]) -> list[bytes]:
        dying = any(b"last" in entry.body for entry in entries)
        if dying and self.before:
            die()
        digests = super().append(entries)
        if dying:
            die()
        return digests


class DyingBefore(DyingRows):
    """The same, before."""

    before = True


def die_at(folder: Path, moment: str) -> None:
    """Each of four lanes admits somebody and nobody walks; then one more admission, and the end."""
    news = News()
    disk = DyingBefore if moment == "before" else DyingRows
    journal = open_journal(folder, news, lambda path: disk(path, reserved_rows=0, log_pages=0))
    for number, (lane, (direction, spend)) in enumerate(zip(LANES, SPENDS, strict=True)):
        movement = opening(journal.next_row, f"t{number}", direction, spend)
        assert journal.submit(Row("scan", lane, at(1), movement.row, movement=movement))
        news.safe(movement.row)
    assert journal.submit(scan_row(journal, "t9")._replace(text="last"))
    news.safe(journal.next_row - 1)


def work(folder: Path) -> None:
    """People walk through four lanes; the number of each row is printed when it is safe."""

    def told(said: Told) -> None:
        os.write(1, b"%d\n" % said.row)

    with open_journal(folder, told) as journal:
        for number in range(1_000_000):
            lane = LANES[number % 4]
            opened = scan_row(journal, f"t{number % 50}", lane)
            assert opened.movement is not None
            while journal.waiting > 20:
                os.sched_yield()
            assert journal.submit(opened)
            assert journal.submit(walk_row(opened.movement, lane))


def start(*words: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.test_journal_crash", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_promise_2_what_a_killed_gate_left_unsettled_is_settled_once(tmp_path: Path, moment: str) -> None:
    folder = tmp_path / "journal"
    with start("die", str(folder), moment) as process:
        pass
    assert process.returncode == -signal.SIGKILL
    with open_journal(folder) as journal:
        assert journal.faults == []
        found = {movement.subject: movement.act for movement in journal.unsettled}
        assert len(journal.unsettled) == len(found)
        assert not any(journal.history(subject).pending for subject in found)
    one_more = {"t9": Act.SETTLED} if moment == "after" else {}
    expected = {"t0": Act.SETTLED, "t1": Act.VOIDED, "t2": Act.SETTLED, "t3": Act.VOIDED}
    assert found == expected | one_more
    with open_journal(folder) as journal:
        assert journal.unsettled == ()
    assert kinds(folder).count("unsettled") == len(found)
    assert histories_of(folder) == folded(folder)
    assert faults_of(folder) == []


def test_promise_1_kill_after_kill_no_row_that_was_told_safe_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    told: set[int] = set()
    for _ in range(ROUNDS):
        with start("work", str(folder)) as process:
            assert process.stdout
            heard = [int(process.stdout.readline()) for _ in range(ROWS_A_ROUND)]
            process.kill()
            heard += map(int, process.stdout.read().split(b"\n")[:-1])
            told.update(heard)
    with RowReader(folder) as reader:
        found = {stored.id for stored in reader.all()}
    assert len(told) >= ROUNDS * ROWS_A_ROUND
    assert told <= found
    assert faults_of(folder) == []
    assert histories_of(folder) == folded(folder)
    with open_journal(folder) as journal:
        assert journal.faults == []
        assert journal.epoch == ROUNDS + 1
        assert all(journal.history(subject) == past for subject, past in histories_of(folder).items())
        assert not any(past.pending for past in histories_of(folder).values())
    assert histories_of(folder) == folded(folder)
    with SMALL(folder) as rows:
        assert rows.last_id > max(told)


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(Path(sys.argv[2]))
    die_at(Path(sys.argv[2]), sys.argv[3])
