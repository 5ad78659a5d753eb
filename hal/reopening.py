"""The thread of a reader whose device comes and goes: it is opened again for ever, and every fault is said.

`hal.serial_reader` and `hal.evdev_reader` each hand over what one opening is: open, read, close.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from hal.ports import TellState
from hal.watch import News, Watch

RETRY_MS = 1000  # a person who plugs a cable back in sees the lane ready at once; costs no measurable load
JOIN_S_MAX = 5.0  # the thread ends within milliseconds unless `deliver` hangs, which must not hang the stop


class Fault(Exception):
    """The device cannot be used now; the text says why and what to do."""


class Reopening:
    """Runs `session` on a thread of its own until told to stop.

    `session` opens the device and reads it; it returns when `watch` says stop and raises Fault when the
    device is not there or has gone. Then it is called again after `retry_ms`.
    """

    def __init__(self, name: str, session: Callable[[], None], retry_ms: int) -> None:
        self.name = name
        self.watch = Watch()
        self._session = session
        self._retry_ms = retry_ms
        self._thread: threading.Thread | None = None
        self._state: str | None = "not started"

    def start(self, tell: TellState) -> None:
        """Begin, once."""
        if self._thread is not None:
            raise RuntimeError(f"{self.name}: this reader was started already")
        self._tell = tell
        self._thread = threading.Thread(target=self._run, name=f"reader {self.name}", daemon=True)
        self._thread.start()

    def close(self) -> bool:
        """End the thread. False while it still runs: what it calls back hangs, or is what closes it."""
        self.watch.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(JOIN_S_MAX)
        if self._thread is not None and self._thread.is_alive():
            return False
        self.watch.close()
        return True

    def say(self, state: str | None) -> None:
        """Tell the state where it is another one: None, or a fault in words."""
        if state != self._state:
            self._state = state
            self._tell(state)

    def _run(self) -> None:
        try:
            news = News.SILENCE
            while news is not News.STOP:
                try:
                    self._session()
                except Fault as fault:
                    self.say(f"{self.name} {fault}; retried every {self._retry_ms / 1000:g} s")
                news = self.watch.wait(None, self._retry_ms)
        except Exception as error:
            # Only a mistake in what was called back comes here. The lane must not fall silent over it.
            self.say(f"{self.name}: its reader has ended ({error!r}): restart the gate, report the log")
            raise
