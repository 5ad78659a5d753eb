"""The ledger against plain lists: whatever becomes of batches, cards and backups, it knows what they know."""

import shutil
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from firmware import wire
from firmware.bridge import schema
from firmware.bridge.ledger import LOOSE_MS_MAX
from firmware.core.movements import Act
from firmware.core.ticket import Direction, Perimeter
from firmware.row import chain
from tests.bridge.ledgers import copy, forget_below
from tests.bridge.model_gate import Books, Kept, ModelGate
from tests.core.samples import INNER, NOON_MS, OUTER

NAMES = ("east", "west")
SUBJECTS = ("acme:t1", "acme:t2", "acme:t3")
RINGS = ((OUTER,), (INNER,), (INNER, OUTER))  # the last is an inner lane's that has not heard of an outer one
SENT_ROWS_MAX = 9
ONCE = ("fork", "new_journal", "gap", "double", "explained")


class Card:
    """A journal that still writes, its uplink's cursor, and the admissions that are open at its lane."""

    def __init__(self, gate: ModelGate, cursor: int = 0) -> None:
        self.gate, self.cursor = gate, cursor
        self.open: list[Kept] = []

    def take(self, receipt: wire.Receipt | None) -> None:
        """As an uplink does: a receipt counts only for a row of its own."""
        for at, row in enumerate(self.gate.rows, 1):
            if receipt is not None and (row.number, row.digest) == (receipt.upto, receipt.digest):
                self.cursor = max(self.cursor, at)


