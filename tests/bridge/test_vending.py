"""What a vendor is told, and what becomes of its answers."""

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from firmware.bridge import schema
from firmware.bridge.database import LedgerLost
from firmware.bridge.driver import Driver
from firmware.bridge.ingresse import Ingresse, IngresseSettings
from firmware.bridge.ledger import Claimed
from firmware.bridge.sandbox.ingresse import Sandbox
from firmware.bridge.tried import LOG_IN_AFTER_MS
from firmware.bridge.vending import (
    AGAIN_MS_MAX,
    AGAINS_MAX,
    IDLE_S,
    IDLE_S_MIN,
    LEASE_MS,
    UNSENT_MAX,
)
from firmware.bridge.vendor import (
    Accepted,
    Again,
    Flow,
    LogInRefused,
    Lost,
    Misconfigured,
    Note,
    NotSent,
    Outage,
    Outcome,
    Page,
    Refused,
    Told,
    Unsure,
)
from firmware.bridge.work import at_work
from firmware.core.ticket import Choice, Verdict
from tests.bridge.model_gate import Books, ModelGate, books
from tests.bridge.offices import Office, Script, persons, script
from tests.bridge.relays import walk_in
from tests.brokers import LIMIT_S, until
from tests.core.samples import NOON_MS

YEAR_MS = 365 * 86_400_000

pytestmark = pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Office]:
    with books(tmp_path) as found:
        office = Office(found, Script())
        with office.driver:
            yield office


# --- what becomes of an answer -----------------------------------------------------------------------------


def test_a_vendor_is_told_in_batches_and_its_word_is_kept(at: Office) -> None:
    persons(at, "a", "b", "c")
    script(at).answers = [(Accepted("1"), Refused(Verdict.USED, "3"), Unsure("lost"))]
    assert at.tell() == 0.0
    assert at.tell() == IDLE_S
    assert [told.ticket_id for told in script(at).told[0]] == ["a", "b", "c"]
    assert at.work() == [("accepted", False, "1"), ("refused", False, "3"), ("uncertain", False, "lost")]
    assert at.told == [True], "there is a report, so a person is told"
    assert at.account.heard_utc_ms == NOON_MS


def test_each_movement_goes_with_the_device_of_its_place_and_time(at: Office) -> None:
    at.account._kept = lambda gate, ring, at_ms: {"device": f"{gate} {ring} {at_ms}"}
    persons(at, "a")
    script(at).answers = [(Accepted(),)]
    at.tell()
    ((told,),) = script(at).told
    assert told.kept == {"device": f"{told.gate} {told.perimeter} {told.at_utc_ms}"}


@pytest.mark.parametrize(("error", "doubt"), [(NotSent("no way"), False), (Lost("cut"), True)])
def test_work_comes_back_as_it_was_and_with_doubt_where_a_reply_was_lost(
    at: Office, error: Outage, doubt: bool
) -> None:
    persons(at, "a", "b")
    script(at).answers = [error]
    with pytest.raises(Outage):
        at.tell()
    assert at.work() == [("due", doubt, "")] * 2
    assert at.due_in_ms() == [0, 0], "no lease is held, and nobody waits for more than this thread's pause"
    assert at.told == []
    assert at.account.heard_utc_ms == 0
    at.tell()
    assert [told.doubt for told in script(at).told[1]] == [doubt] * 2
    assert [state for state, _, _ in at.work()] == ["accepted"] * 2


def test_doubt_stays_until_a_word_of_the_vendor(at: Office) -> None:
    persons(at, "a")
    script(at).answers = [Lost("cut"), NotSent("down"), Misconfigured("key"), NotSent("down")]
    for _ in range(4):
        with pytest.raises((Outage, Misconfigured)):
            at.tell()
    assert at.work() == [("due", True, "")]


def test_an_outage_however_long_uses_up_no_try(at: Office) -> None:
    persons(at, "a")
    script(at).answers = [*[NotSent("down")] * (3 * AGAINS_MAX), (Again("not executed"),)]
    for _ in range(3 * AGAINS_MAX):
        with pytest.raises(NotSent):
            at.tell()
    at.tell()
    assert at.work() == [("due", False, "")], "the first word of the vendor is the first try"
    at.at_ms += AGAIN_MS_MAX
    at.tell()
    assert at.work() == [("accepted", False, "ok")]


