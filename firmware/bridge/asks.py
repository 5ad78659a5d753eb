"""All that has to do with asks, put together: who is there, devices, each account's asks, what gates hear.

The connection's thread brings births and asks; everything else happens on threads of the parts.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from firmware import wire
from firmware.bridge.asking import ASKS_AT_ONCE, AskCounts, Asking, always
from firmware.bridge.births import Births, name_of
from firmware.bridge.breaker import Breaker
from firmware.bridge.bulletin import Bulletin
from firmware.bridge.devices import Devices
from firmware.bridge.driver import Driver
from firmware.bridge.ledger.configured import Configured
from firmware.bridge.outbox import Outbox
from firmware.bridge.vendor import NOTHING_KEPT, Vendor
from firmware.bridge.work import Fault, Faults, Wait, Worker
from firmware.core.ticket import Perimeter

CONNECTIONS_MORE = 2  # for a trial and for a device, beside the asks


class Asks:
    """The asks of a bridge. A context manager; its `workers` are started and ended by the caller.

    `accounts` are name, vendor and the requests a second that asks may take; `marks` stand for the settings
    with which each one's devices are configured.
    """

    def __init__(
        self,
        venue: str,
        accounts: Sequence[tuple[str, Vendor, float]],
        configured: Configured,
        outbox: Outbox,
        faults: Faults,
        worker: str,
        now_utc_ms: Callable[[], int],
        wait: Wait = threading.Event.wait,
        first: Callable[[str, wire.Ask], bool] = always,
        clock: Callable[[], float] = time.monotonic,
        marks: Mapping[str, str] = NOTHING_KEPT,
    ) -> None:
        self._venue = venue
        self.outbox = outbox
        """What goes to gates of it."""
        self._faults = faults
        self._stack = ExitStack()
        self._births = Births(self._born)
        self._asking: dict[str, Asking] = {}
        self._devices: dict[str, Devices] = {}
        parts = []
        for name, vendor, rate_max in accounts:
            if not (vendor.asks or vendor.devices or vendor.signs):
                continue
            most = ASKS_AT_ONCE + CONNECTIONS_MORE
            driver = self._stack.enter_context(Driver(name, vendor, rate_max, connections_max=most))
            devices = Devices(
                name, vendor, driver, self._births, configured, faults, worker, self._tell, now_utc_ms, wait,
                mark=marks.get(name, ""),
            )  # fmt: skip
            breaker = Breaker(lambda name=name: self._turned(name), clock)  # type: ignore[misc]  # bound now
            asking = Asking(name, vendor, driver, breaker, faults, self._answer, devices, first, clock)
            self._asking[name], self._devices[name] = asking, devices
            parts.append((vendor, asking, devices))
        self._bulletin = Bulletin(venue, parts, self._births, outbox, faults)
        self.workers: tuple[Worker, ...] = (
            self._bulletin.telling,
            *(each.configuring for each in self._devices.values() if each.needed),
        )

    # --- on the connection's thread --------------------------------------------------------------

    def take(self, gate: str, ask: wire.Ask) -> None:
        """An ask came."""
        asking = self._asking.get(ask.account)
        if asking is not None:
            asking.take(gate, ask)
            return
        text = f"the bridge has no account {ask.account} that can be asked"
        self._answer(
            gate, wire.Answer(scan=ask.scan, digest=ask.digest, word=wire.Word.UNANSWERED, text=text)
        )

    def born(self, gate: str, presence: wire.Presence) -> None:
        """A gate's status came."""
        before = self._births.of(gate)
        self._births.take(gate, presence)
        if presence.online and (before is None or name_of(before) != name_of(presence)):
            self._again(gate)

    def connected(self) -> None:
        """A new connection: no gate has heard anything through it."""
        self._bulletin.forget()
        for gate in self._births.now():
            self._again(gate)

    def _again(self, gate: str) -> None:
        for asking in self._asking.values():
            asking.again(gate)

    # --- for others --------------------------------------------------------------------------------

    def kept(self, account: str, gate: str, perimeter: Perimeter) -> Mapping[str, str]:
        """What configuring a device gave last, for what is told of its scans."""
        devices = self._devices.get(account)
        return devices.newest(gate, perimeter) if devices is not None else NOTHING_KEPT

    def counts(self) -> Mapping[str, AskCounts]:
        """What was asked, by account."""
        return {name: asking.counts for name, asking in self._asking.items()}

    def reachable(self, account: str) -> bool:
        """Whether that vendor is worth asking; one that cannot be asked counts as such."""
        asking = self._asking.get(account)
        return asking is None or not asking.breaker.is_open

    # --- what the parts say --------------------------------------------------------------------------

    def _answer(self, gate: str, answer: wire.Answer) -> None:
        self.outbox.put_answer(wire.address(wire.ANSWER, self._venue, gate), answer)

    def _born(self) -> None:
        for devices in self._devices.values():
            devices.configuring.wake()
        self._tell()

    def _turned(self, name: str) -> None:
        """A breaker opened or closed."""
        asking, thing = self._asking[name], f"asks to {name}"
        if asking.breaker.is_open:
            text = f"{thing}: gates decide by their policy without asking: {asking.breaker.why}"
            self._faults.set(thing, Fault(thing, "open", text))
        else:
            self._faults.clear(thing)
        asking.wake()
        self._tell()

    def _tell(self) -> None:
        self._bulletin.wake()

    # --- beginning and end ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Begin."""
        for asking in self._asking.values():
            self._stack.enter_context(asking)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; asks under way have a moment more."""
        self._stack.close()
