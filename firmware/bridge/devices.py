"""Devices of one account: each perimeter of each gate, configured at the vendor before anybody asks there.

A device is configured at every birth of its gate whose clock is trusted, by one bridge of several, and tried
again for as long as the vendor does not say yes. What the vendor gave is kept in the ledger, and what it gave
before, for a scan that is told afterwards is the device's that made it. A bridge that starts goes by that,
and configures each device once more beside it.

Vendors tell devices by their MAC address, and gates on one computer have the same. So all of them but the
first by name get one of their own.
"""

import hashlib
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from firmware import wire
from firmware.bridge.births import GATES_MAX, Births
from firmware.bridge.driver import Driver
from firmware.bridge.ledger.configured import Claim, Configured, Held
from firmware.bridge.macs import GROUP_BIT, LOCAL_BIT, plain
from firmware.bridge.vendor import NOTHING_KEPT, Device, Misconfigured, Outage, Vendor
from firmware.bridge.work import Fault, Faults, Wait, Worker, fault_of
from firmware.core.ticket import Perimeter

RETRY_S_MIN, RETRY_S_MAX = 1.0, 30.0  # before one is tried again: a gate is turned away until then
MEND_S = 30.0  # before one that a person has to mend is tried again
ELSEWHERE_S = 2.0  # before looking whether another bridge is done with one
LEASE_MS = 60_000  # for one configuring, with its time-outs; then another bridge may
IDLE_S = 60.0  # woken by births
DOUBLINGS_MAX = 10  # of the wait; the longest that can be set is reached before


_CHANCE = random.SystemRandom().uniform

Place = tuple[str, Perimeter]


class _Try(NamedTuple):
    """How one device is: for which birth, how often it failed in a row, and when it is tried next."""

    birth: str
    failures: int = 0
    next_s: float = 0.0


