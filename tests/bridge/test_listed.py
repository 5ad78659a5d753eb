"""What an ask hears of the list: the ledger's, whichever bridge read it, and only while it is fresh."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from firmware.bridge.database import Database, NeverTaken
from firmware.bridge.feed import Feed
from firmware.bridge.listed import FRESH_MS_MIN, FRESH_POLLS, ListedTickets
from firmware.bridge.vendor import Question, VendorTicket
from firmware.core.ticket import Direction, Perimeter, Status
from tests.bridge.feeds import ACCOUNT, KEY, read_whole
from tests.bridge.ledgers import ledger_at

pytestmark = pytest.mark.usefixtures("any_ledger", "unhurried")  # on SQLite, and on PostgreSQL

NOW_MS = 1_895_439_600_000
RESERVED = VendorTicket(
    "E1TC2T3", "code 3", Status.BLOCKED, "gala", "night", "adult", "A", "north", NOW_MS, NOW_MS + 1
)
ISSUED = RESERVED._replace(status=Status.VALID, valid_from_ms=None)
ASKED = Question("code 3", "E1TC2T3", "", "", Direction.IN, Perimeter.OUTER, NOW_MS, "north")
STRANGE = ASKED._replace(ticket_id="")


class Bridge:
    """One of a ledger: what it reads, and what its asks hear."""

    def __init__(self, database: Database, reader: str) -> None:
        self.now_ms = NOW_MS
        self.feed = Feed(database, "arena", KEY, reader)
        polls = {ACCOUNT: 60, "slow": 600}
        self.find = ListedTickets(database, lambda: self.now_ms, polls).find

    def read(self, *tickets: VendorTicket, account: str = ACCOUNT) -> None:
        read_whole(self.feed, *tickets, now_utc_ms=self.now_ms, account=account)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(ledger_at(tmp_path / "ledger.db")) as opened:
        yield opened


@pytest.fixture
def one(database: Database) -> Bridge:
    return Bridge(database, "one")


@pytest.mark.parametrize("question", [ASKED, STRANGE])
def test_a_ticket_is_found_by_its_id_and_by_its_code_with_all_that_is_listed(
    one: Bridge, question: Question
) -> None:
    assert one.find(ACCOUNT, question) is None
    one.read(RESERVED, VendorTicket("E1TC2T4", "code 4"))
    assert one.find(ACCOUNT, question) == RESERVED


def test_the_list_is_that_of_the_bridge_that_read_last(database: Database, one: Bridge) -> None:
    other = Bridge(database, "other")
    one.read(RESERVED)
    assert other.find(ACCOUNT, ASKED) == RESERVED, "one that never read has it too"
    other.read(ISSUED)
    assert one.find(ACCOUNT, ASKED) == ISSUED


@pytest.mark.parametrize(("account", "fresh_ms"), [(ACCOUNT, FRESH_MS_MIN), ("slow", FRESH_POLLS * 600_000)])
@pytest.mark.parametrize("way", [1, -1])
def test_a_list_that_was_not_read_for_long_says_nothing(
    one: Bridge, account: str, fresh_ms: int, way: int
) -> None:
    one.read(RESERVED, account=account)
    one.now_ms += way * fresh_ms
    assert one.find(account, ASKED) == RESERVED
    one.now_ms += way
    assert one.find(account, ASKED) is None
    one.now_ms = NOW_MS + fresh_ms * 2
    one.read(ISSUED, account=account)
    assert one.find(account, ASKED) == ISSUED


def test_a_ticket_of_another_account_or_that_is_gone_is_not_listed(one: Bridge) -> None:
    one.read(RESERVED)
    one.read(VendorTicket("E1TC2T9", "code 9"), account="slow")
    assert one.find("slow", ASKED) is None
    assert one.find("slow", STRANGE) is None, "the code is another account's"
    one.read(VendorTicket("E1TC2T4", "code 4"))
    assert one.find(ACCOUNT, ASKED) is None
    assert one.find(ACCOUNT, STRANGE) is None
    assert one.find(ACCOUNT, STRANGE._replace(code="")) is None


def test_a_code_that_no_database_takes_is_not_a_ledger_that_is_lost(one: Bridge) -> None:
    one.read(RESERVED)
    with suppress(NeverTaken):
        assert one.find(ACCOUNT, STRANGE._replace(code="code\0 3")) is None
    assert one.find(ACCOUNT, STRANGE) == RESERVED
