"""How an account at B.A.M. Ticketing is set, and every request that is sent there.

Pure: settings in, `httpx.Request` out. Log-ins and identities are on the global host, everything else is on
the tenant's; both hosts are settings, because the company has moved once already.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx
import msgspec

from firmware.bridge.addresses import fits, path_part
from firmware.bridge.bam_codes import TicketName
from firmware.bridge.bam_identity import Identity, Wallet
from firmware.bridge.vendor import manner

# A chain writes in seconds; nothing is published. Three of these have to fit into the time for which a scan
# is held by its teller.
CHAIN_TIMEOUT_S, CHAIN_TIMEOUT_S_MAX = 20.0, 25.0
# The same while somebody stands at a closed lane: three steps of a chain that is in no hurry.
ASK_DEADLINE_MS, ASK_DEADLINE_MS_MIN, ASK_DEADLINE_MS_MAX = 8000, 500, 10_000
SHORT_TIMEOUT_S = 5.0  # log-ins, a key, counters: nobody stands at a gate
LIST_TIMEOUT_S = 60.0  # the whole list in one reply
LIST_BYTES_MAX = 128 << 20  # some 350,000 tickets in one reply: there are no pages
TRIES = 2  # of what has no effect
MARGIN_MIN_MAX = 1440  # of a time slot: a day

# What a ticket may be to be let in, as the operator sets it: the others are never sold, or used.
ADMITTABLE = ("reserved", "confirmed", "issued", "activated")
ACCEPT = ("issued", "activated")
# True of a ticket right after our own step, too.
STATE_WORDS = (
    "is invalidated",
    "was invalidated",
    "has been invalidated",
    "status invalidated",
    "state invalidated",
)
USED_WORDS = (
    "already invalidated",
    "already been invalidated",
    "already used",
    "already validated",
    "already been validated",
    *STATE_WORDS,
)
EVENT_DIGITS_MAX = 18
FORMATS = ("PDF", "SECURE")

NO_QUERY: Mapping[str, str] = MappingProxyType({})


class BamSettings(NamedTuple):
    """One account: a validator of one event. `identity`, both addresses and `event` have no default.

    `accept` are the states with which a ticket is let in. `margin_min` is by how much a time slot is longer
    here, on both sides; without `slots` they are not looked at. A refusal with one of `used_words` in it says
    that the ticket is used already. Without `open_before_commit` gates ask, and open when the chain has it.
    """

    identity: Identity
    url: str
    tenant_url: str
    event: str
    name: str = "bam"
    accept: tuple[str, ...] = ACCEPT
    margin_min: int = 0
    slots: bool = True
    used_words: tuple[str, ...] = USED_WORDS
    chain_timeout_s: float = CHAIN_TIMEOUT_S
    open_before_commit: bool = True
    ask_deadline_ms: int = ASK_DEADLINE_MS


class Requests:
    """The requests of one account."""

    def __init__(self, settings: BamSettings) -> None:
        self._set = settings
        whose = f"event/v1/organizer/{path_part(settings.identity.organizer)}"
        self._event = f"{whose}/event/{path_part(settings.event)}"

    # --- who we are: the global host ------------------------------------------------------------------

    def challenge(self, client_nonce: str) -> httpx.Request:
        """Begin a log-in."""
        body = {"client_nonce": client_nonce, "enrollment_id": self._set.identity.enrollment_id}
        return self._auth("challenge", body, "log-in, challenge")

    def wallet(self, client_nonce: str, nonce: str, signed_nonce: str) -> httpx.Request:
        """End it."""
        body = {
            "client_nonce": client_nonce,
            "nonce": nonce,
            "signed_nonce": signed_nonce,
            "organizer_id": _number(self._set.identity.organizer),
        }
        return self._auth("wallet", body, "log-in, answer")

    def refresh(self, token: str) -> httpx.Request:
        """A new session instead of one that expired."""
        return self._auth("refresh", {}, "renewal of the session", token)

    def _auth(self, name: str, body: object, what: str, token: str = "") -> httpx.Request:
        return post(f"{self._set.url.rstrip('/')}/account/v1/auth/{name}", body, what, SHORT_TIMEOUT_S, token)

    # --- the event: the tenant's host -----------------------------------------------------------------

    def codes(self, what: str, token: str) -> httpx.Request:
        """The codes of all unused tickets, in one reply."""
        sent = {**manner(what, LIST_TIMEOUT_S, TRIES, 60.0), "bytes_max": LIST_BYTES_MAX}
        return self._get(f"{self._event}/qr_codes", sent, token)

    def public_key(self, what: str, token: str) -> httpx.Request:
        """What the event's codes are signed for."""
        return self._get(f"{self._event}/public_key", manner(what, SHORT_TIMEOUT_S, TRIES), token)

    def counters(self, what: str, token: str) -> httpx.Request:
        """How many tickets are issued, activated, invalidated."""
        path = f"{self._event}/statistics/validator/ticket_count"
        return self._get(path, manner(what, SHORT_TIMEOUT_S, TRIES), token)

    def _get(self, path: str, sent: dict[str, Any], token: str) -> httpx.Request:
        return get(f"{self._set.tenant_url.rstrip('/')}/{path}", sent, token)

    # --- the chain ------------------------------------------------------------------------------------

    def propose(
        self, what: str, ticket: TicketName, at_utc_ms: int, token: str, timeout_s: float
    ) -> httpx.Request:
        """The first step: what is to be done. Nothing is carried out by it."""
        body = {
            "fcn": "TICKET.INVALIDATE",
            "certificate": self._set.identity.certificate,
            "args": [argument(ticket, at_utc_ms)],
        }
        return self._chain("proposal", body, what, token, timeout_s)

    def endorse(self, what: str, digest: str, signature: str, token: str, timeout_s: float) -> httpx.Request:
        """The second: our signature of that. Nothing is carried out by it either."""
        return self._chain(f"proposal/{path_part(digest)}", {"signature": signature}, what, token, timeout_s)

    def commit(self, what: str, digest: str, signature: str, token: str, timeout_s: float) -> httpx.Request:
        """The third, which carries it out: one try."""
        return self._chain(path_part(digest), {"signature": signature}, what, token, timeout_s)

    def _chain(self, path: str, body: object, what: str, token: str, timeout_s: float) -> httpx.Request:
        url = f"{self._set.tenant_url.rstrip('/')}/blockchain/v1/transaction/{path}"
        return post(url, body, what, timeout_s, token)


