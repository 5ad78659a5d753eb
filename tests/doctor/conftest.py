from pathlib import Path

import pytest

from tests.doctor.trees import Tree, pi


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A Pi 4."""
    return pi(tmp_path / "machine")
