"""Tells systemd how the gate is, over the socket that it names in the environment (sd_notify).

The loop feeds the watchdog, and only while its lanes are alive: a gate that stands still is ended within a
second, and `gatepost release` puts its lines in order. While the alarm is active a thread feeds it instead:
the contact has freed the lanes by then, and starting the gate anew could only lock what must stay free, above
all where a disk that hangs is what holds the loop up.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Self

FEEDS = 4  # in each period: one that is late, or lost, ends no gate
# After an alarm at the start, for the stores to be opened: as long as a start without an alarm may take (the
# unit's TimeoutStartSec). READY has been said by then, so systemd would ask for feeds that no loop can give.
OPENING_S = 90.0
LINE_MAX = 200  # characters of a status; systemd shows one line


class Watchdog:
    """systemd's ear. Where nobody listens every call does nothing. Any thread may call."""

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        now_s: Callable[[], float] = time.monotonic,
        opening_s: float = OPENING_S,
    ) -> None:
        """Read `NOTIFY_SOCKET`, and `WATCHDOG_USEC` where `WATCHDOG_PID` means this process or nobody."""
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address  # @: without a file
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)  # a feed that does not fit is left out: the loop waits for nobody
        usec = environment.get("WATCHDOG_USEC", "")
        meant = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self.every_s = int(usec) / 1_000_000 / FEEDS if self._socket and meant and usec.isdecimal() else None
        """How often it wants to be fed; `None`: not at all."""
        self._now_s = now_s
        self._next_s = float("-inf")
        self._opening_s = opening_s
        self._looped = False
        self._thread_feeds_until_s = self._opening_until_s = float("-inf")
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def ready(self) -> None:
        """The lanes are locked and lit, or free in an alarm."""
        self._say("READY=1")

    def status(self, line: str) -> None:
        """What `systemctl status` shows."""
        self._say("STATUS=" + " ".join(line.split())[:LINE_MAX])

    def stopping(self) -> None:
        """The lanes are locked, and the rest may take a while."""
        self._say("STOPPING=1")

    def feed(self, alive: Callable[[], bool]) -> None:
        """The loop's own call, after each turn. Most are not due; one that is asks whether the lanes live."""
        if self.every_s is not None and (now_s := self._now_s()) >= self._next_s and alive():
            self._looped = True
            self._next_s = now_s + self.every_s
            self._say("WATCHDOG=1")

    def alarm(self, active: bool) -> None:
        """While this was true the last time, it is fed whatever the loop does. Calls come one at a time.

        Where no loop has begun yet it is fed for a while longer.
        """
        if not active:
            opening = not self._looped and self._thread is not None
            self._thread_feeds_until_s = self._now_s() + self._opening_s if opening else float("-inf")
            return
        if self.every_s is None:
            return
        self._thread_feeds_until_s = float("inf")
        self._feed_by_thread()

    def opening(self) -> None:
        """A loop has ended, and another begins within the time that a start may take. Lanes are locked."""
        if self.every_s is None:
            return
        self._looped = False
        self._opening_until_s = self._now_s() + self._opening_s
        self._feed_by_thread()

    def _feed_by_thread(self) -> None:
        self._say("WATCHDOG=1")  # the loop may have stood still for nearly as long as it may
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Say nothing more."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        if self._socket is not None:
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._closed.wait(self.every_s):
            alarmed = self._thread_feeds_until_s == float("inf")
            until_s = max(self._thread_feeds_until_s, self._opening_until_s)
            if alarmed or (not self._looped and self._now_s() < until_s):
                self._say("WATCHDOG=1")

    def _say(self, news: str) -> None:
        if self._socket is not None:
            with suppress(OSError):  # systemd is busy, or gone: both are its own affair; or closed by us
                self._socket.sendto(news.encode(), self._address)
