"""The row of an ask: what an answer's row leaves out, because it stands there already."""

from typing import NamedTuple

from sqlalchemy import Connection, select

from firmware.bridge import schema
from firmware.bridge.ledger.chains import Chains
from firmware.bridge.ledger.facts import Read, read_row, subject_of
from firmware.core.effects import Kind
from firmware.row import Unreadable

# What the gate that begins writes of an ask whose answer the last process did not live to write.
UNSETTLED = "unsettled"


class AskRow(NamedTuple):
    """The row where it can be read, where it stands, and the code that lies beside it."""

    branch: int = 0
    row: int = 0
    read: Read | None = None
    code: str = ""

    @property
    def subject(self) -> str:
        """Looked up in its story, which few need."""
        return subject_of(self.read) if self.read else ""


NO_ASK = AskRow()


def ask_of(connection: Connection, chains: Chains, row: Read, subject: str, branch: int) -> AskRow:
    """The ask that a row of this branch is about; none for rows that are about no ask.

    Another card in the gate begins its numbers anew: its asks are not those of the card before it.
    """
    if row.kind not in (Kind.ANSWER.value, UNSETTLED):
        return NO_ASK
    columns = schema.row.c
    query = select(columns.branch, columns.row, columns.body, columns.code).where(
        columns.gate == chains.gate, columns.row == row.scan, columns.branch.is_not(None)
    )
    found = []
    for at, number, body, code in connection.execute(query):
        try:
            asked = read_row(body)
        except Unreadable:
            continue
        if asked.kind == Kind.ASK.value:
            found.append(AskRow(at, number, asked, code or ""))
    return next(iter(chains.meant(found, subject, branch)), NO_ASK)
