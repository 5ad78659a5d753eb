"""What this gate saw and did. One thread of its own commits; the loop hands rows over and never waits.

`submit` takes a row and gives it to the thread. When the row would survive a power cut the thread says so
through `told`, and only then may a lane open. Rows that come while the disk is busy share the next flush.

Between `submit` and the commit the loop must already see what its own rows did: `history` looks into the
rows on their way first, and into the index of what is committed after that.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple, Self

from firmware import history as histories
from firmware.core.effects import Effect
from firmware.core.events import Event
from firmware.core.movements import Movement, fold, settle_at_start
from firmware.core.states import Lane
from firmware.core.ticket import History, Moment, Setup
from firmware.history import HistoryIndex, NoRoom
from firmware.row import Began, Row, decode, encode, encode_began, epoch_and_seq, row_id, tell_story
from firmware.rows import (
    CHECKPOINT_ROWS,
    CHECKPOINT_ROWS_MAX,
    Damaged,
    Entry,
    RowReader,
    Rows,
    Unwritable,
    sync_folder,
)

BATCH_ROWS = 200  # one flush for all that came meanwhile; more would make the first of them wait
WAITING_ROWS_MAX = 10_000  # in memory while the disk hangs: a quarter of an hour of rush at four lanes
RETRY_S = 1.0  # between two tries on a disk that refuses
IDLE_S = 0.5  # nothing to write for this long: time for a checkpoint
TIDY_S = 600.0  # between two looks at what retention may drop
TIDY_ROWS = 1000  # dropped in one transaction, so that a scan never waits long behind it
UNSETTLED_MS_MAX = 600_000  # an opening ends within this (the longest `unlock_ms` is far shorter)
CLOSE_S = 5.0  # how long a stopping gate waits for a disk that hangs


class Retention(NamedTuple):
    """How much of the past is kept. `unconfirmed` rows are dropped only where no bridge will ever ask."""

    keep_ms: int
    keep_bytes: int
    unconfirmed: bool


class Story(NamedTuple):
    """What the core was given and what it said, until the thread makes bytes of it."""

    before: Lane
    events: tuple[Event, ...]
    effects: tuple[Effect, ...]
    after: Lane


class _Waiting(NamedTuple):
    id: int
    row: Row
    story: Story | None
    code: str
    history: History | None


class Told(NamedTuple):
    """News from the thread: the row is safe, or could not be written. Row 0 stands for every lane."""

    lane: str
    row: int
    safe: bool
    at_ns: int


class Journal:
    """The journal of one process: one epoch. `faults` says what was found wrong at the start."""

    def __init__(
        self,
        folder: Path,
        setups: tuple[Setup, ...],
        now: Callable[[int], Moment],
        retention: Retention,
        release: str,
        told: Callable[[Told], None],
    ) -> None:
        """Open, begin an epoch, and settle what the last one left open.

        `now` gives a moment that is not earlier than the UTC milliseconds it is handed. Raises `Unwritable`
        where the disk takes no rows; a journal that cannot be read is set aside whole, never deleted.
        """
        self.faults: list[str] = []
        self._folder = folder
        self._told = told
        self._retention = retention
        self._rows = self._open_rows(now(0).utc_ms)
        try:
            self._index = self._open_index()
            self.newest_utc_ms = self._newest_utc_ms()
            self._begin(setups, now(self.newest_utc_ms), release)
        except BaseException:
            self._rows.close()
            raise
        self._queue: SimpleQueue[_Waiting | int | None] = SimpleQueue()
        self._waiting: deque[_Waiting] = deque()  # the thread's own: taken from the queue, not committed
        self._unseen: dict[str, tuple[int, History]] = {}  # the loop's own: not in the index yet
        self._order: deque[tuple[int, str]] = deque()
        self._unindexed: dict[bytes, bytes] = {}  # the thread's own: what a full disk kept out of the index
        self._confirmed = 0
        self._stopping = threading.Event()
        self._stop_by = float("inf")
        self.commits = 0
        self.commit_ns_max = 0
        self.fault: str | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    # --- the start -----------------------------------------------------------------------------

    def _open_rows(self, utc_ms: int) -> Rows:
        try:
            return Rows(self._folder)
        except Damaged as damage:
            aside = self._folder.with_name(f"{self._folder.name}-damaged-{utc_ms}")
            self._folder.rename(aside)
            self.faults.append(f"the journal could not be read and was set aside as {aside.name}: {damage}")
        rows = Rows(self._folder)
        kept = aside / "history"
        if kept.exists():
            kept.rename(self._folder / "history")
        return rows

    def _open_index(self) -> HistoryIndex:
        """The index as of the last row. One that knows more than the journal is believed, and kept."""
        folder, last = self._folder / "history", self._rows.last_id
        ahead = HistoryIndex.row_of(folder)
        if ahead is not None and ahead > last:
            with HistoryIndex(folder, ahead, ()) as index:
                adopted = self._rows.adopt(index.items())
            self.faults.append(f"the histories of {adopted} tickets were taken over from the index")
        with RowReader(self._folder) as reader:
            return HistoryIndex(folder, last, reader.histories())

    def _newest_utc_ms(self) -> int:
        with RowReader(self._folder) as reader:
            newest = next(reader.backwards(), None)
        return decode(newest.body).moment.utc_ms if newest else 0

    def _begin(self, setups: tuple[Setup, ...], moment: Moment, release: str) -> None:
        """The first rows of the epoch, written before anything else may happen."""
        found = epoch_and_seq(self._rows.last_id)[0]
        known = _read_epoch(self._folder)
        if known > found:
            self.faults.append(
                f"the journal ends in epoch {found}, but this gate has begun epoch {known}: "
                "an older copy was put back, or rows were lost; admissions of that time are not known here"
            )
        self.epoch = max(found, known) + 1
        _write_epoch(self._folder, self.epoch)
        began = Began(self.epoch, os.urandom(8).hex(), self._rows.last_digest.hex(), release, setups)
        first = Row("began", "", moment, text=encode_began(began))
        rows = [first, *(Row("fault", "", moment, text=fault) for fault in self.faults)]
        entries = [
            Entry(row_id(self.epoch, seq), encode(row), "", "", b"") for seq, row in enumerate(rows, 1)
        ]
        self.unsettled: tuple[Movement, ...] = ()
        for movement in self._find_unsettled():
            self.unsettled += (movement,)
            after = fold(self._index.get(movement.subject), movement)
            row = Row("unsettled", "", moment, movement.row, movement=movement)
            seq = len(entries) + 1
            value = histories.encode(after)
            entries.append(Entry(row_id(self.epoch, seq), encode(row), "", movement.subject, value))
            self._index.put([(histories.key_of(movement.subject), value)], entries[-1].id)
        self._rows.append(entries)
        self._rows.reserve()
        self.next_row = entries[-1].id + 1
        self._committed = self._indexed = entries[-1].id
        self._index.put((), self._indexed)

    def _find_unsettled(self) -> Iterator[Movement]:
        """Admissions whose end the last process did not live to see: at most one a lane."""
        seen: set[str] = set()
        newest_ms: int | None = None
        with RowReader(self._folder) as reader:
            last_epoch = epoch_and_seq(reader.last_id())[0]
            for stored in reader.backwards():
                row = decode(stored.body)
                if newest_ms is None:
                    newest_ms = row.moment.monotonic_ms
                too_old = row.moment.monotonic_ms < newest_ms - UNSETTLED_MS_MAX
                if too_old or epoch_and_seq(stored.id)[0] != last_epoch:
                    return
                movement = row.movement
                if movement is None or not movement.row or movement.subject in seen:
                    continue
                seen.add(movement.subject)
                for pending in self._index.get(movement.subject).pending:
                    yield settle_at_start(movement.subject, pending)

    # --- the loop's side -----------------------------------------------------------------------

    def history(self, subject: str) -> History:
        """What is known of the ticket, rows on their way included."""
        found = self._unseen.get(subject)
        return found[1] if found is not None else self._index.get(subject)

    def submit(self, row: Row, story: Story | None = None, code: str = "") -> bool:
        """Hand a row over; it gets the number `next_row`. False where the disk hangs and memory is full."""
        self._forget_seen()
        number = self.next_row
        if number - self._committed > WAITING_ROWS_MAX:
            return False
        after: History | None = None
        if row.movement is not None:
            subject = row.movement.subject
            after = fold(self.history(subject), row.movement)
            self._unseen[subject] = (number, after)
            self._order.append((number, subject))
        self.next_row = number + 1
        self._queue.put(_Waiting(number, row, story, code, after))
        return True

    def note(self, row: Row) -> None:
        """A row that no event made: a fault, a clock that became trusted, news of another gate."""
        self.submit(row)

    def confirm(self, upto: int) -> None:
        """The bridge has all rows up to this one; their clear codes can go."""
        self._queue.put(upto)

    @property
    def waiting(self) -> int:
        """Rows handed over and not committed."""
        return self.next_row - 1 - self._committed

    def _forget_seen(self) -> None:
        """Drop what the index knows by now."""
        order = self._order
        while order and order[0][0] <= self._indexed:
            number, subject = order.popleft()
            if self._unseen[subject][0] == number:
                del self._unseen[subject]

    # --- the thread's side ---------------------------------------------------------------------

    def _run(self) -> None:
        tidied = time.monotonic()
        while True:
            self._take()
            if self._waiting:
                self._commit()
            if self._stopping.is_set() and (not self._waiting or time.monotonic() > self._stop_by):
                return
            if self._rows.in_log >= (CHECKPOINT_ROWS_MAX if self._waiting else CHECKPOINT_ROWS):
                self._housekeep(self._rows.checkpoint)
            if self._confirmed > self._rows.receipt:
                self._housekeep(lambda: self._rows.confirm(self._confirmed))
            if time.monotonic() > tidied + TIDY_S:
                tidied = time.monotonic()
                self._housekeep(self._tidy)

    def _take(self) -> None:
        """Wait for work, then take what is there, up to a batch."""
        timeout = RETRY_S if self.fault else IDLE_S
        while len(self._waiting) < BATCH_ROWS:
            try:
                item = self._queue.get(timeout=timeout) if timeout else self._queue.get_nowait()
            except Empty:
                return
            if item is None:
                return
            if isinstance(item, int):
                self._confirmed = max(self._confirmed, item)
            else:
                self._waiting.append(item)
            timeout = 0.0

    def _commit(self) -> None:
        """Write all that waits in one flush, then say so."""
        entries = [_entry(waiting) for waiting in self._waiting]
        started_ns = time.perf_counter_ns()
        try:
            self._rows.append(entries)
        except Unwritable as error:
            self._refused(str(error))
            return
        now_ns = time.perf_counter_ns()
        self.commits += 1
        self.commit_ns_max = max(self.commit_ns_max, now_ns - started_ns)
        self._committed = entries[-1].id
        self._bring_to_index(entries)
        written = list(self._waiting)
        self._waiting.clear()
        for waiting in written:
            self._told(Told(waiting.row.lane, waiting.id, True, now_ns))
        if self.fault:
            self.fault = None
            self._told(Told("", 0, True, now_ns))

    def _bring_to_index(self, entries: list[Entry]) -> None:
        """On a full disk the index lags behind, and the loop keeps in memory what it misses."""
        self._unindexed.update((histories.key_of(e.subject), e.history) for e in entries if e.subject)
        with suppress(NoRoom):
            self._index.put(self._unindexed.items(), entries[-1].id)
            self._unindexed.clear()
            self._indexed = entries[-1].id

    def _refused(self, why: str) -> None:
        """The rows stay and are tried again; every lane hears of it once."""
        if self.fault is None:
            self._told(Told("", 0, False, time.perf_counter_ns()))
        self.fault = why

    def _tidy(self) -> None:
        """Let go of rows that are too old or too many, a few at a time."""
        last = self._committed if self._retention.unconfirmed else self._rows.receipt
        over = self._rows.used_bytes() > self._retention.keep_bytes
        newest_ms = self.newest_utc_ms
        oldest = self._rows.oldest(TIDY_ROWS)
        before = 0
        for row, body in oldest:
            too_old = decode(body).moment.utc_ms < newest_ms - self._retention.keep_ms
            if row > last or not (too_old or over):
                break
            before = row + 1
        if before:
            self._rows.forget(before)

    def _housekeep(self, work: Callable[[], object]) -> None:
        """What a disk refuses now is tried again later, and no lane needs to know."""
        with suppress(Unwritable):
            work()

    # --- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """Write what waits, and close. A disk that hangs is given `CLOSE_S` and then left."""
        self._stop_by = time.monotonic() + CLOSE_S
        self._stopping.set()
        self._queue.put(None)
        self._thread.join(CLOSE_S * 2)
        if self._thread.is_alive():
            return
        self._index.close()
        self._rows.close()

    def __enter__(self) -> Self:
        """The journal itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()


def _entry(waiting: _Waiting) -> Entry:
    row, story, after = waiting.row, waiting.story, waiting.history
    if story is not None:
        row = row._replace(story=tell_story(story.before, story.events, story.effects, story.after))
    if row.movement is None or after is None:
        return Entry(waiting.id, encode(row), waiting.code, "", b"")
    return Entry(waiting.id, encode(row), waiting.code, row.movement.subject, histories.encode(after))


def _read_epoch(folder: Path) -> int:
    """The last epoch that this gate began, as a file beside the journal remembers it; 0 for none."""
    try:
        return int((folder.parent / "epoch").read_text())
    except (OSError, ValueError):
        return 0


def _write_epoch(folder: Path, epoch: int) -> None:
    """Remember the epoch before its first row, so that a number is never used twice unseen."""
    path, fresh = folder.parent / "epoch", folder.parent / "epoch.new"
    with fresh.open("w") as file:
        file.write(f"{epoch}\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_folder(folder.parent)
