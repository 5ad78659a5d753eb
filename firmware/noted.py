"""The names of movements from elsewhere that a journal has taken over, so that none of them counts twice.

They outlive their rows, which retention drops: a whole list of tickets, after the venue key was changed for
instance, tells the movements of the ledger from its beginning, and a season ticket would be refused for an
entry of last month. What is older than the oldest name that is kept was taken over long ago, or is no news.
"""

from collections.abc import Callable
from typing import Any

NOTED_KEEP_MS = 400 * 86_400_000  # a season ticket's year, and a month: whoever asks for more has a new list
NOTED_MAX = 1_000_000  # 110 MB of a card: five weeks of nights with 15,000 visitors
NOTED_BYTES = 110  # measured: gate, row and digest, once more in the index by time
STEP_NAMES = 1000  # in one transaction, so that a scan never waits long behind it

SCHEMA = """
CREATE TABLE IF NOT EXISTS noted (gate TEXT NOT NULL, "row" INTEGER NOT NULL, digest BLOB NOT NULL,
    utc_ms INTEGER NOT NULL, PRIMARY KEY (gate, "row", digest)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS noted_utc_ms ON noted (utc_ms);
CREATE TABLE IF NOT EXISTS peer (gate TEXT PRIMARY KEY, "row" INTEGER NOT NULL, digest BLOB NOT NULL)
    WITHOUT ROWID;
"""

Execute = Callable[..., Any]  # that of the journal's connection, which `firmware.rows` alone has


def count(execute: Execute) -> int:
    """How many names there are."""
    return int(execute("SELECT count(*) FROM noted").fetchone()[0])


def forget(execute: Execute, keep_from_ms: int, most: int) -> bool:
    """Drop the oldest names that are before this time, or more than `most`; whether any went.

    Up to `STEP_NAMES`, and all of the last one's millisecond. What is told of that time or before is passed
    over from then on, so the time comes from the names and not from a clock, which may have been wrong.
    """
    over = min(count(execute) - most, STEP_NAMES)
    query = "SELECT max(utc_ms) FROM (SELECT utc_ms FROM noted WHERE utc_ms < ? ORDER BY utc_ms LIMIT ?)"
    bounds = ((1 << 63) - 1, over) if over > 0 else (keep_from_ms, STEP_NAMES)
    (last_ms,) = execute(query, bounds).fetchone()
    if last_ms is None:
        return False
    execute("DELETE FROM noted WHERE utc_ms <= ?", (last_ms,))
    execute("INSERT OR REPLACE INTO meta VALUES ('noted_from_ms', ?)", (last_ms + 1,))
    return True
