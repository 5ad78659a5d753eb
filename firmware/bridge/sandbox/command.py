"""`gatepost sandbox VENDOR`: a vendor on this machine, to try everything without an account."""

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from firmware.bridge.sandbox import (
    bam,
    bam_api,
    ingresse,
    ingresse_api,
    ingresse_shapes,
    presence,
    presence_api,
    vivenu,
    vivenu_api,
)
from firmware.bridge.sandbox.control import COMMANDS, control_of
from firmware.bridge.sandbox.ingresse_tickets import TICKETS_MAX
from firmware.bridge.sandbox.server import LOOPBACK, Server
from firmware.bridge.sandbox.trouble import KINDS, Trouble

Sandbox = ingresse.Sandbox | vivenu.Sandbox | presence.Sandbox | bam.Sandbox
Started = TypeVar("Started", Server, ingresse.Sandbox | vivenu.Sandbox | presence.Sandbox | bam.Sandbox)

PORT = 8480
TICKETS = 1000
SEED_MAX = 1_000_000_000
CHANGES_PER_MINUTE_MAX = 6000
CODES_SHOWN = 3  # of each kind

# By chance, at each request. `some` is a bad evening, `much` is worse than any vendor.
SOME = (
    Trouble("slow", chance=0.02, seconds=0.5),
    Trouble("error", chance=0.01),
    Trouble("limit", chance=0.01),
    Trouble("drift", chance=0.05),
)
MUCH = (
    Trouble("slow", chance=0.05, seconds=3.0),
    Trouble("error", chance=0.05, after=True),
    Trouble("limit", chance=0.05, seconds=2.0, date=True),
    Trouble("refused", chance=0.002, seconds=5.0),
    Trouble("lost", chance=0.05),
    Trouble("cut", chance=0.03),
    Trouble("short", chance=0.03),
    Trouble("drift", chance=0.3),
    Trouble("expired", chance=0.01),
)


class Play(NamedTuple):
    """What a vendor's sandbox can do: its own commands and troubles, and what it does wrong by itself."""

    commands: Mapping[str, str]
    kinds: Mapping[str, str]
    endpoints: Iterable[str]
    shapes: Iterable[str]
    levels: Mapping[str, tuple[Trouble, ...]]


PLAYS: Mapping[str, Play] = MappingProxyType(
    {
        "ingresse": Play(
            ingresse.COMMANDS,
            KINDS,
            ingresse_api.ENDPOINTS,
            ingresse_shapes.SHAPES,
            {
                "none": (),
                "some": (*SOME, Trouble("lost", "update", chance=0.01)),
                "much": (
                    *MUCH,
                    Trouble("moving", "guestlist", chance=0.05),
                    Trouble("status", "update", chance=0.02),
                    Trouble("shuffled", "update", chance=0.2),
                    Trouble("missing", "update", chance=0.03),
                ),
            },
        ),
        "vivenu": Play(
            vivenu.COMMANDS,
            vivenu.KINDS,
            vivenu_api.ENDPOINTS,
            vivenu_api.SHAPES,
            {
                "none": (),
                "some": (*SOME, Trouble("lost", "upload", chance=0.01)),
                "much": (
                    *MUCH,
                    Trouble("moving", "tickets", chance=0.05),
                    Trouble("shuffled", "tickets", chance=0.2),
                    Trouble("rejected", "upload", chance=0.02),
                ),
            },
        ),
        "presence": Play(
            presence.COMMANDS,
            presence.KINDS,
            presence_api.ENDPOINTS,
            presence_api.SHAPES,
            {
                "none": (),
                "some": (
                    *SOME,
                    Trouble("lost", "enter", chance=0.01),
                    Trouble("slow", chance=0.01, seconds=3.5),
                ),
                "much": (
                    *MUCH,
                    Trouble("slow", chance=0.05, seconds=3.5),
                    Trouble("silent", chance=0.02, seconds=10.0),
                    Trouble("page", chance=0.02),
                    Trouble("status", "enter", chance=0.02, word="GENERAL_ERROR"),
                ),
            },
        ),
        "bam": Play(
            bam.COMMANDS,
            bam.KINDS,
            bam_api.ENDPOINTS,
            bam_api.SHAPES,
            {
                "none": (),
                "some": (
                    *SOME,
                    Trouble("lost", "commit", chance=0.01),
                    Trouble("slow", "commit", chance=0.02, seconds=15.0),
                ),
                "much": (
                    *MUCH,
                    Trouble("shuffled", "qr_codes", chance=0.2),
                    Trouble("lost", "commit", chance=0.05),
                    Trouble("status", "commit", chance=0.02),
                ),
            },
        ),
    }
)
SANDBOXES: Mapping[str, type[Sandbox]] = MappingProxyType(
    {"ingresse": ingresse.Sandbox, "vivenu": vivenu.Sandbox, "presence": presence.Sandbox, "bam": bam.Sandbox}
)
NAMES = MappingProxyType(
    {"ingresse": "Ingresse", "vivenu": "vivenu", "presence": "Presence", "bam": "B.A.M."}
)
LEVELS = ("none", "some", "much")


