"""Codes that carry a signature: what stands in them, before anything is proved. Pure; no key is needed.

The one form that is known is that of B.A.M. Ticketing: the payload in base45, three colons, the signature in
base45. The payload is JSON whose `id` names event, ticket type and number: `E3334TC23T12`. Blanks and
colons are digits of base45, so nothing of a code may be trimmed, and it is parted once, at the first three
colons: no three stand in a row inside a part.
"""

import re
import struct
from enum import StrEnum
from typing import NamedTuple

import msgspec

from firmware.core.ticket import Proof

MARK = ":::"
CHARACTERS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"  # RFC 9285, table 1: a place is its value
BASE = len(CHARACTERS)
VALUES = bytes(max(CHARACTERS.find(byte), 0) for byte in range(256))
# Anchored, unlike in the vendor's own reader; 18 digits are more than it can count up to. A ticket's numbers
# with zeros in front are the same numbers, and one ticket has one name here.
TICKET_ID = re.compile(r"E([0-9]{1,18})TC0*([0-9]{1,18})T0*([0-9]{1,18})")


class Signature(StrEnum):
    """What the operator makes of signatures."""

    REQUIRE = "require"
    PREFER = "prefer"
    IGNORE = "ignore"


class Signing(NamedTuple):
    """How codes of a route are signed: by which account's event, and what that is good for."""

    account: str
    event: str
    signature: Signature


class Proven(NamedTuple):
    """What a code's signature says; `ticket_id`, as the catalogue names tickets, only where it is genuine."""

    proof: Proof
    ticket_id: str = ""


NOTHING = Proven(Proof.NONE)


class Payload(NamedTuple):
    """The signed half of a code: its bytes exactly as they were signed, and the ticket that they name."""

    signed: bytes
    ticket_id: str
    event: str


class _Body(msgspec.Struct):
    id: str


_body = msgspec.json.Decoder(_Body)


def payload_of(code: str) -> Payload | None:
    """What a code says of itself; `None` where it is no signed code. Nothing of it is proved."""
    front, mark, _ = code.partition(MARK)
    signed = from_base45(front) if mark else None
    if not signed:
        return None
    try:
        ticket_id = _body.decode(signed).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    found = TICKET_ID.fullmatch(ticket_id)
    return Payload(signed, f"E{found[1]}TC{found[2]}T{found[3]}", found[1]) if found else None


def signature_of(code: str) -> bytes | None:
    """The signature of a code; `None` where there is none."""
    return from_base45(code.partition(MARK)[2]) or None


def from_base45(text: str) -> bytes | None:
    """The bytes of a text (RFC 9285), `None` where it is none of theirs.

    Two bytes are three characters, the lowest digit first, and a last single byte is two.
    """
    try:
        digits = text.encode("ascii")
    except UnicodeEncodeError:
        return None
    if len(digits) % 3 == 1 or digits.translate(None, CHARACTERS):
        return None
    values = digits.translate(VALUES)
    last = values[len(values) // 3 * 3 :]
    pairs = [
        low + BASE * (middle + BASE * high)
        for low, middle, high in zip(values[0::3], values[1::3], values[2::3], strict=False)
    ]
    try:
        front = struct.pack(f">{len(pairs)}H", *pairs)
        return front + bytes((last[0] + BASE * last[1],)) if last else front
    except (struct.error, ValueError):  # three characters can say more than two bytes, and two than one
        return None
