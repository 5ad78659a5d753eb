"""A gate takes the venue's new key where it was sealed for that gate, and nothing else."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from firmware.catalogue.folder import writing
from firmware.fleet.certificates import Use, authority, issued, pem
from firmware.fleet.rotation import NotSealed, new_venue_key, sealed_for
from firmware.managed.rotation import KeyRefused, take_key
from firmware.sealing import seal
from firmware.venue_key import key_mark, keys_of, name_of, put_key
from tests.feeds import PATIENCE_S

OLD, NEW, THIRD = (bytes([number]) * 32 for number in (1, 2, 3))
GATE = ec.derive_private_key(11, ec.SECP256R1())
OTHER = ec.derive_private_key(12, ec.SECP256R1())


def sealed(key: bytes, holder: ec.EllipticCurvePrivateKey = GATE) -> bytes:
    return seal(holder.public_key(), key)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    own = tmp_path / "data"
    (own / "identity").mkdir(parents=True)
    (own / "identity" / "gate.key").write_bytes(
        GATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return own


@pytest.fixture
def keyed_data(data: Path) -> Path:
    (data / "catalogue").mkdir(mode=0o700)
    put_key(data / "catalogue", OLD)
    return data


def files(data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (data / "catalogue").iterdir() if path.name != "lock"}


def test_a_new_key_waits_beside_the_one_in_use_for_its_owner_only(keyed_data: Path) -> None:
    text = take_key(keyed_data, sealed(NEW))
    assert text.startswith(f"venue key {key_mark(NEW).hex()[:8]} waits for the bridge's list")
    assert files(keyed_data) == {"key": OLD, "key.next": NEW}
    assert (keyed_data / "catalogue" / "key.next").stat().st_mode & 0o777 == 0o600


def test_a_gate_that_never_had_a_key_takes_its_first_one_at_once(data: Path) -> None:
    assert take_key(data, sealed(NEW)).endswith("is in use: this gate had none")
    assert files(data) == {"key": NEW}
    assert (data / "catalogue" / "key").stat().st_mode & 0o777 == 0o600
    assert (data / "catalogue").stat().st_mode & 0o777 == 0o700


def test_the_newest_key_sent_is_the_one_that_waits(keyed_data: Path) -> None:
    take_key(keyed_data, sealed(NEW))
    take_key(keyed_data, sealed(THIRD))
    assert files(keyed_data) == {"key": OLD, "key.next": THIRD}
    assert take_key(keyed_data, sealed(OLD)).endswith("is in use already")
    assert files(keyed_data) == {"key": OLD}


WRONG: dict[str, Callable[[], bytes]] = {
    "not sealed by this release": lambda: b"",
    "sealed for another key": lambda: sealed(NEW, OTHER),
    "changed on its way": lambda: bytes((*sealed(NEW)[:-1], sealed(NEW)[-1] ^ 1, 0)),
    "31 bytes were sealed, and a venue key has 32": lambda: sealed(NEW[:31]),
    "33 bytes were sealed, and a venue key has 32": lambda: sealed(NEW + b"\0"),
}


@pytest.mark.parametrize("why", WRONG)
def test_what_was_not_sealed_for_this_gate_changes_nothing(keyed_data: Path, why: str) -> None:
    take_key(keyed_data, sealed(THIRD))
    with pytest.raises(KeyRefused, match=why):
        take_key(keyed_data, WRONG[why]())
    assert files(keyed_data) == {"key": OLD, "key.next": THIRD}


def test_a_gate_without_a_key_of_its_own_says_so(keyed_data: Path) -> None:
    path = keyed_data / "identity" / "gate.key"
    other = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    for content in (
        b"no PEM",
        other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    ):
        path.write_bytes(content)
        with pytest.raises(KeyRefused, match=r"gate\.key: .*: enrol this gate anew"):
            take_key(keyed_data, sealed(NEW))
    path.unlink()
    with pytest.raises(KeyRefused, match=r"gate\.key: .*: enrol this gate anew"):
        take_key(keyed_data, sealed(NEW))
    assert files(keyed_data) == {"key": OLD}


def test_a_key_in_use_that_cannot_be_read_is_named(keyed_data: Path) -> None:
    (keyed_data / "catalogue" / "key").chmod(0o644)
    with pytest.raises(KeyRefused, match="chmod 600"):
        take_key(keyed_data, sealed(NEW))
    assert files(keyed_data) == {"key": OLD}


def test_while_a_list_is_made_no_key_is_replaced_under_it(keyed_data: Path) -> None:
    with writing(keyed_data / "catalogue"), pytest.raises(KeyRefused, match="a list is being made"):
        take_key(keyed_data, sealed(NEW), patience_s=0.1)
    assert files(keyed_data) == {"key": OLD}


def test_a_short_change_of_the_list_is_waited_for(keyed_data: Path) -> None:
    said: list[str] = []

    def take() -> None:
        said.append(take_key(keyed_data, sealed(NEW), patience_s=PATIENCE_S))

    thread = threading.Thread(target=take)
    with writing(keyed_data / "catalogue"):
        thread.start()
        thread.join(0.1)
        assert said == []
    thread.join(PATIENCE_S)
    assert "waits for the bridge's list" in said[0]
    assert keys_of(keyed_data / "catalogue") == (OLD, NEW)


# --- what the fleet sends -------------------------------------------------------------------------------


def test_the_fleet_seals_its_new_key_for_the_certificate_of_each_gate(
    keyed_data: Path, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    issuer = authority("arena", now)
    north, south = (
        pem(issued(issuer, key.public_key(), name, Use.CLIENT, now, timedelta(days=1)))
        for key, name in ((GATE, "north"), (OTHER, "south"))
    )
    fleet = tmp_path / "fleet"
    (fleet / "bridge").mkdir(parents=True)
    put_key(fleet / "bridge", OLD)
    name = new_venue_key(fleet)
    key = (fleet / "bridge" / "key").read_bytes()
    assert key != OLD
    assert name == name_of(key)
    assert (fleet / "bridge" / "key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyRefused):
        take_key(keyed_data, sealed_for(south, key))
    take_key(keyed_data, sealed_for(north, key))
    assert keys_of(keyed_data / "catalogue") == (OLD, key)


def test_nothing_is_sealed_for_what_is_no_certificate() -> None:
    with pytest.raises(NotSealed, match="enrol the gate anew"):
        sealed_for(b"no certificate", NEW)
