"""A vendor that is asked over real HTTP on the loopback, and does what each code says."""

import json
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import httpx

from firmware.bridge.vendor import (
    LATE_S,
    NOTHING_KEPT,
    Accepted,
    Device,
    Flow,
    Listing,
    LogInRefused,
    Misconfigured,
    Outage,
    Outcome,
    Question,
    Refused,
    Told,
    manner,
    read_json,
)
from firmware.core.ticket import Direction, Verdict


class OracleServer:
    """Says yes to every code, but to some by how they begin.

    `no` is refused (`no echo` with doubt), `odd` is 500, `busy` 429, `rest` 503 and "in an hour", `key` 401,
    `lock` a log-in refused; `slow` waits for `release`, and so does everything while it is `silent`.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.trials = 0
        self.devices: list[dict[str, str]] = []
        self.told: list[str] = []
        self.silent = False
        self.refuses_devices = False
        self.under_way = 0
        self.most_under_way = 0
        self.release = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        oracle = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                status, said = oracle._answer(self.path, json.loads(self.rfile.read(length) or b"{}"))
                body = json.dumps(said).encode()
                self.send_response(status)
                if status == 503:
                    self.send_header("Retry-After", "3600")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

    def _answer(self, path: str, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        code = str(sent.get("code", ""))
        with self._lock:
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            if path == "/ask":
                self.asked.append(code)
            elif path == "/trial":
                self.trials += 1
            elif path == "/tell":
                self.told.append(code)
        if self.silent or code.startswith("slow"):
            self.release.wait(60)
        with self._lock:
            self.under_way -= 1
            if path == "/device":
                if self.refuses_devices:
                    return 500, {}
                self.devices.append(sent)
                return 200, {"id": str(len(self.devices))}
        for front, status in (("odd", 500), ("busy", 429), ("rest", 503), ("key", 401), ("lock", 403)):
            if code.startswith(front):
                return status, {}
        return 200, {"yes": not code.startswith("no"), "sent": sent}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # connections that come at the same moment

    def handle_error(self, request: object, client_address: object) -> None:
        """Who asked did not wait for the answer."""


class Oracle:
    """The account at that server. It knows about ways out, and the code `known`, without asking."""

    batch_max = 20
    asks = True
    inner = True
    books_exits = True
    uploads = True
    compares = False
    signs = False
    tellers = 1
    keys: Mapping[str, str] = NOTHING_KEPT

    def __init__(self, url: str, deadline_ms: int = 60_000, devices: bool = False) -> None:
        self.url = url
        self.deadline_ms = deadline_ms
        self.devices = devices
        self.questions: list[tuple[Question, Mapping[str, str]]] = []

    def secrets(self) -> Sequence[str]:
        return ("word-of-ours",)

    def probe(self) -> Flow[str]:
        yield from ()
        return "an oracle"

    def tickets(self, since: str) -> Flow[Listing]:
        yield from ()
        return Listing("", whole=True)

    def tell(self, movements: Sequence[Told]) -> Flow[tuple[Outcome, ...]]:
        for told in movements:
            yield self._post("tell", {"code": told.code, **told.kept})
        return tuple(Accepted("told") for _ in movements)

    def ask(self, question: Question, kept: Mapping[str, str]) -> Flow[Accepted | Refused]:
        self.questions.append((question, kept))
        if question.code.startswith("bug"):
            raise ZeroDivisionError("a bug")
        if question.code == "known":
            return Refused(Verdict.USED, "no need to ask")
        if question.direction is Direction.OUT:
            return Accepted("no need to ask")
        reply = yield self._post("ask", {"code": question.code, "ticket": question.ticket_id, **kept})
        assert isinstance(reply, httpx.Response)
        if reply.status_code == 401:
            raise Misconfigured("wrong key: word-of-ours")
        if reply.status_code == 403:
            raise LogInRefused("wrong password")
        if reply.status_code == 429:
            raise Outage("too many requests (429)")
        if reply.status_code >= 500:
            raise Outage(f"answered {reply.status_code}")
        said = read_json(reply)
        assert isinstance(said, dict)
        if said["yes"]:
            return Accepted("come in")
        fault = "broken" if question.code == "no and broken" else ""
        return Refused(Verdict.USED, "was here", fault, doubt=question.code == "no echo")

    def configure(self, device: Device) -> Flow[Mapping[str, str]]:
        if device.mac == "wrong":
            raise Misconfigured("no such venue")
        reply = yield self._post("device", {"gate": device.gate, "perimeter": device.perimeter.value})
        assert isinstance(reply, httpx.Response)
        if reply.status_code != 200:
            raise Outage(f"answered {reply.status_code}")
        said = read_json(reply)
        assert isinstance(said, dict)
        return {"id": str(said["id"])}

    def trial(self) -> Flow[None]:
        yield self._post("trial", {}, 1.0)

    def _post(self, path: str, body: Mapping[str, str], timeout_s: float = 0.0) -> httpx.Request:
        timeout_s = timeout_s or self.deadline_ms / 1000 + LATE_S
        return httpx.Request(
            "POST", f"{self.url}/{path}", json=dict(body), extensions=manner(path, timeout_s, patience_s=60.0)
        )
