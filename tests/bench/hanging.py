"""A disk that hangs for ten seconds under a scanning gate: what the alarm and the people notice of it.

The gate is a process of its own. Whoever freezes a file system must not stand on it: a process that waits for
a frozen page can neither thaw it nor be killed. So the parent touches the frozen folder by name only, waits
for nothing without a limit, and leaves behind whatever does not end.
"""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from firmware.config import parse
from firmware.config.board import board_settings
from firmware.core.ticket import Setup
from firmware.rows import RowReader
from firmware.unit import Unit, open_unit
from hal.board import open_board
from hal.fake import FakeBoard
from hal.ports import Code
from tests.bench import past, world
from tests.bench.figures import Figure, figure, single
from tests.bench.relay import running
from tests.commands import Lines

DISK_BYTES = 256 << 20
HANG_S = 10.0
TICKETS = 10_000
PACE_S = 0.05  # twenty scans a second: a rush at four lanes
HEARTBEAT_S = 0.01
ALARM_EVERY_MS = (
    500.0  # alarms that nobody in a process that stands still could measure are counted at this pace
)
ANSWER_S = Setup("").record_ms / 1000 + 0.5  # a scan without light and sound by then has broken its promise
BACK_S = 20.0  # for the gate to be in service again, and as long again for its rows to be written
READY_S = 25.0  # for the gate to start; below what `Lines` waits for one line
TOOL_S = 10.0  # mke2fs and mount take a tenth of a second
LIFE_S = READY_S + HANG_S + 2 * BACK_S + 3 * TOOL_S  # then the gate is killed, whatever it does
TOOLS = ("mke2fs", "mount", "umount", "fsfreeze")
SIZE = f"disk hung for {HANG_S:g} s"
PACE = threading.Event()


# --- the parent: freezes, thaws, and waits for nothing without a limit ----------------------------------


def run(_: int) -> Iterator[Figure]:
    """On a file system of its own, frozen by the kernel; needs root."""
    if os.geteuid() != 0 or any(shutil.which(tool) is None for tool in TOOLS):
        yield _nothing(f"absent: needs root and {', '.join(TOOLS)}")
        return
    try:
        seen, errors = _measured()
    except (_ToolError, OSError) as error:
        yield _nothing(f"could not be measured: {error}")
        return
    if not seen["alarm"] or not seen["scan"]:
        yield _nothing(f"the gate measured nothing: {errors}")
        return
    yield from _figures(seen, errors)


def _nothing(note: str) -> Figure:
    return single("alarm to free, disk hung", SIZE, float("nan"), "ms", note=note)


def _figures(seen: dict[str, list[float]], errors: str) -> Iterator[Figure]:
    gap_ms = max(seen["gap"], default=0.0)
    unheard = _unheard(gap_ms)
    note = f"contact to relay, {len(seen['alarm'])} alarms"
    if unheard:
        note += f", and {len(unheard)} that fell due while the process stood still for {gap_ms:,.0f} ms"
    alarms = [*seen["alarm"], *unheard]
    yield figure("alarm to free, disk hung", SIZE, alarms, "ms", target="<= 50 ms", note=note)
    late = sum(seen["late"])
    note = f"{len(seen['scan'])} scans, first lamp or buzzer edge; {late:.0f} after more than {ANSWER_S:g} s"
    yield figure("scan to its answer, disk hung", SIZE, seen["scan"], "ms", note=note)
    unended = f"the gate did not come to its end: {errors}"
    for name, key, unit in (("back in service", "back", "ms"), ("rows kept", "kept", "rows")):
        value = seen[key][0] if seen[key] else float("nan")
        note = unended if not seen[key] else "thaw to the next opening"
        if key == "kept" and seen[key]:
            note = f"of {seen['handed'][0]:.0f} handed over, {seen['lost'][0]:.0f} more found no room"
        yield single(f"{name} after the disk came back", SIZE, value, unit, note=note)


def _unheard(gap_ms: float) -> list[float]:
    """How long alarms wait that come, one after another, while no thread of the gate runs."""
    count = int(gap_ms / ALARM_EVERY_MS)
    return [gap_ms - number * ALARM_EVERY_MS for number in range(count)]


