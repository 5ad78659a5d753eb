"""Scans that the vendor decides, through the whole gate: asks, answers, silence, and answers too late."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.aftermath import ASK_MS_MAX
from firmware.asks import ASKS_MAX, Question
from firmware.core.movements import Act
from firmware.core.ticket import (
    Authority,
    Policy,
    Route,
    Verdict,
    WithoutAnswer,
)
from firmware.rows import RowReader, Stored
from tests.gate_bench import SETUP, THROUGH, Bench, FakeLink, data_directory

VENDOR = Route("acme", authority=Authority.VENDOR, deadline_ms=3000)
OPEN = VENDOR._replace(without_answer=WithoutAnswer.OPEN_AND_UPLOAD)
SOUTH = SETUP._replace(name="south")


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        yield folder


@pytest.fixture
def link() -> FakeLink:
    return FakeLink()


def asking(data: Path, link: FakeLink | None, route: Route = VENDOR, policy: Policy = Policy()) -> Bench:  # noqa: B008  a frozen value
    """A gate of two lanes whose vendor decides about codes that begin with V."""
    setups = (SETUP, SOUTH)
    return Bench(data, setups=setups, routes={"V": route}, policy=policy, link=link, usual=THROUGH)


def answer(bench: Bench, scan: int, verdict: Verdict, text: str = "") -> None:
    assert bench.gate.answer(scan, verdict, text)
    bench.settle()


def ask(bench: Bench, link: FakeLink, code: str = "V1", lane: str = "north") -> int:
    """Scan the code; the id of the ask that went out."""
    bench.scan(code, lane)
    bench.settle()
    return link.asks[-1][0].scan


def test_an_ask_is_written_before_it_is_sent(data: Path, link: FakeLink) -> None:
    with asking(data, link) as bench:
        bench.scan("V1")
        assert (bench.state(), link.asks) == ("Recording", [])
        bench.settle()
        ((sent, code),) = link.asks
        assert (sent.vendor, code) == ("acme", "V1")
        assert sent.scan == bench.rows()[1].id
        assert sent.until_ms == bench.time.now_ms() + VENDOR.deadline_ms
        assert bench.kinds() == ["ask"]


def test_a_yes_opens_after_it_was_written_and_is_one_story(data: Path, link: FakeLink) -> None:
    with asking(data, link) as bench:
        scan = ask(bench, link)
        assert bench.shots == [], "the story goes on"
        assert bench.gate.answer(scan, Verdict.ADMITTED, "welcome")
        bench.turn()
        assert bench.openings() == 0
        bench.settle()
        bench.pass_time(5000)
        (shot,) = bench.shots
        assert (shot.verdict, shot.text, shot.scan.row) == (Verdict.ADMITTED, "welcome", scan)
        assert shot.relay_ns is not None
        assert bench.kinds() == ["ask", "answer", "passage"]


def test_a_no_is_shown_with_the_vendors_words(data: Path, link: FakeLink) -> None:
    with asking(data, link) as bench:
        answer(bench, ask(bench, link), Verdict.REFUSED, "not today")
        (shot,) = bench.shots
        assert (shot.verdict, shot.text, shot.relay_ns) == (Verdict.REFUSED, "not today", None)
        assert bench.state() == "Ready"


def test_silence_ends_at_the_deadline_and_the_policy_decides(data: Path, link: FakeLink) -> None:
    with asking(data, link) as bench:
        ask(bench, link)
        bench.pass_time(VENDOR.deadline_ms - 1)
        assert bench.state() == "Asking"
        bench.pass_time(1)
        assert bench.verdicts() == [Verdict.NO_ANSWER]


def test_a_vendor_out_of_reach_may_be_passed_over_where_one_that_fails_may_not(
    data: Path, link: FakeLink
) -> None:
    with asking(data, link, OPEN._replace(unreached_only=True)) as bench:
        answer(bench, ask(bench, link, "V1"), Verdict.NO_ANSWER, "answered 503")
        assert bench.gate.answer(ask(bench, link, "V2"), Verdict.NO_ANSWER, "nobody there", unreached=True)
        bench.settle()
        bench.pass_time(5000)
        assert bench.verdicts() == [Verdict.NO_ANSWER, Verdict.ADMITTED_OFFLINE]
        assert bench.openings() == 1


def test_without_a_link_nobody_is_asked_and_the_policy_decides_at_once(data: Path) -> None:
    with asking(data, None, OPEN) as bench:
        assert bench.enter("V1").verdict is Verdict.ADMITTED_OFFLINE
        assert bench.kinds() == ["scan", "passage"]


def test_a_late_yes_is_a_credit_for_one_admission(data: Path, link: FakeLink) -> None:
    with asking(data, link) as bench:
        scan = ask(bench, link)
        bench.pass_time(10_000)
        answer(bench, scan, Verdict.ADMITTED)
        assert bench.openings() == 0
        assert bench.enter("V1").verdict is Verdict.ADMITTED_CREDIT
        assert len(link.asks) == 1, "nobody was asked again"
        answer(bench, scan, Verdict.ADMITTED)
        ask(bench, link)
        assert len(link.asks) == 2, "the same yes, come twice, is no second credit"


def test_a_clock_set_by_hand_ends_no_credit(data: Path, link: FakeLink) -> None:
    with asking(data, link) as bench:
        scan = ask(bench, link)
        bench.pass_time(10_000)
        answer(bench, scan, Verdict.ADMITTED)
        bench.utc_offset_ms += 3 * 86_400_000
        bench.trusted = False  # as the kernel has it from then on
        bench.pass_time(2_000)
        assert bench.enter("V1").verdict is Verdict.ADMITTED_CREDIT


def test_a_refusal_after_our_own_time_out_calls_staff(data: Path, link: FakeLink) -> None:
    with asking(data, link) as bench:
        ask(bench, link)
        bench.pass_time(10_000)
        answer(bench, ask(bench, link), Verdict.USED)
        assert bench.verdicts() == [Verdict.NO_ANSWER, Verdict.CALL_STAFF]


def test_a_late_yes_to_a_scan_that_policy_opened_is_no_credit_and_ends_the_doubt(
    data: Path, link: FakeLink
) -> None:
    with asking(data, link, OPEN) as bench:
        scan = ask(bench, link)
        bench.pass_time(10_000)
        answer(bench, scan, Verdict.ADMITTED)
        assert bench.verdicts() == [Verdict.ADMITTED_OFFLINE]
        assert bench.kinds() == ["ask", "answer", "passage", "late"]
        history = bench.journal.history(bench.shots[0].scan.subject)
        assert (history.credit, history.unsure_until_utc_ms) == (None, 0)


def test_a_late_yes_to_an_admission_that_the_disk_withdrew_is_a_credit(data: Path, link: FakeLink) -> None:
    """Policy admitted without an answer, but the disk hung: the vendor has spent it for nothing."""
    with asking(data, link, OPEN) as bench:
        scan = ask(bench, link)
        with bench.hung_disk():
            bench.let_time_pass(VENDOR.deadline_ms)
            assert bench.state() == "Recording"
            bench.let_time_pass(SETUP.record_ms)
            assert bench.state() == "Shut"
        bench.settle()
        assert bench.openings() == 0
        answer(bench, scan, Verdict.ADMITTED)
        assert bench.enter("V1").verdict is Verdict.ADMITTED_CREDIT
        assert bench.openings() == 1


def test_an_answer_to_no_ask_is_written_and_changes_nothing(data: Path, link: FakeLink) -> None:
    with asking(data, link) as bench:
        answer(bench, 4711, Verdict.ADMITTED)
        assert bench.relay() == []
        assert [row.text for _, row, _ in bench.rows() if row.kind == "fault"] == ["answer to no ask"]


def test_another_code_at_a_lane_that_asks_must_wait_and_its_story_ends(data: Path, link: FakeLink) -> None:
    with asking(data, link) as bench:
        ask(bench, link)
        bench.scan("A")
        bench.settle()
        (shot,) = bench.shots
        assert (shot.code, shot.verdict) == ("A", Verdict.BUSY)
        assert shot.durable_ns is not None


def test_two_lanes_ask_about_the_same_code_and_one_opens(data: Path, link: FakeLink) -> None:
    with asking(data, link, OPEN) as bench:
        first, second = ask(bench, link, "V1", "north"), ask(bench, link, "V1", "south")
        assert first != second
        bench.pass_time(10_000)
        assert bench.openings("north") + bench.openings("south") == 1
        assert sorted(bench.verdicts()) == [Verdict.ADMITTED_OFFLINE, Verdict.USED]


def test_an_ask_that_could_not_be_sent_is_a_fault_and_ends_as_silence_does(data: Path) -> None:
    class Torn(FakeLink):
        def ask(self, question: Question) -> str:
            raise OSError(32, "Broken pipe")

    with asking(data, Torn(), OPEN) as bench:
        assert bench.enter("V1").verdict is Verdict.ADMITTED_OFFLINE
        faults = [row.text for _, row, _ in bench.rows() if row.kind == "fault"]
        assert faults == ["link: BrokenPipeError: [Errno 32] Broken pipe"]


def test_asks_that_are_remembered_are_bounded(data: Path, link: FakeLink) -> None:
    with asking(data, link) as bench:
        for number in range(ASKS_MAX + 5):
            scan = ask(bench, link, f"V{number}")
            answer(bench, scan, Verdict.REFUSED)
            bench.let_time_pass(SETUP.signal_ms)
        assert len(bench.gate._asks) == ASKS_MAX
        answer(bench, link.asks[0][0].scan, Verdict.ADMITTED)
        assert bench.rows()[-1].row.text == "answer to no ask"


def test_answers_to_no_ask_make_one_row_however_many_come(data: Path, link: FakeLink) -> None:
    with asking(data, link) as bench:
        for scan in range(50):
            answer(bench, scan, Verdict.ADMITTED)
        assert [row.text for _, row, _ in bench.rows() if row.kind == "fault"] == ["answer to no ask"]


def test_an_answer_to_the_ask_of_another_gate_of_this_name_decides_nothing(
    data: Path, link: FakeLink
) -> None:
    with asking(data, link) as bench:
        scan = ask(bench, link)
        digest = link.questions[0].digest
        assert digest == next(stored.digest for stored in stored_rows(data) if stored.id == scan)
        assert bench.gate.answer(scan, Verdict.ADMITTED, "", False, bytes(16))
        bench.settle()
        assert bench.state() == "Asking"
        assert bench.gate.answer(scan, Verdict.ADMITTED, "", False, digest)
        bench.settle()
        assert bench.state() == "Open"


def test_the_word_that_nobody_will_answer_ends_the_wait_at_once(data: Path, link: FakeLink) -> None:
    with asking(data, link) as bench:
        scan = ask(bench, link)
        assert bench.gate.answer(scan, Verdict.NO_ANSWER, "the vendor is down", False)
        bench.settle()
        assert bench.verdicts() == [Verdict.NO_ANSWER]
        assert bench.journal.history(bench.shots[0].scan.subject).unsure_until_utc_ms == 0


def test_a_question_that_the_link_does_not_take_is_decided_at_once(data: Path, link: FakeLink) -> None:
    link.refusal = "no connection"
    with asking(data, link) as bench:
        bench.scan("V1")
        bench.settle()
        (shot,) = bench.shots
        assert (shot.verdict, shot.text) == (Verdict.NO_ANSWER, "no connection")
        assert bench.journal.history(shot.scan.subject).unsure_until_utc_ms == 0, "it was never asked"


# --- across restarts ---------------------------------------------------------------------------------------


def test_an_ask_that_a_crash_cut_short_leaves_a_doubt_and_its_late_yes_a_credit(
    data: Path, link: FakeLink
) -> None:
    with asking(data, link) as bench:
        scan = ask(bench, link)
        bench.crash()
        bench.settle()
        (doubt,) = [row for _, row, _ in bench.rows() if row.kind == "unsettled"]
        assert (doubt.scan, doubt.lane, doubt.movement and doubt.movement.act) == (scan, "north", Act.UNSURE)
        answer(bench, ask(bench, link), Verdict.USED)
        assert bench.verdicts()[-1] is Verdict.CALL_STAFF
        bench.crash()
        bench.settle()
        assert [row.kind for _, row, _ in bench.rows()].count("unsettled") == 1, "said once"
        answer(bench, scan, Verdict.ADMITTED)
        assert bench.enter("V1").verdict is Verdict.ADMITTED_CREDIT
        answer(bench, scan, Verdict.ADMITTED)
        bench.crash()
        answer(bench, scan, Verdict.ADMITTED)
        ask(bench, link)
        assert len(link.asks) == 3, "no second credit"


def test_a_late_yes_after_a_crash_to_a_scan_that_policy_had_opened_ends_the_doubt(
    data: Path, link: FakeLink
) -> None:
    with asking(data, link, OPEN) as bench:
        scan = ask(bench, link)
        bench.let_time_pass(VENDOR.deadline_ms)
        bench.settle()
        assert bench.state() == "Open"
        bench.crash()
        bench.settle()
        answer(bench, scan, Verdict.ADMITTED)
        late = bench.rows()[-1].row
        assert (late.kind, late.movement and late.movement.act) == ("late", Act.SURE)
        history = bench.journal.history(late.movement.subject if late.movement else "")
        assert (history.credit, history.outer.entries) == (None, 1)


def test_an_ask_that_was_answered_leaves_no_doubt_after_a_restart(data: Path, link: FakeLink) -> None:
    with asking(data, link) as bench:
        answer(bench, ask(bench, link), Verdict.USED)
        bench.restart()
        bench.settle()
        assert "unsettled" not in [row.kind for _, row, _ in bench.rows()]


def test_a_late_answer_to_a_lane_that_is_gone_is_written_and_changes_nothing(
    data: Path, link: FakeLink
) -> None:
    with asking(data, link) as bench:
        scan = ask(bench, link, lane="south")
        bench.setups = (SETUP,)
        bench.crash()
        bench.settle()
        answer(bench, scan, Verdict.ADMITTED)
        assert bench.rows()[-1].row.text == "answer to no ask"


def test_asks_of_long_ago_are_not_remembered(data: Path, link: FakeLink) -> None:
    with asking(data, link) as bench:
        ask(bench, link)
        bench.let_time_pass(VENDOR.deadline_ms)
        bench.settle()
        bench.time.advance(ASK_MS_MAX + 1)
        bench.enter("A")
        bench.restart()
        assert len(bench.gate._asks) == 0


def stored_rows(data: Path) -> list[Stored]:
    with RowReader(data / "journal") as reader:
        return list(reader.all())
