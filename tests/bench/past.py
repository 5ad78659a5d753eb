"""A journal with a past, written through the core and the real journal, for starts and replays."""

from collections.abc import Callable
from pathlib import Path

from firmware import history as histories
from firmware.config import parse
from firmware.core.effects import Effect, Record
from firmware.core.events import Event, Passed, Recorded, Scanned
from firmware.core.lane import begin, step
from firmware.core.movements import Act, Movement, fold
from firmware.core.states import Lane
from firmware.core.ticket import NO_HISTORY, Direction, Moment, Perimeter, Policy, Route, Ticket
from firmware.journal import Journal, Retention, Story, Told
from firmware.row import Row
from firmware.rows import Rows
from tests.bench import world
from tests.bench.figures import PACE

SETTINGS = '[[lane]]\nname = "1"\n\n[[event]]\nid = "summer"\n'
POLICY = Policy(event="summer")
GAP_MS = 4_000  # between two people
WALK_MS = 900

Holder = Callable[[int], tuple[str, Ticket]]
"""The code and the ticket of the n-th person."""


def holder(number: int) -> tuple[str, Ticket]:
    """Of the venue that is made from a seed."""
    return world.code_of(number), world.ticket_of(number)


def make_journal(folder: Path, rows: int, holder: Holder = holder) -> int:
    """Admissions with their walks, two rows each, as one long evening leaves them; the last row's number."""
    setup = parse(SETTINGS, "bench").lanes[0].setup
    retention = Retention(10**12, 10**12, unconfirmed=True)
    safe: list[Told] = []

    def now(floor_utc_ms: int) -> Moment:
        return Moment(0, max(floor_utc_ms, world.NOW_UTC_MS), True)

    with Journal(folder, (setup,), now, retention, "bench", safe.append) as journal:
        lane, _ = begin(setup)
        for number in range(rows // 2):
            lane = _one_person(journal, lane, number, *holder(number))
            while journal.waiting > 2_000:  # full batches; spinning would keep the journal from work
                PACE.wait(0.001)
        return journal.next_row - 1


def _one_person(journal: Journal, lane: Lane, number: int, code: str, ticket: Ticket) -> Lane:
    start_ms = number * GAP_MS
    row = journal.next_row
    digest = number.to_bytes(16)
    history = journal.history(ticket.ticket_id)
    moment = Moment(start_ms, world.NOW_UTC_MS + start_ms, True)
    scan = Scanned(moment, row, digest, ticket.ticket_id, Direction.IN, Route(), POLICY, ticket, history)
    lane = _write(journal, lane, [scan], code)
    walk_ms = start_ms + WALK_MS
    safe = Recorded(Moment(start_ms + 2, world.NOW_UTC_MS + start_ms + 2, True), row)
    walk = Passed(Moment(walk_ms, world.NOW_UTC_MS + walk_ms, True), journal.next_row, Direction.IN)
    return _write(journal, lane, [safe, walk], "")


def _write(journal: Journal, lane: Lane, events: list[Event], code: str) -> Lane:
    before, effects = lane, list[Effect]()
    for event in events:
        lane, more = step(lane, event)
        effects += more
    record = next(effect for effect in effects if isinstance(effect, Record))
    story = Story(before, tuple(events), tuple(effects), lane)
    row = Row(record.kind, "1", events[-1].moment, record.scan, record.verdict, record.movement)
    if not journal.submit(row, story, code):
        raise RuntimeError(f"the journal takes no more rows: {journal.fault}")
    return lane


def make_movements(folder: Path, count: int) -> None:
    """Histories of that many tickets, put into the journal's file as another store would hand them over."""

    def past(number: int) -> tuple[str, bytes]:
        ticket_id = f"T{number:09d}"
        entered = Movement(Act.NOTED, ticket_id, 0, Direction.IN, (Perimeter.OUTER,), world.NOW_UTC_MS)
        return ticket_id, histories.encode(fold(NO_HISTORY, entered))

    with Rows(folder) as rows:
        rows.adopt(past(number) for number in range(count))
