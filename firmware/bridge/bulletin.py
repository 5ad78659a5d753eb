"""Tells each gate how the vendors are: after its birth, on each change, and every 20 s.

A gate that hears nothing for a minute takes its vendors as not reachable, so this must not stop while
anything works.
"""

import time
from collections.abc import Callable, Sequence

from firmware import wire
from firmware.bridge.asking import NOT_KNOWN, TEXT_CHARACTERS_MAX, Asking
from firmware.bridge.births import Births, name_of
from firmware.bridge.devices import Devices
from firmware.bridge.ledger.reports import whole_text
from firmware.bridge.outbox import Outbox
from firmware.bridge.vendor import Vendor
from firmware.bridge.work import Faults, Worker
from firmware.core.ticket import Perimeter

EVERY_S = 20.0  # a gate that missed one hears the next; after three it believes nothing any more
ROOM_S = 0.2  # where too much waits to be sent: the window is empty again soon


class Bulletin:
    """The message to each gate; `telling` is its thread, and `wake` brings it forward."""

    def __init__(
        self,
        venue: str,
        accounts: Sequence[tuple[Vendor, Asking, Devices]],
        births: Births,
        outbox: Outbox,
        faults: Faults,
        bridge: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`bridge` is its name, by which gates tell it from others."""
        self._bridge = bridge
        self._venue = venue
        self._accounts = accounts
        self._births = births
        self._outbox = outbox
        self._clock = clock
        self._sent: dict[str, tuple[str, wire.Vendors, float]] = {}  # by gate: birth, what, when
        self.telling = Worker("vendors' health", self._turn, faults)

    def wake(self) -> None:
        """Something changed."""
        self.telling.wake()

    def forget(self) -> None:
        """A new connection: nobody has heard anything."""
        self._sent = {}
        self.wake()

    def _turn(self) -> float:
        """Send to whoever has not heard it."""
        if not self._accounts or not self._outbox.is_connected:
            return EVERY_S
        gates, now_s, pause_s = self._births.now(), self._clock(), EVERY_S
        sent = self._sent  # where a new connection comes meanwhile, this one is nobody's any more
        for gone in sent.keys() - gates.keys():
            del sent[gone]
        for gate, birth in gates.items():
            message = self._message(gate)
            known = sent.get(gate)
            if known is not None and known[:2] == (name_of(birth), message):
                left_s = known[2] + EVERY_S - now_s
                if left_s > 0:
                    pause_s = min(pause_s, left_s)
                    continue
            if not self._outbox.put_answer(wire.address(wire.VENDORS, self._venue, gate), message):
                pause_s = min(pause_s, ROOM_S)
                break
            sent[gate] = name_of(birth), message, now_s
        return pause_s

    def _message(self, gate: str) -> wire.Vendors:
        return wire.Vendors(
            accounts=tuple(self._account(gate, *each) for each in self._accounts), bridge=self._bridge
        )

    def _account(self, gate: str, vendor: Vendor, asking: Asking, devices: Devices) -> wire.Account:
        """Where the ledger could not tell yet what a gate has configured, nobody is asked or turned away."""
        breaker, known = asking.breaker, devices.knows(gate)
        return wire.Account(
            asking.name,
            vendor.asks,
            known and not breaker.is_open,
            devices.perimeters(gate) if known and devices.needed else tuple(Perimeter),
            vendor.deadline_ms,
            whole_text(breaker.why or ("" if known else NOT_KNOWN))[:TEXT_CHARACTERS_MAX],
            vendor.uploads,
            vendor.devices,
            tuple(wire.EventKey(event, key) for event, key in vendor.keys.items()),
            asking.unreached_only,
            breaker.unreached,
        )
