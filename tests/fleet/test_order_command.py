"""`gatepost order` as an operator gives it: through TLS and the access list, to real gates."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from firmware import wire
from firmware.demo.network import free_port
from firmware.fleet import folder as fleets
from firmware.fleet import init
from firmware.fleet.certificates import new_key
from firmware.fleet.enrol import Came, decide, revoke_gate
from firmware.fleet.operator_line import Heard, OperatorLine
from firmware.fleet.order_command import (
    PERHAPS_OPENED,
    Operator,
    Replies,
    Said,
    Wish,
    give,
    lines,
    next_counter,
)
from firmware.fleet.rotation import NotSealed, certificate_of, new_venue_key
from firmware.mqtt import Publication
from firmware.sealing import unseal
from firmware.signing import Role, key_id
from firmware.unit import OPERATORS
from firmware.wire import Done, What
from tests.brokers import LIMIT_S, QUICK, RunningBroker, mosquitto_broker
from tests.commands import Running, run
from tests.fleet.fleets import bundle, request, wait_until_connected
from tests.gate_bench import data_directory
from tests.managed.operated import TWO_LANES, managed_gate
from tests.uplinks import Bridge, RunningGate, bridge_at, fill_catalogue

BROKER = """\
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


class Venue(NamedTuple):
    """A fleet, its broker, and the data of its gates."""

    fleet: Path
    broker: RunningBroker
    data: Path

    def order(self, *words: str, who: str = "ann") -> subprocess.CompletedProcess[str]:
        """Give an order, as a process of its own."""
        return run("order", *words, "--fleet", self.fleet, "--as", who)


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[Venue]:
    """Operators connect by TLS with their certificates; gates stand in the same room as the broker."""
    tmp_path.chmod(0o755)
    fleet, tls = tmp_path / "fleet", free_port()
    now = datetime.now(UTC)
    init.make(fleet, fleets.Fleet("arena", "127.0.0.1", tls), now)
    init.add_operator(fleet, "ann", Role.SUPERVISOR, now)
    init.add_operator(fleet, "bob", Role.STEWARD, now)
    config = BROKER.replace("{tls}", str(tls)).replace("{fleet}", str(fleet))
    with mosquitto_broker(tmp_path, config) as broker, data_directory() as data:
        for name in ("a", "b"):
            (data / name).mkdir(parents=True)
            fill_catalogue(data / name)
            (data / name / OPERATORS).parent.mkdir()
            (data / name / OPERATORS).write_bytes((fleet / "operators.toml").read_bytes())
        yield Venue(fleet, broker, data)


@pytest.fixture
def gate(venue: Venue) -> Iterator[RunningGate]:
    with managed_gate(venue.data / "a", "a", venue.broker.port, TWO_LANES) as gate:
        gate.until_born()
        yield gate


def test_a_steward_opens_a_lane_once_from_the_command_line(venue: Venue, gate: RunningGate) -> None:
    done = venue.order("a", "open_once", "--lane", "south", "--direction", "out", who="bob")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a  obeyed  lane south: open\n", "")
    assert gate.board.tape.values("south", "relay") == ["out"]
    assert gate.board.tape.values("north", "relay") == []


def test_what_a_gate_refuses_is_said_plainly_and_is_no_success(venue: Venue, gate: RunningGate) -> None:
    done = venue.order("a", "shut", who="bob")
    assert done.returncode == 1
    assert done.stdout == (
        "a  refused: role_too_low  bob is a steward, who may open once: a supervisor may do this\n"
    )
    done = venue.order("a", "identify", "--lane", "west")
    assert done.returncode == 1
    assert done.stdout == 'a  failed  no lane "west": this gate has north, south\n'


def test_a_whole_venue_is_told_at_once_and_answers_in_a_table(venue: Venue, gate: RunningGate) -> None:
    with managed_gate(venue.data / "b", "b", venue.broker.port) as other:
        other.until_born()
        done = venue.order("*", "shut")
        assert done.returncode == 0, done
        assert done.stdout == "a  obeyed  lane north: shut, lane south: shut\nb  obeyed  lane north: shut\n"
    fleets.keep_gate(venue.fleet, fleets.Gate("b"))
    done = venue.order("arena/*", "normal")
    assert done.returncode == 1, "a gate of the fleet is not there"
    assert done.stdout.splitlines()[0] == "a  obeyed    lane north: ready, lane south: ready"
    assert re.fullmatch(r"b  no reply  is not connected: .*", done.stdout.splitlines()[1])


