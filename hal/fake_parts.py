"""The simple parts of the fake board; the turnstile, which has physics, is in `hal.fake`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from hal.ports import (
    AlarmContact,
    Buzzer,
    Code,
    Colour,
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

    def start(self, passed: Callable[[Way | None], None]) -> None:
        """Begin to report."""
        self._passages.open(passed)

    def see(self, way: Way) -> None:
        """Somebody walks past."""
        self._passages.tell(way if self._tells_way else None)

    def close(self) -> None:
        """Report no more."""
        self._passages.close()


class FakeLamp(Lamp):
    """Remembers what it shows."""

    def __init__(self, lane: str, tape: Tape) -> None:
        self.shows = (Colour.OFF, False)
        self._lane, self._tape = lane, tape
        self._closed = False

    def show(self, colour: Colour, blink: bool) -> None:
        """Show this; on the tape as the colour, with " blink" behind it."""
        if self._closed:
            raise RuntimeError(f"lane {self._lane}: its lamp is closed")
        if self.shows != (colour, blink):
            self.shows = (colour, blink)
            self._tape.add(self._lane, "lamp", f"{colour} blink" if blink else str(colour))

    def close(self) -> None:
        """Show nothing more."""
        self._closed = True


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


class FakeAlarmContact(AlarmContact):
    """A contact that a test presses. News come on the thread that calls."""

    def __init__(self, tape: Tape) -> None:
        self.active = False
        self._tape = tape
        self._changes: Outlet[bool] = Outlet()

    def start(self, changed: Callable[[bool], None]) -> None:
        """Begin to report, with the present state first."""
        self._changes.open(changed)
        self._changes.tell(self.active)

    def press(self) -> None:
        """Raise the alarm."""
        self._change(True)

    def release(self) -> None:
        """End the alarm."""
        self._change(False)

    def close(self) -> None:
        """Report no more."""
        self._changes.close()

    def _change(self, active: bool) -> None:
        if active != self.active:
            self.active = active
            self._tape.add("", "alarm", "active" if active else "normal")
            self._changes.tell(active)
