"""Asks beside rows: what comes over their own connection, and who goes first."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware import wire
from firmware.bridge.ask_line import AskLine, ask_subscriptions
from firmware.bridge.asks import Asks
from firmware.bridge.database import Database
from firmware.bridge.ledger.configured import Configured
from firmware.bridge.outbox import Outbox
from firmware.bridge.relay import GATHER_S, GROUPS, IDLE_S, Relay, subscriptions
from firmware.bridge.states import group_secret
from tests.bridge.model_gate import VENUE, ModelGate
from tests.bridge.oracle import Oracle
from tests.bridge.relays import Desk, TapeSession, desk, topic
from tests.bridge.test_asking import ask
from tests.core.samples import NOON_MS


class Hall:
    """A relay with a clock of the test's, and both of its connections."""

    def __init__(self, at: Desk) -> None:
        self.at = at
        self.now_s = 1000.0
        self.asked: list[tuple[str, int]] = []
        self.connections = 0
        self.relay = Relay(
            VENUE, at.ledger, at.feed, at.outbox, at.faults, lambda: at.now_ms, lambda _: None,
            asked=lambda gate, asked: self.asked.append((gate, asked.scan)), clock=lambda: self.now_s,
        )  # fmt: skip
        self.outbox = Outbox(at.faults)
        self.line = AskLine(self.relay, self.outbox, self._connected)
        self.rows, self.asks = TapeSession(), TapeSession()
        self.relay.connected(self.rows.session)
        self.line.connected(self.asks.session)

    def _connected(self) -> None:
        self.connections += 1

    def ask(self, scan: int) -> int:
        return self.asks.bring(self.line, topic(wire.ASK, "north"), wire.encode(ask(scan)))

    def row(self) -> None:
        gate = ModelGate(f"gate-{len(self.rows.link.tape)}")
        self.rows.bring(self.relay, topic(wire.JOURNAL, gate.name), wire.encode(gate.batch()))

    def store(self) -> float:
        return self.relay.storing._turn()


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    with desk(tmp_path) as found:
        yield Hall(found)


def test_an_ask_is_acknowledged_and_answered_on_its_own_connection(hall: Hall) -> None:
    number = hall.ask(1)
    assert hall.asked == [("north", 1)]
    assert (hall.asks.link.acknowledged, hall.rows.link.acknowledged) == ([number], [])
    answer = wire.Answer(scan=1, digest=b"d" * 16, word=wire.Word.ACCEPTED)
    assert hall.outbox.put_answer(topic(wire.ANSWER, "north"), answer)
    assert [each.topic for each in hall.asks.link.sent.values()] == [topic(wire.ANSWER, "north")]
    assert hall.rows.link.sent == {}


def test_the_end_of_one_connection_is_none_of_the_other(hall: Hall) -> None:
    hall.row()
    hall.line.disconnected(hall.asks.session, "cut")
    assert (hall.outbox.is_connected, hall.at.outbox.is_connected) == (False, True)
    hall.line.connected(hall.asks.session)
    assert hall.connections == 2
    assert hall.relay.behind, "rows wait on, whatever becomes of the asks' connection"


def test_the_bridges_of_a_ledger_share_a_secret_that_no_other_ledger_has(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Database(url) as first, Database(url) as second:
        secret = group_secret(first)
        assert group_secret(second) == group_secret(first) == secret
    with Database(url) as later, Database(f"sqlite:///{tmp_path / 'other.db'}") as other:
        assert group_secret(later) == secret
        assert group_secret(other) != secret
    assert len(secret) == 16
    shared = [each for each in subscriptions(VENUE, secret) if each.startswith("$share/")]
    assert len(shared) == len(GROUPS)
    assert all(secret in each.split("/")[1] for each in shared), "part of the group's name"


def test_both_connections_together_hear_all_and_nothing_twice() -> None:
    asked = ask_subscriptions(VENUE, "5ec")
    assert set(asked) < set(subscriptions(VENUE, "5ec"))
    assert [each for each in asked if GROUPS[wire.ASK] in each] == [asked[0]]
    assert asked[1] == topic(wire.STATUS, "+")


def test_the_first_row_waits_a_moment_for_others_and_no_longer(hall: Hall) -> None:
    hall.row()
    assert hall.store() == pytest.approx(GATHER_S)
    hall.now_s += GATHER_S / 2
    hall.row()
    assert hall.store() == pytest.approx(GATHER_S / 2)
    assert hall.relay.rows == 0
    hall.now_s += GATHER_S / 2 + 1e-9
    assert hall.store() == 0.0
    assert hall.relay.rows > 0
    assert hall.store() == IDLE_S


def test_an_ask_never_waits_for_that(hall: Hall) -> None:
    hall.row()
    hall.ask(1)
    assert (hall.asked, hall.relay.rows) == ([("north", 1)], 0)


def test_a_connection_that_comes_while_gates_are_told_of_their_vendors_is_not_taken_for_the_one_before(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, put = TapeSession(number=2), hall.outbox.put_answer
    accounts = [("acme", Oracle("http://127.0.0.1:1"), 1.0)]
    configured = Configured(hall.at.database)
    with Asks(VENUE, accounts, configured, hall.outbox, hall.at.faults, "w", lambda: NOON_MS) as asks:
        asks.born("north", wire.Presence(online=True, epoch=1, connection=1, random="r"))

        def put_and_lose(where: str, message: wire.Answer | wire.Vendors) -> bool:
            put(where, message)
            monkeypatch.undo()
            hall.outbox.connected(new.session)
            asks.connected()
            return True

        monkeypatch.setattr(hall.outbox, "put_answer", put_and_lose)
        asks._bulletin.telling._turn()
        assert not new.link.sent
        asks._bulletin.telling._turn()
        assert [each.topic for each in new.link.sent.values()] == [topic(wire.VENDORS, "north")]
