"""Whether the lanes of gate.toml are those of a board file. It needs no pins, so any computer can tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hal import wiring
from hal.ports import Way
from hal.setting_error import SettingError

UNLOCK_MS = 5000  # where nobody says how long the loop may hold a lane open


@dataclass(frozen=True, slots=True)
class GpioLaneSettings:
    """What gate.toml says of a lane, to be held against the board file.

    `sensor` is "way" or "passage" where the gate counts on a passage sensor. `unlock_ms` is how long the loop
    may hold the lane open for one person.
    """

    name: str
    ways: tuple[Way, ...] = ("in",)
    sensor: Literal["way", "passage", "none"] = "none"
    unlock_ms: int = UNLOCK_MS


def check_lanes(plan: wiring.Wiring, lanes: Sequence[GpioLaneSettings]) -> None:
    """Hold the lanes of gate.toml against the board file. Raises SettingError with every difference."""
    wired, wanted = {lane.name: lane for lane in plan.lanes}, {lane.name: lane for lane in lanes}
    problems = [
        f'lane "{name}" of gate.toml is not wired: add a [[lane]] of this name, or rename one'
        for name in wanted
        if name not in wired
    ]
    problems += [
        f'lane "{name}" is wired and not in gate.toml: add it there, or take it out here'
        for name in wired
        if name not in wanted
    ]
    for name, lane in wanted.items():
        if name in wired:
            problems += _differences(wired[name], lane)
    if problems:
        raise SettingError("\n".join(f"{plan.path}: {problem}" for problem in problems))


def _differences(wired: wiring.Lane, wanted: GpioLaneSettings) -> Iterator[str]:
    name = f'lane "{wanted.name}"'
    for way in wanted.ways:
        if wired.opening(way) is None:
            yield f"{name} lets people {way} and has no line for it: wire [lane.{way}] or [lane.both]"
    if wanted.sensor == "none":
        if wired.sensor is not None:
            yield f"{name} has a sensor that the gate does not know: set sensor = true in gate.toml"
    elif wired.sensor is None:
        yield f"{name} has no sensor: wire [lane.sensor], or set sensor = false in gate.toml"
    else:
        seen = {way for _, way in wired.sensor.contacts}
        for way in wanted.ways:
            if not seen & {way, None}:
                yield f"{name} lets people {way} and its sensor does not see that: wire {way}_pin"
