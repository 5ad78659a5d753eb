"""What an ask waits for that is no answer of the vendor: our own line, and a rest that it asked for."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from firmware import wire
from firmware.bridge.breaker import FAILURES_IN_A_ROW
from firmware.bridge.vendor import Told
from firmware.core.ticket import Direction
from tests.bridge.oracle import OracleServer
from tests.bridge.test_asking import SHORT_MS, Clock, Counter
from tests.brokers import until
from tests.core.samples import NOON_MS


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


@pytest.fixture
def oracle(stack: ExitStack) -> OracleServer:
    return stack.enter_context(OracleServer())


def test_what_stands_in_our_own_line_until_its_time_is_over_tells_nothing_of_the_vendor(
    stack: ExitStack, oracle: OracleServer
) -> None:
    at = Counter(stack, oracle.url, rate=0.1, line=Clock())
    for scan in range(2 * FAILURES_IN_A_ROW):
        at.ask(scan, left_ms=1_000)
    at.answered(1)
    until(lambda: at.standing() == 2 * FAILURES_IN_A_ROW - 1)
    at.clock.ahead_s += 1
    answers = at.answered(2 * FAILURES_IN_A_ROW)
    assert len(oracle.asked) == 1
    waited = [answer for answer in answers if answer.word is wire.Word.UNANSWERED]
    assert len(waited) == 2 * FAILURES_IN_A_ROW - 1
    assert {(answer.text, answer.doubt) for answer in waited} == {
        ("acme: ask: not sent: too many requests are waiting", False)
    }
    assert not at.breaker.is_open
    (fault,) = at.faults.now()
    assert (fault.thing, fault.kind) == ("the rate of acme", "NoTurn")
    assert "ask_rate_max" in fault.text


def test_a_rate_that_is_too_low_is_a_fault_until_an_ask_need_not_stand_in_line(
    stack: ExitStack, oracle: OracleServer
) -> None:
    line = Clock()
    at = Counter(stack, oracle.url, rate=1, line=line)
    for scan in range(2):  # the burst
        at.ask(scan)
        at.answered(scan + 1)
    at.ask(2, left_ms=100)
    until(lambda: at.standing() == 1)
    at.clock.ahead_s += 1
    at.answered(3)
    assert len(at.faults.now()) == 1
    at.ask(3)
    until(lambda: at.standing() == 1)
    at.clock.ahead_s += 1
    line.ahead_s += 1
    at.answered(4)
    assert len(at.faults.now()) == 1, "it had its turn, but had to wait for it"
    line.ahead_s += 2
    at.ask(4)
    at.answered(5)
    assert at.faults.now() == []


def test_the_silence_that_follows_a_turn_in_that_line_counts(stack: ExitStack, oracle: OracleServer) -> None:
    line = Clock()
    at = Counter(stack, oracle.url, rate=5, line=line)
    for scan in range(4):  # after them there is room for two at once; the others have turns 200 ms apart
        at.ask(scan)
        at.answered(scan + 1)
    oracle.silent = True
    for scan in range(FAILURES_IN_A_ROW):
        at.ask(10 + scan, left_ms=2 * SHORT_MS)
    until(lambda: at.standing() == FAILURES_IN_A_ROW - 2)
    at.clock.ahead_s += SHORT_MS / 1000
    line.ahead_s += SHORT_MS / 1000
    until(lambda: oracle.under_way == FAILURES_IN_A_ROW)
    at.clock.run()
    until(lambda: at.breaker.is_open)
    assert len(at.answers) == 4, "it opens while the requests still wait"
    oracle.release.set()


def test_one_that_asks_to_be_left_alone_for_longer_than_people_wait_is_so_at_once_and_tried_when_that_is_over(
    stack: ExitStack, oracle: OracleServer
) -> None:
    line = Clock()
    at = Counter(stack, oracle.url, line=line)
    at.vendor.deadline_ms = 1_500
    at.ask(1, "rest")
    at.answered(1)
    assert (at.breaker.is_open, at.breaker.unreached, oracle.asked) == (True, False, ["rest"])
    at.ask(2)
    assert at.answered(2)[1].text == "answered 503"
    line.ahead_s += at.breaker.trial_in_s() or 0.0
    at.clock.ahead_s += at.breaker.trial_in_s() or 0.0
    at.asking.wake()
    until(lambda: not at.breaker.is_open)
    assert oracle.trials == 1
    at.ask(3)
    assert at.answered(3)[2].word is wire.Word.ACCEPTED


def test_and_so_it_is_where_it_was_asked_about_something_else(stack: ExitStack, oracle: OracleServer) -> None:
    at = Counter(stack, oracle.url, rest_s_max=3_600.0)
    at.vendor.deadline_ms = 1_500
    at.driver.run(at.vendor.tell([Told("", "rest", "", "", Direction.IN, NOON_MS, "north")]))
    at.ask(1)
    (answer,) = at.answered()
    assert (answer.doubt, oracle.asked, at.breaker.is_open) == (False, [], True)
    assert "left alone" in at.breaker.why


def test_a_rest_that_people_can_wait_for_is_one_failure_among_others(
    stack: ExitStack, oracle: OracleServer
) -> None:
    at = Counter(stack, oracle.url)
    at.vendor.deadline_ms = 1_500
    at.ask(1, "busy")
    at.answered(1)
    at.ask(2)
    assert at.answered(2)[1].word is wire.Word.ACCEPTED
    assert not at.breaker.is_open
