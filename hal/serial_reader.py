"""A scanner on a serial line, through pyserial: /dev/serial/by-id/…, a real port or a USB one.

The device may be absent at the start and may come and go; the reader says so and opens it again by its path
for ever. After each opening it waits for a silence and discards what arrives before it, for two reasons. What
was scanned while nobody listened belongs to a person who has gone. And a scanner caught in the middle of a
code would have its tail taken for a code of its own. Only then the reader reports that it works.

Where the driver counts bytes that were damaged or dropped, a code with such a byte is not judged. Both times
the silence is `idle_ms` of the framing: with less, a pause within a code would be taken for its end.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import serial

from hal.frames import Deframer, Framing
from hal.ports import Deliver, Reader, TellState, Unreadable
from hal.reopening import RETRY_MS, Fault, Reopening
from hal.watch import News, Watch, monotonic_ms

READ_BYTES_MAX = 4096  # what the kernel holds for a terminal line
SETTLE_MS_MAX = 5000  # longer than any code; a line that never falls silent is set up wrongly
BAUD_RATE_LIMIT = 4_000_000  # the fastest USB bridges

PARITIES = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}

# `struct serial_icounter_struct` of linux/serial.h: frame, overrun, parity, brk and buf_overrun tell of loss.
TIOCGICOUNT = 0x545D
COUNTERS = struct.Struct("@20i")
ERROR_COUNTERS = (6, 7, 8, 9, 10)
UNCOUNTED = (errno.ENOTTY, errno.EINVAL, errno.ENOSYS)  # a pseudo-terminal, and drivers without counters

MENDS = {
    errno.ENOENT: "is not there: check the cable",
    errno.ENODEV: "is not there: check the cable",
    errno.ENXIO: "is not there: check the cable",
    errno.EIO: "does not answer: check the cable",
    errno.EACCES: "may not be opened: add the gate's user to the group dialout",
    errno.EAGAIN: "is in use: end the other program that reads it",
    errno.EBUSY: "is in use: end the other program that reads it",
    errno.EISDIR: "is a folder: check the path",
}


@dataclass(frozen=True, slots=True)
class SerialLine:
    """Where the scanner is and how its line is set. Raises ValueError, naming the setting.

    `device` is best a path below /dev/serial/by-id, which stays the same whatever is plugged in first. A
    scanner on USB mostly ignores the rest. There is no flow control: a scanner sends a code, not a stream.
    """

    device: str
    baud_rate: int = 9600
    data_bits: Literal[7, 8] = 8
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1

    def __post_init__(self) -> None:
        """Hold the bounds."""
        if not self.device.startswith("/"):
            raise ValueError(f"device: {self.device!r} is not a full path, such as /dev/serial/by-id/…")
        if not 50 <= self.baud_rate <= BAUD_RATE_LIMIT:
            raise ValueError(f"baud_rate: {self.baud_rate} is not between 50 and {BAUD_RATE_LIMIT}")


class SerialReader(Reader):
    """The port `Reader` on a serial line. The device is locked against other readers while it is open."""

    def __init__(
        self,
        line: SerialLine,
        framing: Framing | None = None,
        retry_ms: int = RETRY_MS,
        count_errors: Callable[[int], int] | None = None,
    ) -> None:
        self.line = line
        self.framing = framing or Framing()
        self._count_errors = count_errors or line_errors
        self._reopening = Reopening(line.device, self._session, retry_ms)

    def start(self, deliver: Deliver, state: TellState) -> None:
        """Begin to read on a thread of its own; both callbacks come from there."""
        self._deliver = deliver
        self._reopening.start(state)

    def close(self) -> None:
        """End the thread and give the device back."""
        self._reopening.close()

    def _session(self) -> None:
        with self._opened() as port:
            self._read(port.fileno())

    def _opened(self) -> serial.Serial:
        try:
            port = serial.Serial(
                self.line.device,
                baudrate=self.line.baud_rate,
                bytesize=self.line.data_bits,
                parity=PARITIES[self.line.parity],
                stopbits=self.line.stop_bits,
                timeout=0,
                exclusive=True,
            )
            unbroken(port.fileno())
        except (OSError, ValueError, termios.error) as error:
            raise Fault(mend(error)) from error
        return port

    def _read(self, descriptor: int) -> None:
        """Read until told to stop. Raises Fault when the device goes."""
        watch = self._reopening.watch
        silence_ms = self.framing.idle_ms
        if not settled(watch, descriptor, silence_ms):
            return
        self._reopening.say(None)
        deframer = Deframer(self.framing)
        errors = self._count_errors(descriptor)
        while True:
            wake_at_ms = deframer.wake_at()
            timeout_ms = None if wake_at_ms is None else max(0, wake_at_ms - monotonic_ms())
            news = watch.wait(descriptor, timeout_ms)
            if news is News.STOP:
                return
            if news is News.SILENCE:
                reads = deframer.idle(monotonic_ms())
            else:
                data = received(descriptor)
                before, errors = errors, self._count_errors(descriptor)
                if errors == before:
                    reads = deframer.feed(data, monotonic_ms())
                else:  # which byte it was is not told, only that it may be any up to the next silence
                    if not settled(watch, descriptor, silence_ms):
                        return
                    deframer = Deframer(self.framing)
                    errors = self._count_errors(descriptor)
                    reads = [Unreadable("lost_keys")]
            for read in reads:
                self._deliver(read)


def unbroken(descriptor: int) -> None:
    """Have a break on the line read as a NUL: as pyserial leaves it, it may discard what came before."""
    attributes = termios.tcgetattr(descriptor)
    attributes[0] &= ~termios.BRKINT
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)


def line_errors(descriptor: int) -> int:
    """How many bytes were damaged or dropped on a line since it is there; 0 where nobody counts."""
    try:
        counts = COUNTERS.unpack(fcntl.ioctl(descriptor, TIOCGICOUNT, bytes(COUNTERS.size)))
    except OSError as error:
        if error.errno in UNCOUNTED:
            return 0
        raise Fault(mend(error)) from error
    return sum(counts[place] for place in ERROR_COUNTERS)


def settled(watch: Watch, descriptor: int, silence_ms: int, longest_ms: int = SETTLE_MS_MAX) -> bool:
    """Discard what arrives before a silence; False if told to stop. Raises Fault if no silence comes."""
    until_ms = monotonic_ms() + longest_ms + silence_ms  # which may itself be longer than any code
    while (news := watch.wait(descriptor, silence_ms)) is News.READY:
        received(descriptor)
        if monotonic_ms() >= until_ms:
            raise Fault("sends without a pause: check baud_rate and what the scanner is set to")
    return news is News.SILENCE


def received(descriptor: int) -> bytes:
    """Read what has arrived. Raises Fault if the device has gone: a ready line has bytes or is dead."""
    try:
        data = os.read(descriptor, READ_BYTES_MAX)
    except OSError as error:
        raise Fault(mend(error)) from error
    if not data:
        raise Fault(MENDS[errno.EIO])
    return data


def mend(error: Exception) -> str:
    """Say in words what is wrong and what to do about it."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None or number == errno.ENOTTY:
        return f"is not a serial line that can be set up so ({error}): check device and baud_rate"
    return MENDS.get(number, f"has failed ({os.strerror(number)}): check the cable")
