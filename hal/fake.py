"""A board without hardware: the same ports, with physics and a memory. Demo and tests run a whole gate on it.

The physics is that of a tripod. A release lets one person turn the arms once, then they fall shut until the
next release. When a release is taken back, arms that nobody has pushed stay loose for `relock_ms`. What is
freed in both ways stays free. `expect` tells who walks, and how; the tape remembers every edge with its time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Literal, TypeAlias

from hal.fake_parts import FakeBuzzer, FakeContact, FakeLamp, FakePassageSensor, FakeReader
from hal.ports import LaneParts, Part, Turnstile, Way
from hal.schedule import Scheduler
from hal.tape import Tape

PEOPLE_MAX = 1000  # expected at one lane; more is a mistake
LANES_MAX = 4  # what one gate controls
RELOCK_MS = 500  # about what the pawl of a tripod takes to fall in

Relay: TypeAlias = Literal["in", "out", "both", "locked"]
SensorKind: TypeAlias = Literal["way", "passage", "none"]


@dataclass(frozen=True, slots=True)
class Person:
    """What the person does whom a release lets in.

    `through` pushes `after_ms` after the release, `late` that long after the release was taken back,
    `backwards` as `through` but the other way, `stays` never.
    """

    walks: Literal["through", "late", "backwards", "stays"] = "through"
    after_ms: int = 0

    def __post_init__(self) -> None:
        """Hold that nobody walks before the release."""
        if self.after_ms < 0:
            raise ValueError(f"after_ms: {self.after_ms} is before the release")


WALKS_AT_ONCE = Person()


class FakeTurnstile(Turnstile):
    """A relay, three arms and a pawl. Passages come from the scheduler, like interrupts."""

    def __init__(
        self,
        lane: str,
        tape: Tape,
        time: Scheduler,
        turned: Callable[[Way], None] | None,
        relock_ms: int = RELOCK_MS,
        usual: Person = WALKS_AT_ONCE,
    ) -> None:
        self.relay: Relay = "locked"
        self.usual = usual  # walks where nobody else is expected
        self._lane, self._tape, self._time = lane, tape, time
        self._turned = turned
        self._relock_ms = relock_ms
        self._lock = threading.Lock()
        self._loose: frozenset[Way] = frozenset()  # ways in which the arms would give
        self._loose_until_ms: int | None = None  # set while the pawl falls in; None: while the relay holds
        self._expected: deque[Person] = deque()
        self._late: deque[tuple[Person, Way]] = deque(maxlen=PEOPLE_MAX)
        self._closed = False

    def expect(self, *people: Person) -> None:
        """Queue up: each release is taken by the next one."""
        with self._lock:
            if len(self._expected) + len(people) > PEOPLE_MAX:
                raise RuntimeError(f"lane {self._lane}: more than {PEOPLE_MAX} people expected")
            self._expected.extend(people)

    def unlock(self, way: Way | Literal["both"]) -> None:
        """Release the arms. Unlocking what is loose already changes nothing; a used release is given anew."""
        with self._lock:
            if self._closed:
                raise RuntimeError(f"lane {self._lane}: its turnstile is closed")
            if self.relay == way and self._loose:
                return
            self._switch(way)
            self._loose_until_ms = None
            if way == "both":
                self._loose = frozenset(("in", "out"))
                return
            self._loose = frozenset((way,))
            self._walk(self._expected.popleft() if self._expected else self.usual, way)

    def lock(self) -> None:
        """Take the release back; the pawl falls in `relock_ms` later."""
        with self._lock:
            if self.relay == "locked":
                return
            self._switch("locked")
            self._loose_until_ms = self._time.now_ms() + self._relock_ms
            while self._late:
                person, way = self._late.popleft()
                self._time.after(person.after_ms, partial(self.push, way))

    def push(self, way: Way) -> bool:
        """Somebody pushes the arms now; False if they do not give."""
        with self._lock:
            fallen = self._loose_until_ms is not None and self._time.now_ms() >= self._loose_until_ms
            if fallen or way not in self._loose:
                return False
            if self.relay != "both":
                self._loose = frozenset()
            self._tape.add(self._lane, "arm", way)
        if self._turned:
            self._turned(way)
        return True

    def close(self) -> None:
        """Let the relay go: what it held locks."""
        self.lock()
        with self._lock:
            self._closed = True

    def _switch(self, relay: Relay) -> None:
        self.relay = relay
        self._tape.add(self._lane, "relay", relay)

    def _walk(self, person: Person, way: Way) -> None:
        other: Way = "out" if way == "in" else "in"
        match person.walks:
            case "through":
                self._time.after(person.after_ms, partial(self.push, way))
            case "backwards":
                self._time.after(person.after_ms, partial(self.push, other))
            case "late":
                self._late.append((person, way))
            case "stays":
                pass


@dataclass(frozen=True, slots=True)
class FakeLaneSettings:
    """One lane. It has a reader for each way. Raises ValueError, naming the setting.

    `sensor` tells the way of each passage, or only that there was one, or there is none.
    """

    name: str
    ways: tuple[Way, ...] = ("in",)
    sensor: SensorKind = "way"

    def __post_init__(self) -> None:
        """Hold that the lane can be named and walked."""
        if not self.name:
            raise ValueError("name: a lane needs one")
        if not self.ways or len(set(self.ways)) != len(self.ways):
            raise ValueError(f'ways: lane {self.name} needs "in", "out" or both, each once')


@dataclass(frozen=True, slots=True)
class FakeBoardSettings:
    """What all lanes share: whether an alarm contact is wired, and how fast the pawls fall in."""

    alarm: bool = True
    relock_ms: int = RELOCK_MS

    def __post_init__(self) -> None:
        """Hold that a pawl does not fall in before it is let go."""
        if self.relock_ms < 0:
            raise ValueError(f"relock_ms: {self.relock_ms} is below 0")


class FakeLane:
    """The parts of one lane with all that a test does to them."""

    def __init__(
        self, settings: FakeLaneSettings, tape: Tape, time: Scheduler, relock_ms: int, usual: Person
    ) -> None:
        self.name, self.ways = settings.name, settings.ways
        self.readers: Mapping[Way, FakeReader] = {way: FakeReader() for way in settings.ways}
        self.sensor = None if settings.sensor == "none" else FakePassageSensor(settings.sensor == "way")
        turned = self.sensor.see if self.sensor else None
        self.turnstile = FakeTurnstile(self.name, tape, time, turned, relock_ms, usual)
        self.lamp = FakeLamp(self.name, tape, time)
        self.buzzer = FakeBuzzer(self.name, tape)
        readers = tuple((reader, way) for way, reader in self.readers.items())
        self.parts = LaneParts(self.name, readers, self.turnstile, self.sensor, self.lamp, self.buzzer)

    def scan(self, text: str, way: Way | None = None) -> bool:
        """Hold a code to the reader of this way, or of the lane's first way; False if it does not read."""
        return self.readers[way or self.ways[0]].scan(text)

    def expect(self, *people: Person) -> None:
        """Queue up: each release is taken by the next one."""
        self.turnstile.expect(*people)

    def all_parts(self) -> Iterator[Part]:
        """What has to be closed, the turnstile first."""
        yield from (self.turnstile, *self.readers.values(), self.lamp, self.buzzer)
        if self.sensor:
            yield self.sensor


