"""What a gate does when something in it is broken, and how its loop ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.catalogue import CatalogueDamaged
from firmware.core.events import Order
from firmware.core.ticket import Ticket, Verdict
from firmware.gate import SPARE_MS
from tests.gate_bench import SETUP, THROUGH, Bench, Lists, data_directory, tickets

SOUTH = SETUP._replace(name="south")
BROKEN = "OSError: [Errno 5] Input/output error"


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        yield folder


def faults(bench: Bench) -> list[tuple[str, str]]:
    return [(row.lane, row.text) for _, row, _ in bench.rows() if row.kind == "fault"]


# --- parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["lamp", "buzzer"])
def test_a_broken_light_or_sound_is_named_once_and_the_lane_goes_on(data: Path, part: str) -> None:
    with Bench(data, usual=THROUGH) as bench:
        bench.breakable["north", part].broken = True
        assert bench.enter("A").verdict is Verdict.ADMITTED
        assert bench.enter("B").verdict is Verdict.ADMITTED
        assert bench.openings() == 2
        assert faults(bench) == [("north", f"{part}: {BROKEN}")]
        assert bench.gate.part_failures > 2
        bench.breakable["north", part].broken = False
        bench.enter("C")
        assert faults(bench)[1:] == [("north", f"{part}: works again")]


def test_a_turnstile_that_does_not_open_is_named_and_the_other_lane_goes_on(data: Path) -> None:
    with Bench(data, setups=(SETUP, SOUTH), usual=THROUGH) as bench:
        bench.breakable["north", "turnstile"].broken = True
        shot = bench.enter("A")
        assert (shot.verdict, shot.relay_ns) == (Verdict.ADMITTED, None)
        assert bench.enter("B", lane="south").relay_ns is not None
        assert faults(bench)[0] == ("north", f"turnstile: {BROKEN}")


def test_a_turnstile_that_did_not_lock_is_locked_as_soon_as_it_works_again(data: Path) -> None:
    with Bench(data) as bench:
        bench.scan("A")
        bench.settle()
        bench.breakable["north", "turnstile"].broken = True
        bench.pass_time(SETUP.unlock_ms)
        assert bench.relay() == ["in"]
        bench.breakable["north", "turnstile"].broken = False
        bench.pass_time(1000)
        assert bench.relay() == ["in", "locked"]


def test_an_opening_that_failed_is_not_given_twice(data: Path) -> None:
    """The relay may have moved before it said that it failed, so nobody tries once more."""
    with Bench(data) as bench:
        bench.scan("A")
        bench.breakable["north", "turnstile"].broken = True
        bench.settle()
        assert bench.state() == "Open"
        bench.breakable["north", "turnstile"].broken = False
        bench.pass_time(10_000)
        assert bench.openings() == 0


# --- the catalogue ---------------------------------------------------------------------------------


class Torn(Lists):
    """A catalogue with a page that cannot be read."""

    def get(self, digest: bytes) -> Ticket | None:
        if digest == self.digest("torn"):
            raise CatalogueDamaged("build-1: a ticket cannot be read: import the list again")
        return super().get(digest)


def test_a_ticket_that_cannot_be_read_is_a_fault_with_a_name_and_the_others_go_on(data: Path) -> None:
    with Bench(data, usual=THROUGH) as bench:
        bench.gate.facts = bench.gate.facts._replace(tickets=Torn(tickets("A")))
        shot = bench.enter("torn")
        assert (shot.verdict, shot.scan.fault) == (
            Verdict.UNREADABLE,
            "its ticket cannot be read from the catalogue",
        )
        assert faults(bench) == [("north", "build-1: a ticket cannot be read: import the list again")]
        assert bench.enter("A").verdict is Verdict.ADMITTED


def test_half_a_character_is_no_code_and_ends_nothing(data: Path) -> None:
    with Bench(data) as bench:
        shot = bench.enter("A\ud83c")
        assert (shot.verdict, shot.scan.fault, shot.code) == (Verdict.UNREADABLE, "not_text", "")
        assert bench.enter("A").verdict is Verdict.ADMITTED


# --- readers ---------------------------------------------------------------------------------------


def test_a_lost_reader_is_named_and_so_is_its_return(data: Path) -> None:
    with Bench(data) as bench:
        reader = bench.fake().readers["in"]
        reader.fail("/dev/scanner is gone: plug it in")
        bench.turn()
        assert bench.gate.part_faults == {"reader north/1": "/dev/scanner is gone: plug it in"}
        assert bench.state() == "Ready", "the policy says nothing, and the other reader works"
        reader.recover()
        bench.settle()
        assert bench.gate.part_faults == {}
        assert faults(bench) == [
            ("north", "reader north/1: /dev/scanner is gone: plug it in"),
            ("north", "reader north/1: works again"),
        ]


def test_where_the_policy_says_so_a_lost_reader_shuts_its_lane_alone(data: Path) -> None:
    with Bench(data, setups=(SETUP, SOUTH), reader_lost_shuts=True) as bench:
        readers = bench.fake().readers
        readers["in"].fail("gone")
        readers["out"].fail("gone too")
        bench.turn()
        assert (bench.state("north"), bench.state("south")) == ("Shut", "Ready")
        readers["in"].recover()
        bench.turn()
        assert bench.state("north") == "Shut", "the other one is still lost"
        readers["out"].recover()
        bench.turn()
        assert bench.state("north") == "Ready"
        bench.settle()


def test_a_reader_that_flaps_while_the_loop_stands_still_fills_nothing_and_its_last_state_counts(
    data: Path,
) -> None:
    with Bench(data, reader_lost_shuts=True) as bench:
        reader = bench.fake().readers["in"]
        for _ in range(1000):
            reader.fail("gone")
            reader.recover()
        reader.fail("gone for good")
        bench.pass_time(1_000)
        assert bench.gate.part_faults == {"reader north/1": "gone for good"}
        assert bench.state() == "Shut"
        assert len([text for _, text in faults(bench) if text.startswith("reader")]) == 1


def test_promise_8_a_sensor_that_chatters_is_bounded(data: Path) -> None:
    with Bench(data) as bench:
        sensor = bench.fake().sensor
        assert sensor is not None
        for _ in range(1000):
            sensor.see("in")
        assert bench.gate.waiting <= 256
        bench.settle()
        assert bench.kinds() == ["passage"] * 256


# --- sensors and the housing -----------------------------------------------------------------------


def test_a_sensor_that_sticks_is_named_and_so_is_its_end(data: Path) -> None:
    with Bench(data) as bench:
        sensor = bench.fake().sensor
        assert sensor is not None
        sensor.stick("active for more than 30 s: clean it")
        bench.turn()
        assert bench.gate.part_faults == {"sensor north": "active for more than 30 s: clean it"}
        assert bench.state() == "Ready", "who has a ticket still gets in"
        sensor.come_loose()
        bench.settle()
        assert bench.gate.part_faults == {}
        assert faults(bench) == [
            ("north", "sensor north: active for more than 30 s: clean it"),
            ("north", "sensor north: works again"),
        ]


def test_a_housing_that_is_opened_is_named_and_so_is_its_end(data: Path) -> None:
    with Bench(data) as bench:
        bench.board.tamper.press()
        bench.turn()
        assert bench.gate.part_faults == {"housing": "opened"}
        bench.board.tamper.release()
        bench.settle()
        assert bench.gate.part_faults == {}
        assert faults(bench) == [("", "housing: opened"), ("", "housing: closed again")]


# --- lights of a loop that has stalled -------------------------------------------------------------


def test_a_verdict_goes_out_by_itself_where_the_loop_has_stalled(data: Path) -> None:
    with Bench(data) as bench:
        bench.scan("nobody")
        bench.time.advance(SETUP.signal_ms + SPARE_MS - 1)
        assert bench.signals()[-2:] == [("lamp", "red"), ("buzzer", "long")]
        bench.time.advance(1)
        assert bench.signals()[-1] == ("lamp", "blue")


def test_a_green_light_stays_as_long_as_the_lane_is_open_and_goes_out_by_itself(data: Path) -> None:
    with Bench(data) as bench:
        bench.scan("A")
        bench.settle()
        bench.time.advance(SETUP.unlock_ms + SPARE_MS - 1)
        assert bench.signals()[-2:] == [("lamp", "green"), ("buzzer", "short")]
        bench.time.advance(1)
        assert bench.signals()[-1] == ("lamp", "blue")


def test_the_loop_ends_a_verdict_itself_as_long_as_it_turns(data: Path) -> None:
    with Bench(data) as bench:
        bench.scan("nobody")
        bench.pass_time(10_000)
        assert [value for part, value in bench.signals() if part == "lamp"] == ["blue", "red", "blue"]


# --- the end of the loop ---------------------------------------------------------------------------


class Exploding(Lists):
    """A catalogue with a bug."""

    def get(self, digest: bytes) -> Ticket | None:
        if digest == self.digest("bomb"):
            raise RuntimeError("a bug")
        return super().get(digest)


def test_promise_6_a_bug_in_the_loop_ends_it_with_every_lane_locked(data: Path) -> None:
    with Bench(data, setups=(SETUP, SOUTH)) as bench:
        bench.lists = Exploding(tickets("A"))
        bench.gate.facts = bench.gate.facts._replace(tickets=bench.lists)
        bench.scan("A", lane="south")
        bench.settle()
        assert bench.state("south") == "Open"
        bench.fake("north").scan("bomb")
        with pytest.raises(RuntimeError, match="a bug"):
            bench.gate.run()
        assert bench.relay("south") == ["in", "locked"]
        assert bench.relay("north") == []


def test_promise_6_no_edge_towards_unlocked_at_start_and_stop(data: Path) -> None:
    with Bench(data, setups=(SETUP, SOUTH)) as bench:
        bench.restart()
        bench.order(Order.SHUT)
        bench.restart()
        assert bench.relay("north") == bench.relay("south") == []


def test_promise_6_a_stop_in_the_middle_of_an_opening_locks_the_lane(data: Path) -> None:
    with Bench(data) as bench:
        bench.scan("A")
        bench.settle()
        bench.stop()
        assert bench.relay() == ["in", "locked"]


def test_promise_6_a_row_that_becomes_safe_after_the_stop_opens_nothing(data: Path) -> None:
    with Bench(data) as bench:
        bench.scan("A")
        bench.restart()
        bench.settle()
        bench.pass_time(10_000)
        assert bench.openings() == 0
        assert bench.enter("A").verdict is Verdict.USED, "it may have opened, as far as the disk knows"


def test_what_happened_since_the_last_row_is_written_at_the_stop(data: Path) -> None:
    """The opening itself makes no row; replayed, the journal must still tell of it."""
    with Bench(data) as bench:
        bench.scan("A")
        bench.settle()
        bench.stop()
        *_, last = bench.rows()
        assert last.row.kind == "trail"
        assert last.row.story is not None
        assert [event.name for event in last.row.story.events] == ["Recorded"]
