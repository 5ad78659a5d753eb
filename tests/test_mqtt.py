import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from firmware import wire
from firmware.mqtt import Arrived, Broker, Line, Pace, Publication, Session, TooLarge
from firmware.mqtt.link import RECEIVE_MESSAGES
from tests.brokers import ANYBODY, BROKERS, LIMIT_S, QUICK, Ear, RunningBroker, mosquitto_broker, until

STATUS = wire.address(wire.STATUS, "arena", "north")
JOURNAL = wire.address(wire.JOURNAL, "arena", "north")
ALL_STATUS, ALL_JOURNAL = wire.address(wire.STATUS, "arena", "+"), wire.address(wire.JOURNAL, "arena", "+")


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningBroker]:
    """A running broker of each kind; the test's name says which."""
    with BROKERS[request.param](tmp_path) as running:
        yield running


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[RunningBroker]:
    """A running mosquitto."""
    with mosquitto_broker(tmp_path) as running:
        yield running


def line_to(broker: RunningBroker, name: str, ear: Ear, *subscriptions: str) -> Line:
    """A line that is impatient."""
    return Line([broker.address], name, subscriptions, ear, pace=QUICK)


def will(number: int) -> Publication:
    return Publication(STATUS, b"dead %d" % number, retain=True)


def farewell(number: int) -> Publication:
    return Publication(STATUS, b"bye %d" % number, retain=True)


# --- messages ----------------------------------------------------------------------------------------


def test_a_line_that_is_told_to_hurry_does_not_wait_for_its_next_attempt(tmp_path: Path) -> None:
    broker, ear = mosquitto_broker(tmp_path), Ear()
    patient = Pace(retry_least_s=86_400.0, retry_most_s=86_400.0)
    with Line([broker.address], "gate", (), ear, pace=patient) as line:
        until(line.faults)
        with broker:
            line.hurry()
            ear.session()


def test_a_message_arrives_and_the_sender_hears_that_it_was_taken(broker: RunningBroker) -> None:
    gate, bridge = Ear(), Ear()
    with line_to(broker, "gate", gate), line_to(broker, "bridge", bridge, ALL_JOURNAL):
        bridge.session()
        assert gate.session().publish(Publication(JOURNAL, b"rows"))
        bridge.wait(lambda: bridge.heard)
        gate.wait(lambda: gate.taken == 1)
    assert bridge.heard == [Arrived(JOURNAL, b"rows", False, 1)]
    assert gate.session().in_flight == 0


