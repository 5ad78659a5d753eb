"""What a line says of a broker that cannot be used, and that it goes on whatever a broker does."""

import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from firmware import wire
from firmware.demo.network import free_port
from firmware.mqtt import LEFT_BEHIND_S, Arrived, Broker, Line, Pace, Publication, Session, Tls
from tests.brokers import ANYBODY, LIMIT_S, QUICK, Ear, RunningBroker, mosquitto_broker, until
from tests.certificates import Certificate, authority, certificate

JOURNAL = wire.address(wire.JOURNAL, "arena", "north")
SECRET = "geheim-und-lang"
HASTY = QUICK._replace(connect_s=0.3, answer_s=0.3, keepalive_s=1)


def fault_of(broker: Broker, pace: Pace = QUICK, *subscriptions: str) -> str:
    """What a line says that cannot connect, after it has tried twice."""
    ear = Ear()
    with Line([broker], "gate", subscriptions, ear, pace=pace) as line:
        until(lambda: line.faults() and line._attempts > 2)
        (told,) = line.faults().values()
        assert line.health == (None, 0, told)
    assert ear.sessions == []
    assert SECRET not in told
    assert told.startswith(f"broker {broker.host}:{broker.port}")
    return told.removeprefix(f"broker {broker.host}:{broker.port}")


# --- what answers is no broker ------------------------------------------------------------------------


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[Broker]:
    """Whatever listens on a port: `answer` has each connection, in turn."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, suppress(OSError):
                        connection.settimeout(20)
                        answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Broker("127.0.0.1", listening.getsockname()[1], username="gate", password=SECRET)
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


CONNACK, SUBACK_NO = b"\x20\x03\x00\x00\x00", b"\x90\x04\x00\x01\x00\x87"
NO_BROKER = (
    " does not answer as an MQTT broker: is it one, does it speak MQTT 5, and does this port want TLS?"
)

OLD_BROKER = " refuses us (Unsupported protocol version): it must speak MQTT 5"


def hang(connection: socket.socket) -> None:
    """Take everything, and say nothing more."""
    while connection.recv(4096):
        pass


def says(
    data: bytes, then: Callable[[socket.socket], None] = lambda _: None
) -> Callable[[socket.socket], None]:
    """A server that says this after the first packet."""

    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(data)
        then(connection)

    return answer


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",  # TLS: unexpected message
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x20\x02\x00\x01",  # MQTT 3.1.1: unacceptable protocol version
        b"\x20\xff\xff\xff\xff\xff",
        b"\x20\x03\x00\x01\x00",
        b"\x30\x00",
        b"\x90\x00",
        b"\x40\x02\x00\x01",
        b"\x00" * 100,
        b"",
    ],
)
def test_garbage_on_the_port_is_told_and_tried_again(garbage: bytes) -> None:
    with server(says(garbage)) as broker:
        told = fault_of(broker, HASTY)
    assert told == (OLD_BROKER if garbage[:2] in (b"\x20\x02", b"\x20\x03") else NO_BROKER)


@pytest.mark.parametrize("first", [b"", b"\x30", b"\x30\xff\xff\xff\x7f"])
def test_a_server_that_goes_silent_is_left_in_time(first: bytes) -> None:
    with server(says(first, hang)) as broker:
        told = fault_of(broker, HASTY)
    assert told == " did not send the answer to CONNECT within 0.3 s: is it a broker, and is it overloaded?"


def test_a_server_that_never_answers_a_subscription_is_left_in_time() -> None:
    with server(says(CONNACK, hang)) as broker:
        told = fault_of(broker, HASTY, "a")
    assert told == " did not send the answer to SUBSCRIBE within 0.3 s: is it a broker, and is it overloaded?"


def test_a_broker_that_falls_silent_later_is_noticed_by_its_missing_pings() -> None:
    ear = Ear()
    with server(says(CONNACK, hang)) as broker, Line([broker], "gate", (), ear, pace=HASTY) as line:
        session = ear.session()
        ear.wait(lambda: ear.ended)
        assert not session.publish(Publication(JOURNAL, b""))
        ear.session(2)
        assert line.health.fault == f"broker {broker.name}: the connection is lost"


def test_a_broker_that_ends_the_connection_is_quoted() -> None:
    ear = Ear()
    with (
        server(says(CONNACK + b"\xe0\x02\x89\x00", hang)) as broker,
        Line([broker], "g", (), ear, pace=HASTY),
    ):
        ear.wait(lambda: ear.ended)
    assert (
        ear.ended[0][1]
        == f"broker {broker.name} ended the connection (Server busy): look at its log and limits"
    )


def test_a_broker_without_qos_1_is_not_used() -> None:
    with server(says(b"\x20\x05\x00\x00\x02\x24\x00", hang)) as broker:
        assert fault_of(broker, HASTY) == " takes no messages of QoS 1: let it, or use another"


def test_nothing_on_the_port_is_told() -> None:
    told = fault_of(Broker("127.0.0.1", free_port()))
    assert told == ": nothing listens there: start the broker, or check host and port"


def test_a_name_that_nobody_knows_is_told() -> None:
    told = fault_of(Broker("gate.invalid", 1883))
    assert told == ": the name is not found: check host, and the network's name server"
    told = fault_of(Broker("a" * 64 + ".example", 1883))
    assert told in (
        ": this is no host and port: check [[broker]]",
        ": the name is not found: check host, and the network's name server",
    )


# --- who we are ----------------------------------------------------------------------------------------


def passwords(folder: Path) -> str:
    """A broker's settings that know one user."""
    path = folder / "passwords"
    path.write_text(f"gate:{SECRET}\n", "utf-8")
    subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True)
    return f"listener {{port}} 127.0.0.1\npassword_file {path}\n"


