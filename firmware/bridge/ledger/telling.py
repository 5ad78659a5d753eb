"""What vendors must be told: taken one at a time for each ticket, in order, by whichever worker is free.

Who takes work holds it until its lease ends. Work whose holder died comes back with doubt: it may have been
told. The first outcome of a piece of work counts; one that comes after it changes nothing. Its holder goes on
to hold it until the gate was told of the outcome.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import Column, Connection, Select, bindparam, exists, select, update

from firmware import wire
from firmware.bridge import schema
from firmware.bridge.ledger.reports import Reports, time_of, whole_text
from firmware.bridge.vendor import Accepted, Refused, Told, Unsure
from firmware.core.ticket import Direction, Perimeter, Verdict
from firmware.row import name_of

TEXT_CHARACTERS_MAX = 256  # as `wire.Text`
UNSENDABLE = (
    "the gate sent neither a ticket id of this vendor nor the code, so there is nothing to tell it by"
)
UNCERTAIN = "uncertain"
# A time that lies further ahead was written while the bridge's clock was wrong: nobody waits until then. No
# vendor asks to be left alone for longer.
AHEAD_MS_MAX = 3_600_000
LEASES_AHEAD_MAX = 2  # the same of a lease: bridges of one ledger have clocks that differ a little
# To send an outcome to its gate: the bridge that stored it is at it already. One that has lost its broker
# keeps none for longer.
OUTCOME_LEASE_MS = 20_000


class Claimed(NamedTuple):
    """Work that its holder alone may send. (`scan`, `digest`) is the row of the admission."""

    work: int
    told: Told
    scan: int
    digest: bytes
    worker: str
    attempts: int  # with the worker, tells this claim from a later one


def claim(
    connection: Connection,
    reports: Reports,
    account: str,
    worker: str,
    now_utc_ms: int,
    limit: int,
    lease_ms: int,
) -> list[Claimed]:
    """Take up to `limit` pieces of work of different tickets."""
    found: list[Claimed] = []
    for which, ahead_ms in (  # apart, so that each is read in order from an index
        (_DEAD, LEASES_AHEAD_MAX * lease_ms),
        (_DUE, AHEAD_MS_MAX),
    ):
        while len(found) < limit:
            wanted = {
                "of": account, "now_ms": now_utc_ms, "ahead_ms": now_utc_ms + ahead_ms,
                "most": limit - len(found),
            }  # fmt: skip
            taken = _take(connection, which, wanted, now_utc_ms + lease_ms, worker)
            sendable = [each for each in taken if each.told.ticket_id or each.told.code]
            found += sendable
            unsendable = [(each, Unsure(UNSENDABLE)) for each in taken if each not in sendable]
            finish(connection, reports, unsendable, now_utc_ms)
            if not unsendable:
                break
    return found


def _ready(state: str, since: Column[int]) -> Select[tuple[int, str, bool, int, int, int, str]]:
    """Work in this state whose time has come, with none of the same ticket in front of it.

    Made once: to build these statements for each batch took longer than to carry them out.
    """
    work, before = schema.work.c, schema.work.alias("before")
    waits = exists(
        select(before.c.id).where(
            before.c.account == work.account,
            before.c.subject == work.subject,
            before.c.id < work.id,
            before.c.state != "done",
        )
    )
    return (
        select(work.id, work.state, work.doubt, work.attempts, work.admission, work.at_utc_ms, work.text)
        .where(
            work.account == bindparam("of"),
            work.state == state,
            (since <= bindparam("now_ms")) | (since > bindparam("ahead_ms")),
            ~waits,
        )
        .order_by(work.id)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )


_DEAD = _ready("claimed", schema.work.c.lease_ms)
_DUE = _ready("due", schema.work.c.next_ms)
_EARLIER, _ENTRY = schema.work.alias("earlier"), schema.admission.alias("entry")
_FACTS = (
    select(
        schema.admission.c.id, schema.admission.c.row, schema.admission.c.digest, schema.admission.c.subject,
        schema.admission.c.code, schema.admission.c.event, schema.admission.c.session,
        schema.admission.c.direction, schema.gate.c.name, schema.admission.c.state,
        schema.admission.c.perimeters, schema.admission.c.trusted,
        exists(
            select(_EARLIER.c.id)
            .join(_ENTRY, _ENTRY.c.id == _EARLIER.c.admission)
            .where(
                _EARLIER.c.account == schema.admission.c.account,
                _EARLIER.c.subject == schema.admission.c.subject,
                _EARLIER.c.result == "accepted",
                _ENTRY.c.direction == Direction.IN.value,
            )
        ).label("entered"),
    )
    .join(schema.gate, schema.gate.c.id == schema.admission.c.gate)
    .where(schema.admission.c.id.in_(bindparam("wanted", expanding=True)))
)  # fmt: skip
_HOLD = (
    update(schema.work)
    .where(schema.work.c.id == bindparam("work"))
    .values(
        state="claimed", worker=bindparam("holder"), lease_ms=bindparam("until_ms"),
        doubt=bindparam("doubtful"), attempts=bindparam("tried"),
    )
)  # fmt: skip


_WAITING = (
    select(schema.work.c.id)
    .where(schema.work.c.id.in_(bindparam("works", expanding=True)), schema.work.c.state != "done")
    .with_for_update()
)
_FINISH = (
    update(schema.work)
    .where(schema.work.c.id == bindparam("work"))
    .values(
        state="done", finished_ms=bindparam("now_ms"), result=bindparam("said"), verdict=bindparam("ours"),
        text=bindparam("word"), worker=bindparam("holder"), lease_ms=bindparam("until_ms"),
    )
)  # fmt: skip


# Of each state by itself, so that an index finds the few that are held.
_HELD = (
    (schema.work.c.state == "claimed") & (schema.work.c.lease_ms > 0),
    (schema.work.c.state == "done") & schema.work.c.told.is_(False) & (schema.work.c.lease_ms > 0),
)


def holders(connection: Connection) -> set[str]:
    """Who holds something: a scan to tell a vendor of, or an outcome to send to a gate."""
    queries = [select(schema.work.c.worker).where(held).distinct() for held in _HELD]
    return {name for query in queries for name in connection.execute(query).scalars()}


def release(connection: Connection, workers: Collection[str]) -> None:
    """End the leases of these: they are dead. What they held may have been told."""
    for held in _HELD:
        connection.execute(
            update(schema.work).where(held, schema.work.c.worker.in_(workers)).values(lease_ms=0)
        )


def _take(
    connection: Connection,
    which: Select[tuple[int, str, bool, int, int, int, str]],
    wanted: dict[str, object],
    until_ms: int,
    worker: str,
) -> list[Claimed]:
    account = wanted["of"]
    lines = connection.execute(which, wanted).all()
    if not lines:
        return []
    asked = {"wanted": [line.admission for line in lines]}
    facts = {line.id: line for line in connection.execute(_FACTS, asked)}
    found = []
    for line in lines:
        of = facts[line.admission]
        front, _, ticket_id = of.subject.partition(":")
        told = Told(
            ticket_id if front == account else "", of.code, of.event, of.session,
            Direction(of.direction), line.at_utc_ms, of.name, line.doubt or line.state == "claimed",
            of.state == "refused", Perimeter(of.perimeters.partition(",")[0] or Perimeter.OUTER),
            of.state == "unanswered", note=line.text, entered=of.entered,
            untrusted=not of.trusted,
        )  # fmt: skip
        found.append(Claimed(line.id, told, of.row, of.digest, worker, line.attempts + 1))
    connection.execute(
        _HOLD,
        [
            {
                "work": each.work, "holder": worker, "until_ms": until_ms,
                "doubtful": each.told.doubt, "tried": each.attempts,
            }
            for each in found
        ],
    )  # fmt: skip
    return found


def finish(
    connection: Connection,
    reports: Reports,
    outcomes: Sequence[tuple[Claimed, Accepted | Refused | Unsure]],
    now_utc_ms: int,
) -> None:
    """Keep what became of work, also of work whose lease has run out meanwhile."""
    ids = [claimed.work for claimed, _ in outcomes]
    waiting = set(connection.execute(_WAITING, {"works": ids}).scalars()) if ids else set()
    lines = []
    for claimed, outcome in outcomes:
        if claimed.work not in waiting:
            continue
        result, verdict, text = _said(outcome)
        text = whole_text(text)[:TEXT_CHARACTERS_MAX]
        lines.append(
            {
                "work": claimed.work, "said": result, "ours": verdict, "word": text, "now_ms": now_utc_ms,
                "holder": claimed.worker, "until_ms": now_utc_ms + OUTCOME_LEASE_MS,
            }
        )  # fmt: skip
        if result == UNCERTAIN:
            told = claimed.told
            reports.say(
                UNCERTAIN,
                str(claimed.work),
                f"gate {told.gate}, row {name_of(claimed.scan)}, {told.direction.value} at "
                f"{time_of(told.at_utc_ms)}, ticket {told.ticket_id or 'without an id'}: nobody knows "
                f"whether the vendor has it: {text}. Look it up there",
            )
    if lines:
        connection.execute(_FINISH, lines)


def give_back(connection: Connection, claimed: Sequence[Claimed], *, doubt: bool, next_utc_ms: int) -> None:
    """Let it be tried again from then on. What another has taken meanwhile is left to it."""
    columns = schema.work.c
    if claimed:
        connection.execute(
            update(schema.work)
            .where(
                columns.id == bindparam("work"),
                columns.state == "claimed",
                columns.worker == bindparam("holder"),
                columns.attempts == bindparam("tried"),
            )
            .values(state="due", doubt=doubt, next_ms=next_utc_ms, worker="", lease_ms=0),
            [{"work": each.work, "holder": each.worker, "tried": each.attempts} for each in claimed],
        )


def write(connection: Connection, claimed: Claimed, note: str) -> bool:
    """Keep a note with work that this holder has; whoever takes it next reads it. Whether it still has it."""
    written = connection.execute(
        update(schema.work)
        .where(
            schema.work.c.id == claimed.work,
            schema.work.c.state == "claimed",
            schema.work.c.worker == claimed.worker,
            schema.work.c.attempts == claimed.attempts,
        )
        .values(text=whole_text(note)[:TEXT_CHARACTERS_MAX])
    )
    return written.rowcount == 1


_UNTOLD = (schema.work.c.state == "done") & schema.work.c.told.is_(False)
_MINE_OR_FREE = (
    (schema.work.c.worker == bindparam("me"))
    | (schema.work.c.lease_ms <= bindparam("now_ms"))
    | (schema.work.c.lease_ms > bindparam("ahead_ms"))
)
_TO_TELL = (
    select(schema.work.c.id)
    .where(_UNTOLD, _MINE_OR_FREE)
    .order_by(schema.work.c.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_OUTCOMES = (
    select(
        schema.work.c.id, schema.work.c.result, schema.work.c.verdict, schema.work.c.text,
        schema.admission.c.row, schema.admission.c.digest, schema.gate.c.name,
    )
    .join(schema.admission, schema.admission.c.id == schema.work.c.admission)
    .join(schema.gate, schema.gate.c.id == schema.admission.c.gate)
    .where(schema.work.c.id.in_(bindparam("works", expanding=True)))
    .order_by(schema.work.c.id)
)  # fmt: skip


def any_to_tell(connection: Connection) -> bool:
    """Whether there are outcomes that no gate was told of; perhaps another bridge is at it."""
    return connection.execute(select(schema.work.c.id).where(_UNTOLD).limit(1)).first() is not None


def outcomes_to_tell(
    connection: Connection, worker: str, now_utc_ms: int, limit: int
) -> list[tuple[str, wire.Outcome, int]]:
    """Take outcomes that no gate was told of yet: gate, outcome, and the id of the work.

    They are the worker's for `OUTCOME_LEASE_MS`; what it held already is among them.
    """
    wanted = {
        "me": worker, "now_ms": now_utc_ms, "most": limit,
        "ahead_ms": now_utc_ms + LEASES_AHEAD_MAX * OUTCOME_LEASE_MS,
    }  # fmt: skip
    ids = connection.execute(_TO_TELL, wanted).scalars().all()
    if not ids:
        return []
    connection.execute(
        update(schema.work)
        .where(schema.work.c.id.in_(ids))
        .values(worker=worker, lease_ms=now_utc_ms + OUTCOME_LEASE_MS)
    )
    return [(line.name, _outcome(line), line.id) for line in connection.execute(_OUTCOMES, {"works": ids})]


def told(connection: Connection, ids: Sequence[int]) -> None:
    """Those outcomes were sent."""
    if ids:
        connection.execute(
            update(schema.work).where(schema.work.c.id == bindparam("work")).values(told=True),
            [{"work": id} for id in ids],
        )


def _said(outcome: Accepted | Refused | Unsure) -> tuple[str, str, str]:
    match outcome:
        case Accepted(text):
            return "accepted", "", text
        case Refused(verdict, text):
            return "refused", verdict.value, text
        case Unsure(why):
            return UNCERTAIN, "", why


_RESULTS = {
    "accepted": wire.Result.ACCEPTED,
    "refused": wire.Result.REFUSED,
    UNCERTAIN: wire.Result.UNSURE,
}


def _outcome(line: object) -> wire.Outcome:
    row, digest, result, verdict, text = (
        getattr(line, name) for name in ("row", "digest", "result", "verdict", "text")
    )
    return wire.Outcome(row, digest, _RESULTS[result], Verdict(verdict) if verdict else None, text)
