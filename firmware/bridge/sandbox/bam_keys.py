"""Keys, codes and wallets of the B.A.M. sandbox. They come from its seed: each start has the same.

That makes them worthless as secrets, on purpose: whoever reads this file can sign the sandbox's tickets.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import NameOID

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"  # of base45, RFC 9285
MARK = ":::"  # between payload and signature of a code
BEGINS, ENDS = datetime(2020, 1, 1, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)  # of each certificate


class Source:
    """Where a sandbox's keys, nonces and names come from: the seed, and what they are for."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def bytes(self, purpose: str) -> bytes:
        """32 bytes that look random."""
        return sha256(f"{self._seed} {purpose}".encode()).digest()

    def number(self, purpose: str) -> int:
        """A number that is a private key, or the nonce of a signature."""
        return 1 + int.from_bytes(self.bytes(purpose)) % (ORDER - 1)

    def key(self, purpose: str) -> ec.EllipticCurvePrivateKey:
        """A private key."""
        return ec.derive_private_key(self.number(purpose), ec.SECP256R1())

    def uuid(self, purpose: str) -> str:
        """A name as the vendor makes them."""
        return str(UUID(bytes=self.bytes(purpose)[:16], version=4))

    def uuids(self, purpose: str) -> Iterator[str]:
        """One such name after another."""
        return (self.uuid(f"{purpose} {number}") for number in count(1))


@dataclass(frozen=True, slots=True)
class Wallet:
    """Who signs: certificate and private key are PEM."""

    id: str
    enrollment_id: str
    certificate: str
    private_key: str

    def shown(self) -> dict[str, str]:
        """As the identity of a validator has it."""
        return {
            "id": self.id,
            "enrollment_id": self.enrollment_id,
            "certificate": self.certificate,
            "private_key": self.private_key,
        }


def wallet_of(source: Source, purpose: str) -> Wallet:
    """A wallet, with a certificate of the sandbox's own authority."""
    key, authority = source.key(f"{purpose} key"), source.key("authority")
    enrollment = source.uuid(f"{purpose} enrollment")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(named(enrollment))
        .issuer_name(named("sandbox authority"))
        .public_key(key.public_key())
        .serial_number(1 + (source.number(f"{purpose} serial") >> 97))  # at most 159 bits
        .not_valid_before(BEGINS)
        .not_valid_after(ENDS)
        .sign(authority, hashes.SHA256(), ecdsa_deterministic=True)
    )
    return Wallet(
        source.uuid(f"{purpose} wallet"),
        enrollment,
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
    )


def named(name: str) -> x509.Name:
    """A name in a certificate."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """The public half of a key."""
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def signed_code(payload: bytes, key: ec.EllipticCurvePrivateKey, nonce: int) -> str:
    """The text of a QR code: payload and signature. Another nonce makes another code of the same ticket."""
    digest = int.from_bytes(sha256(payload).digest())
    point = ec.derive_private_key(nonce, ec.SECP256R1()).public_key().public_numbers()
    r = point.x % ORDER
    s = pow(nonce, -1, ORDER) * (digest + r * key.private_numbers().private_value) % ORDER
    return f"{base45(payload)}{MARK}{base45(encode_dss_signature(r, s))}"


def base45(data: bytes) -> str:
    """Bytes as text: two become three characters, a last single one becomes two."""
    text = []
    for at in range(0, len(data), 2):
        pair = data[at : at + 2]
        number = int.from_bytes(pair)
        for _ in range(len(pair) + 1):
            number, digit = divmod(number, len(DIGITS))
            text.append(DIGITS[digit])
    return "".join(text)


def bytes_of(text: str) -> bytes:
    """Bytes of a text in base45. Raises `ValueError`."""
    data = bytearray()
    for at in range(0, len(text), 3):
        group = text[at : at + 3]
        number = sum(DIGITS.index(digit) * len(DIGITS) ** place for place, digit in enumerate(group))
        if len(group) == 1 or number >= 256 ** (len(group) - 1):
            raise ValueError(f"{group!r} is no group of base45")
        data += number.to_bytes(len(group) - 1)
    return bytes(data)