class FakeBoard(Part):
    """The port `Board`. It takes the scheduler over and closes it. Raises ValueError, naming the setting."""

    def __init__(
        self,
        lanes: Sequence[FakeLaneSettings],
        time: Scheduler,
        *,
        alarm: bool = True,
        relock_ms: int = RELOCK_MS,
        usual: Person = WALKS_AT_ONCE,
    ) -> None:
        names = [lane.name for lane in lanes]
        if not 1 <= len(names) <= LANES_MAX or len(set(names)) != len(names):
            raise ValueError(f"lanes: a gate has 1 to {LANES_MAX}, each with a name of its own, not {names}")
        self.name = "fake"
        self.hazards: tuple[str, ...] = ()
        self.time = time
        self.tape = Tape(time)
        self.fakes = {lane.name: FakeLane(lane, self.tape, time, relock_ms, usual) for lane in lanes}
        self.lanes = tuple(fake.parts for fake in self.fakes.values())
        self.alarm = FakeContact("alarm", self.tape) if alarm else None
        self.tamper = FakeContact("tamper", self.tape)

    def close(self) -> None:
        """Close every part; what was unlocked locks."""
        for part in chain.from_iterable(fake.all_parts() for fake in self.fakes.values()):
            part.close()
        for contact in filter(None, (self.alarm, self.tamper)):
            contact.close()
        self.time.close()
