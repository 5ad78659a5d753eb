"""Names in the settings to boards and readers. What a name needs is imported only when it is asked for.

Settings come as plain tables, as TOML has them, and are checked here: an unknown key, a value of the wrong
kind or out of bounds raises SettingError, which names the key and the mend.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from hal.frames import LENGTH_MAX, Framing
from hal.ports import Board, Reader
from hal.setting_error import SettingError

__all__ = ["SettingError", "open_board", "open_reader"]

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings: TypeAlias = Mapping[str, object]
Builder = TypeVar("Builder")
Value = TypeVar("Value", bound="DataclassInstance")
KINDS: dict[object, str] = {bool: "true or false", int: "a whole number", str: "a text"}


@dataclass(frozen=True, slots=True)
class LinesSettings:
    """Which lines: `path` is a file, a named pipe or a terminal, "-" the standard input."""

    path: str = "-"
    length_max: int = LENGTH_MAX


def open_board(name: str, settings: Settings) -> Board:
    """Open the board of this name. Raises SettingError.

    `fake`: `lanes` is a list of tables (`FakeLaneSettings`); beside it stand `alarm` and `relock_ms`
    (`FakeBoardSettings`), `walks` and `after_ms` (`Person`: who walks where nobody else is expected).
    `gpio`: `lanes` likewise (`GpioLaneSettings`), and `file` is the path of the board file.
    """
    return known("board", name, BOARDS)(settings)


def open_reader(kind: str, settings: Settings) -> Reader:
    """Make a reader of this kind, not started yet. Raises SettingError; OSError if a file cannot be opened.

    `serial`: the fields of `SerialLine` and `Framing` in one table. `evdev`: those of `KeyDevice`, `Layout`
    and `Framing` but for its encoding. `lines`: those of `LinesSettings`.
    """
    return known("reader", kind, READERS)(settings)


def known(what: str, name: str, builders: Mapping[str, Builder]) -> Builder:
    """Find a builder by name, or name those that there are."""
    if name not in builders:
        raise SettingError(f'there is no {what} called "{name}": choose {" or ".join(builders)}')
    return builders[name]


def refuse_unknown(owner: str, settings: Settings, names: Iterable[str]) -> None:
    """Refuse a key that nobody reads, with the nearest one that somebody does."""
    names = sorted(names)
    for key in settings:
        if key not in names:
            near = get_close_matches(key, names, n=1)
            mend = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(names)}"
            raise SettingError(f'{owner}: unknown setting "{key}": {mend}')


def names_of(*shapes: type[DataclassInstance]) -> set[str]:
    """The settings that these frozen classes hold."""
    return {field.name for shape in shapes for field in fields(shape)}


def built(owner: str, shape: type[Value], settings: Settings) -> Value:
    """Make a frozen value out of the settings that it knows; its own check has the last word."""
    kinds = get_type_hints(shape)
    values = {}
    for field in fields(shape):
        if field.name in settings:
            values[field.name] = fitting(owner, field.name, settings[field.name], kinds[field.name])
        elif field.default is MISSING:
            raise SettingError(f'{owner}: "{field.name}" is missing')
    try:
        return shape(**values)
    except ValueError as error:
        raise SettingError(f"{owner}: {error}") from error


def fitting(owner: str, key: str, value: object, kind: Any) -> object:
    """Return the value if it is of this kind, a list as a tuple."""
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise SettingError(f"{owner}: {key} = {value!r} must be a list")
        return tuple(fitting(owner, key, one, get_args(kind)[0]) for one in value)
    if get_origin(kind) is Literal:
        if not any(type(value) is type(choice) and value == choice for choice in get_args(kind)):
            raise SettingError(f"{owner}: {key} = {value!r} must be {' or '.join(map(repr, get_args(kind)))}")
    elif type(value) is not kind:  # True is an int to Python, and not to a person
        raise SettingError(f"{owner}: {key} = {value!r} must be {KINDS[kind]}")
    return value


def built_lanes(owner: str, shape: type[Value], settings: Settings) -> list[Value]:
    """The lanes of a board's settings."""
    tables = settings.get("lanes")
    if not isinstance(tables, list | tuple) or not all(isinstance(table, Mapping) for table in tables):
        raise SettingError(f'{owner}: "lanes" must be a list of tables, one for each lane')
    for table in tables:
        refuse_unknown(f"{owner}, lane", table, names_of(shape))
    return [built(f"{owner}, lane", shape, table) for table in tables]


def fake_board(settings: Settings) -> Board:
    """Build the fake board on the machine's clock."""
    from hal.fake import FakeBoard, FakeBoardSettings, FakeLaneSettings, Person
    from hal.schedule import RealTime

    refuse_unknown("fake board", settings, {"lanes"} | names_of(FakeBoardSettings, Person))
    lanes = built_lanes("fake board", FakeLaneSettings, settings)
    more = built("fake board", FakeBoardSettings, settings)
    usual = built("fake board", Person, settings)
    time = RealTime("fake board")
    try:
        return FakeBoard(lanes, time, alarm=more.alarm, relock_ms=more.relock_ms, usual=usual)
    except ValueError as error:
        time.close()
        raise SettingError(f"fake board: {error}") from error


def gpio_board(settings: Settings) -> Board:
    """Build the board of a board file."""
    from hal import wiring
    from hal.gpio import GpioBoard, open_factory
    from hal.wired_lanes import GpioLaneSettings

    refuse_unknown("gpio board", settings, ("lanes", "file"))
    path = settings.get("file")
    if not isinstance(path, str) or not path:
        raise SettingError('gpio board: "file" must be the path of the board file')
    lanes = built_lanes("gpio board", GpioLaneSettings, settings)
    plan = wiring.read(path)
    return GpioBoard(plan, lanes, open_factory(plan.factory, plan.chip))


def serial_reader(settings: Settings) -> Reader:
    """Make a reader of a serial line."""
    from hal.serial_reader import SerialLine, SerialReader

    refuse_unknown("serial reader", settings, names_of(SerialLine, Framing))
    line = built("serial reader", SerialLine, settings)
    return SerialReader(line, built("serial reader", Framing, settings))


def evdev_reader(settings: Settings) -> Reader:
    """Make a reader of a scanner that plays a keyboard."""
    from hal.evdev_reader import EvdevReader, KeyDevice
    from hal.keys import Layout
    from hal.xkb import Missing, XkbKeyboard

    refuse_unknown("evdev reader", settings, names_of(KeyDevice, Layout, Framing) - {"encoding"})
    device = built("evdev reader", KeyDevice, settings)
    framing = built("evdev reader", Framing, settings)
    try:
        keyboard = XkbKeyboard(built("evdev reader", Layout, settings))
    except Missing as error:
        raise SettingError(f"evdev reader: {error}") from error
    return EvdevReader(device, keyboard, framing)


def lines_reader(settings: Settings) -> Reader:
    """Make a reader of lines."""
    from hal.line_reader import LineReader

    refuse_unknown("lines reader", settings, names_of(LinesSettings))
    lines = built("lines reader", LinesSettings, settings)
    built("lines reader", Framing, {"length_max": lines.length_max})  # its bounds are the same
    if lines.path == "-":
        return LineReader(sys.stdin.buffer, length_max=lines.length_max)
    return LineReader.opened(lines.path, lines.length_max)


BOARDS: dict[str, Callable[[Settings], Board]] = {"fake": fake_board, "gpio": gpio_board}
READERS: dict[str, Callable[[Settings], Reader]] = {
    "serial": serial_reader,
    "evdev": evdev_reader,
    "lines": lines_reader,
}
