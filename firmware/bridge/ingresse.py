"""Ingresse (Brazil): a synced guest list down, check-ins and check-outs up.

Written from Ingresse's Entry Management tutorial, its reference page of the status update, and what its own
mobile and web clients send and read. What these leave open is a setting, or read leniently: ids and numbers
come as text or number, truth as bool, number or text, and an error may come with HTTP 200.

Tickets that other companies sold come in the same list, marked `external`. Ingresse's call that imports them
is not public, so nothing here imports any.

Ingresse lists codes that are not sold yet, so that a sale at the box office scans while offline. `unsold` has
no default, because nobody but the operator can choose: with `admit` they go down as not sold, and each gate's
own policy decides and records it; with `refuse` they go down as blocked, and no gate lets one in, however it
is set.

How the lists are read is in `firmware.bridge.ingresse_list`, what is sent to Ingresse in
`firmware.bridge.ingresse_requests`, and what its replies mean in `firmware.bridge.ingresse_replies`.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from firmware.bridge import ingresse_replies as replies
from firmware.bridge.ingresse_list import GuestLists, some
from firmware.bridge.ingresse_login import Logins
from firmware.bridge.ingresse_replies import (
    Barred,
    Entry,
    Failed,
    Missing,
    Move,
    NotFound,
    Nothing,
    NoTicket,
    Rejected,
    Said,
    Stand,
)
from firmware.bridge.ingresse_requests import SEARCH, SEARCH_SIZE, IngresseSettings, Requests, check
from firmware.bridge.vendor import (
    LATE_S,
    NOTHING_KEPT,
    Accepted,
    Again,
    Device,
    Flow,
    Listing,
    LogInRefused,
    Lost,
    Misconfigured,
    Outage,
    Outcome,
    Question,
    Refused,
    Told,
    Unsure,
)
from firmware.core.ticket import Direction, Perimeter, Verdict

PROBE_SIZE = 20  # rows of a list that a probe looks at: one alone may be the exception
SEARCH_PAGES_MAX = 20  # a producer with a thousand events
TRIAL_CODE = "gatepost"  # no code of theirs looks so
LOOKS_FAILED_MAX = 2  # in a row: then the vendor is down, and twenty of them would take a minute
REJECTED = "Ingresse rejects the request"

__all__ = ["Ingresse", "IngresseSettings"]


class Ingresse:
    """One account at Ingresse, as the protocol `Vendor` wants it. Safe to use from several threads."""

    def __init__(self, settings: IngresseSettings) -> None:
        """Raises `ValueError`, which names the setting and the mend."""
        check(settings)
        self._set = settings
        self._requests = Requests(settings)
        self._logins = Logins(settings, self._requests)
        self._lists = GuestLists(settings, self._requests, self._logins)
        self._echoes: bool | None = None  # whether it keeps the time that we send, by its last answer
        self.batch_max = settings.batch_size
        self.asks = True
        self.devices = False
        self.deadline_ms = settings.ask_deadline_ms
        self.inner = False
        self.books_exits = True
        self.uploads = True
        self.compares, self.signs, self.keys, self.tellers = False, False, NOTHING_KEPT, 1

    def secrets(self) -> Sequence[str]:
        """Key, tokens, password and e-mail; of tokens also the last few that were replaced."""
        return self._logins.secrets()

    # --- what is there -----------------------------------------------------------------------------

    def probe(self) -> Flow[str]:
        """Log in, find events and sessions, read the first rows of each list, and say what was found."""
        searched = yield from self._search_events()
        tickets, odd = 0, set[str]()
        for event, sessions in self._set.events:
            for session in sessions:
                page = yield from self._lists.page(event, session, 1, PROBE_SIZE, 0, [])
                tickets += page.total if page.total is not None else len(page.rows)
                odd |= replies.oddities(page.rows)
        played = sum(len(sessions) for _, sessions in self._set.events)
        text = f"{len(self._set.events)} events, {played} sessions, {tickets} tickets"
        return "; ".join((text, *searched, *sorted(odd)))

    def _search_events(self) -> Flow[Sequence[str]]:
        """What is wrong with the settings by the producer search, or with the search.

        No trouble of it keeps any list from being read: the list itself says where an event or session is
        not to be had.
        """
        login = self._logins.now or (yield from self._logins.log_in())
        if login is None or not login.jwt:
            return ("no JWT, so the producer search was left out",)
        try:
            found = yield from self._found_events()
        except LogInRefused:  # no list would come either, and another try may lock the account
            raise
        except (Outage, Misconfigured) as error:
            return (f"events and sessions were not compared: {error}",)
        self._lists.unfound = dict(self._compare(found))
        return tuple(dict.fromkeys(self._lists.unfound.values()))  # an event once, whatever its sessions

    def _found_events(self) -> Flow[dict[str, frozenset[str]]]:
        """Sessions by event, as far as needed to find those that are set."""
        found: dict[str, frozenset[str]] = {}
        for page in range(SEARCH_PAGES_MAX):
            build = partial(self._requests.search, page * SEARCH_SIZE)
            hits, total = replies.search((yield from self._logins.ask(build, SEARCH, [])))
            found.update(hits)
            listed = not hits or (total is not None and (page + 1) * SEARCH_SIZE >= total)
            if listed or all(event in found for event, _ in self._set.events):
                break
        return found

    def _compare(self, found: Mapping[str, frozenset[str]]) -> Iterator[tuple[str, str]]:
        """Sessions that are set and were not found, each with what there is instead."""
        for event, sessions in self._set.events:
            for session in sessions:
                if event not in found:
                    yield session, f"the producer search has no event {event}, but {some(found)}"
                elif session not in found[event]:
                    known = some(found[event])
                    yield (
                        session,
                        f"the producer search has no session {session} of event {event}, but {known}",
                    )

    def tickets(self, since: str) -> Flow[Listing]:
        """List what changed since then; with "" everything."""
        return self._lists.tickets(since)

    # --- asking --------------------------------------------------------------------------------------

    def ask(self, question: Question, kept: Mapping[str, str]) -> Flow[Accepted | Refused]:
        """Move the ticket now, as an update of one; what Ingresse says is the answer.

        It knows no inner lanes: a way in there is one into the house, which may have been made before, and a
        way out there is looked up only. Where the reply was lost, a look tells what became of it. "Already in
        that state" may be of an earlier ask without an answer, unless Ingresse names somebody else.
        """
        told = self._told(question)
        if why := self._requests.unfit(told):
            return Refused(Verdict.UNLISTED, why)
        unsaid, self._logins.unsaid = self._logins.unsaid, None
        if unsaid is not None:
            raise unsaid
        call = _Call([told], asks=True)
        inner = question.perimeter is Perimeter.INNER
        if inner and question.direction is Direction.OUT:
            return (yield from self._inside(told))
        what = "update of a ticket"
        build = partial(
            self._requests.update,
            what,
            self._requests.event(told),
            [told],
            timeout_s=self.deadline_ms / 1000 + LATE_S,
        )
        stamps_ms: list[int] = []
        try:
            body = yield from self._logins.ask(build, what, stamps_ms, [told.code])
            entries = replies.updated(body, what)
            if told.code not in entries:
                raise Said(f"{self._set.name}: {what}: no answer for it")
        except Nothing:
            return self._no_ticket()
        except Rejected as error:
            return Refused(Verdict.REFUSED, REJECTED, str(error))
        except Said as error:
            return (yield from self._after_error(call, told, error))
        except Lost as error:
            return (yield from self._after(call, told, error))
        entry = entries[told.code]
        if entry.status is None:  # like any other that is not known, but it may have been carried out
            fault = f"{self._set.name}: {what}: its status cannot be read"
            return Refused(Verdict.CALL_STAFF, "its status cannot be read", fault, doubt=True)
        if inner and entry.status == 3:
            return Accepted("status 3: it is inside")
        if entry.status == 0:  # nothing was carried out, and another scan may do
            return Refused(Verdict.REFUSED, "not executed (status 0): scan again")
        outcome = yield from self._judge(call, told, entry, stamps_ms[-1])
        echo = told.doubt and entry.status == 3 and not self._of_somebody_else(call.last)
        if isinstance(outcome, Accepted) or (isinstance(outcome, Refused) and not echo):
            return outcome
        why = outcome.text if isinstance(outcome, Refused) else outcome.why
        verdict = Verdict.USED if told.direction is Direction.IN else Verdict.NOT_INSIDE
        return Refused(Verdict.CALL_STAFF if echo else verdict, why, call.fault, doubt=echo)

    def _told(self, question: Question) -> Told:
        """The question as a movement, at a time that is true, whatever the gate's clock says."""
        at_utc_ms = question.at_utc_ms if question.true_utc_ms is None else question.true_utc_ms
        told = Told(
            question.ticket_id, question.code, question.event, question.session, question.direction,
            at_utc_ms, question.gate, question.again,
        )  # fmt: skip
        return self._requests.placed(told)

    def _after(self, call: "_Call", told: Told, lost: Lost) -> Flow[Accepted | Refused]:
        """The reply was lost: what a look finds, as far as there is time for one.

        Where Ingresse said nothing at all it may still be at it, so that a look which finds nothing yet is no
        proof.
        """
        found = yield from self._look(call, told._replace(doubt=True))
        if isinstance(found, Accepted):
            return found
        if found is Stand.BEFORE and isinstance(lost, Failed):
            raise Outage(f"{lost}; a look shows that it was not carried out", lost.retry_after_s)
        raise lost

    def _after_error(self, call: "_Call", told: Told, said: Said) -> Flow[Accepted | Refused]:
        """It answered, with an error, which is no outage: refused, unless a look finds it carried out.

        Where no look settles that, staff sees to the person, and it is looked up once more later.
        """
        found = yield from self._look(call, told._replace(doubt=True))
        if isinstance(found, Accepted):
            return found
        sure = found in (Stand.BEFORE, Stand.THERE)
        verdict = Verdict.REFUSED if sure else Verdict.CALL_STAFF
        fault = "; ".join(filter(None, (str(said), call.fault)))
        return Refused(verdict, "Ingresse answers with an error", fault, doubt=not sure)

    def _no_ticket(self) -> Refused:
        """As status 2 of an update."""
        return Refused(self._set.status_map.get(2, Verdict.UNKNOWN), "Ingresse has no such ticket")

    def _inside(self, told: Told) -> Flow[Accepted | Refused]:
        """Whether Ingresse has it inside, which changes nothing."""
        what = "look-up of a ticket"
        build = partial(self._requests.look, what, told.code)
        try:
            body = yield from self._logins.ask(build, what, [], [told.code])
            last = replies.looked(body, told.session, what)
        except (Missing, NotFound):
            return self._no_ticket()
        except (Rejected, Said) as error:
            return Refused(Verdict.REFUSED, REJECTED, str(error))
        if last is None or last.direction is Direction.OUT:
            return Refused(Verdict.NOT_INSIDE, "not inside, as Ingresse has it")
        return Accepted("inside, as Ingresse has it")

    def configure(self, device: Device) -> Flow[Mapping[str, str]]:
        """Nothing to configure: `devices` is false."""
        raise AssertionError("Ingresse knows no devices")

    def trial(self) -> Flow[None]:
        """Look up a code that nobody has."""
        what = "trial"
        try:
            yield from self._logins.ask(partial(self._requests.look, what, TRIAL_CODE), what, [])
        except (Rejected, Said):  # such as that there is none, also with HTTP 200: it answers
            return

    # --- movements -----------------------------------------------------------------------------------

    def tell(self, movements: Sequence[Told]) -> Flow[tuple[Outcome, ...]]:
        """Look where there is doubt, send the rest in batches, look again where a reply was lost.

        Raises `Outage` and `Misconfigured` only where nothing at all was sent.
        """
        call = _Call([self._requests.placed(told) for told in movements])
        for index, told in enumerate(call.movements):
            if told.unanswered:
                call.outcomes[index] = yield from self._unanswered(call, told)
            elif why := self._requests.unfit(told):
                call.outcomes[index] = Unsure(why)
            elif told.code in {other.code for other in movements[:index]}:
                call.outcomes[index] = Again("another movement of this code goes first", told.doubt)
        try:
            yield from self._look_first(call)
            yield from self._send(call)
        except (Outage, Misconfigured) as error:
            if not call.settled():
                raise
            call.why = str(error)
        return call.result()

    def _look_first(self, call: "_Call") -> Flow[None]:
        """Settle what was told already. Raises `Outage` where the vendor is down."""
        for index, told in enumerate(call.movements):
            if told.doubt and index not in call.outcomes:
                found = yield from self._look(call, told)
                if isinstance(found, Stand):
                    call.cleared.add(index)
                else:
                    call.outcomes[index] = found
        if call.down is not None and not call.settled():
            raise call.down

    def _send(self, call: "_Call") -> Flow[None]:
        batches = deque(self._batches(call))
        while batches:
            event, batch = batches.popleft()
            what = f"update of {len(batch)} tickets of event {event}"
            movements = [call.movements[index] for index in batch]
            build = partial(self._requests.update, what, event, movements)
            codes = [told.code for told in movements]
            stamps_ms: list[int] = []
            try:
                entries = replies.updated((yield from self._logins.ask(build, what, stamps_ms, codes)), what)
            except Rejected as error:
                if len(batch) > 1:  # one of them may be to blame: each for itself
                    batches.extendleft((event, [index]) for index in reversed(batch))
                    continue
                if isinstance(error, NoTicket):
                    call.outcomes[batch[0]] = self._no_ticket()
                    continue
                call.rejected = error
                call.outcomes[batch[0]] = Again(str(error), unsent=isinstance(error, Barred))
            except Lost as error:
                call.sent = True
                call.outcomes.update((index, Again(str(error), doubt=True)) for index in batch)
                yield from self._look_after(call, batch, error)
                if isinstance(error, Failed) and len(batch) > 1:  # as above, but of those not carried out
                    batches.extendleft((event, [index]) for index in reversed(batch) if call.free(index))
            else:
                call.sent = True
                call.outcomes.update(
                    (index, Again(f"{what}: no answer for it", doubt=True)) for index in batch
                )
                for index in batch:
                    told = call.movements[index]
                    if told.code in entries:
                        found = yield from self._judge(call, told, entries[told.code], stamps_ms[-1])
                        if isinstance(found, Refused) and found.fault:
                            found = Unsure(found.fault)  # the ledger reports these alone to a person
                        call.outcomes[index] = found
        if call.rejected is not None and not call.settled():
            raise call.rejected

    def _unanswered(self, call: "_Call", told: Told) -> Flow[Outcome]:
        """What became of an ask whose answer nobody heard. One that was spent for nothing is `Unsure`."""
        if why := self._requests.unfit(told):
            return Refused(Verdict.UNLISTED, why)
        found = yield from self._look(call, told._replace(doubt=True))
        if isinstance(found, Accepted) or found is Stand.UNCLEAR:
            perhaps = ", maybe for us" if found is Stand.UNCLEAR else ""
            return Unsure(
                "it was asked, no answer came, nobody was let in, and Ingresse has moved the ticket" + perhaps
            )
        if isinstance(found, Stand):
            return Refused(Verdict.NO_ANSWER, "it was asked, and a look shows that it was not carried out")
        return found

    def _batches(self, call: "_Call") -> Iterator[tuple[str, list[int]]]:
        """What is to be sent: by event, because that is in the address."""
        by_event: dict[str, list[int]] = {}
        for index, told in enumerate(call.movements):
            if index not in call.outcomes:
                by_event.setdefault(self._requests.event(told), []).append(index)
        for event, indices in by_event.items():
            for start in range(0, len(indices), self._set.batch_size):
                yield event, indices[start : start + self._set.batch_size]

    def _look_after(self, call: "_Call", batch: Sequence[int], lost: Lost) -> Flow[None]:
        """The reply was lost: find out what became of each.

        What is not carried out stays in doubt where Ingresse said nothing at all, for it may still be at it.
        """
        for index in batch:
            found = yield from self._look(call, call.movements[index]._replace(doubt=True))
            if found is Stand.BEFORE:
                doubt = not isinstance(lost, Failed)
                yet = ", or not yet" if doubt else ""
                call.outcomes[index] = Again(
                    f"the update was lost; the look-up shows that it was not carried out{yet}", doubt
                )
            elif isinstance(found, Stand):
                call.outcomes[index] = Again(
                    "the update was lost; another one may have been first", doubt=True
                )
            else:
                call.outcomes[index] = found

    def _judge(self, call: "_Call", told: Told, entry: Entry, now_ms: int) -> Flow[Outcome]:
        """What one answer to an update means."""
        status, text = entry.status, f"status {entry.status}"
        if status is None:
            return Again("the answer has no status that can be read", doubt=True)
        if status == 1:
            if told.direction is Direction.IN and entry.last is not None and told.at_utc_ms % 1000:
                self._echoes = entry.last.at_ms == told.at_utc_ms
            return Accepted(text)
        if status == 0:
            return Again("not executed (status 0)")
        if status == 3:
            return (yield from self._already(call, told, entry.last, now_ms))
        fault = ""
        if status == 5:
            text = fault = "status 5: Ingresse found no session in the request, which had one: report this"
        return Refused(self._set.status_map.get(status, Verdict.REFUSED), text, fault)

    def _already(self, call: "_Call", told: Told, last: Move | None, now_ms: int) -> Flow[Outcome]:
        """Already in that state: by our own update, whose reply was lost, or by somebody else."""
        at_ms, mine, call.last = 0, None, last
        if last is not None and last.at_ms is not None and (last.direction or Direction.IN) is told.direction:
            at_ms, mine = last.at_ms, self._ours(last, told, now_ms)
        if mine:
            return Accepted("status 3, of our own earlier update")
        if mine is None:
            found = yield from self._look(call, told)
            if isinstance(found, Accepted | Again):
                return found
            somebody = found is Stand.THERE or (found is Stand.BEFORE and told.direction is Direction.OUT)
            if told.doubt and not somebody:
                return Unsure(
                    "status 3, maybe of our own update whose reply was lost: Ingresse does not say whose"
                )
        verdict = Verdict.USED if told.direction is Direction.IN else Verdict.NOT_INSIDE
        return Refused(verdict, f"status 3, last moved at {at_ms} ms" if at_ms else "status 3")

    def _look(self, call: "_Call", told: Told) -> Flow["Outcome | Stand"]:
        """Ask where a ticket is, which changes nothing: an outcome where it settles the matter.

        A look-up that fails is `Again` with doubt; after some in a row no more are sent. One that we may not
        make at all says nothing of updates: neither that they are barred, nor what became of one.
        """
        if call.failed >= LOOKS_FAILED_MAX:
            return Again("look-ups are out of order", doubt=True)
        what = "look-up of a ticket"
        build = partial(self._requests.look, what, told.code)
        stamps_ms: list[int] = []
        try:
            body = yield from self._logins.ask(build, what, stamps_ms, [told.code])
            last = replies.looked(body, told.session, what)
        except (Missing, NotFound):  # nor would a code that was changed since be found, or what it did before
            return Unsure("Ingresse does not know this code, or not any more, so it does not say what it did")
        except (Failed, Rejected) as error:  # of this one code; others may do
            return Again(str(error), doubt=True)
        except Outage as error:
            call.failed += 1
            call.down = Outage(str(error), error.retry_after_s)
            return Again(str(error), doubt=True)
        except Misconfigured as error:
            if isinstance(error, LogInRefused):
                if not call.asks:
                    raise
                self._logins.unsaid = error
            call.failed += 1
            call.rejected = error
            return Again(str(error), doubt=True)
        call.failed = 0
        call.down = None
        call.last = last or call.last
        if last is None:
            return Stand.BEFORE
        mine = self._ours(last, told, stamps_ms[-1])
        if mine and last.direction:
            return Accepted("found by look-up")
        if last.direction is told.direction or (last.direction is None and told.direction is Direction.IN):
            return Stand.THERE if mine is False else Stand.UNCLEAR
        if last.at_ms is not None and last.at_ms <= told.at_utc_ms:
            return Stand.BEFORE
        return Unsure(
            "Ingresse knows of a later movement the other way; it may have followed this one, or not"
        )

    def _ours(self, last: Move, told: Told, now_ms: int) -> bool | None:
        return replies.ours(last, told, self._logins.now, self._set.email, now_ms, self._echoes)

    def _of_somebody_else(self, last: Move | None) -> bool:
        return last is not None and replies.is_us(last.operator, self._logins.now, self._set.email) is False


