"""What B.A.M.'s replies mean. Pure: replies in, plain values out. Only `firmware.bridge.bam` uses it.

What a ticket says about persons ends here: no value below has a place for it.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from firmware.bridge.bam_codes import TicketName, named, ticket_of
from firmware.bridge.bam_identity import DIGESTS, Identity
from firmware.bridge.lenient import (
    CODE_LENGTH_MAX,
    ID_LENGTH_MAX,
    TEXT_LENGTH_MAX,
    TYPE_LENGTH_MAX,
    clean,
    number_of,
    text_of,
    time_of,
)
from firmware.bridge.vendor import Lost, Misconfigured, Outage, VendorTicket, read_json
from firmware.core.ticket import Status
from firmware.signed_code import MARK

POINT = re.compile(r"0[23][0-9a-fA-F]{64}|04[0-9a-fA-F]{128}")  # of P-256, as SEC 1 writes one
DIGEST = re.compile(r"[0-9a-fA-F]{64,128}")
TOKEN_LENGTH_MAX = 8192
JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
TOKENS = ("token", "jwt", "access_token", "jwt_token")
DEEP_MAX = 4  # of objects in objects of a reply, in which a text is looked for
JWT_BEGINS = "eyJ"  # what the beginning of a JSON object is in base64: a host or a version has dots too
# Where an error has its words. Below `WIDE`, where some have them by the name of a field, any name will do.
WORDS = ("message", "msg", "error", "error_code", "reason", "info", "code", "detail", "errors", "data")
WIDE = frozenset({"info", "detail", "errors"})
WORDS_MAX = 8  # errors of one reply that are read
# Of the words of a reply that are read; a chain puts a word for each peer in front of the one that matters.
WORDS_LENGTH_MAX = 8192
TAIL_LENGTH = 12  # of a text that is cut for people: the status at its end stays
ERROR_CODE = "error_code"
# What a refusal may call used or invalidated that is no ticket: a revoked validator must not make all tickets
# used. "not" takes back what comes after it, too.
NO_TICKETS = frozenset(
    {"not", "session", "token", "jwt", "nonce", "key", "user", "account", "identity", "validator", "wallet"}
    | {"certificate", "enrollment", "signature", "digest", "proposal", "transaction"}
)
# What may stand between a thing and what became of it.
BETWEEN = frozenset({"has", "have", "had", "was", "were", "is", "been", "be", "status"})
FAILING = re.compile("FAIL|ERROR|REJECT|DENI|ABORT|INVALID(?!ATED)|CONFLICT", re.IGNORECASE)
SUCCESS = "SUCCESS"
MINUTE_MS = 60_000
DAY_LENGTH_MAX = 10  # of a date without a time of day, as in 2030-01-23
COUNTERS = ("issued_tickets", "activated_tickets", "invalidated_tickets")

# What each state of a ticket is where it is not one that lets in. Of a later word nothing is known.
STATES: Mapping[str, Status] = MappingProxyType(
    {
        "draft": Status.BLOCKED,
        "available": Status.BLOCKED,
        "unavailable": Status.BLOCKED,
        "reserved": Status.BLOCKED,
        "confirmed": Status.BLOCKED,
        "issued": Status.BLOCKED,
        "activated": Status.BLOCKED,
        "invalidated": Status.USED,
    }
)
# The same for people.
MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "draft": "not sold: refused",
        "available": "not sold: refused",
        "unavailable": "not sold: refused",
        "reserved": "held, not issued: refused",
        "confirmed": "paid, not on the chain yet: refused, unless `accept` names it",
        "issued": "let in",
        "activated": "let in",
        "invalidated": "used: refused",
    }
)


class Expired(Exception):
    """The session is over, or never was: it was not carried out."""


class Said(Exception):
    """A reply came, and is no good. `said` is all the text in it, without our own words; "" for none."""

    def __init__(self, why: str, said: str = "") -> None:
        super().__init__(why)
        self.said = said


class Missing(Said):
    """There is no such thing: it was not carried out."""


class Forbidden(Said, Misconfigured):
    """We may not do this: it was not carried out."""


class Rejected(Exception):
    """B.A.M. says no to this request; it was not carried out. The text is its own, `said` is all of it."""

    def __init__(self, said: str) -> None:
        super().__init__(shown(said))
        self.said = said


class Failed(Said, Lost):
    """A reply came, and is 5xx (which always has a text) or not what it should be."""


class NoSession(Outage):
    """A reply came, and it has no session in it."""


class Done(NamedTuple):
    """The reply to a transaction's last step. `success` is `None` where it says neither."""

    success: bool | None
    text: str
    status: str = ""


