"""The Ingresse sandbox from outside, endpoint by endpoint, as its vendor's documents say."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from firmware.bridge.sandbox.ingresse import Sandbox
from firmware.bridge.sandbox.ingresse_api import Rules
from firmware.bridge.sandbox.ingresse_tickets import MADE_FROM_MS, MADE_UNTIL_MS

AT_MS = 1_900_000_000_000
EVENT, SESSION, OTHER_SESSION = 28180, 43058, 43059


class Client:
    """Asks as the documents say; what a test changes it names."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.http = httpx.Client(base_url=sandbox.url, timeout=60)

    @property
    def credentials(self) -> dict[str, str]:
        return {"apikey": self.sandbox.key, "usertoken": self.sandbox.token}

    def get(self, path: str, **query: str | int) -> httpx.Response:
        return self.http.get(path, params={**self.credentials, **query})

    def search(self, **query: str | int) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.sandbox.jwt}"}
        return self.http.get("/v2/events/search/producer", params=query, headers=headers)

    def page(self, **query: str | int) -> httpx.Response:
        return self.get(f"/event/{EVENT}/guestlist", **({"sessionid": SESSION} | query))

    def rows(self, **query: str | int) -> list[dict[str, Any]]:
        found = []
        for page in itertools.count(1):
            data = self.page(page=page, pageSize=7, **query).json()["responseData"]
            found += data["data"]
            if data["paginationInfo"]["lastPage"] <= page:
                return found
        raise AssertionError

    def post(self, body: object, event: int = EVENT, **query: str | int) -> httpx.Response:
        return self.http.post(
            f"/event/{event}/guestlist",
            params={**self.credentials, "method": "updatestatus", **query},
            json=body,
        )

    def update(self, codes: Sequence[str], status: object = "1", **fields: object) -> list[dict[str, Any]]:
        entry = {"ticketStatus": status, "ticketTimestamp": AT_MS, "sessionId": str(SESSION), **fields}
        reply = self.post({"tickets": [{"ticketCode": code, **entry} for code in codes]})
        entries = reply.json()["responseData"]
        assert isinstance(entries, list), entries
        return entries

    def look(self, code: str) -> list[dict[str, Any]]:
        data = self.get(f"/ticket/{quote(code, safe='')}/status").json()["responseData"]["data"]
        assert isinstance(data, list)
        return data


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(tickets=80) as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    client = Client(sandbox)
    with client.http:
        yield client


def sold(sandbox: Sandbox, count: int = 1) -> list[str]:
    return sandbox.codes(count, session=SESSION, sold=True, refunded=False, external=False)


def refusal(reply: httpx.Response) -> str:
    """The vendor's error, which it sends as 200 more often than not."""
    body = reply.json()
    assert body["responseData"].startswith("[Ingresse Exception Error]")
    assert body["responseError"].keys() == {"code", "message", "category"}
    return f"{reply.status_code} {body['responseError']['code']} {body['responseError']['message']}"


# --- the list ----------------------------------------------------------------------------------------


def test_the_search_finds_events_with_their_sessions(client: Client) -> None:
    data = client.search(orderBy="sessions.dateTime,desc").json()["data"]
    assert data["total"] == 2
    first = next(hit["_source"] for hit in data["hits"] if hit["_source"]["id"] == EVENT)
    assert [session["id"] for session in first["sessions"]] == [SESSION, OTHER_SESSION]
    assert client.search(term="jazz").json()["data"]["total"] == 1
    assert client.search(size=1, offset=1).json()["data"]["hits"] == data["hits"][:1]
    assert client.search(**{"from": "2031-01-01"}).json()["data"]["total"] == 0


def test_the_pages_of_a_list_hold_each_ticket_of_the_session_once(sandbox: Sandbox, client: Client) -> None:
    rows = client.rows()
    assert [row["id"] for row in rows] == [str(100_000 + number) for number in range(20)]
    assert {row["transactionId"] == "" for row in rows} == {True, False}
    assert any(row["refunded"] for row in rows)
    assert any(row["external"] for row in rows)
    info = client.page(page=3, pageSize=7).json()["responseData"]["paginationInfo"]
    assert info == {"currentPage": 3, "lastPage": 3, "totalResults": 20, "pageSize": 7}
    assert client.page(page=4, pageSize=7).json()["responseData"]["data"] == []
    assert sandbox.violations == []


