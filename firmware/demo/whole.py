"""The whole demo: a broker, a vendor, a bridge and a second gate beside the gate, on this machine.

Broker, vendor and bridge are processes of their own, so that each can be stopped or killed as in real life.
What they keep lies beside the gate's own data:

    catalogue/ journal/   the gate, as everywhere          second/   the second gate
    bridge/               the ledger, and the venue's key  vendor/   the vendor's books
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

from firmware import wire
from firmware.config import BrokerSettings, Settings, parse
from firmware.core.rules import judge
from firmware.core.ticket import Direction, Moment, Verdict
from firmware.demo.child import BridgeOrder, BrokerOrder, Health, News, VendorOrder
from firmware.demo.network import LOOPBACK, Network, free_port
from firmware.demo.part import Part
from firmware.demo.plays import PLAYS, Play, Values, written_out
from firmware.demo.second import SecondGate
from firmware.demo.ways import Fact, Told, Ways
from firmware.files import sync_folder
from firmware.hold import hold
from firmware.mqtt import Pace
from firmware.shots import Shot
from firmware.signals import WORDS
from firmware.unit import Refused, Unit
from firmware.uplink import Uplink
from firmware.venue_key import venue_key
from hal.watch import monotonic_ms

BOOKS = "vendor/books.jsonl"  # in the data directory
WHOLE = "demo-whole"  # a file in the data directory that belongs to a whole demo: which vendor it has
VENUE, GATE, SECOND = "demo", "gate-1", "gate-2"
# Two gates on one computer are two computers to a vendor that knows its devices by their network card.
CARDS = {GATE: "02:00:5e:00:53:01", SECOND: "02:00:5e:00:53:02"}
RETRY_S_MAX = 1.0  # between tries to connect: a person waits for it to heal
PACE = Pace(retry_least_s=0.1, retry_most_s=RETRY_S_MAX, steady_s=0.0)
START_S = 60.0  # for a part to be up, and for the first catalogue; a few seconds on an idle machine
LOOK_S = 0.2  # between two looks at how things stand
LOOK_MS = 50  # while the start waits
SETTLE_S = 15.0  # at the end of a feed, for all that is under way; some hundred milliseconds when all is well
JUDGE_S = 5.0  # for the loop to have its turn
JOIN_S_MAX = 5.0

SETTINGS = f"""
[gate]
name = "{{name}}"
venue = "{VENUE}"
[[lane]]
name = "1"
direction = "both"
record_ms = 5000  # this disk is not the gate's alone: better late than out of order
[policy]
reentry = "after_exit"
exits = "only_if_inside"
"""


def settings_of(name: str, port: int, play: Play, values: Values) -> Settings:
    """A gate of the demo's venue, whose broker is at this port."""
    own = written_out(play.gate, values)
    settings = parse(f"{SETTINGS.format(name=name)}{own}", "settings of the demo")
    return settings._replace(brokers=(BrokerSettings(LOOPBACK, port, tls=False),))


class Status(NamedTuple):
    """How things stand. `rows` wait for a receipt, `scans` for the vendor's word."""

    broker: str
    bridge: str
    vendor: str
    rows: int
    scans: int
    tickets: int

    @property
    def parts(self) -> str:
        """What works, in a line."""
        return f"broker {self.broker}   bridge {self.bridge}   vendor {self.vendor}"

    @property
    def waiting(self) -> str:
        """What waits, in a line."""
        return f"waiting: {self.rows} rows for a receipt, {self.scans} scans for the vendor"


