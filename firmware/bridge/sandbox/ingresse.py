"""The Ingresse sandbox: `with Sandbox() as sandbox:` and the vendor answers at `sandbox.url`.

The tests' vendor, and behind `gatepost sandbox ingresse`. It changes while it runs when it is told to, or by
itself with `changes_per_minute`, and misbehaves when it is told to.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Self

import msgspec

from firmware.bridge.sandbox.control import Extra, Which, body
from firmware.bridge.sandbox.desk import Seen, Violation
from firmware.bridge.sandbox.history import utc_ms
from firmware.bridge.sandbox.ingresse_api import ENDPOINTS, Api, Rules
from firmware.bridge.sandbox.ingresse_logins import OPERATOR, Logins
from firmware.bridge.sandbox.ingresse_shapes import SHAPES, row
from firmware.bridge.sandbox.ingresse_tickets import NOT_EXECUTED, Event, Ticket, Tickets
from firmware.bridge.sandbox.life import TICKETS, Life, codes_of
from firmware.bridge.sandbox.server import LOOPBACK, Request
from firmware.bridge.sandbox.trouble import Troubles

KEY, PASSWORD = "sandbox-key", "sandbox-password"  # known to everybody, as everything in it is fake
LIFE_S = 30 * 86_400.0  # of tokens; the vendor's own is not public

# What its control port can do besides what it can do at every vendor's.
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "GET codes": "codes; ?count=5&session=43058&sold=true&refunded=false&external=false&inside=true",
        "POST transfer": "likewise: another holder and another code",
        "POST expire": "every token that was handed out has expired",
    }
)


class Codes(msgspec.Struct, forbid_unknown_fields=True):
    """Which codes are asked for."""

    count: int = 10
    session: int | None = None
    sold: bool | None = None
    refunded: bool | None = None
    external: bool | None = None
    inside: bool | None = None


class Sandbox:
    """A vendor that runs until it is closed.

    What happens (sell, refund and so on) takes a ticket by id or code; without one, any to which it can
    happen. Raises `ValueError` for settings that cannot be, and `OSError` where the port is taken. Closing it
    raises `RuntimeError` where the sandbox itself could not answer a request.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        tickets: int = TICKETS,
        seed: int = 1,
        host: str = LOOPBACK,
        keys: Sequence[str] = (KEY,),
        password: str = PASSWORD,
        token_life_s: float = LIFE_S,
        jwt_life_s: float = LIFE_S,
        expiry: str = "401",
        unsold_status: int = NOT_EXECUTED,
        rules: Rules | None = None,
        changes_per_minute: float = 0.0,
        clock: Callable[[], int] = utc_ms,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.tickets = Tickets(tickets, seed, clock, unsold_status)
        self.troubles = Troubles(seed, ENDPOINTS, tuple(SHAPES))
        self.logins = Logins(tuple(keys), password, token_life_s, jwt_life_s, expiry, seed, clock)
        self.key, self.email, self.password = keys[0], OPERATOR.email, password
        self.operator = OPERATOR
        self.token = self.logins.token(self.key)
        self.jwt = self.logins.jwt(self.key)
        self.api = Api(self.tickets, self.logins, self.troubles, rules or Rules(), log)
        life = Life(self.tickets, self.api.desk, self.tickets.transfer, seed, changes_per_minute, host, port)
        self.life, self.server, self.url, self.close = life, life.server, life.server.url, life.close
        self.history, self.books, self.live = life.history, life.books, life.live
        self.misbehave, self.behave, self.refused = life.misbehave, life.behave, life.refused
        self.sell, self.refund, self.change_code = life.sell, life.refund, life.change_code
        self.check_in, self.check_out = life.check_in, life.check_out
        self.transfer = life.deed(self.tickets.transfer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- looking -------------------------------------------------------------------------------------

    @property
    def events(self) -> tuple[Event, ...]:
        """Its events with their sessions."""
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
        """A copy of a ticket, by its id or a code that it has. Raises `KeyError`."""
        return self.tickets.ticket(which)

    def codes(
        self,
        count: int = 10,
        *,
        session: int | None = None,
        sold: bool | None = None,
        refunded: bool | None = None,
        external: bool | None = None,
        inside: bool | None = None,
    ) -> list[str]:
        """Codes of tickets like that, the first ones by id."""
        first, end = 0, self.tickets.count
        if session is not None:
            tickets = self.tickets.sessions[session].tickets
            first, end = tickets.start, tickets.stop
        return codes_of(
            islice(self.tickets.walk(first), end - first),
            count,
            lambda ticket: (
                (sold, ticket.sold),
                (refunded, bool(ticket.refunded_ms)),
                (external, ticket.external),
                (inside, ticket.inside),
            ),
        )

    # --- who may ask ---------------------------------------------------------------------------------

    def expire_tokens(self) -> None:
        """Every token and JWT that was handed out has expired."""
        with self.tickets.lock:
            self.logins.expire()

    def new_token(self, key: str = "") -> str:
        """Another user token, as a browser login would bring it."""
        with self.tickets.lock:
            return self.logins.token(key or self.key)

    # --- over the control port ------------------------------------------------------------------------

    def controls(self) -> Mapping[str, Extra]:
        """What the control port can do besides, in the order of `COMMANDS`."""
        return {
            "GET codes": self._codes,
            "POST transfer": lambda request: self.transfer(body(request, Which).ticket),
            "POST expire": lambda _: self.expire_tokens(),
        }

    def described(self) -> Mapping[str, object]:
        """The events, for a person."""
        return {
            "events": [
                {"id": event.id, "title": event.title, "sessions": [one.id for one in event.sessions]}
                for event in self.events
            ]
        }

    def shown(self, which: str) -> Mapping[str, object]:
        """One ticket with its history."""
        found = self.ticket(which)
        history = [change._asdict() for change in found.history]
        return {
            "event": found.session.event,
            "session": found.session.id,
            **row(found),
            "history": history,
        }

    def _codes(self, request: Request) -> object:
        wanted = msgspec.convert(dict(request.query), Codes, strict=False)
        if wanted.session is not None and wanted.session not in self.tickets.sessions:
            raise KeyError(f"there is no session {wanted.session}")
        return self.codes(**msgspec.structs.asdict(wanted))