class Kept(Ear):
    """Whose connection's thread is kept by the first message that comes, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.kept, self.let_go = threading.Event(), threading.Event()

    def arrived(self, session: Session, arrived: Arrived) -> None:
        super().arrived(session, arrived)
        self.kept.set()
        assert self.let_go.wait(LIMIT_S)


def test_a_message_of_another_thread_does_not_wait_for_the_connections_own(venue: RunningBroker) -> None:
    gate, bridge = Kept(), Ear()
    with (
        line_to(venue, "gate", gate, ALL_STATUS) as line,
        line_to(venue, "bridge", bridge, ALL_JOURNAL),
    ):
        bridge.session()
        gate.session()
        bridge.session().publish(Publication(STATUS, b"hello"))
        assert gate.kept.wait(LIMIT_S)
        try:
            assert gate.session().publish(Publication(JOURNAL, b"at once"))
            bridge.wait(lambda: bridge.payloads == [b"at once"])
        finally:
            gate.let_go.set()
        gate.wait(lambda: gate.taken == 1)
        assert line.session is gate.session()


class Leaving(Ear):
    """Who goes as soon as a message has come."""

    line: Line

    def arrived(self, session: Session, arrived: Arrived) -> None:
        super().arrived(session, arrived)
        self.line.close()


def test_what_came_last_is_acknowledged_before_the_end(tmp_path: Path) -> None:
    leaving, other = Leaving(), Ear()
    with mosquitto_broker(tmp_path, f"{ANYBODY}log_type all\n") as broker:
        leaving.line = line_to(broker, "leaving", leaving, ALL_JOURNAL)
        with leaving.line, line_to(broker, "other", other):
            leaving.session()
            other.session().publish(Publication(JOURNAL, b"the last"))
            leaving.wait(lambda: leaving.ended)
        until(lambda: "Received PUBACK from leaving" in broker.log)


def test_an_acknowledgement_goes_out_though_nothing_else_happens(venue: RunningBroker) -> None:
    gate, bridge = Ear(), Ear()
    with line_to(venue, "gate", gate, ALL_STATUS), line_to(venue, "bridge", bridge):
        gate.session()
        for number in range(3 * RECEIVE_MESSAGES):  # more than the broker sends without any
            bridge.wait(lambda: bridge.session().in_flight < wire.WINDOW_MESSAGES)
            assert bridge.session().publish(Publication(STATUS, b"%d" % number))
        gate.wait(lambda: len(gate.heard) == 3 * RECEIVE_MESSAGES)


def test_the_longest_message_of_the_wire_arrives_whole(broker: RunningBroker) -> None:
    gate, bridge = Ear(), Ear()
    payload = os.urandom(wire.PAYLOAD_BYTES_MAX)
    topic = wire.address(wire.ADMISSIONS_REQUEST, "v" * 32, "g" * 32)
    with line_to(broker, "gate", gate), line_to(broker, "bridge", bridge, topic):
        bridge.session()
        assert gate.session().payload_bytes_max == len(payload)
        assert gate.session().publish(Publication(topic, payload))
        bridge.wait(lambda: bridge.heard)
    assert bridge.payloads == [payload]


def test_telemetry_of_qos_0_arrives_and_needs_no_acknowledgement(broker: RunningBroker) -> None:
    gate, bridge = Ear(), Ear()
    with line_to(broker, "gate", gate), line_to(broker, "bridge", bridge, ALL_JOURNAL):
        bridge.session()
        assert gate.session().publish(Publication(JOURNAL, b"warm", qos=0))
        gate.wait(lambda: gate.taken == 1)
        bridge.wait(lambda: bridge.heard)
    assert bridge.heard[0][:3] == (JOURNAL, b"warm", False)
    if broker.name == "mosquitto":  # iotcore lifts it to the QoS of the subscription
        assert bridge.heard[0].number == 0


def test_a_status_from_before_is_heard_and_known_to_be_a_kept_one(broker: RunningBroker) -> None:
    gate, bridge = Ear(), Ear()
    with line_to(broker, "gate", gate):
        gate.session().publish(Publication(STATUS, b"online", retain=True))
        gate.session().publish(Publication(JOURNAL, b"may not be kept", retain=True))
        gate.wait(lambda: gate.taken == 2)
        with line_to(broker, "bridge", bridge, ALL_STATUS, ALL_JOURNAL):
            bridge.wait(lambda: STATUS in [arrived.topic for arrived in bridge.heard])
            gate.session().publish(Publication(JOURNAL, b"kept again", retain=True))
            bridge.wait(lambda: bridge.heard[-1].payload == b"kept again")
    assert bridge.heard[0][:3] == (STATUS, b"online", True)
    if broker.name == "mosquitto":
        assert bridge.heard[1][:3] == (JOURNAL, b"kept again", True), "a kept one is told, a live one too"
        assert len(bridge.heard) == 2, "what is kept of other topics is not asked for"


def test_workers_share_a_subscription_and_each_message_goes_to_one(broker: RunningBroker) -> None:
    gate, first, second = Ear(), Ear(), Ear()
    shared = f"$share/bridge/{ALL_JOURNAL}"
    sent = [b"%d" % number for number in range(40)]
    with (
        line_to(broker, "one", first, shared),
        line_to(broker, "two", second, shared),
        line_to(broker, "gate", gate) as line,
    ):
        first.session(), second.session()
        for payload in sent:
            gate.wait(lambda: gate.session().in_flight < gate.session().window)
            assert gate.session().publish(Publication(JOURNAL, payload))
        until(lambda: len(first.heard) + len(second.heard) >= len(sent))
        assert line.faults() == {}
    assert sorted(first.payloads + second.payloads) == sorted(sent)
    assert first.heard
    assert second.heard


def test_a_gate_does_not_hear_itself(venue: RunningBroker) -> None:
    gate, other = Ear(), Ear()
    everything = f"{wire.ROOT}/#"
    with line_to(venue, "gate", gate, everything), line_to(venue, "other", other, everything):
        gate.session(), other.session()
        gate.session().publish(Publication(JOURNAL, b"mine"))
        other.wait(lambda: other.heard)
        other.session().publish(Publication(JOURNAL, b"not mine"))
        gate.wait(lambda: gate.heard)
    assert gate.payloads == [b"not mine"]


def has_heard(ear: Ear, count: int) -> bool:
    return len(ear.heard) >= count


# --- the window --------------------------------------------------------------------------------------


class Counting(Ear):
    """An ear that publishes whenever there is room, and remembers how much was ever on its way."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.left, self.most = count, 0

    def fill(self, session: Session) -> None:
        while self.left and session.publish(Publication(JOURNAL, b"%d" % self.left)):
            self.left -= 1
            self.most = max(self.most, session.in_flight)

    def connected(self, session: Session) -> None:
        super().connected(session)
        self.fill(session)

    def acknowledged(self, session: Session) -> None:
        self.fill(session)
        super().acknowledged(session)


