"""What goes wrong at a real gate: each has a name, a mend, and no effect on who stands in front."""

from firmware.doctor import findings
from tests.hil import keyboard, site
from tests.hil.cache import say
from tests.hil.gate import Gate

OTHER_VENDOR = 0x1234


def test_a_keyboard_that_is_no_scanner_of_this_gate_is_not_read(gate: Gate) -> None:
    gate.machine.call("scanners.make", 1, OTHER_VENDOR, "keyboard of a technician")
    try:
        mark, row = gate.mark(), gate.rows()
        gate.machine.call("scanners.scan", ["1234"], site.SCANNERS)
        gate.type("BAD-3")
        gate.row(row, kind="scan", code="BAD-3")
        assert [found["code"] for found in gate.rows_since(row) if found["kind"] == "scan"] == ["BAD-3"]
        assert 1 not in gate.writes(mark, site.LEFT_IN)
    finally:
        gate.machine.call("scanners.remove", site.SCANNERS)


def test_a_scanner_that_sends_enter_twice_has_sent_one_code(gate: Gate) -> None:
    mark, row = gate.mark(), gate.rows()
    keyboard.press(gate.machine, keyboard.strokes("GOOD-1", end=("ret", "ret")))
    gate.row(row, kind="lapse", lane="left")
    scans = [found for found in gate.rows_since(row) if found["kind"] == "scan"]
    assert [found["code"] for found in scans] == ["GOOD-1"]
    assert gate.writes(mark, site.LEFT_IN).count(1) == 1


def test_a_scanner_that_never_sends_enter_has_sent_no_code_and_spoils_none(gate: Gate) -> None:
    mark, row = gate.mark(), gate.rows()
    keyboard.press(gate.machine, keyboard.strokes("GOOD-1", end=()))
    gate.machine.call("shell.pause", 2 * site.IDLE_MS / 1000)
    assert 1 not in gate.writes(mark, site.LEFT_IN)
    gate.type("GOOD-2")
    gate.written(mark, site.LEFT_IN)
    assert gate.row(row, kind="scan", verdict="admitted")["code"] == "GOOD-2"


def test_a_contact_that_chatters_is_one_person(gate: Gate) -> None:
    row = gate.rows()
    gate.type("GOOD-1")
    gate.row(row, kind="scan", verdict="admitted")
    gate.machine.call("chip.chatter", site.CHIP, site.LEFT_SENSOR, "down", 7)
    gate.row(row, kind="passage", lane="left")
    gate.machine.call("chip.chatter", site.CHIP, site.LEFT_SENSOR, "up", 7)
    row = gate.rows()
    gate.type("BAD-4")
    gate.row(row, kind="scan", code="BAD-4")
    assert not [found for found in gate.rows_since(row) if found["kind"] == "passage"]


def test_a_scanner_without_its_group_is_named_by_doctor_with_the_mend(gate: Gate) -> None:
    gate.machine.sh(f"chown root:root $(realpath {site.KEYBOARD})")
    try:
        _, said = gate.doctor()
        assert site.KEYBOARD in said
        assert "input" in said
    finally:
        gate.machine.sh(f"chown root:input $(realpath {site.KEYBOARD})")


def test_two_identical_scanners_are_told_apart_by_nobody_and_named_by_doctor(gate: Gate) -> None:
    reader = 'vendor = "0c2e"\nproduct = "0b61"'  # that of all scanners made inside the guest
    status, said = gate.doctor(gate.settings.replace(f'device = "{site.KEYBOARD}"', reader))
    assert status == 1
    assert "0c2e" in said


def test_a_mouse_is_no_scanner(gate: Gate) -> None:
    gate.machine.monitor.plug("usb-mouse", "mouse", bus="usb.0", port="3", serial="MOUSE")
    mouse = "/dev/input/by-id/usb-QEMU_QEMU_USB_Mouse_MOUSE-event-mouse"
    try:
        gate.machine.call("shell.wait_for", [mouse])
        status, said = gate.doctor(gate.settings.replace(site.KEYBOARD, mouse))
        assert status == 1
        assert mouse in said
    finally:
        gate.machine.monitor.unplug("mouse")


def test_pins_that_somebody_holds_are_refused_with_the_holder(gate: Gate) -> None:
    status, said = gate.attempt()  # beside the gate that runs
    assert status == 2
    assert f"pin {site.LEFT_IN}" in said
    assert "is in use" in said
    assert gate.levels(*site.LOCKED) == tuple(site.LOCKED.values())


def test_a_wrong_chip_is_refused_with_the_names_of_those_that_there_are(gate: Gate) -> None:
    status, said = gate.attempt(board=site.BOARD.replace(site.LABEL, "pinctrl-rp1"))
    assert status == 2
    assert "pinctrl-rp1" in said
    assert site.LABEL in said


def test_without_lgpio_no_other_pins_are_taken_silently(gate: Gate) -> None:
    gate.machine.call("shell.write", "/run/hil/without/lgpio.py", 'raise ImportError("no lgpio here")\n')
    status, said = gate.attempt(environment="PYTHONPATH=/run/hil/without")
    assert status == 2
    assert "lgpio" in said


def test_a_sensor_that_stays_active_is_a_fault_with_a_name(gate: Gate) -> None:
    row = gate.rows()
    gate.pull(site.THIRD_SENSOR, "down")
    fault = gate.row(row, kind="fault", lane="third")
    assert "sensor" in fault["text"]


def fired_at(gate: Gate, active: str) -> tuple[int, str]:
    """What doctor says of the right door, which is active low, while somebody pushes at it all the time."""
    gate.stop()
    opened = 1 - site.LOCKED[site.RIGHT_BOTH]
    pushing = gate.machine.begin("chip.push", site.CHIP, site.RIGHT_BOTH, opened, site.RIGHT_SENSOR)
    try:
        return gate.fire(*site.door(active))
    finally:
        gate.machine.call("chip.leave")
        walks = gate.machine.result(pushing)
        say(f"somebody walked through {walks} times")


def test_a_relay_that_is_active_low_and_configured_high_is_noticed_by_doctor_with_the_sensor(
    gate: Gate,
) -> None:
    status, said = fired_at(gate, "high")
    assert status == 1
    assert findings.FREE_AT_REST.seen(lane="right").text in said


def test_a_relay_that_is_configured_as_it_is_wired_lets_nobody_pass_before_doctor_fires_it(
    gate: Gate,
) -> None:
    _, said = fired_at(gate, "low")
    assert findings.FREE_AT_REST.seen(lane="right").text not in said
    assert said.count("the sensor saw somebody pass") == 2, "inwards and outwards"
