"""The loop itself: turns, their lateness, the clock, and what a broken part does to it."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.core.ticket import Ticket, Verdict
from firmware.facts import ALONE_MS_MAX
from firmware.gate import LATE_TURN_MS
from tests.gate_bench import NOON_MS, PATIENCE_S, SETUP, Bench, data_directory

SOUTH = SETUP._replace(name="south")


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


def test_the_moment_in_which_the_clock_becomes_trusted_is_a_row(data: Path) -> None:
    with Bench(data) as bench:
        assert "clock" not in [row.kind for _, row, _ in bench.rows()], "it was trusted from the start"
        bench.trusted = False
        bench.restart()
        bench.scan("A")
        bench.pass_time(2_000)
        bench.trusted = True
        bench.pass_time(2_000)
        *_, clock = (row for _, row, _ in bench.rows() if row.kind == "clock")
        assert (clock.text, clock.moment.trusted) == ("trusted", True)
        assert [row.moment.trusted for _, row, _ in bench.rows() if row.kind == "scan"] == [False]


def test_dates_are_held_against_a_ticket_while_the_time_is_known_and_no_longer(data: Path) -> None:
    with Bench(data, listed={"A": Ticket("t", valid_from_ms=NOON_MS + 86_400_000)}) as bench:
        assert bench.enter("A").verdict is Verdict.TOO_EARLY
        bench.trusted = False
        bench.pass_time(2_000)
        assert bench.enter("A").verdict is Verdict.TOO_EARLY, "the time was known, and goes on"
        bench.time.advance(ALONE_MS_MAX)
        bench.pass_time(2_000)
        assert bench.enter("A").verdict is Verdict.ADMITTED
        (clock,) = (row for _, row, _ in bench.rows() if row.kind == "clock")
        assert (clock.text, clock.moment.trusted) == ("not trusted any more", False)


def test_a_start_with_the_clock_of_yesterday_goes_on_from_the_newest_row(data: Path) -> None:
    with Bench(data) as bench:
        newest = bench.enter("A").scan.moment.utc_ms
        bench.utc_offset_ms -= 86_400_000
        bench.trusted = False
        bench.restart()
        *_, began = (row for _, row, _ in bench.rows() if row.kind == "began")
        assert began.moment.utc_ms >= newest
        assert bench.enter("B").scan.moment.utc_ms >= newest


def test_a_start_with_the_right_time_puts_an_end_to_a_wrong_one(data: Path) -> None:
    with Bench(data) as bench:
        bench.trusted = False
        bench.utc_offset_ms += 365 * 86_400_000
        bench.restart()
        assert bench.enter("A").scan.moment.utc_ms >= NOON_MS + 365 * 86_400_000
        bench.trusted = True
        bench.utc_offset_ms -= 365 * 86_400_000
        bench.restart()
        assert bench.enter("B").scan.moment.utc_ms < NOON_MS + 86_400_000
        bench.trusted = False
        bench.restart()
        assert bench.enter("C").scan.moment.utc_ms < NOON_MS + 86_400_000, "wrong rows have no say any more"


def test_the_loop_wakes_for_its_next_second_although_nothing_happens(data: Path) -> None:
    with Bench(data) as bench:
        turns = bench.gate.turns
        bench.pass_time(5_000)
        assert bench.gate.turns == turns + 5


def test_readers_and_the_contact_may_speak_all_at_once(data: Path) -> None:
    """Real threads: everything that may call the gate does, and every scan is answered."""
    with Bench(data, setups=(SETUP, SOUTH)) as bench:
        loop = threading.Thread(target=bench.gate.run)

        def scanner(lane: str) -> None:
            for number in range(50):
                while not bench.fake(lane).scan(f"{lane} {number}"):
                    pass

        def contact() -> None:
            for _ in range(20):
                bench.contact.press()
                bench.contact.release()

        callers = [threading.Thread(target=scanner, args=(lane,)) for lane in ("north", "south")]
        callers.append(threading.Thread(target=contact))
        for thread in (loop, *callers):
            thread.start()
        for thread in callers:
            thread.join(PATIENCE_S)
        bench.gate.stop()
        loop.join(PATIENCE_S)
        bench.turn()
        assert not loop.is_alive()
        assert len(bench.shots) + bench.gate.dropped <= 100
        bench.settle()
        assert len(bench.shots) + bench.gate.dropped == 100
        assert (bench.state("north"), bench.state("south")) == ("Ready", "Ready")
