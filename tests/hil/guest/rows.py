"""The journal as it grows: `gatepost journal --follow` runs beside the gate, and each row is held here."""

import json
import subprocess
import threading
import time
from typing import Any

COMMAND = ["runuser", "-u", "gatepost", "--", "/opt/gatepost/bin/gatepost", "journal", "--json", "--follow"]
ROWS: list[dict[str, Any]] = []
GROWN = threading.Condition()
FOLLOWING: list[subprocess.Popen[str]] = []


def follow(data: str) -> None:
    """Begin to follow the journal below `data`; what follows another one ends."""
    stop()
    process = subprocess.Popen([*COMMAND, "--data", data, "--last", "1"], stdout=subprocess.PIPE, text=True)
    FOLLOWING.append(process)
    threading.Thread(target=_read, args=(process,), daemon=True).start()


def stop() -> None:
    """Follow no more."""
    while FOLLOWING:
        process = FOLLOWING.pop()
        process.terminate()
        process.wait()


def _read(process: "subprocess.Popen[str]") -> None:
    assert process.stdout
    for line in process.stdout:
        with GROWN:
            ROWS.append(json.loads(line))
            GROWN.notify_all()


def mark() -> int:
    """How many rows there are."""
    return len(ROWS)


def since(mark: int) -> list[dict[str, Any]]:
    """Rows after this mark."""
    with GROWN:
        return ROWS[mark:]


def _is_settled() -> bool:
    """Whether nobody may still walk through: each opening has its passage, its lapse, or another epoch."""
    last: dict[str, dict[str, Any]] = {}
    for row in ROWS:
        if row["kind"] in ("scan", "passage", "lapse", "void") and (row["kind"] != "scan" or row["movement"]):
            last[row["lane"]] = row
    return all(row["kind"] != "scan" or row["epoch"] < ROWS[-1]["epoch"] for row in last.values())


def wait_until_settled(seconds: float) -> None:
    """Wait until each opening that was recorded has come to its end. Raises TimeoutError."""
    with GROWN:
        if not GROWN.wait_for(_is_settled, seconds):
            raise TimeoutError(f"somebody may still walk through after {seconds} s: {ROWS[-10:]}")


def wait(mark: int, wanted: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The first row after the mark with these fields, waited for. Raises TimeoutError."""
    end = time.monotonic() + seconds
    with GROWN:
        while True:
            for row in ROWS[mark:]:
                if wanted.items() <= row.items():
                    return row
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no row with {wanted} in {seconds} s; there are {ROWS[mark:][-10:]}")
            GROWN.wait(left)
