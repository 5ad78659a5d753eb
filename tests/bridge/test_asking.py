"""Asks of one account, over real HTTP: side by side, once each, in time or late, and not if it is no use."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import msgspec
import pytest

from firmware import wire
from firmware.bridge.asking import (
    AGAIN_MAX,
    AGAIN_S,
    ASKS_AT_ONCE,
    ASKS_WAITING_MAX,
    LEDGERLESS_S,
    Asking,
    always,
)
from firmware.bridge.breaker import FAILURES_IN_A_ROW, Breaker
from firmware.bridge.database import LedgerLost, NeverTaken
from firmware.bridge.driver import Driver
from firmware.bridge.vendor import Question, VendorTicket
from firmware.bridge.work import Faults
from firmware.core.ticket import Direction, Perimeter, Verdict
from firmware.demo.network import free_port
from tests.bridge.oracle import Oracle, OracleServer
from tests.brokers import until
from tests.core.samples import NOON_MS

LONG_MS, SHORT_MS = 60_000, 1_000  # the first is never over by itself; the second is worth a wait
LISTED = VendorTicket("t1", "yes")


class Clock:
    """Time that stands still until a test moves it, or lets it run: a machine may do so as well."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self._since_s: float | None = None

    def __call__(self) -> float:
        return self.ahead_s + (0.0 if self._since_s is None else time.monotonic() - self._since_s)

    def run(self) -> None:
        """From now on as by a clock on the wall."""
        self._since_s = time.monotonic()


class Counter:
    """Asks of a gate at one vendor, and all answers that were sent.

    The driver has `line` for its clock, where one is given.
    """

    def __init__(
        self,
        stack: ExitStack,
        url: str,
        name: str = "acme",
        rate: float = 1000,
        rest_s_max: float = 60.0,
        *,
        unreached_only: bool = False,
        line: Clock | None = None,
    ) -> None:
        self.vendor = Oracle(url)
        self.faults = Faults()
        self.answers: list[tuple[str, wire.Answer]] = []
        self.device: Mapping[str, str] | None = {"id": "7"}
        self.known = True
        self.looks: list[tuple[str, str]] = []
        self.ledger_fault: Exception | None = None
        self.clock = Clock()
        self.suspects: list[tuple[str, Perimeter]] = []
        self.first: Callable[[str, wire.Ask], bool] = always
        self.lock = threading.Lock()
        self.driver = stack.enter_context(
            Driver(
                name, self.vendor, rate, line or time.monotonic, connections_max=ASKS_AT_ONCE + 1,
                rest_s_max=rest_s_max,
            )
        )  # fmt: skip
        self.breaker = Breaker(self._turned, self.clock)
        self.asking = Asking(
            name, self.vendor, self.driver, self.breaker, self.faults, self._answer,
            self, lambda: NOON_MS + 5, self._first, self.clock,
            unreached_only=unreached_only, listed=self.look_up,
        )  # fmt: skip
        stack.enter_context(self.asking)

    def look_up(self, account: str, question: Question) -> VendorTicket | None:
        self.looks.append((account, question.ticket_id))
        if self.ledger_fault is not None:
            raise self.ledger_fault
        return LISTED

    def knows(self, gate: str) -> bool:
        return self.known

    def kept(self, gate: str, perimeter: Perimeter) -> Mapping[str, str] | None:
        return self.device

    def suspect(self, gate: str, perimeter: Perimeter) -> None:
        self.suspects.append((gate, perimeter))

    def _turned(self) -> None:
        self.asking.wake()

    def _first(self, gate: str, asked: wire.Ask) -> bool:
        return self.first(gate, asked)

    def _answer(self, gate: str, answer: wire.Answer) -> None:
        with self.lock:
            self.answers.append((gate, answer))

    def standing(self) -> int:
        """How many asks stand in our own line."""
        with self.asking._lock:
            due = [course for *_, key, course in self.asking._due if self.asking._known.get(key) is None]
        return sum(math.isinf(course.since_s) for course in due)

    def ask(self, scan: int, code: str = "yes", left_ms: int = LONG_MS, gate: str = "north") -> None:
        self.asking.take(gate, ask(scan, code, left_ms))

    def answers_only(self) -> list[wire.Answer]:
        """What was answered so far."""
        return [answer for _, answer in self.answers]

    def answered(self, count: int = 1) -> list[wire.Answer]:
        """All answers, once there are so many."""
        until(lambda: len(self.answers) >= count)
        return self.answers_only()


