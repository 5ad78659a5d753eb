"""Asks of one account: a person stands at a lane, and the vendor decides.

Asks go side by side, on threads and connections of their own, so that neither an upload nor the list holds
one up, nor another vendor. An ask is sent once, however often it comes. Its time counts from its arrival; one
whose time is over is not sent any more, but an answer that comes late is told all the same: the gate makes a
credit of it.
"""

import heapq
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from msgspec.structs import replace

from firmware import wire
from firmware.bridge.breaker import Breaker
from firmware.bridge.database import LedgerLost, NeverTaken
from firmware.bridge.driver import Course, Driver
from firmware.bridge.ledger.reports import whole_text
from firmware.bridge.vendor import (
    Accepted,
    LogInRefused,
    Lost,
    Misconfigured,
    NoTurn,
    Outage,
    Question,
    Refused,
    Unreached,
    Vendor,
    VendorTicket,
)
from firmware.bridge.work import Fault, Faults, fault_of
from firmware.core.ticket import Direction, Perimeter, Verdict

# At the same moment: each waits for the vendor on a thread and a connection of its own. A lane asks one at a
# time, and 20 gates of 3 lanes are 60. A vendor that takes 50 ms answers 1,200 a second that way.
ASKS_AT_ONCE = 64
ASKS_WAITING_MAX = 512  # more than the lanes of any venue; with 64 at work these are 0.4 s behind
ANSWERS_KEPT_MAX = 4_096  # for asks that come again: the last minute of a rush, some 1 MB
# Of a gate that comes back, the last answers are sent again: those that it asked for and could not hear. An
# answer comes some 10 s after its ask at most, and four lanes ask once in two seconds each.
AGAIN_MAX = 16
AGAIN_S = 600.0  # whoever was turned away longer ago has long been seen to; a credit is as good, by default
TEXT_CHARACTERS_MAX = 256  # as `wire.Text`
# An ask that had less than this left when it last had its turn tells nothing of a vendor that is silent.
FAIR_S = 0.5
# After a refused log-in, as for the account's other threads: some services lock a user out after a few tries.
LOG_IN_AFTER_S = 300.0
LEDGERLESS_S = 30.0  # a ledger that was lost is not waited for again so soon: a person stands there
IDLE_S = 60.0  # a thread without work for so long ends; the next rush starts it again
STOP_S = 2.0  # for asks under way at the end; the gates hear of no answer, and policy decides
ENDING = "the bridge ends"
NOT_KNOWN = "the bridge does not know yet what this gate has configured"

Key = tuple[str, int, bytes]


class _Waiting(NamedTuple):
    gate: str
    ask: wire.Ask
    until_s: float

    @property
    def key(self) -> Key:
        return self.gate, self.ask.scan, self.ask.digest


class AskCounts(NamedTuple):
    """What this process did: asks that came, were answered in time, late, or not at all."""

    asked: int = 0
    answered: int = 0
    late: int = 0
    unanswered: int = 0


def always(_gate: str, _ask: wire.Ask) -> bool:
    """For a bridge that shares its gates with no other: whatever it has not seen, nobody has."""
    return True


def nothing_listed(_account: str, _question: Question) -> VendorTicket | None:
    """For vendors that decide without a list."""
    return None


class Places(Protocol):
    """The devices of an account, as far as asks need them. Any thread may call."""

    def knows(self, gate: str) -> bool:
        """Whether it is known which of this gate's perimeters are configured."""

    def kept(self, gate: str, perimeter: Perimeter) -> Mapping[str, str] | None:
        """What configuring the device there gave, `None` where it may not ask."""

    def suspect(self, gate: str, perimeter: Perimeter) -> None:
        """The vendor does not understand, or does not know, what this device asks."""


