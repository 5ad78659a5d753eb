"""What a process does about settings that do not come into use, and a list of operators that has no room."""

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from firmware.command_line import DONE
from firmware.config import parse
from firmware.demo.network import free_port
from firmware.in_force import AGAIN_S_MAX, InForce
from firmware.kept import Kept
from firmware.row import Row
from firmware.run import RUSH_S, Reopen, serve
from firmware.signing import text_of
from firmware.stored_settings import Version
from firmware.unit import OPERATORS, Unit, open_unit
from firmware.watchdog import Watchdog
from tests.gate_bench import data_directory
from tests.journals import FULL, Disk, News, now, open_journal
from tests.managed.operated import ANN, Clock
from tests.managed.settled import settings_text

ANN_ALONE = text_of([ANN.operator])
FILE = '[[lane]]\nname = "north"\n'
DAY_S = 86_400


@pytest.fixture
def data() -> Iterator[Path]:
    with data_directory() as folder:
        yield folder


@contextmanager
def signals_as_before() -> Iterator[None]:
    """A gate has its own, also once it has ended."""
    heard = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [(number, signal.getsignal(number)) for number in heard]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@pytest.fixture
def unit(data: Path) -> Iterator[Unit]:
    with open_unit(parse(FILE, "gate.toml"), data) as unit:
        yield unit


def test_settings_that_another_gate_does_not_bring_in_are_asked_for_less_and_less_often(
    data: Path, tmp_path: Path, unit: Unit
) -> None:
    config, clock, asked_s = tmp_path / "gate.toml", Clock(), list[float]()
    config.write_text(FILE, "utf-8")
    in_force = InForce(config, data, lambda _: asked_s.append(clock.s), lambda _: None, now_s=clock)
    in_force.lay_out(in_force.wanted())
    stored = in_force.stored
    assert stored is not None
    stored.accept(Version(1, "ann", "m", FILE), (), connected=False)
    stored.prove()
    for _ in range(DAY_S):
        in_force.look(unit)
        clock.s += 1.0
    assert asked_s[:5] == [0.0, 1.0, 3.0, 7.0, 15.0]
    assert len(asked_s) < 10 + DAY_S / AGAIN_S_MAX
    assert clock.s - asked_s[-1] <= AGAIN_S_MAX, "and for ever"
    in_force.lay_out(in_force.wanted())
    in_force.look(unit)
    stored.accept(Version(2, "ann", "m", FILE), (), connected=False)
    stored.prove()
    in_force.look(unit)
    assert asked_s[-1] == clock.s, "others are asked for at once"


def test_settings_that_come_while_a_gate_is_being_opened_with_others_are_brought_in(
    data: Path, tmp_path: Path, unit: Unit
) -> None:
    config, clock = tmp_path / "gate.toml", Clock()
    config.write_text(FILE, "utf-8")
    with Kept(Watchdog({})) as kept:
        reopen = Reopen(kept, lambda _: None, clock)
        in_force = InForce(config, data, reopen, lambda _: None, now_s=clock)
        stored = in_force.stored
        assert stored is not None
        stored.accept(Version(1, "ann", "m", FILE), (), connected=False)
        stored.prove()
        in_force.lay_out(in_force.wanted())
        in_force.accept(Version(2, "ann", "m2", FILE), (), connected=False)  # its uplink is at work already
        reopen.begin(unit, done=True)
        in_force.began()
        in_force.look(unit)
        assert reopen.why == "settings 2"


def test_a_gate_that_is_asked_for_each_second_is_told_of_when_it_has_been_waited_for(unit: Unit) -> None:
    clock, said = Clock(), list[str]()
    with Kept(Watchdog({})) as kept:
        reopen = Reopen(kept, said.append, clock)
        reopen.begin(unit, done=True)
        unit.gate.do(lambda: None)  # the loop does not run, so this is on its way for ever
        for _ in range(int(RUSH_S)):
            reopen("settings 1")
            reopen.changed()
            clock.s += 1.0
        assert said == []
        reopen.changed()
        assert said == ["settings 1: waits for a moment in which no lane is in use, since 60 s"]


