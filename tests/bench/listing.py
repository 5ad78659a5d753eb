"""A million tickets from the vendor to a gate that is ready, and then sales one by one, to the open lane.

The sandbox is in this process, bridge and gate each in one of their own. `syncing` has the gate's part of it
by itself, beside a bare `putmulti` of the same rows, and `feeding` the feed's.
"""

import queue
import shutil
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from firmware.bridge.sandbox.ingresse import Sandbox
from tests.bench import site
from tests.bench.figures import PACE, SCRATCH, Figure, figure, median, single

SEED = 1
LIST_S = 900.0  # for the whole list to be read, on a machine that is busy
LOOK_S = 0.2
SALES, SALES_A_LOOK = 300, 10
AFTER_LOOK_S = 0.25  # after the vendor was asked, so that the next look is the first to tell of the sale
ANSWER_S = 60.0
LIST_REQUEST = "/guestlist"


def run(count: int) -> Iterator[Figure]:
    """`count` tickets."""
    if (figure_of_none := site.absent("sandbox to bridge")) is not None:
        yield figure_of_none
        return
    looks: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()

    def seen(line: str) -> None:
        looks.put((time.perf_counter_ns(), line))

    with (
        tempfile.TemporaryDirectory(dir=SCRATCH) as scratch,
        Sandbox(tickets=count, seed=SEED, log=seen) as sandbox,
        site.broker_in(Path(scratch) / "broker") as broker,
    ):
        folder = Path(scratch)
        settings = site.write_bridge(folder / "bridge", broker.port, sandbox, poll_s=1)
        started = time.perf_counter()
        with site.bridge(settings, folder / "data") as bridge:
            _until_read(bridge)
            yield from _legs(folder, broker.port, bridge, count, time.perf_counter() - started)
            yield from _sales(folder, broker.port, sandbox, looks, count)
            health = bridge.ask("health")
            if health["faults"] or health["odd"]:
                raise RuntimeError(f"the bridge complains: {health}")


def enrol(bridge: Path, gate: Path) -> None:
    """Hand the venue's key to a gate, as an installer does."""
    (gate / "catalogue").mkdir(mode=0o700, parents=True)
    shutil.copy(bridge / "key", gate / "catalogue" / "key")


def _until_read(bridge: site.Child) -> None:
    ends_s = time.monotonic() + LIST_S
    while bridge.ask("health")["runs"] == [0]:
        if time.monotonic() > ends_s:
            raise TimeoutError(f"the list was not read: {bridge.ask('health')}")
        PACE.wait(LOOK_S)


def _legs(folder: Path, port: int, bridge: site.Child, count: int, read_s: float) -> Iterator[Figure]:
    size = f"{count:,} tickets"
    yield single("sandbox to bridge", size, read_s, "s", "", f"{count / read_s:,.0f} tickets/s, in the feed")
    yield single("of it: processor of the bridge", size, bridge.cpu_s, "s")
    before_s = bridge.cpu_s
    enrol(folder / "data", folder / "new")
    with site.gate(site.write_gate(folder, "new", port), folder / "new") as gate:
        took_s = gate.ask("tickets", count=count)["ns"] / 1e9
        yield single("bridge to a new gate ready", size, took_s, "s", "", "pages sent, and the list made")
        yield single("of it: processor of the bridge", size, bridge.cpu_s - before_s, "s")
        yield single("of it: processor of the gate", size, gate.cpu_s, "s")
        yield single("memory of the bridge", size, bridge.kib("VmHWM") / 1024, "MB", "<= 400 MB", "at most")


def _sales(
    folder: Path, port: int, sandbox: Sandbox, looks: "queue.SimpleQueue[tuple[int, str]]", count: int
) -> Iterator[Figure]:
    """Each from the vendor's answer that tells of it to the gate's relay: the polling period is aside."""
    taken, listed = list[float](), list[float]()
    codes = iter(sandbox.codes(SALES, sold=False))
    with site.gate(site.write_gate(folder, "new", port), folder / "new") as gate:
        gate.ask("tickets", count=count)
        while some := list(islice(codes, SALES_A_LOOK)):
            _drain(looks)
            _next_look(looks)
            PACE.wait(AFTER_LOOK_S)
            for code in some:
                sandbox.sell(code)
            _drain(looks)
            gate.tell("listed", codes=some)
            sessions = [str(sandbox.ticket(code).session.id) for code in some]
            told_ns = _told_ns(looks, set(sessions))
            for session, shot in zip(sessions, gate.hear()["shots"], strict=True):
                assert shot["verdict"] == "admitted", shot
                listed.append((shot["listed_ns"] - told_ns[session]) / 1e6)
                taken.append((shot["relay_ns"] - shot["decided_ns"]) / 1e6 + listed[-1])
    size = f"{len(taken)} sales, {count:,} tickets"
    yield figure(
        "sale to open lane, polling aside", size, taken, "ms", None, "p99 <= 1,000 ms",
        f"{SALES_A_LOOK} at a time; in the gate's list after {median(listed):.0f} ms (median)",
    )  # fmt: skip


def _told_ns(looks: "queue.SimpleQueue[tuple[int, str]]", sessions: set[str]) -> dict[str, int]:
    """When the vendor told of each session for the first time from now on."""
    found: dict[str, int] = {}
    while sessions - found.keys():
        at_ns, line = looks.get(timeout=ANSWER_S)
        for session in sessions - found.keys():
            if LIST_REQUEST in line and session in line:
                found[session] = at_ns
    return found


def _next_look(looks: "queue.SimpleQueue[tuple[int, str]]") -> None:
    while LIST_REQUEST not in looks.get(timeout=ANSWER_S)[1]:
        pass


def _drain(looks: "queue.SimpleQueue[tuple[int, str]]") -> None:
    while not looks.empty():
        looks.get()
