"""What Ingresse's replies mean, read leniently: its clients disagree about types, and its page is years old.

Pure: replies in, plain values out. Only `firmware.bridge.ingresse` uses it. Whatever a row says about persons
(names, e-mail, documents) ends here: no value below has a place for it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, auto
from typing import Any, NamedTuple

import httpx

from firmware.bridge.lenient import (
    CODE_LENGTH_MAX,
    ID_LENGTH_MAX,
    MS_MAX,
    TEXT_LENGTH_MAX,
    TYPE_LENGTH_MAX,
    number_of,
    text_of,
    time_of,
    truth_of,
)
from firmware.bridge.vendor import Lost, Misconfigured, Outage, Told, VendorTicket, read_json
from firmware.core.ticket import Choice, Direction, Status

EXCEPTION_MARK = "[Ingresse Exception Error]"  # in a string where an object should be
ERROR_WORDS = ("message", "category", "details")
EXPIRED_TEXT = "token expired"  # any case; what the clients look for
EXPIRED_CODES = frozenset({"2006", "2012"})  # log in again; session expired
EVENT_UNKNOWN = "3027"
# No list of its errors is public, and those of v1 come with HTTP 200: what they are about stands in words.
NOT_FOUND = re.compile(r"(?i)not[ _-]?found|no such|does not exist|n[ãa]o (foi )?encontrad|n[ãa]o existe")
ONLY_NOT_FOUND = re.compile(r"(?i)not[ _-]?found(exception|error)?[.!]?|n[ãa]o encontrad[oa][.!]?")
SUBJECT = re.compile(
    r"(?i)(ticket|guest|ingresso)|event|session|sess[ãa]o|user|usu[áa]rio|key|chave|\bapi\b|applica|aplica"
    r"|\bapp\b|company|empresa|method|m[ée]todo|route|\brota\b|endpoint"
)
# What Ingresse does not have it is told of no more, so that takes a whole sentence with the ticket as what is
# not there. A code alone may be that of an error: it is the ticket's only as the subject, and no "code 404".
AN_ID = r"(?=\S*\d)[^\s/]+"
THE_TICKET = rf"(ticket|guest|ingresso)([ _-]?(code|id))?( (with|com) (code|id|c[óo]digo))?( {AN_ID})?"
THE_CODE = rf"(code|c[óo]digo)( of the ticket| do ingresso)?( (?=\S{{8}}){AN_ID})?"
IS_MISSING = (
    r"((was |is )?not[ _-]?found(exception|error)?|does not exist|n[ãa]o (foi )?encontrado|n[ãa]o existe)"
)
SOMEWHERE = r"( (for|in|no|na|neste|nesta|para [oa]) ((the|this) )?(event|session|evento|sess[ãa]o)( \d+)?)?"
NO_TICKET = re.compile(
    rf"(?i)(((the|this|o|este|invalid) )*({THE_TICKET}|{THE_CODE}):?[ _-]*{IS_MISSING}"
    rf"|no such (ticket([ _-]?code)?|code)){SOMEWHERE}[.!]?"
)
FORBIDDEN = re.compile(r"(?i)permission|permiss[ãa]o|forbidden|access denied|acesso negado")
NO_RIGHT = "this user may not manage the event, or the key is wrong"
OPERATIONS = {
    "checkin": Direction.IN,
    "check-in": Direction.IN,
    "checkout": Direction.OUT,
    "check-out": Direction.OUT,
}
# Between a gate's clock and Ingresse's: as much as `from` overlaps. A longer one would take an entry before,
# at another gate of ours, for this one.
CLOCK_SLACK_MS = 120_000


class Expired:
    """The token is none any more."""


EXPIRED = Expired()


class Failed(Lost):
    """Ingresse itself failed at this one request; it may have been carried out."""


class Said(Failed):
    """Ingresse answers this one request with HTTP 200, but with an error, or not with what was asked."""


class Missing(Exception):
    """Ingresse does not know the code that was looked up, or not any more."""


class Rejected(Misconfigured):
    """Ingresse rejects this one request; nothing was carried out."""


class Barred(Rejected):
    """It rejects us, whatever the ticket: it has no such event or key, or our user may not manage it."""


class NotFound(Rejected):
    """It has nothing there (404, or in words): to a look-up the answer that nobody has the code."""


class Nothing(NotFound):
    """With HTTP 200 it says "not found" and no more: to an ask that there is no such ticket.

    It refuses nobody who went in already, for it may as well be about all that is sent there.
    """


class NoTicket(Nothing):
    """It has no such ticket, and names it as what is not there: as status 2 of one in an update."""


class Login(NamedTuple):
    """What a log-in gave: the user token for v1, the JWT for v2, and who we are."""

    token: str
    jwt: str = ""
    user: str = ""

    @property
    def user_id(self) -> str:
        """A user token is `<user id>-<hash>`."""
        head = self.token.partition("-")[0]
        return self.user or (head if head.isdecimal() else "")


class GuestList(NamedTuple):
    """One page. `current`, `last`, `total` are `None` where it says nothing of them."""

    rows: Sequence[object]
    current: int | None
    last: int | None
    total: int | None


class Move(NamedTuple):
    """The last movement that Ingresse knows of a ticket.

    `direction` and `at_ms` are `None` where it does not say; `exact` is false for a time of whole seconds.
    """

    direction: Direction | None
    at_ms: int | None
    exact: bool
    operator: object


class Entry(NamedTuple):
    """The answer for one ticket of an update."""

    status: int | None
    last: Move | None


# --- what every reply has --------------------------------------------------------------------------------


def read(response: httpx.Response, what: str) -> object:
    """The body of a good reply, or `EXPIRED`.

    Raises `Outage` where we were sent away, `Lost` or `Failed` where it may have been carried out,
    `Rejected` or `Misconfigured` where it was not and never will be.
    """
    try:
        body = read_json(response)
    except (ValueError, RecursionError):
        body = response.text if EXCEPTION_MARK.encode() in response.content else None
    error = _error(body) if body is not None else None
    status = (error.status if error and response.is_success else 0) or response.status_code
    if status == 429:
        raise Outage(f"{what}: too many requests (429)")
    if status == 401 or (error and error.code in EXPIRED_CODES):
        return EXPIRED
    if EXPIRED_TEXT.encode() in response.content.lower() and (
        error or not response.is_success or not _holds_rows(body)
    ):
        return EXPIRED
    said = str(error) if error else f"answered {status}"
    if status >= 500 or status == 408:
        raise (Failed if status < 502 and status != 408 else Lost)(f"{what}: {said} ({status})")
    if status == 403:
        raise Misconfigured(f"{what}: {said} (403): {NO_RIGHT}")
    if error:
        _raise_what_it_names(error, what, found_path=status < 300)
    if status >= 400:
        kind = NotFound if status == 404 else Rejected
        raise kind(f"{what}: {said} ({status}): look at `api_url` and `events`")
    if not response.is_success:
        raise Misconfigured(f"{what}: {said}, a redirect: correct `api_url`")
    if error:
        raise Said(f"{what}: {said}")
    if body is None:
        raise Failed(f"{what}: the reply is no JSON, or was cut")
    return body


class _Error(NamedTuple):
    code: str
    text: str

    @property
    def status(self) -> int:
        """The HTTP status that stands in the body instead; 0 for none."""
        number = number_of(self.code) or 0
        return number if 400 <= number < 600 else 0

    def __str__(self) -> str:
        return f"error {self.code}: {self.text}" if self.code else f"error: {self.text}"


def _raise_what_it_names(error: _Error, what: str, *, found_path: bool) -> None:
    """Raise `Barred` where an error is about us, `NotFound` where it is about what we asked for.

    What is not clearly the one or the other counts as neither, so that no movement is lost by it.
    """
    if error.code == EVENT_UNKNOWN:
        raise Barred(f"{what}: no such event ({EVENT_UNKNOWN}): correct `events`")
    if FORBIDDEN.search(str(error)):
        raise Barred(f"{what}: {error}: {NO_RIGHT}")
    parts = (part.rpartition(EXCEPTION_MARK)[2].strip() for part in (*error.text.split("; "), error.code))
    clauses = [part for part in parts if part and not part.isdecimal()]
    named = [clause for clause in clauses if NO_TICKET.fullmatch(clause)]
    others = (SUBJECT.search(part) for part in clauses if part not in named and NOT_FOUND.search(part))
    if any(subject and not subject[1] for subject in others):
        raise Barred(f"{what}: {error}: look at `key`, `api_url` and `events`")
    if named:
        raise NoTicket(f"{what}: {error}")
    only = bool(clauses) and all(map(ONLY_NOT_FOUND.fullmatch, clauses))
    if only and found_path:  # with 404 the address may be wrong
        raise Nothing(f"{what}: {error}")


def _error(body: object) -> _Error | None:
    """The error that a reply is: in place of the object, beside it, or as v2 sends it."""
    if isinstance(body, str):
        return _Error("", body[:TEXT_LENGTH_MAX])
    if not isinstance(body, dict):
        return None
    data, error = body.get("responseData"), body.get("responseError")
    also = body.get("data")  # where some of its clients look for what others find above
    if isinstance(also, str) and EXCEPTION_MARK in also:
        data = also
    if isinstance(data, str) or (error and isinstance(error, dict | str)):
        named = error if isinstance(error, dict) else {}
        words = [text for text in (data, error, *map(named.get, ERROR_WORDS)) if text]
        text = "; ".join(word for word in words if isinstance(word, str)) or EXCEPTION_MARK
        return _Error(text_of(named.get("code")) or "", text[:TEXT_LENGTH_MAX])
    nothing = data is None and body.get("data") is None
    if nothing and isinstance(body.get("message"), str) and "status" not in body:
        return _Error(text_of(body.get("code")) or "", body["message"][:TEXT_LENGTH_MAX])
    return None


def _holds_rows(body: object) -> bool:
    """Whether a reply has what was asked for: any word may be the name of a guest, a ticket or an event."""
    if not isinstance(body, dict):
        return False
    for part in (body.get(name) for name in ("responseData", "data", "hits")):
        rows = list(part.values()) if isinstance(part, dict) else part
        if isinstance(rows, list) and any(isinstance(row, dict) and _is_row(row) for row in rows):
            return True
        if _holds_rows(part):
            return True
    return False


def _is_row(row: Mapping[Any, Any]) -> bool:
    """Whether this is a guest, a hit, or a session's or an update's answer; an error has code and message."""
    return bool(row.keys() & {"id", "_source", "session"}) or ("code" in row and "message" not in row)


# --- log-in and search -----------------------------------------------------------------------------------


def login(body: object) -> Login | None:
    """Tokens of a log-in or a renewal, wherever they stand; `None` for a refusal, or none at all."""
    if not isinstance(body, dict) or truth_of(body.get("status")) is False:
        return None
    for part in _parts(body):
        if isinstance(part, str) and part.count(".") == 2:
            return Login("", part)  # a JWT alone
        if isinstance(part, dict):
            token, jwt = text_of(part.get("token")) or "", text_of(part.get("authToken")) or ""
            if token or jwt:
                return Login(token, jwt, text_of(part.get("userId")) or "")
    return None


def message(body: object) -> str:
    """Why a log-in was refused, in Ingresse's words."""
    text = body.get("message") if isinstance(body, dict) else None
    return text[:TEXT_LENGTH_MAX] if isinstance(text, str) and text else "no reason given"


