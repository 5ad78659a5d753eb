"""The books of the demo's vendor, and the network that can be cut."""

import socket
from pathlib import Path

import pytest

from firmware.bridge.sandbox.history import ELSEWHERE, Change
from firmware.bridge.sandbox.ingresse import Sandbox
from firmware.demo.network import Network, free_port
from firmware.demo.vendor import SEED, TICKETS, Books, Clock, opened
from firmware.demo.whole import place_key
from firmware.unit import Refused
from firmware.venue_key import venue_key


def changes_after(path: Path, happens: int = 0) -> list[Change]:
    """Open the books, let so much happen at the vendor, and close them."""
    clock = Clock()
    with opened(path) as file, Sandbox(tickets=TICKETS, seed=SEED, clock=clock) as sandbox:
        books = Books(file, sandbox, clock)
        if happens:
            sandbox.live(happens)
            first = sandbox.tickets.sessions[43058].tickets
            for index in first[:40]:
                ticket = sandbox.tickets.at(index)
                sandbox.tickets.update(ticket.code, 43058, 28180, True, 1_900_000_000_123, sandbox.operator)
        books.keep()
        return sandbox.history()


def test_a_vendor_comes_back_with_all_that_happened(tmp_path: Path) -> None:
    path = tmp_path / "vendor" / "books.jsonl"
    before = changes_after(path, happens=300)
    assert {change.what for change in before} == {
        "sold", "refunded", "code", "transferred", "checkin", "checkout"
    }  # fmt: skip
    assert {change.operator == ELSEWHERE for change in before if change.what == "checkin"} == {True, False}
    assert changes_after(path) == before
    more = changes_after(path, happens=100)
    assert more[: len(before)] == before
    assert changes_after(path) == more


def test_a_last_line_that_a_kill_cut_short_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "books.jsonl"
    before = changes_after(path, happens=50)
    path.write_bytes(path.read_bytes()[:-9])
    assert changes_after(path) == before[:-1]
    assert changes_after(path, happens=50)[: len(before) - 1] == before[:-1]


def test_books_of_other_tickets_begin_anew(tmp_path: Path) -> None:
    path = tmp_path / "books.jsonl"
    path.write_bytes(b'{"seed":2,"tickets":4000}\n["of another vendor"]\n')
    assert changes_after(path) == []
    assert changes_after(path, happens=20) == changes_after(path)


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


def test_a_gate_gets_the_venues_key_once_and_another_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bridge").mkdir()
    key = venue_key(tmp_path / "bridge")
    place_key(key, tmp_path / "gate")
    place_key(key, tmp_path / "gate")
    assert venue_key(tmp_path / "gate") == key
    with pytest.raises(Refused, match="not the key of the demo's bridge"):
        place_key(bytes(32), tmp_path / "gate")
