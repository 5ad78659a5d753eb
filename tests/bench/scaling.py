"""How bridges, broker and ledger grow with gates and rows: simulated gates at a real broker and real bridges.

The gates (`tests.bench.scaling_gates`) have a process for each 500; bridges are `gatepost bridge` as it is
installed; the broker has the limits and the access list of `deploy/mosquitto`, without TLS; the vendor is the
sandbox, in this process. Every row is compared with the ledger afterwards, every scan with the sandbox.

`make bench ARGS="scaling"` has small shapes. `--gates 1000 --rows-s 200 --minutes 10 --bridges 2` has that
one; `--table` has those of `deploy/scale.md`, and prints its table.
"""

import argparse
import queue
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firmware.bridge.sandbox.ingresse import Sandbox
from tests.bench import site
from tests.bench.figures import PACE, SCRATCH, Figure, figure, median, quantile, single
from tests.bench.listing import LIST_REQUEST
from tests.bench.scaling_site import Bridges, Ledger, Memory, ledger_of, limited_broker, resident_mb, until
from tests.bench.sending import SEED
from tests.postgres import server

LATE_MS_MAX = 5_000
MEMORY_MB_MAX = 300
SALE_TARGET = "p99 <= 5,000 ms"
GATES_A_PROCESS = 500  # its loop has then some 20 % of a core to do with 100 rows/s
SETTLE_S = 120.0  # for the last receipts and the last scans at the vendor
LIST_S = 300.0  # for the list to be with all gates
ANSWER_S = 60.0
ROWS_A_SCAN = 2  # the admission and the walk
TICKETS_MIN = 2_000
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
SALE_EVERY_S = 3.0
POLL_S = 10.0  # of the bridge: how long a sale waits to be read
SALES_MAX = 30


@dataclass(frozen=True, slots=True)
class Shape:
    """What is measured. `hears`: gates hear each other's movements, as those of one venue do."""

    gates: int
    rows_s: float
    seconds: float
    bridges: int = 1
    database: str = "sqlite"
    hears: bool = False
    whole: bool = False
    """Whether all gates fetch the whole list, instead of going on where they were."""

    @property
    def scans(self) -> int:
        """How many people come."""
        return round(self.rows_s * self.seconds / ROWS_A_SCAN)

    @property
    def text(self) -> str:
        """For the table."""
        bridges = f"{self.bridges} bridge{'s' if self.bridges > 1 else ''}"
        ledger = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[self.database]
        hears = ", which hear each other" if self.hears else ""
        return (
            f"{self.gates:,} gates{hears}, {self.rows_s:g} rows/s for {self.seconds:g} s; {bridges}, {ledger}"
        )


