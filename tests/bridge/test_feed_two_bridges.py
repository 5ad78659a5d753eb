"""Two bridges that read one account on one ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.bridge.database import Database
from firmware.bridge.feed import Feed
from firmware.bridge.tickets import concerned, merged, store
from firmware.bridge.vendor import VendorTicket
from tests.bridge.feeds import ACCOUNT, KEY, digest, read_whole

TICKET = VendorTicket("1", "code 1")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def test_an_older_run_does_not_make_a_ticket_look_missed_by_a_later_one(database: Database) -> None:
    read_whole(Feed(database, "arena", KEY), TICKET)
    listed = {f"{ACCOUNT}:1": TICKET}
    with database.transaction() as connection:
        for run in (9, 8):
            before = concerned(connection, listed)
            store(connection, before, merged(before, listed, ACCOUNT, run, digest), ())
        assert concerned(connection, listed)[f"{ACCOUNT}:1"].seen == 9
