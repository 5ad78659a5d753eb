"""The demo on a terminal: scans are shown as they happen, and codes and commands can be typed."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.live import Live

from firmware.demo.desk import Desk
from firmware.demo.keyboard import Typed, each_key
from firmware.demo.lines import Feed
from firmware.demo.screen import Lines, Picture, Seen
from firmware.demo.stage import LOOK_MS, Stage
from firmware.demo.whole import Whole
from firmware.faults import Faults
from hal.fake import FakeBoard
from hal.watch import monotonic_ms

FRAME_MS = 50  # between two drawings; the eye sees no more, and a slow line carries no more
KEYS_BYTES = 4096  # what the kernel holds of what was typed


def play(
    stage: Stage, board: FakeBoard, faults: Faults, source: Desk | Feed, whole: Whole | None = None
) -> None:
    """Show what happens until the demo is told to end, or a feed has ended. Raises `OSError`.

    Codes and commands are typed at the desk, or codes come from a feed.
    """
    desk = source if isinstance(source, Desk) else None
    console = Console(highlight=False, markup=False)
    with shown(console, Seen(stage, board, faults, desk, whole)) as display:
        if isinstance(source, Feed):
            source.start()
            _play_feed(stage, display, source, whole)
        else:
            _play_desk(stage, display, source, sys.stdin.fileno(), whole)
        _show(stage, display, whole)
        display.draw("")


@contextmanager
def shown(console: Console, seen: Seen) -> Iterator[Lines | Picture]:
    """A picture where the terminal can be drawn on, and the terminal as it was before afterwards."""
    if console.is_dumb_terminal or not os.environ.get("TERM"):
        yield Lines(console, seen)
        return
    with ExitStack() as restored:
        if seen.desk is not None:
            restored.enter_context(each_key(sys.stdin.fileno()))
        live = restored.enter_context(Live(console=console, auto_refresh=False, vertical_overflow="crop"))
        console.show_cursor(True)  # it stands where one types, and must not be gone after a kill
        seen.stage.eager = True
        display = Picture(live, seen)
        display.draw("")
        yield display


def _play_desk(
    stage: Stage, display: Lines | Picture, desk: Desk, keyboard: int, whole: Whole | None
) -> None:
    typed = Typed()
    frames = Frames()
    while not stage.over:
        if stage.wait(keyboard, frames.pause_ms()):
            data = os.read(keyboard, KEYS_BYTES)
            for read in typed.feed(data):
                display.say(desk.enter(read))
            if not data or typed.ended:
                stage.stop()
        _show(stage, display, whole)
        if frames.due():
            display.draw(typed.text)


def _play_feed(stage: Stage, display: Lines | Picture, feed: Feed, whole: Whole | None) -> None:
    frames = Frames()
    while not feed.finished() or (whole is not None and not stage.over and whole.settles()):
        stage.wait(None, frames.pause_ms() if not feed.ended else FRAME_MS)
        _show(stage, display, whole)
        if frames.due():
            display.draw("")


def _show(stage: Stage, display: Lines | Picture, whole: Whole | None) -> None:
    for shot in stage.take():
        display.add(shot)
        stage.shown(shot)
    for told in whole.news() if whole else ():
        display.told(told)


class Frames:
    """When to draw: `FRAME_MS` after the last drawing, and now and then where nothing happens."""

    def __init__(self) -> None:
        self._drawn_ms = 0
        self._waits = False  # something happened since

    def pause_ms(self) -> int:
        """How long to wait for news."""
        return max(0, self._drawn_ms + FRAME_MS - monotonic_ms()) if self._waits else LOOK_MS

    def due(self) -> bool:
        """Whether to draw now; asked after every wait."""
        now_ms = monotonic_ms()
        self._waits = now_ms < self._drawn_ms + FRAME_MS
        if not self._waits:
            self._drawn_ms = now_ms
        return not self._waits