@pytest.mark.parametrize(("user", "word"), [("gate", SECRET + "x"), ("other", SECRET), ("", "")])
def test_a_wrong_password_is_told_without_saying_it(tmp_path: Path, user: str, word: str) -> None:
    with mosquitto_broker(tmp_path, passwords(tmp_path)) as venue:
        told = fault_of(Broker("127.0.0.1", venue.port, username=user, password=word))
    mend = "let the user or the certificate in (the broker's users and access list)"
    assert told == f" refuses us (Not authorized): {mend}"


def test_the_right_password_lets_in(tmp_path: Path) -> None:
    ear = Ear()
    venue = mosquitto_broker(tmp_path, passwords(tmp_path))
    with venue, Line([Broker("127.0.0.1", venue.port, None, "gate", SECRET)], "gate", (), ear):
        ear.session()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where certificates are."""
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def ours(folder: Path) -> Certificate:
    """The venue's authority."""
    return authority(folder, "venue-ca")


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Certificate:
    """Somebody else's."""
    return authority(folder, "other-ca")


@pytest.fixture(scope="module")
def secured(folder: Path, ours: Certificate) -> Iterator[RunningBroker]:
    """A broker that wants certificates."""
    own = certificate(folder, "broker", ours)
    config = (
        f"listener {{port}} 127.0.0.1\ncafile {ours.cert_file}\ncertfile {own.cert_file}\n"
        f"keyfile {own.key_file}\nrequire_certificate true\nuse_identity_as_username true\n"
    )
    with mosquitto_broker(folder, config) as running:
        yield running


def with_tls(
    broker: RunningBroker, ca: Certificate, own: Certificate | None, host: str = "127.0.0.1"
) -> Broker:
    files = (str(own.cert_file), str(own.key_file)) if own else ("", "")
    return Broker(host, broker.port, Tls(str(ca.cert_file), *files))


def test_a_client_certificate_lets_in(folder: Path, ours: Certificate, secured: RunningBroker) -> None:
    ear, payload = Ear(), bytes(wire.PAYLOAD_BYTES_MAX)
    broker = with_tls(secured, ours, certificate(folder, "north", ours))
    with (
        Line([broker], "gate", (), ear, pace=QUICK),
        Line([broker], "bridge", (JOURNAL,), bridge := Ear(), pace=QUICK),
    ):
        bridge.session()
        for _ in range(16):
            assert ear.session().publish(Publication(JOURNAL, payload))
        bridge.wait(lambda: len(bridge.heard) == 16)
    assert set(bridge.payloads) == {payload}


def test_a_broker_of_another_authority_is_not_trusted(theirs: Certificate, secured: RunningBroker) -> None:
    told = fault_of(with_tls(secured, theirs, None))
    mend = "check ca_file, the clock, and that host is a name in the certificate"
    assert re.fullmatch(rf": its certificate is not trusted \(.+\): {mend}", told)


