"""`gatepost fleet`, `enrol` and `take-up`, as an engineer types them."""

import re
import shutil
import signal
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from firmware.demo.network import free_port
from firmware.fleet import folder as stored
from tests.commands import Running, run
from tests.fleet.fleets import BOARDS, settings, wait_until_connected
from tests.test_deploy_brokers import set_up

DONE, FINDING, REFUSED = 0, 1, 2


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet with a supervisor, made by the commands."""
    fleet = tmp_path_factory.mktemp("fleets") / "fleet"
    done = run("fleet", "init", fleet, "--venue", "arena", "--broker", "broker.example")
    assert done.returncode == DONE, done.stderr
    assert run("fleet", "operator", fleet, "ann", "--role", "supervisor").returncode == DONE
    return fleet


@pytest.fixture
def fleet(made: Path, tmp_path: Path) -> Path:
    """A copy of that one."""
    shutil.copytree(made, tmp_path / "fleet")
    return tmp_path / "fleet"


def refused(done: CompletedProcess[str], told: str) -> None:
    """One line, with the mend in it."""
    assert done.returncode == REFUSED
    assert re.search(told, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_is_secret_can_be_read_by_its_owner_only(made: Path) -> None:
    private = {path for path in made.rglob("*") if path.suffix == ".key" or path.name in ("key", "lock")}
    assert {path.name for path in private} >= {
        "ca.key",
        "enrol-ca.key",
        "broker.key",
        "key",
        "ann.key",
        "ann.tls.key",
    }
    for path in private | {made, *(path for path in made.rglob("*") if path.is_dir())}:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_fleet_is_never_made_over_another(fleet: Path) -> None:
    again = ("fleet", "init", fleet, "--venue", "arena", "--broker", "broker.example")
    before = (fleet / "ca.key").read_bytes()
    refused(run(*again), "there is a fleet here already")
    (fleet / "fleet.toml").unlink()
    refused(run(*again), "there is a fleet here already")
    assert (fleet / "ca.key").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["operator", "FLEET", "ann", "--role", "steward"], "is there already"),
        (["operator", "FLEET", "Ann", "--role", "steward"], "is not a name"),
        (["operator", "FLEET", "bob", "--role", "boss"], "choose from 'steward', 'supervisor'"),
        (["revoke", "FLEET"], "name a gate, or --operator"),
        (["revoke", "FLEET", "nowhere"], "knows no gate"),
        (["revoke", "FLEET", "--operator", "eve"], "its operators: ann"),
        (["revoke", "FLEET", "--operator", "ann"], "only operator"),
        (["show", "nowhere"], "gatepost fleet init makes one"),
        (["serve", "nowhere"], "gatepost fleet init makes one"),
        (["init", "new", "--venue", "Arena", "--broker", "x"], "is not a name"),
        (["init", "new", "--venue", "arena", "--broker", "mqtt://x"], "without a scheme"),
        (["init", "new", "--venue", "arena", "--broker", "x", "--port", "0"], "is not a port"),
    ],
)
def test_wrong_use_is_told_with_the_mend(made: Path, tmp_path: Path, words: list[str], told: str) -> None:
    names = {"FLEET": str(made), "nowhere": "nowhere", "new": str(tmp_path / "new")}
    refused(run("fleet", *(names.get(word, word) for word in words)), told)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda fleet: (fleet / "enrol-ca.key").chmod(0o644), "chmod 600"),
        (lambda fleet: (fleet / "enrol-ca.key").write_text("x"), "put both back"),
        (lambda fleet: (fleet / "fleet.toml").write_text("venue = 3"), "mend the file"),
        (lambda fleet: (fleet / "operators.toml").write_text("["), "operators"),
        (lambda fleet: (fleet / "gates" / "north.json").write_text("{}"), "put it back"),
    ],
)
def test_a_damaged_fleet_says_which_file(fleet: Path, tmp_path: Path, damage: object, told: str) -> None:
    assert callable(damage)
    damage(fleet)
    (tmp_path / "gate.toml").write_text(settings())
    wanted = ("enrol", fleet, "north", "--settings", tmp_path / "gate.toml", "--out", tmp_path / "north.tar")
    refused(run(*wanted), told)
    assert not (tmp_path / "north.tar").exists()


def test_a_bundle_is_checked_where_it_is_made(fleet: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "gate.toml", tmp_path / "north.tar"
    wanted = ("enrol", fleet, "north", "--settings", file, "--out", out)
    for text, told in (
        (settings("south"), "gate.name"),
        (settings(broker=""), r"\[\[broker\]\]"),
        (settings(board="/etc/gatepost/board.toml"), "--board"),
        (settings() + "[polcy]\n", "no such setting"),
    ):
        file.write_text(text)
        refused(run(*wanted), told)
    refused(run(*wanted[:-1], tmp_path), "is a folder")
    file.write_text(settings(board="/etc/gatepost/board.toml"))
    done = run(*wanted, "--board", BOARDS / "tripod.toml")
    assert done.returncode == DONE, done.stderr
    assert out.stat().st_mode & 0o077 == 0
    assert "waits to be taken up" in run("fleet", "show", fleet).stdout


def test_an_operator_is_added_and_revoked(fleet: Path) -> None:
    assert "steward" in run("fleet", "operator", fleet, "bob", "--role", "steward").stdout
    assert re.search(r"bob +steward +key [0-9a-f]{16}", run("fleet", "show", fleet).stdout)
    done = run("fleet", "revoke", fleet, "--operator", "bob")
    assert "/crl.pem and " in done.stdout
    assert "/enrol-crl.pem to " in done.stdout
    assert "bob" not in run("fleet", "show", fleet).stdout


def test_new_certificates_for_brokers_and_bridge_leave_the_venues_key_as_it_is(fleet: Path) -> None:
    names = ("broker/broker.pem", "bridge/bridge.pem", "serve/fleet.pem", "bridge/key")
    before = [(fleet / name).read_bytes() for name in names]
    assert run("fleet", "broker", fleet, "--name", "10.0.0.7").returncode == DONE
    changed = [(fleet / name).read_bytes() != data for name, data in zip(names, before, strict=True)]
    assert changed == [True, True, True, False]


@pytest.mark.slow
def test_a_gate_from_its_bundle_to_its_end_by_the_commands_alone(tmp_path: Path) -> None:
    fleet, etc, data = tmp_path / "fleet", tmp_path / "etc", tmp_path / "data"
    (anns := tmp_path / "anns").mkdir()
    port, enrol_port = free_port(), free_port()
    ports = ("--port", str(port), "--enrol-port", str(enrol_port))
    assert run("fleet", "init", fleet, "--venue", "arena", "--broker", "127.0.0.1", *ports).returncode == DONE
    assert run("fleet", "operator", fleet, "ann", "--role", "supervisor").returncode == DONE
    place = set_up(fleet, "venue", tmp_path / "broker")
    (tmp_path / "gate.toml").write_text(settings(broker=f'[[broker]]\nhost = "127.0.0.1"\nport = {port}\n'))
    bundle = tmp_path / "gatepost.tar"
    asked = ("enrol", fleet, "north", "--settings", tmp_path / "gate.toml", "--out", bundle)
    assert run(*asked).returncode == DONE
    taken = run("take-up", "--bundle", bundle, "--etc", etc, "--data", data, "--owner", "root")
    assert taken.returncode == DONE, taken.stderr
    gate = ("gate", "--config", etc / "gate.toml", "--data", data)
    with place.broker:
        with Running("fleet", "serve", fleet) as serve:
            serve.out.expect("connected to")
            with Running(*gate) as running:
                running.err.expect("ready: lanes 1")
                serve.out.expect('gate "north" has its certificate: valid until')
                wait_until_connected(fleet, "north")
                order = run("order", "north", "identify", "--fleet", fleet, "--as", "ann", "--wait", "60")
                assert order.returncode == DONE, order.stdout + order.stderr
                for part in (
                    "fleet.toml",
                    "ca.pem",
                    "operators.toml",
                    "operators",
                ):  # what ann takes with her
                    copy = shutil.copytree if (fleet / part).is_dir() else shutil.copy
                    copy(fleet / part, anns / part)
                order = run("order", "*", "identify", "--fleet", anns, "--as", "ann")
                assert order.returncode == DONE, order.stdout + order.stderr
            serve.signal(signal.SIGTERM)
            assert serve.end() == DONE
        assert run("fleet", "revoke", fleet, "north").returncode == DONE
        for name in ("crl.pem", "enrol-crl.pem"):
            shutil.copy(fleet / "broker" / name, tmp_path / "broker" / name)
        place.broker.stop()
        place.broker.start()
        with Running(*gate) as running:
            running.err.expect("certificate revoked")
    known = stored.gate(fleet, "north")
    assert known is not None
    assert known.revoked
