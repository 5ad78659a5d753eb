"""`gatepost take-up`: a gate takes up the bundle on its boot partition, at its first start.

Everything is checked before anything is written, and the bundle goes only when all of it is safe on disk. A
power cut at any step leaves the bundle where it was, and the next start begins again; nothing is done twice.
"""

import os
import pwd
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from firmware.bundle import (
    BYTES_MAX,
    TOKEN_MAX,
    TOKEN_MIN,
    Bundle,
    BundleUnusable,
    enrolment_of,
    enrolment_text,
    unpacked,
)
from firmware.config import parse
from firmware.files import sync_folder, write_whole
from firmware.signing import OperatorsUnusable, operators_of
from hal import wiring
from hal.setting_error import SettingError

PUBLIC = 0o644
MEND = "make the bundle anew with gatepost enrol"


class Owner(NamedTuple):
    """To whom the data folder belongs."""

    user: int
    group: int


def owner_of(name: str) -> Owner:
    """A user of this computer. Raises `BundleUnusable`."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise BundleUnusable(f"there is no user {name}: run deploy/install.sh first") from None
    return Owner(found.pw_uid, found.pw_gid)


def check(bundle: Bundle, etc: Path) -> None:
    """Whether a gate could work with it, its settings in `etc`. Raises `BundleUnusable`, `SettingsError`."""
    enrolment = bundle.enrolment
    settings = parse(bundle.settings, "gate.toml")
    for what, here, there in (
        ("gate.name", settings.gate_name, enrolment.gate),
        ("gate.venue", settings.venue, enrolment.venue),
    ):
        if here != there:
            raise BundleUnusable(
                f'gate.toml: {what}: is "{here}", and the bundle is for "{there}": write that'
            )
    if not settings.brokers:
        raise BundleUnusable(
            f'gate.toml: has no [[broker]]: write [[broker]] and host = "{enrolment.host}" below it'
        )
    if not all(broker.tls for broker in settings.brokers):
        raise BundleUnusable(
            "gate.toml: broker.tls: a gate with a certificate needs it: take tls = false out"
        )
    _check_board(bundle, settings.board_file, etc / "board.toml")
    _check_certificates(bundle)
    if not TOKEN_MIN <= len(bundle.token) <= TOKEN_MAX or not bundle.token.isascii():
        raise BundleUnusable(f"token: is none of ours: {MEND}")
    try:
        operators_of(bundle.operators)
    except OperatorsUnusable as error:
        raise BundleUnusable(str(error)) from None


def _check_board(bundle: Bundle, named: str, place: Path) -> None:
    if not named:
        if bundle.board:
            raise BundleUnusable(
                f'gate.toml: board.file: is missing, and there is a board file: write file = "{place}"'
            )
        return
    if not bundle.board:
        raise BundleUnusable(f"the settings want the board file {named}: add it with --board")
    if Path(named) != place:
        raise BundleUnusable(f'gate.toml: board.file: is "{named}": the gate finds it as "{place}"')
    try:
        wiring.parse(bundle.board, "board.toml")
    except SettingError as error:
        raise BundleUnusable(str(error)) from None


def _check_certificates(bundle: Bundle) -> None:
    try:
        authority = x509.load_pem_x509_certificate(bundle.ca.encode())
        basic = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
        authority.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
        raise BundleUnusable(f"ca.pem: is no authority ({type(error).__name__}): {MEND}") from None
    if not basic.ca:
        raise BundleUnusable(f"ca.pem: is a certificate, and no authority: {MEND}")
    try:
        own = x509.load_pem_x509_certificate(bundle.certificate.encode())
        key = load_pem_private_key(bundle.key.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise BundleUnusable(f"enrol.pem or enrol.key cannot be read ({error}): {MEND}") from None
    if own.public_key() != key.public_key():
        raise BundleUnusable(f"enrol.key is not the key of enrol.pem: {MEND}")


class Taken(NamedTuple):
    """What came of it. `news` are lines for people; `left` says why the bundle could not be removed."""

    news: list[str]
    left: str = ""


def take_up(
    path: Path,
    etc: Path,
    data: Path,
    owner: Owner | None = None,
    step: Callable[[str], None] = lambda _: None,
) -> Taken:
    """Put a bundle into use, and remove it. Raises `BundleUnusable`, `SettingsError`, `OSError`.

    `owner` is whose the data folder is, where we are root; `step` is told what comes next.
    """
    with path.open("rb") as file:
        found = file.read(BYTES_MAX + 1)
    if not any(found):  # the power was cut while it was being removed
        path.unlink()
        return Taken([f"{path}: what was left of a bundle removed"])
    bundle = unpacked(found)
    check(bundle, etc)
    news = []
    step("etc")
    etc.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, text in (("board.toml", bundle.board), ("gate.toml", bundle.settings)):
        if text and _replaced(etc / name, text, step):
            news.append(f"{etc / name} written")
    step("identity")
    if not data.exists():
        data.mkdir(mode=0o700, parents=True)
    if owner is not None and data.stat().st_uid != owner.user:  # also a disk of its own that is still empty
        os.chown(data, *owner)
    with acting_as(owner):
        if _known(data / "identity") == bundle.enrolment.bundle:
            news.append(f"{data / 'identity'} was taken up before")
        else:
            _put_identity(bundle, data, step)
            name, venue = bundle.enrolment.gate, bundle.enrolment.venue
            news.append(f'{data / "identity"} written: gate "{name}" of {venue}')
    if bundle.enrolment.until < datetime.now(UTC):
        news.append(f"the token ends at {bundle.enrolment.until:%Y-%m-%d}, which has passed by this clock")
    step("remove")
    try:
        _remove(path, step)
    except OSError as error:
        mend = "mount the boot partition writable and remove it: whoever finds it may try its token"
        return Taken(news, f"{path}: could not be removed ({error.strerror}): {mend}")
    return Taken([*news, f"{path} removed"])


def _replaced(path: Path, text: str, step: Callable[[str], None]) -> bool:
    """Put a file into `etc`; the one that was there stays beside it. False: it is there already."""
    with suppress(OSError):
        if path.read_text("utf-8") == text:
            return False
        shutil.copy2(path, path.with_name(f"{path.name}.before"))
    step(f"write {path.name}")
    write_whole(path, text.encode(), PUBLIC)
    return True


def _known(identity: Path) -> str:
    """The bundle that was taken up before; "" where there was none."""
    with suppress(OSError, BundleUnusable):
        return enrolment_of((identity / "enrol.toml").read_text("utf-8")).bundle
    return ""


@contextmanager
def acting_as(owner: Owner | None) -> Iterator[None]:
    """Write as that user: root must not follow what others may have laid out in their own folder."""
    if owner is None:
        yield
        return
    us = os.geteuid(), os.getegid()
    os.setegid(owner.group)
    os.seteuid(owner.user)
    try:
        yield
    finally:
        os.seteuid(us[0])
        os.setegid(us[1])


def _put_identity(bundle: Bundle, data: Path, step: Callable[[str], None]) -> None:
    """All files of the identity appear together, as a folder; one from before is removed after that."""
    fresh, before, place = data / "identity.new", data / "identity.before", data / "identity"
    for leftover in (fresh, *([before] if place.exists() else [])):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    for name, text in (
        ("ca.pem", bundle.ca),
        ("enrol.pem", bundle.certificate),
        ("enrol.key", bundle.key),
        ("token", bundle.token),
        ("operators.toml", bundle.operators),
        ("enrol.toml", enrolment_text(bundle.enrolment)),
    ):
        step(f"write {name}")
        write_whole(fresh / name, text.encode())
    sync_folder(fresh)
    step("swap")
    if place.exists():
        place.rename(before)
    step("swap, second half")
    fresh.rename(place)
    sync_folder(data)
    step("clean")
    shutil.rmtree(before, ignore_errors=True)


def _remove(path: Path, step: Callable[[str], None]) -> None:
    """Overwrite the bundle, because a boot partition keeps what was unlinked; then remove it."""
    with path.open("r+b") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(0)
        file.write(bytes(length))
        file.flush()
        os.fsync(file.fileno())
    step("unlink")
    path.unlink()
    sync_folder(path.parent)
