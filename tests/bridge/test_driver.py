"""The one socket to vendors, against small servers on this machine."""

import gzip
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat, takewhile

import httpx
import pytest

from firmware.bridge import driver as driver_module
from firmware.bridge.driver import BODY_BYTES_MAX, Driver
from firmware.bridge.ingresse import Ingresse
from firmware.bridge.vendor import (
    Flow,
    Lost,
    Misconfigured,
    NotSent,
    Outage,
    Page,
    Unreached,
    VendorTicket,
    manner,
)
from tests.bridge.conversation import SETTINGS
from tests.brokers import until

PATIENCE_S = 30.0  # of a test for what has to come, on a loaded machine
HASTE_S = 0.2  # of a request whose reply does not come
GOOD = b'{"fine": true}'


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """A whole reply as bytes; with a `length` that is not the body's, a cut one."""
    length = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}", "Content-Type: application/json", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


Script = Callable[[socket.socket], None]


def say(data: bytes) -> Script:
    """Answer with these bytes."""
    return lambda connection: connection.sendall(data)


def hang_up(connection: socket.socket) -> None:
    """Answer nothing, and close."""
    connection.shutdown(socket.SHUT_RDWR)


def keep_silent(connection: socket.socket) -> None:
    """Answer nothing, and wait for the other side to give up."""
    connection.recv(1)


def stop_short(connection: socket.socket) -> None:
    """Send half of a head, and close."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
    hang_up(connection)


def fall_short(connection: socket.socket) -> None:
    """Announce more than is sent, and close."""
    connection.sendall(answer(GOOD, length=99))
    hang_up(connection)


class Server:
    """Plays one script for each request, and keeps the requests' bytes."""

    def __init__(self, listener: socket.socket, scripts: Iterator[Script]) -> None:
        self.port: int = listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.connections = 0
        self._listener = listener
        self._scripts = scripts
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []

    def serve(self) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.settimeout(PATIENCE_S)
            self._open.append(connection)
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            try:
                while True:
                    lines = [*takewhile(lambda line: line not in (b"\r\n", b""), iter(stream.readline, None))]
                    head = b"".join(lines)
                    if not head:
                        return
                    lengths = [
                        line.split(b":")[1] for line in lines if line.lower().startswith(b"content-length")
                    ]
                    body = stream.read(int(lengths[0])) if lengths else b""
                    with self._lock:
                        self.requests.append(head + b"\r\n" + body)
                        script = next(self._scripts)
                    script(connection)
                    if script is hang_up or script is keep_silent:
                        return
            except OSError:
                return

    def close(self) -> None:
        """End all connections."""
        self._listener.close()
        for connection in self._open:
            with connection:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


