"""The tickets that the demo makes: the same ones in every run, a few of each kind among them."""

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from firmware.catalogue import Build
from firmware.config import Settings, parse
from firmware.core.rules import judge
from firmware.core.ticket import Authority, Direction, Moment, Status, Ticket, Verdict
from firmware.facts import Facts
from firmware.signals import WORDS

SEED = b"gatepost demo"
SOURCE = "the demo"  # as the catalogue names where its list came from
COUNT = 100_000  # a large stadium
COUNT_MAX = 1_000_000  # a code names its number in six digits
ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that a person who types takes for another
LETTERS = 4  # a million of them, so that a code cannot be guessed from its number
KIND_EVERY = 50  # of each kind but the good one there is a ticket in so many
SHOWN = 3  # codes of each kind that are printed
LOOKED_AT = SHOWN * KIND_EVERY
NEVER_MS = 4_102_444_800_000  # 2100-01-01: a ticket that is too early today is so in the next run as well

SETTINGS = """
[[lane]]
name = "1"
record_ms = 5000  # this disk is not the gate's alone: better late than out of order
[[event]]
id = "concert"
sessions = ["evening"]
"""


def settings_of_demo() -> Settings:
    """One lane, and an event with a session, so that a ticket can be for another one."""
    return parse(SETTINGS, "settings of the demo")


def code_of(number: int) -> str:
    """The code of a made ticket. Numbers differ, so codes do."""
    letters = blake2b(number.to_bytes(4), key=SEED, digest_size=LETTERS).digest()
    return f"{number:06d}-" + "".join(ALPHABET[byte % len(ALPHABET)] for byte in letters)


def pattern_of(settings: Settings) -> Ticket:
    """What a good ticket has: the first event, its first session, and what the first lane lets in."""
    policy = next(iter(settings.policies.values()), settings.otherwise)
    setup = settings.lanes[0].setup
    session, sector, type_ = ((words or ("",))[0] for words in (policy.sessions, setup.sectors, setup.types))
    return Ticket("", event=policy.event, session=session, sector=sector, type=type_)


def ticket_of(number: int, pattern: Ticket) -> Ticket:
    """A made ticket: good, or of the kind that its number says."""
    ticket = pattern._replace(ticket_id=f"T{number:06d}")
    match number % KIND_EVERY:
        case 0:
            return ticket._replace(status=Status.USED)
        case 1:
            return ticket._replace(status=Status.CANCELLED)
        case 2:
            return ticket._replace(status=Status.REFUNDED)
        case 3:
            return ticket._replace(status=Status.UNSOLD)
        case 4:
            return ticket._replace(session="matinee")
        case 5:
            return ticket._replace(valid_from_ms=NEVER_MS)
        case _:
            return ticket


def make(folder: Path, count: int, settings: Settings, stamp_utc_ms: int) -> None:
    """Put so many tickets into the catalogue. Raises what `Build` raises."""
    pattern = pattern_of(settings)
    with Build(folder, source=SOURCE, stamp_utc_ms=stamp_utc_ms) as build:
        for number in range(count):
            build.add(number + 1, build.digest(code_of(number)), ticket_of(number, pattern))
        build.swap()


def samples(settings: Settings, facts: Facts, moment: Moment, count: int) -> Mapping[str, list[str]]:
    """A few codes for each thing that the first lane would say to them at this moment, by that word.

    Of the first ones that were made, and of those beyond the `count`. Judged as a scan would be, so the
    words hold under any settings and after any earlier run.
    """
    setup = settings.lanes[0].setup
    found: dict[str, list[str]] = {}
    for number in (*range(min(count, LOOKED_AT)), *range(count, count + SHOWN)):
        code = code_of(number)
        scan = facts.scanned(code, setup.direction or Direction.IN, moment, row=0)
        if scan.route.authority is not Authority.GATE:
            continue  # a vendor's word, and nobody is asked by looking
        verdict = judge(setup, scan)
        codes = found.setdefault("good" if verdict is Verdict.ADMITTED else WORDS[verdict], [])
        if len(codes) < SHOWN:
            codes.append(code)
    return dict(sorted(found.items(), key=lambda item: item[0] != "good"))
