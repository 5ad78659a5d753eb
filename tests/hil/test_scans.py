"""A code on its way through a real kernel: keys of a USB keyboard, bytes of a serial adapter, relays."""

from collections.abc import Mapping
from itertools import groupby, pairwise

import pytest

from tests.hil import keyboard, site
from tests.hil.gate import Gate

LATE_MS_MAX = (
    1500  # a pulse never ends early; on a busy machine without help from the processor it may end late
)


def pulses(gate: Gate, mark: int, line: int, active: int) -> list[float]:
    """How long each activation of a line was, in ms; a level that is written again changes nothing."""
    writes = [one for one in gate.events(mark) if (one["kind"], one["line"]) == ("set", line)]
    edges = [next(same) for _, same in groupby(writes, key=lambda one: one["value"])]
    starts = [(one, two) for one, two in pairwise(edges) if one["value"] == active]
    return [(two["at_us"] - one["at_us"]) / 1000 for one, two in starts]


def test_a_good_code_typed_on_a_usb_keyboard_opens_the_turnstile_once_for_one_pulse(gate: Gate) -> None:
    mark, row = gate.mark(), gate.rows()
    gate.type("GOOD-1")
    gate.row(row, kind="lapse", lane="left")  # nobody walked, and the lane is locked again
    assert [found["verdict"] for found in gate.rows_since(row) if found["kind"] == "scan"] == ["admitted"]
    (pulse_ms,) = pulses(gate, mark, site.LEFT_IN, 1)
    assert site.PULSE_MS <= pulse_ms < site.PULSE_MS + LATE_MS_MAX
    assert 1 not in gate.writes(mark, site.LEFT_FREE)
    assert 0 not in gate.writes(mark, site.RIGHT_BOTH), "the other lane stays locked"


def test_promise_1_the_row_is_on_the_disk_before_the_relay_is_switched(gate: Gate) -> None:
    mark = gate.mark()
    gate.type("GOOD-2")
    opened = gate.written(mark, site.LEFT_IN)
    before = [one for one in gate.events(mark) if one["at_us"] <= opened["at_us"]]
    enter = max(
        one["number"] for one in before if (one["kind"], one["line"]) == ("key", keyboard.CODES["ret"])
    )
    assert any(one["kind"] == "synced" and one["number"] > enter for one in before)


def test_a_bad_code_opens_nothing(gate: Gate) -> None:
    mark, row = gate.mark(), gate.rows()
    gate.type("BAD-1")
    assert gate.row(row, kind="scan", code="BAD-1")["verdict"] == "unknown"
    gate.wait_for_levels(site.READY)
    assert 1 not in gate.writes(mark, site.LEFT_IN) + gate.writes(mark, site.LEFT_FREE)


def test_a_code_on_a_serial_adapter_holds_the_door_until_the_person_is_through(gate: Gate) -> None:
    mark, row = gate.mark(), gate.rows()
    gate.send("GOOD-1")
    gate.written(mark, site.RIGHT_BOTH, value=0)
    gate.walk(site.RIGHT_SENSOR)
    gate.row(row, kind="passage", lane="right")
    gate.wait_for_levels(site.LOCKED)
    (held_ms,) = pulses(gate, mark, site.RIGHT_BOTH, 0)
    assert held_ms < site.UNLOCK_MS + LATE_MS_MAX
    assert 1 not in gate.writes(mark, site.LEFT_IN)


@pytest.mark.parametrize(
    ("serial", "keys", "codes"),
    [
        ("DE", keyboard.DE, ["ZYX-yz_9", "Zy-ß{4@}/x"]),
        ("FR", keyboard.FR, ["ZYX-yz_9", "AQZ-wa17@é"]),
    ],
)
def test_shift_and_altgr_of_another_country_arrive_right(
    gate: Gate, serial: str, keys: Mapping[str, keyboard.Strokes], codes: list[str]
) -> None:
    gate.machine.plug_keyboard(serial)
    try:
        gate.machine.call("shell.wait_for", [site.keyboard(serial)])
        gate.wait_until_read(site.keyboard(serial))
        for code in codes:
            gate.rest()
            mark, row = gate.mark(), gate.rows()
            gate.type(code, keys)
            gate.written(mark, site.LEFT_IN)
            gate.walk(site.LEFT_SENSOR)
            assert gate.row(row, kind="scan", lane="left")["code"] == code
    finally:
        gate.machine.monitor.unplug(f"keyboard-{serial}")
