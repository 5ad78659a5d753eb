"""Bytes of a scanner to codes. No I/O and no clock: the readers feed it and tell it of silence.

Decisions, each with a test:
- A frame that goes silent before its terminator was cut on the way: it is reported as `lost_keys` and never
  delivered, since a shortened code may be somebody else's code. After the silence everything starts afresh.
- Silence is what `idle` is told, never the distance between two `feed`s: bytes may have waited in the
  kernel while the process was stalled, and must not be split for that.
- Scanners often send CR LF. Under "cr" a LF in front of a code is dropped, under "tab" a CR or LF; under
  "lf" the CR before the LF is. Nothing else is trimmed: blanks, NUL, GS (0x1d) and `?.:$%*+-/` are parts of
  codes.
- Scanners send: prefix, AIM identifier, data (with ECI escapes), suffix. It is taken off in that order from
  outside to inside; what is not there is not missed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hal.ports import Code, Read, Unreadable, UnreadableReason

LENGTH_MAX = 512  # characters; a signed ticket code has below 200, and a link with a token below 400
LENGTH_LIMIT = 7089  # characters; no bar code holds more (digits in a QR code of the largest size)
IDLE_MS = 200  # Bluetooth and USB bridges pause up to ~100 ms within a code; nobody shows two codes this fast
IDLE_MS_LIMIT = 10_000  # a longer silence would glue the next person's code to a cut one
UTF8_BYTES_MAX = 4  # bytes of the longest character
STX, ETX, LF, CR = 0x02, 0x03, 0x0A, 0x0D

Terminator: TypeAlias = Literal["any", "cr", "lf", "crlf", "tab", "none"]
Encoding: TypeAlias = Literal["utf-8", "latin-1", "ascii"]

# terminator -> (bytes to stop at, bytes dropped in front of a frame)
ENDS: dict[Terminator, tuple[bytes, bytes]] = {
    "any": (b"\r\n\t", b""),
    "cr": (b"\r", b"\n"),
    "lf": (b"\n", b""),
    "crlf": (b"\n", b""),  # stops at each LF, which ends the frame only if a CR came before it
    "tab": (b"\t", b"\r\n"),
    "none": (b"", b""),
}
# ISO/IEC 15424: "]", a letter for the symbology, a modifier.
AIM_IDENTIFIER = re.compile(r"\][A-Za-z][0-9A-Za-z]")
# AIM ECI protocol: a backslash and six digits name a character set, a backslash of the data is sent twice.
ECI_ESCAPE = re.compile(r"\\(?:\\|[0-9]{6})")
DOUBLED_BACKSLASH = "\\\\"


@dataclass(frozen=True, slots=True)
class Framing:
    """How a scanner wraps its codes. Raises ValueError, naming the setting, where the values do not fit.

    `terminator` ends a frame; "any" is CR, LF, CR LF or Tab, "none" means that silence does. With `stx_etx`
    a frame stands between STX and ETX instead, and what stands outside is noise. `idle_ms` is the silence
    that ends a frame without terminator and cuts one with. `strip_prefix` and `strip_suffix` are literal
    texts, of which the first that fits is taken off once. `strip_aim` takes an AIM identifier (`]Q1`) off
    the front, `strip_eci` ECI escapes (`\\000026`) from anywhere. `length_max` counts the characters as
    sent, before anything is taken off.
    """

    terminator: Terminator = "any"
    stx_etx: bool = False
    idle_ms: int = IDLE_MS
    strip_prefix: tuple[str, ...] = ()
    strip_suffix: tuple[str, ...] = ()
    strip_aim: bool = False
    strip_eci: bool = False
    encoding: Encoding = "utf-8"
    length_max: int = LENGTH_MAX

    def __post_init__(self) -> None:
        """Hold the bounds, and refuse a setting that would do nothing."""
        if self.stx_etx and self.terminator != "any":
            raise ValueError('terminator: with stx_etx a frame ends at ETX, so leave the terminator "any"')
        if not 1 <= self.idle_ms <= IDLE_MS_LIMIT:
            raise ValueError(f"idle_ms: {self.idle_ms} is not between 1 and {IDLE_MS_LIMIT}")
        if not 1 <= self.length_max <= LENGTH_LIMIT:
            raise ValueError(f"length_max: {self.length_max} is not between 1 and {LENGTH_LIMIT}")
        if "" in self.strip_prefix or "" in self.strip_suffix:
            raise ValueError("strip_prefix, strip_suffix: an empty text strips nothing, so leave it out")


class Deframer:
    """Takes bytes as they come, gives reads as they are complete. Holds at most one frame of bounded size."""

    def __init__(self, framing: Framing) -> None:
        self.framing = framing
        self.empty_frames = 0  # terminators with no text before them; CR LF under "any" counts as one
        stops, self._front = (bytes((STX, ETX)), b"") if framing.stx_etx else ENDS[framing.terminator]
        self._stops = stops
        # One more for the CR before an LF. More bytes than this are too many characters in any encoding.
        self._bytes_max = framing.length_max * UTF8_BYTES_MAX + 1
        self._wake_at_ms: int | None = None
        self._unfit: UnreadableReason | None = None  # why the frame is not judged, whatever else it holds
        self._begin(inside=not framing.stx_etx)

    @property
    def losing(self) -> bool:
        """Whether a loss still lasts."""
        return self._unfit == "lost_keys"

    def feed(self, data: bytes, now_ms: int) -> list[Read]:
        """Return the reads that `data` completes."""
        reads: list[Read] = []
        begin = 0
        for at, byte in enumerate(data):
            if byte in self._stops:
                self._take(data[begin:at])
                self._end(byte, reads)
                begin = at + 1
        self._take(data[begin:])
        if data:
            partial = self._begun or (self._inside and self.framing.stx_etx)
            self._wake_at_ms = now_ms + self.framing.idle_ms if partial else None
        return reads

    def idle(self, now_ms: int) -> list[Read]:
        """Nothing has arrived up to now: return what the silence completes or cuts."""
        if self._wake_at_ms is None or now_ms < self._wake_at_ms:
            return []
        return self.finish() if self.framing.terminator == "none" else self._cut()

    def lose(self, now_ms: int) -> None:
        """Something was lost on the way: up to the next terminator or silence there is nothing to judge.

        What was there of a frame is dropped, and the end of the loss is told as one `lost_keys`.
        """
        self._begin(inside=True)
        self._begun = True
        self._unfit = "lost_keys"
        self._wake_at_ms = now_ms + self.framing.idle_ms

    def wake_at(self) -> int | None:
        """When `idle` wants to be called if nothing arrives before, in ms; None: no need."""
        return self._wake_at_ms

    def finish(self) -> list[Read]:
        """The input has ended, which ends a frame as a terminator does (but is not an ETX)."""
        if self.framing.stx_etx or not self._begun:
            return self._cut()
        reads: list[Read] = []
        self._complete(reads)
        return reads

    def _begin(self, inside: bool) -> None:
        self._inside = inside  # False only outside STX and ETX
        self._begun = False
        self._unfit = None
        self._frame = bytearray()
        self._last_byte: int | None = None
        self._wake_at_ms = None

    def _take(self, piece: bytes) -> None:
        if not self._begun:
            piece = piece.lstrip(self._front) if self._front else piece
        if not piece or not self._inside:
            return
        self._begun = True
        self._last_byte = piece[-1]
        if self._unfit is None and len(self._frame) + len(piece) > self._bytes_max:
            self._unfit = "too_long"
            self._frame.clear()
        elif self._unfit is None:
            self._frame += piece

    def _end(self, stop: int, reads: list[Read]) -> None:
        if self.framing.stx_etx:
            if stop == STX:
                reads += self._cut()
                self._begin(inside=True)
            elif self._inside:
                self._complete(reads)
        elif self.framing.terminator == "crlf" and self._last_byte != CR:
            self._take(bytes((stop,)))
        else:
            self._complete(reads)

    def _cut(self) -> list[Read]:
        """Drop the partial frame and say so."""
        cut: list[Read] = [Unreadable(self._unfit or "lost_keys")] if self._begun else []
        self._begin(inside=not self.framing.stx_etx)
        return cut

    def _complete(self, reads: list[Read]) -> None:
        frame, unfit = bytes(self._frame), self._unfit
        self._begin(inside=not self.framing.stx_etx)
        if self.framing.terminator in ("lf", "crlf"):
            frame = frame.removesuffix(b"\r")
        read = Unreadable(unfit) if unfit else unwrapped(frame, self.framing)
        if read is None:
            self.empty_frames += 1
        else:
            reads.append(read)


def unwrapped(frame: bytes, framing: Framing) -> Read | None:
    """What a frame holds once prefix, identifiers and suffix are off; None if nothing is left."""
    try:
        text = frame.decode(framing.encoding)
    except UnicodeDecodeError:
        return Unreadable("not_text")
    if len(text) > framing.length_max:
        return Unreadable("too_long")
    text = text.removeprefix(next(filter(text.startswith, framing.strip_prefix), ""))
    text = text.removesuffix(next(filter(text.endswith, framing.strip_suffix), ""))
    if framing.strip_aim and (identifier := AIM_IDENTIFIER.match(text)):
        text = text[identifier.end() :]
    if framing.strip_eci:
        text = without_eci(text)
    return Code(text) if text else None


def without_eci(text: str) -> str:
    """Take ECI escapes out and make doubled backslashes single.

    A scanner follows the ECI protocol for symbols with an ECI only, and sends at least one escape then; a
    text without any is left whole, doubled backslashes included. The escapes do not choose the encoding,
    the reader's setting does.
    """
    if all(found == DOUBLED_BACKSLASH for found in ECI_ESCAPE.findall(text)):
        return text
    return ECI_ESCAPE.sub(lambda found: "\\" if found[0] == DOUBLED_BACKSLASH else "", text)
