import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from firmware.catalogue import Catalogue, Upsert
from firmware.core.ticket import Ticket
from firmware.doctor import findings, stores
from firmware.doctor.check import Check, Verdict
from firmware.doctor.disk import FRESH_BYTES
from firmware.doctor.machine import Machine
from firmware.row import Row
from firmware.rows import set_aside
from tests.core.samples import at
from tests.doctor.trees import Tree, open_to_others
from tests.journals import open_journal

HERE = Machine()
ROOT = Path(__file__).parents[2]


@contextmanager
def gate_at_work(data: Path) -> Iterator[int]:
    """A real gate in a process of its own; its process id."""
    command = [sys.executable, "-m", "tests.gate_process", str(data)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as gate:
        assert gate.stdout
        assert json.loads(gate.stdout.readline()) == {"ready": True}
        try:
            yield gate.pid
        finally:
            gate.terminate()
            gate.communicate(timeout=30)


def checks(data: Path) -> list[Check]:
    return list(stores.examine(data, stores.running(HERE, data)).checks)


def verdicts(data: Path, name: str) -> list[Check]:
    return [check for check in checks(data) if check.name == name]


def fill(data: Path, rows: int = 3) -> None:
    """A journal with an epoch and some rows, and a list of two tickets."""
    with open_journal(data / "journal") as journal:
        for number in range(rows):
            journal.note(Row("fault", "", at(number), text=f"row {number}"))
    with Catalogue(data / "catalogue", now_utc_ms=0) as catalogue:
        listed = (Upsert(catalogue.digest(code), Ticket(f"id-{code}")) for code in ("A", "B"))
        catalogue.apply_changes(listed, stamp_utc_ms=1)


def test_stores_of_a_gate_that_is_stopped_are_read_to_their_ends(tmp_path: Path) -> None:
    fill(tmp_path)
    assert checks(tmp_path) == [
        findings.GATE_RESTS.seen(folder=tmp_path),
        findings.JOURNAL_GOOD.seen(rows=4, epoch=1, proved="all"),
        findings.CATALOGUE_GOOD.seen(tickets=2, build="build-1"),
    ]


def test_a_gate_at_work_is_found_by_its_lock_and_not_disturbed(tmp_path: Path) -> None:
    fill(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    with gate_at_work(tmp_path) as process:
        files = set(tmp_path.rglob("*"))
        found = checks(tmp_path)
        assert found[0] == findings.GATE_RUNS.seen(folder=tmp_path, process=process)
        assert {check.verdict for check in found} == {Verdict.OK}
        assert set(tmp_path.rglob("*")) == files
    assert stores.running(HERE, tmp_path) is None
    assert before.keys() <= {path for path in tmp_path.rglob("*") if path.is_file()}


def test_a_lock_file_that_nobody_holds_is_no_gate(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(f"{os.getpid()}\n")
    assert stores.running(HERE, tmp_path) is None


def test_the_lock_of_another_file_system_is_known_by_its_process(tmp_path: Path, tree: Tree) -> None:
    lock = tmp_path / "lock"
    lock.write_text("1234\n")
    inode = lock.stat().st_ino
    lines = [
        f"1: POSIX  ADVISORY  WRITE 1234 00:2a:{inode} 0 EOF",
        f"2: FLOCK  ADVISORY  WRITE 99 00:2a:{inode} 0 EOF",
        f"3: FLOCK  ADVISORY  WRITE 1234 00:2a:{inode + 1} 0 EOF",
        "nonsense",
    ]
    tree.write("proc/locks", "\n".join(lines))
    assert stores.running(tree.machine, tmp_path) is None
    tree.write("proc/locks", "\n".join([*lines, f"4: FLOCK  ADVISORY  WRITE 1234 00:2a:{inode} 0 EOF"]))
    assert stores.running(tree.machine, tmp_path) == stores.Running(1234)


def test_a_folder_that_is_not_there_yet_or_not_named_is_no_fault(tmp_path: Path) -> None:
    nowhere = tmp_path / "data"
    assert checks(nowhere) == [findings.NO_DATA_YET.seen(folder=nowhere)]
    assert not nowhere.exists()
    assert stores.examine(None, None).checks == (findings.NO_DATA_ASKED.seen(),)


def test_an_empty_folder_has_no_journal_and_no_list_and_stays_empty(tmp_path: Path) -> None:
    found = checks(tmp_path)
    assert found[1:] == [findings.JOURNAL_NONE.seen(), findings.CATALOGUE_NONE.seen()]
    assert list(tmp_path.iterdir()) == []


def test_a_journal_with_a_changed_row_is_a_fault(tmp_path: Path) -> None:
    fill(tmp_path)
    change(tmp_path / "journal/journal.db", b"row 1", b"row 7")
    (check,) = verdicts(tmp_path, "journal")
    assert check.verdict is Verdict.FAULT
    assert "was changed" in check.text


def change(file: Path, before: bytes, after: bytes) -> None:
    """Change a journal that was closed; its log holds nothing that is not in it."""
    for ending in ("-wal", "-shm"):
        file.with_name(file.name + ending).unlink()
    data = file.read_bytes()
    assert before in data
    file.write_bytes(data.replace(before, after))


def test_a_journal_that_lost_its_log_ends_too_early_and_that_is_a_fault(tmp_path: Path) -> None:
    fill(tmp_path)
    log = tmp_path / "journal/journal.db-wal"
    older = (tmp_path / "journal/journal.db").read_bytes()
    with open_journal(tmp_path / "journal") as journal:
        journal.note(Row("fault", "", at(9), text="later"))
    log.unlink()
    (tmp_path / "journal/journal.db").write_bytes(older)
    (check,) = verdicts(tmp_path, "journal")
    assert check == findings.JOURNAL_SHORT.seen(last="1.4", known="2.2")
    for path in (tmp_path / "journal").glob("journal.db*"):
        path.unlink()
    (none,) = verdicts(tmp_path, "journal")
    assert none == findings.JOURNAL_SHORT.seen(last=0, known="2.2")


def test_a_journal_that_is_no_database_is_a_fault(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "journal/journal.db").write_bytes(b"not a database" * 1000)
    (check,) = verdicts(tmp_path, "journal")
    assert check.verdict is Verdict.FAULT
    assert "journal.db" in check.text


def test_pages_that_are_broken_are_found_where_no_gate_is_at_work(tmp_path: Path) -> None:
    fill(tmp_path, rows=300)
    file = tmp_path / "journal/journal.db"
    at_row = file.read_bytes().index(b"row 50")  # not among the last, whose chain is proved
    begin = at_row & ~4095
    change(file, file.read_bytes()[begin : begin + 40], bytes(40))
    (check,) = verdicts(tmp_path, "journal")
    assert check.verdict is Verdict.FAULT


def test_a_journal_that_was_condemned_at_work_is_a_fault(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "journal/condemned").write_text("database disk image is malformed")
    (check,) = verdicts(tmp_path, "journal")
    assert check.verdict is Verdict.FAULT
    assert check.text.endswith("journal.db: database disk image is malformed")


def test_stores_that_were_set_aside_are_told(tmp_path: Path) -> None:
    fill(tmp_path)
    set_aside(tmp_path / "journal", 1_700_000_000_000)
    (tmp_path / "catalogue/damaged-2026-01-02T03-04-05Z-build-7").mkdir()
    journal, none = verdicts(tmp_path, "journal")
    assert journal == findings.JOURNAL_ASIDE.seen(files="damaged-1700000000000-0.db")
    assert none.verdict is Verdict.FAULT
    aside, good = verdicts(tmp_path, "catalogue")
    assert aside == findings.CATALOGUE_ASIDE.seen(files="damaged-2026-01-02T03-04-05Z-build-7")
    assert good.verdict is Verdict.OK


def test_of_many_stores_that_were_set_aside_the_first_are_named_and_the_rest_counted() -> None:
    assert stores.some(["a", "b", "c"]) == "a, b, c"
    assert stores.some(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


@pytest.mark.parametrize("length", [0, 3000, 8192])
def test_a_list_that_was_cut_short_is_a_fault_and_stays_where_it_is(tmp_path: Path, length: int) -> None:
    fill(tmp_path)
    file = tmp_path / "catalogue/build-1/data.mdb"
    os.truncate(file, length)
    (check,) = verdicts(tmp_path, "catalogue")
    assert check.verdict is Verdict.FAULT
    assert check.text.startswith("build-1 ")
    assert file.stat().st_size == length


def test_a_list_that_names_no_build_is_a_fault(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "catalogue/current").write_text("nonsense\n")
    (check,) = verdicts(tmp_path, "catalogue")
    assert check.verdict is Verdict.FAULT
    assert "names no build" in check.text


def test_a_key_that_others_can_read_or_that_is_lost_is_a_fault_and_none_is_made(tmp_path: Path) -> None:
    fill(tmp_path)
    key = tmp_path / "catalogue/key"
    key.chmod(0o644)
    (open_key,) = verdicts(tmp_path, "catalogue")
    assert open_key.verdict is Verdict.FAULT
    assert "chmod 600" in open_key.text
    key.unlink()
    (lost,) = verdicts(tmp_path, "catalogue")
    assert lost.verdict is Verdict.FAULT
    assert not key.exists()


def test_the_reserve_of_a_gate_that_ran_is_counted_and_that_of_a_new_one_is_not(tmp_path: Path) -> None:
    assert stores.examine(tmp_path, None).reserved_bytes == 0
    with gate_at_work(tmp_path):
        pass
    assert stores.examine(tmp_path, None).reserved_bytes == pytest.approx(FRESH_BYTES, rel=0.05)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_folder_of_another_user_is_a_fault_that_names_who_may(tmp_path: Path, below: str) -> None:
    (tmp_path / "data" / below).mkdir(parents=True, mode=0o700)
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from firmware.doctor import disk, stores\n"
        "from firmware.doctor.machine import Machine\n"
        "os.chdir(sys.argv[1]); os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "data = Path(sys.argv[2])\n"
        "found = stores.examine(data, stores.running(Machine(), data)).checks\n"
        "found += tuple(disk.examine(Machine(Path('/none')), data, 0))\n"
        "print(*(f'{check.verdict.value} {check.text}' for check in found), sep='\\n')\n"
    )
    open_to_others(tmp_path)
    (tmp_path / "data").chmod(0o700)
    command = [sys.executable, "-c", program, str(tmp_path), f"data/{below}".rstrip("/")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, env=environment
    ).stdout.splitlines()
    assert next(line for line in told if "may not be looked into by nobody" in line).startswith("fault ")
    assert any("MiB free where" in line for line in told)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_list_of_another_user_is_looked_at_from_outside_only(tmp_path: Path) -> None:
    fill(tmp_path)
    catalogue = tmp_path / "catalogue"
    os.chown(catalogue, 65534, 65534)
    lock = (catalogue / "build-1/lock.mdb").readlink()
    (check,) = verdicts(tmp_path, "catalogue")
    assert check == findings.CATALOGUE_OUTSIDE.seen(build="build-1", owner="nobody")
    assert (catalogue / "build-1/lock.mdb").readlink() == lock
    os.truncate(catalogue / "build-1/data.mdb", 3000)
    assert verdicts(tmp_path, "catalogue")[0].verdict is Verdict.FAULT
