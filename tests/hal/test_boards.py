"""What every board must do, on every board that this machine offers (`tests.hal.benches`).

A bench that is absent is skipped with its reason. The suite needs the product, pytest and what drives the
pins, and no more, so that it runs on a bare unit too:
`python -m pytest --noconftest -rs tests/hal/test_boards.py`.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from hal import gpio_parts
from hal.ports import Board, Colour, LaneParts, Pattern, Way
from tests.hal.benches import BENCHES, HOLD_MS, PULSE_MS, Bench

ABSENT = {kind.name: kind.absent() for kind in BENCHES}
HERE = [kind for kind in BENCHES if not ABSENT[kind.name]]


@pytest.mark.parametrize("name", ABSENT)
def test_a_bench_is_here(name: str) -> None:
    if ABSENT[name]:
        pytest.skip(f"no board was tried on {name}: {ABSENT[name]}")
    assert name in [kind.name for kind in HERE]


@pytest.fixture(params=HERE, ids=[kind.name for kind in HERE])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench: Bench = request.param()
    yield bench
    bench.close()


@pytest.fixture
def guarded(bench: Bench) -> Bench:
    if not bench.guarded:
        pytest.skip(f"{bench.name}: its openings have no end of their own")
    return bench


@pytest.fixture
def moved(bench: Bench) -> Bench:
    if not bench.moves_inputs:
        pytest.skip(f"{bench.name}: nobody moves its inputs")
    return bench


def lane_of(board: Board, name: str) -> LaneParts:
    return next(lane for lane in board.lanes if lane.name == name)


def lane_ways(name: str) -> tuple[Way, ...]:
    return ("in", "out") if name == "A" else ("out",)


def locks_itself(bench: Bench, lane: str) -> bool:
    """Whether a lane comes to be locked though nobody locks it."""
    return bench.until(lambda: bench.lock_shows(lane) == "locked")


def has(news: list[list[Any]], count: int) -> bool:
    """Whether so much was told in all."""
    return sum(map(len, news)) == count


def ignore(news: object) -> None:
    """Listen to something of no interest."""


def test_opening_and_closing_a_board_makes_no_edge_towards_unlocked(bench: Bench) -> None:
    for _ in range(2):
        with bench.board() as board:
            names = [lane.name for lane in board.lanes]
            assert [bench.lock_shows(name) for name in names] == ["locked"] * len(names)
            assert [bench.lit(name) for name in names] == [Colour.OFF] * len(names)
        if bench.sees_edges:
            assert bench.openings() == 0


def test_closing_twice_is_fine_and_ends_what_is_switched_on(bench: Bench) -> None:
    board = bench.board()
    lane = lane_of(board, "A")
    lane.turnstile.unlock("both")
    lane.lamp.show(Colour.GREEN, blink=True)
    lane.buzzer.sound(Pattern.LONG)
    for _ in range(2):
        board.close()
    lane.turnstile.close()
    if bench.moves_inputs:  # else nobody can read a line that the board has let go of
        assert bench.lock_shows("A") == "locked"
    with pytest.raises(RuntimeError, match="turnstile is closed"):
        lane.turnstile.unlock("in")
    with pytest.raises(RuntimeError, match="lamp is closed"):
        lane.lamp.show(Colour.RED, blink=False)
    with pytest.raises(RuntimeError, match="buzzer is closed"):
        lane.buzzer.sound(Pattern.SHORT)


@pytest.mark.parametrize("way", ["in", "out"])
def test_a_lane_opens_one_way_and_locks_again(bench: Bench, way: Way) -> None:
    board = bench.board()
    turnstile = lane_of(board, "A").turnstile
    turnstile.unlock(way)
    assert bench.lock_shows("A") == way
    for lane in board.lanes[1:]:
        assert bench.lock_shows(lane.name) == "locked"
    for _ in range(2):
        turnstile.lock()
        assert bench.lock_shows("A") == "locked"


def test_the_other_way_ends_the_first(bench: Bench) -> None:
    turnstile = lane_of(bench.board(), "A").turnstile
    turnstile.unlock("in")
    turnstile.unlock("out")
    assert bench.lock_shows("A") == "out"


def test_a_freed_lane_stays_free_until_it_is_locked(bench: Bench) -> None:
    board = bench.board()
    for lane in board.lanes:
        lane.turnstile.unlock(lane_ways(lane.name)[0])
        for _ in range(2):
            lane.turnstile.unlock("both")
    bench.wait(10 * (PULSE_MS + HOLD_MS))
    assert [bench.lock_shows(lane.name) for lane in board.lanes] == ["both"] * len(board.lanes)
    for lane in board.lanes:
        lane.turnstile.lock()
    assert [bench.lock_shows(lane.name) for lane in board.lanes] == ["locked"] * len(board.lanes)


def test_a_pulse_that_the_loop_never_ends_is_ended_by_the_guard(guarded: Bench) -> None:
    for lane in guarded.board().lanes:
        for way in lane_ways(lane.name):
            lane.turnstile.unlock(way)
            assert guarded.lock_shows(lane.name) != "locked"
            assert locks_itself(guarded, lane.name)


def test_who_is_let_in_after_the_end_of_a_pulse_gets_one_of_his_own(guarded: Bench) -> None:
    turnstile = lane_of(guarded.board(), "A").turnstile
    for _ in range(2):
        turnstile.unlock("in")
        assert guarded.lock_shows("A") == "in"
        assert locks_itself(guarded, "A")


def test_a_lamp_shows_red_and_green_until_told_otherwise(bench: Bench) -> None:
    board = bench.board()
    lamp = lane_of(board, "A").lamp
    for colour in (Colour.RED, Colour.GREEN, Colour.GREEN, Colour.OFF, Colour.RED):
        lamp.show(colour, blink=False)
        assert bench.lit("A") == colour
        bench.wait(10_000)
        assert bench.lit("A") == colour
    assert all(bench.lit(lane.name) == Colour.OFF for lane in board.lanes[1:])


def test_a_timed_look_goes_back_to_the_permanent_one_by_itself(bench: Bench) -> None:
    lamp = lane_of(bench.board(), "A").lamp
    lamp.show(Colour.GREEN, blink=False, for_ms=500)
    assert bench.until(lambda: bench.lit("A") == Colour.OFF)
    lamp.show(Colour.RED, blink=False)
    lamp.show(Colour.GREEN, blink=False, for_ms=2000)
    assert bench.lit("A") == Colour.GREEN
    assert bench.until(lambda: bench.lit("A") == Colour.RED)


def test_a_permanent_look_ends_a_timed_one(bench: Bench) -> None:
    lamp = lane_of(bench.board(), "A").lamp
    lamp.show(Colour.GREEN, blink=False, for_ms=500)
    lamp.show(Colour.RED, blink=False)
    assert bench.lit("A") == Colour.RED
    bench.wait(500)
    assert bench.lit("A") == Colour.RED


def test_a_buzzer_sounds_and_falls_silent_when_told(bench: Bench) -> None:
    buzzer = lane_of(bench.board(), "A").buzzer
    buzzer.sound(Pattern.LONG)
    assert bench.sounding("A")
    buzzer.sound(Pattern.NONE)
    assert not bench.sounding("A")


def test_a_buzzer_that_nobody_ends_falls_silent(guarded: Bench) -> None:
    buzzer = lane_of(guarded.board(), "A").buzzer
    for pattern in (Pattern.SHORT, Pattern.DOUBLE, Pattern.LONG):
        buzzer.sound(pattern)
        assert guarded.until(lambda: not guarded.sounding("A"))


def test_a_sensor_reports_who_walks_past_and_which_way(moved: Bench) -> None:
    seen: dict[str, list[Way | None]] = {"A": [], "B": []}
    states: list[str | None] = []
    for lane in moved.board().lanes:
        assert lane.sensor
        lane.sensor.start(seen[lane.name].append, states.append)
    moved.wait(0)
    walks: list[tuple[str, Way]] = [("A", "in"), ("A", "out"), ("B", "out")]
    for count, (name, way) in enumerate(walks, 1):
        moved.stand(name, way, there=True)
        assert moved.until(partial(has, [seen["A"], seen["B"]], count))
        moved.stand(name, way, there=False)
    assert seen == {"A": ["in", "out"], "B": [None]}
    assert states == []


@pytest.mark.parametrize("name", ["alarm", "tamper"])
@pytest.mark.parametrize("first", [True, False])
def test_a_contact_reports_its_state_at_once_and_then_each_change(
    moved: Bench, name: str, first: bool
) -> None:
    board = moved.board()
    moved.contact(name, first)
    news: list[bool] = []
    contact = board.alarm if name == "alarm" else board.tamper
    assert contact
    contact.start(news.append)
    assert news == [first]
    for count, active in enumerate((not first, first), 2):
        moved.contact(name, active)
        assert moved.until(partial(has, [news], count))
    assert news == [first, not first, first]


def test_an_alarm_is_told_on_its_first_edge(moved: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpio_parts, "LOOK_AGAIN_MS", 1_000_000)  # else a second look could stand for the edge
    news: list[bool] = []
    alarm = moved.board().alarm
    assert alarm
    alarm.start(news.append)
    moved.contact("alarm", True)
    if not moved.virtual:
        assert moved.until(lambda: len(news) > 1)
    assert news == [False, True]


def test_a_part_starts_once(moved: Bench) -> None:
    board = moved.board()
    sensor, alarm = lane_of(board, "A").sensor, board.alarm
    assert sensor
    assert alarm
    for start in (partial(sensor.start, ignore, ignore), partial(alarm.start, ignore)):
        start()
        with pytest.raises(RuntimeError, match="started already"):
            start()


def test_nothing_is_told_once_a_board_is_closed(moved: Bench) -> None:
    board = moved.board()
    told: list[object] = []
    for contact in (board.alarm, board.tamper):
        assert contact
        contact.start(told.append)
    for lane in board.lanes:
        assert lane.sensor
        lane.sensor.start(told.append, told.append)
    moved.wait(0)
    board.close()
    told.clear()
    for name in ("alarm", "tamper"):
        moved.contact(name, True)
    moved.stand("A", "in", there=True)
    moved.wait(100_000)
    assert told == []
