"""The board file, the GPIO chips of this machine, and who else uses the pins."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import NamedTuple, Protocol, TypeAlias

from firmware.config import Settings
from firmware.config.board import board_settings
from firmware.doctor import findings
from firmware.doctor.check import Check
from firmware.doctor.chips import AskChip, Chip
from firmware.doctor.machine import Machine
from firmware.doctor.stores import Running
from firmware.doctor.user import group_of, user_name
from hal import wiring
from hal.board import SettingError, built_lanes
from hal.wired_lanes import GpioLaneSettings, check_lanes


class Factory(Protocol):
    """A pin factory that was opened."""

    def close(self) -> None:
        """Give the chip back."""


OpenFactory: TypeAlias = Callable[[str, str], Factory]


class Probe(NamedTuple):
    """How pins are asked for. Neither takes a line."""

    ask: AskChip
    """What the kernel says of a chip."""
    open_factory: OpenFactory
    """Open the pin factory of this name on the chip with this label. Raises SettingError."""


def read_board(settings: Settings) -> tuple[wiring.Wiring | None, list[Check]]:
    """The board file with what is wrong with it; None where there is none, or none that can be used."""
    if settings.board != "gpio":
        return None, [findings.FAKE_BOARD.seen()]
    try:
        wires = wiring.read(settings.board_file)
    except SettingError as error:
        problems = str(error).splitlines()
        return None, [findings.BOARD_REFUSED.seen(problem=problem) for problem in problems]
    return wires, list(_board(settings, wires))


def _board(settings: Settings, wires: wiring.Wiring) -> Iterator[Check]:
    yield findings.BOARD_READ.seen(
        file=settings.board_file,
        factory=wires.factory,
        lanes=", ".join(lane.name for lane in wires.lanes),
        pins=len(wires.lines) + len(wires.inputs),
    )
    for problem in _differences(settings, wires):
        yield findings.BOARD_REFUSED.seen(problem=problem)
    if wires.factory == "mock":
        yield findings.BENCH_FACTORY.seen()
    for hazard in wiring.hazards(wires):
        yield findings.HAZARD.seen(hazard=hazard)
    for caution in wiring.cautions(wires):
        yield findings.CAUTION.seen(caution=caution)


def _differences(settings: Settings, wires: wiring.Wiring) -> list[str]:
    """Where settings and board file do not fit together, as the gate would say it."""
    try:
        check_lanes(wires, built_lanes("gpio board", GpioLaneSettings, board_settings(settings)))
    except SettingError as error:
        return str(error).splitlines()
    return []


def examine(
    machine: Machine, wires: wiring.Wiring | None, gate: Running | None, probe: Probe
) -> Iterator[Check]:
    """The chips that there are, and whether the pins of the board file can be had."""
    needed = wires is not None and wires.factory != "mock"
    devices = machine.glob("dev/gpiochip*")
    if not devices:
        yield findings.NO_CHIP.seen() if needed else findings.NO_CHIP_NEEDED.seen()
    chips: list[Chip] = []
    for device in devices:
        try:
            chips.append(probe.ask(device))
        except OSError as error:
            name = machine.named(device)
            if error.errno in (errno.EACCES, errno.EPERM):
                me = user_name(os.geteuid())
                yield findings.CHIP_CLOSED.seen(device=name, user=me, group=group_of(device))
            else:
                yield findings.CHIP_SILENT.seen(device=name, why=error.strerror or error)
    if chips:
        yield findings.CHIPS.seen(chips=", ".join(map(_described, chips)))
    if wires is None or not needed:
        return
    chip = next((chip for chip in chips if wires.chip in (chip.label, f"/dev/{chip.name}")), None)
    if chip is not None:
        yield from _pins(wires, chip, gate)
    if chips and chip is None:
        labels = ", ".join(sorted({chip.label for chip in chips}))
        yield findings.WRONG_CHIP.seen(chip=wires.chip, chips=labels)
    else:
        yield _factory(wires, probe)


def _described(chip: Chip) -> str:
    used = f", {len(chip.used)} in use" if chip.used else ""
    return f"{chip.name} is {chip.label} ({chip.lines} lines{used})"


def _pins(wires: wiring.Wiring, chip: Chip, gate: Running | None) -> Iterator[Check]:
    parts = [(line.pin, str(line)) for line in wires.lines] + [(seen.pin, str(seen)) for seen in wires.inputs]
    taken = 0
    for pin, part in parts:
        if pin >= chip.lines:
            yield findings.PIN_MISSING.seen(part=part, chip=chip.label, lines=chip.lines)
            continue
        who = chip.consumer(pin)
        if who is not None:
            taken += 1
        if who is not None and gate is None:
            yield findings.PIN_TAKEN.seen(part=part, who=who)
    if gate is not None and taken:
        yield findings.PINS_GATE.seen(count=taken)
    elif not taken:
        yield findings.PINS_FREE.seen(count=len(parts))


def _factory(wires: wiring.Wiring, probe: Probe) -> Check:
    try:
        with closing(probe.open_factory(wires.factory, wires.chip)):
            return findings.FACTORY_OPENS.seen(factory=wires.factory)
    except SettingError as error:
        return findings.FACTORY_FAILS.seen(problem=error)
