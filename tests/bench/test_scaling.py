"""The load of `tests.bench.scaling` is what it says: real rows, each counted once, and late ones as late."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select

from firmware import wire
from firmware.bridge import schema
from firmware.bridge.database import Database
from firmware.bridge.feed import Feed
from firmware.bridge.ledger import Ledger
from firmware.bridge.outbox import Outbox
from firmware.bridge.relay import Relay, subscriptions
from firmware.bridge.vendor import VendorTicket
from firmware.bridge.work import Faults, at_work
from firmware.core.ticket import Ticket, Verdict
from firmware.mqtt import Line
from tests.bench import site
from tests.bench.scaling import LATE_MS_MAX, Measured, Shape
from tests.bench.scaling_gates import Follower, Gates
from tests.bridge.feeds import ACCOUNT, KEY, read_whole
from tests.brokers import LIMIT_S, QUICK, RunningBroker, mosquitto_broker
from tests.core.samples import NOON_MS
from tests.sim.gates import Person

NAMES = ("gate-0", "gate-1", "gate-2")
PEOPLE = tuple(Person(f"C{number}", Ticket(f"{ACCOUNT}:{number}", event="gala")) for number in range(12))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with mosquitto_broker(tmp_path) as broker:
        yield broker


class Bridge:
    """What receives, and its books; no vendor behind it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.feed = Feed(database, site.VENUE, KEY)
        self.ledger = Ledger(database, site.VENUE, [ACCOUNT])
        self.outbox = Outbox(Faults())
        self.relay = Relay(
            site.VENUE, self.ledger, self.feed, self.outbox, Faults(), lambda: NOON_MS, lambda _: None
        )

    def rows(self) -> int:
        """In the ledger."""
        with self._database.look() as connection:
            return int(connection.execute(select(func.count()).select_from(schema.row)).scalar_one())

    def announce(self, after: int) -> None:
        """Tell all gates what is new."""
        changes = self.feed.changes(after)
        assert changes is not None
        assert self.outbox.put(wire.address(wire.CHANGES, site.VENUE), changes)


@contextmanager
def bridge_at(broker: RunningBroker, folder: Path) -> Iterator[Bridge]:
    with Database(f"sqlite:///{folder / 'ledger.db'}") as database:
        bridge = Bridge(database)
        line = Line([broker.address], "bridge", subscriptions(site.VENUE, "5ec"), bridge.relay, pace=QUICK)
        with line, at_work([bridge.relay.storing, bridge.relay.paging]):
            yield bridge


def all_receipted(gates: Gates) -> None:
    gates.until(lambda: gates.is_over and not gates.waiting, LIMIT_S)
    assert not gates.waiting


def all_have(ticket: str, gates: Gates) -> None:
    gates.until(lambda: all(ticket in gate.sold for gate in gates.gates), LIMIT_S)
    assert all(ticket in gate.sold for gate in gates.gates)


def followed(gates: Gates) -> None:
    gates.connect()
    gates.until(lambda: all(gate.follower.at_present for gate in gates.gates), LIMIT_S)


def test_every_row_is_taken_by_the_ledger_and_counted_once(broker: RunningBroker, tmp_path: Path) -> None:
    with bridge_at(broker, tmp_path) as bridge, Gates(broker.port, NAMES) as gates:
        gates.connect()
        gates.bring(iter(PEOPLE), len(PEOPLE), 0.1)
        all_receipted(gates)
        admitted = sum(gate.verdicts[Verdict.ADMITTED] for gate in gates.gates)
        assert admitted == len(PEOPLE) - gates.busy > 0
        assert bridge.rows() == sum(gate.rows for gate in gates.gates) == len(NAMES) + 2 * admitted
        assert bridge.ledger.reports(0, 1) == []
        assert sum(len(gate.lateness_s) for gate in gates.gates) == bridge.rows()


