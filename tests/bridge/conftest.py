"""Both databases for what works on a ledger."""

from collections.abc import Iterator

import pytest

from tests.bridge.ledgers import Ledgers
from tests.postgres import PostgreSql, postgres

__all__ = ["any_ledger", "on_postgresql", "postgres"]


@pytest.fixture(params=["sqlite", "postgresql"])
def any_ledger(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "sqlite":
        yield
    else:
        yield from on(request.getfixturevalue("postgres"))


@pytest.fixture
def on_postgresql(postgres: PostgreSql) -> Iterator[None]:
    yield from on(postgres)


def on(started: PostgreSql) -> Iterator[None]:
    """Ledgers are on this server, and are forgotten at the end."""
    Ledgers.server = started
    try:
        yield
    finally:
        Ledgers.server = None
        started.forget()
