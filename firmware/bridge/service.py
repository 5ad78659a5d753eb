"""Puts a bridge together: ledger, feed, connection and accounts, opened in order and closed in reverse."""

import hashlib
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from firmware import wire
from firmware.bridge.ask_line import AskLine, ask_subscriptions
from firmware.bridge.asking import AskCounts
from firmware.bridge.asks import Asks
from firmware.bridge.bam import Bam, BamSettings
from firmware.bridge.database import Database
from firmware.bridge.driver import CONNECTIONS_MAX, Driver
from firmware.bridge.feed import ANNOUNCE_MS, Feed
from firmware.bridge.gates import Gates
from firmware.bridge.ingresse import Ingresse, IngresseSettings
from firmware.bridge.ledger import Counts, Ledger
from firmware.bridge.ledger.asked_once import AskedOnce
from firmware.bridge.ledger.configured import Configured
from firmware.bridge.listed import ListedTickets
from firmware.bridge.oddities import Oddity
from firmware.bridge.outbox import Outbox
from firmware.bridge.peers import Peers, name_of, new_life, told_as
from firmware.bridge.presence import Presence, PresenceSettings
from firmware.bridge.relay import Relay, subscriptions
from firmware.bridge.settings import AccountSettings, BridgeSettings
from firmware.bridge.states import group_secret
from firmware.bridge.tried import Tried
from firmware.bridge.vending import Account
from firmware.bridge.vendor import Vendor
from firmware.bridge.vivenu import Vivenu, VivenuSettings
from firmware.bridge.work import Fault, Faults, Wait, Worker, at_work
from firmware.hold import hold
from firmware.mqtt import PACE, Broker, Line, Pace, opened
from firmware.venue_key import KeyUnusable, keys_of, venue_key

ANNOUNCE_S = ANNOUNCE_MS / 1000
LOOK_S = 30.0  # between two looks for rows and times that will not come, and for the sums of the ledger
TOLD_MAX = 1_000  # outcomes sent in one turn
OUTCOMES_MAX = 50  # in one message: with 256 characters of 4 bytes in each they still fit
REPORTS_MAX = 100  # told in one turn
OTHER = "another bridge works on this folder"  # two would read one vendor's list against each other
UNKNOWN_ACCOUNTS = "accounts that are not in the settings"


def now_utc_ms() -> int:
    """The bridge's clock."""
    return time.time_ns() // 1_000_000


class AccountHealth(NamedTuple):
    """How an account is. `backlog`: by state, as the ledger had it at the last look.

    `heard_utc_ms`: when the vendor last answered as it should, 0 for never; `runs`: lists read to the end.
    `asks`: what became of those that came to this process; `reachable`: whether it is worth asking now.
    """

    name: str
    backlog: Mapping[str, int]
    heard_utc_ms: int
    runs: int
    asks: AskCounts
    reachable: bool


class Health(NamedTuple):
    """How a bridge is, for those who watch: taken from memory, so that asking costs nothing.

    `counts` are those of the ledger at `counted_utc_ms`, at most `LOOK_S` ago while the ledger works.
    `rows` are new ones that this process stored; `gates` when each gate last sent something.
    """

    broker: str
    connections: int
    counts: Counts
    counted_utc_ms: int
    rows: int
    gates: Mapping[str, int]
    accounts: tuple[AccountHealth, ...]
    faults: tuple[Fault, ...]
    odd: Mapping[tuple[str, str], Oddity]
    dropped: int


class Bridge(NamedTuple):
    """A bridge at work."""

    settings: BridgeSettings
    relay: Relay
    outbox: Outbox
    line: Line
    accounts: tuple[Account, ...]
    clerk: "Clerk"
    parts: Faults
    asks: Asks
    ask_line: Line

    def faults(self) -> list[Fault]:
        """What is wrong at the moment, one for each thing."""
        lines = {**self.ask_line.faults(), **self.line.faults()}  # of one broker mostly, and of one cause
        return [*self.parts.now(), *(Fault(thing, text, text) for thing, text in lines.items())]

    def health(self) -> Health:
        """How it is at the moment."""
        line, counts, asked = self.line.health, self.clerk.counts, self.asks.counts()
        return Health(
            broker=line.broker.name if line.broker else "",
            connections=line.connections,
            counts=counts,
            counted_utc_ms=self.clerk.counted_utc_ms,
            rows=self.relay.rows,
            gates=self.relay.heard_utc_ms(),
            accounts=tuple(
                AccountHealth(
                    account.name,
                    {state: n for (of, state), n in counts.work.items() if of == account.name},
                    account.heard_utc_ms,
                    account.runs,
                    asked.get(account.name, AskCounts()),
                    self.asks.reachable(account.name),
                )
                for account in self.accounts
            ),
            faults=tuple(self.faults()),
            odd=self.relay.odd.counts(),
            dropped=self.outbox.dropped + self.asks.outbox.dropped,
        )


