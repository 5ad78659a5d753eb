"""The venue's new key, made when a gate was lost, and sealed for each gate that is left."""

import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from firmware.files import write_whole
from firmware.fleet.folder import Paths, writing
from firmware.fleet.folder import gate as known_gate
from firmware.sealing import seal
from firmware.venue_key import KEY_BYTES, name_of

LEFT_IN = "restart the brokers with the new crl.pem, which ends its connection"
REVOKED = f"gets no key: it was revoked, and is connected all the same: {LEFT_IN}"
UNKNOWN = (
    f"gets no key: the fleet's folder has no certificate of it: if its card was lost, {LEFT_IN}; else enrol"
)


class NotSealed(Exception):
    """There is no certificate to seal a key for; the text names the mend."""


def certificate_of(fleet: Path, gate: str) -> bytes:
    """The certificate of a gate that the venue's key may be sealed for. Raises `NotSealed`, `FleetUnusable`.

    That a gate is connected is a broker's word only: a revoked one may be, and anybody may bear its name.
    """
    known = known_gate(fleet, gate)
    if known is not None and known.revoked:
        raise NotSealed(REVOKED)
    path = Paths(fleet).gate(gate).with_suffix(".pem")
    if known is None or not known.serials or not path.exists():
        raise NotSealed(UNKNOWN)
    pem = path.read_bytes()
    try:
        serial = f"{x509.load_pem_x509_certificate(pem).serial_number:x}"
    except ValueError as error:
        raise NotSealed(f"gets no key: {path}: {error}: put it back from your copy") from None
    if serial not in known.serials:
        raise NotSealed(UNKNOWN)
    return pem


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
