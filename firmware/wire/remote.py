"""What an engineer who is not on site sends to gates, and what gates tell of themselves."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from firmware.core.ticket import Direction, Verdict
from firmware.wire.shapes import Item, Message, Name, NameOrNone, Number, Text, UtcMs

SIGNED_BYTES_MAX = 60_000  # settings with a board file; the payload holds the signature besides
SETTINGS_CHARACTERS_MAX = 30_000  # of a settings file; the example with every setting has 6,000
BOARD_CHARACTERS_MAX = 16_000  # of a board file; the largest example has 5,000
OPERATORS_CHARACTERS_MAX = 10_000  # of the list of keys: some fifty people
REPORT_CHARACTERS_MAX = 40_000  # of an order's reply: what the doctor found
CERTIFICATE_CHARACTERS_MAX = 8_000  # PEM, with the chain; one of P-256 has 800
REQUEST_BYTES_MAX = 2_000  # of a certificate request; one of P-256 has 300
PROOF_BYTES = 32  # HMAC-SHA256
ECDSA_BYTES_MAX = 72  # a signature with a key on P-256, DER
SEALED_BYTES_MAX = 256  # a venue key, sealed for one gate
LINES_MAX = 50  # of a log message
FAULTS_MAX = 64  # that a gate names at once
PARTS_MAX = 32  # of all its lanes

KeyId = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
KeyIdOrNone = Annotated[str, Meta(pattern=r"^([0-9a-f]{16})?\Z")]
Sealed = Annotated[bytes, Meta(max_length=SEALED_BYTES_MAX)]


class Signed(Message, frozen=True):
    """An `Order` or `DesiredSettings` as bytes, and who signed it (`firmware.signing`)."""

    key: KeyId
    signed: Annotated[bytes, Meta(max_length=SIGNED_BYTES_MAX)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


class What(StrEnum):
    """What an operator wants of a gate."""

    OPEN_ONCE = "open_once"
    FREE = "free"
    SHUT = "shut"
    NORMAL = "normal"
    ALARM_DRILL = "alarm_drill"
    REFRESH = "refresh"
    RESTART = "restart"
    REBOOT = "reboot"
    IDENTIFY = "identify"
    DOCTOR = "doctor"
    ROTATE_KEY = "rotate_key"


class Order(Message, frozen=True):
    """What was signed for one gate. (`key`, `counter`) is its name; the counter of a key only grows.

    `epoch`, `random` and `connection` are those of the gate's birth that the operator saw: an order for an
    earlier connection is stale. `lane` is empty for all lanes; `direction` counts where a lane works both
    ways. `whole` asks for the whole list instead of what changed (`refresh`). `sealed` is the new venue key
    for this gate (`rotate_key`), and empty else.
    """

    venue: Name
    gate: Name
    key: KeyId
    counter: Number
    epoch: Number
    random: Text
    connection: Number
    expires_utc_ms: UtcMs
    what: What
    lane: NameOrNone = ""
    direction: Direction = Direction.IN
    sealed: Sealed = b""
    whole: bool = False


class Done(StrEnum):
    """What became of an order, or why it was refused."""

    OBEYED = "obeyed"
    FAILED = "failed"
    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    ROLE_TOO_LOW = "role_too_low"
    OTHER_GATE = "other_gate"
    REPLAYED = "replayed"
    STALE = "stale"
    EXPIRED = "expired"
    RETAINED = "retained"


class Reply(Message, frozen=True):
    """What a gate did with an order. Key and counter are its name, empty and 0 where it could not be read."""

    key: KeyIdOrNone
    counter: Number
    done: Done
    text: Text = ""
    report: Annotated[str, Meta(max_length=REPORT_CHARACTERS_MAX)] = ""


class DesiredSettings(Message, frozen=True):
    """What was signed as the settings of one gate: whole files, and the version, which only grows.

    `settings`, `board` and `operators` are empty where they stay as they are. The version is in seconds since
    1970, or one above the last one sent, where that is more.
    """

    venue: Name
    gate: Name
    key: KeyId
    version: Number
    settings: Annotated[str, Meta(max_length=SETTINGS_CHARACTERS_MAX)]
    board: Annotated[str, Meta(max_length=BOARD_CHARACTERS_MAX)] = ""
    operators: Annotated[str, Meta(max_length=OPERATORS_CHARACTERS_MAX)] = ""


class SettingsState(StrEnum):
    """How the settings of a gate stand."""

    LOCAL = "local"
    """Those of the file that the gate was installed with."""
    TRIAL = "trial"
    """In use, and not proved yet."""
    GOOD = "good"
    """In use, and the gate came back to health with them."""
    REFUSED = "refused"
    """The desired ones are not in use."""
    RETURNED = "returned"
    """They were in use, the gate did not come back to health, and the last good ones are in use again."""


class ReportedSettings(Message, frozen=True):
    """What is in use at a gate. `version` is that of the settings in use, 0 for those it was installed with.

    `desired` is the version that `state` and `text` speak of. `settings` has no secrets in it. `failed` are
    versions that are refused from now on.
    """

    version: Number
    desired: Number
    state: SettingsState
    text: Text
    settings: Annotated[str, Meta(max_length=SETTINGS_CHARACTERS_MAX)]
    board: Annotated[str, Meta(max_length=BOARD_CHARACTERS_MAX)] = ""
    failed: Annotated[tuple[Number, ...], Meta(max_length=16)] = ()


class Quantiles(Item, frozen=True):
    """Of the last thousand: the middle, and what one in a hundred is above, in microseconds."""

    p50_us: Number
    p99_us: Number


class NamedFault(Item, frozen=True):
    """Something that is wrong: `code` is the same at every gate and time, `text` says it with the mend."""

    code: Annotated[str, Meta(max_length=64)]
    since_utc_ms: UtcMs
    text: Text


class PartState(Item, frozen=True):
    """A part of a lane, such as `reader left/1`; `fault` is empty where it works."""

    part: Text
    fault: Text


class Telemetry(Message, frozen=True):
    """How a gate is, every 10 s. Counts are of this epoch; `None`: this computer cannot tell."""

    epoch: Number
    utc_ms: UtcMs
    trusted: bool
    up_ms: Number
    release: Text
    settings_version: Number
    verdicts: Annotated[dict[Verdict, Number], Meta(max_length=64)]
    inbox: Number
    late_turns: Number
    decide: Quantiles
    commit: Quantiles
    tickets: Number
    catalogue_age_ms: Number
    key_mark: Annotated[bytes, Meta(max_length=16)]
    backlog_rows: Number
    parts: Annotated[tuple[PartState, ...], Meta(max_length=PARTS_MAX)]
    faults: Annotated[tuple[NamedFault, ...], Meta(max_length=FAULTS_MAX)]
    temperature_mc: Annotated[int, Meta(ge=-100_000, le=200_000)] | None = None
    under_voltage: bool | None = None
    memory_free_bytes: Number | None = None
    disk_free_bytes: Number | None = None


class Line(Item, frozen=True):
    """A warning."""

    utc_ms: UtcMs
    text: Text


class Log(Message, frozen=True):
    """Warnings of a gate, and how many more there were than the rate limit lets through."""

    lines: Annotated[tuple[Line, ...], Meta(max_length=LINES_MAX)]
    dropped: Number = 0


class IdentityRequest(Message, frozen=True):
    """A gate wants a certificate: `request` is a PKCS #10 request (DER) with the key that it made itself.

    The first time `proof` shows that who asks has the bundle: HMAC-SHA256 of `request`, keyed with the
    SHA-256 of the bundle's token, which itself travels nowhere. Later it is empty, and the request bears the
    key of the certificate before, which proves who asks.
    """

    request: Annotated[bytes, Meta(max_length=REQUEST_BYTES_MAX)]
    proof: Annotated[bytes, Meta(max_length=PROOF_BYTES)] = b""


class IdentityAnswer(Message, frozen=True):
    """The certificate (PEM); or why there is none.

    The first one comes with the venue key, sealed for the request's key. Anybody can seal for that, so
    `signature` is the authority's, on what was sealed for whom (ECDSA with SHA-256, DER).
    """

    certificate: Annotated[str, Meta(max_length=CERTIFICATE_CHARACTERS_MAX)] = ""
    sealed: Sealed = b""
    signature: Annotated[bytes, Meta(max_length=ECDSA_BYTES_MAX)] = b""
    refused: Text = ""