def _parts(body: Mapping[Any, Any]) -> Iterator[object]:
    """Where the content may be: its clients read `responseData`, `data`, or one in the other."""
    for name in ("responseData", "data"):
        part = body.get(name)
        if isinstance(part, dict) and part.get("data") is not None:
            yield part["data"]
        yield part
    yield body


def search(body: object) -> tuple[dict[str, frozenset[str]], int | None]:
    """Sessions by event on one page of the producer search, and how many events there are in all."""
    data = body.get("data") if isinstance(body, dict) else None
    named: Mapping[str, Any] = data if isinstance(data, dict) else {}
    if isinstance(named.get("hits"), dict):  # as search servers nest it themselves
        named = {"total": named.get("total"), **named["hits"]}
    hits, total = named.get("hits"), named.get("total")
    if not isinstance(hits, list):
        raise Failed("producer search: the reply has no `data.hits`")
    if isinstance(total, dict):
        total = total.get("value")
    found: dict[str, frozenset[str]] = {}
    for hit in hits:
        source = hit.get("_source") if isinstance(hit, dict) else None
        if not isinstance(source, dict):
            continue
        event, sessions = text_of(source.get("id")), source.get("sessions")
        parts = sessions if isinstance(sessions, list) else []
        ids = (text_of(part.get("id")) for part in parts if isinstance(part, dict))
        if event:
            found[event] = frozenset(session for session in ids if session)
    return found, number_of(total)


