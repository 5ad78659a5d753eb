"""`gatepost settings`: what gates report of their settings, how a file differs, and sending others."""

import argparse
import time
import tomllib
from collections.abc import Callable, Collection
from difflib import unified_diff
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firmware import wire
from firmware.check_settings import problems_of, problems_of_operators
from firmware.command_line import DONE, FINDING, WrongUse, number
from firmware.config import parse, read_text
from firmware.config.sparse import plain_text, text_of
from firmware.config.values import NAME
from firmware.fleet import folder as fleets
from firmware.fleet.operator_line import Heard, OperatorLine
from firmware.signals import visible
from firmware.signing import Role, key_id, sign
from firmware.wire import SettingsState
from firmware.wire.remote import (
    BOARD_CHARACTERS_MAX,
    OPERATORS_CHARACTERS_MAX,
    SETTINGS_CHARACTERS_MAX,
)

ALL = "*"
TEXT_MAX = 256  # characters, as the wire has it
REPORTS_S = 3.0  # the broker tells them with the subscription, some milliseconds each
WAIT_S = 180  # a gate has two minutes to come back to health, and waits for a moment between two scans before
WAIT_S_MAX = 3600
OVER = (SettingsState.GOOD, SettingsState.REFUSED, SettingsState.RETURNED)
HELP = """\
A gate takes settings whole or not at all, tries them, and returns to the last good ones by itself where its
readers or its broker do not come back within two minutes. A version that failed is never taken again: mend
the file, and apply it once more. A gate that is not connected finds them when it comes.

Exit codes: 0 done, or no difference; 1 a difference, or settings that are not good at every gate; 2 wrong
use, or no connection to the broker."""


class Sending(NamedTuple):
    """What is to be sent, as the files have it; empty where it stays."""

    settings: str
    board: str
    operators: str


class Reports:
    """What gates report, the last of each."""

    def __init__(self) -> None:
        self.last: dict[str, wire.ReportedSettings] = {}

    def hear(self, heard: Heard) -> None:
        """On the line's thread."""
        if isinstance(heard.message, wire.ReportedSettings):
            self.last[heard.gate] = heard.message


