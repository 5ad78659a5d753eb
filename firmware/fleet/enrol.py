"""Makes the bundle of one gate, and answers a gate that asks for a certificate with it.

A token lets the first key that is asked for with it have the gate's certificate, once. It is never sent: a
request comes with a proof of it. The same key may ask again, for an answer may be lost; another key is
refused and reported: somebody has copied the bundle.
"""

import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography import x509

from firmware import wire
from firmware.bundle import Bundle, Enrolment, packed, proof_of, token_digest
from firmware.files import write_whole
from firmware.fleet import folder as stored
from firmware.fleet.certificates import (
    NoRequest,
    Use,
    issued,
    key_pem,
    mark,
    new_key,
    pem,
    requested,
)
from firmware.fleet.folder import SERIALS_MAX, FleetUnusable, Gate, Paths, Revoked
from firmware.fleet.init import Made, issuers, operators_there, write_operators, write_revocations
from firmware.sealing import seal, signed_by
from firmware.take_up import check
from firmware.venue_key import venue_key

TOKEN_BYTES = 32
TOKEN_LIFE = timedelta(days=90)  # cards are written before a season, and gates start in it
GATE_LIFE = timedelta(days=730)  # a gate that winters in a hall still has a third of it left
RENEWED_FROM = 0.5  # of a life: gates ask when two thirds are over; who asks sooner gets the same one again


def bundle_for(
    folder: Path,
    name: str,
    settings: str,
    board: str,
    etc: Path,
    now: datetime,
    token_life: timedelta = TOKEN_LIFE,
) -> bytes:
    """The bundle of a gate, with a new token; the one before counts no more.

    Raises `FleetUnusable`, and what `take_up.check` raises: the gate will look at it in the same way.
    """
    fleet, enrol = stored.load(folder), stored.issuer(folder, "enrol-ca")
    stored.operators(folder)  # nobody could manage a gate that knows no operators
    known = stored.gate(folder, name)
    if known is not None and known.serials:
        mend = f"gatepost fleet revoke {folder} {name}"
        raise FleetUnusable(f'gate "{name}" has a certificate: if its card is lost or wiped, first {mend}')
    key, token = new_key(), secrets.token_urlsafe(TOKEN_BYTES)
    lets_ask = issued(enrol, key.public_key(), name, Use.CLIENT, now, token_life)
    bundle = Bundle(
        Enrolment(
            venue=fleet.venue,
            gate=name,
            host=fleet.host,
            port=fleet.enrol_port,
            bundle=secrets.token_hex(8),
            until=(now + token_life).replace(microsecond=0),
        ),
        (folder / "ca.pem").read_text("ascii"),
        pem(lets_ask).decode(),
        key_pem(key).decode(),
        token,
        Paths(folder).operators.read_text("utf-8"),
        settings,
        board,
    )
    check(bundle, etc)
    newest = stored.next_version(folder, name, int(now.timestamp()))  # what was sent before is below it
    bundle = bundle._replace(enrolment=msgspec.structs.replace(bundle.enrolment, newest=newest))
    with stored.writing(folder):
        known = stored.gate(folder, name)
        bundles = (*(known.bundles if known else ()), f"{lets_ask.serial_number:x}")[-SERIALS_MAX:]
        made = Gate(name, token_digest(token).hex(), bundle.enrolment.until, bundles=bundles)
        stored.keep_gate(folder, made)
    return packed(bundle)


# --- answers ----------------------------------------------------------------------------------------------


class Came(Enum):
    """What became of a request, for the engineer."""

    ISSUED = "has its certificate"
    RENEWED = "has a new certificate"
    AGAIN = "asked once more, and was sent the same certificate"
    REFUSED = "was refused"
    MISUSED = "was refused: its token is used already, with another key"


class Decision(NamedTuple):
    """What to answer a gate, and what to tell the engineer."""

    answer: wire.IdentityAnswer
    came: Came
    text: str = ""


