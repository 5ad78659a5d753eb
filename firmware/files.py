"""What it takes for a file to be there after a power cut."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """A new file is there after a power cut only when its folder was flushed too (fsync(2))."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
