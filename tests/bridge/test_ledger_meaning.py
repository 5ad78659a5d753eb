"""What follows from rows: admissions, work for vendors, movements, true times, double admissions."""

from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path

import pytest

from firmware.bridge import schema
from firmware.bridge.ledger import UNTIMED_MS_MAX
from firmware.core.movements import Act, Movement
from firmware.core.ticket import Perimeter, Reentry, Route, Verdict
from firmware.row import Row
from tests.bridge.asked_lane import OPEN, AskedLane
from tests.bridge.model_gate import VENDOR_DECIDES, Books, Kept, ModelGate, books
from tests.core.samples import IN, INNER, NOON_MS, OUT, OUTER, SETUP

pytestmark = pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Books]:
    with books(tmp_path) as found:
        yield found


def work_of(kept: Books) -> list[tuple[str, str]]:
    """Subject and state of all that a vendor is to be told of."""
    return [(line.subject, line.state) for line in kept.lines(schema.work)]


# --- admissions and work --------------------------------------------------------------------------


def test_an_admission_is_kept_with_all_that_a_vendor_needs(kept: Books) -> None:
    gate = ModelGate()
    entry = gate.admit("acme:t1", code="SECRET", reentry=Reentry.AFTER_EXIT)
    kept.store(gate)
    (line,) = kept.lines(schema.admission)
    assert entry.row is not None
    assert (line.row, line.digest) == (entry.number, entry.digest)
    assert (line.lane, line.subject, line.account, line.code) == ("north", "acme:t1", "acme", "SECRET")
    assert (line.event, line.session, line.direction) == ("gala", "night", "in")
    assert (line.perimeters, line.verdict, line.reentry) == ("outer", "admitted", "after_exit")
    assert (line.utc_ms, line.state) == (entry.row.moment.utc_ms, "open")
    assert work_of(kept) == []


@pytest.mark.parametrize(
    ("act", "kind", "told"),
    [
        (Act.PASSED, "passage", True),
        (Act.SETTLED, "lapse", True),
        (Act.SETTLED, "unsettled", True),
        (Act.LAPSED, "lapse", False),
        (Act.VOIDED, "void", False),
    ],
)
def test_a_vendor_is_told_of_settled_admissions_only(kept: Books, act: Act, kind: str, told: bool) -> None:
    gate = ModelGate()
    entry = gate.admit()
    gate.settle(entry, act, kind)
    gate.settle(entry, Act.SETTLED, "unsettled")
    kept.store(gate, 0, 2)
    kept.store(gate, 2)
    (line,) = kept.lines(schema.admission)
    assert line.state == ("settled" if told else "dropped")
    assert work_of(kept) == ([("acme:t1", "due")] if told else [])


def test_an_admission_that_the_vendor_decided_is_not_told_to_it(kept: Books) -> None:
    gate = ModelGate()
    gate.person("acme:t1", route=VENDOR_DECIDES, verdict=Verdict.ADMITTED_CREDIT)
    kept.store(gate)
    (line,) = kept.lines(schema.admission)
    assert (line.account, line.state, line.decided) == ("acme", "settled", "vendor")
    assert work_of(kept) == [("acme:t1", "done")], "so that the feed knows what the vendor knows"


@pytest.mark.parametrize(
    ("subject", "vendor", "account"),
    [
        ("acme:t1", "", "acme"),
        ("acme:t1", "other", "acme"),
        ("0123abcd", "other", "other"),
        ("local-7", "", None),
        ("0123abcd", "stranger", None),
        ("stranger:t1", "acme", None),
    ],
)
def test_a_ticket_tells_its_account_and_else_the_route_does(
    kept: Books, subject: str, vendor: str, account: str | None
) -> None:
    gate = ModelGate()
    gate.person(subject, route=Route(vendor))
    kept.store(gate)
    assert [line.account for line in kept.lines(schema.work)] == ([account] if account else [])


def test_an_admission_without_its_story_is_told_by_its_ticket(kept: Books) -> None:
    gate = ModelGate()
    movement = Movement(Act.OPENED, "acme:t1", gate.next_row, IN, (OUTER,), NOON_MS)
    opened = gate.write(Row("fault", "north", gate.moment, movement=movement, text="spoilt"))
    gate.settle(opened)
    kept.store(gate)
    assert work_of(kept) == [("acme:t1", "due")]


