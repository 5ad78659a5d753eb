"""A gate of one lane as the `gatepost` command runs it, for tests from outside."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.commands import COMMAND, Running, run

LIST = "code,ticket_id\nA,id-A\nB,id-B\n"


class Door:
    """A gate with one lane on a data directory of its own; its reader is a pipe with a name."""

    def __init__(self, folder: Path, lane: str = "") -> None:
        self.data, self.config, self.list = folder / "data", folder / "gate.toml", folder / "list.csv"
        codes = folder / "codes"
        os.mkfifo(codes)
        self._codes = os.open(codes, os.O_RDWR)  # both ways, so that neither side waits for the other
        reader = f'[[lane.reader]]\nkind = "lines"\npath = "{codes}"\n'
        self.config.write_text(f'[[lane]]\nname = "north"\n{lane}\n{reader}')
        self.write(LIST)

    def write(self, text: str) -> None:
        """Another list."""
        self.list.write_text(text)

    def scan(self, code: str) -> None:
        """Hold a code to the reader."""
        os.write(self._codes, code.encode() + b"\n")

    def gate(self, command: Sequence[str] = COMMAND) -> Running:
        """Start the gate."""
        return Running("gate", "--config", self.config, "--data", self.data, command=command)

    def follow(self) -> Running:
        """Watch its journal."""
        return Running("journal", "--data", self.data, "--follow")

    def put(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Import its list."""
        return run("import", self.list, "--data", self.data, *options)

    def rows(self) -> list[dict[str, object]]:
        """Its journal."""
        return [json.loads(line) for line in run("journal", "--data", self.data).stdout.splitlines()]

    def close(self) -> None:
        os.close(self._codes)


@contextmanager
def open_door(lane: str = "") -> Iterator[Door]:
    """Gone after the test: a journal reserves 34 MB when it is made."""
    with TemporaryDirectory() as folder:
        door = Door(Path(folder), lane)
        yield door
        door.close()


def only_line(found: subprocess.CompletedProcess[str]) -> str:
    """The one line of a complaint."""
    assert found.stdout == ""
    (line,) = found.stderr.splitlines()
    assert line.startswith("gatepost: ")
    return line


def on_terminal(*arguments: str) -> tuple[str, int]:
    """Run a command on a terminal of its own: all that it writes there, and its exit code."""
    near, far = os.openpty()
    command = [sys.executable, "-m", "firmware.cli", *arguments]
    environment = {**os.environ, "TZ": "UTC", "TERM": "xterm", "COLUMNS": "150"}
    process = subprocess.Popen(command, stdin=far, stdout=far, stderr=far, env=environment)
    os.close(far)
    said = b""
    try:
        while data := os.read(near, 65536):
            said += data
    except OSError:  # how Linux reports the end of a terminal
        pass
    os.close(near)
    return said.decode(), process.wait()