def test_a_delta_holds_what_changed_since_then_and_nothing_else(sandbox: Sandbox, client: Client) -> None:
    assert client.rows(**{"from": MADE_UNTIL_MS}) == []
    changed = [sandbox.sell(code) for code in sandbox.codes(2, session=SESSION, sold=False)]
    changed.append(sandbox.refund(sold(sandbox, 9)[-1]))
    sandbox.sell(sandbox.codes(1, session=OTHER_SESSION, sold=False)[0])
    rows = client.rows(**{"from": changed[0].at_ms})
    assert [row["id"] for row in rows] == sorted(change.ticket_id for change in changed)
    assert client.rows(**{"from": sandbox.history()[-1].at_ms + 1}) == []


@pytest.mark.parametrize("part", range(5))
def test_an_old_delta_holds_the_same_rows_as_a_look_at_all_of_them(
    sandbox: Sandbox, client: Client, part: int
) -> None:
    sandbox.live(30)
    since = MADE_FROM_MS + (MADE_UNTIL_MS - MADE_FROM_MS) * part // 4
    late = [row for row in client.rows() if int(row["lastUpdate"]) >= since]
    assert sorted(client.rows(**{"from": since}), key=lambda row: str(row["id"])) == late


def test_a_refund_changes_the_code_under_the_same_id(sandbox: Sandbox, client: Client) -> None:
    (code,) = sold(sandbox)
    ticket = sandbox.ticket(code)
    change = sandbox.refund(code)
    row = next(row for row in client.rows() if row["id"] == ticket.id)
    assert row["refunded"]
    assert row["code"] == change.code != code
    assert [client.update([text])[0]["status"] for text in (code, change.code)] == [6, 6]
    sandbox.sell(ticket.id)
    assert [client.update([text])[0]["status"] for text in (code, change.code)] == [6, 1]


# --- updates and look-ups ----------------------------------------------------------------------------


def test_a_check_in_is_carried_out_once_and_told_of_ever_after(sandbox: Sandbox, client: Client) -> None:
    (code,) = sold(sandbox)
    assert client.look(code)[0]["lastStatus"] is None
    (first,) = client.update([code])
    (again,) = client.update([code])
    assert (first["status"], first["checked"], again["status"]) == (1, 1, 3)
    assert again["lastCheckin"]["timestamp"] == AT_MS
    assert again["lastCheckin"]["operator"]["id"] == sandbox.token.split("-")[0]
    (last,) = client.look(code)
    assert last["session"]["id"] == SESSION
    assert (last["lastStatus"]["operation"], last["lastStatus"]["timestamp"]) == ("checkin", AT_MS)
    (change,) = sandbox.history(code)
    assert (change.what, change.said_ms, change.operator) == ("checkin", AT_MS, sandbox.operator)
    books = sandbox.books()
    assert (books.check_ins, books.inside, books.repeats, books.twice) == (1, 1, 1, 0)


def test_a_check_out_is_followed_by_another_check_in(sandbox: Sandbox, client: Client) -> None:
    (code,) = sold(sandbox)
    assert client.update([code], 0)[0]["status"] == 3
    for number, (status, at_ms) in enumerate(((1, AT_MS), ("0", AT_MS + 1), ("1", str(AT_MS + 2)))):
        assert client.update([code], status, ticketTimestamp=at_ms)[0]["status"] == 1
        assert len(sandbox.history(code)) == number + 1
    assert [change.what for change in sandbox.history(code)] == ["checkin", "checkout", "checkin"]
    assert sandbox.books().twice == 0


def test_a_scan_that_is_carried_out_a_second_time_is_counted(sandbox: Sandbox, client: Client) -> None:
    (code,) = sold(sandbox)
    client.update([code])
    client.update([code], 0, ticketTimestamp=AT_MS + 1)
    client.update([code])
    assert sandbox.books().twice == 1


def test_each_ticket_of_a_call_gets_its_own_status(sandbox: Sandbox, client: Client) -> None:
    first, second, third = sold(sandbox, 3)
    (external,) = sandbox.codes(1, session=SESSION, external=True)
    (unsold,) = sandbox.codes(1, session=SESSION, sold=False)
    (refunded,) = sandbox.codes(1, session=SESSION, refunded=True)
    (elsewhere,) = sandbox.codes(1, session=OTHER_SESSION, sold=True, refunded=False)
    sandbox.check_in(second)
    old = third
    third = sandbox.change_code(third).code
    codes = [first, "no such code", second, elsewhere, refunded, unsold, external, old, third]
    entries = client.update(codes)
    assert [entry["code"] for entry in entries] == codes
    assert [entry["status"] for entry in entries] == [1, 2, 3, 4, 6, 0, 1, 2, 1]
    assert entries[2]["lastCheckin"]["operator"]["id"] != sandbox.operator.id
    assert sandbox.violations == []


