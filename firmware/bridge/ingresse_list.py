"""The guest lists of one account at Ingresse: all pages of each session, whole or what changed.

Only `firmware.bridge.ingresse` uses it.
"""

import hashlib
from collections.abc import Mapping
from functools import partial

from firmware.bridge import ingresse_replies as replies
from firmware.bridge.ingresse_login import Logins
from firmware.bridge.ingresse_requests import IngresseSettings, Requests
from firmware.bridge.lenient import is_ms
from firmware.bridge.vendor import Flow, Listing, Outage, Page

PAGES_MAX = 10_000  # of one session: fifteen million tickets
PASSES_MAX = 3  # through one session's list or changes, where rows moved between pages meanwhile
NAMED_MAX = 20  # known events, sessions or tickets in an error's text


class GuestLists:
    """Reads the lists of all sessions that are set."""

    def __init__(self, settings: IngresseSettings, requests: Requests, logins: Logins) -> None:
        self._set = settings
        self._requests = requests
        self._logins = logins
        self._shared: dict[str, str] = {}  # as in the last whole run
        self.unfound: dict[str, str] = {}
        """By session: what the producer search has instead."""

    def tickets(self, since: str) -> Flow[Listing]:
        """List all sessions; with the `since` of an earlier run only what changed.

        `since` is the vendor's own time before that run began, less the overlap, and a mark of the settings:
        after a change of events or of `unsold` the whole list is read.
        """
        stamp, _, mark = since.partition(" ")
        run = _Run(int(stamp) if mark == self._mark() and is_ms(stamp) else 0)
        for event, sessions in self._set.events:
            for session in sessions:
                yield from self._session(run, event, session)
        if not run.from_ms:
            self._shared = run.shared
            if run.shared:
                run.odd.append(
                    f"{len(run.shared)} tickets are in lists of several sessions, and count in the first: "
                    + some(frozenset(f"{ticket} in {first}" for ticket, first in run.shared.items()))
                )
        start_ms = next((stamp_ms for stamp_ms in run.stamps_ms if stamp_ms), 0)
        until = f"{start_ms - self._set.overlap_s * 1000} {self._mark()}" if start_ms else ""
        if run.from_ms and (not until or not run.whole):
            until = since  # no clock was heard, or rows are missing: the next run begins where this one did
        return Listing(until, run.whole and not run.from_ms, sum(run.skipped.values()), "; ".join(run.odd))

    def _session(self, run: "_Run", event: str, session: str) -> Flow[None]:
        """All pages of a session; once more where rows moved between pages meanwhile."""
        seen = run.seen[session] = set()
        readings = 0
        while readings < PASSES_MAX:
            readings += 1
            before = len(seen)
            total = yield from self._pages(run, event, session, seen)
            if not run.from_ms and not seen and session in self.unfound:
                run.odd.append(f"session {session} has no tickets, and {self.unfound[session]}")
            if total is None or len(seen) >= total:
                return
            if before and len(seen) == before:
                break  # it stands still, and still lacks some: another look in a moment finds no more
        run.whole = False
        run.odd.append(f"session {session}: {len(seen)} of {total} rows, read {readings} times")

    def _pages(self, run: "_Run", event: str, session: str, seen: set[int]) -> Flow[int | None]:
        """One reading; how many rows there should be, the most that any page said."""
        size, filled, totals = self._set.page_size, 0, list[int]()
        here: set[int] = set()  # this reading's, where nothing else tells the last page
        run.skipped[session] = 0
        for number in range(1, PAGES_MAX + 1):
            page = yield from self.page(event, session, number, size, run.from_ms, run.stamps_ms)
            if page.total is not None:
                totals.append(page.total)
            if page.last is None:  # a short page may be the server's own limit: the end is one without news
                rows = {hash(replies.row_id(row)) for row in page.rows}
                if rows <= here:
                    break
                here |= rows
            if page.rows and page.current not in (None, number):
                raise Outage(f"{self._set.name}: page {number} of session {session} came as {page.current}")
            filled += bool(page.rows)
            skipped = run.skipped[session]
            tickets = []
            for row in page.rows:
                ticket = replies.ticket(row, event, session, self._set.unsold)
                if ticket is None:
                    run.skipped[session] += 1
                    seen.add(-run.skipped[session])
                    continue
                seen.add(hash(ticket.ticket_id))
                if self._first(run, ticket.ticket_id, session) == session:
                    tickets.append(ticket)
            if page.rows:
                yield Page(tuple(tickets), run.skipped[session] - skipped)
            if page.last is not None and page.last <= number:
                break
        else:
            raise Outage(f"{self._set.name}: session {session} has more than {PAGES_MAX} pages")
        total = max(totals, default=None)
        if run.from_ms and (filled <= 1 or (total and page.last is not None and total > page.last * size)):
            return None  # of one page no row can move to another; or the whole list is counted, not this
        return total

    def _first(self, run: "_Run", ticket_id: str, session: str) -> str:
        """The session in whose list a ticket counts: the first, or it would change with every look."""
        first = self._shared.get(ticket_id) if run.from_ms else None
        key = hash(ticket_id)
        if first is None:
            first = next((other for other, ids in run.seen.items() if key in ids), session)
        if first != session:
            run.shared[ticket_id] = first
        return first

    def page(
        self, event: str, session: str, number: int, size: int, from_ms: int, stamps_ms: list[int]
    ) -> Flow[replies.GuestList]:
        """One page of one session's list; Ingresse's clock is added to `stamps_ms`."""
        what = f"guest list of event {event}, session {session}, page {number}"
        build = partial(self._requests.list, what, event, session, number, size, from_ms)
        return replies.guest_list((yield from self._logins.ask(build, what, stamps_ms)), what)

    def _mark(self) -> str:
        """Of the settings that a delta relies on."""
        served = (self._set.api_url, self._set.events, str(self._set.unsold))
        return hashlib.sha256(repr(served).encode()).hexdigest()[:12]


class _Run:
    """One run through the list."""

    def __init__(self, from_ms: int) -> None:
        self.from_ms = from_ms
        self.stamps_ms: list[int] = []
        self.whole = True
        self.seen: dict[str, set[int]] = {}  # by session, hashes of ids: a million of them in some 70 MB
        self.shared: dict[str, str] = {}  # tickets of several sessions, with the first
        self.skipped: dict[str, int] = {}  # by session, in the last reading
        self.odd: list[str] = []


def some(names: Mapping[str, object] | frozenset[str]) -> str:
    """Some names for an error's text."""
    listed = sorted(names)
    more = f" and {len(listed) - NAMED_MAX} more" if len(listed) > NAMED_MAX else ""
    return (", ".join(listed[:NAMED_MAX]) or "none") + more
