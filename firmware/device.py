"""What this computer is, as vendors want to know their devices: its network card, serial number and model.

Read from /sys and /proc below `root`. What is not there is empty: a computer without a Raspberry Pi's files
still is a gate.
"""

from pathlib import Path
from typing import NamedTuple

from firmware.core.ticket import Perimeter

TEXT_MAX = 128  # characters; the model of a Raspberry Pi has 30
MAC_NONE = "00:00:00:00:00:00"  # of a card that has none
MODELS = ("proc/device-tree/model", "sys/class/dmi/id/product_name")
SERIALS = ("proc/device-tree/serial-number", "sys/class/dmi/id/product_serial")


class Device(NamedTuple):
    """This computer, and the perimeters of its lanes."""

    perimeters: tuple[Perimeter, ...] = ()
    mac: str = ""
    serial: str = ""
    model: str = ""


def device(perimeters: tuple[Perimeter, ...], root: Path = Path("/")) -> Device:
    """The present computer."""
    return Device(perimeters, mac(root), first_of(root, SERIALS), first_of(root, MODELS))


def mac(root: Path) -> str:
    """The address of the first card: one of hardware before a virtual one, then by name.

    Not that of the card in use, because a vendor knows its devices by it, and a cable may be pulled.
    """
    cards = sorted(
        (not (folder / "device").exists(), folder.name, text(folder / "address"))
        for folder in (root / "sys/class/net").glob("*")
    )
    return next((found for _, _, found in cards if found and found != MAC_NONE), "")


def first_of(root: Path, paths: tuple[str, ...]) -> str:
    """What the first of these files says that says anything."""
    return next(filter(None, (text(root / path) for path in paths)), "")


def text(path: Path) -> str:
    """What a small file says; "" where it cannot be read."""
    try:
        with path.open("rb") as file:
            said = file.read(TEXT_MAX).decode(errors="replace")
    except OSError:
        return ""
    return "".join(filter(str.isprintable, said)).strip()