def ask(scan: int, code: str = "yes", left_ms: int = LONG_MS) -> wire.Ask:
    return wire.Ask(
        scan=scan, digest=b"d" * 16, account="acme", code=code, ticket_id="acme:t1", event="gala",
        session="night", direction=Direction.IN, perimeter=Perimeter.OUTER, at_utc_ms=NOON_MS,
        left_ms=left_ms,
    )  # fmt: skip


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


@pytest.fixture
def oracle(stack: ExitStack) -> OracleServer:
    return stack.enter_context(OracleServer())


@pytest.fixture
def at(stack: ExitStack, oracle: OracleServer) -> Counter:
    return Counter(stack, oracle.url)


def test_an_answer_is_the_vendors_word_for_that_scan(at: Counter) -> None:
    at.ask(1, "yes")
    at.answered(1)
    at.ask(2, "no")
    yes, no = at.answered(2)
    assert (yes.scan, yes.word, yes.verdict, yes.text) == (1, wire.Word.ACCEPTED, None, "come in")
    assert (no.scan, no.word, no.verdict, no.text) == (2, wire.Word.REFUSED, Verdict.USED, "was here")
    assert not no.doubt
    question, kept = at.vendor.questions[0]
    assert (question.ticket_id, question.event, question.gate, kept) == ("t1", "gala", "north", {"id": "7"})
    assert (at.asking.counts.asked, at.asking.counts.answered) == (2, 2)


def test_a_refusal_that_may_be_about_our_own_ask_says_so(at: Counter) -> None:
    at.ask(1, "no echo")
    (answer,) = at.answered()
    assert (answer.word, answer.verdict, answer.doubt) == (wire.Word.REFUSED, Verdict.USED, True)


def test_a_ticket_of_another_account_has_no_id_here(at: Counter) -> None:
    at.asking.take("north", msgspec.structs.replace(ask(1), ticket_id="other:t9"))
    at.answered()
    assert at.vendor.questions[0][0].ticket_id == ""


@pytest.mark.parametrize(("trusted", "true_utc_ms"), [(True, None), (False, NOON_MS + 5)])
def test_beside_a_time_that_is_not_trusted_a_vendor_hears_the_bridges_own(
    at: Counter, trusted: bool, true_utc_ms: int | None
) -> None:
    at.asking.take("north", msgspec.structs.replace(ask(1), trusted=trusted))
    at.answered()
    question = at.vendor.questions[0][0]
    assert (question.at_utc_ms, question.true_utc_ms) == (NOON_MS, true_utc_ms)


def test_a_vendor_that_compares_hears_what_the_list_has_of_the_ticket(at: Counter) -> None:
    at.ask(1)
    at.answered(1)
    at.vendor.compares = True
    at.ask(2)
    at.answered(2)
    assert [question.listed for question, _ in at.vendor.questions] == [None, LISTED]
    assert at.looks == [("acme", "t1")]


def test_without_a_ledger_nothing_is_known_as_listed_and_the_vendor_is_asked(at: Counter) -> None:
    at.vendor.compares = True
    at.ledger_fault = NeverTaken("an odd code")
    for scan in (1, 2):
        at.ask(scan)
        at.answered(scan)
    at.ledger_fault = LedgerLost("gone")
    for scan in (3, 4):
        at.ask(scan)
        at.answered(scan)
    assert len(at.looks) == 3, "one that was lost is not waited for again so soon"
    at.clock.ahead_s += LEDGERLESS_S
    at.ledger_fault = None
    at.ask(5)
    assert {answer.word for answer in at.answered(5)} == {wire.Word.ACCEPTED}
    assert [question.listed for question, _ in at.vendor.questions] == [None, None, None, None, LISTED]


def test_an_ask_that_comes_again_is_asked_once_and_answered_the_same(
    at: Counter, oracle: OracleServer
) -> None:
    at.ask(1, "slow no")
    until(lambda: oracle.asked)
    at.ask(1, "slow no")
    oracle.release.set()
    at.answered(1)
    at.ask(1, "slow no")
    first, again = at.answered(2)
    assert first == again
    assert oracle.asked == ["slow no"]
    at.ask(1, "yes", gate="south")
    at.answered(3)
    assert len(oracle.asked) == 2, "another gate's scan of the same number"


def test_asks_go_side_by_side(at: Counter, oracle: OracleServer) -> None:
    for scan in range(40):
        at.ask(scan, f"slow {scan}")
    until(lambda: oracle.under_way == 40)
    oracle.release.set()
    assert {answer.word for answer in at.answered(40)} == {wire.Word.ACCEPTED}


