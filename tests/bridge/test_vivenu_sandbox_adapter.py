"""Sandbox and adapter of vivenu, each written from its documents alone, understand each other."""

import pytest

from firmware.bridge.driver import Driver
from firmware.bridge.sandbox.vivenu import KINDS, Sandbox
from firmware.bridge.sandbox.vivenu_api import SHAPES, Rules
from firmware.bridge.vendor import (
    Accepted,
    Again,
    Lost,
    Outage,
    Outcome,
    Page,
    Refused,
    Told,
    Unsure,
    VendorTicket,
)
from firmware.bridge.vivenu import Vivenu, VivenuSettings
from firmware.core.ticket import Direction, Status, Verdict
from tests.bridge.vivenu_talk import question

pytestmark = pytest.mark.usefixtures("patient")

AT_MS = 1_900_000_000_000
SHORT_S = 0.1  # of troubles that take time: long enough to be met, short enough for a test
TRIES_MAX = 50  # of what is tried until it works
TROUBLES = [(kind, "") for kind in KINDS if kind not in ("drift", "expired")] + [
    ("drift", shape) for shape in SHAPES
]


def account(sandbox: Sandbox, **more: object) -> tuple[Vivenu, Driver]:
    """The adapter as an operator sets it up, with a patience fit for a busy machine."""
    settings = VivenuSettings(
        token=sandbox.token,
        events=tuple(event.id for event in sandbox.events),
        api_url=sandbox.url,
        page_size=7,
        online_timeout_s=30,
        upload_timeout_s=30,
    )
    vendor = Vivenu(settings._replace(**more))  # type: ignore[arg-type]  # any setting, handed on
    return vendor, Driver("account", vendor, 10_000)


def listed(sandbox: Sandbox, vendor: Vivenu, driver: Driver) -> dict[str, VendorTicket]:
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


def tell(sandbox: Sandbox, vendor: Vivenu, driver: Driver, scan: Told) -> Outcome:
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


def there(sandbox: Sandbox) -> dict[str, str]:
    """The barcodes that a list has to have, by ticket."""
    return {ticket.id: ticket.code for ticket in sandbox.tickets.walk() if ticket.sold and not ticket.deleted}


@pytest.mark.parametrize(("kind", "shape"), TROUBLES)
def test_the_list_comes_whole_through_each_trouble(kind: str, shape: str) -> None:
    with Sandbox(tickets=80) as sandbox:
        vendor, driver = account(sandbox)
        with driver:
            endpoint = "upload" if kind == "rejected" else "tickets"
            sandbox.misbehave(kind, endpoint, requests=2, seconds=SHORT_S, shape=shape)
            found = listed(sandbox, vendor, driver)
        assert {ticket_id: ticket.code for ticket_id, ticket in found.items()} == there(sandbox)
        assert sandbox.violations == []


@pytest.mark.parametrize(("kind", "shape"), TROUBLES)
def test_each_scan_is_at_the_vendor_once_or_a_person_looks_through_each_trouble(
    kind: str, shape: str
) -> None:
    with Sandbox(tickets=80) as sandbox:
        vendor, driver = account(sandbox)
        with driver:
            tickets = listed(sandbox, vendor, driver)
            chosen = [tickets[sandbox.ticket(code).id] for code in sandbox.codes(4, valid=True)]
            sandbox.misbehave(kind, "upload", requests=2, seconds=SHORT_S, shape=shape)
            outcomes = {
                (t.ticket_id, at_ms): tell(
                    sandbox, vendor, driver, Told(t.ticket_id, t.code, t.event, "", way, at_ms, "gate")
                )
                for at_ms, way in enumerate((Direction.IN, Direction.OUT, Direction.IN), AT_MS)
                for t in chosen
            }
        assert sandbox.books().twice == 0
        there_now = {(change.ticket_id, change.said_ms) for change in sandbox.history()}
        accepted = {key for key, outcome in outcomes.items() if isinstance(outcome, Accepted)}
        unsure = {key for key, outcome in outcomes.items() if isinstance(outcome, Unsure)}
        refused = {key for key, outcome in outcomes.items() if isinstance(outcome, Refused)}
        assert accepted <= there_now <= accepted | unsure
        assert len(unsure) == (2 if kind in ("lost", "cut", "short", "error", "refused") else 0)
        assert len(refused) == (2 if kind == "rejected" else 0)
        assert sandbox.violations == []


def test_a_list_whose_pages_are_smaller_than_we_asked_for_and_say_no_total_comes_whole() -> None:
    with Sandbox(tickets=80, rules=Rules(top_max=3, total=False)) as sandbox:
        vendor, driver = account(sandbox)
        with driver:
            assert listed(sandbox, vendor, driver).keys() == there(sandbox).keys()
        assert sandbox.violations == []


def test_what_is_sold_taken_back_and_changed_comes_with_the_next_look() -> None:
    with Sandbox(tickets=80) as sandbox:
        vendor, driver = account(sandbox)
        with driver:
            since = driver.run(vendor.tickets("")).since
            sold, refunded, changed = sandbox.sell(), sandbox.refund(), sandbox.change_code()
            pages: list[Page] = []
            listing = driver.run(vendor.tickets(since), pages.append)
        found = {ticket.ticket_id: ticket for page in pages for ticket in page.tickets}
        assert not listing.whole
        now_there = {change.ticket_id for change in (sold, refunded, changed)}
        # What was changed in this second belongs to the next look; until then it is not in any.
        assert found.keys() <= now_there
        assert all(found[i].status is Status.CANCELLED for i in found if i == refunded.ticket_id)


