"""Asks through a bridge: what it adds to an answer, at which rate it breaks, and a vendor that goes silent.

Gates are played by a few connections of this process; broker, vendor and bridges have processes of their own.
An ask counts from the moment at which it is handed to the connection, to the arrival of its answer.
"""

import http.client
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from firmware import wire
from firmware.core.ticket import Direction, Perimeter
from firmware.mqtt import Arrived, Line, Publication, Session
from tests.bench import site
from tests.bench.bridge_child import DEADLINE_MS
from tests.bench.figures import PACE, SCRATCH, Figure, figure, median, quantile, single
from tests.brokers import ANYBODY, QUICK, mosquitto_broker, until

NAME = "asks through a bridge"
VENDOR_MS = 50
GATES = 20
LINES = 4  # connections that play them: one alone would wait for its own window
RATE, LONG_S = 100, 20  # the target's rate, for so long
SIZE = f"{RATE}/s for {LONG_S} s, vendor {VENDOR_MS} ms, 1 process"
RATES, SHORT_S = (200, 300, 400, 500, 600, 800, 1000), 5
ADDED_MS_MAX = 100  # of the 99th of a hundred
LAST_S = 5.0  # after the last ask: what is not answered by then is lost
LOOK_S = 0.002
SCAN_S = 0.2  # between a lane's answer and the next person
RUSH_S, SILENT_S, BACK_S = 5.0, 30.0, 30.0


class Gates:
    """The gates that one connection plays: when each ask was sent, and how long its answer took."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.sent: dict[tuple[str, int], float] = {}
        self.took_ms: dict[tuple[str, int], float] = {}
        self.words: dict[tuple[str, int], wire.Word] = {}
        self.reachable: dict[str, bool] = {}
        self.line: Line

    def connected(self, session: Session) -> None:
        """Be born."""
        for name in self.names:
            birth = wire.Presence(
                online=True, epoch=1, connection=session.number, random="r", trusted=True,
                perimeters=(Perimeter.OUTER,),
            )  # fmt: skip
            topic = wire.address(wire.STATUS, site.VENUE, name)
            session.publish(Publication(topic, wire.encode(birth), retain=True))

    def disconnected(self, session: Session, why: str) -> None:
        """The figures will tell."""

    def acknowledged(self, session: Session) -> None:
        """There is room."""

    def arrived(self, session: Session, arrived: Arrived) -> None:
        """An answer, or how the vendor is."""
        now_s = time.perf_counter()
        session.acknowledge(arrived)
        where = wire.addressed(arrived.topic, site.VENUE)
        assert where is not None
        if where.topic is wire.VENDORS:
            message = wire.decode(arrived.payload, wire.Vendors)
            self.reachable[where.gate] = message.accounts[0].reachable
            return
        answer = wire.decode(arrived.payload, wire.Answer)
        key = where.gate, answer.scan
        if key in self.sent and key not in self.took_ms:
            self.took_ms[key] = (now_s - self.sent[key]) * 1000
            self.words[key] = answer.word

    def ask(self, gate: str, scan: int) -> None:
        """Somebody stands there."""
        ask = wire.Ask(
            scan=scan, digest=b"d" * 16, account=site.ACCOUNT, code=f"code {scan}", ticket_id="", event="",
            session="", direction=Direction.IN, perimeter=Perimeter.OUTER, at_utc_ms=time.time_ns() // 10**6,
            left_ms=DEADLINE_MS,
        )  # fmt: skip
        publication = Publication(wire.address(wire.ASK, site.VENUE, gate), wire.encode(ask))
        self.sent[gate, scan] = time.perf_counter()
        session = self.line.session
        while session is None or not session.publish(publication):
            PACE.wait(LOOK_S)
            session = self.line.session


def run(_count: int) -> Iterator[Figure]:
    """Whatever the catalogue's size."""
    if (figure_of_none := site.absent(NAME)) is not None:
        yield figure_of_none
        return
    for bridges in (1, 2):
        with venue(bridges) as (gates, processes, port, _):
            if bridges == 1:
                bare = _bare(port)
                yield figure("the same vendor asked without us", SIZE, bare, "ms", note="above its 50 ms")
                yield from _at_target(gates, processes[0], median(bare))
            yield _breaking(gates, bridges)
    with venue(1) as (gates, _, _, vendor):
        yield from _silence(gates, vendor)


