"""The vivenu sandbox: `with Sandbox() as sandbox:` and the vendor answers at `sandbox.url`.

The tests' vendor, and behind `gatepost sandbox vivenu`. It changes while it runs when it is told to, or by
itself with `changes_per_minute`, and misbehaves when it is told to.
"""

from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Self

import msgspec

from firmware.bridge.sandbox.control import Extra, Which, body
from firmware.bridge.sandbox.desk import Seen, Violation
from firmware.bridge.sandbox.history import Operator, utc_ms
from firmware.bridge.sandbox.life import TICKETS, Life, codes_of
from firmware.bridge.sandbox.server import LOOPBACK, Request
from firmware.bridge.sandbox.trouble import COMMON, Troubles
from firmware.bridge.sandbox.vivenu_api import ENDPOINTS, SHAPES, Api, Rules, row
from firmware.bridge.sandbox.vivenu_tickets import INVALID, OURS, Event, Ticket, Tickets

TOKEN = "sandbox-token"  # noqa: S105 - known to everybody, as everything in it is fake

KINDS = {
    **COMMON,
    "expired": "the token counts as withdrawn",
    "shuffled": "the rows of a page come in another order",
    "rejected": "400 to an upload; nothing of it is carried out",
}

# What its control port can do besides what it can do at every vendor's.
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "GET codes": "barcodes; ?count=5&event=ID&sold=true&refunded=false&valid=true&inside=true",
        "POST personalise": "likewise: the missing details are given",
        "POST delete": "likewise: gone without a trace",
        "POST settings": 'what /me says; {"deviceSettings": {...}} replaces what it names',
        "POST withdraw": "the token is withdrawn",
    }
)


class Codes(msgspec.Struct, forbid_unknown_fields=True):
    """Which barcodes are asked for."""

    count: int = 10
    event: str = ""
    sold: bool | None = None
    refunded: bool | None = None
    valid: bool | None = None
    inside: bool | None = None


class Sandbox:
    """A vendor that runs until it is closed.

    What happens (sell, refund and so on) takes a ticket by id or code; without one, any to which it can
    happen. Raises `ValueError` for settings that cannot be, and `OSError` where the port is taken. Closing it
    raises `RuntimeError` where the sandbox itself could not answer a request.
    """

    operator: Operator = OURS

    def __init__(
        self,
        port: int = 0,
        *,
        tickets: int = TICKETS,
        seed: int = 1,
        host: str = LOOPBACK,
        token: str = TOKEN,
        rules: Rules | None = None,
        changes_per_minute: float = 0.0,
        clock: Callable[[], int] = utc_ms,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.tickets = Tickets(tickets, seed, clock)
        self.troubles = Troubles(seed, ENDPOINTS, SHAPES, KINDS)
        self.token = token
        self.api = Api(self.tickets, token, self.troubles, rules or Rules(), log)
        life = Life(
            self.tickets, self.api.desk, self.tickets.personalise, seed, changes_per_minute, host, port
        )
        self.life, self.server, self.url, self.close = life, life.server, life.server.url, life.close
        self.history, self.books, self.live = life.history, life.books, life.live
        self.misbehave, self.behave, self.refused = life.misbehave, life.behave, life.refused
        self.sell, self.refund, self.change_code = life.sell, life.refund, life.change_code
        self.check_in, self.check_out = life.check_in, life.check_out
        self.personalise = life.deed(self.tickets.personalise)
        self.delete = life.deed(self.tickets.delete)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- looking -------------------------------------------------------------------------------------

    @property
    def events(self) -> tuple[Event, ...]:
        """Its events."""
        return self.tickets.events

    @property
    def violations(self) -> list[Violation]:
        """Requests that were against the documents, the first thousand."""
        return self.life.violations()

    @property
    def requests(self) -> deque[Seen]:
        """Requests that came, the last ten thousand."""
        return self.life.requests()

    def ticket(self, which: str) -> Ticket:
        """A copy of a ticket, by its id or a barcode that it has. Raises `KeyError`."""
        return self.tickets.ticket(which)

    def codes(
        self,
        count: int = 10,
        *,
        event: str = "",
        sold: bool | None = None,
        refunded: bool | None = None,
        valid: bool | None = None,
        inside: bool | None = None,
    ) -> list[str]:
        """Barcodes of tickets like that, the first ones by number. With `valid` no details are missing."""
        return codes_of(
            (ticket for ticket in self.tickets.walk() if not ticket.deleted),
            count,
            lambda ticket: (
                (sold, ticket.sold),
                (refunded, ticket.status == INVALID),
                (valid, ticket.status == "VALID"),
                (inside, ticket.inside),
                (event or None, ticket.event.id),
            ),
        )

    # --- who we are to it ----------------------------------------------------------------------------

    def withdraw(self) -> None:
        """The token is nobody's any more."""
        self.api.withdrawn = True

    def hide(self, *events: str) -> None:
        """The access user has no right to these events, and to all others."""
        self.api.hidden = frozenset(events)

    def set(self, settings: Mapping[str, Any]) -> None:
        """Change what `/me` says: what is named is replaced, the rest stays."""
        with self.tickets.lock:
            merge(self.api.settings, settings)

    # --- over the control port -----------------------------------------------------------------------

    def controls(self) -> Mapping[str, Extra]:
        """What the control port can do besides, in the order of `COMMANDS`."""
        return {
            "GET codes": self._codes,
            "POST personalise": lambda request: self.personalise(body(request, Which).ticket),
            "POST delete": lambda request: self.delete(body(request, Which).ticket),
            "POST settings": lambda request: self.set(body(request, dict[str, Any])),
            "POST withdraw": lambda _: self.withdraw(),
        }

    def described(self) -> Mapping[str, object]:
        """The events, and what is set for the access user."""
        events = [{"id": event.id, "title": event.title} for event in self.events]
        return {"events": events, "settings": self.api.settings}

    def shown(self, which: str) -> Mapping[str, object]:
        """One ticket with its history."""
        found = self.ticket(which)
        history = [change._asdict() for change in found.history]
        return {"event": found.event.id, "inside": found.inside, **row(found), "history": history}

    def _codes(self, request: Request) -> object:
        wanted = msgspec.convert(dict(request.query), Codes, strict=False)
        if wanted.event and wanted.event not in {event.id for event in self.events}:
            raise KeyError(f"there is no event {wanted.event}")
        return self.codes(**msgspec.structs.asdict(wanted))


def merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Tables into tables; anything else takes the place of what was there."""
    for name, value in more.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            merge(into[name], value)
        else:
            into[name] = value
