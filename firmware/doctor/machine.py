"""The machine as files below a root: /proc, /sys, /dev. Nothing in here opens a device."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TEXT_BYTES_MAX = 1 << 20  # of one file of /proc or /sys: a table of mounts or locks may have a thousand lines


@dataclass(frozen=True, slots=True)
class Machine:
    """Where its files are: `/`, or a folder that looks like it."""

    root: Path = Path("/")

    def at(self, path: str | Path) -> Path:
        """Where a full path of that machine is."""
        return self.root / str(path).lstrip("/")

    def named(self, path: Path) -> str:
        """What that machine calls a file: the other way round."""
        return "/" + str(path.relative_to(self.root))

    def text(self, path: str | Path) -> str:
        """What a file says, without the blanks and NULs at its ends; "" where it cannot be read."""
        return read(self.at(path))

    def glob(self, pattern: str) -> list[Path]:
        """Files below the root, in order. What cannot be looked into has none."""
        try:
            return sorted(self.root.glob(pattern))
        except OSError:
            return []

    def links(self, folder: str) -> Iterator[tuple[str, Path]]:
        """The names in a folder of links that udev keeps, and the device that each leads to."""
        for path in self.glob(f"{folder.strip('/')}/*"):
            yield self.named(path), path.resolve()


def read(path: Path) -> str:
    """What a small file says; "" where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(TEXT_BYTES_MAX).decode(errors="replace").strip("\0 \t\n")
    except OSError:
        return ""


def number(path: Path, base: int = 10) -> int | None:
    """The number that a small file holds."""
    try:
        return int(read(path), base)
    except ValueError:
        return None
