"""One ticket that entered twice: reported once, with both rows, in whatever order they came.

While the network between two gates is down, each lets the same ticket in, for neither knows of the other.
That is the price of working without a network; afterwards a person has to hear of it.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from firmware.bridge import schema
from firmware.bridge.ledger.chains import Chains
from firmware.bridge.ledger.reports import Reports, time_of
from firmware.row import name_of

ASKED_AT_ONCE = 500  # values in one query; SQLite took at most 999 for a long time
MOVES_MAX = 1_000  # of a ticket that are looked at, the last to come; a staff pass has some thousand a season
NEAR_MAX = (
    8  # entries on either side that one is compared with: who enters that often without a way out is seen
)


class Move(NamedTuple):
    """A settled admission through the outer perimeter. They sort by their time."""

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
        .where(
            admission.subject.in_(subjects),
            admission.state == "settled",
            admission.perimeters.contains("outer"),
        )
        .subquery()
    )
    query = (
        select(
            admission.utc_ms, admission.id, admission.gate, gate.name, admission.lane, admission.row,
            admission.branch, admission.subject, admission.direction, admission.reentry,
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
        if move.direction == "in" and move.reentry != "unlimited":
            for earlier in _near(before, frozenset()):
                if not settled.isdisjoint((earlier.id, move.id)) and not _same_chain(chains, earlier, move):
                    gate = (move if move.id in settled else earlier).gate  # whose rows have just come
                    reports.say("double", _key(earlier, move), _text(earlier, move), gate)
        elif move.direction == "out" and move.id in settled:
            after = list(_near((moves[place] for place in range(at + 1, len(moves))), settled))
            for one in _near(before, settled):
                explained |= {_key(one, other): move for other in after}
    _explain(connection, reports, explained)


def _near(moves: Iterable[Move], passed: Collection[int]) -> Iterator[Move]:
    """The next entries up to a way out, `NEAR_MAX` at most; ways out in `passed` do not count."""

    def entries() -> Iterator[Move]:
        for move in moves:
            if move.direction == "in" and move.reentry != "unlimited":
                yield move
            elif move.direction == "out" and move.id not in passed:
                return

    return islice(entries(), NEAR_MAX)


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
