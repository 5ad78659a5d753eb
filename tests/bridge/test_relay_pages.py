"""Gates that ask for the same page at the same moment."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware import wire
from firmware.bridge.relay import PAGE_SHARED_MS
from firmware.bridge.vendor import VendorTicket
from tests.bridge.feeds import read_whole
from tests.bridge.relays import Desk, TapeSession, desk, topic
from tests.core.samples import NOON_MS

GATES = ("a", "b", "c")


class Counted:
    """How often the feed was asked for a page."""

    def __init__(self, at: Desk) -> None:
        self.times = 0
        self._page, at.feed.page = at.feed.page, self.page  # type: ignore[method-assign]  # it is only watched

    def page(self, cursor: int, feed: str, now_utc_ms: int = 0) -> wire.CataloguePage:
        self.times += 1
        return self._page(cursor, feed, now_utc_ms)


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as found:
        yield found


def pages(at: Desk, cursor: int) -> list[wire.CataloguePage]:
    """What each gate gets from there."""
    line = TapeSession()
    at.relay.connected(line.session)
    asked = wire.encode(wire.CatalogueRequest(feed=at.feed.nothing_new().feed, cursor=cursor, pages=1))
    for gate in GATES:
        line.bring(at.relay, topic(wire.REQUEST, gate), asked)
    while at.page() == 0.0:
        pass
    sent = line.link.sent.values()
    assert {publication.topic for publication in sent} == {topic(wire.PAGE, gate) for gate in GATES}
    return [wire.decode(publication.payload, wire.CataloguePage) for publication in sent]


def test_a_page_is_made_once_for_all_gates_that_ask_from_one_place(at: Desk) -> None:
    read_whole(at.feed, *(VendorTicket(f"t{number}", f"C{number}") for number in range(5)))
    counted = Counted(at)
    first, second, third = pages(at, 0)
    assert first == second == third
    assert (len(first.items), counted.times) == (5, 1)
    pages(at, 1)
    assert counted.times == 2, "another place is another page"


def test_a_page_is_not_shared_for_long(at: Desk) -> None:
    read_whole(at.feed, VendorTicket("a", "A"))
    counted = Counted(at)
    for now_ms, times in ((NOON_MS, 1), (NOON_MS + PAGE_SHARED_MS - 1, 1), (NOON_MS + PAGE_SHARED_MS, 2)):
        at.now_ms = now_ms
        pages(at, 0)
        assert counted.times == times


def test_what_is_new_is_in_the_page_of_a_gate_that_had_all_before(at: Desk) -> None:
    read_whole(at.feed, VendorTicket("a", "A"))
    head = at.feed.head()
    assert all(not page.items for page in pages(at, head))
    read_whole(at.feed, VendorTicket("a", "A"), VendorTicket("b", "B"))
    for page in pages(at, head):
        assert [item.ticket_id for item in page.items if isinstance(item, wire.Listed)] == ["ing:b"]