def test_an_entry_without_its_session_gets_status_5_and_is_noted(sandbox: Sandbox, client: Client) -> None:
    (code,) = sold(sandbox)
    assert client.update([code], sessionId="")[0]["status"] == 5
    assert sandbox.history(code) == []
    assert "sessionId" in sandbox.violations[0].text


def test_a_code_is_found_with_everything_that_a_path_cannot_hold(sandbox: Sandbox, client: Client) -> None:
    for code in (*sold(sandbox), *sandbox.codes(1, session=SESSION, external=True)):
        assert len(client.look(code)) == 1
    assert client.look("no such code") == []
    (code,) = sold(sandbox)
    assert client.get(f"/ticket/{code}/status").status_code == 404
    assert "%3F" in sandbox.violations[0].text


# --- who asks ----------------------------------------------------------------------------------------


def test_a_login_brings_a_token_and_a_jwt_that_count(sandbox: Sandbox, client: Client) -> None:
    form = {"email": sandbox.email, "password": sandbox.password}
    for path in ("/login", "/company-login"):
        reply = client.http.post(path, params={"apikey": sandbox.key}, data=form).json()
        assert reply["status"] is True
        sandbox.token, sandbox.jwt = reply["data"]["token"], reply["data"]["authToken"]
        assert sandbox.token.startswith(reply["data"]["userId"] + "-")
        assert client.search().status_code == 200
        assert len(client.rows()) == 20
    renewed = client.get("/login/renew-token").json()["data"]
    assert renewed["token"] == sandbox.token
    sandbox.jwt = renewed["authToken"]
    assert client.search().status_code == 200
    wrong = client.http.post("/login", params={"apikey": sandbox.key}, data={**form, "password": "x"})
    assert wrong.json()["status"] is False
    assert sandbox.violations == []


@pytest.mark.parametrize(
    ("expiry", "told"), [("401", "401 2012"), ("2012", "200 2012"), ("2006", "200 2006")]
)
def test_a_token_expires_after_its_life_in_each_way_that_is_documented(expiry: str, told: str) -> None:
    now_ms = AT_MS
    with Sandbox(tickets=20, token_life_s=60, jwt_life_s=30, expiry=expiry, clock=lambda: now_ms) as sandbox:
        client = Client(sandbox)
        with client.http:
            now_ms += 29_999
            assert client.search().status_code == 200
            now_ms += 1
            assert client.search().status_code == 401
            assert "token expired" in client.search().json()["message"]
            now_ms += 29_999
            assert client.page().json()["responseData"]["data"]
            now_ms += 1
            assert refusal(client.page()).startswith(told)
        assert sandbox.violations == []


def test_a_token_counts_only_with_the_key_it_was_made_for() -> None:
    with Sandbox(tickets=20, keys=("one", "two")) as sandbox:
        client = Client(sandbox)
        with client.http:
            assert refusal(client.page(apikey="two")).startswith("200 2006")
            assert refusal(client.page(apikey="three")).startswith("401")
            sandbox.token = sandbox.new_token("two")
            assert client.page(apikey="two").json()["responseData"]["data"]
            sandbox.expire_tokens()
            assert refusal(client.page(apikey="two")).startswith("401 2012")


# --- against the documents ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"from": AT_MS // 1000}, "looks like seconds"),
        ({"from": AT_MS * 1000}, "too far ahead"),
        ({"page": 0}, "counts from 1"),
        ({"pageSize": 0}, "counts from 1"),
        ({"pageSize": 1501}, "above 1500"),
        ({"page": "x"}, "not a whole number"),
        ({"approved": "yes"}, "not a whole number"),
        ({"sessionid": 43060}, "none of event"),
        ({"sessionID": 43058}, "no parameter"),
        ({"publickey": "sandbox-key"}, "apikey and publickey"),
    ],
)
def test_a_list_is_refused_for_a_parameter_against_the_documents(
    sandbox: Sandbox, client: Client, query: dict[str, str | int], told: str
) -> None:
    assert told in refusal(client.page(**query))
    (violation,) = sandbox.violations
    assert told in violation.text
    assert sandbox.token not in violation.request


