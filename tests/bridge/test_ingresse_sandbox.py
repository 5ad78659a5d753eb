"""The whole way to the vendor and back: adapter, driver, and the sandbox that checks every request."""

from collections.abc import Iterator
from typing import Any

import pytest

from firmware.bridge.driver import Driver
from firmware.bridge.ingresse import Ingresse, IngresseSettings
from firmware.bridge.sandbox.ingresse import Sandbox
from firmware.bridge.vendor import (
    Accepted,
    Again,
    Flow,
    Listing,
    Misconfigured,
    Outcome,
    Page,
    Refused,
    Result,
    Told,
    VendorTicket,
)
from firmware.core.ticket import Choice, Direction, Status, Verdict

TICKETS = 300
NOW_MS = 1_900_000_000_000


class Gate:
    """An account at a sandbox, with what it listed so far, by id."""

    def __init__(self, sandbox: Sandbox, **more: Any) -> None:
        events = tuple(
            (str(event.id), tuple(str(session.id) for session in event.sessions)) for event in sandbox.events
        )
        settings = IngresseSettings(
            key=sandbox.key,
            login="password",
            email=sandbox.email,
            password=sandbox.password,
            events=events,
            unsold=Choice.ADMIT,
            api_url=sandbox.url,
            page_size=50,
            check_in_timeout_s=30.0,
            look_timeout_s=30.0,
        )
        self.sandbox = sandbox
        self.vendor = Ingresse(settings._replace(**more))
        self.clock_s = 0.0
        self.driver = Driver("hall", self.vendor, 1e6, lambda: self.clock_s, self._wait)
        self.tickets: dict[str, VendorTicket] = {}
        self.at_ms = NOW_MS

    def _wait(self, seconds: float) -> None:
        self.clock_s += seconds

    def run(self, flow: Flow[Result]) -> Result:
        return self.driver.run(flow, sink=self._take)

    def _take(self, page: Page) -> None:
        self.tickets.update((ticket.ticket_id, ticket) for ticket in page.tickets)

    def sync(self, since: str = "") -> Listing:
        return self.run(self.vendor.tickets(since))

    def told(self, code: str, direction: Direction = Direction.IN, **more: Any) -> Told:
        found = next(ticket for ticket in self.tickets.values() if ticket.code == code)
        self.at_ms += 1
        told = Told(found.ticket_id, code, found.event, found.session, direction, self.at_ms, "north-1")
        return told._replace(**more)

    def tell(self, *movements: Told) -> tuple[Outcome, ...]:
        return self.run(self.vendor.tell(movements))


def still(tickets: dict[str, VendorTicket]) -> set[VendorTicket]:
    """What no check-in changes."""
    return {ticket._replace(inside=None, moved_utc_ms=None) for ticket in tickets.values()}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(tickets=TICKETS, clock=lambda: NOW_MS) as running:
        yield running
        assert running.violations == []


@pytest.fixture
def gate(sandbox: Sandbox) -> Iterator[Gate]:
    found = Gate(sandbox)
    with found.driver:
        yield found


def test_a_probe_finds_the_sandbox(gate: Gate) -> None:
    assert gate.run(gate.vendor.probe()).endswith(f"{TICKETS} tickets")


def test_a_pasted_token_is_enough(sandbox: Sandbox) -> None:
    pasted = Gate(
        sandbox, login="token", token=sandbox.token, email="", password="", key_parameter="publickey"
    )
    with pasted.driver:
        assert pasted.sync().whole
        assert "no JWT" in pasted.run(pasted.vendor.probe())


@pytest.mark.parametrize("wrong", ["password", "key", "email"])
def test_a_wrong_secret_of_the_log_in_is_said_with_all_that_it_may_be(sandbox: Sandbox, wrong: str) -> None:
    refused = Gate(sandbox, **{wrong: "another"})
    told = "log-in refused: .*Correct the key, `key_parameter`, the e-mail and the password"
    with refused.driver, pytest.raises(Misconfigured, match=told):
        refused.sync()


