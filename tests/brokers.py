"""Real brokers for tests, on free ports of the loopback: mosquitto, and the one inside `gatepost demo`."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from firmware.demo.broker import CONFIG as IOTCORE
from firmware.demo.network import LOOPBACK, free_port
from firmware.mqtt import Arrived, Broker, Pace, Session

PACKAGES = {"mosquitto": "mosquitto", "openssl": "openssl"}  # command, and the Debian package that has it
LIMIT_S = 60.0  # only a failing test waits this long; nothing takes a second on an idle machine
QUICK = Pace(retry_least_s=0.02, retry_most_s=0.1, look_s=0.1, steady_s=0.0)

RELOADING = "Reloading config"  # in mosquitto's log

ANYBODY = "listener {port} 127.0.0.1\nallow_anonymous true\n"


def mosquitto() -> str:
    """The command. Skips the test, loudly, where there is none."""
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip("mosquitto is not there, and this test is about it: `make system` installs it")
    return found


class Port:
    """A port of the loopback that nobody else is given as long as this is there.

    It is bound, and nobody listens at it: so a broker may take it, today and after a restart, and a test that
    runs at the same time does not choose it before, or meanwhile.
    """

    def __init__(self) -> None:
        while True:
            with socket.socket() as door, suppress(OSError):  # chosen by somebody else in this moment
                door.bind(("127.0.0.1", free_port()))
                door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self.number: int = door.getsockname()[1]
                weakref.finalize(self, os.close, door.detach())
                return


class RunningBroker:
    """A broker in a process of its own. Its log is below `folder`, for whoever asks why."""

    def __init__(self, name: str, folder: Path, command: Sequence[str], port: int | Port) -> None:
        self.name, self._kept = name, port
        self.port = port if isinstance(port, int) else port.number
        self._command, self._log = tuple(command), folder / f"{name}-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> Broker:
        """Where a line finds it, without TLS."""
        return Broker("127.0.0.1", self.port)

    @property
    def process_id(self) -> int:
        """For signals of other kinds."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has said."""
        return self._log.read_text("utf-8", "replace")

    def start(self) -> None:
        """Start, and wait until it accepts."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline_s = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline_s:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                try:
                    self._process.wait(0.02)
                except subprocess.TimeoutExpired:
                    continue
                break
        self.kill()
        raise AssertionError(f"{self.name} does not start:\n{self.log}")

    def kill(self) -> None:
        """End it at once, as a power cut would (SIGKILL). Twice is fine."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def reload(self) -> None:
        """Let a mosquitto read its access list anew; before it says so, it goes by the old one."""
        said = self.log.count(RELOADING)
        os.kill(self.process_id, signal.SIGHUP)
        until(lambda: self.log.count(RELOADING) > said)

    def stop(self) -> None:
        """Let it end in order (SIGTERM), so that it saves what it saves."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(LIMIT_S)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def mosquitto_broker(folder: Path, config: str = ANYBODY, port: int | None = None) -> RunningBroker:
    """A mosquitto with these settings, where `{port}` is its port. Not started yet."""
    kept = port or Port()
    port = kept if isinstance(kept, int) else kept.number
    path = folder / f"mosquitto-{port}.conf"
    config = f"{config}\nuser {getpass.getuser()}\n"  # started by root, it would not see the test's folder
    path.write_text(config.replace("{port}", str(port)), "utf-8")
    return RunningBroker("mosquitto", folder, (mosquitto(), "-c", str(path)), kept)


def iotcore_broker(folder: Path) -> RunningBroker:
    """The broker inside the demo, with MQTT 5. Not started yet."""
    port = Port()
    path = folder / f"iotcore-{port.number}.toml"
    path.write_text(IOTCORE.format(host=LOOPBACK, port=port.number), "utf-8")
    command = (sys.executable, "-m", "iotcore", "--config", str(path), "--log-level", "CRITICAL")
    return RunningBroker("iotcore", folder, command, port)


BROKERS: dict[str, Callable[[Path], RunningBroker]] = {
    "mosquitto": mosquitto_broker,
    "iotcore": iotcore_broker,
}


class Ear:
    """A listener that remembers, and acknowledges what arrives unless it is told to `hold`."""

    def __init__(self, hold: bool = False) -> None:
        self.sessions: list[Session] = []
        self.ended: list[tuple[int, str]] = []
        self.heard: list[Arrived] = []
        self.taken = 0
        self._hold = hold
        self._news = threading.Condition()

    def connected(self, session: Session) -> None:
        with self._news:
            self.sessions.append(session)
            self._news.notify_all()

    def disconnected(self, session: Session, why: str) -> None:
        with self._news:
            self.ended.append((session.number, why))
            self._news.notify_all()

    def arrived(self, session: Session, arrived: Arrived) -> None:
        if not self._hold:
            session.acknowledge(arrived)
        with self._news:
            self.heard.append(arrived)
            self._news.notify_all()

    def acknowledged(self, session: Session) -> None:
        with self._news:
            self.taken += 1
            self._news.notify_all()

    @property
    def payloads(self) -> list[bytes]:
        """Of all that arrived."""
        return [arrived.payload for arrived in self.heard]

    def wait(self, what: Callable[[], object]) -> None:
        """Until it is so, looked at on each news. Fails after `LIMIT_S`."""
        with self._news:
            assert self._news.wait_for(what, LIMIT_S), (self.sessions, self.ended, self.heard, self.taken)

    def session(self, count: int = 1) -> Session:
        """The connection, the `count`-th of all there were."""
        self.wait(lambda: len(self.sessions) >= count)
        return self.sessions[count - 1]


def until(what: Callable[[], object]) -> None:
    """Wait for what nobody tells of, such as a line's faults."""
    pause, deadline_s = threading.Event(), time.monotonic() + LIMIT_S
    while not what():
        assert time.monotonic() < deadline_s, "it did not come about"
        pause.wait(0.01)
