"""Whatever a gate sends, what follows from it can be read by the other gates."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from firmware import wire
from firmware.bridge.feed import Feed
from firmware.bridge.ledger.facts import SUBJECT_CHARACTERS_MAX, UTC_MS_MAX
from firmware.bridge.vendor import Accepted, Refused, Unsure
from firmware.core.movements import Act, Movement
from firmware.core.ticket import Direction, Perimeter, Spend, Verdict
from firmware.row import Row
from tests.bridge.feeds import KEY, FeedGate
from tests.bridge.model_gate import VENUE, Books, ModelGate, books
from tests.core.samples import NOON_MS

pytestmark = pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL

EDGES = st.sampled_from([-1, 0, 1, NOON_MS, UTC_MS_MAX - 1, UTC_MS_MAX, (1 << 63) - 1, 1 << 63])
LONGEST = "acme:" + "x" * (SUBJECT_CHARACTERS_MAX - len("acme:"))
MOVEMENTS = st.builds(
    Movement,
    act=st.sampled_from(Act),
    subject=st.sampled_from(["acme:t1", "", "a\0b", "ä" * 40, LONGEST, LONGEST + "x"]),
    row=EDGES,
    direction=st.sampled_from(Direction),
    perimeters=st.lists(st.sampled_from(Perimeter), max_size=3).map(tuple),
    utc_ms=EDGES,
    spend=st.sampled_from(Spend),
    until_utc_ms=EDGES,
)


def heard(kept: Books) -> list[wire.Moved]:
    """What another gate reads of it; raises `wire.Unfit` where it cannot."""
    gate = FeedGate()
    gate.catch_up(Feed(kept.database, VENUE, KEY))
    return gate.moves


def row(gate: ModelGate, movement: Movement) -> Row:
    return Row("scan", "north", gate.moment, gate.next_row, Verdict.ADMITTED, movement)


@settings(max_examples=settings().max_examples // 2)  # each makes a ledger
@given(st.lists(MOVEMENTS, max_size=4))
@example([Movement(Act.OPENED, LONGEST + "x", 1, Direction.IN, (Perimeter.OUTER,), NOON_MS)])
@example([Movement(Act.OPENED, "acme:t1", 1, Direction.IN, (Perimeter.OUTER,) * 3, NOON_MS)])
def test_no_movement_of_one_gate_makes_a_page_that_others_cannot_read(movements: list[Movement]) -> None:
    gate = ModelGate()
    for movement in movements:
        gate.write(row(gate, movement))
    gate.person("acme:last")
    with tempfile.TemporaryDirectory() as folder, books(Path(folder)) as kept:
        assert kept.store(gate).receipt == gate.receipt(), "every row is kept"
        moves = heard(kept)
        assert [move.subject for move in moves[-2:]] == ["acme:last"] * 2, "no row holds up another"
        for told in kept.ledger.claim("acme", "w", NOON_MS, 100, 1000):
            kept.ledger.finish([(told, Accepted())], NOON_MS)
        outcomes = tuple(outcome for _, outcome, _ in kept.ledger.outcomes_to_tell("w", NOON_MS, 100))
        assert wire.decode(wire.encode(wire.Outcomes(outcomes=outcomes)), wire.Outcomes).outcomes == outcomes


def test_a_subject_may_be_as_long_as_a_message_takes_it_and_no_longer(tmp_path: Path) -> None:
    gate = ModelGate()
    gate.person(LONGEST)
    gate.person(LONGEST + "x")
    gate.person(LONGEST + "y")
    with books(tmp_path) as kept:
        kept.store(gate)
        assert {move.subject for move in heard(kept)} == {LONGEST}
        scan, passage = kept.reports("unreadable")
        assert "a ticket id longer than 256 characters" in scan
        assert "kind 'passage'" in passage


@pytest.mark.parametrize("perimeters", [(), tuple(Perimeter)])
def test_a_movement_passes_each_ring_once_at_most(tmp_path: Path, perimeters: tuple[Perimeter, ...]) -> None:
    gate = ModelGate()
    move = Movement(Act.OPENED, "acme:t1", gate.next_row, Direction.IN, perimeters, NOON_MS)
    gate.write(row(gate, move))
    gate.write(row(gate, move._replace(perimeters=(Perimeter.OUTER,) * 3)))
    with books(tmp_path) as kept:
        kept.store(gate)
        assert [each.perimeters for each in heard(kept)] == [perimeters]
        assert len(kept.reports("unreadable")) == 1


@pytest.mark.parametrize("outcome", [Accepted, Unsure, lambda text: Refused(Verdict.USED, text)])
def test_a_vendors_word_with_half_a_character_is_kept_and_told(
    tmp_path: Path, outcome: Callable[[str], Accepted | Refused | Unsure]
) -> None:
    gate = ModelGate()
    gate.person("acme:t1")
    with books(tmp_path) as kept:
        kept.store(gate)
        (claimed,) = kept.ledger.claim("acme", "w", NOON_MS, 1, 1000)
        kept.ledger.finish([(claimed, outcome("no\0 \ud83d" + "x" * 300))], NOON_MS)
        ((_, told, _),) = kept.ledger.outcomes_to_tell("w", NOON_MS, 1)
        assert told.text == "no ?" + "x" * 252
        assert wire.decode(wire.encode(wire.Outcomes(outcomes=(told,))), wire.Outcomes).outcomes == (told,)
