"""Gathers what the core must know before it is asked: the time, and one look into each store. No waiting."""

import ctypes
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from firmware.asks import Link
from firmware.core.events import Scanned
from firmware.core.movements import joined
from firmware.core.ticket import (
    NO_HISTORY,
    Authority,
    Direction,
    History,
    Moment,
    Perimeter,
    Policy,
    Route,
    Ticket,
)
from firmware.signed_code import NOTHING, Proven

Prove = Callable[[str, Route], Proven]

NO_LINK = "this gate has no broker"
TIME_ERROR = 5  # what adjtimex(2) answers while nothing disciplines the clock


class Clock:
    """Both clocks of the gate. UTC never goes back behind the newest moment given out or found on disk."""

    def __init__(
        self,
        trusted: Callable[[], bool],
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        utc_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._is_trusted = trusted
        self._monotonic_ns = monotonic_ns
        self._utc_ns = utc_ns
        self.trusted = trusted()
        self.floor_utc_ms = 0

    def now(self, floor_utc_ms: int = 0) -> Moment:
        """The present moment."""
        utc_ms = max(self._utc_ns() // 1_000_000, self.floor_utc_ms, floor_utc_ms)
        self.floor_utc_ms = utc_ms
        return Moment(self._monotonic_ns() // 1_000_000, utc_ms, self.trusted)

    def look(self) -> bool:
        """Look again whether the clock may be trusted; True when it just became so."""
        before, self.trusted = self.trusted, self._is_trusted()
        return self.trusted and not before


def synchronised() -> bool:
    """Whether the kernel's clock is disciplined by NTP or the like (adjtimex(2)); not if nobody may ask."""
    state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)))
    return 0 <= state != TIME_ERROR


class Tickets(Protocol):
    """The catalogue, as the loop reads it."""

    def digest(self, code: str) -> bytes:
        """The keyed digest of a code."""

    def get(self, digest: bytes) -> Ticket | None:
        """The ticket of a digest. Raises `CatalogueDamaged` where it cannot be read."""

    def named(self, ticket_id: str) -> Ticket | None:
        """The ticket of an id, whatever its code. Raises `CatalogueDamaged` where it cannot be read."""


class Rulebook(Protocol):
    """The settings, as the loop reads them."""

    def policy_for(self, event: str) -> Policy:
        """What the operator decided for an event."""

    def route_for(self, code: str, ticket: Ticket | None) -> Route:
        """Who decides about a code: by its ticket first, then by its shape."""


class Facts(NamedTuple):
    """Where facts come from. Without a link nobody can be asked, and no vendor is reachable.

    `prove` is there where the codes of some route are signed.
    """

    tickets: Tickets
    rulebook: Rulebook
    history: Callable[[str], History]
    link: Link | None = None
    prove: Prove | None = None

    def scanned(
        self,
        code: str,
        direction: Direction,
        moment: Moment,
        row: int,
        stale: bool = False,
        perimeter: Perimeter = Perimeter.OUTER,
    ) -> Scanned:
        """A code that was read at a lane of this perimeter, with all that is known about it.

        `stale` says that the catalogue is older than the operator allows. A code that is not listed and bears
        a genuine signature is the ticket that it names: one ticket may have been signed more than once.
        Raises UnicodeEncodeError where the code is no text that could be written, and what `Tickets` raises.
        """
        digest = self.tickets.digest(code)
        ticket = self.tickets.get(digest)
        route = self.rulebook.route_for(code, ticket)
        proof, signed_id = NOTHING if self.prove is None else self.prove(code, route)
        if signed_id and ticket is None:
            ticket = self.tickets.named(signed_id)
        if route.authority is Authority.VENDOR:
            if self.link is None:
                route = route._replace(reachable=False, trouble=NO_LINK)
            else:
                route = self.link.look(route, perimeter, moment)
        event = route.event if ticket is None else ticket.event
        subject = (signed_id or digest.hex()) if ticket is None else ticket.ticket_id
        return Scanned(
            moment,
            row,
            digest,
            subject,
            direction,
            route,
            self.rulebook.policy_for(event),
            ticket,
            self.past(subject, digest),
            proof,
            stale,
        )

    def past(self, subject: str, digest: bytes) -> History:
        """What is known of a ticket, also from before its code was listed: then its digest stood for it."""
        history, code = self.history(subject), digest.hex()
        if code in ("", subject) or (before := self.history(code)) == NO_HISTORY:
            return history
        return joined(history, before)

    def unreadable(self, fault: str, direction: Direction, moment: Moment, row: int) -> Scanned:
        """Something was held to the reader that must not be judged."""
        digest = self.tickets.digest(f"\0{fault}")
        policy = self.rulebook.policy_for("")
        return Scanned(moment, row, digest, "", direction, Route(), policy, None, fault=fault)