def add_arguments(
    parser: argparse.ArgumentParser, say: Callable[[str], None], complain: Callable[[str], None]
) -> None:
    """The arguments of the command."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, help_text, run in (
        ("show", "show what a gate works with, or with '*' how all of them stand", run_show),
        ("diff", "show how files differ from what a gate works with", run_diff),
        ("apply", "send files to a gate, and wait until it works with them", run_apply),
    ):
        action = actions.add_parser(
            name,
            help=help_text,
            description=help_text[0].upper() + help_text[1:] + ".",
            epilog=HELP,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for_all = "" if name == "diff" else "; '*' for all of the venue"
        action.add_argument("gate", metavar="GATE", help=f"its name{for_all}")
        action.add_argument("--fleet", type=Path, required=True, metavar="DIR", help="the fleet's folder")
        action.add_argument("--as", dest="who", required=True, metavar="NAME", help="the operator")
        if name == "show":
            action.add_argument("--board", action="store_true", help="the board file instead")
        else:
            action.add_argument("--settings", type=Path, metavar="FILE", help="gate.toml")
            action.add_argument("--board", type=Path, metavar="FILE", help="board.toml")
        if name == "apply":
            action.add_argument(
                "--operators", action="store_true", help="the fleet's list of operators, as it is now"
            )
            action.add_argument(
                "--wait",
                type=number(1, WAIT_S_MAX),
                default=WAIT_S,
                metavar="S",
                help="in seconds (default %(default)s)",
            )
        action.set_defaults(run=partial(run, say=say, complain=complain))


# --- looking -----------------------------------------------------------------------------------------------


def run_show(
    arguments: argparse.Namespace, say: Callable[[str], None], complain: Callable[[str], None]
) -> int:
    """The files on standard output, how they stand on standard error. Raises what the folder raises."""
    with _line(arguments, reports := Reports()) as line:
        gates = _gates(arguments, line, reports)
    missing = [gate for gate in gates if gate not in reports.last]
    if arguments.gate == ALL:
        for gate in gates:
            say(_standing(gate, reports.last.get(gate)))
    elif not missing:
        found = reports.last[arguments.gate]
        complain(_standing(arguments.gate, found))
        say((found.board if arguments.board else found.settings).rstrip("\n"))
    else:
        complain(_standing(arguments.gate, None))
    return FINDING if missing or not gates else DONE


def run_diff(
    arguments: argparse.Namespace, say: Callable[[str], None], complain: Callable[[str], None]
) -> int:
    """What would change. Comments and order of a file make no difference."""
    if arguments.gate.endswith(ALL):
        raise WrongUse("a file is compared with one gate: name it")
    wanted = _sending(arguments)
    with _line(arguments, reports := Reports()) as line:
        _gates(arguments, line, reports)
    found = reports.last.get(arguments.gate)
    if found is None:
        complain(_standing(arguments.gate, None))
        return FINDING
    complain(_standing(arguments.gate, found))
    differs = False
    for what, here, there in (
        ("gate.toml", found.settings, wanted.settings),
        ("board.toml", found.board, wanted.board),
    ):
        if there:
            before, after = (text.splitlines() for text in (here, _plain(there, what)))
            names = f"{arguments.gate}: {what}", f"wanted: {what}"
            for text in unified_diff(before, after, *names, lineterm=""):
                differs = True
                say(text)
    return FINDING if differs else DONE


def _standing(gate: str, found: wire.ReportedSettings | None) -> str:
    if found is None:
        return f"{gate}: has reported no settings: was it enrolled, and was it ever connected?"
    parts = [f"{gate}: version {found.version} in use"]
    if found.desired != found.version or found.state not in (SettingsState.GOOD, SettingsState.LOCAL):
        parts.append(f"version {found.desired} {found.state}: {visible(found.text, TEXT_MAX)}")
    else:
        parts.append(found.state)
    if found.failed:
        parts.append(f"failed or refused: {', '.join(map(str, found.failed))}")
    return "; ".join(parts)


# --- sending -----------------------------------------------------------------------------------------------


def run_apply(
    arguments: argparse.Namespace, say: Callable[[str], None], complain: Callable[[str], None]
) -> int:
    """Check, sign, send, and wait for what comes of it."""
    wanted, private = _sending(arguments), _key(arguments)
    fleet = fleets.load(arguments.fleet)
    versions: dict[str, int] = {}
    with _line(arguments, reports := Reports()) as line:
        gates = _gates(arguments, line, reports)
        births = line.gates(gates, REPORTS_S)
        wrong = not gates
        for gate in gates:
            problems = ["has reported no settings: was it enrolled, and was it ever connected?"]
            if (known := reports.last.get(gate)) is not None:
                found = _for_gate(wanted, gate, for_all=arguments.gate == ALL)
                problems = _problems(found, known)
            if problems or known is None:
                for problem in problems:
                    complain(f"{gate}: {problem}")
                wrong = True
                continue
            versions[gate] = version = fleets.next_version(arguments.fleet, gate, int(time.time()))
            desired = wire.DesiredSettings(
                venue=fleet.venue,
                gate=gate,
                key=key_id(private.public_key()),
                version=version,
                settings=found.settings,
                board=found.board,
                operators=found.operators,
            )
            line.send(wire.DESIRED, gate, sign(private, desired))
            complain(f"{gate}: version {version} sent")

        def over() -> bool | None:
            waited = (gate for gate in versions if gate in births)
            return True if all(_came_of(reports, gate, versions[gate]) for gate in waited) else None

        line.wait(over, arguments.wait)
        for gate, version in versions.items():
            came = _came_of(reports, gate, version)
            if came is not None:
                say(f"{gate}: version {version} {came.state}: {visible(came.text, TEXT_MAX)}")
            elif gate not in births:
                say(f"{gate}: is not connected: it finds version {version} when it comes")
            else:
                say(f"{gate}: version {version}: no word yet: see gatepost settings show {gate}")
            wrong = wrong or came is None or came.state is not SettingsState.GOOD
    return FINDING if wrong else DONE


def _came_of(reports: Reports, gate: str, version: int) -> wire.ReportedSettings | None:
    found = reports.last.get(gate)
    return found if found is not None and found.desired == version and found.state in OVER else None


def _for_gate(wanted: Sending, gate: str, *, for_all: bool) -> Sending:
    """A file for all gates gets the name of each. Nothing that is signed comes from a gate's report."""
    if not (for_all and wanted.settings):
        return wanted
    document = tomllib.loads(wanted.settings)
    section = document.setdefault("gate", {})
    if isinstance(section, dict):
        section["name"] = gate
    return wanted._replace(settings=text_of(document))


