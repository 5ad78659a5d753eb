"""The test's end of `tests.gate_process`: starts it, tells it what to do, and never leaves it behind."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.gate_process import PATIENCE_S


class Child:
    """A gate's process, and what it said."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.shots: list[dict[str, Any]] = []
        self.scanned: list[str] = []

    def hear(self) -> dict[str, Any]:
        """The next answer; news of scans are put aside."""
        assert self.process.stdout
        while line := self.process.stdout.readline():
            said: dict[str, Any] = json.loads(line)
            if "shot" not in said:
                return said
            self.shots.append(said)
        raise AssertionError(f"the gate ended with {self.process.wait(PATIENCE_S)}")

    def tell(self, what: str, **details: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"do": what, **details}) + "\n")
        self.process.stdin.flush()

    def do(self, what: str, **details: str) -> dict[str, Any]:
        self.tell(what, **details)
        return self.hear()

    def scan(self, code: str, lane: str = "north") -> float:
        """A scan that is answered by light or sound; how long that took, in milliseconds."""
        self.scanned.append(code)
        answer = self.do("scan", code=code, lane=lane)
        assert answer["came"], f"{code} got no answer"
        return float(answer["ms"])

    def end(self) -> dict[str, Any]:
        """The end of its input is the end of the gate; what it says last."""
        assert self.process.stdin
        self.process.stdin.close()
        said = self.hear()
        assert self.process.wait(PATIENCE_S) == 0
        return said


@contextmanager
def gate_on(data: Path, *more: str, before_a_kill: Callable[[], None] = lambda: None) -> Iterator[Child]:
    """A gate that works on this data directory; `more` are its arguments.

    `before_a_kill` lets go of what would keep it from dying.
    """
    command = [sys.executable, "-m", "tests.gate_process", str(data), *more]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        child = Child(process)
        try:
            assert child.hear() == {"ready": True}
            yield child
        finally:
            before_a_kill()
            process.kill()
