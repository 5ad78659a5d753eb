"""What a vendor said of a ticket before, and whether that is in doubt: what a scan of it may count on.

Both end by UTC, because they outlive a boot and hold at every gate of the venue. So they end where a clock
that stood behind is set for the first time in a boot: whoever had a late yes just before is refused as used.
Nothing here tells such a yes from one of yesterday, which must be over by then. For that, credits, movements
and messages would have to name the boot, and those of old journals do not. A hand that sets the clock later
ends none (`facts.Clock`).
"""

from firmware.core.events import Scanned
from firmware.core.movements import walked_utc_ms
from firmware.core.rules import LAPSES_MAX
from firmware.core.ticket import Setup, Verdict

DUPLICATE_MS = 2000  # Presence says "duplicate" to what it let in or out less than this ago
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


def has_just_walked(setup: Setup, scan: Scanned) -> bool:
    """Whether the ticket went this way a moment ago: a reader that reads on must not ask for it once more."""
    walked_ms = walked_utc_ms(scan.history, setup.perimeter, scan.direction)
    return 0 <= scan.moment.utc_ms - walked_ms < DUPLICATE_MS
