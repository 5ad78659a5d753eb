"""Rows of the journal for those outside: lines of a table for people, one JSON object a row for programs.

Reads beside a live gate, a few hundred rows in one statement, and can go on with what comes: also when the
journal is set aside as damaged and another one takes its place.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from firmware.core.effects import Kind
from firmware.core.events import Answered, Event, Passed, Scanned, TimeUp
from firmware.core.movements import Movement
from firmware.core.states import Asking
from firmware.core.ticket import Setup, Verdict
from firmware.row import (
    SEQ_MAX,
    Row,
    Unreadable,
    decode,
    decode_began,
    epoch_and_seq,
    event_of,
    lane_of,
    row_id,
)
from firmware.rows import Damaged, RowReader, Stored, Unwritable
from firmware.signals import WORDS, local, reason, visible

BATCH_ROWS = (
    500  # read in one statement, within milliseconds: a long one would keep the journal's log growing
)
UNREADABLE = "unreadable"  # stands for the kind of a row that this release cannot read

FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "epoch": "number of the process start",
        "seq": "number of the row in its epoch",
        "time": "UTC, ISO 8601 with milliseconds; null beyond the calendar",
        "trusted": "whether the time was known then",
        "kind": "scan, ask, answer, late, passage, lapse, void, order, alarm; of the journal's own: began, "
        "unsettled, fault, clock, catalogue, noted, outcome, trail, lost; else unreadable",
        "lane": "empty where the row is about the whole gate",
        "direction": "in or out",
        "verdict": "what was decided",
        "reason": "the verdict as a sentence",
        "subject": "the ticket's id; where no ticket is known, the keyed digest of the code",
        "code": "the code in clear, as long as it is kept",
        "movement": "what the row does to the ticket's history",
        "text": "the vendor's own words, who gave an order, what is at fault, the settings of an epoch, "
        "where a noted movement was made",
        "scan_epoch": "with scan_seq: the row of the scan that this row belongs to",
        "scan_seq": "see scan_epoch",
        "digest": "ties the row to all rows before it; hexadecimal",
    }
)


class Line(NamedTuple):
    """One row as it is shown; `FIELDS` says what each field means. `None` where there is nothing to say."""

    epoch: int
    seq: int
    time: str | None
    trusted: bool
    kind: str
    lane: str = ""
    direction: str | None = None
    verdict: str | None = None
    reason: str | None = None
    subject: str | None = None
    code: str | None = None
    movement: str | None = None
    text: str = ""
    scan_epoch: int | None = None
    scan_seq: int | None = None
    digest: str = ""


class Choice(NamedTuple):
    """Which rows: of one epoch, of one lane, the newest ones; `None` for all."""

    epoch: int | None = None
    lane: str | None = None
    newest: int | None = None


# --- which rows --------------------------------------------------------------------------------------


def batches(
    folder: Path,
    choice: Choice,
    wait: Callable[[], bool] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[RowReader, list[Stored]]]:
    """The rows, the oldest first, each with the reader that it came from.

    With `wait` it goes on with new rows: it is called when there are none, and ends all with False. `say`
    is told when there is no journal to read any more; another one is then waited for. Raises `Damaged` or
    `Unwritable` where there is none at the beginning.
    """
    last: int | None = None
    origin: list[Stored] = []
    silent = False
    while True:
        file = _file(folder)
        try:
            with RowReader(folder) as reader:
                before, origin = origin, reader.after(0, 1)
                if last is None:
                    last = _start(reader, choice)
                elif before != origin:
                    last = _start(reader, choice._replace(newest=None))
                silent = False
                moved = False
                while not moved:
                    moved = _file(folder) != file
                    while found := reader.after(last, BATCH_ROWS):
                        last = found[-1].id
                        yield reader, [stored for stored in found if _is_chosen(stored, choice)]
                        if choice.epoch is not None and last > row_id(choice.epoch, SEQ_MAX):
                            return
                    if wait is None or not wait():
                        return
        except (Damaged, Unwritable) as error:
            if wait is None or last is None:
                raise
            if not silent:
                say(f"{error}: waiting for a journal that can be read")
            silent = True
            if not wait():
                return


def _file(folder: Path) -> tuple[int, int] | None:
    """Which file the journal is: a name may come to stand for another one."""
    try:
        stat = (folder / "journal.db").stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _start(reader: RowReader, choice: Choice) -> int:
    """The row after which to begin."""
    first = 0 if choice.epoch is None else row_id(choice.epoch, 0)
    if choice.newest is None:
        return first
    if choice.newest == 0:
        return reader.last_id()
    left = choice.newest
    for stored in reader.backwards():
        if stored.id <= first:
            break
        left -= _is_chosen(stored, choice)
        if left == 0:
            return stored.id - 1
    return first


def _is_chosen(stored: Stored, choice: Choice) -> bool:
    if choice.epoch is not None and epoch_and_seq(stored.id)[0] != choice.epoch:
        return False
    if choice.lane is None:
        return True
    try:
        return decode(stored.body).lane == choice.lane
    except Unreadable:
        return True  # nobody knows whose it is


# --- what a row says ---------------------------------------------------------------------------------


class Lines:
    """Makes lines of rows. It remembers the settings of the last epoch that it met."""

    def __init__(self, timezone: tzinfo) -> None:
        """`timezone` is that of the times in sentences and in the table."""
        self._timezone = timezone
        self._epoch: tuple[RowReader, int] | None = None
        self._setups: dict[str, Setup] = {}

    def of(self, reader: RowReader, stored: Stored) -> Line:
        """A row as it is shown; one that cannot be read too."""
        try:
            return self._line(reader, stored, decode(stored.body))
        except Unreadable as error:
            epoch, seq = epoch_and_seq(stored.id)
            digest = stored.digest.hex()
            return Line(epoch, seq, None, False, UNREADABLE, code=stored.code, text=str(error), digest=digest)

    def _line(self, reader: RowReader, stored: Stored, row: Row) -> Line:
        epoch, seq = epoch_and_seq(stored.id)
        event = event_of(row.story.events[-1]) if row.story and row.story.events else None
        about = row.movement or (event if isinstance(event, Scanned | Answered | Passed) else None)
        subject = about.subject if isinstance(about, Movement | Scanned | Answered) else ""
        scan_epoch, scan_seq = epoch_and_seq(row.scan) if row.scan else (None, None)
        return Line(
            epoch,
            seq,
            _iso(row.moment.utc_ms),
            row.moment.trusted,
            row.kind,
            row.lane,
            direction=about.direction if about else None,
            verdict=row.verdict,
            reason=self._reason(reader, epoch, row, event),
            subject=subject or None,
            code=stored.code,
            movement=row.movement.act if row.movement else None,
            text=row.text,
            scan_epoch=scan_epoch,
            scan_seq=scan_seq,
            digest=stored.digest.hex(),
        )

    def _reason(self, reader: RowReader, epoch: int, row: Row, event: Event | None) -> str | None:
        if row.verdict is None:
            return None
        setup = self.setups_of(reader, epoch).get(row.lane) or Setup(row.lane)
        if isinstance(event, Scanned):
            return reason(setup, event, row.verdict, row.text, self._timezone)
        if isinstance(event, Answered | TimeUp) and row.kind == Kind.ANSWER and row.story:
            state = lane_of(row.story, setup, -1).state
            if isinstance(state, Asking):
                scan = state.scan._replace(moment=event.moment, history=event.history)
                answered = isinstance(event, Answered) and event.verdict is not Verdict.NO_ANSWER
                return reason(setup, scan, row.verdict, row.text if answered else "", self._timezone)
        return WORDS[row.verdict]

    def setups_of(self, reader: RowReader, epoch: int) -> dict[str, Setup]:
        """The settings of the lanes in that epoch; none where they cannot be read."""
        if self._epoch != (reader, epoch):
            self._epoch, self._setups = (reader, epoch), {}
            first = row_id(epoch, 1)
            with suppress(Unreadable):
                for stored in reader.after(first - 1, 1):
                    if stored.id == first:
                        setups = decode_began(decode(stored.body).text).setups
                        self._setups = {setup.name: setup for setup in setups}
        return self._setups


def _iso(utc_ms: int) -> str | None:
    there = local(utc_ms, UTC)
    return f"{there:%Y-%m-%dT%H:%M:%S}.{utc_ms % 1000:03}Z" if there else None


# --- for programs, for people ------------------------------------------------------------------------


def as_json(line: Line) -> str:
    """One JSON object, plain ASCII: what a code holds cannot change a terminal where this goes to one."""
    return json.dumps(line._asdict()).replace("\x7f", "\\u007f")


COLUMNS = (("row", 9), ("time", 24), ("lane", 6), ("way", 3), ("kind", 10), ("code or ticket", 24))
REST_LENGTH_MIN = 40  # of the last column, however narrow the terminal is
HEAD = "  ".join([*(name.ljust(length) for name, length in COLUMNS), "what"])


def as_row(line: Line, timezone: tzinfo, width: int) -> str:
    """One line of a table of this width, with nothing in it that could change a terminal."""
    cells = (
        f"{line.epoch}.{line.seq}",
        _clock(line, timezone),
        line.lane,
        line.direction or "",
        line.kind,
        line.code or line.subject or "",
    )
    parts = [visible(cell, length).ljust(length) for cell, (_, length) in zip(cells, COLUMNS, strict=True)]
    length = max(REST_LENGTH_MIN, width - len("  ".join(parts)) - 2)
    return "  ".join([*parts, visible(_what(line), length)]).rstrip()


def _clock(line: Line, timezone: tzinfo) -> str:
    """The time on the wall; a question mark where the time was not known."""
    if line.time is None:
        return ""
    there = datetime.fromisoformat(line.time).astimezone(timezone)
    return f"{there:%Y-%m-%d %H:%M:%S}.{there.microsecond // 1000:03}" + ("" if line.trusted else "?")


def _what(line: Line) -> str:
    if line.kind == "began":
        with suppress(Unreadable):
            began = decode_began(line.text)
            return f"release {began.release}, lanes {', '.join(setup.name for setup in began.setups)}"
    text = "" if line.text in (line.reason or "") else line.text
    return "; ".join(filter(None, (line.reason, text, line.movement)))
