"""When a vendor's list is read, and what is said of it."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from firmware.bridge.feed import DOUBT_MS, Feed
from firmware.bridge.vending import (
    HOUR_MS,
    WHOLE_AFTER_MS,
)
from firmware.bridge.vendor import (
    SHRUNK_UNUSED_MIN,
    Listing,
    Misconfigured,
    Outage,
    Page,
    VendorTicket,
)
from firmware.core.ticket import Status
from tests.bridge.feeds import KEY
from tests.bridge.model_gate import VENUE, books
from tests.bridge.offices import Office, Script, script

YEAR_MS = 365 * 86_400_000

pytestmark = pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Office]:
    with books(tmp_path) as found:
        office = Office(found, Script())
        with office.driver:
            yield office


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


def test_a_clock_that_was_wrong_puts_off_no_whole_list(at: Office) -> None:
    at.at_ms += YEAR_MS
    at.read()
    at.at_ms -= YEAR_MS
    at.read()
    at.read()
    assert script(at).asked == ["", "", "since"]


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


def test_one_that_compares_reads_the_whole_list_after_a_start_and_after_another_bridge(at: Office) -> None:
    script(at).compares = True
    at.account = at.another()
    at.read()
    at.read()
    other = at.another("other bridge")
    other.reading._turn()
    other.reading._turn()
    script(at).listings = [Listing("of the other", False)]
    other.reading._turn()
    at.read()
    at.read()
    assert script(at).asked == ["", "since", "", "since", "since", "", "since"]


def test_one_that_compares_reads_whole_lists_until_one_is_whole_and_believed(at: Office) -> None:
    script(at).compares = True
    at.account = at.another()
    tickets = tuple(VendorTicket(str(number), f"code {number}") for number in range(SHRUNK_UNUSED_MIN))
    script(at).pages = (Page(tickets),)
    whole = Listing("since", True, unseen=Status.USED)
    script(at).listings = [whole, Outage("cut"), Listing("", False), Listing("since", False, 0, "odd"), whole]
    for _ in range(4):
        with suppress(Outage):
            assert at.read() == 10.0
    at.read()
    script(at).pages = ()
    script(at).listings = [Listing("", False, 0, "20 of 20 codes are missing"), *[whole] * 3]
    for _ in range(3):
        at.read()
        assert [fault.thing for fault in at.faults.now()] == ["the list of acme"]
    at.at_ms += DOUBT_MS
    at.read()
    assert at.faults.now() == []
    at.read()
    assert script(at).asked == ["", "since", "since", "", "", "since", "", "", "", "since"]


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
