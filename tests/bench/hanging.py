"""A disk that hangs for ten seconds under a scanning gate: what the alarm and the people notice of it."""

import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firmware.config import parse
from firmware.gate import Shot
from firmware.rows import RowReader
from firmware.unit import board_settings, open_unit
from hal.board import open_board
from hal.fake import FakeBoard
from hal.ports import Code
from tests.bench import past, world
from tests.bench.figures import Figure, figure, single
from tests.bench.relay import ANSWER_S, running

DISK_BYTES = 256 << 20
HANG_S = 10.0
TICKETS = 10_000
PRESSES = 20
PACE_S = 0.05  # twenty scans a second: a rush at four lanes
PACE = threading.Event()
TOOLS = ("mke2fs", "mount", "umount", "fsfreeze")


def run(count: int) -> Iterator[Figure]:
    """On a file system of its own, frozen by the kernel; needs root."""
    size = f"disk hung for {HANG_S:g} s"
    if os.geteuid() != 0 or any(shutil.which(tool) is None for tool in TOOLS):
        note = f"absent: needs root and {', '.join(TOOLS)}"
        yield single("alarm to free", size, float("nan"), "ms", note=note)
        return
    with tempfile.TemporaryDirectory(dir=".") as scratch, _disk(Path(scratch)) as disk:
        yield from _hang(disk, size)


def _hang(disk: Path, size: str) -> Iterator[Figure]:
    data = disk / "data"
    world.make_catalogue(data / "catalogue", TICKETS)
    shots: queue.SimpleQueue[Shot] = queue.SimpleQueue()
    settings = parse(past.SETTINGS, "bench")
    board = open_board("fake", board_settings(settings))
    assert isinstance(board, FakeBoard)
    answers: list[float] = []
    alarms: list[float] = []
    given = 0
    with (
        open_unit(settings, data, board=board, trusted=lambda: True, watch=shots.put) as unit,
        running(unit) as gate,
    ):
        gate.scan("1", Code(world.code_of(0)), None)
        shots.get(timeout=ANSWER_S)
        first = unit.journal.next_row
        with _frozen(disk):
            until = time.perf_counter() + HANG_S
            while time.perf_counter() < until:
                given += 1
                edges = len(board.tape.edges)
                started = time.perf_counter()
                gate.scan("1", Code(world.code_of(given)), None)
                _wait_for_more(board, edges)
                answers.append((time.perf_counter() - started) * 1000)
                PACE.wait(PACE_S)
                if len(alarms) < PRESSES:
                    alarms.append(_alarm(board))
        healed = time.perf_counter()
        while unit.journal.waiting:
            os.sched_yield()
        healed_ms = (time.perf_counter() - healed) * 1000
        handed = unit.journal.next_row - first
    with RowReader(data / "journal") as reader:
        kept = len(reader.after(first - 1, handed + 10))
    assert kept == handed, f"{handed - kept} rows are missing"
    yield figure("alarm to free", size, alarms, "ms", target="<= 50 ms", note="contact to relay")
    yield figure("scan to its answer", size, answers, "ms", note=f"{given} scans, first lamp or buzzer edge")
    yield single(
        "rows written afterwards", size, kept, "rows", note=f"of {kept}; {healed_ms:.0f} ms to catch up"
    )


def _wait_for_more(board: FakeBoard, edges: int) -> None:
    board.tape.wait_for(lambda seen: len(seen) > edges, ANSWER_S)


def _alarm(board: FakeBoard) -> float:
    """Milliseconds from the contact to the relay; the alarm is over at once."""
    assert board.alarm is not None
    lane = board.lanes[0].name
    before = len(board.tape.values(lane, "relay"))
    started = time.perf_counter()
    board.alarm.press()
    board.tape.wait_for(lambda _: "both" in board.tape.values(lane, "relay")[before:], ANSWER_S)
    took_ms = (time.perf_counter() - started) * 1000
    board.alarm.release()
    return took_ms


@contextmanager
def _disk(scratch: Path) -> Iterator[Path]:
    image, folder = scratch / "disk.img", scratch / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", image], check=True)
    subprocess.run(["mount", "-o", "loop,noatime", image, folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def _frozen(disk: Path) -> Iterator[None]:
    """Every write and flush waits. A timer thaws the disk whatever becomes of the caller."""
    thaw = ["fsfreeze", "--unfreeze", str(disk)]
    guard = threading.Timer(HANG_S + 20, subprocess.run, (thaw,))
    subprocess.run(["fsfreeze", "--freeze", disk], check=True)
    guard.start()
    try:
        yield
    finally:
        guard.cancel()
        subprocess.run(thaw, check=True)
