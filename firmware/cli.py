"""The `gatepost` command: a gate, a bridge, a stand-in for a vendor, and all of them together.

Nothing is imported before the command is known, so that each starts as fast as it can. Exit codes: 0 done,
1 a finding (a list refused, a journal that is not as the core makes it), 2 wrong use or a start refused.
What goes wrong is said on standard error, in lines that name the thing and the mend.
"""

import argparse
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import tzinfo
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import NoReturn

from firmware.command_line import DONE, FINDING, INTERRUPTED, REFUSED, WrongUse, number

UNHEARD = 128 + signal.SIGPIPE

# What may happen to a command that is used rightly, and the mend where its text has none. By name, because
# the modules that define these are imported late.
EXPECTED = {
    "firmware.bridge.bam_identity.IdentityUnusable": "",
    "firmware.bridge.database.ForeignLedger": "",
    "firmware.bridge.database.LedgerLost": "",
    "firmware.bridge.feed.FeedKeyChanged": "",
    "firmware.bridge.health_page.CannotServe": "",
    "firmware.bridge.sandbox.command.PortUnusable": "",
    "firmware.bundle.BundleUnusable": "",
    "firmware.catalogue.folder.CatalogueError": "",
    "firmware.config.SettingsError": "",
    "firmware.fleet.folder.FleetUnusable": "",
    "firmware.fleet.operator_line.NoConnection": "",
    "firmware.hold.Held": "",
    "firmware.history.NoRoom": "make room on the disk",
    "firmware.row.Unreadable": "it was written by a later release, or is damaged",
    "firmware.rows.Damaged": "it is no journal, or damaged; a gate that starts sets a damaged one aside",
    "firmware.signing.OperatorsUnusable": "",
    "firmware.rows.Unwritable": "make room on the disk, and see whether it can be written to",
    "firmware.unit.Refused": "",
    "firmware.venue_key.KeyUnusable": "",
    "hal.setting_error.SettingError": "",
}
OURS = ("firmware", "hal", "")  # modules that are not there by a fault of ours
MENDS = {
    errno.EEXIST: "name a folder",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "name a file",
    errno.EACCES: "run as the user who owns it",
    errno.EPERM: "run as the user who owns it",
    errno.ENOSPC: "make room on the disk",
    errno.EROFS: "choose a folder that can be written to",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows no umlauts is no fault
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # for what is left in the buffer
        return UNHEARD
    except Exception as error:
        lines = expected(error)
        if not lines:
            raise
        for line in lines:
            complain(line)
        return REFUSED


def expected(error: Exception) -> list[str]:
    """What to tell a person about this error; nothing where it is a fault of the program."""
    if isinstance(error, WrongUse):
        return [str(error)]
    for kind in type(error).__mro__:
        mend = EXPECTED.get(f"{kind.__module__}.{kind.__name__}")
        if mend is not None:
            *lines, last = str(error).splitlines() or [kind.__name__]
            return [*lines, f"{last}: {mend}" if mend else last]
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] not in OURS:
        return [f'{error.name} is not installed: pip install "gatepost[{extra_with(error)}]"']
    if isinstance(error, OSError) and error.strerror:
        mend = MENDS.get(error.errno or 0, "")
        said = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        return [f"{said}: {mend}" if mend else said]
    return []


def extra_with(error: ModuleNotFoundError) -> str:
    """Which part of the product has this package: that of the file which wanted it."""
    if error.name == "iotcore":  # the demo's broker, which no part that is put to use has
        return "dev"
    at = error.__traceback__
    while at is not None:
        if str(at.tb_frame.f_globals.get("__name__", "")).startswith("firmware.bridge."):
            return "bridge"
        at = at.tb_next
    return "gate"


def complain(line: str) -> None:
    """One line for people, on standard error, with nothing in it that could change a terminal."""
    seen = "".join(char if char.isprintable() else "?" for char in line)
    with suppress(OSError):  # nobody listens, and a gate must not stop for that
        print(f"gatepost: {seen}", file=sys.stderr, flush=True)


