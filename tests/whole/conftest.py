"""Both databases for whole systems."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import PostgreSql, postgres

__all__ = ["ledger_url", "on_postgresql", "postgres"]


@pytest.fixture
def on_postgresql(postgres: PostgreSql, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty ledger, which is forgotten at the end."""
    yield postgres.url(tmp_path / "ledger.db")
    postgres.forget(tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest) -> str:
    """As `world_at_work` takes it."""
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("on_postgresql")
    return url
