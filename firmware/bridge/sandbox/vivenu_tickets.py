"""What the vivenu sandbox knows of tickets: made from a seed, changed while it runs, every change kept.

vivenu shows nobody who is inside. The sandbox knows, as vivenu itself must, so that tests can compare.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from firmware.bridge.sandbox.history import ELSEWHERE, SELLER, WORD, Change, Log, Operator, mix

TICKETS_MAX = 1_000_000  # all of them in memory, some 600 bytes each
EVENTS = 2
MADE_FROM_MS = 1_764_547_200_000  # 2025-12-01 and 2026-01-01: when the tickets were made, in the order of
MADE_UNTIL_MS = 1_767_225_600_000  # their numbers; nothing happened to them until the sandbox began
CYCLE = 20  # of any twenty tickets in a row: blank, refunded, details missing, with an odd barcode
BLANKS, INVALIDS, DETAILS, ODD = frozenset({2, 11}), frozenset({5}), frozenset({8}), frozenset({14})

OURS = Operator("6400", "Access User", "access@example.com")

VALID, INVALID, DETAILS_REQUIRED, BLANK = "VALID", "INVALID", "DETAILSREQUIRED", "BLANK"


class Event(NamedTuple):
    """An event, and which tickets are for it."""

    id: str
    title: str
    tickets: range


@dataclass(slots=True)
class Ticket:
    """A ticket as the vendor has it now. A blank one is printed and not sold: no list shows it."""

    index: int
    id: str
    event: Event
    code: str
    status: str
    type: int
    holder: int
    created_ms: int
    updated_ms: int
    generation: int = 0
    refunded_ms: int = 0  # 0: not refunded
    deleted: bool = False
    inside: bool = False
    entries: int = 0
    history: list[Change] = field(default_factory=list)

    @property
    def sold(self) -> bool:
        """Whether it is anybody's; a refunded one was."""
        return self.status != BLANK


class Entry(NamedTuple):
    """One scan of an upload."""

    code: str
    ticket_id: str
    said_ms: int
    ok: bool
    inside: bool


class Window(NamedTuple):
    """Which tickets of an event are listed: created or changed from then on and before then; 0: no bound."""

    event: str
    from_ms: int
    until_ms: int