class PortUnusable(Exception):
    """The sandbox cannot listen there; the text names the port and the mend."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the sandbox can be told, and how it is controlled while it runs."""
    parser.add_argument("vendor", choices=tuple(PLAYS), help="whose API it speaks")
    parser.add_argument(
        "--port",
        type=between(0, 65_535 - bam.TENANT_PORT_AFTER),
        default=PORT,
        metavar="N",
        help=f"where it answers, on {LOOPBACK} ({PORT}); the control port is the next one; 0 takes any two",
    )
    parser.add_argument(
        "--tickets",
        type=between(1, TICKETS_MAX),
        default=TICKETS,
        metavar="N",
        help=f"how many ({TICKETS:,})",
    )
    parser.add_argument(
        "--seed",
        type=between(0, SEED_MAX),
        default=1,
        metavar="N",
        help="the same seed makes the same tickets (1)",
    )
    parser.add_argument(
        "--trouble", choices=LEVELS, default="none", help="how often it goes wrong by itself (none)"
    )
    parser.add_argument(
        "--live",
        type=between(0, CHANGES_PER_MINUTE_MAX),
        default=0,
        metavar="N",
        help="sales, refunds, other codes and foreign check-ins a minute that happen by themselves (0)",
    )
    at = f"http://{LOOPBACK}:{PORT + 1}/sandbox"
    parser.epilog = (
        f"While it runs it is controlled over its control port, which only this machine reaches:\n"
        f"  curl {at}/state\n"
        f"  curl -H 'Content-Type: application/json' --data '{{}}' {at}/sell\n\n"
        f"Commands, each under /sandbox/:\n{_lines(COMMANDS, 16)}\n\n"
        'Kinds of misbehaviour, each with "endpoint" (one below, or any)\n'
        'and "requests" (how many, 1) or "chance" (0 to 1, until it behaves again) are below.\n\n'
        + "\n\n".join(
            f"Of {name}:\n{_lines(play.commands, 16)}\n{_lines(play.kinds, 9)}\n"
            f"Endpoints: {', '.join(play.endpoints)}.\nShapes of drift: {', '.join(play.shapes)}."
            for name, play in PLAYS.items()
        )
    )


def _lines(words: Mapping[str, str], width: int) -> str:
    return "\n".join(f"  {name:<{width}} {text}" for name, text in words.items())


