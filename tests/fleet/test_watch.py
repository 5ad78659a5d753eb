"""The fleet on a terminal: real gates, a real broker, and whoever watches from elsewhere."""

import fcntl
import json
import os
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from firmware import wire
from firmware.core.ticket import Verdict
from firmware.demo.network import free_port
from firmware.fleet import folder as fleets
from firmware.fleet import init
from firmware.fleet.fleet_page import SILENT_S, FleetPage, Row, State, ago, as_json, cells
from firmware.fleet.operator_line import Heard
from firmware.fleet.watch import drawn, verdict
from firmware.signing import Role
from tests.brokers import LIMIT_S, RunningBroker, mosquitto_broker
from tests.commands import COMMAND, run
from tests.uplinks import VENUE, fill_catalogue, gate_at_work

UTC_MS = 1_790_000_000_000


def telemetry(scans: int = 0, epoch: int = 1, *faults: wire.NamedFault) -> wire.Telemetry:
    return wire.Telemetry(
        epoch=epoch,
        utc_ms=UTC_MS,
        trusted=True,
        up_ms=1,
        release="0.1.0",
        settings_version=3,
        verdicts={Verdict.ADMITTED: scans},
        inbox=0,
        late_turns=0,
        decide=wire.Quantiles(10, 42),
        commit=wire.Quantiles(1_000, 2_500),
        tickets=9,
        catalogue_age_ms=125_000,
        key_mark=b"",
        backlog_rows=1_234,
        parts=(),
        faults=faults,
        temperature_mc=48_400,
    )


def told(page: FleetPage, gate: str, message: wire.Message, now_s: float, retained: bool = False) -> None:
    page.take(Heard(gate, wire.TELEMETRY, message, retained), now_s)


LOST = wire.NamedFault("reader_lost", UTC_MS - 300_000, "reader north/1: no cable")


# --- rows ----------------------------------------------------------------------------------------------


def test_a_row_says_what_the_gate_told() -> None:
    page = FleetPage()
    told(page, "a", telemetry(0, 1, LOST), 0.0)
    told(page, "a", telemetry(7, 1, LOST), 10.0)
    (row,) = page.rows({"a"}, (), 14.0)
    assert cells(row)[:6] == ("a", "fault", "reader_lost 5 min", "42", "1,234", "2 min")
    assert cells(row)[6:] == ("42 µs", "2.5 ms", "48 °C", "0.1.0", "3", "4 s ago")


def test_the_worst_gates_stand_first() -> None:
    page = FleetPage()
    for gate in ("good", "silent", "gone"):
        told(page, gate, telemetry(), 0.0)
    told(page, "good", telemetry(), 50.0)
    told(page, "ill", telemetry(0, 1, LOST), 50.0)
    rows = page.rows({"good", "ill", "silent", "new"}, {"never", "good"}, SILENT_S + 1)
    assert [(row.gate, row.state) for row in rows] == [
        ("gone", State.ABSENT),
        ("never", State.ABSENT),
        ("new", State.SILENT),
        ("silent", State.SILENT),
        ("ill", State.ILL),
        ("good", State.GOOD),
    ]
    assert verdict(rows) == 1
    assert verdict(rows[-1:]) == 0
    assert verdict([]) == 1


def test_a_restart_does_not_make_scans_fewer_than_none() -> None:
    page = FleetPage()
    told(page, "a", telemetry(500, 1), 0.0)
    told(page, "a", telemetry(2, 2), 10.0)
    assert page.rows({"a"}, (), 10.0)[0].scans_a_minute is None
    told(page, "a", telemetry(4, 2), 20.0)
    assert page.rows({"a"}, (), 20.0)[0].scans_a_minute == 12.0


def test_scans_a_minute_are_those_of_the_last_minute() -> None:
    page = FleetPage()
    for number in range(100):
        told(page, "a", telemetry(0 if number < 50 else (number - 50) * 10), number * 10.0)
    assert page.rows({"a"}, (), 990.0)[0].scans_a_minute == 60.0


def test_what_was_kept_by_the_broker_says_nothing_of_now() -> None:
    page = FleetPage()
    told(page, "a", telemetry(), 0.0, retained=True)
    assert not page.told({"a"})


def test_what_a_gate_says_cannot_change_the_terminal() -> None:
    page = FleetPage()
    told(page, "a", telemetry(0, 1, wire.NamedFault("x\x1b[2J", UTC_MS, "")), 0.0)
    page.take(Heard("a", wire.LOG, wire.Log(lines=(wire.Line(1, "\x1b[2J[bold]x"),)), False), 0.0)
    console = Console(width=200, record=True, force_terminal=False)
    with console.capture() as capture:
        console.print(drawn("arena", page.rows({"a"}, (), 0.0), page.warnings, ["broker: gone"]))
    assert "\x1b[2J" not in capture.get()
    assert "[bold]x" in capture.get()
    assert "arena: 0 of 1 gates ok" in capture.get()
    assert "broker: gone" in capture.get()


def test_programs_get_a_list_on_one_line() -> None:
    (found,) = json.loads(as_json([Row("a", State.ILL, (("tamper", 9),), heard_s=1.5)]))
    assert found["gate"] == "a"
    assert found["state"] == "fault"
    assert found["faults"] == [{"code": "tamper", "since_s": 9}]
    assert found["scans_a_minute"] is None


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (200_000, "2 d")]
)
def test_a_time_is_short(seconds: int, said: str) -> None:
    assert ago(seconds) == said


