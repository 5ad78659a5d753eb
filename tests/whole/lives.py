"""A gate and a bridge in processes of their own, for a test to kill at any moment.

Both are the real ones, put together as the command line does; only the board is a fake, and the clock may be
told to be wrong. They are forked off a process that has imported everything, so a life begins within some
milliseconds. Commands and answers go through a pipe; when the test dies, the pipe ends, and they with it.
"""

import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeVar

from firmware.bridge.service import Bridge, open_bridge
from firmware.bridge.settings import BridgeSettings
from firmware.config import BrokerSettings, parse
from firmware.core.ticket import Route, Ticket, WithoutAnswer
from firmware.facts import Clock
from firmware.shots import Shot
from firmware.unit import Unit, open_unit
from firmware.uplink import Uplink
from hal.fake import FakeBoard, FakeLaneSettings
from hal.schedule import RealTime
from tests.brokers import QUICK

VENUE = "arena"
PATIENCE_S = 60.0  # only a failing test waits this long
WAITING_ROWS_MAX = 50  # of a crowd; then it waits for the disk, as people at a door would
HASTE_S = 0.02  # a hasty bridge waits for vendors so long, whatever it means to wait
IN, OUT = "north", "south"  # the lanes, and which way they go
INNER_IN, INNER_OUT = "club", "club-out"  # of a gate with an inner ring

GATE = """
[gate]
name = "{name}"
venue = "{venue}"
[policy]
reentry = "after_exit"
exits = "only_if_inside"
[[lane]]
name = "north"
direction = "in"
record_ms = 5000
[[lane]]
name = "south"
direction = "out"
record_ms = 5000
"""

INNER_LANES = """
[[lane]]
name = "club"
direction = "in"
perimeter = "inner"
record_ms = 5000
[[lane]]
name = "club-out"
direction = "out"
perimeter = "inner"
record_ms = 5000
"""

Commands = Mapping[str, Callable[..., object]]
Answer = TypeVar("Answer")


class GateSettings(NamedTuple):
    """Which gate it is. `late_ms` is how far its wall clock is behind as long as nobody trusts it.

    `crowd`: seed, codes and pace of the people who are there from the start on. `more`: further settings, as
    in gate.toml.
    """

    name: str
    data: Path
    ports: tuple[int, ...]
    trusted: bool = True
    late_ms: int = 0
    crowd: tuple[int, tuple[str, ...], float] | None = None
    more: str = ""
    inner: bool = False
    mac: str = ""


class GateFacts(NamedTuple):
    """How a gate is. `receipt` and `committed` are rows, `cursor` is the feed's number."""

    epoch: int
    committed: int
    receipt: int
    feed: str
    cursor: int
    tickets: int
    connected_to: str
    faults: Mapping[str, str]
    odd: Mapping[str, int]


class BridgeFacts(NamedTuple):
    """How a bridge is. `said` is all that it had to say to a person; `runs` are readings of lists."""

    broker: str
    faults: Mapping[str, str]
    odd: Mapping[tuple[str, str], int]
    said: tuple[str, ...]
    runs: Mapping[str, int]
    now_utc_ms: int


