"""A gate put together from settings, stores, board and loop: what it refuses, and how it ends."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.catalogue import Build, Catalogue, Upsert
from firmware.config import parse
from firmware.config.board import board_settings
from firmware.core.ticket import Ticket, Verdict
from firmware.faults import faults_of, found_in
from firmware.hold import Held, hold
from firmware.shots import Shot
from firmware.unit import Refused, open_unit
from hal.fake import FakeBoard, FakeLaneSettings
from hal.fake_parts import FakeReader
from hal.schedule import VirtualTime
from tests.commands import Running
from tests.gate_bench import data_directory, read_rows
from tests.gate_child import gate_on
from tests.gate_process import PATIENCE_S, SETTINGS, fill_catalogue, patient

PATIENT = "patient"  # the gate's process takes all the time that the machine needs


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        yield folder


def board(*lanes: str) -> FakeBoard:
    return FakeBoard([FakeLaneSettings(lane) for lane in lanes], VirtualTime())


# --- one gate on one data directory ----------------------------------------------------------------


def test_a_second_gate_on_the_same_data_is_refused_with_the_firsts_process_id(data: Path) -> None:
    with gate_on(data) as first:
        second = subprocess.run(
            [sys.executable, "-m", "tests.gate_process", str(data)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert second.returncode == 1
        assert f"process {first.process.pid}" in second.stderr
        assert "stop it, or choose another" in second.stderr
        first.scan("nobody")
        first.end()
    with gate_on(data) as third:
        third.end()


def test_a_full_disk_keeps_no_gate_from_holding_its_data(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("/dev/full")
    with hold(tmp_path), pytest.raises(Held, match="another gate works on this directory"), hold(tmp_path):
        pass


def test_a_gate_that_was_killed_does_not_keep_the_next_one_out(data: Path) -> None:
    with gate_on(data) as first:
        first.process.kill()
        first.process.wait(PATIENCE_S)
    with hold(data):
        assert (data / "lock").read_text() == f"{os.getpid()}\n"
    with gate_on(data) as second:
        second.end()


# --- promise 6, with real signals ------------------------------------------------------------------


def test_promise_6_a_gate_that_is_told_to_stop_in_the_middle_of_an_opening_locks(data: Path) -> None:
    fill_catalogue(data)
    with gate_on(data, PATIENT) as gate:
        gate.do("nobody_walks")
        gate.scan("T0")
        gate.process.send_signal(signal.SIGTERM)
        ended = gate.hear()
        assert gate.process.wait(PATIENCE_S) == 0
    assert ended["relays"] == {"north": ["in", "locked"], "south": []}
    assert read_rows(data)[-1].row.kind == "trail"


def test_promise_2_a_gate_that_is_killed_in_the_middle_of_an_opening_does_not_open_again(data: Path) -> None:
    fill_catalogue(data)
    with gate_on(data, PATIENT) as gate:
        gate.do("nobody_walks")
        gate.scan("T0")
        gate.process.kill()
        gate.process.wait(PATIENCE_S)
    with gate_on(data, PATIENT) as gate:
        gate.scan("T0", "south")
        ended = gate.end()
    assert ended["relays"] == {"north": [], "south": []}
    assert [found.row.kind for found in read_rows(data)] == ["began", "scan", "began", "unsettled", "scan"]
    assert read_rows(data)[-1].row.verdict is Verdict.USED


# --- settings, stores and board --------------------------------------------------------------------


def test_a_lane_that_the_board_does_not_have_is_refused_by_name(data: Path) -> None:
    with (
        pytest.raises(Refused, match='lane "south": the board "fake" has no such lane'),
        open_unit(SETTINGS, data, board=board("north")),
    ):
        pass
    with hold(data):
        pass  # nothing was left open


def test_readers_of_the_settings_and_of_the_caller_stand_beside_those_of_the_board(
    data: Path, tmp_path: Path
) -> None:
    (tmp_path / "codes").write_text("from the file\n")
    settings = parse(
        '[[lane]]\nname = "north"\n[[lane.reader]]\nkind = "lines"\n'
        f'path = "{tmp_path / "codes"}"\ndirection = "in"\n',
        "gate.toml",
    )
    extra = FakeReader()
    shots: list[Shot] = []
    fake = board("north")
    readers = {"north": [(extra, None)]}
    with open_unit(settings, data, board=fake, readers=readers, watch=shots.append) as unit:
        unit.gate.start()
        assert fake.fakes["north"].scan("from the board")
        assert extra.scan("from the caller")
        while {shot.code for shot in shots} != {"from the board", "from the caller", "from the file"}:
            unit.gate.turn(1000)
    assert {shot.verdict for shot in shots} <= {Verdict.UNKNOWN, Verdict.BUSY}


def test_a_list_that_was_swapped_in_is_a_row_and_is_used_within_a_second(data: Path) -> None:
    fill_catalogue(data)
    shots: list[Shot] = []
    fake = board("north", "south")
    with open_unit(patient(SETTINGS), data, board=fake, watch=shots.append) as unit:
        unit.gate.start()
        with Build(data / "catalogue", source="a new list", stamp_utc_ms=2) as build:
            build.add(1, unit.catalogue.digest("brand new"), Ticket("id-new"))
            build.swap()
        while unit.catalogue.count != 1:
            unit.gate.turn(1000)
        fake.fakes["north"].scan("brand new")
        while not shots:
            unit.gate.turn(1000)
    assert shots[0].verdict is Verdict.ADMITTED
    assert [found.row.text for found in read_rows(data) if found.row.kind == "catalogue"] == [
        "catalogue of 1 tickets"
    ]


def test_a_list_that_cannot_be_opened_is_a_fault_in_the_journal_and_the_older_one_goes_on(data: Path) -> None:
    fill_catalogue(data)
    shots: list[Shot] = []
    fake = board("north", "south")
    with open_unit(patient(SETTINGS), data, board=fake, watch=shots.append) as unit:
        unit.gate.start()
        current = data / "catalogue" / "current"
        (data / "catalogue" / "current.new").write_text("build-4711\n")
        (data / "catalogue" / "current.new").rename(current)
        while not unit.catalogue.fault:
            unit.gate.turn(1000)
        fake.fakes["north"].scan("T0")
        while not shots:
            unit.gate.turn(1000)
    assert shots[0].verdict is Verdict.ADMITTED
    (fault,) = [found.row.text for found in read_rows(data) if found.row.kind == "fault"]
    assert "build-4711" in fault


@pytest.mark.parametrize("trusted", [True, False])
def test_utc_is_never_earlier_than_the_stamp_of_the_catalogue_but_where_the_clock_is_trusted(
    data: Path, *, trusted: bool
) -> None:
    future_ms = 4_000_000_000_000
    with Catalogue(data / "catalogue", now_utc_ms=0) as catalogue:
        listed = [Upsert(catalogue.digest("A"), Ticket("a"))]
        catalogue.apply_changes(listed, stamp_utc_ms=future_ms)
    with open_unit(SETTINGS, data, board=board("north", "south"), trusted=lambda: trusted) as unit:
        unit.gate.start()
        with Build(data / "catalogue", source="a new list", stamp_utc_ms=future_ms) as build:
            build.swap()
        while unit.catalogue.count:
            unit.gate.turn(1000)
    rows = [found.row for found in read_rows(data)]
    assert [row.kind for row in rows] == ["began", "catalogue"]
    assert all((row.moment.utc_ms >= future_ms) is not trusted for row in rows)


def test_a_clock_that_was_a_year_ahead_says_so_once_it_is_right(data: Path) -> None:
    fill_catalogue(data)

    def life(trusted: bool, ahead_ns: int) -> None:
        fake = board("north", "south")

        def utc_ns() -> int:
            return time.time_ns() + ahead_ns

        with open_unit(SETTINGS, data, board=fake, trusted=lambda: trusted, utc_ns=utc_ns) as unit:
            unit.gate.start()
            unit.gate.turn(0)

    life(trusted=False, ahead_ns=366 * 86_400 * 10**9)
    life(trusted=True, ahead_ns=0)
    life(trusted=True, ahead_ns=0)
    (said,) = [found.row for found in read_rows(data) if found.row.kind == "clock"]
    assert re.match(r"set back by (365 days, 23:59:..|366 days, 0:00:00): the clock is right now", said.text)
    assert abs(said.moment.utc_ms - time.time() * 1000) < PATIENCE_S * 1000


def test_a_gate_that_is_restarted_without_a_time_server_knows_the_time_still(data: Path) -> None:
    settings = parse("", "gate.toml")
    with open_unit(settings, data, trusted=lambda: True):
        pass
    with open_unit(settings, data, trusted=lambda: False) as unit:
        assert [fault.code.code for fault in found_in(unit)] == ["time_server_lost"]
        assert unit.gate.clock.now().trusted


def test_a_gate_after_a_reboot_does_not_know_the_time_before_a_time_server_tells_it(data: Path) -> None:
    """The wall clock goes on where it was saved, and the monotonic one begins anew."""
    settings = parse("", "gate.toml")
    with open_unit(settings, data, trusted=lambda: True, utc_ns=lambda: time.time_ns() - 60_000_000_000):
        pass
    with open_unit(settings, data, trusted=lambda: False) as unit:
        assert not unit.gate.clock.trusted


def test_the_board_of_the_settings_is_opened_where_the_caller_brings_none(data: Path) -> None:
    with open_unit(SETTINGS, data) as unit:
        assert [lane.name for lane in unit.board.lanes] == ["north", "south"]
    assert board_settings(SETTINGS) == {
        "lanes": [
            {"name": "north", "ways": ("in",), "sensor": "way"},
            {"name": "south", "ways": ("in",), "sensor": "way"},
        ]
    }


def test_a_board_on_pins_is_told_its_file_and_how_long_the_loop_may_hold_a_lane_open() -> None:
    wired = '[board]\nname = "gpio"\nfile = "/b.toml"\n'
    settings = parse(f'{wired}[[lane]]\nname = "a"\nunlock_ms = 3000\ndirection = "both"', "gate.toml")
    assert board_settings(settings) == {
        "file": "/b.toml",
        "lanes": [{"name": "a", "ways": ("in", "out"), "sensor": "way", "unlock_ms": 3000}],
    }


def test_wiring_that_cannot_free_a_lane_is_a_fault_and_the_gate_runs(data: Path) -> None:
    fake = board("north", "south")
    fake.hazards = ("lane north: no line that opens outwards: wire one",)
    with open_unit(SETTINGS, data, board=fake) as unit:
        unit.gate.start()
        told = faults_of(unit).values()
    said = "wiring: lane north: no line that opens outwards: wire one"
    assert said in told
    assert [found.row.text for found in read_rows(data) if found.row.kind == "fault"] == [said]


def test_a_gate_on_the_pins_of_a_board_file_takes_cut_wires_for_what_they_may_mean(
    data: Path, tmp_path: Path
) -> None:
    """Nothing is connected, and contacts that are closed at rest are open then: an alarm, an open housing."""
    example = (Path(__file__).parent.parent / "deploy" / "boards" / "tripod.toml").read_text()
    file = tmp_path / "board.toml"
    file.write_text(example.replace('factory = "lgpio"', 'factory = "mock"'))
    settings = f'[board]\nname = "gpio"\nfile = "{file}"\n[[lane]]\nname = "1"\ndirection = "both"\n'
    (tmp_path / "gate.toml").write_text(settings)
    with Running("gate", "--config", tmp_path / "gate.toml", "--data", data) as gate:
        gate.err.expect("fault: housing: opened")
        gate.signal(signal.SIGTERM)
        assert gate.end() == 0
    said = [(found.row.lane, found.row.kind, found.row.text) for found in read_rows(data)]
    assert ("1", "alarm", "active") in said
    assert ("", "fault", "housing: opened") in said
