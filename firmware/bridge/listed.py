"""What the vendors' lists say of one ticket, for asks: as the ledger has it, whichever bridge has read it."""

from collections.abc import Callable, Mapping
from functools import partial

from sqlalchemy import select

from firmware.bridge import schema
from firmware.bridge.database import Database
from firmware.bridge.in_time import InTime
from firmware.bridge.states import STAMP
from firmware.bridge.tickets import rows_where
from firmware.bridge.vendor import Question, VendorTicket
from firmware.core.ticket import Status

# A list that was not read for so long refuses nobody: tickets are issued and moved meanwhile.
FRESH_POLLS = 5
FRESH_MS_MIN = 300_000


class ListedTickets:
    """The lists of all accounts, each of which is read every so many seconds. Any thread may call."""

    def __init__(self, database: Database, now_utc_ms: Callable[[], int], poll_s: Mapping[str, int]) -> None:
        self._database = database
        self._now_utc_ms = now_utc_ms
        self._in_time = InTime()
        self._fresh_ms = {name: max(FRESH_POLLS * each * 1000, FRESH_MS_MIN) for name, each in poll_s.items()}

    def find(self, account: str, question: Question) -> VendorTicket | None:
        """The ticket that is asked about: by its id, or without one by its code.

        `None` where the list has none, or is not fresh. Raises `LedgerLost`, `NeverTaken`.
        """
        return self._in_time.run(partial(self._find, account, question))

    def _find(self, account: str, question: Question) -> VendorTicket | None:
        table, state = schema.ticket.c, schema.state.c
        if question.ticket_id:
            which = table.ticket_id == f"{account}:{question.ticket_id}"
        else:
            which = table.code == question.code
        with self._database.look() as connection:
            stamp = connection.scalar(select(state.value).where(state.name == STAMP + account))
            age_ms = self._now_utc_ms() - int(stamp or 0)
            if abs(age_ms) > self._fresh_ms[account]:
                return None
            rows = rows_where(connection, which, table.account == account, table.gone.is_(False))
        for row in rows.values():  # of a code that gates have there is one
            return VendorTicket(
                row.ticket_id.removeprefix(f"{account}:"),
                row.code,
                Status(row.status),
                row.event,
                row.session,
                row.type,
                row.sector,
                row.gate,
                row.valid_from_ms,
                row.valid_until_ms,
                row.inside,
                row.moved_utc_ms,
            )
        return None