def test_a_settlement_of_an_admission_that_nobody_has_is_reported(kept: Books) -> None:
    gate = ModelGate()
    entry = gate.admit()
    gate.settle(entry)
    kept.store(gate, 2, cursor=2)
    assert work_of(kept) == []
    assert len(kept.reports("unknown_admission")) == 1


# --- movements ------------------------------------------------------------------------------------


def test_every_own_movement_gets_a_change_number_in_the_order_of_the_rows(kept: Books) -> None:
    gate = ModelGate()
    gate.person()
    doubt = Movement(Act.UNSURE, "acme:t2", 0, IN, (OUTER,), NOON_MS, until_utc_ms=NOON_MS + 1)
    gate.write(Row("answer", "north", gate.moment, 1, Verdict.NO_ANSWER, doubt))
    assert kept.store(gate).movements_upto == 3
    found = [(line.number, line.row, line.act) for line in kept.lines(schema.movement)]
    acts = ("opened", "passed", "unsure")
    assert found == [(at, gate.rows[at].number, act) for at, act in enumerate(acts, 1)]


def test_movements_heard_from_elsewhere_are_not_derived_from(kept: Books) -> None:
    gate = ModelGate()
    heard = Movement(Act.OPENED, "acme:t1", -77, IN, (OUTER,), NOON_MS)
    gate.write(Row("noted", "", gate.moment, movement=heard))
    gate.write(Row("noted", "", gate.moment, movement=heard._replace(act=Act.PASSED)))
    gate.write(Row("noted", "", gate.moment, movement=heard._replace(act=Act.NOTED, row=5)))
    gate.write(Row("fault", "", gate.moment, movement=heard, text="spoilt"))
    stored = kept.store(gate)
    assert stored.movements_upto == 0
    assert kept.lines(schema.movement) == kept.lines(schema.admission) == []


# --- true times -----------------------------------------------------------------------------------


def untrusted_gate() -> tuple[ModelGate, Kept]:
    gate = ModelGate(trusted=False)
    return gate, gate.person()


def learn(gate: ModelGate) -> None:
    gate.trusted = True
    gate.write(Row("clock", "", gate.moment, text="trusted"))


def true_ms(gate: ModelGate, admission: Kept) -> int:
    assert admission.row is not None
    return gate.boot_ms + admission.row.moment.monotonic_ms


def test_times_of_a_boot_are_restated_once_its_clock_is_known(kept: Books) -> None:
    gate, entry = untrusted_gate()
    kept.store(gate)
    assert work_of(kept) == [("acme:t1", "untimed")]
    assert kept.ledger.claim("acme", "w", NOON_MS, 5, 1000) == []
    learn(gate)
    kept.store(gate, 3)
    (line,) = kept.lines(schema.work)
    assert (line.state, line.at_utc_ms) == ("due", true_ms(gate, entry))
    gate.trusted = False
    later = gate.person("acme:t2")
    kept.store(gate, 4)
    assert [line.at_utc_ms for line in kept.lines(schema.work)] == [
        true_ms(gate, entry),
        true_ms(gate, later),
    ]
    assert kept.kinds() == []


def test_rows_and_their_clock_may_come_in_one_batch(kept: Books) -> None:
    gate, entry = untrusted_gate()
    open_still = gate.admit("acme:t2")
    learn(gate)
    gate.settle(open_still)
    kept.store(gate)
    found = [(line.state, line.at_utc_ms) for line in kept.lines(schema.work)]
    assert found == [("due", true_ms(gate, entry)), ("due", true_ms(gate, open_still))]


def test_what_the_next_start_settles_has_the_time_of_its_own_boot(kept: Books) -> None:
    gate = ModelGate(trusted=False)
    entry = gate.admit()
    learn(gate)
    boot_ms = gate.boot_ms
    gate.boot_ms += 7_000_000
    gate.start()
    gate.settle(entry, Act.SETTLED, "unsettled")
    for at in range(len(gate.rows)):
        kept.store(gate, at, at + 1)
    (line,) = kept.lines(schema.work)
    assert entry.row is not None
    assert (line.state, line.at_utc_ms) == ("due", boot_ms + entry.row.moment.monotonic_ms)


def test_a_boot_that_ends_without_a_clock_is_told_as_stated_and_reported(kept: Books) -> None:
    gate, entry = untrusted_gate()
    unsettled = gate.admit("acme:t2")
    kept.store(gate)
    gate.start()
    gate.settle(unsettled, Act.SETTLED, "unsettled")
    kept.store(gate, 4)
    assert work_of(kept) == [("acme:t1", "due"), ("acme:t2", "due")]
    assert entry.row is not None
    assert kept.lines(schema.work)[0].at_utc_ms == entry.row.moment.utc_ms
    (text,) = kept.reports("untimed")
    assert "start 1" in text


