"""`gatepost bridge` and `gatepost reports`."""

import argparse
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from firmware.bridge.database import Database
from firmware.bridge.ledger import Ledger
from firmware.bridge.service import Bridge, ledger_url, open_bridge
from firmware.bridge.settings import load

LOOK_S = 1.0  # between two looks for faults
REPORTS_AT_ONCE = 200


def add_bridge(parser: argparse.ArgumentParser) -> None:
    """The arguments of `gatepost bridge`."""
    _add_common(parser)


def add_reports(parser: argparse.ArgumentParser) -> None:
    """The arguments of `gatepost reports`."""
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings (bridge.toml)")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="the venue's key, and the ledger where the settings name no other; made where there is none",
    )


def run_bridge(arguments: argparse.Namespace, complain: Callable[[str], None]) -> int:
    """Work until SIGTERM or Ctrl-C; faults and reports are told as they come. Returns the exit code."""
    settings = load(arguments.config)
    over = threading.Event()
    caught: list[int] = []

    def stop(number: int, _: object) -> None:
        caught.append(number)
        over.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with open_bridge(settings, arguments.data, complain) as bridge:
        complain(_ready(bridge))
        told: list[str] = []
        while not over.wait(LOOK_S):
            faults = bridge.fault_lines()
            for line in faults:
                if line not in told:
                    complain(line)
            for line in told:
                if line not in faults:
                    complain(f"over: {line}")
            told = faults
    return 128 + signal.SIGINT if signal.SIGINT in caught else 0


def _ready(bridge: Bridge) -> str:
    counts = bridge.ledger.counts()
    accounts = ", ".join(account.name for account in bridge.accounts) or "none"
    return (
        f"ready: venue {bridge.settings.venue}; accounts {accounts}; {counts.rows:,} rows in the ledger, "
        f"{counts.reports:,} reports"
    )


def run_reports(arguments: argparse.Namespace) -> int:
    """Print every report of the ledger, oldest first."""
    settings = load(arguments.config)
    with Database(ledger_url(settings, arguments.data)) as database:
        ledger, last = Ledger(database, settings.venue, ()), 0
        while found := ledger.reports(last, REPORTS_AT_ONCE):
            for report in found:
                at = datetime.fromtimestamp(report.at_utc_ms / 1000, UTC)
                print(f"{at:%Y-%m-%d %H:%M:%S} UTC  {report.kind}: {report.text}")
            last = found[-1].id
    return 0