def _problems(found: Sending, known: wire.ReportedSettings) -> list[str]:
    """As the gate will see it, as far as its report is true."""
    bounds = (
        ("settings", found.settings, SETTINGS_CHARACTERS_MAX),
        ("board file", found.board, BOARD_CHARACTERS_MAX),
        ("list of operators", found.operators, OPERATORS_CHARACTERS_MAX),
    )
    long = [
        f"{what}: {len(text)} characters, not at most {most}"
        for what, text, most in bounds
        if len(text) > most
    ]
    if long or not (found.settings or found.board):
        return long or problems_of_operators(found.operators)
    if not (known.settings or found.settings):
        return ["its settings are too long to be reported, and so to be checked: name --settings as well"]
    own = parse(known.settings or found.settings, "the settings in use")
    return problems_of(found.settings, found.board, found.operators, own, known.board)


# --- the fleet's folder and the files ----------------------------------------------------------------------


def _line(arguments: argparse.Namespace, reports: Reports) -> OperatorLine:
    fleet = fleets.load(arguments.fleet)
    if arguments.gate == f"{fleet.venue}/{ALL}":  # as `gatepost order` takes it
        arguments.gate = ALL
    if arguments.gate != ALL and not NAME.fullmatch(arguments.gate):
        raise WrongUse(f"{arguments.gate!r} is no gate's name: a gate is called as in its gate.toml")
    broker = fleets.operator_broker(arguments.fleet, fleet, arguments.who)
    return OperatorLine(broker, fleet.venue, arguments.who, (wire.REPORTED,), reports.hear)


def _gates(arguments: argparse.Namespace, line: OperatorLine, reports: Reports) -> Collection[str]:
    """Which gates it is about; their reports are there, as far as there are any."""
    if arguments.gate != ALL:
        line.wait(lambda: reports.last.get(arguments.gate), REPORTS_S)
        return [arguments.gate]
    known = {gate.gate for gate in fleets.gates(arguments.fleet) if not gate.revoked}
    line.wait(lambda: True if known and reports.last.keys() >= known else None, REPORTS_S)
    return sorted(known or reports.last)


def _key(arguments: argparse.Namespace) -> Ed25519PrivateKey:
    private = fleets.operator_key(arguments.fleet, arguments.who)
    known = fleets.operators(arguments.fleet).get(key_id(private.public_key()))
    if known is not None and known.role is not Role.SUPERVISOR:
        raise WrongUse(f"{known.name} is a steward: a supervisor may change settings")
    return private


def _sending(arguments: argparse.Namespace) -> Sending:
    """The files. Raises `WrongUse`, `SettingsError`."""
    operators = ""
    if getattr(arguments, "operators", False):
        operators = read_text(fleets.Paths(arguments.fleet).operators)
    wanted = Sending(
        read_text(arguments.settings) if arguments.settings else "",
        read_text(arguments.board) if arguments.board else "",
        operators,
    )
    if not any(wanted):
        raise WrongUse("there is nothing to compare or to send: name --settings or --board")
    for what, text in (("gate.toml", wanted.settings), ("board.toml", wanted.board)):
        _plain(text, what)
    return wanted


def _plain(text: str, what: str) -> str:
    try:
        return plain_text(text)
    except ValueError as error:
        raise WrongUse(f"{what}: is not TOML: {error}") from None
