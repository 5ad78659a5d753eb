"""Refused scans: a vendor that wants to hear of them does, once each, and nobody else is bothered."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from firmware.bridge import schema
from firmware.bridge.ledger import Claimed, Ledger
from firmware.bridge.ledger.facts import ABOUT_A_CODE
from firmware.bridge.vendor import Accepted, Again, Lost, Misconfigured, NotSent, Outage, Refused
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
from tests.bridge.vivenu_talk import (
    EVENT,
    OK,
    OTHER,
    answering,
    asked,
    no_such,
    reply,
    row,
    told,
    uploads,
    vivenu,
)
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
    own: str = "gala",
) -> Kept:
    """A scan that the gate refuses."""
    listed = Ticket(subject, event=own, session="night") if ":" in subject else None
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
        {"subject": "0123abcd", "verdict": Verdict.UNKNOWN},  # a code of nobody knows which account
        {"subject": "0123abcd", "verdict": Verdict.UNKNOWN, "route": Route("other")},
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


@pytest.mark.parametrize(("accounts", "route"), [(ACCOUNTS, Route("acme")), (("acme",), Route())])
def test_a_code_in_no_list_is_told_to_the_account_of_its_route_or_to_the_only_one(
    tmp_path: Path, accounts: tuple[str, ...], route: Route
) -> None:
    with books(tmp_path) as kept:
        kept.ledger = Ledger(kept.database, VENUE, accounts, ("acme",))
        gate = ModelGate()
        refuse(gate, "0123abcd", Verdict.UNKNOWN, route)
        kept.store(gate)
        (work,) = claimed(kept)
        assert (work.told.ticket_id, work.told.code, work.told.refused) == ("", "CODE", True)
        assert work.told.event == "gala", "the gate's"


def test_a_ticket_of_another_event_is_refused_for_its_own(found: Books) -> None:
    gate = ModelGate()
    refuse(gate, verdict=Verdict.WRONG_EVENT, own="ball")
    found.store(gate)
    (work,) = claimed(found)
    assert work.told.event == "ball"


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


def test_only_verdicts_about_a_code_are_refusals_of_it() -> None:
    assert not any(verdict.admits for verdict in ABOUT_A_CODE)
    assert ABOUT_A_CODE.isdisjoint({Verdict.FREE, Verdict.SHUT, Verdict.NO_ANSWER})


def test_trap_10_refused_scans_go_up_as_fail_beside_the_others() -> None:
    scans = [told("A"), told("B", refused=True)]
    talk = Talk(vivenu().tell(scans), answering(upload=reply(OK)))
    assert [scan["type"] for scan in uploads(talk.requests)[0]] == ["OK", "FAIL"]


def test_a_code_in_no_list_goes_up_without_a_ticket_and_in_an_array_of_its_own() -> None:
    def strict(request: httpx.Request) -> httpx.Response:
        return reply(OK) if all("ticketId" in scan for scan in json.loads(request.content)) else refused

    refused = reply({"statusCode": 400, "error": "Bad Request", "message": "barcode"}, 400)
    scans = [told("A"), told("B", ticket_id="", refused=True), told("C", refused=True)]
    talk = Talk(vivenu().tell(scans), answering(upload=strict))
    first, second = uploads(talk.requests)
    assert [scan["barcode"] for scan in first] == ["A", "C"]
    assert set(second[0]) == {"barcode", "scanned_at", "type", "direction"}
    assert second[0]["type"] == "FAIL"
    assert [type(outcome) for outcome in talk.result] == [Accepted, Refused, Accepted]


@pytest.mark.parametrize("events", [(EVENT,), (EVENT, OTHER)])
@pytest.mark.parametrize("refused", [True, False])
def test_a_code_of_no_list_at_a_gate_of_another_accounts_event_is_looked_up(
    events: tuple[str, ...], refused: bool
) -> None:
    scan = told("A", ticket_id="", event="of another account", refused=refused)
    known = Talk(vivenu(events=events).tell([scan]), answering(ticket=reply(row()), upload=reply(OK)))
    assert known.requests[-1].url.path.endswith(f"/scans/{EVENT}")
    assert known.result == (Accepted("OK, for an array of 1"),)
    (outcome,) = Talk(vivenu(events=events).tell([scan]), answering(ticket=no_such())).result
    assert isinstance(outcome, Refused), "and not the fault of an event that vivenu does not have"


def test_nobody_has_to_look_what_became_of_a_refused_scan() -> None:
    lost = Talk(vivenu().tell([told("A", refused=True)]), answering(upload=Lost("gone")))
    doubt = Talk(vivenu().tell([told("A", refused=True, doubt=True)]), answering())
    for talk in (lost, doubt):
        assert [type(outcome) for outcome in talk.result] == [Refused]


@pytest.mark.parametrize(
    "trouble",
    [reply({}, 500), reply({}, 503), reply({}, 429), Lost("gone"), NotSent("no time left")],
    ids=repr,
)
@pytest.mark.parametrize("refused", [True, False])
def test_one_code_that_vivenu_cannot_look_up_holds_up_no_other(trouble: Any, refused: bool) -> None:
    vendor = vivenu(events=(EVENT, OTHER))
    odd = told("odd", ticket_id="", event="", refused=refused)
    talk = Talk(vendor.tell([odd, told("A")]), answering(ticket=trouble, upload=reply(OK)))
    first, second = talk.result
    assert isinstance(first, Again)
    assert (first.doubt, first.unsent, second) == (False, not refused, Accepted("OK, for an array of 1"))
    assert asked(talk.requests) == ["me", "ticket", "me", "upload"], "is anybody there, before it is sent"
    alone = Talk(vendor.tell([odd]), answering(ticket=trouble))
    assert alone.result == (first,), "its tries are counted"


def test_where_nobody_is_there_at_all_nothing_is_uploaded_and_no_try_counts() -> None:
    vendor = vivenu(events=(EVENT, OTHER))
    Talk(vendor.trial(), answering())
    scans = [told("odd", ticket_id="", event="", refused=True), told("A")]
    with pytest.raises(Outage, match="nobody"):
        Talk(vendor.tell(scans), answering(Lost("nobody"), ticket=Lost("gone")))
    again = Talk(vendor.tell(scans[1:]), answering(upload=reply(OK)))
    assert asked(again.requests) == ["me", "upload"]


def test_codes_of_no_list_that_vivenu_answers_404_are_told_in_vain_and_no_fault_of_the_event() -> None:
    def upload(request: httpx.Request) -> httpx.Response:
        return reply(OK) if all("ticketId" in scan for scan in json.loads(request.content)) else no_such()

    junk = [told(f"J{at}", ticket_id="", refused=True) for at in range(3)]
    talk = Talk(vivenu().tell([*junk, told("A"), told("B", refused=True)]), answering(upload=upload))
    assert [type(outcome) for outcome in talk.result] == [Refused] * 3 + [Accepted] * 2
    alone = Talk(vivenu().tell(junk), answering(upload=upload))
    assert {outcome.verdict for outcome in alone.result if isinstance(outcome, Refused)} == {Verdict.UNKNOWN}
    assert len(uploads(alone.requests)) == 1, "and they do not go again"


def test_an_event_that_vivenu_does_not_have_stays_a_fault_and_waits_for_days_beside_codes_of_no_list() -> (
    None
):
    scans = [told("J", ticket_id="", refused=True), told("A"), told("B", refused=True)]
    with pytest.raises(Misconfigured, match="vivenu has no event e1"):
        Talk(vivenu().tell(scans[1:]), answering(upload=no_such()))
    first, *others = Talk(vivenu().tell(scans), answering(upload=no_such())).result
    assert isinstance(first, Refused)
    for outcome in others:
        assert isinstance(outcome, Again)
        assert outcome.unsent
        assert "vivenu has no event e1" in outcome.why
