"""`python -m tests.powercut --engine NAME --cuts 60`: cut a journal engine's power and count what it lost."""

import argparse
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.powercut import engines, rig


def main() -> int:
    """Record, cut, check; prints one line and every bad cut; 1 if there was one."""
    parser = argparse.ArgumentParser(prog="python -m tests.powercut", description=__doc__)
    parser.add_argument("--engine", choices=engines.NAMES, action="append", required=True)
    parser.add_argument("--cuts", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--mount", default="noatime", help="options; nobarrier shows what a lying disk does")
    chosen = parser.parse_args()
    if reason := rig.unavailable():
        sys.exit(reason)
    found = 0
    writer = [sys.executable, "-m", "tests.powercut.engines"]
    for name in chosen.engine:
        with tempfile.TemporaryDirectory(dir=".") as scratch:
            folder = Path(scratch).resolve()
            log = rig.record([*writer, name, str(chosen.rows)], chosen.seconds, folder, chosen.mount)
            found += cut_engine(name, log, chosen.cuts, chosen.seed, folder)
    return 1 if found else 0


def cut_engine(name: str, log: rig.Log, count: int, seed: int, scratch: Path) -> int:
    """Number of bad cuts."""
    scans, flushes, written = log.between_acknowledgements()
    bad, recoveries = [], []
    for cut in rig.cuts(log, count, seed, scratch):
        if said := rig.verdict(partial(engines.check, name), cut):
            bad.append(f"  {cut.description}: {said}")
        if (noted := cut.folder.parent / "recovery_ms").exists():
            recoveries.append(float(noted.read_text()))
    recovery = f"{statistics.median(recoveries):.1f} (max {max(recoveries):.1f})" if recoveries else "-"
    summary = (
        f"{name}: {len(bad)} of {count} cuts bad, seed {seed}; {scans} scans, {flushes / scans:.2f} flushes "
        f"and {written / scans / 1024:.1f} KiB a scan; opened again in {recovery} ms"
    )
    sys.stdout.write("\n".join([summary, *bad[:5], ""]))
    sys.stdout.flush()
    return len(bad)


if __name__ == "__main__":
    sys.exit(main())
