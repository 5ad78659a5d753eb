"""The real journal under power cuts: `python -m tests.powercut.journal_writer ROWS FOLDER` is its writer.

Scans are handed in one after the other, each when the one before was told safe, as a lane that waits for
`Recorded` does. What is acknowledged is the number of rows that were told safe.
"""

import os
import sys
from pathlib import Path
from queue import SimpleQueue

from firmware import history as histories
from firmware.core.movements import fold
from firmware.core.ticket import NO_HISTORY, History
from firmware.journal import Told
from firmware.row import decode, epoch_and_seq
from firmware.rows import RowReader, Rows, verify
from tests.journals import open_journal, scan_row, walk_row

TICKETS = 40  # that take turns, so that most histories are written over again and again
SAFE_S_MAX = 30


def main() -> None:
    """Write rows until told to stop, waiting for the rig after each that is safe."""
    rows, folder = int(sys.argv[1]), Path(sys.argv[2])
    news: SimpleQueue[Told] = SimpleQueue()
    journal = open_journal(folder / "journal", news.put, Rows)
    acknowledge(0)
    opened = None
    for number in range(1, rows + 1):
        if opened is None:
            row = scan_row(journal, f"t{number % TICKETS}")
            opened = row.movement
        else:
            row, opened = walk_row(opened), None
        assert journal.submit(row, None, f"CODE {number}")
        assert news.get(timeout=SAFE_S_MAX).safe
        acknowledge(number)
    os._exit(0)  # no tidy close


def acknowledge(number: int) -> None:
    """Say so, and wait until the rig has written it down."""
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()
    sys.stdin.readline()


def check(folder: Path, acknowledged: int) -> str | None:
    """What is wrong with the rescued journal, as its files are and after the next start."""
    journal = folder / "journal"
    return _faults(journal, acknowledged) or _start(folder) or _faults(journal, acknowledged)


def _faults(folder: Path, acknowledged: int) -> str | None:
    known: dict[str, History] = {}
    written = 0
    with RowReader(folder) as reader:
        for stored, fault in verify(reader.all(), reader.retained_from()):
            if fault:
                return fault
            row = decode(stored.body, stored.id)
            written += row.kind in ("scan", "passage")
            if row.movement is not None:
                subject = row.movement.subject
                known[subject] = fold(known.get(subject, NO_HISTORY), row.movement)
        found = {subject: histories.decode(value) for subject, value in reader.histories()}
    if written < acknowledged:
        return f"lost: {acknowledged} acknowledged, {written} found"
    return None if found == known else "rows and histories disagree"


def _start(folder: Path) -> str | None:
    """Open it again, as the gate does when the power is back, and admit somebody."""
    news: SimpleQueue[Told] = SimpleQueue()
    with open_journal(folder / "journal", news.put, Rows) as journal:
        if journal.faults:
            return f"the next start says: {journal.faults}"
        if epoch_and_seq(journal.next_row)[0] != 2:
            return "the number of the epoch was not kept"
        if len(journal.unsettled) > 1:
            return f"{len(journal.unsettled)} admissions are unsettled, and one lane wrote"
        row = scan_row(journal, "one more")
        if not journal.submit(row) or not news.get(timeout=SAFE_S_MAX).safe:
            return "it takes no more rows"
    return None


if __name__ == "__main__":
    main()
