"""A venue on one machine as an engineer sets it up: every part is a process, and every step a command."""

import getpass
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from firmware.demo.network import free_port
from tests.brokers import RunningBroker, mosquitto
from tests.commands import Running, run
from tests.test_deploy_brokers import replaced

PATIENCE_S = 180.0  # only a failing test waits this long: one look at a fleet may take a quarter of a minute
LOOK_S = 0.1  # between two looks
HTTP_S = 30.0
WAIT = ("--wait", "50")  # for gates on a busy machine; the test's patience with a command is a minute
TICKETS = 200  # of the vendor, in all its sessions
SESSION = "43058"
OF_THIS_MACHINE = {
    "clock_untrusted"
}  # a fault that a machine without NTP has, and that no part of this test is

# A lane waits as long as it may, for its person and for a disk that is not its own.
UNLOCK_MS = 30_000
GATE = """\
[gate]
name = "{name}"
venue = "arena"
timezone = "Europe/Lisbon"

[[lane]]
name = "main"
unlock_ms = {unlock_ms}
record_ms = 5000

[[lane.reader]]
kind = "lines"
path = "{codes}"

[[event]]
id = "28180"

[[broker]]
host = "127.0.0.1"
port = {port}
"""
BRIDGE = """\
[bridge]
venue = "arena"

[health]
listen = "127.0.0.1:{health}"

[[vendor]]
name = "boxoffice"
kind = "ingresse"
key_file = "{etc}/key"
login = "password"
email = "{email}"
password_file = "{etc}/password"
unsold = "refuse"
api_url = "{url}"

[[vendor.event]]
id = "28180"
sessions = ["{session}"]

[[broker]]
host = "127.0.0.1"
port = {port}
ca_file = "{etc}/ca.pem"
cert_file = "{etc}/bridge.pem"
key_file = "{etc}/bridge.key"
"""


def until(what: Callable[[], object], why: str) -> None:
    """Wait for what has no bell of its own."""
    pause, deadline_s = threading.Event(), time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline_s, f"it did not come about: {why}"
        pause.wait(LOOK_S)


