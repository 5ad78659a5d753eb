"""What is wrong with a gate at the moment, by code and in words, and since when.

`faults_of` looks; `Faults` tells people what has changed; `Register` keeps since when each fault stands,
writes the rows that nobody else writes, and collects what is warned of.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import NamedTuple, Protocol, Self

from firmware import fault_codes
from firmware.catalogue import Catalogue
from firmware.config import Settings
from firmware.core.events import Cause
from firmware.fault_codes import FaultCode
from firmware.gate import HOUSING, Gate
from firmware.journal import Journal
from firmware.measures import Measures
from firmware.ration import Ration
from firmware.row import Row
from hal.ports import Board

LOOK_S = 1.0  # between two looks: a fault that is shorter is the flicker of one that is longer
LINES_MAX = 50  # warnings that nobody has fetched yet; newer ones push older ones out
FAULTS_MAX = 64  # that stand at once; the first of them are the present, and the rest a list nobody reads
TEXT_CHARACTERS_MAX = 256  # as in a message
ALARMS = (Cause.ALARM, Cause.UNACKNOWLEDGED)


class FaultSource(Protocol):
    """What names faults of its own, by the thing."""

    def faults(self) -> dict[str, str]:
        """What is wrong."""


class Keys(Protocol):
    """What proves signed codes."""

    def fault(self) -> str:
        """What is wrong with its keys; "" for nothing."""


class Watched(Protocol):
    """A gate as this file looks at it: a `Unit`."""

    @property
    def settings(self) -> Settings: ...
    @property
    def board(self) -> Board: ...
    @property
    def catalogue(self) -> Catalogue: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def gate(self) -> Gate: ...
    @property
    def uplink(self) -> FaultSource | None: ...
    @property
    def proofs(self) -> Keys | None: ...
    @property
    def measures(self) -> Measures: ...


class Fault(NamedTuple):
    """Something wrong with a thing."""

    code: FaultCode
    thing: str
    text: str


class Standing(NamedTuple):
    """A fault that lasts, and since when."""

    code: FaultCode
    thing: str
    text: str
    since_utc_ms: int


class Line(NamedTuple):
    """A warning."""

    utc_ms: int
    text: str


def faults_of(unit: Watched) -> dict[str, str]:
    """What is wrong, by the thing, the present before the past; what needs no mend any more stays."""
    return {fault.thing: fault.text for fault in found_in(unit)}


def found_in(unit: Watched) -> Iterator[Fault]:
    """What is wrong, the present before the past. Reads memory only."""
    gate, journal = unit.gate, unit.journal
    yield from _of_lanes(unit)
    noted = list(journal.faults)
    if (fault := journal.fault) and fault not in noted:
        text = f"the journal takes no rows: {fault}"
        yield Fault(fault_codes.JOURNAL_UNWRITABLE, "the journal", text)
    if not gate.clock.trusted:
        text = "the clock is not trusted: see clock_untrusted for what becomes of dates"
        yield Fault(fault_codes.CLOCK_UNTRUSTED, "the clock", text)
    if gate.clock.alone:
        text = "no time server keeps the clock right: it goes on by itself, for a week at most"
        yield Fault(fault_codes.TIME_SERVER_LOST, "the time server", text)
    yield from _of_catalogue(unit)
    if unit.proofs is not None and (fault := unit.proofs.fault()):
        yield Fault(fault_codes.KEYS_MISSING, "signatures", f"signatures: {fault}")
    for thing, text in unit.uplink.faults().items() if unit.uplink is not None else ():
        yield Fault(fault_codes.of_uplink(thing), thing, text)
    yield from _of_computer(unit.measures)
    for text in noted:
        yield Fault(fault_codes.JOURNAL_TROUBLE, text, text)
    for hazard in unit.board.hazards:
        yield Fault(fault_codes.WIRING, f"wiring: {hazard}", f"wiring: {hazard}")
    for code, count, what in (
        (
            fault_codes.TURNS_LOST,
            gate.dropped,
            "scans or orders were not answered: the loop was too far behind",
        ),
        (
            fault_codes.ROWS_LOST,
            gate.lost_rows,
            "rows were lost: the disk hung, and the memory for them was full",
        ),
        (
            fault_codes.PARTS_FAILED,
            gate.part_failures,
            "times a turnstile, lamp or buzzer failed: see gatepost journal",
        ),
    ):
        if count:
            yield Fault(code, what, f"{count:,} {what}")


def _of_lanes(unit: Watched) -> Iterator[Fault]:
    gate = unit.gate
    for part, text in [*gate.part_faults.items(), *gate.broken.items()]:
        yield Fault(fault_codes.of_part(part), part, f"{part}: {text}")
    for settings in unit.settings.lanes:
        name = settings.setup.name
        if any(cause in gate.lane(name).standing.free for cause in ALARMS):
            yield Fault(fault_codes.ALARM, f"alarm {name}", f"lane {name} is free: alarm")


def _of_catalogue(unit: Watched) -> Iterator[Fault]:
    catalogue, limit_ms = unit.catalogue, unit.settings.catalogue_stale_ms
    if catalogue.fault:
        yield Fault(fault_codes.CATALOGUE_DAMAGED, "the catalogue", f"the catalogue: {catalogue.fault}")
    age_ms = unit.gate.clock.floor_utc_ms - catalogue.stamp_utc_ms
    if limit_ms is not None and age_ms > limit_ms:
        text = "the catalogue is older than the settings allow: see the bridge and its vendors"
        yield Fault(fault_codes.CATALOGUE_STALE, "the catalogue's age", text)


def _of_computer(measures: Measures) -> Iterator[Fault]:
    latest = measures.latest
    if measures.hangs:
        text = "the disk does not answer: change the card"
        yield Fault(fault_codes.DISK_HANGS, "the disk", text)
    if latest.disk_full:
        yield Fault(fault_codes.DISK_FULL, "room on the disk", "the disk is full: make room on it")
    if latest.memory_short:
        yield Fault(fault_codes.MEMORY_SHORT, "memory", "memory runs out: restart the gate, and report it")
    if latest.under_voltage:
        text = "the supply is too weak: change the supply or its cable"
        yield Fault(fault_codes.UNDER_VOLTAGE, "the supply", text)
    if latest.too_hot:
        text = "the processor slows down for heat: shade it, or give it air"
        yield Fault(fault_codes.TOO_HOT, "the processor", text)


class Faults:
    """Looks for faults, and tells what has come and what has gone since the last look.

    `look` says what is wrong, by the thing (`faults_of` a gate). One thread asks for news.
    """

    def __init__(self, look: Callable[[], Mapping[str, str]], now_s: Callable[[], float] = time.monotonic):
        self._look = look
        self._ration = Ration("more faults than are told in a minute: see gatepost journal", now_s)
        self._known: Mapping[str, str] = {}

    def present(self) -> list[str]:
        """Every fault there is; it stays news to those who ask for news."""
        return list(self._look().values())

    def news(self) -> list[str]:
        """A line for each change, but no more in a minute than a person reads."""
        known, self._known = self._known, self._look()
        return self._ration.of(list(_changes(known, self._known)))


def _changes(known: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    """A line for each fault that is new, has changed, or is over."""
    for thing, text in found.items():
        if known.get(thing) != text:
            yield f"fault: {text}"
    for thing in known:
        if thing not in found:
            yield over(thing)


def over(thing: str) -> str:
    """That a fault of this thing has ended."""
    return f"{thing} {'closed again' if thing == HOUSING else 'works again'}"


class Register:
    """Which faults stand, and since when. Entering starts its thread, which looks every second.

    A fault that comes and goes keeps its rows and warnings within a ration; its presence is always true.
    """

    def __init__(
        self,
        look: Callable[[], Iterator[Fault]],
        utc_ms: Callable[[], int],
        note: Callable[[str], None],
        written: Collection[str] = (),
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`look` reads memory only; `note` has the loop write a row of kind `fault`.

        `written` are texts that are rows already: what was wrong at the start.
        """
        self._look, self._utc_ms, self._note = look, utc_ms, note
        self._written = frozenset(written)
        self._rows = Ration("more faults than are written in a minute", now_s)
        self._warned = Ration("more warnings than are sent in a minute: see the journal", now_s)
        self._lock = threading.Lock()
        self._lines: deque[Line] = deque()
        self._pushed_out = self._told_dropped = 0
        self.standing: tuple[Standing, ...] = ()
        """What stands, as of the last look."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="register", daemon=True)

    def turn(self) -> None:
        """Look once."""
        known = {each.thing: each for each in self.standing}
        found: dict[str, Standing] = {}
        now_ms = self._utc_ms()
        for code, thing, text in self._look():
            if len(found) >= FAULTS_MAX:
                break
            before = known.get(thing)
            since_ms = before.since_utc_ms if before is not None else now_ms
            found[thing] = Standing(code, thing, plain(text), since_ms)
        self.standing = tuple(found.values())
        new = [each for thing, each in found.items() if thing not in known]
        gone = [each for thing, each in known.items() if thing not in found]
        ends = [(each.code, over(each.thing)) for each in gone]
        changes = [*((each.code, each.text) for each in new), *ends]
        rows = [each.text for each in new if not each.code.noted[0] and each.text not in self._written]
        rows += [text for code, text in ends if not code.noted[1]]
        for text in self._rows.of(rows):
            self._note(text)
        self._warn(now_ms, [f"{code.code}: {text}" for code, text in changes])

    def _warn(self, now_ms: int, texts: list[str]) -> None:
        with self._lock:
            for text in self._warned.of(texts):
                self._lines.append(Line(now_ms, plain(text)))
            while len(self._lines) > LINES_MAX:
                self._lines.popleft()
                self._pushed_out += 1

    def take_lines(self) -> tuple[tuple[Line, ...], int]:
        """Warnings that were not taken yet, and how many more there were since the last time. Any thread."""
        with self._lock:
            lines = tuple(self._lines)
            if not lines:
                return (), 0
            self._lines.clear()
            dropped = self._warned.dropped + self._pushed_out
            more, self._told_dropped = dropped - self._told_dropped, dropped
        return lines, more

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self.turn()
            except Exception as error:  # of whoever names faults: it is told, and looked for again
                self._warn(self._utc_ms(), [f"other: the look for faults failed: {type(error).__name__}"])
            self._over.wait(LOOK_S)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(LOOK_S)


def plain(text: str) -> str:
    """As a message takes it: not too long, and no half characters, which names of devices may have."""
    return text[:TEXT_CHARACTERS_MAX].encode(errors="replace").decode()


def noting(gate: Gate, journal: Journal) -> Callable[[str], None]:
    """Has the loop of a gate write rows of kind `fault`."""

    def write(text: str) -> None:
        journal.note(Row("fault", "", gate.clock.now(), text=text))

    return lambda text: gate.do(partial(write, text))
