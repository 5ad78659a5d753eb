"""The board file: the examples of deploy/, every problem with its key, and what is no safe wiring."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hal import wiring
from hal.gpio import GpioBoard, open_factory
from hal.ports import Way
from hal.schedule import VirtualTime
from hal.setting_error import SettingError
from hal.wired_lanes import GpioLaneSettings
from hal.wiring import Wiring, cautions, hazards, parse, read

EXAMPLES = sorted((Path(__file__).parents[2] / "deploy" / "boards").glob("*.toml"))
PIN = re.compile(r"^(?:\w+_)?(?:pin|red|green|yellow|blue|white) = (\d+) +# header pin (\d+)\b")

# The smallest file that is right, in pieces that a test replaces.
BOARD = '[board]\nfactory = "lgpio"\nchip = "pinctrl-bcm2711"\n'
LANE = '[[lane]]\nname = "1"\nwithout_power = "open"\nfree_by = "hold"\n'
BOTH = '[lane.both]\npin = 22\ndrive = "hold"\n'
ALARM = "[alarm]\npin = 17\n"


def problems(text: str) -> list[str]:
    with pytest.raises(SettingError) as refused:
        parse(text, "board.toml")
    return str(refused.value).splitlines()


def ways(lane: wiring.Lane) -> tuple[Way, ...]:
    both: tuple[Way, ...] = ("in", "out")
    return tuple(way for way in both if lane.opening(way))


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_loads_has_no_hazard_and_opens(path: Path) -> None:
    plan = read(str(path))
    assert (hazards(plan), cautions(plan)) == ((), ())
    assert plan.factory == "lgpio"
    lanes = [GpioLaneSettings(lane.name, ways(lane), "way") for lane in plan.lanes]
    with GpioBoard(plan, lanes, open_factory("mock", ""), VirtualTime()) as board:
        assert [lane.name for lane in board.lanes] == [lane.name for lane in plan.lanes]
        assert all(lane.sensor for lane in board.lanes)
        assert board.alarm


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_names_the_header_pin_behind_each_pin(path: Path) -> None:
    named = {
        int(found[1]): int(found[2]) for line in path.read_text().splitlines() if (found := PIN.match(line))
    }
    plan = read(str(path))
    assert named.keys() == {line.pin for line in plan.lines} | {seen.pin for seen in plan.inputs}
    assert named == {pin: wiring.HEADER_PINS[pin] for pin in named}


def test_there_is_an_example_of_each_common_wiring() -> None:
    assert [path.stem for path in EXAMPLES] == ["drop-arm", "magnet-door", "tripod", "two-lanes"]
    freed_by = {lane.free_by for path in EXAMPLES for lane in read(str(path)).lanes}
    assert freed_by == {"hold", "release", "separate_line"}


def test_each_header_pin_stands_for_one_number() -> None:
    assert len(set(wiring.HEADER_PINS)) == wiring.PIN_MAX + 1
    assert max(wiring.HEADER_PINS) == 40
    ground_and_supply = {1, 2, 4, 6, 9, 14, 17, 20, 25, 30, 34, 39}
    assert set(wiring.HEADER_PINS) | ground_and_supply == set(range(1, 41))


def test_the_smallest_file_gets_its_defaults() -> None:
    plan = parse(
        BOARD + ALARM + LANE + BOTH + '[lane.sensor]\nkind = "light_barrier"\npin = 5\n', "board.toml"
    )
    (lane,) = plan.lanes
    assert plan.alarm == wiring.Input(
        "alarm", "", "alarm", 17, "normally_closed", "up", wiring.DEBOUNCE_MS, "alarm.pin"
    )
    assert plan.tamper is None
    line = wiring.Line("opening", "1", "both", 22, "high", "lane[1].both.pin")
    assert lane.openings == (wiring.Opening(line, "both", "hold", wiring.PULSE_MS),)
    assert lane.sensor
    ((seen, way),) = lane.sensor.contacts
    assert (seen.contact, seen.pull, way) == ("normally_open", "up", None)
    assert lane.sensor.stuck_ms == wiring.STUCK_S * 1000
    assert lane.lamp == {}
    assert lane.buzzer is None
    assert str(line) == "lane 1, both (pin 22, header pin 15)"
    assert str(plan.alarm) == "alarm (pin 17, header pin 11)"


@pytest.mark.parametrize(
    ("contact", "pull", "level"),
    [
        ("normally_closed", "up", 1),  # opened, it is pulled up
        ("normally_closed", "none", 1),
        ("normally_closed", "down", 0),
        ("normally_open", "up", 0),  # closed, it is on ground
        ("normally_open", "none", 0),
        ("normally_open", "down", 1),
    ],
)
def test_a_contact_is_active_at_the_level_that_its_wires_give(contact: str, pull: str, level: int) -> None:
    text = f'[alarm]\npin = 17\ncontact = "{contact}"\npull = "{pull}"\n'
    plan = parse(BOARD + text + LANE + BOTH, "board.toml")
    assert plan.alarm
    assert plan.alarm.active_level == level


def test_every_problem_is_told_at_once_with_its_key() -> None:
    text = """
