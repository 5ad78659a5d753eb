"""The simulated GPIO chip: its lines are the turnstile's relays and contacts; the test moves the contacts.

A line that nobody drives has the level of its pull: `down` is 0 and `up` is 1. Where a driving process lets
go of a line the level falls back to the pull at once: a pull towards active is the worst board there is.
"""

import subprocess
import threading
import time
from pathlib import Path
from typing import Literal

CONFIGURATION = Path("/sys/kernel/config/gpio-sim")
Pull = Literal["up", "down"]
PUSHING = threading.Event()
WALK: tuple[Pull, Pull] = ("down", "up")  # what one person does to a contact that is normally open
STEP_S = 0.2  # for longer than its debounce


def add(name: str, label: str, lines: int) -> str:
    """Make a chip with this label and so many lines; returns its device, such as `gpiochip0`."""
    subprocess.run(["modprobe", "gpio-sim-whole"], check=True)
    if not CONFIGURATION.is_dir():
        subprocess.run(["mount", "-t", "configfs", "configfs", "/sys/kernel/config"], check=True)
    bank = CONFIGURATION / name / "bank"
    bank.mkdir(parents=True)
    (bank / "num_lines").write_text(str(lines))
    (bank / "label").write_text(label)
    for line in range(lines):
        (bank / f"line{line}").mkdir()
        (bank / f"line{line}" / "name").write_text(f"GPIO{line}")
    (CONFIGURATION / name / "live").write_text("1")
    subprocess.run(["udevadm", "settle"], check=True)
    return (bank / "chip_name").read_text().strip()


def remove(name: str) -> None:
    """Take the chip out again."""
    (CONFIGURATION / name / "live").write_text("0")
    bank = CONFIGURATION / name / "bank"
    for line in bank.glob("line*"):
        line.rmdir()
    bank.rmdir()
    (CONFIGURATION / name).rmdir()


def sysfs(name: str) -> Path:
    """Where the kernel shows the chip's lines."""
    device = (CONFIGURATION / name / "dev_name").read_text().strip()
    chip = (CONFIGURATION / name / "bank/chip_name").read_text().strip()
    return Path("/sys/devices/platform") / device / chip


def pull(name: str, pulls: dict[str, Pull]) -> None:
    """Set the pulls of these lines."""
    folder = sysfs(name)
    for line, towards in pulls.items():
        (folder / f"sim_gpio{line}" / "pull").write_text(f"pull-{towards}")


def chatter(name: str, line: int, towards: Pull, times: int) -> None:
    """Move a contact as a bad one moves: there and back so many times, and then there."""
    other: Pull = "up" if towards == "down" else "down"
    for _ in range(times):
        pull(name, {str(line): towards})
        pull(name, {str(line): other})
    pull(name, {str(line): towards})


def levels(name: str, lines: list[int]) -> list[int]:
    """Read the levels that the lines have now."""
    folder = sysfs(name)
    return [int((folder / f"sim_gpio{line}" / "value").read_text()) for line in lines]


def wait(name: str, wanted: dict[str, int], seconds: float) -> None:
    """Wait until these lines have these levels all at once. Raises TimeoutError."""
    lines = [int(line) for line in wanted]
    end = time.monotonic() + seconds
    while (now := levels(name, lines)) != list(wanted.values()):
        if time.monotonic() > end:
            raise TimeoutError(f"lines {lines} are {now} after {seconds} s, not {list(wanted.values())}")
        threading.Event().wait(0.02)


def push(name: str, relay: int, opened: int, sensor: int) -> int:
    """Push at a door until `leave`, and walk through whenever its relay has the level that opens it.

    Returns how often that was.
    """
    PUSHING.set()
    walks = 0
    while PUSHING.is_set():
        if levels(name, [relay]) == [opened]:
            walks += 1
            for towards in WALK:
                pull(name, {str(sensor): towards})
                threading.Event().wait(STEP_S)
        threading.Event().wait(STEP_S)
    return walks


def leave() -> None:
    """Push no more."""
    PUSHING.clear()


def base(label: str) -> int:
    """The number that the kernel's trace gives to the first line of the chip with this label."""
    for block in Path("/sys/kernel/debug/gpio").read_text().split("\n\n"):
        head = block.strip().split("\n")[0]
        if f", {label}," in head or head.endswith(f", {label}:") or f", {label}:" in head:
            return int(head.split("GPIOs ")[1].split("-")[0])
    raise LookupError(f"no chip is called {label}")
