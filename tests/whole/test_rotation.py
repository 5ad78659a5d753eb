"""A gate is lost and the venue gets another key while people come in: nobody with a ticket is refused."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from firmware.bridge.database import Database
from firmware.bridge.rekey import rekey
from firmware.core.ticket import Verdict
from firmware.managed.rotation import KeyRefused, take_key
from firmware.sealing import seal
from firmware.venue_key import digest_of, key_mark, keyed, put_next_key, read_key, settle_key
from tests.whole.life import Ended
from tests.whole.lives import IN, OUT, VENUE
from tests.whole.world import World, WorldGate, world_at_work

NEW = bytes(range(200, 232))
PEOPLE = 15  # of each gate; each comes, tries to come twice, and leaves
PACE_S = 0.05
GATE_KEYS = {"a": ec.derive_private_key(1, ec.SECP256R1()), "b": ec.derive_private_key(2, ec.SECP256R1())}
RIGHT = (Verdict.ADMITTED.value, Verdict.USED.value, Verdict.ADMITTED.value)


class Crowd:
    """People of one gate. `seen` is what each of them was told; a crash comes between two of them."""

    def __init__(self, gate: WorldGate, codes: Sequence[str]) -> None:
        self.gate, self.codes = gate, list(codes)
        self.seen: list[tuple[str, str, str]] = []
        self.over, self.lock = threading.Event(), threading.Lock()
        self.thread = threading.Thread(target=self._come_and_go)

    def _come_and_go(self) -> None:
        while not self.over.wait(PACE_S):
            code = self.codes.pop(0)
            try:
                gate = self.gate
                with self.lock:
                    self.seen.append((gate.scan(code), gate.scan(code), gate.scan(code, OUT)))
            except Ended:
                continue
            self.codes.append(code)


@contextmanager
def crowds(world: World) -> Iterator[list[Crowd]]:
    codes = world.codes(PEOPLE * len(world.gates))
    found = [Crowd(gate, codes[at :: len(world.gates)]) for at, gate in enumerate(world.gates.values())]
    for crowd in found:
        crowd.thread.start()
    try:
        yield found
    finally:
        for crowd in found:
            crowd.over.set()
            crowd.thread.join()


def hand_over(gate: WorldGate, key: bytes) -> str:
    """As the order does it, at a gate that has its own key."""
    private = GATE_KEYS[gate.name]
    identity = gate.data / "identity"
    identity.mkdir(exist_ok=True)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (identity / "gate.key").write_bytes(pem)
    return take_key(gate.data, seal(private.public_key(), key))


def key_of(gate: WorldGate) -> bytes:
    return read_key(gate.data / "catalogue" / "key")


def rekey_bridge(world: World) -> None:
    """`gatepost rekey`, beside the bridge at work."""
    put_next_key(world.bridge_data, NEW)
    with Database(world.ledger_url) as database:
        rekey(database, VENUE, NEW)
    settle_key(world.bridge_data, key_mark(NEW))


def kill(world: World, crowd: Crowd) -> None:
    """End gate and bridge at once, and start both again."""
    with crowd.lock:
        for life in (crowd.gate.life, world.bridge):
            life.kill()
            life.begin()
        crowd.gate.life.await_ready()


def spooled(data: Path) -> bool:
    try:
        return (data / "spool").stat().st_size > 0
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    "killed",
    [pytest.param(False, marks=pytest.mark.slow), True],  # a gate that lives hears of it within 20 s
)
def test_the_venue_gets_another_key_while_people_come_in_and_nobody_is_refused_or_let_in_twice(
    killed: bool,
) -> None:
    with world_at_work("a", "b") as world:
        old = read_key(world.bridge_data / "key")
        feed = world.ledger().feed
        stays = world.codes(PEOPLE * 2 + 1)[-1]
        assert world.gates["b"].scan(stays) == Verdict.ADMITTED
        world.settle()
        with crowds(world) as (a, b):
            world.until(lambda: a.seen and b.seen)
            assert "waits for the bridge's list" in hand_over(a.gate, NEW)
            if killed:
                kill(world, a)
            rekey_bridge(world)
            if killed:
                kill(world, b)
                world.until(lambda: spooled(a.gate.data) or key_of(a.gate) == NEW)
                kill(world, a)
            world.until(lambda: key_of(a.gate) == NEW)
            said = len(b.seen)
            world.until(lambda: len(b.seen) > said)  # gate b goes on with the list it has, and says why
            world.until(lambda: "different venue keys" in str(b.gate.facts().faults.values()))
            hand_over(b.gate, NEW)
            if killed:
                kill(world, b)
            b.gate.cable.blink()  # else it asks again half a minute after it was told of another key
            world.until(lambda: key_of(b.gate) == NEW)
            world.until(lambda: {gate.facts().feed for gate in world.gates.values()} == {world.ledger().feed})
            seen = len(a.seen), len(b.seen)
            world.until(lambda: len(a.seen) > seen[0] and len(b.seen) > seen[1])
        assert {*a.seen, *b.seen} == {RIGHT}
        assert world.ledger().feed != feed
        for gate in world.gates.values():
            gate.cable.blink()  # else each may wait a minute for a receipt that a dead bridge owed it
        world.settle()
        world.audit()
        for gate in world.gates.values():
            assert gate.scan(stays) == Verdict.USED, "who was inside before is known to be"
            held = gate.tickets([digest_of(keyed(old), code) for code in world.codes(PEOPLE)])
            assert held == [None] * PEOPLE, "what the lost card can make fits no digest any more"
        assert world.gates["a"].scan(stays, OUT) == Verdict.ADMITTED


def test_a_key_that_was_sealed_for_the_lost_gate_is_no_key_for_another(tmp_path: Path) -> None:
    with world_at_work("a") as world:
        gate = world.gates["a"]
        hand_over(gate, read_key(world.bridge_data / "key"))
        with pytest.raises(KeyRefused, match="sealed for another key"):
            take_key(gate.data, seal(GATE_KEYS["b"].public_key(), NEW))
        (code,) = world.codes(1)
        assert gate.scan(code, IN) == Verdict.ADMITTED
        assert not (gate.data / "catalogue" / "key.next").exists()
