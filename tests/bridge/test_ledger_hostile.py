"""Rows that no gate of ours writes: a stolen one, or one gone mad, must not cost the others anything."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, update

from firmware import wire
from firmware.bridge import schema
from firmware.bridge.feed import Feed
from firmware.bridge.ledger import chains, doubles, reports
from firmware.bridge.ledger.chains import TIPS_MAX
from firmware.bridge.ledger.doubles import NEAR_MAX
from firmware.core.movements import Act, Movement
from firmware.core.ticket import Direction, Moment, Perimeter, Reentry, Spend, Verdict
from firmware.row import Began, Row, encode_began
from tests.bridge.feeds import KEY
from tests.bridge.model_gate import VENUE, Books, ModelGate, books
from tests.core.samples import IN, NOON_MS, OUTER

pytestmark = pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL

OUT = Direction.OUT
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


def looked_through(gate: ModelGate, kept: Books) -> list[str]:
    """The statements that storing a gate costs."""
    said: list[str] = []

    def note(*call: Any) -> None:
        said.append(call[2])

    event.listen(kept.database._engine, "before_cursor_execute", note)
    kept.ledger.store_many(
        [(gate.name, gate.batch(at, at + 200)) for at in range(0, len(gate.rows), 200)], NOON_MS
    )
    event.remove(kept.database._engine, "before_cursor_execute", note)
    return said


def test_a_staff_pass_of_a_whole_season_costs_a_late_gate_no_more_than_another(kept: Books) -> None:
    east, west = ModelGate("east"), ModelGate("west")
    for _ in range(150):
        east.person("acme:staff", reentry=Reentry.AFTER_EXIT)
        east.person("acme:staff", OUT, reentry=Reentry.AFTER_EXIT)
    looked_through(east, kept)
    west.at_ms = east.at_ms // 2
    for _ in range(150):
        west.person("acme:staff", OUT, reentry=Reentry.AFTER_EXIT)
    asked = [text for text in looked_through(west, kept) if "report" in text]
    assert len(asked) < 10, "ways out between entries that are explained already are not paired"
    assert kept.kinds() == []


def test_a_ticket_that_enters_without_end_is_reported_without_pairing_all(kept: Books) -> None:
    east, west = ModelGate("east"), ModelGate("west")
    for _ in range(40):
        east.person("acme:t1")
    west.at_ms = east.at_ms + 1_000_000
    west.person("acme:t1")
    kept.store(east)
    kept.store(west)
    assert len(kept.reports("double")) == NEAR_MAX
    late = ModelGate("late")
    late.at_ms = east.at_ms + 500_000
    late.person("acme:t1", OUT)
    late.person("acme:t1", OUT)
    kept.store(late)
    assert len(kept.reports("explained")) == NEAR_MAX, "two ways out that come together explain it"


def test_the_movements_of_a_ticket_that_are_looked_at_are_bounded(
    kept: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubles, "MOVES_MAX", 2)
    gates = [ModelGate(name) for name in ("a", "b", "c")]
    for at, gate in enumerate(gates):
        gate.at_ms = at * 100_000
        gate.person("acme:t1")
        kept.store(gate)
    assert len(kept.reports("double")) == 2, "the first is not compared with the third"


def made_up(gate: ModelGate, number: int, after: int) -> wire.Journal:
    """A row after one that nobody has, said to be confirmed."""
    digest = number.to_bytes(16)
    row = wire.SentRow(after + 1, gate.rows[0].body, None)
    return wire.Journal(cursor=after, cursor_digest=digest, after=after, previous=digest, rows=(row,))


def test_a_gate_that_makes_up_gaps_without_end_is_refused_and_its_true_rows_are_taken(kept: Books) -> None:
    gate = ModelGate("thief")
    gate.person()
    kept.store(gate, 0, 2)
    told = kept.ledger.store_many(
        [(gate.name, made_up(gate, number, (1 << 32) + 50)) for number in range(1, TIPS_MAX + 10)], NOON_MS
    )
    refused = [each for each in told if each.refused]
    assert len(refused) == 10
    assert {(each.receipt, each.new_rows) for each in refused} == {(None, 0)}
    assert len(kept.lines(schema.tip)) == TIPS_MAX
    assert len(kept.reports("too_many_branches")) == 1
    assert kept.store(gate, 2, cursor=2).receipt == gate.receipt()
    assert kept.store(gate, 0).receipt == gate.receipt(), "what is known is confirmed again"


def test_batches_that_wait_for_rows_in_front_of_them_are_bounded(
    kept: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "LOOSE_MAX", 3)
    gate = ModelGate()
    for _ in range(5):
        gate.person()
    told = [kept.store(gate, at, at + 1) for at in range(1, 6)]
    assert [bool(each.refused) for each in told] == [False] * 3 + [True] * 2
    assert kept.store(gate, 5).refused
    kept.store(gate, 0, 1)
    assert kept.store(gate, 4).receipt == gate.receipt(), "nothing stays stuck"


def test_reports_of_one_kind_that_one_gate_makes_up_are_bounded(
    kept: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "REPORTS_OF_GATE_MAX", 3)
    thief, honest = ModelGate("thief"), ModelGate("honest")
    for gate in (thief, honest):
        for number in range(1, 3 if gate is honest else 20):
            kept.ledger.store(gate.name, made_up(gate, number, (1 << 32) + 50), NOON_MS)
    gaps = kept.reports("gap")
    assert [sum(f"gate {name}:" in text for text in gaps) for name in ("thief", "honest")] == [3, 2]
    (more,) = kept.reports("more")
    assert more.startswith("gate thief: there are 3 reports of kind 'gap' of it")
