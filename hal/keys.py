"""Key events of a keyboard scanner to codes. No I/O and no clock: `hal.evdev_reader` feeds it.

A keyboard translator says what each key types; from there on the text goes through `hal.frames`, so prefixes,
terminators and lengths work as they do on a serial line. Decisions, each with a test:
- SYN_DROPPED means that the kernel's buffer of 64 events ran over. As the kernel's document says
  (input/event-codes), everything up to and including the next SYN_REPORT is passed over. What is left of the
  code might be somebody else's shorter code, so nothing is delivered up to the next terminator or silence.
- Events carry the time at which the kernel saw them, so silence between two codes is seen also where this
  process was held up, and the halves of two codes are never glued together. Holding a key down is silence.
- The kernel's key repeat is not typing, and is passed over.
- The keypad types digits whatever NumLock says: scanners reckon with it on. NumLock itself is passed over.
- After a loss nobody knows whether caps lock was pressed an odd number of times, which matters for scanners
  that press it before and after each code. At the next silence no code is under way, so it is as set again;
  up to then a code is lost as well once caps lock is pressed.
- Ctrl types control characters, as GS by Ctrl and ]. With any other key it is a command to a program, and
  with right Alt it can be either: both make the code `not_text`, since what was meant cannot be told.
- Left Alt with digits on the keypad is how a scanner set to "universal keyboard" types a character by its
  number, as Windows takes it: ASCII, or with a 0 in front Windows-1252. Other numbers are not text, nor is
  one with a silence or a loss in the middle: the digits that are left would be another character.
- A key that types nothing (an arrow, F1, a key that the layout leaves empty) makes the code `not_text`:
  leaving it out would shorten the code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from hal.frames import Deframer, Framing
from hal.ports import Read, Unreadable

# linux/input-event-codes.h
EV_SYN, EV_KEY = 0, 1
SYN_REPORT, SYN_DROPPED = 0, 3
RELEASED, PRESSED, REPEATED = 0, 1, 2  # repeated by the kernel, while it is held
KEY_LEFTALT, KEY_RIGHTALT, KEY_CAPSLOCK, KEY_NUMLOCK = 56, 100, 58, 69
CTRL_KEYS = {29, 97}  # left, right
KEYPAD_DIGITS = {82: "0", 79: "1", 80: "2", 81: "3", 75: "4", 76: "5", 77: "6", 71: "7", 72: "8", 73: "9"}
BTN_MISC = 0x100  # from here on buttons of mice and remote controls

XKB_NAME = re.compile(r"[A-Za-z0-9_-]+")

NO_TEXT = "\udcff"  # stands for a character that cannot be told; as bytes it is 0xff, which is never UTF-8
ALT_DIGITS_MAX = 4  # 0 and the 255 of an 8 bit character
ALT_DIGITS_UNKNOWN = "0" * (ALT_DIGITS_MAX + 1)  # some are missing: as too many, they are no character
ASCII_END, CHARACTERS_8_BIT = 0x80, 0x100


class KeyEvent(NamedTuple):
    """What the kernel tells (`struct input_event`); the time is that of the clock that waiting uses."""

    type: int
    code: int
    value: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Which keyboard a scanner plays, by the names of xkeyboard-config: `de`, or `ch` with variant `fr`.

    `caps_lock`: the scanner reckons with caps lock on. Raises ValueError, naming the setting.
    """

    layout: str = "us"
    variant: str = ""
    caps_lock: bool = False

    def __post_init__(self) -> None:
        """Hold that it is one layout: xkb takes lists of them, and nothing for a default."""
        if not XKB_NAME.fullmatch(self.layout):
            raise ValueError(f'layout: {self.layout!r} is not the name of a keyboard layout, such as "de"')
        if self.variant and not XKB_NAME.fullmatch(self.variant):
            raise ValueError(f'variant: {self.variant!r} is not the name of a variant, such as "nodeadkeys"')


class Keyboard(Protocol):
    """Knows what a key types, and keeps count of shift, locks and dead keys. Keys are evdev's numbers."""

    def press(self, key: int) -> str:
        """What this types: "" where it only changes what follows, `NO_TEXT` where that cannot be told."""

    def release(self, key: int) -> None:
        """The key is up again."""

    def flush(self) -> str:
        """Nothing follows: `NO_TEXT` if a dead key still waits for its letter."""

    def reset(self, held: Iterable[int] = ()) -> None:
        """Begin anew with these keys held down."""

    def close(self) -> None:
        """Give back what it holds. A second call does nothing."""


