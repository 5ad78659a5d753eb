"""A vendor's list of a million tickets into the feed, the same list again, and out to a gate page by page.

In a process of its own, so that its memory is the feed's.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from firmware.bridge.database import Database
from firmware.bridge.feed import Feed
from firmware.bridge.vendor import Listing, VendorTicket
from tests.bench.figures import SCRATCH, Figure, figure, single

PAGE_TICKETS = 1500  # what Ingresse recommends
INSIDE = 10  # one of so many has been let in elsewhere


class Taken(msgspec.Struct):
    """What the child measured."""

    first_s: float
    again_s: float
    takes_ms: list[float]
    pages_ms: list[float]
    out_s: float
    items: int
    peak_mb: float


def run(count: int) -> Iterator[Figure]:
    """Into an empty ledger, and out of it."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        command = [sys.executable, "-m", "tests.bench.feeding", str(Path(scratch) / "ledger.db"), str(count)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    taken = msgspec.json.decode(said.stdout, type=Taken)
    size = f"{count:,} tickets"
    yield single("feed, a new list", size, count / taken.first_s, "rows/s", "", "vendor's pages to commits")
    yield single("feed, an unchanged list", size, count / taken.again_s, "rows/s", "", "no number is made")
    yield figure("feed, one page in", size, taken.takes_ms, "ms", note="holds the ledger's write lock")
    yield single(
        "feed, out", size, taken.items / taken.out_s, "items/s", "", "pages as messages, not encoded"
    )
    yield figure("feed, one page out", size, taken.pages_ms, "ms")
    yield single("feed, memory", size, taken.peak_mb, "MB", "<= 400 MB", "the whole process at its most")


def _pages(count: int) -> Iterator[list[VendorTicket]]:
    for start in range(0, count, PAGE_TICKETS):
        yield [_ticket(number) for number in range(start, min(count, start + PAGE_TICKETS))]


def _ticket(number: int) -> VendorTicket:
    inside = number % INSIDE == 0
    return VendorTicket(
        str(number),
        f"05.1803.?{number:07}.275109.{number % 97}",
        event="28180",
        session="43058",
        type="Pista",
        inside=inside,
        moved_utc_ms=1_700_000_000_000 + number if inside else None,
    )


def _read(feed: Feed, count: int, takes_ms: list[float]) -> float:
    """Seconds of one whole run; those of making the tickets are not counted."""
    run = feed.begin_run("bench", True, 1)
    for page in _pages(count):
        started = time.perf_counter()
        feed.take(run, page)
        takes_ms.append((time.perf_counter() - started) * 1000)
    started = time.perf_counter()
    feed.finish_run(run, Listing("1", True), 2)
    return sum(takes_ms) / 1000 + time.perf_counter() - started


def _child(ledger: Path, count: int) -> None:
    first_ms: list[float] = []
    pages_ms: list[float] = []
    with Database(f"sqlite:///{ledger}") as database:
        feed = Feed(database, "bench", b"k" * 32)
        first_s = _read(feed, count, first_ms)
        made = feed.head()
        again_s = _read(feed, count, [])
        assert feed.head() == made, "an unchanged list made numbers"
        cursor, items, more = 0, 0, True
        while more:
            started = time.perf_counter()
            page = feed.page(cursor, feed.name)
            pages_ms.append((time.perf_counter() - started) * 1000)
            cursor, items, more = page.upto, items + len(page.items), page.more
    assert items == made
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    taken = Taken(first_s, again_s, first_ms, pages_ms, sum(pages_ms) / 1000, items, peak_mb)
    sys.stdout.buffer.write(msgspec.json.encode(taken))


if __name__ == "__main__":
    _child(Path(sys.argv[1]), int(sys.argv[2]))
