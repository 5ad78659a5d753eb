"""`gatepost doctor` from outside: what it prints, its exit codes, what it leaves alone."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from firmware.config import load
from firmware.doctor import findings
from firmware.doctor.check import Check, Finding, Verdict, as_json, as_lines, count, worst
from firmware.doctor.examine import Surroundings, examine
from firmware.doctor.findings import FINDINGS
from tests.commands import COMMAND, PATIENCE_S, Running, environment, run
from tests.doctor.test_pins import PI_CHIP, TRIPOD, probe
from tests.doctor.test_stores import fill, gate_at_work
from tests.doctor.trees import SCANNER_KEYS, Tree

ROOT = Path(__file__).parents[2]
GOOD = Check("a", Verdict.OK, "well")
ODD = Check("b", Verdict.WARNING, "not so well", "look")
BAD = Check("c", Verdict.FAULT, "ill", "mend it")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of a gate with the fake board, whose reader is a pipe."""
    pipe = tmp_path / "codes"
    os.mkfifo(pipe)
    file = tmp_path / "gate.toml"
    file.write_text(f'[[lane]]\nname = "north"\n[[lane.reader]]\nkind = "lines"\npath = "{pipe}"\n')
    return file


@pytest.fixture
def wired(tmp_path: Path) -> Path:
    """Settings of a gate with the tripod's board file on this machine, which has no such chip."""
    file = tmp_path / "wired.toml"
    file.write_text(
        f'[board]\nname = "gpio"\nfile = "{TRIPOD}"\n'
        '[[lane]]\nname = "1"\ndirection = "both"\n'
        '[[lane.reader]]\nkind = "serial"\ndevice = "/dev/serial/by-id/none"\ndirection = "in"\n'
        '[[lane.reader]]\nkind = "evdev"\ndevice = "/dev/input/by-id/none"\ndirection = "out"\n'
    )
    return file


# --- what is shown -----------------------------------------------------------------------------------


def test_people_get_a_line_and_the_mend_below_it_and_programs_one_document() -> None:
    assert as_lines([GOOD, BAD]) == [
        "ok       a            well",
        "fault    c            ill",
        "                      mend: mend it",
    ]
    document = json.loads(as_json([GOOD, ODD]))
    assert document["verdict"] == "warning"
    assert document["checks"][1] == {"name": "b", "verdict": "warning", "text": "not so well", "mend": "look"}
    assert count([GOOD, ODD, BAD, BAD]) == "2 faults, 1 warning, 1 ok"
    assert count([BAD]) == "1 fault, 0 warnings, 0 ok"


def test_the_worst_check_is_the_verdict_on_all() -> None:
    assert worst([]) is worst([GOOD]) is Verdict.OK
    assert worst([GOOD, ODD]) is Verdict.WARNING
    assert worst([BAD, ODD, GOOD]) is Verdict.FAULT


def test_whatever_is_not_well_comes_with_a_mend_and_is_found_somewhere() -> None:
    used = "".join(path.read_text() for path in (ROOT / "firmware/doctor").glob("*.py"))
    named = {name: value for name, value in vars(findings).items() if isinstance(value, Finding)}
    assert list(named.values()) == list(FINDINGS)
    for name, finding in named.items():
        assert bool(finding.mend) is (finding.verdict is not Verdict.OK), name
        assert len(finding.name) <= 12, name
        assert f"findings.{name}" in used, f"nothing finds {name}"


# --- looking -----------------------------------------------------------------------------------------


def test_a_healthy_pi_with_a_gate_that_rests_has_no_fault(tmp_path: Path, tree: Tree) -> None:
    data, config = tmp_path / "data", tmp_path / "gate.toml"
    fill(data)
    device = tree.serial("ttyACM0")
    by_id = "usb-Honeywell_Voyager-event-kbd"
    tree.input(1, "Honeywell Voyager", SCANNER_KEYS, by_id=by_id)
    tree.write("dev/gpiochip0", "")
    config.write_text(
        f'[board]\nname = "gpio"\nfile = "{TRIPOD}"\n[[lane]]\nname = "1"\ndirection = "both"\n'
        f'[[lane.reader]]\nkind = "serial"\ndevice = "{device}"\ndirection = "in"\n'
        f'[[lane.reader]]\nkind = "evdev"\ndevice = "/dev/input/by-id/{by_id}"\ndirection = "out"\n'
    )
    around = Surroundings(tree.machine, probe(PI_CHIP), lambda: True, lambda: 1.8e9)
    found = list(examine(around, load(config), config, data))
    assert [check for check in found if check.verdict is Verdict.FAULT] == []
    assert [check.name for check in found if check.verdict is Verdict.WARNING] in ([], ["user"])
    names = ["settings", "board", "pins", "library", "reader", "user", "gate", "journal", "catalogue"]
    names += ["disk", "machine", "memory", "clock", "supply", "heat", "broker"]
    assert list(dict.fromkeys(check.name for check in found)) == names


