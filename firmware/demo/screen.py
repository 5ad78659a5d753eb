"""The lanes as a person sees them: a picture that stays in its place, or plain lines where it cannot."""

import os
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from firmware.core.ticket import Authority
from firmware.demo.desk import Desk, Walks
from firmware.demo.stage import Stage
from firmware.demo.ways import Told, Way, milliseconds, steps
from firmware.demo.whole import Whole
from firmware.faults import Faults
from firmware.shots import Shot
from firmware.signals import light_and_sound, visible
from hal.fake import FakeBoard, Relay
from hal.ports import Colour

SCANS_SHOWN = 5  # fewer where the terminal has no room for them
LANE_ROWS = 4
WHOLE_ROWS = 2  # of the parts, and of what waits; a lane has one more, too
OTHER_ROWS = 6  # counts, a fault, a notice, the keys, the line that is typed, and one to spare
CODE_SHOWN = 24  # characters
TYPED_SHOWN = 50  # characters, the last ones of the line
STYLES: Mapping[Colour, str] = {
    Colour.RED: "bold red",
    Colour.GREEN: "bold green",
    Colour.YELLOW: "bold yellow",
    Colour.BLUE: "bold blue",
    Colour.WHITE: "bold",
    Colour.OFF: "dim",
}
RELAYS: Mapping[Relay, str] = {
    "locked": "relay locked",
    "in": "relay OPEN in",
    "out": "relay OPEN out",
    "both": "relay FREE both ways",
}
WALKS: Mapping[Walks, str] = {
    "through": "people walk through",
    "late": "people walk late",
    "backwards": "people walk backwards",
    "stays": "people stay",
}


class Seen(NamedTuple):
    """What there is to be seen. `desk` is `None` where nobody can type, `whole` where the gate is alone."""

    stage: Stage
    board: FakeBoard
    faults: Faults
    desk: Desk | None
    whole: Whole | None = None

    def way(self, shot: Shot) -> Way | None:
        """How far a scan has come beyond its lane."""
        return self.whole.ways.way(shot.row) if self.whole and shot.row else None


class Lines:
    """For a terminal that can only be written on: a line for each scan."""

    def __init__(self, console: Console, seen: Seen) -> None:
        self._console, self._seen = console, seen

    def add(self, shot: Shot) -> None:
        """One more scan is finished."""
        self.say(f"{scan_row(shot, self._seen.stage.reason(shot)).plain} ({times_of(shot)})")

    def told(self, told: Told) -> None:
        """News of the whole demo, all of it."""
        self.say(told.text)

    def say(self, text: str) -> None:
        """Something for the person in front of it."""
        if text:
            self._console.print(text, soft_wrap=True)

    def draw(self, typed: str) -> None:
        """Write what is new. The terminal itself shows what is typed."""
        for sentence in self._seen.faults.news():
            self.say(sentence)


