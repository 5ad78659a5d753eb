"""`python -m tests.powercut.measure`: latency of a durable scan with each engine, rounds taking turns."""

import argparse
import math
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.powercut import engines


def say(line: str) -> None:
    """One line of the table, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Print a table: median and p99 of a commit, and of the checkpoint that is left for idle moments."""
    parser = argparse.ArgumentParser(prog="python -m tests.powercut.measure", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument(
        "--scans", type=int, default=50, help="a round; short, so that a slow moment hits all"
    )
    parser.add_argument("--before", type=int, default=20_000, help="scans already in the journal")
    parser.add_argument("--engine", choices=engines.NAMES, action="append")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to be measured")
    chosen = parser.parse_args()
    names = chosen.engine or engines.NAMES
    commits: dict[str, list[float]] = {name: [] for name in names}
    idles: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch, ExitStack() as stack:
        stores = {}
        for name in names:
            (folder := Path(scratch) / name).mkdir()
            stores[name] = stack.enter_context(engines.opened(name, folder, checkpoint_rows=0))
            stores[name].fill(chosen.before)
        number = chosen.before
        for _ in range(chosen.rounds):
            for name, store in stores.items():
                for at in range(number + 1, number + 1 + chosen.scans):
                    begin = time.perf_counter()
                    store.append(at)
                    commits[name].append((time.perf_counter() - begin) * 1000)
                begin = time.perf_counter()
                store.idle()
                idles[name].append((time.perf_counter() - begin) * 1000)
            number += chosen.scans
    after = f"checkpoint after {chosen.scans} scans, median (max) ms"
    say(f"| engine | commit, median ms | p99 ms | max ms | {after} |")
    say("| --- | --- | --- | --- | --- |")
    for name in names:
        taken = sorted(commits[name])
        p99 = taken[math.ceil(len(taken) * 0.99) - 1]
        idle = f"{statistics.median(idles[name]):.2f} ({max(idles[name]):.2f})"
        say(f"| {name} | {statistics.median(taken):.3f} | {p99:.3f} | {taken[-1]:.3f} | {idle} |")


if __name__ == "__main__":
    main()
