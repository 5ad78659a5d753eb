"""Readers that lose their plug, or their listener, in the middle of a code: a shortened code is never judged.

Every end of a long code is a ticket of its own here: a code that lost keys and was judged would open a lane.
"""

import random

from tests.hil import keyboard, site
from tests.hil.cache import say
from tests.hil.conftest import LONG
from tests.hil.gate import Gate

BURSTS = 200
AT_ONCE = 5  # scanners that type at the same time, so that the gate is held 40 times and not 200 times
HELD_S = 1.0
SEED = 1


def judged(gate: Gate, row: int) -> list[str]:
    """The codes of all rows since."""
    return [found["code"] for found in gate.rows_since(row) if found["kind"] == "scan" and found["code"]]


def test_a_keyboard_unplugged_in_the_middle_of_a_code_leaves_nothing_to_judge(gate: Gate) -> None:
    mark, row = gate.mark(), gate.rows()
    keyboard.press(gate.machine, keyboard.strokes(LONG[0][:9], end=()))
    gate.machine.monitor.unplug("keyboard")
    gate.row(row, kind="fault", lane="left")
    gate.machine.plug_keyboard()
    gate.machine.call("shell.wait_for", [site.KEYBOARD])
    gate.wait_until_read(site.KEYBOARD)
    gate.type(LONG[0][9:])
    gate.written(mark, site.LEFT_IN)  # the rest of it is a ticket of its own, scanned anew
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
    gate.stop()
    names = gate.machine.call("scanners.make", AT_ONCE)
    gate.settle(site.settings(more_readers=names))
    try:
        gate.start()
        row = gate.rows()
        process = gate.process()
        for burst in range(BURSTS // AT_ONCE):
            shown = [generator.choice(LONG) for _ in names]
            before = [generator.randrange(1, len(code)) for code in shown]
            gate.machine.call("scanners.burst", process, shown, before, HELD_S)
            if burst % 10 == 9:
                say(f"{(burst + 1) * AT_ONCE} bursts, {len(gate.rows_since(row))} rows")
        gate.machine.call("scanners.type", ["whole-1"] * len(names))
        gate.row(row, kind="scan", code="whole-1")
        codes = judged(gate, row)
        assert set(codes) <= {*LONG, "whole-1"}
        lost = [found for found in gate.rows_since(row) if found["kind"] == "scan" and not found["code"]]
        say(f"{BURSTS} bursts: {len(codes)} codes were read whole, {len(lost)} were known to have lost keys")
        assert lost, "the bursts were too short to lose a key: nothing was shown"
    finally:
        gate.stop()
        gate.machine.call("scanners.remove")
        gate.settle()