def test_a_gate_that_is_not_connected_is_not_told(venue: Venue) -> None:
    done = venue.order("a", "shut")
    assert done.returncode == 1
    assert done.stdout.startswith("a  no reply  is not connected")


def test_a_gate_that_says_nothing_may_have_obeyed_all_the_same(venue: Venue) -> None:
    born = wire.Presence(online=True, epoch=1, connection=1, random="00")
    with bridge_at(venue.broker.address) as bridge:
        bridge.send(wire.STATUS, "a", born, retain=True)
        done = venue.order("a", "shut", "--wait", "1")
    assert done.returncode == 1
    assert done.stdout == "a  no reply  no reply within 1 s: it may have been obeyed all the same\n"


def test_the_list_is_asked_for_from_where_it_stands_or_whole(venue: Venue, gate: RunningGate) -> None:
    with bridge_at(venue.broker.address) as bridge:
        for words in (("refresh",), ("refresh", "--whole")):
            before = len(bridge.messages(wire.CatalogueRequest))
            done = venue.order("a", *words)
            assert done.returncode == 0, done
            bridge.wait(partial(more_than, bridge, before))


def more_than(bridge: Bridge, requests: int) -> bool:
    return len(bridge.messages(wire.CatalogueRequest)) > requests


def test_a_reply_in_another_key_s_name_or_to_another_order_is_none(venue: Venue) -> None:
    born = wire.Presence(online=True, epoch=1, connection=1, random="00")
    with bridge_at(venue.broker.address) as bridge:
        bridge.send(wire.STATUS, "a", born, retain=True)
        session = bridge.sessions[-1]
        for reply in (
            wire.Reply(key="0" * 16, counter=0, done=Done.OBEYED),
            wire.Reply(key=next(iter(fleets.operators(venue.fleet))), counter=1, done=Done.OBEYED),
        ):
            publication = Publication(wire.address(wire.REPLY, "arena", "a"), wire.encode(reply), retain=True)
            assert session.publish(publication)
        bridge.wait(lambda: not session.in_flight)
        assert venue.order("a", "shut", "--wait", "1").returncode == 1


class LyingBroker(OperatorLine):
    """The line to one that hands each order over, says that it was stale, and lies about the gate."""

    def __init__(self, venue: Venue, **otherwise: object) -> None:
        private = fleets.operator_key(venue.fleet, "ann")
        self.operator = Operator(venue.fleet, "arena", "ann", private)
        self.replies = Replies(key_id(private.public_key()))
        super().__init__(venue.broker.address, "arena", "ann", (wire.REPLY,), self.replies.hear)
        self.first = wire.Presence(online=True, epoch=3, connection=1, random="00", release="1.0")
        self.told = {"a": self.first}
        self.otherwise = msgspec.structs.replace(self.first, **otherwise)
        self.orders: list[wire.Order] = []

    def births(self) -> dict[str, wire.Presence]:
        """What it likes, once it has an order."""
        return self.told

    def send(self, topic: wire.Topic, gate: str, message: wire.Message, within_s: float = 0) -> None:
        """Take an order."""
        assert isinstance(message, wire.Signed)
        order = wire.decode(message.signed, wire.Order)
        self.orders.append(order)
        self.told = {gate: self.otherwise}
        reply = wire.Reply(key=order.key, counter=order.counter, done=Done.STALE, text="of another one")
        self.replies.hear(Heard(gate, wire.REPLY, reply, retained=False))

    def give(self, what: What) -> list[Said]:
        """The command's work."""
        return give(self, self.replies, self.operator, Wish(what), {"a": self.first}, 1)


@pytest.mark.parametrize("otherwise", [{"release": "1.1"}, {"epoch": 4}, {"random": "01"}, {"connection": 2}])
def test_a_broker_that_lies_has_no_second_opening_signed(venue: Venue, otherwise: dict[str, object]) -> None:
    with LyingBroker(venue, **otherwise) as broker:
        (said,) = broker.give(What.OPEN_ONCE)
    assert len(broker.orders) == 1
    assert (said.done, said.text) == (Done.STALE, PERHAPS_OPENED)


