"""Power cuts without a machine to switch off: log every block write, then rebuild the disk at any moment.

The host's own ext4 is mounted on a loop device over a file that `qemu-storage-daemon` serves through FUSE.
Its `blklogwrites` filter notes each write and each flush in the order in which the disk got them (the format
of the kernel's dm-log-writes). Acknowledgements of the writer are written beside the file system on the same
disk, without a flush, so the log also says what had been promised when the power went. The rebuilt disk is
read without mounting it.
"""

import mmap
import multiprocessing
import os
import random
import select
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

SECTOR_BYTES = 512
BLOCK_BYTES = 4096
FILE_SYSTEM_BYTES = 192 << 20  # holds a journal with 50,000 reserved rows; sparse, only what is written costs
MARKER_AT = FILE_SYSTEM_BYTES  # the first byte behind the file system
DISK_BYTES = FILE_SYSTEM_BYTES + (1 << 20)
MARKER = b"ACKNOWLEDGED"
TORN_BYTES = SECTOR_BYTES  # written whole or not at all; SD cards are addressed in sectors of 512 bytes
TOOL_SECONDS_MAX = 60  # mount, e2fsck and debugfs take well under a second; this ends a hung one
CHECK_SECONDS_MAX = 30  # a torn store can make its reader loop; the slowest good check takes about a second

PACKAGES = {  # tool -> Debian package
    "qemu-storage-daemon": "qemu-system-common",
    "fusermount3": "fuse3",
    "mke2fs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "mount": "mount",
    "losetup": "mount",
}

FLUSH, FUA, DISCARD = 1, 2, 4  # entry flags of the log format (linux, drivers/md/dm-log-writes.c)
LOG_MAGIC = 0x6A736677736872

Checker = Callable[[Path, int], str | None]
"""Looks at the rescued files, knowing the last acknowledged number; says what is wrong, or None."""


class Write(NamedTuple):
    """`length` bytes went to byte `at` of the disk; they stand at byte `offset` of the log file."""

    flags: int
    at: int
    offset: int
    length: int


class Cut(NamedTuple):
    """One simulated power cut."""

    description: str
    folder: Path
    acknowledged: int


@dataclass(frozen=True, slots=True)
class Log:
    """Everything the disk was told, from the empty file system to the last acknowledgement."""

    empty: Path
    path: Path
    writes: tuple[Write, ...]
    acknowledged: dict[int, int]
    """Position in `writes` -> number the writer had acknowledged there."""

    def between_acknowledgements(self) -> tuple[int, int, int]:
        """(acknowledgements, flushes, bytes written) from the first acknowledgement to the last."""
        first, last = min(self.acknowledged), max(self.acknowledged)
        real = [self.writes[at] for at in range(first, last) if at not in self.acknowledged]
        flushes = sum(bool(write.flags & FLUSH) + bool(write.flags & FUA) for write in real)
        return len(self.acknowledged) - 1, flushes, sum(write.length for write in real)


class RigError(Exception):
    """The rig itself failed; says nothing about the writer under test."""


def unavailable() -> str | None:
    """Why this machine cannot run the rig, with the mend; None if it can."""
    if os.geteuid() != 0:
        return "power cuts need root, to mount a loop device"
    lacking = sorted({package for tool, package in PACKAGES.items() if not shutil.which(tool)})
    if lacking:
        return f"power cuts need these Debian packages: {' '.join(lacking)}"
    devices = [device for device in ("/dev/fuse", "/dev/loop-control") if not Path(device).exists()]
    return f"power cuts need {' and '.join(devices)}" if devices else None


