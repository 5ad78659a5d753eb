"""Asking vendors through the bridge: what is known of each, and the way of a question and of its answer.

No thread of its own. The loop looks and asks; the line's thread hands answers in, because the uplink's may
wait for the disk while a person stands at the lane; the uplink's thread tells how the vendors are. Nothing
is queued: a question that cannot go out now is answered by policy now.

Each of several bridges has its own way to a vendor, and says how that is. The settings of an account are as
the last word has them; the vendor is there while any bridge of the last `STALE_S` has a way to it. The broker
deals the asks out, also to a bridge that has none. That one has not tried, and says so: it is sent again.

A vendor is not asked while no bridge says that it answers, while nothing was heard from a bridge
for `STALE_S`, and after `SILENT_ASKS` questions in a row without any word back: then one question every
`TRIAL_S` finds out whether somebody is there again.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from firmware import wire
from firmware.asks import ASKS_MAX, Question
from firmware.core.credit import is_unsure
from firmware.core.events import named
from firmware.core.ticket import Direction, Moment, Perimeter, Route, Verdict, WithoutAnswer
from firmware.mqtt import Publication, Session, TooLarge

if TYPE_CHECKING:  # only gates with signed codes need cryptography
    from firmware.proof import EventKeys

STALE_S = 60.0  # the bridge speaks every 20 s: three times missed is gone
SILENT_ASKS = 3  # one may be lost, and two lanes ask at once; each costs a person the whole deadline
TRIAL_S = 5.0  # so that a bridge which is back is found soon, and one person in five seconds waits for it
BRIDGES_MAX = 16  # of one venue that are remembered: more than anybody has
# Of one ask, where a bridge that is cut off hands it back: the broker deals them out in turns, so of two
# bridges the other one has it at once when nobody else asks, and all but one in 64 times in a rush.
SENDS_MAX = 6
DEADLINE_MS = 3000  # where neither the route nor the bridge names one; that of the slowest vendor

NO_BROKER = "no connection to the broker"
NOT_HEARD = "nothing was heard from the bridge yet"
STALE = "nothing was heard from the bridge for a minute"
SILENT = "the bridge did not answer the last questions"
NO_CLOCK = "the clock of this gate is not trusted yet"
NOT_ANSWERING = "the vendor does not answer at present"
NOT_SET_UP = "the bridge has not set this gate up with the vendor yet"

Answer = Callable[[int, Verdict, str, bool, bytes, bool], bool]


class _Sent(NamedTuple):
    question: Question
    until_s: float
    sends: int

    @property
    def account(self) -> str:
        return self.question.ask.vendor


class _Told(NamedTuple):
    """What one bridge said last, and when."""

    accounts: Mapping[str, wire.Account]
    at_s: float


class _Breaker:
    """Questions to one vendor since the last word of any kind."""

    def __init__(self) -> None:
        self.silent = 0
        self.trial_s = 0.0

    def missed(self, now_s: float) -> None:
        """A deadline passed without a word."""
        self.silent += 1
        self.trial_s = max(self.trial_s, now_s + TRIAL_S)

    def holds(self, now_s: float) -> bool:
        """Whether nobody is to be asked now."""
        return self.silent >= SILENT_ASKS and now_s < self.trial_s

    def asked(self, now_s: float) -> None:
        """A question goes out. The next trial has its time."""
        self.trial_s = now_s + TRIAL_S


class Vendors:
    """The vendors of one gate's bridge; `firmware.asks.Link`."""

    def __init__(
        self,
        venue: str,
        gate: str,
        answer: Answer,
        now: Callable[[], float] = time.monotonic,
        keys: "EventKeys | None" = None,
        events: tuple[str, ...] = (),
    ) -> None:
        """`answer` takes what came of an ask, on the line's thread. `events` are let in here, none for any.

        `keys` learn those of the vendors, on the uplink's, where the disk may be waited for.
        """
        self._topic = wire.address(wire.ASK, venue, gate)
        self.answers = wire.address(wire.ANSWER, venue, gate)
        """The topic of the answers."""
        self._answer, self._now, self._keys, self._events = answer, now, keys, events
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._told: Mapping[str, _Told] = {}  # by bridge, the one that spoke last behind
        self._sent: dict[int, _Sent] = {}
        self._heard: dict[int, bytes] = {}  # the last scans that were answered, and the digests of their asks
        self._breakers: dict[str, _Breaker] = {}

    # --- the line's thread ---------------------------------------------------------------------------------

    def connected(self, session: Session) -> None:
        """Questions go out through this session, on which the birth went first. Twice is fine."""
        self._session = session

    def disconnected(self, session: Session) -> None:
        """It is over."""
        if self._session is session:
            self._session = None

    def take_answer(self, payload: bytes) -> bool:
        """What came of an ask. False where the loop is too far behind. Raises `wire.Unfit`.

        The bridge sends the last answers again to a gate that has connected. Once heard is enough.
        """
        answer = wire.decode(payload, wire.Answer)
        with self._lock:
            sent = self._sent.pop(answer.scan, None)
            for account, breaker in self._breakers.items():
                if sent is None or sent.account == account:  # a late one says that the bridge is there
                    breaker.silent = 0
        if self._heard.get(answer.scan) == answer.digest:
            return True
        others = self._said(sent.account, but=answer.bridge) if sent is not None else []
        if sent is not None and any(map(_is_there, others)) and self._sent_again(sent, answer):
            return True
        unreached = answer.unreached and all(each.unreached for each in others)
        verdict = verdict_of(answer)
        if not self._answer(answer.scan, verdict, answer.text, answer.doubt, answer.digest, unreached):
            return False
        if answer.word is not wire.Word.UNANSWERED:  # another bridge may know more
            self._heard[answer.scan] = answer.digest
        while len(self._heard) > ASKS_MAX:
            del self._heard[next(iter(self._heard))]
        return True

    def _sent_again(self, sent: _Sent, answer: wire.Answer) -> bool:
        """Whether an ask that a bridge has not tried is on its way again: another one may have it now."""
        fits = answer.untried and answer.digest == sent.question.digest
        return fits and sent.sends < SENDS_MAX and not self._send(sent.question, sent.sends + 1)

    # --- the uplink's thread -------------------------------------------------------------------------------

    def take(self, vendors: wire.Vendors) -> None:
        """How the vendors are."""
        told, now_s = dict(self._told), self._now()
        told.pop(vendors.bridge, None)
        told[vendors.bridge] = _Told({account.account: account for account in vendors.accounts}, now_s)
        while len(told) > BRIDGES_MAX:
            del told[next(iter(told))]
        self._told = told
        if self._keys is not None:
            self._keys.take(vendors.accounts)

    # --- the loop ------------------------------------------------------------------------------------------

    def look(self, route: Route, perimeter: Perimeter, moment: Moment) -> Route:
        """The route of a scan, with what is known of its vendor at this moment."""
        told = self._told
        deadline_ms, without_answer = route.deadline_ms, route.without_answer
        if not told:  # whether it takes uploads, and knows this gate, is not known either
            return route._replace(
                reachable=False,
                trouble=NOT_HEARD if self._session else NO_BROKER,
                deadline_ms=deadline_ms or DEADLINE_MS,
                without_answer=_without_uploads(without_answer),
            )
        last = list(told.values())[-1]
        account = last.accounts.get(route.vendor)
        if account is None:
            text = f'the bridge has no vendor named "{route.vendor}"'
            return route._replace(configured=False, trouble=text, deadline_ms=deadline_ms or DEADLINE_MS)
        account = self._together(account)
        if not account.uploads:
            without_answer = _without_uploads(without_answer)
        missing = _missing(account, perimeter, moment)
        why = missing or self._unreachable(account, last.at_s)
        if account.unreached_only and why and not (why in (NO_BROKER, STALE) or account.unreached):
            without_answer = _without_uploads(without_answer)  # it fails, or the bridge is silent: no proof
        return route._replace(
            deadline_ms=deadline_ms or account.deadline_ms or DEADLINE_MS,
            without_answer=without_answer,
            configured=not missing,
            reachable=not why,
            trouble=why,
            unreached_only=account.unreached_only,
        )

    def _said(self, account: str, but: str | None = None) -> list[wire.Account]:
        """What the bridges say of an account, without those not heard for long, and all `but` that one."""
        since_s = self._now() - STALE_S
        found = [
            told.accounts.get(account)
            for bridge, told in self._told.items()
            if bridge != but and told.at_s >= since_s
        ]
        return [each for each in found if each is not None]

    def _together(self, account: wire.Account) -> wire.Account:
        """As the last bridge has it, but as reachable as any bridge says; out of reach where all say so."""
        if account.reachable:
            return account
        said = self._said(account.account)
        if any(map(_is_there, said)):
            return replace(account, reachable=True, unreached=False, text="")
        return replace(account, unreached=account.unreached and all(each.unreached for each in said))

    def _unreachable(self, account: wire.Account, heard_s: float) -> str:
        """Why nobody can be asked now; "" where one can."""
        now_s = self._now()
        if self._session is None:
            return NO_BROKER
        if now_s - heard_s > STALE_S:
            return STALE
        if not account.reachable:
            return account.text or NOT_ANSWERING
        with self._lock:
            self._count_silent(now_s)
            breaker = self._breakers.get(account.account)
            return SILENT if breaker is not None and breaker.holds(now_s) else ""

    def _count_silent(self, now_s: float) -> None:
        for scan, sent in list(self._sent.items()):
            if now_s > sent.until_s:
                del self._sent[scan]
                self._breakers[sent.account].missed(now_s)

    def ask(self, question: Question) -> str:
        """Send the question at once, also where rows fill the window."""
        return self._send(question, 1)

    # --- loop and line -------------------------------------------------------------------------------------

    def _send(self, question: Question, sends: int) -> str:
        session, now_s = self._session, self._now()
        if session is None:
            return NO_BROKER
        left_ms = question.ask.until_ms - int(now_s * 1000)
        if left_ms <= 0:
            return "the disk took all the time there was"
        account, scan = question.ask.vendor, question.ask.scan
        with self._lock:  # before it goes out: the answer may be quicker than this thread
            self._breakers.setdefault(account, _Breaker()).asked(now_s)
            self._sent[scan] = _Sent(question, now_s + left_ms / 1000, sends)
        why = ""
        try:
            publication = Publication(self._topic, wire.encode(ask_of(question, left_ms, self._events)))
            if not session.publish(publication, urgent=True):
                why = NO_BROKER
        except TooLarge as error:
            why = str(error)
        if why:
            with self._lock:
                self._sent.pop(scan, None)
        return why


