"""A night on which everything goes wrong, one thing after the other, as the seed has it."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import pytest

from firmware.bridge.sandbox.bam_rules import Rules
from tests.whole.life import Life
from tests.whole.lives import Haste
from tests.whole.world import World, world_at_work

NAMES = ("a", "b", "c")
STEPS = 60
CARDS = 2  # of each gate
PACE_S = 0.06
PAUSE_S_MAX = 0.4
TROUBLES = ("slow", "lost", "refused", "error", "limit", "cut", "short", "shuffled", "drift")
OWN_TROUBLES = {"ingresse": ("missing",), "vivenu": ("moving", "rejected"), "bam": ("expired", "status")}
TIMEOUTS = {
    "ingresse": {"check_in_timeout_s": 1.5, "look_timeout_s": 2.0},
    "vivenu": {"upload_timeout_s": 1.5, "online_timeout_s": 2.0},
    "bam": {"chain_timeout_s": 1.5},
}
# vivenu cannot be asked what became of an upload: whatever was lost is for a person. So is what the office of
# B.A.M. withdrew between a third step whose reply was lost and the next try.
UNCERTAIN = {"ingresse": 20, "vivenu": 10_000, "bam": 3}
CODES = {"ingresse": 40, "vivenu": 40, "bam": 150}  # a chain takes each ticket once
TICKETS = {"ingresse": 120, "vivenu": 120, "bam": 500}
OWN: Mapping[str, Mapping[str, Any]] = {"bam": {"rules": Rules(latency_s=0.2, endorsing_s=0.02)}}


class Night:
    """What can happen; each step is one of these."""

    def __init__(self, world: World, vendor: str, chance: Random, codes: tuple[str, ...]) -> None:
        self.world, self.chance, self.codes = world, chance, codes
        self.troubles = (*TROUBLES, *OWN_TROUBLES[vendor])
        self.happens: tuple[Callable[[], None], ...] = (
            self.a_gate_dies,
            self.a_gate_dies,
            self.a_bridge_dies,
            self.a_bridge_dies,
            self.the_broker_dies,
            self.a_cable_is_cut,
            self.cables_are_joined,
            self.the_vendor_fails,
            self.the_vendor_fails,
            self.the_vendor_behaves,
            self.the_vendor_sells_and_takes_back,
            self.the_vendor_sells_and_takes_back,
            self.a_card_is_new,
        )

    def begin(self, name: str, *, crowd: bool = True) -> None:
        gate = self.world.gates[name]
        gate.use(crowd=(self.chance.randrange(1 << 32), self.codes, PACE_S) if crowd else None)
        gate.life.begin()

    def a_gate_dies(self) -> None:
        name = self.chance.choice(NAMES)
        self.world.gates[name].life.kill()
        self.begin(name)

    def a_bridge_dies(self) -> None:
        bridge: Life = self.chance.choice(self.world.bridges)
        bridge.kill()
        bridge.begin()

    def the_broker_dies(self) -> None:
        self.world.broker.kill()
        self.world.broker.start()

    def a_cable_is_cut(self) -> None:
        self.world.gates[self.chance.choice(NAMES)].cable.cut()

    def cables_are_joined(self) -> None:
        for gate in self.world.gates.values():
            gate.cable.join()

    def the_vendor_fails(self) -> None:
        kind = self.chance.choice(self.troubles)
        self.world.sandbox.misbehave(kind, requests=self.chance.randrange(1, 6), seconds=1)

    def the_vendor_behaves(self) -> None:
        self.world.sandbox.behave()

    def the_vendor_sells_and_takes_back(self) -> None:
        self.world.sandbox.live(self.chance.randrange(1, 6))

    def a_card_is_new(self) -> None:
        """A new one, or one that was there before."""
        name = self.chance.choice(NAMES)
        gate = self.world.gates[name]
        gate.life.kill()
        if len(gate.folders) < CARDS:
            gate.use(data=self.world.new_card(name))
        else:
            gate.use(data=self.chance.choice(gate.folders))
        self.begin(name)


@pytest.mark.slow
@pytest.mark.parametrize("vendor", ["ingresse", "vivenu", "bam"])
def test_after_a_night_on_which_everything_goes_wrong_all_books_agree(vendor: str) -> None:
    more = {"tickets": TICKETS[vendor], **OWN.get(vendor, {})}
    with world_at_work(*NAMES, vendors={"hall": vendor}, **more) as world:
        world.use(Haste.RETRIES, **TIMEOUTS[vendor])
        world.add_bridge().begin()
        chance = Random(world.seed)
        night = Night(world, vendor, chance, tuple(world.codes(CODES[vendor])))
        for name in NAMES:
            world.gates[name].life.kill()
            night.begin(name)
        for _ in range(STEPS):
            chance.choice(night.happens)()
            world.pause(chance.uniform(0, PAUSE_S_MAX))
        night.cables_are_joined()
        night.the_vendor_behaves()
        enough = STEPS // (1 if vendor == "ingresse" else 3)

        def is_long() -> bool:
            """Where machines are slow fewer people have come by now, and they go on coming."""
            world.minutes_go_by()
            return world.ledger().results()["accepted"] > enough

        world.until(is_long)
        for card in range(CARDS):  # what is on a card alone comes when the card does
            for name, gate in world.gates.items():
                gate.life.kill()
                gate.use(data=gate.folders[min(card, len(gate.folders) - 1)])
                night.begin(name, crowd=False)
            world.settle(vendors=card == CARDS - 1)
        maybe = ("double", "explained", "new_journal")
        ledger = world.audit(maybe=maybe, uncertain=UNCERTAIN[vendor])
        assert ledger.results()["accepted"] > enough
        assert len(set(ledger.reports)) == len(ledger.reports)
