"""What a sandbox keeps of the requests that came to it, whichever vendor it plays."""

from collections.abc import Set
from typing import NamedTuple

from firmware.bridge.sandbox.server import Request

VIOLATIONS_MAX = 1000  # kept; all are counted
SEEN_MAX = 10_000  # requests kept


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


def line_of(request: Request, secret: Set[str] = frozenset()) -> str:
    """Method, path and query of a request, without what must not be seen."""
    shown = "&".join(f"{name}={'***' if name in secret else value}" for name, value in request.query)
    return f"{request.method} {request.path}{'?' + shown if shown else ''}"
