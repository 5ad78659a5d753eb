"""gpiozero's pins on any GPIO chip of the kernel, a Pi's or a simulated one.

gpiozero's own LGPIOFactory is passed by for three reasons. It opens a chip by its number, which changes
between kernels. It sets a line's direction first and its level after, so that a relay that is active low
clicks when the gate starts. And it wants to know which Pi this is, which a test machine is not.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from time import monotonic
from typing import Any

from gpiozero.exc import PinInvalidEdges, PinInvalidFunction, PinInvalidPull, PinSetInput
from gpiozero.pins.pi import PiFactory, PiPin

from hal.chips import Chip

FORTY_PINS = 0xA02082  # the revision of a Pi 3: on every Pi with 40 pins they have the same numbers


class ChipPin(PiPin):  # type: ignore[misc]  # gpiozero has no types
    """One line. It is claimed when its direction is set, and not before."""

    def __init__(self, factory: ChipFactory, info: Any) -> None:
        super().__init__(factory, info)
        self._chip = factory.chip
        self._direction: str | None = None
        self._pull = "floating"
        self._callback: Any = None

    def close(self) -> None:
        """Free the line. What its level is then the kernel decides, and a resistor should."""
        self.when_changed = None
        if self._direction is not None:
            self._direction = None
            with suppress(self._chip.lgpio.error):  # a line that cannot be freed is lost with its chip
                self._chip.lgpio.gpio_free(self._chip.handle, self._number)

    def output_with_state(self, state: bool) -> None:
        """Drive the line: level and direction in one step."""
        self._chip.claim_output(self._number, int(state))
        self._direction = "output"

    def _get_function(self) -> str:
        return self._direction or "input"

    def _set_function(self, value: str) -> None:
        if value != "input":
            raise PinInvalidFunction(f"{self!r} becomes an output by output_with_state only")
        self._chip.claim_input(self._number, self._flags())
        self._direction = "input"

    def _get_state(self) -> bool:
        return bool(self._chip.lgpio.gpio_read(self._chip.handle, self._number))

    def _set_state(self, value: bool) -> None:
        if self._direction != "output":
            raise PinSetInput(f"{self!r} is not an output")
        self._chip.lgpio.gpio_write(self._chip.handle, self._number, int(value))

    def _get_pull(self) -> str:
        return self._pull

    def _set_pull(self, value: str) -> None:
        if value not in ("up", "down", "floating"):
            raise PinInvalidPull(f'{self!r} cannot be pulled "{value}"')
        self._pull = value
        if self._direction is not None:  # flags are taken at a new claim only
            self._chip.lgpio.gpio_free(self._chip.handle, self._number)
        self._set_function("input")

    def _flags(self) -> int:
        lgpio = self._chip.lgpio
        pulls = {"up": lgpio.SET_PULL_UP, "down": lgpio.SET_PULL_DOWN, "floating": lgpio.SET_PULL_NONE}
        return pulls[self._pull]

    def _get_edges(self) -> str:
        return "both"

    def _set_edges(self, value: str) -> None:
        if value != "both":
            raise PinInvalidEdges(f"{self!r} tells both edges only")

    def _enable_event_detect(self) -> None:
        self._chip.claim_alert(self._number, self._flags())
        lgpio = self._chip.lgpio
        self._callback = lgpio.callback(self._chip.handle, self._number, lgpio.BOTH_EDGES, self._on_edge)

    def _disable_event_detect(self) -> None:
        """The line stays as it is claimed: lgpio's own thread lets go of one that told edges only later."""
        if self._callback is not None:
            self._callback.cancel()
            self._callback = None

    def _on_edge(self, chip: int, pin: int, level: int, ticks_ns: int) -> None:
        """On lgpio's thread. It has only this one, so that no mistake of a listener may end it."""
        try:
            self._call_when_changed(ticks_ns / 1_000_000_000, bool(level))
        except Exception:
            sys.excepthook(*sys.exc_info())


class ChipFactory(PiFactory):  # type: ignore[misc]  # gpiozero has no types
    """Pins of an open chip, which it takes over."""

    def __init__(self, chip: Chip) -> None:
        super().__init__()
        self.chip = chip
        self.pin_class = ChipPin
        self._closed = False

    def close(self) -> None:
        """Free all lines and close the chip."""
        if not self._closed:
            self._closed = True
            super().close()
            self.chip.close()

    @staticmethod
    def ticks() -> float:
        """The time, in the unit of gpiozero's own factories."""
        return monotonic()

    @staticmethod
    def ticks_diff(later: float, earlier: float) -> float:
        """Seconds between two."""
        return later - earlier

    def _get_revision(self) -> int:
        return FORTY_PINS