class Count(NamedTuple):
    """How many tickets of a kind there are in each state."""

    config: str
    issued: int
    activated: int
    invalidated: int


def read(response: httpx.Response, what: str) -> object:
    """The payload of a good reply; `None` where it is one without any (204).

    Raises `Expired` (401), `Forbidden` (403), `Missing` (404), `Rejected` (other 4xx), `Outage` (429), `Lost`
    (408), `Failed` (5xx, no JSON, or a part of some: it may have been carried out) and `Misconfigured` (a
    redirect).
    """
    try:
        body = read_json(response)
    except (ValueError, RecursionError):
        body = None
    status = response.status_code
    whole = f"{words(_plain_text(response) if body is None else body) or 'answered'} ({status})"
    said = shown(whole)
    if status == 429:
        raise Outage(f"{what}: too many requests (429)")
    if status == 408:
        raise Lost(f"{what}: {said}")
    if status >= 500:
        raise Failed(f"{what}: {said}", whole)
    if status == 401:
        raise Expired(f"{what}: {said}")
    if status == 404:
        raise Missing(f"{what}: {said}", whole)
    if status == 403:
        mend = "the validator may not do this: make a new one in the dashboard, and use gatepost bam enrol"
        raise Forbidden(f"{what}: {said}: {mend}", whole)
    if status >= 400 and body is None and _is_cut(response):
        raise Failed(f"{what}: a refusal that was cut ({status})")
    if status >= 400:
        raise Rejected(whole)
    if not response.is_success:
        raise Misconfigured(f"{what}: {said}, a redirect: correct `url` and `tenant_url`")
    if status == 204:
        return None
    if body is None:
        raise Failed(f"{what}: the reply is no JSON, or was cut")
    return _payload(body)


def _plain_text(response: httpx.Response) -> str:
    """The text of a reply that is meant as one; "" for JSON that was cut."""
    named = response.headers.get("content-type", "").lower()
    return response.text if named.startswith("text/") else ""


def _is_cut(response: httpx.Response) -> bool:
    """Whether this was to be JSON, and is a part of some: what it refuses nobody can tell."""
    named = response.headers.get("content-type", "").lower()
    return bool(response.content) and "json" in named


def _payload(body: object) -> object:
    """What is in `data`. A status beside it is kept with its words, where there is room for it."""
    if not isinstance(body, dict) or "data" not in body:
        return body
    inner = body["data"]
    if not isinstance(body.get("status"), str) or not (inner is None or isinstance(inner, dict | str)):
        return inner
    wide = not _succeeded(body["status"])
    beside = {name: words({name: body[name]}, wide=wide) for name in WORDS if name in body and name != "data"}
    beside = {"status": body["status"]} | {name: text for name, text in beside.items() if text}
    return beside | (inner if isinstance(inner, dict) else {"data": inner})


def words(body: object, *, wide: bool = True) -> str:
    """The words of an error, wherever it has them.

    What is no error has nothing but them looked at (`wide` is false), for the rest may be about persons.
    """
    found = map(_line, _said(body, DEEP_MAX, wide=wide))
    return ": ".join(dict.fromkeys(filter(None, found)))[:WORDS_LENGTH_MAX]


def _said(body: object, deep: int, *, wide: bool, each: bool = False) -> Iterator[str]:
    """`each` is whether all texts of an object count, and not those of known names alone."""
    if isinstance(body, list):
        for part in body[:WORDS_MAX] if deep else ():
            yield from _said(part, deep - 1, wide=wide, each=each)
    elif isinstance(body, dict):
        for name in WORDS if deep else ():
            part = body.get(name)
            if name != ERROR_CODE or number_of(part) is None:
                yield from _said(part, deep - 1, wide=wide, each=wide and name in WIDE)
        others = [name for name in body if name not in WORDS][:WORDS_MAX] if each and deep else ()
        for name in others:
            parts = body[name] if isinstance(body[name], list) else [body[name]]
            yield from (text_of(part) or "" for part in parts[:WORDS_MAX] if isinstance(part, str))
            for part in parts[:WORDS_MAX]:
                if isinstance(part, dict):
                    yield from _said(part, deep - 1, wide=wide)
    else:
        yield text_of(body) or ""


