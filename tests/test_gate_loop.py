"""The loop itself: turns, their lateness, the clock, and what a broken part does to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.gate import LATE_TURN_MS
from tests.gate_bench import Bench, data_directory


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        yield folder


class Stopwatch:
    """A clock that a test stops, and that takes so long between two looks."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.step_ns = 0

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns


def test_news_that_waited_too_long_for_the_loop_are_counted(data: Path) -> None:
    watch = Stopwatch()
    with Bench(data, ticks_ns=watch) as bench:
        assert bench.gate.late_turns == 0
        bench.fake().scan("A")
        watch.now_ns += LATE_TURN_MS * 1_000_000
        bench.turn()
        assert bench.gate.late_turns == 0
        bench.fake().scan("B")
        watch.now_ns += LATE_TURN_MS * 1_000_000 + 1
        bench.turn()
        assert bench.gate.late_turns == 1
        assert bench.gate.slowest_turn_ms == pytest.approx(LATE_TURN_MS, abs=0.001)


def test_a_turn_that_takes_too_long_is_counted(data: Path) -> None:
    watch = Stopwatch()
    with Bench(data, ticks_ns=watch) as bench:
        watch.step_ns = LATE_TURN_MS * 1_000_000 + 1
        bench.scan("A")
        assert bench.gate.late_turns == 1
        watch.step_ns = 0
        bench.settle()


def test_a_lane_that_is_woken_too_late_is_counted(data: Path) -> None:
    with Bench(data, ticks_ns=Stopwatch()) as bench:
        bench.scan("unknown")
        bench.settle()
        shown_until_ms = bench.lane().setup.signal_ms
        bench.time.advance(shown_until_ms + LATE_TURN_MS)
        bench.turn()
        assert bench.gate.late_turns == 0
        bench.scan("unknown again")
        bench.settle()
        bench.time.advance(shown_until_ms + LATE_TURN_MS + 1)
        bench.turn()
        assert bench.gate.late_turns == 1
