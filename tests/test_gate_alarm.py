"""The alarm, with a real contact, loop and journal: it frees every lane from every state, disk or no disk."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware.core.events import Order
from firmware.core.ticket import Authority, Route, Verdict
from tests.gate_bench import SETUP, Bench, FakeLink, data_directory

SOUTH = SETUP._replace(name="south")
VENDOR = Route("acme", authority=Authority.VENDOR)


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        yield folder


def to_ready(bench: Bench) -> None:
    pass


def to_showing_a_refusal(bench: Bench) -> None:
    bench.scan("nobody")
    bench.settle()


def to_recording(bench: Bench) -> None:
    bench.scan("A")


def to_asking(bench: Bench) -> None:
    bench.scan("V1")
    bench.settle()


def to_open(bench: Bench) -> None:
    bench.scan("A")
    bench.settle()


def to_locked_again(bench: Bench) -> None:
    to_open(bench)
    bench.pass_time(SETUP.unlock_ms)


def to_free(bench: Bench) -> None:
    bench.order(Order.FREE)
    bench.settle()


def to_shut(bench: Bench) -> None:
    bench.order(Order.SHUT)
    bench.settle()


STATES: dict[str, Callable[[Bench], None]] = {
    "Ready": to_ready,
    "Ready, a refusal shown": to_showing_a_refusal,
    "Recording": to_recording,
    "Asking": to_asking,
    "Open": to_open,
    "Open, locked again": to_locked_again,
    "Free": to_free,
    "Shut": to_shut,
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("hung", [False, True], ids=["", "disk hung"])
def test_promise_4_the_alarm_frees_a_lane_from_every_state(data: Path, state: str, hung: bool) -> None:
    with Bench(data, routes={"V": VENDOR}, link=FakeLink()) as bench:
        STATES[state](bench)
        assert bench.state() == state.partition(",")[0]
        if hung:
            with bench.hung_disk():
                bench.contact.press()
                assert bench.relay()[-1] == "both"
                bench.turn()
                bench.let_time_pass(10_000)
                assert (bench.state(), bench.relay()[-1]) == ("Free", "both")
        else:
            bench.contact.press()
        bench.settle()
        bench.pass_time(10_000)
        assert (bench.state(), bench.relay()[-1]) == ("Free", "both")
        assert [stored.row.text for stored in bench.rows() if stored.row.kind == "alarm"] == ["active"]
        bench.contact.release()
        bench.settle()
        over = "Shut" if state == "Shut" else "Free" if state == "Free" else "Ready"
        assert bench.state() == over
        assert bench.relay()[-1] == ("both" if over == "Free" else "locked")


def test_promise_4_the_contact_frees_all_lanes_before_the_loop_turns(data: Path) -> None:
    with Bench(data, setups=(SETUP, SOUTH)) as bench:
        bench.contact.press()
        assert (bench.relay("north"), bench.relay("south")) == (["both"], ["both"])
        assert bench.state() == "Ready", "the loop has heard nothing yet"


def test_promise_4_the_alarm_is_taken_before_everything_that_waits(data: Path) -> None:
    with Bench(data) as bench:
        assert bench.fake().scan("A")
        bench.contact.press()
        bench.settle()
        assert bench.verdicts() == [Verdict.FREE]
        assert bench.openings() == 0


def test_promise_4_a_lock_on_its_way_does_not_take_the_freedom_back(data: Path) -> None:
    """The contact has freed the lane, and the loop, which has not heard of it, ends an opening."""
    with Bench(data) as bench:
        to_open(bench)
        bench.time.advance(SETUP.unlock_ms)
        bench.contact.press()
        bench.turn()  # the opening is over, and that comes before all news
        bench.settle()
        assert bench.relay() == ["in", "both"]


def test_promise_4_an_opening_on_its_way_does_not_narrow_the_freedom(data: Path) -> None:
    """The contact frees the lane while the loop, which was just told that the row is safe, opens it."""
    with Bench(data) as bench:
        bench.scan("A")
        before_the_news, in_their_turn = (lambda: None), bench.contact.press
        bench.when_time_is_asked.extend((before_the_news, in_their_turn))
        bench.settle()
        assert bench.relay() == ["both"]
        assert bench.state() == "Free"


def test_promise_4_an_alarm_that_stands_at_the_start_frees_the_lanes(data: Path) -> None:
    with Bench(data, setups=(SETUP, SOUTH), alarm_at_start=True) as bench:
        assert (bench.relay("north"), bench.relay("south")) == (["both"], ["both"])
        bench.settle()
        assert bench.state("south") == "Free"
        assert bench.kinds() == ["alarm", "alarm"]


def test_promise_4_scans_during_an_alarm_are_recorded_and_spend_nothing(data: Path) -> None:
    with Bench(data) as bench:
        bench.contact.press()
        bench.turn()
        bench.scan("A")
        bench.settle()
        bench.pass_time(10_000)
        bench.contact.release()
        assert bench.enter("A").verdict is Verdict.ADMITTED
        assert bench.verdicts() == [Verdict.FREE, Verdict.ADMITTED]
        assert [row.kind for _, row, code in bench.rows() if code == "A"] == ["scan", "scan"]


def test_promise_4_an_alarm_that_comes_back_at_once_keeps_the_lanes_free(data: Path) -> None:
    with Bench(data) as bench:
        bench.contact.press()
        bench.turn()
        bench.contact.release()
        bench.contact.press()
        bench.settle()
        assert bench.state() == "Free"
        assert bench.relay() == ["both"], "the loop hears of the end when the next alarm is there already"


class PressedAtOnce(Bench):
    """The alarm comes when the gate has started and its loop has not turned yet."""

    pressed = False

    def turn(self) -> None:
        if not self.pressed:
            self.pressed = True
            self.contact.press()
        super().turn()


def test_promise_4_an_alarm_right_after_the_start_is_told_once(data: Path) -> None:
    """The contact's first state still waits to be heard, and must not end the alarm for a moment."""
    with PressedAtOnce(data) as bench:
        bench.pass_time(1_000)
        assert [row.text for _, row, _ in bench.rows() if row.kind == "alarm"] == ["active"]
        lights = [value for part, value in bench.signals() if part == "lamp"]
        assert lights == ["blue", "green blink"]


