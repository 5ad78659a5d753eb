"""Everything a lane can ask for. The loop applies effects in the order given and adds none.

The plan named a sixth effect, `Settle`. It became the movement inside `Record`: a row and what it does to
the ticket's history must be one transaction, and two effects could be torn apart.
"""

from enum import StrEnum
from typing import NamedTuple

from firmware.core.movements import Movement
from firmware.core.ticket import Direction, Verdict


class Kind(StrEnum):
    """What a row is about."""

    SCAN = "scan"  # a code was read and decided
    ASK = "ask"  # a code was read and the vendor will be asked
    ANSWER = "answer"  # the ask was decided, by the vendor or without it
    LATE = "late"  # the vendor's answer came after the decision
    PASSAGE = "passage"  # a person walked through
    LAPSE = "lapse"  # an opening ended and no walk was seen
    VOID = "void"  # an admission, or an order to open, did not open the lane after all
    ORDER = "order"  # an operator or a condition spoke
    ALARM = "alarm"  # the alarm contact changed


class Signal(StrEnum):
    """What a lane shows for as long as a state lasts."""

    READY = "ready"
    CHECKING = "checking"
    GO = "go"
    FREE = "free"
    SHUT = "shut"
    OUT_OF_ORDER = "out_of_order"


class Record(NamedTuple):
    """Write a row. `scan` is the scan, or the order to open, that it belongs to (0: none).

    With `wanted` the lane waits for the row.
    """

    kind: Kind
    scan: int
    verdict: Verdict | None = None
    movement: Movement | None = None
    wanted: bool = False
    text: str = ""


class Ask(NamedTuple):
    """Ask the vendor about the scan; an answer after `until_ms` (monotonic) is late."""

    scan: int
    vendor: str
    digest: bytes
    direction: Direction
    until_ms: int


class Unlock(NamedTuple):
    """Free the lane in one direction, or in both (`None`)."""

    direction: Direction | None


class Lock(NamedTuple):
    """Take the release away."""


class Tell(NamedTuple):
    """Show a verdict for a while, or a signal until further notice. `text` is the vendor's own word."""

    show: Verdict | Signal
    text: str = ""


Effect = Record | Ask | Unlock | Lock | Tell
