"""One JSON object a scan on standard output, for a program or a file, and nothing else there."""

import json
import os
from collections.abc import Callable
from contextlib import suppress

from firmware.demo.lines import Feed
from firmware.demo.stage import LOOK_MS, Stage
from firmware.faults import Faults
from firmware.row import epoch_and_seq
from firmware.shots import Shot

STANDARD_OUTPUT = 1


def play(stage: Stage, feed: Feed, faults: Faults, say: Callable[[str], None]) -> None:
    """Write what the lanes decide until the demo is told to end, or the lines have ended.

    Ends quietly where nobody reads any more. Raises `OSError` where standard output takes nothing else.
    """
    feed.start()
    with suppress(BrokenPipeError):
        while not feed.finished():
            stage.wait(None, LOOK_MS)
            _write_all(stage)
            for sentence in faults.news():
                say(sentence)
        _write_all(stage)


def _write_all(stage: Stage) -> None:
    for shot in stage.take():
        write(object_of(shot, stage.reason(shot)))
        stage.shown(shot)


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
