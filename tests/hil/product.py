"""The gate installed in the guest as on a Pi: from the commit that is checked out, with the locked libraries.

What is not committed is not tested: a half-edited file of a working tree is nobody's release.
"""

import shlex
import shutil
import sys
from functools import cache
from pathlib import Path

from tests.hil.base import base
from tests.hil.cache import ROOT, digest, made, run, source_of
from tests.hil.kernel import kernel

GIT = ("git", "-c", "safe.directory=*", "-C", str(ROOT))
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


@cache
def commit() -> str:
    """The commit that is tested, the same for the whole run, whatever is committed meanwhile."""
    return run(*GIT, "rev-parse", "HEAD").strip()


def shipped() -> str:
    """What of the commit ends in the guest: the digests that git keeps of it."""
    return run(*GIT, "ls-tree", commit(), *SHIPPED)


def committed(*paths: str) -> dict[str, bytes]:
    """The files of the commit below these paths."""
    names = run(*GIT, "ls-tree", "-r", "--name-only", commit(), *paths).splitlines()
    return {name: run(*GIT, "show", f"{commit()}:{name}").encode() for name in names}


def lock() -> bytes:
    """The locked versions of a gate's libraries."""
    return run(*GIT, "show", f"{commit()}:requirements-gate.txt").encode()


def libraries() -> Path:
    """Return the folder with the locked libraries of a gate, as wheels for the guest's Python."""

    def fill(folder: Path) -> None:
        requirements = folder / "requirements.txt"
        requirements.write_bytes(lock())
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        run(
            *download,
            "--require-hashes",
            "--only-binary=:all:",
            "--dest",
            folder,
            "--requirement",
            requirements,
        )

    if sys.version_info[:2] != (3, 11):
        raise SystemExit("hil: the guest's Python is 3.11: make hil PYTHON=python3.11")
    return made("libraries-amd64", digest(lock(), source_of("product")), fill)


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
    archive = f"{' '.join(map(shlex.quote, GIT))} archive {commit()} {' '.join(SHIPPED)}"
    run("bash", "-o", "pipefail", "-c", f"{archive} | tar x -C {shlex.quote(str(source))}")
    install(tree, source, libraries())
    run("chroot", tree, "python3", "-m", "compileall", "-q", "-j", "0", "/opt/gatepost/lib")
    image = folder / "root.img"
    run("mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-d", tree, image, f"{IMAGE_MEGABYTES}M")
    shutil.rmtree(tree)
    shutil.rmtree(source)


@cache
def image() -> Path:
    """Return the root disk of the guest with the product of this commit on it."""
    key = digest(base().name, kernel().name, libraries().name, shipped(), source_of("product"))
    return made("product-amd64", key, fill) / "root.img"
