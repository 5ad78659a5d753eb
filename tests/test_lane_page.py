"""What a screen beside the lanes shows: from the rows of a live gate, on any terminal."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.live import Live

from firmware.core.effects import Signal
from firmware.core.events import Order
from firmware.core.ticket import Authority, Route, Verdict
from firmware.lane_page import NO_GATE, ROWS_MAX, SIGNAL_WORDS, LanePage, Sight
from firmware.lane_screen import Drawn, Printed, as_line, page
from firmware.show_journal import Choice, Lines, batches
from hal.ports import Colour
from tests.commands import environment, run
from tests.gate_bench import SETUP, THROUGH, Bench, FakeLink, data_directory

SOUTH = SETUP._replace(name="south")
SMALL = (40, 12)
ROUTES = {"V": Route("acme", authority=Authority.VENDOR)}


@pytest.fixture
def bench() -> Iterator[Bench]:
    with (
        data_directory() as data,
        Bench(data, (SETUP, SOUTH), routes=ROUTES, link=FakeLink(), usual=THROUGH) as bench,
    ):
        yield bench


def sights(bench: Bench, lane: str | None = None, runs: bool = True) -> list[Sight]:
    """What somebody sees who looks at this moment of the bench's time."""

    def seconds() -> float:
        return (bench.time.now_ms() + bench.utc_offset_ms) / 1000

    shown = LanePage(Lines(UTC), lane, seconds, seconds)
    for reader, rows in batches(bench.data / "journal", Choice(newest=ROWS_MAX)):
        shown.take(reader, rows)
    return shown.sights(runs)


def answer(bench: Bench, verdict: Verdict, text: str, doubt: bool = False) -> None:
    assert isinstance(bench.link, FakeLink)
    assert bench.gate.answer(bench.link.asks[-1][0].scan, verdict, text, doubt)
    bench.settle()


def test_a_lane_that_asks_says_so_and_then_what_the_vendor_said(bench: Bench) -> None:
    ready = Sight("south", Colour.BLUE, "READY", "")
    assert sights(bench) == [Sight("north", Colour.BLUE, "READY", ""), ready]
    bench.scan("V1", way="in")
    bench.settle()
    assert sights(bench) == [Sight("north", Colour.BLUE, "CHECKING", ""), ready]
    answer(bench, Verdict.NOT_INSIDE, "EXIT_NOT_PERMITTED")
    said = 'not inside; the vendor says "EXIT_NOT_PERMITTED"'
    assert sights(bench) == [Sight("north", Colour.RED, "NOT INSIDE", said), ready]
    bench.let_time_pass(SETUP.signal_ms)
    assert sights(bench, "north") == [Sight("north", Colour.BLUE, "READY", "")]


def test_who_is_let_in_is_told_so_until_the_walk(bench: Bench) -> None:
    bench.scan("V1", way="in")
    bench.settle()
    answer(bench, Verdict.ADMITTED, "OKAY")
    (sight,) = sights(bench, "north")
    assert sight == Sight("north", Colour.GREEN, "COME IN", 'admitted; the vendor says "OKAY"')
    bench.pass_time(1000)
    assert bench.kinds()[-1] == "passage"
    assert sights(bench, "north") == [Sight("north", Colour.BLUE, "READY", "")]


@pytest.mark.parametrize(
    ("changes", "verdict", "line"),
    [
        (
            {"configured": False, "trouble": "no clock"},
            "THE VENDOR IS NOT SET UP AT THIS GATE",
            "the vendor is not set up at this gate: no clock",
        ),
        (
            {"reachable": False, "trouble": "no broker"},
            "NO ANSWER FROM THE VENDOR",
            "no answer from the vendor: no broker",
        ),
    ],
)
def test_a_vendor_that_cannot_be_asked_is_told_with_what_is_wrong(
    bench: Bench, changes: dict[str, object], verdict: str, line: str
) -> None:
    assert isinstance(bench.link, FakeLink)
    bench.link.changes = changes
    bench.scan("V1", way="in")
    bench.settle()
    assert sights(bench, "north") == [Sight("north", Colour.YELLOW, verdict, line)]


