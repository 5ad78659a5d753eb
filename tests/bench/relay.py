"""Scan to relay, the journal's flush in between: a whole gate at work, beside one commit and one append."""

import os
import queue
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from firmware.config import parse
from firmware.config.board import board_settings
from firmware.core.lane import begin, step
from firmware.core.ticket import Direction, Moment
from firmware.gate import Gate
from firmware.shots import Shot
from firmware.unit import Unit, open_unit
from hal.board import open_board
from hal.ports import Code
from tests.bench import world
from tests.bench.figures import PACE, SCRATCH, Figure, figure, in_turns, median

ROUNDS = 10
A_ROUND = 100
ROW_BYTES = 400
TICKETS_MAX = 100_000  # the catalogue's size does not matter here, the flush does
SETTINGS = '[[lane]]\nname = "1"\n\n[[event]]\nid = "summer"\n'
ANSWER_S = 30.0
WALK_MS = 5  # nobody walks before the relay has moved
GAP_S = 0.002  # between two looks; a thread that spins would keep the interpreter from the gate


@contextmanager
def running(unit: Unit) -> Iterator[Gate]:
    """The gate's loop in a thread of its own."""
    unit.gate.start()
    thread = threading.Thread(target=unit.gate.run, name="loop")
    thread.start()
    try:
        yield unit.gate
    finally:
        unit.gate.stop()
        thread.join()


def settle(unit: Unit, lane: str) -> None:
    """Wait until the person has walked through and the row of that is safe: nobody else is that quick."""
    while unit.journal.waiting or not unit.gate.at_rest(lane):
        PACE.wait(GAP_S)


def run(count: int) -> Iterator[Figure]:
    """One lane, people walk through at once."""
    count = min(count, TICKETS_MAX)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        folder = Path(scratch)
        world.make_catalogue(folder / "data" / "catalogue", count)
        shots: queue.SimpleQueue[Shot] = queue.SimpleQueue()
        settings = parse(SETTINGS, "bench")
        board = open_board("fake", {**board_settings(settings), "after_ms": WALK_MS})
        with open_unit(settings, folder / "data", board=board, trusted=lambda: True, watch=shots.put) as unit:
            moment, (lane, _) = Moment(1, world.NOW_UTC_MS, True), begin(settings.lanes[0].setup)
            facts = unit.gate.facts
            with running(unit) as gate, _peers(folder) as (commit, append):
                relays: list[float] = []

                def scan(number: int) -> None:
                    gate.scan("1", Code(world.code_of(number)), None)
                    shot = shots.get(timeout=ANSWER_S)
                    settle(unit, "1")
                    if shot.relay_ns is not None:
                        relays.append((shot.relay_ns - shot.read_ns) / 1000)

                def decide(number: int) -> None:
                    step(lane, facts.scanned(world.code_of(number), Direction.IN, moment, 1))

                works: dict[str, Callable[[int], object]] = {
                    "scan": scan,
                    "decision": decide,
                    "commit": commit,
                    "append": append,
                }
                taken = in_turns(works, ROUNDS, A_ROUND, GAP_S)
        yield from _figures(relays, {name: [ns / 1000 for ns in each] for name, each in taken.items()})


def _figures(relays: list[float], taken: dict[str, list[float]]) -> Iterator[Figure]:
    size = f"{len(relays):,} admissions, one lane"
    peers = {
        "(SQLite WAL FULL commit + decision)": median(taken["commit"]) + median(taken["decision"]),
        "append + fdatasync": median(taken["append"]),
    }
    yield figure("scan to relay", size, relays, "µs", peers, "<= 1.5 x (SQLite WAL FULL commit + decision)")
    yield figure("decision, 2 ms after the last", size, taken["decision"], "µs", note="peer")
    yield figure("SQLite WAL FULL, two tables", size, taken["commit"], "µs", note="peer")
    yield figure("append + fdatasync", size, taken["append"], "µs", note="floor")


@contextmanager
def _peers(folder: Path) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """One commit of a row and a history in SQLite as it comes, and one append with its flush."""
    connection = sqlite3.connect(folder / "peer.db", isolation_level=None)
    for statement in (
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",
        "CREATE TABLE row (id INTEGER PRIMARY KEY, body BLOB)",
        "CREATE TABLE history (subject TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID",
    ):
        connection.execute(statement).fetchall()
    body = os.urandom(ROW_BYTES)
    handle = os.open(folder / "append", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def commit(number: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO row(body) VALUES (?)", (body,))
        history = (f"T{number:09d}", body[:60])
        connection.execute("INSERT OR REPLACE INTO history VALUES (?, ?)", history)
        connection.execute("COMMIT")

    def append(number: int) -> None:
        os.write(handle, body)
        os.fdatasync(handle)

    try:
        yield commit, append
    finally:
        connection.close()
        os.close(handle)
