"""What the Ingresse sandbox knows of tickets: made from a seed, changed while it runs, every change kept.

A ticket that nothing happened to is made anew from seed and number whenever it is looked at, so a million of
them take no memory; one that was changed is kept, with its history (somewhat below 1 KB for one change).
A page of the list costs its own rows and never a look at all of them.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from firmware.bridge.sandbox.history import ELSEWHERE, SELLER, WORD, Change, Log, Operator, mix

TICKETS_MAX = 1_000_000  # six digits of the code are the ticket's number
EVENTS, SESSIONS = 2, 2  # events, and sessions of each
EVENT_ID, SESSION_ID, TICKET_ID = 28180, 43058, 100_000  # the first of each
MADE_FROM_MS = 1_764_547_200_000  # 2025-12-01 and 2026-01-01: when the tickets were changed last before
MADE_UNTIL_MS = 1_767_225_600_000  # the sandbox began; within a session in the order of their ids

# Of any twenty tickets in a row: on the shelf, refunded once, imported from another company, sold.
UNSOLD, REFUNDED, EXTERNAL = frozenset({2, 7, 11, 18}), frozenset({5}), frozenset({14})
CYCLE = 20

OWN_CODE = re.compile(r"\d\d\.\d{4}\.\?(\d{6})\?\.\d{6}\.(\d{2,6})")
EXTERNAL_CODE = re.compile(r"X(\d{7})/\d{6}\+(\d{1,6})")
FIRST_GENERATION = 20  # the last part of an own code counts up from here as the code changes

NOT_EXECUTED, EXECUTED, NOT_FOUND, ALREADY, WRONG_SESSION, NO_SESSION, IS_REFUNDED = range(7)


class Session(NamedTuple):
    """One date of an event, and which tickets are for it."""

    id: int
    event: int
    date_time: str
    tickets: range


class Event(NamedTuple):
    """An event of the producer search."""

    id: int
    title: str
    state: str
    category: str
    sessions: tuple[Session, ...]


@dataclass(slots=True)
class Ticket:
    """A ticket as the vendor has it now."""

    index: int
    id: str
    session: Session
    external: bool
    code: str
    generation: int
    sold: bool
    online: bool
    sale: int
    buyer: int
    holder: int
    updated_ms: int
    refunded_ms: int = 0  # 0: not refunded
    transferred: bool = False
    inside: bool = False
    ended: tuple[str, ...] = ()  # why each earlier code ended: refunded or code
    moved: Change | None = None  # the last check-in or check-out
    entered: Change | None = None  # the last check-in
    history: list[Change] = field(default_factory=list)


class Updated(NamedTuple):
    """What came of one entry of an update."""

    status: int
    ticket: Ticket | None


class Tickets:
    """All tickets. Its methods may be called from any thread; `lock` holds several calls together."""

    def __init__(
        self, count: int, seed: int, clock: Callable[[], int], unsold_status: int = NOT_EXECUTED
    ) -> None:
        if not 1 <= count <= TICKETS_MAX:
            raise ValueError(f"{count} tickets: not between 1 and {TICKETS_MAX:,}")
        self.count, self.unsold_status = count, unsold_status
        self.log = Log(clock, MADE_UNTIL_MS)
        self.lock = self.log.lock
        self._salt = mix(seed & WORD)
        self.events = made_events(count)
        self.sessions = {session.id: session for event in self.events for session in event.sessions}
        self._starts = [session.tickets.start for session in self.sessions.values()]
        self._in_order = tuple(self.sessions.values())
        self._changed: dict[int, Ticket] = {}
        self._touched: dict[int, tuple[list[int], list[int]]] = {key: ([], []) for key in self.sessions}
        self._delta: tuple[tuple[int, int, int], list[int]] = ((0, 0, 0), [])

    # --- looking -------------------------------------------------------------------------------------

    def at(self, index: int) -> Ticket:
        """The ticket of this number; the caller holds `lock` while it uses it."""
        return self._changed.get(index) or self._made(index)

    def ticket(self, which: str) -> Ticket:
        """A copy of one ticket, by its id or a code that it has or had. Raises `KeyError`."""
        with self.lock:
            found = self.at(self.index_of(which))
            return replace(found, history=list(found.history))

    def index_of(self, which: str) -> int:
        """The number of a ticket, likewise. Raises `KeyError`."""
        if found := self.find(which):
            return found[0].index
        digits = which.isascii() and which.isdigit() and len(which) < 10
        index = int(which) - TICKET_ID if digits else -1
        if not 0 <= index < self.count:
            raise KeyError(f'there is no ticket "{which}"')
        return index

    def find(self, code: str) -> tuple[Ticket, int] | None:
        """The ticket that has or once had this code, and which of its codes it is."""
        match = OWN_CODE.fullmatch(code) or EXTERNAL_CODE.fullmatch(code)
        if not match or not code.isascii() or int(match[1]) >= self.count:
            return None
        ticket = self.at(int(match[1]))
        generation = int(match[2]) - (0 if ticket.external else FIRST_GENERATION)
        if not 0 <= generation <= ticket.generation:
            return None
        return (ticket, generation) if self._code(ticket.index, generation) == code else None

    def page(self, session: Session, since_ms: int | None, start: int, size: int) -> tuple[list[int], int]:
        """Numbers of the tickets of one page, in order, and how many there are on all pages.

        `start` counts from 0 and wraps around: rows that moved come at the other end of the list.
        """
        early, rest = self._listed(session, since_ms)
        total = len(early) + len(rest)
        places = [(start + step) % total for step in range(min(size, total))] if total else []
        return [early[at] if at < len(early) else rest[at - len(early)] for at in places], total

    def _listed(self, session: Session, since_ms: int | None) -> tuple[Sequence[int], range]:
        """Changed tickets first, then those that were changed last before the sandbox began."""
        tickets = session.tickets
        if since_ms is None or since_ms <= MADE_FROM_MS:
            return (), tickets
        late = (since_ms - MADE_FROM_MS) * len(tickets)
        rest = tickets[min(-(-late // (MADE_UNTIL_MS - MADE_FROM_MS)), len(tickets)) :]
        times, touched = self._touched[session.id]
        key = (session.id, since_ms, len(times))
        if self._delta[0] != key:
            changed = set(touched[bisect_left(times, since_ms) :])
            self._delta = (key, sorted(index for index in changed if index not in rest))
        return self._delta[1], rest

    def walk(self, first: int = 0) -> Iterator[Ticket]:
        """Copies of all tickets, from a number on and round to it again."""
        for step in range(self.count):
            with self.lock:
                found = self.at((first + step) % self.count)
                yield replace(found, history=list(found.history))

    # --- what happens --------------------------------------------------------------------------------

    def update(
        self, code: str, session: int | None, event: int, inside: bool, said_ms: int, operator: Operator
    ) -> Updated:
        """One entry of an update, with the page's numbers."""
        with self.lock:
            if session is None:
                return Updated(NO_SESSION, None)
            found = self.find(code)
            if found is None:
                return Updated(NOT_FOUND, None)
            ticket, generation = found
            if generation < ticket.generation and ticket.ended[generation] != "refunded":
                return Updated(NOT_FOUND, None)
            if ticket.session.id != session or ticket.session.event != event:
                return Updated(WRONG_SESSION, ticket)
            if ticket.refunded_ms or generation < ticket.generation:
                return Updated(IS_REFUNDED, ticket)
            what = "checkin" if inside else "checkout"
            again = any((past.what, past.said_ms) == (what, said_ms) for past in ticket.history)
            if ticket.inside == inside:
                self.log.repeats += again
                return Updated(ALREADY, ticket)
            if not ticket.sold and self.unsold_status != EXECUTED:
                return Updated(self.unsold_status, ticket)
            self.log.twice += again
            return Updated(EXECUTED, self._move(ticket, what, said_ms, operator))

    def move(self, index: int, inside: bool, operator: Operator = ELSEWHERE) -> Change:
        """Somebody checks a ticket in or out at another door. Raises `ValueError` where it is so already."""
        with self.lock:
            ticket = self.at(index)
            if ticket.inside == inside or not ticket.sold or ticket.refunded_ms:
                raise ValueError(f"ticket {ticket.id} cannot be checked {'in' if inside else 'out'} now")
            self._move(ticket, "checkin" if inside else "checkout", self.log.now(), operator)
            return ticket.history[-1]

    def sell(self, index: int) -> Change:
        """Sell a ticket at the box office. Raises `ValueError` where it is sold already."""
        with self.lock:
            ticket = self.at(index)
            if ticket.sold and not ticket.refunded_ms:
                raise ValueError(f"ticket {ticket.id} is sold already")
            ticket.sold, ticket.online, ticket.refunded_ms = True, False, 0
            ticket.transferred = False
            ticket.sale = self.log.count() + self.count + 1
            ticket.buyer = ticket.holder = self._person(ticket)
            return self._keep(ticket, "sold", self.log.now(), SELLER)

    def refund(self, index: int) -> Change:
        """Give the money back: the ticket gets another code. Raises `ValueError` where it is not sold."""
        with self.lock:
            ticket = self.at(index)
            if not ticket.sold or ticket.refunded_ms:
                raise ValueError(f"ticket {ticket.id} is not sold")
            self._end_code(ticket, "refunded")
            if ticket.inside:
                self.log.inside -= 1
            ticket.inside = False
            ticket.refunded_ms = self.log.now()
            return self._keep(ticket, "refunded", ticket.refunded_ms, SELLER)

    def change_code(self, index: int) -> Change:
        """Print the ticket anew, with another code; the old one is not found any more."""
        with self.lock:
            ticket = self.at(index)
            self._end_code(ticket, "code")
            return self._keep(ticket, "code", self.log.now(), SELLER)

    def transfer(self, index: int) -> Change:
        """Hand the ticket to another holder, with another code. Raises `ValueError` where it is not sold."""
        with self.lock:
            ticket = self.at(index)
            if not ticket.sold or ticket.refunded_ms:
                raise ValueError(f"ticket {ticket.id} is not sold")
            self._end_code(ticket, "code")
            ticket.holder, ticket.transferred = self._person(ticket), True
            return self._keep(ticket, "transferred", self.log.now(), SELLER)

    def again(self, change: Change) -> Change:
        """Another holder, or an update of ours, as it was."""
        with self.lock:
            ticket = self.at(self.index_of(change.ticket_id))
            if change.what == "transferred":
                return self.transfer(ticket.index)
            session, inside = ticket.session, change.what == "checkin"
            self.update(change.code, session.id, session.event, inside, change.said_ms, change.operator)
            return self.at(ticket.index).history[-1]

    def _move(self, ticket: Ticket, what: str, said_ms: int, operator: Operator) -> Ticket:
        ticket.inside = what == "checkin"
        ticket.moved = self._keep(ticket, what, said_ms, operator)
        if ticket.inside:
            ticket.entered = ticket.moved
            self.log.inside += 1
        else:
            self.log.inside -= 1
        return ticket

    def _keep(self, ticket: Ticket, what: str, said_ms: int, operator: Operator) -> Change:
        """Write a change down; from now on the ticket is kept."""
        change = self.log.keep(ticket.id, what, ticket.code, said_ms, operator)
        ticket.updated_ms = change.at_ms
        ticket.history.append(change)
        self._changed[ticket.index] = ticket
        times, touched = self._touched[ticket.session.id]
        times.append(ticket.updated_ms)
        touched.append(ticket.index)
        return change

    def _end_code(self, ticket: Ticket, why: str) -> None:
        ticket.ended = (*ticket.ended, why)
        ticket.generation += 1
        ticket.code = self._code(ticket.index, ticket.generation)

    # --- from the seed -------------------------------------------------------------------------------

    def _made(self, index: int) -> Ticket:
        """A ticket to which nothing happened yet."""
        session = self._in_order[bisect_left(self._starts, index + 1) - 1]
        place = (index + mix(self._salt ^ (index // CYCLE)) % CYCLE) % CYCLE
        bits = mix(self._salt + index)
        refunded = place in REFUNDED
        sold = place not in UNSOLD
        buyer = bits % 1_000_000_000 if sold else 0
        transferred = sold and bits >> 40 & 15 == 0
        span = (index - session.tickets.start) * (MADE_UNTIL_MS - MADE_FROM_MS) // len(session.tickets)
        updated_ms = MADE_FROM_MS + span
        return Ticket(
            index=index,
            id=str(TICKET_ID + index),
            session=session,
            external=place in EXTERNAL,
            code=self._code(index, int(refunded)),
            generation=int(refunded),
            sold=sold,
            online=sold and bits >> 44 & 3 != 0,
            sale=index + 1 if sold else 0,
            buyer=buyer,
            holder=mix(bits) % 1_000_000_000 if transferred else buyer,
            updated_ms=updated_ms,
            refunded_ms=updated_ms if refunded else 0,
            transferred=transferred,
            ended=("refunded",) if refunded else (),
        )

    def _code(self, index: int, generation: int) -> str:
        """A ticket's code: those of other companies look different, and hold what a path cannot."""
        check = mix(self._salt ^ (index << 20 | generation)) % 1_000_000
        if (index + mix(self._salt ^ (index // CYCLE)) % CYCLE) % CYCLE in EXTERNAL:
            return f"X{index:07}/{check:06}+{generation}"
        series = self._salt % 9000 + 1000
        return f"05.{series}.?{index:06}?.{check:06}.{FIRST_GENERATION + generation}"

    def _person(self, ticket: Ticket) -> int:
        return mix(self._salt + ticket.index + (self.log.count() + 1 << 20)) % 1_000_000_000


def made_events(count: int) -> tuple[Event, ...]:
    """The events, with the tickets shared out among their sessions in the order of their numbers."""
    sessions = []
    for number in range(EVENTS * SESSIONS):
        first, end = (count * part // (EVENTS * SESSIONS) for part in (number, number + 1))
        date_time = f"2030-02-{21 + number % SESSIONS:02}T2{number // SESSIONS}:00:00+00:00"
        event = EVENT_ID + number // SESSIONS
        sessions.append(Session(SESSION_ID + number, event, date_time, range(first, end)))
    titles = (("Festa na Praia", "SC", "festival"), ("Noite de Jazz", "SP", "concert"))
    return tuple(
        Event(EVENT_ID + at, *titles[at], tuple(s for s in sessions if s.event == EVENT_ID + at))
        for at in range(EVENTS)
    )
