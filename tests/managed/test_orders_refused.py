"""What a gate does not do, however it is sent. Each leaves it admitting people as before, and a row."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware import wire
from firmware.core.ticket import Verdict
from firmware.facts import Clock as GateClock
from firmware.managed.orders import REFUSED_REPLIES_MAX, Orders
from firmware.signing import sign
from firmware.wire import Done, What
from tests.brokers import RunningBroker, mosquitto_broker
from tests.gate_bench import data_directory
from tests.managed.operated import (
    ANN,
    BOB,
    EVE,
    MINUTE_MS,
    Bare,
    Clock,
    Hand,
    Key,
    Wall,
    bare_gate,
    hand_at,
    know,
    managed_gate,
)
from tests.uplinks import VENUE, RunningGate, fill_catalogue

HOUR_MS = 60 * MINUTE_MS


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    tmp_path.chmod(0o755)
    with mosquitto_broker(tmp_path) as broker:
        yield broker


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        folder.mkdir(exist_ok=True)
        fill_catalogue(folder)
        know(folder, ANN, BOB)
        yield folder


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def gate(data: Path, broker: RunningBroker, wall: Wall) -> Iterator[RunningGate]:
    with managed_gate(data, "a", broker.port, utc_ns=wall) as gate:
        yield gate


@pytest.fixture
def hand(broker: RunningBroker) -> Iterator[Hand]:
    with hand_at(broker.address) as hand:
        yield hand


@pytest.fixture
def bare(data: Path) -> Iterator[Bare]:
    clock = Clock()
    with bare_gate(data, now_s=clock) as bare:
        bare.clock = clock
        yield bare


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.text(max_size=20)
    | st.binary(max_size=80),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["v", "key", "signed", "signature"]), inner, max_size=4)
    ),
    max_leaves=8,
)


def signed(order: wire.Order, key: Key = ANN) -> wire.Signed:
    return sign(key.private, order)


def relays(gate: RunningGate) -> list[str]:
    """All that the lane's lock did."""
    return gate.board.tape.values("north", "relay")


def admits_as_before(gate: RunningGate, row: str) -> None:
    """Nothing has moved, there is a row that says this, and a valid ticket opens the lane."""
    assert relays(gate) == []
    gate.until(lambda: any(row in text for text in gate.texts("order")))
    assert gate.scan("T1") is Verdict.ADMITTED
    assert relays(gate) == ["in"]


# --- who signed it, and what ---------------------------------------------------------------------------

Made = Callable[[wire.Order], bytes]


def unsigned(order: wire.Order) -> bytes:
    return wire.encode(wire.Signed(key=order.key, signed=wire.encode(order), signature=bytes(64)))


def without_signature(order: wire.Order) -> bytes:
    return wire.encode(order)


def by_a_stranger(order: wire.Order) -> bytes:
    return wire.encode(signed(msgspec.structs.replace(order, key=EVE.operator.key), EVE))


def by_a_stranger_as_ann(order: wire.Order) -> bytes:
    return wire.encode(msgspec.structs.replace(signed(order, EVE), key=ANN.operator.key))


def by_bob_as_ann(order: wire.Order) -> bytes:
    return wire.encode(signed(order, BOB))


def changed_on_the_way(order: wire.Order) -> bytes:
    message = signed(order)
    other = message.signed.replace(b"open_once", b"free\x00\x00\x00\x00\x00")
    return wire.encode(msgspec.structs.replace(message, signed=other))


def signed_as_settings(order: wire.Order) -> bytes:
    settings = wire.DesiredSettings(venue=VENUE, gate="a", key=order.key, version=9, settings="")
    return wire.encode(sign(ANN.private, settings))


def signed_rubbish(order: wire.Order) -> bytes:
    purpose, rubbish = b"gatepost/v1/Order\0", b"\x81\xa1v\x01"
    signature = ANN.private.sign(purpose + rubbish)
    return wire.encode(wire.Signed(key=order.key, signed=rubbish, signature=signature))


def rubbish(order: wire.Order) -> bytes:
    return b"\xc1 open the gate"


def nothing(order: wire.Order) -> bytes:
    return b""


def oversized(order: wire.Order) -> bytes:
    return wire.encode(msgspec.structs.replace(signed(order), signed=bytes(60_001)))


