"""Which of a vendor's words about a ticket tell of a movement that this venue does not know yet.

The vendor says of a ticket only whether it is inside, and since when. Mostly that is an echo of what our own
gates did, and it may be an old one: a list that was read before the vendor was told, and taken in after. What
is left is foreign: another company's gate, a box office, a person at the vendor's own screen.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, or_, select

from firmware.bridge import schema
from firmware.core.movements import Act
from firmware.core.ticket import Direction, Perimeter

# A vendor may stamp a movement with its own clock, and with the moment at which it was told instead of that
# of the walk. So a word from up to this long after the moment at which we told it something may be the echo.
ECHO_MS = 60_000

SETTLED = (Act.PASSED.value, Act.SETTLED.value)  # of these, and of no others, a vendor is told


class Known(NamedTuple):
    """What the ledger knows of a ticket.

    `last` is the direction of its newest settled movement, here or foreign. `waiting`: the vendor has not
    been told of some movement, or has not answered. `told_utc_ms` is when the newest one that it was told of
    happened, and `answered_utc_ms` when it answered, on the bridge's clock; `None` where there is none.
    """

    last: Direction = Direction.OUT
    waiting: bool = False
    told_utc_ms: int | None = None
    answered_utc_ms: int | None = None


NOTHING = Known()


def is_foreign(inside: bool, moved_utc_ms: int | None, known: Known, began_utc_ms: int) -> bool:
    """Whether this word of the vendor, from a list that was begun then, tells of a movement elsewhere.

    - What the vendor was not told yet wins: it will be told, and what it says then is heard again.
    - It says where the ticket is, so a word that agrees with the ledger has no news.
    - Another word is foreign unless it is older than what the vendor was told. It is not older where the list
      was begun after the vendor's answer, or where its time is later than any echo's.
    """
    direction = Direction.IN if inside else Direction.OUT
    if known.waiting or direction is known.last:
        return False
    if known.told_utc_ms is None or known.answered_utc_ms is None:
        return True
    if moved_utc_ms is not None and moved_utc_ms < known.told_utc_ms:
        return False
    if known.answered_utc_ms < began_utc_ms:
        return True
    return moved_utc_ms is not None and moved_utc_ms > known.answered_utc_ms + ECHO_MS


def known_of(connection: Connection, account: str, subjects: Sequence[str]) -> dict[str, Known]:
    """What the ledger knows of these tickets of an account; those without any movement are left out."""
    movement, work = schema.movement, schema.work
    known: dict[str, Known] = {}
    moves = (
        select(movement.c.subject, movement.c.direction)
        .where(movement.c.subject.in_(subjects), or_(movement.c.gate.is_(None), movement.c.act.in_(SETTLED)))
        .where(movement.c.perimeters.contains(Perimeter.OUTER.value))  # lists know no inner lanes
        .order_by(movement.c.number)
    )
    for subject, direction in connection.execute(moves):
        known[subject] = Known(Direction(direction))
    if not known:
        return known
    told = (
        select(work.c.subject, work.c.state, work.c.at_utc_ms, work.c.finished_ms)
        .where(work.c.account == account, work.c.subject.in_(list(known)))
        .order_by(work.c.id)
    )
    for subject, state, at_utc_ms, finished_ms in connection.execute(told):
        before = known[subject]
        if state == "done":
            answered = max(finished_ms, before.answered_utc_ms or 0)
            known[subject] = before._replace(told_utc_ms=at_utc_ms, answered_utc_ms=answered)
        else:
            known[subject] = before._replace(waiting=True)
    return known
