"""The binding itself: what is missing is named, nothing leaks out of one keyboard into another."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hal.keys import NO_TEXT, Layout
from hal.xkb import Missing, XkbKeyboard, library
from tests.hal.typed import LAYOUTS, keyboard, number

# Modifiers, locks, keys that are dead in some layout and under some modifier, letters, and an end.
NAMES = ("shift", "altgr", "capslock", "rightshift", "enter", "e", "a", "q", "1", "7")
KEYS = (*map(number, NAMES), *map(number, ("equal", "leftbrace", "apostrophe", "grave")))


def test_a_library_that_is_missing_is_named_with_its_packages() -> None:
    with pytest.raises(Missing) as refused:
        library("libxkbcommon.so.99")
    assert str(refused.value) == (
        "libxkbcommon.so.99 is not installed: apt-get install libxkbcommon0 xkb-data libx11-data"
    )


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (Layout("xx"), 'there is no keyboard layout "xx": see '),
        (Layout("de", "foo"), 'there is no keyboard layout "de" with variant "foo": see '),
    ],
)
def test_a_layout_that_is_not_there_is_named(layout: Layout, said: str) -> None:
    keyboard().close()
    with pytest.raises(Missing) as refused:
        XkbKeyboard(layout)
    assert str(refused.value).startswith(said)


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a program does with this environment alone."""
    keyboard().close()
    program = f"from hal.keys import Layout; from hal.xkb import *; {program}"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment
    )


def test_layouts_that_are_missing_are_named_with_their_packages() -> None:
    program = "try: XkbKeyboard(Layout('de'))\nexcept Missing as error: print(error)"
    done = run(f"\n{program}", XKB_CONFIG_ROOT="/nonexistent", HOME="/nonexistent")
    assert done.stdout.startswith("the tables of keyboard layouts are not installed: apt-get install")


def test_without_the_table_of_dead_keys_a_code_with_one_cannot_be_told() -> None:
    program = "k = XkbKeyboard(Layout('de')); print(k.knows_dead_keys, ascii([*map(k.press, (13, 18, 2))]))"
    done = run(program, XLOCALEDIR="/nonexistent")
    assert (done.stdout, done.stderr) == ("False ['\\udcff', 'e', '1']\n", "")
    done = run(program)
    assert (done.stdout, done.stderr) == ("True ['', '\\xe9', '1']\n", "")


def test_the_machines_own_keyboard_settings_do_not_count() -> None:
    done = run(
        "k = XkbKeyboard(Layout('us')); k.press(58); k.release(58); print(k.press(16))",
        XKB_DEFAULT_LAYOUT="fr",
        XKB_DEFAULT_OPTIONS="caps:ctrl_modifier,compose:caps",
        LC_ALL="C",
        LANG="pt_BR",
    )
    assert (done.stdout, done.stderr) == ("Q\n", "")


def test_a_dead_key_makes_one_character_with_the_next() -> None:
    with keyboard("de") as translator:
        acute = number("equal")
        assert [translator.press(acute), translator.press(number("e"))] == ["", "é"]
        assert [translator.press(acute), translator.press(number("space"))] == ["", "'"]
        assert [translator.press(acute), translator.press(number("shift"))] == ["", ""]
        assert translator.press(number("e")) == "É"


def test_a_dead_key_that_does_not_fit_is_one_character_that_cannot_be_told() -> None:
    with keyboard("de") as translator:
        acute = number("equal")
        assert [translator.press(acute), translator.press(number("x"))] == ["", f"{NO_TEXT}x"]
        assert [translator.press(acute), translator.press(number("enter"))] == ["", f"{NO_TEXT}\r"]
        assert [translator.press(acute), translator.press(number("f1"))] == ["", NO_TEXT]
        assert translator.press(number("e")) == "e"
        assert [translator.press(acute), translator.flush(), translator.flush()] == ["", NO_TEXT, ""]
        assert translator.press(number("e")) == "e"


def test_beginning_anew_forgets_locks_and_dead_keys_and_holds_what_is_held() -> None:
    with keyboard("de") as translator:
        translator.press(number("capslock"))
        translator.release(number("capslock"))
        translator.press(number("shift"))
        translator.press(number("equal"))
        translator.reset()
        assert translator.press(number("e")) == "e"
        translator.reset([number("shift")])
        assert translator.press(number("e")) == "E"
        translator.release(number("shift"))
        assert translator.press(number("e")) == "e"


def test_keys_beyond_the_layout_type_nothing_and_do_no_harm() -> None:
    with keyboard() as translator:
        assert [translator.press(key) for key in (0, 240, 247, 255)] == [NO_TEXT] * 4
        for key in (0, 240, 255):
            translator.release(key)
        assert translator.press(number("a")) == "a"


def test_closing_twice_is_fine_and_keyboards_are_apart() -> None:
    with keyboard("fr") as other, keyboard() as translator:
        other.press(number("shift"))
        assert (translator.press(number("q")), other.press(number("q"))) == ("q", "A")
        other.close()
        other.close()
        assert translator.press(number("q")) == "q"


@settings(max_examples=60)
@given(
    moves=st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=40),
    layout=st.sampled_from(LAYOUTS),
)
def test_a_key_that_is_known_types_what_it_typed_when_it_was_new(
    moves: list[tuple[int, bool]], layout: Layout
) -> None:
    with keyboard(layout) as board:

        def played() -> list[str]:
            board.reset()
            typed = []
            for key, down in moves:
                if down:
                    typed.append(board.press(key))
                else:
                    board.release(key)
            return [*typed, board.flush()]

        assert played() == played()


def test_a_key_is_known_under_each_modifier_by_itself() -> None:
    with keyboard("de") as board:
        for _ in range(2):
            assert board.press(number("q")) == "q"
            board.press(number("altgr"))
            assert board.press(number("q")) == "@"
            board.release(number("altgr"))
            board.press(number("shift"))
            assert board.press(number("q")) == "Q"
            board.release(number("shift"))
