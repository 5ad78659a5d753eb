"""The units of `systemd/` and the container: that what they name is there. Neither is started here."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from firmware.cli import COMMANDS

ROOT = Path(__file__).parent.parent
CONTAINER = ROOT / "deploy" / "Containerfile"
UNITS = {name: ROOT / "systemd" / f"gatepost-{name}.service" for name in ("gate", "bridge")}
EXPOSURE_MAX = 25  # tenths, of what `systemd-analyze security` counts; a service that asks for nothing has 96


def lines_of(path: Path) -> list[str]:
    """What a unit says, comments left out."""
    text = path.read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_a_command_that_there_is(name: str) -> None:
    (start,) = [line.partition("=")[2] for line in lines_of(UNITS[name]) if line.startswith("ExecStart=")]
    program, *arguments = shlex.split(start)
    assert Path(program).name == "gatepost"
    assert arguments[0] == name
    assert name in COMMANDS
    help_text = helped(arguments[0])
    for option in arguments[1::2]:
        assert option in help_text
    folder = arguments[arguments.index("--data") + 1]
    assert f"StateDirectory={folder.removeprefix('/var/lib/')}" in lines_of(UNITS[name])


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_again_for_ever_and_is_not_root(name: str) -> None:
    lines = lines_of(UNITS[name])
    assert {
        "Restart=always",
        "StartLimitIntervalSec=0",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
    } <= set(lines)
    assert any(line.startswith("User=gatepost") for line in lines)


def test_a_gate_may_ask_about_its_clock() -> None:
    filters = [line for line in lines_of(UNITS["gate"]) if line.startswith("SystemCallFilter=")]
    assert filters[-1] == "SystemCallFilter=adjtimex clock_adjtime", "behind what takes them away"
    assert not any(line.startswith("ProtectClock=yes") for line in lines_of(UNITS["gate"]))


@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_a_unit_and_finds_little_exposed(name: str, tmp_path: Path) -> None:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not there: the units are read by people only")
    unit = tmp_path / UNITS[name].name
    unit.write_text(
        UNITS[name].read_text("utf-8").replace("/opt/gatepost/bin/gatepost", sys.executable), "utf-8"
    )
    verified = subprocess.run([found, "verify", unit], capture_output=True, text=True, check=False)
    said = [line for line in verified.stderr.splitlines() if unit.name in line]
    assert said == []
    command = [found, "security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", "--no-pager", str(unit)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def helped(command: str) -> str:
    """What a command says of its arguments."""
    run = [sys.executable, "-m", "firmware.cli", command, "--help"]
    return subprocess.run(run, check=True, capture_output=True, text=True, cwd=ROOT).stdout


# --- the container -------------------------------------------------------------------------------------


def instructions(stage: str, word: str) -> list[str]:
    """The arguments of one instruction in a stage of the container's file."""
    text = CONTAINER.read_text("utf-8").replace("\\\n", " ")
    _, build, final = re.split(r"^FROM ", text, flags=re.MULTILINE)
    chosen = build if stage == "build" else final
    return re.findall(rf"^{word} (.+)$", chosen, re.MULTILINE)


def test_the_container_builds_the_wheel_from_what_it_copies(tmp_path: Path) -> None:
    for copied in instructions("build", "COPY"):
        *sources, target = copied.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            to = tmp_path / target / ("" if target == source else source)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / target)
            else:
                shutil.copy(ROOT / source, to)
    command = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        "out",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "out").glob("*.whl")
    assert "firmware/mqtt/link.py" in zipfile.ZipFile(wheel).namelist()
    assert "hatchling==" in (tmp_path / "requirements-dev.txt").read_text("utf-8")


def test_the_container_installs_by_digest_and_what_a_bridge_asks_for() -> None:
    (copied, wheels) = instructions("final", "COPY")
    assert copied.split()[0] == "requirements-bridge.txt"
    assert wheels == "--from=build /wheels /wheels"
    installs = [line for stage in ("build", "final") for line in instructions(stage, "RUN") if "pip" in line]
    for line in installs:
        assert "--require-hashes" in line or "--no-index" in line
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    locked = (ROOT / "requirements-bridge.txt").read_text("utf-8")
    for asked in extras["bridge"]:
        assert f"{re.split('[<>=]', asked)[0]}==" in locked
    for version in re.findall(r"^FROM python:([\d.]+)-slim", CONTAINER.read_text("utf-8"), re.MULTILINE):
        assert version in ("3.11", "3.12", "3.13"), "what the locked packages have wheels for"


def test_the_container_starts_the_bridge_as_nobody_in_particular() -> None:
    (user,) = instructions("final", "USER")
    assert int(user.split(":")[0]) > 0
    entry = json.loads(instructions("final", "ENTRYPOINT")[0])
    command = json.loads(instructions("final", "CMD")[0])
    assert entry == ["gatepost"]
    assert command[0] == "bridge"
    for option in command[1::2]:
        assert option in helped("bridge")
    assert command[-1] in instructions("final", "VOLUME")


def test_a_bridge_runs_without_the_libraries_of_a_gate() -> None:
    gate = (ROOT / "requirements-gate.txt").read_text("utf-8")
    bridge = (ROOT / "requirements-bridge.txt").read_text("utf-8")
    absent = {"lmdb": "lmdb", "pyserial": "serial", "rich": "rich"}
    for package in absent:
        assert f"\n{package}==" in f"\n{gate}"
        assert f"\n{package}==" not in f"\n{bridge}"
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({list(absent.values())}))\n"
        "import firmware.bridge.service, firmware.bridge.command\n"
        "from firmware.cli import main; main(['bridge', '--help'])"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)
