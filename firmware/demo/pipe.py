"""One JSON object a scan on standard output, for a program or a file, and nothing else there."""

import json
import os
from collections.abc import Callable
from contextlib import suppress

from firmware.demo.lines import Feed
from firmware.demo.stage import LOOK_MS, Stage
from firmware.demo.whole import Whole
from firmware.faults import Faults
from firmware.row import epoch_and_seq
from firmware.shots import Shot

STANDARD_OUTPUT = 1
SETTLING_MS = 50  # between looks whether all has arrived, when nothing more is fed


def play(
    stage: Stage, feed: Feed, faults: Faults, say: Callable[[str], None], whole: Whole | None = None
) -> None:
    """Write what the lanes decide until the demo is told to end, or the lines have ended.

    In the whole demo, what its parts tell too. Ends quietly where nobody reads any more. Raises `OSError`
    where standard output takes nothing else.
    """
    feed.start()
    with suppress(BrokenPipeError):
        while not feed.finished() or (whole is not None and not stage.over and whole.settles()):
            stage.wait(None, LOOK_MS if not feed.ended else SETTLING_MS)
            _write_all(stage, say, whole)
            for sentence in faults.news():
                say(sentence)
        _write_all(stage, say, whole)


def _write_all(stage: Stage, say: Callable[[str], None], whole: Whole | None) -> None:
    for lane, row in stage.asked():
        epoch, seq = epoch_and_seq(row)
        facts = {"told": "checking", "lane": lane, "epoch": epoch, "seq": seq}
        write(json.dumps(facts).encode() + b"\n")
    for shot in stage.take():
        write(object_of(shot, stage.reason(shot)))
        stage.shown(shot)
    for told in whole.news() if whole else ():
        write(json.dumps(told.facts).encode() + b"\n")
        if told.text and not told.drawn:
            say(told.text)


def object_of(shot: Shot, reason: str) -> bytes:
    """A scan as a line of JSON, in ASCII, so that it is one line to whoever reads it.

    Microseconds count from when the text was there. `null` stands for what there is not: the code of a line
    that could not be read, a row of a repeated read, an opening of a refusal.
    """
    epoch, seq = epoch_and_seq(shot.row) if shot.row else (None, None)
    found = {
        "code": shot.code or None,
        "lane": shot.lane,
        "direction": shot.scan.direction,
        "verdict": shot.verdict,
        "reason": reason,
        "opened": shot.relay_ns is not None,
        "decided_us": since(shot, shot.decided_ns),
        "durable_us": since(shot, shot.durable_ns),
        "relay_us": since(shot, shot.relay_ns),
        "epoch": epoch,
        "seq": seq,
    }
    return json.dumps(found).encode() + b"\n"


def since(shot: Shot, ns: int | None) -> float | None:
    """Microseconds since the text was there."""
    return None if ns is None else (ns - shot.read_ns) / 1000


def write(line: bytes) -> None:
    """Write a line at once, past all buffers. Raises `OSError`."""
    while line:
        line = line[os.write(STANDARD_OUTPUT, line) :]
