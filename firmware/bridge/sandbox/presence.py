"""The Presence sandbox: `with Sandbox() as sandbox:` and the vendor answers at `sandbox.base`.

The tests' vendor, and behind `gatepost sandbox presence`. It changes while it runs when it is told to, or by
itself with `changes_per_minute`, and misbehaves when it is told to.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Self

import msgspec

from firmware.bridge.sandbox.control import Extra, Which, body
from firmware.bridge.sandbox.desk import Seen, Violation
from firmware.bridge.sandbox.history import utc_ms
from firmware.bridge.sandbox.life import TICKETS, Life, codes_of
from firmware.bridge.sandbox.presence_api import ENDPOINTS, SHAPES, Api
from firmware.bridge.sandbox.presence_rules import BASE, GateRules, Rules
from firmware.bridge.sandbox.presence_tickets import Event, Ticket, Tickets
from firmware.bridge.sandbox.presence_venue import VENUE, Device, Gate, Named
from firmware.bridge.sandbox.server import LOOPBACK, Request
from firmware.bridge.sandbox.trouble import ASKED, Troubles

KEY = "sandbox-key"  # known to everybody, as everything in it is fake

KINDS = {
    **ASKED,
    "expired": "the key counts as withdrawn",
    "status": "a scan is answered with the status `word`; not carried out, with `after` true carried out",
}

# What its control port can do besides what it can do at every vendor's.
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "GET codes": "tokens; ?count=5&event=ID&sold=true&refunded=false&marked=false&inside=true",
        "GET devices": "the devices that are configured, and their gates",
        "POST mark": "likewise: a mark, for gates that refuse those",
        "POST gate": 'the rules of a gate; {"name": "North", "rules": {"sections": ["PIT1"]}}, see state',
        "POST event": 'the times of an event; {"event": ID, "starts_ms": 1900000000000, "doors_ms": 0}',
        "POST rules": 'how the documents are read; {"revision": "V3"} replaces what it names',
        "POST forget": "no device is configured any more",
    }
)


class Codes(msgspec.Struct, forbid_unknown_fields=True):
    """Which tokens are asked for."""

    count: int = 10
    event: str = ""
    sold: bool | None = None
    refunded: bool | None = None
    marked: bool | None = None
    inside: bool | None = None


class Gated(msgspec.Struct, forbid_unknown_fields=True):
    """The rules of a gate."""

    name: str
    rules: GateRules


class Timed(msgspec.Struct, forbid_unknown_fields=True):
    """The times of an event, UTC; 0 in `doors_ms` and `ends_ms`: no such time."""

    event: str
    starts_ms: int
    doors_ms: int = 0
    ends_ms: int = 0


class Sandbox:
    """A vendor that runs until it is closed.

    What happens (sell, refund and so on) takes a ticket by id or token; without one, any to which it can
    happen. Raises `ValueError` for settings that cannot be, and `OSError` where the port is taken. Closing it
    raises `RuntimeError` where the sandbox itself could not answer a request.
    """

    venue = VENUE

    def __init__(
        self,
        port: int = 0,
        *,
        tickets: int = TICKETS,
        seed: int = 1,
        host: str = LOOPBACK,
        key: str = KEY,
        rules: Rules | None = None,
        changes_per_minute: float = 0.0,
        clock: Callable[[], int] = utc_ms,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.tickets = Tickets(tickets, seed, clock)
        self.troubles = Troubles(seed, ENDPOINTS, SHAPES, KINDS)
        self.key = key
        self.api = Api(self.tickets, key, self.troubles, rules or Rules(), log)
        life = Life(self.tickets, self.api.desk, self.tickets.mark, seed, changes_per_minute, host, port)
        self.life, self.server, self.url, self.close = life, life.server, life.server.url, life.close
        self.base = f"{self.url}/{BASE}"
        self.history, self.books, self.live = life.history, life.books, life.live
        self.misbehave, self.behave, self.refused = life.misbehave, life.behave, life.refused
        self.sell, self.refund, self.change_code = life.sell, life.refund, life.change_code
        self.check_in, self.check_out = life.check_in, life.check_out
        self.mark = life.deed(self.tickets.mark)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- looking -------------------------------------------------------------------------------------

    @property
    def events(self) -> tuple[Event, ...]:
        """Its events: one that is played tonight, and one of which nobody may enter yet."""
        return self.tickets.events

    @property
    def devices(self) -> list[Device]:
        """The devices that are configured, in the order in which they were first."""
        with self.tickets.lock:
            return [device for device in self.api.venue.devices.values() if device.configured]

    @property
    def violations(self) -> list[Violation]:
        """Requests that were against the documents, the first thousand."""
        return self.life.violations()

    @property
    def requests(self) -> deque[Seen]:
        """Requests that came, the last ten thousand."""
        return self.life.requests()

    def ticket(self, which: str) -> Ticket:
        """A copy of a ticket, by its id or the token that it has. Raises `KeyError`."""
        return self.tickets.ticket(which)

    def codes(
        self,
        count: int = 10,
        *,
        event: str = "",
        sold: bool | None = None,
        refunded: bool | None = None,
        marked: bool | None = None,
        inside: bool | None = None,
    ) -> list[str]:
        """Tokens of tickets like that, the first ones by number."""
        return codes_of(
            self.tickets.walk(),
            count,
            lambda ticket: (
                (sold, ticket.sold),
                (refunded, ticket.refunded),
                (marked, ticket.marked),
                (inside, ticket.inside),
                (event or None, ticket.event.id),
            ),
        )

    # --- what is set ---------------------------------------------------------------------------------

    def gate(self, name: str, rules: GateRules | None = None) -> Gate:
        """Make a gate, or give it other rules. Raises `ValueError` for a gate that cannot be."""
        with self.tickets.lock:
            return self.api.venue.gate(name, rules or GateRules())

    def set(self, rules: Rules) -> None:
        """Read the documents in another way from now on."""
        with self.tickets.lock:
            self.api.rules = rules

    def play(self, event: str, starts_ms: int, doors_ms: int = 0, ends_ms: int = 0) -> None:
        """When an event is. Raises `KeyError` for one that is not there."""
        with self.tickets.lock:
            found = self.tickets.event(event)
            found.starts_ms, found.doors_ms, found.ends_ms = starts_ms, doors_ms, ends_ms

    def forget(self) -> None:
        """No device is configured any more, as after a change at the vendor."""
        with self.tickets.lock:
            self.api.venue.forget()

    def register(self, devices: Iterable[Named]) -> None:
        """Configure devices, as `registered` had them."""
        with self.tickets.lock:
            for named in devices:
                self.api.venue.configure(named, self.api.gate(named))

    def registered(self) -> list[Named]:
        """What the devices that are configured said of themselves."""
        return [device.named for device in self.devices]

    # --- over the control port -----------------------------------------------------------------------

    def controls(self) -> Mapping[str, Extra]:
        """What the control port can do besides, in the order of `COMMANDS`."""
        return {
            "GET codes": self._codes,
            "GET devices": lambda _: [device.shown(numbers=False, look=True) for device in self.devices],
            "POST mark": lambda request: self.mark(body(request, Which).ticket),
            "POST gate": self._gate,
            "POST event": lambda request: self.play(*msgspec.structs.astuple(body(request, Timed))),
            "POST rules": self._rules,
            "POST forget": lambda _: self.forget(),
        }

    def described(self) -> Mapping[str, object]:
        """Venue, events, gates, and how the documents are read."""
        with self.tickets.lock:
            return {
                "base": self.base,
                "venue": self.venue,
                "events": list(self.events),
                "gates": list(self.api.venue.gates.values()),
                "rules": self.api.rules,
            }

    def shown(self, which: str) -> Mapping[str, object]:
        """One ticket with its history."""
        found = self.ticket(which)
        return {
            **msgspec.to_builtins(found),
            "event": found.event.id,
            "history": [change._asdict() for change in found.history],
        }

    def _codes(self, request: Request) -> object:
        wanted = msgspec.convert(dict(request.query), Codes, strict=False)
        if wanted.event:
            self.tickets.event(wanted.event)
        return self.codes(**msgspec.structs.asdict(wanted))

    def _gate(self, request: Request) -> object:
        wanted = body(request, Gated)
        return self.gate(wanted.name, wanted.rules)

    def _rules(self, request: Request) -> object:
        named = body(request, dict[str, Any])
        with self.tickets.lock:
            self.set(msgspec.convert({**msgspec.to_builtins(self.api.rules), **named}, Rules))
            return self.api.rules
