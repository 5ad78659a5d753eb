"""`make hil`: builds what is missing, starts the machine, runs the checks of this folder and no others.

With `--full` as the first word, one machine after another: that of `make hil`, then two of another processor.
Ends with `NOT_HERE` where this machine cannot do it, before anything was tried.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hil.cache import say
from tests.hil.foreign import OURS, why_not_foreign
from tests.hil.hardware import ALL, ASKED, HERE
from tests.hil.initramfs import initramfs
from tests.hil.packages import HIL_FULL_PACKAGES, HIL_PACKAGES, missing
from tests.hil.product import image

NOT_HERE = 69  # EX_UNAVAILABLE of sysexits.h
LIMIT_S = "1500"  # of one check, machine included; after it, pytest shows where every thread stands


def why_not_here() -> str:
    """What this machine lacks, with the mend; "" for nothing."""
    if os.geteuid() != 0:
        return "building a root file system needs root"
    system = platform.freedesktop_os_release()
    if (system["ID"], system.get("VERSION_ID")) != ("debian", "12"):
        return f"kernel and packages are those of Debian 12, and this is {system['NAME']}"
    foreign = HERE.architecture != OURS
    if lacking := missing([*HIL_PACKAGES, *(HIL_FULL_PACKAGES if foreign else ())]):
        mend = "make hil-full-system" if foreign else "make hil-system"
        return f"these Debian packages are missing: {' '.join(lacking)}; `{mend}` installs them"
    return why_not_foreign() if foreign else ""


def full(arguments: list[str]) -> int:
    """Every machine, whatever became of the one before; each in a process of its own."""
    failed = []
    for hardware in ALL:
        say(f"--- {hardware.name} ---")
        environment = os.environ | {ASKED: hardware.name}
        run = subprocess.run([sys.executable, "-m", "tests.hil", *arguments], env=environment, check=False)
        if run.returncode:
            failed.append(f"{hardware.name} ({run.returncode})")
    say(f"failed: {', '.join(failed)}" if failed else f"all is well on {', '.join(one.name for one in ALL)}")
    return 1 if failed else 0


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--full"]:
        return full(arguments[1:])
    if why_not := why_not_here():
        say(why_not)
        return NOT_HERE
    image(HERE.architecture)  # what goes wrong here is not a check that failed
    initramfs(HERE.architecture)
    os.environ[ASKED] = HERE.name
    ours = [str(Path(__file__).parent), "--verbose", "--capture=no", "-o", f"faulthandler_timeout={LIMIT_S}"]
    return int(pytest.main([*ours, *arguments]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
