"""`gatepost settings` as an engineer gives it: through TLS and the access list, to a gate in a process."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.core.ticket import Verdict
from firmware.demo.network import free_port
from tests.brokers import until
from tests.commands import run
from tests.fleet.test_order_command import Venue, venue  # noqa: F401  a fixture
from tests.gate_bench import read_rows
from tests.managed.settled import settings_text, texts
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
    assert (done.returncode, done.stdout) == (
        0,
        "a: version 1 good: in use, and the gate is in health with them\n",
    ), done.stderr
    assert desk.settings("diff", "a", "--settings", wanted).returncode == 0
    for everyone in ("*", "arena/*"):
        assert desk.settings("show", everyone).stdout == "a: version 1 in use; good\n"
    assert "compared with one gate" in desk.settings("diff", "arena/*", "--settings", wanted).stderr
    assert desk.gates.do("scan", code="T0", lane="north")
    assert texts(desk.venue.data / "a")[-1] == "settings 1 of ann: good"


def test_settings_that_fail_are_told_with_their_cause_and_the_next_have_another_version(desk: Desk) -> None:
    shown(desk)
    wanted = desk.file(settings_text(free_port()))
    done = desk.settings("apply", "a", "--settings", wanted)
    assert done.returncode == 1
    assert (
        "a: version 1 returned: returned to those of the installation: no broker is connected" in done.stdout
    )
    done = desk.settings("apply", "*", "--settings", desk.file(settings_text(desk.port, 3000)), "--operators")
    assert (done.returncode, done.stdout) == (
        0,
        "a: version 2 good: in use, and the gate is in health with them\n",
    ), done.stderr


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
    assert (done.returncode, done.stdout) == (
        1,
        "a: is not connected: it finds version 1 when it comes\n",
    ), done.stderr
    with Gates(tmp_path, desk.venue.data / "a") as gates:
        until(lambda: "a: version 1 in use; good" in desk.settings("show", "a").stderr)
        assert gates.do("scan", code="T0", lane="north")
        assert gates.end() == 0
    rows = read_rows(desk.venue.data / "a")
    assert [found.row.verdict for found in rows if found.row.kind == "scan"] == [Verdict.ADMITTED]


def test_settings_are_checked_and_sent_without_the_libraries_of_a_gate() -> None:
    program = "import sys; import firmware.fleet.settings_command; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "firmware.check_settings" in loaded.stdout.split()
    assert {"lmdb", "rich", "serial", "gpiozero", "lgpio", "evdev"} & set(loaded.stdout.split()) == set()