def test_a_look_that_breaks_off_is_a_fault_and_the_others_go_on(config: Path, tree: Tree) -> None:
    def broken() -> bool:
        raise OSError("no such call")

    around = Surroundings(tree.machine, probe(), broken, lambda: 1.8e9)
    found = list(examine(around, load(config), config, None))
    assert findings.LOOK_FAILED.seen(thing="machine", problem="OSError: no such call") in found
    assert found[-1] == findings.NO_BROKER.seen()


def test_a_gate_on_this_machine_is_looked_at_and_the_exit_code_says_how_it_is(
    config: Path, wired: Path
) -> None:
    done = run("doctor", "--config", config)
    faults = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("fault ")]
    assert set(faults) <= {"memory", "supply", "heat"}, done.stdout  # of the machine that runs the test
    assert done.returncode == bool(faults)
    assert done.stderr == ""
    assert done.stdout.splitlines()[0].startswith(f"ok       settings     {config}: lanes north; readers: 1")
    assert done.stdout.splitlines()[-1].startswith(f"{len(faults)} fault")
    faulty = run("doctor", "--config", wired, "--json")
    assert faulty.returncode == 1
    document = json.loads(faulty.stdout)
    assert document["verdict"] == "fault"
    assert {"reader", "pins"} <= {one["name"] for one in document["checks"] if one["verdict"] == "fault"}


