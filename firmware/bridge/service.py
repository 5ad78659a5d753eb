"""Puts a bridge together: ledger, feed, connection and accounts, opened in order and closed in reverse."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from firmware import wire
from firmware.bridge.database import Database
from firmware.bridge.driver import Driver
from firmware.bridge.feed import Feed
from firmware.bridge.ingresse import Ingresse
from firmware.bridge.ledger import Ledger
from firmware.bridge.outbox import Outbox
from firmware.bridge.relay import Relay, subscriptions
from firmware.bridge.settings import AccountSettings, BridgeSettings
from firmware.bridge.vending import Account
from firmware.bridge.work import Faults, Worker
from firmware.mqtt import Line, opened
from firmware.venue_key import venue_key

ANNOUNCE_S = 20.0  # a gate that missed a change hears of it by then, and knows that its list is fresh
TIMES_S = 30.0  # between two looks for admissions whose clock never became trusted
TOLD_MAX = 1_000  # outcomes sent in one turn
REPORTS_MAX = 100  # told in one turn


def now_utc_ms() -> int:
    """The bridge's clock."""
    return time.time_ns() // 1_000_000


class Bridge(NamedTuple):
    """A bridge at work."""

    settings: BridgeSettings
    ledger: Ledger
    feed: Feed
    relay: Relay
    line: Line
    accounts: tuple[Account, ...]
    faults: Faults

    def fault_lines(self) -> list[str]:
        """What is wrong at the moment, a line each."""
        return [*self.faults.now(), *self.line.faults().values()]


def ledger_url(settings: BridgeSettings, data: Path) -> str:
    """Where the ledger is."""
    return settings.ledger or f"sqlite:///{data / 'ledger.db'}"


@contextmanager
def open_bridge(
    settings: BridgeSettings, data: Path, report: Callable[[str], None] = lambda _: None
) -> Iterator[Bridge]:
    """A bridge that works until the block ends. `report` is called with each new report of the ledger.

    The folder holds the venue's key, made where there is none, and the ledger where the settings name no
    other. Raises `LedgerLost`, `KeyUnusable`, `FeedKeyChanged`.
    """
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as stack:
        database = stack.enter_context(Database(ledger_url(settings, data)))
        ledger = Ledger(database, settings.venue, [account.name for account in settings.accounts])
        feed = Feed(database, settings.venue, venue_key(data))
        faults, outbox = Faults(), Outbox()
        for account in set(feed.accounts()) - {account.name for account in settings.accounts}:
            feed.forget(account)
            report(f'account "{account}" is not in the settings any more: its tickets were withdrawn')
        announcing = Worker("announcing", Announcer(settings.venue, feed, ledger, outbox).turn, faults)

        def stored() -> None:
            for account in accounts:
                account.telling.wake()
            reporting.wake()

        relay = Relay(settings.venue, ledger, feed, outbox, faults, now_utc_ms, stored)
        reporting = Worker("reports", Reporter(ledger, report).turn, faults)
        accounts = tuple(
            _account(each, stack, ledger, feed, faults, announcing.wake) for each in settings.accounts
        )
        workers: Sequence[Worker] = (
            relay.storing,
            relay.paging,
            announcing,
            reporting,
            *(worker for account in accounts for worker in (account.telling, account.reading)),
        )
        for worker in workers:
            stack.enter_context(worker)
        brokers = tuple(opened(broker) for broker in settings.brokers)
        name = f"gatepost-bridge-{os.urandom(4).hex()}"
        line = stack.enter_context(Line(brokers, name, subscriptions(settings.venue), relay))
        line.start()
        yield Bridge(settings, ledger, feed, relay, line, accounts, faults)


def _account(
    settings: AccountSettings,
    stack: ExitStack,
    ledger: Ledger,
    feed: Feed,
    faults: Faults,
    changed: Callable[[], None],
) -> Account:
    vendor = Ingresse(settings.vendor)
    driver = stack.enter_context(Driver(settings.name, vendor, settings.rate_max))
    return Account(
        settings.name,
        vendor,
        driver,
        ledger,
        feed,
        faults,
        now_utc_ms,
        told=changed,
        fed=changed,
        worker=f"{os.getpid()}-{os.urandom(4).hex()}",
        poll_s=settings.poll_s,
        whole_every_h=settings.whole_every_h,
    )


class Announcer:
    """Tells gates what is new: changes to all of them, outcomes to the gate of each scan."""

    def __init__(self, venue: str, feed: Feed, ledger: Ledger, outbox: Outbox) -> None:
        self._venue = venue
        self._feed = feed
        self._ledger = ledger
        self._outbox = outbox
        self._upto = feed.head()

    def turn(self) -> float:
        """What is new; else a word that nothing is, so that a gate which missed something asks for it."""
        self._tell_outcomes()
        changes = self._feed.changes(self._upto)
        if changes is None:
            self._announce(self._feed.nothing_new())
            return ANNOUNCE_S
        self._announce(changes)
        return 0.0

    def _announce(self, changes: wire.Changes) -> None:
        """Whoever does not hear it finds a gap in the next one."""
        self._outbox.put(wire.address(wire.CHANGES, self._venue), changes)
        self._upto = changes.upto

    def _tell_outcomes(self) -> None:
        found = sorted(self._ledger.outcomes_to_tell(TOLD_MAX), key=itemgetter(0))
        for gate, those in groupby(found, key=itemgetter(0)):
            waiting = [(outcome, work) for _, outcome, work in those]
            for at in range(0, len(waiting), wire.BATCH_ROWS_MAX):
                part = waiting[at : at + wire.BATCH_ROWS_MAX]
                outcomes = wire.Outcomes(outcomes=tuple(outcome for outcome, _ in part))
                if self._outbox.put(wire.address(wire.OUTCOME, self._venue, gate), outcomes):
                    self._ledger.told([work for _, work in part])


class Reporter:
    """Hands the ledger's new reports to a person, and gives up waiting for what will not come."""

    def __init__(self, ledger: Ledger, report: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._report = report
        self._last = 0
        while known := ledger.reports(self._last, REPORTS_MAX):  # said by those who made them
            self._last = known[-1].id

    def turn(self) -> float:
        """Look for new ones."""
        now_ms = now_utc_ms()
        self._ledger.release_untimed(now_ms)
        self._ledger.release_loose(now_ms)
        found = self._ledger.reports(self._last, REPORTS_MAX)
        for each in found:
            self._last = each.id
            self._report(each.text)
        return 0.0 if len(found) == REPORTS_MAX else TIMES_S
