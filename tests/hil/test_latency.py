"""How long a person waits: from the last key to the relay's edge, beside the least that Python could do."""

from collections.abc import Sequence

from tests.hil import keyboard, site
from tests.hil.cache import say
from tests.hil.gate import PYTHON, Event, Gate

SCANS = 60
TIMES_MAX = 10  # under emulation, where every instruction costs the same
CODES = ("GOOD-1", "GOOD-2")


def enter_to_edge(events: Sequence[Event]) -> list[tuple[float, float]]:
    """For each Enter that opened: ms until the pin was set, and how many of them the disk took."""
    found, enter_us, sync_us, disk_us = [], None, None, 0
    for one in events:
        if (one["kind"], one["line"], one["value"]) == ("key", keyboard.CODES["ret"], 1):
            enter_us, sync_us, disk_us = one["at_us"], None, 0
        elif one["kind"] == "sync" and sync_us is None:
            sync_us = one["at_us"]
        elif one["kind"] == "synced" and sync_us is not None:
            disk_us, sync_us = disk_us + one["at_us"] - sync_us, None
        elif (one["kind"], one["line"], one["value"]) == ("set", site.LEFT_IN, 1) and enter_us is not None:
            found.append(((one["at_us"] - enter_us) / 1000, disk_us / 1000))
            enter_us = None
    return found


def middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def p99(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * 99 // 100)]


def figures(name: str, values: Sequence[float]) -> str:
    return f"{name}: median {middle(values):.1f} ms, p99 {p99(values):.1f} ms ({len(values)} scans)"


def bare(gate: Gate) -> list[float]:
    """The bare program's times, on the same keyboard and pin."""
    machine = gate.machine
    ready = "/run/hil/bare-ready"
    machine.call("shell.run", f"rm -f {ready}")
    command = f"{PYTHON} /run/hil/guest/bare.py {site.KEYBOARD} 0 {site.LEFT_IN} {ready}"
    machine.sh(f"systemd-run --unit hil-bare --quiet {command}")
    try:
        machine.call("shell.wait_for", [ready])
        mark = gate.mark()
        for scan in range(SCANS):
            gate.type(CODES[scan % 2])
        gate.machine.call("trace.wait", gate.mark() - 2, "set", site.LEFT_IN, 0, 30)
        return [whole for whole, _ in enter_to_edge(gate.events(mark))]
    finally:
        machine.sh("systemctl stop hil-bare")


def test_from_the_last_key_to_the_relay_takes_a_few_times_what_a_bare_program_takes(gate: Gate) -> None:
    mark = gate.mark()
    for scan in range(SCANS):
        before = gate.mark()
        gate.type(CODES[scan % 2])
        gate.written(before, site.LEFT_IN)
        gate.walk(site.LEFT_SENSOR)
        gate.wait_for_levels({site.LEFT_IN: 0})
    times = enter_to_edge(gate.events(mark))
    gate.stop()
    floor = bare(gate)
    assert len(times) == len(floor) == SCANS
    without_disk = [whole - disk for whole, disk in times]
    say(figures("bare program", floor))
    say(figures("gate, without the disk", without_disk))
    say(figures("gate, the synced commit", [disk for _, disk in times]))
    say(figures("gate, all", [whole for whole, _ in times]))
    assert middle(without_disk) <= TIMES_MAX * middle(floor)
    assert p99(without_disk) <= TIMES_MAX * p99(floor)


def test_an_edge_before_the_last_key_is_not_counted() -> None:
    def event(kind: str, line: int, at_us: int) -> Event:
        return {"kind": kind, "line": line, "value": 1, "at_us": at_us}

    enter, edge = keyboard.CODES["ret"], site.LEFT_IN
    events = [event("set", edge, 1), event("key", enter, 10_000), event("sync", 0, 11_000)]
    events += [event("synced", 0, 13_000), event("set", edge, 15_000), event("set", edge, 16_000)]
    assert enter_to_edge(events) == [(5.0, 2.0)]
