"""What the last process of a gate left behind in its journal, for the gate that begins now."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from firmware import history as histories
from firmware.core.events import Cause
from firmware.core.ticket import Setup
from firmware.row import Unreadable, decode, epoch_and_seq, replay
from firmware.rows import TAIL_ROWS, Damaged, RowReader, rescue

UNSETTLED_MS_MAX = 600_000  # an opening ends within this (the longest `unlock_ms` is far shorter)
ALARM_ROWS_MAX = 5_000  # looked through for a lane's last one; retention leaves as many


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
    """The newest time in the last rows, and what to say of those that cannot be read ("": all can)."""
    newest, strange = 0, list[str]()
    with RowReader(folder) as reader:
        for stored in reader.newest(TAIL_ROWS):
            try:
                newest = max(newest, decode(stored.body, stored.id).moment.utc_ms)
            except Unreadable as error:
                strange.append(str(error))
    if not strange:
        return newest, ""
    return newest, f"{len(strange)} rows cannot be read; a later release's? The newest is {strange[0]}"


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
