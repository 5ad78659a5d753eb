"""What vivenu would say, for conversations without a socket."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx

from firmware.bridge.vendor import Question, Told
from firmware.bridge.vivenu import Vivenu, VivenuSettings
from firmware.core.ticket import Direction, Perimeter
from tests.bridge.conversation import Reply
from tests.bridge.conversation import reply as json_reply

AT_MS = 1_893_452_583_726
AT = "2029-12-31T23:03:03.726Z"
CODE = "1433503567256775"
EVENT, OTHER = "e1", "e2"
DATE_MS = 1_900_000_000_000
DATE = "Sun, 17 Mar 2030 17:46:40 GMT"

SETTINGS = VivenuSettings(token="token-of-ours", events=(EVENT,))

OK = {"status": "OK"}
ERROR_404 = {"statusCode": 404, "error": "Not Found", "message": "ticket not found"}


def reply(body: Any, status: int = 200, **headers: str) -> httpx.Response:
    """JSON with the time of vivenu's clock."""
    return json_reply(body, status, **{"Date": DATE, **headers})


def no_such() -> httpx.Response:
    return reply(ERROR_404, 404)


def vivenu(**more: Any) -> Vivenu:
    """An account; `more` is of its settings."""
    return Vivenu(SETTINGS._replace(**more))


def me(scans: dict[str, Any] | None = None, *, details: bool = False, mode: str = "full") -> httpx.Response:
    """The reply of `/me`; `scans` is of its `scanConfig`."""
    config = {"mode": "default", "scanTypes": {"checkin": True, "checkout": True}, **(scans or {})}
    return reply(
        {
            "_id": "a1",
            "name": "Gates",
            "deviceSettings": {"accessMode": mode, "scanConfig": config, "ticketSyncInterval": 30},
            "accessControlSettings": {"includeDetailsRequiredTickets": details},
        }
    )


def row(ticket_id: str = "64", code: str = CODE, status: str | None = "VALID", **more: Any) -> dict[str, Any]:
    """A ticket as on vivenu's page."""
    named = {} if status is None else {"status": status}
    return {
        "_id": ticket_id,
        "barcode": code,
        "ticketTypeId": "t1",
        "ticketName": "Day",
        "eventId": EVENT,
        "sellerId": "s1",
        "createdAt": "2030-01-23T23:00:00.123Z",
        "updatedAt": "2030-01-23T23:00:00.123Z",
        **named,
        "entry": [],
        **more,
    }


def page(rows: Sequence[Any], total: int | None = None) -> httpx.Response:
    """A page of the list."""
    return reply({"docs": list(rows), "total": len(rows) if total is None else total})


def told(code: str = CODE, **more: Any) -> Told:
    """An entry that a gate saw."""
    return Told("64", code, EVENT, "", Direction.IN, AT_MS, "north-1")._replace(**more)


def question(code: str = CODE, event: str = EVENT, **more: Any) -> Question:
    """An entry that a gate asks about."""
    asked = Question(code, "64", event, "", Direction.IN, Perimeter.OUTER, AT_MS, "north-1")
    return asked._replace(**more)


def answering(
    first: Reply | None = None, **by_path: Callable[[httpx.Request], Reply] | Reply
) -> Callable[[httpx.Request], Reply]:
    """A vendor that answers `/me`, and each endpoint (`list`, `upload`, `ticket`, `scan`) as named."""

    def answer(request: httpx.Request) -> Reply:
        name = endpoint(request)
        if name == "me":
            return first or me()
        said = by_path[name]
        return said(request) if callable(said) else said

    return answer


def endpoint(request: httpx.Request) -> str:
    """Which endpoint a request is for."""
    parts = request.url.raw_path.decode().partition("?")[0].split("/")[3:]
    match parts:
        case ["tickets", "v2", _]:
            return "list"
        case ["tickets", _, "scan"]:
            return "scan"
        case ["tickets", _]:
            return "ticket"
        case ["scans", _]:
            return "upload"
        case [name]:
            return name
    raise AssertionError(request.url)


def uploads(requests: Sequence[httpx.Request]) -> list[list[dict[str, str]]]:
    """The arrays that were sent."""
    return [json.loads(request.content) for request in requests if endpoint(request) == "upload"]


def asked(requests: Sequence[httpx.Request]) -> list[str]:
    """Which endpoints were asked, in order."""
    return [endpoint(request) for request in requests]


def ms_of(text: str) -> int:
    """A time of a query as milliseconds."""
    return round(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp() * 1000)
