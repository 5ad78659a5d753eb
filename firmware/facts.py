"""Gathers what the core must know before it is asked: the time, and one look into each store. No waiting."""

import ctypes
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from firmware.asks import Link
from firmware.core.events import Scanned
from firmware.core.movements import joined
from firmware.core.ticket import (
    NO_HISTORY,
    Authority,
    Direction,
    History,
    Moment,
    Perimeter,
    Policy,
    Route,
    Ticket,
    Track,
)
from firmware.signed_code import NOTHING, Proven

Prove = Callable[[str, Route], Proven]

NO_LINK = "this gate has no broker"
CLOCK_AHEAD_MS = 60_000  # of another's clock, as far as it is believed; with NTP it is milliseconds
TIME_ERROR = 5  # what adjtimex(2) answers while nothing disciplines the clock
# Without a time server. A crystal is off by some tens of ppm, and the kernel keeps the correction that it has
# learned: the public NTP figures of one Pi 4 wander by 5 ppm from June to December. At 100 ppm a week makes
# a minute, and by so much the clocks of two gates may differ anyway (`CLOCK_AHEAD_MS`).
ALONE_MS_MAX = 604_800_000
STEP_MS_MAX = 2000  # a leap second, and the reading of two clocks on a busy machine; a hand sets by more
NEWS_MS_MAX = 7_200_000  # a credit or a doubt lasts no longer: the longest `credit_min`


class Clock:
    """Both clocks of the gate.

    UTC that is not known never goes back behind the newest moment given out or found on disk: a clock that is
    set back makes no ended ticket good. Where the wall clock stands behind that, time goes on from there
    as the monotonic clock does. A synchronised clock is believed all the same: what is ahead of it was
    written while the clock was wrong, and a gate that stayed ahead would refuse dated tickets and orders
    until true time has caught up with it, in a year perhaps. Order is by (epoch, sequence) in any case.

    From the first time that the wall clock is synchronised, UTC is the monotonic clock plus the distance as
    last seen. The kernel takes its clock for unsynchronised 8.9 hours after the last word of a time server
    (it reckons with 500 ppm, and gives up at 16 s), or as soon as somebody sets it by hand. Neither makes the
    time that was known a wrong one: it stays trusted for `ALONE_MS_MAX`, whatever the wall clock shows.
    """

    def __init__(
        self,
        synchronised: Callable[[], bool],
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        utc_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._is_synchronised = synchronised
        self._monotonic_ns = monotonic_ns
        self._utc_ns = utc_ns
        self._ahead_ns: int | None = None  # of the monotonic clock is UTC, where it is known
        self._synchronised_ns = 0
        self.alone = False
        """Whether the time is known, and no time server keeps it right at present."""
        self.floor_utc_ms = self._read_ms = 0
        self.right_since_utc_ms = 0
        """Since when trusted time has not been set back: what says a later time than now is from before."""
        self.look()

    @property
    def trusted(self) -> bool:
        """Whether the time is known."""
        return self._ahead_ns is not None

    @property
    def ahead_ms(self) -> int | None:
        """By how much UTC is ahead of the monotonic clock, where it is known."""
        return None if self._ahead_ns is None else self._ahead_ns // 1_000_000

    def now(self, floor_utc_ms: int = 0) -> Moment:
        """The present moment; where the time is not known, not earlier than `floor_utc_ms`."""
        ahead_ns, monotonic_ns = self._ahead_ns, self._monotonic_ns()
        monotonic_ms, known_ms = monotonic_ns // 1_000_000, self.floor_utc_ms
        if ahead_ns is None:
            went_on_ms = known_ms + monotonic_ms - self._read_ms
            utc_ms = max(self._utc_ns() // 1_000_000, went_on_ms, floor_utc_ms)
        else:
            utc_ms = (monotonic_ns + ahead_ns) // 1_000_000
            utc_ms = max(utc_ms, known_ms) if known_ms - utc_ms <= STEP_MS_MAX else utc_ms
        self.floor_utc_ms, self._read_ms = utc_ms, monotonic_ms
        return Moment(monotonic_ms, utc_ms, ahead_ns is not None)

    def past(self, history: History) -> History:
        """What a ticket did, with no time that is yet to come.

        Such a time was written while this clock was ahead, or was told while nobody here knew better: it was
        before the clock was set right, and that is all that is known of it. Where the clock is not trusted
        now there is nothing to say that.
        """
        latest_ms = self.floor_utc_ms + CLOCK_AHEAD_MS
        if not self.trusted or max(_times(history)) <= latest_ms:
            return history

        def known(utc_ms: int, lasts_ms: int = 0) -> int:
            return utc_ms if utc_ms <= latest_ms + lasts_ms else self.right_since_utc_ms + lasts_ms

        outer, inner = (
            Track(track.entries, track.last, known(track.entered_utc_ms), known(track.left_utc_ms))
            for track in (history.outer, history.inner)
        )
        pending = tuple(each._replace(utc_ms=known(each.utc_ms)) for each in history.pending)
        credit = history.credit
        if credit is not None:
            credit = credit._replace(until_utc_ms=known(credit.until_utc_ms, NEWS_MS_MAX))
        unsure_until_utc_ms = known(history.unsure_until_utc_ms, NEWS_MS_MAX)
        return history._replace(
            outer=outer, inner=inner, pending=pending, credit=credit, unsure_until_utc_ms=unsure_until_utc_ms
        )

    def resume(self, known: Moment) -> None:
        """Go on from a trusted moment of the gate before this one, where that is possible.

        Since then the wall clock must have gone on with the monotonic one. In another boot it has not: their
        distance is the instant of the boot. The week of `ALONE_MS_MAX` counts from that moment.
        """
        monotonic_ns = self._monotonic_ns()
        ahead_ns = self._utc_ns() - monotonic_ns
        since_ms = monotonic_ns // 1_000_000 - known.monotonic_ms
        step_ms = abs(ahead_ns // 1_000_000 - (known.utc_ms - known.monotonic_ms))
        if self.trusted or not 0 <= since_ms <= ALONE_MS_MAX or step_ms > STEP_MS_MAX:
            return
        self._synchronised_ns, self._ahead_ns, self.alone = known.monotonic_ms * 1_000_000, ahead_ns, True
        self.right_since_utc_ms = (monotonic_ns + ahead_ns) // 1_000_000

    def look(self) -> str:
        """Look again whether the clock may be trusted, about once a second; what to write of a change."""
        before, monotonic_ns = self._ahead_ns, self._monotonic_ns()
        ahead_ns = self._utc_ns() - monotonic_ns if self._is_synchronised() else None
        if ahead_ns is not None and self._is_synchronised():  # still: what was read is no hand's work
            self._synchronised_ns, self._ahead_ns, self.alone = monotonic_ns, ahead_ns, False
            if before is None or before - ahead_ns > STEP_MS_MAX * 1_000_000:
                self.right_since_utc_ms = (monotonic_ns + ahead_ns) // 1_000_000
        else:
            if monotonic_ns - self._synchronised_ns > ALONE_MS_MAX * 1_000_000:
                self._ahead_ns = None
            self.alone = self._ahead_ns is not None
        if (before is None) is (self._ahead_ns is None):
            return ""
        return "trusted" if before is None else "not trusted any more"

    def believed(self, utc_ms: int) -> int:
        """A time of somebody else's; where ours is trusted and that is ahead, the present. Any thread."""
        present_utc_ms = self.floor_utc_ms  # the loop asks for it each second
        ahead = self.trusted and utc_ms - present_utc_ms > CLOCK_AHEAD_MS
        return present_utc_ms if ahead else utc_ms


def synchronised() -> bool:
    """Whether the kernel's clock is disciplined by NTP or the like (adjtimex(2)); not if nobody may ask."""
    state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)))
    return 0 <= state != TIME_ERROR


