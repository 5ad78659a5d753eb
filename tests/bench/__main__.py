"""`make bench`: all figures, or those named, as a table and in .bench/latest.json."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import (
    asking,
    asks_at_bridge,
    chaining,
    crowding,
    decision,
    doubling,
    dying,
    feeding,
    hanging,
    importing,
    ledgers,
    listing,
    managing,
    relay,
    scaling,
    sending,
    signing,
    start,
    syncing,
)
from tests.bench.figures import SCRATCH, Figure, table, write

BENCHES: dict[str, Callable[[int], Iterator[Figure]]] = {
    "decision": decision.run,
    "relay": relay.run,
    "hanging": hanging.run,
    "importing": importing.run,
    "start": start.run,
    "syncing": syncing.run,
    "feeding": feeding.run,
    "sending": sending.run,
    "listing": listing.run,
    "doubling": doubling.run,
    "crowding": crowding.run,
    "ledgers": ledgers.run,
    "dying": dying.run,
    "scaling": scaling.run,
    "asking": asking.run,
    "asks_at_bridge": asks_at_bridge.run,
    "signing": signing.run,
    "chaining": chaining.run,
    "managing": managing.run,
}


def main() -> int:
    """Run the benches and print their figures."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help="which figures; all by default")
    parser.add_argument("--tickets", type=int, default=1_000_000, help="size of the catalogue")
    chosen, more = parser.parse_known_args()
    if more and chosen.names == ["scaling"]:
        return scaling.main(more)
    if more:
        parser.error(f"only scaling, alone, takes {more[0]}")
    SCRATCH.mkdir(exist_ok=True)
    figures: list[Figure] = []
    for name in chosen.names or BENCHES:
        started = time.perf_counter()
        for each in BENCHES[name](chosen.tickets):
            sys.stderr.write(f"{name}: {each.name}: {each.median:g} {each.unit}\n")
            figures.append(each)
            write(figures, Path(".bench/latest.json"))  # each at once: a bench that is ended loses nothing
        sys.stderr.write(f"{name}: took {time.perf_counter() - started:.0f} s\n")
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