def test_a_gate_whose_rows_wait_for_the_disk_is_not_opened_anew(tmp_path: Path, unit: Unit) -> None:
    """Its lanes are out of order and so at rest, but the rows in memory would be lost with it."""
    disk, news = Disk(), News()
    with open_journal(tmp_path / "journal", news, disk) as journal, Kept(Watchdog({})) as kept:
        reopen = Reopen(kept, lambda _: None, Clock())
        reopen("settings 1")
        reopen.begin(unit._replace(journal=journal), done=False)
        disk.fault = FULL
        journal.note(Row("fault", "", now(0), text="something"))
        news.failed()
        reopen.changed()
        assert not reopen.came_about
        disk.fault = None
        news.safe(journal.next_row - 1)
        reopen.changed()
        assert reopen.came_about


def test_a_list_of_operators_that_the_disk_does_not_take_keeps_no_board_from_being_opened(
    data: Path, tmp_path: Path
) -> None:
    config = tmp_path / "gate.toml"
    config.write_text(FILE, "utf-8")
    data.mkdir()
    in_force = InForce(config, data, lambda _: None, lambda _: None)
    assert in_force.stored is not None
    in_force.stored.accept(Version(1, "ann", "m", FILE, operators=ANN_ALONE), (), connected=False)
    place = data / "settings" / OPERATORS.name
    (place / "in the way").mkdir(parents=True)
    in_force.lay_out(in_force.wanted())
    with pytest.raises(OSError, match="operators"):
        in_force.lay_out_operators()
    (place / "in the way").rmdir()
    place.rmdir()
    assert in_force.lay_out_operators().read_text("utf-8") == ANN_ALONE


def test_a_list_of_operators_that_the_disk_does_not_take_begins_no_epoch_of_the_journal(
    data: Path, tmp_path: Path
) -> None:
    config = tmp_path / "gate.toml"
    config.write_text(settings_text(free_port()), "utf-8")
    data.mkdir()
    in_force = InForce(config, data, lambda _: None, lambda _: None)
    assert in_force.stored is not None
    in_force.stored.accept(Version(1, "ann", "m", "", operators=ANN_ALONE), (), connected=False)
    place = data / "settings" / OPERATORS.name
    (place / "in the way").mkdir(parents=True)
    opening = in_force.wanted()
    in_force.lay_out(opening)
    for _ in range(3):
        with (
            pytest.raises(OSError, match="operators"),
            open_unit(opening.settings, data, changing=in_force),
        ):
            pass
    (place / "in the way").rmdir()
    place.rmdir()
    with open_unit(opening.settings, data, changing=in_force) as unit:
        assert unit.journal.epoch == 1
    assert place.read_text("utf-8") == ANN_ALONE


@pytest.mark.parametrize(
    ("number", "waited", "failed"),
    [(errno.ENOSPC, True, ()), (errno.EROFS, True, ()), (errno.EIO, False, (1,))],
)
def test_a_disk_that_takes_nothing_condemns_no_settings_on_trial_but_what_may_be_a_reader_does(
    data: Path, tmp_path: Path, number: int, waited: bool, failed: tuple[int, ...]
) -> None:
    config, said = tmp_path / "gate.toml", list[str]()
    config.write_text(settings_text(free_port()), "utf-8")
    data.mkdir()

    class Full(InForce):
        """On a disk that has room at the second try; its gate ends at the first look."""

        tries = 0

        def lay_out_operators(self) -> Path:
            self.tries += 1
            if self.tries == 1:
                raise OSError(number, os.strerror(number))
            return super().lay_out_operators()

        def look(self, unit: Unit) -> None:
            super().look(unit)
            unit.gate.stop()

    with signals_as_before(), Watchdog({}) as watchdog, Kept(watchdog) as kept:
        reopen = Reopen(kept, said.append)
        in_force = Full(config, data, reopen, said.append)
        assert in_force.stored is not None
        in_force.stored.accept(Version(1, "ann", "m", "", operators=ANN_ALONE), (), connected=False)
        assert serve(in_force, data, watchdog, reopen, said.append) == DONE
    state = in_force.stored.state
    assert in_force.tries == 2
    assert any("the disk takes nothing" in line for line in said) == waited
    assert (state.failed, state.trial is None) == (failed, not waited)
