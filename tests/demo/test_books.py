"""The books of the demo's vendor, and the network that can be cut."""

import socket
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path

import pytest

from firmware.bridge.sandbox import bam, bam_tickets, ingresse, presence, presence_tickets, vivenu_tickets
from firmware.bridge.sandbox.command import Sandbox
from firmware.bridge.sandbox.history import ELSEWHERE, Change, Operator, utc_ms
from firmware.bridge.sandbox.presence_rules import GateRules, Rules
from firmware.bridge.sandbox.presence_tickets import Scan
from firmware.bridge.sandbox.presence_venue import Named
from firmware.bridge.sandbox.vivenu_tickets import Entry
from firmware.demo.network import PORTS, Network, free_port
from firmware.demo.plays import PLAYS
from firmware.demo.vendor import remembering
from firmware.demo.whole import place_key
from firmware.unit import Refused
from firmware.venue_key import venue_key


def scans_of_ours(sandbox: Sandbox) -> None:
    """Gates of ours have people in and out, with tickets of each kind."""
    tickets = sandbox.tickets
    if isinstance(tickets, presence_tickets.Tickets):
        assert isinstance(sandbox, presence.Sandbox)
        for event in sandbox.events:  # as the demo has it, whose vendor began long ago
            sandbox.play(event.id, utc_ms())
        for at, ticket in enumerate(list(tickets.walk())[:60]):
            ways = (True, False), (False, False), (True, True), (False, True)
            for number, (inside, internal) in enumerate(ways):
                scan = Scan(
                    ticket.code, inside, internal, utc_ms() + number - 50, Operator("224", "a outer", "")
                )
                if at % 5:
                    tickets.scan(scan, GateRules(internal=internal), Rules())
                else:
                    tickets.upload(scan)
        tickets.upload(Scan("nobody's", True, False, 1_900_000_000_123, Operator("224", "a outer", "")))
    elif isinstance(tickets, bam_tickets.Tickets):
        assert isinstance(sandbox, bam.Sandbox)
        operator = sandbox.validators[0].operator
        for number, signed in enumerate(list(tickets.walk())[:60]):
            with suppress(bam_tickets.Refused):
                tickets.invalidate(signed.id, sandbox.events[0].id, 1_900_000_000_000 + number, operator)
        for deed in (sandbox.reserve, sandbox.free, sandbox.confirm, sandbox.issue, sandbox.activate):
            deed()
    elif isinstance(tickets, vivenu_tickets.Tickets):
        for known in list(tickets.walk())[:60]:
            for said_ms, ok, inside in ((1, True, True), (2, False, False), (3, True, False)):
                tickets.upload(Entry(known.code, known.id, 1_900_000_000_000 + said_ms, ok, inside))
            if not known.deleted:
                tickets.scan(tickets.at(known.index), known.index % 2 == 0)
    else:
        assert isinstance(sandbox, ingresse.Sandbox)
        for index in sandbox.tickets.sessions[43058].tickets[:40]:
            listed = sandbox.ticket(str(100_000 + index))
            session = listed.session
            sandbox.tickets.update(
                listed.code, session.id, session.event, True, 1_900_000_000_123, sandbox.operator
            )


def changes_after(vendor: str, path: Path, happens: int = 0) -> list[Change]:
    """Open the books, let so much happen at the vendor, and close them."""
    with remembering(vendor, path) as (sandbox, books):
        if happens:
            sandbox.live(happens)
            scans_of_ours(sandbox)
        books.keep()
        return sandbox.history()


# What each vendor's own history has besides what is alike.
KINDS = {
    "ingresse": {"transferred"},
    "vivenu": {"details", "denied"},
    "presence": {"marked", "denied", "inner-in", "inner-out"},
    "bam": {*("transferred", "denied", "reserved", "freed", "confirmed", "issued", "activated")},
}
NONE = {"bam": {"checkout"}}


def test_every_vendor_of_the_demo_is_held_here() -> None:
    assert KINDS.keys() == PLAYS.keys()


