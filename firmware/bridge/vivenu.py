"""vivenu: a synced ticket list down, scans up in arrays.

Written from vivenu's published page of its access control integration and its API description. The bridge
is an "access user" there: one token, and settings of its own (`/me`) that are read with each list and
honoured as far as a gate can: ticket types, kinds of scans, tickets whose details are missing.

Three things follow from what vivenu does not have:

- The list has no entered state. Gates know what gates of this venue did, and nothing of any other door.
- An upload is answered with one word for the whole array, and there is no way to look whether it was carried
  out. Where that word is lost, a person has to look, unless `send_again` says that twice is better.
- Nothing keeps an online scan from being carried out twice, so its reply is lost for good when it is lost.

What is sent is in `firmware.bridge.vivenu_requests`, and what its replies mean in
`firmware.bridge.vivenu_replies`.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import httpx

from firmware.bridge import vendor
from firmware.bridge import vivenu_replies as replies
from firmware.bridge.lenient import date_ms, is_ms
from firmware.bridge.vendor import (
    LATE_S,
    Accepted,
    Again,
    Flow,
    Listing,
    Lost,
    Misconfigured,
    Outage,
    Outcome,
    Page,
    Question,
    Refused,
    Told,
    Unsure,
    VendorTicket,
)
from firmware.bridge.vivenu_call import Call
from firmware.bridge.vivenu_replies import Device, Missing, Rejected
from firmware.bridge.vivenu_requests import DETAILS_REQUIRED, Requests, VivenuSettings, check
from firmware.core.ticket import Choice, Direction, Perimeter, Status, Verdict

PAGES_MAX = 100_000  # of one event: fifty million tickets at the usual size
PASSES_MAX = 3  # through one event's list or changes, where rows moved between pages meanwhile
NAMED_MAX = 20  # known events in a text
LOOKS_MAX = 5  # in one call, for movements whose event nobody named: a batch is not held for longer

# What a ticket that is only looked up is refused for; an online scan has vivenu's own word.
STANDING = {
    Status.CANCELLED: Verdict.CANCELLED,
    Status.REFUNDED: Verdict.REFUNDED,
    Status.BLOCKED: Verdict.BLOCKED,
    Status.UNSOLD: Verdict.NOT_SOLD,
}

LOST = "the reply to the upload was lost, and vivenu has no way to look whether it has the scan"
UNANSWERED = "it was asked, and vivenu has no way to look whether it has spent the ticket"
DOUBT = "it may have been uploaded already, and vivenu has no way to look whether it was"

__all__ = ["Vivenu", "VivenuSettings"]


class Vivenu:
    """One access user at vivenu, as the protocol `Vendor` wants it. Safe to use from several threads."""

    def __init__(self, settings: VivenuSettings) -> None:
        """Raises `ValueError`, which names the setting and the mend."""
        check(settings)
        self._set = settings
        self._requests = Requests(settings)
        self._device: Device | None = None  # as `/me` said last
        self._unlisted: frozenset[str] = frozenset()  # events that the last run through the list did not have
        self._shaken = False  # a reply was lost: the next upload waits until vivenu answers a question
        self.batch_max = settings.batch_size
        self.asks = True
        self.devices = False
        self.deadline_ms = settings.ask_deadline_ms
        self.inner = False
        self.books_exits = False  # whether its online scan can check out is not known
        self.uploads = True
        self.compares = False
        self.signs = False
        self.tellers = 1
        self.keys: Mapping[str, str] = vendor.NOTHING_KEPT

    def secrets(self) -> Sequence[str]:
        """The token."""
        return (self._set.token,)

    # --- what is there -----------------------------------------------------------------------------

    def probe(self) -> Flow[str]:
        """Look who we are, compare the events, count the tickets of each, and say what was found."""
        device, _ = yield from self._me()
        whose = yield from self._seller()
        compared = yield from self._compare_events()
        tickets, missing = 0, dict[str, _NoEvent]()
        for event in self._set.events:
            try:
                page = yield from self._page(_Window(event, 0, 0), 0, 1)
            except _NoEvent as error:
                missing[event] = error
            else:
                tickets += page.total if page.total is not None else len(page.rows)
        self._raise_where_none(missing)
        who = f"access user {device.name}, " if device.name else ""
        text = f"{who}{whose}{len(self._set.events)} events, {tickets} tickets"
        gone = map(str, missing.values())
        return "; ".join((text, *compared, *gone, *self._faults(device), *self._remarks(device)))

    def _seller(self) -> Flow[str]:
        try:
            whose = replies.seller((yield from self._ask(self._requests.seller("seller"), "seller"))[0])
        except (Missing, Rejected):  # of no use but for a person
            return ""
        return f"seller {whose}, " if whose else ""

    def _compare_events(self) -> Flow[Sequence[str]]:
        """What is wrong with the events that are set. The list itself says where one is not to be had."""
        try:
            body, _ = yield from self._ask(self._requests.events("events"), "events")
        except (Missing, Rejected) as error:
            return (f"events were not compared: {error}",)
        found = replies.events(body, "events")
        known = ", ".join(sorted(found)[:NAMED_MAX]) or "none"
        more = f" and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""
        said = [
            f"vivenu has no event {event} for this access user, but {known}{more}"
            for event in self._set.events
            if event not in found
        ]
        if others := len(found.keys() - set(self._set.events)):
            said.append(f"this access user may scan {others} other events too: have vivenu restrict it")
        return said

    def _me(self) -> Flow[tuple[Device, int]]:
        """What vivenu has set for us, and its own time before anything else is asked."""
        try:
            body, at_ms = yield from self._ask(self._requests.me("settings"), "settings")
        except Missing as error:
            device, at_ms = Device(told=False), error.at_ms
        else:
            device = replies.device(body, f"{self._set.name}: settings")
        self._device = device
        return device, at_ms

    def _faults(self, device: Device) -> Iterator[str]:
        """Where vivenu's settings keep people out, or say what no gate can do."""
        for event in self._set.events:
            rule = device.rules.get(event)
            if rule is None and device.restricted and device.listed:
                yield f"vivenu does not let this access user scan event {event}: all its tickets are blocked"
            elif rule is not None and not rule.all_types and not rule.types:
                yield f"vivenu allows no ticket type of event {event}: all its tickets are blocked"
        if not device.check_in:
            yield "vivenu allows this access user no check-in: all tickets are blocked"
        if device.slots:
            become = "are let in at any time" if self._set.slots is Choice.ADMIT else "are blocked"
            around = "".join(
                f" (event {event} from {rule.slot_minutes[0]} minutes before to {rule.slot_minutes[1]} after)"
                for event, rule in device.rules.items()
                if event in self._set.events and any(rule.slot_minutes)
            )
            yield f"vivenu checks time slots{around}, and its list has none: tickets {become} (`slots`)"
        if device.multi is False:
            yield 'vivenu lets a ticket check in once only: set reentry = "none" in the gates\' policy'

    def _remarks(self, device: Device) -> Iterator[str]:
        """What a person should know of vivenu's settings."""
        if not device.told:
            yield "vivenu does not say what is set for this access user, so nothing of that is honoured"
        if not device.check_out:
            yield "vivenu takes no check-outs of this access user, so it is not told of exits"
        if not device.details and DETAILS_REQUIRED in self._set.admit:
            yield "vivenu does not include tickets whose details are missing: they are blocked"
        if device.sync_s is not None:
            yield f"vivenu has its own devices look for changes every {device.sync_s} s (`poll_s`)"

    # --- the list ------------------------------------------------------------------------------------

    def tickets(self, since: str) -> Flow[Listing]:
        """List all events; with the `since` of an earlier run only what was created or changed since then.

        A run reads up to one moment, by vivenu's clock and before its first page, so that a sale meanwhile
        belongs to the next one; the next one begins there, less the overlap. Where vivenu's replies tell no
        time, it begins at the last change that was seen. `since` also has a mark of the settings, ours and
        vivenu's: where they changed the whole list is read.

        An event that vivenu does not have is said, and stops no other. As soon as it is there it is read from
        its beginning; the mark names it too, because only this process remembers it.
        """
        device, until_ms = yield from self._me()
        stamp, _, mark = since.partition(" ")
        same = mark == self._mark(device, self._unlisted) and is_ms(stamp)
        from_ms = int(stamp) if same and (not until_ms or int(stamp) < until_ms) else 0
        overlap_ms = until_ms - self._set.overlap_s * 1000 if until_ms else 0
        skipped, odd, missing = 0, list[str](), dict[str, _NoEvent]()
        newest_ms = from_ms + self._set.overlap_s * 1000 if from_ms else 0
        for event in self._set.events:
            window = _Window(event, 0 if event in self._unlisted else from_ms, until_ms)
            try:
                odd.append((yield from self._window(window, device)))
                skipped += window.skipped
                newest_ms = max(newest_ms, window.newest_ms)
                if overlap_ms and not window.from_ms:
                    # What was changed meanwhile, or just before, may have left the list through its end.
                    odd.append((yield from self._window(_Window(event, overlap_ms, 0), device)))
            except _NoEvent as error:
                missing[event] = error
        self._raise_where_none(missing)
        complete, reached_ms = not any(odd), until_ms or newest_ms
        odd += (*map(str, missing.values()), *self._faults(device))
        if from_ms and not complete:
            following = since  # rows are missing: the next run begins where this one did
        else:
            self._unlisted = frozenset(missing)
            mark = self._mark(device, self._unlisted)
            following = f"{reached_ms - self._set.overlap_s * 1000} {mark}" if reached_ms else ""
        whole = complete and not missing and not from_ms
        return Listing(following, whole, skipped, "; ".join(filter(None, odd)))

    def _raise_where_none(self, missing: Mapping[str, "_NoEvent"]) -> None:
        """Where vivenu has no event of ours at all, nothing was read: that is no list."""
        if len(missing) == len(self._set.events):
            raise next(iter(missing.values()))

    def _window(self, window: "_Window", device: Device) -> Flow[str]:
        """All pages; again where they do not hold as many tickets as vivenu counts. What is missing then.

        Only those count that were seen since vivenu's count last changed. A list that ends at one moment can
        only lose tickets, so while its count stands still it is the same list. Where vivenu does not count,
        it is read until a pass finds no other.
        """
        readings = 0
        while readings < PASSES_MAX:
            readings += 1
            before = len(window.seen)
            settles = yield from self._reading(window, device)
            if window.total is None:
                if window.pages <= 1 or before == len(window.seen):
                    return ""
                continue
            if len(window.seen) + window.skipped >= window.total:
                return ""
            if window.from_ms and settles:
                return ""
            if before and before == len(window.seen):
                break  # it stands still, and still lacks some: another look in a moment finds no more
        count = len(window.seen) if window.total is None else f"{len(window.seen)} of {window.total}"
        return f"event {window.event}: {count} tickets, read {readings} times"

    def _reading(self, window: "_Window", device: Device) -> Flow[bool]:
        """One pass through the pages; whether one through changes needs no other.

        Each page begins after what came, however much that was.
        """
        skip, window.pages, window.skipped = 0, 0, 0
        for _ in range(PAGES_MAX):
            page = yield from self._page(window, skip, self._set.page_size)
            if page.total != window.total:
                window.seen.clear()
                window.total = page.total
            read = (self._ticket(row, window.event, device) for row in page.rows)
            tickets = tuple(filter(None, read))
            window.seen.update(hash(ticket.ticket_id) for ticket in tickets)
            window.skipped += len(page.rows) - len(tickets)
            if page.rows:
                yield Page(tickets, len(page.rows) - len(tickets))
            if not window.until_ms:
                window.newest_ms = max(window.newest_ms, *map(replies.changed_ms, page.rows), 0)
            skip += len(page.rows)
            window.pages += bool(page.rows)
            if not page.rows or (page.total is not None and skip >= page.total):
                # Where there is one page, no row can move to another; and what counts more than it lists up
                # to an empty page counts something else, such as the whole list instead of what changed.
                return window.pages <= 1 or not page.rows
        raise Outage(f"{self._set.name}: event {window.event} has more than {PAGES_MAX} pages")

    def _page(self, window: "_Window", skip: int, size: int) -> Flow[replies.TicketPage]:
        event = window.event
        what = f"tickets of event {event} from {skip} on"
        request = self._requests.list(what, event, skip, size, window.from_ms, window.until_ms)
        try:
            body, _ = yield from self._ask(request, what)
        except Missing as error:
            raise _NoEvent(
                f"{error}: vivenu has no event {event} for this access user: correct [[vendor.event]]"
            ) from None
        return replies.page(body, f"{self._set.name}: {what}")

    def _ticket(self, row: object, event: str, device: Device) -> VendorTicket | None:
        return replies.ticket(row, event, self._set.admit, self._set.slots, device)

    def _mark(self, device: Device, unlisted: frozenset[str]) -> str:
        """Of all that a delta relies on: who changes settings changes what was listed before."""
        rules = sorted((event, rule.all_types, sorted(rule.types)) for event, rule in device.rules.items())
        ours = (self._set.api_url, self._set.events, self._set.admit, str(self._set.slots))
        theirs = (device.restricted and device.listed, rules, device.check_in, device.slots, device.details)
        return hashlib.sha256(repr((ours, theirs, sorted(unlisted))).encode()).hexdigest()[:12]

    # --- one ticket ----------------------------------------------------------------------------------

    def ticket(self, code: str, event: str = "", *, aside: bool = False) -> Flow[VendorTicket]:
        """Look at one ticket, which changes nothing. Raises `Missing` where this access user has none.

        The list's rule is for a check-in that vivenu does not see. Here it need not say a status, and whether
        it allows check-ins is asked where one is made.
        """
        what = "look-up of a ticket"
        if not replies.fit_code(code):
            raise Missing(f"{what}: a barcode that is empty, too long, or no text")
        device = self._device or (yield from self._me())[0]
        request = self._requests.ticket(what, code, event, aside=aside)
        body, _ = yield from self._ask(request, what, code)
        shown = device._replace(check_in=True)
        found = replies.ticket(body, event, (*self._set.admit, ""), self._set.slots, shown)
        if found is None:
            raise Rejected(f"{self._set.name}: {what}: the reply is no ticket")
        return found

    def ask(self, question: Question, kept: Mapping[str, str]) -> Flow[Accepted | Refused]:
        """Have vivenu check a ticket in at once.

        vivenu scans whatever its token may: so the event and the type are looked up first, because a ticket
        that was scanned for another event is burnt. A way out, and an inner lane, are looked up only: an
        online scan has no direction. The way out is uploaded afterwards, and nobody is held inside for what
        a ticket may not do on its way in.
        """
        played = self._played(question)
        event = played[0] if len(played) == 1 else ""
        try:
            found = yield from self.ticket(question.code, event)
        except Missing as error:
            other = (yield from self._elsewhere(question.code, event)) if event else None
            return other or Refused(Verdict.UNKNOWN, str(error))
        except Rejected as error:
            return Refused(Verdict.REFUSED, "vivenu rejects the request", str(error))
        device = self._device
        assert device is not None, "the look-up asked for it"
        if refusal := self._refusal(found, played, question, device):
            return refusal
        if _checks_in(question):
            return (yield from self._scan(question, played))
        if question.direction is Direction.IN and found.status in STANDING:
            return Refused(STANDING[found.status], f"vivenu's list has it as {found.status}")
        return Accepted("found: vivenu's online scan knows neither exits nor inner lanes")

    def _played(self, question: Question) -> Sequence[str]:
        """The events that a ticket may be of: those of ours that the gate lets in, which may be several."""
        let_in = (question.event,) if question.event else question.events
        return let_in if len(let_in) == 1 else [e for e in self._set.events if not let_in or e in let_in]

    def _elsewhere(self, code: str, event: str) -> Flow[Refused | None]:
        """What is no ticket of this event may be one of another: staff should know, if that is had at once.

        It is refused already: no trouble here is one of the ask.
        """
        try:
            found = yield from self.ticket(code, aside=True)
        except (Missing, Misconfigured, Outage):
            return None
        return _of_another(found) if found.event not in ("", event) else None

    def _refusal(
        self, found: VendorTicket, played: Sequence[str], question: Question, device: Device
    ) -> Refused | None:
        """Why a ticket is not even scanned."""
        if found.event not in played:
            return _of_another(found)
        if question.direction is Direction.IN and device.refuses(found.event, found.type):
            return Refused(Verdict.WRONG_TYPE, "vivenu does not let this access user scan its type")
        if _checks_in(question) and not device.check_in:
            return Refused(Verdict.REFUSED, "vivenu allows this access user no check-in")
        return None

    def _scan(self, question: Question, played: Sequence[str]) -> Flow[Accepted | Refused]:
        """The scan itself, of a ticket of these events. What became of it nobody can find out later.

        vivenu has spent what it granted: where that is a ticket of another event after all, a person looks.
        """
        what = "scan of a ticket"
        request = self._requests.scan(what, question.code, self.deadline_ms / 1000 + LATE_S)
        try:
            answer = replies.scanned((yield from self._send(request, what, question.code))[0])
        except Missing as error:
            return Refused(Verdict.UNKNOWN, str(error))
        except Rejected as error:
            return Refused(Verdict.REFUSED, "vivenu rejects the request", str(error))
        if answer.granted is None:
            raise Lost(f"{self._set.name}: {what}: the answer is neither GRANTED nor DENIED")
        if answer.granted and answer.event not in ("", *played):
            return Refused(Verdict.CALL_STAFF, f"granted, for a ticket of event {answer.event}", doubt=True)
        if answer.granted:
            return Accepted("GRANTED")
        verdict, why = replies.denial(answer.status)
        if question.again and verdict is Verdict.REFUSED:
            why = f"{why}; or scanned before by us, when the reply was lost"
            return Refused(Verdict.CALL_STAFF, why, doubt=True)
        return Refused(verdict, why)

    def configure(self, device: vendor.Device) -> Flow[Mapping[str, str]]:
        """Nothing to configure: `devices` is false."""
        raise AssertionError("vivenu knows no devices")

    def trial(self) -> Flow[None]:
        """Read our own settings there."""
        yield from self._me()

    # --- movements -----------------------------------------------------------------------------------

    def tell(self, movements: Sequence[Told]) -> Flow[tuple[Outcome, ...]]:
        """Upload in arrays, by event; where a reply is lost, stop.

        An array's one word goes for all of it. One that is rejected is cut in halves until what vivenu does
        not take stands alone. Raises `Outage` and `Misconfigured` only where nothing at all was sent.
        """
        call = Call(movements)
        try:
            yield from self._anybody()
            yield from self._settle_without(call)
            yield from self._anybody()
            yield from self._upload(call)
        except (Outage, Misconfigured) as error:
            if not call.settled():
                raise
            call.why = str(error)
        return call.result()

    def _anybody(self) -> Flow[None]:
        """Nothing is uploaded to where nobody may be: a question that changes nothing tells."""
        if self._device is None or self._shaken:
            yield from self._me()
            self._shaken = False

    def _settle_without(self, call: Call) -> Flow[None]:
        """What is not to be uploaded, or not now; and the event of each that is."""
        device, looks = self._device, 0
        assert device is not None
        for index, told in enumerate(call.movements):
            if outcome := self._unfit(told, device):
                call.outcomes[index] = outcome
            elif told.code in {other.code for other in call.movements[:index]}:
                call.outcomes[index] = Again("another movement of this code goes first", told.doubt)
            elif event := self._known_event(told):
                call.add(event, index)
            elif looks == LOOKS_MAX:
                call.outcomes[index] = Again("the look-ups of other tickets go first", told.doubt)
            else:
                looks += 1
                try:
                    event = (yield from self.ticket(told.code)).event
                except Missing as error:
                    call.outcomes[index] = Refused(Verdict.UNKNOWN, str(error))
                except Rejected as error:
                    call.outcomes[index] = Refused(Verdict.REFUSED, str(error))
                except Outage as error:  # of this one look perhaps: the others go on, if anybody is there
                    self._shaken = True
                    unsent = not (told.doubt or told.refused)  # a refused one is worth no week of tries
                    call.outcomes[index] = Again(str(error), told.doubt, unsent=unsent)
                else:
                    call.add(event, index)

    def _unfit(self, told: Told, device: Device) -> Outcome | None:
        """Why vivenu is not told of this; `None` where it is."""
        if not replies.fit_code(told.code):
            return _unsure(told, "the barcode cannot be sent: it is empty, too long, or no text")
        if not is_ms(str(told.at_utc_ms)):
            return _unsure(told, f"{told.at_utc_ms} is no time in milliseconds")
        if told.unanswered:
            return Unsure(UNANSWERED)
        if told.doubt and not self._set.send_again:
            return _unsure(told, DOUBT)
        entry = told.direction is Direction.IN
        if device.check_in if entry else device.check_out:
            return None
        what = "check-ins" if entry else "check-outs"
        return Refused(Verdict.REFUSED, f"vivenu takes no {what} of this access user")

    def _known_event(self, told: Told) -> str:
        """The event that a movement is uploaded to. A gate that had the ticket on its list knows it.

        For another code it names one that it lets in, which may be another account's: then it is looked up.
        """
        if told.event and (told.ticket_id or told.event in self._set.events):
            return told.event
        return self._set.events[0] if len(self._set.events) == 1 and not told.event else ""

    def _upload(self, call: Call) -> Flow[None]:
        size = self._set.batch_size
        arrays = deque(
            (event, strange, indices[at : at + size])
            for (event, strange), indices in call.arrays.items()
            for at in range(0, len(indices), size)
        )
        while arrays:
            event, strange, batch = arrays.popleft()
            what = f"upload of {len(batch)} scans of event {event}"
            scans = [call.movements[index] for index in batch]
            request = self._requests.upload(what, event, scans)
            try:
                body, _ = yield from self._send(request, what, *(told.code for told in scans))
                word = replies.uploaded(body, what)
            except Lost as error:
                self._shaken = True
                call.why = str(error)
                for index in batch:
                    lost = _unsure(call.movements[index], f"{LOST}: {error}")
                    call.outcomes[index] = Again(str(error), doubt=True) if self._set.send_again else lost
                return
            except Missing as error:
                if strange:  # of the event or of a code, which is not published: nothing is lost with these
                    call.outcomes.update(dict.fromkeys(batch, Refused(Verdict.UNKNOWN, str(error))))
                    continue
                call.misconfigured = Misconfigured(f"{error}: vivenu has no event {event}: correct the event")
                for index in batch:  # others may do
                    doubt = call.movements[index].doubt
                    call.outcomes[index] = Again(str(call.misconfigured), doubt, unsent=not doubt)
            except Rejected as error:
                half = len(batch) // 2
                if half:  # one of them is to blame
                    arrays.extendleft([(event, strange, batch[half:]), (event, strange, batch[:half])])
                else:
                    call.outcomes[batch[0]] = Refused(Verdict.REFUSED, str(error))
            else:
                call.outcomes.update(dict.fromkeys(batch, Accepted(f"{word}, for an array of {len(batch)}")))
        if call.misconfigured is not None and not call.settled():
            raise call.misconfigured

    # --- asking --------------------------------------------------------------------------------------

    def _ask(self, request: httpx.Request, what: str, *codes: str) -> Flow[tuple[object, int]]:
        """Send what has no effect: where its reply is lost, that is an outage and no doubt."""
        try:
            return (yield from self._send(request, what, *codes))
        except Lost as error:
            why, retry_after_s = str(error), error.retry_after_s
        raise Outage(why, retry_after_s)

    def _send(self, request: httpx.Request, what: str, *codes: str) -> Flow[tuple[object, int]]:
        """What vivenu replies, and the time by its own clock. Its errors go on without these codes."""
        response = yield request
        assert isinstance(response, httpx.Response)
        hidden = (self._set.token, *codes)
        return replies.read(response, f"{self._set.name}: {what}", hidden), date_ms(response)


