"""One scan after another through the whole gate: what was decided, what moved, and what was written."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.core.events import Order
from firmware.core.ticket import (
    Choice,
    Direction,
    Exits,
    Perimeter,
    Policy,
    Reentry,
    Spend,
    Status,
    Ticket,
    Verdict,
)
from hal.ports import Code, Unreadable
from tests.gate_bench import (
    BACKWARDS,
    LATE,
    NOON_MS,
    SETUP,
    STAYS,
    THROUGH,
    Bench,
    data_directory,
)

SOUTH = SETUP._replace(name="south")
BOTH = (SETUP, SOUTH)
DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS
WALK = Policy(spend=Spend.PASSAGE)


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        yield folder


# --- the story of a scan ---------------------------------------------------------------------------


def test_an_admission_is_written_then_opened_then_walked(data: Path) -> None:
    with Bench(data, usual=THROUGH) as bench:
        shot = bench.enter("A")
        assert (shot.lane, shot.code, shot.verdict) == ("north", "A", Verdict.ADMITTED)
        assert shot.row == shot.scan.row == bench.rows()[1].id
        assert shot.durable_ns is not None
        assert shot.relay_ns is not None
        assert shot.read_ns <= shot.decided_ns <= shot.durable_ns <= shot.relay_ns
        assert bench.relay() == ["in", "locked"]
        assert bench.kinds() == ["scan", "passage"]
        assert bench.journal.history("id-A").outer.entries == 1


def test_a_refusal_is_shown_at_once_and_written(data: Path) -> None:
    with Bench(data) as bench:
        bench.scan("nobody")
        assert bench.signals()[-2:] == [("lamp", "red"), ("buzzer", "long")], "before the disk has spoken"
        assert bench.shots == []
        bench.settle()
        shot = bench.shots[-1]
        assert (shot.verdict, shot.relay_ns) == (Verdict.UNKNOWN, None)
        assert shot.durable_ns is not None
        assert [(row.kind, row.verdict, code) for _, row, code in bench.rows()[1:]] == [
            ("scan", Verdict.UNKNOWN, "nobody")
        ]


def test_a_repeated_read_gets_the_same_answer_and_no_row(data: Path) -> None:
    with Bench(data) as bench:
        bench.scan("nobody")
        bench.settle()
        bench.pass_time(SETUP.signal_ms - 50)
        bench.scan("nobody")
        shot = bench.shots[-1]
        assert (shot.verdict, shot.row, shot.durable_ns) == (Verdict.UNKNOWN, 0, None)
        assert bench.signals()[-1] == ("buzzer", "long")
        bench.pass_time(50)
        bench.scan("nobody")
        bench.settle()
        assert bench.kinds() == ["scan", "scan"], "the signal is over, so this is another scan"


def test_another_code_while_the_lane_is_open_is_told_to_wait(data: Path) -> None:
    with Bench(data) as bench:
        bench.scan("A")
        bench.settle()
        bench.scan("B")
        bench.settle()
        assert bench.verdicts() == [Verdict.ADMITTED, Verdict.BUSY]
        bench.pass_time(10_000)
        assert bench.enter("B").verdict is Verdict.ADMITTED


def test_what_cannot_be_read_is_answered_and_never_judged(data: Path) -> None:
    with Bench(data) as bench:
        assert bench.fake().readers["in"].scan_unreadable("too_long")
        bench.turn()
        bench.settle()
        assert (bench.verdicts(), bench.shots[0].code) == ([Verdict.UNREADABLE], "")
        assert bench.shots[0].scan.fault == "too_long"


@pytest.mark.parametrize(
    "code", ["?a=1&b=2", " A", "$%*+-/", "\x1d01", "x" * 4096, "Ünïcödé", "\U0001f3ab", "\0"], ids=ascii
)
def test_a_strange_code_is_an_unknown_code_and_lies_in_the_journal_as_it_was(data: Path, code: str) -> None:
    with Bench(data) as bench:
        assert bench.enter(code).verdict is Verdict.UNKNOWN
        assert [stored.code for stored in bench.rows() if stored.row.lane] == [code]


def test_a_lane_for_one_way_ignores_what_the_reader_says(data: Path) -> None:
    exit_only = SETUP._replace(direction=Direction.OUT)
    with Bench(data, setups=(exit_only,)) as bench:
        bench.gate.scan("north", Code("A"), "in")
        bench.settle()
        assert bench.relay() == ["out"]


def test_a_scan_or_an_order_for_a_lane_that_is_not_there_is_refused_at_the_door(data: Path) -> None:
    with Bench(data) as bench:
        with pytest.raises(KeyError, match="west"):
            bench.gate.scan("west", Code("A"), None)
        with pytest.raises(KeyError, match="west"):
            bench.gate.scan("west", Unreadable("too_long"), None)
        with pytest.raises(KeyError, match="west"):
            bench.gate.order("west", Order.FREE, "test")
        bench.turn()
        assert bench.kinds() == []


# --- promise 2: one admission, one opening -----------------------------------------------------------


def test_promise_2_a_ticket_enters_once(data: Path) -> None:
    with Bench(data, usual=THROUGH) as bench:
        bench.enter("A")
        assert bench.enter("A").verdict is Verdict.USED
        bench.restart()
        assert bench.enter("A").verdict is Verdict.USED
        assert bench.openings() == 1


def test_promise_2_the_same_code_at_two_lanes_at_once_opens_one(data: Path) -> None:
    with Bench(data, setups=BOTH, usual=THROUGH) as bench:
        assert bench.fake("north").scan("A")
        assert bench.fake("south").scan("A")
        bench.settle()
        bench.pass_time(10_000)
        assert bench.openings("north") + bench.openings("south") == 1
        assert sorted(bench.verdicts()) == [Verdict.ADMITTED, Verdict.USED]


@pytest.mark.parametrize("spend", Spend)
@pytest.mark.parametrize("moment", ["before the disk", "open", "walked"])
def test_promise_2_a_crash_does_not_open_twice(data: Path, spend: Spend, moment: str) -> None:
    with Bench(data, policy=Policy(spend=spend)) as bench:
        bench.fake().expect(THROUGH)
        bench.scan("A")
        if moment != "before the disk":
            bench.settle()
        if moment == "walked":
            bench.pass_time(1000)
        opened = bench.openings()
        bench.crash()
        unsettled = len(bench.journal.unsettled)
        assert bench.openings() == opened, "the relay is not opened again"
        again = bench.enter("A")
        assert bench.openings() <= 1
        if opened:
            assert again.verdict is Verdict.USED
            assert unsettled == (moment == "open")


@pytest.mark.parametrize("trusted", [False, True])
def test_promise_2_a_clock_set_back_a_day_gives_no_second_entry(data: Path, trusted: bool) -> None:
    policy = Policy(reentry=Reentry.UNLIMITED, again_after_ms=3_600_000)
    with Bench(data, policy=policy, usual=THROUGH) as bench:
        bench.trusted = trusted
        bench.restart()
        bench.enter("A")
        bench.utc_offset_ms -= DAY_MS
        bench.pass_time(1_000)
        assert bench.enter("A").verdict is Verdict.TOO_SOON
        bench.restart()
        assert bench.enter("A").verdict is Verdict.TOO_SOON
        times = [row.moment.utc_ms for _, row, _ in bench.rows()]
        assert (times == sorted(times)) is not trusted


def test_who_entered_while_the_clock_was_a_year_ahead_may_enter_again_in_time(data: Path) -> None:
    policy = Policy(reentry=Reentry.UNLIMITED, again_after_ms=3_600_000)
    with Bench(data, policy=policy, usual=THROUGH) as bench:
        bench.trusted = False
        bench.utc_offset_ms += YEAR_MS
        bench.restart()
        bench.enter("A")
        bench.enter("B")
        bench.trusted = True
        bench.utc_offset_ms -= YEAR_MS
        bench.pass_time(1_000)
        right_since_ms = bench.clock.right_since_utc_ms
        bench.time.advance(right_since_ms + 3_599_999 - bench.clock.now().utc_ms)
        bench.scan("A")
        bench.time.advance(1)
        bench.scan("B")
        bench.settle()
        assert [shot.verdict for shot in bench.shots[-2:]] == [Verdict.TOO_SOON, Verdict.ADMITTED]
        bench.pass_time(10_000)
        assert bench.enter("B").verdict is Verdict.TOO_SOON, "of that entry the time is known"


def test_tickets_with_dates_enter_once_a_clock_that_ran_ahead_is_right(data: Path) -> None:
    listed = {code: Ticket(code, valid_until_ms=NOON_MS + 3_600_000) for code in "ABC"}
    with Bench(data, listed=listed, policy=Policy(clock_untrusted=Choice.REFUSE), usual=THROUGH) as bench:
        bench.utc_offset_ms += YEAR_MS
        bench.pass_time(1_000)
        assert bench.enter("A").verdict is Verdict.TOO_LATE
        bench.utc_offset_ms -= YEAR_MS
        bench.pass_time(3_000)
        assert bench.enter("A").verdict is Verdict.ADMITTED
        bench.restart()
        assert bench.enter("B").verdict is Verdict.ADMITTED
        bench.time.advance(3_600_000)
        assert bench.enter("C").verdict is Verdict.TOO_LATE
        bench.trusted = False
        bench.utc_offset_ms -= DAY_MS
        bench.pass_time(3_000)
        assert bench.enter("C").verdict is Verdict.TOO_LATE, "set back by hand, it is not believed"
        bench.restart()
        late = bench.enter("C").scan.moment
        assert (late.trusted, late.utc_ms > NOON_MS + 3_600_000) == (False, True)


# --- the walk ----------------------------------------------------------------------------------------


def test_a_lapsed_entry_can_be_used_again_where_the_walk_spends(data: Path) -> None:
    with Bench(data, policy=WALK) as bench:
        bench.fake().expect(STAYS, THROUGH)
        bench.enter("A")
        assert bench.kinds() == ["scan", "lapse"]
        assert bench.enter("A").verdict is Verdict.ADMITTED
        assert bench.enter("A").verdict is Verdict.USED
        assert bench.kinds() == ["scan", "lapse", "scan", "passage", "scan"]


def test_a_lapsed_entry_is_used_where_the_opening_spends(data: Path) -> None:
    with Bench(data) as bench:
        bench.enter("A")
        assert bench.enter("A").verdict is Verdict.USED


def test_a_walk_just_after_the_lane_locked_still_counts(data: Path) -> None:
    with Bench(data, policy=WALK) as bench:
        bench.fake().expect(LATE)
        bench.enter("A")
        assert bench.kinds() == ["scan", "passage"]
        assert bench.enter("A").verdict is Verdict.USED


def test_a_walk_the_other_way_spends_nothing_and_is_written(data: Path) -> None:
    """The arms do not give that way, so the sensor sees a push from inside while they are free."""
    with Bench(data, policy=WALK) as bench:
        bench.fake().expect(BACKWARDS)
        bench.scan("A")
        bench.settle()
        sensor = bench.fake().sensor
        assert sensor is not None
        sensor.see("out")
        bench.settle()
        assert bench.state() == "Open"
        bench.pass_time(10_000)
        assert bench.kinds() == ["scan", "passage", "lapse"]
        assert bench.journal.history("id-A").outer.entries == 0


def test_after_two_lapses_staff_is_called(data: Path) -> None:
    with Bench(data, policy=WALK) as bench:
        verdicts = [bench.enter("A").verdict for _ in range(3)]
        assert verdicts == [Verdict.ADMITTED, Verdict.ADMITTED, Verdict.CALL_STAFF]
        bench.restart()
        assert bench.enter("A").verdict is Verdict.CALL_STAFF


def test_exit_and_re_entry(data: Path) -> None:
    policy = Policy(reentry=Reentry.AFTER_EXIT, exits=Exits.ONLY_IF_INSIDE)
    with Bench(data, policy=policy, usual=THROUGH) as bench:
        assert bench.enter("A", way="out").verdict is Verdict.NOT_INSIDE
        assert bench.enter("A").verdict is Verdict.ADMITTED
        assert bench.enter("A").verdict is Verdict.USED
        assert bench.enter("A", way="out").verdict is Verdict.ADMITTED
        assert bench.enter("A").verdict is Verdict.ADMITTED
        assert bench.relay() == ["in", "locked", "out", "locked", "in", "locked"]


def test_an_inner_lane_keeps_its_own_history_and_an_entry_there_counts_outside_too(data: Path) -> None:
    inner = SETUP._replace(name="south", perimeter=Perimeter.INNER)
    with Bench(data, setups=(SETUP, inner), usual=THROUGH) as bench:
        assert bench.enter("A", "north").verdict is Verdict.ADMITTED
        assert bench.enter("A", "south").verdict is Verdict.ADMITTED
        assert bench.enter("A", "south").verdict is Verdict.USED
        assert bench.enter("B", "south").verdict is Verdict.ADMITTED
        assert bench.enter("B", "north").verdict is Verdict.USED


def test_a_lane_without_a_sensor_spends_by_the_opening(data: Path) -> None:
    blind = SETUP._replace(sensor=False)
    with Bench(data, setups=(blind,), policy=WALK) as bench:
        bench.enter("A")
        assert bench.kinds() == ["scan", "lapse"]
        assert bench.enter("A").verdict is Verdict.USED


# --- orders and lists --------------------------------------------------------------------------------


def test_an_order_opens_once_and_only_after_it_was_written(data: Path) -> None:
    with Bench(data, usual=THROUGH) as bench:
        bench.order(Order.OPEN_ONCE, "north", Direction.OUT)
        assert bench.relay() == []
        bench.settle()
        assert bench.relay() == ["out"]
        bench.pass_time(10_000)
        assert bench.kinds() == ["order", "passage"]


def test_an_order_to_all_lanes_reaches_each(data: Path) -> None:
    with Bench(data, setups=BOTH) as bench:
        bench.order(Order.SHUT)
        assert (bench.state("north"), bench.state("south")) == ("Shut", "Shut")
        bench.order(Order.NORMAL, "south")
        assert (bench.state("north"), bench.state("south")) == ("Shut", "Ready")


@pytest.mark.parametrize(
    ("listed", "verdict"),
    [
        (Ticket("t", status=Status.CANCELLED), Verdict.CANCELLED),
        (Ticket("t", status=Status.USED), Verdict.USED),
        (Ticket("t", valid_until_ms=1), Verdict.TOO_LATE),
        (Ticket("t", gate="west"), Verdict.WRONG_GATE),
    ],
    ids=lambda value: str(value.value) if isinstance(value, Verdict) else "",
)
def test_the_facts_of_the_list_reach_the_core(data: Path, listed: Ticket, verdict: Verdict) -> None:
    with Bench(data, listed={"A": listed}) as bench:
        assert bench.enter("A").verdict is verdict