class Gate:
    """Carries out what the test says, at a gate that runs."""

    def __init__(self, settings: GateSettings) -> None:
        self.settings = settings
        self._trusted = threading.Event()
        if settings.trusted:
            self._trusted.set()
        self._news = threading.Condition()
        self._shots: list[Shot] = []
        self._outcomes: list[tuple[int, str, str]] = []
        self._crowd: threading.Thread | None = None
        self._over = threading.Event()
        self.lanes = (IN, OUT, INNER_IN, INNER_OUT) if settings.inner else (IN, OUT)
        fakes = [FakeLaneSettings(each) for each in self.lanes]
        leaves = (OUT, INNER_OUT)
        fakes = [replace(fake, ways=("out",)) if fake.name in leaves else fake for fake in fakes]
        self.board = FakeBoard(fakes, RealTime())
        self.unit: Unit

    def live(self, connection: Connection) -> None:
        """Run until the test says `stop`, or ends."""
        name, data, ports = self.settings[:3]
        lanes = INNER_LANES if self.settings.inner else ""
        settings = parse(GATE.format(name=name, venue=VENUE) + lanes + self.settings.more, "gate.toml")
        brokers = tuple(BrokerSettings("127.0.0.1", port, tls=False) for port in ports)
        with open_unit(
            settings._replace(brokers=brokers),
            data,
            board=self.board,
            trusted=self._trusted.is_set,
            watch=self._watch,
            changed=self._changed,
            outcome=lambda outcome: self._outcomes.append((outcome.scan, outcome.result, outcome.text)),
            pace=QUICK,
            utc_ns=self._utc_ns,
            root=self._computer(),
        ) as unit:
            self.unit = unit
            unit.gate.start()
            loop = threading.Thread(target=unit.gate.run, name="loop", daemon=True)
            loop.start()
            if self.settings.crowd is not None:
                self.crowd(*self.settings.crowd)
            serve(
                connection,
                {
                    "scan": self.scan,
                    "crowd": self.crowd,
                    "disperse": self.disperse,
                    "trust": self._trusted.set,
                    "facts": self.facts,
                    "tickets": self.tickets,
                    "outcomes": lambda: list(self._outcomes),
                    "may_ask": self.may_ask,
                    "may_upload": self.may_upload,
                },
            )
            self.disperse()
            unit.gate.stop()
            loop.join(PATIENCE_S)

    def _computer(self) -> Path:
        """What this gate's computer is."""
        if not self.settings.mac:
            return Path("/")
        root = self.settings.data / "computer"
        card = root / "sys/class/net/eth0"
        card.mkdir(parents=True, exist_ok=True)
        (card / "address").write_text(self.settings.mac)
        return root

    def may_ask(self, code: str) -> bool:
        """Whether the vendor of this code can be asked at every lane now."""
        return all(each.configured and each.reachable for each in self._routes(code))

    def may_upload(self, code: str) -> bool:
        """Whether, besides, a code may be let in without its answer, and the vendor is told afterwards."""
        policies = {each.without_answer for each in self._routes(code)}
        return self.may_ask(code) and policies == {WithoutAnswer.OPEN_AND_UPLOAD}

    def _routes(self, code: str) -> list[Route]:
        """The route of a code at every ring of this gate, with what is known of its vendor now."""
        facts, moment = self.unit.gate.facts, Clock(self._trusted.is_set).now()
        assert facts.link is not None
        route = facts.rulebook.route_for(code, None)
        rings = {lane.setup.perimeter for lane in self.unit.settings.lanes}
        return [facts.link.look(route, ring, moment) for ring in rings]

    def _utc_ns(self) -> int:
        late_ms = 0 if self._trusted.is_set() else self.settings.late_ms
        return time.time_ns() - late_ms * 1_000_000

    def _watch(self, shot: Shot) -> None:
        with self._news:
            self._shots.append(shot)
            self._news.notify_all()

    def _changed(self, lane: str) -> None:
        with self._news:
            self._news.notify_all()

    def scan(self, code: str, lane: str = IN) -> str:
        """Hold a code to the reader of a lane that is free, and walk if it opens; the verdict."""
        with self._news:
            assert self._news.wait_for(lambda: self.unit.gate.at_rest(lane), PATIENCE_S), "the lane is busy"
            before = len(self._shots)
        assert self.board.fakes[lane].scan(code), "the reader does not read"
        with self._news:
            assert self._news.wait_for(lambda: len(self._shots) > before, PATIENCE_S), "no answer"
            assert self._news.wait_for(lambda: self.unit.gate.at_rest(lane), PATIENCE_S), "nobody walks"
            verdict = self._shots[before].verdict
        pause, deadline_s = threading.Event(), time.monotonic() + PATIENCE_S
        while self.unit.journal.waiting:
            assert time.monotonic() < deadline_s, "the walk is not on disk"
            pause.wait(0.002)
        return verdict.value

    def crowd(self, seed: int, codes: Sequence[str], pace_s: float) -> None:
        """Let people come and go with these codes, one after the other, until they are dispersed."""
        self._crowd = threading.Thread(target=self._come_and_go, args=(seed, codes, pace_s), daemon=True)
        self._crowd.start()

    def _come_and_go(self, seed: int, codes: Sequence[str], pace_s: float) -> None:
        chance = Random(f"{seed} {self.unit.journal.epoch}")
        while not self._over.wait(chance.uniform(0, 2 * pace_s)):
            if self.unit.journal.waiting < WAITING_ROWS_MAX:
                self.scan(chance.choice(codes), chance.choice((IN, *self.lanes)))

    def disperse(self) -> None:
        """Nobody comes any more."""
        self._over.set()
        if self._crowd is not None:
            self._crowd.join(PATIENCE_S)
            assert not self._crowd.is_alive(), "the crowd stays"

    def facts(self) -> GateFacts:
        uplink, journal = self.unit.uplink, self.unit.journal
        assert isinstance(uplink, Uplink)  # imported for this: the unit alone would do it in each life
        feed, cursor = uplink.catalogue_place
        about = self.unit.catalogue.about()
        return GateFacts(
            journal.epoch,
            journal.committed,
            uplink.receipt,
            feed,
            cursor,
            about.tickets if about else 0,
            uplink.connected_to,
            uplink.faults(),
            dict(uplink.odd),
        )

    def tickets(self, digests: Sequence[bytes]) -> list[Ticket | None]:
        """What its catalogue says, asked in the loop, which alone may look."""
        return self._in_loop(lambda: [self.unit.catalogue.get(digest) for digest in digests])

    def _in_loop(self, ask: Callable[[], Answer]) -> Answer:
        found: list[Answer] = []
        done = threading.Event()

        def turn() -> None:
            found.append(ask())
            done.set()

        self.unit.gate.do(turn)
        assert done.wait(PATIENCE_S), "the loop does not turn"
        return found[0]


