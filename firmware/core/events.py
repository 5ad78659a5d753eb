"""Everything that can happen to a lane. The facts that a decision needs travel inside the event.

`row` is the number that the event's first `Record` will get; the loop knows it beforehand because it
alone hands rows to the journal. It serves as the id of a scan for its whole life.
"""

from enum import StrEnum
from typing import NamedTuple

from firmware.core.ticket import (
    NO_HISTORY,
    Direction,
    History,
    Moment,
    Policy,
    Proof,
    Route,
    Ticket,
    Verdict,
)


class Order(StrEnum):
    """What an operator, or a condition in the operator's name, tells a lane."""

    OPEN_ONCE = "open_once"
    FREE = "free"
    SHUT = "shut"
    NORMAL = "normal"


class Cause(StrEnum):
    """Why a lane is free or shut."""

    ALARM = "alarm"
    OPERATOR = "operator"
    JOURNAL = "journal"
    READER = "reader"
    UNACKNOWLEDGED = "unacknowledged"  # the alarm is over, and nobody has said that the lane may lock
    DRILL = "drill"  # free as in an alarm, by an order and for a time; an alarm neither needs nor ends it


class Scanned(NamedTuple):
    """A reader delivered a code.

    `digest` is the keyed digest of the code, never the code; `subject` names the ticket in the history
    (its id, or the digest where no ticket is known); `fault` says why the text could not be read.
    """

    moment: Moment
    row: int
    digest: bytes
    subject: str
    direction: Direction
    route: Route
    policy: Policy
    ticket: Ticket | None
    history: History = NO_HISTORY
    proof: Proof = Proof.NONE
    stale: bool = False
    fault: str = ""


def named(scan: Scanned) -> tuple[str, str]:
    """The event and the session that a vendor is asked about or told of: those that this gate lets in.

    The ticket's own where it is one of them: a vendor that is asked about a ticket's own says yes everywhere.
    On the way out always its own: nobody is held inside because another session has begun.
    """
    ticket, route, policy = scan.ticket, scan.route, scan.policy
    listed = "" if ticket is None else ticket.event
    leaving = scan.direction is Direction.OUT
    event = (listed if policy.served or leaving else "") or route.event or policy.event or listed
    sessions, session = [each for each in policy.sessions if each], "" if ticket is None else ticket.session
    if sessions and session not in policy.sessions and not (leaving and session):
        session = sessions[0] if session or len(sessions) == 1 else ""
    return event, session


def elsewhere(scan: Scanned) -> bool:
    """Whether a ticket wants in for an event that this gate does not let in, which lets in several others.

    A vendor is asked about what the gate lets in. Here there is no one event to name in the place of the
    ticket's own, about which it would say yes.
    """
    own = scan.ticket is not None and scan.ticket.event
    return bool(own) and scan.direction is Direction.IN and not (scan.policy.served or scan.policy.event)


class Answered(NamedTuple):
    """The vendor's word on an ask. `opened` says whether that scan opened the lane meanwhile.

    `subject` and `direction` are the ask's own, gathered again so that an answer after a restart, to a
    lane that has forgotten the ask, can still be dealt with; `history` is the present one. The verdict
    `NO_ANSWER` says that there will be none, and with `doubt` that the vendor may have spent the ticket all
    the same; so does a refusal with `doubt`, which may be about an ask of our own. With `unreached` there is
    none because the vendor could not be reached. `asked_utc_ms` is the time of the scan.
    """

    moment: Moment
    row: int
    scan: int
    verdict: Verdict
    text: str
    subject: str
    direction: Direction
    opened: bool
    history: History
    doubt: bool = False
    asked_utc_ms: int = 0
    unreached: bool = False


class Recorded(NamedTuple):
    """The row would survive a power cut now."""

    moment: Moment
    row: int


class RecordFailed(NamedTuple):
    """The journal could not write the row (0: any row). It keeps it and goes on trying."""

    moment: Moment
    row: int


class Passed(NamedTuple):
    """The sensor saw a person walk through; `None` where it cannot tell which way."""

    moment: Moment
    row: int
    direction: Direction | None


class TimeUp(NamedTuple):
    """The lane asked to be woken, and it is time.

    `history` is that of the ticket being asked about, gathered anew: another lane may have admitted it
    since the ask was sent.
    """

    moment: Moment
    row: int
    history: History = NO_HISTORY


class Ordered(NamedTuple):
    """An order whose signature, role and freshness were checked at the door. `by` is for the journal."""

    moment: Moment
    row: int
    order: Order
    cause: Cause
    direction: Direction
    by: str = ""


class Alarm(NamedTuple):
    """The alarm contact changed."""

    moment: Moment
    row: int
    active: bool


Event = Scanned | Answered | Recorded | RecordFailed | Passed | TimeUp | Ordered | Alarm
