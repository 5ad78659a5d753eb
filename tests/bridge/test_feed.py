"""The feed by example: codes, numbers, whole runs, pages, keys."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from firmware import wire
from firmware.bridge.database import Database, ForeignLedger
from firmware.bridge.feed import ANNOUNCE_MS, SHRUNK_TICKETS_MIN, Feed, FeedKeyChanged
from firmware.bridge.numbered import TOLD_MS
from firmware.bridge.rekey import rekey
from firmware.bridge.vendor import Listing, VendorTicket
from firmware.core.ticket import Direction, Status
from firmware.venue_key import digest_of, keyed
from tests.bridge.feeds import ACCOUNT, KEY, FeedGate, OwnGate, digest, read_delta, read_whole, reports
from tests.bridge.ledgers import ledger_at

pytestmark = pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL

OTHER_KEY = b"o" * 32


@pytest.fixture
def url(tmp_path: Path) -> str:
    return ledger_at(tmp_path / "ledger.db")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with Database(url) as opened:
        yield opened


@pytest.fixture
def feed(database: Database) -> Feed:
    return Feed(database, "arena", KEY)


@pytest.fixture
def gate() -> FeedGate:
    return FeedGate()


def many(count: int, first: int = 0) -> list[VendorTicket]:
    return [VendorTicket(str(number), f"code {number}") for number in range(first, first + count)]


# --- codes


def test_a_code_that_changes_under_its_id_is_one_change_and_the_old_code_is_forgotten(
    feed: Feed, gate: FeedGate
) -> None:
    read_whole(feed, VendorTicket("981", "old?.1"))
    gate.catch_up(feed)
    assert read_delta(feed, VendorTicket("981", "new?.1")) == 1
    gate.catch_up(feed)
    assert gate.ids() == {"981": digest("new?.1")}


def test_a_code_is_the_tickets_that_was_listed_with_it_last(feed: Feed, gate: FeedGate) -> None:
    read_whole(feed, VendorTicket("1", "c"))
    gate.catch_up(feed)
    assert read_delta(feed, VendorTicket("2", "c")) == 2
    gate.catch_up(feed)
    assert gate.ids() == {"2": digest("c")}


def test_two_tickets_that_stay_listed_with_one_code_do_not_take_it_from_each_other(feed: Feed) -> None:
    both = (VendorTicket("1", "c"), VendorTicket("2", "c"))
    assert read_whole(feed, *both) == 1
    assert read_whole(feed, *both) == 0
    assert read_whole(feed, *reversed(both)) == 0


def test_a_ticket_that_lost_its_code_comes_back_with_another(feed: Feed, gate: FeedGate) -> None:
    read_whole(feed, VendorTicket("1", "c"))
    read_delta(feed, VendorTicket("2", "c"))
    read_delta(feed, VendorTicket("1", "d"))
    gate.catch_up(feed)
    assert gate.ids() == {"1": digest("d"), "2": digest("c")}


@pytest.mark.parametrize("how", ["another code", "not listed"])
def test_a_code_that_is_given_up_goes_back_to_the_ticket_that_is_still_listed_with_it(
    feed: Feed, gate: FeedGate, how: str
) -> None:
    read_whole(feed, VendorTicket("1", "c"), VendorTicket("2", "c"))
    if how == "another code":
        read_delta(feed, VendorTicket("2", "d"))
    else:
        read_whole(feed, VendorTicket("1", "c"))
    gate.catch_up(feed)
    assert gate.ids()["1"] == digest("c")


@pytest.mark.parametrize("pages", [1, 2])
def test_two_tickets_can_swap_their_codes(feed: Feed, gate: FeedGate, pages: int) -> None:
    read_whole(feed, VendorTicket("1", "c"), VendorTicket("2", "d"))
    gate.catch_up(feed)
    run = feed.begin_run(ACCOUNT, False)
    swapped = [VendorTicket("1", "d"), VendorTicket("2", "c")]
    for page in [swapped] if pages == 1 else [swapped[:1], swapped[1:]]:
        feed.take(run, page)
        gate.catch_up(feed)
    assert gate.ids() == {"1": digest("d"), "2": digest("c")}


def test_of_one_id_twice_in_a_page_the_last_counts(feed: Feed, gate: FeedGate) -> None:
    assert read_whole(feed, VendorTicket("1", "c"), VendorTicket("1", "d")) == 1
    gate.catch_up(feed)
    assert gate.ids() == {"1": digest("d")}


def test_a_ticket_without_a_code_is_not_passed_on_until_it_has_one(feed: Feed, gate: FeedGate) -> None:
    assert read_whole(feed, VendorTicket("1", ""), VendorTicket("2", "")) == 0
    read_delta(feed, VendorTicket("1", "c"))
    gate.catch_up(feed)
    assert gate.ids() == {"1": digest("c")}
    read_delta(feed, VendorTicket("1", ""))
    gate.catch_up(feed)
    assert gate.ids() == {}


def test_accounts_do_not_share_ids(feed: Feed, gate: FeedGate) -> None:
    read_whole(feed, VendorTicket("1", "c"))
    read_whole(feed, VendorTicket("1", "d"), account="box")
    gate.catch_up(feed)
    assert {each.ticket_id for each in gate.tickets.values()} == {f"{ACCOUNT}:1", "box:1"}


def test_every_field_reaches_the_gate(feed: Feed, gate: FeedGate) -> None:
    ticket = VendorTicket("1", "c", Status.UNSOLD, "28180", "43058", "Pista", "A", "north", 1000, 2000)
    read_whole(feed, ticket)
    gate.catch_up(feed)
    listed = wire.Listed(
        digest("c"), "ing:1", Status.UNSOLD, "28180", "43058", "Pista", "A", "north", 1000, 2000
    )
    assert gate.tickets == {digest("c"): listed}


def test_used_is_said_by_a_movement_where_there_is_one(feed: Feed, gate: FeedGate) -> None:
    read_whole(
        feed,
        VendorTicket("1", "c", Status.USED, inside=True, moved_utc_ms=5),
        VendorTicket("2", "d", Status.USED),
    )
    gate.catch_up(feed)
    assert {each.ticket_id: each.status for each in gate.tickets.values()} == {
        "ing:1": Status.VALID,
        "ing:2": Status.USED,
    }
    assert [each.subject for each in gate.moves] == ["ing:1"]


# --- numbers


def test_a_ticket_that_did_not_change_costs_no_number(feed: Feed) -> None:
    assert read_whole(feed, *many(30)) == 30
    assert read_whole(feed, *many(30)) == 0
    assert read_delta(feed, *many(10)) == 0


def test_take_tells_the_highest_number_it_made(feed: Feed) -> None:
    run = feed.begin_run(ACCOUNT, True)
    assert feed.take(run, many(3)) == 3
    assert feed.take(run, many(3)) == 0
    assert feed.take(run, many(1, first=3)) == feed.head() == 4


# --- runs


def test_a_delta_that_breaks_off_keeps_what_it_took_and_begins_at_the_same_place(
    feed: Feed, gate: FeedGate
) -> None:
    read_whole(feed, *many(2), now_utc_ms=5)
    feed.take(feed.begin_run(ACCOUNT, False), many(1, first=2))
    assert feed.since(ACCOUNT) == "5"
    gate.catch_up(feed)
    assert set(gate.ids()) == {"0", "1", "2"}


def test_a_ticket_is_gone_when_the_whole_list_does_not_have_it(feed: Feed, gate: FeedGate) -> None:
    read_whole(feed, *many(3))
    gate.catch_up(feed)
    read_delta(feed, *many(1))
    feed.take(feed.begin_run(ACCOUNT, True), many(1))
    gate.catch_up(feed)
    assert len(gate.tickets) == 3, "neither a delta nor a run that broke off says that one is gone"
    assert read_whole(feed, *many(2)) == 1
    gate.catch_up(feed)
    assert set(gate.ids()) == {"0", "1"}
    assert read_whole(feed, *many(3)) == 1
    gate.catch_up(feed)
    assert set(gate.ids()) == {"0", "1", "2"}


def test_a_list_that_lost_more_than_half_is_believed_when_the_next_one_says_so_too(
    database: Database, feed: Feed, gate: FeedGate
) -> None:
    read_whole(feed, *many(SHRUNK_TICKETS_MIN), now_utc_ms=5)
    half = SHRUNK_TICKETS_MIN // 2
    assert read_whole(feed, *many(half), now_utc_ms=6) == 0
    gate.catch_up(feed)
    assert len(gate.tickets) == SHRUNK_TICKETS_MIN
    assert feed.stamp() == 5
    assert feed.since(ACCOUNT) == "6"
    (report,) = reports(database)
    assert report.startswith("ing: 51 of 101 tickets are not in the vendor's list")
    assert read_whole(feed, *many(half), now_utc_ms=7) == SHRUNK_TICKETS_MIN - half
    assert feed.stamp() == 7


def test_a_list_that_is_whole_again_takes_the_doubt_away(feed: Feed) -> None:
    read_whole(feed, *many(SHRUNK_TICKETS_MIN))
    read_whole(feed)
    read_whole(feed, *many(SHRUNK_TICKETS_MIN))
    assert read_whole(feed) == 0, "the second fault is no confirmation of the first"


def test_half_of_a_list_and_all_of_a_small_one_may_go_at_once(feed: Feed) -> None:
    read_whole(feed, *many(SHRUNK_TICKETS_MIN + 1))
    assert read_whole(feed, *many(SHRUNK_TICKETS_MIN // 2 + 1)) == SHRUNK_TICKETS_MIN // 2 + 1
    assert read_whole(feed) == SHRUNK_TICKETS_MIN // 2 + 1


def test_tickets_stay_while_as_many_entries_could_not_be_read(database: Database, feed: Feed) -> None:
    read_whole(feed, *many(3))
    before = feed.head()
    for skipped, made in ((2, 0), (1, 2)):
        run = feed.begin_run(ACCOUNT, True)
        feed.take(run, many(1))
        feed.finish_run(run, Listing("9", True, skipped), 9)
        assert feed.head() - before == made
    assert len(reports(database)) == 1
    assert feed.stamp() == 9


def test_many_tickets_can_go_in_several_steps(feed: Feed, gate: FeedGate) -> None:
    read_whole(feed, *many(4500))
    assert read_whole(feed, *many(2300)) == 2200
    gate.catch_up(feed)
    assert len(gate.tickets) == 2300


def test_the_stamp_is_that_of_the_account_that_was_complete_longest_ago(feed: Feed) -> None:
    assert feed.stamp() == 0
    read_whole(feed, now_utc_ms=5)
    assert feed.stamp() == 5
    run = feed.begin_run("box", True)
    assert feed.stamp() == 0, "its list was never complete"
    feed.finish_run(run, Listing("", False), 6)
    assert feed.stamp() == 0
    read_whole(feed, now_utc_ms=7, account="box")
    assert feed.stamp() == 5
    read_delta(feed, now_utc_ms=9)
    assert feed.stamp() == 7


def test_an_account_that_is_not_read_any_more_can_be_forgotten(feed: Feed, gate: FeedGate) -> None:
    read_whole(feed, *many(3), now_utc_ms=5)
    read_whole(feed, VendorTicket("1", "box"), now_utc_ms=6, account="box")
    gate.catch_up(feed)
    assert feed.accounts() == ["box", ACCOUNT]
    assert feed.forget(ACCOUNT) == feed.head()
    gate.catch_up(feed)
    assert set(gate.ids()) == {"1"}
    assert (feed.accounts(), feed.stamp(), feed.since(ACCOUNT)) == (["box"], 6, "")


@pytest.mark.parametrize(
    "ticket",
    [
        VendorTicket("x" * 256, "c"),
        VendorTicket("x", "c" * 7090),
        VendorTicket("x", "c", type="t" * 257),
        VendorTicket("x", "c\0"),
        VendorTicket("x\ud800", "c"),
        VendorTicket("x", "\udfff"),
    ],
)
def test_a_ticket_that_no_message_can_carry_is_reported_once(
    database: Database, feed: Feed, gate: FeedGate, ticket: VendorTicket
) -> None:
    read_whole(feed, ticket, VendorTicket("1", "fine"))
    read_whole(feed, ticket, VendorTicket("1", "fine"))
    gate.catch_up(feed)
    assert set(gate.ids()) == {"1"}
    (report,) = reports(database)
    assert "is not passed on to gates" in report


def test_a_ticket_that_becomes_unfit_is_gone(feed: Feed, gate: FeedGate) -> None:
    read_whole(feed, VendorTicket("1", "c"))
    gate.catch_up(feed)
    read_delta(feed, VendorTicket("1", "c", type="t" * 257))
    gate.catch_up(feed)
    assert gate.tickets == {}


def test_dates_out_of_all_bounds_become_the_bound(feed: Feed, gate: FeedGate) -> None:
    read_whole(
        feed,
        VendorTicket("1", "c", valid_from_ms=-5, valid_until_ms=1 << 60, inside=True, moved_utc_ms=-1),
    )
    gate.catch_up(feed)
    (listed,) = gate.tickets.values()
    assert (listed.valid_from_ms, listed.valid_until_ms) == (0, (1 << 53) - 1)
    assert [each.utc_ms for each in gate.moves] == [0]


# --- pages


def test_a_page_is_bounded_in_items_and_in_bytes(feed: Feed, gate: FeedGate) -> None:
    long = "ü" * 256
    read_whole(
        feed,
        *(VendorTicket(f"{n}", f"code {n}", Status.VALID, long, long, long, long, long) for n in range(100)),
    )
    read_delta(feed, *many(2000, first=100))
    pages = 0
    cursor, sizes, counts = 0, [], []
    while True:
        page = feed.page(cursor, feed.name)
        sizes.append(len(wire.encode(page)))
        counts.append(len(page.items))
        pages, cursor = pages + 1, page.upto
        if not page.more:
            break
    assert max(sizes) <= wire.PAYLOAD_BYTES_MAX
    assert sizes[0] > wire.PAYLOAD_BYTES_MAX - 4096, "full before the next one is begun"
    assert max(counts) == wire.ITEMS_MAX
    assert sum(counts) == 2100
    gate.catch_up(feed)
    assert len(gate.tickets) == 2100


@pytest.mark.parametrize("count", [wire.ITEMS_MAX, wire.ITEMS_MAX + 1])
def test_the_last_page_says_so(feed: Feed, count: int) -> None:
    read_whole(feed, *many(count))
    page = feed.page(0, "")
    assert page.more is (count > wire.ITEMS_MAX)
    assert len(page.items) == page.upto == wire.ITEMS_MAX


def test_a_new_list_does_not_begin_with_tickets_that_are_gone(feed: Feed) -> None:
    read_whole(feed, *many(3))
    read_whole(feed, *many(1))
    assert len(feed.page(0, "").items) == 1
    assert len(feed.page(1, feed.name).items) == 2, "whoever was there before must hear of it"


@pytest.mark.parametrize("name", ["", "another feed"])
def test_a_cursor_of_another_feed_begins_at_the_start(feed: Feed, name: str) -> None:
    read_whole(feed, *many(3))
    page = feed.page(2, name)
    assert (page.feed, page.after, len(page.items)) == (feed.name, 0, 3)


def test_a_cursor_that_this_ledger_never_gave_begins_at_the_start(feed: Feed) -> None:
    read_whole(feed, *many(3))
    assert feed.page(3, feed.name).after == 3
    assert feed.page(4, feed.name).after == 0


def test_live_changes_are_without_movements_of_gates(database: Database, feed: Feed) -> None:
    own = OwnGate(database)
    read_whole(feed, *many(1))
    own.moves("0", Direction.IN, 5)
    assert feed.changes(1) is None
    read_delta(feed, VendorTicket("1", "x", inside=True, moved_utc_ms=7))
    changes = feed.changes(1)
    assert changes is not None
    assert (changes.after, changes.upto, len(changes.items)) == (1, 5, 2)
    assert len(feed.page(1, feed.name).items) == 4


def test_live_changes_have_movements_of_gates_that_came_late_or_have_a_wrong_time(
    database: Database, feed: Feed
) -> None:
    own = OwnGate(database)
    read_whole(feed, *many(1))
    for at_utc_ms, late_ms in enumerate((-TOLD_MS - 1, -TOLD_MS, 0, TOLD_MS, TOLD_MS + 1), TOLD_MS):
        own.opens("0", Direction.IN, at_utc_ms, late_ms)
    changes = feed.changes(1)
    assert changes is not None
    heard = [item.utc_ms for item in changes.items if isinstance(item, wire.Moved)]
    assert heard == [TOLD_MS, TOLD_MS + 4]
    assert (changes.upto, len(feed.page(1, feed.name).items)) == (6, 5)


def test_after_very_many_movements_of_gates_a_message_without_items_keeps_cursors_close(
    database: Database, feed: Feed
) -> None:
    own = OwnGate(database)
    for _ in range(wire.ITEMS_MAX):
        own.opens("0", Direction.IN, 5)
    assert feed.changes(0) is None
    own.opens("0", Direction.IN, 5)
    changes = feed.changes(0)
    assert changes is not None
    assert (changes.upto, changes.items) == (wire.ITEMS_MAX + 1, ())


def test_a_gate_that_missed_something_hears_that_nothing_is_new_after_it(feed: Feed) -> None:
    read_whole(feed, *many(3), now_utc_ms=8)
    nothing = feed.nothing_new()
    assert (nothing.after, nothing.upto, nothing.items, nothing.stamp_utc_ms) == (3, 3, (), 8)


def test_what_live_changes_leave_out_is_asked_for_within_an_announcement(
    database: Database, feed: Feed
) -> None:
    read_whole(feed, *many(3), now_utc_ms=8)
    while feed.announce(9).message is not None:
        pass
    own = OwnGate(database)
    own.opens("0", Direction.IN, 5)
    nothing = feed.announce(9 + ANNOUNCE_MS).message
    assert nothing is not None
    assert (nothing.after, nothing.upto, nothing.items) == (4, 4, ())  # a gate at 3 asks


def test_a_page_waits_for_no_writer(database: Database, feed: Feed) -> None:
    read_whole(feed, *many(3))
    with database.transaction():
        assert len(feed.page(0, "").items) == 3


def test_a_page_is_found_by_number_and_not_by_looking_at_all_tickets(database: Database, feed: Feed) -> None:
    plans: list[str] = []

    def explain(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        if "ORDER BY ticket.number" in statement or "ORDER BY movement.number" in statement:
            with database.look() as connection:
                raw = connection.connection.cursor()
                raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
                plans.append(" ".join(row[3] for row in raw.fetchall()))

    engine = database._engine
    if engine.dialect.name == "postgresql":
        pytest.skip("PostgreSQL chooses its plan by how much there is, and here is next to nothing")
    event.listen(engine, "before_cursor_execute", explain)
    feed.page(0, feed.name)
    assert len(plans) == 2
    for plan in plans:
        assert "(number>? AND number<?)" in plan or "PRIMARY KEY (rowid>? AND rowid<?)" in plan
        assert "TEMP B-TREE" not in plan


def test_readers_miss_nothing_while_a_vendors_list_comes_in(url: str, feed: Feed) -> None:
    done = threading.Event()
    failures: list[BaseException] = []
    gates = [FeedGate(), FeedGate()]

    def read(gate: FeedGate) -> None:
        try:
            with Database(url) as mine:
                other = Feed(mine, "arena", KEY)
                while not done.is_set():
                    gate.page(other)
                gate.catch_up(other)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read, args=(gate,)) for gate in gates]
    for thread in threads:
        thread.start()
    try:
        for turn in range(5):
            run = feed.begin_run(ACCOUNT, True)
            for start in range(0, 600, 100):
                page = [VendorTicket(str(n), f"code {n + turn * (n % 2)}") for n in range(start, start + 100)]
                feed.take(run, page)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
    fresh = FeedGate()
    fresh.catch_up(feed)
    assert gates[0].tickets == gates[1].tickets == fresh.tickets


# --- the key


def test_the_feed_keeps_its_name(url: str, feed: Feed, tmp_path: Path) -> None:
    with Database(url) as again, Database(f"sqlite:///{tmp_path / 'other.db'}") as other:
        assert Feed(again, "arena", KEY).name == feed.name
        assert Feed(other, "arena", KEY).name != feed.name


def test_a_ledger_whose_digests_have_another_key_is_refused(database: Database, feed: Feed) -> None:
    with pytest.raises(FeedKeyChanged, match="another venue key: put the key of"):
        Feed(database, "arena", OTHER_KEY)
    with pytest.raises(ForeignLedger, match="ledger of venue 'arena', not 'club': give each venue a ledger"):
        Feed(database, "club", KEY)
    with pytest.raises(ForeignLedger, match="not 'club'"):
        rekey(database, "club", OTHER_KEY)


def test_digests_can_be_made_with_another_key(database: Database, feed: Feed, gate: FeedGate) -> None:
    read_whole(feed, *many(2500))
    gate.catch_up(feed)
    assert rekey(database, "arena", OTHER_KEY) == 2500
    new = Feed(database, "arena", OTHER_KEY)
    assert new.name != feed.name
    with pytest.raises(FeedKeyChanged):
        feed.page(0, "")
    with pytest.raises(FeedKeyChanged):
        feed.take(feed.begin_run(ACCOUNT, False), many(1))
    gate.catch_up(new)
    assert gate.ids() == {str(n): digest_of(keyed(OTHER_KEY), f"code {n}") for n in range(2500)}
    assert rekey(database, "arena", OTHER_KEY) == 0, "nothing to do"
    assert Feed(database, "arena", OTHER_KEY).name == new.name


def test_no_one_serves_a_feed_whose_new_digests_are_half_made(database: Database, feed: Feed) -> None:
    read_whole(feed, *many(2500))
    seen = []

    def cut(_: object, __: object, statement: str, *more: object) -> None:
        if statement.startswith("UPDATE ticket"):
            seen.append(statement)
            if len(seen) == 2:
                raise KeyboardInterrupt

    event.listen(database._engine, "before_cursor_execute", cut)
    with pytest.raises(KeyboardInterrupt):
        rekey(database, "arena", OTHER_KEY)
    event.remove(database._engine, "before_cursor_execute", cut)
    for key in (KEY, OTHER_KEY):
        with pytest.raises(FeedKeyChanged):
            Feed(database, "arena", key)
    rekey(database, "arena", OTHER_KEY)
    gate = FeedGate()
    gate.catch_up(Feed(database, "arena", OTHER_KEY))
    assert gate.ids()["2499"] == digest_of(keyed(OTHER_KEY), "code 2499")


def test_a_clear_code_never_leaves_the_bridge(database: Database, feed: Feed) -> None:
    read_whole(feed, VendorTicket("1", "05.1803.?000082?.275109.20"))
    assert b"275109" not in wire.encode(feed.page(0, ""))
    with database.look() as connection:
        assert (
            connection.execute(text("SELECT code FROM ticket")).scalar_one() == "05.1803.?000082?.275109.20"
        )
