"""`gatepost doctor`: its arguments, and what is done about them."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from firmware.command_line import WrongUse
from firmware.config import Settings
from firmware.config.board import board_settings
from firmware.doctor.bench import Bench
from firmware.doctor.check import Check, Verdict, as_json, as_lines, count, worst
from firmware.doctor.codes import READ_S, read_codes
from firmware.doctor.examine import examine, surroundings
from firmware.doctor.fire import Wired, fire
from firmware.doctor.in_force import in_force
from firmware.doctor.machine import Machine
from firmware.doctor.stores import running
from firmware.doctor.watch import watch
from firmware.hold import Held, hold
from hal.board import open_board
from hal.ports import Board, Colour, Way

NO_FAULT, FAULTS = 0, 1
COLOURS = tuple(colour for colour in Colour if colour is not Colour.OFF)

Say = Callable[[str], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings (gate.toml)")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the gate's data; the settings in force there are looked at, and the gate may be running",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--watch", action="store_true", help="show contacts, sensors and codes until Ctrl-C")
    parts.add_argument("--fire", action="store_true", help="fire relays, lamps and buzzers one by one")
    parts.add_argument("--read", action="store_true", help="read one code from each reader")
    parts.add_argument(
        "--calibrate", action="store_true", help="show a code, and find how scanners that type are set"
    )
    parser.add_argument("--yes", action="store_true", help="with --fire: ask nothing (nobody may be there)")
    parser.epilog = (
        "Alone it looks at everything and touches nothing, beside a gate that may be running. The\n"
        "four that try parts need them for themselves: systemctl stop gate\n\n"
        "Exit codes: 0 no fault, 1 a fault, 2 it could not look."
    )


def run(arguments: argparse.Namespace, say: Say, complain: Say) -> int:
    """Look, and say what was found. Raises `SettingsError`, `WrongUse`, `Held`, and what parts raise."""
    if arguments.yes and not arguments.fire:
        raise WrongUse("--yes goes with --fire only: take it out")
    if arguments.json and (arguments.watch or arguments.calibrate):
        raise WrongUse("--watch and --calibrate show things as they go, and --json at the end: take one out")
    aside = complain if arguments.json else say  # a document must stay one
    moves = arguments.watch or arguments.fire or arguments.read or arguments.calibrate
    with in_force(arguments.config, arguments.data, complain, moves) as (settings, name):
        if moves and name != str(arguments.config):
            aside(f"{name} are in force, and not {arguments.config}")
        if arguments.watch:
            with parts_alone(arguments.data), at_work(settings, complain) as bench:
                watch(bench, settings, say)
            return NO_FAULT
        return told(_checks(arguments, settings, name, aside), arguments.json, say)


def _checks(arguments: argparse.Namespace, settings: Settings, name: str, aside: Say) -> Iterator[Check]:
    if arguments.fire:
        person = Nobody() if arguments.yes else Asked(aside)
        with parts_alone(arguments.data), at_work(settings, aside) as bench:
            yield from fire(bench, wired_lanes(settings, bench.board), person)
    elif arguments.read:
        with parts_alone(arguments.data):
            yield from read_codes(settings, READ_S, aside)
    elif arguments.calibrate:
        with parts_alone(arguments.data):
            yield from _calibration(settings, aside)
    else:
        yield from examine(surroundings(time.time), settings, name, arguments.data)


def _calibration(settings: Settings, aside: Say) -> Iterator[Check]:
    if not any(reader.kind == "evdev" for lane in settings.lanes for reader in lane.readers):
        raise WrongUse('--calibrate is for scanners that type: write a [[lane.reader]] with kind = "evdev"')
    from firmware.doctor.calibration import calibration  # its library draws, and nothing else needs it

    yield from calibration(settings, aside)


def told(checks: Iterable[Check], json: bool, say: Say) -> int:
    """Say each check as it comes, or all as one document; the exit code."""
    found = []
    for check in checks:
        found.append(check)
        if not json:
            for line in as_lines([check]):
                say(line)
    say(as_json(found) if json else count(found))
    return FAULTS if worst(found) is Verdict.FAULT else NO_FAULT


# --- parts at work -----------------------------------------------------------------------------------


@contextmanager
def parts_alone(data: Path | None) -> Iterator[None]:
    """Keep a gate from starting meanwhile. Raises `Held` where one runs: the parts are its own."""
    with ExitStack() as stack:
        if data is not None and data.is_dir():
            if gate := running(Machine(), data):
                raise Held(f"{data}: a gate has the parts (process {gate.process}): systemctl stop gate")
            if os.access(data / "lock", os.F_OK) or data.stat().st_uid == os.geteuid():
                stack.enter_context(hold(data))  # never a new file of root's in the gate's folder
        yield


@contextmanager
def at_work(settings: Settings, say: Say) -> Iterator[Bench]:
    """The board of the settings; its lines are inactive again in the end, however that comes.

    Only while the alarm is active the end waits, and whoever does not wait leaves the lanes to `gatepost
    release`, as a gate does. Raises `SettingError`.
    """
    acknowledge = any(lane.setup.acknowledge for lane in settings.lanes)
    board = open_board(settings.board, board_settings(settings))
    with ended_by_signals(), Bench(board, acknowledge) as bench:
        try:
            yield bench
        finally:
            if bench.alarmed:
                until = (
                    "somebody acknowledges it: Ctrl-C" if acknowledge else "it is over (Ctrl-C: leave them)"
                )
                try:
                    say(f"alarm: the lanes are kept free until {until}")
                    bench.wait_until_quiet()
                except BaseException:
                    if settings.board_file:
                        release_when_gone(settings.board_file)
                    raise


def release_when_gone(board_file: str) -> None:
    """What systemd does after a gate: it takes the lines that this process loses, and looks at the alarm.

    It gets the file open: that of a board from afar is gone with this process.
    """
    command = [sys.executable, "-P", "-m", "firmware.cli", "release", "--board", "/dev/stdin"]
    with Path(board_file).open("rb") as file:
        subprocess.Popen(command, stdin=file, start_new_session=True)  # noqa: S603  our own command


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """A terminal that goes would end the process at once and leave a relay drawn: let it end in order."""

    def end(number: int, *_: object) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wired_lanes(settings: Settings, board: Board) -> Mapping[str, Wired]:
    """What there is to fire in each lane: as the board file says, or all there could be."""
    if settings.board_file:
        from hal import wiring

        plan = wiring.read(settings.board_file)
        ways: tuple[Way, ...] = ("in", "out")
        return {
            lane.name: Wired(
                tuple(way for way in ways if lane.opening(way)),
                tuple(colour for colour in COLOURS if str(colour) in lane.lamp),
                lane.buzzer is not None,
            )
            for lane in plan.lanes
        }
    directions = {lane.setup.name: lane.setup.direction for lane in settings.lanes}
    return {
        lane.name: Wired(_ways(directions[lane.name]), COLOURS, True)
        for lane in board.lanes
        if lane.name in directions
    }


def _ways(direction: str | None) -> tuple[Way, ...]:
    if direction is None:
        return ("in", "out")
    return ("in",) if direction == "in" else ("out",)


class Nobody:
    """Nobody stands there, and nobody is asked."""

    def goes_on(self, what: str) -> bool:
        """Everything may be done."""
        return True

    def says(self, question: str) -> bool | None:
        """Nothing."""
        return None


class Asked:
    """Somebody at the keyboard."""

    def __init__(self, say: Say) -> None:
        """Raises `WrongUse` where nobody could answer."""
        self._say = say
        if not sys.stdin.isatty():
            raise WrongUse("--fire asks before each part: use it in a terminal, or with --yes")

    def goes_on(self, what: str) -> bool:
        """Whether this may be done now."""
        return self._answer(what)

    def says(self, question: str) -> bool:
        """Yes or no."""
        return self._answer(question)

    def _answer(self, question: str) -> bool:
        while True:
            self._say(f"{question} [y/n]")
            line = sys.stdin.readline()
            if not line:
                raise KeyboardInterrupt  # the terminal has gone
            if line.strip().lower() in ("y", "yes", "n", "no"):
                return line.strip().lower().startswith("y")
