"""A bridge in a process of its own, which says how far it has come.

`python -m tests.bench.bridge_child SETTINGS DATA [at-once | asked URL]`: with `at-once` its account's vendor
takes every movement without a request, so that a figure has no vendor in it; with `asked` it is one that is
asked about each scan, at that address. Told nothing, it works until SIGTERM.
"""

import json
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from firmware.bridge.service import open_bridge, vendor_of
from firmware.bridge.settings import AccountSettings, load
from firmware.bridge.vendor import (
    NOTHING_KEPT,
    Accepted,
    Device,
    Flow,
    Listing,
    Outcome,
    Question,
    Refused,
    Told,
    Vendor,
)
from tests.bridge.oracle import Oracle

BATCH_MAX = 20  # as Ingresse
DEADLINE_MS = 3000  # as Presence


class AtOnce:
    """A vendor that takes everything at once and has no list."""

    batch_max = BATCH_MAX
    asks = False
    devices = False
    deadline_ms = 3000
    inner = False
    books_exits = True
    uploads = True
    compares = False
    signs = False
    tellers = 1
    keys: Mapping[str, str] = NOTHING_KEPT

    def secrets(self) -> Sequence[str]:
        """None."""
        return ()

    def probe(self) -> Flow[str]:
        """Nothing to ask."""
        yield from ()
        return "takes everything"

    def tickets(self, since: str) -> Flow[Listing]:
        """An empty list, which is not whole."""
        yield from ()
        return Listing("1", False)

    def tell(self, movements: Sequence[Told]) -> Flow[tuple[Outcome, ...]]:
        """Taken."""
        yield from ()
        return tuple(Accepted() for _ in movements)

    def ask(self, question: Question, kept: Mapping[str, str]) -> Flow[Accepted | Refused]:
        """Never."""
        raise AssertionError("not asked")

    def configure(self, device: Device) -> Flow[Mapping[str, str]]:
        """None."""
        raise AssertionError("no devices")

    def trial(self) -> Flow[None]:
        """Nothing."""
        yield from ()


def at_once(_: AccountSettings) -> Vendor:
    """Whatever the settings say."""
    return AtOnce()


def main(settings: str, data: str, *more: str) -> int:
    """Answer each line: `health` says what there is."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    vendor: Callable[[AccountSettings], Vendor] = at_once if "at-once" in more else vendor_of
    if "asked" in more:
        oracle = Oracle(more[-1], deadline_ms=DEADLINE_MS)
        vendor = lambda _: oracle  # noqa: E731  one line, like the others

    def complain(text: str) -> None:
        sys.stderr.write(f"bridge: {text}\n")

    with open_bridge(load(Path(settings)), Path(data), complain, vendor=vendor) as bridge:
        while not (bridge.line.health.connections and bridge.ask_line.health.connections):
            over.wait(0.01)
        print(json.dumps({"ready": True}), flush=True)

        def listen() -> None:
            for _ in sys.stdin:
                health = bridge.health()
                said = {
                    "rows": health.rows,
                    "runs": [account.runs for account in health.accounts],
                    "faults": [fault.text for fault in health.faults],
                    "asks": [account.asks._asdict() for account in health.accounts],
                    "odd": sum(odd.times for odd in health.odd.values()),
                }
                print(json.dumps(said), flush=True)

        threading.Thread(target=listen, daemon=True).start()
        over.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