def test_a_vendor_that_hangs_holds_up_nothing_of_another(
    stack: ExitStack, at: Counter, oracle: OracleServer
) -> None:
    other = Counter(stack, stack.enter_context(OracleServer()).url, "other")
    for scan in range(2 * ASKS_AT_ONCE):
        at.ask(scan, "slow")
    until(lambda: oracle.under_way == ASKS_AT_ONCE)
    other.ask(1)
    assert other.answered()[0].word is wire.Word.ACCEPTED
    assert at.answers == []


def test_an_ask_whose_time_is_over_is_not_sent(at: Counter, oracle: OracleServer) -> None:
    at.ask(1, left_ms=0)
    (answer,) = at.answered()
    assert (answer.word, answer.doubt) == (wire.Word.UNANSWERED, False)
    assert oracle.asked == []


def test_nor_is_one_whose_time_went_by_in_the_queue(at: Counter, oracle: OracleServer) -> None:
    for scan in range(ASKS_AT_ONCE):
        at.ask(scan, "slow")
    until(lambda: oracle.under_way == ASKS_AT_ONCE)
    at.ask(999, "too late", left_ms=1)
    at.clock.ahead_s += 1
    oracle.release.set()
    at.answered(ASKS_AT_ONCE + 1)
    assert "too late" not in oracle.asked


def test_a_late_answer_is_told_all_the_same(at: Counter, oracle: OracleServer) -> None:
    at.ask(1, "slow", left_ms=SHORT_MS)
    until(lambda: oracle.under_way)
    at.clock.run()
    until(lambda: at.asking._overdue)
    oracle.release.set()
    (answer,) = at.answered()
    assert answer.word is wire.Word.ACCEPTED
    assert (at.asking.counts.late, at.asking.counts.answered) == (1, 0)


def test_what_cannot_be_carried_out_leaves_no_doubt_and_what_may_have_been_does(
    stack: ExitStack, oracle: OracleServer
) -> None:
    at = Counter(stack, oracle.url, line=Clock())
    nobody = Counter(stack, f"http://127.0.0.1:{free_port()}")
    nobody.ask(1)
    (not_sent,) = nobody.answered()
    assert (not_sent.word, not_sent.doubt, not_sent.unreached) == (wire.Word.UNANSWERED, False, True)
    at.vendor.deadline_ms = -6_900  # so that the request itself gives up after 100 ms
    at.ask(1, "slow")
    (lost,) = at.answered()
    assert (lost.word, lost.doubt, lost.unreached) == (wire.Word.UNANSWERED, True, False)


def test_too_many_asks_are_answered_at_once(at: Counter, oracle: OracleServer) -> None:
    for scan in range(ASKS_AT_ONCE + ASKS_WAITING_MAX + 1):
        at.ask(scan, "slow")
    assert at.answered()[0].text == "too many asks are waiting"
    oracle.release.set()
    at.answered(ASKS_AT_ONCE + ASKS_WAITING_MAX + 1)


# --- the breaker -------------------------------------------------------------------------------------------


def test_silence_opens_the_breaker_and_a_trial_closes_it(at: Counter, oracle: OracleServer) -> None:
    oracle.silent = True
    for scan in range(FAILURES_IN_A_ROW):
        at.ask(scan, left_ms=SHORT_MS)
    until(lambda: oracle.under_way == FAILURES_IN_A_ROW)
    at.clock.run()
    until(lambda: at.breaker.is_open)
    assert at.answers == [], "it opens while the requests still wait"
    at.ask(99, left_ms=SHORT_MS)
    (answer,) = at.answered()
    assert (answer.scan, answer.word, answer.doubt) == (99, wire.Word.UNANSWERED, False)
    assert "does not answer in time" in answer.text
    until(lambda: oracle.trials >= 2)
    assert at.breaker.is_open
    oracle.silent = False
    oracle.release.set()
    until(lambda: not at.breaker.is_open)
    at.ask(100)
    assert at.answered(FAILURES_IN_A_ROW + 2)[-1].word is wire.Word.ACCEPTED


@pytest.mark.parametrize("code", ["odd", "busy"])
def test_failures_open_it(at: Counter, code: str) -> None:
    for scan in range(FAILURES_IN_A_ROW):
        at.ask(scan, code)
        at.answered(scan + 1)
    assert at.breaker.is_open


