"""What a person should know of, said once however often it is found again."""

from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, select, update

from firmware.bridge import schema
from firmware.bridge.database import insert_new

REPORTS_OF_GATE_MAX = 200  # of one kind; who has read so many knows, and a gate could make them up for ever
REPORT_CHARACTERS_MAX = 1000  # a screen of text; what a gate sent may be in it


class Report(NamedTuple):
    """A report as it is kept. `kind` and `key` together tell it from all others."""

    id: int
    kind: str
    key: str
    text: str
    at_utc_ms: int


class Reports:
    """Writes reports in one transaction; `new` are the texts of those that were not there before."""

    def __init__(self, connection: Connection, now_utc_ms: int) -> None:
        self._connection = connection
        self._now_utc_ms = now_utc_ms
        self.new: list[str] = []

    def say(self, kind: str, key: str, text: str, gate: str = "") -> None:
        """Report this, if it is not reported yet. `gate` brought it about, and may do so only so often."""
        if gate and self._count(gate, kind) > REPORTS_OF_GATE_MAX:
            return
        text = whole_text(text)[:REPORT_CHARACTERS_MAX]
        line = {"kind": kind, "key": whole_text(key), "text": text, "at_ms": self._now_utc_ms}
        there = insert_new(self._connection, schema.report).returning(schema.report.c.id)
        if self._connection.execute(there, line).first() is None:
            return
        self.new.append(text)
        if gate and self._counted(gate, kind) == REPORTS_OF_GATE_MAX:
            self.say(
                "more",
                f"{gate}:{kind}",
                f"gate {gate}: there are {REPORTS_OF_GATE_MAX} reports of kind {kind!r} of it; more of them "
                "are not kept. Mend what they tell of, and give the gate a new name",
            )
            self._counted(gate, kind)

    def _count(self, gate: str, kind: str) -> int:
        columns = schema.report_count.c
        query = select(columns.count).where(columns.gate == gate, columns.kind == kind)
        return int(self._connection.execute(query).scalar_one_or_none() or 0)

    def _counted(self, gate: str, kind: str) -> int:
        """One more; how many there are with it."""
        columns = schema.report_count.c
        line = {"gate": gate, "kind": kind, "count": 0}
        self._connection.execute(insert_new(self._connection, schema.report_count), line)
        of = (columns.gate == gate, columns.kind == kind)
        self._connection.execute(update(schema.report_count).where(*of).values(count=columns.count + 1))
        return self._count(gate, kind)


def read_reports(connection: Connection, after_id: int, limit: int) -> list[Report]:
    """The reports after that one, oldest first."""
    columns = schema.report.c
    query = select(columns.id, columns.kind, columns.key, columns.text, columns.at_ms)
    query = query.where(columns.id > after_id).order_by(columns.id).limit(limit)
    return [Report(*line) for line in connection.execute(query)]


def whole_text(text: str) -> str:
    """PostgreSQL has no zero character in a text, and nobody half of one; a vendor's JSON may have both."""
    return text.replace("\0", "").encode(errors="replace").decode()


def time_of(utc_ms: int) -> str:
    """A time for people to read."""
    try:
        return f"{datetime.fromtimestamp(utc_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):  # a clock that went mad; the number says so
        return f"{utc_ms} ms"
