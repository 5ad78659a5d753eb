"""The broker files of `deploy/mosquitto`, run as they are but for the words that `venue.conf` names."""

import getpass
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from firmware import wire
from firmware.demo.network import free_port
from firmware.mqtt import Broker, Line, Publication, Tls
from firmware.mqtt.broker import PACKET_BYTES_MAX
from tests.brokers import LIMIT_S, QUICK, Ear, RunningBroker, mosquitto, mosquitto_broker, until
from tests.certificates import Certificate, authority, certificate

FILES = Path(__file__).parent.parent / "deploy" / "mosquitto"
ALL = f"{wire.ROOT}/#"
GATE_WRITES = {topic.name for topic in wire.TOPICS if topic.writer == "gate"}
SHARED = {wire.STATUS.name, wire.ADMISSIONS.name, wire.ADMISSIONS_REQUEST.name}  # between gates
WATCH = "\nuser watch\ntopic readwrite gatepost/#\n"  # the test's own eye, which the files do not have


def test_every_setting_says_why_it_is_there() -> None:
    for path in FILES.glob("*.conf"):
        for block in path.read_text("utf-8").split("\n\n"):
            assert "#" in block, f"{path.name}: {block}"


def test_the_brokers_take_the_longest_message_and_the_whole_window() -> None:
    for name in ("venue.conf", "cloud.conf"):
        text = (FILES / name).read_text("utf-8")
        assert f"\nmax_packet_size {PACKET_BYTES_MAX}\n" in text
        allowed = re.search(r"^max_inflight_messages (\d+)$", text, re.MULTILINE)
        assert allowed
        assert int(allowed[1]) >= wire.WINDOW_MESSAGES


def test_the_way_to_the_cloud_is_that_of_the_wire() -> None:
    text = (FILES / "venue-cloud.conf").read_text("utf-8")
    ways = {
        topic: (way, qos) for topic, way, qos in re.findall(r"^topic (\S+) (\S+) (\S+)$", text, re.MULTILINE)
    }
    for topic in wire.TOPICS:
        way = "both" if topic.name in SHARED else "out" if topic.name in GATE_WRITES else "in"
        assert ways.pop(wire.address(topic, "arena", "+")) == (way, "1")
    assert ways == {}


# --- two brokers as they are set up -----------------------------------------------------------------------


class Place(NamedTuple):
    """A broker, and whose certificates it takes."""

    broker: RunningBroker
    folder: Path
    signer: Certificate

    def as_user(self, name: str) -> Broker:
        """Who comes with a certificate of that name."""
        made = self.folder / f"{name}.pem"
        own = Certificate(made, made.with_suffix(".key"))
        if not made.exists():
            own = certificate(self.folder, name, self.signer)
        tls = Tls(str(self.signer.cert_file), str(own.cert_file), str(own.key_file))
        return Broker("127.0.0.1", self.broker.port, tls)

    def line(self, user: str, ear: Ear, *subscriptions: str) -> Line:
        """Somebody's connection; nobody's client name is another's."""
        return Line([self.as_user(user)], f"{user}-{id(ear)}", subscriptions, ear, pace=QUICK)


def replaced(name: str, folder: Path, port: int, cloud_port: int) -> str:
    """A file with the words replaced that `venue.conf` names, each of which must be named there."""
    words = {
        "cloud.example:8883": f"127.0.0.1:{cloud_port}",
        "listener 8883": f"listener {port} 127.0.0.1",
        "user mosquitto": f"user {getpass.getuser()}",
        "/etc/mosquitto/gatepost/": f"{folder}/",
        "/etc/mosquitto/conf.d": f"{folder}/conf.d",
        "/var/lib/mosquitto/": f"{folder}/",
        "/run/mosquitto/": f"{folder}/",
    }
    text = (FILES / name).read_text("utf-8")
    listed = (FILES / "venue.conf").read_text("utf-8").split("replaces the same words")[0]
    for word, ours in words.items():
        assert f"#   {word} " in listed, word
        text = text.replace(word, ours)
    return text


def set_up(folder: Path, kind: str, authorities: dict[str, Certificate], port: int, cloud_port: int) -> Place:
    """A place with its files and certificates, not started."""
    mosquitto()
    (folder / "conf.d").mkdir(parents=True)
    for name, made in authorities.items():
        (folder / f"{name}-ca.pem").write_bytes(made.cert_file.read_bytes())
    certificate(folder, "broker", authorities[kind])
    (folder / f"{kind}.acl").write_text((FILES / f"{kind}.acl").read_text("utf-8") + WATCH, "utf-8")
    if kind == "venue":
        certificate(folder, "venue-arena", authorities["cloud"])
        passing_on = replaced("venue-cloud.conf", folder, port, cloud_port)
        (folder / "conf.d" / "venue-cloud.conf").write_text(passing_on, "utf-8")
    config = folder / f"{kind}.conf"
    config.write_text(replaced(f"{kind}.conf", folder, port, cloud_port), "utf-8")
    broker = RunningBroker("mosquitto", folder, (mosquitto(), "-c", str(config)), port)
    return Place(broker, folder, authorities[kind])


