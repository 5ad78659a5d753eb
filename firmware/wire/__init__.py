"""What travels over MQTT between gates and bridge: every topic, and every message with its type.

A payload is one MessagePack map with the field names below and `v`, the version. A later release may add
fields with a default, which this one passes over; what could be misread gets a new version, which this one
refuses. Items of long lists are arrays with a tag in front, because a catalogue has a million of them.

Times are UTC milliseconds. A row is named by one number, its epoch and its number in it (`firmware.row`).
"""

from enum import StrEnum
from typing import Annotated, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Struct

from firmware.core.movements import Act
from firmware.core.ticket import Direction, Perimeter, Spend, Status, Verdict
from firmware.wire.remote import (
    DesiredSettings,
    Done,
    IdentityAnswer,
    IdentityRequest,
    Line,
    Log,
    NamedFault,
    Order,
    PartState,
    Quantiles,
    Reply,
    ReportedSettings,
    SettingsState,
    Signed,
    Telemetry,
    What,
)
from firmware.wire.shapes import (
    ACCOUNTS_MAX,
    BATCH_BYTES_MAX,
    BATCH_ROWS_MAX,
    DEADLINE_MS_MAX,
    EVENT_ID_MAX,
    EVENT_KEYS_MAX,
    ITEMS_MAX,
    KEY_CHARACTERS_MAX,
    PAYLOAD_BYTES_MAX,
    ROOT,
    ROW_BYTES_MAX,
    VERSION,
    WINDOW_MESSAGES,
    ChainDigest,
    CodeDigest,
    CodeText,
    Events,
    Item,
    Message,
    Name,
    NameOrNone,
    Number,
    Perimeters,
    RowId,
    Text,
    Unfit,
    UnknownVersion,
    UtcMs,
)

Batch = Annotated[tuple["SentRow", ...], Meta(max_length=BATCH_ROWS_MAX)]

# --- rows up, receipts and outcomes down ---------------------------------------------------------------


class Presence(Message, frozen=True):
    """Whether a gate is connected: its birth, and with `online` false its will (or a tidy farewell).

    (`epoch`, `connection`) grow with each connection; a death whose pair is below that of the newest birth is
    stale. `random` is that of the epoch, and tells two gates with one name apart.

    The rest is what a vendor wants to know of a device before it scans: `perimeters` of the gate's lanes,
    `mac` of its first network card, `ip` as the broker sees it, `serial` and `model` of the computer, and
    whether its clock is `trusted`. A birth is told again when that changes.
    """

    online: bool
    epoch: Number
    connection: Number
    random: Text
    release: Text = ""
    perimeters: Perimeters = ()
    mac: Text = ""
    ip: Text = ""
    serial: Text = ""
    model: Text = ""
    trusted: bool = False


class SentRow(Item, frozen=True):
    """A row as the journal holds it: its number, its bytes, and the clear code where there is one."""

    row: RowId
    body: Annotated[bytes, Meta(max_length=ROW_BYTES_MAX)]
    code: CodeText | None = None


class Journal(Message, frozen=True):
    """Rows of a gate, in order and without a gap between them.

    `after` is the row before the first one here (0: there is none) and `previous` its chain digest, so that
    the receiver can compute the digest of each row and knows where it belongs. `cursor` is the last row
    that the gate has a receipt for, and `cursor_digest` its digest: a ledger that does not know that row has
    lost what it once confirmed.
    """

    cursor: RowId
    cursor_digest: ChainDigest
    after: RowId
    previous: ChainDigest
    rows: Batch


class Receipt(Message, frozen=True):
    """All rows up to this one are committed in the ledger. `digest` is the chain digest of that row.

    A gate whose row has another digest is not meant: another gate has its name, or its journal was replaced.
    """

    upto: RowId
    digest: ChainDigest


class Result(StrEnum):
    """What became of a scan at the vendor."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNSURE = "unsure"


class Outcome(Item, frozen=True):
    """What the vendor said about one scan of this gate. `text` is its own word, `verdict` ours."""

    scan: RowId
    digest: ChainDigest
    result: Result
    verdict: Verdict | None
    text: Text


class Outcomes(Message, frozen=True):
    """Outcomes of one gate's scans. The ledger keeps them; what is lost on the way is not sent again."""

    outcomes: Annotated[tuple[Outcome, ...], Meta(max_length=BATCH_ROWS_MAX)]


