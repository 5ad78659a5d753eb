"""Connections to vendors that keep to a time for the whole of a request.

A time-out of a socket starts anew with each byte, so a server that sends its head or body byte by byte could
hold a thread for hours. Here every wait for bytes ends, at the latest, when the request's own time is over.
"""

import ssl
import threading
import typing
from collections.abc import Callable, Iterable, Iterator
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


class Transport(httpx.BaseTransport):
    """A bounded pool of HTTP/1.1 connections. Raises `ERRORS`; `deadline` is set before each request."""

    def __init__(
        self, trusted: ssl.SSLContext, connections_max: int, keep_alive_s: float, clock: Callable[[], float]
    ) -> None:
        self._deadline = Deadline(clock)
        self._pool = httpcore.ConnectionPool(
            ssl_context=trusted,
            max_connections=connections_max,
            max_keepalive_connections=connections_max,
            keepalive_expiry=keep_alive_s,
            http1=True,
            http2=False,
            network_backend=_Network(self._deadline),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send; the head of the reply is there when this returns."""
        assert isinstance(request.stream, Iterable)
        self._deadline.set(float(request.extensions["whole_s"]))
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        assert isinstance(answer.stream, Iterable)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream))

    def close(self) -> None:
        """Close all connections; twice is fine."""
        self._pool.close()


class Deadline(threading.local):
    """When the request of this thread has to be over."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until_s = 0.0

    def set(self, whole_s: float) -> None:
        """So much time for the next request."""
        self._until_s = self._clock() + whole_s

    def left_s(self, timeout_s: float | None) -> float:
        """How long to wait for the next bytes. Raises `httpcore.ReadTimeout` where the time is over."""
        left_s = self._until_s - self._clock()
        if left_s <= 0:
            raise httpcore.ReadTimeout("the reply drips in, and its time is over")
        return left_s if timeout_s is None else min(left_s, timeout_s)


class _Body(httpx.SyncByteStream):
    def __init__(self, inner: Iterable[bytes]) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        yield from self._inner

    def close(self) -> None:
        if hasattr(self._inner, "close"):
            self._inner.close()


class _Network(httpcore.NetworkBackend):
    """Sockets as ever, but for reading."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: typing.Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        inner = self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(inner, self._deadline)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.left_s(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
