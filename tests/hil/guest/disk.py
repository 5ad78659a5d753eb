"""The disk that the gate's data lies on, which can be made to hang."""

import subprocess
from pathlib import Path

DEVICE, NAME, FOLDER = "/dev/vdb", "data", "/var/lib/gatepost"


def _run(*command: str, text: str | None = None) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, input=text).stdout


def prepare() -> None:
    """Make a file system behind a device that can be stopped, and mount it where the data lies."""
    _run("modprobe", "dm_mod")
    _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", DEVICE)
    sectors = _run("blockdev", "--getsz", DEVICE).strip()
    _run("dmsetup", "create", NAME, text=f"0 {sectors} linear {DEVICE} 0\n")
    _run("udevadm", "settle")
    Path(FOLDER).mkdir(parents=True, exist_ok=True)
    _run("mount", f"/dev/mapper/{NAME}", FOLDER)
    _run("chown", "gatepost:", FOLDER)


def hang() -> None:
    """From now on nothing that is written arrives, and whoever waits for it waits."""
    _run("dmsetup", "suspend", "--nolockfs", "--noflush", NAME)


def go_on() -> None:
    """Let everything through that waits."""
    _run("dmsetup", "resume", NAME)
