"""What the tests of the bridge's MQTT side share: a link that keeps a tape, and a relay with its ledger."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import cast

from firmware import wire
from firmware.bridge.ask_line import AskLine
from firmware.bridge.database import Database
from firmware.bridge.feed import Feed
from firmware.bridge.ledger import Ledger
from firmware.bridge.outbox import Outbox
from firmware.bridge.relay import Relay
from firmware.bridge.work import Faults
from firmware.core.events import Scanned
from firmware.core.movements import Act, Movement
from firmware.core.ticket import Policy, Route, Ticket, Verdict
from firmware.mqtt import Arrived, Broker, Publication, Session
from firmware.mqtt.link import Limits, Link
from firmware.row import Named, Row, Story
from tests.bridge.feeds import KEY
from tests.bridge.ledgers import ledger_at
from tests.bridge.model_gate import ACCOUNTS, BEFORE, VENUE, ModelGate
from tests.core.samples import IN, NOON_MS, OUTER


class TapeLink:
    """A connection to nowhere. `sent` are publications by packet id, `acknowledged` packet ids of ours."""

    def __init__(self) -> None:
        self.broker = Broker("nowhere", 1)
        self.sent: dict[int, Publication] = {}
        self.tape: list[str] = []
        self.acknowledged: list[int] = []

    def own_address(self) -> str:
        return "192.0.2.1"

    def publish(self, publication: Publication) -> int:
        packet_id = len(self.sent) + 1
        self.sent[packet_id] = publication
        self.tape.append(publication.topic.removeprefix(f"{wire.ROOT}/{VENUE}/gate/"))
        return packet_id

    def acknowledge(self, packet_id: int) -> None:
        self.acknowledged.append(packet_id)
        self.tape.append(f"acknowledged {packet_id}")


class TapeSession:
    """A real session on such a link; the test plays the broker."""

    def __init__(self, window: int = 16, packet_bytes: int = 0, number: int = 1) -> None:
        self.link = TapeLink()
        self.session = Session(number, cast(Link, self.link), Limits(window, packet_bytes), window)
        self._arrivals = 0
        self._taken = 0

    def bring(self, relay: Relay | AskLine, topic: str, payload: bytes, retained: bool = False) -> int:
        """A message comes; its packet id."""
        self._arrivals += 1
        arrived = Arrived(topic, payload, retained, self._arrivals)
        self.session._waiting[self._arrivals] = self._arrivals
        relay.arrived(self.session, arrived)
        return self._arrivals

    def take(self, listener: Relay | Outbox, count: int = 1) -> None:
        """The broker acknowledges the next ones of ours."""
        for _ in range(count):
            self._taken += 1
            self.session._taken(self._taken)
            if isinstance(listener, Relay):
                listener.acknowledged(self.session)
            else:
                listener.pump()


class Desk:
    """A relay with its ledger and feed; its threads run where the test starts them."""

    def __init__(self, folder: Path, ledger: Callable[[Database], Ledger], busy_timeout_s: float) -> None:
        self.path = folder / "ledger.db"
        self.database = Database(ledger_at(self.path), busy_timeout_s)
        self.ledger = ledger(self.database)
        self.feed = Feed(self.database, VENUE, KEY)
        self.faults = Faults()
        self.outbox = Outbox(self.faults)
        self.now_ms = NOON_MS
        self.stored: list[bool] = []
        self.connections: list[int] = []
        self.relay = Relay(
            VENUE, self.ledger, self.feed, self.outbox, self.faults,
            lambda: self.now_ms, self.stored.append, lambda: self.connections.append(1),
            clock=count().__next__,  # nothing waits for more to come
        )  # fmt: skip

    def store(self) -> float:
        """One turn of the storing thread, on this one."""
        return self.relay.storing._turn()

    def page(self) -> float:
        """One turn of the paging thread."""
        return self.relay.paging._turn()

    def rows(self) -> int:
        """Of all gates."""
        return self.ledger.counts().rows


def plain_ledger(database: Database) -> Ledger:
    """As the product has it."""
    return Ledger(database, VENUE, ACCOUNTS)


@contextmanager
def desk(
    folder: Path, ledger: Callable[[Database], Ledger] = plain_ledger, busy_timeout_s: float = 5
) -> Iterator[Desk]:
    """Closed at the end."""
    found = Desk(folder, ledger, busy_timeout_s)
    with found.database:
        yield found


def walk_in(gate: ModelGate, subject: str, code: str, event: str, session: str) -> None:
    """Somebody with a ticket of that event is admitted and walks through."""
    number, moment = gate.next_row, gate.moment
    movement = Movement(Act.OPENED, subject, number, IN, (OUTER,), moment.utc_ms)
    listed = Ticket(subject, event=event, session=session)
    scan = Scanned(moment, number, b"digest", subject, IN, Route(), Policy(), listed)
    story = Story(BEFORE, (Named("Scanned", tuple(scan)),), b"effects")
    row = Row("scan", "north", moment, number, Verdict.ADMITTED, movement, story=story)
    gate.settle(gate.write(row, code))


def topic(of: wire.Topic, gate: str) -> str:
    return wire.address(of, VENUE, gate)
