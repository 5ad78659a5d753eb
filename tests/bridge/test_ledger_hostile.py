"""Rows that no gate of ours writes: a stolen one, or one gone mad, must not cost the others anything."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from firmware import wire
from firmware.bridge import schema
from firmware.bridge.feed import Feed
from firmware.core.movements import Act, Movement
from firmware.core.ticket import Direction, Moment, Perimeter, Spend, Verdict
from firmware.row import Began, Row, encode_began
from tests.bridge.feeds import KEY
from tests.bridge.model_gate import VENUE, Books, ModelGate, books
from tests.core.samples import IN, NOON_MS, OUTER

NUMBERS = st.one_of(st.integers(-2, 2), st.integers(-(1 << 63), (1 << 64) - 1), st.just(NOON_MS))
TEXTS = st.one_of(
    st.text(max_size=8), st.builds("{0}{1}".format, st.sampled_from(["a:", ""]), st.just("x" * 300))
)
MOVEMENTS = st.builds(
    Movement,
    st.sampled_from(Act),
    TEXTS,
    NUMBERS,
    st.sampled_from(Direction),
    st.lists(st.sampled_from(Perimeter), max_size=4).map(tuple),
    NUMBERS,
    st.sampled_from(Spend),
    NUMBERS,
)
BEGANS = st.builds(Began, NUMBERS, TEXTS, TEXTS, TEXTS, st.just(())).map(encode_began)
ROWS = st.builds(
    Row,
    st.one_of(st.sampled_from(["scan", "passage", "began", "noted"]), TEXTS),
    TEXTS,
    st.builds(Moment, NUMBERS, NUMBERS, st.booleans()),
    st.integers(0, 1 << 40),
    st.one_of(st.none(), st.sampled_from(Verdict)),
    st.one_of(st.none(), MOVEMENTS),
    st.one_of(TEXTS, BEGANS),
    st.none(),
)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Books]:
    with books(tmp_path) as found:
        yield found


def page_of(kept: Books) -> wire.CataloguePage:
    """The first page, as a gate takes it."""
    page = Feed(kept.database, VENUE, KEY).page(0, "")
    return wire.decode(wire.encode(page), wire.CataloguePage)


@given(st.lists(ROWS, min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_whatever_rows_a_gate_sends_every_gate_can_read_the_pages(rows: list[Row]) -> None:
    gate = ModelGate("thief")
    for row in rows:
        gate.write(row)
    with TemporaryDirectory() as folder, books(Path(folder)) as kept:
        assert kept.store(gate).receipt == gate.receipt(), "the rows are kept whatever they say"
        page_of(kept)


@pytest.mark.parametrize(
    "movement",
    [
        Movement(Act.OPENED, "acme:" + "x" * 252, 1, IN, (OUTER,), NOON_MS),
        Movement(Act.OPENED, "acme:t1", 1, IN, (OUTER,) * 3, NOON_MS),
    ],
)
def test_a_movement_that_no_message_may_have_is_kept_and_not_passed_on(
    kept: Books, movement: Movement
) -> None:
    thief, honest = ModelGate("thief"), ModelGate("honest")
    thief.write(Row("scan", "north", thief.moment, movement=movement))
    honest.person()
    kept.store(thief)
    kept.store(honest)
    assert kept.kinds() == ["unreadable"]
    assert [item.gate for item in page_of(kept).items if isinstance(item, wire.Moved)] == ["honest"] * 2


def test_what_an_older_release_let_into_the_ledger_is_left_out_of_pages(kept: Books) -> None:
    thief, honest = ModelGate("thief"), ModelGate("honest")
    thief.person()
    honest.person()
    kept.store(thief)
    kept.store(honest)
    with kept.database.transaction() as connection:
        columns = schema.movement.c
        connection.execute(update(schema.movement).where(columns.number == 1).values(subject="x" * 257))
        connection.execute(update(schema.movement).where(columns.number == 2).values(perimeters="outer," * 3))
    page = page_of(kept)
    assert [item.gate for item in page.items if isinstance(item, wire.Moved)] == ["honest"] * 2
    assert (page.upto, page.more) == (4, False)


@pytest.mark.parametrize("random", ["a\0b", "x" * 3_000])
def test_a_start_whose_random_no_database_takes_is_an_epoch_without_one(kept: Books, random: str) -> None:
    gate = ModelGate(began=False)
    gate.start(random)
    gate.person()
    assert kept.store(gate).receipt == gate.receipt()
    assert [line.random for line in kept.lines(schema.epoch)] == [""]
    assert kept.kinds() == ["unreadable"]
