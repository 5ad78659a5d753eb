"""Readers that are plugged in, from what the kernel and udev say of them. None is opened."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from firmware.doctor.machine import Machine, read
from hal.input_devices import bits_of, types_text

# KEY_MUTE, KEY_VOLUMEUP, KEY_SLEEP, KEY_PLAYPAUSE (linux/input-event-codes.h)
FOR_PEOPLE = (113, 115, 142, 164)
BUS_PS2 = "0011"  # BUS_I8042: the keyboard of a laptop
WANDERING = re.compile(r"/dev/(?:tty(?:ACM|USB)|input/event)\d+")
LINKS = ("/dev/serial/by-id", "/dev/serial/by-path", "/dev/input/by-id", "/dev/input/by-path")


@dataclass(frozen=True, slots=True)
class Device:
    """Something that a reader could be: a serial line on USB, or an input device."""

    node: str
    """Its name in /dev, which changes with the order of plugging."""
    kind: str
    """`serial` or `evdev`, as in the settings."""
    names: tuple[str, ...]
    """The links that udev made."""
    vendor: str
    product: str
    """Both as four hexadecimal digits, or empty."""
    serial: str
    title: str
    """What it calls itself."""
    place: str
    """Where it is plugged in; the interfaces of one device share it."""
    types_codes: bool = True
    for_people: bool = False

    @property
    def name(self) -> str:
        """The best name: by id, by place, or the one that changes."""
        by_id = [name for name in self.names if "/by-id/" in name]
        return next(iter((*by_id, *self.names)), self.node)

    @property
    def by_place(self) -> str:
        """The name that tells it from its like."""
        return next((name for name in self.names if "/by-path/" in name), self.node)

    @property
    def likeness(self) -> tuple[str, str, str, str]:
        """Equal for two that nobody can tell apart but by their places."""
        return self.kind, self.vendor, self.product, self.serial


def devices(machine: Machine) -> list[Device]:
    """Everything that types codes or could send them, and what else has keys."""
    links: dict[str, list[str]] = {}
    for folder in LINKS:
        for name, target in machine.links(folder):
            links.setdefault(target.name, []).append(name)
    return [*_serial(machine, links), *_input(machine, links)]


def _serial(machine: Machine, links: dict[str, list[str]]) -> Iterator[Device]:
    """Serial lines on USB. Others (a Pi's own) are always there, whatever is at their end."""
    for path in machine.glob("sys/class/tty/*/device"):
        usb = next((folder for folder in _upwards(path) if (folder / "idVendor").exists()), None)
        if usb is None:
            continue
        name = path.parent.name
        title = " ".join(filter(None, (read(usb / "manufacturer"), read(usb / "product"))))
        yield Device(
            f"/dev/{name}",
            "serial",
            tuple(links.get(name, ())),
            read(usb / "idVendor"),
            read(usb / "idProduct"),
            read(usb / "serial"),
            title,
            usb.name,
        )


def _upwards(path: Path) -> Iterator[Path]:
    """The folder of a device, and those above it."""
    here = path.resolve()
    yield here
    yield from here.parents


def _input(machine: Machine, links: dict[str, list[str]]) -> Iterator[Device]:
    found = []
    for path in machine.glob("sys/class/input/event*/device"):
        keys = bits_of(read(path / "capabilities/key"))
        if not keys:
            continue  # switches, microphones
        place = read(path / "phys").rpartition("/input")[0] or read(path / "phys") or path.parent.name
        media = read(path / "id/bustype") == BUS_PS2 or any(key in keys for key in FOR_PEOPLE)
        name = path.parent.name
        device = Device(
            f"/dev/input/{name}",
            "evdev",
            tuple(links.get(name, ())),
            read(path / "id/vendor"),
            read(path / "id/product"),
            read(path / "uniq"),
            read(path / "name"),
            place,
            types_codes=types_text(keys),
            for_people=media,
        )
        found.append(device)
    busy = {(device.place, device.vendor, device.product) for device in found if device.for_people}
    for device in found:
        for_people = (device.place, device.vendor, device.product) in busy
        yield replace(device, for_people=for_people)
