"""What a row says that the ledger has to know, checked so that a database can hold it."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec

from firmware.core.effects import Kind
from firmware.core.events import Answered, Scanned, named
from firmware.core.movements import Act, Movement
from firmware.core.states import Asking, Recording
from firmware.core.ticket import Authority, Direction, Moment, Perimeter, Verdict
from firmware.row import Named, Story, Unreadable, decode, decode_began, event_of, read

INTEGER_MAX = (1 << 63) - 1  # of a column
UTC_MS_MAX = 1 << 53  # as `wire.UtcMs`
SUBJECT_CHARACTERS_MAX = 256  # as `wire.Text`
KIND_CHARACTERS_MAX = 32  # of a kind in a report
# Of names and words that no message limits: many times what any gate writes, and little enough for an index
# of PostgreSQL, which takes 2,700 bytes.
NAME_CHARACTERS_MAX = 256


# Verdicts about a code; the others are about the lane, the reader or the network.
ABOUT_A_CODE = frozenset(
    {
        Verdict.UNKNOWN,
        *(Verdict.CANCELLED, Verdict.REFUNDED, Verdict.BLOCKED, Verdict.NOT_SOLD, Verdict.WRONG_EVENT),
        *(Verdict.WRONG_SESSION, Verdict.WRONG_SECTOR, Verdict.WRONG_GATE, Verdict.WRONG_TYPE),
        *(Verdict.TOO_EARLY, Verdict.TOO_LATE, Verdict.TOO_SOON, Verdict.USED, Verdict.NOT_INSIDE),
        *(Verdict.CALL_STAFF, Verdict.CLOCK_UNTRUSTED, Verdict.CATALOGUE_STALE),
    }
)


# Who let a ticket in. Another word in the ledger is the verdict with which a vendor refused it too late.
GATE = "gate"  # the vendor is told
DOUBT = "doubt"  # likewise, but it was asked before, and nobody knows whether it carried that out
VENDOR = "vendor"  # which has it in its books


class Facts(NamedTuple):
    """What the vendor needs to know of an admission, besides its ticket and code."""

    vendor: str = ""
    event: str = ""
    session: str = ""
    reentry: str = ""
    asked: bool = False  # the vendor decided, or was to decide
    decided: str = GATE  # who did, as in the ledger's column
    asked_at: Moment | None = None  # the scan's own time, which is the one that the vendor was told


class Accounts(NamedTuple):
    """Whom the ledger tells of what.

    `names` are told of admissions, `refusals` among them of refused scans too. `inner` know
    inner lanes. `exits` are told of those also which they were asked about.
    """

    names: frozenset[str]
    refusals: frozenset[str] = frozenset()
    inner: frozenset[str] = frozenset()
    exits: frozenset[str] = frozenset()


class AskEnded(NamedTuple):
    """What became known of an ask that had let nobody in, or that policy had let in."""

    scan: int
    subject: str
    verdict: Verdict
    text: str
    good_ms: int | None  # how long a yes lets somebody in; `None` where nobody is missing


class Refusal(NamedTuple):
    """A code that a gate did not let through; `subject` is its digest where it is in no list."""

    subject: str
    direction: Direction
    facts: Facts


NO_STORY = msgspec.msgpack.encode(None)


class Read(NamedTuple):
    """A row, as far as the ledger reads every one: its story is bytes until somebody asks for it.

    Only admissions are asked, and to make objects of every story took half of the time of storing a row.
    """

    kind: str
    lane: str
    moment: Moment
    scan: int = 0
    verdict: Verdict | None = None
    movement: Movement | None = None
    text: str = ""
    story: msgspec.Raw = msgspec.Raw(NO_STORY)


class _Event(NamedTuple):
    name: str
    fields: msgspec.Raw


class _Story(NamedTuple):
    before: msgspec.Raw
    events: tuple[_Event, ...]
    effects: msgspec.Raw


_rows = msgspec.msgpack.Decoder(Read)
_stories = msgspec.msgpack.Decoder(_Story)
_stories_whole = msgspec.msgpack.Decoder(Story)
_scans = msgspec.msgpack.Decoder(Scanned)
_encode = msgspec.msgpack.Encoder().encode


def read_row(body: bytes) -> Read:
    """The row of a body that a gate sent. Raises `Unreadable`.

    Its movement goes to all other gates, so what no message takes is stopped here: one gate that was tampered
    with must not end the news of the others.
    """
    try:
        row = _rows.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # perhaps of a later release
        whole = decode(body)
        row = Read(*whole[:7], msgspec.Raw(_encode(whole.story)))
    numbers, texts = [row.moment.utc_ms], [row.kind, row.lane]
    if row.movement is not None:
        numbers += [row.movement.utc_ms, row.movement.until_utc_ms]
        texts.append(row.movement.subject)
        if abs(row.movement.row) > INTEGER_MAX:
            raise Unreadable("a number of a row beyond 63 bits")
        if len(row.movement.subject) > SUBJECT_CHARACTERS_MAX:
            raise Unreadable(f"a ticket id longer than {SUBJECT_CHARACTERS_MAX} characters")
        if len(row.movement.perimeters) > len(Perimeter):
            raise Unreadable("more perimeters than there are")
    if (
        not all(0 <= number < UTC_MS_MAX for number in numbers)
        or not 0 <= row.moment.monotonic_ms < UTC_MS_MAX
    ):
        raise Unreadable("a time that no clock shows")
    _check_names(texts)
    return row


def random_of(row: Read) -> str:
    """What tells the first row of an epoch from that of another journal. Raises `Unreadable`."""
    random = decode_began(row.text).random
    _check_names([random])
    return random


def kind_of(body: bytes) -> str:
    """The kind of a row that this release cannot read, as far as it can be found."""
    try:
        found = msgspec.msgpack.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "?"
    kind = found[0] if isinstance(found, list) and found else None
    return kind[:KIND_CHARACTERS_MAX] if isinstance(kind, str) else "?"


def facts_of(row: Read) -> Facts:
    """The facts of an admission, from its row's story. Raises `Unreadable`.

    A row in the place of one that could not be written has no story: then only its ticket is known.
    """
    scan = _scan_of(row)
    if scan is None:
        return Facts()
    facts = _facts(scan)
    return facts._replace(decided=_decided(row)) if facts.asked else facts


def late_of(row: Read) -> AskEnded | None:
    """The vendor's word on an ask that came after the decision; `None` for any other row."""
    movement = row.movement
    if row.kind != Kind.LATE.value or movement is None or row.verdict is None:
        return None
    if movement.act not in (Act.CREDITED, Act.SURE):
        return None
    good_ms = max(0, movement.until_utc_ms - movement.utc_ms) if movement.act is Act.CREDITED else None
    return AskEnded(row.scan, movement.subject, row.verdict, row.text, good_ms)


