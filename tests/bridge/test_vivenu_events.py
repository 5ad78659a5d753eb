"""Several events in one account at vivenu, of which it has some and others not."""

from typing import Any

import httpx
import pytest

from firmware.bridge.vendor import Accepted, Misconfigured, NotSent, Refused
from firmware.core.ticket import Verdict
from tests.bridge.conversation import Talk, query
from tests.bridge.vivenu_talk import (
    DATE_MS,
    EVENT,
    OTHER,
    answering,
    asked,
    endpoint,
    me,
    no_such,
    page,
    question,
    reply,
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


@pytest.mark.parametrize(
    ("let_in", "ours", "named", "verdict"),
    [
        ((EVENT, "e3"), (EVENT, OTHER, "e3"), {}, Verdict.WRONG_EVENT),
        ((EVENT, "e9"), (EVENT, OTHER), {"eventId": EVENT}, Verdict.WRONG_EVENT),
        ((EVENT, "e9"), (OTHER,), {}, Verdict.WRONG_EVENT),
        (("e8", "e9"), (EVENT, OTHER), {}, Verdict.WRONG_EVENT),
        ((EVENT, OTHER), (EVENT, OTHER, "e3"), {}, None),
        ((OTHER, "e9"), (EVENT, OTHER), {"eventId": OTHER}, None),
        ((), (EVENT, OTHER), {}, None),
    ],
)
def test_a_gate_of_several_events_lets_in_those_and_no_other_of_the_accounts(
    let_in: tuple[str, ...], ours: tuple[str, ...], named: dict[str, str], verdict: Verdict | None
) -> None:
    granted = reply({"access": "GRANTED", "ticket": row(eventId=OTHER)})
    vendor = answering(ticket=reply(row(eventId=OTHER)), scan=granted)
    talk = Talk(vivenu(events=ours).ask(question(event="", events=let_in), {}), vendor)
    looked = next(request for request in talk.requests if endpoint(request) == "ticket")
    assert query(looked) == named
    if verdict is None:
        assert isinstance(talk.result, Accepted)
    else:
        assert isinstance(talk.result, Refused)
        assert talk.result.verdict is verdict
        assert "scan" not in asked(talk.requests), "a ticket of another event that was scanned is burnt"


@pytest.mark.parametrize(
    ("elsewhere", "verdict"),
    [
        (reply(row(eventId=OTHER)), Verdict.WRONG_EVENT),
        (reply(row(eventId=None)), Verdict.UNKNOWN),
        (no_such(), Verdict.UNKNOWN),
        (reply({}, 503), Verdict.UNKNOWN),
        (reply({}, 401), Verdict.UNKNOWN),
        (NotSent("no time left"), Verdict.UNKNOWN),
    ],
    ids=repr,
)
def test_a_ticket_that_is_not_of_the_event_is_told_from_none_at_all(elsewhere: Any, verdict: Verdict) -> None:
    vendor = answering(ticket=lambda request: no_such() if query(request) else elsewhere)
    talk = Talk(vivenu().ask(question(), {}), vendor)
    assert isinstance(talk.result, Refused)
    assert talk.result.verdict is verdict
    assert asked(talk.requests) == ["me", "ticket", "ticket"]