def _measured() -> tuple[dict[str, list[float]], str]:
    """What the gate wrote while the disk hung, and the end of what it complained of."""
    with ExitStack() as stack:
        disk = stack.enter_context(_disk())
        process, said, complained = stack.enter_context(_gate(disk / "data"))
        assert process.stdin is not None
        with suppress(AssertionError, queue.Empty, BrokenPipeError):  # it ended, or was killed: see `errors`
            said.expect("ready")
            with _frozen(disk):
                _send(process, "hung")
                with suppress(subprocess.TimeoutExpired):
                    process.wait(HANG_S)
            _send(process, f"{time.perf_counter()!r}")  # one clock for all processes of the machine
            said.rest()
        with suppress(queue.Empty):
            complained.rest()
        seen: dict[str, list[float]] = defaultdict(list)
        for line in said.seen:
            for name, value in json.loads(line).items():
                seen[name].append(float(value))
        return seen, " / ".join(complained.seen[-3:]) or f"exit code {process.poll()}"


def _send(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


@contextmanager
def _gate(data: Path) -> Iterator[tuple[subprocess.Popen[str], Lines, Lines]]:
    """The gate's process with its two streams. It does not live longer than `LIFE_S`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.hanging", str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = Lines(process.stdout), Lines(process.stderr)
    limit = threading.Timer(LIFE_S, process.kill)
    limit.daemon = True
    limit.start()
    try:
        yield process, out, err
    finally:
        limit.cancel()
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(TOOL_S)


class _ToolError(Exception):
    """A tool failed or did not end."""


def _tool(*command: str) -> None:
    """Run a tool. One that does not end is left behind: in the kernel's hands it cannot be killed either."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        try:
            code = process.wait(TOOL_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise _ToolError(f"{command[0]} did not end within {TOOL_S:g} s") from None
        if code:
            errors.seek(0)
            raise _ToolError(f"{command[0]} ended with {code}: {errors.read().strip()}")


@contextmanager
def _disk() -> Iterator[Path]:
    """An ext4 of its own. It is taken out of sight at the end, even where somebody still hangs on it."""
    scratch = Path(tempfile.mkdtemp(prefix="gatepost-bench-"))
    image, folder = scratch / "disk.img", scratch / "disk"
    folder.mkdir()
    try:
        with image.open("wb") as file:
            file.truncate(DISK_BYTES)
        _tool("mke2fs", "-q", "-F", "-t", "ext4", str(image))
        _tool("mount", "-o", "loop,noatime", str(image), str(folder))
        try:
            yield folder
        finally:
            try:
                _tool("umount", str(folder))
            except _ToolError:
                _tool("umount", "--lazy", str(folder))
    finally:
        image.unlink(missing_ok=True)
        with suppress(OSError):  # by name: to clear a folder that is mounted still would be to look into it
            folder.rmdir()
            scratch.rmdir()


@contextmanager
def _frozen(disk: Path) -> Iterator[None]:
    """Every write and flush waits. A process of its own thaws the disk too, whatever becomes of this one."""
    thaw = ("fsfreeze", "--unfreeze", str(disk))
    script = 'sleep "$0"; exec "$@"'
    guard = subprocess.Popen(
        ["sh", "-c", script, str(HANG_S + 2 * TOOL_S), *thaw],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _tool("fsfreeze", "--freeze", str(disk))
        yield
    finally:
        _tool(*thaw)  # where this fails the guard goes on, and thaws
        os.killpg(guard.pid, signal.SIGKILL)
        guard.wait(TOOL_S)


# --- the gate -------------------------------------------------------------------------------------------


class Rush:
    """One lane at which people scan all the time, and somebody presses the alarm after each scan."""

    def __init__(self, unit: Unit, board: FakeBoard) -> None:
        assert board.alarm is not None
        self._gate, self._tape, self._alarm = unit.gate, board.tape, board.alarm
        self._number = 0

    def scan(self) -> None:
        """The next ticket."""
        self._gate.scan("1", Code(world.code_of(self._number)), None)
        self._number += 1

    def scan_and_alarm(self, back: threading.Event) -> None:
        """Measure both. A scan that gets no answer does not keep the alarm waiting."""
        before, started = self._shown(), time.perf_counter()
        self.scan()
        answered = self._tape.wait_for(lambda _: self._shown() > before, ANSWER_S)
        if not answered:
            say("late", 1)
            self.alarm()
            while not self._shown() > before and not back.is_set():
                PACE.wait(HEARTBEAT_S)
        say("scan", _ms_since(started))
        if answered:
            self.alarm()

    def alarm(self) -> None:
        """From the contact to the relay; not where the lane is free still, because the loop stands."""
        before = self._relays()
        if before and before[-1] == "both":
            return
        started = time.perf_counter()
        self._alarm.press()
        if self._tape.wait_for(lambda _: "both" in self._relays()[len(before) :], ANSWER_S):
            say("alarm", _ms_since(started))
        else:
            say("alarm", ANSWER_S * 1000)
        self._alarm.release()
        self._tape.wait_for(lambda _: self._relays()[-1:] == ["locked"], ANSWER_S)

    def until_it_opens(self) -> bool:
        """Scan one ticket after another until one gets in; False where none does within `BACK_S`."""
        before, until_s = len(self._relays()), time.perf_counter() + BACK_S
        while time.perf_counter() < until_s:
            self.scan()
            if self._tape.wait_for(lambda _: "in" in self._relays()[before:], HEARTBEAT_S):
                return True
        return False

    def _relays(self) -> list[str]:
        return self._tape.values("1", "relay")

    def _shown(self) -> int:
        return len(self._tape.values("1", "lamp")) + len(self._tape.values("1", "buzzer"))


def serve(data: Path) -> None:
    """Run the gate: ready, then "hung" on standard input, then when it came back. Measurements go out."""
    world.make_catalogue(data / "catalogue", TICKETS)
    settings = parse(past.SETTINGS, "bench")
    board = open_board("fake", board_settings(settings))
    assert isinstance(board, FakeBoard)
    with open_unit(settings, data, board=board, trusted=lambda: True) as unit:
        with running(unit):
            rush = Rush(unit, board)
            rush.until_it_opens()
            _settle(unit)
            first = unit.journal.next_row
            say("ready", 0)
            sys.stdin.readline()
            thawed_s = _while_hung(rush)
            if rush.until_it_opens():
                say("back", _ms_since(thawed_s))
            _settle(unit)
        _settle(unit)
        handed = unit.journal.next_row - first
        with RowReader(data / "journal") as reader:
            say("kept", len(reader.after(first - 1, handed + 10)))
        say("handed", handed)
        say("lost", unit.gate.lost_rows)


def _while_hung(rush: Rush) -> float:
    """Scan until the parent says that the disk is back, and since when."""
    back = threading.Event()
    told: list[float] = []

    def listen() -> None:
        told.append(float(sys.stdin.readline()))
        back.set()

    threading.Thread(target=listen, daemon=True).start()
    threading.Thread(target=_beat, args=(back,), daemon=True).start()
    while not back.is_set():
        rush.scan_and_alarm(back)
        PACE.wait(PACE_S)
    return told[0]


def _beat(back: threading.Event) -> None:
    """The longest time in which no thread of this process ran: then no alarm would have been heard either."""
    longest_s, last_s = 0.0, time.perf_counter()
    while not back.wait(HEARTBEAT_S):
        now_s = time.perf_counter()
        longest_s, last_s = max(longest_s, now_s - last_s - HEARTBEAT_S), now_s
    say("gap", max(longest_s, time.perf_counter() - last_s - HEARTBEAT_S) * 1000)


def _settle(unit: Unit) -> None:
    until_s = time.perf_counter() + BACK_S / 2
    while unit.journal.waiting and time.perf_counter() < until_s:
        PACE.wait(HEARTBEAT_S)


def _ms_since(started_s: float) -> float:
    return (time.perf_counter() - started_s) * 1000


def say(name: str, value: float) -> None:
    """One measurement, at once: a gate that is killed has said what it knew."""
    os.write(1, f"{json.dumps({name: value})}\n".encode())


def main(arguments: Sequence[str]) -> None:
    """The gate's process."""
    serve(Path(arguments[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
