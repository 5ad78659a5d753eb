"""The Ingresse sandbox: `with Sandbox() as sandbox:` and the vendor answers at `sandbox.url`.

The tests' vendor, and behind `gatepost sandbox ingresse`. It changes while it runs when it is told to, or by
itself with `changes_per_minute`, and misbehaves when it is told to.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from types import MappingProxyType
from typing import Self

import msgspec

from firmware.bridge.sandbox.control import Extra, Which, body
from firmware.bridge.sandbox.history import Books, Change, utc_ms
from firmware.bridge.sandbox.ingresse_api import ENDPOINTS, Api, Rules
from firmware.bridge.sandbox.ingresse_logins import OPERATOR, Logins
from firmware.bridge.sandbox.ingresse_shapes import SHAPES, row
from firmware.bridge.sandbox.ingresse_tickets import NOT_EXECUTED, Event, Ticket, Tickets
from firmware.bridge.sandbox.seen import Seen, Violation
from firmware.bridge.sandbox.server import LOOPBACK, Request, Server
from firmware.bridge.sandbox.trouble import ANY, Trouble, Troubles

TICKETS = 1000
KEY, PASSWORD = "sandbox-key", "sandbox-password"  # known to everybody, as everything in it is fake
LIFE_S = 30 * 86_400.0  # of tokens; the vendor's own is not public
TRIES_MAX = 1000  # tickets looked at for one that something can happen to: every kind is in any twenty

# What happens by itself; what stands twice happens twice as often.
ACTS = ("sell", "sell", "sell", "check_in", "check_in", "check_out", "refund", "change_code", "transfer")


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

    Raises `ValueError` for settings that cannot be, and `OSError` where the port is taken. Closing it raises
    `RuntimeError` where the sandbox itself could not answer a request.
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
        self._random = Random(f"changes {seed}")  # noqa: S311 - reproducible on purpose, and no secret
        self._over = threading.Event()
        self.api = Api(self.tickets, self.logins, self.troubles, rules or Rules(), log)
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
        """Its events with their sessions."""
        return self.tickets.events

    @property
    def violations(self) -> list[Violation]:
        """Requests that were against the documents, the first thousand."""
        with self.tickets.lock:
            return list(self.api.violations)

    def count(self) -> int:
        """How many tickets there are."""
        return self.tickets.count

    def violations_count(self) -> int:
        """How many requests were against the documents."""
        return self.api.violations_count

    @property
    def requests(self) -> deque[Seen]:
        """Requests that came, the last ten thousand."""
        return self.api.seen.copy()

    def ticket(self, which: str) -> Ticket:
        """A copy of a ticket, by its id or a code that it has. Raises `KeyError`."""
        return self.tickets.ticket(self._id(which))

    def history(self, which: str = "") -> list[Change]:
        """What happened to a ticket (id or code), or to all, in order."""
        return self.ticket(which).history if which else self.tickets.changes()

    def books(self) -> Books:
        """The sums of what happened."""
        return self.tickets.books()

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
        found: list[str] = []
        first = self.tickets.sessions[session].tickets if session is not None else range(self.tickets.count)
        for index in first:
            if len(found) >= count:
                break
            with self.tickets.lock:
                ticket = self.tickets.at(index)
            facts = (
                (sold, ticket.sold),
                (refunded, bool(ticket.refunded_ms)),
                (external, ticket.external),
                (inside, ticket.inside),
            )
            if all(wanted is None or wanted == fact for wanted, fact in facts):
                found.append(ticket.code)
        return found

    # --- what happens at the vendor ------------------------------------------------------------------

    def sell(self, which: str = "") -> Change:
        """Sell a ticket (id or code; "" takes any). Raises `ValueError` or `KeyError`, as all of these do."""
        return self._do(self.tickets.sell, which)

    def refund(self, which: str = "") -> Change:
        """Give the money back: the ticket is refunded and has another code."""
        return self._do(self.tickets.refund, which)

    def change_code(self, which: str = "") -> Change:
        """The same ticket has another code."""
        return self._do(self.tickets.change_code, which)

    def transfer(self, which: str = "") -> Change:
        """The ticket has another holder and another code."""
        return self._do(self.tickets.transfer, which)

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
        """Go wrong at the next requests, or by chance: `firmware.bridge.sandbox.trouble.KINDS`."""
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

    # --- inner ---------------------------------------------------------------------------------------

    def _id(self, which: str) -> str:
        with self.tickets.lock:
            found = self.tickets.find(which)
        return found[0].id if found else which

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
