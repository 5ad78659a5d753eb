"""What the tests of the demo share: a list, settings, and a folder that is gone after each test."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

LIST = """\
code,event,session,status,valid_from
A1,concert,evening,,
A2,concert,evening,,
A3,concert,evening,,
USED,concert,evening,used,
CANCELLED,concert,evening,cancelled,
MATINEE,concert,matinee,,
EARLY,concert,evening,,2100-01-01
"""

# Four lanes, one of them without a sensor, at an event that lets people come back.
LANES = """\
[[lane]]
name = "north"
[[lane]]
name = "exit"
direction = "out"
[[lane]]
name = "both"
direction = "both"
[[lane]]
name = "blind"
sensor = false
unlock_ms = 1000
[policy]
reentry = "after_exit"
exits = "only_if_inside"
"""


@pytest.fixture(autouse=True)
def tmp_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Removed at once: a journal reserves 34 MB. Demos make their own folders in it, and some are killed."""
    with TemporaryDirectory(prefix="gatepost-test-") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


@pytest.fixture
def tickets(tmp_path: Path) -> Path:
    path = tmp_path / "list.csv"
    path.write_text(LIST)
    return path


@pytest.fixture
def lanes(tmp_path: Path) -> Path:
    path = tmp_path / "gate.toml"
    path.write_text(LANES)
    return path
