"""Rows of one gate: from its journal to the receipt, and on to the vendor. Every part is a real one.

The journal is written before, through the core; then the gate starts in a process of its own and sends all
of it. The peer sends the same rows as bare QoS 1 messages, one by one, in turns with it.
"""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from firmware.bridge.driver import Driver
from firmware.bridge.sandbox.ingresse import Sandbox
from firmware.bridge.sandbox.ingresse_tickets import Tickets
from firmware.bridge.service import vendor_of
from firmware.bridge.settings import load
from firmware.bridge.vendor import Accepted, Told
from firmware.core.ticket import Direction, Ticket
from tests.bench import bare, past, site
from tests.bench.figures import PACE, SCRATCH, Figure, figure, median, single

ROWS = 100_000
ROUNDS = 3
TIMES_BARE = 2  # as fast as this at least
BARE_ROWS = 20_000  # of the same rows: enough for a rate
LOOK_S = 0.05
TELLING_S = 900.0  # for all scans to reach the vendor
SEED = 1
CALLS = 300  # of the vendor alone


def run(count: int) -> Iterator[Figure]:
    """`ROWS` rows, or as many as there are tickets."""
    if (figure_of_none := site.absent("rows, journal to receipt")) is not None:
        yield figure_of_none
        return
    rows = min(ROWS, count)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        folder = Path(scratch)
        folk = people(rows // 2)
        last = past.make_journal(folder / "made" / "journal", rows, folk.__getitem__)
        yield from _receipts(folder, rows, last)
        yield from _vendor(folder, folk, last)


def people(count: int, listed: int = 0) -> list[tuple[str, Ticket]]:
    """So many people with valid tickets of a sandbox that lists twice as many, or `listed`."""
    tickets = Tickets(listed or 2 * count, SEED, lambda: 0)
    found = []
    for index in range(tickets.count):
        each = tickets.at(index)
        if each.sold and not each.refunded_ms and not each.external:
            event, session = str(each.session.event), str(each.session.id)
            found.append((each.code, Ticket(f"{site.ACCOUNT}:{each.id}", event=event, session=session)))
            if len(found) == count:
                break
    return found


def _copy(data: Path, to: Path) -> None:
    """LMDB's lock lies in shared memory, and each gate has one of its own."""
    shutil.copytree(data, to, ignore=shutil.ignore_patterns("lock.mdb"))


def _bodies(folder: Path) -> list[bytes]:
    with closing(sqlite3.connect(folder / "made" / "journal" / "journal.db")) as connection:
        return [body for (body,) in connection.execute("SELECT body FROM row LIMIT ?", (BARE_ROWS,))]


def _receipts(folder: Path, rows: int, last: int) -> Iterator[Figure]:
    """Journal to receipt, with a vendor that takes everything at once."""
    ours, by_paho, by_socket, memory = list[float](), list[float](), list[float](), list[float]()
    cpu_s: dict[str, list[float]] = {"gate": [], "broker": [], "bridge": []}
    bodies = _bodies(folder)
    with site.broker_in(folder / "broker") as broker:
        for turn in range(ROUNDS):
            data = folder / f"gate-{turn}"
            _copy(folder / "made", data)
            bridge_settings = site.write_bridge(folder / f"bridge-{turn}", broker.port, None)
            gate_settings = site.write_gate(folder, "north", broker.port)
            with (
                site.bridge(bridge_settings, folder / f"bridge-{turn}" / "data", "at-once") as bridge,
                site.gate(gate_settings, data) as gate,
            ):
                before_s = (gate.cpu_s, site.cpu_s(broker.process_id), bridge.cpu_s)
                took = gate.ask("receipt", row=last)
                after_s = (gate.cpu_s, site.cpu_s(broker.process_id), bridge.cpu_s)
                for used_s, before, after in zip(cpu_s.values(), before_s, after_s, strict=True):
                    used_s.append(after - before)
                assert took["first"] < last, "the gate was done before it was looked at"
                ours.append(rows / took["ns"] * 1e9)
                memory.append(bridge.kib("VmHWM") / 1024)
            with site.child("tests.bench.bare", str(broker.port)) as receiver:
                receiver.hear()
                by_paho.append(bare.by_paho(broker.port, bodies))
                by_socket.append(bare.by_socket(broker.port, bodies))
            shutil.rmtree(data)
    size = f"{rows:,} rows of one gate"
    peers = {"bare QoS 1, paho": median(by_paho), "bare QoS 1, a socket": median(by_socket)}
    note = "vendor at once"
    if median(ours) < TIMES_BARE * median(by_paho):
        note += "; missed: the bridge's one interpreter stores rows and tells the vendor in turns, see below"
    target = f">= {TIMES_BARE} x bare QoS 1 with paho"
    yield figure("rows, journal to receipt", size, ours, "rows/s", peers, target, note)
    yield figure("bare QoS 1 one by one, paho", size, by_paho, "rows/s", note="peer")
    yield figure("bare QoS 1 one by one, a socket", size, by_socket, "rows/s", note="floor")
    for name, used_s in cpu_s.items():
        yield figure(f"of it: processor of the {name}", size, used_s, "s")
    yield single("memory of the bridge", size, max(memory), "MB")


# --- into the sandbox --------------------------------------------------------------------------------------


def _vendor(folder: Path, folk: list[tuple[str, Ticket]], last: int) -> Iterator[Figure]:
    """The same rows, and every scan told to the sandbox; then each part of that by itself."""
    data, scans = folder / "gate-told", len(folk)
    _copy(folder / "made", data)
    size = f"{scans:,} scans"
    with (
        site.broker_in(folder / "broker-told") as broker,
        Sandbox(tickets=2 * scans, seed=SEED) as sandbox,
    ):
        settings = site.write_bridge(folder / "bridge-told", broker.port, sandbox)
        ledger = folder / "bridge-told" / "data"
        with (
            site.bridge(settings, ledger) as _bridge,
            site.gate(site.write_gate(folder, "north", broker.port), data) as gate,
        ):
            started = time.perf_counter()
            receipt_s = gate.ask("receipt", row=last)["ns"] / 1e9
            _until(lambda: _done(ledger / "ledger.db") >= scans)
            whole_s = time.perf_counter() - started
        books = sandbox.books()
    assert (books.check_ins, books.twice) == (scans, 0), f"told otherwise than once: {books}"
    yield single("scans to the sandbox", size, scans / whole_s, "scans/s", "no scan twice", "beside the rows")
    yield single("of it: rows to receipts", size, receipt_s, "s", "", f"of {whole_s:.1f} s")
    yield from _parts(folder, folk)


def _done(ledger: Path) -> int:
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM work WHERE state = 'done'").fetchone()
        return int(count)


def _until(what: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + TELLING_S
    while not what():
        if time.monotonic() > ends_s:
            raise TimeoutError("it did not come about")
        PACE.wait(LOOK_S)


def _parts(folder: Path, folk: list[tuple[str, Ticket]]) -> Iterator[Figure]:
    """Where the time of a batch goes: the vendor's own part, and the adapter's with the driver around it."""
    with Sandbox(tickets=2 * len(folk), seed=SEED) as sandbox:
        settings = load(site.write_bridge(folder / "alone", 1, sandbox)).accounts[0]
        vendor = vendor_of(settings)
        size_max = vendor.batch_max
        taken: list[float] = []
        with Driver("bench", vendor, settings.rate_max) as driver:
            driver.run(vendor.probe())
            for at in range(0, min(len(folk), CALLS * size_max) - size_max + 1, size_max):
                told = [_told(*person) for person in folk[at : at + size_max]]
                started = time.perf_counter()
                outcomes = driver.run(vendor.tell(told))
                taken.append((time.perf_counter() - started) * 1000)
                assert all(isinstance(each, Accepted) for each in outcomes), outcomes
    yield figure("one batch: driver and sandbox alone", f"{size_max} scans", taken, "ms")


def _told(code: str, ticket: Ticket) -> Told:
    ticket_id = ticket.ticket_id.partition(":")[2]
    now_ms = time.time_ns() // 1_000_000
    return Told(ticket_id, code, ticket.event, ticket.session, Direction.IN, now_ms, "north")
