"""Movements from elsewhere on their way into the journal, each exactly once."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from firmware import wire
from firmware.core.movements import Act, inside
from firmware.core.ticket import NO_HISTORY, Credit, Direction, Moment
from firmware.facts import CLOCK_AHEAD_MS, NEWS_MS_MAX
from firmware.journal import WAITING_ROWS_MAX as JOURNAL_ROWS_MAX
from firmware.journal import Journal
from firmware.row import Row, decode, row_id
from firmware.rows import RowReader
from firmware.uplink.notes import (
    TURN_ROWS,
    WAITING_ROWS_MAX,
    Notes,
    admission_elsewhere,
    name_of_moved,
    noted_row,
)
from tests.brokers import LIMIT_S
from tests.core.samples import NOON_MS, OUTER
from tests.journals import FULL, Disk, News, folded, histories_of, open_journal, scan_row, walk_row
from tests.uplinks import patient_notes  # noqa: F401  a fixture

NOW = Moment(7, NOON_MS, True)


def moved(number: int, subject: str = "t", act: Act = Act.OPENED, gate: str = "south") -> wire.Moved:
    return wire.Moved(
        gate=gate,
        row=row_id(3, number),
        digest=number.to_bytes(16),
        admission=row_id(3, number),
        act=act,
        subject=f"{subject}{number}" if subject == "t" else subject,
        direction=Direction.IN,
        perimeters=(OUTER,),
        utc_ms=NOON_MS,
    )


def by_vendor(number: int, subject: str, direction: Direction = Direction.IN) -> wire.Moved:
    return wire.Moved(
        gate="",
        row=number,
        digest=b"",
        admission=0,
        act=Act.NOTED,
        subject=subject,
        direction=direction,
        perimeters=(OUTER,),
        utc_ms=NOON_MS + number,
    )


class Place:
    """A journal with its notes. `turn` is one turn of the loop."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder, self.news, self.disk = folder, News(), disk
        self.journal: Journal = open_journal(folder, self.news, disk)
        self.reader = RowReader(folder)
        self.turns: list[Callable[[], None]] = []
        self.at_once = False
        self.notes = Notes("north", self.journal, self.reader, self.do, lambda: NOW)
        self.written, self.told_of = threading.Condition(), self.journal.committed
        self.journal.listen(self.committed)

    def committed(self, row: int) -> None:
        """On the journal's thread, after the loop's news of the row."""
        self.notes.committed(row)
        with self.written:
            self.told_of = row
            self.written.notify_all()

    def do(self, work: Callable[[], None]) -> None:
        self.turns.append(work)
        if self.at_once and len(self.turns) == 1:
            while self.turns:
                self.turns[0]()
                del self.turns[0]

    def turn(self) -> None:
        self.turns.pop(0)()

    def work(self) -> None:
        """Until the loop has nothing more to do, and all of it is on disk, and the notes know it."""
        while self.turns:
            self.turn()
        self.notes.note(())
        with self.written:
            assert self.written.wait_for(lambda: self.told_of >= self.journal.next_row - 1, LIMIT_S)

    def noted(self) -> list[Row]:
        rows = [decode(stored.body) for stored in self.reader.all()]
        return [row for row in rows if row.kind == "noted"]

    def close(self) -> None:
        self.notes.close()
        self.reader.close()
        self.journal.close()


@pytest.fixture
def place(tmp_path: Path, patient_notes: None) -> Iterator[Place]:  # noqa: F811  the fixture
    place = Place(tmp_path / "data" / "journal", Disk())
    yield place
    place.close()


def test_a_movement_that_is_told_again_and_again_is_noted_once(place: Place) -> None:
    told = [moved(1), moved(2)]
    assert place.notes.offer([*told, *told], heard=True)
    assert place.notes.offer(told)
    place.turn()
    assert place.notes.offer(told)
    place.work()
    assert place.notes.offer(told, heard=True)
    place.work()
    assert [row.text for row in place.noted()] == ["gate south, row 3.1", "gate south, row 3.2"]
    assert inside(place.journal.history("t1"), OUTER)
    assert place.reader.peers() == {"south": (row_id(3, 2), (2).to_bytes(16))}