# --- what was asked for ------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments."""

    def error(self, message: str) -> NoReturn:
        """Exit."""
        complain(f"{message} (see {self.prog} --help)")
        sys.exit(REFUSED)


class ShowVersion(argparse.Action):
    """Looks the version up only when asked for it."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> None:
        """Print it and exit."""
        from importlib.metadata import version

        print(f"gatepost {version('gatepost')}")
        parser.exit(DONE)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, with the function that carries them out as `run`. Exits where they are wrong."""
    parser = Parser(prog="gatepost", description="A ticket gate on one machine.", allow_abbrev=False)
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    name = next((word for word in argv if not word.startswith("-")), "")
    if name and name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, 1)
        parser.error(f'no command "{name}"' + (f", did you mean {near[0]}?" if near else ""))
    for command, (help_text, add_arguments) in COMMANDS.items():
        described = commands.add_parser(
            command,
            help=help_text,
            description=help_text[0].upper() + help_text[1:] + ".",
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if command == name:
            add_arguments(described)
    return parser.parse_args(argv)


def add_demo(parser: argparse.ArgumentParser) -> None:
    """The demo knows its own arguments."""
    from firmware import demo

    demo.add_arguments(parser)
    parser.set_defaults(run=demo.run)


def add_gate(parser: argparse.ArgumentParser) -> None:
    """`gatepost gate`."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings (gate.toml)")
    add_data(parser, "catalogue, journal and key of this gate; made where there is none")
    parser.set_defaults(run=run_gate)


def add_release(parser: argparse.ArgumentParser) -> None:
    """`gatepost release`."""
    parser.add_argument("--board", type=Path, required=True, metavar="FILE", help="board file (board.toml)")
    parser.add_argument(
        "--in-force",
        type=Path,
        metavar="FILE",
        help="that of a gate with settings from elsewhere, if it is there",
    )
    parser.set_defaults(run=run_release)


def add_wiring(parser: argparse.ArgumentParser) -> None:
    """`gatepost wiring`."""
    parser.add_argument("--board", type=Path, required=True, metavar="FILE", help="board file (board.toml)")
    parser.set_defaults(run=run_wiring)


def add_import(parser: argparse.ArgumentParser) -> None:
    """`gatepost import`."""
    parser.add_argument(
        "list", type=Path, metavar="FILE", help="CSV or JSON lines; only the column code is needed"
    )
    add_data(parser, "the gate's data; the gate may be running")
    add_config(parser)
    parser.add_argument("--timezone", metavar="ZONE", help="instead of that of the settings: Europe/Lisbon")
    parser.add_argument("--skip-bad-rows", action="store_true", help="leave bad rows out and take the others")
    parser.add_argument("--allow-empty", action="store_true", help="take a list without rows: nobody gets in")
    parser.set_defaults(run=run_import)


def add_replay(parser: argparse.ArgumentParser) -> None:
    """`gatepost replay`."""
    from firmware import beside

    add_data(parser, "the gate's data, or a copy of it; the gate may be running")
    add_choice(parser)
    parser.set_defaults(run=beside.run_replay)


def add_journal(parser: argparse.ArgumentParser) -> None:
    """`gatepost journal`, with the fields of its JSON lines."""
    from firmware import beside
    from firmware.show_journal import FIELDS

    add_data(parser, "the gate's data, or a copy of it; the gate may be running")
    add_config(parser)
    add_choice(parser)
    parser.add_argument("--follow", action="store_true", help="go on with new rows until Ctrl-C")
    parser.add_argument(
        "--last",
        type=number(0),
        metavar="N",
        help=f"only the last N rows; with --follow {beside.FOLLOW_ROWS} unless --epoch is given",
    )
    parser.add_argument("--json", action="store_true", help="JSON lines on a terminal too")
    fields = "\n".join(f"  {name:<11} {meaning}" for name, meaning in FIELDS.items())
    parser.epilog = f"Fields of a JSON line; null where there is nothing to say:\n{fields}"
    parser.set_defaults(run=partial(beside.run_journal, complain=complain))


def add_lane(parser: argparse.ArgumentParser) -> None:
    """`gatepost lane`."""
    from firmware import beside

    add_data(parser, "the data of the gate that is running")
    add_config(parser)
    parser.add_argument("--lane", metavar="NAME", help="only this lane")
    parser.add_argument("--once", action="store_true", help="print a line for each lane, and end")
    parser.set_defaults(run=partial(beside.run_lane, complain=complain))


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """`gatepost doctor`."""
    from firmware.doctor import command

    command.add_arguments(parser)
    parser.set_defaults(run=partial(command.run, say=partial(print, flush=True), complain=complain))


def add_bridge(parser: argparse.ArgumentParser) -> None:
    """`gatepost bridge`."""
    from firmware.bridge import command

    command.add_bridge(parser)
    parser.set_defaults(run=partial(command.run_bridge, complain=complain))


def add_reports(parser: argparse.ArgumentParser) -> None:
    """`gatepost reports`."""
    from firmware.bridge import command

    command.add_reports(parser)
    parser.set_defaults(run=command.run_reports)


def add_order(parser: argparse.ArgumentParser) -> None:
    """`gatepost order`."""
    from firmware.fleet import order_command

    order_command.add_arguments(parser)
    parser.set_defaults(run=partial(order_command.run, say=partial(print, flush=True)))


def add_settings(parser: argparse.ArgumentParser) -> None:
    """`gatepost settings` knows its own words."""
    from firmware.fleet import settings_command

    settings_command.add_arguments(parser, partial(print, flush=True), complain)


def add_rekey(parser: argparse.ArgumentParser) -> None:
    """`gatepost rekey`."""
    from firmware.bridge import rekey

    rekey.add_arguments(parser)
    parser.set_defaults(run=partial(rekey.run, say=print))


def add_bam(parser: argparse.ArgumentParser) -> None:
    """`gatepost bam` knows its own words."""
    from firmware.bridge import bam_command

    bam_command.add_arguments(parser)


def add_sandbox(parser: argparse.ArgumentParser) -> None:
    """The sandbox knows its own arguments."""
    from firmware.bridge.sandbox import command

    command.add_arguments(parser)
    parser.set_defaults(run=command.run)


def add_watch(parser: argparse.ArgumentParser) -> None:
    """`gatepost watch`."""
    from firmware.fleet import watch

    watch.add_arguments(parser)
    parser.set_defaults(run=partial(watch.run, say=partial(print, flush=True)))


def add_fleet(parser: argparse.ArgumentParser) -> None:
    """`gatepost fleet` knows its own words."""
    from firmware.fleet import command

    command.add_fleet(parser, complain)


def add_enrol(parser: argparse.ArgumentParser) -> None:
    """`gatepost enrol`."""
    from firmware.fleet import command

    command.add_enrol(parser)


def add_take_up(parser: argparse.ArgumentParser) -> None:
    """`gatepost take-up`."""
    from firmware.fleet import command

    command.add_take_up(parser)
    parser.set_defaults(run=partial(command.run_take_up, complain=complain))


def add_data(parser: argparse.ArgumentParser, what: str) -> None:
    """The folder of the gate."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help=what)


def add_config(parser: argparse.ArgumentParser) -> None:
    """The settings, where they matter for the time zone only."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (gate.toml), for the time zone")


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Which rows of a journal."""
    parser.add_argument("--epoch", type=number(1), metavar="N", help="only rows of this process start")
    parser.add_argument("--lane", metavar="NAME", help="only rows of this lane")


COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "demo": ("the whole way on this machine: gates, broker, bridge and a vendor", add_demo),
    "gate": ("run a gate", add_gate),
    "release": ("drive every line of a board inactive and let go of it, after a gate has ended", add_release),
    "wiring": ("draw how a board file is wired, as SVG", add_wiring),
    "import": ("put a list of tickets into use instead of the one before", add_import),
    "replay": ("run a journal through the core once more and compare", add_replay),
    "journal": ("show the journal: a table on a terminal, JSON lines into a pipe", add_journal),
    "lane": ("show on this terminal what the lanes show, in big colours", add_lane),
    "doctor": ("look at a gate, say what is wrong and how to mend it; try its parts", add_doctor),
    "bridge": ("run a bridge: gates on one side, ticketing vendors on the other", add_bridge),
    "reports": ("show what a bridge found that a person should know of", add_reports),
    "rekey": ("give a bridge and its gates another venue key, because a gate was lost", add_rekey),
    "bam": ("B.A.M. Ticketing: fetch a validator, compare counts, a small box office", add_bam),
    "fleet": ("a venue's certificate authority, and who may give orders, in a folder of yours", add_fleet),
    "enrol": ("make the bundle of one gate, for its boot partition", add_enrol),
    "watch": ("show how all gates of a venue are, live on the terminal or once", add_watch),
    "order": ("tell a gate, or all, to do something: open once, shut, restart and more", add_order),
    "settings": ("show what gates work with, compare it with files, and send others", add_settings),
    "take-up": ("put a bundle into use at a gate, and remove it", add_take_up),
    "sandbox": ("a vendor on this machine, to try everything without an account", add_sandbox),
}


