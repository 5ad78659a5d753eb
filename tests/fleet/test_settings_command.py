"""`gatepost settings` as an engineer gives it: through TLS and the access list, to a gate in a process."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware import wire
from firmware.core.ticket import Verdict
from firmware.demo.network import free_port
from firmware.fleet import folder as fleets
from firmware.mqtt import Line, Publication
from firmware.signing import checked
from tests.brokers import QUICK, Ear, until
from tests.commands import run
from tests.fleet.test_order_command import Venue, venue  # noqa: F401  a fixture
from tests.gate_bench import read_rows
from tests.managed.settled import settings_text, texts
from tests.reopened_gate import HEALTH_S, SOON_S
from tests.test_run import Gates


class Desk:
    """The engineer's, with a gate that works."""

    def __init__(self, venue: Venue, gates: Gates, folder: Path) -> None:  # noqa: F811  the fixture's type
        self.venue, self.gates, self.folder = venue, gates, folder

    def settings(self, *words: str | Path, who: str = "ann") -> subprocess.CompletedProcess[str]:
        """Give the command."""
        return run("settings", *map(str, words), "--fleet", self.venue.fleet, "--as", who)

    def file(self, text: str) -> Path:
        """A file of the engineer's."""
        path = self.folder / "wanted.toml"
        path.write_text(text, "utf-8")
        return path

    @property
    def port(self) -> int:
        return self.venue.broker.port


@pytest.fixture
def desk(venue: Venue, tmp_path: Path) -> Iterator[Desk]:  # noqa: F811  the fixture
    (tmp_path / "gate.toml").write_text(settings_text(venue.broker.port) + "# of the installer\n", "utf-8")
    with Gates(tmp_path, venue.data / "a") as gates:
        yield Desk(venue, gates, tmp_path)
        assert gates.end() == 0


def version_in(line: str) -> int:
    """That a line tells of: `a: version 7 good: ...`."""
    return int(line.split()[2])


def shown(desk: Desk) -> subprocess.CompletedProcess[str]:
    """What the gate reports, waited for."""
    until(lambda: not desk.settings("show", "a").returncode)
    return desk.settings("show", "a")


def test_settings_are_shown_compared_and_applied(desk: Desk) -> None:
    done = shown(desk)
    assert "a: version 0 in use; local" in done.stderr
    assert "unlock_ms = 1000" in done.stdout
    assert "installer" not in done.stdout
    wanted = desk.file("# mine\n" + settings_text(desk.port, 2000))
    done = desk.settings("diff", "a", "--settings", wanted)
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line[0] in "+-"][2:] == [
        "-unlock_ms = 1000",
        "+unlock_ms = 2000",
    ]
    done = desk.settings("apply", "a", "--settings", wanted)
    used = version_in(done.stdout)
    assert (done.returncode, done.stdout) == (
        0,
        f"a: version {used} good: in use, and the gate is in health with them\n",
    ), done.stderr
    assert desk.settings("diff", "a", "--settings", wanted).returncode == 0
    for everyone in ("*", "arena/*"):
        assert desk.settings("show", everyone).stdout == f"a: version {used} in use; good\n"
    assert "compared with one gate" in desk.settings("diff", "arena/*", "--settings", wanted).stderr
    assert desk.gates.do("scan", code="T0", lane="north")
    assert texts(desk.venue.data / "a")[-1] == f"settings {used} of ann: good"


def test_settings_that_fail_are_told_with_their_cause_and_the_next_have_another_version(desk: Desk) -> None:
    shown(desk)
    wanted = desk.file(settings_text(free_port()))
    desk.gates.do("health", within_s=SOON_S)
    done = desk.settings("apply", "a", "--settings", wanted)
    assert done.returncode == 1
    desk.gates.do("health", within_s=HEALTH_S)
    first = version_in(done.stdout)
    why = "returned: returned to those of the installation: no broker is connected"
    assert f"a: version {first} {why}" in done.stdout
    done = desk.settings("apply", "*", "--settings", desk.file(settings_text(desk.port, 3000)), "--operators")
    second = version_in(done.stdout)
    assert (done.returncode, done.stdout) == (
        0,
        f"a: version {second} good: in use, and the gate is in health with them\n",
    ), done.stderr
    assert second > first


