"""A fleet's folder on the engineer's computer: what lies where, and how it is read and written.

    fleet.toml                 the venue, its broker, and the cloud's where there is one
    ca.pem, ca.key             the authority of everybody who connects; who has the key can make gates
    enrol-ca.pem, enrol-ca.key that of gates which have no certificate of their own yet
    operators.toml             whose signatures count, for every bundle
    operators/ann.*            a person: .key signs orders, .tls.key and .pem connect
    broker/, cloud/            all that the venue's and the cloud's broker need
    bridge/                    what the bridge needs, with the venue's key
    serve/                     with what `gatepost fleet serve` connects
    gates/north.json, .pem     a gate: its token, its certificates
    gates/north.version        the highest version of settings that was given out for it
    revoked.json               certificates that count no more
    lock                       one command at a time writes here

Every file appears whole or not at all, and private ones may be read by their owner only.
"""

import fcntl
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Meta

from firmware import wire
from firmware.files import write_whole
from firmware.fleet.certificates import Issuer, issuer_of
from firmware.mqtt import Broker, Tls
from firmware.signing import Operator, operators_of

PORT, ENROL_PORT = 8883, 8884  # of the broker: gates with a certificate, gates without one yet
FILE_BYTES_MAX = 1 << 20  # the list of a thousand gates' lost certificates is below
VERSION_DIGITS_MAX = 18  # fits into what a message can hold
SERIALS_MAX = 64  # of one gate: a certificate each year, and a new card each month

Port = Annotated[int, Meta(ge=1, le=65_535)]
Host = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,253}\Z")]

Shape = TypeVar("Shape")


class FleetUnusable(Exception):
    """The folder is no fleet, or not whole; the text names the file and the mend."""


class Fleet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What fleet.toml says. Gates connect to `host`; `cloud` is empty where that broker is the only one."""

    venue: wire.Name
    host: Host
    port: Port = PORT
    enrol_port: Port = ENROL_PORT
    cloud: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{0,253}\Z")] = ""
    cloud_port: Port = PORT

    @property
    def operated_at(self) -> tuple[str, int]:
        """Where operators and the fleet itself connect: the cloud's broker, else the venue's."""
        return (self.cloud, self.cloud_port) if self.cloud else (self.host, self.port)


class Gate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the fleet knows of a gate.

    `token` is the SHA-256 of the newest bundle's token, in hexadecimal digits (who has that can prove to have
    the token) and `token_until` its end; `used_by` marks the key that used it ("" while nobody did). `key`
    marks that of the newest certificate, and `serials` are those of all its certificates that were not
    revoked; `bundles` likewise of those in its bundles, with which it may ask.
    """

    gate: wire.Name
    token: str = ""
    token_until: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    used_by: str = ""
    key: str = ""
    serials: tuple[str, ...] = ()
    bundles: tuple[str, ...] = ()
    revoked: bool = False


class Revoked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A certificate that counts no more: its number in hexadecimal digits, whose it was, and since when.

    `bundle` where it was in a bundle: it is then on the list of the other authority.
    """

    serial: str
    name: str
    since: datetime
    bundle: bool = False


class Paths(NamedTuple):
    """Where things lie."""

    folder: Path

    @property
    def settings(self) -> Path:
        return self.folder / "fleet.toml"

    @property
    def operators(self) -> Path:
        return self.folder / "operators.toml"

    @property
    def venue_key(self) -> Path:
        return self.folder / "bridge" / "key"

    def gate(self, name: str) -> Path:
        """The record of a gate; its certificate lies beside it."""
        return self.folder / "gates" / f"{name}.json"


def load(folder: Path) -> Fleet:
    """What the folder's fleet.toml says. Raises `FleetUnusable`."""
    path = Paths(folder).settings
    try:
        return msgspec.convert(tomllib.loads(_read(path).decode()), Fleet)
    except (ValueError, msgspec.ValidationError) as error:
        raise FleetUnusable(f"{path}: {error}: mend the file") from None


def text_of(fleet: Fleet) -> str:
    """fleet.toml."""
    lines = [f'venue = "{fleet.venue}"', f'host = "{fleet.host}"', f"port = {fleet.port}"]
    lines += [f"enrol_port = {fleet.enrol_port}"]
    if fleet.cloud:
        lines += [f'cloud = "{fleet.cloud}"', f"cloud_port = {fleet.cloud_port}"]
    return "\n".join(lines) + "\n"


