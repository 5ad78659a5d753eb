"""A log-in that cannot begin before all who need it stand in line, however late one of them comes."""

import threading

from tests.brokers import LIMIT_S


class Turns:
    """Stands for the lock of an account's log-ins, for `count` threads that want it once each.

    A log-in that only takes long would be over before a thread that the machine held up has come.
    """

    def __init__(self, count: int) -> None:
        self._lock, self._line = threading.Lock(), threading.Barrier(count)

    def acquire(self, timeout: float) -> bool:
        self._line.wait(LIMIT_S)
        return self._lock.acquire(timeout=timeout)

    def release(self) -> None:
        self._lock.release()