def test_a_broker_with_another_name_is_not_trusted(ours: Certificate, secured: RunningBroker) -> None:
    told = fault_of(with_tls(secured, ours, None, "localhost"))
    assert told.startswith(
        ": its certificate is not trusted (Hostname mismatch, certificate is not valid for"
    )


def test_a_missing_or_strange_client_certificate_is_told(
    folder: Path, ours: Certificate, theirs: Certificate, secured: RunningBroker
) -> None:
    for own in (None, certificate(folder, "stranger", theirs)):
        told = fault_of(with_tls(secured, ours, own))
        assert told.startswith(": TLS fails (")
        assert told.endswith(
            "it does not take our certificate: check cert_file, and the authorities that it trusts"
        )


def test_tls_and_no_tls_that_meet_are_told(tmp_path: Path, ours: Certificate, secured: RunningBroker) -> None:
    assert fault_of(secured.address) == NO_BROKER
    with mosquitto_broker(tmp_path) as venue:
        told = fault_of(with_tls(venue, ours, None), HASTY)
    assert told == " breaks off the start of TLS: is this its TLS port?"


def test_an_attempt_that_hangs_in_tls_is_left_behind_and_sends_nothing(
    folder: Path, ours: Certificate
) -> None:
    own, came, go_on, sent = certificate(folder, "slow", ours), threading.Event(), threading.Event(), []

    def dawdle(connection: socket.socket) -> None:
        came.set()
        assert go_on.wait(LIMIT_S)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(own.cert_file, own.key_file)
        with context.wrap_socket(connection, server_side=True) as secured:
            sent.append(secured.recv(100))

    ear = Ear()
    with server(dawdle) as broker:
        tls = broker._replace(tls=Tls(str(ours.cert_file)))
        line = Line([tls], "gate", (), ear, pace=Pace(connect_s=LIMIT_S, close_s=2 * LIMIT_S))
        line.start()
        assert came.wait(LIMIT_S)
        line.close()
        assert line._thread.is_alive(), "nobody waits for it"
        go_on.set()
        line._thread.join(LIMIT_S)
        until(lambda: sent)
    assert sent == [b""], "not even CONNECT"
    assert (ear.sessions, ear.ended) == ([], [])


def test_closing_waits_for_who_still_makes_the_will(tmp_path: Path) -> None:
    asked, go_on, made = threading.Event(), threading.Event(), []

    def will(number: int) -> Publication:
        asked.set()
        assert go_on.wait(LIMIT_S)
        made.append(number)
        return Publication(JOURNAL, b"gone")

    ear = Ear()
    with mosquitto_broker(tmp_path) as broker:
        line = Line([broker.address], "gate", (), ear, will, pace=QUICK._replace(close_s=LIMIT_S))
        line.start()
        assert asked.wait(LIMIT_S)
        closing = threading.Thread(target=line.close)
        closing.start()
        closing.join(2 * LEFT_BEHIND_S)
        assert closing.is_alive()
        go_on.set()
        closing.join(LIMIT_S)
        assert not line._thread.is_alive()
    assert (made, ear.sessions) == ([1], [])


def test_a_look_that_hangs_does_not_cost_the_farewell(tmp_path: Path, ours: Certificate) -> None:
    looks, go_on = threading.Event(), threading.Event()

    def refuse_and_then_dawdle(connection: socket.socket) -> None:
        if ear.sessions:
            looks.set()
            go_on.wait(3 * LIMIT_S)

    watch, ear, bye = Ear(), Ear(), Publication(JOURNAL, b"bye")
    pace = QUICK._replace(connect_s=3 * LIMIT_S, close_s=3 * LIMIT_S)
    with (
        mosquitto_broker(tmp_path, ANYBODY) as cloud,
        Line([cloud.address], "watch", (JOURNAL,), watch, pace=QUICK),
        server(refuse_and_then_dawdle) as venue,
    ):
        watch.session()
        tls = venue._replace(tls=Tls(str(ours.cert_file)))
        line = Line([tls, cloud.address], "gate", (), ear, None, lambda _: bye, pace=pace)
        line.start()
        assert looks.wait(LIMIT_S)
        closing = threading.Thread(target=line.close)
        closing.start()
        try:
            watch.wait(lambda: watch.payloads == [b"bye"])
            closing.join(LIMIT_S)
            assert not closing.is_alive(), "nobody waits for the look either"
        finally:
            go_on.set()
            closing.join()