def _decided(row: Read) -> str:
    """Who let in a ticket that was the vendor's to decide. A credit is the vendor's own yes, come late."""
    if row.verdict is Verdict.ADMITTED_CREDIT:
        return VENDOR
    if row.kind != Kind.ANSWER.value:
        return GATE  # the vendor was not reachable, and was not asked
    last = event_of(read(bytes(row.story), _stories_whole.decode, msgspec.msgpack.decode, Story).events[-1])
    if not isinstance(last, Answered):
        return DOUBT
    if last.verdict is Verdict.NO_ANSWER:
        return DOUBT if last.doubt else GATE
    return VENDOR if last.verdict.admits else DOUBT  # a refusal that came when the time was up


def refusal_of(row: Read) -> Refusal | None:
    """The refusal of a code, `None` for any other row. Raises `Unreadable`.

    A ticket of another event than the gate's is refused for its own.
    """
    if row.kind != Kind.SCAN.value or row.movement is not None or row.verdict not in ABOUT_A_CODE:
        return None
    scan = _scan_of(row)
    if scan is None:
        return None
    if len(scan.subject) > SUBJECT_CHARACTERS_MAX:
        raise Unreadable(f"a ticket id longer than {SUBJECT_CHARACTERS_MAX} characters")
    facts = _facts(scan)
    own = scan.ticket.event if scan.ticket is not None else ""
    _check_names([scan.subject, own])
    return Refusal(scan.subject, scan.direction, facts._replace(event=own or facts.event))


def subject_of(row: Read) -> str:
    """The ticket of the scan that a row is about; "" where it has none that can be read."""
    try:
        scan = _scan_of(row)
    except Unreadable:
        return ""
    return scan.subject if scan else ""


def _facts(scan: Scanned) -> Facts:
    texts = (scan.route.vendor, *named(scan))
    _check_names(texts)
    asked = scan.route.authority is Authority.VENDOR
    return Facts(*texts, scan.policy.reentry.value, asked=asked, asked_at=scan.moment if asked else None)


def _check_names(texts: Iterable[str]) -> None:
    for text in texts:
        if "\0" in text:
            raise Unreadable("a zero character in a name")
        if len(text) > NAME_CHARACTERS_MAX:
            raise Unreadable(f"a name of more than {NAME_CHARACTERS_MAX} characters")


def _scan_of(row: Read) -> Scanned | None:
    """The scan that a row is about, by its number: a code read meanwhile stands in the story too."""
    try:
        for each in reversed(_stories.decode(row.story).events):
            if each.name == Scanned.__name__ and (found := _scans.decode(each.fields)).row == row.scan:
                return found
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # of a later release: the slower way passes over what it has added
    if bytes(row.story) == NO_STORY:
        return None
    whole = read(bytes(row.story), _stories_whole.decode, msgspec.msgpack.decode, Story)
    scans: list[Scanned] = []
    for event in (*_asked(whole.before.state), *whole.events):
        if event.name == Scanned.__name__:
            scan = event_of(event)
            assert isinstance(scan, Scanned)
            if scan.row == row.scan:
                return scan
            scans.append(scan)
    return scans[-1] if scans else None


# Where a lane that has a scan on its mind keeps it. A story begins at the lane's last row, so an answer's
# begins while the lane was still writing the ask down.
_SCAN_AT = {cls.__name__: cls._fields.index("scan") for cls in (Asking, Recording)}


def _asked(state: Named) -> Iterable[Named]:
    """The scan that a lane was asking about before the row."""
    at = _SCAN_AT.get(state.name)
    if at is not None and at < len(state.fields) and isinstance(state.fields[at], list | tuple):
        yield Named(Scanned.__name__, tuple(state.fields[at]))


def account_of(subject: str, vendor: str, accounts: Iterable[str]) -> str:
    """The account that must be told of a ticket, "" for none: its subject says so, or else its route."""
    front, colon, _ = subject.partition(":")
    account = front if colon else vendor
    return account if account in accounts else ""


def hearer_of(refusal: Refusal, accounts: Collection[str], hearers: Collection[str]) -> str:
    """The account that is told, "" for none. The only one there is has codes of no list and no route."""
    only = next(iter(accounts)) if len(accounts) == 1 else ""
    return account_of(refusal.subject, refusal.facts.vendor or only, hearers)


def movement_of(row: Read) -> Movement | None:
    """The gate's own movement in a row. One that was heard of elsewhere has a row of kind `noted`."""
    movement = row.movement
    if movement is None or row.kind == "noted" or movement.row < 0:
        return None
    return movement
