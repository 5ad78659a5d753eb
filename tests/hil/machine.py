"""The machine under test: `hardware` in qemu without help from the processor, with systemd as PID 1.

From outside come keys (through the monitor), bytes of a serial scanner (through a socket) and calls to the
agent. The guest ends the machine itself, with a status that only it can give; anything else is a failure, and
then the serial log is shown.
"""

import importlib.util
import json
import os
import queue
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

from tests.hil.cache import say
from tests.hil.guest.__main__ import END
from tests.hil.hardware import Hardware, Line
from tests.hil.initramfs import Archive, initramfs
from tests.hil.kernel import kernel
from tests.hil.product import committed, image
from tests.hil.qmp import Monitor, MonitorError

START_SECONDS_MAX = (
    420  # about 40 s alone on two cores; the same machine is up to four times slower within an hour
)
CALL_SECONDS_MAX = 300
END_SECONDS_MAX = 60
GOOD_END = 16  # what the guest writes when it was told to end; qemu then leaves with 2 * 16 + 1
DATA_DISK_MEGABYTES = 512
KERNEL_WORDS = "panic=-1 quiet loglevel=4 systemd.unit=hil.target systemd.show_status=false"
AGENT_UNIT = """\
[Unit]
Description=The agent of the tests
After=systemd-udevd.service systemd-udev-trigger.service
[Service]
WorkingDirectory=/run/hil
ExecStartPre=/sbin/modprobe virtio_console
ExecStartPre=/bin/udevadm settle --exit-if-exists=$AGENT
ExecStart=/usr/bin/python3 -u -m guest $AGENT
StandardError=journal+console
OOMScoreAdjust=-1000
"""
TARGET = """\
[Unit]
Description=What the tests need, and not the gate, which they start themselves
Requires=basic.target
After=basic.target
Wants=hil-agent.service dbus.socket
AllowIsolate=yes
"""
CONTRACT = "/run/hil/contract"
RUNNER = (
    "pytest",
    "_pytest",
    "py",
    "pluggy",
    "iniconfig",
    "packaging",
    "pygments",
)  # nothing in them is compiled
BAD_WORDS = ("Kernel panic", "Oops:", "BUG:", "general protection fault")  # in the serial log


class GuestError(Exception):
    """A call failed inside the guest; holds its traceback."""


class MachineError(Exception):
    """The machine itself failed."""


def test_files(hardware: Hardware) -> bytes:
    """The archive with the agent and its units."""
    archive = Archive()
    for file in sorted((Path(__file__).parent / "guest").glob("*.py")):
        archive.file(f"hil/run/hil/guest/{file.name}", file.read_bytes())
    agent = AGENT_UNIT.replace("$AGENT", hardware.agent)
    archive.file("hil/run/systemd/system/hil-agent.service", agent.encode())
    archive.file("hil/run/systemd/system/hil.target", TARGET.encode())
    contract = f"hil{CONTRACT}"
    for name, data in committed("tests/__init__.py", "tests/hal").items():
        archive.file(f"{contract}/{name}", data)
    for name in RUNNER:
        found = importlib.util.find_spec(name)
        assert found
        assert found.origin
        origin = Path(found.origin)
        files = origin.parent.rglob("*.py") if found.submodule_search_locations else [origin]
        above = origin.parents[1] if found.submodule_search_locations else origin.parent
        for file in sorted(files):
            archive.file(f"{contract}/{file.relative_to(above)}", file.read_bytes())
    return archive.packed()


