"""The gate on the chip that the machine has itself, behind the driver of a real board.

What a freed line does is the driver's: the one of a Raspberry Pi makes an input of it, so that the board's
resistors decide; another leaves it driven as it was. `release` has to be right for both.
"""

import signal
from collections.abc import Iterator

import pytest

from tests.hil import own_site, site
from tests.hil.cache import say
from tests.hil.gate import DATA, PROGRAM, WAIT_S, Event, Gate
from tests.hil.hardware import OwnChip
from tests.hil.machine import Machine
from tests.hil.test_endings import towards_unlocked

SCANNER = 0  # of those made inside the guest
OF_LINES = ("set", "out", "in", "freed")


@pytest.fixture(scope="module")
def set_up(machine: Machine) -> Iterator[Gate]:
    """The gate of `own_site`, running."""
    chip = machine.hardware.chip
    if chip is None:
        pytest.skip(f"{machine.hardware.name} has no GPIO chip of its own; `make hil-full` tries two")
    gate = Gate(machine)
    gate.measure()
    gate.write(own_site.board(chip), own_site.settings(machine.scanners[SCANNER]))
    gate.bring(own_site.CODES)
    mark = gate.mark()
    gate.start()
    gate.started = gate.events(mark, *OF_LINES)
    machine.call("rows.follow", DATA)
    yield gate
    machine.call("rows.stop")
    gate.stop()


@pytest.fixture
def own(set_up: Gate, request: pytest.FixtureRequest) -> Gate:
    """The same gate, running, locked and with its readers."""
    say(request.node.name)
    if set_up.show("ActiveState") != "active":
        set_up.start()
    for reader in (site.KEYBOARD, set_up.machine.scanners[SCANNER]):  # it is ready before they are
        set_up.wait_until_read(reader)
    return set_up


def chip_of(gate: Gate) -> OwnChip:
    chip = gate.machine.hardware.chip
    assert chip
    return chip


def lines(gate: Gate) -> dict[int, tuple[bool, int]]:
    """What the chip's registers say of each relay: driven or not, and its level."""
    return {line: gate.machine.line(line) for line in own_site.LOCKED}


def driven(levels: dict[int, int]) -> dict[int, tuple[bool, int]]:
    return {line: (True, level) for line, level in levels.items()}


def hold_the_door(gate: Gate) -> None:
    """Let somebody in at the right lane, whose relay is held."""
    mark = gate.mark()
    gate.machine.call("scanners.scan", [own_site.CODES[1]], SCANNER)
    gate.written(mark, own_site.RIGHT_BOTH, value=own_site.FREEING[own_site.RIGHT_BOTH])


def wait_until_freed(gate: Gate, mark: int, line: int) -> Event:
    event: Event = gate.machine.call("trace.wait", mark, "freed", line, 0, WAIT_S)
    return event


def state_when_freed(gate: Gate, levels: dict[int, int]) -> None:
    """Check what the driver made of lines that were freed at these levels."""
    found = lines(gate)
    say(f"{gate.machine.hardware.name}: freed lines are {found}")
    if chip_of(gate).freed_stays:
        assert found == driven(levels), "this driver leaves a freed line as it was"
    else:
        assert not any(drives for drives, _ in found.values()), "this driver makes an input of a freed line"


def test_promise_6_a_start_drives_every_line_inactive_with_its_level_first(own: Gate) -> None:
    assert towards_unlocked(own.started, own_site.LOCKED) == []
    for line in own_site.LOCKED:
        assert any((one["kind"], one["line"]) == ("out", line) for one in own.started)
    assert lines(own) == driven(own_site.LOCKED)


def test_a_good_code_typed_on_a_usb_keyboard_switches_the_chips_line_once(own: Gate) -> None:
    if (name := own.machine.hardware.name) == "raspi3b":
        pytest.skip(f"{name}: its USB keyboard is taken, but this check was not seen to pass yet")
    mark, row = own.mark(), own.rows()
    own.type("BAD-1")
    assert own.row(row, kind="scan", code="BAD-1")["verdict"] == "unknown"
    own.type(own_site.CODES[0])
    own.written(mark, own_site.LEFT_IN)
    assert own.row(row, kind="scan", code=own_site.CODES[0])["verdict"] == "admitted"
    own.row(row, kind="lapse", lane="left")
    assert own.writes(mark, own_site.LEFT_IN).count(1) == 1
    assert lines(own) == driven(own_site.LOCKED)


def test_promise_6_a_stop_makes_no_edge_towards_unlocked_and_frees_every_line(own: Gate) -> None:
    mark = own.mark()
    own.stop()
    for line in own_site.LOCKED:
        wait_until_freed(own, mark, line)
    assert towards_unlocked(own.events(mark, *OF_LINES), own_site.LOCKED) == []
    state_when_freed(own, own_site.LOCKED)


def test_promise_6_after_a_sigkill_another_process_writes_every_line_inactive(own: Gate) -> None:
    threads = own.threads()
    hold_the_door(own)
    mark, begun_us = own.mark(), own.machine.call("shell.now_us")
    own.machine.call("shell.signal", own.process(), signal.SIGKILL)
    last_us = begun_us
    for line, level in own_site.LOCKED.items():
        event: Event = own.machine.call(
            "trace.wait_not_by", mark, sorted(threads), line, level, own.dead_s_max
        )
        last_us = max(last_us, event["at_us"])
    seconds = (last_us - begun_us) / 1_000_000
    say(f"killed: inactive after {seconds:.1f} s, which is {seconds / own.factor:.2f} s without emulation")
    assert seconds <= own.dead_s_max
    own.machine.sh("systemctl start gate")  # joins the start that systemd makes by itself
    assert lines(own) == driven(own_site.LOCKED)


def test_without_release_a_freed_line_is_what_the_driver_makes_of_it(own: Gate) -> None:
    own.drop_in("ExecStopPost=\nRestart=no")
    try:
        hold_the_door(own)
        mark = own.mark()
        own.machine.call("shell.signal", own.process(), signal.SIGKILL)
        wait_until_freed(own, mark, own_site.RIGHT_BOTH)
        state_when_freed(own, own_site.LOCKED | {own_site.RIGHT_BOTH: 0})
    finally:
        own.drop_in("")
    mark = own.mark()
    own.machine.sh(f"{PROGRAM} release --board /etc/gatepost/board.toml")
    for line, level in own_site.LOCKED.items():
        own.written(mark, line, value=level)
        wait_until_freed(own, mark, line)
    state_when_freed(own, own_site.LOCKED)


def test_promise_4_an_alarm_contact_on_the_machines_own_chip_frees_every_lane(own: Gate) -> None:
    name = own.machine.hardware.name
    if name != "virt":
        pytest.skip(f"{name}: nothing outside of the emulator is wired to an input of this chip")
    mark, row = own.mark(), own.rows()
    own.machine.monitor.ask("system_powerdown")  # the button is pressed for a tenth of a second
    for line, level in own_site.FREEING.items():
        own.written(mark, line, value=level)
    own.row(row, kind="alarm")
    assert lines(own) == driven(own_site.LOCKED | own_site.FREEING), "it has to be acknowledged"
    mark = own.mark()
    own.acknowledge()
    for line in own_site.FREEING:
        own.written(mark, line, value=own_site.LOCKED[line])
    assert lines(own) == driven(own_site.LOCKED)
