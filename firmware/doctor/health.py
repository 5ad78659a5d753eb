"""The machine itself: memory, clock, supply, heat."""

import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from firmware.core.ticket import Choice
from firmware.doctor import findings
from firmware.doctor.check import Check
from firmware.doctor.machine import Machine, number, read

MIB = 1 << 20
MEMORY_FAULT_BYTES = 60 * MIB  # a gate takes 32 MB at its start, and a list that is checked beside it as many
MEMORY_WARNING_BYTES = 150 * MIB  # so that the card's cache, a log-in and an update do not fight for the rest
WARM_DEGREES = 70  # in the evening; the sun adds ten
PI_ZONE = "cpu-thermal"  # its only one; the limits above and below are a Pi's, a laptop is hotter at work
HOT_DEGREES = 80  # from here on a Pi slows itself down (its documentation, "frequency management")

# Where the firmware of a Pi says how it fares: the driver's own link, which is the same for all models, and
# the path of a Pi 3 and 4. The number is hexadecimal; its bits are those of "vcgencmd get_throttled" in the
# documentation of Raspberry Pi OS:
THROTTLED_FILES = (
    "sys/bus/platform/drivers/raspberrypi-firmware/*/get_throttled",
    "sys/devices/platform/soc*/soc*:firmware/get_throttled",
)
UNDER_VOLTAGE = 1 << 0
SLOWED = {1 << 1: "clock capped", 1 << 2: "throttled", 1 << 3: "soft limit of heat"}
SINCE_POWER_ON = 16  # the same bits this much higher: it was so at some time


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
    kib = {}
    for line in machine.text("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        value = rest.split()
        if value and value[0].isdigit():
            kib[name] = int(value[0])
    if "MemAvailable" not in kib:
        return findings.MEMORY_UNKNOWN.seen()
    free = kib["MemAvailable"] * 1024
    if free < MEMORY_FAULT_BYTES:
        finding = findings.MEMORY_SHORT
    elif free < MEMORY_WARNING_BYTES:
        finding = findings.MEMORY_SCARCE
    else:
        finding = findings.MEMORY
    return finding.seen(free=free // MIB, total=kib.get("MemTotal", 0) // 1024)


def _clock(machine: Machine, trusted: bool, utc_s: float, clock_untrusted: Choice) -> Check:
    now = datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
    battery = "" if machine.glob("sys/class/rtc/rtc*") else ", no clock of its own"
    if trusted:
        return findings.CLOCK_GOOD.seen(now=now, battery=battery)
    refused = clock_untrusted is Choice.REFUSE
    policy = "tickets with dates are refused" if refused else "dates of tickets are not checked"
    return findings.CLOCK_LOOSE.seen(now=now, battery=battery, policy=policy)


def _supply(machine: Machine) -> Iterator[Check]:
    """From the firmware of a Pi; a kernel without that file has a volt meter that knows the alarm alone."""
    files = [path for pattern in THROTTLED_FILES for path in machine.glob(pattern)]
    bits = next((found for path in files if (found := number(path, 16)) is not None), None)
    if bits is None:
        meters = [path.parent for path in machine.glob("sys/class/hwmon/*/name") if read(path) == "rpi_volt"]
        alarms = [number(meter / "in0_lcrit_alarm") for meter in meters]
        if not any(alarm is not None for alarm in alarms):
            yield findings.SUPPLY_UNKNOWN.seen()
            return
        bits = UNDER_VOLTAGE if any(alarms) else 0
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
    zones = [
        (milli // 1000, read(path.with_name("type")) or path.parent.name)
        for path in machine.glob("sys/class/thermal/thermal_zone*/temp")
        if (milli := number(path)) is not None
    ]
    if not zones:
        return findings.HEAT_UNKNOWN.seen()
    degrees, zone = max(zones)
    if zone != PI_ZONE:
        finding = findings.COOL
    elif degrees >= HOT_DEGREES:
        finding = findings.HOT
    elif degrees >= WARM_DEGREES:
        finding = findings.WARM
    else:
        finding = findings.COOL
    return finding.seen(degrees=degrees, zone=zone)
