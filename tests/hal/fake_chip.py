"""A GPIO chip with physics and a memory, behind lgpio's calls: what the product does to it is on its trace.

One `FakeLgpio` is one process; several on the same chips hold lines against each other, as the kernel has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hal.chips import Chip, open_chip

BIAS_UP, BIAS_DOWN, BIAS_OFF = 1 << 5, 1 << 6, 1 << 7  # lgpio.SET_PULL_UP and so on


class GpioError(Exception):
    """What lgpio raises."""


class FakeChip:
    """Lines with what pulls them from outside. `keeps`: a freed line keeps its level, as on some kernels."""

    def __init__(self, label: str = "fake-gpio", lines: int = 28, keeps: bool = False) -> None:
        self.label, self.lines, self.keeps = label, lines, keeps
        self.holders: dict[int, FakeLgpio] = {}
        self.users: dict[int, str] = {}  # lines that something outside these tests holds
        self.outputs: dict[int, int] = {}  # line -> driven level
        self.biases: dict[int, int] = {}  # line -> the pull that was asked for
        self.resistors: dict[int, int] = {}  # line -> level that it is pulled to from outside
        self.contacts: dict[int, int] = {}  # line -> level that a closed contact puts on it
        self.kept: dict[int, int] = {}
        self.broken: set[int] = set()  # reading and writing fail
        self.trace: list[tuple[int, int]] = []  # every change of a level, in order
        self.deaf = False  # the kernel loses edges
        self._levels: dict[int, int] = {}

    def level(self, line: int) -> int:
        """What a meter would show."""
        for source in (self.outputs, self.contacts, self.resistors):
            if line in source:
                return source[line]
        bias = self.biases.get(line, 0)
        if bias & (BIAS_UP | BIAS_DOWN):
            return int(bool(bias & BIAS_UP))
        return self.kept.get(line, 0)

    def put(self, line: int, level: int | None) -> None:
        """A contact closes to this level, or opens."""
        if level is None:
            self.contacts.pop(line, None)
        else:
            self.contacts[line] = level
        self.changed(line)

    def pull(self, line: int, level: int) -> None:
        """Solder a resistor on, before anything begins."""
        self.resistors[line] = self._levels[line] = level

    def changed(self, line: int) -> None:
        """Look at a line again, and tell whoever watches it."""
        level = self.level(line)
        if level != self._levels.get(line, 0):
            self._levels[line] = level
            self.trace.append((line, level))
            holder = self.holders.get(line)
            if holder is not None and not self.deaf:
                holder.told(self, line, level)

    def free(self, line: int) -> None:
        """Nobody holds a line any more."""
        self.holders.pop(line, None)
        self.biases.pop(line, None)
        driven = self.outputs.pop(line, None)
        if driven is not None and self.keeps:
            self.kept[line] = driven
        self.changed(line)


class _Callback:
    def __init__(self, callbacks: dict[tuple[int, int], Any], key: tuple[int, int]) -> None:
        self._callbacks, self._key = callbacks, key

    def cancel(self) -> None:
        self._callbacks.pop(self._key, None)


class FakeLgpio:
    """The library lgpio in one process, on chips by their number."""

    error = GpioError
    BOTH_EDGES = 3
    SET_PULL_UP, SET_PULL_DOWN, SET_PULL_NONE = BIAS_UP, BIAS_DOWN, BIAS_OFF

    def __init__(self, chips: Mapping[int, FakeChip]) -> None:
        self.chips = chips
        self._open: dict[int, FakeChip] = {}
        self._alerts: set[tuple[int, int]] = set()
        self._callbacks: dict[tuple[int, int], Callable[[int, int, int, int], None]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.die()

    def die(self) -> None:
        """The process is killed: the kernel frees its lines, each with whatever level it has."""
        for handle in list(self._open):
            self.gpiochip_close(handle)

    def told(self, chip: FakeChip, line: int, level: int) -> None:
        """An edge, for those who watch."""
        for handle, opened in list(self._open.items()):
            if opened is chip and (handle, line) in self._alerts and (handle, line) in self._callbacks:
                self._callbacks[handle, line](handle, line, level, 0)

    def gpiochip_open(self, gpiochip: int) -> int:
        if gpiochip not in self.chips:
            raise GpioError("can not open gpiochip")
        handle = max(self._open, default=-1) + 1
        self._open[handle] = self.chips[gpiochip]
        return handle

    def gpiochip_close(self, handle: int) -> int:
        chip = self._open.pop(handle)
        for line in [line for line, holder in chip.holders.items() if holder is self]:
            chip.free(line)
        return 0

    def gpio_get_chip_info(self, handle: int) -> list[Any]:
        chip = self._open[handle]
        return [0, chip.lines, "gpiochip", chip.label]

    def gpio_get_line_info(self, handle: int, gpio: int) -> list[Any]:
        chip = self._open[handle]
        if gpio in chip.users:
            return [0, gpio, 1, "", chip.users[gpio]]
        return [0, gpio, int(gpio in chip.holders), "", "lg" if gpio in chip.holders else ""]

    def gpio_claim_input(self, handle: int, gpio: int, flags: int = 0, /) -> int:
        chip = self._claim(handle, gpio)
        chip.outputs.pop(gpio, None)
        chip.biases[gpio] = flags
        chip.changed(gpio)
        return 0

    def gpio_claim_alert(self, handle: int, gpio: int, edges: int, flags: int = 0, /) -> int:
        self.gpio_claim_input(handle, gpio, flags)
        self._alerts.add((handle, gpio))
        return 0

    def gpio_claim_output(self, handle: int, gpio: int, level: int = 0, flags: int = 0, /) -> int:
        chip = self._claim(handle, gpio)
        chip.outputs[gpio] = level
        chip.changed(gpio)
        return 0

    def gpio_free(self, handle: int, gpio: int) -> int:
        self._held(handle, gpio).free(gpio)
        self._alerts.discard((handle, gpio))
        return 0

    def gpio_read(self, handle: int, gpio: int) -> int:
        return self._held(handle, gpio).level(gpio)

    def gpio_write(self, handle: int, gpio: int, level: int) -> int:
        chip = self._held(handle, gpio)
        if gpio not in chip.outputs:
            raise GpioError("GPIO not set as an output")
        chip.outputs[gpio] = level
        chip.changed(gpio)
        return 0

    def callback(
        self, handle: int, gpio: int, edge: int, func: Callable[[int, int, int, int], None]
    ) -> _Callback:
        self._callbacks[handle, gpio] = func
        return _Callback(self._callbacks, (handle, gpio))

    def _claim(self, handle: int, gpio: int) -> FakeChip:
        if handle not in self._open:
            raise GpioError("unknown handle")
        chip = self._open[handle]
        if not 0 <= gpio < chip.lines:
            raise GpioError("bad GPIO number")
        if gpio in chip.users or chip.holders.get(gpio, self) is not self:
            raise GpioError("GPIO busy")
        chip.holders[gpio] = self
        self._alerts.discard((handle, gpio))
        return chip

    def _held(self, handle: int, gpio: int) -> FakeChip:
        chip = self._open.get(handle)
        if chip is None or chip.holders.get(gpio) is not self:
            raise GpioError("GPIO not allocated")
        if gpio in chip.broken:
            raise GpioError("bad GPIO write")
        return chip


def fake_devices(folder: Path, *numbers: int) -> Path:
    """A folder with the chips' devices in it, to look for chips in."""
    for number in numbers:
        (folder / f"gpiochip{number}").touch()
    return folder


def opened(lgpio: FakeLgpio, folder: Path, name: str = "fake-gpio") -> Chip:
    """The chip of this name, with a device in that folder."""
    return open_chip(lgpio, name, fake_devices(folder, *lgpio.chips))
