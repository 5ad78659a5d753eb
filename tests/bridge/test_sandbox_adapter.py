"""Sandbox and adapter, each written from the vendor's documents alone, understand each other."""

import pytest

from firmware.bridge.driver import Driver
from firmware.bridge.ingresse import Ingresse, IngresseSettings
from firmware.bridge.sandbox.ingresse import Sandbox
from firmware.bridge.sandbox.ingresse_shapes import SHAPES
from firmware.bridge.sandbox.trouble import KINDS
from firmware.bridge.vendor import Accepted, Again, Lost, Outage, Outcome, Page, Refused, Told, VendorTicket
from firmware.core.ticket import Choice, Direction
from tests.bridge.test_sandbox import AT_MS

SHORT_S = 0.1  # of troubles that take time: long enough to be met, short enough for a test
TRIES_MAX = 50  # of a scan that is told until there is an outcome
TROUBLES = [(kind, "") for kind in KINDS if kind != "drift"] + [("drift", shape) for shape in SHAPES]


def account(sandbox: Sandbox) -> tuple[Ingresse, Driver]:
    """The adapter as an operator sets it up, with a patience fit for a busy machine."""
    events = tuple((str(event.id), tuple(str(one.id) for one in event.sessions)) for event in sandbox.events)
    vendor = Ingresse(
        IngresseSettings(
            key=sandbox.key,
            login="password",
            email=sandbox.email,
            password=sandbox.password,
            events=events,
            unsold=Choice.REFUSE,
            api_url=sandbox.url,
            page_size=7,
            check_in_timeout_s=30,
            look_timeout_s=30,
        )
    )
    return vendor, Driver("account", vendor, 10_000)


def listed(sandbox: Sandbox, vendor: Ingresse, driver: Driver) -> dict[str, VendorTicket]:
    """The whole list, tried until it comes."""
    for _ in range(TRIES_MAX):
        pages: list[Page] = []
        try:
            whole = driver.run(vendor.tickets(""), pages.append).whole
        except Outage:
            sandbox.server.accept()  # instead of waiting until it does so by itself
            continue
        if whole:
            return {ticket.ticket_id: ticket for page in pages for ticket in page.tickets}
    raise AssertionError("the list never came whole")


def tell(sandbox: Sandbox, vendor: Ingresse, driver: Driver, scan: Told) -> Outcome:
    """Tell a scan as a bridge does: again where it may be, and with doubt where there is some."""
    for _ in range(TRIES_MAX):
        try:
            (outcome,) = driver.run(vendor.tell([scan]))
        except Outage as error:
            outcome = Again("an outage", isinstance(error, Lost))
        if not isinstance(outcome, Again):
            return outcome
        scan = scan._replace(doubt=scan.doubt or outcome.doubt)
        sandbox.server.accept()
    raise AssertionError(f"no outcome of {scan}")


@pytest.mark.parametrize(("kind", "shape"), TROUBLES)
def test_the_list_comes_whole_through_each_trouble(kind: str, shape: str) -> None:
    with Sandbox(tickets=80) as sandbox:
        vendor, driver = account(sandbox)
        with driver:
            sandbox.misbehave(kind, "guestlist", requests=2, seconds=SHORT_S, shape=shape)
            found = listed(sandbox, vendor, driver)
        assert {ticket_id: ticket.code for ticket_id, ticket in found.items()} == {
            ticket.id: ticket.code for ticket in sandbox.tickets.walk()
        }
        assert sandbox.violations == []


@pytest.mark.parametrize(("kind", "shape"), TROUBLES)
def test_each_scan_is_at_the_vendor_once_through_each_trouble(kind: str, shape: str) -> None:
    with Sandbox(tickets=80) as sandbox:
        vendor, driver = account(sandbox)
        with driver:
            tickets = listed(sandbox, vendor, driver)
            chosen = [
                tickets[sandbox.ticket(code).id] for code in sandbox.codes(4, sold=True, refunded=False)
            ]
            sandbox.misbehave(kind, "update", requests=2, seconds=SHORT_S, shape=shape)
            outcomes = [
                tell(
                    sandbox, vendor, driver, Told(t.ticket_id, t.code, t.event, t.session, way, at_ms, "gate")
                )
                for at_ms, way in enumerate((Direction.IN, Direction.OUT, Direction.IN), AT_MS)
                for t in chosen
            ]
        books = sandbox.books()
        assert books.twice == 0
        assert len({(done.ticket_id, done.what, done.said_ms) for done in sandbox.history()}) == books.changes
        if kind == "status":  # an unknown number is a refusal; after two of them two tickets are not inside
            assert [type(outcome) for outcome in outcomes[:4]] == [Refused, Refused, Accepted, Accepted]
        else:
            assert {type(outcome) for outcome in outcomes} == {Accepted}
            assert books.changes == len(outcomes) == 12
        assert sandbox.violations == []