class LedgerLikeLists(RuleBasedStateMachine):
    """`sent` are batches on their way: each may come never, once or often, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = Path(tempfile.mkdtemp())
        self.lives = 0
        self.cards: list[Card] = []
        self.sent: list[tuple[str, wire.Journal]] = []
        self.came: dict[tuple[str, int, bytes], bytes] = {}  # what the ledger must have
        self.gone: set[tuple[str, int, bytes]] = set()  # confirmed by a ledger that is lost
        self.backup: tuple[Path, dict[tuple[str, int, bytes], bytes]] | None = None
        self.now_ms = NOON_MS
        self.told: list[tuple[str, int, bytes]] = []

    @initialize()
    def begin(self) -> None:
        self.open_books()
        for name in NAMES:
            self.cards.append(Card(ModelGate(name)))

    @property
    def path(self) -> Path:
        return self.scratch / str(self.lives) / "ledger.db"

    def open_books(self) -> None:
        self.path.parent.mkdir(exist_ok=True)
        self.bridges = [Books(self.path), Books(self.path)]

    # --- gates ---------------------------------------------------------------------------------------

    @rule(
        card=st.integers(0, 5),
        subject=st.sampled_from(SUBJECTS),
        direction=st.sampled_from(Direction),
        rings=st.sampled_from(RINGS),
    )
    def admit(self, card: int, subject: str, direction: Direction, rings: tuple[Perimeter, ...]) -> None:
        """Somebody is let through; gates share a clock that goes on."""
        at = self.cards[card % len(self.cards)]
        at.gate.at_ms = max(each.gate.at_ms for each in self.cards)
        at.open.append(at.gate.admit(subject, direction, rings))

    @rule(card=st.integers(0, 5), act=st.sampled_from([Act.PASSED, Act.SETTLED, Act.LAPSED, Act.VOIDED]))
    def settle(self, card: int, act: Act) -> None:
        at = self.cards[card % len(self.cards)]
        if at.open:
            at.gate.at_ms = max(each.gate.at_ms for each in self.cards)
            at.gate.settle(at.open.pop(0), act)

    @rule(card=st.integers(0, 5))
    def restart(self, card: int) -> None:
        at = self.cards[card % len(self.cards)]
        at.gate.start()

    @rule(card=st.integers(0, 5), rows=st.integers(1, 30))
    @precondition(lambda self: len(self.cards) < 5)
    def copy_card(self, card: int, rows: int) -> None:
        """An older image is put back, or runs in a second gate; its epoch has another random number."""
        at = self.cards[card % len(self.cards)]
        rows = min(rows, len(at.gate.rows))
        other = Card(at.gate.copied(rows), min(at.cursor, rows))
        other.open = [row for row in at.open if row in other.gate.rows]
        self.cards.append(other)
        other.gate.randoms += 1000 * len(self.cards)
        other.gate.start()

    @rule(name=st.sampled_from(NAMES))
    @precondition(lambda self: len(self.cards) < 5)
    def new_card(self, name: str) -> None:
        self.cards.append(Card(ModelGate(name)))

    # --- the way ---------------------------------------------------------------------------------------

    @rule(card=st.integers(0, 5), back=st.integers(0, 4), ahead=st.integers(0, 12), rows=st.integers(1, 9))
    def send(self, card: int, back: int, ahead: int, rows: int) -> None:
        """Some rows around the cursor set out."""
        at = self.cards[card % len(self.cards)]
        start = max(0, min(at.cursor - back + ahead, len(at.gate.rows) - 1))
        batch = at.gate.batch(start, start + rows, min(at.cursor, start))
        self.sent.append((at.gate.name, batch))

    @rule(which=st.integers(0, 20), count=st.integers(1, 3), bridge=st.integers(0, 1), keep=st.booleans())
    @precondition(lambda self: self.sent)
    def arrive(self, which: int, count: int, bridge: int, keep: bool) -> None:
        """Some of them arrive at one of the bridges, in one transaction; perhaps they will come again."""
        chosen = [self.sent[(which + at) % len(self.sent)] for at in range(min(count, len(self.sent)))]
        if not keep:
            self.sent = [each for each in self.sent if each not in chosen]
        self.deliver(chosen, bridge)

    def deliver(self, chosen: list[tuple[str, wire.Journal]], bridge: int = 0) -> None:
        stored = self.bridges[bridge].ledger.store_many(chosen, self.now_ms)
        for name, batch in chosen:
            digest = batch.previous
            for row in batch.rows:
                digest = chain(digest, row.row, row.body)
                self.came[name, row.row, digest] = row.body
        for (name, batch), each in zip(chosen, stored, strict=True):
            self.check_receipt(name, batch, each.receipt)
            for card in self.cards:
                if card.gate.name == name:
                    card.take(each.receipt)

    def check_receipt(self, name: str, batch: wire.Journal, receipt: wire.Receipt | None) -> None:
        """Every row up to the receipt, in a journal that has it, is stored here or was confirmed before."""
        if receipt is None:
            return
        key = (name, receipt.upto, receipt.digest)
        assert key in self.came or key in self.gone
        owners = [card.gate for card in self.cards if card.gate.name == name]
        chains = [[(name, row.number, row.digest) for row in gate.rows] for gate in owners]
        prefix = next(found[: found.index(key) + 1] for found in chains if key in found)
        first_missing = [at for at in prefix if at not in self.came and at not in self.gone]
        assert first_missing == []

    @rule(card=st.integers(0, 5))
    def catch_up(self, card: int) -> None:
        """A gate sends all that it has no receipt for, and every receipt arrives.

        A receipt may be for rows of a copy that hung loose behind its own: then it sends once more.
        """
        at = self.cards[card % len(self.cards)]
        while (before := at.cursor) < len(at.gate.rows):
            batch = at.gate.batch(before, before + SENT_ROWS_MAX, before)
            self.deliver([(at.gate.name, batch)])
            if at.cursor == before:
                self.deliver([(at.gate.name, batch)])
            assert at.cursor > before, "a gate that is stuck"

    # --- the ledger ------------------------------------------------------------------------------------

    @rule()
    def back_up(self) -> None:
        folder = self.scratch / f"backup-{self.lives}-{len(self.came)}"
        if not folder.exists():
            for books in self.bridges:
                books.database.close()
            copy(self.path, folder / self.path.name)
            self.backup = (folder, dict(self.came))

    @rule()
    @precondition(lambda self: self.backup)
    def put_back(self) -> None:
        """The ledger is lost, and an older copy takes its place."""
        assert self.backup is not None
        for books in self.bridges:
            books.database.close()
        folder, came = self.backup
        self.gone |= self.came.keys()
        self.came = dict(came)
        self.gone -= self.came.keys()
        self.lives += 1
        copy(folder / self.path.name, self.path)
        self.backup = None
        self.open_books()

    @rule()
    def hour_goes_by(self) -> None:
        self.now_ms += LOOSE_MS_MAX
        self.bridges[1].ledger.release_loose(self.now_ms)
        assert self.bridges[1].ledger.counts().loose == 0

    # --- what must hold ----------------------------------------------------------------------------------

    @invariant()
    def every_row_is_there_once(self) -> None:
        if not self.lives and not self.came:
            return
        books = self.bridges[0]
        gates = {line.id: line.name for line in books.lines(schema.gate)}
        rows = books.lines(schema.row)
        assert {(gates[row.gate], row.row, row.digest): row.body for row in rows} == self.came
        assert books.ledger.counts().rows == len(rows)
        self.check_branches(books, gates)
        self.check_meaning(books, gates)

    def check_branches(self, books: Books, gates: dict[int, str]) -> None:
        """A row has joined exactly if the row in front of it has, or if a gap was reported there."""
        branches = {(gates[row.gate], row.row, row.digest): row.branch for row in books.lines(schema.row)}
        tips = books.lines(schema.tip)
        anchors = {(gates[tip.gate], tip.began_row, tip.began_digest) for tip in tips}
        ends = {(gates[tip.gate], tip.row, tip.digest) for tip in tips}
        followed = set()
        for card in self.cards:
            before, known = (card.gate.name, 0, b""), True
            for row in card.gate.rows:
                key = (card.gate.name, row.number, row.digest)
                known = known or before in anchors
                joined = branches.get(key) is not None
                assert joined == (known and key in branches), "a row that follows a joined one has joined"
                if joined and before in branches:
                    followed.add(before)
                known, before = joined, key
        joined_rows = {key for key, branch in branches.items() if branch is not None}
        assert joined_rows - followed == {end for end in ends if end in branches}, "tips are the last rows"

    def check_meaning(self, books: Books, gates: dict[int, str]) -> None:
        """Each admission whose end is known is one piece of work, unless it is within the house."""
        joined = {
            (gates[row.gate], row.row, row.digest)
            for row in books.lines(schema.row)
            if row.branch is not None
        }
        expected = set()
        states: dict[tuple[str, int, bytes], str] = {}
        for card in self.cards:
            opened: dict[int, Kept] = {}
            for row in card.gate.rows:
                if (card.gate.name, row.number, row.digest) not in joined or row.row is None:
                    continue
                movement = row.row.movement
                if movement is not None and movement.act is Act.OPENED:
                    opened[row.number] = row
                    states.setdefault((card.gate.name, row.number, row.digest), "open")
                elif movement is not None and movement.row in opened:
                    entry = opened[movement.row]
                    key = (card.gate.name, entry.number, entry.digest)
                    settled = movement.act in (Act.PASSED, Act.SETTLED)
                    if settled and OUTER in movement.perimeters:
                        expected.add(key)
                    states[key] = "settled" if settled else "dropped"
        lines = {line.id: line for line in books.lines(schema.admission)}
        found = {(gates[line.gate], line.row, line.digest): line for line in lines.values()}
        assert found.keys() == states.keys()
        work = [lines[line.admission] for line in books.lines(schema.work)]
        told = [(gates[line.gate], line.row, line.digest) for line in work]
        assert len(told) == len(set(told))
        if len(self.cards) == len(NAMES):
            self.check_doubles(books)
        if len(self.cards) == len(NAMES) and "gap" not in books.kinds():
            assert set(told) == expected
            assert {key: line.state for key, line in found.items()} == states
        else:
            # In a copy the same admission may end in two ways: the first counts. What was settled behind a
            # gap waits for its end.
            assert set(told) <= expected

    def check_doubles(self, books: Books) -> None:
        """Each pair of ways into a ring at two gates is reported, unless one out in between is known by now.

        Past an inner lane nobody comes into the house, and nobody leaves it.
        """
        moves: dict[str, list[Any]] = {}
        for line in books.lines(schema.admission):
            if line.state == "settled":
                moves.setdefault(line.subject, []).append(line)
        expected = set()
        for found in moves.values():
            found.sort(key=lambda line: (line.utc_ms, line.id))
            for one, other in combinations(range(len(found)), 2):
                first, last = found[one], found[other]
                if (first.direction, last.direction) != ("in", "in") or first.gate == last.gate:
                    continue
                ring = "inner" if "inner" in last.perimeters else "outer"
                ways_out = [each for each in found[one + 1 : other] if each.direction == "out"]
                if ring == "outer":
                    ways_out = [each for each in ways_out if "inner" not in each.perimeters]
                if ring in first.perimeters and not ways_out:
                    expected.add(frozenset((first.id, last.id)))
        said: dict[str, set[frozenset[int]]] = {"double": set(), "explained": set()}
        for report in books.ledger.reports(0, 10_000):
            if report.kind in said:
                both = report.key.split(" and ")
                said[report.kind].add(frozenset(int(each.rsplit(" ", 1)[1]) for each in both))
        assert said["double"] - said["explained"] == expected

    @invariant()
    def reports_are_made_once(self) -> None:
        for books in self.bridges[:1]:
            texts = [text for kind in ONCE for text in books.reports(kind)]
            assert len(set(texts)) == len(texts)

    def teardown(self) -> None:
        for books in getattr(self, "bridges", ()):
            books.database.close()
        forget_below(self.scratch)
        shutil.rmtree(self.scratch, ignore_errors=True)


TestLedgerLikeLists = LedgerLikeLists.TestCase
TestLedgerLikeLists.settings = settings(max_examples=settings().max_examples // 4, stateful_step_count=40)


class LedgerOnPostgreSql(LedgerLikeLists):
    """The same on the other database."""


LedgerOnPostgreSql.TestCase.settings = settings(
    max_examples=max(5, settings().max_examples // 16), stateful_step_count=40
)
TestLedgerOnPostgreSql = pytest.mark.usefixtures("on_postgresql")(LedgerOnPostgreSql.TestCase)
