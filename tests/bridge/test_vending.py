import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from firmware.bridge import schema
from firmware.bridge.database import LedgerLost
from firmware.bridge.driver import Driver
from firmware.bridge.feed import Feed
from firmware.bridge.ingresse import Ingresse, IngresseSettings
from firmware.bridge.ledger import Claimed
from firmware.bridge.sandbox.ingresse import Sandbox
from firmware.bridge.vending import (
    AGAIN_MS_MAX,
    AGAINS_MAX,
    HOUR_MS,
    IDLE_S,
    IDLE_S_MIN,
    LEASE_MS,
    LOG_IN_AFTER_MS,
    WHOLE_AFTER_MS,
    Account,
)
from firmware.bridge.vendor import (
    Accepted,
    Again,
    Flow,
    Listing,
    LogInRefused,
    Lost,
    Misconfigured,
    NotSent,
    Outage,
    Outcome,
    Page,
    Refused,
    Told,
    Unsure,
    VendorTicket,
)
from firmware.bridge.work import Faults, at_work
from firmware.core.ticket import Choice, Verdict
from tests.bridge.feeds import KEY
from tests.bridge.model_gate import VENUE, Books, ModelGate, books
from tests.bridge.relays import walk_in
from tests.brokers import LIMIT_S, until
from tests.core.samples import NOON_MS

Answer = tuple[Outcome, ...] | Exception


class Script:
    """A vendor that does what it is told to, without requests."""

    def __init__(self, batch_max: int = 20) -> None:
        self.batch_max = batch_max
        self.answers: list[Answer] = []
        self.told: list[tuple[Told, ...]] = []
        self.listings: list[Listing | Exception] = []
        self.pages: tuple[Page, ...] = ()
        self.asked: list[str] = []
        self.probes: list[Exception] = []
        self.before: Callable[[], None] = lambda: None

    def secrets(self) -> Sequence[str]:
        return ()

    def probe(self) -> Flow[str]:
        yield Page(())
        if self.probes:
            raise self.probes.pop(0)
        return "2 events"

    def tickets(self, since: str) -> Flow[Listing]:
        self.asked.append(since)
        yield from self.pages
        listing = self.listings.pop(0) if self.listings else Listing("since", not since)
        if isinstance(listing, Exception):
            raise listing
        return listing

    def tell(self, movements: Sequence[Told]) -> Flow[tuple[Outcome, ...]]:
        self.told.append(tuple(movements))
        yield Page(())
        self.before()
        answer = self.answers.pop(0) if self.answers else tuple(Accepted("ok") for _ in movements)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Office:
    """An account with its ledger and feed. `at_ms` is the clock; turns are taken by the test."""

    def __init__(self, found: Books, vendor: Script | Ingresse, name: str = "acme", **driver: object) -> None:
        self.books = found
        self.vendor = vendor
        self.at_ms = NOON_MS
        self.faults = Faults()
        self.told: list[bool] = []
        self.fed = 0
        self.found: list[str] = []
        self.feed = Feed(found.database, VENUE, KEY)
        self.driver = Driver(name, vendor, 1e6, **driver)  # type: ignore[arg-type]  # clock and wait, handed on
        self.account = self.another()

    def another(self, worker: str = "w") -> Account:
        """As another process has it."""
        return Account(
            self.driver._account, self.vendor, self.driver, self.books.ledger, self.feed, self.faults,
            lambda: self.at_ms, self.told.append, self._fed, self.found.append, worker, 10.0, 24,
        )  # fmt: skip

    def _fed(self) -> None:
        self.fed += 1

    def tell(self) -> float:
        return self.account.telling._turn()

    def read(self) -> float:
        return self.account.reading._turn()

    def work(self) -> list[tuple[str, bool, str]]:
        """State or result, doubt, text of all work."""
        return [(line.result or line.state, line.doubt, line.text) for line in self.books.lines(schema.work)]

    def due_in_ms(self) -> list[int]:
        """When each piece of work that is due may go again."""
        return [line.next_ms - self.at_ms for line in self.books.lines(schema.work) if line.state == "due"]


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Office]:
    with books(tmp_path) as found:
        office = Office(found, Script())
        with office.driver:
            yield office


def script(at: Office) -> Script:
    assert isinstance(at.vendor, Script)
    return at.vendor


def persons(at: Office, *tickets: str) -> ModelGate:
    """So many people walk in."""
    gate = ModelGate()
    for ticket in tickets:
        gate.person(f"acme:{ticket}", code=ticket.upper())
    at.books.store(gate)
    return gate


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
    assert at.account._agains == {}


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


