"""The least that a gate could be, with the same libraries: a key is read, and at Enter a pin is set.

It decides nothing, records nothing and watches nothing. What the gate takes longer is what those cost. Run by
the gate's own Python, outside of the agent; the chip is found as the gate finds it.
"""

import sys
from collections.abc import Iterable
from typing import Any, Protocol, cast


class Keyboard(Protocol):
    """What is used of evdev's device."""

    def grab(self) -> None: ...
    def read_loop(self) -> Iterable[Any]: ...


def main(device: str, chip: str, pin: int, ready: str) -> None:
    """Set the pin at each Enter, and reset it at once."""
    import evdev
    from gpiozero import OutputDevice

    from hal.gpio import open_factory

    relay = OutputDevice(pin, pin_factory=open_factory("lgpio", chip))
    keyboard = cast(Keyboard, evdev.InputDevice(device))
    keyboard.grab()
    with open(ready, "w", encoding="utf-8"):  # noqa: PTH123  as few imports as can be
        pass
    text = ""
    for event in keyboard.read_loop():
        if event.type != evdev.ecodes.EV_KEY or event.value != 1:
            continue
        if event.code != evdev.ecodes.KEY_ENTER:
            text += str(evdev.ecodes.KEY[event.code])
            continue
        relay.on()
        relay.off()
        text = ""


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
