"""Rows on their way up, against a ledger of a few lines and a network that loses, repeats and reorders."""

from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from firmware import wire
from firmware.row import chain, row_id
from firmware.rows import Stored
from firmware.uplink.rows_up import (
    GATHER_S,
    RECEIPT_S,
    RECEIPT_S_MAX,
    SPARE_MESSAGES,
    Place,
    RowsUp,
)
from tests.uplinks import ModelLedger

ROOM = wire.PAYLOAD_BYTES_MAX
WINDOW = wire.WINDOW_MESSAGES
MOST = WINDOW - SPARE_MESSAGES


class KeptRows:
    """A journal as a list. `remembered` is the receipt on disk, `retained` the first row that is left."""

    def __init__(self, count: int = 0) -> None:
        self.stored: list[Stored] = []
        self.remembered = self.retained = 0
        self.epoch = 1
        self.write(count)

    def write(self, count: int, body: bytes = b"body", code: str | None = None) -> None:
        for _ in range(count):
            last = self.stored[-1] if self.stored else Stored(0, b"", b"", None)
            number = max(last.id, row_id(self.epoch, 0)) + 1
            self.stored.append(Stored(number, body, chain(last.digest, number, body), code))

    @property
    def newest(self) -> int:
        return self.stored[-1].id if self.stored else 0

    def place(self, at: int) -> Place:
        return Place(self.stored[at].id, self.stored[at].digest)

    def after(self, row: int, limit: int) -> list[Stored]:
        return [stored for stored in self.stored if stored.id > row][:limit]

    def digest(self, row: int) -> bytes | None:
        return next((stored.digest for stored in self.stored if stored.id == row), None)

    def receipt(self) -> int:
        return self.remembered

    def retained_from(self) -> int:
        return self.retained


def sent(up: RowsUp, rows: KeptRows, now_s: float = 0.0, window: int = WINDOW) -> list[wire.Journal]:
    """All that goes out now."""
    found = []
    while (message := up.next_message(rows.newest, window, ROOM, now_s)) is not None:
        up.sent(now_s)
        found.append(message)
    return found


def numbers(messages: Sequence[wire.Journal]) -> list[int]:
    return [sent.row for message in messages for sent in message.rows]


def receipt_of(rows: KeptRows, at: int) -> wire.Receipt:
    row, digest = rows.place(at)
    return wire.Receipt(upto=row, digest=digest)


# --- what goes out ------------------------------------------------------------------------------------


def test_a_row_goes_out_at_once_when_nothing_is_out() -> None:
    rows = KeptRows(1)
    (message,) = sent(RowsUp(rows), rows)
    assert message == wire.Journal(
        cursor=0,
        cursor_digest=b"",
        after=0,
        previous=b"",
        rows=(wire.SentRow(rows.newest, b"body", None),),
    )


def test_rows_gather_while_others_are_out_and_go_when_the_receipt_comes() -> None:
    rows = KeptRows(1)
    up = RowsUp(rows)
    sent(up, rows)
    rows.write(3)
    assert sent(up, rows, GATHER_S - 0.01) == []
    assert up.receipt(receipt_of(rows, 0), rows.newest, 0.1) == rows.stored[0].id
    (message,) = sent(up, rows, 0.1)
    assert (message.after, message.previous) == rows.place(0)
    assert (message.cursor, message.cursor_digest) == rows.place(0)
    assert len(message.rows) == 3


def test_rows_that_gathered_for_long_enough_go_without_a_receipt() -> None:
    rows = KeptRows(1)
    up = RowsUp(rows)
    sent(up, rows)
    rows.write(3)
    assert up.wake_s(rows.newest, 0.0) == GATHER_S
    (message,) = sent(up, rows, GATHER_S)
    assert (message.after, len(message.rows)) == (rows.stored[0].id, 3)
    assert message.cursor == 0


def test_a_full_batch_does_not_wait_for_company() -> None:
    rows = KeptRows(1)
    up = RowsUp(rows)
    sent(up, rows)
    rows.write(wire.BATCH_ROWS_MAX)
    (message,) = sent(up, rows)
    assert len(message.rows) == wire.BATCH_ROWS_MAX


