"""Work for vendors: who gets it, in which order, and what becomes of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware import wire
from firmware.bridge import schema
from firmware.bridge.ledger.telling import AHEAD_MS_MAX
from firmware.bridge.vendor import Accepted, Refused, Unsure
from firmware.core.ticket import Route, Verdict
from tests.bridge.model_gate import Books, ModelGate, books
from tests.core.samples import IN, NOON_MS, OUT

pytestmark = pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL

LEASE_MS = 60_000


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Books]:
    with books(tmp_path) as found:
        yield found


def told_to(kept: Books, limit: int = 10, now_ms: int = NOON_MS, worker: str = "w") -> list[str]:
    """What a worker takes: ticket and direction."""
    claimed = kept.ledger.claim("acme", worker, now_ms, limit, LEASE_MS)
    return [f"{each.told.ticket_id} {each.told.direction.value}" for each in claimed]


def test_a_worker_is_told_what_the_vendor_must_hear(kept: Books) -> None:
    gate = ModelGate()
    entry = gate.person("acme:t1", code="SECRET")
    kept.store(gate)
    (claimed,) = kept.ledger.claim("acme", "w", NOON_MS, 10, LEASE_MS)
    told = claimed.told
    assert entry.row is not None
    assert (told.ticket_id, told.code, told.event, told.session) == ("t1", "SECRET", "gala", "night")
    assert (told.direction, told.at_utc_ms, told.gate) == (IN, entry.row.moment.utc_ms, "east")
    assert told.doubt is False
    assert (claimed.scan, claimed.digest) == (entry.number, entry.digest)


def test_an_exit_never_overtakes_its_entry_whoever_takes_it(kept: Books) -> None:
    gate = ModelGate()
    gate.person("acme:t1")
    gate.person("acme:t1", OUT)
    gate.person("acme:t2")
    kept.store(gate)
    first = kept.ledger.claim("acme", "one", NOON_MS, 10, LEASE_MS)
    assert [each.told.ticket_id for each in first] == ["t1", "t2"]
    assert told_to(kept, worker="other") == []
    kept.ledger.finish([(first[0], Accepted())], NOON_MS)
    assert told_to(kept, worker="other") == ["t1 out"]


def test_what_waits_for_its_time_holds_back_only_its_own_ticket(kept: Books) -> None:
    untimed, timed = ModelGate("east", trusted=False), ModelGate("west")
    untimed.person("acme:t1")
    timed.person("acme:t1", OUT)
    timed.person("acme:t2")
    kept.store(untimed)
    kept.store(timed)
    assert told_to(kept) == ["t2 in"]


def test_work_is_taken_in_order_and_no_more_than_asked_for(kept: Books) -> None:
    gate = ModelGate()
    for at in range(5):
        gate.person(f"acme:t{at}")
    gate.person("other:t9")
    kept.store(gate)
    assert told_to(kept, 2) == ["t0 in", "t1 in"]
    assert told_to(kept, 2) == ["t2 in", "t3 in"]
    assert told_to(kept, 2) == ["t4 in"]
    assert told_to(kept, 2) == []


def test_work_of_a_dead_holder_comes_back_with_doubt(kept: Books) -> None:
    gate = ModelGate()
    gate.person()
    kept.store(gate)
    (held,) = kept.ledger.claim("acme", "dies", NOON_MS, 1, LEASE_MS)
    assert told_to(kept, now_ms=NOON_MS + LEASE_MS - 1) == []
    (taken,) = kept.ledger.claim("acme", "lives", NOON_MS + LEASE_MS, 1, LEASE_MS)
    assert taken.told == held.told._replace(doubt=True)
    assert taken.attempts == 2
    kept.ledger.give_back([held], doubt=False, next_utc_ms=0, now_utc_ms=NOON_MS)  # it was not dead after all
    assert told_to(kept, now_ms=NOON_MS + LEASE_MS) == []
    kept.ledger.finish([(held, Accepted("from the dead"))], NOON_MS)
    kept.ledger.finish([(taken, Refused(Verdict.USED, "was here"))], NOON_MS)
    (line,) = kept.lines(schema.work)
    assert (line.state, line.result, line.text) == ("done", "accepted", "from the dead")


@pytest.mark.parametrize("doubt", [False, True])
def test_what_is_given_back_is_tried_again_when_it_is_time(kept: Books, doubt: bool) -> None:
    gate = ModelGate()
    gate.person()
    kept.store(gate)
    claimed = kept.ledger.claim("acme", "w", NOON_MS, 1, LEASE_MS)
    kept.ledger.give_back(claimed, doubt=doubt, next_utc_ms=NOON_MS + 5000, now_utc_ms=NOON_MS)
    assert told_to(kept, now_ms=NOON_MS + 4999) == []
    (again,) = kept.ledger.claim("acme", "w", NOON_MS + 5000, 1, LEASE_MS)
    assert (again.told.doubt, again.attempts) == (doubt, 2)


def test_an_outcome_is_told_to_the_gate_of_the_scan_once(kept: Books) -> None:
    gate = ModelGate()
    entries = [gate.person(f"acme:t{at}") for at in range(3)]
    kept.store(gate)
    claimed = kept.ledger.claim("acme", "w", NOON_MS, 10, LEASE_MS)
    outcomes = (Accepted("welcome"), Refused(Verdict.USED, "was here"), Unsure("no reply" * 100))
    said = kept.ledger.finish(list(zip(claimed, outcomes, strict=True)), NOON_MS)
    assert len(said) == len(kept.reports("uncertain")) == 1
    assert "t2" in said[0]
    found = kept.ledger.outcomes_to_tell("w", NOON_MS, 10)
    assert [(gate, outcome.scan, outcome.digest) for gate, outcome, _ in found] == [
        ("east", entry.number, entry.digest) for entry in entries
    ]
    assert [(outcome.result, outcome.verdict) for _, outcome, _ in found] == [
        (wire.Result.ACCEPTED, None),
        (wire.Result.REFUSED, Verdict.USED),
        (wire.Result.UNSURE, None),
    ]
    message = wire.Outcomes(outcomes=tuple(outcome for _, outcome, _ in found))
    assert wire.decode(wire.encode(message), wire.Outcomes) == message
    kept.ledger.told([work for _, _, work in found[:2]])
    kept.ledger.told([])
    assert [work for _, _, work in kept.ledger.outcomes_to_tell("w", NOON_MS, 10)] == [found[2][2]]
    states = {("acme", "accepted"): 1, ("acme", "refused"): 1, ("acme", "uncertain"): 1}
    assert kept.ledger.counts().work == states
    assert kept.ledger.counts().reports == 1


def test_an_admission_that_nothing_names_is_left_to_a_person(kept: Books) -> None:
    gate = ModelGate()
    gate.person("0123abcd", route=Route("acme"), code=None)
    gate.person("4567abcd", route=Route("acme"), code="CODE")
    gate.person("acme:t1", code=None)
    kept.store(gate)
    claimed = kept.ledger.claim("acme", "w", NOON_MS, 2, LEASE_MS)
    assert [(each.told.ticket_id, each.told.code) for each in claimed] == [("", "CODE"), ("t1", "")]
    assert len(kept.reports("uncertain")) == 1
    ((_, outcome, _),) = kept.ledger.outcomes_to_tell("w", NOON_MS, 10)
    assert outcome.result is wire.Result.UNSURE


def test_times_written_while_the_clock_ran_ahead_keep_no_work_until_then(kept: Books) -> None:
    gate, year_ms = ModelGate(), 365 * 86_400_000
    for name in ("t1", "t2"):
        gate.person(f"acme:{name}")
    kept.store(gate)
    ahead_ms = NOON_MS + year_ms
    first, _ = kept.ledger.claim("acme", "w", ahead_ms, 10, LEASE_MS)
    kept.ledger.give_back([first], doubt=False, next_utc_ms=ahead_ms + 1000, now_utc_ms=ahead_ms)
    assert told_to(kept) == ["t2 in", "t1 in"]


def test_a_time_a_little_ahead_is_waited_for(kept: Books) -> None:
    gate = ModelGate()
    gate.person("acme:t1")
    kept.store(gate)
    (claimed,) = kept.ledger.claim("acme", "w", NOON_MS, 10, LEASE_MS)
    assert told_to(kept) == []
    kept.ledger.give_back([claimed], doubt=False, next_utc_ms=NOON_MS + AHEAD_MS_MAX, now_utc_ms=NOON_MS)
    assert told_to(kept) == []
    assert told_to(kept, now_ms=NOON_MS + AHEAD_MS_MAX) == ["t1 in"]


def test_rows_and_times_that_wait_since_a_clock_ran_ahead_are_let_go(kept: Books) -> None:
    ahead_ms = NOON_MS + 365 * 86_400_000
    gate = ModelGate(trusted=False)
    gate.person("acme:t1")
    kept.store(gate, now_utc_ms=ahead_ms)
    assert told_to(kept) == []
    kept.ledger.release_untimed(NOON_MS)
    assert told_to(kept) == ["t1 in"]
    other = ModelGate("west")
    other.person("acme:t2")
    kept.store(other, 1, now_utc_ms=ahead_ms)
    kept.ledger.release_loose(NOON_MS)
    assert told_to(kept) == ["t2 in"]


def test_a_ticket_of_an_account_that_the_settings_do_not_have_is_reported_once(kept: Books) -> None:
    gate = ModelGate()
    for name in ("old:t1", "old:t2", "VIP:1", "acme:t1", "local"):
        gate.person(name)
    kept.store(gate)
    (said,) = kept.reports("unknown_account")
    assert said.startswith("gate east: admits tickets of account 'old', and the settings of the bridge have")


def test_what_a_dead_worker_held_is_taken_by_another_at_once(kept: Books) -> None:
    gate = ModelGate()
    for name in ("t1", "t2", "t3"):
        gate.person(f"acme:{name}")
    kept.store(gate)
    assert kept.ledger.holders() == set()
    dead, sent, _ = kept.ledger.claim("acme", "1@here", NOON_MS, 2, LEASE_MS) + kept.ledger.claim(
        "acme", "2@there", NOON_MS, 1, LEASE_MS
    )
    kept.ledger.finish([(sent, Accepted())], NOON_MS)
    assert kept.ledger.holders() == {"1@here", "2@there"}
    assert kept.ledger.outcomes_to_tell("2@there", NOON_MS, 10) == []
    kept.ledger.release({"1@here", "3@nobody"})
    assert kept.ledger.holders() == {"2@there"}
    (again,) = kept.ledger.claim("acme", "2@there", NOON_MS, 10, LEASE_MS)
    assert (again.work, again.told.doubt) == (dead.work, True)
    ((_, _, work),) = kept.ledger.outcomes_to_tell("2@there", NOON_MS, 10)
    assert work == sent.work
    assert kept.ledger.outcomes_to_tell("3@third", NOON_MS, 10) == []
    kept.ledger.told([work])
    assert kept.ledger.holders() == {"2@there"}
