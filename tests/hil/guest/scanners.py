"""Scanners that type, made inside the guest by uinput: many at once, and as quick as a real one.

The kernel keeps 64 events for each program that reads a keyboard; whoever is held longer is told that some
were lost. A real scanner on a hub does the same to a gate that stands still for a second.
"""

import ctypes
import fcntl
import os
import signal
import struct
import subprocess
import threading
import time
from pathlib import Path

# linux/uinput.h and linux/input-event-codes.h
SET_EVENT_BIT, SET_KEY_BIT, SETUP, CREATE, DESTROY = 0x40045564, 0x40045565, 0x405C5503, 0x5501, 0x5502
EVENT_SYN, EVENT_KEY = 0, 1
ENTER, SHIFT = 28, 42
KEYS = (
    {key: 2 + place for place, key in enumerate("1234567890")}
    | {key: 16 + place for place, key in enumerate("qwertyuiop")}
    | {key: 30 + place for place, key in enumerate("asdfghjkl")}
    | {key: 44 + place for place, key in enumerate("zxcvbnm")}
    | {"-": 12}
)
KEYBOARD_KEYS = (*range(1, 84), 100)  # udev calls a keyboard what has all of the usual ones
EVENT = struct.Struct("@llHHi")
BUS_USB, VENDOR, PRODUCT = 3, 0x0C2E, 0x0B61
STROKE_S = 0.002  # a quick scanner's time between two keys
OPEN: list[int] = []


def make(count: int, vendor: int = VENDOR, name: str = "hil scanner") -> list[str]:
    """Make so many scanners; returns the path of each."""
    subprocess.run(["modprobe", "uinput"], check=True)
    paths = []
    for number in range(count):
        device = os.open("/dev/uinput", os.O_WRONLY)
        OPEN.append(device)
        for event in (EVENT_KEY,):
            fcntl.ioctl(device, SET_EVENT_BIT, event)
        for key in KEYBOARD_KEYS:
            fcntl.ioctl(device, SET_KEY_BIT, key)
        setup = struct.pack("@HHHH80sI", BUS_USB, vendor, PRODUCT, 1, f"{name} {number}".encode(), 0)
        fcntl.ioctl(device, SETUP, setup)
        fcntl.ioctl(device, CREATE)
        paths.append(_path_of(device))
    subprocess.run(["udevadm", "settle"], check=True)
    return paths


def _path_of(device: int) -> str:
    """The event device of a scanner that was just made."""
    name = ctypes.create_string_buffer(64)
    fcntl.ioctl(device, 0x80000000 | 64 << 16 | ord("U") << 8 | 44, name)  # UI_GET_SYSNAME
    folder = Path("/sys/devices/virtual/input") / name.value.decode()
    end = time.monotonic() + 60
    while not (events := [entry.name for entry in folder.glob("event*")]):
        assert time.monotonic() < end
        threading.Event().wait(0.01)
    return f"/dev/input/{events[0]}"


def remove(first: int) -> None:
    """Pull out this one and all that were made after it."""
    while len(OPEN) > first:
        device = OPEN.pop()
        fcntl.ioctl(device, DESTROY)
        os.close(device)


def _press(device: int, key: int) -> None:
    for down in (1, 0):
        events = EVENT.pack(0, 0, EVENT_KEY, key, down) + EVENT.pack(0, 0, EVENT_SYN, 0, 0)
        os.write(device, events)


class Typist:
    """Types on several scanners at the same time, key by key, and knows the longest silence of each."""

    def __init__(self, count: int, first: int = 0) -> None:
        self._devices = OPEN[first : first + count]
        self._last_s: list[float | None] = [None] * count
        self.silences_s = [0.0] * count

    def type(self, texts: list[str]) -> None:
        """Each scanner types its text; they end at the same time."""
        longest = max(map(len, texts), default=0)
        for place in range(longest):
            for number, text in enumerate(texts):
                at = place - (longest - len(text))
                if at >= 0:
                    self._press(number, ENTER if text[at] == "\n" else KEYS[text[at]])
            threading.Event().wait(STROKE_S)

    def _press(self, number: int, key: int) -> None:
        last_s, now_s = self._last_s[number], time.monotonic()
        if last_s is not None:
            self.silences_s[number] = max(self.silences_s[number], now_s - last_s)
        _press(self._devices[number], key)
        self._last_s[number] = time.monotonic()


def scan(texts: list[str], first: int = 0) -> None:
    """Each scanner, from this one on, types one code and Enter."""
    Typist(len(texts), first).type([f"{text}\n" for text in texts])


def burst(process: int, texts: list[str], before: list[int], held_s: float) -> list[float]:
    """Type these codes; in the middle, after `before` characters of each, hold the process for a while.

    Returns the longest silence between two keys of each, in seconds: a scanner slower than the reader's
    time-out has sent two codes.
    """
    typist = Typist(len(texts))
    typist.type([text[:at] for text, at in zip(texts, before, strict=True)])
    os.kill(process, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        typist.type([f"{text[at:]}\n" for text, at in zip(texts, before, strict=True)])
        threading.Event().wait(max(0.0, held_s - (time.monotonic() - begun)))
    finally:
        os.kill(process, signal.SIGCONT)
    return typist.silences_s
