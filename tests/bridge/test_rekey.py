"""The ledger's digests are made with another venue key, beside bridges at work, and broken off anywhere."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from firmware import wire
from firmware.bridge.database import Database
from firmware.bridge.feed import TAKE_ROWS, Feed, FeedKeyChanged
from firmware.bridge.rekey import rekey
from firmware.bridge.states import KEY as KEY_STATE
from firmware.bridge.states import REKEYING, set_state, states
from firmware.bridge.vendor import VendorTicket
from firmware.core.ticket import Direction
from firmware.venue_key import (
    digest_of,
    key_mark,
    keyed,
    keys_of,
    put_key,
    put_next_key,
    settle_key,
)
from tests import commands
from tests.bridge.feeds import ACCOUNT, KEY, FeedGate, OwnGate, read_delta, read_whole
from tests.bridge.ledgers import ledger_at
from tests.feeds import until

pytestmark = pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL

NEW, THIRD = b"n" * 32, b"t" * 32
TICKETS = TAKE_ROWS + 1  # two transactions


class Place:
    """A bridge's folder with settings, and the feed of a bridge that works there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.config = folder, folder / "data", folder / "bridge.toml"
        self.data.mkdir(mode=0o700)
        put_key(self.data, KEY)
        self.url = ledger_at(self.data / "ledger.db")
        self.config.write_text(
            f'[bridge]\nvenue = "arena"\nledger = "{self.url}"\n'
            '[[broker]]\nhost = "127.0.0.1"\ntls = false\n',
            "utf-8",
        )

    def feed(self, database: Database, data: Path | None = None) -> Feed:
        return Feed(database, "arena", KEY, keys=lambda: keys_of(data or self.data))

    def command(self, *more: str | Path) -> tuple[str | Path, ...]:
        return ("rekey", "--config", self.config, "--data", self.data, *more)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def database(place: Place) -> Iterator[Database]:
    with Database(place.url) as opened:
        yield opened


def many(count: int, first: int = 0) -> list[VendorTicket]:
    return [VendorTicket(str(number), f"code {number}") for number in range(first, first + count)]


def made_with(key: bytes, count: int) -> dict[str, bytes]:
    return {str(number): digest_of(keyed(key), f"code {number}") for number in range(count)}


def caught_up(feed: Feed) -> FeedGate:
    gate = FeedGate()
    gate.catch_up(feed)
    return gate


# --- for an operator ------------------------------------------------------------------------------------


def test_a_running_bridge_goes_on_with_the_new_key_and_gates_fetch_the_whole_list_once(
    place: Place, database: Database
) -> None:
    feed = place.feed(database)
    read_whole(feed, *many(TICKETS))
    OwnGate(database).moves("7", Direction.IN, 5)
    gate = caught_up(feed)
    name, head = feed.name, feed.head()

    done = commands.run(*place.command())
    assert (done.returncode, done.stderr) == (0, "")
    (key,) = keys_of(place.data)
    assert key != KEY
    assert (place.data / "key").stat().st_mode & 0o777 == 0o600
    assert f"venue key {key_mark(key).hex()[:8]} is in {place.data / 'key'}" in done.stdout
    assert f"{TICKETS:,} tickets" in done.stdout
    assert key.hex() not in done.stdout

    page = feed.page(gate.cursor, gate.feed)
    assert (page.after, page.key_mark) == (0, key_mark(key))
    assert page.feed != name
    assert feed.head() == head, "numbers go on"
    gate.catch_up(feed)
    assert gate.ids() == made_with(key, TICKETS)
    assert {move.subject for move in gate.moves} == {f"{ACCOUNT}:7"}, "who is inside stays known"
    assert read_delta(feed, *many(1, TICKETS)) == 1
    assert feed.head() == head + 1
    gate.catch_up(feed)
    assert gate.ids() == made_with(key, TICKETS + 1)
    assert place.feed(database).name == feed.name, "so does a bridge that starts now"


