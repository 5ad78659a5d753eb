"""One of two bridges is killed under load, again and again: for how long no row is stored.

Gates, people, broker, bridges and ledger (PostgreSQL) are those of `tests.bench.scaling`. Who was killed is
started again before the other one is.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

from firmware.bridge.sandbox.ingresse import Sandbox
from tests.bench import site
from tests.bench.figures import PACE, SCRATCH, Figure, figure, single
from tests.bench.scaling import LIST_S, SETTLE_S, Crowd, Measured, Shape, check
from tests.bench.scaling_site import Bridges, ledger_of, limited_broker, until
from tests.bench.sending import SEED
from tests.postgres import PACKAGES, server

NAME = "kill one of two bridges, rows stop"
STOP_S_MAX = 10.0
GATES = 20
ROWS_S = 40.0
LIFE_S = 8.0  # between two deaths at least, so that the one before is over
LOAD_S = 80.0  # with some eight deaths
WARM_UP_S = 5.0


def run(count: int) -> Iterator[Figure]:
    """As many deaths as `LOAD_S` has room for; the number of tickets does not matter here."""
    if (figure_of_none := site.absent(NAME)) is not None:
        yield figure_of_none
        return
    if server() is None:
        yield single(NAME, "", float("nan"), "", note=f"absent: needs {', '.join(PACKAGES)} (make system)")
        return
    shape = Shape(GATES, ROWS_S, LOAD_S, bridges=2, database="postgresql")
    found = Measured(shape, tickets=2 * shape.scans + 2_000)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=SCRATCH)))
        sandbox = stack.enter_context(Sandbox(tickets=found.tickets, seed=SEED))
        broker = stack.enter_context(limited_broker(folder / "broker", shape.gates))
        ledger = stack.enter_context(ledger_of(shape.database, folder))
        settings = site.write_bridge(folder / "bridge", broker.port, sandbox)
        ledger.write_settings(settings)
        bridges = stack.enter_context(Bridges(settings, folder, shape.bridges))
        until(ledger.is_listed, LIST_S)
        crowd = stack.enter_context(Crowd(shape, broker.port, found))
        crowd.connect()
        crowd.bring()
        over_s = time.monotonic() + LOAD_S
        PACE.wait(WARM_UP_S)
        killed_ms: list[int] = []
        while time.monotonic() < over_s - LIFE_S:
            victim = len(killed_ms) % 2
            killed_ms.append(time.time_ns() // 1_000_000)
            bridges.kill(victim)
            PACE.wait(LIFE_S / 2)
            bridges.start_again(victim)
            PACE.wait(LIFE_S / 2)
        scans = crowd.settle()
        until(lambda: sandbox.books().check_ins >= scans, SETTLE_S)
        crowd.leave()
        check(found, ledger, sandbox, scans)
        stored_ms = ledger.received_ms()
    size = f"{GATES} gates, {found.rows:,} rows, {len(killed_ms)} kills"
    stops = [_stop_s(stored_ms, at_ms) for at_ms in killed_ms]
    note = "no row is lost or there twice, no scan told twice"
    yield figure(NAME, size, stops, "s", target=f"<= {STOP_S_MAX:g} s each", note=note)
    late_s = max(found.late_ms) / 1000
    yield single("the row that waited longest for its receipt", size, late_s, "s", f"<= {STOP_S_MAX:g} s")


def _stop_s(stored_ms: list[int], killed_ms: int) -> float:
    """The longest time without a row, of those that begin before `LIFE_S` after this death are over."""
    stops = pairwise(stored_ms)
    then = [after - before for before, after in stops if after >= killed_ms > before - LIFE_S * 1000]
    return max(then, default=0) / 1000
