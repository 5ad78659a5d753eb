"""`gatepost demo`: a whole gate on this machine, with a fake board, for typed, piped and scanned codes.

On a terminal it shows the lanes live. Otherwise standard output gets one JSON object a scan and nothing else.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from firmware.catalogue.folder import mark_of_current
from firmware.config import Settings, load
from firmware.core.movements import inside
from firmware.core.ticket import Moment, Perimeter
from firmware.demo import pipe, tickets
from firmware.demo.desk import Desk
from firmware.demo.lines import Feed
from firmware.demo.stage import Stage
from firmware.faults import Faults, faults_of
from firmware.history import decode
from firmware.lists import import_list
from firmware.rows import RowReader
from firmware.unit import Readers, Refused, Unit, board_settings, hold, open_unit
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
        "scan. Exit code 1: a list was refused, or a line was no scan."
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; returns its exit code. Raises `Refused`, and what settings and stores raise."""
    refuse_what_does_nothing(arguments)
    settings = settings_for(arguments)
    refuse_second_reader_of_lines(settings)
    say = to_terminal if sys.stdout.isatty() else to_standard_error
    with Stage() as stage, stage.signals(), folder(arguments.data) as data:
        if not catalogue_is_ready(arguments, data, settings, say):
            return 1
        return play(arguments, stage, settings, data, say)


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

    A data directory remembers that its tickets were made. Raises `SettingsError`.
    """
    if arguments.config:
        return load(arguments.config)
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


def play(arguments: argparse.Namespace, stage: Stage, settings: Settings, data: Path, say: Say) -> int:
    """Open the gate and show it; returns the exit code."""
    typed = sys.stdout.isatty() and sys.stdin is not None and sys.stdin.isatty()
    walk_ms = WALK_MS if typed else 0
    with ExitStack() as opened:
        board = open_board("fake", {**board_settings(settings), "after_ms": walk_ms})
        assert isinstance(board, FakeBoard)
        opened.enter_context(board)
        readers = opened.enter_context(scanner(arguments, settings))
        unit = opened.enter_context(
            open_unit(
                settings,
                data,
                board=board,
                readers=readers,
                trusted=lambda: True,
                watch=stage.watch,
                changed=stage.changed,
            )
        )
        faults = Faults(partial(faults_of, unit))
        stage.inside = people_inside(data / "journal")
        for sentence in opening_words(unit, faults, data if arguments.data else None):
            say(sentence)
        gate = opened.enter_context(stage.running(unit))
        if typed:
            from firmware.demo import terminal

            terminal.play(stage, board, faults, Desk(stage, gate, board, walk_ms))
            mistakes = 0
        else:
            endless = bool(readers) or any(lane.readers for lane in settings.lanes)
            feed = opened.enter_context(feed_of_standard_input(stage, settings, say, endless))
            play_feed(stage, board, faults, feed, say)
            mistakes = feed.mistakes
    kept = f"; kept in {data}" if arguments.data else ""
    say(f"admitted {stage.admitted}, refused {stage.refused}, inside {stage.inside}{kept}")
    return 1 if mistakes else 0


def play_feed(stage: Stage, board: FakeBoard, faults: Faults, feed: Feed, say: Say) -> None:
    """Show what the feed plays, to a person or to a program."""
    if sys.stdout.isatty():
        from firmware.demo import terminal

        terminal.play(stage, board, faults, feed)
    else:
        pipe.play(stage, feed, faults, say)


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
def feed_of_standard_input(stage: Stage, settings: Settings, say: Say, endless: bool) -> Iterator[Feed]:
    """Lines of standard input. They may be longer than a code, for all that stands around it in JSON."""
    with ExitStack() as opened:
        stream = sys.stdin.buffer if sys.stdin else opened.enter_context(Path(os.devnull).open("rb"))
        lines = LineReader(stream, length_max=LENGTH_LIMIT)
        setups = {lane.setup.name: lane.setup for lane in settings.lanes}
        yield opened.enter_context(Feed(stage, lines, setups, say, endless))


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
        yield "codes to try:"
        for word, codes in tickets.samples(settings, unit.gate.facts, now, catalogue.count).items():
            yield f"  {word:<14} {'   '.join(codes)}"
    if sys.stdin and sys.stdin.isatty() and not sys.stdout.isatty():
        yield "type codes, each on a line of its own; Ctrl-D ends"
    where = f"start again with --data {kept}:" if kept else "with --data DIR"
    yield f"to pull the plug: kill -9 {os.getpid()}; {where} nothing is lost"
