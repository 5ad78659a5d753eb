"""Sandbox and adapter of B.A.M., each written from its documents alone, understand each other."""

from typing import Any

import pytest

from firmware.bridge.bam import Bam, BamSettings
from firmware.bridge.bam_identity import Identity
from firmware.bridge.driver import Driver
from firmware.bridge.sandbox.bam import KINDS, Sandbox
from firmware.bridge.sandbox.bam_api import SHAPES
from firmware.bridge.sandbox.bam_rules import Rules
from firmware.bridge.vendor import (
    Accepted,
    Again,
    Lost,
    Note,
    Outage,
    Outcome,
    Page,
    Refused,
    Told,
    VendorTicket,
)
from firmware.core.ticket import Direction, Status, Verdict

pytestmark = pytest.mark.usefixtures("patient")

AT_MS = 1_900_000_000_000
SHORT_S = 0.05  # of troubles that take time: long enough to be met, short enough for a test
TRIES_MAX = 50  # of what is tried until it works
QUICK = Rules(latency_s=0.0, endorsing_s=0.0)
TROUBLES = [(kind, "") for kind in KINDS if kind != "drift"] + [("drift", shape) for shape in SHAPES]


def account(sandbox: Sandbox, **more: Any) -> tuple[Bam, Driver]:
    """The adapter as an operator sets it up; with `patient`, fit for a busy machine."""
    validator = sandbox.validators[0]
    wallet = validator.wallet
    identity = Identity(
        str(validator.event), sandbox.organizer, wallet.enrollment_id, wallet.certificate, wallet.private_key
    )
    vendor = Bam(BamSettings(identity, sandbox.url, sandbox.tenant_url, identity.event)._replace(**more))
    return vendor, Driver("account", vendor, 10_000)


def listed(sandbox: Sandbox, vendor: Bam, driver: Driver, since: str = "") -> dict[str, VendorTicket]:
    """What a run through the list hands on, tried until it comes."""
    for _ in range(TRIES_MAX):
        pages: list[Page] = []
        try:
            driver.run(vendor.tickets(since), pages.append)
        except Outage:
            sandbox.behave()
            continue
        return {ticket.ticket_id: ticket for page in pages for ticket in page.tickets}
    raise AssertionError("the list never came")


def tell(sandbox: Sandbox, vendor: Bam, driver: Driver, told: Told) -> Outcome:
    """Tell as a bridge does: again where it may be, with the doubt and the notes that there are."""

    def write(note: Note) -> None:
        nonlocal told
        told = told._replace(note=note.text)

    for _ in range(TRIES_MAX):
        try:
            (outcome,) = driver.run(vendor.tell([told]), write=write)
        except Outage as error:
            outcome = Again("an outage", isinstance(error, Lost))
            sandbox.behave()
        if not isinstance(outcome, Again):
            return outcome
        told = told._replace(doubt=told.doubt or outcome.doubt)
    raise AssertionError(f"no outcome of {told}")


def entry(ticket: VendorTicket, at_ms: int = AT_MS) -> Told:
    """An entry that a gate saw."""
    return Told(ticket.ticket_id, ticket.code, ticket.event, "", Direction.IN, at_ms, "gate")


@pytest.mark.parametrize(("kind", "shape"), TROUBLES)
@pytest.mark.parametrize("endpoint", ["qr_codes", "refresh"])
def test_the_list_comes_whole_through_each_trouble(kind: str, shape: str, endpoint: str) -> None:
    if kind == "status" or (endpoint == "refresh" and kind == "shuffled"):
        endpoint = "commit" if kind == "status" else "qr_codes"
    with Sandbox(tickets=40, rules=QUICK) as sandbox:
        vendor, driver = account(sandbox)
        with driver:
            sandbox.misbehave(kind, endpoint, requests=2, seconds=SHORT_S, shape=shape)
            found = listed(sandbox, vendor, driver)
        event = sandbox.events[0].id
        codes = set(sandbox.codes(40, event=event))
        there = {ticket.id: ticket for ticket in map(sandbox.ticket, codes) if ticket.status in QUICK.listed}
        assert {name: ticket.code for name, ticket in found.items()} == {
            name: ticket.code for name, ticket in there.items()
        }
        assert {name for name, ticket in found.items() if ticket.status is Status.VALID} == {
            name for name, ticket in there.items() if ticket.status in ("issued", "activated")
        }
        assert sandbox.violations == []