# --- asking the vendor -----------------------------------------------------------------------------------


class Ask(Message, frozen=True):
    """A person stands at the lane, and the vendor `account` decides.

    `scan` is the row of the ask, which is on the gate's disk by now, and `digest` its chain digest.
    `ticket_id` is as in the catalogue, and empty for a code that is not in it; `event` and `session` are the
    ticket's, or the route's. Where an entry is asked about without an event, `events` are all that this gate
    lets in, none for any: a ticket of another one is refused. The gate waits `left_ms` from the moment of
    sending, and the receiver counts from arrival. `again` says that an earlier ask about this code had no
    answer: the vendor may have spent the ticket. `at_utc_ms` is wrong perhaps where the gate's clock is not
    `trusted`.
    """

    scan: RowId
    digest: ChainDigest
    account: Name
    code: CodeText
    ticket_id: Text
    event: Text
    session: Text
    direction: Direction
    perimeter: Perimeter
    at_utc_ms: UtcMs
    left_ms: Annotated[int, Meta(ge=0, le=DEADLINE_MS_MAX)]
    again: bool = False
    events: Events = ()
    trusted: bool = True


class Word(StrEnum):
    """What the vendor said when it was asked."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNANSWERED = "unanswered"


class Answer(Message, frozen=True):
    """What came of an ask, `scan` and `digest` as in it. One that comes too late is sent as well.

    `verdict` is that of a refusal, `text` the vendor's own word, or why there is none. An unanswered ask with
    `doubt` may have been carried out by the vendor all the same, and its answer may still come. A refusal
    with `doubt` may be about an ask of our own whose reply was lost. With `unreached`
    there is none because the vendor could not be reached, not because it failed or was silent. `bridge` is
    who answers, and with `untried` it has not even tried: another bridge may.
    """

    scan: RowId
    digest: ChainDigest
    word: Word
    verdict: Verdict | None = None
    text: Text = ""
    doubt: bool = False
    unreached: bool = False
    bridge: Text = ""
    untried: bool = False


class EventKey(Item, frozen=True):
    """The public key (PEM) with which an event's signed codes are checked, and the event as codes name it."""

    event: Annotated[str, Meta(min_length=1, max_length=EVENT_ID_MAX)]
    public_key: Annotated[str, Meta(min_length=1, max_length=KEY_CHARACTERS_MAX)]


class Account(Item, frozen=True):
    """How one vendor is, for one gate.

    `asks`: it can be asked at all; `reachable`: it answers at present; `configured`: the perimeters of this
    gate at which it takes scans (a vendor that knows no devices takes them at both); `deadline_ms`: how long
    it may take by its own rules, for routes that name no other. `text` says what is wrong. `uploads`: it
    takes scans that were let in without it; `clock`: it takes none of a gate whose clock is not trusted.
    `keys` prove its signed codes; none while the bridge has not got them: a gate goes on with those it has.
    `unreached_only`: nobody may be let in unchecked because it fails or is silent, only while it cannot be
    reached, and `unreached` says whether that is so at present.
    """

    account: Name
    asks: bool
    reachable: bool
    configured: Perimeters
    deadline_ms: Annotated[int, Meta(ge=0, le=DEADLINE_MS_MAX)]
    text: Text = ""
    uploads: bool = True
    clock: bool = False
    keys: Annotated[tuple[EventKey, ...], Meta(max_length=EVENT_KEYS_MAX)] = ()
    unreached_only: bool = False
    unreached: bool = False


class Vendors(Message, frozen=True):
    """How the bridge's vendors are, for one gate: after its birth, at each change, and every 20 s.

    Each of several bridges tells of its own way to the vendors; `bridge` is which, the same at each start.
    """

    accounts: Annotated[tuple[Account, ...], Meta(max_length=ACCOUNTS_MAX)]
    bridge: Text = ""


# --- the catalogue and movements down --------------------------------------------------------------------


class Listed(Item, frozen=True, tag_field="kind", tag="t"):
    """A ticket that is new or changed."""

    digest: CodeDigest
    ticket_id: Text
    status: Status = Status.VALID
    event: Text = ""
    session: Text = ""
    type: Text = ""
    sector: Text = ""
    gate: Text = ""
    valid_from_ms: UtcMs | None = None
    valid_until_ms: UtcMs | None = None


class Gone(Item, frozen=True, tag_field="kind", tag="r"):
    """A ticket that is not in the list any more."""

    ticket_id: Text


