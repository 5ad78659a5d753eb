"""What a sandbox does wrong on demand: for the next requests, or by chance from a seed. Knows no vendor.

Troubles of the connection and of HTTP are carried out here, by `troubled`. Those of what a reply says are
handed to the vendor's own sandbox.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from email.utils import formatdate
from random import Random

import msgspec

from firmware.bridge.sandbox.server import Ending, Reply

ANY = "any"  # every endpoint
MOVED_ROWS_MAX = 3  # when nothing else was ordered
TROUBLES_MAX = 1000  # orders that stand at one time; a test that needs more has lost its way

# What each kind does, and the option that it takes besides endpoint, requests and chance. First those that
# every vendor has, then those of Ingresse as well, and those of a vendor that is asked while somebody waits.
COMMON = {
    "slow": "carried out, then the reply waits for `seconds`",
    "lost": "carried out, then the connection is closed without a reply",
    "refused": "not carried out; closed, and connections are refused for `seconds`",
    "error": "500 with HTML; not carried out, with `after` true carried out",
    "limit": "429 with Retry-After: `seconds`, with `date` true as an HTTP date; not carried out",
    "cut": "carried out; the length is right and half of the body comes",
    "short": "carried out; half of the JSON comes, as if it were all",
    "moving": "the rows of the list move by `rows` places (0: some places, either way)",
    "drift": "other types and shapes than the page's; `shape` names one",
    "expired": "the token counts as expired",
}
KINDS = {
    **COMMON,
    "status": "no ticket of the update is carried out; each gets the status number `value`",
    "shuffled": "carried out; the entries of the reply come in another order",
    "missing": "carried out; one entry is missing in the reply",
    "said": "not carried out; 200 with an error in the body, of code `value`, that says `word`",
}
ASKED = {
    **COMMON,
    "silent": "not carried out; nothing comes for `seconds`, then the connection is closed",
    "page": "carried out; 200 with a page of HTML in the place of the reply",
}
del ASKED["moving"]
HTML = b"<html><head><title>500</title></head><body><h1>Internal Server Error</h1></body></html>"


class Trouble(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One order. With `chance` (0 to 1) it stands until it is taken back; else for the next `requests`."""

    kind: str
    endpoint: str = ANY
    requests: int = 1
    chance: float | None = None
    seconds: float = 1.0
    after: bool = False
    date: bool = False
    rows: int = 0
    shape: str = ""
    value: int = 9
    word: str = ""


class Troubles:
    """The orders that stand. The same seed and the same requests give the same troubles."""

    def __init__(
        self, seed: int, endpoints: Sequence[str], shapes: Sequence[str], kinds: Collection[str] = KINDS
    ) -> None:
        self._random = Random(f"troubles {seed}")  # noqa: S311 - reproducible on purpose, and no secret
        self._endpoints, self._shapes = (*endpoints, ANY), ("", *shapes)
        self._kinds = tuple(kinds)
        self._orders: list[tuple[Trouble, int]] = []
        self._lock = threading.Lock()

    def add(self, trouble: Trouble) -> None:
        """Let something go wrong. Raises `ValueError` for what is not there."""
        for name, value, known in (
            ("kind", trouble.kind, self._kinds),
            ("endpoint", trouble.endpoint, self._endpoints),
            ("shape", trouble.shape, self._shapes),
        ):
            if value not in known:
                raise ValueError(f'{name} "{value}" is not one of: {", ".join(filter(None, known))}')
        if trouble.requests < 1 or not 0 <= (trouble.chance or 0) <= 1 or trouble.seconds < 0:
            raise ValueError("requests are at least 1, a chance is between 0 and 1, seconds are not negative")
        with self._lock:
            if len(self._orders) >= TROUBLES_MAX:
                raise ValueError(f"{TROUBLES_MAX} troubles stand already: take them back first")
            self._orders.append((trouble, trouble.requests))

    def clear(self) -> None:
        """Behave from now on."""
        with self._lock:
            self._orders.clear()

    def standing(self) -> list[Trouble]:
        """The orders that are not used up."""
        with self._lock:
            return [trouble for trouble, _ in self._orders]

    def take(self, endpoint: str) -> dict[str, Trouble]:
        """What goes wrong with this request, by kind; of two orders of one kind the older comes first."""
        due: dict[str, Trouble] = {}
        with self._lock:
            kept = []
            for trouble, left in self._orders:
                concerned = trouble.endpoint in {endpoint, ANY} and trouble.kind not in due
                if concerned and (trouble.chance is None or self._random.random() < trouble.chance):
                    due[trouble.kind] = trouble
                    spent = trouble.chance is None
                else:
                    spent = False
                if left > spent:
                    kept.append((trouble, left - spent))
            self._orders = kept
        return due

    def shape(self, due: Mapping[str, Trouble]) -> str:
        """The shape that a reply drifts to; "" where it does not."""
        drift = due.get("drift")
        if drift is None:
            return ""
        return drift.shape or self._shapes[1 + self.below(len(self._shapes) - 1)]

    def moved(self, due: Mapping[str, Trouble]) -> int:
        """By how many places the rows of a list move now, either way."""
        moving = due.get("moving")
        if moving is None:
            return 0
        return moving.rows or (1 + self.below(MOVED_ROWS_MAX)) * (1 - 2 * self.below(2))

    def below(self, limit: int) -> int:
        """A number from the seed, from 0 on."""
        with self._lock:
            return self._random.randrange(limit)


def troubled(due: dict[str, Trouble], carry_out: Callable[[], Reply], now_ms: int) -> Reply:
    """Answer a request with what goes wrong on the way there and back."""
    if refused := due.get("refused"):
        return Reply(0, b"", ending=Ending.REFUSED, refused_s=refused.seconds)
    if limit := due.get("limit"):
        seconds = int(limit.seconds)
        when = formatdate(now_ms / 1000 + seconds, usegmt=True) if limit.date else str(seconds)
        return Reply(429, b'{"message":"Too many requests"}', headers=(("Retry-After", when),))
    if silent := due.get("silent"):
        return Reply(0, b"", ending=Ending.NONE, delay_s=silent.seconds)
    error = due.get("error")
    if error and not error.after:
        return Reply(500, HTML, "text/html")
    reply = carry_out()
    if "page" in due:
        reply = Reply(200, HTML, "text/html")
    if error:
        reply = Reply(500, HTML, "text/html")
    if slow := due.get("slow"):
        reply = reply._replace(delay_s=slow.seconds)
    if "lost" in due:
        return reply._replace(ending=Ending.NONE)
    if "cut" in due:
        return reply._replace(ending=Ending.CUT)
    if "short" in due:
        return reply._replace(body=reply.body[: len(reply.body) // 2])
    return reply
