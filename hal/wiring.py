"""The board file: which pin of the header drives or sees which part of a lane. TOML into frozen values.

Read by `hal.gpio`, which drives the pins, and by `hal.release`, which must start within a moment after the
gate has died; so this file imports next to nothing. Pins are BCM numbers everywhere.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from hal.setting_error import SettingError

FILE_BYTES_MAX = 1 << 16  # four lanes with all their parts are below 4 kB
LANES_MAX = 4  # what one Pi has pins for
PIN_MAX = 27  # the last of the 40-pin header
EEPROM_PINS = (0, 1)  # a HAT's memory is read through them at power-on
PULLED_UP_PINS = (2, 3)  # 1.8 kΩ to 3.3 V soldered on, for I2C
CONSOLE_PINS = (14, 15)  # the serial console writes on 14 from power-on, unless it is switched off
POWER_ON_HIGH_MAX = 8  # pins 0 to 8 are pulled up at power-on, the others down (BCM2835 ARM Peripherals, 6.2)
PULSE_MS, PULSE_MS_MIN, PULSE_MS_MAX = 500, 20, 5000  # below 20 ms no relay moves; above 5 s it is a hold
DEBOUNCE_MS, DEBOUNCE_MS_MAX = 20, 1000  # contacts settle within 10 ms; two persons are a second apart
STUCK_S, STUCK_S_MAX = 30, 3600  # nobody stands in a passage for half a minute
SHOWN_MAX = 40  # characters of a wrong value in a message
PROBLEMS_MAX = 50  # told at once; a file with more is another file

Way: TypeAlias = Literal["in", "out"]
Level: TypeAlias = Literal["high", "low"]
Colour: TypeAlias = Literal["red", "green", "yellow", "blue", "white"]
LineKind: TypeAlias = Literal["opening", "free", "lamp", "buzzer"]
InputKind: TypeAlias = Literal["alarm", "tamper", "sensor"]

COLOURS: tuple[Colour, ...] = ("red", "green", "yellow", "blue", "white")

# The pin of the 40-pin header, as it is counted on the board, of each BCM number: 0 to 13, then 14 to 27.
HEADER_PINS = (
    *(27, 28, 3, 5, 7, 29, 31, 26, 24, 21, 19, 23, 32, 33),
    *(8, 10, 36, 11, 12, 35, 38, 40, 15, 16, 18, 22, 37, 13),
)

# What a lamp shows instead of a colour that is not wired: the first of these that is, else it is dark. Red
# and green are always wired, and nothing but green looks green.
INSTEAD: Mapping[Colour, tuple[Colour, ...]] = {
    "red": (),
    "green": (),
    "yellow": ("white", "red"),  # once more, or call staff: not yet
    "blue": ("white",),  # ready: better dark than a colour that means something else
    "white": ("blue",),
}


# --- the values ----------------------------------------------------------------------------------------


class Line(NamedTuple):
    """A line that the board drives. `lane` and `part` are its name, `key` is where its pin stands."""

    kind: LineKind
    lane: str
    part: str
    pin: int
    active: Level
    key: str

    @property
    def inactive_level(self) -> int:
        """What is written to switch it off."""
        return int(self.active == "low")

    def __str__(self) -> str:
        return f"lane {self.lane}, {self.part} ({pin_name(self.pin)})"


class Input(NamedTuple):
    """A contact that the board sees. It belongs to a lane, or with "" to the gate.

    With `pull` up or none it connects the pin to ground (none: the resistor to 3.3 V is outside), with down
    to 3.3 V.
    """

    kind: InputKind
    lane: str
    part: str
    pin: int
    contact: Literal["normally_closed", "normally_open"]
    pull: Literal["up", "down", "none"]
    debounce_ms: int
    key: str

    @property
    def active_level(self) -> int:
        """The level of the pin when there is something to tell."""
        return int((self.contact == "normally_closed") == (self.pull != "down"))

    def __str__(self) -> str:
        return f"{f'lane {self.lane}, ' if self.lane else ''}{self.part} ({pin_name(self.pin)})"


class Opening(NamedTuple):
    """A line that lets people through, and its way. A pulse is for one person, a hold for who comes."""

    line: Line
    way: Way | Literal["both"]
    drive: Literal["pulse", "hold"]
    pulse_ms: int


class Free(NamedTuple):
    """The line that frees a lane both ways: held, or with `pulse_ms` pulsed once."""

    line: Line
    pulse_ms: int | None


class Sensor(NamedTuple):
    """Contacts that see people walk through, each with its way, or None where it cannot tell."""

    contacts: tuple[tuple[Input, Way | None], ...]
    stuck_ms: int


class Lane(NamedTuple):
    """The wires of one lane."""

    name: str
    without_power: Literal["open", "locked"]
    free_by: Literal["hold", "release", "separate_line"]
    openings: tuple[Opening, ...]
    free: Free | None
    sensor: Sensor | None
    lamp: Mapping[Colour, Line]
    buzzer: Line | None

    def opening(self, way: Way) -> Opening | None:
        """The line that opens this way."""
        return next((opening for opening in self.openings if opening.way in (way, "both")), None)

    @property
    def locking_lines(self) -> tuple[Line, ...]:
        """All lines that could let somebody through."""
        return (*(opening.line for opening in self.openings), *([self.free.line] if self.free else []))

    @property
    def lines(self) -> tuple[Line, ...]:
        """All lines that the board drives for the lane."""
        return (*self.locking_lines, *self.lamp.values(), *([self.buzzer] if self.buzzer else []))


class Wiring(NamedTuple):
    """A whole board file."""

    path: str
    factory: Literal["lgpio", "mock"]
    chip: str
    lanes: tuple[Lane, ...]
    alarm: Input | None
    tamper: Input | None

    @property
    def lines(self) -> tuple[Line, ...]:
        """Everything that is driven, in the order of the file."""
        return tuple(line for lane in self.lanes for line in lane.lines)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Everything that is seen: alarm, tamper, then the sensors."""
        sensors = (contact for lane in self.lanes if lane.sensor for contact, _ in lane.sensor.contacts)
        return (*filter(None, (self.alarm, self.tamper)), *sensors)


