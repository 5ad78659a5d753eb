"""Relays, lamps and contacts: the guard, lines that fail, chatter, what is refused before anything moves."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hal import wiring
from hal.board import open_board
from hal.chip_pins import ChipFactory
from hal.gpio import GpioBoard, open_factory
from hal.gpio_parts import (
    BLINK_MS,
    GUARD_RETRY_MS,
    HOLD_MARGIN_MS,
    SOUNDS,
    LineFault,
)
from hal.ports import Colour, Pattern, Way
from hal.schedule import Call, Cancel, VirtualTime
from hal.setting_error import SettingError
from hal.wired_lanes import GpioLaneSettings
from tests.hal.benches import HOLD_MS, PULSE_MS, WHOLE, ChipBench, Door
from tests.hal.conftest import PATIENCE_S
from tests.hal.fake_chip import FakeChip, FakeLgpio, opened

BOARDS = Path(__file__).parents[2] / "deploy" / "boards"
RED, GREEN, BLUE, YELLOW, WHITE = Colour.RED, Colour.GREEN, Colour.BLUE, Colour.YELLOW, Colour.WHITE


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.close()


# --- the guard -----------------------------------------------------------------------------------------


def test_a_stalled_loop_leaves_a_pulse_to_the_guard_which_ends_it_on_time(door: Door) -> None:
    door.a.turnstile.unlock("in")
    door.wait(PULSE_MS - 1)
    assert door.lock_shows("A") == "in"
    door.wait(1)
    assert door.lock_shows("A") == "locked"


def test_a_line_that_takes_its_time_to_switch_gets_its_whole_pulse() -> None:
    bench = ChipBench()
    lane = bench.board().lanes[0]
    chip, pin = bench.chip, next(line.pin for line in bench.plan.lines if line.part == "in")

    def changed(line: int) -> None:
        if line == pin and chip.level(pin):
            bench.wait(PULSE_MS // 2)
        FakeChip.changed(chip, line)

    chip.changed = changed  # type: ignore[method-assign]  # a kernel that is busy
    lane.turnstile.unlock("in")
    bench.wait(PULSE_MS - 1)
    assert bench.lock_shows("A") == "in"
    bench.wait(1)
    assert bench.lock_shows("A") == "locked"
    bench.close()


def test_a_stalled_loop_leaves_a_hold_to_the_guard_a_second_after_it_should_have_ended(door: Door) -> None:
    door.b.turnstile.unlock("out")
    door.wait(HOLD_MS + HOLD_MARGIN_MS - 1)
    assert door.lock_shows("B") == "both"
    door.wait(1)
    assert door.lock_shows("B") == "locked"


def test_the_guard_has_a_thread_of_its_own() -> None:
    bench = ChipBench()
    bench.virtual = False
    turnstile = bench.board().lanes[0].turnstile
    looked = threading.Event()
    chip, pin = bench.chip, next(line.pin for line in bench.plan.lines if line.part == "in")

    def changed(line: int) -> None:
        FakeChip.changed(chip, line)
        if line == pin and not chip.level(pin):
            looked.set()

    chip.changed = changed  # type: ignore[method-assign]  # an eye at the line, while this thread stalls
    turnstile.unlock("in")
    assert looked.wait(PATIENCE_S), "nobody called lock, and nobody ever will"
    bench.close()


def test_the_end_of_one_opening_does_not_end_the_next(door: Door) -> None:
    door.a.turnstile.unlock("in")
    door.wait(PULSE_MS - 1)
    door.a.turnstile.lock()
    door.a.turnstile.unlock("in")
    door.wait(PULSE_MS - 1)
    assert door.lock_shows("A") == "in"
    door.wait(1)
    assert door.lock_shows("A") == "locked"


class TooLate(VirtualTime):
    """A clock whose calls are all under way already when somebody thinks of cancelling one."""

    def after(self, delay_ms: int, call: Call) -> Cancel:
        super().after(delay_ms, call)
        return lambda: None


def test_an_end_that_is_under_way_already_ends_nothing_newer() -> None:
    bench = ChipBench()
    bench.time = TooLate()
    lane = bench.board().lanes[0]
    lane.turnstile.unlock("in")
    lane.lamp.show(GREEN, False, PULSE_MS)
    bench.wait(PULSE_MS - 1)
    lane.turnstile.lock()
    lane.turnstile.unlock("in")
    lane.lamp.show(RED, False, PULSE_MS)
    bench.wait(PULSE_MS - 1)
    assert (bench.lock_shows("A"), bench.lit("A")) == ("in", RED)
    bench.wait(1)
    assert (bench.lock_shows("A"), bench.lit("A")) == ("locked", Colour.OFF)
    bench.close()


def test_asking_again_while_the_pulse_runs_makes_no_second_one(door: Door) -> None:
    door.a.turnstile.unlock("in")
    door.wait(PULSE_MS // 2)
    door.a.turnstile.unlock("in")
    door.wait(PULSE_MS // 2)
    assert door.changes("in") == [1, 0]


def test_the_guard_ends_no_lane_that_was_freed(door: Door) -> None:
    for lane in (door.a, door.b):
        lane.turnstile.unlock("in" if lane is door.a else "out")
        lane.turnstile.unlock("both")
    door.wait(100 * (PULSE_MS + HOLD_MS))
    assert (door.lock_shows("A"), door.lock_shows("B")) == ("both", "both")


def test_a_lane_that_is_freed_while_it_is_open_has_no_moment_in_between(door: Door) -> None:
    for lane in (door.a, door.b):
        lane.turnstile.unlock("in" if lane is door.a else "out")
        lane.turnstile.unlock("both")
    assert door.changes("both", "B") == [1]
    order = [pin for pin, _ in door.chip.trace if pin in (door.pin("in"), door.pin("free"))]
    assert order == [door.pin("in"), door.pin("free"), door.pin("in")], "free first, then no longer one way"


def test_promise_4_a_drop_arm_that_was_lifted_by_hand_falls_at_the_next_alarm(tmp_path: Path) -> None:
    """Nobody locks a lane between two alarms, and no line tells whether the arm is down."""
    plan = wiring.read(str(BOARDS / "drop-arm.toml"))
    time, chip = VirtualTime(), FakeChip()
    with chip_board(plan, chip, time, tmp_path) as board:
        turnstile = board.lanes[0].turnstile
        for _ in range(3):
            turnstile.unlock("both")
        time.advance(10_000)
        turnstile.unlock("both")
        turnstile.lock()
        turnstile.unlock("both")
    assert [level for pin, level in chip.trace if pin == 24] == [1, 0, 1, 0, 1, 0], (
        "three calls at once are one"
    )


def chip_board(plan: wiring.Wiring, chip: FakeChip, time: VirtualTime, folder: Path) -> GpioBoard:
    both: tuple[Way, ...] = ("in", "out")
    lanes = [
        GpioLaneSettings(
            lane.name, tuple(way for way in both if lane.opening(way)), "way" if lane.sensor else "none"
        )
        for lane in plan.lanes
    ]
    return GpioBoard(plan, lanes, ChipFactory(opened(FakeLgpio({0: chip}), folder)), time)


# --- lines that fail -----------------------------------------------------------------------------------


def test_a_line_that_cannot_be_switched_is_named_with_its_pin_and_the_mend(door: Door) -> None:
    door.chip.broken.add(door.pin("in"))
    with pytest.raises(
        LineFault, match=r"lane A, in \(pin 22, header pin 15\) cannot be switched .*: check the"
    ):
        door.a.turnstile.unlock("in")
    door.chip.broken.add(door.pin("lamp red"))
    with pytest.raises(LineFault, match=r"lane A, lamp red \(pin 25"):
        door.a.lamp.show(RED, blink=False)
    door.chip.broken.add(door.pin("buzzer"))
    with pytest.raises(LineFault, match=r"lane A, buzzer \(pin 27"):
        door.a.buzzer.sound(Pattern.SHORT)
    door.chip.broken.clear()
    door.a.turnstile.unlock("in")
    door.a.lamp.show(RED, blink=False)
    door.a.buzzer.sound(Pattern.SHORT)
    assert (door.lock_shows("A"), door.lit("A"), door.sounding("A")) == ("in", RED, True)


def test_a_line_that_could_not_be_switched_off_is_tried_again_by_the_guard(door: Door) -> None:
    door.a.turnstile.unlock("in")
    door.chip.broken.add(door.pin("in"))
    door.wait(PULSE_MS)
    assert door.lock_shows("A") == "in"
    door.wait(3 * GUARD_RETRY_MS)
    door.chip.broken.clear()
    door.wait(GUARD_RETRY_MS)
    assert door.lock_shows("A") == "locked"


def test_a_lock_that_failed_is_tried_again_though_nobody_asks(door: Door) -> None:
    door.b.turnstile.unlock("both")
    door.chip.broken.add(door.pin("both", "B"))
    with pytest.raises(LineFault):
        door.b.turnstile.lock()
    door.chip.broken.clear()
    door.wait(GUARD_RETRY_MS)
    assert door.lock_shows("B") == "locked"


def test_a_way_that_could_not_be_locked_is_locked_before_the_other_one_opens(door: Door) -> None:
    door.a.turnstile.lock()
    door.a.turnstile.unlock("in")
    door.chip.broken.add(door.pin("in"))
    with pytest.raises(LineFault):
        door.a.turnstile.lock()
    with pytest.raises(LineFault):
        door.a.turnstile.unlock("out")
    door.chip.broken.clear()
    door.a.turnstile.unlock("out")
    assert door.lock_shows("A") == "out"


def test_one_line_that_fails_keeps_no_other_on(door: Door) -> None:
    door.a.turnstile.unlock("both")
    door.chip.broken.add(door.pin("in"))
    with pytest.raises(LineFault):
        door.a.turnstile.lock()
    assert door.lock_shows("A") == "locked"


def test_freeing_is_tried_again_by_whoever_asks_again(door: Door) -> None:
    door.chip.broken.add(door.pin("free"))
    with pytest.raises(LineFault):
        door.a.turnstile.unlock("both")
    door.chip.broken.clear()
    door.a.turnstile.unlock("both")
    assert door.lock_shows("A") == "both"


def test_closing_goes_on_after_a_line_that_fails(door: Door) -> None:
    for lane in (door.a, door.b):
        lane.turnstile.unlock("both")
        lane.lamp.show(RED, blink=True)
    door.chip.broken |= {door.pin("free"), door.pin("lamp red")}
    door.gate.close()
    assert door.chip.holders == {}
    assert door.lock_shows("B") == "locked"


def test_a_way_without_a_line_is_a_fault_of_the_board_file(tmp_path: Path) -> None:
    plan = wiring.read(str(BOARDS / "two-lanes.toml"))
    with (
        chip_board(plan, FakeChip(), VirtualTime(), tmp_path) as board,
        pytest.raises(RuntimeError, match="no line opens out"),
    ):
        board.lanes[0].turnstile.unlock("out")


# --- lamp and buzzer -----------------------------------------------------------------------------------


def test_a_lamp_blinks_until_it_is_told_something_else(door: Door) -> None:
    lamp = door.a.lamp
    lamp.show(GREEN, blink=True)
    looks = []
    for _ in range(6):
        looks.append(door.lit("A"))
        door.wait(BLINK_MS)
    assert looks == [GREEN, Colour.OFF] * 3
    lamp.show(GREEN, blink=False)
    door.wait(10 * BLINK_MS + BLINK_MS // 2)
    assert door.lit("A") == GREEN
    assert door.changes("lamp green")[-1] == 1


def test_the_same_look_again_does_not_disturb_the_rhythm(door: Door) -> None:
    door.a.lamp.show(RED, blink=True)
    for _ in range(100):
        door.wait(BLINK_MS // 10)
        door.a.lamp.show(RED, blink=True)
    assert len(door.changes("lamp red")) == 11


def test_a_timed_look_over_a_blinking_one_blinks_again_afterwards(door: Door) -> None:
    lamp = door.a.lamp
    lamp.show(RED, blink=True)
    lamp.show(GREEN, blink=False, for_ms=1000)
    lamp.show(GREEN, blink=True, for_ms=1000)
    door.wait(999)
    assert door.lit("A") != RED
    door.wait(1)
    before = len(door.changes("lamp red"))
    door.wait(10 * BLINK_MS)
    assert len(door.changes("lamp red")) == before + 10
    assert door.changes("lamp green")[-1] == 0


# Lane A has red and green, lane B has blue too; a full lamp has all.
@pytest.mark.parametrize(
    ("lane", "asked", "lit"),
    [
        ("A", YELLOW, RED),
        ("A", BLUE, Colour.OFF),
        ("A", WHITE, Colour.OFF),
        ("A", Colour.OFF, Colour.OFF),
        ("B", BLUE, BLUE),
        ("B", WHITE, BLUE),
        ("B", YELLOW, RED),
    ],
)
def test_a_colour_that_is_not_wired_shows_as_the_table_says(
    door: Door, lane: str, asked: Colour, lit: Colour
) -> None:
    lamp = {"A": door.a, "B": door.b}[lane].lamp
    for before in (RED, GREEN):
        lamp.show(before, blink=False)
        lamp.show(asked, blink=False)
        assert door.lit(lane) == lit


def test_only_green_ever_looks_green() -> None:
    assert all("green" not in instead for instead in wiring.INSTEAD.values())
    assert wiring.INSTEAD.keys() == set(wiring.COLOURS) == {str(colour) for colour in Colour} - {"off"}


@pytest.mark.parametrize("pattern", [Pattern.SHORT, Pattern.DOUBLE, Pattern.LONG])
def test_a_pattern_sounds_as_the_table_says(door: Door, pattern: Pattern) -> None:
    door.a.buzzer.sound(pattern)
    active = True
    for step_ms in SOUNDS[pattern]:
        door.wait(step_ms - 1)
        assert door.sounding("A") is active
        door.wait(1)
        active = not active
    assert not door.sounding("A")
    door.wait(10_000)
    assert len(door.changes("buzzer")) == len(SOUNDS[pattern]) + 1


def test_a_new_sound_takes_the_place_of_the_old_one(door: Door) -> None:
    door.a.buzzer.sound(Pattern.DOUBLE)
    door.wait(50)
    door.a.buzzer.sound(Pattern.LONG)
    door.wait(599)
    assert door.changes("buzzer") == [1]
    door.wait(1)
    assert door.changes("buzzer") == [1, 0]


def test_a_lane_may_have_neither_lamp_nor_buzzer(tmp_path: Path) -> None:
    text = '[board]\nfactory = "mock"\n[[lane]]\nname = "1"\nwithout_power = "open"\nfree_by = "hold"\n'
    plan = wiring.parse(text + '[lane.both]\npin = 22\ndrive = "hold"\n', "board.toml")
    with chip_board(plan, FakeChip(), VirtualTime(), tmp_path) as board:
        board.lanes[0].lamp.show(GREEN, blink=True, for_ms=100)
        board.lanes[0].buzzer.sound(Pattern.LONG)
        assert (board.alarm, board.tamper, board.lanes[0].sensor) == (None, None, None)


# --- what is refused before anything moves -------------------------------------------------------------


def lanes_of(**changes: Any) -> list[GpioLaneSettings]:
    a: dict[str, Any] = {"name": "A", "ways": ("in", "out"), "sensor": "way"}
    return [GpioLaneSettings(**(a | changes)), GpioLaneSettings("B", ("out",), "way")]


@pytest.mark.parametrize(
    ("plan", "lanes", "told"),
    [
        (
            WHOLE,
            lanes_of(name="left"),
            'bench: lane "left" of gate.toml is not wired: add a [[lane]] of this name',
        ),
        (WHOLE, lanes_of(name="left"), 'bench: lane "A" is wired and not in gate.toml: add it there'),
        (
            WHOLE,
            lanes_of(sensor="none"),
            'bench: lane "A" has a sensor that the gate does not know: set sensor = true',
        ),
        (
            wiring.read(str(BOARDS / "two-lanes.toml")),
            [GpioLaneSettings("in", ("in", "out"), "way"), GpioLaneSettings("out", ("out",), "way")],
            'lane "in" lets people out and has no line for it: wire [lane.out] or [lane.both]',
        ),
        (
            wiring.read(str(BOARDS / "two-lanes.toml")),
            [GpioLaneSettings("in", ("in", "out"), "way"), GpioLaneSettings("out", ("out",), "way")],
            'lane "in" lets people out and its sensor does not see that: wire out_pin',
        ),
    ],
)
def test_lanes_that_differ_from_the_board_file_are_refused_before_a_line_moves(
    tmp_path: Path, plan: wiring.Wiring, lanes: list[GpioLaneSettings], told: str
) -> None:
    chip = FakeChip()
    factory = ChipFactory(opened(FakeLgpio({0: chip}), tmp_path))
    with pytest.raises(SettingError) as refused:
        GpioBoard(plan, lanes, factory, VirtualTime())
    assert told in str(refused.value)
    assert chip.trace == []


def test_a_lane_without_the_sensor_that_the_gate_counts_on_is_refused() -> None:
    plan = WHOLE._replace(lanes=(WHOLE.lanes[0]._replace(sensor=None), WHOLE.lanes[1]))
    with pytest.raises(SettingError, match='lane "A" has no sensor: wire'):
        GpioBoard(plan, lanes_of(), open_factory("mock", ""), VirtualTime())


def test_a_pin_in_use_is_refused_with_its_user_and_nothing_stays_claimed() -> None:
    bench = ChipBench()
    bench.chip.users[bench.plan.inputs[0].pin] = "button@14"
    with pytest.raises(SettingError, match=r'alarm.pin: alarm \(pin 20.* is in use by "button@14"'):
        bench.board()
    assert bench.chip.holders == {}
    assert bench.openings() == 0
    bench.close()


def test_a_pin_that_another_board_of_this_program_has_is_refused() -> None:
    factory = open_factory("mock", "")
    with (
        GpioBoard(WHOLE, lanes_of(), factory, VirtualTime()),
        pytest.raises(SettingError, match=r"lane\[1\].in.pin: lane A, in .* is in use in this program"),
    ):
        GpioBoard(WHOLE, lanes_of(), factory, VirtualTime())


def test_there_is_no_other_factory_to_fall_back_to() -> None:
    with pytest.raises(SettingError, match='there is no "pigpio": choose lgpio or mock'):
        open_factory("pigpio", "")


def test_the_board_is_built_from_settings(tmp_path: Path) -> None:
    file = tmp_path / "board.toml"
    text = (BOARDS / "magnet-door.toml").read_text().replace('"lgpio"', '"mock"')
    file.write_text(text)
    lane = {"name": "1", "ways": ["in"], "sensor": "way", "unlock_ms": 2000}
    with open_board("gpio", {"file": str(file), "lanes": [lane]}) as board:
        assert (board.name, [parts.name for parts in board.lanes]) == ("gpio", ["1"])
        assert board.tamper
    for settings, told in (
        ({"lanes": [lane]}, '"file" must be the path of the board file'),
        ({"file": str(file)}, '"lanes" must be a list of tables'),
        ({"file": str(file), "lanes": [lane], "fiel": 1}, 'unknown setting "fiel": did you mean "file"?'),
        ({"file": str(tmp_path / "absent"), "lanes": [lane]}, "absent: cannot be read"),
    ):
        with pytest.raises(SettingError, match=told.replace("?", r"\?")):
            open_board("gpio", settings)
