"""The gate under test: three lanes, with scanners that type and one on a serial line.

Left is a turnstile that takes pulses and has a line of its own for emergencies; right and third are magnet
doors whose relays are held, and that of the right one is active low. The pins have external pulls: the
simulated chip takes a pull that a program asks for as a level from outside, so asking for one would open the
alarm contact.
"""

from collections.abc import Sequence

CHIP = "main"  # its name in configfs
LABEL = "pinctrl-bcm2711"
SPARE, SPARE_LABEL, SPARE_LINES = "spare", "spare-pins", 28  # for the contract suite; it comes first
LINES = 54  # what the chip of a Pi 4 has

ALARM = 17
LEFT_IN, LEFT_FREE, LEFT_SENSOR = 22, 23, 5
RIGHT_BOTH, RIGHT_SENSOR = 24, 6
THIRD_BOTH, THIRD_SENSOR, THIRD_BLUE = 4, 7, 8
STUCK_S = 2  # of the third lane
LEFT_RED, LEFT_GREEN, LEFT_BLUE = 12, 13, 16
RIGHT_RED, RIGHT_GREEN, RIGHT_BLUE = 20, 21, 25
PULSE_MS = 500
UNLOCK_MS = 2000
GUARD_MARGIN_MS = 1000  # what hal.gpio_parts waits longer than the loop
RELOCK_MS = 500
IDLE_MS = 2000  # a silence that cuts a code; keys come slowly where the processor is emulated
BURST_IDLE_MS = (
    800  # of the scanners inside the guest: less than the gate is held in the middle of their codes
)

# Line -> the level that lets nobody through, and everybody.
LOCKED = {LEFT_IN: 0, LEFT_FREE: 0, RIGHT_BOTH: 1, THIRD_BOTH: 0}
RELAYS = tuple(LOCKED)
READY = LOCKED | {
    LEFT_BLUE: 1,
    RIGHT_BLUE: 1,
    THIRD_BLUE: 1,
}  # locked, and the lamp says that a code may come
FREEING = {LEFT_FREE: 1, RIGHT_BOTH: 0, THIRD_BOTH: 1}  # what an alarm holds

AT_REST = {
    ALARM: "down",
    LEFT_SENSOR: "up",
    RIGHT_SENSOR: "up",
    THIRD_SENSOR: "up",
}  # pulls: a closed contact, three open ones
TOWARDS_LOCKED = {str(line): "up" if level else "down" for line, level in LOCKED.items()}
TOWARDS_ACTIVE = {str(line): "down" if level else "up" for line, level in LOCKED.items()}


def keyboard(serial: str) -> str:
    """Where udev shows the scanner with this serial number that types."""
    return f"/dev/input/by-id/usb-QEMU_QEMU_USB_Keyboard_{serial}-event-kbd"


KEYBOARD = keyboard("LEFT")
SERIAL = "/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_RIGHT-if00-port0"
COUNTRIES = {"de": "DE", "fr": "FR"}  # layout -> serial number of a scanner that is set to it
SCANNERS = 8  # made inside the guest; they lie on what is left of four readers a lane

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

[[lane]]
name = "third"
without_power = "open"
free_by = "hold"

[lane.both]
pin = {THIRD_BOTH}
active = "high"
drive = "hold"

[lane.sensor]
kind = "light_barrier"
pin = {THIRD_SENSOR}
contact = "normally_open"
pull = "none"
debounce_ms = 20
stuck_s = {STUCK_S}

[lane.lamp]
red = 9
green = 10
blue = {THIRD_BLUE}
active = "high"
"""


HEAD = """\
[gate]
name = "main"
venue = "arena"

[board]
name = "gpio"
file = "/etc/gatepost/board.toml"
"""


def typing_reader(device: str, layout: str = "us", idle_ms: int = IDLE_MS) -> str:
    """A scanner that types."""
    return f"""
[[lane.reader]]
kind = "evdev"
device = "{device}"
layout = "{layout}"
terminator = "cr"
idle_ms = {idle_ms}
"""


def lane(name: str, readers: Sequence[str]) -> str:
    """A lane inwards."""
    return f"""
[[lane]]
name = "{name}"
direction = "in"
unlock_ms = {UNLOCK_MS}
relock_ms = {RELOCK_MS}
signal_ms = 2000
{"".join(readers)}"""


def settings(scanners: Sequence[str]) -> str:
    """gate.toml; `scanners` are the paths of those that were made inside the guest."""
    made = [typing_reader(device, idle_ms=BURST_IDLE_MS) for device in scanners]
    countries = [typing_reader(keyboard(serial), layout) for layout, serial in COUNTRIES.items()]
    serial = f"""
[[lane.reader]]
kind = "serial"
device = "{SERIAL}"
baud_rate = 115200
terminator = "cr"
idle_ms = {IDLE_MS}
"""
    return f"""\
{HEAD}
{lane("left", [typing_reader(KEYBOARD), *countries, *made[:1]])}
{lane("right", [serial, *made[1:4]])}
{lane("third", made[4:])}
[policy]
reentry = "unlimited"

[conditions]
after_alarm = "acknowledge"
"""


def door(active: str) -> tuple[str, str]:
    """Board file and gate.toml of the right door alone, whose relay is said to be active at this level."""
    head, _, right, _ = BOARD.split("[[lane]]\n")
    board = f"{head}[[lane]]\n{right}".replace('active = "low"', f'active = "{active}"')
    return board, HEAD + lane("right", ())
