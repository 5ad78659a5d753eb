"""What live changes leave out, movements of gates, comes by pages to whoever cannot have heard of it."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from firmware import wire
from firmware.sync import NOTE_S, RETRY_S, Taken
from tests.feeds import Bridge, Gate, moved, opened


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    yield from opened(tmp_path / "data")


@pytest.fixture
def bridge() -> Bridge:
    one = Bridge()
    for name in "abcdefgh":
        one.sell(name)
    return one


def live(bridge: Bridge, after: int) -> wire.Changes:
    """As a bridge tells of changes: without what gates tell each other."""
    changes = bridge.changes(after)
    items = tuple(item for item in changes.items if not isinstance(item, wire.Moved))
    return msgspec.structs.replace(changes, items=items)


def one_page(bridge: Bridge, cursor: int) -> wire.CataloguePage:
    (page,) = bridge.pages(wire.CatalogueRequest(feed="f1", cursor=cursor, pages=1))
    return page


def test_tickets_count_at_once_and_the_next_question_begins_where_a_movement_was_left_out(
    gate: Gate, bridge: Bridge
) -> None:
    gate.follow(bridge)
    bridge.say(moved(1))  # of a card that was taken out; the bridge got it only now
    bridge.refund("a")
    assert gate.sync.take_changes(live(bridge, 8)) == Taken(done=True)
    assert gate.holds(bridge)
    assert (gate.sync.cursor, gate.noted) == (10, [])
    gate.sync.connected()
    request = gate.ask()
    assert request.cursor == 8
    assert gate.sync.take(one_page(bridge, request.cursor)).done
    assert (gate.sync.cursor, gate.noted) == (10, [moved(1)])
    assert gate.holds(bridge)
    gate.sync.connected()
    assert gate.ask().cursor == 10, "what was fetched once is not fetched again"


def test_a_gate_that_ends_before_it_asked_goes_on_where_the_movement_was_left_out(
    tmp_path: Path, bridge: Bridge
) -> None:
    for gate in opened(tmp_path):
        gate.follow(bridge)
        bridge.say(moved(1))
        bridge.refund("a")
        gate.sync.take_changes(live(bridge, 8))
    for gate in opened(tmp_path):
        request = gate.ask()
        assert (request.cursor, gate.sync.cursor) == (8, 8)
        gate.sync.take(one_page(bridge, 8))
        assert (gate.sync.cursor, gate.noted) == (10, [moved(1)])
        assert gate.holds(bridge)


def test_live_changes_that_overtake_a_page_do_not_pass_over_what_it_has(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    bridge.say(moved(1))  # while this gate was away
    gate.sync.connected()
    page = one_page(bridge, gate.ask().cursor)
    bridge.refund("a")
    gate.sync.take_changes(live(bridge, 8))
    assert gate.sync.cursor == 10
    gate.takes_notes[0] = False
    assert not gate.sync.take(page).done
    gate.takes_notes[0] = True
    gate.wait(NOTE_S)
    assert gate.sync.take(page).done
    assert (gate.sync.cursor, gate.noted) == (10, [moved(1)])
    assert gate.holds(bridge)


def test_a_page_that_ends_before_live_changes_does_not_bring_older_tickets_back(
    gate: Gate, bridge: Bridge
) -> None:
    gate.follow(bridge)
    bridge.say(moved(1))
    bridge.sell("a", sector="old")
    gate.sync.connected()
    page = one_page(bridge, gate.ask().cursor)
    bridge.say(moved(2))
    bridge.sell("a", sector="new")
    gate.sync.take_changes(live(bridge, 8))
    assert gate.sync.take(page).done
    assert gate.holds(bridge)
    assert (gate.sync.cursor, gate.noted) == (12, [moved(1)])
    gate.sync.connected()
    request = gate.ask()
    assert request.cursor == 10
    gate.sync.take(one_page(bridge, 10))
    assert gate.noted == [moved(1), moved(2)]
    assert gate.holds(bridge)


def test_a_message_without_items_is_asked_about_where_movements_lie_before_its_end(
    gate: Gate, bridge: Bridge
) -> None:
    gate.follow(bridge)
    bridge.say(moved(1))
    bridge.refund("a")
    bridge.say(moved(2))
    gate.sync.take_changes(live(bridge, 8))
    nothing_new = live(bridge, 11)
    assert nothing_new.items == ()
    assert gate.sync.take_changes(nothing_new) == Taken(ask=True)
    assert gate.ask().cursor == 8
    assert gate.sync.take(one_page(bridge, 8)).done
    assert gate.noted == [moved(1), moved(2)]
    assert gate.sync.take_changes(nothing_new) == Taken(done=True), "there is nothing before it any more"


def test_live_changes_without_a_gap_leave_nothing_to_ask_for(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    bridge.sell("i")
    bridge.refund("b")
    gate.sync.take_changes(live(bridge, 8))
    gate.sync.connected()
    assert gate.ask().cursor == 10


def test_a_ledger_that_was_put_back_behind_live_changes_is_known_by_an_answer_that_ends_too_early(
    gate: Gate, bridge: Bridge
) -> None:
    gate.follow(bridge)
    bridge.say(moved(1))
    bridge.refund("a")
    gate.sync.take_changes(live(bridge, 8))
    assert gate.sync.cursor == 10
    back = Bridge()
    for name in "abcdefgh":
        back.sell(name)
    back.refund("b")
    gate.sync.connected()
    taken = gate.sync.take(one_page(back, gate.ask().cursor))
    assert "put back" in taken.fault
    gate.wait(RETRY_S)
    gate.follow(back)
    assert gate.holds(back)
    assert gate.sync.cursor == 9
