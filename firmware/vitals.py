"""What a computer says of its own state: memory, supply, heat, room on its disk.

The doctor judges it once, before doors; a gate at work looks every few seconds. Nothing here opens a device,
but a disk that hangs may keep whoever asks.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from firmware.doctor.machine import Machine, number, read

MIB = 1 << 20
MEMORY_FAULT_BYTES = 60 * MIB  # a gate takes 32 MB at its start, and a list that is checked beside it as many
PI_ZONE = "cpu-thermal"  # its only one; the limits are a Pi's, a laptop is hotter at work
HOT_DEGREES = 80  # from here on a Pi slows itself down (its documentation, "frequency management")

# Where the firmware of a Pi says how it fares: the driver's own link, which is the same for all models, and
# the path of a Pi 3 and 4. The number is hexadecimal; its bits are those of "vcgencmd get_throttled" in the
# documentation of Raspberry Pi OS:
THROTTLED_FILES = (
    "sys/bus/platform/drivers/raspberrypi-firmware/*/get_throttled",
    "sys/devices/platform/soc*/soc*:firmware/get_throttled",
)
UNDER_VOLTAGE = 1 << 0
SLOWED: Mapping[int, str] = {1 << 1: "clock capped", 1 << 2: "throttled", 1 << 3: "soft limit of heat"}
SINCE_POWER_ON = 16  # the same bits this much higher: it was so at some time


class Memory(NamedTuple):
    """What a program could still get, and how much there is."""

    free_bytes: int
    total_bytes: int


class Heat(NamedTuple):
    """The hottest zone, in thousandths of a degree Celsius."""

    temperature_mc: int
    zone: str


def memory(machine: Machine) -> Memory | None:
    """`None` where the kernel does not say."""
    kib = {}
    for line in machine.text("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        value = rest.split()
        if value and value[0].isdigit():
            kib[name] = int(value[0])
    if "MemAvailable" not in kib:
        return None
    return Memory(kib["MemAvailable"] * 1024, kib.get("MemTotal", 0) * 1024)


def supply(machine: Machine) -> int | None:
    """The bits of a Pi's firmware; `None` where this is no Pi.

    A kernel without that file has a volt meter, which knows the alarm alone.
    """
    files = [path for pattern in THROTTLED_FILES for path in machine.glob(pattern)]
    bits = next((found for path in files if (found := number(path, 16)) is not None), None)
    if bits is not None:
        return bits
    meters = [path.parent for path in machine.glob("sys/class/hwmon/*/name") if read(path) == "rpi_volt"]
    alarms = [number(meter / "in0_lcrit_alarm") for meter in meters]
    if not any(alarm is not None for alarm in alarms):
        return None
    return UNDER_VOLTAGE if any(alarms) else 0


def heat(machine: Machine) -> Heat | None:
    """`None` where nothing measures it."""
    zones = [
        Heat(milli, read(path.with_name("type")) or path.parent.name)
        for path in machine.glob("sys/class/thermal/thermal_zone*/temp")
        if (milli := number(path)) is not None
    ]
    return max(zones, default=None)


def free_bytes(folder: Path) -> int:
    """What a user who is not root may still write where this folder lies. Raises `OSError`."""
    return shutil.disk_usage(folder).free
