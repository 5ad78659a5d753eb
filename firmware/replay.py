"""Runs a journal through the core once more and names every row that comes out otherwise.

Of every row three things are proved: its digest follows from the row before it, its lane stood where the
lane's last row had left it, and the core, given the same events, does the same again and writes this very
row. It only reads, a few hundred rows at a time, so a live gate does not notice.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from firmware.core.effects import Ask, Effect, Kind, Lock, Record, Tell, Unlock
from firmware.core.lane import begin
from firmware.core.ticket import Setup
from firmware.row import (
    SEQ_MAX,
    STATES,
    Before,
    Replayed,
    Row,
    Unreadable,
    decode,
    decode_began,
    epoch_and_seq,
    name_of,
    replay,
    row_id,
    tell_story,
)
from firmware.rows import RowReader, Stored, fault_between

BATCH_ROWS = (
    500  # read in one statement, within milliseconds: a long one would keep the journal's log growing
)

LOST = "lost"  # stands for rows that there was no room for: nobody knows how they left the lane
OF_LANES = frozenset(map(str, Kind))  # rows that the core asks for; the others are the journal's own
NO_SETTINGS = "no row of this epoch can be replayed, because it holds the settings of the lanes"


class Difference(NamedTuple):
    """A row that is not what the core makes of it; `lane` and `kind` are empty where it cannot be read."""

    epoch: int
    seq: int
    lane: str
    kind: str
    what: str

    def __str__(self) -> str:
        """As a sentence for people."""
        about = ", ".join(filter(None, (f"lane {self.lane}" if self.lane else "", self.kind)))
        return f"row {self.epoch}.{self.seq}" + (f" ({about})" if about else "") + f": {self.what}"


class _Left(NamedTuple):
    """What a lane's last row left behind: the lane, and records of the same event whose rows follow."""

    number: int
    lane: Before
    records: tuple[Record, ...] = ()


class Replay:
    """One run over a journal. While `differences` is iterated over, the other attributes count along.

    `retained_from` is the first row that retention has left, 0 where it has dropped none; `known_lanes`
    are those that the journal has settings of.
    """

    def __init__(self, folder: Path, epoch: int | None = None, lane: str | None = None) -> None:
        """`epoch` and `lane` choose what is replayed. Digests are followed through the rows of all lanes."""
        self.rows = 0
        self.replayed = 0
        self.different = 0
        self.epochs: list[int] = []
        self.known_lanes: set[str] = set()
        self.retained_from = 0
        self._folder = folder
        self._epoch, self._lane = epoch, lane
        self._previous: Stored | None = None
        self._setups: dict[str, Setup] = {}
        self._left: dict[str, _Left] = {}  # without an entry it is not known how the lane was left

    def differences(self) -> Iterator[Difference]:
        """Run. Raises `Damaged` where there is no journal that can be read."""
        last, end = 0, row_id(SEQ_MAX, SEQ_MAX)
        if self._epoch is not None:
            last, end = row_id(self._epoch, 0), row_id(self._epoch, SEQ_MAX)
        with RowReader(self._folder) as reader:
            self.retained_from = reader.retained_from()
            while batch := reader.after(last, BATCH_ROWS):
                last = batch[-1].id
                for stored in batch:
                    if stored.id > end:
                        return
                    if found := self._examine(reader, stored):
                        self.different += 1
                        yield found

    def _examine(self, reader: RowReader, stored: Stored) -> Difference | None:
        """All that is wrong with one row."""
        self.rows += 1
        epoch, seq = epoch_and_seq(stored.id)
        row, wrong = None, []
        try:
            row = decode(stored.body)
        except Unreadable as error:
            wrong.append(f"it cannot be read: {error}")
        if fault := self._chain_fault(reader, stored, row):
            wrong.append(fault)
        if seq > 1 and (self._previous is None or self._previous.id != stored.id - 1):
            self._left.clear()
        self._previous = stored
        if not self.epochs or self.epochs[-1] != epoch:
            self.epochs.append(epoch)
            wrong += self._begin(stored.id, row)
        elif row is None:
            self._left.clear()
        elif self._lane in (None, row.lane) or row.kind == LOST:
            wrong += self._run(stored.id, row)
        if not wrong:
            return None
        lane, kind = (row.lane, row.kind) if row else ("", "")
        return Difference(epoch, seq, lane, kind, "; ".join(wrong))

    def _chain_fault(self, reader: RowReader, stored: Stored, row: Row | None) -> str:
        """Why the row does not follow from the one before. Retention may be at work beside us."""
        before = self._previous
        if before is None and self._epoch is not None and row is not None:
            before = _found_by(row, self._epoch)
        fault = fault_between(before, stored, self.retained_from)
        if fault:
            self.retained_from = reader.retained_from()
            if stored.id < self.retained_from:
                return ""
            fault = fault_between(before, stored, self.retained_from)
        return fault

    def _begin(self, number: int, row: Row | None) -> list[str]:
        """Take the settings of the lanes from the first row of an epoch."""
        self._setups, self._left = {}, {}
        if epoch_and_seq(number)[1] > 1:
            return [f"the first row of the epoch is missing: {NO_SETTINGS}"]
        if row is None:
            return [NO_SETTINGS]
        try:
            setups = decode_began(row.text).setups
        except Unreadable as error:
            return [f"its text cannot be read ({error}): {NO_SETTINGS}"]
        for setup in setups:
            lane = begin(setup)[0]
            self._setups[setup.name] = setup
            self._left[setup.name] = _Left(number, tell_story(lane, (), (), lane).before)
            self.known_lanes.add(setup.name)
        return []

    def _run(self, number: int, row: Row) -> list[str]:
        """Replay one row, or find it among what the event of the row before it asked for."""
        left = self._left.get(row.lane)
        if row.kind == LOST:
            self._left = {name: left for name, left in self._left.items() if row.lane not in ("", name)}
            return []
        if row.story is None:
            if row.kind not in OF_LANES or left is None:
                return []
            record = _record_of(row, left.records)
            if record is None:
                return ["nothing that happened to the lane explains it"]
            self._left[row.lane] = left._replace(records=_without(left.records, record))
            return []
        setup = self._setups.get(row.lane)
        if setup is None:
            return ["the epoch has no such lane"] if self._setups else []
        try:
            replayed = replay(row.story, setup)
        except Unreadable as error:
            self._left.pop(row.lane, None)
            return [f"its story cannot be read: {error}"]
        self.replayed += 1
        records = tuple(effect for effect in replayed.effects if isinstance(effect, Record))
        record = _record_of(row, records)
        self._left[row.lane] = _Left(number, replayed.after, _without(records, record))
        return _differing(row, replayed, record, left)


