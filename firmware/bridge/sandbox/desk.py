"""Where a sandbox's requests are answered, whichever vendor it plays, and what is kept of them.

A vendor's own part is which endpoint a request is for, what that does, and in what words it says no: every
check raises `Says`. With `violation` the request was against the vendor's documents, and is also written down
for whoever runs the sandbox; without it (an expired token, an unknown code) it is ordinary life.
"""

import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Set
from contextlib import AbstractContextManager
from typing import NamedTuple

import msgspec

from firmware.bridge.sandbox.server import Reply, Request
from firmware.bridge.sandbox.trouble import Trouble, Troubles, troubled

UNKNOWN = "unknown"  # where a path is none of the vendor's endpoints
VIOLATIONS_MAX = 1000  # kept; all are counted
SEEN_MAX = 10_000  # requests kept
CODE_CHARS_MAX = 255  # far above the longest code seen
MILLISECONDS_MIN = 100_000_000_000  # early 1973: whatever is below was meant in seconds
MILLISECONDS_MAX = 100_000_000_000_000  # year 5138: whatever is above was meant in micro- or nanoseconds
SEGMENT = re.compile(r"(?:[\w.~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+", re.ASCII)  # of a path, RFC 3986

Due = Mapping[str, Trouble]
Check = Callable[[str, str], object]  # of a parameter: its text and its name


class Violation(NamedTuple):
    """A request against the documents. `request` has its secrets masked."""

    text: str
    request: str


class Seen(NamedTuple):
    """A request that came, with its secrets masked, and what went wrong on purpose."""

    endpoint: str
    request: str
    status: int
    troubles: tuple[str, ...]


class Says(Exception):
    """The vendor's error. Status 0 is the one that this vendor has where no other was named."""

    def __init__(self, message: str, status: int = 0, code: int = 0, *, violation: bool = False) -> None:
        super().__init__(message)
        self.message, self.status, self.code, self.violation = message, status, code, violation


def wrong(message: str, status: int = 0) -> Says:
    """A request against the documents."""
    return Says(message, status, violation=True)


class Vendor(NamedTuple):
    """What a vendor's API is to its desk."""

    find: Callable[[Request], tuple[str, Callable[[Due], object]]]  # its endpoint, and what it does
    check: Callable[[Request, Due], object]  # before anything else
    refusal: Callable[[str, Says], Reply]  # at an endpoint
    methods: Mapping[str, str]  # by endpoint
    secret: Set[str] = frozenset()  # names of parameters
    shown: Callable[[str], str] = str  # a path, without what must not be seen


class Desk:
    """Answers requests. `answer` may run on several threads; the lock puts them in a row."""

    def __init__(
        self,
        vendor: Vendor,
        lock: AbstractContextManager[object],
        clock: Callable[[], int],
        troubles: Troubles,
        log: Callable[[str], None] | None,
    ) -> None:
        self.vendor, self.lock, self.clock, self.troubles = vendor, lock, clock, troubles
        self.violations: list[Violation] = []
        self.violations_count = 0
        self.seen: deque[Seen] = deque(maxlen=SEEN_MAX)
        self._log = log

    def answer(self, request: Request) -> Reply:
        """The reply, troubles included."""
        began_s = time.perf_counter()
        endpoint, act = self.vendor.find(request)
        due = self.troubles.take(endpoint)
        line = self.line_of(request)
        said: list[str] = []

        def carry_out() -> Reply:
            try:
                with self.lock:
                    self.vendor.check(request, due)
                    method = self.vendor.methods.get(endpoint, request.method)
                    if request.method != method:
                        raise wrong(f"this path takes {method}", 405)
                    body = act(due)
                return body if isinstance(body, Reply) else json_reply(200, body)
            except Says as error:
                said.append(error.message)
                if error.violation:
                    self.note_violation(error.message, request)
                return self.vendor.refusal(endpoint, error)

        reply = troubled(due, carry_out, self.clock())
        self.seen.append(Seen(endpoint, line, reply.status, tuple(due)))
        if self._log is not None:
            took_ms = (time.perf_counter() - began_s) * 1000
            parts = [f"{reply.status or '---'} {line} {took_ms:.1f} ms", *said]
            self._log("; ".join([*parts, f"trouble: {', '.join(due)}"] if due else parts))
        return reply

    def note_violation(self, text: str, request: Request) -> None:
        """Write down that a request was against the documents."""
        with self.lock:
            self.violations_count += 1
            if len(self.violations) < VIOLATIONS_MAX:
                self.violations.append(Violation(text, self.line_of(request)))

    def line_of(self, request: Request) -> str:
        """Method, path and query of a request, without what must not be seen."""
        shown = "&".join(
            f"{name}={'***' if name in self.vendor.secret else value}" for name, value in request.query
        )
        return f"{request.method} {self.vendor.shown(request.path)}{'?' + shown if shown else ''}"


def json_reply(status: int, body: object) -> Reply:
    """A reply of JSON."""
    return Reply(status, msgspec.json.encode(body))


def some(text: str, name: str) -> str:
    """Any text but none."""
    if not text:
        raise wrong(f"{name} is empty")
    return text


def whole(text: str, name: str, digits_max: int) -> int:
    """A whole number, not negative."""
    if not (text.isascii() and text.isdigit() and len(text) <= digits_max):
        raise wrong(f'{name} "{text}" is not a whole number')
    return int(text)


def in_milliseconds(number: int, name: str) -> int:
    """A time in Unix milliseconds."""
    if number < MILLISECONDS_MIN:
        raise wrong(f"{name} {number} looks like seconds: it is in Unix milliseconds (13 digits)")
    if number > MILLISECONDS_MAX:
        raise wrong(f"{name} {number} is too far ahead: it is in Unix milliseconds (13 digits)")
    return number


def read_query(request: Request, known: Mapping[str, Check], *, strict: bool = True) -> dict[str, object]:
    """The parameters, checked. Not strict: unknown ones are passed over."""
    found: dict[str, object] = {}
    for name, text in request.query:
        if name in found:
            raise wrong(f"{name} was sent twice")
        if name in known:
            found[name] = known[name](text, name)
        elif strict:
            raise wrong(f'"{name}" is no parameter of {request.method} {request.path}')
    return found


def content_type_of(request: Request) -> str:
    """What kind of body it says it has, without what stands behind it."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def read_json(request: Request) -> object:
    """A body that has to be JSON."""
    if content_type_of(request) != "application/json":
        raise wrong("this call has Content-Type application/json", 400)
    try:
        return msgspec.json.decode(request.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise wrong(f"the body is no JSON: {error}", 400) from None
