"""The feed: the bridge's copy of the vendors' tickets, numbered, so that a gate asks for what is new to it.

A vendor's list comes in through `take`, page by page, and goes out through `page` and `changes`. Only what
differs for a gate costs a number. One process at a time reads an account; any number of them give out.
"""

import secrets
from collections.abc import Callable, Collection, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, select

from firmware import wire
from firmware.bridge import schema
from firmware.bridge.database import NUMBER, Database, last_number
from firmware.bridge.foreign import NOTHING, is_foreign, known_of
from firmware.bridge.ledger.reports import Reports
from firmware.bridge.numbered import Window, window
from firmware.bridge.states import FEED as _FEED
from firmware.bridge.states import KEY as _KEY
from firmware.bridge.states import STAMP as _STAMP
from firmware.bridge.states import set_state as _set
from firmware.bridge.states import states as _states
from firmware.bridge.tickets import (
    TEXT_CHARACTERS_MAX,
    Listed,
    Stored,
    bounded,
    concerned,
    fault_of,
    give_back,
    is_text,
    merged,
    rows_where,
    store,
)
from firmware.bridge.vendor import SHRUNK_UNUSED_MIN, Listing, VendorTicket
from firmware.core.movements import Act
from firmware.core.ticket import Direction, Perimeter, Spend, Status
from firmware.venue_key import digest_of, key_mark, key_with, keyed

TAKE_ROWS = 2000  # tickets in one transaction: it holds the ledger's write lock for some 50 ms
# A whole list that lost more than half of an account at once is more often a fault than a fact. A small
# account may well end like that.
SHRUNK_TICKETS_MIN = 101
# Where a list has unused tickets only, what vanished is used, and refused at the gates. So more than half of
# them is believed when each list of so long a time said so.
DOUBT_MS = 600_000
# Between two pages of one run; a page may take 100 s. Who takes longer may be overtaken, which costs that run
# and nothing else. So long an account is not read after the machine that read it has died.
READING_MS = 180_000

# Who has read an account goes on to read it: until it should have begun again, and so much longer.
LATE_MS = 30_000
# Such a time that lies further ahead was written while a clock was wrong; nobody pauses for longer.
READER_AHEAD_MS_MAX = 7_200_000
ANNOUNCE_MS = 20_000  # a gate that missed a change hears of it by then, and knows that its list is fresh

# Between two new names of a feed. Each makes all gates fetch the whole list, 60 MB perhaps, and a single gate
# that was tampered with could bring it about.
RENAME_MS_MIN = 3_600_000

_RUN, _RENAMED = "feed run", "feed renamed"
_SINCE, _DOUBT, _TICKETS = "since:", "doubt:", "tickets:"  # each followed by an account
_READING = "reading:"  # and an account: its last run, until when whose it was may read it alone, and whose
_ANNOUNCED = "announced"  # up to which number gates were told of changes, and when they last heard anything


class FeedKeyChanged(Exception):
    """The ledger has digests of another venue key; the message names the mend."""


class ReadElsewhere(Exception):
    """Another bridge reads this account now, or has begun to: nothing of an older run may come after it."""


class Run(NamedTuple):
    """One reading of an account's list, which had so many tickets before, and so many that were not used.

    `began_utc_ms` is 0 where the caller did not say; `unused` is 0 where the run is not whole.
    """

    account: str
    whole: bool
    number: int
    began_utc_ms: int
    had: int
    unused: int


class _Doubt(NamedTuple):
    """Why missing tickets are kept, or "". `since`: they are many; the first run that said so, and when."""

    text: str = ""
    since: tuple[int, int] | None = None


class _Reading(NamedTuple):
    """The last run of an account, and until when the bridge whose it is may read it alone (0: anybody)."""

    number: int = 0
    until_ms: int = 0
    reader: str = ""


class _Codes(NamedTuple):
    """A key's mark, and what makes the digests of codes with it."""

    mark: bytes
    begun: blake2b


class Announcement(NamedTuple):
    """What gates must be told, `None` for nothing, and after how long to ask again."""

    message: wire.Changes | None
    again_ms: int


