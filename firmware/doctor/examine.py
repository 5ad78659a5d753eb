"""All looks at a gate, in the order that an installer reads them in. Nothing is taken from a gate at work."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from firmware import vitals
from firmware.config import Settings
from firmware.doctor import (
    broker,
    chips,
    disk,
    findings,
    health,
    keys,
    libraries,
    pins,
    readers,
    stores,
    user,
)
from firmware.doctor.check import Check
from firmware.doctor.found import devices
from firmware.doctor.machine import Machine
from firmware.facts import synchronised
from firmware.mqtt import with_identity
from hal.board import SettingError


class Surroundings(NamedTuple):
    """What stands around a gate: the machine and how it is asked. A test brings others."""

    machine: Machine
    probe: pins.Probe
    trusted: Callable[[], bool]
    utc_s: Callable[[], float]
    free: Callable[[Path], int] = vitals.free_bytes


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


def examine(
    around: Surroundings, settings: Settings, config: Path | str, data: Path | None
) -> Iterator[Check]:
    """Look at everything; `config` is the name of the settings.

    A look that breaks off is a fault of its own, and the others go on.
    """
    machine = around.machine
    gate = None if data is None else stores.running(machine, data)
    wanted = readers.wanted(settings)
    kinds = [*(reader.kind for reader in wanted), settings.board]
    policy = settings.otherwise.clock_untrusted
    yield findings.SETTINGS_READ.seen(
        file=config,
        lanes=", ".join(lane.setup.name for lane in settings.lanes),
        readers=len(wanted),
        board=settings.board,
    )
    yield from whole("board and pins", lambda: _board(around, settings, gate))
    yield from whole("libraries", lambda: libraries.examine(settings))
    yield from whole("readers", lambda: readers.examine(machine, settings.lanes, wanted, devices(machine)))
    yield from whole("user", lambda: user.examine(kinds))
    yield from whole("stores and disk", lambda: _stores(around, data, gate))
    yield from whole("signed codes", lambda: keys.examine(settings, data))
    yield from whole("machine", lambda: health.examine(machine, around.trusted, around.utc_s, policy))
    brokers = settings.brokers
    if data is not None:
        brokers = tuple(with_identity(each, data) for each in brokers)
    yield from whole("brokers", lambda: broker.examine(brokers, around.utc_s()))


def whole(thing: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """A look to its end, or up to where it breaks off."""
    try:
        yield from look()
    except Exception as error:  # whatever the machine has come up with: the others must be looked at too
        yield findings.LOOK_FAILED.seen(thing=thing, problem=f"{type(error).__name__}: {error}")


def _board(around: Surroundings, settings: Settings, gate: stores.Running | None) -> Iterator[Check]:
    wires, checks = pins.read_board(settings)
    yield from checks
    yield from pins.examine(around.machine, wires, gate, around.probe)


def _stores(around: Surroundings, data: Path | None, gate: stores.Running | None) -> Iterator[Check]:
    found = stores.examine(data, gate)
    yield from found.checks
    if data is not None:
        yield from disk.examine(around.machine, data, found.reserved_bytes, around.free)
