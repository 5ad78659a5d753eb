"""A thousand gates' connections on one thread: the gate's own link for each, and one loop that turns them.

A link is what the product's line is made of. The line gives each a thread, which is right for a gate and too
much for a thousand. Not here: other brokers than the first, and the waits between attempts to connect.
"""

import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from firmware import wire
from firmware.mqtt import PACE, Broker, Listener, Pace, Publication, Session
from firmware.mqtt.broker import Fault
from firmware.mqtt.link import Came, Ended, Link, Taken, Wake

ATTEND_S = 5.0  # between two looks at a link's keepalive, which is 20 s
LEAVE_TURNS = 50  # for the farewell to go out
TURN_S = 0.02


class _Mark(Wake):
    """Tells the loop that this link has something to write. Nobody waits for it to be readable."""

    def __init__(self, out: socket.socket, mark: Callable[[], None]) -> None:
        self.out, self._mark = out, mark

    def __call__(self) -> None:
        self._mark()

    def clear(self) -> None:
        """Never set."""


class Lines:
    """The loop. All of it, and all that its listeners do, is on one thread."""

    def __init__(self) -> None:
        self.bytes_in = 0
        """Topics and payloads that came, of all links."""
        self.lost: list[str] = []
        """Why connections ended."""
        self.closed = False
        self._poll = select.epoll()
        self._silent = socket.socketpair()
        self._lines: dict[int, TurnedLine] = {}
        self._marked: set[TurnedLine] = set()
        self._attend_s = 0.0

    def line(
        self,
        brokers: Sequence[Broker],
        client_id: str,
        subscriptions: Sequence[str],
        listener: Listener,
        will: Callable[[int], Publication],
        farewell: Callable[[int], Publication],
        pace: Pace = PACE,
    ) -> "TurnedLine":
        """What a gate takes for its line."""
        return TurnedLine(self, brokers[0], client_id, subscriptions, listener, will, farewell, pace)

    def listen(self, file: int) -> None:
        """Let `turn` come back when there is something to read."""
        self._poll.register(file, select.EPOLLIN)

    def turn(self, timeout_s: float) -> None:
        """Wait for any link, read and write, and tell the listeners."""
        self._write()
        for file, _ in self._poll.poll(timeout_s):
            if (line := self._lines.get(file)) is not None:
                line.turn()
        self._write()
        if time.monotonic() >= self._attend_s:
            self._attend_s = time.monotonic() + ATTEND_S
            for line in list(self._lines.values()):
                line.turn()

    def _write(self) -> None:
        while self._marked:
            self._marked.pop().turn()

    def close(self) -> None:
        """End every connection; twice is fine."""
        self.closed = True
        for line in list(self._lines.values()):
            line.close()
        self._poll.close()
        for each in self._silent:
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- for its lines

    def mark(self, line: "TurnedLine") -> _Mark:
        return _Mark(self._silent[0], lambda: self.again(line))

    def add(self, file: int, line: "TurnedLine") -> None:
        self._lines[file] = line
        self._poll.register(file, select.EPOLLIN)

    def again(self, line: "TurnedLine") -> None:
        self._marked.add(line)

    def drop(self, file: int, line: "TurnedLine") -> None:
        del self._lines[file]
        self._marked.discard(line)
        with suppress(OSError):  # closed already, and out of it by that
            self._poll.unregister(file)


class TurnedLine:
    """One connection. Entering connects, and waits for the broker; leaving says farewell."""

    def __init__(
        self,
        lines: Lines,
        broker: Broker,
        client_id: str,
        subscriptions: Sequence[str],
        listener: Listener,
        will: Callable[[int], Publication],
        farewell: Callable[[int], Publication],
        pace: Pace,
    ) -> None:
        self._lines, self._broker, self._client_id = lines, broker, client_id
        self._subscriptions, self._listener, self._pace = tuple(subscriptions), listener, pace
        self._will, self._farewell = will, farewell
        self._attempts = self._file = 0
        self._link: Link | None = None
        self._session: Session | None = None

    @property
    def session(self) -> Session | None:
        """The connection that stands, if one does."""
        return self._session

    def connect(self) -> None:
        """Raises `Fault`. The other links wait meanwhile: some milliseconds."""
        self._attempts += 1
        link = Link(self._broker, self._client_id, self._pace, self._lines.mark(self), threading.Event())
        try:
            limits = link.connect(self._will(self._attempts))
            early = link.subscribe(self._subscriptions)
        except Fault:
            link.abandon()
            raise
        sock: Any = link._client.socket()
        self._link, self._file = link, sock.fileno()
        self._session = Session(self._attempts, link, limits, wire.WINDOW_MESSAGES)
        self._lines.add(self._file, self)
        self._listener.connected(self._session)
        for came in early:
            self._came(self._session, came)

    def turn(self) -> None:
        """Read and write what there is."""
        if self._link is None or self._session is None:
            return
        for event in self._link.turn(0):
            if isinstance(event, Came):
                self._came(self._session, event)
            elif isinstance(event, Taken):
                assert not event.refusal, event
                self._session._taken(event.packet_id)
                self._listener.acknowledged(self._session)
            elif isinstance(event, Ended):
                self._end(event.why)
                return
        if self._link.owes:
            self._lines.again(self)

    def _came(self, session: Session, came: Came) -> None:
        self._lines.bytes_in += len(came.topic) + len(came.payload)
        self._listener.arrived(session, session._arrival(came))

    def _end(self, why: str) -> None:
        assert self._link is not None
        assert self._session is not None
        session, self._session = self._session, None
        self._lines.drop(self._file, self)
        self._lines.lost.append(why)
        session._end()
        self._link.abandon()
        self._link = None
        self._listener.disconnected(session, why)

    def close(self) -> None:
        """Say farewell and go; twice is fine."""
        if self._link is None or self._session is None:
            return
        self._link.publish(self._farewell(self._session.number))
        self._link.disconnect()
        for _ in range(LEAVE_TURNS):
            if any(isinstance(event, Ended) for event in self._link.turn(TURN_S)):
                break
        self._end("closed")
        self._lines.lost.pop()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
