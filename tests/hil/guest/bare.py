"""The least that a gate could be, with the same libraries: a key is read, and at Enter a pin is set.

It decides nothing, records nothing and watches nothing. What the gate takes longer is what those cost. Run by
the gate's own Python, outside of the agent.
"""

import sys
from collections.abc import Iterable
from typing import Any, Protocol, cast

ENTER = 28


class Keyboard(Protocol):
    """What is used of evdev's device."""

    def grab(self) -> None: ...
    def read_loop(self) -> Iterable[Any]: ...


def main(device: str, chip: int, pin: int, ready: str) -> None:
    """Set the pin at each Enter, and reset it at once."""
    import evdev
    import lgpio

    handle = lgpio.gpiochip_open(chip)
    lgpio.gpio_claim_output(handle, pin, 0)
    keyboard = cast(Keyboard, evdev.InputDevice(device))
    keyboard.grab()
    with open(ready, "w", encoding="utf-8"):  # noqa: PTH123  as few imports as can be
        pass
    text: list[int] = []
    for event in keyboard.read_loop():
        if event.type != 1 or event.value != 1:
            continue
        if event.code != ENTER:
            text.append(event.code)
            continue
        lgpio.gpio_write(handle, pin, 1)
        lgpio.gpio_write(handle, pin, 0)
        text.clear()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
