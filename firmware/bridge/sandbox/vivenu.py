"""The vivenu sandbox: `with Sandbox() as sandbox:` and the vendor answers at `sandbox.url`.

The tests' vendor, and behind `gatepost sandbox vivenu`. It changes while it runs when it is told to, or by
itself with `changes_per_minute`, and misbehaves when it is told to.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from types import MappingProxyType
from typing import Any, Self

import msgspec

from firmware.bridge.sandbox.control import Extra, Which, body
from firmware.bridge.sandbox.history import Books, Change, Operator, utc_ms
from firmware.bridge.sandbox.seen import Seen, Violation
from firmware.bridge.sandbox.server import LOOPBACK, Request, Server
from firmware.bridge.sandbox.trouble import ANY, COMMON, Trouble, Troubles
from firmware.bridge.sandbox.vivenu_api import ENDPOINTS, SHAPES, Api, Rules, row
from firmware.bridge.sandbox.vivenu_tickets import INVALID, OURS, Event, Ticket, Tickets

TICKETS = 1000
TOKEN = "sandbox-token"  # noqa: S105 - known to everybody, as everything in it is fake
TRIES_MAX = 1000  # tickets looked at for one that something can happen to: every kind is in any twenty

# What happens by itself; what stands twice happens twice as often.
ACTS = ("sell", "sell", "sell", "personalise", "check_in", "check_in", "check_out", "refund", "change_code")

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

    Raises `ValueError` for settings that cannot be, and `OSError` where the port is taken. Closing it raises
    `RuntimeError` where the sandbox itself could not answer a request.
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
        self._random = Random(f"changes {seed}")  # noqa: S311 - reproducible on purpose, and no secret
        self._over = threading.Event()
        self.api = Api(self.tickets, token, self.troubles, rules or Rules(), log)
        self.server = Server(self.api.answer, clock, host, port)
        self.url = self.server.url
        self._living: threading.Thread | None = None
        if changes_per_minute > 0:
            self._living = threading.Thread(target=self._live, args=(60 / changes_per_minute,), daemon=True)
            self._living.start()

    def close(self) -> None:
        """Stop answering."""
        self._over.set()
        if self._living is not None:
            self._living.join()
        self.server.close()

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
        with self.tickets.lock:
            return list(self.api.violations)

    def violations_count(self) -> int:
        """How many requests were against the documents."""
        return self.api.violations_count

    def count(self) -> int:
        """How many tickets there are."""
        return self.tickets.count

    @property
    def requests(self) -> deque[Seen]:
        """Requests that came, the last ten thousand."""
        return self.api.seen.copy()

    def ticket(self, which: str) -> Ticket:
        """A copy of a ticket, by its id or a barcode that it has. Raises `KeyError`."""
        return self.tickets.ticket(self._id(which))

    def history(self, which: str = "") -> list[Change]:
        """What happened to a ticket (id or barcode), or to all, in order."""
        return self.ticket(which).history if which else self.tickets.changes()

    def books(self) -> Books:
        """The sums of what happened."""
        return self.tickets.books()

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
        found: list[str] = []
        for ticket in self.tickets.walk():
            facts = (
                (sold, ticket.sold),
                (refunded, ticket.status == INVALID),
                (valid, ticket.status == "VALID"),
                (inside, ticket.inside),
                (event or None, ticket.event.id),
            )
            if len(found) < count and not ticket.deleted:
                found += [ticket.code] * all(wanted is None or wanted == fact for wanted, fact in facts)
        return found

    # --- what happens at the vendor ------------------------------------------------------------------

    def sell(self, which: str = "") -> Change:
        """Sell a ticket (id or code; "" takes any). Raises `ValueError` or `KeyError`, as all of these do."""
        return self._do(self.tickets.sell, which)

    def refund(self, which: str = "") -> Change:
        """Give the money back: the ticket is not valid any more."""
        return self._do(self.tickets.refund, which)

    def change_code(self, which: str = "") -> Change:
        """The same ticket has another barcode."""
        return self._do(self.tickets.change_code, which)

    def personalise(self, which: str = "") -> Change:
        """The missing details are given."""
        return self._do(self.tickets.personalise, which)

    def delete(self, which: str = "") -> Change:
        """The ticket is gone without a trace."""
        return self._do(self.tickets.delete, which)

    def check_in(self, which: str = "") -> Change:
        """Somebody enters at a door of another company."""
        return self._do(lambda index: self.tickets.move(index, True), which)

    def check_out(self, which: str = "") -> Change:
        """Somebody leaves at a door of another company."""
        return self._do(lambda index: self.tickets.move(index, False), which)

    def live(self, changes: int = 1) -> list[Change]:
        """So many things happen, which ones the seed knows."""
        with self.tickets.lock:
            return [change for _ in range(changes) if (change := self._act())]

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

    # --- misbehaviour --------------------------------------------------------------------------------

    def misbehave(
        self,
        kind: str,
        endpoint: str = ANY,
        *,
        requests: int = 1,
        chance: float | None = None,
        seconds: float = 1.0,
        after: bool = False,
        date: bool = False,
        rows: int = 0,
        shape: str = "",
        value: int = 9,
    ) -> None:
        """Go wrong at the next requests, or by chance: `KINDS`."""
        self.troubles.add(Trouble(kind, endpoint, requests, chance, seconds, after, date, rows, shape, value))

    def behave(self) -> None:
        """Nothing goes wrong from now on; who was refused is let in again."""
        self.troubles.clear()
        self.server.accept()

    @contextmanager
    def refused(self) -> Iterator[None]:
        """Meanwhile nobody can connect, and connections that stood are cut."""
        self.server.refuse()
        try:
            yield
        finally:
            self.server.accept()

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

    # --- inner ---------------------------------------------------------------------------------------

    def _id(self, which: str) -> str:
        with self.tickets.lock:
            found = self.tickets.find(which)
        return found.id if found else which

    def _do(self, act: Callable[[int], Change], which: str) -> Change:
        if which:
            return act(self.tickets.index_of(self._id(which)))
        with self.tickets.lock:
            if (change := self._try(act)) is None:
                raise ValueError("there is no ticket to which this can happen")
            return change

    def _act(self) -> Change | None:
        """One random thing, or nothing where it can happen to no ticket."""
        try:
            act: Callable[[], Change] = getattr(self, self._random.choice(ACTS))
            return act()
        except ValueError:
            return None

    def _try(self, act: Callable[[int], Change]) -> Change | None:
        first = self._random.randrange(self.tickets.count)
        for step in range(min(TRIES_MAX, self.tickets.count)):
            try:
                return act((first + step) % self.tickets.count)
            except ValueError:
                continue
        return None

    def _live(self, every_s: float) -> None:
        while not self._over.wait(every_s):
            self.live()


def merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Tables into tables; anything else takes the place of what was there."""
    for name, value in more.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            merge(into[name], value)
        else:
            into[name] = value
