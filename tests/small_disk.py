"""A disk of its own for a test: small enough to fill, and frozen or thawed at will. Needs root.

While it is frozen, whoever touches it hangs in the kernel and cannot be ended. So it lies in no folder that
others tidy up, only child processes work on it, and a guard in a process of its own thaws it through an open
descriptor: when it is told to, when whoever froze it has died, or when it has been long enough.
"""

import fcntl
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TOOL_SECONDS_MAX = 60  # each takes well under a second; this ends a hung one
FROZEN_SECONDS_MAX = 30  # the longest test freezes for five
PACKAGES = {"mke2fs": "e2fsprogs", "mount": "mount", "losetup": "mount"}
FREEZE, THAW = 0xC0045877, 0xC0045878  # FIFREEZE and FITHAW of linux/fs.h


def unavailable() -> str | None:
    """Why this machine cannot have such a disk, with the mend; None if it can."""
    if os.geteuid() != 0:
        return "hung and full disks need root, to mount a loop device"
    lacking = sorted({package for tool, package in PACKAGES.items() if not shutil.which(tool)})
    if lacking:
        return f"hung and full disks need these Debian packages: {' '.join(lacking)}"
    if not Path("/dev/loop-control").exists():
        return "hung and full disks need /dev/loop-control"
    return None


class SmallDisk:
    """A mounted ext4."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._guard: subprocess.Popen[bytes] | None = None

    def freeze(self) -> None:
        """From now on every write to it hangs."""
        command = [sys.executable, "-m", "tests.small_disk", str(self.folder)]
        self._guard = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._guard.stdout
        assert self._guard.stdout.readline() == b"frozen\n"

    def thaw(self) -> None:
        """What hung goes on. Does nothing where nothing hangs."""
        if self._guard is not None:
            self._guard.communicate(timeout=TOOL_SECONDS_MAX)
            self._guard = None

    def remount(self, how: str) -> None:
        """`ro`: it takes nothing any more, as a card that the kernel has given up; `rw`: it does again."""
        _run("mount", "-o", f"remount,{how}", str(self.folder))

    def fill(self) -> Path:
        """Write until not one more byte fits; the file that takes it all."""
        ballast = self.folder / "ballast"
        with ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096, 512):
                with suppress(OSError):
                    while file.write(os.urandom(size)):
                        pass
            os.fsync(file.fileno())
        return ballast


@contextmanager
def small_disk(size_bytes: int) -> Iterator[SmallDisk]:
    """Make it, mount it, and take it away whatever happened."""
    with tempfile.TemporaryDirectory(prefix="gatepost-disk-") as scratch:
        image, folder = Path(scratch) / "disk.img", Path(scratch) / "disk"
        folder.mkdir()
        with image.open("wb") as file:
            file.truncate(size_bytes)
        _run("mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", str(image))
        _run("mount", "-o", "loop", str(image), str(folder))
        disk = SmallDisk(folder)
        try:
            yield disk
        finally:
            disk.thaw()
            try:
                _run("umount", str(folder))
            except subprocess.CalledProcessError:
                _run("umount", "--lazy", str(folder))
                raise


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=TOOL_SECONDS_MAX)


def guard(folder: str) -> None:
    """Freeze, and thaw when standard input ends, or after `FROZEN_SECONDS_MAX`."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.ioctl(handle, FREEZE, 0)
    try:
        sys.stdout.write("frozen\n")
        sys.stdout.flush()
        select.select([sys.stdin], [], [], FROZEN_SECONDS_MAX)
    finally:
        fcntl.ioctl(handle, THAW, 0)


if __name__ == "__main__":
    guard(sys.argv[1])
