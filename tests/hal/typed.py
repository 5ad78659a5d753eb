"""Recordings of key events: what a scanner types, as the kernel tells it, and a kernel that runs over."""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest
from evdev import ecodes

from hal.keys import EV_KEY, EV_SYN, SYN_DROPPED, SYN_REPORT, KeyEvent, Layout
from hal.xkb import Missing, XkbKeyboard

PACKAGES = ("libxkbcommon0", "xkb-data", "libx11-data")  # of Debian, for the translator
BUFFER_EVENTS = 64  # EVDEV_MIN_BUFFER_SIZE of drivers/input/evdev.c
REPEATED = 2
MODIFIERS = {"shift": "LEFTSHIFT", "altgr": "RIGHTALT", "ctrl": "LEFTCTRL", "alt": "LEFTALT"}
LAYOUTS = [Layout(name) for name in ("us", "de", "fr", "gb", "br", "es", "ch")] + [Layout("ch", "fr")]


def keyboard(layout: str | Layout = "us") -> XkbKeyboard:
    """A translator; the test is skipped where the library is not installed."""
    try:
        return XkbKeyboard(layout if isinstance(layout, Layout) else Layout(layout))
    except Missing as error:
        pytest.skip(str(error))


def number(name: str) -> int:
    """A key's number by the kernel's name without KEY_."""
    found: int = getattr(ecodes, f"KEY_{MODIFIERS.get(name, name).upper()}")
    return found


class Recording:
    """Events in the order and at the times of the kernel: each key in a packet of its own."""

    def __init__(self, now_ms: int = 1000, gap_ms: int = 2) -> None:
        self.events: list[KeyEvent] = []
        self.now_ms = now_ms
        self.gap_ms = gap_ms

    def key(self, key: int, value: int) -> None:
        """A key goes down (1) or up (0), or is repeated (2)."""
        if value != REPEATED:
            self.add(ecodes.EV_MSC, ecodes.MSC_SCAN, 0x70000 + key)
        self.add(EV_KEY, key, value)
        self.add(EV_SYN, SYN_REPORT, 1 if value == REPEATED else 0)
        self.now_ms += self.gap_ms

    def add(self, kind: int, code: int, value: int) -> None:
        """One event, now."""
        self.events.append(KeyEvent(kind, code, value, self.now_ms))

    def pause(self, pause_ms: int) -> None:
        """Nothing happens for a time."""
        self.now_ms += pause_ms


def typed(words: str, recording: Recording | None = None) -> list[KeyEvent]:
    """What a scanner types by these words.

    `a`: a key. `shift+a`: with shift held. `a~`: held until it repeats. `_shift` and `^shift`: down and up.
    `200ms`: a pause. `lost`: SYN_DROPPED and the end of its packet.
    """
    recording = recording or Recording()
    for word in words.split():
        if word.endswith("ms"):
            recording.pause(int(word[:-2]))
        elif word == "lost":
            recording.add(EV_SYN, SYN_DROPPED, 0)
            recording.add(EV_SYN, SYN_REPORT, 0)
        elif word[0] in "_^":
            recording.key(number(word[1:]), 1 if word[0] == "_" else 0)
        else:
            held = [number(name) for name in word.rstrip("~").split("+")]
            for key in held:
                recording.key(key, 1)
            for _ in range(3 if word.endswith("~") else 0):
                recording.key(held[-1], REPEATED)
            for key in reversed(held):
                recording.key(key, 0)
    return recording.events


TEXT_KEYS = (
    *range(2, 14),
    *range(16, 28),
    *range(30, 42),
    *range(43, 54),
    57,
    86,
    89,
)  # of a keyboard's main part


@cache
def words_of(layout: Layout) -> dict[str, str]:
    """The words for `typed` that type each character, found by trying all keys; a dead key needs a space."""
    words: dict[str, str] = {}
    with keyboard(layout) as tried:
        for after, held, key in product(("", "space"), ("", "shift", "altgr", "shift+altgr"), TEXT_KEYS):
            chord = [number(name) for name in held.split("+") if name]
            tried.reset(chord)
            text = tried.press(key)
            if after and not text:
                for modifier in chord:
                    tried.release(modifier)
                text = tried.press(number(after))
            if len(text) == 1 and text.isprintable():
                name = str(ecodes.bytype[EV_KEY][key]).removeprefix("KEY_").lower()
                words.setdefault(text, f"{held}{'+' if held else ''}{name} {after}".strip())
    return words


def words_for(text: str, layout: Layout) -> str:
    """The words for `typed` that type this text."""
    return " ".join(words_of(layout)[character] for character in text)


class KernelBuffer:
    """The queue of one reader in the kernel: full, it keeps a SYN_DROPPED and the newest event.

    As `__pass_event` and `evdev_handle_get_val` of drivers/input/evdev.c do it. What it has not told with a
    SYN_REPORT yet cannot be read.
    """

    def __init__(self) -> None:
        self.queue: list[KeyEvent] = []
        self.readable = 0
        self.down: set[int] = set()
        self.dropped = False

    def add(self, event: KeyEvent) -> None:
        """What the driver tells."""
        if event.type == EV_SYN and event.code == SYN_REPORT and self.readable == len(self.queue):
            return  # an empty packet
        if event.type == EV_KEY and event.value != REPEATED:
            (self.down.add if event.value else self.down.discard)(event.code)
        self.queue.append(event)
        if len(self.queue) == BUFFER_EVENTS:
            self.queue = [KeyEvent(EV_SYN, SYN_DROPPED, 0, event.time_ms), event]
            self.readable = 0
            self.dropped = True
        if event.type == EV_SYN and event.code == SYN_REPORT:
            self.readable = len(self.queue)

    def read(self) -> list[KeyEvent]:
        """All that can be read."""
        events, self.queue = self.queue[: self.readable], self.queue[self.readable :]
        self.readable = 0
        return events

    def held(self) -> set[int]:
        """EVIOCGKEY: the keys that are down; their events are not told as well any more."""
        self.queue, self.readable = without_keys(self.queue)
        return set(self.down)

    def fileno(self) -> int:
        """Nobody waits for this one."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to give back."""


def without_keys(queue: list[KeyEvent]) -> tuple[list[KeyEvent], int]:
    """What `__evdev_flush_queue` leaves of a queue, and how much of that can be read."""
    kept: list[KeyEvent] = []
    readable = 0
    in_packet = 1  # so that a report at the beginning stays
    for event in queue:
        is_report = event.type == EV_SYN and event.code == SYN_REPORT
        if event.type == EV_KEY or (is_report and not in_packet):
            continue
        kept.append(event)
        in_packet += 1
        if is_report:
            in_packet, readable = 0, len(kept)
    return kept, readable
