"""How many tickets a vendor was told of as entered, for comparing with what it counts itself."""

from sqlalchemy import Connection, distinct, func, select

from firmware.bridge import schema
from firmware.core.ticket import Direction


def entered(connection: Connection, account: str) -> tuple[int, int]:
    """Tickets whose entry the vendor has taken, and entries that it is still to be told of."""
    work, admission = schema.work.c, schema.admission.c
    entries = schema.work.join(schema.admission, admission.id == work.admission)
    of = (work.account == account, admission.direction == Direction.IN.value)
    taken = (
        select(func.count(distinct(work.subject))).select_from(entries).where(*of, work.result == "accepted")
    )
    waiting = select(func.count()).select_from(entries).where(*of, work.state != "done")
    return int(connection.execute(taken).scalar_one()), int(connection.execute(waiting).scalar_one())
