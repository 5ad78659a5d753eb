"""The demo's vendor, in a process of its own: a sandbox, which here also remembers.

Every change is in a file before the reply that tells of it leaves, so a vendor that was killed comes back
with the same books. The file is not flushed to the disk: it outlives processes, not power cuts.
"""

import fcntl
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from firmware.bridge.sandbox import bam, presence
from firmware.bridge.sandbox.command import SANDBOXES, Sandbox
from firmware.bridge.sandbox.control import control_of
from firmware.bridge.sandbox.history import ELSEWHERE, SELLER, Change, utc_ms
from firmware.bridge.sandbox.presence_venue import Named
from firmware.bridge.sandbox.server import LOOPBACK, Answer, Reply, Request, Server
from firmware.demo.child import News, VendorOrder, serve, tell
from firmware.demo.plays import PLAYS, USUAL

SEED = 1
TICKETS = 4000  # a thousand a session: there at once, and more than anybody types
LONG_AGO_MS = 0  # where a vendor begins whose events have dates: its books may be older than today
ELSEWHERE_OR_SOLD = (ELSEWHERE, SELLER)  # what they do is said as it happens, so the clock is asked twice


class Head(msgspec.Struct, frozen=True):
    """The first line of the books: whose they are."""

    seed: int = SEED
    tickets: int = TICKETS
    vendor: str = USUAL


class Clock:
    """The machine's clock, or times at which things happened; the last of these stays until it is over."""

    def __init__(self) -> None:
        self.told: deque[int] = deque()

    def __call__(self) -> int:
        """UTC milliseconds."""
        if len(self.told) > 1:
            return self.told.popleft()
        return self.told[0] if self.told else utc_ms()


class Books:
    """All that happened at this vendor, a line each. One process has them at a time.

    Devices that were configured there are in a file beside it, `devices`.
    """

    def __init__(self, file: BinaryIO, devices: Path, vendor: str, sandbox: Sandbox, clock: Clock) -> None:
        self._file, self._sandbox, self._clock = file, sandbox, clock
        self._lock = threading.Lock()
        self._head = msgspec.json.encode(Head(vendor=vendor)) + b"\n"
        self._kept = self._read()
        self._devices = Devices(devices, sandbox) if isinstance(sandbox, presence.Sandbox) else None

    def keep(self) -> None:
        """Write down what is new."""
        with self._lock:
            if self._devices is not None:
                self._devices.keep()
            if self._sandbox.books().changes == self._kept:
                return
            changes = self._sandbox.history()
            for change in changes[self._kept :]:
                self._file.write(msgspec.json.encode(change) + b"\n")
            self._kept = len(changes)

    def _read(self) -> int:
        """Let everything happen again; returns how much there was. A last line that was cut is dropped."""
        head, *lines = self._file.read().split(b"\n")
        if not is_head(head, self._head):
            self._file.truncate(0)
            self._file.write(self._head)
            return 0
        whole = len(head) + 1
        for line in lines[:-1]:
            self._again(msgspec.json.decode(line, type=Change))
            whole += len(line) + 1
        self._file.truncate(whole)
        return len(lines) - 1

    def _again(self, change: Change) -> None:
        """Let one thing happen as it did."""
        both = change.operator in ELSEWHERE_OR_SOLD
        self._clock.told.extend((change.said_ms, change.at_ms) if both else (change.at_ms,))
        found = self._sandbox.life.again(change)
        self._clock.told.clear()
        if found != change:
            raise ValueError(f"the vendor's books do not fit: {change} came out as {found}: remove them")


def is_head(line: bytes, wanted: bytes) -> bool:
    """Whether these are the books of the same tickets."""
    try:
        return msgspec.json.decode(line, type=Head) == msgspec.json.decode(wanted, type=Head)
    except msgspec.MsgspecError:
        return False


class Devices:
    """The devices that were configured at Presence; the vendor forgets none by being restarted."""

    def __init__(self, path: Path, sandbox: presence.Sandbox) -> None:
        self._path, self._sandbox = path, sandbox
        self._kept: list[Named] = []
        if path.exists():
            self._kept = msgspec.json.decode(path.read_bytes(), type=list[Named])
            sandbox.register(self._kept)

    def keep(self) -> None:
        """Write them down where they are others by now."""
        devices = self._sandbox.registered()
        if devices != self._kept:
            unfinished = self._path.with_suffix(".new")
            unfinished.write_bytes(msgspec.json.encode(devices))
            unfinished.rename(self._path)
            self._kept = devices


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


@contextmanager
def remembering(vendor: str, path: Path) -> Iterator[tuple[Sandbox, Books]]:
    """The vendor's sandbox, and its books, after all in them has happened again."""
    clock, play = Clock(), PLAYS[vendor]
    if play.tonight is not None:
        clock.told.append(LONG_AGO_MS)
    with opened(path) as file, SANDBOXES[vendor](tickets=TICKETS, seed=SEED, clock=clock) as sandbox:
        clock.told.clear()
        books = Books(file, path.with_name("devices.json"), vendor, sandbox, clock)
        if play.tonight is not None:
            play.tonight(sandbox, utc_ms())
        yield sandbox, books


def work(order: VendorOrder, over: threading.Event) -> None:
    """Be the vendor until told to end. What the sandbox serves itself is known to nobody: it has no books."""
    with remembering(order.vendor, Path(order.books)) as (sandbox, books):
        control = control_of(sandbox)
        control.answer = kept(control.answer, books)
        answer, clock = kept(sandbox.life.desk.answer, books), sandbox.life.server.clock
        with Server(answer, clock, LOOPBACK, order.port) as server, ExitStack() as opened, control:
            if isinstance(sandbox, bam.Sandbox):
                tenant = opened.enter_context(Server(answer, clock, LOOPBACK, order.second_port))
                sandbox.answers_at(server, tenant)
            values = PLAYS[order.vendor].values(sandbox).items()
            found = {name: value.replace(sandbox.url, server.url) for name, value in values}
            tell(News(ready={**found, "control": control.url}))
            over.wait()


if __name__ == "__main__":
    serve(VendorOrder, work)
