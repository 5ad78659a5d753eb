"""What a vendor of unused codes and slow steps needs of ledger and feed, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.bridge.database import Database
from firmware.bridge.feed import DOUBT_MS, SHRUNK_TICKETS_MIN, Feed
from firmware.bridge.vendor import SHRUNK_UNUSED_MIN, Accepted, Listing, Refused, VendorTicket
from firmware.core.ticket import Status, Verdict
from tests.bridge.feeds import ACCOUNT, KEY, FeedGate, read_delta
from tests.bridge.ledgers import ledger_at
from tests.bridge.model_gate import Books, ModelGate, books
from tests.core.samples import IN, NOON_MS, OUT

pytestmark = pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL

LEASE_MS = 60_000


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Books]:
    with books(tmp_path) as found:
        yield found


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    with Database(ledger_at(tmp_path / "feed.db")) as database:
        yield Feed(database, "arena", KEY)


# --- notes ----------------------------------------------------------------------------------------------


def test_what_was_written_down_before_a_bridge_died_is_read_by_whoever_goes_on(kept: Books) -> None:
    gate = ModelGate()
    gate.person("acme:t1")
    kept.store(gate)
    (first,) = kept.ledger.claim("acme", "one", NOON_MS, 10, LEASE_MS)
    assert first.told.note == ""
    kept.ledger.write(first, "proposal ab")
    kept.ledger.write(first, "commit cd")
    (again,) = kept.ledger.claim("acme", "other", NOON_MS + LEASE_MS + 1, 10, LEASE_MS)
    assert (again.told.note, again.told.doubt) == ("commit cd", True)


def test_a_note_survives_being_given_back_and_ends_with_the_outcome(kept: Books) -> None:
    gate = ModelGate()
    gate.person("acme:t1")
    kept.store(gate)
    (first,) = kept.ledger.claim("acme", "one", NOON_MS, 10, LEASE_MS)
    kept.ledger.write(first, "commit cd")
    kept.ledger.give_back([first], doubt=True, next_utc_ms=NOON_MS, now_utc_ms=NOON_MS)
    (again,) = kept.ledger.claim("acme", "one", NOON_MS, 10, LEASE_MS)
    assert again.told.note == "commit cd"
    kept.ledger.finish([(again, Accepted("SUCCESS"))], NOON_MS)
    assert not kept.ledger.write(again, "too late")
    ((_, outcome, _),) = kept.ledger.outcomes_to_tell("one", NOON_MS, 10)
    assert outcome.text == "SUCCESS"


def test_who_lost_a_claim_overwrites_nothing_of_the_one_that_has_it(kept: Books) -> None:
    gate = ModelGate()
    gate.person("acme:t1")
    kept.store(gate)
    (first,) = kept.ledger.claim("acme", "one", NOON_MS, 10, LEASE_MS)
    assert kept.ledger.write(first, "proposal ab")
    (again,) = kept.ledger.claim("acme", "one", NOON_MS + LEASE_MS + 1, 10, LEASE_MS)
    assert not kept.ledger.write(first, "commit cd"), "the same bridge, and another claim"
    assert kept.ledger.write(again, "commit ef")
    kept.ledger.give_back([again], doubt=True, next_utc_ms=NOON_MS, now_utc_ms=NOON_MS)
    assert not kept.ledger.write(again, "too late"), "nobody has it"
    (third,) = kept.ledger.claim("acme", "other", NOON_MS + LEASE_MS + 1, 10, LEASE_MS)
    assert third.told.note == "commit ef"


# --- entries that the vendor has already ----------------------------------------------------------------


def test_an_entry_after_one_that_the_vendor_took_says_so(kept: Books) -> None:
    gate = ModelGate()
    for way in (IN, OUT, IN):
        gate.person("acme:t1", way)
    gate.person("acme:t2")
    kept.store(gate)
    said = []
    for _ in range(3):
        claimed = kept.ledger.claim("acme", "w", NOON_MS, 10, LEASE_MS)
        said += [(each.told.ticket_id, each.told.direction, each.told.entered) for each in claimed]
        kept.ledger.finish([(each, Accepted()) for each in claimed], NOON_MS)
    assert said == [("t1", IN, False), ("t2", IN, False), ("t1", OUT, True), ("t1", IN, True)]
    assert kept.ledger.entered("acme") == (2, 0)


def test_an_entry_that_the_vendor_refused_and_an_exit_that_it_took_are_none(kept: Books) -> None:
    gate = ModelGate()
    for way in (IN, OUT, IN):
        gate.person("acme:t1", way)
    kept.store(gate)
    for outcome in (Refused(Verdict.USED), Accepted()):
        (claimed,) = kept.ledger.claim("acme", "w", NOON_MS, 10, LEASE_MS)
        kept.ledger.finish([(claimed, outcome)], NOON_MS)
    (third,) = kept.ledger.claim("acme", "w", NOON_MS, 10, LEASE_MS)
    assert third.told.entered is False
    assert kept.ledger.entered("acme") == (0, 1)


# --- lists of unused tickets ----------------------------------------------------------------------------


def many(count: int) -> list[VendorTicket]:
    return [VendorTicket(str(number), f"code {number}") for number in range(count)]


def read_unused(feed: Feed, *tickets: VendorTicket, at_ms: int = 1) -> int:
    """One run through a whole list of unused tickets; how many numbers it made."""
    before = feed.head()
    run = feed.begin_run(ACCOUNT, True, at_ms)
    feed.take(run, tickets)
    feed.finish_run(run, Listing("1", True, unseen=Status.USED), at_ms)
    return feed.head() - before


def test_what_a_list_of_unused_tickets_has_no_more_is_used_at_every_gate_and_not_gone(feed: Feed) -> None:
    gate = FeedGate()
    read_unused(feed, *many(3))
    assert read_unused(feed, *many(2)) == 1
    gate.catch_up(feed)
    assert {listed.ticket_id.partition(":")[2]: listed.status for listed in gate.tickets.values()} == {
        "0": Status.VALID,
        "1": Status.VALID,
        "2": Status.USED,
    }
    assert read_unused(feed, *many(2)) == 0, "used is used"
    assert read_unused(feed, *many(3)) == 1
    gate.catch_up(feed)
    assert {listed.status for listed in gate.tickets.values()} == {Status.VALID}


def test_tickets_that_are_used_already_are_none_that_a_list_lost(feed: Feed) -> None:
    tickets = many(SHRUNK_TICKETS_MIN)
    read_unused(feed, *tickets)
    half = SHRUNK_TICKETS_MIN // 2 + 1
    read_delta(feed, *(ticket._replace(status=Status.USED) for ticket in tickets[half:]))
    assert read_unused(feed, *tickets[: half - 1]) == 1


def test_a_list_that_lost_more_than_half_of_the_unused_ones_is_doubted_for_ten_minutes(
    feed: Feed,
) -> None:
    read_unused(feed, *many(SHRUNK_UNUSED_MIN))
    assert not feed.doubts(ACCOUNT)
    for at_ms in (NOON_MS, NOON_MS + 60_000, NOON_MS + DOUBT_MS - 1):
        assert read_unused(feed, *many(5), at_ms=at_ms) == 0
        assert feed.doubts(ACCOUNT)
        assert feed.stamp() == 1, "gates know that their list is not that new"
    assert read_unused(feed, *many(5), at_ms=NOON_MS + DOUBT_MS) == SHRUNK_UNUSED_MIN - 5
    assert not feed.doubts(ACCOUNT)


def test_a_doubt_outlasts_a_restart_and_a_clock_that_was_wrong(tmp_path: Path) -> None:
    with Database(ledger_at(tmp_path / "feed.db")) as database:
        feed = Feed(database, "arena", KEY)
        read_unused(feed, *many(SHRUNK_UNUSED_MIN))
        read_unused(feed, at_ms=NOON_MS + 10 * DOUBT_MS)
        assert read_unused(Feed(database, "arena", KEY), at_ms=NOON_MS) == 0
        assert read_unused(Feed(database, "arena", KEY), at_ms=NOON_MS + DOUBT_MS - 1) == 0
        assert read_unused(Feed(database, "arena", KEY), at_ms=NOON_MS + DOUBT_MS) == SHRUNK_UNUSED_MIN


def test_a_list_that_is_whole_again_ends_the_doubt_about_unused_tickets(feed: Feed) -> None:
    read_unused(feed, *many(SHRUNK_UNUSED_MIN))
    read_unused(feed, at_ms=NOON_MS)
    read_unused(feed, *many(SHRUNK_UNUSED_MIN), at_ms=NOON_MS + 1)
    assert not feed.doubts(ACCOUNT)
    assert read_unused(feed, at_ms=NOON_MS + DOUBT_MS) == 0, "another doubt, with its own time"


def test_of_few_unused_tickets_all_may_be_used_at_once(feed: Feed) -> None:
    read_unused(feed, *many(SHRUNK_UNUSED_MIN - 1))
    assert read_unused(feed, at_ms=NOON_MS) == SHRUNK_UNUSED_MIN - 1


def test_of_used_tickets_none_counts_when_a_list_falls(feed: Feed) -> None:
    tickets = many(10 * SHRUNK_UNUSED_MIN)
    read_unused(feed, *tickets)
    read_delta(feed, *(ticket._replace(status=Status.USED) for ticket in tickets[SHRUNK_UNUSED_MIN:]))
    assert read_unused(feed, *tickets[:5], at_ms=NOON_MS) == 0
    assert feed.doubts(ACCOUNT)
