"""The demo between two pipes: lines in, one JSON object a scan out."""

import json
import resource
import signal
import subprocess
from pathlib import Path

import pytest

from firmware.demo.tickets import code_of
from firmware.row import decode, row_id
from firmware.rows import RowReader
from hal.frames import LENGTH_MAX
from tests.demo.process import COMMAND, PATIENCE_S, ROOT, Piped, run, verdicts

KEYS = [
    "code", "lane", "direction", "verdict", "reason", "opened",
    "decided_us", "durable_us", "relay_us", "epoch", "seq",
]  # fmt: skip


def test_the_demo_shows_a_code_of_every_kind() -> None:
    codes = [code_of(number) for number in (7, 0, 1, 2, 3, 4, 5, 100_000)]
    demo = run("\n".join([*codes, codes[0]]), "--alone")
    assert verdicts(demo.scans) == [
        "admitted", "used", "cancelled", "refunded", "not_sold", "wrong_session", "too_early",
        "unknown", "used",
    ]  # fmt: skip
    assert demo.code == 0
    assert "100,000 tickets" in demo.said
    for word, code in zip(("good", "used", "cancelled", "refunded", "not sold yet"), codes, strict=False):
        assert code in next(line for line in demo.said.splitlines() if f"  {word}" in line)
    for word in ("wrong session", "too early", "unknown code"):
        assert f"  {word}" in demo.said


def test_a_scan_is_one_object_with_its_keys_in_order(tickets: Path) -> None:
    admitted, used, again = run("A1\nA1\nA1\n", "--tickets", tickets).scans
    assert list(admitted) == list(used) == list(again) == KEYS
    assert (admitted["verdict"], admitted["opened"], admitted["reason"]) == ("admitted", True, "admitted")
    assert 0 < admitted["decided_us"] < admitted["durable_us"] < admitted["relay_us"]
    assert (admitted["epoch"], admitted["seq"]) == (1, 2)
    assert (used["verdict"], used["opened"], used["relay_us"]) == ("used", False, None)
    assert used["reason"].startswith("used: entered ")
    assert 0 < used["decided_us"] < used["durable_us"]
    assert used["seq"] == 4  # the passage has a row of its own
    assert again["verdict"] == "used"
    assert [again[key] for key in ("opened", "durable_us", "relay_us", "epoch", "seq")] == [False] + [
        None
    ] * 4


def test_the_objects_name_the_rows_of_the_journal(tickets: Path, tmp_path: Path) -> None:
    scans = run("A1\nUSED\nA1\nA2\nnothing\n", "--tickets", tickets, "--data", tmp_path / "data").scans
    with RowReader(tmp_path / "data" / "journal") as reader:
        rows = {stored.id: (stored.code, decode(stored.body)) for stored in reader.all()}
    assert len(scans) == 5
    for scan in scans:
        code, row = rows[row_id(scan["epoch"], scan["seq"])]
        assert (code, row.verdict, row.lane) == (scan["code"], scan["verdict"], scan["lane"])


