"""What all commands have in common: how they end, and numbers that are bounded where they come in."""

import argparse
import signal
from collections.abc import Callable

DONE, FINDING, REFUSED = 0, 1, 2
INTERRUPTED = 128 + signal.SIGINT  # as a shell reports it
DIGITS_MAX = 9  # no number here is longer; `int` of a million digits would take a while
NUMBER_MAX = 10**DIGITS_MAX - 1


class WrongUse(Exception):
    """The command cannot be carried out as it was given; the text names the thing and the mend."""


def number(least: int, most: int = NUMBER_MAX, what: str = "whole number") -> Callable[[str], int]:
    """Reads a whole number within these bounds, as `type` of an argument; others are refused with them."""
    bounds = f"from {least} on" if most == NUMBER_MAX else f"from {least} to {most}"

    def read(text: str) -> int:
        fits = text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX and least <= int(text) <= most
        if not fits:
            raise argparse.ArgumentTypeError(f"{text!r} is not a {what} {bounds}")
        return int(text)

    return read