class Tickets:
    """All tickets. Its methods may be called from any thread; `lock` holds several calls together."""

    def __init__(self, count: int, seed: int, clock: Callable[[], int]) -> None:
        if not 1 <= count <= TICKETS_MAX:
            raise ValueError(f"{count} tickets: not between 1 and {TICKETS_MAX:,}")
        self.count = count
        self.log = Log(clock, MADE_UNTIL_MS)
        self.lock = self.log.lock
        self._salt = mix(seed & WORD)
        self.events = tuple(
            Event(
                f"{mix(self._salt + at):016x}{at:08x}",
                ("Open Air", "Club Night")[at],
                range(count * at // EVENTS, count * (at + 1) // EVENTS),
            )
            for at in range(EVENTS)
        )
        self._tickets = [self._made(index) for index in range(count)]
        self._by_code = {ticket.code: ticket.index for ticket in self._tickets}
        self._by_id = {ticket.id: ticket.index for ticket in self._tickets}
        self._stirred = 0
        self._listed: dict[Window, tuple[int, list[int]]] = {}  # by window: as it was after so many changes

    # --- looking -------------------------------------------------------------------------------------

    def at(self, index: int) -> Ticket:
        """The ticket of this number; the caller holds `lock` while it uses it."""
        return self._tickets[index]

    def ticket(self, which: str) -> Ticket:
        """A copy of one ticket, by its id or a barcode that it has. Raises `KeyError`."""
        with self.lock:
            found = self.at(self.index_of(which))
            return replace(found, history=list(found.history))

    def index_of(self, which: str) -> int:
        """The number of a ticket, likewise. Raises `KeyError`."""
        if found := self.find(which):
            return found.index
        if which not in self._by_id:
            raise KeyError(f'there is no ticket "{which}"')
        return self._by_id[which]

    def find(self, code: str) -> Ticket | None:
        """The ticket that has this barcode now."""
        index = self._by_code.get(code)
        found = None if index is None else self.at(index)
        return None if found is None or found.deleted else found

    def window(self, window: Window) -> list[int]:
        """Numbers of the tickets that are listed, what was changed last first."""
        known = self._listed.get(window)
        if known is not None and known[0] == self._stirred:
            return known[1]
        event = next(event for event in self.events if event.id == window.event)
        until_ms = window.until_ms or 1 << 62
        found = [
            ticket
            for ticket in map(self.at, event.tickets)
            if ticket.sold
            and not ticket.deleted
            and any(window.from_ms <= ms < until_ms for ms in (ticket.created_ms, ticket.updated_ms))
        ]
        found.sort(key=lambda ticket: (-ticket.updated_ms, ticket.id))
        self._listed = {window: (self._stirred, [ticket.index for ticket in found])}  # the last one asked for
        return self._listed[window][1]

    def walk(self) -> Iterator[Ticket]:
        """Copies of all tickets."""
        for index in range(self.count):
            with self.lock:
                found = self.at(index)
                yield replace(found, history=list(found.history))

    # --- what happens --------------------------------------------------------------------------------

    def upload(self, entry: Entry) -> bool:
        """One scan of an upload, kept as it is told. False where there is no such ticket.

        The id names it where one was sent: its barcode may be another by now.
        """
        with self.lock:
            known = self._by_id.get(entry.ticket_id)
            ticket = self.find(entry.code) if known is None else self.at(known)
            if ticket is None or ticket.deleted:
                return False
            what = ("checkin" if entry.inside else "checkout") if entry.ok else "denied"
            self.log.twice += any(
                (past.what, past.said_ms) == (what, entry.said_ms) for past in ticket.history
            )
            if entry.ok:
                self.log.repeats += ticket.inside == entry.inside
                self._walked(ticket, entry.inside)
            self._keep(ticket, what, entry.said_ms, OURS)
            return True

    def scan(self, ticket: Ticket, granted: bool) -> None:
        """An online scan of ours, at this moment."""
        with self.lock:
            if granted:
                self._walked(ticket, True)
            self._keep(ticket, "checkin" if granted else "denied", self.log.now(), OURS)

    def move(self, index: int, inside: bool) -> Change:
        """Somebody checks a ticket in or out at another door. Raises `ValueError` where it is so already."""
        with self.lock:
            ticket = self.at(index)
            if ticket.inside == inside or ticket.status != VALID or ticket.deleted:
                raise ValueError(f"ticket {ticket.id} cannot be checked {'in' if inside else 'out'} now")
            self._walked(ticket, inside)
            return self._keep(ticket, "checkin" if inside else "checkout", self.log.now(), ELSEWHERE)

    def sell(self, index: int) -> Change:
        """Sell a blank ticket. Raises `ValueError` where it is sold already."""
        with self.lock:
            ticket = self.at(index)
            if ticket.sold:
                raise ValueError(f"ticket {ticket.id} is sold already")
            ticket.status, ticket.created_ms = VALID, self.log.now()
            return self._keep(ticket, "sold", ticket.created_ms, SELLER)

    def refund(self, index: int) -> Change:
        """Give the money back: the ticket is not valid any more. Raises `ValueError` where it is not."""
        with self.lock:
            ticket = self.at(index)
            if not ticket.sold or ticket.status == INVALID or ticket.deleted:
                raise ValueError(f"ticket {ticket.id} is not valid")
            ticket.status, ticket.refunded_ms = INVALID, self.log.now()
            return self._keep(ticket, "refunded", ticket.refunded_ms, SELLER)

    def change_code(self, index: int) -> Change:
        """The ticket has another barcode; the old one is nobody's. Raises `ValueError` for a blank one."""
        with self.lock:
            ticket = self.at(index)
            if not ticket.sold or ticket.deleted:
                raise ValueError(f"ticket {ticket.id} is not sold")
            del self._by_code[ticket.code]
            ticket.generation += 1
            ticket.code = self._code(ticket.index, ticket.generation)
            self._by_code[ticket.code] = ticket.index
            return self._keep(ticket, "code", self.log.now(), SELLER)

    def personalise(self, index: int) -> Change:
        """The missing details were given. Raises `ValueError` where none are missing."""
        with self.lock:
            ticket = self.at(index)
            if ticket.status != DETAILS_REQUIRED:
                raise ValueError(f"ticket {ticket.id} needs no details")
            ticket.status = VALID
            return self._keep(ticket, "details", self.log.now(), SELLER)

    def delete(self, index: int) -> Change:
        """Take a ticket away without a trace. Raises `ValueError` where it is gone already."""
        with self.lock:
            ticket = self.at(index)
            if ticket.deleted:
                raise ValueError(f"ticket {ticket.id} is deleted already")
            ticket.deleted = True
            return self._keep(ticket, "deleted", self.log.now(), SELLER)

    def again(self, change: Change) -> Change:
        """Details, the end of a ticket, or a scan of ours, as it was."""
        with self.lock:
            index = self.index_of(change.ticket_id)
            match change.what:
                case "details":
                    return self.personalise(index)
                case "deleted":
                    return self.delete(index)
                case what:
                    ok, inside = what != "denied", what == "checkin"
                    self.upload(Entry(change.code, change.ticket_id, change.said_ms, ok, inside))
                    return self.at(index).history[-1]

    def _walked(self, ticket: Ticket, inside: bool) -> None:
        self.log.inside += inside - ticket.inside
        ticket.inside = inside
        ticket.entries += inside

    def _keep(self, ticket: Ticket, what: str, said_ms: int, operator: Operator) -> Change:
        """Write a change down."""
        change = self.log.keep(ticket.id, what, ticket.code, said_ms, operator)
        if what not in {"checkin", "checkout", "denied"}:  # the list has no entered state: scans change none
            ticket.updated_ms = change.at_ms
            self._stirred += 1
        ticket.history.append(change)
        return change

    # --- from the seed -------------------------------------------------------------------------------

    def _made(self, index: int) -> Ticket:
        """A ticket to which nothing happened yet."""
        place, bits = self._place(index), mix(self._salt + index)
        created_ms = MADE_FROM_MS + index * (MADE_UNTIL_MS - MADE_FROM_MS) // self.count
        status = VALID
        for places, other in ((BLANKS, BLANK), (INVALIDS, INVALID), (DETAILS, DETAILS_REQUIRED)):
            status = other if place in places else status
        return Ticket(
            index=index,
            id=f"{bits:016x}{index:08x}",
            event=next(event for event in self.events if index in event.tickets),
            code=self._code(index, 0),
            status=status,
            type=bits % 3,
            holder=bits >> 8 & 0xFFFF_FFFF,
            created_ms=created_ms,
            updated_ms=created_ms,
            refunded_ms=created_ms if status == INVALID else 0,
        )

    def _place(self, index: int) -> int:
        return (index + mix(self._salt ^ (index // CYCLE)) % CYCLE) % CYCLE

    def _code(self, index: int, generation: int) -> str:
        """A ticket's barcode: digits, and of some what a path cannot hold as it is."""
        digits = 10**15 + mix(self._salt ^ (index << 20 | generation)) % 9 * 10**15
        number = digits + (index * 1_000_003 + generation * 7) % 10**12
        return f"V/{number}?+{generation}" if self._place(index) in ODD else str(number)