def test_the_key_of_a_fleet_is_taken_from_its_file(place: Place, database: Database) -> None:
    read_whole(place.feed(database), *many(3))
    fleet = place.folder / "fleet"
    fleet.mkdir()
    put_key(fleet, NEW)
    done = commands.run(*place.command("--key", fleet / "key"))
    assert (done.returncode, done.stderr) == (0, "")
    assert keys_of(place.data) == (NEW,)
    assert caught_up(Feed(database, "arena", NEW)).ids() == made_with(NEW, 3)
    again = commands.run(*place.command("--key", fleet / "key"))
    assert (again.returncode, "digests of 0 tickets" in again.stdout) == (0, True)


def test_a_key_that_others_can_read_or_that_is_none_is_refused(place: Place, database: Database) -> None:
    read_whole(place.feed(database), *many(3))
    file = place.folder / "new"
    for content, mode, why in (
        (NEW, 0o644, "chmod 600"),
        (NEW[:31], 0o600, "31 bytes instead of 32"),
    ):
        file.write_bytes(content)
        file.chmod(mode)
        done = commands.run(*place.command("--key", file))
        assert (done.returncode, why in done.stderr) == (2, True), done.stderr
    assert keys_of(place.data) == (KEY,)
    assert caught_up(place.feed(database)).ids() == made_with(KEY, 3)


def test_a_folder_without_a_ledger_is_refused_and_gets_none(tmp_path: Path) -> None:
    config = tmp_path / "bridge.toml"
    config.write_text('[bridge]\nvenue = "arena"\n[[broker]]\nhost = "127.0.0.1"\ntls = false\n', "utf-8")
    done = commands.run("rekey", "--config", config, "--data", tmp_path / "data")
    assert done.returncode == 2
    assert done.stderr.endswith("ledger.db: No such file or directory: check the path\n")
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_another_user_than_the_bridge_s_is_refused_for_it_could_not_read_the_key(
    place: Place, database: Database
) -> None:
    read_whole(place.feed(database), *many(3))
    os.chown(place.data, 12345, 12345)
    done = commands.run(*place.command())
    assert (done.returncode, "run as the user who owns it" in done.stderr) == (2, True)
    assert keys_of(place.data) == (KEY,)


# --- other bridges --------------------------------------------------------------------------------------


def test_another_bridge_says_that_it_needs_the_key_and_goes_on_when_it_has_it(
    place: Place, database: Database
) -> None:
    data = place.folder / "other"
    data.mkdir(mode=0o700)
    put_key(data, KEY)
    feed = place.feed(database, data)
    read_whole(feed, *many(3))
    commands.run(*place.command())
    for said in (
        lambda: feed.page(0, ""),
        lambda: feed.changes(0),
        feed.nothing_new,
        lambda: feed.announce(1),
        lambda: feed.take(feed.begin_run(ACCOUNT, True, 1), many(1)),
    ):
        with pytest.raises(FeedKeyChanged, match="after gatepost rekey a copy of `key` from the data folder"):
            said()
    shutil.copy2(place.data / "key", data / "key")
    (key,) = keys_of(data)
    assert caught_up(feed).ids() == made_with(key, 3)
    changes = feed.nothing_new()
    assert (changes.feed, changes.key_mark) == (feed.name, key_mark(key))


def test_a_page_that_was_begun_before_says_the_old_key(place: Place, database: Database) -> None:
    feed, other = place.feed(database), place.feed(database)
    read_whole(feed, *many(3))
    wrong: list[wire.CataloguePage] = []
    over = threading.Event()

    def give() -> None:
        while not over.is_set():
            try:
                page = feed.page(0, "")
            except FeedKeyChanged:
                continue
            digests = {item.digest for item in page.items if isinstance(item, wire.Listed)}
            keys = [key for key in (KEY, NEW, THIRD) if key_mark(key) == page.key_mark]
            if [digests] != [set(made_with(key, 3).values()) for key in keys]:
                wrong.append(page)

    thread = threading.Thread(target=give)
    thread.start()
    try:
        for key in (NEW, THIRD, NEW, KEY, NEW):
            put_next_key(place.data, key)
            rekey(database, "arena", key)
            settle_key(place.data, key_mark(key))
            assert other.page(0, "").key_mark == key_mark(key)
    finally:
        over.set()
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("all_of_it", [True, False])
def test_who_is_overtaken_by_another_key_notices_at_the_next_digests(
    place: Place, database: Database, all_of_it: bool
) -> None:
    read_whole(place.feed(database), *many(TICKETS))
    done: list[object] = []

    def other(*_: object) -> None:
        done.append(_)
        if len(done) == 3:  # after its first digests are committed
            with Database(place.url) as third:
                if all_of_it:
                    rekey(third, "arena", THIRD)
                else:
                    with third.transaction() as connection:
                        set_state(connection, REKEYING, key_mark(THIRD).hex())

    event.listen(database._engine, "checkin", other)
    try:
        with pytest.raises(FeedKeyChanged, match="with yet another key at this moment"):
            rekey(database, "arena", NEW)
    finally:
        event.remove(database._engine, "checkin", other)
    rekey(database, "arena", THIRD)
    assert caught_up(Feed(database, "arena", THIRD)).ids() == made_with(THIRD, TICKETS)


