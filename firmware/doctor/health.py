"""The machine itself: memory, clock, supply, heat."""

import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from firmware.core.ticket import Choice
from firmware.doctor import findings
from firmware.doctor.check import Check
from firmware.doctor.machine import Machine
from firmware.vitals import (
    HOT_DEGREES,
    MEMORY_FAULT_BYTES,
    MIB,
    PI_ZONE,
    SINCE_POWER_ON,
    SLOWED,
    UNDER_VOLTAGE,
    heat,
    memory,
    supply,
)

MEMORY_WARNING_BYTES = 150 * MIB  # so that the card's cache, a log-in and an update do not fight for the rest
WARM_DEGREES = 70  # in the evening; the sun adds ten


def examine(
    machine: Machine,
    trusted: Callable[[], bool],
    utc_s: Callable[[], float],
    clock_untrusted: Choice,
) -> Iterator[Check]:
    """Look at it. `trusted` says whether the clock is synchronised."""
    yield _model(machine)
    yield _memory(machine)
    yield _clock(machine, trusted(), utc_s(), clock_untrusted)
    yield from _supply(machine)
    yield _heat(machine)


def _model(machine: Machine) -> Check:
    board = machine.text("/proc/device-tree/model")
    product = machine.text("/sys/class/dmi/id/product_name")
    return findings.MACHINE.seen(
        model=board or product or "a machine that does not say its name",
        kernel=machine.text("/proc/sys/kernel/osrelease") or "?",
        bits=8 * struct.calcsize("P"),
    )


def _memory(machine: Machine) -> Check:
    found = memory(machine)
    if found is None:
        return findings.MEMORY_UNKNOWN.seen()
    free = found.free_bytes
    if free < MEMORY_FAULT_BYTES:
        finding = findings.MEMORY_SHORT
    elif free < MEMORY_WARNING_BYTES:
        finding = findings.MEMORY_SCARCE
    else:
        finding = findings.MEMORY
    return finding.seen(free=free // MIB, total=found.total_bytes // MIB)


def _clock(machine: Machine, trusted: bool, utc_s: float, clock_untrusted: Choice) -> Check:
    now = datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
    battery = "" if machine.glob("sys/class/rtc/rtc*") else ", no clock of its own"
    if trusted:
        return findings.CLOCK_GOOD.seen(now=now, battery=battery)
    refused = clock_untrusted is Choice.REFUSE
    policy = "it refuses tickets with dates" if refused else "it checks no dates of tickets"
    return findings.CLOCK_LOOSE.seen(now=now, battery=battery, policy=policy)


def _supply(machine: Machine) -> Iterator[Check]:
    """How it is supplied now, and was since it was switched on."""
    bits = supply(machine)
    if bits is None:
        yield findings.SUPPLY_UNKNOWN.seen()
        return
    before = bits >> SINCE_POWER_ON
    if bits & UNDER_VOLTAGE:
        yield findings.UNDER_VOLTAGE.seen()
    elif before & UNDER_VOLTAGE:
        yield findings.WAS_UNDER_VOLTAGE.seen()
    if why := _slowed(bits):
        yield findings.THROTTLED.seen(why=why)
    elif why := _slowed(before):
        yield findings.WAS_THROTTLED.seen(why=why)
    if not (bits | before) & (UNDER_VOLTAGE | sum(SLOWED)):
        yield findings.SUPPLY_GOOD.seen()


def _slowed(bits: int) -> str:
    return ", ".join(word for bit, word in SLOWED.items() if bits & bit)


def _heat(machine: Machine) -> Check:
    """The hottest of what is shown; each in thousandths of a degree."""
    found = heat(machine)
    if found is None:
        return findings.HEAT_UNKNOWN.seen()
    degrees, zone = found.temperature_mc // 1000, found.zone
    if zone != PI_ZONE:
        finding = findings.COOL
    elif degrees >= HOT_DEGREES:
        finding = findings.HOT
    elif degrees >= WARM_DEGREES:
        finding = findings.WARM
    else:
        finding = findings.COOL
    return finding.seen(degrees=degrees, zone=zone)