def test_bad_settings_are_refused_with_all_their_problems(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text('[gate]\nnam = "a"\n[[lane]]\nname = "1"\nunlock_ms = 1\n')
    for more in ((), ("--json",), ("--fire", "--yes")):
        done = run("doctor", "--config", file, *more)
        assert done.returncode == 2
        assert done.stdout == ""
        assert "gate.nam: no such setting" in done.stderr
        assert "lane[1].unlock_ms" in done.stderr


def test_beside_a_gate_at_work_it_looks_and_leaves_the_parts_alone(config: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    fill(data)
    with gate_at_work(data) as process:
        looked = run("doctor", "--config", config, "--data", data, "--json")
        checks = json.loads(looked.stdout)["checks"]
        faults = [one["text"] for one in checks if one["verdict"] == "fault"]
        kinds = ("is tmpfs", "MiB available", "voltage", "°C")  # of the machine that runs the test
        assert all(any(kind in text for kind in kinds) for text in faults), faults
        texts = [one["text"] for one in checks]
        assert f"a gate is running on {data} (process {process})" in texts
        for part in ("--fire", "--watch", "--read"):
            refused = run(
                "doctor", "--config", config, "--data", data, part, *(["--yes"] * (part == "--fire"))
            )
            assert refused.returncode == 2
            assert f"a gate has the parts (process {process}): systemctl stop gate" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--yes",), "--yes goes with --fire only"),
        (("--json", "--watch"), "take one out"),
        (("--json", "--calibrate"), "take one out"),
        (("--fire",), "use it in a terminal, or with --yes"),
        (("--fire", "--read"), "not allowed with"),
        (("--calibrate",), "--calibrate is for scanners that type"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(
    config: Path, arguments: tuple[str, ...], told: str
) -> None:
    done = run("doctor", "--config", config, *arguments)
    assert done.returncode == 2
    assert told in done.stderr


BLOCKED = (
    "import sys\nsys.modules[{name!r}] = None\nfrom firmware.cli import main\nsys.exit(main(sys.argv[1:]))\n"
)
NO_XKB = (
    "import sys, hal.xkb\nhal.xkb.library.__defaults__ = ('libxkbcommon.so.none',)\n"
    "from firmware.cli import main\nsys.exit(main(sys.argv[1:]))\n"
)


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (BLOCKED.format(name="lgpio"), "needs the library lgpio"),
        (BLOCKED.format(name="gpiozero"), "gpiozero is not installed"),
        (BLOCKED.format(name="evdev"), "evdev is not installed, which evdev readers need"),
        (BLOCKED.format(name="serial"), "serial is not installed, which serial readers need"),
        (NO_XKB, "libxkbcommon.so.none is not installed: apt-get install libxkbcommon0"),
    ],
)
def test_a_library_that_is_missing_is_a_fault_with_its_mend(wired: Path, program: str, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program, "doctor", "--config", str(wired), "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(),
        check=False,
    )
    assert done.returncode == 1, done.stderr
    faults = [one for one in json.loads(done.stdout)["checks"] if one["verdict"] == "fault"]
    assert any(told in one["text"] and one["mend"] for one in faults), faults


# --- parts -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_parts_of_the_fake_board_are_fired_without_a_question(config: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    done = run("doctor", "--config", config, "--data", tmp_path / "data", "--fire", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    texts = [one["text"] for one in json.loads(done.stdout)["checks"]]
    assert "lane north, in: fired, and the sensor saw somebody pass" in texts
    assert "lane north: showed red, green, yellow, blue, white; whether it was seen, nobody said" in texts


def test_nothing_is_fired_on_a_chip_that_is_not_there(wired: Path) -> None:
    done = run("doctor", "--config", wired, "--fire", "--yes")
    assert done.returncode == 2
    assert "board.chip: no GPIO chip has the label" in done.stderr


def test_a_code_is_read_from_each_reader(config: Path) -> None:
    pipe = config.with_name("codes")
    handle = os.open(pipe, os.O_RDWR)  # both ways, so that neither side waits for the other
    try:
        with Running("doctor", "--config", config, "--read") as doctor:
            doctor.out.expect("hold a code to each reader: lane north, ")
            os.write(handle, b"A B\n")
            doctor.out.expect(r"ok +code +lane north, .*: 3 characters: A.B")
            assert doctor.end() == 0
    finally:
        os.close(handle)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_watching_ends_with_the_signal_that_came(config: Path, number: int) -> None:
    with Running("doctor", "--config", config, "--watch") as doctor:
        pipe = config.with_name("codes")
        handle = os.open(pipe, os.O_RDWR)
        try:
            os.write(handle, b"X\n")
            doctor.out.expect(r"lane north, reader .*: 1 characters: X")
            doctor.signal(number)
            assert doctor.end() == 128 + number
        finally:
            os.close(handle)
        assert doctor.err.rest() == []


def test_who_does_not_wait_for_the_end_of_an_alarm_leaves_the_lanes_to_release(tmp_path: Path) -> None:
    board, config = tmp_path / "board.toml", tmp_path / "gate.toml"
    board.write_text(TRIPOD.read_text().replace('"lgpio"', '"mock"'))  # nothing closes its alarm contact
    config.write_text(
        f'[board]\nname = "gpio"\nfile = "{board}"\n[[lane]]\nname = "1"\ndirection = "both"\nsensor = true\n'
    )
    with Running("doctor", "--config", config, "--watch") as doctor:
        doctor.out.expect("alarm: active")
        doctor.signal(signal.SIGINT)
        doctor.err.expect("alarm: the lanes are kept free until it is over")
        doctor.signal(signal.SIGINT)
        doctor.out.expect('factory = "mock" has no pins')  # what release says of this board
        assert doctor.end() == 128 + signal.SIGINT


class Terminal:
    """A person at a terminal, who sees what the command says and types answers."""

    def __init__(self, *arguments: str | Path) -> None:
        self._ours, theirs = pty.openpty()
        command = [*COMMAND, *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(), close_fds=True
        )
        os.close(theirs)
        self.seen, self._read_to = "", 0

    def until(self, text: str) -> None:
        """Read until this has appeared, after what was waited for before."""
        end = time.monotonic() + PATIENCE_S
        while (found := self.seen.find(text, self._read_to)) < 0:
            ready, _, _ = select.select([self._ours], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} did not come: {self.seen}"
            try:
                self.seen += os.read(self._ours, 4096).decode()
            except OSError:
                raise AssertionError(f"{text!r} did not come: {self.seen}") from None
        self._read_to = found + len(text)

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._ours, f"{text}\n".encode())

    def hang_up(self) -> None:
        """Close the terminal."""
        os.close(self._ours)
        self._ours = -1

    def close(self) -> None:
        """End it, if it is still there."""
        self.process.kill()
        self.process.wait(PATIENCE_S)
        if self._ours >= 0:
            self.hang_up()


@contextmanager
def terminal(*arguments: str | Path) -> Iterator[Terminal]:
    made = Terminal(*arguments)
    try:
        yield made
    finally:
        made.close()


def test_a_person_is_asked_before_each_part_and_believed(config: Path) -> None:
    with terminal("doctor", "--config", config, "--fire") as person:
        person.until("stand clear. Fire its parts? [y/n]")
        person.type("perhaps")
        person.until("[y/n]")
        person.type("y")
        person.until("could you pass? [y/n]")
        person.type("n")
        person.until("locked while nothing is fired")
        person.until("fire in? [y/n]")
        person.type("y")
        person.until("Pass once: could you? [y/n]")
        person.type("y")
        person.until("could you still pass? [y/n]")
        person.type("n")
        person.until("is the lamp red? [y/n]")
        person.type("n")
        person.until("red was not seen")
        for _ in range(4):
            person.until("[y/n]")
            person.type("y")
        person.until("did you hear the buzzer? [y/n]")
        person.type("yes")
        person.until("1 fault, ")
        assert person.process.wait(PATIENCE_S) == 1


def test_a_terminal_that_goes_ends_the_firing(config: Path) -> None:
    with terminal("doctor", "--config", config, "--fire") as person:
        person.until("[y/n]")
        person.hang_up()
        assert person.process.wait(PATIENCE_S) != 0
