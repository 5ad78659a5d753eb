"""Sends what a vendor's generators ask for, and hands them the replies: the only socket to vendors.

It times, limits rates, obeys `Retry-After`, bounds and completes replies, and keeps secrets out of logs and
errors. What a reply means is the vendor's business, and so is whether to send again what may have been
carried out. Called by the bridge's threads, one flow each; one driver for each account.
"""

import logging
import math
import re
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from urllib.parse import quote, quote_plus

import httpx

from firmware.bridge.connections import ERRORS, NO_WAY, Connections
from firmware.bridge.vendor import (
    Flow,
    Lost,
    Note,
    NotSent,
    NoTurn,
    Outage,
    Page,
    Result,
    Unreached,
    Vendor,
    read_json,
)

CONNECTIONS_MAX = 8  # an account has two threads, and a test or probe may come on top
KEEP_ALIVE_S = 30.0  # below the 60 s after which most servers hang up
CONNECT_S = 5.0  # a connection that takes longer is no connection; a request's own time-out may be shorter
BODY_BYTES_MAX = 16 << 20  # a page of 1,500 tickets has some 1.5 MB
BURST_S = 1.0  # of the rate that may be sent at once after a silence
REST_S = 1.0  # after a 429 or 503 that does not say how long
REST_S_MAX = 3600.0  # whatever a vendor asks: an hour later it is worth another question
NAP_S = 0.5  # a wait is cut into such pieces, so that `stop` is seen
WHOLE_REPLY = 2  # times the time-out of one wait: more than this for all of a reply is a dripping server
SECRET_LENGTH_MIN = 4  # a shorter secret would mask parts of words
TEXT_LENGTH_MAX = 600  # of an error: a few lines in a log
BUSY = frozenset({429, 503})
TRY_AGAIN = frozenset({429, 500, 502, 503, 504})  # for requests without effect

# These write whole URLs and headers. They are silenced for good: the driver's own line takes their place.
TALKATIVE = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
)

SECRET_PARAMETER = re.compile(
    r"(?i)\b(usertoken|apikey|publickey|privatekey|password|email|token|authtoken|jwt)(\"?\s*[=:]\s*\"?)[^\s&\"',}]+"
)
AUTHORIZATION = re.compile(
    r"(?i)\b(authorization\"?\s*[:=]\s*\"?)(?:(?:bearer|basic)\s+)?[^\s\"',}]+|\bbearer\s+\S+"
)

logger = logging.getLogger(__name__)


def silence(_record: logging.LogRecord) -> bool:
    """No record passes."""
    return False


def no_pages(_page: Page) -> None:
    """For flows that list nothing."""


def no_notes(_note: Note) -> None:
    """For flows that nobody takes up again."""


def never() -> bool:
    """For flows that run to their end."""
    return False


