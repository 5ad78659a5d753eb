"""What a vendor said of a ticket before, and whether that is in doubt: what a scan of it may count on."""

from firmware.core.events import Scanned
from firmware.core.movements import entered_utc_ms
from firmware.core.rules import LAPSES_MAX
from firmware.core.ticket import Direction, Setup, Verdict

DUPLICATE_MS = 2000  # Presence says "duplicate" to what it let in less than this ago
DOUBT_MS = 600_000  # at least: it is no question of how long a late yes is good


def by_credit(setup: Setup, scan: Scanned) -> Verdict | None:
    """The vendor said yes to this very way: a yes at the outer ring opens no inner one. Else `None`.

    After `LAPSES_MAX` openings without a walk a person must look, as for any other ticket.
    """
    credit = scan.history.credit
    if credit is None or scan.history.pending:
        return None
    way = (credit.direction, credit.perimeter)
    if way != (scan.direction, setup.perimeter) or scan.moment.utc_ms >= credit.until_utc_ms:
        return None
    return Verdict.CALL_STAFF if scan.history.lapses >= LAPSES_MAX else Verdict.ADMITTED_CREDIT


def is_unsure(scan: Scanned) -> bool:
    """Whether the vendor may have spent the ticket for nothing; not while it is being let in elsewhere."""
    return not scan.history.pending and scan.moment.utc_ms < scan.history.unsure_until_utc_ms


def has_just_entered(setup: Setup, scan: Scanned) -> bool:
    """Whether the ticket was let in a moment ago: a reader that reads on must not ask for it once more."""
    if scan.direction is not Direction.IN:
        return False
    return 0 <= scan.moment.utc_ms - entered_utc_ms(scan.history, setup.perimeter) < DUPLICATE_MS