class Keys:
    """Takes key events as they come, gives reads as they are complete."""

    def __init__(self, framing: Framing, keyboard: Keyboard) -> None:
        self._deframer = Deframer(framing)
        self._keyboard = keyboard
        self._held: set[int] = set()
        self._alt: str | None = None  # the digits typed while left Alt is held
        self._ignoring = False  # after SYN_DROPPED, up to the end of its packet
        self._unsure = False  # after a loss, up to a silence: caps lock may be other than the keyboard has it
        self._guessing = False  # and it was pressed since
        self._silent_from_ms: int | None = None

    @property
    def empty_frames(self) -> int:
        """Terminators with nothing before them: a scanner that sends Enter twice."""
        return self._deframer.empty_frames

    @property
    def losing(self) -> bool:
        """Whether a loss still lasts, so that nothing is there that asking for the held keys could spoil."""
        return self._deframer.losing

    def feed(self, events: Iterable[KeyEvent]) -> list[Read]:
        """Return the reads that these events complete."""
        reads: list[Read] = []
        for kind, code, value, time_ms in events:
            if kind > EV_KEY:  # what stands beside a key, such as its number in USB
                continue
            reads += self.idle(time_ms)
            if kind == EV_SYN and code == SYN_DROPPED:
                self._lose((), time_ms)
                self._ignoring = True
            elif kind == EV_SYN and code == SYN_REPORT:
                self._ignoring = False
            elif kind != EV_KEY or code >= BTN_MISC or value not in (RELEASED, PRESSED):
                continue
            elif self._ignoring:
                self._lose((), time_ms)
            else:
                text = self._pressed(code) if value == PRESSED else self._released(code)
                typed = self._typed(text, time_ms)
                reads += [Unreadable("lost_keys") for _ in typed] if self._guessing else typed
                # Never before the silence that a loss waits for: a key that is read after the device was
                # asked can be older than the asking, and the loss would then never end by itself.
                silent_from_ms = time_ms + self._deframer.framing.idle_ms
                self._silent_from_ms = max(self._silent_from_ms or 0, silent_from_ms)
        return reads

    def idle(self, now_ms: int) -> list[Read]:
        """No key was moved up to now: return what the silence completes or cuts."""
        if self._silent_from_ms is None or now_ms < self._silent_from_ms:
            return []
        silent_from_ms, self._silent_from_ms = self._silent_from_ms, None
        waiting = self._keyboard.flush()
        if self._alt:
            waiting, self._alt = NO_TEXT, ALT_DIGITS_UNKNOWN
        if self._unsure:
            self._keyboard.reset(self._held)
            self._unsure = self._guessing = False
        reads = self._typed(waiting, silent_from_ms - self._deframer.framing.idle_ms)
        return reads + self._deframer.idle(silent_from_ms)

    def wake_at(self) -> int | None:
        """When `idle` wants to be called if nothing arrives before, in ms; None: no need."""
        return self._silent_from_ms

    def resync(self, held: Iterable[int], now_ms: int) -> None:
        """Go on with what the device itself says about its keys, after a loss or at the beginning.

        Asking the kernel takes the key events away that are still queued, so this is a loss as well.
        """
        self._lose(held, now_ms)
        self._ignoring = False

    def _lose(self, held: Iterable[int], now_ms: int) -> None:
        self._held = set(held)
        self._keyboard.reset(self._held)
        self._unsure = True
        self._alt = ALT_DIGITS_UNKNOWN if KEY_LEFTALT in self._held else None
        self._deframer.lose(now_ms)
        self._silent_from_ms = now_ms + self._deframer.framing.idle_ms

    def _typed(self, text: str, time_ms: int) -> list[Read]:
        return self._deframer.feed(text.encode("utf-8", "surrogateescape"), time_ms) if text else []

    def _pressed(self, key: int) -> str:
        if key in self._held:  # its release is not in the recording; for shift that would count twice
            self._keyboard.release(key)
        self._held.add(key)
        if key == KEY_NUMLOCK:
            return ""
        if key == KEY_CAPSLOCK:
            self._guessing = self._unsure
        if self._alt is not None and key in KEYPAD_DIGITS:
            self._alt += KEYPAD_DIGITS[key] if len(self._alt) <= ALT_DIGITS_MAX else ""
            return ""
        text = self._keyboard.press(key)
        if key == KEY_LEFTALT:
            self._alt = ""
            return text
        alt, ctrl = self._alt is not None, bool(self._held & CTRL_KEYS)
        if not text and (alt or ctrl):
            return self._keyboard.flush()  # with them a dead key is a command too, and not part of a letter
        if text and (alt or (ctrl and (text.isprintable() or KEY_RIGHTALT in self._held))):
            return NO_TEXT + text  # a command to a program; an Enter is still an end
        return text

    def _released(self, key: int) -> str:
        self._held.discard(key)
        if key != KEY_NUMLOCK:
            self._keyboard.release(key)
        if key != KEY_LEFTALT or not self._alt:
            self._alt = None if key == KEY_LEFTALT else self._alt
            return ""
        digits, self._alt = self._alt, None
        return numbered(digits)


def numbered(digits: str) -> str:
    """The character that Alt with these digits types, or `NO_TEXT`."""
    number = int(digits) if len(digits) <= ALT_DIGITS_MAX else 0
    if 0 < number < ASCII_END:
        return chr(number)
    if digits.startswith("0") and ASCII_END <= number < CHARACTERS_8_BIT:
        return bytes((number,)).decode("cp1252", "surrogateescape")
    return NO_TEXT