# --- the list ----------------------------------------------------------------------------------------------


def test_the_whole_list_is_read_at_first_and_then_what_changed(at: Office) -> None:
    assert [at.read() for _ in range(3)] == [10.0] * 3
    assert script(at).asked == ["", "since", "since"]
    assert at.found == ["acme: 2 events"]
    assert at.account.runs == 3


def test_the_whole_list_is_read_again_soon_after_a_start_and_then_each_day(at: Office) -> None:
    at.read()
    at.account = at.another()
    at.at_ms += WHOLE_AFTER_MS - 1
    at.read()
    at.at_ms += 1
    at.read()
    at.at_ms += 24 * HOUR_MS - 1
    at.read()
    at.at_ms += 1
    at.read()
    assert script(at).asked == ["", "since", "", "since", ""]


def test_a_whole_list_that_lacked_some_is_read_again_soon_and_then_later_and_later(at: Office) -> None:
    vendor = script(at)
    vendor.listings = [Listing("since", False, 0, "4 of 5 rows")]
    at.read()
    for wait_ms in (WHOLE_AFTER_MS, 2 * WHOLE_AFTER_MS, 4 * WHOLE_AFTER_MS):
        at.at_ms += wait_ms - 1
        at.read()
        at.at_ms += 1
        vendor.listings = [Listing("since", False, 0, "4 of 5 rows")]
        at.read()
    at.at_ms += 8 * WHOLE_AFTER_MS
    at.read()
    assert vendor.asked == ["", "since", "", "since", "", "since", "", ""]
    at.at_ms += 24 * HOUR_MS - 1
    at.read()
    assert vendor.asked[-1] == "since", "that one was whole"


def test_a_list_that_always_lacks_some_is_read_each_day_at_least(at: Office) -> None:
    vendor = script(at)
    for _ in range(20):
        vendor.listings = [Listing("since", False)]
        at.read()
        at.at_ms += 24 * HOUR_MS
    assert set(vendor.asked) == {""}


def test_a_whole_list_that_breaks_off_does_not_hold_up_what_changes(at: Office) -> None:
    at.read()
    at.at_ms += 24 * HOUR_MS
    script(at).listings = [Outage("cut")]
    with pytest.raises(Outage):
        at.read()
    at.read()
    at.at_ms += WHOLE_AFTER_MS
    at.read()
    assert script(at).asked == ["", "", "since", ""]


def test_a_first_list_that_breaks_off_is_read_again_at_once(at: Office) -> None:
    script(at).listings = [Outage("cut")]
    with pytest.raises(Outage):
        at.read()
    at.read()
    assert script(at).asked == ["", ""]


def test_a_vendor_that_tells_no_time_is_not_asked_for_whole_lists_all_the_time(at: Office) -> None:
    script(at).listings = [Listing("", True)]
    assert at.read() == WHOLE_AFTER_MS / 1000


def test_a_probe_that_fails_is_made_again(at: Office) -> None:
    script(at).probes = [Misconfigured("no event 7"), Outage("down")]
    for kind in (Misconfigured, Outage):
        with pytest.raises(kind):
            at.read()
    assert script(at).asked == []
    at.read()
    assert at.found == ["acme: 2 events"]


def test_tickets_are_handed_on_page_by_page_and_news_is_told(at: Office) -> None:
    script(at).pages = (Page((VendorTicket("a", "A"),)), Page((VendorTicket("b", "B"),)))
    at.read()
    assert at.fed == 2
    at.read()
    assert at.fed == 2, "nothing changed"


def test_an_account_that_another_bridge_reads_is_left_to_it(at: Office) -> None:
    other = Feed(at.books.database, VENUE, KEY)
    run = other.begin_run("acme", True, at.at_ms)
    assert at.read() == at.account._poll_s
    assert (script(at).asked, at.faults.now()) == ([], [])
    other.finish_run(run, Listing("theirs", True), at.at_ms)
    at.read()
    assert script(at).asked == ["theirs"]


def test_what_is_odd_about_a_list_is_a_fault_until_a_whole_list_is_fine(at: Office) -> None:
    script(at).listings = [Listing("since", True, 3, "session 1: odd"), Listing("since", False)]
    at.read()
    (fault,) = at.faults.now()
    assert fault.text == "the list of acme: 3 entries could not be read as tickets; session 1: odd"
    at.read()
    assert at.faults.now() == [fault], "it was a look at what changed"
    at.at_ms += 24 * HOUR_MS
    at.read()
    assert at.faults.now() == []


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