def _without_uploads(policy: WithoutAnswer) -> WithoutAnswer:
    return WithoutAnswer.CLOSED if policy is WithoutAnswer.OPEN_AND_UPLOAD else policy


def _is_there(account: wire.Account) -> bool:
    """Whether the bridge that said this has a way to the vendor."""
    return account.asks and account.reachable


def _missing(account: wire.Account, perimeter: Perimeter, moment: Moment) -> str:
    """What has to be set up before this vendor can be asked; "" for nothing."""
    if not account.asks:
        return account.text or "this vendor cannot be asked"
    if account.clock and not moment.trusted:
        return NO_CLOCK
    if perimeter not in account.configured:
        return account.text or NOT_SET_UP
    return ""


def ask_of(question: Question, left_ms: int, events: tuple[str, ...]) -> wire.Ask:
    """The question as it is sent, at a gate that lets these events in."""
    ask, scan = question.ask, question.scan
    event, session = named(scan)
    return wire.Ask(
        scan=ask.scan,
        digest=question.digest,
        account=ask.vendor,
        code=question.code,
        ticket_id=scan.ticket.ticket_id if scan.ticket else "",
        event=event,
        session=session,
        direction=ask.direction,
        perimeter=question.perimeter,
        at_utc_ms=scan.moment.utc_ms,
        left_ms=min(left_ms, wire.DEADLINE_MS_MAX),
        again=is_unsure(scan),
        events=() if event or ask.direction is Direction.OUT else events,
        trusted=scan.moment.trusted,
    )


def verdict_of(answer: wire.Answer) -> Verdict:
    """What an answer means for the lane. A refusal never admits, whatever verdict stands in it."""
    match answer.word:
        case wire.Word.ACCEPTED:
            return Verdict.ADMITTED
        case wire.Word.UNANSWERED:
            return Verdict.NO_ANSWER
        case _:
            verdict = answer.verdict
            fit = verdict is not None and not verdict.admits and verdict is not Verdict.NO_ANSWER
            return verdict if verdict is not None and fit else Verdict.REFUSED