# --- the list --------------------------------------------------------------------------------------------


def guest_list(body: object, what: str) -> GuestList:
    """One page of the list. Raises `Failed` where it is none."""
    for part in (body.get("responseData"), body.get("data"), body) if isinstance(body, dict) else ():
        if not isinstance(part, dict) or "data" not in part:
            continue
        rows, info = part["data"], part.get("paginationInfo")
        info = info if isinstance(info, dict) else {}
        if isinstance(rows, dict):
            rows = list(rows.values())  # an empty list becomes {} in some languages
        total = number_of(info.get("totalResults"))
        if rows is None and total == 0:
            rows = []
        if isinstance(rows, list):
            return GuestList(rows, number_of(info.get("currentPage")), number_of(info.get("lastPage")), total)
    raise Failed(f"{what}: the reply has no list of tickets")


def row_id(row: object) -> str:
    """What tells a row from the others of a list; of one without id the whole of it."""
    return (text_of(row.get("id")) if isinstance(row, dict) else None) or repr(row)


def ticket(row: object, event: str, session: str, unsold: Choice) -> VendorTicket | None:
    """A ticket of the list; `None` where there is no id or code that could ever be scanned."""
    if not isinstance(row, dict):
        return None
    ticket_id, code = text_of(row.get("id")), text_of(row.get("code"))
    if not ticket_id or not code or len(ticket_id) > ID_LENGTH_MAX or len(code) > CODE_LENGTH_MAX:
        return None
    kind = text_of(row.get("ticket")) or ""
    return VendorTicket(
        ticket_id,
        code,
        _status(row, unsold),
        event,
        session,
        type=kind[:TYPE_LENGTH_MAX],
        inside=truth_of(row.get("checked")),
        moved_utc_ms=time_of(row.get("lastUpdate"))[0],
    )


