"""When the driver sends: its rate, what a vendor asks for, and what no longer need go at all."""

import math
import socket

import httpx
import pytest

from firmware.bridge.driver import NAP_S, REST_S_MAX, Course, Driver
from firmware.bridge.vendor import Flow, NoTurn, Outage
from tests.bridge.test_driver import (
    GOOD,
    VENDOR,
    Clock,
    a_driver,
    answer,
    get,
    one,
    post,
    say,
    server,
    several,
)

DATE = "Tue, 16 Oct 2018 21:03:56 GMT"
TOO_MANY, UNAVAILABLE = "429 Too Many Requests", "503 Service Unavailable"


def test_requests_keep_to_the_rate_after_a_first_burst() -> None:
    clock = Clock()
    with server(say(answer(GOOD))) as far, a_driver(clock, requests_per_s=4) as driver:
        driver.run(several(*(get(far.port, patience_s=99) for _ in range(13))))
    assert 1.9 <= sum(clock.waits) <= 2.3


def test_a_request_whose_turn_is_too_far_is_not_sent() -> None:
    clock = Clock()
    with server(say(answer(GOOD))) as far, a_driver(clock, requests_per_s=0.1) as driver:
        assert driver.run(several(*(get(far.port, patience_s=5) for _ in range(2)))) == [200, NoTurn]
        assert len(far.requests) == 1


def test_a_course_tells_time_in_our_own_line_from_the_vendors() -> None:
    clock = Clock()
    course = Course(clock)
    began_s, seen = clock.now_s, []

    def wait(seconds: float) -> None:
        seen.append(course.since_s)
        clock.wait(seconds)

    driver = Driver("hall", VENDOR, 1, clock, wait)
    with server(say(answer(GOOD))) as far, driver:
        driver.run(several(get(far.port), get(far.port)), course=course)
        assert (course.since_s, seen) == (began_s, []), "the burst has room for two"
        driver.run(several(get(far.port, patience_s=0)), course=course)
        assert course.since_s == began_s, "nor does one stand in line that goes away at once"
        driver.run(several(get(far.port)), course=course)
    assert set(seen) == {math.inf}
    assert course.since_s == clock.now_s == pytest.approx(began_s + 1)


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_of_nothing_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="hall"):
        Driver("hall", VENDOR, rate)


@pytest.mark.parametrize(
    ("status", "header", "rest_s"),
    [
        (TOO_MANY, "Retry-After: 20", 20),
        (UNAVAILABLE, "Retry-After: 20", 20),
        (TOO_MANY, "Retry-After: 0", 0),
        (TOO_MANY, f"Date: {DATE}\r\nRetry-After: Tue, 16 Oct 2018 21:04:26 GMT", 30),
        (TOO_MANY, "Retry-After: Tue, 16 Oct 2018 21:04:01 GMT", 5),
        (TOO_MANY, "Retry-After: Tue, 16 Oct 2007 21:04:01 GMT", 0),
        (TOO_MANY, "Retry-After: soon", 1),
        (UNAVAILABLE, "X-Nothing: 1", 1),
        (TOO_MANY, "Retry-After: 999999", REST_S_MAX),
        ("500 Broken", "Retry-After: 20", 0),
    ],
)
def test_a_busy_vendor_is_left_alone_for_as_long_as_it_says(status: str, header: str, rest_s: float) -> None:
    clock = Clock()
    with server(say(answer(b"", header, status=status)), say(answer(GOOD))) as far, a_driver(clock) as driver:
        driver.run(several(get(far.port)))
        assert driver.run(several(get(far.port, patience_s=REST_S_MAX + 1))) == [200]
    assert sum(clock.waits) == pytest.approx(rest_s, abs=0.01)
    assert all(wait <= NAP_S for wait in clock.waits)


def test_who_has_people_waiting_leaves_a_vendor_alone_for_less_long() -> None:
    clock = Clock()
    busy = say(answer(b"", "Retry-After: 3600", status=UNAVAILABLE))
    driver = Driver("hall", VENDOR, 1000, clock, clock.wait, rest_s_max=60.0)
    with server(busy, say(answer(GOOD))) as far, driver:
        assert driver.run(several(get(far.port), get(far.port, patience_s=61))) == [503, 200]
    assert sum(clock.waits) == pytest.approx(60, abs=0.01)


def test_a_storm_of_429_is_waited_out_by_what_has_patience() -> None:
    clock = Clock()
    busy = say(answer(b"", "Retry-After: 7", status="429 Too Many Requests"))
    with server(busy, busy, say(answer(GOOD))) as far, a_driver(clock) as driver:
        assert driver.run(several(get(far.port, tries=3, patience_s=60))) == [200]
    assert sum(clock.waits) == pytest.approx(14, abs=0.01)


def test_an_update_does_not_stand_in_line_for_long_and_says_how_long_it_would() -> None:
    busy = say(answer(b"", "Retry-After: 120", status="429 Too Many Requests"))
    with server(busy) as far, a_driver() as driver:
        assert driver.run(several(post(far.port))) == [429]
        with pytest.raises(NoTurn, match="left alone") as caught:
            driver.run(one(post(far.port)))
        assert caught.value.retry_after_s == pytest.approx(120, abs=1)
        assert len(far.requests) == 1


def test_an_outage_that_the_vendor_raised_says_how_long() -> None:
    def flow(request: httpx.Request) -> Flow[None]:
        yield request
        raise Outage("too many requests")

    busy = say(answer(b"", "Retry-After: 9", status="429 Too Many Requests"))
    with server(busy) as far, a_driver() as driver, pytest.raises(Outage) as caught:
        driver.run(flow(get(far.port)))
    assert caught.value.retry_after_s == pytest.approx(9, abs=1)


def test_once_stopped_nothing_more_is_sent_and_the_flow_can_say_what_it_knows() -> None:
    stopped: list[bool] = []

    def far_stops(connection: socket.socket) -> None:
        stopped.append(True)
        connection.sendall(answer(GOOD))

    with server(far_stops) as far, a_driver() as driver:
        found = driver.run(several(get(far.port), get(far.port)), stop=lambda: bool(stopped))
    assert found == [200, NoTurn]
