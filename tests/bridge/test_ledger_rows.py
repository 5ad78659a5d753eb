from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from firmware import wire
from firmware.bridge import schema
from firmware.bridge.database import ForeignLedger
from firmware.bridge.feed import Feed
from firmware.bridge.ledger import LOOSE_MS_MAX, Ledger, check
from firmware.bridge.vendor import Accepted
from firmware.core.movements import Act
from tests.bridge.feeds import KEY
from tests.bridge.model_gate import ACCOUNTS, VENUE, Books, ModelGate, books
from tests.core.samples import NOON_MS

pytestmark = pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Books]:
    with books(tmp_path) as found:
        yield found


def gate_with(rows: int, name: str = "east", people: str = "t") -> ModelGate:
    gate = ModelGate(name)
    while len(gate.rows) < rows:
        gate.person(f"acme:{people}{len(gate.rows)}")
    return gate


def keys(kept: Books) -> list[tuple[int, bytes]]:
    return [(line.row, line.digest) for line in kept.lines(schema.row)]


def keys_of(*gates: ModelGate) -> list[tuple[int, bytes]]:
    return sorted({(row.number, row.digest) for gate in gates for row in gate.rows})


def loose(kept: Books) -> int:
    return sum(line.branch is None for line in kept.lines(schema.row))


def test_a_batch_that_comes_again_changes_nothing(kept: Books) -> None:
    gate = gate_with(21)
    first, again = kept.store(gate), kept.store(gate)
    assert first.receipt == again.receipt == gate.receipt()
    assert (first.new_rows, again.new_rows) == (21, 0)
    assert first.movements_upto == 20
    assert again.movements_upto == 0
    assert keys(kept) == keys_of(gate)
    assert kept.ledger.counts().rows == 21
    assert kept.kinds() == []


def test_rows_that_come_before_those_in_front_of_them_wait(kept: Books) -> None:
    gate = gate_with(31)
    assert kept.store(gate, 20).receipt is None
    assert kept.store(gate, 10, 20).receipt is None
    assert kept.ledger.counts().loose == 2
    assert kept.lines(schema.admission) == []
    assert kept.store(gate, 0, 10).receipt == gate.receipt()
    assert kept.ledger.counts().loose == 0
    assert [line.row for line in kept.lines(schema.movement)] == [row.number for row in gate.rows[1:]]
    assert kept.kinds() == []


def test_a_waiting_batch_is_answered_with_the_tip_that_it_will_hang_under(kept: Books) -> None:
    gate = gate_with(31)
    kept.store(gate, 0, 10)
    assert kept.store(gate, 20, cursor=10).receipt == gate.receipt(9)


def test_rows_cut_anew_at_other_places_count_once(kept: Books) -> None:
    gate = gate_with(41)
    for start, stop in ((0, 10), (5, 15), (25, 35), (20, 30), (14, 22), (0, 41)):
        kept.store(gate, start, stop)
    assert keys(kept) == keys_of(gate)
    assert loose(kept) == 0
    assert len(kept.lines(schema.movement)) == 40
    assert kept.store(gate, 30).receipt == gate.receipt()


def test_two_relays_on_one_database_store_one_chain(kept: Books, tmp_path: Path) -> None:
    gate = gate_with(21)
    with books(tmp_path) as other:
        kept.store(gate, 0, 7)
        other.store(gate, 7, 14)
        assert kept.store(gate, 14).receipt == gate.receipt()
        assert other.store(gate).new_rows == 0
    assert keys(kept) == keys_of(gate)


def test_several_batches_share_one_transaction(kept: Books) -> None:
    east, west = gate_with(21), gate_with(11, "west", "u")
    batches = [("east", east.batch(10)), ("west", west.batch()), ("east", east.batch(0, 10))]
    stored = kept.ledger.store_many(batches, NOON_MS)
    assert [each.receipt for each in stored] == [None, west.receipt(), east.receipt()]
    assert [each.new_rows for each in stored] == [11, 11, 10]
    assert {each.movements_upto for each in stored} == {30}
    assert kept.ledger.store_many([], NOON_MS) == []


def test_a_ledger_is_one_venues_and_refuses_another(kept: Books) -> None:
    with pytest.raises(
        ForeignLedger, match="the ledger of venue 'hall', not 'other': give each venue a ledger"
    ):
        Ledger(kept.database, "other", ACCOUNTS)
    with pytest.raises(ForeignLedger):
        Feed(kept.database, "other", KEY)
    assert Ledger(kept.database, VENUE, ACCOUNTS).counts().rows == 0


# --- forks ----------------------------------------------------------------------------------------


