"""Gates that obey, on a fake board and a real broker, and somebody with a key."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firmware import wire
from firmware.fleet.operator_line import Heard, OperatorLine
from firmware.managed.counters import Counters
from firmware.managed.managed import Managed
from firmware.managed.orders import Orders
from firmware.mqtt import Broker, Publication
from firmware.shots import Shot
from firmware.signing import Operator, Role, key_id, sign, text_of
from firmware.unit import OPERATORS, open_unit
from firmware.uplink import Uplink
from hal.fake import FakeBoard, FakeLaneSettings
from hal.schedule import VirtualTime
from tests.brokers import LIMIT_S, QUICK
from tests.uplinks import VENUE, RunningGate, settings_of

MINUTE_MS = 60_000
CONNECTION = 7
# A lane that waits as long as it may for the disk, and for the person: no test is about its own times.
PATIENT = "unlock_ms = 30000\nrecord_ms = 5000\n"
LANE = f'[[lane]]\nname = "north"\n{PATIENT}'
TWO_LANES = f'{LANE}[[lane]]\nname = "south"\ndirection = "both"\n{PATIENT}'


class Key(NamedTuple):
    """An operator's key."""

    name: str
    role: Role
    private: Ed25519PrivateKey

    @property
    def operator(self) -> Operator:
        """As gates know it."""
        public = self.private.public_key()
        return Operator(key_id(public), self.name, self.role, public)


ANN = Key("ann", Role.SUPERVISOR, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
BOB = Key("bob", Role.STEWARD, Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64))))
EVE = Key("eve", Role.SUPERVISOR, Ed25519PrivateKey.from_private_bytes(bytes(range(64, 96))))


def know(data: Path, *keys: Key) -> None:
    """Have the gate of this data obey these."""
    (data / OPERATORS).parent.mkdir(exist_ok=True)
    (data / OPERATORS).write_text(text_of([key.operator for key in keys]), "utf-8")


class Wall:
    """A wall clock that is set by hand, and goes."""

    def __init__(self) -> None:
        self._ahead_ns = 0

    def __call__(self) -> int:
        return time.time_ns() + self._ahead_ns

    def set(self, ms: int) -> None:
        self._ahead_ns += ms * 1_000_000

    @property
    def utc_ms(self) -> int:
        return self() // 1_000_000


class Clock:
    """Seconds that pass by hand."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


@contextmanager
def unhurried() -> Iterator[None]:
    """Whatever gives up after seconds has a minute: on a busy machine a thread stands still for as long."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("obeying.LOOP_S", "obeying.REST_S", "orders.REPLY_S"):
            patch.setattr(f"firmware.managed.{name}", LIMIT_S)
        yield


@contextmanager
def managed_gate(
    data: Path,
    gate: str,
    port: int,
    lanes: str = LANE,
    *,
    utc_ns: Callable[[], int] = time.time_ns,
    trusted: Callable[[], bool] = lambda: True,
    **more: Any,
) -> Iterator[RunningGate]:
    """A gate whose loop runs until the end of the block, or until it is told to stop."""
    settings = settings_of(gate, port, lanes)
    board = FakeBoard([FakeLaneSettings(lane.setup.name) for lane in settings.lanes], VirtualTime())
    found: list[RunningGate] = []

    def watch(shot: Shot) -> None:
        found[0].watch(shot)

    with (
        unhurried(),
        open_unit(
            settings, data, board=board, trusted=trusted, watch=watch, pace=QUICK, utc_ns=utc_ns, **more
        ) as unit,
    ):
        running = RunningGate(unit, board)
        found.append(running)
        unit.gate.start()
        loop = threading.Thread(target=unit.gate.run, name="loop", daemon=True)
        loop.start()
        try:
            yield running
        finally:
            unit.gate.stop()
            loop.join(LIMIT_S)


