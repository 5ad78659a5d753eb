"""Time as an argument: a board asks one of these for the time, and to be called later."""

from __future__ import annotations

import heapq
import sys
import threading
from collections.abc import Callable
from itertools import count
from typing import Protocol, TypeAlias

from hal.ports import Part
from hal.watch import monotonic_ms

Call: TypeAlias = Callable[[], object]
Cancel: TypeAlias = Callable[[], None]
WAITING_MAX = 1000  # calls; a lane has a person or two under way, so more is a mistake that feeds itself
JOIN_S_MAX = 5.0  # the thread ends within milliseconds unless what it calls hangs


class Scheduler(Part, Protocol):
    """A clock that can call back. Closing it drops what still waits."""

    def now_ms(self) -> int:
        """The time, which never goes back."""

    def after(self, delay_ms: int, call: Call) -> Cancel:
        """Call this once the delay has passed, never before this method returns.

        What is returned cancels the call, and does nothing when it is too late. Raises RuntimeError when
        `WAITING_MAX` calls wait already.
        """


class Agenda:
    """What is to be called, by time and then in the order in which it was asked for."""

    def __init__(self) -> None:
        self._numbers = count()
        self._times: list[tuple[int, int]] = []
        self._calls: dict[int, Call] = {}

    def add(self, at_ms: int, call: Call) -> int:
        """Return the number by which the call can be dropped."""
        if len(self._calls) >= WAITING_MAX:
            raise RuntimeError(f"{WAITING_MAX} calls wait already: something schedules without end")
        number = next(self._numbers)
        self._calls[number] = call
        heapq.heappush(self._times, (at_ms, number))
        return number

    def drop(self, number: int) -> None:
        """Forget a call; does nothing if it was made already."""
        self._calls.pop(number, None)

    def clear(self) -> None:
        """Forget all calls."""
        self._times.clear()
        self._calls.clear()

    def next_at_ms(self) -> int | None:
        """When the next call is due; None if nothing waits."""
        while self._times and self._times[0][1] not in self._calls:
            heapq.heappop(self._times)
        return self._times[0][0] if self._times else None

    def take(self, now_ms: int) -> tuple[int, Call] | None:
        """Take out the next call that is due, with its time."""
        at_ms = self.next_at_ms()
        if at_ms is None or at_ms > now_ms:
            return None
        return at_ms, self._calls.pop(heapq.heappop(self._times)[1])


class VirtualTime(Scheduler):
    """Stands still until a test moves it; calls come from `advance`. For one thread."""

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = now_ms
        self._agenda = Agenda()

    def now_ms(self) -> int:
        """The time that was reached."""
        return self._now_ms

    def after(self, delay_ms: int, call: Call) -> Cancel:
        """Call this within the `advance` that reaches its time."""
        number = self._agenda.add(self._now_ms + delay_ms, call)
        return lambda: self._agenda.drop(number)

    def advance(self, ms: int = 0) -> None:
        """Move the time on, and make each call at its own time, also those which the calls ask for."""
        until_ms = self._now_ms + ms
        while due := self._agenda.take(until_ms):
            self._now_ms, call = due
            call()
        self._now_ms = until_ms

    def close(self) -> None:
        """Drop what waits; the clock itself can go on, under the next board."""
        self._agenda.clear()


class RealTime(Scheduler):
    """The machine's monotonic clock; calls come from one thread of its own, `name` in a list of threads."""

    def __init__(self, name: str = "timers") -> None:
        self._agenda = Agenda()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def now_ms(self) -> int:
        """The machine's monotonic time."""
        return monotonic_ms()

    def after(self, delay_ms: int, call: Call) -> Cancel:
        """Call this on the thread; after `close` it is forgotten."""
        with self._changed:
            if self._closed:
                return lambda: None
            at_ms, first_ms = monotonic_ms() + delay_ms, self._agenda.next_at_ms()
            number = self._agenda.add(at_ms, call)
            if first_ms is None or at_ms < first_ms:  # else the thread wakes up before that anyway
                self._changed.notify()

        def cancel() -> None:
            with self._changed:
                self._agenda.drop(number)

        return cancel

    def close(self) -> None:
        """Drop what waits and end the thread."""
        with self._changed:
            self._closed = True
            self._agenda.clear()
            self._changed.notify()
        if self._thread is not threading.current_thread():
            self._thread.join(JOIN_S_MAX)

    def _run(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except Exception:  # the guard of a relay waits on this thread too: it goes on
                sys.excepthook(*sys.exc_info())

    def _next(self) -> Call | None:
        with self._changed:
            while not self._closed:
                if due := self._agenda.take(monotonic_ms()):
                    return due[1]
                at_ms = self._agenda.next_at_ms()
                self._changed.wait(None if at_ms is None else (at_ms - monotonic_ms()) / 1000)
            return None
