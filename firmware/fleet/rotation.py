"""The venue's new key, made when a gate was lost, and sealed for each gate that is left."""

import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from firmware.files import write_whole
from firmware.fleet.folder import Paths, writing
from firmware.sealing import seal
from firmware.venue_key import KEY_BYTES, name_of


class NotSealed(Exception):
    """There is no certificate to seal a key for; the text names the mend."""


def sealed_for(certificate_pem: bytes, key: bytes) -> bytes:
    """The key, for the gate whose certificate this is, and for nobody else. Raises `NotSealed`."""
    try:
        public = x509.load_pem_x509_certificate(certificate_pem).public_key()
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise ValueError("its key is not on P-256")
        return seal(public, key)
    except ValueError as error:
        raise NotSealed(f"no key can be sealed for this certificate: {error}: enrol the gate anew") from None


def new_venue_key(fleet: Path) -> str:
    """Make the fleet's venue key anew: on disk in `bridge/key` at the return, in place of the one before.

    Gates get it by `gatepost order`, new ones with their certificate, and the bridge by `gatepost rekey`.
    Returns its name, by which all of them tell it apart. Raises `OSError`.
    """
    key = os.urandom(KEY_BYTES)
    with writing(fleet):
        write_whole(Paths(fleet).venue_key, key)
    return name_of(key)
