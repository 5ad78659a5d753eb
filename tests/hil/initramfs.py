"""The first steps of the guest: load what the disk needs, mount it, lay the test's files beside it, go on.

The test's agent and its unit come in here and end in /run, so that the disk holds Debian and the product and
nothing else. An initramfs is one or more archives in cpio's "newc" format, one after the other.
"""

import stat
from pathlib import Path

from tests.hil.base import base
from tests.hil.cache import digest, made, source_of
from tests.hil.kernel import kernel, needed

DISK_MODULES = (
    "virtio_pci",
    "virtio_blk",
    "bcm2835",  # SD cards of a Raspberry Pi
    "sdhci-iproc",
    "mmc_block",
    "crc32c_generic",  # ext4 asks for it by itself, too late
    "ext4",
)
APPLETS = ("sh", "mount", "insmod", "mknod", "cat", "cp", "mkdir", "switch_root", "umount", "usleep", "echo")
INIT = """\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for word in $(cat /proc/cmdline); do case $word in root=*) DISK=${word#root=} ;; esac; done
for module in /modules/*; do insmod $module || echo "HIL: $module did not load"; done
waited=0
while [ ! -b $DISK ] && [ $waited -lt 600 ]; do usleep 100000; waited=$((waited + 1)); done
if ! mount -t ext4 -o rw,noatime $DISK /disk; then
    echo "HIL: no root file system"
    echo o > /proc/sysrq-trigger
fi
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /disk/run
cp -r /hil/run/. /disk/run/
umount /proc /sys
mount -o move /dev /disk/dev
exec switch_root /disk /sbin/init
"""


def entry(number: int, name: str, mode: int, data: bytes) -> bytes:
    """One file, folder or link of an archive: a header of numbers, the name, the content."""
    path = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + path
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


class Archive:
    """Collects files by their path in the guest; folders above them come by themselves."""

    def __init__(self) -> None:
        self._entries: list[bytes] = []
        self._folders: set[str] = set()

    def file(self, path: str, data: bytes, executable: bool = False) -> None:
        self._parents(path)
        self._add(path, stat.S_IFREG | (0o755 if executable else 0o644), data)

    def link(self, path: str, target: str) -> None:
        self._parents(path)
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def folder(self, path: str) -> None:
        if path not in self._folders:
            self._parents(path)
            self._folders.add(path)
            self._add(path, stat.S_IFDIR | 0o755, b"")

    def packed(self) -> bytes:
        """The whole archive, ready to be followed by another one."""
        whole = b"".join(self._entries) + entry(0, "TRAILER!!!", 0, b"")
        return whole + b"\0" * (-len(whole) % 512)

    def _parents(self, path: str) -> None:
        above = Path(path).parent
        if above.name:
            self.folder(str(above))

    def _add(self, path: str, mode: int, data: bytes) -> None:
        self._entries.append(entry(len(self._entries) + 1, path, mode, data))


def fill(folder: Path, architecture: str) -> None:
    archive = Archive()
    for name in ("proc", "sys", "dev", "disk"):
        archive.folder(name)
    archive.file("bin/busybox", (base(architecture) / "tree/bin/busybox").read_bytes(), executable=True)
    for applet in APPLETS:
        archive.link(f"bin/{applet}", "busybox")
    modules = next((kernel(architecture) / "lib/modules").iterdir())
    for place, file in enumerate(needed((modules / "modules.dep").read_text(), DISK_MODULES)):
        archive.file(f"modules/{place:02}-{Path(file).name}", (modules / file).read_bytes())
    archive.file("init", INIT.encode(), executable=True)
    (folder / "initrd").write_bytes(archive.packed())


def initramfs(architecture: str) -> bytes:
    """Return the archive that brings the guest to its root file system."""
    key = digest(base(architecture).name, kernel(architecture).name, source_of("initramfs"))
    made_now = made(f"initramfs-{architecture}", key, lambda folder: fill(folder, architecture))
    return (made_now / "initrd").read_bytes()
