"""`gatepost rekey`: makes all digests of a ledger with another venue key, because a gate was lost.

The ledger knows the codes, so no vendor is asked. The feed gets another name and keeps its numbers: each gate
fetches the whole list once, as soon as it has the key, and all that it knows of tickets stays, for that goes
by their ids. Bridges may be running: they give no page out while digests are made, and take the new key from
their folder.
"""

import argparse
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import bindparam, select, update

from firmware.bridge import schema
from firmware.bridge.database import Database, last_number
from firmware.bridge.feed import TAKE_ROWS, FeedKeyChanged
from firmware.bridge.settings import load
from firmware.bridge.states import FEED, KEY, REKEYING, set_state, states
from firmware.hold import hold
from firmware.venue_key import (
    KEY_BYTES,
    NEXT,
    digest_of,
    key_mark,
    keyed,
    name_of,
    put_next_key,
    read_key,
    settle_key,
)

OTHER = "another gatepost rekey works on this folder"


def rekey(database: Database, venue: str, key: bytes) -> int:
    """Make all digests with this venue key; how many were made.

    Every feed of the old key refuses from here on, until it has the new one. What breaks off is done by
    calling it again, with the same key or another. Where all have this key, nothing is done. Raises
    `FeedKeyChanged` where somebody does the same with another key at this moment, `ForeignLedger`,
    `LedgerLost`.
    """
    database.belong_to(venue)
    mark = key_mark(key).hex()
    with database.transaction() as connection:
        last_number(connection)
        said = states(connection)
        if said.get(KEY) == mark:
            return 0
        set_state(connection, KEY, "")
        set_state(connection, REKEYING, mark)
    codes, last_id, made = keyed(key), "", 0
    while True:
        with database.transaction() as connection:
            last_number(connection)
            said = states(connection)
            if said[KEY] == mark:  # another process was as quick, with the same key
                return made
            if said[KEY] or said[REKEYING] != mark:
                raise FeedKeyChanged(
                    f"{database.name}: somebody makes its digests with yet another key at this moment: let "
                    "only one do so, and then call gatepost rekey there once more"
                )
            query = (
                select(schema.ticket.c.ticket_id, schema.ticket.c.code)
                .where(schema.ticket.c.ticket_id > last_id)
                .order_by(schema.ticket.c.ticket_id)
                .limit(TAKE_ROWS)
            )
            rows = connection.execute(query).all()
            if not rows:
                set_state(connection, FEED, secrets.token_hex(8))
                set_state(connection, KEY, mark)
                return made
            last_id, made = rows[-1].ticket_id, made + len(rows)
            connection.execute(
                update(schema.ticket)
                .where(schema.ticket.c.ticket_id == bindparam("of"))
                .values(digest=bindparam("made")),
                [{"of": row.ticket_id, "made": digest_of(codes, row.code)} for row in rows],
            )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `gatepost rekey`."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings (bridge.toml)")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="the bridge's data; the bridge may be running"
    )
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="the new key, such as bridge/key of a fleet's folder; without it one is made",
    )


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Give the bridge of this folder, its ledger and by that its gates another venue key. Returns 0.

    Broken off at any point it is carried on by calling it again. Raises what `rekey` raises, `KeyUnusable`,
    `Held`, `SettingsError`, `OSError`.
    """
    settings, data = load(arguments.config), arguments.data
    file = data / "ledger.db"
    if not settings.ledger and not file.exists():  # there is nothing to make anew
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
    if data.stat().st_uid != os.geteuid():  # else the bridge could read neither the key nor the ledger
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(data))
    with (
        hold(data, lock="rekey.lock", other=OTHER),
        Database(settings.ledger or f"sqlite:///{file}") as database,
    ):
        if arguments.key is not None:
            key = read_key(arguments.key)
        elif (data / NEXT).exists():  # one that was broken off
            key = read_key(data / NEXT)
        else:
            key = os.urandom(KEY_BYTES)
        put_next_key(data, key)  # on disk before any digest is made with it
        made = rekey(database, settings.venue, key)
        settle_key(data, key_mark(key))
    say(f"venue key {name_of(key)} is in {data / 'key'}; digests of {made:,} tickets were made with it")
    say("each gate goes on with the list it has until it has this key too, and then fetches the whole list")
    say(f"further bridges of this ledger need a copy of {data / 'key'} in their data folders, and no restart")
    return 0