@contextmanager
def server(*scripts: Script) -> Iterator[Server]:
    """A server for these scripts; the last one goes on for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        playing = Server(listener, chain(scripts, repeat(scripts[-1])))
        thread = threading.Thread(target=playing.serve, daemon=True)
        thread.start()
        try:
            yield playing
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            playing.close()
            thread.join(PATIENCE_S)


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds


class Secretive(Ingresse):
    """A vendor with a few more secrets."""

    def secrets(self) -> tuple[str, ...]:
        return (*super().secrets(), "s3cr3t/+token", "abc")


VENDOR = Secretive(SETTINGS)


def a_driver(clock: Clock | None = None, requests_per_s: float = 1000) -> Driver:
    clock = clock or Clock()
    return Driver("hall", VENDOR, requests_per_s, clock, clock.wait, lambda: 1_539_723_836.0)


def get(
    port: int, name: str = "list", tries: int = 1, patience_s: float = 5.0, timeout_s: float = PATIENCE_S
) -> httpx.Request:
    url = f"http://127.0.0.1:{port}/event/1/guestlist?usertoken=s3cr3t%2F%2Btoken&apikey=key-of-ours"
    return httpx.Request("GET", url, extensions=manner(name, timeout_s, tries, patience_s))


def post(port: int, timeout_s: float = PATIENCE_S) -> httpx.Request:
    url = f"http://127.0.0.1:{port}/event/1/guestlist?usertoken=s3cr3t%2F%2Btoken"
    extensions = manner("update", timeout_s)
    extensions["timeout"]["connect"] = PATIENCE_S
    return httpx.Request("POST", url, json={"tickets": []}, extensions=extensions)


def one(request: httpx.Request) -> Flow[httpx.Response]:
    """Ask once, and give back the reply."""
    response = yield request
    assert isinstance(response, httpx.Response)
    return response


def several(*requests: httpx.Request) -> Flow[list[object]]:
    """Ask one after the other, and keep what came of each."""
    found: list[object] = []
    for request in requests:
        try:
            response = yield request
            assert isinstance(response, httpx.Response)
            found.append(response.status_code)
        except Outage as error:
            found.append(type(error))
    return found


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# --- what comes back -----------------------------------------------------------------------------------


def test_a_reply_comes_whole_and_read() -> None:
    packed = answer(gzip.compress(GOOD), "Content-Encoding: gzip")
    with server(say(packed)) as far, a_driver() as driver:
        response = driver.run(one(get(far.port)))
        assert (response.status_code, response.json()) == (200, {"fine": True})
        assert response.extensions["json"] == {"fine": True}
        assert b"\r\nAccept-Encoding: gzip, deflate\r\n" in far.requests[0]
        assert b"HTTP/1.1\r\n" in far.requests[0]


def test_a_request_is_one_segment_so_that_nobody_waits_for_its_second_half() -> None:
    found = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take_once() -> None:
            connection, _ = listener.accept()
            with connection:
                found.append(connection.recv(65_536))
                connection.sendall(answer(GOOD))

        thread = threading.Thread(target=take_once, daemon=True)
        thread.start()
        with a_driver() as driver:
            assert driver.run(one(post(listener.getsockname()[1]))).status_code == 200
        thread.join(PATIENCE_S)
    head, _, body = found[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST ")
    assert f"Content-Length: {len(body)}".encode() in head
    assert body


def test_what_a_server_says_before_it_has_taken_all_is_heard() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)
                connection.sendall(answer(b"{}", status="413 Content Too Large"))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):
                    """All of it, so that the reply is not thrown away with the connection."""

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        request = httpx.Request("POST", url, content=bytes(1 << 20), extensions=manner("long", PATIENCE_S))
        with a_driver() as driver:
            assert driver.run(one(request)).status_code == 413
        thread.join(PATIENCE_S)


def test_what_a_server_says_without_being_asked_is_nobodys_reply() -> None:
    twice = say(answer(GOOD) + answer(b'{"of": "nobody"}'))
    with server(twice, say(answer(GOOD))) as far, a_driver() as driver:
        assert driver.run(one(post(far.port))).json() == {"fine": True}
        with pytest.raises(NotSent, match="before its request") as found:
            driver.run(one(post(far.port)))
        assert not isinstance(found.value, Unreached), "somebody is there"
        assert driver.run(one(post(far.port))).json() == {"fine": True}
        assert (len(far.requests), far.connections) == (2, 2)


@pytest.mark.parametrize("coded", [False, True])
def test_a_reply_that_is_too_long_is_given_up_whatever_it_was_packed_in(coded: bool) -> None:
    body = bytes(50_000)
    reply = answer(gzip.compress(body), "Content-Encoding: gzip") if coded else answer(body)
    with server(say(reply)) as far, a_driver() as driver:
        request = get(far.port)
        request.extensions["bytes_max"] = len(body) - 1
        with pytest.raises(Lost, match="more than 49999 bytes"):
            driver.run(one(request))


def test_connections_are_kept() -> None:
    with server(say(answer(GOOD))) as far, a_driver() as driver:
        assert driver.run(several(*(get(far.port) for _ in range(5)))) == [200] * 5
        assert far.connections == 1


def test_pages_go_to_the_sink_in_order() -> None:
    pages = [Page((VendorTicket(str(number), str(number)),)) for number in range(3)]

    def flow() -> Flow[str]:
        for page in pages:
            assert (yield page) is None
        return "end"

    taken: list[Page] = []
    with a_driver() as driver:
        assert driver.run(flow(), sink=taken.append) == "end"
    assert taken == pages


def test_a_flow_is_closed_where_its_sink_fails() -> None:
    closed = threading.Event()

    def flow() -> Flow[str]:
        try:
            yield Page(())
        finally:
            closed.set()
        return "end"

    def full(_page: Page) -> None:
        raise OSError("no space")

    with a_driver() as driver, pytest.raises(OSError, match="no space"):
        driver.run(flow(), sink=full)
    assert closed.is_set()


# --- what was sent, and what was not ---------------------------------------------------------------------


@pytest.mark.parametrize("request_of", [get, post])
def test_a_refused_connection_sent_nothing(request_of: Callable[[int], httpx.Request]) -> None:
    with a_driver() as driver, pytest.raises(Unreached):
        driver.run(one(request_of(closed_port())))


def test_a_name_that_is_none_sent_nothing() -> None:
    with a_driver() as driver, pytest.raises(Unreached):
        driver.run(one(httpx.Request("POST", "http://no-such-host.invalid/", extensions=manner("x", 5))))


def test_a_broken_tls_greeting_sent_nothing() -> None:
    with server(say(answer(GOOD))) as far, a_driver() as driver:
        request = httpx.Request("POST", f"https://127.0.0.1:{far.port}/", extensions=manner("x", HASTE_S))
        with pytest.raises(Unreached):
            driver.run(one(request))


LOSSES: dict[str, Script] = {
    "hung up": hang_up,
    "silence": keep_silent,
    "half a head": stop_short,
    "no HTTP": say(b"hello\r\n\r\n"),
    "a short body": fall_short,
    "cut JSON": say(answer(GOOD[:-3])),
    "broken gzip": say(answer(b"\x1f\x8bnonsense", "Content-Encoding: gzip")),
    "cut gzip": say(answer(gzip.compress(GOOD * 50)[:-20], "Content-Encoding: gzip")),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_goes_wrong_after_the_first_byte_is_lost(loss: str) -> None:
    with server(LOSSES[loss]) as far, a_driver() as driver:
        with pytest.raises(Lost):
            driver.run(one(post(far.port, HASTE_S if loss == "silence" else PATIENCE_S)))
        until(lambda: far.requests)  # it may have been given up before it was read
    assert len(far.requests) == 1, "what may have been carried out is not sent again"


@pytest.mark.parametrize("loss", sorted(LOSSES.keys() - {"silence"}))
def test_what_has_no_effect_is_asked_again(loss: str) -> None:
    with server(LOSSES[loss], LOSSES[loss], say(answer(GOOD))) as far, a_driver() as driver:
        assert driver.run(several(get(far.port, tries=3))) == [200]
        assert len(far.requests) == 3


def test_it_is_asked_again_only_as_often_as_it_says() -> None:
    with server(hang_up) as far, a_driver() as driver:
        assert driver.run(several(get(far.port, tries=3))) == [Lost]
        assert len(far.requests) == 3


def test_a_reply_without_end_is_given_up() -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65_536)

    with server(drip) as far, a_driver() as driver, pytest.raises(Lost, match=f"more than {BODY_BYTES_MAX}"):
        driver.run(one(get(far.port)))


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"]
)
def test_a_head_or_body_that_drips_in_is_given_up(head: bytes) -> None:
    clock = Clock()

    def drip(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            clock.now_s += PATIENCE_S / 2
            connection.sendall(b"x")

    with server(drip) as far, a_driver(clock) as driver, pytest.raises(Lost, match="drips"):
        driver.run(one(get(far.port)))


def test_a_redirect_is_not_followed() -> None:
    with server(say(answer(GOOD))) as other:
        away = answer(b"", f"Location: http://127.0.0.1:{other.port}/", status="302 Found")
        with server(say(away)) as far, a_driver() as driver:
            assert driver.run(several(get(far.port))) == [302]
        assert other.requests == []


def test_no_proxy_or_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    with server(say(answer(GOOD))) as far, a_driver() as driver:
        assert driver.run(several(get(far.port))) == [200]


def test_threads_share_one_driver() -> None:
    found: list[list[object]] = []
    with server(say(answer(GOOD))) as far, a_driver() as driver:

        def run() -> None:
            found.append(driver.run(several(*(get(far.port, patience_s=60) for _ in range(5)))))

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert far.connections <= driver_module.CONNECTIONS_MAX
    assert found == [[200] * 5] * 4


# --- secrets -----------------------------------------------------------------------------------------

SECRETS = ("s3cr3t/+token", "s3cr3t%2F%2Btoken", "key-of-ours", "eyJ.a.b")


def test_no_log_holds_a_secret_whatever_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in (*logging.root.manager.loggerDict, "httpx", "httpcore.http11", "httpcore.connection"):
        caplog.set_level(logging.DEBUG, logger=name)
    echo = answer(GOOD, "X-Echo: usertoken=s3cr3t%2F%2Btoken")
    with server(say(echo), hang_up) as far, a_driver() as driver:
        request = get(far.port)
        request.headers["Authorization"] = "Bearer eyJ.a.b"
        driver.run(several(request, get(far.port), get(closed_port())))
    assert "hall: list: 200" in caplog.text
    assert not [secret for secret in SECRETS if secret in caplog.text]
    assert "127.0.0.1" not in caplog.text


def test_no_error_holds_a_secret() -> None:
    def flow(error: Exception) -> Flow[None]:
        yield Page(())
        raise error

    text = (
        "GET http://h/?usertoken=77-other&apikey=k2 with Authorization: Bearer eyJ.a.b, s3cr3t/+token, "
        's3cr3t%2F%2Btoken, {"password": "p w", "authToken":"x.y.z"}'
    )
    with a_driver() as driver:
        for error in (Outage(text), Misconfigured(text), Lost(text), ValueError(text)):
            with pytest.raises(type(error)) as caught:
                driver.run(flow(error))
            said = str(caught.value)
            assert "usertoken=***&apikey=***" in said
            assert not [secret for secret in (*SECRETS, "77-other", "k2", "x.y.z", "eyJ") if secret in said]


def test_a_short_secret_does_not_mask_parts_of_words() -> None:
    with a_driver() as driver:
        assert driver.masked("the alphabet begins with abc; the token expired") == (
            "the alphabet begins with abc; the token expired"
        )


def test_a_long_error_is_cut() -> None:
    with a_driver() as driver:
        assert len(driver.masked("x" * 10_000)) == driver_module.TEXT_LENGTH_MAX


def test_closing_twice_is_fine() -> None:
    with a_driver() as driver:
        driver.close()


def test_what_json_may_not_hold_is_read_all_the_same() -> None:
    odd = json.dumps({"a": float("nan"), "b": "\ud800"}).encode()
    with server(say(answer(odd))) as far, a_driver() as driver:
        assert driver.run(one(get(far.port))).extensions["json"]["b"] == "\ud800"