def test_a_movement_is_noted_once_across_restarts(place: Place, tmp_path: Path) -> None:
    assert place.notes.offer([moved(1)])
    place.work()
    place.close()
    again = Place(place.folder, Disk())
    try:
        assert again.notes.offer([moved(1)])
        again.work()
        assert len(again.noted()) == 1
        assert len(again.journal.history("t1").pending) == 1
    finally:
        again.close()
    assert histories_of(place.folder) == folded(place.folder)


def test_the_end_of_an_admission_elsewhere_settles_it_here(place: Place) -> None:
    opened = moved(1)
    passed = wire.Moved(
        gate="south",
        row=row_id(3, 2),
        digest=bytes(16),
        admission=opened.row,
        act=Act.PASSED,
        subject=opened.subject,
        direction=Direction.IN,
        perimeters=(OUTER,),
        utc_ms=NOON_MS + 5,
    )
    assert place.notes.offer([opened, passed])
    place.work()
    history = place.journal.history("t1")
    assert history.pending == ()
    assert history.outer.entries == 1
    assert history.settled_row == 0


def test_the_end_of_an_admission_that_was_not_heard_of_is_a_walk_all_the_same(place: Place) -> None:
    assert place.notes.offer([moved(1, act=Act.SETTLED), moved(2, act=Act.LAPSED)])
    place.work()
    assert place.journal.history("t1").outer.entries == 1
    assert place.journal.history("t2") == NO_HISTORY


def test_a_scan_comes_between_two_turns_of_many_movements(place: Place) -> None:
    assert place.notes.offer([moved(number) for number in range(3 * TURN_ROWS)])
    place.turn()
    assert place.journal.next_row - row_id(1, 2) == TURN_ROWS
    assert len(place.turns) == 1


def test_movements_keep_their_order_whoever_offers_them(place: Place) -> None:
    assert place.notes.offer([moved(number) for number in range(1, 2 * TURN_ROWS)])
    place.turn()
    assert place.notes.offer([moved(2 * TURN_ROWS)])
    place.work()
    assert [row.text for row in place.noted()] == [
        f"gate south, row 3.{number}" for number in range(1, 2 * TURN_ROWS + 1)
    ]


def test_a_caller_can_wait_until_movements_are_on_disk(place: Place) -> None:
    place.at_once = True
    assert place.notes.note([moved(1), moved(2)])
    assert place.reader.is_noted("south", row_id(3, 2), (2).to_bytes(16))
    assert place.notes.note([moved(1)])


