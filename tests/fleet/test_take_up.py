"""A gate takes up its bundle: checked whole before anything is written, and whole again after any cut."""

import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from firmware.bundle import BYTES_MAX, Bundle, BundleUnusable, packed, unpacked
from firmware.config import SettingsError, parse
from firmware.fleet.certificates import key_pem, new_key
from firmware.fleet.enrol import bundle_for
from firmware.take_up import Owner, check, take_up
from tests.fleet.fleets import BOARDS, NOW, made_fleet, settings


class Card(NamedTuple):
    """A card with a bundle on its boot partition."""

    bundle: Path
    etc: Path
    data: Path

    def files(self) -> dict[str, bytes]:
        """What lies on it, the bundle left out."""
        return {
            str(path.relative_to(self.etc.parent)): path.read_bytes()
            for folder in (self.etc, self.data)
            for path in folder.rglob("*")
            if path.is_file()
        }


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_fleet(tmp_path_factory.mktemp("fleets") / "fleet")


def card(folder: Path, fleet: Path, gate: str = "north") -> Card:
    """A card for a gate with a real board."""
    etc, data, boot = folder / "etc", folder / "data", folder / "boot"
    boot.mkdir(parents=True)
    board = (BOARDS / "tripod.toml").read_text("utf-8")
    made = bundle_for(fleet, gate, settings(gate, str(etc / "board.toml")), board, etc, NOW)
    (boot / "gatepost.tar").write_bytes(made)
    return Card(boot / "gatepost.tar", etc, data)


def test_a_bundle_is_taken_up_and_removed(fleet: Path, tmp_path: Path) -> None:
    it = card(tmp_path, fleet)
    bundle = unpacked(it.bundle.read_bytes())
    taken = take_up(*it)
    assert taken.left == ""
    assert not it.bundle.exists()
    assert parse((it.etc / "gate.toml").read_text("utf-8"), "gate.toml").gate_name == "north"
    assert (it.etc / "board.toml").read_text("utf-8") == bundle.board
    identity = it.data / "identity"
    assert (identity / "token").read_text() == bundle.token
    assert (identity / "ca.pem").read_bytes() == (fleet / "ca.pem").read_bytes()
    assert {path.name for path in it.data.iterdir()} == {"identity"}
    for path in (it.data, identity, *identity.iterdir()):
        assert path.stat().st_mode & 0o077 == 0, f"{path.name} is for the gate alone"
    assert any('gate "north" of arena' in line for line in taken.news)
    assert not any(bundle.token in line for line in taken.news)


class Cut(Exception):
    """The power is gone."""


def cut_at(number: int) -> Callable[[str], None]:
    """Cuts the power before the step of this number."""
    steps: list[str] = []

    def step(name: str) -> None:
        if len(steps) == number:
            raise Cut(name)
        steps.append(name)

    return step


def test_after_a_cut_at_any_step_the_next_start_makes_it_whole(fleet: Path, tmp_path: Path) -> None:
    whole = card(tmp_path / "whole", fleet)
    original = whole.bundle.read_bytes()
    steps: list[str] = []
    take_up(*whole, step=steps.append)
    assert {"etc", "write gate.toml", "swap", "swap, second half", "unlink"} <= set(steps)
    names = {path.relative_to(whole.data) for path in whole.data.rglob("*")}
    for number in range(len(steps)):
        folder = tmp_path / str(number)
        it = Card(folder / "boot" / "gatepost.tar", folder / "etc", folder / "data")
        it.bundle.parent.mkdir(parents=True)
        it.bundle.write_bytes(relocated(original, whole.etc, it.etc))
        with pytest.raises(Cut):
            take_up(*it, step=cut_at(number))
        assert it.bundle.exists(), f"{steps[number]}: removed too early"
        assert take_up(*it).left == ""
        assert not it.bundle.exists()
        assert {path.relative_to(it.data) for path in it.data.rglob("*")} == names, steps[number]
        assert (it.data / "identity" / "token").read_text() == unpacked(original).token


def relocated(data: bytes, before: Path, after: Path) -> bytes:
    """The bundle for another place of the settings."""
    found = unpacked(data)
    return packed(found._replace(settings=found.settings.replace(str(before), str(after))))


def test_a_bundle_that_was_put_back_changes_nothing(fleet: Path, tmp_path: Path) -> None:
    it = card(tmp_path, fleet)
    copy = it.bundle.read_bytes()
    take_up(*it)
    (it.data / "identity" / "gate.key").write_bytes(key_pem(new_key()))
    (it.data / "identity" / "token").unlink()
    before = it.files()
    it.bundle.write_bytes(copy)
    taken = take_up(*it)
    assert it.files() == before, "the gate's own key stays"
    assert any("taken up before" in line for line in taken.news)
    assert not it.bundle.exists()


def test_a_new_bundle_takes_the_place_of_an_old_identity(fleet: Path, tmp_path: Path) -> None:
    it = card(tmp_path / "one", fleet)
    take_up(*it)
    (it.data / "identity" / "gate.pem").write_text("of the old bundle")
    second = card(tmp_path / "two", fleet)
    data = relocated(second.bundle.read_bytes(), second.etc, it.etc)
    it.bundle.write_bytes(data)
    take_up(*it)
    assert (it.data / "identity" / "token").read_text() == unpacked(data).token
    assert not (it.data / "identity" / "gate.pem").exists()
    assert {path.name for path in it.data.iterdir()} == {"identity"}


