"""Fifty gates at once for two minutes: how late a row gets its receipt, and what the bridge's memory does.

The gates are simulated, all in one process (`tests.sim.gates`); broker, bridge and vendor are real ones and
the sandbox. Every scan is an admission of a ticket of the sandbox, and is told to it.
"""

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from firmware.bridge.sandbox.ingresse import Sandbox
from firmware.core.ticket import Verdict
from firmware.mqtt import Broker
from tests.bench import site
from tests.bench.figures import SCRATCH, Figure, figure, median, quantile
from tests.bench.sending import SEED, people
from tests.sim.gates import Crowd, Person

GATES = 50
SCANS_A_SECOND = 100.0
SECONDS = 120.0
SETTLE_S = 60.0  # for the last rows' receipts, and the last scans at the vendor
LATE_S_MAX = 2.0
LOOK_S = 1.0


def run(count: int) -> Iterator[Figure]:
    """Whatever the catalogue's size."""
    if (figure_of_none := site.absent("rows of 50 gates, lateness")) is not None:
        yield figure_of_none
        return
    crowd_people = [Person(*each) for each in people(int(SCANS_A_SECOND * SECONDS * 1.2))]
    with (
        tempfile.TemporaryDirectory(dir=SCRATCH) as scratch,
        Sandbox(tickets=2 * len(crowd_people), seed=SEED) as sandbox,
        site.broker_in(Path(scratch) / "broker") as broker,
    ):
        settings = site.write_bridge(Path(scratch) / "bridge", broker.port, sandbox)
        with (
            site.bridge(settings, Path(scratch) / "data") as bridge,
            Crowd(
                site.VENUE, GATES, [Broker("127.0.0.1", broker.port)], crowd_people.__getitem__, SEED
            ) as crowd,
        ):
            crowd.until(crowd.connected, SETTLE_S)
            memory = Memory(bridge)
            crowd.bring(SCANS_A_SECOND, SECONDS)
            memory.stop()
            crowd.until(lambda: not crowd.waiting, SETTLE_S)
            scans = sum(gate.verdicts[Verdict.ADMITTED] for gate in crowd.gates)
            crowd.until(lambda: sandbox.books().check_ins >= scans, SETTLE_S)
            late_s, came = crowd.lateness_s, crowd.people
        books = sandbox.books()
    assert (books.check_ins, books.twice) == (scans, 0), f"{scans} scans, and told were {books}"
    size = f"{GATES} gates, {scans / SECONDS:.0f} scans/s, {SECONDS:.0f} s"
    late = sum(each > LATE_S_MAX for each in late_s)
    yield figure(
        "row to receipt", size, [each * 1000 for each in late_s], "ms", None,
        f"none later than {LATE_S_MAX:g} s",
        f"{late} of {len(late_s):,} later; the latest {max(late_s):.2f} s; {came - scans} of {came:,} people "
        "met a busy lane: if more than a few did, this machine was too busy to simulate the gates",
    )  # fmt: skip
    quarter = len(memory.mb) // 4
    before, after = median(memory.mb[quarter : 2 * quarter]), median(memory.mb[-quarter:])
    yield figure(
        "memory of the bridge", size, memory.mb, "MB", None, "flat",
        f"{before:.1f} MB in the second quarter, {after:.1f} in the last; at most "
        f"{quantile(memory.mb, 1.0):.1f}",
    )  # fmt: skip


class Memory:
    """Looks at a process's memory each second, on a thread of its own."""

    def __init__(self, of: site.Child) -> None:
        self.mb: list[float] = []
        self._of, self._over = of, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            self.mb.append(self._of.kib("VmRSS") / 1024)

    def stop(self) -> None:
        """No more looks."""
        self._over.set()
        self._thread.join()
