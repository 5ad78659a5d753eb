"""A ledger that was put back from an older copy, with gates that know more than it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from firmware import wire
from firmware.bridge.database import Database
from firmware.bridge.feed import RENAME_MS_MIN, Feed, ReadElsewhere
from firmware.bridge.ledger import Ledger
from firmware.bridge.vendor import Listing, VendorTicket
from firmware.core.ticket import Status
from firmware.venue_key import digest_of
from tests.feeds import CODES, KEY, NOW_MS, Gate, opened

pytestmark = pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL


@contextmanager
def feed_in(file: Path) -> Iterator[tuple[Database, Feed]]:
    with Database(f"sqlite:///{file}") as database:
        yield database, Feed(database, "hall", KEY)


def sell(feed: Feed, names: list[str], status: Status = Status.VALID, whole: bool = False) -> None:
    run = feed.begin_run("a", whole, NOW_MS)
    feed.take(run, [VendorTicket(name, f"CODE-{name}", status=status) for name in names])
    feed.finish_run(run, Listing("since", whole), NOW_MS)


def ask_until_there(gate: Gate, feed: Feed) -> None:
    """As the uplink and the relay do it, page by page, until the gate is at the present."""
    gate.sync.connected()
    for _ in range(1000):
        request = gate.ask()
        name, cursor = request.feed, request.cursor
        for _ in range(request.pages):
            page = feed.page(cursor, name, NOW_MS)
            taken = gate.sync.take(wire.decode(wire.encode(page), wire.CataloguePage))
            assert taken.fault == ""
            name, cursor = page.feed, page.upto
            if not page.more:
                break
        if taken.done:
            return
    raise AssertionError("the present is never reached")


def status_at(gate: Gate, name: str) -> Status | None:
    ticket = gate.catalogue.get(digest_of(CODES, f"CODE-{name}"))
    return None if ticket is None else ticket.status


def test_a_refund_under_a_number_that_gates_have_seen_reaches_all_of_them(tmp_path: Path) -> None:
    ledger, copy = tmp_path / "ledger.db", tmp_path / "yesterday.db"
    with feed_in(ledger) as (_, feed):
        sell(feed, [f"t{at}" for at in range(20)], whole=True)
    shutil.copy(ledger, copy)
    asks, sleeps = opened(tmp_path / "asks"), opened(tmp_path / "sleeps")
    gates = [next(asks), next(sleeps)]
    with feed_in(ledger) as (_, feed):
        sell(feed, [f"n{at}" for at in range(10)])
        for gate in gates:
            ask_until_there(gate, feed)
            assert gate.sync.cursor == 30
    with feed_in(copy) as (database, feed):
        sell(feed, ["t3"], Status.REFUNDED)
        ask_until_there(gates[0], feed)
        sell(feed, [f"n{at}" for at in range(10)])
        assert feed.head() > 30, "the other gate asks only now"
        for gate in gates:
            ask_until_there(gate, feed)
            assert status_at(gate, "t3") is Status.REFUNDED
            assert status_at(gate, "n9") is Status.VALID
        (report,) = Ledger(database, "hall", ()).reports(0, 10)
        assert "put back from an older copy" in report.text


def test_one_gate_makes_the_others_fetch_everything_once_an_hour_at_most(tmp_path: Path) -> None:
    with feed_in(tmp_path / "ledger.db") as (database, feed):
        sell(feed, ["t1"], whole=True)
        names = [feed.name]
        for at_ms in (NOW_MS, NOW_MS + 1, NOW_MS + RENAME_MS_MIN - 1, NOW_MS + RENAME_MS_MIN):
            page = feed.page(1 << 40, feed.name, at_ms)
            assert (page.after, page.upto, len(page.items)) == (0, 1, 1)
            names.append(page.feed)
        assert names[1] == names[2] == names[3]
        assert len(set(names)) == 3
        assert len(Ledger(database, "hall", ()).reports(0, 10)) == 2


def test_two_bridges_of_one_ledger_have_the_same_new_name(tmp_path: Path) -> None:
    with feed_in(tmp_path / "l.db") as (_, one), feed_in(tmp_path / "l.db") as (_, other):
        sell(one, ["t1"], whole=True)
        old = one.name
        new = one.page(7, old, NOW_MS).feed
        assert new != old
        assert other.page(7, old, NOW_MS).feed == new
        assert other.nothing_new().feed == new
        sell(other, ["t2"])
        assert one.page(1, new, NOW_MS).after == 1


def test_a_reading_begun_while_another_clock_ran_ahead_keeps_nobody_off(tmp_path: Path) -> None:
    with feed_in(tmp_path / "l.db") as (_, one), feed_in(tmp_path / "l.db") as (_, other):
        one.begin_run("a", True, NOW_MS + 86_400_000)
        other.begin_run("a", True, NOW_MS)
        with pytest.raises(ReadElsewhere):
            one.begin_run("a", True, NOW_MS)
