"""A scanner is set somehow, scans the known code, and its settings are found out again."""

import tomllib
from collections.abc import Sequence
from dataclasses import fields

import pytest

from hal.board import built
from hal.calibrate import CALIBRATION_CODE, LAYOUTS, Finding, calibrate, calibration_code, read_with
from hal.frames import Framing
from hal.keys import KeyEvent, Layout
from hal.ports import Code
from tests.hal.typed import Recording, keyboard, typed, words_for

SEVEN = [Layout(name) for name in ("us", "de", "fr", "gb", "br", "es", "ch")]
US, DE = Layout("us"), Layout("de")


def scan(words: str, layouts: Sequence[Layout] = LAYOUTS, shown: str = CALIBRATION_CODE) -> Finding:
    return calibrate(typed(words), shown, layouts, keyboard)


def reads_with(finding: Finding, events: list[KeyEvent]) -> list[str]:
    """What the gate reads whose settings have these lines, as texts."""
    settings = tomllib.loads("\n".join(finding.settings))
    layout, framing = built("x", Layout, settings), built("x", Framing, settings)
    assert settings.keys() <= {field.name for shape in (Layout, Framing) for field in fields(shape)}
    return [read.text for read in read_with(events, layout, framing, keyboard) if isinstance(read, Code)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.layout}{layout.variant}")
def test_the_layout_is_found_and_its_settings_read_the_code(layout: Layout) -> None:
    words = words_for(calibration_code(), layout) + " enter"
    finding = scan(words)
    assert finding.problems == ()
    assert layout in finding.layouts
    assert finding.terminator == "cr"
    assert reads_with(finding, typed(words)) == [CALIBRATION_CODE]


def test_the_code_tells_the_usual_layouts_apart() -> None:
    for one in SEVEN:
        assert scan(words_for(CALIBRATION_CODE, one) + " enter", SEVEN).layouts == (one,)


def test_layouts_that_type_the_same_are_named() -> None:
    finding = scan("a enter", [US, DE, Layout("ch", "fr")], "a")
    assert finding.layouts == (US, DE, Layout("ch", "fr"))
    assert finding.settings == ('layout = "us"', 'terminator = "cr"')
    assert finding.remarks == ("these layouts type the same characters: de, ch fr",)


@pytest.mark.parametrize(
    ("words", "terminator", "remark"),
    [
        ("a b kpenter", "cr", None),
        ("a b tab", "tab", None),
        ("a b enter ctrl+j", "crlf", None),
        ("a b ctrl+j", "lf", None),
        ("a b enter enter", "cr", "it types Enter twice: no harm, the second one is passed over"),
        ("a b tab enter", "any", None),
        ("enter a b enter", "cr", None),
        (
            "a b",
            "none",
            "it types nothing after a code, so each one waits for the silence: better set it to send Enter",
        ),
    ],
)
def test_the_terminator_is_found(words: str, terminator: str, remark: str | None) -> None:
    finding = scan(words, [US], "ab")
    assert (finding.terminator, finding.problems) == (terminator, ())
    assert finding.remarks == (() if remark is None else (remark,))
    assert reads_with(finding, typed(words)) == ["ab"]


def test_caps_lock_is_found() -> None:
    upside_down = scan(words_for(CALIBRATION_CODE.swapcase(), DE) + " enter", [US, DE])
    assert upside_down.layouts == (Layout("de", caps_lock=True),)
    assert "caps_lock = true" in upside_down.settings
    assert upside_down.remarks == ("it reckons with caps lock on: better set it to off, and calibrate again",)
    by_itself = f"capslock {words_for(CALIBRATION_CODE.swapcase(), DE)} capslock enter"
    assert scan(by_itself, [US, DE]).layouts == (DE,)


@pytest.mark.parametrize(("case", "letters"), [("upper", "capital"), ("lower", "small")])
def test_a_scanner_that_changes_letters_is_to_be_set_right(case: str, letters: str) -> None:
    text = getattr(CALIBRATION_CODE, case)()
    finding = scan(words_for(text, DE) + " enter")
    assert (finding.case, finding.layouts[0]) == (case, DE)
    assert finding.problems == (f"it types {letters} letters only: switch its case conversion off",)


def test_what_stands_around_the_code_is_found() -> None:
    words = "shift+s 1 rightbrace shift+q 1 a b shift+apostrophe ctrl+rightbrace enter"
    finding = scan(words, [US], "ab")
    assert (finding.prefix, finding.aim, finding.suffix) == ("S1", "]Q1", '"\x1d')
    assert finding.settings[2:] == (
        'strip_prefix = ["S1"]',
        'strip_suffix = ["\\"\\u001d"]',
        "strip_aim = true",
    )
    assert finding.problems == ()
    assert reads_with(finding, typed(words)) == ["ab"]


def test_a_code_that_was_scanned_twice_is_taken_once() -> None:
    finding = scan("x a b y enter 1500ms x a b y enter", [US], "ab")
    assert (finding.prefix, finding.suffix, finding.terminator) == ("x", "y", "cr")
    assert (finding.problems, finding.pause_ms) == ((), 2)


def test_a_slow_scanner_gets_a_longer_time_out() -> None:
    words = "a 150ms b 10ms c enter"
    finding = scan(words, [US], "abc")
    assert finding.pause_ms == 152
    assert "idle_ms = 304" in finding.settings
    assert not [line for line in scan("a 90ms b enter", [US], "ab").settings if "idle_ms" in line]
    assert reads_with(finding, typed(words, Recording(gap_ms=2))) == ["abc"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("", "nothing was typed"),
        ("a lost b enter", "keys were lost on the way"),
        ("a c enter", 'no layout gives the code; as us it is "ac\\u000d"'),
        ("f1 a b enter", "it types keys that have no character"),
        ("x tab a b tab enter", 'what it types around the code ends it too early: "x\\u0009"'),
    ],
)
def test_what_cannot_be_found_out_is_said(words: str, problem: str) -> None:
    finding = scan(words, [US], "ab")
    assert finding.problems[0].startswith(problem)
    assert len(finding.problems) == 1
