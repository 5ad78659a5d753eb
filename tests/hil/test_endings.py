"""However a gate ends, something outside drives its lines inactive: the kernel's trace shows who and when.

A line that nobody drives falls to its pull, and while one of these checks looks that is towards active: the
worst board there is. A check that could not fail would prove nothing, so each mechanism is also taken out.
"""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.hil import site
from tests.hil.cache import say
from tests.hil.gate import SITE_PACKAGES, Event, Gate
from tests.hil.machine import GuestError

GUARD = "        self._forget = self._time.after(longest_ms, partial(self._end, self._activation))\n"
NOBODY_LEFT_S = 2.0  # the trace is read within that, and nobody is there to write any more
STALL_MS_MAX = 1500  # beyond what the guard waits


class NotEnded(AssertionError):
    """Nobody has driven a line inactive in time."""


@contextmanager
def pulled_towards_active(gate: Gate) -> Iterator[None]:
    gate.machine.call("chip.pull", site.CHIP, site.TOWARDS_ACTIVE)
    try:
        yield
    finally:
        gate.machine.call("chip.pull", site.CHIP, site.TOWARDS_LOCKED)


def ended_by_another(
    gate: Gate, mark: int, threads: set[int], since_us: int, seconds: float | None = None
) -> float:
    """Seconds from then until somebody who is not the gate has driven every line inactive."""
    seconds = gate.dead_s_max if seconds is None else seconds
    last = since_us
    for line, level in site.LOCKED.items():
        try:
            event: Event = gate.machine.call("trace.wait_not_by", mark, sorted(threads), line, level, seconds)
        except GuestError as error:
            raise NotEnded(str(error)) from error
        last = max(last, event["at_us"])
    return (last - since_us) / 1_000_000


def opened(gate: Gate) -> None:
    """Open both lanes: the turnstile has its pulse, the door is held."""
    mark = gate.mark()
    gate.send("GOOD-1")
    gate.type("GOOD-2")
    gate.written(mark, site.LEFT_IN)
    gate.written(mark, site.RIGHT_BOTH, value=0)


def kill(gate: Gate) -> None:
    gate.machine.call("shell.signal", gate.process(), signal.SIGKILL)


def hold(gate: Gate) -> None:
    gate.machine.call("shell.signal", gate.process(), signal.SIGSTOP)


def stall(gate: Gate) -> None:
    """Hold the loop's thread, the first of the process, and nobody else's."""
    gate.machine.call("threads.hold", gate.process())


def use_up_memory(gate: Gate) -> None:
    """Leave it less memory than it needs already: the kernel kills it when it touches the next page."""
    gate.machine.call("threads.starve", gate.process())


ENDS: dict[str, Callable[[Gate], None]] = {
    "killed": kill,
    "stopped": hold,
    "stalled": stall,
    "out of memory": use_up_memory,
}


def end_and_watch(gate: Gate, end: Callable[[Gate], None], seconds: float | None = None) -> float:
    """End the gate in this way while both lanes are open; returns the seconds until all was inactive."""
    threads = gate.threads()
    with pulled_towards_active(gate):
        opened(gate)
        mark, begun_us = gate.mark(), gate.machine.call("shell.now_us")
        end(gate)
        return ended_by_another(gate, mark, threads, begun_us, seconds)


@pytest.mark.parametrize("how", ENDS)
def test_promise_6_what_ends_a_gate_leaves_no_line_active(gate: Gate, how: str) -> None:
    seconds = end_and_watch(gate, ENDS[how])
    say(f"{how}: inactive after {seconds:.1f} s, which is {seconds / gate.factor:.2f} s without emulation")
    assert seconds <= gate.dead_s_max
    gate.machine.sh("systemctl start gate")  # joins the start that systemd makes by itself


def kill_and_see_off(gate: Gate) -> None:
    """Kill it, and wait until systemd has nothing left to do about it."""
    kill(gate)
    end = time.monotonic() + gate.dead_s_max
    while gate.show("ActiveState") != "failed":
        assert time.monotonic() < end
        gate.machine.call("shell.pause", 0.2)


def test_the_check_fails_where_the_unit_runs_no_release(gate: Gate) -> None:
    gate.drop_in("ExecStopPost=\nRestart=no")
    try:
        with pytest.raises(NotEnded):
            end_and_watch(gate, kill_and_see_off, NOBODY_LEFT_S)
    finally:
        gate.drop_in("")


def guard_ends_it(gate: Gate) -> None:
    """Stall the loop while the door is held open: a thread of the gate itself must end that in time."""
    threads = gate.threads()
    mark = gate.mark()
    gate.send("GOOD-1")
    begun = gate.written(mark, site.RIGHT_BOTH, value=0)
    process = gate.process()
    gate.machine.call("threads.hold", process)
    try:
        ended = gate.written(begun["number"], site.RIGHT_BOTH, value=1)
        took_ms = (ended["at_us"] - begun["at_us"]) / 1000
        if ended["pid"] not in threads - {process}:
            raise NotEnded(f"process {ended['pid']} did, after {took_ms:.0f} ms, and it is not the guard")
        assert took_ms < site.UNLOCK_MS + site.GUARD_MARGIN_MS + STALL_MS_MAX
    finally:
        gate.machine.call("threads.let_go", process)


def test_a_guard_ends_an_opening_when_the_loop_stalls(gate: Gate) -> None:
    guard_ends_it(gate)


def test_the_check_fails_where_the_guard_is_taken_out(gate: Gate) -> None:
    path = f"{SITE_PACKAGES}/hal/gpio_parts.py"
    whole = gate.machine.call("shell.read", path)
    assert whole.count(GUARD) == 1, "the guard stands elsewhere by now: take that out"
    gate.machine.call("shell.write", path, whole.replace(GUARD, ""))
    try:
        gate.systemctl("restart gate")
        gate.rest()
        with pytest.raises(NotEnded):
            guard_ends_it(gate)
    finally:
        gate.machine.call("shell.write", path, whole)
        gate.systemctl("restart gate")


def towards_unlocked(events: list[Event], locked: Mapping[int, int] = site.LOCKED) -> list[Event]:
    """Each write that would let somebody through, and each line that was driven without a level first."""
    levels: dict[int, int] = {}
    found = []
    for one in events:
        line = one["line"]
        if line not in locked:
            continue
        if one["kind"] == "set":
            levels[line] = one["value"]
            if one["value"] != locked[line]:
                found.append(one)
        elif one["kind"] == "out" and levels.get(line) != locked[line]:
            found.append(one)
        elif one["kind"] == "freed":
            levels.pop(line, None)
    return found


def test_promise_6_start_stop_and_restart_make_no_edge_towards_unlocked(gate: Gate) -> None:
    mark = gate.mark()
    gate.systemctl("restart gate")
    gate.stop()
    gate.start()
    events = gate.events(mark)
    for line in site.RELAYS:
        assert sum((one["kind"], one["line"]) == ("out", line) for one in events) >= 4, (
            "two starts, two releases"
        )
    assert towards_unlocked(events) == []


def test_the_watch_for_edges_sees_one(gate: Gate) -> None:
    mark = gate.mark()
    gate.type("GOOD-1")
    gate.written(mark, site.LEFT_IN)
    assert [one["line"] for one in towards_unlocked(gate.events(mark))] == [site.LEFT_IN]
