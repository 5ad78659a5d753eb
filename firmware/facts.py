"""Gathers what the core must know about a code before it is asked: one look into each store, no waiting."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from firmware.core.events import Scanned
from firmware.core.ticket import Authority, Direction, History, Moment, Policy, Proof, Route, Ticket


class Tickets(Protocol):
    """The catalogue, as the loop reads it."""

    def digest(self, code: str) -> bytes:
        """The keyed digest of a code."""

    def get(self, digest: bytes) -> Ticket | None:
        """The ticket of a digest."""


class Rulebook(Protocol):
    """The settings, as the loop reads them."""

    def policy_for(self, event: str) -> Policy:
        """What the operator decided for an event."""

    def route_for(self, code: str, ticket: Ticket | None) -> Route:
        """Who decides about a code: by its ticket first, then by its shape."""


class Facts(NamedTuple):
    """Where facts come from. Without a link nobody can be asked, and no vendor is reachable."""

    tickets: Tickets
    rulebook: Rulebook
    history: Callable[[str], History]
    linked: bool = False

    def scanned(
        self, code: str, direction: Direction, moment: Moment, row: int, stale: bool = False
    ) -> Scanned:
        """A code that was read, with all that is known about it.

        `stale` says that the catalogue is older than the operator allows.
        """
        digest = self.tickets.digest(code)
        ticket = self.tickets.get(digest)
        route = self.rulebook.route_for(code, ticket)
        if not self.linked and route.authority is Authority.VENDOR:
            route = route._replace(reachable=False)
        event = route.event if ticket is None else ticket.event
        subject = digest.hex() if ticket is None else ticket.ticket_id
        return Scanned(
            moment,
            row,
            digest,
            subject,
            direction,
            route,
            self.rulebook.policy_for(event),
            ticket,
            self.history(subject),
            Proof.NONE,
            stale,
        )

    def unreadable(self, fault: str, direction: Direction, moment: Moment, row: int) -> Scanned:
        """Something was held to the reader that must not be judged."""
        digest = self.tickets.digest(f"\0{fault}")
        policy = self.rulebook.policy_for("")
        return Scanned(moment, row, digest, "", direction, Route(), policy, None, fault=fault)
