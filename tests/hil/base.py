"""The guest's Debian: a minimal root file system with systemd as PID 1, from this machine's own mirror."""

import sys
from pathlib import Path

from tests.hil.cache import digest, made, run, source_of
from tests.hil.foreign import OURS, run_for

SUITE = "bookworm"  # Raspberry Pi OS of the same age is made of it
PACKAGES = {
    "busybox-static": "the shell of the first steps, before the root file system is mounted",
    "dbus": "systemctl talks to systemd over it",
    "dmsetup": "a disk that hangs when it is told to",
    "e2fsprogs": "the data disk is made anew at each start",
    "kmod": "modprobe and depmod",
    "libx11-data": "how dead keys and letters become accented ones, as on a Pi",
    "libxkbcommon0": "keyboard layouts, as on a Pi",
    "procps": "a look at processes when a check fails",
    "python3": "runs the gate",
    "python3-venv": "installs the gate",
    "systemd": "starts, watches and stops the gate",
    "systemd-sysv": "makes systemd PID 1",
    "udev": "names readers and gives their groups",
    "xkb-data": "the layouts themselves",
}
COMPILERS = {  # what install.sh brings to a Pi, and lets be where evdev is at hand compiled
    "gcc": "compiles evdev, which has no wheel for a Pi",
    "libc6-dev": "its headers, and those of the kernel, which evdev is made of",
    "python3-dev": "those of Python",
}
LEFT_OUT = ("man", "doc", "locale", "info", "lintian")  # folders of /usr/share that nothing reads here


def mirrors() -> list[str]:
    """Where this machine gets Debian from, as lines of sources.list."""
    known = run(
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI) $(CODENAME)",
        "Created-By: Packages",
        "Origin: Debian",
        "Component: main",
    )
    found = [line.split() for line in known.splitlines()]
    return [f"deb {address} {name} main" for address, name in found if name.partition("-")[0] == SUITE]


def packages(architecture: str) -> dict[str, str]:
    """Debian packages of the guest, and what each is for."""
    return PACKAGES if architecture == "amd64" else PACKAGES | COMPILERS


def compile_python(tree: Path, folder: str) -> None:
    """Compile the modules below a folder of the guest: Python 3.11 makes the same on every processor."""
    run(sys.executable, "-m", "compileall", "-q", "-j", "0", "-s", tree, "-p", "/", tree / folder)


def fill(folder: Path, architecture: str) -> None:
    sources = folder / "sources.list"
    sources.write_text("\n".join(mirrors()) + "\n")
    left_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT]
    foreign = [] if architecture == OURS else ["--skip=check/qemu"]  # it looks for what every process has
    run_for(
        architecture,
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        *foreign,
        "--variant=minbase",
        f"--architectures={architecture}",
        "--aptopt=APT::Install-Recommends false",
        *left_out,
        f"--include={','.join(packages(architecture))}",
        "--customize-hook=rm -rf $1/var/lib/apt/lists $1/var/cache/apt $1/var/log",
        SUITE,
        folder / "tree",
        sources,
    )
    tree = folder / "tree"
    (tree / "etc/fstab").write_text("")
    (tree / "etc/hostname").write_text("gate\n")
    (tree / "etc/machine-id").write_text("uninitialized\n")
    compile_python(tree, "usr/lib/python3.11")


def base(architecture: str) -> Path:
    """Return the folder whose `tree` is the root file system, without a kernel and without the product."""
    key = digest(SUITE, *packages(architecture), *LEFT_OUT, source_of("base", "foreign"))
    return made(f"base-{architecture}", key, lambda folder: fill(folder, architecture))