class Devices:
    """The devices of one account; `configuring` is its thread. `changed` is called when one is configured."""

    def __init__(
        self,
        name: str,
        vendor: Vendor,
        driver: Driver,
        births: Births,
        configured: Configured,
        faults: Faults,
        worker: str,
        changed: Callable[[], None],
        now_utc_ms: Callable[[], int],
        wait: Wait,
        clock: Callable[[], float] = time.monotonic,
        mark: str = "",
        retry_s_max: float = RETRY_S_MAX,
    ) -> None:
        """`mark` stands for the account's settings: where they change, each device is configured anew.

        `retry_s_max` is the longest wait before one that the vendor did not take is tried again.
        """
        self.name = name
        self._vendor = vendor
        self._driver = driver
        self._births = births
        self._configured = configured
        self._faults = faults
        self._worker = worker
        self._changed = changed
        self._now_utc_ms = now_utc_ms
        self._clock = clock
        self._mark = mark
        self._retry_s_max = retry_s_max
        self._held: dict[Place, tuple[Held, ...]] = {}  # oldest first
        self._ready: dict[Place, str] = {}  # the birth for which each is configured
        self._tries: dict[Place, _Try] = {}
        self._suspects: set[Place] = set()
        self._suspect_s: dict[Place, float] = {}  # when each may be suspected again
        self._apart: dict[tuple[str, str], str] = {}  # by gate and its card's address: the one it has instead
        self._loaded = False
        self.configuring = Worker(f"configuring {name}", self._turn, faults, wait=wait)

    @property
    def needed(self) -> bool:
        """Whether this vendor knows devices at all."""
        return self._vendor.devices

    # --- for those who ask ---------------------------------------------------------------------------

    def kept(self, gate: str, perimeter: Perimeter) -> Mapping[str, str] | None:
        """What the vendor gave, for this life of the gate; `None` where it may not ask yet."""
        if not self.needed:
            return NOTHING_KEPT
        birth = self._births.of(gate)
        if birth is None or not birth.trusted or not self._is_ready((gate, perimeter), birth):
            return None
        held = self._held.get((gate, perimeter))
        return held[-1].kept if held else None

    def knows(self, gate: str) -> bool:
        """Whether that can be told: the ledger was read, and the gate's birth was heard."""
        return not self.needed or (self._loaded and self._births.of(gate) is not None)

    def suspect(self, gate: str, perimeter: Perimeter) -> None:
        """The vendor refuses the device itself, so it may have forgotten it: it is configured anew.

        At most every `MEND_S`, and asks go on meanwhile, for it may be something else.
        """
        place, now_s = (gate, perimeter), self._clock()
        if self.needed and self._suspect_s.get(place, now_s) <= now_s:
            self._suspect_s[place] = now_s + MEND_S
            self._suspects.add(place)
            self.configuring.wake()

    def then(self, gate: str, perimeter: Perimeter, at_utc_ms: int) -> Mapping[str, str]:
        """What held when a scan was made there, by the bridge's clock.

        For a scan from before all that is known (the ledger was new, or more than `HELD_MAX` came after)
        it is the oldest; nothing where the vendor never gave any.
        """
        held = self._held.get((gate, perimeter), ())
        known = [each.kept for each in held if each.since_utc_ms <= at_utc_ms]
        return known[-1] if known else held[0].kept if held else NOTHING_KEPT

    def perimeters(self, gate: str) -> tuple[Perimeter, ...]:
        """At which perimeters of a gate the vendor takes scans."""
        return tuple(each for each in Perimeter if self.kept(gate, each) is not None)

    # --- its thread ------------------------------------------------------------------------------------

    def _turn(self) -> float:
        """Configure what waits for it. A vendor that is out of order is left alone for a while."""
        if not self.needed:
            return IDLE_S
        if not self._loaded:
            self._load()
        gates = self._births.now()
        self._tell_apart(gates)
        wanted = {
            (gate, perimeter): birth
            for gate, birth in gates.items()
            if birth.trusted
            for perimeter in birth.perimeters
        }
        for place in [place for place in self._tries if place not in wanted]:
            del self._tries[place]
            self._faults.clear(self._thing(place))
        pause_s = IDLE_S
        ready = {place for place, birth in wanted.items() if self._is_ready(place, birth)}
        for place, birth in wanted.items():
            if place not in ready:
                pause_s = min(pause_s, self._one(place, birth))
        if suspects := [place for place in wanted if place in ready and place in self._suspects]:
            # One a turn: a gate that is born meanwhile may not ask yet, so it does not wait for all of them.
            self._suspects.discard(suspects[0])
            self._anew(suspects[0], wanted[suspects[0]])
            return 0.0 if suspects[1:] else pause_s
        return pause_s

    def _anew(self, place: Place, birth: wire.Presence) -> None:
        """Configure once more what is configured. Where that fails, the next refused ask does so again."""
        life = self._life(place[0], birth)
        with suppress(Outage, Misconfigured):
            kept = self._driver.run(
                self._vendor.configure(self._device(place, birth)), stop=lambda: self.configuring.stopping
            )
            held = self._configured.keep(self.name, place, life, kept, self._now_utc_ms())
            self._done(place, life, held)

    def _load(self) -> None:
        """Begin with what the ledger has. The vendor may have forgotten it: each is configured once more."""
        for gate, perimeter, birth, held in self._configured.all_of(self.name):
            self._held[gate, perimeter] = held
            self._ready[gate, perimeter] = birth
        self._suspects.update(self._ready)
        self._loaded = True
        self._changed()

    def _tell_apart(self, gates: Mapping[str, wire.Presence]) -> None:
        """Give gates that have one card between them an address each; the first by name keeps the card's.

        One that has its own keeps it while the others are away: else it would be configured anew, and nobody
        let in there meanwhile, whenever one of them comes or goes. Its device in the ledger says so.
        """
        holders: dict[str, str] = {}
        apart: dict[tuple[str, str], str] = {}
        for gate, birth in sorted(gates.items()):
            if not (card := plain(birth.mac)):
                continue
            own, lives = _own_address(card, gate), self._lives(gate)
            if any(f":{own}:" in life for life in lives):
                apart[gate, birth.mac] = own
            elif holders.setdefault(card, gate) != gate:
                apart[gate, birth.mac] = own
                if lives and (gate, birth.mac) not in self._apart:
                    # It was configured with the card's address, so that device may stand at the wrong gate.
                    self._suspects.update((holders[card], each) for each in birth.perimeters)
        changed, self._apart = apart != self._apart, apart
        if changed:
            self._changed()

    def _lives(self, gate: str) -> list[str]:
        return [self._ready[gate, each] for each in Perimeter if (gate, each) in self._ready]

    def _one(self, place: Place, birth: wire.Presence) -> float:
        """Configure one device, or find that it is too early; seconds until the next look at it."""
        tried = self._tries.get(place)
        life = self._life(place[0], birth)
        if tried is None or tried.birth != life:
            tried = _Try(life)
        if (left_s := tried.next_s - self._clock()) > 0:
            return left_s
        claim, held = self._configured.claim(
            self.name, place, tried.birth, self._worker, self._now_utc_ms(), LEASE_MS
        )
        if claim is Claim.DONE:
            return self._done(place, tried.birth, held)
        if claim is Claim.ELSEWHERE:
            return ELSEWHERE_S
        device = self._device(place, birth)
        self._suspects.discard(place)
        try:
            kept = self._driver.run(self._vendor.configure(device), stop=lambda: self.configuring.stopping)
        except (Outage, Misconfigured) as error:
            return self._failed(place, tried, error)
        held = self._configured.keep(self.name, place, tried.birth, kept, self._now_utc_ms())
        return self._done(place, tried.birth, held)

    def _done(self, place: Place, birth: str, held: tuple[Held, ...]) -> float:
        self._held[place], self._ready[place] = held, birth
        self._tries.pop(place, None)
        self._faults.clear(self._thing(place))
        self._changed()
        return IDLE_S

    def _failed(self, place: Place, tried: _Try, error: Outage | Misconfigured) -> float:
        """Nobody scans there until it is done, and a person may have to mend it."""
        self._configured.give_back(self.name, place, self._worker)
        most_s = min(self._retry_s_max, RETRY_S_MIN * 2 ** min(tried.failures, DOUBLINGS_MAX))
        soon_s = min(MEND_S, self._retry_s_max)
        pause_s = _CHANCE(most_s / 2, most_s) if isinstance(error, Outage) else soon_s
        if isinstance(error, Outage):
            pause_s = max(pause_s, error.retry_after_s)
        thing = self._thing(place)
        said = fault_of(thing, error)
        self._faults.set(
            thing, Fault(thing, said.kind, f"{said.text}. Nobody is let in there by {self.name}")
        )
        self._tries[place] = tried._replace(failures=tried.failures + 1, next_s=self._clock() + pause_s)
        return pause_s

    def _is_ready(self, place: Place, birth: wire.Presence) -> bool:
        return self._ready.get(place) == self._life(place[0], birth)

    def _life(self, gate: str, birth: wire.Presence) -> str:
        """What a device is configured for: a start of the gate, at an address. A connection is no start."""
        start = f"{birth.random}:{birth.epoch}:{self._mac(gate, birth)}:{birth.ip}"
        return f"{start}:{self._mark}" if self._mark else start

    def _mac(self, gate: str, birth: wire.Presence) -> str:
        """Which MAC address it has at the vendor."""
        return self._apart.get((gate, birth.mac), birth.mac)

    def _device(self, place: Place, birth: wire.Presence) -> Device:
        return Device(*place, self._mac(place[0], birth), birth.ip, birth.serial, birth.model)

    def _thing(self, place: Place) -> str:
        return f"{self.name}, the {place[1]} lanes of gate {place[0]}"


@lru_cache(2 * GATES_MAX)
def _own_address(card: str, gate: str) -> str:
    """The MAC address of a gate that shares its card: the same on every bridge, and of no maker's."""
    first, *others = hashlib.sha256(f"{card} {gate}".encode()).digest()[:6]
    return bytes((first & ~GROUP_BIT | LOCAL_BIT, *others)).hex(":")
