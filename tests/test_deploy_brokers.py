"""The broker files of `deploy/mosquitto`, run as they are but for the words that `venue.conf` names."""

import getpass
import os
import re
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509

from firmware import wire
from firmware.bridge.relay import GROUPS, shared_by
from firmware.demo.network import free_port
from firmware.files import write_whole
from firmware.fleet import folder as fleets
from firmware.fleet import init
from firmware.fleet.access import PEERS, access, enrol_access
from firmware.fleet.certificates import Use, issued, key_pem, new_key, pem
from firmware.fleet.enrol import revoke_gate
from firmware.fleet.folder import Fleet, Gate
from firmware.mqtt import Broker, Line, Publication, Tls
from firmware.mqtt.broker import PACKET_BYTES_MAX
from tests.brokers import LIMIT_S, QUICK, Ear, RunningBroker, mosquitto, mosquitto_broker, until

FILES = Path(__file__).parent.parent / "deploy" / "mosquitto"
ALL = f"{wire.ROOT}/#"
GATE_WRITES = {topic.name for topic in wire.TOPICS if topic.writer == "gate"}
SHARED = {topic.name for topic in PEERS}  # between gates
FOR_GATES = {topic.name for topic in wire.TOPICS if topic.writer != "gate"}
OWN = FOR_GATES - {wire.CHANGES.name}  # what is for one gate alone
READS = {wire.STATUS, wire.REPLY, wire.DESIRED, wire.REPORTED}  # of operators, besides what is seldom heard
NOW = datetime.now(UTC)
YEAR = timedelta(days=365)
WATCH = "\nuser Watch\ntopic readwrite gatepost/#\n"  # the test's own eye, which the files do not have


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
        assert ways.pop(wire.address(topic, "arena", "+")) == (way, str(topic.qos))
    assert ways == {}


def test_the_lists_are_those_that_a_fleet_is_made_with() -> None:
    mend = "mend with: python -m firmware.fleet.access"
    assert (FILES / "broker.acl").read_text("utf-8") == access("arena"), mend
    assert (FILES / "enrol.acl").read_text("utf-8") == enrol_access("arena"), mend


# --- two brokers as they are set up -----------------------------------------------------------------------


class Place(NamedTuple):
    """A broker, and the fleet whose certificates it takes."""

    broker: RunningBroker
    fleet: Path
    enrol_port: int = 0

    def as_user(self, name: str, ca: str = "ca", use: Use = Use.CLIENT) -> Broker:
        """Who comes with a certificate of that name, of the fleet or of another of its authorities."""
        own = self.fleet / "users" / f"{ca}-{use.name}-{name}.pem"
        if not own.exists():
            key = new_key()
            made = issued(fleets.issuer(self.fleet, ca), key.public_key(), name, use, NOW, YEAR)
            write_whole(own.with_suffix(".key"), key_pem(key))
            write_whole(own, pem(made))
        tls = Tls(str(self.fleet / "ca.pem"), str(own), str(own.with_suffix(".key")))
        return Broker("127.0.0.1", self.broker.port, tls)

    def line(self, user: str, ear: Ear, *subscriptions: str) -> Line:
        """Somebody's connection; nobody's client name is another's."""
        return Line([self.as_user(user)], f"{user}-{id(ear)}", subscriptions, ear, pace=QUICK)

    def new_gate(self, gate: str, ear: Ear, *subscriptions: str, client: str = "") -> Line:
        """The connection of a gate that has its bundle only."""
        broker = self.as_user(gate, "enrol-ca")._replace(port=self.enrol_port)
        return Line([broker], client or gate, subscriptions, ear, pace=QUICK)