def ledger_url(settings: BridgeSettings, data: Path) -> str:
    """Where the ledger is."""
    return settings.ledger or f"sqlite:///{data / 'ledger.db'}"


def vendor_of(settings: AccountSettings) -> Vendor:
    """The vendor of an account, by its kind."""
    match settings.vendor:
        case IngresseSettings():
            return Ingresse(settings.vendor)
        case VivenuSettings():
            return Vivenu(settings.vendor)
        case PresenceSettings():
            return Presence(settings.vendor)
        case BamSettings():
            return Bam(settings.vendor)


def mark_of(settings: AccountSettings) -> str:
    """Stands for all that a vendor's file is told, and tells nothing of it."""
    return hashlib.sha256(repr(settings.vendor).encode()).hexdigest()[:12]


@contextmanager
def open_bridge(
    settings: BridgeSettings,
    data: Path,
    say: Callable[[str], None] = lambda _: None,
    pace: Pace = PACE,
    vendor: Callable[[AccountSettings], Vendor] = vendor_of,
    now_utc_ms: Callable[[], int] = now_utc_ms,
    wait: Wait = threading.Event.wait,
) -> Iterator[Bridge]:
    """A bridge that works until the block ends.

    `say` is called with what a person should know, once each: new reports of the ledger, what a vendor has.
    `vendor` makes the other side of an account; a bench brings one that answers at once. `now_utc_ms` is the
    clock and `wait` the patience with vendors: a test has hours without a vendor go by in seconds. The folder
    holds the venue's key, made where there is none, and the ledger where the settings name no other. Raises
    `SettingsError`, `Held`, `LedgerLost`, `ForeignLedger`, `KeyUnusable`, `FeedKeyChanged`.
    """
    brokers = tuple(opened(broker) for broker in settings.brokers)
    with ExitStack() as stack:
        stack.enter_context(hold(data, lock="bridge.lock", other=OTHER))
        database = stack.enter_context(Database(ledger_url(settings, data)))
        vendors = {each.name: vendor(each) for each in settings.accounts}
        refusals = [each.name for each in settings.accounts if isinstance(each.vendor, VivenuSettings)]
        inner = [account for account, each in vendors.items() if each.inner]
        exits = [account for account, each in vendors.items() if not each.books_exits]
        presences = {
            each.name: each.vendor for each in settings.accounts if isinstance(each.vendor, PresenceSettings)
        }
        ledger = Ledger(database, settings.venue, list(vendors), refusals, inner, exits)
        life = new_life()
        name = name_of(life, f"{platform.node()}:{data.resolve()}")
        feed = Feed(database, settings.venue, _key(database, data), name, partial(_keys, data))
        faults = Faults()
        outbox = Outbox(faults)
        for gone in sorted(set(feed.accounts()) - vendors.keys()):
            feed.forget(gone)
            say(f'account "{gone}" is not in the settings any more: its tickets were withdrawn')
        clerk = Clerk(ledger, say, faults, now_utc_ms=now_utc_ms)
        clerking = Worker("reports", clerk.turn, faults)
        announcer = Announcer(settings.venue, feed, ledger, outbox, name, now_utc_ms)
        announcing = announcer.worker = Worker("announcing", announcer.turn, faults)

        def told(reported: bool) -> None:
            announcing.wake()
            if reported:
                clerking.wake()

        def freed() -> None:
            announcing.wake()
            for account in accounts:
                account.reading.wake()
            for teller in tellers:
                teller.telling.wake()

        sign = stack.enter_context(database.sign_of_life(life))
        peers = Peers(name, sign, ledger, feed, freed)

        def stored(reported: bool) -> None:
            for teller in tellers:
                teller.telling.wake()
            if reported:
                clerking.wake()

        asks = Asks(
            settings.venue,
            [(each.name, vendors[each.name], each.ask_rate_max) for each in settings.accounts],
            Configured(database),
            Outbox(faults),
            faults,
            name,
            now_utc_ms,
            wait,
            AskedOnce(database, now_utc_ms).first,
            bridge=told_as(data),
            marks={each.name: mark_of(each) for each in settings.accounts},
            unreached_only=presences.keys(),
            retries={name: each.init_retry_max_s for name, each in presences.items()},
            listed=ListedTickets(
                database, now_utc_ms, {each.name: each.poll_s for each in settings.accounts}
            ).find,
        )

        relay = Relay(
            settings.venue,
            ledger,
            feed,
            outbox,
            faults,
            now_utc_ms,
            stored,
            announcing.wake,
            asks.take,
            asks.born,
            Gates(say) if settings.listen else None,
        )
        drivers = {  # one for all who tell an account, for they share its rate
            each.name: stack.enter_context(
                Driver(
                    each.name,
                    vendors[each.name],
                    each.rate_max,
                    connections_max=CONNECTIONS_MAX + vendors[each.name].tellers,
                )
            )
            for each in settings.accounts
        }
        tellers = tuple(
            _account(
                each,
                vendors[each.name],
                drivers[each.name],
                ledger,
                feed,
                faults,
                told,
                announcing.wake,
                say,
                now_utc_ms,
                wait,
                name,
                lambda: relay.behind,
                asks,
                tried,
            )
            for each in settings.accounts
            for tried in (Tried(),)  # one for all of them, likewise
            for _ in range(vendors[each.name].tellers)
        )
        first = {teller.name: teller for teller in reversed(tellers)}
        accounts = tuple(first[each.name] for each in settings.accounts)
        workers: Sequence[Worker] = (
            relay.storing,
            relay.paging,
            announcing,
            clerking,
            Worker("other bridges", peers.turn, faults),
            *asks.workers,
            *(account.reading for account in accounts),
            *(teller.telling for teller in tellers),
        )
        line, ask_line = _lines(stack, settings, brokers, relay, asks, pace, group_secret(database))
        stack.enter_context(asks)  # ends before the lines: what is under way, or waits, is answered
        stack.enter_context(at_work(workers))  # ends first: what is stored by then gets its receipt
        yield Bridge(settings, relay, outbox, line, accounts, clerk, faults, asks, ask_line)