def test_an_online_scan_is_granted_once_and_a_ticket_of_another_event_is_not_burnt() -> None:
    with Sandbox(tickets=80) as sandbox:
        vendor, driver = account(sandbox)
        here, elsewhere = (event.id for event in sandbox.events)
        with driver:
            (code,), (other,) = sandbox.codes(1, event=here, valid=True), sandbox.codes(1, event=elsewhere)
            assert driver.run(vendor.ask(question(code, here), {})) == Accepted("GRANTED")
            again = driver.run(vendor.ask(question(code, here), {}))
            wrong = driver.run(vendor.ask(question(other, here), {}))
            unknown = driver.run(vendor.ask(question("no such code", here), {}))
        assert isinstance(again, Refused)
        assert again.verdict is Verdict.REFUSED
        assert isinstance(wrong, Refused)
        assert isinstance(unknown, Refused)
        assert unknown.verdict is Verdict.UNKNOWN
        assert sandbox.history(other) == []
        assert sandbox.violations == []


@pytest.mark.parametrize("kind", ["lost", "cut", "short", "error"])
def test_what_is_sent_again_by_order_is_at_the_vendor_for_certain_and_perhaps_twice(kind: str) -> None:
    with Sandbox(tickets=80) as sandbox:
        vendor, driver = account(sandbox, send_again=True)
        with driver:
            ticket = listed(sandbox, vendor, driver)[sandbox.ticket(sandbox.codes(1, valid=True)[0]).id]
            sandbox.misbehave(kind, "upload", requests=2)
            scan = Told(ticket.ticket_id, ticket.code, ticket.event, "", Direction.IN, AT_MS, "gate")
            assert isinstance(tell(sandbox, vendor, driver, scan), Accepted)
        times = [change.said_ms for change in sandbox.history(ticket.ticket_id)]
        assert times == [AT_MS] * (1 if kind == "error" else 3)
        assert sandbox.books().twice == len(times) - 1


def test_refused_scans_are_kept_as_such_and_move_nobody() -> None:
    with Sandbox(tickets=80) as sandbox:
        vendor, driver = account(sandbox)
        with driver:
            ticket = listed(sandbox, vendor, driver)[sandbox.ticket(sandbox.codes(1, valid=True)[0]).id]
            scan = Told(ticket.ticket_id, ticket.code, ticket.event, "", Direction.IN, AT_MS, "gate")
            assert isinstance(tell(sandbox, vendor, driver, scan._replace(refused=True)), Accepted)
        assert [change.what for change in sandbox.history()] == ["denied"]
        assert not sandbox.ticket(ticket.ticket_id).inside


@pytest.mark.parametrize("kind", ["error", "lost", "cut"])
def test_what_was_let_in_is_uploaded_while_look_ups_of_junk_fail(kind: str) -> None:
    with Sandbox(tickets=80) as sandbox:
        vendor, driver = account(sandbox)
        with driver:
            ticket = listed(sandbox, vendor, driver)[sandbox.ticket(sandbox.codes(1, valid=True)[0]).id]
            scan = Told(ticket.ticket_id, ticket.code, ticket.event, "", Direction.IN, AT_MS, "gate")
            junk = scan._replace(ticket_id="", code="junk", event="", refused=True)
            sandbox.misbehave(kind, "ticket", chance=1.0)
            first, second = driver.run(vendor.tell([junk, scan]))
            assert isinstance(first, Again)
            assert isinstance(second, Accepted)
            sandbox.behave()
            assert isinstance(tell(sandbox, vendor, driver, junk), Refused)
        assert [change.what for change in sandbox.history()] == ["checkin"]


def test_types_that_the_access_user_may_not_scan_are_blocked_as_soon_as_vivenu_says_so() -> None:
    with Sandbox(tickets=80) as sandbox:
        vendor, driver = account(sandbox)
        with driver:
            before = listed(sandbox, vendor, driver)
            event = sandbox.events[0].id
            rule = {"eventId": event, "allowedTicketTypeIds": ["t-day"]}
            sandbox.set({"deviceSettings": {"scanConfig": {"events": [rule]}}})
            since = driver.run(vendor.tickets("")).since
            sandbox.set({"deviceSettings": {"scanConfig": {"events": []}}})
            pages: list[Page] = []
            assert driver.run(vendor.tickets(since), pages.append).whole, "the mark of the settings differs"
            sandbox.set({"deviceSettings": {"scanConfig": {"events": [rule]}}})
            after = listed(sandbox, vendor, driver)
        assert {t.ticket_id: t for page in pages for t in page.tickets} == before
        blocked = {i for i, t in after.items() if t.status is not before[i].status}
        assert blocked == {
            i
            for i, t in before.items()
            if t.event == event and t.type != "t-day" and t.status is Status.VALID
        }
        assert blocked