class Moved(Item, frozen=True, tag_field="kind", tag="m"):
    """A movement at another gate, or at the vendor (`gate` empty, `act` noted, `row` the feed's number).

    `row` and `digest` name the journal row that holds it, `admission` the row of the admission that it
    belongs to. The same movement may come from the gate itself and from the bridge; these tell.
    """

    gate: NameOrNone
    row: RowId
    digest: ChainDigest
    admission: RowId
    act: Act
    subject: Text
    direction: Direction
    perimeters: Perimeters
    utc_ms: UtcMs
    spend: Spend = Spend.OPENING
    until_utc_ms: UtcMs = 0


Change = Listed | Gone | Moved
Changed = Annotated[tuple[Change, ...], Meta(max_length=ITEMS_MAX)]


class CatalogueRequest(Message, frozen=True):
    """A gate asks for what changed since `cursor` in this feed (0, or another feed: for all there is).

    The answer is up to `pages` pages; then the gate asks again with the cursor it has reached.
    """

    feed: Text
    cursor: Number
    pages: Annotated[int, Meta(ge=1, le=64)]


class CataloguePage(Message, frozen=True):
    """Changes after number `after` up to `upto`, in the order of their numbers.

    The first page of a whole list has `after` 0, and such a list replaces what was there. `more` is false on
    the page that reaches the present; `tickets` is then how many the feed holds. `key_mark` tells with which
    key the digests were made. `stamp_utc_ms` is when the vendor's list was last complete at the bridge.
    """

    feed: Text
    key_mark: Annotated[bytes, Meta(max_length=16)]
    after: Number
    upto: Number
    more: bool
    tickets: Number
    stamp_utc_ms: UtcMs
    items: Changed


class Changes(Message, frozen=True):
    """Live changes to all gates of the venue. A gate whose cursor is not `after` asks for the rest.

    Movements of gates are left out, for those gates tell of them themselves; but not those that came so late
    that nobody may have been there to hear it.
    """

    feed: Text
    key_mark: Annotated[bytes, Meta(max_length=16)]
    after: Number
    upto: Number
    tickets: Number
    stamp_utc_ms: UtcMs
    items: Changed


# --- between the gates of a venue ------------------------------------------------------------------------


class Admissions(Message, frozen=True):
    """Movements at this gate after its row `after`, up to `upto`, in order; `digest` is that of `upto`.

    With `to`, the answer to that gate's request, and nobody else's business; `more` says that another
    request is needed. `after` 0 begins anew: the asker knew a row that this journal does not have.
    """

    to: NameOrNone
    after: RowId
    upto: RowId
    digest: ChainDigest
    more: bool
    items: Annotated[tuple[Moved, ...], Meta(max_length=ITEMS_MAX)]


class AdmissionsRequest(Message, frozen=True):
    """A gate asks the gate `of` for its movements after row `after`, whose chain digest was `digest`."""

    of: Name
    after: RowId
    digest: ChainDigest


# --- topics ------------------------------------------------------------------------------------------------


class Topic(NamedTuple):
    """A topic below `gatepost/v1/<venue>/`, what it carries, who writes it, and what it is for."""

    name: str
    message: type[Message]
    writer: str
    retained: bool
    meaning: str
    qos: Literal[0, 1] = 1


