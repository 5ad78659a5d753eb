"""Draws a board file for the installer: what is wired to each pin of the header, and how each part is.

The drawing is made from the same values that the gate drives, so it cannot disagree with them. It is plain
SVG 1.1 without fonts, scripts or links, so that every browser shows it and every printer prints it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from xml.sax.saxutils import escape

from hal.wiring import HEADER_PINS, Input, Lane, Line, Wiring

WIDTH = 1180  # fits on a sheet of A4 held sideways
ROW = 26  # of the header, and of a line of text
HEADER_TOP = 110
HEADER_X = WIDTH // 2 - 100
CELL = 100  # half of the header's width
BOX = 360  # a part beside its pin
WIRE = 38
NOTE = 20  # a line of the notes
PANEL = 190  # a small drawing of how a kind of part is wired
TEXT_MAX = 130  # characters of a note; longer ones are broken

# What stands on the 40-pin header beside the pins that can be driven.
SUPPLY = {1: "3.3 V", 17: "3.3 V", 2: "5 V", 4: "5 V"} | dict.fromkeys((6, 9, 14, 20, 25, 30, 34, 39), "GND")
BCM = {place: pin for pin, place in enumerate(HEADER_PINS)}

COLOURS = {
    "opening": "#f6c177",
    "free": "#eb8a6f",
    "lamp": "#a8d8a0",
    "buzzer": "#c9b8e8",
    "alarm": "#f29191",
    "tamper": "#d9d9d9",
    "sensor": "#9cc7ea",
}


class _Part(NamedTuple):
    kind: str
    text: str


def drawing(wiring: Wiring, title: str) -> str:
    """The drawing of a board file, as the text of an SVG file."""
    parts = {HEADER_PINS[pin]: part for pin, part in _parts(wiring)}
    notes = list(_notes(wiring))
    panels = list(_panels(wiring))
    notes_top = HEADER_TOP + 20 * ROW + 40
    panels_top = notes_top + (len(notes) + 1) * NOTE + 20
    height = panels_top + PANEL * ((len(panels) + 1) // 2) + 20
    body = [
        _text(24, 40, title, size=22, bold=True),
        _text(
            24,
            66,
            f"Chip {wiring.chip or '(no pins: mock)'}. BCM numbers; the header seen from above, pin 1 "
            "at the corner of the board.",
            size=14,
        ),
        *_header(parts),
        *(_text(24, notes_top + (row + 1) * NOTE, note, size=14) for row, note in enumerate(notes)),
    ]
    for number, panel in enumerate(panels):
        x, y = 24 + (number % 2) * (WIDTH // 2), panels_top + (number // 2) * PANEL
        body += [f'<g transform="translate({x} {y})">', *panel, "</g>"]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" fill="none">',
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            *body,
            "</svg>",
            "",
        ]
    )


# --- what is wired where -----------------------------------------------------------------------------


def _parts(wiring: Wiring) -> Iterator[tuple[int, _Part]]:
    for line in wiring.lines:
        yield line.pin, _Part(line.kind, f"lane {line.lane}: {line.part} — {_driven(wiring, line)}")
    for seen in wiring.inputs:
        place = f"lane {seen.lane}: " if seen.lane else ""
        contact = "opens" if seen.contact == "normally_closed" else "closes"
        yield seen.pin, _Part(seen.kind, f"{place}{seen.part} — contact {contact}, pull {seen.pull}")


def _driven(wiring: Wiring, line: Line) -> str:
    lane = next(lane for lane in wiring.lanes if lane.name == line.lane)
    how = f"active {line.active}"
    for opening in lane.openings:
        if opening.line == line:
            return f"{how}, " + (f"pulse {opening.pulse_ms} ms" if opening.drive == "pulse" else "held")
    if lane.free and lane.free.line == line:
        return f"{how}, " + (f"pulse {lane.free.pulse_ms} ms" if lane.free.pulse_ms else "held")
    return how


def _notes(wiring: Wiring) -> Iterator[str]:
    for lane in wiring.lanes:
        without = "opens" if lane.without_power == "open" else "stays locked"
        yield from _broken(f"Lane {lane.name}: without power the mechanism {without}. {_freed(lane)}")
    if wiring.alarm:
        yield from _broken(
            "Fire alarm: its contact frees the lanes through the gate. Lead a second contact of the fire "
            "panel through the supply of the locks as well, so that they are freed when no computer works."
        )


def _freed(lane: Lane) -> str:
    match lane.free_by:
        case "hold":
            return "An alarm holds its opening lines active."
        case "release":
            return "An alarm pulses the line that frees it; it is set back by hand."
        case _:
            return "An alarm holds the separate line active that frees it."


def _broken(text: str) -> Iterator[str]:
    """A text in lines that fit."""
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > TEXT_MAX:
            yield line
            line = ""
        line = f"{line} {word}" if line else word
    yield line


# --- the header --------------------------------------------------------------------------------------


def _header(parts: dict[int, _Part]) -> Iterator[str]:
    for place in range(1, 41):
        left = place % 2 == 1
        x, y = HEADER_X + (0 if left else CELL), HEADER_TOP + (place - 1) // 2 * ROW
        part = parts.get(place)
        name = SUPPLY.get(place) or f"GPIO{BCM[place]}"
        fill = COLOURS[part.kind] if part else "#eeeeee" if place in SUPPLY else "white"
        yield f'<rect x="{x}" y="{y}" width="{CELL}" height="{ROW}" fill="{fill}" stroke="#444444"/>'
        at, anchor = (x + CELL - 8, "end") if left else (x + 8, "start")
        yield _text(at, y + 18, str(place), size=13, anchor=anchor, bold=True)
        at, anchor = (x + 8, "start") if left else (x + CELL - 8, "end")
        yield _text(at, y + 18, name, size=13, anchor=anchor)
        if part:
            near = x if left else x + CELL
            far = near - WIRE if left else near + WIRE
            box = far - BOX if left else far
            yield _wire((near, y + ROW // 2), (far, y + ROW // 2))
            yield (
                f'<rect x="{box}" y="{y + 2}" width="{BOX}" height="{ROW - 4}" rx="4" fill="{fill}" '
                'stroke="#444444"/>'
            )
            yield _text(box + 8, y + 18, part.text, size=13)


# --- how each kind of part is wired --------------------------------------------------------------------


def _panels(wiring: Wiring) -> Iterator[list[str]]:
    opening = [line for lane in wiring.lanes for line in lane.locking_lines]
    for active in ("high", "low"):
        pins = [line.pin for line in opening if line.active == active]
        if pins:
            yield _relay(active, pins)
    for pull in ("up", "down", "none"):
        seen = [each for each in wiring.inputs if each.pull == pull]
        if seen:
            yield _contact(pull, seen)
    lamps = [line for line in wiring.lines if line.kind in ("lamp", "buzzer")]
    if lamps:
        yield _lamp([line.pin for line in lamps])


def _relay(active: str, pins: Iterable[int]) -> list[str]:
    """A relay board between the pin and the mechanism, with the resistor that holds it inactive."""
    inactive = "GND" if active == "high" else "3.3 V"
    return [
        _text(0, 16, f"Relay, active {active}: {_pins(pins)}", size=14, bold=True),
        *_box(0, 52, 70, 26, "pin"),
        _wire((70, 65), (200, 65)),
        *_resistor(130, 65, inactive),
        *_box(200, 36, 150, 100, "relay board"),
        _text(208, 70, "IN", size=12),
        _text(208, 98, "VCC  from 5 V", size=12),
        _text(208, 124, "GND", size=12),
        _text(342, 64, "NO", size=12, anchor="end"),
        _text(342, 94, "COM", size=12, anchor="end"),
        _text(342, 124, "NC", size=12, anchor="end"),
        _wire((350, 60), (385, 60)),
        _wire((350, 90), (385, 90)),
        *_box(385, 50, 165, 54, "opening input"),
        _text(392, 132, "a magnet: its supply through", size=11),
        _text(392, 146, "COM and NC instead", size=11),
        _text(0, 166, f"10 kΩ to {inactive}: a line that nobody drives lets nobody in.", size=12),
    ]


def _contact(pull: str, seen: Iterable[Input]) -> list[str]:
    """A dry contact between the pin and ground, or 3.3 V."""
    other = "3.3 V" if pull == "down" else "GND"
    where = {
        "up": "the Pi's own pull-up is switched on",
        "down": "the Pi's own pull-down is switched on",
        "none": "fit 10 kΩ from the pin to 3.3 V",
    }[pull]
    seen = list(seen)
    closed = [each.pin for each in seen if each.contact == "normally_closed"]
    opened = [each.pin for each in seen if each.contact == "normally_open"]
    words = "; ".join(
        f"{_pins(pins)}: {what} when there is something to tell"
        for pins, what in ((closed, "normally closed, opens"), (opened, "normally open, closes"))
        if pins
    )
    return [
        _text(0, 16, f"Contact to {other}: {_pins(each.pin for each in seen)}", size=14, bold=True),
        *_box(0, 52, 70, 26, "pin"),
        _wire((70, 65), (150, 65)),
        _wire((150, 65), (196, 46)),
        '<circle cx="150" cy="65" r="4" fill="black"/>',
        '<circle cx="200" cy="65" r="4" fill="black"/>',
        _wire((200, 65), (280, 65)),
        *_box(280, 52, 70, 26, other),
        _text(0, 110, f"Dry contact, no voltage of its own; {where}.", size=12),
        *(_text(0, 130 + 18 * row, text, size=12) for row, text in enumerate(_short(words))),
    ]


def _lamp(pins: Iterable[int]) -> list[str]:
    """A driver between the pin and what needs more than a pin can give."""
    return [
        _text(0, 16, f"Lamp and buzzer: {_pins(pins)}", size=14, bold=True),
        *_box(0, 52, 70, 26, "pin"),
        _wire((70, 65), (130, 65)),
        *_box(130, 40, 140, 50, "driver"),
        _text(138, 82, "transistor or relay", size=11),
        _wire((270, 65), (330, 65)),
        *_box(330, 52, 150, 26, "lamp, buzzer"),
        _text(0, 120, "A pin gives 16 mA at most (all together 50 mA): never a lamp directly.", size=12),
        _text(0, 138, "Lamps and locks have a supply of their own; join its ground with the Pi's.", size=12),
    ]


# --- strokes and letters -------------------------------------------------------------------------------


def _pins(pins: Iterable[int]) -> str:
    return ", ".join(f"GPIO{pin}" for pin in sorted(pins))


def _short(text: str) -> list[str]:
    half = text.split("; ")
    return [f"{part}{';' if part is not half[-1] else '.'}" for part in half]


def _text(x: int, y: int, text: str, *, size: int, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}"{weight} fill="black">'
        f"{escape(text)}</text>"
    )


def _wire(start: tuple[int, int], end: tuple[int, int]) -> str:
    return f'<path d="M{start[0]} {start[1]}L{end[0]} {end[1]}" stroke="black" stroke-width="2"/>'


def _box(x: int, y: int, width: int, height: int, text: str) -> list[str]:
    return [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" stroke="black" stroke-width="1.5" '
        'fill="#fafafa"/>',
        _text(x + width // 2, y + 17, text, size=12, anchor="middle", bold=True),
    ]


def _resistor(x: int, y: int, to: str) -> list[str]:
    return [
        _wire((x, y), (x, y + 14)),
        f'<rect x="{x - 7}" y="{y + 14}" width="14" height="34" stroke="black" stroke-width="1.5" '
        'fill="white"/>',
        _wire((x, y + 48), (x, y + 60)),
        _text(x, y + 74, to, size=12, anchor="middle"),
        _text(x - 14, y + 35, "10 kΩ", size=11, anchor="end"),
    ]
