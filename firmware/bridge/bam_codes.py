"""Which ticket of B.A.M. an id or a code is for. Pure.

Whether a code's signature is right is for a gate to find out: here a code comes from B.A.M., or from a gate.
"""

import re
from typing import NamedTuple

from firmware.signed_code import payload_of

TICKET = re.compile(r"E([0-9]{1,18})TC([0-9]{1,18})T([0-9]{1,18})")


class TicketName(NamedTuple):
    """What tells a ticket from all others, as the chain has it."""

    event: int
    config: int
    number: int

    def __str__(self) -> str:
        """As a code says it."""
        return f"E{self.event}TC{self.config}T{self.number}"


def named(text: str) -> TicketName | None:
    """The ticket of such an id; `None` where it is none, or has anything before or behind it."""
    found = TICKET.fullmatch(text)
    return TicketName(*map(int, found.groups())) if found else None


def ticket_of(code: str) -> TicketName | None:
    """The ticket that a code is for, whoever signed it; `None` where it is no such code."""
    payload = payload_of(code)
    return named(payload.ticket_id) if payload is not None else None