def _found_by(row: Row, epoch: int) -> Stored | None:
    """The row before an epoch, as far as the epoch's first row remembers it."""
    try:
        return Stored(row_id(epoch - 1, 1), b"", bytes.fromhex(decode_began(row.text).found), None)
    except (Unreadable, ValueError):
        return None


def _record_of(row: Row, records: tuple[Record, ...]) -> Record | None:
    """The record that made this row."""
    said = (row.kind, row.scan, row.verdict, row.movement, row.text)
    for record in records:
        kind, scan, verdict, movement, _, text = record
        if (kind, scan, verdict, movement, text) == said:
            return record
    return None


def _without(records: tuple[Record, ...], record: Record | None) -> tuple[Record, ...]:
    if record is None:
        return records
    at = records.index(record)
    return records[:at] + records[at + 1 :]


# --- what differs, in words --------------------------------------------------------------------------


def _differing(row: Row, replayed: Replayed, record: Record | None, left: _Left | None) -> list[str]:
    wrong = []
    if left is not None and replayed.before != left.lane:
        wrong.append(f"the lane before it: {_changed(replayed.before, left)}")
    if not replayed.same:
        said = ", ".join(map(_effect, replayed.effects)) or "nothing"
        wrong.append(f"the effects: now they are {said}, and the lane is then {replayed.after.state.name}")
    elif record is None and row.kind in OF_LANES:
        said = ", ".join(_effect(effect) for effect in replayed.effects if isinstance(effect, Record))
        wrong.append(f"the row itself: the core asks for {said or 'none'}")
    return wrong


def _effect(effect: Effect) -> str:
    match effect:
        case Record(kind, _, verdict):
            return f"record {kind}" if verdict is None else f"record {kind} {verdict}"
        case Ask(_, vendor):
            return f"ask {vendor}"
        case Unlock(direction):
            return f"unlock {direction or 'both ways'}"
        case Lock():
            return "lock"
        case Tell(show):
            return f"tell {show}"


def _changed(here: Before, left: _Left) -> str:
    """Which parts of the lane are not as the row before left them."""
    there, where = left.lane, f"row {name_of(left.number)}"
    parts = []
    if here.standing != there.standing:
        parts.append(f"what stands is {_standing(here)} here and {_standing(there)} after {where}")
    if here.state.name != there.state.name:
        parts.append(f"it is {here.state.name} here and {there.state.name} after {where}")
    elif here.state != there.state:
        names = STATES[here.state.name]._fields
        pairs = zip(names, here.state.fields, there.state.fields, strict=False)
        fields = ", ".join(name for name, one, other in pairs if one != other)
        parts.append(f"its {here.state.name} has other values than after {where} ({fields})")
    if here.shown != there.shown:
        shown = [before.shown.verdict if before.shown else "nothing" for before in (here, there)]
        parts.append(f"it shows {shown[0]} here and {shown[1]} after {where}")
    return "; ".join(parts)


def _standing(before: Before) -> str:
    free, shut = before.standing
    causes = [*(f"free for {cause}" for cause in free), *(f"shut for {cause}" for cause in shut)]
    return " and ".join(causes) or "nothing"
