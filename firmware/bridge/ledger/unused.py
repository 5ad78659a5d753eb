"""Asks that the vendor granted, or may have, and that let nobody in: its books have more than ours."""

from typing import Any

from firmware.bridge.ledger.reports import Reports
from firmware.bridge.ledger.telling import TEXT_CHARACTERS_MAX, UNCERTAIN
from firmware.row import name_of

UNUSED = "the vendor said yes and counts it, and the lane did not open, or nobody walked through"
MEND = (
    "If it did not come again, as `admitted_credit` in a journal, undo it at the vendor, or let the person "
    "through by hand"
)


def unused(reports: Reports, work: int, gate: str, row: int, subject: str, now_utc_ms: int) -> dict[str, Any]:
    """Columns of the work: done, for a person to look at, who is told. No vendor's entry is undone by us."""
    say_unused(reports, work, gate, row, subject)
    return {
        "state": "done", "result": UNCERTAIN, "verdict": "", "text": UNUSED[:TEXT_CHARACTERS_MAX],
        "finished_ms": now_utc_ms, "told": True,
    }  # fmt: skip


def say_unused(reports: Reports, work: int, gate: str, row: int, subject: str) -> None:
    """Report it, once."""
    _, _, ticket_id = subject.partition(":")
    named = f"gate {gate}, row {name_of(row)}, ticket {ticket_id or 'without an id'}"
    reports.say(UNCERTAIN, str(work), f"{named}: {UNUSED}. {MEND}")