def test_a_json_object_names_its_lane_and_its_direction(lanes: Path, tickets: Path) -> None:
    lines = [
        {"code": "A1", "lane": "north"},
        {"code": "A1", "lane": "both", "direction": "out"},
        {"code": "A1", "lane": "exit"},
        {"code": "A1", "lane": "both"},
        {"code": "A1", "lane": "north", "direction": "in"},
        {"code": "A2", "lane": "blind"},
        {"code": "{A"},
    ]
    demo = run("\n".join(map(json.dumps, lines)), "--config", lanes, "--tickets", tickets)
    assert [(scan["lane"], scan["direction"], scan["verdict"]) for scan in demo.scans] == [
        ("north", "in", "admitted"),
        ("both", "out", "admitted"),
        ("exit", "out", "not_inside"),
        ("both", "in", "admitted"),
        ("north", "in", "used"),
        ("blind", "in", "admitted"),
        ("north", "in", "unknown"),
    ]
    assert demo.scans[-1]["code"] == "{A"
    assert demo.code == 0
    assert 'lane "blind" has no sensor' in demo.said


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"code": "A2"', "not a JSON object as in"),
        ('{"kode": "A2"}', "`kode`"),
        ('{"lane": "north"}', "`code`"),
        ('{"code": 12}', "Expected `str`"),
        ('{"code": ""}', 'the "code" is empty'),
        ('{"code": "\\ud800"}', "not a JSON object as in"),
        ('{"code": "A2", "lane": "nort"}', 'no lane is called "nort": did you mean "north"?'),
        ('{"code": "A2", "lane": "zzz"}', 'there are "north", "exit", "both", "blind"'),
        ('{"code": "A2", "lane": "exit", "direction": "in"}', 'lane "exit" does not serve "in"'),
        ('{"code": "A2", "direction": "up"}', "Invalid enum value 'up'"),
    ],
)
def test_a_line_that_is_no_scan_is_named_and_the_others_go_on(
    lanes: Path, tickets: Path, line: str, words: str
) -> None:
    demo = run(f"A1\n\n{line}\nA3\n", "--config", lanes, "--tickets", tickets)
    assert [scan["code"] for scan in demo.scans] == ["A1", "A3"]
    assert demo.code == 1
    assert [words in said for said in demo.said.splitlines() if "line 3: " in said] == [True]


def test_of_many_bad_lines_only_the_first_are_told(tickets: Path) -> None:
    demo = run("{\n" * 1000 + "A1\n", "--tickets", tickets)
    assert verdicts(demo.scans) == ["admitted"]
    assert "1000 lines were no scans" in demo.said
    assert len(demo.said.splitlines()) < 40


def test_whatever_a_line_holds_gets_one_object(tickets: Path) -> None:
    lines = [
        b"\xef\xbb\xbfA1\r",
        b"",
        b"\r",
        b"\xff\xfe",
        b"a\x1db\x00\x07c",
        b" A1 ",
        "\u2028\u0085".encode(),
        b"A" * 10_000_000,
        b"A" * (LENGTH_MAX + 1),
        b'{"code": "' + b"A" * (LENGTH_MAX + 1) + b'"}',
        b"/quit",
        b"A2",
    ]
    demo = run(b"\n".join(lines), "--tickets", tickets)
    assert [(scan["code"], scan["verdict"]) for scan in demo.scans] == [
        ("A1", "admitted"),
        (None, "unreadable"),
        ("a\x1db\x00\x07c", "unknown"),
        (" A1 ", "unknown"),
        ("\u2028\u0085", "unknown"),
        (None, "unreadable"),
        (None, "unreadable"),
        (None, "unreadable"),
        ("/quit", "unknown"),
        ("A2", "admitted"),
    ]
    assert demo.scans[1]["reason"] == "unreadable: what the reader sent is not text"
    assert demo.scans[5]["reason"] == "unreadable: the code is too long"
    assert demo.code == 0
    assert "empty lines passed over: 2" in demo.said


def test_each_line_gets_its_answer_before_the_next_one_is_typed(tickets: Path) -> None:
    with Piped("--tickets", tickets) as demo:
        for code, verdict in (("A1", "admitted"), ("A1", "used"), ("A2", "admitted"), ("X", "unknown")):
            demo.type(code)
            assert demo.sure_scan()["verdict"] == verdict
        assert demo.end().code == 0