def live_as_gate(connection: Connection, settings: GateSettings) -> None:
    """The whole life of a gate."""
    with telling(connection):
        Gate(settings).live(connection)


class Haste(Enum):
    """How a bridge waits for vendors."""

    NONE = "as long as it means to"
    RETRIES = "some milliseconds each time"
    HOURS = "some milliseconds each time, and its clock goes on as if it had waited"


class Patience:
    """A bridge's clock, and its waiting for vendors."""

    def __init__(self, haste: Haste) -> None:
        self._haste = haste
        self._skipped_ms = 0.0

    def now_utc_ms(self) -> int:
        return time.time_ns() // 1_000_000 + int(self._skipped_ms)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if self._haste is Haste.NONE:
            return event.wait(seconds)
        came = event.wait(min(seconds, HASTE_S))
        if not came and self._haste is Haste.HOURS:
            self._skipped_ms += max(0.0, seconds - HASTE_S) * 1000
        return came


def live_as_bridge(connection: Connection, settings: BridgeSettings, data: Path, haste: Haste) -> None:
    """The whole life of a bridge."""
    said: list[str] = []
    patience = Patience(haste)
    clock, wait = patience.now_utc_ms, patience.wait
    with (
        telling(connection),
        open_bridge(settings, data, said.append, QUICK, now_utc_ms=clock, wait=wait) as bridge,
    ):
        serve(connection, {"facts": lambda: bridge_facts(bridge, said, clock())})


def bridge_facts(bridge: Bridge, said: Sequence[str], now_utc_ms: int) -> BridgeFacts:
    health = bridge.health()
    return BridgeFacts(
        health.broker,
        {fault.thing: fault.text for fault in health.faults},
        {key: odd.times for key, odd in health.odd.items()},
        tuple(said),
        {account.name: account.runs for account in bridge.accounts},
        now_utc_ms,
    )


# --- the pipe ----------------------------------------------------------------------------------------------


class telling:  # noqa: N801 - reads as a word of the `with` line
    """What a life died of goes to the test, which else would only see that it is over."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            with suppress(OSError):
                self._connection.send(("failed", "".join(traceback.format_exception(error))))


def serve(connection: Connection, commands: Commands) -> None:
    """Answer one command after the other, until `stop`, or until there is nobody any more."""
    connection.send(("ready", None))
    with suppress(EOFError, OSError):
        while True:
            name, arguments = connection.recv()
            if name == "stop":
                return
            connection.send(answer(commands[name], arguments))


def answer(command: Callable[..., object], arguments: Sequence[Any]) -> tuple[str, object]:
    try:
        return "done", command(*arguments)
    except Exception:  # the test raises it
        return "failed", traceback.format_exc()
