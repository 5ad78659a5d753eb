"""What this gate saw and did. One thread of its own commits; the loop hands rows over and never waits.

`submit` takes a row and gives it to the thread. When the row would survive a power cut the thread says so
through `told`, and only then may a lane open. Rows that come while the disk is busy share the next flush.

Between `submit` and the commit the loop must already see what its own rows did: `history` looks into the
rows on their way first, and into the index of what is committed after that.

Whatever goes wrong in the thread, the lanes hear of it: a commit that fails is tried again, a row that
cannot be made into bytes is replaced by one that says so, and a thread that ends says that it ended.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple, Self

from firmware import history as histories
from firmware.aftermath import last_movements, lost_histories, newest_utc_ms
from firmware.core.effects import Effect
from firmware.core.events import Event
from firmware.core.movements import Movement, fold, settle_at_start
from firmware.core.states import Lane
from firmware.core.ticket import Direction, History, Moment, Setup, Track
from firmware.history import HistoryIndex, HistoryLookup, NoRoom
from firmware.noted import NOTED_KEEP_MS
from firmware.remembered import Remembered
from firmware.row import (
    Began,
    Row,
    Unreadable,
    decode,
    encode,
    encode_began,
    epoch_and_seq,
    name_of,
    row_id,
    tell_story,
)
from firmware.rows import (
    CHECKPOINT_ROWS,
    CHECKPOINT_ROWS_MAX,
    Damaged,
    Entry,
    Noted,
    RowReader,
    Rows,
    Unwritable,
    set_aside,
)

BATCH_ROWS = 200  # one flush for all that came meanwhile; more would make the first of them wait
INDEX_AFTER_S = 0.01  # after a commit the loop has the interpreter for itself: it opens a lane, 2 ms on a Pi
WAITING_ROWS_MAX = 10_000  # in memory while the disk hangs: a quarter of an hour of rush at four lanes
TIDY_ROWS = 1000  # dropped in one transaction, so that a scan never waits long behind it
OWN_MAX = 10_000  # tickets in memory; one that was moved longer ago is known by its history alone
KEPT_ROWS_MIN = 5_000  # whatever retention says: the next start looks for unsettled admissions in these
SPENT = History(Track(1, Direction.IN), Track(1, Direction.IN))  # admitted, as far as damage leaves it open
FAULTS_MAX = 50  # different things to say; a gate with more has one cause for all of them


class Retention(NamedTuple):
    """How much of the past is kept. `unconfirmed` rows are dropped only where no bridge will ever ask."""

    keep_ms: int
    keep_bytes: int
    unconfirmed: bool


class Pace(NamedTuple):
    """How long the thread waits, in seconds."""

    retry_s: float = 1.0  # between two tries on a disk that refuses
    idle_s: float = 0.5  # nothing to write for this long: time for a checkpoint and for receipts
    tidy_s: float = 600.0  # between two looks at what retention may drop
    quiet_s: float = 60.0  # nothing to write for this long: time to wipe clear codes out of the log
    wipe_s: float = 3600.0  # and they are wiped this long after their receipt in any case
    close_s: float = 5.0  # how long a stopping gate waits for a disk that hangs


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
    noted: Noted | None


class _Taken(NamedTuple):
    """A row in the thread's hands. `spoilt`: it stands there as the fault that kept it from being written."""

    lane: str
    entry: Entry
    spoilt: bool


class Told(NamedTuple):
    """News from the thread: the row is safe, and its digest; or it could not be written. Row 0: all lanes."""

    lane: str
    row: int
    safe: bool
    at_ns: int
    digest: bytes = b""


