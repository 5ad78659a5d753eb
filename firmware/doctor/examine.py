"""All looks at a gate, in the order that an installer reads them in. Nothing is taken from a gate at work."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from firmware.config import Settings
from firmware.doctor import broker, chips, disk, findings, health, libraries, pins, readers, stores, user
from firmware.doctor.check import Check
from firmware.doctor.found import devices
from firmware.doctor.machine import Machine
from firmware.facts import synchronised
from hal.board import SettingError


class Surroundings(NamedTuple):
    """What stands around a gate: the machine and how it is asked. A test brings others."""

    machine: Machine
    probe: pins.Probe
    trusted: Callable[[], bool]
    utc_s: Callable[[], float]
    free: Callable[[Path], int] = disk.free_bytes


def surroundings(utc_s: Callable[[], float]) -> Surroundings:
    """Those of this machine."""
    return Surroundings(Machine(), pins.Probe(chips.ask, open_factory), synchronised, utc_s)


def open_factory(name: str, chip: str) -> pins.Factory:
    """The pin factory of the board. Raises SettingError, also where its library is missing."""
    try:
        from hal import gpio
    except ModuleNotFoundError as error:
        raise SettingError(f'{error.name} is not installed: pip install "gatepost[gate]"') from error
    factory: pins.Factory = gpio.open_factory(name, chip)
    return factory


def examine(around: Surroundings, settings: Settings, config: Path, data: Path | None) -> Iterator[Check]:
    """Look at everything."""
    machine = around.machine
    gate = None if data is None else stores.running(machine, data)
    wanted = readers.wanted(settings)
    yield findings.SETTINGS_READ.seen(
        file=config,
        lanes=", ".join(lane.setup.name for lane in settings.lanes),
        readers=len(wanted),
        board=settings.board,
    )
    wires, checks = pins.read_board(settings)
    yield from checks
    yield from pins.examine(machine, wires, gate, around.probe)
    yield from libraries.examine(settings)
    yield from readers.examine(machine, settings.lanes, wanted, devices(machine))
    yield from user.examine([*(reader.kind for reader in wanted), settings.board])
    found = stores.examine(data, gate)
    yield from found.checks
    if data is not None:
        yield from disk.examine(machine, data, found.reserved_bytes, around.free)
    yield from health.examine(machine, around.trusted, around.utc_s, settings.otherwise.clock_untrusted)
    yield from broker.examine(settings.brokers, around.utc_s())
