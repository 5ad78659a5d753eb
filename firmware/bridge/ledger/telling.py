"""What vendors must be told: taken one at a time for each ticket, in order, by whichever worker is free.

Who takes work holds it until its lease ends. Work whose holder died comes back with doubt: it may have been
told. The first outcome of a piece of work counts; one that comes after it changes nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Column, Connection, Select, bindparam, exists, select, update

from firmware import wire
from firmware.bridge import schema
from firmware.bridge.ledger.reports import Reports, time_of, whole_text
from firmware.bridge.vendor import Accepted, Refused, Told, Unsure
from firmware.core.ticket import Direction, Verdict
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


def _ready(state: str, since: Column[int]) -> Select[tuple[int, str, bool, int, int, int]]:
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
        select(work.id, work.state, work.doubt, work.attempts, work.admission, work.at_utc_ms)
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
_FACTS = (
    select(
        schema.admission.c.id, schema.admission.c.row, schema.admission.c.digest, schema.admission.c.subject,
        schema.admission.c.code, schema.admission.c.event, schema.admission.c.session,
        schema.admission.c.direction, schema.gate.c.name, schema.admission.c.state,
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
        text=bindparam("word"),
    )
)  # fmt: skip


def release(connection: Connection, workers: str) -> None:
    """End the leases of all whose name ends so: they are dead, and what they held may have been told."""
    held = schema.work.c
    connection.execute(
        update(schema.work)
        .where(held.state == "claimed", held.worker.endswith(workers, autoescape=True))
        .values(lease_ms=0)
    )


def _take(
    connection: Connection,
    which: Select[tuple[int, str, bool, int, int, int]],
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
            of.state == "refused",
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
            {"work": claimed.work, "said": result, "ours": verdict, "word": text, "now_ms": now_utc_ms}
        )
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


def outcomes_to_tell(connection: Connection, limit: int) -> list[tuple[str, wire.Outcome, int]]:
    """Outcomes that no gate was told of yet: gate, outcome, and the id of the work."""
    work, admission, gate = schema.work.c, schema.admission.c, schema.gate.c
    query = (
        select(work.id, work.result, work.verdict, work.text, admission.row, admission.digest, gate.name)
        .join(schema.admission, admission.id == work.admission)
        .join(schema.gate, gate.id == admission.gate)
        .where(work.state == "done", work.told.is_(False))
        .order_by(work.id)
        .limit(limit)
    )
    return [(line.name, _outcome(line), line.id) for line in connection.execute(query)]


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
