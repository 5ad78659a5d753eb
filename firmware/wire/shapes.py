"""What every message on the wire is made of: its base, its bounds, and the types of its fields."""

from typing import Annotated

from msgspec import Meta, Struct

from firmware.core.ticket import Perimeter

VERSION = 1
ROOT = "gatepost/v1"
PAYLOAD_BYTES_MAX = 65_536  # what a small broker and a slow mobile link take in one piece
BATCH_ROWS_MAX = 200  # rows in one message
BATCH_BYTES_MAX = 60_000  # of bodies and codes in it, so that the whole stays below `PAYLOAD_BYTES_MAX`
ROW_BYTES_MAX = (
    49_152  # of one body; the longest that a gate writes has 64 events and a code of 7,089 characters
)
ACCOUNTS_MAX = 64  # vendors of one bridge; an entry has at most 320 bytes of text, and its keys
EVENTS_MAX = 256  # that a gate lets in, as many as its settings may name
EVENT_KEYS_MAX = 2  # of one vendor: an account serves one event, and a new key comes beside the old one
EVENT_ID_MAX = 64  # characters of an event in a key; the longest of the vendors' have 36
KEY_CHARACTERS_MAX = 256  # of a public key as PEM; one of P-256 has 178. All keys fill no whole payload
DEADLINE_MS_MAX = 60_000  # nobody stands longer before a closed lane
ITEMS_MAX = 800  # of a page or a change message: about 60 bytes each
WINDOW_MESSAGES = 16  # sent and not yet acknowledged; Debian's mosquitto allows 20

RowId = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Number = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
UtcMs = Annotated[int, Meta(ge=0, lt=1 << 53)]
ChainDigest = Annotated[bytes, Meta(max_length=16)]  # of `row.chain`; empty before the first row
CodeDigest = Annotated[bytes, Meta(min_length=16, max_length=16)]
# `$` would let a newline follow
Name = Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,32}\Z")]
NameOrNone = Annotated[str, Meta(pattern=r"^[a-z0-9_-]{0,32}\Z")]
Text = Annotated[str, Meta(max_length=256)]
Events = Annotated[tuple[Text, ...], Meta(max_length=EVENTS_MAX)]
Perimeters = Annotated[tuple[Perimeter, ...], Meta(max_length=2)]
CodeText = Annotated[str, Meta(max_length=40_000)]  # of 7,089 characters, most of them perhaps escaped


class Unfit(Exception):
    """A payload is not the message that its topic is for; the text says why, and holds nothing of it."""


class UnknownVersion(Unfit):
    """A later release sent it."""


class Message(Struct, frozen=True, kw_only=True, tag_field="v", tag=VERSION):
    """A payload."""


class Item(Struct, frozen=True, array_like=True):
    """An entry of a long list."""
