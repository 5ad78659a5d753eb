"""A vendor's yes that came too late: who is let in with it later needs nobody, and who is not, a person.

The vendor counts that ticket as used. Whether somebody came in with it is known once it is good no more, and
the rows of all gates are here.
"""

from sqlalchemy import Connection, delete, exists, select

from firmware.bridge import schema
from firmware.bridge.database import insert_new
from firmware.bridge.ledger.reports import Reports
from firmware.bridge.ledger.unused import say_unused
from firmware.core.ticket import Verdict

CREDIT_MS_MAX = 7_200_000  # the longest `credit_min`
ROWS_MS = 900_000  # for the rows of a gate that let somebody in with it while its network was down


def remember(connection: Connection, admission: int, good_ms: int, now_utc_ms: int) -> None:
    """This ask let nobody in, and its late yes is good for so long."""
    due_ms = now_utc_ms + min(good_ms, CREDIT_MS_MAX) + ROWS_MS
    connection.execute(insert_new(connection, schema.credit), {"admission": admission, "due_ms": due_ms})


def report_unused(connection: Connection, reports: Reports, now_utc_ms: int) -> None:
    """Report each whose time is over, and whose ticket nobody was let in with since; look at none twice."""
    credit, asked, since = schema.credit.c, schema.admission.c, schema.admission.alias("since").c
    wrong_clock = credit.due_ms > now_utc_ms + CREDIT_MS_MAX + 2 * ROWS_MS  # those of bridges differ a little
    over = (credit.due_ms <= now_utc_ms) | wrong_clock
    used = exists().where(
        since.subject == asked.subject,
        since.direction == asked.direction,
        since.id > asked.id,
        since.state.in_(("open", "settled")) | (since.verdict == Verdict.ADMITTED_CREDIT.value),
    )
    query = (
        select(schema.work.c.id, schema.gate.c.name, asked.row, asked.subject)
        .select_from(schema.credit)
        .join(schema.admission, asked.id == credit.admission)
        .join(schema.work, schema.work.c.admission == asked.id)
        .join(schema.gate, schema.gate.c.id == asked.gate)
        .where(over, ~used)
        .order_by(asked.id)
    )
    for work, gate, row, subject in connection.execute(query).all():
        say_unused(reports, work, gate, row, subject)
    connection.execute(delete(schema.credit).where(over))