def issuer(folder: Path, name: str = "ca") -> Issuer:
    """The fleet's authority, or with `enrol-ca` that of new gates. Raises `FleetUnusable`."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    if key.exists() and key.stat().st_mode & 0o077:
        raise FleetUnusable(f"{key}: others may read it, and who has it can make gates: chmod 600 {key}")
    try:
        return issuer_of(_read(certificate), _read(key))
    except ValueError as error:
        raise FleetUnusable(f"{key} with {certificate}: {error}: put both back from your copy") from None


def operators(folder: Path) -> dict[str, Operator]:
    """Whose signatures count, by the id of their key. Raises `FleetUnusable`, `OperatorsUnusable`."""
    path = Paths(folder).operators
    if not path.exists():
        raise FleetUnusable(f"{path}: nobody may give orders yet: gatepost fleet operator {folder} NAME")
    return operators_of(_read(path).decode("utf-8", "replace"))


def operator_key(folder: Path, name: str) -> Ed25519PrivateKey:
    """With what this operator signs. Raises `FleetUnusable`."""
    path = folder / "operators" / f"{name}.key"
    if not path.exists():
        there = ", ".join(sorted(each.stem for each in path.parent.glob("*.pem"))) or "nobody"
        raise FleetUnusable(f"{path}: is not there; this folder has the keys of {there}: choose one of them")
    if path.stat().st_mode & 0o077:
        raise FleetUnusable(f"{path}: others may read it, and sign with it: chmod 600 {path}")
    try:
        key = load_pem_private_key(_read(path), password=None)
    except ValueError as error:
        raise FleetUnusable(f"{path}: {error}: put it back from your copy") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise FleetUnusable(f"{path}: is no Ed25519 key: put it back from your copy")
    return key


def operator_broker(folder: Path, fleet: Fleet, name: str) -> Broker:
    """Where this operator connects, with the certificate of the role."""
    own = folder.absolute() / "operators"
    tls = Tls(str(folder.absolute() / "ca.pem"), str(own / f"{name}.pem"), str(own / f"{name}.tls.key"))
    return Broker(*fleet.operated_at, tls)


def gate(folder: Path, name: str) -> Gate | None:
    """What is known of a gate; `None` where there was never a bundle for it. Raises `FleetUnusable`."""
    path = Paths(folder).gate(name)
    return _decoded(path, Gate) if path.exists() else None


def gates(folder: Path) -> list[Gate]:
    """All gates, by name. Raises `FleetUnusable`."""
    return [_decoded(path, Gate) for path in sorted((folder / "gates").glob("*.json"))]


def keep_gate(folder: Path, found: Gate) -> None:
    """Write what is known of a gate; on disk when this returns."""
    write_whole(Paths(folder).gate(found.gate), msgspec.json.format(msgspec.json.encode(found)) + b"\n")


def revoked(folder: Path) -> list[Revoked]:
    """Every certificate that counts no more. Raises `FleetUnusable`."""
    path = folder / "revoked.json"
    return _decoded(path, list[Revoked]) if path.exists() else []


def keep_revoked(folder: Path, found: list[Revoked]) -> None:
    """Write that list."""
    write_whole(folder / "revoked.json", msgspec.json.format(msgspec.json.encode(found)) + b"\n")


def next_version(folder: Path, gate: str, utc_s: int) -> int:
    """A version of settings that no gate of this name was sent before, on disk when this returns.

    They grow with the time, in seconds: with several people's folders, and one that was put back from a
    copy, the later is the higher. Nothing that came over the network has a say in it. Raises `FleetUnusable`.
    """
    path = folder / "gates" / f"{gate}.version"
    with writing(folder):
        text = path.read_text("ascii", "replace").strip() if path.exists() else "0"
        if not (text.isdecimal() and len(text) <= VERSION_DIGITS_MAX):
            raise FleetUnusable(f"{path}: is no version: remove it, and see that the clock is right")
        version = max(int(text) + 1, utc_s)
        make_folder(path.parent)
        write_whole(path, f"{version}\n".encode())
    return version


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Be the one who writes; waits for a command that does. Nobody holds it for longer than a moment."""
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """A folder that its owner alone may look into."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def _decoded(path: Path, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(_read(path), type=shape)
    except (ValueError, msgspec.ValidationError) as error:
        raise FleetUnusable(f"{path}: {error}: put it back from your copy") from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX)
    except FileNotFoundError:
        mend = "is this a fleet's folder? gatepost fleet init makes one"
        raise FleetUnusable(f"{path}: is not there: {mend}") from None
