"""The gate installed in the guest as on a Pi: from the commit that is checked out, with the locked libraries.

What is not committed is not tested: a half-edited file of a working tree is nobody's release.
"""

import shutil
import sys
from pathlib import Path

from tests.hil.base import base
from tests.hil.cache import ROOT, digest, made, run, source_of
from tests.hil.kernel import kernel

SHIPPED = (
    "firmware",
    "hal",
    "deploy",
    "systemd",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "requirements-gate.txt",
)
IMAGE_MEGABYTES = 1200  # sparse; only what is written costs
CACHE_INSIDE = "/srv/wheels"  # in the tree, while it is filled
RELEASE_INSIDE = "/srv/release"  # stays: where `install.sh` lies on a Pi


def commit_key() -> str:
    """Name what of the commit ends in the guest: the digests that git keeps of it."""
    return digest(run("git", "-c", "safe.directory=*", "-C", ROOT, "ls-tree", "HEAD", *SHIPPED))


def libraries() -> Path:
    """Return the folder with the locked libraries of a gate, as wheels for the guest's Python."""
    lock = ROOT / "requirements-gate.txt"

    def fill(folder: Path) -> None:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        run(*download, "--require-hashes", "--only-binary=:all:", "--dest", folder, "--requirement", lock)

    if sys.version_info[:2] != (3, 11):
        raise SystemExit("hil: the guest's Python is 3.11: make hil PYTHON=python3.11")
    return made("libraries-amd64", digest(lock.read_bytes(), source_of("product")), fill)


def install(tree: Path, source: Path, wheels: Path) -> None:
    """Do in the tree what an operator does on a Pi: the same script, with the wheels at hand."""
    inside = tree / CACHE_INSIDE.lstrip("/")
    shutil.copytree(wheels, inside)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*wheel, "--wheel-dir", inside, source)
    release = tree / RELEASE_INSIDE.lstrip("/")
    shutil.copytree(source, release)
    installer = f"{RELEASE_INSIDE}/deploy/install.sh"
    run("chroot", tree, "sh", installer, "--no-apt", "--wheels", CACHE_INSIDE)
    shutil.rmtree(inside)


def fill(folder: Path) -> None:
    tree, source = folder / "tree", folder / "source"
    run("cp", "-a", base() / "tree", tree)
    shutil.copytree(kernel() / "lib/modules", tree / "lib/modules")
    source.mkdir()
    archive = f"git -c safe.directory='*' -C {ROOT} archive HEAD {' '.join(SHIPPED)} | tar x -C {source}"
    run("bash", "-o", "pipefail", "-c", archive)
    install(tree, source, libraries())
    run("chroot", tree, "python3", "-m", "compileall", "-q", "-j", "0", "/opt/gatepost/lib")
    image = folder / "root.img"
    run("mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-d", tree, image, f"{IMAGE_MEGABYTES}M")
    shutil.rmtree(tree)
    shutil.rmtree(source)


def image() -> Path:
    """Return the root disk of the guest with the product of this commit on it."""
    key = digest(base().name, kernel().name, libraries().name, commit_key(), source_of("product"))
    return made("product-amd64", key, fill) / "root.img"
