"""The gate of the demo at work, on a thread of its own, and the news of it for those who show them.

The main thread shows: it waits for the bell, takes the scans that were finished, writes or draws them, and
says so. Whoever feeds codes one after the other waits here for that, and for the lane to be at rest.
"""

import os
import select
import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Self

from firmware.core.lane import GRACE_MS
from firmware.core.movements import inside
from firmware.core.states import Asking
from firmware.core.ticket import Perimeter, Verdict
from firmware.gate import Gate
from firmware.shots import Shot
from firmware.signals import reason
from firmware.unit import Unit
from hal.ports import Code, Read, Way

SHOTS_MAX = 10_000  # finished and not shown: a terminal that was stopped, or a pipe that nobody reads
MARGIN_MS = 10_000  # beyond all that a lane may wait for: a machine that is busy with something else
LOOK_MS = 1000  # a fault is told at most so late
LAST_MS = 3000  # what is under way when the demo is told to end may take so long
JOIN_S_MAX = 10.0  # the loop ends with its turn, unless it hangs on a page of a hung disk
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Bell:
    """Wakes the main thread, rung by any thread or signal handler; a ring before the wait counts too."""

    def __init__(self) -> None:
        self._heard, self._rope = os.pipe()
        os.set_blocking(self._heard, False)
        os.set_blocking(self._rope, False)
        self._closed = False

    def ring(self) -> None:
        """Wake who waits."""
        if not self._closed:
            with suppress(BlockingIOError):  # rung so often that it will be heard anyway
                os.write(self._rope, b"\0")

    def wait(self, descriptor: int | None, timeout_ms: int) -> bool:
        """Wait for the bell, for the time, or for something on the descriptor: then True."""
        poll = select.poll()
        poll.register(self._heard, select.POLLIN)
        if descriptor is not None:
            poll.register(descriptor, select.POLLIN)
        ready = [found for found, _ in poll.poll(timeout_ms)]
        if self._heard in ready:
            os.read(self._heard, select.PIPE_BUF)
        return descriptor in ready

    def close(self) -> None:
        """Give the descriptors back, when nobody rings any more."""
        if not self._closed:
            self._closed = True
            os.close(self._heard)
            os.close(self._rope)