def test_work_rests_as_long_as_the_vendor_asks(at: Office) -> None:
    persons(at, "a")
    script(at).answers = [Outage("busy", 90.0)]
    with pytest.raises(Outage):
        at.tell()
    assert at.due_in_ms() == [90_000]
    assert at.tell() == IDLE_S
    at.at_ms += 90_000
    assert at.tell() == 0.0


def test_what_is_neither_taken_nor_refused_goes_again_later_and_later_and_then_to_a_person(
    at: Office,
) -> None:
    persons(at, "a")
    script(at).answers = [(Again("not executed"),)] * AGAINS_MAX
    waits = []
    for _ in range(AGAINS_MAX):
        assert at.tell() == 0.0
        waits += at.due_in_ms()
        at.at_ms += AGAIN_MS_MAX
    assert len(waits) == AGAINS_MAX - 1
    assert 250 <= waits[0] <= 500
    assert all(AGAIN_MS_MAX / 2 <= wait <= AGAIN_MS_MAX for wait in waits[10:])
    ((state, _, text),) = at.work()
    assert state == "uncertain"
    assert text == f"not taken after {AGAINS_MAX} tries: not executed"
    (report,) = at.books.reports("uncertain")
    assert "not executed" in report
    assert at.account._tried.waiting(1) == []
    assert at.faults.now() == []


def test_who_lost_his_claim_sends_nothing_more_and_leaves_it_to_the_one_that_has_it(at: Office) -> None:
    persons(at, "a")
    vendor, sent = script(at), list[str]()

    def tell(movements: Sequence[Told]) -> Flow[tuple[Outcome, ...]]:
        yield Note(0, "first")
        sent.append(movements[0].note)
        if not movements[0].note:
            at.at_ms += LEASE_MS
            assert other.telling._turn() == 0.0
        yield Note(0, "second")
        sent.append("after the second")
        return (Accepted(movements[0].note),)

    vendor.tell = tell  # type: ignore[method-assign]  # a vendor that takes longer than a lease
    other = at.another("other")
    assert at.tell() == 0.0
    assert sent == ["", "first", "after the second"]
    assert at.work() == [("accepted", True, "first")]


def test_what_was_never_sent_goes_again_for_days_and_a_person_reads_of_it(at: Office) -> None:
    persons(at, "a")
    script(at).answers = [(Again("500", unsent=True),)] * (AGAINS_MAX + 1)
    for tries in range(1, AGAINS_MAX + 1):
        assert at.faults.now() == [], tries
        at.tell()
        at.at_ms += AGAIN_MS_MAX
    (fault,) = at.faults.now()
    assert fault.text.startswith("what acme does not take: 1 scans go again for hours")
    tried_for(at, UNSENT_MAX - 2)
    at.tell()
    at.at_ms += AGAIN_MS_MAX
    assert at.work() == [("due", False, "")]
    assert UNSENT_MAX * AGAIN_MS_MAX > 6 * 24 * 3_600_000
    at.tell()
    assert at.work() == [("accepted", False, "ok")]
    assert at.faults.now() == []


def test_what_was_never_sent_in_a_week_is_for_a_person(at: Office) -> None:
    persons(at, "a")
    tried_for(at, UNSENT_MAX - 1)
    script(at).answers = [(Again("500", unsent=True),)]
    at.tell()
    assert [state for state, _, _ in at.work()] == ["uncertain"]


def tried_for(at: Office, tries: int) -> None:
    """The only work has gone again so often."""
    (line,) = at.books.lines(schema.work)
    while at.tried.again(line.id, "500") < tries:
        pass