def fetched(port: int, path: str) -> tuple[int, str]:
    """A page on this machine, and its status."""
    connection = HTTPConnection("127.0.0.1", port, timeout=HTTP_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class JourneyGate:
    """A gate: its card, its boot partition, and the process on it. Its reader is a pipe with a name."""

    def __init__(self, name: str, folder: Path, stack: ExitStack) -> None:
        self.name, self.folder, self._stack = name, folder, stack
        self.boot, self.etc, self.data = folder / "boot", folder / "etc", folder / "data"
        self.codes = folder / "codes"
        for made in (self.boot, self.etc):
            made.mkdir(parents=True)
        os.mkfifo(self.codes)
        self._codes = os.open(self.codes, os.O_RDWR)  # both ways, so that neither side waits for the other
        stack.callback(os.close, self._codes)
        self.process: Running
        self.journal: Running

    def settings(self, port: int, unlock_ms: int = UNLOCK_MS, codes: Path | None = None) -> Path:
        """The engineer's own gate.toml for it."""
        path = self.folder / "gate.toml"
        text = GATE.format(name=self.name, unlock_ms=unlock_ms, codes=codes or self.codes, port=port)
        path.write_text(text, "utf-8")
        return path

    def take_up(self) -> subprocess.CompletedProcess[str]:
        """As `take-up.service` does before the gate starts."""
        where = ("--bundle", self.boot / "gatepost.tar", "--etc", self.etc, "--data", self.data)
        return run("take-up", *where, "--owner", getpass.getuser())

    def start(self) -> None:
        """Switch it on."""
        self.process = self._stack.enter_context(
            Running("gate", "--config", self.etc / "gate.toml", "--data", self.data)
        )

    def is_ready(self) -> None:
        """Wait until its lanes are."""
        self.process.err.expect("ready: lanes main")

    def follow(self) -> None:
        """Read its journal from the first row of this start on."""
        self.journal = self._stack.enter_context(Running("journal", "--data", self.data, "--follow"))

    def row(self, pattern: str) -> dict[str, Any]:
        """The next row of the journal like this."""
        found: dict[str, Any] = json.loads(self.journal.out.expect(pattern))
        return found

    def scan(self, code: str) -> str:
        """Hold a code to the reader; the verdict. Who is let in walks through."""
        os.write(self._codes, code.encode() + b"\n")
        verdict = str(self.row('"kind": "scan"')["verdict"])
        if verdict == "admitted":
            self.row('"kind": "passage"')
        return verdict


class Venue:
    """The engineer's computer, the broker's, the bridge's, and the vendor."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)  # for the broker's own user
        self.folder, self.fleet = folder, folder / "fleet"
        self.port, self.enrol_port, self.health_port = free_port(), free_port(), free_port()
        self.stack = ExitStack()
        self.gates: dict[str, JourneyGate] = {}
        self.broker: RunningBroker
        self.restarted_at = 0
        self.serve: Running
        self.bridge: Running
        self.bridge_toml, self.bridge_data = folder / "bridge.toml", folder / "bridge-data"
        self._control = 0
        self._people: list[str] = []

    # --- the engineer --------------------------------------------------------------------------------------

    def gatepost(self, *words: str | Path, code: int = 0) -> str:
        """Give a command; what it said on standard output."""
        done = run(*words)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def order(self, *words: str, who: str = "ann", code: int = 0) -> list[str]:
        """Give an order; the lines of its table."""
        by = ("--fleet", self.fleet, "--as", who, *WAIT)
        return self.gatepost("order", *words, *by, code=code).splitlines()

    def change(
        self, *words: str | Path, who: str = "ann", wait: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """`gatepost settings`."""
        return run("settings", *words, "--fleet", self.fleet, "--as", who, *(WAIT if wait else ()))

    def watched(self, who: str = "sam") -> dict[str, tuple[str, set[str]]]:
        """State and faults of each gate, as `gatepost watch` shows them, without those of this machine."""
        done = run("watch", "--fleet", self.fleet, "--as", who, "--once", "--json")
        assert done.returncode in (0, 1), done.stderr
        rows = json.loads(done.stdout)
        found = {}
        for row in rows:
            faults = {fault["code"] for fault in row["faults"]}
            ill_by_us = row["state"] == "fault" and faults <= OF_THIS_MACHINE
            found[row["gate"]] = ("ok" if ill_by_us else row["state"], faults - OF_THIS_MACHINE)
        return found

    def until_all_are_well(self, gates: Sequence[str]) -> None:
        """Wait until exactly these gates are expected, and each is ok."""
        until(lambda: self.watched() == {name: ("ok", set()) for name in gates}, f"all of {gates} ok")

    def metrics(self, name: str) -> dict[str, float]:
        """One figure of each gate, as Prometheus reads it."""
        found = fetched(self.health_port, "/metrics")[1]
        lines = re.findall(rf'^{name}\{{gate="(\w+)"\}} (\S+)$', found, re.MULTILINE)
        return {gate: float(value) for gate, value in lines}

    def keys_of(self, gates: Sequence[str]) -> set[str]:
        """The names of the venue keys that these gates have in use."""
        found = fetched(self.health_port, "/metrics")[1]
        told = dict(re.findall(r'^gatepost_gate_info\{gate="(\w+)",key="(\w*)"', found, re.MULTILINE))
        return {told.get(gate, "") for gate in gates}

    # --- the computers -------------------------------------------------------------------------------------

    def start_broker(self) -> None:
        """With the files of `deploy/mosquitto` and the folder that the fleet has made for it."""
        to = self.folder / "broker"
        shutil.copytree(self.fleet / "broker", to)
        (to / "conf.d").mkdir()
        config = to / "venue.conf"
        config.write_text(replaced("venue.conf", to, self.port, free_port(), self.enrol_port), "utf-8")
        self.broker = RunningBroker("mosquitto", to, (mosquitto(), "-c", str(config)), self.port)
        self.stack.enter_context(self.broker)

    def restart_broker(self) -> None:
        """With the lists of what is let in no more, as `gatepost fleet revoke` says."""
        for name in ("crl.pem", "enrol-crl.pem"):
            shutil.copy2(self.fleet / "broker" / name, self.folder / "broker" / name)
        self.broker.stop()
        self.restarted_at = len(self.broker.log)
        self.broker.start()

    def start_vendor(self) -> str:
        """A sandbox; its address."""
        sandbox = self.stack.enter_context(
            Running("sandbox", "ingresse", "--port", "0", "--tickets", str(TICKETS))
        )
        first = sandbox.out.expect(r"sandbox at http://127.0.0.1:\d+")
        url = re.search(r"http://127.0.0.1:\d+", first)
        control = re.search(r"http://127.0.0.1:(\d+)/sandbox", sandbox.out.expect("^control "))
        key = sandbox.out.expect("^apikey ").split()[1]
        email, password = sandbox.out.expect("^login ").split()[1:]
        assert url is not None
        assert control is not None
        self._control = int(control[1])
        self._write_bridge(url[0], key, email, password)
        return url[0]

    def _write_bridge(self, url: str, key: str, email: str, password: str) -> None:
        """Settings, secrets and certificates of the bridge, and the venue's key in its data folder."""
        etc = self.folder / "bridge-etc"
        etc.mkdir(mode=0o700)
        for name in ("bridge.pem", "bridge.key", "ca.pem"):
            shutil.copy2(self.fleet / "bridge" / name, etc / name)
        for name, text in (("key", key), ("password", password)):
            (etc / name).write_text(f"{text}\n", "utf-8")
            (etc / name).chmod(0o600)
        self.bridge_data.mkdir(mode=0o700)
        shutil.copy2(self.fleet / "bridge" / "key", self.bridge_data / "key")
        text = BRIDGE.format(
            etc=etc, url=url, email=email, health=self.health_port, port=self.port, session=SESSION
        )
        self.bridge_toml.write_text(text, "utf-8")

    def start_bridge(self) -> None:
        """Start it, and wait for its page of health."""
        self.bridge = self.stack.enter_context(
            Running("bridge", "--config", self.bridge_toml, "--data", self.bridge_data)
        )

        def answers() -> bool:
            with suppress(OSError, HTTPException):
                return fetched(self.health_port, "/health")[0] in (200, 503)
            return False

        until(answers, "the bridge's page of health")

    def start_serve(self) -> None:
        """Who gives certificates."""
        self.serve = self.stack.enter_context(Running("fleet", "serve", self.fleet))
        self.serve.out.expect("connected to")

    def add_gate(self, name: str) -> JourneyGate:
        """A gate without anything on its card."""
        gate = self.gates[name] = JourneyGate(name, self.folder / f"gate-{name}", self.stack)
        return gate

    # --- people --------------------------------------------------------------------------------------------

    def person(self) -> str:
        """Somebody with a good ticket, and nobody twice."""
        if not self._people:
            path = f"/sandbox/codes?count=40&session={SESSION}&sold=true&refunded=false&inside=false"
            self._people = json.loads(fetched(self._control, path)[1])
        return self._people.pop()

    def someone_enters(self, *gates: str) -> None:
        """A person with a ticket at each of these gates."""
        for name in gates:
            assert self.gates[name].scan(self.person()) == "admitted", name

    # --- the end -------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.close()
