"""`gatepost demo`: a gate on this machine, with a fake board, for typed, piped and scanned codes.

Around it stand a broker, a bridge, a vendor and a second gate (`whole`), unless it is `--alone`. On a
terminal it shows the lanes live. Otherwise standard output gets JSON objects, one a line, and nothing else.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from firmware.catalogue.folder import mark_of_current
from firmware.config import Settings, load
from firmware.config.board import board_settings
from firmware.core.movements import inside
from firmware.core.ticket import Moment, Perimeter
from firmware.demo import pipe, tickets
from firmware.demo.desk import Desk
from firmware.demo.lines import Feed
from firmware.demo.orders import Orders
from firmware.demo.plays import PLAYS, USUAL
from firmware.demo.stage import Stage
from firmware.demo.whole import GATE, PACE, WHOLE, Whole, check_libraries
from firmware.faults import Faults, faults_of
from firmware.history import decode
from firmware.hold import hold
from firmware.lists import import_list
from firmware.rows import RowReader
from firmware.shots import Shot
from firmware.unit import Readers, Refused, Unit, open_unit
from hal.board import open_board, open_reader
from hal.fake import FakeBoard
from hal.frames import LENGTH_LIMIT
from hal.line_reader import LineReader
from hal.watch import monotonic_ms

MADE = (
    "demo-tickets"  # an empty file in the data directory: the tickets there go with the demo's own settings
)
WALK_MS = 1500  # before a person walks, where somebody watches: the open lane can be seen
BAUD_RATE = 9600  # what most serial scanners are set to
TOLD_MAX = 5  # tickets that are named in one sentence

Say = Callable[[str], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the demo can be told."""
    parser.add_argument(
        "--alone",
        action="store_true",
        help="one gate and a list of its own: no broker, bridge or vendor; --tickets, --count and --config "
        "mean it too",
    )
    parser.add_argument(
        "--vendor",
        choices=tuple(PLAYS),
        help=f"whose sandbox stands behind the bridge ({USUAL}, or what --data has)",
    )
    parser.add_argument("--tickets", type=Path, metavar="FILE", help="your own list, CSV or JSON lines")
    parser.add_argument("--count", type=int, metavar="N", help=f"tickets to make ({tickets.COUNT:,})")
    parser.add_argument("--config", type=Path, metavar="FILE", help="your own lanes and policies (gate.toml)")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="keep catalogue and journal here across runs"
    )
    parser.add_argument("--serial", type=Path, metavar="DEVICE", help="a real scanner for the first lane")
    parser.add_argument("--baud", type=int, metavar="N", help=f"speed of the scanner's line ({BAUD_RATE})")
    parser.epilog = (
        "On a terminal codes are typed, and /help lists the commands. Lines of a pipe are codes for the\n"
        'first lane, or JSON objects such as {"code": "…", "lane": "2", "direction": "out"}; each waits\n'
        "until its lane is ready again. Where standard output is no terminal it gets one JSON object a\n"
        "scan. Without --alone the lines of a pipe may be commands too, and there are objects with what was\n"
        '"told": checking, receipt, vendor, status, sell, refund, check-in, change, copy, report, ended.\n'
        "Exit code 1: a list was refused, or a line was no scan."
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; returns its exit code. Raises `Refused`, and what settings and stores raise."""
    refuse_what_does_nothing(arguments)
    say = to_terminal if sys.stdout.isatty() else to_standard_error
    with ExitStack() as opened:
        if not is_alone(arguments):
            check_libraries()
            stage = opened.enter_context(Stage())
            opened.enter_context(stage.signals())
            data = opened.enter_context(folder(arguments.data))
            vendor = vendor_of(arguments.vendor, data)
            whole = opened.enter_context(Whole(vendor, data, say, stage.bell.ring))
            return play(arguments, stage, whole.settings, data, say, whole)
        if arguments.vendor:
            raise Refused("--vendor: a gate alone has none: leave it out, or what makes it a gate alone")
        settings = settings_for(arguments)._replace(brokers=())  # those of a venue are no playground
        refuse_second_reader_of_lines(settings)
        stage = opened.enter_context(Stage())
        opened.enter_context(stage.signals())
        data = opened.enter_context(folder(arguments.data))
        if not catalogue_is_ready(arguments, data, settings, say):
            return 1
        return play(arguments, stage, settings, data, say)


def is_alone(arguments: argparse.Namespace) -> bool:
    """Whether this is about one gate: it was said, or follows from an option or from the data.

    A data directory goes on as it began. Raises `Refused`.
    """
    alone = arguments.alone or arguments.tickets or arguments.count is not None or arguments.config
    if arguments.data is None:
        return bool(alone)
    if (arguments.data / WHOLE).exists():
        if alone:
            raise Refused(
                f"{arguments.data}: belongs to a whole demo: choose another --data, or leave --alone, "
                "--tickets, --count and --config out"
            )
        return False
    return bool(alone or mark_of_current(arguments.data / "catalogue"))


def vendor_of(named: str | None, data: Path) -> str:
    """The vendor that was named, or that the data have. Raises `Refused` where these are two."""
    path = data / WHOLE
    had = (path.read_text("utf-8").strip() or USUAL) if path.exists() else ""
    if had and had not in PLAYS:
        raise Refused(f"{path}: names no vendor of the demo: choose another --data")
    if named and had and named != had:
        raise Refused(
            f"{data}: has {PLAYS[had].title} for its vendor: choose another --data, or leave it out"
        )
    return named or had or USUAL


def refuse_what_does_nothing(arguments: argparse.Namespace) -> None:
    """Options that contradict each other or have no effect. Raises `Refused`."""
    if arguments.count is not None and arguments.tickets:
        raise Refused("--count: tickets are made only without --tickets: leave one of the two out")
    if arguments.count is not None and not 1 <= arguments.count <= tickets.COUNT_MAX:
        raise Refused(f"--count {arguments.count}: not between 1 and {tickets.COUNT_MAX:,}")
    if arguments.baud is not None and not arguments.serial:
        raise Refused("--baud: there is no scanner to set: name it with --serial")
    if arguments.count is not None and arguments.data and mark_of_current(arguments.data / "catalogue"):
        raise Refused(f"--count: there are tickets in {arguments.data} already: leave it out")


def settings_for(arguments: argparse.Namespace) -> Settings:
    """The file that was named; for a list of the user's own, all defaults; for made tickets, theirs.

    A data directory remembers that its tickets were made. The board is the demo's own, whatever the file
    names: it is tried out before there are any wires. Raises `SettingsError`.
    """
    if arguments.config:
        return load(arguments.config)._replace(board="fake", board_file="")
    made = arguments.data is None or not mark_of_current(arguments.data / "catalogue")
    made = made or (arguments.data / MADE).exists()
    return tickets.settings_of_demo() if made and not arguments.tickets else load(None)


def refuse_second_reader_of_lines(settings: Settings) -> None:
    """Standard input can be read by one. Raises `Refused`."""
    for lane in settings.lanes:
        if any(reader.options.get("path") == "-" for reader in lane.readers):
            raise Refused(
                f'lane "{lane.setup.name}": its reader takes standard input, as the demo does: take it out'
            )


@contextmanager
def folder(data: Path | None) -> Iterator[Path]:
    """The data directory: the one that was named, or one that is gone afterwards."""
    if data is not None:
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="gatepost-demo-") as temporary:
        yield Path(temporary)


def to_terminal(text: str) -> None:
    """Something for the person at the terminal, above what is drawn there."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def to_standard_error(text: str) -> None:
    """Something for people, beside a standard output that belongs to a program."""
    if sys.stderr is None:  # closed by who started the demo
        return
    with suppress(OSError):  # nobody listens
        sys.stderr.write(f"gatepost: {text}\n")
        sys.stderr.flush()


def catalogue_is_ready(arguments: argparse.Namespace, data: Path, settings: Settings, say: Say) -> bool:
    """Put tickets there. False where the list was refused, and then nothing has changed."""
    catalogue = data / "catalogue"
    with hold(data):
        if arguments.tickets:
            report = import_list(
                arguments.tickets, catalogue, timezone=settings.timezone, progress=progress_of_list()
            )
            for sentence in report.sentences():
                say(f"{arguments.tickets}: {sentence}")
            if report.applied:
                (data / MADE).unlink(missing_ok=True)
            return report.applied
        if mark_of_current(catalogue):
            say(f"the tickets in {data} are used as they are; --tickets FILE puts others there")
            return True
        count = arguments.count or tickets.COUNT
        began_s = time.perf_counter()
        tickets.make(catalogue, count, settings, time.time_ns() // 1_000_000)
        if not arguments.config:
            (data / MADE).touch()
        say(f"{count:,} tickets made in {time.perf_counter() - began_s:.1f} s")
    return True


def progress_of_list() -> Callable[[int, int], None] | None:
    """Per cent of a long list on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        return None

    def progress(done: int, total: int) -> None:
        if done < total:
            sys.stderr.write(f"\rreading the list: {100 * done // total:3} %")
        else:
            sys.stderr.write("\rputting it into use    \n")

    return progress


def play(
    arguments: argparse.Namespace,
    stage: Stage,
    settings: Settings,
    data: Path,
    say: Say,
    whole: Whole | None = None,
) -> int:
    """Open the gate and show it; returns the exit code."""
    typed = sys.stdout.isatty() and sys.stdin is not None and sys.stdin.isatty()
    walk_ms = WALK_MS if typed else 0
    with ExitStack() as opened:
        board = open_board("fake", {**board_settings(settings), "after_ms": walk_ms})
        assert isinstance(board, FakeBoard)
        opened.enter_context(board)
        readers = opened.enter_context(scanner(arguments, settings))
        orders = Orders(whole) if whole else None

        def watch(shot: Shot) -> None:
            if whole and orders:
                whole.watch(shot)
                orders.last_code = shot.code
            stage.watch(shot)

        unit = opened.enter_context(
            open_unit(
                settings,
                data,
                board=board,
                readers=readers,
                trusted=lambda: True,
                watch=watch,
                changed=stage.changed,
                outcome=whole.outcome if whole else lambda _: None,
                pace=PACE if whole else None,
                root=whole.computer(GATE) if whole else Path("/"),
            )
        )
        faults = Faults(lambda: {**faults_of(unit), **(whole.faults() if whole else {})})
        stage.inside = people_inside(data / "journal")
        for sentence in opening_words(unit, faults, data if arguments.data else None):
            say(sentence)
        gate = opened.enter_context(stage.running(unit))
        desk = Desk(stage, gate, board, walk_ms)
        if whole and orders:
            desk = Desk(stage, gate, board, walk_ms, orders.commands, orders.help())
            whole.begin(unit, partial(go_on, stage))
            for sentence in words_of_the_whole(whole, orders):
                say(sentence)
        if typed:
            from firmware.demo import terminal

            terminal.play(stage, board, faults, desk, whole)
            mistakes = 0
        else:
            endless = bool(readers) or any(lane.readers for lane in settings.lanes)
            entering = feed_of_standard_input(stage, settings, say, endless, desk if whole else None)
            feed = opened.enter_context(entering)
            play_feed(stage, board, faults, feed, say, whole)
            mistakes = feed.mistakes
        if whole:
            say(whole.last_words(kept=bool(arguments.data)))
    kept = f"; kept in {data}" if arguments.data else ""
    say(f"admitted {stage.admitted}, refused {stage.refused}, inside {stage.inside}{kept}")
    return 1 if mistakes else 0


def go_on(stage: Stage, pause_ms: int) -> bool:
    """Wait a moment; False where the demo is to end."""
    stage.wait(None, pause_ms)
    return not stage.over


def words_of_the_whole(whole: Whole, orders: Orders) -> Iterator[str]:
    """What to know of the parts, and codes to try."""
    yield from whole.opening_words()
    yield from codes_to_try(orders.samples())


def codes_to_try(samples: Mapping[str, list[str]]) -> Iterator[str]:
    """A line for each thing that the gate would say."""
    yield "codes to try:"
    for word, codes in samples.items():
        blanks = any(" " in code for code in codes)  # then nobody would see where one ends
        for together in codes if blanks else ("   ".join(codes),):
            yield f"  {word:<14} {together}"


def play_feed(
    stage: Stage, board: FakeBoard, faults: Faults, feed: Feed, say: Say, whole: Whole | None
) -> None:
    """Show what the feed plays, to a person or to a program."""
    if sys.stdout.isatty():
        from firmware.demo import terminal

        terminal.play(stage, board, faults, feed, whole)
    else:
        pipe.play(stage, feed, faults, say, whole)


@contextmanager
def scanner(arguments: argparse.Namespace, settings: Settings) -> Iterator[Readers]:
    """The scanner that was named, for the first lane."""
    if not arguments.serial:
        yield {}
        return
    device = str(arguments.serial.absolute())
    with open_reader("serial", {"device": device, "baud_rate": arguments.baud or BAUD_RATE}) as reader:
        yield {settings.lanes[0].setup.name: [(reader, None)]}


@contextmanager
def feed_of_standard_input(
    stage: Stage, settings: Settings, say: Say, endless: bool, desk: Desk | None
) -> Iterator[Feed]:
    """Lines of standard input. They may be longer than a code, for all that stands around it in JSON."""
    with ExitStack() as opened:
        stream = sys.stdin.buffer if sys.stdin else opened.enter_context(Path(os.devnull).open("rb"))
        lines = LineReader(stream, length_max=LENGTH_LIMIT)
        setups = {lane.setup.name: lane.setup for lane in settings.lanes}
        yield opened.enter_context(Feed(stage, lines, setups, say, endless, desk))


def people_inside(journal: Path) -> int:
    """How many are inside already, as earlier runs left it."""
    with RowReader(journal) as reader:
        return sum(inside(decode(history), Perimeter.OUTER) for _, history in reader.histories())


def opening_words(unit: Unit, faults: Faults, kept: Path | None) -> Iterator[str]:
    """What to know before the first scan: lanes, codes to try, and how to pull the plug."""
    settings, catalogue = unit.settings, unit.catalogue
    lanes = ", ".join(f"{lane.setup.name} ({lane.setup.direction or 'both ways'})" for lane in settings.lanes)
    yield f"lanes: {lanes}; {catalogue.count:,} tickets; epoch {unit.journal.epoch} of the journal"
    for lane in settings.lanes:
        if not lane.setup.sensor:
            seconds = lane.setup.unlock_ms / 1000
            yield f'lane "{lane.setup.name}" has no sensor: it is open for {seconds:g} s after each admission'
    if unit.journal.unsettled:
        names = [movement.subject for movement in unit.journal.unsettled]
        more = ", …" if len(names) > TOLD_MAX else ""
        yield f"not settled when the last run ended: {', '.join(names[:TOLD_MAX])}{more}"
        yield "  that counts as used, and no lane opens for it again"
    yield from faults.news()
    if catalogue.source == tickets.SOURCE:
        now = Moment(monotonic_ms(), time.time_ns() // 1_000_000, True)
        yield from codes_to_try(tickets.samples(settings, unit.gate.facts, now, catalogue.count))
    if sys.stdin and sys.stdin.isatty() and not sys.stdout.isatty():
        yield "type codes, each on a line of its own; Ctrl-D ends"
    where = f"start again with --data {kept}:" if kept else "with --data DIR"
    yield f"to pull the plug: kill -9 {os.getpid()}; {where} nothing is lost"