@dataclass(slots=True)
class Measured:
    """What came of it."""

    shape: Shape
    tickets: int = 0
    connected_s: float = 0.0
    list_s: float = 0.0
    list_bytes: int = 0
    rows: int = 0
    late_ms: list[int] = field(default_factory=list)
    load_s: float = 0.0
    busy: int = 0
    behind_s: float = 0.0
    gaps: int = 0
    pages: int = 0
    bytes_in: int = 0
    ledger_bytes: int = 0
    memory_mb: list[float] = field(default_factory=list)
    """Each second, of the bridge that has most."""
    broker_mb: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    """Cores in use while rows came, by process."""
    loaded_ms: list[float] = field(default_factory=list)
    """Sales to gates while rows come."""
    quiet_ms: list[float] = field(default_factory=list)
    quiet_bytes: float = 0.0
    """Of one sale, to one gate."""
    complaints: list[str] = field(default_factory=list)

    @property
    def row_bytes(self) -> float:
        """Of the ledger, for each row."""
        return self.ledger_bytes / max(1, self.rows)

    @property
    def slope(self) -> float:
        """MB a minute that a bridge's memory grew by, its first quarter aside: the best line's."""
        late = self.memory_mb[len(self.memory_mb) // 4 :]
        if len(late) < 2:
            return 0.0
        middle, mean = (len(late) - 1) / 2, sum(late) / len(late)
        top = sum((at - middle) * (mb - mean) for at, mb in enumerate(late))
        return 60 * top / sum((at - middle) ** 2 for at in range(len(late)))

    @property
    def late(self) -> int:
        """Rows without a receipt within `LATE_MS_MAX`."""
        return sum(each > LATE_MS_MAX for each in self.late_ms)


def measure(shape: Shape) -> Measured:
    """Set everything up, bring the people, sell, and look at the books."""
    found = Measured(shape, tickets=max(TICKETS_MIN, 2 * shape.scans + 200))
    looks: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()

    def seen(line: str) -> None:
        looks.put((time.perf_counter_ns(), line))

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=SCRATCH)))
        sandbox = stack.enter_context(Sandbox(tickets=found.tickets, seed=SEED, log=seen))
        broker = stack.enter_context(limited_broker(folder / "broker", shape.gates))
        ledger = stack.enter_context(ledger_of(shape.database, folder))
        settings = site.write_bridge(folder / "bridge", broker.port, sandbox)
        ledger.write_settings(settings)
        bridges = stack.enter_context(Bridges(settings, folder, shape.bridges))
        until(ledger.is_listed, LIST_S)
        crowd = stack.enter_context(Crowd(shape, broker.port, found))
        crowd.connect()
        watch = {"broker": [broker.process_id], **bridges.process_ids, **crowd.process_ids}
        if backends := ledger.process_ids():
            watch["database"] = backends
        before = used_s(watch)
        before_bytes, began_s = ledger.size(), time.monotonic()
        memory = stack.enter_context(Memory(bridges.process_ids["bridges"]))
        sales = Sales(sandbox, looks, crowd)
        if shape.seconds:
            crowd.bring()
            while time.monotonic() < began_s + shape.seconds - POLL_S - SALE_EVERY_S:
                if len(found.loaded_ms) < SALES_MAX * shape.gates:
                    found.loaded_ms += sales.sell()
                PACE.wait(SALE_EVERY_S)
            PACE.wait(max(0.0, began_s + shape.seconds - time.monotonic()))
        found.load_s = time.monotonic() - began_s
        if shape.seconds:
            after = used_s(watch)
            found.cpu = {
                name: sum(used - before[name][pid] for pid, used in after[name].items()) / found.load_s
                for name in watch
            }
        memory.stop()
        found.memory_mb, found.broker_mb = memory.mb, resident_mb(broker.process_id)
        scans = crowd.settle()
        until(lambda: sandbox.books().check_ins >= scans, SETTLE_S)
        for _ in range(2):
            before_in = crowd.bytes_in()
            found.quiet_ms += sales.sell()
            found.quiet_bytes = (crowd.bytes_in() - before_in) / shape.gates
        crowd.leave()
        found.ledger_bytes = ledger.size() - before_bytes
        check(found, ledger, sandbox, scans)
        found.complaints = bridges.complaints()
    return found


def used_s(watch: dict[str, list[int]]) -> dict[str, dict[int, float]]:
    """Seconds of processor by name and process. A database ends processes of its own: they are left out."""
    return {
        name: {pid: site.cpu_s(pid) for pid in pids if Path(f"/proc/{pid}").exists()}
        for name, pids in watch.items()
    }


def check(found: Measured, ledger: Ledger, sandbox: Sandbox, scans: int) -> None:
    """Nothing lost, nothing twice. Raises `RuntimeError`."""
    kept, reports, books = ledger.rows(), ledger.reports(), sandbox.books()
    if kept != found.rows:
        raise RuntimeError(f"{found.rows:,} rows were written, and the ledger has {kept:,}")
    if (books.check_ins, books.twice) != (scans, 0):
        raise RuntimeError(f"{scans:,} scans, and the vendor was told {books}")
    if reports:
        raise RuntimeError(f"the ledger reports: {reports[:3]}")


