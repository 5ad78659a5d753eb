"""The parts of a lane on plain lines and contacts. No driver library here: `hal.gpio` brings the pins.

Whatever is switched on for a time has its end arranged before it is switched on, on the board's timer thread.
So a loop that stalls leaves no relay drawn, no green and no buzzer behind: that thread is the guard.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Literal, Protocol

from hal import wiring
from hal.ports import Buzzer, Colour, Contact, Lamp, PassageSensor, Pattern, TellState, Turnstile, Way
from hal.schedule import Cancel, Scheduler

HOLD_MARGIN_MS = 1000  # after unlock_ms, when the loop locks: a loop that is later than this has stalled
GUARD_RETRY_MS = 1000  # a line that could not be switched off is tried again until it can
BLINK_MS = 250  # on, and as long off: 2 Hz, which everybody sees and which no seizure comes from (below 3 Hz)
LOOK_AGAIN_MS = 1000  # contacts are read this often besides, in case that the kernel dropped an edge

# Milliseconds on, off, on and so on. One can tell them apart in a crowd.
SOUNDS: Mapping[Pattern, tuple[int, ...]] = {
    Pattern.NONE: (),
    Pattern.SHORT: (100,),
    Pattern.DOUBLE: (100, 100, 100),
    Pattern.LONG: (600,),
}


class LineFault(OSError):
    """A line cannot be switched or read; the text names it with its pin, and the mend."""


class Switch(Protocol):
    """A line that is driven. `set` raises LineFault."""

    def set(self, active: bool) -> None:
        """Switch on or off. Does nothing to a line that is so already."""


class Eye(Protocol):
    """A contact that is seen."""

    @property
    def seen(self) -> wiring.Input:
        """Which one."""

    def read(self) -> bool:
        """Whether it is active now. Raises LineFault."""

    def watch(self, edge: Callable[[bool], None] | None) -> None:
        """Tell every edge from now on, chatter included, on a thread of its own; or none any more."""


def switch_all(switches: Iterable[Switch], active: bool) -> None:
    """Switch every one of them, also when some fail. Raises the first LineFault."""
    fault: LineFault | None = None
    for switch in switches:
        try:
            switch.set(active)
        except LineFault as error:
            fault = fault or error
    if fault is not None:
        raise fault


# --- the turnstile -----------------------------------------------------------------------------------------


class GpioTurnstile(Turnstile):
    """Opening lines and, where there is one, the line that frees. `unlock_ms`: how long the loop may hold."""

    def __init__(
        self, lane: wiring.Lane, switches: Mapping[wiring.Line, Switch], time: Scheduler, unlock_ms: int
    ) -> None:
        self._lane, self._time, self._unlock_ms = lane, time, unlock_ms
        self._switches = {line: switches[line] for line in lane.locking_lines}
        self._openings = [self._switches[opening.line] for opening in lane.openings]
        self._lock = threading.Lock()
        self._way: Way | Literal["both"] | None = None  # what was asked for last, until `lock`
        self._running = False  # a line is active that the guard will end
        self._all_are_off = False  # every line was switched off, and none on since
        self._activation = 0  # the end of an old one, under way already, must not end a newer one
        self._forget: Cancel | None = None
        self._closed = False

    def unlock(self, way: Way | Literal["both"]) -> None:
        """Open one way until its pulse is over, or `lock` for a hold; or free the lane until `lock`."""
        with self._lock:
            if self._closed:
                raise RuntimeError(f"lane {self._lane.name}: its turnstile is closed")
            if way == "both":
                self._free()
            elif self._way != way or not self._running:
                self._open(way)

    def lock(self) -> None:
        """Switch every line off. One that fails is tried again by the guard, and by who calls again."""
        with self._lock:
            self._all_off()

    def close(self) -> None:
        """Lock, for good."""
        with self._lock:
            if not self._closed:
                self._closed = True
                with suppress(
                    LineFault
                ):  # the next part has to be closed too, and `release` does this once more
                    self._all_off()

    def _open(self, way: Way) -> None:
        opening = self._lane.opening(way)
        if opening is None:
            raise RuntimeError(f"lane {self._lane.name}: no line opens {way}: check the board file")
        if not self._all_are_off:
            self._all_off()
        hold_ms = self._unlock_ms + HOLD_MARGIN_MS
        self._activate(opening.line, opening.pulse_ms if opening.drive == "pulse" else hold_ms)
        self._way = way

    def _free(self) -> None:
        free = self._lane.free
        self._all_are_off = False
        if free is None:
            switch_all(self._openings, True)
            self._stop_guard()
        elif free.pulse_ms is None:
            self._switches[free.line].set(True)
            self._stop_guard()
            switch_all(self._openings, False)
        elif self._way != "both" or not self._running:  # an arm that was lifted by hand falls once more
            self._activate(free.line, free.pulse_ms)
            switch_all(self._openings, False)
        self._way = "both"

    def _activate(self, line: wiring.Line, longest_ms: int) -> None:
        """Switch it on. The guard is there before, and counts anew from then on: no pulse is too short."""
        self._all_are_off = False
        self._guard(longest_ms)
        self._switches[line].set(True)
        self._guard(longest_ms)

    def _guard(self, longest_ms: int) -> None:
        self._stop_guard()
        self._running = True
        self._forget = self._time.after(longest_ms, partial(self._end, self._activation))

    def _end(self, activation: int) -> None:
        """The guard, on the timer thread: the loop has not ended it."""
        with self._lock:
            if activation == self._activation:
                self._running = False
                try:
                    switch_all(self._switches.values(), False)
                    self._all_are_off = True
                except LineFault:
                    self._forget = self._time.after(GUARD_RETRY_MS, partial(self._end, activation))

    def _all_off(self) -> None:
        self._stop_guard()
        self._way, self._all_are_off = None, False
        try:
            switch_all(self._switches.values(), False)
            self._all_are_off = True
        except LineFault:
            self._forget = self._time.after(GUARD_RETRY_MS, partial(self._end, self._activation))
            raise

    def _stop_guard(self) -> None:
        self._activation += 1
        self._running = False
        if self._forget is not None:
            self._forget()
            self._forget = None


# --- lamp and buzzer ---------------------------------------------------------------------------------------


class GpioLamp(Lamp):
    """One line a colour. A colour without a line shows as `hal.wiring.INSTEAD` says."""

    def __init__(self, lane: str, switches: Mapping[wiring.Colour, Switch], time: Scheduler) -> None:
        self._lane, self._switches, self._time = lane, switches, time
        self._lock = threading.Lock()
        self._look = self._permanent = (Colour.OFF, False)
        self._looks = 0  # so far: what an old one still has coming must not touch a newer one
        self._timed = 0
        self._forget: Cancel | None = None
        self._lit = False
        self._failed = False
        self._closed = False

    def show(self, colour: Colour, blink: bool, for_ms: int | None = None) -> None:
        """Show this."""
        with self._lock:
            if self._closed:
                raise RuntimeError(f"lane {self._lane}: its lamp is closed")
            self._timed += 1
            if self._forget is not None:
                self._forget()
                self._forget = None
            if for_ms is None:
                self._permanent = (colour, blink)
            else:
                self._forget = self._time.after(for_ms, partial(self._go_back, self._timed))
            self._change((colour, blink))

    def close(self) -> None:
        """Go dark, for good."""
        with self._lock:
            self._closed = True
            self._looks += 1
            with suppress(LineFault):  # the next part has to be closed too
                switch_all(self._switches.values(), False)

    def _go_back(self, timed: int) -> None:
        with self._lock:
            if timed == self._timed and not self._closed:
                with suppress(LineFault):  # the next look is written anew, and whoever asks for it is told
                    self._change(self._permanent)

    def _change(self, look: tuple[Colour, bool]) -> None:
        if look == self._look and not self._failed:
            return  # so that a lamp that blinks goes on in its rhythm
        self._look, self._failed = look, True
        self._looks += 1
        colour, blink = look
        lamp = self._switch_for(colour)
        switch_all((other for other in self._switches.values() if other is not lamp), False)
        self._lit = True
        if lamp is not None:
            if blink:
                self._time.after(BLINK_MS, partial(self._blink, self._looks, lamp))
            lamp.set(True)
        self._failed = False

    def _blink(self, look: int, lamp: Switch) -> None:
        with self._lock:
            if look == self._looks:
                self._time.after(BLINK_MS, partial(self._blink, look, lamp))
                self._lit = not self._lit
                try:
                    lamp.set(self._lit)
                except LineFault:
                    self._failed = True

    def _switch_for(self, colour: Colour) -> Switch | None:
        wanted = next((wired for wired in wiring.COLOURS if wired == colour), None)
        if wanted is None:
            return None
        return next(
            (self._switches[c] for c in (wanted, *wiring.INSTEAD[wanted]) if c in self._switches), None
        )


class GpioBuzzer(Buzzer):
    """One line. `switch` is None where a lane has no buzzer."""

    def __init__(self, lane: str, switch: Switch | None, time: Scheduler) -> None:
        self._lane, self._switch, self._time = lane, switch, time
        self._lock = threading.Lock()
        self._sounds = 0  # so far: the rest of an old one must not go on in a newer one
        self._closed = False

    def sound(self, pattern: Pattern) -> None:
        """Play this."""
        with self._lock:
            if self._closed:
                raise RuntimeError(f"lane {self._lane}: its buzzer is closed")
            self._play(SOUNDS[pattern])

    def close(self) -> None:
        """Fall silent, for good."""
        with self._lock:
            self._closed = True
            with suppress(LineFault):  # the next part has to be closed too
                self._play(())

    def _play(self, steps_ms: tuple[int, ...]) -> None:
        self._sounds += 1
        if self._switch is not None:
            self._step(self._switch, self._sounds, steps_ms, True)

    def _step(self, switch: Switch, sound: int, steps_ms: tuple[int, ...], active: bool) -> None:
        if steps_ms:
            step = partial(self._next, switch, sound, steps_ms[1:], not active)
            self._time.after(steps_ms[0], step)
        switch.set(active and bool(steps_ms))

    def _next(self, switch: Switch, sound: int, steps_ms: tuple[int, ...], active: bool) -> None:
        with self._lock:
            if sound == self._sounds:
                try:
                    self._step(switch, sound, steps_ms, active)
                except LineFault:
                    self._time.after(GUARD_RETRY_MS, partial(self._next, switch, sound, (), False))


# --- contacts ----------------------------------------------------------------------------------------------


class Steady:
    """A contact without its chatter. What it tells comes from the pins' thread or from the timers'.

    A change counts once the contact has been still for its `debounce_ms`. With `at_once` its first active
    edge counts as it comes, and only its end is waited for: a fire alarm has to open before anybody can know
    whether it was a spark, and to lock again 20 ms after a spark costs nothing. Besides it is read every
    second, in case that an edge was lost.
    """

    def __init__(
        self, eye: Eye, time: Scheduler, tell: Callable[[bool], None], at_once: bool = False
    ) -> None:
        self._eye, self._time, self._tell, self._at_once = eye, time, tell, at_once
        self._lock = threading.RLock()  # who is told may close the part
        self._active = False
        self._edge_ms = 0
        self._changed_ms = 0
        self._settling_since_ms: int | None = None
        self._started = False
        self._closed = False

    def start(self, tell_first: bool) -> None:
        """Begin to watch, once; tell the present state first, if that is wanted."""
        with self._lock:
            if self._started:
                raise RuntimeError(f"{self._eye.seen}: this contact was started already")
            self._started = True
            if self._closed:
                return
            self._active, self._changed_ms = self._read(), self._time.now_ms()
            if tell_first:
                self._tell(self._active)
            self._eye.watch(self._edge)
            self._time.after(0, self._look_again)  # an edge between the first look and the watching

    def close(self) -> None:
        """Tell nothing more."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._eye.watch(None)

    def unwell_ms(self) -> int:
        """How long the contact has been active, or has chattered without a rest; 0 while it is at rest."""
        with self._lock:
            if self._active:
                return self._time.now_ms() - self._changed_ms
            return self._time.now_ms() - self._settling_since_ms if self._settling_since_ms is not None else 0

    def _edge(self, active: bool) -> None:
        with self._lock:
            if self._closed:
                return
            self._edge_ms = self._time.now_ms()
            if self._settling_since_ms is None:
                self._settling_since_ms = self._edge_ms
                self._time.after(self._eye.seen.debounce_ms, self._settle)
            if self._at_once and active:
                self._change(True)

    def _settle(self) -> None:
        with self._lock:
            if self._closed:
                return
            rest_ms = self._edge_ms + self._eye.seen.debounce_ms - self._time.now_ms()
            if rest_ms > 0:
                self._time.after(rest_ms, self._settle)
                return
            self._settling_since_ms = None
            self._change(self._read())

    def _look_again(self) -> None:
        with self._lock:
            if not self._closed:
                self._time.after(LOOK_AGAIN_MS, self._look_again)
                active = self._read()
                if active != self._active and self._settling_since_ms is None:
                    self._edge(active)

    def _change(self, active: bool) -> None:
        if active != self._active:
            self._active, self._changed_ms = active, self._time.now_ms()
            self._tell(active)

    def _read(self) -> bool:
        """The contact's state. A fire alarm that cannot be read is one; others stay as they were."""
        try:
            return self._eye.read()
        except LineFault:
            return self._at_once or self._active


