"""One ticket that entered twice: reported once, with both rows, in whatever order they came.

While the network between two gates is down, each lets the same ticket in, for neither knows of the other.
That is the price of working without a network; afterwards a person has to hear of it.

Each ring has its own entries. Whoever goes through an inner lane has come through an outer one: where the
inner gate has not heard of that, it notes an entry into both, which is no second one into the house. Somebody
who comes to an outer lane after it is.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from firmware.bridge import schema
from firmware.bridge.ledger.chains import Chains
from firmware.bridge.ledger.facts import VENDOR
from firmware.bridge.ledger.reports import Reports, time_of
from firmware.core.ticket import Perimeter
from firmware.row import name_of

ASKED_AT_ONCE = 500  # values in one query; SQLite took at most 999 for a long time
MOVES_MAX = 1_000  # of a ticket that are looked at, the last to come; a staff pass has some thousand a season
NEAR_MAX = 8  # entries that one is compared with: who enters that often without a way out is seen


class Move(NamedTuple):
    """A settled admission. They sort by their time."""

    utc_ms: int
    id: int
    gate_id: int
    gate: str
    lane: str
    row: int
    branch: int
    subject: str
    direction: str
    reentry: str
    perimeters: str
    decided: str

    @property
    def ring(self) -> Perimeter:
        """Where the lane is, which for an inner one may not be all that the movement counts for."""
        return Perimeter.INNER if Perimeter.INNER in self.perimeters else Perimeter.OUTER


def report_doubles(
    connection: Connection,
    reports: Reports,
    gates: Iterable[Chains],
    subjects: Iterable[str],
    settled: set[int],
) -> None:
    """Look at these tickets, some admissions of which have just been settled."""
    chains = {each.gate: each for each in gates}
    moves: dict[str, list[Move]] = {}
    wanted = sorted(subjects)
    for at in range(0, len(wanted), ASKED_AT_ONCE):
        for move in _moves(connection, wanted[at : at + ASKED_AT_ONCE]):
            moves.setdefault(move.subject, []).append(move)
    for found in moves.values():
        if len(found) > 1:
            _look(connection, reports, chains, sorted(found), settled)


def _moves(connection: Connection, subjects: Sequence[str]) -> Iterable[Move]:
    admission, epoch, gate = schema.admission.c, schema.epoch.c, schema.gate.c
    place = func.row_number().over(partition_by=admission.subject, order_by=admission.id.desc())
    last = (
        select(admission.id, place.label("place"))
        .where(admission.subject.in_(subjects), admission.state == "settled")
        .subquery()
    )
    query = (
        select(
            admission.utc_ms, admission.id, admission.gate, gate.name, admission.lane, admission.row,
            admission.branch, admission.subject, admission.direction, admission.reentry,
            admission.perimeters, admission.decided,
            admission.monotonic_ms, admission.trusted, epoch.offset_ms,
        )
        .join(schema.gate, gate.id == admission.gate)
        .join(schema.epoch, epoch.id == admission.epoch)
        .join(last, last.c.id == admission.id)
        .where(last.c.place <= MOVES_MAX)
    )  # fmt: skip
    for *fields, monotonic_ms, trusted, offset_ms in connection.execute(query):
        move = Move(*fields)
        if not trusted and offset_ms is not None:
            move = move._replace(utc_ms=monotonic_ms + offset_ms)
        yield move


def _look(
    connection: Connection,
    reports: Reports,
    chains: dict[int, Chains],
    moves: Sequence[Move],
    settled: set[int],
) -> None:
    explained: dict[str, Move] = {}
    for at, move in enumerate(moves):
        before = (moves[place] for place in range(at - 1, -1, -1))
        # Twice as many where a way out has just become known: as many on either side of it.
        for place, (earlier, way_out) in enumerate(islice(_clashing(before, move, settled), 2 * NEAR_MAX)):
            is_new = not settled.isdisjoint((earlier.id, move.id))
            if way_out is not None:
                explained[_key(earlier, move)] = way_out
            elif place < NEAR_MAX and is_new and not _same_chain(chains, earlier, move):
                gate = (move if move.id in settled else earlier).gate  # whose rows have just come
                reports.say("double", _key(earlier, move), _text(earlier, move), gate)
    _explain(connection, reports, explained)


def _clashing(
    before: Iterable[Move], move: Move, settled: Collection[int]
) -> Iterator[tuple[Move, Move | None]]:
    """The entries before this one, nearest first, after which it should not have been let in.

    They end at a way out. One that is in `settled` has only now become known, and comes with those before it.
    """
    if move.direction != "in" or move.reentry == "unlimited":
        return
    if move.ring is Perimeter.INNER and move.decided == VENDOR:
        return  # some vendors let people go in again who left an inner ring without a scan
    left = None
    for one in before:
        if one.direction == "in":
            if one.reentry != "unlimited" and move.ring in one.perimeters:
                yield one, left
        elif move.ring is Perimeter.INNER or one.ring is Perimeter.OUTER:  # who left the house left all of it
            if one.id not in settled:
                return
            left = one


def _same_chain(chains: dict[int, Chains], one: Move, other: Move) -> bool:
    """At one gate, with one journal, the gate itself knew what it did."""
    if one.gate_id != other.gate_id:
        return False
    known = chains[one.gate_id]
    if one.row > other.row:
        one, other = other, one
    return known.is_before(one.branch, one.row, other.branch)


def _explain(connection: Connection, reports: Reports, ways_out: dict[str, Move]) -> None:
    """Ways out that became known late may explain what was reported. They are by the key of the pair."""
    columns, keys = schema.report.c, sorted(ways_out)
    for at in range(0, len(keys), ASKED_AT_ONCE):
        query = select(columns.key).where(
            columns.kind == "double", columns.key.in_(keys[at : at + ASKED_AT_ONCE])
        )
        for key in connection.execute(query).scalars().all():
            left = ways_out[key]
            reports.say(
                "explained",
                key,
                f"ticket {left.subject}: the double admission {key} was none: the ticket left in "
                f"between, at gate {left.gate}, lane {left.lane}, row {name_of(left.row)}, "
                f"{time_of(left.utc_ms)}; this became known later",
                left.gate,
            )


def _key(one: Move, other: Move) -> str:
    return " and ".join(sorted(f"{move.gate} {name_of(move.row)} {move.id}" for move in (one, other)))


def _text(one: Move, other: Move) -> str:
    places = ", and at ".join(
        f"gate {move.gate}, lane {move.lane}, row {name_of(move.row)}, {time_of(move.utc_ms)}"
        for move in (one, other)
    )
    return f"ticket {one.subject} entered twice: at {places}; no way out in between is known"
