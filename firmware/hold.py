"""One process to a folder: who works there holds its lock file, until it ends in whatever way."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROCESS_CHARACTERS = 20  # of a lock file, whatever is in it; a process id has seven at most


class Held(Exception):
    """Another process works on this folder; the message names it and the mend."""


@contextmanager
def hold(
    folder: Path, *, lock: str = "lock", other: str = "another gate works on this directory"
) -> Iterator[None]:
    """Keep every other one off this folder, which is made where there is none.

    `lock` is the file in it that is locked, and `other` what is said about who has it. Raises `Held` with the
    other's process id, and `OSError`.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / lock).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            process = file.read(PROCESS_CHARACTERS).strip() or "unknown"
            raise Held(f"{folder}: {other} (process {process}): stop it, or choose another --data") from None
        with suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), f"{os.getpid()}\n".encode())
        yield
