"""What is on disk of settings from elsewhere, with deaths at every step of a change."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from firmware.stored_settings import (
    FAILED_MAX,
    FILE,
    GOOD,
    KEPT,
    LOCAL,
    REFUSED,
    RETURNED,
    STARTS_MAX,
    TRIAL,
    State,
    Stored,
    Version,
)
from tests.commands import PATIENCE_S

ONE, TWO = Version(1, "ann", "m1", "one"), Version(2, "ann", "m2", "two")
DYING = """
import os, signal, sys
from pathlib import Path
from firmware.stored_settings import Stored, Version

folder, count = Path(sys.argv[1]), int(sys.argv[2])

def step(event, arguments):
    global count
    if event in ("open", "os.rename", "os.remove", "os.mkdir") and str(folder) in str(arguments[0]):
        count -= 1
        if not count:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(step)
stored = Stored(folder)
stored.begin()
stored.accept(Version(2, "ann", "m2", "two"), (), False)
stored.told(1)
stored.prove()
print("done")
"""


def dies_at(folder: Path, step: int) -> bool:
    """Change from version 1 to 2 in a process that is killed at this touch of the disk; whether it was."""
    command = [sys.executable, "-c", DYING, str(folder), str(step)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode != 0


def test_a_process_that_dies_at_any_touch_of_the_disk_leaves_the_old_or_the_new_settings(
    tmp_path: Path,
) -> None:
    seen, step = list[tuple[str, int]](), 0
    died = True
    while died:
        step += 1
        folder = tmp_path / str(step)
        first = Stored(folder)
        first.accept(ONE, (), connected=False)
        first.prove()
        died = dies_at(folder, step)
        found = Stored(folder)
        assert found.fault == ""
        used = found.state.in_use
        assert used in (ONE, TWO)
        assert found.state.good in (ONE, TWO)
        seen.append((found.state.word, used.version if used else 0))
        found.begin()
        found.give_up("the test")
        assert found.state.in_use == found.state.good, "there is always something to return to"
    assert step > 10
    assert sorted(set(seen), key=seen.index) == [(GOOD, 1), (TRIAL, 2), (GOOD, 2)]


def test_a_trial_that_two_processes_did_not_live_to_prove_is_given_up(tmp_path: Path) -> None:
    Stored(tmp_path / "s").accept(ONE, (), connected=True)
    for _ in range(STARTS_MAX):
        stored = Stored(tmp_path / "s")
        stored.begin()
        assert stored.state.in_use == ONE
    stored = Stored(tmp_path / "s")
    stored.begin()
    assert stored.state.in_use is None
    assert (stored.state.word, stored.state.failed, stored.state.newest) == (RETURNED, (1,), 1)


def test_versions_that_failed_are_bounded_and_the_newest_is_known_for_ever(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "s")
    for version in range(1, FAILED_MAX + 10):
        stored.refuse(version, "m", "ann", "why" * 1000)
    found = Stored(tmp_path / "s").state
    assert found.failed == tuple(range(10, FAILED_MAX + 10))
    assert (found.newest, found.word, len(found.text)) == (FAILED_MAX + 9, REFUSED, 256)


def test_what_cannot_be_read_is_set_aside_and_said(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"{")
    stored = Stored(tmp_path)
    assert "cannot be read" in stored.fault
    assert stored.state.word == LOCAL
    assert (tmp_path / f"{FILE}.unreadable").read_bytes() == b"{"


def test_what_cannot_be_read_brings_no_older_operators_and_no_older_settings_back(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "s", b"a bundle", floor=2)
    stored.accept(Version(5, "ann", "m5", "five", operators="without bob"), (), connected=False)
    (tmp_path / "s" / FILE).write_bytes(b"{")
    for _ in range(2):  # also for the process after that
        found = Stored(tmp_path / "s", b"a bundle", floor=2)
        assert (found.state.in_use, found.state.obeyed, found.state.newest) == (None, "without bob", 5)
        assert "cannot be read" in found.state.text
    (tmp_path / "s" / FILE).write_bytes(b"{")
    (tmp_path / "s" / KEPT).write_bytes(b"{")
    found = Stored(tmp_path / "s", b"a bundle", floor=2)
    assert (found.state.obeyed, found.state.newest) == ("", 2)
    assert "operators are those of the installation, perhaps older ones" in found.fault


def test_a_second_file_that_cannot_be_written_is_a_fault_and_undoes_no_change(tmp_path: Path) -> None:
    (tmp_path / KEPT).mkdir()
    stored = Stored(tmp_path)
    stored.accept(ONE, (), connected=False)
    assert stored.state.in_use == ONE
    assert "kept: could not be written" in stored.fault
    (tmp_path / KEPT).rmdir()
    assert stored.unwritten
    stored.told(0)
    assert (tmp_path / KEPT).is_file()
    assert (stored.fault, stored.unwritten) == ("", False), "both are whole again"


def test_whom_another_bundle_obeyed_is_not_obeyed_where_nothing_can_be_read(tmp_path: Path) -> None:
    stored = Stored(tmp_path, b"the first bundle")
    stored.accept(Version(5, "ann", "m5", "five", operators="with eve"), (), connected=False)
    (tmp_path / FILE).write_bytes(b"{")
    found = Stored(tmp_path, b"the second bundle", floor=7)
    assert (found.state.obeyed, found.state.newest) == ("", 7)


def test_operators_who_passed_their_check_stay_where_the_settings_return(tmp_path: Path) -> None:
    stored = Stored(tmp_path)
    stored.accept(Version(1, "ann", "m1", "one", operators="with bob"), (), connected=False)
    stored.prove()
    stored.accept(Version(2, "ann", "m2", "two", operators="without bob"), (), connected=True)
    stored.give_up("no broker is connected")
    assert stored.state.in_use is not None
    assert (stored.state.in_use.version, stored.state.obeyed) == (1, "without bob")
    stored.accept(Version(3, "ann", "m3", "three"), (), connected=True)
    stored.prove()
    assert Stored(tmp_path).state.obeyed == "without bob"


def test_a_file_from_before_operators_were_kept_apart_obeys_those_of_its_settings(tmp_path: Path) -> None:
    first = Version(1, "ann", "m1", "one", operators="with bob")
    mark = Stored(tmp_path / "other").state.enrolment
    trial = Version(2, "ann", "m2", "two", operators="without bob")
    old = msgspec.json.encode(State(enrolment=mark, good=first, trial=trial, newest=2))
    (tmp_path / FILE).write_bytes(old)
    stored = Stored(tmp_path)
    stored.give_up("the test")
    assert stored.state.obeyed == "without bob"


def test_a_gate_that_was_enrolled_anew_begins_with_the_settings_of_its_bundle(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "s", b"the first bundle")
    stored.accept(ONE, (), connected=False)
    assert Stored(tmp_path / "s", b"the first bundle").state.in_use == ONE
    anew = Stored(tmp_path / "s", b"the second bundle", floor=7)
    assert (anew.state.in_use, anew.state.newest) == (None, 7)
    assert Stored(tmp_path / "s", b"the second bundle", floor=7).state.newest == 7


def test_where_the_disk_takes_no_word_of_a_failure_the_process_goes_back_all_the_same(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "s")
    stored.accept(ONE, (), connected=False)
    stored.prove()
    stored.accept(TWO, (), connected=False)
    (tmp_path / "s").rename(tmp_path / "away")
    (tmp_path / "s").write_text("in the way")
    stored.give_up("the test")
    assert stored.state.in_use == ONE
    assert "could not be written" in stored.fault
    (tmp_path / "s").unlink()
    stored.told(0)
    assert stored.fault == ""
    assert Stored(tmp_path / "s").state.failed == (2,)


def test_what_could_not_be_read_is_a_fault_until_settings_are_sent_once_more(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"{")
    stored = Stored(tmp_path)
    stored.told(1)
    assert "cannot be read" in stored.fault
    stored.refuse(1, "m", "ann", "why")
    assert "cannot be read" in stored.fault
    stored.accept(TWO, (), connected=False)
    assert stored.fault == ""


def test_what_does_not_change_stays_from_the_version_in_use() -> None:
    used = Version(1, "ann", "m", "one", "board", "operators")
    assert TWO.staying(used) == Version(2, "ann", "m2", "two", "board")
    assert Version(3, "ann", "m3", "").staying(used) == Version(3, "ann", "m3", "one", "board")
    assert TWO.staying(None) == TWO
    assert State().in_use is None


@pytest.mark.parametrize("text", ["", "[[[", '{"trial": 7}'])
def test_no_content_of_the_file_ends_a_gate(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert Stored(tmp_path).state.in_use is None
