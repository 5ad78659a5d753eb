"""Rows that the uplink has the loop write: movements from elsewhere, outcomes, faults.

The loop alone hands rows to the journal, so that each finds the history of its ticket as the rows before it
left it. Movements are noted exactly once: the journal keeps the name of each beside its row, and what is on
its way there is remembered here.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol

import msgspec

from firmware import wire
from firmware.core.movements import Act, Movement
from firmware.core.ticket import History, Moment
from firmware.facts import CLOCK_AHEAD_MS, NEWS_MS_MAX
from firmware.row import DIGEST_BYTES, Row, name_of
from firmware.rows import Noted

TURN_ROWS = 20  # in one turn of the loop: below a millisecond, because a scan may wait behind it
WAITING_ROWS_MAX = 4000  # handed to the loop and not on disk; five pages
SAFE_S_MAX = 2.0  # a caller who wants them on disk waits so long, and asks again later

FROM_GATES = frozenset(
    {Act.OPENED, Act.PASSED, Act.SETTLED, Act.LAPSED, Act.VOIDED, Act.CREDITED, Act.UNSURE, Act.SURE}
)
ENDS = frozenset({Act.PASSED, Act.SETTLED})
FROM_VENDOR = frozenset({Act.NOTED})
PASSED_OVER = (
    "passed over: this gate moved the ticket, and the bridge had not confirmed that yet when this was told"
)


class Journal(Protocol):
    """The journal, as rows are handed to it in the loop."""

    @property
    def next_row(self) -> int:
        """The number of the next row."""

    @property
    def committed(self) -> int:
        """The newest row that is safe on disk."""

    def submit(self, row: Row, story: None = None, code: str = "", noted: Noted | None = None) -> bool:
        """Hand a row over."""

    def unconfirmed(self, subject: str) -> bool:
        """Whether this gate has moved the ticket, and the bridge has not confirmed that."""

    def history(self, subject: str) -> History:
        """What is known of the ticket."""


class NotedRows(Protocol):
    """What the journal's file holds of others, and of this gate."""

    def is_noted(self, gate: str, row: int, digest: bytes) -> bool:
        """Whether it is in the journal already."""

    def noted_from_ms(self) -> int:
        """From when on the names of all noted movements are here; 0 for always."""

    def digest(self, row: int) -> bytes | None:
        """The chain digest of an own row."""

    def retained_from(self) -> int:
        """The first own row that retention has not dropped."""


class _Waiting(NamedTuple):
    noted: Noted | None
    moved: wire.Moved | None
    row: Row | None


class Notes:
    """One thread offers, the loop takes (through `do`), and the journal's thread says what is on disk."""

    def __init__(
        self,
        gate: str,
        journal: Journal,
        rows: NotedRows,
        do: Callable[[Callable[[], None]], None],
        now: Callable[[], Moment],
    ) -> None:
        self._gate, self._journal, self._rows, self._do, self._now = gate, journal, rows, do, now
        self._news = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._asked = False  # whether the loop has been asked to look into the queue
        self._on_their_way: set[Noted] = set()
        self._written: deque[tuple[int, Noted]] = deque()
        self._closed = False
        self.drops = 0
        """How often rows were dropped because the journal's memory was full: they must be told again."""
        self.failure = ""
        """Why a row could not be handed over, if that was no lack of memory."""

    # --- for the uplink's thread ---------------------------------------------------------------------------

    def offer(self, movements: Iterable[wire.Moved], heard: bool = False) -> bool:
        """Hand over those that are new, and do not wait. False, and none is taken, where too many wait.

        What the bridge tells of a time whose names are not kept any more is not new. A gate tells of itself
        from the row on that was heard last, so its clock does not matter.
        `heard`: they come from that gate itself, in order and without a gap.
        """
        return self._offer({name_of_moved(moved, heard): moved for moved in movements})

    def _offer(self, movements: Mapping[Noted, wire.Moved]) -> bool:
        with self._news:
            on_their_way = {noted for noted in movements if _key(noted) in self._on_their_way}
        from_ms = self._rows.noted_from_ms()
        # Only now: what was on its way a moment ago may be in the file since, and is found in one of the two.
        fresh = [
            noted
            for noted in movements
            if noted not in on_their_way
            and (noted.heard or noted.utc_ms >= from_ms)
            and not self._known(noted)
        ]
        return self._put([_Waiting(noted, movements[noted], None) for noted in fresh])

    def _known(self, noted: Noted) -> bool:
        """Whether it is noted, or this gate's own doing. Another journal of this gate is somebody else."""
        if noted.gate == self._gate:
            digest = self._rows.digest(noted.row)
            if digest == noted.digest or (digest is None and noted.row < self._rows.retained_from()):
                return True
        return self._rows.is_noted(noted.gate, noted.row, noted.digest)

    def note(self, movements: Sequence[wire.Moved]) -> bool:
        """Hand them over and wait until they are on disk. False: not yet; offer them again."""
        named = {name_of_moved(moved, heard=False): moved for moved in movements}
        drops, ends_s = self.drops, time.monotonic() + SAFE_S_MAX
        if not self._offer(named):
            return False
        keys = set(map(_key, named))
        with self._news:
            while keys & self._on_their_way:
                left_s = ends_s - time.monotonic()
                if self._closed or left_s <= 0:
                    return False
                self._news.wait(left_s)
        return self.drops == drops

    def write(self, rows: Iterable[Row]) -> bool:
        """Rows of the uplink's own: faults and outcomes. False, and none is taken, where too many wait."""
        return self._put([_Waiting(None, None, row) for row in rows])

    def _put(self, items: list[_Waiting]) -> bool:
        if not items:
            return True
        with self._news:
            if max(len(self._queue), len(self._on_their_way)) + len(items) > WAITING_ROWS_MAX:
                return False
            self._queue.extend(items)
            self._on_their_way.update(_key(item.noted) for item in items if item.noted)
            asked, self._asked = self._asked, True
        if not asked:
            self._do(self._turn)
        return True

    def close(self) -> None:
        """Nobody waits any more."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    # --- in the loop ---------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Write a few, and ask for another turn where there are more, so that a scan comes in between."""
        moment = self._now()
        for _ in range(TURN_ROWS):
            with self._news:
                if not self._queue:
                    self._asked = False
                    return
                item = self._queue.popleft()
            number = self._journal.next_row
            try:
                named = item.noted and _named_at(item.noted, moment)
                kept = self._journal.submit(self._row_of(item, moment), noted=named)
            except Exception as error:  # whatever came from outside, it must not end the loop: passed over
                self.failure = f"what came from the network could not be written: {error!r}"
                self._forget([item])
                continue
            if not kept:
                self._drop(item)
                return
            if item.noted is not None:
                with self._news:
                    self._written.append((number, _key(item.noted)))
                if self._journal.committed >= number:  # the disk was quicker than this thread
                    self.committed(number)
        self._do(self._turn)

    def _drop(self, item: _Waiting) -> None:
        """The disk hangs and memory is full: whoever told these tells them again."""
        with self._news:
            gone = [item, *self._queue]
            self._queue.clear()
            self._asked = False
            self.drops += 1
        self._forget(gone)

    def _forget(self, items: Iterable[_Waiting]) -> None:
        with self._news:
            self._on_their_way.difference_update(_key(item.noted) for item in items if item.noted)
            self._news.notify_all()

    def _row_of(self, item: _Waiting, moment: Moment) -> Row:
        if item.row is not None:
            return item.row._replace(moment=moment)
        moved = item.moved
        assert moved is not None
        if not moved.gate:
            return noted_row(moved, moment, unconfirmed=self._journal.unconfirmed(moved.subject))
        admission = admission_elsewhere(moved.gate, moved.admission)
        pending = self._journal.history(moved.subject).pending
        return noted_row(moved, moment, open_here=any(found.row == admission for found in pending))

    # --- in the journal's thread ---------------------------------------------------------------------------

    def committed(self, row: int) -> None:
        """All rows up to this one are on disk."""
        with self._news:
            while self._written and self._written[0][0] <= row:
                self._on_their_way.discard(self._written.popleft()[1])
            self._news.notify_all()


