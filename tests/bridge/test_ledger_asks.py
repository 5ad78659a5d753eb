"""What the ledger makes of scans that a vendor decides: who is told of what, and what a person hears."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.aftermath import Doubt
from firmware.asks import Asked
from firmware.bridge import schema
from firmware.bridge.feed import Feed
from firmware.bridge.ledger import Claimed, Ledger
from firmware.bridge.ledger.credits import CREDIT_MS_MAX, ROWS_MS
from firmware.bridge.ledger.derive import UNANSWERED_MS
from firmware.bridge.vendor import Accepted, Refused, Unsure, VendorTicket
from firmware.core.movements import Act
from firmware.core.ticket import Route, Spend, Verdict
from firmware.row import decode
from tests.bridge.asked_lane import BY_LIST, CLOSED, OPEN, AskedLane
from tests.bridge.feeds import KEY
from tests.bridge.model_gate import ACCOUNTS, VENDOR_DECIDES, VENUE, Books, ModelGate, books
from tests.core.samples import IN, INNER, NOON_MS, OUT, SETUP

pytestmark = pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL

LATER_MS = NOON_MS + UNANSWERED_MS


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Books]:
    with books(tmp_path) as found:
        yield found


@pytest.fixture
def at() -> AskedLane:
    return AskedLane(ModelGate())


def claim(kept: Books, now_ms: int = NOON_MS) -> list[Claimed]:
    return kept.ledger.claim("acme", "w", now_ms, 10, 1000)


def work(kept: Books) -> list[tuple[str, str, str]]:
    return [(line.state, line.result, line.verdict) for line in kept.lines(schema.work)]


def test_the_vendor_is_not_told_of_what_it_let_in_itself(kept: Books, at: AskedLane) -> None:
    at.answer(at.scan())
    at.walk()
    kept.store(at.gate)
    assert work(kept) == [("done", "accepted", "")]
    assert claim(kept, LATER_MS) == []
    assert kept.ledger.outcomes_to_tell("w", NOON_MS, 10) == []
    assert [line.act for line in kept.lines(schema.movement)] == [Act.OPENED, Act.PASSED]


def test_what_policy_let_in_after_an_ask_that_never_left_is_told_with_the_code_of_the_ask(
    kept: Books, at: AskedLane
) -> None:
    at.answer(at.scan(OPEN), Verdict.NO_ANSWER)
    at.walk()
    kept.store(at.gate)
    (one,) = claim(kept)
    assert (one.told.code, one.told.doubt) == ("CODE", False)


def test_what_policy_let_in_after_an_ask_is_told_with_the_time_of_the_scan(
    kept: Books, at: AskedLane
) -> None:
    scan = at.scan(OPEN)
    (asked,) = [each for each in at.gate.rows if each.number == scan]
    at.answer(scan, Verdict.NO_ANSWER)
    at.walk()
    kept.store(at.gate)
    (one,) = claim(kept)
    assert one.told.at_utc_ms == decode(asked.body).moment.utc_ms


@pytest.mark.parametrize("trusted", [True, False])
def test_an_ask_of_a_gate_without_a_clock_is_looked_up_as_one_that_named_another_time(
    kept: Books, trusted: bool
) -> None:
    at = AskedLane(ModelGate(trusted=trusted))
    at.scan()
    at.silence()
    at.gate.trusted = True  # and what the gate wrote before is corrected
    at.answer(at.scan())
    kept.store(at.gate)
    (one,) = claim(kept, LATER_MS)
    assert (one.told.unanswered, one.told.untrusted) == (True, not trusted)


def test_what_policy_let_in_without_asking_is_told_with_its_own_time(kept: Books, at: AskedLane) -> None:
    at.scan(OPEN._replace(reachable=False))
    at.walk()
    kept.store(at.gate)
    (line,) = kept.lines(schema.admission)
    (one,) = claim(kept)
    assert line.verdict == Verdict.ADMITTED_OFFLINE
    assert (one.told.at_utc_ms, one.told.doubt, one.told.unanswered) == (line.utc_ms, False, False)


@pytest.mark.parametrize("route", [BY_LIST, OPEN])
def test_what_policy_let_in_after_an_ask_is_told_with_doubt(
    kept: Books, at: AskedLane, route: object
) -> None:
    at.scan(BY_LIST if route is BY_LIST else OPEN)
    at.silence()
    at.walk()
    kept.store(at.gate)
    assert [one.told.doubt for one in claim(kept)] == [True]


def test_an_ask_that_was_certainly_not_sent_brings_no_doubt(kept: Books, at: AskedLane) -> None:
    at.answer(at.scan(OPEN), Verdict.NO_ANSWER)
    at.walk()
    kept.store(at.gate)
    assert [one.told.doubt for one in claim(kept)] == [False]


def test_a_refusal_is_nobodys_business(kept: Books, at: AskedLane) -> None:
    at.answer(at.scan(), Verdict.USED)
    kept.store(at.gate)
    assert kept.lines(schema.admission) == []
    assert work(kept) == []


@pytest.mark.parametrize("late", [False, True])
def test_but_one_that_may_be_about_an_ask_of_our_own_is_looked_up(
    kept: Books, at: AskedLane, late: bool
) -> None:
    scan = at.scan()
    if late:
        at.silence()
    at.answer(scan, Verdict.CALL_STAFF, doubt=True)
    kept.store(at.gate)
    (one,) = claim(kept, LATER_MS)
    assert (one.told.unanswered, one.told.doubt, one.told.code) == (True, True, "CODE")


def unanswered(at: AskedLane) -> int:
    scan = at.scan(CLOSED)
    at.silence()
    return scan


def test_an_ask_without_an_answer_is_looked_up_later_and_never_told(kept: Books, at: AskedLane) -> None:
    unanswered(at)
    kept.store(at.gate)
    assert claim(kept, LATER_MS - 1) == []
    (one,) = claim(kept, LATER_MS)
    assert (one.told.unanswered, one.told.doubt, one.told.refused) == (True, True, False)
    assert (one.told.code, one.told.ticket_id, one.told.session) == ("CODE", "t1", "night")


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("subject", ["acme:t1", "0123abcd"])
def test_so_is_one_whose_gate_died_before_an_answer(kept: Books, subject: str, split: bool) -> None:
    at = AskedLane(ModelGate(), subject=subject)
    scan = at.scan(CLOSED)
    if split:
        kept.store(at.gate)
    before = len(at.gate.rows) if split else 0
    at.gate.start()
    asked = Asked("north", subject, IN, "", NOON_MS, b"digest", opened=False)
    at.gate.write(Doubt(scan, SETUP, asked).row(at.gate.moment))
    kept.store(at.gate, before)
    (one,) = claim(kept, LATER_MS)
    assert (one.told.unanswered, one.told.code, one.told.session) == (True, "CODE", "night")


def test_an_ask_that_nobody_can_look_up_is_reported_once(kept: Books, at: AskedLane) -> None:
    unanswered(at)
    kept.store(at.gate)
    claimed = claim(kept, LATER_MS)
    for _ in range(2):
        kept.ledger.finish([(one, Unsure("no way to look")) for one in claimed], LATER_MS)
        kept.store(at.gate)
    assert len(kept.reports("uncertain")) == 1
    assert "no way to look" in kept.reports("uncertain")[0]
    assert kept.ledger.outcomes_to_tell("w", LATER_MS, 10) == [], "its gate knows that there was no answer"


def test_one_that_was_not_carried_out_is_no_report(kept: Books, at: AskedLane) -> None:
    unanswered(at)
    kept.store(at.gate)
    kept.ledger.finish([(one, Refused(Verdict.NO_ANSWER)) for one in claim(kept, LATER_MS)], LATER_MS)
    assert kept.kinds() == []


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("verdict", [Verdict.ADMITTED, Verdict.USED])
def test_a_late_answer_spares_the_look(kept: Books, at: AskedLane, split: bool, verdict: Verdict) -> None:
    scan = unanswered(at)
    if split:
        kept.store(at.gate)
    before = len(at.gate.rows) if split else 0
    at.answer(scan, verdict)
    kept.store(at.gate, before)
    assert claim(kept, LATER_MS) == []
    assert kept.kinds() == []


@pytest.mark.parametrize("looked_up", [False, True])
def test_a_late_yes_that_nobody_used_is_reported_once_it_is_good_no_more(
    kept: Books, at: AskedLane, looked_up: bool
) -> None:
    scan = unanswered(at)
    kept.store(at.gate)
    if looked_up:
        kept.ledger.finish([(one, Accepted("found")) for one in claim(kept, LATER_MS)], LATER_MS)
    at.answer(scan)
    kept.store(at.gate)
    over_ms = NOON_MS + SETUP.credit_ms + ROWS_MS
    assert kept.ledger.report_unused(over_ms - 1) == ()
    (text,) = kept.ledger.report_unused(over_ms)
    assert "ticket t1: the vendor said yes and counts it, and the lane did not open" in text
    assert kept.ledger.report_unused(over_ms) == ()
    assert (work(kept), kept.lines(schema.credit)) == ([("done", "accepted", "")], [])


@pytest.mark.parametrize("walked", [False, True])
@pytest.mark.parametrize("route", [CLOSED, OPEN._replace(reachable=False)])
def test_one_that_let_somebody_in_at_any_gate_is_not(
    kept: Books, at: AskedLane, route: Route, walked: bool
) -> None:
    at.answer(unanswered(at))
    other = AskedLane(ModelGate("west"))
    if route is CLOSED:
        other.history = at.history
    other.scan(route)
    if walked:
        other.walk()
    for each in (at, other):
        kept.store(each.gate)
    assert [line.verdict.partition("_")[0] for line in kept.lines(schema.admission)] == ["no", "admitted"]
    assert kept.ledger.report_unused(NOON_MS + CREDIT_MS_MAX + ROWS_MS) == ()
    assert kept.kinds() == []


def test_nor_is_one_of_an_ask_whose_ticket_came_in_before_the_answer(kept: Books, at: AskedLane) -> None:
    scan = unanswered(at)
    at.silence()
    at.scan(OPEN._replace(reachable=False))
    at.walk()
    at.answer(scan)
    kept.store(at.gate)
    assert kept.ledger.report_unused(NOON_MS + CREDIT_MS_MAX + ROWS_MS) == ()


def test_of_two_bridges_the_one_whose_clock_is_behind_reports_no_late_yes_too_early(kept: Books) -> None:
    at = AskedLane(ModelGate(), SETUP._replace(credit_ms=CREDIT_MS_MAX))
    at.answer(unanswered(at))
    kept.store(at.gate, now_utc_ms=NOON_MS + 60_000)
    assert kept.ledger.report_unused(NOON_MS) == ()


def test_a_clock_that_was_wrong_puts_off_no_report_of_a_late_yes(kept: Books, at: AskedLane) -> None:
    at.answer(unanswered(at))
    kept.store(at.gate, now_utc_ms=NOON_MS + 365 * 86_400_000)
    assert len(kept.ledger.report_unused(NOON_MS)) == 1


def test_who_comes_in_with_a_late_yes_is_known_to_the_vendor(kept: Books, at: AskedLane) -> None:
    at.answer(unanswered(at))
    at.silence()
    at.scan()
    at.walk()
    kept.store(at.gate)
    assert [line.verdict for line in kept.lines(schema.admission)] == ["no_answer", "admitted_credit"]
    assert claim(kept, LATER_MS) == []
    assert [state for state, _, _ in work(kept)] == ["done", "done"]


@pytest.mark.parametrize("walked_before", [False, True])
@pytest.mark.parametrize("split", [False, True])
def test_a_late_yes_settles_what_policy_let_in(
    kept: Books, at: AskedLane, walked_before: bool, split: bool
) -> None:
    scan = at.scan(BY_LIST)
    at.silence()
    if walked_before:
        at.walk()
    before = len(at.gate.rows) if split else 0
    if split:
        kept.store(at.gate)
    at.answer(scan, opened=True)
    if not walked_before:
        at.walk()
    kept.store(at.gate, before)
    assert work(kept) == [("done", "accepted", "")]


@pytest.mark.parametrize("walked_before", [False, True])
def test_what_the_vendor_refuses_too_late_is_never_uploaded(
    kept: Books, at: AskedLane, walked_before: bool
) -> None:
    scan = at.scan(OPEN)
    at.silence()
    if walked_before:
        at.walk()
    at.answer(scan, Verdict.BLOCKED, opened=True)
    if not walked_before:
        at.walk()
    kept.store(at.gate)
    assert work(kept) == [("done", "refused", "blocked")]
    assert claim(kept, LATER_MS) == []


@pytest.mark.parametrize("heard", [Verdict.ADMITTED, Verdict.BLOCKED])
@pytest.mark.parametrize("route", [BY_LIST, OPEN, CLOSED])
def test_an_answer_that_ends_the_wait_itself_because_the_time_is_up_is_a_late_one(
    kept: Books, at: AskedLane, route: Route, heard: Verdict
) -> None:
    scan = at.scan(route)
    at.now_ms += route.deadline_ms
    at.answer(scan, heard)
    if route is not CLOSED:
        at.walk()
    kept.store(at.gate)
    result = ("accepted", "") if heard.admits else ("refused", "blocked")
    assert work(kept) == [("done", *result)]
    assert claim(kept, LATER_MS) == []


def test_a_refusal_then_that_may_be_about_an_ask_of_our_own_leaves_the_doubt(
    kept: Books, at: AskedLane
) -> None:
    scan = at.scan(OPEN)
    at.now_ms += OPEN.deadline_ms
    at.answer(scan, Verdict.CALL_STAFF, doubt=True)
    at.walk()
    kept.store(at.gate)
    assert [one.told.doubt for one in claim(kept)] == [True]


def test_a_late_answer_comes_too_late_for_what_the_vendor_was_told(kept: Books, at: AskedLane) -> None:
    scan = at.scan(BY_LIST)
    at.silence()
    at.walk()
    kept.store(at.gate)
    kept.ledger.finish([(one, Accepted("told")) for one in claim(kept)], NOON_MS)
    before = len(at.gate.rows)
    at.answer(scan, Verdict.USED, opened=True)
    kept.store(at.gate, before)
    assert work(kept) == [("done", "accepted", "")]


@pytest.mark.parametrize("split", [False, True])
def test_a_yes_that_let_nobody_in_is_for_a_person_to_look_at(kept: Books, at: AskedLane, split: bool) -> None:
    at.answer(at.scan(spend=Spend.PASSAGE))
    before = len(at.gate.rows) if split else 0
    if split:
        kept.store(at.gate)
    at.silence()  # it locks
    at.silence()  # and nobody walked
    kept.store(at.gate, before)
    assert work(kept) == [("done", "uncertain", "")]
    (text,) = kept.reports("uncertain")
    assert "ticket t1: the vendor said yes and counts it, and the lane did not open" in text
    assert "undo it at the vendor" in text
    assert kept.ledger.outcomes_to_tell("w", NOON_MS, 10) == []
    before = len(at.gate.rows)
    at.scan()
    at.walk()
    kept.store(at.gate, before)
    assert [line.verdict for line in kept.lines(schema.admission)] == ["admitted", "admitted_credit"]
    assert work(kept)[1:] == [("done", "accepted", "")]
    assert claim(kept, LATER_MS) == []


def test_what_policy_let_in_after_a_silence_and_nobody_used_is_looked_up(kept: Books, at: AskedLane) -> None:
    at.scan(BY_LIST, spend=Spend.PASSAGE)
    for _ in range(3):  # the vendor is silent, the lane locks, and nobody walks
        at.silence()
    kept.store(at.gate)
    assert claim(kept, LATER_MS - 1) == []
    (one,) = claim(kept, LATER_MS)
    assert (one.told.unanswered, one.told.doubt, one.told.code) == (True, True, "CODE")


def test_a_vendor_that_was_not_asked_hears_nothing_of_an_opening_without_a_walk(
    kept: Books, at: AskedLane
) -> None:
    at.scan(OPEN._replace(reachable=False), spend=Spend.PASSAGE)
    for _ in range(2):
        at.silence()
    kept.store(at.gate)
    assert (work(kept), kept.kinds()) == ([], [])


def test_a_vendor_that_hears_no_exits_online_is_told_of_them(kept: Books) -> None:
    asked = Ledger(kept.database, VENUE, ACCOUNTS, exits=("acme",))
    for ledger, count in ((kept.ledger, 0), (asked, 1)):
        at = AskedLane(ModelGate("west" if count else "east"), subject=f"acme:t{count}")
        at.answer(at.scan(direction=OUT))
        at.silence()  # it locks
        at.silence()  # and nobody walked, which settles it
        ledger.store(at.gate.name, at.gate.batch(), NOON_MS)
        assert len(claim(kept)) == count


@pytest.mark.parametrize("settled", [False, True])
def test_a_way_out_that_was_looked_up_too_late_is_told_all_the_same(kept: Books, settled: bool) -> None:
    asked = Ledger(kept.database, VENUE, ACCOUNTS, exits=("acme",))
    at = AskedLane(ModelGate())
    scan = at.scan(BY_LIST, direction=OUT)
    at.silence()  # policy opens
    for _ in range(2 * settled):
        at.silence()
    at.answer(scan, opened=True, direction=OUT)
    for _ in range(2 * (not settled)):
        at.silence()
    asked.store(at.gate.name, at.gate.batch(), NOON_MS)
    assert [(one.told.direction, one.told.doubt) for one in claim(kept)] == [(OUT, False)]


def test_a_credit_that_let_somebody_in_is_the_vendors_yes_whatever_it_says_to_the_second_ask(
    kept: Books, at: AskedLane
) -> None:
    first = at.scan()
    for _ in range(2):  # of the vendor, and then the lane shows nothing any more
        at.silence()
    second = at.scan()
    at.answer(first)
    at.now_ms += 10_000  # the deadline is over when the word is handed over
    at.answer(second, Verdict.USED)
    at.walk()
    kept.store(at.gate)
    (line,) = [line for line in kept.lines(schema.admission) if line.state == "settled"]
    assert (line.verdict, line.decided) == (Verdict.ADMITTED_CREDIT, "vendor")
    assert ("done", "refused", Verdict.USED) not in work(kept)


def test_a_movement_within_the_house_is_told_only_to_who_knows_inner_lanes(kept: Books) -> None:
    inner = Ledger(kept.database, VENUE, ACCOUNTS, inner=("acme",))
    for ledger, count in ((kept.ledger, 0), (inner, 1)):
        gate = ModelGate("west" if count else "east")
        gate.person(f"acme:t{count}", perimeters=(INNER,))
        ledger.store(gate.name, gate.batch(), NOON_MS)
        assert [one.told.perimeter for one in claim(kept)] == [INNER] * count


def test_a_list_read_before_the_vendor_said_yes_does_not_undo_the_entry_that_it_let_in(kept: Books) -> None:
    at, feed = AskedLane(ModelGate()), Feed(kept.database, VENUE, KEY)
    at.answer(at.scan())
    at.walk()
    run = feed.begin_run("acme", True, NOON_MS - 1000)
    kept.store(at.gate)
    outside = VendorTicket("t1", "CODE", inside=False, moved_utc_ms=NOON_MS - 5000)
    feed.take(run, (outside,), NOON_MS)
    assert [line.act for line in kept.lines(schema.movement)] == [Act.OPENED, Act.PASSED]


def test_nor_does_a_list_bring_back_whoever_only_left_an_inner_ring(kept: Books) -> None:
    gate, feed = ModelGate(), Feed(kept.database, VENUE, KEY)
    gate.person("acme:t1")
    gate.person("acme:t1", direction=OUT, perimeters=(INNER,))
    kept.store(gate)
    kept.ledger.finish([(one, Accepted("told")) for one in claim(kept)], NOON_MS)
    run = feed.begin_run("acme", True, NOON_MS + 1000)
    feed.take(run, (VendorTicket("t1", "CODE", inside=True, moved_utc_ms=NOON_MS + 500),), NOON_MS + 2000)
    assert Act.NOTED not in [line.act for line in kept.lines(schema.movement)]


def test_a_way_in_past_an_inner_lane_alone_is_told_as_one_into_the_house(kept: Books) -> None:
    at = AskedLane(ModelGate(), SETUP._replace(perimeter=INNER))
    at.scan(VENDOR_DECIDES._replace(reachable=False, without_answer=OPEN.without_answer))
    at.walk()
    kept.store(at.gate)
    assert [one.told.perimeter for one in claim(kept)] == [INNER]


def test_an_ask_of_an_account_that_is_not_ours_is_no_work(kept: Books) -> None:
    at = AskedLane(ModelGate(), subject="stranger:t1")
    unanswered(at)
    kept.store(at.gate)
    assert work(kept) == []