def test_a_wrong_key_beside_a_pasted_token_is_said(sandbox: Sandbox) -> None:
    refused = Gate(sandbox, key="another", login="token", token=sandbox.token, email="", password="")
    with refused.driver, pytest.raises(Misconfigured, match="correct the key and `key_parameter`"):
        refused.sync()


def test_the_whole_list_comes_as_the_sandbox_has_it(gate: Gate, sandbox: Sandbox) -> None:
    listing = gate.sync()
    assert listing.whole
    assert len(gate.tickets) == TICKETS
    for ticket in gate.tickets.values():
        theirs = sandbox.ticket(ticket.ticket_id)
        assert (ticket.code, ticket.inside) == (theirs.code, theirs.inside)
        if theirs.refunded_ms:
            assert ticket.status is Status.REFUNDED
        elif theirs.sold:
            assert ticket.status is Status.VALID


def test_what_changes_at_the_vendor_comes_with_the_next_delta(gate: Gate, sandbox: Sandbox) -> None:
    since = gate.sync().since
    sold = sandbox.sell()
    new_code = sandbox.change_code()
    refunded = sandbox.refund()
    gate.tickets.clear()
    assert not gate.sync(since).whole
    for change in (sold, new_code, refunded):
        theirs = sandbox.ticket(change.ticket_id)
        assert gate.tickets[change.ticket_id].code == theirs.code
    assert gate.tickets[refunded.ticket_id].status is Status.REFUNDED


def test_a_check_in_and_a_check_out_arrive_once(gate: Gate, sandbox: Sandbox) -> None:
    gate.sync()
    code = sandbox.codes(1, sold=True, refunded=False, inside=False)[0]
    assert gate.tell(gate.told(code)) == (Accepted("status 1"),)
    assert sandbox.ticket(code).inside
    assert gate.tell(gate.told(code, Direction.OUT)) == (Accepted("status 1"),)
    assert not sandbox.ticket(code).inside


def test_who_is_inside_is_used_and_who_is_outside_was_not_inside(gate: Gate, sandbox: Sandbox) -> None:
    gate.sync()
    inside, outside = sandbox.codes(2, sold=True, refunded=False, inside=False)
    sandbox.check_in(inside)
    outcomes = gate.tell(gate.told(inside), gate.told(outside, Direction.OUT))
    assert [one.verdict for one in outcomes if isinstance(one, Refused)] == [Verdict.USED, Verdict.NOT_INSIDE]


def test_a_code_of_another_session_and_an_unknown_one_are_refused(gate: Gate, sandbox: Sandbox) -> None:
    gate.sync()
    event = next(event for event in sandbox.events if len(event.sessions) > 1)
    code = sandbox.codes(1, session=event.sessions[0].id, sold=True, refunded=False, inside=False)[0]
    outcomes = gate.tell(
        gate.told(code, session=str(event.sessions[1].id)),
        gate.told(code)._replace(code="no?such.code", ticket_id=""),
    )
    assert [one.verdict for one in outcomes if isinstance(one, Refused)] == [
        Verdict.WRONG_SESSION,
        Verdict.UNKNOWN,
    ]


@pytest.mark.parametrize("kind", ["lost", "cut", "short"])
def test_a_lost_reply_is_found_by_look_up_and_nothing_is_done_twice(
    gate: Gate, sandbox: Sandbox, kind: str
) -> None:
    gate.sync()
    codes = sandbox.codes(20, sold=True, refunded=False, inside=False)
    sandbox.misbehave(kind, "update")
    outcomes = gate.tell(*(gate.told(code) for code in codes))
    assert outcomes == (Accepted("found by look-up"),) * 20
    assert [len(sandbox.history(code)) for code in codes] == [1] * 20


@pytest.mark.parametrize("after", [False, True])
def test_a_500_with_html_is_looked_up_whether_it_was_carried_out_or_not(
    gate: Gate, sandbox: Sandbox, after: bool
) -> None:
    gate.sync()
    code = sandbox.codes(1, sold=True, refunded=False, inside=False)[0]
    sandbox.misbehave("error", "update", after=after)
    movement = gate.told(code)
    outcome = gate.tell(movement)[0]
    assert isinstance(outcome, Accepted if after else Again)
    if not after:
        assert gate.tell(movement) == (Accepted("status 1"),)
    assert len(sandbox.history(code)) == 1


