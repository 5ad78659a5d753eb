"""Texts as strokes on the keys of a scanner that plays a keyboard, by qemu's names of the keys.

A scanner that is set to another country presses the keys on which that country's keyboard has the characters;
only what the checks type is here.
"""

from collections.abc import Iterator, Mapping, Sequence
from string import ascii_lowercase, digits

from tests.hil.machine import Machine

Strokes = tuple[str, ...]

CODES = (  # key -> what the kernel calls it (linux, input-event-codes.h)
    {key: 2 + place for place, key in enumerate("1234567890")}
    | {key: 16 + place for place, key in enumerate("qwertyuiop")}
    | {key: 30 + place for place, key in enumerate("asdfghjkl")}
    | {key: 44 + place for place, key in enumerate("zxcvbnm")}
    | {"minus": 12, "slash": 53, "shift": 42, "alt_r": 100, "ret": 28}
)
AT_ONCE = 3  # strokes; the emulated keyboard holds 16 presses and releases, and loses what comes then

US: Mapping[str, Strokes] = (
    {character: (character,) for character in digits + ascii_lowercase}
    | {character.upper(): ("shift", character) for character in ascii_lowercase}
    | {"-": ("minus",), "_": ("shift", "minus")}
)
_SWAPPED_DE = {"y": "z", "z": "y"}
DE: Mapping[str, Strokes] = (
    {character: (_SWAPPED_DE.get(character, character),) for character in digits + ascii_lowercase}
    | {character.upper(): ("shift", _SWAPPED_DE.get(character, character)) for character in ascii_lowercase}
    | {"-": ("slash",), "_": ("shift", "slash"), "ß": ("minus",), "/": ("shift", "7")}
    | {"@": ("alt_r", "q"), "{": ("alt_r", "7"), "}": ("alt_r", "0"), "€": ("alt_r", "e")}
)
_SWAPPED_FR = {"a": "q", "q": "a", "z": "w", "w": "z"}
_PLAIN_FR = {character: character for character in ascii_lowercase if character != "m"} | _SWAPPED_FR
FR: Mapping[str, Strokes] = (
    {character: (key,) for character, key in _PLAIN_FR.items()}
    | {character.upper(): ("shift", key) for character, key in _PLAIN_FR.items()}
    | {digit: ("shift", digit) for digit in digits}
    | {"-": ("6",), "_": ("8",), "é": ("2",), "è": ("7",), "@": ("alt_r", "0"), "{": ("alt_r", "4")}
)


def strokes(text: str, layout: Mapping[str, Strokes] = US, end: Sequence[str] = ("ret",)) -> list[Strokes]:
    """What a scanner presses for this code; `end` are the keys after it."""
    return [*(layout[character] for character in text), *((key,) for key in end)]


def groups(keys: Sequence[Strokes]) -> Iterator[Sequence[Strokes]]:
    for start in range(0, len(keys), AT_ONCE):
        yield keys[start : start + AT_ONCE]


def press(machine: Machine, keys: Sequence[Strokes]) -> None:
    """Press these keys, never faster than the guest takes them."""
    for group in groups(keys):
        mark = machine.call("trace.mark")
        for held in group:
            for code in held:
                machine.monitor.key(code, down=True)
            for code in reversed(held):
                machine.monitor.key(code, down=False)
        last = group[-1][0]
        machine.call("trace.wait", mark, "key", CODES[last], 0, 60)


def scan(machine: Machine, text: str, layout: Mapping[str, Strokes] = US) -> None:
    """Type this code and Enter."""
    press(machine, strokes(text, layout))
