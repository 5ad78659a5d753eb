"""How admissions, walks and news change what is known of a ticket: one pure fold.

The journal stores a movement beside its row and the history is the fold of all of them, so the two
cannot disagree, and a history that was lost is made again from the rows.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from firmware.core.ticket import Credit, Direction, History, Pending, Perimeter, Spend, Track

# Admissions at other gates that are open at once, for one ticket. A person stands at one gate, and a group
# ticket at a few. Each takes 37 bytes of a history that is in every row of the ticket's scans.
PENDING_ELSEWHERE_MAX = 8


class Act(StrEnum):
    """What happened to an admission, or what became known of a ticket."""

    OPENED = "opened"  # admitted; not settled yet
    PASSED = "passed"  # the person walked through
    SETTLED = "settled"  # no walk was seen, and the ticket counts as used all the same
    LAPSED = "lapsed"  # no walk was seen, and the ticket may be used again
    VOIDED = "voided"  # the lane did not open after all
    NOTED = "noted"  # a movement at another gate or at the vendor
    CREDITED = "credited"  # the vendor said yes, but too late
    UNSURE = "unsure"  # the vendor was asked and did not answer in time
    SURE = "sure"  # the vendor's late answer settled that doubt


class Movement(NamedTuple):
    """One change of one ticket's history.

    `row` names the admission that it belongs to, or for news of an ask that ask (0 where there is none, below
    0 one at another gate); `until_utc_ms` is the end of a credit or of a doubt. An admission after an ask
    brings a doubt of its own: the vendor may have spent the ticket, and only its settling ends that.
    """

    act: Act
    subject: str
    row: int
    direction: Direction
    perimeters: tuple[Perimeter, ...]
    utc_ms: int
    spend: Spend = Spend.OPENING
    until_utc_ms: int = 0


def fold(history: History, movement: Movement) -> History:
    """The history after the movement. A movement of an admission that is not pending changes nothing.

    What other gates and the vendor tell comes late at times. A way out of theirs that is older than the last
    known entry changes nothing either: in doubt a ticket counts as inside. An admission elsewhere beyond
    `PENDING_ELSEWHERE_MAX` counts as a walk at once.
    """
    match movement.act:
        case Act.OPENED:
            return _opened(history, movement)
        case Act.PASSED | Act.SETTLED:
            return _settled(history, movement)
        case Act.LAPSED:
            return _dropped(history, movement, lapses=1)
        case Act.VOIDED:
            return _dropped(history, movement, lapses=0)
        case Act.NOTED:
            return _moved(history, movement.direction, movement.perimeters, movement.utc_ms, own=False)
        case Act.CREDITED:
            perimeter = next(iter(movement.perimeters), Perimeter.OUTER)
            credit = Credit(movement.direction, movement.until_utc_ms, perimeter)
            return history._replace(credit=credit, unsure_until_utc_ms=0, unsure_row=0)
        case Act.UNSURE:
            return _doubted(history, movement)
        case _:
            assert movement.act is Act.SURE
            if history.unsure_row not in (0, movement.row):
                return history  # an earlier ask still has no answer, and may be why this one was refused
            return history._replace(unsure_until_utc_ms=0, unsure_row=0)


def joined(history: History, before: History) -> History:
    """What a ticket did, of which some was `before` it was listed, under the digest of its code.

    What came after counts where both speak of one thing: a settled admission ended the doubt and the credit
    of before, which nobody has taken away there.
    """
    settled = history.settled_row > 0
    return History(
        _track(history.outer, before.outer),
        _track(history.inner, before.inner),
        (*before.pending, *history.pending),
        history.lapses + (0 if settled else before.lapses),
        history.credit or (None if settled else before.credit),
        max(history.unsure_until_utc_ms, 0 if settled else before.unsure_until_utc_ms),
        max(history.settled_row, before.settled_row),
        history.unsure_row or (0 if settled else before.unsure_row),
    )


def _track(track: Track, before: Track) -> Track:
    last = before.last if track.last is None else track.last
    entered_utc_ms = max(track.entered_utc_ms, before.entered_utc_ms)
    left_utc_ms = max(track.left_utc_ms, before.left_utc_ms)
    return Track(track.entries + before.entries, last, entered_utc_ms, left_utc_ms)


def settle_at_start(subject: str, pending: Pending) -> Movement:
    """What becomes of an admission that a crash left unsettled.

    A way in counts as used, and the relay is not opened again for it. A way out is dropped: the power may
    have gone before the lane opened, and to count it would let a copy of the ticket in while its owner is
    still inside. Whoever did leave in those seconds, and comes back, needs staff.
    """
    act = Act.VOIDED if pending.direction is Direction.OUT else Act.SETTLED
    return Movement(
        act, subject, pending.row, pending.direction, pending.perimeters, pending.utc_ms, pending.spend
    )


def unseen(direction: Direction, spend: Spend) -> Act:
    """What becomes of an opened lane's admission whose walk nobody could see: it counts as used.

    Only a way out that the walk would have spent is dropped, as at a start.
    """
    return Act.VOIDED if spend is Spend.PASSAGE and direction is Direction.OUT else Act.SETTLED


def inside(history: History, perimeter: Perimeter) -> bool:
    """Whether the ticket counts as inside. An unsettled admission, in or out, counts as inside."""
    track = history.inner if perimeter is Perimeter.INNER else history.outer
    return track.last is Direction.IN or _pends(history.pending, perimeter)


def entries(history: History, perimeter: Perimeter) -> int:
    """How often the ticket entered, unsettled entries included."""
    track = history.inner if perimeter is Perimeter.INNER else history.outer
    waiting = sum(1 for p in history.pending if p.direction is Direction.IN and perimeter in p.perimeters)
    return track.entries + waiting


def entered_utc_ms(history: History, perimeter: Perimeter) -> int:
    """When the ticket last entered, unsettled entries included; 0 for never."""
    return walked_utc_ms(history, perimeter, Direction.IN)


def walked_utc_ms(history: History, perimeter: Perimeter, direction: Direction) -> int:
    """When the ticket last went this way, unsettled admissions included; 0 for never."""
    track = history.inner if perimeter is Perimeter.INNER else history.outer
    settled = track.entered_utc_ms if direction is Direction.IN else track.left_utc_ms
    times = [p.utc_ms for p in history.pending if p.direction is direction and perimeter in p.perimeters]
    return max((settled, *times))


def _pends(pending: Iterable[Pending], perimeter: Perimeter) -> bool:
    return any(perimeter in p.perimeters for p in pending)


def _opened(history: History, movement: Movement) -> History:
    elsewhere = sum(1 for p in history.pending if p.row < 0)
    if movement.row < 0 and elsewhere >= PENDING_ELSEWHERE_MAX:
        return _moved(history, movement.direction, movement.perimeters, movement.utc_ms, own=False)
    pending = Pending(movement.row, movement.direction, movement.perimeters, movement.utc_ms, movement.spend)
    unsure_until_utc_ms = max(history.unsure_until_utc_ms, movement.until_utc_ms)
    return history._replace(pending=(*history.pending, pending), unsure_until_utc_ms=unsure_until_utc_ms)


def _doubted(history: History, movement: Movement) -> History:
    """The doubt lasts until the end of the last of its asks, and is about the first."""
    doubted = movement.utc_ms < history.unsure_until_utc_ms
    return history._replace(
        unsure_until_utc_ms=max(history.unsure_until_utc_ms, movement.until_utc_ms),
        unsure_row=history.unsure_row if doubted else movement.row,
    )


def _settled(history: History, movement: Movement) -> History:
    waiting = next((p for p in history.pending if p.row == movement.row), None)
    if waiting is None:
        return history
    rest = tuple(p for p in history.pending if p.row != movement.row)
    moved = _moved(history, waiting.direction, waiting.perimeters, waiting.utc_ms, own=waiting.row > 0)
    settled_row = max(history.settled_row, waiting.row)
    return moved._replace(
        pending=rest,
        lapses=0,
        credit=None,
        unsure_until_utc_ms=0,
        settled_row=settled_row,
        unsure_row=0,
    )


def _dropped(history: History, movement: Movement, lapses: int) -> History:
    rest = tuple(p for p in history.pending if p.row != movement.row)
    if len(rest) == len(history.pending):
        return history
    return history._replace(pending=rest, lapses=history.lapses + lapses)


def _moved(
    history: History, direction: Direction, perimeters: tuple[Perimeter, ...], utc_ms: int, own: bool
) -> History:
    outer, inner = history.outer, history.inner
    if Perimeter.OUTER in perimeters:
        outer = _walked(outer, direction, utc_ms, own)
    if Perimeter.INNER in perimeters:
        inner = _walked(inner, direction, utc_ms, own)
    return history._replace(outer=outer, inner=inner)


def _walked(track: Track, direction: Direction, utc_ms: int, own: bool) -> Track:
    """Own movements come in their order, whatever the clocks of others say; those of others may be late."""
    if direction is Direction.IN:
        entered_utc_ms = utc_ms if own else max(utc_ms, track.entered_utc_ms)
        return Track(track.entries + 1, direction, entered_utc_ms, track.left_utc_ms)
    if not own and utc_ms < track.entered_utc_ms:
        return track
    return track._replace(last=direction, left_utc_ms=utc_ms if own else max(utc_ms, track.left_utc_ms))