def _lines(
    stack: ExitStack,
    settings: BridgeSettings,
    brokers: Sequence[Broker],
    relay: Relay,
    asks: Asks,
    pace: Pace,
    secret: str,
) -> tuple[Line, Line]:
    """The two connections: one for asks, which no row holds up, and one for all else."""
    client = f"gatepost-bridge-{os.urandom(4).hex()}"
    asked = ask_subscriptions(settings.venue, secret)
    listened = subscriptions(settings.venue, secret, bool(settings.listen))
    topics = [each for each in listened if each not in asked]
    listener = AskLine(relay, asks.outbox, asks.connected)
    ask_line = stack.enter_context(Line(brokers, f"{client}-asks", asked, listener, pace=pace))
    return stack.enter_context(Line(brokers, client, topics, relay, pace=pace)), ask_line


def _key(database: Database, data: Path) -> bytes:
    """The venue's key, which is made only where nothing was made with one."""
    if not (data / "key").exists() and Feed.is_made(database):
        raise KeyUnusable(
            f"{data / 'key'}: is missing, and {database.name} was made with a key: copy `key` from the data "
            "folder of another bridge of this ledger, or `catalogue/key` from a gate of the venue (mode 0600)"
        )
    return venue_key(data)


def _keys(data: Path) -> tuple[bytes, ...]:
    """The keys in the folder at this moment: `gatepost rekey`, or a person, may have put one there."""
    try:
        return keys_of(data)
    except KeyUnusable:
        return ()


def _account(
    settings: AccountSettings,
    vendor: Vendor,
    driver: Driver,
    ledger: Ledger,
    feed: Feed,
    faults: Faults,
    told: Callable[[bool], None],
    fed: Callable[[], None],
    found: Callable[[str], None],
    now_utc_ms: Callable[[], int],
    wait: Wait,
    worker: str,
    rows_wait: Callable[[], bool],
    asks: Asks,
    tried: Tried,
) -> Account:
    return Account(
        settings.name,
        vendor,
        driver,
        ledger,
        feed,
        faults,
        now_utc_ms,
        told=told,
        fed=fed,
        found=found,
        worker=worker,
        poll_s=settings.poll_s,
        whole_every_h=settings.whole_every_h,
        wait=wait,
        rows_wait=rows_wait,
        kept=partial(asks.kept, settings.name),
        tried=tried,
    )


