"""Brings the catalogue up to date from the bridge's pages and live changes. The uplink's thread calls it.

How far the catalogue has come stands in the catalogue itself (its `source`), so it changes with the tickets
or not at all. Without such a mark, or with another feed's, a whole list is fetched page by page into a
spool, and a child process makes the catalogue of it (`firmware.spool`); the gate's thread follows by
`Catalogue.reload`. Everything later is changed in place, one flush a page.

Live changes leave out what gates have just told each other. A gate that was away, or has another card, has
not heard that: until pages have brought it to the present, live changes change tickets for it, and not the
mark that it asks from.

A bridge with another venue key has another feed. Its whole list is fetched beside the one in use as soon as
this gate has that key too; list and key come into use in one step.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from firmware import wire
from firmware.catalogue import Catalogue, CatalogueError, Removal, Upsert
from firmware.files import sync_folder
from firmware.spool import STATUS_DAMAGED, STATUS_LATER, Spool, source_of, ticket_of
from firmware.venue_key import NEXT

REQUEST_PAGES = 32  # 2 MB on their way at once: a million tickets in forty requests
ANSWER_S = 30.0  # without a page for so long, a request or its answer was lost
GAP_S = (
    1.0  # before asking again for pages that came out of order, so that they cannot be asked for in a storm
)
NOTE_S = 1.0  # until the journal takes movements again
RETRY_S = (
    30.0  # after a fault that a person or a passing import has to mend: a full disk is not tried at once
)
FOLLOW_S = 30.0  # for the gate's thread to notice a new list; it looks once a second
BUILD_S_MAX = 900.0  # 5 million tickets take 30 s on a laptop; beyond this the card hangs
WHOLE_AGAIN_S = 3600.0  # between whole lists fetched because of a wrong count: 60 MB each, perhaps by radio
STAMP_MS = 60_000  # a stamp that is newer by less is not worth a flush when nothing else has changed
FROM_THE_START = "from the start"  # what a list says of its source where no mark of a feed holds any more
SPOOL = "spool"  # in the gate's data


class Taken(NamedTuple):
    """What became of a page or of changes.

    `ask`: `Sync.request` has something to send at once. `done`: the catalogue is at the present of the feed.
    `fault` is empty, or says what is wrong and how to mend it.
    """

    ask: bool = False
    done: bool = False
    fault: str = ""


class Sync:
    """The catalogue's way to the present. All of it belongs to one thread, which is not the gate's.

    Whoever owns it calls `connected` after each connection, and then `request` once a second and after each
    `Taken.ask`. `note` is handed movements before the cursor passes them; where it says False they are not
    safe yet, nothing moves, and they come again later.
    """

    def __init__(
        self,
        folder: Path,
        catalogue: Catalogue,
        note: Callable[[Sequence[wire.Moved]], bool],
        now_s: Callable[[], float] = time.monotonic,
        believed: Callable[[int], int] = lambda utc_ms: utc_ms,
    ) -> None:
        """Go on where the catalogue stands, and the spool in `folder`, the data of the gate.

        `believed` makes the present of a time that is ahead of a clock which can be trusted.
        """
        self._path = folder / SPOOL
        self._catalogue = catalogue
        self._note = note
        self._now_s, self._believed = now_s, believed
        self._opened: Spool | None = None
        self._fault = ""
        self._count_fault = self._stamp_fault = ""
        self._behind = True
        self._live = ("", 0), 0  # a mark, and the number up to which tickets are known there by live changes
        self._heard = 0  # the newest number that live changes told of
        self._pages_due = 0
        self._asked = 0  # the cursor of the last request
        self._answer_ends_s = self._not_before_s = self._whole_from_s = float("-inf")
        self._whole = False
        self._child: subprocess.Popen[bytes] | None = None
        self._child_ends_s = 0.0
        self._follow_ends_s: float | None = None

    @property
    def fault(self) -> str:
        """What keeps the catalogue from the present, with the mend, or nothing."""
        return self._fault or self._count_fault or self._stamp_fault

    @property
    def feed(self) -> str:
        """The feed that the catalogue comes from; empty where it comes from none."""
        return self._place()[0]

    @property
    def cursor(self) -> int:
        """The number of the feed's last ticket change in the catalogue; 0 where it comes from no feed."""
        place = self._place()
        return max(self._live[1], place[1]) if self._live[0] == place else place[1]

    @property
    def at_present(self) -> bool:
        """Whether the catalogue has all that was heard of."""
        return not self._behind

    def connected(self) -> None:
        """There is a new connection: what was asked for over the last one may not come any more."""
        self._behind, self._pages_due = True, 0

    def fetch_whole(self) -> None:
        """Fetch the whole list, whatever is in use: a person wants it."""
        self._whole = self._behind = True
        if self._opened is not None:
            self._opened.clear()

    def request(self) -> wire.CatalogueRequest | None:
        """What to ask for now; `None` while there is nothing to ask for.

        That is at the present of the feed, while pages of the last request still come, while a list is being
        made, and for a while after a fault.
        """
        try:
            if self._building() or not self._may_ask() or not self._catalogue.follows:
                return None
            feed, cursor = self._next_place()
        except OSError as error:
            self._failed(error)
            return None
        self._pages_due, self._answer_ends_s = REQUEST_PAGES, self._now_s() + ANSWER_S
        self._asked = cursor
        return wire.CatalogueRequest(feed=feed, cursor=cursor, pages=REQUEST_PAGES)

    def take(self, page: wire.CataloguePage) -> Taken:
        """Put a page into the catalogue, or into the spool of a whole list."""
        try:
            return self._take(page)
        except CatalogueError as error:
            return self._later(RETRY_S, str(error))
        except OSError as error:
            return self._failed(error)

    def take_changes(self, changes: wire.Changes) -> Taken:
        """Put live changes into the catalogue if they follow on it; else they are to be asked for."""
        try:
            return self._take_changes(changes)
        except CatalogueError as error:
            return self._later(RETRY_S, str(error))
        except OSError as error:
            return self._failed(error)

    def close(self) -> None:
        """End the child, which leaves the list in use as it is; the spool stays. Twice is fine."""
        self._end_child()
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __enter__(self) -> Self:
        """The sync itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    # --- pages and changes ---------------------------------------------------------------------------------

    def _take(self, page: wire.CataloguePage) -> Taken:
        if fault := self._foreign(page):
            return self._later(RETRY_S, fault)
        if self._building() or self._now_s() < self._not_before_s:
            return Taken(fault=self.fault)
        if not self._catalogue.follows:  # a list was imported this very second
            return self._later(GAP_S, self._fault)
        feed, cursor = self._next_place()
        begins = page.after == 0 and page.feed not in ("", feed)
        if begins:
            self._spool.clear()
            self._heard = 0
        elif page.feed == feed and page.key_mark != self._mark_there():
            # No bridge does so: another key is another feed. Its digests would fit nothing that is here.
            self._spool.clear()
            self._whole = True
            return self._later(GAP_S, self._fault)
        elif page.feed != feed or page.after > cursor:
            return self._later(GAP_S, self._fault)
        elif page.after == 0 and self._asked and self._pages_due == REQUEST_PAGES:
            # The first page of an answer begins where it was asked to, unless the feed never came so far.
            self._begin_anew()
            text = "the bridge has fewer changes than the catalogue: was its ledger put back to an older one?"
            return self._later(RETRY_S, f"{text} The whole list is fetched anew, at most once an hour")
        elif page.after < cursor:
            return self._take_again(page, cursor)
        if page.upto < page.after or (page.more and page.upto == page.after):
            return self._later(
                RETRY_S, "a page from the bridge leads nowhere: is the bridge of another release?"
            )
        if not self._noted(page.items):
            return self._later(NOTE_S, self._fault)
        self._pages_due -= 1
        self._answer_ends_s = self._now_s() + ANSWER_S
        if begins or self._spool.last is not None:
            return self._take_whole(page)
        known = self.cursor
        # Tickets that live changes brought are newer than those of a page that ends before.
        self._apply(page, page.items if page.upto > known else (), page.upto)
        self._fault = ""
        return self._taken() if page.more else self._arrive(page, known)

    def _take_again(self, page: wire.CataloguePage, cursor: int) -> Taken:
        """Part of this page is in the catalogue already, perhaps as live changes."""
        if page.upto >= cursor:
            self._pages_due = 0
            self._behind = page.more or max(page.upto, self._heard) > cursor
        return self._taken()

    def _take_whole(self, page: wire.CataloguePage) -> Taken:
        about = self._catalogue.about()
        if not page.more and page.stamp_utc_ms == 0 and about is not None and about.tickets:
            text = "the bridge has no whole list of a vendor yet: the list in use stays until it has"
            return self._later(RETRY_S, text)
        tickets = tuple(item for item in page.items if not isinstance(item, wire.Moved))
        self._spool.append(msgspec.structs.replace(page, items=tickets, stamp_utc_ms=self._stamp(page)))
        self._fault = ""
        self._building()
        return self._taken()

    def _take_changes(self, changes: wire.Changes) -> Taken:
        if fault := self._foreign(changes):
            return self._later(RETRY_S, fault)
        if self._building() or self._spool.last is not None or self._now_s() < self._not_before_s:
            return Taken(fault=self.fault)
        if not self._catalogue.follows:
            return self._later(GAP_S, self._fault)
        (feed, brought), known = self._next_place(), self.cursor
        if changes.feed == feed:
            self._heard = max(self._heard, changes.upto)
        if changes.feed != feed or changes.after > known or changes.key_mark != self._catalogue.key_mark:
            self._behind = True
        elif changes.upto < known:  # a page brought all of it; with more to say, it was made after that page
            return self._taken()
        elif not self._noted(changes.items):
            return self._later(NOTE_S, self._fault)
        else:
            self._apply(changes, changes.items, brought if self._behind else changes.upto)
            self._fault = ""
        return self._taken()

    def _apply(
        self, page: wire.CataloguePage | wire.Changes, items: Sequence[wire.Change], brought: int
    ) -> None:
        """Change the tickets in these items; the mark is `brought` then."""
        known = max(self.cursor, page.upto)
        about = self._catalogue.about()
        older_utc_ms = 0 if about is None else about.stamp_utc_ms
        stamp_utc_ms = self._stamp(page)
        if self._believed(older_utc_ms) == older_utc_ms:  # else it came before the clock was trusted
            stamp_utc_ms = max(stamp_utc_ms, older_utc_ms)
        changes = [
            Removal(item.ticket_id) if isinstance(item, wire.Gone) else Upsert(item.digest, ticket_of(item))
            for item in items
            if not isinstance(item, wire.Moved)
        ]
        nothing = brought == self._place()[1] and not changes
        fresh = about is not None and 0 <= stamp_utc_ms - older_utc_ms < STAMP_MS
        if not nothing or not fresh:
            source, mark = source_of(page.feed, brought), page.key_mark
            self._catalogue.apply_changes(changes, stamp_utc_ms=stamp_utc_ms, source=source, mark=mark)
        self._live = self._place(), known

    def _stamp(self, page: wire.CataloguePage | wire.Changes) -> int:
        """When the vendors' lists were complete; where that is still to come, now.

        It is the bridge's clock that was ahead then, and this gate's UTC and the age of its list go by it.
        """
        stamp_utc_ms = self._believed(page.stamp_utc_ms)
        ahead_min = (page.stamp_utc_ms - stamp_utc_ms) // 60_000
        self._stamp_fault = ""
        if ahead_min:
            self._stamp_fault = (
                f"the bridge's list is dated {ahead_min:,} minutes ahead of this gate's trusted clock, "
                "and counts as of now: is the clock of the bridge synchronised?"
            )
        return stamp_utc_ms

    def _arrive(self, page: wire.CataloguePage, known: int) -> Taken:
        """The feed's present is reached, unless live changes told of more. Compare the number of tickets.

        `known`: up to which number these were known before the page. Of fewer it cannot tell the number.
        """
        self._pages_due = 0
        self._behind, self._heard = self._heard > max(page.upto, known), 0  # to ask once more is enough
        about = self._catalogue.about()
        count = 0 if about is None else about.tickets
        self._count_fault = ""
        if page.upto >= known and count != page.tickets:
            self._count_fault = (
                f"the catalogue has {count:,} tickets and the bridge {page.tickets:,}: the whole list is "
                "fetched anew, at most once an hour; if that does not mend it, see the bridge's reports"
            )
            self._begin_anew()
        return self._taken()

    def _begin_anew(self) -> None:
        """Fetch the whole list, unless that was tried within the hour."""
        if self._now_s() >= self._whole_from_s:
            self._whole_from_s = self._now_s() + WHOLE_AGAIN_S
            self.fetch_whole()

    def _noted(self, items: Sequence[wire.Change]) -> bool:
        moved = [item for item in items if isinstance(item, wire.Moved)]
        return not moved or self._note(moved)

    def _foreign(self, page: wire.CataloguePage | wire.Changes) -> str:
        """Digests of a key that is not here are of no use; of one that is to come, a whole list is."""
        if page.key_mark == self._catalogue.key_mark or self._catalogue.takes(page.key_mark):
            return ""
        return (
            "the gate and the bridge have different venue keys: copy the bridge's key file to "
            f"{self._catalogue.folder / NEXT} (mode 0600, the gate's user), or send it with gatepost order "
            "GATE rotate_key. Until then the list in use stays as it is"
        )

    def _mark_there(self) -> bytes:
        """The mark of the key of what pages go on with."""
        last = self._spool.last
        return self._catalogue.key_mark if last is None else last.key_mark

    # --- where it stands -----------------------------------------------------------------------------------

    @property
    def _spool(self) -> Spool:
        if self._opened is None:
            self._opened = Spool(self._path)
        return self._opened

    def _place(self) -> tuple[str, int]:
        return place_of(self._catalogue)

    def _next_place(self) -> tuple[str, int]:
        """The feed, and the number after which to go on."""
        last = self._spool.last
        if last is not None:
            return last.feed, last.upto
        return ("", 0) if self._whole else self._place()

    def _may_ask(self) -> bool:
        now_s = self._now_s()
        waits = self._pages_due > 0 and now_s < self._answer_ends_s
        return self._behind and not waits and now_s >= self._not_before_s

    def _taken(self) -> Taken:
        return Taken(self._child is None and self._may_ask(), not self._behind, self.fault)

    def _later(self, wait_s: float, fault: str) -> Taken:
        """Leave things as they are, and ask again after a while."""
        self._fault = fault
        self._behind, self._pages_due = True, 0
        self._not_before_s = self._now_s() + wait_s
        return Taken(fault=self.fault)

    def _failed(self, error: OSError) -> Taken:
        return self._later(RETRY_S, f"{self._path}: {error.strerror or error}")

    # --- the child that makes a whole list ------------------------------------------------------------------

    def _building(self) -> bool:
        """See to the making of a spooled list; whether it is still not in use."""
        if not self._spool.complete:
            return False
        assert self._spool.last is not None
        feed, upto = self._spool.last.feed, self._spool.last.upto
        now_s = self._now_s()
        if self._child is not None:
            self._watch_child(self._child, now_s)
        elif self._place() == (feed, upto) and self._catalogue.follows and not self._whole:
            self._spool.clear()
            self._live = ("", 0), 0
            self._follow_ends_s, self._pages_due, self._behind = None, 0, True
            return False
        elif self._follow_ends_s is not None and now_s < self._follow_ends_s:
            pass
        elif now_s >= self._not_before_s:
            self._start_child(now_s)
        return self._spool.complete

    def _start_child(self, now_s: float) -> None:
        self._follow_ends_s, self._child_ends_s = None, now_s + BUILD_S_MAX
        source = Path(__file__).parents[1]  # the same code as this process, from wherever it was started
        self._child = subprocess.Popen(  # noqa: S603 - this interpreter, this package, and two paths of its own
            [sys.executable, "-P", "-m", "firmware.spool", str(self._path), str(self._catalogue.folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(source)},
        )

    def _watch_child(self, child: "subprocess.Popen[bytes]", now_s: float) -> None:
        if child.poll() is None:
            if now_s >= self._child_ends_s:
                self._end_child()
                self._later(
                    RETRY_S, f"a new list was not made within {BUILD_S_MAX:g} s: is the disk failing?"
                )
            return
        words = child.communicate()[1].decode("utf-8", "replace").strip().rpartition("\n")[2]
        self._child = None
        if child.returncode == 0:
            self._fault, self._whole = "", False
            self._follow_ends_s = now_s + FOLLOW_S
            return
        wait_s = RETRY_S
        if child.returncode != STATUS_LATER:
            self._spool.clear()
        if child.returncode not in (STATUS_LATER, STATUS_DAMAGED):
            wait_s = WHOLE_AGAIN_S
        self._later(wait_s, f"a new list could not be made: {words or f'it ended with {child.returncode}'}")

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()


def place_of(catalogue: Catalogue) -> tuple[str, int]:
    """The feed that a catalogue comes from, and the number of its last change here; no name where of none."""
    about = catalogue.about()
    word, _, place = ("" if about is None else about.source).partition(" ")
    feed, _, cursor = place.rpartition(" ")
    return (feed, int(cursor)) if word == "bridge" and cursor.isdecimal() else ("", 0)


def begin_anew(folder: Path, catalogue: Catalogue) -> None:
    """Have the whole list come, and with it every movement of the venue: those that were heard are forgotten.

    The list in use stays until then. No sync may be at work in `folder`. Twice is fine. Raises
    `CatalogueError`, `OSError`; then the next sync goes on where the last one stood.
    """
    (folder / SPOOL).unlink(missing_ok=True)  # its pages brought their movements to the journal that is gone
    sync_folder(folder)
    about = catalogue.about()
    if about is not None and place_of(catalogue)[0]:
        catalogue.apply_changes((), stamp_utc_ms=about.stamp_utc_ms, source=FROM_THE_START)
