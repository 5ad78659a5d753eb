"""Seals a secret for one holder of a P-256 key, such as the venue's key for a gate with its certificate.

ECIES with what OpenSSL has: a key pair made for this one message and the receiver's public key agree on a
secret (ECDH), HKDF-SHA256 (RFC 5869) makes a key of it, and AES-256-GCM encrypts.

Nobody learns from it who sealed, and anybody can: the receiver's public key is all that it takes. So nobody
takes a secret that is not signed as well: in an order by its operator, beside a gate's first certificate by
the fleet's authority (`signed_by`, `check_signed`).

    1 byte      version
    33 bytes    public key of this message, X9.62 compressed
    the rest    the secret, encrypted, and 16 bytes that tell a changed one
"""

from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firmware.wire.remote import SEALED_BYTES_MAX

VERSION: Final = b"\x01"
SIGNING: Final = b"gatepost/v1 sealed venue key\0"  # no certificate begins so: the same key signs those
CONTEXT: Final = b"gatepost/v1 sealed secret\0"  # what was made for another purpose never opens here
PUBLIC_BYTES: Final = 33
TAG_BYTES: Final = 16
SECRET_BYTES_MAX: Final = SEALED_BYTES_MAX - len(VERSION) - PUBLIC_BYTES - TAG_BYTES
NONCE: Final = bytes(12)  # each key encrypts one message only, so that nothing else has to be new


class SealBroken(Exception):
    """What is sealed cannot be read with this key: it is for another one, was changed, or is none of ours."""


def seal(public_key: ec.EllipticCurvePublicKey, secret: bytes) -> bytes:
    """The secret, for who has the private key of this one on P-256 only. At most `SEALED_BYTES_MAX` long.

    Raises `ValueError` where the secret has more than `SECRET_BYTES_MAX` bytes, or the key another curve.
    """
    if len(secret) > SECRET_BYTES_MAX:
        raise ValueError(f"a secret of {len(secret)} bytes: at most {SECRET_BYTES_MAX} can be sealed")
    if not isinstance(public_key.curve, ec.SECP256R1):
        raise ValueError(f"a key on {public_key.curve.name}: secrets are sealed for keys on P-256")
    once = ec.generate_private_key(ec.SECP256R1())
    head = VERSION + _bytes_of(once.public_key())
    return head + _cipher(once.exchange(ec.ECDH(), public_key), head, public_key).encrypt(NONCE, secret, head)


def unseal(private_key: ec.EllipticCurvePrivateKey, sealed: bytes) -> bytes:
    """The secret of what `seal` made for this key. Raises `SealBroken`."""
    head, rest = sealed[: 1 + PUBLIC_BYTES], sealed[1 + PUBLIC_BYTES :]
    if not sealed.startswith(VERSION) or len(sealed) > SEALED_BYTES_MAX or len(rest) < TAG_BYTES:
        raise SealBroken("this was not sealed by this release: seal it anew with the fleet's")
    try:
        once = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), head[1:])
        agreed = private_key.exchange(ec.ECDH(), once)
        return _cipher(agreed, head, private_key.public_key()).decrypt(NONCE, rest, head)
    except (InvalidTag, ValueError):
        raise SealBroken("this was sealed for another key, or changed on its way: seal it anew") from None


def signed_by(
    authority: ec.EllipticCurvePrivateKey, gate: str, receiver: ec.EllipticCurvePublicKey, sealed: bytes
) -> bytes:
    """The authority's word that it has sealed this for this gate with this key: ECDSA with SHA-256, DER."""
    return authority.sign(_statement(gate, receiver, sealed), ec.ECDSA(SHA256()))


def check_signed(
    authority: ec.EllipticCurvePublicKey,
    gate: str,
    receiver: ec.EllipticCurvePublicKey,
    sealed: bytes,
    signature: bytes,
) -> None:
    """Whether `signed_by` made this. Raises `SealBroken`."""
    try:
        authority.verify(signature, _statement(gate, receiver, sealed), ec.ECDSA(SHA256()))
    except InvalidSignature:
        mend = "if nobody of yours did, somebody writes to the broker"
        raise SealBroken(f"this is not signed by the fleet's authority: {mend}") from None


def _statement(gate: str, receiver: ec.EllipticCurvePublicKey, sealed: bytes) -> bytes:
    """No name has a zero byte, and a public key has always as many: nothing can be read in two ways."""
    return SIGNING + gate.encode() + b"\0" + _bytes_of(receiver) + sealed


def _cipher(agreed: bytes, head: bytes, receiver: ec.EllipticCurvePublicKey) -> AESGCM:
    """Both public keys are part of what the key is made of: neither can be exchanged for another."""
    info = CONTEXT + head + _bytes_of(receiver)
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(agreed))


def _bytes_of(public_key: ec.EllipticCurvePublicKey) -> bytes:
    return public_key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
