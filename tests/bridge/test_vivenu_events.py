"""Several events in one account at vivenu, of which it has some and others not."""

from typing import Any

import httpx
import pytest

from firmware.bridge.vendor import Misconfigured
from tests.bridge.conversation import Talk, query
from tests.bridge.vivenu_talk import (
    DATE_MS,
    EVENT,
    OTHER,
    answering,
    endpoint,
    me,
    no_such,
    page,
    row,
    vivenu,
)

LATER = "Sun, 17 Mar 2030 17:46:50 GMT"


def listing_of(**by_event: httpx.Response) -> Any:
    """The list's endpoint, which has these events and no other."""
    return lambda request: by_event.get(request.url.path.rpartition("/")[2], no_such())


def test_an_event_that_vivenu_does_not_know_stops_no_other() -> None:
    vendor = vivenu(events=(OTHER, EVENT))
    talk = Talk(vendor.tickets(""), answering(list=listing_of(e1=page([row()]))))
    assert {ticket.event for ticket in talk.tickets} == {EVENT}
    assert not talk.result.whole, "tickets of the other one are not gone"
    assert "vivenu has no event e2 for this access user: correct [[vendor.event]]" in talk.result.text
    assert talk.result.since.startswith(str(DATE_MS - 60_000)), "the next look at this one goes on from here"
    with pytest.raises(Misconfigured, match="vivenu has no event e2"):
        Talk(vendor.tickets(""), answering(list=listing_of()))


@pytest.mark.parametrize("restarted", [False, True])
def test_an_event_that_vivenu_has_by_now_is_read_from_its_beginning(restarted: bool) -> None:
    def began(talk: Talk[Any]) -> set[tuple[str, bool]]:
        lists = [request for request in talk.requests if endpoint(request) == "list"]
        return {(r.url.path[-2:], "from" in query(r)) for r in lists if "until" in query(r)}

    vendor = vivenu(events=(EVENT, OTHER))
    since = Talk(vendor.tickets(""), answering(list=listing_of(e1=page([])))).result.since
    soon = me()
    soon.headers["Date"] = LATER
    vendor = vivenu(events=(EVENT, OTHER)) if restarted else vendor
    old = row(eventId=OTHER, updatedAt="2029-01-01T00:00:00.000Z")
    talk = Talk(vendor.tickets(since), answering(soon, list=listing_of(e1=page([]), e2=page([old]))))
    assert began(talk) == {(EVENT, not restarted), (OTHER, False)}
    assert {ticket.event for ticket in talk.tickets} == {OTHER}
    assert talk.result.text == ""
    after = Talk(
        vendor.tickets(talk.result.since), answering(soon, list=listing_of(e1=page([]), e2=page([])))
    )
    assert began(after) == {(EVENT, True), (OTHER, True)}


def test_a_probe_counts_the_events_that_are_there_and_names_the_others() -> None:
    by_path = {"seller": no_such(), "events": no_such(), "list": listing_of(e1=page([row()], 1234))}
    text = Talk(vivenu(events=(OTHER, EVENT)).probe(), answering(**by_path)).result
    assert "2 events, 1234 tickets" in text
    assert "vivenu has no event e2 for this access user: correct [[vendor.event]]" in text
    with pytest.raises(Misconfigured, match="vivenu has no event e2"):
        Talk(vivenu(events=(OTHER, EVENT)).probe(), answering(**{**by_path, "list": no_such()}))
