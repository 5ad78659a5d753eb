"""The boards that this machine offers, each with hands and eyes of its own: what stands outside the product.

`BENCHES` is the list that the contract suite goes through. A bench that is absent says why.

- `fake`: the board that ships with the product. `mock`: gpiozero's pins without a chip. `chip`: our own pins
  on a chip with physics.
- `gpio-sim`: a kernel's simulated chip, where one is loaded and its folder below /sys may be written to.
- `own chip`: the real chip that GATEPOST_TEST_CHIP names, a Pi's or that of a virtual machine. Only by name,
  because whatever is wired to it moves.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from gpiozero.pins import Factory
from gpiozero.pins.mock import MockFactory, MockPin

from hal import wiring
from hal.chip_pins import ChipFactory
from hal.fake import FakeBoard, FakeLaneSettings, Person
from hal.fake_parts import FakeContact
from hal.gpio import GpioBoard, open_factory
from hal.ports import Board, Colour, Way
from hal.schedule import VirtualTime
from hal.wired_lanes import GpioLaneSettings
from tests.hal.fake_chip import FakeChip, FakeLgpio, opened

PATIENCE_MS = 30_000  # only a failing test waits this long
STEP_MS = 10
PULSE_MS = 2000  # long enough to be seen on a machine that is a hundred times slower than a Pi
HOLD_MS = 3000
DEBOUNCE_MS = 20
STUCK_S = 2
OWN_CHIP = "GATEPOST_TEST_CHIP"
SIMULATED = Path("/sys/devices/platform")

Shows = Literal["in", "out", "both", "locked"]

# Lane A works both ways with pulses and a line that frees it; its way out is active low. B is held open.
LANE_A = """
[[lane]]
name = "A"
without_power = "open"
free_by = "separate_line"
in = {{ pin = {0}, drive = "pulse", pulse_ms = {pulse_ms} }}
out = {{ pin = {1}, active = "low", drive = "pulse", pulse_ms = {pulse_ms} }}
free = {{ pin = {2} }}
lamp = {{ red = {3}, green = {4} }}
buzzer = {{ pin = {5} }}
"""
CONTACTS_A = f"""
[lane.sensor]
kind = "rotation"
in_pin = 10
out_pin = 11
debounce_ms = {DEBOUNCE_MS}
stuck_s = {STUCK_S}
"""
LANE_B = f"""
[[lane]]
name = "B"
without_power = "open"
free_by = "hold"
both = {{ pin = 12, drive = "hold" }}
sensor = {{ kind = "light_barrier", pin = 13, contact = "normally_closed", debounce_ms = {DEBOUNCE_MS} }}
lamp = {{ red = 16, green = 17, blue = 18 }}
"""
HOUSE = f"""
[alarm]
pin = 20
debounce_ms = {DEBOUNCE_MS}
[tamper]
pin = 21
contact = "normally_open"
pull = "down"
debounce_ms = {DEBOUNCE_MS}
"""
BOARD = '[board]\nfactory = "mock"\n'
USUAL_A = LANE_A.format(*range(22, 28), pulse_ms=PULSE_MS)
WHOLE = wiring.parse(BOARD + HOUSE + USUAL_A + CONTACTS_A + LANE_B, "bench")
OUTPUTS = wiring.parse(BOARD + LANE_A.format(*range(2, 8), pulse_ms=PULSE_MS), "bench")  # a chip may have 8


class WiredPin(MockPin):  # type: ignore[misc]  # gpiozero has no types
    """A pin that something outside may hold at a level, whatever it is pulled to."""

    outside: int | None = None

    def _set_pull(self, value: str) -> None:
        super()._set_pull(value)
        if self.outside is not None:
            self._change_state(bool(self.outside))


class WiredFactory(MockFactory):  # type: ignore[misc]  # gpiozero has no types
    """Pins outlive a board, as those of a chip do."""

    def __init__(self) -> None:
        super().__init__(revision="a02082", pin_class=WiredPin)

    def close(self) -> None:
        """Nothing: each line was closed by itself."""


class Bench:
    """One board after another on the same wires. `virtual`: time moves when a test says so."""

    name = ""
    virtual = True
    guarded = True  # an opening that nobody ends ends by itself
    moves_inputs = True
    sees_edges = True  # also those that are over at once
    plan = WHOLE

    def __init__(self) -> None:
        self.time = VirtualTime()
        self._stack = ExitStack()

    @classmethod
    def absent(cls) -> str:
        """Why this bench is not here; "" where it is."""
        return ""

    def close(self) -> None:
        """Close what is open."""
        self._stack.close()

    def board(self) -> Board:
        """Open the board."""
        lanes = [self._settings(lane) for lane in self.plan.lanes]
        board = GpioBoard(self.plan, lanes, self.factory(), self.time if self.virtual else None)
        self._stack.callback(board.close)
        return board

    @staticmethod
    def _settings(lane: wiring.Lane) -> GpioLaneSettings:
        ways: tuple[Way, ...] = ("in", "out") if lane.name == "A" else ("out",)
        return GpioLaneSettings(lane.name, ways, "way" if lane.sensor else "none", HOLD_MS)

    def factory(self) -> Factory:
        """The pins to open a board on."""
        raise NotImplementedError

    def level(self, pin: int) -> int:
        """What a meter shows at a pin."""
        raise NotImplementedError

    def put(self, pin: int, level: int | None) -> None:
        """A contact closes to this level, or opens; then its pin is pulled the other way."""
        raise NotImplementedError

    def edges(self) -> list[tuple[int, int]]:
        """Every change of a pin so far, with its new level."""
        raise NotImplementedError

    # --- hands -------------------------------------------------------------------------------------

    def wait(self, ms: int) -> None:
        """Let time go by, where that costs none."""
        if self.virtual:
            self.time.advance(ms)

    def until(self, seen: Callable[[], bool]) -> bool:
        """Wait until this is so; False when it never comes."""
        pause = threading.Event()
        for _ in range(PATIENCE_MS // STEP_MS):
            if seen():
                return True
            if self.virtual:
                self.time.advance(STEP_MS)
            else:
                pause.wait(STEP_MS / 1000)
        return seen()

    def touch(self, seen: wiring.Input, active: bool) -> None:
        """Move a contact."""
        closed = active == (seen.contact == "normally_open")
        self.put(seen.pin, int(seen.pull == "down") if closed else None)

    def rest(self) -> None:
        """Put every contact to rest."""
        for seen in self.plan.inputs:
            self.touch(seen, False)

    def contact(self, name: str, active: bool) -> None:
        """Move the fire alarm's contact, or that of the housing."""
        self.touch(next(seen for seen in self.plan.inputs if seen.part == name), active)

    def stand(self, lane: str, way: Way, there: bool) -> None:
        """Somebody stands before a sensor, or has gone on."""
        for seen in self.plan.inputs:
            if seen.lane == lane and seen.part in ("sensor", f"sensor {way}"):
                self.touch(seen, there)

    # --- eyes --------------------------------------------------------------------------------------

    def active(self, line: wiring.Line) -> bool:
        """Whether a line is switched on."""
        return self.level(line.pin) != line.inactive_level

    def lock_shows(self, lane: str) -> Shows:
        """What the lines of a lane say to its mechanism."""
        wires = self._wires(lane)
        ways = {opening.way for opening in wires.openings if self.active(opening.line)}
        if "both" in ways or len(ways) > 1 or (wires.free is not None and self.active(wires.free.line)):
            return "both"
        return next(iter(ways), "locked")

    def lit(self, lane: str) -> Colour:
        """The colour that is lit now."""
        lamp = self._wires(lane).lamp
        return next((Colour(colour) for colour, line in lamp.items() if self.active(line)), Colour.OFF)

    def sounding(self, lane: str) -> bool:
        """Whether one hears something now."""
        buzzer = self._wires(lane).buzzer
        return buzzer is not None and self.active(buzzer)

    def openings(self) -> int:
        """Edges towards unlocked so far, of all lanes."""
        lines = {line.pin: line for lane in self.plan.lanes for line in lane.locking_lines}
        return sum(pin in lines and level != lines[pin].inactive_level for pin, level in self.edges())

    def _wires(self, lane: str) -> wiring.Lane:
        return next(wires for wires in self.plan.lanes if wires.name == lane)


