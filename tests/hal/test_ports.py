"""What a board with readers and arms must do besides what every board must (`tests.hal.test_boards`).

A board joins by a rig, which has the hands that its devices need.
"""

from collections.abc import Iterator
from functools import partial
from typing import Protocol

import pytest

from hal.fake import FakeBoard, FakeLaneSettings, Person
from hal.ports import Board, Code, Colour, LaneParts, Pattern, Read, Unreadable, UnreadableReason, Way
from hal.schedule import VirtualTime


class Rig(Protocol):
    """A board with lanes A (in, out) and B (out), whose pawls fall in within `relock_ms`, and hands to it."""

    board: Board
    relock_ms: int

    def scan(self, lane: str, way: Way, text: str) -> None:
        """Hold a code to a reader."""

    def scan_unreadable(self, lane: str, way: Way, reason: UnreadableReason) -> None:
        """Hold something to a reader that it cannot read."""

    def break_reader(self, lane: str, way: Way) -> None:
        """Take a reader's device away."""

    def mend_reader(self, lane: str, way: Way) -> None:
        """Give it back."""

    def push(self, lane: str, way: Way) -> None:
        """Somebody pushes the arms."""

    def wait(self, ms: int) -> None:
        """Let time go by, and let what is due arrive."""

    def alarm(self, active: bool) -> None:
        """Move the alarm contact."""

    def lock_shows(self, lane: str) -> str:
        """What the relay is told: in, out, both or locked."""

    def lamp_shows(self, lane: str) -> tuple[Colour, bool]:
        """What the lamp shows, and whether it blinks."""

    def sounds(self, lane: str) -> list[str]:
        """What was heard so far."""


class FakeRig:
    """Hands to the fake board; nobody walks unless the test pushes."""

    relock_ms = 500

    def __init__(self) -> None:
        self.time = VirtualTime()
        lanes = [FakeLaneSettings("A", ("in", "out")), FakeLaneSettings("B", ("out",))]
        self.fake = FakeBoard(lanes, self.time, relock_ms=self.relock_ms, usual=Person("stays"))
        self.board: Board = self.fake

    def scan(self, lane: str, way: Way, text: str) -> None:
        self.fake.fakes[lane].scan(text, way)

    def scan_unreadable(self, lane: str, way: Way, reason: UnreadableReason) -> None:
        self.fake.fakes[lane].readers[way].scan_unreadable(reason)

    def break_reader(self, lane: str, way: Way) -> None:
        self.fake.fakes[lane].readers[way].fail(f"the reader {way} is not there: check the cable")

    def mend_reader(self, lane: str, way: Way) -> None:
        self.fake.fakes[lane].readers[way].recover()

    def push(self, lane: str, way: Way) -> None:
        self.fake.fakes[lane].turnstile.push(way)

    def wait(self, ms: int) -> None:
        self.time.advance(ms)

    def alarm(self, active: bool) -> None:
        assert self.fake.alarm
        if active:
            self.fake.alarm.press()
        else:
            self.fake.alarm.release()

    def lock_shows(self, lane: str) -> str:
        return self.fake.fakes[lane].turnstile.relay

    def lamp_shows(self, lane: str) -> tuple[Colour, bool]:
        return self.fake.fakes[lane].lamp.shows

    def sounds(self, lane: str) -> list[str]:
        return self.fake.tape.values(lane, "buzzer")


@pytest.fixture(params=[FakeRig])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig: Rig = request.param()
    with rig.board:
        yield rig


def lane_of(rig: Rig, name: str) -> LaneParts:
    return next(lane for lane in rig.board.lanes if lane.name == name)


def passages(rig: Rig, name: str) -> list[Way | None]:
    """What the lane's sensor reports from now on."""
    seen: list[Way | None] = []
    sensor = lane_of(rig, name).sensor
    assert sensor
    sensor.start(seen.append, lambda _: None)
    return seen


def test_a_fresh_board_is_locked_and_dark(rig: Rig) -> None:
    assert [(lane.name, [way for _, way in lane.readers]) for lane in rig.board.lanes] == [
        ("A", ["in", "out"]),
        ("B", ["out"]),
    ]
    for lane in rig.board.lanes:
        assert rig.lock_shows(lane.name) == "locked"
        assert rig.lamp_shows(lane.name) == (Colour.OFF, False)
        assert rig.sounds(lane.name) == []


