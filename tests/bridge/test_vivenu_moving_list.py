"""The list reader against a list that moves while it is read, in any order and with either kind of window."""

from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from random import Random

import httpx
from hypothesis import example, given
from hypothesis import strategies as st

from firmware.bridge.vivenu import Vivenu
from firmware.bridge.vivenu_requests import iso
from firmware.core.ticket import Status
from tests.bridge.conversation import Talk, query
from tests.bridge.vivenu_talk import DATE_MS, endpoint, me, ms_of, page, row, vivenu

STEP_MS = 700  # between two requests: below and above a second of the Date header in turn
QUIET_MS = 10_000
RUNS_MAX = 20  # of deltas until one is whole, once nothing moves any more


@dataclass
class Listed:
    """A ticket as vivenu has it."""

    id: int
    created_ms: int
    updated_ms: int
    status: str = "VALID"


Order = Callable[[Listed, Random], tuple[float, ...]]


@dataclass
class MovingVendor:
    """Sells and changes tickets between two requests, as a script says."""

    order: Order
    changed_alone: bool  # whether a window looks at the last change only, instead of sale or change
    top_max: int
    script: list[list[int]]
    dated: bool  # whether its replies tell the time
    now_ms: int = DATE_MS
    tickets: list[Listed] = field(default_factory=list)
    chance: Random = field(default_factory=lambda: Random(1))
    kept: dict[int, str] = field(default_factory=dict)  # what the reader's side has, by ticket

    def sell(self) -> None:
        self.tickets.append(Listed(len(self.tickets), self.now_ms, self.now_ms))

    def move(self, number: int) -> None:
        """One thing happens: a sale, or to a ticket that there is."""
        if number % 3 == 0 or not self.tickets:
            self.sell()
        else:
            ticket = self.tickets[number % len(self.tickets)]
            ticket.status = "INVALID" if ticket.status == "VALID" else "VALID"
            ticket.updated_ms = self.now_ms

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.now_ms += STEP_MS
        for number in self.script.pop(0) if self.script else ():
            self.move(number)
        response = me() if endpoint(request) == "me" else self.page(request)
        del response.headers["Date"]
        if self.dated:
            response.headers["Date"] = formatdate(self.now_ms // 1000, usegmt=True)
        return response

    def page(self, request: httpx.Request) -> httpx.Response:
        asked = query(request)
        from_ms = ms_of(asked["from"]) if "from" in asked else 0
        until_ms = ms_of(asked["until"]) if "until" in asked else 1 << 62
        found = [
            ticket
            for ticket in sorted(self.tickets, key=lambda ticket: self.order(ticket, self.chance))
            if from_ms <= ticket.updated_ms < until_ms
            or (not self.changed_alone and from_ms <= ticket.created_ms < until_ms)
        ]
        skip, top = int(asked["skip"]), min(int(asked["top"]), self.top_max)
        rows = [
            row(str(t.id), f"C{t.id}", t.status, createdAt=iso(t.created_ms), updatedAt=iso(t.updated_ms))
            for t in found[skip : skip + top]
        ]
        return page(rows, len(found))

    def run(self, reader: Vivenu, since: str) -> str:
        """One run, and what the bridge's own copy makes of it."""
        began = len(self.tickets)
        talk = Talk(reader.tickets(since), self.answer)
        seen = {int(ticket.ticket_id) for ticket in talk.tickets}
        for ticket in talk.tickets:
            self.kept[int(ticket.ticket_id)] = "VALID" if ticket.status is Status.VALID else "INVALID"
        if talk.result.whole:
            assert set(range(began)) <= seen, "somebody's ticket would be withdrawn"
            self.kept = {ticket: status for ticket, status in self.kept.items() if ticket in seen}
        return talk.result.since


ORDERS: dict[str, Order] = {
    "by number": lambda ticket, _: (ticket.id,),
    "last change first": lambda ticket, _: (-ticket.updated_ms, ticket.id),
    "last change last": lambda ticket, _: (ticket.updated_ms, ticket.id),
    "otherwise each time": lambda _, chance: (chance.random(),),
}

moves = st.lists(st.lists(st.integers(0, 50), max_size=3), min_size=8, max_size=40)


@given(
    st.integers(0, 12),
    st.sampled_from(sorted(ORDERS)),
    st.booleans(),
    st.booleans(),
    st.integers(1, 4),
    st.integers(1, 5),
    moves,
)
@example(3, "last change first", True, True, 1, 5, [[], [], [1], [], [2]])
def test_no_ticket_is_lost_however_the_list_moves_and_all_are_right_once_it_rests(
    tickets: int,
    order: str,
    changed_alone: bool,
    dated: bool,
    size: int,
    top_max: int,
    script: list[list[int]],
) -> None:
    vendor = MovingVendor(ORDERS[order], changed_alone, top_max, list(script), dated)
    for _ in range(tickets):
        vendor.sell()
    vendor.now_ms += QUIET_MS
    reader = vivenu(page_size=size)
    since = vendor.run(reader, "")
    while vendor.script:
        since = vendor.run(reader, since)
    vendor.now_ms += QUIET_MS
    vendor.order = ORDERS["last change first"]
    for _ in range(RUNS_MAX):
        before, since = since, vendor.run(reader, since)
        if since != before and vendor.kept == {ticket.id: ticket.status for ticket in vendor.tickets}:
            break
    assert vendor.kept == {ticket.id: ticket.status for ticket in vendor.tickets}
    vendor.run(reader, "")
    assert vendor.kept == {ticket.id: ticket.status for ticket in vendor.tickets}