class Both(NamedTuple):
    """The two places of the files."""

    venue: Place
    cloud: Place


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """A venue's broker that passes on to a cloud's, both from the files; the way between them is open."""
    folder = tmp_path_factory.mktemp("brokers")
    authorities = {name: authority(folder, f"{name}-authority") for name in ("venue", "cloud")}
    port, cloud_port = free_port(), free_port()
    cloud = set_up(folder / "cloud", "cloud", authorities, cloud_port, cloud_port)
    venue = set_up(folder / "venue", "venue", authorities, port, cloud_port)
    with cloud.broker, venue.broker:
        here, there = Ear(), Ear()
        mark = wire.address(wire.STATUS, "arena", "mark")
        with cloud.line("watch", there, mark), venue.line("watch", here):
            there.session()
            assert here.session().publish(Publication(mark, b"open", retain=True))
            there.wait(lambda: there.heard)
        yield Both(venue, cloud)


def send_all(ear: Ear, venue: str, gate: str, payload: bytes) -> None:
    """A message of every topic, within the window."""
    for topic in wire.TOPICS:
        assert ear.session().publish(Publication(wire.address(topic, venue, gate), payload))
    ear.wait(lambda: not ear.session().in_flight)


def names(ear: Ear, payload: bytes, gate: str) -> set[str]:
    """The topics of a gate that were heard with this payload."""
    found = set()
    for arrived in ear.heard:
        if arrived.payload == payload:
            addressed = wire.addressed(arrived.topic, "arena")
            assert addressed is not None
            if addressed.gate in ("", gate):
                found.add(addressed.topic.name)
    return found


# --- what crosses ------------------------------------------------------------------------------------------


def test_every_topic_crosses_where_it_must_and_nowhere_else(both: Both) -> None:
    here, there = Ear(), Ear()
    with both.venue.line("watch", here, ALL), both.cloud.line("watch", there, ALL):
        here.session(), there.session()
        send_all(here, "arena", "up", b"up")
        send_all(there, "arena", "down", b"down")
        send_all(here, "other", "up", b"up")
        send_all(there, "other", "down", b"down")
        last = wire.address(wire.ADMISSIONS, "arena", "last")
        here.session().publish(Publication(last, b"last"))
        there.session().publish(Publication(last, b"last"))
        # One connection carries all in order: what comes at all has come by then.
        here.wait(lambda: b"last" in here.payloads)
        there.wait(lambda: b"last" in there.payloads)
    assert names(there, b"up", "up") == GATE_WRITES
    assert (
        names(here, b"down", "down")
        == {topic.name for topic in wire.TOPICS if topic.writer == "bridge"} | SHARED
    )
    for ear in (here, there):
        live = [arrived[:2] for arrived in ear.heard if arrived.payload in (b"up", b"down")]
        assert len(live) == len(set(live)), "nothing goes round"


def test_a_status_is_kept_on_both_sides_and_known_as_kept(both: Both) -> None:
    here, late = Ear(), Ear()
    topic = wire.address(wire.STATUS, "arena", "kept")
    watching = Ear()
    with both.venue.line("kept", here), both.cloud.line("bridge", watching, topic):
        watching.session()
        here.session().publish(Publication(topic, b"online", retain=True))
        watching.wait(lambda: watching.heard)
        with both.cloud.line("bridge", late, topic):
            late.wait(lambda: late.heard)
    assert watching.heard[0].retained
    assert late.heard[0][:3] == (topic, b"online", True)


def test_a_gate_at_the_venue_and_a_bridge_in_the_cloud_talk(both: Both) -> None:
    gate, bridge = Ear(), Ear()
    journal, receipt = (wire.address(topic, "arena", "talks") for topic in (wire.JOURNAL, wire.RECEIPT))
    whole = bytes(wire.PAYLOAD_BYTES_MAX)
    shared = f"$share/bridge/{wire.address(wire.JOURNAL, 'arena', '+')}"
    with both.venue.line("talks", gate, receipt) as up, both.cloud.line("bridge", bridge, shared) as down:
        bridge.session()
        gate.session().publish(Publication(journal, whole))
        bridge.wait(lambda: bridge.heard)
        bridge.session().publish(Publication(receipt, b"safe"))
        gate.wait(lambda: gate.heard)
        assert up.faults() == down.faults() == {}
    assert bridge.heard[0][:2] == (journal, whole)
    assert gate.heard[0][:2] == (receipt, b"safe")


# --- who may what ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["venue", "cloud"])
def test_a_gate_writes_its_own_topics_and_no_others(both: Both, kind: str) -> None:
    place: Place = getattr(both, kind)
    north, watch = Ear(), Ear()
    with place.line("watch", watch, ALL), place.line("north", north):
        watch.session()
        send_all(north, "arena", "north", b"own " + kind.encode())
        send_all(north, "arena", "south", b"forged")
        send_all(north, "other", "north", b"forged")
        watch.session().publish(Publication(f"{wire.ROOT}/arena/end", b"x"))
        last = wire.address(wire.STATUS, "arena", "north")
        north.session().publish(Publication(last, b"last " + kind.encode()))
        watch.wait(lambda: b"last " + kind.encode() in watch.payloads)
    assert names(watch, b"own " + kind.encode(), "north") == GATE_WRITES
    assert b"forged" not in watch.payloads


