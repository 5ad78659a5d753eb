import os
import subprocess
import sys
from pathlib import Path

import pytest

from firmware.doctor import findings, user

ROOT = Path(__file__).parents[2]
# Of every Debian: dialout, video. The group of nobody stands for one that has no name elsewhere.
DIALOUT, VIDEO, NOBODY, NAMELESS = 20, 44, 65534, 61234


def as_nobody(groups: list[int], *kinds: str) -> str:
    """What is said to a user with these groups."""
    program = (
        "import os, sys\n"
        "from firmware.doctor import user\n"
        f"os.setgroups({groups}); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "(check,) = user.examine(sys.argv[1:])\n"
        "print(check.verdict.value, check.text, check.mend)\n"
    )
    command = [sys.executable, "-c", program, *kinds]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_the_groups_of_his_devices_is_warned_with_the_command_that_mends_it() -> None:
    told = as_nobody([VIDEO], "serial", "evdev", "gpio", "lines")
    assert told.startswith("warning nobody is not in the groups dialout,gpio,input usermod -aG dialout,gpio")
    assert as_nobody([DIALOUT], "serial", "evdev").startswith("warning nobody is not in the groups input ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_who_is_in_them_is_told_which_they_are() -> None:
    assert (
        as_nobody([DIALOUT, NAMELESS], "serial", "fake")
        == f"ok nobody, in the groups {NAMELESS}, dialout, nogroup"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is told so")
def test_root_is_told_that_its_look_says_little() -> None:
    assert list(user.examine(["serial"])) == [findings.IS_ROOT.seen()]
