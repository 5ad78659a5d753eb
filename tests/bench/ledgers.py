"""Rows of one gate into a ledger on PostgreSQL, beside the same rows into one on SQLite, in turns.

Every part is a real one: journal, gate, broker, bridge, and a database that survives a power cut. The vendor
takes everything at once, so that a figure has no vendor in it.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.bench import past, site
from tests.bench.figures import SCRATCH, Figure, figure, median, single
from tests.bench.scaling_site import ledger_of
from tests.bench.sending import people
from tests.postgres import PACKAGES, server

ROWS = 40_000
ROUNDS = 3
OF_SQLITE = 0.5  # as fast as that at least
DATABASES = ("sqlite", "postgresql")
NAME = "rows, journal to receipt, PostgreSQL"


def run(count: int) -> Iterator[Figure]:
    """`ROWS` rows, or as many as there are tickets."""
    if (figure_of_none := site.absent(NAME)) is not None:
        yield figure_of_none
        return
    if server() is None:
        yield single(NAME, "", float("nan"), "", note=f"absent: needs {', '.join(PACKAGES)} (make system)")
        return
    rows = min(ROWS, count)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        folder = Path(scratch)
        last = past.make_journal(folder / "made" / "journal", rows, people(rows // 2).__getitem__)
        taken: dict[str, list[float]] = {name: [] for name in DATABASES}
        cpu_s: dict[str, list[float]] = {name: [] for name in DATABASES}
        for turn in range(ROUNDS):
            for name in DATABASES if turn % 2 else DATABASES[::-1]:
                rate, used_s = _send(folder / f"{name}-{turn}", folder / "made", name, rows, last)
                taken[name].append(rate)
                cpu_s[name].append(used_s)
    size = f"{rows:,} rows of one gate"
    peers = {"SQLite": median(taken["sqlite"])}
    target = f">= {OF_SQLITE} x SQLite"
    yield figure(NAME, size, taken["postgresql"], "rows/s", peers, target, "vendor at once; one bridge")
    yield figure("rows, journal to receipt, SQLite", size, taken["sqlite"], "rows/s", note="peer")
    for name in DATABASES:
        yield figure(f"of it: processor of the bridge, {name}", size, cpu_s[name], "s")


def _send(folder: Path, made: Path, database: str, rows: int, last: int) -> tuple[float, float]:
    """Rows a second, and the seconds of processor that the bridge took."""
    data = folder / "gate"
    folder.mkdir()
    shutil.copytree(made, data, ignore=shutil.ignore_patterns("lock.mdb"))
    with ExitStack() as stack:
        broker = stack.enter_context(site.broker_in(folder / "broker"))
        ledger = stack.enter_context(ledger_of(database, folder))
        settings = site.write_bridge(folder / "bridge", broker.port, None)
        ledger.write_settings(settings)
        bridge = stack.enter_context(site.bridge(settings, folder / "bridge" / "data", "at-once"))
        gate = stack.enter_context(site.gate(site.write_gate(folder, "north", broker.port), data))
        before_s = bridge.cpu_s
        took = gate.ask("receipt", row=last)
        assert took["first"] < last, "the gate was done before it was looked at"
        assert ledger.rows() >= rows, "a receipt for what is not there"
        found = rows / took["ns"] * 1e9, bridge.cpu_s - before_s
    shutil.rmtree(folder)
    return found
