"""A journal as a gate opens it, but in a hurry, and with a disk that can be told to refuse."""

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import NoReturn

from firmware import history as histories
from firmware.core.effects import Effect
from firmware.core.events import Event, Passed, Recorded
from firmware.core.lane import begin, step
from firmware.core.movements import Act, Movement, fold
from firmware.core.states import Lane
from firmware.core.ticket import NO_HISTORY, Direction, History, Moment, Spend, Verdict
from firmware.journal import Journal, Pace, Retention, Story, Told
from firmware.row import Row, decode
from firmware.rows import Entry, RowReader, Rows, Unwritable, verify
from tests.core.samples import IN, NOON_MS, OUTER, SCAN, SETUP, at

HURRY = Pace(retry_s=0.005, idle_s=0.005, tidy_s=600, quiet_s=600, wipe_s=3600, close_s=60)
KEEP_ALL = Retention(10**15, 10**15, unconfirmed=False)
NEWS_S_MAX = 60  # a disk of this machine that takes longer is the finding


class News:
    """What the journal's thread tells, in order."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[Told] = SimpleQueue()
        self.heard: list[Told] = []

    def __call__(self, told: Told) -> None:
        self.queue.put(told)

    def until(self, wanted: Callable[[Told], bool]) -> Told:
        """The next news of that kind; those before it are in `heard` too."""
        while True:
            told = self.queue.get(timeout=NEWS_S_MAX)
            self.heard.append(told)
            if wanted(told):
                return told

    def safe(self, row: int) -> Told:
        """Wait until the row is safe."""
        return self.until(lambda told: told.safe and told.row == row)

    def failed(self) -> Told:
        """Wait until every lane hears that the disk takes no rows."""
        return self.until(lambda told: not told.safe)


class Disk:
    """Opens the rows of a journal. While `fault` is set nothing can be written; `tape` is what was done.

    While `hopeless` is set, each refusal lasts longer than a closing journal waits: its clock is the disk's
    (`now_s`), so that no thread which is late for once is taken for a disk that refuses for ever.
    """

    def __init__(self, reserved_rows: int = 0, log_pages: int = 0) -> None:
        self.fault: BaseException | None = None
        self.hopeless = False
        self.reserved_rows, self.log_pages = reserved_rows, log_pages
        self.tape: SimpleQueue[str] = SimpleQueue()
        self._refused_s = 0.0

    def __call__(self, folder: Path) -> Rows:
        return _WatchedRows(folder, self)

    def now_s(self) -> float:
        return time.monotonic() + self._refused_s

    def refuse(self, fault: BaseException, rows: int) -> NoReturn:
        """So many rows in one batch."""
        if self.hopeless:
            self._refused_s += 2 * HURRY.close_s
        self.tape.put(f"refused {rows}")
        raise fault

    def until_refused(self) -> None:
        """Wait until rows were refused."""
        while not self.tape.get(timeout=NEWS_S_MAX).startswith("refused"):
            pass

    def forget(self) -> None:
        """What was done up to now is of no interest."""
        while self.tape.qsize():
            self.tape.get()

    def until(self, *wanted: str) -> None:
        """Wait until these were done one after the other, with nothing in between."""
        last: list[str] = []
        while tuple(last) != wanted:
            last = [*last, self.tape.get(timeout=NEWS_S_MAX)][-len(wanted) :]


class _WatchedRows(Rows):
    def __init__(self, folder: Path, disk: Disk) -> None:
        self._disk = disk
        super().__init__(folder, disk.reserved_rows, disk.log_pages)

    def append(self, entries: Sequence[Entry]) -> list[bytes]:
        fault = self._disk.fault  # once: it may be mended meanwhile
        if fault is not None:
            self._disk.refuse(fault, len(entries))
        return super().append(entries)

    def confirm(self, upto: int) -> None:
        super().confirm(upto)
        self._disk.tape.put("confirm")

    def oldest(self, limit: int) -> list[tuple[int, bytes]]:
        self._disk.tape.put("look")
        return super().oldest(limit)

    def forget(self, before: int) -> None:
        super().forget(before)
        self._disk.tape.put("forget")

    def checkpoint(self) -> None:
        super().checkpoint()
        self._disk.tape.put("checkpoint")

    def wipe_log(self) -> None:
        fault = self._disk.fault
        if fault is not None:
            self._disk.tape.put("no wipe")
            raise fault
        super().wipe_log()
        self._disk.tape.put("wipe")


FULL = Unwritable("journal.db: database or disk is full")


def now(floor_utc_ms: int) -> Moment:
    """Noon, or later where the journal knows better."""
    return Moment(0, max(floor_utc_ms, NOON_MS), True)


def open_journal(
    folder: Path,
    told: Callable[[Told], None] = lambda _: None,
    disk: Callable[[Path], Rows] | None = None,
    pace: Pace = HURRY,
    retention: Retention = KEEP_ALL,
) -> Journal:
    """The journal of a gate with one lane."""
    rows = disk or Disk()
    clock = rows.now_s if isinstance(rows, Disk) else time.monotonic
    return Journal(folder, (SETUP,), now, retention, "0.1.0", told, pace, rows, clock)


def opening(
    row: int, subject: str = "t1", direction: Direction = IN, spend: Spend = Spend.OPENING
) -> Movement:
    """An admission that is not settled yet."""
    return Movement(Act.OPENED, subject, row, direction, (OUTER,), NOON_MS, spend)


def scan_row(journal: Journal, subject: str = "t1", lane: str = "north") -> Row:
    """The row of an admission, with the number that it will get."""
    number = journal.next_row
    return Row("scan", lane, at(number & 0xFFFF), number, Verdict.ADMITTED, opening(number, subject))


def walk_row(opened: Movement, lane: str = "north") -> Row:
    """The row of the walk that ends an admission."""
    movement = opened._replace(act=Act.PASSED)
    return Row("passage", lane, at(opened.row & 0xFFFF), opened.row, movement=movement)


def person(lane: Lane, row: int, subject: str) -> Iterable[tuple[Row, Story]]:
    """The two rows of a person who is admitted and walks through, with their stories."""
    scan = SCAN._replace(moment=at(row & 0xFFFF), row=row, digest=subject.encode(), subject=subject)
    movement = opening(row, subject)
    first: list[Event] = [scan]
    second: list[Event] = [Recorded(at(1), row), Passed(at(900), row + 1, IN)]
    for kind, events, act in (("scan", first, Act.OPENED), ("passage", second, Act.PASSED)):
        before, effects = lane, list[Effect]()
        for event in events:
            lane, more = step(lane, event)
            effects += more
        verdict = Verdict.ADMITTED if kind == "scan" else None
        utc_ms = scan.moment.utc_ms if kind == "scan" else at(900).utc_ms
        moved = movement._replace(act=act, utc_ms=utc_ms)
        story = Story(before, tuple(events), tuple(effects), lane)
        yield Row(kind, "north", events[-1].moment, row, verdict, moved), story


def ready_lane() -> Lane:
    """The lane at the start."""
    return begin(SETUP)[0]


def histories_of(folder: Path) -> dict[str, History]:
    """What the journal's file says of every ticket."""
    with RowReader(folder) as reader:
        return {subject: histories.decode(value) for subject, value in reader.histories()}


def folded(folder: Path) -> dict[str, History]:
    """What the rows make of every ticket."""
    found: dict[str, History] = {}
    with RowReader(folder) as reader:
        for stored in reader.all():
            movement = decode(stored.body, stored.id).movement
            if movement is not None:
                found[movement.subject] = fold(found.get(movement.subject, NO_HISTORY), movement)
    return found


def faults_of(folder: Path) -> list[str]:
    """What is wrong with the chain."""
    with RowReader(folder) as reader:
        return [fault for _, fault in verify(reader.all(), reader.retained_from()) if fault]


def kinds(folder: Path) -> list[str]:
    """The kind of every row."""
    with RowReader(folder) as reader:
        return [decode(stored.body).kind for stored in reader.all()]


def texts(folder: Path, kind: str) -> list[str]:
    """The text of every row of that kind."""
    with RowReader(folder) as reader:
        rows = [decode(stored.body) for stored in reader.all()]
    return [row.text for row in rows if row.kind == kind]


def as_after_a_crash(data: Path, copy: Path) -> Path:
    """A copy of all files as a killed process leaves them; the journal's folder in it."""
    shutil.copytree(data, copy)
    return copy / "journal"


SMALL = partial(Rows, reserved_rows=0, log_pages=0)
