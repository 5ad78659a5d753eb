"""A board at work without a gate: what its contacts and sensors see, and lines that fire one by one.

The alarm wins here too: it frees all lanes at once, on the contact's own thread, and nothing is fired while
it is active.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Literal, NamedTuple, Self

from hal.ports import Board, LaneParts, Way


class Seen(NamedTuple):
    """Something that a part saw. `lane` is empty for what belongs to the whole gate."""

    lane: str
    part: str
    what: str


class Alarmed(Exception):
    """The alarm is active: nothing is fired."""


class Bench:
    """The board, with news from all that it sees in one queue. Closing it locks the lanes, not in an alarm.

    With `acknowledge` an alarm stays until whoever is at the gate ends the doctor.
    """

    def __init__(self, board: Board, acknowledge: bool = False) -> None:
        self.board = board
        self._acknowledge = acknowledge
        self.seen: SimpleQueue[Seen] = SimpleQueue()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._over.set()

    @property
    def alarmed(self) -> bool:
        """Whether the alarm is active, or waits for somebody to acknowledge it."""
        return not self._over.is_set()

    def start(self) -> None:
        """Listen, to the alarm first."""
        if self.board.alarm is not None:
            self.board.alarm.start(self._on_alarm)
        if self.board.tamper is not None:
            self.board.tamper.start(partial(self._on_contact, "tamper"))
        for lane in self.board.lanes:
            if lane.sensor is not None:
                lane.sensor.start(partial(self._on_passage, lane.name), partial(self._on_state, lane.name))

    def unlock(self, lane: LaneParts, way: Way) -> None:
        """Open a lane one way. Raises `Alarmed`, and what the part raises."""
        with self._lock:
            if self.alarmed:
                raise Alarmed
            lane.turnstile.unlock(way)

    def lock(self, lane: LaneParts) -> None:
        """End it, but not what the alarm freed."""
        with self._lock:
            if not self.alarmed:
                lane.turnstile.lock()

    def news(self, wait_s: float, wanted: Callable[[Seen], bool] = lambda _: False) -> list[Seen]:
        """What was seen: all that is there already and comes within this time, or up to the first wanted."""
        found: list[Seen] = []
        until = monotonic() + wait_s
        while True:
            try:
                found.append(self.seen.get(timeout=max(0.0, until - monotonic())))
            except Empty:
                return found
            if wanted(found[-1]):
                return found

    def wait_until_quiet(self) -> None:
        """Stay as long as the alarm is active: to close the board would lock the lanes."""
        self._over.wait()

    def close(self) -> None:
        """Give the board back. What the alarm freed stays as it is: `gatepost release` comes next."""
        if not self.alarmed:
            self.board.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _on_alarm(self, active: bool) -> None:
        with self._lock:
            if active:
                self._over.clear()
                self._each(lambda lane: lane.turnstile.unlock("both"))
            elif not self._acknowledge or not self.alarmed:
                self._each(lambda lane: lane.turnstile.lock())
                self._over.set()
        self._on_contact("alarm", active)

    def _each(self, act: Callable[[LaneParts], None]) -> None:
        for lane in self.board.lanes:
            with suppress(Exception):  # the other lanes first; whoever fires this one is told
                act(lane)

    def _on_contact(self, part: Literal["alarm", "tamper"], active: bool) -> None:
        self.seen.put(Seen("", part, "active" if active else "at rest"))

    def _on_passage(self, lane: str, way: Way | None) -> None:
        self.seen.put(Seen(lane, "passage", way or "either way"))

    def _on_state(self, lane: str, fault: str | None) -> None:
        self.seen.put(Seen(lane, "sensor", fault or "works again"))
