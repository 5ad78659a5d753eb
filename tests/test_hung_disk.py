"""A gate whose file system the kernel freezes under it. It is a child process: a failure hangs nothing."""

import os
import shutil

import pytest

from tests.bench.hanging import TOOLS, measured

MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
REASON = "needs root" if os.geteuid() else f"needs {', '.join(MISSING)}: make system"
ALARMS_AT_LEAST = 50  # of 175 in ten seconds: a gate that stands still for most of them fails


@pytest.mark.slow
@pytest.mark.skipif(bool(os.geteuid() or MISSING), reason=REASON)
def test_promises_3_and_4_hold_while_the_kernel_holds_every_write_back() -> None:
    seen, errors = measured()
    assert len(seen["alarm"]) >= ALARMS_AT_LEAST, errors
    assert sum(seen["late"]) == 0
    assert seen["kept"] == seen["handed"]
    assert seen["lost"] == [0]
    assert seen["back"], errors
