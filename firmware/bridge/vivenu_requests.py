"""How an account at vivenu is set, and every request that is sent there.

Pure: settings in, `httpx.Request` out. Only `firmware.bridge.vivenu` sends them.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx
import msgspec

from firmware.bridge.addresses import fits, path_part
from firmware.bridge.vendor import Told, manner
from firmware.core.ticket import Choice, Direction

API_URL = "https://vivenu.com"
BASE = "/api/accessusers"
PAGE_SIZE = 500  # a page of 500 tickets has some 250 kB; vivenu's own default is 25
PAGE_SIZE_MAX = 1000  # vivenu's own limit
BATCH_SIZE = 100  # no limit is published; one lost reply leaves as many scans uncertain
BATCH_SIZE_MAX = 1000  # an array of some 150 kB
OVERLAP_S = 60  # between vivenu's own servers' clocks, and the second that its Date cuts off
OVERLAP_S_MAX = 86_400  # a day: more is a whole list each time
ONLINE_TIMEOUT_S = 3.0  # no figure is published; somebody may stand at a gate
ONLINE_TIMEOUT_S_MAX = 5.0  # some of these have to fit into the time for which a batch is held
ASK_DEADLINE_MS = 3000  # no figure is published; a person who waits longer scans again
# For what staff should know of a ticket that is refused anyway: a part of the deadline, for the refusal waits
# meanwhile. The whole of a reply may take twice as long.
ASIDE_S_MAX, ASIDE_PARTS = 0.5, 6
# Nobody waits at a gate for an upload, and a reply that is given up leaves each of its scans to a person. No
# longer, because a few of them have to fit into the time for which a batch is held.
UPLOAD_TIMEOUT_S, UPLOAD_TIMEOUT_S_MAX = 10.0, 30.0
LIST_TIMEOUT_S = 30.0  # no figure is published; nobody stands at a gate meanwhile
LIST_TRIES = 3  # a page that was cut costs less to ask again than the whole list
LIST_PATIENCE_S = 60.0  # a `Retry-After` in the midst of a list, which would else begin anew

VALID, INVALID, DETAILS_REQUIRED = "VALID", "INVALID", "DETAILSREQUIRED"
# What a ticket may be to be let in, as the operator sets it. A ticket that is INVALID never is.
ADMITTABLE = (VALID, DETAILS_REQUIRED, "RESERVED", "BLANK")


class VivenuSettings(NamedTuple):
    """One account: an access user of vivenu. `token` and `events` have no default.

    `events` are the ids of the events that are played here. `admit` are the statuses with which a ticket is
    let in; `DETAILSREQUIRED` only where vivenu's own settings include such tickets too. `slots` is what
    becomes of tickets while vivenu checks time slots, of which its list has none. With `send_again` an upload
    whose reply was lost is sent once more. The token is the text itself, never a file's name.
    """

    token: str
    events: tuple[str, ...]
    name: str = "vivenu"
    api_url: str = API_URL
    page_size: int = PAGE_SIZE
    batch_size: int = BATCH_SIZE
    overlap_s: int = OVERLAP_S
    online_timeout_s: float = ONLINE_TIMEOUT_S
    ask_deadline_ms: int = ASK_DEADLINE_MS
    upload_timeout_s: float = UPLOAD_TIMEOUT_S
    admit: tuple[str, ...] = (VALID,)
    slots: Choice = Choice.ADMIT
    send_again: bool = False


class Requests:
    """The requests of one account."""

    def __init__(self, settings: VivenuSettings) -> None:
        self._set = settings
        self._base = settings.api_url.rstrip("/") + BASE
        self._headers = {"token": settings.token}  # not Authorization: these endpoints know none

    def _get(
        self, path: str, sent: dict[str, Any], query: Mapping[str, str] = MappingProxyType({})
    ) -> httpx.Request:
        return httpx.Request(
            "GET",
            f"{self._base}/{path}",
            params=dict(query),
            headers=self._headers,
            extensions=sent,
        )

    def _ask(self, what: str, path: str, query: Mapping[str, str] = MappingProxyType({})) -> httpx.Request:
        """A short question. A batch may be held meanwhile, so it is over soon."""
        return self._get(path, manner(what, self._set.online_timeout_s, LIST_TRIES), query)

    def me(self, what: str) -> httpx.Request:
        return self._ask(what, "me")

    def seller(self, what: str) -> httpx.Request:
        return self._ask(what, "seller")

    def events(self, what: str) -> httpx.Request:
        return self._ask(what, "events", {"includeRootEvents": "true"})

    def list(self, what: str, event: str, skip: int, size: int, from_ms: int, until_ms: int) -> httpx.Request:
        """A page of what was created or changed from `from_ms` on and before `until_ms`; 0 is no bound."""
        bounds = {"from": from_ms, "until": until_ms}
        named = {name: iso(at_ms) for name, at_ms in bounds.items() if at_ms}
        return self._get(
            f"tickets/v2/{path_part(event)}",
            manner(what, LIST_TIMEOUT_S, LIST_TRIES, LIST_PATIENCE_S),
            {"top": str(size), "skip": str(skip), **named},
        )

    def ticket(self, what: str, code: str, event: str, *, aside: bool = False) -> httpx.Request:
        """One ticket, by its barcode; of this event only, where one is named.

        With `aside` it is for a text only: at once, soon over, or not at all.
        """
        sent = manner(what, self._set.online_timeout_s)
        if aside:
            soon_s = min(ASIDE_S_MAX, self._set.ask_deadline_ms / 1000 / ASIDE_PARTS)
            sent = manner(what, min(soon_s, self._set.online_timeout_s), patience_s=0.0)
        return self._get(f"tickets/{path_part(code)}", sent, {"eventId": event} if event else {})

    def scan(self, what: str, code: str, timeout_s: float) -> httpx.Request:
        """Check a ticket in. It has no body, no event and no key against sending it twice: one try."""
        return httpx.Request(
            "POST",
            f"{self._base}/tickets/{path_part(code)}/scan",
            headers=self._headers,
            extensions=manner(what, timeout_s),
        )

    def upload(self, what: str, event: str, batch: Sequence[Told]) -> httpx.Request:
        return httpx.Request(
            "POST",
            f"{self._base}/scans/{path_part(event)}",
            content=msgspec.json.encode([entry(told) for told in batch]),
            headers={**self._headers, "Content-Type": "application/json"},
            extensions=manner(what, self._set.upload_timeout_s),
        )


def entry(told: Told) -> dict[str, str]:
    """A scan as an upload has it; `FAIL` where a gate did not let the ticket through."""
    named = {"ticketId": told.ticket_id} if told.ticket_id else {}
    return {
        **named,
        "barcode": told.code,
        "scanned_at": iso(told.at_utc_ms),
        "type": "FAIL" if told.refused else "OK",
        "direction": "IN" if told.direction is Direction.IN else "OUT",
    }


def iso(at_ms: int) -> str:
    """A time as vivenu writes it: UTC with milliseconds."""
    seconds, ms = divmod(at_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03}Z"


def check(settings: VivenuSettings) -> None:
    """Raise `ValueError` for settings that cannot work; the text names the setting and the mend."""
    odd = [status for status in settings.admit if status not in ADMITTABLE]
    faults = (
        (
            not fits(settings.api_url),
            "api_url: write https://host, without user or query; http is for this machine only",
        ),
        (not settings.token, "token: vivenu gives one to each access user"),
        (not settings.token.isascii(), "token: has a character that no token has: copy it again"),
        (not settings.events, "events: name each event that is played here"),
        (not all(settings.events), "events: an event's id is not empty"),
        (len(set(settings.events)) < len(settings.events), "events: each event once"),
        (not 1 <= settings.page_size <= PAGE_SIZE_MAX, f"page_size: 1 to {PAGE_SIZE_MAX}"),
        (not 1 <= settings.batch_size <= BATCH_SIZE_MAX, f"batch_size: 1 to {BATCH_SIZE_MAX}"),
        (not 1 <= settings.overlap_s <= OVERLAP_S_MAX, f"overlap_s: 1 to {OVERLAP_S_MAX}"),
        (not 0.1 <= settings.online_timeout_s <= ONLINE_TIMEOUT_S_MAX, "online_timeout_s: 0.1 to 5"),
        (not 0.1 <= settings.upload_timeout_s <= UPLOAD_TIMEOUT_S_MAX, "upload_timeout_s: 0.1 to 30"),
        (not 500 <= settings.ask_deadline_ms <= 10_000, "ask_deadline_ms: 500 to 10000"),
        (not settings.admit, "admit: name the statuses with which a ticket is let in, such as VALID"),
        (bool(odd), f"admit: one of {', '.join(ADMITTABLE)}"),
        (not isinstance(settings.slots, Choice), "slots: refuse or admit"),
    )
    for wrong, text in faults:
        if wrong:
            raise ValueError(text)
