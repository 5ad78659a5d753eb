"""A disk that hangs, refuses and comes back under a gate, in time that a test moves."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from firmware.core.events import Order
from firmware.core.ticket import Policy, Spend, Verdict
from firmware.gate import EVENTS_MAX
from firmware.journal import WAITING_ROWS_MAX
from tests.gate_bench import SETUP, THROUGH, Bench, data_directory, tickets

SOUTH = SETUP._replace(name="south")
BOTH = (SETUP, SOUTH)
WALK = Policy(spend=Spend.PASSAGE)


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        yield folder


def bad_disk(bench: Bench, how: str) -> AbstractContextManager[None]:
    return bench.hung_disk() if how == "hung" else bench.refusing_disk()


# --- promise 1 -------------------------------------------------------------------------------------


def test_promise_1_record_before_relay(data: Path) -> None:
    with Bench(data, usual=THROUGH) as bench:
        bench.scan("A")
        bench.let_time_pass(SETUP.record_ms - 1)
        assert bench.relay() == [], "the journal may have written it, and the loop has not heard of it"
        told = bench.hear()
        assert told.row == bench.rows()[-1].id, "it lies on the disk"
        assert bench.relay() == ["in"]


@pytest.mark.parametrize("how", ["hung", "refusing"])
def test_promise_1_no_relay_moves_while_the_disk_takes_nothing(data: Path, how: str) -> None:
    with Bench(data, setups=BOTH) as bench:
        with bad_disk(bench, how):
            bench.scan("A", "north")
            bench.scan("B", "south")
            bench.order(Order.OPEN_ONCE)
            if how == "refusing":
                assert not bench.hear().safe
            bench.let_time_pass(1_500)
            bench.scan("A", "north")
            bench.scan("C", "south")
            bench.let_time_pass(5_000)
        bench.scan("D", "south")
        bench.settle()
        bench.pass_time(5_000)
        assert (bench.openings("north"), bench.openings("south")) == (0, 0)


def test_promise_1_an_admission_that_becomes_safe_too_late_opens_nothing_and_spends_nothing(
    data: Path,
) -> None:
    with Bench(data) as bench:
        bench.scan("A")
        bench.let_time_pass(SETUP.record_ms)
        assert bench.state() == "Shut"
        bench.settle()
        bench.pass_time(5_000)
        assert bench.openings() == 0
        assert bench.kinds() == ["scan", "void"]
        assert bench.enter("A").verdict is Verdict.ADMITTED


# --- promise 3 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["A", "nobody", "void"])
def test_promise_3_every_scan_is_answered(data: Path, code: str) -> None:
    with Bench(data, listed=tickets("A")) as bench:
        before = len(bench.signals())
        bench.scan(code)
        bench.settle()
        assert "buzzer" in dict(bench.signals()[before:])


def test_promise_3_every_scan_is_answered_while_the_disk_hangs(data: Path) -> None:
    with Bench(data) as bench, bench.hung_disk():
        bench.scan("nobody")
        assert bench.signals()[-2:] == [("lamp", "red"), ("buzzer", "long")]
        bench.let_time_pass(SETUP.signal_ms)
        bench.scan("A")
        assert bench.state() == "Recording"
        bench.let_time_pass(SETUP.record_ms)
        assert bench.signals()[-1] == ("lamp", "red blink"), "out of order, within record_ms"
        for code in ("A", "B", "nobody", "C"):
            before = len(bench.signals())
            bench.scan(code)
            assert ("buzzer", "long") in bench.signals()[before:]
        assert bench.gate.lost_rows == 0


def test_promise_3_a_full_inbox_is_counted_and_named(data: Path) -> None:
    with Bench(data) as bench:
        for number in range(300):
            bench.fake().scan(f"code {number}")
        assert bench.gate.dropped == 300 - 256
        bench.turn()
        bench.settle()
        assert len(bench.shots) == 256
        bench.pass_time(1_000)
        texts = [row.text for _, row, _ in bench.rows() if row.kind == "fault"]
        assert texts == ["the loop was too far behind to take 44 news"]


# --- there and back --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["hung", "refusing"])
def test_a_disk_that_comes_back_brings_the_lanes_back_and_has_every_row(data: Path, how: str) -> None:
    with Bench(data, setups=BOTH) as bench:
        with bad_disk(bench, how):
            bench.scan("A", "north")
            bench.scan("nobody", "south")
            bench.let_time_pass(SETUP.record_ms)
            assert bench.state("north") == "Shut"
            bench.scan("B", "north")
            assert bench.signals("north")[-1] == ("buzzer", "long")
        if how == "refusing":
            bench.fake("south").scan("nobody else")
        bench.settle()
        assert (bench.state("north"), bench.state("south")) == ("Ready", "Ready")
        bench.pass_time(5_000)
        scanned = [code for _, row, code in bench.rows() if row.kind == "scan"]
        assert scanned == ["A", "nobody", "B", *(["nobody else"] if how == "refusing" else [])]
        assert bench.enter("A").verdict is Verdict.ADMITTED


def test_a_disk_that_fails_under_an_opening_takes_its_effect_afterwards(data: Path) -> None:
    with Bench(data, policy=WALK) as bench:
        bench.fake().expect(THROUGH)
        bench.scan("A")
        bench.settle()
        with bench.hung_disk():
            bench.let_time_pass(5_000)
            assert bench.relay() == ["in", "locked"]
            assert bench.state() == "Ready", "the walk was seen; the next admission will notice the disk"
        bench.settle()
        assert bench.journal.history("id-A").outer.entries == 1


def test_a_lane_may_be_set_free_while_the_journal_cannot_be_written(data: Path) -> None:
    generous = SETUP._replace(unwritable_free=True)
    with Bench(data, setups=(generous,)) as bench:
        with bench.hung_disk():
            bench.scan("A")
            bench.let_time_pass(SETUP.record_ms)
            assert (bench.state(), bench.relay()) == ("Free", ["both"])
            bench.scan("B")
            assert bench.shots[-1].verdict is Verdict.FREE
        bench.settle()
        assert (bench.state(), bench.relay()) == ("Ready", ["both", "locked"])
        assert bench.enter("B").verdict is Verdict.ADMITTED


# --- promise 8: memory is bounded ------------------------------------------------------------------


def test_promise_8_rows_beyond_the_journals_memory_are_counted_and_owned_up_to(data: Path) -> None:
    """A scanner that never stops, at a disk that hangs: memory ends, and the lanes come back all the same."""
    with Bench(data, setups=BOTH) as bench:
        with bench.hung_disk():
            number = 0
            while bench.gate.lost_rows < 3 * EVENTS_MAX:
                bench.scan(f"code {number}")
                number += 1
                assert len(bench.gate._places["north"].events) <= EVENTS_MAX
                assert len(bench.gate._shots) <= WAITING_ROWS_MAX
                assert len(bench.gate._shots._deciding) <= WAITING_ROWS_MAX
            assert bench.journal.waiting == WAITING_ROWS_MAX
            bench.scan("A", "south")
            assert bench.state("south") == "Shut", "its first scan finds no room"
            assert bench.signals("south")[-1] == ("lamp", "red blink")
        bench.settle()
        assert (bench.state("north"), bench.state("south")) == ("Ready", "Ready")
        lost = {row.lane: row.text for _, row, _ in bench.rows() if row.kind == "lost"}
        assert set(lost) == {"north", "south"}
        kept = sum(row.kind == "scan" for _, row, _ in bench.rows())
        assert kept + int(lost["north"].split()[0]) == number
        bench.pass_time(3_000)
        assert bench.enter("A", "south").verdict is Verdict.ADMITTED
        assert not bench.gate._shots
        assert not bench.gate._shots._deciding


def test_promise_8_a_lane_that_writes_no_rows_writes_a_trail(data: Path) -> None:
    """Repeated reads make no row; what they did to the lane is written all the same, from time to time."""
    with Bench(data) as bench:
        bench.scan("nobody")
        for _ in range(3 * EVENTS_MAX):
            bench.scan("nobody")
            assert len(bench.gate._places["north"].events) < EVENTS_MAX
        bench.settle()
        assert bench.kinds() == ["scan", "trail", "trail", "trail"]
