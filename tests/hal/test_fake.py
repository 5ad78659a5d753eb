"""The physics of the fake board, and what its tape remembers."""

import pytest

from hal.fake import (
    PEOPLE_MAX,
    FakeBoard,
    FakeBoardSettings,
    FakeLane,
    FakeLaneSettings,
    Person,
    SensorKind,
)
from hal.ports import Board, Colour, Pattern, Way
from hal.schedule import RealTime, VirtualTime
from hal.tape import TAPE_LENGTH_MAX, Edge
from tests.hal.conftest import PATIENCE_S

RELOCK_MS = 500


class Walk:
    """One lane with both ways, its clock, and what its sensor saw."""

    def __init__(self, sensor: SensorKind = "way") -> None:
        self.time = VirtualTime()
        settings = FakeLaneSettings("A", ("in", "out"), sensor)
        self.board = FakeBoard([settings], self.time, relock_ms=RELOCK_MS)
        self.lane: FakeLane = self.board.fakes["A"]
        self.turnstile = self.lane.turnstile
        self.seen: list[tuple[int, Way | None]] = []
        self.sensor_says: list[str | None] = []
        if self.lane.sensor:
            self.lane.sensor.start(
                lambda way: self.seen.append((self.time.now_ms(), way)), self.sensor_says.append
            )


@pytest.fixture
def walk() -> Walk:
    return Walk()


def test_a_person_walks_through_once_a_release(walk: Walk) -> None:
    walk.lane.expect(Person("through", 300), Person("through", 100))
    walk.turnstile.unlock("in")
    walk.time.advance(299)
    assert walk.seen == []
    walk.time.advance(1)
    assert walk.seen == [(300, "in")]
    assert not walk.turnstile.push("in")
    walk.turnstile.lock()
    walk.turnstile.unlock("out")
    walk.time.advance(100)
    assert walk.seen == [(300, "in"), (400, "out")]


def test_who_is_not_expected_walks_through_at_once_but_never_within_unlock(walk: Walk) -> None:
    walk.turnstile.unlock("in")
    assert walk.seen == []
    walk.time.advance()
    assert walk.seen == [(0, "in")]


def test_a_person_who_is_slower_than_the_lock_stands_before_closed_arms(walk: Walk) -> None:
    for push_ms, passes in ((RELOCK_MS - 1, True), (RELOCK_MS, False)):
        walk.seen.clear()
        walk.lane.expect(Person("through", 1000 + push_ms))
        walk.turnstile.unlock("in")
        walk.time.advance(1000)
        walk.turnstile.lock()
        walk.time.advance(5000)
        assert bool(walk.seen) is passes


def test_a_late_person_gets_through_only_until_the_pawl_has_fallen(walk: Walk) -> None:
    for after_ms, passes in ((0, True), (RELOCK_MS - 1, True), (RELOCK_MS, False)):
        walk.seen.clear()
        walk.lane.expect(Person("late", after_ms))
        walk.turnstile.unlock("in")
        walk.time.advance(10_000)
        assert walk.seen == []
        walk.turnstile.lock()
        walk.time.advance(10_000)
        assert bool(walk.seen) is passes


def test_a_late_person_finds_the_arms_shut_after_somebody_else(walk: Walk) -> None:
    walk.lane.expect(Person("late", 10))
    walk.turnstile.unlock("in")
    assert walk.turnstile.push("in")
    walk.turnstile.lock()
    walk.time.advance(10_000)
    assert walk.seen == [(0, "in")]


def test_the_arms_block_who_walks_backwards_unless_that_way_is_free_too(walk: Walk) -> None:
    walk.lane.expect(Person("backwards", 10), Person("backwards", 10))
    walk.turnstile.unlock("in")
    walk.time.advance(10)
    assert walk.seen == []
    walk.turnstile.lock()
    walk.time.advance(RELOCK_MS)
    walk.turnstile.unlock("out")
    walk.turnstile.unlock("both")
    walk.time.advance(10)
    assert [way for _, way in walk.seen] == ["in"]