class Announcer:
    """Tells gates what is new: changes to all of them, outcomes to the gate of each scan."""

    worker: Worker

    def __init__(
        self,
        venue: str,
        feed: Feed,
        ledger: Ledger,
        outbox: Outbox,
        name: str,
        now_utc_ms: Callable[[], int] = now_utc_ms,
    ) -> None:
        """`name` is the bridge's: what it tells of, the others do not."""
        self._venue = venue
        self._feed = feed
        self._ledger = ledger
        self._outbox = outbox
        self._name = name
        self._now_utc_ms = now_utc_ms

    def turn(self) -> float:
        """What is new; else a word that nothing is, so that a gate which missed something asks for it.

        Nothing is made that could not be sent: a list of a million tickets must not pile up here.
        """
        if not self._outbox.has_room(self.worker.wake):
            return ANNOUNCE_S
        if self._tell_outcomes():
            return 0.0
        message, again_ms = self._feed.announce(self._now_utc_ms())
        if message is not None:
            self._outbox.put(wire.address(wire.CHANGES, self._venue), message)
        return again_ms / 1000

    def _tell_outcomes(self) -> bool:
        """Send those that wait; whether there may be more to send."""
        found = sorted(
            self._ledger.outcomes_to_tell(self._name, self._now_utc_ms(), TOLD_MAX), key=itemgetter(0)
        )
        told: list[int] = []
        for gate, those in groupby(found, key=itemgetter(0)):
            waiting = [(outcome, work) for _, outcome, work in those]
            for at in range(0, len(waiting), OUTCOMES_MAX):
                part = waiting[at : at + OUTCOMES_MAX]
                message = wire.Outcomes(outcomes=tuple(outcome for outcome, _ in part))
                if not self._outbox.has_room(self.worker.wake):
                    break
                if self._outbox.put(wire.address(wire.OUTCOME, self._venue, gate), message):
                    told += [work for _, work in part]
        self._ledger.told(told)
        return len(found) == TOLD_MAX or len(told) < len(found)


class Clerk:
    """Hands the ledger's new reports to a person, counts, and gives up waiting for what will not come."""

    def __init__(
        self,
        ledger: Ledger,
        say: Callable[[str], None],
        faults: Faults,
        clock_s: Callable[[], float] = time.monotonic,
        now_utc_ms: Callable[[], int] = now_utc_ms,
    ) -> None:
        self._ledger = ledger
        self._say = say
        self._faults = faults
        self._now_utc_ms = now_utc_ms
        self._clock_s = clock_s
        self._last = 0
        while known := ledger.reports(self._last, REPORTS_MAX):  # said by those who made them
            self._last = known[-1].id
        self._look_s = clock_s()
        self.counts = ledger.counts()
        self.counted_utc_ms = now_utc_ms()
        self._look_for_unknown_accounts()

    def turn(self) -> float:
        """Look for new ones."""
        left_s = self._look_s - self._clock_s()
        if left_s <= 0:
            now_ms = self._now_utc_ms()
            self._ledger.release_untimed(now_ms)
            self._ledger.release_loose(now_ms)
            self._ledger.report_unused(now_ms)
            self.counts, self.counted_utc_ms = self._ledger.counts(), now_ms
            self._look_for_unknown_accounts()
            self._look_s = self._clock_s() + LOOK_S
            left_s = LOOK_S
        found = self._ledger.reports(self._last, REPORTS_MAX)
        for each in found:
            self._last = each.id
            self._say(each.text)
        return 0.0 if len(found) == REPORTS_MAX else left_s

    def _look_for_unknown_accounts(self) -> None:
        unknown = self._ledger.unknown_accounts(self.counts)
        if not unknown:
            self._faults.clear(UNKNOWN_ACCOUNTS)
            return
        waiting = ", ".join(f"{count:,} of {name!r}" for name, count in sorted(unknown.items()))
        text = (
            f"{UNKNOWN_ACCOUNTS}: admissions wait that no vendor is told of, for the settings have no such "
            f"account: {waiting}. If it was renamed, give it its name back until they are told; if it was "
            "removed by mistake, name it again"
        )
        self._faults.set(UNKNOWN_ACCOUNTS, Fault(UNKNOWN_ACCOUNTS, ",".join(sorted(unknown)), text))
