"""The demo at a terminal, seen from the terminal's other end."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.demo.keyboard import BYTES_MAX, Typed, each_key
from hal.frames import LENGTH_MAX
from hal.ports import Code, Unreadable
from tests.demo.process import Terminal, at_terminal

DRAWN = {"TERM": "xterm-256color", "NO_COLOR": ""}
PLAIN = {"TERM": "dumb"}
UP = "\x1b[1A"  # one line up: a picture of n lines is drawn anew after n - 1 of them


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with Terminal() as held:
        yield held


def test_a_typed_code_shows_its_verdict_and_quit_gives_the_terminal_back(
    terminal: Terminal, tickets: Path
) -> None:
    before = terminal.modes()
    with at_terminal(terminal, "--tickets", tickets, environment=DRAWN) as demo:
        terminal.sees("lane 1 in> ")
        assert terminal.modes() != before
        terminal.type("A1\r")
        terminal.sees("ADMITTED")
        terminal.sees("relay OPEN in")
        terminal.sees("inside 1   admitted 1   refused 0")
        terminal.type("A1\r")
        terminal.sees("used: entered ")
        terminal.type("/quit\r")
        terminal.sees("admitted 1, refused 1, inside 1")
        assert demo.wait() == 0
    assert terminal.modes() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_gives_the_terminal_back(terminal: Terminal, tickets: Path, number: int) -> None:
    before = terminal.modes()
    with at_terminal(terminal, "--tickets", tickets, environment=DRAWN) as demo:
        terminal.sees("lane 1 in> ")
        terminal.type("half a co")
        terminal.sees("half a co")
        demo.send_signal(number)
        terminal.sees("admitted 0, refused 0, inside 0")
        assert demo.wait() == 0
    assert terminal.modes() == before
    assert "Traceback" not in terminal.seen


def test_an_error_gives_the_terminal_back(terminal: Terminal) -> None:
    before = terminal.modes()
    with pytest.raises(ZeroDivisionError), each_key(terminal.line):
        raise ZeroDivisionError
    assert terminal.modes() == before


def test_what_is_no_terminal_is_not_set_like_one(tmp_path: Path) -> None:
    with (
        (tmp_path / "file").open("wb") as file,
        pytest.raises(OSError, match="ioctl"),
        each_key(file.fileno()),
    ):
        pass


def test_the_line_can_be_mended_while_it_is_typed(terminal: Terminal, tickets: Path) -> None:
    with at_terminal(terminal, "--tickets", tickets, environment=DRAWN):
        terminal.sees("lane 1 in> ")
        terminal.type("wrong\x15A\x1b[DX\x7f")
        terminal.sees("lane 1 in> A")
        terminal.type("2\r")
        terminal.sees("ADMITTED")


def test_commands_do_what_they_say(terminal: Terminal, tickets: Path, lanes: Path) -> None:
    with at_terminal(terminal, "--tickets", tickets, "--config", lanes, environment=DRAWN) as demo:
        terminal.sees("lane north in> ")
        for command, words in (
            ("/help", "a code that begins with /"),
            ("/lane both", 'codes are for lane "both" now'),
            ("/out", "lane both out> "),
            ("/in", "lane both in> "),
            ("/walk backwards", "people walk backwards"),
            ("/walk about", "/walk is followed by through, late, backwards, stays"),
            ("/shut", 'ordered for lane "both": shut'),
            ("A1", "SHUT"),
            ("/free", "relay FREE both ways"),
            ("/normal", 'ordered for lane "both": normal'),
            ("/open", "relay OPEN in"),
            ("/alarm on", "alarm ON"),
            ("/alarm", "/alarm is followed by on or off"),
            ("/alarm off", "the alarm is over"),
            ("/lane north", "lane north in> "),
            ("/out", 'lane "north" does not serve "out"'),
            ("/lane west", 'no lane is called "west": there are "north", "exit", "both", "blind"'),
            ("/opem", 'no command is called "opem": did you mean "open"?'),
            ("//opem", "/opem  unknown code"),
        ):
            drawn = len(terminal.seen)
            terminal.type(command + "\r")
            terminal.sees(words, drawn)
        terminal.type("\x04")
        terminal.sees("admitted 0, ")
        assert demo.wait() == 0


def test_people_who_stay_leave_the_ticket_used(terminal: Terminal, tickets: Path, tmp_path: Path) -> None:
    # Open for as long as can be: the next one must come while the lane still serves the one before.
    patient = tmp_path / "patient.toml"
    patient.write_text('[[lane]]\nname = "1"\nunlock_ms = 30_000\n')
    with at_terminal(terminal, "--tickets", tickets, "--config", patient, environment=DRAWN):
        terminal.sees("lane 1 in> ")
        terminal.type("/walk stays\rA1\r")
        terminal.sees("relay OPEN in           people stay")
        terminal.type("A2\r")
        terminal.sees("the lane serves somebody else")


def test_four_lanes_fit_a_terminal_of_80_by_24(terminal: Terminal, tickets: Path, lanes: Path) -> None:
    with at_terminal(terminal, "--tickets", tickets, "--config", lanes, environment=DRAWN) as demo:
        terminal.sees("lane north in> ")
        for code in ("A1", "A1", "X", "Y", "Z"):
            terminal.type(f"{code}\r")
            terminal.sees(f"{code} ")
        terminal.type("/quit\r")
        terminal.sees("admitted 1, ")
        assert demo.wait() == 0
    tallest = max(
        found.count(UP) for found in re.findall(rf"(?:{re.escape(UP)}|\x1b\[2K|\r)+", terminal.seen)
    )
    assert 16 < tallest < 24


def test_a_terminal_that_cannot_draw_gets_plain_lines(terminal: Terminal, tickets: Path) -> None:
    with at_terminal(terminal, "--tickets", tickets, environment=PLAIN) as demo:
        terminal.sees("to pull the plug: kill -9 ")
        terminal.type("A1\n")
        terminal.sees("1 in   A1              admitted (decided ")
        terminal.type("/walk stays\n")
        terminal.sees('people at lane "1": stays')
        terminal.type("/quit\n")
        terminal.sees("admitted 1, refused 0, ")
        assert demo.wait() == 0
    assert "\x1b" not in terminal.seen


def test_without_colour_there_is_a_picture_all_the_same(terminal: Terminal, tickets: Path) -> None:
    with at_terminal(terminal, "--tickets", tickets, environment={"TERM": "xterm", "NO_COLOR": "1"}):
        terminal.sees("lane 1 in> ")
        terminal.type("X\r")
        terminal.sees("lamp ● red")
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", terminal.seen)


def test_lines_of_a_pipe_are_shown_at_a_terminal(terminal: Terminal, tickets: Path) -> None:
    told, tell = os.pipe()
    os.write(tell, b"A1\nA1\n{\nA2\n")
    os.close(tell)
    with at_terminal(terminal, "--tickets", tickets, lines=told, environment=DRAWN) as demo:
        os.close(told)
        terminal.sees("admitted 2, refused 1, inside 2")
        assert demo.wait() == 1
    assert "line 3: not a JSON object" in terminal.seen
    assert "codes come from standard input" in terminal.seen


def test_a_terminal_that_goes_away_ends_the_demo(tickets: Path) -> None:
    with Terminal() as terminal, at_terminal(terminal, "--tickets", tickets, environment=DRAWN) as demo:
        terminal.sees("lane 1 in> ")
        terminal.close()
        assert demo.wait() in (0, 2)


def test_after_a_kill_the_cursor_is_there(terminal: Terminal, tickets: Path) -> None:
    with at_terminal(terminal, "--tickets", tickets, environment=DRAWN) as demo:
        terminal.sees("lane 1 in> ")
        demo.kill()
        demo.wait()
    shown = terminal.drained()
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l")


# --- the line as it is typed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "reads", "left"),
    [
        (b"A1\r", [Code("A1")], ""),
        (b"A1\r\n\r\nA2\tA3", [Code("A1"), Code("A2")], "A3"),
        (b"\r\n", [], ""),
        (b"abc\x7f\x7fx", [], "ax"),
        (b"\x7f\x7f", [], ""),
        ("aé€\x7f\x7fz".encode(), [], "az"),
        (b"abc\x15z", [], "z"),
        (b"a\x1b[A\x1b[1;5C\x1bOP\x1b[3~b", [], "ab"),
        (b"\x1bA1\r", [Code("A1")], ""),
        (b" a?.:$%*+-/ \x1d\r", [Code(" a?.:$%*+-/ \x1d")], ""),
        (b"ab\xff\r", [Unreadable("not_text")], ""),
        (b"x" * (LENGTH_MAX + 1) + b"\r", [Unreadable("too_long")], ""),
        (b"x" * 3 * BYTES_MAX + b"\rA1\r", [Unreadable("too_long"), Code("A1")], ""),
        (b"a\x04\r", [Code("a\x04")], ""),
    ],
)
def test_keys_become_lines(keys: bytes, reads: list[Code | Unreadable], left: str) -> None:
    at_once, one_by_one = Typed(), Typed()
    assert list(at_once.feed(keys)) == reads
    assert (at_once.text, at_once.ended) == (left, False)
    if b"\x1b" not in keys:
        assert [read for key in keys for read in one_by_one.feed(bytes((key,)))] == reads
        assert one_by_one.text == left


def test_control_d_on_an_empty_line_is_the_end() -> None:
    typed = Typed()
    assert list(typed.feed(b"A1\r\x04")) == [Code("A1")]
    assert typed.ended