def test_settings_that_were_there_stay_beside_the_new_ones(fleet: Path, tmp_path: Path) -> None:
    it = card(tmp_path, fleet)
    it.etc.mkdir()
    (it.etc / "gate.toml").write_text("# by hand")
    take_up(*it)
    assert (it.etc / "gate.toml.before").read_text() == "# by hand"


def test_a_bundle_is_overwritten_before_it_is_unlinked(fleet: Path, tmp_path: Path) -> None:
    it = card(tmp_path, fleet)
    length = it.bundle.stat().st_size
    with it.bundle.open("rb") as held:  # what a card still holds after the file is unlinked
        take_up(*it)
        assert held.read() == bytes(length)


def test_a_bundle_that_cannot_be_removed_is_told_and_all_else_is_done(fleet: Path, tmp_path: Path) -> None:
    it = card(tmp_path, fleet)

    def step(name: str) -> None:
        if name == "remove":
            it.bundle.unlink()
            it.bundle.mkdir()  # nobody can overwrite that, root neither

    taken = take_up(*it, step=step)
    assert "could not be removed" in taken.left
    assert (it.data / "identity" / "token").exists()


def test_root_gives_the_identity_to_the_gates_user_and_follows_no_link_of_theirs(
    fleet: Path, request: pytest.FixtureRequest
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    nobody = Owner(65534, 65534)
    tmp_path = Path(tempfile.mkdtemp())  # other users may look into the folder that it is in
    tmp_path.chmod(0o755)
    request.addfinalizer(lambda: shutil.rmtree(tmp_path))
    it = card(tmp_path, fleet)
    take_up(it.bundle, it.etc, it.data, nobody)
    for path in (it.data, *it.data.rglob("*")):
        assert path.stat().st_uid == nobody.user
    assert (it.etc / "gate.toml").stat().st_uid == 0
    assert os.geteuid() == 0
    secret = tmp_path / "of-root"
    secret.mkdir(mode=0o700)
    shutil.rmtree(it.data / "identity")
    (it.data / "identity.new").symlink_to(secret)
    again = card(tmp_path / "again", fleet)
    it.bundle.write_bytes(relocated(again.bundle.read_bytes(), again.etc, it.etc))
    with pytest.raises(OSError, match=r"identity\.new"):
        take_up(it.bundle, it.etc, it.data, nobody)
    assert [*secret.iterdir()] == []
    assert it.bundle.exists()


# --- what is refused, and leaves everything as it was -------------------------------------------------------


def with_settings(bundle: Bundle, text: str) -> Bundle:
    return bundle._replace(settings=text)


REFUSED: dict[str, tuple[Callable[[Bundle], Bundle], str]] = {
    "settings with a mistake": (lambda b: with_settings(b, b.settings + "[polcy]\n"), "no such setting"),
    "settings that are no TOML": (lambda b: with_settings(b, "["), "not TOML"),
    "another gate's settings": (
        lambda b: with_settings(b, b.settings.replace('"north"', '"south"')),
        "gate.name",
    ),
    "another venue's": (lambda b: with_settings(b, b.settings.replace('"arena"', '"hall"')), "gate.venue"),
    "no broker": (lambda b: with_settings(b, b.settings.partition("[[broker]]")[0]), "has no ..broker"),
    "no TLS": (lambda b: with_settings(b, b.settings + "tls = false\n"), "take tls = false out"),
    "a board file elsewhere": (
        lambda b: with_settings(b, b.settings.replace("board.toml", "bord.toml")),
        "the gate finds it as",
    ),
    "no board file": (lambda b: b._replace(board=""), "want the board file"),
    "a board that is wired wrong": (
        lambda b: b._replace(board=b.board.replace("pin = 17", "pin = 99")),
        "board.toml",
    ),
    "no authority": (lambda b: b._replace(ca=b.certificate), "ca.pem"),
    "a damaged authority": (lambda b: b._replace(ca="x"), "ca.pem"),
    "another key": (lambda b: b._replace(key=key_pem(new_key()).decode()), "not the key"),
    "a damaged key": (lambda b: b._replace(key="x"), "cannot be read"),
    "a short token": (lambda b: b._replace(token="x"), "token"),
    "no operators": (lambda b: b._replace(operators="operator = []\n"), "operators"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bundle_with_a_mistake_is_refused_whole(fleet: Path, tmp_path: Path, what: str) -> None:
    it = card(tmp_path, fleet)
    change, told = REFUSED[what]
    good = unpacked(it.bundle.read_bytes())
    changed = change(good)
    assert changed != good
    it.bundle.write_bytes(packed(changed))
    with pytest.raises((BundleUnusable, SettingsError), match=told):
        take_up(*it)
    assert it.bundle.exists()
    assert not it.data.exists()
    assert not it.etc.exists()


def tar_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def link() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("token")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/shadow"
        tar.addfile(entry)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        bytes(BYTES_MAX + 1)[:-1] + b"x",
        tar_of(),
        tar_of(**{"../token": b"x"}),
        link(),
        tar_of(token=b"\xff"),
    ],
    ids=["empty", "noise", "too long", "nothing in it", "a path", "a link", "no text"],
)
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(BundleUnusable):
        unpacked(data)


def test_a_bundle_that_was_cut_short_is_refused(fleet: Path, tmp_path: Path) -> None:
    it = card(tmp_path, fleet)
    data = it.bundle.read_bytes()
    whole, refused = unpacked(data), 0
    for length in range(0, len(data), 512):
        try:
            found = unpacked(data[:length])
            check(found, it.etc)
        except (BundleUnusable, SettingsError):
            refused += 1
        else:
            assert found == whole, length  # only zeros are missing
    assert refused * 512 > len(whole.board)
