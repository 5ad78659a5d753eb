"""Both databases for what works on a ledger, and patience with a vendor's sandbox."""

from collections.abc import Iterator
from functools import partial

import pytest

from firmware.bridge import bam_requests, listed, vivenu_requests
from firmware.bridge.in_time import InTime
from firmware.bridge.ledger import asked_once
from tests.bridge.ledgers import Ledgers
from tests.brokers import LIMIT_S
from tests.postgres import PostgreSql, postgres

__all__ = ["any_ledger", "on_postgresql", "postgres", "unhurried"]


@pytest.fixture(params=["sqlite", "postgresql"])
def any_ledger(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "sqlite":
        yield
    else:
        yield from on(request.getfixturevalue("postgres"))


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody stands at a lane: a ledger that takes long to answer is waited for."""
    for module in (asked_once, listed):
        monkeypatch.setattr(module, "InTime", partial(InTime, LIMIT_S))


@pytest.fixture
def on_postgresql(postgres: PostgreSql) -> Iterator[None]:
    yield from on(postgres)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox that stands still for some seconds is no vendor that is silent: the machine holds it up."""
    monkeypatch.setattr(bam_requests, "SHORT_TIMEOUT_S", LIMIT_S)
    monkeypatch.setattr(vivenu_requests, "ONLINE_TIMEOUT_S_MAX", LIMIT_S)


def on(started: PostgreSql) -> Iterator[None]:
    """Ledgers are on this server, and are forgotten at the end."""
    Ledgers.server = started
    try:
        yield
    finally:
        Ledgers.server = None
        started.forget()
