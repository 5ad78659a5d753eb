"""The plug pulled at random moments, again and again, while codes are scanned."""

import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from firmware.core.movements import Act
from firmware.demo.tickets import KIND_EVERY, code_of
from firmware.row import Row, decode, row_id
from firmware.rows import RowReader
from tests.demo.process import Piped, Scan, run, verdicts

KILLS = 100
TICKETS = 20_000
IN_START_OF_10 = 2  # so many kills of ten come while the gate starts, the others while it scans
START_S = 0.6  # about what a start takes
SCANNING_S = 0.25  # some hundred scans
LINES = range(1_500)  # more than are scanned in that time, and fewer than a pipe holds
AGAIN = 500


def killed_run(data: Path, codes: list[str], kill_s: float, while_scanning: bool) -> list[Scan]:
    """What a demo says until it is killed, so long after its start or after its first scan."""
    with Piped("--data", data, measured=False) as demo:
        demo.type(*codes)
        scans = [demo.sure_scan()] if while_scanning else []
        until = time.monotonic() + kill_s
        while (scan := demo.scan(max(0.0, until - time.monotonic()))) is not None:
            scans.append(scan)
        ended = demo.end(signal.SIGKILL)
        assert ended.code == -signal.SIGKILL, ended.said
        return scans + ended.scans


def rows_of(data: Path) -> dict[int, tuple[str, Row]]:
    """Every row, with its code where it has one."""
    with RowReader(data / "journal") as reader:
        return {stored.id: (stored.code or "", decode(stored.body)) for stored in reader.all()}


@pytest.mark.slow
def test_a_hundred_kills_lose_no_row_and_open_nothing_twice(tmp_path: Path) -> None:
    seed = 1 if os.environ.get("CI") else random.randrange(1 << 32)
    sys.stderr.write(f"seed {seed}\n")
    choose = random.Random(seed)
    data = tmp_path / "data"
    good = [code_of(number) for number in range(TICKETS) if number % KIND_EVERY > 5]
    choose.shuffle(good)
    assert run("", "--count", str(TICKETS), "--data", data).code == 0

    said: list[Scan] = []
    for kill in range(KILLS):
        opened = [scan["code"] for scan in said if scan["opened"]]
        seen = {scan["code"] for scan in said}
        fresh = (code for code in good if code not in seen)
        codes = [choose.choice(opened) if opened and choose.random() < 0.4 else next(fresh) for _ in LINES]
        while_scanning = kill % 10 >= IN_START_OF_10
        kill_s = choose.uniform(0, SCANNING_S if while_scanning else START_S)
        said += killed_run(data, codes, kill_s, while_scanning)

    rows = rows_of(data)
    for scan in said:
        if scan["seq"] is not None:
            code, row = rows[row_id(scan["epoch"], scan["seq"])]
            assert (code, row.verdict) == (scan["code"], scan["verdict"]), scan
    openings = Counter(scan["code"] for scan in said if scan["opened"])
    admissions = Counter(
        code for code, row in rows.values() if row.movement and row.movement.act is Act.OPENED
    )
    assert max(openings.values()) == max(admissions.values()) == 1
    assert openings.keys() <= admissions.keys()
    unsettled = sum(row.kind == "unsettled" for _, row in rows.values())
    sys.stderr.write(
        f"{len(said)} scans, {len(openings)} openings, {unsettled} cut short, {len(rows)} rows\n"
    )
    assert len(openings) > KILLS

    again = choose.sample(sorted(admissions), min(AGAIN, len(admissions)))
    last = run("\n".join(again), "--data", data)
    assert verdicts(last.scans) == ["used"] * len(again)
    assert f"inside {len(admissions)}" in last.said
