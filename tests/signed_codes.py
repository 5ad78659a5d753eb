"""Signed codes for tests, made with a key of their own, and base45 the other way round (RFC 9285)."""

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firmware.proof import is_genuine
from firmware.signed_code import CHARACTERS, payload_of, signature_of

EVENT = "3334"
TICKET = "E3334TC23T12"
AWKWARD_MIN = 4  # blanks, and colons besides the three, of a code that a careless reader harms


def to_base45(data: bytes) -> str:
    """The text of bytes."""
    digits = []
    for place in range(0, len(data), 2):
        group = data[place : place + 2]
        number = int.from_bytes(group)
        for _ in range(len(group) + 1):
            number, digit = divmod(number, 45)
            digits.append(CHARACTERS[digit])
    return bytes(digits).decode()


def genuine(signer: "Signer", code: str) -> bool:
    """Whether this is a code of that event, whole and unharmed, as a gate finds out."""
    payload, signature = payload_of(code), signature_of(code)
    if payload is None or signature is None:
        return False
    return is_genuine(signer.key.public_key(), signature, payload.signed)


class Signer:
    """An event's key."""

    def __init__(self) -> None:
        self.key: EllipticCurvePrivateKey = generate_private_key(SECP256R1())

    @property
    def pem(self) -> str:
        """The public key, as the vendor gives it."""
        public = self.key.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, payload: bytes) -> bytes:
        """The signature of these bytes; another one each time."""
        return self.key.sign(payload, ECDSA(SHA256()))

    def code(self, ticket_id: str = TICKET) -> str:
        """The code of a ticket."""
        return self.coded(f'{{"id":"{ticket_id}"}}'.encode())

    def awkward(self, count: int) -> list[str]:
        """So many codes with several blanks and colons, as many have."""
        found: list[str] = []
        number = 0
        while len(found) < count:
            number += 1
            code = self.code(f"E{EVENT}TC23T{number}")
            parts = code.replace(":::", "")
            if parts.count(" ") >= AWKWARD_MIN and parts.count(":") >= AWKWARD_MIN:
                found.append(code)
        return found

    def coded(self, payload: bytes) -> str:
        """A code with this payload."""
        return f"{to_base45(payload)}:::{to_base45(self.sign(payload))}"
