"""The ledger when its process is killed, when others hold its database, and with a real gate's rows."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from firmware import wire
from firmware.bridge import schema
from firmware.bridge.database import Database, LedgerLost, NeverTaken
from firmware.bridge.ledger import Ledger
from firmware.core.ticket import Policy, Route, Spend, Ticket
from firmware.row import chain
from firmware.rows import RowReader
from hal.fake import Person
from tests.bridge.ledgers import held, ledger_at
from tests.bridge.model_gate import ACCOUNTS, VENUE, Books, ModelGate, books
from tests.core.samples import NOON_MS
from tests.gate_bench import SETUP, THROUGH, Bench, data_directory

KILLS = 8
ROWS_A_BATCH = 6
BUSY_S = 0.05  # waiting for a lock that is not given costs this each time


def long_gate(people: int) -> ModelGate:
    """The same rows in every process."""
    gate = ModelGate(began=False)
    gate.start(random="the same")
    for at in range(people):
        gate.person(f"acme:t{at}")
    return gate


STORES_FOR_EVER = """
import sys
from pathlib import Path
from tests.bridge.model_gate import Books
from tests.bridge.test_ledger_faults import ROWS_A_BATCH, long_gate

gate, books = long_gate(2000), Books(Path(sys.argv[1]))
start = int(sys.argv[2])
while start < len(gate.rows):
    stored = books.store(gate, start, start + ROWS_A_BATCH, cursor=start)
    start += ROWS_A_BATCH
    print(stored.receipt.upto, flush=True)
"""


@pytest.mark.slow
def test_a_bridge_that_is_killed_has_all_that_it_confirmed_and_nothing_twice(tmp_path: Path) -> None:
    gate, confirmed = long_gate(2000), 0
    numbers = {row.number: at for at, row in enumerate(gate.rows, 1)}
    for kill in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", STORES_FOR_EVER, str(tmp_path / "ledger.db"), str(confirmed)],
            stdout=subprocess.PIPE,
            text=True,
        )
        with child:
            assert child.stdout is not None
            for _ in range(kill + 1):
                confirmed = numbers[int(child.stdout.readline())]
            child.kill()
            for line in child.stdout:
                if line.endswith("\n"):
                    confirmed = numbers[int(line)]
        assert child.returncode == -signal.SIGKILL
        with books(tmp_path) as kept:
            check_whole(kept, gate, confirmed)
    assert confirmed > KILLS * ROWS_A_BATCH


def check_whole(kept: Books, gate: ModelGate, confirmed: int) -> None:
    """A prefix of the rows, at least the confirmed ones, and exactly what follows from them."""
    rows = [(line.row, line.digest) for line in kept.lines(schema.row)]
    assert len(rows) >= confirmed
    assert rows == [(row.number, row.digest) for row in gate.rows[: len(rows)]]
    (tip,) = kept.lines(schema.tip)
    assert (tip.row, tip.digest) == rows[-1]
    movements = kept.lines(schema.movement)
    assert [line.number for line in movements] == list(range(1, len(rows)))
    assert len(kept.lines(schema.work)) == sum(line.act == "passed" for line in movements)
    assert kept.ledger.counts().rows == len(rows)


@pytest.mark.usefixtures("any_ledger")
def test_a_database_that_is_held_by_another_is_lost_and_found_again(tmp_path: Path) -> None:
    gate = long_gate(10)
    path = tmp_path / "ledger.db"
    with Database(ledger_at(path), busy_timeout_s=BUSY_S) as database:
        ledger = Ledger(database, VENUE, ACCOUNTS)
        ledger.store(gate.name, gate.batch(0, 9), NOON_MS)
        with held(path):
            with pytest.raises(LedgerLost, match=r"lock.*: another process holds the ledger"):
                ledger.store(gate.name, gate.batch(9), NOON_MS)
            with pytest.raises(LedgerLost, match="lock"):
                ledger.claim("acme", "w", NOON_MS, 1, 1000)
            assert ledger.counts().rows == 9, "who only looks waits for nobody"
        assert ledger.store(gate.name, gate.batch(9, cursor=9), NOON_MS).receipt == gate.receipt()
        assert ledger.counts().rows == len(gate.rows)
        assert len(ledger.claim("acme", "w", NOON_MS, 100, 1000)) == 10


def test_a_store_that_fails_midway_leaves_nothing(tmp_path: Path) -> None:
    gate = long_gate(10)
    with books(tmp_path) as kept:
        kept.store(gate, 0, 9)
        before = [kept.lines(table) for table in schema.metadata.sorted_tables]
        other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        try:
            other.execute(
                "CREATE TRIGGER refusal BEFORE INSERT ON work BEGIN SELECT RAISE(FAIL, 'no room'); END"
            )
            with pytest.raises(NeverTaken, match="no room"):
                kept.store(gate, 9)
            assert [kept.lines(table) for table in schema.metadata.sorted_tables] == before
            other.execute("DROP TRIGGER refusal")
        finally:
            other.close()
        assert kept.store(gate, 9).receipt == gate.receipt()


def sent_by(data: Path, rows: int) -> list[wire.Journal]:
    """All rows of a gate's journal, as an uplink would cut them."""
    with RowReader(data / "journal") as reader:
        found = list(reader.after(0, 1_000_000))
    batches, after, previous = [], 0, b""
    for at in range(0, len(found), rows):
        part = found[at : at + rows]
        sent = tuple(wire.SentRow(each.id, each.body, each.code) for each in part)
        batches.append(wire.Journal(cursor=0, cursor_digest=b"", after=after, previous=previous, rows=sent))
        for each in part:
            previous = chain(previous, each.id, each.body)
            assert previous == each.digest
        after = part[-1].id
    return [wire.decode(wire.encode(batch), wire.Journal) for batch in batches]


