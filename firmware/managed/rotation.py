"""Takes the venue's new key, which was sealed for this gate.

Orders (`rotate_key`) and the first certificate bring one. It waits beside the key in use until the bridge's
whole list that is made with it is here: list and key then change in one step (`firmware.catalogue`).
"""

import time
from pathlib import Path
from threading import Event

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from firmware.catalogue import CatalogueBusy
from firmware.catalogue.folder import settle_key_in_use, writing
from firmware.files import sync_folder
from firmware.sealing import SealBroken, unseal
from firmware.venue_key import KEY_BYTES, NEXT, KeyUnusable, name_of, put_key, put_next_key, venue_key

GATE_KEY = Path("identity/gate.key")
PATIENCE_S = 5.0  # changes of the list take some 20 ms each; a whole list that is being made takes longer
LOOK_S = 0.02  # between two tries


class KeyRefused(Exception):
    """The key was not taken, and all is as before; the text says why and how to mend it."""


def take_key(data: Path, sealed: bytes, patience_s: float = PATIENCE_S) -> str:
    """Take the key for the gate whose data this is, safe on disk at the return. Says what came of it.

    The key in use stays in use until there is a list of the new one; where there is no key at all, it is
    taken at once. Any thread or process; not the loop's, for it waits for the disk. Raises `KeyRefused`.
    """
    key = _unsealed(data / GATE_KEY, sealed)
    folder = data / "catalogue"
    name = f"venue key {name_of(key)}"
    ends_s = time.monotonic() + patience_s
    pause = Event()
    while True:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with writing(folder):  # nobody makes a list with a key that is being replaced
                return _put(folder, key, name)
        except CatalogueBusy as error:
            if time.monotonic() >= ends_s:
                raise KeyRefused(f"a list is being made ({error}): send the key again in a minute") from None
            pause.wait(LOOK_S)
        except (KeyUnusable, OSError) as error:
            raise KeyRefused(f"the {name} could not be kept: {error}") from None


def _unsealed(path: Path, sealed: bytes) -> bytes:
    try:
        private = load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise ValueError("no key on an elliptic curve")
        key = unseal(private, sealed)
    except SealBroken as error:
        raise KeyRefused(f"no key was taken: {error}") from None
    except (OSError, ValueError, TypeError) as error:
        raise KeyRefused(f"no key was taken: {path}: {error}: enrol this gate anew") from None
    if len(key) != KEY_BYTES:
        raise KeyRefused(f"no key was taken: {len(key)} bytes were sealed, and a venue key has {KEY_BYTES}")
    return key


def _put(folder: Path, key: bytes, name: str) -> str:
    settle_key_in_use(folder)
    if not (folder / "key").exists() and put_key(folder, key):
        return f"{name} is in use: this gate had none"
    if venue_key(folder) == key:
        (folder / NEXT).unlink(missing_ok=True)
        sync_folder(folder)
        return f"{name} is in use already"
    put_next_key(folder, key)
    return f"{name} waits for the bridge's list that is made with it; until then the list in use stays"
