"""What it takes for a file to be there after a power cut, and for a hung disk not to stop the loop."""

import os
from contextlib import suppress
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own in it, mode 0700 (see shm_overview(7))


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
