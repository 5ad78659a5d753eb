"""X.509 as a venue needs it: an authority, certificates of those who connect, and which of them were lost.

All keys are on P-256, which every broker's TLS knows. Certificates are valid from a day before they are made,
so that a computer whose clock is a little behind takes them at once.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BACKDATED = timedelta(days=1)
AUTHORITY_LIFE = timedelta(days=20 * 365)  # longer than turnstiles last: a new authority means new bundles


class Use(Enum):
    """Which end of a connection a certificate is for. A gate's proves no broker, and a broker's no gate."""

    CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
    SERVER = ExtendedKeyUsageOID.SERVER_AUTH


class Issuer(NamedTuple):
    """An authority: its certificate and the key that signs others."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class NoRequest(Exception):
    """A certificate request cannot be answered; the text says why."""


def new_key() -> ec.EllipticCurvePrivateKey:
    """A new key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def authority(name: str, now: datetime) -> Issuer:
    """A new authority with this name."""
    key, subject = new_key(), _named(name)
    usage = _usage(signs_certificates=True)
    made = (
        _begun(key.public_key(), subject, subject, now - BACKDATED, now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, SHA256())
    )
    return Issuer(made, key)


def issued(
    issuer: Issuer,
    public_key: ec.EllipticCurvePublicKey,
    name: str,
    use: Use,
    now: datetime,
    life: timedelta,
    hosts: Sequence[str] = (),
) -> x509.Certificate:
    """A certificate for this key. `name` is its common name, `hosts` the names and addresses of a broker."""
    since = max(now - min(BACKDATED, life / 10), issuer.certificate.not_valid_before_utc)
    until = min(now + life, issuer.certificate.not_valid_after_utc)
    begun = (
        _begun(public_key, _named(name), issuer.certificate.subject, since, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use.value]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False
        )
    )
    if hosts:
        begun = begun.add_extension(x509.SubjectAlternativeName(map(_host, hosts)), critical=False)
    return begun.sign(issuer.key, SHA256())


def requested(request: bytes, name: str) -> ec.EllipticCurvePublicKey:
    """The key for which a certificate is asked (PKCS #10, DER). Raises `NoRequest`.

    The request is signed with that key, so whoever sends it has the key; and it must be about this name.
    """
    try:
        found = x509.load_der_x509_csr(request)
        key = found.public_key()
        names = [each.value for each in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        signed = found.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise NoRequest(f"it is no certificate request ({type(error).__name__})") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise NoRequest("its key is not on P-256")
    if not signed:
        raise NoRequest("it is not signed with its own key")
    if names != [name]:
        raise NoRequest("it is about another name than the topic that it came on")
    return key


def revocations(issuer: Issuer, serials: Iterable[int], now: datetime, before: bytes = b"") -> bytes:
    """The list of revoked certificates (PEM), newer than the one `before`.

    A broker takes nobody while its list has expired, so this one lasts as long as the authority. A broker
    that knows two lists takes the newer one: no two are of the same second.
    """
    since, number = now - BACKDATED, 1
    if before:
        known = x509.load_pem_x509_crl(before)
        since = max(since, known.last_update_utc + timedelta(seconds=1))
        number = known.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number + 1
    begun = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(since)
        .next_update(issuer.certificate.not_valid_after_utc)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False
        )
    )
    for serial in sorted(set(serials)):
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since).build()
        begun = begun.add_revoked_certificate(revoked)
    return begun.sign(issuer.key, SHA256()).public_bytes(Encoding.PEM)


def pem(certificate: x509.Certificate) -> bytes:
    """A certificate as it lies in a file."""
    return certificate.public_bytes(Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as it lies in a file that its owner alone may read."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def issuer_of(certificate_pem: bytes, private_pem: bytes) -> Issuer:
    """An authority out of its two files. Raises `ValueError`."""
    key = load_pem_private_key(private_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key on P-256")
    found = x509.load_pem_x509_certificate(certificate_pem)
    if found.public_key() != key.public_key():
        raise ValueError("the key is not the certificate's")
    return Issuer(found, key)


def mark(public_key: ec.EllipticCurvePublicKey) -> str:
    """Tells public keys apart: SHA-256 of what stands in a certificate, in hexadecimal digits."""
    digest = Hash(SHA256())
    digest.update(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize().hex()


def _begun(
    public_key: ec.EllipticCurvePublicKey,
    subject: x509.Name,
    issuer: x509.Name,
    since: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
