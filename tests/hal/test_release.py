"""What is left of a gate that died, and what `release` makes of it. On chips with physics."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hal import wiring
from hal.chip_pins import ChipFactory
from hal.gpio import GpioBoard
from hal.ports import Turnstile, Way
from hal.release import BUSY_S_MAX, NotReleased, release
from hal.schedule import VirtualTime
from hal.setting_error import SettingError
from hal.wired_lanes import GpioLaneSettings
from tests.hal.fake_chip import FakeChip, FakeLgpio, fake_devices, opened

BOARDS = Path(__file__).parents[2] / "deploy" / "boards"
CHIP = "pinctrl-bcm2711"  # what the examples name


@dataclass
class Watch:
    """A clock that moves when it is waited on."""

    now_s: float = 0.0
    due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def now(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        for at_s, act in [due for due in self.due if due[0] <= self.now_s]:
            self.due.remove((at_s, act))
            act()


class Door:
    """A chip with the wires of a board file, one gate after another on it, and `release`."""

    def __init__(self, folder: Path, example: str, keeps: bool, resistors: str = "inactive") -> None:
        self.plan = wiring.read(str(BOARDS / f"{example}.toml"))
        self.chip = FakeChip(CHIP, keeps=keeps)
        self.folder = fake_devices(folder, 0)
        self.watch = Watch()
        for line in self.plan.lines:
            if resistors:
                level = line.inactive_level if resistors == "inactive" else 1 - line.inactive_level
                self.chip.pull(line.pin, level)
        self.alarm(False)

    def alarm(self, active: bool) -> None:
        assert self.plan.alarm
        self.chip.put(self.plan.alarm.pin, None if active else 0)

    def gate(self) -> tuple[FakeLgpio, list[Turnstile]]:
        """A gate at work: its process, and its turnstiles."""
        process = FakeLgpio({0: self.chip})
        both: tuple[Way, ...] = ("in", "out")
        lanes = [
            GpioLaneSettings(lane.name, tuple(way for way in both if lane.opening(way)), "way")
            for lane in self.plan.lanes
        ]
        factory = ChipFactory(opened(process, self.folder, CHIP))
        self.board = GpioBoard(self.plan, lanes, factory, VirtualTime())
        return process, [lane.turnstile for lane in self.board.lanes]

    def release(self) -> list[str]:
        process = FakeLgpio({0: self.chip})
        return release(self.plan, lambda: process, self.folder, self.watch.now, self.watch.wait)

    def active(self, lines: Iterable[wiring.Line]) -> list[str]:
        return [line.part for line in lines if self.chip.level(line.pin) != line.inactive_level]

    @property
    def locks(self) -> list[wiring.Line]:
        return [line for lane in self.plan.lanes for line in lane.locking_lines]


EXAMPLES = [path.stem for path in sorted(BOARDS.glob("*.toml"))]


@pytest.mark.parametrize("example", EXAMPLES)
def test_what_a_killed_gate_left_active_is_driven_inactive_and_freed(tmp_path: Path, example: str) -> None:
    door = Door(tmp_path, example, keeps=True, resistors="")
    process, turnstiles = door.gate()
    for turnstile in turnstiles:
        turnstile.unlock("both")
    process.die()
    assert door.active(door.locks), "this kernel keeps the level of a freed line"
    done = door.release()
    assert door.active(door.plan.lines) == []
    assert done == [f"{line}: inactive, and freed" for line in door.plan.lines]
    assert door.chip.holders == {}


@pytest.mark.parametrize("example", EXAMPLES)
def test_releasing_what_is_at_rest_makes_no_edge_however_often(tmp_path: Path, example: str) -> None:
    for keeps in (True, False):
        door = Door(tmp_path, example, keeps)
        del door.chip.trace[:]
        for _ in range(2):
            door.release()
        assert door.chip.trace == []


def test_a_line_that_is_pulled_towards_active_is_seen_to_be_driven(tmp_path: Path) -> None:
    door = Door(tmp_path, "tripod", keeps=False, resistors="active")
    del door.chip.trace[:]
    door.release()
    edges = [(line.pin, line.inactive_level) for line in door.plan.lines]
    assert [edge for edge in door.chip.trace if edge in edges] == edges


@pytest.mark.parametrize("example", EXAMPLES)
def test_while_the_alarm_is_active_lanes_are_left_free(tmp_path: Path, example: str) -> None:
    door = Door(tmp_path, example, keeps=True)
    for line in door.plan.lines:
        del door.chip.resistors[line.pin]
    door.alarm(True)
    del door.chip.trace[:]
    done = door.release()
    assert "active, so that lanes are left free" in done[0]
    for lane in door.plan.lanes:
        freeing = [lane.free.line] if lane.free else [opening.line for opening in lane.openings]
        pulsed = lane.free is not None and lane.free.pulse_ms is not None
        assert door.active(lane.locking_lines) == ([] if pulsed else [line.part for line in freeing])
        for line in freeing:
            assert (line.pin, 1) in door.chip.trace
        assert door.active(lane.lamp.values()) == []
    assert door.watch.now_s < 2
    assert door.chip.holders == {}


def test_a_lane_that_is_free_stays_so_without_a_gap(tmp_path: Path) -> None:
    door = Door(tmp_path, "magnet-door", keeps=True, resistors="")
    process, (turnstile,) = door.gate()
    turnstile.unlock("both")
    process.die()
    door.alarm(True)
    del door.chip.trace[:]
    door.release()
    assert door.active(door.locks) == ["both"]
    assert door.locks[0].pin not in dict(door.chip.trace)


def test_a_drop_arm_gets_one_pulse_of_its_length(tmp_path: Path) -> None:
    door = Door(tmp_path, "drop-arm", keeps=True)
    free = door.plan.lanes[0].free
    assert free
    assert free.pulse_ms
    door.alarm(True)
    begin_s = door.watch.now_s
    door.release()
    assert [level for pin, level in door.chip.trace if pin == free.line.pin] == [1, 0]
    assert door.watch.now_s - begin_s >= free.pulse_ms / 1000


def test_lines_of_a_gate_that_is_dying_are_had_as_soon_as_it_is_dead(tmp_path: Path) -> None:
    door = Door(tmp_path, "tripod", keeps=True, resistors="")
    process, (turnstile,) = door.gate()
    turnstile.unlock("in")
    door.watch.due.append((1.9, process.die))
    done = door.release()
    assert len(done) == len(door.plan.lines)
    assert door.active(door.plan.lines) == []


def test_a_gate_at_work_keeps_its_lines_and_the_rest_is_told(tmp_path: Path) -> None:
    door = Door(tmp_path, "tripod", keeps=True)
    _, (turnstile,) = door.gate()
    turnstile.unlock("in")
    with pytest.raises(NotReleased, match=r'lane 1, in .* is in use by "lg"') as kept:
        door.release()
    assert door.active(door.locks) == ["in"]
    assert BUSY_S_MAX <= door.watch.now_s < 2 * BUSY_S_MAX
    assert kept.value.done == []


def test_one_line_that_is_not_to_be_had_keeps_no_other_waiting(tmp_path: Path) -> None:
    door = Door(tmp_path, "tripod", keeps=True, resistors="")
    process, (turnstile,) = door.gate()
    turnstile.unlock("out")
    process.die()
    stranger = door.locks[0]
    door.chip.users[stranger.pin] = "w1"
    locked_s: list[float] = []
    door.watch.due.append(
        (0.1, lambda: locked_s.append(door.watch.now_s) if not door.active(door.locks) else None)
    )
    with pytest.raises(NotReleased) as kept:
        door.release()
    assert kept.value.problems == [f'{stranger} is in use by "w1": end that, or choose another pin']
    assert locked_s, "the others were driven at once"
    assert len(kept.value.done) == len(door.plan.lines) - 1


def test_a_line_that_should_free_and_is_not_to_be_had_is_not_locked_instead(tmp_path: Path) -> None:
    door = Door(tmp_path, "tripod", keeps=True)
    free = door.plan.lanes[0].free
    assert free
    door.alarm(True)
    door.chip.users[free.line.pin] = "w1"
    with pytest.raises(NotReleased) as kept:
        door.release()
    assert [problem for problem in kept.value.problems if str(free.line) in problem] == kept.value.problems
    assert len(kept.value.problems) == 1, "it was asked for once, to free the lane"


def test_an_alarm_contact_that_cannot_be_read_counts_as_active(tmp_path: Path) -> None:
    door = Door(tmp_path, "magnet-door", keeps=True)
    assert door.plan.alarm
    door.chip.users[door.plan.alarm.pin] = "w1"
    with pytest.raises(NotReleased, match="taken for active"):
        door.release()
    assert door.chip.kept[22] == 1


def test_a_wrong_chip_is_told(tmp_path: Path) -> None:
    door = Door(tmp_path, "tripod", keeps=True)
    door.chip.label = "pinctrl-rp1"
    with pytest.raises(SettingError, match="pinctrl-rp1"):
        door.release()


def test_mock_pins_need_no_release() -> None:
    plan = wiring.read(str(BOARDS / "tripod.toml"))._replace(factory="mock")
    assert release(plan, lambda: pytest.fail("lgpio was imported")) == ['factory = "mock" has no pins']


def test_release_imports_next_to_nothing() -> None:
    program = "import sys; import hal.release; print(*sys.modules)"
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    modules = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=BOARDS.parents[1],
        env=unmeasured,  # a measured process has imported the measure first
    ).stdout.split()
    assert not {"gpiozero", "lgpio", "dataclasses", "inspect", "threading", "subprocess", "firmware"} & set(
        modules
    )
