"""`make hil`: builds what is missing, starts the machine, runs the checks of this folder and no others.

Ends with `NOT_HERE` where this machine cannot do it, before anything was tried.
"""

import os
import platform
import sys
from pathlib import Path

import pytest

from tests.hil.cache import say
from tests.hil.initramfs import initramfs
from tests.hil.packages import HIL_PACKAGES, missing
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
    if lacking := missing(list(HIL_PACKAGES)):
        return f"these Debian packages are missing: {' '.join(lacking)}; `make hil-system` installs them"
    return ""


def main(arguments: list[str]) -> int:
    if why_not := why_not_here():
        say(why_not)
        return NOT_HERE
    image()  # what goes wrong here is not a check that failed
    initramfs()
    os.environ["GATEPOST_HIL"] = "1"
    ours = [str(Path(__file__).parent), "--verbose", "--capture=no", "-o", f"faulthandler_timeout={LIMIT_S}"]
    return int(pytest.main([*ours, *arguments]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