class FakeBench(Bench):
    """The fake board; its wires are its parts."""

    name = "fake"
    guarded = False  # its people are bounded, its relay is not: it has no loop to stall

    def board(self) -> Board:
        lanes = [FakeLaneSettings("A", ("in", "out")), FakeLaneSettings("B", ("out",), "passage")]
        self.fake = FakeBoard(lanes, self.time, usual=Person("stays"))
        self._stack.callback(self.fake.close)
        return self.fake

    def contact(self, name: str, active: bool) -> None:
        contact: FakeContact | None = self.fake.alarm if name == "alarm" else self.fake.tamper
        assert contact is not None
        if active:
            contact.press()
        else:
            contact.release()

    def stand(self, lane: str, way: Way, there: bool) -> None:
        sensor = self.fake.fakes[lane].sensor
        assert sensor is not None
        if there:
            sensor.see(way)

    def lock_shows(self, lane: str) -> Shows:
        return self.fake.fakes[lane].turnstile.relay

    def lit(self, lane: str) -> Colour:
        return self.fake.fakes[lane].lamp.shows[0]

    def sounding(self, lane: str) -> bool:
        return self.fake.fakes[lane].buzzer.sounds != "none"

    def openings(self) -> int:
        return sum(edge.part == "relay" and edge.value != "locked" for edge in self.fake.tape.edges)