def test_an_old_card_put_back_is_a_fork_kept_whole_and_reported_once(kept: Books) -> None:
    gate = gate_with(11)
    old = gate.copied(6)
    kept.store(gate)
    old.start()
    old.person("acme:late")
    forked = kept.store(old, 6, cursor=6)
    assert forked.receipt == old.receipt()
    assert len(forked.reports) == 1
    assert kept.store(old, 6, cursor=6).receipt == old.receipt()
    gate.person("acme:more")
    assert kept.store(gate, 11, cursor=11).receipt == gate.receipt()
    assert keys(kept) == keys_of(gate, old)
    (text,) = kept.reports("fork")
    assert "gate east" in text
    assert "row 2.1" in text
    assert old.rows[6].digest.hex()[:8] in text
    assert gate.rows[6].digest.hex()[:8] in text
    assert "old card" in text
    assert len(kept.lines(schema.movement)) == 10 + 2 + 2


def test_a_fork_of_a_fork_has_its_own_tip(kept: Books) -> None:
    gate = gate_with(11)
    second = gate.copied(6)
    second.start()
    second.person("acme:b")
    third = second.copied(8)
    third.person("acme:c")
    for each in (gate, second, third):
        assert kept.store(each).receipt == each.receipt()
    assert len(kept.lines(schema.tip)) == 3
    assert len(kept.reports("fork")) == 2


def test_an_older_copy_that_has_nothing_new_gets_receipts_for_its_own_rows(kept: Books) -> None:
    gate = gate_with(21)
    kept.store(gate)
    old = gate.copied(11)
    assert kept.store(old, 0, 5).receipt == old.receipt(4)
    assert kept.store(old, 5).receipt == old.receipt()
    assert kept.kinds() == []


def test_two_gates_with_one_name_each_get_receipts_for_their_own_rows(kept: Books) -> None:
    one, other = gate_with(11), gate_with(15, people="u")
    assert kept.store(one, 0, 5).receipt == one.receipt(4)
    assert kept.store(other, 0, 5).receipt == other.receipt(4)
    assert kept.store(one, 5).receipt == one.receipt()
    assert kept.store(other, 5).receipt == other.receipt()
    (text,) = kept.reports("new_journal")
    assert "gate east" in text
    assert kept.kinds() == ["new_journal"]


def test_loose_rows_of_two_gates_with_one_name_do_not_mix(kept: Books) -> None:
    one, other = gate_with(21), gate_with(21, people="u")
    for gate in (one, other):
        assert kept.store(gate, 10).receipt is None
    for gate in (one, other):
        assert kept.store(gate, 0, 10).receipt == gate.receipt()
    assert keys(kept) == keys_of(one, other)
    assert len(kept.lines(schema.movement)) == 40


def test_a_loose_row_of_a_fork_joins_although_another_row_follows_already(kept: Books) -> None:
    gate = gate_with(3)
    other = gate.copied()
    gate.person()
    other.start()
    kept.store(gate, 0, 1)
    kept.store(other, 3)
    kept.store(gate, 1)
    assert loose(kept) == 0
    assert kept.kinds() == ["fork"]


def test_a_row_settles_the_admission_of_its_own_chain(kept: Books) -> None:
    one, other = ModelGate(), ModelGate()
    first, second = one.admit("acme:one"), other.admit("acme:other")
    assert first.number == second.number
    kept.store(one)
    kept.store(other)
    other.settle(second)
    kept.store(other, 2)
    states = {line.subject: line.state for line in kept.lines(schema.admission)}
    assert states == {"acme:one": "open", "acme:other": "settled"}
    one.settle(first, Act.LAPSED)
    kept.store(one, 2)
    assert [line.subject for line in kept.lines(schema.work)] == ["acme:other"]


# --- rows that are missing ------------------------------------------------------------------------


def test_a_ledger_that_lost_confirmed_rows_says_so_and_goes_on(kept: Books) -> None:
    gate = gate_with(31)
    kept.store(gate, 0, 10)
    lost = kept.store(gate, 21, cursor=21)
    assert lost.receipt == gate.receipt()
    assert "older copy" in lost.reports[0]
    gate.person("acme:more")
    assert kept.store(gate, 31, cursor=31).receipt == gate.receipt()
    assert kept.kinds() == ["gap"]
    assert len(kept.lines(schema.tip)) == 2


def test_after_a_gap_rows_behind_the_cursor_wait_as_ever(kept: Books) -> None:
    gate = gate_with(31)
    assert kept.store(gate, 25, cursor=21).receipt == gate.receipt(20)
    assert kept.store(gate, 21, 25, cursor=21).receipt == gate.receipt()
    assert loose(kept) == 0
    assert kept.kinds() == ["gap"]