@pytest.mark.parametrize("kind", ["venue", "cloud"])
def test_a_gate_reads_its_own_topics_and_what_the_venue_shares(both: Both, kind: str) -> None:
    place: Place = getattr(both, kind)
    north, watch, mark = Ear(), Ear(), b"to %s" % kind.encode()
    with place.line("north", north, ALL), place.line("watch", watch):
        north.session()
        send_all(watch, "arena", "north", mark)
        send_all(watch, "arena", "south", mark)
        send_all(watch, "other", "north", mark)
        watch.session().publish(Publication(wire.address(wire.CHANGES, "arena"), b"last " + mark))
        north.wait(lambda: b"last " + mark in north.payloads)
    own = {t.name for t in (wire.RECEIPT, wire.OUTCOME, wire.ANSWER, wire.VENDORS, wire.PAGE)}
    assert names(north, mark, "north") == own | SHARED | {wire.CHANGES.name}
    assert names(north, mark, "south") == SHARED | {wire.CHANGES.name}
    assert all(arrived.topic.startswith(f"{wire.ROOT}/arena/") for arrived in north.heard)


def test_a_bridge_writes_and_reads_what_the_wire_says(both: Both) -> None:
    bridge, watch = Ear(), Ear()
    with both.cloud.line("watch", watch, ALL), both.cloud.line("bridge", bridge, ALL):
        watch.session(), bridge.session()
        send_all(bridge, "arena", "north", b"of bridge")
        send_all(watch, "arena", "north", b"for bridge")
        bridge.session().publish(Publication(wire.address(wire.CHANGES, "arena"), b"last"))
        watch.session().publish(Publication(wire.address(wire.STATUS, "arena", "north"), b"last"))
        watch.wait(lambda: b"last" in watch.payloads)
        bridge.wait(lambda: b"last" in bridge.payloads)
    assert names(watch, b"of bridge", "north") == {t.name for t in wire.TOPICS if t.writer == "bridge"}
    heard = names(bridge, b"for bridge", "north")
    assert {t.name for t in (wire.STATUS, wire.JOURNAL, wire.ASK, wire.REQUEST)} <= heard


def test_nobody_comes_in_without_a_certificate_of_the_right_authority(both: Both) -> None:
    for place, other in ((both.venue, both.cloud), (both.cloud, both.venue)):
        assert place.as_user("north").tls
        stranger = other.as_user("stranger").tls
        assert stranger
        for own in (Tls(str(place.signer.cert_file)), stranger._replace(ca_file=str(place.signer.cert_file))):
            ear = Ear()
            with Line([Broker("127.0.0.1", place.broker.port, own)], "x", (), ear, pace=QUICK) as line:
                until(line.faults)
            assert ear.sessions == []


# --- what mosquitto's bridge does --------------------------------------------------------------------------


def test_the_bridge_keeps_to_the_receive_maximum_of_the_other_side(tmp_path: Path) -> None:
    taken = bytearray()
    news = threading.Condition()
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as stack:
        cloud_port = listening.getsockname()[1]

        def serve() -> None:
            with suppress(OSError), listening.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(b"\x20\x06\x00\x00\x03\x21\x00\x03")  # CONNACK, Receive Maximum 3
                while data := connection.recv(4096):  # and never a PUBACK
                    with news:
                        taken.extend(data)
                        news.notify_all()

        thread = threading.Thread(target=serve)
        thread.start()
        stack.callback(thread.join)
        stack.callback(listening.shutdown, socket.SHUT_RDWR)
        text = replaced("venue-cloud.conf", tmp_path, 0, cloud_port)
        plain = "\n".join(
            line for line in text.splitlines() if not line.startswith(("bridge_c", "bridge_k", "bridge_t"))
        )
        config = f"listener {{port}} 127.0.0.1\nallow_anonymous true\n{plain}"
        venue = stack.enter_context(mosquitto_broker(tmp_path, config))
        gate = Ear()
        with news:  # the last subscription: the answer to CONNECT has been read
            assert news.wait_for(lambda: b"admissions/request" in taken, LIMIT_S)
        with Line([venue.address], "gate", (), gate, pace=QUICK):
            for number in range(10):
                topic = wire.address(wire.JOURNAL, "arena", "north")
                assert gate.session().publish(Publication(topic, b"batch %d;" % number))
            gate.wait(lambda: gate.taken == 10)
            with news:
                assert news.wait_for(lambda: b"batch 2;" in taken, LIMIT_S)
            # The venue's broker has taken all ten by now, and would have sent them.
            gate.session().publish(Publication("elsewhere", b""))
            gate.wait(lambda: gate.taken == 11)
        venue.kill()
    assert taken.count(b"batch ") == 3