@pytest.mark.parametrize(
    ("missing", "told"), [("sessionid", "missing"), ("usertoken", "missing"), ("apikey", "none")]
)
def test_a_list_is_refused_without_what_it_needs(
    sandbox: Sandbox, client: Client, missing: str, told: str
) -> None:
    query = {**client.credentials, "sessionid": str(SESSION)}
    del query[missing]
    assert told in refusal(client.http.get(f"/event/{EVENT}/guestlist", params=query))
    assert len(sandbox.violations) == 1


ENTRY = {"ticketCode": "A", "ticketStatus": 1, "ticketTimestamp": AT_MS, "sessionId": 43058}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"tickets": []}, "1 to 20"),
        ({"tickets": [ENTRY] * 21}, "1 to 20"),
        ({"tickets": [ENTRY], "more": 1}, "nothing else"),
        ([ENTRY], "nothing else"),
        ({"tickets": ["A"]}, "no object"),
        ({"tickets": [{**ENTRY, "ticketStatus": 2}]}, "ticketStatus"),
        ({"tickets": [{**ENTRY, "ticketStatus": True}]}, "ticketStatus"),
        ({"tickets": [{**ENTRY, "ticketTimestamp": AT_MS // 1000}]}, "looks like seconds"),
        ({"tickets": [{**ENTRY, "ticketCode": ""}]}, "ticketCode"),
        ({"tickets": [{**ENTRY, "ticketCode": 5}]}, "ticketCode"),
        ({"tickets": [{**ENTRY, "sessionId": "x"}]}, "sessionId"),
        ({"tickets": [{**ENTRY, "session": 1}]}, "unknown fields"),
    ],
)
def test_an_update_is_refused_whole_for_a_body_against_the_documents(
    sandbox: Sandbox, client: Client, body: object, told: str
) -> None:
    assert told in refusal(client.post(body))
    assert len(sandbox.violations) == 1
    assert sandbox.history() == []


def test_twenty_tickets_a_call_are_allowed(client: Client) -> None:
    assert len(client.post({"tickets": [ENTRY] * 20}).json()["responseData"]) == 20


def test_what_is_not_json_or_has_no_method_is_refused(sandbox: Sandbox, client: Client) -> None:
    path, query = f"/event/{EVENT}/guestlist", {**client.credentials, "method": "updatestatus"}
    json = {"Content-Type": "application/json"}
    assert "400" in refusal(client.http.post(path, params=query, content=b"{", headers=json))
    assert "400" in refusal(client.http.post(path, params=query, content=b"{}"))
    assert "method" in refusal(client.http.post(path, params=client.credentials, json={"tickets": [ENTRY]}))
    assert "updatestatus" in refusal(client.post({"tickets": [ENTRY]}, method="other"))
    assert len(sandbox.violations) == 4


def test_other_paths_methods_events_and_headers_are_refused(sandbox: Sandbox, client: Client) -> None:
    assert refusal(client.get("/events")).startswith("404")
    assert refusal(client.http.put(f"/event/{EVENT}/guestlist")).startswith("405")
    assert client.http.get("/v2/events/search/producer").status_code == 401
    assert client.search(colour="red").status_code == 400
    assert len(sandbox.violations) == 4
    assert refusal(client.get("/event/1/guestlist", sessionid=SESSION)).startswith("200 3027")
    assert len(sandbox.violations) == 4, "an event that is not there is no fault of the request"


def test_a_sandbox_that_is_not_strict_takes_seconds_as_the_vendor_does() -> None:
    with Sandbox(tickets=80, rules=Rules(strict=False)) as sandbox:
        client = Client(sandbox)
        with client.http:
            assert len(client.rows(**{"from": AT_MS // 1000})) == 20
            assert client.page(colour="red").json()["responseData"]["paginationInfo"]["totalResults"] == 20


def test_nothing_secret_stands_in_the_log_or_among_the_requests() -> None:
    lines: list[str] = []
    with Sandbox(tickets=20, log=lines.append, keys=("a-secret-key",)) as sandbox:
        client = Client(sandbox)
        with client.http:
            client.page()
            client.http.post(
                "/login",
                params={"apikey": sandbox.key},
                data={"email": sandbox.email, "password": sandbox.password},
            )
        text = " ".join([*lines, *(seen.request for seen in sandbox.requests)])
        assert len(lines) == len(sandbox.requests) == 2
        assert not any(secret in text for secret in (sandbox.key, sandbox.token, sandbox.password))
