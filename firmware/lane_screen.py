"""Draws the lanes on a terminal: blocks of colour over the whole screen, or a line for each change.

Words carry all of it, so that a terminal without colours, and whoever does not see them, misses nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.text import Text

from firmware.lane_page import Sight
from firmware.signals import visible
from hal.ports import Colour

STYLES = {
    Colour.GREEN: "bold white on dark_green",
    Colour.RED: "bold white on dark_red",
    Colour.YELLOW: "bold black on yellow",
    Colour.BLUE: "bold white on dark_blue",
    Colour.WHITE: "bold black on white",
    Colour.OFF: "bold",
}


class Screen(Protocol):
    """Somewhere to show the lanes."""

    def show(self, sights: Sequence[Sight]) -> None:
        """What they show now. The same as before draws nothing."""


class Printed:
    """A line for each lane that changed."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._last: dict[str, Sight] = {}

    def show(self, sights: Sequence[Sight]) -> None:
        """Print what is new."""
        for sight in sights:
            if self._last.get(sight.lane) != sight:
                self._last[sight.lane] = sight
                print(as_line(sight), file=self._output, flush=True)


class Drawn:
    """The whole screen."""

    def __init__(self, console: Console, live: Live) -> None:
        self._console, self._live = console, live
        self._last: tuple[object, ...] = ()

    def show(self, sights: Sequence[Sight]) -> None:
        """Draw anew where something changed, the size of the terminal for instance."""
        size = self._console.size
        if (now := (size, *sights)) != self._last:
            self._last = now
            self._live.update(page(sights, size.width, size.height), refresh=True)


@contextmanager
def full_screen(output: TextIO) -> Iterator[Screen]:
    """The terminal, which is given back as it was."""
    console = Console(file=output)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield Drawn(console, live)


def as_line(sight: Sight) -> str:
    """A lane in one line, with nothing in it that could change a terminal."""
    return visible(f"{sight.lane}: {sight.word}" + (f": {sight.line}" if sight.line else ""), 500)


def page(sights: Sequence[Sight], width: int, height: int) -> Text:
    """A screen of exactly this size: a block for each lane, as high as there is room."""
    drawn = Text(no_wrap=True, end="")
    left, rows = height, list[tuple[str, str]]()
    for number, sight in enumerate(sights):
        share = max(1, left // (len(sights) - number))
        left -= share
        rows += [(line, STYLES[sight.colour]) for line in block(sight, width, share)]
    rows += [(" " * width, "")] * (height - len(rows))
    for number, (line, style) in enumerate(rows[:height]):
        drawn.append(line + ("\n" if number < height - 1 else ""), style)
    return drawn


def block(sight: Sight, width: int, height: int) -> list[str]:
    """The lines of one lane: its name, its word in the middle, and why below that, as far as they fit."""
    name, word, line = sight.lane, sight.word, sight.line
    if height == 1:
        said = [f"{name}: {word}" + (f": {line}" if line else "")]
    elif height == 2:
        said = [f"{name}: {word}", line]
    else:
        said = [name, word, line]
    lines = [centred(text, width) for text in said]
    above = (height - len(lines)) // 2
    return [" " * width] * above + lines + [" " * width] * (height - len(lines) - above)


def centred(text: str, width: int) -> str:
    """The text in the middle of so many cells; a character may take two."""
    seen = visible(text, width)
    return set_cell_size(" " * ((width - cell_len(seen)) // 2) + seen, width)
