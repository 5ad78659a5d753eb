"""The `gatepost` command from outside: what it prints where, its exit codes, one clear line for a mistake."""

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from firmware import cli
from firmware.catalogue import CatalogueBusy
from firmware.rows import Unwritable
from firmware.show_journal import FIELDS
from tests.commands import run
from tests.doors import LIST, Door, on_terminal, only_line, open_door

HEAVY = {"lmdb", "msgspec", "rich", "serial", "sqlite3", "tomllib", "zoneinfo"}


@pytest.fixture
def door() -> Iterator[Door]:
    with open_door() as door:
        yield door


@pytest.fixture
def blind_door() -> Iterator[Door]:
    """Nobody sees who walks through, so an opening lasts its whole time."""
    with open_door("sensor = false\nunlock_ms = 30000") as door:
        yield door


# --- the command itself ------------------------------------------------------------------------------


def test_it_tells_its_version_and_its_commands() -> None:
    assert re.fullmatch(r"gatepost \d+\.\d+\.\d+\n", run("--version").stdout)
    helped = run("--help")
    assert helped.returncode == 0
    assert all(command in helped.stdout for command in cli.COMMANDS)


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_command_explains_itself(command: str) -> None:
    helped = run(command, "--help")
    assert helped.returncode == 0
    wanted = {"release": "--board", "wiring": "--board", "bam": "enrol"}
    wanted |= {
        "fleet": "init",
        "enrol": "--settings",
        "order": "--fleet",
        "settings": "apply",
        "watch": "--fleet",
    }
    assert wanted.get(command, "--data") in helped.stdout


def test_the_fields_of_the_journal_are_explained_where_they_are_looked_for() -> None:
    helped = run("journal", "--help").stdout
    assert all(
        re.search(rf"^  {name} +{re.escape(meaning)}$", helped, re.M) for name, meaning in FIELDS.items()
    )


def test_it_loads_nothing_heavy_before_it_knows_what_is_wanted() -> None:
    program = (
        "import sys; before = set(sys.modules)\n"  # what measures the coverage is heavy too
        "from firmware import cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(*set(sys.modules) - before, file=sys.stderr)"
    )
    for arguments in (["--version"], ["--help"], ["gate", "--help"], ["nonsense"]):
        command = [sys.executable, "-c", program, *arguments]
        loaded = subprocess.run(command, capture_output=True, text=True, check=True).stderr.split()
        assert "firmware.cli" in loaded
        assert HEAVY & set(loaded) == set()


def test_every_error_that_has_a_line_of_its_own_exists() -> None:
    for name in cli.EXPECTED:
        module, _, error = name.rpartition(".")
        assert issubclass(getattr(import_module(module), error), Exception)


# --- one line for each mistake -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "the following arguments are required: COMMAND (see gatepost --help)"),
        ("jurnal", 'no command "jurnal", did you mean journal?'),
        ("journal", "--data (see gatepost journal --help)"),
        ("gate --data DATA", "--config"),
        (
            "gate --config NONE --data DATA",
            "gate.toml: cannot be read (No such file or directory): check the path",
        ),
        ("gate --config MISSPELT --data DATA", "gate.toml:3: lane[1].unlok_ms: no such setting"),
        ("gate --config GOOD --data FILE", "list.csv: File exists: name a folder"),
        ("gate --config GOOD --data DATA extra", "unrecognized arguments: extra"),
        ("import FILE", "--data"),
        ("import NONE --data DATA", "gate.toml: there is no such file: check the path"),
        ("import FOLDER --data DATA", "there is no such file"),
        ("import FILE --data DATA --timezone Mars/Base", "--timezone Mars/Base: there is no such zone"),
        ("import FILE --data FILE", "list.csv: File exists: name a folder"),
        ("replay --data FOLDER", "there is no journal here: check --data"),
        ("replay --data NOISE", "journal.db: file is not a database: it is no journal, or damaged"),
        ("replay --data GOOD --epoch 0", "'0' is not a whole number from 1 on"),
        ("journal --data FOLDER", "there is no journal here: check --data"),
        ("journal --data NOISE", "journal.db: file is not a database: it is no journal, or damaged"),
        ("journal --data NOISE --follow", "journal.db: file is not a database: it is no journal, or damaged"),
        ("journal --data DATA --last -1", "'-1' is not a whole number from 0 on"),
        ("journal --data DATA --last x", "'x' is not a whole number from 0 on"),
        ("journal --dat DATA", "--data"),
    ],
)
def test_a_mistake_gets_one_line_that_names_it_and_exit_code_2(
    tmp_path: Path, arguments: str, told: str
) -> None:
    (tmp_path / "list.csv").write_text(LIST)
    (tmp_path / "folder").mkdir()
    (tmp_path / "noise" / "journal").mkdir(parents=True)
    (tmp_path / "noise" / "journal" / "journal.db").write_bytes(b"noise" * 1000)
    (tmp_path / "good.toml").write_text('[[lane]]\nname = "1"\n')
    (tmp_path / "misspelt").mkdir()
    (tmp_path / "misspelt" / "gate.toml").write_text('[[lane]]\nname = "1"\nunlok_ms = 5000\n')
    places = {
        "DATA": tmp_path / "data",
        "FILE": tmp_path / "list.csv",
        "FOLDER": tmp_path / "folder",
        "GOOD": tmp_path / "good.toml",
        "MISSPELT": tmp_path / "misspelt" / "gate.toml",
        "NOISE": tmp_path / "noise",
        "NONE": tmp_path / "gate.toml",
    }
    found = run(*(places.get(word, word) for word in arguments.split()))
    assert found.returncode == 2
    assert told in only_line(found)