@contextmanager
def venue(bridges: int) -> Iterator[tuple[list[Gates], list[site.Child], int, site.Child]]:
    """Broker, vendor, so many bridges that share the asks, and the gates."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=SCRATCH)))
        broker = stack.enter_context(
            mosquitto_broker(folder, f"{ANYBODY}set_tcp_nodelay true\n")
        )  # as in deploy/
        vendor = stack.enter_context(site.child("tests.bench.asked_vendor", str(VENDOR_MS)))
        port = int(vendor.hear()["port"])
        url = f"http://127.0.0.1:{port}"
        processes = []
        for number in range(bridges):
            place = folder / f"bridge-{number}"
            settings = site.write_bridge(place, broker.port, None)
            processes.append(stack.enter_context(site.bridge(settings, place / "data", "asked", url)))
        every = [f"gate-{number}" for number in range(GATES)]
        groups = []
        for number in range(LINES):
            group = Gates(every[number::LINES])
            wanted = [
                wire.address(topic, site.VENUE, name)
                for name in group.names
                for topic in (wire.ANSWER, wire.VENDORS)
            ]
            group.line = Line([broker.address], f"gates-{number}", wanted, group, pace=QUICK, window=200)
            stack.enter_context(group.line)
            groups.append(group)
        until(lambda: all(len(group.reachable) == len(group.names) for group in groups))
        yield groups, processes, port, vendor


def _drive(groups: Sequence[Gates], rate: int, seconds: int, first: int) -> list[float]:
    """Asks at a steady rate, whatever becomes of those before: milliseconds of each, or infinity."""
    began_s = time.perf_counter()
    keys = []
    for number in range(rate * seconds):
        left_s = began_s + number / rate - time.perf_counter()
        if left_s > 0:
            PACE.wait(left_s)
        group = groups[number % LINES]
        gate = group.names[number // LINES % len(group.names)]
        group.ask(gate, first + number)
        keys.append((group, (gate, first + number)))
    until_s = time.perf_counter() + LAST_S
    while time.perf_counter() < until_s and any(key not in group.took_ms for group, key in keys):
        PACE.wait(LOOK_S)
    late = float("inf")
    return [group.took_ms[key] if group.words.get(key) is wire.Word.ACCEPTED else late for group, key in keys]


def _bare(port: int) -> list[float]:
    """The same rate of plain requests from this process: what the machine adds today, without any of ours."""
    taken = list[float]()
    left = threading.local()

    def one() -> None:
        if not hasattr(left, "line"):
            left.line = http.client.HTTPConnection("127.0.0.1", port)
        began_s = time.perf_counter()
        left.line.request("POST", "/ask", b'{"code": "1"}')
        left.line.getresponse().read()
        taken.append((time.perf_counter() - began_s) * 1000 - VENDOR_MS)

    with ThreadPoolExecutor(16) as pool:
        began_s = time.perf_counter()
        for number in range(RATE * SHORT_S):
            if (left_s := began_s + number / RATE - time.perf_counter()) > 0:
                PACE.wait(left_s)
            pool.submit(one)
    return taken


def _at_target(groups: Sequence[Gates], bridge: site.Child, bare_ms: float) -> Iterator[Figure]:
    _drive(groups, RATE, 2, 1)  # connections to the vendor are made, and threads
    before_s = bridge.cpu_s
    taken = _drive(groups, RATE, LONG_S, 1_000_000)
    used_ms = (bridge.cpu_s - before_s) * 1000 / len(taken)
    lost = sum(took == float("inf") for took in taken)
    yield single("asks lost at a bridge", SIZE, lost, "asks", "0")
    added = [took - VENDOR_MS for took in taken if took != float("inf")]
    peers = {"the same vendor asked without us": bare_ms}
    name = "added to a vendor's answer by broker and bridge"
    yield figure(name, SIZE, added, "ms", peers, "p99 at most 100")
    yield single("processor time of a bridge for an ask", SIZE, used_ms, "ms", "stated")


def _breaking(groups: Sequence[Gates], bridges: int) -> Figure:
    """The first rate at which an ask is lost, or the p99 is above the target's."""
    held, note = RATE, f"held all rates up to {RATES[-1]}/s"
    for number, rate in enumerate(RATES):
        taken = _drive(groups, rate, SHORT_S, 10_000_000 * (number + 1))
        lost = sum(took == float("inf") for took in taken)
        p99 = quantile(taken, 0.99) - VENDOR_MS
        if lost or p99 > ADDED_MS_MAX:
            note = f"at {rate}/s: {lost} of {len(taken)} without an answer in time, p99 added {p99:,.0f} ms"
            break
        held = rate
    processes = f"{bridges} process{'es' if bridges > 1 else ''}"
    return single("rate of asks that holds", processes, held, "asks/s", "stated", note)


