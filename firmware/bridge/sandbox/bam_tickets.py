"""What the B.A.M. sandbox knows of tickets: made from a seed, changed while it runs, every change kept.

A ticket is used once and for good: there is no way out, and no way back.
"""

import json
import re
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric import ec

from firmware.bridge.sandbox.bam_keys import MARK, Source, bytes_of, public_pem, signed_code
from firmware.bridge.sandbox.history import ELSEWHERE, SELLER, WORD, Change, Log, Operator, mix

TICKETS_MAX = 1_000_000  # all of them in memory; a code is signed when it is first asked for
CYCLE = 20  # of any twenty tickets in a row: not sold, refunded, reserved, confirmed, activated
UNSOLD, REFUNDED = frozenset({2, 11}), frozenset({5})
RESERVED_AT, CONFIRMED_AT, ACTIVATED_AT = frozenset({8}), frozenset({14}), frozenset({17})
HOUR_MS = 3_600_000
STARTS_IN_MS = (2 * HOUR_MS, 26 * HOUR_MS)  # after the sandbox began
SLOT_BEFORE_MS, SLOT_AFTER_MS = 2 * HOUR_MS, 6 * HOUR_MS  # of an event's start: its time slot
FIRST_EVENT, FIRST_CONFIG, FIRST_SLOT, FIRST_TICKET = 3334, 23, 5, 90_001
CONFIGS = ("Standing", "Lounge")  # of each event; of each two in a row one is of each
SECTORS = ((7, "Floor"), (8, "Balcony"))
FORMATS = ("PDF", "SECURE")

AVAILABLE, UNAVAILABLE, RESERVED, CONFIRMED = "available", "unavailable", "reserved", "confirmed"
ISSUED, ACTIVATED, INVALIDATED = "issued", "activated", "invalidated"
STATES = ("draft", AVAILABLE, UNAVAILABLE, RESERVED, CONFIRMED, ISSUED, ACTIVATED, INVALIDATED)
USABLE = frozenset({ISSUED, ACTIVATED})  # on the chain, and not used
TICKET = re.compile(r"E(\d+)TC(\d+)T(\d+)")


@dataclass(slots=True, eq=False)
class Event:
    """An event, and its key."""

    id: int
    title: str
    starts_ms: int
    key: ec.EllipticCurvePrivateKey
    public_key: str


@dataclass(frozen=True, slots=True, eq=False)
class Config:
    """One kind of tickets of an event. Tickets of the second kind have a time slot."""

    id: int
    name: str
    event: Event
    slot: int  # 0: none


@dataclass(eq=False)
class Ticket:
    """A ticket as the vendor has it now."""

    number: int
    seq_num: int
    config: Config
    status: str
    owner: str  # enrollment
    format: str
    sector: tuple[int, str]
    updated_ms: int
    source: Source
    refunded: bool = False
    generation: int = 0
    validated_ms: int = 0  # the scan's time as it was told; 0: not used
    history: list[Change] = field(default_factory=list)

    @property
    def id(self) -> str:
        """As its code has it."""
        return f"E{self.config.event.id}TC{self.config.id}T{self.seq_num}"

    @cached_property
    def code(self) -> str:
        """The text of its QR code."""
        payload = json.dumps({"id": self.id}, separators=(",", ":")).encode()
        nonce = self.source.number(f"code {self.id} {self.generation}")
        return signed_code(payload, self.config.event.key, nonce)

    @property
    def sold(self) -> bool:
        """Whether it is anybody's."""
        return self.status not in {"draft", AVAILABLE, UNAVAILABLE}

    @property
    def inside(self) -> bool:
        """Whether it was used."""
        return self.status == INVALIDATED


