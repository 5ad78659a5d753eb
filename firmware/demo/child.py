"""The inner side of a part of the demo that is a process of its own: one order in, lines of news out.

The demo holds the other end of our standard input. When it is gone, however it went, so are we: nothing that
the demo started outlives it.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import Struct

STANDARD_INPUT = 0

Order = TypeVar("Order", bound=Struct)

_telling = threading.Lock()


class BrokerOrder(Struct, frozen=True):
    """Where to listen, and a file for the broker's settings."""

    port: int
    config: str


class VendorOrder(Struct, frozen=True):
    """Which vendor, where to answer, and the file with the books. Some vendors have two hosts."""

    vendor: str
    port: int
    second_port: int
    books: str


class BridgeOrder(Struct, frozen=True):
    """Where everything is. `values` are what the vendor has for its account; some of them are secrets."""

    folder: str
    venue: str
    vendor: str
    broker_port: int
    values: dict[str, str]
    retry_s_max: float


class Health(Struct, frozen=True):
    """How the bridge is. `waiting` is what it has not told the vendor yet, or has no answer to."""

    connected: bool = False
    waiting: int = 0
    accepted: int = 0
    refused: int = 0
    uncertain: int = 0
    faults: dict[str, str] = {}


class News(Struct, frozen=True, omit_defaults=True):
    """A line of a part: it is `ready` (with what others need of it), something to `say`, how it is."""

    ready: dict[str, str] | None = None
    say: str = ""
    health: Health | None = None


def tell(news: News) -> None:
    """Write a line to the demo. Any thread; where nobody listens any more, this process ends."""
    with _telling:
        try:
            sys.stdout.buffer.write(msgspec.json.encode(news) + b"\n")
            sys.stdout.buffer.flush()
        except OSError:
            os._exit(1)


def serve(shape: type[Order], work: Callable[[Order, threading.Event], None]) -> None:
    """Read the order, and work until the event is set (SIGTERM) or the demo is gone."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=shape)
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    threading.Thread(target=_end_with_the_demo, name="lifeline", daemon=True).start()
    work(order, over)


def _end_with_the_demo() -> None:
    while os.read(STANDARD_INPUT, 1):  # past Python's buffer, whose lock would hang a tidy end
        pass
    os._exit(0)
