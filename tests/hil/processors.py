"""How much of this machine's processors went to others: what is measured beside them says little."""

import os
import time
from pathlib import Path
from typing import Self

OTHERS_MAX = 0.1  # of all processors; Debian's own services take less than a hundredth
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
BUSY = (0, 1, 2, 5, 6, 7)  # of the first line of /proc/stat: user, nice, system, irq, softirq, steal
USER, SYSTEM = 11, 12  # in what follows the name in /proc/PID/stat


def busy_s(stat: str) -> float:
    """What all processors have worked, by /proc/stat."""
    fields = stat.split("\n", 1)[0].split()[1:]
    return sum(int(fields[number]) for number in BUSY) / TICKS_A_SECOND


def process_s(stat: str) -> float:
    """What a process has worked, by its file below /proc."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[USER]) + int(fields[SYSTEM])) / TICKS_A_SECOND


class Others:
    """Everybody but these processes, from `begin` to `share`."""

    def __init__(self, *processes: int) -> None:
        self._processes = processes

    def _now(self) -> tuple[float, float]:
        own = sum(process_s(Path(f"/proc/{one}/stat").read_text()) for one in self._processes)
        return time.monotonic(), busy_s(Path("/proc/stat").read_text()) - own

    def begin(self) -> Self:
        """Look for the first time."""
        self._before = self._now()
        return self

    def share(self) -> float:
        """Their part of all processors since then, from 0 to 1."""
        (then_s, before_s), (now_s, after_s) = self._before, self._now()
        return max(0.0, after_s - before_s) / ((now_s - then_s) * (os.cpu_count() or 1))