class Machine:
    """One machine from power-on to its end. Calls may come from several threads."""

    def __init__(self, hardware: Hardware) -> None:
        self.hardware = hardware
        root, first = image(hardware.architecture), initramfs(hardware.architecture)
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="gatepost-hil-")))
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._ready = threading.Event()
        self._closed = False
        self._number = 0
        self.scanners: list[str] = []  # paths of those that were made inside the guest
        self._sending = threading.Lock()
        initrd, data = self.folder / "initrd", self.folder / "data.img"
        initrd.write_bytes(first + test_files(hardware))
        with data.open("wb") as file:
            file.truncate(DATA_DISK_MEGABYTES << 20)
        self._begun = time.monotonic()
        say(f"the machine starts: {hardware.name}")
        with (self.folder / "qemu.log").open("wb") as log:
            self._qemu = subprocess.Popen(
                self._command(kernel(hardware.architecture), initrd, root, data),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._stack.callback(self._kill)
        try:
            self.monitor = Monitor(self._stack.enter_context(self._waited("monitor")))
            self._stack.callback(self.monitor.close)
            self.serial = self._connected("serial")
            self._agent = self._connected("agent")
            threading.Thread(target=self._listen, daemon=True).start()
            self._wait_for_agent()
        except BaseException:
            self.show_log()
            self._stack.close()
            raise
        say(f"the machine has started in {time.monotonic() - self._begun:.0f} s")

    def _command(self, kernel: Path, initrd: Path, root: Path, data: Path) -> list[str]:
        hardware = self.hardware
        words = f"console={hardware.console} root={hardware.root} {hardware.words} {KERNEL_WORDS}"
        return [
            *(*hardware.command, "-accel", "tcg,thread=multi"),
            *("-display", "none", "-nodefaults", "-no-reboot", "-net", "none"),
            *("-kernel", str(kernel / "vmlinuz"), "-initrd", str(initrd), "-append", words),
            *(("-dtb", str(kernel / Path(hardware.tree).name)) if hardware.tree else ()),
            *("-serial", f"file:{self.folder}/console.log"),
            *("-qmp", f"unix:{self.folder}/monitor,server=on,wait=off"),
            *hardware.devices,
            *("-chardev", self._socket("serial"), "-chardev", self._socket("agent")),
            *(self._virtio(root, data) if hardware.virtio else self._sd_card(root)),
        ]

    def _socket(self, name: str) -> str:
        return f"socket,id={name},path={self.folder}/{name},server=on,wait=off"

    @staticmethod
    def _virtio(root: Path, data: Path) -> list[str]:
        """Two disks, and a line for the agent."""
        words = ["-device", "virtserialport,chardev=agent,name=hil.agent"]
        for name, file, snapshot in (("root", root, "on"), ("data", data, "off")):
            drive = f"file={file},format=raw,if=none,id={name},cache=unsafe,snapshot={snapshot}"
            words += ["-drive", drive, "-device", f"virtio-blk-pci,drive={name}"]
        return words

    @staticmethod
    def _sd_card(root: Path) -> list[str]:
        """One disk for all, and the second serial line for the agent."""
        drive = f"file={root},format=raw,if=sd,cache=unsafe,snapshot=on"
        return ["-drive", drive, "-serial", "chardev:agent"]

    def _wait_for_agent(self) -> None:
        end = self._begun + START_SECONDS_MAX
        while not self._ready.wait(1):
            if self._qemu.poll() is not None:
                raise MachineError(f"the machine ended with {self._qemu.returncode} while it started")
            if time.monotonic() > end:
                raise MachineError(f"nothing came from the guest within {START_SECONDS_MAX} s")

    def _waited(self, name: str) -> "Waited":
        return Waited(self.folder / name, self._qemu)

    def _connected(self, name: str) -> socket.socket:
        path = self._stack.enter_context(self._waited(name))
        connection = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        connection.connect(str(path))
        return connection

    def _listen(self) -> None:
        with suppress(OSError), self._agent.makefile("r", encoding="utf-8") as lines:
            for line in lines:
                if not line.startswith("{"):
                    continue
                answer = json.loads(line)
                if "ready" in answer:
                    self._ready.set()
                elif waiting := self._answers.pop(answer["id"], None):
                    waiting.put(answer)
        for waiting in list(self._answers.values()):
            waiting.put({"error": "the machine is gone", "trace": ""})

    @property
    def processes(self) -> tuple[int, int]:
        """Those that work for it on this machine: qemu, and the one that asks."""
        return self._qemu.pid, os.getpid()

    def begin(self, function: str, *arguments: object) -> "queue.SimpleQueue[dict[str, Any]]":
        """Send a call and do not wait; `result` waits."""
        waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        with self._sending:
            self._number += 1
            self._answers[self._number] = waiting
            question = {"id": self._number, "call": function, "arguments": arguments}
            self._agent.sendall(json.dumps(question).encode() + b"\n")
        return waiting

    def result(self, waiting: "queue.SimpleQueue[dict[str, Any]]", seconds: float = CALL_SECONDS_MAX) -> Any:
        """Wait for what a call returns. Raises GuestError, MachineError."""
        try:
            answer = waiting.get(timeout=seconds)
        except queue.Empty:
            self.show_log()
            raise MachineError(f"the guest did not answer within {seconds} s") from None
        if "error" in answer:
            raise GuestError(f"{answer['error']}\n{answer['trace']}")
        return answer["value"]

    def call(self, function: str, *arguments: object, seconds: float = CALL_SECONDS_MAX) -> Any:
        """Have the agent call `module.function` of the guest package, and return what it returns."""
        return self.result(self.begin(function, *arguments), seconds)

    def sh(self, command: str, seconds: float = CALL_SECONDS_MAX) -> str:
        """Run a command in the guest's shell; it must succeed."""
        return str(self.call("shell.run", command, seconds, seconds=seconds + 30))

    def plug_keyboard(self, serial: str = "LEFT") -> None:
        """Plug in a scanner that types. Keys are pressed on the one that was plugged in last."""
        self.monitor.plug("usb-kbd", f"keyboard-{serial}", bus=self.hardware.usb, serial=serial)

    def plug_serial(self) -> None:
        """Plug in the adapter of the serial scanner."""
        self.monitor.plug("usb-serial", "adapter", bus=self.hardware.usb, chardev="serial", serial="RIGHT")

    def line(self, line: int) -> Line:
        """A line of the machine's own chip, read out of its registers from outside the guest."""
        assert self.hardware.chip
        return self.hardware.chip.line(self.monitor.word, line)

    def console(self) -> str:
        """The serial log."""
        path = self.folder / "console.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def show_log(self) -> None:
        """Show the end of what the machine said."""
        qemu = (self.folder / "qemu.log").read_text(errors="replace")
        say(
            f"the machine after {time.monotonic() - self._begun:.0f} s; its serial log ends with:\n"
            f"{self.console()[-8000:]}\n{qemu[-2000:]}"
        )

    def _kill(self) -> None:
        if self._qemu.poll() is None:
            self._qemu.kill()
        self._qemu.wait()

    def close(self) -> None:
        """Have the guest end the machine. Raises MachineError if it does not, or if its kernel complained."""
        if self._closed:
            return
        self._closed = True
        try:
            with suppress(OSError, MonitorError):
                self.begin("leave", GOOD_END)
                self._wait_for_end()
            complaints = [
                line for line in self.console().splitlines() if any(word in line for word in BAD_WORDS)
            ]
            if complaints or not self._ended_well():
                self.show_log()
                raise MachineError(
                    f"the machine ended with {self._qemu.returncode}; the kernel said {complaints}"
                )
            say(f"the machine ended well after {time.monotonic() - self._begun:.0f} s")
        finally:
            self._stack.close()

    def _wait_for_end(self) -> None:
        """Wait until the guest has ended the machine, or has said that it may be switched off."""
        end = time.monotonic() + END_SECONDS_MAX
        while self._qemu.poll() is None and time.monotonic() < end:
            if f"{END} {GOOD_END}" in self.console():
                self.monitor.ask("quit")
                self._qemu.wait(END_SECONDS_MAX)
            with suppress(subprocess.TimeoutExpired):
                self._qemu.wait(0.2)

    def _ended_well(self) -> bool:
        """Whether the guest itself has ended the machine: a PC by its status, others by a word."""
        if self.hardware.architecture == "amd64":
            return self._qemu.returncode == 2 * GOOD_END + 1
        return self._qemu.returncode == 0 and f"{END} {GOOD_END}" in self.console()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Waited:
    """The path of a socket, once qemu has made it."""

    def __init__(self, path: Path, qemu: "subprocess.Popen[bytes]") -> None:
        self._path, self._qemu = path, qemu

    def __enter__(self) -> Path:
        pause = threading.Event()
        while not self._path.exists():
            if self._qemu.poll() is not None:
                raise MachineError(f"qemu ended with {self._qemu.returncode} before it had begun")
            pause.wait(0.02)
        return self._path

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self._path.unlink()
