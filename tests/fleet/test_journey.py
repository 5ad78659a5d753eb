"""The whole journey of a fleet from the command line, with nothing but the hand-book in hand."""

import re
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from firmware.catalogue import Catalogue
from firmware.venue_key import digest_of, keyed, read_key
from tests.commands import run
from tests.fleet.journey import JourneyGate, Venue, fetched, until

FIVE = ("a", "b", "c", "d", "e")
LOST, FOUR = "e", ("a", "b", "c", "d")


@pytest.mark.slow
def test_five_gates_are_managed_from_afar_and_one_that_is_lost_gets_in_no_more(tmp_path: Path) -> None:
    with Venue(tmp_path) as venue:
        a_fleet_is_made(venue)
        bundle = gates_are_enrolled(venue)
        all_of_them_let_people_in(venue)
        all_of_them_are_seen(venue)
        orders_are_obeyed_or_refused_by_role(venue)
        settings_change_or_return(venue)
        stolen = one_is_lost(venue, bundle)
        old = the_venue_gets_another_key(venue)
        everything_ends_in_order(venue, stolen)
        the_lost_one_got_in_no_more(venue, stolen, old)


def a_fleet_is_made(venue: Venue) -> None:
    where = ("--broker", "127.0.0.1", "--port", str(venue.port), "--enrol-port", str(venue.enrol_port))
    venue.gatepost("fleet", "init", venue.fleet, "--venue", "arena", *where)
    assert "ann is a supervisor" in venue.gatepost(
        "fleet", "operator", venue.fleet, "ann", "--role", "supervisor"
    )
    assert "sam is a steward" in venue.gatepost("fleet", "operator", venue.fleet, "sam", "--role", "steward")
    venue.start_broker()
    venue.start_vendor()
    venue.start_bridge()
    venue.start_serve()


def gates_are_enrolled(venue: Venue) -> Path:
    """Each takes its bundle up and gets its certificate by itself; a copy of one bundle is kept."""
    copy = venue.folder / "copied.tar"
    for name in FIVE:
        gate = venue.add_gate(name)
        bundle = gate.boot / "gatepost.tar"
        files = ("--settings", gate.settings(venue.port), "--etc", gate.etc, "--out", bundle)
        assert "good once" in venue.gatepost("enrol", venue.fleet, name, *files)
        if name == LOST:
            shutil.copy2(bundle, copy)
        taken = gate.take_up()
        assert taken.returncode == 0, taken.stderr
        assert f'gate "{name}" of arena' in taken.stdout
        assert not bundle.exists(), "nobody finds a token on a boot partition"
    for gate in venue.gates.values():
        gate.start()
    for gate in venue.gates.values():
        gate.is_ready()
    told = {re.split('"', venue.serve.out.expect("has its certificate"))[1] for _ in FIVE}
    assert told == set(FIVE)
    shown = venue.gatepost("fleet", "show", venue.fleet)
    assert all(re.search(rf"\b{name}\b.*20\d\d-", shown) for name in FIVE), shown
    return copy


def all_of_them_let_people_in(venue: Venue) -> None:
    for gate in venue.gates.values():
        gate.follow()
        gate.row("catalogue of [1-9]")
    venue.someone_enters(*FIVE)


def all_of_them_are_seen(venue: Venue) -> None:
    venue.until_all_are_well(FIVE)
    table = run("watch", "--fleet", venue.fleet, "--as", "ann", "--once").stdout.splitlines()
    assert table[0].split()[:3] == ["gate", "state", "faults"]
    assert [line.split()[0] for line in table[1:]] == list(FIVE)
    until(lambda: venue.metrics("gatepost_gate_up") == dict.fromkeys(FIVE, 1.0), "all are up")
    until(lambda: min(venue.metrics("gatepost_gate_tickets").values()) > 0, "all tell of their tickets")
    until(lambda: fetched(venue.health_port, "/health")[0] == 200, "the bridge is well")
    page = fetched(venue.health_port, "/health")[1]
    assert "5 of 5" in page
    assert all(f"gate {name}: " in page for name in FIVE)


def orders_are_obeyed_or_refused_by_role(venue: Venue) -> None:
    a, b = venue.gates["a"], venue.gates["b"]
    (said,) = venue.order("a", "open_once", who="sam")
    assert said.startswith("a  obeyed")
    assert "sam" in a.row('"kind": "order"')["text"]
    a.row('"kind": "passage"')
    (said,) = venue.order("a", "shut", who="sam", code=1)
    assert said.startswith("a  refused: role_too_low")
    assert "role_too_low" in str(a.row('"kind": "order"'))
    venue.someone_enters("a")
    table = venue.order("arena/*", "shut")
    assert [line.split()[:2] for line in table] == [[name, "obeyed"] for name in FIVE]
    assert b.scan(venue.person()) == "shut"
    table = venue.order("*", "normal")
    assert [line.split()[:2] for line in table] == [[name, "obeyed"] for name in FIVE]
    for what in ("identify", "alarm_drill", "normal", "doctor"):
        assert venue.order("d", what)[0].split()[:2] == ["d", "obeyed"], what
    venue.someone_enters(*FIVE)


