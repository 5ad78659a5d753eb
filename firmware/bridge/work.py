"""The bridge's threads: each takes turns at one thing, and what goes wrong is named and tried again."""

import random
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from firmware.bridge.database import LedgerLost
from firmware.bridge.feed import FeedKeyChanged
from firmware.bridge.vendor import Misconfigured, Outage

RETRY_S_MIN = 0.5  # before the first try again; a connection that was cut stands again by then
RETRY_S_MAX = 60.0  # a vendor that is back after hours waits a minute at most
LEDGER_RETRY_S_MAX = 5.0  # rows wait for it, and a try costs the database nothing
DOUBLINGS_MAX = 10  # of the wait; the longest is reached long before
STOP_S = 8.0  # for all threads together; a check-in has ended by then, and a list is read again anyway

THE_LEDGER = "the ledger"
PRODUCT = Path(__file__).parent.parent

Wait = Callable[[threading.Event, float], object]  # for this event, so many seconds at most

_JITTER = random.SystemRandom().uniform  # bridges that lost one vendor together must not come back together


class Fault(NamedTuple):
    """What is wrong with a thing. `kind` stays the same where only a figure in the text changes."""

    thing: str
    kind: str
    text: str


class Faults:
    """What is wrong at the moment. Any thread sets, any thread reads.

    Several parts may have the same fault: all of them need the ledger.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[str, Fault] = {}

    def set(self, part: str, fault: Fault) -> None:
        """This part has a fault, and no other one any more. The program names the parts, so they are few."""
        with self._lock:
            self._of[part] = fault

    def clear(self, part: str) -> None:
        """This part works; also where it had no fault."""
        with self._lock:
            self._of.pop(part, None)

    def now(self) -> list[Fault]:
        """One for each thing."""
        with self._lock:
            return list({fault.thing: fault for fault in self._of.values()}.values())


def fault_of(name: str, error: Exception) -> Fault:
    """What a thread says of an error. Anything unforeseen is named with its place in the program."""
    kind = type(error).__name__
    if isinstance(error, LedgerLost | FeedKeyChanged):
        return Fault(THE_LEDGER, kind, f"{THE_LEDGER}: {error}")
    if isinstance(error, Outage | Misconfigured):
        return Fault(name, kind, f"{name}: {error}")
    where = next(
        (
            f"{Path(frame.filename).relative_to(PRODUCT)}:{frame.lineno}"
            for frame in reversed(traceback.extract_tb(error.__traceback__))
            if Path(frame.filename).is_relative_to(PRODUCT)
        ),
        "",
    )
    return Fault(name, f"{kind} {where}", f"{name}: {kind}: {error} ({where}): a fault of ours: report it")


class Worker:
    """A thread that takes turns. `turn` returns the seconds until the next one; `wake` brings it forward.

    A database or vendor that is out of order is a fault, and the next turn comes later and later, at random
    moments so that many workers do not come at once. So is anything unforeseen: one bad turn must not end the
    bridge. `uniform` and `wait` are the chance and the waiting, so that a test needs neither.
    """

    def __init__(
        self,
        name: str,
        turn: Callable[[], float],
        faults: Faults,
        uniform: Callable[[float, float], float] = _JITTER,
        wait: Wait = threading.Event.wait,
    ) -> None:
        self.name = name
        self._turn = turn
        self._faults = faults
        self._uniform = uniform
        self._wait = wait
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Take the first turn; twice is fine."""
        if self._thread.ident is None:
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
            self._wake.clear()  # before the turn: what comes while it lasts is for the next one
            pause_s = self._one()
            if self._failures:
                self._wait(self._stopping, pause_s)
            elif pause_s > 0:
                self._wait(self._wake, pause_s)

    def _one(self) -> float:
        """One turn; the pause after it."""
        try:
            pause_s = self._turn()
        except Exception as error:  # unforeseen ones too: named, and tried again
            return self._failed(error)
        self._failures = 0
        self._faults.clear(self.name)
        return pause_s

    def _failed(self, error: Exception) -> float:
        self._failures += 1
        if not self.stopping:  # what breaks off because it was asked to is no fault
            self._faults.set(self.name, fault_of(self.name, error))
        most_s = LEDGER_RETRY_S_MAX if isinstance(error, LedgerLost) else RETRY_S_MAX
        most_s = min(most_s, RETRY_S_MIN * 2 ** min(self._failures - 1, DOUBLINGS_MAX))
        pause_s = self._uniform(most_s / 2, most_s)
        return max(pause_s, error.retry_after_s) if isinstance(error, Outage) else pause_s

    def stop(self) -> None:
        """Ask it to end after the present turn."""
        self._stopping.set()
        self._wake.set()

    def close(self, limit_s: float = STOP_S) -> bool:
        """End after the present turn; twice is fine. Whether it has ended within the limit."""
        self.stop()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(limit_s)
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()


@contextmanager
def at_work(workers: Sequence[Worker], limit_s: float = STOP_S) -> Iterator[None]:
    """All of them work until the block ends; then all are asked to end before the first is waited for.

    One that waits for a slow vendor is left behind: what it holds comes back when its lease ends, and the
    process takes the thread with it.
    """
    try:
        for worker in workers:
            worker.start()
        yield
    finally:
        until_s = time.monotonic() + limit_s
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.close(max(0.0, until_s - time.monotonic()))
