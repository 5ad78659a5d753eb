"""Parts fired one by one, on the same simulated wires that the boards are tested on."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from firmware.config import parse
from firmware.doctor import findings
from firmware.doctor.bench import Bench
from firmware.doctor.check import Check, Verdict
from firmware.doctor.command import Nobody, wired_lanes
from firmware.doctor.fire import Patience, Person, Wired, fire
from hal.fake import FakeBoard, FakeLaneSettings
from hal.ports import Colour, Way
from hal.schedule import VirtualTime
from tests.hal.benches import DEBOUNCE_MS, STUCK_S, ChipBench, MockBench
from tests.hal.benches import Bench as Wires

AT_ONCE = Patience(0, 0, 0, 0)
WIRED: Mapping[str, Wired] = {
    "A": Wired(("in", "out"), (Colour.RED, Colour.GREEN), True),
    "B": Wired(("out",), (Colour.RED, Colour.GREEN, Colour.BLUE), False),
}


class Turnstile:
    """What the lines move: free a way while its line has the level that its relay board really wants."""

    def __init__(self, wires: Wires, turned_over: bool = False, sticks: bool = False) -> None:
        self.wires, self.sticks = wires, sticks
        self._turned_over = turned_over
        self._stuck: set[str] = set()

    def is_free(self, lane: str, way: Way) -> bool:
        """Whether somebody can pass."""
        wired = next(one for one in self.wires.plan.lanes if one.name == lane)
        opening = wired.opening(way)
        free = opening is not None and self.wires.active(opening.line) is not self._turned_over
        if free and self.sticks:
            self._stuck.add(lane)
        return free or lane in self._stuck

    def push(self, lane: str, way: Way, seen_as: Way | None = None) -> bool:
        """Somebody tries to pass, and the sensor sees it when it works."""
        if not self.is_free(lane, way):
            return False
        self.wires.stand(lane, seen_as or way, True)
        self.wires.wait(2 * DEBOUNCE_MS)
        self.wires.stand(lane, seen_as or way, False)
        self.wires.wait(2 * DEBOUNCE_MS)
        return True


class Installer:
    """Does what is asked, and answers truly. `answers` False: a rig that pushes and says nothing."""

    def __init__(self, turnstile: Turnstile, *, answers: bool = True, exchanged: bool = False) -> None:
        self.turnstile, self.answers, self.exchanged = turnstile, answers, exchanged
        self.asked: list[str] = []

    def goes_on(self, what: str) -> bool:
        self.asked.append(what)
        return True

    def says(self, question: str) -> bool | None:
        self.asked.append(question)
        lane = question.removeprefix("lane ")[0]
        if "lamp" in question:
            truth = question.endswith(f"is the lamp {self.turnstile.wires.lit(lane)}?")
        elif "buzzer" in question:
            truth = self.turnstile.wires.sounding(lane)
        else:
            fired: tuple[Way, ...] = ("in", "out")
            ways = [way for way in fired if f"fired {way}" in question] or fired
            truth = any(self._push(lane, way) for way in ways)
        return truth if self.answers else None

    def _push(self, lane: str, way: Way) -> bool:
        other: Mapping[Way, Way] = {"in": "out", "out": "in"}
        return self.turnstile.push(lane, way, other[way] if self.exchanged else way)


@pytest.fixture(params=[MockBench, ChipBench])
def wires(request: pytest.FixtureRequest) -> Iterator[Wires]:
    made: Wires = request.param()
    yield made
    made.close()


def fired(wires: Wires, person: Person) -> list[Check]:
    """All checks. Whatever happens, no line is active at the end."""
    with Bench(wires.board()) as bench:
        found = list(fire(bench, WIRED, person, AT_ONCE))
    assert not any(wires.active(line) for line in wires.plan.lines)
    return found


def texts(found: list[Check], verdict: Verdict) -> list[str]:
    return [check.text for check in found if check.verdict is verdict]


def test_a_gate_that_is_wired_right_passes_in_every_part(wires: Wires) -> None:
    installer = Installer(Turnstile(wires))
    found = fired(wires, installer)
    assert {check.verdict for check in found} == {Verdict.OK}
    assert [check.text for check in found if check.name == "relay"] == [
        "lane A: locked while nothing is fired",
        "lane A, in: fired, and the sensor saw somebody pass",
        "lane A, out: fired, and the sensor saw somebody pass",
        "lane B: locked while nothing is fired",
        "lane B, out: fired, and the sensor saw somebody pass",
    ]
    assert [check.text for check in found if check.name == "lamp"] == [
        "lane A: red",
        "lane A: green",
        "lane B: red",
        "lane B: green",
        "lane B: blue",
    ]
    assert findings.BUZZER_RIGHT.seen(lane="A") in found
    assert found[0] == findings.CONTACTS_QUIET.seen(contacts="alarm and tamper")
    assert installer.asked[0].startswith("lane A: keep it closed for people, stand clear")


@pytest.mark.parametrize("answers", [True, False])
def test_a_relay_board_that_is_active_low_but_set_to_high_is_noticed_by_the_sensor(
    wires: Wires, answers: bool
) -> None:
    found = fired(wires, Installer(Turnstile(wires, turned_over=True), answers=answers))
    assert findings.FREE_AT_REST.seen(lane="A") in found
    assert findings.FREE_AT_REST.seen(lane="B") in found
    assert "turn active of its line over" in findings.FREE_AT_REST.mend


def test_a_relay_that_does_nothing_is_a_fault(wires: Wires) -> None:
    class Dead(Turnstile):
        def is_free(self, lane: str, way: Way) -> bool:
            return False

    found = fired(wires, Installer(Dead(wires)))
    assert findings.LOCKED_WHEN_FIRED.seen(lane="A", way="in") in found
    assert findings.LOCKED_WHEN_FIRED.seen(lane="B", way="out") in found


def test_a_relay_that_sticks_is_a_fault(wires: Wires) -> None:
    found = fired(wires, Installer(Turnstile(wires, sticks=True)))
    assert findings.STAYS_OPEN.seen(lane="A", way="in") in found


def test_contacts_of_the_sensor_that_are_exchanged_are_a_fault(wires: Wires) -> None:
    found = fired(wires, Installer(Turnstile(wires), exchanged=True))
    assert findings.WRONG_WAY.seen(lane="A", way="in", seen="out") in found
    assert findings.WRONG_WAY.seen(lane="A", way="out", seen="in") in found


def test_a_sensor_that_sees_nobody_is_a_warning(wires: Wires) -> None:
    class Blind(Turnstile):
        def push(self, lane: str, way: Way, seen_as: Way | None = None) -> bool:
            return self.is_free(lane, way)

    found = fired(wires, Installer(Blind(wires)))
    assert findings.NO_PASSAGE.seen(lane="A", way="in") in found


def test_where_nobody_is_asked_each_part_is_fired_and_nothing_is_claimed(wires: Wires) -> None:
    found = fired(wires, Nobody())
    assert wires.openings() == 3
    assert Verdict.FAULT not in {check.verdict for check in found}
    assert texts(found, Verdict.WARNING) == [
        "lane A, in: fired, and the sensor saw nobody pass",
        "lane A, out: fired, and the sensor saw nobody pass",
        "lane B, out: fired, and the sensor saw nobody pass",
    ]
    assert findings.LAMP_SHOWN.seen(lane="A", colours="red, green") in found
    assert findings.BUZZER_SOUNDED.seen(lane="A") in found


def test_a_part_that_the_person_does_not_want_fired_stays_as_it_is(wires: Wires) -> None:
    class Careful(Installer):
        def goes_on(self, what: str) -> bool:
            return "lane B" in what and "fire out" not in what

    found = fired(wires, Careful(Turnstile(wires)))
    assert wires.openings() == 0
    assert findings.SKIPPED.seen(lane="A", part="all") in found
    assert findings.SKIPPED.seen(lane="B", part="relay out") in found


def test_a_lamp_and_a_buzzer_that_were_not_noticed_are_faults(wires: Wires) -> None:
    class Elsewhere(Installer):
        def says(self, question: str) -> bool | None:
            return False if "lamp" in question or "buzzer" in question else super().says(question)

    found = fired(wires, Elsewhere(Turnstile(wires)))
    assert findings.LAMP_WRONG.seen(lane="A", colour="red") in found
    assert findings.BUZZER_WRONG.seen(lane="A") in found


# --- the alarm wins ----------------------------------------------------------------------------------


def test_in_an_alarm_every_lane_is_free_and_nothing_is_fired(wires: Wires) -> None:
    wires.contact("alarm", True)
    with Bench(wires.board()) as bench:
        assert list(fire(bench, WIRED, Nobody(), AT_ONCE)) == [findings.ALARM_ACTIVE.seen()]
        assert [wires.lock_shows(lane) for lane in ("A", "B")] == ["both", "both"]
        wires.contact("alarm", False)
        wires.wait(2 * DEBOUNCE_MS)
        bench.wait_until_quiet()
        assert [wires.lock_shows(lane) for lane in ("A", "B")] == ["locked", "locked"]


@pytest.mark.parametrize("at", ["nothing is fired", "fired in", "is the lamp", "buzzer"])
def test_an_alarm_in_the_middle_frees_every_lane_and_ends_the_firing(wires: Wires, at: str) -> None:
    class Fire(Installer):
        def says(self, question: str) -> bool | None:
            if at in question:
                wires.contact("alarm", True)
            return super().says(question)

    with Bench(wires.board()) as bench:
        found = list(fire(bench, WIRED, Fire(Turnstile(wires)), AT_ONCE))
        assert found[-1] == findings.ALARM_ACTIVE.seen()
        assert [wires.lock_shows(lane) for lane in ("A", "B")] == ["both", "both"]
        assert not any("lane B" in check.text for check in found)


def test_who_leaves_in_an_alarm_leaves_the_lanes_free(wires: Wires) -> None:
    with Bench(wires.board()):
        wires.contact("alarm", True)
        assert wires.lock_shows("A") == "both"
    assert [wires.lock_shows(lane) for lane in ("A", "B")] == ["both", "both"]


def test_an_alarm_that_has_to_be_acknowledged_keeps_the_lanes_free_after_its_end(wires: Wires) -> None:
    with Bench(wires.board(), acknowledge=True) as bench:
        assert wires.lock_shows("A") == "locked"
        wires.contact("alarm", True)
        wires.contact("alarm", False)
        wires.wait(2 * DEBOUNCE_MS)
        assert bench.news(0)[-1].what == "at rest"
        assert bench.alarmed
        assert wires.lock_shows("A") == "both"


def test_a_person_who_leaves_in_the_middle_leaves_no_line_active(wires: Wires) -> None:
    class Leaves(Installer):
        def says(self, question: str) -> bool | None:
            if "fired in" in question:
                raise KeyboardInterrupt
            return super().says(question)

    with pytest.raises(KeyboardInterrupt):
        fired(wires, Leaves(Turnstile(wires)))
    assert not any(wires.active(line) for line in wires.plan.lines)


def test_an_open_housing_and_a_sensor_that_stays_active_are_told(wires: Wires) -> None:
    wires.contact("tamper", True)
    with Bench(wires.board()) as bench:
        wires.stand("A", "in", True)
        for _ in range(STUCK_S + 2):
            wires.wait(1000)
        found = list(fire(bench, WIRED, Nobody(), AT_ONCE))
    assert found[0] == findings.TAMPER_ACTIVE.seen()
    stuck = [check for check in found if check.name == "sensor"]
    assert stuck[0].verdict is Verdict.FAULT
    assert "active for more than 2 s" in stuck[0].text


def test_a_board_that_cannot_be_listened_to_is_given_back(wires: Wires) -> None:
    board = wires.board()
    assert board.tamper is not None
    board.tamper.start(lambda _: None)  # somebody else listens already
    with pytest.raises(RuntimeError, match="started already"), Bench(board):
        pass
    with pytest.raises(RuntimeError, match="closed"):
        board.lanes[0].turnstile.unlock("in")


# --- other boards ------------------------------------------------------------------------------------


def test_a_part_that_fails_is_a_fault_and_the_others_are_tried_all_the_same() -> None:
    board = FakeBoard([FakeLaneSettings("A")], VirtualTime())
    with Bench(board) as bench:
        board.fakes["A"].lamp.close()
        found = list(fire(bench, {"A": Wired(("in",), (Colour.RED,), True)}, Nobody(), AT_ONCE))
    assert findings.PART_FAILS.seen(lane="A", part="lamp", problem="lane A: its lamp is closed") in found
    assert findings.BUZZER_SOUNDED.seen(lane="A") in found


def test_without_a_sensor_the_person_is_believed() -> None:
    class Passes(Nobody):
        answers: Callable[[str], bool | None] = staticmethod(lambda question: "Pass once" in question)

        def says(self, question: str) -> bool | None:
            return self.answers(question)

    def relay(person: Person) -> list[Check]:
        board = FakeBoard([FakeLaneSettings("A", sensor="none")], VirtualTime())
        with Bench(board) as bench:
            return list(fire(bench, {"A": Wired(("in",), (), False)}, person, AT_ONCE))

    assert relay(Passes())[-1:] == [findings.PASSED.seen(lane="A", way="in", seen="you could pass")]
    assert relay(Nobody())[-1:] == [findings.FIRED.seen(lane="A", way="in")]


def test_what_is_fired_is_what_the_board_file_has() -> None:
    file = Path(__file__).parents[2] / "deploy" / "boards" / "tripod.toml"
    settings = parse(f'[board]\nname = "gpio"\nfile = "{file}"\n[[lane]]\nname = "1"\n', "gate.toml")
    with FakeBoard([FakeLaneSettings("1")], VirtualTime()) as board:
        wired = wired_lanes(settings, board)
    assert wired == {"1": Wired(("in", "out"), (Colour.RED, Colour.GREEN, Colour.BLUE), True)}
    plain = parse('[[lane]]\nname = "a"\ndirection = "out"\n[[lane]]\nname = "b"\ndirection = "both"', "x")
    with FakeBoard([FakeLaneSettings("a"), FakeLaneSettings("b")], VirtualTime()) as board:
        assert {name: one.ways for name, one in wired_lanes(plain, board).items()} == {
            "a": ("out",),
            "b": ("in", "out"),
        }
