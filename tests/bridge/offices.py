"""What the tests of an account share: a vendor with a script, and an account with its ledger and feed."""

from collections.abc import Callable, Mapping, Sequence

from firmware.bridge import schema
from firmware.bridge.driver import Driver
from firmware.bridge.feed import Feed
from firmware.bridge.ingresse import Ingresse
from firmware.bridge.tried import Tried
from firmware.bridge.vending import (
    Account,
)
from firmware.bridge.vendor import (
    NOTHING_KEPT,
    Accepted,
    Device,
    Flow,
    Listing,
    Outcome,
    Page,
    Question,
    Refused,
    Told,
)
from firmware.bridge.work import Faults
from tests.bridge.feeds import KEY
from tests.bridge.model_gate import VENUE, Books, ModelGate
from tests.core.samples import NOON_MS

Answer = tuple[Outcome, ...] | Exception


class Script:
    """A vendor that does what it is told to, without requests."""

    asks = False
    devices = False
    deadline_ms = 3000
    inner = False
    books_exits = True
    uploads = True
    compares = False
    signs = False
    tellers = 1
    keys: Mapping[str, str] = NOTHING_KEPT

    def __init__(self, batch_max: int = 20) -> None:
        self.batch_max = batch_max
        self.answers: list[Answer] = []
        self.told: list[tuple[Told, ...]] = []
        self.listings: list[Listing | Exception] = []
        self.pages: tuple[Page, ...] = ()
        self.asked: list[str] = []
        self.probes: list[Exception] = []
        self.before: Callable[[], None] = lambda: None

    def secrets(self) -> Sequence[str]:
        return ()

    def probe(self) -> Flow[str]:
        yield Page(())
        if self.probes:
            raise self.probes.pop(0)
        return "2 events"

    def tickets(self, since: str) -> Flow[Listing]:
        self.asked.append(since)
        yield from self.pages
        listing = self.listings.pop(0) if self.listings else Listing("since", not since)
        if isinstance(listing, Exception):
            raise listing
        return listing

    def tell(self, movements: Sequence[Told]) -> Flow[tuple[Outcome, ...]]:
        self.told.append(tuple(movements))
        yield Page(())
        self.before()
        answer = self.answers.pop(0) if self.answers else tuple(Accepted("ok") for _ in movements)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask(self, question: Question, kept: Mapping[str, str]) -> Flow[Accepted | Refused]:
        raise AssertionError("not asked")

    def configure(self, device: Device) -> Flow[Mapping[str, str]]:
        raise AssertionError("no devices")

    def trial(self) -> Flow[None]:
        yield from ()


class Office:
    """An account with its ledger and feed. `at_ms` is the clock; turns are taken by the test."""

    def __init__(self, found: Books, vendor: Script | Ingresse, name: str = "acme", **driver: object) -> None:
        self.books = found
        self.vendor = vendor
        self.at_ms = NOON_MS
        self.faults = Faults()
        self.told: list[bool] = []
        self.fed = 0
        self.found: list[str] = []
        self.feed = Feed(found.database, VENUE, KEY)
        self.driver = Driver(name, vendor, 1e6, **driver)  # type: ignore[arg-type]  # clock and wait, handed on
        self.tried = Tried()
        self.account = self.another()

    def another(self, worker: str = "w") -> Account:
        """As another thread has it, and as another process, but for what this one remembers of tries."""
        return Account(
            self.driver._account, self.vendor, self.driver, self.books.ledger, self.feed, self.faults,
            lambda: self.at_ms, self.told.append, self._fed, self.found.append, worker, 10.0, 24,
            tried=self.tried,
        )  # fmt: skip

    def _fed(self) -> None:
        self.fed += 1

    def tell(self) -> float:
        return self.account.telling._turn()

    def read(self) -> float:
        return self.account.reading._turn()

    def work(self) -> list[tuple[str, bool, str]]:
        """State or result, doubt, text of all work."""
        return [(line.result or line.state, line.doubt, line.text) for line in self.books.lines(schema.work)]

    def due_in_ms(self) -> list[int]:
        """When each piece of work that is due may go again."""
        return [line.next_ms - self.at_ms for line in self.books.lines(schema.work) if line.state == "due"]


def script(at: Office) -> Script:
    assert isinstance(at.vendor, Script)
    return at.vendor


def persons(at: Office, *tickets: str) -> ModelGate:
    """So many people walk in."""
    gate = ModelGate()
    for ticket in tickets:
        gate.person(f"acme:{ticket}", code=ticket.upper())
    at.books.store(gate)
    return gate
