"""One process to a folder: who works there holds its lock file, until it ends in whatever way."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
            process = file.read().strip() or "unknown"
            raise Held(f"{folder}: {other} (process {process}): stop it, or choose another --data") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