class GpioContact(Contact):
    """The contact of the fire alarm (`at_once`) or of the housing."""

    def __init__(self, eye: Eye, time: Scheduler, at_once: bool) -> None:
        self._steady = Steady(eye, time, self._told, at_once)
        self._changed: Callable[[bool], None] | None = None

    def start(self, changed: Callable[[bool], None]) -> None:
        """Begin to report, with the present state first."""
        if self._changed is not None:
            raise RuntimeError("this contact was started already")
        self._changed = changed
        self._steady.start(tell_first=True)

    def close(self) -> None:
        """Report no more."""
        self._steady.close()

    def _told(self, active: bool) -> None:
        assert self._changed is not None
        self._changed(active)


class GpioPassageSensor(PassageSensor):
    """Contacts that see people, each with its way. One that is active for `stuck_ms` has a fault."""

    def __init__(self, eyes: Sequence[tuple[Eye, Way | None]], stuck_ms: int, time: Scheduler) -> None:
        self._stuck_ms, self._time = stuck_ms, time
        self._contacts = [(eye, Steady(eye, time, partial(self._seen, way))) for eye, way in eyes]
        self._lock = threading.RLock()  # who is told may close the part
        self._passed: Callable[[Way | None], None] | None = None
        self._state: TellState | None = None
        self._fault: str | None = None
        self._closed = False

    def start(self, passed: Callable[[Way | None], None], state: TellState) -> None:
        """Begin to report."""
        if self._passed is not None:
            raise RuntimeError("this sensor was started already")
        self._passed, self._state = passed, state
        for _, steady in self._contacts:
            steady.start(tell_first=False)
        self._time.after(LOOK_AGAIN_MS, self._look)

    def close(self) -> None:
        """Report no more."""
        with self._lock:
            self._closed = True
        for _, steady in self._contacts:
            steady.close()

    def _seen(self, way: Way | None, active: bool) -> None:
        if active and self._passed is not None:
            self._passed(way)

    def _look(self) -> None:
        """Whether a contact has been active for longer than anybody takes."""
        stuck = [str(eye.seen) for eye, steady in self._contacts if steady.unwell_ms() >= self._stuck_ms]
        fault = None
        if stuck:
            fault = (
                f"{' and '.join(stuck)}: active for more than {self._stuck_ms // 1000} s: "
                "clean and align it, check its wires, and contact and pull in the board file"
            )
        with self._lock:
            if self._closed:
                return
            self._time.after(LOOK_AGAIN_MS, self._look)
            if fault != self._fault and self._state is not None:
                self._fault = fault
                self._state(fault)
