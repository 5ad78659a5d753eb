"""`make hil`: builds what is missing, starts the machine, runs the checks of this folder and no others."""

import os
import sys
from pathlib import Path

import pytest

from tests.hil.cache import say
from tests.hil.initramfs import initramfs
from tests.hil.packages import HIL_PACKAGES, missing
from tests.hil.product import image

LIMIT_S = "1500"  # of one check, machine included; after it, pytest shows where every thread stands


def main(arguments: list[str]) -> int:
    if os.geteuid() != 0:
        say("building a root file system needs root")
        return 1
    if lacking := missing(list(HIL_PACKAGES)):
        say(f"these Debian packages are missing: {' '.join(lacking)}; `make hil-system` installs them")
        return 1
    image()  # what goes wrong here is not a check that failed
    initramfs()
    os.environ["GATEPOST_HIL"] = "1"
    ours = [str(Path(__file__).parent), "--verbose", "--capture=no", "-o", f"faulthandler_timeout={LIMIT_S}"]
    return int(pytest.main([*ours, *arguments]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