def test_what_the_gate_would_refuse_is_not_sent(desk: Desk) -> None:
    shown(desk)
    for text, said in (
        (settings_text(desk.port).replace("unlock_ms", "unlok_ms"), 'did you mean "unlock_ms"?'),
        (settings_text(desk.port).replace('"a"', '"b"'), 'gate.name: is "b"'),
        ("[[[", "is not TOML"),
    ):
        done = desk.settings("apply", "a", "--settings", desk.file(text))
        assert done.returncode in (1, 2)
        assert said in done.stderr
    done = desk.settings("apply", "a", "--settings", desk.file(settings_text(desk.port, 2000)), who="bob")
    assert (done.returncode, done.stderr) == (
        2,
        "gatepost: bob is a steward: a supervisor may change settings\n",
    )
    done = desk.settings("apply", "a")
    assert "there is nothing to compare or to send" in done.stderr
    done = desk.settings("apply", "c", "--settings", desk.file(settings_text(desk.port, 2000)))
    assert (done.returncode, "c: has reported no settings" in done.stderr) == (1, True)
    assert texts(desk.venue.data / "a") == []


def test_a_gate_that_is_not_connected_finds_its_settings_when_it_comes(desk: Desk, tmp_path: Path) -> None:
    shown(desk)
    assert desk.gates.end() == 0
    done = desk.settings("apply", "a", "--settings", desk.file(settings_text(desk.port, 2000)))
    version = int(done.stdout.split()[-4])
    assert (done.returncode, done.stdout) == (
        1,
        f"a: is not connected: it finds version {version} when it comes\n",
    ), done.stderr
    with Gates(tmp_path, desk.venue.data / "a") as gates:
        until(lambda: f"a: version {version} in use; good" in desk.settings("show", "a").stderr)
        assert gates.do("scan", code="T0", lane="north")
        assert gates.end() == 0
    rows = read_rows(desk.venue.data / "a")
    assert [found.row.verdict for found in rows if found.row.kind == "scan"] == [Verdict.ADMITTED]


def test_settings_are_checked_and_sent_without_the_libraries_of_a_gate() -> None:
    program = "import sys; import firmware.fleet.settings_command; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "firmware.check_settings" in loaded.stdout.split()
    assert {"lmdb", "rich", "serial", "gpiozero", "lgpio", "evdev"} & set(loaded.stdout.split()) == set()


def test_nothing_that_a_broker_reports_is_signed(venue: Venue) -> None:  # noqa: F811  the fixture
    far = (1 << 63) - 1
    forged = wire.ReportedSettings(
        version=far,
        desired=far,
        state=wire.SettingsState.GOOD,
        text="",
        settings=settings_text(free_port(), 4000),
        failed=(far,),
    )
    where, ear = wire.address(wire.REPORTED, "arena", "a"), Ear()
    wanted = (wire.address(wire.DESIRED, "arena", "a"),)
    with Line((venue.broker.address,), "forger", wanted, ear, pace=QUICK):
        assert ear.session().publish(Publication(where, wire.encode(forged), retain=True))
        ear.wait(lambda: not ear.session().in_flight)
        before = int(time.time())
        words = "settings", "apply", "a", "--operators", "--fleet", venue.fleet, "--as", "ann"
        done = run(*words)
        assert (done.returncode, "it finds version" in done.stdout) == (1, True), done
        ear.wait(lambda: ear.payloads)
        sent = checked(
            wire.decode(ear.payloads[-1], wire.Signed), wire.DesiredSettings, fleets.operators(venue.fleet)
        )
    assert (sent.settings, sent.board) == ("", "")
    assert sent.operators == (venue.fleet / "operators.toml").read_text("utf-8")
    assert before <= sent.version <= time.time()
    folder = fleets.Paths(venue.fleet).gate("a").with_suffix(".version")
    assert int(folder.read_text("ascii")) == sent.version


def test_versions_grow_with_the_time_and_by_one_at_least(tmp_path: Path) -> None:
    assert [fleets.next_version(tmp_path, "a", utc_s) for utc_s in (7, 7, 3, 20)] == [7, 8, 9, 20]
    assert fleets.next_version(tmp_path, "b", 5) == 5
    for text in ("soon", "-1", "9" * 30):
        (tmp_path / "gates" / "a.version").write_text(text)
        with pytest.raises(fleets.FleetUnusable, match=r"a\.version: is no version: remove it"):
            fleets.next_version(tmp_path, "a", 30)
