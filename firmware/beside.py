"""Commands that read beside a live gate, or on a copy of its data: the journal, a replay of it, the lanes.

They take no lock that the gate would wait for.
"""

import argparse
import os
import select
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from firmware.command_line import DONE, FINDING, WrongUse

DIFFERENCES_SHOWN = 50  # more nobody reads; all are counted
LINE_LENGTH_MAX = 500  # of a difference: what comes from a journal that was changed may be long
FOLLOW_MS = 100  # a new row shows within a quarter of a second, and looking takes a ten thousandth of it
FOLLOW_ROWS = 10  # shown before the new ones where nothing else was asked for
LOOK_S = 2.0  # between two looks whether the gate still runs


# --- replay ------------------------------------------------------------------------------------------


def run_replay(arguments: argparse.Namespace) -> int:
    """Name every row that comes out otherwise."""
    from firmware.replay import Replay
    from firmware.row import name_of
    from firmware.signals import visible

    run = Replay(journal_folder(arguments.data), arguments.epoch, arguments.lane)
    started_s = time.perf_counter()
    for difference in run.differences():
        if run.different <= DIFFERENCES_SHOWN:
            print(visible(str(difference), LINE_LENGTH_MAX))
    took_s = time.perf_counter() - started_s
    if arguments.epoch is not None and not run.epochs:
        raise WrongUse(f"{arguments.data}: its journal has no epoch {arguments.epoch}: see gatepost journal")
    if arguments.lane is not None and run.known_lanes and arguments.lane not in run.known_lanes:
        known = ", ".join(sorted(run.known_lanes))
        raise WrongUse(f'no lane "{arguments.lane}" in this journal: it has {known}')
    if run.different > DIFFERENCES_SHOWN:
        print(f"... and {run.different - DIFFERENCES_SHOWN:,} more")
    if run.retained_from:
        print(f"rows before {name_of(run.retained_from)} were dropped by retention")
    print(
        f"rows: {run.rows:,} in {len(run.epochs):,} epochs, {run.replayed:,} replayed, "
        f"{run.different:,} different; {run.rows / max(took_s, 1e-9):,.0f} rows/s"
    )
    return FINDING if run.different else DONE


def journal_folder(data: Path) -> Path:
    """Where the journal is; there must be one."""
    folder = data / "journal"
    if not (folder / "journal.db").is_file():
        raise WrongUse(f"{data}: there is no journal here: check --data")
    return folder


# --- journal -----------------------------------------------------------------------------------------


def run_journal(arguments: argparse.Namespace, complain: Callable[[str], None]) -> int:
    """Show rows, and with `--follow` those that come."""
    from firmware.config import load
    from firmware.show_journal import HEAD, Choice, Lines, as_json, as_row, batches

    timezone = load(arguments.config).timezone if arguments.config else local_timezone()
    newest = arguments.last
    if newest is None and arguments.follow and arguments.epoch is None:
        newest = FOLLOW_ROWS
    choice = Choice(arguments.epoch, arguments.lane, newest)
    folder = journal_folder(arguments.data)
    table = sys.stdout.isatty() and not arguments.json
    wait = wait_while_heard if arguments.follow else None
    lines = Lines(timezone)
    if table:
        print(HEAD)
    for reader, rows in batches(folder, choice, wait, complain):
        for stored in rows:
            line = lines.of(reader, stored)
            print(as_row(line, timezone, os.get_terminal_size(1).columns) if table else as_json(line))
        sys.stdout.flush()
    return DONE


def wait_while_heard() -> bool:
    """Wait a moment. Raises `BrokenPipeError` as soon as nobody reads standard output any more."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # errors and hang-ups are reported without asking
    if output.poll(FOLLOW_MS):
        raise BrokenPipeError
    return True


def local_timezone() -> tzinfo:
    """That of this machine, with its summer times where they are known."""
    from zoneinfo import ZoneInfo

    name = os.environ.get("TZ", "").removeprefix(":")
    try:
        if name:
            return ZoneInfo(name)
        with Path("/etc/localtime").open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError, KeyError):
        return datetime.now().astimezone().tzinfo or UTC


# --- lane --------------------------------------------------------------------------------------------


def run_lane(arguments: argparse.Namespace, complain: Callable[[str], None]) -> int:
    """Show the lanes until Ctrl-C: on a terminal as a page, else as a line for each change."""
    from firmware.config import load
    from firmware.doctor.machine import Machine
    from firmware.doctor.stores import running
    from firmware.lane_page import ROWS_MAX, LanePage
    from firmware.lane_screen import Printed, full_screen
    from firmware.show_journal import Choice, Lines, batches

    timezone = load(arguments.config).timezone if arguments.config else local_timezone()
    folder = journal_folder(arguments.data)
    page = LanePage(Lines(timezone), arguments.lane)
    looked_s, runs = 0.0, False

    def is_running() -> bool:
        nonlocal looked_s, runs
        if time.monotonic() >= looked_s:
            looked_s, runs = time.monotonic() + LOOK_S, running(Machine(), arguments.data) is not None
        return runs

    with ExitStack() as stack:
        drawn = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not arguments.once
        screen = stack.enter_context(full_screen(sys.stdout)) if drawn else Printed(sys.stdout)

        def wait() -> bool:
            if not page.lanes:
                raise WrongUse(no_lane(arguments))
            screen.show(page.sights(is_running()))
            return not arguments.once and wait_while_heard()

        say = (lambda _: None) if drawn else complain  # it would draw over the page
        for reader, rows in batches(folder, Choice(newest=ROWS_MAX), wait, say):
            page.take(reader, rows)
    return DONE


def no_lane(arguments: argparse.Namespace) -> str:
    """Why there is nothing to show."""
    if arguments.lane is None:
        return f"{arguments.data}: its journal names no lanes: start the gate once"
    return f'no lane "{arguments.lane}" in this journal: see gatepost lane --once without --lane'
