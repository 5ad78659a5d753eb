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
from firmware.in_force import BOARD
from firmware.managed.obeying import REBOOT_FILE, REBOOT_UNIT

ROOT = Path(__file__).parent.parent
CONTAINER = ROOT / "deploy" / "Containerfile"
UNITS = {name: ROOT / "systemd" / f"{name}.service" for name in ("gate", "bridge")}
ALL_UNITS = UNITS | {
    name: ROOT / "systemd" / f"{name}.service" for name in ("fleet", "take-up", "gate-reboot")
}
PACKAGE = "systemd"  # has systemd-analyze
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


def test_what_runs_after_a_gate_is_a_command_that_needs_no_data() -> None:
    (after,) = [
        line.partition("=")[2] for line in lines_of(UNITS["gate"]) if line.startswith("ExecStopPost=")
    ]
    _, command, *arguments = shlex.split(after)
    assert command in COMMANDS
    in_memory = ["--in-force", f"/run/gatepost/{BOARD}"]
    assert arguments == ["--board", "/etc/gatepost/board.toml", *in_memory]
    assert "RuntimeDirectory=gatepost" in lines_of(UNITS["gate"])
    assert {"--board", "--in-force"} <= set(helped(command).replace(",", " ").split())


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_again_for_ever_and_is_not_root(name: str) -> None:
    lines = lines_of(UNITS[name])
    assert {"Restart=always", "CapabilityBoundingSet=", "NoNewPrivileges=yes"} <= set(lines)
    assert any(line.startswith("User=gatepost") for line in lines)
    said = dict(line.split("=", 1) for line in lines if "=" in line)
    limit_s = int(said["StartLimitIntervalSec"].removesuffix("s"))
    if limit_s:  # systemd's own restarts come at most this often, and must not reach the limit
        assert limit_s / int(said["RestartSec"].removesuffix("s")) <= int(said["StartLimitBurst"]) / 2


def test_a_gate_that_stands_still_is_replaced_within_two_seconds() -> None:
    """Watchdog, SIGABRT, SIGKILL; `release` begins after that, and takes what a Python takes to start."""
    said = dict(line.split("=", 1) for line in lines_of(UNITS["gate"]) if "=" in line)
    milliseconds = [
        float(value.removesuffix("ms")) if value.endswith("ms") else float(value.removesuffix("s")) * 1000
        for value in (said["WatchdogSec"], said["TimeoutAbortSec"])
    ]
    assert sum(milliseconds) <= 1500
    assert said["Type"] == "notify"
    assert said["ExecStopPost"].split()[:2] == ["/opt/gatepost/bin/gatepost", "release"]


def test_a_gate_writes_to_one_folder_on_disk_and_lgpio_to_memory() -> None:
    lines = lines_of(UNITS["gate"])
    assert "ProtectSystem=strict" in lines
    assert [line for line in lines if line.startswith(("StateDirectory=", "ReadWritePaths="))] == [
        "StateDirectory=gatepost"
    ]
    assert "RuntimeDirectory=gatepost" in lines, "hal.chips puts lgpio's pipes there"


def test_a_gate_may_ask_about_its_clock() -> None:
    filters = [line for line in lines_of(UNITS["gate"]) if line.startswith("SystemCallFilter=")]
    assert filters[-1] == "SystemCallFilter=adjtimex clock_adjtime", "behind what takes them away"
    assert not any(line.startswith("ProtectClock=yes") for line in lines_of(UNITS["gate"]))


