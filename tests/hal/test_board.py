import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from hal.board import SettingError, open_board, open_reader
from hal.evdev_reader import EvdevReader, KeyDevice
from hal.fake import FakeBoard, Person
from hal.frames import Framing
from hal.ports import Code
from hal.serial_reader import SerialLine, SerialReader
from tests.hal.conftest import Listener
from tests.hal.typed import keyboard

FAKE: dict[str, object] = {
    "lanes": [{"name": "A", "ways": ["in", "out"], "sensor": "passage"}, {"name": "B"}]
}


def test_the_fake_board_is_built_from_a_table() -> None:
    with open_board(
        "fake", {**FAKE, "alarm": False, "relock_ms": 1, "walks": "stays", "after_ms": 7}
    ) as board:
        assert isinstance(board, FakeBoard)
        assert [(lane.name, [way for _, way in lane.readers]) for lane in board.lanes] == [
            ("A", ["in", "out"]),
            ("B", ["in"]),
        ]
        assert board.alarm is None
        assert board.fakes["A"].turnstile.usual == Person("stays", 7)
    with open_board("fake", FAKE) as board:
        assert board.name == "fake"
        assert board.alarm


def test_a_serial_reader_is_built_from_a_table() -> None:
    settings = {
        "device": "/dev/ttyUSB0",
        "baud_rate": 115200,
        "parity": "even",
        "data_bits": 7,
        "stop_bits": 2,
    }
    with open_reader("serial", {**settings, "terminator": "cr", "strip_prefix": ["SC1", "SC2"]}) as reader:
        assert isinstance(reader, SerialReader)
        assert reader.line == SerialLine("/dev/ttyUSB0", 115200, 7, "even", 2)
        assert reader.framing == Framing("cr", strip_prefix=("SC1", "SC2"))


def test_a_reader_of_a_keyboard_is_built_from_a_table() -> None:
    keyboard().close()
    settings = {"vendor": "05f9", "product": "2206", "serial": "A1", "layout": "ch", "variant": "fr"}
    with open_reader("evdev", {**settings, "caps_lock": True, "terminator": "tab"}) as reader:
        assert isinstance(reader, EvdevReader)
        assert reader.device == KeyDevice("", "05f9", "2206", "A1")
        assert reader.framing == Framing("tab")
    for wrong, said in (
        ({"layout": "xx"}, 'evdev reader: there is no keyboard layout "xx"'),
        ({"layout": "us,de"}, "evdev reader: layout: 'us,de' is not the name"),
        ({"encoding": "utf-8"}, 'evdev reader: unknown setting "encoding"'),
        ({"device": "/dev/input/event0"}, "evdev reader: device: write either device, or vendor and product"),
    ):
        with pytest.raises(SettingError, match=re.escape(said)):
            open_reader("evdev", {**settings, "variant": "", **wrong})


def test_a_line_reader_is_built_for_a_file(tmp_path: Path, listener: Listener) -> None:
    path = tmp_path / "codes"
    path.write_bytes(b"TICKET")
    with open_reader("lines", {"path": str(path), "length_max": 6}) as reader:
        reader.start(listener.deliver, listener.state)
        assert listener.read() == Code("TICKET")
    with pytest.raises(FileNotFoundError):
        open_reader("lines", {"path": str(tmp_path / "absent")})


DEVICE: dict[str, object] = {"device": "/dev/ttyUSB0"}
NAME = {"name": "A"}
Open: TypeAlias = Callable[[str, dict[str, object]], object]
REFUSED: list[tuple[Open, str, dict[str, object], str]] = [
    (open_board, "faek", FAKE, 'there is no board called "faek": choose fake'),
    (open_reader, "cereal", {}, 'there is no reader called "cereal": choose serial or evdev or lines'),
    (
        open_reader,
        "serial",
        {**DEVICE, "boud_rate": 9600},
        'serial reader: unknown setting "boud_rate": did you mean "baud_rate"?',
    ),
    (open_reader, "lines", {"zzz": 1}, 'unknown setting "zzz": known are length_max, path'),
    (open_reader, "serial", {}, 'serial reader: "device" is missing'),
    (open_reader, "serial", {**DEVICE, "baud_rate": "9600"}, "baud_rate = '9600' must be a whole number"),
    (open_reader, "serial", {**DEVICE, "baud_rate": True}, "baud_rate = True must be a whole number"),
    (open_reader, "serial", {**DEVICE, "baud_rate": 1}, "serial reader: baud_rate: 1 is not between"),
    (open_reader, "serial", {"device": 1}, "device = 1 must be a text"),
    (open_reader, "serial", {**DEVICE, "strip_aim": 1}, "strip_aim = 1 must be true or false"),
    (open_reader, "serial", {**DEVICE, "stop_bits": True}, "stop_bits = True must be 1 or 2"),
    (open_reader, "serial", {**DEVICE, "terminator": "crfl"}, "terminator = 'crfl' must be 'any' or 'cr'"),
    (open_reader, "serial", {**DEVICE, "strip_prefix": "SC1"}, "strip_prefix = 'SC1' must be a list"),
    (open_reader, "serial", {**DEVICE, "strip_prefix": [1]}, "strip_prefix = 1 must be a text"),
    (open_reader, "serial", {**DEVICE, "length_max": 0}, "length_max: 0 is not between"),
    (open_reader, "lines", {"length_max": 0}, "lines reader: length_max: 0 is not between"),
    (
        open_board,
        "fake",
        {"lanes": [{**NAME, "wais": ["in"]}]},
        'lane: unknown setting "wais": did you mean "ways"?',
    ),
    (open_board, "fake", {"lanes": [{**NAME, "ways": ["up"]}]}, "ways = 'up' must be 'in' or 'out'"),
    (open_board, "fake", {"lanes": [{**NAME, "ways": []}]}, "ways: lane A needs"),
    (open_board, "fake", {}, '"lanes" must be a list of tables'),
    (open_board, "fake", {"lanes": ["A"]}, '"lanes" must be a list of tables'),
    (open_board, "fake", {"lanes": []}, "fake board: lanes: a gate has 1 to 4"),
    (open_board, "fake", {**FAKE, "relock": 1}, 'did you mean "relock_ms"?'),
    (open_board, "fake", {**FAKE, "after_ms": -1}, "fake board: after_ms: -1"),
]


@pytest.mark.parametrize(("opened", "name", "settings", "text"), REFUSED, ids=map(str, range(len(REFUSED))))
def test_a_setting_that_cannot_be_used_is_named_with_its_mend(
    opened: Open, name: str, settings: dict[str, object], text: str
) -> None:
    with pytest.raises(SettingError) as refused:
        opened(name, settings)
    assert text in str(refused.value)


def python(program: str, typed: bytes = b"") -> bytes:
    return subprocess.run(
        [sys.executable, "-c", program], check=True, input=typed, stdout=subprocess.PIPE
    ).stdout


def test_a_line_reader_is_built_for_the_standard_input() -> None:
    program = "from hal.board import *; print(open_reader('lines', {}).next_read().text)"
    assert python(program, typed=b"TICKET\n") == b"TICKET\n"


def test_a_driver_is_imported_only_for_a_reader_that_needs_it() -> None:
    program = (
        "import sys; from hal.board import *;"
        "open_board('fake', {'lanes': [{'name': 'A'}]}).close(); open_reader('lines', {}).close();"
        "print({'serial', 'evdev', 'ctypes'} & sys.modules.keys())"
    )
    assert python(program) == b"set()\n"
