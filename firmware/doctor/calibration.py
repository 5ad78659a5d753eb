"""Shows a code to each scanner that plays a keyboard, and finds the settings that read it right."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TypeAlias

from firmware.config import Settings
from firmware.doctor import findings
from firmware.doctor.check import Check
from firmware.doctor.readers import Wanted, wanted
from firmware.doctor.symbol import drawn
from hal.board import Settings as Options
from hal.board import built
from hal.calibrate import LAYOUTS, calibrate, calibration_code, read_with
from hal.frames import Framing
from hal.keys import EV_KEY, PRESSED, Keyboard, KeyEvent, Layout
from hal.ports import Code
from hal.reopening import Fault
from hal.watch import Watch
from hal.xkb import Missing, XkbKeyboard

SCAN_MS = 60_000  # to find the scanner and hold it to the screen
QUIET_MS = 1000  # ends the scan: no scanner pauses for as long
HAND_MS = 60  # from key to key on the whole: hardly anybody types as fast, and no scanner as slowly

Record: TypeAlias = Callable[[Options], Sequence[KeyEvent]]
OpenKeyboard: TypeAlias = Callable[[Layout], Keyboard]


def record(options: Options) -> list[KeyEvent]:
    """What the scanner of a reader types, up to a silence; nothing where nobody scans. Raises `Fault`."""
    from hal.evdev_reader import KeyDevice, answered, grabbed, recorded

    device = built("evdev reader", KeyDevice, options)
    with Watch() as watch, closing(answered(lambda: grabbed(device))) as source:
        return recorded(source, watch, SCAN_MS, QUIET_MS)


def calibration(
    settings: Settings,
    say: Callable[[str], None],
    take: Record = record,
    open_keyboard: OpenKeyboard = XkbKeyboard,
) -> Iterator[Check]:
    """One reader after the other. What to write into the settings is said line by line, too."""
    code = calibration_code()
    for reader in wanted(settings):
        if reader.kind != "evdev":
            continue
        for line in drawn(code):
            say(line)
        say(f"lane {reader.lane}, {reader.named}: scan this code once, then wait")
        try:
            events = take(reader.options)
            yield from _judged(reader, events, code, say, open_keyboard)
        except (Fault, Missing) as error:
            yield findings.READER_LOST.seen(lane=reader.lane, reader=reader.named, problem=error)


def _judged(
    reader: Wanted,
    events: Sequence[KeyEvent],
    code: str,
    say: Callable[[str], None],
    open_keyboard: OpenKeyboard,
) -> Iterator[Check]:
    seen = {"lane": reader.lane, "reader": reader.named}
    found = calibrate(events, code, LAYOUTS, open_keyboard)
    for problem in found.problems:
        yield findings.NOT_CALIBRATED.seen(problem=problem, **seen)
    for remark in found.remarks:
        yield findings.REMARK.seen(remark=remark, **seen)
    if (pause_ms := _pause_ms(events)) > HAND_MS:
        yield findings.TYPED_BY_HAND.seen(pause=pause_ms, **seen)
    if found.problems:
        return
    layout = built("evdev reader", Layout, reader.options)
    framing = built("evdev reader", Framing, reader.options)
    if set(read_with(events, layout, framing, open_keyboard)) == {Code(code)}:
        yield findings.CALIBRATED.seen(**seen)
        return
    for line in found.settings:
        say(f"    {line}")
    yield findings.TO_BE_SET.seen(settings="; ".join(found.settings), **seen)


def _pause_ms(events: Sequence[KeyEvent]) -> int:
    """From one key to the next, on the whole."""
    times_ms = [event.time_ms for event in events if event.type == EV_KEY and event.value == PRESSED]
    return (times_ms[-1] - times_ms[0]) // (len(times_ms) - 1) if len(times_ms) > 1 else 0
