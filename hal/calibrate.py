"""Finds out how a keyboard scanner is set, from one code that is known. No I/O: `gatepost doctor` calls it.

Every layout is tried on the same key events, as the reader itself would read them. What is found is then
proved: a reader with these settings gives the code as it was shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, TypeAlias

from hal.frames import AIM_IDENTIFIER, IDLE_MS, IDLE_MS_LIMIT, LENGTH_LIMIT, Framing, Terminator
from hal.keys import EV_KEY, REPEATED, Keyboard, KeyEvent, Keys, Layout
from hal.ports import Code, Read, Unreadable

Case: TypeAlias = Literal["as_shown", "upper", "lower"]

# All letters, so that swapped ones and both cases are seen; the rest lies on other keys in other countries.
# Without ^ ~ ` [ ] { } \ |, which not every scanner can type on every layout.
CALIBRATION_CODE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_/+;:.,=?&%#@!$*\"'()<>"

# What a scanner may be set to, most usual first.
LAYOUTS = (
    *(Layout(name) for name in ("us", "gb", "de", "fr", "br", "es", "ch", "it", "pt", "be")),
    *(Layout(*names) for names in (("us", "intl"), ("ch", "fr"), ("ca", ""), ("se", ""), ("dk", ""))),
)

TERMINATORS = "\r\n\t"
ENDS: dict[str, Terminator] = {"\r": "cr", "\n": "lf", "\r\n": "crlf", "\t": "tab", "": "none", "\r\r": "cr"}
AIM_AT_THE_END = re.compile(AIM_IDENTIFIER.pattern + r"\Z")
NEXT_SCAN_MS = 1000  # nobody shows a code twice within this, and no scanner pauses for as long
PAUSE_FACTOR = 2  # pauses vary; the time-out is set to twice the longest that was seen
SHOWN_MAX = 60  # characters of what was typed, in a message


@dataclass(frozen=True, slots=True)
class Finding:
    """How the scanner is set. `problems` is empty where `settings` read it right.

    `layouts` are all that give the code; the first is the one in `settings`, which are lines for its
    `[[lane.reader]]`. `case`: what became of the letters. `remarks` need not be mended.
    """

    layouts: tuple[Layout, ...] = ()
    case: Case = "as_shown"
    terminator: Terminator = "any"
    prefix: str = ""
    suffix: str = ""
    aim: str = ""
    pause_ms: int = 0
    settings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def calibration_code() -> str:
    """A code to show to the scanner, best as a QR code."""
    return CALIBRATION_CODE


def calibrate(
    events: Sequence[KeyEvent],
    shown: str,
    layouts: Iterable[Layout],
    open_keyboard: Callable[[Layout], Keyboard],
) -> Finding:
    """What the scanner made of the code that was shown to it: once, with a second of silence after it."""
    if not any(event.type == EV_KEY for event in events):
        return Finding(problems=("nothing was typed: does the scanner beep, and is it set to keyboard?",))
    readings = [*all_readings(events, layouts, open_keyboard)]
    if all(reading == Unreadable("lost_keys") for _, reading in readings):
        return Finding(problems=("keys were lost on the way: scan the code once more",))
    texts: dict[Case, str] = {"as_shown": shown, "upper": shown.upper(), "lower": shown.lower()}
    for case, text in texts.items():
        found = [
            (layout, read.text)
            for layout, read in readings
            if isinstance(read, Code) and text in read.text and (case == "as_shown" or not layout.caps_lock)
        ]
        if found:
            return described(events, case, text, found, open_keyboard)
    return Finding(problems=(no_layout(readings),))


def all_readings(
    events: Iterable[KeyEvent], layouts: Iterable[Layout], open_keyboard: Callable[[Layout], Keyboard]
) -> Iterator[tuple[Layout, Read]]:
    """What each layout makes of the events, then each with caps lock on. Silence ends nothing here."""
    whole = Framing("none", idle_ms=IDLE_MS_LIMIT, length_max=LENGTH_LIMIT)
    for caps_lock in (False, True):
        for layout in layouts:
            tried = replace(layout, caps_lock=caps_lock)
            for read in read_with(events, tried, whole, open_keyboard)[:1]:
                yield tried, read


def read_with(
    events: Iterable[KeyEvent], layout: Layout, framing: Framing, open_keyboard: Callable[[Layout], Keyboard]
) -> list[Read]:
    """What a reader with these settings delivers."""
    keyboard = open_keyboard(layout)
    try:
        keys = Keys(framing, keyboard)
        reads = keys.feed(events)
        return reads + keys.idle(keys.wake_at() or 0)
    finally:
        keyboard.close()


def described(
    events: Sequence[KeyEvent],
    case: Case,
    text: str,
    found: Sequence[tuple[Layout, str]],
    open_keyboard: Callable[[Layout], Keyboard],
) -> Finding:
    """The finding where at least one layout gives the text, with something around it."""
    layout, whole = found[0]
    before, _, after = whole.partition(text)
    after = after.partition(text)[0].removesuffix(before) if text in after else after  # scanned twice
    before = before.lstrip(TERMINATORS)  # an Enter in front is an empty code, which is passed over
    suffix = after.rstrip(TERMINATORS)
    end = after[len(suffix) :]
    aim = match[0] if (match := AIM_AT_THE_END.search(before)) else ""
    prefix = before.removesuffix(aim)
    pause_ms = longest_pause_ms(events)
    framing = Framing(
        terminator=ENDS.get(end, "any"),
        idle_ms=min(max(IDLE_MS, PAUSE_FACTOR * pause_ms), IDLE_MS_LIMIT),
        strip_prefix=(prefix,) if prefix else (),
        strip_suffix=(suffix,) if suffix else (),
        strip_aim=bool(aim),
    )
    same = tuple(other for other, _ in found if other.caps_lock == layout.caps_lock)
    problems = []
    if case != "as_shown":
        letters = {"upper": "capital", "lower": "small"}[case]
        problems.append(f"it types {letters} letters only: switch its case conversion off")
    if set(read_with(events, layout, framing, open_keyboard)) != {Code(text)}:
        problems.append(f"what it types around the code ends it too early: {shown_as(before)}: take that out")
    return Finding(
        layouts=same,
        case=case,
        terminator=framing.terminator,
        prefix=prefix,
        suffix=suffix,
        aim=aim,
        pause_ms=pause_ms,
        settings=tuple(lines_for(layout, framing)),
        remarks=tuple(remarks_on(layout, same, end)),
        problems=tuple(problems),
    )


def lines_for(layout: Layout, framing: Framing) -> Iterator[str]:
    """The settings as lines of gate.toml; what is the default is left out."""
    yield f"layout = {quoted(layout.layout)}"
    if layout.variant:
        yield f"variant = {quoted(layout.variant)}"
    if layout.caps_lock:
        yield "caps_lock = true"
    yield f"terminator = {quoted(framing.terminator)}"
    if framing.idle_ms != IDLE_MS:
        yield f"idle_ms = {framing.idle_ms}"
    for name, texts in (("strip_prefix", framing.strip_prefix), ("strip_suffix", framing.strip_suffix)):
        if texts:
            yield f"{name} = [{quoted(texts[0])}]"
    if framing.strip_aim:
        yield "strip_aim = true"


def remarks_on(layout: Layout, same: Sequence[Layout], end: str) -> Iterator[str]:
    """What the installer may want to know or change."""
    if len(same) > 1:
        others = ", ".join(f"{one.layout} {one.variant}".strip() for one in same[1:])
        yield f"these layouts type the same characters: {others}"
    if layout.caps_lock:
        yield "it reckons with caps lock on: better set it to off, and calibrate again"
    if not end:
        yield "it types nothing after a code, so each one waits for the silence: better set it to send Enter"
    if end == "\r\r":
        yield "it types Enter twice: no harm, the second one is passed over"


def longest_pause_ms(events: Iterable[KeyEvent]) -> int:
    """Between two keys of one scan."""
    times_ms = [event.time_ms for event in events if event.type == EV_KEY and event.value != REPEATED]
    pauses_ms = (after - before for before, after in pairwise(times_ms))
    return max((pause_ms for pause_ms in pauses_ms if pause_ms < NEXT_SCAN_MS), default=0)


def no_layout(readings: Iterable[tuple[Layout, Read]]) -> str:
    """What to say where nothing fits."""
    for layout, read in readings:
        if isinstance(read, Code):
            return (
                f"no layout gives the code; as {layout.layout} it is {shown_as(read.text)}. "
                "Was it this code? Set the scanner to a country that is known here, without case conversion"
            )
    return (
        "it types keys that have no character, such as F1 or arrows: take them out of its prefix and suffix"
    )


def shown_as(text: str) -> str:
    """A text in a message."""
    return quoted(text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…")


def quoted(text: str) -> str:
    """A text as TOML writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
