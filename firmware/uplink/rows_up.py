"""Rows on their way to the ledger: what to send next, and how far the receipts have come.

No thread, no clock and no network in here: `firmware.uplink` asks what to send, and says what came back. The
cursor moves on receipts alone. What was sent and has no receipt yet is only remembered, so that no more than
a window of it is out; when receipts fail to come, all of it goes out again from the cursor.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from firmware import wire
from firmware.row import name_of
from firmware.rows import Stored

SPARE_MESSAGES = 4  # of the window, for movements, requests and the birth: they must not wait behind rows
GATHER_S = 0.2  # a part of a batch waits so long for company while others are out; then it goes alone
RECEIPT_S = 5.0  # without a receipt for so long, rows or receipts were lost; the ledger takes tens of ms
RECEIPT_S_MAX = 60.0  # a bridge that is away for hours is tried each minute, with one batch
ENVELOPE_BYTES = wire.PAYLOAD_BYTES_MAX - wire.BATCH_BYTES_MAX  # of a message besides bodies and codes
CODE_LENGTH_MAX = 40_000  # of `wire.CodeText`


class Rows(Protocol):
    """The journal, as it is read here."""

    def after(self, row: int, limit: int) -> list[Stored]:
        """Up to `limit` rows after this one, in order."""

    def digest(self, row: int) -> bytes | None:
        """The chain digest of one row, `None` where it is not here."""

    def receipt(self) -> int:
        """The last row that the bridge has confirmed; 0 for none."""

    def retained_from(self) -> int:
        """The first row that retention has not dropped."""


class Place(NamedTuple):
    """A row, and its chain digest. Row 0 with no digest is before the first."""

    row: int = 0
    digest: bytes = b""


class RowsUp:
    """`cursor` is the last row with a receipt. `faults` are for the caller to say, and to take away."""

    def __init__(self, rows: Rows) -> None:
        """Go on at the last receipt that the journal remembers."""
        self._rows = rows
        self.faults: deque[tuple[str, str]] = deque(
            maxlen=16
        )  # a kind and a text; more of one turn say no more
        self.strangers = 0
        """Receipts for rows that are not here: the ledger has what another journal of this name did."""
        self.cursor = self._first_cursor()
        self._reached = self.cursor  # the last row that was sent
        self._out: deque[int] = deque()  # the last row of each message without a receipt
        self._made = Place()
        self._probing = False
        self._wait_s = RECEIPT_S
        self._sent_s = self._due_s = 0.0

    def _first_cursor(self) -> Place:
        """The last receipt; or the first row that is left, where retention went on without a bridge."""
        receipt, retained = self._rows.receipt(), self._rows.retained_from()
        digest = self._rows.digest(receipt) if receipt else b""
        if digest is not None and retained <= receipt:
            return Place(receipt, digest)
        first = self._rows.after(max(receipt, retained) - 1, 1)[0]
        text = (
            f"rows up to {name_of(first.id)} were dropped while no broker was set: the bridge never gets them"
        )
        self.faults.append(("rows dropped", text))
        return Place(first.id, first.digest)

    def connected(self) -> None:
        """Nobody knows what of the last connection arrived: begin at the cursor."""
        self._rewind()
        self._probing = False
        self._wait_s = RECEIPT_S

    def _rewind(self) -> None:
        self._reached = self.cursor
        self._out.clear()

    def next_message(self, newest: int, window: int, bytes_max: int, now_s: float) -> wire.Journal | None:
        """What to send now, with `newest` the last row on disk; `None`: nothing, or it is not its turn.

        `window` is that of the connection, in messages, and `bytes_max` what its broker takes in one.
        """
        if self._out and now_s >= self._due_s:
            self._rewind()
            self._probing = True
            self._wait_s = min(2 * self._wait_s, RECEIPT_S_MAX)
        most = 1 if self._probing else max(1, window - SPARE_MESSAGES)
        if newest <= self._reached.row or len(self._out) >= most:
            return None
        # Counted within the epoch; an older one has ended, and its rows are as many as they ever will be.
        few = 0 < newest - self._reached.row < wire.BATCH_ROWS_MAX
        if few and self._out and now_s < self._sent_s + GATHER_S:
            return None
        found = self._rows.after(self._reached.row, wire.BATCH_ROWS_MAX)
        batch = tuple(self._fitting(found, bytes_max - ENVELOPE_BYTES))
        if not batch:
            return None
        last = found[len(batch) - 1]
        self._made = Place(last.id, last.digest)
        return wire.Journal(
            cursor=self.cursor.row,
            cursor_digest=self.cursor.digest,
            after=self._reached.row,
            previous=self._reached.digest,
            rows=batch,
        )

    def _fitting(self, found: list[Stored], bytes_max: int) -> Iterator[wire.SentRow]:
        """The first rows that fit into one message; always one, where its body fits into any."""
        size, most = 0, min(wire.BATCH_BYTES_MAX, bytes_max)
        for at, stored in enumerate(found):
            if len(stored.body) > wire.ROW_BYTES_MAX:
                if not at:
                    self._step_over(stored)
                return
            code = self._code_of(stored)
            size += len(stored.body) + len((code or "").encode())
            if at and size > most:
                return
            yield wire.SentRow(stored.id, stored.body, code)

    def _code_of(self, stored: Stored) -> str | None:
        """The clear code; none where it would not fit. The digest of the code is in the body anyway."""
        code = stored.code
        if code is None:
            return None
        if len(code) <= CODE_LENGTH_MAX and len(stored.body) + len(code.encode()) <= wire.BATCH_BYTES_MAX:
            return code
        self.faults.append(
            ("code too long", f"row {name_of(stored.id)}: its code is too long for a message and stays here")
        )
        return None

    def _step_over(self, stored: Stored) -> None:
        """A row that no message can hold must not keep the rows behind it from the ledger.

        The cursor passes it when all rows before have their receipt. The ledger knows neither this cursor nor
        the row before the next message, so it begins anew behind the hole and reports it.
        """
        if self._reached != self.cursor:
            return
        self.cursor = self._reached = Place(stored.id, stored.digest)
        size = f"{len(stored.body):,} bytes, more than a message holds"
        self.faults.append(("row too long", f"row {name_of(stored.id)} has {size}: it stays here"))

    def sent(self, now_s: float) -> None:
        """The message that was made last has gone out."""
        if not self._out:
            self._due_s = now_s + self._wait_s
        self._reached = self._made
        self._out.append(self._reached.row)
        self._sent_s = now_s

    def receipt(self, receipt: wire.Receipt, newest: int, now_s: float) -> int:
        """Take a receipt. Returns the row up to which codes can go; 0 where it told nothing new."""
        row = receipt.upto
        if not row:
            return 0
        digest, name = self._rows.digest(row), name_of(row)
        if digest is None and row < self._rows.retained_from():
            return 0
        if digest != receipt.digest:
            self.strangers += 1
        if digest is None:
            ends = f"this journal ends at row {name_of(newest)}" if row > newest else "there is no such row"
            cause = "an older copy of the journal was put back, or another gate has this name"
            text = f"a receipt for row {name} came, and {ends}: {cause}"
            self.faults.append(("receipt for an unknown row", text))
            return 0
        if digest != receipt.digest:
            cause = "another gate has this name, or the journal was replaced"
            text = f"a receipt came for a row {name} that is not this journal's: {cause}"
            self.faults.append(("receipt for another row", text))
            return 0
        if row <= self.cursor.row:
            return 0
        self.cursor = Place(row, digest)
        if self._reached.row < row:
            self._reached = self.cursor
        while self._out and self._out[0] <= row:
            self._out.popleft()
        self._probing, self._wait_s = False, RECEIPT_S
        self._due_s = now_s + self._wait_s
        return row

    def wake_s(self, newest: int, now_s: float) -> float:
        """When to ask for the next message at the latest, whatever comes."""
        if not self._out:
            return float("inf")
        gathered_s = self._sent_s + GATHER_S
        return gathered_s if newest > self._reached.row and gathered_s > now_s else self._due_s
