"""The venue's key, and the digests that are made with it. A gate and its bridge must agree on both.

The catalogue of a gate holds keyed digests and no code, so the bridge hashes each code with the key that the
gates of its venue have. A key that is to come lies beside the one in use, as `key.next`, until digests that
were made with it take the place of the old ones.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from firmware.files import sync_folder

KEY_BYTES = 32  # twice the digest: guessing the key is never the shorter way
NEXT = "key.next"
MARK_DIGITS = 8  # of a key's mark, for people: enough to tell two keys apart
DIGEST_BYTES = 16  # among a billion codes two share a digest with a chance of 1 in 10^21


class KeyUnusable(Exception):
    """The venue's key cannot be read, or can be read by others; the message names the file and the mend."""


def venue_key(folder: Path) -> bytes:
    """The key of this venue's digests, made where there is none. Raises `KeyUnusable`.

    A new key appears under its name whole and flushed: a cut leaves either none or all of it.
    """
    path = folder / "key"
    if not path.exists():
        put_key(folder, os.urandom(KEY_BYTES))
    return read_key(path)


def read_key(path: Path) -> bytes:
    """The key in this file. Raises `KeyUnusable`."""
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


def put_key(folder: Path, key: bytes) -> bool:
    """Give a folder without a key this one; False where it has one, perhaps from a quicker process."""
    unfinished = _written(folder, key)
    try:
        os.link(unfinished, folder / "key")  # unlike a rename it fails where another process was quicker
    except FileExistsError:
        return False
    finally:
        unfinished.unlink()
        sync_folder(folder)
    return True


def put_next_key(folder: Path, key: bytes) -> None:
    """Keep a key that is to come, in place of another such. The one in use stays. Raises `OSError`."""
    _written(folder, key).replace(folder / NEXT)
    sync_folder(folder)


def keys_of(folder: Path) -> tuple[bytes, ...]:
    """The key in use, and the one to come if there is one. Raises `KeyUnusable`.

    Either may be the key of what is in the folder at this moment: its mark tells. One that is to come and
    cannot be read is as good as none: the one in use is not worse for it.
    """
    coming: tuple[bytes, ...] = ()
    with suppress(KeyUnusable):  # looked at first: what comes into use now is seen twice, and not missed
        coming = (read_key(folder / NEXT),)
    return (read_key(folder / "key"), *coming)


def key_with(mark: bytes, keys: Sequence[bytes]) -> bytes | None:
    """The one of these keys that has this mark."""
    return next((key for key in keys if key_mark(key) == mark), None)


def settle_key(folder: Path, mark: bytes) -> None:
    """What is in use was made with the key of this mark: if it was still to come, it takes its place.

    Where it is in use already, another one that is to come stays. Only the writer of the folder may.
    """
    with suppress(KeyUnusable):
        if key_mark(read_key(folder / NEXT)) == mark:
            (folder / NEXT).replace(folder / "key")
            sync_folder(folder)


def name_of(key: bytes) -> str:
    """A key in words for people, which tells nothing of it."""
    return key_mark(key).hex()[:MARK_DIGITS]


def _written(folder: Path, key: bytes) -> Path:
    """The key in a file of its own, whole and flushed."""
    unfinished = folder / f"key-{os.getpid()}"
    unfinished.unlink(missing_ok=True)
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(handle)
    return unfinished


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