def says(text: str, phrases: Iterable[str]) -> bool:
    """Whether a text says one of these of a ticket: not that it is not so, nor that a session is over.

    A colon ends what is spoken of, as in "error of the transaction: already used".
    """
    said = _plain(text)
    for phrase in phrases:
        parts = [re.escape(part) for part in _plain(phrase).split() if part != ":"]
        for found in re.finditer(" (?:: )*".join(parts), said) if parts else ():
            before = [word for word in said[: found.start()].split() if not _is_between(word)]
            if not before or before[-1] not in NO_TICKETS:
                return True
    return False


def _is_between(word: str) -> bool:
    """Whether a word may stand between a thing and what became of it: also its number."""
    return word in BETWEEN or any(map(str.isdigit, word))


def _plain(text: str) -> str:
    """A text for comparison: without case, and with blanks for what is between words, but for colons."""
    return " ".join(re.sub(r"[^\w:]|_", " ", text.casefold()).replace(":", " : ").split())


def fails(done: Done) -> bool:
    """Whether a transaction's status is a word for a failure, and not one that nobody knows."""
    return done.success is False and FAILING.search(done.status) is not None


def texts(body: object, *names: str, deep: int = DEEP_MAX) -> Iterator[str]:
    """The texts that a reply has under these names, also in objects inside of it; or that it is itself."""
    if isinstance(body, str):
        yield body
    elif isinstance(body, dict) and deep:
        for name in (*names, "data"):
            yield from texts(body.get(name), *names, deep=deep - 1)


def _line(text: str) -> str:
    return " ".join(text[:WORDS_LENGTH_MAX].split())


def shown(text: str) -> str:
    """A text of theirs as people see it: cut in the middle where it is too long."""
    if len(text) <= TEXT_LENGTH_MAX:
        return text
    return f"{text[: TEXT_LENGTH_MAX - TAIL_LENGTH - 1]}…{text[-TAIL_LENGTH:]}"


# --- who we are ---------------------------------------------------------------------------------------------


def identity(body: object) -> Identity | None:
    """A validator's identity; `None` where the reply is none."""
    if not isinstance(body, dict):
        return None
    wallet, organizer = body.get("wallet"), body.get("organizer")
    if isinstance(organizer, dict):
        organizer = organizer.get("id")
    if not isinstance(wallet, dict):
        return None
    texts = (
        body.get("event_id"),
        organizer,
        *map(wallet.get, ("enrollment_id", "certificate", "private_key")),
    )
    found = [text_of(text) for text in texts]
    return None if None in found else Identity(*(text or "" for text in found))


def nonce(body: object, what: str) -> str:
    """The text to sign for a log-in. Raises `Outage`."""
    found = text_of(body.get("nonce")) if isinstance(body, dict) else None
    if found is None:
        raise Outage(f"{what}: the reply has no nonce")
    return found


def token(body: object, what: str) -> str:
    """A session: what looks like a JWT, or else the first text; at last what looks like one elsewhere.

    Raises `NoSession` where the reply has none.
    """
    found = [
        text
        for text in texts(body, *TOKENS)
        if 0 < len(text) <= TOKEN_LENGTH_MAX and text.isascii() and text.isprintable()
    ]
    if not found:
        found = [text for text in _anywhere(body, DEEP_MAX) if _is_jwt(text)]
    if not found:
        raise NoSession(f"{what}: the reply has no session")
    return next(filter(JWT.fullmatch, found), found[0])


def _is_jwt(text: str) -> bool:
    jwt = JWT.fullmatch(text) is not None and text.startswith(JWT_BEGINS)
    return jwt and len(text) <= TOKEN_LENGTH_MAX


def _anywhere(body: object, deep: int) -> Iterator[str]:
    if isinstance(body, str):
        yield body
    elif isinstance(body, dict | list) and deep:
        for part in body.values() if isinstance(body, dict) else body:
            yield from _anywhere(part, deep - 1)


# --- the event ----------------------------------------------------------------------------------------------


def public_key(body: object, what: str) -> str:
    """The event's key as PEM. It comes as that, as DER in base64, or as a point of the curve in hexadecimal.

    Raises `Misconfigured` where it is no key of the curve that codes are of.
    """
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    for text in texts(body, "public_key"):
        try:
            key = _key(text.replace("\\n", "\n").strip())
        except (ValueError, UnsupportedAlgorithm):
            continue
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            return key.public_bytes(serialization.Encoding.PEM, form).decode()
    raise Misconfigured(f"{what}: the reply is no public key of the curve P-256: ask B.A.M.")


