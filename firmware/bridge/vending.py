"""Works for one vendor account: tells it what the gates saw, and reads its list.

A vendor that is down holds up nothing of another: each account has two threads of its own.
"""

import random
import threading
from collections.abc import Callable, Mapping, Sequence

from firmware.bridge.driver import Driver
from firmware.bridge.feed import Feed, ReadElsewhere
from firmware.bridge.ledger import Claimed, Ledger
from firmware.bridge.tried import Tried
from firmware.bridge.vendor import (
    NOTHING_KEPT,
    Accepted,
    Again,
    Listing,
    LogInRefused,
    Lost,
    Misconfigured,
    Note,
    Outage,
    Outcome,
    Page,
    Refused,
    Told,
    Unsure,
    Vendor,
)
from firmware.bridge.work import Fault, Faults, Wait, Worker
from firmware.core.ticket import Perimeter

# An update with the longest time-out that can be set takes 20 s, and twenty look-ups after it 6 s each; a
# vendor that is slower than that is looked up again by whoever takes the work next.
LEASE_MS = 180_000
AGAINS_MAX = 50  # of one movement that the vendor neither takes nor refuses, in some 4 h: a person must look
# The same where nothing was sent that could count: a person reads of it then, and has to look after a week.
UNSENT_MAX = 2_000
AGAIN_MS_MIN, AGAIN_MS_MAX = 500, 300_000  # before such a movement is sent again, doubled each time
DOUBLINGS_MAX = 10  # of a wait; the longest is reached before
IDLE_S = 5.0  # woken by new rows; this is for what other bridges left behind, and for what may go again
IDLE_S_MIN = 0.1  # a moment of rest, also where another bridge was faster at what may go again
DUE_MAX = 1_000  # times at which something may go again that are remembered; behind them `IDLE_S` is enough
HOUR_MS = 3_600_000
# Rows that are not in the ledger are at a gate only; movements that are not told are safe. So while rows
# wait, a batch is told a second: both share one interpreter and one database.
YIELD_S, YIELD_MS_MAX = 0.02, 1000
# Before a whole list where changes can be read meanwhile: after a start, after one that broke off, and after
# one that lacked some.
WHOLE_AFTER_MS = 600_000

_CHANCE = random.SystemRandom().randint


class Overtaken(Exception):
    """Another one has taken this work meanwhile: nothing more may be sent for it from here."""


