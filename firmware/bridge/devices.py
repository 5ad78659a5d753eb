"""Devices of one account: each perimeter of each gate, configured at the vendor before anybody asks there.

A device is configured at every birth of its gate whose clock is trusted, by one bridge of several, and tried
again for as long as the vendor does not say yes. What the vendor gave is kept in the ledger.
"""

import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from firmware import wire
from firmware.bridge.births import Births
from firmware.bridge.driver import Driver
from firmware.bridge.ledger.configured import Claim, Configured
from firmware.bridge.vendor import NOTHING_KEPT, Device, Misconfigured, Outage, Vendor
from firmware.bridge.work import Fault, Faults, Wait, Worker, fault_of
from firmware.core.ticket import Perimeter

RETRY_S_MIN, RETRY_S_MAX = 1.0, 60.0  # before one is tried again: a gate is turned away until then
MEND_S = 30.0  # before one that a person has to mend is tried again
ELSEWHERE_S = 2.0  # before looking whether another bridge is done with one
LEASE_MS = 60_000  # for one configuring, with its time-outs; then another bridge may
IDLE_S = 60.0  # woken by births
DOUBLINGS_MAX = 6  # of the wait

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
    ) -> None:
        """`mark` stands for the account's settings: where they change, each device is configured anew."""
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
        self._kept: dict[Place, Mapping[str, str]] = {}
        self._ready: dict[Place, str] = {}  # the birth for which each is configured
        self._tries: dict[Place, _Try] = {}
        self._suspects: set[Place] = set()
        self._suspect_s: dict[Place, float] = {}  # when each may be suspected again
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
        if birth is None or not birth.trusted or self._ready.get((gate, perimeter)) != self._life(birth):
            return None
        return self._kept.get((gate, perimeter))

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

    def newest(self, gate: str, perimeter: Perimeter) -> Mapping[str, str]:
        """What the vendor gave last, in whichever life of the gate."""
        return self._kept.get((gate, perimeter), NOTHING_KEPT)

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
        for place, birth in wanted.items():
            if self._ready.get(place) != self._life(birth):
                pause_s = min(pause_s, self._one(place, birth))
            elif place in self._suspects:
                self._suspects.discard(place)
                self._anew(place, birth)
        return pause_s

    def _anew(self, place: Place, birth: wire.Presence) -> None:
        """Configure once more what is configured. Where that fails, the next refused ask does so again."""
        life = self._life(birth)
        with suppress(Outage, Misconfigured):
            kept = self._driver.run(
                self._vendor.configure(_device(place, birth)), stop=lambda: self.configuring.stopping
            )
            self._configured.keep(self.name, place, life, kept)
            self._done(place, life, kept)

    def _load(self) -> None:
        for gate, perimeter, birth, kept in self._configured.all_of(self.name):
            self._kept[gate, perimeter] = kept
            self._ready[gate, perimeter] = birth
        self._loaded = True
        self._changed()

    def _one(self, place: Place, birth: wire.Presence) -> float:
        """Configure one device, or find that it is too early; seconds until the next look at it."""
        tried = self._tries.get(place)
        if tried is None or tried.birth != self._life(birth):
            tried = _Try(self._life(birth))
        if (left_s := tried.next_s - self._clock()) > 0:
            return left_s
        claim, kept = self._configured.claim(
            self.name, place, tried.birth, self._worker, self._now_utc_ms(), LEASE_MS
        )
        if claim is Claim.DONE:
            return self._done(place, tried.birth, kept)
        if claim is Claim.ELSEWHERE:
            return ELSEWHERE_S
        device = _device(place, birth)
        try:
            kept = self._driver.run(self._vendor.configure(device), stop=lambda: self.configuring.stopping)
        except (Outage, Misconfigured) as error:
            return self._failed(place, tried, error)
        self._configured.keep(self.name, place, tried.birth, kept)
        return self._done(place, tried.birth, kept)

    def _done(self, place: Place, birth: str, kept: Mapping[str, str]) -> float:
        self._kept[place], self._ready[place] = kept, birth
        self._tries.pop(place, None)
        self._faults.clear(self._thing(place))
        self._changed()
        return IDLE_S

    def _failed(self, place: Place, tried: _Try, error: Outage | Misconfigured) -> float:
        """Nobody scans there until it is done, and a person may have to mend it."""
        self._configured.give_back(self.name, place, self._worker)
        most_s = min(RETRY_S_MAX, RETRY_S_MIN * 2 ** min(tried.failures, DOUBLINGS_MAX))
        pause_s = _CHANCE(most_s / 2, most_s) if isinstance(error, Outage) else MEND_S
        if isinstance(error, Outage):
            pause_s = max(pause_s, error.retry_after_s)
        thing = self._thing(place)
        said = fault_of(thing, error)
        self._faults.set(
            thing, Fault(thing, said.kind, f"{said.text}. Nobody is let in there by {self.name}")
        )
        self._tries[place] = tried._replace(failures=tried.failures + 1, next_s=self._clock() + pause_s)
        return pause_s

    def _life(self, birth: wire.Presence) -> str:
        """What a device is configured for: a start of the gate, at an address. A connection is no start."""
        start = f"{birth.random}:{birth.epoch}:{birth.mac}:{birth.ip}"
        return f"{start}:{self._mark}" if self._mark else start

    def _thing(self, place: Place) -> str:
        return f"{self.name}, the {place[1]} lanes of gate {place[0]}"


def _device(place: Place, birth: wire.Presence) -> Device:
    return Device(*place, birth.mac, birth.ip, birth.serial, birth.model)
