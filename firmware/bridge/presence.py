"""Ticketmaster Presence: no list at all; each scan is asked, within 3 s.

Written from Ticketmaster's published pages, whose three revisions contradict each other; what they spell in
two ways is a setting. Each perimeter of a gate is a "scanner" there, configured from the gate's birth message
before it may ask anything.

Three things follow from what Presence does not have:

- There is no list and no published way to check a code without it, so without Presence nobody is let in,
  unless the operator chose to let people in unchecked and to upload that afterwards. That is for times when
  Presence cannot be reached, and for nothing else: a 5xx, a 429 or silence keeps the lanes closed.
- A scan has no key of its own but its time. Where the reply is lost it is sent again with the same time, and
  what Presence then says of a scan made before may be about our own: that is for staff to find out.
- An upload is never refused, so it proves nothing, and there is no way to look whether it was carried out.
  Only where the service says that it is not there at all, the scans are kept for later.

What is sent is in `firmware.bridge.presence_requests`, and what its replies mean in
`firmware.bridge.presence_replies`.
"""

from collections.abc import Mapping, Sequence

import httpx

from firmware.bridge import presence_replies as replies
from firmware.bridge.lenient import CODE_LENGTH_MAX, clean, is_ms
from firmware.bridge.presence_replies import BAD_REQUEST, NOT_FOUND, Said, Unavailable
from firmware.bridge.presence_requests import NOBODY, OKAY, PresenceSettings, Requests, Scan, check, mac_of
from firmware.bridge.vendor import (
    NOTHING_KEPT,
    Accepted,
    Again,
    Device,
    Flow,
    Listing,
    Lost,
    Misconfigured,
    NotSent,
    Outage,
    Outcome,
    Question,
    Refused,
    Told,
    Unreached,
    Unsure,
)
from firmware.core.ticket import Direction, Perimeter, Verdict

SENDS_MAX = 2  # of one scan: a reply that is lost twice leaves too little of 3 s for another
SECRET_LENGTH_MIN = 4  # a shorter text would be masked in the midst of words
LOST_MAX = 10_000  # uploads without a reply that are remembered for `send_again`, some 1 MB

LOST = "the reply to the upload was lost, and Presence has no way to look whether it has the scan"
DOUBT = "Presence was asked and did not answer, so it may have the scan: an upload would make it a second one"
UNANSWERED = "Presence was asked and did not answer, and nobody was let in: it may have the ticket as used"
MALFORMED = (
    "Presence calls this scan malformed and does not take it: compare the account's settings with "
    "Ticketmaster's documents"
)
CLOSED = 'let in without Presence, which is not told of it: `offline` is "closed"'

__all__ = ["Presence", "PresenceSettings"]


