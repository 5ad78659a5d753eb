"""The Debian packages that the machine under test is built with and runs on; `make hil-system` installs them.

Asking what is missing needs no root and changes nothing. Installing names everything first. Where it may not
install it says so and ends without an error, as `make system` does: `make hil` then says what is missing.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

HIL_PACKAGES = {
    "ipxe-qemu": "start-up code of the emulated network card; qemu does not start without it",
    "kmod": "depmod, for the modules of the guest's kernel",
    "linux-headers-amd64": "builds the simulated GPIO chip, which Debian's kernel leaves out",
    "make": "the kernel's build of modules",
    "mmdebstrap": "makes the root file system of the guest",
    "qemu-system-x86": "the machine",
    "seabios": "its BIOS",
}

HIL_FULL_PACKAGES = {
    "qemu-system-arm": "the machines of another processor",
    "qemu-user-static": "runs their programs while their root file system is filled",
}


def missing(packages: Sequence[str]) -> list[str]:
    """Which of these packages are not installed."""
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${Status}\n", *packages]
    shown = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    there = {line.split()[0] for line in shown if line.endswith(" install ok installed")}
    return [package for package in packages if package not in there]


def say(text: str) -> None:
    sys.stderr.write(f"hil-system: {text}\n")
    sys.stderr.flush()


def main(arguments: list[str]) -> int:
    """Install what is missing; with `--full`, also for the machines of another processor."""
    packages = HIL_PACKAGES | HIL_FULL_PACKAGES if arguments == ["--full"] else HIL_PACKAGES
    if not shutil.which("apt-get"):
        say(f"no apt-get here; install by hand what stands for: {' '.join(packages)}")
        return 0
    lacking = missing(list(packages))
    if not lacking:
        say("all packages are there")
        return 0
    sudo: list[str] = []
    if os.geteuid() != 0:
        sudo = ["sudo", "-n"]
        if (
            not shutil.which("sudo")
            or subprocess.run([*sudo, "true"], capture_output=True, check=False).returncode
        ):
            say(f"needs root to install: {' '.join(lacking)}. Going on without.")
            return 0
    for package in lacking:
        say(f"installing {package}: {packages[package]}")
    apt = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "Acquire::Retries=3"]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run(
        [*apt, "install", "--no-install-recommends", "-y", *lacking], check=True, stdout=subprocess.DEVNULL
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
