"""The HTTP side of every sandbox: one thread a connection, keep-alive, and replies that go wrong on purpose.

Knows no vendor. A vendor's sandbox gives a function that answers a request; it runs on several threads at
the same time. Nothing of a client is trusted: lengths are bounded, and a fault of the sandbox itself is kept
and raised when the server is closed, so that no test passes over it.
"""

import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from enum import Enum
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import NamedTuple, Self
from urllib.parse import parse_qsl

LOOPBACK = "127.0.0.1"
BODY_BYTES_MAX = 1 << 20  # the longest documented body, 20 tickets, has some 5 KB
IDLE_S = 300.0  # a client that went away without a word holds a thread no longer than this
WAITING_CONNECTIONS_MAX = 128  # of clients that connect at one moment
LOOK_S = 0.05  # between two looks of the thread that accepts, whether it is to end
CLOSE_S = 10.0  # for that thread to end, on a machine that is busy


class Request(NamedTuple):
    """A request as it came. `path` is raw: still percent-encoded, without its query."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]  # names in small letters
    body: bytes


class Ending(Enum):
    """How a reply ends."""

    WHOLE = "whole"
    NONE = "none"  # the connection is closed without a byte
    CUT = "cut"  # the length is right and half of the body comes
    REFUSED = "refused"  # closed without a byte, and nobody listens for a while


class Reply(NamedTuple):
    """What is sent back, how it ends, and how long that takes."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    ending: Ending = Ending.WHOLE
    delay_s: float = 0.0
    refused_s: float = 0.0


Answer = Callable[[Request], Reply]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    disable_nagle_algorithm = True
    server: "Listener"

    def handle_one_request(self) -> None:
        """Answer one request of this connection, whatever its method."""
        self.close_connection = True
        with suppress(ConnectionError, TimeoutError):
            self.raw_requestline = self.rfile.readline(65537)
            if len(self.raw_requestline) > 65536:
                self.requestline = self.request_version = self.command = ""
                self.send_error(414)
            elif self.raw_requestline and self.parse_request():
                self.exchange()

    def exchange(self) -> None:
        """Read the body, ask for the reply, send it."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            self.close_connection = True
            return self.send(Reply(411, b"a body needs a Content-Length", "text/plain"))
        if len(length) > 9 or int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            return self.send(Reply(413, b"this body is too long", "text/plain"))
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return None
        path, _, query = self.path.partition("?")
        request = Request(
            self.command,
            path,
            tuple(parse_qsl(query, keep_blank_values=True)),
            {name.lower(): value for name, value in self.headers.items()},
            body,
        )
        return self.send(self.server.site.answer(request))

    def send(self, reply: Reply) -> None:
        """One reply in one write, or what its ending leaves of it."""
        if reply.delay_s and self.server.site.wait(reply.delay_s):
            self.close_connection = True
            return
        if reply.ending in {Ending.NONE, Ending.REFUSED}:
            self.close_connection = True
            if reply.ending is Ending.REFUSED:
                self.server.site.refuse(reply.refused_s)
            return
        self.close_connection = self.close_connection or reply.ending is Ending.CUT
        lines = [
            f"HTTP/1.1 {reply.status} {responses.get(reply.status, '')}",
            f"Date: {formatdate(self.server.site.clock() / 1000, usegmt=True)}",
            f"Content-Type: {reply.content_type}",
            f"Content-Length: {len(reply.body)}",
            *(f"{name}: {value}" for name, value in reply.headers),
        ]
        if self.close_connection:
            lines.append("Connection: close")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
        body = reply.body[: len(reply.body) // 2] if reply.ending is Ending.CUT else reply.body
        self.connection.sendall(head + (b"" if self.command == "HEAD" else body))

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what is worth a line is logged by who answers, with its secrets masked."""


class Listener(ThreadingHTTPServer):
    """The listening socket and the connections that came through it."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = WAITING_CONNECTIONS_MAX

    def __init__(self, site: "Server", port: int) -> None:
        super().__init__((site.host, port), Handler, bind_and_activate=False)
        self.site = site
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        try:
            TCPServer.server_bind(self)  # that of the HTTP server asks the name service for our name
        except OSError:
            self.server_close()
            raise

    def get_request(self) -> tuple[socket.socket, object]:
        """Keep in mind who is connected, so that a closed door cuts them off too."""
        connection, address = super().get_request()
        with self._lock:
            self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: object) -> None:
        """The end of one connection."""
        assert isinstance(request, socket.socket)
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def cut_off(self) -> None:
        """End every connection, in the middle of a reply too."""
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no fault; everything else is one of the sandbox."""
        error = sys.exception() if sys.version_info >= (3, 12) else sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError | TimeoutError):
            self.site.faults.append(error)


class Server:
    """Answers on one port until it is closed. `clock` gives UTC milliseconds.

    Raises `OSError` where the port is taken.
    """

    def __init__(self, answer: Answer, clock: Callable[[], int], host: str = LOOPBACK, port: int = 0) -> None:
        self.answer, self.clock, self.host = answer, clock, host
        self.faults: list[BaseException] = []
        self._over = threading.Event()
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        self._thread: threading.Thread | None = None
        self._listener = Listener(self, port)
        self.port: int = self._listener.server_address[1]
        self.accept()

    @property
    def url(self) -> str:
        """Where it answers, without a slash at the end."""
        return f"http://{self.host}:{self.port}"

    def wait(self, seconds: float) -> bool:
        """Hold a reply back. True where the server was closed meanwhile."""
        return self._over.wait(seconds)

    def accept(self) -> None:
        """Let clients in again."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._thread is None and not self._over.is_set():
                self._listener.server_activate()
                accepting = self._listener.serve_forever
                self._thread = threading.Thread(target=accepting, args=(LOOK_S,), daemon=True)
                self._thread.start()

    def refuse(self, seconds: float | None = None) -> None:
        """Connections are refused and those that stand are cut, for so long or until `accept`.

        The port stays ours: it is bound and nobody listens at it.
        """
        with self._lock:
            if self._over.is_set():
                return
            self._stop()
            self._listener = Listener(self, self.port)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if seconds is not None:
                self._timer = threading.Timer(seconds, self.accept)
                self._timer.daemon = True
                self._timer.start()

    def _stop(self) -> None:
        if self._thread is not None:
            self._listener.shutdown()
            self._thread.join(CLOSE_S)
            self._thread = None
        self._listener.server_close()
        self._listener.cut_off()

    def close(self) -> None:
        """End it and every connection. Raises `RuntimeError` where the sandbox itself had a fault."""
        with self._lock:
            if self._over.is_set():
                return
            self._over.set()
            if self._timer is not None:
                self._timer.cancel()
            self._stop()
        if self.faults:
            raise RuntimeError(f"the sandbox could not answer: {self.faults[0]!r}") from self.faults[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
