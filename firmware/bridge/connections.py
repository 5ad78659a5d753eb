"""Connections to vendors that keep to a time for the whole of a request.

A time-out of a socket starts anew with each byte, so a server that sends its head or body byte by byte could
hold a thread for hours. Here every wait for bytes ends, at the latest, when the request's own time is over.

What is written waits until the reply is read, so that a request is one segment and not two: a person stands
at a lane, and many servers wait for both.
"""

import errno
import ssl
import threading
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import httpcore
import httpx

ERRORS = (
    httpcore.ConnectionNotAvailable,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)
NO_WAY = (httpcore.ConnectError, httpcore.ConnectTimeout)
"""Those that say that there is no connection to the server: nobody there, no such name, no trust."""
OF_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""This machine has no file, memory or port left for a connection, which tells nothing of the way."""
HEADERS = (
    (b"Accept", b"application/json"),
    (b"Accept-Encoding", b"gzip, deflate"),
    (b"User-Agent", b"gatepost"),
)
"""Of a request that does not name them."""
CODED = (b"content-encoding", b"content-length", b"transfer-encoding")  # true of the bytes on the wire only


class Connections:
    """A bounded pool of HTTP/1.1 connections, without cookies, redirects or a proxy. Any thread may send."""

    def __init__(
        self, trusted: ssl.SSLContext, connections_max: int, keep_alive_s: float, clock: Callable[[], float]
    ) -> None:
        self._request = _Request(clock)
        self._pool = httpcore.ConnectionPool(
            ssl_context=trusted,
            max_connections=connections_max,
            max_keepalive_connections=connections_max,
            keepalive_expiry=keep_alive_s,
            http1=True,
            http2=False,
            network_backend=_Network(self._request),
        )

    @property
    def left(self) -> bool:
        """Whether anything of this thread's last request was handed to a connection."""
        return self._request.left

    def send(
        self, request: httpx.Request, timeout: Mapping[str, float], whole_s: float, bytes_max: int
    ) -> httpx.Response:
        """The whole reply, within `whole_s`. Raises `ERRORS`, or `ValueError` where it is too long.

        `timeout` has the seconds of one wait each: `connect`, `read`, `write`, `pool`.
        """
        assert isinstance(request.stream, Iterable)
        self._request.begin(whole_s)
        named = {name.lower() for name, _ in request.headers.raw}
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=[*request.headers.raw, *(each for each in HEADERS if each[0].lower() not in named)],
                content=request.stream,
                extensions={"timeout": timeout},
            )
        )
        try:
            if not self._request.left:  # the rest of what a server said before: nobody knows whose it is
                raise httpcore.RemoteProtocolError("a reply came before its request was sent")
            coded = any(name.lower() == b"content-encoding" for name, _ in answer.headers)
            chunks: Iterable[bytes] = answer.iter_stream()
            if coded:  # a few bytes may become many: counted as they come out
                chunks = httpx.Response(
                    answer.status, headers=answer.headers, stream=_Body(chunks)
                ).iter_bytes()
            content = b"".join(_up_to(bytes_max, chunks))
        finally:
            answer.close()
        headers = [each for each in answer.headers if each[0].lower() not in CODED]
        return httpx.Response(answer.status, headers=headers, content=content, request=request)

    def close(self) -> None:
        """Close all connections; twice is fine."""
        self._pool.close()


class _Request(threading.local):
    """The request of this thread: when it has to be over, and whether any of it left."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until_s = 0.0
        self.left = False

    def begin(self, whole_s: float) -> None:
        """So much time for the next request."""
        self._until_s, self.left = self._clock() + whole_s, False

    def left_s(self, timeout_s: float | None) -> float:
        """How long to wait for the next bytes. Raises `httpcore.ReadTimeout` where the time is over."""
        left_s = self._until_s - self._clock()
        if left_s <= 0:
            raise httpcore.ReadTimeout("the reply drips in, and its time is over")
        return left_s if timeout_s is None else min(left_s, timeout_s)


def _up_to(bytes_max: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    length = 0
    for chunk in chunks:
        length += len(chunk)
        if length > bytes_max:
            raise ValueError(f"a reply of more than {bytes_max} bytes")
        yield chunk


class _Body(httpx.SyncByteStream):
    def __init__(self, inner: Iterable[bytes]) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        yield from self._inner


class _Network(httpcore.NetworkBackend):
    """Sockets as ever, but for the time and for what waits to be written."""

    def __init__(self, request: _Request) -> None:
        self._request = request
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: typing.Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            inner = self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        except httpcore.ConnectError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in OF_OURS:
                raise httpcore.NetworkError(str(error)) from error
            raise
        return _Stream(inner, self._request)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, request: _Request) -> None:
        self._inner = inner
        self._request = request
        self._waiting = b""
        self._timeout: float | None = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._waiting:
            waiting, self._waiting = self._waiting, b""
            left_s = self._request.left_s(self._timeout)
            self._request.left = True
            with suppress(httpcore.WriteError):  # a server may answer before it has all, and hang up
                self._inner.write(waiting, left_s)
        return self._inner.read(max_bytes, self._request.left_s(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._waiting, self._timeout = self._waiting + buffer, timeout

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout), self._request)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
