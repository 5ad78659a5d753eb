"""Simulated gates are held to what real ones send: rows that replay, whole chains, movements heard."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.core.ticket import Ticket, Verdict
from firmware.facts import Clock
from firmware.row import decode, decode_began, replay
from tests.brokers import LIMIT_S, QUICK, RunningBroker, mosquitto_broker, until
from tests.sim.gates import Crowd, Gate, Person
from tests.uplinks import VENUE, Bridge, bridge_at

GATES, PEOPLE = 3, 40


def person(number: int) -> Person:
    return Person(f"C{number}", Ticket(f"box:{number}", event="gala"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with mosquitto_broker(tmp_path) as broker:
        yield broker


def let_in(crowd: Crowd, first: int) -> None:
    """Everybody through the next gate, one after the other."""
    for number in range(first, first + PEOPLE):
        gate = crowd.gates[number % GATES]
        assert gate.scan(person(number))
        gate.walk()


def kept(bridge: Bridge, gate: Gate) -> list[tuple[int, bytes]]:
    return sorted((row, body) for (name, row, _), body in bridge.ledger.rows.items() if name == gate.name)


def test_every_row_reaches_the_ledger_in_one_chain_and_replays(broker: RunningBroker) -> None:
    with (
        bridge_at(broker.address) as bridge,
        Crowd(VENUE, GATES, [broker.address], person, 1, QUICK) as crowd,
    ):
        let_in(crowd, 0)
        crowd.until(lambda: not crowd.waiting, LIMIT_S)
    assert not bridge.ledger.gaps
    stories = 0
    for gate in crowd.gates:
        rows = [decode(body) for _, body in kept(bridge, gate)]
        (setup,) = decode_began(rows[0].text).setups
        for row in rows[1:]:
            assert row.story is not None
            assert replay(row.story, setup).same
            stories += 1
    assert stories == 2 * PEOPLE, "an admission and a walk each"
    assert len(crowd.lateness_s) == stories + GATES


def test_a_broker_that_is_killed_costs_no_row(broker: RunningBroker) -> None:
    with (
        bridge_at(broker.address) as bridge,
        Crowd(VENUE, GATES, [broker.address], person, 1, QUICK) as crowd,
    ):
        let_in(crowd, 0)
        broker.kill()
        let_in(crowd, PEOPLE)
        broker.start()
        crowd.until(lambda: not crowd.waiting, LIMIT_S)
    assert sum(len(kept(bridge, gate)) for gate in crowd.gates) == 4 * PEOPLE + GATES


def test_a_gate_that_listens_refuses_what_another_one_let_in(broker: RunningBroker) -> None:
    clock = Clock(lambda: True)
    east, west = (Gate(VENUE, name, [broker.address], clock, True, QUICK) for name in ("east", "west"))
    with bridge_at(broker.address), east.line, west.line:
        until(lambda: east.line.session and west.line.session)
        assert east.scan(person(7))
        until(lambda: west.history("box:7").pending)
        assert not west.scan(person(7))
    assert west.verdicts == {Verdict.USED: 1}


def test_whoever_is_let_in_walks_through(broker: RunningBroker) -> None:
    with (
        bridge_at(broker.address) as bridge,
        Crowd(VENUE, GATES, [broker.address], person, 5, QUICK) as crowd,
    ):
        crowd.until(crowd.connected, LIMIT_S)
        crowd.bring(scans_a_second=400, seconds=0.05)
        crowd.until(lambda: all(gate.is_ready for gate in crowd.gates) and not crowd.waiting, LIMIT_S)
    for gate in crowd.gates:
        kinds = [decode(body).kind for _, body in kept(bridge, gate)]
        assert kinds.count("passage") == gate.verdicts[Verdict.ADMITTED]
    assert crowd.people
