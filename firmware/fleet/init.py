"""Makes a fleet: its authority, what its brokers and its bridge need, and its operators' keys.

`gatepost fleet init`, `operator` and `broker`. Where it all lies: `firmware.fleet.folder`.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from firmware.files import write_whole
from firmware.fleet import folder as stored
from firmware.fleet.access import BRIDGE, FLEET, STEWARD, SUPERVISOR, VENUE, access, enrol_access
from firmware.fleet.certificates import (
    Issuer,
    Use,
    authority,
    issued,
    key_pem,
    new_key,
    pem,
    revocations,
)
from firmware.fleet.folder import Fleet, FleetUnusable, Paths, make_folder
from firmware.signing import OPERATORS_MAX, Operator, Role, key_id, text_of
from firmware.venue_key import venue_key

LIFE = timedelta(days=5 * 365)  # of brokers, bridges and people; `gatepost fleet show` says when it ends
PUBLIC = 0o644  # certificates and lists are no secrets
ROLE_NAMES = {Role.STEWARD: STEWARD, Role.SUPERVISOR: SUPERVISOR}


class Made(NamedTuple):
    """The two authorities of a fleet: of those who connect, and of gates that have no certificate yet."""

    issuer: Issuer
    enrol: Issuer


def make(folder: Path, fleet: Fleet, now: datetime) -> None:
    """A whole new fleet. Raises `FleetUnusable` where there is one already."""
    for there in (Paths(folder).settings, folder / "ca.key"):
        if there.exists():
            mend = "choose another folder; an authority that is lost cannot be made again"
            raise FleetUnusable(f"{there}: there is a fleet here already: {mend}")
    made = Made(authority(f"{fleet.venue} gates", now), authority(f"{fleet.venue} enrolment", now))
    for place in (folder, folder / "gates", folder / "operators"):
        make_folder(place)
    _put_places(folder, fleet, made, (), now)
    venue_key(folder / "bridge")
    for name, issuer in (("enrol-ca", made.enrol), ("ca", made.issuer)):
        write_whole(folder / f"{name}.pem", pem(issuer.certificate), PUBLIC)
        write_whole(folder / f"{name}.key", key_pem(issuer.key))
    write_whole(Paths(folder).settings, stored.text_of(fleet).encode(), PUBLIC)


def renew(folder: Path, names: Sequence[str], now: datetime) -> None:
    """Make anew what brokers, bridge and `fleet serve` connect with; the venue's key stays.

    `names` are more names or addresses of the venue's broker, besides the one of fleet.toml.
    """
    fleet = stored.load(folder)
    made = issuers(folder)
    with stored.writing(folder):
        _put_places(folder, fleet, made, names, now)


def issuers(folder: Path) -> Made:
    """Both authorities of a fleet. Raises `FleetUnusable`."""
    return Made(stored.issuer(folder), stored.issuer(folder, "enrol-ca"))


def add_operator(folder: Path, name: str, role: Role, now: datetime) -> Operator:
    """A person who may give orders. Raises `FleetUnusable` where the name is taken."""
    issuer = stored.issuer(folder)
    with stored.writing(folder):
        known = operators_there(folder)
        if len([each for each in known if each.name != name]) >= OPERATORS_MAX:
            raise FleetUnusable(f"{folder}: {OPERATORS_MAX} operators are there: revoke one first")
        if any(each.name == name for each in known):
            raise FleetUnusable(
                f'operator "{name}" is there already: choose another name, or first '
                f"gatepost fleet revoke {folder} --operator {name}"
            )
        signs, connects = Ed25519PrivateKey.generate(), new_key()
        made = Operator(key_id(signs.public_key()), name, role, signs.public_key())
        certificate = issued(issuer, connects.public_key(), ROLE_NAMES[role], Use.CLIENT, now, LIFE)
        own = folder / "operators"
        signing = signs.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_whole(own / f"{name}.key", signing)
        write_whole(own / f"{name}.tls.key", key_pem(connects))
        write_whole(own / f"{name}.pem", pem(certificate), PUBLIC)
        write_operators(folder, [*known, made])
    return made


def operators_there(folder: Path) -> list[Operator]:
    """Those of operators.toml; none where nobody was ever added."""
    return [*stored.operators(folder).values()] if Paths(folder).operators.exists() else []


def write_operators(folder: Path, operators: Iterable[Operator]) -> None:
    """The list of those whose signatures count."""
    write_whole(Paths(folder).operators, text_of([*operators]).encode(), PUBLIC)


def write_revocations(folder: Path, made: Made, now: datetime) -> None:
    """The lists of revoked certificates: in the folder of each broker, and of bundles in the venue's."""
    places = [place for place in (folder / "broker", folder / "cloud") if place.is_dir()]
    _write_list(places, "crl.pem", folder, made.issuer, now)
    _write_list(places[:1], "enrol-crl.pem", folder, made.enrol, now, bundles=True)


def _write_list(
    places: Sequence[Path], name: str, folder: Path, issuer: Issuer, now: datetime, bundles: bool = False
) -> None:
    serials = [int(each.serial, 16) for each in stored.revoked(folder) if each.bundle == bundles]
    known = places[0] / name
    before = known.read_bytes() if known.exists() else b""
    text = revocations(issuer, serials, now, before)
    for place in places:
        write_whole(place / name, text, PUBLIC)


def _put_places(folder: Path, fleet: Fleet, made: Made, names: Sequence[str], now: datetime) -> None:
    _put_brokers(folder, fleet, made, names, now)
    _put(folder / "bridge", "bridge", made.issuer, BRIDGE, now)
    _put(folder / "serve", "fleet", made.issuer, FLEET, now)


def _put_brokers(folder: Path, fleet: Fleet, made: Made, names: Sequence[str], now: datetime) -> None:
    """What a broker's folder of certificates and access lists holds, whole."""
    hosts = {"broker": (fleet.host, *names)} | ({"cloud": (fleet.cloud,)} if fleet.cloud else {})
    for place, own in hosts.items():
        to = folder / place
        make_folder(to)
        _put(to, "broker", made.issuer, "Broker", now, Use.SERVER, own)
        write_whole(to / "broker.acl", access(fleet.venue).encode(), PUBLIC)
    to = folder / "broker"
    write_whole(to / "enrol.acl", enrol_access(fleet.venue).encode(), PUBLIC)
    write_whole(to / "enrol-ca.pem", pem(made.enrol.certificate), PUBLIC)
    if fleet.cloud:
        _put(to, "venue", made.issuer, VENUE, now)
    write_revocations(folder, made, now)


def _put(
    to: Path,
    file_name: str,
    issuer: Issuer,
    name: str,
    now: datetime,
    use: Use = Use.CLIENT,
    hosts: Sequence[str] = (),
) -> None:
    """A new key with its certificate, and the authority that the other end is checked with."""
    key = new_key()
    make_folder(to)
    write_whole(to / f"{file_name}.key", key_pem(key))
    write_whole(
        to / f"{file_name}.pem", pem(issued(issuer, key.public_key(), name, use, now, LIFE, hosts)), PUBLIC
    )
    write_whole(to / "ca.pem", pem(issuer.certificate), PUBLIC)
