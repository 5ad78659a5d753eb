"""What rows mean: epochs, admissions, what a vendor must be told, and movements for the feed.

Everything happens in the transaction that lets the rows join, in the order of each chain. A row that this
release cannot read derives nothing; it stays where it is, and holds up no other.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, select, update

from firmware.bridge import schema
from firmware.bridge.database import insert_many, insert_new, take_numbers
from firmware.bridge.ledger.across import SETTLING, settled_across
from firmware.bridge.ledger.ask_rows import ask_of
from firmware.bridge.ledger.chains import Chains
from firmware.bridge.ledger.credits import remember
from firmware.bridge.ledger.doubles import report_doubles
from firmware.bridge.ledger.facts import (
    DOUBT,
    GATE,
    KIND_CHARACTERS_MAX,
    VENDOR,
    Accounts,
    AskEnded,
    Facts,
    Read,
    Refusal,
    account_of,
    facts_of,
    hearer_of,
    kind_of,
    late_of,
    movement_of,
    random_of,
    read_row,
    refusal_of,
)
from firmware.bridge.ledger.reports import Reports
from firmware.bridge.ledger.untimed import UNTIMED_MS_MAX, of_epoch, report_untimed
from firmware.bridge.ledger.unused import unused
from firmware.config.values import NAME
from firmware.core.effects import Kind
from firmware.core.movements import Act, Movement
from firmware.core.ticket import Direction, Moment, Perimeter, Verdict
from firmware.row import SEQ_MAX, Unreadable, epoch_and_seq, name_of, row_id

UNANSWERED_MS = 60_000  # before an ask without an answer is looked up: its answer may still be on the way
ASKED_AT_ONCE = 500  # values in one query; SQLite took at most 999 for a long time

Place = tuple[int, int]  # a gate, and a row or an epoch of it
EPOCH = [schema.epoch.c[name] for name in ("id", "epoch", "random", "branch", "offset_ms", "over")]


@dataclass(slots=True)
class Epoch:
    """One start of one gate, as far as it is known."""

    id: int
    number: int
    random: str
    branch: int
    offset_ms: int | None
    over: bool


@dataclass(slots=True)
class Admission:
    """An admission while its rows are looked at. `stored`: its line is in the database."""

    id: int
    row: int
    branch: int
    epoch: int
    account: str
    subject: str
    moment: Moment
    state: str
    decided: str
    stored: bool
    line: dict[str, Any]


class _Read(NamedTuple):
    branch: int
    number: int
    digest: bytes
    code: str
    row: Read
    movement: Movement | None
    refusal: Refusal | None


class Derivation:
    """One transaction's work. `upto` is the highest change number that was made, 0 for none."""

    def __init__(
        self,
        connection: Connection,
        accounts: Accounts,
        now_utc_ms: int,
        reports: Reports,
    ) -> None:
        self.upto = 0
        self._connection = connection
        self._accounts = accounts.names
        self._refusals = accounts.refusals
        self._inner = accounts.inner
        self._exits = accounts.exits
        self._now_utc_ms = now_utc_ms
        self._reports = reports
        self._admissions: dict[Place, list[Admission]] = {}  # by gate and row
        self._epochs: dict[Place, list[Epoch]] = {}  # by gate and number
        self._new: list[Admission] = []
        self._changed: list[Admission] = []
        self._works: list[dict[str, Any]] = []
        self._movements: list[dict[str, Any]] = []
        self._settled: set[int] = set()
        self._subjects: set[str] = set()

    def run(self, gates: Iterable[Chains]) -> None:
        """Derive all that follows from the rows that joined."""
        read = [(chains, self._read(chains)) for chains in gates if chains.joined]
        count = sum(1 for _, rows in read for each in rows if each.movement or each.refusal)
        numbers: Iterator[int] = iter(())
        if count:
            first = take_numbers(self._connection, count)
            self.upto = first + count - 1
            numbers = iter(range(first, first + count))
        self._load(read)
        for chains, rows in read:
            for each in rows:
                self._derive(chains, each, numbers)
            for tip in chains.merged:
                self._flush()
                self._settle_across(chains, tip.id, tip.began[0])
        self._flush()
        report_doubles(self._connection, self._reports, gates, self._subjects, self._settled)

    def _read(self, chains: Chains) -> list[_Read]:
        found = []
        for branch, link in chains.joined:
            try:
                row = read_row(link.body)
            except Unreadable as error:
                self._unreadable(chains, link.number, kind_of(link.body), error)
                continue
            refusal = self._refusal_of(chains, link.number, row) if self._refusals else None
            movement = movement_of(row)
            found.append(_Read(branch, link.number, link.digest, link.code, row, movement, refusal))
        return found

    def _refusal_of(self, chains: Chains, number: int, row: Read) -> Refusal | None:
        """A refused scan that its vendor is told of: no vendor was asked about it, whoever was to decide."""
        try:
            found = refusal_of(row)
        except Unreadable as error:
            self._unreadable(chains, number, row.kind, error)
            return None
        if found is None or (found.facts.asked and row.verdict is Verdict.TOO_SOON):
            return None  # the echo of an admission, for which a vendor is not asked once more
        return found if hearer_of(found, self._accounts, self._refusals) else None

    def _unreadable(self, chains: Chains, number: int, kind: str, error: Unreadable) -> None:
        kind = kind[:KIND_CHARACTERS_MAX]
        self._reports.say(
            "unreadable",
            f"{chains.name}:{kind}",
            f"gate {chains.name}: row {name_of(number)} of kind {kind!r} cannot be read by this release: "
            f"{error}. It is kept as it is, and nothing follows from it; if the gate has a newer release, "
            "bring the bridge to the same one",
            chains.name,
        )

    def _load(self, read: Iterable[tuple[Chains, Sequence[_Read]]]) -> None:
        """Fetch the epochs and admissions that these rows speak of, with a query for each kind."""
        epochs, admissions = set[Place](), set[Place]()
        for chains, rows in read:
            epochs |= {(chains.gate, epoch_and_seq(each.number)[0]) for each in rows}
            moved = [each.movement for each in rows if each.movement]
            wanted = {movement.row for movement in moved if movement.act in SETTLING}
            if len(chains.tips) == 1:
                wanted -= {movement.row for movement in moved if movement.act is Act.OPENED}
            admissions |= {(chains.gate, row) for row in wanted}
        columns = schema.epoch.c
        for line in self._there(select(columns.gate, columns.epoch, *EPOCH), epochs):
            self._epochs.setdefault((line[0], line[1]), []).append(Epoch(*line[2:]))
        self._load_admissions(admissions)

    def _load_admissions(self, places: Collection[Place]) -> None:
        columns = schema.admission.c
        query = select(
            columns.gate, columns.row, columns.id, columns.branch, columns.epoch, columns.account,
            columns.subject, columns.monotonic_ms, columns.utc_ms, columns.trusted, columns.state,
            columns.decided,
        )  # fmt: skip
        for line in self._there(query, places):
            moment = Moment(line.monotonic_ms, line.utc_ms, line.trusted)
            self._admissions.setdefault((line.gate, line.row), []).append(
                Admission(
                    line.id, line.row, line.branch, line.epoch, line.account, line.subject, moment,
                    line.state, line.decided, stored=True, line={},
                )
            )  # fmt: skip

    def _there(self, query: Select[Any], places: Collection[Place]) -> Iterator[Any]:
        """The lines at these places. Of many gates at once, which finds places of the one at another too."""
        gate, at, *_ = query.selected_columns
        gates, values = {place[0] for place in places}, sorted({place[1] for place in places})
        for first in range(0, len(values), ASKED_AT_ONCE):
            some = at.in_(values[first : first + ASKED_AT_ONCE])
            found = self._connection.execute(query.where(gate.in_(gates), some))
            yield from (line for line in found if (line[0], line[1]) in places)

    # --- one row ---------------------------------------------------------------------------------

    def _derive(self, chains: Chains, each: _Read, numbers: Iterator[int]) -> None:
        epoch = self._epoch_of(chains, each)
        moment = each.row.moment
        if moment.trusted and epoch.offset_ms is None:
            self._restate(chains, epoch, moment.utc_ms - moment.monotonic_ms)
        movement = each.movement
        if each.refusal is not None:
            self._refuse(chains, each, each.refusal, epoch, next(numbers))
        if movement is None:
            return
        number = next(numbers)
        self._movements.append(
            {
                "number": number, "gate": chains.gate, "row": each.number, "digest": each.digest,
                "admission": movement.row, "act": movement.act.value, "subject": movement.subject,
                "direction": movement.direction.value, "perimeters": ",".join(movement.perimeters),
                "utc_ms": movement.utc_ms, "spend": movement.spend.value,
                "until_utc_ms": movement.until_utc_ms,
            }
        )  # fmt: skip
        if movement.act is Act.OPENED:
            self._open(chains, each, movement, epoch, number)
        elif movement.act in SETTLING:
            self._settle(chains, each.number, each.branch, movement, number)
        elif movement.act is Act.UNSURE:
            self._doubt(chains, each, movement, epoch, number)
        elif (ended := late_of(each.row)) is not None:
            self._end(chains, each, ended)

    def _open(self, chains: Chains, each: _Read, movement: Movement, epoch: Epoch, number: int) -> None:
        row = each.row
        try:
            facts = facts_of(row)
        except Unreadable as error:
            self._unreadable(chains, each.number, row.kind, error)
            facts = Facts()
        account = self._account_of(movement, facts)
        if facts.decided == VENDOR and movement.direction is Direction.OUT and account in self._exits:
            facts = facts._replace(decided=GATE)
        self._say_unknown_account(chains.name, movement.subject, facts)
        perimeters = ",".join(movement.perimeters)
        admission = self._admit(
            chains, each, epoch, number, account, Refusal(movement.subject, movement.direction, facts),
            perimeters, "open",
        )  # fmt: skip
        self._admissions.setdefault((chains.gate, each.number), []).append(admission)

    def _account_of(self, movement: Movement, facts: Facts) -> str:
        """Who is told: nobody of a movement within the house, where the vendor knows no inner lanes."""
        within = Perimeter.OUTER not in movement.perimeters
        return account_of(movement.subject, facts.vendor, self._inner if within else self._accounts)

    def _doubt(self, chains: Chains, each: _Read, movement: Movement, epoch: Epoch, number: int) -> None:
        """An ask without an answer let nobody in, and the vendor may have spent the ticket all the same."""
        try:
            ask = ask_of(self._connection, chains, each.row, movement.subject, each.branch)
            facts = facts_of(ask.read or each.row)
        except Unreadable as error:
            self._unreadable(chains, each.number, each.row.kind, error)
            return
        account = account_of(movement.subject, facts.vendor, self._accounts)
        if account:
            scan = Refusal(movement.subject, movement.direction, facts)
            perimeters = ",".join(movement.perimeters)
            admission = self._admit(chains, each, epoch, number, account, scan, perimeters, "unanswered")
            self._work(chains, admission, each.number, number, told=True)

    def _end(self, chains: Chains, each: _Read, ended: AskEnded) -> None:
        """The vendor's word came after the decision: nobody need look, and it is told nothing of that."""
        self._flush()
        columns, work = schema.admission.c, schema.work.c
        admits = ended.verdict.admits
        query = select(schema.admission).where(
            columns.gate == chains.gate,
            columns.row >= ended.scan,
            columns.row <= each.number,
            columns.scan == ended.scan,
        )
        found: Sequence[Any] = self._connection.execute(query).all()
        for line in chains.meant(found, ended.subject, each.branch):
            if line.verdict == Verdict.ADMITTED_CREDIT and not admits:
                continue  # the vendor's own yes to an earlier ask, which is why it refused this one
            decided = VENDOR if admits else ended.verdict.value
            said = self._word(decided, ended.text)
            left = line.direction == Direction.OUT and line.state != "unanswered"
            if admits and left and line.account in self._exits:  # it was looked up, and nothing else
                decided, said = GATE, {"doubt": False}
            if ended.good_ms is not None and line.state == "unanswered" and line.account:
                remember(self._connection, line.id, ended.good_ms, self._now_utc_ms)
            for known in self._admissions.get((chains.gate, line.row), ()):
                if known.id == line.id:
                    known.decided = decided
            self._connection.execute(
                update(schema.admission).where(columns.id == line.id).values(decided=decided)
            )
            self._connection.execute(
                update(schema.work)
                .where(work.admission == line.id, work.state.in_(("untimed", "due")))
                .values(**said)
            )

    def _word(self, decided: str, text: str = "") -> dict[str, Any]:
        """Columns of work that the vendor has spoken about itself. What it accepted, its gate knows."""
        accepted = decided == VENDOR
        return {
            "state": "done", "result": "accepted" if accepted else "refused",
            "verdict": "" if accepted else decided, "text": text, "finished_ms": self._now_utc_ms,
            "told": True,
        }  # fmt: skip

    def _refuse(self, chains: Chains, each: _Read, refusal: Refusal, epoch: Epoch, number: int) -> None:
        """A vendor is told that this code was refused. The gate that did it need not hear of that."""
        account = hearer_of(refusal, self._accounts, self._refusals)
        admission = self._admit(chains, each, epoch, number, account, refusal, "", "refused")
        self._work(chains, admission, each.number, number, told=True)

    def _admit(
        self, chains: Chains, each: _Read, epoch: Epoch, number: int, account: str, scan: Refusal,
        perimeters: str, state: str,
    ) -> Admission:  # fmt: skip
        """A scan's line in the table of admissions."""
        row, facts = each.row, scan.facts
        code = each.code or ask_of(self._connection, chains, row, scan.subject, each.branch).code
        moment = row.moment
        # A scan that the vendor was asked about has the time of that ask, so that both books have the same.
        # Of an ask before a restart only where it is certain: its monotonic clock was another one.
        if facts.asked_at is not None and (facts.asked_at.trusted or row.kind == Kind.ANSWER.value):
            moment = facts.asked_at
        line = {
            "id": number, "gate": chains.gate, "row": each.number, "digest": each.digest,
            "branch": each.branch, "epoch": epoch.id, "lane": row.lane, "subject": scan.subject,
            "account": account, "code": code, "event": facts.event, "session": facts.session,
            "direction": scan.direction.value, "perimeters": perimeters,
            "verdict": row.verdict.value if row.verdict else "", "reentry": facts.reentry,
            "monotonic_ms": moment.monotonic_ms, "utc_ms": moment.utc_ms,
            "trusted": moment.trusted, "state": state, "scan": row.scan, "decided": facts.decided,
        }  # fmt: skip
        admission = Admission(
            number, each.number, each.branch, epoch.id, account, scan.subject, moment, state,
            facts.decided, stored=False, line=line,
        )  # fmt: skip
        self._new.append(admission)
        return admission

    def _say_unknown_account(self, gate: str, subject: str, facts: Facts) -> None:
        front, colon, _ = subject.partition(":")
        if colon and NAME.fullmatch(front) and front not in self._accounts and not facts.asked:
            self._reports.say(
                "unknown_account",
                f"{gate}:{front}",
                f"gate {gate}: admits tickets of account {front!r}, and the settings of the bridge have none "
                "of that name: no vendor is told of them. If it was renamed, give it its name back before "
                "more come; if it was removed, its tickets are let in until the gate's list is up to date",
                gate,
            )

    def _settle(self, chains: Chains, row: int, branch: int, movement: Movement, number: int) -> None:
        admission_row, state = movement.row, SETTLING[movement.act]
        known = self._admissions.get((chains.gate, admission_row), [])
        known = chains.meant(known, movement.subject, branch)
        if not known:
            if state == "settled":
                self._reports.say(
                    "unknown_admission",
                    f"{chains.name}:{admission_row}:{branch}",
                    f"gate {chains.name}: row {name_of(row)} settles the admission in row "
                    f"{name_of(admission_row)}, which is not in the ledger: no vendor is told of it. See the "
                    "reports of gaps and unreadable rows for the reason",
                    chains.name,
                )
            return
        admission = known[0]
        if admission.state != "open":
            return
        if state == "dropped" and admission.decided == DOUBT:
            state = "unanswered"  # nobody was let in, and the vendor may have it all the same
        admission.state = state
        if admission.stored:
            self._changed.append(admission)
        else:
            admission.line["state"] = state
        if state == "settled":
            self._settled.add(admission.id)
            self._subjects.add(admission.subject)
        if admission.account and (state != "dropped" or admission.decided == VENDOR):
            self._work(chains, admission, admission_row, number, told=state == "unanswered")

    def _work(
        self, chains: Chains, admission: Admission, row: int, number: int, *, told: bool = False
    ) -> None:
        moment, epoch = admission.moment, self._epoch_with(chains, row, admission.epoch)
        unanswered = admission.state == "unanswered"
        at_utc_ms, state = moment.utc_ms, "due"
        next_ms = self._now_utc_ms + UNANSWERED_MS if unanswered else 0
        if not moment.trusted:
            if epoch.offset_ms is not None:
                at_utc_ms = max(0, moment.monotonic_ms + epoch.offset_ms)
            elif epoch.over:
                report_untimed(self._reports, chains.name, epoch.number, epoch.random)
            else:
                state, next_ms = "untimed", self._now_utc_ms + UNTIMED_MS_MAX
        line = {
            "id": number, "admission": admission.id, "account": admission.account,
            "subject": admission.subject, "at_utc_ms": at_utc_ms, "state": state,
            "doubt": unanswered or admission.decided == DOUBT,
            "attempts": 0, "next_ms": next_ms, "worker": "", "lease_ms": 0, "result": "",
            "verdict": "", "text": "", "finished_ms": 0, "told": told,
        }  # fmt: skip
        if admission.state == "dropped":
            line |= unused(self._reports, number, chains.name, row, admission.subject, self._now_utc_ms)
        elif not unanswered and admission.decided not in (GATE, DOUBT):
            line |= self._word(admission.decided)
        self._works.append(line)

    def _settle_across(self, chains: Chains, branch: int, row: int) -> None:
        """Settle what was admitted before a gap that is closed now, and settled after it."""
        found = settled_across(self._connection, chains, branch, row)
        places = {(chains.gate, each.admission) for each in found}
        for place in places:
            self._admissions.pop(place, None)
        self._load_admissions(places)
        for each in found:
            movement = Movement(Act(each.act), each.subject, each.admission, Direction.IN, (), 0)
            self._settle(chains, each.row, each.branch, movement, each.number)

    # --- epochs ----------------------------------------------------------------------------------

    def _epoch_of(self, chains: Chains, each: _Read) -> Epoch:
        """The epoch of a row; made where the row is its first, or where its first is missing."""
        number = epoch_and_seq(each.number)[0]
        if each.row.kind == "began":
            return self._begin(chains, each, number)
        known = self._epochs.get((chains.gate, number))
        if known and len(known) == 1:
            return known[0]
        for branch in chains.ancestry(each.branch):
            for epoch in known or ():
                if epoch.branch == branch:
                    return epoch
        return self._make(chains.gate, Epoch(0, number, "", each.branch, None, over=False))

    def _begin(self, chains: Chains, each: _Read, number: int) -> Epoch:
        try:
            random = random_of(each.row)
        except Unreadable as error:
            self._unreadable(chains, each.number, each.row.kind, error)
            random = ""
        self._end_before(chains, each.branch, number)
        moment = each.row.moment
        offset_ms = moment.utc_ms - moment.monotonic_ms if moment.trusted else None
        return self._make(chains.gate, Epoch(0, number, random, each.branch, offset_ms, over=False))

    def _make(self, gate: int, epoch: Epoch) -> Epoch:
        columns = schema.epoch.c
        self._connection.execute(
            insert_new(self._connection, schema.epoch),
            {
                "gate": gate, "epoch": epoch.number, "random": epoch.random, "branch": epoch.branch,
                "offset_ms": epoch.offset_ms, "over": epoch.over,
            },
        )  # fmt: skip
        epoch.id = self._connection.execute(
            select(columns.id).where(
                columns.gate == gate, columns.epoch == epoch.number, columns.random == epoch.random
            )
        ).scalar_one()
        self._epochs.setdefault((gate, epoch.number), []).append(epoch)
        return epoch

    def _epoch_with(self, chains: Chains, row: int, id: int) -> Epoch:
        """The epoch of an admission, which need not be that of the row that settles it."""
        number = epoch_and_seq(row)[0]
        for epoch in self._epochs.get((chains.gate, number), ()):
            if epoch.id == id:
                return epoch
        query = select(*EPOCH).where(schema.epoch.c.id == id)
        found = Epoch(*self._connection.execute(query).one())
        self._epochs.setdefault((chains.gate, number), []).append(found)
        return found

    def _restate(self, chains: Chains, epoch: Epoch, offset_ms: int) -> None:
        """The true time of an epoch is known: restate what waited for it."""
        epoch.offset_ms = offset_ms
        self._flush()
        self._connection.execute(
            update(schema.epoch).where(schema.epoch.c.id == epoch.id).values(offset_ms=offset_ms)
        )
        work, admission = schema.work.c, schema.admission.c
        stated = select(admission.monotonic_ms + offset_ms).where(admission.id == work.admission)
        self._connection.execute(
            update(schema.work)
            .where(work.state == "untimed", of_epoch(epoch.id))
            .values(state="due", next_ms=0, at_utc_ms=stated.scalar_subquery())
        )
        moved = select(admission.id, admission.subject).where(
            admission.gate == chains.gate,
            admission.row >= row_id(epoch.number, 0),
            admission.row <= row_id(epoch.number, SEQ_MAX),
            admission.epoch == epoch.id,
            admission.state == "settled",
        )
        for id, subject in self._connection.execute(moved):  # who entered before whom is to be judged anew
            self._settled.add(id)
            self._subjects.add(subject)

    def _end_before(self, chains: Chains, branch: int, number: int) -> None:
        """A new epoch begins: nothing more will become known of the clock in those before it."""
        self._flush()
        columns, work = schema.epoch.c, schema.work.c
        query = select(*EPOCH).where(
            columns.gate == chains.gate,
            columns.branch == branch,
            columns.epoch < number,
            columns.over.is_(False),
        )
        for line in self._connection.execute(query).all():
            before = Epoch(*line)
            self._connection.execute(update(schema.epoch).where(columns.id == before.id).values(over=True))
            for epoch in self._epochs.get((chains.gate, before.number), ()):
                epoch.over = epoch.over or epoch.id == before.id
            released = self._connection.execute(
                update(schema.work)
                .where(work.state == "untimed", of_epoch(before.id))
                .values(state="due", next_ms=0)
            )
            if released.rowcount:
                report_untimed(self._reports, chains.name, before.number, before.random)

    # --- into the database -----------------------------------------------------------------------

    def _flush(self) -> None:
        insert_many(self._connection, schema.admission, [admission.line for admission in self._new])
        for admission in self._new:
            admission.stored = True
        self._new = []
        if self._changed:
            self._connection.execute(
                update(schema.admission)
                .where(schema.admission.c.id == bindparam("admission"))
                .values(state=bindparam("new_state")),
                [{"admission": each.id, "new_state": each.state} for each in self._changed],
            )
            self._changed = []
        insert_many(self._connection, schema.work, self._works)
        insert_many(self._connection, schema.movement, self._movements)
        self._works, self._movements = [], []
