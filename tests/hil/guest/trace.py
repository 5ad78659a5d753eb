"""What the kernel itself saw on GPIO lines and keys, with its own times: nobody is asked, nothing is polled.

Events come from a trace instance of our own. `gpio_value` and `gpio_direction` are events of the kernel;
probes tell when a line is given back and when a key arrives at the input layer. Times are microseconds of
CLOCK_MONOTONIC.
"""

import os
import platform
import re
import select
import subprocess
import threading
import time
from pathlib import Path
from typing import TypedDict

TRACING = Path("/sys/kernel/tracing")
INSTANCE = TRACING / "instances/hil"
ARGUMENTS = {"x86_64": "%di %si %dx %cx", "aarch64": "%x0 %x1 %x2 %x3"}  # of a function, by registers
PROBES = {  # what a driver is asked at the end of a line, and what each key goes through
    "freed": "{freed} line={2}:u32",
    "key": "input_event type={2}:u32 code={3}:u32 value={4}:s32",
}
EVENTS = (
    "gpio/gpio_value",
    "gpio/gpio_direction",
    "ext4/ext4_da_write_begin",
    "ext4/ext4_write_begin",
    "ext4/ext4_sync_file_enter",
    "ext4/ext4_sync_file_exit",
    *(f"hil/{name}" for name in PROBES),
)
KILOBYTES = 4096  # for each processor; a check makes some hundred events of 50 bytes
READ_BYTES = 65_536
LOOK_MS = 50  # between two looks whether the trace may be read
EVENTS_MAX = 200_000  # held in memory; more is a line that runs wild
LINE = re.compile(
    r"\s*(?P<who>.+)-(?P<pid>\d+)\s+\[\d+\] \S+\s+(?P<at>\d+\.\d+): (?P<name>\w+): (?P<rest>.*)"
)
NUMBERS = re.compile(r"(\w+)=(-?\d+)")
MARKER = "tracing_mark_write"  # what the kernel calls a text that a program puts between its events
MARK_S = 30.0  # for such a text to come back


class Event(TypedDict):
    """One event.

    `kind` is `set` (a write), `get`, `out` or `in` (a direction), `freed`, `key`, `write` (to a
    file), `sync` or `synced`.
    """

    number: int
    at_us: int
    who: str
    pid: int
    kind: str
    line: int
    value: int


def parsed(text: str, base: int) -> tuple[int, str, int, str, int, int] | None:
    """(time, task, its id, kind, line or key, value) of one line of the trace, or None."""
    found = LINE.match(text)
    if not found:
        return None
    seconds, _, fraction = found["at"].partition(".")
    head = (int(seconds) * 1_000_000 + int(fraction), found["who"].strip(), int(found["pid"]))
    rest = found["rest"]
    if found["name"] in ("gpio_value", "gpio_direction"):
        words = rest.split()  # "529 set 1" or "529  in (0)"
        value = int(words[2].strip("()"))
        return (*head, words[1], int(words[0]) - base, value)
    if found["name"].startswith("ext4_sync_file"):
        return (*head, "sync" if found["name"].endswith("enter") else "synced", 0, 0)
    if found["name"] in ("ext4_da_write_begin", "ext4_write_begin"):
        return (*head, "write", 0, 0)
    numbers = dict(NUMBERS.findall(rest))
    if found["name"] == "freed":
        return (*head, "freed", int(numbers["line"]), 0)
    return (*head, "key", int(numbers["code"]), int(numbers["value"]))


class Recorder:
    """Reads the trace as it grows, on a thread of its own."""

    def __init__(self, base: int) -> None:
        self.events: list[Event] = []
        self.marked = 0
        """The newest mark that was read; `asked` is the newest one that was set."""
        self.asked = 0
        self.grown = threading.Condition()
        self._base = base
        self.reading = threading.Event()
        self.reading.set()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        ready, rest = select.poll(), b""
        with (INSTANCE / "trace_pipe").open("rb", buffering=0) as pipe:
            ready.register(pipe, select.POLLIN)
            while True:
                self.reading.wait()
                if ready.poll(LOOK_MS):
                    *lines, rest = (rest + os.read(pipe.fileno(), READ_BYTES)).split(b"\n")
                    for line in lines:
                        self._take(line.decode())

    def _take(self, text: str) -> None:
        marker = LINE.match(text)
        if marker and marker["name"] == MARKER:
            with self.grown:
                self.marked = int(marker["rest"])
                self.grown.notify_all()
            return
        found = parsed(text, self._base)
        if found is None:
            if "LOST" in text:
                raise RuntimeError(f"the kernel's trace lost events: {text}")
            return
        at_us, who, pid, kind, line, value = found
        with self.grown:
            assert len(self.events) < EVENTS_MAX
            event = Event(
                number=len(self.events) + 1,
                at_us=at_us,
                who=who,
                pid=pid,
                kind=kind,
                line=line,
                value=value,
            )
            self.events.append(event)
            self.grown.notify_all()