def _key(noted: Noted) -> Noted:
    """What names a movement, whoever told of it."""
    return noted._replace(heard=False, utc_ms=0)


def name_of_moved(moved: wire.Moved, heard: bool) -> Noted:
    """What a movement is called in the journal. The vendor's have numbers that begin anew with each feed."""
    digest = moved.digest
    if not moved.gate:
        said = f"{moved.act} {moved.subject} {moved.direction} {moved.utc_ms}"
        digest = blake2b(said.encode(), digest_size=DIGEST_BYTES).digest()
    return Noted(moved.gate, moved.row, digest, heard, moved.utc_ms)


def admission_elsewhere(gate: str, admission: int) -> int:
    """The number of another gate's admission in histories here: below 0, so it never meets an own row."""
    said = blake2b(f"{gate} {admission}".encode(), digest_size=8).digest()
    return -1 - (int.from_bytes(said) >> 1)


def noted_row(
    moved: wire.Moved, moment: Moment, *, unconfirmed: bool = False, open_here: bool = False
) -> Row:
    """The row of a movement from elsewhere.

    The vendor does not know yet what this gate did since its last receipt. To let its older word count would
    undo a check-out made here, or make an own entry a second one: so own rows without a receipt win, and the
    vendor's is only written down.

    The end of an admission whose beginning was not heard (that gate has dropped it, or tells of it later)
    still is a walk, and counts as one.

    A time that is ahead of ours counts as the present: a gate whose clock stands years ahead would make every
    later way out look older than its way in. Where our own clock is not trusted there is nothing to say that.
    """
    moved = _not_ahead(moved, moment)
    gate, act = moved.gate, moved.act
    text = f"gate {gate}, row {name_of(moved.row)}" if gate else f"vendor, number {moved.row}"
    why = ""
    if act not in (FROM_GATES if gate else FROM_VENDOR):
        why = f"passed over: {act} is nobody else's business"
    elif not gate and unconfirmed:
        why = PASSED_OVER
    if why:
        return Row("noted", "", moment, text=f"{text}, ticket {moved.subject}: {why}")
    if act in ENDS and not open_here:
        act = Act.NOTED
    movement = Movement(
        act,
        moved.subject,
        admission_elsewhere(gate, moved.admission),
        moved.direction,
        moved.perimeters,
        moved.utc_ms,
        moved.spend,
        min(moved.until_utc_ms, moment.utc_ms + NEWS_MS_MAX),
    )
    return Row("noted", "", moment, movement=movement, text=text)


def _not_ahead(moved: wire.Moved, moment: Moment) -> wire.Moved:
    ahead_ms = _ahead_ms(moved.utc_ms, moment)
    until_utc_ms = max(0, moved.until_utc_ms - ahead_ms)
    return msgspec.structs.replace(moved, utc_ms=moved.utc_ms - ahead_ms, until_utc_ms=until_utc_ms)


def _named_at(noted: Noted, moment: Moment) -> Noted:
    """A name from the future would be kept longer than all others, and make those look forgotten."""
    return noted._replace(utc_ms=noted.utc_ms - _ahead_ms(noted.utc_ms, moment))


def _ahead_ms(utc_ms: int, moment: Moment) -> int:
    """By how much a time of others is later than is believed."""
    return max(0, utc_ms - moment.utc_ms - CLOCK_AHEAD_MS) if moment.trusted else 0
