from collections.abc import Sequence

import pytest

from firmware.config import Settings, parse
from firmware.doctor import findings
from firmware.doctor.calibration import QUIET_MS, calibration, record
from firmware.doctor.check import Check, Verdict
from firmware.doctor.symbol import BLACK_ON_WHITE, BLOCKS, QUIET_MODULES, USUAL, drawn
from hal.board import Settings as Options
from hal.calibrate import calibration_code
from hal.keys import KeyEvent, Layout
from hal.reopening import Fault
from tests.hal.typed import Recording, keyboard, typed, words_for

NAME = "vendor 0c2e, product 0901"


def settings(more: str = "") -> Settings:
    return parse(
        f'[[lane]]\nname = "left"\n[[lane.reader]]\nkind = "lines"\n'
        f'[[lane.reader]]\nkind = "evdev"\nvendor = "0c2e"\nproduct = "0901"\n{more}\n',
        "gate.toml",
    )


def scanned(layout: Layout, end: str = "enter", gap_ms: int = 2) -> list[KeyEvent]:
    """What a scanner set to a layout types when it sees the code."""
    return typed(f"{words_for(calibration_code(), layout)} {end}", Recording(gap_ms=gap_ms))


def checks(events: Sequence[KeyEvent] | Exception, more: str = "") -> tuple[list[Check], list[str]]:
    """What is found, and what is said meanwhile."""

    def take(options: Options) -> Sequence[KeyEvent]:
        assert options["vendor"] == "0c2e"
        if isinstance(events, Exception):
            raise events
        return events

    said: list[str] = []
    return list(calibration(settings(more), said.append, take, keyboard)), said


def test_a_scanner_that_is_read_right_as_it_is_set_is_ok() -> None:
    found, said = checks(scanned(Layout("us")))
    assert findings.CALIBRATED.seen(lane="left", reader=NAME) in found
    assert Verdict.FAULT not in {check.verdict for check in found}
    assert said[-1] == f"lane left, {NAME}: scan this code once, then wait"
    found, _ = checks(scanned(Layout("fr")), 'layout = "fr"')
    assert findings.CALIBRATED.seen(lane="left", reader=NAME) in found


@pytest.mark.parametrize("name", ["de", "fr"])
def test_a_scanner_set_to_another_country_gets_the_lines_that_read_it_right(name: str) -> None:
    found, said = checks(scanned(Layout(name)))
    (told,) = [check for check in found if check.mend.startswith("write into its [[lane.reader]]: ")]
    assert told.verdict is Verdict.WARNING
    assert f'layout = "{name}"; terminator = "cr"' in told.mend
    lines = [line.strip() for line in said if line.startswith("    ")]
    again, _ = checks(scanned(Layout(name)), "\n".join(lines))
    assert findings.CALIBRATED.seen(lane="left", reader=NAME) in again


def test_nothing_typed_and_keys_that_were_lost_are_faults() -> None:
    for events, words in (([], "nothing was typed"), (typed("a lost b enter"), "keys were lost")):
        found, _ = checks(events)
        assert [check.verdict for check in found] == [Verdict.FAULT]
        assert words in found[0].text


def test_a_scanner_that_never_sends_enter_and_one_that_sends_it_twice_are_told() -> None:
    never, _ = checks(scanned(Layout("us"), end=""))
    assert any("types nothing after a code" in check.text for check in never)
    assert any('terminator = "none"' in check.mend for check in never)
    twice, _ = checks(scanned(Layout("us"), end="enter enter"))
    assert any("Enter twice" in check.text for check in twice)
    assert findings.CALIBRATED.seen(lane="left", reader=NAME) in twice


def test_a_person_who_types_is_not_taken_for_a_scanner() -> None:
    found, _ = checks(scanned(Layout("us"), gap_ms=80), "idle_ms = 1000")
    assert any(check.text.endswith("is this a keyboard that somebody types on?") for check in found)
    quick, _ = checks(scanned(Layout("us")))
    assert not any("somebody types" in check.text for check in quick)


def test_a_scanner_that_is_not_there_is_a_fault_with_its_mend() -> None:
    found, _ = checks(Fault("is not there: check the cable"))
    assert found == [
        findings.READER_LOST.seen(lane="left", reader=NAME, problem="is not there: check the cable")
    ]
    with pytest.raises(Fault, match="is not there"):
        record({"device": "/dev/input/by-id/none"})
    assert QUIET_MS >= 1000


def test_the_code_is_drawn_with_white_around_it_and_in_a_terminal_of_usual_size() -> None:
    lines = drawn(calibration_code())
    assert len(lines) < 24
    plain = [line.removeprefix(BLACK_ON_WHITE).removesuffix(USUAL) for line in lines]
    assert all(len(line) == len(plain[0]) < 80 for line in plain)
    assert set("".join(plain)) == set(BLOCKS.values())
    for line in (plain[0], plain[1], plain[-1]):
        assert line.strip() == ""
    assert all(line[:QUIET_MODULES].strip() == line[-QUIET_MODULES:].strip() == "" for line in plain)


def test_what_is_drawn_is_the_square_with_its_three_corners() -> None:
    """Each corner is a ring of seven modules around a block of three."""
    halves = {block: pair for pair, block in BLOCKS.items()}
    plain = [line.removeprefix(BLACK_ON_WHITE).removesuffix(USUAL) for line in drawn("A")]
    rows = [[halves[block][half] for block in line] for line in plain for half in (0, 1)]
    ring = ["1111111", "1000001", "1011101", "1011101", "1011101", "1000001", "1111111"]
    size = len(rows[0])
    for top, left in ((4, 4), (4, size - 11), (size - 11, 4)):
        seen = ["".join(map(str, row[left : left + 7])) for row in rows[top : top + 7]]
        assert seen == ring
