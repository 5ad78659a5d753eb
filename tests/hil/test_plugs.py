"""Readers that lose their plug, or their listener, in the middle of a code: a shortened code is never judged.

Every end of a long code is a ticket of its own here: a code that lost keys and was judged would open a lane.
"""

import random

from tests.hil import keyboard, site
from tests.hil.cache import say
from tests.hil.conftest import LONG
from tests.hil.gate import Gate

BURSTS = 200  # on eight scanners at the same time, so that the gate is held 25 times
HELD_S = 1.0
SEED = 1


def judged(gate: Gate, row: int) -> list[str]:
    """The codes of all rows since."""
    return [found["code"] for found in gate.rows_since(row) if found["kind"] == "scan" and found["code"]]


def test_a_keyboard_unplugged_in_the_middle_of_a_code_leaves_nothing_to_judge(gate: Gate) -> None:
    mark, row = gate.mark(), gate.rows()
    keyboard.press(gate.machine, keyboard.strokes(LONG[0][:9], end=()))
    gate.machine.monitor.unplug("keyboard-LEFT")
    gate.row(row, kind="fault", lane="left")
    gate.machine.plug_keyboard()
    gate.machine.call("shell.wait_for", [site.KEYBOARD])
    gate.wait_until_read(site.KEYBOARD)
    gate.type(LONG[0][9:])
    gate.written(mark, site.LEFT_IN)  # the rest of it is a ticket of its own, scanned anew
    gate.row(row, kind="scan", lane="left")  # who follows the journal sees it a moment later
    assert judged(gate, row) == [LONG[0][9:]]
    gate.rest()
    row = gate.rows()
    gate.type(LONG[1])
    assert gate.row(row, kind="scan", lane="left")["code"] == LONG[1]


def test_a_serial_adapter_unplugged_in_the_middle_of_a_code_leaves_nothing_to_judge(gate: Gate) -> None:
    row = gate.rows()
    gate.send(LONG[0][:9], end=b"")
    gate.machine.call("shell.pause", 0.3)
    gate.machine.monitor.unplug("adapter")
    gate.row(row, kind="fault", lane="right")
    gate.machine.plug_serial()
    gate.machine.call("shell.wait_for", [site.SERIAL])
    gate.wait_until_read(site.SERIAL)
    gate.send(LONG[0][9:])
    gate.row(row, kind="scan", lane="right")
    assert judged(gate, row) == [LONG[0][9:]]


def test_no_shortened_code_is_judged_when_the_gate_is_held_in_the_middle_of_bursts(gate: Gate) -> None:
    generator = random.Random(SEED)
    row, process, slow = gate.rows(), gate.process(), list[str]()
    for burst in range(BURSTS // site.SCANNERS):
        shown = [generator.choice(LONG) for _ in range(site.SCANNERS)]
        before = [generator.randrange(1, len(code)) for code in shown]
        silences_s = gate.machine.call("scanners.burst", process, shown, before, HELD_S)
        for code, silence_s in zip(shown, silences_s, strict=True):
            if silence_s * 1000 >= site.BURST_IDLE_MS:  # that scanner itself made two codes of it
                slow.append(code)
        if burst % 5 == 4:
            say(f"{(burst + 1) * site.SCANNERS} bursts, {len(gate.rows_since(row))} rows")
    gate.machine.call("shell.pause", 2 * site.BURST_IDLE_MS / 1000)  # what lost keys is over after a silence
    gate.machine.call("scanners.scan", ["whole-1"] * site.SCANNERS)
    gate.row(row, kind="scan", code="whole-1")
    assert gate.process() == process, "it was held, not ended"
    codes = judged(gate, row)
    ends = {code[at:] for code in slow for at in range(len(code))}
    assert set(codes) <= {*LONG, *ends, "whole-1"}
    assert len(slow) <= BURSTS // 10, "the scanners were too slow to show anything"
    lost = [found for found in gate.rows_since(row) if found["kind"] == "scan" and not found["code"]]
    say(f"{BURSTS} bursts: {len(codes)} codes were read whole, {len(lost)} were known to have lost keys")
    assert lost, "the bursts were too short to lose a key: nothing was shown"
