"""Plays the vendor in a conversation without a socket, and keeps what was said."""

import json
from collections.abc import Callable
from typing import Any, Generic
from urllib.parse import parse_qs

import httpx

from firmware.bridge.ingresse import Ingresse, IngresseSettings
from firmware.bridge.vendor import Flow, Note, Outage, Page, Result, Told, VendorTicket
from firmware.core.ticket import Choice, Direction

Reply = httpx.Response | Outage
AT_MS = 1_539_723_836_123
CODE = "05.1803.?000082?.275109.20"
DATE = "Tue, 16 Oct 2018 21:03:56 GMT"
DATE_MS = 1_539_723_836_000

SETTINGS = IngresseSettings(
    key="key-of-ours",
    login="token",
    token="77-0123456789abcdef",
    events=(("28180", ("43058",)),),
    unsold=Choice.ADMIT,
)


class Talk(Generic[Result]):
    """A whole conversation: `answer` is asked for each request; the result or what was raised is kept."""

    def __init__(self, flow: Flow[Result], answer: Callable[[httpx.Request], Reply]) -> None:
        self.requests: list[httpx.Request] = []
        self.pages: list[Page] = []
        self.notes: list[Note] = []
        reply: Reply | None = None
        try:
            while True:
                asked = flow.throw(reply) if isinstance(reply, Outage) else flow.send(reply)
                reply = None
                if isinstance(asked, Page):
                    self.pages.append(asked)
                elif isinstance(asked, Note):
                    self.notes.append(asked)
                else:
                    self.requests.append(asked)
                    reply = answer(asked)
        except StopIteration as end:
            self.result: Result = end.value

    @property
    def tickets(self) -> list[VendorTicket]:
        """Every ticket of every page."""
        return [ticket for page in self.pages for ticket in page.tickets]

    @property
    def updates(self) -> list[list[dict[str, str]]]:
        """The tickets of each update that was sent."""
        return [json.loads(asked.content)["tickets"] for asked in self.requests if asked.method == "POST"]


def in_turn(*replies: Reply) -> Callable[[httpx.Request], Reply]:
    """One reply after the other; a request too many fails the test."""
    left = list(replies)

    def answer(request: httpx.Request) -> Reply:
        assert left, f"one request too many: {request.method} {request.url.path}"
        return left.pop(0)

    return answer


def reply(body: Any, status: int = 200, **headers: str) -> httpx.Response:
    """JSON as Ingresse sends it, with the time of its clock."""
    named = {"Date": DATE, "Content-Type": "application/json", **headers}
    return httpx.Response(status, content=json.dumps(body), headers=named)


def row(ticket_id: str = "981", code: str = CODE, **more: Any) -> dict[str, Any]:
    """A row of the list as on Ingresse's page."""
    return {
        "id": ticket_id,
        "code": code,
        "checked": "0",
        "lastUpdate": "1539723836000",
        "transactionId": "T1",
        "ticket": "Pista",
        "type": "Inteira",
        "external": False,
        "refunded": False,
        **more,
    }


def page(rows: list[Any], current: int = 1, last: int = 1, total: int | None = None) -> httpx.Response:
    """A page of the list."""
    total = len(rows) if total is None else total
    info = {"currentPage": current, "lastPage": last, "totalResults": total, "pageSize": 1500}
    return reply({"responseData": {"paginationInfo": info, "data": rows}})


def updated(*entries: dict[str, Any]) -> httpx.Response:
    """The reply to an update."""
    return reply({"responseData": list(entries)})


def looked(last: Any, session: str = "43058") -> httpx.Response:
    """The reply to a look-up, with one more session than was meant."""
    return reply(
        {
            "responseData": {
                "data": [
                    {"session": {"id": "1"}, "lastStatus": {"operation": "checkin", "timestamp": AT_MS}},
                    {"session": {"id": session}, "lastStatus": last},
                ]
            }
        }
    )


def told(code: str = CODE, **more: Any) -> Told:
    """An entry that a gate saw."""
    entry = Told("981", code, "28180", "43058", Direction.IN, AT_MS, "north-1")
    return entry._replace(**more)


def query(request: httpx.Request) -> dict[str, str]:
    """The query of a request, as the server reads it."""
    return {name: values[0] for name, values in parse_qs(request.url.query.decode()).items()}


def ingresse(**more: Any) -> Ingresse:
    """An account; `more` is of its settings."""
    return Ingresse(SETTINGS._replace(**more))
