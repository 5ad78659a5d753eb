"""What the Presence sandbox knows of tickets: made from a seed, changed while it runs, every change kept.

A ticket is inside the venue or not, and inside its inner ring or not; there is one inner ring. What a scan
does is decided by the time of the scan, as its vendor does it, and not by the time at which it arrives.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from firmware.bridge.sandbox.history import ELSEWHERE, SELLER, WORD, Change, Log, Operator, mix
from firmware.bridge.sandbox.presence_rules import (
    DONE,
    ENTERED,
    EXITED,
    HOUR_MS,
    INTERNAL_ENTERED,
    INTERNAL_EXITED,
    NOT_FOUND,
    GateRules,
    Rules,
)

TICKETS_MAX = 1_000_000  # all of them in memory, some 600 bytes each
CYCLE = 20  # of any twenty tickets in a row: not sold, refunded, marked, a pair on one token, a tap token
UNSOLD, REFUNDED, MARKED = frozenset({2, 11}), frozenset({5}), frozenset({8})
PAIRS, TAPS = frozenset({14}), frozenset({17})
SECTIONS, ACCESS_GROUPS, XNUMS = ("PIT1", "101", "102"), ("GA", "GA", "GA", "VIP"), ("X1", "X2")
TITLES = ("Tonight", "Tomorrow")  # of each two tickets in a row one is for each event
STARTS_IN_MS = (2 * HOUR_MS, 26 * HOUR_MS)  # after the sandbox began: its window is open, and is not

IN, OUT, INNER_IN, INNER_OUT, DENIED = "checkin", "checkout", "inner-in", "inner-out", "denied"
ONLINE, UPLOADED = "online", "uploaded"


@dataclass(slots=True)
class Event:
    """An event. Nobody enters before `doors_ms` or after `ends_ms`, UTC; 0: no such time."""

    id: str
    title: str
    starts_ms: int
    doors_ms: int = 0
    ends_ms: int = 0


@dataclass(slots=True)
class Ticket:
    """A ticket as the vendor has it now."""

    index: int
    id: str
    event: Event
    code: str
    places: tuple[str, ...]
    access_group: str
    xnum: str
    sold: bool
    refunded: bool
    marked: bool
    generation: int = 0
    inside: bool = False
    inner: bool = False
    moved_ms: int = 0  # the scan time of the last movement
    seen_ms: dict[str, int] = field(default_factory=dict)  # by direction: when a scan came last
    history: list[Change] = field(default_factory=list)

    @property
    def section(self) -> str:
        """Where its first place is."""
        return self.places[0].partition(":")[0]


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan as it was sent. `internal`: it is one of an internal gate."""

    code: str
    inside: bool
    internal: bool
    said_ms: int
    operator: Operator