class Picture:
    """The lanes, the counts, the last scans and the line that is typed, drawn in place."""

    def __init__(self, live: Live, seen: Seen) -> None:
        self._live, self._seen = live, seen
        self._last: dict[str, Shot] = {}
        self._scans: deque[Shot] = deque(maxlen=SCANS_SHOWN)
        self._notice = ""

    def add(self, shot: Shot) -> None:
        """One more scan is finished; it is seen in the next drawing."""
        self._last[shot.lane] = shot
        self._scans.appendleft(shot)

    def told(self, told: Told) -> None:
        """News of the whole demo, unless the picture shows it anyway."""
        if told.text and not told.drawn:
            self.say(told.text)

    def say(self, text: str) -> None:
        """One line stands until the next one; more than one go above the picture for good."""
        if "\n" in text:
            self._live.console.print(text)
        self._notice = "" if "\n" in text else text

    def draw(self, typed: str) -> None:
        """Show everything as it is at the moment, with what stands on the line."""
        rows = list(self._rows(typed))[-max(1, self._live.console.height - 1) :]  # the typed line is the last
        for row in rows:
            row.no_wrap, row.overflow = True, "ellipsis"
        self._live.update(Group(*rows), refresh=True)

    def _rows(self, typed: str) -> Iterator[Text]:
        seen = self._seen
        stage, board, faults, desk = seen.stage, seen.board, seen.faults, seen.desk
        width, height = self._live.console.size
        for name in board.fakes:
            yield from self._lane_rows(name, width)
        alarm = "ON" if board.alarm and board.alarm.active else "off"
        counts = (
            f"inside {stage.inside}   admitted {stage.admitted}   refused {stage.refused}   alarm {alarm}"
        )
        yield Text(f" {counts}", "bold")
        rows = len(board.fakes) * LANE_ROWS + OTHER_ROWS
        if whole := self._seen.whole:
            yield from whole_rows(whole)
            rows += len(board.fakes) + WHOLE_ROWS
        room = max(0, height - rows)
        for shot in list(self._scans)[:room]:
            row = scan_row(shot, stage.reason(shot))
            yield row.append(f"  {short(way)}", "dim") if (way := self._seen.way(shot)) else row
        for fault in faults.present()[:1]:
            yield Text(f" {visible(fault, width)}", "red")
        if self._notice:
            yield Text(f" {visible(self._notice, width)}", "yellow")
        plug = f"kill -9 {os.getpid()} pulls the plug"
        if desk is None:
            yield Text(f" codes come from standard input   Ctrl-C ends   {plug}", "dim")
        else:
            yield Text(f" Enter scans   /help for commands   Ctrl-C ends   {plug}", "dim")
            line = Text(f"lane {desk.lane} {desk.way}> ", "bold")
            yield line.append(visible(typed[-TYPED_SHOWN:], TYPED_SHOWN), "not bold")

    def _lane_rows(self, name: str, width: int) -> Iterator[Text]:
        lane = self._seen.board.fakes[name]
        title = f"── lane {name}, {' and '.join(lane.ways)} "
        yield Text(title + "─" * (width - len(title)), "dim")
        colour, blink = lane.lamp.shows
        lamp = Text(" lamp ").append(f"● {colour}{' blinking' if blink else ''}".ljust(18), STYLES[colour])
        walks = WALKS[lane.turnstile.usual.walks]
        relay = RELAYS[lane.turnstile.relay]
        yield lamp.append(relay.ljust(24), "" if lane.turnstile.relay == "locked" else "bold green").append(
            walks
        )
        shot = self._last.get(name)
        if self._seen.stage.asks(name):
            yield Text(" CHECKING", "bold blue").append("  the vendor is asked", "default not bold")
            yield Text("")
            if self._seen.whole:
                yield Text("")
            return
        if shot is None:
            yield Text(" no scan yet", "dim")
            yield Text("")
            if self._seen.whole:
                yield Text("")
            return
        verdict = Text(f" {shot.verdict.upper()}", STYLES[light_and_sound(shot.verdict).colour])
        yield verdict.append(f"  {code_of(shot)}  {self._seen.stage.reason(shot)}", "default not bold")
        yield Text(f" {times_of(shot)}")
        if self._seen.whole:
            way = self._seen.way(shot)
            yield Text(f" {'   '.join(steps(way))}" if way else "")


def whole_rows(whole: Whole) -> Iterator[Text]:
    """What works and what waits."""
    status = whole.last_status
    well = (status.broker, status.bridge, status.vendor) == ("connected", "up", "up")
    yield Text(f" {status.parts}", "bold green" if well else "bold red")
    waits = bool(status.rows or status.scans)
    yield Text(f" {status.waiting}   {whole.list_words()}", "yellow" if waits else "")


def short(way: Way) -> str:
    """How far a scan has come, in a word or two."""
    if way.word is not None:
        return f"vendor: {way.word.result} {milliseconds(way.since_ms(way.vendor_ns))}"
    if way.receipt_ns is not None:
        return "receipt" if not way.goes_to_the_vendor else "receipt, vendor to come"
    return "sent" if way.sent_ns is not None else "not sent"


def scan_row(shot: Shot, reason: str) -> Text:
    """A scan on one line."""
    at = datetime.fromtimestamp(shot.scan.moment.utc_ms / 1000).astimezone()
    text = Text(f" {at:%H:%M:%S}  {shot.lane} {shot.scan.direction:3}  {code_of(shot).ljust(14)}  ")
    return text.append(reason, STYLES[light_and_sound(shot.verdict).colour].removeprefix("bold "))


def code_of(shot: Shot) -> str:
    """The code as it can be shown."""
    return visible(shot.code, CODE_SHOWN) or "(no code)"


def times_of(shot: Shot) -> str:
    """How long it took, counted from when the text was there."""
    asked = shot.scan.route.authority is Authority.VENDOR and shot.row not in (0, shot.scan.row)
    words = [f"{'answered' if asked else 'decided'} {span(shot.decided_ns - shot.read_ns)}"]
    if shot.durable_ns is not None:
        words.append(f"on disk {span(shot.durable_ns - shot.read_ns)}")
    elif shot.row:
        words.append("not on disk")
    if shot.relay_ns is not None:
        words.append(f"relay {span(shot.relay_ns - shot.read_ns)}")
    return "   ".join(words)


def span(ns: int) -> str:
    """A time, in the unit that suits it."""
    return f"{ns / 1e3:.0f} µs" if ns < 1e6 else f"{ns / 1e6:.2f} ms"