def of_a_later_release(order: wire.Order) -> bytes:
    return wire.encode(signed(order)).replace(b"\xa1v\x01", b"\xa1v\x02")


@pytest.mark.parametrize(
    ("made", "done"),
    [
        (unsigned, Done.BAD_SIGNATURE),
        (without_signature, Done.MALFORMED),
        (by_a_stranger, Done.UNKNOWN_KEY),
        (by_a_stranger_as_ann, Done.BAD_SIGNATURE),
        (by_bob_as_ann, Done.BAD_SIGNATURE),
        (changed_on_the_way, Done.BAD_SIGNATURE),
        (signed_as_settings, Done.BAD_SIGNATURE),
        (signed_rubbish, Done.MALFORMED),
        (rubbish, Done.MALFORMED),
        (nothing, Done.MALFORMED),
        (oversized, Done.MALFORMED),
        (of_a_later_release, Done.MALFORMED),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)
def test_what_is_not_an_order_of_an_operator_is_refused(
    gate: RunningGate, hand: Hand, made: Made, done: Done
) -> None:
    reply = hand.send("a", made(hand.order("a", What.OPEN_ONCE)))
    assert reply.done is done, reply
    admits_as_before(gate, f"somebody: an order: refused ({done})")


def test_what_is_larger_than_a_gate_takes_does_not_reach_it_and_ends_no_connection(
    gate: RunningGate, hand: Hand
) -> None:
    born = hand.birth("a")
    hand.put("a", bytes(70_000))
    reply = hand.give("a", What.SHUT, BOB)
    assert reply.done is Done.ROLE_TOO_LOW
    assert hand.birth("a") == born
    admits_as_before(gate, "bob: shut: refused (role_too_low)")


@pytest.mark.parametrize("what", [each for each in What if each is not What.OPEN_ONCE])
def test_a_steward_may_open_once_and_nothing_else(gate: RunningGate, hand: Hand, what: What) -> None:
    reply = hand.give("a", what, BOB)
    assert reply.done is Done.ROLE_TOO_LOW
    admits_as_before(gate, f"bob: {what}: refused (role_too_low): bob is a steward, who may open once")


def test_a_steward_may_open_once(gate: RunningGate, hand: Hand) -> None:
    assert hand.give("a", What.OPEN_ONCE, BOB).done is Done.OBEYED
    assert relays(gate) == ["in"]


# --- for whom, and for when ------------------------------------------------------------------------------


@pytest.mark.parametrize("otherwise", [{"gate": "b"}, {"venue": "elsewhere"}], ids=["gate", "venue"])
def test_an_order_for_another_gate_is_refused(
    gate: RunningGate, hand: Hand, otherwise: dict[str, Any]
) -> None:
    order = msgspec.structs.replace(hand.order("a", What.OPEN_ONCE), **otherwise)
    assert hand.sign_and_send("a", order).done is Done.OTHER_GATE
    admits_as_before(gate, "ann: open_once: refused (other_gate)")


@pytest.mark.parametrize("otherwise", [{"epoch": 0}, {"random": "00"}, {"connection": 0}], ids=str)
def test_an_order_for_another_life_of_the_gate_is_stale(
    gate: RunningGate, hand: Hand, otherwise: dict[str, Any]
) -> None:
    assert hand.give("a", What.OPEN_ONCE, **otherwise).done is Done.STALE
    admits_as_before(gate, "ann: open_once: refused (stale)")


def test_an_order_from_before_the_connection_was_lost_is_stale(
    gate: RunningGate, hand: Hand, broker: RunningBroker
) -> None:
    before = hand.order("a", What.OPEN_ONCE)
    broker.kill()
    broker.start()
    gate.until(lambda: hand.line.births().get("a", before).connection != before.connection)
    assert hand.send("a", wire.encode(signed(before))).done is Done.STALE
    admits_as_before(gate, "ann: open_once: refused (stale)")


def test_an_order_that_lay_in_the_broker_for_an_hour_is_expired(
    gate: RunningGate, hand: Hand, wall: Wall
) -> None:
    payload, before_ms = wire.encode(signed(hand.order("a", What.OPEN_ONCE))), wall.utc_ms
    wall.set(HOUR_MS)
    gate.until(lambda: gate.unit.gate.clock.floor_utc_ms >= before_ms + HOUR_MS)
    reply = hand.send("a", payload)
    assert reply.done is Done.EXPIRED
    assert "it came 35" in reply.text, "it says by how much"
    admits_as_before(gate, "ann: open_once: refused (expired)")


def test_an_order_is_good_up_to_its_last_millisecond(bare: Bare) -> None:
    now_ms = 4_000_000_000_000  # and it stands still
    bare.gate.unit.gate.clock = GateClock(lambda: True, lambda: 0, lambda: now_ms * 1_000_000)
    assert bare.give(What.OPEN_ONCE, expires_utc_ms=now_ms - 1).done is Done.EXPIRED
    assert bare.give(What.OPEN_ONCE, expires_utc_ms=now_ms).done is Done.OBEYED
    assert relays(bare.gate) == ["in"]


def test_a_clock_that_is_set_back_brings_no_old_order_to_life(bare: Bare) -> None:
    ended_ms = time.time_ns() // 1_000_000 - 10  # the gate reckons in whole milliseconds, to one or two
    bare.gate.unit.gate.clock = GateClock(lambda: True, utc_ns=lambda: time.time_ns() - HOUR_MS * 1_000_000)
    assert bare.give(What.OPEN_ONCE, expires_utc_ms=ended_ms).done is Done.EXPIRED
    admits_as_before(bare.gate, "ann: open_once: refused (expired)")
    assert bare.give(What.SHUT).done is Done.OBEYED


def test_a_clock_that_ran_ahead_expires_no_order_once_it_is_right(
    gate: RunningGate, hand: Hand, wall: Wall
) -> None:
    clock, before_ms = gate.unit.gate.clock, wall.utc_ms
    wall.set(HOUR_MS)
    gate.until(lambda: clock.floor_utc_ms >= before_ms + HOUR_MS)
    assert hand.give("a", What.IDENTIFY).done is Done.EXPIRED
    wall.set(-HOUR_MS)
    gate.until(lambda: clock.floor_utc_ms < before_ms + HOUR_MS)
    assert hand.give("a", What.IDENTIFY).done is Done.OBEYED


def test_a_clock_that_is_not_trusted_expires_nothing_but_the_rest_holds(
    data: Path, broker: RunningBroker, hand: Hand, wall: Wall
) -> None:
    with managed_gate(data, "a", broker.port, utc_ns=wall, trusted=lambda: False) as gate:
        order = hand.order("a", What.IDENTIFY, expires_utc_ms=1)
        assert hand.send("a", wire.encode(signed(order))).done is Done.OBEYED
        older = msgspec.structs.replace(order, counter=order.counter - 1)
        assert hand.send("a", wire.encode(signed(older))).done is Done.REPLAYED
        admits_as_before(gate, "ann: identify: refused (replayed)")


# --- once -------------------------------------------------------------------------------------------------


def test_an_order_that_comes_twice_is_done_once_and_answered_twice(gate: RunningGate, hand: Hand) -> None:
    payload = wire.encode(signed(hand.order("a", What.OPEN_ONCE)))
    first = hand.send("a", payload)
    assert first.done is Done.OBEYED
    assert hand.send("a", payload) == first
    assert relays(gate) == ["in"]
    gate.until(lambda: len(gate.texts("order")) == 2)
    assert gate.texts("order") == ["ann: open_once", "ann: open_once: came again (obeyed): lane north: open"]


@pytest.mark.parametrize("less", [0, 1, 1000])
def test_another_order_with_a_number_that_was_there_is_a_replay(
    gate: RunningGate, hand: Hand, less: int
) -> None:
    first = hand.order("a", What.IDENTIFY)
    assert hand.send("a", wire.encode(signed(first))).done is Done.OBEYED
    again = msgspec.structs.replace(first, counter=first.counter - less, what=What.OPEN_ONCE)
    assert hand.send("a", wire.encode(signed(again))).done is Done.REPLAYED
    admits_as_before(gate, "ann: open_once: refused (replayed)")


def test_each_key_has_numbers_of_its_own(gate: RunningGate, hand: Hand) -> None:
    assert hand.give("a", What.IDENTIFY, counter=1 << 62).done is Done.OBEYED
    assert hand.give("a", What.OPEN_ONCE, BOB, counter=1).done is Done.OBEYED
    assert relays(gate) == ["in"]


def test_a_number_that_was_used_before_a_restart_is_still_used(
    data: Path, broker: RunningBroker, hand: Hand
) -> None:
    with managed_gate(data, "a", broker.port):
        first = hand.order("a", What.OPEN_ONCE)
        payload = wire.encode(signed(first))
        reply = hand.send("a", payload)
        assert reply.done is Done.OBEYED
    hand.line.wait(lambda: True if not hand.line._births else None, 60)
    with managed_gate(data, "a", broker.port) as gate:
        fresh = hand.order("a", What.OPEN_ONCE, counter=first.counter)
        assert hand.send("a", wire.encode(signed(fresh))).done is Done.REPLAYED
        assert hand.send("a", payload) == reply, "the very same order has the reply that it had"
        admits_as_before(gate, "ann: open_once: refused (replayed)")


# --- kept by the broker -----------------------------------------------------------------------------------


def test_a_retained_order_is_refused_while_the_gate_is_connected(gate: RunningGate, hand: Hand) -> None:
    payload = wire.encode(signed(hand.order("a", What.OPEN_ONCE)))
    assert hand.send("a", payload, retain=True).done is Done.RETAINED
    admits_as_before(gate, "somebody: an order: refused (retained)")


def test_an_order_that_was_retained_before_the_gate_came_does_not_reach_it(
    data: Path, broker: RunningBroker, hand: Hand, wall: Wall
) -> None:
    with managed_gate(data, "a", broker.port, utc_ns=wall) as gate:
        payload = wire.encode(signed(hand.order("a", What.OPEN_ONCE)))
        assert hand.send("a", payload, retain=True).done is Done.RETAINED
    hand.line.wait(lambda: True if not hand.line._births else None, 60)
    with managed_gate(data, "a", broker.port, utc_ns=wall) as gate:
        before = len(hand.replies)
        assert hand.give("a", What.SHUT, BOB).done is Done.ROLE_TOO_LOW
        assert len(hand.replies) == before + 1, "nothing came before it"
        admits_as_before(gate, "bob: shut: refused (role_too_low)")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_byte_of_an_order_can_be_changed(bare: Bare, data: st.DataObject) -> None:
    payload = bytearray(bare.signed(What.OPEN_ONCE))
    unnamed_version = payload.index(b"\xa1v") + 1  # counts as the first: it is around what is signed
    place = data.draw(
        st.integers(0, len(payload) - 1).filter(lambda at: at != unnamed_version), label="place"
    )
    payload[place] ^= data.draw(st.integers(1, 255), label="change")
    bare.clock.s += 60.0
    reply = bare.hand(bytes(payload))
    assert reply.done in (Done.MALFORMED, Done.BAD_SIGNATURE, Done.UNKNOWN_KEY)
    assert relays(bare.gate) == []


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300) | st.builds(msgspec.msgpack.encode, JSON))
def test_whatever_is_sent_it_is_no_order(bare: Bare, payload: bytes) -> None:
    bare.clock.s += 60.0
    assert bare.hand(payload).done is Done.MALFORMED
    assert relays(bare.gate) == []


# --- many -------------------------------------------------------------------------------------------------


def test_a_flood_of_rubbish_makes_a_few_rows_and_the_next_order_is_obeyed(
    gate: RunningGate, hand: Hand
) -> None:
    good = hand.order("a", What.OPEN_ONCE)
    for number in range(400):
        hand.put("a", [b"rubbish", unsigned(good), by_a_stranger(good)][number % 3])
    orders = gate.uplink._parts[0]
    assert isinstance(orders, Orders)
    gate.until(orders._waiting.empty)
    reply = hand.give("a", What.OPEN_ONCE)
    assert reply.done is Done.OBEYED
    assert relays(gate) == ["in"]
    rows = gate.texts("order")
    assert 4 <= len(rows) <= 5, rows
    assert len(hand.replies) <= REFUSED_REPLIES_MAX + 1
    assert gate.scan("T1") is Verdict.BUSY, "somebody walks through the order's opening"