class Office:
    """The requests of an organizer's box office, with his own session: they are not a validator's."""

    def __init__(self, tenant_url: str, token: str) -> None:
        self._base = f"{tenant_url.rstrip('/')}/event/v1/ticket"
        self._token = token

    def tickets(self, what: str, query: Mapping[str, str]) -> httpx.Request:
        """The tickets that the caller owns himself."""
        return get(self._base, manner(what, LIST_TIMEOUT_S, TRIES), self._token, query)

    def reserve(
        self, what: str, event: int, owner: str, form: str, items: Sequence[Mapping[str, int]]
    ) -> httpx.Request:
        """Hold tickets for somebody."""
        body = {
            "event_id": event,
            "owner_id": owner,
            "format": form,
            "ticket_reservation_items": list(items),
        }
        return self._post("reserve", body, what)

    def free(self, what: str, tickets: Sequence[int]) -> httpx.Request:
        """Let go of reserved tickets. What it wants is not published: this is an assumption."""
        return self._post("free", {"ticket_ids": list(tickets)}, what)

    def issue(self, what: str, tickets: Sequence[int]) -> httpx.Request:
        """Write reserved tickets to the chain. What it wants is not published: this is an assumption."""
        return self._post("issue", {"ticket_ids": list(tickets)}, what)

    def _post(self, name: str, body: object, what: str) -> httpx.Request:
        return post(f"{self._base}/{name}", body, what, LIST_TIMEOUT_S, self._token)


def validator(url: str) -> httpx.Request:
    """Fetch the identity that a QR code of the dashboard names."""
    return get(url, manner("identity of the validator", SHORT_TIMEOUT_S), "")


def get(url: str, sent: dict[str, Any], token: str, query: Mapping[str, str] = NO_QUERY) -> httpx.Request:
    """A question, with a session where there is one."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Request("GET", url, params=dict(query), headers=headers, extensions=sent)


def post(url: str, body: object, what: str, timeout_s: float, token: str) -> httpx.Request:
    """A request with a body, once."""
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    content = msgspec.json.encode(body)
    return httpx.Request("POST", url, content=content, headers=headers, extensions=manner(what, timeout_s))


def argument(ticket: TicketName, at_utc_ms: int) -> str:
    """What the chain's function is called with: numbers as numbers, and the true time of the scan."""
    body = {
        "seq_num": ticket.number,
        "ticket_config": {"id": ticket.config, "event": {"id": ticket.event}},
        "validation_time": iso(at_utc_ms),
    }
    return msgspec.json.encode(body).decode()


def iso(at_ms: int) -> str:
    """A time as ISO 8601: UTC with milliseconds."""
    seconds, ms = divmod(at_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03}Z"


def _number(text: str) -> int | str:
    """A number, unless it is none: then as it came."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= EVENT_DIGITS_MAX else text


def check(settings: BamSettings) -> None:
    """Raise `ValueError` for settings that cannot work; the text names the setting and the mend."""
    address = "write https://host, without user or query; http is for this machine only"
    odd = [state for state in settings.accept if state not in ADMITTABLE]
    digits = settings.event.isascii() and settings.event.isdecimal()
    faults = (
        (not fits(settings.url), f"url: {address}"),
        (not fits(settings.tenant_url), f"tenant_url: {address}"),
        (not (digits and len(settings.event) <= EVENT_DIGITS_MAX), "event: its number, as in 3334"),
        (
            settings.identity.event != settings.event,
            f"event: the validator is of event {settings.identity.event}: correct it, or fetch the identity "
            "of a validator of this event",
        ),
        (not settings.accept, "accept: name the states with which a ticket is let in, such as issued"),
        (bool(odd), f"accept: some of {', '.join(ADMITTABLE)}"),
        (not 0 <= settings.margin_min <= MARGIN_MIN_MAX, f"margin_min: 0 to {MARGIN_MIN_MAX}"),
        (not all(word.strip() for word in settings.used_words), "used_words: a word is not empty"),
        (
            not 0.1 <= settings.chain_timeout_s <= CHAIN_TIMEOUT_S_MAX,
            f"chain_timeout_s: 0.1 to {CHAIN_TIMEOUT_S_MAX:g}",
        ),
        (
            not ASK_DEADLINE_MS_MIN <= settings.ask_deadline_ms <= ASK_DEADLINE_MS_MAX,
            f"ask_deadline_ms: {ASK_DEADLINE_MS_MIN} to {ASK_DEADLINE_MS_MAX}",
        ),
    )
    for wrong, text in faults:
        if wrong:
            raise ValueError(text)
    try:
        Wallet(settings.identity)
    except ValueError as error:
        raise ValueError(f"validator_file: {error}") from None
