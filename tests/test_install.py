"""`deploy/install.sh`, run below a folder of the test with stand-ins for what would change this machine."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hal import wiring

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "deploy" / "install.sh"
UNIT = ROOT / "systemd" / "gate.service"
PATIENCE_S = 60.0  # only a failing test waits this long

# Each says what it was called with; `python3 -m venv` makes one that does the same.
STAND_IN = '#!/bin/sh\nprintf "%s %s\\n" "$(basename "$0")" "$*" >>"$CALLS"\n'
PYTHON = (
    STAND_IN
    + """[ "$*" = "${*#*-m venv}" ] || { mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; }
[ "$*" = "${*#*--requirement}" ] || cat "$(printf '%s\\n' "$@" | tail -1)" >"$CALLS.requirements"
"""
)


class Machine:
    """A Raspberry Pi in a folder: `bin` comes before the real commands, the rest below `root`."""

    def __init__(self, folder: Path) -> None:
        self.root, self.bin, self.calls = folder / "root", folder / "bin", folder / "calls"
        self.root.mkdir()
        self.bin.mkdir()
        self.release = folder / "release"
        (self.release / "dist").mkdir(parents=True)
        for part in ("deploy", "systemd"):
            shutil.copytree(ROOT / part, self.release / part)
        shutil.copy(ROOT / "requirements-gate.txt", self.release)
        (self.release / "dist" / "gatepost-9.9.9-py3-none-any.whl").write_text("a wheel")
        self.has("python3", PYTHON)
        self.has("uname", "#!/bin/sh\necho aarch64\n")
        self.has("getent", "#!/bin/sh\nexit 2\n")
        self.has("dpkg-query", '#!/bin/sh\necho "install ok installed"\n')
        for name in ("apt-get", "groupadd", "useradd", "systemctl", "udevadm"):
            self.has(name)

    def has(self, name: str, script: str = STAND_IN) -> None:
        """Put a command in place."""
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def install(self, *options: str, rooted: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        self.calls.write_text("")
        below = ["--root", str(self.root)] if rooted else []
        command = ["sh", str(self.release / "deploy" / "install.sh"), *below, *options]
        environment = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", "CALLS": str(self.calls)}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )

    def files(self) -> dict[str, tuple[str, int]]:
        """What lies below the root, with the time of its last change."""
        return {
            str(path.relative_to(self.root)): (path.read_text(), path.stat().st_mtime_ns)
            for path in self.root.rglob("*")
            if path.is_file()
        }

    def called(self, name: str) -> list[str]:
        """What a command was called with."""
        lines = self.calls.read_text().splitlines()
        return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_it_is_understood_by_a_plain_shell() -> None:
    for shell in filter(shutil.which, ("sh", "dash", "bash")):
        subprocess.run([shell, "-n", SCRIPT], check=True)


def test_it_lays_out_program_rules_and_unit(machine: Machine) -> None:
    done = machine.install()
    assert done.returncode == 0, done.stderr
    files = {name: text for name, (text, _) in machine.files().items()}
    assert files["etc/systemd/system/gate.service"] == UNIT.read_text()
    for unit in ("take-up.service", "gate-reboot.path", "gate-reboot.service"):
        assert files[f"etc/systemd/system/{unit}"] == UNIT.with_name(unit).read_text()
    assert files["etc/udev/rules.d/60-gatepost.rules"] == (ROOT / "deploy/60-gatepost.rules").read_text()
    assert "RuntimeWatchdogSec=" in files["etc/systemd/system.conf.d/60-gatepost.conf"]
    assert {"cdc_acm", "usbserial"} <= set(files["etc/modules-load.d/60-gatepost.conf"].splitlines())
    assert files["opt/gatepost/installed.whl"] == "a wheel"
    assert (machine.root / "etc/gatepost").is_dir()
    assert (machine.root / "usr/local/bin/gatepost").readlink() == Path("/opt/gatepost/bin/gatepost")
    for what in (
        "groupadd --system gpio",
        "useradd --system",
        "install -d -o gatepost -g gatepost -m 0700 /var/lib/gatepost",
        "systemctl --quiet enable gate.service take-up.service gate-reboot.path",
        "rm -f /run/gatepost/reboot\ninstall: would run: systemctl start gate-reboot.path\n",
    ):
        assert f"would run: {what}" in done.stdout
    assert machine.called("useradd") == machine.called("systemctl") == machine.called("apt-get") == []
    assert "still to do: write /etc/gatepost/gate.toml" in done.stdout


def test_whoever_made_the_machine_the_gates_user_can_read_its_program(machine: Machine) -> None:
    asked_for_less = os.umask(0o077)
    try:
        assert machine.install().returncode == 0
    finally:
        os.umask(asked_for_less)
    for path in ("opt/gatepost", "opt/gatepost/bin", "usr/local/bin"):
        assert (machine.root / path).stat().st_mode & 0o777 == 0o755, path


def test_every_library_is_installed_by_its_digest(machine: Machine) -> None:
    machine.install()
    libraries, wheel = (call for call in machine.called("python") if "install" in call)
    assert "--require-hashes" in libraries
    assert libraries.endswith("/requirements-gate.txt")
    assert wheel.endswith("gatepost-9.9.9-py3-none-any.whl")
    assert "--no-deps --no-index" in wheel


def test_a_folder_of_wheels_needs_no_network_and_keeps_the_versions(machine: Machine, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    assert machine.install("--wheels", str(wheels)).returncode == 0
    libraries = next(call for call in machine.called("python") if "--requirement" in call)
    assert f"--no-index --find-links {wheels}" in libraries
    asked = Path(f"{machine.calls}.requirements").read_text()
    locked = (ROOT / "requirements-gate.txt").read_text()
    wanted = [line.rstrip(" \\") for line in locked.splitlines() if "==" in line]
    assert [line for line in asked.splitlines() if line.strip()] == wanted
    assert "--hash" not in asked


def test_a_second_run_changes_nothing(machine: Machine) -> None:
    machine.install()
    before = machine.files()
    done = machine.install()
    assert done.returncode == 0
    assert machine.files() == before
    assert "written" not in done.stdout
    assert "daemon-reload" not in done.stdout
    assert not any("--force-reinstall" in call for call in machine.called("python"))


def test_settings_and_board_file_stay_as_they_are_and_a_new_release_is_taken(machine: Machine) -> None:
    machine.install()
    settings = machine.root / "etc/gatepost/gate.toml"
    settings.write_text("# mine\n")
    (machine.root / "etc/systemd/system/gate.service").write_text("# an older release's\n")
    (machine.release / "dist" / "gatepost-9.9.9-py3-none-any.whl").write_text("a newer wheel")
    done = machine.install()
    assert settings.read_text() == "# mine\n"
    files = machine.files()
    assert files["etc/systemd/system/gate.service"][0] == UNIT.read_text()
    assert files["opt/gatepost/installed.whl"][0] == "a newer wheel"
    assert "would run: systemctl daemon-reload" in done.stdout
    assert "write /etc/gatepost/gate.toml" not in done.stdout


def test_only_packages_that_are_missing_are_asked_for_and_none_where_that_is_not_wanted(
    machine: Machine,
) -> None:
    machine.has("dpkg-query", '#!/bin/sh\ncase "$*" in *gcc*) exit 1 ;; esac; echo "install ok installed"\n')
    assert "apt-get -qq install --no-install-recommends -y gcc\n" in machine.install().stdout
    assert "apt-get" not in machine.install("--no-apt").stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--whels"], "no option --whels"),
        (["--wheel"], "--wheel needs a value"),
        (["--wheel", "nowhere.whl"], "--wheel nowhere.whl: there is no such file"),
        (["--wheels", "nowhere"], "--wheels nowhere: there is no such folder"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_done(
    machine: Machine, options: list[str], said: str
) -> None:
    done = machine.install(*options)
    assert (done.returncode, said in done.stderr) == (2, True)
    assert machine.files() == {}


@pytest.mark.parametrize(
    ("command", "script", "said"),
    [
        ("uname", "#!/bin/sh\necho armv7l\n", "64 bit"),
        ("python3", "#!/bin/sh\nexit 1\n", "Python 3.11 or later"),
    ],
)
def test_a_machine_that_cannot_be_a_gate_is_refused_in_words(
    machine: Machine, command: str, script: str, said: str
) -> None:
    machine.has(command, script)
    done = machine.install()
    assert (done.returncode, said in done.stderr) == (2, True)
    assert machine.files() == {}


def test_without_root_it_says_how_and_does_nothing(machine: Machine) -> None:
    machine.has("id", "#!/bin/sh\necho 1000\n")
    done = machine.install(rooted=False)
    assert done.returncode == 2
    assert "sudo sh deploy/install.sh" in done.stderr
    assert machine.calls.read_text().count("\n") <= 1, "at most it has asked for the version of Python"


@pytest.mark.parametrize(
    "names", [(), ("gatepost-9.9.8-py3-none-any.whl", "gatepost-9.9.9-py3-none-any.whl")]
)
def test_it_does_not_guess_which_wheel_is_meant(machine: Machine, names: tuple[str, ...]) -> None:
    shutil.rmtree(machine.release / "dist")
    (machine.release / "dist").mkdir()
    for name in names:
        (machine.release / "dist" / name).write_text("a wheel")
    done = machine.install()
    assert done.returncode == 2
    assert ("choose with --wheel" if names else "no gatepost wheel") in done.stderr


def test_a_library_that_does_not_load_is_no_success(machine: Machine) -> None:
    machine.has("python3", PYTHON + 'case "$*" in *"import evdev"*) exit 1 ;; esac\n')
    done = machine.install()
    assert done.returncode == 2
    assert "a library does not load" in done.stderr


# --- what it lays out --------------------------------------------------------------------------------------


def test_the_rules_hand_devices_to_the_groups_that_the_unit_has() -> None:
    rules = (ROOT / "deploy" / "60-gatepost.rules").read_text()
    groups = set(re.findall(r'GROUP="(\w+)"', rules))
    (line,) = re.findall(r"^SupplementaryGroups=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert groups == set(line.split())
    assert all(f" {group} " in SCRIPT.read_text().replace(";", " ") for group in groups), "it makes them"
    for rule in (line for line in rules.splitlines() if line and not line.startswith("#")):
        assert re.fullmatch(r'(?:[A-Z]+(?:\{\w+\})?(?:==|=)"[^"]*"(?:, |$))+', rule), rule


def test_the_lines_for_the_firmware_keep_every_pin_of_the_example_inactive() -> None:
    board = wiring.read(str(ROOT / "deploy" / "boards" / "tripod.toml"))
    levels, pulls = {0: "dl", 1: "dh"}, {"up": "pu", "down": "pd", "none": "pn"}
    wanted = [f"gpio={line.pin}=op,{levels[line.inactive_level]}" for line in board.lines]
    wanted += [f"gpio={seen.pin}=ip,{pulls[seen.pull]}" for seen in board.inputs]
    lines = (ROOT / "deploy" / "boot-config.txt").read_text().splitlines()
    said = [line for line in lines if line and not line.startswith("#")]
    assert sorted(said) == sorted([*wanted, "[all]", "dtparam=watchdog=on"])
