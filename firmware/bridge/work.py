"""The bridge's threads: each takes turns at one thing, and what goes wrong is named and tried again."""

import random
import threading
from collections.abc import Callable
from typing import Self

from firmware.bridge.database import LedgerLost
from firmware.bridge.vendor import Misconfigured, Outage

RETRY_S_MIN, RETRY_S_MAX = 0.5, 60.0  # between two tries on what is out of order
STOP_S = 10.0  # a turn that waits for a vendor ends within its time-out


class Faults:
    """What is wrong at the moment, by the name of the part. Any thread sets, any thread reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: dict[str, str] = {}

    def set(self, name: str, text: str) -> None:
        """This part has a fault, or with "" none any more."""
        with self._lock:
            if text:
                self._texts[name] = text
            else:
                self._texts.pop(name, None)

    def now(self) -> list[str]:
        """All of them, each with its name."""
        with self._lock:
            return [f"{name}: {text}" for name, text in self._texts.items()]


class Worker:
    """A thread that takes turns. `turn` returns the seconds until the next one; `wake` brings it forward.

    A database or vendor that is out of order is a fault with the worker's name, and the next turn comes
    later and later, up to `RETRY_S_MAX`, at random moments so that many workers do not come at once. So is
    anything unforeseen: one bad turn must not end the bridge.
    """

    def __init__(self, name: str, turn: Callable[[], float], faults: Faults) -> None:
        self.name = name
        self._turn = turn
        self._faults = faults
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Take the first turn."""
        self._thread.start()

    def wake(self) -> None:
        """There is something to do. While a fault lasts this does nothing: the other side needs the pause."""
        self._wake.set()

    @property
    def stopping(self) -> bool:
        """Whether a long turn should end early."""
        return self._stopping.is_set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            pause_s = self._one()
            if self._failures:
                self._stopping.wait(pause_s)
            elif pause_s > 0:
                self._wake.wait(pause_s)

    def _one(self) -> float:
        """One turn; the pause after it."""
        try:
            pause_s = self._turn()
        except Outage as error:
            return max(self._failed(str(error)), error.retry_after_s)
        except (LedgerLost, Misconfigured) as error:
            return self._failed(str(error))
        except Exception as error:  # unforeseen: named, and tried again
            return self._failed(f"{error!r}; this is a fault of the program, please report it")
        if self._failures:
            self._failures = 0
            self._faults.set(self.name, "")
        return pause_s

    def _failed(self, text: str) -> float:
        self._failures += 1
        self._faults.set(self.name, text)
        most_s = min(RETRY_S_MAX, RETRY_S_MIN * 2 ** min(self._failures - 1, 10))
        return random.uniform(most_s / 2, most_s)  # noqa: S311  spreads tries, hides nothing

    def close(self) -> None:
        """End after the present turn; twice is fine."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()
