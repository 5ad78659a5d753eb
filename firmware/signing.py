"""What operators sign, and how a gate checks it: Ed25519 (RFC 8032) over a purpose and the bytes.

The bytes are signed as they travel and read only after the check, so no two ways to write one message can be
told apart by a signature. The purpose keeps an order from being taken for settings.
"""

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from firmware import wire

OPERATORS_MAX = 64  # people who may sign for one venue
KEY_BYTES = 32

Content = TypeVar("Content", wire.Order, wire.DesiredSettings)


class Role(StrEnum):
    """What a key may do: a steward's opens a lane once, a supervisor's everything."""

    STEWARD = "steward"
    SUPERVISOR = "supervisor"


class Operator(NamedTuple):
    """Somebody whose signature counts. `key` is the id of the public key."""

    key: str
    name: str
    role: Role
    public: Ed25519PublicKey


class NotSigned(Exception):
    """A signature does not hold; `done` is the word for the reply, the text says why."""

    def __init__(self, done: wire.Done, text: str) -> None:
        super().__init__(text)
        self.done = done


class OperatorsUnusable(Exception):
    """The list of operators cannot be read; the text says where it is wrong and how to mend it."""


def key_id(public: Ed25519PublicKey) -> str:
    """The id of a key, 16 hexadecimal digits."""
    return hashlib.blake2b(public.public_bytes_raw(), digest_size=8).hexdigest()


def sign(private: Ed25519PrivateKey, content: Content) -> wire.Signed:
    """What to send."""
    signed = wire.encode(content)
    signature = private.sign(_purpose(type(content)) + signed)
    return wire.Signed(key=key_id(private.public_key()), signed=signed, signature=signature)


def checked(message: wire.Signed, shape: type[Content], operators: Mapping[str, Operator]) -> Content:
    """The content of a message whose signature holds. Raises `NotSigned`, and `wire.Unfit` after it.

    `operators` by the id of their key.
    """
    operator = operators.get(message.key)
    if operator is None:
        raise NotSigned(wire.Done.UNKNOWN_KEY, f"key {message.key} is of no operator of this gate")
    try:
        operator.public.verify(message.signature, _purpose(shape) + message.signed)
    except InvalidSignature:
        raise NotSigned(wire.Done.BAD_SIGNATURE, f"the signature is not that of {operator.name}") from None
    content = wire.decode(message.signed, shape)
    if content.key != message.key:
        raise NotSigned(wire.Done.BAD_SIGNATURE, f"{operator.name} signed it in the name of another key")
    return content


def _purpose(shape: type[wire.Message]) -> bytes:
    return f"{wire.ROOT}/{shape.__name__}\0".encode()


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    name: wire.Name
    role: Role
    public: str
    """64 hexadecimal digits."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    operator: list[_Entry]


def operators_of(text: str) -> dict[str, Operator]:
    """The operators of `operators.toml`, by the id of their key. Raises `OperatorsUnusable`."""
    try:
        entries = msgspec.convert(tomllib.loads(text), _File).operator
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise OperatorsUnusable(f"the list of operators: {error}: make it anew with gatepost fleet") from None
    if not 0 < len(entries) <= OPERATORS_MAX:
        raise OperatorsUnusable(
            f"the list of operators has {len(entries)}: 1 to {OPERATORS_MAX} may be in it"
        )
    found = {}
    for entry in entries:
        try:
            public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(entry.public))
        except ValueError:
            raise OperatorsUnusable(
                f'the public key of operator "{entry.name}" is not 64 hexadecimal digits: make the list anew'
            ) from None
        found[key_id(public)] = Operator(key_id(public), entry.name, entry.role, public)
    if len(found) != len(entries):
        raise OperatorsUnusable("two operators have the same key: give each their own")
    return found


def text_of(operators: Sequence[Operator]) -> str:
    """`operators.toml` for these."""
    return "\n".join(
        f'[[operator]]\nname = "{each.name}"\nrole = "{each.role}"\n'
        f'public = "{each.public.public_bytes_raw().hex()}"\n'
        for each in operators
    )