@pytest.mark.parametrize(("kind", "shape"), TROUBLES)
@pytest.mark.parametrize("endpoint", ["propose", "endorse", "commit"])
def test_each_ticket_is_invalidated_once_through_each_trouble_and_is_accepted(
    kind: str, shape: str, endpoint: str
) -> None:
    if kind == "shuffled" or (kind == "status" and endpoint != "commit"):
        endpoint = "qr_codes" if kind == "shuffled" else "commit"
    with Sandbox(tickets=40, rules=QUICK) as sandbox:
        vendor, driver = account(sandbox)
        with driver:
            tickets = [
                each for each in listed(sandbox, vendor, driver).values() if each.status is Status.VALID
            ]
            sandbox.misbehave(kind, endpoint, requests=2, seconds=SHORT_S, shape=shape)
            outcomes = [tell(sandbox, vendor, driver, entry(ticket)) for ticket in tickets[:3]]
        assert all(isinstance(outcome, Accepted) for outcome in outcomes)
        assert [sandbox.ticket(ticket.ticket_id).validated_ms for ticket in tickets[:4]] == [AT_MS] * 3 + [0]
        assert sandbox.violations == []


@pytest.mark.parametrize("after", [False, True])
def test_a_failure_that_was_carried_out_is_found_to_be_ours_and_another_one_is_done_over(after: bool) -> None:
    with Sandbox(tickets=40, rules=QUICK) as sandbox:
        vendor, driver = account(sandbox)
        with driver:
            (ticket, *_) = listed(sandbox, vendor, driver).values()
            sandbox.misbehave("status", "commit", requests=1, after=after, word="FAILURE")
            assert isinstance(tell(sandbox, vendor, driver, entry(ticket)), Accepted)
        assert sandbox.ticket(ticket.ticket_id).validated_ms == AT_MS


@pytest.mark.parametrize("refuse_at", ["endorse", "commit"])
@pytest.mark.parametrize("status", [200, 409, 422])
def test_who_came_before_us_is_somebody_else_however_the_chain_says_so(refuse_at: Any, status: int) -> None:
    with Sandbox(tickets=40, rules=Rules(0.0, 0.0, refuse_at=refuse_at, refusal_status=status)) as sandbox:
        vendor, driver = account(sandbox)
        with driver:
            (ticket, *_) = listed(sandbox, vendor, driver).values()
            sandbox.check_in(ticket.code)
            outcome = tell(sandbox, vendor, driver, entry(ticket))
        assert isinstance(outcome, Refused)
        assert outcome.verdict is Verdict.USED


def test_what_was_used_elsewhere_comes_down_as_used_and_what_was_sold_as_valid() -> None:
    with Sandbox(tickets=80, rules=QUICK) as sandbox:
        vendor, driver = account(sandbox)
        with driver:
            pages: list[Page] = []
            since = driver.run(vendor.tickets(""), pages.append).since
            event = sandbox.events[0].id
            used = sandbox.ticket(sandbox.codes(1, event=event, status="issued")[0])
            sandbox.check_in(used.code)
            sold = sandbox.ticket(sandbox.codes(1, event=event, status="available")[0])
            sandbox.sell(sold.code)
            back = sandbox.ticket(sandbox.codes(6, event=event, status="issued")[5])
            sandbox.refund(back.code)
            found = listed(sandbox, vendor, driver, since)
        assert {name: ticket.status for name, ticket in found.items()} == {
            used.id: Status.USED,
            sold.id: Status.VALID,
            back.id: Status.USED,
        }


def test_a_session_of_a_second_is_renewed_and_one_that_cannot_be_is_made_anew() -> None:
    for rules in (Rules(0.0, 0.0, token_s=1.0), Rules(0.0, 0.0, token_s=1.0, refresh_s=0.0)):
        now_ms = [AT_MS]
        with Sandbox(tickets=40, rules=rules, clock=lambda now_ms=now_ms: now_ms[0]) as sandbox:  # type: ignore[misc]  # bound now
            vendor, driver = account(sandbox)
            with driver:
                for _ in range(3):
                    assert listed(sandbox, vendor, driver)
                    now_ms[0] += 5_000
            assert sandbox.violations == []
