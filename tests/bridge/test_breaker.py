"""When a vendor is not worth asking, and when it is again."""

import pytest

from firmware.bridge.breaker import (
    FAILED_OF_WINDOW,
    FAILURES_IN_A_ROW,
    REST_S_MAX,
    REST_S_MIN,
    STEADY_S,
    Breaker,
)


class Desk:
    """A breaker with a clock of the test's."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.changes = 0
        self.breaker = Breaker(self._changed, lambda: self.now_s)

    def _changed(self) -> None:
        self.changes += 1

    def open(self) -> None:
        for _ in range(FAILURES_IN_A_ROW):
            self.breaker.failed("silent")


@pytest.fixture
def at() -> Desk:
    return Desk()


def test_it_opens_at_the_last_of_some_failures_in_a_row_and_says_why(at: Desk) -> None:
    for _ in range(FAILURES_IN_A_ROW - 1):
        at.breaker.failed("silent")
    assert not at.breaker.is_open
    assert at.breaker.trial_in_s() is None
    at.breaker.failed("silent")
    assert at.breaker.trial_in_s() == REST_S_MIN
    assert (at.breaker.why, at.changes, at.breaker.openings) == ("silent", 1, 1)
    at.breaker.failed("silent")
    assert at.changes == 1, "what was under way fails too, and is no news"


def test_whether_there_is_no_way_to_the_vendor_is_what_was_found_last(at: Desk) -> None:
    breaker = at.breaker
    for _ in range(FAILURES_IN_A_ROW - 1):
        breaker.failed("503")
    breaker.failed("nobody there", unreached=True)
    assert (breaker.unreached, at.changes) == (True, 1)
    breaker.tried("nobody there", unreached=True)
    assert (breaker.unreached, at.changes) == (True, 1), "gates need not hear the same again"
    breaker.tried("503")
    assert (breaker.unreached, at.changes) == (False, 2)
    breaker.tried("")
    assert (breaker.is_open, breaker.unreached, at.changes) == (False, False, 3)


def test_silence_that_turns_out_to_be_a_missing_way_is_one(at: Desk) -> None:
    at.open()
    assert not at.breaker.unreached
    at.breaker.out_of_reach()
    at.breaker.out_of_reach()
    assert (at.breaker.unreached, at.changes) == (True, 2)
    at.breaker.tried("")
    at.breaker.out_of_reach()
    assert (at.breaker.unreached, at.changes) == (False, 3), "nobody asks gates to go by it"


def test_an_answer_among_failures_keeps_it_closed_until_most_of_the_last_asks_failed(at: Desk) -> None:
    failures = 0
    while not at.breaker.is_open:
        at.breaker.failed("bad line")
        failures += 1
        if failures % 3 == 0:
            at.breaker.answered()
        assert failures < 100
    assert failures >= FAILED_OF_WINDOW


def test_answers_alone_never_open_it_and_one_failure_in_two_does_not(at: Desk) -> None:
    for _ in range(100):
        at.breaker.answered()
        at.breaker.failed("bad line")
    assert not at.breaker.is_open


def test_a_trial_that_is_answered_closes_it(at: Desk) -> None:
    at.open()
    assert at.breaker.trial_in_s() == REST_S_MIN
    at.now_s += REST_S_MIN
    assert at.breaker.trial_in_s() == 0.0
    at.breaker.tried("")
    assert (at.breaker.is_open, at.breaker.why, at.changes) == (False, "", 2)
    at.breaker.answered()
    for _ in range(FAILURES_IN_A_ROW - 1):
        at.breaker.failed("once more")
    assert not at.breaker.is_open, "old failures are forgotten"


def test_after_a_trial_one_failure_opens_it_again_for_a_trial_asks_no_ticket(at: Desk) -> None:
    at.open()
    at.breaker.tried("")
    at.breaker.failed("asks are silent")
    assert (at.breaker.is_open, at.breaker.why, at.breaker.openings) == (True, "asks are silent", 2)
    assert at.breaker.trial_in_s() == 2 * REST_S_MIN


def test_trials_that_fail_come_later_and_later_up_to_a_bound(at: Desk) -> None:
    at.open()
    rests = []
    for _ in range(8):
        at.now_s += at.breaker.trial_in_s() or 0.0
        at.breaker.tried("still silent")
        rests.append(at.breaker.trial_in_s())
    assert rests[:3] == [2.0, 4.0, 8.0]
    assert rests[-1] == REST_S_MAX
    assert at.breaker.why == "still silent"


def test_a_vendor_that_asks_to_be_left_alone_is_not_tried_before(at: Desk) -> None:
    for _ in range(FAILURES_IN_A_ROW):
        at.breaker.failed("429", 30.0)
    assert at.breaker.trial_in_s() == 30.0
    at.now_s += 30.0
    at.breaker.tried("429", 60.0)
    assert at.breaker.trial_in_s() == 60.0


def test_where_no_ask_may_go_it_opens_at_the_first(at: Desk) -> None:
    at.breaker.failed("503", 30.0, at_once=True)
    assert (at.breaker.is_open, at.breaker.why, at.changes) == (True, "503", 1)
    assert at.breaker.trial_in_s() == 30.0


def test_one_that_falters_again_soon_rests_longer_and_a_steady_one_as_little_as_at_first(at: Desk) -> None:
    at.open()
    at.breaker.tried("")
    at.open()
    assert at.breaker.trial_in_s() == 2 * REST_S_MIN
    at.breaker.tried("")
    at.now_s += STEADY_S
    at.open()
    assert at.breaker.trial_in_s() == REST_S_MIN


def test_a_trial_of_a_closed_one_changes_nothing(at: Desk) -> None:
    at.breaker.tried("why")
    assert (at.breaker.is_open, at.changes) == (False, 0)
