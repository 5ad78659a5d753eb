"""`gatepost bridge` and `gatepost reports`."""

import argparse
import ctypes
import errno
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from firmware.bridge.database import Database
from firmware.bridge.ledger import Ledger
from firmware.bridge.service import Bridge, ledger_url, open_bridge
from firmware.bridge.settings import BridgeSettings, load
from firmware.bridge.work import Fault
from firmware.ration import Ration

LOOK_S = 1.0  # between two looks for faults
REPORTS_AT_ONCE = 200
UNSAID_MAX = 100  # reports that came since the last look; more than are said in a minute
M_ARENA_MAX = -8  # malloc.h


def add_bridge(parser: argparse.ArgumentParser) -> None:
    """The arguments of `gatepost bridge`."""
    _add_common(parser, "the venue's key, and the ledger where the settings name no other; made if need be")


def add_reports(parser: argparse.ArgumentParser) -> None:
    """The arguments of `gatepost reports`."""
    _add_common(parser, "the bridge's data; the bridge may be running")


def _add_common(parser: argparse.ArgumentParser, data: str) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings (bridge.toml)")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help=data)


def run_bridge(arguments: argparse.Namespace, complain: Callable[[str], None]) -> int:
    """Work until SIGTERM or Ctrl-C; faults and reports are told as they come. Returns the exit code."""
    one_heap()
    settings = load(arguments.config)
    over = threading.Event()
    caught: list[int] = []

    def stop(number: int, _: object) -> None:
        caught.append(number)
        over.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    news = News()
    try:
        with open_bridge(settings, arguments.data, news.report) as bridge, served(settings, bridge):
            complain(_ready(bridge))
            while not over.wait(LOOK_S):
                for line in news.of(bridge.faults(), bridge.relay.odd.news()):
                    complain(line)
    finally:
        for line in news.rest():
            complain(line)
    return 128 + signal.SIGINT if signal.SIGINT in caught else 0


def one_heap() -> None:
    """Let the threads to come allocate from one heap (`mallopt(3)`); a C library without others needs it not.

    By default each thread has one of its own, and each grows to what its fullest moment took: measured with
    1,000 gates and 200 rows a second, for a quarter of an hour, and 15 MB more in the end. The threads hold
    the interpreter's lock most of the time, so they do not wait for each other here.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


@contextmanager
def served(settings: BridgeSettings, bridge: Bridge) -> Iterator[None]:
    """With `[health]` in the settings, a page of it. Raises `CannotServe`."""
    if settings.listen is None:
        yield
        return
    from firmware.bridge.health_page import HealthPage
    from firmware.bridge.metrics import Seen

    def look() -> Seen:
        gates = bridge.relay.gates
        return Seen(bridge.health(), gates.now() if gates is not None else {})

    with HealthPage(settings.listen, settings.venue, look):
        yield


class News:
    """What has come and what has gone since the last look. A fault whose figures alone change is no news."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._ration = Ration("more than is told in a minute: see gatepost reports", now_s)
        self._known: dict[str, Fault] = {}
        self._reports = deque[str](maxlen=UNSAID_MAX)

    def report(self, text: str) -> None:
        """Say this at the next look; any thread."""
        self._reports.append(text)

    def rest(self) -> list[str]:
        """Reports that were not said yet."""
        return [self._reports.popleft() for _ in range(len(self._reports))]

    def of(self, faults: Sequence[Fault], odd: Sequence[str]) -> list[str]:
        """A line for each, but no more in a minute than a person reads."""
        found = {fault.thing: fault for fault in faults}
        known, self._known = self._known, found
        lines = [
            f"fault: {fault.text}"
            for thing, fault in found.items()
            if thing not in known or known[thing].kind != fault.kind
        ]
        lines += [f"{thing} works again" for thing in known if thing not in found]
        return self._ration.of([*lines, *self.rest(), *odd])


def _ready(bridge: Bridge) -> str:
    counts = bridge.health().counts
    accounts = ", ".join(account.name for account in bridge.accounts) or "none"
    return (
        f"ready: venue {bridge.settings.venue}; accounts {accounts}; {counts.rows:,} rows in the ledger, "
        f"{counts.reports:,} reports{_where(bridge.settings)}"
    )


def _where(settings: BridgeSettings) -> str:
    return f"; health on {settings.listen.host} port {settings.listen.port}" if settings.listen else ""


def run_reports(arguments: argparse.Namespace) -> int:
    """Print every report of the ledger, oldest first."""
    settings = load(arguments.config)
    file = arguments.data / "ledger.db"
    if not settings.ledger and not file.exists():  # to look must not make one
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
    with Database(ledger_url(settings, arguments.data)) as database:
        ledger, last = Ledger(database, settings.venue, ()), 0
        while found := ledger.reports(last, REPORTS_AT_ONCE):
            for report in found:
                at = datetime.fromtimestamp(report.at_utc_ms / 1000, UTC)
                text = "".join(char if char.isprintable() else "?" for char in report.text)
                print(f"{at:%Y-%m-%d %H:%M:%S} UTC  {report.kind}: {text}")
            last = found[-1].id
    return 0