def test_a_reader_that_goes_away_ends_the_demo_quietly(tickets: Path) -> None:
    with Piped("--tickets", tickets) as demo:
        demo.type("A1")
        demo.sure_scan()
        assert demo.process.stdout
        demo.process.stdout.close()
        demo.type("A2")
        said = b"".join(demo.process.stderr or ()).decode()
        assert demo.process.wait() == 0
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_demo_tidily(tickets: Path, tmp_path: Path, number: int) -> None:
    with Piped("--tickets", tickets, "--data", tmp_path / "data") as demo:
        demo.type("A1")
        scans = [demo.sure_scan()]
        demo.type("A2", "A3")
        ended = demo.end(number)
    assert (ended.code, "Traceback" in ended.said) == (0, False)
    with RowReader(tmp_path / "data" / "journal") as reader:
        admitted = [stored.code for stored in reader.all() if decode(stored.body).verdict == "admitted"]
    assert admitted == [scan["code"] for scan in scans + ended.scans]


def test_a_second_run_goes_on_where_the_first_ended(tickets: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = run("A1\nA2\n", "--tickets", tickets, "--data", data)
    second = run("A1\nA3\n", "--data", data)
    assert verdicts(first.scans) == ["admitted", "admitted"]
    assert verdicts(second.scans) == ["used", "admitted"]
    assert [scan["epoch"] for scan in second.scans] == [2, 2]
    assert f"the tickets in {data} are used as they are" in second.said
    assert "inside 3" in second.said


def test_codes_to_try_are_what_the_gate_would_say_now(tmp_path: Path) -> None:
    data = tmp_path / "data"
    run(code_of(6), "--count", "100", "--data", data)
    said = run("", "--data", data).said.splitlines()
    assert code_of(6) in next(line for line in said if "  used " in line)
    assert code_of(6) not in next(line for line in said if "  good " in line)


def test_an_admission_that_a_kill_left_open_is_told_and_counts_as_used(
    lanes: Path, tickets: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    # Open for as long as can be: the kill must come before the lane settles it by itself.
    lanes.write_text(lanes.read_text().replace("unlock_ms = 1000", "unlock_ms = 30_000"))
    with Piped("--config", lanes, "--tickets", tickets, "--data", data) as demo:
        demo.type('{"code": "A1", "lane": "blind"}')
        assert demo.sure_scan()["opened"]
        demo.process.kill()
        demo.process.wait()
    again = run("A1\n", "--config", lanes, "--data", data)
    assert verdicts(again.scans) == ["used"]
    assert "not settled when the last run ended: " in again.said


def test_a_bad_list_changes_nothing_and_its_lines_are_named(tickets: Path, tmp_path: Path) -> None:
    data, bad = tmp_path / "data", tmp_path / "bad.csv"
    run("", "--tickets", tickets, "--data", data)
    bad.write_text("code,valid_from\nB1,\nB2,yesterday\n")
    refused = run("B1\n", "--tickets", bad, "--data", data)
    assert (refused.code, refused.scans) == (1, [])
    assert "line 3: valid_from: yesterday is no date" in refused.said
    assert verdicts(run("A1\nB1\n", "--data", data).scans) == ["admitted", "unknown"]


def test_a_list_of_json_lines_is_taken_too(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text('{"code": "J1", "event": "concert", "session": "evening"}\n')
    assert verdicts(run("J1\n", "--tickets", path).scans) == ["admitted"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--count", "5", "--tickets", "list.csv"], "--count: tickets are made only without --tickets"),
        (["--count", "0"], "--count 0: not between 1 and 1,000,000"),
        (["--baud", "9600"], "--baud: there is no scanner to set"),
        (["--config", "missing.toml"], "missing.toml: cannot be read"),
        (["--tickets", "missing.csv"], "missing.csv"),
        (["--serial", "scanner", "--baud", "1"], "baud_rate: 1 is not between"),
    ],
)
def test_wrong_use_is_named(arguments: list[str], words: str) -> None:
    demo = run("A1\n", *arguments)
    assert (demo.code, demo.scans) == (2, [])
    assert words in demo.said
    assert "Traceback" not in demo.said


def test_tickets_are_not_made_where_there_are_some(tickets: Path, tmp_path: Path) -> None:
    run("", "--tickets", tickets, "--data", tmp_path)
    demo = run("", "--count", "5", "--data", tmp_path)
    assert demo.code == 2
    assert f"--count: there are tickets in {tmp_path} already" in demo.said


def test_settings_are_tried_out_before_their_board_is_wired(tickets: Path, tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text('[board]\nname = "gpio"\nfile = "/nowhere/board.toml"\n[[lane]]\nname = "left"\n')
    demo = run("A1\n", "--config", path, "--tickets", tickets)
    assert demo.code == 0
    assert [(scan["lane"], scan["verdict"], scan["opened"]) for scan in demo.scans] == [
        ("left", "admitted", True)
    ]


def test_the_example_needs_only_its_terminal_taken_out_to_be_tried_out(tmp_path: Path) -> None:
    example = (ROOT / "deploy" / "gate.toml").read_text("utf-8")
    at = example.index('[[lane.reader]]\nkind = "lines"')
    path = tmp_path / "gate.toml"
    path.write_text(example[:at] + example[example.index("# --- who is let in", at) :], "utf-8")
    with Piped("--config", path, "--count", "100") as demo:  # its scanners could come yet: it goes on
        demo.type("nobody")
        scan = demo.sure_scan()
    assert (scan["lane"], scan["verdict"]) == ("left", "unknown")


def test_standard_input_has_one_reader(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text('[[lane]]\nname = "1"\n[[lane.reader]]\nkind = "lines"\npath = "-"\n')
    demo = run("", "--config", path)
    assert demo.code == 2
    assert 'lane "1": its reader takes standard input' in demo.said


def test_a_second_demo_on_the_same_data_is_refused(tickets: Path, tmp_path: Path) -> None:
    with Piped("--tickets", tickets, "--data", tmp_path / "data") as demo:
        demo.type("A1")
        demo.sure_scan()
        second = run("A2\n", "--tickets", tickets, "--data", tmp_path / "data")
        assert (second.code, second.scans) == (2, [])
        assert f"process {demo.process.pid}" in second.said


def test_a_disk_that_fails_takes_the_lane_out_of_order_and_the_lines_go_on(
    tickets: Path, tmp_path: Path
) -> None:
    with Piped("--tickets", tickets, "--data", tmp_path / "data") as demo:
        demo.type("A1")
        assert demo.sure_scan()["opened"]
        limits = resource.prlimit(demo.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(demo.process.pid, resource.RLIMIT_FSIZE, (0, limits[1]))
        demo.type("A2", "A3", "X")
        scans = [demo.sure_scan() for _ in range(3)]
        assert verdicts(scans) == ["out_of_order"] * 3
        assert [(scan["opened"], scan["durable_us"]) for scan in scans] == [(False, None)] * 3
        assert demo.hears("fault: the journal takes no rows: ")
        resource.prlimit(demo.process.pid, resource.RLIMIT_FSIZE, limits)
        assert demo.hears("the journal works again")
        demo.type("A2")
        assert demo.sure_scan()["verdict"] == "admitted"
        assert demo.end().code == 0


def test_a_full_standard_output_is_an_error(tickets: Path) -> None:
    command = [*COMMAND, "--tickets", str(tickets)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command,
            check=False,
            cwd=ROOT,
            input=b"A1\n",
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_S,
        )
    assert done.returncode == 2
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_list_of_the_users_own_needs_no_settings(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("code,event,session,sector\nPLAIN,,,\nFULL,opera,late,A1\n")
    data = tmp_path / "data"
    assert verdicts(run("PLAIN\nFULL\nPLAIN\n", "--tickets", path, "--data", data).scans) == [
        "admitted",
        "admitted",
        "used",
    ]
    assert verdicts(run("FULL\n", "--data", data).scans) == ["used"]


def test_made_tickets_that_were_kept_go_with_the_settings_they_were_made_for(tmp_path: Path) -> None:
    for how_many in (("--count", "100"), ()):
        demo = run(code_of(4), "--data", tmp_path / "data", *how_many)
        assert verdicts(demo.scans) == ["wrong_session"]