RECORDERS: list[Recorder] = []  # one, once `begin` was called


def begin(base: int, freed: str) -> None:
    """Begin to record; `base` is the kernel's number of the chip's line 0, `freed` what frees a line."""
    registers = ["", *ARGUMENTS[platform.machine()].split()]
    if not (TRACING / "trace").exists():
        subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACING], check=True)
    for name, probe in PROBES.items():
        probes = os.open(TRACING / "kprobe_events", os.O_WRONLY | os.O_APPEND)  # the file cannot be sought in
        os.write(probes, f"p:hil/{name} {probe.format(*registers, freed=freed)}\n".encode())
        os.close(probes)
    INSTANCE.mkdir()
    (INSTANCE / "trace_clock").write_text("mono")
    (INSTANCE / "buffer_size_kb").write_text(str(KILOBYTES))
    (INSTANCE / "events/hil/key/filter").write_text("type == 1")
    for event in EVENTS:
        (INSTANCE / "events" / event / "enable").write_text("1")
    RECORDERS.append(Recorder(base))


def mark() -> int:
    """The number of the newest event, after everything that has happened until now was read.

    Events are read in the order in which they happened, so a text of our own comes back behind them all.
    """
    (recorder,) = RECORDERS
    with recorder.grown:
        recorder.asked += 1
        asked = recorder.asked
        (INSTANCE / "trace_marker").write_text(f"{asked}\n")
        if not recorder.grown.wait_for(lambda: recorder.marked >= asked, MARK_S):
            raise TimeoutError(f"the trace has not come to mark {asked} in {MARK_S} s")
        return len(recorder.events)


def leave() -> None:
    """Leave the trace to the kernel: from now on nobody wakes up for an event, and none is lost."""
    (recorder,) = RECORDERS
    recorder.reading.clear()
    threading.Event().wait(2 * LOOK_MS / 1000)


def go_on() -> None:
    """Read on, and first what has happened meanwhile."""
    (recorder,) = RECORDERS
    recorder.reading.set()


def since(mark: int, *kinds: str) -> list[Event]:
    """The events after this mark; of these kinds, where some are named."""
    (recorder,) = RECORDERS
    with recorder.grown:
        return [event for event in recorder.events[mark:] if not kinds or event["kind"] in kinds]


def wait(mark: int, kind: str, line: int, value: int, seconds: float) -> Event:
    """The first such event after the mark, waited for. Raises TimeoutError."""
    (recorder,) = RECORDERS
    end = time.monotonic() + seconds
    with recorder.grown:
        at = mark
        while True:
            for event in recorder.events[at:]:
                if (event["kind"], event["line"], event["value"]) == (kind, line, value):
                    return event
            at = len(recorder.events)
            left = end - time.monotonic()
            if left <= 0:
                seen = [f"{one['kind']} {one['line']} {one['value']}" for one in recorder.events[mark:][-20:]]
                raise TimeoutError(
                    f"no {kind} of line {line} to {value} in {seconds} s; the last were: {seen}"
                )
            recorder.grown.wait(left)


def wait_not_by(mark: int, threads: list[int], line: int, value: int, seconds: float) -> Event:
    """The first write of this level by a thread that is none of these. Raises TimeoutError."""
    (recorder,) = RECORDERS
    end = time.monotonic() + seconds
    with recorder.grown:
        while True:
            for event in recorder.events[mark:]:
                if (event["kind"], event["line"], event["value"]) == ("set", line, value) and (
                    event["pid"] not in threads
                ):
                    return event
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"nobody else wrote {value} to line {line} in {seconds} s")
            recorder.grown.wait(left)