# --- gate --------------------------------------------------------------------------------------------


def run_gate(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or Ctrl-C."""
    from firmware.run import run

    return run(arguments.config, arguments.data, complain)


# --- release -----------------------------------------------------------------------------------------


def run_release(arguments: argparse.Namespace) -> int:
    """Release the lines, whatever the gate left behind. It imports next to nothing: a lane may be open."""
    from hal import wiring
    from hal.release import NotReleased, release
    from hal.setting_error import SettingError

    plan = None
    if arguments.in_force is not None and arguments.in_force.exists():
        try:
            plan = wiring.read(arguments.in_force)
        except SettingError as error:
            complain(str(error))
    try:
        done, problems = release(plan or wiring.read(arguments.board)), list[str]()
    except NotReleased as error:
        done, problems = error.done, error.problems
    for line in problems:
        complain(line)
    for line in done:
        print(line)
    return FINDING if problems else DONE


# --- wiring ------------------------------------------------------------------------------------------


def run_wiring(arguments: argparse.Namespace) -> int:
    """Draw a board file on standard output."""
    from hal import wiring
    from hal.wiring_svg import drawing

    print(drawing(wiring.read(arguments.board), arguments.board.name), end="")
    return DONE


# --- import ------------------------------------------------------------------------------------------


def run_import(arguments: argparse.Namespace) -> int:
    """Put a list into use. Standard output gets what came of it, standard error what is wrong with it."""
    from firmware.lists import import_list, make_way

    timezone = timezone_of_list(arguments)
    if not arguments.list.is_file():
        raise WrongUse(f"{arguments.list}: there is no such file: check the path")
    make_way()
    arguments.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with shown_progress() as progress:
        report = import_list(
            arguments.list,
            arguments.data / "catalogue",
            timezone=timezone,
            skip_bad=arguments.skip_bad_rows,
            allow_empty=arguments.allow_empty,
            progress=progress,
        )
    *said, result = report.sentences()
    for line in said:
        complain(line)
    if report.applied:
        print(result)
        return DONE
    complain(f"{arguments.list}: {result}")
    return FINDING


def timezone_of_list(arguments: argparse.Namespace) -> tzinfo:
    """The zone in which dates without one are read."""
    from firmware.config import load
    from firmware.config.values import zone

    if arguments.timezone is None:
        return load(arguments.config).timezone
    found = zone(arguments.timezone)
    if found is None:
        raise WrongUse(
            f"--timezone {arguments.timezone}: there is no such zone: write it as in Europe/Lisbon"
        )
    return found


@contextmanager
def shown_progress() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("reading the list", total=None)

        def progress(done: int, total: int) -> None:
            what = "reading the list" if done < total else "putting it into use"
            bars.update(task, completed=done, total=total, description=what)

        yield progress


if __name__ == "__main__":
    sys.exit(main())
