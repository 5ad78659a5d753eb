"""A code that is no ticket of the event is refused at once, whatever else is asked about it."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from firmware import wire
from firmware.bridge.asking import Asking
from firmware.bridge.breaker import FAILURES_IN_A_ROW, Breaker
from firmware.bridge.driver import Driver
from firmware.bridge.vivenu_requests import ASIDE_S_MAX
from firmware.bridge.work import Faults
from firmware.core.ticket import Direction, Perimeter, Verdict
from tests.bridge.conversation import Talk, query
from tests.bridge.vivenu_talk import (
    ERROR_404,
    EVENT,
    answering,
    endpoint,
    no_such,
    question,
    vivenu,
)
from tests.brokers import LIMIT_S, until
from tests.core.samples import NOON_MS


@contextmanager
def silent_aside() -> Iterator[str]:
    """A vivenu that knows no ticket of an event, and says nothing where none is named. Its address."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            me = self.path.endswith("/me")
            if not me and "eventId" not in self.path:
                over.wait()
                self.close_connection = True
                return
            body = json.dumps({} if me else ERROR_404).encode()
            self.send_response(200 if me else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            over.set()
            server.shutdown()
            thread.join()


class Anywhere:
    """Gates that need no device."""

    def knows(self, gate: str) -> bool:
        return True

    def kept(self, gate: str, perimeter: Perimeter) -> Mapping[str, str] | None:
        return {}

    def suspect(self, gate: str, perimeter: Perimeter) -> None:
        raise AssertionError("vivenu has no devices")


@pytest.mark.usefixtures("patient")
def test_junk_codes_are_refused_and_open_no_breaker_where_only_the_second_look_is_silent() -> None:
    """By a clock that stands, and with patience for the first look: the second one's time is tested below."""
    answers: list[wire.Answer] = []
    with silent_aside() as url:
        vendor, breaker = vivenu(api_url=url, online_timeout_s=LIMIT_S), Breaker(lambda: None)
        with (
            Driver("fest", vendor, 1000) as driver,
            Asking(
                "fest",
                vendor,
                driver,
                breaker,
                Faults(),
                lambda _, answer: answers.append(answer),
                Anywhere(),
                lambda: NOON_MS,
                clock=lambda: 0.0,
            ) as asking,
        ):
            for scan in range(FAILURES_IN_A_ROW):
                asking.take(
                    "north",
                    wire.Ask(
                        scan=scan, digest=b"d" * 16, account="fest", code=f"junk {scan}", ticket_id="",
                        event=EVENT, session="", direction=Direction.IN, perimeter=Perimeter.OUTER,
                        at_utc_ms=NOON_MS, left_ms=vendor.deadline_ms,
                    ),
                )  # fmt: skip
            until(lambda: len(answers) == FAILURES_IN_A_ROW)
            counts = asking.counts
    assert {answer.verdict for answer in answers} == {Verdict.UNKNOWN}
    assert (counts.answered, counts.late, breaker.openings) == (FAILURES_IN_A_ROW, 0, 0)


@pytest.mark.parametrize("deadline_ms", [500, 3000, 10_000])
@pytest.mark.parametrize("online_timeout_s", [0.1, 5.0])
def test_the_second_look_waits_for_no_turn_and_takes_a_small_part_of_the_deadline(
    deadline_ms: int, online_timeout_s: float
) -> None:
    vendor = vivenu(ask_deadline_ms=deadline_ms, online_timeout_s=online_timeout_s)
    talk = Talk(vendor.ask(question(), {}), answering(ticket=no_such()))
    first, second = (request for request in talk.requests if endpoint(request) == "ticket")
    assert (query(first), query(second)) == ({"eventId": EVENT}, {})
    assert first.extensions["timeout"]["read"] == online_timeout_s
    assert second.extensions["timeout"]["read"] <= min(ASIDE_S_MAX, online_timeout_s)
    assert 2 * second.extensions["timeout"]["read"] < deadline_ms / 2000
    assert (second.extensions["tries"], second.extensions["patience_s"]) == (1, 0.0)
