"""`gatepost release` from outside, without a chip: what it says and returns, and how little it needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import PATIENCE_S, run

LANE = """
[[lane]]
name = "left"
without_power = "open"
free_by = "hold"
[lane.both]
pin = 22
active = "high"
drive = "hold"
[lane.lamp]
red = 9
green = 10
"""
HEAVY = {"firmware.config", "firmware.gate", "gpiozero", "lmdb", "msgspec", "paho", "rich", "sqlite3"}


def board_file(folder: Path, chip: str) -> Path:
    path = folder / "board.toml"
    path.write_text(f"[board]\n{chip}\n{LANE}")
    return path


def test_a_board_without_pins_has_nothing_to_release(tmp_path: Path) -> None:
    done = run("release", "--board", board_file(tmp_path, 'factory = "mock"'))
    assert (done.returncode, done.stderr) == (0, "")
    assert "no pins" in done.stdout


@pytest.mark.parametrize(
    ("chip", "said"),
    [
        ('factory = "lgpio"\nchip = "no-such-chip"', "no-such-chip"),
        ('factory = "lgpoi"\nchip = "pinctrl-bcm2711"', "lgpoi"),
    ],
)
def test_a_board_that_is_not_there_is_refused_in_words(tmp_path: Path, chip: str, said: str) -> None:
    done = run("release", "--board", board_file(tmp_path, chip))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_board_file_that_is_not_there_is_refused_in_words(tmp_path: Path) -> None:
    done = run("release", "--board", tmp_path / "board.toml")
    assert done.returncode == 2
    assert "board.toml" in done.stderr


def test_a_board_that_a_gate_left_in_memory_is_released_instead(tmp_path: Path) -> None:
    board = board_file(tmp_path, 'factory = "lgpio"\nchip = "no-such-chip"')
    (tmp_path / "run").mkdir()
    in_force = board_file(tmp_path / "run", 'factory = "mock"')
    done = run("release", "--board", board, "--in-force", in_force)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no pins" in done.stdout
    for damaged in (True, False):
        if damaged:
            in_force.write_text("[board")
        else:
            in_force.unlink()
        done = run("release", "--board", board, "--in-force", in_force)
        assert done.returncode == 2
        assert ("is not TOML" in done.stderr) is damaged
        assert "no-such-chip" in done.stderr


def test_a_release_imports_nothing_that_it_could_do_without(tmp_path: Path) -> None:
    """It runs while a lane may be open: half of its time is lgpio, and half of the rest is Python itself."""
    board = str(board_file(tmp_path, 'factory = "mock"'))
    code = (
        "import sys; from firmware.cli import main\n"
        f"code = main(['release', '--board', {board!r}])\n"
        "print(*sorted(sys.modules)); sys.exit(code)"
    )
    command = [sys.executable, "-c", code]
    # A measured process has imported the measure first.
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=PATIENCE_S, env=unmeasured
    )
    assert HEAVY.isdisjoint(done.stdout.splitlines()[-1].split())
