"""B.A.M. Ticketing: signed codes, and a check-in that a chain takes seconds for.

Written from B.A.M.'s manual and the library that its own apps use. The bridge is a "validator" there: an
identity of one event, with a wallet that signs.

Four things follow from what B.A.M. has, and has not:

- Nothing there decides about a scan. So the gate does, and the chain hears of it afterwards; or, where the
  operator wants that, the gate asks, and opens when the three steps of a chain have been made.
- There is one list, of the codes of unused tickets, without pages and without changes. It is compared here
  with the one before, and gates hear of the differences. A code that is not in it any more was used or given
  back: it counts as used, so that a gate does not call it unknown.
- An invalidation is for ever, and there is no exit. One of ours whose reply was lost is recognised by what
  was written down before its last step.
- A signature proves where a code comes from, and nothing about what became of the ticket.

What is sent is in `firmware.bridge.bam_requests`, and what the replies mean in `firmware.bridge.bam_replies`.
"""

import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import TypeGuard

import httpx

from firmware.bridge import bam_replies as replies
from firmware.bridge.bam_codes import TicketName, is_genuine, named, ticket_of
from firmware.bridge.bam_login import Session
from firmware.bridge.bam_replies import Count, Failed, Forbidden, Missing, Rejected, Said
from firmware.bridge.bam_requests import STATE_WORDS, BamSettings, Requests, check
from firmware.bridge.lenient import is_ms
from firmware.bridge.vendor import (
    LATE_S,
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
    NoTurn,
    Outage,
    Outcome,
    Page,
    Question,
    Refused,
    Told,
    Unsure,
    VendorTicket,
)
from firmware.core.ticket import Direction, Perimeter, Status, Verdict
from firmware.signed_code import MARK

PAGE_TICKETS = 1000  # handed on at once; the vendor's reply is one
TELLERS = 16  # transactions under way at once: each takes seconds, and most of them is waiting
COMMITTED = "commit"

NO_EXITS = "not told: the chain knows no exits"
ENTERED = "not told: an earlier entry of ours has used it up at the chain"
UNANSWERED = "asked, with no answer, and not let in: the chain may have it as used, and cannot be asked which"
UNSPENT = "asked, with no answer, and the third step was never sent"
ASKS_KEPT_MAX = 4096  # of asks: those of the last minutes of a rush
OVER = "over"  # in the place of an ask's third step: it was told of without one, so it comes to none
STRANGE_KEY = "the codes of the list are not signed with the event's key: unlisted ones count as forged"
GONE = "not in the list of unused codes any more"

AskKey = tuple[str, int]  # of an ask: its ticket, and the time of the scan as the gate says it

__all__ = ["Bam", "BamSettings"]


def _pages(tickets: Iterable[VendorTicket]) -> Flow[None]:
    rest = iter(tickets)
    while part := tuple(islice(rest, PAGE_TICKETS)):
        yield Page(part)


def _standing(ticket: VendorTicket, at_utc_ms: int) -> Refused | None:
    """Why the list lets nobody in with a ticket at this time; `None` where it does."""
    if ticket.status is not Status.VALID:
        used = ticket.status is Status.USED
        return (
            Refused(Verdict.USED, GONE)
            if used
            else Refused(Verdict.BLOCKED, "not issued, as the list has it")
        )
    if ticket.valid_from_ms is not None and at_utc_ms < ticket.valid_from_ms:
        return Refused(Verdict.TOO_EARLY, "before its time slot")
    if ticket.valid_until_ms is not None and at_utc_ms > ticket.valid_until_ms:
        return Refused(Verdict.TOO_LATE, "after its time slot")
    return None


def _is_used(outcome: Outcome) -> TypeGuard[Refused]:
    return isinstance(outcome, Refused) and outcome.verdict is Verdict.USED


def _echo(refusal: Refused) -> Refused:
    """The same, where an earlier ask for this code had no answer: "used" may be by that one."""
    if not _is_used(refusal):
        return refusal
    why = f"{refusal.text}; perhaps by an ask of ours, whose reply was lost"
    return Refused(Verdict.CALL_STAFF, why, doubt=True)


