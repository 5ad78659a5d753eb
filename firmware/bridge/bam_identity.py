"""Who a bridge is at B.A.M.: a validator with a wallet, kept encrypted in a file, and what it signs.

The dashboard shows a validator as a QR code, from which it is fetched once. Its file is of no use without the
key in another file: AES with 256 bits in GCM, and the event's number is a part of what is authenticated.
"""

import base64
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12  # as GCM wants it
FILE_BYTES_MAX = 65_536  # a certificate and a key have some 3 kB
MAGIC = b"gatepost bam 1\n"
PRIVATE = 0o600
# The digests that a chain may ask to have signed, by their length; they are signed as they are.
DIGESTS: dict[int, hashes.HashAlgorithm] = {32: hashes.SHA256(), 48: hashes.SHA384(), 64: hashes.SHA512()}


class IdentityUnusable(Exception):
    """The file of an identity, or its key, cannot be used; the text names the file and the mend."""


class Identity(NamedTuple):
    """A validator: the event it is for, its organizer, and its wallet. Both are PEM."""

    event: str
    organizer: str
    enrollment_id: str
    certificate: str
    private_key: str

    def __repr__(self) -> str:
        """Without the private key: this may come into a log."""
        mark = hashes.Hash(hashes.SHA256())
        mark.update("\n".join(self).encode())
        return f"Identity(event={self.event!r}, mark={mark.finalize().hex()[:16]!r})"


class Wallet:
    """Signs for one identity. Raises `ValueError`, which names the mend, where its key is none."""

    def __init__(self, identity: Identity) -> None:
        again = "fetch the identity again with gatepost bam enrol"
        try:
            key = serialization.load_pem_private_key(identity.private_key.encode(), None)
            certificate = x509.load_pem_x509_certificate(identity.certificate.encode())
            theirs = certificate.public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm):  # its text may quote the key
            raise ValueError(f"the private key or the certificate cannot be read: {again}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError(f"the private key is not of the curve P-256: {again}")
        if theirs != key.public_key():
            raise ValueError(f"the certificate is of another private key: {again}")
        self._key = key

    def challenge(self, nonce: str) -> str:
        """The answer to a log-in's challenge: SHA-256, then ECDSA, as hexadecimal digits."""
        return self._key.sign(nonce.encode(), ec.ECDSA(hashes.SHA256())).hex()

    def digest(self, digest: bytes) -> str:
        """A digest of the chain, signed as it is, S in the lower half, as base64.

        Raises `ValueError` where it has the length of no digest.
        """
        algorithm = DIGESTS.get(len(digest))
        if algorithm is None:
            raise ValueError(f"a digest of {len(digest)} bytes")
        return base64.b64encode(lower(self._key.sign(digest, ec.ECDSA(Prehashed(algorithm))))).decode()


# The order of P-256 (SEC 2, 2.4.2).
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def lower(signature: bytes) -> bytes:
    """The same signature (DER) with the smaller one of its two possible S: the chain takes no other."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, min(s, ORDER - s))


# --- files --------------------------------------------------------------------------------------------------


def make_key(path: Path) -> None:
    """Make the key's file where there is none, mode 0600. Raises `OSError`."""
    if not path.exists():
        _write(path, base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n", replace=False)


def make_ready(path: Path, key_path: Path) -> None:
    """Make the key where there is none, and see that an identity can be kept.

    Raises `IdentityUnusable`, whose text names the file and the mend.
    """
    if path.is_dir():
        raise IdentityUnusable(f"{path}: is a folder: name a file in it")
    try:
        make_key(key_path)
    except OSError as error:
        raise IdentityUnusable(_unwritable(key_path, error)) from None
    _key(key_path)
    trial = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        os.close(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE))
        trial.unlink()
    except OSError as error:
        raise IdentityUnusable(_unwritable(path, error)) from None


def _unwritable(path: Path, error: OSError) -> str:
    return f"{path}: cannot be written ({error.strerror}): make its folder, and let this user write there"


def keep(path: Path, key_path: Path, identity: Identity) -> None:
    """Write an identity, mode 0600, instead of the one before. Raises `IdentityUnusable`, `OSError`."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    plain = json.dumps(identity._asdict()).encode()
    _write(path, MAGIC + nonce + AESGCM(_key(key_path)).encrypt(nonce, plain, MAGIC), replace=True)


def read(path: Path, key_path: Path) -> Identity:
    """An identity that was kept. Raises `IdentityUnusable`."""
    body = _read(path)
    front = len(MAGIC)
    if not body.startswith(MAGIC):
        raise IdentityUnusable(f"{path}: is no identity: fetch one with gatepost bam enrol")
    nonce, sealed = body[front : front + NONCE_BYTES], body[front + NONCE_BYTES :]
    key = _key(key_path)
    try:
        kept = json.loads(AESGCM(key).decrypt(nonce, sealed, MAGIC))
        return Identity(**{name: str(kept[name]) for name in Identity._fields})
    except (InvalidTag, ValueError, KeyError, TypeError):
        mend = "put the right key back, or fetch the identity again with gatepost bam enrol"
        raise IdentityUnusable(f"{path}: cannot be read with the key {key_path}: {mend}") from None


def _key(path: Path) -> bytes:
    try:
        key = base64.b64decode(_read(path), validate=False)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise IdentityUnusable(
            f"{path}: is no key of an identity: put it back, or remove it and use gatepost bam enrol"
        )
    return key


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            body = file.read(FILE_BYTES_MAX)
    except OSError as error:
        mend = "check the path, or fetch the identity with gatepost bam enrol"
        raise IdentityUnusable(f"{path}: cannot be read ({error.strerror}): {mend}") from None
    if mode & 0o077:
        raise IdentityUnusable(f"{path}: mode {mode:04o} lets others read it: chmod 600 {path}")
    return body


def _write(path: Path, body: bytes, *, replace: bool) -> None:
    """Whole and flushed, or not at all."""
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            fresh.replace(path)
        else:
            os.link(fresh, path)  # unlike a rename it fails where another was quicker
    finally:
        with suppress(FileNotFoundError):
            fresh.unlink()