class _Call:
    """One call of `tell`, or of an ask: what is settled of it so far."""

    def __init__(self, movements: Sequence[Told], *, asks: bool = False) -> None:
        self.movements = movements
        self.asks = asks
        self.outcomes: dict[int, Outcome] = {}
        self.cleared: set[int] = set()  # looked up, and free to be sent
        self.sent = False
        self.failed = 0  # look-ups in a row
        self.down: Outage | None = None
        self.rejected: Misconfigured | None = None
        self.last: Move | None = None  # the newest that Ingresse has told of
        self.why = ""

    @property
    def fault(self) -> str:
        """What a person has to mend; "" for nothing."""
        return str(self.rejected or "")

    def settled(self) -> bool:
        """Whether there is anything to say: else the caller had better hear of the trouble itself."""
        return self.sent or any(isinstance(one, Accepted | Refused) for one in self.outcomes.values())

    def free(self, index: int) -> bool:
        """Whether it was certainly not carried out."""
        outcome = self.outcomes[index]
        return isinstance(outcome, Again) and not outcome.doubt

    def result(self) -> tuple[Outcome, ...]:
        """An outcome for each, in order; those that were not reached may go again."""
        return tuple(
            self.outcomes.get(index) or Again(self.why, told.doubt and index not in self.cleared)
            for index, told in enumerate(self.movements)
        )
