"""The B.A.M. sandbox: `with Sandbox() as sandbox:` and the vendor answers at `url` and `tenant_url`.

The tests' vendor, and behind `gatepost sandbox bam`. It has two hosts, each on a port of its own: the global
one for accounts and sessions, and that of the tenant for events, tickets and the chain. It changes while it
runs when it is told to, or by itself with `changes_per_minute`, and misbehaves when it is told to.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Self

import msgspec

from firmware.bridge.sandbox.bam_api import ENDPOINTS, IDENTITY, SHAPES, Api, iso
from firmware.bridge.sandbox.bam_people import EMAIL, ORGANIZER, PASSWORD, TENANT, Validator
from firmware.bridge.sandbox.bam_rules import Rules
from firmware.bridge.sandbox.bam_tickets import Event, Ticket, Tickets
from firmware.bridge.sandbox.control import REFUSED_S_MAX, Extra, Refuse, Which, body
from firmware.bridge.sandbox.desk import Seen, Violation
from firmware.bridge.sandbox.history import utc_ms
from firmware.bridge.sandbox.life import TICKETS, Life, codes_of
from firmware.bridge.sandbox.server import LOOPBACK, Request, Server
from firmware.bridge.sandbox.trouble import COMMON, Troubles

TENANT_PORT_AFTER = 2  # ports after the global one; the control port is between them
SHOWN_MAX = 1000  # tickets in one reply of the control port

KINDS = {
    **{kind: text for kind, text in COMMON.items() if kind != "moving"},
    "expired": "the session is over; at `refresh` it cannot be exchanged",
    "shuffled": "the tickets of the code list come in another order",
    "status": "the last step says `word` (FAILURE); not carried out, with `after` true carried out",
}

# What its control port can do besides what it can do at every vendor's.
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "GET codes": "codes; ?count=5&event=3334&status=issued&refunded=false&inside=true&slot=true",
        "GET tickets": "tickets with their states; likewise",
        "GET validators": "the validators, and the text of each one's QR code",
        "POST validator": 'another validator; {"event": 3334, "expires_ms": 0}',
        "POST transfer": "likewise: somebody else's, with the same code",
        "POST reserve": "likewise: held",
        "POST free": "likewise: not held any more",
        "POST confirm": "likewise: paid, and not yet on the chain",
        "POST issue": "likewise: on the chain",
        "POST activate": "likewise: activated",
        "POST event": 'when an event is; {"event": 3334, "starts_ms": 1900000000000}',
        "POST rules": 'what is not public; {"latency_s": 5} replaces what it names',
    }
)


class Codes(msgspec.Struct, forbid_unknown_fields=True):
    """Which tickets are asked for."""

    count: int = 10
    event: int = 0
    status: str = ""
    sold: bool | None = None
    refunded: bool | None = None
    inside: bool | None = None
    slot: bool | None = None


class Another(msgspec.Struct, forbid_unknown_fields=True):
    """A validator that is made; 0: it never expires."""

    event: int
    expires_ms: int = 0


class Timed(msgspec.Struct, forbid_unknown_fields=True):
    """When an event begins, UTC."""

    event: int
    starts_ms: int


class Sandbox:
    """A vendor that runs until it is closed.

    What happens (sell, refund and so on) takes a ticket by id or code; without one, any to which it can
    happen. Raises `ValueError` for settings that cannot be, and `OSError` where a port is taken. Closing it
    raises `RuntimeError` where the sandbox itself could not answer a request.
    """

    tenant, organizer = TENANT, ORGANIZER
    email, password = EMAIL, PASSWORD

    def __init__(
        self,
        port: int = 0,
        *,
        tickets: int = TICKETS,
        seed: int = 1,
        host: str = LOOPBACK,
        rules: Rules | None = None,
        changes_per_minute: float = 0.0,
        clock: Callable[[], int] = utc_ms,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.tickets = Tickets(tickets, seed, clock)
        self.troubles = Troubles(seed, ENDPOINTS, SHAPES, KINDS)
        self.api = Api(self.tickets, self.troubles, rules or Rules(), log)
        desk, tenant_port = self.api.desk, port + TENANT_PORT_AFTER if port else 0
        self.accounts = Server(desk.answer, desk.clock, host, port)
        try:
            life = Life(
                self.tickets, desk, self.tickets.transfer, seed, changes_per_minute, host, tenant_port
            )
        except OSError:
            self.accounts.close()
            raise
        self.life, self.server = life, life.server
        self.answers_at(self.accounts, life.server)
        self.history, self.books, self.live = life.history, life.books, life.live
        self.misbehave = life.misbehave
        self.sell, self.refund, self.change_code = life.sell, life.refund, life.change_code
        self.check_in = life.check_in
        self.transfer = life.deed(self.tickets.transfer)
        self.reserve, self.free = life.deed(self.tickets.reserve), life.deed(self.tickets.free)
        self.confirm, self.issue = life.deed(self.tickets.confirm), life.deed(self.tickets.issue)
        self.activate = life.deed(self.tickets.activate)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering, at both hosts."""
        try:
            self.life.close()
        finally:
            self.accounts.close()

    def answers_at(self, accounts: Server, tenant: Server) -> None:
        """Which servers are the global host and the tenant's; both answer as this sandbox does."""
        self.url, self.tenant_url = accounts.url, tenant.url
        self.api.url, self.api.tenant_port = accounts.url, tenant.port

    # --- looking -------------------------------------------------------------------------------------

    @property
    def events(self) -> tuple[Event, ...]:
        """Its events: one tonight, and one tomorrow."""
        return self.tickets.events

    @property
    def validators(self) -> list[Validator]:
        """The validators; the first ones are one for each event."""
        with self.tickets.lock:
            return list(self.api.people.validators.values())

    @property
    def violations(self) -> list[Violation]:
        """Requests that were against the documents, the first thousand."""
        return self.life.violations()

    @property
    def requests(self) -> deque[Seen]:
        """Requests that came, the last ten thousand."""
        return self.life.requests()

    def ticket(self, which: str) -> Ticket:
        """A copy of a ticket, by its id or the code that it has. Raises `KeyError`."""
        return self.tickets.ticket(which)

    def codes(
        self,
        count: int = 10,
        *,
        event: int = 0,
        status: str = "",
        sold: bool | None = None,
        refunded: bool | None = None,
        inside: bool | None = None,
        slot: bool | None = None,
    ) -> list[str]:
        """Codes of tickets like that, the first ones by number. `inside`: used; `slot`: with a time slot."""
        return codes_of(
            self.tickets.walk(),
            count,
            lambda ticket: (
                (event or None, ticket.config.event.id),
                (status or None, ticket.status),
                (sold, ticket.sold),
                (refunded, ticket.refunded),
                (inside, ticket.inside),
                (slot, ticket.config.slot > 0),
            ),
        )

    def qr(self, validator: Validator | None = None) -> str:
        """The text of the QR code that the dashboard shows for a validator, or the first one."""
        token = (validator or self.validators[0]).token
        return json.dumps({"url": f"{self.url}{IDENTITY}{token}", "organizer": ORGANIZER})

    # --- what is set ---------------------------------------------------------------------------------

    def validator(self, event: int, expires_ms: int = 0) -> Validator:
        """Make another validator; 0: it never expires. Raises `KeyError` or `ValueError`."""
        with self.tickets.lock:
            return self.api.people.validator(self.tickets.event(event).id, expires_ms)

    def set(self, rules: Rules) -> None:
        """What is not public is like this from now on."""
        with self.tickets.lock:
            self.api.rules = rules

    def play(self, event: int, starts_ms: int) -> None:
        """When an event is. Raises `KeyError` for one that is not there."""
        with self.tickets.lock:
            self.tickets.event(event).starts_ms = starts_ms

    # --- misbehaviour --------------------------------------------------------------------------------

    def behave(self) -> None:
        """Nothing goes wrong from now on; who was refused is let in again."""
        self.life.behave()
        self.accounts.accept()

    @contextmanager
    def refused(self) -> Iterator[None]:
        """Meanwhile nobody can connect to either host, and connections that stood are cut."""
        self.accounts.refuse()
        try:
            with self.life.refused():
                yield
        finally:
            self.accounts.accept()

    # --- over the control port -----------------------------------------------------------------------

    def controls(self) -> Mapping[str, Extra]:
        """What the control port can do besides, in the order of `COMMANDS`, and what concerns both hosts."""

        def named(deed: Callable[[str], object]) -> Extra:
            return lambda request: deed(body(request, Which).ticket)

        return {
            "GET codes": self._codes,
            "GET tickets": self._listed,
            "GET validators": lambda _: [self._described(validator) for validator in self.validators],
            "POST validator": self._validator,
            "POST transfer": named(self.transfer),
            "POST reserve": named(self.reserve),
            "POST free": named(self.free),
            "POST confirm": named(self.confirm),
            "POST issue": named(self.issue),
            "POST activate": named(self.activate),
            "POST event": lambda request: self.play(*msgspec.structs.astuple(body(request, Timed))),
            "POST rules": self._rules,
            "POST behave": lambda _: self.behave(),
            "POST refuse": self._refuse,
        }

    def described(self) -> Mapping[str, object]:
        """Hosts, events, and what is set."""
        with self.tickets.lock:
            return {
                "url": self.url,
                "tenant_url": self.tenant_url,
                "organizer": ORGANIZER,
                "events": [
                    {"id": event.id, "title": event.title, "starts_at": iso(event.starts_ms)}
                    for event in self.events
                ],
                "rules": self.api.rules,
            }

    def shown(self, which: str) -> Mapping[str, object]:
        """One ticket with its history."""
        found = self.ticket(which)
        return {**self._row(found), "history": [change._asdict() for change in found.history]}

    def _row(self, ticket: Ticket) -> dict[str, object]:
        return {
            "ticket": ticket.id,
            "event": ticket.config.event.id,
            "config": ticket.config.name,
            "code": ticket.code,
            "refunded": ticket.refunded,
            "validated_ms": ticket.validated_ms,
            **self.api.row(ticket),
        }

    def _codes(self, request: Request) -> list[str]:
        wanted = msgspec.convert(dict(request.query), Codes, strict=False)
        if wanted.event:
            self.tickets.event(wanted.event)
        return self.codes(**msgspec.structs.asdict(wanted))

    def _listed(self, request: Request) -> object:
        return [self._row(self.ticket(code)) for code in self._codes(request)[:SHOWN_MAX]]

    def _described(self, validator: Validator) -> object:
        return {
            "id": validator.id,
            "event": validator.event,
            "enrollment_id": validator.wallet.enrollment_id,
            "expires_ms": validator.expires_ms,
            "qr": self.qr(validator),
        }

    def _validator(self, request: Request) -> object:
        wanted = body(request, Another)
        return self._described(self.validator(wanted.event, wanted.expires_ms))

    def _rules(self, request: Request) -> object:
        named = body(request, dict[str, Any])
        with self.tickets.lock:
            self.set(msgspec.convert({**msgspec.to_builtins(self.api.rules), **named}, Rules))
            return self.api.rules

    def _refuse(self, request: Request) -> None:
        seconds = body(request, Refuse).seconds
        if not 0 < seconds <= REFUSED_S_MAX:
            raise ValueError(f"seconds: above 0, at most {REFUSED_S_MAX:.0f}")
        self.accounts.refuse(seconds)
        self.server.refuse(seconds)