def test_files_that_cannot_be_used_are_named(folder: Path, ours: Certificate, secured: RunningBroker) -> None:
    missing = fault_of(Broker("127.0.0.1", secured.port, Tls("/nowhere/ca.pem")))
    assert missing.startswith(
        ": ca_file /nowhere/ca.pem cannot be used (No such file or directory): it must be"
    )
    other = certificate(folder, "other-key", ours)
    mixed = fault_of(with_tls(secured, ours, Certificate(ours.cert_file, other.key_file)))
    assert (
        f"cert_file {ours.cert_file} with key_file {other.key_file} cannot be used (key values mis" in mixed
    )
    locked = folder / "locked.key"
    command = ["openssl", "ec", "-aes256", "-passout", f"pass:{SECRET}", "-out", str(locked)]
    subprocess.run([*command, "-in", str(other.key_file)], check=True, capture_output=True)
    told = fault_of(with_tls(secured, ours, Certificate(other.cert_file, locked)))
    assert told.endswith("readable, and the key the certificate's and not encrypted")


# --- what we may -----------------------------------------------------------------------------------------


def limited(folder: Path, rights: str) -> str:
    path = folder / "access"
    path.write_text(rights, "utf-8")
    return f"{ANYBODY}acl_file {path}\n"


def test_a_refused_subscription_is_a_fault_and_no_connection() -> None:
    with server(says(CONNACK + SUBACK_NO, hang)) as broker:
        told = fault_of(broker, HASTY, JOURNAL)
    assert told == f" refuses {JOURNAL} (Not authorized): let us read it (the broker's access list)"


def test_a_refused_message_is_a_fault_until_one_is_taken(tmp_path: Path) -> None:
    ear, access = Ear(), tmp_path / "access"
    venue = mosquitto_broker(tmp_path, limited(tmp_path, "topic write other\n"))
    with venue, Line([venue.address], "gate", (), ear, pace=QUICK) as line:
        assert ear.session().publish(Publication(JOURNAL, b"rows"))
        ear.wait(lambda: ear.taken == 1)
        ear.session().publish(Publication("other", b"x"))
        ear.wait(lambda: ear.taken == 2)
        (told,) = line.faults().values()
        access.write_text(f"topic write {JOURNAL}\n", "utf-8")
        venue.reload()
        until(lambda: ear.session().publish(Publication(JOURNAL, b"rows")) and not line.faults())
    name = f"broker 127.0.0.1:{venue.port}"
    mend = "let us write it (the broker's access list and limits)"
    assert told == f"{name} refuses messages of {JOURNAL} (Not authorized): {mend}"


# --- our own faults --------------------------------------------------------------------------------------


class Clumsy(Ear):
    """Fails on the first message."""

    def arrived(self, session: Session, arrived: Arrived) -> None:
        super().arrived(session, arrived)
        if len(self.heard) == 1:
            raise RuntimeError("of the listener")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_listener_that_fails_is_shown_and_the_line_goes_on(tmp_path: Path) -> None:
    ear, gate = Clumsy(), Ear()
    with (
        mosquitto_broker(tmp_path) as venue,
        Line([venue.address], "bridge", (JOURNAL,), ear, pace=QUICK) as line,
        Line([venue.address], "gate", (), gate, pace=QUICK),
    ):
        ear.session()
        gate.session().publish(Publication(JOURNAL, b"1"))
        ear.session(2)
        gate.session().publish(Publication(JOURNAL, b"2"))
        ear.wait(lambda: b"2" in ear.payloads)
        assert line.faults() == {}
    assert ear.ended[0][1] == f"what listens to broker 127.0.0.1:{venue.port} failed (RuntimeError)"


def test_retries_are_spread_and_bounded_and_never_end() -> None:
    tries: list[None] = []
    with server(lambda _: tries.append(None)) as broker:
        pace = QUICK._replace(retry_least_s=0.0001, retry_most_s=0.001)
        with Line([broker], "gate", (), Ear(), pace=pace) as line:
            until(lambda: len(tries) > 40)
            assert line.session is None


def test_no_password_is_in_what_a_broker_looks_like() -> None:
    broker = Broker("b", 1, Tls("/ca"), "gate", SECRET)
    assert repr(broker) == str(broker) == "Broker(b:1 with TLS)"