class Feed:
    """The tickets of a venue, and the movements that only a vendor knows of."""

    def __init__(
        self,
        database: Database,
        venue: str,
        key: bytes,
        reader: str = "",
        keys: Callable[[], Sequence[bytes]] = tuple,
    ) -> None:
        """Open it; its name is made on first use. Raises `ForeignLedger`, `FeedKeyChanged`, or `LedgerLost`.

        `reader` tells the bridges of one ledger apart. Empty: like no other. `keys` are looked through where
        the digests have another key than the one known so far.
        """
        self._database = database
        self._codes, self._keys = _Codes(key_mark(key), keyed(key)), keys
        self._reader = reader or secrets.token_hex(8)
        database.belong_to(venue)
        with database.transaction() as connection:
            last_number(connection)  # holds the lock: of two processes that start, one makes the name
            said = _states(connection)
            if _FEED not in said:
                said |= {_FEED: secrets.token_hex(8), _KEY: self._codes.mark.hex()}
                for name in (_FEED, _KEY):
                    _set(connection, name, said[name])
            if _ANNOUNCED not in said:
                _set(connection, _ANNOUNCED, f"{said[NUMBER]} 0")
            self._check_key(said)

    @staticmethod
    def is_made(database: Database) -> bool:
        """Whether this ledger has a feed already, so that nobody should make a new key for it."""
        with database.look() as connection:
            return _FEED in _states(connection)

    # --- in ------------------------------------------------------------------------------------------

    def begin_run(self, account: str, whole: bool, now_utc_ms: int = 0) -> Run:
        """Begin to read an account's list; before the first request is sent.

        With the bridge's time, a word about a movement that was read after the vendor's last answer counts as
        news at once; without, only when its own time is later than any echo of ours. Raises `ReadElsewhere`.
        """
        return self._begin(account, whole, now_utc_ms, wait=True)

    def _begin(self, account: str, whole: bool, now_utc_ms: int, *, wait: bool) -> Run:
        with self._database.transaction() as connection:
            last_number(connection)
            said = _states(connection)
            held = _reading(said, account)
            ahead_ms = held.until_ms - now_utc_ms
            if wait and held.reader != self._reader and 0 < ahead_ms <= READER_AHEAD_MS_MAX:
                raise ReadElsewhere(f"{account}: another bridge reads its list ({held.reader})")
            number = int(said.get(_RUN, "0")) + 1
            _set(connection, _RUN, str(number))
            if _STAMP + account not in said:
                _set(connection, _STAMP + account, "0")
            self._read_until(connection, account, _Reading(number, now_utc_ms + READING_MS))
            table = schema.ticket.c
            unused = (table.account == account, table.gone.is_(False), table.status != Status.USED)
            count = connection.scalar(select(func.count()).where(*unused)) if whole else 0
        return Run(account, whole, number, now_utc_ms, int(said.get(_TICKETS + account, "0")), count or 0)

    def take(self, run: Run, tickets: Sequence[VendorTicket], now_utc_ms: int = 0) -> int:
        """Take in some tickets; of two with one id or one code the last counts.

        Returns the highest number made, 0 where nothing changed for gates. Raises `ReadElsewhere`, or
        `LedgerLost`; then some of the tickets may have been taken, and to take them again is fine.
        """
        highest = 0
        for start in range(0, len(tickets), TAKE_ROWS):
            with self._database.transaction() as connection:
                last_number(connection)  # holds the lock: no other writer between the look and the change
                said = _states(connection)
                codes = self._check_key(said)
                self._go_on(connection, said, run, now_utc_ms)
                made = self._take(connection, run, tickets[start : start + TAKE_ROWS], codes)
            highest = max(highest, made)
        return highest

    def finish_run(self, run: Run, listing: Listing, now_utc_ms: int, again_ms: int = 0) -> int:
        """The list was read to its end. Where it was the whole list, tickets that it did not have are gone.

        Unless it lost more than half of the account: that is reported, and believed when the next whole list
        says so too; of unused tickets, when lists have said so for `DOUBT_MS`, before and after a restart.
        Nor where no more are missing than could not be read. With `again_ms` this bridge goes on
        to be the one that reads this account, and means to begin after that time. Returns the highest number
        made, or 0. Raises `ReadElsewhere`.
        """
        with self._database.transaction() as connection:
            last_number(connection)
            self._go_on(connection, _states(connection), run, now_utc_ms)
        whole = run.whole and listing.whole
        doubt = self._doubt(run, listing, now_utc_ms) if whole else _Doubt()
        if whole and not doubt.text:
            highest = self._drop_unseen(run.account, run.number, listing.unseen)
        else:
            highest = 0
        with self._database.transaction() as connection:
            last_number(connection)
            self._go_on(connection, _states(connection), run, now_utc_ms)
            until_ms = now_utc_ms + again_ms + LATE_MS if again_ms else 0
            self._read_until(connection, run.account, _Reading(run.number, until_ms))
            _set(connection, _SINCE + run.account, listing.since)
            if doubt.text:
                key = f"{run.account} {doubt.since[0]}" if doubt.since else run.account
                Reports(connection, now_utc_ms).say("missing tickets", key, doubt.text)
            complete = whole or _states(connection)[_STAMP + run.account] != "0"
            if complete and doubt.since is None:
                _set(connection, _STAMP + run.account, str(now_utc_ms))
            if whole:
                _set(connection, _DOUBT + run.account, "{} {}".format(*doubt.since) if doubt.since else "")
        return highest

    def forget(self, account: str) -> int:
        """This account is not read any more: its tickets are gone. Returns the highest number made, or 0.

        A bridge that still reads it breaks off. All bridges of a ledger need the same accounts.
        """
        highest = self._drop_unseen(account, self._begin(account, True, 0, wait=False).number)
        with self._database.transaction() as connection:
            last_number(connection)
            names = [front + account for front in (_SINCE, _STAMP, _DOUBT, _TICKETS, _READING)]
            connection.execute(delete(schema.state).where(schema.state.c.name.in_(names)))
        return highest

    def leave(self, account: str) -> None:
        """Let another bridge read this account: from here its vendor cannot be reached."""
        self._free(lambda held_account, held: held_account == account and held.reader == self._reader)

    def readers(self) -> set[str]:
        """Who reads an account, or means to go on to."""
        with self._database.look() as connection:
            said = _states(connection)
        held = [_reading(said, account) for account in _read_accounts(said)]
        return {each.reader for each in held if each.until_ms}

    def release(self, readers: Collection[str]) -> None:
        """These readers are dead: others may read their accounts, and gates soon hear how far the list is."""
        self._free(lambda _, held: held.reader in readers)
        with self._database.transaction() as connection:
            last_number(connection)
            upto, _ = _announced(_states(connection))
            _set(connection, _ANNOUNCED, f"{upto} 0")

    def _free(self, which: Callable[[str, "_Reading"], bool]) -> None:
        with self._database.transaction() as connection:
            last_number(connection)
            said = _states(connection)
            for account in _read_accounts(said):
                held = _reading(said, account)
                if held.until_ms and which(account, held):
                    _set(connection, _READING + account, f"{held.number} 0 {held.reader}")

    def doubts(self, account: str) -> bool:
        """Whether the last whole list of this account lacked so many tickets that it is not believed yet."""
        with self._database.look() as connection:
            return bool(_states(connection).get(_DOUBT + account))

    def accounts(self) -> list[str]:
        """The accounts that were ever read and not forgotten."""
        with self._database.look() as connection:
            return sorted(n.removeprefix(_STAMP) for n in _states(connection) if n.startswith(_STAMP))

    def since(self, account: str) -> str:
        """Where the next delta of this account begins; "" for the whole list."""
        with self._database.look() as connection:
            return _states(connection).get(_SINCE + account, "")

    def stamp(self) -> int:
        """When the lists of all accounts were last complete; 0 while one of them never was."""
        with self._database.look() as connection:
            return _stamp(_states(connection))

    # --- out -----------------------------------------------------------------------------------------

    def head(self) -> int:
        """The newest number."""
        with self._database.look() as connection:
            return int(_states(connection)[NUMBER])

    def page(self, cursor: int, feed: str, now_utc_ms: int = 0) -> wire.CataloguePage:
        """What comes after a gate's cursor; from the start where it is 0 or not of this feed.

        A cursor of this feed above its newest number means that the ledger was put back from an older copy:
        its numbers will be given out again, for other changes. So the feed takes a new name, and every gate
        fetches the whole list; else one would pass over what bears a number that it has seen.
        """
        with self._database.look() as connection:
            said = _states(connection)  # first: what is numbered later is not in this page
            self._check_key(said)
            head, same = int(said[NUMBER]), feed == said[_FEED]
            after = cursor if same and cursor <= head else 0
            found = window(connection, after, head, live=False)
        if same and cursor > head and self._rename(cursor, feed, now_utc_ms):
            return self.page(0, "")
        return wire.CataloguePage(
            feed=said[_FEED],
            key_mark=bytes.fromhex(said[_KEY]),
            after=after,
            upto=found.upto,
            more=found.more,
            tickets=_tickets(said),
            stamp_utc_ms=_stamp(said),
            items=found.items,
        )

    def changes(self, after: int) -> wire.Changes | None:
        """Tickets and movements after this number, `None` for none; call again with its `upto`.

        Without movements that gates have told each other: after very many of these there may be a message
        without items, which keeps cursors close.
        """
        with self._database.look() as connection:
            said = _states(connection)
            self._check_key(said)
            found = window(connection, after, int(said[NUMBER]), live=True)
        if not found.items and not found.more and found.upto - after <= wire.ITEMS_MAX:
            return None
        return self._changes(said, after, found)

    def nothing_new(self) -> wire.Changes:
        """A message without items: gates hear how fresh the list is, and one that missed something asks.

        It begins at the head, so that gates ask for what lies before it: mostly movements of gates, which
        live changes leave out. A gate whose admissions did not reach all others is heard of so.
        """
        with self._database.look() as connection:
            said = _states(connection)
            self._check_key(said)
        head = int(said[NUMBER])
        return self._changes(said, head, Window((), head, more=False))

    def announce(self, now_utc_ms: int) -> Announcement:
        """What gates must be told now, by this bridge and by no other.

        Changes that no bridge has told of; or that there are none, where nobody said so for `ANNOUNCE_MS`.
        What does not reach a gate leaves a gap in front of the next message, so that it asks.
        """
        with self._database.look() as connection:
            said = _states(connection)
        upto, at_ms = _announced(said)
        message = self.changes(min(upto, int(said[NUMBER])))
        again_ms = 0
        if message is None:
            left_ms = at_ms + ANNOUNCE_MS - now_utc_ms
            if 0 < left_ms <= ANNOUNCE_MS:  # more: the other's clock was wrong
                return Announcement(None, left_ms)
            message, again_ms = self.nothing_new(), ANNOUNCE_MS
        with self._database.transaction() as connection:
            last_number(connection)
            if _states(connection)[_ANNOUNCED] != said[_ANNOUNCED]:  # another bridge was faster
                return Announcement(None, 0)
            _set(connection, _ANNOUNCED, f"{message.upto} {now_utc_ms}")
        return Announcement(message, again_ms)

    # --- inside --------------------------------------------------------------------------------------

    def _changes(self, said: dict[str, str], after: int, found: Window) -> wire.Changes:
        return wire.Changes(
            feed=said[_FEED],
            key_mark=bytes.fromhex(said[_KEY]),
            after=after,
            upto=found.upto,
            tickets=_tickets(said),
            stamp_utc_ms=_stamp(said),
            items=found.items,
        )

    def _rename(self, cursor: int, feed: str, now_utc_ms: int) -> bool:
        """Take a new name, unless that was done within the hour, or meanwhile; whether it was done."""
        with self._database.transaction() as connection:
            last_number(connection)
            said = _states(connection)
            head, since_ms = int(said[NUMBER]), now_utc_ms - int(said.get(_RENAMED, -RENAME_MS_MIN))
            if feed != said[_FEED] or cursor <= head or 0 <= since_ms < RENAME_MS_MIN:
                return feed != said[_FEED]
            _set(connection, _FEED, secrets.token_hex(8))
            _set(connection, _RENAMED, str(now_utc_ms))
            Reports(connection, now_utc_ms).say(
                "feed renamed",
                feed,
                f"a gate has change {cursor:,} of the list, and the ledger ends with {head:,}: it was put "
                "back from an older copy, or that gate was tampered with. Every gate fetches the whole list "
                "anew. For the rows of gates since that copy, see the reports of gaps",
            )
        return True

    def _check_key(self, said: dict[str, str]) -> "_Codes":
        """What makes the digests that are there. Raises `FeedKeyChanged` where that key is not here."""
        self.name = said[_FEED]  # another bridge of this ledger may have given it a new one
        codes, mark = self._codes, said[_KEY]
        if mark == codes.mark.hex():
            return codes
        if not mark:
            raise FeedKeyChanged(
                f"{self._database.name}: its digests are made with another venue key at this moment: wait, "
                "or call gatepost rekey once more where it was broken off"
            )
        key = key_with(bytes.fromhex(mark), self._keys())
        if key is None:
            raise FeedKeyChanged(
                f"{self._database.name}: the digests there were made with another venue key: put the key of "
                "the venue's gates back, the same at each bridge (after gatepost rekey a copy of `key` from "
                "the data folder where it was called), or make them anew with gatepost rekey"
            )
        self._codes = codes = _Codes(key_mark(key), keyed(key))
        return codes

    def _go_on(self, connection: Connection, said: dict[str, str], run: Run, now_utc_ms: int) -> None:
        """This run is still the one that reads the account, for another while. Raises `ReadElsewhere`."""
        held = _reading(said, run.account)
        if held.number != run.number:
            raise ReadElsewhere(f"{run.account}: another run through its list has begun ({held.reader})")
        until_ms = max(held.until_ms, now_utc_ms + READING_MS)
        self._read_until(connection, run.account, _Reading(run.number, until_ms))

    def _read_until(self, connection: Connection, account: str, held: "_Reading") -> None:
        _set(connection, _READING + account, f"{held.number} {held.until_ms} {self._reader}")

    def _take(
        self, connection: Connection, run: Run, tickets: Sequence[VendorTicket], codes: "_Codes"
    ) -> int:
        listed: dict[str, VendorTicket | None] = {}
        reports = Reports(connection, run.began_utc_ms)
        for each in tickets:
            ticket_id = f"{run.account}:{each.ticket_id}"
            fault = fault_of(ticket_id, each)
            if fault:
                name = ascii(ticket_id)[:TEXT_CHARACTERS_MAX]
                reports.say("unfit ticket", name, f"{name} is not passed on to gates: {fault}")
                if not is_text(ticket_id):
                    continue
            listed.pop(ticket_id, None)
            listed[ticket_id] = None if fault else each
        before = concerned(connection, listed)
        after = merged(before, listed, run.account, run.number, partial(digest_of, codes.begun))
        moves = _foreign_moves(connection, run, listed)
        return _stored(connection, store(connection, before, after, moves))

    def _doubt(self, run: Run, listing: Listing, now_utc_ms: int) -> _Doubt:
        """Whether it is believed that the tickets which this whole list did not have are gone."""
        table = schema.ticket.c
        unseen = (
            table.account == run.account,
            table.gone.is_(False),
            table.seen < run.number,
            table.status != (listing.unseen or ""),
        )
        skipped = listing.skipped
        with self._database.look() as connection:
            lost = connection.execute(select(func.count()).where(*unseen)).scalar_one()
            doubted = _states(connection).get(_DOUBT + run.account, "")
        had, least = (run.unused, SHRUNK_UNUSED_MIN) if listing.unseen else (run.had, SHRUNK_TICKETS_MIN)
        stay = f"{run.account}: {lost:,} of {had:,} tickets are not in the vendor's list any more; they stay"
        if had >= least and lost * 2 > had:
            number, _, since = doubted.partition(" ")
            first = (int(number), min(int(since or "0"), now_utc_ms)) if doubted else (run.number, now_utc_ms)
            if listing.unseen and now_utc_ms - first[1] < DOUBT_MS:
                return _Doubt(f"{stay} until each list of ten minutes says so too", first)
            if not doubted:
                return _Doubt(f"{stay} until the next whole list says so too", first)
        if 0 < lost <= skipped:
            return _Doubt(f"{stay}, because {skipped:,} entries of the list could not be read")
        return _Doubt()

    def _drop_unseen(self, account: str, number: int, become: Status | None = None) -> int:
        """Tickets that no run since this one had are gone, or `become` that; the highest number, or 0."""
        table = schema.ticket.c
        # An expression, so that no database takes the account's index and sorts all of it for each step.
        unseen = (
            (table.account + "") == account,
            table.seen < number,
            table.code != "",
            table.status != (become or ""),
        )
        last_id, highest = "", 0
        while True:
            query = select(table.ticket_id).where(table.ticket_id > last_id, *unseen)
            with self._database.look() as connection:
                ids = connection.scalars(query.order_by(table.ticket_id).limit(TAKE_ROWS)).all()
            if not ids:
                return highest
            last_id = ids[-1]
            with self._database.transaction() as connection:
                last_number(connection)
                dropped = rows_where(connection, table.ticket_id.in_(ids), table.seen < number)
                codes = {row.code for row in dropped.values()} - {""}
                before = rows_where(connection, table.code.in_(codes)) | dropped
                changed = {"status": become.value} if become else {"code": "", "gone": True}
                after = before | {i: row._replace(**changed) for i, row in dropped.items()}
                give_back(after, codes)
                highest = max(highest, _stored(connection, store(connection, before, after, ())))


