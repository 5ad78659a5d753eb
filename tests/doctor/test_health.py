import time
from pathlib import Path

import pytest

from firmware import vitals
from firmware.core.ticket import Choice
from firmware.doctor import findings, health
from firmware.doctor.check import Check, Finding, Verdict
from firmware.doctor.machine import Machine
from firmware.facts import synchronised
from tests.doctor.trees import PI_3, PI_4, PI_5, Tree, laptop, pi

NOON_S = 1_790_000_000.0
PIS = (PI_3, PI_4, PI_5)


def checks(tree: Tree, *, trusted: bool = True, policy: Choice = Choice.ADMIT) -> dict[str, list[Check]]:
    found: dict[str, list[Check]] = {}
    for check in health.examine(tree.machine, lambda: trusted, lambda: NOON_S, policy):
        found.setdefault(check.name, []).append(check)
    return found


@pytest.mark.parametrize("model", PIS)
def test_a_healthy_pi_is_ok_in_all_and_says_its_model(tmp_path: Path, model: str) -> None:
    found = checks(pi(tmp_path / "machine", model))
    assert {check.verdict for those in found.values() for check in those} == {Verdict.OK}
    assert found["machine"][0].text.startswith(model + ", Linux 6.6")
    assert found["supply"] == [findings.SUPPLY_GOOD.seen()]
    assert found["heat"] == [findings.COOL.seen(degrees=48, zone="cpu-thermal")]


def test_a_laptop_says_that_it_has_no_supply_to_watch(tmp_path: Path) -> None:
    found = checks(laptop(tmp_path / "machine"))
    assert "ThinkPad" in found["machine"][0].text
    assert found["supply"] == [findings.SUPPLY_UNKNOWN.seen()]


def test_a_machine_that_tells_nothing_is_no_fault(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "machine")
    (tree.root / "proc/meminfo").unlink()
    found = checks(tree)
    assert found["heat"] == [findings.HEAT_UNKNOWN.seen()]
    assert found["memory"] == [findings.MEMORY_UNKNOWN.seen()]
    assert found["machine"][0].verdict is Verdict.OK


# The bits as the firmware of a Pi gives them (hexadecimal, "vcgencmd get_throttled").
@pytest.mark.parametrize("model", PIS)
@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0x0, [findings.SUPPLY_GOOD]),
        (0x1, [findings.UNDER_VOLTAGE]),
        (0x10000, [findings.WAS_UNDER_VOLTAGE]),
        (0x50000, [findings.WAS_UNDER_VOLTAGE, findings.WAS_THROTTLED]),
        (0x50005, [findings.UNDER_VOLTAGE, findings.THROTTLED]),
        (0x80008, [findings.THROTTLED]),
        (0xE0000, [findings.WAS_THROTTLED]),
    ],
)
def test_what_the_firmware_of_a_pi_says_of_its_supply_is_read(
    tmp_path: Path, model: str, bits: int, expected: list[Finding]
) -> None:
    tree = pi(tmp_path / "machine", model)
    tree.throttled(model, bits)
    assert [(check.verdict, check.mend) for check in checks(tree)["supply"]] == [
        (finding.verdict, finding.mend) for finding in expected
    ]


def test_the_path_of_a_pi_3_and_4_is_known_without_the_drivers_link(tree: Tree) -> None:
    for link in (tree.root / "sys/bus/platform/drivers/raspberrypi-firmware").iterdir():
        link.unlink()
    tree.throttled(PI_4, 0x50005)
    for link in (tree.root / "sys/bus/platform/drivers/raspberrypi-firmware").iterdir():
        link.unlink()
    assert findings.UNDER_VOLTAGE.seen() in checks(tree)["supply"]


@pytest.mark.parametrize(("alarm", "expected"), [("0", findings.SUPPLY_GOOD), ("1", findings.UNDER_VOLTAGE)])
def test_the_volt_meter_of_other_kernels_is_read_too(tmp_path: Path, alarm: str, expected: Finding) -> None:
    tree = Tree(tmp_path / "machine")
    tree.write("sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    tree.write("sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    tree.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", alarm + "\n")
    assert checks(tree)["supply"] == [expected.seen()]


@pytest.mark.parametrize(
    ("degrees", "finding"),
    [
        (health.WARM_DEGREES - 1, findings.COOL),
        (health.WARM_DEGREES, findings.WARM),
        (vitals.HOT_DEGREES - 1, findings.WARM),
        (vitals.HOT_DEGREES, findings.HOT),
    ],
)
def test_heat_is_judged_from_both_sides_of_its_limits(tree: Tree, degrees: int, finding: Finding) -> None:
    tree.heat(degrees * 1000 + 999)
    assert checks(tree)["heat"] == [finding.seen(degrees=degrees, zone="cpu-thermal")]


def test_the_heat_of_a_laptop_at_work_is_shown_and_not_judged(tmp_path: Path) -> None:
    tree = laptop(tmp_path / "machine")
    tree.heat(94_000, "x86_pkg_temp")
    assert checks(tree)["heat"] == [findings.COOL.seen(degrees=94, zone="x86_pkg_temp")]


@pytest.mark.parametrize(
    ("free_mib", "finding"),
    [
        (health.MEMORY_WARNING_BYTES >> 20, findings.MEMORY),
        ((health.MEMORY_WARNING_BYTES >> 20) - 1, findings.MEMORY_SCARCE),
        (vitals.MEMORY_FAULT_BYTES >> 20, findings.MEMORY_SCARCE),
        ((vitals.MEMORY_FAULT_BYTES >> 20) - 1, findings.MEMORY_SHORT),
    ],
)
def test_memory_is_judged_from_both_sides_of_its_limits(tree: Tree, free_mib: int, finding: Finding) -> None:
    tree.memory(total_mib=906, free_mib=free_mib)
    assert checks(tree)["memory"] == [finding.seen(free=free_mib, total=906)]


def test_a_clock_without_a_battery_and_the_policy_for_dates_are_said(tmp_path: Path) -> None:
    bare, own = pi(tmp_path / "4", PI_4), pi(tmp_path / "5", PI_5)
    (loose,) = checks(bare, trusted=False)["clock"]
    assert loose.verdict is Verdict.WARNING
    assert "no clock of its own: unless the gate knew the time before, it checks no dates" in loose.text
    assert "2026-09-21 14:13:20 UTC" in loose.text
    (refusing,) = checks(own, trusted=False, policy=Choice.REFUSE)["clock"]
    assert refusing.text.endswith("UTC: unless the gate knew the time before, it refuses tickets with dates")
    assert checks(own)["clock"][0].verdict is Verdict.OK


def test_the_kernel_of_this_machine_is_understood_too() -> None:
    found = list(health.examine(Machine(), synchronised, time.time, Choice.ADMIT))
    assert {"machine", "memory", "clock", "supply", "heat"} == {check.name for check in found}
    assert found[1].text.endswith("MiB available")
