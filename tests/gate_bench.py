"""A whole gate for tests: the real loop, core and journal, the fake board, and time that a test moves.

Lists and settings are dicts. The journal's thread runs for itself, but its news reach the loop only when a
test asks for them (`settle`, `hear`), so every order of events can be had, without a sleep. A disk that hangs
is another writer that holds SQLite's lock, for less than the journal's own time-out; one that refuses is a
trigger that lets no row in.
"""

import shutil
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Self

from firmware.aftermath import asks_left, unacknowledged
from firmware.asks import Question
from firmware.core.effects import Ask
from firmware.core.events import Order
from firmware.core.lane import begin
from firmware.core.states import Lane
from firmware.core.ticket import Direction, History, Moment, Perimeter, Policy, Route, Setup, Ticket, Verdict
from firmware.facts import Clock, Facts
from firmware.gate import Gate
from firmware.journal import Journal, Retention, Told
from firmware.row import Before, Row, decode, decode_began, epoch_and_seq, replay, tell_story
from firmware.rows import RowReader
from firmware.shots import Shot
from firmware.watchdog import Watchdog
from hal.fake import FakeBoard, FakeLane, FakeLaneSettings, Person
from hal.fake_parts import FakeContact
from hal.ports import LaneParts, Way
from hal.schedule import VirtualTime
from hal.tape import Edge

NOON_MS = 1_800_000_000_000
STARTED_MS = 5_000_000  # what the monotonic clock says when the first gate of a test starts
PATIENCE_S = 30.0  # only a failing test waits this long
KEEP = Retention(keep_ms=10**12, keep_bytes=1 << 40, unconfirmed=True)

SETUP = Setup("north", gate="east", direction=None)
STAYS = Person("stays")
THROUGH, LATE, BACKWARDS = Person("through", 300), Person("late", 200), Person("backwards", 300)


class Lists:
    """The catalogue as a dict from code to ticket."""

    def __init__(self, tickets: Mapping[str, Ticket]) -> None:
        self.tickets = {self.digest(code): ticket for code, ticket in tickets.items()}

    def digest(self, code: str) -> bytes:
        return blake2b(code.encode(), digest_size=16).digest()

    def get(self, digest: bytes) -> Ticket | None:
        return self.tickets.get(digest)

    def named(self, ticket_id: str) -> Ticket | None:
        return next((each for each in self.tickets.values() if each.ticket_id == ticket_id), None)


class Rules:
    """The settings: one policy, and a route by the first letters of a code."""

    def __init__(self, policy: Policy, routes: Mapping[str, Route]) -> None:
        self.policy, self.routes = policy, routes

    def policy_for(self, event: str) -> Policy:
        return self.policy

    def route_for(self, code: str, ticket: Ticket | None) -> Route:
        return next((route for start, route in self.routes.items() if code.startswith(start)), Route())


class FakeLink:
    """Remembers what was asked. `changes` are what is known of every vendor."""

    def __init__(self) -> None:
        self.asks: list[tuple[Ask, str]] = []
        self.questions: list[Question] = []
        self.changes: dict[str, Any] = {}
        self.refusal = ""

    def look(self, route: Route, perimeter: Perimeter, moment: Moment) -> Route:
        return route._replace(**self.changes)

    def ask(self, question: Question) -> str:
        self.asks.append((question.ask, question.code))
        self.questions.append(question)
        return self.refusal


class Breakable:
    """A turnstile, lamp or buzzer that does what it stands for until it is told to fail."""

    def __init__(self, part: object) -> None:
        self._part = part
        self.broken = False

    def __getattr__(self, name: str) -> Callable[..., object]:
        act: Callable[..., object] = getattr(self._part, name)

        def tried(*arguments: object) -> object:
            if self.broken:
                raise OSError(5, "Input/output error")
            return act(*arguments)

        return tried


class Stored(NamedTuple):
    """A row as it was read back, with its number and clear code."""

    id: int
    row: Row
    code: str | None


@contextmanager
def data_directory() -> Iterator[Path]:
    """A data directory, gone after the test; at the end all of its rows must replay."""
    with TemporaryDirectory() as folder:
        yield Path(folder) / "data"
        if (Path(folder) / "data" / "journal").exists():
            check_replay(Path(folder) / "data")


def tickets(*names: str) -> dict[str, Ticket]:
    """Valid tickets, each with its name as its code."""
    return {name: Ticket(f"id-{name}") for name in names}


