"""The gate under test: two lanes, wired in two ways, with a scanner that types and one on a serial line.

Left is a turnstile that takes pulses and has a line of its own for emergencies; right is a magnet door whose
relay is active low and is held. The pins have external pulls: the simulated chip takes a pull that a
program asks for as a level from outside, so asking for one would open the alarm contact.
"""

from collections.abc import Sequence

CHIP = "main"  # its name in configfs
LABEL = "pinctrl-bcm2711"
LINES = 54  # what the chip of a Pi 4 has

ALARM = 17
LEFT_IN, LEFT_FREE, LEFT_SENSOR = 22, 23, 5
RIGHT_BOTH, RIGHT_SENSOR = 24, 6
LEFT_RED, LEFT_GREEN, LEFT_BLUE = 12, 13, 16
RIGHT_RED, RIGHT_GREEN, RIGHT_BLUE = 20, 21, 25
READERS_MORE = 3  # beside the one that each lane has
PULSE_MS = 500
UNLOCK_MS = 2000
GUARD_MARGIN_MS = 1000  # what hal.gpio_parts waits longer than the loop
RELOCK_MS = 500

# Line -> the level that lets nobody through, and everybody.
LOCKED = {LEFT_IN: 0, LEFT_FREE: 0, RIGHT_BOTH: 1}
RELAYS = tuple(LOCKED)
READY = LOCKED | {LEFT_BLUE: 1, RIGHT_BLUE: 1}  # locked, and the lamp says that a code may come
FREEING = {LEFT_FREE: 1, RIGHT_BOTH: 0}  # what an alarm holds

AT_REST = {ALARM: "down", LEFT_SENSOR: "up", RIGHT_SENSOR: "up"}  # pulls: closed contact, two open ones
TOWARDS_LOCKED = {str(line): "up" if level else "down" for line, level in LOCKED.items()}
TOWARDS_ACTIVE = {str(line): "down" if level else "up" for line, level in LOCKED.items()}

KEYBOARD = "/dev/input/by-id/usb-QEMU_QEMU_USB_Keyboard_LEFT-event-kbd"
SERIAL = "/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_RIGHT-if00-port0"

BOARD = f"""\
[board]
factory = "lgpio"
chip = "{LABEL}"

[alarm]
pin = {ALARM}
contact = "normally_closed"
pull = "none"
debounce_ms = 20

[[lane]]
name = "left"
without_power = "open"
free_by = "separate_line"

[lane.in]
pin = {LEFT_IN}
active = "high"
drive = "pulse"
pulse_ms = {PULSE_MS}

[lane.free]
pin = {LEFT_FREE}
active = "high"

[lane.sensor]
kind = "rotation"
in_pin = {LEFT_SENSOR}
contact = "normally_open"
pull = "none"
debounce_ms = 20
stuck_s = 30

[lane.lamp]
red = {LEFT_RED}
green = {LEFT_GREEN}
blue = {LEFT_BLUE}
active = "high"

[lane.buzzer]
pin = 26
active = "high"

[[lane]]
name = "right"
without_power = "open"
free_by = "hold"

[lane.both]
pin = {RIGHT_BOTH}
active = "low"
drive = "hold"

[lane.sensor]
kind = "light_barrier"
pin = {RIGHT_SENSOR}
contact = "normally_open"
pull = "none"
debounce_ms = 50
stuck_s = 30

[lane.lamp]
red = {RIGHT_RED}
green = {RIGHT_GREEN}
blue = {RIGHT_BLUE}
active = "high"

[lane.buzzer]
pin = 19
active = "high"
"""


def typing_reader(device: str, layout: str = "us") -> str:
    """A scanner that types."""
    return f"""
[[lane.reader]]
kind = "evdev"
device = "{device}"
layout = "{layout}"
terminator = "cr"
idle_ms = 1000
"""


def settings(layout: str = "us", after_alarm: str = "lock", more_readers: Sequence[str] = ()) -> str:
    """gate.toml. Each lane may have four readers."""
    more = [typing_reader(device) for device in more_readers]
    return f"""\
[gate]
name = "main"
venue = "arena"

[board]
name = "gpio"
file = "/etc/gatepost/board.toml"

[[lane]]
name = "left"
direction = "in"
unlock_ms = {UNLOCK_MS}
relock_ms = {RELOCK_MS}
{typing_reader(KEYBOARD, layout)}{"".join(more[:READERS_MORE])}
[[lane]]
name = "right"
direction = "in"
unlock_ms = {UNLOCK_MS}
relock_ms = {RELOCK_MS}

[[lane.reader]]
kind = "serial"
device = "{SERIAL}"
baud_rate = 115200
terminator = "cr"
idle_ms = 1000
{"".join(more[READERS_MORE:])}
[policy]
reentry = "unlimited"

[conditions]
after_alarm = "{after_alarm}"
"""
