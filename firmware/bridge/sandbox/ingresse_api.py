"""The Ingresse API of the sandbox: a request in, a reply out. Sockets and threads are the server's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NoReturn
from urllib.parse import parse_qs, unquote

from firmware.bridge.sandbox import ingresse_shapes as shapes
from firmware.bridge.sandbox.desk import (
    SEGMENT,
    UNKNOWN,
    Desk,
    Due,
    Says,
    Vendor,
    content_type_of,
    json_reply,
    wrong,
)
from firmware.bridge.sandbox.history import Operator
from firmware.bridge.sandbox.ingresse_checks import (
    AGAINST_THE_DOCUMENTS,
    EVENT_NOT_FOUND,
    KEYS,
    METHODS,
    NO_SUCH_PATH,
    TOKEN_EXPIRED,
    number,
    read_key,
    read_query,
    read_update,
)
from firmware.bridge.sandbox.ingresse_logins import OPERATOR, Logins
from firmware.bridge.sandbox.ingresse_tickets import Event, Tickets, Updated
from firmware.bridge.sandbox.server import Reply, Request
from firmware.bridge.sandbox.trouble import Troubles

ENDPOINTS = tuple(METHODS)
SECRET = frozenset({*KEYS, "usertoken"})
SEARCH_SIZE = 50  # what the clients ask for


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
        vendor = Vendor(self.find, lambda *_: None, refusal, METHODS, SECRET)
        self.desk = Desk(vendor, tickets.lock, tickets.log.clock, troubles, log)
        self.answer = self.desk.answer
        self._moved: dict[int, int] = {}  # by session: how far its rows have moved

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
        return endpoint, act

    # --- who asks ------------------------------------------------------------------------------------

    def caller(self, query: Mapping[str, object], due: Due) -> Operator:
        """Check key and user token of a v1 call."""
        key = read_key(query, self.rules.key_names)
        if "usertoken" not in query:
            raise wrong("usertoken is missing")
        who = self.logins.caller(key, str(query["usertoken"]))
        if "expired" in due:
            raise self.logins.expired()
        if said := due.get("said"):
            raise Says(said.word or "as it was told to fail", code=said.value)
        return who

    def event(self, text: str) -> Event:
        """The event of a path."""
        asked = number(text, "the event id")
        for event in self.tickets.events:
            if event.id == asked:
                return event
        raise Says(f"Event {asked} not found", code=EVENT_NOT_FOUND)

    def login(self, request: Request, due: Due) -> object:
        """`/login` and `/company-login`: e-mail and password in a form, key in the query."""
        key = self.logins.key(read_key(read_query(request, "login", self.rules.strict), self.rules.key_names))
        if content_type_of(request) != "application/x-www-form-urlencoded":
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
        return {"responseData": body} if self.troubles.shape(due) == "wrapper" else body

    # --- what is asked -------------------------------------------------------------------------------

    def search(self, request: Request, due: Due) -> object:
        """`/v2/events/search/producer`."""
        self.logins.bearer(request.headers.get("authorization", ""))
        if "expired" in due:
            raise Says("token expired", 401, TOKEN_EXPIRED)
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
        self._moved[session.id] = self._moved.get(session.id, 0) + self.troubles.moved(due)
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
                self.desk.note_violation(f"sessionId of {one.code} is missing", request)
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

    def drifted(self, body: dict[str, object], due: Due) -> object:
        """A reply as ordered."""
        shape = self.troubles.shape(due)
        if not shape:
            return body
        if shape == "wrapper" and "responseData" in body:
            return {"data": body["responseData"]}
        return shapes.drifted(shape, body)


def refusal(endpoint: str, error: Says) -> Reply:
    """The vendor's error, in the form of v2 or v1."""
    code = error.code or AGAINST_THE_DOCUMENTS
    if endpoint == "search":
        return json_reply(error.status or 400, {"code": code, "message": error.message})
    body = {
        "responseData": f"[Ingresse Exception Error] {error.message}",
        "responseError": {"code": code, "message": error.message, "category": "sandbox"},
    }
    return json_reply(error.status or 200, body)


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
    raise Says(f"{request.path} is not here{hint}", 404, NO_SUCH_PATH, violation=True)
