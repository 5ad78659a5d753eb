"""A disk that really hangs, and one that is full to the last byte, under a gate that goes on scanning."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.rows import RESERVED_ROWS
from tests.gate_bench import check_replay, read_rows
from tests.gate_child import Child, gate_on
from tests.gate_process import fill_catalogue
from tests.small_disk import SmallDisk, small_disk, unavailable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(unavailable() is not None, reason=str(unavailable())),
]

DISK_BYTES = 96 << 20  # holds a catalogue, and a journal with its reserved rows, and little more
LANES = ("north", "south")


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with small_disk(DISK_BYTES) as found:
        yield found


@pytest.fixture
def child(disk: SmallDisk) -> Iterator[Child]:
    """A gate whose data lie on the disk, and nothing else of it."""
    fill_catalogue(disk.folder / "data")
    with gate_on(disk.folder / "data", before_a_kill=disk.thaw) as found:
        yield found


def both_show(child: Child, lamp: str) -> None:
    for lane in LANES:
        assert child.do("lamp", lane=lane, shows=lamp)["came"], f"{lane} does not show {lamp}"


def check_rows(child: Child, data: Path) -> None:
    """Every scan has its row, none twice, and all rows replay."""
    assert [found.code for found in read_rows(data) if found.row.kind == "scan"] == child.scanned
    check_replay(data)


def test_promises_3_and_4_hold_while_the_disk_hangs_and_nothing_is_lost(
    disk: SmallDisk, child: Child
) -> None:
    child.scan("T0", "north")
    child.scan("T1", "south")
    both_show(child, "blue")
    disk.freeze()
    answered = {code: child.scan(code, "north") for code in ("nobody 1", "T2", "T3", "nobody 2")}
    answered["T4"] = child.scan("T4", "south")
    both_show(child, "red blink")
    pressed = child.do("press")
    assert pressed["came"], "freed, and the disk still hangs"
    child.scan("T5", "south")
    child.do("release")
    child.do("press")
    child.do("release")
    during = child.do("figures")
    assert during["waiting_rows"] > 0, "the disk has taken nothing meanwhile"
    assert [relays.count("in") for relays in during["relays"].values()] == [1, 1]
    disk.thaw()
    both_show(child, "blue")
    child.scan("T6", "north")
    child.scan("T7", "south")
    both_show(child, "blue")
    after = child.do("figures")
    assert after["lost_rows"] == 0
    assert [relays.count("in") for relays in after["relays"].values()] == [2, 2]
    answers = ", ".join(f"{code} {ms:.1f} ms" for code, ms in answered.items())
    sys.stderr.write(
        f"disk hung: alarm freed the lanes in {pressed['acted_ms']:.2f} ms; answers: {answers}\n"
    )
    child.end()
    check_rows(child, disk.folder / "data")
    alarms = [found.row.text for found in read_rows(disk.folder / "data") if found.row.kind == "alarm"]
    assert alarms == ["active", "active", "over", "over"] * 2


def test_a_disk_that_others_fill_does_not_stop_the_gate(disk: SmallDisk, child: Child) -> None:
    child.scan("T0")
    both_show(child, "blue")
    disk.fill()
    for number in range(1, 300):
        child.scan(f"T{number}")
        child.scan(f"nobody {number}", "south")
        assert child.do("lamp", lane="north", shows="blue")["came"]
    both_show(child, "blue")
    figures = child.do("figures")
    assert (figures["lost_rows"], figures["fault"]) == (0, None)
    assert figures["relays"]["north"].count("in") == 300
    child.end()
    check_rows(child, disk.folder / "data")


def test_a_gate_whose_reserved_space_is_used_up_is_out_of_order_until_there_is_room(
    disk: SmallDisk, child: Child
) -> None:
    ballast = disk.fill()
    flood = child.do("flood")
    assert flood["count"] > RESERVED_ROWS
    assert "full" in flood["fault"]
    both_show(child, "red blink")
    answered = child.scan("T1", "south")
    assert answered
    ballast.unlink()
    both_show(child, "blue")
    child.scan("T2", "south")
    both_show(child, "blue")
    figures = child.do("figures")
    assert (figures["lost_rows"], figures["fault"]) == (0, None)
    assert figures["relays"]["south"].count("in") == 1, "T1 was turned away, T2 was let in"
    child.end()
    rows = read_rows(disk.folder / "data")
    assert [found.code for found in rows if found.row.kind == "scan"] == ["T1", "T2"]
    assert sum(found.row.kind == "catalogue" for found in rows) == flood["count"]
    check_replay(disk.folder / "data")