def pin_name(pin: int) -> str:
    """How a pin is called in messages, for those who count on the header too."""
    return f"pin {pin}, header pin {HEADER_PINS[pin]}"


# --- reading ---------------------------------------------------------------------------------------------


def read(path: str) -> Wiring:
    """Read a board file. Raises SettingError that lists every problem, with its key and the mend."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        text = data.decode("utf-8-sig")  # some editors put a byte-order mark in front
    except OSError as error:
        raise SettingError(f"{path}: cannot be read ({error.strerror}): check [board] file") from error
    except UnicodeDecodeError as error:
        raise SettingError(f"{path}: is not UTF-8 text: save it as UTF-8") from error
    return parse(text, path)


def parse(text: str, path: str) -> Wiring:
    """The wiring that a text holds; `path` names it in messages. Raises SettingError."""
    if len(text) > FILE_BYTES_MAX:
        raise SettingError(f"{path}: longer than {FILE_BYTES_MAX} bytes: is this the board file?")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingError(f"{path}: is not TOML: {error}") from error
    problems: list[str] = []
    wiring = _wiring(_Table(document, "", problems), path)
    if problems:
        told = problems[:PROBLEMS_MAX]
        more = len(problems) - len(told)
        raise SettingError(
            "\n".join([f"{path}: {problem}" for problem in told] + [f"and {more} more"] * (more > 0))
        )
    return wiring


class _Table:
    """One table of the file. What is wrong is noted, and something that fits is returned in its place."""

    def __init__(self, found: object, path: str, problems: list[str]) -> None:
        self.path = path
        self.problems = problems
        self._known: list[str] = []
        if not isinstance(found, dict):
            self.complain("", f"{_shown(found)} is not a table")
            found = {}
        self.found: dict[str, Any] = found

    def key(self, name: str) -> str:
        """The whole key, as in `lane[1].in.pin`."""
        return f"{self.path}.{name}" if self.path and name else self.path or name

    def complain(self, name: str, text: str) -> None:
        """Note a problem."""
        self.problems.append(f"{self.key(name)}: {text}")

    def word(self, name: str, options: tuple[str, ...], default: str | None = None) -> Any:
        """One of a few words."""
        value = self._take(name, default, f"write {' or '.join(map(_shown, options))}")
        if value is not None and (not isinstance(value, str) or value not in options):
            self.complain(name, f"{_shown(value)} is not {' or '.join(map(_shown, options))}")
            value = None
        return options[0] if value is None else value

    def text(self, name: str, mend: str) -> str:
        """A text that is not empty."""
        value = self._take(name, None, mend)
        if value is not None and (not isinstance(value, str) or not value or not value.isprintable()):
            self.complain(name, f"{_shown(value)} is not a text: {mend}")
        return value if isinstance(value, str) else ""

    def number(self, name: str, least: int, most: int, default: int) -> int:
        """A whole number between bounds."""
        value = self._take(name, default, "")
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self.complain(name, f"{_shown(value)} is not a whole number from {least} to {most}")
            return default
        return value

    def pin(self, name: str = "pin") -> int:
        """A BCM number that can be used."""
        value = self._take(name, None, f"name the BCM number of the pin, 2 to {PIN_MAX}")
        if value is None:
            return PIN_MAX
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= PIN_MAX:
            self.complain(
                name, f"{_shown(value)} is no pin: BCM numbers on the header go from 2 to {PIN_MAX}"
            )
            return PIN_MAX
        if value in EEPROM_PINS:
            self.complain(name, f"{value} is kept for the memory of a HAT: choose from 2 to {PIN_MAX}")
        return value

    def has(self, name: str) -> bool:
        """Whether the file has this key; it counts as known."""
        self._known.append(name)
        return name in self.found

    def table(self, name: str) -> _Table | None:
        """A table below this one, or None."""
        return _Table(self.found[name], self.key(name), self.problems) if self.has(name) else None

    def tables(self, name: str, most: int) -> list[_Table]:
        """A list of tables below this one."""
        found = self.found[name] if self.has(name) else []
        if not isinstance(found, list):
            self.complain(name, f"{_shown(found)} is not a list: write [[{name}]] above each")
            return []
        if not 1 <= len(found) <= most:
            self.complain(name, f"there are {len(found)}, not 1 to {most}: write [[{name}]] above each")
        return [
            _Table(entry, f"{self.key(name)}[{number}]", self.problems)
            for number, entry in enumerate(found[:most], 1)
        ]

    def refuse(self, name: str, why: str) -> None:
        """Refuse a key that would do nothing here."""
        if self.has(name):
            self.complain(name, why)

    def done(self) -> None:
        """Refuse what nobody asked for, with the nearest that somebody did."""
        unknown = [name for name in self.found if name not in self._known]
        if not unknown:
            return
        from difflib import get_close_matches  # only a wrong file pays for it

        for name in unknown:
            near = get_close_matches(name, self._known, n=1)
            mend = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(sorted(self._known))}"
            self.complain(_shown(name)[1:-1], f"no such setting: {mend}")

    def _take(self, name: str, default: Any, mend: str) -> Any:
        if self.has(name):
            return self.found[name]
        if default is None:
            self.complain(name, f"is missing: {mend}")
        return default


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    if not isinstance(value, str):
        text = str(value) if not isinstance(value, int) or value.bit_length() <= 64 else "a huge number"
        return text[:SHOWN_MAX]
    short = value if len(value) <= SHOWN_MAX else value[: SHOWN_MAX - 1] + "…"
    return '"' + "".join(c if c.isprintable() else repr(c)[1:-1] for c in short) + '"'


def _wiring(top: _Table, path: str) -> Wiring:
    board = top.table("board")
    if board is None:
        top.complain("board", "is missing: write [board] with factory and chip")
        board = _Table({"factory": "mock"}, "board", top.problems)
    factory = board.word("factory", ("lgpio", "mock"))
    chip = ""
    if factory == "lgpio" or board.has("chip"):
        chip = board.text("chip", 'name the label of the GPIO chip, as "pinctrl-bcm2711" on a Pi 4')
    board.done()
    lanes = tuple(_lane(table, number) for number, table in enumerate(top.tables("lane", LANES_MAX), 1))
    for number, lane in enumerate(lanes, 1):
        if lane.name in [other.name for other in lanes[: number - 1]]:
            top.complain(f"lane[{number}].name", f"{_shown(lane.name)} is another lane's: each has its own")
    alarm, tamper = _house(top, "alarm"), _house(top, "tamper")
    top.done()
    wiring = Wiring(path, factory, chip, lanes, alarm, tamper)
    if not top.problems:
        _check_pins(wiring, top)
    return wiring


def _house(top: _Table, name: Literal["alarm", "tamper"]) -> Input | None:
    table = top.table(name)
    if table is None:
        return None
    found = _input(table, name, "", name, "pin", "normally_closed")
    table.done()
    return found


def _lane(table: _Table, number: int) -> Lane:
    name = table.text("name", "the same as in gate.toml") or str(number)
    without_power = table.word("without_power", ("open", "locked"))
    free_by = table.word("free_by", ("hold", "release", "separate_line"))
    openings = tuple(_openings(table, name))
    lane = Lane(
        name,
        without_power,
        free_by,
        openings,
        _free(table, name, free_by),
        _sensor(table, name),
        _lamp(table, name),
        _buzzer(table, name),
    )
    table.done()
    return lane


def _openings(lane: _Table, name: str) -> Iterator[Opening]:
    ways: tuple[Literal["in", "out", "both"], ...] = ("in", "out", "both")
    found = [way for way in ways if lane.has(way)]
    if not found:
        lane.complain("", "has no opening line: write [lane.in], [lane.out] or, for one line, [lane.both]")
    if "both" in found and len(found) > 1:
        lane.complain("both", "serves both ways: take it out, or take out [lane.in] and [lane.out]")
    for way in found:
        table = lane.table(way)
        assert table is not None
        drive = table.word("drive", ("pulse", "hold"))
        pulse_ms = PULSE_MS
        if drive == "pulse":
            pulse_ms = table.number("pulse_ms", PULSE_MS_MIN, PULSE_MS_MAX, PULSE_MS)
        else:
            table.refuse("pulse_ms", 'does nothing with drive = "hold": take it out')
        yield Opening(_line(table, "opening", name, way), way, drive, pulse_ms)
        table.done()


def _free(lane: _Table, name: str, free_by: str) -> Free | None:
    if free_by == "hold":
        lane.refuse("free", 'does nothing with free_by = "hold": take it out, or set free_by')
        return None
    table = lane.table("free")
    if table is None:
        lane.complain("free", f'is missing: free_by = "{free_by}" needs [lane.free] with the pin that frees')
        return None
    pulse_ms = None
    if free_by == "release":
        pulse_ms = table.number("pulse_ms", PULSE_MS_MIN, PULSE_MS_MAX, PULSE_MS)
    else:
        table.refuse("pulse_ms", 'does nothing with free_by = "separate_line", which is held: take it out')
    line = _line(table, "free", name, "free")
    table.done()
    return Free(line, pulse_ms)


def _sensor(lane: _Table, name: str) -> Sensor | None:
    table = lane.table("sensor")
    if table is None:
        return None
    contacts: list[tuple[Input, Way | None]] = []
    if table.word("kind", ("rotation", "light_barrier")) == "rotation":
        ways: tuple[Way, ...] = ("in", "out")
        for way in ways:
            if table.has(f"{way}_pin"):
                contacts.append((_input(table, "sensor", name, f"sensor {way}", f"{way}_pin"), way))
        if not contacts:
            table.complain("in_pin", "is missing: name in_pin, out_pin or both, one contact for each way")
            table.has("contact"), table.has("pull"), table.has("debounce_ms")
        table.refuse("pin", 'belongs to kind = "light_barrier": name in_pin or out_pin')
    else:
        contacts.append((_input(table, "sensor", name, "sensor", "pin"), None))
        for way_pin in ("in_pin", "out_pin"):
            table.refuse(way_pin, 'belongs to kind = "rotation": a light barrier has one pin')
    stuck_s = table.number("stuck_s", 1, STUCK_S_MAX, STUCK_S)
    table.done()
    return Sensor(tuple(contacts), stuck_s * 1000)


def _lamp(lane: _Table, name: str) -> Mapping[Colour, Line]:
    table = lane.table("lamp")
    if table is None:
        return {}
    for needed in ("red", "green"):
        if not table.has(needed):
            table.complain(needed, "is missing: a lamp needs at least red and green")
    active = table.word("active", ("high", "low"), "high")
    lines: dict[Colour, Line] = {
        colour: Line("lamp", name, f"lamp {colour}", table.pin(colour), active, table.key(colour))
        for colour in COLOURS
        if table.has(colour)
    }
    table.done()
    return lines


def _buzzer(lane: _Table, name: str) -> Line | None:
    table = lane.table("buzzer")
    if table is None:
        return None
    line = _line(table, "buzzer", name, "buzzer")
    table.done()
    return line


def _line(table: _Table, kind: LineKind, lane: str, part: str) -> Line:
    active = table.word("active", ("high", "low"), "high")
    return Line(kind, lane, part, table.pin(), active, table.key("pin"))


def _input(
    table: _Table, kind: InputKind, lane: str, part: str, pin: str, usual: str = "normally_open"
) -> Input:
    return Input(
        kind,
        lane,
        part,
        table.pin(pin),
        table.word("contact", ("normally_closed", "normally_open"), usual),
        table.word("pull", ("up", "down", "none"), "up"),
        table.number("debounce_ms", 1, DEBOUNCE_MS_MAX, DEBOUNCE_MS),
        table.key(pin),
    )


def _check_pins(wiring: Wiring, top: _Table) -> None:
    """Refuse a pin that is used twice, and what no pin can do."""
    users: dict[int, str] = {}
    for pin, key in [*((i.pin, i.key) for i in wiring.inputs), *((o.pin, o.key) for o in wiring.lines)]:
        if pin in users:
            top.complain(key, f"{pin} is used by {users[pin]} already: each part has a pin of its own")
        users.setdefault(pin, key)
    for seen in wiring.inputs:
        if seen.pin in PULLED_UP_PINS and seen.pull != "up":
            top.complain(seen.key, f'{seen.pin} has a pull-up soldered on: set pull = "up", or another pin')


# --- judging ---------------------------------------------------------------------------------------------


def hazards(wiring: Wiring) -> tuple[str, ...]:
    """What cannot be freed or bounded with this wiring, in words with the mend. There should be none."""
    found = []
    for lane in wiring.lanes:
        if lane.without_power == "locked" and lane.free_by != "separate_line":
            found.append(
                f'lane {lane.name}: without_power = "locked" and no line that frees it apart from the locks: '
                "without power people are locked in. Fit a mechanism that opens without power, or "
                'free_by = "separate_line" with [lane.free] to a release that has a supply of its own'
            )
        if lane.free_by != "hold":
            continue
        for opening in lane.openings:
            if opening.drive == "pulse":
                found.append(
                    f'lane {lane.name}, {opening.line.part}: drive = "pulse" lets one person through, so '
                    'holding the line does not free the lane. Set free_by = "separate_line" or "release" and '
                    '[lane.free]; or drive = "hold", if the mechanism is open as long as the line is active'
                )
        if lane.opening("out") is None:
            found.append(
                f'lane {lane.name}: free_by = "hold" and no line that opens outwards, so that an alarm locks '
                "people in. Wire [lane.out] or [lane.both], or another free_by with [lane.free]"
            )
    return tuple(found)


def cautions(wiring: Wiring) -> tuple[str, ...]:
    """What works, and could be better; in words with the mend."""
    found = []
    if wiring.alarm is None:
        found.append("no [alarm]: nothing frees the lanes in a fire. Wire the fire alarm's contact")
    for contact in filter(None, (wiring.alarm, wiring.tamper)):
        if contact.contact == "normally_open":
            found.append(
                f"{contact}: a cut wire is not noticed at a contact that is normally open. Use one that is "
                "normally closed"
            )
    for lane in wiring.lanes:
        for line in lane.locking_lines:
            if (line.pin <= POWER_ON_HIGH_MAX) == (line.active == "high"):
                level = "up" if line.pin <= POWER_ON_HIGH_MAX else "down"
                better = f"{POWER_ON_HIGH_MAX + 1} to {PIN_MAX}" if line.active == "high" else "2 to 8"
                found.append(
                    f"{line}: a Pi pulls this pin {level} from power-on, which is towards active. "
                    f"Use one of the pins {better}, and fit a resistor that pulls to inactive"
                )
        if not lane.lamp and lane.buzzer is None:
            found.append(f"lane {lane.name}: neither lamp nor buzzer, so that nobody sees or hears a verdict")
    for pin, name in [*((o.pin, str(o)) for o in wiring.lines), *((i.pin, str(i)) for i in wiring.inputs)]:
        if pin in CONSOLE_PINS:
            found.append(f"{name}: the serial console uses this pin. Switch it off, or use another pin")
    return tuple(found)
