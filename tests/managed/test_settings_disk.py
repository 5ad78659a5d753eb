"""Settings whose disk takes nothing, or whose part has a fault of ours: no row more than one that helps."""

import queue
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.config import parse
from firmware.in_force import InForce
from firmware.managed.managed import Managed
from firmware.managed.settings import RETRY_S, TURN_S, DesiredSettings
from firmware.stored_settings import Stored, Version
from firmware.unit import Unit, open_unit
from firmware.uplink import Uplink
from tests.brokers import LIMIT_S
from tests.gate_bench import data_directory, read_rows
from tests.managed.operated import Clock

FILE = '[[lane]]\nname = "north"\n'


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on disk has been read: a busy machine may take longer for it than a gate at a door waits."""
    monkeypatch.setattr("firmware.in_force.READ_S", LIMIT_S)


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        yield folder


def no_uplink() -> Uplink:
    raise AssertionError("there is no connection here")


def managed(unit: Unit, data: Path) -> Managed:
    return Managed(unit.settings, data, unit.catalogue, unit.journal, unit.gate, no_uplink, {})


def rows_of(data: Path, unit: Unit, kind: str) -> list[str]:
    """Of this kind, once the loop has written what waits for it."""
    while unit.gate.turn(0):
        pass
    unit.journal.close()
    return [found.row.text for found in read_rows(data) if found.row.kind == kind]


def in_force(data: Path, tmp_path: Path, kind: type[InForce] = InForce) -> InForce:
    config = tmp_path / "gate.toml"
    config.write_text(FILE, "utf-8")
    found = kind(config, data, lambda _: None, lambda _: None)
    found.lay_out(found.wanted())
    return found


def test_what_a_full_disk_does_not_take_is_a_row_once_and_written_when_it_does(
    data: Path, tmp_path: Path
) -> None:
    clock, folder, away = Clock(), data / "settings", data / "away"
    with open_unit(parse(FILE, "the test"), data) as unit:
        changing = in_force(data, tmp_path)
        stored = changing.stored
        assert stored is not None
        stored.accept(Version(1, "ann", "m", FILE), (), connected=False)
        folder.rename(away)
        folder.write_text("in the way")
        stored.give_up("the test")
        desired = DesiredSettings(managed(unit, data), changing, clock)
        for _ in range(600):
            desired._look()
            clock.s += TURN_S
        folder.unlink()
        away.rename(folder)
        assert Stored(folder).state.trial is not None, "nothing was written yet"
        clock.s += RETRY_S
        desired._look()
        found = Stored(folder).state
        assert (found.trial, found.failed, found.untold) == (None, (1,), ())
        assert rows_of(data, unit, "settings") == [
            "settings 1 of ann: on trial",
            "settings 1 of ann: returned to those of the installation: the test",
        ]


def test_a_fault_of_ours_in_each_turn_is_one_row_and_each_turn_takes_its_time(
    data: Path, tmp_path: Path
) -> None:
    turns_s = queue.Queue[float]()

    class Broken(InForce):
        """Cannot say what is on disk."""

        @property
        def stored(self) -> Stored | None:
            turns_s.put(self._now_s())
            raise RuntimeError("a trial")

    with open_unit(parse(FILE, "the test"), data) as unit:
        changing = in_force(data, tmp_path, Broken)
        with DesiredSettings(managed(unit, data)._replace(changing=changing), changing):
            first_s, *_, last_s = (turns_s.get(timeout=LIMIT_S) for _ in range(4))
        assert last_s - first_s >= 2.5 * TURN_S
        assert rows_of(data, unit, "fault").count("new settings failed: RuntimeError: a trial") == 1
