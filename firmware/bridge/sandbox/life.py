"""What every sandbox does while it runs, whichever vendor it plays: it answers, changes and misbehaves."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import islice
from random import Random
from typing import Protocol, TypeVar

from firmware.bridge.sandbox.desk import Desk, Seen, Violation
from firmware.bridge.sandbox.history import ELSEWHERE, Books, Change, Log
from firmware.bridge.sandbox.server import Server
from firmware.bridge.sandbox.trouble import ANY, Trouble

TICKETS = 1000
TRIES_MAX = 1000  # tickets looked at for one that something can happen to: every kind is in any twenty

Act = Callable[
    [int], Change
]  # lets something happen to the ticket of a number; `ValueError`: not to this one


class Kept(Protocol):
    """A ticket, as far as any vendor's is alike."""

    @property
    def code(self) -> str: ...
    @property
    def history(self) -> list[Change]: ...


AnyTicket = TypeVar("AnyTicket", bound=Kept)


class Tickets(Protocol):
    """A vendor's tickets, as far as any vendor's are alike."""

    count: int
    log: Log

    @property
    def lock(self) -> AbstractContextManager[object]: ...

    def sell(self, index: int) -> Change: ...
    def refund(self, index: int) -> Change: ...
    def change_code(self, index: int) -> Change: ...

    def move(self, index: int, inside: bool) -> Change:
        """Somebody enters or leaves at a door of another company."""

    def again(self, change: Change) -> Change:
        """What happens at this vendor's only, and scans of ours, as they were."""

    def index_of(self, which: str) -> int:
        """The number of a ticket, by its id or a code that it has. Raises `KeyError`."""

    def ticket(self, which: str) -> Kept:
        """A copy of one ticket, likewise. Raises `KeyError`."""


class Deed(Protocol):
    """Lets something happen to one ticket, by id or code, or to any. Raises `ValueError` or `KeyError`."""

    def __call__(self, which: str = "") -> Change: ...


class Life:
    """Runs from the beginning until it is closed. Raises `OSError` where the port is taken.

    `special` is what else happens by itself at this vendor's.
    """

    def __init__(
        self,
        tickets: Tickets,
        desk: Desk,
        special: Act,
        seed: int,
        changes_per_minute: float,
        host: str,
        port: int,
    ) -> None:
        self.tickets, self.desk, self.troubles = tickets, desk, desk.troubles
        self.sell, self.refund = self.deed(tickets.sell), self.deed(tickets.refund)
        self.change_code = self.deed(tickets.change_code)
        self.check_in = self.deed(partial(tickets.move, inside=True))
        self.check_out = self.deed(partial(tickets.move, inside=False))
        seldom = (self.check_out, self.refund, self.change_code, self.deed(special))
        self._deeds = (self.sell, self.sell, self.sell, self.check_in, self.check_in, *seldom)
        self._random = Random(f"changes {seed}")  # noqa: S311 - reproducible on purpose, and no secret
        self._over = threading.Event()
        self.server = Server(desk.answer, desk.clock, host, port)
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

    # --- looking -------------------------------------------------------------------------------------

    def violations(self) -> list[Violation]:
        """Requests that were against the documents, the first thousand."""
        with self.tickets.lock:
            return list(self.desk.violations)

    def requests(self) -> deque[Seen]:
        """Requests that came, the last ten thousand."""
        return self.desk.seen.copy()

    def history(self, which: str = "") -> list[Change]:
        """What happened to a ticket (id or code), or to all, in order. Raises `KeyError`."""
        return self.tickets.ticket(which).history if which else self.tickets.log.all()

    def books(self) -> Books:
        """The sums of what happened."""
        return self.tickets.log.books()

    # --- what happens at the vendor ------------------------------------------------------------------

    def deed(self, act: Act) -> Deed:
        """What happens to a ticket of a number, for one that is named, or for any to which it can happen."""

        def done(which: str = "") -> Change:
            with self.tickets.lock:
                if which:
                    return act(self.tickets.index_of(which))
                first = self._random.randrange(self.tickets.count)
                for step in range(min(TRIES_MAX, self.tickets.count)):
                    try:
                        return act((first + step) % self.tickets.count)
                    except ValueError:
                        continue
            raise ValueError("there is no ticket to which this can happen")

        return done

    def live(self, changes: int = 1) -> list[Change]:
        """So many things happen, which ones the seed knows; fewer where one can happen to no ticket."""
        happened = []
        with self.tickets.lock:
            for _ in range(changes):
                try:
                    happened.append(self._random.choice(self._deeds)())
                except ValueError:
                    continue
        return happened

    def _live(self, every_s: float) -> None:
        while not self._over.wait(every_s):
            self.live()

    def again(self, change: Change) -> Change:
        """Let one thing happen as it did, for a vendor that goes on with its former books.

        The clock has to tell the times of then. Raises `ValueError` or `KeyError` where it cannot happen.
        """
        tickets, ticket = self.tickets, change.ticket_id
        with tickets.lock:
            match change.what:
                case "sold":
                    return tickets.sell(tickets.index_of(ticket))
                case "refunded":
                    return tickets.refund(tickets.index_of(ticket))
                case "code":
                    return tickets.change_code(tickets.index_of(ticket))
                case what if change.operator == ELSEWHERE:
                    return tickets.move(tickets.index_of(ticket), what == "checkin")
                case _:
                    return tickets.again(change)

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
        word: str = "",
    ) -> None:
        """Go wrong at the next requests, or by chance. Raises `ValueError` for what this vendor has not."""
        self.troubles.add(
            Trouble(kind, endpoint, requests, chance, seconds, after, date, rows, shape, value, word)
        )

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


def codes_of(
    tickets: Iterable[AnyTicket], count: int, facts: Callable[[AnyTicket], Iterable[tuple[object, object]]]
) -> list[str]:
    """Codes of the first tickets of which everything is as wanted; None is wanted by nobody."""
    found = (
        ticket.code
        for ticket in tickets
        if all(wanted is None or wanted == fact for wanted, fact in facts(ticket))
    )
    return list(islice(found, count))