def _status(row: Mapping[Any, Any], unsold: Choice) -> Status:
    refunded = truth_of(row.get("refunded"))
    if refunded or (refunded is None and _named(row.get("refundedAt"))):
        return Status.REFUNDED
    if sold(row):
        return Status.VALID
    return Status.UNSOLD if unsold is Choice.ADMIT else Status.BLOCKED


def sold(row: Mapping[Any, Any]) -> bool:
    """Whether a sale is named. One of another company has its sale there, and none here."""
    return _named(row.get("transactionId")) or truth_of(row.get("external")) is True


def _named(value: object) -> bool:
    """Whether a field names something: neither nothing, nor blank, nor 0."""
    return (text_of(value) or "").strip() not in ("", "0")


def oddities(rows: Sequence[object]) -> set[str]:
    """What the first rows of a list have that this file was not written for."""
    tickets = [row for row in rows if isinstance(row, dict) and ticket(row, "", "", Choice.REFUSE)]
    found = set()
    if len(tickets) < len(rows):
        found.add(f"{len(rows) - len(tickets)} of a list's first {len(rows)} rows have no id or code")
    if bare := sum("transactionId" not in row and not sold(row) for row in tickets):
        found.add(
            f"{bare} of a list's first {len(rows)} rows have no transactionId: "
            "without one they count as not sold"
        )
    return found


# --- updates and look-ups --------------------------------------------------------------------------------