def test_a_caller_is_told_no_while_the_disk_refuses_and_nothing_is_noted_twice(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.at_once = True
    place.disk.fault = FULL
    with monkeypatch.context() as changed:
        changed.setattr("firmware.uplink.notes.SAFE_S_MAX", 0.02)
        assert not place.notes.note([moved(1)])
        assert not place.notes.note([moved(1)])
    place.disk.fault = None
    place.news.safe(row_id(1, 2))
    assert place.notes.note([moved(1)])
    assert len(place.noted()) == 1


def test_what_the_journal_has_no_memory_for_is_dropped_and_can_be_told_again(place: Place) -> None:
    place.disk.fault = FULL
    for _ in range(JOURNAL_ROWS_MAX):
        place.journal.note(Row("clock", "", NOW))
    assert place.notes.offer([moved(1), moved(2)])
    place.turn()
    assert place.notes.drops == 1
    assert place.turns == []
    place.at_once = True
    assert not place.notes.note([moved(1)])
    place.disk.fault = None
    place.news.safe(place.journal.next_row - 1)
    assert place.notes.note([moved(1), moved(2)])
    assert len(place.noted()) == 2


def test_what_cannot_be_written_does_not_end_the_loop_and_is_a_fault(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(moved: wire.Moved, moment: Moment, **how: bool) -> Row:
        raise RuntimeError("a movement that nobody foresaw")

    with monkeypatch.context() as changed:
        changed.setattr("firmware.uplink.notes.noted_row", fail)
        assert place.notes.offer([moved(1)])
        place.turn()
    assert "a movement that nobody foresaw" in place.notes.failure
    assert place.notes.offer([moved(2)])
    place.work()
    assert [row.text for row in place.noted()] == ["gate south, row 3.2"]


def test_no_more_waits_for_the_loop_than_is_bounded(place: Place) -> None:
    assert place.notes.offer([moved(number) for number in range(WAITING_ROWS_MAX)])
    assert not place.notes.offer([moved(-1 % (1 << 20))])
    assert not place.notes.write([Row("fault", "", NOW)])
    place.work()
    assert place.notes.offer([moved(-1 % (1 << 20))])


def test_nobody_waits_for_a_gate_that_ends(place: Place) -> None:
    place.notes.close()
    assert not place.notes.note([moved(1)])


def test_what_a_page_tells_again_after_its_rows_are_gone_is_not_noted_twice(place: Place) -> None:
    old = [msgspec.structs.replace(moved(n), utc_ms=NOON_MS - 100 + n) for n in range(4)]
    assert place.notes.offer(old[:3])
    place.work()
    place.journal._rows.forget(place.journal.committed)
    place.journal._rows.forget_noted(NOON_MS - 98)
    assert place.notes.offer(old[:3])
    place.work()
    assert [place.journal.history(f"t{n}").outer.entries for n in range(3)] == [0, 0, 0]
    assert [len(place.journal.history(f"t{n}").pending) for n in range(3)] == [1, 1, 1]
    assert place.notes.offer([msgspec.structs.replace(old[3], utc_ms=NOON_MS - 99)], heard=True)
    place.work()
    assert len(place.journal.history("t3").pending) == 1, "a gate tells of itself only what is new"


YEARS_MS = 9 * 31_536_000_000


def test_a_gate_whose_clock_stands_years_ahead_does_not_hide_the_way_out_at_a_third(place: Place) -> None:
    ahead = msgspec.structs.replace(moved(1, "t", Act.SETTLED), subject="t1", utc_ms=NOON_MS + YEARS_MS)
    left = msgspec.structs.replace(
        moved(2, "t1", Act.SETTLED, gate="west"), direction=Direction.OUT, utc_ms=NOON_MS + CLOCK_AHEAD_MS
    )
    assert place.notes.offer([ahead])
    assert place.notes.offer([left])
    place.work()
    assert not inside(place.journal.history("t1"), OUTER)
    assert [row.movement.utc_ms for row in place.noted() if row.movement] == [NOON_MS + CLOCK_AHEAD_MS] * 2


def test_a_doubt_of_a_gate_whose_clock_stands_ahead_ends_as_soon_as_it_would_there() -> None:
    ahead = msgspec.structs.replace(
        moved(1), utc_ms=NOON_MS + YEARS_MS, until_utc_ms=NOON_MS + YEARS_MS + 5_000
    )
    found = noted_row(ahead, NOW).movement
    assert found is not None
    assert (found.utc_ms, found.until_utc_ms) == (NOON_MS + CLOCK_AHEAD_MS, NOON_MS + CLOCK_AHEAD_MS + 5_000)
    plain = noted_row(msgspec.structs.replace(ahead, until_utc_ms=0), NOW).movement
    assert plain is not None
    assert plain.until_utc_ms == 0


def test_a_clock_that_is_not_trusted_says_nothing_of_others() -> None:
    late = moved(1)
    found = noted_row(late, Moment(7, 0, trusted=False)).movement
    assert found is not None
    assert found.utc_ms == late.utc_ms


# --- own rows -----------------------------------------------------------------------------------------


def own(place: Place, at: int) -> wire.Moved:
    stored = list(place.reader.all())[at]
    movement = decode(stored.body).movement
    assert movement is not None
    return wire.Moved(
        gate="north",
        row=stored.id,
        digest=stored.digest,
        admission=movement.row,
        act=movement.act,
        subject=movement.subject,
        direction=movement.direction,
        perimeters=movement.perimeters,
        utc_ms=movement.utc_ms,
    )


def test_an_own_movement_that_comes_back_is_not_noted(place: Place) -> None:
    assert place.journal.submit(scan_row(place.journal))
    place.work()
    assert place.notes.offer([own(place, 1)])
    place.work()
    assert place.noted() == []


def test_movements_of_this_gate_before_its_journal_was_replaced_are_noted(place: Place) -> None:
    assert place.notes.offer([moved(1, gate="north")])
    place.work()
    assert [row.text for row in place.noted()] == ["gate north, row 3.1"]


# --- the vendor's word --------------------------------------------------------------------------------


def test_the_vendors_movement_counts_where_this_gate_has_done_nothing_since_its_receipt(place: Place) -> None:
    assert place.notes.offer([by_vendor(1, "t1")])
    place.work()
    assert place.journal.history("t1").outer.entries == 1
    assert [row.text for row in place.noted()] == ["vendor, number 1"]


def test_own_rows_without_a_receipt_win_over_the_vendors_word(place: Place) -> None:
    opened = scan_row(place.journal)
    assert opened.movement is not None
    assert place.journal.submit(opened)
    assert place.journal.submit(walk_row(opened.movement))
    place.work()
    assert place.notes.offer([by_vendor(1, "t1", Direction.OUT)])
    place.work()
    assert inside(place.journal.history("t1"), OUTER)
    (row,) = place.noted()
    assert row.movement is None
    assert row.text.startswith("vendor, number 1, ticket t1: passed over: this gate moved the ticket")
    place.journal.confirm(place.journal.committed)
    assert place.notes.offer([by_vendor(2, "t1", Direction.OUT)])
    place.work()
    assert not inside(place.journal.history("t1"), OUTER)


def test_another_gates_movement_counts_beside_own_rows_without_a_receipt(place: Place) -> None:
    assert place.journal.submit(scan_row(place.journal))
    assert place.notes.offer([moved(1, subject="t1")])
    place.work()
    assert len(place.journal.history("t1").pending) == 2


def test_what_a_gate_has_no_say_in_is_written_down_and_has_no_effect() -> None:
    row = noted_row(moved(1, act=Act.NOTED), NOW)
    assert row.movement is None
    assert row.text == "gate south, row 3.1, ticket t1: passed over: noted is nobody else's business"


def test_a_credit_at_another_gate_is_one_here_until_it_is_used_there_or_over(place: Place) -> None:
    until_ms = NOON_MS + 600_000
    yes = msgspec.structs.replace(moved(1, "t1", Act.CREDITED), until_utc_ms=until_ms)
    assert place.notes.offer([yes])
    place.work()
    assert place.journal.history("t1").credit == Credit(Direction.IN, until_ms)
    opened = moved(2, "t1")
    walked = msgspec.structs.replace(moved(3, "t1", Act.PASSED), admission=opened.admission)
    assert place.notes.offer([opened, walked])
    place.work()
    assert place.journal.history("t1").credit is None


def test_a_credit_of_another_gate_lasts_no_longer_than_any_gate_may_give() -> None:
    for_ever = msgspec.structs.replace(moved(1, act=Act.CREDITED), until_utc_ms=NOON_MS * 2)
    movement = noted_row(for_ever, NOW).movement
    assert movement
    assert movement.until_utc_ms == NOW.utc_ms + NEWS_MS_MAX


def test_a_doubt_at_another_gate_is_one_here_and_ends_with_its_answer(place: Place) -> None:
    doubt = msgspec.structs.replace(moved(1, "t1", Act.UNSURE), until_utc_ms=NOON_MS + 600_000)
    assert place.notes.offer([doubt])
    place.work()
    assert place.journal.history("t1").unsure_until_utc_ms == NOON_MS + 600_000
    answer = msgspec.structs.replace(moved(2, "t1", Act.SURE), admission=doubt.admission)
    assert place.notes.offer([answer])
    place.work()
    assert place.journal.history("t1") == NO_HISTORY


def test_an_opening_that_the_vendor_claims_has_no_effect() -> None:
    assert noted_row(moved(1, gate=""), NOW).movement is None


def test_the_vendors_movements_of_two_feeds_are_different_ones_though_numbers_begin_anew() -> None:
    assert name_of_moved(by_vendor(1, "t1"), False) == name_of_moved(by_vendor(1, "t1"), False)
    assert name_of_moved(by_vendor(1, "t1"), False) != name_of_moved(by_vendor(1, "t2"), False)


def test_admissions_elsewhere_are_below_zero_and_differ_by_gate_and_row() -> None:
    found = {admission_elsewhere(gate, row) for gate in ("a", "b") for row in range(1000)}
    assert len(found) == 2000
    assert -(1 << 63) <= min(found) <= max(found) < 0