@pytest.mark.parametrize("backwards", [False, True])
def test_what_a_real_gate_did_reaches_the_vendor_in_its_order(tmp_path: Path, backwards: bool) -> None:
    """In and out again, a lapse, a refusal, a stranger's code, and a crash in the middle of an opening."""
    listed = {code: Ticket(f"acme:id-{code}", event="gala") for code in "ABCD"}
    policy = Policy(spend=Spend.PASSAGE)
    routes = {"X": Route("other", event="fair")}
    with data_directory() as data:
        with Bench(data, (SETUP,), listed, policy, routes, usual=THROUGH) as bench:
            bench.enter("A")
            bench.enter("A", way="out")
            bench.enter("A")  # refused: used
            bench.fake().expect(Person("stays"))
            bench.enter("B")  # lapses
            bench.enter("XYZ")  # unknown: refused
            bench.scan("C")
            bench.settle()
            bench.crash()
            bench.enter("D")
            rows = bench.rows()
        batches = sent_by(data, 4)
    settled = [
        (stored.row.movement.subject, stored.row.movement.direction.value)
        for stored in rows
        if stored.row.movement is not None and stored.row.movement.act in ("passed", "settled")
    ]
    assert ("acme:id-C", "in") in settled
    assert "lapsed" in {stored.row.movement.act for stored in rows if stored.row.movement is not None}
    with books(tmp_path) as kept:
        for batch in reversed(batches) if backwards else batches:
            kept.ledger.store("east", batch, NOON_MS)
        assert kept.kinds() == []
        work = [(line.subject, line.account) for line in kept.lines(schema.work)]
        assert work == [(subject, "acme") for subject, _ in settled]
        assert len(kept.lines(schema.row)) == len(rows)
        told = kept.ledger.claim("acme", "w", NOON_MS, 100, 1000)
        assert [(each.told.ticket_id, each.told.code, each.told.event) for each in told] == [
            (f"id-{code}", code, "gala") for code in "ACD"
        ]
        (epoch, later) = kept.lines(schema.epoch)
        assert (epoch.epoch, epoch.over, later.epoch, later.over) == (1, True, 2, False)
