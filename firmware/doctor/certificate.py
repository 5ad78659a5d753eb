"""How long an X.509 certificate is valid, as far as that takes: the standard library does not say.

A certificate is (RFC 5280, 4.1) a sequence of the part that is signed and the signature; the part is an
optional version [0], then number, algorithm, issuer, and the validity: a sequence of two times.
"""

import re
import ssl
from datetime import UTC, datetime
from typing import NamedTuple

PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
SEQUENCE, VERSION, UTC_TIME, LONG_TIME = 0x30, 0xA0, 0x17, 0x18
BEFORE_VALIDITY = 3  # number, algorithm, issuer


class NoCertificate(ValueError):
    """There is none that can be read."""


class Validity(NamedTuple):
    """Both ends inclusive."""

    since: datetime
    until: datetime


def validity(pem: bytes) -> Validity:
    """Of all the certificates in a file, that which ends first. Raises `NoCertificate`."""
    try:
        found = [_of(ssl.PEM_cert_to_DER_cert(match[0].decode("ascii"))) for match in PEM.finditer(pem)]
        return min(found, key=lambda valid: valid.until)
    except (ValueError, IndexError) as error:
        raise NoCertificate from error


def _of(der: bytes) -> Validity:
    certificate, _ = _part(der, SEQUENCE)
    rest, _ = _part(certificate, SEQUENCE)
    if rest[0] == VERSION:
        _, rest = _part(rest)
    for _ in range(BEFORE_VALIDITY):
        _, rest = _part(rest)
    times, _ = _part(rest, SEQUENCE)
    since, times = _time(times)
    until, _ = _time(times)
    return Validity(since, until)


def _part(data: bytes, wanted: int | None = None) -> tuple[bytes, bytes]:
    """What a value holds, and what follows it (X.690, 8.1: tag, length, value)."""
    tag, length, at = data[0], data[1], 2
    if wanted is not None and tag != wanted:
        raise ValueError(f"tag {tag} instead of {wanted}")
    if length & 0x80:
        at += length & 0x7F
        length = int.from_bytes(data[2:at], "big")
    if at + length > len(data):
        raise ValueError("cut short")
    return data[at : at + length], data[at + length :]


def _time(data: bytes) -> tuple[datetime, bytes]:
    """RFC 5280, 4.1.2.5: years with two digits are 1950 to 2049."""
    tag = data[0]
    value, rest = _part(data)
    text = value.decode("ascii")
    if tag == UTC_TIME:
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif tag != LONG_TIME:
        raise ValueError(f"tag {tag} is no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC), rest
