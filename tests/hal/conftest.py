"""What the tests of readers share: somebody who listens to one."""

import queue

import pytest

from hal.ports import Read

PATIENCE_S = 30.0  # only a failing test waits this long


class Listener:
    """Takes what a reader delivers and says, in order, and waits for the next of each."""

    def __init__(self) -> None:
        self._reads: queue.Queue[Read] = queue.Queue()
        self._states: queue.Queue[str | None] = queue.Queue()
        self.deliver = self._reads.put
        self.state = self._states.put

    def read(self) -> Read:
        return self._reads.get(timeout=PATIENCE_S)

    def told(self) -> str | None:
        return self._states.get(timeout=PATIENCE_S)

    def working(self) -> None:
        """Wait until the reader works, whatever it says before."""
        while self.told() is not None:
            pass

    def fault(self, part: str) -> str:
        """Wait for a fault with this in its text, whatever the reader says before."""
        while part not in (text := self.told() or ""):
            pass
        return text

    def nothing_more(self) -> bool:
        return self._reads.empty() and self._states.empty()


@pytest.fixture
def listener() -> Listener:
    return Listener()
