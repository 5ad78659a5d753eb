"""Asks of two journals under one gate's name: their rows have the same numbers, and nothing else in common.

Another card in a gate begins at row 1.1 again, and an older image of a card writes the numbers anew that the
card had used since.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware.aftermath import Doubt
from firmware.asks import Asked
from firmware.bridge import schema
from firmware.core.ticket import Verdict
from firmware.row import decode
from tests.bridge.asked_lane import CLOSED, OPEN, AskedLane
from tests.bridge.model_gate import Books, ModelGate, books
from tests.core.samples import IN, NOON_MS, SETUP

pytestmark = pytest.mark.usefixtures("any_ledger")  # on SQLite, and on PostgreSQL

WEEK_MS = 7 * 86_400_000
Pair = tuple[AskedLane, AskedLane]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Books]:
    with books(tmp_path) as found:
        yield found


def lanes(gate: ModelGate, other: ModelGate) -> Pair:
    other.boot_ms += WEEK_MS
    one = AskedLane(gate, subject="acme:theirs", code="THEIRS")
    return one, AskedLane(other, subject="acme:ours", code="OURS")


def new_card() -> Pair:
    return lanes(ModelGate(), ModelGate())


def image_put_back() -> Pair:
    gate = ModelGate()
    other = gate.copied()
    gate.start()
    other.start(epoch=2)
    return lanes(gate, other)


two_journals = pytest.mark.parametrize("journals", [new_card, image_put_back])


def both_stored(kept: Books, pair: Pair) -> None:
    """At once: each could take the other's."""
    kept.ledger.store_many([(at.gate.name, at.gate.batch()) for at in pair], NOON_MS)


def lost_between(kept: Books, at: AskedLane) -> int:
    """The ledger loses rows in front of what the gate writes from now on: where those begin."""
    kept.store(at.gate)
    at.gate.person("acme:lost")
    return len(at.gate.rows)


@two_journals
def test_what_is_told_has_the_code_of_the_ask_in_its_own_journal(
    kept: Books, journals: Callable[[], Pair]
) -> None:
    for at in (pair := journals()):
        at.answer(at.scan(OPEN), Verdict.NO_ANSWER)
        at.walk()
    both_stored(kept, pair)
    codes = {line.subject: line.code for line in kept.lines(schema.admission)}
    assert codes == {"acme:theirs": "THEIRS", "acme:ours": "OURS"}


@two_journals
def test_so_has_what_is_looked_up_and_the_time_of_that_ask(kept: Books, journals: Callable[[], Pair]) -> None:
    for at in (pair := journals()):
        scan = at.scan(CLOSED)
        at.gate.start()
        asked = Asked("north", at.subject, IN, "", NOON_MS, b"digest", opened=False)
        at.gate.write(Doubt(scan, SETUP, asked).row(at.gate.moment))
    both_stored(kept, pair)
    found = {line.subject: (line.code, line.utc_ms) for line in kept.lines(schema.admission)}
    asks = [
        decode(each.body).moment.utc_ms
        for at in pair
        for each in at.gate.rows
        if decode(each.body).kind == "ask"
    ]
    assert found == {"acme:theirs": ("THEIRS", asks[0]), "acme:ours": ("OURS", asks[1])}


def test_the_ask_in_front_of_a_gap_is_found_behind_it(kept: Books) -> None:
    at = AskedLane(ModelGate())
    scan = at.scan(OPEN)
    behind = lost_between(kept, at)
    at.answer(scan, Verdict.NO_ANSWER)
    kept.store(at.gate, behind, cursor=behind)
    assert kept.kinds() == ["gap"]
    assert [line.code for line in kept.lines(schema.admission)] == ["CODE"]


def test_another_journals_ask_in_front_of_a_gap_is_not(kept: Books) -> None:
    theirs, ours = new_card()
    scan = ours.scan(OPEN)
    assert theirs.scan(OPEN) == scan
    kept.store(theirs.gate)
    ours.gate.person("acme:lost")
    behind = len(ours.gate.rows)
    ours.answer(scan, Verdict.NO_ANSWER)
    kept.store(ours.gate, behind, cursor=behind)
    assert [(line.subject, line.code) for line in kept.lines(schema.admission)] == [("acme:ours", "")]


@two_journals
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("verdict", [Verdict.ADMITTED, Verdict.BLOCKED])
def test_a_late_answer_is_about_the_ask_of_its_own_journal(
    kept: Books, journals: Callable[[], Pair], verdict: Verdict, split: bool
) -> None:
    theirs, ours = journals()
    theirs.answer(theirs.scan(OPEN), Verdict.NO_ANSWER)
    theirs.walk()
    scan = ours.scan(CLOSED)
    ours.silence()
    before = len(ours.gate.rows) if split else 0
    kept.store(theirs.gate)
    if split:
        kept.store(ours.gate)
    ours.answer(scan, verdict)
    kept.store(ours.gate, before)
    states = {line.subject: line.state for line in kept.lines(schema.work)}
    assert states == {"acme:theirs": "due", "acme:ours": "done"}


def test_a_late_answer_behind_a_gap_ends_the_ask_in_front_of_it(kept: Books) -> None:
    at = AskedLane(ModelGate())
    scan = at.scan(CLOSED)
    at.silence()
    behind = lost_between(kept, at)
    at.answer(scan)
    kept.store(at.gate, behind, cursor=behind)
    assert [line.state for line in kept.lines(schema.work)] == ["done"]


def test_but_not_one_of_another_journal(kept: Books) -> None:
    theirs, ours = new_card()
    scan = theirs.scan(CLOSED)
    theirs.silence()
    kept.store(theirs.gate)
    ours.scan(CLOSED)
    ours.silence()
    ours.gate.person("acme:lost")
    behind = len(ours.gate.rows)
    ours.answer(scan)
    kept.store(ours.gate, behind, cursor=behind)
    assert [(line.subject, line.state) for line in kept.lines(schema.work)] == [("acme:theirs", "due")]