def test_a_vendor_waits_a_quarter_of_an_hour_for_a_clock_and_no_longer(kept: Books) -> None:
    gate, _ = untrusted_gate()
    kept.store(gate)
    assert kept.ledger.release_untimed(NOON_MS + UNTIMED_MS_MAX - 1) == ()
    assert work_of(kept) == [("acme:t1", "untimed")]
    (text,) = kept.ledger.release_untimed(NOON_MS + UNTIMED_MS_MAX)
    assert "gate east" in text
    assert work_of(kept) == [("acme:t1", "due")]
    assert kept.ledger.release_untimed(NOON_MS + UNTIMED_MS_MAX) == ()


def test_the_clock_of_one_gate_says_nothing_of_another(kept: Books) -> None:
    east, _ = untrusted_gate()
    west = ModelGate("west")
    west.person("acme:t9")
    kept.store(east)
    kept.store(west)
    assert work_of(kept) == [("acme:t1", "untimed"), ("acme:t9", "due")]


def test_without_the_first_row_of_a_boot_its_clock_counts_all_the_same(kept: Books) -> None:
    gate, entry = untrusted_gate()
    kept.store(gate, 1, cursor=1)
    learn(gate)
    kept.store(gate, 3)
    (line,) = kept.lines(schema.work)
    assert (line.state, line.at_utc_ms) == ("due", true_ms(gate, entry))


# --- double admissions ----------------------------------------------------------------------------


def gates_after(*names: str) -> Callable[[int], ModelGate]:
    gates = [ModelGate(name) for name in names]

    def at(index: int) -> ModelGate:
        """That gate, later than all that happened at any gate."""
        gate = gates[index]
        gate.at_ms = max(each.at_ms for each in gates) + 60_000
        return gate

    return at


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_double_admission_is_reported_once_in_whatever_order_it_comes(
    kept: Books, order: tuple[int, int]
) -> None:
    at = gates_after("east", "west")
    at(0).person()
    at(1).person()
    said = [text for index in order for text in kept.store(at(index)).reports]
    for index in order:
        kept.store(at(index))
    assert kept.reports("double") == said
    (text,) = said
    assert "acme:t1" in text
    assert "gate east, lane north, row 1.2, 2027-01-15 08:0" in text
    assert "gate west, lane north, row 1.2, 2027-01-15 08:0" in text


def test_each_pair_of_three_entries_is_reported_in_any_order(tmp_path: Path) -> None:
    at = gates_after("east", "west", "south")
    for index in range(3):
        at(index).person()
    found = []
    for attempt, order in enumerate(permutations(range(3))):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with books(folder) as kept:
            for index in order:
                kept.store(at(index))
            found.append(sorted(kept.reports("double")))
    assert len(found[0]) == 3
    assert all(each == found[0] for each in found)


def test_an_exit_in_between_makes_it_no_double_admission(kept: Books) -> None:
    at = gates_after("east", "west")
    at(0).person()
    at(0).person(direction=OUT)
    at(1).person()
    kept.store(at(1))
    kept.store(at(0))
    assert kept.kinds() == []


def test_an_exit_that_becomes_known_late_explains_what_was_reported(kept: Books) -> None:
    at = gates_after("east", "west", "south")
    at(0).person()
    at(1).person(direction=OUT)
    at(2).person()
    for index in (0, 2, 1, 1):
        kept.store(at(index))
    assert kept.kinds() == ["double", "explained"]
    (text,) = kept.reports("explained")
    assert "gate west" in text


@pytest.mark.parametrize("act", [Act.LAPSED, Act.VOIDED])
def test_an_admission_that_came_to_nothing_is_no_double(kept: Books, act: Act) -> None:
    at = gates_after("east", "west")
    at(0).person()
    gate = at(1)
    gate.settle(gate.admit(), act)
    kept.store(at(1))
    kept.store(at(0))
    assert kept.kinds() == []


def test_a_ticket_that_may_enter_without_end_is_never_double(kept: Books) -> None:
    at = gates_after("east", "west")
    for index in (0, 1):
        at(index).person(reentry=Reentry.UNLIMITED)
        kept.store(at(index))
    assert kept.kinds() == []


