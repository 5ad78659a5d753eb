"""What a bridge serves over HTTP: `/metrics` for Prometheus, `/health` for people. Nothing else.

A request is one line and some headers that nobody reads, within a few seconds; whoever sends more, or nothing
at all, is let go. There is no secret and no code in what is told.
"""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import NamedTuple, Self

from firmware.bridge.metrics import CONTENT_TYPE, Metrics, Seen
from firmware.bridge.settings import Listen

HEAD_BYTES_MAX = 8_192  # of a request; Prometheus sends 300, a browser 1,000
REQUEST_S = 5.0  # for all of a request, and again for all of the answer
REQUESTS_MAX = 8  # at one time; a ninth is closed at once, and comes again
BACKLOG = 16
ACCEPT_S = 0.5  # how soon a closing server looks up
PLAIN = "text/plain; charset=utf-8"
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Answer(NamedTuple):
    """What is sent back."""

    status: int
    body: bytes
    kind: str = PLAIN


class CannotServe(Exception):
    """The address cannot be used; the text names it and the mend."""


class HealthPage:
    """Serves until the end; entering starts it, and raises `CannotServe`."""

    def __init__(self, listen: Listen, venue: str, look: Callable[[], Seen]) -> None:
        """`look` reads memory only."""
        self._listen, self._venue, self._look = listen, venue, look
        self._metrics = Metrics(look)
        self._room = threading.BoundedSemaphore(REQUESTS_MAX)
        self._over = threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._accept, name="health page", daemon=True)

    def answer(self, line: str) -> Answer:
        """The answer to a request's first line."""
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return Answer(400, b"no request of HTTP/1.1\n")
        method, path = words[0], words[1].partition("?")[0]
        if path not in ("/metrics", "/health"):
            return Answer(404, b"there are /metrics and /health\n")
        if method not in ("GET", "HEAD"):
            return Answer(405, b"only GET and HEAD\n")
        if path == "/metrics":
            return Answer(200, self._metrics.text(), CONTENT_TYPE)
        return page(self._venue, self._look(), datetime.now(UTC))

    def _accept(self) -> None:
        assert self._socket is not None
        while not self._over.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:  # too many open files, or a client that is gone already
                self._over.wait(ACCEPT_S)
                continue
            if not self._room.acquire(blocking=False):
                connection.close()
                continue
            try:
                threading.Thread(target=self._serve, args=(connection,), name="health", daemon=True).start()
            except RuntimeError:  # no more threads at present
                connection.close()
                self._room.release()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, suppress(OSError):
                line = request_line(connection, time.monotonic() + REQUEST_S)
                answer = self._answered(line)
                head = (
                    f"HTTP/1.1 {answer.status} {REASONS[answer.status]}\r\nContent-Type: {answer.kind}\r\n"
                    f"Content-Length: {len(answer.body)}\r\nCache-Control: no-store\r\n"
                    "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
                )
                body = b"" if line.startswith("HEAD ") else answer.body
                connection.settimeout(REQUEST_S)  # `sendall` counts it for the whole
                connection.sendall(head.encode() + body)
                connection.shutdown(socket.SHUT_WR)
        finally:
            self._room.release()

    def _answered(self, line: str) -> Answer:
        try:
            return self.answer(line)
        except Exception as error:  # whoever watches must hear that, and not nothing
            return Answer(500, f"the page cannot be made ({type(error).__name__})\n".encode())

    def __enter__(self) -> Self:
        """Start."""
        host, port = self._listen
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(BACKLOG)
            listener.settimeout(ACCEPT_S)
        except OSError as error:
            listener.close()
            mend = "choose another address or port in [health]"
            raise CannotServe(f"[health] {host}:{port}: {error.strerror or error}: {mend}") from None
        self._socket = listener
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End; a request in hand is left to its thread."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(ACCEPT_S * 2)
        if self._socket is not None:
            self._socket.close()


def request_line(connection: socket.socket, until_s: float) -> str:
    """The first line, when the whole head is there; "" where it is too long. Raises `OSError` if too slow."""
    head = b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head:
        if len(head) > HEAD_BYTES_MAX:
            return ""
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(left_s)
        came = connection.recv(HEAD_BYTES_MAX)
        if not came:
            raise ConnectionError
        head += came
    return head.partition(b"\n")[0].rstrip(b"\r").decode("latin-1")


def page(venue: str, seen: Seen, now: datetime) -> Answer:
    """For people: 200 where the bridge has no fault, else 503. Gates stand below with their faults' codes."""
    health, gates = seen
    faults = [f"fault: {_line(fault.text)}" for fault in health.faults]
    waiting = {account.name: account.backlog.get("due", 0) for account in health.accounts}
    lines = [
        f"bridge of {venue}, {now:%Y-%m-%d %H:%M:%S} UTC: {'faults' if faults else 'no fault'}",
        *faults,
        f"broker: {health.broker or 'not connected'}; {health.counts.rows:,} rows in the ledger; "
        f"{health.counts.reports:,} reports",
        *(f"account {name}: {due:,} admissions to tell" for name, due in waiting.items()),
        f"gates: {sum(heard.up for heard in gates.values())} of {len(gates)} heard in the last minute",
    ]
    for gate, heard in gates.items():
        codes = ", ".join(sorted({fault.code for fault in heard.telemetry.faults})) or "no fault"
        said = f"{codes}; {heard.telemetry.backlog_rows:,} rows to send" if heard.up else "NOT HEARD"
        lines.append(f"gate {gate}: {said}; last heard {heard.age_s:.0f} s ago")
    return Answer(503 if faults else 200, ("\n".join(lines) + "\n").encode(errors="replace"))


def _line(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