def replaced(name: str, folder: Path, port: int, cloud_port: int, enrol_port: int = 0) -> str:
    """A file with the words replaced that `venue.conf` names, each of which must be named there."""
    words = {
        "cloud.example:8883": f"127.0.0.1:{cloud_port}",
        "listener 8883": f"listener {port} 127.0.0.1",
        "listener 8884": f"listener {enrol_port} 127.0.0.1",
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


def set_up(fleet: Path, kind: str, to: Path) -> Place:
    """A broker with its files, and the folder that the fleet has made for it; not started."""
    mosquitto()
    settings = fleets.load(fleet)
    port = settings.port if kind == "venue" else settings.cloud_port
    shutil.copytree(fleet / ("broker" if kind == "venue" else "cloud"), to)
    with (to / "broker.acl").open("a", encoding="utf-8") as file:
        file.write(WATCH)
    (to / "conf.d").mkdir()
    ports = port, settings.cloud_port, settings.enrol_port
    if settings.cloud and kind == "venue":
        (to / "conf.d" / "venue-cloud.conf").write_text(replaced("venue-cloud.conf", to, *ports), "utf-8")
    config = to / f"{kind}.conf"
    config.write_text(replaced(f"{kind}.conf", to, *ports), "utf-8")
    broker = RunningBroker("mosquitto", to, (mosquitto(), "-c", str(config)), port)
    return Place(broker, fleet, settings.enrol_port)


def make_fleet(folder: Path, cloud: str = "127.0.0.1", now: datetime = NOW) -> Path:
    """A fleet on free ports of this machine."""
    fleet = Fleet("arena", "127.0.0.1", free_port(), free_port(), cloud, free_port())
    init.make(folder, fleet, now)
    (folder / "users").mkdir()
    return folder


class Both(NamedTuple):
    """The two places of the files."""

    venue: Place
    cloud: Place


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """A venue's broker that passes on to a cloud's, both from the files; the way between them is open."""
    folder = tmp_path_factory.mktemp("brokers")
    fleet = make_fleet(folder / "fleet")
    cloud, venue = set_up(fleet, "cloud", folder / "cloud"), set_up(fleet, "venue", folder / "venue")
    with cloud.broker, venue.broker:
        here, there = Ear(), Ear()
        mark = wire.address(wire.STATUS, "arena", "mark")
        with cloud.line("Watch", there, mark), venue.line("Watch", here):
            there.session()
            assert here.session().publish(Publication(mark, b"open", retain=True))
            there.wait(lambda: there.heard)
        yield Both(venue, cloud)


def send_all(ear: Ear, venue: str, gate: str, payload: bytes) -> None:
    """A message of every topic, within the window."""
    for topic in wire.TOPICS:
        ear.wait(lambda: ear.session().in_flight < ear.session().window)
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
    with both.venue.line("Watch", here, ALL), both.cloud.line("Watch", there, ALL):
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
    assert names(here, b"down", "down") == FOR_GATES | SHARED
    for ear in (here, there):
        live = [arrived[:2] for arrived in ear.heard if arrived.payload in (b"up", b"down")]
        assert len(live) == len(set(live)), "nothing goes round"


def test_a_status_is_kept_on_both_sides_and_known_as_kept(both: Both) -> None:
    here, late = Ear(), Ear()
    topic = wire.address(wire.STATUS, "arena", "kept")
    watching = Ear()
    with both.venue.line("kept", here), both.cloud.line("Bridge", watching, topic):
        watching.session()
        here.session().publish(Publication(topic, b"online", retain=True))
        watching.wait(lambda: watching.heard)
        with both.cloud.line("Bridge", late, topic):
            late.wait(lambda: late.heard)
    assert watching.heard[0].retained
    assert late.heard[0][:3] == (topic, b"online", True)


def test_a_gate_at_the_venue_and_a_bridge_in_the_cloud_talk(both: Both) -> None:
    gate, bridge = Ear(), Ear()
    journal, receipt = (wire.address(topic, "arena", "talks") for topic in (wire.JOURNAL, wire.RECEIPT))
    whole = bytes(wire.PAYLOAD_BYTES_MAX)
    shared = shared_by(wire.JOURNAL, "arena", "5ec")
    with both.venue.line("talks", gate, receipt) as up, both.cloud.line("Bridge", bridge, shared) as down:
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
    with place.line("Watch", watch, ALL), place.line("north", north):
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
    with place.line("north", north, ALL), place.line("Watch", watch):
        north.session()
        send_all(watch, "arena", "north", mark)
        send_all(watch, "arena", "south", mark)
        send_all(watch, "other", "north", mark)
        watch.session().publish(Publication(wire.address(wire.CHANGES, "arena"), b"last " + mark))
        north.wait(lambda: b"last " + mark in north.payloads)
    assert names(north, mark, "north") == OWN | SHARED | {wire.CHANGES.name}
    assert names(north, mark, "south") == SHARED | {wire.CHANGES.name}
    assert all(arrived.topic.startswith(f"{wire.ROOT}/arena/") for arrived in north.heard)


def test_a_bridge_writes_and_reads_what_the_wire_says(both: Both) -> None:
    bridge, watch = Ear(), Ear()
    with both.cloud.line("Watch", watch, ALL), both.cloud.line("Bridge", bridge, ALL):
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


@pytest.mark.parametrize("kind", ["venue", "cloud"])
@pytest.mark.parametrize(
    ("user", "may_write", "may_read"),
    [
        ("Steward", {wire.COMMAND}, READS),
        ("Supervisor", {wire.COMMAND, wire.DESIRED}, READS),
        ("Fleet", {wire.IDENTITY_ANSWER}, {wire.IDENTITY_REQUEST}),
    ],
)
def test_people_and_the_fleet_write_what_is_theirs_and_neither_rows_nor_receipts(
    both: Both, kind: str, user: str, may_write: set[wire.Topic], may_read: set[wire.Topic]
) -> None:
    place: Place = getattr(both, kind)
    who, watch = Ear(), Ear()
    ours, theirs = f"of {user} {kind}".encode(), f"for {user} {kind}".encode()
    with place.line("Watch", watch, ALL), place.line(user, who, ALL):
        watch.session(), who.session()
        send_all(who, "arena", "north", ours)
        send_all(watch, "arena", "north", theirs)
        last = wire.address(next(iter(may_read)), "arena", "last")
        watch.session().publish(Publication(last, b"last " + theirs))
        written = wire.address(next(iter(may_write)), "arena", "last")
        who.session().publish(Publication(written, b"last " + ours))
        who.wait(lambda: b"last " + theirs in who.payloads)
        watch.wait(lambda: b"last " + ours in watch.payloads)
    assert names(watch, ours, "north") == {topic.name for topic in may_write}
    shared = {wire.ADMISSIONS.name, wire.ADMISSIONS_REQUEST.name, wire.CHANGES.name, wire.STATUS.name}
    heard = names(who, theirs, "north")
    assert {topic.name for topic in may_read} <= heard
    assert heard <= shared | {t.name for t in may_read | {wire.TELEMETRY, wire.LOG}}
    assert not heard & {wire.JOURNAL.name, wire.ASK.name, wire.RECEIPT.name, wire.COMMAND.name}


def test_a_new_gate_asks_and_hears_the_answer_and_nothing_else(both: Both) -> None:
    new, watch = Ear(), Ear()
    answer = wire.address(wire.IDENTITY_ANSWER, "arena", "new")
    with both.venue.line("Watch", watch, ALL), both.venue.new_gate("new", new, ALL):
        watch.session(), new.session()
        send_all(new, "arena", "new", b"of new")
        send_all(new, "arena", "north", b"of new")
        send_all(new, "other", "new", b"of new")
        send_all(watch, "arena", "new", b"for new")
        send_all(watch, "arena", "north", b"for new")
        new.session().publish(Publication(wire.address(wire.IDENTITY_REQUEST, "arena", "new"), b"last"))
        watch.session().publish(Publication(answer, b"last"))
        watch.wait(lambda: b"last" in watch.payloads)
        new.wait(lambda: b"last" in new.payloads)
    assert {a.topic for a in watch.heard if a.payload == b"of new"} == {
        wire.address(wire.IDENTITY_REQUEST, "arena", "new")
    }
    assert {a.topic for a in new.heard} == {answer}


def test_a_new_gate_cannot_put_out_one_at_work_by_its_clients_name(both: Both) -> None:
    north, new = Ear(), Ear()
    mark = wire.address(wire.STATUS, "arena", "north")
    with both.venue.line("north", north, wire.address(wire.RECEIPT, "arena", "north")):
        north.session()
        with both.venue.new_gate("new", new, client=f"north-{id(north)}"):
            new.session()
        assert north.session().publish(Publication(mark, b"here"))
        north.wait(lambda: north.taken == 1)
    assert [why for _, why in north.ended] == ["closed"]


def test_nobody_comes_in_without_a_certificate_of_the_right_authority(both: Both) -> None:
    for place in (both.venue, both.cloud):
        stranger = place.as_user("north", "enrol-ca").tls
        server = place.as_user("north", use=Use.SERVER).tls
        for own in (Tls(str(place.fleet / "ca.pem")), stranger, server):
            assert_refused(Broker("127.0.0.1", place.broker.port, own))
    known = both.venue.as_user("north").tls
    for own in (Tls(str(both.venue.fleet / "ca.pem")), known):
        assert_refused(Broker("127.0.0.1", both.venue.enrol_port, own))


def assert_refused(broker: Broker) -> None:
    """The broker does not let this one in."""
    assert is_refused(broker)


def is_refused(broker: Broker) -> bool:
    """Whether the broker keeps this one out."""
    ear = Ear()
    with Line([broker], "x", (), ear, pace=QUICK) as line:
        until(lambda: ear.sessions or line.faults())
    return not ear.sessions


@pytest.mark.parametrize("topic", GROUPS, ids=GROUPS.get)
def test_nothing_is_lost_to_a_thief_who_does_not_know_the_name_of_the_bridges_group(
    both: Both, topic: wire.Topic
) -> None:
    """To mosquitto 2.0.11 anybody may join any group, and `deny` changes nothing: so the name is a secret."""
    bridge, thieves, gate = Ear(), [Ear() for _ in range(4)], Ear()
    tried = [f"$share/{GROUPS[topic]}{end}/{wire.address(topic, 'arena', '+')}" for end in ("", "-", "-5ec")]
    all_of_them = f"$share/{GROUPS[topic]}-5ecret/#"
    with ExitStack() as stack:
        stack.enter_context(both.venue.line("Bridge", bridge, shared_by(topic, "arena", "5ecret")))
        bridge.session()
        stack.enter_context(both.venue.line("lost", thieves[0], *tried, all_of_them))
        stack.enter_context(both.venue.new_gate("lost", thieves[1], *tried, all_of_them))
        stack.enter_context(both.venue.line("lost", thieves[2], *tried))
        stack.enter_context(both.venue.line("Steward", thieves[3], *tried))
        for thief in thieves:
            thief.session()
        stack.enter_context(both.venue.line("south", gate))
        for number in range(40):
            gate.wait(lambda: gate.session().in_flight < gate.session().window)
            payload = b"%d" % number
            assert gate.session().publish(Publication(wire.address(topic, "arena", "south"), payload))
        bridge.wait(lambda: len(bridge.heard) == 40)
    assert bridge.payloads == [b"%d" % number for number in range(40)]
    assert not {b"0", b"39"} & {payload for thief in thieves for payload in thief.payloads}


@pytest.mark.parametrize("door", ["gates", "enrolment"])
def test_what_was_revoked_opens_no_door_after_the_restart_that_the_files_ask_for(
    tmp_path: Path, door: str
) -> None:
    fleet = make_fleet(tmp_path / "fleet", cloud="")
    place = set_up(fleet, "venue", tmp_path / "venue")
    if door == "gates":
        lost, other = place.as_user("lost"), place.as_user("other")
    else:
        lost, other = (
            place.as_user(name, "enrol-ca")._replace(port=place.enrol_port) for name in ("lost", "other")
        )
    assert lost.tls
    number = f"{int_of(Path(lost.tls.cert_file)):x}"
    gate = Gate("lost", serials=(number,)) if door == "gates" else Gate("lost", bundles=(number,))
    fleets.keep_gate(fleet, gate)
    with place.broker:
        ear = Ear()
        with Line([lost], "lost", (), ear, pace=QUICK):
            ear.session()
            revoke_gate(fleet, "lost", NOW)
            for name in ("crl.pem", "enrol-crl.pem"):
                shutil.copy(fleet / "broker" / name, tmp_path / "venue" / name)
            place.broker.stop()
            ear.wait(lambda: ear.ended)
        place.broker.start()
        assert_refused(lost)
        ear = Ear()
        with Line([other], "other", (), ear, pace=QUICK):
            ear.session()


def test_a_reload_reads_what_was_revoked_and_leaves_the_connection_that_only_a_restart_ends(
    tmp_path: Path,
) -> None:
    fleet = make_fleet(tmp_path / "fleet", cloud="")
    place = set_up(fleet, "venue", tmp_path / "venue")
    topic = wire.address(wire.STATUS, "arena", "lost")
    lost = place.as_user("lost")
    assert lost.tls
    fleets.keep_gate(fleet, Gate("lost", serials=(f"{int_of(Path(lost.tls.cert_file)):x}",)))
    with place.broker:
        ear = Ear()
        with Line([lost], "lost", (), ear, pace=QUICK):
            ear.session()
            revoke_gate(fleet, "lost", NOW)
            shutil.copy(fleet / "broker" / "crl.pem", tmp_path / "venue" / "crl.pem")
            os.kill(place.broker.process_id, signal.SIGHUP)
            until(lambda: is_refused(lost))  # its log does not say when it has read them
            assert ear.session().publish(Publication(topic, b"still here"))
            ear.wait(lambda: ear.taken)
            assert ear.ended == []


def int_of(path: Path) -> int:
    """The number of a certificate."""
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


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
