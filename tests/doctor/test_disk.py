import os
from pathlib import Path

import pytest

from firmware.doctor import disk, findings
from firmware.doctor.check import Check, Finding, Verdict
from firmware.doctor.disk import FRESH_BYTES, SCARCE_BYTES, mount_of, mounts
from firmware.rows import SPARE_BYTES, Rows
from firmware.vitals import MIB, free_bytes
from tests.doctor.trees import Tree

DATA = Path("/var/lib/gatepost")
PLENTY = 8 << 30


def checks(tree: Tree, data: Path = DATA, reserved: int = 0, free: int = PLENTY) -> list[Check]:
    return list(disk.examine(tree.machine, data, reserved, lambda _: free))


def test_a_card_with_room_is_ok(tree: Tree) -> None:
    (check,) = checks(tree)
    assert check.verdict is Verdict.OK
    assert "8192 MiB free where /var/lib/gatepost is; the reserve of 50,000 rows" in check.text


@pytest.mark.parametrize(
    ("free", "finding"),
    [
        (FRESH_BYTES + SPARE_BYTES + SCARCE_BYTES, findings.ROOM),
        (FRESH_BYTES + SPARE_BYTES + SCARCE_BYTES - 1, findings.ROOM_SCARCE),
        (FRESH_BYTES + SPARE_BYTES, findings.ROOM_SCARCE),
        (FRESH_BYTES + SPARE_BYTES - 1, findings.ROOM_SHORT),
        (0, findings.ROOM_SHORT),
    ],
)
def test_room_is_judged_from_both_sides_of_what_the_reserve_wants(
    tree: Tree, free: int, finding: Finding
) -> None:
    (check,) = checks(tree, free=free)
    assert check.verdict is finding.verdict
    if finding is findings.ROOM_SHORT:
        more = -(-(FRESH_BYTES + SPARE_BYTES - free) // MIB)
        assert check.mend.startswith(f"free {more} MiB")


def test_a_reserve_that_is_taken_already_is_not_asked_for_again(tree: Tree) -> None:
    (check,) = checks(tree, reserved=FRESH_BYTES, free=SPARE_BYTES)
    assert check.verdict is Verdict.WARNING
    assert checks(tree, reserved=0, free=SPARE_BYTES)[0].verdict is Verdict.FAULT


def test_what_a_fresh_journal_takes_is_what_the_doctor_reckons_with(tmp_path: Path) -> None:
    with Rows(tmp_path / "journal") as rows:
        rows.reserve()
        taken = sum(path.stat().st_size for path in (tmp_path / "journal").iterdir())
    assert taken == pytest.approx(FRESH_BYTES, rel=0.05)


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ("/dev/mmcblk0p2 / ext4 ro,noatime 0 0", findings.READ_ONLY),
        ("/dev/mmcblk0p2 / ext4 rw,noatime,nobarrier 0 0", findings.NO_BARRIER),
        ("/dev/mmcblk0p2 / ext4 rw,barrier=0 0 0", findings.NO_BARRIER),
        ("tmpfs /var/lib tmpfs rw,size=64m 0 0", findings.VANISHES),
        ("overlay / overlay rw,lowerdir=/lower,upperdir=/upper/data 0 0", findings.MAY_VANISH),
    ],
)
def test_a_disk_that_does_not_keep_what_is_written_is_named(tree: Tree, line: str, finding: Finding) -> None:
    tree.mounts("/dev/mmcblk0p2 / ext4 rw 0 0", line)
    found = checks(tree)
    assert [check.verdict for check in found] == [finding.verdict, Verdict.OK]
    assert found[0].mend == finding.mend
    assert line.split()[1] in found[0].text


def test_the_deepest_and_the_latest_mount_counts_and_a_blank_in_its_name_does_not_hide_it(tree: Tree) -> None:
    tree.mounts(
        "/dev/a / ext4 rw 0 0",
        "/dev/b /mnt/two\\040words ext4 rw 0 0",
        "/dev/c /mnt/two ext4 rw 0 0",
        "/dev/d /mnt/two xfs rw 0 0",
    )
    found = mounts(tree.machine)
    assert mount_of(found, Path("/mnt/two words/data")) == found[3]
    assert mount_of(found, Path("/mnt/two/data")) == found[5]
    assert mount_of(found, Path("/mnt/twofold")) == found[2]
    assert mount_of([], Path("/mnt")) is None


def test_a_folder_that_is_not_there_yet_is_judged_by_the_one_above_it(tmp_path: Path, tree: Tree) -> None:
    asked: list[Path] = []

    def free(folder: Path) -> int:
        asked.append(folder)
        return PLENTY

    list(disk.examine(tree.machine, tmp_path / "not/yet/there", 0, free))
    assert asked == [tmp_path]


def test_the_room_of_a_real_disk_is_asked_of_it(tmp_path: Path) -> None:
    stat = os.statvfs(tmp_path)
    assert free_bytes(tmp_path) <= stat.f_blocks * stat.f_frsize
