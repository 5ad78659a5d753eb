"""What a lane is made of, as the gate sees it: one small protocol a part, the same for real and fake boards.

The gate's loop calls `unlock`, `lock`, `show` and `sound` from its one thread; none of them waits. Readers,
sensors and the alarm contact call back from threads of their own, like interrupts, so what they call must
be quick: put the news into an inbox and return. Everything is a context manager, `close` may be called
twice, and nothing is called back once `close` has returned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol, Self, TypeAlias

Way: TypeAlias = Literal["in", "out"]
UnreadableReason: TypeAlias = Literal["too_long", "not_text", "lost_keys"]


@dataclass(frozen=True, slots=True)
class Code:
    """The text that a reader delivered, raw and untouched; never empty."""

    text: str

    def __post_init__(self) -> None:
        """Hold that a code has at least one character."""
        if not self.text:
            raise ValueError("an empty text is not a code")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something was held to the reader, and what arrived must not be judged.

    `too_long`: more characters than the reader's limit. `not_text`: bytes that the reader's encoding does
    not know. `lost_keys`: characters were lost on the way, so what is left could be another, shorter code.
    """

    reason: UnreadableReason


Read: TypeAlias = Code | Unreadable
Deliver: TypeAlias = Callable[[Read], None]
TellState: TypeAlias = Callable[[str | None], None]


class Colour(StrEnum):
    """What a lamp shows."""

    OFF = "off"
    RED = "red"
    GREEN = "green"
    YELLOW = "yellow"
    BLUE = "blue"
    WHITE = "white"


class Pattern(StrEnum):
    """What a buzzer plays, once; it falls silent by itself. `NONE` ends what still sounds."""

    NONE = "none"
    SHORT = "short"
    DOUBLE = "double"
    LONG = "long"


class Part(Protocol):
    """Anything that is opened and has to be closed. Whoever implements a port may inherit it."""

    def close(self) -> None:
        """Give the device back. A second call does nothing."""

    def __enter__(self) -> Self:
        """Return the part itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the part."""
        self.close()


class Reader(Part, Protocol):
    """Delivers the codes that people hold to it."""

    def start(self, deliver: Deliver, state: TellState) -> None:
        """Begin to read, once.

        `deliver` gets every code in order, each once. `state` gets None while the reader works, else a
        fault in words that name the device and the mend; it is called for the first state and then for
        changes only. A reader that lost its device tries again for ever by itself; what is shown to it
        meanwhile is never delivered later.
        """


class Turnstile(Part, Protocol):
    """The lock of a lane. Opening and closing the part never unlock; closing ends what is unlocked."""

    def unlock(self, way: Way | Literal["both"]) -> None:
        """Let one person through in one way, or, with "both", everybody in either way until `lock`."""

    def lock(self) -> None:
        """End what `unlock` began. A person already in the arms may still get through (the relock delay)."""


class PassageSensor(Part, Protocol):
    """Sees people walk through."""

    def start(self, passed: Callable[[Way | None], None], state: TellState) -> None:
        """Begin to report each passage, once: its way, or None where the sensor cannot tell.

        `state` hears of a sensor that cannot be believed any more, such as one that stays active, in words
        that name it and the mend; and None when that is over. A sensor that is well says nothing.
        """


class Lamp(Part, Protocol):
    """The light of a lane."""

    def show(self, colour: Colour, blink: bool, for_ms: int | None = None) -> None:
        """Show this until told otherwise: the permanent look, which ends a timed one.

        With `for_ms` it is a timed look: the lamp goes back to its permanent one by itself, also when the
        gate's loop has stalled. Before the first permanent look that is dark.
        """


class Buzzer(Part, Protocol):
    """The sound of a lane."""

    def sound(self, pattern: Pattern) -> None:
        """Play this once, instead of what still sounds."""


class Contact(Part, Protocol):
    """A contact of the whole gate: the fire alarm's, or that of the housing."""

    def start(self, changed: Callable[[bool], None]) -> None:
        """Report the present state (True: alarm, or opened) before returning, then every change."""


@dataclass(frozen=True, slots=True)
class LaneParts:
    """The parts of one lane. A reader's way is None where only the lane says which way a scan means."""

    name: str
    readers: tuple[tuple[Reader, Way | None], ...]
    turnstile: Turnstile
    sensor: PassageSensor | None
    lamp: Lamp
    buzzer: Buzzer


class Board(Part, Protocol):
    """All parts of a gate. Closing the board closes every part."""

    @property
    def name(self) -> str:
        """What `hal.board.open_board` knows the board by."""

    @property
    def lanes(self) -> tuple[LaneParts, ...]:
        """One to four lanes, in the order of the settings."""

    @property
    def alarm(self) -> Contact | None:
        """The fire alarm's contact, or None where none is wired to the board."""

    @property
    def hazards(self) -> tuple[str, ...]:
        """What cannot be freed or bounded with its wiring, in words with the mend; there should be none."""

    @property
    def tamper(self) -> Contact | None:
        """The contact that sees the housing opened, or None where none is wired to the board."""