class Account:
    """One account at one vendor: `telling` and `reading` are its threads.

    `told` is called after outcomes were stored, with True where a person should look; `fed` after tickets
    were; `found` with what a vendor's first answers say, once. While `rows_wait` says that rows of gates wait
    to be stored, they go first. `kept` is what configuring the device of a gate's perimeter gave, as it held
    at some time. Where a vendor is told by several at once, each is an `Account`, and only the first one
    reads; what they remember together is `tried`.
    """

    def __init__(
        self,
        name: str,
        vendor: Vendor,
        driver: Driver,
        ledger: Ledger,
        feed: Feed,
        faults: Faults,
        now_utc_ms: Callable[[], int],
        told: Callable[[bool], None],
        fed: Callable[[], None],
        found: Callable[[str], None],
        worker: str,
        poll_s: float,
        whole_every_h: int,
        wait: Wait = threading.Event.wait,
        rows_wait: Callable[[], bool] = lambda: False,
        kept: Callable[[str, Perimeter, int], Mapping[str, str]] = lambda _gate, _ring, _ms: NOTHING_KEPT,
        tried: Tried | None = None,
    ) -> None:
        self.name = name
        self._vendor = vendor
        self._driver = driver
        self._ledger = ledger
        self._feed = feed
        self._faults = faults
        self._now_utc_ms = now_utc_ms
        self._told = told
        self._fed = fed
        self._found = found
        self._worker = worker
        self._rows_wait = rows_wait
        self._kept = kept
        self._poll_s = poll_s
        self._whole_every_ms = whole_every_h * HOUR_MS
        self._whole_at_ms = now_utc_ms() + (0 if vendor.compares else WHOLE_AFTER_MS)
        self._probed = False
        self._short = 0  # whole lists in a row that lacked some
        self._tried = tried or Tried()
        self._since: str | None = None  # what this process read last, and the feed has to its end
        # What the vendor said while the ledger was lost. Without it somebody would have to look.
        self._unkept: tuple[Sequence[Claimed], Sequence[Outcome]] | None = None
        self._claimed_ms = 0
        self._due_ms: list[int] = []  # when what was put back may go again, sorted
        self._singly = 0  # pieces of work that are told one by one, because one of them is our undoing
        self.heard_utc_ms = 0
        """When the vendor last answered as it should; 0 for never since the start."""
        self.runs = 0
        """How often its list was read to the end."""
        self.telling = Worker(f"telling {name}", self._tell_turn, faults, wait=wait)
        self.reading = Worker(f"reading {name}", self._read_turn, faults, wait=wait)

    # --- rows to the vendor ------------------------------------------------------------------------

    def _tell_turn(self) -> float:
        """Tell of a batch. Raises what is wrong with the vendor, after the batch was given back."""
        if self._unkept is not None:
            self._keep(*self._unkept)
        now_ms = self._now_utc_ms()
        self._tried.heed(now_ms)
        if self._rows_wait() and 0 <= now_ms - self._claimed_ms < YIELD_MS_MAX:
            return YIELD_S
        self._claimed_ms = now_ms
        most = 1 if self._singly else self._vendor.batch_max
        claimed = self._ledger.claim(self.name, self._worker, now_ms, most, LEASE_MS)
        self._singly = max(0, self._singly - 1)
        if not claimed:
            return self._idle_s(now_ms)
        try:
            outcomes = self._driver.run(
                self._vendor.tell([self._with_device(each.told) for each in claimed]),
                stop=lambda: self.telling.stopping,
                write=lambda note: self._write(claimed[note.at], note),
            )
            assert len(outcomes) == len(claimed), "a vendor has an outcome for each movement"
        except Overtaken:
            self._give_back(claimed, doubt=True)  # the others of this batch; what is another's is left to it
            return 0.0
        except (Outage, Misconfigured) as error:
            rest_ms = round(error.retry_after_s * 1000) if isinstance(error, Outage) else 0
            self._give_back(claimed, doubt=isinstance(error, Lost), rest_ms=rest_ms)
            self._remember_refusal(error)
            raise
        except Exception as error:
            self._unforeseen(claimed, error)
            raise
        self._unkept = claimed, outcomes
        self._keep(claimed, outcomes)
        doubts = [each.why for each in outcomes if isinstance(each, Again) and each.doubt]
        if doubts and all(isinstance(each, Again) for each in outcomes):
            raise Outage(doubts[0])  # it took what we sent, and then nobody was there: leave it alone
        self.heard_utc_ms = self._now_utc_ms()
        return 0.0

    def _write(self, claimed: Claimed, note: Note) -> None:
        if not self._ledger.write(claimed, note.text):
            raise Overtaken(f"{self.name}: work {claimed.work} is another's by now")

    def _with_device(self, told: Told) -> Told:
        return told._replace(kept=self._kept(told.gate, told.perimeter, told.at_utc_ms))

    def _idle_s(self, now_ms: int) -> float:
        """How long there is nothing to do."""
        self._due_ms = [due_ms for due_ms in self._due_ms if due_ms > now_ms]
        left_s = (self._due_ms[0] - now_ms) / 1000 if self._due_ms else IDLE_S
        return min(max(left_s, IDLE_S_MIN), IDLE_S)

    def _remember_refusal(self, error: Exception) -> None:
        if isinstance(error, LogInRefused):
            self._tried.refused(error, self._now_utc_ms())

    def _give_back(self, claimed: Sequence[Claimed], *, doubt: bool, rest_ms: int = 0) -> None:
        """Nothing is known of these. What was in doubt before stays so. This thread pauses anyway."""
        now_ms = self._now_utc_ms()
        for doubtful in (True, False):
            some = [each for each in claimed if (each.told.doubt or doubt) is doubtful]
            if some:
                self._ledger.give_back(some, doubt=doubtful, next_utc_ms=now_ms + rest_ms, now_utc_ms=now_ms)

    def _unforeseen(self, claimed: Sequence[Claimed], error: Exception) -> None:
        """A fault of ours. Where one movement brings it about, the others must get past it."""
        if len(claimed) > 1:
            self._singly = len(claimed)
            self._give_back(claimed, doubt=True)
        else:
            self._keep(claimed, (Again(f"{type(error).__name__}: {error}", doubt=True),))

    def _keep(self, claimed: Sequence[Claimed], outcomes: Sequence[Outcome]) -> None:
        """Store what the vendor said, and put back what it said nothing of."""
        final: list[tuple[Claimed, Accepted | Refused | Unsure]] = []
        again: dict[tuple[bool, int], list[Claimed]] = {}  # by doubt and wait: a transaction for each
        now_ms = self._now_utc_ms()
        for each, outcome in zip(claimed, outcomes, strict=True):
            if not isinstance(outcome, Again):
                final.append((each, outcome))
                continue
            agains = self._tried.again(each.work, outcome.why)
            if agains >= (UNSENT_MAX if outcome.unsent else AGAINS_MAX):
                final.append((each, Unsure(f"not taken after {agains} tries: {outcome.why}")))
            else:
                wait_ms = min(AGAIN_MS_MAX, AGAIN_MS_MIN * 2 ** min(agains - 1, DOUBLINGS_MAX))
                again.setdefault((outcome.doubt, wait_ms), []).append(each)
        for (doubt, wait_ms), those in again.items():
            next_ms = now_ms + _CHANCE(wait_ms // 2, wait_ms)
            self._ledger.give_back(those, doubt=doubt, next_utc_ms=next_ms, now_utc_ms=now_ms)
            self._due_ms = sorted((*self._due_ms, next_ms))[:DUE_MAX]
        reports = self._ledger.finish(final, now_ms) if final else ()
        self._unkept = None
        for each, _ in final:
            self._tried.done(each.work)
        self._say_what_waits()
        if final:
            self._told(bool(reports))

    def _say_what_waits(self) -> None:
        """What goes again for hours is a fault, for as long as it does."""
        thing = f"what {self.name} does not take"
        if waiting := self._tried.waiting(AGAINS_MAX):
            count, last = len(waiting), waiting[-1]
            text = f"{thing}: {count:,} scans go again for hours, the last one {last.tries} times: {last.why}"
            self._faults.set(thing, Fault(thing, "waiting", text))
        else:
            self._faults.clear(thing)

    # --- the vendor's list -------------------------------------------------------------------------

    def _read_turn(self) -> float:
        """Read what changed, unless another bridge does."""
        self._tried.heed(self._now_utc_ms())
        try:
            return self._read()
        except ReadElsewhere:
            return self._poll_s
        except (Outage, Misconfigured) as error:
            self._remember_refusal(error)
            self._feed.leave(self.name)  # another bridge may have a better way to this vendor
            raise

    def _read(self) -> float:
        """Read what changed; now and then, and at first, the whole list."""
        if not self._probed:
            text = self._driver.run(self._vendor.probe(), stop=lambda: self.reading.stopping)
            self._probed = True
            self._found(f"{self.name}: {text}")
        now_ms = self._now_utc_ms()
        since = self._feed.since(self.name)
        compares = self._vendor.compares
        left_ms = self._whole_at_ms - now_ms  # more than ever where the clock was wrong
        if not 0 < left_ms <= self._whole_every_ms or (compares and since != self._since):
            since = ""
        run = self._feed.begin_run(self.name, not since, now_ms)
        if not since:  # one that breaks off is tried again after what changed was read, if that can be
            self._whole_at_ms = now_ms + WHOLE_AFTER_MS

        def take(page: Page) -> None:
            if self._feed.take(run, page.tickets, self._now_utc_ms()):
                self._fed()

        listing = self._driver.run(self._vendor.tickets(since), sink=take, stop=lambda: self.reading.stopping)
        # Without a beginning for what changed, each look is a whole list.
        pause_s = self._poll_s if listing.since or compares else max(self._poll_s, WHOLE_AFTER_MS / 1000)
        if self._feed.finish_run(run, listing, self._now_utc_ms(), round(pause_s * 1000)):
            self._fed()
        doubted = not since and self._feed.doubts(self.name)
        self._since = listing.since if since or (listing.whole and not doubted) else None
        self._heed(listing, whole=not since and not doubted)
        if not since:
            # A list that lacks some takes nobody's ticket away: soon again, but later and later, because
            # a vendor may count what it never lists.
            self._short = 0 if listing.whole else min(self._short + 1, DOUBLINGS_MAX)
            after_ms = WHOLE_AFTER_MS << (self._short - 1) if self._short else self._whole_every_ms
            self._whole_at_ms = now_ms + min(after_ms, self._whole_every_ms)
        self.runs += 1
        self.heard_utc_ms = self._now_utc_ms()
        return pause_s

    def _heed(self, listing: Listing, *, whole: bool) -> None:
        """What was odd about a list is a fault until a whole list has nothing of it, and is believed."""
        thing = f"the list of {self.name}"
        skipped = f"{listing.skipped:,} entries could not be read as tickets" if listing.skipped else ""
        if odd := "; ".join(filter(None, (skipped, listing.text))):
            self._faults.set(thing, Fault(thing, "odd", f"{thing}: {odd}"))
        elif whole:
            self._faults.clear(thing)
