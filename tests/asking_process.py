"""A gate that asks a vendor about one code, in a process that a test kills."""

import sys
from pathlib import Path

from tests.asking import asking
from tests.uplinks import gate_at_work


def main(data: str, gate: str, port: str, code: str) -> None:
    """Scan the code as soon as the vendor can be asked; then wait for the end."""
    with gate_at_work(Path(data), gate, int(port), asking("deadline_ms = 10000")) as running:
        vendors = running.uplink._vendors
        assert vendors is not None
        running.until(lambda: vendors._told)
        assert running.board.fakes["north"].scan(code)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