class Refused(Exception):
    """The chain says no. The reason is `already`, `not issued`, `unknown` or `event`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Tickets:
    """All tickets. Its methods may be called from any thread; `lock` holds several calls together."""

    def __init__(self, count: int, seed: int, clock: Callable[[], int]) -> None:
        if not 1 <= count <= TICKETS_MAX:
            raise ValueError(f"{count} tickets: not between 1 and {TICKETS_MAX:,}")
        self.count = count
        self.log = Log(clock, 0)
        self.lock = self.log.lock
        self.source = Source(seed)
        self._salt = mix(seed & WORD)
        began_ms = self.log.now()
        self.events = tuple(
            self._event(FIRST_EVENT + at, title, began_ms + after_ms)
            for at, (title, after_ms) in enumerate(zip(("Tonight", "Tomorrow"), STARTS_IN_MS, strict=True))
        )
        self.configs = tuple(
            Config(
                FIRST_CONFIG + len(CONFIGS) * at + kind,
                name,
                event,
                FIRST_SLOT + at if kind else 0,
            )
            for at, event in enumerate(self.events)
            for kind, name in enumerate(CONFIGS)
        )
        self._tickets = [self._made(index, began_ms) for index in range(count)]
        self._by_id = {ticket.id: index for index, ticket in enumerate(self._tickets)}

    # --- looking -------------------------------------------------------------------------------------

    def ticket(self, which: str) -> Ticket:
        """A copy of one ticket, by its id or the code that it has. Raises `KeyError`."""
        with self.lock:
            return copied(self._tickets[self.index_of(which)])

    def index_of(self, which: str) -> int:
        """The number of a ticket, likewise. Raises `KeyError`."""
        index = self._by_id.get(named_in(which) or which)
        if index is None or (MARK in which and self._tickets[index].code != which):
            raise KeyError(f'there is no ticket "{which}"')
        return index

    def numbered(self, number: int) -> int | None:
        """Which ticket has this number."""
        index = number - FIRST_TICKET
        return index if 0 <= index < self.count else None

    def at(self, index: int) -> Ticket:
        """The ticket itself; the caller holds `lock` while it uses it."""
        return self._tickets[index]

    def all(self) -> list[Ticket]:
        """The tickets themselves, likewise."""
        return self._tickets

    def event(self, event_id: int) -> Event:
        """An event. Raises `KeyError`."""
        found = next((event for event in self.events if event.id == event_id), None)
        if found is None:
            raise KeyError(f"there is no event {event_id}")
        return found

    def walk(self) -> Iterator[Ticket]:
        """Copies of all tickets."""
        for ticket in self._tickets:
            with self.lock:
                yield copied(ticket)

    # --- on the chain --------------------------------------------------------------------------------

    def may_invalidate(self, ticket_id: str, event_id: int) -> Ticket:
        """The ticket that a validator of this event could invalidate now. Raises `Refused`."""
        index = self._by_id.get(ticket_id)
        if index is None:
            raise Refused("unknown")
        ticket = self._tickets[index]
        if ticket.config.event.id != event_id:
            raise Refused("event")
        if ticket.status == INVALIDATED:
            raise Refused("already")
        if ticket.status not in USABLE:
            raise Refused("not issued")
        return ticket

    def invalidate(self, ticket_id: str, event_id: int, said_ms: int, operator: Operator) -> Change:
        """Use a ticket up. Raises `Refused`; that is kept too. The caller holds `lock`."""
        try:
            ticket = self.may_invalidate(ticket_id, event_id)
        except Refused as refused:
            self.refuse(ticket_id, said_ms, operator, refused.reason)
            raise
        return self._use(ticket, said_ms, operator)

    def refuse(self, ticket_id: str, said_ms: int, operator: Operator, reason: str) -> Change:
        """Write down that the chain said no."""
        index = self._by_id.get(ticket_id)
        if index is None:
            return self.log.keep("", "denied", ticket_id, said_ms, operator, reason)
        ticket = self._tickets[index]
        self.log.repeats += reason == "already" and any(
            (past.what, past.said_ms, past.operator.id) == ("checkin", said_ms, operator.id)
            for past in ticket.history
        )
        change = self.log.keep(ticket.id, "denied", ticket.code, said_ms, operator, reason)
        ticket.history.append(change)
        return change

    def _use(self, ticket: Ticket, said_ms: int, operator: Operator) -> Change:
        ticket.status, ticket.validated_ms = INVALIDATED, said_ms
        self.log.inside += 1
        return self._kept(ticket, "checkin", operator, said_ms)

    # --- what happens at the vendor ------------------------------------------------------------------

    def move(self, index: int, inside: bool) -> Change:
        """A ticket is used at another door. Raises `ValueError` where it cannot be, and for every exit."""
        with self.lock:
            ticket = self._tickets[index]
            if not inside or ticket.status not in USABLE:
                raise ValueError(
                    f"ticket {ticket.id} is {ticket.status}: it cannot be used, or there is no exit"
                )
            return self._use(ticket, self.log.now(), ELSEWHERE)

    def sell(self, index: int) -> Change:
        """Sell an available ticket, on the chain at once. Raises `ValueError` where it is not available."""
        return self._turned(index, "sold", ISSUED, {AVAILABLE})

    def refund(self, index: int) -> Change:
        """Give the money back: nobody can use it any more. Raises `ValueError` where it is not sold."""
        with self.lock:
            change = self._turned(index, "refunded", UNAVAILABLE, {RESERVED, CONFIRMED, ISSUED, ACTIVATED})
            self._tickets[index].refunded = True
            return change

    def reserve(self, index: int, owner: str = "", form: str = "") -> Change:
        """Hold a ticket for somebody. Raises `ValueError` where it is not available."""
        with self.lock:
            ticket = self._tickets[index]
            owner, form = owner or ticket.owner, form or ticket.format
            change = self._turned(index, RESERVED, RESERVED, {AVAILABLE}, f"{form} {owner}")
            ticket.owner, ticket.format = owner, form
            return change

    def free(self, index: int) -> Change:
        """Let a held ticket go. Raises `ValueError` where it is not held."""
        return self._turned(index, "freed", AVAILABLE, {RESERVED})

    def confirm(self, index: int) -> Change:
        """A held ticket is paid, and not yet on the chain. Raises `ValueError` where it is not held."""
        return self._turned(index, CONFIRMED, CONFIRMED, {RESERVED})

    def issue(self, index: int) -> Change:
        """Write a held ticket to the chain. Raises `ValueError` where it is not held."""
        return self._turned(index, ISSUED, ISSUED, {RESERVED, CONFIRMED})

    def activate(self, index: int) -> Change:
        """Activate an issued ticket. Raises `ValueError` where it is not one."""
        return self._turned(index, ACTIVATED, ACTIVATED, {ISSUED})

    def transfer(self, index: int) -> Change:
        """A usable ticket is somebody else's; its code stays. Raises `ValueError` where it is not usable."""
        with self.lock:
            ticket = self._tickets[index]
            if ticket.status not in USABLE:
                raise ValueError(f"ticket {ticket.id} is {ticket.status}")
            ticket.owner = self.source.uuid(f"owner after {ticket.owner}")
            return self._kept(ticket, "transferred", SELLER)

    def change_code(self, index: int) -> Change:
        """Sign a sold ticket again. The old code is still signed well, and in no list."""
        with self.lock:
            ticket = self._tickets[index]
            if ticket.status not in USABLE:
                raise ValueError(f"ticket {ticket.id} is {ticket.status}")
            ticket.generation += 1
            ticket.__dict__.pop("code", None)
            return self._kept(ticket, "code", SELLER)

    def again(self, change: Change) -> Change:
        """What happens at this vendor's only, as it was."""
        with self.lock:
            acts = {
                "freed": self.free,
                CONFIRMED: self.confirm,
                ISSUED: self.issue,
                ACTIVATED: self.activate,
                "transferred": self.transfer,
            }
            if change.what == RESERVED:
                form, _, owner = change.how.partition(" ")
                return self.reserve(self.index_of(change.ticket_id), owner, form)
            if act := acts.get(change.what):
                return act(self.index_of(change.ticket_id))
            if change.what == "denied":
                return self.refuse(
                    change.ticket_id or change.code, change.said_ms, change.operator, change.how
                )
            return self._use(self._tickets[self.index_of(change.ticket_id)], change.said_ms, change.operator)

    def _turned(self, index: int, what: str, status: str, before: set[str], how: str = "") -> Change:
        with self.lock:
            ticket = self._tickets[index]
            if ticket.status not in before:
                raise ValueError(f"ticket {ticket.id} is {ticket.status}")
            ticket.status = status
            return self._kept(ticket, what, SELLER, how=how)

    def _kept(
        self, ticket: Ticket, what: str, operator: Operator, said_ms: int | None = None, how: str = ""
    ) -> Change:
        told_ms = self.log.now() if said_ms is None else said_ms
        change = self.log.keep(ticket.id, what, ticket.code, told_ms, operator, how)
        ticket.updated_ms = change.at_ms
        ticket.history.append(change)
        return change

    # --- from the seed -------------------------------------------------------------------------------

    def _event(self, number: int, title: str, starts_ms: int) -> Event:
        key = self.source.key(f"event {number}")
        return Event(number, title, starts_ms, key, public_pem(key))

    def _made(self, index: int, began_ms: int) -> Ticket:
        """A ticket to which nothing happened yet."""
        place = (index + mix(self._salt ^ (index // CYCLE)) % CYCLE) % CYCLE
        bits = mix(self._salt + index)
        status = ISSUED
        for places, other in (
            (UNSOLD, AVAILABLE),
            (REFUNDED, UNAVAILABLE),
            (RESERVED_AT, RESERVED),
            (CONFIRMED_AT, CONFIRMED),
            (ACTIVATED_AT, ACTIVATED),
        ):
            status = other if place in places else status
        return Ticket(
            number=FIRST_TICKET + index,
            seq_num=1 + index // len(self.configs),
            config=self.configs[index % len(self.configs)],
            status=status,
            owner=self.source.uuid(f"owner {index}"),
            format=FORMATS[bits & 1],
            sector=SECTORS[bits >> 1 & 1],
            updated_ms=began_ms,
            source=self.source,
            refunded=place in REFUNDED,
        )


def named_in(code: str) -> str:
    """The id in a code; "" where it is none. Whether it is signed is not looked at."""
    try:
        payload = json.loads(bytes_of(code.partition(MARK)[0])) if MARK in code else {}
    except ValueError:
        return ""
    found = payload.get("id") if isinstance(payload, dict) else None
    return found if isinstance(found, str) and TICKET.fullmatch(found) else ""


def copied(ticket: Ticket) -> Ticket:
    """As it is now."""
    found = copy(ticket)  # with its code, where that was signed already
    found.history = list(ticket.history)
    return found
