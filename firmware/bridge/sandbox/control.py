"""The control port of a sandbox that runs as a command: what tests do in Python, done with curl.

It listens on loopback only, wherever the vendor's side listens, and takes no request that a web page could
send: a POST needs Content-Type application/json, and the Host must be this machine.
"""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Protocol, TypeVar

import msgspec

from firmware.bridge.sandbox.life import Life
from firmware.bridge.sandbox.server import LOOPBACK, Reply, Request, Server
from firmware.bridge.sandbox.trouble import Trouble

SHOWN_MAX = 100  # entries of a history or a list of requests, the last ones
CHANGES_MAX = 10_000  # in one call: a few hundred milliseconds in which the vendor answers nobody
REFUSED_S_MAX = 86_400.0  # a day without the vendor is the longest that anybody tries

# What it can do at every vendor's; the vendor's own file has the rest.
COMMANDS: Mapping[str, str] = {
    "GET state": "address, events, sums, troubles that stand",
    "GET ticket": "a ticket and its history; ?ticket=ID or a code, percent-encoded",
    "GET history": f"the last {SHOWN_MAX} things that happened",
    "GET requests": f"the last {SHOWN_MAX} requests, secrets masked",
    "GET violations": "requests that were against the vendor's documents",
    "POST sell": 'sell a ticket; {"ticket": ID or code}, without it any',
    "POST refund": "likewise: give the money back",
    "POST change-code": "likewise: another code for the same ticket",
    "POST check-in": "likewise: enters at a door of another company",
    "POST check-out": "likewise: leaves there",
    "POST live": 'let things happen; {"changes": 10}',
    "POST misbehave": 'go wrong; {"kind": "slow", "endpoint": "update", "requests": 3}, see below',
    "POST behave": "nothing goes wrong from now on",
    "POST refuse": 'nobody can connect; {"seconds": 10}',
}

Body = TypeVar("Body")


class Which(msgspec.Struct, forbid_unknown_fields=True):
    """A ticket, by id or code; "" is any."""

    ticket: str = ""


class Live(msgspec.Struct, forbid_unknown_fields=True):
    """How much happens."""

    changes: int = 1


class Refuse(msgspec.Struct, forbid_unknown_fields=True):
    """How long nobody can connect."""

    seconds: float = 10.0


Extra = Callable[[Request], object]


class Controlled(Protocol):
    """A vendor's sandbox, as far as its control port needs it."""

    life: Life

    def controls(self) -> Mapping[str, Extra]:
        """What can be done at this vendor only."""

    def described(self) -> Mapping[str, object]:
        """What else a person should know of its state."""

    def shown(self, which: str) -> Mapping[str, object]:
        """One ticket (id or code) with its history. Raises `KeyError`."""


class Control:
    """Carries out control requests for one sandbox."""

    def __init__(self, sandbox: Controlled) -> None:
        self.sandbox = sandbox
        self.life = life = sandbox.life
        common: Mapping[str, Extra] = {
            "GET state": lambda _: self.state(),
            "GET ticket": lambda request: sandbox.shown(msgspec.convert(dict(request.query), Which).ticket),
            "GET history": lambda _: life.history()[-SHOWN_MAX:],
            "GET requests": lambda _: list(life.requests())[-SHOWN_MAX:],
            "GET violations": lambda _: life.violations(),
            "POST sell": lambda request: life.sell(body(request, Which).ticket),
            "POST refund": lambda request: life.refund(body(request, Which).ticket),
            "POST change-code": lambda request: life.change_code(body(request, Which).ticket),
            "POST check-in": lambda request: life.check_in(body(request, Which).ticket),
            "POST check-out": lambda request: life.check_out(body(request, Which).ticket),
            "POST live": self.live,
            "POST misbehave": lambda request: life.troubles.add(body(request, Trouble)),
            "POST behave": lambda _: life.behave(),
            "POST refuse": self.refuse,
        }
        assert common.keys() == COMMANDS.keys()
        self._acts = {**common, **sandbox.controls()}

    def answer(self, request: Request) -> Reply:
        """The reply: JSON, or one line that says what was wrong."""
        if request.headers.get("host", "").rpartition(":")[0] not in {LOOPBACK, "localhost"}:
            return complaint(403, "this is reached as 127.0.0.1 or localhost")
        name = request.path.removeprefix("/sandbox/") if request.path.startswith("/sandbox/") else ""
        act = self._acts.get(f"{request.method} {name}")
        if act is None:
            return complaint(404, f"no such command; there are {', '.join(self._acts)}")
        json = request.headers.get("content-type", "").split(";")[0].strip().lower() == "application/json"
        if request.method == "POST" and not json:
            return complaint(415, "send Content-Type: application/json")
        try:
            return Reply(200, msgspec.json.encode(act(request)))
        except KeyError as error:
            return complaint(404, str(error.args[0]))
        except (ValueError, msgspec.MsgspecError) as error:
            return complaint(400, str(error))

    def state(self) -> object:
        """How things stand."""
        life = self.life
        return {
            "url": life.server.url,
            "tickets": life.tickets.count,
            **self.sandbox.described(),
            "books": life.books()._asdict(),
            "violations": life.desk.violations_count,
            "troubles": life.troubles.standing(),
        }

    def live(self, request: Request) -> object:
        """Let things happen."""
        changes = body(request, Live).changes
        if not 1 <= changes <= CHANGES_MAX:
            raise ValueError(f"changes: from 1 to {CHANGES_MAX}")
        return list(islice(reversed(self.life.live(changes)), SHOWN_MAX))

    def refuse(self, request: Request) -> None:
        """Let nobody in for a while."""
        seconds = body(request, Refuse).seconds
        if not 0 < seconds <= REFUSED_S_MAX:
            raise ValueError(f"seconds: above 0, at most {REFUSED_S_MAX:.0f}")
        self.life.server.refuse(seconds)


def body(request: Request, kind: type[Body]) -> Body:
    """The body of a command; none is as good as an empty one."""
    return msgspec.json.decode(request.body or b"{}", type=kind)


def complaint(status: int, text: str) -> Reply:
    """What was wrong, for people."""
    return Reply(status, f"{text}\n".encode(), "text/plain; charset=utf-8")


def control_of(sandbox: Controlled, port: int = 0) -> Server:
    """The control port, on loopback. Raises `OSError` where the port is taken."""
    return Server(Control(sandbox).answer, sandbox.life.server.clock, LOOPBACK, port)
