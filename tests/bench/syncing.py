"""A million tickets come as pages of the wire: until the gate has them, against a bare `putmulti` of them."""

import json
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import lmdb
import msgspec

from firmware import wire
from firmware.catalogue import Catalogue
from firmware.sync import Sync
from tests.bench import world
from tests.bench.figures import SCRATCH, Figure, figure, median, single

ROUNDS = 3
PAGE_ITEMS = 700  # of these tickets as many as go into one payload
LOOK = threading.Event()
LOOK_S = 0.01  # between looks whether the child is done; a gate looks once a second
MAP_BYTES = 2 << 30
FEED = "bench"


def run(count: int) -> Iterator[Figure]:
    """Each round in a process of its own, so that its memory is told apart."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        folder = Path(scratch)
        pages = folder / "pages"
        with Catalogue(folder / "key", now_utc_ms=world.NOW_UTC_MS) as catalogue:
            key = (folder / "key" / "key").read_bytes()
            _write_pages(pages, catalogue, count)
        rows = _rows(pages)
        in_order = sorted(rows)
        told, bare, ordered = [], [], []
        for turn in range(ROUNDS):  # in turns: noise meets all alike
            told.append(_gate(folder / f"gate-{turn}", key, pages))
            bare.append(_putmulti(folder / f"bare-{turn}", rows))
            ordered.append(_putmulti(folder / f"ordered-{turn}", in_order))
    size = f"{count:,} tickets"
    yield figure("bare putmulti", size, bare, "s", note="one transaction, as the rows come, flushed")
    yield figure("bare putmulti, in order", size, ordered, "s", note="the same rows, sorted beforehand")
    peers = {"bare putmulti": median(bare), "the same in order": median(ordered)}
    whole = [each["paging_s"] + each["making_s"] for each in told]
    yield figure(
        "pages to gate ready", size, whole, "s", peers, "<= 4 x bare", "decoded, spooled, made, in use"
    )
    yield figure("of it: pages into the spool", size, [each["paging_s"] for each in told], "s")
    yield figure("of it: the child makes the list", size, [each["making_s"] for each in told], "s")
    for name, field in (("memory, the gate's process", "extra_mb"), ("memory, the child", "child_mb")):
        beyond = "beyond a gate without a list" if field == "extra_mb" else "for seconds; all of it"
        yield single(name, size, max(each[field] for each in told), "MB", "<= 200 MB", beyond)


def _gate(data: Path, key: bytes, pages: Path) -> dict[str, float]:
    (data / "catalogue").mkdir(mode=0o700, parents=True)
    (data / "catalogue" / "key").touch(0o600)
    (data / "catalogue" / "key").write_bytes(key)
    command = [sys.executable, "-m", "tests.bench.syncing", str(data), str(pages)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def _payloads(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while length := file.read(4):
            yield file.read(int.from_bytes(length))


def _write_pages(path: Path, catalogue: Catalogue, count: int) -> None:
    with path.open("wb") as file:
        for after in range(0, count, PAGE_ITEMS):
            upto = min(count, after + PAGE_ITEMS)
            page = wire.CataloguePage(
                feed=FEED,
                key_mark=catalogue.key_mark,
                after=after,
                upto=upto,
                more=upto < count,
                tickets=count,
                stamp_utc_ms=world.NOW_UTC_MS,
                items=tuple(
                    wire.Listed(catalogue.digest(world.code_of(number)), *world.ticket_of(number))
                    for number in range(after, upto)
                ),
            )
            payload = wire.encode(page)
            file.write(len(payload).to_bytes(4) + payload)


def _rows(pages: Path) -> list[tuple[bytes, bytes]]:
    encode = msgspec.msgpack.Encoder().encode
    return [
        (item.digest, encode(msgspec.structs.astuple(item)[1:]))
        for payload in _payloads(pages)
        for item in wire.decode(payload, wire.CataloguePage).items
        if isinstance(item, wire.Listed)
    ]


def _putmulti(folder: Path, rows: list[tuple[bytes, bytes]]) -> float:
    started = time.perf_counter()
    with (
        lmdb.open(str(folder), map_size=MAP_BYTES) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.cursor().putmulti(rows)
    return time.perf_counter() - started


def _peak_mb() -> float:
    """Of this process alone: what `getrusage` says begins with that of the process it was started from."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1000


def main(arguments: list[str]) -> int:
    """One round: the uplink's part and the gate's in one thread."""
    data, pages = map(Path, arguments)
    with (
        Catalogue(data / "catalogue", now_utc_ms=world.NOW_UTC_MS) as catalogue,
        Sync(data, catalogue, lambda _: True) as sync,
    ):
        before_mb = _peak_mb()
        started = time.perf_counter()
        sync.request()
        for payload in _payloads(pages):
            if sync.take(wire.decode(payload, wire.CataloguePage)).ask:
                sync.request()
        paged = time.perf_counter()
        while sync.request() is None:
            LOOK.wait(LOOK_S)
            catalogue.reload()
        ready = time.perf_counter()
        if sync.fault or not catalogue.count:
            raise RuntimeError(f"{catalogue.count} tickets: {sync.fault}")
        found = {
            "paging_s": paged - started,
            "making_s": ready - paged,
            "extra_mb": _peak_mb() - before_mb,
            "child_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000,
        }
    sys.stdout.write(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
