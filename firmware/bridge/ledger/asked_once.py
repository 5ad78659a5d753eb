"""Which bridge sends an ask that came to several: the first that writes it down.

Only where bridges share a ledger in PostgreSQL. A bridge with a file of its own knows what it has sent while
it lives, and needs no more: a gate sends an ask once, and what the broker had not seen acknowledged ends
with the connection, whose session is never kept. To write each ask to the file would cost a person a flush.
"""

from collections.abc import Callable
from functools import partial

from sqlalchemy import delete

from firmware import wire
from firmware.bridge import schema
from firmware.bridge.database import Database, insert_new
from firmware.bridge.in_time import InTime

KEPT_MS = 3_600_000  # a gate sends an ask again for seconds
FORGET_EVERY_MS = 600_000  # a look for older ones


class AskedOnce:
    """The asks of all bridges of a ledger. Any thread may call; raises `LedgerLost`."""

    def __init__(self, database: Database, now_utc_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_utc_ms = now_utc_ms
        self._forgotten_ms = now_utc_ms()
        self._in_time = InTime()

    def first(self, gate: str, ask: wire.Ask) -> bool:
        """Whether no other bridge has sent this ask; from now on we have. Alone, nobody needs to be asked."""
        if not self._database.shared:
            return True
        return self._in_time.run(partial(self._first, gate, ask))

    def _first(self, gate: str, ask: wire.Ask) -> bool:
        now_ms = self._now_utc_ms()
        line = {"gate": gate, "scan": ask.scan, "digest": ask.digest, "at_ms": now_ms}
        with self._database.brief() as connection:
            new = insert_new(connection, schema.asked).returning(schema.asked.c.scan)
            is_first = connection.execute(new, line).first() is not None
            if now_ms - self._forgotten_ms >= FORGET_EVERY_MS:
                self._forgotten_ms = now_ms
                connection.execute(delete(schema.asked).where(schema.asked.c.at_ms < now_ms - KEPT_MS))
        return is_first