def test_a_gap_closes_when_the_missing_rows_come_after_all(kept: Books) -> None:
    gate = gate_with(20)
    spanning = gate.admit("acme:spanning")
    gate.settle(spanning)
    gate.person("acme:last")
    kept.store(gate, 0, 10)
    kept.store(gate, 22, cursor=22)  # the walk of the spanning admission is the first row
    assert gate.rows[22].row is not None
    assert gate.rows[22].row.scan == spanning.number
    assert len(kept.reports("unknown_admission")) == 1
    assert kept.store(gate, 10, 22).receipt == gate.receipt()
    (tip,) = kept.lines(schema.tip)
    assert tip.row == gate.rows[-1].number
    assert {line.branch for line in kept.lines(schema.row)} == {tip.id}
    settled = [line.row for line in kept.lines(schema.admission) if line.state == "settled"]
    assert spanning.number in settled
    assert len(kept.lines(schema.work)) == len(settled) == len(kept.lines(schema.admission))


@pytest.mark.parametrize("tried", [False, True], ids=["not told yet", "told"])
@pytest.mark.parametrize("late", [False, True], ids=["walked before", "walked after"])
def test_a_gap_that_closes_shows_that_another_journals_admission_was_settled_by_a_guess(
    kept: Books, tried: bool, late: bool
) -> None:
    one, other = ModelGate(), ModelGate()
    first, second = one.admit("acme:t"), other.admit("acme:t")
    assert first.number == second.number
    other.write_bytes(b"lost for a while")
    other.settle(second)
    kept.store(one)
    kept.store(other, 3, cursor=3)
    (guessed,) = kept.lines(schema.work)
    assert {line.digest for line in kept.lines(schema.admission) if line.id == guessed.admission} == {
        first.digest
    }
    if tried:
        (claimed,) = kept.ledger.claim("acme", "worker", NOON_MS, 1, 1000)
        kept.ledger.finish([(claimed, Accepted())], NOON_MS)
    one.settle(first)
    if not late:
        kept.store(one, 2)
    assert kept.store(other, 0, 3).receipt == other.receipt()
    if late:
        kept.store(one, 2)
    admissions = {line.id: line for line in kept.lines(schema.admission)}
    assert {line.state for line in admissions.values()} == {"settled"}
    works = {admissions[line.admission].digest: line for line in kept.lines(schema.work)}
    assert works.keys() == {first.digest, second.digest}, "each of the two walks counts once"
    assert works[second.digest].id == guessed.id, "its own walk settled it"
    assert works[second.digest].state == ("done" if tried else "due")
    assert works[first.digest].state == "due"


@pytest.mark.parametrize("order", [(5, 8), (8, 5)])
def test_two_gaps_that_close_at_once_leave_no_admission_open(kept: Books, order: tuple[int, int]) -> None:
    gate = gate_with(5)
    first = gate.admit("acme:first")
    gate.person("acme:between")
    second = gate.admit("acme:second")
    gate.settle(first)
    gate.settle(second)
    kept.store(gate, 0, 5)
    kept.store(gate, 6, 8, cursor=6)
    kept.store(gate, 9, cursor=9)
    assert len(kept.lines(schema.tip)) == 3
    kept.ledger.store_many([("east", gate.batch(row, row + 1)) for row in order], NOON_MS)
    assert len(kept.lines(schema.tip)) == 1
    assert {line.state for line in kept.lines(schema.admission)} == {"settled"}
    assert len(kept.lines(schema.work)) == len(kept.lines(schema.admission)) == 5


def test_a_batch_that_reaches_across_the_end_of_a_gap_leaves_no_row_behind(kept: Books) -> None:
    gate = gate_with(31)
    kept.store(gate, 0, 10)
    kept.store(gate, 21, cursor=21)
    kept.store(gate, 15, 25)
    assert loose(kept) == 6
    kept.store(gate, 10, 15)
    assert loose(kept) == 0
    assert len(kept.lines(schema.tip)) == 1
    assert keys(kept) == keys_of(gate)


def test_new_rows_behind_the_end_of_a_gap_do_not_wait_for_it_to_close(kept: Books) -> None:
    gate = gate_with(41)
    kept.store(gate, 0, 10)
    kept.store(gate, 21, 25, cursor=21)
    assert kept.store(gate, 18, 31, cursor=10).receipt == gate.receipt(9)
    assert loose(kept) == 3
    kept.store(gate, 31, cursor=21)
    assert loose(kept) == 3


