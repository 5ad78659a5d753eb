import sys
from pathlib import Path

import pytest

from tests.powercut import journal_writer, rig

pytestmark = [
    pytest.mark.powercut,
    pytest.mark.skipif(rig.unavailable() is not None, reason=str(rig.unavailable())),
]

ROWS = 450  # two checkpoints when it is idle would be due; one flush of the file system comes in between
CUTS = 60
SEED = 1


def test_promise_1_every_row_that_was_told_safe_survives_a_power_cut_at_any_moment(tmp_path: Path) -> None:
    writer = [sys.executable, "-m", "tests.powercut.journal_writer", str(ROWS)]
    log = rig.record(writer, 60, tmp_path)
    assert len(log.acknowledged) == ROWS + 1
    found = [
        f"{cut.description}: {said}"
        for cut in rig.cuts(log, CUTS, SEED, tmp_path)
        if (said := rig.verdict(journal_writer.check, cut))
    ]
    assert found == []
    scans, flushes, _ = log.between_acknowledgements()
    assert flushes / scans < 1.1, "one flush a row, and a checkpoint now and then"
