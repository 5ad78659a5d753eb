"""Proves signed codes without any network: ECDSA on the curve P-256 with SHA-256, with keys kept on disk.

The keys of events come from the bridge and stay in `event-keys` in the gate's folder, so that a gate which
starts without network can check signatures. They are public; whoever could write that file could write the
catalogue too. A file that cannot be read is replaced by what the bridge says next.

The bytes under a signature are those that the code carries, never JSON that was written anew. What a
signature cannot say: whether the ticket was used, given back, or belongs to the bearer.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from firmware import wire
from firmware.core.ticket import Proof, Route
from firmware.files import sync_folder
from firmware.signed_code import NOTHING, Proven, Signature, Signing, payload_of, signature_of

FILE = "event-keys"
FILE_BYTES_MAX = wire.PAYLOAD_BYTES_MAX  # it holds a part of one message
ALGORITHM = ECDSA(SHA256())

Kept = dict[str, tuple[wire.EventKey, ...]]
_kept = msgspec.json.Decoder(Kept)


class EventKeys:
    """The public keys of events, by account. `take` is for one thread, `find` for any.

    `fault` says what is wrong with them; "" for nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._kept: Kept = {}
        self._keys: dict[tuple[str, str], tuple[EllipticCurvePublicKey, ...]] = {}
        self.fault = ""
        self._unwritten = False
        try:
            with self._path.open("rb") as file:
                kept = _kept.decode(file.read(FILE_BYTES_MAX + 1))
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is damaged"
            self.fault = f"{self._path}: {why}: no signature is checked until the bridge tells the keys again"
            self._unwritten = True
            return
        self._use(kept)

    def find(self, account: str, event: str) -> tuple[EllipticCurvePublicKey, ...]:
        """The keys of an event; none where none is known."""
        return self._keys.get((account, event), ())

    def take(self, accounts: Iterable[wire.Account]) -> None:
        """What the bridge says of its vendors. One that has no keys at the moment keeps those it had."""
        kept = {each.account: each.keys or self._kept.get(each.account, ()) for each in accounts}
        kept = {account: keys for account, keys in kept.items() if keys}
        if kept == self._kept and not self._unwritten:
            return
        self._use(kept)
        try:
            self._write(kept)
            self._unwritten = False
        except OSError as error:
            self._unwritten = True  # the bridge speaks again soon
            self.fault = f"{self._path}: {error.strerror}: a start without network would know no keys"

    def _use(self, kept: Kept) -> None:
        keys: dict[tuple[str, str], tuple[EllipticCurvePublicKey, ...]] = {}
        faults = []
        for account, each in ((account, each) for account, all_keys in kept.items() for each in all_keys):
            key = public_key_of(each.public_key)
            if key is None:
                faults.append(f"the key of event {each.event} of {account} is no public key on P-256")
            else:
                keys[account, each.event] = (*keys.get((account, each.event), ()), key)
        self._kept, self._keys = kept, keys
        self.fault = "; ".join(faults)

    def _write(self, kept: Kept) -> None:
        """The whole file anew, under its name only when it is flushed."""
        unfinished = self._path.with_suffix(".new")
        with suppress(FileNotFoundError):
            unfinished.unlink()
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(kept))
            file.flush()
            os.fsync(handle)
        unfinished.replace(self._path)
        sync_folder(self._path.parent)


def public_key_of(pem: str) -> EllipticCurvePublicKey | None:
    """The key of a PEM text; `None` where it is none, or is one of another kind."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1) else None


class Proofs:
    """Proves the codes of the routes whose codes are signed."""

    def __init__(self, routes: Iterable[tuple[Route, Signing]], keys: EventKeys) -> None:
        self._routes = tuple(routes)
        self.keys = keys

    def prove(self, code: str, route: Route) -> Proven:
        """What the signature of a code says. `route` is the very one that the rulebook gave."""
        signing = next((signing for own, signing in self._routes if own is route), None)
        if signing is None:
            return NOTHING
        required = signing.signature is Signature.REQUIRE
        payload = payload_of(code)
        if payload is None:
            return Proven(Proof.LACKING) if required else NOTHING
        if payload.event != signing.event:
            return Proven(Proof.LACKING if required else Proof.OTHER_EVENT)
        keys = self.keys.find(signing.account, signing.event)
        if not keys:
            return Proven(Proof.NO_KEY) if required else NOTHING
        signature = signature_of(code)
        if signature is not None and any(is_genuine(key, signature, payload.signed) for key in keys):
            return Proven(Proof.VALID, f"{signing.account}:{payload.ticket_id}")
        return Proven(Proof.LACKING if required else Proof.FORGED)

    def fault(self) -> str:
        """What is wrong with the keys, or which of them are not known, for people; "" for nothing."""
        signings = [signing for _, signing in self._routes]
        names = [f"{s.event} of {s.account}" for s in signings if not self.keys.find(s.account, s.event)]
        missing = (
            f"no key of event {', '.join(names)}: its signatures are not checked until the bridge tells it"
        )
        return "; ".join(filter(None, (self.keys.fault, missing if names else "")))


def is_genuine(key: EllipticCurvePublicKey, signature: bytes, signed: bytes) -> bool:
    """Whether the owner of the key signed these bytes. The signature is DER."""
    try:
        key.verify(signature, signed, ALGORITHM)
    except InvalidSignature:
        return False
    return True
