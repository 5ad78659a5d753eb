"""What is typed on the terminal: a line that can be mended a little. A scanner in keyboard mode types too."""

import re
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hal.frames import LENGTH_MAX, UTF8_BYTES_MAX, Framing, unwrapped
from hal.ports import Read

ENTER = b"\r\n\t"  # what scanners end a code with
BACKSPACE = b"\x7f\x08"
CLEAR = 0x15  # Ctrl-U
END = 0x04  # Ctrl-D, on an empty line
KEYS = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[@-~])?")  # arrows and the like, as terminals send them
BYTES_MAX = LENGTH_MAX * UTF8_BYTES_MAX + 1  # one more than any code has; the rest is let go
LINE_DISABLED = b"\0"  # _POSIX_VDISABLE of Linux


class Typed:
    """A line as it grows. Bytes become text when it is entered, at the same door as a scanner's."""

    def __init__(self) -> None:
        self.ended = False
        self._line = bytearray()
        self._framing = Framing()

    @property
    def text(self) -> str:
        """What stands on the line."""
        return self._line.decode(errors="replace")

    def feed(self, data: bytes) -> Iterator[Read]:
        """Take what was typed, and give each line that was entered and is not empty."""
        for byte in KEYS.sub(b"", data):
            if byte in ENTER:
                read = unwrapped(bytes(self._line), self._framing)
                self._line.clear()
                if read is not None:
                    yield read
            elif byte in BACKSPACE:
                self._line = bytearray(self.text[:-1].encode())
            elif byte == CLEAR:
                self._line.clear()
            elif byte == END and not self._line:
                self.ended = True
            elif len(self._line) < BYTES_MAX:
                self._line.append(byte)


@contextmanager
def each_key(descriptor: int) -> Iterator[None]:
    """Give each key at once and show none of them, until the block is left, however it is left.

    Ctrl-C goes on to end the demo. Ctrl-Z does not: it would leave the terminal as it is here. Raises
    `OSError` where this is no terminal.
    """
    try:
        before = termios.tcgetattr(descriptor)
    except termios.error as error:
        raise OSError(*error.args) from error
    now = termios.tcgetattr(descriptor)
    now[0] &= ~termios.IXON  # Ctrl-S would stop the picture
    now[3] &= ~(termios.ICANON | termios.ECHO)
    now[6][termios.VMIN], now[6][termios.VTIME] = 1, 0
    now[6][termios.VSUSP] = now[6][termios.VQUIT] = LINE_DISABLED
    try:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, now)
        yield
    finally:
        with suppress(termios.error):  # the terminal has gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
