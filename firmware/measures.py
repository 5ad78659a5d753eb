"""How the computer of a gate at work fares, looked up every few seconds on a thread of its own.

The disk may hang, and a file of /sys may wait for its driver: only this thread waits for them. Whoever asks
gets the last look at once, and is told when the present one takes too long.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from firmware import vitals
from firmware.doctor.machine import Machine
from firmware.rows import SPARE_BYTES

LOOK_S = 10.0  # as often as telemetry goes out
HANGS_S = 30.0  # a card that collects its garbage takes a second or two
JOIN_S = 1.0  # a closing gate does not wait for a disk that hangs


class Measured(NamedTuple):
    """One look; `None` for what this computer cannot tell. `backlog_rows` wait for a receipt."""

    temperature_mc: int | None = None
    zone: str = ""
    under_voltage: bool | None = None
    memory_free_bytes: int | None = None
    disk_free_bytes: int | None = None
    backlog_rows: int = 0

    @property
    def disk_full(self) -> bool:
        """Whether there is no more room than what is left to other programs."""
        return self.disk_free_bytes is not None and self.disk_free_bytes < SPARE_BYTES

    @property
    def memory_short(self) -> bool:
        """Whether the doctor would call it a fault."""
        return self.memory_free_bytes is not None and self.memory_free_bytes < vitals.MEMORY_FAULT_BYTES

    @property
    def too_hot(self) -> bool:
        """Whether a Pi slows down for it; other computers are hotter at work."""
        hot_mc = vitals.HOT_DEGREES * 1000
        return self.zone == vitals.PI_ZONE and (self.temperature_mc or 0) >= hot_mc


class Measures:
    """Looks until the end; entering starts it."""

    def __init__(
        self,
        data: Path,
        machine: Machine,
        backlog_rows: Callable[[], int],
        now_s: Callable[[], float] = time.monotonic,
        look_s: float = LOOK_S,
    ) -> None:
        """`data` lies on the disk that counts; `backlog_rows` may read it."""
        self._data, self._machine, self._backlog_rows = data, machine, backlog_rows
        self._now_s, self._look_s = now_s, look_s
        self.latest = Measured()
        """What the last look found."""
        self._since_s: float | None = None  # of the look in hand
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="measures", daemon=True)

    @property
    def hangs(self) -> bool:
        """Whether the look in hand waits for the disk since long."""
        since_s = self._since_s
        return since_s is not None and self._now_s() - since_s > HANGS_S

    def look(self) -> None:
        """Look now. May take as long as the disk does."""
        self._since_s = self._now_s()
        machine, before = self._machine, self.latest
        heat, bits, memory = vitals.heat(machine), vitals.supply(machine), vitals.memory(machine)
        disk_free_bytes, backlog_rows = None, before.backlog_rows
        with suppress(OSError):
            disk_free_bytes = vitals.free_bytes(self._data)
        with suppress(Exception):  # whatever a journal that cannot be read raises: the journal names it
            backlog_rows = self._backlog_rows()
        self.latest = Measured(
            heat.temperature_mc if heat else None,
            heat.zone if heat else "",
            None if bits is None else bool(bits & vitals.UNDER_VOLTAGE),
            memory.free_bytes if memory else None,
            disk_free_bytes,
            backlog_rows,
        )
        self._since_s = None

    def _run(self) -> None:
        while not self._over.is_set():
            self.look()
            self._over.wait(self._look_s)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End; a look that hangs is left behind."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)
