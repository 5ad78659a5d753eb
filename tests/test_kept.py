"""The board between two gates: an alarm frees its lanes at once, whether another board is to come or not."""

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from gpiozero.pins.mock import MockFactory, MockPin

from firmware.kept import Kept, KeptSensor
from firmware.watchdog import Watchdog
from hal import board as boards
from hal import wiring
from hal.board import built_lanes
from hal.fake import FakeBoard, FakeLaneSettings
from hal.fake_parts import FakePassageSensor
from hal.gpio import GpioBoard
from hal.ports import Board, TellState, Way
from hal.schedule import VirtualTime
from hal.setting_error import SettingError
from hal.wired_lanes import GpioLaneSettings
from tests.brokers import LIMIT_S

SOON_S = 0.2  # what does not wait has come to its end by then
NORTH = {"lanes": [{"name": "north"}]}
SOUTH = {"lanes": [{"name": "south"}]}
WRONG: dict[str, object] = {"lanes": []}
ALARM_PIN, LANE_PIN = 24, 21
PINS = f"""\
[board]
factory = "mock"
[[lane]]
name = "north"
without_power = "locked"
free_by = "hold"
both = {{ pin = {LANE_PIN}, drive = "hold" }}
lamp = {{ red = 20, green = 16 }}
[alarm]
pin = {ALARM_PIN}
contact = "normally_open"
pull = "up"
debounce_ms = 1
"""


class Makers:
    """Makes boards, and keeps them in view."""

    def __init__(self) -> None:
        self.fakes: list[FakeBoard] = []
        self.pins: list[MockFactory] = []

    def fake(self, settings: Mapping[str, object]) -> Board:
        """One with these lanes; with none it does not open."""
        lanes = built_lanes("fake board", FakeLaneSettings, settings)
        if not lanes:
            raise SettingError("it does not open")
        self.fakes.append(FakeBoard(lanes, VirtualTime()))
        return self.fakes[-1]

    def wired(self, settings: Mapping[str, object]) -> Board:
        """One of a board file, on pins without a chip."""
        plan = wiring.read(str(settings["file"]))
        pins = MockFactory(revision="a02082", pin_class=MockPin)
        made = GpioBoard(plan, built_lanes("gpio board", GpioLaneSettings, settings), pins)
        self.pins.append(pins)
        return made

    def relay(self, at: int, lane: str) -> list[str]:
        """What a lane of one of the fake boards did."""
        return self.fakes[at].tape.values(lane, "relay")


@pytest.fixture
def makers() -> Iterator[Makers]:
    makers, before = Makers(), dict(boards.BOARDS)
    boards.BOARDS.update(fake=makers.fake, gpio=makers.wired)
    yield makers
    boards.BOARDS.update(before)


@pytest.fixture
def kept() -> Iterator[Kept]:
    with Kept(Watchdog({})) as kept:
        yield kept


def press(board: FakeBoard) -> None:
    assert board.alarm is not None
    board.alarm.press()


def release(board: FakeBoard) -> None:
    assert board.alarm is not None
    board.alarm.release()


def test_promise_4_no_board_is_ended_while_an_alarm_keeps_its_lanes_free(makers: Makers, kept: Kept) -> None:
    kept.board_for("fake", NORTH, ())
    press(makers.fakes[0])  # after everybody has looked whether there is one
    replacing = threading.Thread(target=kept.board_for, args=("fake", SOUTH, ()))
    replacing.start()
    replacing.join(SOON_S)
    assert replacing.is_alive()
    assert makers.relay(0, "north") == ["both"]
    release(makers.fakes[0])
    replacing.join(LIMIT_S)
    assert makers.relay(0, "north") == ["both", "locked"]
    heard: list[bool] = []
    kept.board_for("fake", SOUTH, ())[1].start(heard.append)
    assert heard == [True, False], "the next gate records what came and went on the board before"
    assert len(makers.fakes) == 2


def test_promise_4_where_another_board_does_not_open_the_former_is_open_when_that_is_told(
    makers: Makers, kept: Kept
) -> None:
    """Who hears of it writes that to a disk, which may hang."""
    kept.board_for("fake", NORTH, ())
    with pytest.raises(SettingError, match="it does not open"):
        kept.board_for("fake", WRONG, ())
    press(makers.fakes[-1])
    assert makers.relay(1, "north") == ["both"]
    assert kept.alarmed
    release(makers.fakes[-1])
    kept.board_for("fake", NORTH, ())
    assert len(makers.fakes) == 2, "the former settings find their board open"


def test_where_the_first_board_does_not_open_there_is_none(makers: Makers, kept: Kept) -> None:
    with pytest.raises(SettingError, match="it does not open"):
        kept.board_for("fake", WRONG, ())
    assert not kept.alarmed
    assert makers.fakes == []


def test_promise_4_the_former_board_comes_back_when_its_file_is_gone(
    makers: Makers, kept: Kept, tmp_path: Path
) -> None:
    former, new = tmp_path / "former.toml", tmp_path / "new.toml"
    former.write_text(PINS, "utf-8")
    new.write_text(PINS.replace(f"pin = {LANE_PIN}", "pin = 99"), "utf-8")
    settings: dict[str, object] = {"lanes": [{"name": "north"}], "file": str(former)}
    kept.board_for("gpio", settings, ())
    former.unlink()
    with pytest.raises(SettingError, match="99"):
        kept.board_for("gpio", settings | {"file": str(new)}, ())
    assert len(makers.pins) == 2
    pins = makers.pins[-1]
    pins.pin(ALARM_PIN).drive_low()
    assert kept.alarmed
    assert pins.pin(LANE_PIN).state
    former.write_text(PINS, "utf-8")
    assert kept.same_board("gpio", settings)
    pins.pin(ALARM_PIN).drive_high()
    kept.board_for("gpio", settings, ())[1].await_end()
    assert not pins.pin(LANE_PIN).state
    assert len(makers.pins) == 2


class StubbornSensor(FakePassageSensor):
    """Starts at the second try."""

    tries = 0

    def start(self, passed: Callable[[Way | None], None], state: TellState) -> None:
        self.tries += 1
        if self.tries == 1:
            raise OSError("no edges can be watched")
        super().start(passed, state)


def test_a_sensor_that_did_not_start_for_one_gate_is_started_for_the_next() -> None:
    inner, seen = StubbornSensor(), list[Way | None]()
    sensor = KeptSensor(inner)
    with pytest.raises(OSError, match="no edges"):
        sensor.start(seen.append, lambda _: None)
    sensor.start(seen.append, lambda _: None)
    inner.see("in")
    assert seen == ["in"]