def test_a_setting_that_is_misspelt_is_told_with_the_nearest_one(door: Door) -> None:
    door.config.write_text('[[lane]]\nname = "1"\nunlok_ms = 5000\nrelok_ms = 500\n')
    found = run("gate", "--config", door.config, "--data", door.data)
    assert found.returncode == 2
    first, second = found.stderr.splitlines()
    assert "unlock_ms" in first
    assert "relock_ms" in second


def test_a_library_that_is_not_installed_is_named_with_the_mend() -> None:
    error = ModuleNotFoundError("No module named 'lmdb'", name="lmdb")
    assert cli.expected(error) == ['lmdb is not installed: pip install "gatepost[gate]"']
    error = ModuleNotFoundError("No module named 'iotcore'", name="iotcore")
    assert cli.expected(error) == ['iotcore is not installed: pip install "gatepost[dev]"']


@pytest.mark.parametrize("package", ["msgspec", "sqlalchemy", "httpx"])
def test_a_library_that_the_bridge_wants_is_named_with_the_bridges_extra(package: str) -> None:
    program = f"import sys; sys.modules[{package!r}] = None; from firmware.cli import main; sys.exit(main())"
    arguments = ["bridge", "--config", "bridge.toml", "--data", "data"]
    command = [sys.executable, "-c", program, *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (
        2,
        f'gatepost: {package} is not installed: pip install "gatepost[bridge]"\n',
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "d"),
            "d: No space left on device: make room on the disk",
        ),
        (
            OSError(errno.EACCES, "Permission denied", "d"),
            "d: Permission denied: run as the user who owns it",
        ),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (Unwritable("d: disk is full"), "d: disk is full: make room on the disk, and see whether it can be"),
        (CatalogueBusy("d: busy"), "d: busy"),
    ],
)
def test_what_the_disk_refuses_is_told_with_the_mend(error: Exception, told: str) -> None:
    (line,) = cli.expected(error)
    assert line.startswith(told)


def test_a_fault_of_the_program_is_not_dressed_up() -> None:
    assert cli.expected(ModuleNotFoundError("No module named 'firmware.x'", name="firmware.x")) == []
    assert cli.expected(KeyError("lane")) == []


def test_what_cannot_be_seen_does_not_reach_the_terminal_in_a_complaint() -> None:
    found = run("journal", "--data", "\x1b[31mred")
    assert "\x1b" not in found.stderr
    assert "?[31mred: there is no journal here" in only_line(found)


# --- gate --------------------------------------------------------------------------------------------


def test_a_gate_says_when_it_is_ready_and_stops_tidily_on_sigterm(door: Door) -> None:
    assert door.put().returncode == 0
    with door.gate() as gate:
        ready, *fault = gate.err.expect("ready").split("; fault: ")
        assert ready == "gatepost: ready: lanes north; 2 tickets; epoch 1"
        assert all(text.startswith("the clock is not trusted") for text in fault), (
            "as it may be on this machine"
        )
        gate.signal(signal.SIGTERM)
        assert gate.end() == 0
        assert gate.out.rest() == []
    assert (door.data.stat().st_mode & 0o777) == 0o700
    assert [row["kind"] for row in door.rows()] == ["began"]


def test_a_gate_stops_tidily_on_ctrl_c(door: Door) -> None:
    with door.gate() as gate:
        gate.err.expect("ready")
        gate.signal(signal.SIGINT)
        assert gate.end() == 130
        assert len(gate.err.rest()) == 1


# The gate with a reader that does not open: no device of ours can be relied on to keep it waiting.
STARTING = """
import sys
from firmware.cli import main
from hal.line_reader import LineReader
def opened(path, *_):
    print("opens", path, flush=True)
    return open(path)  # a pipe: this waits for somebody who writes
LineReader.opened = opened
sys.exit(main())
"""


def test_a_gate_that_is_still_starting_stops_on_sigterm_too(door: Door, tmp_path: Path) -> None:
    pipe = tmp_path / "nobody-writes"
    os.mkfifo(pipe)
    door.config.write_text(f'[[lane]]\nname = "north"\n[[lane.reader]]\nkind = "lines"\npath = "{pipe}"\n')
    assert door.put().returncode == 0
    with door.gate((sys.executable, "-c", STARTING)) as gate:
        gate.out.expect(f"opens {pipe}")
        assert (door.data / "journal" / "history").exists(), "its stores are open"
        gate.signal(signal.SIGTERM)
        assert gate.end() == 0
        assert gate.err.rest() == []