class Journal:
    """The journal of one process: one epoch. `faults` says what was found wrong, at the start and since."""

    def __init__(
        self,
        folder: Path,
        setups: tuple[Setup, ...],
        now: Callable[[int], Moment],
        retention: Retention,
        release: str,
        told: Callable[[Told], None],
        pace: Pace = Pace(),  # noqa: B008  a named tuple: it cannot change
        open_rows: Callable[[Path], Rows] = Rows,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open, begin an epoch, and settle what the last one left open.

        `now` is handed UTC milliseconds before which no clock that may be wrong can be. Raises `Unwritable`
        where the disk takes no rows; a journal that cannot be read is set aside whole, never deleted.
        """
        self.faults: list[str] = []
        self._own: dict[str, int] = {}  # the loop's own: ticket -> newest own movement without a receipt
        self._wake: Callable[[int], None] = lambda _: None
        self._folder = folder
        self._told = told
        self._retention = retention
        self._pace = pace
        self._open_rows, self._monotonic_s = open_rows, monotonic_s
        try:
            self._start(setups, now, release, None)
        except Damaged as damage:
            aside = set_aside(folder, now(0).utc_ms)
            self.faults.append(f"the journal could not be read and was set aside as {aside.name}: {damage}")
            self._start(setups, now, release, aside)
        self._queue: SimpleQueue[_Waiting | int | None] = SimpleQueue()
        self._taken: list[_Taken] = []  # the thread's own: taken from the queue, not committed
        self._unseen: dict[str, tuple[int, History]] = {}  # the loop's own: not in the index yet
        self._order: deque[tuple[int, str]] = deque()
        self._unindexed: dict[bytes, bytes] = {}  # the thread's own: what the index does not know yet
        self._confirmed = 0
        self._tidy_at = monotonic_s() + pace.tidy_s
        self._written_at = monotonic_s()
        self._wipe_since = self._written_at if self._rows.receipt else None
        self._ending = self._closed = self._index_late = False
        self._stop_by = float("inf")
        self.commits = 0
        self.commit_ns_max = 0
        self.fault: str | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    # --- the start -----------------------------------------------------------------------------

    def _start(
        self, setups: tuple[Setup, ...], now: Callable[[int], Moment], release: str, aside: Path | None
    ) -> None:
        with ExitStack() as undo:
            self._rows = rows = self._open_rows(self._folder)
            undo.callback(rows.close)
            self.receipt = rows.receipt
            self._remembered = Remembered(self._folder.parent / "epoch")
            undo.callback(self._remembered.close)
            orphans = self._adopt_lost(rows, aside)
            self._index = self._open_index(rows.last_id)
            undo.callback(self._index.close)
            self.newest_utc_ms, strange = newest_utc_ms(self._folder)
            if strange:
                self._complain(strange)
            self._begin(setups, now(self.newest_utc_ms), release, orphans)
            undo.pop_all()

    def _adopt_lost(self, rows: Rows, aside: Path | None) -> list[str]:
        """Take over histories that this journal lacks; returns those with an open admission."""
        lost, orphans = lost_histories(self._folder, rows.last_id, aside), list[str]()
        if lost and (adopted := rows.adopt(histories.believable(lost.histories, orphans))):
            self.faults.append(f"the histories of {adopted:,} tickets were taken over from {lost.source}")
        return orphans

    def _open_index(self, last_row: int) -> HistoryIndex | HistoryLookup:
        try:
            with RowReader(self._folder) as reader:
                return HistoryIndex(self._folder / "history", last_row, reader.histories())
        except NoRoom as error:
            self._complain(f"histories are read from the journal itself, which is slower: {error}")
            return HistoryLookup(RowReader(self._folder))

    def _begin(self, setups: tuple[Setup, ...], moment: Moment, release: str, orphans: Iterable[str]) -> None:
        """The first rows of the epoch, written before anything else may happen."""
        rows, known, self._newest_ms = self._rows, self._remembered, moment.utc_ms
        self._look_back(known)
        self.epoch = max(epoch_and_seq(rows.last_id)[0], known.epoch) + 1
        known.begin(self.epoch, max(known.row, rows.last_id))
        try:
            rows.reserve()
        except Unwritable as error:
            self._complain(str(error))
        found = rows.last_digest.hex()
        self.random = os.urandom(8).hex()
        began = Began(self.epoch, self.random, found, release, setups)
        first = [Row("began", "", moment, text=encode_began(began))]
        first += [Row("fault", "", moment, text=fault) for fault in self.faults]
        entries = [self._first_entry(seq, row, "", b"") for seq, row in enumerate(first, 1)]
        after: dict[str, History] = {}
        unsettled = []
        for movement in self._find_unsettled(orphans):
            subject = histories.key_of(movement.subject).decode()
            after[subject] = fold(after.get(subject) or self._in_index(subject), movement)
            row = Row("unsettled", "", moment, movement.row, movement=movement)
            value = histories.encode(after[subject])
            entries.append(self._first_entry(len(entries) + 1, row, subject, value))
            unsettled.append(movement)
        rows.append(entries)
        self.unsettled: tuple[Movement, ...] = tuple(unsettled)
        self.next_row = entries[-1].id + 1
        self._committed = self._indexed = entries[-1].id
        known.reach(self._committed)
        changes = [(subject.encode(), histories.encode(value)) for subject, value in after.items()]
        try:
            self._index.put(changes, self._committed)
        except NoRoom as error:
            self._do_without_index(error)

    def _first_entry(self, seq: int, row: Row, subject: str, history: bytes) -> Entry:
        return Entry(row_id(self.epoch, seq), encode(row), "", subject, history)

    def _look_back(self, known: Remembered) -> None:
        """Say so where the journal ends before what this gate had written."""
        if known.fault:
            self._complain(known.fault)
        if known.row > self._rows.last_id:
            ends = f"ends at row {name_of(self._rows.last_id)}" if self._rows.last_id else "is empty"
            self._complain(
                f"the journal {ends}, but this gate had written row {name_of(known.row)}: an older copy was "
                "put back, or the end of its log was lost; what is missing is known to the bridge at best"
            )

    def _find_unsettled(self, orphans: Iterable[str]) -> Iterator[Movement]:
        """Admissions whose end the last process did not live to see.

        Their rows are among the last of its epoch. Those of adopted histories have no rows here. What is
        open at another gate is that gate's to settle.
        """
        seen: set[str] = set()
        for subject in (*orphans, *self._moved_at_the_end()):
            key = histories.key_of(subject).decode()
            if key not in seen:
                seen.add(key)
                for pending in self._in_index(key).pending:
                    if pending.row > 0:
                        yield settle_at_start(subject, pending)

    def _moved_at_the_end(self) -> Iterator[str]:
        for row, subject in last_movements(self._folder):
            if row > self.receipt:
                self._own.setdefault(subject, row)
            yield subject

    # --- the loop's side -----------------------------------------------------------------------

    def history(self, subject: str) -> History:
        """What is known of the ticket, rows on their way included."""
        found = self._unseen.get(subject)
        return found[1] if found is not None else self._in_index(subject)

    def _in_index(self, subject: str) -> History:
        try:
            return self._index.get(subject)
        except (Unreadable, Damaged, Unwritable) as error:
            self._complain(f"the history of ticket {subject} cannot be read, so it counts as used: {error}")
            return SPENT

    def submit(
        self, row: Row, story: Story | None = None, code: str = "", noted: Noted | None = None
    ) -> bool:
        """Hand a row over; it gets the number `next_row`. `noted` is what it holds of somebody else's.

        False, and nothing is kept, where the disk hangs and memory is full, or where the thread has ended.
        """
        self._forget_seen()
        number = self.next_row
        if number - self._committed > WAITING_ROWS_MAX or not self._thread.is_alive():
            return False
        after: History | None = None
        if row.movement is not None:
            subject = row.movement.subject
            after = fold(self.history(subject), row.movement)
            self._unseen[subject] = (number, after)
            self._order.append((number, subject))
            if row.movement.row > 0:
                self._remember_own(subject, number)
        self.next_row = number + 1
        self._queue.put(_Waiting(number, row, story, code, after, noted))
        return True

    def note(self, row: Row) -> None:
        """A row that no event made: a fault, a clock that became trusted, news of another gate."""
        self.submit(row)

    def _remember_own(self, subject: str, number: int) -> None:
        own = self._own
        own.pop(subject, None)  # so that the oldest stays in front
        own[subject] = number
        while len(own) > OWN_MAX or own[next(iter(own))] <= self.receipt:
            del own[next(iter(own))]

    def unconfirmed(self, subject: str) -> bool:
        """Whether this gate has moved the ticket, and the bridge has not confirmed the row of that yet."""
        history = self.history(subject)
        pending = (pending.row for pending in history.pending)
        return max(self._own.get(subject, 0), history.settled_row, *pending) > self.receipt

    def listen(self, wake: Callable[[int], None]) -> None:
        """Have the thread call this after each commit, with the newest row. It must not wait."""
        self._wake = wake

    @property
    def committed(self) -> int:
        """The newest row that is safe on disk."""
        return self._committed

    def confirm(self, upto: int) -> None:
        """The bridge has all rows up to this one; their clear codes can go.

        They are gone from the disk within `Pace.quiet_s` of silence, and within `Pace.wipe_s` at the latest.
        A receipt for rows that are not there is another journal's, and ignored.
        """
        if upto <= self._committed:
            self.receipt = max(self.receipt, upto)
            self._queue.put(upto)

    @property
    def waiting(self) -> int:
        """Rows handed over and not committed."""
        return self.next_row - 1 - self._committed

    def _forget_seen(self) -> None:
        """Drop what the index knows by now."""
        while self._order and self._order[0][0] <= self._indexed:
            number, subject = self._order.popleft()
            if self._unseen[subject][0] == number:
                del self._unseen[subject]

    # --- the thread's side ---------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._turn():
                pass
            if self._index_late:
                self._bring_to_index()
        except BaseException as error:  # nobody above could hear it, and no lane may wait for nothing
            self.fault = f"the journal's thread ended, restart the gate: {error!r}"
            self._complain(self.fault)
            self._tell(Told("", 0, False, time.perf_counter_ns()))

    def _turn(self) -> bool:
        """One round of the thread. False at the end."""
        idle = not self._take() and not self._taken
        if self._taken:
            self._commit()
        if self._ending and not self._taken:
            self._try(self._finish)
            return False
        if self._monotonic_s() > self._stop_by:
            return False
        if idle or self._rows.in_log >= CHECKPOINT_ROWS_MAX:
            self._housekeep()
        return True

    def _take(self) -> bool:
        """Wait for work, then take what is there, up to a batch. False when nothing came."""
        if self._taken and (self._ending or len(self._taken) >= BATCH_ROWS):  # nothing to take: only to retry
            time.sleep(self._pace.retry_s)
            return True
        longest_s = self._pace.retry_s if self.fault else self._pace.idle_s
        timeout, came = INDEX_AFTER_S if self._index_late else longest_s, False
        while len(self._taken) < BATCH_ROWS and not self._ending and not (came and self._queue.empty()):
            try:
                item = self._queue.get(timeout=timeout)
            except Empty:
                if not self._index_late:
                    return False
                self._bring_to_index()
                timeout = longest_s
                continue
            came = True
            if item is None:
                self._ending = True
            elif isinstance(item, int):
                self._confirmed = max(self._confirmed, item)
            else:
                self._taken.append(_made(item))
                self._newest_ms = item.row.moment.utc_ms  # the last is the best known: time may be set back
        return came

    def _commit(self) -> None:
        """Write all that waits in one flush, then say so."""
        entries = [taken.entry for taken in self._taken]
        started_ns = time.perf_counter_ns()
        try:
            digests = self._rows.append(entries)
        except Exception as error:  # whatever it is: the rows stay, and are tried again
            if isinstance(error, Damaged):
                self._rows.condemn(str(error))
            self._refused(str(error) or repr(error))
            return
        now_ns = time.perf_counter_ns()
        self.commits += 1
        self.commit_ns_max = max(self.commit_ns_max, now_ns - started_ns)
        self._committed = entries[-1].id
        self._written_at = self._monotonic_s()
        written, self._taken = self._taken, []
        self._remembered.reach(self._committed)
        healed, self.fault = self.fault is not None, None
        for (lane, entry, spoilt), digest in zip(written, digests, strict=True):
            self._tell(Told(lane, entry.id, not spoilt, now_ns, digest))
            if spoilt:
                self._complain(f"row {name_of(entry.id)} could not be written as it was")
                healed = True
        if healed:
            self._tell(Told("", 0, True, now_ns))
        self._wake(self._committed)
        self._unindexed.update((e.subject.encode(), e.history) for e in entries if e.subject)
        self._index_late = True
        if self._committed - self._indexed >= BATCH_ROWS:  # a rush leaves no time to wait
            self._bring_to_index()

    def _bring_to_index(self) -> None:
        """On a full disk the index lags behind, and the loop keeps in memory what it misses."""
        self._index_late = False
        try:
            self._index.put(self._unindexed.items(), self._committed)
        except NoRoom as error:
            if len(self._unindexed) <= WAITING_ROWS_MAX:
                return
            self._do_without_index(error)
        self._unindexed.clear()
        self._indexed = self._committed

    def _do_without_index(self, error: NoRoom) -> None:
        """Its file gets no mark, so the next start makes it again."""
        self._index = HistoryLookup(RowReader(self._folder))
        self._complain(f"histories are read from the journal itself, which is slower: {error}")

    def _refused(self, why: str) -> None:
        """The rows stay and are tried again; every lane hears of it once."""
        known, self.fault = self.fault is not None, why
        if not known:
            self._tell(Told("", 0, False, time.perf_counter_ns()))

    def _tell(self, news: Told) -> None:
        try:
            self._told(news)
        except Exception as error:  # the lane that waits says "out of order" when its time is up
            self._complain(f"news of row {name_of(news.row)} did not reach its lane: {error!r}")

    def _complain(self, text: str) -> None:
        if text not in self.faults and len(self.faults) < FAULTS_MAX:
            self.faults.append(text)

    # --- idle moments --------------------------------------------------------------------------

    def _housekeep(self) -> None:
        """Receipts, the log, retention: what a disk refuses now is tried again later."""
        rows, now = self._rows, self._monotonic_s()
        if self._confirmed > rows.receipt:
            self._try(self._confirm)
        if rows.in_log >= CHECKPOINT_ROWS:
            self._try(rows.checkpoint)
        if now > self._tidy_at:
            self._tidy_at = now + self._pace.tidy_s
            self._try(self._tidy)
        if self._wipe_since is not None:
            quiet = now >= self._wipe_since and now - self._written_at > self._pace.quiet_s
            if quiet or now - self._wipe_since > self._pace.wipe_s:
                self._try(self._wipe)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Unwritable as error:
            self._complain(str(error))  # and later again; if it lasts, the next row will say so
        except Damaged as error:
            self._rows.condemn(str(error))
            self._complain(f"the journal is damaged and will be set aside at the next start: {error}")

    def _confirm(self) -> None:
        self._rows.confirm(self._confirmed)
        self._wipe_since = self._wipe_since or self._monotonic_s()

    def _finish(self) -> None:
        """The last receipts, and no clear code that is left behind by a gate that is switched off."""
        while self._confirmed > self._rows.receipt and self._monotonic_s() < self._stop_by:
            self._confirm()
        if self._wipe_since is not None:
            self._wipe()

    def _wipe(self) -> None:
        try:
            self._rows.wipe_log()
        except Unwritable:  # not again and again: each try writes some megabytes
            self._wipe_since = self._monotonic_s() + self._pace.quiet_s
            raise
        self._wipe_since = None

    def _tidy(self) -> None:
        """Let go of rows that are too old or too many, a few at a time."""
        # The last row with a receipt stays: what is sent next is chained to it.
        last = self._committed if self._retention.unconfirmed else self._rows.receipt - 1
        last = min(last, self._committed - KEPT_ROWS_MIN)
        over = self._rows.used_bytes() > self._retention.keep_bytes
        oldest = self._rows.oldest(TIDY_ROWS)
        before = 0
        for row, body in oldest:
            if row > last or not self._may_go(body, over):
                break
            before = row + 1
        if before:
            self._rows.forget(before)
            if before > oldest[-1][0]:
                self._tidy_at = 0.0  # there is more to drop: at the next idle moment
        if self._rows.forget_noted(self._newest_ms - NOTED_KEEP_MS):
            self._tidy_at = 0.0

    def _may_go(self, body: bytes, over: bool) -> bool:
        try:
            age_ms = self._newest_ms - decode(body).moment.utc_ms
        except Unreadable:  # of a later release: it goes with the rows around it
            return True
        return over or age_ms > self._retention.keep_ms

    # --- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """Write what waits, and close. A disk that hangs is given `Pace.close_s` and then left."""
        if self._closed:
            return
        self._closed = True
        self._stop_by = self._monotonic_s() + self._pace.close_s
        self._queue.put(None)
        self._thread.join(self._pace.close_s * 2)
        if self._thread.is_alive():
            return
        self._index.close()
        self._rows.close()
        self._remembered.close()

    def __enter__(self) -> Self:
        """The journal itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()


def _made(waiting: _Waiting) -> _Taken:
    """The bytes of a row. One that has none (a lone surrogate, a number beyond 64 bits) becomes a fault."""
    number, row, story, code, after, noted = waiting
    try:
        if story is not None:
            row = Row(*row[:-1], tell_story(story.before, story.events, story.effects, story.after))
        body, spoilt = encode(row), False
    except Exception as error:  # of a kind that nobody foresaw; the rows behind it must not wait for a mend
        body, spoilt = _fault_instead(row, error), True
    code = code.encode(errors="backslashreplace").decode()
    if row.movement is None or after is None:
        return _Taken(row.lane, Entry(number, body, code, "", b"", noted), spoilt)
    subject = histories.key_of(row.movement.subject).decode()
    return _Taken(row.lane, Entry(number, body, code, subject, histories.encode(after), noted), spoilt)


def _fault_instead(row: Row, error: Exception) -> bytes:
    """A row that says why another could not be written; it still carries the movement, where that can be."""
    text = f"a row of kind {row.kind} could not be written: {error!r}"
    text = text.encode(errors="backslashreplace").decode()
    with suppress(Exception):
        return encode(Row("fault", row.lane, row.moment, row.scan, movement=row.movement, text=text))
    return encode(Row("fault", "", Moment(0, 0, False), text=text))
