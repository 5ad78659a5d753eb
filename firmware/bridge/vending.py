"""Works for one vendor account: tells it what the gates saw, and reads its list.

A vendor that is down holds up nothing of another: each account has two threads of its own.
"""

import random
from collections.abc import Callable

from firmware.bridge.driver import Driver
from firmware.bridge.feed import Feed
from firmware.bridge.ledger import Claimed, Ledger
from firmware.bridge.vendor import (
    Again,
    Lost,
    Misconfigured,
    Outage,
    Outcome,
    Page,
    Unsure,
    Vendor,
)
from firmware.bridge.work import Faults, Worker

LEASE_MS = 180_000  # the longest call: twenty look-ups of 2 s each after a reply that was lost, three times
ATTEMPTS_MAX = 50  # of one movement that the vendor neither takes nor refuses; then a person must look
AGAIN_MS_MIN, AGAIN_MS_MAX = 500, 300_000  # before such a movement is sent again, doubled each time
IDLE_S = 5.0  # woken by new rows; this is for what other bridges left behind
HOUR_MS = 3_600_000
WHOLE_AFTER_MS = 600_000  # of a start with a list at hand: gates get what changed first


class Account:
    """One account at one vendor: `telling` and `reading` are its threads.

    `told` is called after outcomes were stored, `fed` after tickets were.
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
        told: Callable[[], None],
        fed: Callable[[], None],
        worker: str,
        poll_s: float,
        whole_every_h: int,
    ) -> None:
        self.name = name
        self._vendor = vendor
        self._driver = driver
        self._ledger = ledger
        self._feed = feed
        self._now_utc_ms = now_utc_ms
        self._told = told
        self._fed = fed
        self._worker = worker
        self._poll_s = poll_s
        self._whole_every_ms = whole_every_h * HOUR_MS
        self._whole_at_ms = now_utc_ms() + WHOLE_AFTER_MS
        self.found = ""
        self.runs = 0
        self.telling = Worker(f"telling {name}", self._tell_turn, faults)
        self.reading = Worker(f"reading {name}", self._read_turn, faults)

    # --- rows to the vendor ------------------------------------------------------------------------

    def _tell_turn(self) -> float:
        """Tell of a batch. Raises what is wrong with the vendor, after the batch was given back."""
        now_ms = self._now_utc_ms()
        claimed = self._ledger.claim(self.name, self._worker, now_ms, self._vendor.batch_max, LEASE_MS)
        if not claimed:
            return IDLE_S
        try:
            outcomes = self._driver.run(
                self._vendor.tell([each.told for each in claimed]), stop=lambda: self.telling.stopping
            )
        except (Outage, Misconfigured) as error:
            self._give_back(claimed, doubt=isinstance(error, Lost))
            raise
        except BaseException:
            self._give_back(claimed, doubt=True)
            raise
        self._keep(claimed, outcomes)
        return 0.0

    def _give_back(self, claimed: list[Claimed], *, doubt: bool) -> None:
        """Nothing is known of these. What was in doubt before stays so."""
        now_ms = self._now_utc_ms()
        for doubtful in (True, False):
            some = [each for each in claimed if (each.told.doubt or doubt) is doubtful]
            if some:
                self._ledger.give_back(some, doubt=doubtful, next_utc_ms=now_ms, now_utc_ms=now_ms)

    def _keep(self, claimed: list[Claimed], outcomes: tuple[Outcome, ...]) -> None:
        """Store what the vendor said, and put back what it said nothing of."""
        final = []
        now_ms = self._now_utc_ms()
        for each, outcome in zip(claimed, outcomes, strict=True):
            if not isinstance(outcome, Again):
                final.append((each, outcome))
            elif each.attempts >= ATTEMPTS_MAX:
                final.append((each, Unsure(f"not taken after {each.attempts} tries: {outcome.why}")))
            else:
                wait_ms = min(AGAIN_MS_MAX, AGAIN_MS_MIN * 2 ** min(each.attempts, 20))
                next_ms = now_ms + random.randint(wait_ms // 2, wait_ms)  # noqa: S311  spreads tries
                self._ledger.give_back([each], doubt=outcome.doubt, next_utc_ms=next_ms, now_utc_ms=now_ms)
        if final:
            self._ledger.finish(final, now_ms)
            self._told()

    # --- the vendor's list -------------------------------------------------------------------------

    def _read_turn(self) -> float:
        """Read what changed; now and then, and at first, the whole list."""
        if not self.found:
            self.found = self._driver.run(self._vendor.probe(), stop=lambda: self.reading.stopping)
        now_ms = self._now_utc_ms()
        since = self._feed.since(self.name)
        if now_ms >= self._whole_at_ms or not since:
            since = ""
        run = self._feed.begin_run(self.name, not since, now_ms)

        def take(page: Page) -> None:
            if self._feed.take(run, page.tickets):
                self._fed()

        listing = self._driver.run(self._vendor.tickets(since), sink=take, stop=lambda: self.reading.stopping)
        if self._feed.finish_run(run, listing, self._now_utc_ms()):
            self._fed()
        if not since:
            self._whole_at_ms = now_ms + self._whole_every_ms
        self.runs += 1
        return self._poll_s
