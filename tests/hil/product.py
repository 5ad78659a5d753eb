"""The gate installed in the guest as on a Pi: from the commit that is checked out, with the locked libraries.

What is not committed is not tested: a half-edited file of a working tree is nobody's release.
"""

import shlex
import shutil
import sys
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement

from tests.hil.base import base, compile_python
from tests.hil.cache import ROOT, digest, made, run, source_of
from tests.hil.foreign import run_for
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
IMAGE_MEGABYTES = 2048  # sparse, only what is written costs; an SD card has to be a power of two
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}  # Debian's name and everybody's
GLIBCS = (36, 35, 34, 31, 28, 17)  # Debian 12 has 2.36 and runs what older ones do
SOURCE_ONLY = ("evdev",)  # no wheel where there is none for a PC: install.sh compiles it, as on a Pi
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


def lock() -> str:
    """The locked versions of a gate's libraries."""
    return run(*GIT, "show", f"{commit()}:requirements-gate.txt")


def requirements(locked: str, machine: str) -> dict[str, str]:
    """What of a lock a Debian 12 on this machine takes: each library's lines, by its name.

    pip asks the conditions of the machine that it runs on, whatever it downloads for.
    """
    chosen: dict[str, str] = {}
    guest = {"platform_machine": machine, "sys_platform": "linux", "python_version": "3.11"}
    for entry in locked.replace("\\\n", " ").splitlines():
        words, _, digests = entry.partition("--hash=")
        if not words.strip() or words.lstrip().startswith("#"):
            continue
        wanted = Requirement(words.strip())
        if wanted.marker is None or wanted.marker.evaluate(guest):
            chosen[wanted.name] = f"{wanted.name}{wanted.specifier} --hash={digests.strip()}\n"
    return chosen


def libraries(architecture: str) -> Path:
    """Return the folder with the locked libraries of a gate, as wheels for the guest's Python."""
    machine = MACHINES[architecture]

    def fill(folder: Path) -> None:
        chosen = requirements(lock(), machine)
        sources = [chosen.pop(name) for name in SOURCE_ONLY if name in chosen]
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        download += ["--require-hashes", "--no-deps", "--dest", str(folder)]
        platforms = [f"--platform=manylinux_2_{glibc}_{machine}" for glibc in GLIBCS]
        wheels = ["--only-binary=:all:", "--python-version=3.11", *platforms]
        for options, lines in ((wheels, list(chosen.values())), (["--no-binary=:all:"], sources)):
            if lines:
                (folder / "requirements.txt").write_text("".join(lines))
                run(*download, *options, "--requirement", folder / "requirements.txt")

    if sys.version_info[:2] != (3, 11):
        raise SystemExit("hil: the guest's Python is 3.11: make hil PYTHON=python3.11")
    return made(f"libraries-{architecture}", digest(lock(), source_of("product")), fill)


def install(tree: Path, source: Path, wheels: Path, architecture: str) -> None:
    """Do in the tree what an operator does on a Pi: the same script, with the wheels at hand."""
    inside = tree / CACHE_INSIDE.lstrip("/")
    shutil.copytree(wheels, inside)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*wheel, "--wheel-dir", inside, source)
    release = tree / RELEASE_INSIDE.lstrip("/")
    shutil.copytree(source, release)
    installer = f"{RELEASE_INSIDE}/deploy/install.sh"
    words = ("sh", installer, "--no-apt", "--wheels", CACHE_INSIDE)
    run_for(architecture, "chroot", tree, *words)
    shutil.rmtree(inside)


def fill(folder: Path, architecture: str) -> None:
    tree, source = folder / "tree", folder / "source"
    run("cp", "-a", base(architecture) / "tree", tree)
    shutil.copytree(kernel(architecture) / "lib/modules", tree / "lib/modules")
    source.mkdir()
    archive = f"{' '.join(map(shlex.quote, GIT))} archive {commit()} {' '.join(SHIPPED)}"
    run("bash", "-o", "pipefail", "-c", f"{archive} | tar x -C {shlex.quote(str(source))}")
    install(tree, source, libraries(architecture), architecture)
    compile_python(tree, "opt/gatepost/lib")
    image = folder / "root.img"
    run("mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-d", tree, image, f"{IMAGE_MEGABYTES}M")
    shutil.rmtree(tree)
    shutil.rmtree(source)


@cache
def image(architecture: str) -> Path:
    """Return the root disk of the guest with the product of this commit on it."""
    parts = (base(architecture), kernel(architecture), libraries(architecture))
    key = digest(*(part.name for part in parts), shipped(), source_of("product"))
    return made(f"product-{architecture}", key, lambda folder: fill(folder, architecture)) / "root.img"
