"""All that has to do with asks, put together: who is there, devices, each account's asks, what gates hear.

The connection's thread brings births and asks; everything else happens on threads of the parts.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from types import MappingProxyType, TracebackType
from typing import Self

from msgspec.structs import replace

from firmware import wire
from firmware.bridge.asking import ASKS_AT_ONCE, AskCounts, Asking, always, nothing_listed, untried
from firmware.bridge.births import Births, name_of
from firmware.bridge.breaker import Breaker
from firmware.bridge.bulletin import Bulletin
from firmware.bridge.devices import RETRY_S_MAX, Devices
from firmware.bridge.driver import Driver
from firmware.bridge.ledger.configured import Configured
from firmware.bridge.outbox import Outbox
from firmware.bridge.vendor import NOTHING_KEPT, Question, Vendor, VendorTicket
from firmware.bridge.work import Fault, Faults, Wait, Worker
from firmware.core.ticket import Perimeter

NO_RETRIES: Mapping[str, float] = MappingProxyType({})
CONNECTIONS_MORE = 2  # for a trial and for a device, beside the asks
# Of a `Retry-After`, for what people wait for: limits are counted by the minute at most, and a vendor that is
# back sooner than it said is worth a question a minute.
REST_S_MAX = 60.0


class Asks:
    """The asks of a bridge. A context manager; its `workers` are started and ended by the caller.

    `accounts` are name, vendor and the requests a second that asks may take. `marks` stand for the settings
    with which each one's devices are configured, and `retries` are the seconds after which, at the latest,
    one that the vendor did not take is tried again. Of those in `unreached_only` gates let nobody in
    unchecked unless they cannot be reached. `bridge` is what gates call this one.
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
        bridge: str = "",
        marks: Mapping[str, str] = NOTHING_KEPT,
        unreached_only: Collection[str] = (),
        retries: Mapping[str, float] = NO_RETRIES,
        listed: Callable[[str, Question], VendorTicket | None] = nothing_listed,
    ) -> None:
        self._venue = venue
        self._bridge = bridge
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
            driver = self._stack.enter_context(
                Driver(name, vendor, rate_max, connections_max=most, rest_s_max=REST_S_MAX)
            )
            devices = Devices(
                name, vendor, driver, self._births, configured, faults, worker, self._tell, now_utc_ms, wait,
                mark=marks.get(name, ""), retry_s_max=retries.get(name, RETRY_S_MAX),
            )  # fmt: skip
            breaker = Breaker(lambda name=name: self._turned(name), clock)  # type: ignore[misc]  # bound now
            asking = Asking(
                name, vendor, driver, breaker, faults, self._answer, devices, now_utc_ms, first, clock,
                unreached_only=name in unreached_only, listed=listed,
            )  # fmt: skip
            self._asking[name], self._devices[name] = asking, devices
            parts.append((vendor, asking, devices))
        self._bulletin = Bulletin(venue, parts, self._births, outbox, faults, bridge)
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
        self._answer(gate, untried(ask, f"the bridge has no account {ask.account} that can be asked"))

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

    def kept(self, account: str, gate: str, perimeter: Perimeter, at_utc_ms: int) -> Mapping[str, str]:
        """What configuring a device gave, as it held at that time, for what is told of its scans."""
        devices = self._devices.get(account)
        return devices.then(gate, perimeter, at_utc_ms) if devices is not None else NOTHING_KEPT

    def counts(self) -> Mapping[str, AskCounts]:
        """What was asked, by account."""
        return {name: asking.counts for name, asking in self._asking.items()}

    def reachable(self, account: str) -> bool:
        """Whether that vendor is worth asking; one that cannot be asked counts as such."""
        asking = self._asking.get(account)
        return asking is None or not asking.breaker.is_open

    # --- what the parts say --------------------------------------------------------------------------

    def _answer(self, gate: str, answer: wire.Answer) -> None:
        answer = replace(answer, bridge=self._bridge)
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