def test_the_window_is_filled_and_never_exceeded(broker: RunningBroker) -> None:
    gate, bridge = Counting(500), Ear()
    with line_to(broker, "bridge", bridge, ALL_JOURNAL):
        bridge.session()
        with line_to(broker, "gate", gate):
            bridge.wait(lambda: len(bridge.heard) == 500)
    assert gate.most == wire.WINDOW_MESSAGES
    assert bridge.payloads == [b"%d" % number for number in range(500, 0, -1)], "in order, each once"


def test_messages_are_acknowledged_in_the_order_in_which_they_came(broker: RunningBroker) -> None:
    bridge, gate = Ear(hold=True), Ear()
    with line_to(broker, "bridge", bridge, ALL_JOURNAL):
        session = bridge.session()
        with line_to(broker, "gate", gate):
            for number in range(3):
                gate.session().publish(Publication(JOURNAL, b"%d" % number))
            bridge.wait(lambda: len(bridge.heard) == 3)
            for arrived in (bridge.heard[1], bridge.heard[2], bridge.heard[1], bridge.heard[0]):
                session.acknowledge(arrived)
            for number in range(3, 2 * RECEIVE_MESSAGES):
                assert gate.session().publish(Publication(JOURNAL, b"%d" % number))
                bridge.wait(partial(has_heard, bridge, number + 1))
                gate.wait(lambda: gate.taken >= len(bridge.heard))
                session.acknowledge(bridge.heard[number])
    assert len(bridge.sessions) == 1, "a strict broker ends a connection that acknowledges in another order"


@pytest.mark.parametrize(("allowed", "window"), [(5, 5), (100, wire.WINDOW_MESSAGES)])
def test_a_broker_with_a_smaller_window_is_obeyed(tmp_path: Path, allowed: int, window: int) -> None:
    gate = Counting(100)
    venue = mosquitto_broker(tmp_path, f"{ANYBODY}max_inflight_messages {allowed}\n")
    with venue, line_to(venue, "gate", gate):
        gate.wait(lambda: gate.taken == 100)
    assert gate.session().window == gate.most == window


def test_a_full_window_refuses_and_keeps_nothing(venue: RunningBroker) -> None:
    gate, bridge = Ear(), Ear()
    with line_to(venue, "bridge", bridge, ALL_JOURNAL), line_to(venue, "gate", gate):
        bridge.session(), gate.session()
        os.kill(venue.process_id, signal.SIGSTOP)  # it takes bytes, and answers nothing
        sent = [gate.session().publish(Publication(JOURNAL, b"%d" % number)) for number in range(20)]
        urgent = [gate.session().publish(Publication(JOURNAL, b"now"), urgent=True) for _ in range(8)]
        os.kill(venue.process_id, signal.SIGCONT)
        gate.wait(lambda: gate.taken == 20)
        assert gate.session().publish(Publication(JOURNAL, b"last"))
        bridge.wait(lambda: bridge.payloads[-1:] == [b"last"])
    assert sent == [True] * 16 + [False] * 4
    assert urgent == [True] * 4 + [False] * 4, "mosquitto takes 20"
    assert bridge.payloads == [*(b"%d" % number for number in range(16)), *[b"now"] * 4, b"last"]


