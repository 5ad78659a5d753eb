"""What stays open while a gate is closed and opened again in one process: its board, and its readers.

Between two gates the lanes are locked, the alarm frees them all the same (`Standby`), and a code that is held
to a reader waits for the next gate, which answers it. What other settings name is opened anew.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from firmware.standby import Standby
from firmware.watchdog import Watchdog
from hal.board import open_board, open_reader
from hal.ports import Board, Contact, Deliver, LaneParts, Part, PassageSensor, Read, Reader, TellState, Way

WAIT_S = 5.0  # somebody who holds a code stands there so long; a lane that opened later would open for nobody
READS_MAX = 16  # of one reader in that time: the quickest deliver ten a second, and then of one code

Table = Mapping[str, object]


class KeptReader(Reader):
    """A reader for several gates, one after the other. Closing it parts it from its gate; `end` closes it."""

    def __init__(self, reader: Reader, now_s: Callable[[], float] = time.monotonic) -> None:
        self._reader, self._now_s = reader, now_s
        self._lock = threading.RLock()  # who is told may part
        self._deliver: Deliver | None = None
        self._state: TellState | None = None
        self._said: list[str | None] = []  # its last word on itself, once there is one
        self._waiting: deque[tuple[float, Read]] = deque(maxlen=READS_MAX)
        self._started = self._holds = False

    def start(self, deliver: Deliver, state: TellState) -> None:
        """Deliver to this gate from now on, first what has waited for it."""
        with self._lock:
            self._deliver, self._state = deliver, state
            for said in self._said:
                state(said)
            self.go_on()
            started, self._started = self._started, True
        if not started:
            self._reader.start(self._take, self._tell)

    def hold(self) -> None:
        """Let reads wait. Once this has returned, none is on its way to the gate."""
        with self._lock:
            self._holds = True

    def go_on(self) -> None:
        """Deliver to the gate again, first what has waited, but nothing that is too old."""
        with self._lock:
            self._holds = False
            while self._waiting and self._deliver is not None:
                at_s, read = self._waiting.popleft()
                if self._now_s() - at_s <= WAIT_S:
                    self._deliver(read)

    def close(self) -> None:
        """Part from the gate; what is read waits for the next one. Twice is fine."""
        with self._lock:
            self._holds, self._deliver, self._state = True, None, None

    def end(self) -> None:
        """Close the reader itself. Twice is fine."""
        self.close()
        self._reader.close()

    def _take(self, read: Read) -> None:
        with self._lock:
            if self._holds or self._deliver is None:
                self._waiting.append((self._now_s(), read))
            else:
                self._deliver(read)

    def _tell(self, state: str | None) -> None:
        with self._lock:
            self._said = [state]
            if self._state is not None:
                self._state(state)


class KeptSensor(PassageSensor):
    """A passage sensor for several gates. Between two of them it counts nobody: the lanes are locked."""

    def __init__(self, sensor: PassageSensor) -> None:
        self._sensor = sensor
        self._listeners: tuple[Callable[[Way | None], None], TellState] | None = None
        self._said: str | None = None
        self._started = False

    def start(self, passed: Callable[[Way | None], None], state: TellState) -> None:
        """Report to this gate from now on."""
        self._listeners = passed, state
        if not self._started:
            self._sensor.start(self._passed, self._tell)
            self._started = True  # only now: one that did not start is no sensor for the next gate either
        elif self._said is not None:
            state(self._said)

    def close(self) -> None:
        """Part from the gate."""
        self._listeners = None

    def _passed(self, way: Way | None) -> None:
        if (listeners := self._listeners) is not None:
            listeners[0](way)

    def _tell(self, state: str | None) -> None:
        self._said = state
        if (listeners := self._listeners) is not None:
            listeners[1](state)


class KeptContact(Contact):
    """The contact of the housing, for several gates; each hears its present state first."""

    def __init__(self, contact: Contact) -> None:
        self._contact = contact
        self._changed: Callable[[bool], None] | None = None
        self._active = self._started = False

    def start(self, changed: Callable[[bool], None]) -> None:
        """Report to this gate from now on."""
        self._changed = changed
        if self._started:
            changed(self._active)
        else:
            self._contact.start(self._tell)
            self._started = True

    def close(self) -> None:
        """Part from the gate."""
        self._changed = None

    def _tell(self, active: bool) -> None:
        self._active = active
        if (changed := self._changed) is not None:
            changed(active)


class KeptBoard(Part):
    """A board whose parts can be started by one gate after the other. It goes when `Kept` lets it go."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.name, self.hazards, self.alarm = board.name, board.hazards, board.alarm
        self.tamper = KeptContact(board.tamper) if board.tamper else None
        self.readers: list[KeptReader] = []
        self.lanes = tuple(map(self._kept, board.lanes))

    def _kept(self, lane: LaneParts) -> LaneParts:
        readers = tuple((KeptReader(reader), way) for reader, way in lane.readers)
        self.readers += [reader for reader, _ in readers]
        return replace(lane, readers=readers, sensor=KeptSensor(lane.sensor) if lane.sensor else None)

    def close(self) -> None:
        """Lock every lane, and let go of the pins."""
        self._board.close()