@pytest.mark.parametrize(
    ("otherwise", "count"),
    [({}, 1), ({"release": "1.1"}, 1), ({"epoch": 4}, 2), ({"random": "01"}, 2), ({"connection": 2}, 2)],
)
def test_another_order_is_given_once_more_only_to_a_gate_that_has_connected_anew(
    venue: Venue, otherwise: dict[str, object], count: int
) -> None:
    with LyingBroker(venue, **otherwise) as broker:
        (said,) = broker.give(What.SHUT)
    assert said.done is Done.STALE
    assert len({(order.epoch, order.random, order.connection) for order in broker.orders}) == count
    assert len(broker.orders) == count


def test_a_new_key_is_sealed_for_nobody_but_gates_whose_certificate_counts(venue: Venue) -> None:
    now, keys = datetime.now(UTC), {name: new_key() for name in ("a", "lost", "renewed")}
    for name, key in keys.items():
        token = bundle(venue.fleet, name, now).token
        assert decide(venue.fleet, name, request(key, token, name), now).came is Came.ISSUED
    for name in ("lost", "renewed"):
        revoke_gate(venue.fleet, name, now)
    bundle(venue.fleet, "renewed", now)  # its new card was not started yet
    new_venue_key(venue.fleet)
    heard: list[Heard] = []
    private = fleets.operator_key(venue.fleet, "ann")
    operator, replies = Operator(venue.fleet, "arena", "ann", private), Replies(key_id(private.public_key()))
    born = wire.Presence(online=True, epoch=1, connection=1, random="00")
    births = dict.fromkeys((*keys, "unknown"), born)  # they are connected still, or the broker says so
    with (
        OperatorLine(venue.broker.address, "arena", "ear", (wire.COMMAND,), heard.append, QUICK) as ear,
        OperatorLine(venue.broker.address, "arena", "ann", pace=QUICK) as line,
    ):
        found = give(line, replies, operator, Wish(What.ROTATE_KEY), births, 0.1)
        ear.wait(lambda: True if heard else None, LIMIT_S)
    assert [each.gate for each in heard] == ["a"], "one that gets no key keeps nobody else from it"
    assert isinstance(heard[0].message, wire.Signed)
    sealed = wire.decode(heard[0].message.signed, wire.Order).sealed
    assert unseal(keys["a"], sealed) == (venue.fleet / "bridge" / "key").read_bytes()
    said = {each.gate: each.text for each in found if each.done is Done.FAILED}
    assert said.keys() == {"lost", "renewed", "unknown"}
    assert "was revoked, and is connected all the same" in said["lost"]
    assert all("folder has no certificate of it" in said[name] for name in ("renewed", "unknown"))


