"""The gate in the guest as operators and people have it: settings, tickets, start and stop, scans, rows."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.hil import keyboard, site
from tests.hil.cache import say
from tests.hil.machine import Machine

DATA = "/var/lib/gatepost"
PROGRAM = "/opt/gatepost/bin/gatepost"
PYTHON = "/opt/gatepost/bin/python"
UNIT = "gate.service"
TRIAL = "/run/hil/trial"  # settings and data of a gate that is only tried
DROP_IN = "/etc/systemd/system/gate.service.d/hil.conf"
WAIT_S = 90  # for what takes a second at the door; a busy machine without help from the processor needs more
PYTHON_START_S = 0.025  # of `shell.python_start_s` on a PC that does nothing else
ALONE_S = 0.4  # a scan takes a tenth of that
WATCHDOG_S, ABORT_S = 8, 4  # on a Pi 1 s and half a second
SLOWER = f"[Service]\nWatchdogSec={WATCHDOG_S}s\nTimeoutAbortSec={ABORT_S}s\nTimeoutStartSec=280s"
SITE_PACKAGES = "/opt/gatepost/lib/python3.11/site-packages"
Event = dict[str, Any]


class Gate:
    """One gate on one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.factor = 1.0
        self.settings = ""
        self._seen = 0  # the process whose readers were seen at work
        self.floor: list[float] = []  # ms that the bare program takes, before the gate has ever run
        self.others = 0.0  # what others took of this machine's processors meanwhile
        self.started: list[Event] = []  # what the kernel saw of its first start

    def measure(self) -> None:
        """Find out how much longer everything takes here than without emulation; slow systemd down.

        The unit's second without a sign of life is for a Pi; here the same loop needs more. What is held
        against is a figure, not the machine outside: one that is busy would seem to be slow without emulation
        too, and leave the guest, which it slows down, less time.
        """
        took_s = self.machine.call("shell.python_start_s")
        self.factor = max(1.0, took_s / PYTHON_START_S)
        say(f"Python starts in {took_s:.2f} s in the guest, {self.factor:.0f} times what it takes without")
        self.drop_in("")

    @property
    def dead_s_max(self) -> float:
        """Two seconds, as this machine counts them, and what systemd waits longer than on a Pi."""
        return 2 * self.factor + WATCHDOG_S + ABORT_S

    # --- as an operator ---

    def settle(self, scanners: list[str]) -> None:
        """Write both files of this gate."""
        self.write(site.BOARD, site.settings(scanners))

    def write(self, board: str, settings: str) -> None:
        """Write both files."""
        self.settings = settings
        self.machine.call("shell.write", "/etc/gatepost/board.toml", board)
        self.machine.call("shell.write", "/etc/gatepost/gate.toml", settings)

    @contextmanager
    def settled(self, settings: str) -> Iterator[None]:
        """Run with other settings for a while."""
        try:
            self.machine.call("shell.write", "/etc/gatepost/gate.toml", settings)
            self.systemctl("restart", UNIT)
            yield
        finally:
            self.machine.call("shell.write", "/etc/gatepost/gate.toml", self.settings)
            self.systemctl("restart", UNIT)

    def bring(self, codes: list[str]) -> None:
        """Put a list with these codes into use."""
        self.machine.call("shell.write", "/run/tickets.csv", "\n".join(["code", *codes, ""]))
        command = f"{PROGRAM} import --data {DATA} --config /etc/gatepost/gate.toml /run/tickets.csv"
        self.machine.sh(f"runuser -u gatepost -- {command}")

    def systemctl(self, *words: str) -> str:
        return self.machine.sh(f"systemctl {' '.join(words)}")

    def start(self) -> None:
        """Start it; returns when it is ready."""
        self.systemctl("reset-failed", UNIT)
        try:
            self.systemctl("start", UNIT)
        except BaseException:
            self.machine.call("shell.status", "systemctl stop gate")
            raise AssertionError(f"the gate did not start:\n{self.log()}") from None

    def stop(self) -> None:
        self.systemctl("stop", UNIT)

    def log(self) -> str:
        """What the unit has said last."""
        return self.machine.sh("journalctl --unit gate --no-pager --lines 60 --output short-monotonic")

    def show(self, name: str) -> str:
        """A property of the unit."""
        return self.machine.sh(f"systemctl show {UNIT} --property {name} --value").strip()

    def process(self) -> int:
        return int(self.show("MainPID"))

    def drop_in(self, text: str) -> None:
        """Change the unit, as a careless hand would; an empty text takes the change back."""
        self.machine.call("shell.write", DROP_IN, f"{SLOWER}\n{text}")
        self.systemctl("daemon-reload")

    def doctor(self, settings: str | None = None) -> tuple[int, str]:
        """What `gatepost doctor` makes of the gate, or of other settings: its status and its words."""
        self.machine.call("shell.write", f"{TRIAL}/gate.toml", settings or self.settings)
        return self._as_gate(f"{PROGRAM} doctor --config {TRIAL}/gate.toml --data {DATA}")

    def attempt(self, board: str = site.BOARD, environment: str = "") -> tuple[int, str]:
        """Try to run a gate on this board and with data of its own; its status and its words."""
        return self._tried(f"env {environment} {PROGRAM} gate", board, self.settings)

    def fire(self, board: str, settings: str) -> tuple[int, str]:
        """Have doctor fire all there is on this board, asking nobody; its status and its words."""
        return self._tried(f"{PROGRAM} doctor --fire --yes", board, settings)

    def _tried(self, command: str, board: str, settings: str) -> tuple[int, str]:
        settings = settings.replace("/etc/gatepost/board.toml", f"{TRIAL}/board.toml")
        self.machine.call("shell.write", f"{TRIAL}/gate.toml", settings)
        self.machine.call("shell.write", f"{TRIAL}/board.toml", board)
        self.machine.sh(f"install -d -o gatepost {TRIAL}/data")
        return self._as_gate(f"{command} --config {TRIAL}/gate.toml --data {TRIAL}/data")

    def _as_gate(self, command: str) -> tuple[int, str]:
        as_gate = "setpriv --reuid gatepost --regid gatepost --groups input,gpio,dialout"
        status, said = self.machine.call("shell.status", f"{as_gate} {command}", WAIT_S * 2)
        return int(status), str(said)

    # --- as people ---

    def type_alone(self, code: str) -> None:
        """Hold a code to the scanner, with nobody else at work in the guest from Enter until it is decided.

        Whoever reads the trace would wake up at each event, and take a processor from what is measured.
        """
        keyboard.press(self.machine, keyboard.strokes(code, end=()))
        self.machine.call("trace.leave")
        for down in (True, False):
            self.machine.monitor.key("ret", down=down)
        self.machine.call("shell.pause", ALONE_S)
        self.machine.call("trace.go_on")

    def type(self, code: str, layout: Mapping[str, keyboard.Strokes] = keyboard.US) -> None:
        """Hold a code to the scanner that types."""
        keyboard.scan(self.machine, code, layout)

    def send(self, code: str, end: bytes = b"\r") -> None:
        """Hold a code to the serial scanner."""
        self.machine.serial.sendall(code.encode() + end)

    def pull(self, line: int, towards: str) -> None:
        """Move a contact, or what a line that nobody drives falls back to."""
        self.machine.call("chip.pull", site.CHIP, {str(line): towards})

    def alarm(self, active: bool) -> None:
        """Open or close the alarm contact."""
        self.pull(site.ALARM, "up" if active else "down")

    def rest(self, seconds: float = WAIT_S) -> None:
        """Bring it to where every check begins: running, nobody in front, no alarm, both lanes ready."""
        if self.show("ActiveState") != "active":
            self.start()
        pulls = {str(line): towards for line, towards in site.AT_REST.items()} | site.TOWARDS_LOCKED
        self.machine.call("chip.pull", site.CHIP, pulls)
        if self.levels(*site.LOCKED) != tuple(site.LOCKED.values()):
            self.acknowledge()
        self.machine.call("rows.wait_until_settled", seconds)
        self.wait_for_levels(site.READY, seconds)
        if (process := self.process()) != self._seen:  # it says that it is ready before its readers are
            self.wait_until_read(site.KEYBOARD, site.SERIAL, seconds=seconds)
            self._seen = process

    def acknowledge(self) -> None:
        """Say that an alarm is over; it counts once the contact is closed."""
        self.systemctl("kill --signal=USR1 --kill-who=main gate")

    def wait_for_levels(self, wanted: dict[int, int], seconds: float = WAIT_S) -> None:
        self.machine.call(
            "chip.wait", site.CHIP, {str(line): level for line, level in wanted.items()}, seconds
        )

    def walk(self, sensor: int) -> None:
        """Walk through: the contact closes and opens again, each for longer than its debounce."""
        for towards in ("down", "up"):
            self.pull(sensor, towards)
            self.machine.call("shell.pause", 0.15)

    def wait_until_read(self, *devices: str, seconds: float = WAIT_S) -> None:
        """Wait until the gate has taken these readers, and judges what comes.

        What is typed before the first silence may be the end of a code that began before, and is passed over.
        """
        for device in devices:
            self.machine.call("threads.wait_until_taken", self.process(), device, seconds)
        self.machine.call("shell.pause", site.IDLE_MS * 1.5 / 1000)

    # --- as one who watches ---

    def mark(self) -> int:
        """The number of the newest event."""
        return int(self.machine.call("trace.mark"))

    def events(self, mark: int, *kinds: str) -> list[Event]:
        """What the kernel saw since; of these kinds only, where the line to the guest is a slow one."""
        events: list[Event] = self.machine.call("trace.since", mark, *kinds)
        return events

    def written(self, mark: int, line: int, seconds: float = WAIT_S, value: int = 1) -> Event:
        """Wait for a write of this level to this line."""
        event: Event = self.machine.call("trace.wait", mark, "set", line, value, seconds)
        return event

    def writes(self, mark: int, line: int) -> list[int]:
        """The levels written to this line since."""
        return [one["value"] for one in self.events(mark, "set") if one["line"] == line]

    def levels(self, *lines: int) -> tuple[int, ...]:
        """The levels that these lines have now."""
        return tuple(self.machine.call("chip.levels", site.CHIP, list(lines)))

    def threads(self) -> set[int]:
        """The gate's threads, by which the trace knows its writes."""
        return set(self.machine.call("threads.of", self.process()))

    def rows(self) -> int:
        """How many rows are there by now."""
        return int(self.machine.call("rows.mark"))

    def row(self, mark: int, seconds: float = WAIT_S, **wanted: object) -> dict[str, Any]:
        """Wait for a row with these fields."""
        row: dict[str, Any] = self.machine.call("rows.wait", mark, wanted, seconds)
        return row

    def rows_since(self, mark: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.machine.call("rows.since", mark)
        return found