def test_who_stays_takes_the_release_with_him(walk: Walk) -> None:
    walk.lane.expect(Person("stays"))
    walk.turnstile.unlock("in")
    walk.time.advance(100_000)
    walk.turnstile.lock()
    walk.time.advance(100_000)
    assert walk.seen == []


def test_a_freed_lane_lets_everybody_pass_both_ways_until_it_locks(walk: Walk) -> None:
    walk.turnstile.unlock("both")
    ways: list[Way] = ["in", "out", "out", "in"]
    assert all(walk.turnstile.push(way) for way in ways)
    walk.turnstile.lock()
    assert walk.turnstile.push("out")  # the pawl has not fallen yet
    assert not walk.turnstile.push("out")
    assert [way for _, way in walk.seen] == [*ways, "out"]


def test_unlocking_again_is_a_second_release_only_after_the_first_was_used(walk: Walk) -> None:
    walk.lane.expect(Person("stays"))
    walk.turnstile.unlock("in")
    walk.turnstile.unlock("in")
    walk.time.advance()
    assert walk.board.tape.values("A", "relay") == ["in"]
    assert walk.turnstile.push("in")
    walk.turnstile.unlock("in")
    walk.time.advance()
    assert walk.board.tape.values("A", "relay") == ["in", "in"]
    assert len(walk.seen) == 2


def test_a_sensor_may_not_tell_the_way_or_not_be_there() -> None:
    blind, none = Walk("passage"), Walk("none")
    for walk in (blind, none):
        walk.turnstile.unlock("in")
        walk.time.advance()
        assert walk.board.tape.values("A", "arm") == ["in"]
    assert blind.seen == [(0, None)]
    assert none.lane.parts.sensor is None
    none.board.close()


def test_the_tape_holds_every_edge_with_its_time_and_nothing_that_is_no_change(walk: Walk) -> None:
    lane, alarm = walk.lane, walk.board.alarm
    assert alarm
    for _ in range(2):
        lane.lamp.show(Colour.GREEN, blink=False)
        lane.turnstile.unlock("in")
        lane.buzzer.sound(Pattern.SHORT)
        alarm.press()
    walk.time.advance(50)
    for _ in range(2):
        lane.turnstile.lock()
        lane.lamp.show(Colour.GREEN, blink=True)
        lane.buzzer.sound(Pattern.NONE)
        alarm.release()
    lane.lamp.show(Colour.OFF, blink=False)
    assert walk.board.tape.edges == (
        Edge(0, "A", "lamp", "green"),
        Edge(0, "A", "relay", "in"),
        Edge(0, "A", "buzzer", "short"),
        Edge(0, "", "alarm", "active"),
        Edge(0, "A", "buzzer", "short"),  # people hear it twice
        Edge(0, "A", "arm", "in"),
        Edge(50, "A", "relay", "locked"),
        Edge(50, "A", "lamp", "green blink"),
        Edge(50, "A", "buzzer", "none"),
        Edge(50, "", "alarm", "normal"),
        Edge(50, "A", "lamp", "off"),
    )


def test_a_sensor_that_sticks_sees_nobody_until_it_comes_loose(walk: Walk) -> None:
    sensor = walk.lane.sensor
    assert sensor
    for _ in range(2):
        sensor.stick("lane A: its sensor stays active: clean it")
    walk.turnstile.unlock("both")
    walk.turnstile.push("in")
    for _ in range(2):
        sensor.come_loose()
    walk.turnstile.push("in")
    assert walk.sensor_says == ["lane A: its sensor stays active: clean it", None]
    assert [way for _, way in walk.seen] == ["in"]


def test_a_sensor_that_sticks_already_says_so_when_it_is_started() -> None:
    board = FakeBoard([FakeLaneSettings("A")], VirtualTime())
    sensor, said = board.fakes["A"].sensor, list[str | None]()
    assert sensor
    sensor.stick("stuck")
    sensor.start(lambda _: None, said.append)
    assert said == ["stuck"]


