"""The network between two parts: a cable that can be cut, and joined again."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

PIECE_BYTES = 65_536


class Cable:
    """Passes on what comes to its port. While it is cut, whoever connects is hung up on."""

    def __init__(self, port: int) -> None:
        """Lead to this port."""
        self._to = port
        self._lock = threading.Lock()
        self._cut = False
        self._ends: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._listen, name=f"cable to {port}", daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Nothing goes through any more, and both sides notice."""
        with self._lock:
            self._cut = True
            self._hang_up()

    def join(self) -> None:
        """The next one who connects comes through."""
        with self._lock:
            self._cut = False

    def blink(self) -> None:
        """Cut it for a moment."""
        with self._lock:
            self._hang_up()

    def _hang_up(self) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                self._connect(near)

    def _connect(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self._to))
        except OSError:
            near.close()
            return
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            if not self._cut:
                self._ends |= {near, far}
                threading.Thread(target=self._carry, args=(near, far), daemon=True).start()
                return
        near.close()
        far.close()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        """Both ways, until one side ends."""
        back = threading.Thread(target=self._pass_on, args=(far, near), daemon=True)
        back.start()
        self._pass_on(near, far)
        back.join()
        with self._lock:
            self._ends -= {near, far}
        near.close()
        far.close()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                target.sendall(piece)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Cut it for good."""
        self.cut()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
