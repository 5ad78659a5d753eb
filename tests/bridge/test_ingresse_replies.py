"""Ingresse against any reply at all."""

from typing import Any

import httpx
from hypothesis import given
from hypothesis import strategies as st

from firmware.bridge.ingresse_replies import CLOCK_SLACK_MS
from firmware.bridge.vendor import Accepted, Lost, Misconfigured, NotSent, Outage, Unsure
from firmware.core.ticket import Direction
from tests.bridge.conversation import AT_MS, CODE, Reply, Talk, ingresse, reply, told

PASSWORD = {"login": "password", "token": "", "email": "a@b.example", "password": "p w&1"}
TWO_SESSIONS = {"events": (("28180", ("43058", "43059")),)}
VALUES = (None, True, False, 0, 1, 2, 3, 6, "1", "3", "", CODE, "B", "77", "43058", AT_MS, str(AT_MS))
SCALARS = st.sampled_from((*VALUES, "checkin", "checkout")) | st.integers(-5, AT_MS)
KEYS = st.sampled_from(
    (
        *(
            "responseData",
            "responseError",
            "data",
            "code",
            "status",
            "lastCheckin",
            "lastStatus",
            "timestamp",
        ),
        *("operator", "operation", "session", "id", "message", "paginationInfo", "lastPage", "currentPage"),
        *(
            "token",
            "authToken",
            "hits",
            "_source",
            "sessions",
            "total",
            "totalResults",
            "refunded",
            "checked",
        ),
    )
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)
ENTRY = st.fixed_dictionaries(
    {"code": st.sampled_from([CODE, "B"]), "status": SCALARS},
    optional={"lastCheckin": st.fixed_dictionaries({"timestamp": SCALARS, "operator": SCALARS}) | JSON},
)
LAST = (
    st.none()
    | st.fixed_dictionaries({"operation": SCALARS, "timestamp": SCALARS, "operator": SCALARS})
    | JSON
)
HIT = st.fixed_dictionaries({"_source": st.fixed_dictionaries({"id": SCALARS, "sessions": JSON}) | JSON})
ROW = st.fixed_dictionaries({"id": SCALARS, "code": SCALARS, "checked": JSON, "lastUpdate": JSON})
INFO = st.fixed_dictionaries({"currentPage": SCALARS, "lastPage": SCALARS, "totalResults": SCALARS}) | JSON
BODIES = (
    JSON
    | st.builds(lambda hits, total: {"data": {"hits": hits, "total": total}}, st.lists(HIT, max_size=3), JSON)
    | st.builds(
        lambda rows, info: {"responseData": {"data": rows, "paginationInfo": info}},
        st.lists(ROW | JSON, max_size=3),
        INFO,
    )
    | st.lists(ENTRY | JSON, max_size=4).map(lambda entries: {"responseData": entries})
    | LAST.map(lambda last: {"responseData": {"data": [{"session": {"id": 43058}, "lastStatus": last}]}})
)
STATUSES = (200, 200, 200, 200, 201, 302, 400, 401, 403, 404, 429, 500, 503)
REPLIES: st.SearchStrategy[Reply] = (
    st.builds(
        reply, BODIES, st.sampled_from([200, 200, 200, 200, 201, 302, 400, 401, 403, 404, 429, 500, 503])
    )
    | st.binary(max_size=20).map(lambda body: httpx.Response(200, content=body))
    | st.sampled_from(["x"]).map(NotSent)
    | st.sampled_from(["x"]).map(Lost)
)
MOVEMENTS = st.lists(
    st.builds(
        told,
        st.sampled_from([CODE, "B"]),
        direction=st.sampled_from(Direction),
        doubt=st.booleans(),
        session=st.sampled_from(["43058", "43058", ""]),
    ),
    max_size=4,
)


def proves(request: httpx.Request, body: Any, code: str, direction: Direction) -> bool:
    """Whether a reply holds what an acceptance needs: written apart from the product, and shorter."""
    text = repr(body)
    near = [
        one for one in walk(body) if str(one).isdecimal() and abs(int(one) - AT_MS) <= CLOCK_SLACK_MS + 1000
    ]
    at_our_time = str(AT_MS) in text or (near and "77" in text)
    if request.method == "POST":
        entries = [
            one for one in walk(body) if isinstance(one, dict) and one.get("code") == code and "status" in one
        ]
        return any(one["status"] in (1, "1") and one["status"] is not True for one in entries) or any(
            one["status"] in (3, "3") and at_our_time for one in entries
        )
    word = "checkin" if direction is Direction.IN else "checkout"
    return bool(word in text and at_our_time)


def walk(value: Any) -> list[Any]:
    """A value and all inside it."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(deeper for one in inner for deeper in walk(one))]


@given(MOVEMENTS, st.lists(REPLIES, max_size=30), st.sampled_from([{}, PASSWORD, TWO_SESSIONS]))
def test_whatever_comes_back_each_movement_has_one_outcome_and_none_is_accepted_without_proof(
    movements: list[Any], replies: list[Reply], more: dict[str, Any]
) -> None:
    left = iter(replies)
    said: list[tuple[httpx.Request, Any]] = []

    def answer(request: httpx.Request) -> Reply:
        answered = next(left, NotSent("no more"))
        if isinstance(answered, httpx.Response):
            try:
                said.append((request, answered.json()))
            except ValueError:
                said.append((request, None))
        return answered

    try:
        outcomes = Talk(ingresse(**more).tell(movements), answer).result
    except Lost:
        raise AssertionError("what may have been carried out is an outcome with doubt") from None
    except (Outage, Misconfigured):
        return
    assert len(outcomes) == len(movements)
    for movement, outcome in zip(movements, outcomes, strict=True):
        if isinstance(outcome, Accepted):
            assert any(proves(request, body, movement.code, movement.direction) for request, body in said)
        if not movement.session and more is TWO_SESSIONS:
            assert isinstance(outcome, Unsure)


@given(st.lists(REPLIES, max_size=12), st.sampled_from(["", "x", f"{AT_MS} 0"]))
def test_whatever_comes_back_a_list_ends_or_is_an_outage(replies: list[Reply], since: str) -> None:
    left = iter(replies)
    for flow in (ingresse().tickets(since), ingresse(jwt="a.b.c").probe()):
        try:
            Talk(flow, lambda _: next(left, NotSent("no more")))
        except (Outage, Misconfigured):
            continue
