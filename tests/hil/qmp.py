"""What the world does to the machine, through qemu's monitor: keys are pressed, plugs are pulled.

The monitor speaks JSON, one value a line. Answers come in the order of the questions, events in between.
"""

import json
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

ANSWER_SECONDS_MAX = 120  # the monitor answers in milliseconds; while the emulator starves, later


class MonitorError(Exception):
    """The monitor refused; says what and why."""


class Monitor:
    """One connection to the monitor. Questions may come from several threads."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(ANSWER_SECONDS_MAX)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("r", encoding="utf-8")
        self._lock = threading.Lock()
        self._events: list[dict[str, Any]] = []
        self._next()  # the greeting
        self.ask("qmp_capabilities")

    def _next(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise MonitorError("the machine is gone")
        value: dict[str, Any] = json.loads(line)
        return value

    def ask(self, command: str, **arguments: object) -> Any:
        """Have the monitor do this, and return what it answers. Raises MonitorError."""
        with self._lock:
            question = {"execute": command, "arguments": arguments}
            self._socket.sendall(json.dumps(question).encode() + b"\n")
            while True:
                answer = self._next()
                if "event" in answer:
                    self._events.append(answer)
                elif "error" in answer:
                    raise MonitorError(f"{command}: {answer['error']['desc']}")
                else:
                    return answer["return"]

    def key(self, code: str, down: bool) -> None:
        """Press or let go one key of the keyboard, by qemu's name of the key on an American keyboard."""
        event = {"type": "key", "data": {"down": down, "key": {"type": "qcode", "data": code}}}
        self.ask("input-send-event", events=[event])

    def plug(self, driver: str, name: str, **settings: object) -> None:
        """Plug a device in."""
        self.ask("device_add", driver=driver, id=name, **settings)

    def unplug(self, name: str) -> None:
        """Pull a device out, and return when it is gone from the bus."""
        self.ask("device_del", id=name)
        with self._lock:
            while not any(
                event["event"] == "DEVICE_DELETED" and event["data"].get("device") == name
                for event in self._events
            ):
                answer = self._next()
                if "event" in answer:
                    self._events.append(answer)
            self._events.clear()

    def word(self, address: int) -> int:
        """A word of the machine's memory, by its physical address: registers of its devices, too."""
        said = str(self.ask("human-monitor-command", **{"command-line": f"xp /1xw {address:#x}"}))
        return int(said.partition(":")[2], 16)

    def close(self) -> None:
        with suppress(OSError):
            self._lines.close()
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
