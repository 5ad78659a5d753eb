"""`gatepost watch`: the fleet on a terminal, live or once."""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from firmware import wire
from firmware.command_line import DONE, FINDING, WrongUse
from firmware.config.values import NAME
from firmware.fleet import folder as fleets
from firmware.fleet.fleet_page import HEADINGS, FleetPage, Row, State, as_json, cells
from firmware.fleet.operator_line import Heard, OperatorLine
from firmware.mqtt import PACE, Broker, Pace

BIRTHS_S = 3.0  # the broker tells them with the subscription, some milliseconds each
TOLD_S = 12.0  # telemetry comes every ten seconds
DRAW_S = 1.0  # ages grow by seconds
JSON_S = 10.0  # between two lines for programs
LOOK_S = 0.05
WIDE = 200  # columns, where the output is no terminal: nothing is cut
STYLES = {
    State.GOOD: "green",
    State.ILL: "bold red",
    State.SILENT: "bold yellow",
    State.ABSENT: "bold magenta",
}
LEFT = 3  # columns with words; those behind them have figures


class Where(NamedTuple):
    """Which broker, as whom, and which gates should be there."""

    broker: Broker
    venue: str
    who: str
    expected: frozenset[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("--fleet", type=Path, metavar="DIR", help="the fleet's folder")
    parser.add_argument("--as", dest="who", metavar="NAME", help="the operator who looks")
    parser.add_argument("--broker", metavar="HOST:PORT", help="instead of a fleet: a broker without TLS")
    parser.add_argument("--venue", metavar="NAME", help="with --broker: the venue")
    parser.add_argument(
        "--once", action="store_true", help="print the table once, when all gates have told (12 s), and end"
    )
    parser.add_argument(
        "--json", action="store_true", help="a list of gates on a line, every 10 s; with --once one line"
    )
    parser.epilog = (
        "The worst gates stand first: not connected, silent (connected, but no word for a minute),\n"
        "fault, ok. "
        "What a fault's code means: deploy/faults.md.\n\n"
        "Exit codes: 0 every gate is ok; 1 one is not, or there is none; 2 wrong use, or no connection."
    )


def run(arguments: argparse.Namespace, say: Callable[[str], None], pace: Pace = PACE) -> int:
    """Watch. Raises `WrongUse`, `FleetUnusable`, `NoConnection`."""
    if not (arguments.once or arguments.json or sys.stdout.isatty()):
        raise WrongUse("standard output is no terminal: add --once or --json")
    where, page = _where(arguments), FleetPage()

    def hear(heard: Heard) -> None:
        page.take(heard, time.monotonic())

    topics = (wire.TELEMETRY, wire.LOG)
    with OperatorLine(where.broker, where.venue, where.who, topics, hear, pace) as line:
        line.gates(where.expected, BIRTHS_S)
        if not arguments.once and not arguments.json:
            return _live(line, page, where)
        while True:
            line.wait(lambda: page.told(line.births()) or None, TOLD_S, LOOK_S)
            rows = page.rows(line.births(), where.expected, time.monotonic())
            if arguments.json:
                say(as_json(rows))
            else:
                _print(rows, say)
            if arguments.once:
                return verdict(rows)
            threading.Event().wait(JSON_S)


def verdict(rows: Sequence[Row]) -> int:
    """The exit code."""
    return DONE if rows and all(row.state is State.GOOD for row in rows) else FINDING


def _where(arguments: argparse.Namespace) -> Where:
    if arguments.broker is None:
        if arguments.fleet is None or arguments.who is None or arguments.venue is not None:
            raise WrongUse("write --fleet DIR --as NAME, or --broker HOST:PORT --venue NAME")
        fleet = fleets.load(arguments.fleet)
        broker = fleets.operator_broker(arguments.fleet, fleet, arguments.who)
        expected = frozenset(gate.gate for gate in fleets.gates(arguments.fleet) if not gate.revoked)
        return Where(broker, fleet.venue, arguments.who, expected)
    if arguments.fleet is not None or arguments.who is not None or arguments.venue is None:
        raise WrongUse("--broker goes with --venue, and with neither --fleet nor --as")
    host, _, port = arguments.broker.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65_536):
        raise WrongUse(f"--broker {arguments.broker}: write it as in 127.0.0.1:1883")
    if not NAME.fullmatch(arguments.venue):
        raise WrongUse(f"--venue {arguments.venue}: write 1 to 32 of a-z, 0-9, _ and -")
    return Where(Broker(host, int(port)), arguments.venue, "watch", frozenset())


def _live(line: OperatorLine, page: FleetPage, where: Where) -> int:
    """Draw until Ctrl-C."""
    with Live(console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            now_s = time.monotonic()
            rows = page.rows(line.births(), where.expected, now_s)
            live.update(drawn(where.venue, rows, page.warnings, line.faults), refresh=True)
            threading.Event().wait(DRAW_S)


def drawn(
    venue: str,
    rows: Sequence[Row],
    warnings: Collection[tuple[str, str]] = (),
    faults: Collection[str] = (),
) -> Group:
    """The whole page."""
    good = sum(row.state is State.GOOD for row in rows)
    title = Text(f"{venue}: {good} of {len(rows)} gates ok", style="bold")
    said = [Text(f"{gate}: {text}") for gate, text in warnings]
    return Group(title, table_of(rows), *(Text(fault, style="bold red") for fault in faults), *said)


def table_of(rows: Sequence[Row]) -> Table:
    """A line for each gate; its state has a colour and a word."""
    table = Table(box=None, pad_edge=False)
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if number < LEFT else "right", overflow="fold")
    for row in rows:
        texts = [Text(cell) for cell in cells(row)]
        texts[1].stylize(STYLES[row.state])
        table.add_row(*texts)
    return table


def _print(rows: Sequence[Row], say: Callable[[str], None]) -> None:
    """As lines: a terminal has its own width, a file any."""
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    with console.capture() as capture:
        if rows:
            console.print(table_of(rows))
        else:
            console.print("no gate of the venue is connected")
    for text in capture.get().splitlines():
        say(text.rstrip())
