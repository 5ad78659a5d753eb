"""Lanes, scans and answers as a gate would make them, for tests to vary."""

from functools import reduce

from firmware.core.effects import Effect, Record
from firmware.core.events import Answered, Cause, Event, Order, Ordered, Recorded, Scanned
from firmware.core.lane import begin, step
from firmware.core.movements import Act, Movement, fold
from firmware.core.states import Lane
from firmware.core.ticket import (
    NO_HISTORY,
    Authority,
    Direction,
    History,
    Moment,
    Perimeter,
    Policy,
    Route,
    Setup,
    Ticket,
    Verdict,
)

IN, OUT = Direction.IN, Direction.OUT
OUTER, INNER = Perimeter.OUTER, Perimeter.INNER
NOON_MS = 1_800_000_000_000

SETUP = Setup("north", gate="east", direction=None)
TICKET = Ticket("t1")
VENDOR = Route("acme", authority=Authority.VENDOR)


def at(ms: int) -> Moment:
    """So long after the start of the process, which was at noon."""
    return Moment(ms, NOON_MS + ms, True)


SCAN = Scanned(at(0), 1, b"one", "t1", IN, Route(), Policy(), TICKET)
OTHER_SCAN = Scanned(at(100), 2, b"two", "t2", IN, Route(), Policy(), Ticket("t2"))
ASKED_SCAN = SCAN._replace(route=VENDOR)
YES = Answered(at(500), 4, 1, Verdict.ADMITTED, "welcome", "t1", IN, False, NO_HISTORY)
NO = YES._replace(verdict=Verdict.USED, text="was here")


def run(lane: Lane, *events: Event) -> Lane:
    """The lane after those events."""
    for event in events:
        lane, _ = step(lane, event)
    return lane


def live(lane: Lane, history: History, *events: Event) -> tuple[Lane, History]:
    """The lane, and what is known of its ticket, after those events."""
    for event in events:
        lane, effects = step(lane, event)
        records = (e for e in effects if isinstance(e, Record))
        history = reduce(fold, (r.movement for r in records if r.movement), history)
    return lane, history


def ready(setup: Setup = SETUP) -> Lane:
    """A lane that waits for a code."""
    return begin(setup)[0]


def recording(scan: Scanned = SCAN, setup: Setup = SETUP) -> Lane:
    """A lane that waits for the disk, with an admission."""
    return run(ready(setup), scan)


def opened(scan: Scanned = SCAN, setup: Setup = SETUP) -> Lane:
    """A lane that is open for the scan since 10 ms."""
    return run(recording(scan, setup), Recorded(at(10), scan.row))


def asking(scan: Scanned = ASKED_SCAN, setup: Setup = SETUP) -> Lane:
    """A lane whose vendor was asked at 10 ms."""
    return run(ready(setup), scan, Recorded(at(10), scan.row))


def free(setup: Setup = SETUP) -> Lane:
    """A lane that the operator freed."""
    return run(ready(setup), Ordered(at(0), 1, Order.FREE, Cause.OPERATOR, IN))


def shut(setup: Setup = SETUP, cause: Cause = Cause.OPERATOR) -> Lane:
    """A lane that the operator shut."""
    return run(ready(setup), Ordered(at(0), 1, Order.SHUT, cause, IN))


def admission(row: int = 1, direction: Direction = IN) -> Movement:
    """What the admission of `SCAN` does to its ticket."""
    return Movement(Act.OPENED, "t1", row, direction, (OUTER,), NOON_MS)


def check(lane: Lane, event: Event, *effects: Effect) -> Lane:
    """The lane after the event, which must have exactly these effects in this order.

    A named tuple equals any tuple with the same contents (`Lock()` equals `Ready()`), so texts are compared.
    """
    after, found = step(lane, event)
    assert list(map(repr, found)) == list(map(repr, effects))
    return after


def same(found: object, expected: object) -> bool:
    """Equal, and of the same types all the way down."""
    return repr(found) == repr(expected)
