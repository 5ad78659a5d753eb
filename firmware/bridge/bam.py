"""B.A.M. Ticketing: signed codes, and a check-in that a chain takes seconds for.

Written from B.A.M.'s manual and the library that its own apps use. The bridge is a "validator" there: an
identity of one event, with a wallet that signs.

Four things follow from what B.A.M. has, and has not:

- A scan cannot be asked about. The gate decides, and the chain hears of it afterwards.
- There is one list, of the codes of unused tickets, without pages and without changes. It is compared here
  with the one before, and gates hear of the differences. A code that is not in it any more was used or given
  back: it counts as used, so that a gate does not call it unknown.
- An invalidation is for ever, and there is no exit. One of ours whose reply was lost is recognised by what
  was written down before its last step.
- A signature proves where a code comes from, and nothing about what became of the ticket.

What is sent is in `firmware.bridge.bam_requests`, and what the replies mean in `firmware.bridge.bam_replies`.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType

import httpx

from firmware.bridge import bam_replies as replies
from firmware.bridge.bam_codes import TicketName, named, ticket_of
from firmware.bridge.bam_login import Session
from firmware.bridge.bam_replies import Count, Failed, Forbidden, Missing, Rejected, Said
from firmware.bridge.bam_requests import STATE_WORDS, BamSettings, Requests, check
from firmware.bridge.lenient import is_ms
from firmware.bridge.vendor import (
    SHRUNK_UNUSED_MIN,
    Accepted,
    Again,
    Device,
    Flow,
    Listing,
    LogInRefused,
    Lost,
    Misconfigured,
    Note,
    NotSent,
    Outage,
    Outcome,
    Page,
    Question,
    Refused,
    Told,
    Unsure,
    VendorTicket,
)
from firmware.core.ticket import Direction, Status, Verdict

PAGE_TICKETS = 1000  # handed on at once; the vendor's reply is one
TELLERS = 16  # transactions under way at once: each takes seconds, and most of them is waiting
COMMITTED = "commit"

NO_EXITS = "not told: the chain knows no exits"
ENTERED = "not told: an earlier entry of ours has used it up at the chain"

__all__ = ["Bam", "BamSettings"]


def _pages(tickets: Iterable[VendorTicket]) -> Flow[None]:
    rest = iter(tickets)
    while part := tuple(islice(rest, PAGE_TICKETS)):
        yield Page(part)


class Bam:
    """One validator at B.A.M., as the protocol `Vendor` wants it. Safe to use from several threads."""

    batch_max = 1  # each is a transaction by itself, and takes seconds
    asks = False
    devices = False
    deadline_ms = 0
    inner = False
    books_exits = False
    uploads = True
    compares = True
    signs = True
    tellers = TELLERS

    def __init__(self, settings: BamSettings) -> None:
        """Raises `ValueError`, which names the setting and the mend."""
        check(settings)
        self._set = settings
        self._requests = Requests(settings)
        self._session = Session(settings, self._requests)
        self._keys: Mapping[str, str] = MappingProxyType({})
        self._listed: dict[str, VendorTicket] | None = None  # by id, as the last list had them; used ones too
        self._mark = secrets.token_hex(8)  # of what is remembered: another bridge may have read since

    @property
    def keys(self) -> Mapping[str, str]:
        """The event's public key, once it was read."""
        return self._keys

    def secrets(self) -> Sequence[str]:
        """The sessions. The private key is in no request, and is named all the same."""
        return (*self._session.tokens(), self._set.identity.private_key)

    # --- what is there -----------------------------------------------------------------------------

    def probe(self) -> Flow[str]:
        """Log in, read the event's key and its counters; say which of the two is not there.

        The list needs neither. Where both are 404 the tenant is wrong: raises `Misconfigured`.
        """
        fault = yield from self._read_key()
        keyed = fault or "its codes are signed, and gates get the key"
        try:
            found = yield from self.counts()
        except LogInRefused:
            raise
        except Failed as error:
            return f"event {self._set.event}: {error}; {keyed}"
        except Misconfigured as error:
            if fault:
                raise
            return f"event {self._set.event}: {error}; {keyed}"
        issued = sum(each.issued for each in found)
        activated = sum(each.activated for each in found)
        invalidated = sum(each.invalidated for each in found)
        return (
            f"event {self._set.event}: {issued:,} tickets issued, {activated:,} activated, "
            f"{invalidated:,} invalidated; {keyed}"
        )

    def counts(self) -> Flow[tuple[Count, ...]]:
        """How many tickets of each kind are issued, activated and invalidated."""
        what = "counters"
        body = yield from self._ask(lambda token: self._requests.counters(what, token), what)
        return replies.counts(body, f"{self._set.name}: {what}")

    def trial(self) -> Flow[None]:
        """Read the counters, whatever they say."""
        what = "counters"
        yield from self._ask(lambda token: self._requests.counters(what, token), what)

    def _read_key(self) -> Flow[str]:
        """Take the event's key; "", or why there is none. Only what no list could come through is raised."""
        what = "public key of the event"
        try:
            body = yield from self._ask(lambda token: self._requests.public_key(what, token), what)
            self._keys = {self._set.event: replies.public_key(body, f"{self._set.name}: {what}")}
        except LogInRefused:
            raise
        except (Failed, Misconfigured) as error:
            return f"{error}; without it gates cannot check signatures"
        return ""

    # --- the list ------------------------------------------------------------------------------------

    def tickets(self, since: str) -> Flow[Listing]:
        """Read the list of codes; hand on all of it, or with `since` what is new against the one before.

        What vanished is handed on as used. Where that is more than half, none of it is, and the next run is
        to be whole: then whoever keeps the tickets decides. Nothing is remembered across a start. A key that
        is missing is asked for each time; the list comes without it.
        """
        fault = "" if self._keys else (yield from self._read_key())
        what = "codes of the event"
        body = yield from self._ask(lambda token: self._requests.codes(what, token), what)
        found, skipped = dict[str, VendorTicket](), 0
        margin = self._set.margin_min if self._set.slots else None
        for row, config in replies.rows(body, f"{self._set.name}: {what}"):
            ticket = replies.ticket(row, config, self._set.event, self._set.accept, margin)
            if ticket is None:
                skipped += 1
            else:
                found[ticket.ticket_id] = ticket
        if since != self._mark or self._listed is None:  # another one may have read meanwhile
            odd = yield from self._contradicted(len(found))
            yield from _pages(found.values())
            self._listed = found
            text = "; ".join(filter(None, (odd, fault)))
            return Listing(self._mark, not odd, skipped, text, Status.USED)
        before = self._listed
        unused = {name for name, ticket in before.items() if ticket.status is not Status.USED}
        lost = len(unused - found.keys())
        fallen, odd = lost * 2 > len(unused) >= SHRUNK_UNUSED_MIN, ""
        if 0 < lost <= skipped:
            odd = f"{lost:,} codes are missing, and {skipped:,} entries could not be read: they stay"
        elif fallen:
            odd = f"{lost:,} of {len(unused):,} codes are missing: they stay until this is sure"
        if odd:
            found = before | found
        else:
            gone = (ticket for name, ticket in before.items() if name not in found)
            found |= {ticket.ticket_id: ticket._replace(status=Status.USED) for ticket in gone}
        yield from _pages(ticket for name, ticket in found.items() if before.get(name) != ticket)
        self._listed = found
        text = "; ".join(filter(None, (odd, fault)))
        return Listing("" if fallen else self._mark, False, skipped, text, Status.USED)

    def _contradicted(self, listed: int) -> Flow[str]:
        """Why so short a list cannot be the whole one, by B.A.M.'s own counters; "" where it may be.

        Whether a used ticket still counts as an issued one is not published, nor is it of an activated one:
        so many are unused at least, either way.
        """
        try:
            counts = yield from self.counts()
        except (Outage, Misconfigured):  # the list needs no counters
            return ""
        issued, activated = sum(each.issued for each in counts), sum(each.activated for each in counts)
        unused = max(issued, activated) - sum(each.invalidated for each in counts)
        if unused < SHRUNK_UNUSED_MIN or unused <= 2 * listed:
            return ""
        return f"{listed:,} codes are listed, and {unused:,} unused tickets are counted: the others stay"

    # --- movements -----------------------------------------------------------------------------------

    def tell(self, movements: Sequence[Told]) -> Flow[tuple[Outcome, ...]]:
        """Invalidate tickets, one transaction after the other.

        Raises `Outage` and `Misconfigured` where nothing was carried out for the first of them.
        """
        outcomes: list[Outcome] = []
        for index, told in enumerate(movements):
            try:
                outcomes.append((yield from self._tell(index, told)))
            except (Outage, Misconfigured) as error:
                if not outcomes:
                    raise
                outcomes += [Again(str(error), told.doubt) for told in movements[index:]]
                break
        return tuple(outcomes)

    def _tell(self, index: int, told: Told) -> Flow[Outcome]:
        if told.refused:
            return Refused(Verdict.REFUSED, "not let in here; the chain is told of admissions only")
        if told.direction is Direction.OUT:
            return Accepted(NO_EXITS)
        if told.entered:
            return Accepted(ENTERED)
        ticket = named(told.ticket_id) if told.ticket_id else ticket_of(told.code)
        if ticket is None:
            return Refused(Verdict.UNKNOWN, "neither the ticket's id nor its code names a ticket of B.A.M.")
        if str(ticket.event) != self._set.event:
            return Refused(Verdict.WRONG_EVENT, f"a ticket of event {ticket.event}")
        if not is_ms(str(told.at_utc_ms)):
            return Unsure(f"{told.at_utc_ms} is no time in milliseconds")
        return (yield from self._invalidate(index, told, ticket))

    def _invalidate(self, index: int, told: Told, ticket: TicketName) -> Flow[Outcome]:
        """The three steps. Before the second and the third their digest is written down.

        Only the third carries anything out, so "already invalidated" is our own only where an earlier third
        step of ours is written down, whose reply never came.

        A reply that came and is of no use concerns this ticket alone, for all that is known: it is an
        `Again`, so that no ticket holds up those behind it.
        """
        ours = told.note if told.note.startswith(COMMITTED) else ""
        requests, sign = self._requests, self._session.wallet.digest
        what = f"proposal for {ticket}"
        try:
            body = yield from self._session.send(
                lambda token: requests.propose(what, ticket, told.at_utc_ms, token), what
            )
            first = replies.digest(body, what)
            yield Note(index, f"{ours}; proposal {first}" if ours else f"proposal {first}")
            what = f"endorsement for {ticket}"
            signature = sign(bytes.fromhex(first))
            body = yield from self._session.send(
                lambda token: requests.endorse(what, first, signature, token), what
            )
            second = replies.digest(body, what)
        except Rejected as error:
            return self._refusal(str(error), ours)
        except Said as error:
            if self._says_used(error.said):
                return self._refusal(error.said, ours)
            if isinstance(error, Forbidden):
                raise
            # the digest is too old, or the ticket is not there; or the chain stumbles over it
            return Again(str(error), told.doubt, unsent=isinstance(error, Failed) and not ours)
        except NotSent:
            raise
        except Lost as error:
            raise Outage(str(error), error.retry_after_s) from None
        return (yield from self._commit(index, told, ticket, second, ours))

    def _commit(self, index: int, told: Told, ticket: TicketName, digest: str, ours: str) -> Flow[Outcome]:
        """The third step. It is sent once, so "already invalidated", of whatever status, was so before."""
        what = f"transaction for {ticket}"
        signature = self._session.wallet.digest(bytes.fromhex(digest))
        yield Note(index, f"{COMMITTED} {digest}")
        try:
            body = yield from self._session.send(
                lambda token: self._requests.commit(what, digest, signature, token), what
            )
        except Rejected as error:
            return self._refusal(str(error), ours)
        except Said as error:
            if self._says_used(error.said):
                return self._refusal(error.said, ours)
            if isinstance(error, Failed):
                return Again(str(error), doubt=True)
            yield Note(index, ours)
            if isinstance(error, Forbidden):
                raise
            return Again(str(error), told.doubt)  # the digest is too old: it was not carried out
        except Lost as error:
            return Again(str(error), doubt=True)
        except (Outage, Misconfigured):
            yield Note(index, ours)
            raise
        done = replies.done(body)
        if done.success:
            return Accepted(f"{done.text}, transaction {digest}")
        # a status that nobody knows may be a success, and that the ticket is invalidated then our own doing
        odd = () if replies.fails(done) else STATE_WORDS
        if done.success is False and self._says_used(done.text, odd):
            return self._refusal(done.text, ours)
        return Again(f"{what}: {done.text}", doubt=True)  # another one shows what became of it

    def _refusal(self, text: str, ours: str) -> Outcome:
        """What a refusal of the chain means: our own lost transaction, somebody else's, or another no.

        No text of it is published. So another no after a transaction of ours may be that transaction in
        words that nobody knows, and a person has to look.
        """
        used = self._says_used(text)
        if not ours:
            return Refused(Verdict.USED if used else Verdict.REFUSED, text)
        digest = ours.removeprefix(COMMITTED).partition(";")[0].strip()
        if used:
            return Accepted(f"{text}: by our own transaction {digest}, whose reply was lost")
        return Unsure(f"{text}: perhaps by our own transaction {digest}, whose reply was lost")

    def _says_used(self, text: str, but: Sequence[str] = ()) -> bool:
        return replies.says(text, (word for word in self._set.used_words if word not in but))

    # --- what it cannot do ---------------------------------------------------------------------------

    def ask(self, question: Question, kept: Mapping[str, str]) -> Flow[Accepted | Refused]:
        """It cannot be asked: `asks` is false."""
        raise AssertionError("B.A.M. cannot be asked about a scan")

    def configure(self, device: Device) -> Flow[Mapping[str, str]]:
        """Nothing to configure: `devices` is false."""
        raise AssertionError("B.A.M. knows no devices")

    # --- asking --------------------------------------------------------------------------------------

    def _ask(self, build: Callable[[str], httpx.Request], what: str) -> Flow[object]:
        """Send what has no effect: where its reply is lost, that is an outage and no doubt.

        Raises `Failed` where a reply came that is of no use.
        """
        try:
            return (yield from self._session.send(build, what))
        except (NotSent, Failed):
            raise
        except Lost as error:
            why, retry_after_s = str(error), error.retry_after_s
        except Missing as error:
            raise Misconfigured(
                f"{error}: a wrong tenant answers like this: correct `tenant_url` and `event`"
            ) from None
        except Rejected as error:
            raise Misconfigured(
                f"{self._set.name}: {what}: {error}: correct `tenant_url` and `event`"
            ) from None
        raise Outage(why, retry_after_s)
