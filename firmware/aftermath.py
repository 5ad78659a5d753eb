"""What the last process of a gate left behind in its journal, for the gate that begins now."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from firmware import history as histories
from firmware.asks import ASKS_MAX, Asked
from firmware.core.credit import DOUBT_MS
from firmware.core.effects import Kind
from firmware.core.events import Cause, Scanned
from firmware.core.movements import Act, Movement
from firmware.core.ticket import Moment, Setup
from firmware.row import Row, Unreadable, decode, epoch_and_seq, event_of, replay
from firmware.rows import TAIL_ROWS, Damaged, RowReader, rescue

UNSETTLED_MS_MAX = 600_000  # an opening ends within this (the longest `unlock_ms` is far shorter)
ALARM_ROWS_MAX = 5_000  # looked through for a lane's last one; retention leaves as many
ASK_ROWS_MAX = 5_000  # looked through for asks, of which `ASKS_MAX` are remembered
ASK_MS_MAX = 7_200_000  # an answer that is older makes no credit: the longest `credit_min` is two hours


class Lost(NamedTuple):
    """Histories that the journal has lost and something else has kept, and what that is."""

    histories: Iterator[tuple[str, bytes]]
    source: str


def lost_histories(folder: Path, last_row: int, aside: Path | None) -> Lost | None:
    """What to take over into a journal that ends at `last_row`.

    An index that was closed tidily and knows more than the journal is believed; else what can still be
    read in a journal that was set aside.
    """
    index = folder / "history"
    ahead = histories.row_of(index)
    if ahead is not None and ahead > last_row and histories.is_whole(index):
        return Lost(histories.all_in(index), "the index")
    if aside is not None:
        return Lost(rescue(aside), f"{aside.name}, as far as it can be read")
    return None


def newest_utc_ms(folder: Path) -> tuple[int, str]:
    """The newest time in the last rows, and what to say of those that cannot be read ("": all can).

    Rows before the last trusted one have no say: a time of theirs that is later was found to be wrong.
    """
    newest, right, strange = 0, False, list[str]()
    with RowReader(folder) as reader:
        for stored in reader.newest(TAIL_ROWS):
            try:
                moment = decode(stored.body, stored.id).moment
            except Unreadable as error:
                strange.append(str(error))
                continue
            newest = newest if right else max(newest, moment.utc_ms)
            right = right or moment.trusted
    if not strange:
        return newest, ""
    return newest, f"{len(strange)} rows cannot be read; a later release's? The newest is {strange[0]}"


def last_trusted(folder: Path) -> Moment | None:
    """The newest moment in the last rows whose time was known."""
    with suppress(Damaged), RowReader(folder) as reader:
        for stored in reader.newest(TAIL_ROWS):
            with suppress(Unreadable):  # said already
                moment = decode(stored.body, stored.id).moment
                if moment.trusted:
                    return moment
    return None


def last_movements(folder: Path) -> Iterator[tuple[int, str]]:
    """Own movements at the end of the last epoch, the newest first: the row and its ticket.

    An admission whose end the last process did not live to see is among them.
    """
    with RowReader(folder) as reader:
        last_epoch = epoch_and_seq(reader.last_id())[0]
        newest_ms: int | None = None
        for stored in reader.backwards():
            if epoch_and_seq(stored.id)[0] != last_epoch:
                return
            try:
                row = decode(stored.body)
            except Unreadable:  # said already; nothing in it can be settled
                continue
            newest_ms = row.moment.monotonic_ms if newest_ms is None else newest_ms
            if row.moment.monotonic_ms < newest_ms - UNSETTLED_MS_MAX:
                return
            if row.movement is not None and row.movement.row > 0:
                yield stored.id, row.movement.subject


def unacknowledged(folder: Path, setups: Iterable[Setup]) -> frozenset[str]:
    """Lanes that acknowledge alarms, and that the last process left free for one, over by now or not.

    A lane's last row leads to the lane as it was left. An alarm whose row did not reach the disk, or cannot
    be read any more, is not known.
    """
    wanted = {setup.name: setup for setup in setups if setup.acknowledge}
    found: set[str] = set()
    if not wanted:
        return frozenset()
    with suppress(Damaged), RowReader(folder) as reader:
        for stored in islice(reader.backwards(), ALARM_ROWS_MAX):
            try:
                row = decode(stored.body)
                if row.story is None or row.lane not in wanted:
                    continue
                free = replay(row.story, wanted.pop(row.lane)).after.standing.free
            except Unreadable:  # said already
                continue
            if Cause.ALARM in free or Cause.UNACKNOWLEDGED in free:
                found.add(row.lane)
            if not wanted:
                break
    return frozenset(found)


class Doubt(NamedTuple):
    """An ask whose answer the last process did not live to write: the vendor may have spent the ticket."""

    scan: int
    setup: Setup
    asked: Asked

    def row(self, moment: Moment) -> Row:
        """What the gate that begins now writes of it."""
        unsure = Movement(
            Act.UNSURE,
            self.asked.subject,
            self.scan,
            self.asked.direction,
            (self.setup.perimeter,),
            moment.utc_ms,
            until_utc_ms=moment.utc_ms + max(self.setup.credit_ms, DOUBT_MS),
        )
        text = "asked, and the gate ended before an answer was written"
        return Row("unsettled", self.asked.lane, moment, self.scan, movement=unsure, text=text)


class Left(NamedTuple):
    """What became of the asks of the processes before: all of them by scan, and those without an answer."""

    asked: Mapping[int, Asked] = MappingProxyType({})
    doubts: tuple[Doubt, ...] = ()


NOTHING_LEFT = Left()


def asks_left(folder: Path, setups: Iterable[Setup]) -> Left:
    """Asks at the end of the journal, the oldest first; a late answer to one still makes a credit."""
    lanes = {setup.name: setup for setup in setups}
    found: dict[int, Asked] = {}
    doubts: list[Doubt] = []
    decided, opened, voided = set[int](), set[int](), set[int]()
    newest_ms: int | None = None
    with suppress(Damaged), RowReader(folder) as reader:
        for stored in islice(reader.backwards(), ASK_ROWS_MAX):
            try:
                row = decode(stored.body)
            except Unreadable:  # said already
                continue
            newest_ms = row.moment.utc_ms if newest_ms is None else newest_ms
            if row.moment.utc_ms < newest_ms - ASK_MS_MAX or len(found) >= ASKS_MAX:
                break
            if row.kind in (Kind.ANSWER, "unsettled"):
                decided.add(row.scan)
            if row.movement is not None and row.movement.act is Act.VOIDED:
                voided.add(row.scan)
            if row.movement is not None and row.movement.act is Act.OPENED and row.scan not in voided:
                opened.add(row.scan)
            if row.kind == Kind.ASK and (asked := _asked(row, stored.digest, row.scan in opened)):
                found[row.scan] = asked
                if row.scan not in decided:
                    doubts.append(Doubt(row.scan, lanes.get(row.lane) or Setup(row.lane), asked))
    return Left(MappingProxyType(dict(reversed(found.items()))), tuple(reversed(doubts)))


def _asked(row: Row, digest: bytes, opened: bool) -> Asked | None:
    """The ask of a row, where its scan can be read."""
    if row.story is None:
        return None
    try:
        event = event_of(row.story.events[-1])
    except Unreadable:
        return None
    if not isinstance(event, Scanned):
        return None
    return Asked(row.lane, event.subject, event.direction, "", event.moment.utc_ms, digest, opened)