def test_a_reply_and_its_look_ups_that_are_lost_are_found_later(gate: Gate, sandbox: Sandbox) -> None:
    gate.sync()
    code = sandbox.codes(1, sold=True, refunded=False, inside=False)[0]
    sandbox.misbehave("lost", requests=2)
    movement = gate.told(code)
    outcome = gate.tell(movement)[0]
    assert isinstance(outcome, Again)
    assert outcome.doubt
    assert gate.tell(movement._replace(doubt=True)) == (Accepted("found by look-up"),)
    assert len(sandbox.history(code)) == 1


def test_status_3_after_our_own_update_that_a_crash_forgot_is_accepted(gate: Gate, sandbox: Sandbox) -> None:
    gate.sync()
    codes = sandbox.codes(2, sold=True, refunded=False, inside=False)
    movements = [gate.told(codes[0]), gate.told(codes[1])]
    gate.tell(*movements)
    assert gate.tell(*movements) == (Accepted("status 3, of our own earlier update"),) * 2
    out = gate.told(codes[0], Direction.OUT)
    gate.tell(out)
    assert gate.tell(out) == (Accepted("found by look-up"),)


def test_a_429_storm_is_waited_out_by_a_list(gate: Gate, sandbox: Sandbox) -> None:
    sandbox.misbehave("limit", "guestlist", requests=2, seconds=20)
    assert gate.sync().whole
    assert gate.clock_s >= 40


@pytest.mark.parametrize("kind", ["lost", "error", "cut", "short"])
def test_a_list_survives_a_broken_page(gate: Gate, sandbox: Sandbox, kind: str) -> None:
    sandbox.misbehave(kind, "guestlist", requests=2)
    assert gate.sync().whole
    assert len(gate.tickets) == TICKETS


def test_rows_that_move_between_pages_are_all_there(gate: Gate, sandbox: Sandbox) -> None:
    sandbox.misbehave("moving", "guestlist", chance=0.3)
    assert gate.sync().whole
    assert len(gate.tickets) == TICKETS


def test_an_expired_token_is_renewed_in_the_midst_of_a_list(gate: Gate, sandbox: Sandbox) -> None:
    gate.sync()
    sandbox.misbehave("expired", "guestlist")
    gate.tickets.clear()
    assert gate.sync().whole
    assert len(gate.tickets) == TICKETS


@pytest.mark.parametrize("seed", range(3))
def test_other_types_and_shapes_change_nothing(seed: int) -> None:
    with Sandbox(tickets=TICKETS, seed=seed, clock=lambda: NOW_MS) as sandbox:
        gate = Gate(sandbox)
        with gate.driver:
            sandbox.misbehave("drift", chance=1.0)
            assert gate.run(gate.vendor.probe()).endswith("tickets")
            assert gate.sync().whole
            codes = sandbox.codes(20, sold=True, refunded=False, inside=False)
            sandbox.misbehave("shuffled", "update", requests=9)
            outcomes = gate.tell(*(gate.told(code) for code in codes))
            assert [type(outcome) for outcome in outcomes] == [Accepted] * 20
            plain = dict(gate.tickets)
            sandbox.behave()
            gate.sync()
            assert still(plain) == still(gate.tickets)
        assert sandbox.violations == []


def test_an_entry_that_is_missing_in_the_reply_is_in_doubt(gate: Gate, sandbox: Sandbox) -> None:
    gate.sync()
    codes = sandbox.codes(5, sold=True, refunded=False, inside=False)
    sandbox.misbehave("missing", "update")
    movements = [gate.told(code) for code in codes]
    outcomes = gate.tell(*movements)
    doubtful = [index for index, one in enumerate(outcomes) if isinstance(one, Again) and one.doubt]
    assert len(doubtful) == 1
    assert gate.tell(movements[doubtful[0]]._replace(doubt=True)) == (Accepted("found by look-up"),)