@pytest.mark.parametrize("vendor", KINDS)
def test_a_vendor_comes_back_with_all_that_happened(vendor: str, tmp_path: Path) -> None:
    path = tmp_path / "vendor" / "books.jsonl"
    before = changes_after(vendor, path, happens=300)
    alike = {"sold", "refunded", "code", "checkin", "checkout"} - NONE.get(vendor, set())
    assert {change.what for change in before} == alike | KINDS[vendor]
    assert {change.operator == ELSEWHERE for change in before if change.what == "checkin"} == {True, False}
    assert changes_after(vendor, path) == before
    more = changes_after(vendor, path, happens=100)
    assert more[: len(before)] == before
    assert changes_after(vendor, path) == more


@pytest.mark.parametrize("vendor", KINDS)
def test_a_last_line_that_a_kill_cut_short_is_dropped(vendor: str, tmp_path: Path) -> None:
    path = tmp_path / "books.jsonl"
    before = changes_after(vendor, path, happens=50)
    path.write_bytes(path.read_bytes()[:-9])
    assert changes_after(vendor, path) == before[:-1]
    assert changes_after(vendor, path, happens=50)[: len(before) - 1] == before[:-1]


def test_books_of_other_tickets_or_another_vendor_begin_anew(tmp_path: Path) -> None:
    path = tmp_path / "books.jsonl"
    path.write_bytes(b'{"seed":2,"tickets":4000}\n["of other tickets"]\n')
    assert changes_after("ingresse", path) == []
    before = changes_after("ingresse", path, happens=20)
    assert changes_after("ingresse", path) == before
    assert changes_after("vivenu", path) == []


def test_books_from_before_there_was_a_choice_are_those_of_ingresse(tmp_path: Path) -> None:
    path = tmp_path / "books.jsonl"
    before = changes_after("ingresse", path, happens=20)
    _, _, lines = path.read_bytes().partition(b"\n")
    path.write_bytes(b'{"seed":1,"tickets":4000}\n' + lines)
    assert changes_after("ingresse", path) == before


def test_a_presence_that_comes_back_has_its_devices_and_its_evening(tmp_path: Path) -> None:
    path = tmp_path / "books.jsonl"
    named = [
        Named(f"{gate} outer", mac, "10.0.0.1", "", "", gate, None) for gate, mac in (("b", "2"), ("a", "1"))
    ]
    with remembering("presence", path) as (sandbox, books):
        assert isinstance(sandbox, presence.Sandbox)
        sandbox.register(named)
        books.keep()
        before = [(device.id, device.gate.id, device.named) for device in sandbox.devices]
        began_ms = sandbox.events[0].starts_ms
    with remembering("presence", path) as (sandbox, _):
        assert isinstance(sandbox, presence.Sandbox)
        assert [(device.id, device.gate.id, device.named) for device in sandbox.devices] == before
        assert [device.named for device in sandbox.devices] == named
        assert sandbox.events[0].starts_ms >= began_ms > utc_ms()


def test_a_network_passes_bytes_on_until_it_is_cut_and_again_when_it_is_mended() -> None:
    with socket.create_server(("127.0.0.1", 0)) as broker, Network(broker.getsockname()[1]) as network:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", network.port), 10) as gate:
                far, _ = broker.accept()
                with far:
                    gate.sendall(b"up")
                    assert far.recv(10) == b"up"
                    far.sendall(b"down")
                    assert gate.recv(10) == b"down"
                    network.cut()
                    network.cut()
                    assert gate.recv(10) == far.recv(10) == b""
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", network.port), 10)
            network.mend()
        network.close()


def test_without_a_broker_a_connection_through_the_network_ends_at_once() -> None:
    with (
        Network(free_port()) as network,
        socket.create_connection(("127.0.0.1", network.port), 10) as gate,
    ):
        assert gate.recv(10) == b""


def test_a_port_that_is_drawn_again_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_port()
    drawn = chain(repeat(first - PORTS.start, 3), range(len(PORTS)))
    monkeypatch.setattr("firmware.demo.network.secrets.randbelow", lambda _: next(drawn))
    assert free_port() != first


def test_a_gate_gets_the_venues_key_once_and_another_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bridge").mkdir()
    key = venue_key(tmp_path / "bridge")
    place_key(key, tmp_path / "gate")
    place_key(key, tmp_path / "gate")
    assert venue_key(tmp_path / "gate") == key
    with pytest.raises(Refused, match="not the key of the demo's bridge"):
        place_key(bytes(32), tmp_path / "gate")