class Course:
    """How a flow gets on, for whoever watches it meanwhile."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.since_s = clock()
        """By that clock: since when it is for the vendor to go on; endless while a request stands in line."""
        self.heard = False
        """Whether the vendor has replied to any of its requests."""

    def stand(self) -> None:
        """A request stands in line: for our own rate, or for a rest that the vendor asked for."""
        self.since_s = math.inf

    def go(self) -> None:
        """It has its turn."""
        self.since_s = min(self.since_s, self._clock())


for _name in TALKATIVE:
    logging.getLogger(_name).addFilter(silence)


class Driver:
    """Runs flows of one account. A context manager; thread-safe, one flow at a time for each thread.

    `clock` counts seconds and never goes back; `wait` sleeps for some; `utc` tells the time for a
    `Retry-After` that is a date and comes without a `Date` beside it. Such a rest ends after `rest_s_max`.
    """

    def __init__(
        self,
        account: str,
        vendor: Vendor,
        requests_per_s: float,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
        utc: Callable[[], float] = time.time,
        connections_max: int = CONNECTIONS_MAX,
        rest_s_max: float = REST_S_MAX,
    ) -> None:
        if not requests_per_s > 0:
            raise ValueError(f"{account}: {requests_per_s} requests a second: name more than none")
        self._account = account
        self._vendor = vendor
        self._rate = requests_per_s
        self._clock = clock
        self._wait = wait
        self._utc = utc
        self._rest_s_max = rest_s_max
        self._lock = threading.Lock()
        self._next_s = -math.inf  # when the bucket has room for one more, counted without the burst
        self._rest_until_s = -math.inf  # the vendor asked to be left alone
        # Not an `httpx.Client`: no redirect, which would carry the token to wherever it points, and nothing
        # from outside the settings. Its own work would take longer than all else that is done to ask.
        self._connections = Connections(_trusted(), connections_max, KEEP_ALIVE_S, clock)

    def run(
        self,
        flow: Flow[Result],
        sink: Callable[[Page], None] = no_pages,
        stop: Callable[[], bool] = never,
        write: Callable[[Note], None] = no_notes,
        course: Course | None = None,
    ) -> Result:
        """Run to the end; pages go to `sink`, notes to `write`, and how it gets on stands in `course`.

        Once `stop` says so, every further request is `NotSent`. Raises what the flow raises, `Outage` and
        `Misconfigured`, without secrets in its text; an `Outage` says how long the vendor asked to be left
        alone.
        """
        course = course or Course(self._clock)
        answer: httpx.Response | Outage | None = None
        try:
            while True:
                asked = flow.throw(answer) if isinstance(answer, Outage) else flow.send(answer)
                answer = None
                if isinstance(asked, Page):
                    sink(asked)
                elif isinstance(asked, Note):
                    write(asked)
                else:
                    answer = self._answer(asked, stop, course)
        except StopIteration as end:
            result: Result = end.value
            return result
        except Exception as error:
            error.args = tuple(self.masked(part) if isinstance(part, str) else part for part in error.args)
            if isinstance(error, Outage):
                error.retry_after_s = max(error.retry_after_s, self._resting_s())
            raise
        finally:
            flow.close()

    def close(self) -> None:
        """Close all connections; twice is fine."""
        self._connections.close()

    def __enter__(self) -> "Driver":
        """The driver itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def masked(self, text: str) -> str:
        """The text with `***` for every secret, by its value and by the name in front of it."""
        values = {value for value in self._vendor.secrets() if len(value) >= SECRET_LENGTH_MIN}
        values |= {
            form(value)
            for value in tuple(values)
            for form in (lambda v: quote(v, safe=""), quote, quote_plus)
        }
        for value in sorted(values, key=len, reverse=True):
            text = text.replace(value, "***")
        text = AUTHORIZATION.sub(lambda found: f"{found[1] or ''}***", text)
        return SECRET_PARAMETER.sub(r"\1\2***", text)[:TEXT_LENGTH_MAX]

    # --- one request ---------------------------------------------------------------------------------

    def _answer(
        self, request: httpx.Request, stop: Callable[[], bool], course: Course
    ) -> httpx.Response | Outage:
        """The reply, or why there is none. What has no effect is tried again as often as it says."""
        for left in range(int(request.extensions.get("tries", 1)) - 1, -1, -1):
            refusal = self._turn(request, stop, course)
            if refusal is not None:
                return refusal
            answer = self._once(request)
            course.heard |= isinstance(answer, httpx.Response)
            failed = isinstance(answer, Outage) or answer.status_code in TRY_AGAIN
            if not failed or not left:
                return answer
        raise AssertionError("a request is tried at least once")

    def _turn(self, request: httpx.Request, stop: Callable[[], bool], course: Course) -> NoTurn | None:
        """Wait for this request's turn; or say that it has none."""
        patience_s = float(request.extensions.get("patience_s", 0.0))
        until_s = self._clock() + patience_s
        why = "the bridge is stopping, or nobody waits for it any more"
        while not stop():
            with self._lock:
                now_s = self._clock()
                full_s = self._next_s - BURST_S  # the burst lets some go before their time
                ahead_s = max(self._rest_until_s, full_s) - now_s
                if ahead_s <= 0:
                    self._next_s = max(self._next_s, now_s) + 1 / self._rate
                    course.go()
                    return None
                resting_s = max(0.0, self._rest_until_s - now_s)
            why = "the vendor asked to be left alone" if resting_s else "too many requests are waiting"
            if now_s + ahead_s > until_s:
                return NoTurn(f"{self._named(request)}: not sent: {why}", resting_s)
            course.stand()
            self._wait(min(ahead_s, NAP_S))
        return NoTurn(f"{self._named(request)}: not sent: {why}")

    def _once(self, request: httpx.Request) -> httpx.Response | Outage:
        """Send once. Whether bytes left this machine decides between `NotSent` and `Lost`."""
        started_s, unsent = self._clock(), NotSent
        try:
            response = self._read(request)
            word = str(response.status_code)
        except (*ERRORS, httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError, OSError) as error:
            word = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            response = None
            unsent = Unreached if isinstance(error, NO_WAY) else NotSent
        text = ""
        if response is None or logger.isEnabledFor(logging.DEBUG):  # to mask takes as long as to send
            took_ms = round((self._clock() - started_s) * 1000)
            text = self.masked(f"{self._named(request)}: {word} ({took_ms} ms)")
            logger.debug("%s", text)
        if response is not None:
            self._heed(response)
            return response
        return Lost(text) if self._connections.left else unsent(text)

    def _read(self, request: httpx.Request) -> httpx.Response:
        """The whole reply. Raises `ValueError` where it is too long or cut."""
        timeout = _timeout(request)
        most = int(request.extensions.get("bytes_max", BODY_BYTES_MAX))
        whole = self._connections.send(request, timeout, WHOLE_REPLY * timeout["read"], most)
        if whole.is_success and "json" in whole.headers.get("content-type", "").lower():
            try:
                whole.extensions["json"] = read_json(whole)
            except (ValueError, RecursionError):
                raise ValueError(f"a cut reply: {len(whole.content)} bytes that are no whole JSON") from None
        return whole

    # --- when ----------------------------------------------------------------------------------------

    def _heed(self, response: httpx.Response) -> None:
        """Leave a vendor alone that is too busy, for as long as it says."""
        if response.status_code in BUSY:
            rest_s = min(_retry_after_s(response, self._utc), self._rest_s_max)
            with self._lock:
                self._rest_until_s = max(self._rest_until_s, self._clock() + rest_s)

    def _resting_s(self) -> float:
        """For how long the vendor wants to be left alone."""
        with self._lock:
            return max(0.0, self._rest_until_s - self._clock())

    def _named(self, request: httpx.Request) -> str:
        """What the request is called in logs and errors: never its URL, which may hold secrets."""
        return f"{self._account}: {request.extensions.get('name') or f'{request.method} {request.url.host}'}"


@cache
def _trusted() -> ssl.SSLContext:
    """Whose certificates are taken, checked as always. Read once: that takes longer than a request."""
    return httpx.create_ssl_context()


def _timeout(request: httpx.Request) -> dict[str, float]:
    """The time-outs of a request; the one for connecting is bounded here."""
    named = request.extensions.get("timeout", {})
    read_s = float(named.get("read") or CONNECT_S)
    return {
        "connect": min(float(named.get("connect") or CONNECT_S), CONNECT_S),
        "read": read_s,
        "write": float(named.get("write") or read_s),
        "pool": min(read_s, CONNECT_S),
    }


def _retry_after_s(response: httpx.Response, utc: Callable[[], float]) -> float:
    """Seconds that a `Retry-After` asks for: a number, or a date seen from the vendor's own clock."""
    text = response.headers.get("retry-after", "").strip()
    seconds = REST_S
    if re.fullmatch(r"\d{1,9}(\.\d*)?", text):
        seconds = float(text)
    elif until := _date_s(text):
        seconds = until - (_date_s(response.headers.get("date", "")) or utc())
    return max(seconds, 0.0)


def _date_s(text: str) -> float | None:
    """An HTTP date as seconds of UTC; `None` for anything else."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
