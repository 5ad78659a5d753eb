"""The demo as a process of its own, as a shell or a person at a terminal starts it."""

import fcntl
import json
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

PATIENCE_S = 60.0  # only a failing test waits this long
COMMAND = (sys.executable, "-m", "firmware.cli", "demo")
ROOT = Path(__file__).parent.parent.parent
COLOURS = re.compile(r"\x1b\[[0-9;]*m")

Scan = dict[str, Any]


class Run(NamedTuple):
    """What a whole run left."""

    scans: list[Scan]
    said: str
    code: int


def run(lines: bytes | str, *arguments: str | Path) -> Run:
    """A demo that is fed these lines, to its end."""
    data = lines.encode() if isinstance(lines, str) else lines
    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(command, check=False, cwd=ROOT, input=data, capture_output=True, timeout=PATIENCE_S)
    return Run(objects(done.stdout), done.stderr.decode(), done.returncode)


def objects(output: bytes) -> list[Scan]:
    """The objects on standard output, which holds nothing else."""
    assert not output or output.endswith(b"\n")
    return [json.loads(line) for line in output.splitlines()]


def verdicts(scans: Sequence[Scan]) -> list[str]:
    """What was decided, in order."""
    return [scan["verdict"] for scan in scans]


class Piped:
    """A demo under way, fed and read line by line.

    One that will be killed tells coverage nothing, so it need not be slowed down for that: `measured`.
    """

    def __init__(self, *arguments: str | Path, measured: bool = True) -> None:
        environment = {k: v for k, v in os.environ.items() if measured or not k.startswith("COVERAGE")}
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._kept = b""
        self._passed_over: list[Scan] = []
        self._newest: Scan = {}

    def type(self, *codes: str) -> None:
        """Feed these lines."""
        assert self.process.stdin
        self.process.stdin.write("".join(f"{code}\n" for code in codes).encode())

    def scan(self, within_s: float = PATIENCE_S) -> Scan | None:
        """The next object; `None` if none comes in time, or none any more."""
        assert self.process.stdout
        until = time.monotonic() + within_s
        while b"\n" not in self._kept:
            left_s = max(0.0, until - time.monotonic())
            if not select.select([self.process.stdout], [], [], left_s)[0]:
                return None
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                return None
            self._kept += data
        line, _, self._kept = self._kept.partition(b"\n")
        found: Scan = json.loads(line)
        return found

    def told(self, **facts: object) -> Scan:
        """An object with these facts, which must come; each is given once. A status is one from now on."""
        if facts.get("told") != "status":
            for found in self._passed_over:
                if facts.items() <= found.items():
                    self._passed_over.remove(found)
                    return found
        until = time.monotonic() + PATIENCE_S  # in all: a status comes again and again
        while (scan := self.scan(max(0.0, until - time.monotonic()))) is not None:
            if scan.get("told") == "status":
                self._newest = scan
            if facts.items() <= scan.items():
                return scan
            self._passed_over.append(scan)
        raise AssertionError(f"the demo did not tell {facts}, only {self._passed_over[-20:]}")

    def stands(self, **facts: object) -> None:
        """The newest status says so already, or one that comes."""
        if not facts.items() <= self._newest.items():
            self.told(told="status", **facts)

    def sure_scan(self) -> Scan:
        """The next object, which must come."""
        scan = self.scan()
        assert scan is not None
        return scan

    def hears(self, words: str) -> str:
        """Wait until it says this on standard error; returns the line."""
        assert self.process.stderr
        said, until = list[str](), time.monotonic() + PATIENCE_S
        while select.select([self.process.stderr], [], [], max(0.0, until - time.monotonic()))[0]:
            if not (line := self.process.stderr.readline()):
                break
            said.append(line.decode())
            if words in said[-1]:
                return said[-1]
        raise AssertionError(f"the demo never said {words!r}, only:\n{''.join(said)}")

    def end(self, signal_number: int | None = None) -> Run:
        """No more lines, or a signal; then the rest of what it says."""
        if signal_number is not None:
            self.process.send_signal(signal_number)
        rest, said = self.process.communicate(timeout=PATIENCE_S)
        return Run(objects(self._kept + rest), said.decode(), self.process.returncode)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self.process as process:
            process.kill()


class Terminal:
    """A pseudo-terminal, held at the far end."""

    def __init__(self, rows: int = 24, columns: int = 80) -> None:
        self.held, self.line = os.openpty()
        self.name = os.ttyname(self.line)
        fcntl.ioctl(self.line, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.seen = ""

    def type(self, text: str) -> None:
        """Type, or scan."""
        os.write(self.held, text.encode())

    def sees(self, words: str, begin: int = 0) -> str:
        """Wait until these words are written, in whatever colours, after so many characters of all."""
        until = time.monotonic() + PATIENCE_S
        while words not in COLOURS.sub("", self.seen[begin:]):
            ready, _, _ = select.select([self.held], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"{words!r} was not written, only {self.seen[-2000:]!r}"
            self.seen += os.read(self.held, 65536).decode(errors="replace")
        return self.seen

    def drained(self) -> str:
        """All that was written, once nobody writes any more."""
        while select.select([self.held], [], [], 0)[0]:
            self.seen += os.read(self.held, 65536).decode(errors="replace")
        return self.seen

    def modes(self) -> list[Any]:
        """How the terminal is set."""
        return termios.tcgetattr(self.line)

    def close(self) -> None:
        """Hang up. Twice is fine."""
        for descriptor in (self.held, self.line):
            if descriptor >= 0:
                os.close(descriptor)
        self.held = self.line = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def at_terminal(
    terminal: Terminal, *arguments: str | Path, lines: int | None = None, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A demo on a terminal; its lines come from there too, unless a descriptor is given."""
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=ROOT,
        stdin=terminal.line if lines is None else lines,
        stdout=terminal.line,
        stderr=terminal.line,
        env={**os.environ, **environment},
    ) as process:
        try:
            yield process
        finally:
            process.kill()
