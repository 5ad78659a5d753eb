"""Waiting without a busy loop: for bytes on a descriptor, for a time, or for the order to stop.

Each reader has one; its thread waits here and nowhere else, so closing a reader wakes it at once.
"""

from __future__ import annotations

import os
import select
import time
from enum import Enum
from typing import Self


class News(Enum):
    """What ended the wait."""

    STOP = "stop"
    READY = "ready"  # there are bytes, the end of the input, or a fault to be read
    SILENCE = "silence"


class Watch:
    """Once told to stop it says so for ever. Raises OSError where a descriptor cannot be waited for."""

    def __init__(self) -> None:
        self._told, self._tell = os.pipe()
        self._alone = select.poll()  # for waits in a hurry, with no descriptor beside it
        self._alone.register(self._told, select.POLLIN)
        self._closed = False

    def wait(self, descriptor: int | None, timeout_ms: int | None) -> News:
        """Wait until the descriptor has something, the time is over (None: never), or `stop` was called."""
        if self._closed:
            return News.STOP
        poll = self._alone
        if descriptor is not None:
            poll = select.poll()
            poll.register(self._told, select.POLLIN)
            poll.register(descriptor, select.POLLIN)  # hang-up and error are always watched
        found = [ready for ready, _ in poll.poll(timeout_ms)]
        if self._told in found:
            return News.STOP
        return News.READY if found else News.SILENCE

    def stop(self) -> None:
        """Wake whoever waits. Any thread may call this, at any time, as often as it likes."""
        if not self._closed:
            os.write(self._tell, b"\0")

    def close(self) -> None:
        """Give the descriptors back, when nobody waits any more."""
        if not self._closed:
            self._closed = True
            os.close(self._told)
            os.close(self._tell)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def monotonic_ms() -> int:
    """The clock that waiting uses."""
    return time.monotonic_ns() // 1_000_000
