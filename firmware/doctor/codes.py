"""Reads one code from each reader and shows it as it is, invisible characters too."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Self, TypeAlias

from firmware.config import Settings
from firmware.doctor import findings
from firmware.doctor.check import Check
from firmware.doctor.readers import Wanted, wanted
from hal.board import open_reader
from hal.ports import Code, Read, Reader

READ_S = 60.0  # to walk from lane to lane with a ticket

# What a reader read, or its state: a fault in words, or None while it works.
News: TypeAlias = Read | str | None
Tell: TypeAlias = Callable[[Wanted, News], None]


class Readers:
    """The readers of the settings at work; what they read and say is told on their own threads."""

    def __init__(self, settings: Settings, tell: Tell) -> None:
        """Raises `SettingError`, and OSError where a file cannot be opened."""
        self._tell = tell
        self.all: list[tuple[Wanted, Reader]] = []
        self._stack = ExitStack()
        with ExitStack() as stack:
            for reader in wanted(settings):
                self.all.append((reader, stack.enter_context(open_reader(reader.kind, reader.options))))
            self._stack = stack.pop_all()

    def start(self) -> None:
        """Begin to read."""
        for reader, opened in self.all:
            tell = partial(self._tell, reader)
            opened.start(tell, tell)

    def close(self) -> None:
        """Give them back."""
        self._stack.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read_codes(settings: Settings, wait_s: float, say: Callable[[str], None]) -> Iterator[Check]:
    """One read of each reader; ends when all have one or the time is over."""
    found: SimpleQueue[tuple[Wanted, News]] = SimpleQueue()
    with Readers(settings, lambda reader, news: found.put((reader, news))):
        yield from first_reads(wanted(settings), found, wait_s, say)


def first_reads(
    readers: list[Wanted],
    found: "SimpleQueue[tuple[Wanted, News]]",
    wait_s: float,
    say: Callable[[str], None],
) -> Iterator[Check]:
    """The same, from what the readers tell."""
    waiting = {(reader.lane, reader.number): reader for reader in readers}
    faults: dict[tuple[str, int], str] = {}
    until = monotonic() + wait_s
    say("hold a code to each reader: " + ", ".join(_name(reader) for reader in waiting.values()))
    while waiting:
        try:
            reader, news = found.get(timeout=max(0.0, until - monotonic()))
        except Empty:
            break
        key = (reader.lane, reader.number)
        if news is None:
            faults.pop(key, None)
        elif isinstance(news, str):
            faults[key] = news
        elif key in waiting:
            del waiting[key]
            yield judged(reader, news)
    for key, reader in waiting.items():
        if key in faults:
            yield findings.READER_LOST.seen(lane=reader.lane, reader=reader.named, problem=faults[key])
        else:
            yield findings.CODE_NONE.seen(lane=reader.lane, reader=reader.named, seconds=f"{wait_s:g}")


def _name(reader: Wanted) -> str:
    return f"lane {reader.lane}, {reader.named}"


def judged(reader: Wanted, read: Read) -> Check:
    """A read as a check."""
    if isinstance(read, Code):
        code = shown(read.text)
        return findings.CODE_READ.seen(
            lane=reader.lane, reader=reader.named, length=len(read.text), code=code
        )
    return findings.CODE_UNREADABLE.seen(lane=reader.lane, reader=reader.named, reason=REASONS[read.reason])


REASONS = {
    "too_long": "too many characters",
    "not_text": "it is no text (wrong encoding, baud_rate or layout)",
    "lost_keys": "a part was lost on the way, or the terminator never came",
}
SPACE, CONTROLS, DELETE = "\u2423", 0x2400, "\u2421"  # open box; Unicode's pictures of control characters


def shown(text: str) -> str:
    """A text with a sign for each character that could not be seen."""
    return "".join(map(_sign, text))


def _sign(character: str) -> str:
    number = ord(character)
    if character == " ":
        return SPACE
    if number < 0x20:
        return chr(CONTROLS + number)
    if number == 0x7F:
        return DELETE
    return character if character.isprintable() else f"<U+{number:04X}>"
