"""The disk below the data: room for the reserve, and whether what is written stays."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from firmware.doctor import findings
from firmware.doctor.check import Check
from firmware.doctor.machine import Machine
from firmware.rows import (
    LOG_FRAME_BYTES,
    LOG_PAGES,
    PAGE_BYTES,
    RESERVED_ROWS,
    ROWS_A_PAGE,
    SPARE_BYTES,
    TOP_UP,
)
from firmware.vitals import MIB, free_bytes

SCARCE_BYTES = 200 * MIB  # besides the reserve: a list of a full stadium twice, and the logs of a night
RESERVE_PAGES = RESERVED_ROWS // ROWS_A_PAGE
FRESH_BYTES = (RESERVE_PAGES + RESERVE_PAGES // TOP_UP) * PAGE_BYTES + LOG_PAGES * LOG_FRAME_BYTES
IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})
NO_BARRIERS = frozenset({"nobarrier", "barrier=0"})
ESCAPE = re.compile(r"\\([0-7]{3})")  # a blank in a name, as /proc/mounts writes it


class Mount(NamedTuple):
    """A line of /proc/mounts."""

    point: str
    kind: str
    options: frozenset[str]


def examine(
    machine: Machine, data: Path, reserved_bytes: int, free: Callable[[Path], int] = free_bytes
) -> Iterator[Check]:
    """Look at the disk where the data lies or will lie. `reserved_bytes` of the reserve are taken already."""
    there = nearest(data)
    yield from _mount(machine, there)
    room = free(there)
    wanted = max(0, FRESH_BYTES - reserved_bytes) + SPARE_BYTES
    seen = {"folder": data, "rows": f"{RESERVED_ROWS:,}", "free": room // MIB}
    if room < wanted:
        more = -(-(wanted - room) // MIB)
        yield findings.ROOM_SHORT.seen(wanted=-(-wanted // MIB), more=more, **seen)
    elif room < wanted + SCARCE_BYTES:
        yield findings.ROOM_SCARCE.seen(**seen)
    else:
        yield findings.ROOM.seen(**seen)


def nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if os.access(path, os.F_OK))


def _mount(machine: Machine, folder: Path) -> Iterator[Check]:
    mount = mount_of(mounts(machine), folder.resolve())
    if mount is None:
        return
    if "ro" in mount.options:
        yield findings.READ_ONLY.seen(mount=mount.point)
    if mount.kind in IN_MEMORY:
        yield findings.VANISHES.seen(mount=mount.point, kind=mount.kind)
    elif mount.kind == "overlay":
        yield findings.MAY_VANISH.seen(mount=mount.point)
    for option in sorted(mount.options & NO_BARRIERS):
        yield findings.NO_BARRIER.seen(mount=mount.point, option=option)


def mounts(machine: Machine) -> list[Mount]:
    """What is mounted where, in the order of mounting."""
    found = []
    for line in machine.text("/proc/self/mounts").splitlines():
        fields = line.split()
        if len(fields) >= 4:
            point = ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), fields[1])
            found.append(Mount(point, fields[2], frozenset(fields[3].split(","))))
    return found


def mount_of(found: list[Mount], folder: Path) -> Mount | None:
    """The mount that a folder lies in: the deepest one, and of two on one point the later."""
    holding = [mount for mount in found if folder.is_relative_to(mount.point)]
    return max(reversed(holding), key=lambda mount: len(mount.point), default=None)
