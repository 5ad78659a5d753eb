"""How far the journal had come, as a file beside it knows."""

import os
from contextlib import suppress
from pathlib import Path

from firmware.files import sync_folder
from firmware.rows import Unwritable


class Remembered:
    """A file beside the journal that knows how far the journal had come: its epoch and its last row.

    The epoch is flushed before its first row is written, so a number is never used twice unseen. The row is
    written after each commit and not flushed (that would cost a second flush a scan): after a crash it is
    exact, after a power cut up to half a minute old, and never ahead of what was safe. A journal that ends
    before it has lost rows, or is an older copy that was put back.
    """

    def __init__(self, path: Path) -> None:
        """Read the file. Where there is none nothing is known; where it makes no sense `fault` says so."""
        self._path = path
        self._file: int | None = None
        self.epoch, self.row, self.fault = 0, 0, ""
        try:
            if found := path.read_bytes().split():
                self.epoch, self.row = map(int, found)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            self.fault = f"{path}: it cannot be read, so an older journal would not be noticed: {error}"

    def begin(self, epoch: int, row: int) -> None:
        """Remember the epoch, safe on disk before this returns. Raises `Unwritable`.

        One line, written over in place: whole or not at all within its sector, and no room is needed.
        """
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            os.pwrite(self._file, _line(epoch, row), 0)
            os.ftruncate(self._file, len(_line(epoch, row)))
            os.fsync(self._file)
            sync_folder(self._path.parent)
        except OSError as error:
            raise Unwritable(f"{self._path}: {error}") from error
        self.epoch, self.row = epoch, row

    def reach(self, row: int) -> None:
        """The journal holds this row now. One small write in place, within one sector, no flush."""
        self.row = row
        if self._file is not None:
            with suppress(OSError):  # nothing depends on it but the next start's suspicion
                os.pwrite(self._file, _line(self.epoch, row), 0)

    def close(self) -> None:
        """Close."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _line(epoch: int, row: int) -> bytes:
    return b"%10d %19d\n" % (epoch, row)
