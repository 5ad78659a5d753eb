"""Scans whose true time is not known yet: a gate that started without a clock learns it later, or never."""

from sqlalchemy import ColumnElement, Connection, exists, select, update

from firmware.bridge import schema
from firmware.bridge.ledger.reports import Reports

UNTIMED_MS_MAX = 900_000  # a gate with a network has the time within minutes; the vendor waits no longer


def release_untimed(connection: Connection, reports: Reports, now_utc_ms: int) -> int:
    """Let go what waited too long for a clock; returns how many."""
    work, admission, epoch, gate = schema.work.c, schema.admission.c, schema.epoch.c, schema.gate.c
    since = (work.next_ms <= now_utc_ms) | (work.next_ms > now_utc_ms + UNTIMED_MS_MAX)  # the clock was wrong
    late = (work.state == "untimed") & since
    query = (
        select(gate.name, epoch.epoch, epoch.random)
        .select_from(schema.work)
        .join(schema.admission, admission.id == work.admission)
        .join(schema.epoch, epoch.id == admission.epoch)
        .join(schema.gate, gate.id == admission.gate)
        .where(late)
        .distinct()
    )
    for name, number, random in connection.execute(query).all():
        report_untimed(reports, name, number, random)
    return connection.execute(update(schema.work).where(late).values(state="due", next_ms=0)).rowcount


def report_untimed(reports: Reports, gate: str, number: int, random: str) -> None:
    """Say that a vendor hears times that a gate's clock made up."""
    reports.say(
        "untimed",
        f"{gate}:{number}:{random}",
        f"gate {gate}: its clock was not trusted in its start {number}, or not in time: the vendor is told "
        "the times as the gate said them. Give the gate a time server, or a clock with a battery",
        gate,
    )


def of_epoch(id: int) -> ColumnElement[bool]:
    """Work of admissions of this epoch."""
    return exists(
        select(schema.admission.c.id).where(
            schema.admission.c.id == schema.work.c.admission, schema.admission.c.epoch == id
        )
    )
