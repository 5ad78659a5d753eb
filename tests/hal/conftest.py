"""Somebody who listens to a reader, and a word at the end about the boards that the contract was held on."""

import queue

import pytest

from hal.ports import Read
from tests.hal.benches import BENCHES

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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which benches were here, and why the others were not."""
    if not any(
        "tests/hal/test_boards.py" in report.nodeid for report in terminalreporter.stats.get("passed", [])
    ):
        return
    absent = {kind.name: why for kind in BENCHES if (why := kind.absent())}
    here = [kind.name for kind in BENCHES if kind.name not in absent]
    terminalreporter.write_line(f"boards: the contract was held on {', '.join(here)}")
    for name, why in absent.items():
        terminalreporter.write_line(f"boards: not on {name}: {why}", yellow=True)