@pytest.mark.parametrize("rings", [(INNER,), (INNER, OUTER)])
def test_a_way_into_an_inner_ring_is_no_second_one_into_the_house(
    kept: Books, rings: tuple[Perimeter, ...]
) -> None:
    """The inner gate notes both rings where it has not heard yet that the ticket is in."""
    at = gates_after("east", "west")
    at(0).person()
    at(1).person(perimeters=rings)
    kept.store(at(0))
    kept.store(at(1))
    assert kept.kinds() == []


def test_whoever_comes_to_an_outer_lane_after_a_way_into_both_rings_is_reported(kept: Books) -> None:
    at = gates_after("east", "west", "south")
    at(0).person()
    at(0).person(direction=OUT)
    at(1).person(perimeters=(INNER, OUTER))
    at(2).person()
    for index in (2, 1, 0):
        kept.store(at(index))
    (text,) = kept.reports("double")
    assert "gate west" in text
    assert "gate south" in text


@pytest.mark.parametrize(("way_out", "said"), [((), 1), ((OUTER,), 0), ((INNER,), 0)])
@pytest.mark.parametrize("second", [(INNER,), (INNER, OUTER)])
def test_two_ways_into_an_inner_ring_are_a_double_unless_one_leads_out_in_between(
    kept: Books, second: tuple[Perimeter, ...], way_out: tuple[Perimeter, ...], said: int
) -> None:
    at = gates_after("east", "west", "south")
    at(0).person(perimeters=(INNER, OUTER))
    if way_out:
        at(1).person(direction=OUT, perimeters=way_out)
    at(2).person(perimeters=second)
    for index in (1, 2, 0):
        kept.store(at(index))
    assert len(kept.reports("double")) == said


def test_a_way_out_of_an_inner_ring_leaves_the_ticket_in_the_house(kept: Books) -> None:
    at = gates_after("east", "west", "south")
    at(0).person()
    at(1).person(direction=OUT, perimeters=(INNER,))
    at(2).person()
    for index in (0, 2, 1):
        kept.store(at(index))
    assert kept.kinds() == ["double"]


@pytest.mark.parametrize("vendor_says", [True, False])
def test_two_ways_into_an_inner_ring_that_the_vendor_let_in_are_no_double(
    kept: Books, vendor_says: bool
) -> None:
    """Its ring may have no way out that is scanned; without its word the gates' own rule counts."""
    at = gates_after("east", "west")
    for index in (0, 1):
        lane = AskedLane(at(index), SETUP._replace(perimeter=INNER))
        if vendor_says:
            lane.answer(lane.scan())
        else:
            lane.scan(OPEN._replace(reachable=False))
        lane.walk()
        kept.store(lane.gate)
    assert [line.state for line in kept.lines(schema.admission)] == ["settled"] * 2
    assert len(kept.reports("double")) == (0 if vendor_says else 1)


def test_within_one_journal_the_gate_itself_knew_what_it_did(kept: Books) -> None:
    gate = ModelGate()
    gate.person()
    gate.person()
    kept.store(gate)
    assert kept.kinds() == []


def test_one_ticket_in_both_branches_of_a_fork_is_a_double(kept: Books) -> None:
    gate = ModelGate()
    gate.person("acme:before")
    old = gate.copied()
    gate.person()
    old.start()
    old.at_ms += 60_000
    old.person()
    old.person("acme:before")
    kept.store(gate)
    kept.store(old)
    assert kept.kinds() == ["fork", "double"]


def test_the_true_time_counts_where_a_gate_had_none(kept: Books) -> None:
    """By its own clock the exit was in 1970, long before the entries."""
    at = gates_after("east", "west", "south")
    at(0).person()
    west = at(1)
    west.trusted = False
    west.start()
    west.person(direction=OUT)
    learn(west)
    at(2).person()
    for index in (1, 0, 2):
        kept.store(at(index))
    assert kept.kinds() == []


@pytest.mark.parametrize("ring", [OUTER, INNER])
def test_a_true_time_that_becomes_known_late_explains_what_was_reported(kept: Books, ring: Perimeter) -> None:
    at = gates_after("east", "west", "south")
    at(0).person(perimeters=(ring,))
    west = at(1)
    west.trusted = False
    west.start()
    west.person(direction=OUT, perimeters=(ring,))
    at(2).person(perimeters=(ring,))
    for index in (1, 0, 2):
        kept.store(at(index))
    assert kept.kinds() == ["double"]
    learn(west)
    kept.store(west, len(west.rows) - 1)
    assert kept.kinds() == ["double", "explained"]