class _Opened(NamedTuple):
    """What a board is known by: its name, its settings, and what its file said."""

    name: str
    settings: str
    content: bytes

    def again(self, table: Table) -> Board:
        """Open it once more. Its file comes from memory: the disk may hang, and the file may be gone."""
        if "file" not in table:
            return open_board(self.name, table)
        with os.fdopen(os.memfd_create("board"), "wb", buffering=0) as file:
            file.write(self.content)
            return open_board(self.name, {**table, "file": f"/proc/self/fd/{file.fileno()}"})


class _Place(NamedTuple):
    """A board, what it was opened with, and what keeps its lanes between gates."""

    opened: _Opened
    table: Table
    board: KeptBoard
    standby: Standby


class Kept:
    """Holds what stays open. The loop's thread, or that of the process between two loops, calls."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self._place: _Place | None = None
        self._readers: dict[str, KeptReader] = {}

    def board_for(
        self, name: str, table: Table, readers: Iterable[tuple[str, Table]]
    ) -> tuple[Board, Standby]:
        """The board as it is, or another one in its place; readers other than these are closed.

        No board is ended while the alarm is active: what it has freed stays free, and this waits, as long as
        the alarm lasts. Raises what `open_board` does; then the board is as it was before.
        """
        wanted = {_reader_key(kind, options) for kind, options in readers}
        for unused in self._readers.keys() - wanted:
            self._readers.pop(unused).end()
        opened = _Opened(name, repr(table), _content(table))
        place = self._place
        if place is None or place.opened != opened:
            place = self._another_board(opened, table)
        return place.board, place.standby

    def _another_board(self, opened: _Opened, table: Table) -> _Place:
        former, missed = self._place, False
        if former is not None:
            former.standby.await_end()
            self._end_board()
            missed = former.standby.missed
        try:
            self._place = self._place_of(open_board(opened.name, table), opened, table, missed)
        except Exception:  # whatever it is, somebody must listen to the alarm contact before it is told
            if former is not None:
                with suppress(Exception):  # what is wrong with the new one says more
                    board = former.opened.again(former.table)
                    self._place = self._place_of(board, former.opened, former.table, missed)
            raise
        return self._place

    def _place_of(self, board: Board, opened: _Opened, table: Table, missed: bool) -> _Place:
        kept = KeptBoard(board)
        try:
            return _Place(opened, table, kept, Standby(kept, self._watchdog, missed))
        except Exception:  # whatever it is: an open board without a stand-by would hear no alarm
            kept.close()
            raise

    def same_board(self, name: str, table: Table) -> bool:
        """Whether these settings go on with the board that is open."""
        return self._place is not None and self._place.opened == _Opened(name, repr(table), _content(table))

    def reader(self, kind: str, options: Table) -> KeptReader:
        """The reader that these settings name, open already or opened now. Raises what `open_reader` does."""
        key = _reader_key(kind, options)
        if key not in self._readers:
            self._readers[key] = KeptReader(open_reader(kind, options))
        return self._readers[key]

    @property
    def listens(self) -> bool:
        """Whether a board is open, whose alarm is heard without a gate."""
        return self._place is not None

    @property
    def alarmed(self) -> bool:
        """Whether the alarm is active."""
        return self._place is not None and self._place.standby.alarmed

    def hold(self) -> None:
        """Let everything that is read wait."""
        for reader in self._all_readers():
            reader.hold()

    def go_on(self) -> None:
        """Hand it to the gate."""
        for reader in self._all_readers():
            reader.go_on()

    def heard(self) -> None:
        """The loop has come to an alarm."""
        if self._place is not None:
            self._place.standby.heard()

    def between(self) -> None:
        """A gate has ended its loop: from here on the alarm frees the lanes by itself, until the next one."""
        if self._place is not None:
            self._place.standby.take_back()

    def close(self) -> None:
        """Close all. What the alarm freed stays as it is: `gatepost release` comes next. Twice is fine."""
        for reader in self._readers.values():
            reader.end()
        self._readers.clear()
        if not self.alarmed:
            self._end_board()

    def __enter__(self) -> "Kept":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _all_readers(self) -> list[KeptReader]:
        return [*self._readers.values(), *(self._place.board.readers if self._place else ())]

    def _end_board(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.board.close()


def _reader_key(kind: str, options: Table) -> str:
    return f"{kind} {sorted(options.items())!r}"


def _content(table: Table) -> bytes:
    """What the board file says; one that cannot be read is nobody's, and opening says why."""
    file = table.get("file")
    with suppress(OSError):
        return Path(file).read_bytes() if isinstance(file, str) else b""
    return b"?"
