"""What a person at a lane waits for is asked of the ledger with a limit of its own.

The limits of the database itself are made for rows, which nobody waits for: one that hangs, or a network that
swallows, holds a statement for ten seconds to a minute, and an ask would be over before it is sent.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from firmware.bridge.database import LedgerLost

# A look takes a millisecond, under load tens of them; the shortest of the vendors' times is a second.
WAIT_S = 0.3
THREAD = "ledger in time"

Found = TypeVar("Found")


class InTime:
    """Calls that may hang, each on a thread of its own. Any thread may call."""

    def __init__(self, wait_s: float = WAIT_S) -> None:
        self._wait_s = wait_s
        self._hanging: set[object] = set()

    def run(self, call: Callable[[], Found]) -> Found:
        """What it returns or raises. Raises `LedgerLost` if that takes too long, and at once while one hangs.

        One that took too long goes on: nobody can end it. So as many hang at most as were begun together.
        """
        if not self._hanging:
            future: Future[Found] = Future()
            threading.Thread(target=_settle, args=(call, future), name=THREAD, daemon=True).start()
            try:
                return future.result(self._wait_s)
            except TimeoutError:
                self._hanging.add(future)
                future.add_done_callback(self._hanging.discard)
        raise LedgerLost(f"the ledger does not answer within {self._wait_s:g} s")


def _settle(call: Callable[[], Found], future: "Future[Found]") -> None:
    try:
        found = call()
    except BaseException as error:  # whoever waits raises it
        future.set_exception(error)
    else:
        future.set_result(found)
