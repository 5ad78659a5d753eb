"""Receipts that are lost, repeated, late or forged, and messages that nobody should have sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import msgspec

from firmware import wire
from firmware.mqtt import Line, Publication
from tests.brokers import QUICK, Ear
from tests.whole.lives import VENUE
from tests.whole.world import World, world_at_work

ADMITTED = "admitted"
LISTS = "listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {folder}/acl\n"
ALL_ALLOWED = "topic readwrite gatepost/#\n"
NO_RECEIPTS = ALL_ALLOWED + f"topic deny {wire.address(wire.RECEIPT, VENUE, '+')}\n"
GATE_TOPICS = (wire.RECEIPT, wire.OUTCOME, wire.PAGE)
BRIDGE_TOPICS = (wire.JOURNAL, wire.REQUEST)


class Stranger:
    """Somebody at the broker who hears everything and says what he likes."""

    def __init__(self, ear: Ear) -> None:
        self._ear = ear

    def says(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """Send it; the broker has it afterwards."""
        session = self._ear.session()
        self._ear.wait(lambda: session.in_flight < session.window)
        assert session.publish(Publication(topic, payload, retain=retain))

    def done(self) -> None:
        """All of it was sent."""
        session = self._ear.session()
        self._ear.wait(lambda: not session.in_flight)

    def hears(self, topic: str) -> list[bytes]:
        """What was said there: something was, and he may hear it later than those it was for."""
        self._ear.wait(lambda: self.heard(topic))
        return self.heard(topic)

    def heard(self, topic: str) -> list[bytes]:
        """So far."""
        return [arrived.payload for arrived in self._ear.heard if arrived.topic == topic]


@contextmanager
def stranger(world: World) -> Iterator[Stranger]:
    ear = Ear()
    with Line([world.broker.address], "stranger", (f"{wire.ROOT}/#",), ear, pace=QUICK):
        ear.session()
        yield Stranger(ear)


def test_receipts_that_are_lost_cost_time_and_no_row_counts_twice() -> None:
    with world_at_work("a", "b", config=LISTS, files={"acl": ALL_ALLOWED}) as world:
        a, b = world.gates.values()
        (world.folder / "acl").write_text(NO_RECEIPTS, "utf-8")
        world.broker.reload()
        codes = world.codes(10)
        for mine, theirs in zip(codes[::2], codes[1::2], strict=True):
            assert a.scan(mine) == ADMITTED
            assert b.scan(theirs) == ADMITTED
        world.until(lambda: world.ledger().results() == {"accepted": 10})
        for gate in (a, b):
            assert gate.facts().receipt < gate.facts().committed
        (world.folder / "acl").write_text(ALL_ALLOWED, "utf-8")
        world.broker.reload()
        world.settle()
        assert world.audit().results() == {"accepted": 10}


def receipt(upto: int, digest: bytes) -> bytes:
    return wire.encode(wire.Receipt(upto=upto, digest=digest))


def test_receipts_that_come_twice_late_from_an_older_epoch_or_above_the_last_row_change_nothing() -> None:
    with world_at_work("a", "b") as world, stranger(world) as someone:
        gate, codes = world.gates["a"], world.codes(12)
        topic = wire.address(wire.RECEIPT, VENUE, "a")
        for part in (codes[:4], codes[4:8]):
            for code in part:
                assert gate.scan(code) == ADMITTED
            world.settle()
            gate.life.kill()
            gate.life.start()  # another epoch
        world.settle()
        old = someone.hears(topic)
        chance = Random(world.seed)
        for payload in chance.sample(old * 3, 3 * len(old)):
            someone.says(topic, payload)
        before = gate.facts()
        last = before.committed
        for upto, digest in (
            (last + 1, bytes(16)),
            (last + 1000, bytes(16)),
            (last + (1 << 32), bytes(16)),
            (last, b"not its digest.."),
            (0, b""),
        ):
            someone.says(topic, receipt(upto, digest))
        someone.done()
        world.until(lambda: str(gate.facts().faults).count("a receipt ") == 2)
        gate.cable.cut()
        written = gate.facts().committed  # those two faults are rows as well, and may be confirmed by now
        for code in codes[8:]:
            assert gate.scan(code) == ADMITTED
        assert before.receipt <= gate.facts().receipt <= written
        gate.cable.join()
        world.settle()
        assert world.audit().results() == {"accepted": 12}


def bad_payloads(good: bytes) -> Iterator[bytes]:
    """What is no message of any topic."""
    fields = msgspec.msgpack.decode(good)
    yield b""
    yield b"\xc1"
    yield bytes(range(256)) * 8
    yield b"\x91" * 50_000  # nests too deep
    yield good[:-1]
    yield good + b"\x00"
    yield msgspec.msgpack.encode({**fields, "v": 2})
    yield msgspec.msgpack.encode({**fields, "v": "one"})
    yield msgspec.msgpack.encode(dict.fromkeys(fields))
    yield bytes(wire.PAYLOAD_BYTES_MAX + 1)


def test_messages_that_are_malformed_too_large_or_of_another_version_stop_nothing() -> None:
    with world_at_work("a", "b") as world, stranger(world) as someone:
        codes = world.codes(12)
        a, b = world.gates.values()
        for code in codes[:4]:
            assert a.scan(code) == ADMITTED
        world.settle()
        journal, answer = wire.address(wire.JOURNAL, VENUE, "a"), wire.address(wire.RECEIPT, VENUE, "a")
        rows, confirmed = someone.hears(journal)[-1], someone.hears(answer)[-1]
        for topic in wire.TOPICS:
            address = wire.address(topic, VENUE, "a")
            for payload in bad_payloads(rows if topic in BRIDGE_TOPICS else confirmed):
                someone.says(address, payload)
        for name in ("A", "", "ä", "a" * 33, "a b"):
            someone.says(wire.address(wire.JOURNAL, VENUE, name), rows)
        someone.says(journal, rows)  # once more, as it was
        someone.says(journal, confirmed)
        someone.says(answer, rows)
        someone.done()
        for mine, theirs in zip(codes[4:8], codes[8:], strict=True):
            assert a.scan(mine) == ADMITTED
            assert b.scan(theirs) == ADMITTED
        world.settle()
        assert sum(world.bridge_facts().odd.values()) > 10
        assert sum(a.facts().odd.values()) > 10
        assert world.audit().results() == {"accepted": 12}


def test_what_is_retained_where_nothing_may_be_is_refused_at_every_connection() -> None:
    with world_at_work("a", "b") as world, stranger(world) as someone:
        gate, codes = world.gates["a"], world.codes(6)
        for code in codes[:2]:
            assert gate.scan(code) == ADMITTED
        world.settle()
        for topic in (wire.RECEIPT, wire.ADMISSIONS):  # of these gate a refuses the one, and gate b the other
            someone.hears(wire.address(topic, VENUE, "a"))
        for topic in wire.TOPICS:
            address = wire.address(topic, VENUE, "a")
            if not topic.retained and (heard := someone.heard(address)):
                someone.says(address, heard[-1], retain=True)
        someone.done()
        world.bridge.kill()
        world.bridge.start()
        for other in world.gates.values():
            other.cable.blink()
        for code in codes[2:]:
            assert gate.scan(code) == ADMITTED
        world.settle()
        for other in world.gates.values():
            assert any("Unfit" in kind for kind in other.facts().odd)
        assert world.audit().results() == {"accepted": 6}
