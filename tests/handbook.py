"""The parts of the hand-book that are made from the code: `python -m tests.handbook` writes them anew."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from firmware.core.effects import Signal
from firmware.core.ticket import Verdict
from firmware.signals import SIGNALS, VERDICTS, WORDS, Look
from hal.ports import Pattern
from tests.doctor import example
from tests.readme import replaced

HANDBOOK = Path(__file__).parent.parent / "deploy" / "handbook.md"

SOUNDS: Mapping[Pattern, str] = MappingProxyType(
    {Pattern.NONE: "silent", Pattern.SHORT: "short", Pattern.DOUBLE: "double", Pattern.LONG: "long"}
)

# What stands in the table for the steward: what to do now, one line each.
STEWARD: Mapping[Verdict, str] = MappingProxyType(
    {
        Verdict.ADMITTED: "Let the person walk.",
        Verdict.ADMITTED_CREDIT: "Let the person walk; the first try is settled.",
        Verdict.ADMITTED_UNSOLD: "Let the person walk; the ticket must still be booked as sold.",
        Verdict.ADMITTED_UNLISTED: "Let the person walk; the list does not have the ticket yet.",
        Verdict.ADMITTED_OFFLINE: "Let the person walk; nobody could be asked.",
        Verdict.FREE: "The lane is free for everybody; the scan was written down and spent nothing.",
        Verdict.UNREADABLE: "Hold the code flat and still, then once more; wipe the glass.",
        Verdict.BUSY: "One at a time: wait until the lamp is blue, then scan again.",
        Verdict.TOO_SOON: "It entered a moment ago; look whether it was handed back over the fence.",
        Verdict.NO_ANSWER: "Try again; if it stays so, send the person to the box office.",
        Verdict.UNKNOWN: "Not on the list: is it a ticket, and for here? Box office.",
        Verdict.FORGED: "Keep calm, keep the person, call security.",
        Verdict.UNLISTED: "Genuine, but not on the list: box office.",
        Verdict.CANCELLED: "The ticket was taken back: box office.",
        Verdict.REFUNDED: "The money was given back: box office.",
        Verdict.BLOCKED: "The seller blocked it: box office.",
        Verdict.NOT_SOLD: "Printed and never booked as sold: box office.",
        Verdict.WRONG_EVENT: "Another event: read the ticket together.",
        Verdict.WRONG_SESSION: "Another day or hour: read the ticket together.",
        Verdict.WRONG_SECTOR: "Another sector: show the way to its lane.",
        Verdict.WRONG_GATE: "Another gate: show the way.",
        Verdict.WRONG_TYPE: "This lane does not serve its type: show the way to the right lane.",
        Verdict.TOO_EARLY: "Not valid yet: come back at the time on the ticket.",
        Verdict.TOO_LATE: "No longer valid: box office.",
        Verdict.USED: "It is inside, or re-entry is off; the journal says when it entered.",
        Verdict.NOT_INSIDE: "An exit for those who entered here: open by hand, ask at the desk.",
        Verdict.REFUSED: "The seller says no: box office.",
        Verdict.SHUT: "The operator shut the lane: send the queue to the next one.",
        Verdict.CALL_STAFF: "Look yourself: see below, two openings without a walk.",
        Verdict.CATALOGUE_STALE: "The list is too old: the operator must import a new one.",
        Verdict.CLOCK_UNTRUSTED: "Dates cannot be checked: the operator must set the clock.",
        Verdict.NOT_CONFIGURED: "The operator must mend the settings.",
        Verdict.OUT_OF_ORDER: "Nothing was spent: send the queue to the next lane, call the operator.",
    }
)

MEANINGS: Mapping[Signal, str] = MappingProxyType(
    {
        Signal.READY: "ready for the next code",
        Signal.CHECKING: "wait: an answer or the disk is awaited",
        Signal.GO: "open: walk",
        Signal.FREE: "free: everybody may walk, both ways",
        Signal.SHUT: "shut by order",
        Signal.OUT_OF_ORDER: "out of order: the gate cannot write, or lost its reader",
    }
)


def lamp(look: Look) -> str:
    """Colour of the lamp, and whether it blinks."""
    return f"{look.colour.value}, blinking" if look.blink else look.colour.value


def signal_table() -> str:
    """What a lane shows until further notice, and what it shows and says of each verdict."""
    lines = ["| at rest | lamp | what it means |", "| --- | --- | --- |"]
    lines += [f"| `{signal.value}` | {lamp(look)} | {MEANINGS[signal]} |" for signal, look in SIGNALS.items()]
    lines += [
        "",
        "| verdict | lamp | sound | in the journal | to the steward |",
        "| --- | --- | --- | --- | --- |",
    ]
    for verdict, look in VERDICTS.items():
        cells = (f"`{verdict.value}`", lamp(look), SOUNDS[look.pattern], WORDS[verdict], STEWARD[verdict])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def renewed(text: str) -> str:
    """The hand-book's text with its made parts as the code has them now. Raises `ValueError`."""
    text = replaced(text, "signals", signal_table())
    text = replaced(text, "doctor's look", example.printed())
    return replaced(text, "doctor's findings", example.table())


if __name__ == "__main__":
    HANDBOOK.write_text(renewed(HANDBOOK.read_text()))
    sys.stderr.write(f"written: {HANDBOOK.name}\n")