class Stage:
    """What the threads of the demo share. `over` is set when the demo shall end, for whatever reason."""

    def __init__(self) -> None:
        self.bell = Bell()
        self.over = False
        self.eager = False  # ring for every change of a lane too, as a live screen wants it
        self.admitted = self.refused = self.inside = self.dropped = 0
        self._unit: Unit | None = None
        self._shots: deque[Shot] = deque()
        self._entering: dict[str, tuple[str, bool]] = {}  # lane -> ticket, and whether it was inside before
        self._rest = threading.Condition()
        self._awaited: tuple[str, str] | None = None
        self._asking: dict[str, int] = {}  # lane -> row of the last scan about which a vendor was asked
        self._asked: deque[tuple[str, int]] = deque(maxlen=SHOTS_MAX)
        self._crash: BaseException | None = None

    # --- in the loop -----------------------------------------------------------------------------

    def watch(self, shot: Shot) -> None:
        """A scan is finished."""
        if shot.relay_ns is not None:
            self.admitted += 1
            self._entering[shot.lane] = shot.scan.subject, inside(shot.scan.history, Perimeter.OUTER)
        elif shot.row and shot.verdict is not Verdict.FREE:
            self.refused += 1
        if len(self._shots) < SHOTS_MAX:
            self._shots.append(shot)
        else:
            self.dropped += 1
        self.bell.ring()

    def changed(self, lane: str) -> None:
        """Something happened to a lane."""
        assert self._unit is not None, "the loop runs only while the unit is here"
        state = self._unit.gate.lane(lane).state
        if isinstance(state, Asking) and self._asking.get(lane) != state.scan.row:
            self._asking[lane] = state.scan.row
            self._asked.append((lane, state.scan.row))
            self.bell.ring()
        if self._unit.gate.at_rest(lane):
            if entered := self._entering.pop(lane, None):
                ticket, before = entered
                self.inside += inside(self._unit.journal.history(ticket), Perimeter.OUTER) - before
            with self._rest:
                self._rest.notify_all()
        if self.eager:
            self.bell.ring()

    # --- for the main thread ---------------------------------------------------------------------

    def wait(self, descriptor: int | None, timeout_ms: int) -> bool:
        """Wait for news, for the time, or for something on the descriptor: then True."""
        ready = self.bell.wait(descriptor, timeout_ms)
        if self.over:  # a signal handler may not say so itself: the lock could be this thread's own
            with self._rest:
                self._rest.notify_all()
        return ready

    def take(self) -> Iterator[Shot]:
        """The scans that were finished since."""
        while self._shots:
            yield self._shots.popleft()

    def asked(self) -> Iterator[tuple[str, int]]:
        """Lanes that have begun to wait for a vendor since, each with the row of its scan."""
        while self._asked:
            yield self._asked.popleft()

    def asks(self, lane: str) -> bool:
        """Whether this lane waits for a vendor's answer."""
        return self._unit is not None and isinstance(self._unit.gate.lane(lane).state, Asking)

    def shown(self, shot: Shot) -> None:
        """This scan has been written or drawn, so the next one may come."""
        with self._rest:
            if self._awaited == (shot.lane, shot.code):
                self._awaited = None
                self._rest.notify_all()

    def reason(self, shot: Shot) -> str:
        """Why the scan got its verdict, in words."""
        assert self._unit is not None, "a scan comes from a gate that runs"
        setup = self._unit.gate.lane(shot.lane).setup
        return reason(setup, shot.scan, shot.verdict, shot.text, self._unit.settings.timezone)

    def stop(self) -> None:
        """End the demo. Any thread and any signal handler may say so."""
        self.over = True
        self.bell.ring()

    def abandon(self) -> None:
        """End the demo; nobody shows any more, and nobody needs to wait for that."""
        self.stop()
        with self._rest:
            self._awaited = None
            self._rest.notify_all()

    @contextmanager
    def running(self, unit: Unit) -> Iterator[Gate]:
        """Let the gate work on its thread. An error that ended the loop comes out at the end."""
        self._unit = unit
        thread = threading.Thread(target=self._run, args=(unit.gate,), name="gate", daemon=True)
        unit.gate.start()
        thread.start()
        try:
            yield unit.gate
        finally:
            self.abandon()
            unit.gate.stop()
            thread.join(JOIN_S_MAX)
        if self._crash is not None:
            raise self._crash

    def _run(self, gate: Gate) -> None:
        try:
            gate.run()
        except BaseException as error:  # it is raised again in the main thread, which must hear of it
            self._crash = error
        self.stop()

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Ctrl-C, SIGTERM and a terminal that goes away end the demo tidily, also twice."""
        before = {number: signal.signal(number, self._on_signal) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._unit is None:
            raise KeyboardInterrupt
        self.stop()

    # --- for who feeds codes ---------------------------------------------------------------------

    def play(self, lane: str, read: Read, way: Way | None) -> bool:
        """Hold this to the lane, and wait until it was shown and the lane serves nobody any more.

        False where no answer came in the longest time that this lane can take, or the demo ends.
        """
        assert self._unit is not None, "codes are fed to a gate that runs"
        gate, setup = self._unit.gate, self._unit.gate.lane(lane).setup
        longest_ms = 2 * setup.record_ms + setup.unlock_ms + setup.relock_ms + GRACE_MS + MARGIN_MS

        def rests() -> bool:
            return self.over or gate.at_rest(lane)

        with self._rest:
            self._rest.wait_for(rests, longest_ms / 1000)
            if self.over:
                return False
            self._awaited = lane, read.text if isinstance(read, Code) else ""
        gate.scan(lane, read, way)
        with self._rest:
            answered = self._rest.wait_for(lambda: self._awaited is None, longest_ms / 1000)
            self._awaited = None
            self._rest.wait_for(rests, longest_ms / 1000)
        return answered

    def close(self) -> None:
        """Give the bell back."""
        self.bell.close()

    def __enter__(self) -> Self:
        """The stage itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()
