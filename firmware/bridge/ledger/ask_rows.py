"""The row of an ask: what an answer's row leaves out, because it stands there already."""

from typing import NamedTuple

from sqlalchemy import Connection, select

from firmware.bridge import schema
from firmware.bridge.ledger.facts import Read, read_row
from firmware.core.effects import Kind
from firmware.row import Unreadable

# What the gate that begins writes of an ask whose answer the last process did not live to write.
UNSETTLED = "unsettled"


class AskRow(NamedTuple):
    """The row where it can be read, and the code that lies beside it."""

    row: Read | None = None
    code: str = ""


NO_ASK = AskRow()


def ask_of(connection: Connection, gate: int, row: Read) -> AskRow:
    """The ask that a row is about; none for rows that are about no ask."""
    if row.kind not in (Kind.ANSWER.value, UNSETTLED):
        return NO_ASK
    columns = schema.row.c
    query = select(columns.body, columns.code).where(columns.gate == gate, columns.row == row.scan)
    for body, code in connection.execute(query):
        try:
            asked = read_row(body)
        except Unreadable:
            continue
        if asked.kind == Kind.ASK.value:
            return AskRow(asked, code or "")
    return NO_ASK
