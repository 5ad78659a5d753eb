"""What a person sees of a fleet: a row for each gate, from what gates told of themselves."""

import json
import threading
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from firmware import wire
from firmware.fleet.operator_line import GATES_MAX, Heard
from firmware.signals import visible

SILENT_S = 60.0  # telemetry comes every ten seconds: six in a row are missed by a gate that hangs
RATE_S = 60.0  # over which scans a minute are counted
WARNINGS = 5  # that are shown, the newest
TEXT_MAX = 120  # characters of what a gate says
NONE = "-"


class State(StrEnum):
    """How a gate is, the worst first."""

    ABSENT = "not connected"
    SILENT = "silent"
    ILL = "fault"
    GOOD = "ok"


class Row(NamedTuple):
    """One gate. `None`: it did not tell. `faults` are codes, each with the seconds since its start."""

    gate: str
    state: State
    faults: tuple[tuple[str, int], ...] = ()
    scans_a_minute: float | None = None
    backlog_rows: int | None = None
    catalogue_age_s: int | None = None
    decide_p99_us: int | None = None
    commit_p99_us: int | None = None
    temperature_c: float | None = None
    release: str = ""
    settings_version: int | None = None
    heard_s: float | None = None


class _Known:
    """The last telemetry of a gate, and how many scans it had told of before."""

    def __init__(self) -> None:
        self.telemetry: wire.Telemetry | None = None
        self.heard_s = 0.0
        self.counts: deque[tuple[float, int]] = deque()

    def take(self, telemetry: wire.Telemetry, now_s: float) -> None:
        before = self.telemetry
        if before is not None and before.epoch != telemetry.epoch:
            self.counts.clear()
        self.telemetry, self.heard_s = telemetry, now_s
        self.counts.append((now_s, sum(telemetry.verdicts.values())))
        while len(self.counts) > 2 and self.counts[1][0] <= now_s - RATE_S:
            self.counts.popleft()

    @property
    def scans_a_minute(self) -> float | None:
        """Over the last minute; `None` until there are two messages."""
        if len(self.counts) < 2:
            return None
        (first_s, first), (last_s, last) = self.counts[0], self.counts[-1]
        return None if last_s <= first_s else round((last - first) / (last_s - first_s) * 60, 1)


class FleetPage:
    """Takes what is heard, on any thread, and gives rows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._warnings: deque[tuple[str, str]] = deque(maxlen=WARNINGS)

    def take(self, heard: Heard, now_s: float) -> None:
        """A gate's message. One that was kept by the broker says nothing of now."""
        with self._lock:
            if isinstance(heard.message, wire.Telemetry) and not heard.retained:
                if heard.gate in self._known or len(self._known) < GATES_MAX:
                    self._known.setdefault(heard.gate, _Known()).take(heard.message, now_s)
            elif isinstance(heard.message, wire.Log):
                for line in heard.message.lines:
                    self._warnings.append((heard.gate, visible(line.text, TEXT_MAX)))

    def told(self, gates: Iterable[str]) -> bool:
        """Whether there is telemetry of all of these."""
        with self._lock:
            return set(gates) <= self._known.keys()

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """The last ones, with the gate of each."""
        with self._lock:
            return list(self._warnings)

    def rows(self, births: Collection[str], expected: Collection[str], now_s: float) -> list[Row]:
        """A row for each gate that is connected, expected or was heard; the worst first."""
        with self._lock:
            names = {*births, *expected, *self._known}
            found = [_row(name, name in births, self._known.get(name), now_s) for name in names]
        order = list(State)
        return sorted(found, key=lambda row: (order.index(row.state), row.gate))


def _row(gate: str, connected: bool, known: _Known | None, now_s: float) -> Row:
    telemetry = known.telemetry if known is not None else None
    if known is None or telemetry is None:
        return Row(gate, State.SILENT if connected else State.ABSENT)
    heard_s = now_s - known.heard_s
    if not connected:
        state = State.ABSENT
    elif heard_s > SILENT_S:
        state = State.SILENT
    else:
        state = State.ILL if telemetry.faults else State.GOOD
    faults = tuple(
        (visible(fault.code, TEXT_MAX), max(0, telemetry.utc_ms - fault.since_utc_ms) // 1000)
        for fault in telemetry.faults
    )
    return Row(
        gate,
        state,
        faults,
        known.scans_a_minute,
        telemetry.backlog_rows,
        telemetry.catalogue_age_ms // 1000,
        telemetry.decide.p99_us,
        telemetry.commit.p99_us,
        None if telemetry.temperature_mc is None else telemetry.temperature_mc / 1000,
        visible(telemetry.release, TEXT_MAX),
        telemetry.settings_version,
        round(heard_s, 1),
    )


def as_json(rows: Sequence[Row]) -> str:
    """One line of plain ASCII: a list with an object for each gate."""
    return json.dumps([_object(row) for row in rows])


def _object(row: Row) -> Mapping[str, object]:
    faults = [{"code": code, "since_s": since_s} for code, since_s in row.faults]
    return {**row._asdict(), "state": row.state.value, "faults": faults}


HEADINGS = (
    "gate",
    "state",
    "faults",
    "scans/min",
    "backlog",
    "catalogue",
    "decide p99",
    "commit p99",
    "heat",
    "release",
    "settings",
    "heard",
)


def cells(row: Row) -> tuple[str, ...]:
    """The row as it is read, one text for each of `HEADINGS`."""
    faults = ", ".join(f"{code} {ago(since_s)}" for code, since_s in row.faults)
    return (
        row.gate,
        row.state.value,
        faults or NONE,
        NONE if row.scans_a_minute is None else f"{row.scans_a_minute:.0f}",
        NONE if row.backlog_rows is None else f"{row.backlog_rows:,}",
        NONE if row.catalogue_age_s is None else ago(row.catalogue_age_s),
        NONE if not row.decide_p99_us else f"{row.decide_p99_us} µs",
        NONE if not row.commit_p99_us else f"{row.commit_p99_us / 1000:.1f} ms",
        NONE if row.temperature_c is None else f"{row.temperature_c:.0f} °C",
        row.release or NONE,
        NONE if row.settings_version is None else str(row.settings_version),
        NONE if row.heard_s is None else f"{ago(int(row.heard_s))} ago",
    )


def ago(seconds: int) -> str:
    """A time as short as it can be said."""
    for unit, unit_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * unit_s:
            return f"{seconds // unit_s} {unit}"
    return f"{seconds} s"
