"""What a new gate is given on its boot partition: one tar file, made by `gatepost enrol`, read by `take-up`.

enrol.toml            venue and name of the gate, where to ask for a certificate, until when
ca.pem                the authority of the venue
enrol.pem, enrol.key  what lets it ask, and nothing else
token                 one use: the first key that is asked for with it gets the gate's certificate
operators.toml        whose signatures the gate obeys
gate.toml, board.toml its settings, and how it is wired where its board is real
"""

import hashlib
import hmac
import io
import tarfile
import tomllib
from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from firmware import wire

BYTES_MAX = 1 << 20  # a whole bundle has some 40 kB; a boot partition may hold any other file of that name
FILE_BYTES_MAX = 1 << 17  # settings of 30,000 characters, each of four bytes at most
FILES = (
    "enrol.toml",
    "ca.pem",
    "enrol.pem",
    "enrol.key",
    "token",
    "operators.toml",
    "gate.toml",
    "board.toml",
)
TOKEN_MIN, TOKEN_MAX = 32, 64  # characters; 43 are 256 bits


class BundleUnusable(Exception):
    """It is no bundle, or not whole; the text names the file and the mend."""


class Enrolment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who the gate is, and where it asks for its certificate. `bundle` tells bundles apart.

    `newest` is the highest version of settings that can have been sent to a gate of this name before.
    """

    venue: wire.Name
    gate: wire.Name
    host: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,253}\Z")]
    port: Annotated[int, Meta(ge=1, le=65_535)]
    bundle: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
    until: datetime
    newest: wire.Number = 0


class Bundle(NamedTuple):
    """Its files as texts; `board` is empty for a board that needs none."""

    enrolment: Enrolment
    ca: str
    certificate: str
    key: str
    token: str
    operators: str
    settings: str
    board: str = ""


def token_digest(token: str) -> bytes:
    """What the fleet keeps of a token, which itself is in the bundle only."""
    return hashlib.sha256(token.encode()).digest()


def proof_of(digest: bytes, request: bytes) -> bytes:
    """That who makes this request (DER) has the bundle with the token of this digest.

    It is good for this request alone: who sees it on its way can put no other key into it.
    """
    return hmac.digest(digest, request, "sha256")


def enrolment_text(found: Enrolment) -> str:
    """enrol.toml."""
    return (
        f'venue = "{found.venue}"\ngate = "{found.gate}"\nhost = "{found.host}"\nport = {found.port}\n'
        f'bundle = "{found.bundle}"\nuntil = {found.until.isoformat(timespec="seconds")}\n'
        f"newest = {found.newest}\n"
    )


def enrolment_of(text: str) -> Enrolment:
    """What enrol.toml says. Raises `BundleUnusable`."""
    try:
        return msgspec.convert(tomllib.loads(text), Enrolment)
    except (ValueError, msgspec.ValidationError) as error:
        raise BundleUnusable(f"enrol.toml: {error}: make the bundle anew with gatepost enrol") from None


def packed(bundle: Bundle) -> bytes:
    """The tar file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, text in zip(FILES, (enrolment_text(bundle.enrolment), *bundle[1:]), strict=True):
            if text:
                entry = tarfile.TarInfo(name)
                data = text.encode()
                entry.size, entry.mode = len(data), 0o600
                tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def unpacked(data: bytes) -> Bundle:
    """The bundle of a tar file; what is in its files is not looked at yet. Raises `BundleUnusable`."""
    mend = "copy it to the boot partition once more, or make it anew with gatepost enrol"
    if len(data) > BYTES_MAX:
        raise BundleUnusable(f"the bundle has more than {BYTES_MAX:,} bytes: {mend}")
    texts: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for entry in tar:
                if entry.name not in FILES or not entry.isfile() or entry.size > FILE_BYTES_MAX:
                    raise BundleUnusable(
                        f"the bundle holds {entry.name[:60]!r}, which is no part of one: {mend}"
                    )
                file = tar.extractfile(entry)
                assert file is not None
                texts[entry.name] = file.read().decode()
    except (tarfile.TarError, UnicodeDecodeError, ValueError, EOFError) as error:
        raise BundleUnusable(f"the bundle cannot be read ({error}): {mend}") from None
    missing = [name for name in FILES[:-1] if not texts.get(name)]
    if missing:
        raise BundleUnusable(f"the bundle has no {', '.join(missing)}: {mend}")
    first, *rest = (texts.get(name, "") for name in FILES)
    return Bundle(enrolment_of(first), *rest)
