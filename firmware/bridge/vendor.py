"""What a vendor is to the bridge: a class whose methods are generators, without socket, clock or retry.

A generator yields an `httpx.Request` and is sent the `httpx.Response`; it yields a `Page` of tickets, or a
`Note` to be written down, and is sent `None`; it returns its result. Where a reply did not come, the driver
throws `NotSent` or `Lost` into it at that place. What a vendor calls things stays inside that vendor's file.

A request carries how it is to be sent, made by `manner`: its name for logs and errors (a URL may hold
secrets), its time-out, and for one that changes nothing how often it may be tried.
"""

import json
from collections.abc import Generator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

import httpx
import msgspec

from firmware.core.ticket import Direction, Perimeter, Status, Verdict

# How long the bridge waits for an answer after its deadline. It makes a credit for whoever was turned away;
# a person who still stands there after that has long been seen to.
LATE_S = 7.0
SHRUNK_UNUSED_MIN = 20  # of fewer unused tickets any part may be used between two looks


class Outage(Exception):
    """The vendor cannot be reached, is too slow, or failed (5xx, 429). Never a word about a ticket.

    `retry_after_s` is how long the vendor itself asked to be left alone; 0 where it did not say.
    """

    def __init__(self, why: str, retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class NotSent(Outage):
    """The request did not leave this machine: to send it again is safe."""


class Unreached(NotSent):
    """There is no connection to the vendor: no such name, no way, nobody there, or nobody to trust."""


class NoTurn(NotSent):
    """It was not sent because of us: the rate limit, a rest that the vendor asked for, or no time left."""


class Lost(Outage):
    """The request may have been carried out; its reply did not come, or was cut short."""


class Misconfigured(Exception):
    """The vendor refuses us, not a ticket: wrong key, password or event. The text names it and the mend."""


class LogInRefused(Misconfigured):
    """A log-in was refused. Each further try may be the one at which the vendor locks the user out."""


class Accepted(NamedTuple):
    """The vendor has it. `text` is its own word."""

    text: str = ""


class Refused(NamedTuple):
    """The vendor says no, and will not change its mind.

    With `fault` it is not about the ticket: something is wrong between the vendor and us, which a person has
    to mend. The ticket is refused all the same, for that is no outage, and no policy may let it in. With
    `doubt` it may be the echo of an ask of our own whose reply was lost: the vendor let the ticket in, and
    says now that it is in.
    """

    verdict: Verdict
    text: str = ""
    fault: str = ""
    doubt: bool = False


class Unsure(NamedTuple):
    """Nobody can find out whether it was carried out; a person must look."""

    why: str


class Again(NamedTuple):
    """It was certainly not carried out, and may be sent again. With `doubt`, only after another look.

    With `unsent` nothing that could carry it out was ever sent, so there is nothing for a person to look up:
    it is sent again for days.
    """

    why: str
    doubt: bool = False
    unsent: bool = False


Outcome = Accepted | Refused | Unsure | Again


NOTHING_KEPT: Mapping[str, str] = MappingProxyType({})


class VendorTicket(NamedTuple):
    """A ticket as the vendor has it. `inside` and `moved_utc_ms` are `None` where it says nothing of them."""

    ticket_id: str
    code: str
    status: Status = Status.VALID
    event: str = ""
    session: str = ""
    type: str = ""
    sector: str = ""
    gate: str = ""
    valid_from_ms: int | None = None
    valid_until_ms: int | None = None
    inside: bool | None = None
    moved_utc_ms: int | None = None


class Told(NamedTuple):
    """A movement that the vendor is told of. With `doubt` it may have been told already: look first.

    With `refused` it was none: a gate did not let this ticket through. Only some vendors hear of it.
    With `unanswered` it was none either: the vendor was asked, no answer came, and nobody was let in. So it
    is looked up, and never sent. `kept` is what configuring the device of this gate and perimeter gave.
    `note` is the last `Note` of an earlier try, "" for none; with `entered` the vendor has taken an earlier
    entry of this ticket that a gate of ours saw. With `untrusted` the gate's clock could not be trusted: the
    ledger has corrected `at_utc_ms` where it could, and an ask about this scan named another time.
    """

    ticket_id: str  # the vendor's own, "" where the gate did not know the ticket
    code: str
    event: str
    session: str
    direction: Direction
    at_utc_ms: int
    gate: str
    doubt: bool = False
    refused: bool = False
    perimeter: Perimeter = Perimeter.OUTER
    unanswered: bool = False
    kept: Mapping[str, str] = NOTHING_KEPT
    note: str = ""
    entered: bool = False
    untrusted: bool = False


class Question(NamedTuple):
    """A scan that the vendor decides. With `again` an earlier ask of this code had no answer.

    `ticket_id` is the vendor's own, "" where the gate does not know the ticket; `event` and `session` are
    those of the ticket, or else of the gate's route. `at_utc_ms` is the time of the scan, the same however
    often it is asked; where the gate's clock is not trusted, `true_utc_ms` is the bridge's own time. An entry
    without an event is for one of `events`, or for any where these are none. A vendor that `compares` is told
    what a fresh list has of the ticket, whichever bridge read it.
    """

    code: str
    ticket_id: str
    event: str
    session: str
    direction: Direction
    perimeter: Perimeter
    at_utc_ms: int
    gate: str
    again: bool = False
    events: tuple[str, ...] = ()
    true_utc_ms: int | None = None
    listed: VendorTicket | None = None


class Device(NamedTuple):
    """What a vendor wants to know of a gate before it lets it scan: one device for each of its perimeters.

    All of it comes from the gate's birth message; "" where the gate does not know it.
    """

    gate: str
    perimeter: Perimeter
    mac: str = ""
    ip: str = ""
    serial: str = ""
    model: str = ""


class Page(NamedTuple):
    """Some tickets on their way into the feed. `skipped` entries of it could not be read as tickets."""

    tickets: tuple[VendorTicket, ...]
    skipped: int = 0


class Note(NamedTuple):
    """What `tell` has to have written down about a movement before it goes on, for a later try to read.

    `at` is the movement's place in the call, from 0 on.
    """

    at: int
    text: str


class Listing(NamedTuple):
    """The end of a run through the vendor's list. `since` begins the next delta.

    `whole` says that every ticket of the account was listed, so that one that was not seen is gone; or
    `unseen`, where the list has unused tickets only, and that is what others have become.
    `skipped` entries could not be read, and are in no page; `text` says what else was odd.
    """

    since: str
    whole: bool
    skipped: int = 0
    text: str = ""
    unseen: Status | None = None


Result = TypeVar("Result")
Flow = Generator[httpx.Request | Page | Note, httpx.Response | None, Result]


def manner(name: str, timeout_s: float, tries: int = 1, patience_s: float = 5.0) -> dict[str, Any]:
    """Extensions of an `httpx.Request`: what the driver has to know about it.

    `timeout_s` is for each wait for bytes, and twice that for the whole reply. `tries` above 1 is for
    requests without effect. A request waits up to `patience_s` for its turn (the rate limit, or the
    vendor's own `Retry-After`); else it is `NotSent`.
    """
    return {
        "timeout": httpx.Timeout(timeout_s).as_dict(),
        "name": name,
        "tries": tries,
        "patience_s": patience_s,
    }


def read_json(response: httpx.Response) -> object:
    """What a reply says. Raises `ValueError` where it is no JSON, or only the beginning of some."""
    if "json" in response.extensions:  # the driver has read it already, to see that it is complete
        return response.extensions["json"]
    try:
        value: object = msgspec.json.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = json.loads(response.content)  # takes what is not quite JSON: NaN, half of a character
    return value


class Vendor(Protocol):
    """One account at one vendor."""

    batch_max: int
    """Movements that one call of `tell` takes."""

    asks: bool
    """Whether it can be asked about a scan, so that it decides itself."""

    devices: bool
    """Whether each (gate, perimeter) has to be configured before it may ask."""

    deadline_ms: int
    """How long an answer may take, from the scan on, as the vendor itself or its settings name it."""

    inner: bool
    """Whether it knows inner lanes. Else it is not told of movements that pass no outer one."""

    books_exits: bool
    """Whether an exit that it was asked about is in its books; else it is told of it like any other."""

    uploads: bool
    """Whether it is told of what gates let in without asking it."""

    tellers: int
    """Calls of `tell` that are under way at once, each for other tickets."""

    compares: bool
    """Whether it finds what changed by what it remembers: then a list is whole after a start, after one that
    another bridge has read, and as long as one is in doubt. Its asks come with what is `listed`."""

    signs: bool
    """Whether its codes are signed, so that gates get its keys."""

    @property
    def keys(self) -> Mapping[str, str]:
        """By event, the public key (PEM) that its codes are signed for, as far as known by now."""

    def secrets(self) -> Sequence[str]:
        """What must never stand in a log, as far as it is known by now."""

    def probe(self) -> Flow[str]:
        """Log in, find what is configured, and say in one line what was found. Raises `Misconfigured`."""

    def tickets(self, since: str) -> Flow[Listing]:
        """List what changed since then; with "" everything."""

    def tell(self, movements: Sequence[Told]) -> Flow[tuple[Outcome, ...]]:
        """Tell of up to `batch_max` movements of different tickets; an outcome for each, in order.

        Raises `Outage` where nothing at all was carried out.
        """

    def ask(self, question: Question, kept: Mapping[str, str]) -> Flow[Accepted | Refused]:
        """Have the vendor decide about one scan. A refusal, a 404 or a "not found" is an answer.

        `kept` is what `configure` gave for this gate and perimeter. A request that the vendor may carry out
        has one try, and a time-out of the deadline and `LATE_S`; after the deadline no further one is sent.
        Raises `NotSent`, `Lost`, `Outage`, `Misconfigured`: then the gate's own policy has decided.
        """

    def configure(self, device: Device) -> Flow[Mapping[str, str]]:
        """Configure the device of a gate's perimeter, again at each birth. What is to be kept, as it came.

        Raises `Outage`, after which it is tried again, and `Misconfigured`, which a person has to mend.
        """

    def trial(self) -> Flow[None]:
        """The smallest question that changes nothing, where asks go. Any answer will do.

        Raises `Outage` where it does not, and `Misconfigured` where it sends us away.
        """
