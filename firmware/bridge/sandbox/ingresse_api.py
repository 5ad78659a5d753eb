"""The Ingresse API of the sandbox: a request in, a reply out. Sockets and threads are the server's."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NoReturn
from urllib.parse import parse_qs, unquote

import msgspec

from firmware.bridge.sandbox import ingresse_shapes as shapes
from firmware.bridge.sandbox.history import Operator
from firmware.bridge.sandbox.ingresse_checks import (
    EVENT_NOT_FOUND,
    KEYS,
    METHODS,
    NO_SUCH_PATH,
    SEGMENT,
    TOKEN_EXPIRED,
    Says,
    read_key,
    read_query,
    read_update,
    whole,
    wrong,
)
from firmware.bridge.sandbox.ingresse_logins import OPERATOR, Logins
from firmware.bridge.sandbox.ingresse_tickets import Event, Tickets, Updated
from firmware.bridge.sandbox.seen import SEEN_MAX, VIOLATIONS_MAX, Seen, Violation, line_of
from firmware.bridge.sandbox.server import Reply, Request
from firmware.bridge.sandbox.trouble import Trouble, Troubles, troubled

ENDPOINTS = tuple(METHODS)
UNKNOWN = "unknown"  # where a path is none of them
SECRET = frozenset({*KEYS, "usertoken"})
MOVED_ROWS_MAX = 3  # when nothing else was ordered
SEARCH_SIZE = 50  # what the clients ask for

Due = Mapping[str, Trouble]


@dataclass(frozen=True, slots=True)
class Rules:
    """What is not public about the vendor, and so can be set."""

    key_names: tuple[str, ...] = KEYS
    page_size_max: int = 1500  # the recommended size; the maximum is not public
    strict: bool = True  # unknown parameters and a `from` in seconds are refused


class Api:
    """All endpoints. `answer` may run on several threads; the tickets' lock puts them in a row."""

    def __init__(
        self,
        tickets: Tickets,
        logins: Logins,
        troubles: Troubles,
        rules: Rules,
        log: Callable[[str], None] | None,
    ) -> None:
        self.tickets, self.logins, self.troubles, self.rules = tickets, logins, troubles, rules
        self.violations: list[Violation] = []
        self.violations_count = 0
        self.seen: deque[Seen] = deque(maxlen=SEEN_MAX)
        self._log = log
        self._encode = msgspec.json.Encoder().encode
        self._moved: dict[int, int] = {}  # by session: how far its rows have moved

    def answer(self, request: Request) -> Reply:
        """The reply, troubles included."""
        began_s = time.perf_counter()
        endpoint, act = self.find(request)
        due = self.troubles.take(endpoint)
        masked = line_of(request, SECRET)
        said: list[str] = []

        def carry_out() -> Reply:
            try:
                with self.tickets.lock:
                    body = act(due)
                return Reply(200, self._encode(body))
            except Says as error:
                said.append(error.message)
                if error.violation:
                    self.note_violation(error.message, masked)
                return self.refusal(endpoint, error)

        reply = troubled(due, carry_out, self.tickets.clock())
        self.seen.append(Seen(endpoint, masked, reply.status, tuple(due)))
        if self._log is not None:
            took_ms = (time.perf_counter() - began_s) * 1000
            parts = [f"{reply.status or '---'} {masked} {took_ms:.1f} ms", *said]
            self._log("; ".join([*parts, f"trouble: {', '.join(due)}"] if due else parts))
        return reply

    def note_violation(self, text: str, request: str) -> None:
        """Write down that a request was against the documents."""
        with self.tickets.lock:
            self.violations_count += 1
            if len(self.violations) < VIOLATIONS_MAX:
                self.violations.append(Violation(text, request))

    def find(self, request: Request) -> tuple[str, Callable[[Due], object]]:
        """Which endpoint it is, and what carries it out."""
        match request.path.split("/"):
            case ["", "v2", "events", "search", "producer"]:
                endpoint, act = "search", partial(self.search, request)
            case ["", "event", event, "guestlist"] if request.method == "POST":
                endpoint, act = "update", partial(self.update, request, event)
            case ["", "event", event, "guestlist"]:
                endpoint, act = "guestlist", partial(self.guestlist, request, event)
            case ["", "ticket", code, "status"]:
                endpoint, act = "status", partial(self.status, request, code)
            case ["", "login" | "company-login"]:
                endpoint, act = "login", partial(self.login, request)
            case ["", "login", "renew-token"]:
                endpoint, act = "renew", partial(self.renew, request)
            case _:
                return UNKNOWN, lambda _: no_such_path(request)
        if request.method != METHODS[endpoint]:
            return endpoint, lambda _: other_method(METHODS[endpoint])
        return endpoint, act

    def refusal(self, endpoint: str, error: Says) -> Reply:
        """The vendor's error, in the form of v2 or v1."""
        if endpoint == "search":
            status = 400 if error.status == 200 else error.status
            return Reply(status, self._encode({"code": error.code, "message": error.message}))
        body = {
            "responseData": f"[Ingresse Exception Error] {error.message}",
            "responseError": {"code": error.code, "message": error.message, "category": "sandbox"},
        }
        return Reply(error.status, self._encode(body))

    # --- who asks ------------------------------------------------------------------------------------

    def caller(self, query: Mapping[str, object], due: Due) -> Operator:
        """Check key and user token of a v1 call."""
        key = read_key(query, self.rules.key_names)
        if "usertoken" not in query:
            raise wrong("usertoken is missing")
        who = self.logins.caller(key, str(query["usertoken"]))
        if "expired" in due:
            raise self.logins.expired()
        return who

    def event(self, text: str) -> Event:
        """The event of a path."""
        number = whole(text, "the event id")
        for event in self.tickets.events:
            if event.id == number:
                return event
        raise Says(EVENT_NOT_FOUND, f"Event {number} not found")

    def login(self, request: Request, due: Due) -> object:
        """`/login` and `/company-login`: e-mail and password in a form, key in the query."""
        key = self.logins.key(read_key(read_query(request, "login", self.rules.strict), self.rules.key_names))
        content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if content_type != "application/x-www-form-urlencoded":
            raise wrong("a login is a form: application/x-www-form-urlencoded", 400)
        form = parse_qs(request.body.decode("ascii", "replace"), keep_blank_values=True)
        if set(form) != {"email", "password"} or any(len(values) != 1 for values in form.values()):
            raise wrong("a login has the fields email and password, once each")
        if (form["email"][0], form["password"][0]) != (OPERATOR.email, self.logins.password):
            return self.wrapped_login({"status": False, "message": "Invalid email or password"}, due)
        return self.wrapped_login(self.logged_in(key, self.logins.token(key)), due)

    def renew(self, request: Request, due: Due) -> object:
        """`/login/renew-token`: another JWT for a user token that still counts."""
        query = read_query(request, "renew", self.rules.strict)
        self.caller(query, due)
        key, token = read_key(query, self.rules.key_names), str(query["usertoken"])
        return self.wrapped_login(self.logged_in(key, token), due)

    def logged_in(self, key: str, token: str) -> dict[str, object]:
        """What a login replies."""
        data = {"token": token, "userId": OPERATOR.id, "authToken": self.logins.jwt(key)}
        return {"status": True, "message": "Login successful", "data": data}

    def wrapped_login(self, body: dict[str, object], due: Due) -> object:
        """A login's reply stands alone, unless it drifts."""
        return {"responseData": body} if self.shape(due) == "wrapper" else body

    # --- what is asked -------------------------------------------------------------------------------

    def search(self, request: Request, due: Due) -> object:
        """`/v2/events/search/producer`."""
        self.logins.bearer(request.headers.get("authorization", ""))
        if "expired" in due:
            raise Says(TOKEN_EXPIRED, "token expired", 401)
        query = read_query(request, "search", self.rules.strict)
        found = [event for event in self.tickets.events if fits(event, query)]
        found.sort(key=lambda event: event.sessions[0].date_time, reverse=query.get("orderBy") is True)
        offset, size = query.get("offset", 0), query.get("size", SEARCH_SIZE)
        assert isinstance(offset, int)
        assert isinstance(size, int)
        hits = [shapes.hit(event) for event in found[offset : offset + size]]
        return self.drifted({"data": {"hits": hits, "total": len(found)}}, due)

    def guestlist(self, request: Request, event_text: str, due: Due) -> object:
        """One page of the guest list of one session."""
        query = read_query(request, "guestlist", self.rules.strict)
        self.caller(query, due)
        event = self.event(event_text)
        if "sessionid" not in query:
            raise wrong("sessionid is missing")
        session = next((one for one in event.sessions if one.id == query["sessionid"]), None)
        if session is None:
            raise wrong(f"session {query['sessionid']} is none of event {event.id}")
        size, page, since = (
            query.get("pageSize", self.rules.page_size_max),
            query.get("page", 1),
            query.get("from"),
        )
        assert isinstance(size, int)
        assert isinstance(page, int)
        assert since is None or isinstance(since, int)
        if size > self.rules.page_size_max:
            raise wrong(f"pageSize {size} is above {self.rules.page_size_max}")
        if moving := due.get("moving"):
            rows = moving.rows or (1 + self.troubles.below(MOVED_ROWS_MAX)) * (1 - 2 * self.troubles.below(2))
            self._moved[session.id] = self._moved.get(session.id, 0) + rows
        total = self.tickets.page(session, since, 0, 0)[1]
        start = (page - 1) * size
        places = self.tickets.page(
            session, since, start + self._moved.get(session.id, 0), min(size, max(total - start, 0))
        )[0]
        pages = {
            "currentPage": page,
            "lastPage": max(1, -(-total // size)),
            "totalResults": total,
            "pageSize": size,
        }
        rows_of_page = [shapes.row(self.tickets.at(index)) for index in places]
        return self.drifted({"responseData": {"paginationInfo": pages, "data": rows_of_page}}, due)

    def update(self, request: Request, event_text: str, due: Due) -> object:
        """Check tickets in and out."""
        query = read_query(request, "update", self.rules.strict)
        who = self.caller(query, due)
        if "method" not in query:
            raise wrong("method=updatestatus is missing")
        event = self.event(event_text)
        entries = read_update(request)
        replies = []
        for one in entries:
            if one.session is None:
                self.note_violation(f"sessionId of {one.code} is missing", line_of(request, SECRET))
            if status := due.get("status"):
                found = self.tickets.find(one.code)
                updated = Updated(status.value, found[0] if found else None)
            else:
                updated = self.tickets.update(one.code, one.session, event.id, one.inside, one.said_ms, who)
            replies.append(shapes.entry(one.code, updated))
        if "shuffled" in due:
            replies = replies[1:] + replies[:1] if len(replies) < 3 else replies[::-1]
        if "missing" in due:
            del replies[self.troubles.below(len(replies))]
        return self.drifted({"responseData": replies}, due)

    def status(self, request: Request, segment: str, due: Due) -> object:
        """Look at a ticket; changes nothing."""
        self.caller(read_query(request, "status", self.rules.strict), due)
        if not SEGMENT.fullmatch(segment):
            raise wrong(f'the code in the path is not percent-encoded: "{segment}"')
        found = self.tickets.find(unquote(segment))
        current = found and found[1] == found[0].generation
        data = [shapes.look_up(found[0])] if found and current else []
        return self.drifted({"responseData": {"data": data}}, due)

    # --- drift ---------------------------------------------------------------------------------------

    def shape(self, due: Due) -> str:
        """The shape that a reply drifts to, if it does."""
        drift = due.get("drift")
        if drift is None:
            return ""
        return drift.shape or tuple(shapes.SHAPES)[self.troubles.below(len(shapes.SHAPES))]

    def drifted(self, body: dict[str, object], due: Due) -> object:
        """A reply as ordered."""
        shape = self.shape(due)
        if not shape:
            return body
        if shape == "wrapper" and "responseData" in body:
            return {"data": body["responseData"]}
        return shapes.drifted(shape, body)


def fits(event: Event, query: Mapping[str, object]) -> bool:
    """Whether the producer search finds an event."""
    for name in ("title", "term"):
        if name in query and str(query[name]).casefold() not in event.title.casefold():
            return False
    for name, value in (("state", event.state), ("category", event.category)):
        if name in query and query[name] != value:
            return False
    times = [datetime.fromisoformat(session.date_time) for session in event.sessions]
    first, last = query.get("from"), query.get("to")
    if isinstance(first, datetime) and max(times) < first:
        return False
    return not (isinstance(last, datetime) and min(times) > last)


def no_such_path(request: Request) -> NoReturn:
    """A path that is not in the documents, or not in the sandbox."""
    hint = ""
    if request.path.startswith("/ticket/"):
        hint = ": a code in a path is percent-encoded, `?` as %3F and `/` as %2F"
    raise Says(NO_SUCH_PATH, f"{request.path} is not here{hint}", 404, violation=True)


def other_method(method: str) -> NoReturn:
    """A path with another method than its own."""
    raise wrong(f"this path takes {method}", 405)
