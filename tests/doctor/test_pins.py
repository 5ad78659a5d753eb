import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from firmware.config import Settings, parse
from firmware.doctor import chips, findings, pins
from firmware.doctor.check import Check, Finding, Verdict
from firmware.doctor.chips import CHIP, LINE, Chip, Line
from firmware.doctor.examine import open_factory
from firmware.doctor.stores import Running
from hal import wiring
from hal.board import SettingError
from tests.doctor.trees import Tree

TRIPOD = Path(__file__).parents[2] / "deploy" / "boards" / "tripod.toml"
LANE = '[[lane]]\nname = "1"\ndirection = "both"\nsensor = true\n'
PI_CHIP = Chip("gpiochip0", "pinctrl-bcm2711", 58)
EXPANDER = Chip("gpiochip1", "raspberrypi-exp-gpio", 8, (Line(2, "vdd-sd-io"),))


class Closing:
    """A pin factory that opens."""

    def close(self) -> None:
        pass


def probe(
    *found: Chip | OSError, factory: Callable[[str, str], pins.Factory] = lambda *_: Closing()
) -> pins.Probe:
    """Chips as the kernel tells of them, in the order of their devices."""
    answers = iter(found)

    def ask(_: Path) -> Chip:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    return pins.Probe(ask, factory)


def plan(text: str = "") -> wiring.Wiring:
    return wiring.parse(text or TRIPOD.read_text(), "board.toml")


def checks(
    tree: Tree, *found: Chip | OSError, wires: wiring.Wiring | None = None, gate: Running | None = None
) -> list[Check]:
    for number in range(len(found)):
        tree.write(f"dev/gpiochip{number}", "")
    return list(pins.examine(tree.machine, wires or plan(), gate, probe(*found)))


def settings(file: Path, lanes: str = LANE) -> Settings:
    return parse(f'[board]\nname = "gpio"\nfile = "{file}"\n{lanes}', "gate.toml")


# --- the board file ----------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted(TRIPOD.parent.glob("*.toml")), ids=lambda file: file.stem)
def test_the_board_files_that_come_along_have_no_fault(file: Path) -> None:
    _, found = pins.read_board(settings(file, "".join(map(lane_of, wiring.read(str(file)).lanes))))
    assert [check.text for check in found if check.verdict is Verdict.FAULT] == []
    assert found[0].text.startswith(f"{file}: factory lgpio, lanes ")


def lane_of(lane: wiring.Lane) -> str:
    """Settings that fit a lane of a board file."""
    ways = [way for way in ("in", "out") if any(one.way in (way, "both") for one in lane.openings)]
    seen = {way for _, way in lane.sensor.contacts} if lane.sensor else set()
    ways = [way for way in ways if not seen or seen & {way, None}]
    direction = "both" if len(ways) == 2 else ways[0]
    sensor = str(lane.sensor is not None).lower()
    return f'[[lane]]\nname = "{lane.name}"\ndirection = "{direction}"\nsensor = {sensor}\n'


def test_a_board_file_with_mistakes_tells_each_as_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "board.toml"
    file.write_text(
        TRIPOD.read_text().replace("pin = 22", "pin = 99").replace('active = "high"', 'activ = "low"')
    )
    wires, found = pins.read_board(settings(file))
    assert wires is None
    assert {check.verdict for check in found} == {Verdict.FAULT}
    assert len(found) > 2
    assert any("99 is no pin" in check.text for check in found)


def test_a_board_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    wires, (check,) = pins.read_board(settings(tmp_path / "none.toml"))
    assert wires is None
    assert check.verdict is Verdict.FAULT
    assert "cannot be read" in check.text


def test_the_fake_board_and_the_mock_factory_are_warned_of(tmp_path: Path) -> None:
    assert pins.read_board(parse("", "gate.toml")) == (None, [findings.FAKE_BOARD.seen()])
    file = tmp_path / "board.toml"
    file.write_text(TRIPOD.read_text().replace('"lgpio"', '"mock"'))
    _, found = pins.read_board(settings(file))
    assert findings.BENCH_FACTORY.seen() in found


def test_what_the_wiring_cannot_free_is_a_fault_with_its_mend(tmp_path: Path) -> None:
    file = tmp_path / "board.toml"
    file.write_text(
        TRIPOD.read_text()
        .replace('without_power = "open"', 'without_power = "locked"')
        .replace('free_by = "separate_line"', 'free_by = "release"')
    )
    _, found = pins.read_board(settings(file))
    faults = [check for check in found if check.verdict is Verdict.FAULT]
    assert len(faults) == 1
    assert "without power people are locked in" in faults[0].text


def test_what_works_and_could_be_wired_better_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "board.toml"
    file.write_text(TRIPOD.read_text().replace('contact = "normally_closed"', 'contact = "normally_open"', 1))
    wires, found = pins.read_board(settings(file))
    warned = [check for check in found if check.verdict is Verdict.WARNING]
    assert wires is not None
    assert [check.text for check in warned] == list(wiring.cautions(wires))
    assert "a cut wire is not noticed" in warned[0].text


