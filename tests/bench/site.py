"""A venue for benches: broker, bridge and gates, each in a process of its own, as where people enter."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from firmware.bridge.sandbox.ingresse import Sandbox
from tests.bench.figures import Figure, single
from tests.brokers import RunningBroker, mosquitto_broker

VENUE = "arena"
ACCOUNT = "box"
TICK = os.sysconf("SC_CLK_TCK")
END_S = 30.0  # for a process to end in order

ACCOUNT_SETTINGS = """
[[vendor]]
name = "{account}"
kind = "ingresse"
poll_s = {poll_s}
rate_max = 1000
ask_rate_max = 1000
api_url = "{url}"
key_file = "{folder}/key"
login = "password"
email = "{email}"
password_file = "{folder}/password"
unsold = "refuse"
check_in_timeout_ms = 10000
"""


def absent(name: str) -> Figure | None:
    """The figure of a bench that needs mosquitto, on a machine without it."""
    if shutil.which("mosquitto", path="/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"):
        return None
    return single(name, "", float("nan"), "", note="absent: needs mosquitto (make system)")


@contextmanager
def broker_in(folder: Path) -> Iterator[RunningBroker]:
    """A mosquitto with Debian's limits."""
    folder.mkdir(parents=True, exist_ok=True)
    with mosquitto_broker(folder) as broker:
        yield broker


def write_bridge(folder: Path, port: int, sandbox: Sandbox | None, poll_s: int = 10) -> Path:
    """The settings of a bridge. Without a sandbox its account has an address that nobody asks."""
    folder.mkdir(parents=True, exist_ok=True)
    key, email, password = ("key", "doors@arena.example", "password")
    url, events = "http://127.0.0.1:9", [("28180", ["43058"])]
    if sandbox is not None:
        key, email, password, url = sandbox.key, sandbox.email, sandbox.password, sandbox.url
        events = [(str(event.id), [str(each.id) for each in event.sessions]) for event in sandbox.events]
    for name, secret in (("key", key), ("password", password)):
        (folder / name).write_text(secret)
        (folder / name).chmod(0o600)
    text = f'[bridge]\nvenue = "{VENUE}"\n' + ACCOUNT_SETTINGS.format(
        account=ACCOUNT, poll_s=poll_s, url=url, folder=folder.resolve(), email=email
    )
    for event, sessions in events:
        text += f'[[vendor.event]]\nid = "{event}"\nsessions = {json.dumps(sessions)}\n'
    path = folder / "bridge.toml"
    path.write_text(text + _broker(port))
    return path


def write_gate(folder: Path, name: str, port: int, more: str = "") -> Path:
    """The settings of a gate with one lane."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    gate = f'[gate]\nname = "{name}"\nvenue = "{VENUE}"\n[[lane]]\nname = "1"\n'
    path.write_text(gate + more + _broker(port))
    return path


def _broker(port: int) -> str:
    return f'[[broker]]\nhost = "127.0.0.1"\nport = {port}\ntls = false\n'


class Child:
    """A process that says lines of JSON, and may be told some."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def hear(self) -> dict[str, Any]:
        """The next thing that it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} ended with {self.process.wait(END_S)}")
        said: dict[str, Any] = json.loads(line)
        return said

    def tell(self, what: str, **details: object) -> None:
        """Tell it what to do."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": what, **details}) + "\n")
        self.process.stdin.flush()

    def ask(self, what: str, **details: object) -> dict[str, Any]:
        """Tell it, and hear what came of it."""
        self.tell(what, **details)
        return self.hear()

    def kib(self, name: str) -> int:
        """A line of its status, such as VmHWM."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return int(found[1])

    @property
    def cpu_s(self) -> float:
        """Seconds of processor that it has used."""
        return cpu_s(self.process.pid)


def cpu_s(pid: int) -> float:
    """Seconds of processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


@contextmanager
def child(*command: str) -> Iterator[Child]:
    """A module of this project in a process of its own, ended in order at the end of the block."""
    arguments: Sequence[str] = (sys.executable, "-m", *command)
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Child(process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def bridge(settings: Path, data: Path, *more: str) -> Iterator[Child]:
    """A bridge that is ready. `more`: see `tests.bench.bridge_child`."""
    with child("tests.bench.bridge_child", str(settings), str(data), *more) as found:
        assert found.hear() == {"ready": True}
        yield found


@contextmanager
def gate(settings: Path, data: Path, *more: str) -> Iterator[Child]:
    """A gate that is ready. `more`: see `tests.bench.gate_child`."""
    with child("tests.bench.gate_child", str(settings), str(data), *more) as found:
        assert found.hear() == {"ready": True}
        yield found