@pytest.fixture(scope="module")
def systemd_analyze() -> str:
    """The program that reads units as systemd does."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip(f"no systemd-analyze (Debian package {PACKAGE}): units are read by people only")
    return found


def unit_to_read(name: str, folder: Path) -> Path:
    """The unit with a program that this machine has."""
    unit = folder / ALL_UNITS[name].name
    text = ALL_UNITS[name].read_text("utf-8")
    unit.write_text(text.replace("/opt/gatepost/bin/gatepost", sys.executable), "utf-8")
    return unit


def test_a_fleet_serves_from_the_folder_that_its_unit_gives_it() -> None:
    lines = lines_of(ALL_UNITS["fleet"])
    assert "ExecStart=/opt/gatepost/bin/gatepost fleet serve /var/lib/gatepost-fleet" in lines
    assert {"StateDirectory=gatepost-fleet", "User=gatepost-fleet", "Restart=always"} <= set(lines)
    assert "fleet" in COMMANDS


def test_a_bundle_is_taken_up_before_the_gate_starts_and_cannot_keep_it_from_starting() -> None:
    lines = lines_of(ALL_UNITS["take-up"])
    (start,) = [line.partition("=")[2] for line in lines if line.startswith("ExecStart=")]
    _, command, *arguments = shlex.split(start)
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert command in COMMANDS
    assert given.keys() <= set(re.findall(r"--[a-z]+", helped(command)))
    assert f"ConditionPathExists={given['--bundle']}" in lines
    assert "Before=gate.service" in lines
    assert not any("take-up" in line for line in lines_of(UNITS["gate"])), "a gate waits for no bundle"
    gate = shlex.split(next(line for line in lines_of(UNITS["gate"]) if line.startswith("ExecStart=")))
    assert gate[gate.index("--data") + 1] == given["--data"]
    assert gate[gate.index("--config") + 1] == f"{given['--etc']}/gate.toml"


def test_a_gate_may_have_its_computer_rebooted_and_knows_whether_it_may() -> None:
    """The file that starts it lies in the gate's own folder, and goes before the reboot comes."""
    watched = lines_of(ROOT / "systemd" / "gate-reboot.path")
    assert f"PathExists=/{REBOOT_FILE}" in watched
    (wanted,) = [line.partition("=")[2] for line in watched if line.startswith("WantedBy=")]
    assert Path(f"etc/systemd/system/{wanted}.wants/gate-reboot.path") == REBOOT_UNIT
    assert f"RuntimeDirectory={REBOOT_FILE.parent.name}" in lines_of(UNITS["gate"])
    starts = [line for line in lines_of(ALL_UNITS["gate-reboot"]) if line.startswith("ExecStart=")]
    assert starts == [
        f"ExecStart=/usr/bin/rm -f /{REBOOT_FILE}",
        "ExecStart=/usr/bin/systemctl --no-block reboot",
    ]


@pytest.mark.parametrize("name", ALL_UNITS)
def test_systemd_understands_every_word_of_a_unit(name: str, systemd_analyze: str, tmp_path: Path) -> None:
    unit = unit_to_read(name, tmp_path)
    command = [systemd_analyze, "verify", str(unit)]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    said = (verified.stdout + verified.stderr).splitlines()
    assert [line for line in said if unit.name in line] == [], (
        "warnings are on standard error, with exit code 0"
    )
    assert verified.returncode == 0


@pytest.mark.parametrize("name", ALL_UNITS)
def test_little_of_a_unit_is_exposed_and_the_unit_says_why(
    name: str, systemd_analyze: str, tmp_path: Path
) -> None:
    unit = unit_to_read(name, tmp_path)
    command = [systemd_analyze, "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX}"]
    assert subprocess.run([*command, str(unit)], capture_output=True, check=False).returncode == 0
    listed = subprocess.run([*command, "--json=short", str(unit)], capture_output=True, text=True, check=True)
    opened = {entry["name"] for entry in json.loads(listed.stdout) if entry["exposure"]}
    text = ALL_UNITS[name].read_text("utf-8").partition("still finds open")[2]
    reasons = " ".join(line.removeprefix("#").strip() for line in text.splitlines())
    assert sorted(point for point in opened if point not in reasons) == []


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
        name = re.split(r"[\[<>=]", asked)[0]
        assert f"\n{name}==" in f"\n{locked}"
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