[board]
factory = "lgpoi"
[alarm]
pin = 99
contakt = "normally_open"
[[lane]]
name = ""
without_power = "shut"
free_by = "release"
[lane.in]
pin = 0
drive = "pulse"
pulse_ms = 1
active = true
[lane.sensor]
kind = "rotation"
pin = 3
[lane.lamp]
red = 12
[horn]
"""
    assert problems(text) == [
        'board.toml: board.factory: "lgpoi" is not "lgpio" or "mock"',
        'board.toml: board.chip: is missing: name the label of the GPIO chip, as "pinctrl-bcm2711" on a Pi 4',
        'board.toml: lane[1].name: "" is not a text: the same as in gate.toml',
        'board.toml: lane[1].without_power: "shut" is not "open" or "locked"',
        "board.toml: lane[1].in.pulse_ms: 1 is not a whole number from 20 to 5000",
        'board.toml: lane[1].in.active: true is not "high" or "low"',
        "board.toml: lane[1].in.pin: 0 is kept for the memory of a HAT: choose from 2 to 27",
        'board.toml: lane[1].free: is missing: free_by = "release" needs [lane.free] with the pin that frees',
        "board.toml: lane[1].sensor.in_pin: is missing: name in_pin, out_pin or both, one contact for "
        "each way",
        'board.toml: lane[1].sensor.pin: belongs to kind = "light_barrier": name in_pin or out_pin',
        "board.toml: lane[1].lamp.green: is missing: a lamp needs at least red and green",
        "board.toml: alarm.pin: 99 is no pin: BCM numbers on the header go from 2 to 27",
        'board.toml: alarm.contakt: no such setting: did you mean "contact"?',
        "board.toml: horn: no such setting: known are alarm, board, lane, tamper",
    ]


REFUSED = [
    ("", "board: is missing: write [board] with factory and chip"),
    (BOARD, "lane: there are 0, not 1 to 4: write [[lane]] above each"),
    (BOARD + "lane = 3", "board.lane: no such setting: known are chip, factory"),
    ("lane = 3\n" + BOARD, "lane: 3 is not a list: write [[lane]] above each"),
    ("alarm = true\n" + BOARD + LANE + BOTH, "alarm: true is not a table"),
    (BOARD + LANE, "lane[1]: has no opening line: write [lane.in], [lane.out] or, for one line, [lane.both]"),
    (
        BOARD + LANE + BOTH + '[lane.in]\npin = 23\ndrive = "hold"\n',
        "lane[1].both: serves both ways: take it out, or take out [lane.in] and [lane.out]",
    ),
    (
        BOARD + LANE + BOTH + "pulse_ms = 500\n",
        'lane[1].both.pulse_ms: does nothing with drive = "hold": take it',
    ),
    (BOARD + LANE + '[lane.both]\ndrive = "hold"\n', "lane[1].both.pin: is missing: name the BCM number"),
    (BOARD + LANE + "[lane.both]\npin = 22\n", 'lane[1].both.drive: is missing: write "pulse" or "hold"'),
    (BOARD + LANE + BOTH.replace("22", "true"), "lane[1].both.pin: true is no pin"),
    (BOARD + LANE + BOTH.replace("22", '"GPIO22"'), 'lane[1].both.pin: "GPIO22" is no pin'),
    (BOARD + LANE + BOTH.replace("22", "28"), "lane[1].both.pin: 28 is no pin"),
    (BOARD + LANE + BOTH.replace("22", "9" * 5000), "is not TOML"),
    (BOARD + LANE + BOTH + "[lane.free]\npin = 23\n", 'lane[1].free: does nothing with free_by = "hold"'),
    (
        BOARD + LANE.replace("hold", "separate_line") + BOTH + "[lane.free]\npin = 23\npulse_ms = 500\n",
        'lane[1].free.pulse_ms: does nothing with free_by = "separate_line"',
    ),
    (
        BOARD + LANE + BOTH + '[lane.sensor]\nkind = "light_barrier"\npin = 5\nin_pin = 6\n',
        'lane[1].sensor.in_pin: belongs to kind = "rotation": a light barrier has one pin',
    ),
    (
        BOARD + ALARM.replace("17", "22") + LANE + BOTH,
        "lane[1].both.pin: 22 is used by alarm.pin already: each part has a pin of its own",
    ),
    (
        BOARD + LANE + BOTH + LANE + BOTH.replace("22", "23"),
        'lane[2].name: "1" is another lane\'s: each has its own',
    ),
    (BOARD + '[alarm]\npin = 2\npull = "down"\n' + LANE + BOTH, "alarm.pin: 2 has a pull-up soldered on"),
    (BOARD + (LANE + BOTH) * 5, "lane: there are 5, not 1 to 4"),
    ("[board\n", "is not TOML"),
    ("a = " + "[" * 5000, "is not TOML"),
    ("#" * (wiring.FILE_BYTES_MAX + 1), "longer than 65536 bytes: is this the board file?"),
]


@pytest.mark.parametrize(("text", "problem"), REFUSED, ids=map(str, range(len(REFUSED))))
def test_what_cannot_be_wired_so_is_refused_with_its_key_and_the_mend(text: str, problem: str) -> None:
    assert any(problem in told for told in problems(text)), problems(text)


def test_a_file_full_of_problems_tells_the_first_fifty() -> None:
    told = problems(BOARD + LANE + BOTH + "".join(f"odd_{number} = 1\n" for number in range(60)))
    assert len(told) == wiring.PROBLEMS_MAX + 1
    assert told[-1] == "and 10 more"


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"absent.toml: cannot be read \(No such file"):
        read(str(tmp_path / "absent.toml"))
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# T\xfcr")
    with pytest.raises(SettingError, match=r"latin.toml: is not UTF-8 text: save it as UTF-8"):
        read(str(latin))
    marked = tmp_path / "marked.toml"
    marked.write_bytes(b"\xef\xbb\xbf" + (BOARD + LANE + BOTH).encode())
    assert read(str(marked)).chip == "pinctrl-bcm2711"


@given(
    st.text(max_size=40) | st.integers() | st.booleans() | st.floats() | st.lists(st.integers(), max_size=2)
)
def test_whatever_stands_for_a_pin_is_taken_or_named(value: object) -> None:
    shown = f'"{value}"' if isinstance(value, str) else str(value).lower()
    text = BOARD + LANE + f'[lane.both]\ndrive = "hold"\npin = {shown}\n'
    if type(value) is int and 2 <= value <= wiring.PIN_MAX:
        assert parse(text, "board.toml").lanes[0].openings[0].line.pin == value
    else:
        told = " ".join(problems(text))
        assert "lane[1].both.pin" in told or "is not TOML" in told


# --- what is no safe wiring ------------------------------------------------------------------------------


def wired(*, lane: str = LANE, lines: str = BOTH, rest: str = ALARM) -> Wiring:
    return parse(BOARD + rest + lane + lines, "board.toml")


FREE = "[lane.free]\npin = 24\n"
PULSES = '[lane.in]\npin = 22\ndrive = "pulse"\n[lane.out]\npin = 23\ndrive = "pulse"\n'
HAZARDS: list[tuple[Callable[[], Wiring], list[str]]] = [
    (wired, []),
    (lambda: wired(lane=LANE.replace("open", "locked")), ["without power people are locked in"]),
    (
        lambda: wired(lane=LANE.replace("open", "locked").replace("hold", "release"), lines=PULSES + FREE),
        ["without power people are locked in"],
    ),
    (
        lambda: wired(
            lane=LANE.replace("open", "locked").replace("hold", "separate_line"), lines=PULSES + FREE
        ),
        [],
    ),
    (lambda: wired(lines=PULSES), ["lane 1, in: drive =", "lane 1, out: drive ="]),
    (lambda: wired(lane=LANE.replace("hold", "release"), lines=PULSES + FREE), []),
    (lambda: wired(lines='[lane.in]\npin = 22\ndrive = "hold"\n'), ["no line that opens outwards"]),
    (lambda: wired(lines='[lane.out]\npin = 22\ndrive = "hold"\n'), []),
]


@pytest.mark.parametrize(("plan", "told"), HAZARDS, ids=map(str, range(len(HAZARDS))))
def test_what_cannot_be_freed_or_bounded_is_a_hazard(plan: Callable[[], Wiring], told: list[str]) -> None:
    found = hazards(plan())
    assert len(found) == len(told)
    assert all(words in text for words, text in zip(told, found, strict=True))


SIGHT = "[lane.buzzer]\npin = 26\n"
CAUTIONS: list[tuple[Callable[[], Wiring], str]] = [
    (lambda: wired(lines=BOTH + SIGHT), ""),
    (lambda: wired(lines=BOTH + SIGHT, rest=""), "no [alarm]: nothing frees the lanes in a fire"),
    (
        lambda: wired(lines=BOTH + SIGHT, rest=ALARM + 'contact = "normally_open"\n'),
        "alarm (pin 17, header pin 11): a cut wire is not noticed",
    ),
    (wired, "lane 1: neither lamp nor buzzer"),
    (lambda: wired(lines=BOTH.replace("22", "8") + SIGHT), "pulls this pin up from power-on"),
    (lambda: wired(lines=BOTH.replace("22", "9") + SIGHT), ""),
    (lambda: wired(lines=BOTH + 'active = "low"\n' + SIGHT), "pulls this pin down from power-on"),
    (lambda: wired(lines=BOTH.replace("22", "8") + 'active = "low"\n' + SIGHT), ""),
    (lambda: wired(lines=BOTH + SIGHT.replace("26", "14")), "the serial console uses this pin"),
    (lambda: wired(lines=BOTH + SIGHT, rest=ALARM.replace("17", "15")), "the serial console uses this pin"),
]


@pytest.mark.parametrize(("plan", "told"), CAUTIONS, ids=map(str, range(len(CAUTIONS))))
def test_what_works_and_could_be_better_is_a_caution(plan: Callable[[], Wiring], told: str) -> None:
    found = cautions(plan())
    assert len(found) == bool(told)
    assert all(told in text for text in found)
