"""The rig must find what is known to be bad, pass what is known to be good, and leave nothing behind."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.powercut import engines, rig

pytestmark = [
    pytest.mark.powercut,
    pytest.mark.skipif(rig.unavailable() is not None, reason=str(rig.unavailable())),
]

ROWS = 200  # two checkpoints and a file-system commit or so; a second of work
CUTS = 12
SEED = 1


def findings(engine: str, scratch: Path, mount_options: str = "noatime") -> list[str]:
    writer = [sys.executable, "-m", "tests.powercut.engines", engine, str(ROWS)]
    log = rig.record(writer, 60, scratch, mount_options)
    checker = partial(engines.check, engine)
    return [said for cut in rig.cuts(log, CUTS, SEED, scratch) if (said := rig.verdict(checker, cut))]


@pytest.mark.parametrize("engine", ["append-ahead", "lmdb", "wal-full"])
def test_an_engine_that_flushes_keeps_every_acknowledged_row(engine: str, tmp_path: Path) -> None:
    assert findings(engine, tmp_path) == []


@pytest.mark.parametrize("engine", ["lmdb-metasync-off", "wal-normal", "delete-full"])
def test_an_engine_that_saves_a_flush_is_caught(engine: str, tmp_path: Path) -> None:
    assert any(said.startswith("lost: ") for said in findings(engine, tmp_path))


def test_a_disk_that_swallows_flushes_is_caught(tmp_path: Path) -> None:
    assert findings("wal-full", tmp_path, mount_options="noatime,nobarrier")


def test_the_same_seed_cuts_at_the_same_places(tmp_path: Path) -> None:
    log = rig.record([sys.executable, "-m", "tests.powercut.engines", "append", "20"], 60, tmp_path)
    once, again = ([cut.description for cut in rig.cuts(log, 4, SEED, tmp_path)] for _ in range(2))
    assert once == again


def test_a_writer_that_fails_is_the_rigs_error_and_leaves_nothing_mounted(tmp_path: Path) -> None:
    with pytest.raises(rig.RigError, match="no engine 'nothing'"):
        rig.record([sys.executable, "-m", "tests.powercut.engines", "nothing", "1"], 60, tmp_path)
    assert str(tmp_path) not in Path("/proc/mounts").read_text(encoding="utf-8")
    attached = subprocess.run(
        ["losetup", "--associated", tmp_path / "export"], capture_output=True, check=False
    )
    assert attached.stdout == b""


def test_a_writer_that_never_ends_is_ended(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    script = f'echo 0; read -r _; echo 1; read -r _; touch "{heard}"; exec tail -f /dev/null'
    log = rig.record(["sh", "-c", script], 0.5, tmp_path, now_s=lambda: float(heard.exists()))
    assert list(log.acknowledged.values()) == [0, 1]


def test_a_checker_that_crashes_is_a_finding(tmp_path: Path) -> None:
    assert "FileNotFoundError" in str(
        rig.verdict(partial(engines.check, "append"), rig.Cut("", tmp_path / "no", 1))
    )
