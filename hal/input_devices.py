"""Input devices as the kernel describes them to everybody, below /sys/class/input. None is opened."""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

SYS_INPUT = Path("/sys/class/input")
LONG_BITS = struct.calcsize("@l") * 8  # the kernel prints capabilities in words of this length

# linux/input-event-codes.h: KEY_1 to KEY_0; KEY_Q to KEY_P, KEY_A to KEY_L, KEY_Z to KEY_M
DIGIT_KEYS = range(2, 12)
LETTER_KEYS = (*range(16, 26), *range(30, 39), *range(44, 51))
KEY_ENTER = 28


class Candidate(NamedTuple):
    """An input device; `node` is its name below /dev/input."""

    node: str
    vendor: str
    product: str
    serial: str
    name: str
    keyboard: bool

    def __str__(self) -> str:
        return f'{self.node} {self.vendor}:{self.product} "{self.name}" serial "{self.serial}"'


def candidates(root: Path = SYS_INPUT) -> Iterator[Candidate]:
    """All input devices of this machine."""
    for folder in sorted(root.glob("event*")):
        try:
            vendor, product, serial, name, keys = (
                (folder / "device" / part).read_text("utf-8", "replace").strip()
                for part in ("id/vendor", "id/product", "uniq", "name", "capabilities/key")
            )
        except OSError:
            continue  # it went while it was looked at
        yield Candidate(folder.name, vendor, product, serial, name, types_text(bits_of(keys)))


def bits_of(words: str) -> frozenset[int]:
    """The numbers of the bits that are set in the kernel's hexadecimal words, the highest word first.

    None where it is no such text: a device that cannot be told is no keyboard, and no reason to end.
    """
    try:
        numbers = [int(word, 16) for word in reversed(words.split())]
    except ValueError:
        return frozenset()
    return frozenset(
        LONG_BITS * place + bit
        for place, number in enumerate(numbers)
        for bit in range(number.bit_length())
        if number >> bit & 1
    )


def types_text(keys: Container[int]) -> bool:
    """Whether a device with these keys can type a code: mice, buttons and remote controls cannot."""
    return all(key in keys for key in (*DIGIT_KEYS, *LETTER_KEYS, KEY_ENTER))
