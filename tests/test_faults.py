"""What is told of faults: what has come, what has gone, and not more than a log can hold."""

from pathlib import Path

from firmware.config import parse
from firmware.faults import Faults, faults_of
from firmware.ration import LINES_MAX, MINUTE_S
from firmware.unit import open_unit
from hal.fake import FakeBoard
from tests.gate_bench import data_directory

SETTINGS = """\
[[lane]]
name = "north"
[[lane.reader]]
kind = "serial"
device = "{folder}/first"
[[lane.reader]]
kind = "serial"
device = "{folder}/second"
"""


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def test_only_what_has_changed_about_faults_is_told() -> None:
    present = {"reader 1": "reader 1: no cable", "reader 2": "reader 2: no cable", "the journal": "full"}
    faults = Faults(lambda: dict(present))
    assert faults.news() == ["fault: reader 1: no cable", "fault: reader 2: no cable", "fault: full"]
    assert faults.news() == []
    present.update({"reader 2": "reader 2: busy", "the catalogue": "noise"})
    del present["the journal"]
    assert faults.present() == ["reader 1: no cable", "reader 2: busy", "noise"]
    assert faults.news() == ["fault: reader 2: busy", "fault: noise", "the journal works again"]
    assert faults.news() == []


def test_a_housing_does_not_work_again_but_is_closed_again() -> None:
    present = {"housing": "housing: opened"}
    faults = Faults(lambda: dict(present))
    assert faults.news() == ["fault: housing: opened"]
    present.clear()
    assert faults.news() == ["housing closed again"]


def test_a_reader_with_a_loose_plug_does_not_fill_the_log() -> None:
    clock, present = Clock(), dict[str, str]()
    faults = Faults(lambda: dict(present), clock)
    told = []
    for second in range(int(MINUTE_S)):
        clock.s = float(second)
        present = {"reader 1": "lost"} if second % 2 == 0 else {}
        told += faults.news()
    assert len(told) == LINES_MAX
    assert "see gatepost journal" in told[-1]
    clock.s, present = MINUTE_S, {"reader 1": "lost"}
    assert faults.news() == ["fault: lost"]


def test_the_readers_of_the_settings_are_counted_first_and_in_their_order(tmp_path: Path) -> None:
    settings = parse(SETTINGS.format(folder=tmp_path), "gate.toml")
    with data_directory() as data, open_unit(settings, data, trusted=lambda: True) as unit:
        assert isinstance(unit.board, FakeBoard)
        unit.gate.start()
        unit.board.fakes["north"].readers["in"].fail("is asleep")
        found: list[str] = []
        while len(found) < 3:
            unit.gate.turn(100)
            found = sorted(faults_of(unit).values())
        first, second, third = found
        assert first.startswith(f"reader north/1: {tmp_path}/first")
        assert second.startswith(f"reader north/2: {tmp_path}/second")
        assert third == "reader north/3: is asleep"


def test_a_journal_that_takes_nothing_is_told_and_so_is_what_was_lost() -> None:
    with data_directory() as data, open_unit(parse("", "gate.toml"), data, trusted=lambda: True) as unit:
        assert faults_of(unit) == {}
        unit.journal.fault = "no space"
        unit.gate.lost_rows = 1_200
        assert list(faults_of(unit).values()) == [
            "the journal takes no rows: no space",
            "1,200 rows were lost: the disk hung, and the memory for them was full",
        ]
        unit.journal.faults.append("no space")
        assert next(iter(faults_of(unit).values())) == "no space"
        unit.journal.fault = None