def record(
    writer: Sequence[str],
    seconds: float,
    scratch: Path,
    mount_options: str = "noatime",
    now_s: Callable[[], float] = time.monotonic,
) -> Log:
    """Run `writer` on a fresh ext4 for at most `seconds` and return what reached the disk.

    The writer is a command; the directory to write in is added as its last argument. It prints a whole number
    and a newline after each acknowledgement, 0 when it is ready: cuts come after that. The rig answers each
    number with a newline on the writer's standard input once the number is in the log; a writer that waits
    for it makes the cuts as strict as they can be. It may end by itself with status 0. Files stay in
    `scratch`, which must be empty; nothing else does. Raises RigError.
    """
    scratch = scratch.resolve()
    empty, disk, log, export = (scratch / name for name in ("empty.img", "disk.img", "writes.log", "export"))
    folder = scratch / "mounted"
    folder.mkdir()
    for path in (log, export):
        path.touch()
    with empty.open("wb") as file:
        file.truncate(DISK_BYTES)
    blocks = FILE_SYSTEM_BYTES // BLOCK_BYTES
    _run("mke2fs", "-q", "-F", "-t", "ext4", "-b", str(BLOCK_BYTES), str(empty), str(blocks))
    _copy(empty, disk)
    with ExitStack() as stack:
        stack.enter_context(_logged_disk(disk, log, export))
        markers = os.open(export, os.O_WRONLY)  # goes straight into the log, without a flush
        stack.callback(os.close, markers)
        _run("mount", "-t", "ext4", "-o", f"loop,nodiscard,{mount_options}", str(export), str(folder))
        stack.callback(_unmount, folder)
        inside = folder / "store"
        inside.mkdir()
        _drive([*writer, str(inside)], seconds, markers, now_s)
    return _read_log(empty, log)


def cuts(log: Log, count: int, seed: int, scratch: Path) -> Iterator[Cut]:
    """Cut the power `count` times between the first and the last acknowledgement.

    Even cuts lose nothing that was written before them; odd ones lose a random half of the sectors written
    since the last flush, as a disk with a volatile cache may. The folder of a cut is gone when the next one
    is asked for.
    """
    chance = random.Random(seed)
    first, last = min(log.acknowledged), max(log.acknowledged)
    image = scratch / "cut.img"
    for number in range(count):
        place = chance.randint(first + 1, last + 1)
        unflushed = _rebuild(log, place, chance if number % 2 else None, image)
        repairs = _repair(image)
        folder = scratch / "rescued"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        _run("debugfs", "-R", f"rdump /store {folder}", str(image))
        acknowledged = next(log.acknowledged[at] for at in range(place - 1, -1, -1) if at in log.acknowledged)
        how = f"half of {unflushed} unflushed writes lost" if number % 2 else "in order"
        description = f"cut {number} of seed {seed}: after write {place} of {len(log.writes)}, {how}{repairs}"
        yield Cut(description, folder / "store", acknowledged)
    image.unlink(missing_ok=True)
    shutil.rmtree(scratch / "rescued", ignore_errors=True)


