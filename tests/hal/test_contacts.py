"""Fire alarm, housing and passage sensors: chatter, contacts that stick, edges that are lost."""

from collections.abc import Iterator

import pytest

from hal.gpio_parts import LOOK_AGAIN_MS
from hal.ports import Way
from tests.hal.benches import DEBOUNCE_MS, STUCK_S, ChipBench, Door


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.close()


class Heard:
    """What the board's contacts and the sensor of lane A told."""

    def __init__(self, door: Door) -> None:
        self.alarm: list[bool] = []
        self.tamper: list[bool] = []
        self.walked: list[Way | None] = []
        self.states: list[str | None] = []
        assert door.gate.alarm
        assert door.gate.tamper
        assert door.a.sensor
        door.gate.alarm.start(self.alarm.append)
        door.gate.tamper.start(self.tamper.append)
        door.a.sensor.start(self.walked.append, self.states.append)
        door.wait(0)


def chatter(door: Door, part: str, times: int, lane: str = "") -> None:
    """A contact closes and opens again, a millisecond each."""
    seen = next(seen for seen in door.plan.inputs if (seen.lane, seen.part) == (lane, part))
    for _ in range(times):
        for active in (True, False):
            door.touch(seen, active)
            door.wait(1)


def test_an_alarm_that_chatters_opens_once_at_its_first_edge_and_ends_once_it_is_still(door: Door) -> None:
    heard = Heard(door)
    chatter(door, "alarm", 20)
    assert heard.alarm == [False, True]
    door.wait(DEBOUNCE_MS - 2)
    assert heard.alarm == [False, True]
    door.wait(1)
    assert heard.alarm == [False, True, False]


def test_a_housing_that_chatters_counts_once_it_is_still(door: Door) -> None:
    heard = Heard(door)
    chatter(door, "tamper", 20)
    door.contact("tamper", True)
    door.wait(DEBOUNCE_MS - 1)
    assert heard.tamper == [False]
    door.wait(1)
    assert heard.tamper == [False, True]


def test_a_spark_on_a_sensor_is_nobody(door: Door) -> None:
    heard = Heard(door)
    chatter(door, "sensor in", 1, "A")
    door.wait(10_000)
    assert heard.walked == []


def test_a_person_behind_a_contact_that_chatters_counts_as_one(door: Door) -> None:
    heard = Heard(door)
    for _ in range(2):
        chatter(door, "sensor in", 7, "A")
        door.stand("A", "in", there=True)
        door.wait(DEBOUNCE_MS)
        chatter(door, "sensor in", 7, "A")
        door.wait(DEBOUNCE_MS)
    assert heard.walked == ["in", "in"]


def test_a_sensor_that_stays_active_is_a_fault_with_a_name_until_it_ends(door: Door) -> None:
    heard = Heard(door)
    door.stand("A", "out", there=True)
    door.wait(STUCK_S * 1000 - DEBOUNCE_MS)
    assert heard.states == []
    door.wait(LOOK_AGAIN_MS + 2 * DEBOUNCE_MS)
    (fault,) = heard.states
    assert fault
    assert "lane A, sensor out (pin 11, header pin 23): active for more than 2 s: clean" in fault
    door.stand("A", "out", there=False)
    door.wait(2 * LOOK_AGAIN_MS)
    assert heard.states == [fault, None]
    assert heard.walked == ["out"]


def test_a_sensor_that_never_stops_chattering_is_a_fault_too(door: Door) -> None:
    heard = Heard(door)
    chatter(door, "sensor in", STUCK_S * 1000 // 2 + 1000, "A")
    assert heard.walked == []
    assert heard.states[0]
    assert len(heard.states) == 1


def test_a_sensor_that_is_active_from_the_start_is_a_fault_and_nobody_walked() -> None:
    bench = ChipBench()
    bench.stand("A", "in", there=True)
    sensor = bench.board().lanes[0].sensor
    walked: list[object] = []
    states: list[str | None] = []
    assert sensor
    sensor.start(walked.append, states.append)
    bench.wait(STUCK_S * 1000 + LOOK_AGAIN_MS)
    assert walked == []
    assert len(states) == 1
    bench.close()


def test_an_edge_that_the_kernel_dropped_is_noticed_within_a_second(door: Door) -> None:
    heard = Heard(door)
    door.chip.deaf = True
    for active in (True, False):
        door.contact("alarm", active)
        door.contact("tamper", active)
        door.wait(LOOK_AGAIN_MS + DEBOUNCE_MS)
    assert heard.alarm == [False, True, False]
    assert heard.tamper == [False, True, False]


def test_an_alarm_contact_that_cannot_be_read_is_an_alarm_and_others_stay_as_they_were(door: Door) -> None:
    heard = Heard(door)
    door.chip.broken |= {seen.pin for seen in door.plan.inputs}
    door.wait(LOOK_AGAIN_MS + DEBOUNCE_MS)
    assert (heard.alarm, heard.tamper, heard.walked) == ([False, True], [False], [])


def test_a_mistake_of_a_listener_does_not_end_the_thread_that_tells(
    door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[bool] = []

    def listen(active: bool) -> None:
        told.append(active)
        if len(told) == 2:
            raise ValueError("a mistake of the listener")

    assert door.gate.alarm
    door.gate.alarm.start(listen)
    door.contact("alarm", True)
    assert "a mistake of the listener" in capsys.readouterr().err
    door.contact("alarm", False)
    door.wait(DEBOUNCE_MS)
    assert told == [False, True, False]
