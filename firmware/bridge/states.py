"""Small numbers and words of a ledger, by name: the table `state`."""

import secrets
from typing import Final

from sqlalchemy import Connection, select, update

from firmware.bridge import schema
from firmware.bridge.database import Database, insert_new

FEED: Final = "feed"  # its name
KEY: Final = "feed key"  # the mark of the key that its digests were made with; empty while they are made anew
GROUPS: Final = "groups"  # the secret in the names of the bridges' groups at the broker
STAMP: Final = "stamp:"  # and an account: when its list was last complete; 0 while it never was
REKEYING: Final = "feed rekeying"  # and then the mark of the key that they are made with


def group_secret(database: Database) -> str:
    """What all bridges of this ledger know, and nobody else; made at the first start. Raises `LedgerLost`.

    None of the venue's key, which a lost gate has as well.
    """
    with database.transaction() as connection:
        made = {"name": GROUPS, "value": secrets.token_hex(8)}
        connection.execute(insert_new(connection, schema.state), made)  # nothing where there is one
        return states(connection)[GROUPS]


def states(connection: Connection) -> dict[str, str]:
    """All of the table: some words for each account."""
    return {row.name: row.value for row in connection.execute(select(schema.state))}


def set_state(connection: Connection, name: str, value: str) -> None:
    """Write one; the caller holds the lock of numbers."""
    connection.execute(insert_new(connection, schema.state), {"name": name, "value": value})
    connection.execute(update(schema.state).where(schema.state.c.name == name).values(value=value))