def _key(text: str) -> object:
    if "-----BEGIN" in text:
        return serialization.load_pem_public_key(text.encode())
    if POINT.fullmatch(text):
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes.fromhex(text))
    return serialization.load_der_public_key(base64.b64decode("".join(text.split()), validate=True))


def rows(body: object, what: str) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each ticket of the list of codes, with its kind. Raises `Lost` where it is no list.

    A kind without tickets has none; but where no kind has any place for them, the reply is another one, and
    to believe it would make all of them used.
    """
    if not isinstance(body, list):
        raise Lost(f"{what}: the reply is no list")
    if body and not any(isinstance(config, dict) and "ticket" in config for config in body):
        raise Lost(f"{what}: no entry of the reply has tickets")
    for config in body:
        tickets = (config.get("ticket") or []) if isinstance(config, dict) else None
        if not isinstance(tickets, list):
            raise Lost(f"{what}: an entry of the reply has no tickets")
        for ticket in tickets:
            yield (ticket if isinstance(ticket, dict) else {}), config


def ticket(
    row: Mapping[str, Any],
    config: Mapping[str, Any],
    event: str,
    accept: Sequence[str],
    margin_min: int | None,
) -> VendorTicket | None:
    """A ticket of the list; `None` for what cannot be read as one of this event.

    `margin_min` is by how many minutes its time slot is longer here; `None` where those are not looked at.
    """
    content = row.get("ticket_qr_code")
    code = text_of(content.get("content")) if isinstance(content, dict) else None
    if code is None or len(code) > CODE_LENGTH_MAX:
        return None
    name = ticket_of(code) if MARK in code else _numbered(row, config, event)
    if name is None or str(name.event) != event:
        return None
    begins_ms, ends_ms = slot(row, config, margin_min) if margin_min is not None else (None, None)
    sector = row.get("sector")
    where = (text_of(sector.get("name")) if isinstance(sector, dict) else None) or ""
    return VendorTicket(
        ticket_id=str(name),
        code=code,
        status=standing(row.get("status"), accept),
        event=event,
        type=str(name.config),
        sector=where if len(where) <= TYPE_LENGTH_MAX else "",
        valid_from_ms=begins_ms,
        valid_until_ms=ends_ms,
    )


def _numbered(row: Mapping[str, Any], config: Mapping[str, Any], event: str) -> TicketName | None:
    """The ticket of a code that is no signed one: whether those of the wallet app are is not published."""
    of = config.get("event")
    of = of.get("id") if isinstance(of, dict) else config.get("event_id")
    numbers = [
        number_of(each) for each in (event if of is None else of, config.get("id"), row.get("seq_num"))
    ]
    return named("E{}TC{}T{}".format(*numbers))


def standing(state: object, accept: Sequence[str]) -> Status:
    """What a gate has to make of a state. Without one a ticket is unused, for only such are listed."""
    word = state.strip().lower() if isinstance(state, str) else ""
    if not word:
        return Status.VALID if state is None else Status.BLOCKED
    return Status.VALID if word in accept else STATES.get(word, Status.BLOCKED)


def slot(row: Mapping[str, Any], config: Mapping[str, Any], margin_min: int) -> tuple[int | None, int | None]:
    """From when until when a ticket is let in, as its time slot says; `None` for no bound.

    B.A.M.'s times are ISO 8601 and have a zone; one without is taken as UTC, so that the slot bounds all the
    same. A day without a time of day is no bound.
    """
    found = row.get("timeslot") or config.get("timeslot")
    if not isinstance(found, dict):
        return None, None
    begins_ms, ends_ms = (_bound_ms(found.get(name)) for name in ("start_at", "end_at"))
    margin_ms = margin_min * MINUTE_MS
    return (
        None if begins_ms is None else begins_ms - margin_ms,
        None if ends_ms is None else ends_ms + margin_ms,
    )


def _bound_ms(value: object) -> int | None:
    found_ms = time_of(value)[0]
    if found_ms is not None or not isinstance(value, str) or len(value.strip()) <= DAY_LENGTH_MAX:
        return found_ms
    try:
        date = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return time_of(f"{date.isoformat()}+00:00")[0] if date.tzinfo is None else None


def counts(body: object, what: str) -> tuple[Count, ...]:
    """The counters of each kind of tickets, or of all together. Raises `Failed` where the reply has none.

    A counter that is left out is 0.
    """
    entries = body
    if isinstance(body, dict):
        inner = [each for each in body.values() if isinstance(each, dict)]
        entries = [body] if any(key in body for key in COUNTERS) else inner if inner or not body else None
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise Failed(f"{what}: the reply is no list of counters")
    found = []
    for number, each in enumerate(entries, 1):
        config = each.get("ticket_config")
        ids = (each.get("ticket_config_id"), config.get("id") if isinstance(config, dict) else config)
        name = next(filter(None, map(text_of, (*ids, each.get("id"), each.get("name")))), str(number))
        figures = [0 if each.get(key) is None else number_of(each[key]) for key in COUNTERS]
        if None in figures:
            raise Failed(f"{what}: an entry has a counter that is no number")
        found.append(Count(name[:ID_LENGTH_MAX], *(figure or 0 for figure in figures)))
    return tuple(found)


# --- the chain ----------------------------------------------------------------------------------------------


def digest(body: object, what: str) -> str:
    """What has to be signed next, as hexadecimal digits.

    A digest says more than a status beside it, whose words for this step are not published. One of a length
    that nobody can sign is none. Raises `Rejected` where the reply has a status that is not SUCCESS instead,
    `Failed` where it has neither.
    """
    for text in texts(body, "digest"):
        found = text.strip().removeprefix("0x")
        if DIGEST.fullmatch(found) and len(found) // 2 in DIGESTS and len(found) % 2 == 0:
            return found
    said = done(body)
    if said.success is False:
        raise Rejected(said.text)
    raise Failed(f"{what}: the reply has no digest", said.text)


def done(body: object) -> Done:
    """What became of a transaction. Its text is whole."""
    status = text_of(body.get("status")) if isinstance(body, dict) else None
    success = None if status is None else _succeeded(status)
    said = words(body, wide=success is False)
    text = ": ".join(filter(None, (_line(status or ""), said)))
    return Done(success, text or "the reply has no status", status or "")


def _succeeded(status: str) -> bool:
    return status.strip().upper() == SUCCESS


# --- the box office -----------------------------------------------------------------------------------------


class Owned(NamedTuple):
    """A ticket as the box office sees it."""

    id: str
    name: str
    state: str
    form: str
    meaning: str


def total(response: httpx.Response) -> int | None:
    """How many there are of what a good reply lists, as it says itself; `None` where it does not."""
    try:
        body = read_json(response)
    except (ValueError, RecursionError):
        return None
    for part in (body, body.get("data")) if isinstance(body, dict) else ():
        paging = part.get("paging") if isinstance(part, dict) else None
        if isinstance(paging, dict):
            return number_of(paging.get("total"))
    return None


def part(response: httpx.Response, body: object, tickets: int) -> str:
    """Why a list of codes is a part of one by its own words; "" where it is not.

    It should have no pages. What a total would count, kinds or tickets, is not known: it is above both then.
    """
    there = total(response) or 0
    kinds = len(body) if isinstance(body, list) else 0
    return (
        f"{tickets:,} codes came, and the list has {there:,} entries" if there > max(kinds, tickets) else ""
    )


def owned(body: object, what: str) -> tuple[Owned, ...]:
    """Tickets of the box office. Raises `Lost` where the reply is no list of some."""
    found = body.get("tickets", body.get("ticket")) if isinstance(body, dict) else body
    if not isinstance(found, list):
        raise Lost(f"{what}: the reply is no list of tickets")
    return tuple(_owned(each) for each in found if isinstance(each, dict))


def _owned(row: Mapping[str, Any]) -> Owned:
    config, event = row.get("ticket_config"), row.get("event")
    if isinstance(config, dict):
        event = config.get("event") or event or {"id": config.get("event_id")}
        config = config.get("id")
    config = config if config is not None else row.get("ticket_config_id")
    event = event.get("id") if isinstance(event, dict) else event
    parts = [number_of(part) for part in (event, config, row.get("seq_num"))]
    name = "" if None in parts else str(TicketName(*(part or 0 for part in parts)))
    state = (text_of(row.get("status")) or "").lower()
    texts = [text_of(row.get(key)) or "" for key in ("id", "format")]
    shown = [text if clean(text) and text.isprintable() else "?" for text in (*texts, state)]
    return Owned(shown[0], name, shown[2], shown[1], MEANINGS.get(state, "unknown: refused"))
