"""A board of relays, lamps and contacts on GPIO pins, through gpiozero. The board file names the pin factory.

Nothing is claimed before the whole board file and the lanes of the gate have been checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from gpiozero import InputDevice, OutputDevice
from gpiozero.exc import GPIOPinInUse
from gpiozero.pins import Factory
from gpiozero.pins.mock import MockFactory, MockPin

from hal import wiring
from hal.gpio_parts import (
    GpioBuzzer,
    GpioContact,
    GpioLamp,
    GpioPassageSensor,
    GpioTurnstile,
    LineFault,
)
from hal.ports import LaneParts, Part
from hal.schedule import RealTime, Scheduler
from hal.setting_error import SettingError
from hal.wired_lanes import GpioLaneSettings, check_lanes

MEND = "check the chip and the wiring, and start the gate again"


def open_factory(name: str, chip: str) -> Factory:
    """The pin factory of this name: `lgpio` on a chip, named by its label or path; `mock` has no pins at all.

    Raises SettingError: lgpio is missing, there is no such chip, or it may not be opened.
    """
    if name == "mock":
        return MockFactory(
            revision="a02082", pin_class=MockPin
        )  # the 40 pins of every Pi; not as variables say
    if name != "lgpio":
        raise SettingError(f'board.factory: there is no "{name}": choose lgpio or mock')
    from hal.chip_pins import ChipFactory
    from hal.chips import lgpio, open_chip

    return ChipFactory(open_chip(lgpio(), chip))


# --- lines and contacts on pins -----------------------------------------------------------------------------


class GpioSwitch:
    """A line that is driven, inactive from its first moment."""

    def __init__(self, line: wiring.Line, factory: Factory) -> None:
        self.line = line
        with _claiming(line):
            self._device = OutputDevice(
                line.pin, active_high=line.active == "high", initial_value=False, pin_factory=factory
            )

    def set(self, active: bool) -> None:
        """Switch on or off. Raises LineFault."""
        try:
            if active:
                self._device.on()
            else:
                self._device.off()
        except Exception as error:  # whatever gpiozero or lgpio make of it
            raise LineFault(f"{self.line} cannot be switched ({error}): {MEND}") from error

    def close(self) -> None:
        """Free the line; whoever had it has switched it off."""
        self._device.close()


class GpioEye:
    """A contact that is seen."""

    def __init__(self, seen: wiring.Input, factory: Factory) -> None:
        self.seen = seen
        self._edge: Callable[[bool], None] | None = None
        pull = {"up": True, "down": False, "none": None}[seen.pull]
        with _claiming(seen):
            self._device = InputDevice(
                seen.pin,
                pull_up=pull,
                active_state=bool(seen.active_level) if pull is None else None,
                pin_factory=factory,
            )

    def read(self) -> bool:
        """Whether it is active. Raises LineFault."""
        try:
            return bool(self._device.pin.state) is bool(self.seen.active_level)
        except Exception as error:  # whatever gpiozero or lgpio make of it
            raise LineFault(f"{self.seen} cannot be read ({error}): {MEND}") from error

    def watch(self, edge: Callable[[bool], None] | None) -> None:
        """Tell every edge, on lgpio's thread."""
        self._edge = edge
        if not self._device.closed:
            self._device.pin.edges = "both"
            self._device.pin.when_changed = None if edge is None else self._changed

    def close(self) -> None:
        """Free the pin."""
        if not self._device.closed:
            self._device.pin.when_changed = None
        self._device.close()

    def _changed(self, ticks: float, state: Any) -> None:
        edge = self._edge
        if edge is not None:
            edge(bool(state) is bool(self.seen.active_level))


@contextmanager
def _claiming(what: wiring.Line | wiring.Input) -> Iterator[None]:
    """What a claim raises, made into a SettingError with the name of the pin."""
    try:
        yield
    except GPIOPinInUse as error:
        raise SettingError(f"{what.key}: {what} is in use in this program ({error})") from error
    except Exception as error:  # PinRefused with its mend, or whatever gpiozero or lgpio make of it
        raise SettingError(f"{what.key}: {what} {error}") from error


class _Wires:
    """All lines and contacts of a board file. Those that let people through are claimed first."""

    def __init__(self, plan: wiring.Wiring, factory: Factory) -> None:
        locking = [line for lane in plan.lanes for line in lane.locking_lines]
        with ExitStack() as stack:
            stack.callback(factory.close)
            self.switches: dict[wiring.Line, GpioSwitch] = {}
            for line in (*locking, *(line for line in plan.lines if line not in locking)):
                self.switches[line] = GpioSwitch(line, factory)
                stack.callback(self.switches[line].close)
            self.eyes: dict[wiring.Input, GpioEye] = {}
            for seen in plan.inputs:
                self.eyes[seen] = GpioEye(seen, factory)
                stack.callback(self.eyes[seen].close)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Free everything, every line inactive."""
        self._stack.close()


# --- the board ----------------------------------------------------------------------------------------------


class GpioBoard(Part):
    """The port `Board`. It takes factory and scheduler over. Raises SettingError; then nothing is claimed."""

    def __init__(
        self,
        plan: wiring.Wiring,
        lanes: Sequence[GpioLaneSettings],
        factory: Factory,
        time: Scheduler | None = None,
    ) -> None:
        self.name = "gpio"
        self.wiring = plan
        self.hazards = wiring.hazards(plan)
        self.time = time or RealTime("board guard")
        try:
            check_lanes(plan, lanes)
            self._wires = _Wires(plan, factory)
        except BaseException:
            factory.close()
            self.time.close()
            raise
        wires = {lane.name: lane for lane in plan.lanes}
        self.lanes = tuple(self._parts(wires[lane.name], lane.unlock_ms) for lane in lanes)
        self.alarm = self._contact(plan.alarm, at_once=True)
        self.tamper = self._contact(plan.tamper, at_once=False)

    def _parts(self, lane: wiring.Lane, unlock_ms: int) -> LaneParts:
        switches, eyes = self._wires.switches, self._wires.eyes
        sensor = None
        if lane.sensor is not None:
            contacts = [(eyes[seen], way) for seen, way in lane.sensor.contacts]
            sensor = GpioPassageSensor(contacts, lane.sensor.stuck_ms, self.time)
        return LaneParts(
            lane.name,
            (),
            GpioTurnstile(lane, switches, self.time, unlock_ms),
            sensor,
            GpioLamp(lane.name, {colour: switches[line] for colour, line in lane.lamp.items()}, self.time),
            GpioBuzzer(lane.name, switches[lane.buzzer] if lane.buzzer else None, self.time),
        )

    def _contact(self, seen: wiring.Input | None, at_once: bool) -> GpioContact | None:
        return None if seen is None else GpioContact(self._wires.eyes[seen], self.time, at_once)

    def close(self) -> None:
        """Lock and silence every lane, and free the pins."""
        contacts = filter(None, (self.alarm, self.tamper))
        sensors = (lane.sensor for lane in self.lanes if lane.sensor)
        parts: Iterable[Part] = (
            *contacts,
            *sensors,
            *(part for lane in self.lanes for part in (lane.turnstile, lane.lamp, lane.buzzer)),
        )
        for part in parts:
            part.close()
        self.time.close()
        self._wires.close()