def test_the_tape_shows_a_lamp_that_goes_back_by_itself(walk: Walk) -> None:
    lamp = walk.lane.lamp
    lamp.show(Colour.BLUE, blink=False)
    lamp.show(Colour.GREEN, blink=True, for_ms=2000)
    walk.time.advance(1999)
    assert walk.board.tape.edges[-1] == Edge(0, "A", "lamp", "green blink")
    walk.time.advance(1)
    assert walk.board.tape.edges[-1] == Edge(2000, "A", "lamp", "blue")


def test_the_tape_is_bounded_and_counts_what_it_let_go(walk: Walk) -> None:
    for number in range(TAPE_LENGTH_MAX + 3):
        walk.board.tape.add("A", "lamp", str(number))
    assert len(walk.board.tape.edges) == TAPE_LENGTH_MAX
    assert walk.board.tape.edges[0].value == "3"
    assert walk.board.tape.dropped == 3


def test_on_the_real_clock_people_walk_by_themselves() -> None:
    with FakeBoard([FakeLaneSettings("A")], RealTime(), usual=Person("through", 20)) as board:
        board.fakes["A"].turnstile.unlock("in")
        assert board.tape.wait_for(lambda edges: edges[-1].part == "arm", PATIENCE_S)
        relay, arm = board.tape.edges
        assert arm.at_ms - relay.at_ms >= 20
        assert not board.tape.wait_for(lambda edges: len(edges) > 2, timeout_s=0)


def test_a_closed_lamp_does_not_go_back(walk: Walk) -> None:
    walk.lane.lamp.show(Colour.GREEN, blink=False, for_ms=1)
    walk.lane.lamp.close()
    walk.time.advance(1)
    assert walk.board.tape.values("A", "lamp") == ["green"]


def test_closing_a_freed_board_locks_it_and_nobody_can_use_it_any_more(walk: Walk) -> None:
    walk.turnstile.unlock("both")
    walk.board.close()
    walk.board.close()
    assert walk.board.tape.values("A", "relay") == ["both", "locked"]
    with pytest.raises(RuntimeError, match="turnstile is closed"):
        walk.turnstile.unlock("in")
    with pytest.raises(RuntimeError, match="lamp is closed"):
        walk.lane.lamp.show(Colour.RED, blink=False)
    with pytest.raises(RuntimeError, match="buzzer is closed"):
        walk.lane.buzzer.sound(Pattern.LONG)


def test_the_queue_before_a_lane_is_bounded(walk: Walk) -> None:
    walk.lane.expect(*[Person()] * PEOPLE_MAX)
    with pytest.raises(RuntimeError, match="people expected"):
        walk.lane.expect(Person())


def test_a_board_holds_the_lanes_it_is_told() -> None:
    lanes = [FakeLaneSettings("A"), FakeLaneSettings("B", ("out",)), FakeLaneSettings("C", ("in", "out"))]
    board: Board = FakeBoard(lanes, VirtualTime(), alarm=False)
    assert [(lane.name, [way for _, way in lane.readers]) for lane in board.lanes] == [
        ("A", ["in"]),
        ("B", ["out"]),
        ("C", ["in", "out"]),
    ]
    assert board.alarm is None
    board.close()


@pytest.mark.parametrize("names", [[], ["A", "A"], ["A", "B", "C", "D", "E"]])
def test_a_gate_has_one_to_four_lanes_with_names_of_their_own(names: list[str]) -> None:
    with pytest.raises(ValueError, match="lanes"):
        FakeBoard([FakeLaneSettings(name) for name in names], VirtualTime())


def test_what_cannot_be_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="name"):
        FakeLaneSettings("")
    with pytest.raises(ValueError, match="ways"):
        FakeLaneSettings("A", ())
    with pytest.raises(ValueError, match="ways"):
        FakeLaneSettings("A", ("in", "in"))
    with pytest.raises(ValueError, match="after_ms"):
        Person(after_ms=-1)
    with pytest.raises(ValueError, match="relock_ms"):
        FakeBoardSettings(relock_ms=-1)
