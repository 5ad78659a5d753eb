"""A scanner that plays a keyboard, through evdev: /dev/input/by-id/…, or a vendor and product of USB.

It is grabbed, so that codes do not also arrive at the console. It may be absent at the start and may come and
go; the reader says so and opens it again for ever. After each opening it waits for a silence and discards
what is typed before it: a scanner caught in the middle of a code would have its tail taken for a code of its
own. The kernel keeps no more than 64 events, which is ten characters, so the thread does nothing else.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import evdev

from hal.frames import Framing
from hal.input_devices import SYS_INPUT, Candidate, candidates, types_text
from hal.keys import EV_KEY, EV_SYN, SYN_DROPPED, Keyboard, KeyEvent, Keys
from hal.ports import Deliver, Read, Reader, TellState
from hal.reopening import RETRY_MS, Fault, Reopening
from hal.watch import News, Watch, monotonic_ms

EVENT = struct.Struct("@LLHHi")  # `struct input_event`: seconds, microseconds, type, code, value
EVENTS_MAX = 64  # of one reading, which is what the kernel keeps
RECORDED_MAX = 100_000  # events; the longest code has 43,000
# After a code its keys can wait: their releases would take the interpreter from the loop that judges it. The
# kernel keeps 64 events meanwhile, which is twice what a scanner makes that moves a key every millisecond.
HAND_OVER_MS = 10
SETTLE_MS_MAX = 5000  # longer than any code; a keyboard that never falls silent is no scanner
EVIOCSCLOCKID = 0x400445A0  # _IOW('E', 0xa0, int) of linux/input.h
USB_ID = re.compile(r"[0-9a-f]{4}")

GONE = "is not there: check the cable"
NO_INPUT_DEVICE = "is no input device: take one below /dev/input/by-id whose name ends in -event-kbd"
NEVER_SILENT = "types without a pause: is one of its keys held down?"
NO_KEYBOARD = "is no scanner: it has no keys for letters and digits"
MENDS = {
    errno.ENOENT: GONE,
    errno.ENODEV: GONE,
    errno.ENXIO: GONE,
    errno.EIO: "does not answer: check the cable",
    errno.EACCES: "may not be opened: add the gate's user to the group input",
    errno.EPERM: "may not be opened: add the gate's user to the group input",
    errno.EBUSY: "is in use: end the other program that has grabbed it",
    errno.EISDIR: "is a folder: check the path",
    errno.ENOTTY: NO_INPUT_DEVICE,
    errno.EINVAL: NO_INPUT_DEVICE,
}

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class KeyDevice:
    """Which keyboard: by path, or by what `lsusb` prints of it. Raises ValueError, naming the setting.

    `device` is best a path below /dev/input/by-id, or by-path where two scanners are the same. `vendor` and
    `product` have four hexadecimal digits each; `serial` is needed only to tell two of them apart.
    """

    device: str = ""
    vendor: str = ""
    product: str = ""
    serial: str = ""

    def __post_init__(self) -> None:
        """Hold that the keyboard is named in one way."""
        if bool(self.device) == bool(self.vendor or self.product or self.serial):
            raise ValueError("device: write either device, or vendor and product")
        if self.device and not self.device.startswith("/"):
            raise ValueError(f"device: {self.device!r} is not a full path, such as /dev/input/by-id/…")
        for name, value in (("vendor", self.vendor), ("product", self.product)):
            if not self.device and not USB_ID.fullmatch(value):
                raise ValueError(f"{name}: {value!r} is not four hexadecimal digits, as lsusb prints them")

    def __str__(self) -> str:
        serial = f" with serial {self.serial}" if self.serial else ""
        return self.device or f"keyboard {self.vendor}:{self.product}{serial}"


class Source(Protocol):
    """An open keyboard. Every call raises OSError when the device has gone."""

    def fileno(self) -> int:
        """What can be waited for."""

    def read(self) -> list[KeyEvent]:
        """What has arrived, up to `EVENTS_MAX`; the times are those of `monotonic_ms`."""

    def held(self) -> Iterable[int]:
        """The keys that are down now. Asking takes the key events away that are not read yet."""

    def close(self) -> None:
        """Give it back."""


class EvdevReader(Reader):
    """The port `Reader` on a keyboard. It owns the translator and closes it with itself."""

    def __init__(
        self,
        device: KeyDevice,
        keyboard: Keyboard,
        framing: Framing | None = None,
        retry_ms: int = RETRY_MS,
        open_source: Callable[[KeyDevice], Source] | None = None,
        settle_ms_max: int = SETTLE_MS_MAX,
    ) -> None:
        self.device = device
        self.keyboard = keyboard
        self.framing = framing or Framing()
        self._open_source = open_source or grabbed
        self._settle_ms_max = settle_ms_max
        self._reopening = Reopening(str(device), self._session, retry_ms)

    def start(self, deliver: Deliver, state: TellState) -> None:
        """Begin to read on a thread of its own; both callbacks come from there."""
        self._deliver = deliver
        self._reopening.start(state)

    def close(self) -> None:
        """End the thread and give the device back."""
        if self._reopening.close():
            self.keyboard.close()

    def _session(self) -> None:
        source = answered(lambda: self._open_source(self.device))
        try:
            self._read(source)
        finally:
            source.close()

    def _read(self, source: Source) -> None:
        """Read until told to stop. Raises Fault when the device goes."""
        watch = self._reopening.watch
        keys = Keys(self.framing, self.keyboard)
        keys.resync(answered(source.held), monotonic_ms())
        until_ms = monotonic_ms() + self._settle_ms_max
        while (news := watch.wait(source.fileno(), self.framing.idle_ms)) is News.READY:
            taken(source, keys)
            if monotonic_ms() >= until_ms:
                raise Fault(NEVER_SILENT)
        keys.idle(monotonic_ms())
        if news is News.STOP:
            return
        self._reopening.say(None)
        while True:
            wake_at_ms = keys.wake_at()
            timeout_ms = None if wake_at_ms is None else max(0, wake_at_ms - monotonic_ms())
            news = watch.wait(source.fileno(), timeout_ms)
            if news is News.STOP:
                return
            reads = taken(source, keys) if news is News.READY else keys.idle(monotonic_ms())
            for read in reads:
                self._deliver(read)
            if reads and watch.wait(None, HAND_OVER_MS) is News.STOP:
                return


def taken(source: Source, keys: Keys, clock: Callable[[], int] = monotonic_ms) -> list[Read]:
    """Hand over what has arrived, and after a loss ask the device how its keys are.

    Asking takes keys out of the kernel's queue, and nobody knows which, so it prolongs the loss. Where the
    end of the broken code has arrived behind it already, whole codes can stand there: then nothing is asked,
    and a scanner has let go of its keys by then.
    """
    events = answered(source.read)
    reads = keys.feed(events)
    if keys.losing and any((event.type, event.code) == (EV_SYN, SYN_DROPPED) for event in events):
        keys.resync(answered(source.held), clock())
    return reads


def recorded(source: Source, watch: Watch, first_ms: int, quiet_ms: int) -> list[KeyEvent]:
    """All events from now on, up to a silence of `quiet_ms` after them; none if nothing comes for `first_ms`.

    For whoever wants to know what a scanner types; a reader is not needed for it. Raises Fault.
    """
    events: list[KeyEvent] = []
    while watch.wait(source.fileno(), quiet_ms if events else first_ms) is News.READY:
        events += answered(source.read)
        if len(events) > RECORDED_MAX:
            raise Fault(NEVER_SILENT)
    return events


def answered(question: Callable[[], Answer]) -> Answer:
    """What the device says. Raises Fault."""
    try:
        return question()
    except OSError as error:
        raise Fault(mend(error)) from error


def received(descriptor: int) -> list[KeyEvent]:
    """Read what has arrived. Raises OSError when the device has gone."""
    try:
        data = os.read(descriptor, EVENTS_MAX * EVENT.size)
    except BlockingIOError:
        return []  # asking for the keys that are held took it away
    if not data:
        raise OSError(errno.ENODEV, "end of input")
    return events_of(data)


def events_of(data: bytes) -> list[KeyEvent]:
    """What the kernel's bytes say."""
    return [
        KeyEvent(kind, code, value, seconds * 1000 + microseconds // 1000)
        for seconds, microseconds, kind, code, value in EVENT.iter_unpack(data)
    ]


class Grabbed:
    """The `Source` of a real device. Raises OSError, or Fault where it is no keyboard."""

    def __init__(self, path: str) -> None:
        self._device = evdev.InputDevice(path, readonly=True)
        try:
            if not types_text(self._device.capabilities(absinfo=False).get(EV_KEY, ())):
                raise Fault(f'("{self._device.name}") {NO_KEYBOARD}')
            self._device.grab()
            fcntl.ioctl(self._device.fd, EVIOCSCLOCKID, struct.pack("@i", time.CLOCK_MONOTONIC))
        except BaseException:
            self._device.close()
            raise

    def fileno(self) -> int:
        """What can be waited for."""
        return self._device.fd

    def read(self) -> list[KeyEvent]:
        """What has arrived."""
        return received(self._device.fd)

    def held(self) -> list[int]:
        """The keys that are down now."""
        keys: list[int] = self._device.active_keys()
        return keys

    def close(self) -> None:
        """End the grab."""
        self._device.close()


def grabbed(device: KeyDevice) -> Source:
    """Open a keyboard for this program alone. Raises OSError and Fault."""
    return Grabbed(device.device or f"/dev/input/{found(device).node}")


# --- which keyboard ------------------------------------------------------------------------------------


def found(wanted: KeyDevice, root: Path = SYS_INPUT) -> Candidate:
    """The one keyboard that fits. Raises Fault, naming those that there are."""
    there = list(candidates(root))
    same = [
        one
        for one in there
        if (one.vendor, one.product) == (wanted.vendor, wanted.product) and wanted.serial in ("", one.serial)
    ]
    fitting = [one for one in same if one.keyboard]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        mend = "write its serial, or device with its path below /dev/input/by-path"
        raise Fault(f"could be {' or '.join(map(str, fitting))}: {mend}")
    if same:
        raise Fault(f'("{same[0].name}") {NO_KEYBOARD}')
    others = ", ".join(str(one) for one in there if one.keyboard) or "none"
    raise Fault(f"{GONE}, vendor and product (keyboards that are there: {others})")


def mend(error: OSError) -> str:
    """Say in words what is wrong and what to do about it."""
    number = error.errno or 0
    return MENDS.get(number, f"has failed ({os.strerror(number)}): check the cable")