# --- broken off -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [2, 3, 4, 6])
def test_broken_off_at_any_step_nothing_is_given_out_until_it_is_carried_on(
    place: Place, database: Database, step: int
) -> None:
    feed = place.feed(database)
    read_whole(feed, *many(TICKETS))
    writes: list[str] = []

    def cut(_: object, __: object, statement: str, *more: Any) -> None:
        if statement.startswith("UPDATE"):
            writes.append(statement)
            if len(writes) == step:
                raise KeyboardInterrupt

    put_next_key(place.data, NEW)
    event.listen(database._engine, "before_cursor_execute", cut)
    try:
        with pytest.raises(KeyboardInterrupt):
            rekey(database, "arena", NEW)
    finally:
        event.remove(database._engine, "before_cursor_execute", cut)
    if step > 2:  # the first two are one transaction: what it meant to do
        for said in (lambda: feed.page(0, ""), feed.nothing_new, lambda: feed.announce(1)):
            with pytest.raises(
                FeedKeyChanged, match="at this moment: wait, or call gatepost rekey once more"
            ):
                said()
        with pytest.raises(FeedKeyChanged):
            place.feed(database)
    else:
        assert caught_up(feed).ids() == made_with(KEY, TICKETS)
    rekey(database, "arena", NEW)
    assert caught_up(feed).ids() == made_with(NEW, TICKETS)


@pytest.mark.parametrize("begun", [True, False])
def test_killed_it_is_carried_on_with_its_key_by_calling_it_again(
    place: Place, database: Database, begun: bool
) -> None:
    feed = place.feed(database)
    read_whole(feed, *many(TICKETS))
    with commands.Running(*place.command()) as running:
        next_key = place.data / "key.next"  # for a moment only: it may be over before we look
        until(lambda: not is_mark_of(database, KEY) or (not begun and next_key.exists()))
        running.signal(signal.SIGKILL)
        running.end()
    left = keys_of(place.data)
    done = commands.run(*place.command())
    assert (done.returncode, done.stderr) == (0, "")
    (key,) = keys_of(place.data)
    assert key == left[-1] or len(left) == 1, "one that was begun with goes on to be the one"
    assert key != KEY
    assert caught_up(feed).ids() == made_with(key, TICKETS)


def is_mark_of(database: Database, key: bytes) -> bool:
    with database.look() as connection:
        return states(connection)[KEY_STATE] == key_mark(key).hex()


def test_a_bridge_that_starts_between_the_last_digest_and_the_exchange_of_files_has_the_key(
    place: Place, database: Database
) -> None:
    read_whole(place.feed(database), *many(3))
    put_next_key(place.data, NEW)
    rekey(database, "arena", NEW)
    assert caught_up(place.feed(database)).ids() == made_with(NEW, 3)
    done = commands.run(*place.command())
    assert (done.returncode, keys_of(place.data)) == (0, (NEW,))


def test_a_ledger_that_an_older_release_left_half_made_is_made_anew(place: Place, database: Database) -> None:
    read_whole(place.feed(database), *many(3))
    with database.transaction() as connection:
        set_state(connection, KEY_STATE, "")
    with pytest.raises(FeedKeyChanged, match="gatepost rekey"):
        place.feed(database)
    assert commands.run(*place.command()).returncode == 0
    (key,) = keys_of(place.data)
    assert caught_up(place.feed(database)).ids() == made_with(key, 3)
