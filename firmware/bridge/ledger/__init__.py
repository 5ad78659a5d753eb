"""The ledger: every row of every gate, what follows from them, what vendors said, what a person must see.

`Ledger` is what relay, senders and health use; several processes may have one each on one database. What
grows, indexes included: `journal_row` with every row (its body and 110 bytes), `movement` with every movement
(105 bytes), `admission` with every admission (180), `work` with each that a vendor is told of (130). Nothing
is dropped: it is the venue's record. A night of 100,000 people who enter takes 135 MB. `report`, `epoch` and
`tip` grow with what goes wrong and with starts; `loose` and `credit` empty themselves.

Each gate also sends up what it noted of the others, as rows of its own, kept whole: with many gates those
are most of it. 50 gates with 200,000 movements a night make 9.8 million such rows: 2 GB.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from firmware import wire
from firmware.bridge import schema
from firmware.bridge.database import Database, insert_new
from firmware.bridge.ledger import tally, telling
from firmware.bridge.ledger.chains import Chains, Stretch, TooMany, chains_of, check, write
from firmware.bridge.ledger.credits import report_unused
from firmware.bridge.ledger.derive import Derivation
from firmware.bridge.ledger.facts import Accounts
from firmware.bridge.ledger.reports import Report, Reports, read_reports
from firmware.bridge.ledger.telling import Claimed
from firmware.bridge.ledger.untimed import UNTIMED_MS_MAX, release_untimed
from firmware.bridge.vendor import Accepted, Refused, Unsure

__all__ = [
    "LOOSE_MS_MAX",
    "UNTIMED_MS_MAX",
    "Claimed",
    "Counts",
    "Ledger",
    "Report",
    "Stored",
    "check",
]

WAITING = ("untimed", "due", "claimed")  # of work: its vendor was not told, or did not answer yet
LOOSE_MS_MAX = 3_600_000  # rows in front of these would have come long ago; the vendor has waited enough


class Stored(NamedTuple):
    """What became of a batch. `movements_upto` and `reports` are those of the whole transaction.

    `receipt` is `None` where nothing may be confirmed yet. `new_rows` were not known before.
    `movements_upto` is the highest change number made (0: none); `reports` are the texts of new reports, in
    the last result of the transaction and in no other. `refused` tells why nothing of the batch was kept.
    """

    receipt: wire.Receipt | None
    new_rows: int
    movements_upto: int
    reports: tuple[str, ...]
    refused: str = ""


class Counts(NamedTuple):
    """How much there is. `loose` are batches that wait for rows in front of them.

    `work` is by account and state: untimed, due, claimed, accepted, refused, uncertain.
    """

    rows: int
    loose: int
    work: dict[tuple[str, str], int]
    reports: int


class Ledger:
    """The ledger of one venue. Every call is one transaction, and raises `LedgerLost` where it cannot be."""

    def __init__(
        self,
        database: Database,
        venue: str,
        accounts: Collection[str],
        refusals: Collection[str] = (),
        inner: Collection[str] = (),
        exits: Collection[str] = (),
    ) -> None:
        """`accounts` are the names of the vendor accounts that are told of admissions.

        Those in `refusals` are told of refused scans too, those in `inner` of movements that
        pass no outer lane, those in `exits` also of exits that they were asked about. Raises `ForeignLedger`
        for a database that is another venue's, and `LedgerLost`.
        """
        database.belong_to(venue)
        self._database = database
        self._accounts = Accounts(frozenset(accounts), *map(frozenset, (refusals, inner, exits)))

    # --- rows --------------------------------------------------------------------------------------

    def store(self, gate: str, batch: wire.Journal, now_utc_ms: int) -> Stored:
        """Keep a batch and all that follows from it. Raises `wire.Unfit` for one that no journal sends."""
        return self.store_many([(gate, batch)], now_utc_ms)[0]

    def store_many(self, batches: Sequence[tuple[str, wire.Journal]], now_utc_ms: int) -> list[Stored]:
        """Keep several batches with one flush. Raises `wire.Unfit` if one is unfit, and then keeps none."""
        for _, batch in batches:
            check(batch)
        if not batches:
            return []
        with self._database.transaction() as connection:
            reports = Reports(connection, now_utc_ms)
            gates = self._lock(connection, {gate for gate, _ in batches}, now_utc_ms, reports)
            results = []
            for gate, batch in batches:
                chains = gates[gate]
                before, receipt, refused = chains.new_rows, None, ""
                try:
                    receipt = chains.add(batch)
                except TooMany as error:
                    refused = str(error)
                results.append((receipt, chains.new_rows - before, refused))
            upto = self._derive(connection, list(gates.values()), now_utc_ms, reports)
        said = [()] * (len(results) - 1) + [tuple(reports.new)]
        return [
            Stored(receipt, rows, upto, texts, refused)
            for (receipt, rows, refused), texts in zip(results, said, strict=True)
        ]

    def release_untimed(self, now_utc_ms: int) -> tuple[str, ...]:
        """Let go what waited `UNTIMED_MS_MAX` for the true time of a gate; the texts of new reports."""
        with self._database.transaction() as connection:
            reports = Reports(connection, now_utc_ms)
            release_untimed(connection, reports, now_utc_ms)
        return tuple(reports.new)

    def report_unused(self, now_utc_ms: int) -> tuple[str, ...]:
        """Report late yeses that nobody used while they were good; the texts of new reports."""
        with self._database.transaction() as connection:
            reports = Reports(connection, now_utc_ms)
            report_unused(connection, reports, now_utc_ms)
        return tuple(reports.new)

    def release_loose(self, now_utc_ms: int) -> tuple[str, ...]:
        """Count rows that waited `LOOSE_MS_MAX` for those in front of them; the texts of new reports."""
        columns = schema.loose.c
        query = (
            select(schema.gate.c.name, columns.after, columns.previous, columns.upto, columns.digest)
            .join(schema.gate, schema.gate.c.id == columns.gate)
            .where(
                (columns.received_ms <= now_utc_ms - LOOSE_MS_MAX)
                | (columns.received_ms > now_utc_ms + LOOSE_MS_MAX)  # the bridge's clock was wrong
            )
            .order_by(schema.gate.c.id, columns.after)
        )
        with self._database.look() as connection:
            late = connection.execute(query).all()
        if not late:
            return ()
        with self._database.transaction() as connection:
            reports = Reports(connection, now_utc_ms)
            gates = self._lock(connection, {line.name for line in late}, now_utc_ms, reports)
            for name, after, previous, upto, digest in late:
                gates[name].release([Stretch((after, previous), (upto, digest))])
            self._derive(connection, list(gates.values()), now_utc_ms, reports)
        return tuple(reports.new)

    def _lock(
        self, connection: Connection, names: set[str], now_utc_ms: int, reports: Reports
    ) -> dict[str, Chains]:
        """The gates, each held by this transaction alone; in order, so that two never wait for each other."""
        columns = schema.gate.c
        query = (
            select(columns.id, columns.name)
            .where(columns.name.in_(names))
            .order_by(columns.name)
            .with_for_update()
        )
        found = connection.execute(query).all()
        if missing := names - {line.name for line in found}:
            lines = [{"name": name, "rows": 0} for name in sorted(missing)]
            connection.execute(insert_new(connection, schema.gate), lines)
            found = connection.execute(query).all()
        gates = {line.id: line.name for line in found}
        return {chains.name: chains for chains in chains_of(connection, gates, now_utc_ms, reports)}

    def _derive(self, connection: Connection, gates: list[Chains], now_utc_ms: int, reports: Reports) -> int:
        write(connection, gates)
        derivation = Derivation(connection, self._accounts, now_utc_ms, reports)
        derivation.run(gates)
        return derivation.upto

    # --- what vendors are told -----------------------------------------------------------------------

    def claim(self, account: str, worker: str, now_utc_ms: int, limit: int, lease_ms: int) -> list[Claimed]:
        """Take up to `limit` admissions to tell the vendor of, each of another ticket, oldest first.

        They are the worker's alone for `lease_ms`; after that they may be given to another, with doubt.
        """
        with self._database.transaction() as connection:
            reports = Reports(connection, now_utc_ms)
            return telling.claim(connection, reports, account, worker, now_utc_ms, limit, lease_ms)

    def holders(self) -> set[str]:
        """The workers who hold something: a scan to tell a vendor of, or an outcome to send to a gate."""
        with self._database.look() as connection:
            return telling.holders(connection)

    def release(self, workers: Collection[str]) -> None:
        """These workers are dead: what they held may be taken at once; scans with doubt."""
        with self._database.transaction() as connection:
            telling.release(connection, workers)

    def finish(
        self, outcomes: Sequence[tuple[Claimed, Accepted | Refused | Unsure]], now_utc_ms: int
    ) -> tuple[str, ...]:
        """Keep what the vendor said; the first word on each counts. Returns the texts of new reports."""
        with self._database.transaction() as connection:
            reports = Reports(connection, now_utc_ms)
            telling.finish(connection, reports, outcomes, now_utc_ms)
        return tuple(reports.new)

    def give_back(
        self, claimed: Sequence[Claimed], *, doubt: bool, next_utc_ms: int, now_utc_ms: int
    ) -> None:
        """Nothing is known to have come of it: to be tried again from `next_utc_ms` on.

        With `doubt` it may have been carried out, and whoever takes it next looks first.
        """
        with self._database.transaction() as connection:
            telling.give_back(connection, claimed, doubt=doubt, next_utc_ms=max(next_utc_ms, now_utc_ms))

    def write(self, claimed: Claimed, note: str) -> bool:
        """Write down how far the telling of this has come; there to stay when this returns.

        Whether it was: not where another one has taken this work meanwhile, or where it is done.
        """
        with self._database.transaction() as connection:
            return telling.write(connection, claimed, note)

    def outcomes_to_tell(
        self, worker: str, now_utc_ms: int, limit: int
    ) -> list[tuple[str, wire.Outcome, int]]:
        """Take outcomes that were not sent to their gates: the gate's name, the outcome, the id for `told`.

        They are this worker's for a while; those that it has already are among them.
        """
        with self._database.look() as connection:
            if not telling.any_to_tell(connection):
                return []
        with self._database.transaction() as connection:
            return telling.outcomes_to_tell(connection, worker, now_utc_ms, limit)

    def told(self, ids: Sequence[int]) -> None:
        """These outcomes were sent."""
        with self._database.transaction() as connection:
            telling.told(connection, ids)

    # --- what there is -------------------------------------------------------------------------------

    def counts(self) -> Counts:
        """How much there is, without holding anybody up."""
        work = schema.work.c
        with self._database.look() as connection:
            rows = connection.execute(select(func.coalesce(func.sum(schema.gate.c.rows), 0))).scalar_one()
            loose = connection.execute(select(func.count()).select_from(schema.loose)).scalar_one()
            reports = connection.execute(select(func.count()).select_from(schema.report)).scalar_one()
            query = select(work.account, work.state, work.result, func.count())
            lines = connection.execute(query.group_by(work.account, work.state, work.result)).all()
        return Counts(
            int(rows), loose, {(account, result or state): n for account, state, result, n in lines}, reports
        )

    def entered(self, account: str) -> tuple[int, int]:
        """Tickets whose entry that vendor has taken, and entries that it is still to be told of."""
        with self._database.look() as connection:
            return tally.entered(connection, account)

    def say(self, kind: str, key: str, text: str, now_utc_ms: int) -> None:
        """Report this to a person, once for each kind and key."""
        with self._database.transaction() as connection:
            Reports(connection, now_utc_ms).say(kind, key, text)

    def unknown_accounts(self, counts: Counts) -> dict[str, int]:
        """Accounts that the settings do not have (any more), and how much of their work still waits."""
        found = dict[str, int]()
        for (account, state), count in counts.work.items():
            if account not in self._accounts.names and state in WAITING:
                found[account] = found.get(account, 0) + count
        return found

    def reports(self, after_id: int, limit: int) -> list[Report]:
        """What a person should know of, in order, after that report."""
        with self._database.look() as connection:
            return read_reports(connection, after_id, limit)
