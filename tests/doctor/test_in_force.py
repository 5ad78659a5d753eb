"""The doctor looks at the settings that the gate is opened with, also where they came from afar."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from firmware.config import Settings
from firmware.doctor.in_force import in_force
from firmware.stored_settings import ENROLMENT, FILE, FOLDER, Stored, Version
from tests.commands import Running, run
from tests.doctor.test_pins import TRIPOD

OWN = '[[lane]]\nname = "own"\n'
AFAR = '[[lane]]\nname = "afar"\n'
LATER = '[[lane]]\nname = "later"\n[of_a_later_release]\n'
WIRED = '[board]\nname = "gpio"\nfile = "{board}"\n[[lane]]\nname = "1"\ndirection = "both"\nsensor = true\n'
MOCK = TRIPOD.read_text().replace('"lgpio"', '"mock"')


class Gate:
    """What lies on the disk of one."""

    def __init__(self, folder: Path) -> None:
        self.config, self.data = folder / "gate.toml", folder / "data"
        self.config.write_text(OWN)
        self.data.mkdir()
        self.said: list[str] = []

    def take(self, version: int, settings: str, board: str = "", good: bool = True) -> None:
        """Settings came."""
        stored = Stored(self.data / FOLDER)
        stored.accept(Version(version, "ann", "mark", settings, board), (), connected=False)
        if good:
            stored.prove()

    @contextmanager
    def looked_at(self, must: bool = False) -> Iterator[tuple[Settings, str]]:
        with in_force(self.config, self.data, self.said.append, must) as found:
            yield found

    def lane(self) -> str:
        """The lane of the settings that are looked at."""
        with self.looked_at() as (settings, _):
            return settings.lanes[0].setup.name


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def test_the_file_counts_where_nothing_came_and_where_no_data_is_named(gate: Gate) -> None:
    assert gate.lane() == "own"
    gate.take(1, AFAR)
    with in_force(gate.config, None, gate.said.append, must=False) as (settings, name):
        assert (settings.lanes[0].setup.name, name) == ("own", str(gate.config))


def test_what_is_on_trial_counts_then_what_was_good_as_the_gate_has_it(gate: Gate) -> None:
    gate.take(1, AFAR)
    assert gate.lane() == "afar"
    gate.take(2, AFAR.replace("afar", "trial"), good=False)
    assert gate.lane() == "trial"
    gate.take(3, LATER, good=False)
    assert gate.lane() == "afar", "this release cannot use the trial"
    gate.take(4, LATER)
    assert gate.lane() == "own"


def test_nothing_is_changed_and_another_enrolment_or_rubbish_counts_for_nothing(gate: Gate) -> None:
    gate.take(1, AFAR)
    (gate.data / ENROLMENT).parent.mkdir()
    (gate.data / ENROLMENT).write_bytes(b"another")
    state = gate.data / FOLDER / FILE
    before = state.read_bytes()
    assert gate.lane() == "own"
    state.write_bytes(b"rubbish")
    assert gate.lane() == "own"
    assert sorted(each.name for each in state.parent.iterdir()) == ["kept", "state"]
    state.write_bytes(before)
    (gate.data / ENROLMENT).unlink()
    assert gate.lane() == "afar"


def test_a_board_from_afar_is_a_file_while_it_is_looked_at(gate: Gate, tmp_path: Path) -> None:
    gate.take(1, WIRED.format(board=tmp_path / "board.toml"), board=MOCK)
    with gate.looked_at() as (settings, name):
        board = Path(settings.board_file)
        assert (board.read_text(), name) == (MOCK, "settings 1 of ann")
    assert not board.exists()


def test_parts_are_not_moved_where_nobody_knows_which_settings_are_in_force(gate: Gate) -> None:
    (gate.data / FOLDER / FILE).mkdir(parents=True)  # whoever looks cannot read it
    assert gate.lane() == "own"
    assert len(gate.said) == 1
    assert "not known whether other settings" in gate.said[0]
    with pytest.raises(IsADirectoryError), gate.looked_at(must=True):
        raise AssertionError("it must not come to this")


def test_the_command_says_what_is_in_force(gate: Gate) -> None:
    gate.take(7, AFAR)
    done = run("doctor", "--config", gate.config, "--data", gate.data, "--json")
    first = json.loads(done.stdout)["checks"][0]["text"]
    assert first == "settings 7 of ann: lanes afar; readers: 0; board fake"


@pytest.mark.slow
def test_the_parts_that_are_in_force_are_fired(gate: Gate) -> None:
    gate.take(7, AFAR)
    done = run("doctor", "--config", gate.config, "--data", gate.data, "--fire", "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"settings 7 of ann are in force, and not {gate.config}\n")
    assert "lane afar, in: fired" in done.stdout
    assert "lane own" not in done.stdout


def test_a_board_from_afar_is_released_too_after_a_doctor_that_did_not_wait(
    gate: Gate, tmp_path: Path
) -> None:
    gate.take(1, WIRED.format(board=tmp_path / "board.toml"), board=MOCK)  # nothing closes its alarm contact
    with Running("doctor", "--config", gate.config, "--data", gate.data, "--watch") as doctor:
        doctor.out.expect("alarm: active")
        doctor.signal(signal.SIGINT)
        doctor.err.expect("alarm: the lanes are kept free until it is over")
        doctor.signal(signal.SIGINT)
        doctor.out.expect('factory = "mock" has no pins')  # what release says of this board
        assert doctor.end() == 128 + signal.SIGINT