class Asking:
    """Asks of one account at one vendor. A context manager; `take` is for the connection's thread.

    `answer` sends an answer to a gate. `first` tells whether no other bridge has sent this ask, and `listed`
    what the list has of a ticket. With `unreached_only` gates let nobody in unchecked where the vendor fails
    or is silent, only out of its reach.
    """

    def __init__(
        self,
        name: str,
        vendor: Vendor,
        driver: Driver,
        breaker: Breaker,
        faults: Faults,
        answer: Callable[[str, wire.Answer], object],
        places: Places,
        now_utc_ms: Callable[[], int],
        first: Callable[[str, wire.Ask], bool] = always,
        clock: Callable[[], float] = time.monotonic,
        *,
        unreached_only: bool = False,
        listed: Callable[[str, Question], VendorTicket | None] = nothing_listed,
    ) -> None:
        self.name = name
        self.breaker = breaker
        self.unreached_only = unreached_only
        self._vendor = vendor
        self._driver = driver
        self._faults = faults
        self._answer = answer
        self._places = places
        self._now_utc_ms = now_utc_ms
        self._first = first
        self._listed = listed
        self._clock = clock
        self._thing = f"asking {name}"
        self._line = f"the rate of {name}"
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)  # an ask waits, or the end has come
        self._time = threading.Condition(self._lock)  # the watch has to look again
        self._queue: deque[_Waiting] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._closing = False
        self._known: dict[Key, wire.Answer | None] = {}  # `None`: under way
        self._told: deque[tuple[float, str, wire.Answer]] = deque(maxlen=ANSWERS_KEPT_MAX)  # when, and whom
        self._overdue: set[Key] = set()  # under way, and counted as failed
        self._due: list[tuple[float, int, Key, Course]] = []  # when each that is under way becomes overdue
        self._order = count()
        self._ledgerless_until_s = -math.inf
        self._refused: tuple[float, str] | None = None  # until when nobody logs in, and why
        self._counts = AskCounts()
        self._watch = threading.Thread(target=self._watching, name=f"watching {name}", daemon=True)

    @property
    def counts(self) -> AskCounts:
        """So far."""
        return self._counts

    # --- on the connection's thread --------------------------------------------------------------

    def take(self, gate: str, ask: wire.Ask) -> None:
        """An ask came. It is answered by and by, or at once where it cannot be sent."""
        waiting = _Waiting(gate, ask, self._clock() + ask.left_ms / 1000)
        with self._lock:
            if waiting.key in self._known:
                answer = self._known[waiting.key]
            else:
                self._remember(waiting.key)
                self._counts = self._counts._replace(asked=self._counts.asked + 1)
                answer = self._hindered(waiting)
                if answer is None:
                    self._queue.append(waiting)
                    self._staff()
                    return
                self._known[waiting.key] = answer
                self._counts = self._counts._replace(unanswered=self._counts.unanswered + 1)
        if answer is not None:
            self._answer(gate, answer)

    def again(self, gate: str) -> None:
        """A gate has connected: what it may not have heard is told once more. It knows what it has heard."""
        since_s = self._clock() - AGAIN_S
        with self._lock:
            found = [answer for at_s, of, answer in self._told if of == gate and at_s >= since_s]
        for answer in found[-AGAIN_MAX:]:
            self._answer(gate, answer)

    def _hindered(self, waiting: _Waiting) -> wire.Answer | None:
        """Why an ask is not even tried."""
        gate, ask = waiting.gate, waiting.ask
        if self._closing:
            return untried(ask, ENDING)
        if not self._vendor.asks:
            return untried(ask, f"{self.name} cannot be asked")
        if self.breaker.is_open:
            return untried(ask, self.breaker.why, unreached=self.breaker.unreached)
        if not self._places.knows(gate):  # it has just begun: no word of the vendor's
            return untried(ask, NOT_KNOWN)
        if self._places.kept(gate, ask.perimeter) is None:
            text = f"{self.name} has not configured this gate's {ask.perimeter} lanes yet"
            return _answer(ask, wire.Word.REFUSED, text, Verdict.NOT_CONFIGURED)
        if len(self._queue) >= ASKS_WAITING_MAX:
            return _unanswered(ask, "too many asks are waiting")
        return None

    def _remember(self, key: Key) -> None:
        """Under way from now on; the oldest that was answered is forgotten."""
        if len(self._known) >= ANSWERS_KEPT_MAX:
            oldest = next((one for one, answer in self._known.items() if answer is not None), None)
            if oldest is not None:
                del self._known[oldest]
        self._known[key] = None

    def _staff(self) -> None:
        """A thread for each ask that waits, as far as there may be more."""
        if self._idle >= len(self._queue) or len(self._threads) >= ASKS_AT_ONCE:
            self._work.notify()
            return
        thread = threading.Thread(target=self._working, name=f"ask {self.name}", daemon=True)
        self._threads.add(thread)
        thread.start()

    # --- threads ---------------------------------------------------------------------------------

    def _working(self) -> None:
        while (waiting := self._next()) is not None:
            self._one(waiting)

    def _next(self) -> _Waiting | None:
        """The next ask; `None` where there is none for long, or at the end."""
        with self._lock:
            self._idle += 1
            self._work.wait_for(lambda: self._queue or self._closing, IDLE_S)
            self._idle -= 1
            if self._queue and not self._closing:
                return self._queue.popleft()
            self._threads.discard(threading.current_thread())
            return None

    def _one(self, waiting: _Waiting) -> None:
        """Ask, and tell what came of it."""
        gate, ask = waiting.gate, waiting.ask
        try:
            answer = self._ask(waiting)
        except Exception as error:  # a fault of ours: named, and the gate need not wait
            self._faults.set(self._thing, fault_of(self._thing, error))
            answer = _unanswered(ask, f"{type(error).__name__}: a fault of the bridge", doubt=True)
        now_s = self._clock()
        with self._lock:
            self._overdue.discard(waiting.key)
            if answer is None:
                del self._known[waiting.key]
                return
            self._known[waiting.key] = answer
            counts = self._counts
            if answer.word is wire.Word.UNANSWERED:
                self._counts = counts._replace(unanswered=counts.unanswered + 1)
            elif now_s < waiting.until_s:
                self._counts = counts._replace(answered=counts.answered + 1)
            else:
                self._counts = counts._replace(late=counts.late + 1)
            if answer.word is not wire.Word.UNANSWERED:  # which the gate has said to itself by now
                self._told.append((now_s, gate, answer))
        self._answer(gate, answer)

    def _ask(self, waiting: _Waiting) -> wire.Answer | None:
        """The answer; `None` where another bridge has asked, and will answer."""
        gate, ask = waiting.gate, waiting.ask
        kept = self._places.kept(gate, ask.perimeter)
        if self._clock() >= waiting.until_s or kept is None:
            return _unanswered(ask, "its time was over before it could be sent")
        if self._refused is not None and self._clock() < self._refused[0]:
            return _answer(ask, wire.Word.REFUSED, self._refused[1], Verdict.REFUSED)
        if not self._is_first(gate, ask):
            return None
        question = self._question(gate, ask)
        course = Course(self._clock)
        began_s = course.since_s
        self._look_after(waiting, course)
        try:
            said = self._driver.run(
                self._vendor.ask(question, kept),
                stop=lambda: self._closing or self._clock() >= waiting.until_s,
                course=course,
            )
        except Outage as error:
            unreached = isinstance(error, Unreached)
            rests = error.retry_after_s * 1000 >= self._vendor.deadline_ms  # no ask has its turn in time
            if rests or not (isinstance(error, NoTurn) or self._is_overdue(waiting.key)):
                self.breaker.failed(str(error), error.retry_after_s, unreached=unreached, at_once=rests)
            elif unreached:
                self.breaker.out_of_reach()
            if isinstance(error, NoTurn) and math.isinf(course.since_s) and not error.retry_after_s:
                mend = "ask the vendor for more, and raise `ask_rate_max`"
                self._faults.set(self._line, Fault(self._line, "NoTurn", f"{self._line}: {error}: {mend}"))
            return _unanswered(ask, str(error), doubt=isinstance(error, Lost), unreached=unreached)
        except Misconfigured as error:
            if isinstance(error, LogInRefused):
                self._refused = self._clock() + LOG_IN_AFTER_S, str(error)
            self._faults.set(self._thing, fault_of(self._thing, error))
            return _answer(ask, wire.Word.REFUSED, str(error), Verdict.REFUSED)
        # What took no request is no word of the vendor's. But gates ask about no way out either while the
        # breaker is open, and some vendors need none for it: better somebody waits outside than inside.
        if (course.heard or ask.direction is Direction.OUT) and not self._is_overdue(waiting.key):
            self.breaker.answered()
        if course.since_s == began_s:  # there is no line
            self._faults.clear(self._line)
        return self._said(gate, ask, said, course.heard)

    def _question(self, gate: str, ask: wire.Ask) -> Question:
        front, _, ticket_id = ask.ticket_id.partition(":")
        question = Question(
            ask.code,
            ticket_id if front == self.name else "",
            ask.event,
            ask.session,
            ask.direction,
            ask.perimeter,
            ask.at_utc_ms,
            gate,
            ask.again,
            ask.events,
            None if ask.trusted else self._now_utc_ms(),
        )
        if not self._vendor.compares or self._clock() < self._ledgerless_until_s:
            return question
        try:
            return question._replace(listed=self._listed(self.name, question))
        except LedgerLost:
            self._ledgerless_until_s = self._clock() + LEDGERLESS_S
        except NeverTaken:  # so odd a code is in no list
            pass
        return question

    def _said(self, gate: str, ask: wire.Ask, said: Accepted | Refused, heard: bool) -> wire.Answer:
        if heard and (isinstance(said, Accepted) or not said.fault):
            self._faults.clear(self._thing)
        if isinstance(said, Accepted):
            return _answer(ask, wire.Word.ACCEPTED, said.text)
        if said.fault or said.verdict is Verdict.NOT_CONFIGURED:
            self._places.suspect(gate, ask.perimeter)
        if said.fault:
            text = self._driver.masked(said.fault)
            self._faults.set(self._thing, Fault(self._thing, "Refused", f"{self._thing}: {text}"))
        return _answer(ask, wire.Word.REFUSED, said.text, said.verdict, doubt=said.doubt)

    def _is_first(self, gate: str, ask: wire.Ask) -> bool:
        """Whether no other bridge has this ask. Without a ledger to tell, a person matters more."""
        if self._clock() < self._ledgerless_until_s:
            return True
        try:
            return self._first(gate, ask)
        except (LedgerLost, NeverTaken):
            self._ledgerless_until_s = self._clock() + LEDGERLESS_S
            return True

    # --- silence ---------------------------------------------------------------------------------

    def _look_after(self, waiting: _Waiting, course: Course) -> None:
        """Once its time is over, its silence counts, whenever the request itself ends."""
        with self._lock:
            heapq.heappush(self._due, (waiting.until_s, next(self._order), waiting.key, course))
            if self._due[0][2] == waiting.key:
                self._time.notify()

    def _is_overdue(self, key: Key) -> bool:
        return key in self._overdue

    def _watching(self) -> None:
        """Counts silence, and tries a vendor that nobody asks any more."""
        while True:
            with self._lock:
                pause_s = self._pause_s()
                if pause_s > 0 and not self._closing:
                    self._time.wait(pause_s)
                if self._closing:
                    return
                silent = self._silent()
            for _ in range(silent):
                self.breaker.failed(f"{self.name} does not answer in time")
            if self.breaker.trial_in_s() == 0.0:
                self._try()

    def _pause_s(self) -> float:
        """Until something has to be looked at."""
        overdue_s = self._due[0][0] - self._clock() if self._due else math.inf
        trial_s = self.breaker.trial_in_s()
        return min(IDLE_S, overdue_s, math.inf if trial_s is None else trial_s)

    def _silent(self) -> int:
        """How many asks have become overdue; what stands in our own line does not wait for the vendor."""
        silent = 0
        while self._due and self._due[0][0] <= self._clock():
            until_s, _, key, course = heapq.heappop(self._due)
            fair = until_s - course.since_s >= FAIR_S
            if fair and key in self._known and self._known[key] is None:
                self._overdue.add(key)
                silent += 1
        return silent

    def _try(self) -> None:
        """The smallest question there is; an answer in time brings the vendor back."""
        began_s = self._clock()
        why, rest_s, unreached = "", 0.0, False
        try:
            self._driver.run(self._vendor.trial(), stop=lambda: self._closing)
        except Outage as error:
            why, rest_s, unreached = str(error), error.retry_after_s, isinstance(error, Unreached)
        except LogInRefused as error:
            why, rest_s = str(error), LOG_IN_AFTER_S
        except Misconfigured:
            pass  # it answers, and what it says to an ask is a person's matter
        except Exception as error:  # a fault of ours
            why = str(fault_of(self._thing, error).text)
        took_ms = (self._clock() - began_s) * 1000
        if not why and took_ms > self._vendor.deadline_ms:
            why = f"{self.name} answers a trial in {took_ms:.0f} ms"
        self.breaker.tried(why, rest_s, unreached=unreached)

    # --- beginning and end -----------------------------------------------------------------------

    def wake(self) -> None:
        """Something changed that the watch should know of."""
        with self._lock:
            self._time.notify()

    def close(self, limit_s: float = STOP_S) -> None:
        """No further ask is sent, and those that wait hear so; twice is fine."""
        with self._lock:
            self._closing = True
            left = list(self._queue)
            self._queue.clear()
            for waiting in left:
                self._known[waiting.key] = untried(waiting.ask, ENDING)
            self._counts = self._counts._replace(unanswered=self._counts.unanswered + len(left))
            self._work.notify_all()
            self._time.notify()
            threads = [self._watch, *self._threads]
        for waiting in left:
            self._answer(waiting.gate, untried(waiting.ask, ENDING))
        until_s = time.monotonic() + limit_s
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, until_s - time.monotonic()))

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


def _answer(
    ask: wire.Ask, word: wire.Word, text: str, verdict: Verdict | None = None, *, doubt: bool = False,
    unreached: bool = False,
) -> wire.Answer:  # fmt: skip
    return wire.Answer(
        scan=ask.scan,
        digest=ask.digest,
        word=word,
        verdict=verdict,
        text=whole_text(text)[:TEXT_CHARACTERS_MAX],
        doubt=doubt,
        unreached=unreached,
    )


def _unanswered(ask: wire.Ask, why: str, *, doubt: bool = False, unreached: bool = False) -> wire.Answer:
    return _answer(ask, wire.Word.UNANSWERED, why, doubt=doubt, unreached=unreached)


def untried(ask: wire.Ask, why: str, *, unreached: bool = False) -> wire.Answer:
    """Nothing was done for this ask here, so another bridge may have it."""
    return replace(_unanswered(ask, why, unreached=unreached), untried=True)