def test_no_more_than_the_window_is_out_without_a_receipt_and_some_of_it_is_left_to_others() -> None:
    rows = KeptRows(20 * wire.BATCH_ROWS_MAX)
    up = RowsUp(rows)
    messages = sent(up, rows)
    assert len(messages) == MOST
    assert numbers(messages) == [stored.id for stored in rows.stored[: MOST * wire.BATCH_ROWS_MAX]]
    up.receipt(receipt_of(rows, 2 * wire.BATCH_ROWS_MAX - 1), rows.newest, 0.0)
    assert len(sent(up, rows)) == 2
    assert len(sent(RowsUp(rows), rows, window=1)) == 1


@pytest.mark.parametrize(
    ("size", "in_first"), [(wire.BATCH_BYTES_MAX // 3, 3), (wire.BATCH_BYTES_MAX // 3 + 1, 2)]
)
def test_a_batch_holds_as_many_bytes_as_a_message_takes_and_no_more(size: int, in_first: int) -> None:
    rows = KeptRows()
    rows.write(4, bytes(size))
    first, *_ = sent(RowsUp(rows), rows)
    assert len(first.rows) == in_first
    assert len(wire.encode(first)) <= wire.PAYLOAD_BYTES_MAX


def test_the_fullest_batch_fits_into_a_message() -> None:
    rows = KeptRows()
    rows.write(wire.BATCH_ROWS_MAX, bytes(200), "é" * 50)
    (message,) = sent(RowsUp(rows), rows)
    assert len(message.rows) == wire.BATCH_ROWS_MAX
    assert len(wire.encode(message)) <= wire.PAYLOAD_BYTES_MAX


def test_a_broker_that_takes_less_gets_smaller_batches() -> None:
    rows = KeptRows()
    rows.write(10, bytes(1000))
    up = RowsUp(rows)
    message = up.next_message(rows.newest, WINDOW, wire.PAYLOAD_BYTES_MAX - wire.BATCH_BYTES_MAX + 3000, 0.0)
    assert message is not None
    assert len(message.rows) == 3


def test_the_largest_row_that_is_allowed_goes_up_with_its_code() -> None:
    rows = KeptRows()
    rows.write(1, bytes(wire.ROW_BYTES_MAX), "C" * (wire.BATCH_BYTES_MAX - wire.ROW_BYTES_MAX))
    up = RowsUp(rows)
    (message,) = sent(up, rows)
    assert message.rows[0].code is not None
    assert wire.decode(wire.encode(message), wire.Journal) == message
    assert not up.faults


def test_a_code_that_does_not_fit_stays_here_and_its_row_goes_up() -> None:
    rows = KeptRows()
    rows.write(1, bytes(wire.ROW_BYTES_MAX), "C" * (wire.BATCH_BYTES_MAX - wire.ROW_BYTES_MAX + 1))
    up = RowsUp(rows)
    (message,) = sent(up, rows)
    assert message.rows[0].code is None
    assert [kind for kind, _ in up.faults] == ["code too long"]


def test_a_row_that_no_message_can_hold_is_stepped_over_when_all_before_it_is_safe() -> None:
    rows = KeptRows(2)
    rows.write(1, bytes(wire.ROW_BYTES_MAX + 1))
    rows.write(2)
    up = RowsUp(rows)
    assert numbers(sent(up, rows)) == [rows.stored[0].id, rows.stored[1].id]
    assert sent(up, rows, GATHER_S) == []
    assert not up.faults
    up.receipt(receipt_of(rows, 1), rows.newest, 1.0)
    assert sent(up, rows, 1.0) == []
    assert [kind for kind, _ in up.faults] == ["row too long"]
    (message,) = sent(up, rows, 1.0)
    assert (message.cursor, message.after) == (rows.stored[2].id, rows.stored[2].id)
    assert numbers([message]) == [rows.stored[3].id, rows.stored[4].id]


# --- receipts -----------------------------------------------------------------------------------------


def test_receipts_repeated_or_out_of_order_change_nothing() -> None:
    rows = KeptRows(3)
    up = RowsUp(rows)
    sent(up, rows)
    assert up.receipt(receipt_of(rows, 1), rows.newest, 0.0) == rows.stored[1].id
    assert up.receipt(receipt_of(rows, 1), rows.newest, 0.0) == 0
    assert up.receipt(receipt_of(rows, 0), rows.newest, 0.0) == 0
    assert up.cursor == rows.place(1)
    assert up.receipt(wire.Receipt(upto=0, digest=b""), rows.newest, 0.0) == 0
    assert not up.faults


def test_a_receipt_of_an_older_epoch_counts_if_it_is_news_and_else_changes_nothing() -> None:
    rows = KeptRows(2)
    rows.epoch = 2
    rows.write(2)
    up = RowsUp(rows)
    sent(up, rows)
    assert up.receipt(receipt_of(rows, 1), rows.newest, 0.0) == row_id(1, 2)
    assert up.receipt(receipt_of(rows, 2), rows.newest, 0.0) == row_id(2, 1)
    assert up.receipt(receipt_of(rows, 0), rows.newest, 0.0) == 0
    assert not up.faults


@pytest.mark.parametrize(
    ("row", "said"),
    [(row_id(1, 4), "this journal ends at row 1.3"), (row_id(0, 9), "there is no such row")],
)
def test_a_receipt_for_a_row_that_is_not_here_moves_nothing_and_is_a_fault(row: int, said: str) -> None:
    rows = KeptRows(3)
    up = RowsUp(rows)
    sent(up, rows)
    assert up.receipt(wire.Receipt(upto=row, digest=bytes(16)), rows.newest, 0.0) == 0
    ((kind, text),) = up.faults
    assert kind == "receipt for an unknown row"
    assert said in text
    assert (up.cursor, up.strangers) == (Place(), 1)


def test_a_receipt_with_another_digest_moves_nothing_and_is_a_fault() -> None:
    rows = KeptRows(3)
    up = RowsUp(rows)
    sent(up, rows)
    assert up.receipt(wire.Receipt(upto=rows.newest, digest=bytes(16)), rows.newest, 0.0) == 0
    assert [kind for kind, _ in up.faults] == ["receipt for another row"]
    assert (up.cursor, up.strangers) == (Place(), 1)


def test_a_receipt_for_a_row_that_retention_has_dropped_changes_nothing() -> None:
    rows = KeptRows(3)
    rows.remembered = rows.retained = rows.stored[1].id
    old = receipt_of(rows, 0)
    del rows.stored[0]
    up = RowsUp(rows)
    assert up.receipt(old, rows.newest, 0.0) == 0
    assert not up.faults


def test_without_receipts_all_goes_out_again_first_one_batch_and_less_and_less_often() -> None:
    rows = KeptRows(3 * wire.BATCH_ROWS_MAX)
    up = RowsUp(rows)
    assert len(sent(up, rows)) == 3
    now_s, waits = 0.0, []
    for _ in range(7):
        due_s = up.wake_s(rows.newest, now_s + GATHER_S)
        assert sent(up, rows, due_s - 0.01) == []
        (message,) = sent(up, rows, due_s)
        assert message.after == 0
        waits.append(due_s - now_s)
        now_s = due_s
    assert waits == [RECEIPT_S, 10.0, 20.0, 40.0, *[RECEIPT_S_MAX] * 3]
    assert up.receipt(receipt_of(rows, wire.BATCH_ROWS_MAX - 1), rows.newest, now_s) != 0
    assert len(sent(up, rows, now_s)) == 2


def test_a_new_connection_begins_at_the_cursor() -> None:
    rows = KeptRows(3)
    up = RowsUp(rows)
    sent(up, rows)
    up.receipt(receipt_of(rows, 0), rows.newest, 0.0)
    up.connected()
    (message,) = sent(up, rows)
    assert (message.after, message.previous) == rows.place(0)


def test_a_receipt_of_an_earlier_connection_spares_what_it_confirms() -> None:
    rows = KeptRows(3)
    up = RowsUp(rows)
    sent(up, rows)
    up.connected()
    up.receipt(receipt_of(rows, 1), rows.newest, 0.0)
    assert numbers(sent(up, rows)) == [rows.stored[2].id]


# --- the start ----------------------------------------------------------------------------------------


def test_a_restart_goes_on_at_the_receipt_that_is_on_disk() -> None:
    rows = KeptRows(3)
    rows.remembered = rows.stored[1].id
    up = RowsUp(rows)
    assert up.cursor == rows.place(1)
    assert numbers(sent(up, rows)) == [rows.stored[2].id]


def test_rows_that_retention_dropped_without_a_broker_are_a_fault_and_hold_nothing_up() -> None:
    rows = KeptRows(5)
    rows.retained = rows.stored[2].id
    del rows.stored[1:2]  # the first row of the epoch stays, for its settings
    up = RowsUp(rows)
    assert [kind for kind, _ in up.faults] == ["rows dropped"]
    (message,) = sent(up, rows)
    assert message.cursor == message.after == rows.retained
    assert numbers([message]) == [stored.id for stored in rows.stored[2:]]


def test_rows_that_retention_dropped_to_the_end_of_an_epoch_hold_nothing_up_either() -> None:
    rows = KeptRows(3)
    rows.retained = rows.newest + 1
    rows.epoch = 2
    rows.write(3)
    del rows.stored[:3]
    up = RowsUp(rows)
    assert up.cursor == rows.place(0)
    assert numbers(sent(up, rows)) == [row_id(2, 2), row_id(2, 3)]


# --- any network --------------------------------------------------------------------------------------


class TheWayUp(RuleBasedStateMachine):
    """A network that loses, repeats and reorders, reconnects and restarts: the ledger has it all."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = KeptRows()
        self.up = RowsUp(self.rows)
        self.ledger = ModelLedger()
        self.going: list[wire.Journal] = []
        self.coming: list[wire.Receipt] = []
        self.now_s = 0.0

    @initialize(count=st.integers(0, 500))
    def begin(self, count: int) -> None:
        self.rows.write(count)

    @rule(count=st.sampled_from([1, 2, 3, 150, 450]))
    def write(self, count: int) -> None:
        self.rows.write(count)

    @rule()
    def send(self) -> None:
        self.going += sent(self.up, self.rows, self.now_s)

    @precondition(lambda self: self.going)
    @rule(data=st.data(), again=st.booleans())
    def arrive(self, data: st.DataObject, again: bool) -> None:
        at = data.draw(st.integers(0, len(self.going) - 1))
        message = self.going[at]
        if not again:
            del self.going[at]
        self._take(message)

    def _take(self, message: wire.Journal) -> None:
        receipt = self.ledger.take("a", message)
        if receipt is not None:
            self.coming.append(receipt)

    @precondition(lambda self: self.going)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        del self.going[data.draw(st.integers(0, len(self.going) - 1))]

    @precondition(lambda self: self.coming)
    @rule(data=st.data(), again=st.booleans(), lost=st.booleans())
    def confirm(self, data: st.DataObject, again: bool, lost: bool) -> None:
        at = data.draw(st.integers(0, len(self.coming) - 1))
        receipt = self.coming[at]
        if not again:
            del self.coming[at]
        if not lost:
            self.up.receipt(receipt, self.rows.newest, self.now_s)

    @rule(seconds=st.sampled_from([0.05, GATHER_S, RECEIPT_S, RECEIPT_S_MAX]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def reconnect(self) -> None:
        self.up.connected()

    @rule(saved=st.booleans())
    def restart(self, saved: bool) -> None:
        """Also with a receipt on disk that is older than the newest one."""
        if saved:
            self.rows.remembered = self.up.cursor.row
        self.rows.epoch += 1
        self.rows.write(1)
        self.up = RowsUp(self.rows)

    @invariant()
    def the_cursor_is_never_ahead_of_the_ledger(self) -> None:
        kept = {(row, digest) for _, row, digest in self.ledger.rows}
        upto = [stored for stored in self.rows.stored if stored.id <= self.up.cursor.row]
        assert {(stored.id, stored.digest) for stored in upto} <= kept
        assert not self.up.faults
        assert self.ledger.gaps == []

    def teardown(self) -> None:
        """With a network that works from now on, all of it arrives: each row once, in one chain."""
        for _ in range(100):
            self.send()
            while self.going:
                self._take(self.going.pop(0))
            while self.coming:
                self.up.receipt(self.coming.pop(0), self.rows.newest, self.now_s)
            if self.up.cursor.row == self.rows.newest:
                break
            self.now_s += RECEIPT_S_MAX
        assert self.up.cursor.row == self.rows.newest
        assert {key[1:] for key in self.ledger.rows} == {(row.id, row.digest) for row in self.rows.stored}


TestTheWayUp = TheWayUp.TestCase
TestTheWayUp.settings = settings(max_examples=settings().max_examples // 2)  # of thousands of rows each