class Bam:
    """One validator at B.A.M., as the protocol `Vendor` wants it. Safe to use from several threads."""

    batch_max = 1  # each is a transaction by itself, and takes seconds
    devices = False
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
        self.asks = not settings.open_before_commit
        self.deadline_ms = settings.ask_deadline_ms if self.asks else 0
        self._requests = Requests(settings)
        self._session = Session(settings, self._requests)
        self._keys: Mapping[str, str] = MappingProxyType({})
        self._lock = threading.Lock()
        self._asks: dict[AskKey, str] = {}  # the third step of each that was sent, "" for none, `OVER`
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
        to be whole: then whoever keeps the tickets decides. Nothing is remembered across a start. A reply
        that says itself that it is a part of the list takes nothing away.

        A key that is missing is asked for each time; the list comes without it. One that did not sign what is
        new is asked for once more.
        """
        fault = "" if self._keys else (yield from self._read_key())
        what = "codes of the event"
        heard: list[httpx.Response] = []
        body = yield from self._ask(lambda token: self._requests.codes(what, token), what, heard)
        found, skipped = dict[str, VendorTicket](), 0
        margin = self._set.margin_min if self._set.slots else None
        for row, config in replies.rows(body, f"{self._set.name}: {what}"):
            ticket = replies.ticket(row, config, self._set.event, self._set.accept, margin)
            if ticket is None:
                skipped += 1
            else:
                found[ticket.ticket_id] = ticket
        whole = since != self._mark or self._listed is None  # another one may have read meanwhile
        if not (fault or self._proves(found, whole)):
            fault = yield from self._read_key()
            if not (fault or self._proves(found, whole)):
                fault = STRANGE_KEY
        part = replies.part(heard[-1], body, len(found) + skipped)
        if whole or self._listed is None:
            odd = part or (yield from self._contradicted(len(found)))
            yield from _pages(found.values())
            self._listed = found
            text = "; ".join(filter(None, (odd, fault)))
            return Listing(self._mark, not odd, skipped, text, Status.USED)
        before = self._listed
        unused = {name for name, ticket in before.items() if ticket.status is not Status.USED}
        lost = len(unused - found.keys())
        fallen, odd = lost * 2 > len(unused) >= SHRUNK_UNUSED_MIN, part
        if odd:
            odd = f"{odd}: the others stay"
        elif 0 < lost <= skipped:
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

    def _proves(self, found: Mapping[str, VendorTicket], whole: bool) -> bool:
        """Whether the event's key signed the last one of the codes that are new."""
        before = {} if whole or self._listed is None else self._listed
        fresh = [each.code for name, each in found.items() if MARK in each.code and before.get(name) != each]
        return not fresh or is_genuine(fresh[-1], self._keys[self._set.event])

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
        if told.unanswered:
            out = told.direction is Direction.OUT  # for which there are no steps
            unspent = out or self._sent(told, told.ticket_id or str(ticket_of(told.code))) == ""
            return Refused(Verdict.NO_ANSWER, UNSPENT) if unspent else Unsure(UNANSWERED)
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
        doubt = self.asks and told.doubt and not told.note.startswith(COMMITTED)
        sent = self._sent(told, str(ticket)) if doubt else None
        if sent is not None:
            told, doubt = told._replace(note=f"{COMMITTED} {sent}" if sent else told.note), False
        outcome = yield from self._invalidate(index, told, ticket, self._set.chain_timeout_s)
        if doubt and _is_used(outcome):  # of an ask before the bridge began
            return Unsure(f"{outcome.text}: perhaps by an ask of ours, whose reply was lost")
        return outcome

    def _invalidate(
        self, index: int, told: Told, ticket: TicketName, timeout_s: float, asked: AskKey | None = None
    ) -> Flow[Outcome]:
        """The three steps. Before the second and the third their digest is written down.

        Only the third carries anything out, so "already invalidated" is our own only where an earlier third
        step of ours is written down, whose reply never came.

        A reply that came and is of no use concerns this ticket alone, for all that is known: it is an
        `Again`, so that no ticket holds up those behind it. With `asked` somebody waits for the chain's word,
        and what it says at the first try is its word.
        """
        ours = told.note if told.note.startswith(COMMITTED) else ""
        requests, sign = self._requests, self._session.wallet.digest
        what = f"proposal for {ticket}"
        try:
            body = yield from self._session.send(
                lambda token: requests.propose(what, ticket, told.at_utc_ms, token, timeout_s), what
            )
            first = replies.digest(body, what)
            yield Note(index, f"{ours}; proposal {first}" if ours else f"proposal {first}")
            what = f"endorsement for {ticket}"
            signature = sign(bytes.fromhex(first))
            body = yield from self._session.send(
                lambda token: requests.endorse(what, first, signature, token, timeout_s), what
            )
            second = replies.digest(body, what)
        except Rejected as error:
            return self._refusal(error.said, ours)
        except Said as error:
            if self._says_used(error.said):
                return self._refusal(error.said, ours)
            if isinstance(error, Forbidden):
                raise
            if asked and isinstance(error, Missing):
                return Refused(Verdict.UNKNOWN, replies.shown(error.said))
            # the digest is too old, or the ticket is not there; or the chain stumbles over it
            return Again(str(error), told.doubt, unsent=isinstance(error, Failed) and not ours)
        except NotSent:
            raise
        except Lost as error:
            raise Outage(str(error), error.retry_after_s) from None
        return (yield from self._commit(index, told, ticket, second, ours, timeout_s, asked))

    def _commit(
        self,
        index: int,
        told: Told,
        ticket: TicketName,
        digest: str,
        ours: str,
        timeout_s: float,
        asked: AskKey | None,
    ) -> Flow[Outcome]:
        """The third step. It is sent once, so "already invalidated", of whatever status, was so before."""
        what = f"transaction for {ticket}"
        signature = self._session.wallet.digest(bytes.fromhex(digest))
        yield Note(index, f"{COMMITTED} {digest}")
        if asked and not self._remember(asked, digest):
            yield Note(index, ours)
            raise NoTurn(f"{what}: not sent: the gate waits no longer, and its scan was told of")
        try:
            body = yield from self._session.send(
                lambda token: self._requests.commit(what, digest, signature, token, timeout_s), what
            )
        except Rejected as error:
            return self._refusal(error.said, ours)
        except Said as error:
            if self._says_used(error.said):
                return self._refusal(error.said, ours)
            if isinstance(error, Failed):
                return Again(str(error), doubt=True)
            yield Note(index, ours)
            if isinstance(error, Forbidden):
                raise
            if asked:
                return Refused(Verdict.REFUSED, replies.shown(error.said))
            return Again(str(error), told.doubt)  # the digest is too old: it was not carried out
        except Lost as error:
            return Again(str(error), doubt=True)
        except (Outage, Misconfigured):
            yield Note(index, ours)
            raise
        done = replies.done(body)
        if done.success:
            return Accepted(f"{replies.shown(done.text)}, transaction {digest}")
        # a status that nobody knows may be a success, and that the ticket is invalidated then our own doing
        odd = () if replies.fails(done) else STATE_WORDS
        if done.success is False and self._says_used(done.text, odd):
            return self._refusal(done.text, ours)
        if asked and replies.fails(done):
            return Refused(Verdict.REFUSED, replies.shown(done.text))
        return Again(f"{what}: {replies.shown(done.text)}", doubt=True)  # another one shows what became of it

    def _refusal(self, text: str, ours: str) -> Outcome:
        """What a refusal of the chain means: our own lost transaction, somebody else's, or another no.

        No text of it is published. So another no after a transaction of ours may be that transaction in
        words that nobody knows, and a person has to look.
        """
        used, text = self._says_used(text), replies.shown(text)
        if not ours:
            return Refused(Verdict.USED if used else Verdict.REFUSED, text)
        digest = ours.removeprefix(COMMITTED).partition(";")[0].strip()
        if used:
            return Accepted(f"{text}: by our own transaction {digest}, whose reply was lost")
        return Unsure(f"{text}: perhaps by our own transaction {digest}, whose reply was lost")

    def _says_used(self, text: str, but: Sequence[str] = ()) -> bool:
        return replies.says(text, (word for word in self._set.used_words if word not in but))

    # --- asking about a scan -------------------------------------------------------------------------

    def ask(self, question: Question, kept: Mapping[str, str]) -> Flow[Accepted | Refused]:
        """Invalidate a ticket now, and let in when the chain has it.

        A chain does not see the code. So one that the gate has in no list must be signed, or anybody could
        use up a ticket whose number he guesses; and what a fresh list says of a ticket is heeded, for a step
        cannot be taken back. A way out needs no chain, and a lane inside the house has none.
        """
        ticket = named(question.ticket_id) if question.ticket_id else ticket_of(question.code)
        if ticket is None:
            return Refused(Verdict.UNKNOWN, "no code of B.A.M.")
        key = str(ticket), question.at_utc_ms
        if question.true_utc_ms is not None:
            question = question._replace(at_utc_ms=question.true_utc_ms)
        told = Told(
            question.ticket_id, question.code, question.event, question.session, question.direction,
            question.at_utc_ms, question.gate,
        )  # fmt: skip
        before = self._asks.get(key, "")
        self._remember(key, before)
        if refusal := (yield from self._unfit(question, ticket)):
            return _echo(refusal) if question.again else refusal
        if question.direction is Direction.OUT:
            return Accepted(NO_EXITS)
        timeout_s = min(self._set.chain_timeout_s, self.deadline_ms / 1000 + LATE_S)
        try:
            outcome = yield from self._invalidate(0, told, ticket, timeout_s, key)
        except (Outage, Misconfigured):
            self._remember(key, before)  # no third step of this ask was carried out
            raise
        if isinstance(outcome, Refused):
            self._remember(key, before)
            return _echo(outcome) if question.again else outcome
        if isinstance(outcome, Accepted):
            return outcome
        assert isinstance(outcome, Again), "without a note of an earlier step nothing is unsure"
        raise Lost(outcome.why) if outcome.doubt else Outage(outcome.why)

    def _unfit(self, question: Question, ticket: TicketName) -> Flow[Refused | None]:
        """Why a question does not even come to the chain."""
        if str(ticket.event) != self._set.event:
            return Refused(Verdict.WRONG_EVENT, f"a ticket of event {ticket.event}")
        if question.perimeter is Perimeter.INNER and question.direction is Direction.IN:
            mend = 'B.A.M. knows no inner lanes: give them a route with authority = "gate"'
            return Refused(Verdict.REFUSED, mend, f"a gate asks for an inner lane: {mend}")
        listed = question.listed
        if listed is not None and listed.ticket_id != str(ticket):
            listed = None  # a code that is listed for another ticket than it names
        if not question.ticket_id and listed is None:
            fault = "" if self._keys else (yield from self._read_key())
            if fault:
                return Refused(Verdict.NOT_CONFIGURED, "no key to prove the code with", fault)
            if not is_genuine(question.code, self._keys[self._set.event]):
                return Refused(Verdict.FORGED, "neither listed nor signed for this event")
        entry = question.direction is Direction.IN
        return _standing(listed, question.at_utc_ms) if entry and listed is not None else None

    def _remember(self, key: AskKey, digest: str = "") -> bool:
        """The ask about this scan is under way, or its third step is; false where it may not come to that."""
        with self._lock:
            over = self._asks.pop(key, "") == OVER  # and the last one is forgotten last
            self._asks[key] = OVER if over else digest
            while len(self._asks) > ASKS_KEPT_MAX:
                del self._asks[next(iter(self._asks))]
        return not over

    def _sent(self, told: Told, ticket: str) -> str | None:
        """The third step that was sent for the ask about this scan; `None` where that was not asked here.

        Where none was, none will be: an ask may be under way a moment longer than its gate has waited for it.
        """
        key = ticket, told.at_utc_ms
        with self._lock:
            sent = self._asks.get(key)
            if sent == "":
                self._asks[key] = OVER
        return "" if sent == OVER else sent

    # --- what it cannot do ---------------------------------------------------------------------------

    def configure(self, device: Device) -> Flow[Mapping[str, str]]:
        """Nothing to configure: `devices` is false."""
        raise AssertionError("B.A.M. knows no devices")

    # --- asking --------------------------------------------------------------------------------------

    def _ask(
        self, build: Callable[[str], httpx.Request], what: str, heard: list[httpx.Response] | None = None
    ) -> Flow[object]:
        """Send what has no effect: where its reply is lost, that is an outage and no doubt.

        Raises `Failed` where a reply came that is of no use.
        """
        try:
            return (yield from self._session.send(build, what, heard))
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
