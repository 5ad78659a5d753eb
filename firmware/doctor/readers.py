"""Readers: those that the settings name against those that are plugged in."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from firmware.config import LaneSettings, ReaderSettings, Settings
from firmware.doctor import findings
from firmware.doctor.check import Check
from firmware.doctor.found import WANDERING, Device
from firmware.doctor.machine import Machine
from firmware.doctor.user import GROUPS, group_of, may_use, user_name

FOUND_MAX = 8  # named in one line; a hub has seven places


class Wanted(NamedTuple):
    """A reader of the settings. `number` counts within its lane; `device` is empty where ids are named."""

    lane: str
    number: int
    kind: str
    device: str
    options: Mapping[str, object]

    @property
    def named(self) -> str:
        """As it stands in a line."""
        if self.device:
            return self.device
        ids = (
            f"{key} {self.options[key]}" for key in ("vendor", "product", "serial") if self.options.get(key)
        )
        return ", ".join(ids) or self.kind


def wanted(settings: Settings) -> list[Wanted]:
    """The readers of all lanes."""
    return [
        Wanted(lane.setup.name, number, reader.kind, _device_of(reader), reader.options)
        for lane in settings.lanes
        for number, reader in enumerate(lane.readers, 1)
    ]


def _device_of(reader: ReaderSettings) -> str:
    return str(reader.options.get("path" if reader.kind == "lines" else "device") or "")


def examine(
    machine: Machine, lanes: Iterable[LaneSettings], readers: list[Wanted], found: list[Device]
) -> Iterator[Check]:
    """Look for each reader of the settings, and say what else is there."""
    for lane in lanes:
        if not lane.readers:
            yield findings.NO_READER.seen(lane=lane.setup.name)
    used: dict[Path, str] = {}
    for reader in readers:
        if reader.kind == "lines":
            yield findings.READER_LINES.seen(lane=reader.lane, device=reader.named)
        else:
            yield from _one(machine, reader, found, used)
    idle = [device for device in found if machine.at(device.node).resolve() not in used]
    for device in idle:
        if device.types_codes:
            yield findings.READER_UNUSED.seen(device=device.name, product=_title(device))
    yield from _alike(idle)


def _one(machine: Machine, reader: Wanted, found: list[Device], used: dict[Path, str]) -> Iterator[Check]:
    """One reader on a device. `used` learns whose each device is."""
    seen = {"lane": reader.lane, "device": reader.named}
    fitting = _fitting(machine, reader, found)
    if reader.device:
        path = machine.at(reader.device)
        if not path.exists():
            yield findings.READER_MISSING.seen(found=_list(found, reader.kind), **seen)
            return
        if not fitting and _other_kind(machine, reader, found):
            yield findings.READER_NO_DEVICE.seen(**seen)
            return
    else:
        if not fitting:
            yield findings.READER_MISSING.seen(found=_list(found, reader.kind), **seen)
            return
        path = machine.at(fitting[0].node)
    if (other := used.get(path.resolve())) is not None:
        yield findings.SHARED_READER.seen(other=other, **seen)
        return
    used[path.resolve()] = reader.lane
    for device in fitting:
        used[machine.at(device.node).resolve()] = reader.lane
    yield from _fitness(reader, fitting, found, path)


def _fitness(reader: Wanted, fitting: list[Device], found: list[Device], path: Path) -> Iterator[Check]:
    """Whether what is there can do a reader's work."""
    seen = {"lane": reader.lane, "device": reader.named}
    alike = fitting
    if reader.device and fitting and fitting[0].vendor:
        alike = [one for one in found if one.types_codes and one.likeness == fitting[0].likeness]
    places = {device.place for device in alike}
    product = _title(fitting[0]) if fitting else ""
    if fitting and not fitting[0].types_codes:
        yield findings.READER_MOUSE.seen(product=fitting[0].title, **seen)
        return
    if len(places) > 1 and (not reader.device or "/by-id/" in reader.device):  # other links somebody made
        by_place = ", ".join(device.by_place for device in alike)
        yield findings.READER_TWINS.seen(count=len(places), found=by_place, **seen)
        return
    if not may_use(path, write=reader.kind == "serial"):
        me, group = user_name(os.geteuid()), group_of(path)
        yield findings.READER_CLOSED.seen(user=me, group=group, wanted=GROUPS[reader.kind], **seen)
        return
    if WANDERING.fullmatch(reader.device):
        yield findings.READER_WANDERS.seen(**seen)
    elif fitting and fitting[0].for_people:
        yield findings.READER_KEYBOARD.seen(product=fitting[0].title, **seen)
    else:
        yield findings.READER_THERE.seen(product=product, **seen)


def _fitting(machine: Machine, reader: Wanted, found: list[Device]) -> list[Device]:
    """The devices that a reader of the settings means: by its path, or by its ids and able to type."""
    of_kind = [device for device in found if device.kind == reader.kind]
    if reader.device:
        target = machine.at(reader.device).resolve()
        return [device for device in of_kind if machine.at(device.node).resolve() == target]
    ids = [(key, _id(reader.options.get(key))) for key in ("vendor", "product", "serial")]
    return [
        device
        for device in of_kind
        if device.types_codes and all(not value or _id(getattr(device, key)) == value for key, value in ids)
    ]


def _id(value: object) -> str:
    """An id as it is compared."""
    return str(value or "").lower()


def _other_kind(machine: Machine, reader: Wanted, found: list[Device]) -> bool:
    """Whether the path leads to a device of the other kind, or an evdev reader to no input device."""
    if reader.kind == "evdev":
        return True
    target = machine.at(reader.device).resolve()
    return any(machine.at(device.node).resolve() == target for device in found)


def _alike(idle: list[Device]) -> Iterator[Check]:
    """Those that no lane has yet, and that could not be told apart."""
    groups: dict[tuple[str, str, str, str], list[Device]] = {}
    for device in idle:
        if device.types_codes and device.vendor:
            groups.setdefault(device.likeness, []).append(device)
    for group in groups.values():
        places = {device.place for device in group}
        if len(places) > 1:
            by_id = (device.name for device in group if "/by-id/" in device.name)
            name = next(by_id, group[0].name)
            yield findings.READERS_ALIKE.seen(count=len(places), product=group[0].title, device=name)


def _title(device: Device) -> str:
    """What it calls itself, with its ids, to stand behind its name."""
    ids = ":".join(filter(None, (device.vendor, device.product)))
    words = ", ".join(filter(None, (device.title, ids, device.serial)))
    return f" ({words})" if words else ""


def _list(found: list[Device], kind: str) -> str:
    names = [device.name for device in found if device.kind == kind and device.types_codes]
    return ", ".join(names[:FOUND_MAX]) or "none"
