"""What a vendor says about movements: echoes of our own, old words, and what happened elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.bridge.database import Database
from firmware.bridge.feed import Feed
from firmware.bridge.foreign import ECHO_MS, NOTHING, Known, is_foreign
from firmware.bridge.vendor import VendorTicket
from firmware.core.movements import Act
from firmware.core.ticket import Direction, Perimeter
from tests.bridge.feeds import ACCOUNT, KEY, FeedGate, OwnGate, noted, read_delta, read_whole
from tests.bridge.ledgers import ledger_at

pytestmark = pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL

IN, OUT = Direction.IN, Direction.OUT


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(ledger_at(tmp_path / "ledger.db")) as opened:
        yield opened


@pytest.fixture
def feed(database: Database) -> Feed:
    return Feed(database, "arena", KEY)


@pytest.fixture
def own(database: Database) -> OwnGate:
    return OwnGate(database)


def said(inside: bool, moved_utc_ms: int | None) -> VendorTicket:
    return VendorTicket("1", "c", inside=inside, moved_utc_ms=moved_utc_ms)


def test_a_ticket_that_went_in_elsewhere_is_noted_once(database: Database, feed: Feed) -> None:
    for _ in range(3):
        read_whole(feed, said(True, 50))
    assert noted(database) == [("1", "in", 50)]
    read_delta(feed, said(False, 60))
    read_whole(feed, said(False, 60))
    read_delta(feed, said(True, 70))
    assert noted(database) == [("1", "in", 50), ("1", "out", 60), ("1", "in", 70)]


def test_a_foreign_movement_reaches_gates_as_noted(feed: Feed) -> None:
    read_whole(feed, said(True, 50))
    gate = FeedGate()
    gate.catch_up(feed)
    (move,) = gate.moves
    assert (move.gate, move.row, move.act, move.subject) == ("", 2, Act.NOTED, "ing:1")
    assert (move.direction, move.perimeters, move.utc_ms) == (IN, (Perimeter.OUTER,), 50)


def test_a_ticket_that_never_moved_is_no_movement(database: Database, feed: Feed) -> None:
    read_whole(feed, said(False, None), VendorTicket("2", "d"))
    assert noted(database) == []


@pytest.mark.parametrize("echo_ms", [10, 25, 300_000])
def test_the_echo_of_an_own_entry_is_not_a_second_one(
    database: Database, feed: Feed, own: OwnGate, echo_ms: int
) -> None:
    own.tells("1", IN, at_utc_ms=10, done_ms=20)
    read_whole(feed, said(True, echo_ms), now_utc_ms=15)
    read_whole(feed, said(True, echo_ms), now_utc_ms=400_000)
    assert noted(database) == []


@pytest.mark.parametrize("state", ["untimed", "due", "claimed"])
def test_an_exit_that_the_vendor_was_not_told_yet_is_not_undone(
    database: Database, feed: Feed, own: OwnGate, state: str
) -> None:
    own.tells("1", IN, at_utc_ms=10, done_ms=20)
    own.work(own.moves("1", OUT, 30), state)
    read_whole(feed, said(True, 20), now_utc_ms=100)
    read_whole(feed, said(True, 90), now_utc_ms=200)
    assert noted(database) == []


@pytest.mark.parametrize("echo_ms", [10, 31, 30 + ECHO_MS])
def test_an_exit_made_since_is_not_undone_by_a_list_that_was_read_before_it_was_told(
    database: Database, feed: Feed, own: OwnGate, echo_ms: int
) -> None:
    own.tells("1", IN, at_utc_ms=10, done_ms=20)
    own.tells("1", OUT, at_utc_ms=25, done_ms=30)
    read_delta(feed, said(True, echo_ms), now_utc_ms=30)
    assert noted(database) == []


def test_an_exit_elsewhere_after_our_entry_is_noted(database: Database, feed: Feed, own: OwnGate) -> None:
    own.tells("1", IN, at_utc_ms=10, done_ms=20)
    read_delta(feed, said(False, 22), now_utc_ms=20)
    assert noted(database) == [], "it may be an old word: the list was begun before the vendor's answer"
    read_delta(feed, said(False, 22), now_utc_ms=21)
    assert noted(database) == [("1", "out", 22)]


def test_a_refused_entry_explains_nothing_else(database: Database, feed: Feed, own: OwnGate) -> None:
    own.work(own.moves("1", IN, 30), "done", 40, "refused")
    read_delta(feed, said(True, 20), now_utc_ms=50)
    assert noted(database) == [], "inside all the same"
    read_delta(feed, said(False, 20), now_utc_ms=60)
    assert noted(database) == [], "older than what we saw"
    read_delta(feed, said(False, 70), now_utc_ms=80)
    assert noted(database) == [("1", "out", 70)]


def test_an_opening_that_is_not_settled_explains_nothing(
    database: Database, feed: Feed, own: OwnGate
) -> None:
    own.opens("1", IN, 10)
    read_delta(feed, said(True, 5), now_utc_ms=20)
    assert noted(database) == [("1", "in", 5)], "the vendor was never told of it"


def test_movements_of_another_account_explain_nothing(database: Database, feed: Feed, own: OwnGate) -> None:
    own.tells("1", IN, at_utc_ms=10, done_ms=20)
    read_whole(feed, said(True, 10), account="box")
    assert noted(database) == [("1", "in", 10)]


def test_a_word_without_a_time_has_that_of_the_run(database: Database, feed: Feed) -> None:
    read_whole(feed, said(True, None), now_utc_ms=77)
    assert noted(database) == [("1", "in", 77)]


def test_a_run_without_a_time_believes_a_word_that_is_later_than_any_echo(
    database: Database, feed: Feed, own: OwnGate
) -> None:
    own.tells("1", IN, at_utc_ms=10, done_ms=20)
    for moved_utc_ms in (None, 20 + ECHO_MS, 21 + ECHO_MS):
        feed.take(feed.begin_run(ACCOUNT, False), [said(False, moved_utc_ms)])
    assert noted(database) == [("1", "out", 21 + ECHO_MS)]


@pytest.mark.parametrize(
    ("inside", "moved_utc_ms", "known", "began_utc_ms", "foreign"),
    [
        (True, 50, NOTHING, 0, True),
        (True, None, NOTHING, 0, True),
        (False, 50, NOTHING, 0, False),
        (False, 50, Known(IN), 0, True),
        (False, 50, Known(IN, waiting=True), 0, False),
        (False, 9, Known(IN, False, 10, 20), 21, False),
        (False, 10, Known(IN, False, 10, 20), 21, True),
        (False, 10, Known(IN, False, 10, 20), 20, False),
        (False, 20 + ECHO_MS, Known(IN, False, 10, 20), 20, False),
        (False, 21 + ECHO_MS, Known(IN, False, 10, 20), 20, True),
        (False, None, Known(IN, False, 10, 20), 20, False),
        (False, None, Known(IN, False, 10, 20), 21, True),
        (True, 21 + ECHO_MS, Known(IN, False, 10, 20), 21, False),
    ],
)
def test_each_edge_of_what_counts_as_foreign(
    inside: bool, moved_utc_ms: int | None, known: Known, began_utc_ms: int, foreign: bool
) -> None:
    assert is_foreign(inside, moved_utc_ms, known, began_utc_ms) is foreign
