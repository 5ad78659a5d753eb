"""From `gatepost gate` to ready, its memory, its idle processor, and how fast its journal replays."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import past, world
from tests.bench.figures import SCRATCH, Figure, figure, single

JOURNAL_ROWS = 100_000
MOVEMENTS = 1_000_000
STARTS = 5
IDLE_S = 10
READY_S = 120
TICK = os.sysconf("SC_CLK_TCK")


def run(count: int) -> Iterator[Figure]:
    """At `count` tickets and a long evening's rows."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        data = Path(scratch) / "data"
        settings = Path(scratch) / "gate.toml"
        settings.write_text(past.SETTINGS)
        world.make_catalogue(data / "catalogue", count)
        past.make_journal(data / "journal", JOURNAL_ROWS)
        size = f"{count:,} tickets, {JOURNAL_ROWS:,} rows"
        yield from _starts(settings, data, size)
        yield _replay(data, f"{JOURNAL_ROWS:,} rows")
        shutil.rmtree(data / "journal")
        past.make_movements(data / "journal", MOVEMENTS)
        yield from _memory(settings, data, f"{count:,} tickets, {MOVEMENTS:,} movements")


def _starts(settings: Path, data: Path, size: str) -> Iterator[Figure]:
    tidy, killed = [], []
    for _ in range(STARTS):
        with _gate(settings, data) as (process, took_s):
            tidy.append(took_s)
            process.terminate()
        with _gate(settings, data) as (process, _):
            process.kill()
        with _gate(settings, data) as (process, took_s):
            killed.append(took_s)
            process.terminate()
    bare = []
    for _ in range(STARTS):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import lmdb, msgspec, sqlite3"], check=True)
        bare.append(time.perf_counter() - started)
    peers = {"a Python that imports lmdb, msgspec and sqlite3": sorted(bare)[STARTS // 2]}
    yield figure("start to ready", size, tidy, "s", peers, "<= 2 s", "after a tidy stop")
    yield figure("start to ready, killed", size, killed, "s", peers, "<= 2 s", "after SIGKILL")


def _memory(settings: Path, data: Path, size: str) -> Iterator[Figure]:
    with _gate(settings, data) as (process, took_s):
        yield single("start with every history made again", size, took_s, "s")
        anonymous = _status(process.pid, "RssAnon:") / 1024
        yield single("private memory", size, anonymous, "MiB", "<= 96 MiB", "anonymous pages of the process")
        used = _ticks(process.pid)
        threading.Event().wait(IDLE_S)
        share = (_ticks(process.pid) - used) / TICK / IDLE_S * 100
        yield single("idle processor", size, share, "%", "< 1 %", f"of one core, over {IDLE_S} s")
        process.terminate()


def _replay(data: Path, size: str) -> Figure:
    """Of the whole command, its start included."""
    rates = []
    for _ in range(3):
        started = time.perf_counter()
        command = [sys.executable, "-m", "firmware.cli", "replay", "--data", str(data)]
        subprocess.run(command, check=True, capture_output=True)
        rates.append(JOURNAL_ROWS / (time.perf_counter() - started))
    return figure("replay", size, rates, "rows/s", target=">= 20,000 rows/s")


@contextmanager
def _gate(settings: Path, data: Path) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """A gate of its own process, and the seconds until it said that it is ready."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "firmware.cli", "gate", "--config", str(settings), "--data", str(data)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "ready" in line:
                break
        else:
            raise RuntimeError(f"the gate ended with {process.wait()} before it was ready")
        try:
            yield process, time.perf_counter() - started
        finally:
            try:
                process.communicate(timeout=READY_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _status(pid: int, name: str) -> int:
    """KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])
