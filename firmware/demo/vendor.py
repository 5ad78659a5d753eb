"""The demo's vendor, in a process of its own: the Ingresse sandbox, which here also remembers.

Every change is in a file before the reply that tells of it leaves, so a vendor that was killed comes back
with the same books. The file is not flushed to the disk: it outlives processes, not power cuts.
"""

import fcntl
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from firmware.bridge.sandbox.control import control_of
from firmware.bridge.sandbox.history import ELSEWHERE, Change, utc_ms
from firmware.bridge.sandbox.ingresse import Sandbox
from firmware.bridge.sandbox.ingresse_tickets import Tickets
from firmware.bridge.sandbox.server import LOOPBACK, Answer, Reply, Request, Server
from firmware.demo.child import News, VendorOrder, serve, tell

SEED = 1
TICKETS = 4000  # a thousand a session: there at once, and more than anybody types
HEAD = msgspec.json.encode({"seed": SEED, "tickets": TICKETS}) + b"\n"


class Clock:
    """The machine's clock, or the times at which things happened while they are told again."""

    def __init__(self) -> None:
        self.told: deque[int] = deque()

    def __call__(self) -> int:
        """UTC milliseconds."""
        return self.told.popleft() if self.told else utc_ms()


class Books:
    """All that happened at this vendor, a line each. One process has them at a time."""

    def __init__(self, file: BinaryIO, sandbox: Sandbox, clock: Clock) -> None:
        self._file, self._sandbox = file, sandbox
        self._lock = threading.Lock()
        self._kept = self._read(clock)

    def keep(self) -> None:
        """Write down what is new."""
        with self._lock:
            if self._sandbox.books().changes == self._kept:
                return
            changes = self._sandbox.history()
            for change in changes[self._kept :]:
                self._file.write(msgspec.json.encode(change) + b"\n")
            self._kept = len(changes)

    def _read(self, clock: Clock) -> int:
        """Let everything happen again; returns how much there was. A last line that was cut is dropped."""
        head, *lines = self._file.read().split(b"\n")
        if head + b"\n" != HEAD:
            self._file.truncate(0)
            self._file.write(HEAD)
            return 0
        whole = len(HEAD)
        tickets = self._sandbox.tickets
        for line in lines[:-1]:
            change = msgspec.json.decode(line, type=Change)
            again(tickets, change, clock)
            whole += len(line) + 1
        self._file.truncate(whole)
        return len(lines) - 1


def again(tickets: Tickets, change: Change, clock: Clock) -> None:
    """Let one thing happen as it did."""
    index = tickets.index_of(change.ticket_id)
    here = change.what in {"checkin", "checkout"} and change.operator != ELSEWHERE
    clock.told.extend((change.at_ms,) if here else (change.said_ms, change.at_ms))
    match change.what:
        case "sold":
            found = tickets.sell(index)
        case "refunded":
            found = tickets.refund(index)
        case "code":
            found = tickets.change_code(index)
        case "transferred":
            found = tickets.transfer(index)
        case what if here:
            session = tickets.ticket(change.ticket_id).session
            inside = what == "checkin"
            tickets.update(change.code, session.id, session.event, inside, change.said_ms, change.operator)
            found = tickets.ticket(change.ticket_id).history[-1]
        case what:
            found = tickets.move(index, what == "checkin")
    if found != change:
        raise ValueError(f"the vendor's books do not fit: {change} came out as {found}: remove them")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file with the books, once no other process has it any more."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("a+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file


def kept(answer: Answer, books: Books) -> Answer:
    """Answer when what happened is in the books."""

    def answer_and_keep(request: Request) -> Reply:
        reply = answer(request)
        books.keep()
        return reply

    return answer_and_keep


def work(order: VendorOrder, over: threading.Event) -> None:
    """Be the vendor until told to end. What the sandbox serves itself is known to nobody: it has no books."""
    clock = Clock()
    with opened(Path(order.books)) as file, Sandbox(tickets=TICKETS, seed=SEED, clock=clock) as sandbox:
        books = Books(file, sandbox, clock)
        control = control_of(sandbox)
        control.answer = kept(control.answer, books)
        with Server(kept(sandbox.api.answer, books), clock, LOOPBACK, order.port) as server, control:
            ready = {"url": server.url, "control": control.url, "key": sandbox.key}
            tell(News(ready={**ready, "token": sandbox.token, "jwt": sandbox.jwt}))
            over.wait()


if __name__ == "__main__":
    serve(VendorOrder, work)