class Tickets:
    """All tickets. Its methods may be called from any thread; `lock` holds several calls together."""

    def __init__(self, count: int, seed: int, clock: Callable[[], int]) -> None:
        if not 1 <= count <= TICKETS_MAX:
            raise ValueError(f"{count} tickets: not between 1 and {TICKETS_MAX:,}")
        self.count = count
        self.log = Log(clock, 0)
        self.lock = self.log.lock
        self._salt = mix(seed & WORD)
        began_ms = self.log.now()
        self.events = tuple(
            Event(f"{mix(self._salt + at):016X}", title, began_ms + after_ms)
            for at, (title, after_ms) in enumerate(zip(TITLES, STARTS_IN_MS, strict=True))
        )
        self._tickets = [self._made(index) for index in range(count)]
        self._by_code = {ticket.code: ticket.index for ticket in self._tickets}
        self._by_id = {ticket.id: ticket.index for ticket in self._tickets}
        self._answered: set[tuple[str, bool, bool, int]] = set()  # scans online: code, way and scan time
        self._uploaded: set[tuple[str, bool, bool, int]] = set()

    # --- looking -------------------------------------------------------------------------------------

    def ticket(self, which: str) -> Ticket:
        """A copy of one ticket, by its id or the token that it has. Raises `KeyError`."""
        with self.lock:
            return copied(self._tickets[self.index_of(which)])

    def index_of(self, which: str) -> int:
        """The number of a ticket, likewise. Raises `KeyError`."""
        index = self._by_code.get(which, self._by_id.get(which))
        if index is None:
            raise KeyError(f'there is no ticket "{which}"')
        return index

    def find(self, code: str) -> Ticket | None:
        """The ticket that has this token now, if it is sold."""
        index = self._by_code.get(code)
        return self._tickets[index] if index is not None and self._tickets[index].sold else None

    def event(self, event_id: str) -> Event:
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

    # --- scans ---------------------------------------------------------------------------------------

    def scan(self, scan: Scan, gate: GateRules, rules: Rules) -> tuple[str, Ticket | None]:
        """A scan online: what comes of it, and the ticket it was of. The caller holds `lock`."""
        ticket = self.find(scan.code)
        status = NOT_FOUND if ticket is None else self._status(ticket, scan, gate, rules)
        self.log.repeats += status not in DONE and key(scan) in self._answered
        self._answered.add(key(scan))
        if ticket is None or status == NOT_FOUND:
            self._keep(ticket, DENIED, scan, status)
            return status, None
        ticket.seen_ms[way(scan)] = self.log.now()
        if status in DONE:
            self._move(ticket, scan, ONLINE)
        else:
            self._keep(ticket, DENIED, scan, status)
        return status, ticket

    def refuse(self, scan: Scan, status: str) -> None:
        """A scan online that was answered with this word, by order, and did nothing."""
        self._answered.add(key(scan))
        self._keep(self.find(scan.code), DENIED, scan, status)

    def upload(self, scan: Scan) -> str:
        """A scan of a gate that was offline, kept whatever it is of. Says what is odd about it, or ""."""
        self.log.twice += key(scan) in self._uploaded or any(
            (past.what, past.said_ms) == (way(scan), scan.said_ms) for past in self._history(scan.code)
        )
        self._uploaded.add(key(scan))
        ticket = self.find(scan.code)
        if ticket is None:
            self._keep(None, way(scan), scan, UPLOADED)
        else:
            self._move(ticket, scan, UPLOADED)
        if key(scan) in self._answered:
            return f"the scan of {scan.said_ms} was answered online and is uploaded all the same"
        return ""

    def _status(self, ticket: Ticket, scan: Scan, gate: GateRules, rules: Rules) -> str:
        """What comes of a scan, before anything is changed."""
        event, at_ms, now_ms = ticket.event, scan.said_ms, self.log.now()
        if not event.starts_ms - rules.before_ms <= at_ms <= event.starts_ms + rules.after_ms:
            return NOT_FOUND
        if ticket.refunded:
            return "INVALID_TICKET"
        last_ms = ticket.seen_ms.get(way(scan))
        if rules.revision == "V2" and last_ms is not None and now_ms - last_ms < rules.duplicate_ms:
            return "DUPLICATE"
        if not scan.inside:
            return exit_status(ticket, scan.internal)
        for holds, status in (
            (at_ms < gate.starts_ms, "START_RESTRICTION"),
            (0 < gate.ends_ms < at_ms, "END_RESTRICTION"),
            (at_ms < event.doors_ms, "TOO_EARLY"),
            (0 < event.ends_ms < at_ms, "TOO_LATE"),
            (gate.events and event.id not in gate.events, "EVENT_RESTRICTION"),
            (gate.sections and ticket.section not in gate.sections, "SECTION_RESTRICTION"),
            (
                gate.access_groups and ticket.access_group not in gate.access_groups,
                "ACCESS_GROUP_RESTRICTION",
            ),
            (gate.xnums and ticket.xnum not in gate.xnums, "XNUM_RESTRICTION"),
            (gate.marks and ticket.marked, "MARK_RESTRICTION"),
        ):
            if holds:
                return status
        if scan.internal:
            again = ticket.inner and gate.exit_required
            return "INTERNAL_SCAN_ALREADY_ENTERED" if again else INTERNAL_ENTERED
        return "ALREADY_ENTERED" if ticket.inside else ENTERED

    def _move(self, ticket: Ticket, scan: Scan, how: str) -> Change:
        """A movement, which is the ticket's state unless a later one is known already."""
        if scan.said_ms >= ticket.moved_ms:
            inside = ticket.inside or scan.inside if scan.internal else scan.inside
            inner = scan.inside if scan.internal else ticket.inner and scan.inside
            self.log.inside += inside - ticket.inside
            ticket.inside, ticket.inner, ticket.moved_ms = inside, inner, scan.said_ms
        return self._keep(ticket, way(scan), scan, how)

    def _keep(self, ticket: Ticket | None, what: str, scan: Scan, how: str) -> Change:
        """Write a scan down; of a token that nobody has too."""
        ticket_id = ticket.id if ticket else ""
        change = self.log.keep(ticket_id, what, scan.code, scan.said_ms, scan.operator, how)
        if ticket:
            ticket.history.append(change)
        return change

    def _history(self, code: str) -> list[Change]:
        ticket = self.find(code)
        return ticket.history if ticket else []

    # --- what happens --------------------------------------------------------------------------------

    def move(self, index: int, inside: bool) -> Change:
        """Somebody enters or leaves at another company's door. Raises `ValueError` where it is so already."""
        with self.lock:
            ticket = self._tickets[index]
            if ticket.inside == inside or not ticket.sold or ticket.refunded:
                raise ValueError(f"ticket {ticket.id} cannot {'enter' if inside else 'leave'} now")
            return self._move(ticket, Scan(ticket.code, inside, False, self.log.now(), ELSEWHERE), ONLINE)

    def sell(self, index: int) -> Change:
        """Sell a ticket: its token is known from now on. Raises `ValueError` where it is sold already."""
        with self.lock:
            ticket = self._tickets[index]
            if ticket.sold:
                raise ValueError(f"ticket {ticket.id} is sold already")
            ticket.sold = True
            return self._sold(ticket, "sold")

    def refund(self, index: int) -> Change:
        """Give the money back: the ticket is not valid any more. Raises `ValueError` where it is not."""
        with self.lock:
            ticket = self._tickets[index]
            if not ticket.sold or ticket.refunded:
                raise ValueError(f"ticket {ticket.id} is not valid")
            ticket.refunded = True
            return self._sold(ticket, "refunded")

    def change_code(self, index: int) -> Change:
        """The ticket has another token, as those that rotate; the old one is nobody's."""
        with self.lock:
            ticket = self._tickets[index]
            if not ticket.sold:
                raise ValueError(f"ticket {ticket.id} is not sold")
            del self._by_code[ticket.code]
            ticket.generation += 1
            ticket.code = self._code(index, ticket.generation)
            self._by_code[ticket.code] = index
            return self._sold(ticket, "code")

    def mark(self, index: int) -> Change:
        """Put a mark on a ticket, for gates that refuse those. Raises `ValueError` where it has one."""
        with self.lock:
            ticket = self._tickets[index]
            if ticket.marked:
                raise ValueError(f"ticket {ticket.id} has a mark")
            ticket.marked = True
            return self._sold(ticket, "marked")

    def again(self, change: Change) -> Change:
        """A mark, or a scan as it was, whatever would come of it by now; also of a token that nobody has.

        Of a refused one the way is not known any more, nor when a ticket was seen: the next scan of it is no
        duplicate.
        """
        with self.lock:
            if change.what == "marked":
                return self.mark(self.index_of(change.ticket_id))
            inside, internal = change.what in (IN, INNER_IN), change.what in (INNER_IN, INNER_OUT)
            scan = Scan(change.code, inside, internal, change.said_ms, change.operator)
            ticket = self._tickets[self.index_of(change.ticket_id)] if change.ticket_id else None
            (self._uploaded if change.how == UPLOADED else self._answered).add(key(scan))
            if ticket is not None and change.what != DENIED:
                return self._move(ticket, scan, change.how)
            return self._keep(ticket, change.what, scan, change.how)

    def _sold(self, ticket: Ticket, what: str) -> Change:
        change = self.log.keep(ticket.id, what, ticket.code, self.log.now(), SELLER)
        ticket.history.append(change)
        return change

    # --- from the seed -------------------------------------------------------------------------------

    def _made(self, index: int) -> Ticket:
        """A ticket to which nothing happened yet."""
        place, bits = self._place(index), mix(self._salt + index)
        section, row, seat = SECTIONS[bits % 3], 1 + (bits >> 8) % 30, 1 + (bits >> 16) % 40
        pair = place in PAIRS
        return Ticket(
            index=index,
            id=f"{bits:016x}{index:08x}",
            event=self.events[index % len(self.events)],
            code=self._code(index, 0),
            places=tuple(f"{section}:{row}:{seat + each}" for each in range(1 + pair)),
            access_group=ACCESS_GROUPS[(bits >> 24) % len(ACCESS_GROUPS)],
            xnum=XNUMS[bits >> 32 & 1],
            sold=place not in UNSOLD,
            refunded=place in REFUNDED,
            marked=place in MARKED,
        )

    def _place(self, index: int) -> int:
        return (index + mix(self._salt ^ (index // CYCLE)) % CYCLE) % CYCLE

    def _code(self, index: int, generation: int) -> str:
        """A ticket's token: twelve digits and how often it changed, or the text of a telephone that taps."""
        bits = mix(self._salt ^ (index << 20 | generation))
        if self._place(index) in TAPS:
            return f"tap.{bits:016x}.{index:06x}{generation:04x}"
        return f"{100_000 + bits % 900_000}{index:06}{generation or ''}"


def exit_status(ticket: Ticket, internal: bool) -> str:
    """What comes of an exit."""
    if internal:
        return INTERNAL_EXITED if ticket.inner else "INTERNAL_SCAN_EXIT_NOT_PERMITTED"
    return EXITED if ticket.inside else "EXIT_NOT_PERMITTED"


def way(scan: Scan) -> str:
    """What a scan is in the history."""
    if scan.internal:
        return INNER_IN if scan.inside else INNER_OUT
    return IN if scan.inside else OUT


def key(scan: Scan) -> tuple[str, bool, bool, int]:
    """What tells one scan from another: a scan has no number of its own."""
    return scan.code, scan.inside, scan.internal, scan.said_ms


def copied(ticket: Ticket) -> Ticket:
    """As it is now."""
    return replace(ticket, seen_ms=dict(ticket.seen_ms), history=list(ticket.history))
