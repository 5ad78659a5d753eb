"""Sealed secrets: one key opens them, and nothing that was changed opens."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from firmware import wire
from firmware.sealing import SECRET_BYTES_MAX, SealBroken, check_signed, seal, signed_by, unseal
from firmware.wire.remote import ECDSA_BYTES_MAX, SEALED_BYTES_MAX

NORTH = ec.derive_private_key(7, ec.SECP256R1())
SOUTH = ec.derive_private_key(8, ec.SECP256R1())
SECRETS = st.binary(max_size=SECRET_BYTES_MAX)
SEALED = seal(NORTH.public_key(), bytes(range(32)))


@given(SECRETS)
def test_what_is_sealed_for_a_gate_is_read_by_that_gate_and_fits_into_an_order(secret: bytes) -> None:
    sealed = seal(NORTH.public_key(), secret)
    assert unseal(NORTH, sealed) == secret
    assert len(sealed) <= SEALED_BYTES_MAX
    answer = wire.IdentityAnswer(sealed=sealed)
    assert wire.decode(wire.encode(answer), wire.IdentityAnswer) == answer


@given(SECRETS)
def test_what_is_sealed_for_a_gate_is_not_read_by_another(secret: bytes) -> None:
    with pytest.raises(SealBroken, match="another key"):
        unseal(SOUTH, seal(NORTH.public_key(), secret))


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_a_changed_byte_anywhere_breaks_the_seal(at: int, by: int) -> None:
    changed = bytearray(SEALED)
    changed[at] ^= by
    with pytest.raises(SealBroken):
        unseal(NORTH, bytes(changed))


@given(st.integers(0, len(SEALED) - 1), st.binary(min_size=1, max_size=SEALED_BYTES_MAX))
def test_what_is_cut_short_or_goes_on_breaks_the_seal(length: int, more: bytes) -> None:
    for sealed in (SEALED[:length], SEALED + more):
        with pytest.raises(SealBroken):
            unseal(NORTH, sealed)


@given(st.binary(max_size=2 * SEALED_BYTES_MAX))
def test_no_bytes_of_anybody_else_do_more_than_break_the_seal(sealed: bytes) -> None:
    for told in (sealed, b"\x01" + sealed, SEALED[:34] + sealed):
        with pytest.raises(SealBroken):
            unseal(NORTH, told)


@given(st.binary(max_size=SEALED_BYTES_MAX), st.binary(max_size=ECDSA_BYTES_MAX))
def test_only_the_authority_can_say_for_whom_it_sealed(sealed: bytes, other: bytes) -> None:
    said = signed_by(SOUTH, "north", NORTH.public_key(), sealed)
    assert len(said) <= ECDSA_BYTES_MAX
    check_signed(SOUTH.public_key(), "north", NORTH.public_key(), sealed, said)
    for authority, gate, receiver, what, signature in (
        (NORTH, "north", NORTH, sealed, said),
        (SOUTH, "northern", NORTH, sealed, said),
        (SOUTH, "north", SOUTH, sealed, said),
        (SOUTH, "north", NORTH, sealed + b"x", said),
        (SOUTH, "north", NORTH, sealed, other),
    ):
        with pytest.raises(SealBroken, match="not signed"):
            check_signed(authority.public_key(), gate, receiver.public_key(), what, signature)


def test_one_secret_sealed_twice_is_two_messages() -> None:
    assert seal(NORTH.public_key(), b"k" * 32) != seal(NORTH.public_key(), b"k" * 32)


def test_what_does_not_fit_into_an_order_is_not_sealed() -> None:
    assert len(seal(NORTH.public_key(), bytes(SECRET_BYTES_MAX))) == SEALED_BYTES_MAX
    with pytest.raises(ValueError, match=f"{SECRET_BYTES_MAX + 1} bytes: at most {SECRET_BYTES_MAX}"):
        seal(NORTH.public_key(), bytes(SECRET_BYTES_MAX + 1))


def test_a_key_on_another_curve_gets_nothing() -> None:
    other = ec.derive_private_key(7, ec.SECP384R1())
    with pytest.raises(ValueError, match="secp384r1: secrets are sealed for keys on P-256"):
        seal(other.public_key(), b"secret")
    with pytest.raises(SealBroken):
        unseal(other, SEALED)
