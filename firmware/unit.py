"""Puts a gate together: settings, board, stores and loop, opened in order and closed in reverse.

The board comes first and goes last: an alarm frees the lanes before any store is opened, on a disk that may
hang, and for as long as one is being closed.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from firmware.aftermath import NOTHING_LEFT, asks_left, last_trusted, unacknowledged
from firmware.catalogue import Catalogue, CatalogueError
from firmware.config import LaneSettings, Settings
from firmware.config.board import board_settings
from firmware.core.ticket import History, Moment, Setup, Verdict
from firmware.device import device
from firmware.doctor.machine import Machine
from firmware.facts import STEP_MS_MAX, Clock, Facts, synchronised
from firmware.faults import Register, found_in, noting
from firmware.gate import Gate
from firmware.hold import hold
from firmware.journal import Journal, Retention, Told
from firmware.kept import Kept
from firmware.measures import Measures
from firmware.remembered import Remembered
from firmware.row import Row
from firmware.rows import Rows
from firmware.shots import Shot
from firmware.standby import Standby
from firmware.watchdog import Watchdog
from hal.board import open_board, open_reader
from hal.ports import Board, LaneParts, Reader, Way

if TYPE_CHECKING:  # a gate without a broker need not wait for MQTT to be imported
    from firmware import wire
    from firmware.managed.managed import Changing
    from firmware.mqtt import Broker, Pace
    from firmware.proof import Proofs
    from firmware.uplink import Uplink
    from firmware.uplink.part import Part
    from firmware.uplink.telemetry import Tally

OPERATORS = Path("identity", "operators.toml")  # in the gate's data: whose signatures count
Readers = Mapping[str, Sequence[tuple[Reader, Way | None]]]
Opener = Callable[[str, Mapping[str, object]], Reader]


class Refused(Exception):
    """The gate cannot start; the text names the thing and the mend."""


class Unit(NamedTuple):
    """A gate that is ready to run."""

    settings: Settings
    board: Board
    catalogue: Catalogue
    journal: Journal
    gate: Gate
    measures: Measures
    register: Register
    uplink: "Uplink | None" = None
    """The way to the bridge, where the settings name a broker."""
    proofs: "Proofs | None" = None
    """What proves signed codes, where some route is for such."""


@contextmanager
def open_unit(
    settings: Settings,
    data: Path,
    *,
    board: Board | None = None,
    readers: Readers | None = None,
    trusted: Callable[[], bool] = synchronised,
    watch: Callable[[Shot], None] | None = None,
    changed: Callable[[str], None] | None = None,
    outcome: "Callable[[wire.Outcome], None]" = lambda _: None,
    pace: "Pace | None" = None,
    utc_ns: Callable[[], int] = time.time_ns,
    monotonic_ns: Callable[[], int] = time.monotonic_ns,
    watchdog: Watchdog | None = None,
    complain: Callable[[str], None] = lambda _: None,
    root: Path = Path("/"),
    kept: Kept | None = None,
    config: Path | None = None,
    changing: "Changing | None" = None,
) -> Iterator[Unit]:
    """A gate on this data directory, not started yet; the alarm is listened to already.

    `board` and `readers` come beside those that the settings name (the demo brings its own); `trusted`
    says whether the wall clock `utc_ns` may be believed, and `monotonic_ns` measures what lanes and asks wait
    for; `watch` and `changed` are for the gate. With a broker the uplink is at work already; `outcome` hears
    on its thread what vendors say, and `pace` is its patience with brokers; `complain` tells people why a
    gate that cannot start has not ended yet; below `root` are the files that say what this computer is;
    `kept` has board and readers, where they outlive the unit; `config` is the file of the settings, for the
    doctor; `changing` takes others from elsewhere.
    Raises `Refused`, `Held`, `SettingsError`, and what the stores raise, but not while the alarm is active.
    """
    watchdog = watchdog or Watchdog({})
    with ExitStack() as stack:
        board, standby, opener = _door(settings, board, kept, watchdog, stack)
        clock = Clock(trusted, monotonic_ns, utc_ns)

        def told(news: Told) -> None:
            gate.told(news)

        with standby.kept(complain):
            brokers = _brokers(settings, data)
            stack.enter_context(hold(data))
            operators = _operators(data, changing) if brokers else None
            catalogue, journal, unmarked = _stores(settings, data, clock, told, stack)
            lanes = tuple(_lanes(settings, board, readers or {}, opener, stack))
            left_free = unacknowledged(data / "journal", [setup for setup, _ in lanes])

        proofs = _proofs(settings, data)

        def stale(moment: Moment) -> bool:
            limit_ms = settings.catalogue_stale_ms
            return limit_ms is not None and moment.utc_ms - catalogue.stamp_utc_ms > limit_ms

        def past(subject: str) -> History:
            return clock.past(journal.history(subject))

        def answer(
            scan: int, verdict: Verdict, text: str, doubt: bool, digest: bytes, unreached: bool
        ) -> bool:
            return gate.answer(scan, verdict, text, doubt, digest, unreached)

        vendors, asked = None, NOTHING_LEFT
        if settings.asks:
            with standby.kept(complain):
                asked = asks_left(data / "journal", [setup for setup, _ in lanes])
        if brokers and (settings.asks or proofs):
            from firmware.uplink.vendors import Vendors

            keys = proofs.keys if proofs else None
            events = tuple(filter(None, settings.policies))
            vendors = Vendors(
                settings.venue, settings.gate_name, answer, lambda: monotonic_ns() / 1e9, keys, events
            )
        tally = _tally() if brokers else None
        gate = Gate(
            lanes,
            standby if board.alarm else None,
            Facts(catalogue, settings, past, vendors, proofs.prove if proofs else None),
            journal,
            clock,
            _each_second(catalogue, proofs, journal, clock),
            stale,
            settings.reader_lost_shuts,
            link=vendors,
            watch=_both(tally, watch),
            changed=changed,
            tamper=board.tamper,
            watchdog=watchdog,
            unacknowledged=left_free,
            left=asked,
        )
        hazards = tuple(f"wiring: {hazard}" for hazard in board.hazards)
        known = (catalogue.fault, unmarked, proofs.fault() if proofs else "", *hazards)
        for fault in filter(None, known):  # only now: the journal tells the gate of them
            journal.note(Row("fault", "", clock.now(), text=fault))
        uplink: Uplink | None = None

        def the_uplink() -> "Uplink":
            assert uplink is not None, "parts ask for it when they are at work"
            return uplink

        measures = Measures(data, Machine(root), lambda: uplink.waiting() if uplink is not None else 0)
        register = Register(
            lambda: found_in(unit), lambda: clock.floor_utc_ms, noting(gate, journal), tuple(journal.faults)
        )
        if tally is not None:
            from firmware import uplink as way
            from firmware.mqtt import PACE
            from firmware.uplink.telemetry import Telemetry

            in_use = partial(_version, changing)
            telemetry = Telemetry(
                gate, catalogue, journal, measures, register, tally, version("gatepost"), in_use
            )
            parts = _parts(
                settings, data, catalogue, journal, gate, the_uplink, operators, stack, config, root, changing
            )
            uplink = way.Uplink(
                settings.venue,
                settings.gate_name,
                version("gatepost"),
                brokers,
                data,
                catalogue,
                journal,
                gate.do,
                clock.now,
                outcome,
                pace or PACE,
                device(tuple(sorted({setup.perimeter for setup, _ in lanes}, reverse=True)), root),
                lambda: clock.trusted,
                vendors,
                (*parts, telemetry),
                whole=bool(unmarked),
                believed=clock.believed,
            )
            stack.enter_context(uplink)
        unit = Unit(settings, board, catalogue, journal, gate, measures, register, uplink, proofs)
        with measures, register:
            yield unit


def _door(
    settings: Settings, board: Board | None, kept: Kept | None, watchdog: Watchdog, stack: ExitStack
) -> tuple[Board, Standby, Opener]:
    """The board with what keeps its lanes, and how readers are opened."""
    if kept is not None:
        table = board_settings(settings)
        return (*kept.board_for(settings.board, table, _named_readers(settings)), kept.reader)
    board = board or open_board(settings.board, board_settings(settings))
    standby = Standby(board, watchdog)
    stack.callback(_close, board, standby)
    return board, standby, open_reader


def _close(board: Board, standby: Standby) -> None:
    """Closing would lock the lanes. What the alarm freed stays as it is: `gatepost release` comes next."""
    if not standby.alarmed:
        board.close()


def _operators(data: Path, changing: "Changing | None") -> Path:
    """The list of those whose signatures count.

    It comes before the journal: a disk that does not take it is tried each second, and each begun epoch would
    take of what the journal keeps in reserve.
    """
    return changing.lay_out_operators() if changing is not None else data / OPERATORS


def _stores(
    settings: Settings, data: Path, clock: Clock, told: Callable[[Told], None], stack: ExitStack
) -> tuple[Catalogue, Journal, str]:
    """Catalogue and journal, and a fault between them.

    The clock is told of what they have seen, and goes on from there if it can.
    """
    catalogue = stack.enter_context(Catalogue(data / "catalogue", now_utc_ms=clock.now().utc_ms))
    clock.now(catalogue.stamp_utc_ms)
    setups = tuple(lane.setup for lane in settings.lanes)
    unconfirmed = not settings.brokers
    retention = Retention(settings.journal_keep_ms, settings.journal_keep_bytes, unconfirmed=unconfirmed)
    fault = ""

    def opened(folder: Path) -> Rows:
        nonlocal fault
        rows = Rows(folder)
        if rows.last_id < max(1, Remembered(data / "epoch").row):  # before a row of the new epoch hides it
            fault = _begin_anew(data, catalogue)
        return rows

    release = version("gatepost")
    journal = Journal(data / "journal", setups, clock.now, retention, release, told, open_rows=opened)
    stack.enter_context(journal)
    if not clock.trusted and (known := last_trusted(data / "journal")) is not None:
        clock.resume(known)
    return catalogue, journal, fault


def _begin_anew(data: Path, catalogue: Catalogue) -> str:
    """The journal is new, or lacks rows, and with them what it had heard. The bridge knows it: have all come.

    Returns why that was not possible.
    """
    from firmware.sync import begin_anew

    try:
        begin_anew(data, catalogue)
    except (CatalogueError, OSError) as error:
        return (
            "the journal lacks movements that the bridge told already. The whole list is fetched for them. "
            f"If this gate restarts before it is here, order it to refresh with --whole: {error}"
        )
    return ""


def _proofs(settings: Settings, data: Path) -> "Proofs | None":
    """What proves signed codes, where some route is for such; others need no cryptography."""
    if not settings.signed:
        return None
    from firmware.proof import EventKeys, Proofs

    return Proofs(settings.signed, EventKeys(data))


def _tally() -> "Tally":
    """Counts what telemetry tells of scans."""
    from firmware.uplink.telemetry import Tally

    return Tally()


def _both(tally: "Tally | None", watch: Callable[[Shot], None] | None) -> Callable[[Shot], None] | None:
    """One that tells both of every finished scan."""
    if tally is None or watch is None:
        return tally or watch

    def both(shot: Shot) -> None:
        tally(shot)
        watch(shot)

    return both


def _parts(
    settings: Settings,
    data: Path,
    catalogue: Catalogue,
    journal: Journal,
    gate: Gate,
    uplink: "Callable[[], Uplink]",
    operators: Path | None,
    stack: ExitStack,
    config: Path | None,
    root: Path,
    changing: "Changing | None",
) -> "tuple[Part, ...]":
    """What lets somebody elsewhere manage this gate, where it knows whose signatures count."""
    if operators is None or not operators.is_file():
        return ()
    from firmware.managed import parts_of

    return parts_of(
        settings, data, catalogue, journal, gate, uplink, operators, stack, config, root, changing
    )


def _version(changing: "Changing | None") -> int:
    """Of the settings in use."""
    return changing.version if changing is not None else 0


def _each_second(
    catalogue: Catalogue, proofs: "Proofs | None", journal: Journal, clock: Clock
) -> Callable[[], None]:
    """Looks whether another list is in use, and what became of the faults of the list and of the keys.

    Also whether time was set back: who reads the journal, or sees a list or an order become good, asks why.
    """
    known_fault, known_unproved = catalogue.fault, proofs.fault() if proofs else ""
    known_utc_ms = journal.newest_utc_ms

    def each_second() -> None:
        nonlocal known_fault, known_unproved, known_utc_ms
        moment = clock.now(catalogue.stamp_utc_ms)  # live changes bring a later one without another list
        if known_utc_ms - moment.utc_ms > STEP_MS_MAX:
            back = timedelta(seconds=round((known_utc_ms - moment.utc_ms) / 1000))
            text = f"set back by {back}: the clock is right now, and was ahead in rows before this one"
            journal.note(Row("clock", "", moment, text=text))
        known_utc_ms = moment.utc_ms
        if catalogue.reload():
            moment = clock.now(catalogue.stamp_utc_ms)
            journal.note(Row("catalogue", "", moment, text=f"catalogue of {catalogue.count} tickets"))
        if catalogue.fault != known_fault:
            known_fault = catalogue.fault
            journal.note(Row("fault", "", clock.now(), text=known_fault or "the catalogue can be read again"))
        unproved = proofs.fault() if proofs else ""
        if unproved != known_unproved:
            known_unproved = unproved
            journal.note(Row("fault", "", clock.now(), text=unproved or "signatures can be checked again"))

    return each_second


def _brokers(settings: Settings, data: Path) -> "tuple[Broker, ...]":
    """With their passwords, so that one that cannot be read is told before anything is opened."""
    if not settings.brokers:
        return ()
    from firmware.mqtt import opened, with_identity

    return tuple(opened(with_identity(broker, data)) for broker in settings.brokers)


def _named_readers(settings: Settings) -> list[tuple[str, Mapping[str, object]]]:
    return [(reader.kind, reader.options) for lane in settings.lanes for reader in lane.readers]


def _lanes(
    settings: Settings, board: Board, readers: Readers, opener: Opener, stack: ExitStack
) -> Iterator[tuple[Setup, LaneParts]]:
    """Each lane with its parts. Its readers count as in the settings; the caller's and the board's follow."""
    parts = {lane.name: lane for lane in board.lanes}
    for lane in settings.lanes:
        name = lane.setup.name
        if name not in parts:
            raise Refused(f'lane "{name}": the board "{board.name}" has no such lane')
        found = (*_opened(lane, opener, stack), *readers.get(name, ()), *parts[name].readers)
        yield lane.setup, replace(parts[name], readers=found)


def _opened(lane: LaneSettings, opener: Opener, stack: ExitStack) -> Iterator[tuple[Reader, Way | None]]:
    for settings in lane.readers:
        reader = stack.enter_context(opener(settings.kind, settings.options))
        yield reader, settings.direction.value