@pytest.mark.parametrize("code", ["odd", "busy"])
def test_a_vendor_that_fails_was_reached(at: Counter, code: str) -> None:
    for scan in range(FAILURES_IN_A_ROW + 1):
        at.ask(scan, code)
        at.answered(scan + 1)
    assert at.breaker.is_open
    assert {answer.unreached for answer in at.answers_only()} == {False}
    sent, untried = [False] * FAILURES_IN_A_ROW, [True]
    assert [answer.untried for answer in at.answers_only()] == sent + untried


def test_a_vendor_that_failed_and_then_went_away_is_out_of_reach_once_a_trial_has_found_that(
    stack: ExitStack, oracle: OracleServer
) -> None:
    at = Counter(stack, oracle.url, unreached_only=True)
    for scan in range(FAILURES_IN_A_ROW):
        at.ask(scan, "odd")
        at.answered(scan + 1)
    assert (at.breaker.is_open, at.breaker.unreached) == (True, False)
    at.vendor.url = f"http://127.0.0.1:{free_port()}"
    at.clock.run()
    until(lambda: at.breaker.unreached)
    at.ask(100)
    assert at.answered(FAILURES_IN_A_ROW + 1)[-1].unreached
    assert at.breaker.openings == 1, "trials find nobody, and no ask was needed for that"
    at.vendor.url = oracle.url
    until(lambda: not at.breaker.is_open)
    at.ask(101)
    assert at.answered(FAILURES_IN_A_ROW + 2)[-1].word is wire.Word.ACCEPTED


@pytest.mark.parametrize("code", ["no", "no and broken", "key"])
def test_what_the_vendor_says_never_opens_it(at: Counter, code: str) -> None:
    for scan in range(30):
        at.ask(scan, code)
    assert {answer.word for answer in at.answered(30)} == {wire.Word.REFUSED}
    assert not at.breaker.is_open


def test_a_refusal_that_took_no_request_tells_nothing_of_the_vendor(
    at: Counter, oracle: OracleServer
) -> None:
    for scan in range(0, 2 * FAILURES_IN_A_ROW, 2):
        at.ask(scan, "known")
        at.answered(scan + 1)
        at.ask(scan + 1, "odd")
        at.answered(scan + 2)
    assert oracle.asked == ["odd"] * FAILURES_IN_A_ROW
    assert at.breaker.is_open


def test_it_stays_closed_while_people_leave_who_need_no_request(at: Counter) -> None:
    for scan in range(0, 6 * FAILURES_IN_A_ROW, 2):
        at.asking.take("north", msgspec.structs.replace(ask(scan), direction=Direction.OUT))
        at.answered(scan + 1)
        at.ask(scan + 1, "odd")
        at.answered(scan + 2)
    assert not at.breaker.is_open


def test_an_ask_that_had_hardly_any_time_tells_nothing_of_the_vendor(
    at: Counter, oracle: OracleServer
) -> None:
    for scan in range(FAILURES_IN_A_ROW + 1):
        at.ask(scan, "slow", left_ms=300)
    until(lambda: oracle.under_way == FAILURES_IN_A_ROW + 1)
    at.clock.run()
    until(lambda: not at.asking._due)  # each was looked at when its time was over
    oracle.release.set()
    at.answered(FAILURES_IN_A_ROW + 1)
    assert not at.breaker.is_open


# --- what else goes wrong ----------------------------------------------------------------------------------


def test_a_wrong_key_refuses_and_is_a_fault_without_the_key_until_the_vendor_answers(at: Counter) -> None:
    at.ask(1, "key")
    (answer,) = at.answered()
    assert (answer.word, answer.verdict) == (wire.Word.REFUSED, Verdict.REFUSED)
    (fault,) = at.faults.now()
    assert "wrong key" in fault.text
    assert "word-of-ours" not in fault.text + answer.text
    at.ask(2, "known")
    at.answered(2)
    assert at.faults.now() == [fault], "nobody has asked the vendor"
    at.ask(3, "yes")
    at.answered(3)
    assert at.faults.now() == []


def test_a_refusal_with_a_fault_is_one_for_a_person(at: Counter) -> None:
    at.ask(1, "no and broken")
    at.answered()
    assert [fault.text for fault in at.faults.now()] == ["asking acme: broken"]


def test_a_refused_log_in_is_not_tried_again_with_the_next_scan(at: Counter, oracle: OracleServer) -> None:
    at.ask(1, "lock")
    at.answered(1)
    at.ask(2, "yes")
    assert [answer.text for answer in at.answered(2)] == ["wrong password"] * 2
    assert oracle.asked == ["lock"]