def verdict(checker: Checker, cut: Cut) -> str | None:
    """What `checker` says about a cut; in its own process, as a torn store can crash or hang its reader."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(checker, cut.folder, cut.acknowledged, theirs))
    process.start()
    theirs.close()
    with ours:
        try:
            if not ours.poll(CHECK_SECONDS_MAX):
                return f"the checker did not end within {CHECK_SECONDS_MAX} s"
            answer: str | None = ours.recv()
            return answer
        except EOFError:
            process.join()
            return f"the checker died with status {process.exitcode}"
        finally:
            process.kill()
            process.join()


def _answer(checker: Checker, folder: Path, acknowledged: int, connection: Connection) -> None:
    try:
        answer = checker(folder, acknowledged)
    except Exception as error:  # whatever the store's library raises is the finding
        answer = f"{type(error).__name__}: {error}"
    connection.send(answer)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TOOL_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise RigError(f"{command[0]} did not end within {TOOL_SECONDS_MAX} s") from None
    if done.returncode != 0:
        raise RigError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _copy(source: Path, target: Path) -> None:
    _run("cp", "--sparse=always", str(source), str(target))


def _unmount(folder: Path) -> None:
    try:
        _run("umount", str(folder))
    except RigError:
        _run("umount", "--lazy", str(folder))
        raise


@contextmanager
def _logged_disk(disk: Path, log: Path, export: Path) -> Iterator[None]:
    """Serve `disk` as the file `export`, noting every write and flush in `log`."""
    backing = (
        "driver=file,filename={},node-name={},cache.no-flush=on"  # the log counts, not this machine's disk
    )
    logged = f"driver=blklogwrites,node-name=logged,file=disk,log=log,log-sector-size={SECTOR_BYTES}"
    daemon = subprocess.Popen(
        [
            "qemu-storage-daemon",
            *("--blockdev", backing.format(disk, "disk")),
            *("--blockdev", backing.format(log, "log")),
            *("--blockdev", logged),
            *("--export", f"type=fuse,id=export,node-name=logged,mountpoint={export},writable=on"),
            *("--chardev", "stdio,id=monitor", "--monitor", "chardev=monitor"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with daemon:  # closes the pipes and waits
        try:
            assert daemon.stdout
            assert daemon.stderr
            if (
                not select.select([daemon.stdout], [], [], TOOL_SECONDS_MAX)[0]
                or not daemon.stdout.readline()
            ):
                daemon.kill()
                raise RigError(f"qemu-storage-daemon did not start: {daemon.stderr.read().decode().strip()}")
            yield  # its greeting came after the export was up
        finally:
            daemon.terminate()
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(TOOL_SECONDS_MAX)
            daemon.kill()
            if export.is_mount():  # only after it died before its time
                _run("umount", "--lazy", str(export))


def _drive(command: Sequence[str], seconds: float, markers: int, now_s: Callable[[], float]) -> None:
    """Run the writer, and put every number that it acknowledges into the log."""
    until = now_s() + seconds
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        os.set_blocking(process.stdin.fileno(), False)
        rest, seen = b"", 0
        try:
            while (left := until - now_s()) > 0:
                if not select.select([process.stdout], [], [], left)[0]:
                    continue
                if not (got := os.read(process.stdout.fileno(), 65536)):
                    process.wait(TOOL_SECONDS_MAX)
                    break
                *lines, rest = (rest + got).split(b"\n")
                for line in lines:
                    seen += 1
                    marker = MARKER + struct.pack("<Q", int(line))
                    os.pwrite(markers, marker.ljust(SECTOR_BYTES, b"\0"), MARKER_AT)
                    with suppress(BlockingIOError, BrokenPipeError):  # a writer need not wait for the answer
                        os.write(process.stdin.fileno(), b"\n")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        said = process.stderr.read().decode(errors="replace").strip()
        if process.wait() not in (0, -signal.SIGKILL) or seen < 2:
            raise RigError(
                f"the writer ended with {process.returncode} after {seen} acknowledgements: {said}"
            )


def _read_log(empty: Path, path: Path) -> Log:
    writes: list[Write] = []
    acknowledged: dict[int, int] = {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as log:
        magic, _, _, sector_bytes = struct.unpack_from("<QQQI", log)
        if (magic, sector_bytes) != (LOG_MAGIC, SECTOR_BYTES):
            raise RigError(f"{path.name} is not a write log")
        offset = SECTOR_BYTES
        while offset + SECTOR_BYTES <= len(log):
            sector, sectors, flags, _ = struct.unpack_from("<QQQQ", log, offset)
            length = 0 if flags & DISCARD else sectors * SECTOR_BYTES
            offset += SECTOR_BYTES
            if log[offset : offset + len(MARKER)] == MARKER and sector * SECTOR_BYTES == MARKER_AT:
                acknowledged[len(writes)] = struct.unpack_from("<Q", log, offset + len(MARKER))[0]
            writes.append(Write(flags, sector * SECTOR_BYTES, offset, length))
            offset += length
    return Log(empty, path, tuple(writes), acknowledged)


def _rebuild(log: Log, place: int, chance: random.Random | None, image: Path) -> int:
    """Make `image` the disk after the first `place` writes; how many of them were not flushed."""
    _copy(log.empty, image)
    before = [write for at, write in enumerate(log.writes[:place]) if at not in log.acknowledged]
    flushed = max((at for at, write in enumerate(before) if write.flags & FLUSH), default=0)
    with (
        log.path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        image.open("r+b") as disk,
    ):
        for at, write in enumerate(before):
            whole = chance is None or at < flushed or write.flags & FUA
            step = write.length if whole else TORN_BYTES
            for start in range(0, write.length, step or 1):
                if whole or (chance is not None and chance.random() < 0.5):
                    begin = write.offset + start
                    os.pwrite(disk.fileno(), data[begin : begin + step], write.at + start)
    return sum(1 for write in before[flushed:] if write.length)


def _repair(image: Path) -> str:
    """Replay the file system's journal; say what else had to be mended."""
    command = ["e2fsck", "-fy", str(image)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TOOL_SECONDS_MAX)
    asked = [line for line in done.stdout.splitlines() if "? yes" in line and not line.startswith("Fix? yes")]
    if done.returncode >= 4:  # 1 is the ordinary replay, 2 asks for a restart; from 4 on errors are left
        return f"; e2fsck ended with {done.returncode}: {done.stdout.strip()}"
    return f"; e2fsck mended: {asked}" if asked else ""
