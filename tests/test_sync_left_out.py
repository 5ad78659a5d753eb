"""What live changes leave out, because gates tell it each other, comes by pages to a gate that was away."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from firmware import wire
from firmware.sync import NOTE_S, Taken
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


def test_a_gate_at_the_present_does_not_ask_for_what_gates_tell_each_other(
    gate: Gate, bridge: Bridge
) -> None:
    gate.follow(bridge)
    bridge.say(moved(1))
    bridge.refund("a")
    assert gate.sync.take_changes(live(bridge, 8)) == Taken(done=True)
    assert gate.holds(bridge)
    gate.sync.connected()
    assert gate.ask().cursor == 10


def test_a_late_movement_is_heard_by_live_changes(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    bridge.say(moved(1))
    gate.takes_notes[0] = False
    assert not gate.sync.take_changes(bridge.changes(8)).done
    assert gate.sync.cursor == 8
    gate.takes_notes[0] = True
    gate.wait(NOTE_S)
    assert gate.sync.take_changes(bridge.changes(8)) == Taken(ask=True), "what came meanwhile may be more"
    assert gate.noted == [moved(1)]


def test_live_changes_that_overtake_a_page_do_not_pass_over_what_it_has(gate: Gate, bridge: Bridge) -> None:
    gate.follow(bridge)
    bridge.say(moved(1))  # while this gate was away
    gate.sync.connected()
    page = one_page(bridge, gate.ask().cursor)
    bridge.refund("a")
    gate.sync.take_changes(live(bridge, 8))
    assert gate.holds(bridge), "tickets count at once"
    assert gate.sync.cursor == 10
    gate.takes_notes[0] = False
    assert not gate.sync.take(page).done
    gate.takes_notes[0] = True
    gate.wait(NOTE_S)
    assert gate.ask().cursor == 8
    assert gate.sync.take(page).done
    assert (gate.sync.cursor, gate.noted) == (10, [moved(1)])
    assert gate.holds(bridge)


def test_a_gate_that_ends_before_the_page_came_asks_for_it_again(tmp_path: Path, bridge: Bridge) -> None:
    for gate in opened(tmp_path):
        gate.follow(bridge)
        bridge.say(moved(1))
        gate.sync.connected()
        gate.ask()
        bridge.refund("a")
        gate.sync.take_changes(live(bridge, 8))
    for gate in opened(tmp_path):
        assert (gate.ask().cursor, gate.sync.cursor) == (8, 8)
        gate.sync.take(one_page(bridge, 8))
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
    bridge.sell("a", sector="new")
    gate.sync.take_changes(live(bridge, 8))
    assert gate.sync.take(page).done
    assert gate.holds(bridge)
    assert (gate.sync.cursor, gate.noted) == (11, [moved(1)])
    bridge.sell("b", sector="newer")
    assert gate.sync.take_changes(live(bridge, 11)).done
    gate.sync.connected()
    assert gate.ask().cursor == 12
    assert gate.holds(bridge)