def decide(
    folder: Path, name: str, request: wire.IdentityRequest, now: datetime, life: timedelta = GATE_LIFE
) -> Decision:
    """The answer to a request that came on this gate's topic; what it changes is on disk.

    Raises `FleetUnusable`, `OSError`.
    """
    issuer = stored.issuer(folder)
    try:
        key = requested(request.request, name)
    except NoRequest as error:
        return _refusal(f"the request cannot be read: {error}")
    with stored.writing(folder):
        known = stored.gate(folder, name)
        if known is None:
            return _refusal("this fleet knows no such gate: make a bundle with gatepost enrol")
        if known.revoked:
            return _refusal("this gate was revoked: a new bundle from gatepost enrol lets it in again")
        marked = mark(key)
        current = _certificate(folder, known, marked)
        if request.proof:
            if refused := _token_fault(known, request, marked, now):
                return refused
        elif current is None:
            return _refusal(
                "the key is not that of its newest certificate: revoke the gate, and enrol it anew"
            )
        elif current.not_valid_after_utc < now:
            return _refusal("its certificate has ended: revoke the gate, and enrol it anew")
        sealed, signature = b"", b""
        if request.proof:
            sealed = seal(key, venue_key(Paths(folder).venue_key.parent))
            signature = signed_by(issuer.key, name, key, sealed)
        if current is not None and _left(current, now) >= RENEWED_FROM:
            return Decision(wire.IdentityAnswer(pem(current).decode(), sealed, signature), Came.AGAIN)
        if len(known.serials) >= SERIALS_MAX:
            return _refusal(
                f"{SERIALS_MAX} certificates were made for it: revoke the gate, and enrol it anew"
            )
        made = issued(issuer, key, name, Use.CLIENT, now, life)
        serials = (*known.serials, f"{made.serial_number:x}")
        used_by = marked if request.proof else known.used_by
        # The record first: no certificate is ever out there that a revocation would not know.
        stored.keep_gate(folder, msgspec.structs.replace(known, key=marked, serials=serials, used_by=used_by))
        write_whole(Paths(folder).gate(name).with_suffix(".pem"), pem(made), 0o644)
        came = Came.ISSUED if request.proof else Came.RENEWED
        until = f"valid until {made.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        return Decision(wire.IdentityAnswer(pem(made).decode(), sealed, signature), came, until)


def _token_fault(known: Gate, request: wire.IdentityRequest, marked: str, now: datetime) -> Decision | None:
    expected = proof_of(bytes.fromhex(known.token), request.request)
    if not known.token or not hmac.compare_digest(request.proof, expected):
        return _refusal("the token is not that of its newest bundle")
    if known.used_by and known.used_by != marked:
        text = "somebody has a copy of its bundle, or its card was written twice: revoke the gate if in doubt"
        return Decision(wire.IdentityAnswer(refused="the token was used already"), Came.MISUSED, text)
    if not known.used_by and now > known.token_until:
        return _refusal(f"its token ended at {known.token_until:%Y-%m-%d}: make a new bundle")
    return None


def _certificate(folder: Path, known: Gate, marked: str) -> x509.Certificate | None:
    """The newest certificate of a gate, where it is for this key."""
    path = Paths(folder).gate(known.gate).with_suffix(".pem")
    if marked != known.key or not path.exists():
        return None
    found = x509.load_pem_x509_certificate(path.read_bytes())
    return found if f"{found.serial_number:x}" in known.serials else None


def _left(certificate: x509.Certificate, now: datetime) -> float:
    """How much of its life is left, 1 to 0."""
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return (until - now) / (until - since)


def _refusal(text: str) -> Decision:
    return Decision(wire.IdentityAnswer(refused=text), Came.REFUSED, text)


# --- the end of a certificate -----------------------------------------------------------------------------


def revoke_gate(folder: Path, name: str, now: datetime) -> int:
    """Let a gate in no more; how many certificates that are. Twice is fine. Raises `FleetUnusable`.

    The brokers' lists are written; a broker must read its own anew (deploy/fleet.md).
    """
    made = issuers(folder)
    with stored.writing(folder):
        known = stored.gate(folder, name)
        if known is None:
            there = ", ".join(each.gate for each in stored.gates(folder)) or "none"
            raise FleetUnusable(f'this fleet knows no gate "{name}": its gates: {there}')
        _revoke(folder, made, name, known.serials, known.bundles, now)
        stored.keep_gate(folder, Gate(name, revoked=True))
        Paths(folder).gate(name).with_suffix(".pem").unlink(missing_ok=True)
        return len(known.serials)


def revoke_operator(folder: Path, name: str, now: datetime) -> None:
    """Take somebody's keys away. Raises `FleetUnusable`. Gates must be told: their settings have the list."""
    made = issuers(folder)
    with stored.writing(folder):
        known = operators_there(folder)
        rest = [each for each in known if each.name != name]
        path = folder / "operators" / f"{name}.pem"
        if len(rest) == len(known) and not path.exists():
            there = ", ".join(each.name for each in known) or "none"
            raise FleetUnusable(f'this fleet knows no operator "{name}": its operators: {there}')
        if not rest:
            raise FleetUnusable(f'"{name}" is the only operator: add another one first, or nobody is obeyed')
        write_operators(folder, rest)
        if path.exists():
            serial = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
            _revoke(folder, made, name, [f"{serial:x}"], (), now)
        for suffix in (".key", ".tls.key", ".pem"):
            (folder / "operators" / f"{name}{suffix}").unlink(missing_ok=True)


def _revoke(
    folder: Path, made: Made, name: str, serials: Iterable[str], bundles: Iterable[str], now: datetime
) -> None:
    known = stored.revoked(folder)
    there, since = {each.serial for each in known}, now.replace(microsecond=0)
    known += [Revoked(serial, name, since) for serial in serials if serial not in there]
    known += [Revoked(serial, name, since, bundle=True) for serial in bundles if serial not in there]
    stored.keep_revoked(folder, known)
    write_revocations(folder, made, now)
