"""Refused scans: a vendor that wants to hear of them does, once each, and nobody else is bothered."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware.bridge import schema
from firmware.bridge.ledger import Claimed, Ledger
from firmware.bridge.ledger.facts import ABOUT_A_TICKET
from firmware.bridge.vendor import Accepted, Lost, Refused
from firmware.core.events import Scanned
from firmware.core.ticket import Direction, Policy, Route, Ticket, Verdict
from firmware.row import Named, Row, Story
from tests.bridge.conversation import Talk
from tests.bridge.model_gate import (
    ACCOUNTS,
    BEFORE,
    VENDOR_DECIDES,
    VENUE,
    Books,
    Kept,
    ModelGate,
    books,
)
from tests.bridge.vivenu_talk import OK, answering, reply, told, uploads, vivenu
from tests.core.samples import IN, NOON_MS


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Books]:
    """A ledger whose account "acme" hears of refused scans, and "other" does not."""
    with books(tmp_path) as kept:
        kept.ledger = Ledger(kept.database, VENUE, ACCOUNTS, ("acme",))
        yield kept


def refuse(
    gate: ModelGate,
    subject: str = "acme:t1",
    verdict: Verdict = Verdict.USED,
    route: Route = Route(),  # noqa: B008  a frozen value
    direction: Direction = IN,
    kind: str = "scan",
) -> Kept:
    """A scan that the gate refuses."""
    listed = Ticket(subject, event="gala", session="night") if ":" in subject else None
    number, moment = gate.next_row, gate.moment
    scan = Scanned(moment, number, b"digest", subject, direction, route, Policy("gala"), listed)
    story = Story(BEFORE, (Named("Scanned", tuple(scan)),), b"effects")
    return gate.write(Row(kind, "north", moment, number, verdict, story=story), "CODE")


def claimed(at: Books, account: str = "acme") -> list[Claimed]:
    return at.ledger.claim(account, "w", NOON_MS, 100, 1000)


@pytest.mark.parametrize("direction", list(Direction))
def test_a_refused_scan_is_told_with_its_time_and_its_way(found: Books, direction: Direction) -> None:
    gate = ModelGate()
    row = refuse(gate, direction=direction)
    found.store(gate)
    (work,) = claimed(found)
    assert work.told.refused
    assert (work.told.ticket_id, work.told.code, work.told.event) == ("t1", "CODE", "gala")
    assert (work.told.direction, work.scan) == (direction, row.number)
    assert row.row is not None
    assert work.told.at_utc_ms == row.row.moment.utc_ms


def test_what_the_vendor_says_of_it_is_no_news_for_the_gate(found: Books) -> None:
    gate = ModelGate()
    refuse(gate)
    found.store(gate)
    (work,) = claimed(found)
    found.ledger.finish([(work, Accepted("OK"))], NOON_MS)
    assert list(found.ledger.outcomes_to_tell("w", NOON_MS, 10)) == []
    assert claimed(found) == []


def test_it_is_derived_once_however_often_its_row_comes(found: Books) -> None:
    gate = ModelGate()
    refuse(gate)
    for _ in range(3):
        found.store(gate)
    assert len(found.lines(schema.work)) == 1


def test_it_moves_nobody(found: Books) -> None:
    gate = ModelGate()
    gate.person()
    refuse(gate)
    found.store(gate)
    assert len(found.lines(schema.movement)) == 2  # the admission and the walk
    assert found.kinds() == []


def test_it_keeps_its_place_among_the_movements_of_its_ticket(found: Books) -> None:
    gate = ModelGate()
    gate.person()
    refuse(gate)
    gate.person(direction=Direction.OUT)
    found.store(gate)
    order = []
    while works := claimed(found):
        (work,) = works
        order.append((work.told.direction, work.told.refused))
        found.ledger.finish([(work, Accepted())], NOON_MS)
    assert order == [(Direction.IN, False), (Direction.IN, True), (Direction.OUT, False)]


@pytest.mark.parametrize(
    "more",
    [
        {"subject": "other:t1"},  # of an account that does not want to hear
        {"subject": "0123abcd"},  # an unknown code
        {"subject": "strange:t1"},
        {"route": VENDOR_DECIDES, "kind": "answer"},  # the vendor itself said no
        {"route": VENDOR_DECIDES, "verdict": Verdict.TOO_SOON},  # the echo of an admission
        {"route": VENDOR_DECIDES, "verdict": Verdict.NOT_CONFIGURED},
        {"route": VENDOR_DECIDES, "verdict": Verdict.NO_ANSWER},
        {"verdict": Verdict.BUSY},
        {"verdict": Verdict.OUT_OF_ORDER},
        {"verdict": Verdict.UNREADABLE},
        {"kind": "repeat"},
    ],
    ids=repr,
)
def test_nobody_is_told_of_any_other(found: Books, more: dict[str, Any]) -> None:
    gate = ModelGate()
    refuse(gate, **more)
    found.store(gate)
    assert found.lines(schema.work) == []


@pytest.mark.parametrize("verdict", [Verdict.WRONG_GATE, Verdict.USED, Verdict.CALL_STAFF])
def test_nor_was_a_vendor_that_decides_asked_about_what_the_gate_refused_itself(
    found: Books, verdict: Verdict
) -> None:
    gate = ModelGate()
    row = refuse(gate, route=VENDOR_DECIDES, verdict=verdict)
    found.store(gate)
    (work,) = claimed(found)
    assert (work.told.refused, work.told.doubt, work.told.unanswered) == (True, False, False)
    assert (work.told.ticket_id, work.scan) == ("t1", row.number)


@pytest.mark.parametrize("route", [Route("acme"), VENDOR_DECIDES])
def test_too_soon_is_news_where_a_gates_own_rule_said_so(found: Books, route: Route) -> None:
    gate = ModelGate()
    refuse(gate, route=route, verdict=Verdict.TOO_SOON)
    found.store(gate)
    assert len(claimed(found)) == (route != VENDOR_DECIDES)


def test_a_refusal_without_a_true_time_waits_for_one(found: Books) -> None:
    gate = ModelGate(trusted=False)
    refuse(gate)
    found.store(gate)
    assert [line.state for line in found.lines(schema.work)] == ["untimed"]
    gate.trusted = True
    gate.person("other:x")
    found.store(gate)
    (work,) = claimed(found)
    assert work.told.at_utc_ms > NOON_MS - 1000


def test_only_verdicts_about_a_ticket_are_refusals_of_it() -> None:
    assert not any(verdict.admits for verdict in ABOUT_A_TICKET)
    assert ABOUT_A_TICKET.isdisjoint({Verdict.FREE, Verdict.SHUT, Verdict.UNKNOWN, Verdict.NO_ANSWER})


def test_trap_10_refused_scans_go_up_as_fail_beside_the_others() -> None:
    scans = [told("A"), told("B", refused=True)]
    talk = Talk(vivenu().tell(scans), answering(upload=reply(OK)))
    assert [scan["type"] for scan in uploads(talk.requests)[0]] == ["OK", "FAIL"]


def test_nobody_has_to_look_what_became_of_a_refused_scan() -> None:
    lost = Talk(vivenu().tell([told("A", refused=True)]), answering(upload=Lost("gone")))
    doubt = Talk(vivenu().tell([told("A", refused=True, doubt=True)]), answering())
    for talk in (lost, doubt):
        assert [type(outcome) for outcome in talk.result] == [Refused]