def _checks_in(question: Question) -> bool:
    """Whether it is a check-in as vivenu means it: an entry into the house."""
    return question.direction is Direction.IN and question.perimeter is Perimeter.OUTER


def _of_another(found: VendorTicket) -> Refused:
    return Refused(Verdict.WRONG_EVENT, f"a ticket of event {found.event}")


def _unsure(told: Told, why: str) -> Unsure | Refused:
    """A person must look; but not for a ticket that was refused, whatever vivenu's books have of it."""
    return Refused(Verdict.REFUSED, f"not let in here; {why}") if told.refused else Unsure(why)


class _NoEvent(Misconfigured):
    """vivenu does not have this event for us. Others may be there."""


class _Window:
    """What is listed of an event: created or changed from then on, and before then; 0 is no bound.

    `seen` are hashes of ids, since `total` last changed: a million of them in some 70 MB. `skipped` could not
    be read, in the last reading of so many `pages` with tickets. `newest_ms` is the last change that was
    seen, where the end is open.
    """

    def __init__(self, event: str, from_ms: int, until_ms: int) -> None:
        self.event = event
        self.from_ms = from_ms
        self.until_ms = until_ms
        self.seen: set[int] = set()
        self.total: int | None = None
        self.skipped = 0
        self.pages = 0
        self.newest_ms = 0