class Crowd:
    """The processes of the gates."""

    def __init__(self, shape: Shape, port: int, found: Measured) -> None:
        self._shape, self._port, self._found = shape, port, found
        self._count = -(-shape.gates // GATES_A_PROCESS)
        self._undo = ExitStack()
        self._children: list[site.Child] = []
        self.size = shape.gates

    def __enter__(self) -> "Crowd":
        for _ in range(self._count):
            self._children.append(self._undo.enter_context(site.child("tests.bench.scaling_gates")))
        return self

    def __exit__(self, *error: object) -> None:
        self._undo.close()

    @property
    def process_ids(self) -> dict[str, list[int]]:
        """Under one name."""
        return {"gates": [child.process.pid for child in self._children]}

    def _ask(self, what: str, **details: object) -> list[dict[str, Any]]:
        for child in self._children:
            child.tell(what, **details)
        return [child.hear() for child in self._children]

    def connect(self) -> None:
        """One gate fetches the list; then all are there, at the same place or at its beginning."""
        shape, found = self._shape, self._found
        names = [f"gate-{number}" for number in range(shape.gates)]
        share = shape.scans // self._count
        place: dict[str, Any] = {}
        if not shape.whole:
            place = self._scout()
        for at, child in enumerate(self._children):
            child.ask(
                "make",
                port=self._port,
                names=names[at :: self._count],
                hears=shape.hears,
                first=at * share,
                people=(at + 1) * share,
                listed=found.tickets,
                feed=place.get("feed", ""),
                cursor=place.get("cursor", 0),
            )
        said = self._ask("connect", seconds=LIST_S)
        found.connected_s = max(each["connected_s"] for each in said)
        found.list_s = max(each["list_s"] for each in said)
        found.list_bytes = sum(each["bytes"] for each in said)

    def _scout(self) -> dict[str, Any]:
        with site.child("tests.bench.scaling_gates") as child:
            child.ask("make", port=self._port, names=["scout"])
            return child.ask("connect", seconds=LIST_S)

    def bring(self) -> None:
        """The people come, from now on."""
        self._ask("bring", seconds=self._shape.seconds)

    def settle(self) -> int:
        """Everybody walks; how many scans there were."""
        return sum(int(each["scans"]) for each in self._ask("settle", seconds=SETTLE_S))

    def leave(self) -> None:
        """The last rows get their receipts, and the gates go. Raises `RuntimeError`."""
        found, said = self._found, self._ask("leave", seconds=SETTLE_S)
        found.rows = sum(each["rows"] for each in said) + (0 if self._shape.whole else 1)  # and the scout's
        found.late_ms = [late for each in said for late in each["late_ms"]]
        found.busy = sum(each["busy"] for each in said)
        found.behind_s = max(each["behind_s"] for each in said)
        found.gaps = sum(each["gaps"] for each in said)
        found.pages = sum(each["pages"] for each in said)
        found.bytes_in = sum(each["bytes"] for each in said) - found.list_bytes
        lost = [why for each in said for why in each["lost"]]
        if lost:
            raise RuntimeError(f"{len(lost)} connections were lost: {lost[0]}")
        waiting = sum(each["waiting"] for each in said)
        if waiting:
            raise RuntimeError(f"{waiting:,} rows have no receipt {SETTLE_S:g} s after the last")

    def bytes_in(self) -> int:
        """Of all gates."""
        return sum(each["bytes"] for each in self._ask("watch"))

    def watch(self, ticket: str) -> None:
        """Watch for this ticket."""
        self._ask("watch", tickets=[ticket])

    def seen(self, ticket: str) -> list[int]:
        """When each gate had it."""
        return [
            at
            for each in self._ask("seen", tickets=[ticket], seconds=ANSWER_S)
            for at in each["seen"][ticket]
        ]


class Sales:
    """Sells tickets, one at a time, and sees them arrive at every gate."""

    def __init__(self, sandbox: Sandbox, looks: "queue.SimpleQueue[tuple[int, str]]", crowd: Crowd) -> None:
        self._sandbox, self._looks, self._crowd = sandbox, looks, crowd
        self._codes = iter(sandbox.codes(SALES_MAX + 10, sold=False))

    def sell(self) -> list[float]:
        """Milliseconds from the vendor's answer that tells of it to each gate; the limit where none came."""
        code = next(self._codes)
        found = self._sandbox.ticket(code)
        ticket = f"{site.ACCOUNT}:{found.id}"
        self._crowd.watch(ticket)
        while not self._looks.empty():
            self._looks.get()
        self._sandbox.sell(code)
        told_ns = self._told_ns(str(found.session.id))
        seen_ns = self._crowd.seen(ticket)
        missing = self._crowd.size - len(seen_ns)
        return [(at_ns - told_ns) / 1e6 for at_ns in seen_ns] + [ANSWER_S * 1000] * missing

    def _told_ns(self, session: str) -> int:
        while True:
            at_ns, line = self._looks.get(timeout=ANSWER_S)
            if LIST_REQUEST in line and session in line:
                return at_ns


# --- what is said of it -------------------------------------------------------------------------------------

# Small ones, two minutes in all.
SMALL = (
    Shape(10, 20, 15),
    Shape(100, 50, 15),
    Shape(100, 50, 15, bridges=2, database="postgresql"),
)
# Those of `deploy/scale.md`, in some 25 minutes on a machine with nothing else to do.
TABLE = (
    Shape(10, 20, 30),  # of one lane each, which is busy for a second with each person
    Shape(100, 150, 30),
    Shape(1_000, 200, 600),
    Shape(1_000, 200, 30, database="postgresql"),
    Shape(1_000, 200, 30, bridges=2, database="postgresql"),
    Shape(1_000, 200, 30, bridges=4, database="postgresql"),
    Shape(100, 600, 30),
    Shape(100, 600, 30, bridges=2, database="postgresql"),
    Shape(10, 50, 20, hears=True),
    Shape(50, 50, 20, hears=True),
    Shape(10, 0, 0, whole=True),
    Shape(100, 0, 0, whole=True),
    Shape(1_000, 0, 0, whole=True),
)
HEAD = (
    "| gates | own rows/s | bridges | rows | receipt p50, p99, latest (ms) | late | a bridge, MB "
    "| MB a minute | the broker, MB | cores | ledger, bytes a row | sale under load p50, p99 (ms) "
    "| at rest | bytes a gate |"
)


def run(count: int) -> Iterator[Figure]:
    """The small shapes, whatever the catalogue's size."""
    if (none := site.absent("rows of many gates")) is not None:
        yield none
        return
    for shape in SMALL:
        if shape.database == "postgresql" and server() is None:
            yield single("row to receipt", shape.text, float("nan"), "", note="absent: needs postgresql")
            continue
        yield from figures(measure(shape))


def figures(found: Measured) -> Iterator[Figure]:
    """Of one shape."""
    text = found.shape.text
    yield figure(
        "row to receipt", text, [float(each) for each in found.late_ms], "ms", None,
        f"none later than {LATE_MS_MAX:,} ms", f"{found.late:,} of {found.rows:,} later",
    )  # fmt: skip
    yield figure(
        "memory of a bridge", text, found.memory_mb, "MB", None,
        f"<= {MEMORY_MB_MAX} MB, flat", f"{found.slope:+.2f} MB a minute",
    )  # fmt: skip
    yield single("ledger", text, found.row_bytes, "bytes a row")
    if found.loaded_ms:
        yield figure("sale to every gate, polling aside", text, found.loaded_ms, "ms", None, SALE_TARGET)
    note = f"{found.quiet_bytes:,.0f} bytes a gate"
    yield figure("sale to every gate, no rows", text, found.quiet_ms, "ms", None, SALE_TARGET, note)


def tenths(taken: list[float]) -> str:
    """The first of them, and the last of each tenth: whether it grows on, or came to rest."""
    return " ".join(f"{taken[(len(taken) - 1) * tenth // 10]:.0f}" for tenth in range(11))


def line(found: Measured) -> str:
    """Of the table."""
    shape, late, memory = found.shape, [float(each) for each in found.late_ms], found.memory_mb
    bridges = f"{shape.bridges}, {NAMES[shape.database]}"
    cores = ", ".join(f"{name} {share:.2f}" for name, share in found.cpu.items())
    columns = [
        f"{shape.gates:,}{' that hear each other' if shape.hears else ''}",
        f"{shape.rows_s:g} for {shape.seconds:g} s",
        bridges,
        f"{found.rows:,}",
        f"{quantiles(late)}, {max(late, default=0):,.0f}",
        f"{found.late:,}",
        f"{tenths(memory)}, most {max(memory):.0f}" if memory else "",
        f"{found.slope:+.2f}",
        f"{found.broker_mb:.0f}",
        cores,
        f"{found.row_bytes:.0f}",
        quantiles(found.loaded_ms),
        quantiles(found.quiet_ms),
        f"{found.quiet_bytes:,.0f}",
    ]
    if shape.whole:
        whole = f"whole list of {found.tickets:,}: {found.list_s:.1f} s"
        columns[1], columns[4:12] = whole, [""] * 8
        columns[13] = f"{found.list_bytes / shape.gates:,.0f} for the list"
    return f"| {' | '.join(columns)} |"


def quantiles(values: list[float]) -> str:
    """p50 and p99."""
    return f"{median(values):,.0f}, {quantile(values, 0.99):,.0f}" if values else ""


def main(arguments: list[str]) -> int:
    """One shape, or the table."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=scaling", description=__doc__)
    parser.add_argument("--table", action="store_true", help="the table of deploy/scale.md")
    parser.add_argument("--gates", type=int, default=100)
    parser.add_argument("--rows-s", type=float, default=50.0, help="of all gates together")
    parser.add_argument("--minutes", type=float, default=0.25)
    parser.add_argument("--bridges", type=int, default=1, help="more than one need PostgreSQL")
    parser.add_argument("--postgresql", action="store_true", help="with one bridge too")
    parser.add_argument("--hears", action="store_true", help="gates hear each other, as those of a venue do")
    parser.add_argument("--whole", action="store_true", help="all gates fetch the whole list first")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and so end what was started
    database = "postgresql" if chosen.postgresql or chosen.bridges > 1 else "sqlite"
    one = Shape(
        chosen.gates, chosen.rows_s, chosen.minutes * 60, chosen.bridges, database, chosen.hears, chosen.whole
    )
    SCRATCH.mkdir(exist_ok=True)
    print(HEAD)
    print("| " + "--- | " * HEAD.count(" | ") + "--- |", flush=True)
    for shape in TABLE if chosen.table else (one,):
        found = measure(shape)
        print(line(found), flush=True)
        odd = [f"{shape.text}: {text}" for text in found.complaints]
        odd += [f"{shape.text}: {found.busy} people met busy gates"] if found.busy else []
        odd += [f"{shape.text}: gates were {found.behind_s:.1f} s behind"] if found.behind_s > 1 else []
        sys.stderr.write("".join(f"{text}\n" for text in odd))
    return 0
