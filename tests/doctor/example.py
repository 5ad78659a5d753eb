"""What the hand-book shows of the doctor: a Pi whose exit scanner is not plugged in, and all findings."""

from pathlib import Path
from tempfile import TemporaryDirectory

from firmware.config import parse
from firmware.doctor.check import Verdict, as_lines, count
from firmware.doctor.examine import Surroundings, examine
from firmware.doctor.findings import FINDINGS
from tests.doctor.test_pins import PI_CHIP, TRIPOD, probe
from tests.doctor.test_stores import fill
from tests.doctor.trees import PI_4, SCANNER_KEYS, Tree, pi

CONFIG, BOARD, DATA = "/etc/gatepost/gate.toml", "/etc/gatepost/board.toml", "/var/lib/gatepost"
SCANNER = "usb-Honeywell_Voyager_1400g_17B1-event-kbd"
SETTINGS = f"""
[board]
name = "gpio"
file = "{TRIPOD}"
[[lane]]
name = "1"
direction = "both"
[[lane.reader]]
kind = "evdev"
device = "/dev/input/by-id/{SCANNER}"
direction = "in"
[[lane.reader]]
kind = "serial"
device = "/dev/serial/by-id/usb-Newland_NLS-FM430_A1B2C3-if00"
direction = "out"
"""
OCTOBER_S = 1_791_000_000.0
FREE_BYTES = 27 << 30


def machine(root: Path) -> Tree:
    """A Pi 4 with a scanner for the way in, whose supply was weak once."""
    tree = pi(root, PI_4)
    tree.throttled(PI_4, 0x50000)
    tree.input(1, "Honeywell Voyager 1400g", SCANNER_KEYS, serial="17B1", by_id=SCANNER)
    tree.write("dev/gpiochip0", "")
    return tree


def printed() -> str:
    """The look, as it is printed; who looks is left out, since whoever makes this may be root."""
    with TemporaryDirectory() as folder:
        tree, data = machine(Path(folder, "machine")), Path(folder, "data")
        fill(data)
        around = Surroundings(
            tree.machine, probe(PI_CHIP), lambda: True, lambda: OCTOBER_S, lambda _: FREE_BYTES
        )
        found = list(examine(around, parse(SETTINGS, CONFIG), Path(CONFIG), data))
        found = [check for check in found if check.name not in ("user", "library")]
        lines = [*as_lines(found), count(found)]
        text = "\n".join(f"    {line}" for line in lines)
        return text.replace(str(data), DATA).replace(str(TRIPOD), BOARD)


class Named(dict[str, str]):
    """Each place of a finding by its own name, in italics."""

    def __missing__(self, name: str) -> str:
        return f"*{name}*"


def table() -> str:
    """Everything that can be wrong, with the mend."""
    lines = ["| thing | verdict | what it says | mend |", "| --- | --- | --- | --- |"]
    for finding in FINDINGS:
        if finding.verdict is not Verdict.OK:
            text, mend = (words.format_map(Named()) for words in (finding.text, finding.mend))
            lines.append(f"| {finding.name} | {finding.verdict.value} | {text} | {mend} |")
    return "\n".join(lines)