def test_each_reader_delivers_its_own_codes_once_and_in_order(rig: Rig) -> None:
    reads: dict[Way | None, list[Read]] = {"in": [], "out": []}
    states: dict[Way | None, list[str | None]] = {"in": [], "out": []}
    for reader, way in lane_of(rig, "A").readers:
        reader.start(reads[way].append, states[way].append)
    rig.wait(0)
    assert states == {"in": [None], "out": [None]}
    rig.scan("A", "in", " A?b ")
    rig.scan("A", "out", "C")
    rig.scan_unreadable("A", "in", "too_long")
    rig.scan("A", "in", "D")
    rig.wait(0)
    assert reads == {"in": [Code(" A?b "), Unreadable("too_long"), Code("D")], "out": [Code("C")]}
    assert states == {"in": [None], "out": [None]}


def test_a_lost_reader_says_so_once_delivers_nothing_and_comes_back(rig: Rig) -> None:
    reads: list[Read] = []
    states: list[str | None] = []
    rig.break_reader("B", "out")
    reader, _ = lane_of(rig, "B").readers[0]
    reader.start(reads.append, states.append)
    rig.break_reader("B", "out")
    rig.wait(0)
    rig.scan("B", "out", "LOST")
    rig.mend_reader("B", "out")
    rig.mend_reader("B", "out")
    rig.wait(0)
    assert [state and "check the cable" in state for state in states] == [True, None]
    assert reads == []
    rig.scan("B", "out", "READ")
    rig.wait(0)
    assert reads == [Code("READ")]


@pytest.mark.parametrize(("way", "other"), [("in", "out"), ("out", "in")])
def test_a_release_lets_one_person_through_in_its_way_only(rig: Rig, way: Way, other: Way) -> None:
    seen = passages(rig, "A")
    turnstile = lane_of(rig, "A").turnstile
    rig.push("A", way)
    turnstile.unlock(way)
    assert rig.lock_shows("A") == way
    assert rig.lock_shows("B") == "locked"
    rig.push("A", other)
    rig.push("A", way)
    rig.push("A", way)
    rig.wait(0)
    assert seen == [way]
    turnstile.lock()
    turnstile.lock()
    assert rig.lock_shows("A") == "locked"


def test_a_release_taken_back_is_over_once_the_pawl_has_fallen(rig: Rig) -> None:
    seen = passages(rig, "A")
    turnstile = lane_of(rig, "A").turnstile
    turnstile.unlock("in")
    turnstile.lock()
    rig.wait(rig.relock_ms)
    rig.push("A", "in")
    rig.wait(0)
    assert seen == []


def test_a_freed_lane_is_open_both_ways_until_it_is_locked(rig: Rig) -> None:
    seen = passages(rig, "A")
    turnstile = lane_of(rig, "A").turnstile
    turnstile.unlock("in")
    turnstile.unlock("both")
    assert rig.lock_shows("A") == "both"
    for way in ("in", "out", "in"):
        rig.push("A", way)
    turnstile.lock()
    rig.wait(rig.relock_ms)
    rig.push("A", "in")
    rig.wait(0)
    assert seen == ["in", "out", "in"]


def test_lamp_and_buzzer_do_as_they_are_told(rig: Rig) -> None:
    lane = lane_of(rig, "A")
    for colour in Colour:
        for blink in (True, False):
            lane.lamp.show(colour, blink)
            assert rig.lamp_shows("A") == (colour, blink)
    for pattern in (Pattern.SHORT, Pattern.SHORT, Pattern.DOUBLE, Pattern.LONG, Pattern.NONE):
        lane.buzzer.sound(pattern)
    assert rig.sounds("A") == ["short", "short", "double", "long", "none"]
    assert rig.lamp_shows("B") == (Colour.OFF, False)
    assert rig.sounds("B") == []


def test_a_part_starts_once(rig: Rig) -> None:
    news: list[object] = []
    lane, alarm = lane_of(rig, "B"), rig.board.alarm
    reader, _ = lane.readers[0]
    assert lane.sensor
    assert alarm
    starts = [
        partial(reader.start, news.append, news.append),
        partial(lane.sensor.start, news.append, news.append),
        partial(alarm.start, news.append),
    ]
    for start in starts:
        start()
        with pytest.raises(RuntimeError, match="started already"):
            start()


def test_closing_locks_and_silences_everything_and_may_be_repeated(rig: Rig) -> None:
    lane = lane_of(rig, "A")
    news: list[object] = []
    states: list[object] = []
    for reader, _ in lane.readers:
        reader.start(news.append, states.append)
    assert lane.sensor
    assert rig.board.alarm
    lane.sensor.start(news.append, states.append)
    rig.board.alarm.start(states.append)
    lane.turnstile.unlock("both")
    rig.wait(0)
    states.clear()
    rig.board.close()
    rig.board.close()
    lane.turnstile.close()
    assert rig.lock_shows("A") == "locked"
    rig.scan("A", "in", "TICKET")
    rig.push("A", "in")
    rig.alarm(True)
    rig.wait(rig.relock_ms)
    assert news == states == []