def test_those_who_tell_one_account_remember_together_what_goes_again_and_who_may_log_in(at: Office) -> None:
    persons(at, "a")
    other = at.another("other")
    script(at).answers = [*[(Again("not executed"),)] * (AGAINS_MAX - 1), LogInRefused("locked")]
    for each in (at.account, other) * AGAINS_MAX:
        if at.account._tried.waiting(AGAINS_MAX - 1):
            break
        each.telling._turn()
        at.at_ms += AGAIN_MS_MAX
    with pytest.raises(LogInRefused):
        at.tell()
    with pytest.raises(LogInRefused, match="locked"):
        other.telling._turn()
    assert len(script(at).told) == AGAINS_MAX


def test_one_that_must_go_again_does_not_hold_up_the_others(at: Office) -> None:
    persons(at, "a", "b")
    script(at).answers = [(Again("not executed"), Accepted("1"))]
    assert at.tell() == 0.0
    assert [state for state, _, _ in at.work()] == ["due", "accepted"]


def test_what_may_go_again_goes_when_its_time_comes(at: Office) -> None:
    persons(at, "a", "b")
    script(at).answers = [(Again("not executed"), Again("not executed"))]
    at.tell()
    (due_ms, _) = at.due_in_ms()
    assert at.tell() == pytest.approx(due_ms / 1000)
    at.at_ms += due_ms - 1
    assert at.tell() == IDLE_S_MIN
    at.at_ms += 1
    assert at.tell() == 0.0
    assert [state for state, _, _ in at.work()] == ["accepted"] * 2
    assert at.tell() == IDLE_S


def test_a_refused_log_in_is_tried_again_by_neither_thread_for_minutes(at: Office) -> None:
    persons(at, "a")
    vendor = script(at)
    vendor.answers = [LogInRefused("locked"), LogInRefused("locked")]
    with pytest.raises(LogInRefused, match="locked"):
        at.tell()
    assert at.work() == [("due", False, "")]
    at.at_ms += LOG_IN_AFTER_MS - 1
    for turn in (at.tell, at.read):
        with pytest.raises(LogInRefused, match="locked"):
            turn()
    assert (len(vendor.told), vendor.asked) == (1, [])
    at.at_ms += 1
    vendor.probes = [LogInRefused("still locked")]
    with pytest.raises(LogInRefused):
        at.read()
    with pytest.raises(LogInRefused, match="still locked"):
        at.tell()
    assert len(vendor.told) == 1
    at.at_ms += LOG_IN_AFTER_MS
    vendor.answers.clear()
    assert (at.tell(), at.read()) == (0.0, 10.0)


def test_one_that_was_refused_while_the_clock_was_wrong_holds_up_nobody(at: Office) -> None:
    persons(at, "a")
    at.at_ms += YEAR_MS
    script(at).answers = [LogInRefused("locked")]
    with pytest.raises(LogInRefused):
        at.tell()
    at.at_ms -= YEAR_MS
    at.tell()
    at.read()
    assert at.work() == [("accepted", False, "ok")]


def test_a_vendor_that_took_it_and_fell_silent_is_left_alone(at: Office) -> None:
    persons(at, *"abcdef")
    script(at).answers = [(Again("lost", doubt=True),) * 6]
    with pytest.raises(Outage, match="lost"):
        at.tell()
    assert at.work() == [("due", True, "")] * 6
    assert all(250 <= wait <= 500 for wait in at.due_in_ms())


def test_a_vendor_that_refuses_us_keeps_the_work_and_is_named(at: Office) -> None:
    persons(at, "a")
    script(at).answers = [Misconfigured("acme: wrong key: set another")]
    account = at.account
    account.telling._wait = lambda *_: account.telling.stop()
    account.telling.start()
    account.telling._thread.join()
    assert [fault.text for fault in at.faults.now()] == ["telling acme: acme: wrong key: set another"]
    assert at.work() == [("due", False, "")]


