"""Signatures of operators: what holds, and all that does not."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from firmware import wire
from firmware.signing import (
    NotSigned,
    Operator,
    OperatorsUnusable,
    Role,
    checked,
    key_id,
    operators_of,
    sign,
    text_of,
)

ANN = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
BEN = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
KEYS = {
    key_id(key.public_key()): Operator(key_id(key.public_key()), name, Role.SUPERVISOR, key.public_key())
    for name, key in (("ann", ANN), ("ben", BEN))
}


def order(key: Ed25519PrivateKey = ANN, counter: int = 1) -> wire.Order:
    return wire.Order(
        venue="arena",
        gate="north",
        key=key_id(key.public_key()),
        counter=counter,
        epoch=7,
        random="a1b2",
        connection=3,
        expires_utc_ms=1,
        what=wire.What.SHUT,
    )


def test_what_was_signed_is_what_is_read() -> None:
    assert checked(sign(ANN, order()), wire.Order, KEYS) == order()


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_one_changed_bit_ends_a_signature(place: int, bit: int) -> None:
    message = sign(ANN, order())
    both = bytearray(message.signed + message.signature)
    both[place % len(both)] ^= 1 << bit
    changed = wire.Signed(key=message.key, signed=bytes(both[:-64]), signature=bytes(both[-64:]))
    with pytest.raises(NotSigned) as refused:
        checked(changed, wire.Order, KEYS)
    assert refused.value.done is wire.Done.BAD_SIGNATURE


def test_a_key_of_nobody_is_refused_before_anything_is_read() -> None:
    message = sign(Ed25519PrivateKey.from_private_bytes(bytes(32)), order())
    with pytest.raises(NotSigned) as refused:
        checked(message, wire.Order, KEYS)
    assert refused.value.done is wire.Done.UNKNOWN_KEY


def test_an_order_is_never_taken_for_settings() -> None:
    with pytest.raises(NotSigned) as refused:
        checked(sign(ANN, order()), wire.DesiredSettings, KEYS)
    assert refused.value.done is wire.Done.BAD_SIGNATURE


def test_nobody_signs_in_the_name_of_another_key() -> None:
    with pytest.raises(NotSigned) as refused:
        checked(sign(BEN, order(ANN)), wire.Order, KEYS)
    assert refused.value.done is wire.Done.BAD_SIGNATURE


def test_signed_noise_is_unfit() -> None:
    signed = b"\x81noise"
    purpose = b"gatepost/v1/Order\0"
    message = wire.Signed(key=key_id(ANN.public_key()), signed=signed, signature=ANN.sign(purpose + signed))
    with pytest.raises(wire.Unfit):
        checked(message, wire.Order, KEYS)


def test_a_list_of_operators_is_read_as_it_was_written() -> None:
    assert text_of(list(operators_of(text_of(list(KEYS.values()))).values())) == text_of(list(KEYS.values()))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "missing required field"),
        ("[[operator", "make it anew"),
        ("operator = []", "1 to 64"),
        ('[[operator]]\nname = "ann"\nrole = "boss"\npublic = "00"', "Invalid enum value"),
        ('[[operator]]\nname = "ann"\nrole = "steward"\npublic = "00"', "64 hexadecimal digits"),
        ('[[operator]]\nname = "ann"\nrole = "steward"\npublic = "zz"', "64 hexadecimal digits"),
        ('[[operator]]\nname = "ann"\nrole = "steward"\npublic = "00"\nrank = 1', "unknown field"),
        (text_of([next(iter(KEYS.values()))] * 2), "same key"),
    ],
)
def test_a_list_that_is_wrong_says_where(text: str, why: str) -> None:
    with pytest.raises(OperatorsUnusable, match=why):
        operators_of(text)