STATUS = Topic("gate/<gate>/status", Presence, "gate", True, "birth, will and farewell")
JOURNAL = Topic("gate/<gate>/journal", Journal, "gate", False, "rows of its journal")
RECEIPT = Topic("gate/<gate>/receipt", Receipt, "bridge", False, "the rows that are safe in the ledger")
OUTCOME = Topic("gate/<gate>/outcome", Outcomes, "bridge", False, "what the vendor said about its scans")
ASK = Topic("gate/<gate>/ask", Ask, "gate", False, "asks a vendor about a scan")
ANSWER = Topic("gate/<gate>/answer", Answer, "bridge", False, "what the vendor said to an ask")
VENDORS = Topic("gate/<gate>/vendors", Vendors, "bridge", False, "which vendors can be asked at present")
REQUEST = Topic(
    "gate/<gate>/catalogue/request", CatalogueRequest, "gate", False, "asks for changes since a cursor"
)
PAGE = Topic("gate/<gate>/catalogue/page", CataloguePage, "bridge", False, "the answer, page by page")
ADMISSIONS = Topic(
    "gate/<gate>/admissions", Admissions, "gate", False, "its movements, for the venue's other gates"
)
ADMISSIONS_REQUEST = Topic(
    "gate/<gate>/admissions/request",
    AdmissionsRequest,
    "gate",
    False,
    "asks another gate for movements that were missed",
)
CHANGES = Topic("changes", Changes, "bridge", False, "live changes of the catalogue, to all gates")
COMMAND = Topic("gate/<gate>/command", Signed, "operator", False, "an `Order`, signed for this gate")
REPLY = Topic("gate/<gate>/reply", Reply, "gate", False, "what became of an order")
DESIRED = Topic(
    "gate/<gate>/config/desired", Signed, "operator", True, "`DesiredSettings`, signed for this gate"
)
REPORTED = Topic("gate/<gate>/config/reported", ReportedSettings, "gate", True, "the settings in use")
TELEMETRY = Topic("gate/<gate>/telemetry", Telemetry, "gate", False, "how it is, every 10 s", 0)
LOG = Topic("gate/<gate>/log", Log, "gate", False, "warnings", 0)
IDENTITY_REQUEST = Topic(
    "gate/<gate>/identity/request", IdentityRequest, "gate", False, "asks for a certificate"
)
IDENTITY_ANSWER = Topic("gate/<gate>/identity/answer", IdentityAnswer, "fleet", False, "the certificate")

TOPICS = (
    STATUS,
    JOURNAL,
    RECEIPT,
    OUTCOME,
    ASK,
    ANSWER,
    VENDORS,
    REQUEST,
    PAGE,
    ADMISSIONS,
    ADMISSIONS_REQUEST,
    CHANGES,
    COMMAND,
    REPLY,
    DESIRED,
    REPORTED,
    TELEMETRY,
    LOG,
    IDENTITY_REQUEST,
    IDENTITY_ANSWER,
)
SIGNED = (Order, DesiredSettings)  # what the bytes of `Signed` are


def address(topic: Topic, venue: str, gate: str = "") -> str:
    """The whole topic of one gate, or with `+` as gate a filter for all."""
    return f"{ROOT}/{venue}/{topic.name.replace('<gate>', gate)}"


class Addressed(NamedTuple):
    """What a topic says: which one it is, and of which gate ("" where it is the venue's)."""

    topic: Topic
    gate: str


def addressed(text: str, venue: str) -> Addressed | None:
    """Read a topic; `None` where it is none of this venue's."""
    front = f"{ROOT}/{venue}/"
    if not text.startswith(front):
        return None
    name, gate = text.removeprefix(front), ""
    if name.startswith("gate/"):
        _, gate, *rest = name.split("/")
        name = "/".join(("gate", "<gate>", *rest))
    topic = _BY_NAME.get(name)
    return None if topic is None else Addressed(topic, gate)


_BY_NAME = {topic.name: topic for topic in TOPICS}

# --- bytes -------------------------------------------------------------------------------------------------

AnyMessage = TypeVar("AnyMessage", bound=Message)

_encode = msgspec.msgpack.Encoder().encode
_decoders = {topic.message: msgspec.msgpack.Decoder(topic.message) for topic in TOPICS} | {
    shape: msgspec.msgpack.Decoder(shape) for shape in SIGNED
}


class _Version(Struct):
    v: int = VERSION


_version = msgspec.msgpack.Decoder(_Version)


def encode(message: Message) -> bytes:
    """The payload of a message."""
    return _encode(message)


def decode(payload: bytes, shape: type[AnyMessage]) -> AnyMessage:
    """The message of a payload. Raises `Unfit`, or `UnknownVersion`."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise Unfit(f"{len(payload):,} bytes are more than {PAYLOAD_BYTES_MAX:,}")
    try:
        message = _decoders[shape].decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unfit(payload, error) from None  # its text may quote the payload
    assert isinstance(message, shape)
    return message


def _unfit(payload: bytes, error: Exception) -> Unfit:
    try:
        version = _version.decode(payload).v
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Unfit("no MessagePack map")
    if version != VERSION:
        return UnknownVersion(f"version {version}; this release knows version {VERSION}")
    what, _, where = str(error).rpartition(" - at ")
    if what.startswith("Invalid"):  # such as `Invalid enum value 'what was sent'`
        what = what.partition("'")[0].rstrip()
    return Unfit(f"{what} - at {where}" if what else where)