def test_a_certificate_counts_only_where_it_can_be_read_and_was_not_revoked(venue: Venue) -> None:
    now = datetime.now(UTC)
    token = bundle(venue.fleet, "a", now).token
    decide(venue.fleet, "a", request(new_key(), token, "a"), now)
    path = venue.fleet / "gates" / "a.pem"
    pem = path.read_bytes()
    assert certificate_of(venue.fleet, "a") == pem
    path.write_text("no certificate")
    with pytest.raises(NotSealed, match=r"gates/a\.pem: .*: put it back from your copy"):
        certificate_of(venue.fleet, "a")
    revoke_gate(venue.fleet, "a", now)
    token = bundle(venue.fleet, "a", now).token
    decide(venue.fleet, "a", request(new_key(), token, "a"), now)
    path.write_bytes(pem)  # put back from an old copy: the lost card's
    with pytest.raises(NotSealed, match="folder has no certificate of it"):
        certificate_of(venue.fleet, "a")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a", "open_wide"), "invalid choice: 'open_wide'"),
        (("a", "restart", "--lane", "north"), "--lane goes with what lanes do"),
        (("a", "shut", "--whole"), "--whole goes with refresh only"),
        (("a", "shut", "--wait", "0"), "is not a whole number from 1 to 600"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_sent(
    venue: Venue, words: tuple[str, ...], said: str
) -> None:
    done = venue.order(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (venue.fleet / "operators" / "ann.counter").exists()


def test_an_operator_without_a_key_here_or_a_folder_that_is_none_is_named(
    venue: Venue, tmp_path: Path
) -> None:
    assert "this folder has the keys of ann, bob" in venue.order("a", "shut", who="eve").stderr
    done = run("order", "a", "shut", "--fleet", tmp_path, "--as", "ann")
    assert done.returncode == 2
    assert "gatepost fleet init makes one" in done.stderr


def test_a_broker_that_is_gone_is_named(venue: Venue) -> None:
    venue.broker.kill()
    done = venue.order("a", "shut")
    assert done.returncode == 2
    assert "nothing listens there" in done.stderr


def test_numbers_only_grow_also_where_the_clock_goes_back_or_the_folder_is_an_old_copy(venue: Venue) -> None:
    file = venue.fleet / "operators" / "ann.counter"
    before_us = time.time_ns() // 1000
    first = next_counter(venue.fleet, "ann", 40)
    assert before_us <= first <= time.time_ns() // 1000
    assert next_counter(venue.fleet, "ann", 1) >= first + 40
    file.write_text(f"{1 << 60}\n")
    assert next_counter(venue.fleet, "ann", 1) == (1 << 60) + 1
    file.write_text("nine\n")
    with pytest.raises(fleets.FleetUnusable, match="is no number"):
        next_counter(venue.fleet, "ann", 1)
    file.unlink()
    assert next_counter(venue.fleet, "ann", 1) > first


def test_what_a_doctor_found_is_shown_below_its_gate_and_of_many_only_what_is_wrong() -> None:
    report = (
        '{"verdict": "fault", "checks": [{"name": "disk", "verdict": "ok", "text": "roomy", "mend": ""},'
        '{"name": "clock", "verdict": "fault", "text": "\\u001b[2J wrong", "mend": "set it"}]}'
    )
    alone = lines([Said("a", Done.OBEYED, "1 fault", report)])
    assert [line.split()[:2] for line in alone[1:3]] == [["ok", "disk"], ["fault", "clock"]]
    assert not any("\x1b" in line for line in alone)
    both = lines([Said("a", Done.OBEYED, "1 fault", report), Said("b", Done.OBEYED, "", "rubbish")])
    assert not any("roomy" in line for line in both)
    assert any("cannot be read" in line for line in both)


def test_the_doctor_is_asked_from_afar_and_its_words_come_back(venue: Venue, tmp_path: Path) -> None:
    config = tmp_path / "gate.toml"
    config.write_text('[gate]\nname = "a"\nvenue = "arena"\n[[lane]]\nname = "north"\n')
    with managed_gate(venue.data / "a", "a", venue.broker.port, config=config) as gate:
        gate.until_born()
        done = venue.order("a", "doctor", "--wait", str(int(LIMIT_S)))
    assert done.returncode == 0, done
    assert re.match(r"a  obeyed  \d+ fault, \d+ warning, \d+ ok\n", done.stdout)
    assert "gate.toml" in done.stdout


def test_a_gate_as_systemd_starts_it_is_looked_at_and_restarted_from_afar(
    venue: Venue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, data = tmp_path / "gate.toml", venue.data / "a"
    config.write_text(
        '[gate]\nname = "a"\nvenue = "arena"\n[[lane]]\nname = "north"\n'
        f'[[broker]]\nhost = "127.0.0.1"\nport = {venue.broker.port}\ntls = false\n'
    )
    for under_systemd in (False, True):
        if under_systemd:
            monkeypatch.setenv("INVOCATION_ID", "0" * 32)
        with Running("gate", "--config", config, "--data", data) as gate:
            gate.err.expect("ready: lanes north")
            wait_until_connected(venue.fleet, "a")
            assert venue.order("a", "doctor", "--wait", str(int(LIMIT_S))).returncode == 0
            done = venue.order("a", "restart")
            assert done.returncode == (0 if under_systemd else 1), done
            if under_systemd:
                assert gate.end() == 0
                rows = run("journal", "--data", data, "--json").stdout
                assert "ann: restart: obeyed: restarts when nobody is served" in rows
            else:
                assert "it was not started by systemd" in done.stdout
                gate.signal(signal.SIGTERM)
                assert gate.end() == 0


def test_every_order_is_explained_in_the_help(venue: Venue) -> None:
    said = run("order", "--help").stdout
    assert all(f"\n  {what} " in said for what in What)