def test_many_threads_may_publish_at_once(venue: RunningBroker) -> None:
    gate, bridge = Ear(), Ear()
    with line_to(venue, "bridge", bridge, ALL_JOURNAL), line_to(venue, "gate", gate):
        session = gate.session()
        bridge.session()

        def publish(name: int) -> None:
            for number in range(100):
                while not session.publish(Publication(JOURNAL, b"%d %d" % (name, number))):
                    gate.wait(lambda: session.in_flight < session.window)

        threads = [threading.Thread(target=publish, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        bridge.wait(lambda: len(bridge.heard) == 400)
        for thread in threads:
            thread.join()
    for name in range(4):
        own = [payload for payload in bridge.payloads if payload.startswith(b"%d " % name)]
        assert own == [b"%d %d" % (name, number) for number in range(100)], "whole, and in its order"


def test_a_message_that_the_broker_finds_too_long_is_refused_with_the_mend(tmp_path: Path) -> None:
    gate = Ear()
    with (
        mosquitto_broker(tmp_path, f"{ANYBODY}max_packet_size 2000\n") as venue,
        line_to(venue, "gate", gate),
    ):
        session = gate.session()
        assert session.publish(Publication(JOURNAL, b"x" * session.payload_bytes_max))
        with pytest.raises(TooLarge, match=r"takes packets of 2,000 bytes, .*: let it take 66,048 \(mosq"):
            session.publish(Publication(JOURNAL, b"x" * 2000))
        gate.wait(lambda: gate.taken == 1)
    assert session.payload_bytes_max == 1488
    assert len(gate.sessions) == 1, "the connection goes on"


def test_without_an_acknowledgement_of_ours_the_broker_stops_at_our_window(venue: RunningBroker) -> None:
    gate, bridge = Counting(200), Ear(hold=True)
    with ExitStack() as stack:
        stack.enter_context(line_to(venue, "bridge", bridge, ALL_JOURNAL))
        bridge.session()
        stack.enter_context(line_to(venue, "gate", gate))
        gate.wait(lambda: gate.taken == 200)
        gate.session().publish(Publication(JOURNAL, b"last"))
        gate.wait(lambda: gate.taken == 201)  # whatever mosquitto sends because of it, it has sent
        bridge.wait(lambda: len(bridge.heard) >= RECEIVE_MESSAGES)
        assert len(bridge.heard) == RECEIVE_MESSAGES
        for number in range(
            201
        ):  # mosquitto 2.0.11 counts an acknowledgement double, so no count from here on
            bridge.wait(partial(has_heard, bridge, number + 1))
            bridge.session().acknowledge(bridge.heard[number])
            bridge.session().acknowledge(bridge.heard[number])  # twice is fine
    assert len(bridge.heard) == 201


# --- birth, death and farewell -----------------------------------------------------------------------

CLIENT = """
import sys, threading
from firmware.mqtt import Broker, Line, Publication
from tests.brokers import Ear
from tests.test_mqtt import JOURNAL, STATUS, farewell, will
ear = Ear()
with Line([Broker("127.0.0.1", int(sys.argv[1]))], "gate", (), ear, will, farewell):
    ear.session().publish(Publication(STATUS, b"online", retain=True))
    print("up", flush=True)
    sys.stdin.read()
"""


def test_the_will_of_a_process_that_was_killed_is_told(broker: RunningBroker) -> None:
    bridge = Ear()
    with line_to(broker, "bridge", bridge, ALL_STATUS):
        bridge.session()
        command = [sys.executable, "-c", CLIENT, str(broker.port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as gate:
            bridge.wait(lambda: b"online" in bridge.payloads)
            gate.kill()
        bridge.wait(lambda: b"dead 1" in bridge.payloads)
    assert bridge.payloads == [b"online", b"dead 1"]


def test_a_tidy_end_says_farewell_after_everything_else(broker: RunningBroker) -> None:
    gate, bridge = Ear(), Ear()
    with line_to(broker, "bridge", bridge, ALL_STATUS, ALL_JOURNAL):
        bridge.session()
        with Line([broker.address], "gate", (), gate, will, farewell, pace=QUICK) as line:
            session = gate.session()
            for number in range(session.window):
                assert session.publish(Publication(JOURNAL, b"%d" % number))
        bridge.wait(lambda: b"bye 1" in bridge.payloads)
    assert bridge.payloads[:17] == [*(b"%d" % number for number in range(16)), b"bye 1"]
    if broker.name == "mosquitto":
        assert b"dead 1" not in bridge.payloads  # iotcore sends the will too; it tells of the same connection
    assert gate.ended == [(1, "closed")]
    assert not session.publish(Publication(JOURNAL, b"late"))
    assert line.session is None
    line.close()


def test_without_a_farewell_a_tidy_end_leaves_the_word_to_the_will(venue: RunningBroker) -> None:
    gate, bridge = Ear(), Ear()
    with line_to(venue, "bridge", bridge, ALL_STATUS):
        bridge.session()
        with Line([venue.address], "gate", (), gate, will, pace=QUICK):
            gate.session()
        bridge.wait(lambda: bridge.heard)
    assert bridge.payloads == [b"dead 1"]


def test_a_stale_connection_gives_way_to_a_new_one_and_its_will_is_told(venue: RunningBroker) -> None:
    bridge, gate = Ear(), Ear()
    with line_to(venue, "bridge", bridge, ALL_STATUS):
        bridge.session()
        command = [sys.executable, "-c", CLIENT, str(venue.port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stale:
            bridge.wait(lambda: b"online" in bridge.payloads)
            stale.send_signal(signal.SIGSTOP)
            with line_to(venue, "gate", gate):
                assert gate.session().publish(Publication(STATUS, b"new", retain=True))
                bridge.wait(lambda: {b"dead 1", b"new"} <= set(bridge.payloads))
                stale.kill()
                assert gate.session().publish(Publication(STATUS, b"still here", retain=True))
                bridge.wait(lambda: b"still here" in bridge.payloads)
    assert gate.ended == [(1, "closed")]


# --- brokers that come and go ------------------------------------------------------------------------


def test_a_killed_broker_is_found_again_and_nothing_of_the_old_connection_is_sent(tmp_path: Path) -> None:
    gate, bridge = Ear(), Ear()
    venue = mosquitto_broker(tmp_path)
    with (
        venue,
        line_to(venue, "bridge", bridge, ALL_JOURNAL) as line,
        line_to(venue, "gate", gate),
    ):
        first, _ = gate.session(), bridge.session()
        os.kill(venue.process_id, signal.SIGSTOP)
        assert first.publish(Publication(JOURNAL, b"lost"))
        venue.kill()
        gate.wait(lambda: gate.ended)
        assert not first.publish(Publication(JOURNAL, b"refused"))
        until(line.faults)
        (told,) = line.faults().values()
        assert told.startswith(f"broker 127.0.0.1:{venue.port}")
        venue.start()
        second = gate.session(2)
        bridge.session(2)
        assert second.publish(Publication(JOURNAL, b"new"))
        bridge.wait(lambda: b"new" in bridge.payloads)
        assert not first.publish(Publication(JOURNAL, b"of the old one"))
        assert line.faults() == {}
        assert line.health[:2] == (venue.address, 2)
    assert bridge.payloads == [b"new"]
    assert second.number > first.number


def test_what_was_not_acknowledged_is_not_expected_from_the_broker_again(venue: RunningBroker) -> None:
    gate, bridge = Ear(), Ear(hold=True)
    shared = f"$share/bridge/{ALL_JOURNAL}"
    with line_to(venue, "gate", gate):
        with line_to(venue, "bridge", bridge, shared):
            bridge.session()
            gate.session().publish(Publication(JOURNAL, b"not stored"))
            bridge.wait(lambda: bridge.heard)
            old = bridge.session(), bridge.heard[0]
        again = Ear()
        with line_to(venue, "bridge", again, shared):
            again.session()
            old[0].acknowledge(old[1])  # of a connection that is over: does nothing
            gate.session().publish(Publication(JOURNAL, b"sent again by the gate"))
            again.wait(lambda: again.heard)
    assert b"sent again by the gate" in again.payloads


def test_two_with_one_name_are_told_so(venue: RunningBroker) -> None:
    first, second = Ear(), Ear()
    steady = QUICK._replace(steady_s=LIMIT_S)
    with (
        Line([venue.address], "gate", (), first, pace=steady),
        Line([venue.address], "gate", (), second, pace=steady),
    ):
        first.wait(lambda: len(first.ended) > 1)
    assert first.ended[0][1].endswith(", and so soon: do two clients have one name?")


def test_the_second_broker_stands_in_and_the_first_is_taken_back(tmp_path: Path) -> None:
    gate, at_venue, at_cloud = Ear(), Ear(), Ear()
    with ExitStack() as stack:
        venue, cloud = (stack.enter_context(mosquitto_broker(tmp_path)) for _ in range(2))
        line = Line([venue.address, cloud.address], "gate", (), gate, will, farewell, pace=QUICK)
        stack.enter_context(line_to(cloud, "watch", at_cloud, ALL_STATUS))
        stack.enter_context(line_to(venue, "watch", at_venue, ALL_STATUS))
        at_cloud.session()
        stack.enter_context(line)
        assert gate.session(1).broker == venue.address
        venue.kill()
        assert gate.session(2).broker == cloud.address
        until(line.faults)
        assert list(line.faults()) == [f"broker 127.0.0.1:{venue.port}"], "the venue's is missed"
        gate.session(2).publish(Publication(STATUS, b"in the cloud", retain=True))
        venue.start()
        assert gate.session(3).broker == venue.address
        number = gate.session(2).number
        assert gate.ended[1] == (number, f"broker 127.0.0.1:{venue.port} answers again")
        at_cloud.wait(lambda: at_cloud.payloads == [b"in the cloud", b"bye %d" % number])
        assert line.faults() == {}


def test_a_line_that_never_connected_closes_at_once(tmp_path: Path) -> None:
    ear = Ear()
    line = Line([Broker("127.0.0.1", 9)], "gate", (), ear, pace=Pace(retry_least_s=LIMIT_S))
    with line:
        line.start()
        until(line.faults)
    line.close()
    assert (ear.sessions, ear.ended) == ([], [])
    Line([Broker("127.0.0.1", 9)], "gate", (), ear).close()
