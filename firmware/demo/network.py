"""The network between the demo's gate and its broker: a relay of bytes that can be cut."""

import secrets
import selectors
import socket
import threading
from contextlib import suppress
from typing import Self

LOOPBACK = "127.0.0.1"
PORTS = range(10_000, 32_768)  # Linux gives connections a port above these
BYTES_MAX = 65_536  # moved at once
WAITING_MAX = 16  # connections that come at one moment: there is one gate
CONNECT_S = 2.0  # to a broker on this machine
JOIN_S_MAX = 5.0

_given = set[int]()


class Network:
    """Listens at `port`, and passes on what comes to the broker.

    `cut` ends every connection and lets none in. The port stays ours while it is cut: it is bound, and nobody
    listens at it.
    """

    def __init__(self, broker_port: int) -> None:
        self.is_cut = False
        self._broker_port = broker_port
        self._lock = threading.Lock()
        self._over = False
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self.port = free_port()
        self._door = _bound(self.port)
        self._open()

    def cut(self) -> None:
        """Cut it. Twice is fine."""
        with self._lock:
            if self._over or self.is_cut:
                return
            self.is_cut = True
            self._shut()
            self._door = _bound(self.port)

    def mend(self) -> None:
        """Let connections in again. Twice is fine."""
        with self._lock:
            if self.is_cut and not self._over:
                self.is_cut = False
                self._open()

    def close(self) -> None:
        """Cut it for good. Twice is fine."""
        with self._lock:
            if not self._over:
                self._over = True
                self._shut()

    def __enter__(self) -> Self:
        """The network itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def _open(self) -> None:
        self._door.listen(WAITING_MAX)
        threading.Thread(target=self._let_in, args=(self._door,), name="network", daemon=True).start()

    def _shut(self) -> None:
        _end(self._door)
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _let_in(self, door: socket.socket) -> None:
        while True:
            try:
                near, _ = door.accept()
            except OSError:  # it was shut
                return
            try:
                far = socket.create_connection((LOOPBACK, self._broker_port), CONNECT_S)
            except OSError:  # no broker: the gate sees a connection that ends at once
                near.close()
                continue
            pair = (near, far)
            with self._lock:
                if self._over or self.is_cut:
                    near.close()
                    far.close()
                    return
                self._pairs.add(pair)
            threading.Thread(target=self._pass_on, args=(pair,), name="network", daemon=True).start()

    def _pass_on(self, pair: tuple[socket.socket, socket.socket]) -> None:
        """Move bytes both ways until one end closes."""
        near, far = pair
        far.settimeout(None)
        for end in pair:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with near, far, selectors.DefaultSelector() as ready, suppress(OSError):
                ready.register(near, selectors.EVENT_READ, far)
                ready.register(far, selectors.EVENT_READ, near)
                while True:
                    for key, _ in ready.select():
                        assert isinstance(key.fileobj, socket.socket)
                        data = key.fileobj.recv(BYTES_MAX)
                        if not data:
                            return
                        key.data.sendall(data)
        finally:
            with self._lock:
                self._pairs.discard(pair)


def _bound(port: int) -> socket.socket:
    door = socket.socket()
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.bind((LOOPBACK, port))
    return door


def _end(door: socket.socket) -> None:
    with suppress(OSError):
        door.shutdown(socket.SHUT_RDWR)  # wakes who accepts
    door.close()


def free_port() -> int:
    """A port of the loopback that nobody has at the moment, and that no connection is given by chance.

    Chosen at random, because another demo may start at the same moment. The same one is never given twice:
    broker and vendor are told their ports before either of them is there to hold its own.
    """
    while True:
        port = PORTS.start + secrets.randbelow(len(PORTS))
        with socket.socket() as tried, suppress(OSError):
            tried.bind((LOOPBACK, port))
            if port not in _given:
                _given.add(port)
                return port
