"""Two bridges that read one account on one ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.bridge.database import Database
from firmware.bridge.feed import LATE_MS, READING_MS, Feed, ReadElsewhere
from firmware.bridge.tickets import concerned, merged, store
from firmware.bridge.vendor import Listing, VendorTicket
from firmware.core.ticket import Status
from tests.bridge.feeds import ACCOUNT, KEY, FeedGate, digest, read_whole
from tests.bridge.ledgers import ledger_at

pytestmark = pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL

TICKET = VendorTicket("1", "code 1")
REFUNDED = VendorTicket("1", "code 1", Status.REFUNDED)
NOW_MS = 1_000_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(ledger_at(tmp_path / "ledger.db")) as opened:
        yield opened


@pytest.fixture
def one(database: Database) -> Feed:
    return Feed(database, "arena", KEY, "one")


@pytest.fixture
def other(database: Database) -> Feed:
    return Feed(database, "arena", KEY, "other")


def status_at_a_gate(feed: Feed) -> list[Status]:
    gate = FeedGate()
    gate.catch_up(feed)
    return [listed.status for listed in gate.tickets.values()]


def test_an_older_run_does_not_make_a_ticket_look_missed_by_a_later_one(database: Database) -> None:
    read_whole(Feed(database, "arena", KEY), TICKET)
    listed = {f"{ACCOUNT}:1": TICKET}
    with database.transaction() as connection:
        for run in (9, 8):
            before = concerned(connection, listed)
            store(connection, before, merged(before, listed, ACCOUNT, run, digest), ())
        assert concerned(connection, listed)[f"{ACCOUNT}:1"].seen == 9


def test_an_account_is_read_by_one_bridge_at_a_time(one: Feed, other: Feed) -> None:
    run = one.begin_run(ACCOUNT, True, NOW_MS)
    with pytest.raises(ReadElsewhere, match="another bridge reads its list \\(one\\)"):
        other.begin_run(ACCOUNT, False, NOW_MS)
    other.begin_run("box", True, NOW_MS)
    one.finish_run(run, Listing("1", True), NOW_MS)
    other.begin_run(ACCOUNT, False, NOW_MS)


def test_each_page_lets_a_run_go_on_and_one_that_stops_is_overtaken(one: Feed, other: Feed) -> None:
    run = one.begin_run(ACCOUNT, True, NOW_MS)
    one.take(run, [TICKET], NOW_MS + READING_MS - 1)
    with pytest.raises(ReadElsewhere):
        other.begin_run(ACCOUNT, True, NOW_MS + 2 * READING_MS - 2)
    other.begin_run(ACCOUNT, True, NOW_MS + 2 * READING_MS - 1)
    with pytest.raises(ReadElsewhere, match="another run through its list has begun \\(other\\)"):
        one.take(run, [TICKET], NOW_MS + 2 * READING_MS)
    with pytest.raises(ReadElsewhere):
        one.finish_run(run, Listing("1", True), NOW_MS + 2 * READING_MS)


def test_what_was_read_before_another_bridge_began_does_not_come_after_it(one: Feed, other: Feed) -> None:
    read_whole(one, TICKET)
    slow = one.begin_run(ACCOUNT, False, NOW_MS)
    run = other.begin_run(ACCOUNT, False, NOW_MS + READING_MS)
    other.take(run, [REFUNDED])
    with pytest.raises(ReadElsewhere):
        one.take(slow, [TICKET])
    assert status_at_a_gate(other) == [Status.REFUNDED]


def test_a_bridge_that_was_killed_does_not_wait_for_itself(database: Database, one: Feed) -> None:
    run = one.begin_run(ACCOUNT, True, NOW_MS)
    again = Feed(database, "arena", KEY, "one")
    again.take(again.begin_run(ACCOUNT, True, NOW_MS), [TICKET])
    with pytest.raises(ReadElsewhere):
        one.take(run, [TICKET])


def test_who_has_read_an_account_goes_on_to_and_leaves_it_where_the_vendor_is_out_of_reach(
    one: Feed, other: Feed
) -> None:
    one.finish_run(one.begin_run(ACCOUNT, True, NOW_MS), Listing("1", True), NOW_MS, 10_000)
    assert other.readers() == {"one"}
    with pytest.raises(ReadElsewhere):
        other.begin_run(ACCOUNT, False, NOW_MS + 10_000 + LATE_MS - 1)
    run = one.begin_run(ACCOUNT, False, NOW_MS + 10_000)
    other.leave(ACCOUNT)
    one.leave("box")
    with pytest.raises(ReadElsewhere):
        other.begin_run(ACCOUNT, False, NOW_MS + 10_000)
    one.leave(ACCOUNT)
    assert other.readers() == set()
    other.begin_run(ACCOUNT, False, NOW_MS + 10_000)
    with pytest.raises(ReadElsewhere):
        one.take(run, [TICKET])


def test_a_reader_that_hangs_is_followed_by_another(one: Feed, other: Feed) -> None:
    one.finish_run(one.begin_run(ACCOUNT, True, NOW_MS), Listing("1", True), NOW_MS, 10_000)
    other.begin_run(ACCOUNT, False, NOW_MS + 10_000 + LATE_MS)


def test_the_account_of_a_dead_reader_is_free_at_once_and_gates_hear_how_far_the_list_is(
    one: Feed, other: Feed
) -> None:
    read_whole(one, TICKET)
    one.begin_run(ACCOUNT, True, NOW_MS)
    told = one.announce(NOW_MS).message  # and dies before it could send that
    assert told is not None
    assert told.items
    assert other.announce(NOW_MS).message is None
    other.release({"one"})
    message = other.announce(NOW_MS).message
    assert message is not None
    assert (message.after, message.items) == (told.upto, ())
    other.begin_run(ACCOUNT, True, NOW_MS)


@pytest.mark.parametrize("ahead_ms", [-3_600_000, 3_600_000])
def test_a_clock_that_was_wrong_keeps_no_gate_waiting(one: Feed, other: Feed, ahead_ms: int) -> None:
    assert one.announce(NOW_MS + 7_200_000 + ahead_ms).message is not None
    assert other.announce(NOW_MS + 7_200_000).message is not None


def test_an_account_that_is_forgotten_is_not_read_to_its_end(one: Feed, other: Feed) -> None:
    run = one.begin_run(ACCOUNT, True, NOW_MS)
    one.take(run, [TICKET], NOW_MS)
    other.forget(ACCOUNT)
    with pytest.raises(ReadElsewhere):
        one.take(run, [TICKET], NOW_MS)
    assert status_at_a_gate(other) == []