def _times(history: History) -> Iterator[int]:
    for track in (history.outer, history.inner):
        yield from (track.entered_utc_ms, track.left_utc_ms)
    yield from (each.utc_ms for each in history.pending)
    yield 0 if history.credit is None else history.credit.until_utc_ms
    yield history.unsure_until_utc_ms


class Tickets(Protocol):
    """The catalogue, as the loop reads it."""

    def digest(self, code: str) -> bytes:
        """The keyed digest of a code."""

    def get(self, digest: bytes) -> Ticket | None:
        """The ticket of a digest. Raises `CatalogueDamaged` where it cannot be read."""

    def named(self, ticket_id: str) -> Ticket | None:
        """The ticket of an id, whatever its code. Raises `CatalogueDamaged` where it cannot be read."""


class Rulebook(Protocol):
    """The settings, as the loop reads them."""

    def policy_for(self, event: str) -> Policy:
        """What the operator decided for an event."""

    def route_for(self, code: str, ticket: Ticket | None) -> Route:
        """Who decides about a code: by its ticket first, then by its shape."""


class Facts(NamedTuple):
    """Where facts come from. Without a link nobody can be asked, and no vendor is reachable.

    `prove` is there where the codes of some route are signed.
    """

    tickets: Tickets
    rulebook: Rulebook
    history: Callable[[str], History]
    link: Link | None = None
    prove: Prove | None = None

    def scanned(
        self,
        code: str,
        direction: Direction,
        moment: Moment,
        row: int,
        stale: bool = False,
        perimeter: Perimeter = Perimeter.OUTER,
    ) -> Scanned:
        """A code that was read at a lane of this perimeter, with all that is known about it.

        `stale` says that the catalogue is older than the operator allows. A code that is not listed and bears
        a genuine signature is the ticket that it names: one ticket may have been signed more than once.
        Raises UnicodeEncodeError where the code is no text that could be written, and what `Tickets` raises.
        """
        digest = self.tickets.digest(code)
        ticket = self.tickets.get(digest)
        route = self.rulebook.route_for(code, ticket)
        proof, signed_id = NOTHING if self.prove is None else self.prove(code, route)
        if signed_id and ticket is None:
            ticket = self.tickets.named(signed_id)
        if route.authority is Authority.VENDOR:
            if self.link is None:
                route = route._replace(reachable=False, trouble=NO_LINK)
            else:
                route = self.link.look(route, perimeter, moment)
        event = route.event if ticket is None else ticket.event
        subject = (signed_id or digest.hex()) if ticket is None else ticket.ticket_id
        return Scanned(
            moment,
            row,
            digest,
            subject,
            direction,
            route,
            self.rulebook.policy_for(event),
            ticket,
            self.past(subject, digest),
            proof,
            stale,
        )

    def past(self, subject: str, digest: bytes) -> History:
        """What is known of a ticket, also from before its code was listed: then its digest stood for it."""
        history, code = self.history(subject), digest.hex()
        if code in ("", subject) or (before := self.history(code)) == NO_HISTORY:
            return history
        return joined(history, before)

    def unreadable(self, fault: str, direction: Direction, moment: Moment, row: int) -> Scanned:
        """Something was held to the reader that must not be judged."""
        digest = self.tickets.digest(f"\0{fault}")
        policy = self.rulebook.policy_for("")
        return Scanned(moment, row, digest, "", direction, Route(), policy, None, fault=fault)
