"""The folder of the catalogue: its one writer, and which build is in use. No LMDB in here."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from firmware.files import forget_lock, sync_folder
from firmware.venue_key import settle_key

BUILD = re.compile(r"build-([1-9]\d{0,8})")
KEY_MARK = "key-mark"
BUILD_ANYWHERE = re.compile(r"(?:.*-)?build-([1-9]\d{0,8})")  # also one that was set aside


class CatalogueError(Exception):
    """The catalogue cannot do what was asked; the message names the thing and the mend."""


class CatalogueBusy(CatalogueError):
    """Another process is writing, or has just written."""


class CatalogueDamaged(CatalogueError):
    """What is stored is not what was written."""


class CatalogueFull(CatalogueError):
    """The disk, or the limit of tickets, does not take the list."""


class Mark(NamedTuple):
    """Tells one state of `current` from every other: it is always a new file."""

    inode: int
    mtime_ns: int


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Be the one writer. Raises `CatalogueBusy` with the process id of the one there is.

    The kernel lets go of the lock when its process ends, however it ends.
    """
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            who = os.read(handle, 20).decode("ascii", "replace") or "(unknown)"
            raise CatalogueBusy(f"{folder}: process {who} is writing; wait for it, or end it") from error
        os.ftruncate(handle, 0)
        with suppress(OSError):  # a full disk: the lock holds all the same
            os.write(handle, str(os.getpid()).encode())
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def mark_of_current(folder: Path) -> Mark | None:
    """What `current` is like, in a few microseconds; `None` where no list was ever put into use."""
    try:
        stat = (folder / "current").stat()
    except FileNotFoundError:
        return None
    return Mark(stat.st_ino, stat.st_mtime_ns)


def current_build(folder: Path) -> Path | None:
    """The build in use. Raises `CatalogueDamaged` where `current` names none."""
    try:
        with (folder / "current").open("rb") as file:
            name = file.read(40).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    if not BUILD.fullmatch(name):
        raise CatalogueDamaged(f"{folder / 'current'} names no build; import the list again")
    return folder / name


def build_in_use(folder: Path) -> Path | None:
    """The same for a writer, who replaces a `current` that names no build."""
    try:
        return current_build(folder)
    except CatalogueDamaged:
        return None


def put_into_use(build: Path) -> None:
    """Name a finished build in `current`, flushed and in one step: a cut leaves this list or the older."""
    folder = build.parent
    sync_folder(build)
    sync_folder(folder)
    unfinished = folder / "current-next"
    with unfinished.open("w") as file:
        file.write(build.name + "\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / "current")
    sync_folder(folder)


def name_key(build: Path, mark: bytes) -> None:
    """Write beside a list with which key it was made, flushed: who has no LMDB open can tell by it."""
    with (build / KEY_MARK).open("w") as file:
        file.write(mark.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())


def settle_key_in_use(folder: Path) -> None:
    """Let the key of the list in use be the only one that can be: only the writer may.

    A list and its key come into use in one step, because the list names its key. What is left to do after
    that step, or after a cut behind it, is done here. A list of an older release names none, and has the one
    that there was.
    """
    build = build_in_use(folder)
    with suppress(FileNotFoundError, ValueError):
        if build is not None:
            settle_key(folder, bytes.fromhex((build / KEY_MARK).read_text("ascii")))


def next_build(folder: Path) -> Path:
    """A name that no build here ever had."""
    numbers = [int(found[1]) for path in folder.iterdir() if (found := BUILD_ANYWHERE.fullmatch(path.name))]
    return folder / f"build-{max(numbers, default=0) + 1}"


def remove_leftovers(folder: Path) -> None:
    """Remove builds that are neither in use nor the one before; only the writer may.

    A gate that has not noticed the swap yet still reads the one before. Even without it such a gate would
    read on: its map keeps a removed file alive.
    """
    current = build_in_use(folder)
    last = number(current) if current else 0
    builds = sorted((path for path in folder.iterdir() if BUILD.fullmatch(path.name)), key=number)
    earlier = [build for build in builds if number(build) < last]
    for build in builds:
        if build != current and build not in earlier[-1:]:
            forget_lock(build)
            shutil.rmtree(build)


def number(build: Path) -> int:
    """The number in a build's name."""
    return int(build.name.removeprefix("build-"))