class Whole:
    """All that stands around the gate. Entering starts broker, vendor and bridge; `begin` the second gate.

    `vendor` is one of `PLAYS`; `say` gets sentences for people; `ring` wakes whoever shows.
    """

    def __init__(self, vendor: str, data: Path, say: Callable[[str], None], ring: Callable[[], None]) -> None:
        self._vendor, self.play, self._data, self._say = vendor, PLAYS[vendor], data, say
        self._broker_port, self._vendor_port, self._vendor_second_port = free_port(), free_port(), free_port()
        self.network = Network(self._broker_port)
        self.ways = Ways(VENUE, GATE, self._broker_port, PACE, ring)
        self.broker = Part("broker", "firmware.demo.broker", data / "broker.log", self._heard, self._part)
        self.vendor = Part("vendor", "firmware.demo.vendor", data / "vendor.log", self._sold, self._part)
        self.bridge = Part("bridge", "firmware.demo.bridge", data / "bridge.log", self._heard, self._part)
        self.second: SecondGate | None = None
        self.manner = "well"
        self.values: Values = {}  # what the vendor has, from its start on
        self._health = Health()
        self._unit: Unit | None = None
        self._status = Status("cut", "down", "down", 0, 0, 0)
        self._over = threading.Event()
        self._connected = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="status", daemon=True)
        self._settle_ends_s = float("inf")
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        """Put the venue's key into its places, and start the parts. Raises `Refused`, `Held`, `OSError`."""
        with ExitStack() as opened:
            for part in (self.network, self.broker, self.vendor, self.bridge):
                opened.enter_context(part)
            with hold(self._data):
                self._prepare()
            opened.enter_context(self.ways)
            opened.callback(self._stop_watching)
            self._start()
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        """End everything. Twice is fine."""
        self._opened.close()

    def _start(self) -> None:
        """Bring the parts up, before there is a gate whose first question nobody would hear."""
        self.start_broker()
        self.start_vendor()
        self._wait_for(self.broker, self.broker.wait)
        self._wait_for(self.vendor, self.vendor.wait)
        self.start_bridge()
        self._wait_for(self.bridge, self.bridge.wait)
        self._wait_for(self.bridge, self._connected.wait)

    def _wait_for(self, part: Part, wait: Callable[[float], bool]) -> None:
        if not wait(START_S):
            mend = f"see {self._data / part.name}.log, or add --alone for a single gate"
            raise Refused(f"the {part.name} of the demo does not start: {mend}")

    def _prepare(self) -> None:
        ledger = self._data / "bridge" / "ledger.db"
        if ledger.exists() and not (self._data / BOOKS).exists():
            self._say(
                "the vendor begins anew: its books are gone; what was told to it before it does not know"
            )
        (self._data / "bridge").mkdir(parents=True, exist_ok=True, mode=0o700)
        key = venue_key(self._data / "bridge")
        for folder in (self._data / "catalogue", self._data / "second" / "catalogue"):
            place_key(key, folder)
        (self._data / WHOLE).write_text(self._vendor, "utf-8")

    def _stop_watching(self) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S_MAX)

    # --- the start -------------------------------------------------------------------------------------

    def begin(self, unit: Unit, wait: Callable[[int], bool]) -> None:
        """Start the second gate, and wait until the vendor's list is there whole, for `START_S` at most.

        `wait` is called with milliseconds, and says False when the demo is to end. Raises `Refused`.
        """
        assert unit.uplink is not None, "the gate of the whole demo has a broker"
        self._unit = unit
        self.ways.begin(unit.uplink)
        self._thread.start()
        second = self._settings_of(SECOND, self._broker_port)
        opening = SecondGate(second, self._data / "second", PACE, self.computer(SECOND))
        self.second = self._opened.enter_context(opening)
        if self.play.asks:
            self._say(f"{self.play.title} is asked, through broker and bridge")
        elif unit.catalogue.count == 0:
            self._say("the tickets come from the vendor, through bridge and broker")
        until = time.monotonic() + START_S
        while not (self._is_ready(unit) and self._is_ready(self.second.unit)):
            if time.monotonic() > until or not wait(LOOK_MS):
                break

    def _is_ready(self, unit: Unit) -> bool:
        """Whether the vendor's list is there, or the vendor can be asked."""
        if not self.play.asks:
            return bool(unit.catalogue.count and unit.catalogue.stamp_utc_ms)
        link, settings = unit.gate.facts.link, unit.settings
        assert link is not None, "a gate that asks has a broker"
        now = Moment(monotonic_ms(), time.time_ns() // 1_000_000, True)
        found = link.look(settings.route_for("any code", None), settings.lanes[0].setup.perimeter, now)
        return found.configured and found.reachable

    @property
    def settings(self) -> Settings:
        """The gate's, from the vendor's start on."""
        return self._settings_of(GATE, self.network.port)

    def _settings_of(self, name: str, port: int) -> Settings:
        return settings_of(name, port, self.play, self.values)

    def computer(self, name: str) -> Path:
        """The files that say what a gate's computer is."""
        root = self._data / "computers" / name
        card = root / "sys/class/net/eth0"
        card.mkdir(parents=True, exist_ok=True)
        (card / "address").write_text(CARDS[name])
        return root

    def start_broker(self) -> None:
        """Raises `OSError`, as all of these do."""
        self.broker.start(BrokerOrder(self._broker_port, str(self._data / "broker.toml")))

    def start_vendor(self) -> None:
        """With the books that it had."""
        self.manner = "well"
        ports = (self._vendor_port, self._vendor_second_port)
        self.vendor.start(VendorOrder(self._vendor, *ports, str(self._data / BOOKS)))

    def start_bridge(self) -> None:
        """On the ledger that it had."""
        self.bridge.start(
            BridgeOrder(
                folder=str(self._data / "bridge"),
                venue=VENUE,
                vendor=self._vendor,
                broker_port=self._broker_port,
                values=dict(self.values),
                retry_s_max=RETRY_S_MAX,
            )
        )

    # --- news of the parts, on their threads --------------------------------------------------------------

    def _heard(self, news: News) -> None:
        if news.health is not None:
            self._health = news.health
            if news.health.connected:
                self._connected.set()
        if news.say:
            self.ways.tell(Told(f"bridge: {news.say}", {"told": "report", "text": news.say}))

    def _sold(self, news: News) -> None:
        if news.ready is not None:
            self.values = news.ready

    def id_of(self, ticket: str) -> str:
        """A ticket of the vendor, as the gates know it."""
        return f"{self._vendor}:{ticket}"

    @property
    def control_url(self) -> str:
        """Where things happen at the vendor."""
        return self.values["control"]

    def _part(self, sentence: str) -> None:
        if sentence:
            self.ways.tell(
                Told(f"{sentence}: /help says how to start it", {"told": "ended", "text": sentence})
            )

    # --- how things stand -----------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            status = self.status()
            if status != self._status:
                self._status = status
                facts: dict[str, Fact] = {"told": "status", **status._asdict(), "age_s": self.age_s()}
                told = f"{status.parts}   {status.waiting}"
                self.ways.tell(Told(told, facts, drawn=True))

    def status(self) -> Status:
        """Looked at now; reads the journal."""
        assert self._unit is not None, "asked for when the gate is at work"
        vendor = self.vendor.state
        if vendor == "up" and self.play.asks and not self._is_ready(self._unit):
            vendor = "not asked"  # as far as the gate has heard
        return Status(
            "connected" if self.uplink.connected_to else "cut",
            self._bridge_state(),
            self.manner if vendor == "up" and self.manner != "well" else vendor,
            self.uplink.waiting() if self._unit.journal.committed > self.uplink.receipt else 0,
            self._health.waiting,
            self._unit.catalogue.count,
        )

    def _bridge_state(self) -> str:
        state = self.bridge.state
        return "cut off" if state == "up" and not self._health.connected else state

    @property
    def last_status(self) -> Status:
        """As it was at the last look."""
        return self._status

    @property
    def uplink(self) -> Uplink:
        """The gate's."""
        assert self._unit is not None
        assert self._unit.uplink is not None
        return self._unit.uplink

    def age_s(self) -> int | None:
        """Of the gate's catalogue; `None` where it has none yet."""
        assert self._unit is not None
        stamp_utc_ms = self._unit.catalogue.stamp_utc_ms
        return max(0, round(time.time() - stamp_utc_ms / 1000)) if stamp_utc_ms else None

    def list_words(self) -> str:
        """The gate's catalogue, in a few words."""
        if self.play.asks:
            return "no list: each scan is asked"
        age_s = self.age_s()
        return "no tickets yet" if age_s is None else f"{self._status.tickets:,} tickets, {age_s} s old"

    def settles(self) -> bool:
        """Whether a demo whose feed has ended should wait: nothing is cut or stopped, and not all is told.

        Not longer than `SETTLE_S` after the first question.
        """
        self._settle_ends_s = min(self._settle_ends_s, time.monotonic() + SETTLE_S)
        status = self.status()
        parts = (self.broker, self.bridge, self.vendor)
        at_work = not self.network.is_cut and all(part.state in {"starting", "up"} for part in parts)
        waits = bool(status.rows or status.scans or self.ways.under_way())
        return at_work and waits and time.monotonic() < self._settle_ends_s

    def news(self) -> Iterator[Told]:
        """What is new since the last look."""
        return self.ways.news()

    def faults(self) -> dict[str, str]:
        """What the bridge says is wrong."""
        if self.bridge.state != "up":
            return {}
        return {f"bridge, {thing}": f"bridge: {text}" for thing, text in self._health.faults.items()}

    # --- the gate and its tickets ---------------------------------------------------------------------------

    def words_of(self, codes: Sequence[str]) -> dict[str, list[str]]:
        """What the gate would say to these codes at this moment on the way in, and nothing is spent."""
        assert self._unit is not None
        unit, setup = self._unit, self._unit.settings.lanes[0].setup
        found: dict[str, list[str]] = {}
        done = threading.Event()

        def look() -> None:
            moment = unit.gate.clock.now()
            for code in codes:
                verdict = judge(setup, unit.gate.facts.scanned(code, Direction.IN, moment, row=0))
                word = "good" if verdict is Verdict.ADMITTED else WORDS[verdict]
                found.setdefault(word, []).append(code)
            done.set()

        unit.gate.do(look)
        return found if done.wait(JUDGE_S) else {}

    def outcome(self, outcome: wire.Outcome) -> None:
        """For the gate: what the vendor said."""
        self.ways.outcome(outcome)

    def watch(self, shot: Shot) -> None:
        """For the gate: a scan is finished."""
        self.ways.add(shot)

    def opening_words(self) -> Iterator[str]:
        """What to know of the parts."""
        parts = (self.broker, self.bridge, self.vendor)
        ids = ", ".join(f"{part.name} {part.process_id}" for part in parts)
        yield f"the vendor is {self.play.title}'s sandbox{f'; {self.play.about}' if self.play.about else ''}"
        yield f"processes: {ids} (kill -9 pulls the plug of one); /help lists what can be done"

    def last_words(self, kept: bool) -> str:
        """What is not told yet, at the end."""
        status = self.status()
        if not status.rows and not status.scans:
            return "every row is in the ledger, and the vendor was told of every admission"
        start = (
            "that goes on at the next start" if kept else "with --data DIR that would go on at the next start"
        )
        return f"{status.waiting}: {start}"


def place_key(key: bytes, folder: Path) -> None:
    """Let a gate have the venue's key, as enrolment will; whole, or not at all. Raises `Refused`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "key"
    if not path.exists():
        unfinished = folder / f"key-{os.getpid()}"
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
        sync_folder(folder)
    elif venue_key(folder) != key:
        raise Refused(f"{path}: not the key of the demo's bridge: choose another --data")


def check_libraries() -> None:
    """Raises `Refused` where something of the whole demo is not installed."""
    try:
        from firmware.demo import bridge, broker, vendor  # noqa: F401 - whether they can be is all that is asked

        broker.is_there()
    except ModuleNotFoundError as error:
        raise Refused(
            f"the whole demo needs {error.name}, which is not installed (`make` installs it): "
            "add --alone for a single gate with a list of its own"
        ) from None
