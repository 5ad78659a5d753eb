"""Presence out of reach: what counts as that, and what does not."""

import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpcore
import httpx
import pytest

from firmware.bridge.breaker import FAILURES_IN_A_ROW
from firmware.bridge.connections import Connections
from firmware.bridge.driver import Driver
from firmware.bridge.vendor import Lost, NotSent, NoTurn, Outage, Unreached
from firmware.demo.network import free_port
from tests.bridge.conversation import Talk, in_turn
from tests.bridge.oracle import OracleServer
from tests.bridge.presence_talk import KEPT, ask, presence, question, reply, said
from tests.bridge.test_asking import LONG_MS, Counter
from tests.brokers import until

NOBODY = Unreached("connection refused")
LOST = Lost("no reply")
DEADLINE_MS = 1500


def deaf(stack: ExitStack) -> str:
    """Where somebody is who takes no connection."""
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    for _ in range(4):
        caller = stack.enter_context(socket.socket())
        caller.setblocking(False)
        caller.connect_ex(server.getsockname())
    return "http://127.0.0.1:{1}".format(*server.getsockname())


def test_trap_7_offline_is_only_what_could_not_be_reached() -> None:
    for unreached in ((NOBODY, NOBODY), (NOBODY, NoTurn("no time")), (NotSent("a stray reply"), NOBODY)):
        with pytest.raises(Unreached):
            ask(presence(), question(), *unreached)
    for reached in ((NOBODY, LOST), (LOST, NOBODY), (NOBODY, reply({}, 429)), (NOBODY, reply({}, 503))):
        with pytest.raises(Outage) as found:
            ask(presence(), question(), *reached)
        assert not isinstance(found.value, Unreached)


@contextmanager
def no_file_left() -> Iterator[None]:
    """This process can open no further file or connection."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.dup(0)
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_trap_7_a_bridge_that_has_no_file_left_for_a_connection_says_nothing_of_the_way() -> None:
    vendor = presence(ticket_url=f"http://127.0.0.1:{free_port()}")
    with (
        Driver("hall", vendor, 1000) as driver,
        pytest.raises(NotSent, match="Too many open") as found,
        no_file_left(),
    ):
        driver.run(vendor.ask(question(), KEPT))
    assert not isinstance(found.value, Unreached)


def test_trap_7_that_there_is_no_way_is_known_while_the_person_stands_there() -> None:
    """A server that takes no connection: what a cut line looks like from here."""
    with ExitStack() as stack:
        url = deaf(stack)
        vendor = presence(ticket_url=url, ask_deadline_ms=DEADLINE_MS)
        driver = stack.enter_context(Driver("hall", vendor, 1000))
        waits: list[float] = []
        once = driver._once

        def noted(request: httpx.Request) -> httpx.Response | Outage:
            waits.append(request.extensions["timeout"]["connect"])
            return once(request)

        driver._once = noted  # type: ignore[method-assign]  # how long each may take, on a busy machine too
        with pytest.raises(Unreached, match="Timeout"):
            driver.run(vendor.ask(question(), KEPT))
        assert (len(waits), sum(waits) * 1000 < DEADLINE_MS) == (2, True)


def test_trap_7_only_the_service_that_takes_scans_counts() -> None:
    with OracleServer() as there:  # it has no such page, and that is an answer
        nobody = f"http://127.0.0.1:{free_port()}"
        back = presence(ticket_url=there.url, device_url=nobody)
        with Driver("hall", back, 1000) as driver:
            driver.run(back.trial())
        away = presence(ticket_url=nobody, device_url=there.url)
        with Driver("hall", away, 1000) as driver, pytest.raises(Unreached):
            driver.run(away.trial())


def test_a_reply_of_any_kind_to_a_trial_is_one_where_scans_are_asked_elsewhere() -> None:
    vendor = presence(ticket_url="https://tickets.example/v1")
    for away in (reply({}, 500), reply({}, 404), reply({}, 429), said("NOT_FOUND")):
        (sent,) = Talk(vendor.trial(), in_turn(away)).requests
        assert (sent.method, sent.url.host) == ("GET", "tickets.example")
    for silent in (LOST, NOBODY):
        with pytest.raises(type(silent)):
            Talk(vendor.trial(), in_turn(silent))


class NoWay(Connections):
    """Connections that come to nothing, once the test lets them."""

    def __init__(self) -> None:
        self.begun = 0
        self.over = threading.Event()
        super().__init__(httpx.create_ssl_context(), 1, 1.0, time.monotonic)

    def send(self, *_: object) -> httpx.Response:
        self.begun += 1
        self.over.wait()
        raise httpcore.ConnectTimeout("timed out")


def test_asks_that_were_silent_for_want_of_a_way_say_so_once_that_is_known() -> None:
    with ExitStack() as stack:
        at, no_way = Counter(stack, "http://127.0.0.1:1", unreached_only=True), NoWay()
        stack.callback(no_way.over.set)
        at.driver._connections = no_way
        for scan in range(FAILURES_IN_A_ROW):
            at.ask(scan)
        until(lambda: no_way.begun == FAILURES_IN_A_ROW)
        at.clock.ahead_s += LONG_MS / 1000
        at.asking.wake()
        until(lambda: at.breaker.is_open)
        assert not at.breaker.unreached, "so far they are silent, and no more is known"
        no_way.over.set()
        until(lambda: at.breaker.unreached)
        assert {answer.unreached for answer in at.answered(FAILURES_IN_A_ROW)} == {True}