def test_one_movement_that_breaks_us_is_found_and_the_others_get_past_it(at: Office) -> None:
    persons(at, *"abc")
    vendor = script(at)

    def tell(movements: Sequence[Told]) -> Flow[tuple[Outcome, ...]]:
        vendor.told.append(tuple(movements))
        yield Page(())
        if any(told.ticket_id == "b" for told in movements):
            raise KeyError("b")
        return tuple(Accepted() for _ in movements)

    vendor.tell = tell  # type: ignore[method-assign]  # a vendor with a fault
    for _ in range(5):
        with suppress(KeyError):
            at.tell()
    assert [state for state, _, _ in at.work()] == ["accepted", "due", "accepted"]
    assert [len(told) for told in vendor.told] == [3, 1, 1, 1]
    for _ in range(AGAINS_MAX):
        at.at_ms += AGAIN_MS_MAX
        with suppress(KeyError):
            at.tell()
    assert at.work()[1][0] == "uncertain"
    assert "KeyError" in at.work()[1][2]


def test_a_vendor_with_too_few_answers_keeps_nothing_from_the_others(at: Office) -> None:
    persons(at, "a", "b")
    script(at).answers = [(Accepted(),)]
    with pytest.raises(AssertionError):
        at.tell()
    assert at.work() == [("due", True, "")] * 2


def test_a_bridge_that_is_killed_in_a_call_leaves_the_work_to_another_when_its_lease_ends(
    at: Office,
) -> None:
    persons(at, "a")
    claimed: list[Claimed] = at.books.ledger.claim("acme", "dead", at.at_ms, 20, LEASE_MS)
    assert len(claimed) == 1
    assert at.tell() == IDLE_S
    at.at_ms += LEASE_MS
    assert at.tell() == 0.0
    assert script(at).told[0][0].doubt, "it may have been told"


def test_two_bridges_never_tell_of_one_ticket_at_the_same_time(at: Office) -> None:
    persons(at, "a", "b")
    other = at.another("other")
    seen: list[float] = []
    script(at).before = lambda: seen.append(0.0 if seen else other.telling._turn())
    at.tell()
    assert len(script(at).told) == 1
    assert seen == [IDLE_S]


def test_a_stop_in_the_midst_of_a_call_gives_the_work_back(tmp_path: Path) -> None:
    class Endless(Script):
        """Goes on asking until it is told that nothing goes out any more."""

        def tell(self, movements: Sequence[Told]) -> Flow[tuple[Outcome, ...]]:
            def flow() -> Generator[httpx.Request | Page, httpx.Response | None, tuple[Outcome, ...]]:
                office.account.telling.stop()
                yield httpx.Request("GET", "http://127.0.0.1:9/")
                return ()

            return flow()

    with books(tmp_path) as found:
        office = Office(found, Endless())
        persons(office, "a")
        with office.driver, pytest.raises(NotSent, match="stopping"):
            office.tell()
        assert office.work() == [("due", False, "")]
        assert office.due_in_ms() == [0]


def test_a_word_of_the_vendor_outlasts_a_ledger_that_is_lost_meanwhile(at: Office) -> None:
    persons(at, "a")
    finish, lost = at.books.ledger.finish, [LedgerLost("gone"), LedgerLost("gone")]

    def failing(outcomes: Any, now_utc_ms: int) -> tuple[str, ...]:
        if lost:
            raise lost.pop()
        return finish(outcomes, now_utc_ms)

    at.books.ledger.finish = failing  # type: ignore[method-assign]  # a disk that is full for a while
    for _ in range(2):
        with pytest.raises(LedgerLost):
            at.tell()
    assert at.work() == [("claimed", False, "")]
    assert at.tell() == IDLE_S
    assert at.work() == [("accepted", False, "ok")]
    assert len(script(at).told) == 1, "nobody has to ask the vendor again"


def test_a_vendor_that_hangs_holds_up_no_other_account(at: Office) -> None:
    gate = ModelGate()
    gate.person("acme:a")
    gate.person("other:b")
    at.books.store(gate)
    hangs, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        assert go_on.wait(LIMIT_S)

    script(at).before = hang
    with Driver("other", vendor := Script(), 1e6) as driver:
        at.driver, at.vendor, acme = driver, vendor, at.account
        other = at.another()
        with at_work((acme.telling, other.telling)):
            assert hangs.wait(LIMIT_S)
            until(lambda: [state for state, _, _ in at.work()] == ["claimed", "accepted"])
            go_on.set()
            until(lambda: [state for state, _, _ in at.work()] == ["accepted"] * 2)


