"""Commands and files of the guest."""

import os
import subprocess
import threading
import time
from pathlib import Path


def run(command: str, seconds: float = 240) -> str:
    """Run this in a shell and return what it says. Raises RuntimeError with all of it if it fails."""
    done = subprocess.run(
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"status {done.returncode} of: {command}\n{done.stdout[-4000:]}")
    return done.stdout


def status(command: str, seconds: float = 240) -> tuple[int, str]:
    """Run this in a shell; returns its status and what it says."""
    done = subprocess.run(
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )
    return done.returncode, done.stdout


def write(path: str, text: str, mode: int = 0o644) -> None:
    """Write a file and the folders above it."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


def read(path: str) -> str:
    return Path(path).read_text(errors="replace")


def signal(pid: int, number: int) -> None:
    os.kill(pid, number)


def now_us() -> int:
    """The clock of the trace."""
    return time.monotonic_ns() // 1000


def pause(seconds: float) -> None:
    """Let people take their time."""
    threading.Event().wait(seconds)


def wait_for(paths: list[str], seconds: float = 120) -> None:
    """Wait until all of these exist and udev has nothing left to do. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while missing := [path for path in paths if not Path(path).exists()]:
        if time.monotonic() > end:
            raise TimeoutError(f"not there after {seconds} s: {missing}")
        pause(0.05)
    run("udevadm settle")


def python_start_s(times: int = 5) -> float:
    """How long Python takes to start here, in the middle: what the emulation costs is measured by it."""
    taken = []
    for _ in range(times):
        begun = time.monotonic()
        subprocess.run(["/usr/bin/python3", "-I", "-S", "-c", "import json, socket"], check=True)
        taken.append(time.monotonic() - begun)
    return sorted(taken)[times // 2]
