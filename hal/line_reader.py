"""Codes as lines of a terminal, a pipe or a file: the demo's keyboard, and its list of codes.

Two ways to use it. `start` delivers every line from a thread, as any reader does. `next_read` gives one line
when it is asked for one, so that a list is read no faster than the lane can take it.
"""

from __future__ import annotations

import io
import os
import threading
from collections import deque
from typing import BinaryIO, Self

from hal.frames import LENGTH_MAX, Deframer, Framing
from hal.ports import Deliver, Read, Reader, TellState
from hal.watch import News, Watch

READ_BYTES_MAX = 65536  # a pipe's buffer; also bounds the lines that wait for `next_read`
JOIN_S_MAX = 5.0  # the thread ends within milliseconds unless `deliver` hangs, which must not hang the stop
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class LineReader(Reader):
    """The port `Reader` on lines of UTF-8 text.

    A line ends at LF or CR LF, the last one also at the end of the input; nothing else is taken off but a
    byte-order mark at the very beginning. `ended` is set when the input has ended or cannot be read any more,
    after the last line was delivered. Empty lines are counted, not delivered.

    Bytes are read past Python's buffer where the stream has a descriptor, so nobody else may read from it.
    The stream stays open when the reader closes, unless it came from `opened`.
    """

    def __init__(self, stream: BinaryIO, name: str = "standard input", length_max: int = LENGTH_MAX) -> None:
        self.name = name
        self.ended = threading.Event()
        self.line_number = 0  # of the line that was given last; the first one is 1, empty ones count too
        self._stream = stream
        self._close_stream = False
        self._descriptor = descriptor_of(stream)
        self._deframer = Deframer(Framing("lf", length_max=length_max))
        self._head: bytes | None = b""  # what could become a byte-order mark; None once that is settled
        self._pending: deque[tuple[int, Read]] = deque()
        self._lines_begun = 1
        self._watch = Watch()
        self._reading = threading.Lock()  # held while the descriptors are in use
        self._at_end = False
        self._stopped = False
        self._thread: threading.Thread | None = None

    @classmethod
    def opened(cls, path: str, length_max: int = LENGTH_MAX) -> Self:
        """Open a file, a named pipe or a terminal by path, and close it with the reader. Raises OSError.

        A pipe that nobody writes to yet is waited for by who reads, never by who opens.
        """
        stream = io.FileIO(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
        reader = cls(stream, path, length_max)
        reader._close_stream = True
        return reader

    @property
    def empty_lines(self) -> int:
        """Empty lines seen so far, up to the end of what was read in one go."""
        return self._deframer.empty_frames

    def start(self, deliver: Deliver, state: TellState) -> None:
        """Begin to read on a thread of its own; both callbacks come from there."""
        if self._thread is not None:
            raise RuntimeError(f"{self.name}: this reader was started already")
        self._thread = threading.Thread(
            target=self._run, args=(deliver, state), name=f"reader {self.name}", daemon=True
        )
        self._thread.start()

    def next_read(self) -> Read | None:
        """Wait for the next line that is not empty. None: the input has ended, or the reader was closed.

        Raises OSError where the input cannot be read. Not for use after `start`.
        """
        if self._thread is not None:
            raise RuntimeError(f"{self.name}: its lines are delivered, so they cannot be asked for as well")
        return self._next()

    def close(self) -> None:
        """End the thread, wake who waits in `next_read`, and give the stream back."""
        self._stopped = True
        self._watch.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(JOIN_S_MAX)
        if self._reading.acquire(timeout=JOIN_S_MAX):
            self._watch.close()
            if self._close_stream:
                self._stream.close()
            self._reading.release()

    def _run(self, deliver: Deliver, state: TellState) -> None:
        state(None)
        try:
            while (read := self._next()) is not None:
                deliver(read)
        except OSError as error:
            state(f"{self.name} cannot be read ({error.strerror}): no more codes come from it")
            self.ended.set()
        except Exception as error:
            # Only a mistake in what was called back comes here. The lane must not fall silent over it.
            state(f"{self.name}: its reader has ended ({error!r}): restart the gate, report the log")
            raise

    def _next(self) -> Read | None:
        with self._reading:
            while not (self._pending or self._at_end or self._stopped):
                self._fill()
            if self._stopped:
                return None
            if self._pending:
                self.line_number, read = self._pending.popleft()
                return read
            self.ended.set()
            return None

    def _fill(self) -> None:
        if self._descriptor is None:
            data = self._stream.read(READ_BYTES_MAX)
        elif self._watch.wait(self._descriptor, None) is News.STOP:
            return
        else:
            data = os.read(self._descriptor, READ_BYTES_MAX)
        self._at_end = not data
        *lines, rest = self._unmarked(data).split(b"\n")
        for line in lines:
            self._keep(self._deframer.feed(line + b"\n", now_ms=0))
            self._lines_begun += 1
        self._keep(self._deframer.feed(rest, now_ms=0))
        if self._at_end:
            self._keep(self._deframer.finish())

    def _keep(self, reads: list[Read]) -> None:
        self._pending += ((self._lines_begun, read) for read in reads)

    def _unmarked(self, data: bytes) -> bytes:
        """Drop a byte-order mark at the very beginning, though it may come in pieces."""
        if self._head is None:
            return data
        data = self._head + data
        if not self._at_end and len(data) < len(BYTE_ORDER_MARK) and BYTE_ORDER_MARK.startswith(data):
            self._head = data
            return b""
        self._head = None
        return data.removeprefix(BYTE_ORDER_MARK)


def descriptor_of(stream: BinaryIO) -> int | None:
    """What can be waited for; None for a stream that lies in memory."""
    try:
        return stream.fileno()
    except io.UnsupportedOperation:
        return None
