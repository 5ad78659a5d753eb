"""What the lanes of a gate show, for a screen beside them: one colour, one word and one line for each lane.

All of it comes from the journal's rows, each run through the core once more, and from whether a gate holds
the folder. The rows are the truth that outlives everything else, they are read without a lock, and an
opening is on disk before the lane opens, so the page is no later than the lamp by more than a look.
What leaves no row the page cannot show: that the disk hangs, say.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from firmware.core.effects import Kind, Signal
from firmware.core.lane import permanent
from firmware.core.states import Recording
from firmware.core.ticket import Setup, Verdict
from firmware.row import Row, Unreadable, decode, epoch_and_seq, lane_of
from firmware.rows import RowReader, Stored
from firmware.show_journal import Lines
from firmware.signals import WORDS, light_and_sound
from hal.ports import Colour

ROWS_MAX = 5_000  # looked through at the start for a lane's last one; retention leaves as many
DECIDING = frozenset({Kind.SCAN, Kind.ANSWER})

# The word for people at the lane; the sentence below it says more.
SIGNAL_WORDS: Mapping[Signal, str] = {
    Signal.READY: "READY",
    Signal.CHECKING: "CHECKING",
    Signal.GO: "COME IN",
    Signal.FREE: "FREE",
    Signal.SHUT: "SHUT",
    Signal.OUT_OF_ORDER: "OUT OF ORDER",
}
NO_GATE = "no gate runs here"


class Sight(NamedTuple):
    """What a lane shows now."""

    lane: str
    colour: Colour
    word: str
    line: str


class _Place(NamedTuple):
    """A lane after its last row; a verdict is shown until `until_s`."""

    setup: Setup
    rest: Signal = Signal.READY
    verdict: Verdict | None = None
    line: str = ""
    until_s: float = 0.0


class LanePage:
    """The lanes of the newest epoch that was met, in the order of the settings."""

    def __init__(
        self,
        lines: Lines,
        lane: str | None = None,
        now_s: Callable[[], float] = time.monotonic,
        utc_s: Callable[[], float] = time.time,
    ) -> None:
        """`lane` chooses one."""
        self._lines, self._lane, self._now_s, self._utc_s = lines, lane, now_s, utc_s
        self._epoch = 0
        self._places: dict[str, _Place] = {}

    def take(self, reader: RowReader, rows: Iterable[Stored]) -> None:
        """Rows in their order, as they come."""
        for stored in rows:
            try:
                self._take(reader, stored, decode(stored.body))
            except Unreadable:  # of a later release; the next row says how the lane is
                continue

    def _take(self, reader: RowReader, stored: Stored, row: Row) -> None:
        epoch, _ = epoch_and_seq(stored.id)
        if epoch != self._epoch:
            self._epoch = epoch
            setups = self._lines.setups_of(reader, epoch)
            self._places = {name: _Place(setup) for name, setup in setups.items() if self._is_wanted(name)}
        place = self._places.get(row.lane)
        if place is None or row.story is None:
            return
        lane = lane_of(row.story, place.setup)
        rest = permanent(lane)
        if isinstance(lane.state, Recording) and lane.state.scan is None:
            rest = Signal.READY  # its row is on disk: the lane opens, and shows the verdict
        if row.kind not in DECIDING or row.verdict is None:
            self._places[row.lane] = place._replace(rest=rest, verdict=None, line="")
            return
        line = self._lines.of(reader, stored)
        text = "" if line.text in (line.reason or "") else line.text
        show_ms = place.setup.unlock_ms if row.verdict.admits else place.setup.signal_ms
        ago_s = max(0.0, self._utc_s() - row.moment.utc_ms / 1000)
        self._places[row.lane] = place._replace(
            rest=rest,
            verdict=row.verdict,
            line="; ".join(filter(None, (line.reason, text))),
            until_s=self._now_s() + show_ms / 1000 - ago_s,
        )

    def _is_wanted(self, lane: str) -> bool:
        return self._lane is None or lane == self._lane

    @property
    def lanes(self) -> list[str]:
        """Their names."""
        return list(self._places)

    def sights(self, runs: bool) -> list[Sight]:
        """What each lane shows at this moment; `runs` says whether a gate is there to show it."""
        return [_sight(place, self._now_s(), runs) for place in self._places.values()]


def _sight(place: _Place, now_s: float, runs: bool) -> Sight:
    name = place.setup.name
    if not runs:
        return _signal(name, Signal.OUT_OF_ORDER, NO_GATE)
    if place.verdict is None or now_s >= place.until_s:
        return _signal(name, place.rest, "")
    word = SIGNAL_WORDS[Signal.GO] if place.verdict.admits else WORDS[place.verdict].upper()
    return Sight(name, light_and_sound(place.verdict).colour, word, place.line)


def _signal(lane: str, signal: Signal, line: str) -> Sight:
    return Sight(lane, light_and_sound(signal).colour, SIGNAL_WORDS[signal], line)
