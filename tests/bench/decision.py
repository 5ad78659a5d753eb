"""A whole decision, text in and effects out, both stores read, beside one look into a store."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb

from firmware import history as histories
from firmware.catalogue import Catalogue
from firmware.catalogue.folder import current_build
from firmware.config import parse
from firmware.core.lane import begin, step
from firmware.core.movements import Act, Movement, fold
from firmware.core.ticket import NO_HISTORY, Direction, Moment, Perimeter
from firmware.facts import Facts
from firmware.history import HistoryIndex
from tests.bench import world
from tests.bench.figures import SCRATCH, Figure, figure, in_turns, median, single

SETTINGS = """
[[lane]]
name = "1"

[[event]]
id = "summer"
reentry = "after_exit"
"""
ROUNDS = 20
A_ROUND = 2_000
HISTORIES = 100_000
COLD_SCANS = 2_000

C_PEER = r"""
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
static int compare(const void *a, const void *b) {
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}
int main(int argc, char **argv) {
    MDB_env *env; MDB_txn *txn; MDB_dbi dbi; long n = 0, found = 0;
    FILE *keys = fopen(argv[2], "rb");
    static unsigned char all[1 << 24];
    n = fread(all, 16, sizeof all / 16, keys);
    long *taken = malloc(n * sizeof *taken);
    mdb_env_create(&env); mdb_env_set_maxdbs(env, 4); mdb_env_set_mapsize(env, 1UL << 33);
    if (mdb_env_open(env, argv[1], MDB_RDONLY | MDB_NOLOCK, 0600)) return 1;
    for (int turn = 0; turn < 2; turn++)
        for (long i = 0; i < n; i++) {
            struct timespec a, b;
            MDB_val key = {16, all + 16 * i}, value;
            clock_gettime(CLOCK_MONOTONIC, &a);
            mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
            if (!i && !turn) mdb_dbi_open(txn, NULL, 0, &dbi);
            found += !mdb_get(txn, dbi, &key, &value) && turn;
            mdb_txn_abort(txn);
            clock_gettime(CLOCK_MONOTONIC, &b);
            taken[i] = (b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec;
        }
    qsort(taken, n, sizeof *taken, compare);
    printf("%ld %ld %ld %ld\n", n, found, taken[n / 2], taken[n * 99 / 100]);
    return 0;
}
"""


def run(count: int) -> Iterator[Figure]:
    """At `count` tickets, every tenth of them with a past."""
    size = f"{count:,} tickets, {min(HISTORIES, count // 10):,} histories"
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        folder = Path(scratch)
        world.make_catalogue(folder / "catalogue", count)
        with (
            Catalogue(folder / "catalogue", now_utc_ms=world.NOW_UTC_MS) as catalogue,
            HistoryIndex(folder / "history", 0, _past(min(HISTORIES, count // 10))) as index,
        ):
            world.make_sqlite(folder / "peer.db", catalogue, count)
            yield from _measure(folder, catalogue, index, count, size)
        yield from _cold(folder, count, size)


def _past(count: int) -> Iterator[tuple[str, bytes]]:
    for number in range(count):
        ticket_id = f"T{number * 10:09d}"
        entered = Movement(
            Act.NOTED, ticket_id, 0, Direction.IN, (Perimeter.OUTER,), world.NOW_UTC_MS - 60_000
        )
        yield ticket_id, histories.encode(fold(NO_HISTORY, entered))


def _measure(
    folder: Path, catalogue: Catalogue, index: HistoryIndex, count: int, size: str
) -> Iterator[Figure]:
    settings = parse(SETTINGS, "bench")
    lane, _ = begin(settings.lanes[0].setup)
    facts = Facts(catalogue, settings, index.get)
    numbers = world.sample(count, ROUNDS * A_ROUND)
    codes = [world.code_of(number) for number in numbers]
    digests = [catalogue.digest(code) for code in codes]
    moment = Moment(1_000_000, world.NOW_UTC_MS, True)
    connection = sqlite3.connect(folder / "peer.db")
    build = current_build(folder / "catalogue")
    assert build is not None
    copy = shutil.copytree(build, folder / "copy")  # LMDB opens a file once in a process
    environment = lmdb.open(str(copy), readonly=True, lock=False, max_dbs=4)

    def decide(number: int) -> object:
        return step(lane, facts.scanned(codes[number], Direction.IN, moment, number + 1))

    def select(number: int) -> object:
        query = "SELECT value FROM ticket WHERE digest = ?"
        return connection.execute(query, (digests[number],)).fetchone()

    def get(number: int) -> object:
        return environment.begin().get(digests[number])

    works: dict[str, Callable[[int], object]] = {
        "decision": decide,
        "SQLite SELECT": select,
        "py-lmdb get": get,
    }
    taken = in_turns(works, ROUNDS, A_ROUND)
    micro = {name: [ns / 1000 for ns in each] for name, each in taken.items()}
    peers = {name: median(each) for name, each in micro.items() if name != "decision"}
    c_peer = _c_get(folder, build, digests)
    if c_peer is not None:
        peers["C mdb_get"] = c_peer[0]
    whole = micro["decision"]
    yield figure("decision", size, whole, "µs", peers, "<= 1.5 x SQLite SELECT, p99 <= 3 x median")
    for name in ("SQLite SELECT", "py-lmdb get"):
        yield figure(name, size, micro[name], "µs", note="floor" if name != "SQLite SELECT" else "peer")
    if c_peer is not None:
        yield Figure("C mdb_get", size, round(c_peer[0], 3), round(c_peer[1], 3), "µs", note="floor")
    else:
        yield single("C mdb_get", size, float("nan"), "µs", note="absent: needs cc and liblmdb-dev")
    connection.close()
    environment.close()


def _cold(folder: Path, count: int, size: str) -> Iterator[Figure]:
    """The same in a process of its own, whose pages root drops from the cache after it has opened them."""
    name = "decision, page cache dropped"
    command = [sys.executable, "-m", "tests.bench.decision", str(folder), str(count)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    try:
        taken = [int(ns) / 1000 for ns in said.split()]
    except ValueError:
        yield single(name, size, float("nan"), "µs", note=f"absent: {said.strip()}")
        return
    yield figure(name, size, taken, "µs", note=f"the first {COLD_SCANS:,} scans after it")


def scan_cold(folder: Path, count: int) -> None:
    """Print the nanoseconds of the first decisions after the page cache was dropped."""
    with (
        Catalogue(folder / "catalogue", now_utc_ms=world.NOW_UTC_MS) as catalogue,
        HistoryIndex(folder / "history", 0, ()) as index,
    ):
        settings = parse(SETTINGS, "bench")
        lane, _ = begin(settings.lanes[0].setup)
        facts = Facts(catalogue, settings, index.get)
        moment = Moment(1_000_000, world.NOW_UTC_MS, True)
        codes = [world.code_of(number) for number in world.sample(count, COLD_SCANS)]
        os.sync()
        try:
            Path("/proc/sys/vm/drop_caches").write_text("3\n")
        except OSError as error:
            print(f"the page cache cannot be dropped here ({error.strerror})")
            return
        for number, code in enumerate(codes, 1):
            started_ns = time.perf_counter_ns()
            step(lane, facts.scanned(code, Direction.IN, moment, number))
            print(time.perf_counter_ns() - started_ns)


def _c_get(folder: Path, build: Path, digests: list[bytes]) -> tuple[float, float] | None:
    """Median and p99 in µs of the C library's own begin, get, abort; `None` where it cannot be compiled."""
    if shutil.which("cc") is None:
        return None
    source, program, keys = folder / "peer.c", folder / "peer", folder / "keys"
    source.write_text(C_PEER)
    keys.write_bytes(b"".join(digests))
    made = subprocess.run(["cc", "-O2", "-o", program, source, "-llmdb"], capture_output=True, check=False)
    if made.returncode:
        return None
    said = subprocess.run([program, build, keys], capture_output=True, check=True, text=True).stdout.split()
    assert said[0] == said[1] == str(len(digests)), f"the peer found {said[1]} of {said[0]}"
    return int(said[2]) / 1000, int(said[3]) / 1000


if __name__ == "__main__":
    scan_cold(Path(sys.argv[1]), int(sys.argv[2]))