def test_settings_and_board_file_that_do_not_fit_together_are_a_fault() -> None:
    _, found = pins.read_board(settings(TRIPOD, '[[lane]]\nname = "left"\n'))
    told = [check.text for check in found if check.verdict is Verdict.FAULT]
    assert len(told) == 2
    assert any('lane "left" of gate.toml is not wired' in text for text in told)
    assert any('lane "1" is wired and not in gate.toml' in text for text in told)
    _, found = pins.read_board(settings(TRIPOD, LANE.replace("sensor = true", "sensor = false")))
    assert any("has a sensor that the gate does not know" in check.text for check in found)


# --- chips and lines ---------------------------------------------------------------------------------


def test_chips_are_named_by_their_labels_and_free_pins_counted(tree: Tree) -> None:
    wires = plan()
    assert checks(tree, PI_CHIP, EXPANDER, wires=wires) == [
        findings.CHIPS.seen(
            chips="gpiochip0 is pinctrl-bcm2711 (58 lines), "
            "gpiochip1 is raspberrypi-exp-gpio (8 lines, 1 in use)"
        ),
        findings.PINS_FREE.seen(count=len(wires.lines) + len(wires.inputs)),
        findings.FACTORY_OPENS.seen(factory="lgpio"),
    ]


def test_a_wrong_chip_name_is_a_fault_that_names_those_that_there_are(tree: Tree) -> None:
    wires = plan(TRIPOD.read_text().replace("pinctrl-bcm2711", "pinctrl-rp1"))
    assert findings.WRONG_CHIP.seen(
        chip="pinctrl-rp1", chips="pinctrl-bcm2711, raspberrypi-exp-gpio"
    ) in checks(tree, PI_CHIP, EXPANDER, wires=wires)


def test_a_chip_may_be_named_by_its_path(tree: Tree) -> None:
    wires = plan(TRIPOD.read_text().replace("pinctrl-bcm2711", "/dev/gpiochip0"))
    assert {check.verdict for check in checks(tree, PI_CHIP, wires=wires)} == {Verdict.OK}


def test_pins_in_use_are_a_fault_that_names_who_uses_them(tree: Tree) -> None:
    taken = PI_CHIP._replace(used=(Line(17, "onewire@0"), Line(22, ""), Line(40, "led0")))
    faults = [check for check in checks(tree, taken) if check.verdict is Verdict.FAULT]
    assert [check.text for check in faults] == [
        "lane 1, in (pin 22, header pin 15) is in use by the kernel",
        "alarm (pin 17, header pin 11) is in use by onewire@0",
    ]


def test_the_pins_of_a_gate_at_work_are_no_fault(tree: Tree) -> None:
    taken = PI_CHIP._replace(used=(Line(17, "lg"), Line(22, "lg")))
    found = checks(tree, taken, gate=Running(1))
    assert findings.PINS_GATE.seen(count=2) in found
    assert {check.verdict for check in found} == {Verdict.OK}


def test_pins_beyond_a_chip_are_a_fault(tree: Tree) -> None:
    found = checks(tree, PI_CHIP._replace(lines=8))
    assert any("is not on chip pinctrl-bcm2711, which has 8 lines" in check.text for check in found)


def test_a_chip_without_permission_is_a_fault_that_names_the_group(tree: Tree) -> None:
    found = checks(tree, PermissionError(errno.EACCES, "Permission denied"))
    assert found[0].verdict is Verdict.FAULT
    assert "/dev/gpiochip0 belongs to the group " in found[0].text
    assert "usermod -aG" in found[0].mend


def test_a_chip_that_does_not_answer_is_a_fault(tree: Tree) -> None:
    found = checks(tree, OSError(errno.EIO, "Input/output error"))
    assert found[0] == findings.CHIP_SILENT.seen(device="/dev/gpiochip0", why="Input/output error")


@pytest.mark.parametrize(
    ("factory", "finding"), [("lgpio", findings.NO_CHIP), ("mock", findings.NO_CHIP_NEEDED)]
)
def test_a_machine_without_chips_is_a_fault_where_the_board_needs_one(
    tree: Tree, factory: str, finding: Finding
) -> None:
    wires = plan(TRIPOD.read_text().replace('"lgpio"', f'"{factory}"'))
    assert checks(tree, wires=wires)[0] == finding.seen()


def test_a_factory_that_does_not_open_is_a_fault_with_its_words(tree: Tree) -> None:
    def fails(name: str, chip: str) -> pins.Factory:
        raise SettingError(f"{name} on {chip}: no")

    found = list(pins.examine(tree.machine, plan(), None, probe(factory=fails)))
    assert findings.FACTORY_FAILS.seen(problem="lgpio on pinctrl-bcm2711: no") in found


def test_the_real_factory_opens_or_says_why_not() -> None:
    open_factory("mock", "").close()
    with pytest.raises(SettingError, match="no-such-chip"):
        open_factory("lgpio", "no-such-chip")


def test_what_the_kernel_writes_of_chips_and_lines_has_the_length_of_its_header() -> None:
    """linux/gpio.h: the length is in the number of each call."""
    assert CHIP.size == chips.CHIP_INFO >> 16 & 0x3FFF
    assert LINE.size == chips.LINE_INFO >> 16 & 0x3FFF


def test_what_is_no_chip_is_told_as_an_error(tmp_path: Path) -> None:
    file = tmp_path / "gpiochip0"
    file.write_text("")
    with pytest.raises(OSError, match="ioctl"):
        chips.ask(file)