def run(arguments: argparse.Namespace) -> int:
    """Answer until Ctrl-C or SIGTERM. Raises `PortUnusable`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with started(arguments) as (sandbox, control):
        for trouble in PLAYS[arguments.vendor].levels[arguments.trouble]:
            sandbox.troubles.add(trouble)
        for line in introduction(sandbox, control):
            say(line)
        threading.Event().wait()
    return 0


@contextmanager
def started(arguments: argparse.Namespace) -> Iterator[tuple[Sandbox, Server]]:
    """The sandbox and its control port. Raises `PortUnusable`."""
    port: int = arguments.port
    with (
        listening(port, lambda: played(arguments)) as sandbox,
        listening(port + 1 if port else 0, lambda: control_of(sandbox, port + 1 if port else 0)) as control,
    ):
        yield sandbox, control


def played(arguments: argparse.Namespace) -> Sandbox:
    """The sandbox of the vendor that was named."""
    kind = SANDBOXES[arguments.vendor]
    made: Sandbox = kind(
        arguments.port,
        tickets=arguments.tickets,
        seed=arguments.seed,
        changes_per_minute=arguments.live,
        log=say,
    )
    return made


def listening(port: int, start: Callable[[], Started]) -> Started:
    """Start one; say what is wrong with its port."""
    try:
        return start()
    except OSError as error:
        raise PortUnusable(f"port {port}: {error.strerror}: choose another with --port") from error


def introduction(sandbox: Sandbox, control: Server) -> Iterator[str]:
    """What a person needs to use it."""
    word = next(word for word, kind in SANDBOXES.items() if isinstance(sandbox, kind))
    yield f"{NAMES[word]} sandbox at {sandbox.url}, {sandbox.tickets.count:,} tickets; Ctrl-C ends it"
    yield f"control    {control.url}/sandbox/state (gatepost sandbox {word} --help)"
    match sandbox:
        case ingresse.Sandbox():
            yield from _ingresse(sandbox)
        case vivenu.Sandbox():
            yield from _vivenu(sandbox)
        case presence.Sandbox():
            yield from _presence(sandbox)
        case bam.Sandbox():
            yield from _bam(sandbox)


def _ingresse(sandbox: ingresse.Sandbox) -> Iterator[str]:
    yield f"apikey     {sandbox.key}"
    yield f"usertoken  {sandbox.token}"
    yield f"login      {sandbox.email} {sandbox.password}"
    for event in sandbox.events:
        for session in event.sessions:
            sold = sandbox.codes(CODES_SHOWN, session=session.id, sold=True, refunded=False, external=False)
            yield f'event      {event.id} "{event.title}", session {session.id}, {session.date_time}'
            yield f"  sold     {'  '.join(sold)}"
    yield f"unsold     {'  '.join(sandbox.codes(CODES_SHOWN, sold=False))}"
    yield f"refunded   {'  '.join(sandbox.codes(CODES_SHOWN, refunded=True))}"
    yield f"external   {'  '.join(sandbox.codes(CODES_SHOWN, external=True))}"


def _vivenu(sandbox: vivenu.Sandbox) -> Iterator[str]:
    yield f"token      {sandbox.token}"
    for event in sandbox.events:
        yield f'event      {event.id} "{event.title}"'
        yield f"  valid    {'  '.join(sandbox.codes(CODES_SHOWN, event=event.id, valid=True))}"
    details = sandbox.codes(CODES_SHOWN, sold=True, valid=False, refunded=False)
    yield f"refunded   {'  '.join(sandbox.codes(CODES_SHOWN, refunded=True))}"
    yield f"details    {'  '.join(details)}"
    yield f"blank      {'  '.join(sandbox.codes(CODES_SHOWN, sold=False))}"


def _presence(sandbox: presence.Sandbox) -> Iterator[str]:
    yield f"base       {sandbox.base}"
    yield f"apikey     {sandbox.key}"
    yield f"venue      {sandbox.venue}"
    for event in sandbox.events:
        yield f'event      {event.id} "{event.title}"'
        sold = sandbox.codes(CODES_SHOWN, event=event.id, sold=True, refunded=False, marked=False)
        yield f"  sold     {'  '.join(sold)}"
    yield f"unsold     {'  '.join(sandbox.codes(CODES_SHOWN, sold=False))}"
    yield f"refunded   {'  '.join(sandbox.codes(CODES_SHOWN, refunded=True))}"
    yield f"marked     {'  '.join(sandbox.codes(CODES_SHOWN, marked=True))}"


def _bam(sandbox: bam.Sandbox) -> Iterator[str]:
    yield f"tenant     {sandbox.tenant_url} ({sandbox.tenant})"
    yield f"office     {sandbox.email} {sandbox.password}"
    for event, validator in zip(sandbox.events, sandbox.validators, strict=False):
        yield f'event      {event.id} "{event.title}"'
        yield f"  qr       {sandbox.qr(validator)}"
        for code in sandbox.codes(CODES_SHOWN, event=event.id, status="issued", slot=False):
            yield f"  issued   {code}"
    for status in ("activated", "reserved", "confirmed", "available"):
        for code in sandbox.codes(1, status=status):
            yield f"{status:<10} {code}"
    for code in sandbox.codes(1, refunded=True):
        yield f"refunded   {code}"


def say(line: str) -> None:
    """One line on standard output, with nothing in it that could change a terminal."""
    seen = "".join(char if char.isprintable() else "?" for char in line)
    with suppress(OSError):  # nobody reads, and the vendor must not stop for that
        sys.stdout.write(f"{seen}\n")
        sys.stdout.flush()


def between(least: int, most: int) -> Callable[[str], int]:
    """A whole number within limits."""

    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return number