class Hand:
    """Somebody at the broker: signs as who they like, sends what they like, hears all replies."""

    def __init__(self, broker: Broker) -> None:
        self.replies: list[wire.Reply] = []
        self.line = OperatorLine(broker, VENUE, "hand", (wire.REPLY,), self._hear, QUICK)
        self._counter = 1000

    def _hear(self, heard: Heard) -> None:
        if isinstance(heard.message, wire.Reply):
            self.replies.append(heard.message)

    def birth(self, gate: str) -> wire.Presence:
        """Of a gate that is connected."""
        born = self.line.gate(gate, LIMIT_S)
        assert born is not None
        return born

    def order(self, gate: str, what: wire.What, key: Key = ANN, **otherwise: Any) -> wire.Order:
        """An order as it should be, but for what is given."""
        born = self.birth(gate)
        self._counter += 1
        order = wire.Order(
            venue=VENUE,
            gate=gate,
            key=key.operator.key,
            counter=self._counter,
            epoch=born.epoch,
            random=born.random,
            connection=born.connection,
            expires_utc_ms=time.time_ns() // 1_000_000 + MINUTE_MS,
            what=what,
        )
        return msgspec.structs.replace(order, **otherwise)

    def give(self, gate: str, what: wire.What, key: Key = ANN, **otherwise: Any) -> wire.Reply:
        """Sign an order, send it, and wait for its reply."""
        return self.sign_and_send(gate, self.order(gate, what, key, **otherwise), key)

    def sign_and_send(self, gate: str, order: wire.Order, key: Key = ANN) -> wire.Reply:
        """Wait for the reply to this order, whatever else is told meanwhile."""
        before = len(self.replies)
        self.put(gate, wire.encode(sign(key.private, order)))

        def reply() -> wire.Reply | None:
            return next((each for each in self.replies[before:] if each.counter == order.counter), None)

        found = self.line.wait(reply, LIMIT_S)
        assert found is not None, self.line.faults
        return found

    def send(self, gate: str, payload: bytes, retain: bool = False) -> wire.Reply:
        """Send any bytes, and wait for the reply."""
        before = len(self.replies)
        self.put(gate, payload, retain)
        found = self.line.wait(lambda: self.replies[before:] or None, LIMIT_S)
        assert found, self.line.faults
        return found[0]

    def put(self, gate: str, payload: bytes, retain: bool = False) -> None:
        """Send any bytes, until the broker has them."""
        session = self.line._session
        assert session is not None
        address = wire.address(wire.COMMAND, VENUE, gate)
        assert session.publish(Publication(address, payload, retain=retain))
        assert self.line.wait(lambda: True if not session.in_flight else None, LIMIT_S)


@contextmanager
def hand_at(broker: Broker) -> Iterator[Hand]:
    """Connected."""
    hand = Hand(broker)
    with hand.line:
        yield hand


class Bare:
    """A gate without a connection, whose orders are handed to it."""

    def __init__(self, gate: RunningGate, orders: Orders) -> None:
        self.gate, self.orders = gate, orders
        self.clock = Clock()
        """Of the orders, where the test has given them one."""
        self._news = threading.Event()
        self._counter = 1000
        orders.connected(CONNECTION, self._news.set)

    def order(self, what: wire.What, key: Key = ANN, **otherwise: Any) -> wire.Order:
        """An order as it should be, but for what is given."""
        self._counter += 1
        unit = self.gate.unit
        order = wire.Order(
            venue=VENUE,
            gate=unit.settings.gate_name,
            key=key.operator.key,
            counter=self._counter,
            epoch=unit.journal.epoch,
            random=unit.journal.random,
            connection=CONNECTION,
            expires_utc_ms=time.time_ns() // 1_000_000 + MINUTE_MS,
            what=what,
        )
        return msgspec.structs.replace(order, **otherwise)

    def signed(self, what: wire.What, key: Key = ANN, **otherwise: Any) -> bytes:
        """An order as it travels."""
        return wire.encode(sign(key.private, self.order(what, key, **otherwise)))

    def give(self, what: wire.What, key: Key = ANN, **otherwise: Any) -> wire.Reply:
        """Sign an order, hand it over, and wait for the reply."""
        return self.hand(self.signed(what, key, **otherwise))

    def hand(self, payload: bytes) -> wire.Reply:
        """Hand over any bytes, and wait for the reply."""
        self.orders.take(wire.COMMAND, payload, retained=False)
        return self.reply()

    def reply(self) -> wire.Reply:
        """The next reply, sent."""
        while True:
            self._news.clear()
            outgoing = self.orders.outgoing(0.0)
            if (found := next(outgoing, None)) is not None:
                break
            assert self._news.wait(LIMIT_S)
        assert isinstance(found.message, wire.Reply)
        next(outgoing, None)  # it is on its way
        return found.message


@contextmanager
def bare_gate(
    data: Path,
    lanes: str = LANE,
    *,
    counters: Counters | None = None,
    now_s: Callable[[], float] = time.monotonic,
    **known: Any,
) -> Iterator[Bare]:
    """A gate at work, without a broker; `known` is what its parts are told of it besides."""
    settings = settings_of("a", 1, lanes)._replace(brokers=())
    board = FakeBoard([FakeLaneSettings(lane.setup.name) for lane in settings.lanes], VirtualTime())
    found: list[RunningGate] = []

    def watch(shot: Shot) -> None:
        found[0].watch(shot)

    with unhurried(), open_unit(settings, data, board=board, trusted=lambda: True, watch=watch) as unit:
        running = RunningGate(unit, board)
        found.append(running)
        unit.gate.start()
        loop = threading.Thread(target=unit.gate.run, name="loop", daemon=True)
        loop.start()
        operators = {key.operator.key: key.operator for key in (ANN, BOB)}
        parts = settings, data, unit.catalogue, unit.journal, unit.gate, _no_uplink, operators
        try:
            with Orders(Managed(*parts, **known), counters, now_s) as orders:
                yield Bare(running, orders)
        finally:
            unit.gate.stop()
            loop.join(LIMIT_S)


def _no_uplink() -> Uplink:
    raise AssertionError("there is no connection here")
