"""The alarm contact frees every lane, disk or no disk, and only its end locks them again."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.hil import site
from tests.hil.gate import Gate

HELD_S = 1.5  # how long a lane must stay as it is before that counts


def seconds_until_free(gate: Gate, mark: int) -> float:
    """Wait until both lanes are free; seconds from the contact's edge to the last line."""
    begun_us: int = gate.machine.call("shell.now_us")
    gate.alarm(True)
    last = max(gate.written(mark, line, value=level)["at_us"] for line, level in site.FREEING.items())
    gate.wait_for_levels(site.FREEING)
    took_us: int = last - begun_us
    return took_us / 1_000_000


def stays(gate: Gate, levels: dict[int, int]) -> bool:
    gate.machine.call("shell.pause", HELD_S)
    return gate.levels(*levels) == tuple(levels.values())


@contextmanager
def hanging_disk(gate: Gate) -> Iterator[None]:
    gate.machine.call("disk.hang")
    try:
        yield
    finally:
        gate.machine.call("disk.go_on")


def test_promise_4_an_open_alarm_contact_frees_every_lane_until_closed_and_acknowledged(gate: Gate) -> None:
    mark, row = gate.mark(), gate.rows()
    seconds = seconds_until_free(gate, mark)
    assert seconds <= gate.dead_s_max
    gate.row(row, kind="alarm")
    mark = gate.mark()
    gate.type("BAD-2")
    gate.row(row, kind="scan", lane="left")
    assert stays(gate, site.FREEING), "a scan ends no alarm"
    gate.acknowledge()
    assert stays(gate, site.FREEING), "nobody can end an alarm that is active"
    row = gate.rows()
    gate.alarm(False)
    gate.row(row, kind="alarm")
    assert stays(gate, site.FREEING), "it has to be acknowledged as well"
    gate.acknowledge()
    gate.wait_for_levels(site.READY)


def test_promise_4_an_alarm_frees_every_lane_while_the_disk_hangs_and_is_recorded_after(gate: Gate) -> None:
    mark, row = gate.mark(), gate.rows()
    with hanging_disk(gate):
        gate.send("GOOD-1")  # the loop has something that it cannot write
        seconds_until_free(gate, mark)
        assert stays(gate, site.FREEING)
        assert not [found for found in gate.rows_since(row) if found["kind"] == "alarm"]
    gate.row(row, kind="alarm")
    assert gate.levels(*site.FREEING) == tuple(site.FREEING.values())
    gate.alarm(False)
    gate.acknowledge()
    gate.wait_for_levels(site.READY)


def test_promise_4_a_gate_that_dies_in_an_alarm_leaves_its_lanes_free(gate: Gate) -> None:
    seconds_until_free(gate, gate.mark())
    mark = gate.mark()
    row = gate.rows()
    gate.machine.call("shell.signal", gate.process(), 9)
    for line, level in site.FREEING.items():
        gate.written(mark, line, gate.dead_s_max, value=level)
    gate.machine.sh("systemctl start gate")  # joins the start that systemd makes by itself
    gate.row(row, kind="began")
    gate.wait_for_levels(site.FREEING)
    threads = gate.threads()  # of the one that lives now, whose pins begin inactive and are free at once
    between = [one for one in gate.events(mark) if one["kind"] == "set" and one["pid"] not in threads]
    assert {one["line"]: one["value"] for one in between if one["line"] in site.FREEING} == site.FREEING
    gate.alarm(False)
    gate.acknowledge()
    gate.wait_for_levels(site.READY)


def test_an_alarm_that_need_not_be_acknowledged_ends_with_its_contact(gate: Gate) -> None:
    with gate.settled(gate.settings.replace('after_alarm = "acknowledge"', 'after_alarm = "lock"')):
        seconds_until_free(gate, gate.mark())
        assert stays(gate, site.FREEING)
        gate.alarm(False)
        gate.wait_for_levels(site.READY)
