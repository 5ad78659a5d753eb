"""The `gatepost` command as a process of its own, as a person starts it."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Self

PATIENCE_S = 60.0  # only a failing test waits this long
COMMAND = (sys.executable, "-m", "firmware.cli")


def environment() -> Mapping[str, str]:
    """As here, and every machine is in Greenwich."""
    return {**os.environ, "TZ": "UTC"}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(),
        check=False,
    )


class Running:
    """A command at work. Its lines are waited for; leaving the block kills it if it is still there."""

    def __init__(self, *arguments: str | Path, command: Sequence[str] = COMMAND) -> None:
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.out = Lines(self.process.stdout)
        self.err = Lines(self.process.stderr)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for its end; its exit code."""
        code = self.process.wait(PATIENCE_S)
        self.out.close()
        self.err.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.end()


class Lines:
    """What a stream of a process says, line by line, read by a thread."""

    def __init__(self, stream: IO[str]) -> None:
        self.seen: list[str] = []
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._stream = stream
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        for line in self._stream:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def expect(self, pattern: str) -> str:
        """Wait for a line that matches; those before it are in `seen`."""
        while True:
            try:
                line = self._queue.get(timeout=PATIENCE_S)
            except Empty:
                line = None
            assert line is not None, f"no line with {pattern!r}, only: {self.seen}"
            self.seen.append(line)
            if re.search(pattern, line):
                return line

    def rest(self) -> list[str]:
        """Every line up to the end, also those that were seen."""
        while (line := self._queue.get(timeout=PATIENCE_S)) is not None:
            self.seen.append(line)
        return self.seen

    def close(self) -> None:
        """The process is gone, so the stream ends by itself."""
        self._thread.join(PATIENCE_S)
        self._stream.close()