class Bench:
    """One gate after another on the same data directory and under the same clock."""

    def __init__(
        self,
        data: Path,
        setups: Sequence[Setup] = (SETUP,),
        listed: Mapping[str, Ticket] | None = None,
        policy: Policy = Policy(),  # noqa: B008  a frozen value
        routes: Mapping[str, Route] | None = None,
        link: FakeLink | None = None,
        usual: Person = STAYS,
        alarm_at_start: bool = False,
        reader_lost_shuts: bool = False,
        ticks_ns: Callable[[], int] = time.perf_counter_ns,
        watchdog: Watchdog | None = None,
    ) -> None:
        self.data = data
        self.setups = tuple(setups)
        self.lists = Lists(tickets("A", "B", "C", "D") if listed is None else listed)
        self.rules = Rules(policy, routes or {})
        self.link = link
        self.usual = usual
        self.alarm_at_start = alarm_at_start
        self.reader_lost_shuts = reader_lost_shuts
        self.ticks_ns = ticks_ns
        self.watchdog = watchdog
        self.time = VirtualTime(STARTED_MS)
        self.utc_offset_ms = NOON_MS - STARTED_MS
        self.trusted = True
        self.when_time_is_asked: deque[Callable[[], object]] = deque()  # one for each time, to come between
        self.shots: list[Shot] = []
        self.tapes: list[tuple[Edge, ...]] = []  # of the gates before this one
        self._open = False
        self.start()

    # --- its life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the journal and the board, and start the gate."""
        self.clock = Clock(lambda: self.trusted, self._monotonic_ns, self._utc_ns)
        self._news: SimpleQueue[Told] = SimpleQueue()
        self.journal = Journal(
            self.data / "journal", self.setups, self.clock.now, KEEP, "test", self._news.put
        )
        self.heard = self.journal.next_row - 1
        self.board = FakeBoard([self._lane_of(setup) for setup in self.setups], self.time, usual=self.usual)
        self.breakable = {
            (parts.name, name): Breakable(getattr(parts, name))
            for parts in self.board.lanes
            for name in ("turnstile", "lamp", "buzzer")
        }
        if self.alarm_at_start:
            self.contact.press()
        self.gate = Gate(
            list(zip(self.setups, map(self._parts, self.board.lanes), strict=True)),
            self.board.alarm,
            Facts(self.lists, self.rules, self._past, self.link),
            self.journal,
            self.clock,
            reader_lost_shuts=self.reader_lost_shuts,
            link=self.link,
            watch=self.shots.append,
            ticks_ns=self.ticks_ns,
            tamper=self.board.tamper,
            watchdog=self.watchdog,
            unacknowledged=unacknowledged(self.data / "journal", self.setups),
            left=asks_left(self.data / "journal", self.setups),
        )
        self._open = True
        self.gate.start()
        self.turn()

    def _past(self, subject: str) -> History:
        return self.clock.past(self.journal.history(subject))

    def _monotonic_ns(self) -> int:
        if self.when_time_is_asked:
            self.when_time_is_asked.popleft()()
        return self.time.now_ms() * 1_000_000

    def _utc_ns(self) -> int:
        return (self.time.now_ms() + self.utc_offset_ms) * 1_000_000

    def _parts(self, parts: LaneParts) -> LaneParts:
        broken = {name: self.breakable[parts.name, name] for name in ("turnstile", "lamp", "buzzer")}
        return replace(parts, **broken)  # type: ignore[arg-type]  # it stands for whatever it was given

    @staticmethod
    def _lane_of(setup: Setup) -> FakeLaneSettings:
        ways: tuple[Way, ...] = ("in", "out") if setup.direction is None else (setup.direction.value,)
        return FakeLaneSettings(setup.name, ways, "way" if setup.sensor else "none")

    def stop(self) -> None:
        """An orderly end: the loop is told to stop, board and journal are closed."""
        self.gate.stop()
        self.gate.run()
        self.close()

    def close(self) -> None:
        """Close what is open."""
        if self._open:
            self._open = False
            self.board.close()
            self.tapes.append(self.board.tape.edges)
            self.journal.close()

    def restart(self) -> None:
        """Stop and start again."""
        self.stop()
        self.start()

    def crash(self) -> None:
        """Start again on what lay on the disk: nothing of this process is told or closed beforehand.

        What the journal has not committed is lost, as in a power cut.
        """
        aside = self.data.with_name("aside")
        aside.mkdir()
        (aside / "journal").mkdir()
        for name in ("epoch", "journal/journal.db", "journal/journal.db-wal"):
            shutil.copyfile(self.data / name, aside / name)
        self.close()
        shutil.rmtree(self.data)
        aside.rename(self.data)
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- what a test does ----------------------------------------------------------------------

    def fake(self, lane: str = "north") -> FakeLane:
        return self.board.fakes[lane]

    @property
    def contact(self) -> FakeContact:
        assert self.board.alarm is not None
        return self.board.alarm

    def scan(self, code: str, lane: str = "north", way: Way | None = None) -> None:
        """A code is held to a reader, and the loop has heard of it; the disk has not spoken yet."""
        assert self.fake(lane).scan(code, way)
        self.turn()

    def turn(self) -> None:
        """Let the loop take all that it has."""
        while self.gate.turn(0):
            pass

    def hear(self) -> Told:
        """Wait for the journal's next word, and let the loop hear it."""
        told = self._news.get(timeout=PATIENCE_S)
        self.heard = max(self.heard, told.row)
        self.gate.told(told)
        self.turn()
        return told

    def settle(self) -> None:
        """Wait until every row is safe and the loop has heard of it, and of what came of that."""
        self.turn()
        while self.heard < self.journal.next_row - 1:
            self.hear()

    def pass_time(self, ms: int) -> None:
        """Move the time on in small steps; people walk, and the loop and the disk keep up."""
        until_ms = self.time.now_ms() + ms
        while self.time.now_ms() < until_ms:
            self.time.advance(min(50, until_ms - self.time.now_ms()))
            self.settle()

    def let_time_pass(self, ms: int) -> None:
        """As `pass_time`, and the disk says nothing."""
        until_ms = self.time.now_ms() + ms
        while self.time.now_ms() < until_ms:
            self.time.advance(min(50, until_ms - self.time.now_ms()))
            self.turn()

    def enter(self, code: str, lane: str = "north", way: Way | None = None) -> Shot:
        """A scan, and all that follows until the lane is ready again."""
        self.scan(code, lane, way)
        self.settle()
        self.pass_time(10_000)
        return self.shots[-1]

    def order(self, order: Order, lane: str = "", direction: Direction = Direction.IN) -> None:
        self.gate.order(lane, order, "test", direction)
        self.turn()

    @contextmanager
    def hung_disk(self) -> Iterator[None]:
        """The disk takes nothing and says nothing, for two seconds of real time at most."""
        other = sqlite3.connect(self.data / "journal" / "journal.db", isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            yield
        finally:
            other.close()

    @contextmanager
    def refusing_disk(self) -> Iterator[None]:
        """The disk refuses every row."""
        other = sqlite3.connect(self.data / "journal" / "journal.db", isolation_level=None)
        try:
            other.execute(
                "CREATE TRIGGER refusal BEFORE INSERT ON row BEGIN SELECT RAISE(FAIL, 'no room'); END"
            )
            yield
        finally:
            other.execute("DROP TRIGGER IF EXISTS refusal")
            other.close()

    # --- what a test looks at ------------------------------------------------------------------

    def lane(self, name: str = "north") -> Lane:
        return self.gate.lane(name)

    def state(self, name: str = "north") -> str:
        return type(self.lane(name).state).__name__

    def relay(self, lane: str = "north") -> list[str]:
        """Every edge of a relay, those of earlier gates included."""
        edges = [edge for tape in self.tapes for edge in tape]
        if self._open:
            edges += self.board.tape.edges
        return [edge.value for edge in edges if (edge.lane, edge.part) == (lane, "relay")]

    def openings(self, lane: str = "north") -> int:
        return sum(edge in ("in", "out") for edge in self.relay(lane))

    def signals(self, lane: str = "north") -> list[tuple[str, str]]:
        """What lamp and buzzer did, in order."""
        parts = ("lamp", "buzzer")
        return [(e.part, e.value) for e in self.board.tape.edges if e.lane == lane and e.part in parts]

    def verdicts(self) -> list[Verdict]:
        return [shot.verdict for shot in self.shots]

    def rows(self) -> list[Stored]:
        return read_rows(self.data)

    def kinds(self) -> list[str]:
        """The kinds of all rows of lanes, in order."""
        return [stored.row.kind for stored in self.rows() if stored.row.lane]


def read_rows(data: Path) -> list[Stored]:
    """Every row on the disk."""
    with RowReader(data / "journal") as reader:
        return [Stored(found.id, decode(found.body), found.code) for found in reader.after(0, 1_000_000)]


def check_replay(data: Path) -> int:
    """Replay every row: same effects, and each lane goes on where its last row left it. Returns how many."""
    setups: dict[str, Setup] = {}
    left: dict[str, Before] = {}
    replayed = 0
    for number, row, _ in read_rows(data):
        if row.kind == "began":
            setups = {setup.name: setup for setup in decode_began(row.text).setups}
            left = {name: _fresh(setup) for name, setup in setups.items()}
        if row.kind == "lost":
            del left[row.lane]
        if row.story is None:
            continue
        found = replay(row.story, setups[row.lane])
        where = f"row {epoch_and_seq(number)} of {row.lane}"
        assert found.same, f"{where}: other effects than then"
        assert left.get(row.lane, found.before) == found.before, f"{where}: the lane was left otherwise"
        left[row.lane] = found.after
        replayed += 1
    return replayed


def _fresh(setup: Setup) -> Before:
    lane, _ = begin(setup)
    return replay(tell_story(lane, (), (), lane), setup).after
