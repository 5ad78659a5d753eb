"""What each movement makes of a ticket's history."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core.movements import (
    PENDING_ELSEWHERE_MAX,
    Act,
    Movement,
    entered_utc_ms,
    entries,
    fold,
    inside,
    settle_at_start,
    walked_utc_ms,
)
from firmware.core.ticket import (
    NO_HISTORY,
    Credit,
    Direction,
    History,
    Pending,
    Perimeter,
    Spend,
    Track,
)
from tests.core.samples import IN, INNER, OUT, OUTER

OPENED = Movement(Act.OPENED, "t1", 7, IN, (OUTER,), 1000, Spend.PASSAGE)
PENDING = Pending(7, IN, (OUTER,), 1000, Spend.PASSAGE)
CREDITED = Movement(Act.CREDITED, "t1", 3, IN, (OUTER,), 1000, until_utc_ms=5000)
UNSURE = Movement(Act.UNSURE, "t1", 0, IN, (OUTER,), 1000, until_utc_ms=5000)


def history_of(*movements: Movement) -> History:
    return reduce(fold, movements, NO_HISTORY)


def test_an_admission_is_pending_and_counts_as_an_entry_and_as_inside() -> None:
    history = history_of(OPENED)
    assert history == History(pending=(PENDING,))
    assert (entries(history, OUTER), entries(history, INNER)) == (1, 0)
    assert (inside(history, OUTER), inside(history, INNER)) == (True, False)
    assert (entered_utc_ms(history, OUTER), entered_utc_ms(history, INNER)) == (1000, 0)


def test_an_admission_that_waits_since_long_at_another_gate_hides_no_later_entry() -> None:
    elsewhere = OPENED._replace(row=-3)
    later = OPENED._replace(utc_ms=90_000)
    history = history_of(elsewhere, later, later._replace(act=Act.PASSED))
    assert len(history.pending) == 1
    assert entered_utc_ms(history, OUTER) == 90_000
    assert entered_utc_ms(fold(history, OPENED._replace(row=8, utc_ms=95_000)), OUTER) == 95_000


@pytest.mark.parametrize("act", [Act.PASSED, Act.SETTLED])
def test_a_settled_entry_counts_from_the_moment_of_the_admission(act: Act) -> None:
    history = history_of(OPENED, OPENED._replace(act=act, utc_ms=3000))
    assert history == History(Track(1, IN, 1000), settled_row=7)
    assert (entries(history, OUTER), inside(history, OUTER)) == (1, True)
    assert entered_utc_ms(history, OUTER) == 1000


def test_a_settled_exit_counts_as_outside_and_keeps_the_entries() -> None:
    way_out = OPENED._replace(direction=OUT, row=8)
    before = history_of(OPENED, OPENED._replace(act=Act.PASSED))
    pending = fold(before, way_out)
    assert (entries(pending, OUTER), inside(pending, OUTER)) == (1, True)
    history = fold(pending, way_out._replace(act=Act.PASSED))
    assert history == History(Track(1, OUT, 1000, 1000), settled_row=8)
    assert walked_utc_ms(history, OUTER, OUT) == walked_utc_ms(pending, OUTER, OUT) == 1000
    assert walked_utc_ms(before, OUTER, OUT) == 0
    assert (entries(history, OUTER), inside(history, OUTER)) == (1, False)


def test_a_lapse_gives_the_ticket_back_and_is_counted_until_a_walk() -> None:
    once = history_of(OPENED, OPENED._replace(act=Act.LAPSED))
    assert once == History(lapses=1)
    again = OPENED._replace(row=8)
    assert reduce(fold, [again, again._replace(act=Act.LAPSED)], once) == History(lapses=2)
    walked = reduce(fold, [again, again._replace(act=Act.PASSED)], once)
    assert walked == History(Track(1, IN, 1000), settled_row=8)


def test_a_withdrawn_admission_leaves_nothing() -> None:
    assert history_of(OPENED, OPENED._replace(act=Act.VOIDED)) == NO_HISTORY


@pytest.mark.parametrize("act", [Act.PASSED, Act.SETTLED, Act.LAPSED, Act.VOIDED])
def test_an_end_without_its_admission_changes_nothing(act: Act) -> None:
    end = OPENED._replace(act=act)
    assert fold(NO_HISTORY, end) == NO_HISTORY
    ended = history_of(OPENED, end)
    assert fold(ended, end) == ended
    other = history_of(OPENED._replace(row=8))
    assert fold(other, end) == other


def test_two_admissions_are_settled_each_by_its_own_row() -> None:
    second = OPENED._replace(row=9, utc_ms=2000)
    both = history_of(OPENED, second)
    assert (entries(both, OUTER), entered_utc_ms(both, OUTER)) == (2, 2000)
    ended = reduce(fold, [second._replace(act=Act.PASSED), OPENED._replace(act=Act.VOIDED)], both)
    assert ended == History(Track(1, IN, 2000), settled_row=9)
    crossed = reduce(fold, [second._replace(act=Act.PASSED), OPENED._replace(act=Act.PASSED)], both)
    assert crossed.settled_row == 9


def test_an_inner_entry_may_count_at_both_perimeters() -> None:
    both = OPENED._replace(perimeters=(INNER, OUTER))
    history = history_of(both, both._replace(act=Act.PASSED))
    assert history == History(Track(1, IN, 1000), Track(1, IN, 1000), settled_row=7)
    way_out = OPENED._replace(direction=OUT, perimeters=(INNER,), row=8)
    history = reduce(fold, [way_out, way_out._replace(act=Act.PASSED)], history)
    assert (inside(history, INNER), inside(history, OUTER)) == (False, True)


def test_a_movement_elsewhere_counts_and_leaves_what_is_pending_here() -> None:
    noted = Movement(Act.NOTED, "t1", 0, OUT, (OUTER,), 2000)
    assert history_of(OPENED, noted) == History(Track(0, OUT, 0, 2000), pending=(PENDING,))
    earlier = history_of(noted, noted._replace(utc_ms=1500))
    assert earlier.outer.left_utc_ms == 2000, "what others tell may come late"
    assert fold(NO_HISTORY, noted._replace(direction=IN)) == History(Track(1, IN, 2000))


@pytest.mark.parametrize(("left_utc_ms", "counts"), [(1999, False), (2000, True)])
def test_a_way_out_heard_of_late_does_not_undo_a_later_entry(left_utc_ms: int, counts: bool) -> None:
    entered = OPENED._replace(row=8, utc_ms=2000)
    inside_now = history_of(entered, entered._replace(act=Act.PASSED))
    noted = Movement(Act.NOTED, "t1", 0, OUT, (OUTER,), left_utc_ms)
    there = OPENED._replace(row=-5, direction=OUT, utc_ms=left_utc_ms)
    for elsewhere in ([noted], [there, there._replace(act=Act.PASSED)]):
        assert inside(reduce(fold, elsewhere, inside_now), OUTER) is not counts
    own = there._replace(row=9)
    assert not inside(reduce(fold, [own, own._replace(act=Act.PASSED)], inside_now), OUTER)


def test_an_entry_heard_of_late_counts_and_does_not_make_the_last_one_older() -> None:
    entered = OPENED._replace(row=8, utc_ms=2000)
    inside_now = history_of(entered, entered._replace(act=Act.PASSED))
    noted = Movement(Act.NOTED, "t1", 0, IN, (OUTER,), 1000)
    assert fold(inside_now, noted).outer == Track(2, IN, 2000)


def test_an_admission_at_another_gate_is_settled_by_its_own_row_and_is_no_row_of_ours() -> None:
    there = OPENED._replace(row=-5)
    pending = history_of(there)
    assert inside(pending, OUTER)
    assert fold(pending, there._replace(act=Act.PASSED)) == History(Track(1, IN, 1000))


def test_more_open_admissions_elsewhere_than_a_ticket_can_have_count_as_walks_at_once() -> None:
    there = [OPENED._replace(row=-number, utc_ms=1000 + number) for number in range(1, 20_000)]
    full = history_of(OPENED, *there)
    assert len(full.pending) == 1 + PENDING_ELSEWHERE_MAX
    assert (entries(full, OUTER), inside(full, OUTER)) == (20_000, True)
    assert fold(full, there[-1]._replace(act=Act.LAPSED)) == full
    assert len(fold(full, OPENED._replace(row=8)).pending) == 2 + PENDING_ELSEWHERE_MAX
    ends = [movement._replace(act=Act.PASSED) for movement in there[:PENDING_ELSEWHERE_MAX]]
    assert reduce(fold, ends, full).pending == (PENDING,)


def test_a_credit_ends_the_doubt_and_is_used_by_the_admission_that_settles() -> None:
    credited = history_of(UNSURE, CREDITED)
    assert credited == History(credit=Credit(IN, 5000))
    assert fold(credited, OPENED).credit == Credit(IN, 5000)
    for unused in (Act.VOIDED, Act.LAPSED):
        assert reduce(fold, [OPENED, OPENED._replace(act=unused)], credited).credit == Credit(IN, 5000)
    for used in (Act.PASSED, Act.SETTLED):
        assert reduce(fold, [OPENED, OPENED._replace(act=used)], credited).credit is None


def test_a_credit_is_one_of_the_ring_that_was_asked_for() -> None:
    assert history_of(CREDITED._replace(perimeters=(INNER,))).credit == Credit(IN, 5000, INNER)


def test_a_doubt_ends_with_the_vendors_answer_or_a_settled_admission() -> None:
    assert history_of(UNSURE) == History(unsure_until_utc_ms=5000)
    assert history_of(UNSURE, UNSURE._replace(act=Act.SURE, until_utc_ms=0)) == NO_HISTORY
    assert history_of(UNSURE, OPENED).unsure_until_utc_ms == 5000
    assert history_of(UNSURE, OPENED, OPENED._replace(act=Act.LAPSED)).unsure_until_utc_ms == 5000
    assert history_of(UNSURE, OPENED, OPENED._replace(act=Act.SETTLED)).unsure_until_utc_ms == 0
    assert history_of(UNSURE, OPENED._replace(until_utc_ms=6000)).unsure_until_utc_ms == 6000
    assert history_of(UNSURE, OPENED._replace(until_utc_ms=4000)).unsure_until_utc_ms == 5000


def test_the_doubt_about_two_asks_ends_with_the_answer_to_the_first() -> None:
    first, second = UNSURE._replace(row=7), UNSURE._replace(row=9, utc_ms=2000, until_utc_ms=6000)
    doubted = history_of(first, second)
    assert doubted == History(unsure_until_utc_ms=6000, unsure_row=7)
    assert history_of(first, second, second._replace(act=Act.SURE)) == doubted
    assert history_of(first, second, first._replace(act=Act.SURE)) == NO_HISTORY
    later = second._replace(utc_ms=5000, until_utc_ms=9000)
    assert history_of(first, later) == History(unsure_until_utc_ms=9000, unsure_row=9), "the first is over"
    admitted = history_of(first, OPENED, OPENED._replace(act=Act.SETTLED))
    assert (admitted.unsure_until_utc_ms, admitted.unsure_row) == (0, 0)


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("spend", Spend)
def test_a_way_in_that_a_crash_left_counts_as_used_and_a_way_out_is_dropped(
    direction: Direction, spend: Spend
) -> None:
    pending = PENDING._replace(direction=direction, spend=spend)
    end = settle_at_start("t1", pending)
    dropped = direction is OUT
    assert end == Movement(Act.VOIDED if dropped else Act.SETTLED, "t1", 7, direction, (OUTER,), 1000, spend)
    after = fold(History(pending=(pending,)), end)
    assert after.pending == ()
    assert after.outer.last is (None if dropped else direction)


movements = st.builds(
    Movement,
    st.sampled_from(Act),
    st.just("t1"),
    st.integers(1, 4),
    st.sampled_from(Direction),
    st.sampled_from([(OUTER,), (INNER,), (INNER, OUTER)]),
    st.integers(1, 100),
    st.sampled_from(Spend),
    st.integers(0, 100),
)


@given(st.lists(movements, max_size=20))
def test_settling_any_past_at_the_start_leaves_nothing_pending_and_adds_no_entry(
    past: list[Movement],
) -> None:
    history = history_of(*past)
    settled = reduce(fold, [settle_at_start("t1", p) for p in history.pending], history)
    assert settled.pending == ()
    for perimeter in Perimeter:
        assert entries(settled, perimeter) <= entries(history, perimeter)
