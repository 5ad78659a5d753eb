"""Who of the bridges on one ledger is alive, and what becomes of what the others held."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, text

from firmware.bridge.database import Database, LedgerLost
from firmware.bridge.feed import Feed
from firmware.bridge.peers import ALONE_S, BACK_S, LOOK_S, Peers, life_of, name_of
from tests.bridge.feeds import KEY
from tests.bridge.ledgers import ledger_at
from tests.bridge.model_gate import Books, ModelGate
from tests.brokers import until
from tests.core.samples import NOON_MS

LEASE_MS = 180_000
# Both wait until those connections are over: one that is only told to end holds its locks for a moment more.
END_ALL = (
    "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
END_SIGNS = (
    "SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
BRIDGE = """
import sys
from firmware.bridge.database import Database
with Database(sys.argv[1]) as database, database.sign_of_life(int(sys.argv[2])) as sign:
    sign.alive()
    print("alive", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def kept(tmp_path: Path, on_postgresql: None) -> Iterator[Books]:
    found = Books(tmp_path / "ledger.db")
    with found.database:
        yield found


class Freed:
    """Counts how often something was freed."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@contextmanager
def peers_of(
    kept: Books, life: int, place: str, clock_s: Callable[[], float] | None = None
) -> Iterator[tuple[Peers, Freed]]:
    """Without a clock so much time goes by between two looks that all others are back."""
    name, freed, clock_s = name_of(life, place), Freed(), clock_s or count(0.0, BACK_S).__next__
    with kept.database.sign_of_life(life) as sign:
        feed = Feed(kept.database, "hall", KEY, name)
        yield Peers(name, sign, kept.ledger, feed, freed, clock_s), freed


@contextmanager
def process(url: str, life: int) -> Iterator["subprocess.Popen[str]"]:
    """Another bridge, as far as it shows that it is alive."""
    command = [sys.executable, "-c", BRIDGE, url, str(life)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == "alive\n"
            yield started
        finally:
            started.kill()


def claimed_by(kept: Books, name: str, ticket: str) -> None:
    gate = ModelGate(ticket)
    gate.person(f"acme:{ticket}")
    kept.store(gate)
    assert len(kept.ledger.claim("acme", name, NOON_MS, 1, LEASE_MS)) == 1


def waits(kept: Books) -> bool:
    """Whether nothing can be taken; what can be is taken."""
    return not kept.ledger.claim("acme", "me", NOON_MS, 10, LEASE_MS)


def test_what_a_killed_bridge_held_is_free_when_it_was_missed_twice(kept: Books, tmp_path: Path) -> None:
    url = ledger_at(tmp_path / "ledger.db")
    with process(url, 7) as other, peers_of(kept, 8, "here") as (peers, freed):
        claimed_by(kept, name_of(7, "there"), "t1")
        assert [peers.turn() for _ in range(3)] == [LOOK_S] * 3
        os.kill(other.pid, signal.SIGSTOP)
        assert [peers.turn() for _ in range(3)] == [LOOK_S] * 3
        assert waits(kept), "one that merely hangs may still tell the vendor"
        other.kill()
        other.wait()
        until(lambda: peers.turn() and freed.times)
        assert kept.ledger.holders() == set()
        assert not waits(kept)


def test_a_bridge_that_comes_back_between_two_looks_keeps_what_it_held(kept: Books) -> None:
    claimed_by(kept, name_of(7, "there"), "t1")
    with peers_of(kept, 8, "here") as (peers, freed):
        peers.turn()
        with kept.database.sign_of_life(7) as sign:
            sign.alive()
            peers.turn()
            peers.turn()
            assert not freed.times
            assert waits(kept)


def test_a_start_frees_what_the_one_before_it_in_the_same_place_held(kept: Books) -> None:
    claimed_by(kept, name_of(7, "here"), "t1")
    claimed_by(kept, name_of(9, "there"), "t2")
    Feed(kept.database, "hall", KEY, name_of(7, "here")).begin_run("acme", True, NOON_MS)
    with peers_of(kept, 8, "here") as (_, freed):
        assert kept.ledger.holders() == {name_of(9, "there")}
        Feed(kept.database, "hall", KEY, "another").begin_run("acme", True, NOON_MS)
        assert not freed.times, "nobody waits for it yet"


def test_one_of_the_same_name_and_folder_on_another_machine_keeps_what_it_holds_while_it_lives(
    kept: Books,
) -> None:
    claimed_by(kept, name_of(7, "here"), "t1")
    with kept.database.sign_of_life(7) as sign:
        sign.alive()
        with peers_of(kept, 8, "here") as (peers, freed):
            peers.turn()
            peers.turn()
            assert kept.ledger.holders() == {name_of(7, "here")}
            assert not freed.times


def test_a_database_that_ends_all_connections_is_shown_again_that_this_bridge_is_alive(
    kept: Books, tmp_path: Path
) -> None:
    engine = create_engine(ledger_at(tmp_path / "ledger.db"), poolclass=NullPool)
    with kept.database.sign_of_life(7) as sign, kept.database.sign_of_life(8) as other:
        assert sign.alive() == frozenset({7})
        assert other.alive() == sign.alive() == frozenset({7, 8})
        with engine.connect() as connection:
            connection.execute(text(END_ALL))
        with pytest.raises(LedgerLost, match="see that the database runs"):
            sign.alive()
        assert sign.alive() == frozenset({7})
        other.close()
        other.close()
        assert sign.alive() == frozenset({7})


def end_signs(path: Path) -> None:
    """As a database that restarts does it."""
    engine = create_engine(ledger_at(path), poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(END_SIGNS))


@pytest.mark.parametrize("restarts", [0, 1, 2])
def test_after_a_start_and_after_each_restart_of_the_database_all_have_time_to_come_back(
    kept: Books, tmp_path: Path, restarts: int
) -> None:
    claimed_by(kept, name_of(7, "there"), "t1")
    now = [100.0]
    with peers_of(kept, 8, "here", lambda: now[0]) as (peers, freed):
        peers.turn()
        for _ in range(restarts):
            now[0] += BACK_S - LOOK_S
            end_signs(tmp_path / "ledger.db")
            with pytest.raises(LedgerLost):
                peers.turn()
            peers.turn()
        back_s = now[0]
        while now[0] < back_s + BACK_S:
            now[0] += LOOK_S
            peers.turn()
            assert not freed.times
        assert waits(kept)
        peers.turn()
        assert freed.times
        assert not waits(kept)


def test_on_sqlite_nobody_can_tell_and_leases_run_out(tmp_path: Path) -> None:
    with Database(f"sqlite:///{tmp_path / 'ledger.db'}") as database, ExitStack() as stack:
        assert stack.enter_context(database.sign_of_life(1)).alive() is None
    found = Books(tmp_path / "ledger.db")
    with found.database, peers_of(found, 8, "here") as (peers, freed):
        claimed_by(found, name_of(7, "there"), "t1")
        assert [peers.turn(), peers.turn()] == [ALONE_S] * 2
        assert waits(found)
        assert not freed.times
        assert len(found.ledger.claim("acme", "me", NOON_MS + LEASE_MS, 10, LEASE_MS)) == 1


def test_a_name_tells_the_life_and_hides_the_place() -> None:
    name = name_of(0x7FFF_FFFE, "host:/data")
    assert life_of(name) == 0x7FFF_FFFE
    assert "data" not in name
    assert life_of("of an older release@x") == life_of("") == -1