# --- the command -----------------------------------------------------------------------------------------


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with mosquitto_broker(tmp_path) as found:
        yield found


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gates tell at each turn: one that is late by seconds has told before the command gives up."""
    monkeypatch.setattr("firmware.uplink.telemetry.EVERY_S", 0.5)


@pytest.mark.usefixtures("talkative")
def test_the_table_of_a_fleet_is_printed_once_and_an_ill_gate_is_a_finding(
    tmp_path: Path, broker: RunningBroker
) -> None:
    for gate in ("a", "b"):
        fill_catalogue(tmp_path / gate)
    where = ("--broker", f"127.0.0.1:{broker.port}", "--venue", VENUE)
    with (
        gate_at_work(tmp_path / "a", "a", broker.port) as a,
        gate_at_work(tmp_path / "b", "b", broker.port) as b,
    ):
        for gate_there in (a, b):
            gate_there.until_born()
        found = run("watch", *where, "--once")
        assert found.returncode == 0, found.stderr
        heading, first, second = found.stdout.splitlines()
        assert heading.split()[:3] == ["gate", "state", "faults"]
        assert (first.split()[:2], second.split()[:2]) == (["a", "ok"], ["b", "ok"])
        a.board.fakes["north"].readers["in"].fail("no cable")
        a.until(lambda: a.unit.register.standing)
        found = run("watch", *where, "--once", "--json")
        assert found.returncode in (0, 1), found.stderr
        rows = {row["gate"]: row for row in json.loads(found.stdout)}
        while not rows["a"]["faults"]:  # its telemetry is older than the fault, for a second at most
            found = run("watch", *where, "--once", "--json")
            rows = {row["gate"]: row for row in json.loads(found.stdout)}
        assert found.returncode == 1
        assert [fault["code"] for fault in rows["a"]["faults"]] == ["reader_lost"]
        assert rows["b"]["state"] == "ok"


def test_no_gate_is_a_finding(broker: RunningBroker) -> None:
    found = run("watch", "--broker", f"127.0.0.1:{broker.port}", "--venue", VENUE, "--once")
    assert found.returncode == 1
    assert found.stdout == "no gate of the venue is connected\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--once",), "write --fleet DIR --as NAME"),
        (("--once", "--broker", "127.0.0.1:1"), "--broker goes with --venue"),
        (("--once", "--broker", "nowhere", "--venue", "arena"), "write it as in 127.0.0.1:1883"),
        (("--once", "--broker", "127.0.0.1:1", "--venue", "No Name"), "write 1 to 32 of a-z"),
        (("--broker", "127.0.0.1:1", "--venue", "arena"), "no terminal: add --once or --json"),
        (("--once", "--fleet", "/nowhere", "--as", "ann"), "/nowhere"),
        (("--once", "--broker", "127.0.0.1:1", "--venue", "arena"), "broker 127.0.0.1:1"),
    ],
)
def test_wrong_use_is_named_with_the_mend(words: tuple[str, ...], said: str) -> None:
    found = run("watch", *words)
    assert found.returncode == 2
    assert said in found.stderr


TLS = """\
per_listener_settings true
listener {port} 127.0.0.1
allow_anonymous true
listener {tls} 127.0.0.1
cafile {fleet}/broker/ca.pem
certfile {fleet}/broker/broker.pem
keyfile {fleet}/broker/broker.key
require_certificate true
use_identity_as_username true
acl_file {fleet}/broker/broker.acl
"""


@pytest.mark.usefixtures("talkative")
def test_an_operator_watches_with_her_certificate_and_a_gate_that_is_not_there_is_told(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o755)  # for the broker's own user
    fleet, tls = tmp_path / "fleet", free_port()
    init.make(fleet, fleets.Fleet(VENUE, "127.0.0.1", tls), datetime.now(UTC))
    init.add_operator(fleet, "bob", Role.STEWARD, datetime.now(UTC))
    for gate in ("a", "b"):
        fleets.keep_gate(fleet, fleets.Gate(gate))
    fleets.keep_gate(fleet, fleets.Gate("lost", revoked=True))
    config = TLS.replace("{tls}", str(tls)).replace("{fleet}", str(fleet))
    with mosquitto_broker(tmp_path, config) as broker, gate_at_work(tmp_path / "a", "a", broker.port) as a:
        a.until_born()
        found = run("watch", "--fleet", fleet, "--as", "bob", "--once")
    assert found.returncode == 1, found
    _, absent, here = found.stdout.splitlines()
    assert absent.split()[:3] == ["b", "not", "connected"]
    assert here.split()[:2] == ["a", "ok"]


@pytest.mark.usefixtures("talkative")
def test_the_table_lives_on_a_terminal_until_ctrl_c(tmp_path: Path, broker: RunningBroker) -> None:
    main_end, far_end = os.openpty()
    fcntl.ioctl(far_end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    command = [*COMMAND, "watch", "--broker", f"127.0.0.1:{broker.port}", "--venue", VENUE]
    with (
        gate_at_work(tmp_path / "a", "a", broker.port) as a,
        os.fdopen(main_end, "rb", buffering=0) as screen,
    ):
        a.until_born()
        environment = {**os.environ, "TERM": "xterm-256color"}
        process = subprocess.Popen(command, stdin=far_end, stdout=far_end, stderr=far_end, env=environment)
        os.close(far_end)
        try:
            shown = b""
            while b"1 of 1 gates ok" not in shown:  # the terminal ends with the process
                shown += screen.read(4096)
            process.send_signal(signal.SIGINT)
            with suppress(OSError):  # EIO: the far end is closed
                while more := screen.read(4096):
                    shown += more
            assert process.wait(LIMIT_S) == 128 + signal.SIGINT
            assert shown.endswith(b"\x1b[?25h\x1b[?1049l"), "cursor and screen are back"
        finally:
            process.kill()
            process.wait()
