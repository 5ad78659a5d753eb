"""A list of a million rows imported beside a gate that goes on scanning."""

import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from firmware.config import parse
from firmware.gate import Gate
from firmware.shots import Shot
from firmware.unit import open_unit
from hal.ports import Code
from tests.bench import past, world
from tests.bench.figures import SCRATCH, Figure, figure, quantile, single
from tests.bench.relay import ANSWER_S, running

TICKETS_BEFORE = 100_000
QUIET_SCANS = 1_000
PACE_S = 0.005  # two hundred scans a second: far more than four lanes bring
PACE = threading.Event()


def run(count: int) -> Iterator[Figure]:
    """The list replaces one of a tenth of its size."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        folder = Path(scratch)
        data, csv = folder / "data", folder / "list.csv"
        world.make_catalogue(data / "catalogue", TICKETS_BEFORE)
        _write_csv(csv, count)
        shots: queue.SimpleQueue[Shot] = queue.SimpleQueue()
        settings = parse(past.SETTINGS, "bench")
        with (
            open_unit(settings, data, trusted=lambda: True, watch=shots.put) as unit,
            running(unit) as gate,
        ):
            numbers = iter(range(10_000_000))
            quiet = [_scan(gate, shots, next(numbers)) for _ in range(QUIET_SCANS)]
            command = [sys.executable, "-m", "firmware.cli", "import", str(csv), "--data", str(data)]
            started = time.perf_counter()
            meanwhile = []
            with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
                while process.poll() is None:
                    meanwhile.append(_scan(gate, shots, next(numbers)))
                took_s = time.perf_counter() - started
                if process.returncode:
                    raise RuntimeError(f"the import ended with {process.returncode}")
            swap = [_scan(gate, shots, next(numbers)) for _ in range(QUIET_SCANS)]
    size = f"{count:,} rows of CSV"
    yield single("import", size, count / took_s, "rows/s", ">= 20,000 rows/s", "the whole command")
    quiet_p99 = {"its own p99 without": quantile(quiet, 0.99)}
    for name, taken in (("scan, import beside it", meanwhile), ("scan, list swapped in", swap)):
        p99 = quantile(taken, 0.99)
        ratio = {peer: round(p99 / value, 3) for peer, value in quiet_p99.items()}
        middle = figure(name, size, taken, "µs")
        yield Figure(
            name, size, middle.median, middle.p99, "µs", ratio, "p99 <= 3 x", "text in to light or relay"
        )


def _scan(gate: Gate, shots: "queue.SimpleQueue[Shot]", number: int) -> float:
    """Microseconds from the text to its answer: the relay's for an admission, else the lamp's."""
    gate.scan("1", Code(world.code_of(number % TICKETS_BEFORE)), None)
    shot = shots.get(timeout=ANSWER_S)
    PACE.wait(PACE_S)
    return ((shot.relay_ns or shot.decided_ns) - shot.read_ns) / 1000


def _write_csv(path: Path, count: int) -> None:
    with path.open("w") as file:
        file.write("code,ticket_id,event,session,type,sector,valid_from,valid_until,status\n")
        for number in range(count):
            ticket = world.ticket_of(number)
            file.write(
                f"{world.code_of(number)},{ticket.ticket_id},{ticket.event},{ticket.session},{ticket.type},"
                f"{ticket.sector},2026-05-01,2036-05-01T22:00:00Z,valid\n"
            )
