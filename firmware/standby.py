"""What keeps the lanes while there is no gate, before the first, between two, or where none comes about.

They are locked, or free in an alarm.

The stores lie on a disk that may hang, and opening them may take as long as it likes; the alarm must not
wait for that. So the contact is listened to as soon as there is a board, and handed over to the gate when it
starts.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from firmware.core.effects import Signal
from firmware.signals import light_and_sound
from firmware.watchdog import Watchdog
from hal.ports import Board, Contact


class Standby(Contact):
    """The board's alarm contact, which frees the lanes in its own thread until a gate listens to it.

    For the gate it is a contact like any other. The watchdog hears of each change first.
    """

    def __init__(self, board: Board, watchdog: Watchdog, missed: bool = False) -> None:
        """Light the lanes, and free them where the alarm is active already.

        `missed`: on the board before, an alarm came and went that no gate has heard of.
        """
        self._board, self._watchdog = board, watchdog
        self._lock = threading.Lock()
        self._listener: Callable[[bool], None] | None = None
        self._missed = missed  # an alarm that no gate has heard of
        self._unheard = False  # a gate was told of one, and its loop has not come to it
        self._over = threading.Event()
        self._over.set()
        self._show(Signal.OUT_OF_ORDER)
        if board.alarm is not None:
            board.alarm.start(self._on_change)

    @property
    def alarmed(self) -> bool:
        """Whether the alarm is active."""
        return not self._over.is_set()

    @property
    def missed(self) -> bool:
        """Whether the next gate has an alarm to hear of that is over."""
        return self._missed

    def await_end(self) -> None:
        """Wait until no alarm is active."""
        self._over.wait()

    def start(self, changed: Callable[[bool], None]) -> None:
        """The gate takes over: from now on it frees the lanes, on the same thread."""
        with self._lock:
            self._listener, self._unheard = changed, self._missed or self.alarmed
            if self._missed and not self.alarmed:
                changed(True)  # it came and went, and has to be recorded, and where it is so acknowledged
            self._missed = False
            changed(self.alarmed)

    def heard(self) -> None:
        """The gate's loop has come to the alarm that it was told of. Takes no lock: no loop waits for it."""
        self._unheard = False

    def take_back(self) -> None:
        """The gate has ended its loop, or never began it: keep the lanes from here. Twice is fine.

        They are locked, too: an alarm frees them at once, and leaves it to the loop to lock them again.
        """
        with self._lock:
            if self._listener is not None:
                self._listener = None
                if self.alarmed:
                    self._missed = True
                    self._free()
                else:
                    self._missed = self._unheard
                    self._lock_again()

    def close(self) -> None:
        """Nothing of its own: the board closes the contact."""

    @contextmanager
    def kept(self, complain: Callable[[str], None]) -> Iterator[None]:
        """What cannot be opened in here ends the process, but not as long as the alarm is active."""
        try:
            yield
        except Exception as error:
            if self.alarmed:
                complain(f"alarm: the lanes are kept free; the gate does not start until it is over: {error}")
                self._over.wait()
            raise

    def _on_change(self, active: bool) -> None:
        with self._lock:
            self._watchdog.alarm(active)
            if active:
                self._over.clear()
            if self._listener is not None:
                self._unheard = self._unheard or active
                self._listener(active)
            elif active:
                self._missed = True
                self._free()
            else:
                self._lock_again()
            if not active:
                self._over.set()

    def _free(self) -> None:
        for lane in self._board.lanes:
            with suppress(Exception):  # the other lanes first; the gate will name the fault
                lane.turnstile.unlock("both")
        self._show(Signal.FREE)
        self._watchdog.status("alarm: the lanes are free; there is no gate yet")
        self._watchdog.ready()  # they are as they have to be, and systemd need not wait for the disk

    def _lock_again(self) -> None:
        for lane in self._board.lanes:
            with suppress(Exception):
                lane.turnstile.lock()
        self._show(Signal.OUT_OF_ORDER)

    def _show(self, signal: Signal) -> None:
        colour, blink, _ = light_and_sound(signal)
        for lane in self._board.lanes:
            with suppress(Exception):  # a broken lamp has to wait for a gate that can say so
                lane.lamp.show(colour, blink)