def updated(body: object, what: str) -> dict[str, Entry]:
    """Answers by code. One code with two different answers has none."""
    rows: object = body
    for part in _parts(body) if isinstance(body, dict) else ():
        if isinstance(part, list):
            rows = part
            break
    if not isinstance(rows, list):
        raise Said(f"{what}: the reply has no list of tickets")
    entries: dict[str, Entry] = {}
    unclear = set()
    for row in rows:
        code = text_of(row.get("code")) if isinstance(row, dict) else None
        if code is None:
            continue
        entry = Entry(number_of(row.get("status")), _move(row.get("lastCheckin")))
        if entries.setdefault(code, entry).status != entry.status:
            unclear.add(code)
    return {code: entry for code, entry in entries.items() if code not in unclear}


def looked(body: object, session: str, what: str) -> Move | None:
    """The last movement of a code in this session; `None` for none.

    Raises `Missing` where there is no such code, and `Said` where it is no answer.
    """
    for part in _parts(body) if isinstance(body, dict) else ():
        if isinstance(part, list):
            rows = [row for row in part if isinstance(row, dict)]
            if len(rows) != len(part):
                break
            named = [(row.get("session"), row.get("lastStatus")) for row in rows]
            mine = [last for about, last in named if _session_id(about) in (session, None)]
            if not mine:
                raise Missing(f"{what}: there is no such code in this session")
            moves = [_move(last) for last in mine if last is not None]
            if len(moves) > 1 or any(move is None for move in moves):
                break
            return moves[0] if moves else None
    raise Said(f"{what}: the reply does not say where the ticket is")


def _session_id(about: object) -> str | None:
    return text_of(about.get("id")) if isinstance(about, dict) else text_of(about)


def _move(value: object) -> Move | None:
    if not isinstance(value, dict):
        return None
    operation = value.get("operation")
    word = operation.strip().lower() if isinstance(operation, str) else ""
    direction = OPERATIONS.get(word)
    at_ms, exact = time_of(value.get("timestamp"))
    return Move(direction, at_ms, exact, value.get("operator"))


class Stand(Enum):
    """Where a look-up finds a ticket that is not provably where we moved it."""

    BEFORE = auto()  # our movement is not carried out; one whose reply never came may be by and by
    THERE = auto()  # already in that state, by somebody else; to tell again changes nothing
    UNCLEAR = auto()  # already in that state, maybe by us; likewise


def ours(
    move: Move, told: Told, login: Login | None, email: str, now_ms: int, echoes: bool | None
) -> bool | None:
    """Whether a movement that Ingresse knows is the one we told; `None` where it may be.

    It is where its time is the one we sent, to the millisecond, and no other operator made it. Any other time
    proves something only of a movement in doubt: one whose second is kept, or, where Ingresse is known to
    keep its own time (`echoes` false), one between our reading and now (`now_ms` by the same clock, 0 for not
    known). Then the operator has to be known as ours. As long as no answer has shown whose time is kept
    (`echoes` is `None`), such a movement may as well be another gate's of the same user; so too where the
    gate had no clock, whose ask was sent with the bridge's time. What it did a little earlier may be ours by
    a clock that goes after, or an entry before it.
    """
    operator = is_us(move.operator, login, email)
    if operator is False or move.direction not in (None, told.direction):
        return False
    if move.exact and move.at_ms == told.at_utc_ms:
        return True
    if not told.doubt:
        return False
    if move.at_ms is None:
        return None
    if move.at_ms == told.at_utc_ms // 1000 * 1000:
        return operator
    until_ms = (now_ms or MS_MAX) + CLOCK_SLACK_MS
    echoed = bool(echoes) and not told.untrusted
    if echoed or not told.at_utc_ms - CLOCK_SLACK_MS <= move.at_ms <= until_ms:
        return False
    return operator if move.at_ms >= told.at_utc_ms and echoes is False else None


def is_us(operator: object, login: Login | None, email: str) -> bool | None:
    """Whether an operator is our own user; `None` where nothing says so."""
    named = operator.values() if isinstance(operator, dict) else (operator,)
    texts = {text for text in map(text_of, named) if text}
    user_id = login.user_id if login else ""
    known = {name.casefold() for name in (user_id, email) if name}
    if known & {text.casefold() for text in texts}:
        return True
    others = (user_id and any(text.isdecimal() for text in texts)) or (
        email and any("@" in text for text in texts)
    )
    return False if others else None