def test_a_contact_that_chatters_while_the_loop_stands_still_fills_nothing(
    data: Path,
) -> None:
    with Bench(data) as bench:
        for _ in range(1000):
            bench.contact.press()
            bench.contact.release()
        bench.contact.press()
        assert bench.gate.waiting < 200
        bench.turn()
        bench.pass_time(2_000)
        assert (bench.state(), bench.relay()[-1]) == ("Free", "both")


def test_promise_4_a_turnstile_that_fails_does_not_keep_the_others_shut(data: Path) -> None:
    with Bench(data, setups=(SETUP, SOUTH)) as bench:
        bench.breakable["north", "turnstile"].broken = True
        bench.contact.press()
        assert bench.relay("south") == ["both"]
        bench.settle()
        assert bench.state("north") == "Free"
        bench.breakable["north", "turnstile"].broken = False
        bench.pass_time(2_000)
        assert bench.relay("north") == ["both"], "the loop goes on trying"
        faults = [row.text for _, row, _ in bench.rows() if row.kind == "fault"]
        assert faults == ["turnstile: OSError: [Errno 5] Input/output error", "turnstile: works again"]


# --- where the end of an alarm has to be acknowledged ----------------------------------------------

CAREFUL = SETUP._replace(acknowledge=True)


def test_after_an_alarm_the_lanes_stay_free_until_somebody_acknowledges_it(data: Path) -> None:
    with Bench(data, setups=(CAREFUL, SOUTH)) as bench:
        bench.contact.press()
        bench.settle()
        bench.gate.acknowledge("too early")
        bench.settle()
        bench.contact.release()
        bench.settle()
        assert (bench.relay("north")[-1], bench.relay("south")[-1]) == ("both", "locked")
        bench.scan("A")
        bench.settle()
        assert bench.verdicts() == [Verdict.FREE]
        bench.gate.acknowledge("at the gate")
        bench.settle()
        assert bench.relay("north") == ["both", "locked"]
        alarm = [(row.kind, row.text) for _, row, _ in bench.rows() if row.lane == "north" and row.text]
        assert alarm == [("alarm", "active"), ("alarm", "over, to be acknowledged"), ("order", "at the gate")]


@pytest.mark.parametrize("when", ["active", "over"])
@pytest.mark.parametrize("end", [Bench.restart, Bench.crash])
def test_a_start_acknowledges_no_alarm(data: Path, when: str, end: Callable[[Bench], None]) -> None:
    with Bench(data, setups=(CAREFUL, SOUTH)) as bench:
        bench.contact.press()
        bench.settle()
        if when == "over":
            bench.contact.release()
            bench.settle()
        for _ in range(2):
            end(bench)
            bench.settle()
            assert (bench.state("north"), bench.state("south")) == ("Free", "Ready")
            assert bench.relay("north")[-1] == "both"
        bench.gate.acknowledge("at the gate")
        bench.settle()
        for _ in range(2):
            assert (bench.state("north"), bench.relay("north")[-1]) == ("Ready", "locked")
            end(bench)
            bench.settle()


def test_an_alarm_that_stands_at_the_start_is_not_locked_for_a_moment(data: Path) -> None:
    with Bench(data, alarm_at_start=True) as bench:
        bench.settle()
        bench.stop()
    relay = [edge.value for tape in bench.tapes for edge in tape if edge.part == "relay"]
    assert relay == ["both", "locked"], "the second one by closing the board"
