"""Times from the last key to the pin, out of the kernel's trace; and those of a bare program, the floor."""

from collections.abc import Sequence

from tests.hil import keyboard, site
from tests.hil.gate import PYTHON, Event, Gate
from tests.hil.processors import Others

SCANS = 40
CODES = ("GOOD-1", "GOOD-2")


def enter_to_edge(events: Sequence[Event]) -> list[tuple[float, float]]:
    """For each Enter that opened: ms until the pin was set, and how many of them the synced commit took.

    The commit is from the first write to a file until the last file is synced.
    """
    found: list[tuple[float, float]] = []
    enter_us = begun_us = synced_us = None
    for one in events:
        if (one["kind"], one["line"], one["value"]) == ("key", keyboard.CODES["ret"], 1):
            enter_us, begun_us, synced_us = one["at_us"], None, None
        elif one["kind"] in ("write", "sync") and begun_us is None:
            begun_us = one["at_us"]
        elif one["kind"] == "synced":
            synced_us = one["at_us"]
        elif (one["kind"], one["line"], one["value"]) == ("set", site.LEFT_IN, 1) and enter_us is not None:
            commit_us = synced_us - begun_us if begun_us is not None and synced_us is not None else 0
            found.append(((one["at_us"] - enter_us) / 1000, commit_us / 1000))
            enter_us = None
    return found


def bare_times(gate: Gate) -> list[float]:
    """The bare program's times, on the same keyboard and pin."""
    machine = gate.machine
    ready = "/run/hil/bare-ready"
    machine.call("shell.run", f"rm -f {ready}")
    command = f"{PYTHON} /run/hil/guest/bare.py {site.KEYBOARD} {site.LABEL} {site.LEFT_IN} {ready}"
    machine.sh(f"systemd-run --unit hil-bare --quiet {command}")
    try:
        machine.call("shell.wait_for", [ready])
        mark = gate.mark()
        others = Others(*machine.processes).begin()
        for scan in range(SCANS):
            gate.type_alone(CODES[scan % 2])
        gate.others = others.share()
        gate.machine.call("trace.wait", gate.mark() - 2, "set", site.LEFT_IN, 0, 30)
        return [whole for whole, _ in enter_to_edge(gate.events(mark))]
    finally:
        machine.sh("systemctl stop hil-bare")