def test_why_there_is_no_answer_is_told_in_the_bridges_words_and_not_as_the_vendors(bench: Bench) -> None:
    bench.scan("V1", way="in")
    bench.settle()
    answer(bench, Verdict.NO_ANSWER, "no reply within 2.9 s", doubt=True)
    (sight,) = sights(bench, "north")
    assert sight.line == "no answer from the vendor; no reply within 2.9 s"


def test_orders_stand_and_a_gate_that_does_not_run_is_out_of_order_whatever_its_rows_say(
    bench: Bench,
) -> None:
    bench.order(Order.SHUT, "north")
    bench.order(Order.FREE, "south")
    bench.settle()
    assert [sight.word for sight in sights(bench)] == ["SHUT", "FREE"]
    dead = [Sight(lane, Colour.RED, "OUT OF ORDER", NO_GATE) for lane in ("north", "south")]
    assert sights(bench, runs=False) == dead


def test_every_signal_has_a_word() -> None:
    assert set(SIGNAL_WORDS) == set(Signal)


# --- drawn -------------------------------------------------------------------------------------------------

some_sights = st.lists(
    st.builds(Sight, st.text(max_size=40), st.sampled_from(Colour), st.text(max_size=60), st.text()),
    max_size=4,
)


@given(some_sights, st.integers(20, 200), st.integers(1, 60))
def test_a_page_is_exactly_as_large_as_the_screen_whatever_is_in_it(
    found: list[Sight], width: int, height: int
) -> None:
    lines = page(found, width, height).plain.split("\n")
    assert len(lines) == height
    assert {cell_len(line) for line in lines} == {width}
    assert all(line.isprintable() for line in lines)


def test_four_lanes_fit_on_a_small_screen_with_words_and_reasons() -> None:
    line = "used: entered 19:50:00"
    found = [Sight(f"lane {number}", Colour.RED, "USED", line) for number in range(4)]
    drawn = page(found, *SMALL).plain
    assert drawn.count("USED") == drawn.count(line) == 4


def test_a_terminal_is_drawn_anew_only_where_something_changed_and_needs_no_colours() -> None:
    output = io.StringIO()
    console = Console(file=output, width=40, height=12, force_terminal=True, no_color=True)
    with Live(console=console, auto_refresh=False) as live:
        screen = Drawn(console, live)
        screen.show([Sight("north", Colour.GREEN, "COME IN", "admitted")])
        first = output.getvalue()
        assert "COME IN" in first
        assert not re.search(r"\x1b\[[0-9;]*(3|4)[0-9]m", first)
        screen.show([Sight("north", Colour.GREEN, "COME IN", "admitted")])
        assert output.getvalue() == first
        screen.show([Sight("north", Colour.BLUE, "READY", "")])
        assert "READY" in output.getvalue()


def test_lines_for_programs_tell_each_change_once_and_hide_what_could_change_a_terminal() -> None:
    output = io.StringIO()
    printed = Printed(output)
    for word in ("READY", "READY", "USED"):
        printed.show([Sight("north", Colour.RED, word, ""), Sight("south", Colour.BLUE, "READY", "")])
    assert output.getvalue().splitlines() == ["north: READY", "south: READY", "north: USED"]
    assert "\x1b" not in as_line(Sight("north", Colour.RED, "USED", "\x1b[2J"))


# --- the command -------------------------------------------------------------------------------------------


def test_the_command_prints_the_lanes_once_and_says_that_no_gate_runs(bench: Bench) -> None:
    found = run("lane", "--data", bench.data, "--once")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.splitlines() == [f"{lane}: OUT OF ORDER: {NO_GATE}" for lane in ("north", "south")]
    wrong = run("lane", "--data", bench.data, "--once", "--lane", "east")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert 'no lane "east"' in wrong.stderr


def test_the_command_fills_a_terminal_and_gives_it_back(bench: Bench, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "firmware.cli", "lane", "--data", str(bench.data)]
    variables = {**environment(), "TERM": "xterm", "COLUMNS": "40", "LINES": "12"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=variables) as process:
        os.close(theirs)
        said = b""
        while b"OUT OF ORDER" not in said:
            said += os.read(ours, 4096)
        assert b"\x1b[?1049h" in said
        process.send_signal(2)
        while b"\x1b[?1049l" not in said:
            said += os.read(ours, 4096)
        assert process.wait(30) == 130
    os.close(ours)