class MockBench(Bench):
    """gpiozero's pins without a chip. Each line is pulled to inactive, as the hand-book asks for."""

    name = "mock"

    def __init__(self) -> None:
        super().__init__()
        self._made = WiredFactory()
        for line in self.plan.lines:
            self._pin(line.pin).pull = "up" if line.inactive_level else "down"
            self._pin(line.pin).clear_states()
        self.rest()

    def factory(self) -> Factory:
        return self._made

    def level(self, pin: int) -> int:
        return int(self._pin(pin).state)

    def put(self, pin: int, level: int | None) -> None:
        wired = self._pin(pin)
        wired.outside = level
        if level is None:
            level = int(wired.pull == "up")
        (wired.drive_high if level else wired.drive_low)()

    def edges(self) -> list[tuple[int, int]]:
        lines = [line.pin for line in self.plan.lines]
        return [(pin, int(state.state)) for pin in lines for state in self._pin(pin).states[1:]]

    def _pin(self, pin: int) -> Any:
        return self._made.pin(pin)


class ChipBench(Bench):
    """Our own pins on a chip with physics."""

    name = "chip"

    def __init__(self) -> None:
        super().__init__()
        self.chip = FakeChip()
        for line in self.plan.lines:
            self.chip.pull(line.pin, line.inactive_level)
        self.rest()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))

    def factory(self) -> Factory:
        return ChipFactory(opened(FakeLgpio({0: self.chip}), self._folder))

    def level(self, pin: int) -> int:
        return self.chip.level(pin)

    def put(self, pin: int, level: int | None) -> None:
        self.chip.put(pin, level)

    def edges(self) -> list[tuple[int, int]]:
        return list(self.chip.trace)


class Door(ChipBench):
    """The chip with physics, and the board on it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = self.board()
        self.a, self.b = self.gate.lanes

    def pin(self, part: str, lane: str = "A") -> int:
        return next(line.pin for line in self.plan.lines if (line.lane, line.part) == (lane, part))

    def changes(self, part: str, lane: str = "A") -> list[int]:
        """What a line was switched to."""
        pin = self.pin(part, lane)
        return [level for changed, level in self.chip.trace if changed == pin]


class KernelBench(Bench):
    """Something in the machine's kernel. One test at a time has it, whichever process that runs in."""

    virtual = False
    sees_edges = False  # what is over before one looks is seen by the kernel's trace only

    def __init__(self) -> None:
        super().__init__()
        lock = Path(tempfile.gettempdir(), f"gatepost-bench-{os.geteuid()}").open("w")  # noqa: SIM115  the stack closes it
        self._stack.callback(lock.close)
        fcntl.flock(lock, fcntl.LOCK_EX)


class SimulatedBench(KernelBench):
    """A kernel's simulated chip, moved and seen through its folder below /sys."""

    name = "gpio-sim"
    # A simulated line takes the pull that a program asks for as its level, so resistors have to be outside.
    plan = wiring.parse(
        BOARD
        + HOUSE.replace('pull = "down"', 'pull = "none"').replace("pin = 20", 'pin = 20\npull = "none"')
        + USUAL_A
        + CONTACTS_A
        + 'pull = "none"\n'
        + LANE_B.replace("pin = 13,", 'pin = 13, pull = "none",'),
        "bench",
    )

    def __init__(self) -> None:
        super().__init__()
        self._folder = simulated()[0]
        for line in self.plan.lines:
            self._pull(line.pin, line.inactive_level)
        self.rest()

    @classmethod
    def absent(cls) -> str:
        chips = simulated()
        if not chips:
            return "this kernel has no gpio-sim chip of 28 lines: modprobe gpio-sim, and configure one"
        if not os.access(chips[0] / "sim_gpio27" / "pull", os.W_OK):
            return f"{chips[0]} may not be written to: run as root"
        return ""

    def factory(self) -> Factory:
        return open_factory("lgpio", f"/dev/{self._folder.name}")

    def level(self, pin: int) -> int:
        return int((self._folder / f"sim_gpio{pin}" / "value").read_text())

    def put(self, pin: int, level: int | None) -> None:
        self._pull(pin, 1 if level is None else level)

    def _pull(self, pin: int, level: int) -> None:
        (self._folder / f"sim_gpio{pin}" / "pull").write_text("pull-up" if level else "pull-down")


def simulated() -> list[Path]:
    """The folders of simulated chips that have enough lines."""
    return sorted(path for path in SIMULATED.glob("gpio-sim.*/gpiochip*") if (path / "sim_gpio27").is_dir())


class OwnBench(KernelBench):
    """The chip that GATEPOST_TEST_CHIP names. Its lines are read back; nobody moves its inputs."""

    name = "own chip"
    moves_inputs = False
    plan = OUTPUTS

    @classmethod
    def absent(cls) -> str:
        named = f"{OWN_CHIP} names no chip whose pins 2 to 7 may move: set it to a label or a path"
        return "" if os.environ.get(OWN_CHIP) else named

    def factory(self) -> Factory:
        self._made = open_factory("lgpio", os.environ[OWN_CHIP])
        return self._made

    def level(self, pin: int) -> int:
        return int(self._made.pin(pin).state)


BENCHES: tuple[type[Bench], ...] = (FakeBench, MockBench, ChipBench, SimulatedBench, OwnBench)