def test_gates_that_hear_each_other_write_down_what_they_hear(broker: RunningBroker, tmp_path: Path) -> None:
    with bridge_at(broker, tmp_path) as bridge, Gates(broker.port, NAMES, hears=True) as gates:
        gates.connect()
        gates.bring(iter(PEOPLE[:2]), 2, 0.0)
        own = len(NAMES) + 2 * 2
        expected = own + 2 * 2 * (len(NAMES) - 1)
        gates.until(lambda: gates.is_over and sum(gate.rows for gate in gates.gates) == expected, LIMIT_S)
        all_receipted(gates)
        assert bridge.rows() == expected


def test_rows_that_waited_too_long_for_their_receipt_are_counted_as_late(
    broker: RunningBroker, tmp_path: Path
) -> None:
    found = Measured(Shape(len(NAMES), 1, 1))
    with Gates(broker.port, NAMES) as gates:
        gates.connect()
        (gate, *_) = gates.gates
        assert gate.scan(PEOPLE[0])
        gate._written_s = {row: at_s - LATE_MS_MAX / 1000 for row, at_s in gate._written_s.items()}
        late = len(gate._written_s)
        assert late == sum(each * 1000 > LATE_MS_MAX for each in gate.waited_s) == 2, "late without a bridge"
        with bridge_at(broker, tmp_path):
            all_receipted(gates)
    found.late_ms = [round(each * 1000) for gate in gates.gates for each in gate.lateness_s]
    assert found.late >= late
    assert len(found.late_ms) == len(NAMES) + 1


def test_a_gate_has_a_sale_when_the_change_came_and_asks_for_what_it_missed(
    broker: RunningBroker, tmp_path: Path
) -> None:
    with bridge_at(broker, tmp_path) as bridge, Gates(broker.port, NAMES) as gates:
        read_whole(bridge.feed, VendorTicket("a", "A"))
        followed(gates)
        for listed, missed in (("ab", 0), ("abcd", 1)):
            after = bridge.feed.head()
            read_whole(bridge.feed, *(VendorTicket(name, name.upper()) for name in listed))
            sold = f"{ACCOUNT}:{listed[-1]}"
            for gate in gates.gates:
                gate.watched = frozenset({sold})
            bridge.announce(after + missed)
            all_have(sold, gates)
            assert [gate.follower.gaps for gate in gates.gates] == [missed] * len(NAMES)
            assert {gate.follower.cursor for gate in gates.gates} == {bridge.feed.head()}


def test_a_list_of_many_pages_is_followed_to_its_end(broker: RunningBroker, tmp_path: Path) -> None:
    count = 3 * wire.ITEMS_MAX
    with bridge_at(broker, tmp_path) as bridge, Gates(broker.port, NAMES[:1]) as gates:
        read_whole(bridge.feed, *(VendorTicket(f"t{number}", f"C{number}") for number in range(count)))
        followed(gates)
        follower = gates.gates[0].follower
        assert (follower.cursor, follower.pages) >= (count, 3)
        assert follower.bytes_in > 40 * count


def test_connections_that_were_lost_are_told(broker: RunningBroker) -> None:
    with Gates(broker.port, NAMES) as gates:
        gates.connect()
        broker.kill()
        gates.until(lambda: len(gates.lines.lost) == len(NAMES), LIMIT_S)
        assert len(gates.lines.lost) == len(NAMES)


def test_a_follower_asks_once_and_again_when_nothing_came() -> None:
    follower = Follower()
    first = follower.request(0.0)
    assert first is not None
    assert first.cursor == 0
    assert follower.request(1.0) is None
    assert follower.request(1_000.0) is not None


def test_memory_that_grows_has_a_slope() -> None:
    found = Measured(Shape(1, 1, 1), memory_mb=[100 + second / 60 for second in range(120)])
    assert found.slope == pytest.approx(1.0)
    found.memory_mb = [100.0] * 60
    assert found.slope == pytest.approx(0.0)
