"""The simple parts of the fake board; the turnstile, which has physics, is in `hal.fake`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from hal.ports import (
    Buzzer,
    Code,
    Colour,
    Contact,
    Deliver,
    Lamp,
    PassageSensor,
    Pattern,
    Read,
    Reader,
    TellState,
    Unreadable,
    UnreadableReason,
    Way,
)
from hal.schedule import Cancel, Scheduler
from hal.tape import Tape

News = TypeVar("News")


class Outlet(Generic[News]):
    """Passes news to whoever has started to listen, and never after `close` has returned."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # what listens may close the part
        self._listener: Callable[[News], None] | None = None
        self._started = False

    def open(self, listener: Callable[[News], None]) -> None:
        """Begin to pass news on, once."""
        with self._lock:
            if self._started:
                raise RuntimeError("this part was started already")
            self._started = True
            self._listener = listener

    def tell(self, news: News) -> bool:
        """Pass this on; False if nobody listens."""
        with self._lock:
            if self._listener is None:
                return False
            self._listener(news)
            return True

    def close(self) -> None:
        """Forget who listens."""
        with self._lock:
            self._listener = None


class FakeReader(Reader):
    """Reads what a test holds to it. News come on the thread that calls."""

    def __init__(self) -> None:
        self._reads: Outlet[Read] = Outlet()
        self._states: Outlet[str | None] = Outlet()
        self._fault: str | None = None

    def start(self, deliver: Deliver, state: TellState) -> None:
        """Begin to deliver, and say at once whether the reader works."""
        self._reads.open(deliver)
        self._states.open(state)
        self._states.tell(self._fault)

    def scan(self, text: str) -> bool:
        """Hold a code to the reader; False if it does not read: not started, failed or closed."""
        return self._read(Code(text))

    def scan_unreadable(self, reason: UnreadableReason) -> bool:
        """Hold something to the reader that it cannot read; False as for `scan`."""
        return self._read(Unreadable(reason))

    def fail(self, text: str) -> None:
        """Break down, with these words."""
        self._change(text)

    def recover(self) -> None:
        """Work again."""
        self._change(None)

    def close(self) -> None:
        """Read no more."""
        self._reads.close()
        self._states.close()

    def _read(self, read: Read) -> bool:
        return self._fault is None and self._reads.tell(read)

    def _change(self, fault: str | None) -> None:
        if fault != self._fault:
            self._fault = fault
            self._states.tell(fault)


class FakePassageSensor(PassageSensor):
    """Sees the arms turn; tells the way only if it is made so."""

    def __init__(self, tells_way: bool = True) -> None:
        self._tells_way = tells_way
        self._passages: Outlet[Way | None] = Outlet()
        self._states: Outlet[str | None] = Outlet()
        self._fault: str | None = None

    def start(self, passed: Callable[[Way | None], None], state: TellState) -> None:
        """Begin to report; a fault that stands already at once."""
        self._passages.open(passed)
        self._states.open(state)
        if self._fault is not None:
            self._states.tell(self._fault)

    def stick(self, text: str) -> None:
        """Stay active, with these words; a sensor that sticks sees nobody."""
        self._change(text)

    def come_loose(self) -> None:
        """Work again."""
        self._change(None)

    def see(self, way: Way) -> None:
        """Somebody walks past."""
        if self._fault is None:
            self._passages.tell(way if self._tells_way else None)

    def close(self) -> None:
        """Report no more."""
        self._passages.close()
        self._states.close()

    def _change(self, fault: str | None) -> None:
        if fault != self._fault:
            self._fault = fault
            self._states.tell(fault)


class FakeLamp(Lamp):
    """Remembers what it shows. It goes back to its permanent look on the scheduler's thread."""

    def __init__(self, lane: str, tape: Tape, time: Scheduler) -> None:
        self.shows = (Colour.OFF, False)
        self._permanent = self.shows
        self._lane, self._tape, self._time = lane, tape, time
        self._lock = threading.Lock()
        self._looks = 0  # so far: the end of an old one, under way already, must not end a newer one
        self._forget: Cancel | None = None
        self._closed = False

    def show(self, colour: Colour, blink: bool, for_ms: int | None = None) -> None:
        """Show this; on the tape as the colour, with " blink" behind it."""
        with self._lock:
            if self._closed:
                raise RuntimeError(f"lane {self._lane}: its lamp is closed")
            self._looks += 1
            if self._forget is not None:
                self._forget()
                self._forget = None
            if for_ms is None:
                self._permanent = (colour, blink)
            else:
                self._forget = self._time.after(for_ms, partial(self._go_back, self._looks))
            self._change((colour, blink))

    def close(self) -> None:
        """Show nothing more."""
        with self._lock:
            self._closed = True

    def _go_back(self, look: int) -> None:
        with self._lock:
            if look == self._looks and not self._closed:
                self._change(self._permanent)

    def _change(self, look: tuple[Colour, bool]) -> None:
        if self.shows != look:
            self.shows = look
            colour, blink = look
            self._tape.add(self._lane, "lamp", f"{colour} blink" if blink else str(colour))


class FakeBuzzer(Buzzer):
    """Each sound is an edge, also the same one again: people hear it twice."""

    def __init__(self, lane: str, tape: Tape) -> None:
        self.sounds = Pattern.NONE
        self._lane, self._tape = lane, tape
        self._closed = False

    def sound(self, pattern: Pattern) -> None:
        """Play this; silence after silence is no edge."""
        if self._closed:
            raise RuntimeError(f"lane {self._lane}: its buzzer is closed")
        if pattern is not Pattern.NONE or self.sounds is not Pattern.NONE:
            self._tape.add(self._lane, "buzzer", pattern)
        self.sounds = pattern

    def close(self) -> None:
        """Sound no more."""
        self._closed = True


class FakeContact(Contact):
    """A contact that a test presses: `part` is alarm or tamper. News come on the thread that calls."""

    def __init__(self, part: str, tape: Tape) -> None:
        self.active = False
        self._part, self._tape = part, tape
        self._changes: Outlet[bool] = Outlet()

    def start(self, changed: Callable[[bool], None]) -> None:
        """Begin to report, with the present state first."""
        self._changes.open(changed)
        self._changes.tell(self.active)

    def press(self) -> None:
        """Become active."""
        self._change(True)

    def release(self) -> None:
        """Become normal again."""
        self._change(False)

    def close(self) -> None:
        """Report no more."""
        self._changes.close()

    def _change(self, active: bool) -> None:
        if active != self.active:
            self.active = active
            self._tape.add("", self._part, "active" if active else "normal")
            self._changes.tell(active)
