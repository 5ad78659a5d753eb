"""Which scans are admitted: an ordered list of rules, and the first broken one wins.

The order is the policy. A rule answers with the verdict of the break, or `None` where it is kept.
"""

from firmware.core.events import Scanned
from firmware.core.movements import entered_utc_ms, entries, inside
from firmware.core.ticket import (
    Authority,
    Choice,
    Direction,
    Exits,
    Perimeter,
    Proof,
    Reentry,
    Setup,
    Status,
    Verdict,
)

LAPSES_MAX = 2  # a third opening without a walk is a worn sensor or a trick: a person must look


def readable(setup: Setup, scan: Scanned) -> Verdict | None:
    """The reader delivered a whole text."""
    return Verdict.UNREADABLE if scan.fault else None


def genuine(setup: Setup, scan: Scanned) -> Verdict | None:
    """Bears a genuine signature, where every code must; nobody is let in unproved while there is no key."""
    if scan.proof is Proof.LACKING:
        return Verdict.FORGED
    return Verdict.NOT_CONFIGURED if scan.proof is Proof.NO_KEY else None


UNPROVED = {
    Proof.FORGED: Verdict.FORGED,
    Proof.LACKING: Verdict.FORGED,
    Proof.OTHER_EVENT: Verdict.WRONG_EVENT,
}


def known(setup: Setup, scan: Scanned) -> Verdict | None:
    """In the catalogue, or proved by a signature where the event allows it, or the vendor's to know."""
    if scan.ticket is not None or scan.route.authority is Authority.VENDOR:
        return None
    if scan.proof is Proof.VALID:
        return None if scan.policy.unlisted is Choice.ADMIT else Verdict.UNLISTED
    return UNPROVED.get(scan.proof, Verdict.UNKNOWN)


def fresh(setup: Setup, scan: Scanned) -> Verdict | None:
    """On a list that is not too old, where the operator minds."""
    minded = scan.ticket is not None and scan.policy.catalogue_stale is Choice.REFUSE
    return Verdict.CATALOGUE_STALE if scan.stale and minded else None


WITHDRAWN = {
    Status.CANCELLED: Verdict.CANCELLED,
    Status.REFUNDED: Verdict.REFUNDED,
    Status.BLOCKED: Verdict.BLOCKED,
}


def not_withdrawn(setup: Setup, scan: Scanned) -> Verdict | None:
    """Not cancelled, refunded or blocked."""
    return None if scan.ticket is None else WITHDRAWN.get(scan.ticket.status)


def sold(setup: Setup, scan: Scanned) -> Verdict | None:
    """Sold, or the operator admits codes that were printed and not sold yet."""
    if scan.ticket is None or scan.ticket.status is not Status.UNSOLD:
        return None
    return None if scan.policy.unsold is Choice.ADMIT else Verdict.NOT_SOLD


def right_event(setup: Setup, scan: Scanned) -> Verdict | None:
    """For an event that is played here."""
    return None if scan.policy.served else Verdict.WRONG_EVENT


def right_session(setup: Setup, scan: Scanned) -> Verdict | None:
    """For a session that is let in now."""
    sessions = scan.policy.sessions
    if scan.ticket is None or not sessions or scan.ticket.session in sessions:
        return None
    return Verdict.WRONG_SESSION


def in_time(setup: Setup, scan: Scanned) -> Verdict | None:
    """Between its dates, both ends inclusive; not asked while the clock is untrusted, unless set so."""
    ticket = scan.ticket
    if ticket is None or (ticket.valid_from_ms is None and ticket.valid_until_ms is None):
        return None
    if not scan.moment.trusted:
        return Verdict.CLOCK_UNTRUSTED if scan.policy.clock_untrusted is Choice.REFUSE else None
    if ticket.valid_from_ms is not None and scan.moment.utc_ms < ticket.valid_from_ms:
        return Verdict.TOO_EARLY
    if ticket.valid_until_ms is not None and scan.moment.utc_ms > ticket.valid_until_ms:
        return Verdict.TOO_LATE
    return None


def right_sector(setup: Setup, scan: Scanned) -> Verdict | None:
    """For a sector that this lane serves."""
    if scan.ticket is None or not setup.sectors or scan.ticket.sector in setup.sectors:
        return None
    return Verdict.WRONG_SECTOR


def right_gate(setup: Setup, scan: Scanned) -> Verdict | None:
    """Not bound to another gate."""
    if scan.ticket is None or not scan.ticket.gate or scan.ticket.gate == setup.gate:
        return None
    return Verdict.WRONG_GATE


def right_type(setup: Setup, scan: Scanned) -> Verdict | None:
    """Of a type that this lane serves."""
    if scan.ticket is None or not setup.types or scan.ticket.type in setup.types:
        return None
    return Verdict.WRONG_TYPE


def may_enter(setup: Setup, scan: Scanned) -> Verdict | None:
    """Re-entry: unlimited, or the first entry, or after an exit; not too soon; not after two lapses.

    A list that says "used" counts as one entry made before this gate knew the ticket.
    """
    history, policy, perimeter = scan.history, scan.policy, setup.perimeter
    listed = _listed_as_used(setup, scan)
    if policy.reentry is not Reentry.UNLIMITED and entries(history, perimeter) + listed > 0:
        allowed = policy.reentry is Reentry.AFTER_EXIT and not _counts_inside(setup, scan)
        if not allowed:
            return Verdict.USED
    if policy.again_after_ms:
        entered = entered_utc_ms(history, perimeter)
        if entered and scan.moment.utc_ms < entered + policy.again_after_ms:
            return Verdict.TOO_SOON
    return Verdict.CALL_STAFF if history.lapses >= LAPSES_MAX else None


def may_leave(setup: Setup, scan: Scanned) -> Verdict | None:
    """An exit is free, or for tickets that are inside."""
    if scan.policy.exits is Exits.FREE or _counts_inside(setup, scan):
        return None
    return Verdict.NOT_INSIDE


def _listed_as_used(setup: Setup, scan: Scanned) -> bool:
    if scan.ticket is None or scan.ticket.status is not Status.USED:
        return False
    return setup.perimeter is Perimeter.OUTER


def _counts_inside(setup: Setup, scan: Scanned) -> bool:
    if inside(scan.history, setup.perimeter):
        return True
    return _listed_as_used(setup, scan) and scan.history.outer.last is None


ENTRY_RULES = (
    readable,
    genuine,
    known,
    fresh,
    not_withdrawn,
    sold,
    right_event,
    right_session,
    in_time,
    right_sector,
    right_gate,
    right_type,
    may_enter,
)

# A way out is judged by two questions only: nobody may be held inside because a ticket was refunded,
# its time is over, it belongs to another sector, the list is old, or a signature cannot be checked.
EXIT_RULES = (readable, known, may_leave)


def judge(setup: Setup, scan: Scanned) -> Verdict:
    """The first broken rule's verdict, or the kind of admission."""
    for rule in ENTRY_RULES if scan.direction is Direction.IN else EXIT_RULES:
        verdict = rule(setup, scan)
        if verdict is not None:
            return verdict
    if scan.direction is Direction.OUT:
        return Verdict.ADMITTED
    if scan.ticket is None:
        return Verdict.ADMITTED if scan.route.authority is Authority.VENDOR else Verdict.ADMITTED_UNLISTED
    return Verdict.ADMITTED_UNSOLD if scan.ticket.status is Status.UNSOLD else Verdict.ADMITTED