def test_rows_that_waited_join_behind_a_gap_that_becomes_known_later(kept: Books) -> None:
    gate = gate_with(41)
    kept.store(gate, 0, 10)
    kept.store(gate, 18, 31, cursor=10)
    assert loose(kept) == 13
    assert kept.store(gate, 35, cursor=21).receipt == gate.receipt(30)
    assert loose(kept) == 3 + 6
    assert kept.store(gate, 31, 35, cursor=21).receipt == gate.receipt()
    assert loose(kept) == 3


def test_rows_whose_predecessors_never_come_count_after_an_hour(kept: Books) -> None:
    gate = gate_with(31)
    kept.store(gate, 0, 10)
    kept.store(gate, 13, 21)
    assert kept.ledger.release_loose(NOON_MS + LOOSE_MS_MAX - 1) == ()
    (text,) = kept.ledger.release_loose(NOON_MS + LOOSE_MS_MAX)
    assert "missing" in text
    assert kept.ledger.release_loose(NOON_MS + LOOSE_MS_MAX) == ()
    assert loose(kept) == 0
    assert len(kept.lines(schema.movement)) == 9 + 8
    assert kept.store(gate, 21, cursor=10).receipt == gate.receipt(9), "the gate must send what is missing"
    assert kept.store(gate, 10, 13, cursor=10).receipt == gate.receipt()
    assert len(kept.lines(schema.tip)) == 1


# --- what cannot be -------------------------------------------------------------------------------


def test_a_batch_that_no_journal_sends_is_unfit(kept: Books) -> None:
    gate = gate_with(5)
    good = gate.batch(1)
    bad = [
        wire.Journal(
            cursor=0, cursor_digest=b"", after=good.after, previous=good.previous, rows=good.rows[::-1]
        ),
        wire.Journal(cursor=0, cursor_digest=b"", after=0, previous=b"", rows=()),
        wire.Journal(cursor=0, cursor_digest=b"", after=0, previous=good.previous, rows=good.rows),
        wire.Journal(cursor=0, cursor_digest=b"", after=good.after, previous=b"", rows=good.rows),
        wire.Journal(
            cursor=good.after, cursor_digest=b"", after=good.after, previous=good.previous, rows=good.rows
        ),
        wire.Journal(
            cursor=0,
            cursor_digest=b"",
            after=good.rows[0].row,
            previous=good.previous,
            rows=good.rows,
        ),
    ]
    check(good)
    for batch in bad:
        with pytest.raises(wire.Unfit):
            kept.ledger.store_many([("east", gate.batch()), ("east", batch)], NOON_MS)
    assert kept.ledger.counts().rows == 0


def test_a_row_that_cannot_be_read_holds_up_no_other(kept: Books) -> None:
    gate = ModelGate()
    strange = b"\x93\xa6marvel\xa5north\x01"
    for body in (strange, b"\xc1", strange, b""):
        gate.write_bytes(body)
    gate.person()
    assert kept.store(gate).receipt == gate.receipt()
    assert keys(kept) == keys_of(gate)
    assert len(kept.lines(schema.work)) == 1
    texts = kept.reports("unreadable")
    assert len(texts) == 2
    assert "'marvel'" in texts[0]
    gate.write_bytes(strange)
    assert kept.store(gate, 5).reports == ()


def test_a_number_too_large_for_a_database_is_not_derived_from(kept: Books) -> None:
    gate = ModelGate()
    entry = gate.admit()
    assert entry.row is not None
    assert entry.row.movement is not None
    for row in (
        entry.row._replace(moment=entry.row.moment._replace(utc_ms=1 << 63)),
        entry.row._replace(moment=entry.row.moment._replace(monotonic_ms=-1)),
        entry.row._replace(movement=entry.row.movement._replace(row=1 << 63)),
        entry.row._replace(movement=entry.row.movement._replace(utc_ms=1 << 62)),
        entry.row._replace(movement=entry.row.movement._replace(subject="acme:\0")),
    ):
        gate.write(row)
    assert kept.store(gate).receipt == gate.receipt()
    assert len(kept.lines(schema.movement)) == 1
    assert kept.kinds() == ["unreadable"]


def test_a_zero_character_in_a_code_is_written_out(kept: Books) -> None:
    gate = ModelGate()
    gate.admit(code="A\0B")
    kept.store(gate)
    assert [line.code for line in kept.lines(schema.row)] == [None, "A\\x00B"]


def test_the_tables_can_be_made_in_postgresql_too() -> None:
    for table in schema.metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]  # untyped there


def test_a_ledger_that_is_closed_and_opened_again_knows_all(tmp_path: Path) -> None:
    gate = gate_with(21)
    with books(tmp_path) as before:
        before.store(gate, 0, 9)
    with books(tmp_path) as after:
        assert after.store(gate, 9, cursor=9).receipt == gate.receipt()
        assert after.ledger.counts().rows == 21
