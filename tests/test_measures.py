"""How the computer of a gate at work fares, and that nobody waits for a disk that hangs."""

import threading
from pathlib import Path

from firmware.doctor.machine import Machine
from firmware.measures import HANGS_S, Measured, Measures
from firmware.rows import SPARE_BYTES
from firmware.vitals import HOT_DEGREES, MEMORY_FAULT_BYTES, PI_ZONE
from tests.brokers import LIMIT_S, until


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")


def test_a_pi_tells_heat_supply_memory_and_room(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48312\n")
    write(tmp_path, "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    write(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n")
    write(tmp_path, "proc/meminfo", "MemTotal: 945364 kB\nMemAvailable: 512000 kB\n")
    measures = Measures(tmp_path, Machine(tmp_path), lambda: 7)
    measures.look()
    found = measures.latest
    assert (found.temperature_mc, found.zone, found.under_voltage) == (48_312, "cpu-thermal", True)
    assert found.memory_free_bytes == 512_000 * 1024
    assert found.backlog_rows == 7
    assert found.disk_free_bytes is not None
    assert not measures.hangs


def test_a_computer_that_tells_nothing_is_no_fault(tmp_path: Path) -> None:
    def unreadable() -> int:
        raise OSError

    measures = Measures(tmp_path / "gone", Machine(tmp_path), unreadable)
    measures.look()
    assert measures.latest == Measured()
    latest = measures.latest
    assert not any((latest.disk_full, latest.memory_short, latest.too_hot, latest.under_voltage))


def test_the_limits_are_those_of_the_doctor_and_of_the_journal() -> None:
    hot_mc = HOT_DEGREES * 1000
    assert Measured(hot_mc, PI_ZONE).too_hot
    assert not Measured(hot_mc - 1, PI_ZONE).too_hot
    assert not Measured(hot_mc, "x86_pkg_temp").too_hot
    assert Measured(memory_free_bytes=MEMORY_FAULT_BYTES - 1).memory_short
    assert not Measured(memory_free_bytes=MEMORY_FAULT_BYTES).memory_short
    assert Measured(disk_free_bytes=SPARE_BYTES - 1).disk_full
    assert not Measured(disk_free_bytes=SPARE_BYTES).disk_full


def test_a_disk_that_hangs_is_seen_without_waiting_for_it(tmp_path: Path) -> None:
    began, may_end, now = threading.Event(), threading.Event(), [0.0]

    def slow() -> int:
        began.set()
        assert may_end.wait(LIMIT_S)
        return 3

    measures = Measures(tmp_path, Machine(tmp_path), slow, lambda: now[0])
    with measures:
        assert began.wait(LIMIT_S)
        hangs = []
        for now[0] in (HANGS_S, HANGS_S + 1):
            hangs.append(measures.hangs)
        assert hangs == [False, True]
        may_end.set()
        until(lambda: not measures.hangs)
    assert measures.latest.backlog_rows == 3