class Lane:
    """One lane in a rush: asks as soon as the last person is through, unless the vendor is not reachable."""

    def __init__(self, group: Gates, gate: str, number: int) -> None:
        self.group, self.gate = group, gate
        self.scan = number * 1_000_000
        self.next_s = time.perf_counter()
        self.asked_s: float | None = None
        self.waited: list[tuple[float, float]] = []  # when each wait began, and how many ms it took

    def look(self, now_s: float) -> None:
        """Go on, if it is time."""
        if self.asked_s is not None:
            key = self.gate, self.scan
            over = (now_s - self.asked_s) * 1000 >= DEADLINE_MS
            if key not in self.group.took_ms and not over:
                return
            self.waited.append((self.asked_s, self.group.took_ms.get(key, float(DEADLINE_MS))))
            self.asked_s, self.next_s = None, now_s + SCAN_S
        if now_s < self.next_s:
            return
        if not self.group.reachable[self.gate]:
            self.waited.append((now_s, 0.0))  # policy, at once
            self.next_s = now_s + SCAN_S
            return
        self.scan += 1
        self.asked_s = now_s
        self.group.ask(self.gate, self.scan)


def _silence(groups: Sequence[Gates], vendor: site.Child) -> Iterator[Figure]:
    """The vendor stops answering in the midst of a rush, and comes back."""
    lanes = [
        Lane(group, gate, 100 + place)
        for place, (group, gate) in enumerate((group, gate) for group in groups for gate in group.names)
    ]

    def go(seconds: float, reachable: bool | None) -> float:
        """Until all gates hear so, or the time is over; seconds that it took."""
        began_s = time.perf_counter()
        while (now_s := time.perf_counter()) - began_s < seconds:
            for lane in lanes:
                lane.look(now_s)
            if reachable is not None and all(
                group.reachable[gate] is reachable for group in groups for gate in group.names
            ):
                break
            PACE.wait(LOOK_S)
        return now_s - began_s

    go(RUSH_S, None)
    usual = median([took for lane in lanes for _, took in lane.waited])
    vendor.ask("silent")
    opened_s = go(SILENT_S, False)
    opened_at_s = time.perf_counter()
    go(RUSH_S, None)
    after = [took for lane in lanes for at_s, took in lane.waited if at_s >= opened_at_s]
    stuck = sum(lane.asked_s is not None and lane.asked_s < opened_at_s for lane in lanes)
    vendor.ask("answer")
    closed_s = go(BACK_S, True)
    size = f"{GATES} gates, silent for {RUSH_S + opened_s:.0f} s"
    note = f"a lane waits {usual:.0f} ms with the vendor there, {DEADLINE_MS} ms until it opens"
    yield single("silent vendor: until no gate asks any more", size, opened_s, "s", "stated", note)
    yield figure("silent vendor: wait at a lane after that", size, after, "ms", None, "none")
    yield single("silent vendor: lanes stuck", size, stuck, "lanes", "0")
    yield single("silent vendor: until all gates ask again", size, closed_s, "s", "stated")
