"""A gate on the machine's own chip: a turnstile that takes pulses, and a door whose relay is active low.

Its relays are among the first eight lines, which is all that PL061 has. Nobody moves inputs of such a chip
from outside, but for one: on `virt`, the button that switches the machine off is line 3, here the alarm
contact. In qemu, a line of a Pi's chip that nobody drives reads as it was driven last: its contact is none
of the others.
"""

from tests.hil import site
from tests.hil.hardware import OwnChip

LEFT_IN, LEFT_FREE, RIGHT_BOTH = 4, 5, 6
LOCKED = {LEFT_IN: 0, LEFT_FREE: 0, RIGHT_BOTH: 1}
FREEING = {LEFT_FREE: 1, RIGHT_BOTH: 0}
CODES = ["GOOD-1", "good-2"]


def board(chip: OwnChip) -> str:
    """board.toml."""
    return f"""\
[board]
factory = "lgpio"
chip = "{chip.label}"

[alarm]
pin = {chip.contact}
contact = "normally_closed"
pull = "up"
debounce_ms = 20

[[lane]]
name = "left"
without_power = "open"
free_by = "separate_line"
in = {{ pin = {LEFT_IN}, active = "high", drive = "pulse", pulse_ms = {site.PULSE_MS} }}
free = {{ pin = {LEFT_FREE}, active = "high" }}

[[lane]]
name = "right"
without_power = "open"
free_by = "hold"
both = {{ pin = {RIGHT_BOTH}, active = "low", drive = "hold" }}
"""


def lane(name: str, reader: str) -> str:
    """A lane inwards; nobody could move a sensor."""
    return f"""
[[lane]]
name = "{name}"
direction = "in"
sensor = false
unlock_ms = {site.UNLOCK_MS}
relock_ms = {site.RELOCK_MS}
{reader}"""


def settings(scanner: str) -> str:
    """gate.toml; `scanner` is the path of one that was made inside the guest."""
    return f"""\
[gate]
name = "main"
venue = "arena"

[board]
name = "gpio"
file = "/etc/gatepost/board.toml"
{lane("left", site.typing_reader(site.KEYBOARD))}
{lane("right", site.typing_reader(scanner, idle_ms=site.BURST_IDLE_MS))}
[policy]
reentry = "unlimited"

[conditions]
after_alarm = "acknowledge"
"""
