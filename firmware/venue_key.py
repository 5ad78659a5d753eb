"""The venue's key, and the digests that are made with it. A gate and its bridge must agree on both.

The catalogue of a gate holds keyed digests and no code, so the bridge hashes each code with the key that the
gates of its venue have.
"""

import os
from hashlib import blake2b
from pathlib import Path

from firmware.files import sync_folder

KEY_BYTES = 32  # twice the digest: guessing the key is never the shorter way
DIGEST_BYTES = 16  # among a billion codes two share a digest with a chance of 1 in 10^21


class KeyUnusable(Exception):
    """The venue's key cannot be read, or can be read by others; the message names the file and the mend."""


def venue_key(folder: Path) -> bytes:
    """The key of this venue's digests, made where there is none. Raises `KeyUnusable`.

    A new key appears under its name whole and flushed: a cut leaves either none or all of it.
    """
    path = folder / "key"
    if not path.exists():
        unfinished = folder / f"key-{os.getpid()}"
        unfinished.unlink(missing_ok=True)
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(KEY_BYTES))
            file.flush()
            os.fsync(handle)
        try:
            os.link(unfinished, path)  # unlike a rename it fails where another process was quicker
        except FileExistsError:
            pass
        finally:
            unfinished.unlink()
        sync_folder(folder)
    try:
        mode, key = path.stat().st_mode & 0o777, path.read_bytes()
    except OSError as error:
        raise KeyUnusable(f"{path}: {error.strerror}; run as the user who owns it") from error
    if mode & 0o077:
        raise KeyUnusable(f"{path}: mode {mode:04o} lets others read the key of all codes: chmod 600 {path}")
    if len(key) != KEY_BYTES:
        mend = "put the venue's key back, or remove this file and import the list again"
        raise KeyUnusable(f"{path}: {len(key)} bytes instead of {KEY_BYTES}: {mend}")
    return key


def keyed(key: bytes, purpose: bytes = b"") -> blake2b:
    """A keyed hash to copy, which is quicker than to make. Codes have no purpose, so a bridge agrees."""
    return blake2b(key=key, digest_size=DIGEST_BYTES, person=purpose)


def digest_of(hash_begun: blake2b, text: str) -> bytes:
    """The keyed digest of a text."""
    digest = hash_begun.copy()
    digest.update(text.encode())
    return digest.digest()


def key_mark(key: bytes) -> bytes:
    """Tells venue keys apart without telling the key."""
    return keyed(key, b"mark of the key").digest()
