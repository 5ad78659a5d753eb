"""Codes that come as lines on standard input, fed to their lanes one after the other.

A line is a code, whole and untouched, for the first lane. A line that begins with `{` is a JSON object with
a `code`, and a `lane` and a `direction` where they are meant; a code that begins so is given in one, too.
In the whole demo a line that begins with `/` is a command, as at the keyboard, and changes the lane of codes.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, Self

import msgspec

from firmware.config.values import nearest, quoted, shown
from firmware.core.ticket import Setup
from firmware.demo.desk import Desk, code_in
from firmware.demo.stage import LAST_MS, Stage
from hal.frames import LENGTH_MAX
from hal.line_reader import LineReader
from hal.ports import Code, Read, Unreadable, Way
from hal.watch import monotonic_ms

MISTAKES_TOLD_MAX = 20  # a file with more is another kind of file; the rest is counted
JOIN_S_MAX = 5.0  # it ends at once, unless the machine is busy with something else
EXAMPLE = '{"code": "…", "lane": "…", "direction": "in"}'


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line that names its lane."""

    code: str
    lane: str = ""
    direction: Literal["in", "out"] | None = None


class Meant(NamedTuple):
    """What a line asks for: hold this to that lane. A way of `None` leaves it to the lane."""

    lane: str
    read: Read
    way: Way | None


class Mistake(Exception):
    """A line that is no scan; the text names the thing and the mend."""


_decode = msgspec.json.Decoder(Line).decode


def meant(read: Read, setups: Mapping[str, Setup], desk: Desk | None = None) -> Meant:
    """What a line asks for; the lane of a bare code is the desk's, or the first. Raises `Mistake`."""
    first, way = (desk.lane, desk.way) if desk else (next(iter(setups)), None)
    if not isinstance(read, Code):
        return Meant(first, read, way)
    if not read.text.startswith("{"):
        return Meant(first, bounded(read.text), way)
    try:
        line = _decode(read.text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Mistake(f"not a JSON object as in {EXAMPLE}: {error}") from error
    if not line.code:
        raise Mistake('the "code" is empty: write the code, or leave the line out')
    lane = line.lane or first
    if lane not in setups:
        near = nearest(lane, setups) or f": there are {', '.join(map(quoted, setups))}"
        raise Mistake(f"no lane is called {shown(lane)}{near}")
    serves = setups[lane].direction
    if None not in (serves, line.direction) and serves != line.direction:
        raise Mistake(f'lane {shown(lane)} does not serve "{line.direction}": leave the direction out')
    return Meant(lane, bounded(line.code), line.direction)


def bounded(text: str) -> Read:
    """The code, if a reader would deliver one of this length."""
    return Code(text) if len(text) <= LENGTH_MAX else Unreadable("too_long")


class Feed:
    """Plays the lines on a thread of its own. `ended` is set after the last one's lane is at rest."""

    def __init__(
        self,
        stage: Stage,
        lines: LineReader,
        setups: Mapping[str, Setup],
        say: Callable[[str], None],
        endless: bool,
        desk: Desk | None = None,
    ) -> None:
        """`say` gets a sentence about each line that is no scan. With `endless` others may scan after it.

        With a `desk` lines may be commands.
        """
        self.ended = False
        self.mistakes = 0
        self._stage, self._lines, self._setups, self._say = stage, lines, setups, say
        self._endless, self._desk = endless, desk
        self._last_ms: int | None = None  # until when a demo that was told to end waits
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def finished(self) -> bool:
        """Whether nothing more is to come. A demo that was told to end waits for the scan under way."""
        if not self._stage.over:
            return self.ended and not self._endless
        if self._last_ms is None:
            self._last_ms = monotonic_ms() + LAST_MS
            self._lines.close()
        return self.ended or monotonic_ms() > self._last_ms

    def close(self) -> None:
        """Read no more lines, and wait for the end of the thread."""
        self._lines.close()
        self._stage.abandon()
        if self._thread.is_alive():
            self._thread.join(JOIN_S_MAX)

    def __enter__(self) -> Self:
        """The feed itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def _run(self) -> None:
        try:
            while not self._stage.over and (read := self._lines.next_read()) is not None:
                self._play(read, self._lines.line_number)
        except OSError as error:
            self._complain(f"standard input cannot be read ({error.strerror})")
        self.ended = True
        self._tell_the_rest()
        self._stage.bell.ring()

    def _play(self, read: Read, number: int) -> None:
        try:
            if self._desk is not None:
                found = code_in(read)
                if found is None:
                    assert isinstance(read, Code), "only a text can be a command"
                    self._say(self._desk.obey(read.text))
                    return
                lane, read, way = meant(found, self._setups, self._desk)
            else:
                lane, read, way = meant(read, self._setups)
        except Mistake as mistake:
            self._complain(f"line {number}: {mistake}")
            return
        if not self._stage.play(lane, read, way) and not self._stage.over:
            self._complain(f'line {number}: lane "{lane}" gave no answer: look at the faults above')

    def _complain(self, sentence: str) -> None:
        self.mistakes += 1
        if self.mistakes <= MISTAKES_TOLD_MAX:
            self._say(sentence)

    def _tell_the_rest(self) -> None:
        if self.mistakes > MISTAKES_TOLD_MAX:
            self._say(f"{self.mistakes} lines were no scans; the first {MISTAKES_TOLD_MAX} are named above")
        if self._lines.empty_lines:
            self._say(f"empty lines passed over: {self._lines.empty_lines}")
