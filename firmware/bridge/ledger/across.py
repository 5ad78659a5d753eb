"""What was admitted before a gap that is closed now, and settled after it.

Until a gap closes the ledger guesses: where one admission alone fits, that one is settled. Of two journals
under one name it may be the other journal's, which shows as soon as the rows between are there.
"""

from typing import Any

from sqlalchemy import Connection, Row, Select, delete, select, update

from firmware.bridge import schema
from firmware.bridge.ledger.chains import Chains
from firmware.core.movements import Act

SETTLING = {
    Act.PASSED: "settled",
    Act.SETTLED: "settled",
    Act.LAPSED: "dropped",
    Act.VOIDED: "dropped",
}

Settlement = Row[Any]  # `_SETTLEMENTS`
_MOVED, _OPEN, _GUESSED = schema.movement.c, schema.admission, schema.admission.alias("guessed")
_SETTLEMENTS: Select[Any] = (
    select(
        _MOVED.number, _MOVED.row, _MOVED.admission, _MOVED.act, _MOVED.subject, schema.row.c.branch,
        schema.work.c.admission.label("told"),
    )
    .join(schema.row, (schema.row.c.gate == _MOVED.gate) & (schema.row.c.row == _MOVED.row)
          & (schema.row.c.digest == _MOVED.digest))
    .outerjoin(schema.work, schema.work.c.id == _MOVED.number)
    .where(_MOVED.act.in_([act.value for act in SETTLING]))
    .order_by(_MOVED.number)
)  # fmt: skip


def settled_across(connection: Connection, chains: Chains, branch: int, row: int) -> list[Settlement]:
    """What is to be settled now that this branch has no gap after this row any more.

    Where a vendor was told of an admission by a wrong guess, that one is open again, and settled anew.
    """
    query = (
        _SETTLEMENTS.add_columns(
            _OPEN.c.id, _OPEN.c.branch.label("of"), _GUESSED.c.branch.label("guessed"), _GUESSED.c.state
        )
        .join(_OPEN, (_OPEN.c.gate == _MOVED.gate) & (_OPEN.c.row == _MOVED.admission))
        .outerjoin(_GUESSED, _GUESSED.c.id == schema.work.c.admission)
        .where(
            _MOVED.gate == chains.gate,
            _MOVED.admission <= row,
            _MOVED.row > row,
            schema.row.c.branch == branch,
            _OPEN.c.state == "open",
        )
    )
    found = []
    for each in connection.execute(query).all():
        if each.told is None:
            found.append(each)
        elif chains.is_before(each.of, each.admission, branch) and not chains.is_before(
            each.guessed, each.admission, branch
        ):
            _take_back(connection, each)
            there = _SETTLEMENTS.where(_MOVED.gate == chains.gate, _MOVED.admission == each.admission)
            found += [other for other in connection.execute(there) if other.told is None]
    return found


def _take_back(connection: Connection, wrong: Settlement) -> None:
    """The work is of the open admission; where it was tried already, it stays as the vendor answered it."""
    work, admission = schema.work.c, schema.admission.c
    untried = (work.id == wrong.number) & (work.attempts == 0) & (work.state != "claimed")
    if not connection.execute(delete(schema.work).where(untried)).rowcount:
        connection.execute(
            update(schema.work).where(work.id == wrong.number).values(admission=wrong.id, told=False)
        )
        connection.execute(update(schema.admission).where(admission.id == wrong.id).values(state=wrong.state))
    connection.execute(update(schema.admission).where(admission.id == wrong.told).values(state="open"))