def test_a_gate_without_its_device_is_turned_away_and_nothing_is_sent(
    at: Counter, oracle: OracleServer
) -> None:
    at.device = None
    at.ask(1)
    (answer,) = at.answered()
    assert (answer.word, answer.verdict) == (wire.Word.REFUSED, Verdict.NOT_CONFIGURED)
    assert oracle.asked == []


def test_where_nobody_knows_yet_what_is_configured_policy_decides(at: Counter, oracle: OracleServer) -> None:
    at.known, at.device = False, None
    at.ask(1)
    (answer,) = at.answered()
    assert (answer.word, answer.verdict, answer.doubt) == (wire.Word.UNANSWERED, None, False)
    assert "does not know yet" in answer.text
    assert answer.untried, "another bridge may know"
    assert oracle.asked == []


@pytest.mark.parametrize(("code", "suspected"), [("no and broken", True), ("no", False), ("yes", False)])
def test_a_device_that_the_vendor_does_not_understand_is_suspected(
    at: Counter, code: str, suspected: bool
) -> None:
    at.ask(1, code)
    at.answered()
    assert at.suspects == [("north", Perimeter.OUTER)] * suspected


def test_a_gate_that_comes_back_hears_its_last_answers_again_and_no_others(at: Counter) -> None:
    for scan in range(AGAIN_MAX + 2):
        at.ask(scan, "yes" if scan % 2 else "no")
        at.answered(scan + 1)
    at.ask(100, "odd")
    at.ask(101, gate="south")
    told = len(at.answered(AGAIN_MAX + 4))
    last = [answer for _, answer in at.answers[2 : AGAIN_MAX + 2]]
    at.asking.again("north")
    assert at.answers[told:] == [("north", answer) for answer in last]
    at.asking.again("west")
    assert len(at.answers) == told + AGAIN_MAX
    at.clock.ahead_s += AGAIN_S + 1
    at.asking.again("north")
    assert len(at.answers) == told + AGAIN_MAX, "whoever was turned away has been seen to"


def test_asks_that_wait_at_the_end_hear_that_nobody_was_asked(at: Counter, oracle: OracleServer) -> None:
    for scan in range(ASKS_AT_ONCE):
        at.ask(scan, "slow")
    until(lambda: oracle.under_way == ASKS_AT_ONCE)
    at.ask(1000, "behind them")
    at.asking.close(limit_s=0.0)
    (waited,) = [answer for answer in at.answered() if answer.scan == 1000]
    assert (waited.word, waited.doubt, waited.text) == (wire.Word.UNANSWERED, False, "the bridge ends")
    assert waited.untried
    assert at.asking.counts.unanswered == 1
    at.ask(1001)
    (after,) = [answer for answer in at.answered(2) if answer.scan == 1001]
    assert (after.word, after.doubt, after.text) == (wire.Word.UNANSWERED, False, "the bridge ends")
    assert after.untried
    at.asking.close(limit_s=0.0)
    assert len(at.answers) == 2, "each hears it once"
    oracle.release.set()


def test_a_bug_is_named_and_the_next_ask_works(at: Counter) -> None:
    at.ask(1, "bug")
    (answer,) = at.answered()
    assert (answer.word, answer.doubt) == (wire.Word.UNANSWERED, True)
    assert "ZeroDivisionError" in at.faults.now()[0].text
    at.ask(2)
    assert at.answered(2)[1].word is wire.Word.ACCEPTED


def test_what_another_bridge_has_sent_is_left_to_it(at: Counter, oracle: OracleServer) -> None:
    at.first = lambda _gate, asked: asked.scan != 1
    at.ask(1)
    at.ask(2, "no")
    (answer,) = at.answered()
    assert answer.scan == 2
    assert oracle.asked == ["no"]


def test_without_a_ledger_to_tell_the_person_matters_more(at: Counter) -> None:
    tries = []

    def lost(_gate: str, asked: wire.Ask) -> bool:
        tries.append(asked.scan)
        raise LedgerLost("gone")

    at.first = lost
    at.ask(1)
    at.answered(1)
    at.ask(2)
    assert {answer.word for answer in at.answered(2)} == {wire.Word.ACCEPTED}
    assert tries == [1], "and nobody waits for it again soon"


def test_after_the_end_nothing_is_sent(at: Counter, oracle: OracleServer) -> None:
    at.ask(1)
    at.answered()
    at.asking.close()
    at.ask(2)
    at.asking.close()
    assert len(oracle.asked) == 1
