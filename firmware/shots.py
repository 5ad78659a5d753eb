"""The story of each scan, told when it is over to those who watch: the demo, the benches, a telemetry."""

import time
from collections.abc import Callable
from typing import NamedTuple

from firmware.core.effects import Effect, Kind, Record, Tell
from firmware.core.events import Scanned
from firmware.core.states import Asking, Lane, Recording
from firmware.core.ticket import Verdict
from firmware.journal import Told


class Shot(NamedTuple):
    """One scan as it went, for those who watch. Times are nanoseconds of `perf_counter`.

    `durable_ns` is `None` where the disk did not take the row in time, `relay_ns` where the lane did not
    open; `row` is 0 for a repeated read, which gets no row of its own.
    """

    lane: str
    code: str
    scan: Scanned
    verdict: Verdict
    text: str
    row: int
    read_ns: int
    decided_ns: int
    durable_ns: int | None = None
    relay_ns: int | None = None


class Shots:
    """Stories that are not over. The loop alone calls it; without `watch` nothing is kept."""

    def __init__(
        self, watch: Callable[[Shot], None] | None, ticks_ns: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self._watch = watch
        self._ticks_ns = ticks_ns
        self._shots: dict[int, Shot] = {}  # by scan, until the row that decided it is safe
        self._deciding: dict[int, int] = {}  # that row -> scan

    def __len__(self) -> int:
        """How many are not over."""
        return len(self._shots)

    def begin(
        self,
        lane: Lane,
        scan: Scanned,
        effects: tuple[Effect, ...],
        code: str,
        read_ns: int,
        decided_ns: int,
    ) -> None:
        """A scan was decided; a repeated read got no row, and its story ends here."""
        if self._watch is None:
            return
        record = next((e for e in effects if isinstance(e, Record)), None)
        told = next((e for e in effects if isinstance(e, Tell)), None)
        if record is not None:
            verdict, text, row = record.verdict or Verdict.NO_ANSWER, record.text, scan.row
        else:
            shown = told.show if told is not None else Verdict.BUSY
            verdict = shown if isinstance(shown, Verdict) else Verdict.BUSY
            text, row = told.text if told is not None else "", 0
        shot = Shot(lane.setup.name, code, scan, verdict, text, row, read_ns, decided_ns)
        if row:
            self._shots[row] = shot
            self._deciding[row] = row
        else:
            self._show(shot)

    def row(self, record: Record, number: int) -> None:
        """The ask was decided, or the admission withdrawn: another row has the last word."""
        shot = self._shots.get(record.scan)
        if shot is None or record.kind not in (Kind.ANSWER, Kind.VOID):
            return
        self._deciding.pop(shot.row, None)
        self._deciding[number] = record.scan
        self._shots[record.scan] = shot._replace(
            verdict=record.verdict or shot.verdict,
            text=record.text,
            row=number,
            decided_ns=self._ticks_ns(),
        )

    def durable(self, lane: Lane, unlocked_ns: int, news: Told) -> None:
        """The row is safe: the story ends here, unless the vendor is only being asked now."""
        scan = self._deciding.get(news.row)
        if scan is None or (isinstance(lane.state, Asking) and lane.state.scan.row == scan):
            return
        del self._deciding[news.row]
        shot = self._shots.pop(scan)
        opened = shot.verdict.admits and unlocked_ns > shot.decided_ns
        self._show(shot._replace(durable_ns=news.at_ns, relay_ns=unlocked_ns if opened else None))

    def lost(self, number: int) -> None:
        """The journal's memory is full: the row was not taken, and its number goes to another."""
        shot = self._shots.pop(number, None)
        if shot is not None:
            self._deciding.pop(number, None)
            verdict = Verdict.OUT_OF_ORDER if shot.verdict.admits else shot.verdict
            self._show(shot._replace(verdict=verdict, row=0))

    def unsafe(self, lane: Lane, waited_ms: int) -> None:
        """The disk does not take the rows of this lane: stories that wait for nothing else end here."""
        if isinstance(lane.state, Asking | Recording):
            return
        before_ns = self._ticks_ns() - waited_ms * 1_000_000
        for scan, shot in list(self._shots.items()):
            if shot.lane == lane.setup.name and shot.decided_ns <= before_ns:
                del self._shots[scan]
                self._deciding.pop(shot.row, None)
                self._show(shot)

    def _show(self, shot: Shot) -> None:
        if self._watch is not None:
            self._watch(shot)