# --- with Ingresse's sandbox -------------------------------------------------------------------------------


class Hall:
    """A gate, a ledger, and an account at the sandbox, through the real driver."""

    def __init__(self, found: Books, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        event = sandbox.events[0]
        self.session = event.sessions[0].id
        self.event = str(event.id)
        settings = IngresseSettings(
            key=sandbox.key,
            login="password",
            email=sandbox.email,
            password=sandbox.password,
            events=((self.event, (str(self.session),)),),
            unsold=Choice.ADMIT,
            api_url=sandbox.url,
            check_in_timeout_s=10.0,
        )
        self.clock_s = 0.0
        self.office = Office(found, Ingresse(settings), "acme", clock=lambda: self.clock_s, wait=self._wait)
        self.codes = sandbox.codes(30, session=self.session, sold=True, refunded=False, inside=False)
        self.gate = ModelGate()

    def _wait(self, seconds: float) -> None:
        self.clock_s += seconds

    def enter(self, *codes: str) -> None:
        """They walk in."""
        for code in codes:
            subject = f"acme:{self.sandbox.ticket(code).id}"
            walk_in(self.gate, subject, code, self.event, str(self.session))
        self.office.books.store(self.gate)

    def tell_all(self) -> None:
        """Turns until nothing is left; outages and waits cost no time here."""
        for _ in range(500):
            try:
                pause_s = self.office.tell()
            except Outage as error:
                self.clock_s += max(1.0, error.retry_after_s)
                self.office.at_ms += round(max(1.0, error.retry_after_s) * 1000)
                continue
            if pause_s and not self.office.due_in_ms():
                return
            self.office.at_ms += 1000
        raise AssertionError(self.office.work())


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    with ExitStack() as stack:
        found = stack.enter_context(books(tmp_path))
        sandbox = stack.enter_context(Sandbox(tickets=300))
        made = Hall(found, sandbox)
        stack.enter_context(made.office.driver)
        yield made


@pytest.mark.parametrize("kind", ["none", "lost", "cut", "short", "error", "limit", "shuffled", "missing"])
def test_whatever_goes_wrong_each_person_enters_once_at_the_vendor(hall: Hall, kind: str) -> None:
    codes = hall.codes[:25]
    hall.enter(*codes)
    if kind != "none":
        hall.sandbox.misbehave(kind, "update", requests=3)
    hall.tell_all()
    results = [state for state, _, _ in hall.office.work()]
    assert results == ["accepted"] * len(codes)
    history = [[change.what for change in hall.sandbox.history(code)] for code in codes]
    assert history == [["checkin"]] * len(codes)
    assert hall.sandbox.violations == []
    assert hall.office.told


def test_a_sale_comes_through_the_account_into_the_feed(hall: Hall) -> None:
    hall.office.read()
    before = hall.office.feed.head()
    unsold = hall.sandbox.codes(1, session=hall.session, sold=False)[0]
    hall.sandbox.sell(unsold)
    hall.office.read()
    assert hall.office.feed.head() > before
    (found,) = hall.office.found
    assert found.startswith("acme: 1 events, 1 sessions, ")


def test_both_threads_of_an_account_leave_a_busy_vendor_alone(hall: Hall) -> None:
    hall.enter(hall.codes[0])
    hall.office.read()
    hall.sandbox.misbehave("limit", "any", chance=1.0, seconds=300.0)
    with pytest.raises(Outage) as told:
        hall.office.tell()
    assert told.value.retry_after_s >= 299
    before = len(hall.sandbox.requests)
    with pytest.raises(Outage) as read:
        hall.office.read()
    assert read.value.retry_after_s > 200
    assert len(hall.sandbox.requests) == before, "the other thread does not even ask"
    assert min(hall.office.due_in_ms()) >= 299_000
    hall.sandbox.behave()
    hall.clock_s += 301
    hall.office.at_ms += 301_000
    hall.office.read()
    hall.tell_all()
    assert [state for state, _, _ in hall.office.work()] == ["accepted"]