def settings_change_or_return(venue: Venue) -> None:
    c = venue.gates["c"]
    until(lambda: "c: version 0 in use; local" in venue.change("show", "c").stderr, "its settings are told")
    wanted = c.settings(venue.port, unlock_ms=25_000)
    differs = venue.change("diff", "c", "--settings", wanted)
    assert differs.returncode == 1
    assert "+unlock_ms = 25000" in differs.stdout.splitlines()
    done = venue.change("apply", "c", "--settings", wanted, wait=True)
    assert (done.returncode, " good: in use" in done.stdout) == (0, True), done
    used = done.stdout.split()[2]
    assert venue.change("diff", "c", "--settings", wanted).returncode == 0
    venue.someone_enters("c")
    done = venue.change("apply", "c", "--settings", wanted, who="sam")
    assert (done.returncode, "a supervisor may" in done.stderr) == (2, True), done
    done = venue.change("apply", "c", "--settings", c.settings(venue.port, unlock_ms=1))
    assert (done.returncode, "unlock_ms: 1 is not between" in done.stderr) == (1, True), done
    nowhere = c.settings(venue.port, codes=c.folder / "nowhere")
    done = venue.change("apply", "c", "--settings", nowhere, wait=True)
    assert (done.returncode, " returned: " in done.stdout) == (1, True), done
    assert f"version {used} in use" in venue.change("show", "c").stderr
    venue.someone_enters("c")


def one_is_lost(venue: Venue, bundle: Path) -> list[JourneyGate]:
    """Somebody has carried it away and switches it on; a copy of its bundle is tried on another card."""
    lost = venue.gates.pop(LOST)
    lost.process.signal(signal.SIGKILL)
    lost.process.end()
    said = venue.gatepost("fleet", "revoke", venue.fleet, LOST)
    assert re.search(r'gate "e" is revoked.*copy \S+crl.pem .*rotate-key', said, re.DOTALL)
    venue.restart_broker()
    venue.someone_enters(*FOUR)
    lost.start()
    lost.process.err.expect("certificate revoked")
    copied = JourneyGate(LOST, venue.folder / "gate-copied", venue.stack)
    shutil.copy2(bundle, copied.boot / "gatepost.tar")
    assert copied.take_up().returncode == 0
    copied.start()
    copied.process.err.expect("certificate revoked")
    venue.until_all_are_well(FOUR)
    return [lost, copied]


def the_venue_gets_another_key(venue: Venue) -> bytes:
    """The key that was."""
    old = read_key(venue.bridge_data / "key")
    named = re.search(r"venue key ([0-9a-f]{8})\.", venue.gatepost("fleet", "rotate-key", venue.fleet))
    assert named is not None
    table = venue.order("arena/*", "rotate_key")
    assert [line.split()[:2] for line in table] == [[name, "obeyed"] for name in FOUR]
    assert all(named[1] in line for line in table), table
    venue.someone_enters(*FOUR)
    carried = venue.folder / "new-key"
    shutil.copy2(venue.fleet / "bridge" / "key", carried)
    where = ("--config", venue.bridge_toml, "--data", venue.bridge_data, "--key", carried)
    assert named[1] in venue.gatepost("rekey", *where)
    assert all("obeyed" in line for line in venue.order("*", "refresh")), "or each asks within 20 s by itself"
    until(lambda: venue.keys_of(FOUR) == {named[1]}, "every gate has the new key")
    venue.someone_enters(*FOUR)
    venue.until_all_are_well(FOUR)
    return old


def everything_ends_in_order(venue: Venue, stolen: Sequence[JourneyGate]) -> None:
    for running in (*(gate.process for gate in (*venue.gates.values(), *stolen)), venue.bridge, venue.serve):
        running.signal(signal.SIGTERM)
        assert running.end() == 0


def the_lost_one_got_in_no_more(venue: Venue, stolen: Sequence[JourneyGate], old: bytes) -> None:
    came = re.findall(r"New client connected .* as (\S+)", venue.broker.log[venue.restarted_at :])
    assert {f"gate-arena-{name}" for name in FOUR} <= set(came)
    assert "gate-arena-e" not in came
    lost, copied = stolen
    assert not (copied.data / "identity" / "gate.pem").exists()
    codes = [venue.person() for _ in range(3)]
    assert known(lost, old, codes) == 3, "so much the card tells: codes can be tried out"
    for gate in venue.gates.values():
        new = read_key(gate.data / "catalogue" / "key")
        assert (known(gate, new, codes), known(gate, old, codes)) == (3, 0), gate.name


def known(gate: JourneyGate, key: bytes, codes: Sequence[str]) -> int:
    """How many of these codes the list of a gate has under this key."""
    with Catalogue(gate.data / "catalogue", now_utc_ms=0) as catalogue:
        found = (catalogue.get(digest_of(keyed(key), code)) for code in codes)
        return sum(ticket is not None for ticket in found)