def _foreign_moves(connection: Connection, run: Run, listed: Listed) -> list[dict[str, Any]]:
    """The movements that the vendor tells of and the ledger does not know, without their numbers."""
    said = {i: ticket for i, ticket in listed.items() if ticket and ticket.inside is not None}
    known = known_of(connection, run.account, list(said)) if said else {}
    moves = []
    for subject, ticket in said.items():
        inside, moved_utc_ms = bool(ticket.inside), bounded(ticket.moved_utc_ms)
        if is_foreign(inside, moved_utc_ms, known.get(subject, NOTHING), run.began_utc_ms):
            moves.append(
                {
                    "gate": None,
                    "digest": b"",
                    "admission": 0,
                    "act": Act.NOTED.value,
                    "subject": subject,
                    "direction": (Direction.IN if inside else Direction.OUT).value,
                    "perimeters": Perimeter.OUTER.value,
                    "utc_ms": run.began_utc_ms if moved_utc_ms is None else moved_utc_ms,
                    "spend": Spend.OPENING.value,
                    "until_utc_ms": 0,
                }
            )
    return moves


def _stored(connection: Connection, stored: Stored) -> int:
    """Keep how many tickets gates have. The lock of numbers is held, so nobody counts at the same time."""
    more = {account: count for account, count in stored.more.items() if count}
    if more:
        said = _states(connection)
        for account, count in more.items():
            _set(connection, _TICKETS + account, str(int(said.get(_TICKETS + account, "0")) + count))
    return stored.highest


def _reading(said: dict[str, str], account: str) -> _Reading:
    number, _, rest = said.get(_READING + account, "0 0 ").partition(" ")
    until_ms, _, reader = rest.partition(" ")
    return _Reading(int(number), int(until_ms), reader)


def _read_accounts(said: dict[str, str]) -> list[str]:
    return [name.removeprefix(_READING) for name in said if name.startswith(_READING)]


def _announced(said: dict[str, str]) -> tuple[int, int]:
    """Up to which number gates were told, and when."""
    upto, _, at_ms = said[_ANNOUNCED].partition(" ")
    return int(upto), int(at_ms)


def _stamp(said: dict[str, str]) -> int:
    return min((int(value) for name, value in said.items() if name.startswith(_STAMP)), default=0)


def _tickets(said: dict[str, str]) -> int:
    return sum(int(value) for name, value in said.items() if name.startswith(_TICKETS))
