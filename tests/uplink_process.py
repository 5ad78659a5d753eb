"""A gate with an uplink in a process of its own, for a test to kill.

`python -m tests.uplink_process DATA GATE PORT` admits ticket after ticket, a few at a time, until it is
killed or its input ends.
"""

import sys
import threading
from functools import partial
from itertools import count
from pathlib import Path

from tests.uplinks import admit, gate_at_work

WAITING_MAX = 20  # rows that are not on disk; then it waits for the disk, as people at a door would
PACE_S = 0.002


def main() -> None:
    """Run it."""
    data, gate, port = sys.argv[1:]
    ended, pace = threading.Event(), threading.Event()
    with gate_at_work(Path(data), gate, int(port)) as running:

        def listen() -> None:
            sys.stdin.read()
            ended.set()

        threading.Thread(target=listen, daemon=True).start()
        for number in count():
            if ended.is_set():
                return
            unit = running.unit
            unit.gate.do(partial(admit, unit, f"a:{gate}-{unit.journal.epoch}-{number}"))
            pace.wait(PACE_S)
            while unit.journal.waiting > WAITING_MAX and not ended.is_set():
                pace.wait(PACE_S)


if __name__ == "__main__":
    main()
