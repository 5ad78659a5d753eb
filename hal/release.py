"""What ends what a gate that died has left switched on: every line is driven inactive, and then freed.

systemd runs it after the gate, however that ended (`gatepost release`). Until then a kernel that keeps the
level of a freed line may hold a relay; other kernels let the line float, which is why the hand-book asks for
a resistor. So it starts at once: no gpiozero, next to no imports, nothing of the disk but the board file. It
can be run at any time, as often as wanted; a line that a gate at work holds it leaves alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from hal import chips, wiring
from hal.chips import DEVICES, Chip, Lgpio, PinRefused

BUSY_S_MAX = 2.0  # a process that was killed gives its lines back within this, or hangs in the kernel
RETRY_S = 0.02
SETTLE_S = 0.005  # a pull of 50 kΩ has charged 100 m of wire by then


class NotReleased(Exception):
    """Some lines could not be. The text says which and why; `done` is what was."""

    def __init__(self, problems: list[str], done: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.done = done


def release(
    plan: wiring.Wiring,
    lgpio: Callable[[], Lgpio] = chips.lgpio,
    devices: Path = DEVICES,
    now: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Lock every lane, or while the alarm is active free it, and let go of the pins; returns what was done.

    Freed is what the level of a freed line keeps free, or one pulse (`free_by = "release"`): the gate that
    starts next does it for good. An alarm contact that cannot be read counts as active. Raises SettingError
    where the chip cannot be opened, NotReleased where a line could not be had within `BUSY_S_MAX`.
    """
    if plan.factory == "mock":
        return ['factory = "mock" has no pins']
    return _Release(chips.open_chip(lgpio(), plan.chip, devices), now, wait).run(plan)


class _Release:
    """One run on an open chip."""

    def __init__(self, chip: Chip, now: Callable[[], float], wait: Callable[[float], None]) -> None:
        self._chip, self._now, self._wait = chip, now, wait
        self._until_s = now() + BUSY_S_MAX
        self._done: list[str] = []
        self._problems: list[str] = []

    def run(self, plan: wiring.Wiring) -> list[str]:
        try:
            alarmed = plan.alarm is not None and self._alarmed(plan.alarm)
            held = [line for lane in plan.lanes for line in _held_free(lane)] if alarmed else []
            pulsed = [lane.free for lane in plan.lanes if lane.free and lane.free.pulse_ms] if alarmed else []
            freeing = {*held, *(free.line for free in pulsed)}
            claimed = self._drive(held, active=True)
            claimed += self._pulse(pulsed)
            claimed += self._drive((line for line in plan.lines if line not in freeing), active=False)
            for line in claimed:
                self._chip.lgpio.gpio_free(self._chip.handle, line.pin)
        finally:
            self._chip.close()
        if self._problems:
            raise NotReleased(self._problems, self._done)
        return self._done

    def _alarmed(self, alarm: wiring.Input) -> bool:
        lgpio = self._chip.lgpio
        pulls = {"up": lgpio.SET_PULL_UP, "down": lgpio.SET_PULL_DOWN, "none": lgpio.SET_PULL_NONE}
        while (refused := self._refused(self._chip.claim_input, alarm.pin, pulls[alarm.pull])) is not None:
            if not self._more([refused]):
                self._problems.append(f"{alarm} {refused}; taken for active")
                return True
        self._wait(SETTLE_S)
        active = lgpio.gpio_read(self._chip.handle, alarm.pin) == alarm.active_level
        lgpio.gpio_free(self._chip.handle, alarm.pin)
        if active:
            self._done.append(f"{alarm}: active, so that lanes are left free")
        return active

    def _drive(self, lines: Iterable[wiring.Line], active: bool) -> list[wiring.Line]:
        """Claim each with this level; those that were to be had. One that is held keeps none waiting."""
        claimed, waiting = [], list(lines)
        while waiting:
            refusals: dict[wiring.Line, PinRefused] = {}
            for line in waiting:
                level = line.inactive_level ^ active
                refused = self._refused(self._chip.claim_output, line.pin, level)
                if refused is None:
                    claimed.append(line)
                    self._done.append(f"{line}: {'active' if active else 'inactive'}, and freed")
                else:
                    refusals[line] = refused
            waiting = [line for line, refused in refusals.items() if refused.busy]
            if not self._more(refusals.values()):
                waiting = []
            self._problems += [f"{line} {why}" for line, why in refusals.items() if line not in waiting]
        return claimed

    def _pulse(self, frees: Iterable[wiring.Free]) -> list[wiring.Line]:
        """Pulse each once, all at the same time."""
        pulses = {free.line: free.pulse_ms or 0 for free in frees}
        claimed = self._drive(pulses, active=True)
        if claimed:
            self._wait(max(pulses[line] for line in claimed) / 1000)
        for line in claimed:
            self._chip.lgpio.gpio_write(self._chip.handle, line.pin, line.inactive_level)
        return claimed

    @staticmethod
    def _refused(claim: Callable[[int, int], None], pin: int, how: int) -> PinRefused | None:
        """Claim a line; why it is not to be had, or None."""
        try:
            claim(pin, how)
        except PinRefused as refused:
            return refused
        return None

    def _more(self, refusals: Iterable[PinRefused]) -> bool:
        """Whether to try once more, after a moment: somebody holds a line, who may be dying."""
        if not any(refused.busy for refused in refusals) or self._now() >= self._until_s:
            return False
        self._wait(RETRY_S)
        return True


def _held_free(lane: wiring.Lane) -> tuple[wiring.Line, ...]:
    """The lines that free a lane as long as they are active."""
    if lane.free is None:
        return tuple(opening.line for opening in lane.openings)
    return () if lane.free.pulse_ms else (lane.free.line,)
