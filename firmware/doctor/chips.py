"""GPIO chips and who uses their lines, asked of the kernel (linux/gpio.h) without taking a line."""

import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

CHIP_INFO = 0x8044B401  # GPIO_GET_CHIPINFO_IOCTL
LINE_INFO = 0xC100B405  # GPIO_V2_GET_LINEINFO_IOCTL
CHIP = struct.Struct("=32s32sI")  # name, label, number of lines
LINE = struct.Struct("=32s32sIIQ176x")  # name, consumer, offset, number of attributes, flags; attributes
USED = 1  # GPIO_V2_LINE_FLAG_USED: by a process or by the kernel
LINES_MAX = 512  # asked for; the largest chip of a Pi has 58


class Line(NamedTuple):
    """A line that somebody uses, and who."""

    offset: int
    consumer: str


class Chip(NamedTuple):
    """A GPIO chip. `label` stays the same from kernel to kernel, the number in its name does not."""

    name: str
    label: str
    lines: int
    used: tuple[Line, ...] = ()

    def consumer(self, offset: int) -> str | None:
        """Who uses a line; None where nobody does."""
        return next((line.consumer or "the kernel" for line in self.used if line.offset == offset), None)


AskChip: TypeAlias = Callable[[Path], Chip]


def ask(device: Path) -> Chip:
    """What the kernel says of a chip. Raises OSError."""
    handle = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        answer = bytearray(CHIP.size)
        fcntl.ioctl(handle, CHIP_INFO, answer)
        name, label, lines = CHIP.unpack(answer)
        found = (_line(handle, offset) for offset in range(min(lines, LINES_MAX)))
        return Chip(_text(name), _text(label), lines, tuple(line for line in found if line is not None))
    finally:
        os.close(handle)


def _line(handle: int, offset: int) -> Line | None:
    """A line in use; None for one that is free."""
    question = bytearray(LINE.pack(b"", b"", offset, 0, 0))
    fcntl.ioctl(handle, LINE_INFO, question)
    _, consumer, _, _, flags = LINE.unpack(question)
    return Line(offset, _text(consumer)) if flags & USED else None


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode(errors="replace")