class Presence:
    """One venue at Presence, as the protocol `Vendor` wants it. Safe to use from several threads."""

    asks = True
    devices = True
    inner = True
    books_exits = True
    compares = False
    signs = False
    tellers = 1
    keys: Mapping[str, str] = NOTHING_KEPT

    def __init__(self, settings: PresenceSettings) -> None:
        """Raises `ValueError`, which names the setting and the mend."""
        check(settings)
        self._set = settings
        self._requests = Requests(settings)
        self._names: dict[str, str] = {}  # by MAC address, what Presence calls each device's gate
        self._lost: dict[tuple[str, Direction, int], None] = {}  # uploads that may be sent again
        self.batch_max = settings.batch_size
        self.deadline_ms = settings.ask_deadline_ms
        self.uploads = settings.offline == "upload"

    def secrets(self) -> Sequence[str]:
        """The API key, which stands in every URL."""
        return (self._set.key,)

    # --- what is there -----------------------------------------------------------------------------

    def probe(self) -> Flow[str]:
        """Ask for a device that nobody has, which shows whether address, key and venue's name are right."""
        venue = f"venue {self._set.venue}"
        said = yield from self._harmless(self._requests.look("a device that nobody has", NOBODY), "device")
        if said.status == BAD_REQUEST:
            return (
                f"{venue}: Presence rejects a look at a device: {self._hidden(said.words())}: try "
                "`venue_parameter`; scans do not depend on it"
            )
        upload = "is uploaded" if self.uploads else "is reported to a person"
        return f"{venue}; Presence answers, and has no list; what gates let in without it {upload}"

    def tickets(self, since: str) -> Flow[Listing]:
        """There is no list: nothing, and all of it."""
        yield from ()
        return Listing("", True)

    def trial(self) -> Flow[None]:
        """The same look where scans are asked, to hear whether Presence is there again: any answer will do.

        Where that is another service than the devices', its reply to a look says nothing of how it takes
        scans. So there any reply at all will do, and the next scan shows the rest.
        """
        request = self._requests.trial("trial")
        if self._set.ticket_url == self._set.device_url:
            yield from self._harmless(request, "trial")
        else:
            yield request

    # --- devices -------------------------------------------------------------------------------------

    def configure(self, device: Device) -> Flow[Mapping[str, str]]:
        """Configure a scanner. What is kept names it, and all that a change of has it configured anew."""
        where = f"{self._set.name}: gate {device.gate}, {device.perimeter}"
        mac = mac_of(device)
        if not mac:
            raise Misconfigured(f"{where}: the gate tells no MAC address: give it a network card")
        what = f"configuring {device.gate} {device.perimeter}"
        said = yield from self._harmless(self._requests.init(what, device, mac), what)
        if said.status == NOT_FOUND:
            raise Misconfigured(f"{where}: Ticketmaster has no venue {self._set.venue}: correct `venue`")
        if said.status == BAD_REQUEST:
            mend = "ask Ticketmaster which fields it wants, and try `gate_parameter`"
            raise Misconfigured(f"{where}: {self._hidden(said.words())}: {mend}")
        if said.status != OKAY:
            stays = "it is tried again; if it stays so, call Ticketmaster's support"
            raise Outage(f"{where}: {self._hidden(said.words())}: {stays}")
        found = replies.configured(said)
        if not (found.id and found.gate_id):
            raise Outage(f"{where}: Presence says {said.status} and names no id and gateId for the device")
        gate = self._set.gate(device.gate, device.perimeter)
        there = yield from self._name_there(mac, found.id, what)
        name = there or found.gate_name or self._names.get(mac, "")
        if not name and self._set.gate_parameter == "gateId":  # `gate` is a number, and scans want the name
            stays = 'if it stays so, name the gate by `gates` and `gate_parameter = "gateName"`'
            raise Outage(f"{where}: Presence does not say what gate {gate} is called: tried again; {stays}")
        self._names[mac] = name = name or gate
        return {
            "id": found.id,
            "gateId": found.gate_id,
            "gateName": name,
            "venueId": self._set.venue,
            "gate": gate,
            "mac": mac,
            "ip": device.ip,
        }

    def _name_there(self, mac: str, device_id: str, what: str) -> Flow[str]:
        """What Presence calls the gate, "" where it does not say: the look is optional."""
        look = self._requests.look(f"{what}: reading it back", mac, device_id)
        try:
            said = yield from self._send(look, what)
        except (Outage, Misconfigured):
            return ""
        return replies.configured(said).gate_name if said.status == OKAY else ""

    def _usable(self, kept: Mapping[str, str], gate: str, perimeter: Perimeter) -> bool:
        """Whether a device is configured as the settings have it now."""
        now = (self._set.venue, self._set.gate(gate, perimeter))
        return _is_device(kept) and (kept.get("venueId"), kept.get("gate")) == now

    # --- asking --------------------------------------------------------------------------------------

    def ask(self, question: Question, kept: Mapping[str, str]) -> Flow[Accepted | Refused]:
        """Have Presence decide. A reply that is lost has the scan sent again with the same time."""
        if not self._usable(kept, question.gate, question.perimeter):
            return Refused(Verdict.NOT_CONFIGURED, "this gate is not configured at Presence yet")
        if not _fit(question.code):
            return Refused(Verdict.UNREADABLE, "the code cannot be sent: it is empty, too long, or no text")
        if not is_ms(str(question.at_utc_ms)):
            return Refused(Verdict.CLOCK_UNTRUSTED, f"{question.at_utc_ms} is no time in milliseconds")
        scan = Scan(question.code, question.direction, question.at_utc_ms)
        what = f"{question.direction} at {question.gate} {question.perimeter}"
        lost: Lost | None = None
        unsent: NotSent | None = None
        for _ in range(SENDS_MAX):
            try:
                request = self._requests.scan(what, scan, question.perimeter, kept)
                said = yield from self._send(request, what)
            except Lost as error:
                lost = error
            except NotSent as error:
                unsent = error if isinstance(error, Unreached) else unsent or error
            except Outage:
                if lost is None:
                    raise
                break
            except Misconfigured as error:
                again = lost is not None or question.again
                verdict = Verdict.CALL_STAFF if again else Verdict.NOT_CONFIGURED
                text = "the vendor does not let this bridge in"
                return Refused(verdict, text, self._hidden(str(error)), doubt=again)
            else:
                return self._decided(said, question, again=question.again or lost is not None)
        raise lost or unsent or AssertionError("a scan is sent at least once")

    def _decided(self, said: Said, question: Question, *, again: bool) -> Accepted | Refused:
        """What the status means in this direction. `again`: our own scan may have been carried out before."""
        if said.status in self._set.accepts(question.direction, question.perimeter):
            # "okay" is no word that any revision has: it lets people out, and nobody in.
            if question.direction is Direction.OUT or said.raw == said.status:
                return Accepted(self._hidden(replies.accepted(said), question.code))
            said = said._replace(status=" ".join(said.raw.split()))
        meaning, text = said.meaning(), self._hidden(said.words(), question.code)
        echo = again and meaning.ours
        verdict = Verdict.CALL_STAFF if echo else meaning.verdict
        fault = ""
        if said.status == BAD_REQUEST:
            fault = (
                f"{self._set.name}: {text}: Presence calls a scan malformed, so nobody is let in: compare "
                "the account's settings with Ticketmaster's documents"
            )
        return Refused(verdict, text, fault, doubt=echo)

    def _hidden(self, text: str, code: str = "") -> str:
        """A text of theirs without the key, and without the code: those are not for books."""
        for secret in (self._set.key, code):
            if len(secret) >= SECRET_LENGTH_MIN:
                text = text.replace(secret, "***")
        return text

    # --- uploads -------------------------------------------------------------------------------------

    def tell(self, movements: Sequence[Told]) -> Flow[tuple[Outcome, ...]]:
        """Upload what was let in without Presence; never what was refused, or asked and not answered."""
        outcomes: dict[int, Outcome] = {}
        for index, told in enumerate(movements):
            if outcome := self._unfit(told):
                outcomes[index] = outcome
        sendable = [index for index in range(len(movements)) if index not in outcomes]
        arrays = [sendable] if sendable else []
        trouble: Outage | Misconfigured | None = None
        while arrays and trouble is None:
            batch = arrays.pop(0)
            half = len(batch) // 2
            try:
                said = yield from self._upload([movements[index] for index in batch])
            except Lost as error:
                trouble = error
                outcomes.update(
                    {index: self._lost_upload(movements[index], self._hidden(str(error))) for index in batch}
                )
            except (Outage, Misconfigured) as error:
                trouble = error
            else:
                if said.status == OKAY:
                    text = f"{said.status}, for an upload of {len(batch)}: no word on the ticket itself"
                    outcomes.update(dict.fromkeys(batch, Accepted(text)))
                elif half:  # one of them is to blame
                    arrays[:0] = [batch[:half], batch[half:]]
                else:
                    words = self._hidden(said.words(), movements[batch[0]].code)
                    outcomes[batch[0]] = Unsure(f"{MALFORMED}: {words}")  # a refusal would be told nobody
        for index, outcome in outcomes.items():
            self._forget(movements[index], outcome)
        if trouble is not None and not outcomes:
            raise trouble
        why = self._hidden(str(trouble))
        return tuple(outcomes.get(index) or Again(why, told.doubt) for index, told in enumerate(movements))

    def _upload(self, batch: Sequence[Told]) -> Flow[Said]:
        """Upload; whatever is neither a yes nor "malformed" may have been carried out, or in part.

        But for a service that says it is not there (503): who took that for a lost reply would leave each
        scan of a long outage to a person.
        """
        what = f"upload of {len(batch)} scans"
        try:
            said = yield from self._send(self._requests.upload(what, batch), what)
        except Unavailable as error:
            raise Outage(str(error), error.retry_after_s) from None
        if said.status not in (OKAY, BAD_REQUEST):
            raise Lost(f"{self._set.name}: {what}: {self._hidden(said.words())}")
        return said

    def _unfit(self, told: Told) -> Outcome | None:
        """Why Presence is not told of this; `None` where it is."""
        if told.refused:
            return Refused(Verdict.REFUSED, "not let in here; Presence is told of admissions only")
        if told.unanswered:
            return Unsure(UNANSWERED)
        if told.doubt and _key(told) not in self._lost:
            return Unsure(DOUBT)
        if not self.uploads:
            return Unsure(CLOSED)
        if not _fit(told.code):
            return Unsure("the code cannot be sent: it is empty, too long, or no text")
        if not is_ms(str(told.at_utc_ms)):
            return Unsure(f"{told.at_utc_ms} is no time in milliseconds")
        if not _is_device(told.kept):
            return Again("this gate is not configured at Presence yet", told.doubt)
        return None

    def _lost_upload(self, told: Told, why: str) -> Outcome:
        """What becomes of a scan whose upload had no good reply."""
        if not self._set.send_again:
            return Unsure(f"{LOST}: {why}")
        if len(self._lost) >= LOST_MAX:
            self._lost.pop(next(iter(self._lost)), None)
        self._lost[_key(told)] = None
        return Again(why, doubt=True)

    def _forget(self, told: Told, outcome: Outcome) -> None:
        if not isinstance(outcome, Again):
            self._lost.pop(_key(told), None)

    # --- sending -------------------------------------------------------------------------------------

    def _harmless(self, request: httpx.Request, what: str) -> Flow[Said]:
        """Send what may be sent twice: where its reply is lost, that is an outage and no doubt."""
        try:
            return (yield from self._send(request, what))
        except Lost as error:
            why, retry_after_s = str(error), error.retry_after_s
        raise Outage(why, retry_after_s)

    def _send(self, request: httpx.Request, what: str) -> Flow[Said]:
        response = yield request
        assert isinstance(response, httpx.Response)
        return replies.read(response, f"{self._set.name}: {what}")


def _is_device(kept: Mapping[str, str]) -> bool:
    """Whether that names a device of some time: a scan goes up as that of the one that made it."""
    return all(kept.get(name) for name in ("id", "gateId", "gateName", "venueId"))


def _fit(code: str) -> bool:
    """Whether a code can be sent."""
    return 0 < len(code) <= CODE_LENGTH_MAX and clean(code)


def _key(told: Told) -> tuple[str, Direction, int]:
    """What tells a scan from another one of the same ticket."""
    return told.code, told.direction, told.at_utc_ms
