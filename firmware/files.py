"""What it takes for a file to be there after a power cut, and for a hung disk not to stop the loop."""

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own in it, mode 0700 (see shm_overview(7))


# SQLite maps the index of its log, 32 KiB at first (sqlite.org, walformat, section 2.1). The rest is for the
# tables and the log of a new database, and for the index of one that was set aside and is read beside it.
INDEX_BYTES = 32 << 10
ROOM_BYTES = 256 << 10
BLOCK_BYTES = 512  # what `st_blocks` counts in (stat(2))


def sync_folder(folder: Path) -> None:
    """A new file is there after a power cut only when its folder was flushed too (fsync(2))."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put a file there in one step: a cut leaves this content or the one before, whole and flushed."""
    unfinished = path.with_name(f".{path.name}-{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, mode)  # whatever the umask
        file.write(data)
        file.flush()
        os.fsync(handle)
    unfinished.replace(path)
    sync_folder(path.parent)


def prove_room(database: Path) -> None:
    """Raise `OSError` where the disk lacks the room in which SQLite can open this database.

    A mapped page that finds no block on the disk is no error to SQLite: the kernel ends the process (SIGBUS).
    An index that a former process left has its blocks, so that a gate starts on a disk without one free byte.
    """
    with suppress(FileNotFoundError):
        index = database.with_name(f"{database.name}-shm").stat()
        if index.st_blocks * BLOCK_BYTES >= INDEX_BYTES:
            return
    with tempfile.TemporaryFile(dir=database.parent) as file:  # without a name: a crash leaves nothing
        try:
            os.posix_fallocate(file.fileno(), 0, ROOM_BYTES)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:  # of a C library that does not write zeros instead
                raise


def keep_lock_in_memory(folder: Path, memory: Path = SHARED_MEMORY) -> None:
    """Let LMDB keep this environment's table of readers in shared memory; to be called before it is opened.

    LMDB writes its reader's slot into `lock.mdb`, a mapped file, at every look-up. On a disk that hangs the
    kernel makes that write wait, and with it the whole process, the alarm included (measured: `make bench`,
    hanging). The table is of no use after a reboot. Where there is no shared memory it stays where it was.
    """
    with suppress(OSError):
        target = _lock_of(folder, memory)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        owner = target.parent.stat()
        lock, fresh = folder / "lock.mdb", folder / "lock.new"
        if owner.st_uid != os.geteuid() or owner.st_mode & 0o077:
            return
        if lock.is_symlink() and lock.readlink() == target:
            return
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(lock)


def forget_lock(folder: Path, memory: Path = SHARED_MEMORY) -> None:
    """The environment is about to be removed; so is its table of readers."""
    with suppress(OSError):
        _lock_of(folder, memory).unlink()


def _lock_of(folder: Path, memory: Path) -> Path:
    """The same for every process, and another one for a copy of the folder."""
    stat = folder.stat()
    return memory / f"gatepost-{os.geteuid()}" / f"{stat.st_dev:x}-{stat.st_ino:x}.lock"