def test_a_second_gate_on_the_same_data_is_refused_with_the_firsts_process_id(door: Door) -> None:
    with door.gate() as gate:
        gate.err.expect("ready")
        second = run("gate", "--config", door.config, "--data", door.data)
        assert second.returncode == 2
        assert f"another gate works on this directory (process {gate.process.pid})" in only_line(second)
        gate.signal(signal.SIGTERM)
        assert gate.end() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -9)])
def test_an_opening_that_the_gate_did_not_live_to_see_the_end_of_counts_as_used(
    blind_door: Door, number: int, code: int
) -> None:
    door = blind_door
    assert door.put().returncode == 0
    with door.gate() as gate:
        gate.err.expect("ready")
        with door.follow() as journal:
            door.scan("A")
            journal.out.expect('"movement": "opened"')
        gate.signal(number)
        assert gate.end() == code
    with door.gate() as gate:
        assert "and that count as used: 1" in gate.err.expect("ready")
        with door.follow() as journal:
            door.scan("A")
            assert "used" in journal.out.expect('"epoch": 2.*"kind": "scan"')
        gate.signal(signal.SIGTERM)
        assert gate.end() == 0
    assert run("replay", "--data", door.data).returncode == 0


def test_a_reader_that_is_not_there_is_a_fault_with_a_line_and_so_is_its_return(
    door: Door, tmp_path: Path
) -> None:
    device = tmp_path / "scanner"
    door.config.write_text(
        f'[[lane]]\nname = "north"\n[[lane.reader]]\nkind = "serial"\ndevice = "{device}"\n'
    )
    with door.gate() as gate:
        assert str(device) in gate.err.expect(r"fault: reader north/1: ")
        main_end, far_end = os.openpty()
        device.symlink_to(os.ttyname(far_end))
        gate.err.expect(r"reader north/1 works again")
        gate.signal(signal.SIGTERM)
        assert gate.end() == 0
        os.close(main_end)
        os.close(far_end)


# --- import ------------------------------------------------------------------------------------------


def test_an_import_says_what_was_new_changed_unchanged_removed_and_refused(door: Door) -> None:
    first = door.put()
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == "2 new, 0 changed, 0 unchanged, 0 removed; 0 of 2 rows refused\n"
    door.write("code,ticket_id,status\nB,id-B,\nC,id-C,\nD,id-D,cancelled\n")
    assert door.put().stdout == "2 new, 0 changed, 1 unchanged, 1 removed; 0 of 3 rows refused\n"


def test_a_list_with_a_bad_row_is_refused_with_its_line_and_changes_nothing(door: Door) -> None:
    assert door.put().returncode == 0
    door.write("code,ticket_id,valid_from\nA,id-A,2026-13-45\nB,id-B,\nC,id-C,\n")
    refused = door.put()
    assert (refused.returncode, refused.stdout) == (1, "")
    line, result = refused.stderr.splitlines()
    assert line.startswith("gatepost: line 2: valid_from: ")
    assert result.endswith("list.csv: 1 of 3 rows refused; nothing was changed")
    skipped = door.put("--skip-bad-rows")
    assert skipped.returncode == 0
    assert skipped.stdout == "1 new, 0 changed, 1 unchanged, 1 removed; 1 of 3 rows refused\n"
    assert "line 2" in skipped.stderr


def test_of_many_bad_rows_only_some_are_shown(door: Door) -> None:
    door.write("code,status\n" + "".join(f"{number},lost\n" for number in range(500)))
    refused = door.put().stderr.splitlines()
    assert len(refused) < 110
    assert any(line.endswith("and 400 more") for line in refused)


def test_an_empty_list_needs_to_be_meant(door: Door) -> None:
    door.write("code\n")
    assert door.put().returncode == 1
    assert door.put("--allow-empty").returncode == 0


def test_dates_are_read_in_the_zone_of_the_settings_or_in_that_which_is_named(door: Door) -> None:
    door.write("code,valid_from\nA,2026-08-01\n")
    door.config.write_text('[gate]\ntimezone = "Asia/Tokyo"\n' + door.config.read_text())
    assert door.put("--config", str(door.config)).stdout.startswith("1 new")
    assert door.put("--timezone", "Asia/Tokyo").stdout.startswith("0 new, 0 changed, 1 unchanged")
    assert door.put().stdout.startswith("0 new, 1 changed")


def test_a_list_that_comes_in_beside_a_live_gate_is_in_use_without_a_pause(door: Door) -> None:
    with door.gate() as gate:
        assert "; 0 tickets;" in gate.err.expect("ready")
        with door.follow() as journal:
            door.scan("A")
            journal.out.expect('"verdict": "unknown"')
            assert door.put().returncode == 0
            journal.out.expect('"kind": "catalogue"')
            door.scan("B")
            journal.out.expect('"verdict": "admitted"')
        gate.signal(signal.SIGTERM)
        assert gate.end() == 0


def test_an_import_into_a_terminal_shows_how_far_it_is(door: Door) -> None:
    door.write("code\n" + "".join(f"code-{number}\n" for number in range(20_000)))
    shown, code = on_terminal("import", str(door.list), "--data", str(door.data))
    assert code == 0
    assert "reading the list" in shown
    assert "20,000 new" in shown
